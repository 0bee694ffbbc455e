"""`midstream bench`: every kernel is measured, and told in both forms."""

from __future__ import annotations

from apps.program import run

from midstream.apps.bench import NAMES


def test_every_kernel():
    done = run("bench", "--seconds", "0.001", "--json")
    assert (done.status, done.err) == (0, "")
    assert [row["name"] for row in done.rows] == list(NAMES)
    for row in done.rows:
        assert row["seconds"] > 0
        assert row["python_seconds"] is None or row["python_seconds"] > 0


def test_one_as_a_table():
    done = run("bench", "queue", "--seconds", "0.001")
    assert done.status == 0
    assert "queue" in done.out
    assert "dtw" not in done.out


def test_none_of_that_name():
    done = run("bench", "opera")
    assert done.status == 2
    assert "'opera' is none of dtw, guard" in " ".join(done.err.replace("│", "").split())
