"""Pictures, drawn with matplotlib: ``pip install "midstream[plot]"``.

`gantt`
    a schedule, as `midstream.scheduler.simulate` computes it
`phase_portrait`, `spectrum_convergence`, `bifurcation_diagram`, `ftle_map`
    trajectories, exponents, orbit diagrams and fields of `midstream.attractor`
`recurrence_plot`, `delay_choice`
    when a series comes back to itself; how a delay was chosen
`automaton_graph`, `verdict_timeline`
    automata of `midstream.logic`, and what a formula says of a trace as it unfolds
`grammar_graph`
    what is made of what: rules of a grammar, patterns of levels
`versions`
    what a loop of `midstream.meta` changed over time, and on which evidence

matplotlib is imported when something is drawn, not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midstream._core.lazy import lazy_exports

if TYPE_CHECKING:
    from midstream.plot.grammars import grammar_graph
    from midstream.plot.ledgers import versions
    from midstream.plot.orbits import (
        bifurcation_diagram,
        ftle_map,
        phase_portrait,
        spectrum_convergence,
    )
    from midstream.plot.schedules import gantt
    from midstream.plot.series import delay_choice, recurrence_plot
    from midstream.plot.temporal import automaton_graph, verdict_timeline

__all__ = [
    "automaton_graph",
    "bifurcation_diagram",
    "delay_choice",
    "ftle_map",
    "gantt",
    "grammar_graph",
    "phase_portrait",
    "recurrence_plot",
    "spectrum_convergence",
    "verdict_timeline",
    "versions",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "automaton_graph": "temporal",
        "bifurcation_diagram": "orbits",
        "delay_choice": "series",
        "ftle_map": "orbits",
        "gantt": "schedules",
        "grammar_graph": "grammars",
        "phase_portrait": "orbits",
        "recurrence_plot": "series",
        "spectrum_convergence": "orbits",
        "verdict_timeline": "temporal",
        "versions": "ledgers",
    },
)
