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
