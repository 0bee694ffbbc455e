"""What loop detection finds, how late, and what it takes for a loop though it is none.

    python loop_quality.py [FOLDER]

FOLDER holds ``loops/gpt3.jsonl`` (263 labelled samples of GPT-3) and ``streams/stories260k``
(recordings of a small model, exact runs labelled); default ``MIDSTREAM_TEST_DATA``, else
``shared/data`` beside the checkout. The peers' rules are those of ``benchmarks/peers_loops.py``.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from statistics import quantiles

from benchmarks._keeping import keep
from benchmarks.peers_loops import DriftRule, HashRule, TailRule
from rich.console import Console
from rich.table import Table

from midstream.stream import Event, LoopDetector, RegimeDetector, load

TOKEN = re.compile(r" ?\w+| ?[^\w\s]|\s+")


class Ours:
    """Flags a text at the first finding of `severities`."""

    def __init__(self, *severities):
        self.detector = LoopDetector()
        self.severities = severities

    def update(self, token):
        found = self.detector.observe(Event("text", 0, 0, token), 0)
        return any(finding.severity in self.severities for finding in found)


class Regime:
    """Flags a text where its run settles, whatever its words are."""

    def __init__(self):
        self.detector = RegimeDetector()

    def update(self, token):
        return bool(self.detector.observe(Event("text", 0, 0, token), 0))


RULES = {
    "midstream, found": lambda: Ours("note", "warn", "stop"),
    "midstream, stopped": lambda: Ours("stop"),
    "midstream, regime": Regime,
    "ai2070-l0, drift": DriftRule,
    "gemini-cli's shape": HashRule,
    "vLLM's shape": TailRule,
}


def flagged(rule, text):
    """Characters up to the first flag, or None."""
    seen = 0
    for token in TOKEN.findall(text):
        seen += len(token)
        if rule.update(token):
            return seen
    return None


def spread(values):
    """Minimum, quartiles and maximum, for people."""
    if len(values) < 2:
        return ", ".join(map(str, values)) or "-"
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return f"{min(values)} | {low:.0f} {middle:.0f} {high:.0f} | {max(values)}"


def gpt3(path, console):
    samples = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    groups = {
        "exact loops": lambda s: s["label"] == "loop" and not s["near"] and not s["doubt"],
        "near loops": lambda s: s["label"] == "loop" and s["near"] and not s["doubt"],
        "repeats": lambda s: s["label"] == "repeat" and not s["doubt"],
        "none": lambda s: s["label"] == "none" and not s["doubt"],
        "loops in doubt": lambda s: s["label"] == "loop" and s["doubt"],
        "repeats in doubt": lambda s: s["label"] == "repeat" and s["doubt"],
        "none in doubt": lambda s: s["label"] == "none" and s["doubt"],
    }
    table = Table(title=f"{len(samples)} samples of GPT-3: flagged / samples")
    table.add_column("rule")
    for group in groups:
        table.add_column(group, justify="right")
    late = Table(title="tokens from onset to flag: min | quartiles | max")
    for column in ("rule", "exact loops", "near loops"):
        table_column = {"justify": "left" if column == "rule" else "right"}
        late.add_column(column, **table_column)
    for name, make in RULES.items():
        try:
            make()
        except NotImplementedError as missing:
            console.print(f"{name}: {missing}")
            continue
        cells, delays = [], {}
        for group, belongs in groups.items():
            chosen = [sample for sample in samples if belongs(sample)]
            hits = [(sample, flagged(make(), sample["text"])) for sample in chosen]
            hits = [(sample, place) for sample, place in hits if place is not None]
            cells.append(f"{len(hits)} / {len(chosen)}")
            keep(f"{name}.{group}.flagged", len(hits), "count")
            keep(f"{name}.{group}.samples", len(chosen), "count")
            delays[group] = [
                len(TOKEN.findall(sample["text"][sample["onset_char"] : place]))
                for sample, place in hits
                if sample["label"] == "loop"
            ]
        table.add_row(name, *cells)
        late.add_row(name, spread(delays["exact loops"]), spread(delays["near loops"]))
    console.print(table)
    console.print(late)


def stories(folder, console):
    labels = json.loads((folder / "labels.json").read_text())
    table = Table(title="recordings of stories260K, in tokens of the model")
    columns = ("stream", "first run of 4 copies", "third copy complete", "found", "stopped", "by")
    for column in columns:
        table.add_column(column)
    delays = []
    for name, label in labels.items():
        events = load(folder / label["file"])
        first, stop, by = None, None, ""
        detector, stopper = LoopDetector("warn"), LoopDetector()
        run = next((r for r in label["runs"] if r["length_tokens"] >= 4 * r["period_tokens"]), None)
        begin = run["start_token"] if run else 0
        for event in events:
            for finding in detector.observe(event, 0):
                if first is None and event.seq >= begin:
                    first, by = event.seq + 1, finding.kind
            for finding in stopper.observe(event, 0):
                if stop is None and finding.severity == "stop":
                    stop = event.seq + 1
        if run is None:
            table.add_row(name, "-", "-", str(first or "-"), str(stop or "-"), by)
            continue
        complete = begin + 3 * run["period_tokens"]
        if first is not None:
            delays.append(first - complete)
        shown = f"{begin} + {run['period_tokens']} x {run['length_tokens']}"
        table.add_row(name, shown, str(complete), str(first), str(stop or "-"), by)
    console.print(table)
    console.print(f"tokens from the third copy's end to the finding: {spread(delays)}")


def main():
    console = Console()
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    named = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("MIDSTREAM_TEST_DATA", beside)
    folder = Path(named)
    missing = [
        name for name in ("loops/gpt3.jsonl", "streams/stories260k") if not (folder / name).exists()
    ]
    if missing:
        print(
            f"loop_quality.py: {folder} lacks {' and '.join(missing)}: name the folder of"
            " midstream's test data as argument or in MIDSTREAM_TEST_DATA (too large for the"
            " repository: labelled samples of github.com/minimaxir/gpt-3-experiments, and"
            " recordings of stories260K)",
            file=sys.stderr,
        )
        return 2
    gpt3(folder / "loops" / "gpt3.jsonl", console)
    stories(folder / "streams" / "stories260k", console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
