"""Is this tree slower than another commit? Exit status 1 where a benchmark takes 10 % longer.

    python regressions.py main                    this tree beside main; an hour or two
    python regressions.py main --bench elastic    benchmarks whose names match, some minutes
    python regressions.py v1 v2                   the second of two commits beside the first
    python regressions.py OLD NEW --built         two folders that hold a built midstream each

A commit is built once, into ``.asv/builds``; this tree each time that it changed. Both builds run
the benchmarks of this tree, each in a process of its own, **in turns**: what slows the machine
slows both, and what counts is the median of the ratios of neighbouring turns. What seems slower is
measured again twice, in new processes that begin in the other order, and counts only if it was
slower each time; so a machine that others use will do. Looked at are benchmarks that time something
and those that track times, sizes or rates, and our side of comparisons with peers. One that the
other build cannot run, or whose peer is not installed, is named and left out. What programs measure
between processes (`--bench programs`) is one run a build and a turn, and left out unless asked for.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import inspect
import itertools
import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

# The folder of this file is where `trees` is, also with python's -P.
sys.path.insert(0, str(Path(__file__).resolve().parent))
from trees import ROOT, files, git, state

HERE = Path(__file__).resolve().parent
BUILDS = HERE / ".asv" / "builds"
#: New over old at which a benchmark fails.
FACTOR = 1.10
ROUNDS, SAMPLE_S = 9, 0.02
#: Units of tracked figures that are better when they are smaller, and when they are larger.
SMALLER = re.compile(r"((ns|us|ms|s|seconds|bytes|KiB|share)\b(?!/s$)|% of a core)")
LARGER = re.compile(r"(samples/s|calls/s|requests/s|MB/s$|million )")


# What there is to run


def discovered(package: str, folder: Path) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Name and parameters of every benchmark in a folder, as asv has them."""
    sys.path.insert(0, str(folder))
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if module.name.startswith("_"):
            continue
        loaded = importlib.import_module(f"{package}.{module.name}")
        for name, one in inspect.getmembers(loaded, inspect.isclass):
            if one.__module__ != loaded.__name__ or name.startswith("_") or inspect.isabstract(one):
                continue
            for method in methods(one):
                for parameters in combinations(one):
                    yield f"{module.name}.{name}.{method}", parameters


def methods(one: type) -> Iterator[str]:
    if hasattr(one, "ours") and hasattr(one, "track_ratio"):
        yield "ours"  # a comparison: the peer is the same beside both builds
        return
    for name, member in inspect.getmembers(one, inspect.isfunction):
        unit = str(getattr(member, "unit", getattr(one, "unit", "")))
        tracked = name.startswith("track_") and (SMALLER.match(unit) or LARGER.match(unit))
        if name.startswith("time_") or tracked:
            yield name


def combinations(one: type) -> Iterator[tuple[Any, ...]]:
    params = getattr(one, "params", ())
    if not params:
        return iter([()])
    several = isinstance(params[0], (list, tuple)) and not isinstance(params, str)
    return itertools.product(*(params if several else [params]))


# A process that runs them with one build


class Worker:
    """Does what it is told, a line of JSON a time: `prepare` a benchmark, take a `sample`."""

    def __init__(self, package: str, folder: Path) -> None:
        sys.path.insert(0, str(folder))
        self.package = package
        self.caches: dict[Any, Any] = {}

    def prepare(self, name: str, number: int) -> None:
        """Set up the combination of that number."""
        module, one, method = name.split(".")
        kind = getattr(importlib.import_module(f"{self.package}.{module}"), one)
        self.parameters = list(combinations(kind))[number]
        self.instance = kind()
        if hasattr(kind, "setup_cache"):
            made = kind.setup_cache  # several classes may have one in common
            if made not in self.caches:
                self.caches[made] = self.instance.setup_cache()
            self.parameters = (self.caches[made], *self.parameters)
        self.call: Callable[..., Any] = getattr(self.instance, method)
        self.tracked = method.startswith("track_")
        self.around("setup")
        #: Where a call changes what the next one finds: each has a setup of its own.
        self.alone = getattr(kind, "number", 0)
        self.count = 1
        if not self.tracked and not self.alone:
            while (taken := self.seconds(self.count)) < SAMPLE_S:
                self.count = max(2 * self.count, int(self.count * SAMPLE_S / max(taken, 1e-9)))

    def around(self, what: str) -> None:
        if hasattr(self.instance, what):
            getattr(self.instance, what)(*self.parameters)

    def seconds(self, count: int) -> float:
        call, parameters = self.call, self.parameters
        gc.disable()
        try:
            began = time.perf_counter()
            for _ in range(count):
                call(*parameters)
            return time.perf_counter() - began
        finally:
            gc.enable()

    def sample(self) -> float:
        """Seconds a call, or what is tracked; a rate as its reciprocal."""
        if self.tracked:
            value = float(self.call(*self.parameters))
            unit = str(getattr(self.call, "unit", getattr(self.instance, "unit", "")))
            return 1 / value if LARGER.match(unit) else value
        if self.alone:
            self.around("teardown")
            self.around("setup")
            return self.seconds(self.alone) / self.alone
        return self.seconds(self.count) / self.count

    def serve(self) -> None:
        for line in sys.stdin:
            what, *arguments = json.loads(line)
            try:
                with contextlib.redirect_stdout(sys.stderr):
                    answer = {"value": getattr(self, what)(*arguments)}
            except NotImplementedError as error:
                answer = {"skipped": str(error)}
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told
                where = traceback.extract_tb(error.__traceback__)[-1]
                at = f"{Path(where.filename).name}:{where.lineno}"
                answer = {"failed": f"{type(error).__name__}: {error} ({at})"[:200]}
            print(json.dumps(answer), flush=True)

    def done(self) -> None:
        self.around("teardown")


