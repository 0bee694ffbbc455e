"""Libraries of the extra ``media``, loaded late."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["library"]


def library(module: str, purpose: str, install: str = '"midstream[media]"') -> Any:
    """Return a module of a library that not everybody has.

    Parameters
    ----------
    module : str
        Its name.
    purpose : str
        What needs it, for the message.
    install : str
        What to hand to ``pip install``.

    Raises
    ------
    ModuleNotFoundError
        It is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as missing:
        top = module.partition(".")[0]
        if (missing.name or "").partition(".")[0] != top:
            raise
        raise ModuleNotFoundError(
            f"{purpose} needs {top}: pip install {install}", name=missing.name
        ) from missing
