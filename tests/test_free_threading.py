"""Builds of CPython without a GIL (PEP 703): what each compiled module says, and that it holds."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import midstream

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "midstream").rglob("*.pyx"))

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))

#: Compiled modules of the installed package, by name.
SUFFIX = str(sysconfig.get_config_var("EXT_SUFFIX"))
MODULES = sorted(
    ".".join(("midstream", *file.relative_to(path).with_name(file.name.removesuffix(SUFFIX)).parts))
    for path in midstream.__path__
    for file in Path(path).rglob(f"*{SUFFIX}")
)

#: It imports aioquic, whose modules turn the GIL on.
OF_AIOQUIC = {"midstream.quic._transport"}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_every_module_says_whether_it_needs_the_gil(source: Path) -> None:
    """Said where the code is, so that who writes a module has to think of it."""
    assert re.match(
        r"(# .*\n)*# cython: .*freethreading_compatible=(True|False)\b", source.read_text("utf-8")
    )


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_locks_of_two_objects_are_taken_at_once(source: Path) -> None:
    """A critical section within another lets go of the outer one while it waits for its own."""
    decorator, inner = "@cython.critical_section", "with cython.critical_section("
    guarded = re.findall(
        rf"^( +){decorator}\n((?:\1@.*\n)*\1(?:c?p?def|property) .*\n(?:(?:\1 +.*|\1\).*)?\n)*)",
        source.read_text("utf-8"),
        re.MULTILINE,
    )
    assert [body.splitlines()[0] for _, body in guarded if inner in body] == []


#: Types whose methods take no lock of their own, each for a reason that holds for all of them.
WITHOUT_LOCKS = {
    "made for one call, and known to it alone": {
        *("attractor._flow.Flow", "attractor._pairs.Ladder", "attractor._pairs.Pairs"),
        *("attractor._recurrence.Lines", "compare._editbatch.EditBatch", "compare._elastic.Plan"),
        *("compare._elastic_batch.ElasticBatch", "compare._profile.Profiler"),
        *("compare._search.Searcher", "compare._soft_batch.SoftBatch", "logic._ctl.Graph"),
        *("logic._game.Game", "logic._infinite.Tableau", "logic._learn.Search"),
        *("logic._sat.Solver", "logic._sat.System", "logic._sat.Reach", "logic._sat.Unroll"),
    },
    "never changed once it is made": {
        *("attractor._neighbours.Tree", "compare._repeats.Repeat", "logic._automaton.Kernel"),
        *("logic._columns.Program", "logic._rulebook.Conditions", "logic._rulebook.Program"),
        *("meta._bandit.Decision", "meta._shield.Rule"),
    },
    "of one connection, which belongs to one event loop": {
        *("quic._buffers.Ranges", "quic._buffers.SendBuffer", "quic._buffers.ReceiveBuffer"),
        *("quic._recovery.Recovery", "quic._recovery.Received", "quic._transport.StreamState"),
        *("quic._transport.Transport", "quic._udp.Socket"),
    },
    "atomic, or under a lock of C": {
        *("_core._poll.Poll", "scheduler._ring.RingQueue", "scheduler._ring.HandleRing"),
        "scheduler._scheduler.TaskQueue",
    },
}
#: Methods that take none, of types whose others do: they call those, or make an object.
WITHOUT_LOCK = {
    "compare._run.RunDetector.update_many",
    "compare._spring.Spring.update_many",
    "meta._grammar.Flat.n_rules",
    "meta._grammar.Flat.expand",
    "meta._grammar.Flat.positions",
    "meta._grammar.Flat.parse",
    "scheduler._histogram.Histogram.decode",
    "scheduler._histogram.Histogram.from_dict",
}
#: Nobody else has the object yet, or any more; or all is done by others that are called.
ALONE = re.compile(r"__(cinit|init|dealloc|reduce|copy|deepcopy|class_getitem)__")


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_every_method_takes_its_lock_or_is_known_to_need_none(source: Path) -> None:
    """One that was forgotten loses an update in some ten thousand, and only without a GIL."""
    module = ".".join(source.relative_to(ROOT / "midstream").with_suffix("").parts)
    free = set[str]().union(*WITHOUT_LOCKS.values())
    lacking, kind, name, decorators = set[str](), "", "", ""
    for line in source.read_text("utf-8").splitlines():
        if re.match(r"(cdef|cpdef|def|class) ", line):
            named = re.match(r"cdef class (\w+)", line)
            kind, name, decorators = f"{module}.{named[1]}" if named else "", "", ""
        elif not kind or kind in free:
            continue
        elif line.startswith("    @"):
            decorators += line
        elif method := re.match(r"    (?:cdef .*?|cp?def |def )(\w+)\(", line):
            name = f"{kind}.{method[1]}" if line.startswith("    def ") else ""
            known = ALONE.fullmatch(method[1]) or name in WITHOUT_LOCK
            if name and not known and "critical_section" not in decorators:
                lacking.add(name)
            decorators = ""
        elif "with cython.critical_section(" in line:
            lacking.discard(name)
    assert lacking == set()


@pytest.mark.skipif(not FREE_THREADED, reason="this interpreter has a GIL")
def test_no_module_turns_the_gil_on() -> None:
    assert MODULES
    script = "import importlib, sys, warnings\nwarnings.simplefilter('error')\n" + "".join(
        f"importlib.import_module({name!r})\n" for name in MODULES if name not in OF_AIOQUIC
    )
    # Dependencies that turn it on by themselves would hide it.
    done = subprocess.run(
        [sys.executable, "-P", "-c", script + "sys.exit(sys._is_gil_enabled())"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not FREE_THREADED, reason="this interpreter has a GIL")
@pytest.mark.parametrize("name", MODULES)
def test_a_module_loads_without_the_gil(name: str) -> None:
    if name in OF_AIOQUIC:
        pytest.importorskip("cryptography")
        pytest.importorskip("aioquic")
    importlib.import_module(name)
