"""Automata: published sizes, agreement with the definitions, and everything derived from them."""

from __future__ import annotations

import builtins
import itertools
import json
import pickle
import random
import re
import threading

import numpy as np
import pytest
from reference import temporal

from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    StateLimitError,
    UndecidedError,
)
from midstream.logic import _automaton
from midstream.logic import formula as formulas
from midstream.logic._automaton import Kernel, restored
from midstream.logic.automaton import Automaton
from midstream.logic.automaton import compile as compile_formula
from midstream.logic.formula import Interval, Op, make
from midstream.logic.parser import parse

#: Seconds for one row; every row takes some milliseconds at most.
ROW_LIMIT_S = 10.0
ATOMS = ("a", "b", "c")
LETTERS = [set(some) for k in range(4) for some in itertools.combinations(ATOMS, k)]
BOOLEAN = [Op.NOT, Op.AND, Op.OR, Op.XOR, Op.IFF, Op.IMPLIES]
FUTURE = [
    Op.NEXT,
    Op.STRONG_NEXT,
    Op.EVENTUALLY,
    Op.ALWAYS,
    Op.UNTIL,
    Op.WEAK_UNTIL,
    Op.RELEASE,
    Op.STRONG_RELEASE,
]
PAST = [Op.YESTERDAY, Op.WEAK_YESTERDAY, Op.ONCE, Op.HISTORICALLY, Op.SINCE, Op.TRIGGER]
UNARY = {
    Op.NOT,
    Op.NEXT,
    Op.STRONG_NEXT,
    Op.EVENTUALLY,
    Op.ALWAYS,
    Op.YESTERDAY,
    Op.WEAK_YESTERDAY,
    Op.ONCE,
    Op.HISTORICALLY,
}


def random_formula(rng, size, operators, windows=False):
    if size <= 1:
        return rng.choice([formulas.atom(name) for name in ATOMS] * 3 + [formulas.true])
    op = rng.choice(operators)
    interval = None
    if windows and op in formulas.TIMED and rng.random() < 0.5:
        low = rng.randrange(4)
        interval = Interval(low, rng.choice([low, low + 1, low + 2, low + 3, float("inf")]))
    if op in UNARY:
        return make(op, (random_formula(rng, size - 1, operators, windows),), interval)
    left = rng.randint(1, max(1, size - 2))
    parts = (left, max(1, size - 1 - left))
    args = tuple(random_formula(rng, part, operators, windows) for part in parts)
    return make(op, args, interval)


def random_trace(rng, longest):
    return [rng.choice(LETTERS) for _ in range(rng.randint(1, longest))]


def moore_classes(automaton):
    """States that are left when Moore's refinement is done, on the plain table."""
    table, n = automaton.table(), automaton.n_states
    kind = np.append(automaton.accepting.astype(int), -1)  # -1: letters that cannot occur
    while True:
        rows = np.concatenate([kind[:n, None], kind[table]], axis=1)
        finer = np.append(np.unique(rows, axis=0, return_inverse=True)[1].ravel(), -1)
        if len(np.unique(finer)) == len(np.unique(kind)):
            return len(np.unique(kind[:n]))
        kind = finer


def colours(automaton):
    """Verdicts by reachability on the plain table."""
    table = automaton.table()

    def reaches(target):
        target = np.append(target, False)
        while True:
            more = target | np.append(target[table].any(axis=1), False)
            if (more == target).all():
                return target[:-1]
            target = more

    good, bad = reaches(automaton.accepting), reaches(~automaton.accepting)
    return np.where(~bad, 4, np.where(~good, 0, np.where(automaton.accepting, 3, 1)))


def eps_free(automaton):
    """States of the smaller automaton of L and of L with the empty word."""
    initial = ~automaton.initial
    reached = (automaton.nodes[:, 1:] == initial).any() or (automaton.roots == initial).any()
    same = automaton.roots == automaton.roots[0]
    if reached or not (same & automaton.accepting).any():
        return automaton.n_states
    return automaton.n_states - 1


