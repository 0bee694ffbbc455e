"""How many formulas of the oracle data are decided in time, by family.

    python asv_benchmarks/logic_decided.py FOLDER [--limit 10] [--every 1] [--files sat_ltlf ...]

FOLDER holds sat_ltlf.jsonl, sat_ltl.jsonl and sat_past.jsonl. Times are those that the processor
spent in `satisfiable`, without parsing. Exits with 1 where an answer is not the expected one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path

from midstream.errors import UndecidedError
from midstream.logic.decision import satisfiable
from midstream.logic.parser import parse

SEMANTICS = {"sat_ltlf": "ltlf", "sat_ltl": "ltl", "sat_past": "ltl"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=float, default=10.0, help="seconds a formula")
    parser.add_argument("--every", type=int, default=1, help="take every n-th row")
    parser.add_argument("--files", nargs="+", choices=SEMANTICS, default=list(SEMANTICS))
    options = parser.parse_args()
    wrong = sum(table(name, options) for name in options.files)
    sys.exit(1 if wrong else 0)


def table(name, options):
    """Print the table of one file; the number of wrong answers."""
    families = defaultdict(list)
    wrong = 0
    with (options.folder / f"{name}.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines][:: options.every]
    for row in rows:
        formula = parse(row["formula"], dialect="black")
        start = time.process_time()
        try:
            answer = satisfiable(formula, semantics=SEMANTICS[name], timeout_s=options.limit)
        except UndecidedError:
            answer = None
        seconds = time.process_time() - start
        expected = row["verdict"] == "SAT"
        if answer is not None and answer != expected:
            wrong += 1
            print(f"WRONG {row['id']}: {answer}, expected {expected}")
        families[row["family"], row["verdict"]].append(None if answer is None else seconds)
    heads = ("rows", "decided", "in 1 s", "in 50 ms", "median", "slowest")
    print(f"{name:33}{'':6}" + "".join(f"{head:>11}" for head in heads))
    for (family, verdict), times in sorted(families.items()):
        print(f"{family:33}{verdict:6}{line(times)}")
    everything = [seconds for times in families.values() for seconds in times]
    print(f"{'all':33}{'':6}{line(everything)}   wrong: {wrong}\n", flush=True)
    return wrong


def line(times):
    known = [seconds for seconds in times if seconds is not None]
    cells = [len(times), len(known), sum(s < 1 for s in known), sum(s < 0.05 for s in known)]
    milliseconds = [statistics.median(known), max(known)] if known else []
    return "".join(f"{cell:11d}" for cell in cells) + "".join(
        f"{1e3 * seconds:8.1f} ms" for seconds in milliseconds
    )


if __name__ == "__main__":
    main()
