"""What the mappers share: decoding, errors, halves of characters, usage."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from midstream._core.words import counted
from midstream.stream.events import TEXT_KINDS, Event, Kind
from midstream.stream.formats.counts import token_counts
from midstream.stream.wire import finite, is_high_half, join_halves, parse_json

__all__ = [
    "MOST_KEPT",
    "Part",
    "PayloadMapper",
    "as_index",
    "compact",
    "error_text",
    "keep",
    "part_text",
    "text_or_none",
]

_DONE = "[DONE]"
#: Channels in which half a character may wait for the other at one time.
_MOST_HELD = 256
#: Above any index. Python writes integers of many digits slowly, and of some thousand not at all.
_MOST_INDEX = 1 << 31

#: Texts, calls or answers of one kind that a mapper remembers; the oldest are forgotten first.
MOST_KEPT = 65_536


class PayloadMapper:
    """The part of a mapper that does not depend on the provider.

    By itself it knows errors and ``[DONE]``, which most APIs share, and no API. A subclass says in
    `_map` what else a payload gives.

    Attributes
    ----------
    seq : int
        Sequence number of the next event.
    count : int
        Payloads seen, malformed ones included.
    done : bool
        Whether ``[DONE]`` was seen.
    known : bool
        Whether anything was seen that it knows, or said to be malformed.

    Notes
    -----
    A character beyond U+FFFF that a server cut into its two UTF-16 halves is whole again: the
    first half waits for the next delta of the same kind and stream id. Where the second never
    comes, the first is delivered as it came, before the end.

    ``usage`` events carry, in place of a payload, the provider's counts as ``usage`` and the same
    under common names as ``tokens``.

    Examples
    --------
    >>> PayloadMapper().events({"error": {"message": "overloaded"}}, 0)[0].text
    'overloaded'
    """

    __slots__ = ("_answers", "_failed", "_held", "_lead", "count", "done", "known", "seq")

    api: ClassVar[str] = ""
    #: What `unknown` says that it has not seen.
    title: ClassVar[str] = "a known API"
    #: How a stream that is not cut off ends.
    ending: ClassVar[str] = "an end"

    def __init__(self) -> None:
        self.seq = 0
        self.count = 0
        self.done = False
        self.known = False
        self._failed = False
        self._answers = 1
        self._lead = ""  # of the stream ids of the second answer on a connection, and of further
        # Kind and stream id -> first half of a character, the tool's name, the call's id.
        self._held: dict[tuple[Kind, str], tuple[str, str | None, str | None]] = {}

    def decode(
        self,
        text: str,
        t_ns: int,
        *,
        offset: int | None = None,
        problem: str | None = None,
        event: str = "",
    ) -> list[Event]:
        """Events of one payload as it came over the wire; as `Mapper.decode`.

        The end marker is ``[DONE]``.
        """
        self.count += 1
        events: list[Event] = []
        if len(text) < 64:  # room for blanks around it, and no scan of long payloads
            bare = text.strip()
            if not bare:
                return events
            if bare == _DONE:
                events += self.finish(t_ns)
                self.done = self.known = True
                return events
        try:
            payload = parse_json(text)
        except (ValueError, RecursionError) as error:
            cause = str(error) if isinstance(error, ValueError) else "nested too deeply"
            detail = f"{problem}; not JSON either" if problem else "not JSON"
            return [self.failure(f"{self._where(offset)}: {detail}: {cause}", t_ns, text)]
        if problem:
            events.append(self.failure(f"{self._where(offset)}: {problem}", t_ns))
        count, seq = self.count, self.seq
        self.count -= 1  # `events` counts it again
        try:
            events += self.events(payload, t_ns, event=event)
        except RecursionError:  # parsed with the stack's last frames, but not shown with them
            self.count, self.seq = count, seq
            message = f"{self._where(offset)}: nested too deeply"
            events.append(self.failure(message, t_ns, text))
        return events

    def _where(self, offset: int | None) -> str:
        return f"event {self.count}" + ("" if offset is None else f" at byte {offset}")

    def events(self, payload: Any, t_ns: int, *, event: str = "") -> list[Event]:
        """Events of one parsed payload; at least one, whatever it is."""
        self.count += 1
        out: list[Event] = []
        if isinstance(payload, dict):
            self._map(out, payload, t_ns, event)
            if out:
                self.known = True
                return out
        self._add(out, "text", t_ns, payload)
        return out

    def failure(self, message: str, t_ns: int, data: Any = None) -> Event:
        """Make the next event an ``error`` with this message."""
        event = Event("error", self.seq, t_ns, message, None, data)
        self.seq += 1
        self.known = True
        return event

    def finish(self, t_ns: int) -> list[Event]:
        """What was held back of texts, to be asked when nothing follows."""
        out: list[Event] = []
        if self._held:
            self._release(out, t_ns, None)
        return out

    def cut(self) -> str | None:
        """Say how the stream broke off, to be asked when it is over; None where it ended well.

        A stream ends well as its API says, with an error of its own, or where it never was one of
        this API.
        """
        if self.done or self._failed or not self._unended():
            return None
        return f"closed mid-stream after event {self.count}: {self.ending} arrived"

    def unknown(self) -> str | None:
        """Say that nothing was of this API, to be asked when it is over; None otherwise."""
        if self.known:
            return None
        return f"{counted(self.count, 'event')}, none of them of {self.title}"

    def _unended(self) -> bool:
        """Whether something has begun that has not ended."""
        return False

    def _map(self, out: list[Event], payload: dict[str, Any], t_ns: int, event: str) -> None:
        """Put the events of a payload into `out`; none where it says nothing that is known."""
        self._error(out, payload, t_ns, event)

    def _again(
        self, out: list[Event], t_ns: int, payload: dict[str, Any], *, broken: bool = False
    ) -> None:
        """Begin another answer; `broken` where the last one has not ended."""
        if self._held:
            self._release(out, t_ns, payload)
        if broken:
            self._failed = True
            text = "a new answer began before the last one ended"
            self._add(out, "error", t_ns, payload, text)
        self._lead = f"r{self._answers}."
        self._answers += 1

    def _add(
        self,
        out: list[Event],
        kind: Kind,
        t_ns: int,
        payload: Any,
        text: str = "",
        name: str | None = None,
        stream_id: str = "",
        call_id: str | None = None,
    ) -> None:
        if self._lead:
            stream_id = self._lead + stream_id
        if text and (self._held or "\ud800" <= text[-1] <= "\udbff") and kind in TEXT_KINDS:
            text = self._join(kind, text, name, stream_id, call_id)
        data = None if out else payload
        out.append(Event(kind, self.seq, t_ns, text, name, data, stream_id, call_id))
        self.seq += 1

    def _join(
        self, kind: Kind, text: str, name: str | None, stream_id: str, call_id: str | None
    ) -> str:
        """Put what is held before a delta's text, and hold half a character at its end back."""
        key = (kind, stream_id)
        held = self._held.pop(key, None)
        if held is not None:
            text = join_halves(held[0], text)
        if is_high_half(text[-1]) and len(self._held) < _MOST_HELD:
            self._held[key] = (text[-1], name, call_id)
            text = text[:-1]
        return text

    def _release(
        self, out: list[Event], t_ns: int, payload: Any, within: str | None = None
    ) -> None:
        """Deliver what is held of one text and what belongs to it, or of all."""
        if within is not None:
            within = self._lead + within
        for key in list(self._held):
            kind, stream_id = key
            if within is None or stream_id == within or stream_id.startswith(f"{within}/"):
                half, name, call_id = self._held.pop(key)
                data = None if out else payload
                out.append(Event(kind, self.seq, t_ns, half, name, data, stream_id, call_id))
                self.seq += 1

    def _usage(
        self,
        out: list[Event],
        usage: Any,
        t_ns: int,
        payload: Any,
        stream_id: str = "",
        before: dict[str, Any] | None = None,
    ) -> None:
        """Add the usage event of counts as a provider told them, if any.

        `before` holds what earlier payloads of the same answer told, and learns from this one.
        """
        if not isinstance(usage, dict) or not usage:
            return
        try:
            # It is kept and shown far from here, and an SDK's own parser lets NaN through.
            own = finite(usage)
        except RecursionError:  # these are no counts
            return
        if not out:  # counts are read far from where they arrive: they have data of their own
            self._add(out, "text", t_ns, payload)
        whole = own
        if before is not None:
            before.update((name, count) for name, count in own.items() if count is not None)
            whole = before
        data = {"usage": own, "tokens": token_counts(whole)}
        out.append(Event("usage", self.seq, t_ns, "", None, data, self._lead + stream_id))
        self.seq += 1

    def _error(self, out: list[Event], payload: dict[str, Any], t_ns: int, event: str) -> bool:
        """Add the error event of a payload that is one; whether it is."""
        error = payload.get("error")
        kinds = (payload.get("object"), payload.get("type"), event)
        if not error and "error" not in kinds:
            return False
        self._failed = True
        self._add(out, "error", t_ns, payload, error_text(error if error else payload))
        return True


