"""uvicorn's protocol, as the dashboard runs it: with limits on heads."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["HeadsInTime"]

#: That somebody sends no HTTP is not worth a line, which anybody could make again and again.
_LOG = logging.getLogger(__name__)
_LOG.setLevel(logging.ERROR)
#: How long the head of a request may take, from the connection or its first byte on.
HEAD_S = 10.0


class HeadsInTime(H11Protocol):
    """uvicorn's protocol on h11, which limits how long heads are, and here how long they take."""

    _late: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.logger = _LOG

    def connection_made(self, transport: Any) -> None:
        """Wait for a request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Wait on, unless a request has come whole."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop()
        else:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(HEAD_S, self._close)

    def _stop(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _close(self) -> None:
        self._late = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
