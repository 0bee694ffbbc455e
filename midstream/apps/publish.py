"""``midstream publish``: the events of a source over QUIC, for every reader that asks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections import Counter, deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midstream._core.words import counted
from midstream.apps.inputs import Identified, Request, Trust, open_source, shown
from midstream.apps.live import LiveText
from midstream.apps.options import InputFormat
from midstream.apps.output import Interrupted, Output, OutputFailed, one_line, tell_error
from midstream.apps.session import FAILED, NOTHING, Signals
from midstream.errors import MidstreamError, QuicError, SourceError
from midstream.stream import Event, QuicCode, QuicPublisher, Served, Source
from midstream.stream.quic import QuicAddress
from midstream.stream.telemetry import Family

if TYPE_CHECKING:
    from midstream.quic.certificates import Identity
    from midstream.quic.serving import Server

__all__ = ["SharedSource", "publish"]

#: Events of standard input that are kept for readers that come later, or are slow.
_KEPT_EVENTS = 100_000
#: How long readers may take for what was sent to them, once no further stream is to be served.
_DRAIN_S = 10.0
#: How long they may take for it when a signal has come, and their streams are over.
_LAST_S = 2.0


def publish(
    source: str,
    identified: Identified,
    *,
    request: Request,
    trust: Trust,
    host: str,
    port: int,
    name: str | None = None,
    max_readers: int = 1000,
    streams: int | None = None,
    drain_s: float = 5.0,
    health_port: int | None = None,
    format: InputFormat | None = None,
    speed: float | None = None,
    json_lines: bool = False,
    color: bool = True,
) -> int:
    """Publish a source until a signal comes, or as many streams as were asked for.

    SIGINT and SIGTERM let streams go on for `drain_s` seconds; a second signal ends the program.

    Parameters
    ----------
    source : str
        A recording, ``-`` or a URL.
    identified : Identified
        The server's certificate.
    request, trust
        How to open a URL.
    host, port
        Where to listen.
    name : str, optional
        What readers ask for.
    max_readers : int, default 1000
        Streams served at once.
    streams : int, optional
        End after so many.
    drain_s : float, default 5
    health_port : int, optional
        TCP port for ``/healthz``, ``/readyz`` and ``/metrics``.
    format, speed
        Of a file or standard input, as for a watch.
    json_lines : bool, default False
        What happens as JSON lines.
    color : bool, default True
        Colours, where there is a terminal.

    Returns
    -------
    int
        Exit status.

    Raises
    ------
    typer.BadParameter
        The options do not go together.
    OutputClosed, OutputFailed
        Standard output could not be written.
    ImportError
        `health_port` needs the extra ``serve``.
    """
    identity = identified.identity(host)
    stdout = Output(sys.stdout, "standard output")
    feed = _feed_name(source) if name is None else name
    with ExitStack() as stack:

        def opened() -> Source:
            return open_source(
                source, format=format, speed=speed, request=request, trust=trust, stack=stack
            )

        # Whether the options go together shows now, and not to the first reader.
        first = opened()
        piped = source == "-" or format not in (None, InputFormat.RECORDING)
        shared = SharedSource(first) if piped else None
        # And so does whether there is a recording at all.
        probe = None
        if not piped and "://" not in source:
            probe = open_source(
                source, format=format, speed=None, request=request, trust=trust, stack=stack
            )
        told = _Told(stdout, json_lines=json_lines, color=color)
        station = _Station(
            told, identity, shown(source), feed, host, port, streams, drain_s, health_port
        )
        publisher = QuicPublisher(
            lambda asked: (
                None if asked not in ("", feed) else opened() if shared is None else shared.events()
            ),
            source=shown(source),
            max_readers=max_readers,
            on_end=station.ended,
        )
        with Signals((stdout,)) as signals:
            status = NOTHING
            try:
                asyncio.run(station.run(publisher, signals, first, shared, probe))
            except OutputFailed:
                raise
            except OSError as error:  # says where by itself
                tell_error(_cause(error))
                status = FAILED
            except SourceError as error:
                tell_error(error)
                status = FAILED
            except MidstreamError as error:
                tell_error(f"{host}:{port}: {_cause(error)}")
                status = FAILED
            except (asyncio.CancelledError, Interrupted):
                if not signals.number:
                    raise
            signals.allow_output()
            if status == NOTHING:
                with contextlib.suppress(Interrupted):
                    told.served(publisher.served)
    return 128 + signals.number if signals.number else status


class SharedSource:
    """One source for many readers, each of whom gets what came, from the beginning.

    Reading begins when the first reader does, so that nobody misses the beginning. What the source
    gave is kept, as far as `kept` goes: a reader that falls behind by more gets an error, and one
    that comes too late for the beginning begins with what there still is.

    Parameters
    ----------
    source : Source
    kept : int, default 100,000
        Events to keep.
    """

    def __init__(self, source: Source, *, kept: int = _KEPT_EVENTS) -> None:
        self._source = source
        self._kept = kept
        self._events: deque[Event] = deque()
        self._first = 0  # number of the oldest event that is kept
        self._news = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._over = False
        self._failure = ""

    async def events(self) -> AsyncGenerator[Event]:
        """Iterate over the events.

        Raises
        ------
        SourceError
            The source failed, or this reader fell behind; after what there was.
        """
        if self._reader is None:
            self._reader = asyncio.get_running_loop().create_task(self._read())
        number = self._first
        while True:
            news = self._news
            while number < self._first + len(self._events):
                if number < self._first:
                    raise SourceError(f"fell behind by more than {self._kept} events")
                event = self._events[number - self._first]
                number += 1
                yield event
            if self._over:
                if self._failure:
                    raise SourceError(self._failure)
                return
            await news.wait()

    async def aclose(self) -> None:
        """Close the source; readers see their end."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        await self._source.aclose()

    async def _read(self) -> None:
        try:
            async for event in self._source:
                self._events.append(event)
                if len(self._events) > self._kept:
                    self._events.popleft()
                    self._first += 1
                self._wake()
        except MidstreamError as error:
            self._failure = one_line(str(error))
        finally:
            self._over = True
            self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


