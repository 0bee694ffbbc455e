"""Rule files: what they say, and errors that name the place."""

from __future__ import annotations

import pickle
import warnings

import pytest

from midstream._core.errors import ConfigurationError
from midstream.stream import (
    Event,
    Guard,
    lint_policies,
    load_policies,
)

FILE = """
help = "For tests."

[settings]
delete = ["delete_*", "drop_*"]

[settings.path]
default = "path"
help = "which argument"

[atoms]
delete = { tool = "${delete}" }
backup = { tool = "backup", "arguments.${path}" = { exists = true } }

[[rule]]
name = "backup first"
formula = "!delete W backup"
key = "arguments.path"
message = "${path} is not saved"
repair = "call backup, then delete"

[[rule]]
name = "short"
formula = "G tokens <= 100"
action = "stop"
"""


def test_a_file_is_read(tmp_path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(FILE)
    first, second = load_policies(path)
    assert (first.name, first.action, first.key) == ("backup first", "block", "arguments.path")
    assert first.message == "path is not saved"
    assert (second.name, second.action, str(second.formula)) == (
        "short",
        "stop",
        "G (tokens <= 100)",
    )
    assert [p.name for p in load_policies(FILE, delete=["rm"])] == ["backup first", "short"]
    guard = Guard((), path)
    step = guard.take(Event("tool_call", 0, 0, '{"path": "a"', "drop_table", None, "0/0", "c"))
    assert step.denied
    guard = Guard((), load_policies(FILE, delete=["rm"]))
    step = guard.take(Event("tool_call", 0, 0, '{"path": "a"', "drop_table", None, "0/0", "c"))
    assert not step.denied


def test_ready_rules_in_a_file() -> None:
    text = """
    [settings]
    most = 7
    [ready.call-limit]
    calls = "${most}"
    action = "warn"
    [ready.no-secret]
    """
    limit, secret = load_policies(text)
    assert (limit.name, limit.action, limit.message) == (
        "call limit",
        "warn",
        "no more than 7 calls may be made",
    )
    assert secret.name == "no secret"


RULE = '[[rule]]\nname = "r"\nformula = "G !x"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = ", "not TOML"),
        ("a = 1", "unknown table 'a'"),
        ("[rules]\na = 1", "unknown table 'rules'; did you mean 'rule'?"),
        ("rule = 3", "rule must be written [[rule]], got 3"),
        ("atoms = 3", "atoms must be written [atoms], got 3"),
        ("[settings]\na = 1", "no [[rule]] and no [ready] rule in it"),
        ("[[rule]]\nformula = 'G !x'", "rule 1 '(without a name)': field 'name' is missing"),
        ("[[rule]]\nname = 'r'", "rule 1 'r': field 'formula' is missing"),
        (RULE + "formla = 'x'", "unknown field 'formla' = 'x'; did you mean 'formula'?"),
        (RULE.replace('"G !x"', "3"), "rule 1 'r': formula must be text, got 3"),
        (RULE.replace("G !x", "G ("), "rule 1 'r': formula:"),
        (RULE, "rule 1 'r': atoms: 'x' of its formula has no meaning"),
        (RULE + "atoms = 3", "rule 1 'r': atoms must be a table, got 3"),
        (RULE + "action = 'halt'\natoms.x.kind = 'text'", "rule 1 'r': action must be one of"),
        (
            RULE + "atoms.x.kind = 'txt'",
            "atoms.x.kind must be a kind of step, got 'txt'",
        ),
        (RULE + "atoms.x.pattern = '['", "rule 1 'r': a pattern"),
        (RULE + "atoms.x.tool = '${no}'", "unknown setting ${no}"),
        (RULE + "atoms.x.kind = 'text'\n[atoms]\ny.knd = 1", "[atoms] y: a field must be one that"),
        ("[ready.no-secrets]", "[ready.no-secrets]: no such rule; did you mean 'no-secret'?"),
        ("[ready]\nno-secret = 1", "[ready.no-secret] must be a table of settings, got 1"),
        ("[ready.no-secret]\nchanels = 1", "unknown setting 'chanels'; did you mean 'channels'?"),
        ("[ready.call-limit]", "setting 'calls' must be given: calls that may be made"),
        ("[settings.a]\ndflt = 1\n" + RULE, "[settings.a]: unknown field 'dflt'"),
        # What makes no sense
        (
            RULE + "atoms.x.kind = 'text'\n" + RULE + "atoms.x.kind = 'text'",
            "rule 'r': duplicate name: the name occurs twice",
        ),
        ("[[rule]]\nname = 'r'\nformula = 'G (x & !x)'\natoms.x.kind = 'text'", "rule 'r': unsat"),
        ("[[rule]]\nname = 'r'\nformula = 'G (x | !x)'\natoms.x.kind = 'text'", "rule 'r': dead"),
        (
            RULE + "atoms.x.kind = 'text'\n[[rule]]\nname = 's'\nformula = 'F x'\n"
            "atoms.x.kind = 'text'",
            "rule 'r', 's': contradiction: these rules cannot all be kept",
        ),
        (
            RULE + "atoms.x.tokens = { '>' = 5, '<' = 3 }",
            "rule 'r': never true: atom 'x': no value of 'tokens' passes",
        ),
    ],
)
def test_errors_name_file_rule_and_field(text, message, tmp_path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_policies(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_a_file_as_windows_writes_it(tmp_path) -> None:
    path = tmp_path / "rules.toml"
    text = RULE + "\natoms.x = { pattern = 'é' }\n"
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert [policy.name for policy in load_policies(path)] == ["r"]


def test_a_regular_expression_in_double_quotes() -> None:
    with pytest.raises(ConfigurationError, match=r"in single quotes, .*, a backslash stands"):
        load_policies(RULE + 'atoms.x = { pattern = "\\d" }')


@pytest.mark.parametrize("name", ["tools", "lint", "check_s", "on_change"])
def test_settings_that_nobody_could_give_are_refused(name, tmp_path) -> None:
    text = f"[settings]\n{name} = ['rm']\n{RULE}atoms.x.tool = '${{{name}}}'"
    with pytest.raises(ConfigurationError, match=rf"\[settings\] {name}: .* another name"):
        load_policies(text)
    with pytest.raises(ConfigurationError, match=rf"\[settings\] {name}: "):
        lint_policies(text)


def test_a_key_of_several_fields() -> None:
    text = """
    [settings]
    which = ["order_id", "id"]
    [[rule]]
    name = "once"
    formula = "G (pay -> Y H !pay)"
    key = ["arguments.${which}", "result.id"]
    [rule.atoms]
    pay = { like = "pay" }
    """
    (policy,) = load_policies(text)
    assert policy.key == ("arguments.order_id", "arguments.id", "result.id")
    assert load_policies(text, which="order_id")[0].key == ("arguments.order_id", "result.id")
    twin = pickle.loads(pickle.dumps(policy))
    assert twin.key == policy.key
    for wrong, message in (
        ("[]", "must name a field"),
        ("[3]", "must be names of fields, got 3"),
        ('["argument.id"]', "must be one that steps have"),
        ("7", "key must be text"),
    ):
        broken = text.replace('["arguments.${which}", "result.id"]', wrong)
        with pytest.raises(ConfigurationError, match=message), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            load_policies(broken)
