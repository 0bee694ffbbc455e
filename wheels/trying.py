"""Install wheels where nothing else is, and use them: here, and on emulated processors."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import targets
from making import WheelError, run

#: Processor that qemu plays, what OpenBLAS is told it is, as it does not see through the emulator,
#: and the level that midstream must choose. Nehalem, of 2008, is the oldest that numpy 2.4 runs on.
PROCESSORS = (
    ("Nehalem", "Nehalem", "scalar"),
    ("Haswell-noTSX", "Haswell", "avx2"),
)
#: Digest of kernels' results on this machine, of each tree.
_DIGESTS: dict[Path, str] = {}
EXTRAS = "[media,mcp,otel,proxy,serve,test,ui]"


def _clean_python(python: targets.Interpreter, folder: Path) -> Path:
    """The Python of a new environment."""
    run([python.executable, "-m", "venv", folder / "clean"], cwd=folder)
    return folder / "clean" / "bin" / "python"


def _clean(wheel: Path, python: targets.Interpreter, folder: Path, extras: str = "") -> Path:
    """The Python of a new environment that has the wheel and what it asks for."""
    executable = _clean_python(python, folder)
    run([executable, "-m", "pip", "install", f"{wheel}{extras}"], cwd=folder)
    return executable


def _levels(executable: Path, scripts: Path, folder: Path) -> tuple[str, str]:
    """The level chosen by itself, and the digest of results, the same at all levels."""
    chosen, digest = run([executable, scripts / "bits.py"], cwd=folder, capture=True).split()
    ask = "from midstream._core._cpu import available_levels as a; print(*a())"
    for level in run([executable, "-c", ask], cwd=folder, capture=True).split():
        told = run(
            [executable, scripts / "bits.py"],
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
        run([executable, tree / "wheels" / "smoke_test.py", tree], cwd=folder)
        chosen, digest = _levels(executable, tree / "wheels", folder)
        _DIGESTS[tree] = digest
        print(f"level {chosen}; the same bits at all levels: {digest[:16]}")
    return chosen


def suite(wheel: Path, python: targets.Interpreter, tree: Path, tests: list[str]) -> None:
    """Run the sdist's tests, and every command, in a clean environment outside the tree."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        executable = _clean(wheel, python, folder, EXTRAS)
        place = folder / "place"
        left = shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
        shutil.copytree(tree, place, ignore=left)
        for path in (place / "midstream").rglob("*.pyx"):
            path.with_suffix(".c").unlink(missing_ok=True)
        # Some tests read the source that lies beside them; with -P none can import it.
        pytest = [executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        run([*pytest, *tests], cwd=place)
        run([executable, tree / "wheels" / "check_programs.py"], cwd=folder)


def on_older_processors(wheel: Path, python: targets.Interpreter, tree: Path) -> str:
    """Run on processors of lower levels, played by qemu-user; what was run, in words."""
    emulator = shutil.which("qemu-x86_64")
    if emulator is None:
        raise WheelError("no qemu-x86_64: apt-get install qemu-user")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        executable = _clean(wheel, python, folder)
        _, digest = _levels(executable, tree / "wheels", folder)
        # numpy keeps to what every x86-64 has: qemu 7.2 runs its sorting by AVX2 into a fault.
        ask = "from numpy._core._multiarray_umath import __cpu_dispatch__ as d; print(*d)"
        levels = run([executable, "-c", ask], cwd=folder, capture=True).strip()
        for processor, blas, level in PROCESSORS:
            emulated = [emulator, "-cpu", processor, executable]
            extra = {"NPY_DISABLE_CPU_FEATURES": levels, "OPENBLAS_CORETYPE": blas}
            told = run(
                [*emulated, tree / "wheels" / "bits.py"], cwd=folder, extra=extra, capture=True
            ).split()
            if told != [level, digest]:
                raise WheelError(f"on {processor}: {told}, expected {[level, digest]}")
            print(f"{processor}: level {level}, the same bits as here", flush=True)
            run([*emulated, tree / "wheels" / "smoke_test.py", tree], cwd=folder, extra=extra)
    return ", ".join(processor for processor, _, _ in PROCESSORS) + " by qemu"


def _foreign_python(python: targets.Interpreter, work: Path) -> tuple[Path, Path]:
    """Debian's Python for AArch64, unpacked and not installed: its root, and its executable."""
    version = f"{python.version[0]}.{python.version[1]}"
    root = work / "aarch64" / version
    executable = root / "usr" / "bin" / f"python{version}"
    if executable.is_file():
        return root, executable
    needed = [tool for tool in ("apt-get", "dpkg-deb", "qemu-aarch64") if not shutil.which(tool)]
    if needed:
        raise WheelError(f"not on this machine: {', '.join(needed)}; on Debian, install qemu-user")
    state = work / "aarch64" / "apt"
    for part in ("lists/partial", "cache/archives/partial"):
        (state / part).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    # A world of apt's own, so that this machine's is not asked to take another architecture in.
    apt = ["apt-get", "-qq", "-o", "APT::Architecture=arm64", "-o", "APT::Architectures=arm64"]
    for name, path in (("Lists", "lists"), ("status", "status")):
        apt += ["-o", f"Dir::State::{name}={state / path}"]
    apt += ["-o", f"Dir::Cache={state / 'cache'}", "-o", "Debug::NoLocking=1"]
    run([*apt, "update"], cwd=work, log=work / "apt.log")
    packages = (f"python{version}-minimal", f"libpython{version}-stdlib", "libstdc++6")
    get = ["install", "--yes", "--download-only", "--no-install-recommends", *packages]
    run([*apt, *get], cwd=work, log=work / "apt.log")
    for package in (state / "cache" / "archives").glob("*.deb"):
        run(["dpkg-deb", "--extract", package, root], cwd=work)
    return root, executable


def on_aarch64(wheel: Path, python: targets.Interpreter, tree: Path, work: Path) -> str:
    """Run a wheel for AArch64 Linux under qemu-user; what was run, in words."""
    root, executable = _foreign_python(python, work)
    version = f"{python.version[0]}.{python.version[1]}"
    platforms = [part for n in range(17, 37) for part in ("--platform", f"manylinux_2_{n}_aarch64")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        here = _clean_python(python, folder)
        site = folder / "site"
        foreign = ["--target", site, "--only-binary=:all:", "--python-version", version, *platforms]
        run([here, "-m", "pip", "install", *foreign, wheel], cwd=folder)
        emulated = ["qemu-aarch64", "-L", root, executable]
        extra = {"PYTHONPATH": str(site)}
        told = run(
            [*emulated, tree / "wheels" / "bits.py"], cwd=folder, extra=extra, capture=True
        ).split()
        expected = ["neon", _DIGESTS.get(tree, told[1])]
        if told != expected:
            raise WheelError(f"on AArch64: {told}, expected {expected}")
        run([*emulated, tree / "wheels" / "smoke_test.py", tree], cwd=folder, extra=extra)
    return "AArch64 by qemu, at level neon" + (
        ", the same bits as here" if tree in _DIGESTS else ""
    )
