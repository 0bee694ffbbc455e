"""Rules, conditions, patterns and their TOML."""

from __future__ import annotations

import copy
import pickle
import random
import re
from collections import namedtuple
from dataclasses import dataclass

import pytest

from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ConfigurationError,
    FormulaSyntaxError,
)
from midstream.logic.parser import parse
from midstream.logic.rulebook import RuleBook
from midstream.logic.rules import Rule, read_rules, write_rules


def fits(condition, event, **options) -> bool:
    """Whether an event satisfies a condition, as a rule sees it."""
    book = RuleBook([Rule("rule", "G !hit", atoms={"hit": condition})], **options)
    return not book.what_if(event)


# Conditions


@pytest.mark.parametrize(
    ("condition", "event", "wanted"),
    [
        ({"kind": "call"}, {"kind": "call"}, True),
        ({"kind": "call"}, {"kind": "text"}, False),
        ({"kind": "call"}, {}, False),
        ({"kind": "call", "n": 3}, {"kind": "call", "n": 3.0}, True),
        ({"n": 1}, {"n": True}, False),
        ({"n": True}, {"n": 1}, False),
        ({"n": True}, {"n": True}, True),
        ({"n": None}, {"n": None}, True),
        ({"n": None}, {}, False),
        ({"n": 0}, {"n": [0]}, False),
        ({"a.b.c": "x"}, {"a": {"b": {"c": "x"}}}, True),
        ({"a.b.c": "x"}, {"a": {"b": "x"}}, False),
        ({"a.1": "x"}, {"a": ["y", "x"]}, True),
        ({"a.2": "x"}, {"a": ["y", "x"]}, False),
        ({"a.b": 1}, {"a.b": 1}, False),
        ({"n": {"!=": 3}}, {"n": 4}, True),
        ({"n": {"!=": 3}}, {"n": 3}, False),
        ({"n": {"!=": 3}}, {}, False),
        ({"n": {">": 3}}, {"n": 4}, True),
        ({"n": {">": 3}}, {"n": 3}, False),
        ({"n": {">=": 3, "<": 5}}, {"n": 3}, True),
        ({"n": {">=": 3, "<": 5}}, {"n": 5}, False),
        ({"n": {"<=": 10**30}}, {"n": 10**30}, True),
        ({"s": {">": "b"}}, {"s": "c"}, True),
        ({"n": {"in": ["a", 1]}}, {"n": 1}, True),
        ({"n": {"in": ["a", 1]}}, {"n": True}, False),
        ({"n": {"in": ["a", 1]}}, {"n": "b"}, False),
        ({"n": {"not_in": ["a", 1]}}, {"n": "b"}, True),
        ({"n": {"not_in": ["a", 1]}}, {"n": "a"}, False),
        ({"n": {"not_in": ["a", 1]}}, {}, False),
        ({"s": {"contains": "rm"}}, {"s": "sudo rm x"}, True),
        ({"s": {"contains": "rm"}}, {"s": "ls"}, False),
        ({"s": {"contains": 1}}, {"s": [2, 1]}, True),
        ({"s": {"contains": 1}}, {"s": [True]}, False),
        ({"s": {"contains": "k"}}, {"s": {"k": 0}}, True),
        ({"s": {"starts_with": "/etc"}}, {"s": "/etc/passwd"}, True),
        ({"s": {"ends_with": ".py"}}, {"s": "a.pyc"}, False),
        ({"s": {"matches": r"^rm\s+-r"}}, {"s": "rm  -rf /"}, True),
        ({"s": {"matches": r"^rm\s+-r"}}, {"s": "arm -rf"}, False),
        ({"s": {"exists": True}}, {"s": None}, True),
        ({"s": {"exists": True}}, {}, False),
        ({"s": {"exists": False}}, {}, True),
        ({"not": {"kind": "call"}}, {"kind": "text"}, True),
        ({"not": {"kind": "call"}}, {"kind": "call"}, False),
        ({"any": [{"a": 1}, {"b": 1}]}, {"b": 1}, True),
        ({"any": [{"a": 1}, {"b": 1}]}, {"b": 2}, False),
        ({"all": [{"a": 1}, {"not": {"b": 1}}]}, {"a": 1}, True),
        ({"kind": "call", "not": {"name": "ls"}}, {"kind": "call", "name": "rm"}, True),
        ({"kind": "call", "not": {"name": "ls"}}, {"kind": "call", "name": "ls"}, False),
        ({"$.not": 1}, {"not": 1}, True),
        (lambda event: event["n"] > 3, {"n": 4}, True),
        (lambda event: event["n"] > 3, {"n": 3}, False),
    ],
)
def test_condition(condition, event, wanted):
    assert fits(condition, event) is wanted


