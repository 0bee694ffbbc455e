"""What SECURITY.md promises is there, so is what was judged; lowest versions have no known hole."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
POLICY = ROOT / ".github" / "SECURITY.md"
ADVISORIES = ROOT / ".ci" / "advisories.toml"


def numbers(version):
    return tuple(int(part) for part in re.findall(r"\d+", version))


@pytest.mark.skipif(not ADVISORIES.exists(), reason="only in the repository")
def test_lowest_versions():
    mended = tomllib.loads(ADVISORIES.read_text())["mended"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    for extra in project["project"]["optional-dependencies"].values():
        listed += extra
    seen = 0
    for text in listed:
        name = re.match(r"[A-Za-z0-9._-]+", text)[0].lower()
        if name in mended:
            lowest = re.search(r">=([\d.]+)", text)
            assert lowest is not None, f"{text} takes any version"
            first, why = mended[name]
            assert numbers(lowest[1]) >= numbers(first), f"{text}: {why} is mended in {first}"
            seen += 1
    assert seen >= 5


@pytest.mark.skipif(not POLICY.exists(), reason="only in the repository")
def test_what_the_policy_names_is_there():
    text = POLICY.read_text()
    for name in re.findall(r"`((?:apps|stream|logic|quic)/[\w/.]+)`", text):
        assert (ROOT / "tests" / name).exists(), name
    for name in re.findall(r"`(\.ci/[\w.]+)", text):
        assert (ROOT / name).exists(), name
    from midstream import apps

    told = "".join(path.read_text() for path in Path(apps.__file__).parent.rglob("*.py"))
    for name in re.findall(r"`[^`\n]*(--[a-z][a-z-]+)", text):
        assert name in told, name


@pytest.mark.parametrize("listed", ["analyzer.txt", "unreached.txt"])
@pytest.mark.skipif(not ADVISORIES.exists(), reason="only in the repository")
def test_what_was_judged_is_still_there(listed):
    lines = (ROOT / ".ci" / listed).read_text().splitlines()
    places = [line for line in lines if line and not line.startswith("#")]
    assert len(places) == len(set(places))
    for place in places:
        file, _, text = place.partition(": ")
        assert text in {line.strip() for line in (ROOT / file).read_text().splitlines()}, place
