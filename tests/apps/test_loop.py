"""`midstream loop`: what is told of a ledger, its verdict, rollbacks, pictures."""

from __future__ import annotations

import importlib.util

import pytest
from apps.program import environment, run, run_in_terminal, run_process, screen
from meta.loop_records import LoopRecords, evidence, look

from midstream.meta import Outcome, Param, ParamSpace
from midstream.meta.ledger import Ledger

SPACE = ParamSpace(
    [Param.integer("window", 10, 50, default=20, max_step=20), Param.flag("trim", default=False)]
)


@pytest.fixture
def ledger(tmp_path):
    """A first version, a promotion, a rejection, an open trial, an alarm."""
    path = tmp_path / "loop.ledger"
    with Ledger(path, sync="never") as file:
        records = LoopRecords(file)
        records.open(SPACE)
        now = SPACE.defaults
        file.commit(now, b"first", cause=0, time_ns=1_764_000_000_000_000_000)
        for trial, end in enumerate(("promoted", "rejected", None)):
            change = SPACE.change(now, window=25 + trial)
            records.apply(trial, change)
            told = evidence("shadow", 9, -0.25, -0.5, -0.125)
            records.finish(evidence=(look(trial, told),))
            if end is not None:
                outcome = Outcome(trial, "shadow", end, f"{end}, as it should be", (), told)
                cause = records.finish(outcome)
            if end == "promoted":
                now = change.after
                file.commit(now, b"second", cause=cause)
        records.finish(drift=("loss\x1b[2J",))
    return path


def head_of(path):
    with Ledger(path, readonly=True) as file:
        return file.head.hex()


def test_versions_trials_and_verdict(ledger):
    done = run("loop", ledger)
    assert (done.status, done.err) == (0, "")
    assert "2025-11-24 16:00:00" in done.out
    assert "window 20 → 25" in done.out
    assert "trial 0: -0.2500 [-0.5000, -0.1250] n=9" in done.out
    assert "open: shadow" in done.out
    assert "rejected, as it should be" in done.out
    assert "drift alarms: loss\\x1b[2J 1; the last at record 11" in done.out
    assert "12 records: apply 3, finish 6, open 1, version 2" in done.out
    assert "whole: every record follows from the one before\n" in done.out
    assert done.out.endswith(f"head {head_of(ledger)}\n")
    assert "\x1b" not in done.out


def test_json(ledger):
    done = run("loop", ledger, "--json")
    assert done.status == 0
    first, second = done.of_type("version")
    assert (first["version"], first["trial"], second["trial"]) == (0, None, 0)
    assert second["moves"] == [["window", 20, 25]]
    outcomes = [row["outcome"] for row in done.of_type("trial")]
    assert outcomes == ["promoted", "rejected", "open"]
    assert done.of_type("trial")[2]["lower"] == -0.5
    whys = [row["why"] for row in done.of_type("trial")]
    assert whys == ["promoted, as it should be", "rejected, as it should be", ""]
    (alarm,) = done.of_type("drift")
    assert alarm["record"] == 11
    told = done.rows[-1]
    assert (told["type"], told["sound"], told["records"], told["version"]) == (
        "ledger",
        True,
        12,
        1,
    )
    assert told["settings"] == {"window": 25, "trim": False}
    assert told["head"] == head_of(ledger)


def test_in_a_terminal(ledger):
    status, said = run_in_terminal("loop", str(ledger), columns=100)
    assert status == 0
    lines = screen(said)
    assert any("window 20 → 25" in line for line in lines)
    assert "\x1b[32mwhole" in said
    assert "\x1b[" not in run_in_terminal("loop", str(ledger), "--no-color")[1]


def test_only_the_last(ledger):
    done = run("loop", ledger, "--last", "1")
    assert "the last 1 of 2 versions" in done.out
    assert "trial 0" in done.out
    assert "2025-11-24" not in done.out


def test_damage_names_the_record(ledger):
    data = bytearray(ledger.read_bytes())
    with Ledger(ledger, readonly=True) as file:
        body = b'"n":9'
        place = data.index(body)
        assert file[3].kind == "finish"
    data[place + 4] = ord("8")
    ledger.write_bytes(data)
    done = run("loop", ledger)
    assert done.status == 1
    assert done.out.startswith("not whole at record 3: ")
    row = run("loop", ledger, "--json").rows[-1]
    assert (row["sound"], row["record"]) == (False, 3)
    assert run("loop", ledger, "--rollback", "0", "--yes").status == 1
    ledger.write_bytes(b"something else\n" * 9)
    assert run("loop", ledger).status == 1


def test_a_pinned_head(ledger):
    head, size = head_of(ledger), ledger.stat().st_size
    with Ledger(ledger, sync="never") as file:
        file.append("begin", {})
        later = file.head.hex()
    done = run("loop", ledger, "--verify", head)
    assert done.status == 0
    assert "contains the pinned head" in done.out
    assert run("loop", ledger, "--verify", later).status == 0
    # The last record cut off: a ledger that is whole, but not that one.
    ledger.write_bytes(ledger.read_bytes()[:size])
    assert run("loop", ledger).status == 0
    assert run("loop", ledger, "--verify", head).status == 0
    done = run("loop", ledger, "--verify", later)
    assert done.status == 1
    assert done.out.startswith("not whole at record")
    assert ": record" not in done.out  # said once
    done = run("loop", ledger, "--verify", "xyz")
    assert done.status == 2


