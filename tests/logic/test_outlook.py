"""What a rule book says of half an event, against all events that it can become."""

from __future__ import annotations

import itertools
import random

import pytest
from logic.test_rulebook import satisfiable_rules

from midstream._core.errors import ArgumentTypeError
from midstream.logic._ops import Op
from midstream.logic.rulebook import RuleBook
from midstream.logic.rules import Rule

OPS = (Op.NOT, Op.AND, Op.OR, Op.NEXT, Op.UNTIL, Op.ONCE, Op.YESTERDAY, Op.ALWAYS, Op.EVENTUALLY)
FIELDS = ("x", "y", "z")
MEANING = {
    "a": {"x": 1},
    "b": {"y": {">": 0}},
    "c": {"any": [{"x": 2}, {"z": 1}]},
    "d": {"z": {"exists": False}},
}
VALUES = {"x": (0, 1, 2), "y": (0, 1), "z": (0, 1, None)}


def event_of(values):
    return {name: value for name, value in values.items() if value is not None}


def completions(known):
    missing = [name for name in FIELDS if name not in known]
    for values in itertools.product(*(VALUES[name] for name in missing)):
        yield event_of({**known, **dict(zip(missing, values, strict=True))})


def names(findings):
    return {finding.rule for finding in findings if finding.broken}


@pytest.mark.parametrize("seed", range(60))
def test_it_is_what_all_completions_have_in_common(seed: int) -> None:
    rng = random.Random(seed)
    rules = [
        Rule(
            rule.name,
            rule.formula,
            atoms={name: MEANING[name] for name in rule.formula.atoms},
            action=rng.choice(("block", "warn")),
            key=rng.choice((None, "who")),
            after_violation=rng.choice(("stay", "reset", "skip")),
        )
        for rule in satisfiable_rules(rng, 6, OPS)
    ]
    book = RuleBook(rules)
    for _ in range(25):
        event = {name: rng.choice(VALUES[name]) for name in FIELDS}
        who = rng.choice("pq")
        known = {name: event[name] for name in FIELDS if rng.random() < 0.5}
        seen = book.outlook(
            {**event_of(known), "who": who},
            lambda path, known=known: not path or (path[0] in FIELDS and path[0] not in known),
        )
        broken = [names(book.what_if({**one, "who": who}).findings) for one in completions(known)]
        certain, possible = set.intersection(*broken), set.union(*broken)
        # Conditions are tried as far as pairs of them show what goes together, which is less than
        # what values of fields can be: what is certain may be called open, never the reverse.
        assert names(seen.broken) <= certain
        assert possible <= names(seen.broken) | set(seen.open)
        if seen.settled:
            assert certain == possible
        if len(known) == 3:
            assert seen.settled
            assert (names(seen.broken), seen.open) == (certain, ())
        forbidding = {rule.name for rule in rules if rule.action == "block"}
        if seen.allowed is not None:
            assert {bool(one & forbidding) for one in broken} == {not seen.allowed}
        before = book.snapshot()
        book.outlook({"who": who}, lambda path: path != ("who",))
        assert book.snapshot() == before
        book.step({**event_of(event), "who": who})


def test_the_formula_decides_before_all_of_its_atoms_are_known() -> None:
    rule = Rule(
        "backup first",
        "G (delete -> O backup & !force)",
        atoms={
            "delete": {"name": "delete"},
            "backup": {"name": "backup"},
            "force": {"arguments.force": True},
        },
    )
    book = RuleBook([rule])

    def unknown(path):
        return path[:1] == ("arguments",)

    assert book.outlook({"name": "delete"}, unknown).allowed is False
    other = book.outlook({"name": "other"}, unknown)
    assert (other.allowed, other.settled) == (True, True)
    book.step({"name": "backup"})
    seen = book.outlook({"name": "delete"}, unknown)
    assert (seen.allowed, seen.open, seen.broken) == (None, ("backup first",), ())
    assert not seen.settled


def test_conditions_that_exclude_each_other_are_not_tried_together() -> None:
    rule = Rule(
        "neither",
        "G !(call & (up <-> down))",
        atoms={
            "call": {"name": "go"},
            "up": {"to": {">": 5}},
            "down": {"to": {"<=": 5}},
        },
    )
    # Both true would be a break, and cannot be; that neither is takes a value of another type.
    assert RuleBook([rule]).outlook({"name": "stay"}, lambda path: path == ("to",)).allowed
    one = Rule("one", "G !(up & down)", atoms={"up": {"to": 1}, "down": {"to": 2}})
    assert RuleBook([one]).outlook({}, lambda path: True).allowed


