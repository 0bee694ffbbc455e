"""What is wrong with policies before any stream."""

from __future__ import annotations

import re
import warnings

import pytest

from midstream._core.errors import ArgumentTypeError, ArgumentValueError, ConfigurationError
from midstream.stream import (
    Event,
    Guard,
    Policy,
    PolicyWarning,
    ToolLoopDetector,
    lint_policies,
    load_policies,
    ready_policies,
)
from midstream.stream.policies import (
    CHANNELS,
    STEP_FIELDS,
    STEP_KINDS,
)
from midstream.stream.policies.steps import FIELDS_OF

RULE = '[[rule]]\nname = "r"\nformula = "G !x"\n'


def test_tools_that_do_not_exist() -> None:
    assert load_policies(RULE + "atoms.x.tool = ['rm', 'de*']", tools=["delete", "move"])
    text = RULE + "atoms.x.tool = ['dele_*', 'rm']"
    with pytest.raises(
        ConfigurationError, match=r"rule 'r': unknown tool: .* no tool 'dele_\* rm'"
    ):
        load_policies(text, tools=["delete", "move"])
    text = RULE + "atoms.x.tool = 'mvoe'"
    with pytest.raises(ConfigurationError, match="no tool 'mvoe'; did you mean 'move'"):
        load_policies(text, tools=["delete", "move"])
    assert load_policies(RULE + "atoms.x.tool = 'de*'", tools=["delete"])
    assert load_policies(RULE + "atoms.x.like = 'de*'", tools=["mcp__fs__DeleteFile"])
    assert load_policies(RULE + "atoms.x.like = 'delete_file'", tools=["mcp__fs__DeleteFile"])
    for like in ("delete_file", "mcp__os__*"):
        with pytest.raises(ConfigurationError, match=f"no tool '{re.escape(like)}'"):
            load_policies(RULE + f"atoms.x.like = '{like}'", tools=["mcp__fs__MoveFile"])
    for both in ("tool", "name"):
        with pytest.raises(ConfigurationError, match="has both"):
            load_policies(RULE + f"atoms.x = {{ like = 'a', {both} = 'b' }}")
    loop = RULE + "atoms.x = { kind = 'finding', name = 'loop' }"
    assert load_policies(loop, tools=["delete"])


def test_what_may_be_a_mistake_is_a_warning() -> None:
    text = (
        RULE + "atoms.x.tool = 'rm'\n[[rule]]\nname = 's'\nformula = 'G (x -> O y)'\n"
        "atoms.x.tool = 'rm'\natoms.y.tool = 'ask'"
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert len(load_policies(text)) == 2
    assert {str(one.message).split(": ")[2] for one in caught} == {"shadowed", "vacuous"}
    assert all(one.category is PolicyWarning and one.filename == __file__ for one in caught)
    problems = lint_policies(ready_policies("ends-with-answer"))
    assert [(one.kind, one.error) for one in problems] == [("not_monitorable", False)]
    assert lint_policies(ready_policies("no-secret")) == []


@pytest.mark.parametrize(
    ("policies", "tools", "message"),
    [
        (3, None, "policies must be iterable, got int"),
        (Policy("p", "G !a", {"a": {"tool": "x"}}), None, "policies must be iterable, got Policy"),
        (["no-secret"], None, r"policies\[0\] must be a Policy, got 'no-secret' \(str\)"),
        ((), "rm", "tools must be an iterable of names, got 'rm'"),
        ((), [3], r"tools\[0\] must be str, got int"),
    ],
)
def test_what_cannot_be_linted(policies: object, tools: object, message: str) -> None:
    with pytest.raises(ArgumentTypeError, match=message):
        lint_policies(policies, tools=tools)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ({"kind": "tool_call", "text": "rm"}, "no step of kind 'tool_call' has 'text'"),
        ({"tool": ["rm", "drop*"], "failed": True}, "no step of kind 'tool_call' has 'failed'"),
        ({"pattern": "rm", "text": {"contains": "x"}}, "no step of kind 'match' has 'text'"),
        (
            {"kind": {"in": ["text", "reasoning"]}, "$.arguments.x": {">": 3}},
            "no step of kind 'text' or 'reasoning' has 'arguments' (known: channel, chars,",
        ),
        ({"kind": "tool_call", "text": {"!=": "rm"}}, None),
        ({"kind": "tool_call", "text": {"exists": False}}, None),
        ({"kind": {"in": ["text", "user"]}, "text": "rm"}, None),
        ({"kind": "tool_result", "tool": "rm*", "failed": True, "result.n": {">": 3}}, None),
    ],
)
def test_fields_that_a_kind_of_step_has_not(condition: dict, message: str | None) -> None:
    policies = [Policy("r", "G !a", {"a": condition})]
    problems = [str(one) for one in lint_policies(policies) if one.error]
    assert problems == [] if message is None else message in problems[0]
    policies = [Policy("r", "G !a", {"a": {"tokens": {">": 5}}}, when=condition)]
    problems = [str(one) for one in lint_policies(policies) if one.error]
    assert problems == [] if message is None else f"'when': {message}" in problems[0]


