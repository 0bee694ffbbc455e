"""Progress of long work, told to whatever the caller likes to look at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from midstream._core.errors import ArgumentTypeError

__all__ = ["Bar", "Progress", "as_progress"]


class Bar(Protocol):
    """The part of ``tqdm.tqdm`` that is used; rich and others have it too."""

    total: Any

    def update(self, n: float = 1, /) -> Any: ...


Progress = Callable[[int, int], Any] | Bar


def as_progress(name: str, value: Progress | None) -> Callable[[int, int], object]:
    """Make one kind of callback of what the caller gave.

    Parameters
    ----------
    name : str
        Of the argument, for messages.
    value : callable, bar or None
        ``value(done, total)`` is called as work is done. An object with `total` and
        ``update`` (a tqdm bar) is given its `total` and then the increments; it is not closed.

    Raises
    ------
    ArgumentTypeError
        Neither of them.
    """
    if value is None:
        return lambda done, total: None
    update = getattr(value, "update", None)
    if callable(update) and hasattr(value, "total"):
        bar: Any = value
        told = 0

        def advance(done: int, total: int) -> None:
            nonlocal told
            if told == 0:
                bar.total = total
            bar.update(done - told)
            told = done

        return advance
    if callable(value):
        return value
    raise ArgumentTypeError(
        f"{name} must be callable(done, total) or a bar with total and update(n), "
        f"got {value!r} ({type(value).__name__})"
    )
