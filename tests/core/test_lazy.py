"""Names that load when first used."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

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
