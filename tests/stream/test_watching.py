"""watch: pass everything on, find, stop, report, whatever the source is and does."""

from __future__ import annotations

import asyncio
import gc
import json

import pytest
from stream.chat import chunk, sse
from stream.server import Server

from midstream._core.errors import EndpointError, RecordingError
from midstream.stream import (
    Event,
    Finding,
    LoopDetector,
    Recorder,
    StallDetector,
    from_http,
    load,
    replay,
    shipped_recordings,
    watch,
)

AGAIN = "I will try that once more. "


@pytest.fixture(autouse=True)
async def no_test_hangs():
    async with asyncio.timeout(30):
        yield


async def through(guard) -> list[Event]:
    return [event async for event in guard]


async def test_events_pass_untouched_and_in_order() -> None:
    events = load(shipped_recordings()["healthy-03"])
    guard = watch(events)
    passed = await through(guard)
    assert [id(event) for event in passed] == [id(event) for event in events]
    report = guard.report()
    assert (report.outcome, report.findings, report.stopped) == ("ended", (), None)
    assert report.metrics["events"] == len(events)
    assert report.metrics["chars"] == sum(
        len(event.text) for event in events if event.kind == "text"
    )


async def test_a_loop_ends_the_iteration_at_the_event_that_decides_it() -> None:
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield AGAIN

    guard = watch(endless())
    passed = await through(guard)
    assert guard.stopped is not None
    assert len(passed) == taken == guard.stopped.seq + 1
    report = guard.report()
    assert report.outcome == "stopped"
    assert report.stopped is guard.stopped
    assert report.worst == "stop"
    assert 0 < report.wasted_tokens < report.tokens
    assert await through(guard) == []


async def test_stop_closes_a_real_upstream_at_once() -> None:
    sent = 0

    async def babble(exchange):
        nonlocal sent
        await exchange.chunked()
        while sent < 100_000:
            await exchange.chunk(sse(chunk(AGAIN), done=False))
            sent += 1

    async with Server(babble) as server:
        guard = watch(from_http(server.url, prompt="Go on"))
        passed = await through(guard)
        await server.gone.wait()
    assert guard.stopped is not None
    assert passed[-1].seq == guard.stopped.seq
    assert guard.report().outcome == "stopped"
    assert sent < 100_000


async def test_bytes_cut_anywhere_give_the_same_findings() -> None:
    body = ("Enough — genug. " + "Noch einmal, schön der Reihe nach 🙂. " * 30).encode()
    found = []
    for size in (1, 2, 3, 7, 1000, len(body)):
        guard = watch([body[i : i + size] for i in range(0, len(body), size)])
        await through(guard)
        found.append(
            [(f.kind, f.severity, f.start, f.end, dict(f.evidence)) for f in guard.findings]
        )
    assert found[0]
    assert all(findings == found[0] for findings in found)


async def test_findings_are_told_at_once() -> None:
    told = []
    guard = watch([AGAIN] * 40, on_finding=lambda finding: told.append(finding.severity))
    seen = [len(told) async for _ in guard]
    assert told == ["warn", "stop"]
    assert seen[guard.findings[0].seq] == 1
    assert seen[guard.findings[0].seq - 1] == 0


async def test_what_only_the_end_decides_is_found_at_the_end() -> None:
    guard = watch(["tick tock tick tock tick tock tick tock tick tock"], detectors=[LoopDetector()])
    await through(guard)
    report = guard.report()
    assert report.outcome == "ended"
    assert [finding.kind for finding in report.findings] == ["loop"]


async def test_record_and_replay_find_the_same(tmp_path) -> None:
    path = tmp_path / "stream.jsonl"
    with Recorder(path) as recorder:
        first = watch(["So. ", *[AGAIN] * 40], recorder=recorder)
        passed = await through(first)
    again = watch(replay(path))
    assert await through(again) == passed
    assert again.findings == first.findings
    paced = watch(replay(path, speed=1000.0))
    await through(paced)
    assert paced.findings == first.findings


async def test_detectors_are_the_callers_choice() -> None:
    class Shouting:
        """A detector of somebody else's."""

        def __init__(self):
            self.seen = 0

        def observe(self, event, gap_ns):
            self.seen += event.text.isupper()
            return ()

        def finish(self):
            return ()

    shouting = Shouting()
    guard = watch(["hello ", "HELLO ", *[AGAIN] * 40], detectors=[shouting])
    assert len(await through(guard)) == 42
    assert (shouting.seen, guard.findings, guard.report().tokens) == (1, [], None)
    with pytest.raises(TypeError, match="detectors must have observe and finish, got str"):
        watch([], detectors=["loop"])
    for arguments, message in [
        ({"source": 3}, "source must be iterable or async iterable, got int"),
        ({"detectors": LoopDetector()}, "detectors must be an iterable of detectors"),
        ({"detectors": [LoopDetector]}, "detectors must have observe and finish, got <class"),
        ({"recorder": "x.jsonl"}, "recorder must be a Recorder, got str"),
        ({"on_finding": 5}, "on_finding must be callable, got 5"),
        ({"on_finding": through}, "on_finding must be a plain function, got the coroutine"),
    ]:
        with pytest.raises(TypeError, match=message):
            watch(**({"source": []} | arguments))


