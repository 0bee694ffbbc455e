"""Names that load when first used."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import midstream

INIT = """
from midstream._core.lazy import lazy_exports
__all__ = ["answer"]
__getattr__, __dir__ = lazy_exports(__name__, {"answer": "deep", "absent": "deep"})
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    name = f"lazy_{request.node.name}"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").write_text(INIT)
    (folder / "deep.py").write_text("answer = object()\n")
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_a_module_loads_when_its_name_is_used(package: str) -> None:
    loaded = __import__(package)
    assert f"{package}.deep" not in sys.modules
    answer = loaded.answer
    assert f"{package}.deep" in sys.modules
    # Kept: the second time is an ordinary attribute.
    assert vars(loaded)["answer"] is answer is loaded.answer


def test_dir_lists_without_loading(package: str) -> None:
    assert dir(__import__(package)) == ["absent", "answer"]
    assert f"{package}.deep" not in sys.modules


def test_unknown_names_are_attribute_errors(package: str) -> None:
    loaded = __import__(package)
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
        _ = loaded.nothing
    assert not hasattr(loaded, "nothing")
    with pytest.raises(AttributeError, match="absent"):
        _ = loaded.absent
    with pytest.raises(ImportError):
        exec(f"from {package} import nothing")


def test_a_source_tree_that_is_not_built_says_so(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", "*.so", "*.pyd", "*.pyx", "*.c", "recordings")
    shutil.copytree(Path(midstream.__file__).parent, tmp_path / "midstream", ignore=ignored)

    def error() -> str:
        code = "from midstream.stream import watch"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        return done.stderr.splitlines()[-1]

    assert error().startswith("ModuleNotFoundError: No module named 'midstream.")
    (tmp_path / "csrc").mkdir()
    (tmp_path / "setup.py").touch()
    for stub in (tmp_path / "midstream").rglob("*.pyi"):
        stub.with_suffix(".pyx").touch()
    told = error()
    assert f"is not compiled in the source tree {tmp_path}" in told
    assert "run from another folder" in told
    assert "`pip install -e .`" in told
