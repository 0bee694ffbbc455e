"""What a learner might try in order to look better than it is. Each attempt fails, and is seen.

The learner is the adversary: it makes proposals, reports losses and holds every public object. Who
can run any code in the process can do anything; for that there are the digests, which differ.
"""

from __future__ import annotations

import copy
import math
import pickle
from types import MappingProxyType

import numpy as np
import pytest

from midstream.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    LedgerError,
    LedgerInUseError,
    MidstreamError,
    RefusedError,
)
from midstream.meta._frozen import frozen
from midstream.meta.gate import Gate
from midstream.meta.ledger import Ledger
from midstream.meta.loop import StrangeLoop
from midstream.meta.params import Param
from midstream.meta.safety import SafetyConstraint, Shield
from midstream.meta.sessions import Session
from midstream.meta.spaces import Change, ParamSpace, Settings
from midstream.meta.trials import Trial

REFUSALS = (MidstreamError, AttributeError, TypeError)


def make_space(high=100, step=10):
    return ParamSpace(
        [
            Param.integer("window", 10, high, default=50, max_step=step, cooldown_s=60),
            Param.real("threshold", 0.0, 1.0, default=0.5, max_step=0.2),
            Param.choice("severity", ["note", "warn", "stop"], default="warn"),
            Param.flag("trim", default=False),
        ]
    )


@pytest.fixture
def space():
    return make_space()


@pytest.fixture
def shield(space):
    return Shield({"cap": "window <= 80", "calm": "abort -> !O[1:3] abort"}, params=space)


def forged_settings(space, **values):
    """Settings that were never checked, by way of what is private."""
    content = {**space.defaults, **values}
    return frozen(Settings, (space, MappingProxyType(content), "f" * 64))


def forged_change(before, after, moves):
    return frozen(Change, (before, after, moves, "better, really"))


# ---- the surface: what a change can name ----


@pytest.mark.parametrize(
    "name",
    [
        "evaluator",
        "shield",
        "gate",
        "ledger",
        "alpha",
        "fallback",
        "max_step",
        "high",
        "window.high",
        "window.max_step",
        "__class__",
        "digest",
        "space",
    ],
)
def test_no_change_names_anything_but_a_parameter(space, name):
    for attempt in (
        lambda: space.change(space.defaults, **{name: 1}),
        lambda: space.settings({name: 1}),
        lambda: space.defaults.replace({name: 1}),
    ):
        with pytest.raises(ArgumentValueError, match="unknown parameter"):
            attempt()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("window", 101),
        ("window", 9),
        ("window", 2**70),
        ("window", 50.5),
        ("window", True),
        ("window", "51"),
        ("window", math.nan),
        ("window", np.array([51])),
        ("threshold", math.nan),
        ("threshold", math.inf),
        ("threshold", 1.0000001),
        ("threshold", "0.4"),
        ("threshold", False),
        ("severity", "off"),
        ("severity", 2),
        ("trim", 1),
        ("trim", "yes"),
        ("trim", None),
    ],
)
def test_no_value_out_of_bounds_or_of_another_type(space, name, value):
    with pytest.raises((ArgumentValueError, ArgumentTypeError), match=name):
        space.change(space.defaults, **{name: value})


def test_a_value_that_lies_when_it_is_compared(space):
    class Shifty(int):
        def __index__(self):
            return 51

        def __le__(self, other):
            return True

        __ge__ = __le__

    class Floaty(float):
        def __float__(self):
            return 0.6

        def __le__(self, other):
            return True

        __ge__ = __le__

    with pytest.raises(ArgumentValueError):
        space.change(space.defaults, window=Shifty(10**6))
    change = space.change(space.defaults, window=Shifty(55), threshold=Floaty(1e9))
    assert [type(new) for _, _, new in change.moves] == [int, float]
    assert change.after["threshold"] == 0.6


