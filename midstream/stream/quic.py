"""QUIC: watch events that another process publishes, and publish them, a stream each.

The protocol, whose ALPN name is ``midstream``, is made to be spoken by hand:

- A reader opens a bidirectional stream for each feed that it wants and sends one line of JSON,
  ``{"midstream": 1, "watch": "NAME"}``; an empty name is the server's only feed. It leaves its
  direction open: that it is reset (or that the reader sends STOP_SENDING) says that nothing more
  is wanted, which the server notices even while it has nothing to send.
- The server answers with a recording, as `Recorder` writes it: a header line, then a line for each
  event. FIN is the end of the events. Where their source failed, a line ``{"failed": "why"}``
  comes before FIN, so that nothing that came before it is lost.
- A reset instead says why there is nothing, or nothing more; the codes are those of `QuicCode`.

What flows on a stream that both ends agreed on otherwise (`from_quic` with a stream, `QuicSink`)
needs no request.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
from collections.abc import AsyncIterable, Callable, Iterable
from enum import IntEnum
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self, cast
from urllib.parse import unquote, urlsplit

from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    EndpointError,
    IdleTimeoutError,
    MalformedStreamError,
    MidstreamError,
    QuicError,
    QuicTimeoutError,
    StreamResetError,
    StreamStoppedError,
)
from midstream._core.validate import check_choice, check_int, check_real, check_text
from midstream.stream.decode import FORMATS, Decoder, Format
from midstream.stream.events import Event
from midstream.stream.pipe import SniffDecoder
from midstream.stream.recording import RecordingDecoder, event_line, header_line
from midstream.stream.sources import Source, from_iterable
from midstream.stream.sse import DEFAULT_MAX_BYTES
from midstream.stream.wire import parse_json

if TYPE_CHECKING:
    from midstream.quic.config import Config
    from midstream.quic.connection import Connection
    from midstream.quic.priority import Priority

__all__ = [
    "ALPN",
    "DEFAULT_PORT",
    "QuicAddress",
    "QuicCode",
    "QuicPublisher",
    "QuicSink",
    "Served",
    "from_quic",
    "quic_address",
    "read_request",
    "request_line",
    "to_quic",
]

#: Name of the protocol in the TLS handshake (RFC 7301).
ALPN = "midstream"
#: Port of a ``quic://`` URL that names none.
DEFAULT_PORT = 4433

_VERSION = 1
_READ_BYTES = 64 * 1024
#: A request is a name and little else; a peer must not make the server keep more.
_MAX_REQUEST_BYTES = 16 * 1024
_MAX_NAME_CHARS = 1024
#: A peer that opens a stream and never says what it wants would hold it for ever.
_REQUEST_S = 10.0
_FAILED_CHARS = 2000
#: Smaller than the connection's idle time-out of 30 s: a model may think for longer than that.
_KEEP_ALIVE_S = 10.0


class QuicCode(IntEnum):
    """Why a stream was reset, or asked to stop: the application error codes of the protocol."""

    CLOSED = 0
    """The reader wants no more: it was closed, or a finding stopped the watch."""
    BAD_REQUEST = 1
    """The first line was no request."""
    NOT_FOUND = 2
    """The server has no feed of this name."""
    BUSY = 3
    """The server has as many readers as it takes."""
    FAILED = 4
    """The sender failed, and could not say so in a line."""
    GOING_AWAY = 5
    """The server ends."""


_REASONS = {
    QuicCode.CLOSED: "the sender closed the stream before its end",
    QuicCode.BAD_REQUEST: "the server did not understand the request",
    QuicCode.NOT_FOUND: "the server has no feed of this name",
    QuicCode.BUSY: "the server has as many readers as it takes",
    QuicCode.FAILED: "the sender failed",
    QuicCode.GOING_AWAY: "the server ended",
}


class _ByteStream(Protocol):
    """What is used of a stream: a QUIC stream's, or a WebTransport stream's."""

    async def read(self, n: int = -1, /) -> bytes: ...

    def stop(self, code: int, /) -> None: ...

    def write(self, data: bytes, /) -> None: ...

    async def drain(self) -> None: ...

    def finish(self) -> None: ...

    def reset(self, code: int, /) -> None: ...


class QuicAddress(NamedTuple):
    """What a ``quic://`` URL says.

    Parameters
    ----------
    host : str
        Name or IP address, an IPv6 one without brackets.
    port : int
    name : str
        Of the feed; empty for a server's only one.
    """

    host: str
    port: int = DEFAULT_PORT
    name: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"quic://{host}:{self.port}/{self.name}"


def quic_address(url: str) -> QuicAddress:
    """Take a ``quic://host:port/name`` URL apart.

    Parameters
    ----------
    url : str
        Port 4433 and the empty name where it says none; percent escapes in the name are decoded.

    Returns
    -------
    QuicAddress

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        Not text; not a quic URL with a host; a user, a query or a fragment, which this protocol
        has no use for.

    Examples
    --------
    >>> quic_address("quic://localhost/stories")
    QuicAddress(host='localhost', port=4433, name='stories')
    >>> str(quic_address("quic://[::1]:4434"))
    'quic://[::1]:4434/'
    """
    if not isinstance(url, str):
        raise ArgumentTypeError(f"url must be str, got {url!r} ({type(url).__name__})")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:  # not shown: what stands where the port should may be a password
        raise ArgumentValueError("url has no valid host and port") from None
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ArgumentValueError("url must be quic://host:port/name without user, query, fragment")
    clean = url.isprintable() and not any(char.isspace() for char in url)
    if parts.scheme != "quic" or not host or port == 0 or not clean:
        raise ArgumentValueError(f"url must be quic://host:port/name, got {url!r}")
    try:
        name = unquote(parts.path.removeprefix("/"), errors="strict")
    except UnicodeDecodeError:
        raise ArgumentValueError(f"url has a name that is not UTF-8, got {url!r}") from None
    return QuicAddress(host, DEFAULT_PORT if port is None else port, name)


def request_line(name: str = "") -> bytes:
    r"""Make the line that asks for a feed.

    Examples
    --------
    >>> request_line("stories")
    b'{"midstream":1,"watch":"stories"}\n'
    """
    row = {"midstream": _VERSION, "watch": _check_name(name)}
    return json.dumps(row, separators=(",", ":")).encode("ascii") + b"\n"


async def read_request(stream: _ByteStream) -> str:
    """Read the first line of a stream, and return the name of the feed that it asks for.

    Parameters
    ----------
    stream : midstream.quic.Stream
        Opened by a reader.

    Returns
    -------
    str

    Raises
    ------
    MalformedStreamError
        No request: not a line of JSON of at most 16 KiB, another version, no name.
    QuicError
        The stream or its connection ended before.
    """
    line = b""
    while b"\n" not in line:
        piece = await stream.read(_MAX_REQUEST_BYTES)
        if not piece:
            break  # a line that FIN ends will do
        line += piece
        if len(line) > _MAX_REQUEST_BYTES:
            raise MalformedStreamError(
                f"longer than {_MAX_REQUEST_BYTES} bytes", place="the request"
            )
    line = line.partition(b"\n")[0]
    try:
        row = parse_json(line.decode("utf-8"))
    except (ValueError, RecursionError):
        raise MalformedStreamError("not a line of JSON", place="the request") from None
    if not isinstance(row, dict) or row.get("midstream") != _VERSION:
        raise MalformedStreamError(f'not {{"midstream": {_VERSION}, ...}}', place="the request")
    name = row.get("watch", "")
    if not isinstance(name, str) or len(name) > _MAX_NAME_CHARS:
        raise MalformedStreamError("watch is no name", place="the request")
    return name


def from_quic(
    upstream: str | Connection | _ByteStream,
    name: str | None = None,
    *,
    config: Config | None = None,
    priority: Priority | None = None,
    format: Format | None = None,
    idle_timeout_s: float | None = None,
    max_line_bytes: int = DEFAULT_MAX_BYTES,
) -> Source:
    """Make a source of events that come on a QUIC stream.

    Parameters
    ----------
    upstream : str, midstream.quic.Connection or midstream.quic.Stream
        A ``quic://host:port/name`` URL, to which a connection is made; a connection, on which a
        stream is opened; or a stream, from which is only read.
    name : str, optional
        Of the feed, with a connection; default the server's only one. A URL has it itself.
    config : Config, optional
        For the connection, with a URL. Default ``Config(keep_alive_s=10)``, which verifies the
        server's certificate with the system's authorities.
    priority : Priority, optional
        Of the stream that is opened, for what this end sends.
    format : str, optional
        What the stream speaks, as for `from_pipe`; by default its beginning decides. A server's
        answer to a request is a recording.
    idle_timeout_s : float, optional
        Longest silence, in seconds; default any, as long as the connection lives.
    max_line_bytes : int, default 8 MiB
        Longest line of another format than a recording.

    Returns
    -------
    Source
        The request is sent when the first event is asked for. Events carry the times of the
        sender, as those of a recording. Closing the source (as a watch does that stops) asks the
        sender to stop and resets the stream, both with `QuicCode.CLOSED`, and closes the
        connection if it was made here; what waits is not read.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used, or does not go with `upstream`.
    EndpointError
        From the iterator: no connection, a certificate that is not trusted, a reset (its code is
        that of the `StreamResetError` that is the cause), a broken connection, a server whose own
        source failed.
    IdleTimeoutError
        From the iterator: silence for longer than `idle_timeout_s` or the connection's time-out.
    MalformedStreamError
        From the iterator: a line that is no event, or too long.

    Notes
    -----
    Reading gives credit: a reader that is slow slows the sender down, and memory stays within the
    stream's window.

    Examples
    --------
    >>> source = from_quic("quic://localhost:4433/stories")
    >>> asyncio.run(source.aclose())
    """
    if format is not None:
        check_choice("format", format, FORMATS)
    check_int("max_line_bytes", max_line_bytes, low=1)
    if idle_timeout_s is not None:
        idle_timeout_s = check_real("idle_timeout_s", idle_timeout_s, low=1e-3)
    _check_priority(priority)
    options: dict[str, Any] = {"priority": priority, "idle_timeout_s": idle_timeout_s}
    if config is not None and not isinstance(upstream, str):
        raise ArgumentValueError("config goes only with a URL")
    if isinstance(upstream, str):
        if name is not None:
            raise ArgumentValueError(f"name goes with a connection, a URL has one, got {name!r}")
        address = quic_address(upstream)
        options |= {"address": address, "config": _check_config(config)}
        reads = _Feed(str(address), name=_check_name(address.name), **options)
    elif hasattr(upstream, "open_bi"):
        reads = _Feed(
            "QUIC", name=_check_name(name or ""), connection=cast("Any", upstream), **options
        )
    elif hasattr(upstream, "read") and hasattr(upstream, "stop"):
        if name is not None or priority is not None:
            raise ArgumentValueError("name and priority do not go with a stream that is open")
        reads = _Feed("QUIC", stream=cast("Any", upstream), **options)
    else:
        raise ArgumentTypeError(
            "upstream must be a quic:// URL, a Connection or a Stream, got "
            f"{type(upstream).__name__}"
        )
    decoder = _QuicDecoder(reads.place, format=format, max_bytes=max_line_bytes)
    return Source(reads, decoder)


class QuicSink:
    """Writes events to a QUIC stream, as a recording.

    An async context manager: it finishes the stream at the end; where the block raised, it tells
    the reader so (see `fail`), and what was raised goes on.

    Parameters
    ----------
    stream : midstream.quic.Stream
        To write to.
    source : str, optional
        Where the events come from, for the header.

    Attributes
    ----------
    sent : int
        Events written.

    Examples
    --------
    >>> async def answer(stream):
    ...     async with QuicSink(stream) as sink:
    ...         await sink.send(Event("text", 0, 0, "Once upon a time"))
    """

    def __init__(self, stream: _ByteStream, *, source: str = "") -> None:
        if not hasattr(stream, "write") or not hasattr(stream, "drain"):
            raise ArgumentTypeError(f"stream must be a Stream, got {type(stream).__name__}")
        self._stream = stream
        self._head = header_line(check_text("source", source))
        self._over = False
        self.sent = 0

    async def send(self, event: Event) -> None:
        """Write one event, and wait until the stream has room for the next.

        Raises
        ------
        ArgumentTypeError
            Not an `Event`, or one that cannot be recorded, see `Recorder.write`. Nothing is sent.
        StreamStoppedError
            The reader wants no more.
        QuicError
            The connection is closed, or the sink.
        """
        line = event_line(event)
        self._check_open()
        self._put(line)
        self.sent += 1
        await self._stream.drain()

    async def finish(self) -> None:
        """Say that no event follows. Safe to repeat."""
        if not self._over:
            self._put(b"")
            self._over = True
            self._stream.finish()

    async def fail(self, message: str) -> None:
        """Say why no event follows, after those that were sent.

        Parameters
        ----------
        message : str
            For the reader, who gets it as an `EndpointError`; one line, without secrets.
        """
        check_text("message", message)
        self._check_open()
        row = {"failed": " ".join(message.split())[:_FAILED_CHARS]}
        self._put(json.dumps(row, separators=(",", ":")).encode("ascii") + b"\n")
        await self.finish()

    def reset(self, code: int = QuicCode.FAILED) -> None:
        """Break off; the reader may lose what it has not read. Safe to repeat."""
        if not self._over:
            self._over = True
            self._stream.reset(int(code))

    def _check_open(self) -> None:
        if self._over:
            raise QuicError("the sink is finished")

    def _put(self, line: bytes) -> None:
        head, self._head = self._head, b""
        if head or line:
            self._stream.write(head + line)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            await self.finish()
        elif isinstance(error, asyncio.CancelledError):
            self.reset(QuicCode.GOING_AWAY)
        elif isinstance(error, QuicError):
            self.reset(QuicCode.CLOSED)  # the stream is the reason, and carries no more lines
        elif isinstance(error, MidstreamError) and not self._over:
            with contextlib.suppress(QuicError):  # what was raised in the block counts
                await self.fail(str(error))
        else:
            self.reset(QuicCode.FAILED)


async def to_quic(
    events: Source | AsyncIterable[Any] | Iterable[Any],
    stream: _ByteStream,
    *,
    source: str = "",
) -> int:
    """Write all events of a source, or of a watch, to a QUIC stream, and its end.

    Parameters
    ----------
    events : Source, Watch, or iterable or async iterable of Event, str or bytes
        What to send; what is no source goes through `from_iterable`. It is closed in the end.
    stream : midstream.quic.Stream
        To write to.
    source : str, optional
        Where the events come from, for the header.

    Returns
    -------
    int
        Events sent.

    Raises
    ------
    StreamStoppedError
        The reader wants no more; the events' source is closed by then, also where it was silent.
    SourceError
        What the source raised; the reader was told.
    QuicError
        The connection is closed.

    Notes
    -----
    About 10 microseconds an event on top of the transport. Sends as fast as the reader takes.

    Examples
    --------
    >>> async def publish(stream):
    ...     return await to_quic(["Once", " upon", " a time"], stream)
    """
    sink = QuicSink(stream, source=source)
    await _send(events, stream, sink)
    return sink.sent


class Served(NamedTuple):
    """What came of one stream.

    Parameters
    ----------
    name : str
        Of the feed.
    events : int
        Sent to the reader.
    outcome : str
        ``ended``, ``stopped`` (the reader wanted no more), ``failed`` (the source did),
        ``refused``, ``lost`` (the connection ended).
    detail : str
        Why, or ``""``.
    """

    name: str
    events: int
    outcome: str
    detail: str


class QuicPublisher:
    """Serves feeds of events to every reader that asks: the handler of a QUIC server.

    Parameters
    ----------
    open_source : callable
        Called with the name that a reader asked for; returns what `to_quic` sends (or an
        awaitable of it), or None where there is no such feed. What it returns belongs to this
        reader and is closed when the reader leaves.
    source : str, optional
        Where the events come from, for the header.
    max_readers : int, default 1000
        Streams served at once, over all connections; further ones are reset with
        `QuicCode.BUSY`.
    on_end : callable, optional
        Called with a `Served` after each stream.

    Attributes
    ----------
    active, served : int
        Streams that are served now, and that were to their end.
    draining : bool
        Whether further streams are reset with `QuicCode.GOING_AWAY`, as after `drain`.

    Examples
    --------
    >>> from midstream.stream import replay, shipped_recordings
    >>> stories = shipped_recordings()
    >>> publisher = QuicPublisher(lambda name: replay(stories[name]) if name in stories else None)
    >>> publisher.active
    0
    """

    def __init__(
        self,
        open_source: Callable[[str], Any],
        *,
        source: str = "",
        max_readers: int = 1000,
        on_end: Callable[[Served], object] | None = None,
    ) -> None:
        for label, value in (("open_source", open_source), ("on_end", on_end)):
            if not callable(value) and (value is not None or label == "open_source"):
                raise ArgumentTypeError(f"{label} must be callable, got {type(value).__name__}")
        self._open_source = open_source
        self._source = check_text("source", source)
        self._max_readers = check_int("max_readers", max_readers, low=1)
        self._on_end = on_end
        self._ended = asyncio.Event()
        self.active = 0
        self.served = 0
        self.draining = False

    @property
    def max_readers(self) -> int:
        """Streams served at once; more are reset."""
        return self._max_readers

    async def drain(self, timeout_s: float) -> bool:
        """Take no further streams, and wait until those that are served are over.

        Parameters
        ----------
        timeout_s : float
            Longest wait, in seconds.

        Returns
        -------
        bool
            Whether none is left. Those that are go on until the server closes.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            `timeout_s` is no number, or below 0.
        """
        check_real("timeout_s", timeout_s, low=0)
        self.draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.active:
                    self._ended.clear()
                    await self._ended.wait()
        return not self.active

    async def __call__(self, connection: Connection) -> None:
        """Serve one connection until it ends."""
        async with asyncio.TaskGroup() as tasks:
            # How a connection ends is told for each of its streams.
            with contextlib.suppress(QuicError):
                async for stream in connection.streams():
                    if not stream.can_send:
                        stream.stop(QuicCode.BAD_REQUEST)
                    elif self.draining:
                        _break_off(stream, QuicCode.GOING_AWAY)
                    elif self.active >= self._max_readers:
                        _break_off(stream, QuicCode.BUSY)
                    else:
                        self.active += 1
                        tasks.create_task(self._serve(stream))

    async def _serve(self, stream: _ByteStream) -> None:
        name, sink = "", QuicSink(stream, source=self._source)
        outcome, detail = "ended", ""
        try:
            try:
                async with asyncio.timeout(_REQUEST_S):
                    name = await read_request(stream)
            except MalformedStreamError as error:
                outcome, detail = "refused", str(error)
                _break_off(stream, QuicCode.BAD_REQUEST)
                return
            events = self._open_source(name)
            if inspect.isawaitable(events):
                events = await events
            if events is None:
                outcome, detail = "refused", "no feed of this name"
                _break_off(stream, QuicCode.NOT_FOUND)
                return
            await _send(events, stream, sink)
            stream.stop(QuicCode.CLOSED)  # the reader's direction is open until somebody ends it
        except (StreamStoppedError, StreamResetError) as error:
            outcome, detail = "stopped", _code_name(error.code)
            _break_off(stream, QuicCode.CLOSED)
        except QuicError as error:
            outcome, detail = "lost", str(error)
        except TimeoutError:
            outcome, detail = "refused", f"no request within {_REQUEST_S:g} s"
            _break_off(stream, QuicCode.BAD_REQUEST)
        except MidstreamError as error:  # the source's, of which the reader was told
            outcome, detail = "failed", str(error)
        except asyncio.CancelledError:
            outcome, detail = "lost", "the server ended"
            _break_off(stream, QuicCode.GOING_AWAY)
            raise
        finally:
            self.active -= 1
            self.served += 1
            self._ended.set()
            if self._on_end is not None:
                self._on_end(Served(name, sink.sent, outcome, detail))


class _Feed:
    """The bytes of one stream, and what has to be closed with it."""

    def __init__(
        self,
        place: str,
        *,
        name: str = "",
        address: QuicAddress | None = None,
        config: Config | None = None,
        connection: Connection | None = None,
        stream: _ByteStream | None = None,
        priority: Priority | None = None,
        idle_timeout_s: float | None = None,
    ) -> None:
        self.place = place
        self._name = name
        self._address = address
        self._config = config
        self._connection = connection
        self._stream = stream
        self._priority = priority
        self._idle_timeout_s = idle_timeout_s
        self._asked = False
        self._ended = False
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._closed or self._ended:
            raise StopAsyncIteration
        try:
            if self._stream is None:
                await self._open()
            assert self._stream is not None
            async with asyncio.timeout(self._idle_timeout_s):
                piece = await self._stream.read(_READ_BYTES)
        except StreamResetError as error:
            raise EndpointError(_reset_reason(error.code), place=self.place) from error
        except QuicTimeoutError as error:
            raise IdleTimeoutError(str(error), place=self.place) from error
        except QuicError as error:
            raise EndpointError(str(error), place=self.place) from error
        except TimeoutError:
            raise IdleTimeoutError(
                f"nothing arrived for {self._idle_timeout_s:g} s", place=self.place
            ) from None
        except OSError as error:  # the name of the host cannot be looked up
            raise EndpointError(
                f"no connection: {error.strerror or error}", place=self.place
            ) from error
        if not piece:
            self._ended = True
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        self._closed = True
        stream, self._stream = self._stream, None
        connection, self._connection = self._connection, None
        if stream is not None and not self._ended:
            _break_off(stream, QuicCode.CLOSED)
        elif stream is not None and self._asked:
            with contextlib.suppress(QuicError):  # the connection may be gone, as it may now
                stream.finish()
        if connection is not None and self._address is not None:
            connection.close(QuicCode.CLOSED)

    async def _open(self) -> None:
        if self._connection is None:
            from midstream.quic.connection import connect

            assert self._address is not None
            self._connection = await connect(
                self._address.host, self._address.port, config=self._config
            )
        more = {} if self._priority is None else {"priority": self._priority}
        self._stream = await self._connection.open_bi(**more)
        self._asked = True
        self._stream.write(request_line(self._name))
        await self._stream.drain()


class _QuicDecoder(SniffDecoder):
    """Finds out what the sender speaks; a recording may end in the news that its source failed."""

    __slots__ = ()

    def _make(self, format: Format) -> Decoder:
        return _FeedDecoder(self._place) if format == "recording" else super()._make(format)


class _FeedDecoder(RecordingDecoder):
    """A recording that is not a file: what is wrong with it is wrong with the stream."""

    __slots__ = ()

    def finish(self, t_ns: int, *, broken: bool = False) -> list[Event]:
        if self.number == 0 and not self._partial and not broken:
            self.error = EndpointError("ended before the first line", place=self._place)
        return super().finish(t_ns, broken=broken or self.error is not None)

    def _other(self, row: dict[str, Any], size: int, crc32: int) -> list[Event]:
        failed = row.get("failed")
        if isinstance(failed, str):
            self.error = EndpointError(
                f"the server's source failed: {failed[:_FAILED_CHARS]}", place=self._place
            )
            return []
        return super()._other(row, size, crc32)

    def _fail(self, message: str, *, torn: bool = False) -> list[Event]:
        if self.error is None:
            place = f"{self._place}, line {max(self.number, 1)}"
            self.error = MalformedStreamError(message, place=place)
        return []


async def _send(events: Any, stream: _ByteStream, sink: QuicSink) -> None:
    """Send what comes until it ends or the reader leaves, and close it."""
    wanted = events if hasattr(events, "aclose") else from_iterable(events)
    try:
        async with sink:
            pump = asyncio.ensure_future(_pump(wanted, sink))
            leaving = asyncio.ensure_future(_leaving(stream))
            try:
                await asyncio.wait((pump, leaving), return_when=asyncio.FIRST_COMPLETED)
            finally:
                # Cancelling a task that waits for a source closes the source.
                for task in (pump, leaving):
                    task.cancel()
                await asyncio.gather(pump, leaving, return_exceptions=True)
            if pump.cancelled():
                leaving.result()
            pump.result()
    finally:
        await wanted.aclose()


async def _pump(events: AsyncIterable[Event], sink: QuicSink) -> None:
    async for event in events:
        await sink.send(event)


async def _leaving(stream: _ByteStream) -> None:
    """Raise when the reader leaves, which no write would show while there is nothing to send."""
    if getattr(stream, "can_receive", True):
        try:
            while await stream.read(_READ_BYTES):
                pass  # what comes after the request means nothing yet
        except StreamResetError as error:
            raise StreamStoppedError(
                f"the reader left with code {error.code}",
                code=error.code,
                stream_id=error.stream_id,
            ) from error
    # A direction that was ended in order says nothing about the other one.
    await asyncio.get_running_loop().create_future()


def _break_off(stream: _ByteStream, code: QuicCode) -> None:
    stream.stop(code)
    stream.reset(code)


def _code_name(code: int) -> str:
    try:
        return QuicCode(code).name.lower().replace("_", " ")
    except ValueError:
        return f"code {code}"


def _reset_reason(code: int) -> str:
    try:
        return _REASONS[QuicCode(code)]
    except ValueError:
        return f"the sender reset the stream with code {code}"


def _check_name(name: str) -> str:
    if len(check_text("name", name)) > _MAX_NAME_CHARS:
        raise ArgumentValueError(
            f"name must have at most {_MAX_NAME_CHARS} characters, got {len(name)}"
        )
    return name


def _check_priority(priority: Any) -> Any:
    if priority is None:
        return None
    from midstream.quic.priority import Priority

    if not isinstance(priority, Priority):
        raise ArgumentTypeError(f"priority must be a Priority, got {type(priority).__name__}")
    return priority


def _check_config(config: Any) -> Config:
    from midstream.quic.config import Config

    if config is None:
        return Config(keep_alive_s=_KEEP_ALIVE_S)
    if not isinstance(config, Config):
        raise ArgumentTypeError(f"config must be a Config, got {type(config).__name__}")
    return config
