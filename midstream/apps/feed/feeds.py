"""`Feed`: streams on one side, frames for any number of readers on the other."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter, deque
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from midstream._core.clock import monotonic_ns, ns_from_s, s_from_ns
from midstream._core.errors import RefusedError
from midstream._core.validate import (
    check_callback,
    check_int,
    check_mapping,
    check_real,
    check_text,
)
from midstream.apps.feed.process import Process
from midstream.apps.feed.room import make_room, weight_of
from midstream.apps.feed.states import Fields, apply, clip, copy_state, new_stream
from midstream.apps.feed.streams import (
    MAX_LABELS,
    MESSAGE_CHARS,
    NAME_CHARS,
    FeedStream,
    latency,
    rate_of,
)
from midstream.apps.feed.subscriptions import Frame, Subscription
from midstream.scheduler import Histogram

if TYPE_CHECKING:
    from midstream.stream import Detector, Report, Source
    from midstream.stream.policies import PoliciesLike

__all__ = ["Feed"]

#: How often counts, rates and times are told, seconds.
_FIGURES_S = 0.5
#: Items that lists of the state hold.
_LIMITS = {
    "findings": 200,
    "rates": 120,
    "levels": 120,
    "portrait": 160,
    "messages": 200,
    "history": 240,
}
#: The newest frames, which most readers are at.
_UNPACKED = 16
#: Making a frame takes at most one part in so many of the time, whatever there is to tell.
_PAUSE = 5


class Feed:
    """What many streams do, as frames that any number of readers follow.

    Parameters
    ----------
    frames_per_s : float, default 20
        Frames are made at most so often, of all that has happened since the one before; less often
        where making them would take more than a fifth of the time.
    keep_frames : int, default 600
        Frames that are kept for readers that are slow, or come back.
    max_streams : int, default 1000
        Streams that are shown, closed ones too.
    max_text_chars : int, default 32,768
        Characters that are kept of each text: its end.
    max_total_chars : int, default 8,388,608
        Characters that are kept of all texts together, where a finding counts as 400 and a point of
        a picture as 24 to 32; and in the frames that are kept.
    clock_ns : callable, optional
        Tells the time in nanoseconds, never less than before: for replays, that of the recording.

    Attributes
    ----------
    key : str
        Tells this feed from every other one.
    limits : dict
        How many items each list of the state holds; may be changed before the first stream.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument is of the wrong type or out of range.

    Notes
    -----
    The package's page has the format, and what is bounded how. An event costs 0.6 microseconds, a
    frame 10 to 40 and as many for each stream with news, once for all readers, its JSON 20. At a
    thousand events a second that is 3 % of a core, 8 % where they are of a thousand streams, and
    with a reader over HTTP 4 % (``asv_benchmarks/dashboard_cost.py``).

    All of it belongs to one event loop; from another thread, ``loop.call_soon_threadsafe``. Without
    a running loop no frames are made by themselves; `flush` and `snapshot` make them.

    Examples
    --------
    >>> import asyncio
    >>> from midstream.apps.feed import Feed
    >>> from midstream.stream import shipped_recordings, replay
    >>> async def main():
    ...     feed = Feed()
    ...     with feed.subscribe() as frames:
    ...         report = await feed.follow(replay(shipped_recordings()["loop-02"]), "a tale")
    ...         feed.close()
    ...         kinds = [frame.fields["type"] async for frame in frames]
    ...     stream = feed.snapshot().fields["streams"]["s1"]
    ...     return report.outcome, kinds[0], stream["outcome"], stream["findings"][0]["kind"]
    >>> asyncio.run(main())
    ('stopped', 'snapshot', 'stopped', 'loop')
    """

    def __init__(
        self,
        *,
        frames_per_s: float = 20.0,
        keep_frames: int = 600,
        max_streams: int = 1000,
        max_text_chars: int = 1 << 15,
        max_total_chars: int = 1 << 23,
        clock_ns: Callable[[], int] = monotonic_ns,
    ) -> None:
        self._interval_s = 1 / check_real("frames_per_s", frames_per_s, low=0.01, high=1000.0)
        self._keep = check_int("keep_frames", keep_frames, low=1, high=1 << 20)
        self._max_streams = check_int("max_streams", max_streams, low=1, high=1 << 20)
        self.max_text_chars = check_int("max_text_chars", max_text_chars, low=64, high=1 << 24)
        self._max_total = check_int("max_total_chars", max_total_chars, low=1 << 12, high=1 << 30)
        check_callback("clock_ns", clock_ns)
        self.now_ns = clock_ns
        self.key = secrets.token_hex(8)
        self.limits = dict(_LIMITS)
        # What streams count, for speed without a call.
        self.gaps = Histogram(lowest=1000, significant_digits=2)
        self.n_events = 0
        self.n_chars = 0
        self._process = Process()
        self._began_ns = self.now_ns()
        self._streams: dict[str, FeedStream] = {}
        self._n_opened = self._n_evicted = self._n_told = 0
        self._by_severity: Counter[str] = Counter()
        self._by_outcome: Counter[str] = Counter()
        self._dirty: list[FeedStream] = []
        self._owing: dict[str, FeedStream] = {}  # whose newest figures were not told
        self._falling: dict[str, FeedStream] = {}  # whose rate was not zero when it was told
        self._opened: dict[str, Fields] = {}
        self._evicted: list[str] = []
        self._messages: list[Fields] = []
        self._samples = [(self._began_ns, 0, 0)]
        self._lively = self._news = False
        self._stale = False  # a frame was made since figures were told
        self._figured_ns = self._began_ns - ns_from_s(_FIGURES_S)
        self._weight = 0
        self._frames: deque[Frame] = deque()
        self._sizes: deque[int] = deque()
        self._kept_chars = 0
        self._snapshot: Frame | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._patient = False  # it waits for figures alone: what is new may come before
        self._made_s = float("-inf")
        self._pause_s = self._interval_s
        self._waiting: asyncio.Event | None = None
        self._subscriptions: set[Subscription] = set()
        self._closed = False
        #: The state as of the newest frame. Not to be changed.
        self.state: Fields = {
            "type": "snapshot",
            "feed": self.key,
            "id": 0,
            "began_s": round(time.time(), 3),
            "t_s": 0.0,
            "limits": self.limits,
            "totals": self._totals({"events_per_s": 0.0, "chars_per_s": 0.0}),
            "history": [],
            "streams": {},
            "messages": [],
        }

    def __repr__(self) -> str:
        return f"<Feed of {len(self._streams)} streams, frame {self.id}, {self.readers} readers>"

    @property
    def id(self) -> int:
        """Id of the newest frame; 0 before the first."""
        return int(self.state["id"])

    @property
    def closed(self) -> bool:
        """Whether it is over."""
        return self._closed

    @property
    def readers(self) -> int:
        """Subscriptions that are open."""
        return len(self._subscriptions)

    def open(
        self,
        name: str,
        *,
        labels: Mapping[str, str] | None = None,
        poll: Callable[[], object] | None = None,
    ) -> FeedStream:
        """Begin to show a stream.

        Parameters
        ----------
        name : str
            For people; need not be unique. At most 200 characters are shown.
        labels : mapping of str to str, optional
            What it can be found by, such as a model's name; the first 16.
        poll : callable, optional
            Called twice a second while there is news of it, before its figures are taken: to say
            what is to be asked for, such as verdicts.

        Returns
        -------
        FeedStream

        Raises
        ------
        RefusedError
            The feed is closed.

        Notes
        -----
        Where there are as many streams as there may be, the oldest closed one is evicted, or where
        all are open, the one that is longest without news.
        """
        name = clip(check_text("name", name), NAME_CHARS)
        shown: dict[str, str] = {}
        for label, value in check_mapping("labels", labels or {}).items():
            if len(shown) < MAX_LABELS:
                shown[clip(label, 80)] = clip(value, NAME_CHARS)
        if self._closed:
            raise RefusedError("the feed is closed")
        if len(self._streams) >= self._max_streams:
            self._evict()
        self._n_opened += 1
        key = f"s{self._n_opened}"
        stream = self._streams[key] = FeedStream(self, key, poll)
        self._opened[key] = new_stream(key, name, shown, self.now_s())
        self.tell(key, "open", name, "")
        self.note(stream)
        return stream

    async def follow(
        self,
        source: Source | AsyncIterable[Any] | Iterable[Any],
        name: str,
        *,
        detectors: Iterable[Detector] | None = None,
        policies: PoliciesLike | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Report:
        """Watch a source to its end, and show it.

        Parameters
        ----------
        source : Source, or iterable or async iterable of Event, str or bytes
            As for `watch`.
        name : str
            For people.
        detectors, policies, labels : optional
            As for `watch`, and for `open`.

        Returns
        -------
        Report
            Where the source has failed, it says why; that is not raised.

        Raises
        ------
        Exception
            What a detector or a policy raised. The stream is closed as failed.
        """
        from midstream.apps.feed.following import follow

        return await follow(
            self,
            source,
            name,
            detectors=detectors,
            policies=() if policies is None else policies,
            labels=labels,
        )

    def subscribe(self, *, after: int | None = None, max_frames: int | None = None) -> Subscription:
        """Begin to read.

        Parameters
        ----------
        after : int, optional
            Id of the frame that was read last. What was missed since comes first if it is still
            kept, else a snapshot; so without `after`.
        max_frames : int, optional
            How many frames a reader may be behind before it gets a snapshot in their place;
            at most, and by default, as many as are kept.

        Returns
        -------
        Subscription
            An async iterator of `Frame`, and a context manager.
        """
        last = None if after is None else check_int("after", after)
        if last is not None and not 0 <= last <= self.id:
            last = None  # of another feed
        most = self._keep if max_frames is None else check_int("max_frames", max_frames, low=1)
        subscription = Subscription(self, last, min(most, self._keep))
        self._subscriptions.add(subscription)
        if self._dirty or self._news:
            self._arm()
        return subscription

    def snapshot(self) -> Frame:
        """All that is known now.

        Returns
        -------
        Frame
            Its fields are a copy that belongs to the caller.

        Notes
        -----
        Some ten microseconds a stream. Where something has happened since the last frame, one is
        made.
        """
        self.flush()
        return Frame(self.id, copy_state(self.state))

    def flush(self, *, figures: bool = True) -> Frame | None:
        """Make a frame of what has happened since the last one, now.

        Parameters
        ----------
        figures : bool, default True
            Take counts, rates and times too; else only where half a second has passed since they
            were taken.

        Returns
        -------
        Frame or None
            None where nothing has.
        """
        now_ns = self.now_ns()
        figures = figures or now_ns - self._figured_ns >= ns_from_s(_FIGURES_S)
        if self._dirty or self._news or (figures and self._stale):
            return self._make(now_ns, figures)
        return None

    def close(self) -> None:
        """Close all streams as ``"closed"``; readers see their end. Safe to repeat."""
        if self._closed:
            return
        for stream in list(self._streams.values()):
            stream.close("closed")
        self.flush()
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wake()

    # For streams.

    def seconds(self, now_ns: int) -> float:
        """A time in seconds since the feed began."""
        return round(s_from_ns(now_ns - self._began_ns), 3)

    def now_s(self) -> float:
        """Seconds since the feed began."""
        return self.seconds(self.now_ns())

    def note(self, stream: FeedStream) -> None:
        """There is news of a stream."""
        if not stream.dirty:
            stream.dirty = True
            stream.news_ns = self.now_ns()
            self._dirty.append(stream)
        if self._timer is None or self._patient:
            self._arm()

    def tell(self, key: str, kind: str, title: str, text: str) -> None:
        """Add to the recent messages."""
        self._n_told += 1
        self._messages.append(
            {
                "n": self._n_told,
                "t_s": self.now_s(),
                "key": key,
                "kind": kind,
                "title": clip(title, NAME_CHARS),
                "text": clip(text, MESSAGE_CHARS),
            }
        )
        if len(self._messages) > 2 * self.limits["messages"]:
            del self._messages[: -self.limits["messages"]]

    def found(self, severity: str) -> None:
        """Count a finding."""
        _count(self._by_severity, severity)

    def closing(self, stream: FeedStream, outcome: str) -> None:
        """Take note that a stream is over."""
        _count(self._by_outcome, outcome)
        self.note(stream)

    # For subscriptions.

    def frame_after(self, last: int | None, max_frames: int) -> Frame | None:
        """The frame that follows one, a snapshot in its place, or None where there is none yet."""
        newest = self.id
        if last == newest:
            return None
        if last is not None and self._frames and last <= newest:
            first = self._frames[0].id
            if last + 1 >= first and newest - last <= max_frames:
                return self._frames[last + 1 - first]
        if self._snapshot is None or self._snapshot.id != newest:
            self._snapshot = Frame(newest, copy_state(self.state))
        missed = 0 if last is None or last > newest else newest - last
        return self._snapshot.for_reader(missed)

    async def wait_news(self) -> None:
        """Wait until there is another frame, or the feed is closed."""
        if self._waiting is None:
            self._waiting = asyncio.Event()
        await self._waiting.wait()

    def left(self, subscription: Subscription) -> None:
        """A reader is gone."""
        self._subscriptions.discard(subscription)
        self._wake()

    # Frames.

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.set()

    def _arm(self, *, figures_s: float | None = None) -> None:
        """Have a frame made when one is due, or figures are."""
        if self._closed or (self._timer is not None and not self._patient):
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        due_s = self._made_s + self._pause_s
        if figures_s is not None:
            due_s = max(due_s, loop.time() + figures_s)
        if self._timer is not None:
            self._timer.cancel()
        self._patient = figures_s is not None
        self._timer = loop.call_at(max(due_s, loop.time()), self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        self._made_s = loop.time()
        now_ns = self.now_ns()
        figures = now_ns - self._figured_ns >= ns_from_s(_FIGURES_S)
        if self._dirty or self._news or figures:
            self._make(now_ns, figures)
            self._pause_s = max(self._interval_s, _PAUSE * (loop.time() - self._made_s))
        if self._dirty or self._news:
            self._arm()
        elif self._stale or self._falling or self._lively:
            waited_s = s_from_ns(self.now_ns() - self._figured_ns)
            self._arm(figures_s=max(_FIGURES_S - waited_s, 0.0))

    def _make(self, now_ns: int, figures: bool) -> Frame:
        """Make a frame."""
        changed = self._take_changes(now_ns, figures)
        frame = self.state["id"] + 1
        fields: Fields = {"type": "frame", "id": frame, "t_s": self.seconds(now_ns)}
        if self._evicted:
            fields["evicted"], self._evicted = self._evicted, []
        if self._opened:
            fields["opened"], self._opened = self._opened, {}
        if changed:
            fields["changed"] = changed
        if self._messages:
            fields["messages"] = self._messages[-self.limits["messages"] :]
            self._messages = []
        if figures:
            self._take_totals(now_ns, fields)
        self._news = False
        self._stale = not figures
        apply(self.state, fields)
        made = Frame(frame, fields)
        self._remember(made)
        self._wake()
        return made

    def _take_changes(self, now_ns: int, figures: bool) -> Fields:
        """Take what streams have put aside."""
        if figures:
            told = {stream.key: stream for stream in self._dirty}
            told.update(self._owing)
            for stream in told.values():
                stream.pull()  # may make more of them dirty
            told.update(self._falling)
            told.update((stream.key, stream) for stream in self._dirty)
            self._owing, self._falling = {}, {}
        else:
            told = {stream.key: stream for stream in self._dirty}
            self._owing.update((key, stream) for key, stream in told.items() if stream.live)
        self._dirty = []
        changed: Fields = {}
        for key, stream in told.items():
            if key not in self._streams:
                continue  # evicted
            weight = stream.weight
            changed[key] = stream.take(now_ns, figures=figures)
            self._weight += stream.weight - weight
            if stream.lively:
                self._falling[key] = stream
            else:
                self._falling.pop(key, None)
        if self._weight > self._max_total:
            goal = self._max_total * 3 // 4  # not each time: it copies what stays
            self._weight = make_room(self._streams.values(), self._weight, goal, changed)
        return changed

    def _take_totals(self, now_ns: int, fields: Fields) -> None:
        self._figured_ns = now_ns
        rate = rate_of(self._samples, now_ns, self.n_events, self.n_chars)
        lively = rate["events_per_s"] > 0
        if lively or self._lively:
            sample = [self.seconds(now_ns), rate["events_per_s"], rate["chars_per_s"]]
            fields["history"] = [sample]
        self._lively = lively
        fields["totals"] = self._totals(rate)

    def totals(self) -> Fields:
        """Count all streams together, as ``totals`` of a snapshot has it.

        Returns
        -------
        dict
        """
        rate = rate_of(self._samples, self.now_ns(), self.n_events, self.n_chars)
        return self._totals(rate)

    def _totals(self, rate: Fields) -> Fields:
        return {
            "opened": self._n_opened,
            "open": sum(stream.live for stream in self._streams.values()),
            "closed": sum(self._by_outcome.values()),
            "evicted": self._n_evicted,
            "events": self.n_events,
            "chars": self.n_chars,
            "findings": sum(self._by_severity.values()),
            "by_severity": dict(self._by_severity),
            "by_outcome": dict(self._by_outcome),
            "rate": rate,
            "latency": latency(None, self.gaps),
            "process": self._process.look(),
        }

    def _evict(self) -> None:
        """Make room for one more stream."""
        gone = next((stream for stream in self._streams.values() if not stream.live), None)
        if gone is None:
            gone = min(self._streams.values(), key=lambda stream: stream.news_ns)
        key = gone.key
        del self._streams[key]
        self._weight -= gone.weight
        gone.drop()
        self._owing.pop(key, None)
        self._falling.pop(key, None)
        self._n_evicted += 1
        self._news = True
        if self._opened.pop(key, None) is None:
            self._evicted.append(key)

    def _remember(self, frame: Frame) -> None:
        """Keep a frame for readers that are behind, within bounds."""
        size = weight_of(frame.fields)
        self._frames.append(frame)
        self._sizes.append(size)
        if len(self._frames) > _UNPACKED:
            self._frames[-1 - _UNPACKED].pack()
        self._kept_chars += size
        while len(self._frames) > self._keep or (
            self._kept_chars > self._max_total and len(self._frames) > 1
        ):
            self._frames.popleft()
            self._kept_chars -= self._sizes.popleft()


def _count(counts: Counter[str], name: str) -> None:
    """Count one of a few names, however many somebody makes up."""
    if name in counts or len(counts) < MAX_LABELS:
        counts[name] += 1
