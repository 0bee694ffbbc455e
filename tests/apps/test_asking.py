"""`midstream process`, `analyze`, `compare` and `interactive`: the agent, from the command line."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess

import pytest
from apps.program import COMMAND, GUARD_S, environment, run

TURNS = ["Where is my order?", "Let me look.", "Where is my order?", "Let me look."]


@pytest.fixture
def conversation(tmp_path):
    def write(text, name="talk.txt"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def failing_calls(n):
    """A conversation whose same call fails again and again."""
    arguments = json.dumps({"path": "a.py"})
    call = {"id": "c", "type": "function", "function": {"name": "read", "arguments": arguments}}
    turn = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "error: no such file"},
    ]
    return turn * n


def test_each_message_is_told_at_once():
    done = run("process", stdin="\n".join(TURNS).encode())
    assert (done.status, done.err) == (0, "")
    assert done.out.count("message ") >= 4
    assert "same as  message 0" in done.out


def test_the_same_for_programs(conversation):
    done = run("process", conversation("\n".join(TURNS)), "--json")
    assert [row["type"] for row in done.rows] == ["processed"] * 4
    assert [row["same_as"] for row in done.rows] == [None, None, 0, 1]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(failing_calls(4)),
        json.dumps({"messages": failing_calls(4)}, indent=1),
        "\n".join(json.dumps(message) for message in failing_calls(4)),
    ],
    ids=["array", "object", "lines"],
)
@pytest.mark.parametrize("command", ["process", "analyze"])
def test_every_form_of_a_conversation_and_a_finding(conversation, command, text):
    done = run(command, conversation(text), "--json")
    assert done.status == 1
    found = [finding for row in done.rows for finding in row["findings"]]
    assert "tool_loop" in {finding["kind"] for finding in found}
    assert "TOOL LOOP" in run(command, conversation(text)).out


def test_an_analysis(conversation):
    done = run("analyze", conversation("\n".join(TURNS * 3)), "--json")
    (row,) = done.rows
    assert (row["messages"], row["duplicate_messages"]) == (12, 10)
    assert row["cycle"]["period"] == 2
    shown = run("analyze", conversation("\n".join(TURNS * 3))).out
    assert "goes in circles" in shown
    assert '"Where is my order?" in 0, 2' in shown


def test_nothing_is_analysed_as_nothing(conversation):
    (row,) = run("analyze", conversation(""), "--json").rows
    assert row["messages"] == 0
    assert row["turn_length"] is None
    assert run("process", conversation("")).out == ""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"fine\n\xff\n", "talk.txt:2: not UTF-8"),
        (b'hello\n{"role": \n', "talk.txt:2: not JSON"),
        (b"[1, 2]\n", "talk.txt, message 0: message must be"),
        (b'{"role": "user"}\n', "talk.txt:1: message has neither content"),
    ],
)
@pytest.mark.parametrize("command", ["process", "analyze"])
def test_what_is_no_conversation(conversation, command, text, says):
    done = run(command, conversation(text))
    assert done.status == 3
    assert says in done.err


def test_a_file_that_is_not_there():
    done = run("analyze", "/nowhere/talk.txt")
    assert done.status == 3
    assert "/nowhere/talk.txt: No such file" in done.err


@pytest.mark.parametrize(
    ("first", "second", "more", "value"),
    [
        ("the cat sat", "the dog sat", ["-m", "levenshtein"], 1),
        ("kitten", "sitting", ["-m", "edit", "--unit", "characters"], 3),
        ("[1, 2, 3]", "[1, 2, 5]", [], 2.0),
        ("[1, 2, 3, 4]", "[1, 1, 3, 4]", ["--set", "window=0"], 1.0),
        ('["a", "b", "c"]', '["a", "c"]', ["--metric", "lcs"], 2),
    ],
)
def test_compare(first, second, more, value):
    (row,) = run("compare", first, second, *more, "--json").rows
    assert row["value"] == value
    shown = run("compare", first, second, *more).out
    assert re.search(rf"^value +{value:g}$", shown, re.MULTILINE)


def test_compare_files(conversation):
    one, other = conversation("[1, 2]", "one"), conversation("a b", "other")
    (row,) = run("compare", f"@{one}", f"@{one}", "--json").rows
    assert (row["value"], row["unit"]) == (0.0, "numbers")
    (row,) = run("compare", f"@{other}", "a c", "--json").rows
    assert row["value"] == 1
    assert run("compare", "@/nowhere", "a").status == 3


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["a", "b", "-m", "opera"], "opera"),
        (["a", "b", "--set", "window"], "is not NAME=VALUE"),
        (["[1]", "[2]", "--set", "wundow=1"], "no setting 'wundow'; did you mean 'window'?"),
        (["[1]", "[2]", "--set", "x=1"], "dtw has no setting 'x' (known: window, cost,"),
        (["[1]", "[2]", "-m", "pearson", "--set", "a=1"], "no setting 'a' (it takes none)"),
        (["a", "b", "--unit", "letters"], "unit must be"),
        (["[1, 2", "b"], "is no JSON array"),
    ],
)
def test_what_cannot_be_compared(given, says):
    done = run("compare", *given)
    assert done.status == 2
    assert says in " ".join(done.err.replace("│", "").split())


def test_a_dialogue():
    lines = [
        *("a message", "a message", "/analyze", "/status", "/pattern a message", "/pattern"),
        *('/compare "a b" "a c" levenshtein', "/behavior [1, 2, 3]", "/learn 0.5 good work"),
        *("/reset", "after", "/help", "/quit", "never read"),
    ]
    done = run("interactive", "--json", stdin="\n".join(lines).encode())
    assert done.status == 0
    assert [row["type"] for row in done.rows] == [
        *("processed", "processed", "analysis", "status", "patterns", "patterns"),
        *("comparison", "behavior", "learned", "reset", "processed", "help"),
    ]
    rows = done.rows
    assert rows[1]["same_as"] == 0
    assert rows[4]["count"] == 2
    assert rows[7]["kind"] == "insufficient"
    assert rows[10]["number"] == 0


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("/analyse", "did you mean 'analyze'"),
        ("/compare a", "takes two sequences"),
        ('/compare "a', "No closing quotation"),
        ("/learn much", "takes a reward first, got 'much'"),
        ("/behavior [1, null]", "series"),
    ],
)
def test_a_dialogue_goes_on_after_a_mistake(line, says):
    done = run("interactive", stdin=f"{line}\na message\n".encode())
    assert done.status == 0
    assert says in done.err
    assert "message  0" in done.out


def test_on_a_terminal_it_asks():
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "interactive"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment(),
        close_fds=True,
    )
    os.close(slave)
    os.write(master, b"hello\n/quit\n")
    said = b""
    try:
        while b"message" not in said.partition(b"> ")[2]:
            said += os.read(master, 4096)
        assert process.wait(GUARD_S) == 0
    finally:
        process.kill()
        process.wait()
        os.close(master)
    assert b"/help" in said


def test_help_breaks_lines_where_the_terminal_ends():
    said = run("serve", "--help", env={"COLUMNS": "80"}).out
    words = [line.strip() for line in said.splitlines()]
    begin = next(number for number, line in enumerate(words) if line.startswith("Clients send"))
    assert all(len(line) > 50 for line in words[begin : begin + 2])
