"""Rewriters: bytes of an upstream's answer in, bytes for the client out, no input or output."""

from __future__ import annotations

import contextlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from midstream._core.validate import check_choice, check_int
from midstream.stream.events import Finding
from midstream.stream.proxy import anthropic, chat, responses
from midstream.stream.proxy.frames import Frame, LineSplitter, SSESplitter, compact, sse_bytes
from midstream.stream.proxy.rewriting import ENDINGS, Core, Ending, Item
from midstream.stream.wire import parse_json

if TYPE_CHECKING:
    from midstream.stream.guard import Denial, Guard

__all__ = ["FRAMINGS", "Framing", "Rewriter", "make_core", "make_rewriter", "rewriter_of"]

Framing = Literal["sse", "lines", "json"]
#: How an answer comes: server-sent events, lines of JSON, or one JSON value.
FRAMINGS: tuple[Framing, ...] = ("sse", "lines", "json")
DEFAULT_MAX_BYTES = 8 * 1024 * 1024
#: What may stand before a JSON value: white space, and the bytes of a mark of UTF-8.
_BLANK = b" \t\r\n\xef\xbb\xbf"


class Rewriter(ABC):
    """What stands between an upstream's bytes and a client's.

    Attributes
    ----------
    stopped : Finding or None
        The finding for which the stream was cut: the upstream is to be closed.
    over : bool
        The client's stream has had its end; whatever is fed now comes to nothing.
    denied : list of Denial
        Calls that were replaced.
    """

    def __init__(self, core: Core) -> None:
        self._core = core

    @property
    def stopped(self) -> Finding | None:
        """The finding for which the stream was cut."""
        return self._core.stopped

    @property
    def over(self) -> bool:
        """Whether the client's stream has had its end."""
        return self._core.over

    @property
    def denied(self) -> list[Denial]:
        """Calls that were replaced."""
        return self._core.denied

    @property
    @abstractmethod
    def kept_bytes(self) -> int:
        """Bytes that wait: for the rest of an event, or for a verdict."""

    @abstractmethod
    def feed(self, chunk: bytes, t_ns: int = 0) -> bytes:
        """Bytes for the client that these bytes of the upstream lead to.

        Parameters
        ----------
        chunk : bytes
            Cut anywhere.
        t_ns : int
            When they arrived, in nanoseconds since the request.
        """

    @abstractmethod
    def finish(self, t_ns: int = 0) -> bytes:
        """Take note that the upstream came to its end; what is left for the client."""

    @abstractmethod
    def fail(self, message: str, t_ns: int = 0) -> bytes:
        """Take note that the upstream broke off; the end in the protocol's form of an error."""

    @abstractmethod
    def expire(self, waited_ns: int) -> bytes:
        """Take note of silence; the end, where a rule says that it is too long."""

    def abort(self, message: str) -> bytes:
        """Take note that what looks at the stream has failed; the end, without asking it again."""
        items = self._core.fail(message)
        with contextlib.suppress(Exception):  # what has failed, and been told, fails again
            self._core.settle("failed", broken=True)
        return self._ended(items) if items else b""

    @abstractmethod
    def _ended(self, items: list[Item]) -> bytes:
        """Bytes of the payloads that end the stream."""

    def close(self) -> None:
        """Take note that nobody reads on."""
        self._core.settle("stopped" if self._core.stopped is not None else "closed")


