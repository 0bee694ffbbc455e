"""The ASGI application for WebSockets."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

from midstream.apps.serving.access import argument_of
from midstream.apps.serving.asgi import Receive, Scope, Send, answer_lifespan, path_of, respond
from midstream.apps.serving.refusals import Refusal
from midstream.apps.serving.wire import Request, encode, now_ms, read_request

if TYPE_CHECKING:
    from midstream.apps.serving.service import AgentService
    from midstream.apps.serving.sessions import Session

__all__ = ["WebSocketApp"]

_log = logging.getLogger("midstream.apps.serving")
GOING_AWAY = 1001
POLICY = 1008
INTERNAL = 1011
IDLE = 4408


class WebSocketApp:
    """Requests and answers, and what was subscribed to, over a WebSocket; any path serves.

    Parameters
    ----------
    service : AgentService
    """

    def __init__(self, service: AgentService) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await answer_lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, send)
        else:
            await self._websocket(scope, receive, send)

    async def _http(self, scope: Scope, send: Send) -> None:
        service = self._service
        path = path_of(scope)
        if not await service.answer_probe(scope["method"], path, send):
            body = {"success": False, "code": "upgrade", "error": "this is a WebSocket server"}
            await respond(send, 426, body, [(b"upgrade", b"websocket")])

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        service = self._service
        await receive()  # "websocket.connect", before which nothing can be sent
        try:
            service.access.check(scope["headers"], scope["query_string"])
            key = argument_of(scope["query_string"], "session")
            session = service.sessions.find(key) if key else service.sessions.open()
            connection = _Connection(service, session, receive, send)
            service.admit(connection.leave)
        except Refusal as refusal:
            await self._refuse(scope, send, refusal)
            return
        service.counts["websockets"] += 1
        service.sessions.connect(session)
        try:
            await connection.run()
        except OSError:  # the other side is gone
            pass
        except Exception:  # noqa: BLE001 - a fault of ours; who serves this might log the URL
            _log.exception("a WebSocket failed")
            await connection.fail()
        finally:
            service.left(connection.leave)
            service.sessions.disconnect(session)

    async def _refuse(self, scope: Scope, send: Send, refusal: Refusal) -> None:
        told = self._service.refuse(refusal)
        if "websocket.http.response" in scope.get("extensions", {}):
            await respond(send, refusal.status, told, kind="websocket.http.response")
        else:
            await send({"type": "websocket.close", "code": POLICY, "reason": refusal.code})


class _Connection:
    """One WebSocket."""

    def __init__(
        self, service: AgentService, session: Session, receive: Receive, send: Send
    ) -> None:
        self._service = service
        self._session = session
        self._receive = receive
        self._send = send
        self._writers: dict[str, asyncio.Task[None]] = {}
        self._leaving: asyncio.Task[None] | None = None
        self._answering = self._leave_then = False

    async def run(self) -> None:
        """Read until one side closes."""
        await self._send({"type": "websocket.accept"})
        await self._tell(self._service.connected(self._session))
        try:
            await self._read()
        finally:
            tasks = list(self._writers.values())
            if self._leaving is not None:
                tasks.append(self._leaving)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def leave(self) -> None:
        """Close, since the service ends: once what was asked is answered."""
        if self._answering:
            self._leave_then = True
        elif self._leaving is None:
            closing = self._close(GOING_AWAY, "the server ends")
            self._leaving = asyncio.get_running_loop().create_task(closing)

    async def fail(self) -> None:
        """Close, since something went wrong here."""
        await self._close(INTERNAL, "internal error")

    async def _close(self, code: int, reason: str) -> None:
        # A second close, or one after the other side's, is no error.
        with contextlib.suppress(OSError, RuntimeError):
            await self._send({"type": "websocket.close", "code": code, "reason": reason})

    async def _tell(self, told: dict[str, Any]) -> None:
        await self._send({"type": "websocket.send", "text": encode(told).decode()})

    async def _read(self) -> None:
        idle_s = self._service.limits.idle_timeout_s
        while True:
            try:
                async with asyncio.timeout(None if self._writers else idle_s):
                    message = await self._receive()
            except TimeoutError:
                await self._close(IDLE, "idle")
                return
            if message["type"] == "websocket.disconnect":
                return
            if self._leaving is not None:
                continue  # what comes now is not answered any more
            text = message.get("text")
            self._answering = True
            told = await self._take(text if text is not None else message.get("bytes", b""))
            await self._tell(told)
            self._answering = False
            if self._leave_then:
                self.leave()
                continue
            if self._session.refused >= self._service.limits.max_refused:
                await self._close(POLICY, "too many requests were refused")
                return

    async def _take(self, text: str | bytes) -> dict[str, Any]:
        """Answer one message, whatever it is."""
        service = self._service
        request: Request | None = None
        try:
            if isinstance(text, bytes):
                raise Refusal("bad_request", "requests are text frames, got a binary one")
            if len(text) > service.limits.max_message_bytes:
                raise Refusal("too_large", "the request is too large")
            request = read_request(text)
            if request.kind in ("subscribe", "resume", "unsubscribe"):
                self._session.spend()
                return self._subscribe(request)
            return await service.answer(self._session, request)
        except Refusal as refusal:
            self._session.refused += 1
            if request is None:  # not even counted yet
                with contextlib.suppress(Refusal):
                    self._session.spend()
            return service.refuse(refusal, None if request is None else request.id)

    # Subscriptions.

    def _subscribe(self, request: Request) -> dict[str, Any]:
        service = self._service
        topic = request.fields.get("topic", "processed")
        if topic != "processed" and (topic != "feed" or service.feed is None):
            known = "processed" if service.feed is None else "processed or feed"
            raise Refusal("bad_request", f"topic must be {known}")
        old = self._writers.pop(topic, None)
        if old is not None:
            old.cancel()
        if request.kind == "unsubscribe":
            return {"type": "unsubscribed", "id": request.id, "topic": topic}
        after = request.fields.get("after")
        if after is not None and (isinstance(after, bool) or not isinstance(after, int)):
            raise Refusal("bad_request", "after must be an integer: the last event that came")
        if request.kind == "resume" and after is None:
            raise Refusal("bad_request", "after is missing: the last event that came")
        own = service.hub.run if topic == "processed" else service.feed_key
        run = request.fields.get("run", own)
        if topic == "feed":
            writer = self._write_feed(after if run == own else None)
            start = after
        else:
            start = service.hub.last if after is None else after
            lost = run != service.hub.run or not 0 <= start <= service.hub.last
            writer = self._write_events(0 if lost else start, lost)
        self._writers[topic] = asyncio.get_running_loop().create_task(self._guarded(writer))
        return {
            "type": "subscribed",
            "id": request.id,
            "topic": topic,
            "after": start,
            "run": own,
            "timestamp": now_ms(),
        }

    async def _guarded(self, writing: Any) -> None:
        with contextlib.suppress(OSError, RuntimeError):  # closed meanwhile; the reader sees it
            await writing

    async def _write_events(self, after: int, lost: bool) -> None:
        """Send what is broadcast.

        Parameters
        ----------
        after : int
        lost : bool
            Whether the client's numbers are of another run, or none that there were: how much it
            has missed then, nobody knows.
        """
        hub = self._service.hub
        counts = self._service.counts
        if lost:
            await self._gap(None, hub.first)
        while True:
            items, missed, last = hub.take(after, ("processed",))
            if missed:
                counts["missed"] += missed
                if not lost:
                    await self._gap(missed, after + missed + 1)
            lost = False
            for item in items:
                await self._send({"type": "websocket.send", "text": item.text})
            counts["delivered"] += len(items)
            after = last
            if hub.last == last:
                await hub.wait(last)

    async def _gap(self, missed: int | None, following: int) -> None:
        await self._tell({"type": "gap", "missed": missed, "next": following})

    async def _write_feed(self, after: int | None) -> None:
        feed = self._service.feed
        assert feed is not None
        with feed.subscribe(after=after) as frames:
            async for frame in frames:
                text = self._service.feed_text(frame)
                await self._send({"type": "websocket.send", "text": text})