def test_no_step_further_than_allowed(space, shield):
    with pytest.raises(RefusedError) as raised:
        space.change(space.defaults, window=61)
    assert raised.value.reason == "max_step"
    # Nor by a change that skips what lies between, with settings that are fine by themselves.
    with pytest.raises(RefusedError):
        Change(space.defaults, space.settings(window=75), "two steps at once")
    far = space.settings(window=75)
    forged = forged_change(space.defaults, far, ())
    for one in (forged, forged_change(space.defaults, far, (("window", 74, 75),))):
        with pytest.raises(RefusedError):
            shield.permits(one)
        with pytest.raises(RefusedError):
            shield.commit_change(one)
    assert shield.changes == 0


def test_no_change_before_it_has_cooled_down(space):
    change = space.change(space.defaults, window=51)
    with pytest.raises(RefusedError) as raised:
        space.check(change, space.defaults, 10**9, changed_ns={"window": 0})
    assert raised.value.reason == "cooldown_s"
    # Not by a clock that is turned back either.
    with pytest.raises(RefusedError):
        space.check(change, space.defaults, 0, changed_ns={"window": 10**9})


@pytest.mark.parametrize(
    "attack",
    [
        lambda s: setattr(s["window"], "high", 10**6),
        lambda s: setattr(s["window"], "max_step", 10**6),
        lambda s: object.__setattr__(s["window"], "high", 10**6),
        lambda s: object.__setattr__(s["window"], "_content", ()),
        lambda s: delattr(s["window"], "cooldown_s"),
        lambda s: s.__setitem__("window", Param.integer("window", 0, 10**9, default=50)),
        lambda s: s.__delitem__("window"),
        lambda s: s.update({"more": 1}),
        lambda s: setattr(s, "defaults", None),
        lambda s: s.defaults.__setitem__("window", 10**6),
        lambda s: object.__setattr__(s.defaults, "_values", {}),
        lambda s: setattr(s.defaults, "digest", "0" * 64),
        lambda s: setattr(s.change(s.defaults, window=51), "after", s.settings(window=99)),
        lambda s: s.change(s.defaults, window=51).moves.__setitem__(0, ()),
        lambda s: s["severity"].choices.append("off"),
        lambda s: type("Mine", (Change,), {"__eq__": lambda *_: True}),
        lambda s: type("Mine", (Settings,), {"__getitem__": lambda *_: 10**6}),
        lambda s: type("Mine", (ParamSpace,), {"check": lambda *_: True}),
        lambda s: type("Mine", (Param,), {"check": lambda _, value: value}),
    ],
)
def test_bounds_and_steps_cannot_be_widened(space, attack):
    digest = space.digest
    with pytest.raises(REFUSALS):
        attack(space)
    assert space.digest == digest
    assert space.digest == make_space().digest
    assert space["window"].high == 100
    assert dict(space.defaults) == dict(make_space().defaults)


def test_what_is_copied_out_is_not_the_original(space):
    space.defaults.to_dict()["window"] = 10**6
    space["window"].to_dict()["high"] = 10**6
    space.to_dict()["params"][0]["high"] = 10**6
    assert space.digest == make_space().digest
    for twin in (copy.deepcopy(space), pickle.loads(pickle.dumps(space))):
        assert twin == space


# ---- forged changes ----


def test_changes_of_a_space_with_wider_bounds(space, shield):
    wide = make_space(high=10**6, step=10**6)
    assert wide.digest != space.digest
    change = wide.change(wide.defaults, window=79)
    for attempt in (
        lambda: shield.permits(change),
        lambda: shield.commit_change(change),
        lambda: space.check(change, space.defaults),
        lambda: space.change(wide.defaults, window=51),
        lambda: Change(space.defaults, wide.settings(window=10**6)),
        lambda: space.neighbours(wide.defaults),
    ):
        with pytest.raises((RefusedError, ArgumentValueError)):
            attempt()
    assert shield.changes == 0


def test_changes_from_somewhere_else_than_what_is_in_force(space):
    """In two steps that each start from where the other has not gone."""
    far = space.settings(window=95)
    with pytest.raises(RefusedError) as raised:
        space.check(space.change(far, window=100), space.defaults)
    assert raised.value.reason == "base"