def test_what_cannot_be_read(tmp_path):
    done = run("loop", tmp_path / "none")
    assert done.status == 3
    assert "none" in done.err
    done = run("loop", tmp_path)
    assert done.status == 3
    assert run("loop", tmp_path / "none", "--rollback", "0", "--yes").status == 3
    assert not (tmp_path / "none").exists()


def test_an_empty_ledger(tmp_path):
    path = tmp_path / "empty.ledger"
    Ledger(path, sync="never").close()
    done = run("loop", path)
    assert done.status == 0
    assert done.out.startswith("no version yet\n")
    assert run("loop", path, "--rollback", "0", "--yes").status == 2


def test_rollback(ledger):
    done = run("loop", ledger, "--rollback", "0", "--yes", "--reason", "worse")
    assert done.status == 0
    assert done.out.startswith("version 2 is in force, as version 0 was: window 25 -> 20\n")
    with Ledger(ledger, readonly=True) as file:
        assert (file.current.number, file.current.restores, file.state(2)) == (2, 0, b"first")
        assert file.current.reason == "worse"
        assert file.current.time_ns > 1_700_000_000_000_000_000
    assert "rollback to 0: worse" in run("loop", ledger).out
    row = run("loop", ledger, "--rollback", "1", "--yes", "--json").rows[-1]
    assert (row["version"], row["restores"]) == (3, 1)
    assert row["head"] == head_of(ledger)


def test_rollback_asks(ledger):
    before = ledger.read_bytes()
    done = run("loop", ledger, "--rollback", "0")
    assert done.status == 2
    assert "--yes" in done.err
    done = run("loop", ledger, "--rollback", "9", "--yes")
    assert done.status == 2
    assert "0 to 1" in done.err
    assert run("loop", ledger, "--yes").status == 2
    assert run("loop", ledger, "--rollback", "0", "--yes", "--plot", "x.png").status == 2
    assert ledger.read_bytes() == before


def test_rollback_while_a_loop_runs(ledger):
    with Ledger(ledger, sync="never") as file:
        assert run("loop", ledger).status == 0
        done = run_process("loop", ledger, "--rollback", "0", "--yes")
        assert done.status == 3
        assert "another writer" in done.err
        assert file.current.number == 1


def test_a_loop_goes_on_from_where_it_was_rolled_back_to(tmp_path):
    from midstream.meta import Gate, StrangeLoop

    path = tmp_path / "strange.ledger"
    space = ParamSpace([Param.integer("copies", 2, 12, default=2, max_step=4)])

    def opened():
        return StrangeLoop(space, gate=Gate(replay=0, canary=0), shield="copies <= 8", ledger=path)

    with opened() as loop:
        loop.apply(space.change(loop.settings, "too many false stops", copies=5))
        while loop.version == 0:
            session = loop.begin()
            session.finish(1.0, [0.0] * len(session.shadows))
    told = run("loop", path)
    assert told.status == 0
    assert "copies 2 → 5" in told.out
    assert "trial 0: +1.0000 [" in told.out
    assert run("loop", path, "--rollback", "0", "--yes", "--reason", "by hand").status == 0
    with opened() as loop:
        assert (loop.version, loop.settings["copies"]) == (2, 2)
        assert loop.ledger.current.reason == "by hand"
        assert not any(trial.open or trial.watched for trial in loop.gate.trials)
        loop.begin().finish(0.5)
        # Up to what `close` will write.
        assert loop.replay().to_bytes() == loop.ledger.to_bytes()
    assert "rollback to 0: by hand" in run("loop", path).out


def test_keys(tmp_path):
    path = tmp_path / "keyed.ledger"
    with Ledger(path, key=b"0123456789abcdef", sync="never") as file:
        file.commit({"window": 1}, b"")
    assert run("loop", path).status == 1
    done = run("loop", path, "--key-env", "LOOP_KEY", env={"LOOP_KEY": "0123456789abcdef"})
    assert done.status == 0
    assert "with its key" in done.out
    assert run("loop", path, "--key-env", "LOOP_KEY", env={"LOOP_KEY": "f" * 16}).status == 1
    assert run("loop", path, "--key-env", "LOOP_KEY", env={"LOOP_KEY": "short"}).status == 2
    assert run("loop", path, "--key-env", "LOOP_KEY").status == 2
    assert "LOOP_KEY" not in environment()


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="needs matplotlib")
def test_a_picture(ledger, tmp_path):
    place = tmp_path / "picture.png"
    done = run("loop", ledger, "--plot", place)
    assert done.status == 0
    assert place.read_bytes().startswith(b"\x89PNG")
    assert done.out.endswith(f"picture: {place}\n")
    done = run("loop", ledger, "--plot", tmp_path / "picture.nonsense")
    assert done.status == 2
    assert "nonsense" in done.err
    assert run("loop", ledger, "--plot", tmp_path / "no" / "picture.png").status == 3


def test_a_picture_without_matplotlib(ledger, tmp_path):
    """In an interpreter that cannot find it, whether it is installed or not."""
    hook = tmp_path / "hidden"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(
        "import sys\n"
        "from importlib.abc import MetaPathFinder\n"
        "class Nothing(MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'matplotlib':\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Nothing())\n"
    )
    import os

    path = os.pathsep.join([str(hook), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = run_process("loop", ledger, "--plot", tmp_path / "x.png", env={"PYTHONPATH": path})
    assert done.status == 2
    assert 'pip install "midstream[plot]"' in " ".join(done.err.replace("│", " ").split())
