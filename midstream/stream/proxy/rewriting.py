"""What a client gets of a stream: everything as it came, until a rule acts.

A `Core` knows one protocol's payloads: which belong to a tool call, how a call is replaced by
text, how a stream is cut at a character and ended. It does not know bytes: the rewriters in
`bodies` drive it over server-sent events, lines and whole answers, `wrapping` over SDK objects.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from midstream.stream.events import TEXT_KINDS, Event, Finding
from midstream.stream.proxy.doubts import doubts_of, muddle_of
from midstream.stream.proxy.holding import Late, Span, TextHold

if TYPE_CHECKING:
    from midstream.stream.formats import Mapper
    from midstream.stream.guard import Denial, Guard, Step
    from midstream.stream.patterns import PatternSet

__all__ = ["ENDINGS", "MOST_PARTS", "Core", "Ending", "Item", "OrderedCore"]

Ending = Literal["filtered", "normal", "error"]
#: How a client's stream can be ended after a stop.
ENDINGS: tuple[Ending, ...] = ("filtered", "normal", "error")

#: Choices, blocks and calls of one answer that are kept apart; more end it with an error.
MOST_PARTS = 16_384
#: Findings whose evidence is what was repeated, so that the text is cut behind it.
_BEHIND = frozenset({"loop", "near_loop"})
_FREE: frozenset[str] = frozenset()


class Item:
    """One thing for the client: an original, untouched, or a payload of ours.

    Parameters
    ----------
    original : object
        What carried the payload: bytes, an SDK's object; None where the payload is ours.
    payload : object
        The payload.
    name : str
        Name of the server-sent event.
    size : int
        Bytes that it takes.
    """

    __slots__ = ("name", "original", "payload", "size")

    def __init__(self, original: Any, payload: Any = None, name: str = "", size: int = 0) -> None:
        self.original = original
        self.payload = payload
        self.name = name
        self.size = size


class Core(ABC):
    """What all protocols have in common.

    Parameters
    ----------
    guard : Guard
        Says what may pass.
    mapper : Mapper
        Turns payloads into events.
    ending : {"filtered", "normal", "error"}
        How the client's stream ends after a stop: as one that a filter cut, as one that came to
        its end, or with an error.
    max_held_bytes : int
        Most that may wait for a verdict; beyond it the stream is ended with an error.

    Attributes
    ----------
    over : bool
        The client's stream has had its end.
    stopped : Finding or None
        Why it was cut.
    denied : list of Denial
        Calls that were replaced.
    held_bytes : int
        Calls that wait for their verdict now.
    late_bytes : int
        Payloads that wait for what their text becomes.
    doubt : str or None
        Why the stream was ended: what could be read in more than one way.
    """

    def __init__(
        self, guard: Guard, mapper: Mapper, *, ending: Ending = "filtered", max_held_bytes: int
    ) -> None:
        self.guard = guard
        self.mapper = mapper
        self.over = False
        self.stopped: Finding | None = None
        self.denied: list[Denial] = []
        self.held_bytes = 0
        self._ending = ending
        self._max_held_bytes = max_held_bytes
        self._chars: dict[tuple[str, str], int] = {}  # of each text so far
        self._denied_ids: set[str] = set()
        self._crowded = False  # there are more parts than are kept apart
        self._slow = False  # something is held, or was denied: payloads need a closer look
        self._settled = False
        self._doubts = doubts_of(mapper.api, guard)
        self.doubt: str | None = None
        self._hold: TextHold | None = None
        self._late: deque[Late] = deque()
        self._spans: list[Span] = []  # of the payload at hand
        self._cut_at: float | None = None  # of its text, where that is not for the finding to say

    @property
    def late_bytes(self) -> int:
        """Payloads that wait for what their text becomes."""
        return sum(late.item.size for late in self._late)

    def hold(self, patterns: Mapping[str, PatternSet], most: int) -> None:
        """Hold payloads back as long as their text may be part of what is forbidden.

        Parameters
        ----------
        patterns : mapping of str to PatternSet
            What is forbidden, by channel.
        most : int
            Characters of one text that may wait.

        Notes
        -----
        They wait after they were judged, and with them what comes behind them. Nothing is known of
        them to what ends the stream.
        """
        self._hold = TextHold(patterns, most)

    def read_whole(self, *, whole: bool = True) -> None:
        """Take note that the payloads to come are made of one answer, not of pieces."""
        if self._doubts is not None:
            self._doubts.whole = whole

    def look(self, payload: Any, events: Sequence[Event]) -> dict[int, Step] | None:
        """Ask the guard about a payload; None says that it passes as it came.

        Parameters
        ----------
        payload : object
            As parsed; None where it could not be.
        events : sequence of Event
            What the mapper made of it.

        Returns
        -------
        dict of int to Step, or None
            For `act`.
        """
        doubts = self._doubts
        if doubts is not None and isinstance(payload, dict):
            self.doubt = doubts.take(payload)
            if self.doubt is not None:
                return {}
        take = self.guard.take
        chars = self._chars
        hold = self._hold
        self._spans = []
        acts: dict[int, Step] | None = None
        slow = self._slow
        for number, event in enumerate(events):
            kind, _, _, text, _, _, stream_id, *_ = event
            step = take(event)
            if kind in TEXT_KINDS:
                key = (kind, stream_id)
                said = chars.get(key)
                if said is None:
                    said = 0
                    self._crowded = self._crowded or len(chars) >= MOST_PARTS
                chars[key] = end = said + len(text)
                if hold is not None and kind != "tool_call" and hold.take(key, text, end):
                    self._spans.append((number, key, end))
            elif kind == "end" and hold is not None:
                hold.end(stream_id)
            if kind == "tool_call" or kind == "end":
                slow = self._notable(event) or slow
            if step[1] is not None or step[2] or step[3] or step[4]:
                if acts is None:
                    acts = {}
                acts[number] = step
                if step[1] is not None:
                    break
        if acts is None:
            waits = self._late or (hold is not None and not self._free(self._spans))
            if not slow and not self._crowded and not waits:
                self._seen(payload)
                return None
            acts = {}
        return acts

    def act(
        self, payload: Any, events: Sequence[Event], item: Item, acts: dict[int, Step]
    ) -> list[Item]:
        """What goes to the client for a payload that `look` does not let pass as it came."""
        if self.doubt is not None:
            return self.refuse(self.doubt)
        if self._hold is None:
            out = self._act(payload, events, item, acts)
        else:
            self._late.append(Late(payload, events, item, acts, self._spans))
            stop = next((step.stop for step in acts.values() if step.stop is not None), None)
            out = self._freed_texts() if stop is None else self._unwound(stop)
        if not self.over and self.held_bytes > self._max_held_bytes:
            limit = self._max_held_bytes
            out += self.fail(f"a tool call of more than {limit} bytes waits for its verdict")
        if not self.over and self._late and self.late_bytes > self._max_held_bytes:
            limit = self._max_held_bytes
            out += self.fail(f"text in more than {limit} bytes waits for its verdict")
        if not self.over and self._crowded:
            out += self.fail(f"more than {MOST_PARTS} texts and calls in one answer")
        return out

    def settle(self, outcome: str = "ended", *, broken: bool = False) -> list[Item]:
        """Take note that no payload follows; what that releases, replaces or ends.

        Parameters
        ----------
        outcome : str
            Of the stream, as `Guard.finish` takes it.
        broken : bool
            It failed by itself.
        """
        if self._settled:
            return []
        self._settled = True
        step = self.guard.finish(outcome, broken=broken)
        out: list[Item] = []
        if self._late and not self.over and outcome == "ended":
            if self._hold is not None:
                self._hold.end("")
            out += self._freed_texts() if step.stop is None else self._unwound(step.stop)
        if self.over or outcome != "ended":
            self._late.clear()
            self._forget()
            return out
        for stream_id in step.released:
            out += self._release(stream_id)
        for denial in step.denied:
            out += self._deny(denial)
        out += self._rest()
        return out

    def expire(self, waited_ns: int) -> list[Item]:
        """Take note of silence; the end of the stream, where a rule says so."""
        if self.over:
            return []
        step = self.guard.expire(waited_ns)
        return [] if step.stop is None else self._stop(step.stop)

    def muddle(self, text: str) -> str | None:
        """Say why clients may parse a payload's text otherwise, where it may hold calls."""
        doubts = self._doubts
        if doubts is None or not ("\\u" in text or doubts.touches(text)):
            return None
        why = muddle_of(text)
        return why if why is not None and doubts.matters((None,)) else None

    def refuse(self, why: str) -> list[Item]:
        """End the stream since clients would read different calls in it, one of them forbidden."""
        self.doubt = message = f"the upstream's tool calls can be read in more than one way: {why}"
        self.guard.take(self.mapper.failure(message, 0))
        return self.fail(message)

    def fail(self, message: str, kind: str = "midstream_error") -> list[Item]:
        """End the stream in the protocol's form of an error."""
        if self.over:
            return []
        self.over = True
        self._late.clear()
        self._forget()
        return self._failing(message, kind)

    def _stop(self, finding: Finding) -> list[Item]:
        """End the stream because of a finding."""
        self.over = True
        self.stopped = finding
        self._late.clear()
        self._forget()
        if self._ending == "error":
            return self._failing(reason_of(finding), "midstream_stop")
        return self._closing(finding)

    def _kept(self, finding: Finding, event: Event) -> int:
        """Characters of the event at which a stop was decided that still go to the client.

        A loop is cut behind what proves it, anything else before what is not to be seen.
        """
        if event.kind not in TEXT_KINDS or not event.text:
            return 0
        if self._cut_at is not None:
            size = len(event.text)
            begin = self._chars[event.kind, event.stream_id] - size
            return int(min(max(self._cut_at - begin, 0), size))
        evidence = finding.evidence
        if (
            evidence.get("channel", event.kind) != event.kind
            or evidence.get("stream_id", event.stream_id) != event.stream_id
        ):
            return 0
        size = len(event.text)
        begin = self._chars[event.kind, event.stream_id] - size
        place = finding.end if finding.kind in _BEHIND else finding.start
        return min(max(place - begin, 0), size)

    # Texts that wait.

    def _free(self, spans: Sequence[Span]) -> bool:
        """Whether texts can no longer become part of what is forbidden."""
        hold = self._hold
        return hold is None or all(end <= hold.shown(key) for _, key, end in spans)

    def _apply(self, late: Late) -> list[Item]:
        """What goes to the client for a payload that has waited."""
        return self._act(late.payload, late.events, late.item, late.acts)

    def _freed_texts(self) -> list[Item]:
        """What goes to the client for payloads that wait for nothing any more."""
        out: list[Item] = []
        while self._late and not self.over and self._free(self._late[0].spans):
            out += self._apply(self._late.popleft())
        return out

    def _unwound(self, finding: Finding) -> list[Item]:
        """What goes to the client for payloads that wait, when a rule ends the stream."""
        last = self._late[-1]
        number = next((n for n, step in last.acts.items() if step.stop is not None), None)
        event = None if number is None else last.events[number]
        evidence = finding.evidence
        mine = (
            evidence.get("channel", None if event is None else event.kind),
            evidence.get("stream_id", None if event is None else event.stream_id),
        )
        place = finding.end if finding.kind in _BEHIND else finding.start
        hold = self._hold
        out: list[Item] = []
        while self._late and not self.over:
            late = self._late[0]
            for number, key, end in late.spans:
                limit = float("inf") if hold is None else hold.shown(key)
                if key == mine:
                    limit = min(limit, place)
                if end > limit:
                    return out + self._cut_short(late, number, key, end, limit, finding)
            out += self._apply(self._late.popleft())
        return out if self.over else out + self._stop(finding)

    def _cut_short(
        self, late: Late, number: int, key: tuple[str, str], end: int, limit: float, by: Finding
    ) -> list[Item]:
        """End the stream within a payload that has waited."""
        from midstream.stream.guard import Step

        acts = {n: step for n, step in late.acts.items() if n < number}
        acts[number] = Step(stop=by)
        self._chars[key] = end
        self._cut_at = limit
        return self._act(late.payload, late.events, late.item, acts)

    # What a protocol knows.

    def _notable(self, event: Event) -> bool:
        """Take note of a ``tool_call`` or ``end``; whether its payload needs a closer look."""
        return False

    @abstractmethod
    def _seen(self, payload: Any) -> None:
        """Take note of what the client gets, for the stream's end."""

    @abstractmethod
    def _act(
        self, payload: Any, events: Sequence[Event], item: Item, acts: dict[int, Step]
    ) -> list[Item]:
        """What goes to the client for a payload that is held, replaced, cut or renumbered."""

    @abstractmethod
    def _release(self, stream_id: str) -> list[Item]:
        """Everything held of a call that is allowed."""

    @abstractmethod
    def _deny(self, denial: Denial) -> list[Item]:
        """Text in place of a call that is not."""

    @abstractmethod
    def _rest(self) -> list[Item]:
        """Whatever still waits for no reason, when nothing follows."""

    @abstractmethod
    def _forget(self) -> None:
        """Drop what is held."""

    @abstractmethod
    def _closing(self, finding: Finding) -> list[Item]:
        """Payloads that end the stream as cut, or as complete."""

    @abstractmethod
    def _failing(self, message: str, kind: str) -> list[Item]:
        """Payloads that end the stream with an error."""