def test_settings_that_were_made_behind_the_space(space, shield):
    wrong = forged_settings(space, window=10**6)
    digestless = forged_settings(space, window=51)
    near = space.settings(window=51)
    for change in (
        forged_change(space.defaults, wrong, (("window", 50, 10**6),)),
        forged_change(space.defaults, wrong, ()),
        forged_change(wrong, space.defaults, ()),
        forged_change(space.defaults, digestless, (("window", 50, 51),)),
        forged_change(space.defaults, near, (("trim", False, True),)),
        forged_change(space.defaults, space.defaults, ()),
    ):
        with pytest.raises(REFUSALS):
            shield.permits(change)
        with pytest.raises(REFUSALS):
            shield.commit_change(change)
    assert (shield.changes, shield.change_violations) == (0, 0)


def test_what_only_looks_like_a_change(space, shield):
    real = space.change(space.defaults, window=51)
    far = space.settings(window=99)

    class Mimic:
        before, after, moves, reason, space = real.before, far, real.moves, "", real.space

        @property
        def __class__(self):
            return Change

        def __eq__(self, other):
            return True

        def __hash__(self):
            return hash(real)

    assert isinstance(Mimic(), Change)
    for wrong in (Mimic(), object.__new__(Change), real.to_dict(), Change, None):
        with pytest.raises(REFUSALS):
            shield.permits(wrong)
        with pytest.raises(REFUSALS):
            space.check(wrong, space.defaults)
    assert shield.changes == 0


def test_a_pickle_cannot_carry_more_than_a_change(space):
    build, (before, _, reason) = space.change(space.defaults, window=51).__reduce__()
    with pytest.raises(RefusedError):
        build(before, space.settings(window=99), reason)
    data = pickle.dumps(space.change(space.defaults, window=51))
    assert pickle.loads(data) == space.change(space.defaults, window=51)


# ---- the shield ----


@pytest.mark.parametrize(
    "attack",
    [
        lambda s: setattr(s, "rules", ()),
        lambda s: setattr(s, "fallback", "abort"),
        lambda s: setattr(s, "violations", 0),
        lambda s: setattr(s, "permits", lambda change: ()),
        lambda s: setattr(s, "_entries", []),
        lambda s: delattr(s, "_table"),
        lambda s: s.rules.clear(),
        lambda s: s.rules.pop(),
        lambda s: setattr(s.rules[0], "formula", "true"),
        lambda s: s.add(SafetyConstraint("cap", "window <= 100")),
        lambda s: s.restore(Shield("abort -> loop").snapshot()),
        lambda s: s.restore(Shield().snapshot()),
        lambda s: setattr(s.tracker(), "allowed", lambda context: ("abort",)),
        lambda s: setattr(s.tracker(), "violations", 0),
        lambda s: s.tracker().restore(Shield().tracker().snapshot()),
        lambda s: s.tracker().allowed({"abort"}),
    ],
)
def test_rules_cannot_be_loosened(space, shield, attack):
    digest, snapshot = shield.digest, shield.snapshot()
    with pytest.raises(REFUSALS):
        attack(shield)
    assert (shield.digest, shield.snapshot()) == (digest, snapshot)
    assert [r.rule for r in shield.permits(space.change(space.settings(window=75), window=85))]


def test_a_further_rule_allows_nothing_more(space, shield):
    shield.add("true")
    shield.add("abort -> abort")
    shield.add("window <= 100")
    tracker = shield.tracker()
    tracker.commit((), "abort")
    assert "abort" not in tracker.allowed()
    assert shield.permits(space.change(space.settings(window=75), window=85))


def test_rules_that_pretend(shield):
    class Pretender(SafetyConstraint):
        def __getattribute__(self, name):
            if name == "formula":
                return "anything"
            return super().__getattribute__(name)

    with pytest.raises(ArgumentTypeError):
        shield.add(Pretender("mine", "true"))


def test_tampering_with_what_is_private_shows_in_the_digest(space):
    def fresh():
        return Shield({"cap": "window <= 80", "calm": "abort -> !O[1:3] abort"}, params=space)

    shield = fresh()
    object.__setattr__(shield.rules[0], "reason", "none")
    assert shield.digest != fresh().digest
    shield = fresh()
    shield._entries.clear()
    assert shield.digest != fresh().digest
    shield = fresh()
    loose = Shield({"cap": "window <= 80", "calm": "abort | !abort"}, params=space)
    object.__setattr__(shield, "_table", loose._table)
    assert shield.digest != fresh().digest


