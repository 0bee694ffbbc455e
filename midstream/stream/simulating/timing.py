"""When the pieces of a simulated answer arrive."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from random import Random

from midstream._core.clock import ns_from_s
from midstream._core.validate import check_real

__all__ = ["Timing"]

_BURST_TOKENS = 8


@dataclass(frozen=True, slots=True)
class Timing:
    """How fast a simulated model writes, and how evenly what it writes arrives.

    Parameters
    ----------
    first_s : float, default 0.4
        Median time to the first chunk, in seconds.
    tokens_per_s : float, default 60.0
        Mean rate after it.
    spread : float, default 0.35
        Standard deviation of the logarithm of gaps, and of the time to the first chunk: 0 is a
        metronome, 1 a bad network.
    burst_share : float, default 0.02
        Share of tokens at which the network holds back what follows, to deliver up to 8 tokens at
        once.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        A number is out of range.

    Examples
    --------
    >>> arrivals = Timing(first_s=0.5, tokens_per_s=100.0, spread=0.0, burst_share=0.0)
    >>> ticks = arrivals.ticks(Random(1))
    >>> [next(ticks) for _ in range(3)]
    [500000000, 510000000, 520000000]
    """

    first_s: float = 0.4
    tokens_per_s: float = 60.0
    spread: float = 0.35
    burst_share: float = 0.02

    def __post_init__(self) -> None:
        limits = {
            "first_s": (0.0, 3600.0),
            "tokens_per_s": (0.01, 1e6),
            "spread": (0.0, 3.0),
            "burst_share": (0.0, 1.0),
        }
        for field in fields(self):
            low, high = limits[field.name]
            check_real(field.name, getattr(self, field.name), low=low, high=high)

    def ticks(self, random: Random) -> Iterator[int]:
        """Yield when each token arrives, in nanoseconds since the request; endless.

        Tokens of one burst arrive at the same nanosecond.
        """
        spread = self.spread
        # The median of a log-normal distribution with this mean.
        gap_s = math.exp(-spread * spread / 2) / self.tokens_per_s
        t_s = self.first_s * math.exp(random.gauss(0.0, spread))
        held = 0
        while True:
            yield ns_from_s(t_s)
            gap = gap_s * math.exp(random.gauss(0.0, spread))
            if held:
                held -= 1
                continue
            if random.random() < self.burst_share:
                held = int(random.random() * _BURST_TOKENS)
                gap *= held + 1  # the burst comes when its last token would have come
            t_s += gap
