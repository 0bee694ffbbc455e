"""`check_policy`: lint of rules, and the event that breaks them."""

from __future__ import annotations

import pytest
from apps.tools_server.clients import AWS, SECRET, ask, connected, refused, shipped, with_secrets

BACKUP = """
[[rule]]
name = "backup first"
formula = "!delete W backup"
action = "ACTION"
[rule.atoms]
delete = { tool = "delete" }
backup = { tool = "backup" }
"""


def called(number, name, arguments="{}"):
    call = {"id": f"c{number}", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def answered(number, text="ok"):
    return {"role": "tool", "tool_call_id": f"c{number}", "content": text}


RUN = [
    {"role": "user", "content": "Clean up."},
    called(1, "list"),
    answered(1),
    {"role": "assistant", "content": "Now I delete."},
    called(2, "delete", '{"path": "/a"}'),
    answered(2),
    called(3, "delete"),
]


@pytest.mark.parametrize(
    ("action", "messages", "stopped"),
    [("warn", [4, 6], False), ("block", [4, 6], False), ("stop", [4], True)],
)
async def test_the_event_that_decided_is_told(action, messages, stopped):
    rules = BACKUP.replace("ACTION", action)
    async with connected() as client:
        found = await ask(client, "check_policy", rules=rules, messages=RUN)
    assert found["usable"]
    assert found["problems"] == []
    assert [rule["name"] for rule in found["rules"]] == ["backup first"]
    assert [one["event"]["message"] for one in found["findings"]] == messages
    first = found["findings"][0]
    assert first["rule"] == "backup first"
    assert first["finding"]["severity"] == action
    assert first["event"]["name"] == "delete"
    assert first["event"]["text"] == '{"path": "/a"}'
    assert first["event"]["call_id"] == "c2"
    assert found["stopped"] is stopped


async def test_a_run_that_keeps_the_rules_has_no_findings():
    messages = [called(1, "backup"), answered(1), called(2, "delete"), answered(2)]
    async with connected() as client:
        found = await ask(
            client, "check_policy", rules=BACKUP.replace("ACTION", "block"), messages=messages
        )
    assert (found["ran"], found["findings"], found["open"]) == (True, [], [])


async def test_anthropic_messages_are_understood():
    use = {"type": "tool_use", "id": "t1", "name": "delete", "input": {"path": "/b"}}
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": [use]}]
    async with connected() as client:
        found = await ask(
            client, "check_policy", rules=BACKUP.replace("ACTION", "warn"), messages=messages
        )
    assert [one["event"]["message"] for one in found["findings"]] == [1]


async def test_what_is_owed_at_the_end_is_told():
    rules = (
        '[[rule]]\nname = "answers"\nformula = "F done"\naction = "warn"\n'
        '[rule.atoms]\ndone = { tool = "done" }\n'
    )
    async with connected() as client:
        found = await ask(
            client, "check_policy", rules=rules, messages=["a", called(1, "x"), answered(1)]
        )
    assert found["open"] == ["answers"]
    assert [(one["rule"], one["event"]) for one in found["findings"]] == [("answers", None)]


async def test_ready_rules_run_over_recordings(tmp_path):
    async with connected(recordings=shipped(tmp_path)) as client:
        found = await ask(
            client,
            "check_policy",
            ready=["token-budget"],
            settings={"tokens": 50},
            recording="loop-02.jsonl",
        )
        assert found["stopped"]
        (one,) = found["findings"]
        assert one["finding"]["seq"] == one["event"]["seq"] == 91
        for name in ("../loop-02.jsonl", "/etc/passwd", "index.sqlite3", "no\0.jsonl"):
            said = await refused(
                client,
                "check_policy",
                ready=["token-budget"],
                settings={"tokens": 50},
                recording=name,
            )
            assert said.startswith("recording must be")
        said = await refused(client, "check_policy", ready=["no-secret"], recording="nothing.jsonl")
        assert "No such file" in said


async def test_secrets_of_recordings_are_found_and_not_shown(tmp_path):
    async with connected(recordings=with_secrets(tmp_path)) as client:
        result = await client.call_tool(
            "check_policy", {"ready": ["no-secret"], "recording": "leak.jsonl"}
        )
    found = result.structured_content
    assert found["n_findings"] >= 1
    for text in (result.content[0].text, str(found)):
        assert SECRET not in text
        assert AWS not in text


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        ({"rules": "/etc/passwd"}, "unreadable", "not TOML"),
        ({"rules": "x = 1"}, "unreadable", "unknown table 'x'"),
        ({"rules": BACKUP.replace("ACTION", "explode")}, "unreadable", "'explode'"),
        ({"ready": ["nope"]}, "unreadable", "'nope'"),
        ({"ready": ["token-budget"]}, "unreadable", "needs 'tokens'"),
        ({"ready": ["no-secret"], "settings": {"nope": 1}}, "unreadable", "'nope'"),
        ({"ready": ["no-secret"], "settings": {"lint": 1}}, "unreadable", "'lint'"),
        (
            {"rules": BACKUP.replace("ACTION", "warn"), "tools": ["backup", "delet"]},
            "unknown_tool",
            "did you mean 'delet'?",
        ),
        (
            {
                "rules": '[[rule]]\nname = "never"\nformula = "G x & F !x"\n[rule.atoms]\n'
                'x = { kind = "text" }'
            },
            "unsatisfiable",
            "",
        ),
    ],
)
async def test_rules_that_cannot_be_used_are_told(arguments, kind, said):
    async with connected() as client:
        found = await ask(client, "check_policy", messages=RUN, **arguments)
    assert not found["usable"]
    assert not found["ran"]
    problem = found["problems"][0]
    assert problem["error"]
    assert problem["kind"] == kind
    assert said in problem["message"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "rules or ready must say which rules, got neither"),
        ({"ready": ["no-secret"], "messages": ["a"], "recording": "a.jsonl"}, "must not both"),
        ({"ready": ["no-secret"], "recording": "a.jsonl"}, "without --recordings"),
        ({"ready": ["no-secret"], "messages": [{"role": "user"}]}, "messages[0]: "),
        ({"ready": ["no-secret"], "messages": ["x" * 200_000] * 11}, "2,000,000 characters"),
        ({"rules": "x" * 100_001}, "100000 characters"),
        ({"ready": "no-secret"}, "ready: Input should be a valid list, got 'no-secret'"),
    ],
)
async def test_what_cannot_be_run_is_said(arguments, said):
    async with connected() as client:
        assert said in await refused(client, "check_policy", **arguments)


async def test_a_ready_rule_that_is_none_is_told_by_the_arguments_name():
    async with connected() as client:
        told = await ask(client, "check_policy", ready=["no_secret"])
    (problem,) = told["problems"]
    assert problem["message"].startswith("ready must be ready rules, got 'no_secret'")
