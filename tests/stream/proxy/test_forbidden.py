"""A forbidden tool call never reaches the client as a call, however its server writes it."""

from __future__ import annotations

import json

import pytest
from stream.chat import chunk, sse
from stream.proxy.test_rewriting import payloads, rewritten
from stream.proxy.wires import no_tool

from midstream.stream import Guard
from midstream.stream.proxy.frames import sse_bytes


def guard():
    rules = [no_tool("rm"), no_tool("write", **{"arguments.path": "bad"})]
    return Guard((), policies=rules)


def function(name=None, arguments="{}"):
    given = {"arguments": arguments}
    return given if name is None else {"name": name, **given}


def piece(**entry):
    return chunk(tool_calls=[{"index": 0, **entry}])


END = chunk(finish="tool_calls")
RM = {"id": "b", "function": function("rm")}
READ = {"id": "b", "function": function("read")}
BAD = '{"path": "bad"}'

CHAT = {
    "a name in two pieces": [
        piece(id="a", function=function("r", "")),
        piece(function=function("m")),
        END,
    ],
    "the rest of a name behind the arguments": [
        piece(id="a", function=function("r")),
        piece(function=function("m", "")),
        END,
    ],
    "another name": [
        piece(id="a", function=function("read", "")),
        piece(function=function("rm")),
        END,
    ],
    "another name behind what is no JSON": [
        piece(id="a", function=function("read", "}")),
        piece(function=function("read", "")),
        piece(function=function("rm", "")),
        END,
    ],
    "a name behind a key twice": [
        piece(id="a", function=function(None, '{"path": "ok", "path": "bad"}')),
        piece(function=function("write", "")),
        END,
    ],
    "a name between a key twice": [
        piece(id="a", function=function(None, '{"path": "ok"')),
        piece(function=function("write", "")),
        piece(function=function(None, ', "path": "bad"}')),
        END,
    ],
    "a name behind the end": [
        piece(function=function(None, "{")),
        END,
        piece(function=function("rm", "}")),
        piece(function=function("read", "x")),
    ],
    "a name behind the next call": [
        chunk(tool_calls=[{"function": function(None, "{}")}]),
        chunk(tool_calls=[{"id": "b", "function": function("read")}]),
        piece(function=function("rm", "}")),
        END,
    ],
    "a name behind the arguments": [
        piece(id="a", function=function(None, "{")),
        piece(function=function(None, "}")),
        piece(function=function("rm", "")),
        END,
    ],
    "no id": [piece(function=function("rm")), END],
    "no index": [
        chunk(tool_calls=[{"function": function("read")}]),
        chunk(tool_calls=[{"function": function("rm")}]),
        END,
    ],
    "an index twice": [piece(id="a", function=function("read")), piece(**RM), END],
    "an index as text": [piece(index="0", **RM), END],
    "an id twice": [
        piece(id="b", function=function("read")),
        chunk(tool_calls=[{"index": 1, **RM}]),
        END,
    ],
    "two of an index in one payload": [
        chunk(tool_calls=[{"index": 0, "function": function("read", "")}, {"index": 0, **RM}]),
        END,
    ],
    "a function beside": [
        chunk(function_call=function("read"), tool_calls=[{"index": 0, **RM}]),
        END,
    ],
    "an empty function beside": [chunk(function_call={}, tool_calls=[{"index": 0, **RM}]), END],
    "a function": [
        chunk(function_call=function("rm", "{")),
        chunk(function_call=function(None, "}")),
        chunk(finish="function_call"),
    ],
    "a custom tool": [piece(id="a", type="custom", custom={"name": "rm", "input": "x"}), END],
    "a custom tool with a function": [
        piece(id="a", type="custom", custom={"name": "rm", "input": "x"}, function=function("a")),
        END,
    ],
    "behind the end": [END, piece(**RM)],
    "another choice": [chunk(tool_calls=[{"index": 0, **RM}], index=1), chunk("a"), END],
    "a key twice": [piece(id="a", function=function("write", '{"path": "ok", "path": "bad"}'))],
    "escapes": [piece(id="a", function=function("write", '{"\\u0070ath": "b\\u0061d"}'))],
    "arguments that never end": [piece(id="a", function=function("write", '{"path": "ba')), END],
    "arguments as an object": [
        piece(id="a", function={"name": "write", "arguments": {"path": "bad"}})
    ],
    "arguments encoded twice": [piece(id="a", function=function("write", json.dumps(BAD))), END],
    "arguments within a list": [piece(id="a", function=function("write", f"[{BAD}]")), END],
    "arguments behind arguments": [
        piece(id="a", function=function("write", '{"path": "ok"}')),
        piece(function=function(None, BAD)),
        END,
    ],
}

