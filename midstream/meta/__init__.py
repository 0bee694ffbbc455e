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
    from midstream.meta.auditing import AuditPlan
    from midstream.meta.bandit import INTERVENTIONS, Bandit, Decision
    from midstream.meta.confidence import ConfidenceSequence, EProcess
    from midstream.meta.drift import Adwin, Cusum, Detector, Drift, DriftBank, PageHinkley
    from midstream.meta.drift_scores import DriftScore, evaluate_drift
    from midstream.meta.evidence import Assignment, Evidence, Loss, Outcome, SegmentEvidence, Stage
    from midstream.meta.gate import Gate
    from midstream.meta.grammar import Grammar, Part, Rule, content_name
    from midstream.meta.history import History, HistoryAlarm, HistoryEvidence, HistoryTrial
    from midstream.meta.knowledge import MetaKnowledge, Seen
    from midstream.meta.ledger import Ledger, Record, Version
    from midstream.meta.levels import Levels
    from midstream.meta.loop import MetaLearningSummary, StrangeLoop
    from midstream.meta.off_policy import (
        Estimate,
        doubly_robust,
        effective_sample_size,
        ips,
        policy_probabilities,
        predicted_rewards,
        snips,
    )
    from midstream.meta.params import Param
    from midstream.meta.replaying import Replay, Sample
    from midstream.meta.safety import Refusal, RuleError, SafetyConstraint, Shield, Tracker
    from midstream.meta.sessions import Intervention, Session
    from midstream.meta.spaces import Change, ParamSpace, Settings
    from midstream.meta.symbols import Symbols, canonical
    from midstream.meta.trials import Trial

__all__ = [
    "INTERVENTIONS",
    "Adwin",
    "Assignment",
    "AuditPlan",
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
    "Estimate",
    "Evidence",
    "Gate",
    "Grammar",
    "History",
    "HistoryAlarm",
    "HistoryEvidence",
    "HistoryTrial",
    "Intervention",
    "Ledger",
    "Levels",
    "Loss",
    "MetaKnowledge",
    "MetaLearningSummary",
    "Outcome",
    "PageHinkley",
    "Param",
    "ParamSpace",
    "Part",
    "Record",
    "Refusal",
    "Replay",
    "Rule",
    "RuleError",
    "SafetyConstraint",
    "Sample",
    "Seen",
    "SegmentEvidence",
    "Session",
    "Settings",
    "Shield",
    "Stage",
    "StrangeLoop",
    "Symbols",
    "Tracker",
    "Trial",
    "Version",
    "canonical",
    "content_name",
    "doubly_robust",
    "effective_sample_size",
    "evaluate_drift",
    "ips",
    "policy_probabilities",
    "predicted_rewards",
    "snips",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Adwin": "drift",
        "Assignment": "evidence",
        "AuditPlan": "auditing",
        "Bandit": "bandit",
        "Change": "spaces",
        "ConfidenceSequence": "confidence",
        "Cusum": "drift",
        "Decision": "bandit",
        "Detector": "drift",
        "Drift": "drift",
        "DriftBank": "drift",
        "DriftScore": "drift_scores",
        "EProcess": "confidence",
        "Estimate": "off_policy",
        "Evidence": "evidence",
        "Gate": "gate",
        "Grammar": "grammar",
        "History": "history",
        "HistoryAlarm": "history",
        "HistoryEvidence": "history",
        "HistoryTrial": "history",
        "INTERVENTIONS": "bandit",
        "Intervention": "sessions",
        "Ledger": "ledger",
        "Levels": "levels",
        "Loss": "evidence",
        "MetaKnowledge": "knowledge",
        "MetaLearningSummary": "loop",
        "Outcome": "evidence",
        "PageHinkley": "drift",
        "Param": "params",
        "ParamSpace": "spaces",
        "Part": "grammar",
        "Record": "ledger",
        "Refusal": "safety",
        "Replay": "replaying",
        "Rule": "grammar",
        "RuleError": "safety",
        "SafetyConstraint": "safety",
        "Sample": "replaying",
        "Seen": "knowledge",
        "SegmentEvidence": "evidence",
        "Session": "sessions",
        "Settings": "spaces",
        "Shield": "safety",
        "Stage": "evidence",
        "StrangeLoop": "loop",
        "Symbols": "symbols",
        "Tracker": "safety",
        "Trial": "trials",
        "Version": "ledger",
        "canonical": "symbols",
        "content_name": "grammar",
        "doubly_robust": "off_policy",
        "effective_sample_size": "off_policy",
        "evaluate_drift": "drift_scores",
        "ips": "off_policy",
        "policy_probabilities": "off_policy",
        "predicted_rewards": "off_policy",
        "snips": "off_policy",
    },
)
