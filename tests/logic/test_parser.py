"""The reader of formulas: precedence by dialect, spellings, errors, size."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from logic.strategies import formulas

from midstream.errors import ArgumentTypeError, ArgumentValueError, FormulaSyntaxError
from midstream.logic._ops import Op
from midstream.logic.formula import atom, eventually, make, predicate, true
from midstream.logic.parser import DIALECTS, parse


def groups(text, dialect="spot", **options):
    """The tree with every parenthesis written."""

    def write(node):
        if not node.args:
            return str(node)
        inner = [write(arg) for arg in node.args]
        word = node.op.name.lower()
        return f"{word}({', '.join(inner)})"

    return write(parse(text, dialect=dialect, **options))


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("!a U b", "until(not(a), b)"),
        ("F a U b", "until(eventually(a), b)"),
        ("a U b U c", "until(a, until(b, c))"),
        ("a U b W c R d M e", "until(a, weak_until(b, release(c, strong_release(d, e))))"),
        ("a -> b -> c", "implies(a, implies(b, c))"),
        ("a <-> b -> c", "iff(a, implies(b, c))"),
        ("a -> b | c xor d & e U f", "implies(a, or(b, xor(c, and(d, until(e, f)))))"),
        ("a xor b | c", "or(xor(a, b), c)"),
        ("a & b & (c & d) | e", "or(and(a, b, c, d), e)"),
        ("a S b T c", "since(a, trigger(b, c))"),
        ("X X[!] N a", "next(strong_next(next(a)))"),
        ("X[2] a", "next(next(a))"),
        ("X[2!] a", "strong_next(strong_next(a))"),
        ("X[0] a", "a"),
        ("GFa", "always(eventually(a))"),
        ("GF a", "always(eventually(a))"),
        ("Foo", "eventually(oo)"),
        ("XX1", "next(X1)"),
        ("F1 & G0", "and(F1, G0)"),
        ("p0Up1 | AFoo", "or(p0Up1, AFoo)"),
        ("[]<>a & ()b", "and(always(eventually(a)), next(b))"),
        ("[](a)", "always(a)"),
        ("a=1 & b=0", "and(a, not(b))"),
        ("1 | 0 | true", "or(true, false, true)"),
        ("~a /\\ b \\/ c => d <=> e", "implies(or(and(not(a), b), c), iff(d, e))"),
        ("a --> b <--> c", "implies(a, iff(b, c))"),
        ("a^b", "xor(a, b)"),
        ("a V b", "release(a, b)"),
        ("always a implies not b until c", "implies(always(a), until(not(b), c))"),
        ("historically a since once b", "since(historically(a), once(b))"),
        ("next a & s_next b", "and(next(a), strong_next(b))"),
        ("prev a & s_prev b", "and(weak_yesterday(a), yesterday(b))"),
        ("rise(a)", "and(a, weak_yesterday(not(a)))"),
        ("fall a", "and(not(a), weak_yesterday(a))"),
        ("Y a & Z b", "and(yesterday(a), weak_yesterday(b))"),
        ("O c | H d", "or(once(c), historically(d))"),
        ("!x > 5", "not(x > 5)"),
        ("5 < x & 2 >= y", "and(x > 5, y <= 2)"),
        ("x !== 1 | x == 2e1", "or(x != 1, x == 20)"),
        ("x<-1", "x < -1"),
        ("a<->b", "iff(a, b)"),
        ("'it is' U {q r}", 'until("it is", "q r")'),
    ],
)  # fmt: skip
def test_default_dialect(text, tree):
    assert groups(text) == tree


@pytest.mark.parametrize(
    ("dialect", "text", "tree"),
    [
        ("black", "p & q <-> r", "and(p, iff(q, r))"),
        ("black", "p -> q & r", "and(implies(p, q), r)"),
        ("black", "F p && q", "and(eventually(p), q)"),
        ("black", "!a U b", "until(not(a), b)"),
        ("black", "p -> q U r", "implies(p, until(q, r))"),
        ("black", "a -> b -> c", "implies(implies(a, b), c)"),
        ("black", "a U b U c", "until(until(a, b), c)"),
        ("black", "X wX {a b}", 'strong_next(next("a b"))'),
        ("black", "True & Foo | G", None),
        ("black", "True & Foo", 'and(true, "Foo")'),
        ("black", "Y a S Z b T c", "trigger(since(yesterday(a), weak_yesterday(b)), c)"),
        ("ltlf2dfa", "a -> b -> c", "implies(implies(a, b), c)"),
        ("ltlf2dfa", "a <-> b -> c", "iff(a, implies(b, c))"),
        ("ltlf2dfa", "a R b U c", "until(release(a, b), c)"),
        ("ltlf2dfa", "a U b U c", "until(a, until(b, c))"),
        ("ltlf2dfa", "X a & WX b & tt", "and(strong_next(a), next(b), true)"),
        ("ltlf2dfa", "last", "next(false)"),
        ("ltlf2dfa", "Abc", None),
        ("ltlf2dfa", "a W b", None),
        ("rtamt", "a -> b -> c", "implies(implies(a, b), c)"),
        ("rtamt", "a xor b and c", "xor(a, and(b, c))"),
        ("rtamt", "a or b -> c iff d", "iff(implies(or(a, b), c), d)"),
        ("rtamt", "a until b until c", "until(until(a, b), c)"),
        ("rtamt", "not x>5", "not(x > 5)"),
        ("rtamt", "always[0:5](a >= 2);", "always(a >= 2)"),
        ("rtamt", "next Foo", 'next("Foo")'),
    ],
)
def test_other_dialects(dialect, text, tree):
    if tree is None:
        with pytest.raises(FormulaSyntaxError):
            parse(text, dialect=dialect)
    else:
        assert groups(text, dialect) == tree


def test_strength_of_next_can_be_chosen():
    assert (
        groups("X a & N b & X[!] c", next="strong")
        == "and(strong_next(a), next(b), strong_next(c))"
    )
    assert groups("X a & wX b", "black", next="weak") == "and(next(a), next(b))"


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("F[2:5] a", 2, 5),
        ("F[2,5] a", 2, 5),
        ("F[2..5] a", 2, 5),
        ("F [ 2 : 5 ] a", 2, 5),
        ("F[2:] a", 2, float("inf")),
        ("F[:5] a", 0, 5),
        ("F[2:inf] a", 2, float("inf")),
        ("F[0.25:1.5] a", 0.25, 1.5),
        ("F[1:500ms] a", 0.001, 0.5),
        ("F[1s:2s] a", 1, 2),
        ("F[1s:1500 ms] a", 1, 1.5),
        ("eventually[1,2] a", 1, 2),
        ("<>[1:2] a", 1, 2),
    ],
)
def test_intervals(text, low, high):
    assert parse(text) is eventually(atom("a"), low, high)


def test_intervals_of_binary_operators():
    assert groups("a U[1:2] b S[3:] c") == "until(a, since(b, c))"
    formula = parse("a U[1:2] b S[3:] c")
    assert formula.interval == (1, 2)
    assert formula.args[1].interval == (3, float("inf"))


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("", 1, 1, "the text is empty"),
        ("  \n ", 2, 2, "the text is empty"),
        ("a &", 1, 4, "expected a formula at the end"),
        ("G(a -> )", 1, 8, r"expected a formula, found '\)'"),
        ("(a", 1, 1, "this parenthesis is never closed"),
        ("a)", 1, 2, "this parenthesis was never opened"),
        ("a b", 1, 3, "expected an operator, found 'b'"),
        ("a & U b", 1, 5, "found the operator 'U'"),
        ("a $ b", 1, 3, r"expected an operator, found '\$'"),
        ("a &\n  (b U\n   %)", 3, 4, "expected a formula, found '%'"),
        ("F[3] a", 1, 2, "expected an interval"),
        ("F[:] a", 1, 2, "an interval wants a bound"),
        ("F[5:2] a", 1, 2, r"the interval \[5:2\] is empty"),
        ("F[-1:2] a", 1, 2, "begins before 0"),
        ("F[0:1e400] a", 1, 2, "too large for a number"),
        ("\ta &\t)", 1, 6, "expected a formula"),
        ("F[0:1e300] a", 1, 1, r"at most 2\*\*53"),
        ("a W[1:2] b", 1, 3, "interval must be None for WEAK_UNTIL"),
        ("rise[1:2](a)", 1, 1, "takes no interval"),
        ("X[1:2] a", 1, 2, "expected a formula, found"),
        ("X[1000000000] a", 1, 3, "at most 100000 steps"),
        ("x > y", 1, 5, "expected a number after the comparison"),
        ("x > 1e999", 1, 5, "threshold must be finite"),
        ("1 < 2", 1, 5, "name of a signal"),
        ("3 & a", 1, 1, "found the number 3"),
        ('"a', 1, 1, "this quote is never closed"),
        ('""', 1, 1, "name must not be empty"),
        ("{a", 1, 1, "this brace is never closed"),
        ("a = b", 1, 3, "expected an operator, found '='"),
    ],
)
def test_errors_say_where(text, line, column, message):
    with pytest.raises(FormulaSyntaxError, match=message) as caught:
        parse(text)
    assert (caught.value.line, caught.value.column) == (line, column)
    if text.strip():
        shown = str(caught.value).split("\n")
        assert shown[-1].index("^") - 4 == column - 1
        assert shown[-1].count("\t") == text.split("\n")[line - 1][: column - 1].count("\t")
        assert shown[-2][4:] == text.split("\n")[line - 1]


def test_bad_arguments():
    with pytest.raises(ArgumentTypeError, match="text must be a str, not Formula"):
        parse(true)
    with pytest.raises(ArgumentValueError, match="dialect must be one of"):
        parse("a", dialect="mona")
    with pytest.raises(ArgumentValueError, match="next must be one of"):
        parse("a", next="both")


@given(
    st.text(alphabet="abFGXUWRMN&|!()[]{}<>-=:0123. \"'\\\n", max_size=40),
    st.sampled_from(sorted(DIALECTS)),
)
def test_any_text_is_a_formula_or_an_error_with_a_place(text, dialect):
    try:
        formula = parse(text, dialect=dialect)
    except FormulaSyntaxError as error:
        assert 0 <= error.position <= len(text)
    else:
        assert parse(str(formula)) is formula


@given(formulas(timed=True, signals=("x",)))
def test_other_spellings_read_the_same(formula):
    text = str(formula)
    spelled = text.replace("&", "/\\").replace("|", "\\/").replace("!", "~").replace("X[~]", "X[!]")
    spelled = spelled.replace("x ~=", "x !=").replace("F ", "<> ").replace("G[", "[][")
    assert parse(spelled) is formula


def test_a_megabyte_is_read_in_linear_steps():
    names = [f"p{index}" for index in range(20_000)]
    assert len(parse(" & ".join(names)).args) == 20_000
    nested = "(" * 200_000 + "a" + ")" * 200_000
    assert parse(nested) is atom("a")
    chain = parse(" U ".join(names))
    assert chain.depth == 20_000
    with pytest.raises(FormulaSyntaxError) as caught:
        parse("(" * 500_000)
    # The message shows a terminal's width of it.
    assert len(str(caught.value)) < 400


def test_every_formula_of_the_data_round_trips(shared_data):
    count = 0
    for name, dialect in [
        ("sat_past", "black"),
        ("dfa_sizes", "spot"),
        ("monitor_ltl3", "spot"),
        ("mtl_traces", "spot"),
        ("synthesis", "spot"),
    ]:
        for line in shared_data(f"logic/{name}.jsonl").read_text().splitlines():
            text = json.loads(line)["formula"]
            formula = parse(text, dialect=dialect)
            assert parse(str(formula)) is formula
            count += 1
    assert count == 371 + 555 + 752 + 374 + 155


def test_operator_and_predicate_objects():
    assert parse("x >= 0.1").predicate == ("x", ">=", 0.1)
    assert parse("x > 1") is predicate("x", ">", 1)
    assert parse("!a") is make(Op.NOT, [atom("a")])
