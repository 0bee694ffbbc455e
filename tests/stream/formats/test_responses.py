"""OpenAI Responses: the traps of the wire format."""

from __future__ import annotations

import json

import pytest
from stream.formats.mapping import HIGH, LOW, brief, calls, mapped

from midstream.stream.formats import ResponsesMapper, assemble

CREATED = {"type": "response.created", "response": {"id": "resp", "status": "in_progress"}}


def of(kind, index=0, **fields):
    return {"type": f"response.{kind}", "output_index": index, **fields}


def added(index, **item):
    return of("output_item.added", index, item=item)


def done(index, **item):
    return of("output_item.done", index, item=item)


def ended(kind="completed", **response):
    return {"type": f"response.{kind}", "response": {"status": kind, **response}}


def said(events):
    return [row for row in brief(events) if row[1] or row[0] != "text"]


def test_texts_are_told_apart():
    events = mapped(
        ResponsesMapper(),
        CREATED,
        of("reasoning_summary_text.delta", 0, summary_index=0, delta="Plan"),
        of("reasoning_summary_text.delta", 0, summary_index=1, delta="More"),
        of("reasoning_text.delta", 0, content_index=0, delta="Hm."),
        added(1, type="message", id="m", content=[]),
        of("output_text.delta", 1, content_index=0, delta="Once"),
        of("refusal.delta", 1, content_index=1, delta="I cannot"),
        of("output_text.annotation.added", 1, annotation={}),
        of("audio.transcript.delta", 2, delta="spoken"),
        of("audio.delta", 2, delta="UklGRg=="),
        ended(usage={"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}),
    )
    assert said(events) == [
        ("reasoning", "Plan", "0:s0"),
        ("reasoning", "More", "0:s1"),
        ("reasoning", "Hm.", "0"),
        ("text", "Once", "1"),
        ("text", "I cannot", "1:1"),
        ("audio", "spoken", "2"),
        ("audio", "", "2"),
        ("end", "completed", ""),
        ("usage", "", ""),
    ]
    assert assemble(events).text == "OnceI cannot"


def test_function_calls_that_overlap():
    events = mapped(
        ResponsesMapper(),
        added(0, type="function_call", id="fa", call_id="a", name="f", arguments=""),
        added(1, type="function_call", id="fb", call_id="b", name="g", arguments=""),
        of("function_call_arguments.delta", 1, item_id="fb", delta='{"y"'),
        of("function_call_arguments.delta", 0, item_id="fa", delta='{"x":1}'),
        of("function_call_arguments.delta", 1, item_id="another", delta=":2}"),
        of("function_call_arguments.done", 0, arguments='{"x":1}'),
        done(0, type="function_call", id="fa", call_id="a", name="f", arguments='{"x":1}'),
        done(1, type="function_call", id="fb", call_id="b", name="g", arguments='{"y":2}'),
    )
    assert calls(events) == [
        ("0", "f", "a", ""),
        ("1", "g", "b", ""),
        ("1", "g", "b", '{"y"'),
        ("0", "f", "a", '{"x":1}'),
        ("1", "g", "b", ":2}"),
    ]


ITEM = {"type": "function_call", "id": "fa", "call_id": "a", "name": "f", "arguments": '{"x":1}'}


@pytest.mark.parametrize(
    "payloads",
    [
        [
            added(0, **{**ITEM, "arguments": ""}),
            of("function_call_arguments.done", arguments='{"x":1}'),
        ],
        [of("function_call_arguments.done", name="f", call_id="a", arguments='{"x":1}')],
        [added(0, **{**ITEM, "arguments": ""}), done(0, **ITEM)],
        [done(0, **ITEM)],
        [CREATED, ended(output=[ITEM])],
        [{"object": "response", "status": "completed", "output": [ITEM]}],
        [CREATED, added(0, **{**ITEM, "arguments": ""}), ended(output=[ITEM])],
        [CREATED, done(0, **ITEM), ended(output=[ITEM])],
        [CREATED, done(0, **ITEM), ended(output=[{**ITEM, "id": "another"}])],
        [CREATED, done(0, **ITEM), ended(output=[{"type": "message"}, ITEM])],
    ],
)
def test_what_did_not_stream_comes_from_what_is_finished(payloads):
    (call,) = assemble(mapped(ResponsesMapper(), *payloads)).calls
    assert (call.stream_id, call.name, call.call_id) == ("0", "f", "a")
    assert call.arguments == '{"x":1}'


@pytest.mark.parametrize(
    "payload",
    [
        of("output_text.done", text="Once"),
        done(0, type="message", content=[{"type": "output_text", "text": "Once"}]),
        ended(output=[{"type": "message", "content": [{"type": "output_text", "text": "Once"}]}]),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_texts_that_did_not_stream(payload, streamed):
    first = of("output_text.delta", content_index=0, delta="Once" if streamed else "")
    events = mapped(ResponsesMapper(), first, payload)
    assert assemble(events).text == "Once"


def test_reasoning_and_refusals_that_did_not_stream():
    item = {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "Plan"}],
        "content": [{"type": "reasoning_text", "text": "Hm."}],
    }
    message = {"type": "message", "content": [{"type": "refusal", "refusal": "No."}, 5]}
    events = mapped(ResponsesMapper(), done(0, **item), done(1, **message))
    assert said(events) == [
        ("reasoning", "Hm.", "0"),
        ("reasoning", "Plan", "0:s0"),
        ("text", "No.", "1"),
    ]
    events = mapped(
        ResponsesMapper(),
        of("reasoning_text.done", text="Hm."),
        of("reasoning_summary_text.done", summary_index=0, text="Plan"),
        of("refusal.done", 1, refusal="No."),
    )
    assert [row[1] for row in said(events)] == ["Hm.", "Plan", "No."]


def test_code_becomes_json():
    code = 'print("a\n")'
    item = {"type": "code_interpreter_call", "id": "ci", "code": code}
    events = mapped(
        ResponsesMapper(),
        added(1, **{**item, "code": ""}),
        *[of("code_interpreter_call_code.delta", 1, delta=piece) for piece in code],
        of("code_interpreter_call_code.done", 1, code=code),
        of("code_interpreter_call.completed", 1),
        done(1, **item, outputs=[{"type": "logs", "logs": "a"}]),
    )
    (call,) = assemble(events).calls
    assert (call.stream_id, call.name, call.call_id) == ("1!", "code_interpreter", "ci")
    assert json.loads(call.arguments) == {"code": code}
    assert call.provider_run
    assert call.result == '{"type":"logs","logs":"a"}'
    begun = [event for event in events if event.kind == "tool_call"]
    assert begun[0].data["item"]["type"] == "code_interpreter_call"


@pytest.mark.parametrize("ending", ["string", "item"])
def test_patches_and_commands_become_json(ending):
    operation = {"type": "update_file", "path": "a.txt"}
    patch = {"type": "apply_patch_call", "id": "p", "call_id": "a", "operation": operation}
    shell = {"type": "shell_call", "id": "s", "call_id": "b", "action": {"commands": []}}
    payloads = [
        added(0, **patch),
        of("apply_patch_call_operation_diff.delta", delta='+"'),
        of("apply_patch_call_operation_diff.delta", delta="x\n"),
        added(1, **shell),
        of("shell_call_command.added", 1, command_index=0),
        of("shell_call_command.delta", 1, command_index=0, delta="ls "),
        of("shell_call_command.delta", 1, command_index=0, delta="-l"),
    ]
    if ending == "string":
        payloads += [
            of("apply_patch_call_operation_diff.done", diff='+"x\n'),
            of("shell_call_command.done", 1, command_index=0),
        ]
    payloads += [
        of("shell_call_command.delta", 1, command_index=1, delta='echo "a"'),
        done(0, **{**patch, "operation": {**operation, "diff": '+"x\n'}}),
        done(1, **{**shell, "action": {"commands": ["ls -l", 'echo "a"']}}),
    ]
    patched, ran = assemble(mapped(ResponsesMapper(), *payloads)).calls
    assert json.loads(patched.arguments) == {**operation, "diff": '+"x\n'}
    assert json.loads(ran.arguments) == {"commands": ["ls -l", 'echo "a"']}
    assert (patched.name, patched.provider_run) == ("apply_patch", False)
    assert (ran.name, ran.provider_run) == ("shell", False)


@pytest.mark.parametrize(
    ("item", "name", "arguments", "provider_run"),
    [
        (
            {"type": "web_search_call", "action": {"query": "q", "sources": []}},
            "web_search",
            {"query": "q"},
            True,
        ),
        ({"type": "file_search_call", "queries": ["q"]}, "file_search", {"queries": ["q"]}, True),
        ({"type": "image_generation_call", "result": "x"}, "image_generation", {}, True),
        (
            {"type": "mcp_call", "name": "echo", "server_label": "s", "arguments": '{"a":1}'},
            "echo",
            {"a": 1},
            True,
        ),
        (
            {"type": "mcp_approval_request", "name": "echo", "arguments": "{}"},
            "echo",
            {},
            True,
        ),
        (
            {"type": "local_shell_call", "call_id": "c", "action": {"command": ["ls"]}},
            "local_shell",
            {"command": ["ls"]},
            False,
        ),
        (
            {"type": "computer_call", "call_id": "c", "action": {"type": "click", "x": 1}},
            "computer",
            {"type": "click", "x": 1},
            False,
        ),
        (
            {"type": "tool_search_call", "execution": "client", "arguments": {"goal": "g"}},
            "tool_search",
            {"goal": "g"},
            False,
        ),
        (
            {"type": "tool_search_call", "execution": "server", "arguments": {}},
            "tool_search",
            {},
            True,
        ),
        (
            {
                "type": "shell_call",
                "environment": {"type": "container_reference"},
                "action": {"commands": ["ls"]},
            },
            "shell",
            {"commands": ["ls"]},
            True,
        ),
        (
            {"type": "program", "call_id": "c", "code": "1", "fingerprint": "f"},
            "program",
            {"code": "1"},
            True,
        ),
        ({"type": "future_call", "thing": 1}, "future", {"thing": 1}, True),
    ],
)
def test_calls_of_built_in_tools(item, name, arguments, provider_run):
    events = mapped(ResponsesMapper(), added(0, id="i", type=item["type"]), done(0, id="i", **item))
    if {"name", "call_id", "environment", "execution"} & item.keys():  # told by the whole item
        events = mapped(ResponsesMapper(), done(0, id="i", **item))
    (call,) = assemble(events).calls
    assert (call.name, call.provider_run) == (name, provider_run)
    assert json.loads(call.arguments) == arguments
    assert call.call_id == item.get("call_id", "i")


def test_custom_and_mcp_tools_stream():
    events = mapped(
        ResponsesMapper(),
        added(0, type="custom_tool_call", id="c", call_id="a", name="sql", input=""),
        of("custom_tool_call_input.delta", delta="SELECT "),
        of("custom_tool_call_input.delta", delta="1"),
        of("custom_tool_call_input.done", input="SELECT 1"),
        added(1, type="mcp_call", id="m", name="echo", arguments=""),
        of("mcp_call_arguments.delta", 1, delta="{}"),
        of("mcp_call_arguments.done", 1, arguments="{}"),
        done(1, type="mcp_call", id="m", name="echo", arguments="{}", output="hi"),
        added(2, type="mcp_call", id="n", name="fail", arguments="{}"),
        done(2, type="mcp_call", id="n", name="fail", arguments="{}", error={"message": "no"}),
    )
    sql, echo, fail = assemble(events).calls
    assert (sql.arguments, echo.arguments, echo.result) == ("SELECT 1", "{}", "hi")
    assert fail.result == '{"message":"no"}'


def test_outputs_are_results():
    events = mapped(
        ResponsesMapper(),
        added(0, type="shell_call", id="s", call_id="a", action={"commands": []}),
        done(0, type="shell_call", id="s", call_id="a", action={"commands": ["ls"]}),
        added(1, type="shell_call_output", id="o", call_id="a", output=[]),
        of("shell_call_output_content.delta", 1, delta={"stdout": "x"}),
        done(1, type="shell_call_output", id="o", call_id="a", output=[{"stdout": "x"}]),
    )
    (call,) = assemble(events).calls
    assert call.result == '{"stdout":"x"}'
    assert brief(events)[-1] == ("tool_result", '{"stdout":"x"}', "0")


@pytest.mark.parametrize(
    ("kind", "fields", "text"),
    [
        ("program_output", {"result": "42"}, "42"),
        ("tool_search_output", {"tools": [{"name": "f"}]}, '{"name":"f"}'),
        ("future_output", {}, ""),
    ],
)
def test_other_outputs_are_results(kind, fields, text):
    call = {"type": "program", "id": "p", "call_id": "a", "code": "1"}
    output = {"type": kind, "id": "o", "call_id": "a", **fields}
    events = mapped(ResponsesMapper(), done(0, **call), done(1, **output))
    assert events[-1][0:1] + events[-1][3:5] == ("tool_result", text, "program")
    assert (events[-1].stream_id, events[-1].call_id) == ("0!", "a")


def test_how_it_ends():
    mapper = ResponsesMapper()
    assert mapper.cut() is None
    mapped(mapper, CREATED)
    assert mapper.cut() == (
        "closed mid-stream after event 1: no completed, incomplete or failed response arrived"
    )
    mapper.events(ended(), 0)
    assert mapper.cut() is None
    events = mapped(
        ResponsesMapper(), CREATED, ended("incomplete", incomplete_details={"reason": "steered"})
    )
    assert brief(events)[-1] == ("end", "incomplete", "")
    failed = ended("failed", error={"code": "server_error", "message": "sorry"})
    events = mapped(ResponsesMapper(), CREATED, failed)
    assert brief(events)[1:] == [("error", "server_error: sorry", ""), ("end", "failed", "")]
    top = {"type": "error", "code": "rate_limit", "message": "slow down", "param": None}
    mapper = ResponsesMapper()
    events = mapped(mapper, CREATED, top)
    assert events[-1].text == "rate_limit: slow down"
    assert mapper.cut() is None
    assert brief(mapped(ResponsesMapper(), {"type": "response.completed"}))[0][1] == "completed"
    assert mapped(ResponsesMapper(), ended(), ended())[-1].kind == "text"


def test_responses_after_one_another():
    mapper = ResponsesMapper()
    events = mapped(
        mapper,
        of("output_text.delta", delta="a"),  # whose beginning was not seen
        ended(usage={"input_tokens": 1, "output_tokens": 1}),
        CREATED,
        of("output_text.delta", delta="b"),
        ended(usage={"input_tokens": 2, "output_tokens": 2}),
        CREATED,
        CREATED,
    )
    found = assemble(events)
    assert found.texts == {"0": "a", "r1.0": "b"}
    assert found.finish_reasons == {"": "completed", "r1.": "completed"}
    assert found.usage["total_tokens"] == 6
    assert found.errors == ["a new response began before the last one ended"]


def test_items_without_an_index():
    events = mapped(
        ResponsesMapper(),
        {"type": "response.output_text.delta", "item_id": "a", "delta": "1"},
        {"type": "response.output_text.delta", "item_id": "b", "delta": "2"},
        {"type": "response.output_text.delta", "item_id": "a", "delta": "3"},
        {"type": "response.output_text.delta", "delta": "4"},
    )
    assert assemble(events).texts == {"0": "134", "1": "2"}


def test_unknown_kinds_pass():
    payloads = [
        {"type": "response.future.delta", "delta": "x"},
        {"type": "keepalive", "sequence_number": 3},
        {"type": ["response.output_text.delta"]},
        of("output_text.delta", [], delta=5),
        of("output_text.delta", content_index={}, item_id=[], delta=None),
        of("output_item.added", item="x"),
        of("output_item.done", item=None),
        of("function_call_arguments.delta", delta={}),
        {"type": "response.in_progress", "response": None},
    ]
    mapper = ResponsesMapper()
    events = mapped(mapper, *payloads)
    assert {(event.kind, event.text) for event in events} == {("text", "")}
    assert mapper.known


def test_halves_of_characters():
    mapper = ResponsesMapper()
    events = mapped(
        mapper,
        of("output_text.delta", delta="a" + HIGH),
        of("output_text.delta", delta=LOW + HIGH),
        added(1, type="code_interpreter_call", id="c", code=""),
        of("code_interpreter_call_code.delta", 1, delta=HIGH),
        of("code_interpreter_call_code.delta", 1, delta=LOW),
        of("code_interpreter_call_code.delta", 1, delta=HIGH),
        of("code_interpreter_call_code.done", 1),
        ended(),
    )
    found = assemble(events)
    assert found.text == "a🙂" + HIGH
    assert found.calls[0].arguments == '{"code":"🙂' + HIGH + '"}'
    assert events[-1].kind == "end"
    assert mapper.finish(0) == []
