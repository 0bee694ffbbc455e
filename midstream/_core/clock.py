"""Time: one monotonic clock, in integer nanoseconds.

`time.monotonic_ns` is the clock that asyncio's timers use on every platform, so deadlines of both
can be compared; `perf_counter_ns` is a different clock on Windows.
"""

from __future__ import annotations

from time import monotonic_ns

__all__ = ["NS_PER_S", "monotonic_ns", "ns_from_s", "s_from_ns"]

NS_PER_S = 1_000_000_000


def ns_from_s(seconds: float) -> int:
    """Seconds to whole nanoseconds, rounded to nearest."""
    return round(seconds * NS_PER_S)


def s_from_ns(nanoseconds: int) -> float:
    """Nanoseconds to seconds."""
    return nanoseconds / NS_PER_S
