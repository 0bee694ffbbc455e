"""`Shield`: exhaustively against the definitions, then what it refuses, keeps and tells."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import lassos, temporal
from reference.exhaustive import formulas
from reference.safety import (
    PAST_BINARY,
    PAST_UNARY,
    SAFE_BINARY,
    SAFE_UNARY,
    Words,
    check,
    is_safe,
)

from midstream.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    FormulaSyntaxError,
    RefusedError,
    StateLimitError,
)
from midstream.logic import always, make, parse
from midstream.meta.bandit import INTERVENTIONS
from midstream.meta.params import Param
from midstream.meta.safety import RuleError, SafetyConstraint, Shield
from midstream.meta.spaces import ParamSpace

ACTIONS = ("a", "b")
#: Rules as people write them; each as what must hold at every decision.
WRITTEN = [
    "b -> !Y b",
    "b -> e",
    "b -> !O[1:3] b",
    "b -> Y e",
    "b -> Y(Z e)",
    "b -> O e",
    "b -> H e",
    "b -> (a S e)",
    "e -> a",
    "Y e -> a",
    "O[1:2] e -> a",
    "!(b & Y b & Y Y b)",
    "b -> (!b S e) | Y e",
    "b -> !(Y b | Y Y b)",
    "O b -> a | e",
    "b -> (e T a)",
    "H[0:2] e -> a",
    "b & Y b -> e",
    "!b | O(e & Y e)",
    "b -> Z false",
    "b -> !(O[1:4](b & Y e))",
    "a | e",
    "b -> H[1:2] a",
    "!(b & O b & Y O b)",
    "b -> (H[0:3] !e) | Y a",
    "!b",
    "true",
    "a | b",
    "Y b -> !e | a",
    "!(b & Y(a & Y b))",
    "(b S e) -> a",
]


def refused(rules, **options):
    """The shield, or the error."""
    try:
        return Shield(rules, **{"actions": ACTIONS, "fallback": "a", **options}), None
    except RuleError as error:
        return None, error


def past_formulas(size):
    return formulas(size, ("a", "b", "e"), PAST_UNARY, PAST_BINARY)


def check_rule(words, formula, depth=3):
    """Refused iff the definitions say so; else exact. Returns whether it was refused."""
    shield, error = refused(formula)
    assert words.masks_fallback([formula], "a", depth) == (error is not None), str(formula)
    if shield is None:
        assert error.witness or "cannot be enforced" in str(error)
        return True
    check(words, [formula], shield, "a", depth)
    return False


# ---- exhaustively ----


def test_every_small_rule_against_the_definitions():
    """All up to size 4; all contexts and choices up to length 6."""
    words = Words(6)
    some = [formula for size in range(1, 5) for formula in past_formulas(size)]
    refusals = sum(check_rule(words, formula) for formula in some)
    assert len(some) > 3400
    assert 1000 < refusals < len(some) - 1000


def test_every_small_safety_rule_with_future_operators():
    words = Words(6)
    some = [
        formula
        for size in range(1, 5)
        for formula in formulas(size, ("a", "b", "e"), SAFE_UNARY, SAFE_BINARY)
        if formula.has_future and is_safe(formula)
    ]
    # Three N delay a rule by three decisions, so that the fourth is the first to be masked.
    refusals = sum(check_rule(words, formula, 4) for formula in some)
    assert len(some) > 1000
    assert 300 < refusals < len(some) - 300


@pytest.mark.parametrize("text", WRITTEN)
def test_written_rules_against_the_definitions(text):
    words = Words(6)
    words.row = _windowed(words)
    check_rule(words, parse(text))


def _windowed(words):
    """`Words.row` that knows windows of past operators, by their definition."""
    plain = type(words).row

    def row(node, n):
        if node.interval is None:
            return plain(words, node, n)
        low, high = (int(bound) for bound in node.interval)
        values = words.known[node.args[0]][n]
        found = values.copy()
        for i in range(n):
            seen = [j for j in range(i + 1) if low <= i - j <= high]
            part = values[:, seen]
            found[:, i] = part.all(axis=1) if str(node).startswith("H") else part.any(axis=1)
        return found

    return row


def test_rules_together_are_exact():
    words = Words(6)
    words.row = _windowed(words)
    kept = [f for f in map(parse, WRITTEN) if refused(f)[1] is None]
    for first in kept[::3]:
        for second in kept[1::4]:
            shield, error = refused([first, second])
            assert error is None
            check(words, [first, second], shield, "a", 3)


def test_three_actions_two_atoms_of_context():
    words = Words(4, ("a", "b", "c"), ("d", "e"))
    for text in ("b -> Y c", "c -> d & !Y e", "b -> (!c S d)", "Y c -> a | b"):
        formula = parse(text)
        shield, error = refused(formula, actions=("a", "b", "c"))
        assert error is None
        check(words, [formula], shield, "a", 2)


@pytest.mark.parametrize(
    ("future", "past"),
    [
        ("G(b -> X !b)", "b -> !Y b"),
        ("G(b -> G[1:3] !b)", "b -> !O[1:3] b"),
        ("G(e -> N N a)", "Y Y e -> a"),
        ("!b W e", "b -> O e"),
        ("G(b -> e) & G(b -> X a)", "(b -> e) & (Y b -> a)"),
        ("e R !b", "b -> Y O e"),
        ("G(b -> X X[!] a)", "Y Y b -> a"),
    ],
)
def test_bounded_future_is_what_its_past_form_is(future, past):
    first, second = refused(future)[0], refused(past)[0]
    states = {(): (first.tracker(), second.tracker())}
    for _ in range(5):
        for word, (one, other) in list(states.items()):
            for context in (frozenset(), frozenset("e")):
                assert one.allowed(context) == other.allowed(context), (word, context)
                for action in one.allowed(context):
                    pair = one.copy(), other.copy()
                    for tracker in pair:
                        tracker.commit(context, action)
                    states.setdefault((*word, (context, action)), pair)
        if len(states) > 600:
            break


def test_whatever_was_done_the_fallback_keeps_the_rule_forever():
    """The definition on infinite words: any play, then the fallback without end."""
    for text in ("G(b -> X a)", "!b W e", "G(b -> F[1:2] a)", "G(b -> e) & G(e -> X a)"):
        formula = parse(text)
        shield = refused(formula)[0]
        plays = [([], shield.tracker())]
        for _ in range(4):
            longer = []
            for word, tracker in plays:
                for context in (frozenset(), frozenset("e")):
                    for action in tracker.allowed(context):
                        after = tracker.copy()
                        after.commit(context, action)
                        longer.append(([*word, {*context, action}], after))
            plays = longer
        for word, _ in plays:
            for context in (set(), {"e"}):
                assert lassos.holds(formula, word, [{*context, "a"}]), (text, word, context)


# ---- larger ones ----

LEAVES = st.sampled_from([parse(name) for name in ("continue", "retry", "abort", "d", "e")])
PAST = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda op, f: make(op, (f,)), st.sampled_from(PAST_UNARY), inner),
        st.builds(lambda op, f, g: make(op, (f, g)), st.sampled_from(PAST_BINARY), inner, inner),
        st.builds(
            lambda f, low, more: parse(f"O[{low}:{low + more}] ({f})"),
            inner,
            st.integers(0, 3),
            st.integers(0, 3),
        ),
    ),
    max_leaves=7,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(PAST, min_size=1, max_size=4), st.data())
def test_random_rules_random_streams(rules, data):
    kept = []
    for rule in rules:
        # What the shield must leave to the environment and the fallback is left to them.
        guarded = make(parse("a -> b").op, (parse("retry | abort"), rule))
        try:
            Shield([*kept, guarded])
        except RuleError:
            continue
        kept.append(guarded)
    shield = Shield(kept)
    tracker = shield.tracker()
    trace = []
    for _ in range(data.draw(st.integers(1, 10))):
        context = data.draw(st.sets(st.sampled_from(["d", "e"])))
        allowed = tracker.allowed(context)
        assert "continue" in allowed
        action = data.draw(st.sampled_from(allowed))
        tracker.commit(context, action)
        trace.append({*context, action})
    for rule in kept:
        assert all(temporal.evaluate(rule, trace))
    assert tracker.violations == shield.violations == 0
    masked = [action for action in INTERVENTIONS if action not in tracker.allowed(set())]
    for action in masked:
        with pytest.raises(RefusedError):
            tracker.commit(set(), action)
    assert tracker.refused == len(masked)


# ---- what is refused when it is loaded ----


@pytest.mark.parametrize(
    ("rule", "message", "witness"),
    [
        ("retry -> X !continue", "after retry, it is refused", ["retry", "continue"]),
        ("G(retry -> F[1:3] escalate)", "after retry, continue, continue, it", None),
        ("Y abort -> escalate", "after abort, it is refused", ["abort", "continue"]),
        ("stall -> abort", "when stall, it is refused", ["continue"]),
        ("!continue", "it is refused", ["continue"]),
        ("F[0:2] abort", "after continue, continue, it is refused", ["continue"] * 3),
        ("!stall", "cannot be kept whatever is done: !stall is violated by", ["continue"]),
        ("false", "cannot be kept whatever is done", ["continue"]),
        ("O[0:2] stall", "cannot be kept", ["continue"]),
    ],
)
def test_what_could_mask_the_fallback_is_refused_with_a_witness(rule, message, witness):
    with pytest.raises(RuleError, match=message) as raised:
        Shield({"mine": rule})
    assert "'mine'" in str(raised.value)
    assert raised.value.rule == "mine"
    actions = [action for _, action in raised.value.witness]
    assert actions[-1] == "continue"
    if witness is not None:
        assert actions == witness


def test_a_slip_of_the_pen_is_named():
    """A name that nobody knows is of the context, where any name may be: say what was meant."""
    space = ParamSpace([Param.integer("copies", 2, 12, default=2)])
    for rule, meant in (("copis <= 8", "'copies'"), ("abrt -> stuck", "'abort'")):
        with pytest.raises(RuleError, match=f"of the context: did you mean {meant}"):
            Shield(rule, params=space)
    with pytest.raises(RuleError, match="of the context; did you mean 'copies'"):
        Shield("copis <= 8", params=space, context=("stuck",))
    with pytest.raises(RuleError, match="whatever is done: !stall is violated by continue when st"):
        Shield("!stall", params=space)


def test_a_witness_replays():
    rule = parse("G(retry & stall -> X(loop -> X !continue))")
    with pytest.raises(RuleError) as raised:
        Shield(rule)
    word = [{*context, action} for context, action in raised.value.witness]
    assert [sorted(letter) for letter in word] == [
        ["retry", "stall"],
        ["continue", "loop"],
        ["continue"],
    ]
    assert not any(lassos.holds(rule, word, [{name}]) for name in INTERVENTIONS)
    assert lassos.holds(rule, word[:-1], [{"abort"}])


@pytest.mark.parametrize("rule", ["F abort", "G(retry -> F done)", "G F continue", "!abort U done"])
def test_what_cannot_be_enforced_is_refused_with_a_repair(rule):
    with pytest.raises(RuleError, match="cannot be enforced") as raised:
        Shield(rule)
    assert raised.value.witness == ()
    if "G F" not in rule:
        assert "within how many decisions" in str(raised.value)
        assert "[0:10]" in raised.value.repair


def test_text_that_is_no_formula_says_where():
    with pytest.raises(FormulaSyntaxError, match="line 1, column 10") as raised:
        Shield({"fine": "abort -> loop", "odd": "abort -> & b"})
    assert raised.value.position == 9
    assert "in the rule 'odd'" in raised.value.__notes__
    with pytest.raises(FormulaSyntaxError):
        SafetyConstraint("odd", "a &")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rules": "abrot -> loop", "context": ("loop",)}, "did you mean 'abort'"),
        ({"rules": "abort -> lop", "context": ("loop",)}, "names 'lop', which is neither"),
        ({"rules": "abort > 3"}, "compares the action 'abort' with a number"),
        ({"rules": ["x > 3 -> !abort", "x -> !abort"]}, "'x' as a name or as a number"),
        ({"rules": "x & x > 3"}, "'x' both as a name and as a number"),
        ({"rules": "raised_window -> loop"}, "give params, or declare it in context"),
        ({"rules": [SafetyConstraint("n", "true")] * 2}, "got 'n' twice"),
        ({"rules": SafetyConstraint("n", "x > 3", "change")}, "params must be given"),
    ],
)
def test_names_that_there_are_not(options, message):
    with pytest.raises(RuleError, match=message):
        Shield(**options)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"actions": ()}, ArgumentValueError, "actions must be 1 to 64, got 0"),
        ({"actions": "continue"}, ArgumentTypeError, "actions must be an iterable of str"),
        ({"actions": ("a", "a")}, ArgumentValueError, "got 'a' twice"),
        ({"fallback": "stop"}, ArgumentValueError, "fallback must be one of"),
        ({"rules": 3}, ArgumentTypeError, "rules must be formulas"),
        ({"rules": [3]}, ArgumentTypeError, "rule 'rule1' must be text"),
        ({"params": {}}, ArgumentTypeError, "params must be a ParamSpace"),
        ({"context": ("abort",)}, ArgumentValueError, "context must not have actions, got abort"),
        ({"rules": {"": "a"}}, ArgumentValueError, "name must not be empty"),
    ],
)
def test_bad_arguments(options, error, message):
    with pytest.raises(error, match=message):
        Shield(**options)


def test_too_large_rules_say_so():
    wide = " | ".join(f"c{index}" for index in range(13))
    with pytest.raises(StateLimitError, match="12 names of the context, got 13"):
        Shield(f"abort -> {wide}")
    many = [f"abort -> c{index}" for index in range(65)]
    with pytest.raises(StateLimitError, match="64 names of the context together"):
        Shield(many)
    assert Shield(many[:64]).tracker().allowed({f"c{index}" for index in range(64)}) == (
        INTERVENTIONS
    )


# ---- decisions ----


def test_numbers_of_the_context():
    shield = Shield(["abort -> copies >= 3", "switch -> copies > 5 & calm"])
    tracker = shield.tracker()
    assert "abort" in tracker.allowed({"copies": 3})
    assert "abort" not in tracker.allowed({"copies": 2.5, "calm": True})
    assert "switch" in tracker.allowed({"copies": 6, "calm": True})
    assert shield.context == ("calm", "copies")
    for context, error, message in [
        ({"calm": True}, ArgumentValueError, "context must have a number for 'copies'"),
        ({"calm"}, ArgumentValueError, "context must be a mapping with a number for 'copies'"),
        ({"copies": float("nan")}, ArgumentValueError, "must be finite, got nan"),
        ({"copies": float("inf")}, ArgumentValueError, "must be finite"),
        ({"copies": "3"}, ArgumentTypeError, "must be a real number, got '3'"),
        ({"copies": True}, ArgumentTypeError, "must be a real number, got True"),
        ({"copies": 3, "calm": 1}, ArgumentTypeError, "must be a bool, got 1"),
    ]:
        with pytest.raises(error, match=message):
            tracker.allowed(context)
        with pytest.raises(error, match=message):
            tracker.commit(context, "continue")
    assert tracker.position == 0


def test_comparisons_agree_with_each_other():
    """Without that, x > 5 and not x > 3 would mask the fallback."""
    assert Shield("!(x > 5 & !(x > 3)) | retry").never == ()
    with pytest.raises(RuleError):
        Shield("!(x > 5 & !(x > 7)) | retry")


def test_declared_contexts():
    tracker = Shield("abort -> loop", context=("loop", "stall")).tracker()
    assert "abort" in tracker.allowed({"loop", "stall"})
    with pytest.raises(ArgumentValueError, match="declared names, got 'lop'"):
        tracker.allowed({"lop"})
    open_ended = Shield("abort -> loop").tracker()
    assert "abort" not in open_ended.allowed({"lop"})
    for one in (tracker, open_ended):
        with pytest.raises(ArgumentValueError, match="must not have an action, got 'abort'"):
            one.allowed({"abort"})
        with pytest.raises(ArgumentTypeError, match="context must be a set of names"):
            one.allowed("loop")
        with pytest.raises(ArgumentTypeError, match="context must have names"):
            one.allowed({3})


def test_forms_of_a_context():
    tracker = Shield("abort -> loop").tracker()
    for context in ({"loop"}, ["loop", "other"], ("loop",), {"loop": 1}.keys(), {"loop": True}):
        assert "abort" in tracker.allowed(context)
    for context in ((), {}, {}.keys(), {"loop": False}, frozenset()):
        assert "abort" not in tracker.allowed(context)


def test_a_refused_action_changes_nothing():
    shield = Shield({"calm": SafetyConstraint("calm", "abort -> !O[1:2] abort", "", "why", "wait")})
    tracker = shield.tracker()
    tracker.commit((), "abort")
    before = tracker._state()[1:]
    with pytest.raises(RefusedError, match="'abort' is refused: calm") as raised:
        tracker.commit((), "abort")
    assert "why" in raised.value.reason
    assert "wait" in raised.value.reason
    assert tracker._state()[1:] == before
    assert (tracker.position, tracker.refused, tracker.masked, tracker.violations) == (1, 1, 0, 0)
    (refusal,) = tracker.refusals((), "abort")
    assert (refusal.rule, refusal.reason, refusal.repair) == ("calm", "why", "wait")
    assert tracker.refusals((), "retry") == ()
    with pytest.raises(ArgumentValueError, match="action must be one of continue"):
        tracker.commit((), "sleep")
    tracker.commit((), "nudge")
    assert (shield.decisions, shield.masked, shield.refused, shield.violations) == (2, 1, 1, 0)


def test_streams_do_not_know_each_other():
    shield = Shield("retry -> !O[1:3] retry")
    first, second = shield.tracker(), shield.tracker()
    first.commit((), "retry")
    assert "retry" not in first.allowed()
    assert "retry" in second.allowed()


def test_an_action_that_is_never_allowed_is_told():
    assert Shield(["!abort", "retry -> loop"]).never == ("abort",)
    assert Shield("G(abort -> X false)").never == ("abort",)


def test_no_rules_no_limits():
    tracker = Shield().tracker()
    assert tracker.allowed({"anything"}) == INTERVENTIONS
    tracker.commit({"anything": True}, "escalate")
    assert tracker.position == 1


def test_the_monitors_do_not_believe_the_tables():
    """Tables of another rule let a violation through; the monitors of the rule count it."""
    from midstream.logic import Monitor
    from midstream.meta._safety_game import solve
    from midstream.meta._shield import Rule, Table
    from midstream.meta._shield import Walker as Stream

    actions = ("continue", "abort")
    strict, loose = (solve(always(parse(t)), actions, "continue") for t in ("!abort", "true"))
    monitor = Monitor("G !abort", alphabet=strict.alphabet, semantics="ltl3")
    table = Table(actions, None)
    bits = strict.classes[:0]
    # One column more, as if the rule mentioned abort: the classes are the strict rule's.
    following = loose.following.repeat(2, axis=2)
    table.add(Rule(bits, strict.classes, loose.allow, following, monitor), {}, {})
    stream = Stream(table)
    stream.commit((), "continue")
    stream.commit((), "abort")
    stream.commit((), "abort")
    assert (stream.violations, table.violations) == (1, 1)


def test_tables_that_are_none_are_refused():
    from midstream.meta._shield import Rule

    bits, classes = np.zeros(1, np.uint8), np.zeros(2, np.uint8)
    allow, following = np.ones((3, 2), np.uint64), np.zeros((3, 2, 1), np.int32)
    assert Rule(bits, classes, allow, following, None).n_states == 3
    for bad in (
        (bits + 64, classes, allow, following),
        (bits, classes + 1, allow, following),
        (bits, classes, allow[:2], following),
        (bits, classes, allow[:, :1], following[:, :1]),
        (bits, classes, allow, following[:, :1]),
        (bits, classes, allow, following - 1),
        (bits, classes, allow, following + 3),
    ):
        with pytest.raises(ValueError, match="tables of one rule"):
            Rule(*bad, None)
    rule = Rule(bits, classes, allow, following, None)
    assert [rule.reachable(state) for state in (-1, 0, 2, 3)] == [False, True, True, False]


def test_states_of_a_stream_that_are_none():
    """By the snapshot's counters, states and number of rules."""
    tracker = Shield(["abort -> !O[1:3] abort", "retry -> loop"]).tracker()
    tracker.commit((), "abort")
    before = tracker.snapshot()
    counts, states, monitors = tracker._state()
    tracker._set_state(counts, states, monitors)
    assert tracker.snapshot() == before
    for bad, told in (
        ((counts, (*states, 0), (*monitors, monitors[0])), "not as many rules"),
        ((counts, states, monitors[:1]), "not as many rules"),
        ((counts, (-1, *states[1:]), monitors), "comes to state -1"),
        ((counts, (1 << 20, *states[1:]), monitors), f"comes to state {1 << 20}"),
        (((counts[0], -1, *counts[2:]), states, monitors), "counters below 0"),
    ):
        with pytest.raises(ValueError, match=told):
            tracker._set_state(*bad)
        assert tracker.snapshot() == before
    # Of fewer rules than there are, the others begin.
    tracker._set_state(counts, states[:1], monitors[:1])
    assert "abort" not in tracker.allowed({"loop"})


