"""What the system grants to those who must not be late, and what it refuses, and why.

Each answer is a `Grant`: a name, whether it was granted, and in words what it is or why it was
refused. `capabilities` asks without changing anything; `apply_to_this_thread`, `lock_memory` and
`unlock_memory` do it. Nothing is refused in silence.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from html import escape
from pathlib import Path
from typing import Any, SupportsIndex, TypeVar

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_int
from midstream.scheduler._histogram_text import format_ns
from midstream.scheduler._sleep import margin_ns, sleep_method

__all__ = [
    "Capabilities",
    "Grant",
    "apply_to_this_thread",
    "capabilities",
    "check_affinity",
    "lock_memory",
    "unlock_memory",
]

T = TypeVar("T")

#: The least: it comes before all ordinary threads, and after whatever else is real-time here, such
#: as the kernel's own threads, at 50.
_FIFO_PRIORITY = 1
_THROTTLE = Path("/proc/sys/kernel")
#: Bits of ``CapEff`` in ``/proc/thread-self/status``.
_CAP_IPC_LOCK, _CAP_SYS_NICE = 14, 23
_MCL_CURRENT, _MCL_FUTURE = 1, 2
_PR_SET_TIMERSLACK, _PR_GET_TIMERSLACK = 29, 30
#: A clock with larger steps cannot tell a microsecond.
_FINE_RESOLUTION_S = 1e-6


@dataclass(frozen=True, slots=True)
class Grant:
    """One thing that was asked of the system. True where it was granted.

    Parameters
    ----------
    name : str
        What was asked.
    granted : bool
        Whether it is in force, or, in `capabilities`, could be.
    detail : str
        What it is; or why it was refused: the system's error and the limit behind it.
    """

    name: str
    granted: bool
    detail: str

    def __bool__(self) -> bool:
        return self.granted

    def __str__(self) -> str:
        return f"{self.name}: {'yes' if self.granted else 'no'}, {self.detail}"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What this process may have, each a `Grant`; see `capabilities`.

    Attributes
    ----------
    realtime : Grant
        The class SCHED_FIFO for threads.
    memory_lock : Grant
        Memory that is never paged out.
    cpu_affinity : Grant
        Binding threads to processors.
    processors : Grant
        Two or more processors at once, so that one may spin.
    timer_slack : Grant
        Sleeps that the kernel does not lengthen to save power.
    sleep : Grant
        Sleeps finer than the kernel's tick.
    clock : Grant
        A monotonic clock that tells microseconds.

    Examples
    --------
    >>> from midstream.scheduler import capabilities
    >>> capabilities().clock.granted
    True
    """

    realtime: Grant
    memory_lock: Grant
    cpu_affinity: Grant
    processors: Grant
    timer_slack: Grant
    sleep: Grant
    clock: Grant

    def __iter__(self) -> Iterator[Grant]:
        return (getattr(self, field.name) for field in fields(self))

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Everything, as plain dicts that JSON can carry.

        Returns
        -------
        dict
            Attribute -> ``{"name": ..., "granted": ..., "detail": ...}``.
        """
        return asdict(self)

    def __repr__(self) -> str:
        width = max(len(grant.name) for grant in self)
        rows = (f"  {'+' if g else '-'} {g.name:<{width}}  {g.detail}" for g in self)
        return "\n".join(["<Capabilities", *rows, ">"])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{escape(grant.name)}</th><td>{'yes' if grant else 'no'}</td>"
            f"<td>{escape(grant.detail)}</td></tr>"
            for grant in self
        )
        return f"<table><tbody>{rows}</tbody></table>"


def capabilities() -> Capabilities:
    """What this system grants to this process, and what not, and why.

    Returns
    -------
    Capabilities

    Notes
    -----
    **Nothing lasts.** Real-time class, affinity and timer slack are tried in a thread that ends at
    once. To try memory locking, one page is locked and unlocked; whether the whole process fits is
    then read from the limits.

    Takes about a millisecond. Safe from any thread.

    Examples
    --------
    >>> from midstream.scheduler import capabilities
    >>> print(capabilities().realtime)  # doctest: +SKIP
    real-time class: no, EPERM (Operation not permitted): RLIMIT_RTPRIO is 0 and CAP_SYS_NICE is
    not held
    """
    return Capabilities(
        realtime=_in_a_thread(_enter_realtime),
        memory_lock=_try_one_page(),
        cpu_affinity=_in_a_thread(_try_affinity),
        processors=_processors(),
        timer_slack=_in_a_thread(_try_timer_slack),
        sleep=_sleep(),
        clock=_clock(),
    )


def check_affinity(cpu_affinity: SupportsIndex | Iterable[SupportsIndex]) -> tuple[int, ...]:
    """Processor numbers that this process may use, sorted and without repeats.

    Parameters
    ----------
    cpu_affinity : int or iterable of int
        One or more, as the system numbers them from 0.

    Returns
    -------
    tuple of int

    Raises
    ------
    ArgumentTypeError
        Neither an integer nor an iterable of integers.
    ArgumentValueError
        There is none, or one that this process may not use; the message names those and the others.
    """
    if isinstance(cpu_affinity, (str, bytes)):
        raise ArgumentTypeError(f"cpu_affinity must hold integers, got {cpu_affinity!r}")
    if isinstance(cpu_affinity, Iterable):
        numbers = {check_int("cpu_affinity", number) for number in cpu_affinity}
    else:
        numbers = {check_int("cpu_affinity", cpu_affinity)}
    usable = _usable()
    if not numbers:
        raise ArgumentValueError("cpu_affinity must name at least one processor, got none")
    if numbers - usable:
        raise ArgumentValueError(
            f"cpu_affinity must name processors that this process may use ({_ranges(usable)}), "
            f"got {_ranges(numbers - usable)}"
        )
    return tuple(sorted(numbers))


def apply_to_this_thread(
    *,
    cpu_affinity: SupportsIndex | Iterable[SupportsIndex] | None = None,
    realtime: bool = False,
) -> tuple[Grant, ...]:
    """Bind the calling thread to processors, and put it in the real-time class.

    Parameters
    ----------
    cpu_affinity : int or iterable of int, optional
        Processors, as `check_affinity` takes them.
    realtime : bool, default False
        SCHED_FIFO at priority 1: the thread runs before all ordinary ones until it waits. Neither
        threads that it starts nor processes that it forks inherit the class.

    Returns
    -------
    tuple of Grant
        One for each thing that was asked, in this order. What is refused has changed nothing.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        As `check_affinity` does. Nothing was changed.

    Warnings
    --------
    A real-time thread that never waits takes its processor from everybody. The kernel throttles
    them all to 950 ms a second (``/proc/sys/kernel/sched_rt_runtime_us``), so that what spins on
    stands still for 50 ms each second: sleep, and let `sleep_until_ns` spin for the rest only. And
    the GIL knows no priorities: an ordinary thread that holds it holds up a real-time one.
    """
    wanted = None if cpu_affinity is None else check_affinity(cpu_affinity)
    grants = []
    if wanted is not None:
        grants.append(_bind(wanted))
    if realtime:
        grants.append(_enter_realtime())
    return tuple(grants)


def lock_memory() -> Grant:
    """Keep all memory of this process from being paged out, now and in future.

    Returns
    -------
    Grant
        Where the limit on locked memory is finite and applies to this process, only what it has now
        is locked: what it asks for later would fail at the limit with `MemoryError`. `detail` says
        so.

    Notes
    -----
    ``mlockall``. Everything is read into memory at once, including untouched stacks of threads
    (typically 8 MiB each). Forked processes do not inherit it.
    """
    name = "memory lock"
    library = _libc()
    if library is None or not hasattr(library, "mlockall"):
        return Grant(name, False, f"no mlockall on {sys.platform}")
    limit = _memory_limit()
    flags = _MCL_CURRENT | (_MCL_FUTURE if limit is None else 0)
    if library.mlockall(flags) != 0:
        return Grant(name, False, f"{_error(ctypes.get_errno())}: {_memory_reason(limit)}")
    if limit is None:
        return Grant(name, True, "all memory, now and in future")
    return Grant(name, True, f"all memory of now, none of later: {_memory_reason(limit)}")


def unlock_memory() -> Grant:
    """Take `lock_memory` back.

    Returns
    -------
    Grant
        Granted also where nothing was locked.
    """
    name = "memory unlock"
    library = _libc()
    if library is None or not hasattr(library, "munlockall"):
        return Grant(name, False, f"no munlockall on {sys.platform}")
    if library.munlockall() != 0:
        return Grant(name, False, _error(ctypes.get_errno()))
    return Grant(name, True, "no memory is locked")


def _in_a_thread(probe: Callable[[], T]) -> T:
    """What `probe` returns in a thread of its own, which takes what it changed with it."""
    results: list[T] = []
    thread = threading.Thread(target=lambda: results.append(probe()), name="midstream-probe")
    thread.start()
    thread.join()
    return results[0]


def _error(number: int) -> str:
    return f"{errno.errorcode.get(number, number)} ({os.strerror(number)})"


def _enter_realtime() -> Grant:
    name = "real-time class"
    if sys.platform != "linux":
        return Grant(name, False, f"not done on {sys.platform}: no sched_setscheduler of threads")
    try:
        # 0 is the calling thread here, unlike elsewhere.
        policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, policy, os.sched_param(_FIFO_PRIORITY))
    except OSError as refused:
        number = refused.errno or 0
        return Grant(name, False, f"{_error(number)}: {_realtime_reason(number)}")
    return Grant(name, True, f"SCHED_FIFO at priority {_FIFO_PRIORITY}, {_throttle()}")


def _realtime_reason(number: int) -> str:
    import resource

    if number == errno.ENOSYS:
        return "this C library (musl is one) has no sched_setscheduler"
    if _holds(_CAP_SYS_NICE):
        return "CAP_SYS_NICE is held, so this is the container's or control group's doing"
    # Linux's own; the module of other systems lacks it.
    limit = resource.getrlimit(resource.RLIMIT_RTPRIO)[0]
    return f"RLIMIT_RTPRIO is {_limit(limit)} and CAP_SYS_NICE is not held"


def _throttle() -> str:
    try:
        runtime = int((_THROTTLE / "sched_rt_runtime_us").read_text())
        period = int((_THROTTLE / "sched_rt_period_us").read_text())
    except (OSError, ValueError):
        return "throttled as the kernel sees fit"
    if runtime < 0:
        return "not throttled: one that never waits takes its processor for good"
    return f"throttled to {runtime / 1000:g} of each {period / 1000:g} ms"


def _holds(capability: int) -> bool:
    """Whether this thread holds one of Linux's capabilities."""
    try:
        status = Path("/proc/thread-self/status").read_text()
    except OSError:
        return False
    effective = next((line for line in status.splitlines() if line.startswith("CapEff:")), ": 0")
    return bool(int(effective.split()[1], 16) >> capability & 1)


