"""Pictures, drawn with matplotlib: ``pip install "midstream[plot]"``.

`gantt`
    a schedule, as `midstream.scheduler.simulate` computes it
`phase_portrait`, `spectrum_convergence`, `bifurcation_diagram`, `ftle_map`
    trajectories, exponents, orbit diagrams and fields of `midstream.attractor`
`recurrence_plot`, `delay_choice`
    what is measured from series: recurrences, and the choice of an embedding delay

matplotlib is imported when something is drawn, not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midstream._core.lazy import lazy_exports

if TYPE_CHECKING:
    from midstream.plot.orbits import (
        bifurcation_diagram,
        ftle_map,
        phase_portrait,
        spectrum_convergence,
    )
    from midstream.plot.schedules import gantt
    from midstream.plot.series import delay_choice, recurrence_plot

__all__ = [
    "bifurcation_diagram",
    "ftle_map",
    "gantt",
    "phase_portrait",
    "spectrum_convergence",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "bifurcation_diagram": "orbits",
        "ftle_map": "orbits",
        "gantt": "schedules",
        "phase_portrait": "orbits",
        "spectrum_convergence": "orbits",
    },
__all__ = ["delay_choice", "gantt", "recurrence_plot"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {"delay_choice": "series", "gantt": "schedules", "recurrence_plot": "series"},
)