def test_a_refused_action_is_not_made_by_asking_again(shield):
    tracker = shield.tracker()
    tracker.commit((), "abort")
    for _ in range(5):
        with pytest.raises(RefusedError, match="calm"):
            tracker.commit((), "abort")
    assert (tracker.position, tracker.refused, shield.violations) == (1, 5, 0)


# ---- the gate: evidence ----


def shadowing(**options):
    gate = Gate(replay=0, canary=0, **options)
    return gate, gate.open("change")


@pytest.mark.parametrize(
    "loss",
    [-0.1, 1.1, math.nan, math.inf, -math.inf, "0", True, (0.5, 0.4), (-1, 0), (0, 2), [], 1j],
)
def test_losses_out_of_range_are_no_evidence(loss):
    gate, trial = shadowing()
    before = gate.digest
    for attempt in (
        lambda: trial.shadowed(1.0, loss),
        lambda: trial.shadowed(loss, 0.0),
    ):
        with pytest.raises((ArgumentValueError, ArgumentTypeError)):
            attempt()
    assert gate.digest == before
    stream = trial.assign(0)
    before = gate.digest
    with pytest.raises((ArgumentValueError, ArgumentTypeError)):
        trial.finished(stream, 0.5, loss)
    assert gate.digest == before


def test_a_stream_counts_once():
    _, trial = shadowing()
    stream = trial.assign(3)
    trial.finished(stream, 1.0, 0.0)
    for again in (stream, 3):
        with pytest.raises(ArgumentValueError):
            trial.finished(again, 1.0, 0.0)
    for number in (3, 2):
        with pytest.raises(ArgumentValueError):
            trial.assign(number)
    with pytest.raises(ArgumentValueError):
        trial.finished(77, 1.0, 0.0)
    assert trial.evidence.n == 1


def test_streams_that_went_badly_cannot_be_left_out():
    """Withheld, or said to be unknown, their losses count at their worst."""
    _, trial = shadowing(shadow=300)
    for number in range(200):
        stream = trial.assign(number)
        bad = number % 2 == 0
        trial.finished(stream, 0.5, None if bad else 0.0)
    assert trial.stage == "shadow"
    assert trial.evidence.difference <= 0.0
    # Withheld altogether, they hold up what comes after them, and count as unknown in the end.
    _, trial = shadowing(shadow=300, max_pending=8)
    for number in range(200):
        stream = trial.assign(number)
        if number % 2:
            trial.finished(stream, 0.5, 0.0)
    assert trial.stage == "shadow"
    assert trial.evidence.difference <= 0.0


@pytest.mark.parametrize(
    "attack",
    [
        lambda g, t: setattr(t, "stage", "promoted"),
        lambda g, t: setattr(t, "evidence", None),
        lambda g, t: setattr(t, "alpha", 0.5),
        lambda g, t: setattr(t.evidence, "lower", 0.9),
        lambda g, t: setattr(g, "alpha", 1.0),
        lambda g, t: setattr(g, "min_effect", 0.0),
        lambda g, t: setattr(g, "opened", 0),
        lambda g, t: t.history.clear(),
        lambda g, t: g.trials.clear(),
        lambda g, t: g.restore(Gate(alpha=0.5).snapshot()),
        lambda g, t: t.replayed([(1.0, 0.0)] * 100),
        lambda g, t: t.observed("candidate", 0.0, 0.2),
        lambda g, t: Trial(g, 0),
    ],
)
def test_evidence_and_thresholds_cannot_be_set(attack):
    gate, trial = shadowing()
    trial.shadowed(0.2, 0.9)
    before = gate.digest
    with pytest.raises(REFUSALS):
        attack(gate, trial)
    assert gate.digest == before
    assert trial.stage == "shadow"


def test_what_was_told_of_the_gate_is_not_the_gate():
    gate, _ = shadowing()
    gate.configuration["alpha"] = 1.0
    assert gate.alpha == 0.05


def test_recordings_alone_promote_nothing():
    gate = Gate(replay=10)
    trial = gate.open("change")
    trial.replayed([(1.0, 0.0)] * 10_000)
    assert trial.stage == "shadow"
    assert trial.evidence.n == 0


