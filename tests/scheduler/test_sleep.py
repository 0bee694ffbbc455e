"""`sleep_until_ns`: never early, deaf to nothing, and nothing left behind."""

from __future__ import annotations

import inspect
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic_ns
from types import FrameType
from typing import Any

import numpy as np
import pytest

from midstream import MidstreamError
from midstream.scheduler import sleep_ns, sleep_until_ns
from midstream.scheduler._sleep import margin_ns, sleep_method

MS = 1_000_000
LEAST_MARGIN_NS, LARGEST_MARGIN_NS = 2_000, 500_000

needs_alarm = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers here")


class AlarmError(Exception):
    pass


@pytest.fixture
def alarms() -> Iterator[list[int]]:
    """When SIGALRM was handled. Its handler returns the first two times, and then raises."""
    handled: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        handled.append(monotonic_ns())
        if len(handled) == 3:
            # Or a busy machine would have a fourth before anybody looks.
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise AlarmError

    before = signal.signal(signal.SIGALRM, handle)
    yield handled
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("spin_ns", [None, 0, 1, 50_000, 2**62, 2**80])
@pytest.mark.parametrize("ahead_ns", [1, 1_000, 30_000, 200_000, 2 * MS])
def test_never_early(spin_ns: int | None, ahead_ns: int) -> None:
    for _ in range(20):
        until = monotonic_ns() + ahead_ns
        late = sleep_until_ns(until, spin_ns=spin_ns)
        now = monotonic_ns()
        assert type(late) is int
        # As late as it says, and the time it takes to say so.
        assert 0 <= late <= now - until


def test_never_early_in_threads_that_learn_together() -> None:
    latenesses: list[int] = []

    def sleep() -> None:
        start = monotonic_ns()
        for tick in range(1, 51):
            late = sleep_until_ns(start + tick * MS // 2)
            latenesses.append(min(late, monotonic_ns() - (start + tick * MS // 2)))

    threads = [threading.Thread(target=sleep) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(latenesses) == 200
    assert min(latenesses) >= 0
    assert LEAST_MARGIN_NS <= margin_ns() <= LARGEST_MARGIN_NS


@pytest.mark.parametrize("ago_ns", [0, 1, 10**9, 10**18, 2**63, 10**30])
def test_the_past_returns_at_once(ago_ns: int) -> None:
    before = monotonic_ns()
    late = sleep_until_ns(before - ago_ns)
    assert ago_ns <= late <= monotonic_ns() - before + ago_ns


def test_short_sleeps_let_the_margin_fade() -> None:
    for _ in range(2000):
        sleep_until_ns(monotonic_ns() + LEAST_MARGIN_NS // 2)
    # As short as it gets, it is still a margin.
    assert margin_ns() == LEAST_MARGIN_NS


def test_sleep_ns_is_from_now() -> None:
    before = monotonic_ns()
    late = sleep_ns(MS)
    assert monotonic_ns() >= before + MS + late
    for duration in (0, -1, -(10**30)):
        assert sleep_ns(duration) >= 0


@needs_alarm
@pytest.mark.parametrize("until", [10**18, 2**63 - 1, 2**63, 10**30])
@pytest.mark.parametrize("spin_ns", [None, 0, 10**30])
def test_a_handler_that_raises_ends_it(alarms: list[int], until: int, spin_ns: int | None) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
    with pytest.raises(AlarmError):
        sleep_until_ns(until, spin_ns=spin_ns)
    assert len(alarms) == 3


@needs_alarm
@pytest.mark.parametrize("spin_ns", [None, 0, 10**30])
def test_a_handler_that_returns_does_not_shorten_it(alarms: list[int], spin_ns: int | None) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.005)
    until = monotonic_ns() + 60 * MS
    late = sleep_until_ns(until, spin_ns=spin_ns)
    assert 0 <= late <= monotonic_ns() - until
    assert len(alarms) == 1


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no pthread_kill here")
def test_control_c_ends_it() -> None:
    main = threading.main_thread().ident
    assert main is not None
    interrupter = threading.Timer(0.02, signal.pthread_kill, (main, signal.SIGINT))
    # A shell starts what is to run in the background with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        interrupter.start()
        with pytest.raises(KeyboardInterrupt):
            sleep_until_ns(2**63 - 1)
    finally:
        interrupter.cancel()
        interrupter.join()
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("spin_ns", [0, 10**12])
def test_others_run_meanwhile(spin_ns: int) -> None:
    # Where the GIL were kept, this thread could only go on after the sleep, however long it is. A
    # busy machine may leave this thread out for as long as a short one.
    for attempt in range(8):
        started, ended = threading.Event(), threading.Event()

        def sleep(
            started: threading.Event = started,
            ended: threading.Event = ended,
            lasting_ns: int = 15 * MS << attempt,
        ) -> None:
            until = monotonic_ns() + lasting_ns
            started.set()
            sleep_until_ns(until, spin_ns=spin_ns)
            ended.set()

        thread = threading.Thread(target=sleep)
        thread.start()
        started.wait()
        steps = 0
        while not ended.is_set():
            steps += 1
        thread.join()
        if steps > 1000:
            return
    pytest.fail(f"only {steps} steps beside a sleep")


@pytest.mark.skipif(not Path("/proc/self/timerslack_ns").exists(), reason="no timer slack here")
def test_the_timer_slack_is_put_back() -> None:
    file = Path("/proc/self/timerslack_ns")  # the main thread's
    before = file.read_text()
    try:
        file.write_text("70000")
        sleep_ns(MS, spin_ns=0)
        assert file.read_text().strip() == "70000"
    finally:
        file.write_text(before)


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for a real-time class")
def test_a_real_time_thread_keeps_what_slack_it_has() -> None:
    told: list[Any] = []

    def sleep() -> None:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        except OSError:
            return
        file = Path(f"/proc/{threading.get_native_id()}/timerslack_ns")
        before = file.read_text()
        until = monotonic_ns() + MS
        sleep_until_ns(until, spin_ns=0)
        told.append((monotonic_ns() >= until, before, file.read_text()))

    thread = threading.Thread(target=sleep)
    thread.start()
    thread.join()
    if not told:
        pytest.skip("no right to a real-time class")
    in_time, before, after = told[0]
    assert in_time
    assert after == before


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ({"t_ns": 1.5}, TypeError, "t_ns must be an integer, got 1.5"),
        ({"t_ns": True}, TypeError, "t_ns must be an integer, got True"),
        ({"t_ns": None}, TypeError, "t_ns must be an integer, got None"),
        ({"t_ns": 1, "spin_ns": -1}, ValueError, "spin_ns must be at least 0, got -1"),
        ({"t_ns": 1, "spin_ns": 0.5}, TypeError, "spin_ns must be an integer, got 0.5"),
    ],
)
def test_refuses_what_is_no_time(
    arguments: dict[str, Any], error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=named) as caught:
        sleep_until_ns(**arguments)
    assert isinstance(caught.value, MidstreamError)
    with pytest.raises(TypeError, match="duration_ns must be an integer"):
        sleep_ns("1")  # type: ignore[arg-type]


def test_takes_any_integer() -> None:
    assert type(sleep_until_ns(np.int64(-5))) is int
    assert type(sleep_ns(np.uint8(5), spin_ns=np.int32(1))) is int


def test_tells_what_it_does() -> None:
    assert str(inspect.signature(sleep_until_ns)) == "(t_ns, *, spin_ns=None)"
    assert str(inspect.signature(sleep_ns)) == "(duration_ns, *, spin_ns=None)"
    if sys.platform == "linux":
        assert sleep_method().startswith("clock_nanosleep")
