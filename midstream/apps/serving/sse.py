"""The ASGI application for server-sent events, and requests over HTTP."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection, Coroutine
from typing import TYPE_CHECKING, Any

from midstream.apps.serving.access import argument_of
from midstream.apps.serving.asgi import (
    SAFE,
    Receive,
    Scope,
    Send,
    answer_lifespan,
    path_of,
    respond,
    send_body,
)
from midstream.apps.serving.counting import service_families
from midstream.apps.serving.refusals import Refusal
from midstream.apps.serving.service import RETRY_MS
from midstream.apps.serving.wire import KINDS, Request, encode, now_ms, parse, request_of
from midstream.stream.probes import HEALTH, READY
from midstream.stream.telemetry import CONTENT_TYPE, exposition

if TYPE_CHECKING:
    from midstream.apps.serving.service import AgentService
    from midstream.apps.serving.sessions import Session

__all__ = ["SseApp"]

_SESSION_HEADER = b"x-midstream-session"
_POSTS = frozenset(f"/{kind}" for kind in KINDS)
_GETS = frozenset(("/stream", "/feed", "/status", "/metrics", HEALTH, READY))
#: Requests that change what is known of their client: it needs a session for them.
_KEPT = frozenset(("process", "meta_learn"))
_HEARTBEAT = b": heartbeat\n\n"
#: Digits of an event's number: beyond them it is none of ours.
_MOST_DIGITS = 18


class SseApp:
    """Streams of events, and requests by POST.

    ``GET /stream`` is the stream of what is processed, ``GET /feed`` that of the feed;
    ``POST /process``, ``/analyze``, ``/compare``, ``/detect_pattern``, ``/behavior``,
    ``/meta_learn`` and ``/status``, ``GET /status`` are requests, ``GET /metrics`` says what was
    counted, as Prometheus reads it, ``GET /healthz`` and ``/readyz`` say to whoever runs the
    server that it does, and whether clients may come.

    Parameters
    ----------
    service : AgentService
    """

    def __init__(self, service: AgentService) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await answer_lifespan(receive, send)
            return
        if scope["type"] != "http":  # a WebSocket: refused
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "server-sent events"})
            return
        headers: list[tuple[bytes, bytes]] = []
        try:
            await self._http(scope, receive, send, headers)
        except Refusal as refusal:
            told = self._service.refuse(refusal)
            if refusal.retry_after_s is not None:
                seconds = max(1, math.ceil(refusal.retry_after_s))
                headers.append((b"retry-after", str(seconds).encode()))
            if refusal.code == "unauthorized":
                headers.append((b"www-authenticate", b"Bearer"))
            body = {"success": False, **told}
            await respond(send, refusal.status, body, headers)

    async def _http(
        self, scope: Scope, receive: Receive, send: Send, headers: list[tuple[bytes, bytes]]
    ) -> None:
        """Answer; `headers` get what a refusal must have, too."""
        service = self._service
        path, method = path_of(scope), scope["method"]
        if await service.answer_probe(method, path, send):
            return
        preflight = method == "OPTIONS"
        if preflight:  # a browser asks whether it may, and shows no token
            shown = [pair for pair in scope["headers"] if pair[0] in (b"origin", b"host")]
            origin = service.access.check(shown, scope["query_string"], preflight=True)
        else:
            origin = service.access.check(scope["headers"], scope["query_string"])
        if origin is not None:
            headers += [
                (b"access-control-allow-origin", origin.encode("latin-1")),
                (b"access-control-expose-headers", b"retry-after"),
                (b"vary", b"origin"),
            ]
        if preflight:
            allowed = b"authorization, content-type, last-event-id, " + _SESSION_HEADER
            headers += [
                (b"access-control-allow-methods", b"GET, POST"),
                (b"access-control-allow-headers", allowed),
                (b"access-control-max-age", b"600"),
            ]
            await respond(send, 204, None, headers)
        elif method == "POST" and path in _POSTS:
            await self._post(path[1:], scope, receive, send, headers)
        elif method == "GET" and path == "/status":
            await self._answer(scope, send, headers, Request("status", None, {}), "")
        elif method == "GET" and path == "/metrics":
            text = exposition(service_families(service)).encode()
            headers.append((b"content-type", CONTENT_TYPE.encode()))
            await send_body(send, text, headers)
        elif method == "GET" and path == "/stream":
            await self._stream(scope, receive, send, headers)
        elif method == "GET" and path == "/feed" and service.feed is not None:
            await self._feed(scope, receive, send, headers)
        elif path in _POSTS | _GETS:
            allow = ", ".join(
                name for name, paths in (("GET", _GETS), ("POST", _POSTS)) if path in paths
            )
            headers.append((b"allow", allow.encode()))
            raise Refusal("method", f"{path} takes {allow}")
        else:
            others = ", ".join(sorted(_GETS | _POSTS))
            raise Refusal("not_found", f"there is no such path; there are {others}")

    # Requests.

    async def _post(
        self,
        kind: str,
        scope: Scope,
        receive: Receive,
        send: Send,
        headers: list[tuple[bytes, bytes]],
    ) -> None:
        body = await self._body(scope, receive)
        fields = parse(body) if body.strip() else {}
        session = fields.pop("session", "")
        if not isinstance(session, str):
            raise Refusal("bad_request", "session must be a text")
        request = request_of({**fields, "kind": kind})
        await self._answer(scope, send, headers, request, session)

    async def _answer(
        self,
        scope: Scope,
        send: Send,
        headers: list[tuple[bytes, bytes]],
        request: Request,
        key: str,
    ) -> None:
        service = self._service
        if service.draining:
            raise Refusal("ending", "the server ends", retry_after_s=RETRY_MS / 1000)
        session = self._session(scope, key, keep=request.kind in _KEPT)
        answer = await service.answer(session, request)
        told = {"success": True, "session": session.key or None, **answer}
        if request.kind == "status":
            told["server"] = service.state()
        await respond(send, 200, told, headers)

    def _session(self, scope: Scope, key: str = "", *, keep: bool = True) -> Session:
        """The client's session, as its header, body or query says; else a new one."""
        for name, value in scope["headers"]:
            if name == _SESSION_HEADER:
                key = value.decode("latin-1")
        key = key or argument_of(scope["query_string"], "session")
        sessions = self._service.sessions
        if key:
            return sessions.find(key)
        client = scope.get("client")
        address = client[0] if client else ""
        if not keep:
            return sessions.passing(address)
        sessions.of_address(address).spend()
        return sessions.open()

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        limits = self._service.limits
        body = bytearray()
        try:
            async with asyncio.timeout(limits.request_timeout_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refusal("timeout", "the request did not come")
                    body += message.get("body", b"")
                    if len(body) > limits.max_message_bytes:
                        raise Refusal(
                            "too_large", f"a request has at most {limits.max_message_bytes:,} bytes"
                        )
                    if not message.get("more_body"):
                        return bytes(body)
        except TimeoutError:
            raise Refusal("timeout", "the request did not come in time") from None

    # Streams.

    async def _stream(
        self, scope: Scope, receive: Receive, send: Send, headers: list[tuple[bytes, bytes]]
    ) -> None:
        service = self._service
        hub = service.hub
        session = self._session(scope)
        run, number = _last_event(scope)

        async def write(stream: _Stream) -> None:
            lost = run is not None and (run != hub.run or number > hub.last)
            after = hub.last if run is None else 0 if lost else number
            # With an id: who comes back having had nothing since has missed what came since.
            told = f"retry: {RETRY_MS}\nid: {hub.run}.{after}\nevent: connected\ndata: ".encode()
            await stream.begin(told + encode(service.connected(session)) + b"\n\n")
            if lost:
                await stream.write(_gap(None, hub.first))
            while True:
                items, missed, last = hub.take(after, ("processed",))
                pieces: list[bytes] = []
                if missed:
                    service.counts["missed"] += missed
                    if not lost:
                        pieces.append(_gap(missed, after + missed + 1))
                lost = False
                pieces += [item.event for item in items]
                if pieces:
                    await stream.write(b"".join(pieces))
                    service.counts["delivered"] += len(items)
                after = last
                if hub.last == last and not await hub.wait(last, service.limits.heartbeat_s):
                    await stream.write(_HEARTBEAT)

        service.sessions.connect(session)
        try:
            await self._run(_Stream(send, headers), receive, write)
        finally:
            service.sessions.disconnect(session)

    async def _feed(
        self, scope: Scope, receive: Receive, send: Send, headers: list[tuple[bytes, bytes]]
    ) -> None:
        service = self._service
        feed = service.feed
        assert feed is not None
        run, number = _last_event(scope)

        async def write(stream: _Stream) -> None:
            await stream.begin(f"retry: {RETRY_MS}\n\n".encode())
            with feed.subscribe(after=number if run == feed.key else None) as frames:
                while True:
                    try:
                        async with asyncio.timeout(service.limits.heartbeat_s):
                            frame = await anext(frames, None)
                    except TimeoutError:
                        await stream.write(_HEARTBEAT)
                        continue
                    if frame is None:
                        return
                    head = f"id: {feed.key}.{frame.id}\nevent: feed\ndata: "
                    await stream.write(f"{head}{service.feed_text(frame)}\n\n".encode())

        await self._run(_Stream(send, headers), receive, write)

    async def _run(
        self,
        stream: _Stream,
        receive: Receive,
        write: Callable[[_Stream], Coroutine[Any, Any, None]],
    ) -> None:
        """Write a stream until it is over, its client has gone, or the service ends."""
        service = self._service
        loop = asyncio.get_running_loop()
        writing: asyncio.Task[None] | None = None

        def leave() -> None:
            if writing is not None:
                writing.cancel()

        service.admit(leave)
        service.counts["streams"] += 1
        writing = loop.create_task(write(stream))
        watching = loop.create_task(_gone(receive))
        try:
            await asyncio.wait((writing, watching), return_when=asyncio.FIRST_COMPLETED)
            gone = watching.done()
            # Neither a service that ends nor a client that goes is an error.
            outcome = await _ended(writing)
            if outcome is not None and not isinstance(outcome, OSError):
                raise outcome
            if not gone and outcome is None:
                await stream.end()
        finally:
            service.left(leave)
            await _ended(writing)
            await _ended(watching)


async def _gone(receive: Receive) -> None:
    """Wait until the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _ended(task: asyncio.Task[None]) -> BaseException | None:
    """Cancel a task, and say what it raised."""
    task.cancel()
    (outcome,) = await asyncio.gather(task, return_exceptions=True)
    return None if isinstance(outcome, asyncio.CancelledError) else outcome


class _Stream:
    """One response that goes on."""

    def __init__(self, send: Send, headers: Collection[tuple[bytes, bytes]]) -> None:
        self._send = send
        self._headers = headers
        self._begun = False

    async def begin(self, data: bytes) -> None:
        """Send the head and a first piece."""
        listed = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"x-accel-buffering", b"no"),
            *SAFE,
            *self._headers,
        ]
        self._begun = True
        await self._send({"type": "http.response.start", "status": 200, "headers": listed})
        await self.write(data)

    async def write(self, data: bytes) -> None:
        """Send a piece, once the client has taken enough of those before."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self) -> None:
        """Say when to come back, and end."""
        if not self._begun:
            await self.begin(b"")
        last = f"retry: {RETRY_MS}\n: the stream ends\n\n".encode()
        await self._send({"type": "http.response.body", "body": last})


def _gap(missed: int | None, following: int) -> bytes:
    told = {"type": "gap", "missed": missed, "next": following, "timestamp": now_ms()}
    return b"event: gap\ndata: %b\n\n" % encode(told)


def _last_event(scope: Scope) -> tuple[str | None, int]:
    """Run and number of the last event that the client had; no run where it had none."""
    last = argument_of(scope["query_string"], "last_event_id")
    for name, value in scope["headers"]:
        if name == b"last-event-id":
            last = value.decode("latin-1")
    if not last:
        return None, 0
    run, _, number = last.strip().rpartition(".")
    if not (number.isascii() and number.isdigit() and len(number) <= _MOST_DIGITS):
        return "", 0  # none of ours
    return run, int(number)