# ---- rules at run time ----


def test_rules_can_only_be_added():
    shield = Shield("abort -> loop")
    tracker = shield.tracker()
    tracker.commit({"loop"}, "abort")
    before = shield.digest
    added = shield.add(SafetyConstraint("calm", "abort -> !O[1:2] abort"))
    assert added.kind == "action"
    assert shield.digest != before
    # The rule begins now: the abort before it is not known to it.
    assert "abort" in tracker.allowed({"loop"})
    tracker.commit({"loop"}, "abort")
    assert "abort" not in tracker.allowed({"loop"})
    for bad, error in [
        ("retry -> X !continue", RuleError),
        ("F abort", RuleError),
        ("abort &", FormulaSyntaxError),
        (SafetyConstraint("calm", "true"), RuleError),
    ]:
        state, digest = tracker._state(), shield.digest
        with pytest.raises(error):
            shield.add(bad)
        assert (tracker._state(), shield.digest, len(shield.rules)) == (state, digest, 2)
    assert not any(hasattr(shield, name) for name in ("remove", "clear", "pop", "discard"))


@pytest.mark.parametrize(
    "name", ["rules", "actions", "fallback", "params", "context", "digest", "violations", "_table"]
)
def test_a_shield_is_read_only(name):
    shield = Shield("abort -> loop")
    with pytest.raises(AttributeError):
        setattr(shield, name, ())
    with pytest.raises(AttributeError):
        delattr(shield, name)


