"""Analyses off the event loop: few threads, a deadline each, and no more waiting than agreed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeVar

from midstream.apps.serving.refusals import Refusal
from midstream.errors import QueueFullError
from midstream.scheduler import Scheduler

__all__ = ["Workers"]

T = TypeVar("T")
_NS = 1_000_000_000


class Workers:
    """Threads that answer, the nearest deadline first.

    Parameters
    ----------
    threads, max_waiting : int
    deadline_s : float
        What is not begun by then is not begun at all.

    Attributes
    ----------
    done : int
        Answered in time.
    shed : int
        Refused since too much waited, or not begun in time.
    late : int
        Begun, and not done in time.
    """

    def __init__(self, threads: int, max_waiting: int, deadline_s: float) -> None:
        self._scheduler = Scheduler("edf", threads + max_waiting, workers=threads)
        self._deadline_s = deadline_s
        self.done = self.shed = self.late = 0

    def start(self) -> None:
        """Start the threads."""
        self._scheduler.start()

    def stop(self) -> None:
        """End them: what runs is waited for, what waits is not begun."""
        self._scheduler.stop(drain=False)
        self._scheduler.clear()

    @property
    def waiting(self) -> int:
        """Analyses that wait or run."""
        return len(self._scheduler)

    async def run(self, call: Callable[[], T], on_end: Callable[[], None]) -> T:
        """Have a thread call something.

        Parameters
        ----------
        call : callable
        on_end : callable
            Called in the event loop when it is over, or will not be begun; maybe after the caller
            has given up.

        Raises
        ------
        Refusal
            Too much waits, or the deadline has passed.
        Exception
            What `call` raises.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        due_ns = time.monotonic_ns() + int(self._deadline_s * _NS)
        begun = False

        def settle(result: Any, error: BaseException | None) -> None:
            on_end()
            if future.done():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        def work() -> None:
            nonlocal begun
            result = error = None
            if time.monotonic_ns() < due_ns and not future.cancelled():
                begun = True
                try:
                    result = call()
                except Exception as raised:  # noqa: BLE001 - it is raised where it was asked
                    error = raised
            else:
                error = Refusal("overloaded", "not begun in time", retry_after_s=1.0)
            try:
                loop.call_soon_threadsafe(settle, result, error)
            except RuntimeError:  # the loop has ended, and whoever waited with it
                return

        try:
            self._scheduler.schedule(work, deadline_ns=due_ns)
        except QueueFullError:
            on_end()
            self.shed += 1
            raise Refusal("overloaded", "too many analyses wait", retry_after_s=1.0) from None
        try:
            async with asyncio.timeout(self._deadline_s):
                answer = await future
        except TimeoutError:
            if begun:
                self.late += 1
                raise Refusal("deadline", f"took longer than {self._deadline_s:g} s") from None
            self.shed += 1
            raise Refusal("overloaded", "not begun in time", retry_after_s=1.0) from None
        self.done += 1
        return answer