CHAT |= {
    "a name in pieces of two ids": [
        piece(id="a", function=function("r", "")),
        piece(id="b", function=function("m")),
        END,
    ],
    "a name in pieces without an index": [
        chunk(tool_calls=[{"id": "a", "function": function("r", "")}]),
        chunk(tool_calls=[{"function": function("m")}]),
        END,
    ],
    "arguments of an index without a name": [
        piece(id="a", function=function("write", "")),
        chunk(tool_calls=[{"index": 2, "function": function(None, BAD)}]),
        END,
    ],
    "a custom tool that is a function": [
        piece(id="a", type="custom", function=function("write", "")),
        piece(function=function(None, BAD)),
        END,
    ],
    "indices in another order": [
        chunk(tool_calls=[{"index": 2, "id": "a", "function": function("write", "")}]),
        piece(id="b", function=function("read", BAD)),
        END,
    ],
    "a call that goes on in the next completion": [
        END,
        piece(id="a", function=function("write", "")),
        {**piece(function=function(None, BAD)), "id": "next"},
        END,
    ],
    "the next completion": [
        piece(id="a", function=function("rm")),
        END,
        {**chunk(tool_calls=[{"index": 0, **READ}, {"index": 2, **RM, "id": "c"}]), "id": "next"},
    ],
}


def has_forbidden(out):
    """Whether a reader of these bytes could find the forbidden call."""
    names: dict[object, str] = {}
    for part in payloads(out):
        for choice in part.get("choices", ()):
            delta = choice.get("delta", {})
            entries = delta.get("tool_calls", [])
            if delta.get("function_call"):
                entries = [*entries, {"index": "function", "function": delta["function_call"]}]
            for entry in entries:
                inner = entry.get("function") or entry["custom"]
                if entry.get("custom", {}).get("name") == "rm":
                    return True
                key = (choice["index"], entry.get("index"), entry.get("id"))[:2]
                names[key] = names.get(key, "") + inner.get("name", "")
                if inner.get("name") == "rm" or "bad" in json.dumps(inner.get("arguments", "")):
                    return True
    return "rm" in names.values()


@pytest.mark.parametrize("case", CHAT)
@pytest.mark.parametrize("done", [True, False])
def test_chat_completions(case, done):
    sent = sse(*CHAT[case], done=done)
    assert has_forbidden(sent) or case in ("escapes", "arguments that never end")
    for places in ((), range(0, len(sent), 11)):
        out, rewriter = rewritten("chat", guard(), sent, places)
        assert not has_forbidden(out)
        assert rewriter.denied or rewriter.over or not done


def test_a_name_on_every_piece_is_one_name():
    sent = sse(
        piece(id="a", function=function("write", "{")),
        piece(id="a", function=function("write", '"path": "ok"}')),
        piece(id="a", function=function("write", " ")),
        END,
    )
    out, rewriter = rewritten("chat", guard(), sent)
    assert not rewriter.denied
    assert payloads(out) == payloads(sent)


def answer(**message):
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
    return json.dumps({"object": "chat.completion", "choices": [choice]}).encode()


@pytest.mark.parametrize(
    "message",
    [
        {"tool_calls": [RM]},
        {"tool_calls": [{"index": 0, **READ}, {"index": 0, **RM}]},
        {"tool_calls": [READ, RM]},
        {"function_call": function("read"), "tool_calls": [RM]},
        {"function_call": function("rm"), "tool_calls": [READ]},
    ],
)
@pytest.mark.parametrize("framing", ["json", "sse", "lines"])
def test_answers_that_are_one_value(message, framing):
    for sent in (answer(**message), b"\xef\xbb\xbf\r\n" + answer(**message)):
        out, rewriter = rewritten("chat", guard(), sent, (1, 2, 3, 9), framing=framing)
        assert rewriter.denied or rewriter.over
        assert b'"rm"' not in out


