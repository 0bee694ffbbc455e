"""RuleBook.check: many traces, here and over Dask's collections."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from midstream.errors import ArgumentTypeError, ArgumentValueError
from midstream.logic import Finding, Rule, RuleBook

ATOMS = ("ask", "answer", "write", "read")
RULES = [
    Rule("answer", "G(ask -> F answer)", action="warn"),
    Rule("read first", "!write W read", action="block", message="unread", repair="read"),
    Rule("soon", "G(ask -> F[0:3] answer)", action="note"),
]


def some_traces(count: int, seed: int = 60) -> list[list[set[str]]]:
    rng = np.random.default_rng(seed)
    return [
        [
            {name for name, true in zip(ATOMS, row, strict=True) if true}
            for row in rng.random((rng.integers(0, 12), 4)) < 0.3
        ]
        for _ in range(count)
    ]


def one_by_one(rules: list[Rule], trace: Any, finish: bool = True) -> tuple[Finding, ...]:
    """What the documentation says, step by step."""
    book = RuleBook(rules)
    found = [finding for event in trace for finding in book.step(event).findings]
    return (*found, *book.finish().findings) if finish else tuple(found)


TRACES = some_traces(60)


@pytest.mark.parametrize("finish", [True, False])
def test_each_trace_is_judged_from_the_start(finish: bool) -> None:
    book = RuleBook(RULES)
    outcomes = book.check(TRACES, finish=finish)
    assert [outcome.findings for outcome in outcomes] == [
        one_by_one(RULES, trace, finish) for trace in TRACES
    ]
    assert not any(outcome.committed for outcome in outcomes)
    assert {outcome.allowed for outcome in outcomes} == {True, False}


def test_the_book_stays_as_it_is_and_tells_nobody() -> None:
    told: list[Finding] = []
    book = RuleBook(RULES, on_finding=told.append)
    book.step({"read", "ask"})
    before, audit, metrics = book.snapshot(), book.audit, book.metrics
    told.clear()
    assert book.check([[{"write"}]])[0].findings == one_by_one(RULES, [{"write"}])
    assert (book.snapshot(), book.audit, book.metrics, told) == (before, audit, metrics, [])


def test_traces_of_every_kind() -> None:
    book = RuleBook(RULES[:2], alphabet=ATOMS)
    masks = np.random.default_rng(61).integers(0, 16, size=(20, 6)).astype(np.uint8)
    sets = [
        [{name for bit, name in enumerate(ATOMS) if mask >> bit & 1} for mask in row.tolist()]
        for row in masks
    ]
    expected = book.check(sets)
    assert book.check(masks) == expected
    assert book.check(list(masks)) == expected
    assert book.check(iter([iter(trace) for trace in sets])) == expected
    assert book.check(tuple(map(tuple, sets))) == expected
    assert book.check([]) == []
    assert book.check([[]])[0].findings == ()


@pytest.mark.parametrize("traces", ["abc", b"abc", {"a": [1]}, {"a"}, 3, None])
def test_what_is_no_collection_of_traces(traces: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="traces must be"):
        RuleBook(RULES).check(traces)


@pytest.mark.parametrize("trace", ["ask", {"ask": True}, {"ask"}, 7])
def test_what_is_no_trace(trace: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="a trace must be") as caught:
        RuleBook(RULES).check([[{"ask"}], trace])
    assert caught.value.__notes__ == ["In event 0 of traces[1]."]


def test_an_event_that_is_none_is_told_with_its_place() -> None:
    book = RuleBook(RULES)
    with pytest.raises(ArgumentTypeError, match="event must be") as caught:
        book.check([[{"ask"}], [{"ask"}, {"read"}, 2.5]])
    assert caught.value.__notes__ == ["In event 2 of traces[1]."]
    assert book.check(TRACES[:3]) == RuleBook(RULES).check(TRACES[:3])


@pytest.mark.parametrize(
    "masks", [np.zeros(3, np.uint8), np.zeros((2, 3)), np.zeros((1, 2, 3), int)]
)
def test_masks_are_rows_of_integers(masks: np.ndarray) -> None:
    with pytest.raises(ArgumentValueError, match="traces must be rows of bit masks"):
        RuleBook(RULES, alphabet=ATOMS).check(masks)


def test_finish_is_a_flag() -> None:
    with pytest.raises(ArgumentTypeError, match="finish must be True or False, got 1"):
        RuleBook(RULES).check([], finish=1)  # type: ignore[call-overload]


class TestDask:
    @pytest.fixture(autouse=True)
    def _nothing_is_computed_unasked(self) -> Iterator[None]:
        def refuse(*args: Any, **kwargs: Any) -> None:
            raise AssertionError("computed")

        self.dask = pytest.importorskip("dask")
        self.bags = pytest.importorskip("dask.bag")
        with self.dask.config.set(scheduler=refuse):
            yield

    @pytest.mark.parametrize("finish", [True, False])
    def test_a_bag_keeps_its_partitions(self, finish: bool) -> None:
        book = RuleBook(RULES)
        described = book.check(self.bags.from_sequence(TRACES, npartitions=7), finish=finish)
        assert isinstance(described, self.bags.Bag)
        assert described.npartitions == self.bags.from_sequence(TRACES, npartitions=7).npartitions
        expected = book.check(TRACES, finish=finish)
        assert described.compute(scheduler="sync") == expected
        assert described.compute(scheduler="threads", num_workers=4) == expected
        broken = described.filter(lambda outcome: not outcome.allowed)
        count = sum(not outcome.allowed for outcome in expected)
        assert broken.count().compute(scheduler="sync") == count

    def test_traces_that_are_made_on_the_way(self) -> None:
        book = RuleBook(RULES)
        seeds = self.bags.from_sequence(range(6), npartitions=3)
        described = book.check(seeds.map(lambda seed: some_traces(1, seed)[0]))
        expected = book.check([some_traces(1, seed)[0] for seed in range(6)])
        assert described.compute(scheduler="sync") == expected

    def test_delayed_values(self) -> None:
        book = RuleBook(RULES)
        expected = book.check(TRACES)
        whole = book.check(self.dask.delayed(TRACES))
        assert whole.compute(scheduler="sync") == expected
        each = book.check([self.dask.delayed(list)(trace) for trace in TRACES])
        assert list(self.dask.compute(*each, scheduler="sync")) == expected

    def test_arrays_of_masks(self) -> None:
        arrays = pytest.importorskip("dask.array")
        book = RuleBook(RULES, alphabet=ATOMS)
        masks = np.random.default_rng(61).integers(0, 16, size=(20, 6)).astype(np.uint8)
        described = book.check(arrays.from_array(masks, chunks=(8, 4)))
        assert described.npartitions == 3
        assert described.compute(scheduler="sync") == book.check(masks)
        with pytest.raises(ArgumentValueError, match="traces must be rows of bit masks"):
            book.check(arrays.ones((3, 4)))

    def test_an_error_says_which_trace(self) -> None:
        traces = [*TRACES[:9], [{"ask"}, None]]
        described = RuleBook(RULES).check(self.bags.from_sequence(traces, npartitions=5))
        with pytest.raises(ArgumentTypeError, match="event must be") as caught:
            described.compute(scheduler="sync")
        assert caught.value.__notes__ == [
            "In event 1 of traces[1].",
            "Numbers of traces here count from the start of block 4 of traces.",
        ]

    def test_equal_books_give_equal_names_and_what_they_saw_does_not_count(self) -> None:
        bag = self.bags.from_sequence(TRACES, npartitions=2)
        rules = {"answer": "G(ask -> F answer)"}
        first, second = RuleBook(rules, on_finding=print), RuleBook(rules)
        second.step({"ask"})
        assert first.check(bag).name == second.check(bag).name
        assert first.check(bag).name != first.check(bag, finish=False).name

    def test_conditions_that_are_functions_travel(self) -> None:
        cloudpickle = pytest.importorskip("cloudpickle")
        most = 3
        book = RuleBook([Rule("few", "G !many", atoms={"many": lambda event: event["n"] > most})])
        bag = self.bags.from_sequence([[{"n": 1}], [{"n": 4}]], npartitions=2)
        expected = book.check([[{"n": 1}], [{"n": 4}]])
        assert book.check(bag).compute(scheduler="sync") == expected
        assert pickle.loads(cloudpickle.dumps(book)).check([[{"n": 4}]]) == expected[1:]

    def test_the_threads_of_a_worker_share_a_book(self) -> None:
        from midstream.logic._collections import _Judge

        book, judge = RuleBook(RULES), _Judge(True)
        expected = book.check(TRACES)
        right: list[bool] = []

        def work() -> None:
            right.extend(judge.block(book, TRACES) == expected for _ in range(20))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert right == [True] * 80
