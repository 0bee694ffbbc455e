"""The dashboard as an ASGI application: the page, the feed as server-sent events, recordings."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from http import cookies
from importlib import resources
from itertools import chain
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from midstream import __version__
from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    MidstreamError,
    RecordingError,
)
from midstream.apps.feed import Feed, Subscription
from midstream.apps.feed.counting import feed_families
from midstream.apps.feed.replays import Replays
from midstream.apps.feed.states import encode
from midstream.apps.web.access import Access, Guarded
from midstream.stream.telemetry import CONTENT_TYPE, exposition, server_families

__all__ = ["PageServer", "resume_after"]

Scope = dict[str, Any]
Receive = Callable[[], Any]
Send = Callable[[dict[str, Any]], Any]

_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
#: A comment is sent so often while nothing comes, so that whoever is between sees it alive.
_BEAT_S = 15.0
#: How long a reader may take nothing before it is let go.
_STALLED_S = 60.0
_MOST_READERS = 256
_MOST_LOGIN_BYTES = 4096
_LOGIN_S = 10.0


def resume_after(feed: Feed, last: str | None) -> int | None:
    """The frame after which a reader goes on, of what it was given as an id.

    Examples
    --------
    >>> feed = Feed()
    >>> resume_after(feed, f"{feed.key}-12"), resume_after(feed, "other-12")
    (12, None)
    """
    key, _, number = (last or "").rpartition("-")
    if key != feed.key or not number.isdecimal() or len(number) > 15:
        return None
    return int(number)


class PageServer:
    """Answers for the page; `app` is what to serve.

    Parameters
    ----------
    feed : Feed
    access : Access
    replays : Replays, optional
        Without, there are no recordings.
    transport : callable, optional
        Gives address and certificate hash of WebTransport for the page, or None.
    title : str
        Of the page.
    """

    def __init__(
        self,
        feed: Feed,
        access: Access,
        *,
        replays: Replays | None = None,
        transport: Callable[[], Mapping[str, Any] | None] | None = None,
        title: str = "midstream",
    ) -> None:
        self._feed = feed
        self._access = access
        self._replays = replays
        self._transport = transport
        self._title = title
        self._replaying = asyncio.Semaphore(1)
        #: Set when streams of events are to end, while the feed goes on.
        self.ending = asyncio.Event()
        #: Name of the cookie: those of several ports of one machine must not meet.
        self.cookie = "midstream_dash"
        root = resources.files("midstream.apps.web") / "page_assets"
        self._assets: dict[str, tuple[bytes, str, str]] = {}
        for file in root.iterdir():
            kind = _TYPES.get(file.name.rpartition(".")[2])
            if kind is not None:
                body = file.read_bytes()
                tag = f'"{hashlib.sha256(body).hexdigest()[:24]}"'
                self._assets[file.name] = (body, kind, tag)
        routes = [
            Route("/", self._page),
            Route("/assets/{name}", self._asset),
            Route("/api/login", self._login, methods=["POST"]),
            Route("/api/logout", self._logout, methods=["POST"]),
            Route("/api/session", self._session),
            Route("/api/feed", self._events),
            Route("/metrics", self._metrics),
            Route("/api/recordings", self._recordings),
            Route("/api/recordings/{name}", self._recording),
        ]
        #: The ASGI application.
        self.app = Guarded(Starlette(routes=routes), access, self._policy)

    def _policy(self) -> str:
        told = self._transport() if self._transport is not None else None
        connect = "'self'" if told is None else f"'self' {told['origin']}"
        return (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
            f"connect-src {connect}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
            "require-trusted-types-for 'script'; trusted-types 'none'"
        )

    # The page

    async def _page(self, request: Request) -> Response:
        return self._send_asset(request, "index.html")

    async def _asset(self, request: Request) -> Response:
        return self._send_asset(request, request.path_params["name"])

    def _send_asset(self, request: Request, name: str) -> Response:
        if name not in self._assets:
            return _problem(404, "not found")
        body, kind, tag = self._assets[name]
        headers = {"cache-control": "no-cache", "etag": tag}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(body, media_type=kind, headers=headers)

    # Who reads

    def _cookie(self, request: Request) -> str | None:
        try:
            jar = cookies.SimpleCookie(request.headers.get("cookie", "")[:8192])
        except cookies.CookieError:
            return None
        morsel = jar.get(self.cookie)
        return None if morsel is None else morsel.value

    def _allows(self, request: Request) -> bool:
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        return self._access.allows(
            self._cookie(request),
            bearer.strip() if scheme.lower() == "bearer" else None,
            _peer(request),
        )

    async def _login(self, request: Request) -> Response:
        # A page of elsewhere cannot send this type without being asked for first.
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return _problem(415, "JSON is wanted")
        body = b""
        try:
            async with asyncio.timeout(_LOGIN_S):
                async for piece in request.stream():
                    body += piece
                    if len(body) > _MOST_LOGIN_BYTES:
                        return _problem(413, "too long")
            asked = json.loads(body)
        except TimeoutError:
            return _problem(408, "the token did not come")
        except (ValueError, RecursionError, ClientDisconnect):
            return _problem(400, "this is no JSON")
        token = asked.get("token") if isinstance(asked, dict) else None
        if not isinstance(token, str):
            return _problem(400, "a token is wanted")
        try:
            session = self._access.login(token, _peer(request))
        except PermissionError as error:
            return _problem(429, str(error))
        if session is None:
            return _problem(401, "this is not the token")
        answer = _json({"ok": True})
        answer.set_cookie(
            self.cookie,
            session,
            max_age=7 * 24 * 3600,
            path="/",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return answer

    async def _logout(self, request: Request) -> Response:
        session = self._cookie(request)
        if session is not None:
            self._access.logout(session)
        answer = _json({"ok": True})
        answer.delete_cookie(self.cookie, path="/", httponly=True, samesite="strict")
        return answer

    async def _session(self, request: Request) -> Response:
        if not self._allows(request):
            return _problem(401, "the token is wanted")
        transport = None
        told = self._transport() if self._transport is not None else None
        if told is not None:
            transport = {**told, "ticket": self._access.ticket()}
        return _json(
            {
                "title": self._title,
                "version": __version__,
                "feed": self._feed.key,
                "guarded": self._access.token is not None,
                "recordings": self._replays is not None,
                "transport": transport,
            }
        )

    async def _metrics(self, request: Request) -> Response:
        if not self._allows(request):
            return _problem(401, "the token is wanted")
        families = chain(server_families(ready=self.app.ready), feed_families(self._feed))
        text = exposition(families)
        return Response(text, headers={"content-type": CONTENT_TYPE, "cache-control": "no-store"})

    # The feed

    async def _events(self, request: Request) -> Response:
        if not self._allows(request):
            return _problem(401, "the token is wanted")
        if self._feed.readers >= _MOST_READERS:
            return _problem(503, "too many readers")
        last = request.headers.get("last-event-id") or request.query_params.get("after")
        return _EventStream(self._feed, resume_after(self._feed, last), self.ending)

    # Recordings

    async def _recordings(self, request: Request) -> Response:
        if not self._allows(request):
            return _problem(401, "the token is wanted")
        if self._replays is None:
            return _problem(404, "no folder of recordings was given")
        try:
            names = await asyncio.to_thread(self._replays.names)
        except MidstreamError as error:
            return _problem(500, str(error))
        return _json({"recordings": names})

    async def _recording(self, request: Request) -> Response:
        if not self._allows(request):
            return _problem(401, "the token is wanted")
        if self._replays is None:
            return _problem(404, "no folder of recordings was given")
        async with self._replaying:
            try:
                body = await asyncio.to_thread(self._replays.lines, request.path_params["name"])
            except (ArgumentTypeError, ArgumentValueError):
                return _problem(404, "this is no name of a recording")
            except RecordingError as error:
                return _problem(422, str(error))
        headers = {"cache-control": "no-store"}
        return Response(body, media_type="application/x-ndjson", headers=headers)


class _EventStream(Response):
    """A feed as server-sent events."""

    def __init__(self, feed: Feed, after: int | None, ending: asyncio.Event) -> None:
        super().__init__(
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )
        self.raw_headers = [
            (name, value) for name, value in self.raw_headers if name != b"content-length"
        ]
        self._feed = feed
        self._after = after
        self._ending = ending

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send frames until the reader is gone, or takes nothing, or the feed ends."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        gone = asyncio.create_task(_until_gone(receive))
        ending = asyncio.create_task(self._ending.wait())
        with self._feed.subscribe(after=self._after) as frames:
            sending = asyncio.create_task(self._send_all(frames, send))
            try:
                await asyncio.wait((gone, ending, sending), return_when=asyncio.FIRST_COMPLETED)
                cut = ending.done() and not (gone.done() or sending.done())
            finally:
                for task in (gone, ending, sending):
                    task.cancel()
                results = await asyncio.gather(gone, ending, sending, return_exceptions=True)
        if cut:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        problem = results[2]
        if isinstance(problem, Exception) and not isinstance(problem, (OSError, TimeoutError)):
            raise problem

    async def _send_all(self, frames: Subscription, send: Any) -> None:
        async for part in self._parts(frames):
            async with asyncio.timeout(_STALLED_S):
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _parts(self, frames: Subscription) -> AsyncIterator[bytes]:
        head = f"id: {self._feed.key}-".encode()
        yield b"retry: 1000\n\n"
        while True:
            frame = frames.poll()
            if frame is None:
                if self._feed.closed:
                    # Else browsers would come back for more of what is over.
                    yield b"event: end\ndata: \n\n"
                    return
                try:
                    async with asyncio.timeout(_BEAT_S):
                        await self._feed.wait_news()
                except TimeoutError:
                    yield b": still here\n\n"
                continue
            yield b"%b%d\ndata: %b\n\n" % (head, frame.id, frame.data)


async def _until_gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _peer(request: Request) -> str:
    return "" if request.client is None else request.client.host


def _problem(status: int, message: str) -> Response:
    answer = _json({"error": message}, status)
    if status == 429:
        answer.headers["retry-after"] = "60"
    return answer


def _json(content: dict[str, Any], status: int = 200) -> Response:
    # As frames are: what recordings say of themselves need not be encodable.
    headers = {"cache-control": "no-store"}
    return Response(encode(content), status, headers, "application/json")
