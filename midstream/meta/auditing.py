"""`AuditPlan`: when a stop is only noted, so that what it prevented is known."""

from __future__ import annotations

from dataclasses import dataclass

from midstream._core.validate import check_int, check_real

__all__ = ["AuditPlan"]


@dataclass(frozen=True, slots=True)
class AuditPlan:
    """When a stop is not acted upon, to learn whether it was right.

    A stream that was stopped never tells what would have come. In an audited one the stop is only
    noted, so that every setting's loss is known exactly. Audits come in bursts, after signs that
    stops are wrong: the signal ``"doubt"`` of `Session.finish`, in [0, 1], is summed by a CUSUM.

    Parameters
    ----------
    probability : float
        That a stream of a burst is audited; 0 for never.
    streams : int
        Length of a burst.
    slack, limit : float
        A burst begins when ``w = max(0, w + doubt - slack)`` passes `limit`.
    pause : int
        Streams without a burst after one that promoted nothing; doubled after each further one.

    Notes
    -----
    Audits all the time would cost more than they tell: where loops are common, one stream in a
    hundred is some 5 % of the loss.
    """

    probability: float = 0.7
    streams: int = 30
    slack: float = 0.2
    limit: float = 3.0
    pause: int = 30

    def __post_init__(self) -> None:
        for name, value, high in (
            ("probability", self.probability, 1.0),
            ("slack", self.slack, 1.0),
            ("limit", self.limit, 1e9),
        ):
            object.__setattr__(self, name, check_real(name, value, low=0.0, high=high))
        object.__setattr__(self, "streams", check_int("streams", self.streams, low=1))
        object.__setattr__(self, "pause", check_int("pause", self.pause, low=0, high=1 << 30))
