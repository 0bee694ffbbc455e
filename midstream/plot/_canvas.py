"""What all pictures share: matplotlib, loaded late; axes to draw on; the colour of text."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["axes", "matplotlib", "text_color"]


def matplotlib(module: str) -> Any:
    """A module of matplotlib.

    Raises
    ------
    ModuleNotFoundError
        It is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(f"matplotlib.{module}")
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] != "matplotlib":
            raise
        raise ModuleNotFoundError(
            'pictures need matplotlib: pip install "midstream[plot]"', name=missing.name
        ) from missing


def axes(ax: Axes | None, **options: Any) -> Axes:
    """The axes given, or those of a new figure with these options of ``pyplot.subplots``."""
    if ax is not None:
        return ax
    made: Axes = matplotlib("pyplot").subplots(layout="constrained", **options)[1]
    return made


def text_color() -> Any:
    """The colour of text in the style in use."""
    return matplotlib("pyplot").rcParams["text.color"]
