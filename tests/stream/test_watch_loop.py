"""watch(..., loop=): settings come from the loop, stops are its choice, outcomes flow back."""

from __future__ import annotations

import asyncio
import gc
import random

import numpy as np
import pytest
from reference import phases

from midstream._core.errors import ArgumentTypeError, ArgumentValueError, RefusedError
from midstream.meta import AuditPlan, Bandit, Gate, Ledger, RuleError, Shield, StrangeLoop
from midstream.stream import Event, Finding, LoopDetector, StallDetector, load, steering, watch
from midstream.stream import shipped_recordings as shipped
from midstream.stream.adapting import (
    DECISION_CONTEXT,
    StreamLoss,
    StreamRecord,
    watch_loop,
    watch_params,
    watch_presets,
)
from midstream.stream.events import TEXT_KINDS
from midstream.stream.steering import FEATURES, Steering

AGAIN = "I will try that once more. "
ALWAYS = AuditPlan(probability=1.0, streams=10**6, slack=0.0, limit=0.0)


@pytest.fixture(autouse=True)
async def no_test_hangs():
    async with asyncio.timeout(30):
        yield


def strange(start=None, *, actions=("continue", "abort"), rules=(), **more) -> StrangeLoop:
    """A loop that always does the last of its actions: the bandit is told that it pays."""
    params = watch_params(start)
    bandit = Bandit(actions, explore=0.0, alpha=0.0)
    for _ in range(200):
        bandit.learn(np.ones(16), actions[-1], 1.0)
    more = {"evaluator": StreamLoss(), "audit": AuditPlan(probability=0.0)} | more
    more = {"gate": Gate(replay=3, canary=0)} | more
    return StrangeLoop(
        params, bandit=bandit, shield=Shield(rules, actions=actions, params=params), **more
    )


async def through(guard) -> list[Event]:
    return [event async for event in guard]


async def test_the_stream_is_the_same_and_detectors_are_those_of_the_settings() -> None:
    loop = strange({"stop_chars": 60})
    events = load(shipped()["healthy-03"])
    guard = watch(events, loop=loop)
    passed = await through(guard)
    assert [id(event) for event in passed] == [id(event) for event in events]
    assert loop.summary().finished == 1
    assert guard.report().outcome == "ended"
    late = watch([AGAIN] * 99)
    early = watch([AGAIN] * 99, loop=loop)
    await through(late)
    await through(early)
    assert early.stopped.seq < late.stopped.seq
    assert early.intervention == "abort"
    assert early.stopped.evidence["intervention"] == "abort"
    assert early.report().outcome == "stopped"


async def test_an_ended_stream_is_settled_when_the_iteration_ends() -> None:
    loop = strange({"on_loop": "warn"})
    guard = watch([AGAIN] * 99, loop=loop)
    await through(guard)
    (record,) = loop.ledger.records("finish")
    given = record.body["given"]
    whole = StreamRecord(
        tuple(Event("text", i, event.t_ns, AGAIN) for i, event in enumerate(await again()))
    )
    assert given["loss"] == pytest.approx(loop.evaluator(loop.settings, whole), abs=0.01)
    assert given["loss"] > 0.5
    assert set(given["signals"]) == {"doubt", "intervened", "silence", "tokens"}
    with pytest.raises(RefusedError, match="the stream has ended: that is settled"):
        guard.outcome(stop_was_wrong=False)


async def quiet() -> None:
    """Wait until no loop is at work."""
    await asyncio.to_thread(lambda: steering._workers().submit(int).result())


async def again() -> list[Event]:
    return await through(watch([AGAIN] * 99, detectors=()))


