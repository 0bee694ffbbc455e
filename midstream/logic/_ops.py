"""Operators of temporal logic, with the codes of csrc/ms_logic.h."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Op"]


class Op(IntEnum):
    """What a node of a formula is.

    ``NEXT`` is weak (true at the last position), ``YESTERDAY`` strong (false at the first).
    """

    FALSE = 0
    TRUE = 1
    ATOM = 2
    PREDICATE = 3
    NOT = 4
    AND = 5
    OR = 6
    XOR = 7
    IFF = 8
    IMPLIES = 9
    NEXT = 10
    STRONG_NEXT = 11
    EVENTUALLY = 12
    ALWAYS = 13
    UNTIL = 14
    WEAK_UNTIL = 15
    RELEASE = 16
    STRONG_RELEASE = 17
    YESTERDAY = 18
    WEAK_YESTERDAY = 19
    ONCE = 20
    HISTORICALLY = 21
    SINCE = 22
    TRIGGER = 23
