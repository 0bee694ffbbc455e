"""A plugin for pytest: write the counters of modules that count, when the tests are over.

They are written when a process ends, too, but for one that ends in a hurry: a worker whose tests
left a thread behind is killed, and would take an hour's counters with it.
"""

from __future__ import annotations

import ctypes
from pathlib import Path


def pytest_sessionfinish() -> None:
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        address, _, path = line.partition("/")
        if "/midstream/" in path and path.endswith(".so") and " 00000000 " in address:
            ctypes.CDLL(f"/{path}").__gcov_dump()
