"""Decoders: what a source receives in, events out; no input or output of their own.

A decoder's `feed` takes one item (bytes, text, a payload) and returns the events it completes;
`finish` says that nothing follows. Neither raises for what a stream may contain: a decoder that
cannot go on returns the events it still has and sets `error`.
"""

from __future__ import annotations

import codecs
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal, Protocol

from midstream._core.errors import (
    ArgumentTypeError,
    EndpointError,
    MalformedStreamError,
    MidstreamError,
    SourceError,
)
from midstream._core.words import counted
from midstream.stream.events import Event
from midstream.stream.formats.detecting import AutoMapper
from midstream.stream.formats.protocol import Mapper
from midstream.stream.sse import DEFAULT_MAX_BYTES, ServerSentEvent, SSEParser
from midstream.stream.wire import is_high_half, join_halves

__all__ = [
    "FORMATS",
    "Decoder",
    "Format",
    "LineDecoder",
    "NDJSONDecoder",
    "ObjectDecoder",
    "PlainDecoder",
    "SSEDecoder",
    "plain",
]

Format = Literal["sse", "recording", "ndjson", "text"]
#: Formats that a pipe may speak.
FORMATS: tuple[Format, ...] = ("sse", "recording", "ndjson", "text")


class Decoder(Protocol):
    """Turns the items of a source into events."""

    @property
    def error(self) -> MidstreamError | None:
        """Why it cannot go on, to be raised once its events are handed out."""

    @property
    def done(self) -> bool:
        """Whether the stream said that it is over, so that nothing more need be read."""

    def feed(self, item: Any, t_ns: int) -> list[Event]:
        """Events that `item`, arrived at `t_ns`, completes."""

    def finish(self, t_ns: int, *, broken: bool = False) -> list[Event]:
        """Events left when nothing follows; `broken` where the transport failed and will say so."""


class PlainDecoder:
    """What is at hand: str or bytes become text events, events pass, payloads are mapped.

    Bytes are UTF-8 and may be cut anywhere; str may be cut between the two UTF-16 halves of a
    character, as JavaScript does it. A piece that completes no character gives no event. A first
    half without its second is delivered as it came. Dicts, and objects of an SDK, are payloads of
    any API.
    """

    __slots__ = ("_half", "_mapper", "_offset", "_utf8", "done", "error", "seq")

    def __init__(self) -> None:
        self.seq = 0
        self.error: MidstreamError | None = None
        self.done = False
        self._half = ""
        self._mapper: AutoMapper | None = None
        self._offset = 0
        self._utf8 = codecs.getincrementaldecoder("utf-8")()

    def feed(self, item: Any, t_ns: int) -> list[Event]:
        """Events of one str, bytes or `Event`."""
        if isinstance(item, str):
            text = item
        elif isinstance(item, Event):
            held = self._rest(t_ns)
            self.seq = item.seq + 1
            return [*held, item]
        elif isinstance(item, (bytes, bytearray, memoryview)):
            text = self._decode(bytes(item), final=False)
            if not text:
                return []
        else:
            payload = item if isinstance(item, dict) else plain(item)
            if payload is not None:
                return self._rest(t_ns) + self._map(payload, t_ns)
            kind = type(item).__name__
            self.error = ArgumentTypeError(
                f"item {self.seq} must be str, bytes, Event or a payload, got {kind}"
            )
            return self._rest(t_ns)
        if text and (self._half or is_high_half(text[-1])):
            if self._half:
                text = join_halves(self._half, text)
                self._half = ""
            if is_high_half(text[-1]):
                self._half, text = text[-1], text[:-1]
                if not text:
                    return []
        event = Event("text", self.seq, t_ns, text)
        self.seq += 1
        return [event]

    def finish(self, t_ns: int, *, broken: bool = False) -> list[Event]:
        """Notice a last character that did not come whole."""
        self._decode(b"", final=not broken)
        out = self._rest(t_ns)
        mapper = self._mapper
        if mapper is not None:
            mapper.seq = self.seq
            out += mapper.finish(t_ns)
            cut = None if broken else mapper.cut()
            if cut is not None:
                out.append(mapper.failure(cut, t_ns))
            self.seq = mapper.seq
        return out

    def _map(self, payload: Any, t_ns: int) -> list[Event]:
        mapper = self._mapper
        if mapper is None:
            mapper = self._mapper = AutoMapper()
        mapper.seq = self.seq
        out = mapper.events(payload, t_ns)
        self.seq = mapper.seq
        return out

    def _rest(self, t_ns: int) -> list[Event]:
        """Deliver half a character that waited in vain."""
        half, self._half = self._half, ""
        if not half:
            return []
        self.seq += 1
        return [Event("text", self.seq - 1, t_ns, half)]

    def _decode(self, piece: bytes, *, final: bool) -> str:
        held = len(self._utf8.getstate()[0])
        start = self._offset - held
        self._offset += len(piece)
        try:
            return self._utf8.decode(piece, final)
        except UnicodeDecodeError as error:
            self.error = MalformedStreamError(
                f"invalid UTF-8 ({error.reason}: {error.object[error.start : error.end]!r})",
                place=f"byte {start + error.start}",
            )
            return error.object[: error.start].decode("utf-8")


