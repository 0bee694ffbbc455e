"""From threads that decode to the event loop, bounded."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import Any, NamedTuple

from midstream._core.errors import MidstreamError
from midstream.stream.events import Event, Kind

__all__ = ["Channel", "Draft", "DraftDecoder"]


class Draft(NamedTuple):
    """An event that has no place in its stream yet.

    Parameters
    ----------
    kind : str
        As `Event` has it.
    arrived_ns : int
        By the monotonic clock.
    text : str
    data : Any
    stream_id : str
    """

    kind: Kind
    arrived_ns: int
    text: str = ""
    data: Any = None
    stream_id: str = ""


class Channel:
    """Drafts and errors on their way to the event loop; several threads may put, one task gets."""

    def __init__(self, max_items: int) -> None:
        self._max_items = max_items
        self._items: deque[Draft | Exception] = deque()
        self._room = threading.Condition()
        self._waiter: asyncio.Future[None] | None = None
        self._over = False
        self._shut = False

    @property
    def has_room(self) -> bool:
        """Whether `put` would not wait."""
        return len(self._items) < self._max_items

    @property
    def shut(self) -> bool:
        """Whether nobody reads any more."""
        return self._shut

    def put(self, item: Draft | Exception, *, wait: bool) -> bool:
        """Add an item, from any thread; False where nobody reads any more.

        Without `wait` it is added whether there is room or not: for what ends a stream, and what
        the event loop itself puts.
        """
        with self._room:
            while wait and len(self._items) >= self._max_items and not self._shut:
                self._room.wait()
            if self._shut:
                return False
            self._items.append(item)
        self._wake()
        return True

    def end(self) -> None:
        """Say that nothing follows."""
        self._over = True
        self._wake()

    def shut_down(self) -> None:
        """Say that nobody reads any more."""
        with self._room:
            self._shut = True
            self._items.clear()
            self._room.notify_all()
        self._wake()

    async def get(self) -> list[Draft]:
        """Wait for items; all that are there, up to an error.

        Raises
        ------
        StopAsyncIteration
            Nothing follows.
        Exception
            One that was put, after what was put before it.
        """
        loop = asyncio.get_running_loop()
        while True:
            with self._room:
                if self._shut:
                    raise StopAsyncIteration
                if self._items:
                    first = self._items[0]
                    if isinstance(first, Exception):
                        self._items.popleft()
                        raise first
                    taken: list[Draft] = []
                    while self._items and not isinstance(self._items[0], Exception):
                        taken.append(self._items.popleft())  # type: ignore[arg-type]
                    self._room.notify_all()
                    return taken
                if self._over:
                    raise StopAsyncIteration
                waiter = self._waiter = loop.create_future()
            await waiter

    def _wake(self) -> None:
        with self._room:
            waiter, self._waiter = self._waiter, None
        if waiter is None:
            return
        try:
            waiter.get_loop().call_soon_threadsafe(_set, waiter)
        except RuntimeError:  # the loop is closed: nobody is left to wake
            self._shut = True


def _set(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class DraftDecoder:
    """Numbers drafts, and counts their times from when the source began.

    Parameters
    ----------
    started_ns : int
        When that was, by the monotonic clock.
    """

    def __init__(self, started_ns: int) -> None:
        self.error: MidstreamError | None = None
        self.done = False
        self._started_ns = started_ns
        self._seq = 0

    def feed(self, item: list[Draft], t_ns: int) -> list[Event]:
        """Events of drafts."""
        events = []
        for kind, arrived_ns, text, data, stream_id in item:
            at_ns = max(0, arrived_ns - self._started_ns)
            events.append(Event(kind, self._seq, at_ns, text, None, data, stream_id))
            self._seq += 1
        return events

    def finish(self, t_ns: int, *, broken: bool = False) -> list[Event]:
        """Nothing is kept back."""
        return []
