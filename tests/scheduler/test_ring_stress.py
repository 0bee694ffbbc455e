"""The ring in C, without Python: plain and under sanitizers, its histories judged."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from reference.fifo import Operation, violation

SOURCE = Path(__file__).with_name("ring_stress.c")
CSRC = Path(__file__).parents[2] / "csrc"
COMPILER = shutil.which(os.environ.get("CC", "cc"))
#: No run lasts a tenth of this.
LIMIT_S = 120

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="the program uses POSIX threads"),
    pytest.mark.skipif(COMPILER is None, reason="no C compiler"),
    pytest.mark.skipif(not CSRC.is_dir(), reason="no csrc/ beside the tests"),
]


@pytest.fixture(scope="module", params=["", "thread", "address,undefined"])
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, compiled with these sanitizers."""
    assert COMPILER is not None
    folder = tmp_path_factory.mktemp("ring_stress")
    flags = ["-std=c11", "-O2", "-g", "-Wall", "-Werror", "-pthread", f"-I{CSRC}"]
    if request.param:
        flags += [f"-fsanitize={request.param}", "-fno-sanitize-recover=all"]
        probe = folder / "probe.c"
        probe.write_text("int main(void) { return 0; }\n")
        command = [COMPILER, *flags, str(probe), "-o", str(folder / "probe")]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        works = built.returncode == 0 and subprocess.run([folder / "probe"], check=False)
        if not works or works.returncode != 0:
            pytest.skip(f"{COMPILER} has no -fsanitize={request.param}: {built.stderr[-200:]}")
    sources = [str(SOURCE), str(CSRC / "ms_ring.c"), str(CSRC / "ms_park.c")]
    command = [COMPILER, *flags, *sources, "-o", str(folder / "ring_stress")]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder / "ring_stress"


def run(program: Path, mode: str, capacity: int, items: int) -> list[Operation]:
    result = subprocess.run(
        [program, mode, str(capacity), str(items)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    rows = (line.split() for line in result.stdout.splitlines())
    return [Operation(kind, *map(int, numbers)) for kind, *numbers in rows]  # type: ignore[arg-type]


@pytest.mark.parametrize("capacity", [1, 2, 5, 64])
@pytest.mark.parametrize("mode", ["try", "wait", "batch"])
def test_histories_are_linearizable(program: Path, mode: str, capacity: int) -> None:
    items = 300 if capacity == 1 else 3000
    history = run(program, mode, capacity, items)
    kinds = Counter(operation.kind for operation in history)
    assert kinds["put"] == kinds["take"] == 2 * items
    assert violation(history) is None


@pytest.mark.parametrize("capacity", [3, 16])
def test_threads_halted_in_the_middle_hold_up_nobody(program: Path, capacity: int) -> None:
    history = run(program, "halt", capacity, 3000)
    assert sum(operation.kind == "take" for operation in history) == 2 * 3000 + 2
    assert violation(history) is None


def test_threads_halted_anywhere_hold_up_nobody(program: Path) -> None:
    run(program, "signal", 8, 15)


def test_a_broken_queue_is_found_out(program: Path) -> None:
    told = violation(run(program, "broken", 8, 1000))
    assert told is not None and told.startswith("order")
