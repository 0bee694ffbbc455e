"""Dynamics: integrate, measure, recognise, with error bars.

`System`, `systems`
    flows and maps as text, callables or C functions; a hundred built-in ones
`integrate`, `ensemble`, `solve`
    trajectories: one, many, with adaptive steps
`lyapunov_spectrum`, `kaplan_yorke`
    exponents from equations
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midstream._core.lazy import lazy_exports

if TYPE_CHECKING:
    from midstream.attractor import systems
    from midstream.attractor.estimate import Estimate, Fit
    from midstream.attractor.integration import Solution, ensemble, integrate, solve
    from midstream.attractor.spectrum import Spectrum, kaplan_yorke, lyapunov_spectrum
    from midstream.attractor.system import System

__all__ = [
    "Estimate",
    "Fit",
    "Solution",
    "Spectrum",
    "System",
    "ensemble",
    "integrate",
    "kaplan_yorke",
    "lyapunov_spectrum",
    "solve",
    "systems",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Estimate": "estimate",
        "Fit": "estimate",
        "Solution": "integration",
        "Spectrum": "spectrum",
        "System": "system",
        "ensemble": "integration",
        "integrate": "integration",
        "kaplan_yorke": "spectrum",
        "lyapunov_spectrum": "spectrum",
        "solve": "integration",
        "systems": ".",
    },
)