class _Station:
    """One run of the server."""

    def __init__(
        self,
        told: _Told,
        identity: Identity,
        source: str,
        feed: str,
        host: str,
        port: int,
        streams: int | None,
        drain_s: float,
        health_port: int | None,
    ) -> None:
        self._told = told
        self._identity = identity
        self._source = source
        self._feed = feed
        self._host = host
        self._port = port
        self._left = streams
        self._drain_s = drain_s
        self._health_port = health_port
        self._outcomes: Counter[tuple[str, ...]] = Counter()
        self._events = 0
        self._listens = False
        self._enough = asyncio.Event()
        self._failure: BaseException | None = None

    def ended(self, one: Served) -> None:
        """Tell of a stream that is over."""
        self._outcomes[one.outcome,] += 1
        self._events += one.events
        try:
            self._told.stream(one)
        except (MidstreamError, Interrupted) as error:  # in a stream's task, which is not to know
            self._failure = error
            self._enough.set()
        if self._left is not None:
            self._left -= 1
            if self._left <= 0:
                self._enough.set()

    async def run(
        self,
        publisher: QuicPublisher,
        signals: Signals,
        first: Source,
        shared: SharedSource | None,
        probe: Source | None,
    ) -> None:
        """Serve until there was enough, or this is cancelled."""
        from midstream.quic.config import Config
        from midstream.quic.serving import serve as listen

        signals.watch_task()
        config = Config(identity=self._identity)
        try:
            if shared is None:
                await first.aclose()  # it was only to show that it can be made
            if probe is not None:
                async with contextlib.aclosing(probe):
                    await anext(aiter(probe), None)
            async with contextlib.AsyncExitStack() as exits:
                health = await self._enter_health(exits, publisher)
                listener = listen(publisher, self._host, self._port, config=config)
                server = await exits.enter_async_context(listener)
                self._listens = True
                self._tell_start(server, health)
                try:
                    await self._enough.wait()
                except asyncio.CancelledError:
                    await self._let_go(publisher, server, signals)
                    raise
                if self._failure is None:
                    with contextlib.suppress(QuicError):  # who does not take it does without
                        await server.drain(_DRAIN_S)
        finally:
            if shared is not None:
                await shared.aclose()
        if self._failure is not None:
            raise self._failure

    async def _enter_health(
        self, exits: contextlib.AsyncExitStack, publisher: QuicPublisher
    ) -> str | None:
        """Say how it is over HTTP, where that is wanted; at which URL."""
        if self._health_port is None:
            return None
        from midstream.apps.health import HealthServer

        health = HealthServer(
            self._host,
            self._health_port,
            ready=lambda: self._listens and not publisher.draining,
            families=lambda: self._families(publisher),
        )
        try:
            return (await exits.enter_async_context(health)).url
        except OSError as error:
            why = error.strerror or error
            raise SourceError(f"--health-port {self._health_port}: {why}") from None

    def _families(self, publisher: QuicPublisher) -> Iterator[Family]:
        yield Family("publish_streams", "gauge", "Served now.", (), {(): publisher.active})
        yield Family(
            "publish_streams_max",
            "gauge",
            "Served at once, beyond which more are refused.",
            (),
            {(): publisher.max_readers},
        )
        yield Family(
            "publish_streams_total", "counter", "Over, by how.", ("outcome",), self._outcomes
        )
        yield Family("publish_events_total", "counter", "Sent.", (), {(): self._events})

    async def _let_go(self, publisher: QuicPublisher, server: Server, signals: Signals) -> None:
        """Take no more readers, let streams end within the time for it, and close."""
        signals.allow_output()
        self._told.draining(publisher.active)
        if await publisher.drain(self._drain_s):
            with contextlib.suppress(QuicError):  # who does not take it does without
                await server.drain(_LAST_S)
        else:
            server.close(QuicCode.GOING_AWAY, "the server ended")

    def _tell_start(self, server: Server, health: str | None) -> None:
        port = server.address[1]
        local = self._host in ("", "0.0.0.0", "::")
        url = str(QuicAddress("localhost" if local else self._host, port, self._feed))
        self._told.serving(self._source, url, self._identity, health)


