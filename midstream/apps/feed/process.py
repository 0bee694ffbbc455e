"""What this process takes of the machine."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from midstream._core.clock import monotonic_ns, s_from_ns

__all__ = ["Process"]

_STATM = Path("/proc/self/statm")
#: Over less time, a share says nothing.
_LEAST_S = 0.001


class Process:
    """Share of a core, and memory.

    Notes
    -----
    15 microseconds a look. Memory is what is resident now on Linux, elsewhere the most that it ever
    was, and on Windows not told.

    Examples
    --------
    >>> told = Process().look()
    >>> sorted(told)
    ['cpu', 'memory_bytes']
    """

    __slots__ = ("_cpu_ns", "_page_bytes", "_then_ns")

    def __init__(self) -> None:
        self._cpu_ns = time.process_time_ns()
        self._then_ns = monotonic_ns()
        self._page_bytes = 0
        if _STATM.is_file():
            import resource

            self._page_bytes = resource.getpagesize()

    def look(self) -> dict[str, float | int | None]:
        """Share of a core since the last look, and bytes of memory; None where it is not known."""
        cpu_ns, now_ns = time.process_time_ns(), monotonic_ns()
        spent_s, passed_s = s_from_ns(cpu_ns - self._cpu_ns), s_from_ns(now_ns - self._then_ns)
        self._cpu_ns, self._then_ns = cpu_ns, now_ns
        return {
            "cpu": round(spent_s / passed_s, 4) if passed_s >= _LEAST_S else None,
            "memory_bytes": self._memory_bytes(),
        }

    def _memory_bytes(self) -> int | None:
        if self._page_bytes:
            return int(_STATM.read_bytes().split()[1]) * self._page_bytes
        if sys.platform == "win32":
            return None
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
