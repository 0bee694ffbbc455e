"""Formulas as tableaux: what is folded, what must not be, and how large they get."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from midstream.errors import StateLimitError, UndecidedError
from midstream.logic import _tableau
from midstream.logic._tableau import FALSE, TRUE, Tableau
from midstream.logic.parser import parse


def tableau(text, *, infinite=False, limit=10_000, rounds=0):
    formula = parse(text)
    return Tableau(
        formula,
        infinite=infinite,
        letters="all",
        alphabet=[name for name in formula.atoms if " " not in name],
        limit=limit,
        check=lambda: None,
        rounds=rounds,
    )


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("a & !a", FALSE),
        ("a | !a", TRUE),
        ("F false", FALSE),
        ("G true", TRUE),
        ("X[!] false", FALSE),
        ("N true", TRUE),
        ("a U true", TRUE),
        ("a W false & F false", FALSE),
        ("a R false", FALSE),
        ("false M a", FALSE),
        ("a S false", FALSE),
        ("H true", TRUE),
        ("Y false", FALSE),
        ("Z true", TRUE),
        ("F[0.2:0.8] a", FALSE),
        ("G[0.2:0.8] a", TRUE),
    ],
)
def test_constants_are_folded(text, node):
    assert tableau(text).roots == [node]


@pytest.mark.parametrize("text", ["X[!] true", "N false", "Y true", "Z false"])
def test_the_ends_of_a_trace_are_no_constants(text):
    assert tableau(text).roots[0] > FALSE


def test_next_of_a_constant_is_one_where_words_are_infinite():
    assert tableau("X[!] true", infinite=True).roots == [TRUE]
    assert tableau("N false", infinite=True).roots == [FALSE]


def test_equal_subformulas_are_one_node():
    one = tableau("F (a & b)").system
    both = tableau("F (a & b) & F (b & a) & F F (a & b)").system
    assert both.n_variables == one.n_variables


def test_limits_are_joined_and_last_steps_are_known():
    assert tableau("G F a").roots[0] in tableau("G F a").at_end
    split = tableau("F G a & F G b & F G c", infinite=True)
    joined = tableau("F G (a & b & c)", infinite=True)
    assert split.system.n_burdens == joined.system.n_burdens
    assert len(split.fair) == 1


def test_windows_cost_a_node_or_two_a_step():
    short, long = tableau("F[0:10] a").system, tableau("F[0:110] a").system
    assert long.n_variables - short.n_variables <= 200
    with pytest.raises(StateLimitError, match="100"):
        tableau("F[0:1000] a", limit=100)


def test_rounds_count_each_eventuality():
    made = tableau("F a & G F b & (c U d)", infinite=True, rounds=3)
    assert len(made.round_burdens) == 3
    assert len(made.fair) == len(made.met) == 3
    assert made.counting


def test_exclusive_letters_take_three_clauses_an_atom():
    names = [f"a{i}" for i in range(50)]
    formula = parse(" | ".join(names))
    made = Tableau(
        formula,
        infinite=False,
        letters="at_most_one",
        alphabet=names,
        limit=1000,
        check=lambda: None,
    )
    assert len(made.rules) == 3 * 50 - 2
    assert made.n_atoms == 100


def test_numbers_are_plain_and_in_order():
    made = tableau("x > 1 & x < 2 | x == 5 | x >= 1e300 | x < -3.5")
    order = {threshold: atoms for (_, threshold), atoms in made.order.items()}

    def letter(*true):
        """`true`: (threshold, reached, passed) of each."""
        bits = 0
        for threshold, reached, passed in true:
            greater, least = order[threshold]
            bits |= reached << least | passed << greater
        return made.letter(bits)["x"]

    assert letter() == -5.0
    assert letter((-3.5, 1, 0)) == -3.5
    assert letter((-3.5, 1, 1)) == -2.0
    below = ((-3.5, 1, 1), (1.0, 1, 1))
    assert letter(*below) == 1.5
    assert letter(*below, (2.0, 1, 1), (5.0, 1, 0)) == 5.0
    assert letter(*below, (2.0, 1, 1), (5.0, 1, 1), (1e300, 1, 1)) > 1e300


def test_codes_are_those_of_the_kernel():
    header = Path(__file__).parents[2] / "csrc" / "ms_sat_system.h"
    codes = dict(re.findall(r"MS_NODE_(\w+) = (\d+)", header.read_text(encoding="utf-8")))
    assert len(codes) == 13
    for name, code in codes.items():
        assert getattr(_tableau, name) == int(code)


def test_preparation_looks_at_the_clock():
    calls = []

    def check():
        calls.append(None)
        if len(calls) == 20:
            raise UndecidedError("time is over")

    formula = parse("G F[0:1000000] a")
    with pytest.raises(UndecidedError):
        Tableau(
            formula, infinite=False, letters="all", alphabet=["a"], limit=10_000_000, check=check
        )
    assert len(calls) == 20
