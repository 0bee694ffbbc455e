"""`Link`: one WebSocket between a client and the upstream."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from midstream._core.clock import NS_PER_S, monotonic_ns, ns_from_s, s_from_ns
from midstream.stream.proxy.exchanges import RefusalError
from midstream.stream.proxy.limits import ProxyLimits

if TYPE_CHECKING:
    from websockets.http11 import Response

    from midstream.stream.proxy.counting import ProxyMetrics
    from midstream.stream.proxy.sessions import RealtimeSession

__all__ = ["Link", "StatusError"]

Headers = list[tuple[bytes, bytes]]
Message = str | bytes

#: Keys are in the headers of handshakes: nobody gets to see them, whatever is logged elsewhere.
_SILENT = logging.Logger("midstream.stream.proxy.sockets")
_SILENT.disabled = True
#: How long the other side of a closing is waited for, in seconds.
_CLOSE_S = 5.0
#: How long both sides may take for what is said to them last, in seconds.
_LAST_S = 1.0
#: Messages of the upstream that wait for the client.
_MOST_WAITING = 16
_MOST_REASON_BYTES = 123
#: Headers of a handshake that hold for one connection.
_OF_HANDSHAKE = frozenset(
    (
        b"sec-websocket-accept",
        b"sec-websocket-extensions",
        b"sec-websocket-key",
        b"sec-websocket-protocol",
        b"sec-websocket-version",
    )
)


class StatusError(Exception):
    """The upstream does not take the connection, and says so over HTTP.

    Attributes
    ----------
    status : int
    headers : list of (bytes, bytes)
    body : bytes
    """

    def __init__(self, status: int, headers: Headers, body: bytes) -> None:
        super().__init__(f"the upstream answers with {status}")
        self.status = status
        self.headers = headers
        self.body = body


class _Connect(connect):
    """websockets' client, which goes nowhere else."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class Link:
    """One WebSocket on its way.

    Parameters
    ----------
    receive, send : callable
        Of ASGI.
    limits : ProxyLimits
    metrics : ProxyMetrics

    Attributes
    ----------
    session : RealtimeSession or None
        What judges the messages, once there are some.
    """

    def __init__(
        self,
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
        limits: ProxyLimits,
        metrics: ProxyMetrics,
    ) -> None:
        self.session: RealtimeSession | None = None
        self.accepted = False
        self._receive = receive
        self._send = send
        self._limits = limits
        self._metrics = metrics
        self._upstream: ClientConnection | None = None
        # Each direction for itself: one that is not read must not keep the other from being read.
        self._up: deque[Message] = deque()
        self._down: deque[Message] = deque()
        self._up_lock = asyncio.Lock()
        self._down_lock = asyncio.Lock()
        self._sender: asyncio.Task[None] | None = None
        self._sending_since_ns = 0
        self._heard_ns = 0  # when anybody said something
        self._last_ns = 0  # when the upstream did
        self._draining = False
        self._cut: str | None = None
        self._stirred = asyncio.Event()

    def drain(self) -> None:
        """Close as soon as no response is coming."""
        self._draining = True
        self._stirred.set()

    def cut(self, message: str) -> None:
        """Close now."""
        self._cut = message
        self._stirred.set()

    async def open(
        self,
        uri: str,
        headers: Headers,
        subprotocols: Sequence[str],
        context: ssl.SSLContext | None,
    ) -> Headers:
        """Connect to the upstream.

        Returns
        -------
        list of (bytes, bytes)
            Headers of its answer that are the client's.

        Raises
        ------
        RefusalError, StatusError
            It cannot be reached, or does not want to.
        """
        limits = self._limits
        more: dict[str, Any] = {} if context is None else {"ssl": context}
        if subprotocols:
            more["subprotocols"] = list(subprotocols)
        try:
            self._upstream = await _Connect(
                uri,
                additional_headers=[
                    (name.decode("latin-1"), value.decode("latin-1")) for name, value in headers
                ],
                compression=None,  # what is compressed waits for more
                user_agent_header=None,
                proxy=None,
                open_timeout=limits.connect_timeout_s,
                close_timeout=_CLOSE_S,
                max_size=limits.max_event_bytes,
                max_queue=_MOST_WAITING,
                logger=_SILENT,
                **more,
            )
        except InvalidStatus as error:
            refusal = error.response
            raise StatusError(
                refusal.status_code, _headers(refusal), bytes(refusal.body or b"")
            ) from None
        except TimeoutError:
            raise RefusalError(504, "the upstream does not answer", reason="upstream") from None
        except (OSError, InvalidHandshake, InvalidURI) as error:
            raise RefusalError(
                502, f"the upstream cannot be reached: {type(error).__name__}", reason="upstream"
            ) from None
        except ValueError:  # not shown: keys are among them
            message = "the handshake's headers or subprotocols cannot be passed on"
            raise RefusalError(400, message, reason="headers") from None
        answer = self._upstream.response
        assert answer is not None
        return _headers(answer)

    async def accept(self, headers: Headers) -> None:
        """Take the client's connection."""
        assert self._upstream is not None
        gone = _OF_HANDSHAKE | {b"content-length"}
        await self._send(
            {
                "type": "websocket.accept",
                "subprotocol": self._upstream.subprotocol,
                "headers": [(name, value) for name, value in headers if name not in gone],
            }
        )
        self.accepted = True

    async def relay(self, session: RealtimeSession) -> None:
        """Pass messages until one side closes, or a limit is reached."""
        self.session = session
        self._heard_ns = monotonic_ns()
        loop = asyncio.get_running_loop()
        up = loop.create_task(self._from_client(session))
        down = loop.create_task(self._from_server(session))
        watch = loop.create_task(self._watch(session))
        tasks = (up, down, watch)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            done = next(task for task in tasks if task.done())
            code, reason = done.result()
        except OSError:  # it went while something was sent to it
            self._metrics.failures["client_gone",] += 1
            code, reason, done = 1001, "the client is gone", up
        finally:
            ending = [task for task in (*tasks, self._sender) if task is not None]
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)
            session.close()
        await self.close(code, reason, told=done is not up)

    async def close(self, code: int, reason: str, *, told: bool = True) -> None:
        """Close both sides; the client's only where it has not closed (`told`)."""
        upstream, self._upstream = self._upstream, None
        if told and self.accepted:
            with contextlib.suppress(Exception):  # the client may be gone
                async with asyncio.timeout(_CLOSE_S):
                    await self._send({"type": "websocket.close", "code": code, "reason": reason})
        if upstream is not None:
            with contextlib.suppress(ConnectionClosed):
                await upstream.close(code, reason)

    def abort(self) -> None:
        """Let go of the upstream at once."""
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.transport.abort()

    async def _from_client(self, session: RealtimeSession) -> tuple[int, str]:
        upstream = self._upstream
        assert upstream is not None
        most = self._limits.max_event_bytes
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                code = message.get("code")
                if code == 1006:
                    self._metrics.failures["client_gone",] += 1
                return _sendable(1001 if code == 1006 else code), message.get("reason") or ""
            text = message.get("text")
            data = message.get("bytes") if text is None else text
            if data is None:
                continue
            if len(data) > most:
                self._metrics.refused["event",] += 1
                self._stirred.set()
                return await self._closed_here(1009, f"a message of more than {most} bytes")
            self._heard_ns = monotonic_ns()
            session.from_client(data)
            self._collect(session)
            await self._send_up()

    async def _closed_here(self, code: int, reason: str) -> tuple[int, str]:
        await self._send({"type": "websocket.close", "code": code, "reason": reason})
        return code, reason

    async def _from_server(self, session: RealtimeSession) -> tuple[int, str]:
        upstream = self._upstream
        assert upstream is not None
        metrics = self._metrics
        try:
            while True:
                message = await upstream.recv()
                now_ns = monotonic_ns()
                if session.busy and self._last_ns:
                    metrics.between_chunks.add((now_ns - self._last_ns) / NS_PER_S)
                self._heard_ns = self._last_ns = now_ns
                session.from_server(message, now_ns)
                metrics.detectors.add((monotonic_ns() - now_ns) / NS_PER_S)
                await self._deliver(session)
                if session.problem is not None:
                    return 1008, _shortened(session.problem)
                if self._draining and not session.busy:
                    self._stirred.set()
        except ConnectionClosed as error:
            if error.rcvd is not None:
                return _sendable(error.rcvd.code), error.rcvd.reason
            metrics.failures["upstream_reset",] += 1
            if error.sent is not None:  # it was closed here: too large, no UTF-8, or no pong
                reason = error.sent.reason or "the upstream's message was not understood"
                return _sendable(error.sent.code), _shortened(reason)
            return 1011, "the upstream broke off"

    async def _deliver(self, session: RealtimeSession) -> None:
        """Send what is for the client, and see to it that what is for the server is sent."""
        self._collect(session)
        if self._up and (self._sender is None or self._sender.done()):
            self._sender = asyncio.get_running_loop().create_task(self._send_up())
        async with self._down_lock:
            while self._down:
                message = self._down.popleft()
                self._sending_since_ns = monotonic_ns()
                kind = "text" if isinstance(message, str) else "bytes"
                await self._send({"type": "websocket.send", kind: message})
                self._sending_since_ns = 0

    def _collect(self, session: RealtimeSession) -> None:
        """Take over what is to be sent, in the order in which it was made."""
        self._up += session.to_server
        self._down += session.to_client
        session.to_server.clear()
        session.to_client.clear()

    async def _send_up(self) -> None:
        """Send what is for the server; where it is gone, who reads from it says why."""
        assert self._upstream is not None
        with contextlib.suppress(ConnectionClosed):
            async with self._up_lock:
                while self._up:
                    await self._upstream.send(self._up.popleft())

    async def _watch(self, session: RealtimeSession) -> tuple[int, str]:
        """Look after the session: limits, silence, and whether the proxy ends."""
        limits = self._limits
        begun_ns = self._heard_ns
        waits_ns = {
            "client_stalled": ns_from_s(limits.client_timeout_s),
            "body": ns_from_s(limits.idle_timeout_s),
            "idle": ns_from_s(limits.session_timeout_s),
            "duration": ns_from_s(limits.max_stream_s),
        }
        tick_s = s_from_ns(min(NS_PER_S, *(ns // 4 for ns in waits_ns.values())))
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(tick_s):
                    await self._stirred.wait()
            self._stirred.clear()
            now_ns = monotonic_ns()
            if self._sending_since_ns:
                if now_ns - self._sending_since_ns > waits_ns["client_stalled"]:
                    return self._late("client_stalled", 1008, "the client takes nothing")
                if self._cut is None:
                    continue
            if self._cut is not None:
                await self._failed(session, self._cut)
                self._metrics.failures["cut",] += 1
                return 1012, _shortened(self._cut)
            if self._draining and not session.busy:
                return 1012, "the proxy ends"
            silent_ns = now_ns - self._heard_ns
            if session.busy and now_ns - self._last_ns > waits_ns["body"]:
                await self._failed(session, "the upstream fell silent")
                return self._late("body", 1011, "the upstream fell silent")
            if silent_ns > waits_ns["idle"]:
                return self._late("idle", 1001, "nobody says anything")
            if now_ns - begun_ns > waits_ns["duration"]:
                await self._failed(session, "the session has taken too long")
                return self._late("duration", 1001, "the session has taken too long")
            session.expire(now_ns)
            if session.to_client:
                await self._deliver(session)

    async def _failed(self, session: RealtimeSession, message: str) -> None:
        """End responses that are coming with an error, if the client takes it."""
        session.fail(message)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_S):
                await self._deliver(session)
                await self._send_up()

    def _late(self, reason: str, code: int, message: str) -> tuple[int, str]:
        self._metrics.failures[reason,] += 1
        return code, message


def _headers(response: Response) -> Headers:
    return [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in response.headers.raw_items()
    ]


def _sendable(code: int | None) -> int:
    """Make a code that may stand in a closing of one that was received.

    Examples
    --------
    >>> _sendable(4000), _sendable(1005), _sendable(1006)
    (4000, 1000, 1011)
    """
    if code is None or code == 1005:
        return 1000
    if 1000 <= code <= 1014 and code not in (1004, 1006):
        return code
    return code if 3000 <= code <= 4999 else 1011


def _shortened(reason: str) -> str:
    return reason.encode("utf-8", "replace")[:_MOST_REASON_BYTES].decode("utf-8", "ignore")
