"""A page that shows events as they happen, in a browser, over WebTransport."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import time
from collections import deque
from collections.abc import AsyncIterable, Callable
from importlib import resources
from types import TracebackType
from typing import Any, Self

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_int, check_text
from midstream.quic import webtransport
from midstream.quic.certificates import Identity
from midstream.quic.config import Config

__all__ = ["LivePage", "live_page"]

_PATH = "/live"
_ASSETS = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/live.css": ("live.css", "text/css; charset=utf-8"),
    "/live.js": ("live.js", "text/javascript; charset=utf-8"),
}
#: Longest request for a page that is read, bytes, and for how long, seconds.
_REQUEST_LIMIT = 16384
_REQUEST_S = 10.0
#: Connections for pages at once.
_PAGES = 64
#: Longest event, bytes of JSON; more is cut off and said so.
_EVENT_LIMIT = 65536
#: How long a browser may take to read what is left when the events have ended, seconds.
_ENDED_S = 30.0


class _Browser:
    """What waits for one browser: the oldest goes when there is too much."""

    def __init__(self, history: deque[dict[str, Any]], backlog: int) -> None:
        self.queue: deque[dict[str, Any]] = deque(history, maxlen=backlog)
        self.came = asyncio.Event()
        self.missed = 0

    def put(self, message: dict[str, Any]) -> None:
        if len(self.queue) == self.queue.maxlen:
            self.missed += 1
        self.queue.append(message)
        self.came.set()


class LivePage:
    """A running page; made by `live_page`, runs within ``async with``.

    Attributes
    ----------
    url : str
        What to open in a browser on this machine.
    server : webtransport.Server
        The WebTransport server that the page connects to.
    browsers : int
        Browsers that are connected.
    missed : int
        Events that slow browsers did not get, over all that were connected.

    Notes
    -----
    Not thread-safe: of the event loop it was started in.
    """

    def __init__(
        self,
        events: AsyncIterable[Any],
        title: str,
        http_port: int,
        port: int,
        config: Config,
        backlog: int,
        history: int,
        encode: Callable[[Any], Any],
    ) -> None:
        self._events = events
        self._title = title
        self._ports = (http_port, port)
        self._config = config
        self._backlog = backlog
        self._encode = encode
        self._history: deque[dict[str, Any]] = deque(maxlen=history)
        self._browsers: set[_Browser] = set()
        self._missed = 0
        self._ended = False
        self._pages: set[asyncio.StreamWriter] = set()
        self._exits = contextlib.AsyncExitStack()
        self._http: asyncio.Server | None = None
        self._server: webtransport.Server | None = None
        self._pump: asyncio.Task[None] | None = None
        root = resources.files("midstream.quic") / "page_assets"
        self._assets = {
            path: ((root / name).read_bytes(), kind) for path, (name, kind) in _ASSETS.items()
        }

    def __repr__(self) -> str:
        return f"<LivePage {self._title!r}, {len(self._browsers)} browsers>"

    @property
    def url(self) -> str:
        """What to open in a browser on this machine."""
        return f"http://localhost:{self._http_port}/"

    @property
    def server(self) -> webtransport.Server:
        """The WebTransport server that the page connects to."""
        if self._server is None:
            raise ArgumentValueError("the page is not running: use `async with`")
        return self._server

    @property
    def browsers(self) -> int:
        """Browsers that are connected."""
        return len(self._browsers)

    @property
    def missed(self) -> int:
        """Events that slow browsers did not get."""
        return self._missed + sum(browser.missed for browser in self._browsers)

    @property
    def _http_port(self) -> int:
        if self._http is None:
            raise ArgumentValueError("the page is not running: use `async with`")
        return int(self._http.sockets[0].getsockname()[1])

    async def __aenter__(self) -> Self:
        """Listen, and begin to take events."""
        async with contextlib.AsyncExitStack() as exits:
            # "localhost" is a secure context without TLS; another machine never sees the page.
            self._http = await asyncio.start_server(
                self._page, "127.0.0.1", self._ports[0], limit=_REQUEST_LIMIT
            )
            exits.push_async_callback(self._close_http)
            origins = [f"http://{host}" for host in self._hosts()]
            self._server = await exits.enter_async_context(
                webtransport.serve(
                    self._session,
                    "127.0.0.1",
                    self._ports[1],
                    path=_PATH,
                    config=self._config,
                    origins=origins,
                )
            )
            self._pump = asyncio.create_task(self._take_events())
            exits.push_async_callback(self._stop_pump)
            self._exits = exits.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop taking events, and close."""
        await self._exits.__aexit__(kind, error, trace)

    async def wait_ended(self) -> None:
        """Wait until the events have ended; raises what their iterator raised."""
        if self._pump is None:
            raise ArgumentValueError("the page is not running: use `async with`")
        await asyncio.shield(self._pump)

    async def _close_http(self) -> None:
        assert self._http is not None
        self._http.close()
        # Browsers keep connections that they may want; a server waits for those from Python 3.12.
        for writer in self._pages:
            writer.transport.abort()
        await self._http.wait_closed()

    async def _stop_pump(self) -> None:
        assert self._pump is not None
        self._pump.cancel()
        # What the iterator raised is told by `wait_ended`.
        await asyncio.wait((self._pump,))

    # Events

    async def _take_events(self) -> None:
        try:
            async for event in self._events:
                message = {"t_ms": time.time_ns() // 1_000_000, "event": self._json(event)}
                self._history.append(message)
                for browser in self._browsers:
                    browser.put(message)
        finally:
            self._ended = True
            for browser in self._browsers:
                browser.came.set()

    def _json(self, event: Any) -> Any:
        value = self._encode(event)
        text = json.dumps(value, default=str)
        if len(text) > _EVENT_LIMIT:
            return {"kind": "cut", "text": text[:_EVENT_LIMIT]}
        return json.loads(text)

    async def _session(self, session: webtransport.Session) -> None:
        browser = _Browser(self._history, self._backlog)
        self._browsers.add(browser)
        try:
            stream = await session.open_uni()
            told = 0
            while True:
                while browser.queue:
                    message = browser.queue.popleft()
                    if browser.missed != told:
                        message = message | {"missed": browser.missed - told}
                        told = browser.missed
                    stream.write(json.dumps(message).encode() + b"\n")
                    # A browser that does not read waits here, and loses its oldest events.
                    await stream.drain()
                if self._ended:
                    break
                browser.came.clear()
                await browser.came.wait()
            stream.finish()
            # The browser closes when it has read all: a close from here would throw the rest away.
            await session.drain(_ENDED_S)
        finally:
            self._browsers.discard(browser)
            self._missed += browser.missed

    # The page

    def _hosts(self) -> tuple[str, str]:
        return f"localhost:{self._http_port}", f"127.0.0.1:{self._http_port}"

    async def _page(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._pages.add(writer)
        try:
            if len(self._pages) <= _PAGES:
                async with asyncio.timeout(_REQUEST_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(self._answer(head))
                    await writer.drain()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            pass  # a browser that changed its mind
        except asyncio.LimitOverrunError:
            writer.write(_response(431, b"", "text/plain"))
        finally:
            self._pages.discard(writer)
            writer.close()

    def _answer(self, head: bytes) -> bytes:
        request, *lines = head.decode("latin-1").split("\r\n")
        parts = request.split(" ")
        if len(parts) != 3 or parts[0] not in ("GET", "HEAD"):
            return _response(405, b"", "text/plain")
        fields = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines if line)
        }
        # A name of somebody else's that leads here would let its page read ours.
        if fields.get("host") not in self._hosts():
            return _response(421, b"", "text/plain")
        path = parts[1].partition("?")[0]
        if path == "/session.json":
            body, kind = self._session_json(), "application/json"
        elif path in self._assets:
            body, kind = self._assets[path]
        else:
            return _response(404, b"", "text/plain")
        port = self.server.address[1]
        return _response(200, body, kind, port, is_head=parts[0] == "HEAD")

    def _session_json(self) -> bytes:
        identity = self._config.identity
        assert identity is not None
        return json.dumps(
            {
                "title": self._title,
                "url": f"https://127.0.0.1:{self.server.address[1]}{_PATH}",
                "sha256": [identity.sha256_bytes.hex()],
            }
        ).encode()


def live_page(
    events: AsyncIterable[Any],
    *,
    title: str = "Live events",
    http_port: int = 0,
    port: int = 0,
    config: Config | None = None,
    backlog: int = 1024,
    history: int = 100,
    encode: Callable[[Any], Any] | None = None,
) -> LivePage:
    """Serve a page on this machine that shows events as they happen.

    Parameters
    ----------
    events : async iterable
        Events: strings, or whatever `encode` makes JSON of. Shown are ``kind`` and ``text`` of a
        mapping or dataclass, or all of it where it has no text.
    title : str
        Heading of the page.
    http_port : int
        TCP port of the page; 0 takes a free one. It listens on 127.0.0.1 alone.
    port : int
        UDP port of WebTransport; 0 takes a free one.
    config : Config, optional
        Settings, with an identity of at most 14 days and a P-256 key, as browsers want it.
        Default: one that is made now.
    backlog : int, default 1024
        Events that wait for a browser that is slow; the oldest is dropped, and counted, for a
        newer one.
    history : int, default 100
        Events before it that a new browser is shown.
    encode : callable, optional
        Makes a JSON value of an event. Default: dataclasses become mappings.

    Returns
    -------
    LivePage
        Runs within ``async with``; `LivePage.url` is what to open.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used.
    OSError
        When entered: a port cannot be listened on.

    Notes
    -----
    Memory is at most `backlog` events of 64 KiB for each browser, besides the connection's
    windows. Browsers: Chromium and Edge since 100, Firefox since 125. An identity made by default
    lasts 14 days; the page has to be started again then.

    Examples
    --------
    >>> import asyncio
    >>> from midstream.quic.page import live_page
    >>> async def ticks():
    ...     for number in range(3):
    ...         yield {"kind": "tick", "text": str(number)}
    >>> async def main():
    ...     async with live_page(ticks(), title="Ticks") as page:
    ...         await page.wait_ended()
    ...         return page.url.startswith("http://localhost:"), page.browsers
    >>> asyncio.run(main())
    (True, 0)
    """
    if not hasattr(events, "__aiter__"):
        raise ArgumentTypeError(f"events must be an async iterable, got {events!r:.80}")
    if encode is not None and not callable(encode):
        raise ArgumentTypeError(f"encode must be callable, got {encode!r}")
    if config is None:
        config = Config(identity=Identity.development())
    elif not isinstance(config, Config):
        raise ArgumentTypeError(f"config must be a Config, got {config!r}")
    elif config.identity is None:
        raise ArgumentValueError("config.identity must be given to serve, got None")
    return LivePage(
        events,
        check_text("title", title),
        check_int("http_port", http_port, low=0, high=65535),
        check_int("port", port, low=0, high=65535),
        config,
        check_int("backlog", backlog, low=1),
        check_int("history", history, low=0),
        _plain if encode is None else encode,
    )


def _plain(event: Any) -> Any:
    if dataclasses.is_dataclass(event) and not isinstance(event, type):
        return dataclasses.asdict(event)
    return event


_STATUS = {
    200: "OK",
    404: "Not Found",
    405: "Method Not Allowed",
    421: "Misdirected Request",
    431: "Request Header Fields Too Large",
}


def _response(
    status: int, body: bytes, kind: str, port: int = 0, *, is_head: bool = False
) -> bytes:
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; base-uri 'none'; "
        f"form-action 'none'; frame-ancestors 'none'; connect-src 'self' https://127.0.0.1:{port}"
    )
    head = (
        f"HTTP/1.1 {status} {_STATUS[status]}\r\ncontent-type: {kind}\r\n"
        f"content-length: {len(body)}\r\ncache-control: no-store\r\n"
        f"x-content-type-options: nosniff\r\nreferrer-policy: no-referrer\r\n"
        f"content-security-policy: {policy}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + (b"" if is_head else body)
