"""The README's tables of figures, from ``results.json``.

    python tables.py [NAME ...]     print them
    python tables.py --write        put all of them into the README
    python tables.py --check        exit status 1 where the README has other ones

In the README a table stands between ``<!-- table: NAME -->`` and ``<!-- end of table -->``. What is
measured, and how, is in ``rows.py`` and ``measure.py``.
"""

from __future__ import annotations

import argparse
import difflib
import math
import re
import sys
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

from results import Results
from row import Table
from rows import TABLES

README = Path(__file__).resolve().parents[1] / "README.md"
#: A figure in a cell: key, field of a comparison, what is done with it.
FIGURE = re.compile(r"\[\[(.+?)(?::(ours|peer|ratio|library))?(?:\|([*/])(\d+))?\]\]")
BLOCK = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
#: Beside rows that were measured while the machine did other things, too.
LOADED = "†"
#: Beside rows whose figures stood here before results were kept.
OLDER = "‡"


class Shown(NamedTuple):
    """A number as it stands in the table, and its unit."""

    number: str
    unit: str

    def __str__(self) -> str:
        return self.number + self.unit


def digits(value: float) -> str:
    """Two significant digits, three from a hundred to a thousand."""
    if value == 0:
        return "0"
    rounded = float(f"{value:.{3 if 99.5 <= abs(value) < 999.5 else 2}g}")
    return f"{rounded:,.{max(0, 1 - math.floor(math.log10(abs(rounded))))}f}"


def show(value: float, unit: str) -> Shown:
    """A figure in the unit that suits its size."""
    scales: dict[str, tuple[tuple[float, str], ...]] = {
        "s": ((1, " s"), (1e-3, " ms"), (1e-6, " µs"), (1e-9, " ns")),
        "B": ((1e9, " GB"), (1e6, " MB"), (1024, " KiB"), (1, " bytes")),
        "B/s": ((1e9, " GB/s"), (1e6, " MB/s"), (1e3, " kB/s")),
        "/s": ((1e6, " million"), (1, "")),
        "share": ((0.01, " %"),),
        "x": ((1, ""),),
        "B each": ((1, ""),),
    }
    if unit == "count":
        return Shown(f"{value:,.0f}", "")
    if unit == "x" and 0.995 <= value < 1.995:
        return Shown(f"{value:.2f}", "")  # two digits would hide what there is to see
    for size, name in scales[unit]:
        # 999.7 us are 1 ms.
        if float(f"{value:.3g}") >= size or (size, name) == scales[unit][-1]:
            return Shown(digits(value / size), name)
    raise AssertionError(unit)


def cell(text: str, results: Results, used: set[str]) -> str:
    """The text with its figures; names of their runs are added to `used`."""
    parts: list[str | Shown] = []
    end = 0
    for match in FIGURE.finditer(text):
        parts += [text[end : match.start()], *_figure(match, results, used)]
        end = match.end()
    parts.append(text[end:])
    shown = [part for part in parts if part != ""]
    # A unit stands once where figures that follow each other have it in common.
    out = ""
    for place, part in enumerate(shown):
        if isinstance(part, str):
            out += part
            continue
        following = shown[place + 1 : place + 3]
        shared = (
            len(following) == 2
            and following[0] in (" / ", " to ", " + ")
            and isinstance(following[1], Shown)
            and following[1].unit == part.unit
        )
        out += part.number if shared else str(part)
    return out


def _figure(match: re.Match[str], results: Results, used: set[str]) -> list[str | Shown]:
    key, field, operator, count = match.groups()
    found = [figure for _, figure in results.matching(key)]
    if not found:
        raise LookupError(f"results.json has no figure for {key!r}: run measure.py")
    factor = 1.0 if operator is None else float(count) if operator == "*" else 1 / float(count)
    if field is None:
        used.update(figure["run"] for figure in found)
        shown = [show(figure["value"] * factor, figure["unit"]) for figure in found]
        values = [figure["value"] for figure in found]
        low, high = shown[values.index(min(values))], shown[values.index(max(values))]
        return [low] if low == high else [low, " to ", high]
    closest = min(found, key=lambda figure: figure.get("ratio", math.inf))
    used.add(closest["run"])
    if field == "library":
        return [closest["library"]]
    if field == "ratio":
        return [show(closest["ratio"], "x")]
    return [show(closest["ours_s" if field == "ours" else "peer_s"] * factor, "s")]


