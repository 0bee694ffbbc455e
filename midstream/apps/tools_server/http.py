"""Many clients over streamable HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from itertools import chain
from typing import Any, ClassVar

import uvicorn
from mcp.server.transport_security import TransportSecuritySettings

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_int, check_real, check_text
from midstream.apps.serving.access import Access, is_loopback
from midstream.apps.serving.refusals import Refusal
from midstream.apps.telling import hosts_of
from midstream.apps.tools_server.limits import ToolLimits
from midstream.apps.tools_server.server import ToolServer
from midstream.stream.heads import HeadLimitedProtocol
from midstream.stream.listening import QuietServer, listening
from midstream.stream.probes import answer_probe
from midstream.stream.telemetry import CONTENT_TYPE, exposition, server_families

__all__ = ["HttpToolServer"]

_PATH = "/mcp"
_METRICS = "/metrics"
_KEEP_ALIVE_S = 75
#: What connections may take to send their last bytes, in seconds.
_LAST_S = 1.0
_LOOK_S = 0.01

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class HttpToolServer:
    """A `ToolServer` over streamable HTTP, at ``/mcp``.

    Parameters
    ----------
    tools : ToolServer
    host : str, default "127.0.0.1"
    port : int, default 3000
        0 takes a free one; `address` says which.
    token : str, optional
        What every client must show as ``Authorization: Bearer TOKEN``; needed where others than
        this machine can connect.
    origins : collection of str
        Origins of web pages that may ask, beside those of this machine.
    hosts : collection of str
        Names under which it may be asked, beside those of this machine.
    drain_s : float, default 5
        How long requests may take to be answered once no more are taken; then they are cut.
    linger_s : float, default 0
        How long further requests are taken after `stop`, while ``/readyz`` says that none should
        come: until whoever sends them has noticed.

    Attributes
    ----------
    address : tuple of str and int, or None
        Where it listens, once it does.
    started : asyncio.Event
        Set when it listens.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used.
    OSError
        From `serve`: the address cannot be used.

    Notes
    -----
    ``Host`` and ``Origin`` are checked, so that no web page gets at it under a name that was made
    to point here; tokens are compared in constant time, and are not taken from URLs. There is no
    access log. ``/healthz`` and ``/readyz`` say to everyone that it runs, and whether it takes
    requests; ``/metrics`` says to who has the token what it counted.

    Examples
    --------
    >>> import asyncio
    >>> from mcp import Client
    >>> from midstream.apps.tools_server import HttpToolServer, ToolServer
    >>> async def main():
    ...     server = HttpToolServer(ToolServer(), port=0)
    ...     serving = asyncio.create_task(server.serve())
    ...     await server.started.wait()
    ...     async with Client(server.url) as client:
    ...         status = await client.call_tool("get_status", {})
    ...     server.stop()
    ...     await serving
    ...     return status.structured_content["messages"]
    >>> asyncio.run(main())
    0
    """

    def __init__(
        self,
        tools: ToolServer,
        host: str = "127.0.0.1",
        port: int = 3000,
        *,
        token: str | None = None,
        origins: Collection[str] = (),
        hosts: Collection[str] = (),
        drain_s: float = 5.0,
        linger_s: float = 0.0,
    ) -> None:
        if not isinstance(tools, ToolServer):
            raise ArgumentTypeError(f"tools must be a ToolServer, got {tools!r:.60}")
        self._tools = tools
        self._host = check_text("host", host)
        self._port = check_int("port", port, low=0, high=65535)
        self._drain_s = check_real("drain_s", drain_s, low=0)
        self._linger_s = check_real("linger_s", linger_s, low=0)
        if token is None and not is_loopback(host):
            raise ArgumentValueError(
                f"token must be given where others can reach the server, at {host!r}"
            )
        self._access = Access(tuple(origins), hosts_of(host, tuple(hosts)), token)
        self.address: tuple[str, int] | None = None
        self.started = asyncio.Event()
        self._stopped = asyncio.Event()
        self._hurried = asyncio.Event()
        self._draining = False
        self._requests = 0
        limits = tools.limits
        self._app = tools.server.streamable_http_app(
            streamable_http_path=_PATH,
            max_request_body_size=limits.max_message_bytes,
            session_idle_timeout=limits.session_idle_s,
            max_sessions=limits.max_sessions,
            # `Access` looks at the same headers, and at the token.
            transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
        )
        self._server = QuietServer(
            uvicorn.Config(
                self._ask,
                interface="asgi3",
                http=type("BoundHttp", (_Http,), {"limits": limits}),
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=math.ceil(_LAST_S),
            )
        )

    @property
    def url(self) -> str:
        """Where clients find it, once it listens."""
        assert self.address is not None
        host, port = self.address
        return f"http://{f'[{host}]' if ':' in host else host}:{port}{_PATH}"

    async def serve(self) -> None:
        """Listen, and return when all is over after `stop`."""
        with listening(self._host, self._port) as listener:
            self.address = listener.getsockname()[:2]
            serving = asyncio.ensure_future(self._server.serve(sockets=[listener]))
            try:
                begun = asyncio.ensure_future(self._server.listening.wait())
                await asyncio.wait((serving, begun), return_when=asyncio.FIRST_COMPLETED)
                begun.cancel()
                if not serving.done():
                    self.started.set()
                    await self._stopped.wait()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(self._linger_s):
                            await self._hurried.wait()
                    self._take_no_more()
                    await self._drain()
                    self._server.should_exit = True
                    await asyncio.wait((serving,), timeout=_LAST_S)
                    self.cut()
                await serving
            finally:
                self.cut()
                if not serving.done():
                    self._server.should_exit = self._server.force_exit = True
                    await asyncio.wait((serving,))

    def stop(self) -> None:
        """Say that no more requests should come; take none after `linger_s`, end after `drain_s`.

        It can be called before it listens, too; a second call changes nothing.
        """
        if not self._linger_s:
            self._take_no_more()
        self._stopped.set()

    def _take_no_more(self) -> None:
        """Answer what was asked, and end subscriptions."""
        self._draining = True
        self._tools.end_subscriptions()

    def cut(self) -> None:
        """Cut all connections at once."""
        self._drain_s = 0.0
        self._hurried.set()
        self._server.cut()

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        while self._requests and loop.time() - begun_s < self._drain_s:
            await asyncio.sleep(_LOOK_S)

    # The application.

    async def _ask(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        ready = not self._stopped.is_set()
        if await answer_probe(scope["method"], scope["path"], send, ready=ready):
            return
        try:
            self._access.check(scope["headers"], b"")
            if self._draining:
                raise Refusal("ending", "the server ends")
            if self._requests >= self._tools.limits.max_requests:
                raise Refusal("overloaded", "too many requests at once", retry_after_s=1.0)
        except Refusal as refusal:
            await _refuse(refusal, send)
            return
        if scope["path"] == _METRICS and scope["method"] in ("GET", "HEAD"):
            await self._tell_metrics(scope["method"], ready, send)
            return
        if scope["method"] != "POST":
            # Of these, a stream of what the server tells unasked is never done.
            await self._app(scope, receive, send)
            return
        self._requests += 1
        try:
            body = await self._body(receive)
            await self._app(scope, _replaying(body, receive), send)
        except Refusal as refusal:
            await _refuse(refusal, send)
        finally:
            self._requests -= 1

    async def _tell_metrics(self, method: str, ready: bool, send: _Send) -> None:
        families = chain(server_families(ready=ready), self._tools.families())
        body = exposition(families).encode()
        headers = [
            (b"content-type", CONTENT_TYPE.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})

    async def _body(self, receive: _Receive) -> bytes:
        """A request's body, if it is whole in time and not too large."""
        limits = self._tools.limits
        body = bytearray()
        try:
            async with asyncio.timeout(limits.request_timeout_s):
                while True:
                    message = await receive()
                    body += message.get("body", b"")
                    if len(body) > limits.max_message_bytes:
                        most = limits.max_message_bytes
                        raise Refusal("too_large", f"more than {most:,} bytes")
                    if message["type"] != "http.request" or not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            raise Refusal("timeout", "the request did not come") from None


def _replaying(body: bytes, receive: _Receive) -> _Receive:
    """Receiving a body that was read already, and then what else comes."""
    waits = [body]

    async def receiving() -> MutableMapping[str, Any]:
        if waits:
            return {"type": "http.request", "body": waits.pop(), "more_body": False}
        return await receive()

    return receiving


class _Http(HeadLimitedProtocol):
    """HTTP/1.1 with limits."""

    limits: ClassVar[ToolLimits]


async def _refuse(refusal: Refusal, send: _Send) -> None:
    body = json.dumps(
        {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": refusal.message}}
    ).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
    ]
    if refusal.code in ("timeout", "too_large"):
        headers.append((b"connection", b"close"))
    if refusal.code == "unauthorized":
        headers.append((b"www-authenticate", b"Bearer"))
    if refusal.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % math.ceil(refusal.retry_after_s)))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
