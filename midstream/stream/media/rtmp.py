"""RTMP: pull a stream from a server, or let one be published to us."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from midstream._core.clock import monotonic_ns
from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    EndpointError,
    IdleTimeoutError,
    MalformedStreamError,
    SourceError,
)
from midstream._core.validate import check_callback
from midstream.stream.media.channel import Channel
from midstream.stream.media.decoding import Pacer, Position, Run, decode_run
from midstream.stream.media.extra import library
from midstream.stream.media.fetching import shown
from midstream.stream.media.interfaces import ObjectDetector, Transcriber, check_helpers
from midstream.stream.media.relay import Relay, connect_local, connect_peer, free_port, reason
from midstream.stream.media.settings import MediaAnalysis, MediaLimits, check_settings
from midstream.stream.media.streams import MediaStream, media_source
from midstream.stream.media.timeline import Timeline
from midstream.stream.media.tracks import Tracks
from midstream.stream.sources import Source

__all__ = ["from_rtmp"]

_PORTS = {"rtmp": 1935, "rtmps": 443}
_MAX_KEY_CHARS = 80
#: Peers that may fail to publish before a listener gives up.
_MAX_CALLERS = 20
_LOOPBACK = "127.0.0.1"


class _Address(NamedTuple):
    scheme: str
    host: str
    port: int
    app: str
    key: str


def from_rtmp(
    url: str,
    *,
    listen: bool = False,
    on_listening: Callable[[str], object] | None = None,
    analysis: MediaAnalysis | None = None,
    limits: MediaLimits | None = None,
    transcriber: Transcriber | None = None,
    object_detector: ObjectDetector | None = None,
    objects_per_s: float = 1.0,
) -> Source:
    """Read an RTMP stream, and say what is to be heard and seen in it.

    Parameters
    ----------
    url : str
        ``rtmp://host[:port]/app/key``; ``rtmps`` to pull over TLS, with a certificate that is
        valid.
    listen : bool, default False
        Wait there for a stream to be published, rather than pull it. Port 0 takes any free one.
        A publisher must name the key of the URL; without one in it, any will do.
    on_listening : callable, optional
        With `listen`: called with the URL, the real port in it, once publishers can connect.
    analysis : MediaAnalysis, optional
        Thresholds.
    limits : MediaLimits, optional
        How much is taken from the peer.
    transcriber : Transcriber, optional
        Turns speech into events of kind ``text``.
    object_detector : ObjectDetector, optional
        Looks at pictures; what it saw is in the ``video`` events.
    objects_per_s : float, default 1.0
        Pictures for it, for each second of media.

    Returns
    -------
    Source
        Events of the kinds ``audio`` and ``video``, as `midstream.stream.media` describes them,
        and one ``end`` when the stream is over. Connecting, or listening, begins when the first
        event is asked for.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used.
    ModuleNotFoundError
        The extra ``media`` is not installed.
    EndpointError, IdleTimeoutError
        From the iterator: no connection, a broken one, or silence for longer than
        `MediaLimits.idle_timeout_s`. A listener waits for its publisher for as long as it takes.
    MalformedStreamError
        From the iterator: what came is no RTMP, or cannot be decoded.

    Notes
    -----
    ffmpeg, inside PyAV, speaks the protocol, in a thread; its bytes go through a relay in the event
    loop, which watches over time and keys and lets everything be closed at once. One publisher is
    read; while it lasts others are turned away. A caller that does not publish, or with another
    key, is told in an ``error`` event, and the next one waited for, 20 times at most.

    Where decoding falls behind for `MediaLimits.max_lag_s`, video is dropped up to the next key
    frame, and counted.

    Examples
    --------
    >>> source = from_rtmp("rtmp://127.0.0.1:0/live/secret", listen=True, on_listening=print)
    """
    library("av", "from_rtmp")
    if not isinstance(listen, bool):
        raise ArgumentTypeError(f"listen must be a bool, got {listen!r}")
    address = _parse(url, listen=listen)
    if on_listening is not None:
        check_callback("on_listening", on_listening)
        if not listen:
            raise ArgumentValueError("on_listening needs listen=True")
    analysis, limits = check_settings(analysis, limits)
    check_helpers(transcriber, object_detector)
    started_ns = monotonic_ns()
    channel = Channel(limits.max_pending_events)
    place = f"{address.scheme}://{_bracketed(address.host)}:{address.port}/{address.app}"
    tracks = Tracks(
        channel,
        analysis,
        limits,
        live=True,
        place=place,
        transcriber=transcriber,
        object_detector=object_detector,
        objects_per_s=objects_per_s,
    )
    kind = _Listening if listen else _Pulling
    stream = kind(address, channel, tracks, on_listening)
    return media_source(stream, started_ns, live=True)


def _parse(url: str, *, listen: bool) -> _Address:
    if not isinstance(url, str):
        raise ArgumentTypeError(f"url must be str, got {type(url).__name__}")
    schemes = ("rtmp",) if listen else tuple(_PORTS)
    try:
        parts = urlsplit(url)
        port = _PORTS.get(parts.scheme, 0) if parts.port is None else parts.port
    except ValueError:
        raise ArgumentValueError("url has no valid host and port") from None
    bad = any(char.isspace() or not char.isprintable() for char in url)
    if parts.scheme not in schemes or not parts.hostname or bad or (port == 0 and not listen):
        listed = " or ".join(f"{scheme}://" for scheme in schemes)
        raise ArgumentValueError(f"url must be {listed} with a host, got {shown(url)!r}")
    app, _, key = parts.path.strip("/").partition("/")
    if parts.query:
        key += f"?{parts.query}"
    if not app:
        raise ArgumentValueError(f"url must name an application after the host, got {shown(url)!r}")
    if listen and len(key.encode()) > _MAX_KEY_CHARS:
        raise ArgumentValueError(f"url has a key of more than {_MAX_KEY_CHARS} bytes")
    return _Address(parts.scheme, parts.hostname, port, app, key)


def _bracketed(host: str) -> str:
    """A host as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