def test_digest_tells_shields_apart():
    digests = {
        Shield(*args, **options).digest
        for args, options in [
            ((), {}),
            (("abort -> loop",), {}),
            (({"other": "abort -> loop"},), {}),
            (("abort -> loop",), {"context": ("loop",)}),
            (("abort -> loop",), {"fallback": "nudge"}),
            (("abort -> loop",), {"actions": ("continue", "abort")}),
            (("abort -> stall",), {}),
            ((SafetyConstraint("rule1", "abort -> loop", reason="why"),), {}),
        ]
    }
    assert len(digests) == 8
    assert Shield("abort -> loop").digest == Shield("abort -> loop").digest


# ---- snapshots ----


def test_snapshots_of_streams():
    shield = Shield(["abort -> !O[1:3] abort", "retry -> loop"])
    tracker = shield.tracker()
    for action in ("abort", "nudge"):
        tracker.commit((), action)
    data = tracker.snapshot()
    other = shield.tracker()
    other.restore(data)
    assert other.snapshot() == data
    assert other.digest == tracker.digest
    assert "abort" not in other.allowed()
    for twin in (copy.copy(tracker), copy.deepcopy(tracker), pickle.loads(pickle.dumps(tracker))):
        assert twin.snapshot() == data
    # A further rule begins; fewer or other rules are refused.
    shield.add("nudge -> stall")
    other = shield.tracker()
    other.restore(data)
    assert "abort" not in other.allowed()
    assert "nudge" not in other.allowed()
    for wrong in (Shield("abort -> !O[1:3] abort"), Shield(["abort -> loop", "retry -> loop"])):
        with pytest.raises(ArgumentValueError, match="shield with these rules"):
            wrong.tracker().restore(data)


