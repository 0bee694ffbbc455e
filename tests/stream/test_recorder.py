"""Recorders under stress: killed, out of room, at limits, resumed, packed, redacted."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream.chat import collect
from stream.test_recording import events_of_any_kind

from midstream._core.clock import monotonic_ns
from midstream._core.errors import ArgumentTypeError, ArgumentValueError, RecordingError
from midstream.stream import Event, Finding, Recorder, Redactor, load, read_recording, replay, watch
from midstream.stream.recording.lines import finding_line

posix = pytest.mark.skipif(sys.platform == "win32", reason="no such signal or limit there")
#: Numbers that leave room for further events.
some_events = events_of_any_kind.map(lambda event: event._replace(seq=event.seq >> 3))
FOUND = Finding("loop", "warn", 1, 1000, 3, 9, "repeats", {"period": 3, "unit": "abc"})


def words(count, start=0):
    return [Event("text", seq, seq * 1000, f"word {seq} ") for seq in range(start, start + count)]


def recorded(path, events, **options):
    with Recorder(path, **options) as recorder:
        for event in events:
            recorder.write(event)
    return recorder


def recover(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return load(path, recover=True)


class TestWhole:
    def test_findings_and_the_outcome_are_kept(self, tmp_path):
        path = tmp_path / "r.jsonl"
        with Recorder(path, source="a test") as recorder:
            recorder.write(words(1)[0])
            recorder.write_finding(FOUND)
            recorder.settle("failed", "the source broke")
        found = read_recording(path)
        assert found.events == words(1)
        assert found.findings == [FOUND]
        assert (found.outcome, found.error) == ("failed", "the source broke")
        assert found.complete
        assert found.problems == ()
        assert found.source == "a test"
        assert found.created.startswith("20")

    async def test_a_watch_records_what_it_finds(self, tmp_path):
        path = tmp_path / "r.jsonl"
        with Recorder(path) as recorder:
            guard = watch(["So. ", *["I will try that again. "] * 40], recorder=recorder)
            seen, error = await collect(guard)
        assert error is None
        found = read_recording(path)
        assert found.events == seen
        assert found.findings == guard.findings
        assert found.outcome == "stopped"
        assert found.complete

    async def test_a_source_that_fails(self, tmp_path):
        path = tmp_path / "r.jsonl"

        async def broken():
            yield "Once"
            raise OSError("the cable is cut")

        with Recorder(path) as recorder:
            _, error = await collect(watch(broken(), recorder=recorder))
        assert isinstance(error, OSError)
        found = read_recording(path)
        assert (found.outcome, found.error) == ("failed", "the cable is cut")
        assert found.complete

    def test_an_exception_is_the_outcome(self, tmp_path):
        path = tmp_path / "r.jsonl"
        with pytest.raises(KeyError), Recorder(path) as recorder:
            recorder.write(words(1)[0])
            raise KeyError("secret")
        found = read_recording(path)
        assert (found.outcome, found.error, found.complete) == ("failed", "KeyError", True)

    def test_evidence_of_any_kind_is_written(self):
        odd = Finding("x", "note", 0, 0, 0, 0, "m", {"a": (1, float("nan")), "b": {2}, ("c",): 1})
        row = json.loads(finding_line(odd))["finding"]
        assert row["evidence"] == {"a": [1, None], "b": "{2}"}

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            (lambda raw: raw.replace(b"word 3", b"word 4"), "crc32"),
            (lambda raw: raw.replace(b'{"seq":2', b'\n{"seq":2', 1).replace(b"\n\n", b"\n"), None),
            (lambda raw: b"".join(raw.splitlines(True)[:3] + raw.splitlines(True)[4:]), "events"),
            (lambda raw: b"".join(raw.splitlines(True)[:-1]), None),
        ],
    )
    def test_what_was_changed_is_not_complete(self, tmp_path, change, problem):
        path = tmp_path / "r.jsonl"
        recorded(path, words(5))
        raw = path.read_bytes()
        changed = change(raw)
        path.write_bytes(changed)
        found = read_recording(path)
        assert found.complete == (changed == raw)
        if problem is not None:
            assert problem in found.problems[0]


class TestTorn:
    @settings(max_examples=60, deadline=None)
    @given(st.lists(some_events, min_size=1, max_size=4), st.data())
    def test_a_cut_at_any_byte_leaves_all_whole_events(self, tmp_path_factory, events, data):
        path = tmp_path_factory.mktemp("torn") / "r.jsonl"
        recorded(path, events)
        raw = path.read_bytes()
        cut = len(raw) * data.draw(st.integers(0, 10_000)) // 10_000
        path.write_bytes(raw[:cut])
        # A line is whole at its last brace: the line feed behind it says nothing.
        whole = sum(b'"kind"' in line for line in (raw[:cut] + b"\n").splitlines() if _json(line))
        assert recover(path) == events[:whole]
        more = Event("text", 7, 5, "more")
        with Recorder(path, append=True) as recorder:
            recorder.write(more)
        found = read_recording(path)  # without recovering
        assert found.events[:-1] == events[:whole]
        assert found.events[-1].text == "more"
        assert found.complete

    @pytest.mark.parametrize("name", ["r.jsonl", "r.jsonl.gz"])
    def test_every_single_cut(self, tmp_path, name):
        path = tmp_path / name
        events = [
            *words(3),
            Event("tool_call", 3, 9, "{}", "f\u00fc\ud83d", {"a": [1]}, "0/1", "c"),
        ]
        with Recorder(path) as recorder:
            for event in events:
                recorder.write(event)
                recorder.sync()  # a member each, where it is packed
        raw = path.read_bytes()
        before = 0
        for cut in range(len(raw) + 1):
            path.write_bytes(raw[:cut])
            kept = recover(path)
            assert kept == events[: len(kept)]
            assert len(kept) >= before
            before = len(kept)
            recorded(path, [Event("text", 0, 0, "more")], append=True)
            found = read_recording(path)
            assert found.events[:-1] == kept
            assert found.events[-1].text == "more"
            assert found.complete
        assert before == len(events)

    @pytest.mark.parametrize("tail", [b"\0" * 5000, b"\xff\xfe", b'{"seq":3,"t_ns":', b""])
    def test_what_a_lost_power_leaves_behind(self, tmp_path, tail):
        """Blocks that were given to a file, but not written."""
        path = tmp_path / "r.jsonl"
        recorded(path, words(3))
        lines = path.read_bytes().splitlines(True)[:-1]
        path.write_bytes(b"".join(lines) + tail)
        assert recover(path) == words(3)
        recorded(path, words(2, start=3), append=True)
        found = read_recording(path)
        assert found.events == words(5)
        assert found.complete

    def test_it_warns_and_says_where(self, tmp_path):
        path = tmp_path / "r.jsonl"
        recorded(path, words(3))
        path.write_bytes(b"".join(path.read_bytes().splitlines(True)[:4])[:-9])
        with pytest.warns(RuntimeWarning, match=r"left out: .*r\.jsonl:4: the recording is cut"):
            assert load(path, recover=True) == words(2)
        with pytest.raises(RecordingError, match="cut off"):
            load(path)

    async def test_bad_lines_in_the_middle_are_left_out(self, tmp_path):
        path = tmp_path / "r.jsonl"
        recorded(path, words(4))
        lines = path.read_bytes().splitlines(True)
        lines[2:3] = [b"\0" * 40 + b"\n", b'{"seq":-1,"t_ns":0,"kind":"text"}\n']
        path.write_bytes(b"".join(lines))
        with pytest.warns(RuntimeWarning, match="and 1 more"):
            assert await collect(replay(path, recover=True)) == (
                [words(4)[0], *words(2, start=2)],
                None,
            )
        with pytest.raises(RecordingError, match=r":3: "):
            Recorder(path, append=True)

    @pytest.mark.parametrize(
        "content",
        [
            b"Once upon a time\n",
            b"Once upon",
            b"{}",
            b'{"midstream": 9}\n{"x',
            b'["midstream"]\n',
            b"{}\n",
        ],
    )
    def test_what_is_no_recording_is_not_recovered(self, tmp_path, content):
        path = tmp_path / "r.jsonl"
        path.write_bytes(content)
        with pytest.raises(RecordingError):
            load(path, recover=True)
        with pytest.raises(RecordingError):
            Recorder(path, append=True)
        assert path.read_bytes() == content

    @settings(max_examples=150, deadline=None)
    @given(st.data())
    def test_any_bytes_give_events_or_a_recording_error(self, tmp_path_factory, data):
        path = tmp_path_factory.mktemp("fuzz") / "r.jsonl"
        recorded(path, words(3))
        raw = bytearray(path.read_bytes())
        if data.draw(st.booleans()):
            raw = bytearray(gzip.compress(bytes(raw)))
        for _ in range(data.draw(st.integers(1, 4))):
            at = len(raw) * data.draw(st.integers(0, 10_000)) // 10_000
            raw[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
        path.write_bytes(bytes(raw))
        for again in (False, True):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", RuntimeWarning)
                    found = read_recording(path, recover=again)
            except RecordingError:
                continue
            assert all(isinstance(event, Event) for event in found.events)


def _json(line):
    try:
        return bool(json.loads(line))
    except ValueError:
        return False


class TestResume:
    def test_numbers_and_times_go_on(self, tmp_path):
        path = tmp_path / "r.jsonl"
        recorded(path, words(3), source="first")
        with Recorder(path, append=True, source="second") as recorder:
            assert recorder.next_seq == 3
            for event in words(2):
                recorder.write(event)
            recorder.write_finding(FOUND)
        found = read_recording(path)
        assert [event.seq for event in found.events] == [0, 1, 2, 3, 4]
        assert [event.t_ns for event in found.events] == [0, 1000, 2000, 2000, 3000]
        assert (found.findings[0].seq, found.findings[0].t_ns) == (4, 3000)
        assert found.complete
        assert found.source == "first"

    def test_what_goes_on_by_itself_stays_as_it_is(self, tmp_path):
        path = tmp_path / "r.jsonl"
        recorded(path, words(3))
        recorded(path, words(3, start=3), append=True)
        assert load(path) == words(6)

    def test_a_file_that_is_not_there_is_made(self, tmp_path):
        path = tmp_path / "r.jsonl"
        recorded(path, words(2), append=True)
        path.write_bytes(path.read_bytes()[:20])  # torn in its header
        recorded(path, words(2), append=True)
        assert load(path) == words(2)

    def test_version_1_is_resumed(self, tmp_path):
        path = tmp_path / "r.jsonl"
        path.write_text('{"midstream": 1, "source": "old"}\n{"seq":0,"t_ns":0,"kind":"text"}\n')
        recorded(path, [Event("text", 0, 5, "new")], append=True)
        found = read_recording(path)
        assert [event.text for event in found.events] == ["", "new"]
        assert found.complete

    def test_raw_lines_are_not(self, tmp_path):
        path = tmp_path / "r.jsonl"
        path.write_text('{"t": 0, "data": "x"}\n')
        with pytest.raises(RecordingError, match="only what a Recorder wrote"):
            Recorder(path, append=True)

    def test_two_recorders_do_not_share_a_file(self, tmp_path):
        path = tmp_path / "r.jsonl"
        with Recorder(path) as recorder:
            recorder.write(words(1)[0])
            for append in (False, True):
                with pytest.raises(RecordingError, match="another recorder"):
                    Recorder(path, append=append)
            recorder.write(words(2)[1])
        assert load(path) == words(2)
        recorded(path, words(1))  # free again

    def test_nor_do_processes(self, tmp_path):
        path = tmp_path / "r.jsonl"
        code = "import sys; from midstream.stream import Recorder; Recorder(sys.argv[1])"
        with Recorder(path) as recorder:
            recorder.write(words(1)[0])
            done = subprocess.run(
                [sys.executable, "-P", "-c", code, path],
                capture_output=True,
                timeout=60,
                check=False,
            )
        assert b"another recorder has it open" in done.stderr
        assert load(path) == words(1)

    @settings(max_examples=40, deadline=None)
    @given(
        st.lists(some_events, max_size=4),
        st.lists(some_events, max_size=4),
        st.booleans(),
        st.data(),
    )
    def test_packed_or_not(self, tmp_path_factory, first, second, packed, data):
        name = "r.jsonl.gz" if packed else "r.jsonl"
        path = tmp_path_factory.mktemp("resumed") / name
        recorded(path, first)
        raw = path.read_bytes()
        cut = len(raw) * data.draw(st.integers(0, 10_000)) // 10_000
        path.write_bytes(raw[:cut])
        kept = recover(path)
        assert kept == first[: len(kept)]
        recorder = recorded(path, second, append=True)
        found = read_recording(path)
        assert found.complete
        assert found.events[: len(kept)] == kept
        assert [event.text for event in found.events[len(kept) :]] == [e.text for e in second]
        assert recorder.next_seq == (found.events[-1].seq + 1 if found.events else 0)


CHILD = """
import os, sys, time
from midstream.stream import Event, Recorder
recorder = Recorder(sys.argv[1])
seq = 0
while True:
    recorder.write(Event("text", seq, seq, "x" * 50))
    seq += 1
    os.write(1, b"%d\\n" % seq)
    time.sleep(0.001)