def test_steps_have_the_fields_that_are_said() -> None:
    seen: dict[str, set[str]] = {kind: set() for kind in STEP_KINDS}

    def look(step: dict) -> bool:
        seen[step["kind"]].update(step)
        return False

    looking = Policy("look", "G !x", {"x": look}, "note")
    within = {"p": {"pattern": "needle", "in": list(CHANNELS)}, "late": {"t": {">": 3}}}
    patterns = Policy("patterns", "G !(p & late)", within, "note")
    guard = Guard([ToolLoopDetector()], [looking, patterns])
    call = Event("tool_call", 0, 0, '{"a": "needle"}', "find", None, "0/0", "c")
    result = Event("tool_result", 0, 0, '{"error": "needle"}', "find", None, "0/0", "c")
    guard.recall([Event("text", 0, 0, "a needle", "user"), call, result] * 4)
    odd = Event("tool_call", 0, 0, '{"a": ', "find", None, "1!", "d")
    events = [
        *[Event("reasoning", 0, 0, "a needle"), Event("text", 0, 0, "a needle"), call, result, odd],
        *[Event("usage", 0, 0, data={"usage": {"total_tokens": 5}}), Event("error", 0, 0, "no")],
        Event("end", 0, 5_000_000_000, "stop"),
    ]
    for event in events:
        guard.take(event)
    guard.expire(9_000_000_000)
    for kind, fields in seen.items():
        assert fields or kind == "clock", kind
        assert fields <= FIELDS_OF[kind], kind
    assert set().union(*FIELDS_OF.values()) == set(STEP_FIELDS)
    assert seen["tool_result"] == FIELDS_OF["tool_result"]
    assert seen["tool_call"] == FIELDS_OF["tool_call"]
    assert seen["match"] == FIELDS_OF["match"]


@pytest.mark.parametrize("name", ["delete_.*", "delete_file|drop_table", "^delete", "(rm|mv)"])
def test_tools_that_look_like_regular_expressions(name: str) -> None:
    text = RULE + f"atoms.x = {{ tool = ['a', '{name}'] }}"
    with pytest.warns(PolicyWarning, match="is no regular expression: only '\\*' stands for"):
        load_policies(text)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_policies(RULE + "atoms.x = { tool = ['a_*', '*.b-c', 'mcp/x.y:z', '*'] }")


@pytest.mark.parametrize(
    "formula", ["G tokens <= -1", "G !(chars > -1)", "G t < -0.5", "F start > -1"]
)
def test_what_is_never_below_zero_is_not_compared_with_less(formula) -> None:
    with pytest.raises(ArgumentValueError, match="a finite number of at least 0, got -"):
        Policy("p", formula)


UNUSED = """
[settings]
remove = ["rm"]
spare = 3

[settings.other]
default = "x"

[atoms]
remove = { tool = "${remove}" }
lost = { tool = "y" }

[[rule]]
name = "none"
formula = "G !remove"
"""


def test_what_no_rule_uses_is_told(tmp_path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(UNUSED, encoding="utf-8")
    told = [str(problem) for problem in lint_policies(path)]
    assert told == [
        "unused setting: no rule uses the setting 'spare'",
        "unused setting: no rule uses the setting 'other'",
        "unused atom: no rule uses 'lost' of [atoms]",
    ]
    with pytest.warns(PolicyWarning) as warned:
        load_policies(UNUSED)
    assert sorted(str(one.message).partition(": ")[2] for one in warned) == sorted(told)
    assert lint_policies(path, spare=4) == lint_policies(path)
    with pytest.raises(ConfigurationError, match="unknown setting 'sparse'; did you mean 'spare'"):
        lint_policies(path, sparse=4)
    with pytest.raises(ArgumentTypeError, match=r"for a rule file, .* got spare"):
        lint_policies(load_policies(path, lint=False), spare=4)
