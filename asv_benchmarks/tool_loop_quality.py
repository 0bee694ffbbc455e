"""What detection of tool loops finds, at which call, and what it finds though it is none.

    python tool_loop_quality.py [FOLDER]

FOLDER holds ``agents/react_hotpot.jsonl`` (65 episodes of a ReAct agent, repeated actions labelled)
and ``agents/tau_airline.jsonl`` (100 runs of an airline agent); default ``MIDSTREAM_TEST_DATA``,
else ``shared/data`` beside the checkout. Variations are seeded: each kind of loop, and of progress
that looks like one, behind calls of a recorded run. The peers' rules are those of
``benchmarks/peers_tools.py``.
"""

from __future__ import annotations

import os
import random
import sys
from collections import Counter, defaultdict
from pathlib import Path
from statistics import mean

from benchmarks._keeping import keep
from benchmarks.peers_tools import Streak, ThreeAlike
from rich.console import Console
from rich.table import Table

from midstream.stream import ToolLoopDetector

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from reference.agent_runs import (
    airline_runs,
    events_of,
    react_runs,
    variations,
)

RUNS = 100
#: Groups of recorded runs in which an action is repeated.
REPEATED = ("react: repeated action", "airline: one call 3 times")


def ours(*severities):
    """Numbers of the calls at which findings of `severities` were made."""

    def flags(turns):
        detector = ToolLoopDetector("warn" if "stop" not in severities else "stop")
        return [
            detector.n_calls
            for event in events_of(turns)
            for finding in detector.observe(event, 0)
            if finding.severity in severities
        ]

    return flags


def peer(rule):
    def flags(turns):
        update = rule().update
        calls = [call for turn in turns for call in turn]
        return [n for n, (name, text, _) in enumerate(calls, 1) if update(name, text)]

    return flags


RULES = {
    "midstream, found": ours("note", "warn", "stop"),
    "midstream, warned or stopped": ours("warn", "stop"),
    "midstream, stopped": ours("stop"),
    "opencode: 3 alike": peer(ThreeAlike),
    "gemini-cli: 5 alike": peer(Streak),
}


def recorded(folder, console):
    groups = {"react: repeated action": [], "react: others": []}
    for run, turns in react_runs(folder / "agents" / "react_hotpot.jsonl"):
        name = "react: repeated action" if run["repeated_action"] else "react: others"
        groups[name].append((turns, run["first_repeat_step"]))
    for run, turns in airline_runs(folder / "agents" / "tau_airline.jsonl"):
        count = run["max_same_call"]
        name = f"airline: {'one call 3 times' if count > 2 else 'no call more than twice'}"
        groups.setdefault(name, []).append((turns, None))
    table = Table(title="recorded runs: flagged / runs (call of the flag, from the first repeat)")
    table.add_column("rule")
    for group in groups:
        table.add_column(group, justify="right")
    for name, flags in RULES.items():
        cells = []
        counts: Counter[tuple[str, str]] = Counter()
        for group, runs in groups.items():
            hits = [(flags(turns), first) for turns, first in runs]
            side = "repeated" if group in REPEATED else "others"
            counts[side, "flagged"] += sum(bool(found) for found, _ in hits)
            counts[side, "runs"] += len(runs)
            late = [found[0] - first for found, first in hits if found and first is not None]
            shown = f" ({', '.join(f'+{n}' for n in late)})" if late else ""
            cells.append(f"{sum(bool(found) for found, _ in hits)} / {len(runs)}{shown}")
        for (side, what), count in counts.items():
            keep(f"{name}.{side}.{what}", count, "count")
        table.add_row(name, *cells)
    console.print(table)


def varied(folder, console):
    begun = [turns for _, turns in airline_runs(folder / "agents" / "tau_airline.jsonl")]
    begun += [turns for _, turns in react_runs(folder / "agents" / "react_hotpot.jsonl")]
    made = defaultdict(list)
    for seed in range(RUNS):
        rng = random.Random(seed)
        # A recorded run's beginning, short of what may repeat in it.
        before = rng.choice(begun)[: rng.randrange(4)]
        for variation in variations(rng, before):
            made[variation.kind, variation.loops].append(variation)
    for loops in (True, False):
        counts: Counter[tuple[str, str]] = Counter()
        title = "loops: found" if loops else "no loops: flagged though healthy"
        table = Table(
            title=f"{title} / {RUNS} seeded runs (mean calls from the third copy to the flag)"
        )
        table.add_column("kind")
        for name in RULES:
            table.add_column(name, justify="right")
        for (kind, is_loop), cases in made.items():
            if is_loop != loops:
                continue
            cells = []
            for name, flags in RULES.items():
                found = [(flags(case.turns), case.third) for case in cases]
                late = [flagged[0] - third for flagged, third in found if flagged]
                counts[name, "flagged"] += len(late)
                counts[name, "runs"] += len(cases)
                shown = f" ({mean(late):+.1f})" if late and loops else ""
                cells.append(f"{len(late)}{shown}")
            table.add_row(kind, *cells)
        console.print(table)
        for (name, what), count in counts.items():
            keep(f"{name}.{'loops' if loops else 'progress'}.{what}", count, "count")


def main():
    console = Console(width=max(Console().width, 150))
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    named = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("MIDSTREAM_TEST_DATA", beside)
    folder = Path(named)
    files = ("agents/react_hotpot.jsonl", "agents/tau_airline.jsonl")
    missing = [name for name in files if not (folder / name).exists()]
    if missing:
        print(
            f"tool_loop_quality.py: {folder} lacks {' and '.join(missing)}: name the folder of"
            " midstream's test data as argument or in MIDSTREAM_TEST_DATA (runs from"
            " github.com/noahshinn/reflexion and github.com/sierra-research/tau-bench)",
            file=sys.stderr,
        )
        return 2
    recorded(folder, console)
    varied(folder, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
