"""Readings of formulas beside those of Spot and LTLf2DFA, where they are installed."""

from __future__ import annotations

import re

import pytest

from midstream.logic._ops import Op
from midstream.logic.parser import parse

WORDS = {
    Op.NOT: "!",
    Op.NEXT: "X",
    Op.STRONG_NEXT: "X[!]",
    Op.EVENTUALLY: "F",
    Op.ALWAYS: "G",
    Op.AND: "&",
    Op.OR: "|",
    Op.XOR: "xor",
    Op.IFF: "<->",
    Op.IMPLIES: "->",
    Op.UNTIL: "U",
    Op.WEAK_UNTIL: "W",
    Op.RELEASE: "R",
    Op.STRONG_RELEASE: "M",
}


def grouped(formula, words=WORDS):
    """The formula with a pair of parentheses around every operator."""
    if not formula.args:
        return str(formula)
    parts = [grouped(arg, words) for arg in formula.args]
    if len(parts) == 1:
        return f"({words[formula.op]} {parts[0]})"
    return "(" + f" {words[formula.op]} ".join(parts) + ")"


def test_spot_reads_every_formula_alike():
    spot = pytest.importorskip("spot")
    random = spot.randltl(
        ["a", "b", "c", "p0"],
        n=500,
        seed=7,
        tree_size=(5, 25),
        ltl_priorities="xor=1,implies=2,equiv=1,W=2,M=2,R=2,U=2,X=2,F=1,G=1,not=1,and=2,or=2",
    )
    texts = [str(formula) for formula in random]
    # Spot's own printer writes few parentheses: precedence decides.
    assert sum("(" in text for text in texts) < 500
    for text in texts:
        assert spot.formula(grouped(parse(text))) == spot.formula(text), text


ODDITIES = """
    Foo; F1; XX1; GFa; p0Up1; Xa; a^b; a=1; !a=0; <>[]a; ()a; X[2]a; AFoo; a U b U c; !a U b
    F a U b; a W b M c R d; a -> b -> c; a <-> b -> c; a & b xor c | d; a xor b xor c; a R b -> c
    a /\\ b \\/ ~c => d <=> e
"""


@pytest.mark.parametrize("text", re.split(r"; |\n\s*", ODDITIES.strip()))
def test_spot_reads_its_oddities_alike(text):
    spot = pytest.importorskip("spot")
    assert spot.formula(grouped(parse(text))) == spot.formula(text)


FINITE = """
    a -> b <-> c; a & b U c; X a U b; !a U b; a U b R c; a R b U c; F a -> b | c; WX a & X b
    G a & b; a U b | c & d; !(a & b) R c
"""


@pytest.mark.parametrize("text", re.split(r"; |\n\s*", FINITE.strip()))
def test_ltlf2dfa_reads_alike(text):
    ltlf = pytest.importorskip("ltlf2dfa.parser.ltlf")
    words = {**WORDS, Op.NEXT: "WX", Op.STRONG_NEXT: "X"}
    ours = grouped(parse(text, dialect="ltlf2dfa"), words)
    assert str(ltlf.LTLfParser()(ours)) == str(ltlf.LTLfParser()(text))
