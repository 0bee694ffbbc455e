"""Names that are given up: they go on working for two minor releases, and warn.

What a public name means never changes; where another name, another order of arguments or another
type would be better, the better one is added and the old one warns with a DeprecationWarning that
says what to write instead and since when.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar, cast

from midstream._core.errors import ArgumentTypeError

__all__ = ["deprecated", "renamed_arguments", "warn_deprecated"]

F = TypeVar("F", bound=Callable[..., Any])


def warn_deprecated(old: str, instead: str, since: str, *, stacklevel: int = 3) -> None:
    """Warn that `old` was given up.

    Parameters
    ----------
    old, instead : str
        What was used, and what to use, as one writes them.
    since : str
        The release from which on it warns.
    stacklevel : int, default 3
        Whose line the warning names: 3 is that of the caller's caller.
    """
    warnings.warn(
        f"{old} is deprecated since midstream {since}: use {instead}",
        DeprecationWarning,
        stacklevel=stacklevel,
    )


def deprecated(instead: str, since: str) -> Callable[[F], F]:
    """Have a function or method warn at each call.

    Parameters
    ----------
    instead, since : str
        As for `warn_deprecated`.

    Returns
    -------
    callable
        The decorator. What it returns has `__deprecated__`, as PEP 702 names it.

    Examples
    --------
    >>> import warnings
    >>> @deprecated("total()", "1.2")
    ... def tally(values):
    ...     return sum(values)
    >>> with warnings.catch_warnings(record=True) as seen:
    ...     warnings.simplefilter("always")
    ...     value = tally([1, 2])
    >>> value, str(seen[0].message)
    (3, 'tally is deprecated since midstream 1.2: use total()')
    """

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            warn_deprecated(function.__qualname__, instead, since)
            return function(*args, **kwargs)

        wrapper.__deprecated__ = instead  # type: ignore[attr-defined]
        return cast("F", wrapper)

    return decorate


def renamed_arguments(since: str, **names: str) -> Callable[[F], F]:
    """Have a function take arguments by their old names too, with a warning.

    Parameters
    ----------
    since : str
        As for `warn_deprecated`.
    **names : str
        Old name -> new name.

    Returns
    -------
    callable
        The decorator. The signature that `inspect` finds has the new names alone. A call that uses
        no old name costs 0.1 us more.

    Examples
    --------
    >>> import warnings
    >>> @renamed_arguments("1.2", n="count")
    ... def stars(count):
    ...     return "*" * count
    >>> with warnings.catch_warnings(record=True) as seen:
    ...     warnings.simplefilter("always")
    ...     value = stars(n=3)
    >>> value, str(seen[0].message)
    ('***', "stars's argument n is deprecated since midstream 1.2: use count")
    """
    old_names = frozenset(names)

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if not old_names.isdisjoint(kwargs):
                for old in sorted(old_names.intersection(kwargs)):
                    new = names[old]
                    if new in kwargs:
                        raise ArgumentTypeError(
                            f"{new} must be given once, got it as {old}={kwargs[old]!r} too"
                        )
                    warn_deprecated(f"{function.__qualname__}'s argument {old}", new, since)
                    kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return cast("F", wrapper)

    return decorate
