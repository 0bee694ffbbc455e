"""The command line for recordings: record and resume, the library, step by step."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from apps.program import COMMAND, environment, run
from stream.chat import chunk, sse, story

from midstream.stream import (
    Event,
    Finding,
    Recorder,
    import_sse,
    load,
    read_recording,
    shipped_recordings,
)

LOOP = shipped_recordings()["loop-02"]
HEALTHY = shipped_recordings()["healthy-03"]


def record(path, text="Once upon a time", findings=()):
    with Recorder(path, source="test") as recorder:
        recorder.write(Event("text", 0, 0, text, None, chunk(text), "0"))
        recorder.write(Event("end", 1, 2 * 10**9, "stop", None, None, "0"))
        for finding in findings:
            recorder.write_finding(finding)
        recorder.settle("ended")
    return path


class TestRecord:
    def test_an_interrupted_one_goes_on(self, tmp_path):
        path = tmp_path / "r.jsonl"
        assert run("record", HEALTHY, "-o", path).status == 0
        whole = load(path)
        raw = path.read_bytes()
        path.write_bytes(raw[: len(raw) // 2])
        done = run("record", HEALTHY, "-o", path, "--resume")
        assert done.status == 0, done.err
        assert load(path) == whole
        assert read_recording(path).complete
        again = run("record", HEALTHY, "-o", path, "--resume")
        assert again.status == 0
        assert "nothing to resume" in again.err
        assert load(path) == whole

    @pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
    def test_after_kill_9(self, tmp_path):
        path = tmp_path / "r.jsonl"
        command = [*COMMAND, "record", "-", "-o", os.fspath(path), "--format", "text"]
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
        )
        try:
            child.stdin.write(b"Once upon ")
            child.stdin.flush()
            assert child.stdout.read(10) == b"Once upon "
            child.send_signal(signal.SIGKILL)
            child.wait(20)
        finally:
            child.kill()
            child.stdin.close()
            child.stdout.close()
        assert not read_recording(path).complete
        done = run("record", "-", "-o", path, "--format", "text", "--resume", stdin=b"a time")
        assert done.status == 0, done.err
        found = read_recording(path)
        assert "".join(event.text for event in found.events) == "Once upon a time"
        assert [event.seq for event in found.events] == list(range(len(found.events)))
        assert found.complete

    def test_another_source_is_told(self, tmp_path):
        path = tmp_path / "r.jsonl"
        run("record", HEALTHY, path)
        raw = path.read_bytes()
        path.write_bytes(raw[: len(raw) // 2])
        done = run("record", LOOP, path, "--resume")
        assert done.status == 3
        assert "the source differs from the recording at event 0" in done.err
        assert len(read_recording(path).events) > 100  # what it held is still there

    def test_secrets_are_not_written(self, tmp_path):
        key = "sk-ant-" + "a1B2c3D4e5" * 4
        pieces = [key[:9], key[9:20], key[20:], " is the key"]
        body = sse(*[chunk(piece) for piece in ["Well: ", *pieces]], chunk(finish="stop"))
        path = tmp_path / "r.jsonl"
        done = run("record", "-", path, "--redact", stdin=body)
        assert done.status == 0
        assert key in done.out  # the reader gets what the stream said
        raw = path.read_text()
        for part in (key, *pieces[1:3]):
            assert part not in raw
        text = "".join(event.text for event in load(path) if event.kind == "text")
        assert text == "Well: [redacted:anthropic-key] is the key"

    def test_a_watch_redacts_too(self, tmp_path):
        body = sse(chunk("mail ann@example.org"), chunk(" now", finish="stop"))
        path = tmp_path / "r.jsonl"
        assert run("watch", "-", "--record", path, "--redact", stdin=body).status == 0
        assert b"ann@" not in path.read_bytes()
        assert run("watch", "-", "--redact", stdin=body).status == 2

    def test_packed_and_in_parts(self, tmp_path):
        path = tmp_path / "r.jsonl.gz"
        done = run("record", LOOP, "-o", path, "--max-size", "0.02", "--max-files", "50")
        assert done.status == 0
        assert len(list(tmp_path.iterdir())) > 3
        assert load(path) == load(LOOP)
        assert run("record", LOOP, tmp_path / "s.jsonl", "--sync").status == 0

    def test_a_limit_is_told(self, tmp_path):
        done = run("record", LOOP, tmp_path / "r.jsonl", "--max-size", "0.02")
        assert done.status == 3
        assert "the limit of 20,000 bytes is reached" in done.err

    @pytest.mark.skipif(sys.platform == "win32", reason="no such limit there")
    def test_a_watch_goes_on_where_the_disk_is_full(self, tmp_path):
        code = (
            "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000));"
            "from midstream.apps.cli import main; main()"
        )
        path = tmp_path / "r.jsonl"
        args = ["watch", os.fspath(HEALTHY), "--record", os.fspath(path), "--json"]
        done = subprocess.run(
            # -B: Python would keep of its own modules what fits, and import that next time.
            [sys.executable, "-P", "-B", "-c", code, *args],
            capture_output=True,
            env=environment(),
            timeout=60,
            check=False,
        )
        assert done.returncode == 3
        report = json.loads(done.stdout.splitlines()[-1])
        assert report["outcome"] == "ended"
        (remark,) = [text for text in report["remarks"] if text.startswith("recording: ")]
        assert "File too large" in remark
        assert report["metrics"]["events"] == len(load(HEALTHY))

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            (["r.jsonl", "-o", "s.jsonl"], "say where to write, once"),
            ([], "say where to write, once"),
            (["r.jsonl", "--resume", "--force"], "--resume goes on"),
            (["r.jsonl", "--max-files", "3"], "--max-files goes only with"),
        ],
    )
    def test_usage(self, tmp_path, args, message):
        done = run("record", HEALTHY, *args, env={"COLUMNS": "200"})
        assert done.status == 2
        assert message in done.err


class TestReplay:
    def commands(self, *commands, file=LOOP, args=()):
        text = "\n".join(commands) + "\n"
        return run("replay", file, "--step", *args, stdin=text.encode())

    def test_step_by_step(self):
        done = self.commands("", "n 2", "f", "p", "b 3", "g 5", "t 0.5", "x", "i", "h", "q", "n")
        assert done.status == 1
        lines = done.out.splitlines()
        assert '" Once"' in lines[1]
        assert '" a"' in lines[3]
        assert "LOOP" in done.out
        assert "no finding before" in done.out
        assert "Once upon a time" in done.out
        assert '"choices"' in done.out
        assert "next event, next 5 events" in done.out

    def test_as_json(self):
        done = self.commands("n", "f", "q", args=["--json"])
        kinds = [row["type"] for row in done.rows]
        assert kinds[:4] == ["recording", "position", "event", "position"]
        assert "finding" in kinds

    def test_odd_commands_and_no_findings(self):
        done = self.commands("f", "what", "g x", "n -5", "t -1", "b", "g 9999", "n", file=HEALTHY)
        assert done.status == 0
        assert "no further finding" in done.out
        assert done.out.count("no such place") >= 3
        assert "the beginning" in done.out
        assert "the end" in done.out

    def test_what_cannot_be_done_is_told_of_each(self):
        odd = ("n 0", "n -5", "b -1", "b 0", "x words", "t nan", "g")
        done = self.commands(*odd, args=["--json"])
        told = [row["message"] for row in done.rows[1:]]
        assert told == [f"no such place, count or kind: {command}" for command in odd]
        done = self.commands("n 99999", file=HEALTHY)
        assert done.out.count(" s  ") == len(load(HEALTHY))
        assert done.out.endswith("(the end)\n")

    def test_a_cut_one(self, tmp_path):
        path = tmp_path / "r.jsonl"
        raw = record(path).read_bytes()
        path.write_bytes(raw[: raw.index(b'"end"') + 3])
        assert run("replay", path).status == 3
        done = run("replay", path, "--recover")
        assert "Once upon a time" in done.out
        assert "warning: left out: " in done.err
        done = self.commands("n", file=path, args=["--recover"])
        assert done.status == 0


@pytest.mark.parametrize("command", ["replay", "watch"])
def test_one_that_lost_its_recorder_is_not_whole(tmp_path, command):
    path = tmp_path / "r.jsonl"
    whole = record(path).read_bytes()
    assert run(command, path).status == 0
    path.write_bytes(whole[: whole.index(b'{"end"')])  # as kill -9 leaves it
    count = len(load(path))
    done = run(command, path)
    assert done.status == 3
    assert "Once upon a time" in done.out
    assert f"the recording has no end: it is still being made, or was cut off after {count}" in (
        done.err
    )
    told = run(command, path, "--json").rows[-1]
    assert (told["outcome"], "has no end" in told["error"]) == ("failed", True)
    if command == "replay":
        done = run(command, path, "--recover")
        assert (done.status, "warning: left out: " in done.err) == (0, True)
        done = run(command, path, "--step", stdin=b"q\n")
        assert "has no end" in done.out


def test_one_of_a_stream_that_failed_fails_again(tmp_path):
    path = tmp_path / "r.jsonl"
    with Recorder(path) as recorder:
        recorder.write(Event("text", 0, 0, "Once upon"))
        recorder.settle("failed", "the connection was reset")
    done = run("replay", path)
    assert done.status == 3
    assert "the recorded stream failed: the connection was reset" in done.err
    assert run("replay", path, "--recover").status == 0
    assert "1 event, then it failed." in run("replay", path, "--step", stdin=b"q\n").out


ODD_EVIDENCE = (
    {"period": 3},
    {"period": "x", "period_chars": "y", "copies": "z", "unit": 5},
    {"period": 3, "period_chars": 3, "copies": None, "unit": ["a"]},
    {"channel": {}, "stream_id": [1], "wasted_tokens": "x"},
)


def test_what_anybody_can_write_into_a_recording_breaks_nothing(tmp_path):
    folder = tmp_path / "kept"
    folder.mkdir()
    rows = [
        {"midstream": 2, "created": 5, "source": 7, "id": ["x"], "part": "q"},
        {"seq": 0, "t_ns": 9, "kind": "text", "text": "hi", "data": {"model": 5, "usage": 3}},
        {"seq": 0, "t_ns": 9, "kind": "usage", "data": {"tokens": {"input_tokens": "x"}}},
        {"seq": 1, "t_ns": 1, "kind": "usage", "data": {"tokens": [1]}},
        {"seq": 1, "t_ns": 1, "kind": "tool_call", "text": "{", "name": "n", "stream_id": "!"},
    ]
    found = {"kind": "loop", "severity": "stop", "seq": 1, "t_ns": 1, "start": 0, "end": 5}
    rows += [{"finding": {**found, "message": "m", "evidence": odd}} for odd in ODD_EVIDENCE]
    rows.append({"end": {"outcome": 5, "error": [1], "events": "x"}})
    path = folder / "odd.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for command, status in (
        (["list"], 0),
        (["search", "hi", "--kind", "loop"], 0),
        (["show", "odd.jsonl", "--text"], 1),
        (["verify"], 1),
        (["export", "odd.jsonl"], 0),
    ):
        done = run("recordings", *command, "--folder", folder)
        assert (done.status, done.err) == (status, ""), command
    done = run("replay", path, "--step", stdin=b"f\n" * 5 + b"x\ni\nq\n")
    assert done.status == 1
    assert done.out.count("LOOP, stream stopped: m") >= 4
    done = run("replay", path)
    assert done.status == 0


class TestLibrary:
    @pytest.fixture
    def folder(self, tmp_path):
        folder = tmp_path / "kept"
        files = [
            record(
                tmp_path / "tale.jsonl",
                findings=[Finding("loop", "stop", 0, 0, 0, 4, "it repeats")],
            ),
            record(tmp_path / "other.jsonl.gz", "Something else"),
        ]
        done = self.run(folder, "import", *files)
        assert done.status == 0, done.err
        assert len(done.rows) == 2
        return folder

    def run(self, folder, *args, json_lines=True, **options):
        more = ["--json"] if json_lines else []
        return run("recordings", *args, "--folder", folder, *more, **options)

    def names(self, done):
        return sorted(row["name"] for row in done.rows if row["type"] == "recording")

    def test_list_and_search(self, folder):
        assert self.names(self.run(folder, "list")) == ["other.jsonl.gz", "tale.jsonl"]
        assert self.names(self.run(folder, "search", "once")) == ["tale.jsonl"]
        assert self.names(self.run(folder, "search", "--kind", "loop")) == ["tale.jsonl"]
        done = self.run(folder, "search", "nosuchword")
        assert (done.status, done.out) == (1, "")
        for args in (["--after", "soon"], ["--severity", "awful"]):
            assert self.run(folder, "search", *args).status == 2
        done = self.run(folder, "search", "repeats", json_lines=False)
        assert "tale.jsonl" in done.out
        assert "loop: it repeats" in done.out
        assert "1 of 2 recordings" in done.out

    def test_what_is_put_there_is_found(self, folder):
        record(folder / "new.jsonl", "brand new words")
        assert self.names(self.run(folder, "search", "brand")) == ["new.jsonl"]
        (folder / "new.jsonl").unlink()
        assert len(self.names(self.run(folder, "list"))) == 2
        done = self.run(folder, "index", "--force")
        counts = {"recordings": 2, "added": 0, "updated": 2, "removed": 0, "failed": 0}
        assert done.rows[-1] == {"type": "indexed"} | counts

    def test_show(self, folder, tmp_path):
        done = self.run(folder, "show", "tale.jsonl", "--text", json_lines=False)
        assert done.status == 0
        assert "it repeats" in done.out
        assert "Once upon a time" in done.out
        done = self.run(folder, "show", tmp_path / "tale.jsonl")
        assert done.rows[0]["complete"] is True
        assert self.run(folder, "show", "none.jsonl").status == 3
        for name in ("..", "index.sqlite3", "tale"):
            assert self.run(folder, "show", name).status == 2

    def test_import_of_providers_streams(self, folder, tmp_path):
        body = tmp_path / "body.sse"
        body.write_bytes(story(3))
        lines = tmp_path / "lines.ndjson"
        chunks = [chunk("one "), chunk("two", finish="stop")]
        lines.write_text("".join(json.dumps(item) + "\n" for item in chunks))
        text = tmp_path / "text.txt"
        text.write_text("no stream at all")
        done = self.run(folder, "import", body, lines, text, tmp_path / "none")
        assert done.status == 3
        assert [row["name"] for row in done.rows] == ["body.jsonl", "lines.jsonl"]
        assert done.err.count("error: ") == 2
        again = self.run(folder, "import", body)
        assert again.status == 3
        assert self.run(folder, "import", body, "--force").status == 0
        body.write_bytes(b"data: {broken\n\n")
        assert self.run(folder, "import", body, "--force").status == 3
        folder_too = self.run(folder, "import", tmp_path)
        assert folder_too.err == f"error: {tmp_path}: no regular file\n"
        found = self.run(folder, "show", "body.jsonl", "--text").rows
        assert found[0]["complete"]  # the old one is still there
        assert found[-1]["text"]
        body.write_bytes(story(3))
        assert self.run(folder, "import", body, "--name", "../x.jsonl").status == 2
        assert sorted(path.name for path in folder.parent.glob("x*")) == []

    @pytest.mark.parametrize("api", ["chat", "responses", "anthropic"])
    def test_export(self, folder, tmp_path, api):
        done = run("recordings", "export", "tale.jsonl", "--api", api, "--folder", folder)
        assert done.status == 0
        assert [event.kind for event in import_sse(done.out.encode())].count("end") == 1
        out = tmp_path / "out.sse"
        args = ["export", "tale.jsonl", "--api", api, "-o", out, "--no-times"]
        assert self.run(folder, *args).status == 0
        assert b": t_ns" not in out.read_bytes()
        assert self.run(folder, *args).status == 2
        assert self.run(folder, *args, "--force").status == 0

    def test_verify(self, folder, tmp_path):
        done = self.run(folder, "verify")
        assert done.status == 0
        assert {row["state"] for row in done.rows} == {"whole"}
        raw = (folder / "tale.jsonl").read_bytes()
        (folder / "cut.jsonl").write_bytes(b"".join(raw.splitlines(True)[:2]))
        (folder / "bad.jsonl").write_bytes(raw.replace(b"Once", b"Ince"))
        (folder / "torn.jsonl").write_bytes(raw[: raw.index(b'"end"') + 9])
        (folder / "torn.jsonl.gz").write_bytes((folder / "other.jsonl.gz").read_bytes()[:-9])
        done = self.run(folder, "verify")
        assert done.status == 1
        states = {row["name"]: row["state"] for row in done.rows}
        assert states["torn.jsonl"] == states["torn.jsonl.gz"] == "cut off"
        assert states["cut.jsonl"] == "cut off"
        assert states["bad.jsonl"] == "damaged"
        assert self.run(folder, "verify", LOOP).rows[0]["state"] == "unsealed"
        none = tmp_path / "none.jsonl"
        done = self.run(folder, "verify", none, json_lines=False)
        assert done.status == 3
        assert done.out == f"unreadable  {none}  No such file or directory\n"

    def test_what_is_wrong_does_not_say_the_name_again(self, folder):
        lines = (folder / "tale.jsonl").read_bytes().splitlines(True)
        (folder / "bad.jsonl").write_bytes(b"".join([*lines[:2], b"no JSON\n", *lines[2:]]))
        done = self.run(folder, "verify", "bad.jsonl", json_lines=False)
        assert done.out.startswith("damaged     bad.jsonl  line 3: not JSON: ")
        listed = self.run(folder, "list", json_lines=False)
        assert "not whole" in next(line for line in listed.out.splitlines() if "bad" in line)

    def test_remove(self, folder):
        done = self.run(folder, "remove", "tale.jsonl", json_lines=False)
        assert done.status == 2
        assert "nobody can be asked" in done.err
        assert self.run(folder, "remove", "tale.jsonl", "--yes").status == 0
        assert self.names(self.run(folder, "list")) == ["other.jsonl.gz"]
        assert self.run(folder, "remove", "../tale.jsonl", "--yes").status == 2

    def test_all_are_removed_or_none_and_nobody_is_asked_about_what_is_not_there(self, folder):
        for yes in ((), ("--yes",)):
            done = self.run(folder, "remove", "tale.jsonl", "none.jsonl", *yes, json_lines=False)
            assert done.status == 3
            assert done.err == f"error: {folder / 'none.jsonl'}: No such file\n"
        assert len(self.names(self.run(folder, "list"))) == 2
        assert self.run(folder, "remove", "tale.jsonl", "tale.jsonl", "--yes").status == 0

    def test_no_folder(self, tmp_path):
        for command in (["list"], ["index"], ["verify"], ["remove", "a.jsonl", "--yes"]):
            done = self.run(tmp_path / "none", *command, env={"COLUMNS": "300"})
            assert done.status == 2
            assert "no such folder" in done.err
            assert not (tmp_path / "none").exists()