class _RtmpStream(MediaStream):
    """What pulling and listening share."""

    def __init__(
        self,
        address: _Address,
        channel: Channel,
        tracks: Tracks,
        on_listening: Callable[[str], object] | None,
    ) -> None:
        super().__init__(channel, tracks, Pacer(None))
        self.address = address
        self.on_listening = on_listening
        self.relay: Relay | None = None
        self.timeline = Timeline()

    async def shut(self) -> None:
        """Close the connections, so that ffmpeg ends."""
        if self.relay is not None:
            self.relay.close()

    async def decode(self, options: dict[str, str], port: int) -> None:
        """Let ffmpeg decode what comes through the relay, in a thread, to its end."""
        address = self.address
        limits = self.tracks.limits
        url = f"rtmp://{_LOOPBACK}:{port}/{address.app}/{address.key}"
        settings = {
            "protocol_whitelist": "rtmp,tcp",
            "format_whitelist": "flv",
            "max_pixels": str(limits.max_pixels),
            "analyzeduration": "1000000",
            **options,
        }
        # The relay is the one to say that the peer is silent; this is for when it cannot.
        patience = (limits.connect_timeout_s + limits.idle_timeout_s, 2 * limits.idle_timeout_s)

        def run() -> None:
            av = library("av", "media")
            run = Run(
                lambda: av.open(url, options=settings, timeout=patience, format="flv"),
                network=True,
            )
            decode_run(run, self.tracks, self.timeline, self.pacer, Position(), drop=True)

        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.start_thread("midstream-rtmp", lambda: _settle(ended, run))
        await ended

    def is_empty(self) -> bool:
        """Whether no frame was decoded."""
        totals = self.tracks.totals()
        return not totals["frames"] and not totals["samples"]


def _settle(ended: asyncio.Future[None], work: Callable[[], None]) -> None:
    """Run in a thread; tell a future of the event loop how it went."""
    failure: Exception | None = None
    try:
        work()
    except Exception as error:  # noqa: BLE001 - raised where it is awaited
        failure = error

    def tell() -> None:
        if ended.done():
            return
        if failure is None:
            ended.set_result(None)
        else:
            ended.set_exception(failure)

    try:
        ended.get_loop().call_soon_threadsafe(tell)
    except RuntimeError:  # the loop is closed: nobody waits
        return