def plain(item: Any, leave_out: tuple[str, ...] = ()) -> Any:
    """Make plain dicts and lists of an object of an SDK; None where it is none.

    `leave_out` names fields that the SDK adds to what was sent.
    """
    dump = getattr(item, "model_dump", None)
    if dump is None:
        return None
    # Only what was sent, under the names it was sent by, and no complaint where it differs from
    # the SDK's types: SDKs build objects without validating them, and servers send more than the
    # types say.
    options: dict[str, Any] = {"exclude_unset": True, "by_alias": True, "warnings": False}
    if leave_out:
        options["exclude"] = set(leave_out)
    try:
        return dump(mode="json", **options)
    except ValueError:  # bytes that are no text, or what else JSON does not have
        return dump(**options)


class ObjectDecoder:
    """Payloads of a provider as objects of its SDK, dicts, or JSON text.

    Parameters
    ----------
    mapper : Mapper, optional
        Whose payloads they are; by default they tell.
    what : str
        What an item should have been, for messages.
    unwrap : callable, optional
        Given an object of an SDK, what to read in its place: itself, another object, a dict, or
        None to skip what the SDK made of events that came before.
    """

    __slots__ = ("_unwrap", "_what", "error", "mapper")

    def __init__(
        self,
        mapper: Mapper | None = None,
        *,
        what: str = "a provider's event",
        unwrap: Callable[[Any], Any] | None = None,
    ) -> None:
        self.mapper: Mapper = AutoMapper() if mapper is None else mapper
        self.error: MidstreamError | None = None
        self._what = what
        self._unwrap = unwrap

    @property
    def done(self) -> bool:
        """Whether ``[DONE]`` came."""
        return self.mapper.done

    def feed(self, item: Any, t_ns: int) -> list[Event]:
        """Events of one payload."""
        if isinstance(item, dict):
            return self.mapper.events(item, t_ns)
        if isinstance(item, str):
            return self.mapper.decode(item, t_ns)
        if isinstance(item, (bytes, bytearray, memoryview)):
            raw = bytes(item)
            try:
                return self.mapper.decode(raw.decode("utf-8"), t_ns)
            except UnicodeDecodeError as error:
                problem = f"invalid UTF-8 at byte {error.start} of its data ({error.reason})"
                text = raw.decode("utf-8", "replace")
                return self.mapper.decode(text, t_ns, problem=problem)
        if self._unwrap is not None:
            item = self._unwrap(item)
            if item is None:
                return []
        payload = item if isinstance(item, dict) else plain(item)
        if payload is None:
            self.error = ArgumentTypeError(
                f"item {self.mapper.count} must be {self._what}, a dict or JSON text,"
                f" got {type(item).__name__}"
            )
            return []
        return self.mapper.events(payload, t_ns)

    def finish(self, t_ns: int, *, broken: bool = False) -> list[Event]:
        """What was held back, and an error event if the stream was cut off."""
        out = self.mapper.finish(t_ns)
        cut = None if broken else self.mapper.cut()
        if cut is not None:
            out.append(self.mapper.failure(cut, t_ns))
        return out