class _Told:
    """What the server says of itself."""

    def __init__(self, stdout: Output, *, json_lines: bool, color: bool) -> None:
        self._stdout = stdout
        self._live = None if json_lines else LiveText(stdout, color=color)

    def serving(self, source: str, url: str, identity: Identity, health: str | None) -> None:
        if self._live is None:
            more = {} if health is None else {"health": health}
            self._row("serving", source=source, url=url, pin=identity.certificate_pin, **more)
            return
        self._live.line(f"serving {one_line(source)} at {one_line(url)}", "bold")
        self._live.add("  midstream watch ")
        self._live.end_line(f"{one_line(url)} --pin {identity.certificate_pin}", "cyan")
        if health is not None:
            self._live.line(f"health, readiness and counters at {health}")

    def stream(self, one: Served) -> None:
        if self._live is None:
            self._row("stream", **one._asdict())
            return
        cause = f": {one_line(one.detail)}" if one.detail else ""
        named = f" of {one_line(one.name)}" if one.name else ""
        count = counted(one.events, "event")
        self._live.line(f"a stream{named} {one.outcome} after {count}{cause}")

    def draining(self, streams: int) -> None:
        if self._live is None:
            self._row("draining", streams=streams)
        else:
            self._live.line(f"ending; {counted(streams, 'stream')} served now")

    def served(self, streams: int) -> None:
        if self._live is None:
            self._row("served", streams=streams)
        else:
            self._live.line(f"{counted(streams, 'stream')} served")

    def _row(self, kind: str, **fields: Any) -> None:
        self._stdout.write(json.dumps({"type": kind, **fields}) + "\n")


def _feed_name(source: str) -> str:
    return "" if source == "-" or "://" in source else Path(source).stem


def _cause(error: BaseException) -> str:
    strerror = getattr(error, "strerror", None)
    return str(strerror or error)