def render(table: Table, results: Results) -> str:
    """The table in Markdown, with where its figures are from below it."""
    rows, runs_of, missing = [], [], []
    for row in table.rows:
        own: set[str] = set()
        try:
            rows.append([cell(text, results, own) for text in row])
        except LookupError:
            missing.append(row[0])
            continue
        runs_of.append({_mark(results.runs[name]) for name in own})
    # Where a mark is all rows', it says nothing of one.
    common = set.intersection(*runs_of) if runs_of else set()
    for cells, marks in zip(rows, runs_of, strict=True):
        cells[0] += "".join(f" {mark}" for mark in sorted(marks - common) if mark)
    lines = [_line(table.columns), "|" + "---|" * len(table.columns), *map(_line, rows)]
    said = _origin(table, results, common)
    if missing:
        said.append(f"Not measured yet: {'; '.join(missing)}.")
    return "\n".join([*lines, "", *_wrapped(" ".join(said))]) + "\n"


def _mark(run: dict[str, Any]) -> str:
    """How rows of a run are marked."""
    return OLDER if run.get("carried") else LOADED if run["quiet"] is False else ""


def _line(cells: Any) -> str:
    return ("| " + " | ".join(cells) + " |").replace("|  |", "| |").replace("|  |", "| |")


def _origin(table: Table, results: Results, common: set[str]) -> list[str]:
    """Sentences that say where the figures are from."""
    names = {
        figure["run"]
        for row in table.rows
        for text in row
        for match in FIGURE.finditer(text)
        for _, figure in results.matching(match[1])
    }
    said = []
    for name in sorted(names):
        run = results.runs[name]
        mark = _mark(run)
        shown = f"{mark} " if mark and mark not in common else ""
        if mark == OLDER:
            said.append(
                f"{shown}From before results were kept: as it stood here at {run['commit']}, the "
                "worse end where that was a range."
            )
            continue
        packages = ("numpy", *table.packages) if table.timed else table.packages
        versions = [
            f"{package} {run['versions'][package]}"
            for package in packages
            if package in run["versions"]
        ]
        where = [f"{run['machine']}, {run['cores']} cores, {run['level']}"] if table.timed else []
        where += [f"Python {run['python']}"]
        sentence = f"{shown}Measured on {run['date']} at {run['commit']}"
        if mark == LOADED:
            sentence += " while others used the machine (times are too long)"
        said.append(f"{sentence}: {', '.join(where)}; {', '.join(versions)}".rstrip("; ") + ".")
    return said


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 108, break_long_words=False, break_on_hyphens=False)


def written(text: str, results: Results) -> str:
    """A README's text with all its tables as they are now; one that it lacks is an error."""

    def put(match: re.Match[str]) -> str:
        return match[1] + "\n" + render(TABLES[match[2]], results) + "\n" + match[3]

    missing = set(TABLES) - {match[2] for match in BLOCK.finditer(text)}
    if missing:
        raise LookupError(f"the README has no place for {', '.join(sorted(missing))}")
    return BLOCK.sub(put, text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(TABLES))
    parser.add_argument("--write", action="store_true", help="put all into the README")
    parser.add_argument("--check", action="store_true", help="is the README what would be written?")
    options = parser.parse_args()
    unknown = set(options.names) - set(TABLES)
    if unknown:
        parser.error(f"no table is named {', '.join(sorted(unknown))}: {', '.join(TABLES)}")
    results = Results.load()
    if options.write or options.check:
        text = README.read_text(encoding="utf-8")
        new = written(text, results)
        if options.check:
            changes = difflib.unified_diff(
                text.splitlines(), new.splitlines(), "README.md", "tables.py", lineterm="", n=0
            )
            print("\n".join(changes), end="")
            return int(new != text)
        README.write_text(new, encoding="utf-8")
        return 0
    for name in options.names or TABLES:
        print(f"{name}\n\n{render(TABLES[name], results)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