class StreamRewriter(Rewriter):
    """Server-sent events, or lines.

    What a server calls them is not what they are: `lines` that do not begin as JSON are events, and
    events that do are one JSON value, which goes through `whole`.
    """

    def __init__(
        self,
        core: Core,
        *,
        max_bytes: int,
        lines: bool = False,
        whole: WholeRewriter | None = None,
    ) -> None:
        super().__init__(core)
        self._splitter: SSESplitter | LineSplitter
        self._encode: Callable[[str, Any], bytes]
        if lines:
            self._splitter, self._encode = LineSplitter(max_bytes), _line_bytes
        else:
            self._splitter, self._encode = SSESplitter(max_bytes), sse_bytes
        self._last: Item | None = None  # what became of the last event, where it did not pass
        self._done = False
        self._whole = whole
        self._max_bytes = max_bytes
        self._sniffs = True
        self._taken: WholeRewriter | None = None  # `whole`, where the body is one JSON value

    @property
    def kept_bytes(self) -> int:
        if self._taken is not None:
            return self._taken.kept_bytes
        return self._splitter.waiting + self._core.held_bytes + self._core.late_bytes

    def feed(self, chunk: bytes, t_ns: int = 0) -> bytes:
        core = self._core
        if core.over:
            return b""
        if self._sniffs:
            start = chunk.lstrip(_BLANK)[:1]
            if start:
                self._sniffs = False
                if self._whole is None:
                    if start != b"{":  # events that are called lines
                        self._splitter = SSESplitter(self._max_bytes)
                        self._encode = sse_bytes
                elif start == b"{":  # no field of an event begins so
                    self._taken = self._whole
        if self._taken is not None:
            return self._taken.feed(chunk, t_ns)
        splitter = self._splitter
        out: list[bytes] = []
        for frame in splitter.feed(chunk):
            self._frame(frame, t_ns, out)
            if core.over:
                break
        if splitter.too_long and not core.over:
            out += self._encoded(core.fail("an event of the upstream is too long"))
        return out[0] if len(out) == 1 else b"".join(out)

    def finish(self, t_ns: int = 0) -> bytes:
        if self._taken is not None:
            return self._taken.finish(t_ns)
        core = self._core
        out: list[bytes] = []
        if not core.over:
            for frame in self._splitter.finish():
                self._frame(frame, t_ns, out)
        if not core.over and not self._done:
            events = core.mapper.finish(t_ns)
            cut = core.mapper.cut()
            if cut is not None:
                events.append(core.mapper.failure(cut, t_ns))
            if events:
                acts = core.look(None, events)
                if acts is not None:
                    out += self._encoded(core.act(None, events, Item(b""), acts))
        if not core.over:
            out += self._encoded(core.settle("ended"))
        self.close()
        return b"".join(out)

    def fail(self, message: str, t_ns: int = 0) -> bytes:
        if self._taken is not None:
            return self._taken.fail(message, t_ns)
        core = self._core
        if core.over or self._done:
            return b""  # the answer has ended
        core.guard.take(core.mapper.failure(message, t_ns))
        items = core.fail(message)
        core.settle("failed", broken=True)
        return b"".join(self._encoded(items))

    def expire(self, waited_ns: int) -> bytes:
        if self._taken is not None:
            return self._taken.expire(waited_ns)
        return b"".join(self._encoded(self._core.expire(waited_ns)))

    def _ended(self, items: list[Item]) -> bytes:
        return b"".join(self._encoded(items))

    def _frame(self, frame: Frame, t_ns: int, out: list[bytes]) -> None:
        raw, data, name, problem, tail = frame
        if data is None:
            if tail and self._last is not None:
                self._last.original = (self._last.original or b"") + raw
            else:
                out.append(raw)
            return
        if self._done:
            return  # behind its end nothing is of the answer, and nothing is watched
        core = self._core
        muddle = core.muddle(data)
        if muddle is not None:
            out += self._encoded(core.refuse(muddle))
            return
        events = core.mapper.decode(data, t_ns, problem=problem, event=name)
        payload: Any = None
        for event in events:
            if event.data is not None:
                payload = event.data
                break
        acts = core.look(payload, events)
        self._last = None
        if core.mapper.done and not self._done:
            self._done = True
            out += self._encoded(core.settle("ended"))
            if core.over:
                return
        if acts is None:
            out.append(raw)
            return
        item = Item(raw, payload, name, len(raw))
        items = core.act(payload, events, item, acts)
        out += self._encoded(items)
        if item not in items:
            self._last = item

    def _encoded(self, items: Iterable[Item]) -> Iterator[bytes]:
        encode = self._encode
        for item in items:
            raw = item.original
            yield encode(item.name, item.payload) if raw is None else raw


