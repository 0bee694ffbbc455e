"""Tasks that wait for their turn at a queue."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NoReturn

from midstream._core.errors import RefusedError

__all__ = ["Pending", "Waiters", "other_loop"]


def other_loop(what: str) -> RefusedError:
    """The error for who uses something of another loop, or thread: it would wait for ever."""
    return RefusedError(
        f"{what} belongs to another event loop: use it in the loop, and the thread, that made it "
        "(asyncio.run_coroutine_threadsafe goes there)",
        reason="loop",
    )


class Pending:
    """What `connect` returns, for who forgets to await it: says so where it is used."""

    def __repr__(self) -> str:
        return "<a connection still to be made: await it, or enter it with 'async with'>"

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(
            f"no {name!r} yet: connect gives a connection when it is awaited, or entered with "
            "'async with'"
        )


class Waiters:
    """Futures in the order of waiting; who is woken looks again whether there is something."""

    __slots__ = ("_futures", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._futures: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        return len(self._futures)

    async def wait(self, *, first: bool = False) -> None:
        """Wait to be woken, behind all others, or before them where it was one's turn already."""
        if asyncio.get_running_loop() is not self._loop:
            raise other_loop("this connection")
        future = self._loop.create_future()
        if first:
            self._futures.appendleft(future)
        else:
            self._futures.append(future)
        try:
            await future
        except BaseException:
            if future.cancelled() or not future.done():
                if future in self._futures:
                    self._futures.remove(future)
            else:
                # Woken and cancelled at once: the turn is the next one's.
                self.wake_one()
            raise

    def wake_one(self) -> bool:
        """Wake the first one; whether there was one."""
        while self._futures:
            future = self._futures.popleft()
            if not future.done():
                future.set_result(None)
                return True
        return False

    def wake_all(self) -> None:
        """Wake everyone."""
        while self.wake_one():
            pass
