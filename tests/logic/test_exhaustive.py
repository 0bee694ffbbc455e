"""All formulas up to a size over two atoms and all short traces: every engine agrees on each.

`.ci/logic_exhaustive` runs the same checks for larger sizes and traces up to length six.
"""

from __future__ import annotations

import pytest
from reference.exhaustive import (
    AllTraces,
    check_automata,
    check_columns,
    check_monitors,
    check_progression,
    formulas,
)

SIZE, LONGEST = 4, 4


@pytest.fixture(scope="module")
def traces():
    return AllTraces(LONGEST)


@pytest.fixture(scope="module")
def every_formula():
    return [formula for size in range(1, SIZE + 1) for formula in formulas(size)]


def test_how_many_there_are(traces, every_formula):
    assert len(every_formula) == len(set(every_formula)) == 8208
    assert sum(len(masks) for masks in traces.masks.values()) == 4 + 16 + 64 + 256


def test_columns(traces, every_formula):
    assert check_columns(every_formula, traces) == 8208 * 340


def test_progression(traces, every_formula):
    future = [formula for formula in every_formula if not formula.has_past]
    assert check_progression(future, traces) == len(future) * 340


def test_automata(traces, every_formula):
    assert check_automata(every_formula, traces) == 8208 * 340


def test_monitors(traces, every_formula):
    assert check_monitors(every_formula, traces) == 8208 * 340