def _libc() -> Any:
    if sys.platform == "win32":
        return None
    return ctypes.CDLL(None, use_errno=True)


def _memory_limit() -> int | None:
    """Bytes that this process may lock; None without a limit."""
    import resource

    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    free = _holds(_CAP_IPC_LOCK) if sys.platform == "linux" else os.geteuid() == 0
    return None if free or limit == resource.RLIM_INFINITY else limit


def _memory_reason(limit: int | None) -> str:
    if limit is None:
        return "no limit applies"
    return f"RLIMIT_MEMLOCK is {_limit(limit)} bytes and CAP_IPC_LOCK is not held"


def _limit(limit: int) -> str:
    return "unlimited" if limit < 0 else f"{limit:,}"


def _try_one_page() -> Grant:
    name = "memory lock"
    library = _libc()
    if library is None or not hasattr(library, "mlock"):
        return Grant(name, False, f"no mlock on {sys.platform}")
    import mmap

    with mmap.mmap(-1, mmap.PAGESIZE) as page:
        held = ctypes.c_char.from_buffer(page)
        address, size = ctypes.c_void_p(ctypes.addressof(held)), ctypes.c_size_t(mmap.PAGESIZE)
        refused = ctypes.get_errno() if library.mlock(address, size) != 0 else 0
        if not refused:
            library.munlock(address, size)
        del held  # or the page could not be closed
    limit = _memory_limit()
    if refused:
        return Grant(name, False, f"{_error(refused)}: {_memory_reason(limit)}")
    if limit is None:
        return Grant(name, True, "one page was locked, and no limit applies")
    size_now = _mapped_bytes()
    if size_now is not None and size_now > limit:
        seen = f"one page was locked, but the process maps {size_now:,} bytes"
        return Grant(name, False, f"{seen}: {_memory_reason(limit)}")
    return Grant(name, True, f"one page was locked: {_memory_reason(limit)}")


