"""Sequence comparison and repetition.

`RunDetector`
    finds, online and exactly, that the end of a sequence has become periodic
`Run`
    what it finds: start, period, copies
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midstream._core.lazy import lazy_exports

if TYPE_CHECKING:
    from midstream.compare._run import RunDetector
    from midstream.compare.results import Run

__all__ = ["Run", "RunDetector"]

__getattr__, __dir__ = lazy_exports(__name__, {"Run": "results", "RunDetector": "_run"})