def test_a_key_that_is_not_known_may_be_any() -> None:
    book = RuleBook(
        [
            Rule(
                "read first",
                "!write W read",
                key="id",
                atoms={"write": {"name": "write"}, "read": {"name": "read"}},
            )
        ]
    )

    def unknown(path):
        return path == ("id",)

    assert book.outlook({"name": "write"}, unknown).open == ("read first",)
    seen = book.outlook({"name": "else"}, unknown)
    assert (seen.allowed, seen.settled) == (True, False)  # its own key has seen an event more
    assert book.outlook({"name": "write"}, lambda path: False).allowed is True  # it has no key
    for number in range(70):
        book.step({"name": "read", "id": number})
    assert book.outlook({"name": "else"}, unknown).allowed is None  # too many to look at
    seen = book.outlook({"name": "write", "id": []}, lambda path: False)
    assert seen.open == ("read first",)
    assert seen.problems[0][0] == "id"


def test_a_value_of_the_wrong_type_is_told_and_leaves_its_rule_open() -> None:
    book = RuleBook(
        [
            Rule("small", "G !big", atoms={"big": {"n": {">": 3}}}),
            Rule("never", "G !(x & big)", atoms={"x": {"name": "x"}, "big": {"n": {">": 3}}}),
        ]
    )
    seen = book.outlook({"n": "4"}, lambda path: False)
    assert (seen.allowed, seen.open) == (None, ("small",))
    assert "'n' must be a number" in dict(seen.problems)["n"]


@pytest.mark.parametrize(
    ("test", "decided"),
    [
        ("production", [None, None, None, True]),
        ({"==": "prod"}, [None, None, None, True]),
        ({"==": 3}, [True, True, True, True]),
        ({"!=": "prod"}, [None, None, None, False]),
        ({"in": ["dev", "prod"]}, [None, None, None, True]),
        ({"not_in": ["dev", "pro", 3]}, [None, None, None, False]),
        ({"starts_with": "prox"}, [None, None, None, True]),
        ({"starts_with": "pr"}, [None, None, False, False]),
        ({"contains": "ro"}, [None, None, None, False]),
        ({"ends_with": "d"}, [None, None, None, None]),
        ({"matches": "prod"}, [None, None, None, None]),
        ({"exists": True}, [False, False, False, False]),
        ({"exists": False}, [True, True, True, True]),
    ],
)
def test_the_beginning_of_a_text_may_decide(test, decided) -> None:
    book = RuleBook([Rule("no", "G !no", atoms={"no": {"to": test}})])
    for text, wanted in zip(("", "p", "pr", "proXd"), decided, strict=True):
        seen = book.outlook({}, lambda path, text=text: text if path == ("to",) else not path)
        assert seen.allowed is wanted, (text, test)


def test_functions_are_asked_when_all_is_known() -> None:
    book = RuleBook([Rule("no", "G !odd", atoms={"odd": lambda event: event["n"] % 2 == 1})])
    assert book.outlook({}, lambda path: True).allowed is None
    assert book.outlook({"n": 3}, lambda path: False).allowed is False
    with pytest.raises(ArgumentTypeError, match="unknown must be callable, got 3"):
        book.outlook({}, 3)


def test_a_rule_that_skips_goes_on_as_if_what_broke_it_had_not_been() -> None:
    atoms = {name: {"name": name} for name in ("read", "write")}
    skip, stay, reset = (
        RuleBook([Rule("r", "G (write -> O read)", atoms=atoms, after_violation=how)])
        for how in ("skip", "stay", "reset")
    )
    broken = {book: [] for book in (skip, stay, reset)}
    for name in ("write", "write", "read", "write"):
        for book in broken:
            broken[book].append(bool(book.step({"name": name}).broken))
    assert broken[skip] == broken[reset] == [True, True, False, False]
    assert broken[stay] == [True, False, False, False]
    assert skip.counts()[0].violations == 2


@pytest.mark.parametrize(("how", "found"), [("skip", [1, 1, 0, 0]), ("stay", [1, 0, 0, 0])])
def test_what_a_skipping_rule_remembers_goes_back_too(how, found) -> None:
    rule = Rule(
        "ready",
        "G (go -> O[0:5] ready) & G !bad",
        atoms={name: {name: True} for name in ("go", "ready", "bad")},
        clock="time",
        after_violation=how,
    )
    events = [
        {"t": 0.0, "bad": True, "ready": True},
        {"t": 1.0, "go": True},  # only the event that broke it was ready
        {"t": 2.0, "ready": True},
        {"t": 3.0, "go": True},
    ]
    book = RuleBook([rule])
    assert [len(book.step(event).broken) for event in events] == found


def test_the_next_deadline_is_the_first_of_all_keys() -> None:
    rule = Rule(
        "answer",
        "G (ask -> F[0:5] tell)",
        atoms={"ask": {"name": "ask"}, "tell": {"name": "tell"}},
        key="id",
        clock="time",
    )
    book = RuleBook([rule])
    assert book.next_deadline is None
    book.step({"name": "ask", "id": 1, "t": 10.0})
    book.step({"name": "ask", "id": 2, "t": 12.0})
    assert book.next_deadline == 15.0
    book.step({"name": "tell", "id": 1, "t": 13.0})
    assert book.next_deadline == 17.0
    assert [one.key for one in book.overdue(17.5)] == [2]
    book.step({"name": "tell", "id": 2, "t": 16.0})
    assert book.next_deadline is None
