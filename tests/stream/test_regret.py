"""A strange loop against fixed settings, small: the direction. The study is in asv_benchmarks."""

from __future__ import annotations

import random

import numpy as np
import pytest
from reference import phases, regret, responses

from midstream.meta import Bandit, Shield, StrangeLoop
from midstream.stream import StreamLoss, watch_loop, watch_params

#: Every third and fourth of the study's settings is enough to beat.
LOOPS = [*regret.GRID_LOOPS[::3], regret.GRID_LOOPS[-1]]
STALLS = [*regret.GRID_STALLS[::4], {}]
RULES = ("stop_chars <= 3200", "abort -> (loop | near_loop | stall)")


class Worlds:
    def __init__(self, names, count=30):
        self.loss = StreamLoss(n_kept=100_000)
        self.grid = regret.grid(watch_params(), LOOPS, STALLS)
        material = phases.made_up()
        self.pools = {
            name: [
                phases.stream(random.Random(f"{name} {i}"), phases.WORLDS[name], material)
                for i in range(count)
            ]
            for name in names
        }

    def run(self, plan, training, seed=0, *, whole=False, **more):
        rng = random.Random(seed)
        streams, numbers = phases.sequence(rng, plan, self.pools)
        trained, _ = phases.sequence(rng, training, self.pools)
        start = int(regret.losses(self.loss, trained, self.grid).sum(0).argmin())
        loss = regret.Whole() if whole else self.loss
        loop = watch_loop(self.grid[start].to_dict(), loss=loss, rules=RULES, seed=seed)
        done = regret.run(loop, streams, seed=seed, **more)
        found = [version.settings_in(loop.params) for version in loop.ledger.versions]
        table = regret.losses(self.loss, streams, [*self.grid, *found])
        return loop, done, regret.score(table, numbers, start, done.paid)


@pytest.fixture(scope="module")
def worlds():
    return Worlds(phases.CHANGING)


@pytest.mark.parametrize("more", [{"told": 1.0}, {"whole": True}])
def test_regret_is_lower_where_streams_change(worlds, more) -> None:
    plan = [
        ("loops, fast", 120),
        ("structure, slow", 150),
        ("loops, fast", 150),
        ("structure, fast", 150),
    ]
    loop, done, score = worlds.run(plan, [(name, 60) for name in phases.CHANGING], **more)
    assert score.oracle < score.fixed <= score.trained
    assert score.versus_fixed < 0.8
    assert score.versus_trained < 0.8
    assert done.summary.promoted >= 2
    assert done.summary.violations == done.summary.change_violations == 0
    assert (done.audits > 0) == ("told" in more)
    assert all(version.settings["stop_chars"] <= 3200 for version in loop.ledger.versions)


@pytest.mark.parametrize("name", ["loops, fast", "structure, slow"])
def test_nothing_is_lost_where_they_do_not(worlds, name) -> None:
    _, done, score = worlds.run([(name, 300)], [(name, 150)])
    assert score.above_trained <= 0.02
    assert score.above_fixed <= 0.02
    assert done.summary.violations == 0


def test_it_is_the_same_every_time(worlds) -> None:
    plan = [("loops, fast", 60), ("structure, slow", 60)]
    runs = [worlds.run(plan, [("loops, fast", 40)], seed=3) for _ in range(2)]
    (one, first, _), (other, second, _) = runs
    assert np.array_equal(first.paid, second.paid)
    # The opening has the time of the system's clock; all that follows was told.
    assert one.digest == other.digest
    assert one.replay().head == one.ledger.head


def test_the_bandit_finds_what_helps_against_causes_that_nobody_sees() -> None:
    params = watch_params()
    rules = ("trim -> loop", "retry -> (stall | loop)", "escalate -> !reasoning")
    loop = StrangeLoop(
        params,
        shield=Shield(rules, params=params),
        bandit=Bandit(alpha=0.3, discount=0.998, seed=1),
        max_sessions=64,
    )
    outcome = responses.run(loop, responses.troubles(1, 1200), seed=1)
    best, fixed, chosen = outcome.best, outcome.fixed, outcome.chosen
    assert outcome.uniform < fixed < chosen < best
    assert best - chosen < 0.6 * (best - fixed)
    assert outcome.unanswered > 50
    assert loop.summary().masked > 0
    assert loop.summary().violations == 0