def test_events_of_other_shapes():
    call = namedtuple("call", "kind name")

    @dataclass
    class Call:
        kind: str
        name: str
        hidden = 3

    condition = {"kind": "call", "name": "rm"}
    assert fits(condition, call("call", "rm"))
    assert not fits(condition, call("call", "ls"))
    assert fits(condition, Call("call", "rm"))
    # Only fields: neither methods, nor attributes of the class, nor what is private.
    assert not fits({"hidden": 3}, Call("call", "rm"))
    assert not fits({"__class__": {"exists": True}}, Call("call", "rm"))
    assert not fits({"count": {"of": {"kind": {"exists": False}}, "at_least": 1}}, call("a", "b"))


@pytest.mark.parametrize(
    ("condition", "event"),
    [
        ({"n": {">": 3}}, {"n": "4"}),
        ({"n": {">": 3}}, {"n": True}),
        ({"n": {">": 3}}, {"n": None}),
        ({"n": {">": 3}}, {"n": [4]}),
        ({"n": {">": 3}}, {"n": float("nan")}),
        ({"n": {">": "a"}}, {"n": 3}),
        ({"s": {"contains": "x"}}, {"s": 3}),
        ({"s": {"starts_with": "x"}}, {"s": b"x"}),
        ({"s": {"matches": "x"}}, {"s": ["x"]}),
        (lambda event: 1, {}),
        (lambda event: None, {}),
    ],
)
def test_a_value_of_the_wrong_type_is_an_error_and_changes_nothing(condition, event):
    book = RuleBook([Rule("rule", "G !hit", atoms={"hit": condition})])
    before = book.snapshot()
    for take in (book.step, book.what_if, book.admit):
        with pytest.raises((ArgumentTypeError, ArgumentValueError)):
            take(event)
    assert book.snapshot() == before


def test_a_wrong_type_matters_only_where_the_rest_fits():
    condition = {"n": {">": 3}, "kind": "call"}
    assert not fits(condition, {"kind": "text", "n": "many"})


def test_missing_fields_are_errors_where_asked():
    condition = {"kind": "call", "n": {">": 3}}
    assert not fits(condition, {"kind": "text"}, missing="error")
    with pytest.raises(ArgumentValueError, match="'n' is missing"):
        fits(condition, {"kind": "call"}, missing="error")
    assert not fits({"n": {"exists": True}}, {"kind": "text"}, missing="error")


