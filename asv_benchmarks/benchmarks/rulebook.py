"""`midstream.logic`'s rule books: one event through a hundred stateful rules."""

from __future__ import annotations

import random
import time

import numpy as np

from midstream.logic import Rule, RuleBook, lint_rules

from ._timing import SIZE

TOOLS = [f"tool{k}" for k in range(30)]
SHAPES = (
    "G({0} -> F {1})",
    "!{0} W {1}",
    "G({0} -> N({1} | !{0}))",
    "G({0} -> O {1})",
    "G({0} -> N(!{0} W {1}))",
    "F {0}",
)


def formulas(n: int = 100) -> dict[str, str]:
    """Rules in the shapes of Dwyer's patterns over thirty tools."""
    rng = random.Random(5)
    return {f"rule {k}": rng.choice(SHAPES).format(*rng.sample(TOOLS, 2)) for k in range(n)}


def tool(name: str) -> dict[str, str]:
    return {"kind": "tool_call", "name": name}


def conditioned(n: int = 100, **options) -> list[Rule]:
    """The same rules over the fields of events."""
    rules = []
    for name, text in formulas(n).items():
        formula = Rule(name, text).formula
        atoms = {one: tool(one) for one in formula.atoms}
        rules.append(Rule(name, formula, atoms=atoms, **options))
    return rules


def calls(n: int) -> list[str]:
    rng = random.Random(6)
    return [rng.choice(TOOLS) for _ in range(n)]


def percentiles(step, events) -> tuple[float, float]:
    """Median and 99th percentile of one event, in nanoseconds, the clock's own call included."""
    took = np.empty(len(events))
    clock = time.perf_counter_ns
    for k, event in enumerate(events):
        start = clock()
        step(event)
        took[k] = clock() - start
    return float(np.median(took)), float(np.percentile(took, 99))


class Step:
    """A hundred rules; the event is a set of atoms, a bit mask, or fields with conditions."""

    params = ("set", "mask", "fields")
    param_names = ("event",)

    def setup(self, event):
        names = calls(SIZE)
        self.book = RuleBook(conditioned() if event == "fields" else formulas())
        twin = RuleBook(formulas())
        if event == "set":
            self.events = [{name} for name in names]
        elif event == "mask":
            masks = {name: 1 << k for k, name in enumerate(self.book.alphabet)}
            self.events = [masks.get(name, 0) for name in names]
        else:
            self.events = [{**tool(name), "arguments": {"path": "/x"}} for name in names]
        for one, name in zip(self.events[:300], names[:300], strict=True):
            ours, theirs = self.book.step(one), twin.step({name})
            assert [f.rule for f in ours.findings] == [f.rule for f in theirs.findings]
        self.book.reset()

    def time_step(self, event):
        step = self.book.step
        for one in self.events[:1000]:
            step(one)

    def track_p99(self, event):
        return percentiles(self.book.step, self.events)[1]

    track_p99.unit = "ns"


class Length:
    """The same event after a short and a long stream: the ratio of the medians."""

    unit = "x"

    def track_growth(self):
        book = RuleBook(formulas())
        events = [{name} for name in calls(2000)]
        for event in events:
            book.step(event)
        early = percentiles(book.step, events)[0]
        for name in calls(10 * SIZE):
            book.step({name})
        return percentiles(book.step, events)[0] / early


class Keys:
    """Ten thousand keys, 20 rules each."""

    def setup(self):
        rng = random.Random(7)
        self.book = RuleBook(conditioned(20, key="id"))
        self.events = [
            {**tool(name), "id": f"order {rng.randrange(10_000)}"} for name in calls(SIZE)
        ]
        for event in self.events:
            self.book.step(event)

    def time_step(self):
        step = self.book.step
        for event in self.events[:1000]:
            step(event)

    def time_snapshot(self):
        self.book.snapshot()


class Ask:
    """Questions that leave the book as it is."""

    def setup(self):
        self.book = RuleBook(formulas())
        for name in calls(1000):
            self.book.step({name})
        self.candidates = [{name} for name in TOOLS]
        assert self.book.allowed(self.candidates).any()

    def time_allowed(self):
        self.book.allowed(self.candidates)

    def time_what_if(self):
        self.book.what_if(self.candidates[0])

    def time_open_obligations(self):
        self.book.open_obligations()


class Make:
    """From text to a book, and what is wrong with it."""

    def time_book(self):
        RuleBook(formulas())

    def time_lint(self):
        lint_rules(formulas(20))