class UnusableError(Exception):
    """A build cannot run a benchmark."""


class Process:
    """A worker with the midstream of a folder."""

    def __init__(self, built: Path, package: str, folder: Path) -> None:
        environ = {**os.environ, "PYTHONPATH": str(built)}
        command = [sys.executable, "-P", __file__, "--work", package, str(folder)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ
        )

    def ask(self, *what: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise UnusableError(f"the process ended with status {self.process.wait()}")
        answer = json.loads(line)
        if "value" not in answer:
            raise UnusableError(answer.get("skipped") or answer["failed"])
        return answer["value"]

    def end(self) -> None:
        self.process.communicate()


@contextlib.contextmanager
def pair(old: Path, new: Path, package: str, folder: Path) -> Iterator[tuple[Process, Process]]:
    both = Process(old, package, folder), Process(new, package, folder)
    try:
        yield both
    finally:
        for one in both:
            one.end()


# Comparing


def ratio(both: tuple[Process, Process], name: str, number: int, first: int = 0) -> float:
    """New over old: the median of neighbouring turns."""
    for process in both:
        process.ask("prepare", name, number)
    taken: tuple[list[float], list[float]] = ([], [])
    for turn in range(ROUNDS if ".track_" not in name else 3):
        for who in (0, 1) if (turn + first) % 2 == 0 else (1, 0):
            taken[who].append(both[who].ask("sample"))
    for process in both:
        process.ask("done")
    return median(new / old if old else 1.0 for old, new in zip(*taken, strict=True))


def compare(
    old: Path, new: Path, pattern: str, factor: float, package: str, folder: Path
) -> tuple[list[str], int]:
    """Names of what is slower, and how many were compared."""
    listed = json.loads(
        subprocess.run(
            [sys.executable, "-P", __file__, "--list", package, str(folder)],
            env={**os.environ, "PYTHONPATH": str(new)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    )
    chosen = [
        one
        for one in listed
        if re.search(pattern, one[2]) and (pattern or not one[0].startswith("programs."))
    ]
    slower, compared = [], 0
    began = time.monotonic()
    for name, numbered in itertools.groupby(chosen, key=lambda one: one[0].rpartition(".")[0]):
        with pair(old, new, package, folder) as both:
            for full, number, shown in numbered:
                try:
                    found = [ratio(both, full, number)]
                    for again in (1, 2):
                        if found[-1] <= factor:
                            break
                        with pair(old, new, package, folder) as fresh:
                            found.append(ratio(fresh, full, number, again))
                except UnusableError as error:
                    print(f"  left out: {shown}: {error}", flush=True)
                    if both[0].process.poll() is not None or both[1].process.poll() is not None:
                        break
                    continue
                compared += 1
                if min(found) > factor:
                    slower.append(f"{shown}: {min(found):.2f} times as long")
                    print(f"  SLOWER {slower[-1]}", flush=True)
        print(f"{time.monotonic() - began:6.0f} s  {name}", flush=True)
    return slower, compared


# Builds


def built(commit: str | None) -> Path:
    """A folder with midstream as it is at a commit, or in this tree; made if need be."""
    target = BUILDS / (state() if commit is None else git("rev-parse", f"{commit}^{{commit}}"))
    if target.exists():
        return target
    print(f"building {commit or 'this tree'}: minutes", flush=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        source.mkdir()
        if commit is None:
            with tarfile.open(source / "tree.tar", "w") as archive:
                for path in files():
                    archive.add(ROOT / path, path)
        else:
            git("archive", "--output", str(source / "tree.tar"), commit)
        with tarfile.open(source / "tree.tar") as archive:
            archive.extractall(source, filter="data")
        done = Path(folder) / "built"
        subprocess.run([*pip, done, source], check=True)
        BUILDS.mkdir(parents=True, exist_ok=True)
        shutil.move(done, target)
    return target


def main() -> int:
    if sys.argv[1:2] == ["--work"]:
        Worker(sys.argv[2], Path(sys.argv[3])).serve()
        return 0
    if sys.argv[1:2] == ["--list"]:
        numbers: dict[str, int] = {}
        listed = []
        for name, parameters in discovered(sys.argv[2], Path(sys.argv[3])):
            numbers[name] = number = numbers.get(name, -1) + 1
            shown = f"{name}({', '.join(map(str, parameters))})" if parameters else name
            listed.append((name, number, shown))
        print(json.dumps(listed))
        return 0
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("old", help="a commit, or a folder with --built")
    parser.add_argument("new", nargs="?", help="the same; default this tree")
    parser.add_argument("--built", action="store_true", help="both are folders with a midstream")
    parser.add_argument("--bench", default="", metavar="REGEX")
    parser.add_argument("--factor", type=float, default=FACTOR)
    parser.add_argument("--benchmarks", type=Path, default=HERE / "benchmarks", metavar="FOLDER")
    options = parser.parse_args()
    if options.built:
        if options.new is None:
            parser.error("with --built, two folders are compared")
        old, new = Path(options.old).absolute(), Path(options.new).absolute()
        for folder in (old, new):
            if not (folder / "midstream").is_dir():
                parser.error(f"{folder} holds no midstream")
    else:
        old, new = built(options.old), built(options.new)
    package, folder = options.benchmarks.name, options.benchmarks.absolute().parent
    slower, compared = compare(old, new, options.bench, options.factor, package, folder)
    if not compared:
        print(f"nothing was compared: no benchmark matches {options.bench!r}, or none could run")
        return 2
    print(f"\n{compared} compared, {len(slower)} more than {options.factor - 1:.0%} slower")
    for line in slower:
        print(f"  {line}")
    return int(bool(slower))


if __name__ == "__main__":
    sys.exit(main())