async def test_a_detector_belongs_to_one_stream() -> None:
    for detector in (LoopDetector(), StallDetector()):
        await through(watch(["Once"], detectors=[detector]))
        with pytest.raises(ValueError, match="has seen another stream; make a new one"):
            watch(["Twice"], detectors=[detector])


async def test_a_broken_source_is_reported_after_all_that_came(tmp_path) -> None:
    good = shipped_recordings()["healthy-03"].read_bytes().splitlines(keepends=True)
    path = tmp_path / "cut.jsonl"
    path.write_bytes(b"".join(good[:20]) + good[20][:30])
    guard = watch(replay(path))
    passed = []
    with pytest.raises(RecordingError, match="cut off"):
        async for event in guard:
            passed.append(event)  # noqa: PERF401 - kept though the loop raises
    report = guard.report()
    assert len(passed) == 20
    assert report.outcome == "failed"
    assert report.error.startswith(f"{path}:21: ")
    assert await through(guard) == []


async def test_a_failing_endpoint_is_reported() -> None:
    async def refuse(exchange):
        await exchange.head("401 Unauthorized", "Content-Type: application/json")
        await exchange.send(b'{"error": {"message": "no such key"}}')

    async with Server(refuse) as server:
        guard = watch(from_http(server.url, prompt="Hi"))
        with pytest.raises(EndpointError, match="401"):
            await through(guard)
    assert "no such key" in guard.report().error


async def test_errors_inside_the_stream_are_listed() -> None:
    guard = watch([Event("text", 0, 0, "a"), Event("error", 1, 1, "overloaded"), "b"])
    assert len(await through(guard)) == 3
    assert guard.report().errors == ("overloaded",)


async def test_what_a_callback_raises_comes_out_and_closes_the_source() -> None:
    closed = asyncio.Event()

    async def upstream():
        try:
            while True:
                yield AGAIN
        finally:
            closed.set()

    def refuse(finding):
        raise LookupError("nobody is here")

    guard = watch(upstream(), on_finding=refuse)
    with pytest.raises(LookupError):
        await through(guard)
    await closed.wait()
    assert guard.report().outcome == "failed"


async def silent(lead: int):
    """`lead` quick words, then nothing for ever."""
    for word in range(lead):
        yield f"word{word} "
    await asyncio.Event().wait()


async def test_a_live_stall_is_told_while_it_lasts_and_can_stop() -> None:
    guard = watch(silent(64), detectors=[StallDetector("stop", min_s=0.5)])
    assert len(await through(guard)) == 64
    assert guard.stopped is not None
    assert guard.stopped.kind == "stall"
    assert guard.report().outcome == "stopped"


async def test_a_live_stall_that_only_warns_leaves_the_stream_alone() -> None:
    go_on = asyncio.Event()

    async def upstream():
        for word in range(64):
            yield f"word{word} "
        await go_on.wait()
        yield "at last"

    guard = watch(
        upstream(),
        detectors=[StallDetector(min_s=0.5)],
        on_finding=lambda finding: go_on.set(),
    )
    passed = await through(guard)
    assert passed[-1].text == "at last"
    assert [finding.kind for finding in guard.findings] == ["stall"]


async def test_a_stall_before_the_first_chunk() -> None:
    guard = watch(silent(0), detectors=[StallDetector("stop", first_s=0.05)])
    assert await through(guard) == []
    assert guard.stopped.message == "no chunk for 0.1 s; none came yet"


async def test_what_a_callback_raises_during_a_stall_comes_out() -> None:
    def refuse(finding):
        raise LookupError("nobody is here")

    guard = watch(silent(64), detectors=[StallDetector(min_s=0.5)], on_finding=refuse)
    with pytest.raises(LookupError):
        await through(guard)
    assert guard.report().outcome == "failed"


async def test_a_slow_caller_is_no_stall() -> None:
    async def upstream():
        for word in range(64):
            yield f"word{word} "

    guard = watch(upstream(), detectors=[StallDetector(min_s=0.5, factor=1)])
    async for event in guard:
        if event.seq == 50:
            await asyncio.sleep(0.6)
    assert guard.findings == []


async def test_cancelling_the_reader_closes() -> None:
    guard = watch(silent(3))
    ready = asyncio.Event()

    async def read():
        async for event in guard:
            if event.seq == 2:
                ready.set()

    reader = asyncio.create_task(read())
    await ready.wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert guard.report().outcome == "closed"


async def test_closing_twice_and_leaving_early() -> None:
    async with watch(silent(3)) as guard:
        await anext(guard)
    await guard.aclose()
    assert guard.report().outcome == "closed"
    assert await through(guard) == []


async def test_closing_from_another_task_is_closing() -> None:
    guard = watch(silent(3))
    ready = asyncio.Event()

    async def read():
        async for event in guard:
            if event.seq == 2:
                ready.set()

    reader = asyncio.create_task(read())
    await ready.wait()
    await guard.aclose()
    await reader
    assert guard.report().outcome == "closed"


