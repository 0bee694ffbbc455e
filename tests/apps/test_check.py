"""`midstream check`: verdicts, explanations, forms of traces, and what is no trace."""

from __future__ import annotations

import pytest
from apps.program import run

RULE = "G(request -> F answer)"


@pytest.fixture
def trace(tmp_path):
    def write(text):
        path = tmp_path / "trace"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_satisfied(trace):
    done = run("check", RULE, trace("request\n\nanswer\n"))
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("satisfied: G (request -> F answer)\n")
    assert "if the trace ends after 3 events" in done.out


def test_violated_and_why(trace):
    done = run("check", RULE, trace("request\nanswer\nrequest\nother\n"))
    assert done.status == 1
    assert done.out.startswith("violated: ")
    assert "step 2: F answer is false" in done.out


def test_reading_ends_at_the_event_that_decides(trace):
    done = run("check", "G !deleted", trace("read\ndeleted\n[broken\n"), "--json")
    assert done.status == 1
    assert done.report["decided_at"] == 1
    assert done.report["events"] == 2
    assert done.report["verdict"] == "false"
    assert "step 1: deleted is true" in done.report["causes"]
    done = run("check", "F answer", trace("a\nanswer\n[broken\n"))
    assert done.status == 0
    assert "decided by event 1, whatever follows" in done.out


def test_forms_of_a_letter():
    lines = b'["a", "b"]\n{"a": true, "x": 0.5}\na, b\n\n'
    done = run("check", "F(a & b & X[!](a & x < 1 & X[!] b))", "-", "--json", stdin=lines)
    assert done.status == 0
    assert done.report["verdict"] == "true"


def test_every_event_has_a_verdict(trace):
    path = trace("request\n\nanswer\n")
    done = run("check", RULE, path, "--every", "--json")
    assert [row["verdict"] for row in done.of_type("verdict")] == [
        "presumably false",
        "presumably false",
        "presumably true",
    ]
    done = run("check", RULE, path, "--every")
    assert [line.split()[0] for line in done.out.splitlines()[:3]] == ["0", "1", "2"]


def test_three_verdicts(trace):
    path = trace("a\n\na\n")
    assert run("check", "G F a", path, "--semantics", "ltl3").out.startswith("undecided")
    assert run("check", "G F a", path, "--semantics", "ltl3").status == 4
    assert run("check", "G a", path, "--semantics", "ltl3").status == 1
    assert run("check", "X b", trace("a\n"), "--dialect", "black").status == 1
    assert run("check", "X b", trace("a\n")).status == 0


def test_what_an_event_does_not_say(trace):
    path = trace('{"a": true}\n{"x": 3}\n')
    assert run("check", "G(x < 5)", path).status == 1
    done = run("check", "G(x < 5)", path, "--missing", "error")
    assert done.status == 3
    assert "trace:1: " in done.err
    assert "x < 5" in done.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\n[1]\n", "trace:2: an array must hold names of atoms"),
        ('a\n"b"\n', "trace:2: names stand without quotes, or in a JSON array"),
        ('a\n{"a": "yes"}\n', "trace:2: letter['a'] must be a bool, not str"),
        ("a\n{broken\n", "trace:2: not JSON"),
        (b"a\n\xff\n", "trace:2: not UTF-8"),
        ("a\n" + "b" * (1 << 20) + "\n", "trace:2: a line is longer than 1048576 bytes"),
        ("", "trace: a trace has at least one event"),
        ("a\n" + "[" * 100_000 + "\n", "trace:2: not JSON"),
    ],
    ids=range(8),
)
def test_what_is_no_trace(trace, text, message):
    done = run("check", "G(a | !a) & F never", trace(text))
    assert done.status == 3
    assert message in done.err


def test_what_is_no_formula_or_file(tmp_path):
    done = run("check", "G(a -> )", tmp_path / "none")
    assert done.status == 2
    assert "column 8: expected a formula" in done.err
    done = run("check", "G a", tmp_path / "none")
    assert done.status == 3
    assert "none: No such file" in done.err


def test_control_characters_are_shown_not_obeyed(trace):
    done = run("check", 'G !"\x1b[2J"', trace('["\\u001b[2J"]\n'), "--every")
    assert done.status == 1
    assert "\x1b" not in done.out
