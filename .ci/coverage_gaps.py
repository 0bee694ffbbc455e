"""Say what tests left out, from what .ci/coverage wrote: coverage_gaps.py SOURCE FOLDER.

Prints a table of packages, writes every gap with its line of source into ``gaps.txt`` of the
folder, and ends with status 1 where less runs than is wanted of Python's lines, of those of .pyx
files or of C's lines and branches. What no test can take is in ``unreached.txt``, beside this file,
with the reasons: it is not counted.
"""

import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

#: Least percentages of lines of Python, lines of .pyx and .pxd files, lines and branches of C.
WANTED = {"Python lines": 95.0, "Cython lines": 95.0, "C lines": 98.0, "C branches": 95.0}


@dataclass
class Share:
    """How many of some lines or branches ran."""

    ran: int = 0
    all: int = 0

    def add(self, ran: int, of: int) -> None:
        self.ran += ran
        self.all += of

    @property
    def percent(self) -> float:
        return 100 * self.ran / self.all if self.all else 100.0

    def __str__(self) -> str:
        return f"{self.percent:6.2f} %  {self.ran:>6} of {self.all:<6}" if self.all else ""


@dataclass
class Found:
    """What was counted, and what was left out."""

    #: Places that no test can take: a file, and a line of its source.
    unreached: frozenset[str]
    shares: dict[str, dict[str, Share]] = field(default_factory=dict)
    gaps: dict[str, list[tuple[int, str]]] = field(default_factory=dict)

    def add(self, kind: str, room: str, ran: int, of: int) -> None:
        for name in (room, "all"):
            self.shares.setdefault(name, {}).setdefault(kind, Share()).add(ran, of)


def room(path: str) -> str:
    """The package that a file belongs to; C files are one room."""
    parts = Path(path).parts
    if parts[0] == "csrc":
        return "csrc"
    after = parts[parts.index("midstream") + 1 :]
    return after[0] if len(after) > 1 else "midstream"


def python_lines(found: Found, folder: Path) -> None:
    told = json.loads((folder / "python.json").read_text("utf-8"))
    for path, file in told["files"].items():
        ran, missing = len(file["executed_lines"]), file["missing_lines"]
        found.add("Python lines", room(path), ran, ran + len(missing))
        name = "midstream" + path.split("midstream", 1)[-1]
        found.gaps[name] = [(line, "") for line in missing]


def unreached_lines(found: Found, path: str, text: str) -> set[int]:
    """Numbers of a file's lines that are listed: of statements alike, those below one that is."""
    lines = [line.strip() for line in text.splitlines()]
    often = Counter(lines)
    listed: set[int] = set()
    for number, line in enumerate(lines, 1):
        branches = line.startswith(("if ", "for ", "while ", "switch ", "}"))
        if f"{path}: {line}" in found.unreached and (
            branches or often[line] == 1 or number - 1 in listed
        ):
            listed.add(number)
    return listed


def silent_lines(text: str) -> set[int]:
    """Numbers of a Cython file's lines that run nothing: blank ones, comments and docstrings.

    What begins a definition is put down to any of them.
    """
    silent: set[int] = set()
    inside = False
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        quotes = line.count('"""')
        if inside or not line or line.startswith(("#", '"""')):
            silent.add(number)
        inside ^= quotes % 2 == 1
    return silent


def compiled(found: Found, source: Path, folder: Path) -> None:
    told = json.loads((folder / "c.json").read_text("utf-8"))
    for file in told["files"]:
        path, is_c = file["file"], file["file"].startswith("csrc")
        text = (source / path).read_text("utf-8")
        unreached = unreached_lines(found, path, text)
        silent = set() if is_c else silent_lines(text)
        lines: Counter[int] = Counter()
        # A line is compiled as often as its file is, in copies that are alike. One of a header may
        # be in a hundred functions besides, unrolled and folded in each in another way: of it, what
        # counts is that some branch was taken, and that some was not.
        taken: dict[tuple[int, int], list[int]] = {}
        for line in file["lines"]:
            number, branches = line["line_number"], line.get("branches", ())
            if line.get("gcovr/noncode") or line.get("gcovr/excluded") or number in silent:
                continue
            lines[number] += line["count"]
            if not is_c or not branches:
                continue
            counts = [branch["count"] for branch in branches]
            if path.endswith(".h"):
                ways = [branch["fallthrough"] for branch in branches]
                if len(counts) != 2 or len(set(ways)) == 2:
                    counts = [
                        sum(count for count, way in zip(counts, ways, strict=True) if way == wanted)
                        for wanted in (True, False)
                    ]
            before = taken.get((number, len(counts)), [0] * len(counts))
            taken[number, len(counts)] = [x + y for x, y in zip(before, counts, strict=True)]
        ran = sum(count > 0 for count in lines.values())
        gaps = [
            (number, "") for number, count in lines.items() if not count and number not in unreached
        ]
        found.add("C lines" if is_c else "Cython lines", room(path), ran, ran + len(gaps))
        for (number, many), counts in taken.items():
            missed = 0 if number in unreached else counts.count(0)
            ran = len(counts) - counts.count(0)
            found.add("C branches", room(path), ran, ran + missed)
            if missed and lines[number]:
                gaps.append((number, f"{missed} of {many} branches"))
        found.gaps[path] = sorted(gaps)


def main() -> int:
    source, folder = map(Path, sys.argv[1:])
    listed = Path(__file__).with_name("unreached.txt").read_text("utf-8").splitlines()
    found = Found(frozenset(line for line in listed if line and not line.startswith("#")))
    python_lines(found, folder)
    compiled(found, source, folder)
    with (folder / "gaps.txt").open("w", encoding="utf-8") as out:
        for path, gaps in sorted(found.gaps.items()):
            text = (source / path).read_text("utf-8").splitlines()
            for number, what in gaps:
                shown = text[number - 1].strip() if number <= len(text) else ""
                print(f"{path}:{number}: {what or 'never'}: {shown}", file=out)
    kinds = list(WANTED)
    print(f"{'':12}" + "".join(f"{kind:28}" for kind in kinds))
    for name in sorted(found.shares, key=lambda name: (name == "all", name)):
        row = (str(found.shares[name].get(kind, "")) for kind in kinds)
        print(f"{name:12}" + "".join(f"{cell:28}" for cell in row).rstrip())
    lacking = [
        f"{kind}: {share.percent:.2f} % ran, {WANTED[kind]} % are wanted"
        for kind, share in found.shares["all"].items()
        if share.percent < WANTED[kind]
    ]
    print("\n".join([f"every gap: {folder / 'gaps.txt'}", *lacking]))
    return int(bool(lacking))


if __name__ == "__main__":
    sys.exit(main())