async def test_a_source_that_fails_to_close_does_not_hide_the_stop() -> None:
    class Sticky:
        def __aiter__(self):
            return self

        async def __anext__(self):
            return AGAIN

        async def aclose(self):
            raise OSError("stuck")

    guard = watch(Sticky())
    passed = await through(guard)
    assert passed[-1].seq == guard.stopped.seq
    report = guard.report()
    assert (report.outcome, report.errors) == ("stopped", ("closing the source: stuck",))


async def test_what_a_callback_raises_at_the_end_is_reported() -> None:
    def refuse(finding):
        raise LookupError("nobody is here")

    text = "tick tock tick tock tick tock tick tock tick tock"
    guard = watch([text], detectors=[LoopDetector()], on_finding=refuse)
    with pytest.raises(LookupError):
        await through(guard)
    report = guard.report()
    assert (report.outcome, report.error) == ("failed", "nobody is here")


@pytest.mark.parametrize("how", ["closed", "cancelled"])
async def test_what_a_callback_raises_does_not_keep_the_source_open(how) -> None:
    closed = asyncio.Event()
    ready = asyncio.Event()

    async def upstream():
        try:
            yield " tick tock tick tock tick tock tick tock"  # enough with its last token alone
            ready.set()
            await asyncio.Event().wait()
        finally:
            closed.set()

    def refuse(finding):
        raise LookupError("nobody is here")

    guard = watch(upstream(), detectors=[LoopDetector()], on_finding=refuse)
    reader = asyncio.create_task(through(guard))
    await asyncio.wait_for(ready.wait(), 20)
    if how == "closed":
        with pytest.raises(LookupError):
            await guard.aclose()
        await reader
    else:
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
    assert closed.is_set()
    report = guard.report()
    assert (report.outcome, report.error) == ("failed", "nobody is here")


async def test_findings_and_errors_that_are_kept_are_bounded() -> None:
    class Chatty:
        def observe(self, event, gap_ns):
            return [Finding("note", "note", event.seq, event.t_ns, 0, 0, "once more")]

        def finish(self):
            return ()

    told = []
    events = [Event("error", seq, seq, "overloaded") for seq in range(3000)]
    guard = watch(events, detectors=[Chatty()], on_finding=told.append)
    await through(guard)
    report = guard.report()
    assert (len(told), len(report.findings), len(report.errors)) == (3000, 1000, 100)
    assert report.remarks == ("4,900 further findings and errors are not kept",)
    assert "4,900 further" in str(report)


async def test_wasted_tokens_are_counted_once() -> None:
    guard = watch([AGAIN * 40], detectors=[LoopDetector("warn")])
    await through(guard)
    report = guard.report()
    assert len(report.findings) == 2
    assert report.wasted_tokens == report.findings[1].evidence["wasted_tokens"]


async def test_a_dropped_watch_leaves_no_timer_behind() -> None:
    guard = watch(silent(3))
    await anext(guard)
    alarm = guard._alarm
    del guard
    gc.collect()
    assert alarm._watch() is None
    alarm._fire()
    assert alarm._timer is None


async def test_report_shows_itself() -> None:
    guard = watch([AGAIN + "<b>"] * 40)
    await through(guard)
    report = guard.report()
    assert json.loads(json.dumps(report.to_dict()))["outcome"] == "stopped"
    text = str(report)
    assert "stopped by" in text
    assert "tokens spent" in text
    page = report._repr_html_()
    assert page.startswith("<table>")
    assert "<li>" in page
    empty = watch([]).report()
    assert empty.outcome == "running"
    assert "time to first chunk  -" in str(empty)


async def test_metrics_count_chunks_and_times() -> None:
    ms = 1_000_000
    usage = {"usage": {"completion_tokens": 7, "total_tokens": 9}}
    events = [
        Event("reasoning", 0, 200 * ms, "hm "),
        Event("text", 1, 210 * ms, "a"),
        Event("tool_call", 2, 210 * ms, "{}", "lookup"),
        Event("text", 3, 260 * ms, "b"),
        Event("usage", 4, 260 * ms, data={"usage": {"prompt_tokens": 2, "completion_tokens": 1}}),
        Event("usage", 5, 260 * ms, data=usage),
        Event("end", 6, 260 * ms, "stop"),
    ]
    guard = watch(replayed := list(events), detectors=())
    await through(guard)
    metrics = guard.report().metrics
    assert len(replayed) == metrics["events"] == 7
    assert metrics["chunks"] == 3
    assert metrics["chars"] == 7
    assert metrics["time_to_first_chunk_s"] == 0.2
    assert metrics["duration_s"] == 0.26
    assert metrics["time_per_chunk_s"]["max"] == pytest.approx(0.05, rel=0.02)
    assert metrics["usage"] == {"prompt_tokens": 2, **usage["usage"]}
    assert metrics["events_by_kind"] == {
        "reasoning": 1,
        "text": 2,
        "tool_call": 1,
        "usage": 2,
        "end": 1,
    }