def test_many_proposals_do_not_buy_more_chances():
    """Levels of all trials together stay below alpha, however many are opened."""
    gate = Gate(replay=0, canary=0, shadow=1)
    spent = 0.0
    for _ in range(2000):
        trial = gate.open()
        spent += trial.alpha
        trial.shadowed(0.5, 0.5)
        assert not trial.open
    assert spent < gate.alpha


def test_the_arm_of_a_stream_is_not_the_candidates_to_choose():
    gate = Gate(replay=0, shadow=200, canary=500, share=0.2)
    trial = gate.open()
    number = 0
    while trial.stage == "shadow":
        trial.finished(trial.assign(number), 1.0, 0.0)
        number += 1
    assert trial.stage == "canary"
    twin = copy.deepcopy(gate).trials[0]
    arms = [trial.assign(number + k).arm for k in range(100)]
    assert arms == [twin.assign(number + k).arm for k in range(100)]
    # Streams are numbered upwards: none can be assigned again until the arm is right.
    with pytest.raises(ArgumentValueError):
        trial.assign(number)


# ---- the ledger ----


@pytest.fixture
def ledger(tmp_path):
    path = tmp_path / "loop.ledger"
    with Ledger(path, sync="never") as file:
        cause = file.append("begin", {})
        file.commit({"window": 50}, b"first", cause=cause.index)
        for loss in (0.9, 0.8, 0.7):
            file.append("finish", {"given": {"loss": loss}})
        file.commit({"window": 60}, b"second")
    return path


def test_recorded_losses_cannot_be_lowered(ledger):
    data = ledger.read_bytes()
    place = data.index(b'"loss":0.9')
    ledger.write_bytes(data[: place + 7] + b"0.1" + data[place + 10 :])
    with pytest.raises(LedgerError) as raised:
        Ledger(ledger, readonly=True)
    assert raised.value.record == 2


def test_records_cannot_be_left_out_swapped_or_cut_off(ledger):
    with Ledger(ledger, readonly=True) as file:
        head, n = file.head, len(file)
        records = list(file)
    forged = Ledger()
    for record in records:
        if record.kind != "version" and record.body.get("given") != {"loss": 0.9}:
            forged.append(record.kind, record.body)
    ledger.write_bytes(forged.to_bytes())
    with Ledger(ledger, readonly=True) as file:
        assert len(file) < n
        with pytest.raises(LedgerError):
            file.verify(head)
    with pytest.raises(LedgerError):
        Ledger(ledger, readonly=True, head=head)


def test_what_was_read_is_not_the_ledger(ledger):
    with Ledger(ledger, readonly=True) as file:
        record = file[2]
        record.body["given"]["loss"] = 0.0
        assert file[2].body["given"]["loss"] == 0.9
        with pytest.raises(TypeError):
            file.versions[0].settings["window"] = 10**6
        file.verify()


@pytest.mark.parametrize(
    "attack",
    [
        lambda f: f.append("version", {"number": 2, "settings": {"window": 10**6}}),
        lambda f: f.append("rollback", {"number": 0}),
        lambda f: f.rollback(2),
        lambda f: f.rollback(-1),
        lambda f: f.rollback(True),
        lambda f: f.rollback("0"),
        lambda f: f.state(7),
        lambda f: f.append("finish", {"loss": math.nan}),
        lambda f: setattr(f, "head", b""),
        lambda f: setattr(f[0], "body", {}),
        lambda f: f.__setitem__(0, None),
        lambda f: f.__delitem__(0),
    ],
)
def test_versions_come_from_commits_alone(ledger, attack):
    with Ledger(ledger, sync="never") as file:
        head = file.head
        with pytest.raises(REFUSALS):
            attack(file)
        assert (file.head, len(file.versions)) == (head, 2)
        assert file.verify() == 6


def test_no_second_writer(ledger):
    with Ledger(ledger, sync="never"), pytest.raises(LedgerInUseError):
        Ledger(ledger)


def test_a_rollback_brings_back_exactly_what_was(ledger):
    with Ledger(ledger, sync="never") as file:
        version = file.rollback(0, "worse")
        assert (dict(version.settings), file.state(2)) == ({"window": 50}, b"first")
        assert version.state_digest == file.versions[0].state_digest


