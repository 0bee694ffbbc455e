"""``midstream bench``: what the kernels take on this machine, beside the same in plain Python."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import typer

from midstream.apps.live import LiveText
from midstream.apps.output import Output
from midstream.apps.session import NOTHING
from midstream.apps.show import JsonShow

__all__ = ["NAMES", "bench"]

_ROUNDS = 5
_MOST_REPEATS = 1 << 20


class _Case(NamedTuple):
    name: str
    #: What one operation is, and how many of them a call does.
    unit: str
    calls: int
    ours: Callable[[], object]
    #: The same as a textbook has it, or Python's library; where there is such a thing.
    other: Callable[[], object] | None = None
    other_calls: int = 1


def bench(names: Sequence[str], *, seconds: float, json_lines: bool, color: bool) -> int:
    """Measure kernels, and the same computation in plain Python.

    Parameters
    ----------
    names : sequence of str
        Some of `NAMES`; empty for all.
    seconds : float
        For each of the two, at least.
    json_lines, color : bool
        How to tell.

    Returns
    -------
    int
        0.

    Raises
    ------
    typer.BadParameter
        A name is not known.

    Notes
    -----
    Of five rounds, the fastest counts: what else the machine does only makes it slower.
    """
    for name in names:
        if name not in NAMES:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(NAMES)}")
    output = Output(sys.stdout, "standard output")
    told = JsonShow(output) if json_lines else None
    live = LiveText(output, color=color)
    if told is None:
        live.line(f"{'':<12}{'one is':<24}{'midstream':>12}{'Python':>12}{'times':>9}", "dim")
    for case in _cases(names or NAMES):
        ours = _seconds(case.ours, seconds) / case.calls
        other = None
        if case.other is not None:
            other = _seconds(case.other, seconds) / case.other_calls
        if told is not None:
            row = {"name": case.name, "unit": case.unit, "seconds": ours}
            told.line({"type": "bench", **row, "python_seconds": other})
            continue
        live.add(f"{case.name:<12}{case.unit:<24}")
        live.add(f"{_time(ours):>12}", "bold")
        live.end_line("" if other is None else f"{_time(other):>12}{other / ours:>8,.0f}x")
    return NOTHING


def _seconds(call: Callable[[], object], least_s: float) -> float:
    """Seconds a call takes, at best."""
    repeats, best = 1, float("inf")
    call()
    for _ in range(_ROUNDS):
        while True:
            begun = perf_counter()
            for _ in range(repeats):
                call()
            took = perf_counter() - begun
            if took >= least_s / _ROUNDS or repeats >= _MOST_REPEATS:
                break
            repeats *= 2
        best = min(best, took / repeats)
    return best


def _time(seconds: float) -> str:
    for factor, unit in ((1e9, "ns"), (1e6, "µs"), (1e3, "ms")):
        if seconds * factor < 1000:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s"


def _cases(names: Sequence[str]) -> Iterator[_Case]:
    for name in names:
        yield KERNELS[name]()


def _dtw() -> _Case:
    from midstream.compare import dtw

    random = np.random.default_rng(1)
    x, y = random.standard_normal(1000), random.standard_normal(1000)
    a, b = x[:100].tolist(), y[:100].tolist()

    def textbook() -> float:
        row = [0.0] + [float("inf")] * len(b)
        for one in a:
            corner, row[0] = row[0], float("inf")
            for j, other in enumerate(b, 1):
                corner, row[j] = row[j], (one - other) ** 2 + min(corner, row[j], row[j - 1])
        return float(row[-1] ** 0.5)

    return _Case("dtw", "a cell of the matrix", 10**6, lambda: dtw(x, y), textbook, 10**4)


def _levenshtein() -> _Case:
    from midstream.compare import levenshtein

    letters = np.random.default_rng(2).integers(97, 123, (2, 4000), dtype=np.uint8)
    x, y = (bytes(row).decode() for row in letters)

    def textbook() -> int:
        row = list(range(101))
        for one in x[:100]:
            corner, row[0] = row[0], row[0] + 1
            for j, other in enumerate(y[:100], 1):
                best = min(corner + (one != other), row[j] + 1, row[j - 1] + 1)
                corner, row[j] = row[j], best
        return row[-1]

    def ours() -> int:
        return levenshtein(x, y)

    return _Case("levenshtein", "a cell of the matrix", 16 * 10**6, ours, textbook, 10**4)


def _rk4() -> _Case:
    from midstream.attractor import integrate, systems

    lorenz = systems.lorenz()
    start = [1.0, 1.0, 20.0]

    def slope(x: float, y: float, z: float) -> tuple[float, float, float]:
        return 10.0 * (y - x), x * (28.0 - z) - y, x * y - 8.0 / 3.0 * z

    def textbook() -> tuple[float, ...]:
        p = (1.0, 1.0, 20.0)
        h = 0.01
        for _ in range(100):
            k1 = slope(*p)
            k2 = slope(*(a + h / 2 * b for a, b in zip(p, k1, strict=True)))
            k3 = slope(*(a + h / 2 * b for a, b in zip(p, k2, strict=True)))
            k4 = slope(*(a + h * b for a, b in zip(p, k3, strict=True)))
            terms = zip(p, k1, k2, k3, k4, strict=True)
            p = tuple(a + h / 6 * (b + 2 * c + 2 * d + e) for a, b, c, d, e in terms)  # type: ignore[assignment]
        return p

    def ours() -> Any:
        return integrate(lorenz, start, dt=0.01, steps=100_000, every=100_000)

    return _Case("rk4", "a step of Lorenz", 100_000, ours, textbook, 100)


def _monitor() -> _Case:
    from midstream.logic import Monitor

    monitor = Monitor("G(request -> F answer)")
    letters = [{"request"}, set(), {"answer"}, set()] * 250

    def ours() -> None:
        monitor.reset()
        for letter in letters:
            monitor.step(letter)

    return _Case("monitor", "a step of an LTL monitor", 1000, ours)


def _queue() -> _Case:
    from queue import Queue

    from midstream.scheduler import RingQueue

    ring: RingQueue[int] = RingQueue(1024)
    library: Queue[int] = Queue(1024)

    def ours() -> None:
        for number in range(1000):
            ring.try_put(number)
            ring.try_get()

    def pythons() -> None:
        for number in range(1000):
            library.put_nowait(number)
            library.get_nowait()

    return _Case("queue", "in and out, many threads", 1000, ours, pythons, 1000)


def _loops() -> _Case:
    from midstream.compare import RunDetector

    symbols = [int(n) for n in np.random.default_rng(3).integers(0, 500, 1000)]
    detector = RunDetector()

    def ours() -> None:
        for symbol in symbols:
            detector.update(symbol)

    def textbook() -> int:
        seen: list[int] = []
        found = 0
        for symbol in symbols[:200]:
            seen.append(symbol)
            for period in range(1, len(seen) // 3 + 1):  # three copies at the tail
                tail = seen[-period:]
                found += tail == seen[-2 * period : -period] == seen[-3 * period : -2 * period]
        return found

    return _Case("loops", "a token, any period", 1000, ours, textbook, 200)


def _guard() -> _Case:
    from midstream.stream import Guard
    from midstream.stream.simulating import simulated_events

    events = [event for event in simulated_events("story", tokens=1000) if event.kind == "text"]

    def ours() -> None:
        guard = Guard()
        for event in events:
            guard.take(event)

    return _Case("guard", "a token, all detectors", len(events), ours)


KERNELS: dict[str, Callable[[], _Case]] = {
    "dtw": _dtw,
    "guard": _guard,
    "levenshtein": _levenshtein,
    "loops": _loops,
    "monitor": _monitor,
    "queue": _queue,
    "rk4": _rk4,
}
#: What can be measured.
NAMES: tuple[str, ...] = tuple(KERNELS)
