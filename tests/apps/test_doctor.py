"""`midstream doctor`, on this installation and on broken ones."""

from __future__ import annotations

import shutil
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest
from apps.program import run, run_process

import midstream


@pytest.fixture
def copy(tmp_path):
    """A copy of the package to break, and the environment that uses it."""
    package = tmp_path / "midstream"
    ignored = shutil.ignore_patterns("__pycache__", "*.c", "*.pyx")
    shutil.copytree(Path(midstream.__file__).parent, package, ignore=ignored)
    return package, {"PYTHONPATH": str(tmp_path)}


def test_this_installation_is_sound():
    done = run_process("doctor")
    assert (done.status, done.err) == (0, "")
    assert "The installation is sound." in done.out
    assert "loop-04: loop found" in done.out
    assert "SIMD level: " in done.out
    assert f"midstream: {midstream.__version__}" in done.out


def test_json():
    done = run("doctor", "--json", env={"OPENAI_API_KEY": "sk-a-very-secret-key"})
    assert done.status == 0
    assert done.rows[-1] == {"type": "doctor", "sound": True, "broken": []}
    checks = {(row["topic"], row["name"]): row for row in done.of_type("check")}
    assert checks["Compiled modules", "midstream.stream._loops"]["ok"] is True
    assert checks["Surroundings", "OPENAI_API_KEY"]["detail"] == "set"
    assert "sk-a" not in done.out
    assert checks["Optional extras", "ui"]["detail"]


def test_a_sound_copy(copy):
    package, env = copy
    done = run("doctor", env=env)
    assert done.status == 0
    assert f"in {package}" in done.out


def test_a_simd_level_that_this_machine_does_not_have():
    done = run("doctor", env={"MIDSTREAM_SIMD": "sse4"})
    assert done.status == 1
    assert "SIMD level: MIDSTREAM_SIMD='sse4': this machine runs scalar" in done.out
    assert "Compiled modules: SIMD level" in done.out.splitlines()[-1]
    assert done.err == ""


def test_a_missing_recording(copy):
    package, env = copy
    (package / "stream/recordings/loop-02.jsonl").unlink()
    done = run("doctor", env=env)
    assert done.status == 1
    assert "Broken: Shipped recordings: loop-02" in done.out


def test_a_recording_that_says_something_else(copy):
    package, env = copy
    folder = package / "stream/recordings"
    shutil.copy(folder / "healthy-03.jsonl", folder / "loop-04.jsonl")
    done = run("doctor", "--json", env=env)
    assert done.status == 1
    assert done.rows[-1]["broken"] == ["Shipped recordings: loop-04"]


def test_a_compiled_module_that_is_missing(copy):
    package, env = copy
    for suffix in EXTENSION_SUFFIXES:
        (package / f"stream/_loops{suffix}").unlink(missing_ok=True)
    done = run("doctor", env=env)
    assert done.status == 1
    assert "midstream.stream._loops: does not load" in done.out
    assert "Shipped recordings" in done.out
    other = run("demo", env=env)
    assert other.status == 3
    assert "`midstream doctor`" in other.err


def test_a_compiled_module_that_is_damaged(copy):
    package, env = copy
    for suffix in EXTENSION_SUFFIXES:
        path = package / f"scheduler/_histogram{suffix}"
        if path.exists():
            path.write_bytes(b"no library")
    done = run("doctor", env=env)
    assert done.status == 1
    assert "midstream.scheduler._histogram: does not load" in done.out