def test_every_row_of_the_sizes(shared_data):
    lines = shared_data("logic/dfa_sizes.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == 555
    # All are decided: a limit that is met would be an error here.
    for row in rows:
        formula = parse(row["formula"])
        automaton = compile_formula(formula, timeout_s=ROW_LIMIT_S)
        narrow = compile_formula(formula, letters="at_most_one", timeout_s=ROW_LIMIT_S)
        assert (
            automaton.n_states,
            int(automaton.accepting.sum()),
            bool((automaton.colours == 0).any()),
            eps_free(automaton),
            automaton.n_states_transition,
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


def test_sizes_that_mona_prints(shared_data):
    lines = shared_data("logic/synthesis.jsonl").read_text().splitlines()
    compared = 0
    for row in map(json.loads, lines):
        if row["mona_states"] is None or row["mona_states"] > 3000:
            continue
        try:
            n_states = compile_formula(parse(row["formula"]), timeout_s=1).n_states
        except (StateLimitError, UndecidedError):
            continue
        assert row["mona_states"] - n_states in (1, 2), row["formula"]
        compared += 1
    assert compared > 100


@pytest.mark.parametrize(
    ("text", "n_states"),
    [
        ("true", 2),
        ("false", 1),
        ("F a", 2),
        ("G a", 3),
        ("a U b", 3),
        ("X a", 4),
        ("X[!] true", 3),
        ("X false", 3),
        ("G(a -> F[0:7] b)", 10),
        ("G(a -> O[0:7] b)", 10),
        ("G(a -> G[0:7] b)", 10),
        ("F[3:5] a", 8),
        ("F[0:3] true", 2),
        ("G F a & G F b & F G a", 2),
        ("O a", 3),
        ("Y a", 1),
        ("Z a", 2),
        ("F(a & Y b)", 3),
        ("p0 U (p1 U (p2 U (p3 U (p4 U (p5 U (p6 U p7))))))", 9),
    ],
)
def test_sizes_by_hand(text, n_states):
    assert compile_formula(parse(text)).n_states == n_states


@pytest.mark.parametrize(
    ("operators", "windows"),
    [
        (BOOLEAN + FUTURE, False),
        (BOOLEAN + FUTURE, True),
        (BOOLEAN + PAST, False),
        (BOOLEAN + PAST, True),
        (BOOLEAN + FUTURE + PAST, False),
        (BOOLEAN + FUTURE + PAST, True),
    ],
    ids=["future", "future-windows", "past", "past-windows", "mixed", "mixed-windows"],
)
def test_random_formulas_against_the_definitions(operators, windows):
    rng = random.Random(repr((len(operators), windows)))
    for _ in range(400):
        formula = random_formula(rng, rng.randint(2, 11), operators, windows)
        automaton = compile_formula(formula, alphabet=ATOMS, timeout_s=ROW_LIMIT_S)
        assert moore_classes(automaton) == automaton.n_states, str(formula)
        assert (colours(automaton) == automaton.colours).all(), str(formula)
        for _ in range(12):
            trace = random_trace(rng, 8)
            expected = temporal.holds(formula, trace)
            assert automaton.accepts(trace) == expected, (str(formula), trace)


@pytest.mark.parametrize("letters", ["at_most_one", "exactly_one", "a -> b", "!a & !b & !c"])
def test_restricted_letters(letters):
    rng = random.Random(letters)
    legal = letters if "_" in letters else parse(letters)

    def occurs(letter):
        if letters == "at_most_one":
            return len(letter) <= 1
        if letters == "exactly_one":
            return len(letter) == 1
        return temporal.holds(legal, [letter])

    allowed = [letter for letter in LETTERS if occurs(letter)]
    for _ in range(150):
        formula = random_formula(rng, rng.randint(2, 9), BOOLEAN + FUTURE + PAST, True)
        automaton = compile_formula(formula, alphabet=ATOMS, letters=legal)
        assert moore_classes(automaton) == automaton.n_states, str(formula)
        assert (colours(automaton) == automaton.colours).all(), str(formula)
        table = automaton.table()
        for mask in range(8):
            letter = {name for bit, name in enumerate(ATOMS) if mask >> bit & 1}
            assert ((table[:, mask] == automaton.n_states) == (letter not in allowed)).all()
        for _ in range(8):
            trace = [rng.choice(allowed) for _ in range(rng.randint(1, 7))]
            assert automaton.accepts(trace) == temporal.holds(formula, trace), str(formula)
        full = compile_formula(formula, alphabet=ATOMS)
        assert automaton.n_states <= full.n_states
        for edge in automaton.edges():
            guard = parse(edge.guard)
            for mask in range(8):
                letter = {name for bit, name in enumerate(ATOMS) if mask >> bit & 1}
                if letter in allowed:
                    goes = table[edge.source, mask] == edge.target
                    assert goes == temporal.holds(guard, [letter]), str(formula)


def test_a_word_with_a_letter_that_cannot_occur_is_rejected():
    automaton = compile_formula(parse("F a | G b"), letters="at_most_one")
    assert automaton.accepts([{"a"}, {"b"}])
    assert not automaton.accepts([{"a"}, {"a", "b"}, {"a"}])
    assert automaton.run([{"a"}, {"a", "b"}, {"a"}]).tolist()[1:] == [automaton.n_states] * 2
    assert automaton.step(0, 3) == automaton.n_states


def test_products_are_those_of_formulas():
    rng = random.Random(5)
    for _ in range(150):
        f, g = (random_formula(rng, rng.randint(1, 7), BOOLEAN + FUTURE + PAST) for _ in range(2))
        a = compile_formula(f, alphabet=rng.sample(ATOMS, 3))
        b = compile_formula(g)
        pairs = [(a & b, f & g), (a | b, f | g), (a ^ b, f ^ g), (~b, ~g), (~~a, f)]
        for product, both in pairs:
            direct = compile_formula(both, alphabet=product.alphabet)
            assert product.equivalent(direct), (str(f), str(g))
            assert product.n_states == direct.n_states, (str(f), str(g))
        same = compile_formula(formulas.iff(f, g)).is_universal()
        assert a.equivalent(b) == same == b.equivalent(a)


def test_products_over_other_orders_of_many_atoms():
    names = [f"p{k}" for k in range(6)]
    f = parse(" & ".join(f"F {name}" for name in names))
    forwards = compile_formula(f, alphabet=names)
    backwards = compile_formula(f, alphabet=names[::-1])
    assert forwards.equivalent(backwards)
    assert (forwards & backwards).equivalent(forwards)
    assert (forwards ^ backwards).is_empty()


def test_products_want_the_same_letters():
    a, b = (compile_formula(parse("F a"), letters=some) for some in ("all", "at_most_one"))
    with pytest.raises(ArgumentValueError, match="same letters"):
        a & b
    with pytest.raises(ArgumentValueError, match="same letters"):
        b | compile_formula(parse("F b"), letters="at_most_one")
    with pytest.raises(TypeError):
        a & 3
    assert (~b).equivalent(compile_formula(parse("!F a"), letters="at_most_one"))


def test_shortest_words():
    rng = random.Random(9)
    words = [
        [list(letters) for letters in itertools.product(LETTERS, repeat=n)] for n in range(1, 4)
    ]
    for _ in range(60):
        formula = random_formula(rng, rng.randint(1, 8), BOOLEAN + FUTURE + PAST)
        automaton = compile_formula(formula, alphabet=ATOMS)
        for accepted in (True, False):
            word = automaton.shortest(accepted=accepted)
            if word is not None:
                assert automaton.accepts(word) == accepted
            shorter = 4 if word is None else len(word)
            for some in words[: shorter - 1]:
                assert all(automaton.accepts(other) != accepted for other in some[:64])
        assert automaton.is_empty() == (automaton.shortest() is None)


def test_edges_are_the_table():
    rng = random.Random(3)
    for _ in range(60):
        formula = random_formula(rng, rng.randint(1, 9), BOOLEAN + FUTURE)
        automaton = compile_formula(formula, alphabet=ATOMS)
        table = automaton.table()
        seen = np.zeros_like(table)
        for source, guard, target in automaton.edges():
            condition = parse(guard)
            for mask in range(8):
                letter = {name for bit, name in enumerate(ATOMS) if mask >> bit & 1}
                if temporal.holds(condition, [letter]):
                    assert table[source, mask] == target
                    seen[source, mask] += 1
        assert (seen == 1).all()


def test_guards_are_irredundant():
    # Exclusive or of three has four products of three literals, a majority three of two.
    (guard,) = {
        edge.guard
        for edge in compile_formula(parse("F(a xor b xor c)")).edges()
        if edge.source != edge.target
    }
    assert sorted(map(len, guard.split(" | "))) == sorted([len("a & b & c")] + 3 * [11])
    automaton = compile_formula(parse("F((a & b) | (b & c) | (a & c))"))
    (guard,) = {edge.guard for edge in automaton.edges() if edge.source != edge.target}
    assert set(guard.split(" | ")) == {"a & b", "a & c", "b & c"}


def xor_of(n):
    return compile_formula(parse(" xor ".join(f"a{i}" for i in range(n))))


def random_clauses(rng, n_atoms, n_clauses, width):
    """Clauses over few of many atoms: short formulas with long sums of products."""
    clauses = []
    for _ in range(n_clauses):
        atoms = rng.sample(range(n_atoms), width)
        clauses.append(" & ".join(rng.choice(["", "!"]) + f"a{i}" for i in atoms))
    return " | ".join(f"({clause})" for clause in clauses)


def hoa_labels(text):
    """Each state's (condition, target) of an HOA text, aliases resolved as they are written."""
    aliases = {}

    def condition(label):
        words = re.findall(r"@n\d+|\d+|[tf!&|()]", label)
        assert "".join(words) == label.replace(" ", "")
        known = {"t": "True", "f": "False", "!": " not ", "&": " and ", "|": " or "}
        known |= {"(": "(", ")": ")"}
        # An alias is defined before it is used.
        known |= {word: f"A['{word}']" for word in aliases}
        code = "".join(f"L[{word}]" if word.isdigit() else known[word] for word in words)
        return builtins.compile(code.strip(), "label", "eval")

    header, body = text.split("--BODY--")
    for name, label in re.findall(r"^Alias: (@n\d+) (.*)$", header, re.M):
        aliases[name] = condition(label)
    states = re.split(r"^State: \d+.*$", body, flags=re.M)[1:]
    edges = [
        [(condition(label), int(target)) for label, target in re.findall(r"\[(.*)\] (\d+)", state)]
        for state in states
    ]
    return aliases, edges


def hoa_step(aliases, edges, state, letter):
    values = {}
    for name, code in aliases.items():
        values[name] = eval(code, {"L": letter, "A": values})
    (target,) = (to for code, to in edges[state] if eval(code, {"L": letter, "A": values}))
    return target


def assert_guards_are_right(automaton, rng, count):
    """Guards of `edges` and labels of `to_hoa` against the diagram, on random letters."""
    edges = [(source, parse(guard), target) for source, guard, target in automaton.edges()]
    aliases, labels = hoa_labels(automaton.to_hoa())
    assert len(labels) == automaton.n_states
    for _ in range(count):
        state = rng.randrange(automaton.n_states)
        letter = [rng.random() < 0.5 for _ in automaton.alphabet]
        names = {name for name, true in zip(automaton.alphabet, letter, strict=True) if true}
        mask = sum(1 << bit for bit, true in enumerate(letter) if true)
        after = automaton.step(state, mask)
        found = [to for source, guard, to in edges if source == state and guard.holds([names])]
        assert found == [after]
        assert hoa_step(aliases, labels, state, letter) == after


@pytest.mark.parametrize("n", [6, 7, 24, 60, 150])
def test_guards_of_exclusive_or_are_short(n):
    # 2**(n - 1) products of n literals.
    automaton = xor_of(n)
    assert max(len(edge.guard) for edge in automaton.edges()) < 12 * n + 1000
    assert len(automaton.to_dot()) < 40 * n + 3000
    assert len(automaton.to_hoa()) < 100 * n + 3000
    assert len(automaton._repr_html_()) < 40 * n + 4000
    assert_guards_are_right(automaton, random.Random(n), 40)


def test_guards_that_are_not_drawn_as_sums_of_products():
    # The negation of a short sum of products; the same as product of sums has 2**20 products.
    automaton = compile_formula(parse(" | ".join(f"(a{i} & b{i})" for i in range(20))))
    short, negated = sorted((edge.guard for edge in automaton.edges()[:2]), key=len)
    assert short.count("|") == 19 and negated == f"!({short})"
    assert_guards_are_right(automaton, random.Random(1), 40)
    assert automaton.to_hoa().count("Alias") == 0
    # Within each other, with constant branches of every kind.
    texts = ["a0 & !(a1 | X)", "!a0 | (a1 & X)", "(a0 -> !X) & (a1 | X)", "a0 xor a1 xor !X"]
    for k, text in enumerate(texts):
        tail = " xor ".join(f"c{i}" for i in range(12))
        formula = parse(text.replace("X", f"({tail})"))
        automaton = compile_formula(formula, alphabet=sorted(formula.atoms))
        assert "xor" in automaton.to_dot() and "Alias" in automaton.to_hoa()
        assert_guards_are_right(automaton, random.Random(k), 60)


def test_guards_of_random_formulas_of_thirty_atoms():
    rng = random.Random(8)
    for n_clauses, width in [(12, 3), (13, 4)]:
        automaton = compile_formula(parse(random_clauses(rng, 30, n_clauses, width)))
        assert len(automaton.to_dot()) < 20_000
        assert_guards_are_right(automaton, rng, 30)
        assert len(automaton._repr_html_()) < 20_000


def test_restricted_letters_have_short_guards_too():
    alphabet = tuple(f"a{i}" for i in range(14))
    legal = parse(" xor ".join(alphabet[:13]))
    automaton = compile_formula(parse(" xor ".join(alphabet[1:])), alphabet=alphabet, letters=legal)
    edges = [(source, parse(guard), target) for source, guard, target in automaton.edges()]
    aliases, labels = hoa_labels(automaton.to_hoa())
    rng = random.Random(2)
    for mask in (rng.randrange(1 << 14) for _ in range(100)):
        after = automaton.step(0, mask)
        letter = [bool(mask >> bit & 1) for bit in range(14)]
        names = {name for name, true in zip(alphabet, letter, strict=True) if true}
        if after == automaton.n_states:
            with pytest.raises(ValueError, match="not enough values"):
                hoa_step(aliases, labels, 0, letter)
            continue
        assert hoa_step(aliases, labels, 0, letter) == after
        assert [to for s, guard, to in edges if s == 0 and guard.holds([names])] == [after]


def test_text_that_is_too_long_is_refused():
    automaton = compile_formula(parse(" & ".join(f"G(a{i} -> F b{i})" for i in range(5))))
    assert len(automaton.edges()) == 33 * 32
    for write in (automaton.edges, automaton.to_dot, automaton.to_hoa):
        with pytest.raises(StateLimitError, match="max_terms=500: a larger max_terms") as caught:
            write(max_terms=500)
        assert caught.value.limit == 500
        with pytest.raises(ArgumentValueError, match="max_terms"):
            write(max_terms=0)
    assert "<table" not in automaton._repr_html_()
    # No short form at all, and a diagram that takes long to cover.
    hard = compile_formula(parse(random_clauses(random.Random(0), 30, 40, 4)))
    for write in (hard.edges, hard.to_dot, hard.to_hoa):
        with pytest.raises(StateLimitError, match="max_terms=100"):
            write(max_terms=100)


def test_notebooks_show_short_texts():
    for text in [
        random_clauses(random.Random(3), 20, 30, 4),
        " & ".join(f"(a{i} xor a{i + 8})" for i in range(8)),
        " & ".join(f"F a{i}" for i in range(4)),
        f'F "{"x" * 5000}"',
        "F[0:5000] a",
    ]:
        page = compile_formula(parse(text))._repr_html_()
        assert page.startswith("<b>automaton</b> of ")
        assert len(page) < 50_000
    page = compile_formula(parse("F[0:5000] a"))._repr_html_()
    assert page.endswith("by verdict: 1 false, 5001 presumably false, 1 true")
    assert "<table" in xor_of(20)._repr_html_()


def test_dot_and_html_quote_names():
    automaton = compile_formula(parse('G("x \\" y" -> F "<b>")'))
    dot = automaton.to_dot()
    assert dot.count("->") == 1 + len(automaton.edges())
    assert '\\"x \\\\\\" y\\"' in dot
    page = automaton._repr_html_()
    assert "&lt;b&gt;" in page
    assert "<b>&" not in page
    many = compile_formula(parse("F[0:100] a"))
    assert "<table" not in many._repr_html_()


def test_hoa_names_every_state_and_letter_once():
    automaton = compile_formula(parse("G(a -> X[!] b) | F c"))
    text = automaton.to_hoa(name='a "name"')
    assert text.startswith('HOA: v1\nname: "a \\"name\\""\nStates: ')
    assert 'AP: 3 "a" "b" "c"' in text
    states = re.findall(r"^State: (\d+)( \{0\})?$", text, re.M)
    assert [int(state) for state, _ in states] == list(range(automaton.n_states))
    assert [bool(mark) for _, mark in states] == automaton.accepting.tolist()


def test_spot_reads_our_automata():
    spot = pytest.importorskip("spot")
    for text in ["G(a -> F b)", "a U (b & X[!] c)", "F a & G(b -> X[!] c)", "G a", "true", "false"]:
        ours = compile_formula(parse(text))
        read = spot.automaton(ours.to_hoa())
        assert read.num_states() == ours.n_states
        assert read.ap() == tuple(spot.formula.ap(name) for name in ours.alphabet) or (
            {str(name) for name in read.ap()} == set(ours.alphabet)
        )
        assert spot.is_deterministic(read)
        assert spot.is_complete(read)
        theirs = spot.to_finite(spot.from_ltlf(text).translate("small", "buchi", "sbacc"))
        # Both as finite automata: the same words, once the empty one is set aside.
        for word in itertools.islice(_words(len(ours.alphabet)), 200):
            assert ours.accepts(np.array(word, dtype=np.uint64)) == _accepts(
                spot, theirs, ours.alphabet, word
            )


def _words(n_atoms):
    for length in range(1, 6):
        yield from itertools.product(range(1 << n_atoms), repeat=length)


def _accepts(spot, automaton, alphabet, word):
    """Whether a finite automaton of Spot, non-deterministic or not, accepts masks."""
    import buddy

    numbers = [automaton.register_ap(name) for name in alphabet]
    states = {automaton.get_init_state_number()}
    for mask in word:
        letter = buddy.bddtrue
        for bit, number in enumerate(numbers):
            var = buddy.bdd_ithvar(number)
            letter = letter & (var if mask >> bit & 1 else buddy.bdd_not(var))
        states = {
            edge.dst
            for state in states
            for edge in automaton.out(state)
            if (edge.cond & letter) != buddy.bddfalse
        }
    return any(automaton.state_is_accepting(state) for state in states)


def test_pickles_and_cannot_be_changed():
    automaton = compile_formula(parse("G(a -> F b) & x > 0.5"), letters=parse("a | b"))
    again = pickle.loads(pickle.dumps(automaton))
    assert again.equivalent(automaton)
    assert again.letters is automaton.letters
    assert again.predicates == automaton.predicates
    for one in (automaton, again):
        with pytest.raises(ValueError, match="read-only"):
            one.roots[0] = 0
    with pytest.raises(ArgumentTypeError, match="use compile"):
        Automaton()


def test_predicates_are_atoms():
    automaton = compile_formula(parse("G(x > 0.5 -> F y < 2)"))
    assert automaton.alphabet == ("x > 0.5", "y < 2")
    assert automaton.accepts([{"x": 1.0, "y": 3.0}, {"x": 0.0, "y": 1.0}])
    assert not automaton.accepts([{"x": 1.0, "y": 3.0}, {"x": 0.0, "y": 2.5}])
    assert not automaton.accepts({"x": np.array([0.0, 1.0]), "y": np.array([0.0, 5.0])})
    assert any("(x > 0.5)" in edge.guard for edge in automaton.edges())


def test_alphabet_is_the_order_of_variables():
    automaton = compile_formula(parse("a U b"), alphabet=["z", "b", "a"])
    assert automaton.alphabet == ("z", "b", "a")
    assert automaton.accepts([0b100, 0b010])
    assert set(automaton.nodes[:, 0].tolist()) == {1, 2}
    with pytest.raises(ArgumentValueError, match="lacks 'b'"):
        compile_formula(parse("a U b"), alphabet=["a"])


def test_more_atoms_than_bits_of_a_word():
    names = [f"p{k}" for k in range(150)]
    automaton = compile_formula(formulas.always(formulas.or_(*map(formulas.atom, names))))
    assert automaton.n_states == 3
    assert automaton.accepts([{name} for name in names])
    assert not automaton.accepts([{names[0]}, set()])
    assert automaton.step(0, 1 << 149) == automaton.step(0, 1)
    assert [len(letter) for letter in automaton.shortest()] == [1]


def test_table_is_refused_where_it_is_large():
    automaton = compile_formula(parse(" & ".join(f"G p{k}" for k in range(13))))
    with pytest.raises(ArgumentValueError, match="max_atoms must be at least 13"):
        automaton.table()
    assert automaton.table(max_atoms=13).shape == (3, 1 << 13)


def test_arguments_are_checked():
    f = parse("F a")
    with pytest.raises(ArgumentTypeError, match="formula must be a Formula"):
        compile_formula(3)
    with pytest.raises(ArgumentValueError, match="letters must be one of"):
        compile_formula(f, letters="some")
    with pytest.raises(ArgumentValueError, match="no temporal operator"):
        compile_formula(f, letters=f)
    with pytest.raises(
        ArgumentValueError, match="letters must allow some letter of the alphabet, but allow none"
    ):
        compile_formula(f, letters=parse("a & !a"))
    with pytest.raises(ArgumentValueError, match="max_states"):
        compile_formula(f, max_states=0)
    with pytest.raises(ArgumentValueError, match="state must be at most"):
        compile_formula(f).step(2, 0)
    with pytest.raises(ArgumentValueError, match="mask must be at most 1"):
        compile_formula(f).step(0, 2)
    assert compile_formula(f).accepts([]) is False
    assert compile_formula(f).run([]).shape == (0,)


@pytest.mark.parametrize(
    "text",
    [
        "F[0:1000000000] a",
        "G(a -> F[0:1000000000] b)",
        "F[1000000000:1000000001] a",
        "O[0:1000000000] a",
        "F(O[1000000000:1000000001] a)",
        "G(a -> H[0:4000] b)",
        " & ".join(f"F p{k}" for k in range(40)),
        " & ".join(f"G(p{k} -> F q{k})" for k in range(40)),
        "F(" + " & ".join(f"(p{k} <-> X[!] {'X[!] ' * 40}q{k})" for k in range(20)) + ")",
    ],
)
def test_hostile_formulas_meet_a_limit(text):
    with pytest.raises(StateLimitError) as caught:
        compile_formula(parse(text), max_states=500)
    assert caught.value.limit > 0
    assert str(caught.value.limit) in str(caught.value)


def equal_pairs(first, last):
    """a_k <-> b_k for each k: where all a come before all b, twice as many nodes for each."""
    return [formulas.iff(*map(formulas.atom, (f"a{k}", f"b{k}"))) for k in range(first, last)]


A_BEFORE_B = [f"{letter}{k}" for letter in "ab" for k in range(20)]


@pytest.mark.parametrize("op", BOOLEAN, ids=lambda op: op.name)
def test_formulas_that_are_too_large_as_a_whole_are_joined_from_their_parts(op):
    # Each operand is small, and both together are more than the attempt as a whole may take.
    f, g = (formulas.and_(*equal_pairs(k, k + 8)) for k in (0, 8))
    both = formulas.xor(formulas.xor(f, g), formulas.atom("a16"))
    formula = formulas.not_(both) if op == Op.NOT else make(op, (f, g))
    automaton = compile_formula(formula, alphabet=A_BEFORE_B)
    assert automaton.n_states == 3
    assert automaton.n_nodes > 50_000
    rng = random.Random(str(op))
    accepted = 0
    for _ in range(300):
        letter = set()
        for k in range(17):
            a = rng.random() < 0.5
            b = a if rng.random() < 0.9 else not a
            letter |= {f"a{k}"} if a else set()
            letter |= {f"b{k}"} if b else set()
        expected = temporal.holds(formula, [letter])
        assert automaton.accepts([letter]) == expected
        accepted += expected
    assert 0 < accepted < 300


def test_limits_hold_where_parts_are_joined():
    f, g = (formulas.and_(*equal_pairs(k, k + 9)) for k in (0, 9))
    with pytest.raises(StateLimitError, match="a decision diagram has more than 265216 nodes"):
        compile_formula(formulas.and_(f, g), alphabet=A_BEFORE_B, max_states=3)
    # The result is that of one operand, but all pairs are visited on the way.
    f, g = (formulas.and_(*equal_pairs(k, k + 10)) for k in (0, 10))
    last = formulas.atom("z")
    formula = formulas.implies(formulas.and_(f, last), formulas.and_(g, formulas.not_(last)))
    with pytest.raises(UndecidedError, match="no automaton after 4243456 steps"):
        compile_formula(formula, alphabet=[*A_BEFORE_B, "z"], max_states=3)
    # Deeper than operands are looked for, and with a window that no diagram can hold.
    formula = parse("O[0:1000000000] a")
    for k in range(50):
        join = formulas.and_ if k % 2 else formulas.or_
        formula = join(formulas.atom(f"p{k}"), formula)
    for one in (formula, formulas.not_(formula)):
        with pytest.raises(StateLimitError, match="one has 1000000000 steps"):
            compile_formula(one)


@pytest.mark.parametrize("n", [10, 11, 12])
def test_an_attempt_may_end_at_any_step(n):
    # The larger the operand of "once", the earlier is the step at which it costs too much.
    once = formulas.once(formulas.and_(*equal_pairs(0, n), parse("F c")))
    alphabet = [*A_BEFORE_B, "c", "d"]
    both = compile_formula(formulas.and_(once, parse("F d")), alphabet=alphabet)
    parts = [compile_formula(part, alphabet=alphabet) for part in (once, parse("F d"))]
    assert both.equivalent(parts[0] & parts[1])


def test_letters_and_guesses_that_are_too_large_meet_a_limit():
    letters = formulas.and_(*equal_pairs(0, 20))
    guessed = formulas.once(formulas.eventually(letters))
    with pytest.raises(StateLimitError, match="a decision diagram has more than 265216 nodes"):
        compile_formula(guessed, alphabet=A_BEFORE_B, max_states=3)
    with pytest.raises(StateLimitError, match="a decision diagram has more than 265216 nodes"):
        compile_formula(parse("F a0"), alphabet=A_BEFORE_B, letters=letters, max_states=3)


@pytest.mark.parametrize(
    "text",
    [
        "c S[0:130000] b",
        "(a xor b xor c) S[130000:130000] b",
        "O[0:130000] (a & F b)",
        "F[0:200000] a & b",
        "F[1e15:inf] a",
        "F[9e15:9.007e15] a",
    ],
)
def test_windows_that_no_diagram_can_hold_meet_a_limit(text):
    with pytest.raises(StateLimitError, match=r"windows are written out step by step"):
        compile_formula(parse(text), max_states=3)


def test_windows_without_a_step_are_constants():
    rng = random.Random(23)
    for op in formulas.TIMED:
        args = [formulas.atom("a"), formulas.atom("b")][: 1 if op in UNARY else 2]
        empty = make(op, args, Interval(0.25, 0.75))
        # As such, at the next position, as what others owe there, and remembered.
        for formula in (
            empty,
            formulas.weak_next(empty),
            formulas.strong_next(formulas.xor(empty, parse("F c"))),
            formulas.eventually(formulas.and_(formulas.atom("c"), empty)),
            formulas.once(formulas.or_(formulas.atom("c"), empty)),
        ):
            automaton = compile_formula(formula, alphabet=ATOMS)
            assert moore_classes(automaton) == automaton.n_states, str(formula)
            for _ in range(20):
                trace = random_trace(rng, 6)
                expected = temporal.holds(formula, trace)
                assert automaton.accepts(trace) == expected, (str(formula), trace)


def test_one_future_formula_within_several_past_ones():
    rng = random.Random(29)
    for text in ("Y F a & O (b & F a)", "Y F a | H F a", "((F a) S (F b)) xor (c S (F b))"):
        formula = parse(text)
        automaton = compile_formula(formula, alphabet=ATOMS)
        assert moore_classes(automaton) == automaton.n_states, text
        for _ in range(200):
            trace = random_trace(rng, 7)
            assert automaton.accepts(trace) == temporal.holds(formula, trace), (text, trace)


@pytest.mark.parametrize(
    "text",
    [
        "O (a & X[!] X[!] X[!] b)",
        "G (b -> O (a & X[!] X[!] c))",
        "Y (a R (b | X[!] X[!] X[!] c)) xor O (c & F[3:4] a)",
        "H (a -> F[1:4] b) & O (b & X a)",
        "(F a & F b & F c) xor (G (a -> X b) & F[2:4] c)",
        "G(a -> X[!] (b U c)) <-> (a S (b & O c))",
    ],
)
def test_whatever_the_limit_of_states_an_answer_is_right(text):
    whole = compile_formula(parse(text), alphabet=ATOMS)
    met = 0
    for max_states in [*range(1, 120), *range(120, 3000, 97)]:
        try:
            automaton = compile_formula(parse(text), alphabet=ATOMS, max_states=max_states)
        except StateLimitError as error:
            assert error.limit == max_states
            met += 1
        else:
            assert automaton.n_states <= max_states
            assert automaton.equivalent(whole)
    assert whole.n_states - 1 <= met < 149


@pytest.mark.parametrize("letters", ["at_most_one", "exactly_one", "a -> b"])
def test_products_over_restricted_letters_are_those_of_formulas(letters):
    rng = random.Random(letters)
    legal = letters if "_" in letters else parse(letters)
    for _ in range(60):
        f, g = (random_formula(rng, rng.randint(1, 7), BOOLEAN + FUTURE + PAST) for _ in range(2))
        a, b = (compile_formula(some, alphabet=ATOMS, letters=legal) for some in (f, g))
        for product, both in [(a & b, f & g), (a | b, f | g), (a ^ b, f ^ g), (~b, ~g)]:
            direct = compile_formula(both, alphabet=ATOMS, letters=legal)
            assert product.equivalent(direct), (str(f), str(g))


def test_arrays_whose_states_no_letter_leaves_are_safe():
    """No formula has such an automaton; what was saved may be anything."""
    restore = compile_formula(parse("a & b")).__reduce__()[0]

    def made(roots, accepting, nodes):
        arrays = (np.array(roots, np.int32), np.array(accepting, bool))
        nodes = np.array(nodes, np.int32).reshape(-1, 3)
        return restore(("a", "b"), (None, None), "all", *arrays, nodes)

    stuck = [
        made([-2], [False], []),
        made([0, -4, -3], [False, False, True], [[0, -2, -3]]),
        made([1, 0, -4], [False, True, True], [[1, -1, -3], [0, -2, 0]]),
    ]
    assert stuck[1].run(np.array([0, 0, 1], np.uint8)).tolist() == [1, 3, 3]
    assert stuck[1].run(np.array([1, 0, 1], np.uint8)).tolist() == [2, 2, 2]
    plain = [compile_formula(parse(text), alphabet=("a", "b")) for text in ("F b", "a & X[!] b")]
    for one, other in itertools.product(stuck, stuck + plain):
        for product in (one & other, other | one, one ^ other, ~one):
            again = pickle.loads(pickle.dumps(product))
            assert again.equivalent(product)
            assert (again.table() <= again.n_states).all()
            assert product.shortest() is None or product.accepts(product.shortest())


def test_limits_hold_for_products_and_other_orders():
    names = [f"{letter}{k}" for k in range(20) for letter in "ab"]
    pairs = compile_formula(formulas.and_(*equal_pairs(0, 20)), alphabet=names)
    assert pairs.n_nodes < 100
    own = np.arange(40, dtype=np.int32)
    others = np.array([A_BEFORE_B.index(name) for name in names], dtype=np.int32)
    product = _automaton.product(pairs._kernel, pairs._kernel, own, own, 8, 3, None)
    assert (product.n_states, product.n_nodes) == (3, pairs.n_nodes)
    with pytest.raises(StateLimitError, match="a decision diagram has more than 265216 nodes"):
        _automaton.product(pairs._kernel, pairs._kernel, own, others, 8, 3, None)
    for places in (own, own[::-1].copy()):
        with pytest.raises(StateLimitError, match="more than max_states=2 states"):
            _automaton.product(pairs._kernel, pairs._kernel, places, places, 8, 2, None)


def test_deep_and_wide_formulas():
    deep = parse("X[!] " * 5000 + "a")
    assert compile_formula(deep).n_states == 5003
    wide = parse(" | ".join(f"F p{k}" for k in range(2000)))
    assert compile_formula(wide).n_states == 2
    nested = parse("F(a & " * 3000 + "b" + ")" * 3000)
    assert compile_formula(nested).n_states == 2


def test_wide_windows_are_named_where_they_are_too_large():
    with pytest.raises(StateLimitError, match="and one has 1000000000 steps"):
        compile_formula(parse("G(a -> F[0:1e9] b)"))
    with pytest.raises(
        StateLimitError, match=r"max_states=10 states: windows .* 150 steps"
    ) as caught:
        compile_formula(parse("F[150:inf] a & F[0:3] b"), max_states=10)
    assert caught.value.limit == 10
    with pytest.raises(StateLimitError, match=r"max_states=10 states$"):
        compile_formula(parse("F[0:12] b"), max_states=10)


def test_time_is_bounded():
    names = range(24)
    hard = parse(" & ".join(f"G(p{k} -> X[!](!q{k} U r{k}))" for k in names))
    with pytest.raises(UndecidedError, match=r"timeout_s=0\.05"):
        compile_formula(hard, max_states=1 << 24, timeout_s=0.05)


def test_kernels_of_arrays_that_are_none():
    automaton = compile_formula(parse("F(a & X b)"), alphabet=("a", "b"))
    _, (_, _, _, roots, accepting, nodes) = automaton.__reduce__()
    accepting = accepting.view(np.uint8)
    kernel = restored(roots, accepting, nodes, 2)
    assert (kernel.n_states, kernel.n_nodes) == (len(roots), len(nodes))

    def changed(array, index, value):
        array = array.copy()
        array[index] = value
        return array

    n, m = len(roots), len(nodes)
    top = int(np.flatnonzero((nodes[:, 0] == 0) & (nodes[:, 1:].max(axis=1) >= 0))[0])
    child = int(nodes[top, 1:].max())
    for bad in (
        (roots[:0], accepting[:0], nodes),
        (roots, accepting[1:], nodes),
        (roots, accepting, nodes[:, :2].copy()),
        (changed(roots, 0, m), accepting, nodes),
        (changed(roots, 0, -n - 2), accepting, nodes),
        (roots, accepting, changed(nodes, (0, 0), 2)),
        (roots, accepting, changed(nodes, (0, 0), -1)),
        (roots, accepting, changed(nodes, (0, 1), 0)),
        (roots, accepting, changed(nodes, (0, 2), -n - 2)),
        (roots, accepting, changed(nodes, (child, 0), 0)),  # not below its parent
    ):
        with pytest.raises(ValueError, match="not the arrays of an automaton"):
            restored(*bad, 2)
    with pytest.raises(TypeError, match="made by compiled"):
        Kernel()


def test_threads_compile_at_once():
    f = parse(" & ".join(f"G(p{k} -> F q{k})" for k in range(6)))
    expected = compile_formula(f)
    results = []
    threads = [threading.Thread(target=lambda: results.append(compile_formula(f))) for _ in "1234"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert all(result.equivalent(expected) for result in results)


def test_interruption():
    import _thread

    names = range(24)
    hard = parse(" & ".join(f"G(p{k} -> X[!](!q{k} U r{k}))" for k in names))

    thread = threading.Timer(0.1, _thread.interrupt_main)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            compile_formula(hard, max_states=1 << 24, timeout_s=20)
    finally:
        # Where it failed before, nobody else is to be interrupted.
        thread.cancel()
        thread.join()
