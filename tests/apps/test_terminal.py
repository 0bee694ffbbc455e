"""What a person at a terminal sees."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from apps.program import COMMAND, STYLE, environment, run, run_in_terminal, screen

from midstream.stream import load, shipped_recordings

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo-terminals")

LOOP = shipped_recordings()["loop-04"]
HEALTHY = shipped_recordings()["healthy-03"]

HOSTILE = (
    "\x1b[2J\x1b[H\x1b]0;owned\x07 \x9b31m \x08\x08\x7f\x00 first\rsecond\r\n"
    "[bold red]no markup[/] :smile: [link=http://x]y[/link]\n"
    "\u202eturned\u202c \u2067and\u2069\n"
)


def recording(path, *events):
    rows = [{"midstream": 1, "source": "a test"}]
    rows += [{"seq": seq, "t_ns": seq, **event} for seq, event in enumerate(events)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("columns", [20, 40, 80])
def test_words_are_kept_whole_at_the_edge(columns):
    status, said = run_in_terminal("watch", HEALTHY, columns=columns)
    assert status == 0
    text = "".join(event.text for event in load(HEALTHY) if event.kind == "text")
    lines = screen(said)
    assert max(map(len, lines)) < columns
    shown = lines[: next(n for n, line in enumerate(lines) if line.startswith("outcome"))]
    assert " ".join(shown).split() == text.split()


def test_long_words_and_wide_characters_stay_whole(tmp_path):
    url = "https://example.org/" + "long/" * 30
    text = f"see {url} and 日本語のテキスト is 日本語のテキスト again"
    path = recording(tmp_path / "x.jsonl", *[{"kind": "text", "text": char} for char in text])
    _, said = run_in_terminal("watch", path, "--on-loop", "off", columns=30)
    lines = screen(said)
    assert url in "".join(lines)
    assert [line for line in lines if "日本語" in line] == [
        "日本語のテキスト is",
        "日本語のテキスト again",
    ]


def test_everything_is_on_standard_output_and_highlighted():
    status, said = run_in_terminal("watch", LOOP)
    assert status == 1
    lines = screen(said)
    (found,) = [n for n, line in enumerate(lines) if "LOOP, stream stopped" in line]
    assert lines[found].startswith("▌ ")
    assert lines[found - 1].endswith("They played together every day.")
    assert any(line.split() == ["outcome", "stopped"] for line in lines[found:])
    before = said[: said.index("LOOP, stream")]
    assert STYLE.findall(before)[-1] not in ("", "\x1b[0m")


def test_text_of_the_stream_gives_no_orders(tmp_path):
    path = recording(
        tmp_path / "hostile.jsonl",
        {"kind": "reasoning", "text": HOSTILE},
        {"kind": "tool_call", "text": HOSTILE, "name": HOSTILE, "stream_id": "0/0"},
        {"kind": "tool_result", "text": HOSTILE},
        {"kind": "text", "text": HOSTILE, "stream_id": HOSTILE},
        *[{"kind": "text", "text": HOSTILE}] * 20,
        {"kind": "error", "text": HOSTILE},
        {"kind": "end", "text": HOSTILE},
    )
    for action in ("stop", "warn"):
        status, said = run_in_terminal("watch", path, "--on-loop", action)
        assert status in (1, 3)
        shown = "\n".join(screen(said))  # which fails at any control character
        assert "[bold red]no markup[/] :smile:" in shown
        assert r"\x1b[2J\x1b[H\x1b]0;owned\x07" in shown
        assert "first\\x0dsecond\n" in shown
        assert r"\u202eturned\u202c \u2067and\u2069" in shown


def test_a_hostile_file_name_in_an_error(tmp_path):
    status, said = run_in_terminal("watch", tmp_path / "a\x1b[2Jb")
    assert status == 3
    assert r"a\x1b[2Jb: No such file" in "".join(screen(said))


def test_kinds_are_told_apart(tmp_path):
    path = recording(
        tmp_path / "kinds.jsonl",
        {"kind": "reasoning", "text": "Hm "},
        {"kind": "reasoning", "text": "hm."},
        {"kind": "tool_call", "text": "{}", "name": "look", "stream_id": "0/0"},
        {"kind": "text", "text": "Yes.", "stream_id": "0"},
        {"kind": "text", "text": "No.", "stream_id": "1"},
        {"kind": "text", "text": " Really.", "stream_id": "1"},
        {"kind": "text", "text": "Sure.", "stream_id": "0"},
    )
    status, said = run_in_terminal("watch", path)
    assert status == 0
    assert screen(said)[:5] == [
        "reasoning: Hm hm.",
        "tool call look: {}",
        "Yes.",
        "choice 1: No. Really.",
        "choice 0: Sure.",
    ]
    assert "\x1b[2;3mHm " in said  # dim, italic


@pytest.mark.parametrize(
    ("command", "env"),
    [
        (("watch", LOOP, "--no-color"), {}),
        (("watch", LOOP), {"NO_COLOR": "1"}),
        (("watch", LOOP), {"TERM": "dumb"}),
        (("demo", "--speed", "100", "--no-color"), {}),
        (("doctor", "--no-color"), {}),
        (("doctor",), {"NO_COLOR": "1"}),
    ],
)
def test_without_colour_there_is_no_escape_sequence(command, env):
    _, said = run_in_terminal(*command, env=env)
    assert "\x1b" not in said
    screen(said)


def test_an_empty_no_color_means_nothing():
    _, said = run_in_terminal("watch", LOOP, env={"NO_COLOR": ""})
    assert "\x1b[" in said


def test_a_terminal_without_our_characters():
    env = {"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    status, said = run_in_terminal("watch", LOOP, env=env)
    assert status == 1
    assert said.isascii()
    assert "| " in said


def test_json_in_a_terminal_stays_json():
    _, said = run_in_terminal("watch", LOOP, "--json")
    assert [json.loads(line)["type"] for line in said.splitlines()][-1] == "report"


def test_the_demo_shows_both_streams():
    status, said = run_in_terminal("demo", "--speed", "20", lines=200)
    assert status == 0
    shown = "\n".join(screen(said))
    assert shown.index("LOOP, stream stopped") < shown.index("no loop, nothing stopped")
    assert shown.index("outcome") < shown.index("midstream watch")
    after = screen(said)[-6:]
    assert after[0] == "What next"
    assert all("  # " in line for line in after[1:5])  # none goes on in the next line


def test_the_demo_in_a_pipe():
    done = run("demo", "--speed", "100")
    assert (done.status, done.err) == (0, "")
    assert "LOOP, stream stopped" in done.out
    assert "\x1b" not in done.out


def test_the_demo_as_json():
    done = run("demo", "--speed", "1000", "--json")
    assert done.status == 0
    assert [row["type"] for row in done.rows] == ["finding", "report", "report"]
    assert [row["source"] for row in done.of_type("report")] == ["loop-04", "healthy-03"]


def test_help_that_nobody_reads_is_no_finding():
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [*COMMAND, "--help"], stdout=write, env=environment(), timeout=60, check=False
        )
    finally:
        os.close(write)
    assert done.returncode == 128 + signal.SIGPIPE