def test_conditions_against_plain_python():
    """Random conditions and events: the index finds what one test after the other finds."""
    rng = random.Random(5)
    compare = {
        "==": lambda x, c: type(x) is type(c) and x == c,
        "!=": lambda x, c: not (type(x) is type(c) and x == c),
        ">": lambda x, c: x > c,
        "<=": lambda x, c: x <= c,
        "in": lambda x, c: any(type(x) is type(y) and x == y for y in c),
        "not_in": lambda x, c: not any(type(x) is type(y) and x == y for y in c),
    }

    def value(field):
        return rng.choice(["a", "b", "c", True, 1]) if field in "st" else rng.randrange(4)

    def condition():
        made = {}
        for field in rng.sample("stmn", rng.randrange(1, 4)):
            word = rng.choice(list(compare))
            if field in "st" and word in (">", "<="):
                word = "=="
            operand = [value(field) for _ in range(2)] if "in" in word else value(field)
            made[field] = operand if word == "==" else {word: operand}
        return made

    def judge(one, event):
        for field, test in one.items():
            if field not in event:
                return False
            word, operand = next(iter(test.items())) if isinstance(test, dict) else ("==", test)
            if not compare[word](event[field], operand):
                return False
        return True

    conditions = [condition() for _ in range(60)]
    book = RuleBook(
        [
            Rule(str(k), "G !hit", atoms={"hit": one}, after_violation="reset")
            for k, one in enumerate(conditions)
        ]
    )
    for _ in range(500):
        event = {field: value(field) for field in "stmn" if rng.random() < 0.9}
        found = {int(finding.rule) for finding in book.step(event).broken}
        assert found == {k for k, one in enumerate(conditions) if judge(one, event)}


# Rules


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": ""}, "name must not be empty"),
        ({"name": 3}, "name must be str"),
        ({"formula": 3}, "formula must be a Formula"),
        ({"atoms": []}, "atoms must be a mapping"),
        ({"atoms": {"hitt": {"a": 1}}}, "did you mean 'hit'"),
        ({"atoms": {"hit": 3}}, "atoms.hit of rule 'r' must be a mapping"),
        ({"atoms": {"hit": {}}}, "must not be empty"),
        ({"atoms": {"hit": {"a": {"b": 3}}}}, "written 'a.b'"),
        ({"atoms": {"hit": {"a": {"mathces": "x"}}}}, "did you mean 'matches'"),
        ({"atoms": {"hit": {"a": {"matches": "("}}}}, "without"),
        ({"atoms": {"hit": {"a": {"in": "abc"}}}}, "must be a list"),
        ({"atoms": {"hit": {"a": {"exists": 1}}}}, "must be True or False"),
        ({"atoms": {"hit": {"a": {">": True}}}}, "must be a number or a str"),
        ({"atoms": {"hit": {"a": float("nan")}}}, "must not be NaN"),
        ({"atoms": {"hit": {"a": b"x"}}}, "must be a str, a number"),
        ({"atoms": {"hit": {"a..b": 1}}}, "names with dots"),
        ({"atoms": {"hit": {1: 1}}}, "a field must be str"),
        ({"atoms": {"hit": {"any": []}}}, "list of conditions"),
        ({"atoms": {"hit": {"count": {"of": {"a": 1}}}}}, "one of 'at_least' and 'at_most'"),
        ({"atoms": {"hit": {"count": {"of": {"a": 1}, "at_least": 0}}}}, "at least 1"),
        (
            {
                "atoms": {
                    "hit": {"count": {"of": {"a": 1}, "at_least": 1, "within": 2, "seconds": 1}}
                }
            },
            "not both",
        ),
        ({"key": ""}, "names with dots"),
        ({"key": 3}, "key of rule 'r' must be str"),
        ({"action": "kill"}, "action of rule 'r' must be one of"),
        ({"message": None}, "message of rule 'r' must be str"),
        ({"repair": 1}, "repair of rule 'r' must be str"),
        ({"when": {"count": {"of": {"a": 1}, "at_least": 1}}}, "must not count"),
        ({"after_violation": "again"}, "after_violation of rule 'r'"),
        ({"clock": "utc"}, "clock of rule 'r'"),
    ],
)
def test_rule_refuses(arguments, words):
    arguments = {"name": "r", "formula": "G !hit", **arguments}
    with pytest.raises((ArgumentTypeError, ArgumentValueError), match=re.escape(words)):
        Rule(arguments.pop("name"), arguments.pop("formula"), **arguments)


def test_rule_refuses_deep_conditions():
    condition = {"a": 1}
    for _ in range(30):
        condition = {"not": condition}
    with pytest.raises(ArgumentValueError, match="nested conditions"):
        Rule("r", "G !hit", atoms={"hit": condition})


