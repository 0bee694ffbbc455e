"""Keys never appear in what the proxy writes or says: logs, metrics, recordings, messages."""

from __future__ import annotations

import json
import logging

import pytest
from stream.chat import chunk, sse, within
from stream.proxy.wires import PATHS, Upstream, no_tool, post, proxied, raw, split

from midstream.stream import Event, Guard, LoopDetector
from midstream.stream.policies import Policy, ready_policies

KEYS = {
    where: "sk-proj-" + f"{number}a1B2c3D4e5F6" * 5
    for number, where in enumerate(
        ("header", "query", "request", "text", "reasoning", "arguments", "name", "error", "broken")
    )
}


def has_key(text):
    """Whose key, or an essential part of it, is in a text."""
    return [where for where, key in KEYS.items() if key[8:28] in text]


def answer():
    call = {"name": "send", "arguments": json.dumps({"to": KEYS["arguments"], "n": 1})}
    return [
        chunk(None, role="assistant", reasoning_content=f"The key {KEYS['reasoning']} is mine. "),
        *[chunk(f"Use {KEYS['text'][:30]}"), chunk(f"{KEYS['text'][30:]} now. ")],
        *[chunk(tool_calls=[{"index": n, "id": f"c{n}", "function": call}]) for n in range(4)],
        chunk(tool_calls=[{"index": 9, "function": {"name": KEYS["name"], "arguments": "{"}}]),
        {"choices": [], "error": {"message": f"Incorrect API key provided: {KEYS['error']}"}},
        chunk(finish="tool_calls"),
    ]


REQUEST = {
    "model": "m",
    "messages": [
        {"role": "user", "content": f"My key is {KEYS['request']}."},
        {
            "role": "assistant",
            "tool_calls": [{"id": "a", "function": {"name": "t", "arguments": KEYS["request"]}}],
        },
        {"role": "tool", "tool_call_id": "a", "content": KEYS["request"]},
    ],
}


class Broken(LoopDetector):
    def observe(self, event, gap_ns=0):
        if event.kind == "error":
            raise ValueError(f"{event.text} {KEYS['broken']}")
        return super().observe(event, gap_ns)


RULES = [
    *ready_policies("no-secret", action="warn"),
    *ready_policies("no-repeated-failing-call"),
    Policy("number", "G !big", {"big": {"arguments.to": {">": 3}}}, "warn"),
]


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize("ends", [True, False])
async def test_the_proxy(tmp_path, caplog, capfd, broken, ends):
    caplog.set_level(logging.DEBUG)
    sent = sse(*answer())
    sent = sent if ends else sent[:-40]
    findings = []
    settings = {"make_detectors": lambda: [Broken()]} if broken else {}
    async with (
        within(),
        Upstream(sent, size=97) as upstream,
        proxied(
            upstream,
            policies=RULES,
            recordings=tmp_path,
            on_finding=lambda _, finding: findings.append(finding),
            **settings,
        ) as proxy,
    ):
        request = post(
            f"{PATHS['chat']}?api-key={KEYS['query']}",
            json.dumps(REQUEST).encode(),
            f"Authorization: Bearer {KEYS['header']}",
            f"x-api-key: {KEYS['header']}",
        )
        status, headers, _ = split(await raw(proxy.url, request))
        head, body = upstream.requests[0]
        refused = await raw(proxy.url, post(f"/v1//chat?key={KEYS['query']}"))
        served = await raw(proxy.url, post("/-/metrics").replace(b"POST", b"GET", 1))
    assert status == 200
    assert KEYS["header"].encode() in head  # it gets there
    assert KEYS["query"].encode() in head
    assert KEYS["request"].encode() in body
    assert has_key(json.dumps(headers)) == []
    assert has_key(refused.decode()) == []
    assert has_key(served.decode()) == []
    assert b"midstream_" in served
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert has_key(path.name + path.read_bytes().decode("latin-1")) == []
    assert findings
    assert has_key("".join(finding.message for finding in findings)) in ([], ["name"])
    assert has_key(caplog.text) == []
    out, err = capfd.readouterr()
    assert has_key(out + err) == []


@pytest.mark.parametrize("action", ["block", "warn", "note", "stop"])
@pytest.mark.parametrize(
    "arguments",
    [
        json.dumps({"to": KEYS["arguments"]}),
        json.dumps({"to": [KEYS["arguments"], {KEYS["arguments"]: 1}]}),
        json.dumps(KEYS["arguments"]),
        '{"to": ' + KEYS["arguments"],
        '{"' + KEYS["arguments"] + '": x',
        '{"to": 1, "to": "' + KEYS["arguments"] + '" x',
    ],
)
def test_messages_of_findings_and_denials(action, arguments):
    conditions = {"arguments.to": {">": 3}}, {"arguments.to": {"matches": "^a"}}
    rules = [Policy(f"p{n}", "G !a", {"a": one}, action) for n, one in enumerate(conditions)]
    guard = Guard(policies=rules)
    for n in range(3):
        guard.take(Event("tool_call", n, n, arguments, "send", None, f"0/{n}", f"c{n}"))
        guard.take(Event("tool_result", n, n, arguments, "send", None, f"0/{n}", f"c{n}"))
    guard.finish()
    for finding in guard.findings:
        assert has_key(finding.message) == []
    for denial in guard.denied:
        assert has_key(denial.text) == []
    assert has_key(str(guard.report().errors)) == []


def test_what_denies_is_not_told_what_it_was():
    guard = Guard((), policies=no_tool("send", **{"arguments.to": {"contains": "sk-"}}))
    text = json.dumps({"to": KEYS["arguments"]})
    (denial,) = guard.take(Event("tool_call", 0, 0, text, "send", None, "0/0", "c")).denied
    assert has_key(denial.text + denial.finding.message + str(denial.finding.evidence)) == []
