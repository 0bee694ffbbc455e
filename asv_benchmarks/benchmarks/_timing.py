"""Two implementations timed in turns, so that whatever slows the machine slows both."""

from __future__ import annotations

import gc
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from statistics import median, quantiles
from typing import Any, ClassVar, NamedTuple

from ._keeping import keep_comparison

#: Items in the data of a benchmark.
SIZE = int(os.environ.get("MIDSTREAM_BENCH_SIZE", "100000"))
#: Whether comparisons are only tried: their figures are then good for nothing.
QUICK = bool(os.environ.get("MIDSTREAM_BENCH_QUICK"))


class Comparison(NamedTuple):
    """Medians of one call's time in seconds, and the peer's time over ours with its quartiles."""

    ours_s: float
    peer_s: float
    ratio: float
    low: float
    high: float


def compare(
    ours: Callable[[], Any],
    peer: Callable[[], Any],
    *,
    repeats: int = 11,
    sample_s: float = 0.01,
) -> Comparison:
    """Time both in turns, `repeats` times, each sample of enough calls to last `sample_s`.

    The ratio is the median over the pairs, which a pause in one of them cannot move.
    """
    if QUICK:
        repeats, sample_s = 2, 0.0
    functions = (ours, peer)
    calls = [_calls_that_last(function, sample_s) for function in functions]
    samples: tuple[list[float], list[float]] = ([], [])
    collecting = gc.isenabled()
    gc.disable()
    try:
        for turn in range(repeats):
            # Swap who goes first: a warm cache would always favour the second.
            for who in (0, 1) if turn % 2 == 0 else (1, 0):
                samples[who].append(_seconds(functions[who], calls[who]) / calls[who])
    finally:
        if collecting:
            gc.enable()
    ratios = [peer_s / ours_s for ours_s, peer_s in zip(*samples, strict=True)]
    low, _, high = quantiles(ratios, n=4)
    return Comparison(median(samples[0]), median(samples[1]), median(ratios), low, high)


def _seconds(function: Callable[[], Any], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return time.perf_counter() - start


def _calls_that_last(function: Callable[[], Any], sample_s: float) -> int:
    function()
    calls = 1
    while (seconds := _seconds(function, calls)) < sample_s:
        calls = max(2 * calls, int(calls * sample_s / max(seconds, 1e-9)))
    return calls


class Peer(ABC):
    """A benchmark of `ours` against `peer`; both do the same work on data that `setup` made.

    Abstract, or asv would run this class too; likewise, what several benchmarks share goes into a
    class whose name starts with an underscore.
    """

    unit = "x"
    #: What the peer is called in the table.
    library: ClassVar[str]
    #: Samples of each side; fewer where one call takes seconds.
    repeats: ClassVar[int] = 11

    @abstractmethod
    def setup(self) -> None:
        """Make the data, and assert that both sides give the same answer.

        Raises NotImplementedError where the peer is not installed: asv and ``peers.py`` skip it.
        """

    def teardown(self) -> None:  # noqa: B027 - most leave nothing behind
        """End what `setup` started."""

    @abstractmethod
    def ours(self) -> Any: ...

    @abstractmethod
    def peer(self) -> Any: ...

    def measure(self) -> Comparison:
        """Compare both; another measure than the time of a call overrides this."""
        return compare(self.ours, self.peer, repeats=self.repeats)

    def track_ratio(self) -> float:
        found = self.measure()
        name = f"{type(self).__module__.rpartition('.')[2]}.{type(self).__name__}"
        keep_comparison(name, self.library, **found._asdict())
        return found.ratio
