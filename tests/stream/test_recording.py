"""Recordings: lossless, crash-proof, replayed to the same events."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream.chat import chunk, collect, joined, summary

from midstream._core.clock import monotonic_ns
from midstream._core.errors import ArgumentTypeError, ArgumentValueError, RecordingError
from midstream.stream.events import KINDS, Event
from midstream.stream.recording import Recorder, load, replay, shipped_recordings
from midstream.stream.watching import watch

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
events_of_any_kind = st.builds(
    Event,
    st.sampled_from(KINDS),
    st.integers(0, 2**63 - 1),
    st.integers(0, 2**63 - 1),
    st.text() | st.just("\ud83d"),
    st.none() | st.text(),
    json_values,
    st.text(),
    st.none() | st.text(),
)


def write(path, *lines, end="\n"):
    path.write_text("\n".join(lines) + end, encoding="utf-8")
    return path


HEADER = '{"midstream": 1, "created": "2026-01-01T00:00:00.000+00:00", "source": "test"}'


def line(seq, text="x"):
    return json.dumps({"seq": seq, "t_ns": seq * 1000, "kind": "text", "text": text})


def raw(t, payload):
    data = payload if isinstance(payload, str) else json.dumps(payload)
    return json.dumps({"t": t, "data": data})


@settings(deadline=None)
@given(st.lists(events_of_any_kind, max_size=5))
def test_what_is_recorded_is_replayed(tmp_path_factory, events):
    path = tmp_path_factory.mktemp("recording") / "events.jsonl"
    with Recorder(path, source="a test") as recorder:
        for event in events:
            recorder.write(event)
    assert load(path) == events
    assert asyncio.run(collect(replay(path))) == (events, None)
    header = json.loads(path.read_text().splitlines()[0])
    assert header["midstream"] == 2
    assert header["source"] == "a test"
    assert header["created"].endswith("+00:00")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ((1, 2), "data is tuple"),
        ({"a": {"b": [{1, 2}]}}, r"data\['a'\]\['b'\]\[0\] is set"),
        ({"a": b"x"}, r"data\['a'\] is bytes"),
        ({1: 2}, "a key of data is 1"),
        (object(), "data is object"),
    ],
)
def test_what_json_cannot_hold_is_refused_and_nothing_is_written(tmp_path, data, problem):
    path = tmp_path / "r.jsonl"
    with Recorder(path) as recorder:
        recorder.write(Event("text", 0, 0, "a"))
        with pytest.raises(ArgumentTypeError, match=problem):
            recorder.write(Event("text", 1, 0, "b", None, data))
        recorder.write(Event("text", 2, 0, "c"))
    assert [event.seq for event in load(path)] == [0, 2]


def test_recorder_refuses_what_is_no_event(tmp_path):
    nested = []
    nested.append(nested)
    with Recorder(tmp_path / "r.jsonl") as recorder:
        for wrong in (
            ("text", 0, 0),
            Event("speech", 0, 0),
            Event("text", 0.5, 0),
            Event("text", 0, 1.5),
            Event("text", 0, 0, b"x"),
            Event("text", 0, 0, "", 5),
            Event("text", 0, 0, "", None, None, 0),
            Event("text", 0, 0, "", None, None, "", 5),
            Event("text", 0, 0, "", None, nested),
            Event("text", -1, 0),
            Event("text", 10**5000, 0),
            Event("text", 0, -1),
            Event("text", 0, 2**63),
            Event("text", 0, 0, "", None, 10**5000),
            Event(["text"], 0, 0),
        ):
            with pytest.raises(ArgumentTypeError):
                recorder.write(wrong)
    assert load(recorder.path) == []


async def test_recorder_closes(tmp_path):
    path = tmp_path / "r.jsonl"
    async with Recorder(path) as recorder:
        recorder.write(Event("text", 0, 0))
    recorder.close()
    with pytest.raises(RecordingError, match="closed"):
        recorder.write(Event("text", 1, 0))
    with pytest.raises(RecordingError, match="No such file"):
        Recorder(tmp_path / "missing" / "r.jsonl")
    with pytest.raises(RecordingError, match="directory"):
        Recorder(tmp_path)
    with pytest.raises(ArgumentTypeError, match="source"):
        Recorder(path, source=5)
    assert len(load(path)) == 1  # refused before the file was touched


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_a_killed_process_loses_no_whole_line(tmp_path):
    path = tmp_path / "r.jsonl"
    code = (
        "import os, signal, sys\n"
        "from midstream.stream.events import Event\n"
        "from midstream.stream.recording import Recorder\n"
        "recorder = Recorder(sys.argv[1])\n"
        "for seq in range(100):\n"
        "    recorder.write(Event('text', seq, seq, 'x' * 100))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, os.fspath(path)], timeout=60, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert [event.seq for event in load(path)] == list(range(100))


async def test_raw_recordings_are_mapped_with_their_times(tmp_path):
    path = write(
        tmp_path / "raw.jsonl",
        raw(0.001, chunk("Once")),
        raw(0.25, chunk(" upon")),
        raw(0.25, "{broken"),
        json.dumps({"t": 0.3, "data": '{"message": "overloaded"}', "event": "error"}),
        json.dumps({"t": 1, "data": chunk(finish="stop")}),
        raw(1, "[DONE]"),
    )
    events, error = await collect(replay(path))
    assert error is None
    assert [(event.kind, event.t_ns, event.seq) for event in events] == [
        ("text", 1_000_000, 0),
        ("text", 250_000_000, 1),
        ("error", 250_000_000, 2),
        ("error", 300_000_000, 3),
        ("end", 1_000_000_000, 4),
    ]
    assert joined(events) == "Once upon"
    assert events == load(path)


async def test_a_raw_recording_of_a_cut_stream(tmp_path):
    path = write(tmp_path / "raw.jsonl", raw(0.5, chunk("Once")))
    events, error = await collect(replay(path))
    assert error is None
    assert events[-1].kind == "error"
    assert events[-1].t_ns == 500_000_000


@settings(deadline=None)
@given(json_values, st.sampled_from([float("nan"), float("inf"), float("-inf")]))
def test_numbers_that_json_does_not_have_become_null(tmp_path_factory, value, number):
    path = tmp_path_factory.mktemp("recording") / "events.jsonl"
    event = Event("usage", 0, 0, "", None, {"usage": {"n": number, "more": [value, number]}})
    with Recorder(path) as recorder:
        recorder.write(event)
    (found,) = load(path)
    assert found.data == {"usage": {"n": None, "more": [value, None]}}

    def refuse(name):
        raise AssertionError(name)

    for text in path.read_text().splitlines():
        json.loads(text, parse_constant=refuse)


numbers = st.one_of(
    st.integers().map(str),
    st.floats().map(json.dumps),
    st.sampled_from(
        ["1e300", "9e9", "8999999999", "1e999", "-1", "-0.0", "-1e-9", "true", "null", '"1"']
    ),
    st.integers(18, 400).map(lambda digits: "1" + "0" * digits),
    st.integers(18, 6000).map(lambda digits: "-" + "9" * digits),
)


@settings(deadline=None)
@given(st.booleans(), st.lists(st.tuples(numbers, numbers), max_size=4))
def test_any_numbers_give_events_or_an_error_that_names_its_line(tmp_path_factory, own, rows):
    path = tmp_path_factory.mktemp("recording") / "numbers.jsonl"
    if own:
        lines = [HEADER, '{"seq":0,"t_ns":0,"kind":"text","text":"good"}']
        lines += [f'{{"seq":{a},"t_ns":{b},"kind":"usage","data":{{"n":{b}}}}}' for a, b in rows]
    else:
        lines = ['{"t":0,"data":{"choices":[{"delta":{"content":"good"}}]}}']
        lines += [f'{{"t":{a},"data":{{"usage":{{"n":{b}}}}}}}' for a, b in rows]
    write(path, *lines)

    async def watched():
        guard = watch(replay(path))
        found = await collect(guard)
        report = guard.report()
        json.dumps(report.to_dict(), allow_nan=False)
        assert str(report)
        return found

    events, error = asyncio.run(watched())
    assert events[0].text == "good"  # of the same read as what is wrong
    assert events == asyncio.run(collect(replay(path)))[0]
    if error is not None:
        assert isinstance(error, RecordingError)
        good = sum(event.data is not None and event.kind != "usage" for event in events)
        place = len(events) + 2 if own else good + 1
        assert str(error).startswith(f"{path}:{place}: ")
        assert len(str(error)) < len(str(path)) + 200


GOOD = [HEADER, line(0), line(1)]


@pytest.mark.parametrize(
    ("lines", "end", "place", "cause", "count"),
    [
        ([], "", "1", "the recording is empty", 0),
        ([*GOOD, line(2)[:20]], "", "4", "cut off in the middle of this line", 2),
        ([*GOOD, line(2)[:20], line(3)], "\n", "4", "not JSON", 2),
        ([*GOOD, "", line(3)], "\n", "4", "blank", 2),
        ([*GOOD, "[1]"], "\n", "4", "not a JSON object but list", 2),
        ([*GOOD, '{"seq": 1}'], "\n", "4", "kind is None", 2),
        ([*GOOD, '{"seq": 2, "t_ns": 1, "kind": ["text"]}'], "\n", "4", "kind is", 2),
        ([*GOOD, '{"seq": "2", "t_ns": 1, "kind": "text"}'], "\n", "4", "seq must be", 2),
        ([*GOOD, '{"seq": 2, "t_ns": null, "kind": "text"}'], "\n", "4", "t_ns must be", 2),
        ([*GOOD, '{"seq": 2, "t_ns": 1, "kind": "text", "text": 1}'], "\n", "4", "text must be", 2),
        ([*GOOD, "[" * 100_000], "\n", "4", "nested too deeply", 2),
        (['{"midstream": 3}', line(0)], "\n", "1", "version 3 of the format", 0),
        (["Once upon a time"], "\n", "1", "not JSON", 0),
        ([line(0)], "\n", "1", 'neither a header ("midstream")', 0),
        ([raw(0, chunk("a")), '{"t": 1}'], "\n", "2", 'has no "data"', 1),
        ([raw(0, chunk("a")), '{"t": NaN, "data": ""}'], "\n", "2", "t must be a number", 1),
        ([raw(0, chunk("a")), '{"t": true, "data": ""}'], "\n", "2", "t must be a number", 1),
        ([raw(0, chunk("a")), '{"t": -1, "data": ""}'], "\n", "2", "t must be a number", 1),
        ([raw(0, chunk("a")), '{"t": 9e9, "data": ""}'], "\n", "2", "t must be a number", 1),
        ([*GOOD, '{"seq": 2, "t_ns": -1, "kind": "text"}'], "\n", "4", "t_ns must be", 2),
        ([*GOOD, f'{{"seq": 2, "t_ns": {2**63}, "kind": "text"}}'], "\n", "4", "t_ns must be", 2),
        ([raw(0, chunk("a")), '{"t": 1, "da'], "", "2", "cut off", 1),
    ],
)
async def test_damage_names_its_line_after_the_good_events(
    tmp_path, lines, end, place, cause, count
):
    path = write(tmp_path / "bad.jsonl", *lines, end=end)
    events, error = await collect(replay(path))
    assert isinstance(error, RecordingError)
    assert str(error).startswith(f"{path}:{place}: ")
    assert cause in str(error)
    assert len(events) == count
    with pytest.raises(RecordingError, match=f":{place}: "):
        load(path)


async def test_invalid_utf8_names_its_line(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_bytes("\n".join(GOOD).encode() + b'\n{"seq": "\xff"}\n')
    events, error = await collect(replay(path))
    assert len(events) == 2
    assert str(error).startswith(f"{path}:4: invalid UTF-8 at byte 9 of the line")


async def test_missing_files_and_directories(tmp_path):
    for path, cause in ((tmp_path / "none.jsonl", "No such file"), (tmp_path, "directory")):
        events, error = await collect(replay(path))
        assert events == []
        assert isinstance(error, RecordingError)
        assert str(path) in str(error)
        assert cause in str(error)
        with pytest.raises(RecordingError, match=cause):
            load(path)


def test_last_line_may_lack_its_end_and_a_mark_may_lead(tmp_path):
    path = write(tmp_path / "r.jsonl", *GOOD, end="")
    assert len(load(path)) == 2
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(GOOD).encode())
    assert len(load(path)) == 2
    assert load(write(path, HEADER)) == []


async def test_speed_keeps_events_and_waits(tmp_path):
    path = write(tmp_path / "r.jsonl", raw(0.0, chunk("a")), raw(0.4, chunk("b", finish="stop")))
    fast, _ = await collect(replay(path))
    before = monotonic_ns()
    paced, _ = await collect(replay(path, speed=4.0))
    assert monotonic_ns() - before >= 95_000_000
    assert paced == fast


async def test_times_that_go_back_are_not_waited_for(tmp_path):
    path = write(tmp_path / "r.jsonl", raw(0.1, chunk("a")), raw(0, chunk("b", finish="stop")))
    events, error = await collect(replay(path, speed=10.0))
    assert error is None
    assert [event.t_ns for event in events] == [100_000_000, 0, 0]


async def test_a_paced_replay_closes_while_it_waits(tmp_path):
    path = write(tmp_path / "r.jsonl", raw(0.0, chunk("a")), raw(3600, chunk("b", finish="stop")))
    async with asyncio.timeout(20):
        source = replay(path, speed=1.0)
        assert (await anext(source)).text == "a"
        reader = asyncio.create_task(collect(source))
        while source._reader is None:
            await asyncio.sleep(0)
        await source.aclose()
        assert await reader == ([], None)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await collect(replay(path, 1.0))


@pytest.mark.parametrize("speed", [0, -1, float("nan"), float("inf")])
def test_speeds_that_are_none(tmp_path, speed):
    with pytest.raises(ArgumentValueError, match="speed"):
        replay(tmp_path, speed)
    with pytest.raises(ArgumentTypeError, match="speed"):
        replay(tmp_path, "fast")


async def test_an_unfinished_replay_closes_its_file():
    async with replay(shipped_recordings()["loop-02"]) as source:
        await anext(source)
    # an open file would be reported as a ResourceWarning, which is an error here


def test_shipped_recordings():
    shipped = shipped_recordings()
    assert len(shipped) == 3
    for name, path in shipped.items():
        events = load(path)
        found = summary(events)
        assert events[-1].kind == "end"
        assert found["finish_reason"] == ("stop" if name.startswith("healthy") else "length")
        assert (found["text"].count("The end. The end. The end.") > 0) == name.startswith("loop")
    assert joined(load(shipped["loop-02"])).count('Grandma smiled and said, "Yes, I can') >= 5
    assert (next(iter(shipped.values())).parent / "README.md").is_file()


async def test_all_recorded_streams_replay(shared_data):
    labels = json.loads(shared_data("streams/stories260k/labels.json").read_text())
    for label in labels.values():
        path = shared_data("streams/stories260k/" + label["file"])
        events, error = await collect(replay(path))
        assert error is None
        assert sum(event.kind == "text" for event in events) == label["tokens"]
        times = [event.t_ns for event in events]
        assert times == sorted(times)
