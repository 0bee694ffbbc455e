"""Install wheels where nothing else is, and use them: here, and on emulated processors."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import targets
from making import HERE, WheelError, run

#: Processor that qemu plays, what OpenBLAS is told it is, as it does not see through the emulator,
#: and the level that midstream must choose. Nehalem, of 2008, is the oldest that numpy 2.4 runs on.
PROCESSORS = (
    ("Nehalem", "Nehalem", "scalar"),
    ("Haswell-noTSX", "Haswell", "avx2"),
)
EXTRAS = "[media,mcp,otel,proxy,serve,test,ui]"


def _clean(wheel: Path, python: targets.Interpreter, folder: Path, extras: str = "") -> Path:
    """The Python of a new environment that has the wheel and what it asks for."""
    environment = folder / "clean"
    run([python.executable, "-m", "venv", environment], cwd=folder)
    executable = environment / "bin" / "python"
    run([executable, "-m", "pip", "install", f"{wheel}{extras}"], cwd=folder)
    return executable


def _levels(executable: Path, folder: Path) -> tuple[str, str]:
    """The level chosen by itself, and the digest of results, the same at all levels."""
    chosen, digest = run([executable, HERE / "bits.py"], cwd=folder, capture=True).split()
    ask = "from midstream._core._cpu import available_levels as a; print(*a())"
    for level in run([executable, "-c", ask], cwd=folder, capture=True).split():
        told = run(
            [executable, HERE / "bits.py"],
            cwd=folder,
            extra={"MIDSTREAM_SIMD": level},
            capture=True,
        ).split()
        if told != [level, digest]:
            raise WheelError(f"level {level}: {told}, at level {chosen}: {digest}")
    return chosen, digest


def smoke(wheel: Path, python: targets.Interpreter, tree: Path) -> str:
    """Smoke test and the same bits at every level, in a clean environment; the level chosen."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        executable = _clean(wheel, python, folder)
        run([executable, HERE / "smoke_test.py", tree], cwd=folder)
        chosen, digest = _levels(executable, folder)
        print(f"level {chosen}; the same bits at all levels: {digest[:16]}")
    return chosen


def suite(wheel: Path, python: targets.Interpreter, tree: Path, tests: list[str]) -> None:
    """Run the sdist's tests, and every command, in a clean environment outside the tree."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        executable = _clean(wheel, python, folder, EXTRAS)
        place = folder / "place"
        place.mkdir()
        # All that tests read, and no package: none can import the source by accident.
        for path in tree.iterdir():
            if path.name in ("midstream", "build") or path.suffix == ".egg-info":
                continue
            copy = shutil.copytree if path.is_dir() else shutil.copy2
            copy(path, place / path.name)
        run([executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests], cwd=place)
        run([executable, HERE / "check_programs.py"], cwd=folder)


def on_older_processors(wheel: Path, python: targets.Interpreter, tree: Path) -> str:
    """Run on processors of lower levels, played by qemu-user; what was run, in words."""
    emulator = shutil.which("qemu-x86_64")
    if emulator is None:
        raise WheelError("no qemu-x86_64: apt-get install qemu-user")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        executable = _clean(wheel, python, folder)
        _, digest = _levels(executable, folder)
        for processor, blas, level in PROCESSORS:
            emulated = [emulator, "-cpu", processor, executable]
            extra = {"OPENBLAS_CORETYPE": blas}
            told = run([*emulated, HERE / "bits.py"], cwd=folder, extra=extra, capture=True).split()
            if told != [level, digest]:
                raise WheelError(f"on {processor}: {told}, expected {[level, digest]}")
            print(f"{processor}: level {level}, the same bits as here", flush=True)
            run([*emulated, HERE / "smoke_test.py", tree], cwd=folder, extra=extra)
    return ", ".join(processor for processor, _, _ in PROCESSORS) + " by qemu"
