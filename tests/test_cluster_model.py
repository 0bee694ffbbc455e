"""What the guide to clusters says of clusters that are not here is what its model says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "asv_benchmarks" / "cluster_speed.py"
GUIDE = ROOT / "midstream" / "docs" / "clusters.md"

pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="no benchmarks beside the tests")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cluster_speed", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_guides_table_is_what_the_model_says(script: ModuleType) -> None:
    # ``python cluster_speed.py paper --pair-us 5``
    said = ["| " + " | ".join(row) + " |" for row in script.on_paper(script.KNOWN, 5e-6)]
    shown = [line for line in GUIDE.read_text("utf-8").splitlines() if line.startswith("| 1")]
    assert [line for line in shown if line.count("|") == 9] == said


def test_one_worker_that_costs_nothing_takes_the_work(script: ModuleType) -> None:
    free = script.Costs(0.0, 0.0, 0.0, 0.0)
    assert script.model_s(free, 100, 0.25, 1) == 25.0
    assert script.model_s(free, 100, 0.25, 8) == 13 * 0.25


def test_no_workers_outrun_the_scheduler(script: ModuleType) -> None:
    costs = script.Costs(0.0, 0.0, 0.001, 0.0)
    assert script.model_s(costs, 1000, 0.01, 10**6) == 1.0