@pytest.mark.parametrize("utf", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_answers_in_what_else_readers_of_json_understand(utf):
    sent = answer(tool_calls=[RM]).decode().encode(utf)
    assert json.loads(sent)["choices"]  # as clients do that read bytes
    out, rewriter = rewritten("chat", guard(), sent, (1, 2, 30), framing="json")
    assert rewriter.denied
    assert b'"rm"' not in out.replace(b"\0", b"")
    sent = answer(tool_calls=[READ]).decode().encode(utf)
    assert rewritten("chat", guard(), sent, (1, 2, 30), framing="json")[0] == sent
    for sent in (b"\0\0\0a", b"a\0", "neither".encode(utf)):
        assert rewritten("chat", guard(), sent, (1,), framing="json")[0] == sent


@pytest.mark.parametrize("framing", ["json", "sse", "lines"])
def test_events_that_are_called_something_else(framing):
    sent = sse(chunk("Well."), piece(**RM), END)
    out, rewriter = rewritten("chat", guard(), sent, (1, 30), framing=framing)
    assert rewriter.denied
    assert b'"rm"' not in out
    assert out.startswith(sse(chunk("Well."), done=False))
    assert out.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("framing", ["json", "sse", "lines"])
def test_lines_that_are_called_something_else(framing):
    call = {"function": {"name": "rm", "arguments": {}}}
    lines = [
        {"message": {"role": "assistant", "content": "", "tool_calls": [call]}, "done": False},
        {"message": {"role": "assistant", "content": ""}, "done": True},
    ]
    sent = "".join(json.dumps(line) + "\n" for line in lines).encode()
    out, rewriter = rewritten("ollama", guard(), sent, (1, 30), framing=framing)
    assert rewriter.denied
    assert b'"rm"' not in out


def line(*calls, done=False, content="", **more):
    message = {"role": "assistant", "content": content, "tool_calls": list(calls)}
    return {"message": message, "done": done, **more}


def tool(name="rm", arguments=None, **more):
    return {"function": {"name": name, "arguments": arguments or {}, **more}}


BARE = {"role": "assistant", "tool_calls": [tool()]}
LAST = {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"}
OLLAMA = {
    "neither text nor an end": {"message": BARE},
    "beside the message": {**line(), "tool_calls": [tool()]},
    "in choices": {"choices": [{"index": 0, "delta": BARE}], **line()},
    "an older field": {"message": {**BARE, "tool_calls": [], "function_call": {"name": "rm"}}},
    "no list": {"message": {**BARE, "content": "", "tool_calls": {"0": tool()}}, "done": False},
    "no object": line("rm"),
    "no function": line({"function": "rm"}),
    "no text": line(tool(["rm"])),
    "no object of arguments": line(tool("write", ["bad"])),
    "another name": line({**tool("read"), "name": "rm"}),
    "another kind": line({**tool("read"), "custom": {"name": "rm"}}),
    "other arguments": line(tool("write", None, input={"path": "bad"})),
    "a key twice": '{"done": false, "message": {"content": "", "tool_calls": '
    '[{"function": {"name": "rm", "name": "read", "arguments": {}}}]}}',
    "an escaped key twice": '{"message": {"content": "", "tool_c\\u0061lls": '
    '[{"function": {"name": "rm"}}]}, "done": false, "message": {"content": ""}}',
    "no JSON": '{"done": false, "message": {"tool_calls": [{"function": {"name": "rm"}}]}',
    "a line within": '{"x":\r{"message": {"content": "", "tool_calls": '
    '[{"function": {"name": "rm"}}]}}\r}',
}


@pytest.mark.parametrize("framing", ["json", "sse", "lines"])
@pytest.mark.parametrize("odd", OLLAMA)
def test_lines_that_can_be_read_in_more_than_one_way(odd, framing):
    if framing == "sse":  # where they are called so, they are one value
        framing = "json"
        sent = [OLLAMA[odd]]
    else:
        sent = [line(content="Well."), OLLAMA[odd], LAST]
    texts = [one if isinstance(one, str) else json.dumps(one) for one in sent]
    body = "\n".join(texts).encode()
    out, rewriter = rewritten("ollama", guard(), body, (1, 30, 90), framing=framing)
    assert rewriter.over
    assert b'"rm"' not in out
    assert b"error" in out.splitlines()[-1]
    free, _ = rewritten("ollama", Guard(()), body, (1, 30, 90), framing=framing)
    assert free == body


@pytest.mark.parametrize(
    "plain",
    [
        line(tool("read"), tool("write", {"path": "ok"})),
        line(tool("read", '{"a": 1}')),
        line(tool("read"), done=True),
        {"message": {"role": "assistant", "content": "", "tool_calls": None}, "done": False},
        {"response": '{"tool_calls": []}', "done": False},
        {"error": "model not found"},
    ],
)
def test_lines_that_say_one_thing_pass(plain):
    body = (json.dumps(plain) + "\n").encode()
    out, rewriter = rewritten("ollama", guard(), body, (9,), framing="lines")
    assert out.startswith(body)
    assert not rewriter.denied


@pytest.mark.parametrize("framing", ["json", "sse", "lines"])
@pytest.mark.parametrize(
    "odd",
    [
        {"content": "x", "stop": False, "tool_calls": [tool()]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [tool()]}}]},
        {"content": "x", "message": BARE},
        '{"content": "x", "content": "y", "tool_calls": [{"function": {"name": "rm"}}]}',
    ],
)
def test_calls_in_completions_of_text(odd, framing):
    text = odd if isinstance(odd, str) else json.dumps(odd)
    body = f"data: {text}\n\n".encode() if framing == "sse" else f"{text}\n".encode()
    out, rewriter = rewritten("llama", guard(), body, (9,), framing=framing)
    assert rewriter.over
    assert b'"rm"' not in out


