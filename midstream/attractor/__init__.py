"""Dynamics: integrate, measure, recognise, with error bars.

From equations:

`System`, `systems`
    flows and maps as text, callables or C functions; a hundred built-in ones
`integrate`, `ensemble`, `solve`
    trajectories: one, many, with adaptive steps
`lyapunov_spectrum`, `kaplan_yorke`, `covariant_vectors`, `ftle_field`
    how fast neighbours part, along which directions, and where in a region
`poincare_section`, `periodic_orbit`, `bifurcation`
    crossings of a plane; closed orbits with Floquet multipliers; what a parameter changes

From data:

`lyapunov`, `lyapunov_spectrum_from_data`
    exponents of a series with an interval, a verdict and its reasons
`embed`, `mutual_information_delay`, `cao_dimension`, `autocorrelation`, `theiler_window`
    coordinates of a series
`correlation_dimension`, `correlation_sum`, `recurrence`, `rqa`
    how points fill space, and when they come back
`zero_one_test`, `permutation_entropy`, `sample_entropy`
    order, chaos and noise in one number
`surrogates`, `surrogate_test`
    what chance alone would give

Of either:

`classify`, `Online`
    fixed point, cycle, torus, strange, hyperchaotic or noise; the same at every event of a stream
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midstream._core.lazy import lazy_exports

if TYPE_CHECKING:
    from midstream.attractor import systems
    from midstream.attractor.chaos_test import zero_one_test
    from midstream.attractor.classification import Attractor, classify
    from midstream.attractor.covariant import CovariantVectors, covariant_vectors
    from midstream.attractor.diagrams import Bifurcation, bifurcation
    from midstream.attractor.dimension import correlation_dimension, correlation_sum
    from midstream.attractor.embedding import (
        CaoDimension,
        DelayChoice,
        autocorrelation,
        cao_dimension,
        embed,
        mutual_information_delay,
        theiler_window,
    )
    from midstream.attractor.entropies import (
        PermutationEntropy,
        SampleEntropy,
        permutation_entropy,
        sample_entropy,
    )
    from midstream.attractor.estimate import Estimate, Fit
    from midstream.attractor.exponents import DataSpectrum, lyapunov, lyapunov_spectrum_from_data
    from midstream.attractor.ftle import FTLEField, ftle_field
    from midstream.attractor.integration import Solution, ensemble, integrate, solve
    from midstream.attractor.online import Online, Regime, regime
    from midstream.attractor.orbits import Orbit, periodic_orbit
    from midstream.attractor.recurrences import RQA, Recurrence, recurrence, rqa
    from midstream.attractor.sections import Section, poincare_section
    from midstream.attractor.spectrum import Spectrum, kaplan_yorke, lyapunov_spectrum
    from midstream.attractor.surrogate import SurrogateTest, surrogate_test, surrogates
    from midstream.attractor.system import System

__all__ = [
    "RQA",
    "Attractor",
    "Bifurcation",
    "CaoDimension",
    "CovariantVectors",
    "DataSpectrum",
    "DelayChoice",
    "Estimate",
    "FTLEField",
    "Fit",
    "Online",
    "Orbit",
    "PermutationEntropy",
    "Recurrence",
    "Regime",
    "SampleEntropy",
    "Section",
    "Solution",
    "Spectrum",
    "SurrogateTest",
    "System",
    "autocorrelation",
    "bifurcation",
    "cao_dimension",
    "classify",
    "correlation_dimension",
    "correlation_sum",
    "covariant_vectors",
    "embed",
    "ensemble",
    "ftle_field",
    "integrate",
    "kaplan_yorke",
    "lyapunov",
    "lyapunov_spectrum",
    "lyapunov_spectrum_from_data",
    "mutual_information_delay",
    "periodic_orbit",
    "permutation_entropy",
    "poincare_section",
    "recurrence",
    "regime",
    "rqa",
    "sample_entropy",
    "solve",
    "surrogate_test",
    "surrogates",
    "systems",
    "theiler_window",
    "zero_one_test",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Attractor": "classification",
        "Bifurcation": "diagrams",
        "CaoDimension": "embedding",
        "CovariantVectors": "covariant",
        "DataSpectrum": "exponents",
        "DelayChoice": "embedding",
        "Estimate": "estimate",
        "FTLEField": "ftle",
        "Fit": "estimate",
        "Online": "online",
        "Orbit": "orbits",
        "PermutationEntropy": "entropies",
        "RQA": "recurrences",
        "Recurrence": "recurrences",
        "Regime": "online",
        "SampleEntropy": "entropies",
        "Section": "sections",
        "Solution": "integration",
        "Spectrum": "spectrum",
        "SurrogateTest": "surrogate",
        "System": "system",
        "autocorrelation": "embedding",
        "bifurcation": "diagrams",
        "cao_dimension": "embedding",
        "classify": "classification",
        "correlation_dimension": "dimension",
        "correlation_sum": "dimension",
        "covariant_vectors": "covariant",
        "embed": "embedding",
        "ensemble": "integration",
        "ftle_field": "ftle",
        "integrate": "integration",
        "kaplan_yorke": "spectrum",
        "lyapunov": "exponents",
        "lyapunov_spectrum": "spectrum",
        "lyapunov_spectrum_from_data": "exponents",
        "mutual_information_delay": "embedding",
        "periodic_orbit": "orbits",
        "permutation_entropy": "entropies",
        "poincare_section": "sections",
        "recurrence": "recurrences",
        "regime": "online",
        "rqa": "recurrences",
        "sample_entropy": "entropies",
        "solve": "integration",
        "surrogate_test": "surrogate",
        "surrogates": "surrogate",
        "systems": ".",
        "theiler_window": "embedding",
        "zero_one_test": "chaos_test",
    },
)