class SSEDecoder:
    """A provider's stream as a body of server-sent events.

    Parameters
    ----------
    max_bytes : int, default 8 MiB
        Longest line, and most data in one event.
    place : str, optional
        Where the body comes from. With it, a body that breaks off is an `EndpointError` naming
        the place; without, it is an error event, since a file may be an excerpt.
    mapper : Mapper, optional
        Whose events they are; by default they tell.
    """

    __slots__ = ("_place", "error", "mapper", "parser")

    def __init__(
        self,
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        place: str | None = None,
        mapper: Mapper | None = None,
    ) -> None:
        self.parser = SSEParser(max_bytes=max_bytes)
        self.mapper: Mapper = AutoMapper() if mapper is None else mapper
        self.error: MidstreamError | None = None
        self._place = place

    @property
    def done(self) -> bool:
        """Whether ``[DONE]`` came."""
        return self.mapper.done

    def feed(self, item: Any, t_ns: int) -> list[Event]:
        """Events of the next bytes (or text)."""
        if isinstance(item, str):
            item = item.encode("utf-8", "surrogatepass")
        elif not isinstance(item, bytes):
            if not isinstance(item, (bytearray, memoryview)):
                self.error = ArgumentTypeError(
                    f"chunks must be bytes, got {type(item).__name__} after "
                    + counted(self.parser.offset, "byte")
                )
                return []
            item = bytes(item)
        return self._run(lambda: self.parser.feed(item), t_ns)

    def finish(self, t_ns: int, *, broken: bool = False) -> list[Event]:
        """The event that no blank line ended, and what there is to say about a cut."""
        size = self.parser.offset
        seen = self.parser.count
        out: list[Event] = []
        for sent in [] if self.error else self._sent(self.parser.finish):
            events = self.mapper.decode(sent.data, t_ns, offset=sent.offset, event=sent.event)
            malformed = any(event.kind == "error" and event.data == sent.data for event in events)
            if malformed and (broken or self._place is not None):
                self.mapper.seq -= len(events)  # half an event is no event: the cut will be told
                if not broken and self.error is None:
                    self._fail(f"closed in the middle of event {self.mapper.count}")
            else:
                out += events
        out += self.mapper.finish(t_ns)
        if broken or self.error is not None:
            return out
        cut = self.mapper.cut()
        unknown = self.mapper.unknown() if size and (seen or self._place is None) else None
        if unknown is not None:
            out.append(self.mapper.failure(f"{unknown}, in {counted(size, 'byte')}", t_ns))
        elif cut is not None:
            if self._place is None:
                out.append(self.mapper.failure(cut, t_ns))
            else:
                self._fail(cut)
        elif self._place is not None and not seen and not out:
            self._fail(f"closed before the first event, after {counted(size, 'byte')}")
        return out

    def _fail(self, message: str) -> None:
        self.error = EndpointError(message, place=self._place)

    def _sent(self, read: Callable[[], list[ServerSentEvent]]) -> list[ServerSentEvent]:
        try:
            sent = read()
        except MalformedStreamError:
            sent = []  # it is in `parser.error`, where an error after good events is too
        if self.parser.error is not None and self.error is None:
            self.error = self.parser.error
            if self._place is not None:
                self.error = MalformedStreamError(str(self.parser.error), place=self._place)
        return sent

    def _run(self, read: Callable[[], list[ServerSentEvent]], t_ns: int) -> list[Event]:
        out: list[Event] = []
        for sent in self._sent(read):
            out += self.mapper.decode(
                sent.data, t_ns, offset=sent.offset, problem=sent.problem, event=sent.event
            )
            if self.mapper.done:
                break
        if self.error is not None:
            out += self.mapper.finish(t_ns)
        return out