def test_damaged_and_forged_snapshots():
    from midstream._core.snapshots import sealed

    shield = Shield("abort -> !O[1:3] abort")
    tracker = shield.tracker()
    tracker.commit((), "abort")
    data = tracker.snapshot()
    fresh = shield.tracker()
    for place in range(0, len(data), 3):
        damaged = bytearray(data)
        damaged[place] ^= 0x41
        with pytest.raises(ArgumentValueError):
            fresh.restore(bytes(damaged))
        # With a checksum that is right it is refused, or a state of the stream.
        try:
            fresh.restore(sealed(bytes(damaged[:-4])))
        except ArgumentValueError:
            continue
        assert "continue" in fresh.allowed()
        assert fresh.snapshot() == sealed(bytes(damaged[:-4]))
        fresh.restore(data)
    for part in (b"", data[:-1], data[:20], data + b"x"):
        with pytest.raises(ArgumentValueError):
            fresh.restore(part)
    with pytest.raises(ArgumentTypeError):
        fresh.restore(3)


# ---- changes ----


@pytest.fixture
def space():
    return ParamSpace(
        [
            Param.integer("chars", 100, 5000, default=1000, max_step=500),
            Param.real("rate", 0.0, 1.0, default=0.5, max_step=0.5),
            Param.choice("severity", ["note", "warn", "stop"], default="warn"),
            Param.choice("size", [8, 16, 32], default=16),
            Param.flag("trim", default=False),
        ]
    )