def test_rule_shows_the_place_of_a_syntax_error():
    with pytest.raises(FormulaSyntaxError):
        Rule("r", "G (a ->")


def test_rules_do_not_change():
    condition = {"kind": {"in": ["a", "b"]}}
    rule = Rule("r", "G !hit", atoms={"hit": condition})
    condition["kind"]["in"].append("c")
    assert rule.atoms["hit"]["kind"]["in"] == ("a", "b")
    with pytest.raises(TypeError):
        rule.atoms["hit"] = {}
    with pytest.raises(AttributeError):
        rule.name = "other"
    twin = pickle.loads(pickle.dumps(rule))
    assert (twin.name, twin.formula, twin.action) == ("r", rule.formula, "block")
    assert write_rules([twin]) == write_rules([rule]) == write_rules([copy.deepcopy(rule)])


# TOML

TEXT = """
[book]
letters = "all"
evict = "oldest_decided"
max_keys = 50

[atoms]
delete = { kind = "tool_call", name = "delete_file" }
backup = { kind = "tool_call", name = { in = ["backup", "snapshot"] } }
fail = { kind = "tool_result", "data.ok" = false }

[[rule]]
name = "backup first"
formula = "!delete W backup"
message = "a file was about to go without a copy"
repair = "call backup, then delete_file"

[[rule]]
name = "confirm payments"
formula = "G(pay -> F confirm)"
key = "arguments.order_id"
action = "stop"
atoms.pay = { kind = "tool_call", name = "pay", "arguments.amount" = { ">" = 100, "<=" = 1e9 } }
atoms.confirm = { kind = "tool_call", name = "confirm" }

[[rule]]
name = "three strikes"
formula = "G !strikes"
action = "warn"
after_violation = "reset"
when = { kind = "tool_result" }
[rule.atoms]
strikes = { count = { of = { "data.ok" = false }, at_least = 3, within = 5 } }
"""


def test_toml(tmp_path):
    rules, options = read_rules(TEXT)
    assert options == {"letters": "all", "evict": "oldest_decided", "max_keys": 50}
    assert [rule.name for rule in rules] == ["backup first", "confirm payments", "three strikes"]
    assert rules[0].formula is parse("!delete W backup")
    assert set(rules[0].atoms) == {"delete", "backup"}
    assert rules[1].key == "arguments.order_id"
    path = tmp_path / "rules.toml"
    path.write_text(TEXT)
    book = RuleBook.from_toml(path)
    assert not book.what_if({"kind": "tool_call", "name": "delete_file"})
    assert book.step({"kind": "tool_call", "name": "snapshot"})
    assert book.what_if({"kind": "tool_call", "name": "delete_file"})
    book.step({"kind": "tool_call", "name": "pay", "arguments": {"amount": 200, "order_id": 7}})
    assert [str(one) for one in book.open_obligations()] == [
        "confirm payments for 7: owed since step 1: {confirm}"
    ]
    for k in range(3):
        outcome = book.step({"kind": "tool_result", "data": {"ok": False}})
        assert [one.rule for one in outcome.broken] == (["three strikes"] if k == 2 else [])
        assert outcome.allowed
    assert RuleBook.from_toml(str(path)).to_toml() == book.to_toml()


def test_toml_round_trip():
    book = RuleBook.from_toml(TEXT)
    text = book.to_toml()
    again = RuleBook.from_toml(text)
    assert again.to_toml() == text
    assert again.snapshot() == book.snapshot()


def test_toml_writes_what_it_reads():
    hard = 'a"b\\c\n\x00\x7fé\u2028'
    rule = Rule(
        hard,
        "G !hit",
        atoms={
            "hit": {
                f"$.{hard.replace('.', '')}": {"in": [hard, 1, 1.5, True, -(10**30), 1e300]},
                "x": {"<": float("inf")},
                "any": [{"a": 1}, {"not": {"b": 2}}],
            }
        },
        message=hard,
    )
    text = write_rules([rule])
    (again,), _ = read_rules(text)
    assert write_rules([again]) == text
    assert (again.name, again.message, again.atoms) == (hard, hard, rule.atoms)
    assert type(again.atoms["hit"][f"$.{hard}"]["in"][3]) is bool


