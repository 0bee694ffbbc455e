"""What all subscribers get: numbered, kept for a while, encoded once."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Collection
from itertools import islice
from typing import Any, NamedTuple

from midstream.apps.serving.wire import encode

__all__ = ["Hub", "Item", "Taken"]

#: What a reader takes at once, so that none of them keeps much in memory.
_MOST_ITEMS = 64
_MOST_BYTES = 128 * 1024


class Item(NamedTuple):
    """Something that was broadcast.

    Attributes
    ----------
    number : int
        From 1, without gaps.
    topic : str
    text : str
        JSON, for a WebSocket.
    event : bytes
        The same as a server-sent event, with its id.
    """

    number: int
    topic: str
    text: str
    event: bytes


class Taken(NamedTuple):
    """What a reader gets.

    Attributes
    ----------
    items : list of Item
    missed : int
        Items before these that are no longer kept.
    last : int
        Number of the newest that was looked at: where the reader goes on.
    """

    items: list[Item]
    missed: int
    last: int


class Hub:
    """A ring of what was broadcast. Readers have a number each, and nothing else.

    A reader that is slow, or away, costs nothing: what it has not read lies in the ring, and what
    is no longer there is counted as missed.

    Parameters
    ----------
    keep_events, keep_bytes : int
        How much is kept.

    Attributes
    ----------
    run : str
        Tells this hub's numbers from those of another one.

    Notes
    -----
    For one event loop. A broadcast costs some 10 microseconds, and 1 for each reader that waits.
    """

    def __init__(self, keep_events: int, keep_bytes: int) -> None:
        self.run = secrets.token_hex(4)
        self._keep_events = keep_events
        self._keep_bytes = keep_bytes
        self._items: deque[Item] = deque()
        self._sizes: deque[int] = deque()
        self._bytes = 0
        self._first = 1
        self._waiters: set[asyncio.Future[None]] = set()
        self._waking = False

    @property
    def first(self) -> int:
        """Number of the oldest that is kept, or of the one to come."""
        return self._first

    @property
    def last(self) -> int:
        """Number of the newest; 0 before the first."""
        return self._first + len(self._items) - 1

    @property
    def kept_bytes(self) -> int:
        """Bytes kept."""
        return self._bytes

    def publish(self, topic: str, fields: dict[str, Any]) -> int:
        """Broadcast something.

        Parameters
        ----------
        topic : str
        fields : dict
            JSON; gets the number as ``"event"``.

        Returns
        -------
        int
            Its number.
        """
        number = self.last + 1
        data = encode({"event": number, **fields})
        text = data.decode()
        event = b"id: %b.%d\nevent: %b\ndata: %b\n\n" % (
            self.run.encode(),
            number,
            topic.encode(),
            data,
        )
        self._items.append(Item(number, topic, text, event))
        self._sizes.append(len(text) + len(event))
        self._bytes += self._sizes[-1]
        while len(self._items) > self._keep_events or (
            self._bytes > self._keep_bytes and len(self._items) > 1
        ):
            self._items.popleft()
            self._bytes -= self._sizes.popleft()
            self._first += 1
        if not self._waking and self._waiters:
            # Once for all that is broadcast in this turn of the loop.
            self._waking = True
            asyncio.get_running_loop().call_soon(self._wake)
        return number

    def take(self, after: int, topics: Collection[str]) -> Taken:
        """What comes after a number, as much as a reader should take at once.

        Parameters
        ----------
        after : int
            Number of the last item that the reader had.
        topics : collection of str
        """
        missed = max(0, self._first - 1 - after)
        start = max(0, after + 1 - self._first)
        items: list[Item] = []
        size = 0
        last = max(after, self._first - 1)
        for item in islice(self._items, start, None):
            last = item.number
            if item.topic in topics:
                items.append(item)
                size += len(item.event)
                if len(items) >= _MOST_ITEMS or size >= _MOST_BYTES:
                    break
        return Taken(items, missed, last)

    async def wait(self, after: int, timeout_s: float | None = None) -> bool:
        """Wait until there is something after a number, or time is over.

        Returns
        -------
        bool
            Whether there may be something.
        """
        if self.last > after:
            return True
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters.add(waiter)
        timer = None if timeout_s is None else loop.call_later(timeout_s, _set, waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)
            if timer is not None:
                timer.cancel()
        return self.last > after

    def wake(self) -> None:
        """Have every reader look again, as when the servers end."""
        self._wake()

    def _wake(self) -> None:
        self._waking = False
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            _set(waiter)


def _set(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