def _mapped_bytes() -> int | None:
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE")
    except (OSError, ValueError):
        return None


def _usable() -> set[int]:
    """Processors that this process may use. Elsewhere than on Linux, all."""
    if sys.platform == "linux":
        # The main thread's, which affinity of another one leaves as it is.
        return set(os.sched_getaffinity(os.getpid()))
    return set(range(os.cpu_count() or 1))


def _ranges(numbers: Iterable[int]) -> str:
    """``0-3, 7``."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number])
    return ", ".join("-".join(map(str, part)) for part in parts)


def _bind(numbers: tuple[int, ...]) -> Grant:
    name = "processor affinity"
    if sys.platform != "linux":
        return Grant(name, False, f"not done on {sys.platform}: no sched_setaffinity")
    try:
        os.sched_setaffinity(0, numbers)
    except OSError as refused:
        return Grant(name, False, _error(refused.errno or 0))
    return Grant(name, True, f"processors {_ranges(os.sched_getaffinity(0))}")


def _try_affinity() -> Grant:
    usable = _usable()
    tried = _bind((min(usable),))
    if not tried:
        return tried
    return Grant(tried.name, True, f"any of the processors {_ranges(usable)}")


def _processors() -> Grant:
    usable, there = _usable(), os.cpu_count() or 1
    detail = f"{len(usable)} of {there}"
    share = _cpu_quota()
    if share is not None:
        detail += f", and the control group is given the time of {share:g}"
    granted = min(len(usable), share or len(usable)) >= 2
    if not granted:
        detail += ": a thread that spins holds up all others"
    return Grant("processors", granted, detail)


def _cpu_quota() -> float | None:
    """Processors' worth of time that a container may take, where it has a limit of its own."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def _try_timer_slack() -> Grant:
    name = "timer slack"
    if sys.platform != "linux":
        return Grant(name, True, f"none on {sys.platform} to be set")
    library = _libc()
    before = library.prctl(_PR_GET_TIMERSLACK, 0, 0, 0, 0)
    one = ctypes.c_ulong(1)
    if library.prctl(_PR_SET_TIMERSLACK, one, 0, 0, 0) != 0:
        return Grant(name, False, f"{_error(ctypes.get_errno())}: {format_ns(before)} stay")
    return Grant(name, True, f"1 ns while sleep_until_ns sleeps, else {format_ns(before)}")


def _sleep() -> Grant:
    method = sleep_method()
    detail = f"{method}; the last {format_ns(margin_ns())} are spun"
    if sys.platform != "linux":
        return Grant("fine sleep", "ordinary resolution" not in method, detail)
    # Its resolution is that of timers: 1 ns, or a tick where they are not of high resolution.
    step = time.clock_getres(time.CLOCK_MONOTONIC)
    if step > _FINE_RESOLUTION_S:
        return Grant("fine sleep", False, f"the kernel's timers tick every {format_ns(step * 1e9)}")
    return Grant("fine sleep", True, detail)


def _clock() -> Grant:
    info = time.get_clock_info("monotonic")
    fine = info.monotonic and info.resolution <= _FINE_RESOLUTION_S
    hint = "" if fine or sys.version_info >= (3, 13) else "; Python 3.13 has a finer one on Windows"
    return Grant(
        "monotonic clock",
        fine,
        f"{info.implementation}, steps of {format_ns(info.resolution * 1e9)}{hint}",
    )
