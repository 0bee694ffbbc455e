"""`midstream docs`: the guides that come with the package."""

from __future__ import annotations

import pytest
from apps.program import run, run_in_terminal, screen

from midstream.apps.guides import all_guides


def test_all_guides_are_listed() -> None:
    done = run("docs")
    assert (done.status, done.err) == (0, "")
    assert [line.split()[0] for line in done.out.splitlines()] == [
        guide.topic for guide in all_guides()
    ]


def test_the_list_as_json() -> None:
    rows = run("docs", "--json").of_type("guide")
    assert rows[0]["topic"] == "first-stream"
    for row, guide in zip(rows, all_guides(), strict=True):
        assert row["title"] == guide.title
        assert row["summary"] == guide.summary
        assert row["path"] == str(guide.path)


@pytest.mark.parametrize("guide", all_guides(), ids=lambda guide: guide.topic)
def test_in_a_pipe_a_guide_is_its_markdown(guide) -> None:
    assert run("docs", guide.topic).out == guide.path.read_text("utf-8")


@pytest.mark.parametrize("guide", all_guides(), ids=lambda guide: guide.topic)
def test_a_guide_has_a_heading_and_says_what_it_is_about(guide) -> None:
    assert guide.title
    assert not guide.title.startswith("#")
    assert guide.summary.endswith(".")


def test_in_a_terminal_it_is_set_to_its_width() -> None:
    status, said = run_in_terminal("docs", "first-stream", columns=60)
    assert status == 0
    lines = screen(said)
    assert max(map(len, lines)) <= 60
    assert "```" not in "\n".join(lines)
    assert "\x1b[" in said
    _, plain = run_in_terminal("docs", "first-stream", "--no-color", columns=60)
    assert "\x1b[3" not in plain


def test_no_such_guide() -> None:
    done = run("docs", "beginning")
    assert done.status == 2
    assert "'beginning' is not one of" in done.err
    assert run("docs", "rules", "--json").status == 2
