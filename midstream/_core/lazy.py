"""PEP 562 for packages: names load when first used, so that imports stay cheap."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
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
        Public name -> module below `package` that defines it; ``"."`` where the name is a module
        itself.

    Returns
    -------
    (callable, callable)
        ``__getattr__`` (keeps what it loads in the package's namespace) and ``__dir__``. The
        former raises ModuleNotFoundError with a way out where a source tree was imported that is
        not built.
    """

    def load(name: str) -> Any:
        try:
            module = exports[name]
        except KeyError:
            raise AttributeError(f"module {package!r} has no attribute {name!r}") from None
        try:
            loaded = importlib.import_module(f"{package}.{name if module == '.' else module}")
        except ModuleNotFoundError as missing:
            hint = _unbuilt(missing.name or "")
            if hint is None:
                raise
            raise ModuleNotFoundError(hint, name=missing.name) from missing
        value = loaded if module == "." else getattr(loaded, name)
        vars(importlib.import_module(package))[name] = value
        return value

    def names() -> list[str]:
        return sorted(exports)

    return load, names


def _unbuilt(name: str, package: Path = Path(__file__).parents[1]) -> str | None:
    """Say what to do where the missing module is one that this source tree has not compiled."""
    root = package.parent
    source = root.joinpath(*name.split(".")).with_suffix(".pyx")
    # csrc and setup.py are never installed.
    if not (source.is_file() and (root / "csrc").is_dir() and (root / "setup.py").is_file()):
        return None
    return (
        f"{name} is not compiled in the source tree {root}, which hides an installed midstream:"
        " run from another folder (or with `python -P`), or build it with `pip install -e .`"
    )
