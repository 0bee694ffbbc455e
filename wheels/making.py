"""From the tree to wheels: a source distribution, then each wheel built from it and repaired."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path, PurePosixPath

import targets
import ziglang

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent

#: Set in what is started here.
QUIET = {
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_INPUT": "1",
    "PIP_QUIET": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}
#: Unset there: they would change what is built, or which package is imported.
SWITCHES = (
    "CC",
    "CFLAGS",
    "LDFLAGS",
    "LDSHARED",
    "MIDSTREAM_ANNOTATE",
    "MIDSTREAM_COVERAGE",
    "MIDSTREAM_SANITIZE",
    "MIDSTREAM_SIMD",
    "PYTHONHOME",
    "PYTHONPATH",
)


class WheelError(Exception):
    """A command that a wheel needs ended with an error."""


def run(
    command: Iterable[str | Path],
    *,
    cwd: Path,
    extra: Mapping[str, str] | None = None,
    log: Path | None = None,
    capture: bool = False,
) -> str:
    """Run to the end.

    Parameters
    ----------
    command, cwd
        What, and where.
    extra
        Variables for it.
    log
        File that its output goes to, the end of which is in the error.
    capture
        Return what it prints.

    Raises
    ------
    WheelError
        If its exit status is not 0.
    """
    environment = {name: value for name, value in os.environ.items() if name not in SWITCHES}
    arguments = [str(part) for part in command]
    with log.open("w") if log else nullcontext() as sink:
        done = subprocess.run(
            arguments,
            cwd=cwd,
            env={**environment, **QUIET, **(extra or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if capture else sink,
            stderr=subprocess.STDOUT if log else None,
            text=True,
            check=False,
        )
    if done.returncode:
        said = log.read_text(errors="replace") if log else done.stdout or ""
        raise WheelError(f"{' '.join(arguments)[:300]}: status {done.returncode}\n{said[-4000:]}")
    return done.stdout or ""


def builder(python: str, folder: Path) -> Path:
    """The Python of an environment that builds; made again when its requirements change."""
    requirements = HERE / "requirements-build.txt"
    wanted = hashlib.sha256(requirements.read_bytes() + python.encode()).hexdigest()
    mark = folder / "made-for"
    executable = folder / "bin" / "python"
    if not mark.is_file() or mark.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        run([python, "-m", "venv", folder], cwd=ROOT)
        run([executable, "-m", "pip", "install", "-r", requirements], cwd=folder)
        # Declarations that Cython brings are as new as the environment: all would be written again.
        for path in folder.rglob("*.pxd"):
            os.utime(path, (0, 0))
        mark.write_text(wanted)
    return executable


def _clean_copy(folder: Path) -> None:
    """What git knows, or does not ignore; an unpacked sdist as it is, less what was built in it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        ignored = shutil.ignore_patterns("build", "dist", "*.so", "*.egg-info", "__pycache__")
        shutil.copytree(ROOT, folder, ignore=ignored)
        return
    for name in listed.stdout.decode().split("\0"):
        path = ROOT / name
        if name and path.is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, folder / name)


