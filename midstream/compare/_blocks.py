"""Independent blocks of work, in this thread or in several, with progress and Ctrl-C."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from midstream._core._poll import Poll

__all__ = ["in_blocks"]

Block = TypeVar("Block")
Result = TypeVar("Result")

#: Blocks handed to the pool ahead of the one whose result is awaited, for each thread.
AHEAD = 4


def in_blocks(
    work: Callable[[Block, Poll], Result | None], blocks: Sequence[Block], threads: int
) -> Iterator[Result]:
    """Results of ``work(block, poll)`` in the order of the blocks.

    `work` releases the GIL where it counts, and returns None where its poll stopped it.
    """
    if threads == 1 or len(blocks) < 2:
        for block in blocks:
            result = work(block, Poll())
            if result is not None:
                yield result
        return
    running: deque[tuple[Poll, Future[Result | None]]] = deque()
    remaining = iter(blocks)
    with ThreadPoolExecutor(min(threads, len(blocks)), "midstream") as pool:
        try:
            while True:
                for ahead in islice(remaining, AHEAD * threads - len(running)):
                    poll = Poll()
                    running.append((poll, pool.submit(work, ahead, poll)))
                if not running:
                    return
                # Signals reach the main thread here; the others learn of them by their polls.
                result = running[0][1].result()
                running.popleft()
                if result is not None:
                    yield result
        finally:
            for poll, future in running:
                poll.stop()
                future.cancel()
