"""One request on its way through the proxy: where it is, and how it is called off."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from midstream._core.clock import monotonic_ns
from midstream.stream.proxy.exchanges import RefusalError
from midstream.stream.proxy.headers import Headers, Receive, Send

if TYPE_CHECKING:
    import httpx2

    from midstream.stream.proxy.bodies import Rewriter
    from midstream.stream.proxy.exchanges import Exchange
    from midstream.stream.proxy.routes import Route
    from midstream.stream.recording import Recorder

__all__ = ["Bodies", "Flight", "GoneError", "Leave", "Share", "read_body", "upload"]


class GoneError(Exception):
    """The client has left before its request was whole."""


class Leave:
    """Why a stream is called off, what to tell its client, or the bytes to end it with."""

    __slots__ = ("last", "message", "reason")

    def __init__(self, reason: str, message: str = "", last: bytes = b"") -> None:
        self.reason = reason
        self.message = message
        self.last = last


class Flight:
    """One request on its way."""

    __slots__ = (
        "_follower",
        "_send",
        "begun_ns",
        "exchange",
        "finishing",
        "id",
        "left",
        "over",
        "phase",
        "recorder",
        "response",
        "rewriter",
        "route",
        "sending",
        "since_ns",
        "started",
        "task",
    )

    def __init__(self, task: asyncio.Task[Any], send: Send, route: Route) -> None:
        self.task = task
        self.route = route
        self.id = ""
        self.begun_ns = self.since_ns = monotonic_ns()
        self.phase = "request"
        self.sending = False
        self.started = False
        self.finishing = False
        self.over = False
        self.left: Leave | None = None
        self.exchange: Exchange | None = None
        self.rewriter: Rewriter | None = None
        self.recorder: Recorder | None = None
        self.response: httpx2.Response | None = None
        self._send = send
        self._follower: asyncio.Task[None] | None = None

    def wait(self, phase: str) -> None:
        """Begin to wait for something."""
        self.phase = phase
        self.since_ns = monotonic_ns()

    def leave(self, leave: Leave) -> None:
        """Call it off, from outside."""
        if self.left is None and not self.over:
            if leave.reason == "gone" and self.finishing:
                return
            self.left = leave
            self.task.cancel()

    def follow(self, receive: Receive) -> None:
        """Look out for the client's leaving, now that its request is whole."""
        self._follower = asyncio.get_running_loop().create_task(self._until_gone(receive))

    async def _until_gone(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.leave(Leave("gone"))

    async def start(self, status: int, headers: Headers) -> None:
        """Send the answer's head."""
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def send(self, body: bytes) -> None:
        """Send a piece of the answer."""
        self.since_ns = monotonic_ns()
        self.sending = True
        await self._send({"type": "http.response.body", "body": body, "more_body": True})
        self.sending = False

    async def end(self, body: bytes = b"") -> None:
        """Send the last piece of the answer."""
        self.finishing = True
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def close(self) -> None:
        """Let go of the upstream, the recording and the client."""
        follower = self._follower
        if follower is not None:
            follower.cancel()
        if self.rewriter is not None:
            self.rewriter.close()
        if self.recorder is not None:
            self.recorder.close()
        if self.response is not None:
            with contextlib.suppress(Exception):  # it is gone, whatever it thinks of it
                await self.response.aclose()

    def drop(self) -> None:
        """Forget what refers back to it, so that all of it goes now and not with a collection."""
        self.exchange = self.rewriter = self.recorder = self.response = self._follower = None


class Bodies:
    """Bytes of requests that a proxy holds, all together.

    Parameters
    ----------
    most : int
    """

    __slots__ = ("held", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0

    @contextlib.contextmanager
    def share(self) -> Iterator[Share]:
        """Hold one request's bytes until the end of the block."""
        share = Share(self)
        try:
            yield share
        finally:
            self.held -= share.held


class Share:
    """What one request holds of `Bodies`."""

    __slots__ = ("_bodies", "held")

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self.held = 0

    def take(self, size: int) -> None:
        """Hold more.

        Raises
        ------
        RefusalError
            Together with what others hold, it is too much.
        """
        bodies = self._bodies
        if bodies.held + size > bodies.most:
            raise RefusalError(
                503, f"requests of more than {bodies.most} bytes are in flight", reason="memory"
            )
        bodies.held += size
        self.held += size


async def read_body(receive: Receive, most: int, share: Share) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise GoneError
        piece = message.get("body", b"")
        size += len(piece)
        if size > most:
            raise RefusalError(413, f"a body of more than {most} bytes", reason="body")
        share.take(len(piece))
        pieces.append(piece)
        if not message.get("more_body"):
            return b"".join(pieces)


async def upload(receive: Receive, most: int, flight: Flight) -> AsyncIterator[bytes]:
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise GoneError
        piece = message.get("body", b"")
        size += len(piece)
        if size > most:
            raise RefusalError(413, f"a body of more than {most} bytes", reason="body")
        flight.since_ns = monotonic_ns()
        if piece:
            yield piece
        if not message.get("more_body"):
            flight.follow(receive)
            return
