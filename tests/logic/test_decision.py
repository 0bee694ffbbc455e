"""Decision procedures: against brute force, against published verdicts, and what they refuse."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import random
import signal
import sys
import threading

import pytest
from reference import lasso, temporal

from midstream.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    FormulaSyntaxError,
    StateLimitError,
    UndecidedError,
)
from midstream.logic import _tableau
from midstream.logic import formula as build
from midstream.logic._sat import Reach, System, Unroll
from midstream.logic.automaton import compile
from midstream.logic.decision import (
    _Question,
    consistent_letters,
    distinguishing,
    entails,
    equivalent,
    satisfiable,
    valid,
    witness,
)
from midstream.logic.infinite import ltl3_machine
from midstream.logic.monitor import Monitor
from midstream.logic.parser import parse
from midstream.logic.verdict import Verdict

LETTERS = [frozenset(), frozenset("a"), frozenset("b"), frozenset("ab")]
TRACES = [t for n in (1, 2, 3) for t in itertools.product(LETTERS, repeat=n)]
LASSOS = [
    (t[:i], t[i:]) for n in (1, 2) for t in itertools.product(LETTERS, repeat=n) for i in range(n)
]

UNARY = [
    build.not_,
    build.weak_next,
    build.strong_next,
    build.eventually,
    build.always,
    build.yesterday,
    build.weak_yesterday,
    build.once,
    build.historically,
    lambda f: build.eventually(f, 1, 2),
    lambda f: build.always(f, 1, 2),
    lambda f: build.once(f, 1, 2),
    lambda f: build.historically(f, 1, 1),
]
BINARY = [
    build.and_,
    build.or_,
    build.xor,
    build.iff,
    build.implies,
    build.until,
    build.weak_until,
    build.release,
    build.strong_release,
    build.since,
    build.trigger,
    lambda f, g: build.until(f, g, 1, 2),
    lambda f, g: build.release(f, g, 0, 1),
    lambda f, g: build.since(f, g, 1, 2),
    lambda f, g: build.trigger(f, g, 0, 1),
]


def small_formulas(size):
    """All formulas of at most so many operators over two atoms, each once."""
    levels = [[build.atom("a"), build.atom("b")]]
    for n in range(1, size + 1):
        level = [op(f) for op in UNARY for f in levels[n - 1]]
        for left in range(n):
            for op in BINARY:
                level += [op(f, g) for f in levels[left] for g in levels[n - 1 - left]]
        levels.append(list(dict.fromkeys(level)))
    return [f for level in levels for f in level]


def shortest(formula):
    """Length of the shortest trace of at most three letters that satisfies it, or None."""
    return next((len(t) for t in TRACES if temporal.holds(formula, t)), None)


def check_finite(formula):
    found, expected = witness(formula, timeout_s=30), shortest(formula)
    if found is None:
        assert expected is None, formula
        return
    assert temporal.holds(formula, found), formula
    assert found.minimal, formula
    assert len(found) == expected or (expected is None and len(found) > 3), formula


def check_infinite(formula):
    found = witness(formula, semantics="ltl", timeout_s=30)
    expected = next((word for word in LASSOS if lasso.holds(formula, *word)), None)
    if found is None:
        assert expected is None, formula
        return
    assert lasso.holds(formula, found.prefix, found.loop), formula
    if found.minimal and expected is not None:
        assert len(found.prefix) + len(found.loop) == len(expected[0]) + len(expected[1]), formula


def test_all_small_formulas_on_finite_traces():
    for formula in small_formulas(1):
        check_finite(formula)
        check_finite(build.not_(formula))


def test_all_small_formulas_on_infinite_words():
    for formula in small_formulas(1):
        check_infinite(formula)
        check_infinite(build.not_(formula))


def shuffled(system_arguments, rng):
    """The same transition system with its nodes in another order, and where each node went."""
    kind, first, arg, atoms, rule_first, rule, always, root = system_arguments
    order = list(range(len(kind)))
    rng.shuffle(order)
    place = {node: k for k, node in enumerate(order)}
    new_first, new_arg = [0], []
    for node in order:
        own = arg[first[node] : first[node + 1]]
        # The argument of an atom is no node.
        new_arg += own if kind[node] in (2, 3) else [place[other] for other in own]
        new_first.append(len(new_arg))
    return place, System(
        [kind[node] for node in order],
        new_first,
        new_arg,
        atoms,
        rule_first,
        rule,
        [place[node] for node in always],
        [place[node] for node in root],
    )


def test_the_order_of_nodes_says_nothing(monkeypatch):
    rng = random.Random(19)
    given = []

    def record(*arguments):
        given[:] = arguments
        return System(*arguments)

    monkeypatch.setattr(_tableau, "System", record)
    for formula in rng.sample(small_formulas(2), 150):
        made = _tableau.Tableau(
            formula,
            infinite=False,
            letters="all",
            alphabet=("a", "b"),
            limit=10_000,
            check=lambda: None,
            rounds=0,
        )
        place, system = shuffled(given, rng)
        root = place[given[7][0]]
        reach = Reach(system)
        reach.start([system.burden_of(root), *system.first_burdens()])
        answer = reach.run(1 << 40)
        assert answer == satisfiable(formula), formula
        if answer:
            letters, _ = reach.path()
            assert temporal.holds(formula, [made.letter(letter) for letter in letters]), formula


def test_a_search_answers_after_its_start_and_again():
    for text, answer in (("a & X[!] b", True), ("F a & G !a", False)):
        tableau = _Question(
            text,
            semantics="ltlf",
            letters="all",
            alphabet=None,
            timeout_s=None,
            max_nodes=1000,
        ).tableau()
        reach = Reach(tableau.system)
        assert reach.run(1_000_000) is None
        assert reach.reason() == []
        reach.start(tableau.start)
        assert reach.run(1_000_000) is answer
        assert reach.run(1_000_000) is answer
        assert bool(reach.reason()) is not answer
        reach.start(tableau.start)
        assert reach.run(1_000_000) is answer
        unroll = Unroll(tableau.system, tableau.start, True, tableau.fair, tableau.met)
        assert unroll.loop(0) == -1


def test_one_letter_may_be_too_hard_for_a_share_of_work():
    # Eight pigeons in seven holes, after a step: the solver alone takes longer than a share.
    sits = [[build.atom(f"p{p}h{h}") for h in range(7)] for p in range(8)]
    clauses = [build.or_(*row) for row in sits]
    for h in range(7):
        for one, other in itertools.combinations(range(8), 2):
            clauses.append(build.not_(build.and_(sits[one][h], sits[other][h])))
    formula = build.strong_next(build.and_(*clauses))
    question = _Question(
        formula,
        semantics="ltlf",
        letters="all",
        alphabet=None,
        timeout_s=None,
        max_nodes=10_000,
    )
    tableau = question.tableau()
    reach = Reach(tableau.system)
    reach.start(tableau.start)
    answers = [reach.run(1)]
    while answers[-1] is None:
        answers.append(reach.run(100_000))
    assert answers[-1] is False
    assert len(answers) > 2


@pytest.mark.parametrize("seed", range(3))
def test_larger_formulas(seed):
    formulas = small_formulas(2)
    rng = random.Random(seed)
    for formula in rng.sample(formulas, 120):
        other = rng.choice(formulas)
        for both in (formula, build.and_(formula, other), build.xor(formula, other)):
            check_finite(both)
            check_infinite(both)


@pytest.mark.parametrize(
    ("name", "semantics", "rows"),
    [("sat_ltlf", "ltlf", 200), ("sat_ltl", "ltl", 50), ("sat_past", "ltl", 30)],
)
def test_published_verdicts(shared_data, name, semantics, rows):
    """Some of each family; asv_benchmarks/logic_decided.py takes all."""
    families = {}
    with shared_data(f"logic/{name}.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            families.setdefault((row["family"], row["verdict"]), []).append(row)
    rng = random.Random(5)
    for members in families.values():
        rng.shuffle(members)
    # One of each family, then a second of each, and so on.
    layers = itertools.zip_longest(*families.values())
    chosen = [row for layer in layers for row in layer if row is not None][:rows]
    for row in chosen:
        formula = parse(row["formula"], dialect="black")
        # Unknown is allowed, wrong is not.
        with contextlib.suppress(UndecidedError):
            answer = satisfiable(formula, semantics=semantics, timeout_s=1)
            assert answer == (row["verdict"] == "SAT"), row["id"]


def test_published_verdicts_where_a_weak_next_changes_them(shared_data):
    with shared_data("logic/sat_ltlf.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    rows = [row for row in rows if row["verdict_if_X_weak"] not in (None, row["verdict"])]
    assert len(rows) > 300
    for row in random.Random(6).sample(rows, 40):
        formula = parse(row["formula"], dialect="black", next="weak")
        assert satisfiable(formula, timeout_s=30) == (row["verdict_if_X_weak"] == "SAT"), row["id"]


@pytest.mark.parametrize(
    ("text", "finite", "infinite"),
    [
        ("true", True, True),
        ("false", False, False),
        ("X[!] true", True, True),
        ("N false", True, False),
        ("N a & N !a", True, False),
        ("X[!] (N a & N !a)", True, False),
        ("N Y a & N Z !a", True, False),
        ("G X[!] true", False, True),
        ("F N false", True, False),
        ("G F a & G F !a", False, True),
        ("F G a & F G !a", False, False),
        ("G F a & F G !a", False, False),
        ("G (a <-> N !a) & F (a & X[!] a)", False, False),
        ("Y true", False, False),
        ("Z false", True, True),
        ("F (a & Y O !a) & H a", True, True),
        ("F (a & H !a)", False, False),
        ("G (a -> Y b) & a", False, False),
        ("G (b -> N a) & G (a -> Y b) & X[!] a", True, True),
        ("G (a -> O b) & H !b & F a", True, True),
        ("G (a -> O b) & G !b & F a", False, False),
        ("F[3:3] a & G[2:4] !a", False, False),
        ("F[3:5] a & G[3:4] !a", True, True),
        ("a U[2:3] b & G[0:3] !b", False, False),
        ("F (b & !O[1:3] a) & G (a | Y a | Y Y a)", True, True),
    ],
)
def test_known_answers(text, finite, infinite):
    assert satisfiable(text) is finite
    assert satisfiable(text, semantics="ltl") is infinite


def test_deep_counters():
    """A counter of three bits that has to come to seven: its only trace has eight steps."""
    # A bit flips iff all lower ones are set.
    step = (
        "!a & !b & !c & G (X[!] true -> ((X a <-> !a) & (X b <-> (b xor a)) & "
        "(X c <-> (c xor (a & b)))))"
    )
    found = witness(f"{step} & F (a & b & c)")
    assert found.minimal
    assert [sum(1 << i for i, bit in enumerate("abc") if bit in letter) for letter in found] == [
        *range(8)
    ]
    assert not satisfiable(f"{step} & F (a & b & c & X[!] (a | b | c))")


def test_comparisons_of_a_signal_are_related():
    assert not satisfiable("G (x > 2) & F (x < 1)")
    assert not satisfiable("x > 1 & x == 1")
    assert not satisfiable("x >= 1 & x <= 1 & x != 1")
    assert not satisfiable("x > 1 & y < 3 & x <= 0.5")
    assert satisfiable("x > 1 & y < 0")
    assert valid("x > 2 -> x > 1")
    assert equivalent("!(x < 2)", "x >= 2")
    assert equivalent("x == 2 | x > 2", "x >= 2")
    tiny = "x > 1 & x < 1.0000000000000002"
    assert not satisfiable(tiny)  # no double is between
    assert not satisfiable("x > 1.7976931348623157e308")
    formula = parse("x > 1 & x < 2 & X[!] (x == 2 & X[!] (x < -7 & X[!] (x > 1e300 & y != 0 & a)))")
    found = witness(formula)
    assert temporal.holds(formula, list(found))
    assert len(found) == 4
    word = witness("G F (x > 5) & G F (x < 3) & G F a", semantics="ltl")
    assert word.holds("G F (x > 5) & G F (x < 3) & G F a")


def test_letters_are_restricted():
    assert satisfiable("a & b")
    assert not satisfiable("a & b", letters="at_most_one")
    assert satisfiable("!a & !b", letters="at_most_one")
    assert not satisfiable("!a & !b", letters="exactly_one")
    assert satisfiable("!a & !b", letters="exactly_one", alphabet=["a", "b", "c"])
    assert satisfiable("G (a xor b)", letters="exactly_one", semantics="ltl")
    assert not satisfiable("F (a & b)", letters=parse("a -> !b"))
    assert satisfiable("F (a & b)", letters=parse("a -> b"))
    many = [f"e{i}" for i in range(40)]
    anyone = " & ".join(f"F {name}" for name in many)
    found = witness(anyone, letters="exactly_one")
    assert [len(letter) for letter in found] == [1] * 40
    assert not satisfiable("F[0:5] e0 & " + anyone + " & F[0:38] false", letters="exactly_one")
    assert not satisfiable("F (e0 & e39)", letters="at_most_one", alphabet=many)


def test_laws():
    assert valid("a U b -> F b")
    assert not valid("F b -> a U b")
    assert entails("G (a -> b) & F a", "F b")
    assert equivalent("a W b", "a U b | G a")
    assert equivalent("a M b", "b U (a & b)")
    assert equivalent("a T b", "!(!a S !b)")
    assert equivalent("O a", "true S a")
    assert equivalent("F[2:4] a", "X[!] X[!] (a | X[!] (a | X[!] a))")
    assert equivalent("a U[1:] b", "a & X[!] (a U b)")
    assert distinguishing("a W b", "a U b | G a") is None
    found = distinguishing("F a", "X[!] F a")
    assert temporal.holds(parse("F a"), found) != temporal.holds(parse("X[!] F a"), found)
    assert len(found) == 1
    word = distinguishing("G F a", "F G a", semantics="ltl")
    assert word.holds("G F a") != word.holds("F G a")


def test_time_limit_says_unknown(shared_data):
    with shared_data("logic/sat_ltl.jsonl").open(encoding="utf-8") as lines:
        hard = next(row for row in map(json.loads, lines) if row["id"].endswith("counter12"))
    formula = parse(hard["formula"], dialect="black")
    with pytest.raises(UndecidedError, match=r"0\.2 s"):
        satisfiable(formula, semantics="ltl", timeout_s=0.2)
    with pytest.raises(UndecidedError):
        satisfiable(formula, semantics="ltl", timeout_s=0)


def test_windows_that_are_too_long():
    with pytest.raises(StateLimitError):
        satisfiable("F[0:1000000000] a")
    with pytest.raises(StateLimitError):
        satisfiable("F[1000:2000] a", max_nodes=500)
    assert satisfiable("F[200:300] a & G[0:250] !a")


def test_deep_and_wide_formulas():
    assert satisfiable(parse("!" * 10_000 + "a"))
    assert not satisfiable(build.and_(parse("G " * 10_000 + "a"), parse("F !a")))
    assert len(witness(parse("X[!] " * 300 + "a"))) == 301
    names = [f"a{i}" for i in range(3000)]
    assert satisfiable(build.and_(*map(build.atom, names)))
    assert not satisfiable(build.and_(*map(build.atom, names), build.not_(build.atom("a2999"))))
    # Written out, this has over 2**200 nodes.
    shared = build.atom("a")
    for _ in range(200):
        shared = build.iff(shared, build.strong_next(shared))
    assert satisfiable(build.or_(shared, build.not_(shared)))


def test_threads_decide_at_once():
    texts = ["G (a -> X[!] b) & F a & G !b", "G (a -> X[!] b) & F a", "F G a & G F !a"] * 4
    answers = [None] * len(texts)

    def run(i):
        answers[i] = satisfiable(texts[i])

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [False, True, False] * 4


def test_interrupt_stops_the_search(shared_data):
    with shared_data("logic/sat_ltl.jsonl").open(encoding="utf-8") as lines:
        hard = next(row for row in map(json.loads, lines) if row["id"].endswith("counter12"))
    formula = parse(hard["formula"], dialect="black")

    def stop(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            satisfiable(formula, semantics="ltl")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(
    ("error", "arguments"),
    [
        (ArgumentTypeError, {"formula": 7}),
        (FormulaSyntaxError, {"formula": "a &"}),
        (ArgumentValueError, {"semantics": "finite"}),
        (ArgumentValueError, {"letters": "one"}),
        (ArgumentValueError, {"letters": parse("F a")}),
        (ArgumentValueError, {"alphabet": ["b"]}),
        (ArgumentValueError, {"alphabet": ["a", "a"]}),
        (ArgumentTypeError, {"alphabet": "a"}),
        (ArgumentTypeError, {"alphabet": [1, "a"]}),
        (ArgumentValueError, {"timeout_s": -1}),
        (ArgumentValueError, {"max_nodes": 0}),
    ],
)
def test_arguments_are_checked(error, arguments):
    with pytest.raises(error):
        satisfiable(**{"formula": "a", **arguments})


def test_preparation_counts():
    # Before there is a state limit to exceed.
    with pytest.raises(UndecidedError):
        satisfiable("G F[0:150000] a", timeout_s=0.0)
    with pytest.raises(UndecidedError):
        witness("G F[0:150000] a", semantics="ltl", timeout_s=0.0)


def _random_comparisons(rng):
    tops = [0.0, -0.0, 1.0, math.nextafter(1.0, 2.0), 2.0, sys.float_info.max, -sys.float_info.max]
    chosen = rng.sample(tops, rng.randint(1, 4))
    symbols = [">", ">=", "<", "<=", "==", "!="]
    return list(
        dict.fromkeys(
            build.predicate("x", rng.choice(symbols), rng.choice(chosen))
            for _ in range(rng.randint(1, 6))
        )
    )


def test_letters_that_numbers_allow():
    rng = random.Random(5)
    for _ in range(200):
        leaves = _random_comparisons(rng)
        allowed = consistent_letters(build.and_(*leaves))
        samples = []
        for threshold in {leaf.predicate.threshold for leaf in leaves}:
            around = (math.nextafter(threshold, -math.inf), math.nextafter(threshold, math.inf))
            samples += [threshold, *around]
        seen = {
            tuple(leaf.predicate.holds(sample) for leaf in leaves)
            for sample in samples
            if math.isfinite(sample)
        }
        names = [str(leaf) for leaf in leaves]
        for row in itertools.product((False, True), repeat=len(leaves)):
            letter = {str(leaf.predicate): value for leaf, value in zip(leaves, row, strict=True)}
            assert allowed.holds([letter]) == (row in seen), (names, row)


def test_consistent_letters_of_what_is_not_related():
    for text in ("a & x > 2", "x > 1 U y > 1", "true"):
        assert consistent_letters(text) is build.true
    assert str(consistent_letters("F x > 5 & a S x > 3")) == "(x > 5) -> (x > 3)"
    # The condition grows with the comparisons, not with pairs of them.
    many = build.and_(*(build.predicate("x", ">", float(i)) for i in range(1000)))
    assert consistent_letters(many).size < 10_000


def test_automata_with_letters_that_numbers_allow():
    text = "G !(x > 5 & !(x > 3))"
    letters = consistent_letters(text)
    assert not compile(text).is_universal()
    assert compile(text, letters=letters).is_universal()
    # The empty trace satisfies nothing; with the first event all is known.
    assert Monitor(text, letters=letters).step({"x": 4}) is Verdict.TRUE
    assert Monitor(text).step({"x": 4}) is Verdict.PRESUMABLY_TRUE
    assert ltl3_machine(text, letters=letters).colours.tolist() == [Verdict.TRUE]
    watched = Monitor("F (x > 5 & x < 3 | x == 4)", letters=consistent_letters("x>5 & x<3 & x==4"))
    assert [watched.step({"x": x}).name for x in (6, 2, 4)] == [
        "PRESUMABLY_FALSE",
        "PRESUMABLY_FALSE",
        "TRUE",
    ]
