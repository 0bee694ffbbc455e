"""Pictures, drawn with matplotlib: ``pip install "midstream[plot]"``.

`gantt`
    a schedule, as `midstream.scheduler.simulate` computes it

matplotlib is imported when something is drawn, not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midstream._core.lazy import lazy_exports

if TYPE_CHECKING:
    from midstream.plot.schedules import gantt

__all__ = ["gantt"]

__getattr__, __dir__ = lazy_exports(__name__, {"gantt": "schedules"})