async def test_a_stop_is_settled_when_its_outcome_is_told() -> None:
    loop = strange()
    guard = watch([AGAIN] * 99, loop=loop)
    await through(guard)
    assert loop.summary().finished == 0
    guard.outcome(stop_was_wrong=False)
    assert loop.summary().finished == 1
    (feedback,) = loop.ledger.records("feedback")
    (finish,) = loop.ledger.records("finish")
    assert feedback.body["given"]["reward"] == pytest.approx(1 - finish.body["given"]["loss"])
    assert 0 < finish.body["given"]["loss"] < 0.1
    assert finish.body["given"]["signals"]["doubt"] == 0.0
    with pytest.raises(RefusedError, match="the stream has stopped: that is settled"):
        guard.outcome(stop_was_wrong=True)

    guard = watch([AGAIN] * 99, loop=loop)
    await through(guard)
    guard.outcome(stop_was_wrong=True)
    finish = list(loop.ledger.records("finish"))[-1]
    assert finish.body["given"]["loss"] == 1.0
    assert finish.body["given"]["signals"]["doubt"] == 1.0

    guard = watch([AGAIN] * 99, loop=loop)
    await through(guard)
    guard.outcome(useful_chars=27, reward=0.25)
    assert list(loop.ledger.records("feedback"))[-1].body["given"]["reward"] == 0.25


async def test_what_nobody_told_teaches_nothing() -> None:
    loop = strange(max_sessions=2)
    kept = []
    for _ in range(4):
        kept.append(watch([AGAIN] * 99, loop=loop))
        await through(kept[-1])
    summary = loop.summary()
    assert (summary.started, summary.finished, summary.expired) == (4, 0, 2)
    late = watch([AGAIN] * 99, loop=loop)
    await through(late)
    late.outcome(reward=1.0)  # the loss itself is still not known
    assert list(loop.ledger.records("finish"))[-1].body["given"]["loss"] is None


async def test_an_outcome_that_comes_too_late_is_refused() -> None:
    loop = strange(max_sessions=1)
    early, late = (watch([AGAIN] * 99, loop=loop) for _ in range(2))
    await through(late)
    await through(watch([AGAIN] * 99, loop=loop))
    with pytest.raises(RefusedError, match="was given up for newer ones"):
        late.outcome(stop_was_wrong=False)
    # Its own stream goes on, and the fallback is what is done about it.
    assert len(await through(early)) == 99
    assert "intervention" in early.findings[-1].evidence
    assert any("given up" in remark for remark in early.report().remarks)
    with pytest.raises(RefusedError, match="that is settled"):
        early.outcome(stop_was_wrong=False)


async def test_an_outcome_after_a_rollback_counts_for_the_settings_alone() -> None:
    loop = strange()
    guard = watch([AGAIN] * 99, loop=loop)
    await through(guard)
    loop.rollback(0)
    guard.outcome(stop_was_wrong=False)
    assert loop.summary().finished == 1
    assert not list(loop.ledger.records("feedback"))


async def test_a_watch_that_was_dropped_holds_nothing_up() -> None:
    """Trials wait for streams that began earlier; nobody can tell the outcome of this one."""
    loop = strange()
    guard = watch([AGAIN] * 99, loop=loop)
    await through(guard)
    del guard
    gc.collect()
    await through(watch(["fine. "], loop=loop))
    summary = loop.summary()
    assert (summary.finished, summary.abandoned, summary.expired) == (1, 1, 0)


async def test_continue_lets_the_stream_flow_and_warns() -> None:
    loop = strange(actions=("abort", "continue"), rules=())
    seen: list[Finding] = []
    guard = watch([AGAIN] * 99, loop=loop, on_finding=seen.append)
    assert len(await through(guard)) == 99
    assert guard.stopped is None
    assert guard.intervention is None
    told = [finding for finding in seen if "intervention" in finding.evidence]
    assert [(f.severity, f.evidence["intervention"]) for f in told] == [("warn", "continue")]
    assert guard.findings == seen
    (feedback,) = loop.ledger.records("feedback")
    (finish,) = loop.ledger.records("finish")
    # The choice paid for what came of it; the settings alone would have stopped.
    assert 1 - feedback.body["given"]["reward"] > 0.8 > finish.body["given"]["loss"]


async def test_other_interventions_close_the_stream_and_are_handed_over() -> None:
    actions = ("continue", "abort", "nudge", "retry")
    loop = strange(actions=actions)
    guard = watch([AGAIN] * 99, loop=loop)
    await through(guard)
    assert guard.intervention == "retry"
    guard = watch([AGAIN] * 99, loop=loop, interventions=("abort",))
    await through(guard)
    assert guard.intervention in (None, "abort")
    decided = [record.body["decided"] for record in loop.ledger.records("decide")]
    assert decided[0]["allowed"] == list(actions)
    assert decided[1]["allowed"] == ["continue", "abort"]


