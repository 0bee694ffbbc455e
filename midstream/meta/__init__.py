"""The strange loop: learn what streams do, adjust how they are watched, prove it first.

Patterns:

`Grammar`
    online hierarchical induction in bounded memory: rules named by their content, lossless
`Levels`, `MetaKnowledge`, `Symbols`
    patterns of patterns, with support and a lower bound on how often they come back

Learners:

`Drift`, `Adwin`, `PageHinkley`, `Cusum`
    has this signal changed
`Bandit`, `Replay`
    which intervention, by context, with late feedback; prioritised memory
`ConfidenceSequence`
    a mean, with bounds that may be looked at after every sample

Change, made safe:

`ParamSpace`, `Settings`, `Change`
    the only surface that may change, typed and bounded
`Shield`
    temporal-logic rules over actions and over changes; a fallback is always allowed
`Gate`, `Trial`
    replayed, shadowed, used on a share; promoted or demoted by evidence valid at any time
`Ledger`
    append-only, hash-chained; exact rollback
`StrangeLoop`
    all of it around one guard
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midstream._core.lazy import lazy_exports

if TYPE_CHECKING:
    from midstream.meta.bandit import Bandit, Decision, INTERVENTIONS
    from midstream.meta.confidence import ConfidenceSequence, EProcess
    from midstream.meta.drift import (
        Adwin,
        Cusum,
        Detector,
        Drift,
        DriftBank,
        DriftScore,
        PageHinkley,
        evaluate_drift,
    )
    from midstream.meta.params import Change, Param, ParamSpace, Settings
    from midstream.meta.safety import Refusal, RuleError, SafetyConstraint, Shield, Tracker
    from midstream.meta.symbols import Symbols, canonical

__all__ = [
    "Adwin",
    "Bandit",
    "Change",
    "ConfidenceSequence",
    "Cusum",
    "Decision",
    "Detector",
    "Drift",
    "DriftBank",
    "DriftScore",
    "EProcess",
    "INTERVENTIONS",
    "PageHinkley",
    "Param",
    "ParamSpace",
    "Refusal",
    "RuleError",
    "SafetyConstraint",
    "Settings",
    "Shield",
    "Symbols",
    "Tracker",
    "canonical",
    "evaluate_drift",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Adwin": "drift",
        "Bandit": "bandit",
        "Change": "params",
        "ConfidenceSequence": "confidence",
        "Cusum": "drift",
        "Decision": "bandit",
        "Detector": "drift",
        "Drift": "drift",
        "DriftBank": "drift",
        "DriftScore": "drift",
        "EProcess": "confidence",
        "INTERVENTIONS": "bandit",
        "PageHinkley": "drift",
        "Param": "params",
        "ParamSpace": "params",
        "Refusal": "safety",
        "RuleError": "safety",
        "SafetyConstraint": "safety",
        "Settings": "params",
        "Shield": "safety",
        "Symbols": "symbols",
        "Tracker": "safety",
        "canonical": "symbols",
        "evaluate_drift": "drift",
    },
)
