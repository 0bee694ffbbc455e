"""Time and its accounts: `Histogram`, a high-dynamic-range histogram."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midstream._core.lazy import lazy_exports

if TYPE_CHECKING:
    from midstream.scheduler._histogram import Histogram

__all__ = ["Histogram"]

__getattr__, __dir__ = lazy_exports(__name__, {"Histogram": "_histogram"})