def test_what_is_neither_passes_as_it_came():
    for sent in (b"", b" \n", b"<html>\n\nbusy</html>", b'{"cut": [1,\n 2', b"[]", b"\x00\xff\n"):
        for framing in ("json", "sse", "lines"):
            assert rewritten("chat", guard(), sent, framing=framing)[0] == sent


MESSAGE = {"id": "m", "type": "message", "role": "assistant", "content": [], "usage": {}}
BEGIN = {"type": "message_start", "message": MESSAGE}
ENDS = [
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {}},
    {"type": "message_stop"},
]


def start(index, name, given=None, call_id="t"):
    block = {"type": "tool_use", "id": call_id, "name": name, "input": given or {}}
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index, text):
    return {
        "type": "content_block_delta",
        "index": index,
        "delta": {"type": "input_json_delta", "partial_json": text},
    }


def stop(index):
    return {"type": "content_block_stop", "index": index}


@pytest.mark.parametrize(
    "sent",
    [
        [BEGIN, start(0, "write", {"path": "bad"}), stop(0), *ENDS],
        [BEGIN, start(0, "write", {"path": "bad"}), *ENDS],
        [BEGIN, start(0, "write", {"path": "bad"}), delta(0, ""), stop(0), *ENDS],
        [BEGIN, start(0, "write", {"path": "bad"})],
        [
            BEGIN,
            start(0, "write"),
            delta(0, BAD[:8]),
            start(1, "read", None, "u"),
            delta(0, BAD[8:]),
            *ENDS,
        ],
        [BEGIN, start(0, "write"), stop(0), delta(0, BAD), *ENDS],
        [BEGIN, start(0, "write"), delta(0, '{"path": "ok"}'), stop(0), start(0, "rm"), *ENDS],
        [BEGIN, start(0, "read"), stop(0), start(0, "rm", None, "u"), stop(0), *ENDS],
        [BEGIN, *ENDS, start(0, "rm"), stop(0)],
        [BEGIN, {**start(0, "rm"), "index": "0"}, stop("0"), *ENDS],
        [BEGIN, {**start(0, "rm"), "index": None}, *ENDS],
        [{**BEGIN, "message": {**MESSAGE, "content": [start(0, "rm")["content_block"]]}}, *ENDS],
    ],
)
def test_messages(sent):
    body = b"".join(sse_bytes(payload["type"], payload) for payload in sent)
    for places in ((), range(0, len(body), 11)):
        out, rewriter = rewritten("anthropic", guard(), body, places)
        assert b'"rm"' not in out
        assert not (b"bad" in out and b"path" in out)
        assert rewriter.denied or rewriter.over


