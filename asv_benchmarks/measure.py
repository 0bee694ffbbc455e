"""Measure what the README's tables show, and keep it in ``results.json``.

    python measure.py                   all tables; an hour, on a machine that does nothing else
    python measure.py compare quic      those
    python measure.py stream --only proxy_speed     of a table, what a program or benchmark has
    python measure.py --list            the tables, and what is run for each
    python measure.py --python same ... with the midstream and the peers of this interpreter

The first run makes an environment in ``.asv/measure``, with the peers that ``asv.conf.json`` pins,
and builds this tree into it. Benchmarks are run by asv, programs of this folder as they are. What
else the processors did meanwhile is looked at: figures of a machine that was not quiet are kept,
and marked in the tables.

Then ``python tables.py --write`` puts the tables into the README. Exit status 1 if a figure could
not be had. Rows about labelled data read it from ``MIDSTREAM_TEST_DATA``, else from ``shared/data``
beside the checkout. Linux.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks._keeping import KEEP, UNITS
from pins import configuration, pins
from results import COMPARED, Results, expression, is_meant
from row import Table
from rows import TABLES
from tables import FIGURE
from trees import ROOT, changed, git, state

HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE / ".asv" / "measure"
EXTRAS = "ui,mcp,otel,prometheus,serve,proxy,realtime,media"
#: Cores that others may keep busy while a machine is called quiet.
QUIET_CORES = 0.1
#: Units of asv's benchmarks, and what they are in those that are kept.
ASV_UNITS = {
    **UNITS,
    "seconds": (1.0, "s"),
    "bytes": (1.0, "B"),
    "us/token": (1e-6, "s"),
    "us/event": (1e-6, "s"),
    "us/call": (1e-6, "s"),
    "ns/token": (1e-9, "s"),
    "ns/fragment": (1e-9, "s"),
    "% of a core": (0.01, "share"),
    "samples/s": (1.0, "/s"),
    "million events a second": (1e6, "/s"),
    "million formulas a second": (1e6, "/s"),
    "bytes/symbol": (1.0, "B each"),
    "bytes/sample": (1.0, "B each"),
}


def keys_of(table: Table) -> list[str]:
    """What a table shows, without the fields of comparisons."""
    found = (match[1] for row in table.rows for text in row for match in FIGURE.finditer(text))
    return list(dict.fromkeys(found))


def programs_of(table: Table) -> set[str]:
    return {Path(script).stem for script, *_ in table.programs}


def benchmark_of(key: str) -> str:
    """The regular expression by which asv knows what has a figure."""
    name, parenthesis, parameters = key.partition("(")
    if not parenthesis:
        return f"^{expression(name)}" + (r"\.track_ratio$" if name.count(".") == 1 else "$")
    # asv writes texts among parameters with quotes.
    parts = [
        ".*" if part == "*" else f"'?{re.escape(part)}'?"
        for part in parameters.removesuffix(")").split(", ")
    ]
    return rf"^{re.escape(name)}\({', '.join(parts)}\)$"


# The environment


def environment(asked: str | None) -> Path:
    """The interpreter to measure with, made if need be."""
    if asked == "same":
        return Path(sys.executable)
    if asked:
        return Path(asked).absolute()
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        venv.create(ENVIRONMENT, with_pip=True)
    stamp = ENVIRONMENT / "built"
    wanted = state()
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    constraints = [f"{name}=={version}" for name, version in pins().items()]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pins.txt"
        file.write_text("\n".join(constraints), encoding="utf-8")
        subprocess.run([*pip, "-r", file, "asv==0.6.6", "virtualenv"], check=True)
        subprocess.run([*pip, "--constraint", file, f"{ROOT}[{EXTRAS}]"], check=True)
        # The version stays the same from commit to commit.
        subprocess.run([*pip, "--no-deps", "--force-reinstall", ROOT], check=True)
    stamp.write_text(wanted, encoding="utf-8")
    return python


def about(python: Path) -> dict[str, Any]:
    """Commit, machine and versions, as they stand beside figures."""
    script = """