class LineDecoder(ABC):
    """Cuts bytes into lines for a subclass, with a limit on their length.

    Parameters
    ----------
    max_bytes : int
        Longest line.
    """

    __slots__ = ("_max_bytes", "_partial", "_size", "error", "number")

    def __init__(self, *, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._partial: list[bytes] = []
        self._size = 0
        self.number = 0
        self.error: MidstreamError | None = None

    @property
    def done(self) -> bool:
        """Whether the stream said that it is over."""
        return False

    @abstractmethod
    def line(self, line: bytes, t_ns: int, *, whole: bool) -> list[Event]:
        """Events of one line without its end; `whole` unless the input ended inside it."""

    def too_long(self, size: int) -> SourceError:
        """Make the error for a line that is too long."""
        return MalformedStreamError(
            f"longer than {self._max_bytes} bytes", place=f"line {self.number + 1}"
        )

    def feed(self, item: Any, t_ns: int) -> list[Event]:
        """Events of the lines that these bytes complete."""
        if isinstance(item, str):
            item = item.encode("utf-8", "surrogatepass")
        *lines, tail = item.split(b"\n")
        out: list[Event] = []
        for line in lines:
            if self._partial:
                self._partial.append(line)
                line = b"".join(self._partial)
                self._partial = []
                self._size = 0
            if len(line) > self._max_bytes:
                self.error = self.too_long(len(line))
            else:
                self.number += 1
                out += self.line(line, t_ns, whole=True)
            if self.error is not None or self.done:
                return out
        if tail:
            self._partial.append(tail)
            self._size += len(tail)
            if self._size > self._max_bytes:
                self.error = self.too_long(self._size)
                self._partial = []
        return out

    def finish(self, t_ns: int, *, broken: bool = False) -> list[Event]:
        """Events of a last line without a line end."""
        if not self._partial or self.error is not None:
            return []
        line = b"".join(self._partial)
        self._partial = []
        self.number += 1
        return self.line(line, t_ns, whole=False)


class NDJSONDecoder(LineDecoder):
    """A provider's payloads as JSON, one a line.

    Parameters
    ----------
    max_bytes : int, default 8 MiB
        Longest line.
    place : str, optional
        Where the body comes from; what it is for is said at `SSEDecoder`.
    mapper : Mapper, optional
        Whose payloads they are; by default they tell.
    """

    __slots__ = ("_place", "mapper")

    def __init__(
        self,
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        place: str | None = None,
        mapper: Mapper | None = None,
    ) -> None:
        super().__init__(max_bytes=max_bytes)
        self.mapper: Mapper = AutoMapper() if mapper is None else mapper
        self._place = place

    @property
    def done(self) -> bool:
        """Whether ``[DONE]`` came."""
        return self.mapper.done

    def line(self, line: bytes, t_ns: int, *, whole: bool) -> list[Event]:
        """Events of one payload."""
        try:
            return self.mapper.decode(line.decode("utf-8"), t_ns)
        except UnicodeDecodeError as error:
            problem = f"invalid UTF-8 at byte {error.start} of its line ({error.reason})"
            return self.mapper.decode(line.decode("utf-8", "replace"), t_ns, problem=problem)

    def finish(self, t_ns: int, *, broken: bool = False) -> list[Event]:
        """Events of the last line, and what there is to say about a cut."""
        out = super().finish(t_ns, broken=broken)
        # Text as data is what was not JSON: half a line here, and half an event is no event.
        half = any(event.kind == "error" and isinstance(event.data, str) for event in out)
        if half and (broken or self._place is not None):
            self.mapper.seq -= len(out)
            out = []
        out += self.mapper.finish(t_ns)
        if self._place is not None and not broken and self.error is None:
            problem = self.mapper.cut()
            if half:
                problem = f"closed in the middle of event {self.mapper.count}"
            elif not self.mapper.seq and not self.mapper.done:
                problem = "closed before the first event"
            if problem is not None:
                self.error = EndpointError(problem, place=self._place)
        if broken or self.error is not None or not self.number:
            return out
        problem = self.mapper.unknown() or self.mapper.cut()
        if problem is not None:
            out.append(self.mapper.failure(problem, t_ns))
        return out
