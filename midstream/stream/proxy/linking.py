"""`Linking`: sessions of the Realtime API, over WebSockets between clients and the upstream."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING

from midstream._core.clock import NS_PER_S, monotonic_ns
from midstream.stream.proxy.desk import new_id
from midstream.stream.proxy.exchanges import RefusalError
from midstream.stream.proxy.headers import Headers, Receive, Scope, Send, passed_on
from midstream.stream.proxy.routes import error_body, socket_route_of

if TYPE_CHECKING:
    from midstream.stream.guard import Guard
    from midstream.stream.proxy.desk import Desk
    from midstream.stream.proxy.doors import Door
    from midstream.stream.proxy.limits import ProxyLimits
    from midstream.stream.proxy.reaching import Reach
    from midstream.stream.proxy.rewriting import Core
    from midstream.stream.proxy.routes import Route
    from midstream.stream.proxy.sockets import Link
    from midstream.stream.recording import Recorder

__all__ = ["Linking"]

#: What could not be judged is told by the proxy.
logger = logging.getLogger("midstream.stream.proxy.application")


class Linking:
    """What connects clients' WebSockets with the upstream's.

    Parameters
    ----------
    door : Door
    reach : Reach
    desk : Desk
    limits : ProxyLimits
    """

    def __init__(self, door: Door, reach: Reach, desk: Desk, limits: ProxyLimits) -> None:
        self._door = door
        self._reach = reach
        self._desk = desk
        self._limits = limits
        self._metrics = desk.metrics
        self._links: set[Link] = set()

    def guards(self) -> Iterator[tuple[str, Guard]]:
        """Yield the guards of responses that are not over, with their API."""
        for link in self._links:
            if link.session is not None:
                for guard in link.session.guards():
                    yield "realtime", guard

    def drain(self) -> None:
        """Close all as soon as no response is coming."""
        for link in list(self._links):
            link.drain()

    def cut(self, message: str) -> None:
        """Close all now."""
        for link in list(self._links):
            link.cut(message)

    async def take(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a WebSocket, if it may come in."""
        from midstream.stream.proxy.sockets import Link, StatusError

        await receive()
        link = Link(receive, send, self._limits, self._metrics)
        counted = False
        try:
            route = socket_route_of(scope["path"])
            self._door.check_host(scope)
            self._door.check_origin(scope)
            self._door.check(scope, "GET")
            if route is None:
                message = "WebSockets are served under paths that end in /realtime"
                raise RefusalError(404, message, reason="websocket")
            if not self._reach.direct:
                message = "WebSockets do not go through a transport of one's own"
                raise RefusalError(501, message, reason="websocket")
            target = self._reach.target(scope)
            counted = True
            self._metrics.streams_active += 1
            self._links.add(link)
            await self._link(scope, link, route, target)
        except RefusalError as error:
            self._metrics.refused[error.reason,] += 1
            self._metrics.requests["realtime", str(error.status)] += 1
            if error.reason == "upstream":
                self._reach.unreachable(str(error))
            body = error_body("realtime", error.status, str(error))
            headers = [(b"content-type", b"application/json")]
            await _refuse_socket(scope, send, error.status, headers, body)
        except StatusError as error:  # what it says is for the client
            self._metrics.requests["realtime", str(error.status)] += 1
            kept = passed_on(error.headers, b"content-length")
            await _refuse_socket(scope, send, error.status, kept, error.body)
        except OSError:  # the client went while something was sent to it
            self._desk.failed("client_gone")
        except Exception as error:  # noqa: BLE001 - whatever is not judged does not pass
            logger.error(
                "a session could not be judged: %s\n%s",
                type(error).__name__,
                "".join(traceback.format_tb(error.__traceback__)),
            )
            self._desk.failed("internal")
            if link.accepted:
                await link.close(1011, "the proxy failed")
            else:
                await _refuse_socket(scope, send, 500, [], b"")
        finally:
            link.abort()
            if counted:
                self._metrics.streams_active -= 1
                self._links.discard(link)

    async def _link(self, scope: Scope, link: Link, route: Route, target: bytes) -> None:
        """Connect a client's WebSocket with the upstream's, and pass messages."""
        from midstream.stream.proxy.sessions import RealtimeSession

        reach = self._reach
        asked = [
            (name, value)
            for name, value in reach.headers(scope["headers"], guarded=False, whole=True)
            if name != b"host" and not name.startswith(b"sec-websocket-")
        ]
        upstream = reach.upstream
        scheme = "wss" if upstream.scheme == "https" else "ws"
        uri = f"{scheme}://{upstream.authority}{target.decode('ascii')}"
        begun_ns = monotonic_ns()
        told = await link.open(uri, asked, scope["subprotocols"], reach.tls())
        reach.reached()
        self._metrics.first_chunk.add((monotonic_ns() - begun_ns) / NS_PER_S)
        self._metrics.requests[route.api, "101"] += 1
        session_id = new_id()
        await link.accept([*passed_on(told), (b"x-midstream-id", session_id.encode("ascii"))])
        recorders: dict[Guard, Recorder] = {}

        def guard(number: int) -> Guard:
            request_id = f"{session_id}-{number}"
            recorder = None if number == 0 else self._desk.recorder(request_id, route)
            made = self._desk.guard(request_id, route, recorder)
            if recorder is not None:
                recorders[made] = recorder
            return made

        def over(core: Core) -> None:
            recorder = recorders.pop(core.guard, None)
            if recorder is not None:
                self._desk.close_recorder(recorder)
            self._desk.tally(route.api, core.guard, core.denied, core.stopped)

        beta = any(b"realtime=v1" in value for name, value in asked if name == b"openai-beta")
        session = RealtimeSession(
            guard,
            ending=self._desk.guarding.ending,
            max_held_bytes=self._limits.max_held_bytes,
            prepare=lambda core: self._desk.guarding.prepare(core),  # as rules are then
            on_over=over,
            beta=beta or "openai-beta.realtime-v1" in scope["subprotocols"],
        )
        try:
            await link.relay(session)
        finally:
            for recorder in recorders.values():
                self._desk.close_recorder(recorder)


async def _refuse_socket(
    scope: Scope, send: Send, status: int, headers: Headers, body: bytes
) -> None:
    """Answer a WebSocket's handshake otherwise."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": 1008, "reason": f"status {status}"})
        return
    head = {"type": "websocket.http.response.start", "status": status, "headers": headers}
    await send(head)
    await send({"type": "websocket.http.response.body", "body": body, "more_body": False})