class OrderedCore(Core):
    """Protocols whose payloads belong to one block each, the blocks' order being their meaning.

    While a call waits for its verdict, what comes behind it waits too: a client that counts blocks
    would put it in the wrong place.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._queue: list[tuple[frozenset[str], Item]] = []
        self._held: set[str] = set()  # calls that wait for their verdict
        self._blocks: dict[int, str] = {}  # the provider's index -> stream id of the call
        self._calls: set[str] = set()  # calls for the client to run, denied ones left out

    @abstractmethod
    def _index(self, payload: Any) -> int | None:
        """The block that a payload belongs to."""

    @abstractmethod
    def _starts(self, payload: Any) -> bool:
        """Whether a payload begins a block."""

    @abstractmethod
    def _unordered(self, payload: Any) -> bool:
        """Whether a payload may overtake those that wait."""

    def _names_calls(self, payload: Any) -> bool:
        """Whether a payload of no block may name denied calls, which `_patched` takes out."""
        return False

    @abstractmethod
    def _replacement(self, denial: Denial, index: int) -> list[Item]:
        """Payloads of a text block in place of a denied call."""

    @abstractmethod
    def _cut(self, payload: Any, event: Event, keep: int) -> list[Item]:
        """The payload with the first `keep` characters of the event's text."""

    @abstractmethod
    def _patched(self, payload: Any, item: Item) -> Item:
        """A payload that names calls which were denied, without them."""

    def _notable(self, event: Event) -> bool:
        call = event.stream_id
        if event.kind == "tool_call" and call not in self._denied_ids and not call.endswith("!"):
            self._calls.add(call)
        return False

    def _sent(self, item: Item) -> Item:
        """Take note of an item that goes to the client now."""
        self._seen(item.payload)
        return item

    def _act(
        self, payload: Any, events: Sequence[Event], item: Item, acts: dict[int, Step]
    ) -> list[Item]:
        out: list[Item] = []
        index = self._index(payload)
        if index is not None and self._starts(payload):
            self._blocks.pop(index, None)
        call = self._blocks.get(index) if index is not None else None
        calls = set() if call is None else {call}
        for number, event in enumerate(events):
            if event.kind == "tool_call":
                calls.add(event.stream_id)
                if index is not None:
                    self._blocks[index] = event.stream_id
            step = acts.get(number)
            if step is None:
                continue
            for stream_id in step.released:
                out += self._release(stream_id)
            for denial in step.denied:
                out += self._deny(denial)
            if step.stop is not None:
                waits = bool(self._queue) or not calls.isdisjoint(self._held)
                self._forget()
                if not waits and calls.isdisjoint(self._denied_ids):
                    if event.kind in ("usage", "error"):
                        out.append(self._sent(self._patched(payload, item)))
                    elif keep := self._kept(step.stop, event):
                        out += map(self._sent, self._cut(payload, event, keep))
                return out + self._stop(step.stop)
            if step.hold and event.stream_id not in self._denied_ids:
                self._held.add(event.stream_id)
                self._slow = True
        if index is not None and calls and calls <= self._denied_ids:
            return out
        if not calls.isdisjoint(self._denied_ids) and not self._names_calls(payload):
            return out + self.fail("a call that was denied stands where none should")
        item = self._patched(payload, item)
        waiting = frozenset(calls & self._held)
        if self._queue or waiting:
            if not waiting and self._unordered(payload):
                return [*out, self._sent(item)]
            self._queue.append((waiting, item))
            self.held_bytes += item.size
            return out
        return [*out, self._sent(item)]

    def _flush(self) -> list[Item]:
        """What waits behind nothing any more."""
        free = 0
        for calls, _ in self._queue:
            if not calls.isdisjoint(self._held):
                break
            free += 1
        out = [self._sent(item) for _, item in self._queue[:free]]
        del self._queue[:free]
        self.held_bytes = sum(item.size for _, item in self._queue)
        self._slow = bool(self._queue or self._held or self._denied_ids)
        return out

    def _release(self, stream_id: str) -> list[Item]:
        self._held.discard(stream_id)
        return self._flush()

    def _deny(self, denial: Denial) -> list[Item]:
        stream_id = denial.stream_id
        if stream_id in self._denied_ids:
            return []
        self.denied.append(denial)
        self._denied_ids.add(stream_id)
        self._held.discard(stream_id)
        self._calls.discard(stream_id)
        self._slow = True
        mine = frozenset((stream_id,))
        first = next((n for n, (c, _) in enumerate(self._queue) if c == mine), len(self._queue))
        new = [(_FREE, item) for item in self._replacement(denial, block_of(stream_id))]
        self._queue[first:] = new + [entry for entry in self._queue[first:] if entry[0] != mine]
        return self._flush()

    def _rest(self) -> list[Item]:
        self._held.clear()
        return self._flush()

    def _forget(self) -> None:
        self._queue.clear()
        self._held.clear()
        self.held_bytes = 0


def block_of(stream_id: str) -> int:
    """The provider's index of a call.

    Examples
    --------
    >>> block_of("2"), block_of("r1.3!")
    (2, 3)
    """
    return int(stream_id.rpartition(".")[2].rstrip("!").partition(":")[0])


def reason_of(finding: Finding) -> str:
    """One line for a client: which rule, and what it says."""
    message = finding.message
    rule = finding.evidence.get("rule")
    if rule is not None and message.startswith(f"{rule}: "):
        message = message[len(rule) + 2 :]
    return f"stopped by midstream ({rule_of(finding)}): {message}"


def rule_of(finding: Finding) -> str:
    """Name of the policy, or else kind of what was found."""
    return str(finding.evidence.get("rule") or finding.kind)


def told(finding: Finding) -> dict[str, Any]:
    """What programs may read about a stop, in the last payload."""
    return {
        "kind": finding.kind,
        "rule": finding.evidence.get("rule"),
        "message": finding.message,
    }
