"""`midstream rules`, and `--rules` of watch and replay."""

from __future__ import annotations

import json

import pytest
from apps.program import run

from midstream.stream import Event, Recorder, ready_rules

GOOD = """
[settings]
delete = ["delete_*"]

[[rule]]
name = "backup first"
formula = "!delete W backup"
repair = "call backup, then delete"
[rule.atoms]
delete = { tool = "${delete}" }
backup = { tool = "backup" }
"""


@pytest.fixture
def rules(tmp_path):
    def write(text=GOOD, name="rules.toml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "run.jsonl"
    with Recorder(path) as recorder:
        place = ("0/0", "call_1")
        recorder.write(Event("text", 0, 0, "I will delete it.", None, None, "0"))
        recorder.write(Event("tool_call", 1, 1000, '{"path": ', "delete_file", None, *place))
        recorder.write(Event("tool_call", 2, 2000, '"a"}', None, None, *place))
        recorder.write(Event("end", 3, 3000, "tool_calls", None, None, "0"))
    return path


def test_a_sound_file(rules) -> None:
    path = rules()
    done = run("rules", "lint", path)
    assert (done.status, done.out, done.err) == (0, f"sound: {path}: 1 rule\n", "")


def test_what_is_wrong_is_told_with_file_and_rule(rules) -> None:
    path = rules(GOOD.replace("backup = {", "bakup = {"))
    done = run("rules", "lint", path)
    assert done.status == 1
    assert done.out.startswith(f"error: {path}: rule 1 'backup first': atoms: 'backup'")
    assert "did you mean" in done.out
    both = rules(GOOD + GOOD.partition("[[rule]]")[2].join(["[[rule]]", ""]), "twice.toml")
    done = run("rules", "lint", path, both, "--json")
    assert done.status == 1
    first, second = done.rows
    assert (first["usable"], first["problems"][0]["kind"]) == (False, "unreadable")
    assert second["rules"] == ["backup first", "backup first"]
    assert "duplicate_name" in {problem["kind"] for problem in second["problems"]}


def test_tools_settings_and_strictness(rules) -> None:
    path = rules()
    assert run("rules", "lint", path, "--tools", "delete_file,backup").status == 0
    done = run("rules", "lint", path, "--tools", "remove,backup")
    assert done.status == 1 and "unknown tool: there is no tool 'delete_*'" in done.out
    done = run("rules", "lint", path, "--set", 'delete=["remove"]', "--tools", "remove,backup")
    assert done.status == 0
    assert run("rules", "lint", path, "--set", "delete=remove").status == 0
    assert run("rules", "lint", path, "--set", "delete").status == 2
    assert run("rules", "lint", path, "--set", "remove=1").status == 1
    doubtful = rules(
        GOOD
        + """
[[rule]]
name = "no delete"
formula = "G !delete"
[rule.atoms]
delete = { tool = "${delete}" }
""",
        "doubtful.toml",
    )
    done = run("rules", "lint", doubtful)
    assert done.status == 0 and done.out.startswith(f"warning: {doubtful}: rule ")
    assert run("rules", "lint", doubtful, "--strict").status == 1


def test_a_file_that_is_not_there(tmp_path) -> None:
    done = run("rules", "lint", tmp_path / "none.toml")
    assert done.status == 3
    assert "none.toml: No such file" in done.err


def test_list_and_show(tmp_path) -> None:
    done = run("rules", "list")
    assert done.status == 0
    for name, rule in ready_rules().items():
        assert f"{name}\n  {rule.help}\n" in done.out
    rows = run("rules", "list", "--json").rows
    assert [row["name"] for row in rows] == list(ready_rules())
    assert rows[0]["settings"]["calls"] == "calls that may be made"
    done = run("rules", "show", "token-budget")
    path = tmp_path / "mine.toml"
    path.write_text(done.out)
    assert run("rules", "lint", path, "--set", "tokens=100").status == 0
    done = run("rules", "show", "no-such")
    assert done.status == 2 and "name must be one of" in done.err


def test_replay_with_rules_denies_the_call(rules, recording) -> None:
    done = run("replay", recording, "--speed", "1000", "--rules", rules(), "--json", "--events")
    assert done.status == 1
    (finding,) = done.of_type("finding")
    assert (finding["kind"], finding["severity"]) == ("policy", "block")
    kinds = [row["kind"] for row in done.of_type("event")]
    assert kinds == ["text", "error", "end"]
    assert json.loads(done.out.splitlines()[-1])["outcome"] == "ended"
    told = run("replay", recording, "--speed", "1000", "--rules", rules())
    assert told.status == 1
    assert "POLICY, call denied: backup first" in told.err
    assert "delete_file" in told.out + told.err


def test_watch_with_ready_rules(recording) -> None:
    done = run("watch", recording, "--rules", "no-secret", "--rules", "ends-with-answer")
    assert done.status == 0
    done = run("watch", recording, "--rules", "no-secrets")
    assert done.status == 2
    assert "did you mean 'no-secret'?" in done.err.replace("\n", " ").replace("│", " ").replace(
        "  ", " "
    )


def test_no_terminal_obeys_what_a_file_of_rules_says(tmp_path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(
        '[[rule]]\nname = "n"\nformula = "G \\u001b]0;owned\\u0007 \\u202e"\naction = "warn"\n'
    )
    for arguments in (("watch", "sim:story?tokens=5", "--rules", path), ("rules", "lint", path)):
        done = run(*arguments)
        assert done.status in (1, 2)
        assert "owned" in done.err + done.out
        assert not set("\x1b\x07\u202e") & set(done.err + done.out)


def test_settings_that_no_rule_uses_are_told(rules) -> None:
    path = rules(GOOD.replace("[settings]", "[settings]\nspare = 1"))
    done = run("rules", "lint", path)
    told = f"warning: {path}: unused setting: no rule uses the setting 'spare'\n"
    assert (done.status, done.out) == (0, told)
    assert run("rules", "lint", path, "--strict").status == 1


def test_a_setting_that_no_file_can_have(rules) -> None:
    done = run("rules", "lint", rules(), "--set", "tools=rm")
    assert done.status == 2
    assert "no file can have a setting 'tools'" in done.err
