"""`Priority`: how urgent a task is."""

from __future__ import annotations

import enum

__all__ = ["Priority"]


class Priority(enum.IntEnum):
    """Names for five of the 64 priorities; higher is served first.

    Any integer from 0 to 63 is a priority, so there is room between and around these.

    Examples
    --------
    >>> from midstream.scheduler import Priority
    >>> Priority.CRITICAL > Priority.NORMAL
    True
    """

    BACKGROUND = 10
    LOW = 20
    NORMAL = 30
    HIGH = 40
    CRITICAL = 50
