"""Blocks of work in threads: order, failures, and Ctrl-C in searches that would take hours."""

from __future__ import annotations

import _thread
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from midstream._core.blocks import in_blocks
from midstream.compare import Spring, matrix_profile, search

SERIES = np.random.default_rng(0).normal(size=400_000)


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_results_come_in_the_order_of_the_blocks(threads: int) -> None:
    def work(block, poll):
        time.sleep(0.001 * (block % 3))
        return block

    assert list(in_blocks(work, range(40), threads)) == list(range(40))
    assert list(in_blocks(work, [], threads)) == []


@pytest.mark.parametrize("threads", [1, 2])
def test_what_a_block_raises_is_raised_and_the_others_are_stopped(threads: int) -> None:
    polls = []

    def work(block, poll):
        polls.append(poll)
        if block == 3:
            raise MemoryError(block)
        while block > 3 and not poll.stopped:
            time.sleep(0.001)
        return block

    with pytest.raises(MemoryError, match="3"):
        list(in_blocks(work, range(1000), threads))
    assert len(polls) < 1000


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize(
    "endless",
    [
        lambda n_jobs: search(SERIES[:20_000], SERIES, k=9, n_jobs=n_jobs),
        lambda n_jobs: search(SERIES[:20_000], SERIES, k=9, n_jobs=n_jobs, normalize=False),
        lambda n_jobs: [matrix_profile(SERIES, 100, n_jobs=n_jobs) for _ in range(99)],
        lambda n_jobs: Spring(SERIES, 0.1).feed(SERIES),
    ],
    ids=["dtw", "raw", "profile", "spring"],
)
def test_an_interrupt_is_answered(endless, n_jobs: int) -> None:
    # What a shell runs in the background ignores it from the start.
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.3, _thread.interrupt_main)
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            endless(n_jobs)
    finally:
        timer.cancel()
        timer.join()
        signal.signal(signal.SIGINT, old)


def test_an_interrupt_while_work_is_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    hand_over = ThreadPoolExecutor.submit

    def interrupted(*arguments):
        hand_over(*arguments)
        raise KeyboardInterrupt

    def work(block, poll):
        while not poll.stopped:
            time.sleep(0.001)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(in_blocks(work, range(9), 2))


def test_any_number_of_threads_may_be_asked_for() -> None:
    assert list(in_blocks(lambda block, poll: block, range(3), 1 << 80)) == [0, 1, 2]
