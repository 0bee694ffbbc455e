"""What a strange loop costs where streams change over time, and where they do not.

    python asv_benchmarks/meta_regret.py [FOLDER] [--seeds 4] [--quick] [--only stationary]

FOLDER holds ``loops/gpt3.jsonl`` and ``streams/stories260k``; default ``MIDSTREAM_TEST_DATA``, else
``shared/data`` beside the checkout. Without them, material is made up.

Streams come from `tests/reference/phases.py`: recorded loops and healthy texts, made-up tables,
logs and refrains that repeat and recover, in two rhythms. What is computed, and what the loop gets
to see, is told in `tests/reference/regret.py`; the interventions are those of
`tests/reference/responses.py`. Everything is seeded. The arguments of `watch_loop` were chosen on
other seeds of the same worlds.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from rich.console import Console
from rich.table import Table

from midstream.meta import Bandit, Shield, StrangeLoop
from midstream.stream import StreamLoss, watch_loop, watch_params

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from reference import phases, regret, responses  # noqa: E402 - from this checkout's tests

#: No change may make the watch blind, and none may switch both detectors off at once.
RULES = (
    "stop_chars <= 3200",
    "on_loop_is_warn -> stall_min_s <= 60",
    "abort -> (loop | near_loop | stall)",
)
#: Two-sided 95 % quantiles of Student's t for 1, 2, .. degrees of freedom.
STUDENT = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)


class Study:
    """Streams of all worlds, and what each costs under each of the opponents' settings."""

    shared = None

    def __init__(self, folder, pool):
        self.material = phases.recorded(folder) if folder else phases.made_up()
        self.loss = StreamLoss(n_kept=1_000_000)
        self.grid = regret.grid(watch_params())
        self.pools = {
            name: [
                phases.stream(random.Random(f"study {name} {number}"), world, self.material)
                for number in range(pool)
            ]
            for name, world in phases.WORLDS.items()
        }
        self.costs = {
            stream.digest: row
            for streams in self.pools.values()
            for stream, row in zip(
                streams, regret.losses(self.loss, streams, self.grid), strict=True
            )
        }

    def table(self, streams):
        return np.array([self.costs[stream.digest] for stream in streams])

    def run(self, seed, plan, training, *, cold=False, whole=False, **more):
        """Score of a loop that starts with what was best in the training part, and its run."""
        rng = random.Random(f"streams {seed}")
        streams, numbers = phases.sequence(rng, plan, self.pools)
        trained, _ = phases.sequence(rng, training, self.pools)
        start = int(self.table(trained).sum(0).argmin())
        if cold:
            start = self.grid.index(watch_params().defaults)
        loss = regret.Whole(n_kept=1_000_000) if whole else self.loss
        loop = watch_loop(self.grid[start].to_dict(), loss=loss, rules=RULES, seed=seed)
        done = regret.run(loop, streams, seed=seed, **more)
        # Whatever the loop came to, its opponents may have had from the beginning.
        found = [version.settings_in(loop.params) for version in loop.ledger.versions]
        table = np.hstack([self.table(streams), regret.losses(self.loss, streams, found)])
        half = len(streams) // 2
        late = done.paid[half:].sum() / table[half:].sum(0).min() - 1
        return regret.score(table, numbers, start, done.paid), done, late


def at_once(study, calls):
    """Results of many runs, on all cores where processes can be forked."""
    if "fork" not in multiprocessing.get_all_start_methods():
        return [study.run(*given, **more) for given, more in calls]
    Study.shared = study  # goes along with the fork
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("fork")) as pool:
        return list(pool.map(_call, calls))


def _call(call):
    given, more = call
    return Study.shared.run(*given, **more)


def interval(values):
    """Mean and half the width of its 95 % interval over seeds."""
    if len(values) < 2:
        return f"{values[0]:.2f}"
    half = STUDENT[min(len(values) - 2, len(STUDENT) - 1)] * stdev(values) / len(values) ** 0.5
    return f"{mean(values):.2f} ± {half:.2f}"


def changing(study, seeds, console):
    """Eight phases of 150 to 400 streams in unknown order, or sixteen of 40 to 100."""
    table = Table(title="streams that change: mean loss a stream, over seeds")
    for column in ("known to the loop", "streams", "oracle", "best fixed, hindsight"):
        table.add_column(column)
    for column in ("best fixed, trained", "loop", "regret / fixed's", "regret / trained's"):
        table.add_column(column)
    for column in ("worst seed", "promoted", "demoted", "audited", "violations"):
        table.add_column(column)
    fewer = max(1, seeds - 1)
    long, short = {}, {"count": 16, "shortest": 40, "longest": 100}
    scenarios = [
        ("every stop: right or wrong", {"told": 1.0}, seeds, long),
        ("half of the stops", {"told": 0.5}, fewer, long),
        ("none of the stops", {"told": 0.0}, fewer, long),
        ("all that would have come", {"whole": True}, fewer, long),
        ("every stop; short phases", {"told": 1.0}, fewer, short),
    ]
    calls = []
    for _, more, count, length in scenarios:
        for seed in range(count):
            rng = random.Random(f"study {seed}")
            plan, training = phases.phases(rng, **length), phases.phases(rng, count=4)
            calls.append(((seed, plan, training), more))
    results = iter(at_once(study, calls))
    for name, _, count, _ in scenarios:
        scores, runs, _ = zip(*(next(results) for _ in range(count)), strict=True)
        table.add_row(
            name,
            f"{sum(score.streams for score in scores):,}",
            *(f"{mean(score[column] for score in scores):.3f}" for column in range(1, 5)),
            interval([score.versus_fixed for score in scores]),
            interval([score.versus_trained for score in scores]),
            f"{max(score.versus_fixed for score in scores):.2f}",
            str(sum(done.summary.promoted for done in runs)),
            str(sum(done.summary.demoted for done in runs)),
            f"{mean(done.audits / len(done.paid) for done in runs):.1%}",
            str(sum(_violations(done) for done in runs)),
        )
    console.print(table)