async def test_the_shield_masks_by_what_was_found() -> None:
    loop = strange(rules=["abort -> loop", "abort -> !again"])
    guard = watch([AGAIN] * 99, loop=loop)
    await through(guard)
    assert guard.intervention == "abort"
    stall = strange({"on_stall": "stop"}, rules=["abort -> loop"])
    events = [Event("text", i, i * 10**8 + (i > 40) * 10**11, f"w{i} ") for i in range(60)]
    guard = watch(events, loop=stall)
    assert len(await through(guard)) == 60
    assert [f.kind for f in guard.findings] == ["stall"]
    assert stall.summary().masked == 1
    assert stall.summary().violations == 0


async def test_an_audited_stream_is_not_stopped_and_judges_all_settings() -> None:
    loop = strange(audit=ALWAYS)
    loose = loop.settings.replace({"on_loop": "warn"})
    eager = loop.settings.replace({"stop_chars": 60})
    for settings in (loose, eager):
        change = loop.params.change(loop.settings, **{n: settings[n] for n in settings})
        trial = loop.apply(change, evidence=[(0.5, 0.1)] * 3)
        assert trial.stage == "shadow"
    guard = watch([AGAIN] * 99, loop=loop)
    await through(guard)
    guard.outcome(stop_was_wrong=True)  # doubt: the burst begins
    (first,) = loop.ledger.records("finish")
    # What would have let it run on is not judged by what was cut off, and not asked for either.
    assert len(first.body["given"]["shadow_losses"]) == 1
    assert first.body["given"]["shadow_losses"] == [1.0]
    guard = watch([AGAIN] * 99, loop=loop)
    assert len(await through(guard)) == 99
    assert any("audited" in remark for remark in guard.report().remarks)
    given = list(loop.ledger.records("finish"))[-1].body["given"]
    assert len(given["shadow_losses"]) == 2
    ran_on, stopped = given["shadow_losses"]
    assert stopped < given["loss"] < ran_on


