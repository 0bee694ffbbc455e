"""`History`: what it makes of the ledgers of loops, and of other ones."""

from __future__ import annotations

import pytest
from meta.loop_records import LoopRecords, evidence, look

from midstream.errors import ArgumentTypeError, ArgumentValueError, LedgerError, RefusedError
from midstream.meta import Gate, Ledger, Outcome, Param, ParamSpace, StrangeLoop
from midstream.meta.history import History

SPACE = ParamSpace(
    [
        Param.choice("mode", ["b", "a", "c"], default="a"),
        Param.integer("copies", 2, 12, default=2, max_step=4),
    ]
)


def make(ledger=None, **gate):
    gate = Gate(**{"replay": 0, "canary": 0, "watch": 30, **gate})
    return StrangeLoop(SPACE, gate=gate, shield="copies <= 8", ledger=ledger)


def drive(loop, streams, better=5):
    """Run streams in which `better` copies are what they should have."""
    for number in streams:
        session = loop.begin(time_ns=number)
        losses = [0.1 if s["copies"] == better else 0.5 for s in session.shadows]
        own = 0.1 if session.settings["copies"] == better else 0.5
        session.finish(own, losses, time_ns=number)


def test_a_promotion_and_what_it_superseded():
    loop = make()
    loop.apply(SPACE.change(loop.settings, "too few", copies=5), time_ns=0)
    loop.apply(SPACE.change(loop.settings, "to see", mode="b"), time_ns=0)
    drive(loop, range(120))
    history = History.of(loop.ledger)
    first, second = history.trials
    assert (first.key, first.outcome, first.moves) == (0, "promoted", (("copies", 2, 5),))
    assert (first.reason, first.opened, first.time_ns) == ("too few", 2, 0)
    assert first.why.startswith("better by")
    assert [stage for stage, _, _ in first.stages] == ["shadow", "promoted"]
    assert (second.outcome, second.stage) == ("rejected", "rejected")
    assert (second.why, second.ended) == ("superseded by trial 0", first.ended)
    # The watch goes on; the promotion stays where it was.
    version = history.versions[1]
    assert first.ended == version.cause
    assert (history.promoted_by, history.demoted_by) == ({1: 0}, {})
    before = [e for e in first.evidence if e.record <= first.ended]
    assert [e.n for e in before] == sorted(e.n for e in before)
    assert len(before) >= 4
    assert {e.stage for e in before} == {"shadow"}
    assert first.last.record > first.ended
    assert (first.last.stage, first.last.difference) == (None, pytest.approx(0.4))
    assert history.moved(0) == ()
    assert history.moved(1) == (("copies", 2, 5),)
    assert history.choices == {"mode": ("b", "a", "c"), "copies": ()}
    assert history.changed == ("mode", "copies")
    assert history.counts["finish"] == 120
    assert history.n_records == len(loop.ledger)
    assert repr(history).startswith("<History: 2 versions, 2 trials, ")


def test_a_demotion():
    loop = make()
    loop.apply(SPACE.change(loop.settings, copies=5), time_ns=0)
    streams = iter(range(1000))
    while loop.version == 0:
        drive(loop, [next(streams)])
    while loop.version == 1:
        drive(loop, [next(streams)], better=2)
    history = History.of(loop.ledger)
    (trial,) = history.trials
    assert (trial.outcome, trial.stage) == ("demoted", "demoted")
    assert [stage for stage, _, _ in trial.stages] == ["shadow", "promoted"]
    assert trial.why.startswith("worse by")
    assert trial.ended == history.versions[2].cause
    assert (history.promoted_by, history.demoted_by) == ({1: 0}, {2: 0})
    assert history.moved(2) == (("copies", 5, 2),)


def test_what_recordings_decide():
    loop = make(replay=4)
    worse = SPACE.change(loop.settings, "worse", copies=3)
    with pytest.raises(RefusedError, match="ended on recordings"):
        loop.apply(worse, evidence=[(0.1, 0.9)] * 60, time_ns=1)
    better = SPACE.change(loop.settings, "better", copies=5)
    loop.apply(better, evidence=[(0.9, 0.1)] * 60, time_ns=2)
    later = loop.apply(SPACE.change(loop.settings, mode="b"), time_ns=3)
    loop.add_evidence(later, [(0.9, 0.1)] * 60, time_ns=4)
    ended, shadowed, waited = History.of(loop.ledger).trials
    assert (ended.outcome, ended.ended, ended.stages) == ("rejected", ended.opened, [])
    assert ended.why.startswith("better by -0.8")
    assert (ended.last.stage, ended.last.n) == ("replay", 60)
    assert [stage for stage, _, _ in shadowed.stages] == ["shadow"]
    assert [stage for stage, _, _ in waited.stages] == ["replay", "shadow"]
    assert waited.stages[1][1:] == (waited.opened + 1, 4)
    assert (waited.stage, waited.ended) == ("shadow", None)


