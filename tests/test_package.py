"""What holds for the package as a whole: cheap imports, arrows that point down, true docstrings."""

from __future__ import annotations

import ast
import doctest
import gc
import importlib
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import midstream

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "midstream"
MODULES = sorted(
    info.name
    for info in pkgutil.walk_packages(midstream.__path__, "midstream.")
    # Importing a __main__ runs it.
    if not info.name.endswith("__main__")
)

#: Room -> the rooms that it may import from, beside itself.
KERNELS = frozenset({"compare", "scheduler", "attractor", "logic", "quic"})
MAY_USE: dict[str, frozenset[str]] = {
    "_core": frozenset(),
    **dict.fromkeys(sorted(KERNELS), frozenset({"_core"})),
    "meta": frozenset({"_core", "logic", "compare"}),
    "plot": KERNELS | {"_core", "meta"},
    "stream": KERNELS | {"_core", "meta"},
    "apps": KERNELS | {"_core", "meta", "plot", "stream"},
}

HEAVY = frozenset(
    {"numpy", "scipy", "aioquic", "httpx", "httpx2", "matplotlib", "openai", "rich", "typer"}
)


def load(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("midstream"):
            raise
        pytest.skip(f"{name} needs {missing.name}, of an extra that is not installed")


@pytest.mark.parametrize(
    "name", ["midstream", *(f"midstream.{room}" for room in MAY_USE if (SOURCE / room).is_dir())]
)
def test_importing_a_package_is_cheap(name: str) -> None:
    script = f"import sys, {name}; print(*sys.modules)"
    loaded = subprocess.run(
        # -P: the source tree, where pytest was started, must not hide the installed package.
        [sys.executable, "-P", "-c", script],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert name in loaded
    assert not HEAVY & set(loaded)


@pytest.mark.parametrize("name", ["midstream", *MODULES])
def test_every_public_name_is_there(name: str) -> None:
    module = load(name)
    exported = getattr(module, "__all__", [])
    assert len(exported) == len(set(exported))
    for public in exported:
        assert getattr(module, public) is not None
    if hasattr(module, "__path__") and exported:
        assert set(exported) <= set(dir(module))


@pytest.mark.parametrize("name", ["midstream", *MODULES])
def test_examples_in_docstrings_run(name: str) -> None:
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for example in doctest.DocTestFinder(exclude_empty=True).find(load(name)):
        result = runner.run(example)
        assert result.failed == 0, f"{example.name}: run `python -m doctest -v` on it"


@pytest.mark.skipif(not (ROOT / "README.md").is_file(), reason="no README beside the tests")
def test_examples_in_readme_run() -> None:
    result = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert result.attempted > 20
    assert result.failed == 0


def test_examples_of_compiled_modules_are_found() -> None:
    found = doctest.DocTestFinder().find(load("midstream.scheduler._histogram"))
    assert any(example.name.endswith(".Histogram") and example.examples for example in found)


def test_every_compiled_module_has_a_stub_and_loads() -> None:
    sources = sorted(SOURCE.rglob("*.pyx"))
    assert sources
    for source in sources:
        assert source.with_suffix(".pyi").is_file(), f"{source} has no .pyi"
        name = ".".join(source.relative_to(ROOT).with_suffix("").parts)
        # Not shadowed by a Python file of the same name.
        assert not str(load(name).__file__).endswith(".py")


def parsed(text: str) -> ast.Module:
    """The syntax of a module.

    Without a collection in between: before 3.11.8, a finalizer that formats a traceback meanwhile
    upsets the parser (gh-106905).
    """
    gc.disable()
    try:
        return ast.parse(text)
    finally:
        gc.enable()


def imports_of(source: Path, text: str) -> Iterator[str]:
    """Absolute names of the modules of ours that a file imports, wherever in the file."""
    if source.suffix in {".pyx", ".pxd"}:
        # Cython has no ast; its cimports of our modules are always absolute.
        yield from re.findall(r"^\s*(?:from|c?import)\s+(midstream[\w.]*)", text, re.MULTILINE)
        return
    package = source.relative_to(ROOT).parent.parts
    for node in ast.walk(parsed(text)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            # ``from midstream import stream`` imports a room, by name.
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == "midstream")


def source_files() -> list[Path]:
    return sorted(
        path
        for room in MAY_USE
        for suffix in ("py", "pyi", "pyx", "pxd")
        for path in (SOURCE / room).rglob(f"*.{suffix}")
    )


@pytest.mark.parametrize("source", source_files(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_arrows_only_point_down(source: Path) -> None:
    room = source.relative_to(SOURCE).parts[0]
    for name in imports_of(source, source.read_text("utf-8")):
        target, *inside = name.split(".")[1:] or [""]
        if target not in MAY_USE or target == room:
            continue
        assert target in MAY_USE[room], f"{room} imports {name}"
        private = [part for part in inside if part.startswith("_")]
        # Types of compiled modules can only be cimported from where they are.
        if target != "_core" and source.suffix in {".py", ".pyi"}:
            assert not private, f"{room} reaches into {name}"


def test_all_exceptions_are_public() -> None:
    private = importlib.import_module("midstream._core.errors")
    public = importlib.import_module("midstream.errors")
    assert public.__all__ == private.__all__
    assert midstream.errors is public
    for name in public.__all__:
        assert getattr(public, name) is getattr(private, name)
        assert issubclass(getattr(public, name), midstream.MidstreamError)


def test_every_room_is_in_the_plan() -> None:
    rooms = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").is_file()}
    assert rooms <= set(MAY_USE)


def test_the_check_of_arrows_sees_all_kinds_of_import() -> None:
    probe = SOURCE / "stream" / "probe.py"
    for text in (
        "import midstream.apps.cli",
        "from midstream import apps",
        "from midstream.apps import cli",
        "def f():\n    from midstream.apps.cli import main",
        "from ..apps import cli",
        "from .. import apps",
    ):
        (name,) = imports_of(probe, text)
        assert name.startswith("midstream.apps"), text
    assert list(imports_of(probe, "import re\nfrom .events import Event")) == [
        "midstream.stream.events.Event"
    ]
    cython = "from midstream.compare._run cimport RunDetector\ncimport midstream.scheduler._x\n"
    assert list(imports_of(probe.with_suffix(".pyx"), cython)) == [
        "midstream.compare._run",
        "midstream.scheduler._x",
    ]


def test_no_paths_of_the_machine_that_wrote_them() -> None:
    machine_path = re.compile(r"(?<![\w.])/(?:home|Users|root|work|opt|mnt)/\w")
    folders = ("midstream", "csrc", "tests", "asv_benchmarks", "wheels", ".ci")
    suffixes = {"", ".py", ".pyi", ".pyx", ".pxd", ".c", ".h", ".md", ".toml", ".json", ".txt"}
    files = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    for path in [*files, *ROOT.glob("*.*")]:
        hidden = any(part.startswith(".") for part in path.relative_to(ROOT).parts[1:])
        generated = path.suffix == ".c" and path.with_suffix(".pyx").exists()
        if path.is_file() and path.suffix in suffixes and not hidden and not generated:
            found = machine_path.search(path.read_text("utf-8"))
            assert found is None, f"{path}: {found}"


def test_tests_that_prove_what_the_original_promised_are_there():
    text = (Path(midstream.__file__).parent / "docs" / "original.md").read_text(encoding="utf-8")
    table = text.partition("## The features")[2].partition("\n## ")[0]
    rows = [line.split("|")[3] for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == 16
    tests = ROOT / "tests"
    for row in rows:
        folder = tests
        for name in re.findall(r"`([^`]+)`", row):
            path = tests / name if "/" in name or not name.endswith(".py") else folder / name
            assert path.exists(), name
            folder = path.parent