import json, platform
from importlib.metadata import distributions
from midstream._core._cpu import detected_level
names = {d.metadata["Name"].lower().replace("_", "-"): d.version for d in distributions()}
print(json.dumps([platform.python_version(), detected_level(), names]))
"""
    told = subprocess.run([python, "-P", "-c", script], check=True, capture_output=True, text=True)
    version, level, installed = json.loads(told.stdout)
    known = {name: installed.get(name.lower()) for name in pins()}
    for name, wanted in pins().items():
        if known[name] != wanted:
            print(f"note: {name} is {known[name] or 'not installed'}, pinned is {wanted}")
    model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return {
        "commit": git("rev-parse", "--short=7", "HEAD") + ("+" if changed() else ""),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": model[1] if model else platform.machine(),
        "cores": os.cpu_count(),
        "level": {"avx512": "AVX-512", "avx2": "AVX2", "neon": "NEON"}.get(level, level),
        "python": version,
        "versions": {name: number for name, number in known.items() if number},
    }


# Running


class Others:
    """Cores that processes other than our own children kept busy, on average."""

    def __init__(self) -> None:
        self.cores = 0.0

    @contextmanager
    def watched(self) -> Iterator[None]:
        began, busy, own = time.monotonic(), _busy_s(), _own_s()
        try:
            yield
        finally:
            elapsed = time.monotonic() - began
            others = (_busy_s() - busy) - (_own_s() - own)
            self.cores = max(self.cores, others / elapsed)


def _busy_s() -> float:
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    user, nice, system, _idle, _wait, interrupts, soft, stolen = map(int, fields)
    return (user + nice + system + interrupts + soft + stolen) / os.sysconf("SC_CLK_TCK")


def _own_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def run_programs(python: Path, programs: Sequence[Sequence[str]], keep: Path) -> None:
    paths = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    environ = {**os.environ, KEEP: str(keep), "PYTHONPATH": os.pathsep.join(paths)}
    for script, *arguments in programs:
        print(f"\n-- {script} {' '.join(arguments)}", flush=True)
        done = subprocess.run([python, HERE / script, *arguments], env=environ, check=False)
        if done.returncode:
            print(f"{script} ended with status {done.returncode}")


def run_asv(python: Path, keys: Sequence[str], folder: Path, quick: bool) -> None:
    """Run benchmarks; results, and what comparisons keep, go into the folder."""
    environ = {**os.environ, KEEP: str(folder / "kept")}
    if "PYTHONPATH" in environ:
        environ["ASV_PYTHONPATH"] = environ["PYTHONPATH"]  # asv takes that one alone
    own = {"repo": str(ROOT), "benchmark_dir": str(HERE / "benchmarks")}
    own |= {f"{name}_dir": str(folder / name) for name in ("env", "results", "html")}
    file = folder / "asv.conf.json"
    file.write_text(json.dumps({**configuration(), **own}), encoding="utf-8")
    asv = [str(python), "-m", "asv"]
    command = [*asv, "run", "--config", str(file), "--environment", f"existing:{python}"]
    command += ["--show-stderr", "--set-commit-hash", git("rev-parse", "HEAD")]
    if quick:
        environ["MIDSTREAM_BENCH_QUICK"] = "1"
        for attribute in ("rounds=1", "repeat=1", "number=1", "warmup_time=0"):
            command += ["--attribute", attribute]
    for key in keys:
        command += ["--bench", benchmark_of(key)]
    subprocess.run([*asv, "machine", "--yes"], check=True, stdout=subprocess.DEVNULL, cwd=folder)
    print("\n-- asv run", flush=True)
    # Status 2 says that a benchmark failed or was skipped: its figures are missed below.
    subprocess.run(command, env=environ, check=False, cwd=folder)


def kept_figures(keep: Path) -> dict[str, dict[str, Any]]:
    """What programs and comparisons have kept."""
    figures = {}
    for line in keep.read_text(encoding="utf-8").splitlines() if keep.exists() else ():
        record = json.loads(line)
        name = record.pop("name")
        fields = COMPARED if "ratio" in record else ("value", "unit")
        figures[name] = {field: record[field] for field in fields}
    return figures


def asv_figures(folder: Path) -> dict[str, dict[str, Any]]:
    """What asv has written: one figure for each combination of parameters."""
    described = json.loads((folder / "benchmarks.json").read_text(encoding="utf-8"))
    figures = {}
    for path in folder.glob("*/*-*.json"):
        found = json.loads(path.read_text(encoding="utf-8"))
        for name, values in found["results"].items():
            row = dict(zip(found["result_columns"], values, strict=False))
            factor, base = ASV_UNITS[described[name]["unit"]]
            for parameters, value in zip(
                _combined(row["params"]), row["result"] or (), strict=False
            ):
                # asv keeps NaN, or nothing, where a combination failed or was left out.
                if isinstance(value, (int, float)) and value == value:
                    key = f"{name}({', '.join(parameters)})" if parameters else name
                    figures[key] = {"value": float(value) * factor, "unit": base}
    return figures


def _combined(parameters: Sequence[Sequence[str]]) -> list[list[str]]:
    """Combinations in asv's order, texts without their quotes."""
    combined: list[list[str]] = [[]]
    for choices in parameters:
        plain = [one[1:-1] if one[:1] in "'\"" else one for one in choices]
        combined = [[*before, one] for before in combined for one in plain]
    return combined


