"""One response in the words of each API, its texts and arguments cut into any deltas.

A response is a list of parts ``(kind, text, tool)``: ``"text"``, ``"reasoning"``, or ``"call"``,
whose text are its arguments. What an API cannot say is left out, or said as text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

Part = tuple[str, str, str]
Cut = Callable[[str], list[str]]
Payloads = Iterator[dict[str, Any]]

RESPONSE = {"id": "r", "object": "response", "status": "in_progress", "output": []}


def chat(parts: list[Part], cut: Cut) -> Payloads:
    def delta(**fields):
        return {"choices": [{"index": 0, "delta": fields, "finish_reason": None}]}

    n_calls = 0
    for kind, text, name in parts:
        if kind != "call":
            field = "content" if kind == "text" else "reasoning_content"
            yield from (delta(**{field: piece}) for piece in cut(text))
            continue
        head = {"index": n_calls, "id": f"c{n_calls}", "type": "function"}
        yield delta(tool_calls=[{**head, "function": {"name": name, "arguments": ""}}])
        for piece in cut(text):
            yield delta(tool_calls=[{"index": n_calls, "function": {"arguments": piece}}])
        n_calls += 1
    reason = "tool_calls" if n_calls else "stop"
    yield {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}


def anthropic(parts: list[Part], cut: Cut) -> Payloads:
    yield {"type": "message_start", "message": {"role": "assistant", "content": []}}
    reason = "end_turn"
    for n, (kind, text, name) in enumerate(parts):
        field, delta = {
            "text": ("text", "text_delta"),
            "reasoning": ("thinking", "thinking_delta"),
            "call": ("partial_json", "input_json_delta"),
        }[kind]
        if kind == "call":
            block = {"type": "tool_use", "id": f"c{n}", "name": name, "input": {}}
            reason = "tool_use"
        else:
            block = {"type": field, field: ""}
        yield {"type": "content_block_start", "index": n, "content_block": block}
        for piece in cut(text):
            inner = {"type": delta, field: piece}
            yield {"type": "content_block_delta", "index": n, "delta": inner}
        yield {"type": "content_block_stop", "index": n}
    yield {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {}}
    yield {"type": "message_stop"}


def responses(parts: list[Part], cut: Cut) -> Payloads:
    yield {"type": "response.created", "response": RESPONSE}
    output = []
    for n, (kind, text, name) in enumerate(parts):
        place = {"output_index": n, "item_id": f"i{n}"}
        if kind == "call":
            item = {"type": "function_call", "id": f"i{n}", "call_id": f"c{n}", "name": name}
            begun, whole = {**item, "arguments": ""}, {**item, "arguments": text}
            delta = "response.function_call_arguments.delta"
        elif kind == "text":
            item = {"type": "message", "id": f"i{n}", "role": "assistant"}
            part = {"type": "output_text", "text": text}
            begun, whole = {**item, "content": []}, {**item, "content": [part]}
            delta, place = "response.output_text.delta", {**place, "content_index": 0}
        else:
            item = {"type": "reasoning", "id": f"i{n}", "summary": []}
            begun = whole = item
            delta, place = "response.reasoning_text.delta", {**place, "content_index": 0}
        yield {"type": "response.output_item.added", "output_index": n, "item": begun}
        yield from ({"type": delta, **place, "delta": piece} for piece in cut(text))
        yield {"type": "response.output_item.done", "output_index": n, "item": whole}
        output.append(whole)
    whole = {**RESPONSE, "status": "completed", "output": output}
    yield {"type": "response.completed", "response": whole}


def realtime(parts: list[Part], cut: Cut) -> Payloads:
    """A session says text aloud, calls tools, and tells no thoughts."""
    yield {"type": "session.created", "event_id": "e", "session": {}}
    said = [
        ("text", text, "") if kind == "reasoning" else (kind, text, name)
        for kind, text, name in parts
    ]
    for payload in responses(said, cut):
        payload = {"event_id": "e", "response_id": "r", **payload}
        if payload["type"] == "response.output_text.delta":
            payload["type"] = "response.output_audio_transcript.delta"
        if payload["type"] == "response.completed":
            payload["type"] = "response.done"
            for item in payload["response"]["output"]:
                for part in item.get("content", ()):
                    part.update(type="output_audio", transcript=part.pop("text"))
        yield payload


def assistants(parts: list[Part], cut: Cut) -> Payloads:
    yield {"object": "thread.run", "id": "run", "status": "in_progress"}
    for n, (kind, text, name) in enumerate(parts):
        if kind != "call":
            for piece in cut(text):
                content = {"index": 0, "type": "text", "text": {"value": piece}}
                delta = {"content": [content]}
                yield {"object": "thread.message.delta", "id": f"m{n}", "delta": delta}
            yield {"object": "thread.message", "id": f"m{n}", "status": "completed"}
            continue
        head = {"id": f"c{n}", "type": "function", "function": {"name": name, "arguments": ""}}
        more = [{"type": "function", "function": {"arguments": piece}} for piece in cut(text)]
        for call in [head, *more]:
            details = {"type": "tool_calls", "tool_calls": [{"index": 0, **call}]}
            delta = {"step_details": details}
            yield {"object": "thread.run.step.delta", "id": f"s{n}", "delta": delta}
        yield {"object": "thread.run.step", "id": f"s{n}", "status": "completed"}
    yield {"object": "thread.run", "id": "run", "status": "completed"}


def bedrock(parts: list[Part], cut: Cut) -> Payloads:
    yield {"messageStart": {"role": "assistant"}}
    reason = "end_turn"
    for n, (kind, text, name) in enumerate(parts):
        place = {"contentBlockIndex": n}
        if kind == "call":
            use = {"toolUse": {"toolUseId": f"c{n}", "name": name}}
            yield {"contentBlockStart": {**place, "start": use}}
            reason = "tool_use"
        for piece in cut(text):
            delta = {
                "text": {"text": piece},
                "reasoning": {"reasoningContent": {"text": piece}},
                "call": {"toolUse": {"input": piece}},
            }[kind]
            yield {"contentBlockDelta": {**place, "delta": delta}}
        yield {"contentBlockStop": place}
    yield {"messageStop": {"stopReason": reason}}
    yield {"metadata": {"usage": {"inputTokens": 3, "outputTokens": 9}}}


def cohere(parts: list[Part], cut: Cut) -> Payloads:
    yield {"type": "message-start", "id": "r", "delta": {"message": {"role": "assistant"}}}
    reason = "COMPLETE"
    for n, (kind, text, name) in enumerate(parts):
        if kind == "call":
            reason = "TOOL_CALL"
            function = {"name": name, "arguments": ""}
            start = {"tool_calls": {"id": f"c{n}", "type": "function", "function": function}}
            yield {"type": "tool-call-start", "index": n, "delta": {"message": start}}
            for piece in cut(text):
                more = {"tool_calls": {"function": {"arguments": piece}}}
                yield {"type": "tool-call-delta", "index": n, "delta": {"message": more}}
            yield {"type": "tool-call-end", "index": n}
            continue
        field = "text" if kind == "text" else "thinking"
        start = {"content": {"type": field, field: ""}}
        yield {"type": "content-start", "index": n, "delta": {"message": start}}
        for piece in cut(text):
            more = {"content": {field: piece}}
            yield {"type": "content-delta", "index": n, "delta": {"message": more}}
        yield {"type": "content-end", "index": n}
    yield {"type": "message-end", "delta": {"finish_reason": reason}}


def google(parts: list[Part], cut: Cut) -> Payloads:
    def payload(part=None, **more):
        content = {"role": "model", "parts": [] if part is None else [part]}
        return {"candidates": [{"content": content, "index": 0, **more}], "responseId": "r"}

    for n, (kind, text, name) in enumerate(parts):
        if kind != "call":
            thought = {} if kind == "text" else {"thought": True}
            yield from (payload({"text": piece, **thought}) for piece in cut(text))
            continue
        arguments = _object(text)
        partial = list(_partial("$", arguments, cut))
        if any(arg is None for arg in partial) or not partial:
            yield payload({"functionCall": {"name": name, "id": f"c{n}", "args": arguments}})
            continue
        head = {"name": name, "id": f"c{n}", "willContinue": True}
        yield payload({"functionCall": head})
        for arg in partial:
            yield payload({"functionCall": {"partialArgs": [arg], "willContinue": True}})
        yield payload({"functionCall": {}})
    yield payload(finishReason="STOP")


def interactions(parts: list[Part], cut: Cut) -> Payloads:
    yield {"event_type": "interaction.created", "interaction": {"status": "in_progress"}}
    status = "completed"
    for n, (kind, text, name) in enumerate(parts):
        step = {"type": {"text": "model_output", "reasoning": "thought"}.get(kind, "function_call")}
        if kind == "call":
            step |= {"name": name, "id": f"c{n}", "arguments": {}}
            status = "requires_action"
        yield {"event_type": "step.start", "index": n, "step": step}
        for piece in cut(text):
            delta = {
                "text": {"type": "text", "text": piece},
                "reasoning": {
                    "type": "thought_summary",
                    "content": {"type": "text", "text": piece},
                },
                "call": {"type": "arguments_delta", "arguments": piece},
            }[kind]
            yield {"event_type": "step.delta", "index": n, "delta": delta}
        yield {"event_type": "step.stop", "index": n}
    yield {"event_type": "interaction.completed", "interaction": {"status": status}}


def ollama(parts: list[Part], cut: Cut) -> Payloads:
    """Calls come whole."""

    def line(done=False, **fields):
        said = {"role": "assistant", "content": "", **fields}
        return {"model": "m", "message": said, "done": done}

    for kind, text, name in parts:
        if kind == "call":
            yield line(tool_calls=[{"function": {"name": name, "arguments": _object(text)}}])
        else:
            field = "content" if kind == "text" else "thinking"
            yield from (line(**{field: piece}) for piece in cut(text))
    yield {**line(done=True), "done_reason": "stop", "prompt_eval_count": 3, "eval_count": 9}


def llama(parts: list[Part], cut: Cut) -> Payloads:
    """There are neither calls nor thoughts."""
    for kind, text, _ in parts:
        if kind != "call":
            yield from ({"index": 0, "content": piece, "stop": False} for piece in cut(text))
    yield {"index": 0, "content": "", "stop": True, "stop_type": "eos", "tokens_predicted": 9}


def _object(text: str) -> dict[str, Any]:
    """Arguments of an API that takes no text that is no JSON."""
    try:
        found = json.loads(text)
    except ValueError:
        return {"text": text}
    return found if isinstance(found, dict) else {"value": found}


def _partial(path: str, value: Any, cut: Cut) -> Iterator[dict[str, Any] | None]:
    """Pieces of arguments by their paths; None for what cannot be said so."""
    if isinstance(value, (dict, list)):
        if not value:
            yield None
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from _partial(
                f"{path}[{key}]" if isinstance(key, int) else f"{path}.{key}", item, cut
            )
    elif isinstance(value, str):
        *begin, last = cut(value)
        for piece in begin:
            yield {"jsonPath": path, "stringValue": piece, "willContinue": True}
        yield {"jsonPath": path, "stringValue": last}
    elif value is None:
        yield {"jsonPath": path, "nullValue": "NULL_VALUE"}
    elif isinstance(value, bool):
        yield {"jsonPath": path, "boolValue": value}
    else:
        yield {"jsonPath": path, "numberValue": value}


#: By the short name of the API.
PAYLOADS: dict[str, Callable[[list[Part], Cut], Payloads]] = {
    made.__name__: made
    for made in (
        *(anthropic, assistants, bedrock, chat, cohere, google, interactions, llama, ollama),
        *(realtime, responses),
    )
}


def body(api: str, payloads: Payloads) -> bytes:
    """Payloads as a server of that API frames them."""
    out = []
    for payload in payloads:
        if api == "ollama":
            out.append(json.dumps(payload) + "\n")
            continue
        kind = payload.get("type") if api in ("anthropic", "responses") else None
        name = f"event: {kind}\n" if kind else ""
        out.append(f"{name}data: {json.dumps(payload)}\n\n")
    return ("".join(out) + ("data: [DONE]\n\n" if api == "chat" else "")).encode()