@pytest.mark.parametrize(
    "rule",
    [
        Rule("r", "G !hit", atoms={"hit": lambda event: True}),
        Rule("r", "G !hit", key=lambda event: 1),
        Rule("r", "G !hit", atoms={"hit": {"a": None}}),
    ],
)
def test_toml_cannot_write_functions(rule):
    with pytest.raises(ArgumentValueError, match=r"of rule 'r'.* cannot be written as TOML"):
        write_rules([rule])


def test_functions_must_be_hashable():
    @dataclass
    class Check:
        name: str

        def __call__(self, event):
            return event["name"] == self.name

    with pytest.raises(ArgumentTypeError, match=r"atoms\.hit of rule 'r' must be hashable"):
        Rule("r", "G !hit", atoms={"hit": Check("x")})
    with pytest.raises(ArgumentTypeError, match="key of rule 'r' must be hashable"):
        Rule("r", "G !hit", key=Check("x"))


RULE = '[[rule]]\nname = "r"\nformula = "G !hit"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = [", "not TOML"),
        ("[rules]\na = 1", "unknown table 'rules'; did you mean 'rule'?"),
        ("[rule]\na = 1", "rule must be written [[rule]]"),
        ("rule = [1]\n", "rule 1 must be a table"),
        ("[book]\nletters = 1\n" + RULE, "[book]: letters must be str, got 1"),
        ("[book]\nleters = 1\n" + RULE, "did you mean 'letters'?"),
        ("[book]\nmax_keys = true\n" + RULE, "max_keys must be int"),
        ("[atoms]\na = 3\n" + RULE, "[atoms] a must be a mapping"),
        ('[[rule]]\nformula = "a"', "rule 1 '(without a name)': field 'name' is missing"),
        ('[[rule]]\nname = "r"', "rule 1 'r': field 'formula' is missing"),
        ('[[rule]]\nname = "r"\nformula = 3', "rule 1 'r': formula must be text, got 3"),
        ('[[rule]]\nname = "r"\nformula = "a ->"', "rule 1 'r': formula: "),
        (RULE + 'acton = "warn"', "unknown field 'acton' = 'warn'; did you mean 'action'?"),
        (RULE + 'action = "halt"', "rule 1 'r': action of rule 'r' must be one of"),
        (RULE + "atoms = 3", "rule 1 'r': atoms must be a table"),
        (RULE + "atoms.hit.a.b = 3", "rule 1 'r': atoms.hit of rule 'r'.a: 'b' is no operator"),
        (RULE + RULE.replace("formula", "farmula"), "rule 2 'r': unknown field 'farmula'"),
        ("[book]\n", "no [[rule]] in it"),
    ],
)
def test_toml_errors_name_the_place(text, words):
    with pytest.raises(ConfigurationError, match=re.escape(words)) as caught:
        read_rules(text + "\n")
    assert str(caught.value).startswith("<text>: ")


def test_toml_errors_name_the_file(tmp_path):
    path = tmp_path / "broken.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match=r"broken\.toml: not UTF-8"):
        read_rules(path)
    path.write_text(RULE.replace("G !hit", "G ("))
    with pytest.raises(ConfigurationError, match=r"broken\.toml: rule 1 'r': formula"):
        read_rules(path)
    with pytest.raises(FileNotFoundError):
        read_rules(tmp_path / "none.toml")
    with pytest.raises(ArgumentTypeError, match="source"):
        read_rules(3)


def test_toml_of_a_thousand_rules():
    text = "\n".join(RULE.replace('"r"', f'"r{k}"').replace("hit", f"hit{k}") for k in range(1000))
    assert len(RuleBook.from_toml(text)) == 1000