# ---- the loop ----


class Evaluator:
    """Judges settings on a recording: here, how far they are from what it wants."""

    digest = "a" * 64

    def __call__(self, settings, recording):
        return min(1.0, abs(settings["window"] - recording) / 100)


def make_loop(space, **options):
    options = {"gate": Gate(replay=0, canary=0), "shield": ["window <= 80"], **options}
    return StrangeLoop(space, **options)


@pytest.mark.parametrize(
    "attack",
    [
        lambda s: setattr(s, "settings", None),
        lambda s: setattr(s, "version", 9),
        lambda s: setattr(s, "shield", Shield()),
        lambda s: setattr(s, "gate", Gate(alpha=0.5)),
        lambda s: setattr(s, "ledger", Ledger()),
        lambda s: setattr(s, "evaluator", lambda settings, recording: 0.0),
        lambda s: setattr(s, "params", make_space(high=10**6)),
        lambda s: setattr(s, "bandit", None),
        lambda s: setattr(s, "digest", "0" * 64),
        lambda s: setattr(s.gate.trials[0], "stage", "promoted"),
        lambda s: setattr(s.shield, "rules", ()),
        lambda s: s.settings.__setitem__("window", 10**6),
        lambda s: s.apply(s.settings.replace(window=55)),
        lambda s: s.apply({"window": 55}),
        lambda s: s.apply(None),
        lambda s: s.rollback(1),
        lambda s: s.rollback(-1),
        lambda s: s.rollback(True),
        lambda s: s.feedback(0, 1.0),
        lambda s: s.add_safety_constraint("F done"),
        lambda s: s.add_safety_constraint("!continue"),
        lambda s: s.add_safety_constraint("window <"),
        lambda s: s.add_safety_constraint(lambda change: True),
        lambda s: Session(s, 0),
    ],
)
def test_nothing_but_a_version_sets_what_is_in_force(space, attack):
    loop = make_loop(space)
    loop.apply(space.change(space.defaults, window=55))
    before = loop.digest, dict(loop.settings), len(loop.ledger.versions), loop.shield.digest
    with pytest.raises(REFUSALS):
        attack(loop)
    after = loop.digest, dict(loop.settings), len(loop.ledger.versions), loop.shield.digest
    assert after == before


def test_a_proposal_from_a_wider_space_or_a_forged_one(space):
    loop = make_loop(space)
    wide = make_space(high=10**6, step=10**6)
    wrong = forged_settings(space, window=10**6)
    for change in (
        wide.change(wide.defaults, window=79),
        forged_change(space.defaults, wrong, ()),
        forged_change(space.defaults, wrong, (("window", 50, 10**6),)),
        forged_change(space.defaults, space.settings(window=75), ()),
        space.change(space.settings(window=75), window=79),
    ):
        with pytest.raises(REFUSALS):
            loop.apply(change)
    assert loop.gate.opened == 0
    assert dict(loop.settings) == dict(space.defaults)


def test_what_a_rule_refuses_is_in_the_ledger(space):
    loop = make_loop(space, shield=["window <= 52"])
    with pytest.raises(RefusedError, match="window <= 52"):
        loop.apply(space.change(space.defaults, "more, more", window=55))
    (record,) = loop.ledger.records("apply")
    assert record.body["decided"]["refused"] == "rule1"
    assert loop.gate.opened == 0
    assert loop.summary().refused == 1


def test_evidence_that_the_proposer_brings_along_promotes_nothing(space):
    loop = make_loop(space, gate=Gate(replay=5, canary=0))
    trial = loop.apply(space.change(space.defaults, window=55), evidence=[(1.0, 0.0)] * 5000)
    assert trial.stage == "shadow"
    assert trial.evidence.n == 0
    assert loop.version == 0
    for wrong in ([(1.0, -5.0)], [(1.0, math.nan)], [(2.0, 0.0)], [("1", 0)]):
        with pytest.raises((ArgumentValueError, ArgumentTypeError)):
            loop.apply(space.change(space.defaults, trim=True), evidence=wrong)
    assert loop.gate.opened == 1


