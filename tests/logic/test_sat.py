"""The solver of clauses: against all assignments, and on formulas that are known to be hard."""

from __future__ import annotations

import itertools
import random

import pytest

from midstream.logic._sat import Reach, Solver, Unroll
from midstream.logic._tableau import Tableau
from midstream.logic.parser import parse


def holds(clauses, values):
    return all(any(values[abs(literal)] == (literal > 0) for literal in c) for c in clauses)


def brute(n, clauses, assumptions=()):
    """Whether some assignment of variables 1 to n satisfies clauses and assumptions."""
    units = [[literal] for literal in assumptions]
    return any(
        holds([*clauses, *units], (None, *bits))
        for bits in itertools.product((False, True), repeat=n)
    )


def pigeonhole(holes):
    """holes + 1 pigeons in holes, one each: no proof by resolution is short (Haken, 1985)."""
    solver = Solver()
    sits = [[p * holes + h + 1 for h in range(holes)] for p in range(holes + 1)]
    for row in sits:
        solver.add(row)
    for h in range(holes):
        for one, other in itertools.combinations(range(holes + 1), 2):
            solver.add([-sits[one][h], -sits[other][h]])
    return solver


@pytest.mark.parametrize("seed", range(4))
def test_incremental_clauses_and_assumptions_agree_with_all_assignments(seed):
    rng = random.Random(seed)
    for _ in range(100):
        n = rng.randint(1, 8)
        clauses = []
        solver = Solver()
        for _ in range(rng.randint(1, 5 * n)):
            size = rng.choice((3, 3, 3, 2, 4, 1))
            clauses.append([rng.choice((-1, 1)) * rng.randint(1, n) for _ in range(size)])
            solver.add(clauses[-1])
            if rng.random() < 0.8:
                continue
            chosen = rng.sample(range(1, n + 1), rng.randint(0, min(3, n)))
            assumptions = [rng.choice((-1, 1)) * v for v in chosen]
            answer = solver.solve(assumptions)
            assert answer == brute(n, clauses, assumptions)
            if answer:
                used = {abs(literal) for c in [*clauses, assumptions] for literal in c}
                values = {v: solver.value(v) for v in used}
                assert holds([*clauses, *([a] for a in assumptions)], values)
            else:
                core = solver.core()
                assert set(core) <= set(assumptions)
                assert not brute(n, clauses, core)


def test_models_and_refutations_of_random_clauses_at_the_threshold():
    rng = random.Random(8)
    answers = set()
    for _ in range(12):
        n = 120
        clauses = [
            [rng.choice((-1, 1)) * v for v in rng.sample(range(1, n + 1), 3)]
            for _ in range(int(4.26 * n))
        ]
        solver = Solver()
        for clause in clauses:
            solver.add(clause)
        answer = solver.solve()
        answers.add(answer)
        if answer:
            assert holds(clauses, [None, *(solver.value(v) for v in range(1, n + 1))])
    assert answers == {True, False}


def test_pigeonhole_and_learnt_clauses_that_are_dropped():
    solver = pigeonhole(8)
    assert solver.solve() is False
    assert solver.conflicts > 2000  # so that clauses were dropped on the way
    assert solver.core() == []
    assert solver.solve([1]) is False


def test_few_dropped_clauses_among_many_others():
    # What is dropped is a small part of all clauses here, which then stay where they are.
    rng = random.Random(5)
    pigeons = pigeonhole(8)
    others = range(100, 10_100)
    for _ in range(20):
        pigeons.add([rng.choice((-1, 1)) * v for v in others])
    before = pigeons.ticks
    assert pigeons.solve() is False
    assert pigeons.conflicts > 2000
    assert pigeons.ticks - before > pigeons.conflicts
    # As above, but what remains can hold: all clauses that were given still do.
    solver, n = Solver(), 200
    clauses = [
        [rng.choice((-1, 1)) * v for v in rng.sample(range(1, n + 1), 3)] for _ in range(4 * n)
    ]
    clauses += [[rng.choice((-1, 1)) * v for v in others] for _ in range(20)]
    for clause in clauses:
        solver.add(clause)
    assert solver.solve()
    assert holds(clauses, [None, *(solver.value(v) for v in range(1, 10_100))])


def test_clauses_of_few_levels_are_kept():
    # Each switch asks for all eight clauses over variables of its own; to refute it teaches short
    # clauses, more of them than may be kept of others.
    solver = Solver()
    for k in range(1000):
        switch, *own = range(4 * k + 1, 4 * k + 5)
        for signs in itertools.product((-1, 1), repeat=3):
            solver.add([-switch, *(sign * v for sign, v in zip(signs, own, strict=True))])
        assert solver.solve([switch]) is False
        assert solver.core() == [switch]
    assert solver.conflicts > 3000
    assert solver.solve()
    assert not any(solver.value(4 * k + 1) for k in range(1000))


def test_out_of_ticks_is_no_answer_and_the_next_call_goes_on():
    solver = pigeonhole(8)
    assert solver.solve(ticks=1000) is None
    calls = 1
    while (answer := solver.solve(ticks=200_000)) is None:
        calls += 1
    assert answer is False
    assert calls > 1


def test_clauses_with_copies_and_tautologies():
    solver = Solver()
    solver.add([1, 1, -2])
    solver.add([2, -2])
    solver.add([2])
    assert solver.solve()
    assert solver.value(1)
    solver.add([-1])
    assert solver.solve() is False
    assert solver.core() == []


def test_contradicting_assumptions_are_their_own_core():
    solver = Solver()
    solver.add([1, 2])
    assert solver.solve([3, -3]) is False
    assert sorted(solver.core()) == [-3, 3]
    assert solver.solve([3])


def test_variables_that_there_are_not():
    solver = Solver()
    solver.add([1, 2])
    assert solver.solve([-1]) is True
    assert (solver.value(1), solver.value(2)) == (False, True)
    for variable in (0, 3, -1):
        with pytest.raises(ValueError, match="no such variable"):
            solver.value(variable)


def test_nodes_and_burdens_that_there_are_not():
    system = Tableau(
        parse("F a & G b"),
        infinite=False,
        letters="all",
        alphabet=["a", "b"],
        limit=1000,
        check=lambda: None,
        rounds=0,
    ).system
    for node in (-1, 1 << 20):
        with pytest.raises(ValueError, match="no such node"):
            system.burden_of(node)
    with pytest.raises(ValueError, match="as many nodes as fair burdens"):
        Unroll(system, [], False, [0], [])
    for burdens in ([-1], [system.n_burdens]):
        with pytest.raises(ValueError, match="burden"):
            Reach(system).start(burdens)


def test_no_clauses_and_the_empty_one():
    solver = Solver()
    assert solver.solve()
    solver.add([])
    assert solver.solve() is False


@pytest.mark.parametrize("clause", [[0], [1 << 40]])
def test_numbers_that_are_no_literals(clause):
    with pytest.raises(ValueError, match="literal"):
        Solver().add(clause)