class Part:
    """One of the parallel texts or tool calls of an answer, while it comes.

    Parameters
    ----------
    stream_id : str
        As its events have it.
    kind : str
        The provider's name of what it is.
    name, call_id : str, optional
        Of a tool call.
    given : object, optional
        Arguments that came whole, in case no piece of them does.
    """

    __slots__ = ("call_id", "given", "kind", "name", "said", "stream_id")

    def __init__(
        self,
        stream_id: str,
        kind: str = "",
        name: str | None = None,
        call_id: str | None = None,
        given: Any = None,
    ) -> None:
        self.stream_id = stream_id
        self.kind = kind
        self.name = name
        self.call_id = call_id
        self.given = given
        self.said = False  # whether a piece of its text or arguments came


def as_index(value: Any, otherwise: int) -> int:
    """Return what can be an index of something; `otherwise` for all else."""
    return value if type(value) is int and 0 <= value < _MOST_INDEX else otherwise


def keep(kept: dict[Any, Any], key: Any, value: Any) -> None:
    """Remember something that a peer can name as often as it likes: a bounded number of times."""
    if len(kept) >= MOST_KEPT and key not in kept:
        del kept[next(iter(kept))]
    kept[key] = value


def text_or_none(value: Any) -> str | None:
    """Return what is a text that says something; None for all else."""
    return value if value and isinstance(value, str) else None


