"""What alarms of drift are worth, beside those of a detector that does not look."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from midstream._core.errors import ArgumentValueError
from midstream._core.validate import check_int, check_iterable
from midstream.meta.drift import MOST_SAMPLES

__all__ = ["DriftScore", "evaluate_drift"]


@dataclass(frozen=True, slots=True)
class DriftScore:
    """What alarms are worth: those found, those missed, and what guessing would have scored.

    Attributes
    ----------
    n_changes, n_found, n_false : int
        Changes; those with an alarm in time; alarms that belong to none.
    delays : tuple of int or None
        Samples from each change to its alarm, None where it was missed.
    precision, recall, f1 : float
        ``precision`` is 1 where there was no alarm, ``recall`` is 1 where there was no change.
    false_rate : float
        False alarms a sample that lies in no change's tolerance.
    guess_f1 : float
        Best `f1` that alarms at a fixed distance reach on the same changes, on average over where
        they begin, whatever the distance: never, every sample, and what lies between.
    """

    n_changes: int
    n_found: int
    n_false: int
    delays: tuple[int | None, ...]
    precision: float
    recall: float
    f1: float
    false_rate: float
    guess_f1: float

    @property
    def mean_delay(self) -> float:
        """Mean of the delays of changes found, NaN where none was."""
        found = [delay for delay in self.delays if delay is not None]
        return sum(found) / len(found) if found else math.nan

    @property
    def skill(self) -> float:
        """`f1` above guessing, as a share of what is left above it: 0 or less is no detector.

        1 is perfect. Where silence is perfect, what `f1` lacks.
        """
        above = self.f1 - self.guess_f1
        return above / (1 - self.guess_f1) if self.guess_f1 < 1 else above


def evaluate_drift(
    alarms: Iterable[int], changes: Iterable[int], n: int, *, tolerance: int
) -> DriftScore:
    """Compare alarms with the changes that there were.

    Parameters
    ----------
    alarms : iterable of int
        Indices of the samples that were alarms.
    changes : iterable of int
        Indices of the first samples after each change.
    n : int
        Samples in all.
    tolerance : int
        Samples after a change, its first one included, in which an alarm finds it; the next change
        ends it.

    Returns
    -------
    DriftScore

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An index is none, or stands twice; there is no sample.

    Notes
    -----
    The first alarm in time finds a change; every other one is false, so that alarming again and
    again scores worse, not better. Where changes are dense, even alarms at a fixed distance score
    high: `DriftScore.guess_f1` is the best of them, and `skill` what is left. A detector without
    an alarm has `f1` 0 where there were changes, and 1 where there were none.

    Examples
    --------
    >>> from midstream.meta.drift_scores import evaluate_drift
    >>> score = evaluate_drift([1030, 1500, 2010], [1000, 2000], 3000, tolerance=100)
    >>> score.n_found, score.n_false, score.delays, round(score.f1, 2), round(score.guess_f1, 2)
    (2, 1, (30, 10), 0.8, 0.12)
    """
    n = check_int("n", n, low=1, high=MOST_SAMPLES)
    tolerance = check_int("tolerance", tolerance, low=1, high=n)
    alarms, changes = _indices("alarms", alarms, n), _indices("changes", changes, n)
    ends = [min(c + tolerance, d) for c, d in zip(changes, [*changes, n][1:], strict=True)]
    windows = list(zip(changes, ends, strict=True))
    delays: list[int | None] = []
    at = 0
    for start, end in windows:
        while at < len(alarms) and alarms[at] < start:
            at += 1
        found = at < len(alarms) and alarms[at] < end
        delays.append(alarms[at] - start if found else None)
    n_found = sum(delay is not None for delay in delays)
    n_false = len(alarms) - n_found
    quiet = n - sum(end - start for start, end in windows)
    # False alarms inside a window are alarms, too, but no sample of quiet has them.
    in_quiet = len(alarms) - sum(_between(alarms, start, end) for start, end in windows)
    return DriftScore(
        len(changes),
        n_found,
        n_false,
        tuple(delays),
        n_found / len(alarms) if alarms else 1.0,
        n_found / len(changes) if changes else 1.0,
        _f1(n_found, len(alarms), len(changes)),
        in_quiet / quiet if quiet else 0.0,
        _guess(windows, n),
    )


def _f1(n_found: int, n_alarms: int, n_changes: int) -> float:
    both = n_alarms + n_changes
    return 2 * n_found / both if both else 1.0


def _between(sorted_indices: list[int], start: int, end: int) -> int:
    return int(np.searchsorted(sorted_indices, end) - np.searchsorted(sorted_indices, start))


def _guess(windows: list[tuple[int, int]], n: int) -> float:
    """Best F1 on average of an alarm every `step` samples, whenever it begins, or of none."""
    best = _f1(0, 0, len(windows))
    widths = np.array([end - start for start, end in windows], np.float64)
    for step in np.unique(np.r_[np.geomspace(1.0, n, 200), widths]).tolist():
        hits = float(np.minimum(1.0, widths / step).sum())
        best = max(best, 2.0 * hits / (n / step + len(windows)))
    return best


def _indices(name: str, values: Iterable[int], n: int) -> list[int]:
    indices = sorted(
        check_int(f"an index in {name}", value, low=0, high=n - 1)
        for value in check_iterable(name, values)
    )
    for before, after in pairwise(indices):
        if before == after:
            raise ArgumentValueError(f"{name} must be different indices, got {after} twice")
    return indices