"""


@posix
class TestKilled:
    @pytest.mark.parametrize("name", ["r.jsonl", "r.jsonl.gz"])
    def test_everything_up_to_the_last_second_is_readable(self, tmp_path, name):
        path = tmp_path / name
        child = subprocess.Popen([sys.executable, "-P", "-c", CHILD, path], stdout=subprocess.PIPE)
        said = []
        try:
            for line in child.stdout:
                said.append((time.monotonic(), int(line)))
                if said[-1][0] - said[0][0] > 1.5:
                    break
            child.send_signal(signal.SIGKILL)
            killed = time.monotonic()
            said += [(killed, int(line)) for line in child.stdout if line.endswith(b"\n")]
        finally:
            child.kill()
            child.wait(20)
            child.stdout.close()
        kept = recover(path)
        assert [event.seq for event in kept] == list(range(len(kept)))
        if name.endswith(".gz"):
            before = [count for when, count in said if when < killed - 1.0]
            assert len(kept) >= before[-1]
        else:
            assert len(kept) >= said[-1][1]
        recorded(path, words(2), append=True)
        found = read_recording(path)
        assert found.complete
        assert len(found.events) == len(kept) + 2

    def test_disk_full(self, tmp_path):
        """The real thing, by a limit that the system puts on files of the process."""
        code = (
            "import asyncio, resource, sys\n"
            "from midstream.stream import Event, Recorder, watch\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
            "async def main():\n"
            "    with Recorder(sys.argv[1], on_error=sys.argv[2]) as recorder:\n"
            "        items = [Event('text', n, n, f'word {n} ') for n in range(1000)]\n"
            "        guard = watch(items, detectors=(), recorder=recorder)\n"
            "        try:\n"
            "            count = [1 async for _ in guard]\n"
            "        finally:\n"
            "            report = guard.report()\n"
            "            print(report.outcome, recorder.lost, report.remarks)\n"
            "        print(len(count))\n"
            "asyncio.run(main())\n"
        )

        def run(name, on_error):
            return subprocess.run(
                # -B: Python would keep of its own modules what fits, and import that next time.
                [sys.executable, "-P", "-B", "-c", code, tmp_path / name, on_error],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )

        done = run("r.jsonl", "drop")
        first, second = done.stdout.splitlines()
        outcome, lost, remark = first.split(maxsplit=2)
        assert outcome == "ended", done.stderr
        assert second == "1000"
        assert remark.count("recording: ") == 1
        assert "File too large" in remark
        kept = load(tmp_path / "r.jsonl")  # whole lines only
        assert len(kept) == 1000 - int(lost) > 100
        done = run("s.jsonl", "raise")
        assert "RecordingError" in done.stderr
        assert done.stdout.startswith("failed ")
        assert load(tmp_path / "s.jsonl") == kept


class TestFull:
    def test_what_is_missing_is_told_at_its_place(self, tmp_path, monkeypatch):
        path = tmp_path / "r.jsonl"
        events = words(6)
        with Recorder(path) as recorder:
            recorder.write(events[0])
            real = recorder._file.write
            file = _Full(recorder._file)
            recorder._file = file
            for event in events[1:3]:
                recorder.write(event)
            assert recorder.lost == 2
            assert "No space left" in str(recorder.failure)
            assert len(recorder.remarks) == 1
            recorder._file = file.real
            recorder.write(events[3])  # too soon for another try
            assert recorder.lost == 3
            recorder._retry_ns = monotonic_ns()
            recorder.write(events[4])
            recorder.write(events[5])
            assert real is not None
        found = read_recording(path)
        assert found.events == [events[0], *events[4:]]
        assert found.lost == 3
        assert found.complete
        assert b'{"lost":{"events":3,"findings":0' in path.read_bytes()

    def test_a_header_that_cannot_be_written_is_an_error(self):
        if not Path("/dev/full").exists():
            pytest.skip("no /dev/full here")
        with pytest.raises(RecordingError, match="/dev/full: No space left"):
            Recorder("/dev/full")

    @pytest.mark.skipif(os.name != "posix", reason="no tmpfs there")
    def test_a_small_disk(self, tmp_path):
        mount = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "none", tmp_path],
            capture_output=True,
            text=True,
            check=False,
        )
        if mount.returncode:
            pytest.skip(f"cannot mount a small disk: {mount.stderr.strip()}")
        try:
            filler = tmp_path / "filler"
            filler.write_bytes(b"x" * 40_000)
            path = tmp_path / "r.jsonl"
            with Recorder(path, sync_s=0.1) as recorder:
                for event in words(1000):
                    recorder.write(event)
                assert "No space left" in str(recorder.failure)
                filler.unlink()
                recorder._retry_ns = monotonic_ns()
                recorder.write(Event("text", 1000, 0, "again"))
            found = read_recording(path)
            assert found.complete
            assert found.events[-1].text == "again"
            assert found.lost == 1001 - len(found.events)
        finally:
            subprocess.run(["umount", tmp_path], check=True)


class _Full:
    """A file that is full: it takes half a line, then nothing."""

    def __init__(self, real):
        self.real = real
        self.first = True

    def write(self, data):
        if self.first:
            self.first = False
            return self.real.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    def __getattr__(self, name):
        return getattr(self.real, name)


class TestLimits:
    @pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
    def test_a_limit_ends_the_recording_not_the_stream(self, tmp_path, ending):
        path = tmp_path / f"r{ending}"
        events = [Event("text", seq, seq, "x" * 2000) for seq in range(300)]
        recorder = recorded(path, events, max_bytes=100_000)
        found = read_recording(path)
        assert found.events == events[: len(found.events)]
        assert recorder.lost == found.lost == 300 - len(found.events)
        assert found.complete
        assert found.problems == ()
        assert "limit of 100,000 bytes" in recorder.remarks[0]
        with gzip.open(path) if ending.endswith("gz") else path.open("rb") as file:
            assert 90_000 < len(file.read()) <= 100_000
        with pytest.raises(RecordingError, match="limit of"):
            recorded(path, events, max_bytes=100_000, on_error="raise")

    @pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
    def test_parts_are_one_recording(self, tmp_path, ending):
        path = tmp_path / f"r{ending}"
        events = [Event("text", seq, seq, "x" * 2000) for seq in range(60)]
        recorder = recorded(path, events, max_bytes=20_000, max_files=100)
        parts = sorted(tmp_path.iterdir())
        assert len(parts) > 4
        assert path in parts
        assert recorder.path.name == f"r.{len(parts)}{ending}"
        found = read_recording(path)
        assert found.events == events
        assert asyncio.run(collect(replay(path))) == (events, None)
        assert found.complete
        assert found.problems == ()
        for part in parts:
            assert read_recording(part).complete
        recorded(path, words(1), append=True)  # goes on in the last part
        found = read_recording(path)
        assert len(found.events) == 61
        assert found.complete
        recorder.path.unlink()
        found = read_recording(path)
        assert found.events == events[: len(found.events)]
        assert not found.complete

    def test_what_is_wrong_with_a_part_is_told_of_its_file(self, tmp_path):
        for name in ("a.jsonl", "b.jsonl"):
            events = [Event("text", seq, seq, "x" * 2000) for seq in range(30)]
            recorded(tmp_path / name, events, max_bytes=20_000, max_files=100)
        (tmp_path / "b.2.jsonl").replace(tmp_path / "a.2.jsonl")
        with pytest.raises(RecordingError, match=r"a\.2\.jsonl:1: another recording begins here"):
            load(tmp_path / "a.jsonl")
        lines = (tmp_path / "a.3.jsonl").read_bytes().splitlines(True)
        (tmp_path / "b.2.jsonl").write_bytes(lines[0] + b"{\n")
        with pytest.raises(RecordingError, match=r"b\.2\.jsonl:1: another"):
            load(tmp_path / "b.jsonl")

    @settings(max_examples=40, deadline=None)
    @given(
        st.lists(st.integers(0, 6000), max_size=25),
        st.sampled_from(["r.jsonl", "r.jsonl.gz"]),
        st.sampled_from([4096, 8000, 20_000]),
        st.integers(0, 25),
        st.booleans(),
    )
    def test_any_sizes_in_parts(self, tmp_path_factory, sizes, name, limit, resumed_at, redacted):
        path = tmp_path_factory.mktemp("parts") / name
        events = [Event("text", seq, seq, "x" * size) for seq, size in enumerate(sizes)]
        options = {"max_bytes": limit, "max_files": 99}
        if redacted:
            options["redactor"] = _Hide
        recorded(path, events[:resumed_at], **options)
        if resumed_at < len(events):
            with Recorder(path, append=True, **options) as recorder:
                for event in events[resumed_at:]:
                    recorder.write(event)
                recorder.write_finding(FOUND)
            assert recorder.lost == 0
        found = read_recording(path)
        assert found.events == events
        assert found.complete
        assert len(found.findings) == (resumed_at < len(events))
        for part in path.parent.iterdir():
            raw = part.read_bytes()
            size = len(gzip.decompress(raw) if name.endswith("gz") else raw)
            assert size <= limit or raw.count(b"kind") <= 1 or name.endswith("gz")

    @pytest.mark.parametrize("size", range(2800, 3900, 50))
    def test_a_part_without_room_is_resumed(self, tmp_path, size):
        path = tmp_path / "r.jsonl"
        events = [Event("text", 0, 0, "x" * size), *words(40)]
        events = [event._replace(seq=seq, t_ns=seq) for seq, event in enumerate(events)]
        recorded(path, events[:1], max_bytes=4096, max_files=9)
        for event in events[1:]:
            recorded(path, [event], append=True, max_bytes=4096, max_files=9)
        found = read_recording(path)
        assert found.events == events
        assert found.complete

    def test_the_oldest_parts_go(self, tmp_path):
        path = tmp_path / "r.jsonl"
        events = [Event("text", seq, seq, "x" * 2000) for seq in range(60)]
        recorder = recorded(path, events, max_bytes=20_000, max_files=2)
        left = sorted(tmp_path.iterdir())
        assert len(left) == 2
        assert recorder.path in left
        assert recorder.lost == 0
        assert load(min(left, key=lambda part: part.stat().st_mtime_ns))[-1] == events[-1]

    def test_another_file_in_place_of_a_part_is_refused(self, tmp_path):
        path = tmp_path / "r.jsonl"
        events = [Event("text", seq, seq, "x" * 2000) for seq in range(12)]
        recorded(path, events, max_bytes=20_000, max_files=9)
        recorded(tmp_path / "r.2.jsonl", words(3))
        with pytest.raises(RecordingError, match="another recording begins here"):
            load(path)

    def test_options_that_cannot_be_used(self, tmp_path):
        path = tmp_path / "r.jsonl"
        for options, error in (
            ({"max_bytes": 10}, ArgumentValueError),
            ({"max_bytes": "10"}, ArgumentTypeError),
            ({"max_files": 2}, ArgumentValueError),
            ({"max_files": 0, "max_bytes": 9999}, ArgumentValueError),
            ({"on_error": "ignore"}, ArgumentValueError),
            ({"sync_s": 0.001}, ArgumentValueError),
            ({"redactor": "secret"}, ArgumentTypeError),
        ):
            with pytest.raises(error):
                Recorder(path, **options)
        assert not path.exists()


class TestPacked:
    def test_it_is_gzip(self, tmp_path):
        path = tmp_path / "r.jsonl.gz"
        recorded(path, words(5000))
        with gzip.open(path, "rt") as file:
            assert json.loads(next(file))["midstream"] == 2
        assert load(path) == words(5000)
        assert path.stat().st_size < 5000 * 15

    def test_what_waits_is_written_though_nothing_comes(self, tmp_path):
        path = tmp_path / "r.jsonl.gz"
        with Recorder(path) as recorder:
            recorder.write(words(1)[0])
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline and not load(path):
                time.sleep(0.05)
            assert load(path) == words(1)

    def test_any_ending_is_unpacked(self, tmp_path):
        path = tmp_path / "r.jsonl"
        recorded(path, words(3))
        path.write_bytes(gzip.compress(path.read_bytes()))
        assert load(path) == words(3)
        assert read_recording(path).complete

    def test_a_bomb_is_cut_off_by_the_line_limit(self, tmp_path):
        path = tmp_path / "r.jsonl"
        path.write_bytes(gzip.compress(b"x" * (80 << 20)))
        with pytest.raises(RecordingError, match="longer than"):
            load(path)


class TestBeside:
    def test_the_disk_is_made_to_take_it(self, tmp_path, monkeypatch):
        synced = threading.Event()
        monkeypatch.setattr("midstream.stream.recording.writing.sync", lambda fd: synced.set())
        with Recorder(tmp_path / "r.jsonl", sync_s=0.1) as recorder:
            recorder.write(words(1)[0])
            assert synced.wait(20)

    def test_threads_may_share_a_recorder(self, tmp_path):
        path = tmp_path / "r.jsonl.gz"
        with Recorder(path, sync_s=0.1) as recorder:

            def write(number):
                for seq in range(200):
                    recorder.write(Event("text", seq, 0, "x", None, None, str(number)))

            threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
        found = read_recording(path)
        assert found.complete
        for number in range(8):
            own = [event.seq for event in found.events if event.stream_id == str(number)]
            assert own == list(range(200))

    def test_a_clock_that_is_set_changes_nothing(self, tmp_path, monkeypatch):
        path = tmp_path / "r.jsonl"
        recorder = Recorder(path)
        jumps = iter([1e9, 2e9, -5.0, 4e9, 0.0])
        monkeypatch.setattr(time, "time", lambda: next(jumps))
        with recorder:
            for event in words(4):
                recorder.write(event)
        assert load(path) == words(4)


class _Hide:
    """Replaces SECRET, holding back what may become it."""

    word = "SECRET"

    def __init__(self):
        self.held = ""

    def feed(self, text):
        text = (self.held + text).replace(self.word, "[hidden]")
        keep = max(n for n in range(len(self.word)) if self.word.startswith(text[len(text) - n :]))
        self.held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def finish(self):
        rest, self.held = self.held, ""
        return rest


class TestRedacted:
    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.sampled_from(["", "0", "1"]))
    def test_no_secret_reaches_the_disk(self, tmp_path_factory, sizes, stream_id):
        path = tmp_path_factory.mktemp("redacted") / "r.jsonl"
        text = "the SECRET is SECRETSE"
        pieces, at = [], 0
        while at < len(text):
            size = sizes[len(pieces) % len(sizes)]
            pieces.append(text[at : at + size])
            at += size
        with Recorder(path, redactor=_Hide, source="http://SECRET@host") as recorder:
            for seq, piece in enumerate(pieces):
                data = {"choices": [{"delta": {"content": piece}}], "id": "SECRET-1"}
                recorder.write(Event("text", seq, seq, piece, None, data, stream_id))
                arguments = {"SECRET": [piece, "SECRET", {"n": 5}]}
                recorder.write(
                    Event(
                        "tool_call",
                        seq,
                        seq,
                        piece,
                        "SECRET",
                        arguments,
                        f"{stream_id}/1",
                        "SECRET",
                    )
                )
            recorder.write_finding(
                Finding("loop", "warn", 0, 0, 0, 0, "says SECRET", {"unit": "ECRET", "x": "SECRET"})
            )
            recorder.write(Event("tool_result", 90, 90, "it is SECRET", "SECRET"))
            recorder.write(Event("error", 91, 91, "SECRET is wrong"))
            recorder.settle("failed", "SECRET")
        raw = path.read_bytes()
        assert b"SECRET" not in raw.replace(b"SECRETSE", b"")
        found = read_recording(path)
        assert found.complete
        assert found.header["redacted"] is True
        assert [event.seq for event in found.events] == list(range(len(found.events)))
        for kind in ("text", "tool_call"):
            told = "".join(event.text for event in found.events if event.kind == kind)
            assert told == "the [hidden] is [hidden]SE"
        assert found.findings[0].evidence == {"x": "[hidden]"}
        halves = [json.dumps(event.data) for event in found.events if event.data]
        assert "SECR" not in "".join(halves)

    @pytest.mark.parametrize("method", ["feed", "finish"])
    @pytest.mark.parametrize("fault", ["raises", "no text"])
    async def test_nothing_goes_past_a_redactor_that_fails(self, tmp_path, method, fault):
        class Faulty(_Hide):
            def feed(self, text):
                return self._fail() if method == "feed" and "upon" in text else super().feed(text)

            def finish(self):
                return self._fail() if method == "finish" and self.held else super().finish()

            def _fail(self):
                if fault == "raises":
                    raise LookupError("what to do with SECRET")

        words = ["Once ", "upon ", "a ", "time SEC"]
        path = tmp_path / "r.jsonl"
        recorder = Recorder(path, redactor=Faulty)
        guard = watch(words, recorder=recorder)
        assert [event.text async for event in guard] == words  # the stream goes on
        recorder.write_finding(Finding("loop", "warn", 0, 0, 0, 0, "SECRET"))
        recorder.settle("ended", "SECRET")
        recorder.close()
        kept = ["Once "] if method == "feed" else ["Once ", "upon ", "a ", "time "]
        found = read_recording(path)
        assert [event.text for event in found.events] == kept
        assert found.lost == recorder.lost == (3 if method == "feed" else 1)
        assert b"SECRET" not in path.read_bytes()
        error = "LookupError" if fault == "raises" else "TypeError"
        assert "the redactor failed with " in str(recorder.failure)
        assert error in str(recorder.failure)
        if method == "feed":
            assert guard.report().remarks == tuple(recorder.remarks)

    def test_a_redactor_that_fails_is_an_error_where_that_is_wanted(self, tmp_path):
        class Faulty(_Hide):
            def feed(self, text):
                if "upon" in text:
                    raise LookupError
                return text

        recorder = Recorder(tmp_path / "r.jsonl", redactor=Faulty, on_error="raise")
        recorder.write(Event("text", 0, 0, "Once"))
        with pytest.raises(RecordingError, match="the redactor failed with LookupError"):
            recorder.write(Event("text", 1, 0, " upon"))
        assert recorder.closed
        assert [event.text for event in load(tmp_path / "r.jsonl")] == ["Once"]

    @pytest.mark.parametrize("made", [None, object(), "Redactor"])
    def test_what_cannot_redact_is_told_before_there_is_a_file(self, tmp_path, made):
        with pytest.raises(ArgumentTypeError, match="redactor must make what has feed and finish"):
            Recorder(tmp_path / "r.jsonl", redactor=lambda: made)
        assert not (tmp_path / "r.jsonl").exists()

    def test_the_end_of_a_text_comes_before_its_end(self, tmp_path):
        path = tmp_path / "r.jsonl"
        with Recorder(path, redactor=_Hide) as recorder:
            recorder.write(Event("text", 0, 5, "so SEC", None, None, "0"))
            recorder.write(Event("text", 1, 6, "then SE", None, None, "1"))
            recorder.write(Event("end", 2, 7, "stop", None, None, "0"))
            recorder.write(Event("end", 3, 8, "stop", None, None, "1"))
        told = [(event.kind, event.text, event.stream_id) for event in load(path)]
        assert told == [
            ("text", "so ", "0"),
            ("text", "then ", "1"),
            ("text", "SEC", "0"),
            ("end", "stop", "0"),
            ("text", "SE", "1"),
            ("end", "stop", "1"),
        ]

    @settings(max_examples=60, deadline=None)
    @given(
        st.sampled_from(["text", "reasoning", "tool_call", "audio"]),
        st.lists(st.integers(1, 30), min_size=1, max_size=6),
        st.sampled_from(["r.jsonl", "r.jsonl.gz"]),
    )
    def test_no_part_of_a_real_secret(self, tmp_path_factory, kind, sizes, name):
        """Keys cut anywhere, in texts and in the payloads that carry them: not a third of one."""
        secrets = [
            "sk-ant-" + "a1B2c3D4e5F6g7H8" * 2,
            "AKIAIOSFODNN7EXAMPLE",
            "ghp_" + "Zz09Yy18Xx27" * 3,
            "ann.secretary@example.org",
        ]
        text = "Keys: " + " and ".join(secrets) + ". Done"
        path = tmp_path_factory.mktemp("secret") / name
        with Recorder(path, redactor=Redactor) as recorder:
            at = seq = 0
            while at < len(text):
                piece = text[at : at + sizes[seq % len(sizes)]]
                payloads = {
                    "text": {"choices": [{"index": 0, "delta": {"content": piece}}]},
                    "reasoning": {"type": "thinking_delta", "delta": {"thinking": piece}},
                    "tool_call": {"type": "x.delta", "item_id": "i1", "delta": piece},
                    "audio": [piece, {"transcript": [piece]}],
                }
                recorder.write(Event(kind, seq, seq, piece, None, payloads[kind], "0"))
                at += len(piece)
                seq += 1
            whole = {"type": "response.completed", "output": [{"text": text}], "user": secrets}
            recorder.write(Event("text", seq, seq, "", None, whole))
            recorder.write(Event("tool_result", seq + 1, seq, text, "mail", {"text": text}))
            recorder.write(Event("error", seq + 2, seq, f"bad key {secrets[0]}"))
            recorder.write_finding(
                Finding("loop", "warn", 0, 0, 0, 1, f"says {secrets[1]}", {"unit": secrets[2][:12]})
            )
            recorder.settle("failed", f"no {secrets[0]}")
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if name.endswith("gz") else raw
        for secret in secrets:
            third = len(secret) // 3
            for start in range(3, len(secret) - third):
                assert secret[start : start + third].encode() not in raw
        told = "".join(event.text for event in load(path) if event.kind == kind)
        assert told.startswith("Keys: [redacted:anthropic-key] and [redacted:aws-key-id] and ")
        assert told.endswith(". Done")


@pytest.mark.skipif(sys.platform == "win32", reason="no modes there")
def test_a_new_recording_is_its_owners_alone(tmp_path):
    path = tmp_path / "run.jsonl"
    old = os.umask(0)
    try:
        Recorder(path).close()
        assert path.stat().st_mode & 0o777 == 0o600
        path.chmod(0o640)
        Recorder(path, append=True).close()
        assert path.stat().st_mode & 0o777 == 0o640  # what its owner has made of it stays
    finally:
        os.umask(old)