def test_rules_over_changes(space):
    shield = Shield(
        {
            "cap": "chars <= 1400",
            "careful": "raised_chars -> step_chars <= 200",
            "rested": "raised_chars -> !O[1:2] raised_chars",
            "loud": "!severity_is_note",
            "trimmed": "lowered_rate -> trim | old_trim",
        },
        params=space,
    )
    assert {rule.kind for rule in shield.rules} == {"change"}
    base = space.defaults
    (refusal,) = shield.permits(space.change(base, chars=1300))
    assert (refusal.rule, refusal.explanation) == (
        "careful",
        "raised_chars = True, step_chars = 300",
    )
    assert [r.rule for r in shield.permits(space.change(base, chars=1500))] == ["cap", "careful"]
    assert [r.rule for r in shield.permits(space.change(base, severity="note"))] == ["loud"]
    assert [r.rule for r in shield.permits(space.change(base, rate=0.25))] == ["trimmed"]
    assert shield.permits(space.change(base, rate=0.25, trim=True)) == ()
    first = space.change(base, chars=1200)
    assert shield.permits(first) == ()
    shield.commit_change(first)
    again = space.change(first.after, chars=1300)
    assert [r.rule for r in shield.permits(again)] == ["rested"]
    with pytest.raises(RefusedError, match="rested") as raised:
        shield.commit_change(again)
    assert raised.value.reason == "rested"
    now = first.after
    for rate in (0.6, 0.7):
        change = space.change(now, rate=rate)
        shield.commit_change(change)
        now = change.after
    assert shield.permits(space.change(now, chars=1300)) == ()
    assert (shield.changes, shield.refused_changes, shield.change_violations) == (3, 1, 0)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("G(raised_chars -> X !raised_chars)", "would refuse a change for what follows it"),
        ("raised_chars -> F lowered_chars", "would refuse a change for what follows it"),
        ("chars <= 100 & abort", "uses 'abort' as a name, which changes do not have"),
        ("raised_chrs", "did you mean 'raised_chars'"),
        ("chars", "uses 'chars' as a name"),
        ("severity >= 1", "uses 'severity' as a number"),
    ],
)
def test_rules_over_changes_that_cannot_be(space, rule, message):
    kind = "change" if "severity" in rule or rule in ("chars", "raised_chrs") else ""
    with pytest.raises(RuleError, match=message):
        Shield(SafetyConstraint("mine", rule, kind), params=space)