class WholeRewriter(Rewriter):
    """One JSON value: kept until it is whole, then looked at as the stream that it might have been.

    What it says passes as it came, byte for byte, unless a rule acts. Where it turns out to be
    lines or server-sent events, whatever its server calls it, it is looked at as these.
    """

    def __init__(
        self,
        core: Core,
        explode: Callable[[dict[str, Any]], Iterable[dict[str, Any]]],
        assemble: Callable[[dict[str, Any], list[Item]], dict[str, Any]],
        max_bytes: int,
    ) -> None:
        super().__init__(core)
        self._explode = explode
        self._assemble = assemble
        self._max_bytes = max_bytes
        self._pieces: list[bytes] = []
        self._size = 0

    @property
    def kept_bytes(self) -> int:
        return self._size

    def feed(self, chunk: bytes, t_ns: int = 0) -> bytes:
        if self._core.over:
            return b""
        self._pieces.append(chunk)
        self._size += len(chunk)
        if self._size > self._max_bytes:
            return self._failed(f"an answer of more than {self._max_bytes} bytes was not checked")
        return b""

    def finish(self, t_ns: int = 0) -> bytes:
        core = self._core
        raw = b"".join(self._pieces)
        self._pieces.clear()
        if core.over:
            return b""
        core.read_whole()
        sent = raw
        if not json.detect_encoding(raw).startswith("utf-8"):
            # Readers such as Python's json find out by themselves which UTF it is.
            with contextlib.suppress(UnicodeDecodeError):
                raw = raw.decode(json.detect_encoding(raw)).encode("utf-8")
        try:
            text = raw.decode("utf-8-sig")
            answer = parse_json(text)
            muddle = core.muddle(text.replace("\n", " "))  # nobody reads it line by line
            if muddle is not None:
                return self._failed_as(core.refuse(muddle))
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            out = self._streamed(raw, t_ns)
            return sent if out == raw else out
        items: list[Item] = []
        count = 0
        for payload in self._explode(answer):
            count += 1
            item = Item(True, payload)
            events = core.mapper.events(payload, t_ns)
            acts = core.look(payload, events)
            items += [item] if acts is None else core.act(payload, events, item, acts)
            if core.over:
                break
        if not core.over:
            items += core.settle("ended")
        self.close()
        if len(items) == count and all(item.original is not None for item in items):
            return sent
        return compact(self._assemble(answer, items)).encode("utf-8", "surrogatepass")

    def fail(self, message: str, t_ns: int = 0) -> bytes:
        if self._core.over:
            return b""
        self._core.guard.take(self._core.mapper.failure(message, t_ns))
        return self._failed(message)

    def expire(self, waited_ns: int) -> bytes:
        items = self._core.expire(waited_ns)
        return json.dumps(self._assemble({}, items)).encode() if items else b""

    def _streamed(self, raw: bytes, t_ns: int) -> bytes:
        """Look at a body that is no JSON value as a stream."""
        self._core.read_whole(whole=False)
        stream = StreamRewriter(self._core, max_bytes=self._max_bytes, lines=True)
        return stream.feed(raw, t_ns) + stream.finish(t_ns)

    def _failed(self, message: str) -> bytes:
        return self._failed_as(self._core.fail(message))

    def _failed_as(self, items: list[Item]) -> bytes:
        self._core.settle("failed", broken=True)
        return self._ended(items)

    def _ended(self, items: list[Item]) -> bytes:
        self._pieces.clear()
        self._size = 0
        return json.dumps(self._assemble({}, items)).encode()


def make_core(
    api: str,
    guard: Guard,
    *,
    ending: Ending = "filtered",
    max_held_bytes: int = DEFAULT_MAX_BYTES,
) -> Core:
    """Make what knows the payloads of an API; arguments as for `make_rewriter`."""
    from midstream.stream.formats import MAPPERS

    check_choice("api", api, tuple(_CORES))
    check_choice("ending", ending, ENDINGS)
    check_int("max_held_bytes", max_held_bytes, low=1)
    return _CORES[api](guard, MAPPERS[api](), ending=ending, max_held_bytes=max_held_bytes)


