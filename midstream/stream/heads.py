"""Limits on connections, for servers on uvicorn: heads of requests, and what is not taken."""

from __future__ import annotations

import asyncio
import json
from typing import Any, ClassVar, Protocol

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["HeadLimitedProtocol", "HeadLimits", "StuckLimited", "StuckLimits"]

_PHRASES = {408: b"Request Timeout", 431: b"Request Header Fields Too Large", 503: b"Busy"}


class HeadLimits(Protocol):
    """Limits that a `HeadLimitedProtocol` reads."""

    @property
    def max_connections(self) -> int:
        """Connections at once; beyond it 503."""
        ...

    @property
    def max_header_bytes(self) -> int:
        """Names and values of a request's headers, and its URL; beyond it 431."""
        ...

    @property
    def max_headers(self) -> int:
        """How many there are; beyond it 431."""
        ...

    @property
    def request_timeout_s(self) -> float:
        """How long a request's head may take; beyond it 408."""
        ...


class StuckLimits(Protocol):
    """What a `StuckLimited` protocol reads."""

    @property
    def client_timeout_s(self) -> float:
        """How long a client may take nothing of what is sent to it; beyond it it is cut."""
        ...


class StuckLimited:
    """Before a protocol of uvicorn among the bases: cuts clients that take nothing for too long."""

    limits: ClassVar[Any]
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    _stuck: asyncio.TimerHandle | None = None

    def on_stuck(self) -> None:
        """A client is cut."""

    def pause_writing(self) -> None:
        """More is written than the other side takes."""
        super().pause_writing()  # type: ignore[misc] # of the protocol
        if self._stuck is None:
            limits: StuckLimits = self.limits
            self._stuck = self.loop.call_later(limits.client_timeout_s, self._cut)

    def resume_writing(self) -> None:
        """It has caught up."""
        super().resume_writing()  # type: ignore[misc] # of the protocol
        self._forget()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._forget()
        super().connection_lost(exc)  # type: ignore[misc] # of the protocol

    def _cut(self) -> None:
        self._stuck = None
        self.on_stuck()
        self.transport.abort()

    def _forget(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None


class _HeadError(Exception):
    """A request's head goes beyond a limit."""


class HeadLimitedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with limits on a request's head and on connections."""

    limits: ClassVar[HeadLimits]
    _timer: asyncio.TimerHandle | None = None
    _in_head = True
    _fed = 0  # bytes that came since the head began, with what else came with them
    _size = 0
    _number = 0
    _status = 0

    def refusal(self, status: int, message: str) -> bytes:
        """The body of a refusal, JSON."""
        return json.dumps({"success": False, "code": status, "error": message}).encode()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count it, and expect a request."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections:
            self._status = 503
            self.send_400_response("too many connections")
            return
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing any more."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes, unless they were refused already."""
        if self._status:
            return  # what else comes is not read
        if self._in_head:
            self._fed += len(data)
        super().data_received(data)
        # A header whose end does not come is kept by the parser, and not yet counted.
        if self._in_head and not self._status and self._fed > 2 * self.limits.max_header_bytes:
            self._status = 431
            self.send_400_response("")

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._size = self._number = 0
        self._arm()

    def on_url(self, url: bytes) -> None:
        """A piece of its URL."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of its headers, or a trailer: that counts as well, and nobody gets it."""
        self._number += 1
        self._count(len(name) + len(value))
        # uvicorn would put a trailer among the headers, after these were judged.
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Its head is whole."""
        self._in_head = False
        self._fed = 0
        self._disarm()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """It is whole."""
        self._in_head = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse, and close."""
        if not self._status:
            super().send_400_response(msg)
            return
        message = {408: "the request did not come", 431: "the request's headers are too large"}
        body = self.refusal(self._status, message.get(self._status, msg))
        head = b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
        head %= (self._status, _PHRASES[self._status], len(body))
        self.transport.write(head + b"connection: close\r\n\r\n" + body)
        self.transport.close()

    def _count(self, size: int) -> None:
        self._size += size
        limits = self.limits
        if self._size > limits.max_header_bytes or self._number > limits.max_headers:
            self._status = 431
            raise _HeadError  # the parser makes it an error of its own, which ends in a refusal

    def _arm(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.limits.request_timeout_s, self._late)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self._status = 408
            self.send_400_response("")