def test_always_before_a_rule_over_changes_is_fine(space):
    one = Shield("G(chars <= 1200) & G(trim -> O raised_chars)", params=space)
    assert len(one.permits(space.change(space.defaults, chars=1300))) == 1
    assert len(one.permits(space.change(space.defaults, trim=True))) == 1


def test_changes_of_another_space_are_refused(space):
    wider = ParamSpace([Param.integer("chars", 100, 9999, default=1000, max_step=5000)])
    shield = Shield("chars <= 1400", params=space)
    with pytest.raises(RefusedError) as raised:
        shield.permits(wider.change(wider.defaults, chars=1100))
    assert raised.value.reason == "space"
    with pytest.raises(RefusedError):
        shield.commit_change(wider.change(wider.defaults, chars=1100))
    assert (shield.changes, shield.refused_changes) == (0, 1)
    for wrong in ({"chars": 1100}, None, space.defaults):
        with pytest.raises(ArgumentTypeError, match="change must be a Change"):
            shield.permits(wrong)


def test_snapshots_of_shields(space):
    rules = ["raised_chars -> !O[1:2] raised_chars", "abort -> loop"]
    shield = Shield(rules, params=space)
    change = space.change(space.defaults, chars=1100)
    shield.commit_change(change)
    tracker = shield.tracker()
    tracker.commit({"loop"}, "abort")
    data = shield.snapshot()
    other = Shield(rules, params=space)
    other.restore(data)
    twin = pickle.loads(pickle.dumps(shield))
    again = space.change(change.after, chars=1200)
    for one in (other, twin):
        assert one.snapshot() == data
        assert one.digest == shield.digest
        assert (one.decisions, one.changes) == (1, 1)
        assert len(one.permits(again)) == 1
    shield.add("rate <= 0.9")
    shield.restore(data)
    assert len(shield.permits(again)) == 1
    with pytest.raises(ArgumentValueError, match="shield with these rules"):
        Shield(rules[:1], params=space).restore(data)
    with pytest.raises(ArgumentValueError, match="shield with these rules"):
        other.restore(shield.snapshot())
    for part in (b"", data[:-1], data[:-5] + data[-4:]):
        with pytest.raises(ArgumentValueError):
            other.restore(part)


def test_what_notebooks_and_prompts_show(space):
    shield = Shield({"cap": "chars <= 1400", "loop<": "abort -> loop"}, params=space)
    assert "1 rule over 8 actions, 1 over changes" in repr(shield)
    assert "loop&lt;" in shield._repr_html_()
    assert "decision 0" in repr(shield.tracker())
    assert str(shield.rules[0]) == "cap: chars <= 1400"


def test_an_interrupted_start_of_a_stream_can_be_begun_again(monkeypatch):
    shield = Shield(["G (late -> !continue)"], actions=("continue", "abort"), fallback="abort")
    tracker = shield.tracker()

    def interrupted(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("midstream.logic.monitor.Monitor.copy", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tracker.allowed({"late"})
    assert tracker.allowed({"late"}) == ("abort",)
    tracker.commit({"late"}, "abort")
    assert tracker.position == 1


def test_an_action_is_a_name():
    stream = Shield((), actions=("continue", "abort")).tracker()
    with pytest.raises(ArgumentTypeError, match="action must be str, got 3"):
        stream.commit((), 3)
    with pytest.raises(ArgumentValueError, match="got 'abrot'"):
        stream.commit((), "abrot")
    assert stream.position == 0
