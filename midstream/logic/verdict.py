"""What a monitor says of a trace so far."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Verdict"]


class Verdict(IntEnum):
    """What is known of a formula after part of a trace; ordered from false to true.

    Four-valued monitors answer all but ``INCONCLUSIVE``; three-valued ones ``FALSE``,
    ``INCONCLUSIVE`` and ``TRUE``. An unknown input can make a four-valued monitor inconclusive.

    Examples
    --------
    >>> from midstream.logic import Verdict
    >>> Verdict.PRESUMABLY_FALSE.final, Verdict.TRUE.final
    (False, True)
    >>> str(Verdict.PRESUMABLY_TRUE)
    'presumably true'
    """

    #: No continuation satisfies the formula.
    FALSE = 0
    #: The trace violates it if it ends now.
    PRESUMABLY_FALSE = 1
    #: Some continuations satisfy it, some violate it.
    INCONCLUSIVE = 2
    #: The trace satisfies it if it ends now.
    PRESUMABLY_TRUE = 3
    #: Every continuation satisfies it.
    TRUE = 4

    @property
    def final(self) -> bool:
        """Whether no event can change it any more."""
        return self in (Verdict.FALSE, Verdict.TRUE)

    def __str__(self) -> str:
        return self.name.lower().replace("_", " ")