def make_rewriter(
    api: str,
    guard: Guard,
    *,
    framing: Framing = "sse",
    ending: Ending = "filtered",
    max_event_bytes: int = DEFAULT_MAX_BYTES,
    max_held_bytes: int = DEFAULT_MAX_BYTES,
    max_answer_bytes: int = 4 * DEFAULT_MAX_BYTES,
) -> Rewriter:
    r"""Make what stands between an upstream's bytes and a client's.

    Parameters
    ----------
    api : {"chat", "responses", "anthropic", "ollama", "llama"}
        What the upstream speaks.
    guard : Guard
        Says what may pass. It belongs to one stream.
    framing : {"sse", "lines", "json"}
        Server-sent events, a JSON value a line, or one in all. A body that is plainly something
        else than it is called is looked at as what it is.
    ending : {"filtered", "normal", "error"}, default "filtered"
        How a stream that a rule stopped ends: as one that a content filter cut, as one that came
        to its end, or with an error.
    max_event_bytes, max_held_bytes, max_answer_bytes : int
        Most bytes of one event or line, of calls that wait for their verdict, and of an answer
        that is one JSON value. What is larger ends the stream with an error.

    Returns
    -------
    Rewriter

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument is of the wrong type or out of range.

    Notes
    -----
    Bytes come out as they went in, at once but for an event's first part, until a rule acts. How
    the upstream's bytes are cut changes neither what comes out in all nor where it is cut. Some 10
    microseconds an event, of which half is the guard's. Not thread-safe: one rewriter, one answer.

    Examples
    --------
    >>> from midstream.stream import Guard
    >>> rewriter = make_rewriter("chat", Guard())
    >>> line = b'data: {"choices":[{"index":0,"delta":{"content":"Try again. "}}]}\n\n'
    >>> out = b"".join(rewriter.feed(line) for _ in range(100))
    >>> rewriter.stopped.kind, out[-14:]
    ('loop', b'data: [DONE]\n\n')
    """
    check_choice("framing", framing, FRAMINGS)
    for name, value in (
        ("max_event_bytes", max_event_bytes),
        ("max_answer_bytes", max_answer_bytes),
    ):
        check_int(name, value, low=1)
    core = make_core(api, guard, ending=ending, max_held_bytes=max_held_bytes)
    return rewriter_of(
        api, core, framing, max_event_bytes=max_event_bytes, max_answer_bytes=max_answer_bytes
    )


def rewriter_of(
    api: str, core: Core, framing: Framing, *, max_event_bytes: int, max_answer_bytes: int
) -> Rewriter:
    """Make a rewriter around what knows the payloads; arguments as for `make_rewriter`."""
    if framing == "lines":
        return StreamRewriter(core, max_bytes=max_event_bytes, lines=True)
    whole = WholeRewriter(core, *_WHOLE[api], max_answer_bytes)
    if framing == "json":
        return whole
    return StreamRewriter(core, max_bytes=max_event_bytes, whole=whole)


def _line_bytes(name: str, payload: Any) -> bytes:
    text = payload if isinstance(payload, str) else compact(payload)
    return f"{text}\n".encode("utf-8", "surrogatepass")


def _one(answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield an answer that is the only payload of its stream."""
    yield answer


def _merged(answer: dict[str, Any], items: list[Item]) -> dict[str, Any]:
    """Make one payload of several of Ollama's or llama.cpp's."""
    out: dict[str, Any] = {}
    for item in items:
        payload = item.payload
        message: dict[str, Any] = {**out.get("message", {})}
        for name, value in payload.get("message", {}).items():
            said = message.get(name)
            both: Any = (said, value)
            if name != "role" and all(isinstance(one, str) for one in both):
                message[name] = both[0] + both[1]
            elif all(isinstance(one, list) for one in both):
                message[name] = [*both[0], *both[1]]
            else:
                message[name] = value
        for name in ("content", "response"):
            if isinstance(out.get(name), str) and isinstance(payload.get(name), str):
                payload = {**payload, name: out[name] + payload[name]}
        out = {**out, **payload}
        if message:
            out["message"] = message
    return out


_CORES: dict[str, type[Core]] = {
    "chat": chat.ChatCore,
    "responses": responses.ResponsesCore,
    "anthropic": anthropic.AnthropicCore,
    "ollama": chat.OllamaCore,
    "llama": chat.LlamaCore,
}
_WHOLE: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "chat": (chat.explode, chat.assemble),
    "responses": (responses.explode, responses.assemble),
    "anthropic": (anthropic.explode, anthropic.assemble),
    "ollama": (_one, _merged),
    "llama": (_one, _merged),
}
