"""`needs_extra`: says which extra brings what is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["needs_extra"]


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Have what a block imports come with an extra of midstream.

    Parameters
    ----------
    extra : str

    Raises
    ------
    ImportError
        A package is not installed: says which, and which extra brings it. What midstream itself
        lacks, as in a tree that is not built, is told as it is: no extra brings it.

    Examples
    --------
    >>> with needs_extra("serve"):
    ...     import nothing_of_this_name
    Traceback (most recent call last):
    ImportError: nothing_of_this_name is not installed: pip install "midstream[serve]"
    """
    try:
        yield
    except ModuleNotFoundError as error:
        name = error.name or ""
        if name.partition(".")[0] == "midstream":
            raise
        raise ImportError(f'{name} is not installed: pip install "midstream[{extra}]"') from None
