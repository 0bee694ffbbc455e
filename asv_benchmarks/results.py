"""Figures of the README's tables, when and where they were measured: ``results.json``.

The file holds what the tables show and no more. Every figure names the run that it is from; a run
says commit, date, machine, versions, and whether the machine did anything else meanwhile.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parent / "results.json"
#: What a comparison with a peer has; its figures are those before the name of the library.
COMPARED = ("ours_s", "peer_s", "ratio", "low", "high", "library")


class Results:
    """Figures by key, and the runs that they are from.

    A figure is a dict: ``run`` and either ``value`` and ``unit``, or the fields of a comparison.
    """

    def __init__(self, runs: dict[str, dict[str, Any]], figures: dict[str, dict[str, Any]]) -> None:
        self.runs = runs
        self.figures = figures

    @classmethod
    def load(cls, path: Path = FILE) -> Results:
        if not path.exists():
            return cls({}, {})
        kept = json.loads(path.read_text(encoding="utf-8"))
        return cls(kept["runs"], kept["figures"])

    def save(self, path: Path = FILE) -> None:
        """Write runs with a field a line, and each figure on one line; unused runs are left out."""
        used = {figure["run"] for figure in self.figures.values()}
        runs = {name: run for name, run in sorted(self.runs.items()) if name in used}
        lines = [
            f"  {json.dumps(key, ensure_ascii=False)}: {json.dumps(_rounded(self.figures[key]))}"
            for key in sorted(self.figures)
        ]
        text = json.dumps(runs, indent=1, ensure_ascii=False)
        path.write_text(
            f'{{"runs": {text},\n"figures": {{\n' + ",\n".join(lines) + "\n}}\n", encoding="utf-8"
        )

    def add(
        self,
        run_name: str,
        run: dict[str, Any],
        figures: dict[str, dict[str, Any]],
        patterns: Iterable[str] = (),
    ) -> None:
        """Put in figures of a run, in place of older ones: of all that its patterns stand for."""
        for pattern in patterns:
            if any(is_meant(pattern, key) for key in figures):
                for key, _ in list(self.matching(pattern)):
                    del self.figures[key]
        self.runs[run_name] = run
        for key, figure in figures.items():
            self.figures[key] = {"run": run_name, **figure}

    def matching(self, pattern: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Key and figure of those that a pattern of a table means."""
        for key in sorted(self.figures):
            if is_meant(pattern, key):
                yield key, self.figures[key]


def is_meant(pattern: str, key: str) -> bool:
    """Whether a key is among those that a pattern stands for."""
    return re.fullmatch(expression(pattern), key) is not None


def expression(pattern: str) -> str:
    """A pattern as a regular expression: ``*`` is anything, ``{a,b}`` one of these."""
    parts = re.split(r"(\*|\{[^{}]*\})", pattern)
    return "".join(
        ".*"
        if part == "*"
        else "(?:" + "|".join(map(re.escape, part[1:-1].split(","))) + ")"
        if part.startswith("{")
        else re.escape(part)
        for part in parts
    )


def _rounded(figure: dict[str, Any]) -> dict[str, Any]:
    """Four digits are more than any figure is good for."""
    return {
        name: float(f"{value:.4g}") if isinstance(value, float) else value
        for name, value in figure.items()
    }