def _epoch() -> str:
    """When the source last changed: the time of all in archives, for the same source the same."""
    told = os.environ.get("SOURCE_DATE_EPOCH")
    if told:
        return told
    done = subprocess.run(
        ["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or str(int((ROOT / "pyproject.toml").stat().st_mtime))


def source_distribution(outdir: Path, work: Path) -> Path:
    """Build the sdist from a clean copy of the tree."""
    python = builder(sys.executable, work / "python-sdist")
    with tempfile.TemporaryDirectory() as folder:
        copy, built = Path(folder, "midstream"), Path(folder, "dist")
        _clean_copy(copy)
        run(
            [python, "-m", "build", "--sdist", "--no-isolation", "--outdir", built, copy],
            cwd=copy,
            extra={"SOURCE_DATE_EPOCH": _epoch()},
            log=work / "sdist.log",
        )
        (made,) = built.glob("*.tar.gz")
        return Path(shutil.copy2(made, outdir / made.name))


def unpacked(sdist: Path, work: Path) -> Path:
    """Unpack the source to build from, over what lay there before.

    What has not changed keeps its time. So what Cython writes for one wheel serves the next: it is
    the same for all interpreters and platforms.
    """
    tree = work / "source"
    tree.mkdir(parents=True, exist_ok=True)
    held = set()
    # Cython is not told that its version or its directives changed: all is written again then.
    translators = {"setup.py", "pyproject.toml", "wheels/requirements-build.txt"}
    stale = False
    with tarfile.open(sdist) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            name = PurePosixPath(*PurePosixPath(member.name).parts[1:])
            if content is None or name.is_absolute() or ".." in name.parts:
                continue
            path = tree / name
            held.add(path)
            text = content.read()
            if not path.is_file() or path.read_bytes() != text:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(text)
                stale = stale or str(name) in translators
    for path in tree.rglob("*"):
        generated = path.suffix == ".c" and path.with_suffix(".pyx") in held and not stale
        if path.is_file() and path not in held and not generated:
            path.unlink()
    return tree


def built(
    python: targets.Interpreter, target: targets.Target | None, tree: Path, work: Path
) -> Path:
    """Build a wheel of an unpacked source.

    Parameters
    ----------
    python
        The interpreter whose version the wheel is for.
    target
        The platform, compiled for by zig; None for this machine, by its own compiler.
    tree
        The source.
    work
        Folder of environments, caches and logs.
    """
    name = f"{python.tag}-{target.name if target else 'host'}"
    executable = builder(python.executable, work / f"python-{python.tag}")
    if target:
        settings = work / "targets" / name
        shutil.rmtree(settings, ignore_errors=True)
        zig = Path(ziglang.__file__).parent / "zig"
        extra = targets.environment(
            target, python, zig=zig, cache=work / "zig-cache", folder=settings
        )
    else:
        compiler = os.environ.get("CC") or str(python.variables["CC"])
        ccache = shutil.which("ccache")
        extra = {
            "CC": f"{ccache} {compiler}" if ccache else compiler,
            # Interpreters' own settings may name folders of theirs to look for libraries in.
            "LDSHARED": f"{compiler} -shared",
        }
    # Objects for one target are none for another, though Python calls both platforms the same.
    base = tree / "build" / name
    config = work / f"{name}.cfg"
    config.write_text(f"[build]\nbuild_base = {base}\n")
    raw = work / "raw"
    shutil.rmtree(raw, ignore_errors=True)
    no_looking_up = ("--no-isolation", "--skip-dependency-check")
    run(
        [executable, "-m", "build", "--wheel", *no_looking_up, "--outdir", raw, tree],
        cwd=tree,
        extra={"SOURCE_DATE_EPOCH": _epoch(), "DIST_EXTRA_CONFIG": str(config), **extra},
        log=work / f"{name}.log",
    )
    shutil.rmtree(base)
    (wheel,) = raw.glob("*.whl")
    return wheel


def repaired(wheel: Path, target: targets.Target | None, outdir: Path, work: Path) -> Path:
    """Give a wheel its platform's tag.

    There is no library to bring along: ``check_wheel.py`` sees to it that none is needed.
    """
    if target and target.system != "linux":
        return Path(shutil.copy2(wheel, outdir / wheel.name))
    # auditwheel takes this machine's platforms by name only; of others it finds the oldest fit.
    named = target and target.tag.startswith("manylinux") and target.machine == platform.machine()
    policy = ["--plat", target.tag, "--only-plat"] if target and named else []
    with tempfile.TemporaryDirectory() as folder:
        run(
            [sys.executable, "-m", "auditwheel", "repair", *policy, "-w", folder, wheel],
            cwd=Path(folder),
            extra={"SOURCE_DATE_EPOCH": _epoch()},
            log=work / "repair.log",
        )
        (made,) = Path(folder).glob("*.whl")
        return Path(shutil.copy2(made, outdir / made.name))