@pytest.mark.parametrize("loss", [-0.1, 1.1, math.nan, -math.inf, "0", (0.9, 0.1), (-1, 1)])
def test_a_loss_out_of_range_ends_no_session(space, loss):
    loop = make_loop(space)
    loop.apply(space.change(space.defaults, window=55))
    session = loop.begin()
    before = loop.digest, len(loop.ledger)
    for attempt in (
        lambda: session.finish(loss, [0.5]),
        lambda: session.finish(0.5, [loss]),
    ):
        with pytest.raises((ArgumentValueError, ArgumentTypeError)):
            attempt()
    for shadows in ([0.0] * 2, [0.0] * 50):
        with pytest.raises(ArgumentValueError):
            session.finish(0.5, shadows)
    assert (loop.digest, len(loop.ledger)) == before
    session.finish(0.5, [0.5])
    assert loop.gate.trials[0].evidence.n == 1


def test_an_outcome_counts_once(space):
    loop = make_loop(space, shield=())
    session = loop.begin()
    decision = session.decide(np.zeros(loop.bandit.n_features))
    session.finish(0.25)
    before = loop.digest
    with pytest.raises(RefusedError):
        session.finish(0.0)
    with pytest.raises(ArgumentValueError):
        loop.feedback(decision.ticket, 1.0)
    # What is abandoned has no outcome any more.
    with pytest.raises(RefusedError):
        session.decide(np.zeros(loop.bandit.n_features))
    session.abandon()
    assert loop.digest == before
    other = loop.begin()
    ticket = other.decide(np.zeros(loop.bandit.n_features)).ticket
    loop.feedback(ticket, 0.5)
    with pytest.raises(ArgumentValueError):
        loop.feedback(ticket, 0.5)
    for reward in (math.nan, 2.0, -1.0, "1"):
        with pytest.raises((ArgumentValueError, ArgumentTypeError)):
            loop.feedback(other.decide(np.zeros(loop.bandit.n_features)).ticket, reward)


def test_the_shield_masks_whatever_the_bandit_has_learned(space):
    """Abort has always been worth most; the rule allows one in three decisions."""
    loop = make_loop(space, shield=["abort -> !O[1:2] abort"])
    features = np.ones(loop.bandit.n_features)
    session = loop.begin()
    taken = []
    for _ in range(120):
        decision = session.decide(features)
        taken.append(decision.action == "abort")
        assert "continue" in decision.allowed
        loop.feedback(decision.ticket, 1.0 if taken[-1] else 0.0)
    assert sum(taken) > 20
    assert not any(taken[k] and (taken[k + 1] or taken[k + 2]) for k in range(len(taken) - 2))
    summary = loop.summary()
    assert (summary.violations, summary.change_violations) == (0, 0)
    assert summary.masked > 0


def test_another_evaluator_or_other_rules_do_not_open_the_ledger(space, tmp_path):
    class Kinder(Evaluator):
        digest = "b" * 64

    path = tmp_path / "loop.ledger"
    with make_loop(space, evaluator=Evaluator(), ledger=path) as loop:
        loop.begin().finish(0.9)
    for options in (
        {"evaluator": Kinder()},
        {"evaluator": None},
        {"evaluator": Evaluator(), "shield": ()},
        {"evaluator": Evaluator(), "shield": ["window <= 90"]},
        {"evaluator": Evaluator(), "gate": Gate(replay=0, canary=0, alpha=0.5)},
        {"evaluator": Evaluator(), "gate": Gate(replay=0, canary=0, min_effect=0.5)},
        {"evaluator": Evaluator(), "seed": 1},
    ):
        with pytest.raises(LedgerError) as raised:
            make_loop(space, ledger=path, **options)
        assert raised.value.record == 0
    with pytest.raises(LedgerError):
        make_loop(make_space(high=120), evaluator=Evaluator(), ledger=path)
    with make_loop(space, evaluator=Evaluator(), ledger=path) as loop:
        assert loop.summary().finished == 1


