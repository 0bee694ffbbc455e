"""`midstream watch`, `replay` and `record` on files and pipes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from apps.program import (
    COMMAND,
    GUARD_S,
    environment,
    finished,
    pipe_room,
    read_until,
    run,
    run_process,
    started,
    unread,
)
from stream.chat import chunk, sse, story

from midstream.stream import Event, Recorder, load, shipped_recordings

LOOP = shipped_recordings()["loop-04"]
HEALTHY = shipped_recordings()["healthy-03"]
CIRCLE = b"One moment. " + b"I will try that again. " * 200


def text_of(path):
    return "".join(event.text for event in load(path) if event.kind == "text")


def recording(path, *events):
    """Write a recording of (kind, text) pairs, or of dicts with more fields."""
    rows = [{"midstream": 1, "source": "a test"}]
    for seq, event in enumerate(events):
        fields = (
            event if isinstance(event, dict) else dict(zip(("kind", "text"), event, strict=True))
        )
        rows.append({"seq": seq, "t_ns": seq * 1_000_000, **fields})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


class TestShippedRecordings:
    def test_a_loop_is_stopped_where_it_is_certain(self):
        done = run_process("watch", LOOP)
        assert done.status == 1
        text = text_of(LOOP)
        assert done.out == text[: len(done.out)]
        assert 900 < len(done.out) < len(text)
        assert "LOOP, stream stopped" in done.err
        assert "every 116 characters" in done.err
        assert "The bird and the bird became best friends" in done.err
        assert "characters 615 to 963" in done.err
        assert "outcome              stopped" in done.err

    def test_a_healthy_stream_passes(self):
        done = run_process("watch", HEALTHY)
        assert (done.status, done.out) == (0, text_of(HEALTHY))
        assert "outcome              ended" in done.err

    @pytest.mark.parametrize(("action", "status"), [("warn", 1), ("note", 0), ("off", 0)])
    def test_milder_actions_let_it_run(self, action, status):
        done = run("watch", LOOP, "--on-loop", action)
        assert (done.status, done.out) == (status, text_of(LOOP))
        assert ("LOOP" in done.err) == (action != "off")

    @pytest.mark.parametrize("action", ["stop", "warn", "note", "off"])
    def test_loops_of_tool_calls_are_found_too(self, tmp_path, action):
        call = {"kind": "tool_call", "text": '{"city": "Rome"}', "name": "find", "stream_id": "0/0"}
        result = {"kind": "tool_result", "text": "not found", "name": "find"}
        path = recording(tmp_path / "calls.jsonl", *[call, result] * 6)
        done = run("watch", path, "--on-loop", action, "--json")
        severities = {row["severity"] for row in done.of_type("finding")}
        assert (
            severities
            == {
                "stop": {"warn", "stop"},
                "warn": {"warn", "note"},
                "note": {"note"},
                "off": set(),
            }[action]
        )
        assert done.report["stopped"] is None or action == "stop"

    def test_detector_options_arrive(self):
        assert (
            run("watch", LOOP, "--max-period", 10, "--no-near", "--json").report["findings"][0][
                "start"
            ]
            > 615
        )
        with_many = run("watch", LOOP, "--min-copies", 5, "--no-near", "--json").report
        assert with_many["findings"][0]["evidence"]["copies"] >= 5

    def test_replay_gives_the_same_findings_at_any_speed(self):
        slow = run("replay", LOOP, "--speed", 8, "--json")
        fast = run("watch", LOOP, "--json")
        assert slow.status == fast.status == 1
        assert slow.out == fast.out

    def test_a_stall_in_a_recording_is_told(self, tmp_path):
        events = [{"kind": "text", "text": f"w{n} ", "t_ns": n * 10**7} for n in range(40)]
        events.append({"kind": "text", "text": "late", "t_ns": 10**11})
        path = recording(tmp_path / "stall.jsonl", *events)
        options = ("--on-loop", "off", "--on-stall")
        done = run("watch", path, *options, "warn")
        assert done.status == 1
        assert "STALL, warning: no chunk for 2.0 s" in done.err
        assert run("watch", path, *options, "off").status == 0
        assert run("watch", path, *options, "note").status == 0
        stopped = run("watch", path, *options, "stop", "--json")
        assert stopped.report["stopped"]["kind"] == "stall"


class TestJson:
    def test_findings_then_the_report_and_nothing_else(self):
        done = run("watch", LOOP, "--json")
        assert done.err == ""
        assert [row["type"] for row in done.rows] == ["finding", "report"]
        found = [{k: v for k, v in row.items() if k != "type"} for row in done.rows[:-1]]
        assert done.report["findings"] == found
        assert done.report["outcome"] == "stopped"
        assert done.report["source"] == str(LOOP)

    def test_events_come_in_order_each_before_its_findings(self):
        done = run("watch", LOOP, "--json", "--events")
        events = done.of_type("event")
        assert [event["seq"] for event in events] == list(range(len(events)))
        assert (
            "".join(event["text"] for event in events)
            == text_of(LOOP)[: sum(len(event["text"]) for event in events)]
        )
        before = done.rows[: done.rows.index(done.of_type("finding")[0])]
        assert before[-1]["seq"] == done.of_type("finding")[0]["seq"]

    def test_every_line_is_written_at_once(self):
        with started("watch", "-", "--json", "--events") as program:
            program.stdin.write(b"Once upon a time")
            row = json.loads(read_until(program.stdout, b"\n"))
            assert row["text"] == "Once upon a time"
            assert finished(program, hang_up=True).report["outcome"] == "ended"

    def test_a_failure_is_in_the_report_too(self, tmp_path):
        done = run("watch", tmp_path / "missing", "--json")
        assert done.status == 3
        assert done.report["outcome"] == "failed"
        assert "No such file" in done.report["error"]
        assert done.err.startswith("error: ")


class TestStandardInput:
    def test_text_passes_unchanged_byte_for_byte(self):
        body = "naïve \x1b[31m text\r\n\ttabs \x00 and 日本語\n\n".encode() * 3
        done = run("watch", "-", "--format", "text", stdin=body)
        assert done.out.encode() == body
        assert "outcome              ended" in done.err

    def test_hostile_text_in_findings_and_errors_is_shown_as_escapes(self, tmp_path):
        path = recording(
            tmp_path / "hostile.jsonl",
            ("reasoning", "\x1b]0;owned\x07\x9b2J"),
            {"kind": "tool_call", "text": "\x1b[2J", "name": "\x1b[31mrm"},
            ("error", "\x1b[1mbroke\r\nin two"),
            *[("text", "again \x1b[31m[bold]and[/bold] again\n")] * 40,
        )
        done = run("watch", path)
        assert done.status == 1
        assert not set(done.err) & {"\x1b", "\x07", "\x9b", "\r"}
        assert r"\x1b]0;owned\x07\x9b2J" in done.err
        assert "[bold]" in done.err

    def test_reasoning_and_tool_calls_do_not_mix_with_the_answer(self, tmp_path):
        path = recording(
            tmp_path / "kinds.jsonl",
            ("reasoning", "Let me "),
            ("reasoning", "think."),
            {"kind": "tool_call", "text": '{"city": ', "name": "weather", "stream_id": "0/0"},
            {"kind": "tool_call", "text": '"Oslo"}', "name": "weather", "stream_id": "0/0"},
            {"kind": "tool_result", "text": "rain", "name": "weather"},
            ("text", "It rains."),
            ("end", "length"),
        )
        done = run("watch", path)
        assert done.out == "It rains."
        assert done.err.splitlines()[:4] == [
            "reasoning: Let me think.",
            'tool call weather: {"city": "Oslo"}',
            "tool result weather: rain",
            "(ended: length)",
        ]

    def test_parts_of_one_answer_are_all_of_it(self):
        deltas = [("thinking_delta", "thinking", 0, "Hm. "), ("text_delta", "text", 1, "Once ")]
        deltas += [("text_delta", "text", 3, "upon a time.")]
        payloads = [
            {"type": "content_block_delta", "index": at, "delta": {"type": kind, key: text}}
            for kind, key, at, text in deltas
        ]
        payloads.append({"type": "message_delta", "delta": {"stop_reason": "end_turn"}})
        done = run_process("watch", "-", stdin=sse(*payloads, done=False))
        assert done.status == 0
        assert done.out == "Once upon a time."
        assert "choice" not in done.err
        assert "ended: " not in done.err
        assert "reasoning: Hm." in done.err

    def test_of_several_choices_the_first_is_the_answer(self):
        def said(index, text, finish=None):
            return {
                "choices": [{"index": index, "delta": {"content": text}, "finish_reason": finish}]
            }

        body = sse(
            *(said(1, "No, "), said(0, "Yes, "), said(1, "never.", "stop"), said(0, "sir.", "stop"))
        )
        done = run("watch", "-", stdin=body)
        assert (done.status, done.out) == (0, "Yes, sir.")
        assert done.err.count("only choice 0 goes to standard output") == 1

    def test_a_text_of_another_name_is_the_answer(self, tmp_path):
        named = [{"kind": "text", "text": text, "stream_id": "poet"} for text in ("Once ", "upon")]
        assert run("watch", recording(tmp_path / "named.jsonl", *named)).out == "Once upon"

    def test_text_that_begins_like_events(self):
        for body in (b":smile: hello\n", b"data: the plural of datum\n"):
            done = run("watch", "-", stdin=body)
            assert (done.status, done.out.encode()) == (0, body)
        done = run("watch", "-", stdin=b'{"msg": "I will try that again."}\n' * 500)
        assert done.status == 1
        assert "LOOP" in done.err

    @pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")
    def test_a_closed_standard_input(self):
        closed = subprocess.run(
            ["sh", "-c", 'exec "$@" <&-', "sh", *COMMAND, "watch", "-"],
            capture_output=True,
            env=environment(),
            timeout=GUARD_S,
            check=False,
        )
        assert closed.returncode == 3
        assert closed.stderr == b"error: standard input is closed\n"

    @pytest.mark.parametrize("explicit", [False, True])
    @pytest.mark.parametrize(
        ("format", "body"),
        [
            ("sse", story(5)),
            ("ndjson", b"".join(json.dumps(chunk(f"tok{i} ")).encode() + b"\n" for i in range(5))
             + json.dumps(chunk(finish="stop")).encode()),
            ("text", b"tok0 tok1 tok2 tok3 tok4 "),
            ("recording", b'{"midstream": 1}\n'
             + b'{"kind": "text", "seq": 0, "t_ns": 0, "text": "tok0 tok1 tok2 tok3 tok4 "}\n'),
        ],
    )  # fmt: skip
    def test_formats(self, format, body, explicit):
        options = ("--format", format) if explicit else ()
        done = run("watch", "-", *options, stdin=body)
        assert (done.status, done.out) == (0, "tok0 tok1 tok2 tok3 tok4 ")

    def test_a_file_in_another_format(self, tmp_path):
        path = tmp_path / "body.sse"
        path.write_bytes(story(3))
        assert run("watch", path, "--format", "sse").out == "tok0 tok1 tok2 "

    def test_nothing_at_all(self):
        done = run("watch", "-")
        assert (done.status, done.out) == (0, "")

    def test_a_loop_ends_the_reading_though_the_writer_goes_on(self):
        with started("watch", "-") as program:
            with contextlib.suppress(BrokenPipeError):
                while True:
                    program.stdin.write(CIRCLE)
            assert finished(program, hang_up=True).status == 1

    def test_a_closed_standard_output_is_no_disaster(self):
        # As a shell's ">&-": Python then has no sys.stdout at all.
        closed = subprocess.run(
            ["sh", "-c", 'exec "$@" >&-', "sh", *COMMAND, "watch", str(HEALTHY)],
            stderr=subprocess.PIPE,
            env=environment(),
            timeout=GUARD_S,
            check=False,
        )
        assert closed.returncode == 0
        assert b"Traceback" not in closed.stderr

    def test_one_log_for_both_keeps_notes_on_their_own_lines(self, tmp_path):
        with (tmp_path / "log").open("wb") as log:
            subprocess.run(
                [*COMMAND, "watch", str(LOOP)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(),
                timeout=GUARD_S,
                check=False,
            )
        lines = (tmp_path / "log").read_text().splitlines()
        assert any(line.startswith("▌ LOOP") for line in lines)


def truncated(path):
    body = LOOP.read_bytes()
    path.write_bytes(body[: len(body) // 4])
    return path


class TestFailures:
    """Status 3, what had arrived, the report, one line about the cause; never a traceback."""

    def failed(self, *args, stdin=b"", cause):
        done = run("watch", *args, stdin=stdin)
        assert done.status == 3
        last = done.err.splitlines()[-1]
        assert last.startswith("error: ")
        assert cause in last
        return done

    def test_missing_file(self, tmp_path):
        done = self.failed(tmp_path / "no.jsonl", cause="no.jsonl: No such file or directory")
        assert "outcome" not in done.err

    def test_directory(self, tmp_path):
        self.failed(tmp_path, cause="Is a directory")
        self.failed(tmp_path, "--format", "text", cause="Is a directory")

    def test_a_providers_stream_that_is_no_recording(self, tmp_path):
        path = tmp_path / "body.sse"
        for body in (b"data: {}\n\n", b'{"choices": []}\n'):
            path.write_bytes(body)
            self.failed(path, cause="is watched with --format sse, ndjson or text")

    def test_binary_garbage(self, tmp_path):
        path = tmp_path / "garbage"
        path.write_bytes(bytes(range(256)) * 64)
        self.failed(path, cause="garbage:1: ")
        self.failed("-", stdin=path.read_bytes(), cause="invalid UTF-8")

    def test_truncated_recording(self, tmp_path):
        done = self.failed(truncated(tmp_path / "cut.jsonl"), cause="cut off")
        assert done.out
        assert text_of(LOOP).startswith(done.out)
        assert "outcome              failed" in done.err

    def test_empty_recording(self, tmp_path):
        path = tmp_path / "empty.jsonl"
        path.touch()
        self.failed(path, cause="the recording is empty")

    @pytest.mark.parametrize("format", ["sse", "ndjson", "recording"])
    def test_a_line_of_100_megabytes(self, format):
        line = b"data: " + b"x" * 100_000_000
        self.failed("-", "--format", format, stdin=line, cause="longer")

    def test_an_error_event_gives_3(self, tmp_path):
        path = recording(tmp_path / "e.jsonl", ("text", "Once"), ("error", "overloaded"))
        done = run("watch", path)
        assert (done.status, done.out) == (3, "Once")
        assert "error: overloaded" in done.err

    def test_malformed_json_inside_a_stream_gives_3(self):
        done = run(
            "watch", "-", stdin=sse(chunk("Once "), "{no json", chunk("upon", finish="stop"))
        )
        assert (done.status, done.out) == (3, "Once upon")

    def test_a_stop_outdoes_an_error_event_a_warning_does_not(self, tmp_path):
        events = [("error", "hiccup"), *[("text", "I will try that again. ")] * 40]
        path = recording(tmp_path / "both.jsonl", *events)
        assert run("watch", path).status == 1
        assert run("watch", path, "--on-loop", "warn").status == 3

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")  # noqa: PTH110
    def test_standard_output_on_a_full_disk(self):
        with open("/dev/full", "wb") as full:  # noqa: PTH123
            done = subprocess.run(
                [*COMMAND, "watch", str(HEALTHY)],
                stdout=full,
                stderr=subprocess.PIPE,
                env=environment(),
                timeout=GUARD_S,
                check=False,
            )
        assert done.returncode == 3
        assert done.stderr == b"error: standard output: No space left on device\n"


class TestUsage:
    @pytest.mark.parametrize(
        ("args", "cause"),
        [
            (["watch"], "Missing argument"),
            (["watch", "x", "--on-loop", "explode"], "explode"),
            (["watch", "x", "--min-copies", "1"], "min-copies"),
            (["watch", "x", "--speed", "0"], "speed"),
            (["watch", "x", "--speed", "nan"], "speed"),
            (["watch", "-", "--speed", "2"], "--speed"),
            (["watch", "x", "--events"], "--json"),
            (["watch", "x", "--prompt", "hi"], "--prompt"),
            (["watch", "ftp://example.org"], "http"),
            (["watch", "http://", "--prompt", "x"], "host"),
            (["watch", "http://127.0.0.1:1"], "--prompt"),
            (["watch", "http://127.0.0.1:1", "--prompt", "x", "--header", "nonsense"], "--header"),
            (["watch", "http://127.0.0.1:1", "--prompt", "x", "--format", "sse"], "--format"),
            (["watch", "http://127.0.0.1:1", "--prompt", "x", "--api-key-env", "NO_SUCH"], "NO_SU"),
            (["watch", "http://127.0.0.1:1", "--messages", "no.json"], "no.json"),
            (["demo", "--speed", "-1"], "speed"),
            (["replay", "-", "--nonsense"], "nonsense"),
            (["dance"], "dance"),
        ],
    )
    def test_status_2_and_the_cause(self, args, cause):
        done = run(*args, env={"COLUMNS": "200"})
        assert done.status == 2
        assert cause in done.err
        assert done.out == ""

    def test_a_secret_header_is_not_shown(self):
        args = ("watch", "http://127.0.0.1:1", "--prompt", "x", "--header", "sk-secret")
        done = run_process(*args)
        assert done.status == 2
        assert "sk-secret" not in done.err

    @pytest.mark.parametrize("text", ["no json", "{}", "[1]"])
    def test_messages_that_are_none(self, tmp_path, text):
        path = tmp_path / "messages.json"
        path.write_text(text)
        done = run("watch", "http://127.0.0.1:1", "--messages", path)
        assert done.status == 2

    def test_help_tells_statuses_and_loads_little(self):
        done = run("watch", "--help", env={"COLUMNS": "200"})
        assert done.status == 0
        assert "Exit status" in done.out
        assert "--json" in done.out

    def test_a_recording_needs_no_http(self):
        done = run("watch", HEALTHY, env={"PYTHONPROFILEIMPORTTIME": "1"})
        assert "midstream.stream." in done.err
        assert "httpx2" not in done.err


class TestRecord:
    def test_what_is_recorded_replays(self, tmp_path):
        path = tmp_path / "kept.jsonl"
        done = run("record", LOOP, path)
        assert (done.status, done.out) == (0, text_of(LOOP))
        assert str(path) in done.err
        assert load(path) == load(LOOP)

    def test_watch_records_meanwhile(self, tmp_path):
        path = tmp_path / "kept.jsonl"
        first = run("watch", "-", "--record", path, "--json", stdin=CIRCLE)
        again = run("watch", path, "--json")
        assert first.status == again.status == 1
        assert first.report["recording"] == str(path)
        assert first.report["findings"] == again.report["findings"]

    def test_nothing_is_overwritten_unless_told(self, tmp_path):
        path = tmp_path / "kept.jsonl"
        path.write_text("precious")
        for args in (["record", HEALTHY, path], ["watch", HEALTHY, "--record", path]):
            assert run(*args).status == 2
            assert path.read_text() == "precious"
        assert run("record", HEALTHY, path, "--force").status == 0
        assert load(path) == load(HEALTHY)

    def test_the_source_is_not_overwritten_by_itself(self, tmp_path):
        path = tmp_path / "kept.jsonl"
        path.write_bytes(HEALTHY.read_bytes())
        assert run("record", path, tmp_path / "." / "kept.jsonl", "--force").status == 2
        assert path.read_bytes() == HEALTHY.read_bytes()

    def test_where_nothing_can_be_written(self, tmp_path):
        done = run("record", HEALTHY, tmp_path / "no folder" / "x.jsonl")
        assert done.status == 3
        assert "No such file or directory" in done.err

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")  # noqa: PTH110
    def test_a_full_disk(self):
        done = run("record", HEALTHY, "/dev/full")
        assert done.status == 3
        assert done.err.splitlines()[-1] == "error: /dev/full: No space left on device"
        assert os.path.exists("/dev/full")  # noqa: PTH110

    def test_a_source_that_gives_nothing_leaves_no_file(self, tmp_path):
        path = tmp_path / "kept.jsonl"
        assert run("record", tmp_path / "missing", path).status == 3
        assert not path.exists()


@pytest.fixture
def heeds_signals():
    """Children ignore what we ignore, as under a shell's ``&``; not in these tests."""
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, old)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and pipes")
@pytest.mark.usefixtures("heeds_signals")
class TestEnds:
    def test_head_ends_it_quietly(self):
        with started("watch", "-", "--format", "text") as program:
            program.stdin.write(b"first line\n")
            read_until(program.stdout, b"\n")
            program.stdout.close()
            with contextlib.suppress(BrokenPipeError):
                program.stdin.write(b"second line\n")
                program.stdin.close()
            assert program.wait(timeout=60) == 141
            assert program.stderr.read() == b""

    def test_head_ends_json_quietly(self):
        with started("watch", "-", "--json", "--events") as program:
            program.stdin.write(b"first")
            read_until(program.stdout, b"\n")
            program.stdout.close()
            with contextlib.suppress(BrokenPipeError):
                program.stdin.write(b"second")
                program.stdin.close()
            assert program.wait(timeout=60) == 141
            assert program.stderr.read() == b""

    @pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_signals_close_it_and_the_report_follows(self, number, status):
        with started("watch", "-", "--format", "text") as program:
            program.stdin.write(b"Once upon a time\n")
            read_until(program.stdout, b"\n")
            program.send_signal(number)
            done = finished(program)
        assert done.status == status
        assert "outcome              closed" in done.err

    def test_a_recording_is_whole_after_a_signal(self, tmp_path):
        path = tmp_path / "kept.jsonl"
        with started("record", "-", path, "--format", "text", "--json", "--events") as program:
            program.stdin.write(b"Once upon a time")
            read_until(program.stdout, b"\n")
            program.send_signal(signal.SIGINT)
            done = finished(program)
        assert done.status == 130
        assert done.report["outcome"] == "closed"
        assert [event.text for event in load(path)] == ["Once upon a time"]

    def test_signal_in_a_paced_replay(self):
        with started("replay", LOOP, "--speed", "0.01", "--json", "--events") as program:
            read_until(program.stdout, b"\n")
            program.send_signal(signal.SIGINT)
            done = finished(program)
        assert done.status == 130

    @pytest.mark.skipif(sys.platform != "linux", reason="asks Linux how full a pipe is")
    def test_signal_while_nobody_reads(self):
        with started("watch", "-", "--on-loop", "off") as program:
            room = pipe_room(program.stdout)
            program.stdin.write(b"no end " * (room // 7 + 1000))
            # A page that is not quite full may take nothing more: it is full when nothing comes.
            before, since = 0, time.monotonic()
            while (count := unread(program.stdout)) < room:
                assert program.poll() is None
                if count != before:
                    before, since = count, time.monotonic()
                elif count and time.monotonic() - since > 0.5:
                    break
                time.sleep(0.001)
            program.send_signal(signal.SIGTERM)
            assert program.wait(timeout=60) == 143
            assert b"outcome              closed" in program.stderr.read()


def test_a_tools_name_stays_on_its_line_and_levels_that_are_none_are_left_out(tmp_path):
    path = tmp_path / "odd.jsonl"
    with Recorder(path) as recorder:
        recorder.write(Event("tool_call", 0, 0, "{}", "rm\noutcome: fine", None, "0/0", "c"))
        recorder.write(Event("audio", 1, 1, "", None, {"level_dbfs": True, "brightness": "x"}))
        recorder.write(Event("end", 2, 2, "stop"))
    done = run("watch", path)
    assert "tool call rm\\noutcome: fine: {}" in done.err
    assert "audio" not in done.err