def compact(value: Any) -> str:
    """Write a parsed value as JSON without blanks, which is how tools' arguments travel.

    Examples
    --------
    >>> compact({"city": "Zürich", "days": [1, 2]})
    '{"city":"Zürich","days":[1,2]}'
    """
    return _encode(value)


# One encoder for all: `json.dumps` with options makes one a call.
_encode = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), default=str, skipkeys=True
).encode


def part_text(content: Any) -> str:
    """Text of what APIs put into messages and results: text, or a list of typed parts.

    Parts that are not text are written as JSON, so that a result always says something.

    Examples
    --------
    >>> part_text([{"type": "text", "text": "18 degrees"}, {"type": "image", "url": "x"}])
    '18 degrees{"type":"image","url":"x"}'
    """
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if isinstance(content, list):
        return "".join([_piece(part) for part in content])
    return _piece(content)


def _piece(part: Any) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict):
        text = part.get("text")
        if isinstance(text, str):
            return text
    return compact(part)


def error_text(error: Any) -> str:
    """Make one line of whatever a server puts under ``error``.

    Examples
    --------
    >>> error_text({"type": "overloaded_error", "message": "try\\nlater"})
    'overloaded_error: try later'
    """
    if isinstance(error, dict):
        message = error.get("message") or error.get("detail")
        kind = error.get("type")
        if not kind or kind == "error":  # the latter names the payload, not what went wrong
            kind = error.get("code")
        if isinstance(message, str):
            text = f"{kind}: {message}" if isinstance(kind, str) else message
        else:
            text = json.dumps(error, ensure_ascii=False, default=str)
    else:
        text = error if isinstance(error, str) else repr(error)
    return " ".join(text.split())
