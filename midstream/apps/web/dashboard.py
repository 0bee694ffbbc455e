"""`Dashboard`: the page's servers, over HTTP and WebTransport, in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Collection
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, quote, urlsplit

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_int, check_text
from midstream.apps.feed import Feed
from midstream.apps.feed.replays import Replays
from midstream.apps.web.access import Access, check_names, is_loopback
from midstream.quic import Config, Identity, webtransport
from midstream.stream import RecordingsFolder
from midstream.stream.tls import check_tls

try:
    import uvicorn

    from midstream.apps.web.application import PageServer, resume_after
    from midstream.apps.web.http import HeadsInTime
    from midstream.stream.listening import QuietServer, listening
except ModuleNotFoundError as missing:
    package = (missing.name or "").partition(".")[0]
    if package not in ("starlette", "uvicorn"):
        raise
    raise ModuleNotFoundError(
        f'the web dashboard needs {package}: pip install "midstream[ui]"', name=package
    ) from missing

__all__ = ["Dashboard"]

_PATH = "/feed"
_EVERYWHERE = ("0.0.0.0", "::")
#: How long answers may take once it is to end.
_LAST_S = 2
_MOST_SESSIONS = 64
_MOST_HEAD_BYTES = 32768


class Dashboard:
    """A page over a feed, within ``async with``.

    Parameters
    ----------
    feed : Feed
        What is shown.
    host : str, default "127.0.0.1"
        Where to listen.
    port : int, default 0
        0 takes a free one.
    token : str, optional
        What readers must show, at least 16 characters; needed where `host` is not loopback.
    recordings : RecordingsFolder or path, optional
        Recordings that can be played in the page.
    hosts : collection of str, optional
        Further names under which the server may be asked.
    tls : tuple of two paths, optional
        Files of a certificate's chain and of its key, in PEM: the page is then served over HTTPS.
        Without, who can read the network can read a token.
    transport : bool, default True
        Serve WebTransport as well, for browsers on this machine: on loopback, at the UDP port of
        the page's number if that is free.
    title : str, default "midstream"
        Of the page.

    Attributes
    ----------
    url : str
        Where the page is; with a token, in the part of the URL that is never sent.
    address : tuple of str and int
        Where it listens.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used, or there is no token where others can reach the server.
    OSError
        A file of `tls` cannot be read; when entered: the address cannot be used.

    Notes
    -----
    The certificate of WebTransport is made here, lasts 14 days, and browsers are told its hash;
    after that they take server-sent events, as all do that cannot do better. Leaving the block ends
    all readers; the feed stays open. There is no access log.

    Examples
    --------
    >>> import asyncio, urllib.request
    >>> async def main():
    ...     async with Dashboard(Feed()) as page:
    ...         answer = await asyncio.to_thread(urllib.request.urlopen, page.url)
    ...         return answer.status, answer.headers["x-frame-options"]
    >>> asyncio.run(main())
    (200, 'DENY')
    """

    def __init__(
        self,
        feed: Feed,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        token: str | None = None,
        recordings: RecordingsFolder | str | os.PathLike[str] | None = None,
        hosts: Collection[str] = (),
        tls: tuple[str | os.PathLike[str], str | os.PathLike[str]] | None = None,
        transport: bool = True,
        title: str = "midstream",
    ) -> None:
        if not isinstance(feed, Feed):
            raise ArgumentTypeError(f"feed must be a Feed, got {type(feed).__name__}")
        self._feed = feed
        if not check_text("host", host):
            raise ArgumentValueError("host must not be empty")
        self._host = host
        self._port = check_int("port", port, low=0, high=65535)
        # Where it listens everywhere, `url` has this machine's name.
        named = () if host not in _EVERYWHERE else (socket.gethostname(),)
        self._access = Access(host, token=token, hosts=(*check_names("hosts", hosts), *named))
        if recordings is not None and not isinstance(recordings, RecordingsFolder):
            recordings = RecordingsFolder(recordings)
        self._pages = PageServer(
            feed,
            self._access,
            replays=None if recordings is None else Replays(recordings),
            transport=self._told_transport,
            title=check_text("title", title),
        )
        self._tls = check_tls(tls)
        self._scheme = "http" if tls is None else "https"
        self._with_transport = bool(transport)
        self._identity: Identity | None = None
        self._quic: webtransport.Server | None = None
        self._server: QuietServer | None = None
        self._serving: asyncio.Task[None] | None = None
        self._listener: socket.socket | None = None
        self._exits = contextlib.AsyncExitStack()
        self.address: tuple[str, int] = (host, port)

    def __repr__(self) -> str:
        return f"<Dashboard at {self.address[0]}:{self.address[1]}, {self._feed.readers} readers>"

    @property
    def url(self) -> str:
        """Where the page is."""
        host, port = self.address
        if host in _EVERYWHERE:
            host = socket.gethostname()
        shown = f"[{host}]" if ":" in host else host
        token = self._access.token
        fragment = "" if token is None else f"#token={quote(token, safe='')}"
        return f"{self._scheme}://{shown}:{port}/{fragment}"

    @property
    def access(self) -> Access:
        """Who may read."""
        return self._access

    async def __aenter__(self) -> Self:
        """Listen."""
        async with contextlib.AsyncExitStack() as exits:
            self._listener = exits.enter_context(listening(self._host, self._port))
            host, port = self._listener.getsockname()[:2]
            self.address = (self._host if is_loopback(self._host) else host, port)
            self._pages.cookie = f"midstream_dash_{port}"
            if self._with_transport:
                await self._serve_quic(exits, port)
            config = uvicorn.Config(
                self._pages.app,
                http=HeadsInTime,
                h11_max_incomplete_event_size=_MOST_HEAD_BYTES,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                limit_concurrency=512,
                timeout_graceful_shutdown=_LAST_S,
                ssl_certfile=self._tls[0],
                ssl_keyfile=self._tls[1],
            )
            self._server = QuietServer(config)
            self._serving = asyncio.create_task(self._server.serve(sockets=[self._listener]))
            exits.push_async_callback(self._stop)
            started = asyncio.create_task(self._server.listening.wait())
            await asyncio.wait((started, self._serving), return_when=asyncio.FIRST_COMPLETED)
            if self._serving.done():
                started.cancel()
                self._serving.result()
            self._exits = exits.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of all readers, and close."""
        await self._exits.__aexit__(kind, error, trace)

    async def _stop(self) -> None:
        assert self._server is not None and self._serving is not None
        self._pages.app.ready = False
        self._pages.ending.set()  # streams of events do not end by themselves
        self._server.should_exit = True
        await asyncio.gather(self._serving, return_exceptions=True)

    # WebTransport

    async def _serve_quic(self, exits: contextlib.AsyncExitStack, port: int) -> None:
        self._identity = Identity.development()
        names = dict.fromkeys(("localhost", "127.0.0.1", "[::1]", self._host))
        origins = [f"{self._scheme}://{name}:{port}" for name in names]
        # The same number as the page's: one that comes back after a restart may connect there.
        for number in (port, 0):
            server = webtransport.serve(
                self._session,
                "127.0.0.1",
                number,
                path=_PATH,
                config=Config(identity=self._identity),
                origins=origins,
            )
            try:
                self._quic = await exits.enter_async_context(server)
            except OSError:
                if not number:
                    raise
            else:
                return

    def _told_transport(self) -> dict[str, Any] | None:
        """What the page needs to know of WebTransport."""
        if self._quic is None or self._identity is None:
            return None
        origin = f"https://127.0.0.1:{self._quic.address[1]}"
        return {
            "origin": origin,
            "url": origin + _PATH,
            "sha256": [self._identity.sha256_bytes.hex()],
        }

    async def _session(self, session: webtransport.Session) -> None:
        """Send the feed over one session of WebTransport."""
        try:
            asked = parse_qs(urlsplit(session.path).query, max_num_fields=8)
        except ValueError:
            asked = {}
        ticket = asked.get("ticket", [""])[0]
        quic = self._quic
        if not self._access.take_ticket(ticket):
            session.close(401, "no ticket")
            return
        if quic is None or len(quic.sessions) > _MOST_SESSIONS:
            session.close(503, "too many readers")
            return
        after = resume_after(self._feed, asked.get("after", [None])[0])
        stream = await session.open_uni()
        with self._feed.subscribe(after=after) as frames:
            async for frame in frames:
                stream.write(frame.data + b"\n")
                # A reader that does not read waits here, and then gets a snapshot.
                await stream.drain()
        stream.finish()
        await session.wait_closed()
