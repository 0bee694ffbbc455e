"""The ring in C, beside a queue of a mutex and two condition variables of the same capacity.

    python ring_in_c.py [THREADS_EACH_WAY]

Compiles ``ring_in_c.c`` and the ring in ``csrc`` with the C compiler (``CC``, else ``cc``), runs
both in turns in one process, and prints medians in nanoseconds for an item that is pushed and
popped. Small capacities make threads wait, large ones let each run ahead: both are shown. A thread
that finds the ring full or empty yields its core up to 100 times, then sleeps on an event.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks._keeping import keep
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
CSRC = HERE.parent / "csrc"
CAPACITIES = (16, 64, 256, 1024, 65536)
ITEMS, ROUNDS = 300_000, 7


def build(folder):
    program = Path(folder) / "ring_in_c"
    sources = [HERE / "ring_in_c.c", CSRC / "ms_ring.c", CSRC / "ms_park.c"]
    compiler = [os.environ.get("CC", "cc"), "-std=c11", "-O3", "-pthread", f"-I{CSRC}"]
    subprocess.run([*compiler, *sources, "-o", program], check=True)
    return program


def main():
    threads = sys.argv[1] if len(sys.argv) > 1 else "2"
    table = Table("capacity", title="nanoseconds an item; ratio: the mutex's time over the ring's")
    for who in ("one thread", f"{threads} producers, {threads} consumers"):
        for heading in (f"{who}: ring", "mutex", "ratio"):
            table.add_column(heading, justify="right")
    with tempfile.TemporaryDirectory() as folder:
        program = build(folder)
        for capacity in CAPACITIES:
            command = [program, str(capacity), threads, str(ITEMS), str(ROUNDS)]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            rows = [[float(field) for field in line.split()] for line in printed.splitlines()]
            cells = []
            for who, ours, peer in (("one thread", 0, 1), (f"{threads} and {threads}", 2, 3)):
                ratio = median(row[peer] / row[ours] for row in rows)
                keep(f"{who}, capacity {capacity}.ring", median(row[ours] for row in rows), "ns")
                keep(f"{who}, capacity {capacity}.ratio", ratio, "x")
                cells += [f"{median(row[ours] for row in rows):.1f}"]
                cells += [f"{median(row[peer] for row in rows):.1f}", f"{ratio:.1f}x"]
            table.add_row(str(capacity), *cells)
    Console(width=None if sys.stdout.isatty() else 110).print(table)


if __name__ == "__main__":
    main()
