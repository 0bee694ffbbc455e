"""Figures that a benchmark has beside the one number that asv keeps, for ``measure.py``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

#: Name of the environment variable that says where figures are kept; nothing is kept without it.
KEEP = "MIDSTREAM_BENCH_KEEP"
#: Factors from the units that programs print to those that are kept.
UNITS = {
    "ns": (1e-9, "s"),
    "us": (1e-6, "s"),
    "ms": (1e-3, "s"),
    "s": (1.0, "s"),
    "KiB": (1024.0, "B"),
    "MB": (1e6, "B"),
    "MiB": (1048576.0, "B"),
    "B": (1.0, "B"),
    "%": (0.01, "share"),
    "share": (1.0, "share"),
    "MB/s": (1e6, "B/s"),
    "/s": (1.0, "/s"),
    "count": (1.0, "count"),
    "x": (1.0, "x"),
}


def keep(name: str, value: float, unit: str) -> None:
    """Keep a figure in seconds, bytes, shares, counts or ratios, whatever it was printed in.

    Each is one line of JSON at the end of the file, so that many processes can write one.
    """
    factor, base = UNITS[unit]
    _write({"name": f"{_program()}.{name}", "value": float(value) * factor, "unit": base})


def keep_comparison(name: str, library: str, **fields: float) -> None:
    """Keep both sides of a comparison with a peer, their ratio and its quartiles."""
    _write({"name": name, "library": library, **fields})


def _program() -> str:
    return Path(sys.argv[0]).stem


def _write(record: dict[str, Any]) -> None:
    path = os.environ.get(KEEP)
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