@pytest.mark.parametrize("answer", [-1.0, 1.5, math.nan, None, "good"])
def test_an_evaluator_that_answers_out_of_range(space, answer):
    class Broken(Evaluator):
        def __call__(self, settings, recording):
            return answer

    loop = make_loop(space, evaluator=Broken(), gate=Gate(replay=1, canary=0), recordings=4)
    for _ in range(4):
        loop.begin().finish(0.9, recording=50)
    if answer is None:
        assert loop.propose() is None  # unknown: nothing is better
    else:
        with pytest.raises((ArgumentValueError, ArgumentTypeError)):
            loop.propose()
    assert loop.version == 0
    assert loop.gate.opened == 0


@pytest.mark.parametrize(
    "report",
    [
        lambda trial, gate: trial.shadowed(1.0, 0.0),
        lambda trial, gate: trial.shadowed_many([1.0] * 100, [0.0] * 100),
        lambda trial, gate: trial.replayed([(1.0, 0.0)] * 100),
        lambda trial, gate: trial.finished(trial.assign(0), 1.0, 0.0),
        lambda trial, gate: trial.observed(0, 1.0),
        lambda trial, gate: trial.reject("I say so"),
        lambda trial, gate: trial.demote("I say so"),
        lambda trial, gate: gate.trials[0].shadowed(1.0, 0.0),
        lambda trial, gate: gate.open("another"),
    ],
)
def test_evidence_cannot_be_given_past_the_loop(space, tmp_path, report):
    """It would be in no ledger, and what is recorded after it would not follow from the records."""
    path = tmp_path / "loop.ledger"
    with make_loop(space, ledger=path) as loop:
        trial = loop.apply(space.change(space.defaults, window=55))
        honest = loop.digest
        with pytest.raises(RefusedError) as raised:
            report(trial, loop.gate)
        assert raised.value.reason == "loop"
        assert loop.digest == honest
        session = loop.begin()
        session.finish(0.5, [0.5] * len(session.shadows))
        assert trial.evidence.n == 1
        assert loop.replay().to_bytes() == loop.ledger.to_bytes()
    with make_loop(space, ledger=path) as loop:
        assert loop.gate.trials[0].evidence.n == 1


def test_rules_are_added_through_the_loop_alone(space, tmp_path):
    """One that the ledger does not know would be gone when it is opened, or keep it closed."""
    path = tmp_path / "loop.ledger"
    with make_loop(space, ledger=path) as loop:
        with pytest.raises(RefusedError, match="add_safety_constraint") as raised:
            loop.shield.add("window <= 52")
        assert raised.value.reason == "loop"
        loop.add_safety_constraint("window <= 60")
        with pytest.raises(RefusedError):
            loop.shield.add("window <= 52")
        assert loop.apply(space.change(space.defaults, window=55)).open
        other = copy.deepcopy(loop.shield)
        other.add("window <= 52")  # somebody's own
    with make_loop(space, ledger=path) as loop:
        assert len(loop.shield.rules) == 2
        with pytest.raises(RefusedError):
            loop.shield.add("window <= 52")


def test_a_promotion_that_a_later_rule_forbids_does_not_take_effect(space):
    loop = make_loop(space)
    loop.apply(space.change(space.defaults, window=55))
    loop.add_safety_constraint("window <= 50")
    for _ in range(200):
        session = loop.begin()
        session.finish(1.0, [0.0] * len(session.shadows))
    assert loop.settings["window"] == 50
    summary = loop.summary()
    assert (summary.version, summary.promoted, summary.change_violations) == (0, 0, 0)


def test_recorded_losses_of_a_loop_cannot_be_lowered(space, tmp_path):
    path = tmp_path / "loop.ledger"
    with make_loop(space, ledger=path) as loop:
        for _ in range(5):
            loop.begin().finish(0.875)
        head = loop.ledger.head
    data = path.read_bytes()
    place = data.index(b'"loss":0.875')
    path.write_bytes(data[: place + 7] + b"0.125" + data[place + 12 :])
    with pytest.raises(LedgerError) as raised:
        make_loop(space, ledger=path)
    assert raised.value.record is not None
    # A new chain over lower losses is whole; the head that was noted tells it from the old one.
    again = tmp_path / "again.ledger"
    with make_loop(space, ledger=again) as loop:
        for _ in range(5):
            loop.begin().finish(0.125)
    with pytest.raises(LedgerError):
        Ledger(again, readonly=True, head=head)
