"""Automata: published sizes, and agreement with the definitions."""

from __future__ import annotations

import json

import numpy as np
import pytest

from midstream._core.errors import ArgumentValueError, StateLimitError
from midstream.logic.automaton import compile as compile_formula
from midstream.logic.parser import parse

#: Seconds for one row; every row takes some milliseconds at most.
ROW_LIMIT_S = 10.0


def eps_free(automaton):
    """States of the smaller automaton of L and of L with the empty word."""
    initial = ~automaton.initial
    reached = (automaton.nodes[:, 1:] == initial).any() or (automaton.roots == initial).any()
    same = automaton.roots == automaton.roots[0]
    if reached or not (same & automaton.accepting).any():
        return automaton.n_states
    return automaton.n_states - 1


def test_every_row_of_the_sizes(shared_data):
    rows = [
        json.loads(line) for line in shared_data("logic/dfa_sizes.jsonl").read_text().splitlines()
    ]
    assert len(rows) == 555
    for row in rows:
        formula = parse(row["formula"])
        automaton = compile_formula(formula, timeout_s=ROW_LIMIT_S)
        narrow = compile_formula(formula, letters="at_most_one", timeout_s=ROW_LIMIT_S)
        assert (
            automaton.n_states,
            int(automaton.accepting.sum()),
            bool((automaton.colours == 0).any()),
            eps_free(automaton),
            len(np.unique(automaton.roots)),
            narrow.n_states,
        ) == (
            row["min_dfa_states"],
            row["accepting_states"],
            row["has_dead_state"],
            row["min_dfa_states_eps_free"],
            row["min_dfa_states_transition_acc"],
            row["min_dfa_states_at_most_one"],
        ), row["formula"]
        for trace, verdict in row["accepts"]:
            assert automaton.accepts([set(letter) for letter in trace]) == verdict, row["formula"]


@pytest.mark.parametrize(
    ("text", "n_states"),
    [("true", 2), ("false", 1), ("F a", 2), ("G a", 3), ("a U b", 3), ("X a", 4)],
)
def test_sizes_by_hand(text, n_states):
    assert compile_formula(parse(text)).n_states == n_states


def test_limits_are_typed_errors():
    with pytest.raises(StateLimitError, match="max_states=100 "):
        compile_formula(parse("F[0:1000] a"), max_states=100)
    with pytest.raises(ArgumentValueError, match="never true"):
        compile_formula(parse("F a"), letters=parse("a & !a"))