def test_refusals_rules_and_rollbacks():
    loop = make()
    change = SPACE.change
    for copies in (5, 6):
        loop.apply(change(loop.settings, copies=copies), time_ns=0)
    with pytest.raises(RefusedError):
        loop.apply(change(loop.settings, copies=5), time_ns=0)
    loop.add_safety_constraint("copies <= 5", time_ns=1)
    with pytest.raises(RefusedError):
        loop.apply(change(loop.settings, copies=6), time_ns=1)
    streams = iter(range(1000))
    while loop.version == 0:
        drive(loop, [next(streams)])
    loop.apply(change(loop.settings, mode="b"), time_ns=0)
    loop.rollback(0, "to see", time_ns=2)
    history = History.of(loop.ledger)
    assert [(t.outcome, t.why) for t in history.trials] == [
        ("demoted", "rolled back to 0"),
        ("rejected", "refused: rule2"),
        ("rejected", "rolled back to 0"),
    ]
    assert [reason for _, reason in history.refused] == ["open", "rule2"]
    assert all(loop.ledger[index].kind == "apply" for index, _ in history.refused)
    assert history.versions[2].restores == 0
    assert (history.promoted_by, history.demoted_by) == ({1: 0}, {})


def test_a_rollback_from_outside_ends_trials(tmp_path):
    path = tmp_path / "ledger"
    with make(path) as loop:
        loop.apply(SPACE.change(loop.settings, copies=5), time_ns=0)
    with Ledger(path) as ledger:
        ledger.rollback(0, "by hand", time_ns=7)
        history = History.of(ledger)
    (trial,) = history.trials
    assert (trial.outcome, trial.why) == ("rejected", "rolled back to 0")
    assert (trial.ended, trial.ended_ns) == (history.versions[1].record, 7)
    assert history.last_ns == 7
    with make(path) as loop:
        assert History.of(loop.ledger).trials == history.trials


def test_alarms():
    loop = make()
    drive(loop, range(200))
    drive(loop, range(200, 400), better=2)
    history = History.of(loop.ledger)
    assert history.alarms
    for alarm in history.alarms:
        assert alarm.signal == "loss"
        record = loop.ledger[alarm.record]
        assert (record.kind, record.time_ns) == ("finish", alarm.time_ns)


def test_numbers_of_versions():
    history = History.of(make().ledger)
    with pytest.raises(ArgumentValueError, match="number must be at most"):
        history.moved(99)
    with pytest.raises(ArgumentValueError, match="number must be at least 0, got -1"):
        history.moved(-1)
    with pytest.raises(ArgumentTypeError, match="number must be an integer"):
        history.moved("1")


def test_records_for_tests_have_the_shapes_of_real_ones():
    loop = make()
    change = SPACE.change(loop.settings, copies=5)
    loop.apply(change, time_ns=0)
    with pytest.raises(RefusedError):
        loop.apply(change, time_ns=0)
    drive(loop, range(60))
    ledger = Ledger()
    records = LoopRecords(ledger)
    records.apply(0, change)
    records.refuse(change, "open")
    told = evidence("shadow", 9, 0.2, 0.1, 0.3)
    outcome = Outcome(0, "shadow", "promoted", "better", (), told)
    records.finish(outcome, evidence=(look(0, told),), drift=("loss",))

    def shapes(ledger, kind):
        found = {}
        for record in ledger.records(kind):
            for part, told in record.body.items():
                found.setdefault(part, set()).add(tuple(sorted(told)))
                for name in ("outcomes", "evidence"):
                    for one in told.get(name, ()):
                        found.setdefault(name, set()).add(tuple(sorted(one)))
        return found

    for kind in ("apply", "finish"):
        assert shapes(ledger, kind) == shapes(loop.ledger, kind)


def test_other_records_are_counted():
    ledger = Ledger()
    ledger.commit({"window": 20}, b"")
    ledger.append("trial", {"trial": 0, "moves": [["window", 20, 30]]}, time_ns=3)
    ledger.append("evidence", {"trial": 0, "n": 9})
    ledger.append("propose", {"given": {}, "decided": {"drift": ["loss"], "outcomes": [1]}})
    ledger.append("open", {})
    ledger.commit({"window": 30}, b"")
    ledger.rollback(0)
    history = History.of(ledger)
    assert (history.trials, history.alarms, history.choices) == ((), (), {})
    assert history.promoted_by == {}
    assert history.moved(1) == (("window", 20, 30),)
    assert history.changed == ("window",)
    assert history.counts["trial"] == 1
    assert (history.n_records, history.last_ns) == (7, 3)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("apply", {"given": {}, "decided": {}}),
        ("apply", {"decided": {"trial": 0}}),
        ("begin", {"given": {}, "decided": []}),
        ("finish", {"given": {}, "decided": {"outcomes": [{"trial": 3}]}}),
        ("finish", {"given": {}, "decided": {"evidence": 3}}),
        ("revert", {"given": {}, "decided": {"ended": [0]}}),
        ("open", {"params": 3}),
    ],
)
def test_what_no_loop_writes(kind, body):
    ledger = Ledger()
    ledger.append("other", {})
    ledger.append(kind, body)
    with pytest.raises(LedgerError, match=f"record 1: '{kind}' is not as a loop writes it") as told:
        History.of(ledger)
    assert told.value.record == 1


def test_no_ledger():
    with pytest.raises(ArgumentTypeError, match="ledger must be a Ledger, got list"):
        History.of([])
