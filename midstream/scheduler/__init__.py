"""Bounded queues, priorities, deadlines and exact time, with an account of all of it.

`Scheduler`, `Priority`, `Stats`
    dispatch small tasks by priority or deadline
`RingQueue`, `HandleRing`
    bounded lock-free FIFO queues: of Python objects, and of 64-bit handles for C callers
`sleep_until_ns`, `sleep_ns`
    wake up on time, never early
`capabilities`, `apply_to_this_thread`, `lock_memory`
    what this machine grants, and asking for it: real-time class, affinity, memory locking
`Histogram`, `HistogramLogWriter`, `read_log`
    latencies over a high dynamic range, in HdrHistogram's formats
`simulate`, `schedulable`, `SimTask`
    offline: what a policy does with a set of tasks, and whether it must succeed
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midstream._core.lazy import lazy_exports

if TYPE_CHECKING:
    from midstream.scheduler._hdr_log import HistogramLogWriter, LoggedInterval, read_log
    from midstream.scheduler._histogram import Histogram
    from midstream.scheduler._priority import Priority
    from midstream.scheduler._ring import HandleRing, RingQueue
    from midstream.scheduler._scheduler import Failure
    from midstream.scheduler._sleep import sleep_ns, sleep_until_ns
    from midstream.scheduler.realtime import (
        Capabilities,
        Grant,
        apply_to_this_thread,
        capabilities,
        check_affinity,
        lock_memory,
        unlock_memory,
    )
    from midstream.scheduler.schedulability import Verdict, schedulable
    from midstream.scheduler.scheduler import Scheduler
    from midstream.scheduler.schedules import Schedule, Segment, SimJob, SimTask
    from midstream.scheduler.simulation import simulate
    from midstream.scheduler.stats import Stats

__all__ = [
    "Capabilities",
    "Failure",
    "Grant",
    "HandleRing",
    "Histogram",
    "HistogramLogWriter",
    "LoggedInterval",
    "Priority",
    "RingQueue",
    "Schedule",
    "Scheduler",
    "Segment",
    "SimJob",
    "SimTask",
    "Stats",
    "Verdict",
    "apply_to_this_thread",
    "capabilities",
    "check_affinity",
    "lock_memory",
    "read_log",
    "schedulable",
    "simulate",
    "sleep_ns",
    "sleep_until_ns",
    "unlock_memory",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Capabilities": "realtime",
        "Failure": "_scheduler",
        "Grant": "realtime",
        "HandleRing": "_ring",
        "Histogram": "_histogram",
        "HistogramLogWriter": "_hdr_log",
        "LoggedInterval": "_hdr_log",
        "Priority": "_priority",
        "RingQueue": "_ring",
        "Schedule": "schedules",
        "Scheduler": "scheduler",
        "Segment": "schedules",
        "SimJob": "schedules",
        "SimTask": "schedules",
        "Stats": "stats",
        "Verdict": "schedulability",
        "apply_to_this_thread": "realtime",
        "capabilities": "realtime",
        "check_affinity": "realtime",
        "lock_memory": "realtime",
        "read_log": "_hdr_log",
        "schedulable": "schedulability",
        "simulate": "simulation",
        "sleep_ns": "_sleep",
        "sleep_until_ns": "_sleep",
        "unlock_memory": "realtime",
    },
)
