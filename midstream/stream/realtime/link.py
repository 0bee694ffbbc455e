"""`Link`: connections of one session, one after the other, and the tasks that serve them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from midstream._core.clock import NS_PER_S, monotonic_ns, ns_from_s, s_from_ns
from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    EndpointError,
    IdleTimeoutError,
    RefusedError,
)
from midstream.stream.events import Event
from midstream.stream.formats.base import compact, error_text
from midstream.stream.realtime.connecting import Endpoint, open_socket
from midstream.stream.realtime.limits import RealtimeLimits
from midstream.stream.realtime.session import ClientSession
from midstream.stream.realtime.tools import Tool, ToolFailed, run_tool
from midstream.stream.realtime.turns import Call
from midstream.stream.wire import parse_json

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

__all__ = ["Link"]

#: Codes of a close after which a new connection would fare no better (RFC 6455, section 7.4).
_FINAL_CODES = frozenset({1002, 1003, 1007, 1008, 1009, 1010})
#: Statuses of a handshake after which another would be refused as well.
_FINAL_STATUSES = frozenset({400, 401, 403, 404, 405, 410, 422})
#: A connection that lasted so long was a good one.
_GOOD_S = 60.0
_TICK_S = 0.1
_IDLE_TICK_S = 1.0


class Link:
    """What moves messages between a server and a `ClientSession`.

    Parameters
    ----------
    endpoint : Endpoint
    session : ClientSession
    limits : RealtimeLimits
    settings : mapping, optional
        Of the session, to begin with.
    tools : mapping of str to async callable
    tls : ssl.SSLContext, optional

    Attributes
    ----------
    outcome : str
        As `Report.outcome`.
    error : Exception or None
        Why it failed.
    close_code, close_reason : int or None, str
        Of the last connection.
    n_reconnects : int
    """

    def __init__(
        self,
        endpoint: Endpoint,
        session: ClientSession,
        limits: RealtimeLimits,
        *,
        settings: Mapping[str, Any] | None,
        tools: Mapping[str, Tool],
        tls: ssl.SSLContext | None,
    ) -> None:
        self.endpoint = endpoint
        self.session = session
        self.limits = limits
        self.outcome = "running"
        self.error: Exception | None = None
        self.close_code: int | None = None
        self.close_reason = ""
        self.n_reconnects = 0
        self._settings = {} if settings is None else dict(settings)
        self._tools = tools
        self._tls = tls
        self._events = session.events
        self._socket: ClientConnection | None = None
        self._started_ns = 0
        self._raised = False
        self._closing = False
        self._reader: asyncio.Task[None] | None = None
        self._helpers: list[asyncio.Task[None]] = []
        self._tool_tasks: set[asyncio.Task[None]] = set()
        self._waiter: asyncio.Future[None] | None = None
        self._to_send = asyncio.Event()
        self._room = asyncio.Event()
        self._connected = asyncio.Event()  # or over
        self._send_lock = asyncio.Lock()
        self._backlog = 0  # bytes of messages since all events were read
        self._paused = False  # nothing is read until there is room
        self._most_backlog = 4 * limits.max_message_bytes
        self._idle: IdleTimeoutError | None = None
        self._heard_ns = 0  # when the last message came
        self._opened_ns = 0
        self._tries = 0
        self._expired = False  # the server says that the session's time is over

    # For the client

    async def next_event(self) -> Event:
        """The next event; raises what ended the session, then StopAsyncIteration."""
        events = self._events
        while not events:
            if self.outcome != "running":
                if self.error is not None and not self._raised:
                    self._raised = True
                    raise self.error
                raise StopAsyncIteration
            if self._reader is None:
                raise RefusedError("not connected: use async with", reason="closed")
            if self._waiter is not None:
                raise RefusedError("another task reads already", reason="running")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        event = events.popleft()
        if not events:
            self._backlog = 0
        if not self._room.is_set() and len(events) <= self.limits.max_events // 2:
            self._room.set()
        if event.kind == "audio" and isinstance(event.data, dict):
            self._handed(event.data)
        return event

    def _handed(self, payload: dict[str, Any]) -> None:
        delta, item_id = payload.get("delta"), payload.get("item_id")
        if "rate_hz" in payload and isinstance(delta, str) and isinstance(item_id, str):
            n_bytes = len(delta) * 3 // 4 - delta.count("=", -2)
            session = self.session
            session.playback.handed(item_id, session.spoken.ms_of(n_bytes), self.now_ns())

    async def wait(self) -> None:
        """Wait for a connection."""
        if self._reader is None:
            raise RefusedError("not connected: use async with", reason="closed")
        while self.outcome == "running" and not self._connected.is_set():
            await self._connected.wait()
        if self.outcome != "running" or self._closing:
            raise RefusedError(f"the session is over: {self.outcome}", reason="closed")

    async def flush(self) -> None:
        """Send what waits. On a lost connection what still matters is sent over the next one."""
        from websockets.exceptions import ConnectionClosed

        async with self._send_lock:
            queue, socket = self.session.to_server, self._socket
            while queue and socket is not None and self._connected.is_set():
                payload = queue.popleft()
                text = _encoded(payload)
                if len(text) > self.limits.max_message_bytes:
                    self.session.refused(payload)  # nobody's who waits here
                    self.session.failure(self._too_long(payload, text), self.now_ns())
                    self._wake()
                    continue
                try:
                    await socket.send(text)
                except ConnectionClosed:
                    self._room.set()  # who reads is to learn of it, whoever reads its events
                    return

    async def send(self) -> None:
        """Send what was put into the queue last, once it is found to be a message.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            It is not JSON, or too long; then it has not been.
        """
        queue = self.session.to_server
        if queue:
            payload = queue[-1]
            try:
                text = _encoded(payload)
                if len(text) > self.limits.max_message_bytes:
                    raise ArgumentValueError(self._too_long(payload, text))
            except (TypeError, ValueError, RecursionError) as error:
                queue.pop()
                self.session.refused(payload)
                if isinstance(error, ArgumentValueError):
                    raise
                raise ArgumentTypeError(f"{payload['type']} is not JSON: {error}") from None
        await self.flush()

    def _too_long(self, payload: dict[str, Any], text: str) -> str:
        most = self.limits.max_message_bytes
        return f"{payload['type']} must be at most {most:,} bytes, got {len(text):,}"

    async def open(self) -> None:
        """Connect, and begin to read."""
        if self._reader is not None or self._closing:
            raise RefusedError("open: a client connects once", reason="running")
        self._started_ns = monotonic_ns()
        try:
            first = await self._open()
            if self._settings:
                self.session.update(self._settings)
            self._take(first)
        except Exception as error:
            self._raised = True  # here, and not where events are read
            self._end("failed", error)
            if self._socket is not None:
                await self._socket.close(1011)
            raise
        self._connected.set()
        self._reader = asyncio.create_task(self._run())
        self._helpers = [
            asyncio.create_task(self._helped(self._send_all)),
            asyncio.create_task(self._helped(self._tend)),
        ]
        self._to_send.set()

    async def _open(self) -> str | bytes:
        """Make a connection; return its first message."""
        from websockets.exceptions import ConnectionClosed

        limits = self.limits
        socket = await open_socket(self.endpoint, limits, self._tls)
        try:
            async with asyncio.timeout(limits.open_timeout_s):
                first = await socket.recv()
        except TimeoutError:
            await socket.close()
            message = f"nothing was said within {limits.open_timeout_s:g} s of connecting"
            raise self.endpoint.failure(message) from None
        except ConnectionClosed as closed:
            message = f"closed at once: {_closed(closed)}"
            raise self.endpoint.failure(message) from None
        except BaseException:
            await socket.close()
            raise
        payload = _parsed(first)
        if isinstance(payload, dict) and payload.get("type") == "error":
            await socket.close()
            error = payload.get("error")
            message = error_text(error if error else payload)
            raise self.endpoint.failure(f"the session was refused: {message}") from None
        self._socket = socket
        self._opened_ns = self._heard_ns = monotonic_ns()
        self.close_code, self.close_reason = None, ""
        return first

    async def _run(self) -> None:
        """Read until all is over."""
        try:
            outcome = await self._read_all()
        except Exception as error:  # noqa: BLE001 - raised where events are read
            self._end("failed", error)
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    await self._socket.close(1011)
        else:
            self._end(outcome, None)

    async def _read_all(self) -> str:
        """Read, over as many connections as it takes; return the outcome."""
        from websockets.exceptions import ConnectionClosed

        while True:
            assert self._socket is not None
            try:
                await self._read(self._socket)
            except ConnectionClosed as closed:
                socket, cause = self._socket, _closed(closed)
                self.close_code = socket.close_code
                self.close_reason = self.endpoint.clean(socket.close_reason or "")
                if self._closing:
                    return "closed"
                if self._idle is not None:
                    raise self._idle from None
                cause = self.endpoint.clean(cause)
                # Of this side's own, where a message was refused; the other may not have answered.
                frame = closed.rcvd or closed.sent
                code = 1006 if frame is None else int(frame.code)
                self.close_code = code
                if code == 1000 and not self._expired:
                    return "ended"
                final = code in _FINAL_CODES or code >= 3000
                if not self.limits.max_tries or (final and not self._expired):
                    raise self.endpoint.failure(f"the connection was lost: {cause}") from None
                await self._renew(cause)

    async def _read(self, socket: ClientConnection) -> None:
        events, limit = self._events, self.limits.max_events
        while True:
            message = await socket.recv()
            self._heard_ns = monotonic_ns()
            self._take(message)
            self._backlog += len(message)
            full = len(events) >= limit or (self._backlog > self._most_backlog and events)
            if full and socket.state == 1:
                await self._pause()

    async def _pause(self) -> None:
        """Wait for room; time in which nobody listens is not the server's silence."""
        begun_ns = monotonic_ns()
        self._room.clear()
        self._paused = True
        try:
            await self._room.wait()
        finally:
            self._paused = False
        self._heard_ns = monotonic_ns()
        self.session.held(self._heard_ns - begun_ns)

    def _take(self, message: str | bytes) -> None:
        payload = _parsed(message)
        now_ns = self.now_ns()
        session = self.session
        if not isinstance(payload, dict):
            session.failure("a message is no JSON object", now_ns)
        else:
            kind = payload.get("type")
            if kind == "error":
                error = payload.get("error")
                if isinstance(error, dict) and error.get("code") == "session_expired":
                    self._expired = True
                payload = self._hidden(payload)
            elif kind == "response.done":
                self._tries = 0
            session.take(payload, now_ns)
        if session.to_server:
            self._to_send.set()
        if session.calls:
            self._run_tools()
        self._wake()

    def _hidden(self, payload: dict[str, Any]) -> dict[str, Any]:
        """A payload without the key, which some servers quote in what they refuse."""
        secrets = self.endpoint.secrets
        text = compact(payload)
        if not any(secret in text for secret in secrets):
            return payload
        for secret in secrets:
            text = text.replace(compact(secret)[1:-1], "[hidden]")
        hidden = parse_json(text)
        return hidden if isinstance(hidden, dict) else {"type": "error"}

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and self._events and not waiter.done():
            waiter.set_result(None)

    async def _renew(self, cause: str) -> None:
        """Make a new connection, and on it settings and conversation."""
        from websockets.exceptions import ConnectionClosed

        limits, session = self.limits, self.session
        self._connected.clear()
        told = session.lost(cause, self.now_ns())
        self._wake()
        if monotonic_ns() - self._opened_ns > ns_from_s(_GOOD_S):
            self._tries = 0
        self._expired = False
        last: Exception | None = None
        while self._tries < limits.max_tries:
            wait_s = min(limits.max_backoff_s, limits.backoff_s * 2.0 ** min(self._tries, 60))
            self._tries += 1
            await asyncio.sleep(wait_s * (0.5 + 0.5 * random.random()))
            try:
                first = await self._open()
            except EndpointError as error:
                last = error
                if error.status in _FINAL_STATUSES:
                    break
                continue
            assert self._socket is not None
            async with self._send_lock:
                payloads = session.restoring()
                try:
                    for payload in payloads:
                        await self._socket.send(_encoded(payload))
                except ConnectionClosed as closed:
                    last = self.endpoint.failure(f"lost again: {_closed(closed)}")
                    continue
            n_items = sum(one["type"] == "conversation.item.create" for one in payloads)
            told |= {"cause": cause, "tries": self._tries, "items": n_items}
            self.n_reconnects += 1
            self._take(first)
            session.restored(told, self.now_ns())
            self._wake()
            self._connected.set()
            self._to_send.set()
            return
        more = "" if last is None else f"; the last of them: {last}"
        n = self._tries
        raise self.endpoint.failure(
            f"the connection was lost: {cause}; {n} attempts to renew it failed{more}"
        ) from None

    async def _helped(self, helper: Callable[[], Awaitable[None]]) -> None:
        """Run a helper; what it raises ends the session."""
        try:
            await helper()
        except Exception as error:  # noqa: BLE001 - raised where events are read
            self._end("failed", error)
            if self._socket is not None:
                await self._socket.close(1011)

    async def _send_all(self) -> None:
        """Send what reading has led to."""
        while True:
            await self._to_send.wait()
            self._to_send.clear()
            await self.flush()

    async def _tend(self) -> None:
        """Mind the time: silence, pings."""
        limits, session = self.limits, self.session
        pinged_ns = monotonic_ns()
        pong: Any = None
        while True:
            await asyncio.sleep(_TICK_S if session.response_id is not None else _IDLE_TICK_S)
            socket, now_ns = self._socket, monotonic_ns()
            if socket is None or not self._connected.is_set():
                pong, pinged_ns = None, now_ns
                continue
            if self._paused:
                pong, pinged_ns = None, now_ns  # nothing is read, and no pong is seen
                continue
            session.expire(self.now_ns())
            if session.to_server:
                self._to_send.set()
            self._wake()
            silent_s = s_from_ns(now_ns - self._heard_ns)
            if limits.idle_timeout_s is not None and silent_s > limits.idle_timeout_s:
                self._idle = IdleTimeoutError(
                    f"nothing arrived for {limits.idle_timeout_s:g} s", place=self.endpoint.place
                )
                await socket.close(1000, "idle")
                continue
            if limits.ping_interval_s is None:
                continue
            if pong is not None and pong.done():
                pong = None
            since_s = (now_ns - pinged_ns) / NS_PER_S
            if pong is not None:
                if since_s > limits.ping_timeout_s:
                    pong = None
                    socket.transport.abort()
            elif since_s >= limits.ping_interval_s:
                from websockets.exceptions import ConnectionClosed

                with contextlib.suppress(ConnectionClosed):
                    pong = await socket.ping()
                pinged_ns = now_ns

    # Tools

    def _run_tools(self) -> None:
        while self.session.calls and len(self._tool_tasks) < self.limits.max_tools:
            task = asyncio.create_task(self._run_tool(self.session.calls.popleft()))
            self._tool_tasks.add(task)
            task.add_done_callback(self._tool_over)

    def _tool_over(self, task: asyncio.Task[None]) -> None:
        self._tool_tasks.discard(task)
        if self.outcome == "running" and not self._closing:
            self._run_tools()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._end("failed", error if isinstance(error, Exception) else None)

    async def _run_tool(self, call: Call) -> None:
        session, name = self.session, call.name or ""
        session.books.n_tool_runs += 1
        try:
            text = await run_tool(self._tools[name], name, call.arguments, self.limits)
        except ToolFailed as failed:
            text = f"Error: {self.endpoint.clean(failed)}"
            session.failure(self.endpoint.clean(failed), self.now_ns())
        if self.outcome != "running" or self._closing:
            return
        session.answer(call, text)
        self._to_send.set()
        self._wake()

    # The end

    async def close(self, code: int, reason: str) -> None:
        """Close, wherever it is; safe to repeat."""
        self._closing = True
        renewing = not self._connected.is_set()
        self._connected.set()  # whoever waits to send is to learn of it
        self._room.set()
        own = asyncio.current_task()
        tasks = [task for task in (*self._tool_tasks, *self._helpers) if task is not own]
        for task in tasks:
            task.cancel()
        socket, reader = self._socket, self._reader
        if renewing and reader is not None and reader is not own:
            reader.cancel()
        if socket is not None:
            await socket.close(code, reason)
            self.close_code = socket.close_code if self.close_code is None else self.close_code
            self.close_reason = self.close_reason or socket.close_reason or ""
        if reader is not None and reader is not own:
            if self.outcome == "running" and not renewing:
                # What came is handed out all the same.
                await asyncio.wait((reader,), timeout=_TICK_S)
            reader.cancel()
            tasks.append(reader)
        for done in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(done, Exception) and self.error is None:
                self.error = done
        self._end("closed", None)

    def _end(self, outcome: str, error: Exception | None) -> None:
        """Settle how it ended; the first time counts."""
        if self.outcome != "running":
            return
        self.outcome = outcome
        self.error = self.error if error is None else error
        try:
            self.session.close(outcome, self.error, self.now_ns())
        except Exception as failed:  # noqa: BLE001 - the caller's detector, raised to its reader
            if self.error is None:
                self.error, self.outcome = failed, "failed"
        for task in (*self._tool_tasks, *self._helpers):
            if task is not asyncio.current_task():
                task.cancel()
        self._connected.set()
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def now_ns(self) -> int:
        return monotonic_ns() - self._started_ns


def _encoded(payload: dict[str, Any]) -> str:
    """Write a message; halves of characters, which UTF-8 cannot carry, as escapes."""
    return _encode(payload)


_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def _parsed(message: str | bytes) -> Any:
    try:
        text = message if isinstance(message, str) else message.decode("utf-8")
        return parse_json(text)
    except (ValueError, RecursionError):
        return None


def _closed(closed: Any) -> str:
    """How a connection was closed, for a message."""
    frame = closed.rcvd or closed.sent
    if frame is None:
        return "no close frame was received"
    who = "" if closed.rcvd is not None else " by this side"
    reason = f": {frame.reason}" if frame.reason else ""
    return f"code {int(frame.code)}{who}{reason}"
