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
    hundreds of rules over one stream of events, decided before the tool runs
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
    from midstream.logic.automaton import Automaton, compile
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
    from midstream.logic.infinite import (
        Lasso,
        Machine,
        ltl3_machine,
        monitorability,
        satisfiable_infinite,
    )
    from midstream.logic.parser import parse
    from midstream.logic.progression import progress
    from midstream.logic.verdict import Verdict

__all__ = [
    "Automaton",
    "Columns",
    "CtlEvidence",
    "CtlFormula",
    "CtlOp",
    "Formula",
    "Interval",
    "Kripke",
    "Lasso",
    "Machine",
    "Op",
    "Predicate",
    "Verdict",
    "always",
    "and_",
    "atom",
    "check_ctl",
    "compile",
    "counterexample_ctl",
    "ctl_mask",
    "evaluate",
    "evaluate_many",
    "evaluate_packed",
    "eventually",
    "false",
    "historically",
    "holds",
    "holds_ctl",
    "iff",
    "implies",
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
    "release",
    "satisfiable_infinite",
    "since",
    "strong_next",
    "strong_release",
    "trigger",
    "true",
    "unpack",
    "until",
    "weak_next",
    "weak_until",
    "weak_yesterday",
    "witness_ctl",
    "xor",
    "yesterday",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Automaton": "automaton",
        "Columns": "columns",
        "CtlEvidence": "branching",
        "CtlFormula": "branching",
        "CtlOp": "branching",
        "Formula": "formula",
        "Interval": "formula",
        "Kripke": "branching",
        "Lasso": "infinite",
        "Machine": "infinite",
        "Op": "formula",
        "Predicate": "formula",
        "Verdict": "verdict",
        "always": "formula",
        "and_": "formula",
        "atom": "formula",
        "check_ctl": "branching",
        "compile": "automaton",
        "counterexample_ctl": "branching",
        "ctl_mask": "branching",
        "evaluate": "columns",
        "evaluate_many": "columns",
        "evaluate_packed": "columns",
        "eventually": "formula",
        "false": "formula",
        "historically": "formula",
        "holds": "columns",
        "holds_ctl": "branching",
        "iff": "formula",
        "implies": "formula",
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
        "release": "formula",
        "satisfiable_infinite": "infinite",
        "since": "formula",
        "strong_next": "formula",
        "strong_release": "formula",
        "trigger": "formula",
        "true": "formula",
        "unpack": "columns",
        "until": "formula",
        "weak_next": "formula",
        "weak_until": "formula",
        "weak_yesterday": "formula",
        "witness_ctl": "branching",
        "xor": "formula",
        "yesterday": "formula",
    },
)
