"""PEP 562 for packages: names load when first used, so that imports stay cheap."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["lazy_exports"]


def lazy_exports(
    package: str, exports: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make a package's ``__getattr__`` and ``__dir__``.

    Parameters
    ----------
    package : str
        ``__name__`` of the package.
    exports : Mapping of str to str
        Public name -> module below `package` that defines it.

    Returns
    -------
    (callable, callable)
        ``__getattr__`` (keeps what it loads in the package's namespace) and ``__dir__``.
    """

    def load(name: str) -> Any:
        try:
            module = exports[name]
        except KeyError:
            raise AttributeError(f"module {package!r} has no attribute {name!r}") from None
        value = getattr(importlib.import_module(f"{package}.{module}"), name)
        vars(importlib.import_module(package))[name] = value
        return value

    def names() -> list[str]:
        return sorted(exports)

    return load, names
