"""A simulated answer as one JSON object, for clients that ask for no stream."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from midstream.stream.events import Event
from midstream.stream.formats.answers import Answers, assemble

__all__ = ["read_arguments", "whole_answer"]

#: Reasons of an end: chat's own name -> Anthropic's.
_STOPS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def whole_answer(events: Sequence[Event], api: str, model: str) -> dict[str, Any]:
    """Put a simulated stream together as its provider would have answered.

    Parameters
    ----------
    events : sequence of Event
        Of one answer.
    api : {"anthropic", "chat", "responses"}
    model : str
        That was asked for.

    Returns
    -------
    dict
        JSON-ready. Results of tools are no part of an answer, and left out.

    Examples
    --------
    >>> events = [Event("text", 0, 0, "Hi", stream_id="0"), Event("end", 1, 1, "stop")]
    >>> whole_answer(events, "anthropic", "m")["content"]
    [{'type': 'text', 'text': 'Hi'}]
    """
    counts = {"input_tokens": 0, "output_tokens": 0}
    for event in events:
        if event.kind == "usage" and isinstance(event.data, dict):
            counts.update(event.data.get("usage", {}))
    return _WRITERS[api](assemble(events), model, counts)


def read_arguments(text: str) -> dict[str, Any]:
    """Read the arguments of a call; empty where the stream was cut inside them.

    Examples
    --------
    >>> read_arguments('{"path": "a"}'), read_arguments('{"pa')
    ({'path': 'a'}, {})
    """
    try:
        arguments = json.loads(text or "{}")
    except ValueError:
        return {}
    return arguments if isinstance(arguments, dict) else {}


def _chat(answers: Answers, model: str, counts: dict[str, int]) -> dict[str, Any]:
    choices = []
    for index, choice in enumerate(sorted(answers.finish_reasons) or ["0"]):
        message: dict[str, Any] = {"role": "assistant", "content": answers.texts.get(choice)}
        if choice in answers.reasoning:
            message["reasoning_content"] = answers.reasoning[choice]
        calls = [
            {
                "id": call.call_id or call.stream_id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in answers.calls
            if call.stream_id.partition("/")[0] == choice
        ]
        if calls:
            message["tool_calls"] = calls
        reason = answers.finish_reasons.get(choice, "stop")
        choices.append({"index": index, "message": message, "finish_reason": reason})
    read, written = counts["input_tokens"], counts["output_tokens"]
    return {
        "id": "chatcmpl-simulated",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": choices,
        "usage": {
            "prompt_tokens": read,
            "completion_tokens": written,
            "total_tokens": read + written,
        },
    }


def _responses(answers: Answers, model: str, counts: dict[str, int]) -> dict[str, Any]:
    output: list[dict[str, Any]] = []
    for number, thought in enumerate(answers.reasoning.values()):
        thoughts = [{"type": "reasoning_text", "text": thought}]
        output.append(
            {"type": "reasoning", "id": f"rs_{number}", "summary": [], "content": thoughts}
        )
    text = answers.texts.get("0")
    if text is not None:
        content: list[dict[str, Any]] = [{"type": "output_text", "text": text, "annotations": []}]
        output.append(
            {
                "type": "message",
                "id": "msg_0",
                "role": "assistant",
                "status": "completed",
                "content": content,
            }
        )
    output += [
        {
            "type": "function_call",
            "id": f"fc_{number}",
            "call_id": call.call_id or call.stream_id,
            "name": call.name,
            "arguments": call.arguments,
            "status": "completed",
        }
        for number, call in enumerate(answers.calls)
    ]
    cut = answers.finish_reasons.get("0") == "length"
    read, written = counts["input_tokens"], counts["output_tokens"]
    return {
        "id": "resp_simulated",
        "object": "response",
        "created_at": 0,
        "model": model,
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "error": None,
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": read,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": read + written,
        },
    }


def _anthropic(answers: Answers, model: str, counts: dict[str, int]) -> dict[str, Any]:
    content: list[dict[str, Any]] = [
        {"type": "thinking", "thinking": text, "signature": ""}
        for text in answers.reasoning.values()
    ]
    text = answers.texts.get("0")
    if text is not None:
        content.append({"type": "text", "text": text})
    content += [
        {
            "type": "tool_use",
            "id": call.call_id or call.stream_id,
            "name": call.name,
            "input": read_arguments(call.arguments),
        }
        for call in answers.calls
    ]
    reason = answers.finish_reasons.get("0") or answers.finish_reasons.get("") or "stop"
    return {
        "id": "msg_simulated",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": _STOPS.get(reason, "end_turn"),
        "stop_sequence": None,
        "usage": counts,
    }


_WRITERS: dict[str, Callable[[Answers, str, dict[str, int]], dict[str, Any]]] = {
    "anthropic": _anthropic,
    "chat": _chat,
    "responses": _responses,
}
