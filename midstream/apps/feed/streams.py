"""One stream of a feed: what happens to it is put aside, and taken from there for each frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any
from zlib import crc32

from midstream._core.clock import s_from_ns
from midstream.apps.feed.portrait import Portrait
from midstream.apps.feed.states import Change, Fields, clip, finite, plain, repaired
from midstream.stream import Event, Finding, Metrics
from midstream.stream.events import TEXT_KINDS, Kind

if TYPE_CHECKING:
    from midstream.apps.feed.feeds import Feed

__all__ = ["FeedStream", "text_key"]

#: Characters of names, and of messages.
NAME_CHARS = 200
MESSAGE_CHARS = 500
MAX_LABELS = 16
MAX_VERDICTS = 64
MAX_TEXTS = 16
#: Texts whose lengths are remembered, so that positions stay right when one comes back.
_MOST_ENDS = 256
#: Characters of the answer that the message of its end shows.
_HEAD_CHARS = 200
#: Rates are taken over so much time at least.
_LEAST_SPAN_S = 0.5
#: Calls of one stream of which it is remembered that they have begun.
_MOST_CALLS = 64
_MOST_KINDS = 32
#: Samples that a rate is taken over, one with each figure.
_RATE_SAMPLES = 5
#: What an item of a list weighs, in characters of text.
WEIGHTS = {"findings": 400, "rates": 32, "levels": 32, "portrait": 24}
#: What media events may say.
_MEDIA = (
    "level_dbfs",
    "peak_dbfs",
    "silent_s",
    "frame",
    "pts_s",
    "fps",
    "black",
    "frozen_s",
    "brightness",
    "loop_period_frames",
    "dropped",
)


def text_key(kind: str, stream_id: str) -> str:
    """What a text is called in a feed.

    Examples
    --------
    >>> text_key("text", "0")
    'text/0'
    >>> text_key("text", "x" * 1000)[60:]
    'xxxxx…3b41c9e6'
    """
    if len(stream_id) > 80:
        stream_id = f"{stream_id[:60]}…{crc32(stream_id.encode('utf-8', 'replace')):08x}"
    return f"{kind}/{stream_id}"


class _Pending:
    """Pieces of a text that wait for a frame."""

    __slots__ = ("held", "pieces", "total")

    def __init__(self) -> None:
        self.pieces: list[str] = []
        #: Characters of these, and with those that did not stay.
        self.held = self.total = 0

    def compact(self, most: int) -> None:
        """Join them; of more than can be kept, the end stays."""
        text = "".join(self.pieces)[-most:]
        self.pieces = [text]
        self.held = len(text)


class FeedStream:
    """One stream of a feed; made by `Feed.open`.

    Attributes
    ----------
    key : str
        What the feed calls it.
    metrics : Metrics
        Counts and times so far.

    Notes
    -----
    Each method takes some microseconds, waits for nothing, and does nothing once the stream is
    closed or was evicted. For the feed's event loop alone.
    """

    __slots__ = (
        "_calls",
        "_change",
        "_ends",
        "_errors",
        "_feed",
        "_findings",
        "_head",
        "_items",
        "_last_ns",
        "_levels",
        "_media",
        "_n_calls",
        "_pieces",
        "_poll",
        "_portrait",
        "_samples",
        "_set",
        "_verdicts",
        "dirty",
        "key",
        "live",
        "lively",
        "metrics",
        "news_ns",
        "texts",
    )

    def __init__(self, feed: Feed, key: str, poll: Callable[[], object] | None) -> None:
        self.key = key
        self.metrics = Metrics()
        #: Whether it is neither closed nor evicted.
        self.live = True
        #: Whether something is put aside, and whether its rate was not zero at last.
        self.dirty = False
        self.lively = False
        self.news_ns = 0
        #: Of each text, oldest news first: the first character kept, and how far it goes.
        self.texts: dict[str, tuple[int, int]] = {}
        self._feed = feed
        self._poll = poll
        self._last_ns = 0
        self._pieces: dict[tuple[Kind, str], _Pending] = {}
        self._ends: dict[str, int] = {}
        self._items = dict.fromkeys(WEIGHTS, 0)
        self._head = ""
        self._calls: dict[str, str | None] = {}
        self._n_calls = self._errors = self._findings = 0
        self._verdicts: dict[str, str] = {}
        self._media: dict[str, Fields] = {}
        self._levels: list[float | None] | None = None
        self._samples = [(feed.now_ns(), 0, 0)]
        self._portrait: Portrait | None = Portrait()
        self._set: Fields = {}
        self._change: Change = {}

    def event(self, event: Event, gap_ns: int | None = None) -> None:
        """Take the next event of the stream.

        Parameters
        ----------
        event : Event
        gap_ns : int, optional
            Nanoseconds of silence before it; default: since the event before, by their times.
        """
        if not self.live:
            return
        feed = self._feed
        kind = event.kind
        text = event.text
        t_ns = event.t_ns
        metrics = self.metrics
        if gap_ns is None:
            gap_ns = t_ns - self._last_ns
        if gap_ns < 0:
            gap_ns = 0
        self._last_ns = t_ns
        if metrics.events and t_ns != metrics.duration_ns:
            feed.gaps.record(gap_ns)
        metrics.take(event, gap_ns)
        feed.n_events += 1
        if kind in TEXT_KINDS:
            if text:
                size = len(text)
                feed.n_chars += size
                key = (kind, event.stream_id)
                pending = self._pieces.get(key)
                if pending is None:
                    pending = self._begin(key)
                pending.pieces.append(text)
                pending.total += size
                pending.held += size
                if pending.held > 2 * feed.max_text_chars:
                    pending.compact(feed.max_text_chars)
            if kind == "tool_call":
                self._call(event)
            elif kind == "audio":
                self._take_media("audio", event.data)
        elif kind == "video":
            self._take_media("video", event.data)
        else:
            self._other(event)
        if not self.dirty:
            feed.note(self)

    def finding(self, finding: Finding) -> None:
        """Take note of what was found in it."""
        if not self.live:
            return
        feed = self._feed
        evidence = finding.evidence
        channel, stream_id = evidence.get("channel"), evidence.get("stream_id")
        of = None
        if isinstance(channel, str) and isinstance(stream_id, str):
            of = text_key(channel, stream_id)
        message = clip(finding.message, MESSAGE_CHARS)
        self._append(
            "findings",
            {
                "n": self._findings,
                "kind": clip(finding.kind, 80),
                "severity": clip(finding.severity, 80),
                "seq": finding.seq,
                "t_s": s_from_ns(finding.t_ns),
                "start": finding.start,
                "end": finding.end,
                "message": message,
                "of": of,
                "evidence": plain(evidence),
            },
        )
        self._findings += 1
        feed.found(finding.severity)
        self._tell("finding", f"{finding.severity}: {finding.kind}", message)

    def verdict(self, policy: str, verdict: object) -> None:
        """Say how a policy stands; only a change is news.

        Parameters
        ----------
        policy : str
            Its name. The first 64 of a stream are kept.
        verdict : str or Verdict
            ``"holds"``, ``"owed"``, ``"violated"``, ``"satisfied"``, or what a monitor says.
        """
        if not self.live:
            return
        name = clip(policy, NAME_CHARS)
        shown = clip(getattr(verdict, "name", verdict), 80).lower()
        before = self._verdicts.get(name)
        if shown == before or (before is None and len(self._verdicts) >= MAX_VERDICTS):
            return
        self._verdicts[name] = shown
        feed = self._feed
        changes = 0
        put = self._change.setdefault("verdicts", {})
        if before is not None:
            known = put.get(name) or feed.state["streams"][self.key]["verdicts"][name]
            changes = known["changes"] + 1
            self._tell("verdict", name, f"{before}, now {shown}")
        put[name] = {"verdict": shown, "t_s": feed.now_s(), "changes": changes}
        feed.note(self)

    def regime(
        self,
        name: str,
        *,
        attractor: str | None = None,
        confidence: float | None = None,
        points: Iterable[tuple[float, float]] = (),
    ) -> None:
        """Say what the stream's regime is, in place of what the feed makes of its text.

        Parameters
        ----------
        name : str
            Such as ``"varied"``, ``"periodic"``, ``"stuck"``.
        attractor : str, optional
            As `midstream.attractor.Regime.kind`.
        confidence : float, optional
        points : iterable of (float, float)
            Further points of its phase portrait.
        """
        if not self.live:
            return
        if self._portrait is not None:
            self._portrait = None
            self._clear("portrait")
        before = self._set.get("regime") or self._told("regime")
        told = plain({"name": name, "attractor": attractor, "confidence": confidence})
        shown = [[finite(x), finite(y)] for x, y in points]
        n = len(shown)
        if before is not None:
            n += before["n"]
            if before["name"] not in (None, told["name"]):
                self._tell("regime", str(told["name"]), f"was {before['name']}")
        self._set["regime"] = {**told, "n": n, "of": None}
        for point in shown[-self._feed.limits["portrait"] :]:
            self._append("portrait", point)
        self._feed.note(self)

    def close(self, outcome: str = "ended", error: str | None = None) -> None:
        """Say that the stream is over. Safe to repeat.

        Parameters
        ----------
        outcome : str
            As `Report.outcome`.
        error : str, optional
            Why it failed.
        """
        if not self.live:
            return
        self.pull()
        self.live = False
        shown = clip(outcome, 80)
        why = None if error is None else clip(error, MESSAGE_CHARS)
        now_s = self._feed.now_s()
        self._set.update(outcome=shown, error=why, closed_s=now_s)
        self._feed.closing(self, shown)

    # What follows is for the feed.

    def pull(self) -> None:
        """Have whoever opened it bring verdicts and the like up to date."""
        if self._poll is not None and self.live and self.metrics.events:
            self._poll()

    def drop(self) -> None:
        """It was evicted: nothing is taken any more, and what was put aside goes."""
        self.live = self.dirty = self.lively = False
        self._let_go()
        self._pieces.clear()
        self._change, self._set, self._media, self._levels = {}, {}, {}, None

    def take(self, now_ns: int, *, figures: bool) -> Change:
        """Take what was put aside; with figures, also counts, rate and times."""
        self.dirty = False
        change, self._change = self._change, {}
        put, self._set = self._set, {}
        if self._pieces:
            self._take_texts(change, put)
        now_s = self._feed.seconds(now_ns)
        if self._media:
            put.update(self._media)
            self._media = {}
        if self._levels is not None:
            levels, self._levels = self._levels, None
            change.setdefault("append", {}).setdefault("levels", []).append([now_s, *levels])
        if figures or not self.live:
            self._take_figures(now_ns, change, put)
        put["news_s"] = self._feed.seconds(self.news_ns)
        change["set"] = put
        self._count(change)
        if "outcome" in put:
            outcome, error = put["outcome"], put["error"]
            self._feed.tell(self.key, "close", outcome, self._head if error is None else error)
            self._let_go()
        return change

    def cut(self, most_chars: int, most: Mapping[str, int]) -> Change:
        """Let go of all but so many characters of each text, and so many items of lists."""
        change: Change = {}
        pieces = {}
        for key, (start, end) in self.texts.items():
            if end - start > most_chars:
                self.texts[key] = (end - most_chars, end)
                pieces[key] = {"at": end, "add": "", "from": end - most_chars}
        if pieces:
            change["texts"] = pieces
        keep = {name: limit for name, limit in most.items() if self._items[name] > limit}
        if keep:
            self._items.update(keep)
            change["keep"] = keep
        return change

    @property
    def weight(self) -> int:
        """What is kept of it, in characters of text, or as many as take the same memory."""
        weight = sum(end - start for start, end in self.texts.values())
        for name, count in self._items.items():
            weight += count * WEIGHTS[name]
        return weight

    def _count(self, change: Change) -> None:
        """Take note of how long the lists are after a change."""
        items = self._items
        for name in change.get("clear", ()):
            items[name] = 0
        for name, more in change.get("append", {}).items():
            items[name] = min(items[name] + len(more), self._feed.limits[name])

    def _let_go(self) -> None:
        """Let go of what only a running stream needs."""
        self._portrait = None
        self._poll = None
        self._calls.clear()
        self._samples.clear()

    def _append(self, name: str, item: Any) -> None:
        items = self._change.setdefault("append", {}).setdefault(name, [])
        items.append(item)
        limit = self._feed.limits[name]
        if len(items) > 2 * limit:
            del items[:-limit]
        if not self.dirty:
            self._feed.note(self)

    def _clear(self, name: str) -> None:
        self._change.get("append", {}).pop(name, None)
        names = self._change.setdefault("clear", [])
        if name not in names:
            names.append(name)

    def _told(self, name: str) -> Any:
        stream = self._feed.state["streams"].get(self.key)
        return None if stream is None else stream[name]

    def _tell(self, kind: str, title: str, text: str) -> None:
        self._feed.tell(self.key, kind, title, text)
        if not self.dirty:
            self._feed.note(self)

    def _begin(self, key: tuple[Kind, str]) -> _Pending:
        """Make room for pieces of a text."""
        waiting = self._pieces
        if len(waiting) >= _MOST_ENDS:
            oldest = next(iter(waiting))
            name = text_key(*oldest)
            self._ends[name] = self._ends.get(name, 0) + waiting.pop(oldest).total
        pending = waiting[key] = _Pending()
        return pending

    def _call(self, event: Event) -> None:
        """Tell of a tool call that begins."""
        stream_id, call_id = event.stream_id, event.call_id
        calls = self._calls
        known = calls.get(stream_id, "")  # an id is never empty
        if known == "" or (call_id is not None and known is not None and known != call_id):
            if len(calls) >= _MOST_CALLS:
                del calls[next(iter(calls))]
            self._n_calls += 1
            self._tell("tool_call", event.name or "a tool", clip(event.text, 200))
        elif known == call_id or call_id is None:
            return
        calls[stream_id] = call_id

    def _other(self, event: Event) -> None:
        """Take an event that is no piece of a text."""
        kind = event.kind
        if kind == "error":
            self._errors += 1
            self._tell("error", event.name or "error", event.text)
        elif kind == "tool_result":
            self._tell("tool_result", event.name or "a tool", event.text)
        elif kind == "end":
            self._tell("end", event.text or "end", "")

    def _take_media(self, kind: str, data: Any) -> None:
        if not isinstance(data, Mapping):
            return
        # What says so is a peer: no text is shown where a number belongs.
        told = {
            name: value
            for name, value in plain({name: data[name] for name in _MEDIA if name in data}).items()
            if value is None or type(value) in ((bool,) if name == "black" else (int, float))
        }
        size = data.get("size")
        if isinstance(size, (list, tuple)) and [type(each) for each in size] == [int, int]:
            told["size"] = list(plain({"wide": size[0], "high": size[1]}).values())
        if not told:
            return
        self._media[kind] = told
        levels = self._levels
        if levels is None:
            levels = self._levels = [None, None]
        if kind == "audio":
            levels[0] = told.get("level_dbfs")
        else:
            levels[1] = told.get("brightness")

    def _take_texts(self, change: Change, put: Fields) -> None:
        """Put texts that came into a change."""
        texts, ends = self.texts, self._ends
        out = change.setdefault("texts", {})
        portrait = self._portrait
        points: list[list[float]] = []
        for key, pending in self._pieces.items():
            name = text_key(*key)
            add = repaired("".join(pending.pieces))
            before = ends.pop(name, 0)
            end = ends[name] = before + pending.total
            at = end - len(add)  # not where it ended, if there was too much of it
            start, known = texts.pop(name, (at, at))
            if known != at:
                start = at
            if end - start > self._feed.max_text_chars:  # not each time: it copies what stays
                start = end - self._feed.max_text_chars * 3 // 4
                if start > at:
                    add, at = add[start - at :], start
            texts[name] = (start, end)
            out[name] = {"at": at, "add": add, "from": start}
            if key[0] == "text" and len(self._head) < _HEAD_CHARS:
                self._head += add[: _HEAD_CHARS - len(self._head)]
            if portrait is not None and portrait.follows(key):
                if portrait.began:
                    change.get("append", {}).pop("portrait", None)
                    change.setdefault("clear", []).append("portrait")
                    points = []
                points += portrait.feed(add)
        self._pieces = {}
        while len(ends) > _MOST_ENDS:
            del ends[next(iter(ends))]
        self._forget(change)
        if points:
            assert portrait is not None and portrait.of is not None
            appended = change.setdefault("append", {}).setdefault("portrait", [])
            appended += points[-self._feed.limits["portrait"] :]
            told = self._told("regime")
            regime = put["regime"] = portrait.regime(text_key(*portrait.of))
            if told is not None and told["name"] not in (None, regime["name"]):
                self._feed.tell(self.key, "regime", str(regime["name"]), f"was {told['name']}")

    def _forget(self, change: Change) -> None:
        """Let go of the texts that are longest without news, where there are too many."""
        told = self._told("texts") or {}
        while len(self.texts) > MAX_TEXTS:
            oldest = next(iter(self.texts))
            del self.texts[oldest]
            change["texts"].pop(oldest, None)
            if oldest in told:
                change.setdefault("forget", []).append(oldest)

    def _take_figures(self, now_ns: int, change: Change, put: Fields) -> None:
        metrics = self.metrics
        usage = metrics.usage
        put["counts"] = {
            "events": metrics.events,
            "chunks": metrics.chunks,
            "chars": metrics.chars,
            "findings": self._findings,
            "calls": self._n_calls,
            "errors": self._errors,
            "by_kind": dict(list(metrics.events_by_kind.items())[:_MOST_KINDS]),
            "usage": None
            if usage is None
            else {
                name: count
                for name, count in plain(usage).items()
                if isinstance(count, (int, float)) and not isinstance(count, bool)
            },
        }
        put["latency"] = latency(metrics.time_to_first_chunk_ns, metrics.gaps)
        samples = self._samples
        rate = rate_of(samples, now_ns, metrics.events, metrics.chars, live=self.live)
        put["rate"] = rate
        lively = rate["events_per_s"] > 0
        if lively or self.lively:
            sample = [self._feed.seconds(now_ns), rate["events_per_s"], rate["chars_per_s"]]
            change.setdefault("append", {}).setdefault("rates", []).append(sample)
        self.lively = lively and self.live


def rate_of(
    samples: list[tuple[int, int, int]], now_ns: int, events: int, chars: int, *, live: bool = True
) -> dict[str, float]:
    """Events and characters a second over the newest samples, of which this is one."""
    if not live:
        samples.clear()
        return {"events_per_s": 0.0, "chars_per_s": 0.0}
    samples.append((now_ns, events, chars))
    del samples[:-_RATE_SAMPLES]
    then_ns, old_events, old_chars = samples[0]
    span_s = max(s_from_ns(now_ns - then_ns), _LEAST_SPAN_S)
    return {
        "events_per_s": round((events - old_events) / span_s, 2),
        "chars_per_s": round((chars - old_chars) / span_s, 2),
    }


def latency(first_ns: int | None, gaps: Any) -> dict[str, Any]:
    """Percentiles in milliseconds."""
    measured = gaps.count > 0
    told: dict[str, Any] = {"first_ms": None if first_ns is None else round(first_ns / 1e6, 3)}
    for name, q in (("p50_ms", 0.5), ("p90_ms", 0.9), ("p99_ms", 0.99)):
        told[name] = round(gaps.quantile(q) / 1e6, 3) if measured else None
    told["max_ms"] = round(gaps.max / 1e6, 3) if measured else None
    told["n"] = gaps.count
    return told
