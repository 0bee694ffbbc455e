"""How many synthesis problems of the test data are decided in time, and that none is wrong.

    python asv_benchmarks/logic_synthesis.py                 ten seconds for each problem, at most
    python asv_benchmarks/logic_synthesis.py --timeout 1

Problems come from ``logic/synthesis.jsonl`` in the test data: the folder that MIDSTREAM_TEST_DATA
names, else ``shared/data`` beside the checkout. Each is solved in both orders: a controller where
there is one, checked as always, or the verdict that there is none. Exits with 1 if a verdict is not
the data's.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from midstream.errors import StateLimitError, UndecidedError
from midstream.logic.synthesis import synthesize


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds for each problem")
    timeout = parser.parse_args().timeout
    named = os.environ.get("MIDSTREAM_TEST_DATA")
    root = Path(named) if named else Path(__file__).parents[1] / "shared" / "data"
    families: dict[str, Counter[str]] = {}
    seconds: dict[str, float] = {}
    for line in (root / "logic" / "synthesis.jsonl").read_text().splitlines():
        row = json.loads(line)
        family = "/".join(row["family"].split("/")[:2])
        if family.startswith("generated"):
            family = "generated"
        count = families.setdefault(family, Counter())
        for order in ("mealy", "moore"):
            start = time.perf_counter()
            try:
                found = synthesize(
                    row["formula"], row["inputs"], row["outputs"], order, timeout_s=timeout
                )
            except (StateLimitError, UndecidedError):
                count["undecided"] += 1
            else:
                expected = row[f"realizable_{order}"]
                count["decided"] += 1
                count["unknown to the data"] += expected is None
                count["wrong"] += expected is not None and expected != (found is not None)
                count["realizable"] += found is not None
            took = time.perf_counter() - start
            seconds[family] = max(seconds.get(family, 0.0), took)
    table = Table(title=f"synthesis, both orders, at most {timeout:g} s each")
    columns = ("decided", "realizable", "unknown to the data", "undecided", "wrong")
    for column in ("family", *columns, "slowest"):
        table.add_column(column, justify="left" if column == "family" else "right")
    total: Counter[str] = Counter()
    for family, count in families.items():
        total += count
        figures = [str(count[column]) for column in columns]
        table.add_row(family, *figures, f"{seconds[family]:.2f} s")
    table.add_section()
    figures = [str(total[column]) for column in columns]
    table.add_row("all", *figures, f"{max(seconds.values()):.2f} s")
    Console().print(table)
    return 1 if total["wrong"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