def measure(
    python: Path,
    table: Table,
    run: dict[str, Any],
    results: Results,
    *,
    only: str = "",
    quick: bool = False,
) -> list[str]:
    """Measure a table and keep it, unless it is `quick`; patterns that nothing was found for."""
    wanted = [key for key in keys_of(table) if re.search(only, key)]
    ours = programs_of(table)
    programs = [
        program
        for program in table.programs
        if any(key.split(".")[0] == Path(program[0]).stem for key in wanted)
    ]
    for_asv = [key for key in wanted if key.split(".")[0] not in ours]
    others, figures = Others(), {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with others.watched():
            run_programs(python, programs, folder / "kept")
            if for_asv:
                run_asv(python, for_asv, folder, quick)
        if for_asv:
            figures.update(asv_figures(folder / "results"))
        figures.update(kept_figures(folder / "kept"))
    found = {
        key: figure
        for key, figure in figures.items()
        if any(is_meant(pattern, key) for pattern in wanted)
    }
    quiet = others.cores < QUIET_CORES if table.timed else None
    told = {**run, "quiet": quiet, "others_cores": round(others.cores, 2)}
    results.add(f"{table.name} {run['date']} {run['commit']}", told, found, wanted)
    if not quick:
        results.save()
    if quiet is False:
        print(f"\n{table.name}: others kept {others.cores:.2f} cores busy: not quiet")
    return [pattern for pattern in wanted if not any(is_meant(pattern, key) for key in found)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(TABLES))
    parser.add_argument("--python", help="an interpreter with all that is needed, or 'same'")
    parser.add_argument(
        "--only", default="", metavar="REGEX", help="of the tables' figures those whose keys match"
    )
    parser.add_argument(
        "--quick", action="store_true", help="can every figure be had? benchmarks once, none kept"
    )
    parser.add_argument("--list", action="store_true", help="say what would be run")
    options = parser.parse_args()
    unknown = set(options.names) - set(TABLES)
    if unknown:
        parser.error(f"no table is named {', '.join(sorted(unknown))}: {', '.join(TABLES)}")
    names = options.names or list(TABLES)
    if not any(re.search(options.only, key) for name in names for key in keys_of(TABLES[name])):
        parser.error(f"no figure of {', '.join(names)} matches --only {options.only}")
    if options.list:
        for name in names:
            print(name)
            for command in TABLES[name].programs:
                print(f"    {' '.join(command)}")
            for key in keys_of(TABLES[name]):
                if key.split(".")[0] not in programs_of(TABLES[name]):
                    print(f"    asv run --bench {benchmark_of(key)!r}")
        return 0
    python = environment(options.python)
    results, run, missed = Results.load(), about(python), []
    for name in names:
        began = time.monotonic()
        missed += measure(
            python, TABLES[name], run, results, only=options.only, quick=options.quick
        )
        print(f"\n{name}: {time.monotonic() - began:.0f} s", flush=True)
    for pattern in missed:
        print(f"no figure: {pattern}", file=sys.stderr)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
