"""Independent blocks of work, in this thread or in several, with progress and Ctrl-C."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from midstream._core._poll import Poll
from midstream._core.errors import ArgumentValueError
from midstream._core.validate import check_int

__all__ = ["in_blocks", "worker_count"]

Block = TypeVar("Block")
Result = TypeVar("Result")

#: Blocks handed to the pool ahead of the one whose result is awaited, for each thread.
AHEAD = 4


def worker_count(n_jobs: int | None) -> int:
    """Threads that `n_jobs` asks for: None is 1, -1 all processors, -2 all but one.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        Not an integer, or 0.
    """
    if n_jobs is None:
        return 1
    count = check_int("n_jobs", n_jobs)
    if count == 0:
        raise ArgumentValueError("n_jobs must not be 0: 1 is one thread, -1 one a processor")
    if count > 0:
        return count
    processors = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    )
    return max(1, (processors or 1) + 1 + count)


def in_blocks(
    work: Callable[[Block, Poll], Result | None], blocks: Sequence[Block], threads: int
) -> Generator[Result, None, None]:
    """Results of ``work(block, poll)`` in the order of the blocks.

    `work` releases the GIL where it counts, and returns None where its poll stopped it.
    """
    threads = min(threads, len(blocks))
    if threads < 2:
        for block in blocks:
            result = work(block, Poll())
            if result is not None:
                yield result
        return
    polls: deque[Poll] = deque()
    running: deque[Future[Result | None]] = deque()
    remaining = iter(blocks)
    with ThreadPoolExecutor(threads, "midstream") as pool:
        try:
            while True:
                for ahead in islice(remaining, AHEAD * threads - len(running)):
                    # Known before the pool has it: Ctrl-C may come while a thread is started, when
                    # the work is handed over and its future is not.
                    polls.append(Poll())
                    running.append(pool.submit(work, ahead, polls[-1]))
                if not running:
                    return
                # Signals reach the main thread here; the others learn of them by their polls.
                result = running[0].result()
                running.popleft()
                polls.popleft()
                if result is not None:
                    yield result
        finally:
            for poll in polls:
                poll.stop()
            for future in running:
                future.cancel()
