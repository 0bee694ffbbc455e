"""Predictions against exact probabilities, outcomes of simulated agents, and verdicts."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest

from midstream.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    StateLimitError,
    UndecidedError,
)
from midstream.logic import _chain as module
from midstream.logic.automaton import compile
from midstream.logic.columns import Columns, holds
from midstream.logic.formula import atom, predicate, true
from midstream.logic.parser import parse
from midstream.logic.predictor import Predictor
from midstream.logic.verdict import Verdict

NAMES = ("plan", "edit", "test", "fail", "commit", "idle")
MOVES = np.array(
    [
        [0.10, 0.50, 0.10, 0.10, 0.05, 0.15],
        [0.10, 0.30, 0.30, 0.20, 0.05, 0.05],
        [0.10, 0.20, 0.10, 0.30, 0.20, 0.10],
        [0.30, 0.40, 0.10, 0.10, 0.02, 0.08],
        [0.30, 0.10, 0.10, 0.05, 0.05, 0.40],
        [0.30, 0.20, 0.20, 0.10, 0.10, 0.10],
    ]
)
ENDS = np.array([0.02, 0.02, 0.02, 0.05, 0.15, 0.05])


def agent(rng):
    """A run of a coding agent: a Markov chain that begins with a plan."""
    trace, at = [], 0
    cumulated = MOVES.cumsum(axis=1)
    while True:
        trace.append({NAMES[at]})
        if rng.random() < ENDS[at]:
            return trace
        at = int(np.searchsorted(cumulated[at], rng.random() * cumulated[at, -1]))


def moody(rng):
    """Nothing like a Markov chain: a mood for the whole run, and lengths that are uniform."""
    mood, trace = rng.random() < 0.4, []
    for _ in range(rng.integers(3, 25)):
        u = rng.random()
        trace.append({"req" if u < 0.3 else "ack" if u < (0.9 if mood else 0.45) else "log"})
    return trace


def truth(formula):
    """Exact probability by automaton state and last name, the agent being known."""
    automaton = compile(formula, alphabet=NAMES)
    value = np.zeros((automaton.n_states, len(NAMES)))
    following = np.array(
        [[automaton.step(q, 1 << k) for k in range(len(NAMES))] for q in range(automaton.n_states)]
    )
    moves = MOVES / MOVES.sum(axis=1, keepdims=True) * (1 - ENDS)[:, None]
    for _ in range(5000):
        after = value[following, np.arange(len(NAMES))]
        value = automaton.accepting[:, None] * ENDS + after @ moves.T
    return automaton, value


RULE = parse("G(fail -> F test) & (!commit U test)")


@pytest.fixture(scope="module")
def trained():
    rng = np.random.default_rng(1)
    return Predictor(RULE).fit([agent(rng) for _ in range(3000)])


def test_probabilities_are_near_the_exact_ones(trained) -> None:
    automaton, exact = truth(RULE)
    rng = np.random.default_rng(2)
    worst = 0.0
    for _ in range(100):
        state, running = 0, trained.start()
        for letter in agent(rng):
            probability = running.step(letter)
            last = NAMES.index(*letter)
            state = automaton.step(state, 1 << last)
            worst = max(worst, abs(probability - exact[state, last]))
    assert worst < 0.06


@pytest.mark.parametrize("text", ["G(fail -> F test)", "!commit U test", "F(test & X[!] commit)"])
def test_calibrated_on_agents_that_were_never_seen(text) -> None:
    rng = np.random.default_rng(3)
    predictor = Predictor(parse(text)).fit([agent(rng) for _ in range(4000)])
    table = predictor.reliability([agent(rng) for _ in range(4000)])
    assert repr(table).startswith(f"<Reliability: ECE {table.ece:.4f}, ")
    assert len(repr(table)) < 120
    assert table.ece < 0.03
    assert table.brier < table.brier_base
    assert table.count.sum() == table.n_prefixes > 3000


def test_calibrated_where_the_model_is_wrong() -> None:
    rng = np.random.default_rng(4)
    predictor = Predictor(parse("G(req -> F ack)")).fit([moody(rng) for _ in range(4000)])
    held_out = [moody(rng) for _ in range(4000)]
    table = predictor.reliability(held_out)
    assert table.ece < 0.03
    assert table.brier < 0.97 * table.brier_base
    # The correction was wanted, and it helped.
    model = predictor._model
    assert model.weights.tolist() != [0, 1, 0, 0]
    model._finish(np.array([0.0, 1.0, 0.0, 0.0]), np.zeros((4, 4)))
    assert predictor.reliability(held_out).brier > table.brier


def test_the_correction_is_left_out_where_the_model_is_right(trained) -> None:
    assert trained._model.weights.tolist() == [0, 1, 0, 0]


def test_intervals_cover_the_truth() -> None:
    _, exact = truth(RULE)
    start = exact[compile(RULE, alphabet=NAMES).step(0, 1), 0]
    rng = np.random.default_rng(5)
    inside, widths = 0, []
    for seed in range(40):
        running = Predictor(RULE, seed=seed).fit([agent(rng) for _ in range(30)]).start()
        running.step({"plan"})
        low, high = running.interval
        assert 0 <= low <= running.probability <= high <= 1
        inside += low <= start <= high
        widths.append(high - low)
    assert inside >= 30
    assert 0.05 < np.median(widths) < 0.35


def test_more_data_narrow_the_interval(trained) -> None:
    rng = np.random.default_rng(6)
    few = Predictor(RULE).fit([agent(rng) for _ in range(20)])
    few_low, few_high = few.start().interval
    low, high = trained.start().interval
    assert high - low < 0.05 < few_high - few_low


def test_final_verdicts_are_certain(trained) -> None:
    automaton = compile(RULE, alphabet=trained._model.automaton.alphabet)
    rng = np.random.default_rng(7)
    seen = set()
    for _ in range(300):
        running, state = trained.start(), 0
        for letter in agent(rng):
            probability = running.step(letter)
            (name,) = letter
            state = automaton.step(state, 1 << automaton.alphabet.index(name))
            colour = Verdict(int(automaton.colours[state]))
            assert running.verdict is colour
            if colour.final:
                assert probability == (colour is Verdict.TRUE)
                assert running.interval == (probability, probability)
            else:
                assert 0 < probability < 1
            seen.add(colour)
    assert Verdict.FALSE in seen
    assert Predictor(true).fit([[set()], [set(), set()]]).start().step(set()) == 1.0


def test_the_chain_solves_its_equations(trained) -> None:
    """By the definition: every row is a mixture of what comes after."""
    chain, model = trained._model.chain, trained._model
    base = chain._base(chain.coarse, chain.all)
    counts = np.zeros((chain.states * chain.contexts, chain.symbols + 1))
    counts[chain.row, chain.outcome] = chain.counts
    for q in range(chain.states):
        for c in range(chain.contexts):
            if not np.isnan(model.fixed[q]):
                assert model.mean[q, c] == model.fixed[q]
                continue
            row = counts[q * chain.contexts + c] + chain.strength * base[c]
            row /= row.sum()
            after = [model.mean[model.following[q, t], t] for t in range(chain.symbols)]
            expected = row[:-1] @ after + row[-1] * model.accepting[q]
            assert model.mean[q, c] == pytest.approx(expected, abs=1e-7)


def test_iteration_stands_in_where_the_solver_fails(trained, monkeypatch) -> None:
    monkeypatch.setattr(module, "bicgstab", lambda system, right, **_: (right, 1))
    np.testing.assert_allclose(trained._model.chain.mean(), trained._model.mean, atol=1e-6)


def test_running_and_prefixes_agree(trained) -> None:
    rng = np.random.default_rng(8)
    running = trained.start()
    assert running.probability == trained.probability([])
    for _ in range(5):
        trace = agent(rng)
        running.reset()
        for position, letter in enumerate(trace, start=1):
            probability = running.step(letter)
            assert running.position == position
            assert probability == running.probability == trained.probability(trace[:position])
    other = running.copy()
    other.step({"fail"})
    assert other.position == running.position + 1
    assert trained.probability(running) == running.probability
    assert "probability" in repr(running)


def test_forms_of_letters_and_traces() -> None:
    good, bad = [{"a"}, {"b"}], [{"a"}, {"c"}]
    formula = parse("F b")
    sets = Predictor(formula).fit([good, bad, good])
    expected = [sets.probability(good[:1]), sets.probability(good)]
    alphabet = sets._model.automaton.alphabet
    assert alphabet == ("b", "a", "c")
    columns = [
        {name: [name in letter for letter in trace] for name in alphabet}
        for trace in (good, bad, good)
    ]
    for traces in (columns, map(Columns, columns), map(iter, (good, bad, good))):
        made = Predictor(formula).fit(traces)
        assert [made.probability(good[:1]), made.probability(good)] == expected
    masks = [np.array([2, 1]), np.array([2, 4]), np.array([2, 1])]
    made = Predictor(formula, alphabet=["b", "a", "c"]).fit(masks)
    for first in ({"a"}, frozenset("a"), ["a"], ("a",), {"a": True}, 2, np.uint64(2)):
        assert made.start().step(first) == expected[0]
    assert made.probability(Columns(columns[0])) == expected[1] == 1.0
    # The order of the alphabet is the caller's no more: the formula's atoms come first.
    assert Predictor(formula, alphabet=["a", "c", "b"]).fit([good, bad]).start().step({"b"}) == 1.0
    above = predicate("x", ">", 1)
    signal = Predictor(above).fit([{"x": [0.0, 1.0]}, {"x": [2.0]}, {"x": [3.0, 0.0]}])
    assert signal.start().step({"x": 5.0}) == 1.0


def test_letters_that_were_never_seen() -> None:
    rng = np.random.default_rng(9)
    predictor = Predictor(parse("F test & G !alarm"), alphabet=["alarm", *NAMES]).fit(
        [agent(rng) for _ in range(200)]
    )
    running = predictor.start()
    assert 0 < running.step({"idle", "plan"}) < 1
    assert 0 < running.step({"idle", "test"}) < 1
    assert running.step({"alarm"}) == 0.0
    low, high = predictor.start().copy().interval
    assert low <= high


def test_rare_letters_are_told_apart_by_the_formula() -> None:
    rng = np.random.default_rng(10)
    traces = [[letter | {f"id{rng.integers(1000)}"} for letter in agent(rng)] for _ in range(300)]
    predictor = Predictor(RULE, max_symbols=10).fit(traces)
    model = predictor._model
    assert model.n_exact == 10 < model.n_symbols <= 10 + 4
    for trace in traces[:20]:
        running = predictor.start()
        for letter in trace:
            running.step(letter)
        assert (running.probability > 0) or not holds(RULE, trace)
    test = [[letter | {"id7"} for letter in agent(rng)] for _ in range(1000)]
    assert predictor.reliability(test).ece < 0.06


def test_restricted_letters() -> None:
    predictor = Predictor(parse("F(a & b)"), letters="exactly_one").fit([[{"a"}], [{"b"}]])
    assert predictor.start().step({"a"}) == 0.0
    running = predictor.start()
    with pytest.raises(ArgumentValueError, match="occur"):
        running.step({"a", "b"})
    assert running.position == 0
    with pytest.raises(ArgumentValueError, match=r"traces\[1\] has a letter at 1"):
        Predictor(parse("F a"), letters="exactly_one").fit([[{"a"}], [{"a"}, set()]])


def test_guidance(trained) -> None:
    ranked = trained.guide([{"plan"}], [{"commit"}, {"test"}, {"edit"}])
    assert ranked[0].letter == {"test"}
    assert ranked[-1] == ({"commit"}, 0.0)
    running = trained.start()
    assert trained.guide(running, [{"plan"}])[0].probability == trained.probability([{"plan"}])
    assert running.position == 0
    assert trained.guide([], []) == []


SIDE = 10
PLACES = {(8, 1): "key", (1, 8): "exit", (4, 4): "trap", (5, 3): "trap"}


def around(cell):
    """Neighbours on a grid; a letter names the cell and what is there."""
    x, y = cell
    for nx, ny in ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)):
        if 0 <= nx < SIDE and 0 <= ny < SIDE:
            letter = {f"{nx}.{ny}"}
            if (nx, ny) in PLACES:
                letter.add(PLACES[nx, ny])
            yield letter, (nx, ny)


def test_search_is_guided() -> None:
    formula = parse("F(key & F exit) & G !trap")
    rng = np.random.default_rng(11)
    traces = []
    for _ in range(1500):
        cell, trace = (int(rng.integers(SIDE)), int(rng.integers(SIDE))), []
        while not trace or rng.random() > 0.01:
            moves = list(around(cell))
            letter, cell = moves[rng.integers(len(moves))]
            trace.append(letter)
        traces.append(trace)
    # Few succeed; the chain puts together what all of them show.
    assert 0 < np.mean([holds(formula, trace) for trace in traces]) < 0.01
    predictor = Predictor(formula).fit(traces)
    guided_total = blind_total = 0
    for start in ((0, 0), (9, 9), (5, 5), (0, 9), (3, 6)):
        guided = predictor.search(start, around)
        blind = predictor.search(start, around, guided=False)
        for found in (guided, blind):
            assert holds(formula, list(found.letters))
            cell = start
            for letter in found.letters:
                cell = next(after for step, after in around(cell) if step == letter)
            assert cell == found.node
            assert found.probability == predictor.probability(found.letters)
        assert len(blind.letters) <= len(guided.letters)
        guided_total += guided.expanded
        blind_total += blind.expanded
    assert 5 * guided_total < blind_total


def test_search_proves_that_there_is_no_way(trained) -> None:
    moves = {0: [({"plan"}, 1), ({"commit"}, 2)], 1: [({"edit"}, 0)], 2: [({"test"}, 0)]}
    assert trained.search(0, moves.__getitem__) is None
    moves[1].append(({"test"}, 3))
    found = trained.search(0, moves.__getitem__)
    assert repr(found).startswith(f"<SearchResult: path of length {len(found.letters)} to ")
    assert found.letters == ({"plan"}, {"test"})
    assert found.expanded <= 3
    already = trained.search(0, moves.__getitem__, prefix=[{"test"}])
    assert already.letters == ()
    assert already.expanded == 0
    with pytest.raises(UndecidedError, match="max_expansions=5"):
        trained.search(0, lambda n: [({"plan"}, n + 1), ({"idle"}, -n)], max_expansions=5)


def test_saved_and_loaded(trained, tmp_path) -> None:
    path = tmp_path / "model.npz"
    trained.save(path)
    again = Predictor.load(path)
    rng = np.random.default_rng(12)
    for _ in range(20):
        first, second = trained.start(), again.start()
        for letter in agent(rng):
            assert first.step(letter) == pytest.approx(second.step(letter), abs=1e-12)
        assert first.interval == pytest.approx(second.interval, abs=1e-9)
    assert again.formula is trained.formula
    assert repr(again) == repr(trained)
    assert pickle.loads(pickle.dumps(trained)).probability([{"plan"}]) == trained.probability(
        [{"plan"}]
    )
    one = Predictor(parse("F a"), letters=parse("!(a & b)"), alphabet=["b", "a"], strength=3)
    one.fit([[{"a"}], [{"b"}, set()]]).save(str(path))
    assert Predictor.load(str(path)).probability([{"b"}]) == one.probability([{"b"}])


def test_files_that_are_no_predictors(trained, tmp_path) -> None:
    path = tmp_path / "model.npz"
    path.write_bytes(b"not a file of arrays")
    with pytest.raises(ArgumentValueError, match="no saved predictor"):
        Predictor.load(path)
    np.savez(path, a=np.zeros(3))
    with pytest.raises(ArgumentValueError, match="no saved predictor"):
        Predictor.load(path)
    with pytest.raises(FileNotFoundError):
        Predictor.load(tmp_path / "none")
    trained.save(path)
    with np.load(path) as file:
        arrays = dict(file)
    about = arrays["about"].tobytes()

    def saved(**changes):
        np.savez(path, **{**arrays, **changes})

    def text(old, new):
        assert old in about
        return np.frombuffer(about.replace(old, new), dtype=np.uint8)

    saved(about=text(b'"version": 1', b'"version": 9'))
    with pytest.raises(ArgumentValueError, match="version 9"):
        Predictor.load(path)
    saved(colours=1 - arrays["colours"])
    with pytest.raises(ArgumentValueError, match="automata differ"):
        Predictor.load(path)
    saved(about=text(b'"symbols"', b'"symbol"'))
    with pytest.raises(ArgumentValueError, match="no saved predictor"):
        Predictor.load(path)


def test_reliability_table(trained) -> None:
    rng = np.random.default_rng(13)
    traces = [agent(rng) for _ in range(200)]
    table = trained.reliability(traces, bins=5)
    total, squares, final = [], 0.0, 0
    for trace in traces:
        running, label = trained.start(), holds(RULE, trace)
        for letter in trace:
            probability = running.step(letter)
            if running.verdict.final:
                final += 1
            else:
                total.append((probability, label))
                squares += (probability - label) ** 2
    assert table.n_prefixes == len(total)
    assert table.n_final == final
    assert table.brier == pytest.approx(squares / len(total))
    for k in range(5):
        inside = [pair for pair in total if min(int(pair[0] * 5), 4) == k]
        assert table.count[k] == len(inside)
        if inside:
            p, label = np.mean(inside, axis=0)
            assert table.predicted[k] == pytest.approx(p)
            assert table.observed[k] == pytest.approx(label)
            assert table.low[k] <= label <= table.high[k]
    gap = np.nansum(np.abs(table.predicted - table.observed) * table.count) / len(total)
    assert table.ece == pytest.approx(gap)
    assert "ECE" in str(table)
    certain = trained.reliability([[{"commit"}]])
    assert (certain.n_prefixes, certain.n_final, certain.ece) == (0, 1, 0.0)


def test_seeds_make_it_repeatable() -> None:
    def fitted():
        rng = np.random.default_rng(14)
        return Predictor(RULE, seed=3).fit([agent(rng) for _ in range(100)])

    first, second = fitted().start(), fitted().start()
    assert first.probability == second.probability
    assert first.interval == second.interval


def test_two_traces_are_enough() -> None:
    predictor = Predictor(parse("F a")).fit([[{"b"}], [{"b"}, {"a"}]])
    probability = predictor.start().step({"b"})
    low, high = predictor.start().interval
    assert 0.2 < probability < 0.8
    assert high - low > 0.2


def test_errors_name_what_is_wrong(trained) -> None:
    with pytest.raises(ArgumentTypeError, match="formula"):
        Predictor(None)
    with pytest.raises(ArgumentValueError, match="lacks 'a'"):
        Predictor(parse("F a"), alphabet=["b"])
    for name, value in (("folds", 1), ("max_symbols", 0), ("strength", 0.0), ("seed", -1)):
        with pytest.raises(ArgumentValueError, match=name):
            Predictor(true, **{name: value})
    fresh = Predictor(atom("a"))
    for use in (fresh.start, lambda: fresh.probability([]), lambda: fresh.reliability([[set()]])):
        with pytest.raises(ArgumentValueError, match="fitted first"):
            use()
    assert "not fitted" in repr(fresh)
    with pytest.raises(ArgumentValueError, match="two"):
        fresh.fit([[{"a"}]])
    with pytest.raises(ArgumentValueError, match=r"traces\[1\] must have at least one"):
        fresh.fit([[{"a"}], []])
    with pytest.raises(ArgumentTypeError, match="traces"):
        fresh.fit("ab")
    with pytest.raises(ArgumentTypeError, match="letter"):
        trained.start().step(2.5)
    with pytest.raises(ArgumentValueError, match="bins"):
        trained.reliability([[{"plan"}]], bins=0)
    with pytest.raises(ArgumentValueError, match="traces must not be empty"):
        trained.reliability([])
    with pytest.raises(StateLimitError, match="max_symbols"):
        rng = np.random.default_rng(15)
        many = [[{f"x{k}" for k in np.flatnonzero(rng.random(20) < 0.5)}] for _ in range(5000)]
        Predictor(parse("F[0:2000] x1"), max_symbols=100_000).fit(many)


def test_failed_steps_change_nothing(trained) -> None:
    running = trained.start()
    running.step({"plan"})
    before = (running.position, running.probability)
    for bad in (2.5, {3}, 1 << 20, None):
        with pytest.raises((ArgumentTypeError, ArgumentValueError)):
            running.step(bad)
    assert (running.position, running.probability) == before
    assert copy.copy(running.probability) == before[1]
    assert math.isfinite(before[1])


def test_a_file_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch) -> None:
    path = tmp_path / "model.npz"
    np.savez_compressed(path, about=np.zeros(1 << 24, np.uint8))
    assert path.stat().st_size < 1 << 16
    monkeypatch.setattr("midstream.logic.predictor._MOST_UNPACKED_BYTES", 1 << 20)
    with pytest.raises(ArgumentValueError, match="unpacks to more than 1,048,576 bytes"):
        Predictor.load(path)


def test_a_damaged_file_is_refused(trained, tmp_path) -> None:
    path = tmp_path / "model.npz"
    trained.save(path)
    whole = path.read_bytes()
    expected = trained.probability([{"fail"}])
    rng = np.random.default_rng(0)
    damaged = [whole[: len(whole) // 2], b"", whole[:-1]]
    for bit in rng.integers(0, 8 * len(whole), 60).tolist():
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        damaged.append(bytes(flipped))
    refused = 0
    for content in damaged:
        path.write_bytes(content)
        try:
            loaded = Predictor.load(path)
        except ArgumentValueError:
            refused += 1
        else:
            # A time stamp in the archive is nobody's data.
            assert loaded.probability([{"fail"}]) == expected
    assert refused > 40