class _Pulling(_RtmpStream):
    """We are the client."""

    async def open(self) -> None:
        """Connect, and start to decode."""
        address = self.address
        limits = self.tracks.limits
        peer = await connect_peer(
            address.host, address.port, limits, self.tracks.place, tls=address.scheme == "rtmps"
        )
        self.relay = Relay(limits, self.tracks.place)
        calls: asyncio.Queue[Any] = asyncio.Queue(1)

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                calls.put_nowait((reader, writer))
            except asyncio.QueueFull:  # not ffmpeg
                writer.close()

        server = await asyncio.start_server(accept, _LOOPBACK, 0)
        port = server.sockets[0].getsockname()[1]
        self.start_task(lambda: self._run(peer, server, calls, port))

    async def _run(
        self,
        peer: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: asyncio.Server,
        calls: asyncio.Queue[Any],
        port: int,
    ) -> None:
        address = self.address
        relay = self.relay
        assert relay is not None
        origin = f"{address.scheme}://{_bracketed(address.host)}:{address.port}/{address.app}"
        decoding = asyncio.ensure_future(self.decode({"rtmp_tcurl": origin}, port))
        passing: asyncio.Future[None] | None = None
        failure: Exception | None = None
        try:
            async with asyncio.timeout(self.tracks.limits.connect_timeout_s):
                local = await calls.get()
            server.close()
            passing = asyncio.ensure_future(relay.run(peer, local))
            await decoding
        except SourceError as error:
            failure = error
        except TimeoutError:
            failure = EndpointError("the decoder did not connect", place=self.tracks.place)
        finally:
            server.close()
            relay.close()
            peer[1].close()
            if passing is not None:
                passing.cancel()
                await asyncio.wait({passing})
        await self._conclude(relay, failure)

    async def _conclude(self, relay: Relay, failure: Exception | None) -> None:
        """Say how it went: the relay knows best."""
        if relay.failure is not None:
            failure = relay.failure
        elif failure is not None and relay.ended:
            # ffmpeg reports any end of a connection as an error.
            failure = None
            if self.is_empty():
                failure = MalformedStreamError(
                    "the peer closed before any audio or video", place=self.tracks.place
                )
        await asyncio.to_thread(self.tracks.finish)
        if failure is not None:
            raise failure
        self.conclude()


class _Listening(_Pulling):
    """We are the server, of one publisher."""

    def __init__(
        self,
        address: _Address,
        channel: Channel,
        tracks: Tracks,
        on_listening: Callable[[str], object] | None,
    ) -> None:
        super().__init__(address, channel, tracks, on_listening)
        self._server: asyncio.Server | None = None
        self._callers: asyncio.Queue[Any] = asyncio.Queue(1)
        self._busy = threading.Event()

    async def open(self) -> None:
        """Listen."""
        address = self.address

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                if self._busy.is_set():
                    raise asyncio.QueueFull
                self._callers.put_nowait((reader, writer))
            except asyncio.QueueFull:
                writer.close()

        try:
            self._server = await asyncio.start_server(accept, address.host, address.port)
        except OSError as error:
            raise EndpointError(
                f"cannot listen: {reason(error)}", place=self.tracks.place
            ) from error
        if self.on_listening is not None:
            port = self._server.sockets[0].getsockname()[1]
            host = _bracketed(address.host)
            key = f"/{address.key}" if address.key else ""
            self.on_listening(f"rtmp://{host}:{port}/{address.app}{key}")
        self.start_task(self._serve)

    async def shut(self) -> None:
        """Stop listening, and close the connections."""
        if self._server is not None:
            self._server.close()
        await super().shut()

    async def _serve(self) -> None:
        """Wait for a peer that publishes, and read it to its end."""
        assert self._server is not None
        failures = 0
        try:
            while True:
                peer = await self._callers.get()
                self._busy.set()
                try:
                    await self._read(peer)
                except (EndpointError, IdleTimeoutError, MalformedStreamError) as error:
                    failures += 1
                    if not self.is_empty() or failures >= _MAX_CALLERS:
                        raise
                    self.tell(str(error))
                    self._busy.clear()
                    continue
                return
        finally:
            self._server.close()

    async def _read(self, peer: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        """Read one publisher."""
        relay = self.relay = Relay(
            self.tracks.limits, self.tracks.place, key=self.address.key or None, publisher=True
        )
        port = free_port()
        decoding = asyncio.ensure_future(self.decode({"rtmp_listen": "1"}, port))
        passing: asyncio.Future[None] | None = None
        failure: Exception | None = None
        try:
            try:
                local = await connect_local(port)
            except OSError as error:
                raise EndpointError(
                    "the decoder did not listen", place=self.tracks.place
                ) from error
            passing = asyncio.ensure_future(relay.run(peer, local))
            await decoding
        except SourceError as error:
            failure = error
        finally:
            relay.close()
            peer[1].close()
            if passing is None:
                await _release(port)
            else:
                passing.cancel()
                await asyncio.wait({passing})
        await self._conclude(relay, failure)


async def _release(port: int) -> None:
    """Let ffmpeg go that waits for a caller."""
    try:
        _, writer = await connect_local(port)
    except OSError:
        return  # it does not wait any more
    writer.close()
