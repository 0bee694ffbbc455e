"""What a gate says and is told: `Assignment`, `Evidence`, `Outcome`."""

from __future__ import annotations

import html
from typing import Any, Literal, NamedTuple, SupportsFloat

from midstream.meta._canonical import finite

__all__ = ["Assignment", "Evidence", "Loss", "Outcome", "SegmentEvidence", "Stage"]

#: Where a trial stands.
Stage = Literal["replay", "shadow", "canary", "promoted", "rejected", "demoted"]

#: A loss in [0, 1]; a pair of bounds where it is not known better; None where it is not known.
Loss = SupportsFloat | tuple[SupportsFloat, SupportsFloat] | None


class Assignment(NamedTuple):
    """Which of the two runs a stream.

    Attributes
    ----------
    stream : int
        Number of the stream.
    arm : str
        ``"champion"`` or ``"candidate"``.
    propensity : float
        Probability of this arm for this stream.
    """

    stream: int
    arm: Literal["champion", "candidate"]
    propensity: float


class SegmentEvidence(NamedTuple):
    """What is known of one segment.

    Attributes
    ----------
    segment : str
    n : int
        Streams of this segment.
    difference : float
        Mean of champion's loss minus candidate's: positive where the candidate is better.
    p_value : float
        Anytime-valid, of "the candidate is no worse here".
    """

    segment: str
    n: int
    difference: float
    p_value: float


class Evidence(NamedTuple):
    """What is known of a candidate in the stage where its trial stands.

    Attributes
    ----------
    stage : str
    n : int
        Streams (recordings, in replay) that count.
    difference : float
        Mean of champion's loss minus candidate's, positive where the candidate is better; NaN where
        there is none. What is censored counts at its worst for the candidate.
    lower, upper : float
        Anytime-valid bounds of the average expected difference (empirical Bernstein), each at level
        `alpha`. In replay, where evidence is biased, -1 and 1.
    alpha : float
        Level of the decision to come.
    log_capital, log_threshold : float
        Natural logarithms of the evidence for the stage's decision and of what it takes: promotion
        in shadow and canary, demotion where promoted.
    p_worse : float
        Anytime-valid p-value of "the candidate is no worse".
    segments : tuple of SegmentEvidence
        By first appearance.
    """

    stage: Stage
    n: int
    difference: float
    lower: float
    upper: float
    alpha: float
    log_capital: float
    log_threshold: float
    p_worse: float
    segments: tuple[SegmentEvidence, ...] = ()

    def __str__(self) -> str:
        if self.n == 0:
            return f"{self.stage}: no evidence yet"
        text = f"{self.stage}: better by {self.difference:+.4f} over {self.n}"
        if self.stage in ("shadow", "canary", "promoted"):
            text += f", within [{self.lower:.4f}, {self.upper:.4f}] at {self.alpha:.3g} a side"
            text += f", evidence {self.log_capital:.2f} of {self.log_threshold:.2f} nats"
        return text

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(name)}</td><td>{html.escape(text)}</td></tr>"
            for name, text in (
                ("stage", self.stage),
                ("n", str(self.n)),
                ("difference", f"{self.difference:+.4f}"),
                ("bounds", f"{self.lower:.4f} .. {self.upper:.4f}"),
                ("level", f"{self.alpha:.3g}"),
                ("evidence (nats)", f"{self.log_capital:.2f} of {self.log_threshold:.2f}"),
                ("p of no harm", f"{self.p_worse:.3g}"),
                *(
                    (f"segment {s.segment}", f"{s.difference:+.4f} over {s.n}, p {s.p_value:.3g}")
                    for s in self.segments
                ),
            )
        )
        return f"<table>{rows}</table>"


class Outcome(NamedTuple):
    """What one report made of a trial.

    Attributes
    ----------
    trial : int
        Number of the trial.
    before, stage : str
        Stage before the report and after it.
    reason : str
        Why the stage changed; empty where it did not.
    superseded : tuple of int
        Other trials that ended with it, since what they were compared with is no longer champion.
    evidence : Evidence or None
        At the change, before it took effect; None where there was none.
    """

    trial: int
    before: Stage
    stage: Stage
    reason: str = ""
    superseded: tuple[int, ...] = ()
    evidence: Evidence | None = None

    @property
    def changed(self) -> bool:
        """Whether the stage changed."""
        return self.before != self.stage

    def to_dict(self) -> dict[str, Any]:
        """What a ledger keeps: JSON types only; numbers that are not finite are None."""
        body: dict[str, Any] = {
            "trial": self.trial,
            "before": self.before,
            "stage": self.stage,
            "reason": self.reason,
            "superseded": list(self.superseded),
        }
        if self.evidence is not None:
            shown = self.evidence._asdict()
            shown["segments"] = [s._asdict() for s in self.evidence.segments]
            body["evidence"] = {k: finite(v) for k, v in shown.items()}
        return body
