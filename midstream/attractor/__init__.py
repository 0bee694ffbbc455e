"""Dynamics: integrate, measure, recognise, with error bars.

`System`, `systems`
    flows and maps as text, callables or C functions; a hundred built-in ones
`integrate`, `ensemble`, `solve`
    trajectories: one, many, with adaptive steps
`lyapunov_spectrum`, `kaplan_yorke`
    exponents from equations
`covariant_vectors`, `ftle_field`
    the directions that grow and shrink; where in a region neighbours part
`poincare_section`, `periodic_orbit`
    crossings of a plane; closed orbits with their Floquet multipliers
`bifurcation`
    what a system settles to at many values of a parameter
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midstream._core.lazy import lazy_exports

if TYPE_CHECKING:
    from midstream.attractor import systems
    from midstream.attractor.covariant import CovariantVectors, covariant_vectors
    from midstream.attractor.diagrams import Bifurcation, bifurcation
    from midstream.attractor.estimate import Estimate, Fit
    from midstream.attractor.ftle import FTLEField, ftle_field
    from midstream.attractor.integration import Solution, ensemble, integrate, solve
    from midstream.attractor.orbits import Orbit, periodic_orbit
    from midstream.attractor.sections import Section, poincare_section
    from midstream.attractor.spectrum import Spectrum, kaplan_yorke, lyapunov_spectrum
    from midstream.attractor.system import System

__all__ = [
    "Bifurcation",
    "CovariantVectors",
    "Estimate",
    "FTLEField",
    "Fit",
    "Orbit",
    "Section",
    "Solution",
    "Spectrum",
    "System",
    "bifurcation",
    "covariant_vectors",
    "ensemble",
    "ftle_field",
    "integrate",
    "kaplan_yorke",
    "lyapunov_spectrum",
    "periodic_orbit",
    "poincare_section",
    "solve",
    "systems",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Bifurcation": "diagrams",
        "CovariantVectors": "covariant",
        "Estimate": "estimate",
        "FTLEField": "ftle",
        "Fit": "estimate",
        "Orbit": "orbits",
        "Section": "sections",
        "Solution": "integration",
        "Spectrum": "spectrum",
        "System": "system",
        "bifurcation": "diagrams",
        "covariant_vectors": "covariant",
        "ensemble": "integration",
        "ftle_field": "ftle",
        "integrate": "integration",
        "kaplan_yorke": "spectrum",
        "lyapunov_spectrum": "spectrum",
        "periodic_orbit": "orbits",
        "poincare_section": "sections",
        "solve": "integration",
        "systems": ".",
    },
)
