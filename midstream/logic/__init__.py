"""Temporal logic: write what a stream must do; know at the first event that decides it.

Formulas:

`parse`, `Formula`
    text in four dialects, or Python operators; past and future, windows, comparisons of signals
`Formula.holds`, `Formula.evaluate`, `Formula.robustness`
    a whole trace: once, at every position, by how much
`progress`
    what a formula still asks for after an event

In flight:

`Monitor`, `SignalMonitor`
    a verdict after every event, with windows in steps or in real time
`RuleBook`, `Rule`
    hundreds of rules over one stream of events, decided before the tool runs; over many whole
    traces, here or on a Dask cluster, by `RuleBook.check`
`Predictor`
    the probability that a running trace will end satisfied

Decisions:

`compile`, `Automaton`
    the minimal automaton of a formula
`satisfiable`, `witness`, `equivalent`, `counterexample`
    is there a trace; which; are two rules the same; which step broke it
`synthesize`, `shield`
    a controller that satisfies a formula whatever happens; the smallest correction of an action
`check_ctl`, `Kripke`
    branching time, with evidence
`learn`, `tune`
    the smallest formula that tells good traces from bad; thresholds with the widest margin
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midstream._core.lazy import lazy_exports

if TYPE_CHECKING:
    from midstream.logic.automaton import Automaton, Edge, compile
    from midstream.logic.branching import (
        CtlEvidence,
        CtlFormula,
        CtlOp,
        Kripke,
        check_ctl,
        counterexample_ctl,
        ctl_mask,
        holds_ctl,
        parse_ctl,
        witness_ctl,
    )
    from midstream.logic.columns import (
        Columns,
        evaluate,
        evaluate_many,
        evaluate_packed,
        holds,
        pack,
        unpack,
    )
    from midstream.logic.decision import (
        consistent_letters,
        counterexample,
        distinguishing,
        entails,
        equivalent,
        satisfiable,
        valid,
        witness,
    )
    from midstream.logic.formula import (
        Formula,
        Interval,
        Op,
        Predicate,
        always,
        and_,
        atom,
        eventually,
        false,
        historically,
        iff,
        implies,
        make,
        not_,
        once,
        or_,
        predicate,
        release,
        since,
        strong_next,
        strong_release,
        trigger,
        true,
        until,
        weak_next,
        weak_until,
        weak_yesterday,
        xor,
        yesterday,
    )
    from midstream.logic.infinite import Machine, ltl3_machine, monitorability
    from midstream.logic.learning import LEARNING_OPERATORS, Learned, learn, learn_all
    from midstream.logic.lint import LintFinding, lint_rules
    from midstream.logic.monitor import Monitor
    from midstream.logic.parser import parse
    from midstream.logic.predictor import Guidance, Predictor, Reliability, Running, SearchResult
    from midstream.logic.progression import progress
    from midstream.logic.rulebook import (
        Finding,
        Obligation,
        Outcome,
        Outlook,
        RuleBook,
        RuleCounts,
    )
    from midstream.logic.rules import Condition, Rule, read_rules, write_rules
    from midstream.logic.shielding import Shield, shield
    from midstream.logic.signals import SignalMonitor, evaluate_timed, robustness
    from midstream.logic.synthesis import (
        Controller,
        Counterstrategy,
        counterstrategy,
        realizable,
        synthesize,
        unrealizable_core,
    )
    from midstream.logic.traces import Cause, Counterexample, Lasso, Witness
    from midstream.logic.tuning import SmoothRobustness, Tuned, smooth_robustness, tune
    from midstream.logic.verdict import Verdict

__all__ = [
    "LEARNING_OPERATORS",
    "Automaton",
    "Cause",
    "Columns",
    "Condition",
    "Controller",
    "Counterexample",
    "Counterstrategy",
    "CtlEvidence",
    "CtlFormula",
    "CtlOp",
    "Edge",
    "Finding",
    "Formula",
    "Guidance",
    "Interval",
    "Kripke",
    "Lasso",
    "Learned",
    "LintFinding",
    "Machine",
    "Monitor",
    "Obligation",
    "Op",
    "Outcome",
    "Outlook",
    "Predicate",
    "Predictor",
    "Reliability",
    "Rule",
    "RuleBook",
    "RuleCounts",
    "Running",
    "SearchResult",
    "Shield",
    "SignalMonitor",
    "SmoothRobustness",
    "Tuned",
    "Verdict",
    "Witness",
    "always",
    "and_",
    "atom",
    "check_ctl",
    "compile",
    "consistent_letters",
    "counterexample",
    "counterexample_ctl",
    "counterstrategy",
    "ctl_mask",
    "distinguishing",
    "entails",
    "equivalent",
    "evaluate",
    "evaluate_many",
    "evaluate_packed",
    "evaluate_timed",
    "eventually",
    "false",
    "historically",
    "holds",
    "holds_ctl",
    "iff",
    "implies",
    "learn",
    "learn_all",
    "lint_rules",
    "ltl3_machine",
    "make",
    "monitorability",
    "not_",
    "once",
    "or_",
    "pack",
    "parse",
    "parse_ctl",
    "predicate",
    "progress",
    "read_rules",
    "realizable",
    "release",
    "robustness",
    "satisfiable",
    "shield",
    "since",
    "smooth_robustness",
    "strong_next",
    "strong_release",
    "synthesize",
    "trigger",
    "true",
    "tune",
    "unpack",
    "unrealizable_core",
    "until",
    "valid",
    "weak_next",
    "weak_until",
    "weak_yesterday",
    "witness",
    "witness_ctl",
    "write_rules",
    "xor",
    "yesterday",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Automaton": "automaton",
        "Cause": "traces",
        "Columns": "columns",
        "Condition": "rules",
        "Controller": "synthesis",
        "Counterexample": "traces",
        "Counterstrategy": "synthesis",
        "CtlEvidence": "branching",
        "CtlFormula": "branching",
        "CtlOp": "branching",
        "Edge": "automaton",
        "Finding": "rulebook",
        "Formula": "formula",
        "Guidance": "predictor",
        "Interval": "formula",
        "Kripke": "branching",
        "LEARNING_OPERATORS": "learning",
        "Lasso": "traces",
        "Learned": "learning",
        "LintFinding": "lint",
        "Machine": "infinite",
        "Monitor": "monitor",
        "Obligation": "rulebook",
        "Op": "formula",
        "Outcome": "rulebook",
        "Outlook": "rulebook",
        "Predicate": "formula",
        "Predictor": "predictor",
        "Reliability": "predictor",
        "Rule": "rules",
        "RuleBook": "rulebook",
        "RuleCounts": "rulebook",
        "Running": "predictor",
        "SearchResult": "predictor",
        "Shield": "shielding",
        "SignalMonitor": "signals",
        "SmoothRobustness": "tuning",
        "Tuned": "tuning",
        "Verdict": "verdict",
        "Witness": "traces",
        "always": "formula",
        "and_": "formula",
        "atom": "formula",
        "check_ctl": "branching",
        "compile": "automaton",
        "consistent_letters": "decision",
        "counterexample": "decision",
        "counterexample_ctl": "branching",
        "counterstrategy": "synthesis",
        "ctl_mask": "branching",
        "distinguishing": "decision",
        "entails": "decision",
        "equivalent": "decision",
        "evaluate": "columns",
        "evaluate_many": "columns",
        "evaluate_packed": "columns",
        "evaluate_timed": "signals",
        "eventually": "formula",
        "false": "formula",
        "historically": "formula",
        "holds": "columns",
        "holds_ctl": "branching",
        "iff": "formula",
        "implies": "formula",
        "learn": "learning",
        "learn_all": "learning",
        "lint_rules": "lint",
        "ltl3_machine": "infinite",
        "make": "formula",
        "monitorability": "infinite",
        "not_": "formula",
        "once": "formula",
        "or_": "formula",
        "pack": "columns",
        "parse": "parser",
        "parse_ctl": "branching",
        "predicate": "formula",
        "progress": "progression",
        "read_rules": "rules",
        "realizable": "synthesis",
        "release": "formula",
        "robustness": "signals",
        "satisfiable": "decision",
        "shield": "shielding",
        "since": "formula",
        "smooth_robustness": "tuning",
        "strong_next": "formula",
        "strong_release": "formula",
        "synthesize": "synthesis",
        "trigger": "formula",
        "true": "formula",
        "tune": "tuning",
        "unpack": "columns",
        "unrealizable_core": "synthesis",
        "until": "formula",
        "valid": "decision",
        "weak_next": "formula",
        "weak_until": "formula",
        "weak_yesterday": "formula",
        "witness": "decision",
        "witness_ctl": "branching",
        "write_rules": "rules",
        "xor": "formula",
        "yesterday": "formula",
    },
)
