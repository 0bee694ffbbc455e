"""Words around numbers."""

from __future__ import annotations

__all__ = ["counted"]


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, in the plural unless it is 1.

    Parameters
    ----------
    count : int
    noun : str
        In the singular, of those whose plural has an ``s`` more.

    Examples
    --------
    >>> counted(1, "event"), counted(1200, "event")
    ('1 event', '1,200 events')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
