"""`MetaKnowledge`: a pattern, with bounds on how often it comes back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from midstream._core.errors import ArgumentTypeError
from midstream.meta import _patterns as columns
from midstream.meta.symbols import Symbols

__all__ = ["MetaKnowledge", "Seen"]


class Seen(NamedTuple):
    """Where a pattern occurred: session, unit of its level, and symbol of its level, from 0."""

    session: int
    unit: int
    position: int


@dataclass(frozen=True)
class MetaKnowledge:
    """A pattern and what is known of it; made by `Levels.knowledge`.

    Attributes
    ----------
    level : int
        1 for patterns of symbols, 2 for patterns of these, and so on.
    name : str
        32 hexadecimal digits, made of the content alone: the same in every process and for ever. At
        level 1 it is the name of the `Grammar`'s rule, ``Rule.name.hex()``.
    pattern : tuple of int or str
        Its symbols: an int is a symbol that the user fed, a str names a pattern of a lower level.
    expansion : tuple of int
        The symbols that the user fed, of which it is made in the end; the first 4096.
    length : int
        How many these are altogether.
    support : int
        Occurrences that do not overlap: those in memory when the pattern was born, and all in units
        closed since, here and in what was merged.
    retained : int
        Occurrences among the newest symbols of closed units, as many as the level's memory holds.
    units : int
        Units closed since its birth in which it occurs, out of `watched`.
    watched : int
        Units closed since its birth.
    sessions : int
        Sessions closed that began after its birth in which it occurs, out of `sessions_watched`.
    sessions_watched : int
        Sessions closed that began after its birth.
    seen : tuple of Seen
        The first place and the eight latest, in order; of this process only.
    trials : int
        Units since its birth with an occurrence after which `horizon` more units have closed.
    hits : int
        Of these, the units after which it occurred again within `horizon` units.
    recurrence_lower : float
        Lower confidence bound on the probability of that; see `Levels`.
    prevalence_lower : float
        Lower confidence bound on the probability that a unit holds the pattern.
    sessions_lower : float
        Lower confidence bound on the probability that a session holds it.
    horizon : int
        In units of the level.
    confidence : float
        Of each bound.
    gain_bits : float
        Bits saved in retained memory if each occurrence were one symbol:
        ``(retained * (n - 1) - (n + 1)) * log2(d + 1)`` for a pattern of n symbols where d
        different ones are in memory.
    age : int
        Units of the level closed here since its birth.
    """

    level: int
    name: str
    pattern: tuple[int | str, ...]
    expansion: tuple[int, ...]
    length: int
    support: int
    retained: int
    units: int
    watched: int
    sessions: int
    sessions_watched: int
    seen: tuple[Seen, ...]
    trials: int
    hits: int
    recurrence_lower: float
    prevalence_lower: float
    sessions_lower: float
    horizon: int
    confidence: float
    gain_bits: float
    age: int

    @property
    def recurrence(self) -> float | None:
        """Share of trials after which it recurred; None while there is no trial."""
        return self.hits / self.trials if self.trials else None

    @property
    def prevalence(self) -> float | None:
        """Share of the units since its birth that hold it; None while there is none."""
        return self.units / self.watched if self.watched else None

    def labels(self, symbols: Symbols) -> tuple[Any, ...]:
        """The expansion as what the symbols stand for.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            Not a table; it forgot one of them.
        """
        if not isinstance(symbols, Symbols):
            raise ArgumentTypeError(f"symbols must be Symbols, got {type(symbols).__name__}")
        return tuple(symbols.decode(self.expansion))

    def __repr__(self) -> str:
        shown = " ".join(
            item[:8] if isinstance(item, str) else str(item) for item in self.pattern[:12]
        )
        more = " ..." if len(self.pattern) > 12 else ""
        return (
            f"<MetaKnowledge {self.name[:8]} of level {self.level}: {shown}{more}, seen "
            f"{self.support} times, recurs in at least {100 * self.recurrence_lower:.0f} %>"
        )

    def describe(self, symbols: Symbols | None = None) -> str:
        """One sentence, with labels where a table is given."""
        labels: Sequence[Any] = self.expansion if symbols is None else self.labels(symbols)
        shown = " ".join(str(label) for label in labels[:12])
        if self.length > 12:
            shown += f" ... ({self.length})"
        unit = unit_name(self.level)
        told = f"{shown}: seen {self.support} times"
        if self.watched:
            told += (
                f", in {self.units} of {self.watched} {unit}s"
                f" (at least {math.floor(100 * self.prevalence_lower)} %)"
            )
        if self.sessions_watched and unit != "session":
            told += (
                f" and {self.sessions} of {self.sessions_watched} sessions"
                f" (at least {math.floor(100 * self.sessions_lower)} %)"
            )
        if self.trials:
            told += (
                f"; comes again within {self.horizon} {unit}s in"
                f" {round(100 * self.hits / self.trials)} %"
                f" (at least {math.floor(100 * self.recurrence_lower)} %) of {self.trials} cases"
            )
        return told


def unit_name(level: int) -> str:
    return {1: "phrase", 2: "turn", 3: "session"}.get(level, f"level-{level} unit")


def places(row: NDArray[np.int64]) -> tuple[Seen, ...]:
    """The first place and the latest ones, in order."""
    n = int(row[columns.PLACES])
    if n == 0:
        return ()
    kept = min(n, columns.SEEN)
    first = Seen(*row[columns.FIRST : columns.FIRST + 3].tolist())
    recent = []
    for place in range(n - kept, n):
        at = columns.RECENT + 3 * (place % columns.SEEN)
        recent.append(Seen(*row[at : at + 3].tolist()))
    return tuple(recent) if recent[0] == first else (first, *recent)


def lower_bounds(
    hits: NDArray[np.int64], trials: NDArray[np.int64], alpha: float
) -> NDArray[np.float64]:
    """Clopper and Pearson's lower bound at level 1 - alpha; 0 without hits."""
    some = hits > 0
    result = np.zeros(hits.shape)
    result[some] = special.betaincinv(hits[some], (trials - hits)[some] + 1, alpha)
    return result


def anytime_lower_bounds(
    hits: NDArray[np.int64], trials: NDArray[np.int64], alpha: float
) -> NDArray[np.float64]:
    """The smallest p that Robbins' mixture has not refuted at level 1 - alpha."""
    misses = trials - hits
    wealth = special.betaln(hits + 0.5, misses + 0.5) - special.betaln(0.5, 0.5)
    low = np.zeros(hits.shape)
    high = hits / np.maximum(trials, 1)
    # The mixture's wealth against p falls from p = 0 to the share of hits; 60 halvings are exact.
    for _ in range(60):
        middle = (low + high) / 2
        against = wealth - special.xlogy(hits, middle) - special.xlog1py(misses, -middle)
        refuted = against >= -math.log(alpha)
        low = np.where(refuted, middle, low)
        high = np.where(refuted, high, middle)
    return np.where(hits > 0, low, 0.0)
