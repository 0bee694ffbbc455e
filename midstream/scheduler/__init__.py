"""Bounded queues, priorities, deadlines, and exact time, with an account of all of it.

`Scheduler`, `Priority`, `Stats`
    dispatch small tasks by priority or deadline
`Histogram`
    latencies over a high dynamic range
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midstream._core.lazy import lazy_exports

if TYPE_CHECKING:
    from midstream.scheduler._histogram import Histogram
    from midstream.scheduler._priority import Priority
    from midstream.scheduler.scheduler import Scheduler
    from midstream.scheduler.stats import Stats

__all__ = ["Histogram", "Priority", "Scheduler", "Stats"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Histogram": "_histogram",
        "Priority": "_priority",
        "Scheduler": "scheduler",
        "Stats": "stats",
    },
)