@pytest.mark.parametrize("way", ["closed", "too long", "another detector"])
async def test_an_audited_stream_that_somebody_had_to_end_counts_at_its_worst(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were it left out, settings that never stop would be judged by harmless streams alone."""
    loop = strange(audit=ALWAYS)
    loop.apply(loop.params.change(loop.settings, on_loop="warn"), evidence=[(0.5, 0.1)] * 3)
    guard = watch([AGAIN] * 99, loop=loop)
    await through(guard)
    guard.outcome(stop_was_wrong=True)  # doubt: the burst begins
    assert loop.gate.trials[0].evidence.n == 0
    more = (Limit(),) if way == "another detector" else None
    if way == "too long":
        monkeypatch.setattr(steering, "MAX_EVENTS", 20)
    guard = watch([AGAIN] * 99, loop=loop, detectors=more)
    if way == "closed":
        async with guard:
            async for event in guard:
                if event.seq == 50:
                    break
    else:
        await through(guard)
    evidence = loop.gate.trials[0].evidence
    assert (evidence.n, evidence.difference) == (1, -1.0)
    assert loop.gate.trials[0].open  # which is no proof that it is worse


class Limit:
    """The caller's own detector: a stream may have so many events."""

    def observe(self, event: Event, gap_ns: int) -> list[Finding]:
        return [Finding("limit", "stop", event.seq, event.t_ns, 0, 1, "too much")] * (
            event.seq > 50
        )

    def finish(self) -> list[Finding]:
        return []


async def test_evidence_from_streams_changes_the_settings() -> None:
    """Loops only: stopping earlier is better, which shadows prove; later streams stop earlier."""
    params = watch_params({"stop_chars": 1600})
    loop = strange(
        {"stop_chars": 1600},
        candidates=watch_presets(params),
        gate=Gate(replay=3, canary=0, shadow=80),
        propose_every=10,
    )
    rng = random.Random(4)
    stops = []
    for _ in range(70):
        head = phases.words(rng, 30)
        guard = watch([f"{head}. "] + [f"{phases.words(rng, 4)}, "] + [AGAIN] * 120, loop=loop)
        await through(guard)
        if guard.stopped is not None:
            stops.append(guard.stopped.seq)
            guard.outcome(stop_was_wrong=False)
        await quiet()
    assert loop.version > 0
    assert loop.settings["stop_chars"] < 1600
    assert stops[-1] < stops[0] / 2
    assert loop.replay().head == loop.ledger.head


async def test_live_silence_is_decided_by_the_loop() -> None:
    loop = strange({"on_stall": "stop", "stall_first_s": 1.0})

    async def silent():
        yield "Once upon"
        await asyncio.sleep(60)

    guard = watch(silent(), loop=loop)
    assert [event.text for event in await through(guard)] == ["Once upon"]
    assert guard.stopped.kind == "stall"
    assert guard.intervention == "abort"
    guard.outcome(stop_was_wrong=False)
    given = next(iter(loop.ledger.records("finish"))).body["given"]
    assert 1.0 / 90 <= given["loss"] < 3.0 / 90
    assert given["signals"]["silence"] > 0


@pytest.mark.parametrize("how", ["closed", "cancelled", "callback"])
async def test_what_is_left_or_fails_here_is_censored(how) -> None:
    loop = strange()

    def complain(finding):
        raise OSError("no pager")

    guard = watch([AGAIN] * 99, loop=loop, on_finding=complain if how == "callback" else None)
    if how == "closed":
        await guard.__anext__()
        await guard.aclose()
    elif how == "cancelled":

        async def forever():
            yield "Once upon"
            await asyncio.sleep(60)

        guard = watch(forever(), loop=loop)
        task = asyncio.create_task(through(guard))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        with pytest.raises(OSError, match="no pager"):
            await through(guard)
    summary = loop.summary()
    assert (summary.finished, summary.abandoned) == (0, 1)
    with pytest.raises(RefusedError, match="that is settled"):
        guard.outcome(stop_was_wrong=True)


async def test_a_source_that_breaks_counts_as_far_as_it_came() -> None:
    loop = strange()

    async def broken():
        yield "Once upon a time"
        raise ConnectionError("reset")

    guard = watch(broken(), loop=loop)
    with pytest.raises(ConnectionError, match="reset"):
        await through(guard)
    assert loop.summary().finished == 1


async def test_symbols_of_the_stream_become_knowledge() -> None:
    loop = strange({"on_loop": "warn"})
    call = ("tool_call", '{"path": "a.txt", "n": 1}', '{"n":1,"path":"a.txt"}')
    for turn in range(6):
        events = [
            Event("text", 0, 0, "Let me look at the file. "),
            Event("tool_call", 1, 1, call[1 + turn % 2], "read", None, "0/0"),
            Event("tool_result", 2, 2, f"line {turn}", "read"),
        ]
        await through(watch(events, loop=loop))
    phrases = loop.knowledge(1)
    assert any(one.support >= 5 for one in phrases)


async def test_long_streams_leave_no_record(monkeypatch) -> None:
    monkeypatch.setattr(steering, "MAX_CHARS", 1000)
    loop = strange({"on_loop": "warn"})
    guard = watch([f"word{i} " for i in range(300)], loop=loop)
    await through(guard)
    (finish,) = loop.ledger.records("finish")
    assert finish.body["given"]["loss"] is None
    assert any("too long to keep" in remark for remark in guard.report().remarks)


async def test_a_ledger_of_real_streams_replays_to_the_same_bytes(tmp_path) -> None:
    path = tmp_path / "loop.ledger"
    loop = strange(ledger=Ledger(path), gate=Gate(replay=3, canary=0))
    for name in ("loop-02", "healthy-03", "loop-04"):
        guard = watch(load(shipped()[name]), loop=loop)
        await through(guard)
        if guard.stopped is not None:
            guard.outcome(stop_was_wrong=name == "healthy-03")
    assert loop.replay().head == loop.ledger.head
    loop.ledger.close()


def test_rules_of_watch_loop_name_what_there_is() -> None:
    """A rule with a misspelt context would be kept by doing nothing, and protect nothing."""
    with pytest.raises(RuleError, match=r"'tool_cal'.*did you mean 'tool_call'"):
        watch_loop(rules=["abort -> !tool_cal"])
    with pytest.raises(RuleError, match="did you mean 'stop_chars'"):
        watch_loop(rules=["stop_char <= 1600"])
    for name in (*TEXT_KINDS, "loop", "near_loop", "stall", "silence", "first", "again", "warned"):
        watch_loop(rules=[f"abort -> !{name}"])


async def test_whatever_a_decision_sees_may_be_in_its_context() -> None:
    loop = watch_loop(rules=["abort -> first | again"])
    steer = Steering(loop, watch([]).metrics, None)
    for kind in ("loop", "near_loop"):
        for channel in sorted(TEXT_KINDS):
            steer._decide(Finding(kind, "stop", 0, 0, 0, 1, "", {"channel": channel}))
            steer._n_warned += 1
    steer._decide(Finding("stall", "stop", 0, 0, 0, 0, "", {}))
    decided = [record.body["given"]["context"] for record in loop.ledger.records("decide")]
    assert {name for context in decided for name in context} == {*DECISION_CONTEXT}


def test_bad_arguments_are_named() -> None:
    loop = strange()
    for arguments, error, message in (
        ({"loop": 3}, ArgumentTypeError, "loop must be a StrangeLoop, got int"),
        ({"loop": StrangeLoop}, ArgumentTypeError, "loop must be a StrangeLoop, got <class"),
        ({"interventions": ("abort",)}, ArgumentValueError, "interventions need a loop, got None"),
        (
            {"loop": loop, "interventions": ("sing",)},
            ArgumentValueError,
            "interventions must be of continue, .* got 'sing'",
        ),
        (
            {"loop": loop, "interventions": ("nudge",)},
            ArgumentValueError,
            "the loop chooses among continue, abort, got 'nudge'",
        ),
        (
            {"loop": loop, "interventions": "abort"},
            ArgumentTypeError,
            "an iterable of str, got str",
        ),
        (
            {"loop": loop, "detectors": [LoopDetector()]},
            ArgumentValueError,
            "with loop=, LoopDetector is the loop's to make",
        ),
        (
            {"loop": loop, "detectors": [StallDetector()]},
            ArgumentValueError,
            "with loop=, StallDetector is the loop's to make",
        ),
        (
            {"loop": strange(evaluator=None)},
            None,
            "",
        ),
    ):
        if error is None:
            watch([], **arguments)
            continue
        with pytest.raises(error, match=message):
            watch([], **arguments)


def test_a_watch_without_a_loop_has_no_outcome() -> None:
    with pytest.raises(ArgumentValueError, match="outcome is for a watch with a loop"):
        watch([]).outcome(stop_was_wrong=True)
    assert watch([]).intervention is None


def test_outcomes_are_checked() -> None:
    guard = watch([], loop=strange())
    for arguments, message in (
        ({}, "tell stop_was_wrong, useful_chars or reward"),
        ({"stop_was_wrong": 1}, "stop_was_wrong must be a bool, got 1"),
        ({"useful_chars": -1}, "useful_chars must be at least 0"),
        ({"reward": 2.0}, "reward must be at most 1"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            guard.outcome(**arguments)
    with pytest.raises(RefusedError, match="the stream is not over yet"):
        guard.outcome(stop_was_wrong=True)


async def test_features_are_sixteen_within_bounds_and_deterministic() -> None:
    assert len(FEATURES) == 16
    rows = []
    for _ in range(2):
        loop = strange()
        guard = watch(load(shipped()["loop-04"]), loop=loop)
        await through(guard)
        (decide,) = loop.ledger.records("decide")
        rows.append(decide.body["given"]["features"])
    assert rows[0] == rows[1]
    assert all(0.0 <= value <= 1.5 for value in rows[0])
    named = dict(zip(FEATURES, rows[0], strict=True))
    assert named["bias"] == 1.0
    assert named["loop"] + named["near_loop"] == 1.0
    assert named["stall"] == 0.0
    assert named["wasted"] > 0.3
    assert named["stops_before"] == 0.0
    assert isinstance(guard._steering, Steering)


async def test_own_detectors_run_beside_and_their_stops_are_not_overruled() -> None:
    class Third:
        def __init__(self):
            self.seen = 0

        def observe(self, event, gap_ns):
            self.seen += 1
            if self.seen < 3:
                return ()
            return [Finding("rule", "stop", event.seq, event.t_ns, 0, 0, "three is enough")]

        def finish(self):
            return ()

    loop = strange(actions=("abort", "continue"))
    guard = watch([AGAIN] * 99, loop=loop, detectors=[Third()])
    assert len(await through(guard)) == 3
    assert guard.stopped.kind == "rule"
    summary = loop.summary()
    assert (summary.decisions, summary.abandoned) == (0, 1)


async def test_a_ledger_that_cannot_be_written_hides_no_cancellation(tmp_path) -> None:
    loop = strange(ledger=tmp_path / "loop.ledger")

    async def forever():
        yield "Once upon"
        await asyncio.sleep(60)

    guard = watch(forever(), loop=loop)
    task = asyncio.create_task(through(guard))
    await asyncio.sleep(0.05)
    loop.close()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    report = guard.report()
    assert report.outcome == "closed"
    assert any("closed" in remark for remark in report.remarks)


async def test_the_loop_for_watches_stops_learns_and_keeps_its_rules() -> None:
    loop = watch_loop({"stop_chars": 400}, rules=["stop_chars >= 80", "abort -> !tool_call"])
    assert loop.settings["stop_chars"] == 400
    for kind, stopped in (("text", True), ("tool_call", False)):
        events = [Event(kind, i, i * 10**7, AGAIN) for i in range(60)]
        guard = watch(events, loop=loop)
        await through(guard)
        assert (guard.intervention == "abort") == stopped
        if stopped:
            guard.outcome(stop_was_wrong=False)
    with pytest.raises(RefusedError, match="stop_chars >= 80"):
        loop.apply(loop.params.change(loop.settings, stop_chars=60), evidence=[(0.5, 0.1)] * 5)
    with pytest.raises(ArgumentTypeError, match="loss must be a StreamLoss, got int"):
        watch_loop(loss=3)
    with pytest.raises(ArgumentValueError, match="start has no knob of a watch: 'volume'"):
        watch_loop({"volume": 11})
    assert watch_loop(recordings=7, seed=2).summary().version == 0


async def test_what_fails_beside_the_streams_is_raised_at_the_end_of_a_later_one() -> None:
    class Broken(StreamLoss):
        def __call__(self, settings, stream):
            if settings != start:
                raise ArithmeticError("no judge")
            return super().__call__(settings, stream)

    loop = strange({"on_loop": "warn"}, evaluator=Broken(), propose_every=1)
    start = loop.settings
    with pytest.raises(ArithmeticError, match="no judge"):
        for _ in range(20):
            await through(watch([f"word{i} " for i in range(9)], loop=loop))
            await quiet()
    assert loop.summary().finished >= 2


async def test_what_other_streams_say_too_is_familiar() -> None:
    loop = strange()
    place = FEATURES.index("familiar")
    text = ["One moment. ", *["I will try that again. "] * 60]

    async def familiar() -> float:
        guard = watch(text, loop=loop)
        async for _ in guard:
            pass
        steering = guard._steering
        assert steering is not None
        stop = next(f for f in guard.findings if f.severity == "stop")
        return float(steering.features(stop)[place])

    before = await familiar()
    for _ in range(100):
        async for _ in watch(["I will try that again. ", "Now it works. "], loop=loop):
            pass
    assert before == 0.0
    assert await familiar() > 0.4


@pytest.mark.parametrize("when", ["decide", "finish"])
async def test_a_ledger_that_fails_breaks_off_no_stream(when: str, monkeypatch) -> None:
    loop = strange()
    stuck = ["One moment. ", *["I will try that again. "] * 60]
    guard = watch(stuck if when == "decide" else ["All is well. "] * 3, loop=loop)

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(loop.ledger, "append", full)
    events = [event async for event in guard]
    assert events
    report = guard.report()
    if when == "decide":  # as without a loop
        assert guard.stopped is not None
        assert (report.outcome, guard.intervention) == ("stopped", None)
    else:
        assert (report.outcome, len(events)) == ("ended", 3)
    assert report.error is None
    assert any("No space left" in remark for remark in report.remarks)
    with pytest.raises(RefusedError, match="settled"):
        guard.outcome(stop_was_wrong=True)
