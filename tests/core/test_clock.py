"""The clock: one, monotonic, in integer nanoseconds."""

from __future__ import annotations

import asyncio
import time

from hypothesis import given
from hypothesis import strategies as st

from midstream._core import clock


def test_it_is_the_clock_of_asyncio() -> None:
    assert clock.monotonic_ns is time.monotonic_ns

    async def loop_time_between_two_readings() -> bool:
        before = clock.monotonic_ns()
        now = asyncio.get_running_loop().time()
        after = clock.monotonic_ns()
        # A float of seconds keeps 100 ns for years of uptime.
        return before - 1000 <= clock.ns_from_s(now) <= after + 1000

    assert asyncio.run(loop_time_between_two_readings())


@given(st.integers(-(2**53), 2**53))
def test_conversions_undo_each_other(nanoseconds: int) -> None:
    there_and_back = clock.ns_from_s(clock.s_from_ns(nanoseconds))
    assert abs(there_and_back - nanoseconds) <= 1


def test_rounding_is_to_nearest() -> None:
    assert clock.ns_from_s(1.5) == 1_500_000_000
    assert clock.ns_from_s(0.1) == 100_000_000
    assert clock.ns_from_s(-2.6e-9) == -3
    assert clock.s_from_ns(250_000_000) == 0.25
