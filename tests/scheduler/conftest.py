"""What the stress programs in C share: their build, plain and under sanitizers, and their runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CSRC = Path(__file__).parents[2] / "csrc"
#: No run lasts a tenth of this.
LIMIT_S = 120


def environment() -> dict[str, str]:
    """Without a sanitizer that was preloaded for the tests: the programs bring their own."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in {"LD_PRELOAD", "ASAN_OPTIONS", "UBSAN_OPTIONS"}
    }


def compiled(compiler: str, sanitizers: str, sources: list[Path], program: Path) -> Path:
    """Compile a program, or skip where the compiler has not these sanitizers."""
    flags = ["-std=c11", "-O2", "-g", "-Wall", "-Werror", "-pthread", f"-I{CSRC}"]
    if sanitizers:
        flags += [f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all"]
        probe = program.with_name("probe.c")
        probe.write_text("int main(void) { return 0; }\n")
        command = [compiler, *flags, str(probe), "-o", str(probe.with_suffix(""))]
        built = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment()
        )
        works = built.returncode == 0 and subprocess.run(
            [probe.with_suffix("")], check=False, env=environment()
        )
        if not works or works.returncode != 0:
            pytest.skip(f"{compiler} has no -fsanitize={sanitizers}: {built.stderr[-200:]}")
    command = [compiler, *flags, *map(str, sources), "-lm", "-o", str(program)]
    built = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    assert built.returncode == 0, built.stderr
    return program


@pytest.fixture(scope="module", params=["", "thread", "address,undefined"])
def program(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., str]:
    """The C program of a test module, compiled with these sanitizers: a call runs it.

    The module names it in ``SOURCE`` and what it needs of csrc/ in ``NEEDS``. A call takes the
    program's arguments, fails unless the exit status is 0 and standard error is empty, and returns
    what it printed.
    """
    if sys.platform == "win32":
        pytest.skip("the program uses POSIX threads")
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        pytest.skip("no C compiler")
    if not CSRC.is_dir():
        pytest.skip("no csrc/ beside the tests")
    source: Path = request.module.SOURCE
    sources = [source, *(CSRC / name for name in request.module.NEEDS)]
    folder = tmp_path_factory.mktemp(source.stem)
    path = compiled(compiler, request.param, sources, folder / source.stem)

    def run(*arguments: object) -> str:
        result = subprocess.run(
            [path, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
            env=environment(),
        )
        assert result.returncode == 0, result.stderr
        assert result.stderr == ""
        return result.stdout

    return run
