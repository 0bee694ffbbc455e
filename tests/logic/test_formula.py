"""Formulas: interning, printing, depth, errors."""

from __future__ import annotations

import copy
import gc
import math
import pickle
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from logic.strategies import formulas

from midstream.errors import ArgumentTypeError, ArgumentValueError, StateLimitError
from midstream.logic import formula as module
from midstream.logic._flat import flatten
from midstream.logic._ops import Op
from midstream.logic.formula import (
    Formula,
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
from midstream.logic.parser import DIALECTS, parse
from midstream.logic.verdict import Verdict

a, b, c = atom("a"), atom("b"), atom("c")


def test_equal_formulas_are_one_object():
    assert always(implies(a, eventually(b))) is parse("G(a -> F b)")
    assert (a & b) & c is and_(a, b, c) is a & (b & c)
    assert a & b is not b & a
    assert eventually(a, 0, 5) is eventually(a, 0, 5.0) is parse("F[:5] a")
    assert eventually(a, 0, math.inf) is eventually(a)
    assert predicate("x", ">", 1) is parse("x > 1.0")
    assert predicate("x", ">", -0.0) is predicate("x", ">", 0.0)


def test_interning_keeps_nothing_alive():
    gc.collect()
    before = len(module._interned)
    kept = parse("F zzz1 & G zzz2")
    assert len(module._interned) == before + 5
    del kept
    gc.collect()
    assert len(module._interned) == before


def test_threads_get_one_object():
    found = []
    start = threading.Barrier(8)

    def build():
        start.wait()
        found.append([parse(f"G(thread{i} -> F b)") for i in range(200)])

    threads = [threading.Thread(target=build) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(x is y for row in found for x, y in zip(row, found[0], strict=True))


def test_functions_build_what_the_text_says():
    for built, text in [
        (not_(a), "!a"),
        (or_(a, b, c), "a | b | c"),
        (xor(a, b), "a xor b"),
        (iff(a, b), "a <-> b"),
        (weak_next(a), "N a"),
        (strong_next(a), "X[!] a"),
        (until(a, b, 1, 2), "a U[1:2] b"),
        (weak_until(a, b), "a W b"),
        (release(a, b, 3), "a R[3:] b"),
        (strong_release(a, b), "a M b"),
        (yesterday(a), "Y a"),
        (weak_yesterday(a), "Z a"),
        (once(a, high=4), "O[0:4] a"),
        (historically(a), "H a"),
        (since(a, b), "a S b"),
        (trigger(a, b), "a T b"),
        (~a | (b ^ c), "!a | b xor c"),
        (a >> b, "a -> b"),
        (and_(), "true"),
        (or_(), "false"),
    ]:
        assert built is parse(text)
        assert str(built) == text


@given(formulas(timed=True, signals=("x", "rate limit", "F")))
def test_text_and_pickle_round_trip(formula):
    assert parse(str(formula)) is formula
    assert pickle.loads(pickle.dumps(formula)) is formula
    assert copy.deepcopy(formula) is formula is copy.copy(formula)


@pytest.mark.parametrize(
    "name",
    [
        *["F", "true", "next", "GFa", "Xa", "a b", 'say "hi"', "a\\b", "line\nbreak", "1", "x > 1"],
        *["mcp__srv__tool", "a.b", "é", "工具", "tool: rm -rf /", "'", "{", "a\r", "until", "F1"],
    ],
)
def test_any_name_can_be_an_atom(name):
    formula = eventually(atom(name)) & b
    assert parse(str(formula)) is formula
    assert formula.atoms == (name, "b")


def test_atoms_come_in_the_order_of_the_text():
    formula = parse("G(z -> F a) & (x > 2 | z) & y<1 & x > 2")
    assert formula.atoms == ("z", "a", "x > 2", "y < 1")
    assert formula.signals == ("x", "y")
    assert [str(node) for node in parse("a U (b & a)").nodes()] == [
        "a",
        "b",
        "b & a",
        "a U (b & a)",
    ]


def test_flags_size_and_depth():
    formula = parse("G(a -> O[0:5] (x > 1)) | a")
    assert (formula.size, formula.depth) == (7, 5)
    assert formula.has_past and formula.has_future
    assert formula.has_interval and formula.has_predicate
    assert not (a & b).has_past and not once(a).has_future


def test_substitution():
    assert parse("G(a -> F b) & a").substitute({"a": parse("c S b")}) is parse(
        "G((c S b) -> F b) & (c S b)"
    )
    assert parse("F[1:2] (x > 1)").substitute({"x > 1": a}) is parse("F[1:2] a")
    with pytest.raises(ArgumentTypeError, match=r"replacements\['a'\] must be a Formula, not str"):
        a.substitute({"a": "b"})


def test_depth_and_width_cost_memory_only():
    deep = a
    for _ in range(10_000):
        deep = strong_next(~deep)
    assert deep.depth == 20_001
    assert parse(str(deep)) is deep
    assert pickle.loads(pickle.dumps(deep)) is deep
    assert deep.substitute({"a": b}).atoms == ("b",)
    assert len(flatten(deep).ops) == 20_001
    assert repr(deep) == "<Formula of 20001 nodes>"
    wide = and_(*(atom(f"p{i}") for i in range(1000)))
    assert parse(str(wide)) is wide
    assert len(wide.args) == 1000


def test_shared_subformulas_are_not_written_out():
    formula = a
    for _ in range(200):
        formula = implies(formula, formula)
    assert formula.size == 2**201 - 1
    assert len(formula.nodes()) == 201
    assert len(flatten(formula).ops) == 201
    assert pickle.loads(pickle.dumps(formula)) is formula
    assert re.match(r"<Formula of over 10\*\*\d+ nodes>", repr(formula))
    with pytest.raises(StateLimitError, match="nodes written out"):
        str(formula)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: Formula(), ArgumentTypeError, "cannot be called"),
        (lambda: atom(""), ArgumentValueError, "name must not be empty"),
        (lambda: atom(3), ArgumentTypeError, "name must be a str, not int"),
        (lambda: always("a"), ArgumentTypeError, r"args\[0\] of ALWAYS must be a Formula, not str"),
        (lambda: eventually(a, 5, 2), ArgumentValueError, r"interval \[5, 2\] must not be empty"),
        (lambda: eventually(a, -1), ArgumentValueError, "low must be finite and not negative"),
        (lambda: eventually(a, math.nan), ArgumentValueError, "low must be finite"),
        (lambda: eventually(a, 0, 2**60), ArgumentValueError, r"at most 2\*\*53"),
        (lambda: eventually(a, True, 2), ArgumentTypeError, "low must be a number, not bool"),
        (lambda: make(Op.NOT, (a, b)), ArgumentValueError, "args of NOT must be 1, not 2"),
        (lambda: make(Op.ATOM, ()), ArgumentValueError, "use atom"),
        (lambda: make(99, ()), ArgumentValueError, "op must be an Op, not 99"),
        (lambda: make(Op.NOT, (a,), (0, 1)), ArgumentValueError, "interval must be None for NOT"),
        (lambda: make(Op.AND, (a, b), (0, 1)), ArgumentValueError, "interval must be None for AND"),
        (lambda: predicate("x", "=", 1), ArgumentValueError, "comparison must be one of"),
        (lambda: predicate("x", ">", math.nan), ArgumentValueError, "threshold must be finite"),
        (lambda: predicate("x", ">", "one"), ArgumentTypeError, "threshold must be a number"),
        (lambda: predicate("", ">", 1), ArgumentValueError, "signal must not be empty"),
        (lambda: predicate(1, ">", 1), ArgumentTypeError, "signal must be a str"),
    ],
)
def test_bad_arguments(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_python_operators_that_would_mislead():
    with pytest.raises(ArgumentTypeError, match="no truth value"):
        bool(a)
    with pytest.raises(TypeError):
        a & True
    with pytest.raises(AttributeError):
        a.extra = 1


def test_reserved_names_are_those_of_the_parser():
    spot = DIALECTS["spot"]
    words = {*spot.prefix, *spot.infix, *spot.constants, *spot.next_words}
    assert {word for word in words if word[0].isalpha()} == module.RESERVED


def test_operator_codes_are_those_of_the_kernels():
    header = Path(__file__).parents[2] / "csrc" / "ms_logic.h"
    codes = dict(re.findall(r"MS_(\w+) = (\d+)", header.read_text()))
    assert {op.name: str(int(op)) for op in Op} == codes


def test_flat_programs_share_and_balance():
    flat = flatten(parse("G(a & b)"), parse("(a & b) U[2:3] (x > 1)"), alphabet=("b", "a", "x > 1"))
    assert flat.atoms == ("b", "a", "x > 1")
    assert flat.ops.tolist().count(Op.AND) == 1
    assert flat.predicates == (None, None, parse("x > 1").predicate)
    last = flat.roots[1]
    assert (flat.low[last], flat.high[last], flat.ops[last]) == (2.0, 3.0, Op.UNTIL)
    for column in (flat.left, flat.right):
        operands = np.where(flat.ops >= Op.NOT, column, -1)
        assert (operands < np.arange(len(operands))).all()
    chain = flatten(and_(*(atom(f"p{i}") for i in range(1024))))
    depth = np.zeros(len(chain.ops), dtype=int)
    for i, op in enumerate(chain.ops):
        if op == Op.AND:
            depth[i] = 1 + max(depth[chain.left[i]], depth[chain.right[i]])
    assert depth.max() == 10
    with pytest.raises(ArgumentValueError, match="lacks 'b'"):
        flatten(a & b, alphabet=("a",))
    with pytest.raises(ArgumentValueError, match="not 'a' again"):
        flatten(a, alphabet=("a", "a"))


def test_constants_and_verdicts():
    assert str(true & false) == "true & false"
    assert sorted(Verdict) == [
        Verdict.FALSE,
        Verdict.PRESUMABLY_FALSE,
        Verdict.INCONCLUSIVE,
        Verdict.PRESUMABLY_TRUE,
        Verdict.TRUE,
    ]
    assert [verdict.final for verdict in Verdict] == [True, False, False, False, True]