def stationary(study, length, console):
    """One world each, two seeds; the training part is as long as what follows."""
    table = Table(title=f"streams that do not change: {length:,} of each world")
    for column in ("world", "best fixed, hindsight", "best fixed, trained", "loop"):
        table.add_column(column)
    for column in (
        "above hindsight",
        "above trained",
        "promoted",
        "violations",
        "defaults; then late",
    ):
        table.add_column(column)
    warm, calls = 2, []
    for name in phases.WORLDS:
        plan = [(name, length)]
        calls += [((seed, plan, plan), {}) for seed in range(warm)]
        calls.append(((0, plan, plan), {"cold": True}))
    results = iter(at_once(study, calls))
    sums = np.zeros(3)
    for name in phases.WORLDS:
        scores, runs, _ = zip(*(next(results) for _ in range(warm)), strict=True)
        cold, colder, late = next(results)
        means = np.array([(one.fixed, one.trained, one.loop) for one in scores]).mean(0)
        sums += means
        table.add_row(
            name,
            *(f"{value:.3f}" for value in means),
            f"{means[2] / means[0] - 1:+.1%}",
            f"{means[2] / means[1] - 1:+.1%}",
            str(sum(done.summary.promoted for done in runs)),
            str(sum(_violations(done) for done in (*runs, colder))),
            f"{cold.trained:.3f}, loop {cold.loop:.3f}, {late:+.0%}",
        )
    table.add_row(
        "all",
        *(f"{value / len(phases.WORLDS):.3f}" for value in sums),
        f"{sums[2] / sums[0] - 1:+.1%}",
        f"{sums[2] / sums[1] - 1:+.1%}",
        *("", "", ""),
    )
    console.print(table)


def interventions(seeds, count, console):
    """What to do about trouble of unseen causes."""
    table = Table(title=f"interventions: {count:,} troubles a seed, two causes change half-way")
    for column in ("policy", "best", "best fixed action", "chosen", "regret / fixed's", "masked"):
        table.add_column(column)
    table.add_column("violations")
    params = watch_params()
    rules = ("trim -> loop", "retry -> (stall | loop)", "escalate -> !reasoning")
    for name, more in (
        ("linucb", {"policy": "linucb", "alpha": 0.3, "discount": 0.998}),
        ("thompson", {"policy": "thompson", "alpha": 0.1, "discount": 0.997}),
        ("beta, no features", {"policy": "beta", "discount": 0.997}),
    ):
        outcomes, masked, violations = [], 0, 0
        for seed in range(seeds):
            loop = StrangeLoop(
                params,
                shield=Shield(rules, params=params),
                bandit=Bandit(seed=seed, **more),
                max_sessions=64,
                seed=seed,
            )
            made = responses.troubles(seed, count)
            outcomes.append(responses.run(loop, made, seed=seed))
            masked += loop.summary().masked
            violations += loop.summary().violations
        table.add_row(
            name,
            *(f"{mean(one[column] for one in outcomes) / count:.3f}" for column in (0,)),
            f"{mean(one.fixed for one in outcomes) / count:.3f} ({outcomes[0].fixed_action})",
            f"{mean(one.chosen for one in outcomes) / count:.3f}",
            interval([(one.best - one.chosen) / (one.best - one.fixed) for one in outcomes]),
            f"{masked:,}",
            str(violations),
        )
    console.print(table)


def _violations(done):
    return done.summary.violations + done.summary.change_violations


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--quick", action="store_true", help="a tenth of it")
    parser.add_argument("--only", choices=("changing", "stationary", "interventions"))
    options = parser.parse_args()
    console = Console(width=200)
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = options.folder or Path(os.environ.get("MIDSTREAM_TEST_DATA", beside))
    needed = ("loops/gpt3.jsonl", "streams/stories260k")
    if not all((folder / name).exists() for name in needed):
        console.print(f"no recordings in {folder}: material is made up")
        folder = None
    seeds = 2 if options.quick else options.seeds
    begun = time.perf_counter()
    study = Study(folder, 40 if options.quick else 100)
    console.print(f"{len(study.grid)} fixed settings over {len(study.costs)} different streams")
    if options.only in (None, "changing"):
        changing(study, seeds, console)
    if options.only in (None, "stationary"):
        stationary(study, 400 if options.quick else 1000, console)
    if options.only in (None, "interventions"):
        interventions(seeds, 600 if options.quick else 3000, console)
    console.print(
        "Loss of a stream: wasted characters / 3,000 + seconds waited / 90 + 1 for a stop that was "
        "wrong + 0.02 a false warning, at most 1 (StreamLoss). Regret: sum of losses less those of "
        "the best settings of each phase. A loop starts with what was best in four phases of the "
        "same kind before (as many streams, where nothing changes), as the trained opponent does, "
        "and pays in full for what it audits. Opponents choose among 725 settings and those that "
        "the loop came to. Intervals are over seeds, of 95 %. Last column of the second table: the "
        "defaults, a loop that starts with them, and how far its second half is above the best.\n"
        f"{time.perf_counter() - begun:.0f} s"
    )


if __name__ == "__main__":
    main()