def call(name="write", arguments=BAD, item_id="f", call_id="c"):
    return {
        "type": "function_call",
        "id": item_id,
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        "status": "completed",
    }


RESPONSE = {"id": "r", "object": "response", "status": "completed", "output": []}
THOUGHT = {"type": "reasoning", "id": "q", "summary": []}


def response(*output):
    return {**RESPONSE, "output": list(output)}


@pytest.mark.parametrize(
    "output",
    [
        [call()],
        [call(), call()],
        [call(item_id="g", call_id="d")],
        [THOUGHT, call(item_id="g", call_id="d")],
        [THOUGHT, call(item_id="g"), call()],
        [call(), call(item_id="g", call_id="d")],
    ],
)
def test_responses_that_say_the_call_again(output):
    sent = [
        {"type": "response.created", "response": RESPONSE},
        {"type": "response.output_item.added", "output_index": 0, "item": call(arguments="")},
        {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": BAD},
        {"type": "response.function_call_arguments.done", "output_index": 0, "arguments": BAD},
        {"type": "response.output_item.done", "output_index": 0, "item": call()},
        {"type": "response.completed", "response": response(*output)},
    ]
    body = b"".join(sse_bytes(payload["type"], payload) for payload in sent)
    for places in ((), range(0, len(body), 11)):
        out, rewriter = rewritten("responses", guard(), body, places)
        assert rewriter.denied
        assert b"bad" not in out
        assert "function_call" not in {
            item["type"] for item in payloads(out)[-1]["response"]["output"]
        }


@pytest.mark.parametrize("framing", ["json", "sse"])
def test_ids_of_a_response_that_are_there_twice(framing):
    body = json.dumps(response(call(arguments='{"path": "ok"}'), call())).encode()
    out, rewriter = rewritten("responses", guard(), body, framing=framing)
    assert rewriter.denied
    first, second = json.loads(out)["output"]
    assert first == call(arguments='{"path": "ok"}')
    assert second["type"] == "message"


def test_a_response_that_breaks_off_behind_a_whole_call():
    sent = [
        {"type": "response.created", "response": RESPONSE},
        {"type": "response.output_item.added", "output_index": 0, "item": call()},
    ]
    body = b"".join(sse_bytes(payload["type"], payload) for payload in sent)
    out, rewriter = rewritten("responses", guard(), body)
    assert rewriter.denied
    assert b"bad" not in out


@pytest.mark.parametrize("arguments", [BAD, '{"path": "ok", "path": "bad"}'])
def test_a_name_that_comes_when_its_call_has_passed_stops_the_stream(arguments):
    sent = sse(
        chunk(tool_calls=[{"index": 2, "function": function(None, arguments)}]),
        piece(id="c", function=function("read")),
        chunk(tool_calls=[{"index": 2, "id": "a", "function": {"name": "write"}}]),
        END,
    )
    out, rewriter = rewritten("chat", guard(), sent)
    assert rewriter.over
    assert b'"name": "write"' not in out


@pytest.mark.parametrize(
    "choice",
    [
        {"delta": {}, "message": {"tool_calls": [RM]}},
        {"delta": None, "message": {"tool_calls": [RM]}},
        {"delta": {"content": "a"}, "message": {"function_call": function("rm")}},
        {"delta": {"tool_calls": {"0": RM}}},
        {"delta": {"tool_calls": [[RM]]}},
    ],
)
def test_calls_that_stand_beside(choice):
    sent = sse({"id": "x", "choices": [{"index": 0, "finish_reason": None, **choice}]}, END)
    out, rewriter = rewritten("chat", guard(), sent)
    assert rewriter.over
    assert b'"rm"' not in out
    assert rewritten("chat", Guard(()), sent)[0] == sent


@pytest.mark.parametrize("more", [{}, {"id": "a"}, {"id": "b"}])
def test_a_name_that_follows_the_arguments_of_another(more):
    sent = sse(
        piece(id="a", function=function("read", BAD)),
        piece(function=function("write", ""), **more),
        END,
    )
    out, rewriter = rewritten("chat", guard(), sent)
    assert rewriter.over
    assert b"write" not in out


@pytest.mark.parametrize("first", [True, False])
def test_a_key_that_is_there_twice(first):
    call = json.dumps([{"index": 0, **RM}])
    keys = [f'"tool_calls": {call}', '"\\u0074ool_calls": null']
    delta = ", ".join(keys if first else keys[::-1])
    sent = f'data: {{"choices": [{{"index": 0, "delta": {{{delta}}}}}]}}\n\n'.encode()
    out, rewriter = rewritten("chat", guard(), sent)
    assert rewriter.over
    assert b'"rm"' not in out
    assert rewritten("chat", Guard(()), sent)[0] == sent
    message = sent[6:].replace(b"delta", b"message")
    out, rewriter = rewritten("chat", guard(), message, framing="json")
    assert b'"rm"' not in out


ADDED = {"type": "response.output_item.added", "output_index": 0, "item": call(arguments="")}
OK = '{"path": "ok"}'


def said(kind, text, **more):
    return {"type": f"response.function_call_arguments.{kind}", "output_index": 0, **text, **more}


DONE = {"type": "response.output_item.done", "output_index": 0, "item": call(arguments=OK)}
COMPLETED = {"type": "response.completed", "response": response(call(arguments=OK))}
CREATED = {"type": "response.created", "response": RESPONSE}
WELL = [
    CREATED,
    ADDED,
    said("delta", {"delta": OK}),
    said("done", {"arguments": OK}),
    DONE,
    COMPLETED,
]


@pytest.mark.parametrize(
    ("at", "payload"),
    [
        (0, {"type": "response.created", "response": response(call())}),
        (1, {"type": "response.in_progress", "response": response(call())}),
        (1, {"type": "response.other", "item": call()}),
        (1, {"item": call(), "output_index": 0}),
        (1, response(call())),
        (3, said("done", {"arguments": BAD})),
        (3, said("done", {"arguments": OK}, name="rm")),
        (4, {**DONE, "item": call()}),
        (4, {**DONE, "item": call("rm", OK)}),
        (5, {**DONE, "item": call()}),
        (5, {**ADDED, "item": call()}),
        (5, {"type": "response.completed", "response": response(call())}),
        (6, {"type": "response.completed", "response": response(call())}),
        (6, {"type": "response.completed", "response": response(call("rm", OK))}),
    ],
)
def test_responses_that_say_another_call(at, payload):
    sent = [*WELL[:at], payload, *WELL[at + 1 :]]
    body = b"".join(sse_bytes(one.get("type", ""), one) for one in sent)
    out, rewriter = rewritten("responses", guard(), body, range(0, len(body), 13))
    assert rewriter.denied or rewriter.over
    assert b"bad" not in out
    assert b'"rm"' not in out
    assert rewritten("responses", Guard(()), body)[0] == body


def test_a_response_that_says_the_same_call_passes():
    for last in ([], [COMPLETED]):
        sent = [*WELL, *last]
        body = b"".join(sse_bytes(one["type"], one) for one in sent)
        out, rewriter = rewritten("responses", guard(), body)
        assert out == body
        assert not rewriter.over


def test_a_call_that_was_whole_and_is_missing_in_the_end():
    sent = [CREATED, {**ADDED, "item": call()}, {**COMPLETED, "response": RESPONSE}]
    body = b"".join(sse_bytes(one["type"], one) for one in sent)
    out, rewriter = rewritten("responses", guard(), body)
    assert rewriter.over
    assert b"bad" not in out


USE = {"type": "tool_use", "id": "v", "name": "rm", "input": {}}


@pytest.mark.parametrize(
    "sent",
    [
        [BEGIN, start(0, "write", {"path": "ok"}), delta(0, BAD), stop(0), *ENDS],
        [BEGIN, start(0, "write", {"path": "bad"}), delta(0, OK), stop(0), *ENDS],
        [BEGIN, start(0, "read"), start(0, "write"), delta(0, BAD), stop(0), *ENDS],
        [BEGIN, start(0, "write", {"path": "bad"}), start(1, "read", None, "u"), stop(0), *ENDS],
        [start(1, "write", {"path": "bad"}), BEGIN, *ENDS],
        [BEGIN, start(0, "write"), BEGIN, delta(0, BAD), stop(0), *ENDS],
        [BEGIN, {"type": "message_delta", "delta": {"content": [USE]}, "usage": {}}],
        [BEGIN, {"type": "message_delta", "delta": {}, "content": [USE]}],
        [BEGIN, {"type": "content_block_stop", "index": 0, "content_block": USE}],
        [BEGIN, {"type": "message_stop", "message": {**MESSAGE, "content": [USE]}}],
        [BEGIN, start(0, "write"), {**delta(0, BAD), "type": "text"}, stop(0), *ENDS],
        [
            BEGIN,
            start(0, "write"),
            {**delta(0, ""), "delta": {"type": None, "partial_json": BAD}},
            stop(0),
            *ENDS,
        ],
    ],
)
def test_messages_that_can_be_read_otherwise(sent):
    body = b"".join(sse_bytes(payload["type"], payload) for payload in sent)
    for places in ((), range(0, len(body), 11)):
        out, rewriter = rewritten("anthropic", guard(), body, places)
        assert b'"rm"' not in out
        assert b"bad" not in out
        assert rewriter.denied or rewriter.over
    assert rewritten("anthropic", Guard(()), body)[0] == body


def test_rules_that_do_not_concern_a_call_leave_it_alone():
    sent = sse(
        piece(id="a", function=function("look", '{"a": 1}')),
        piece(id="b", function=function("find", '{"b": 1}')),
        END,
    )
    out, rewriter = rewritten("chat", guard(), sent)
    assert out == sent
    assert not rewriter.over


@pytest.mark.parametrize("api", ["chat", "responses", "anthropic"])
def test_types_that_are_no_text(api):
    for odd in ({}, [], 1, None):
        parts = [
            {"type": odd, "index": 0},
            {"type": "content_block_stop", "index": odd},
            {"type": "response.output_text.delta", "output_index": 0, "content_index": odd},
            {"type": "response.content_part.added", "output_index": 0, "content_index": odd},
        ]
        parts[2]["delta"], parts[3]["part"] = "a", {"type": "output_text"}
        body = b"".join(sse_bytes("", one) for one in parts)
        assert rewritten(api, guard(), body)[0] == body


@pytest.mark.parametrize(
    "around", [("", ""), ('{"a": 1}\ndata: ', ""), ('{"a":\ndata: ', "\ndata: }")]
)
def test_payloads_that_are_read_line_by_line(around):
    text = json.dumps(piece(**READ)).replace("read", "rm")
    sent = f"data: {around[0]}{text}{around[1]}\n\n".encode()
    out, rewriter = rewritten("chat", guard(), sent, range(0, len(sent), 9))
    assert b'"rm"' not in out
    assert rewriter.denied or rewriter.over
    assert rewritten("chat", Guard(()), sent)[0] == sent


def test_calls_that_come_beside_each_other_are_apart():
    def second(**entry):
        return chunk(tool_calls=[{"index": 1, **entry}])

    sent = sse(
        piece(id="a", function=function("write", "")),
        second(id="b", function=function("write", "")),
        piece(function=function(None, '{"path": ')),
        second(function=function(None, '{"path": ')),
        second(function=function(None, '"ok"}')),
        piece(function=function(None, '"ok"}')),
        END,
    )
    out, rewriter = rewritten("chat", guard(), sent)
    assert not rewriter.over
    assert not rewriter.denied
    assert sorted(map(str, payloads(out))) == sorted(map(str, payloads(sent)))
