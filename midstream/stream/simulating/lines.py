"""A simulated answer as Ollama's own endpoints give one: an object a line, or one for all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from midstream.stream.recording.payloads import Facts
from midstream.stream.simulating.whole import read_arguments

__all__ = ["answer_lines", "whole_line"]

_MADE = "2026-01-01T00:00:00Z"


def answer_lines(facts: Facts, *, generate: bool) -> Iterator[tuple[int, bytes]]:
    """The lines of an answer, each with the time at which it comes.

    Parameters
    ----------
    facts : Facts
        Of its events, with the model that was asked for.
    generate : bool
        As ``/api/generate`` has them, which knows no tools; else as ``/api/chat``.

    Examples
    --------
    >>> from midstream.stream import Event
    >>> facts = Facts([Event("text", 0, 7, "Hi", stream_id="0"), Event("end", 1, 9, "stop")])
    >>> [(t_ns, json.loads(line)["done"]) for t_ns, line in answer_lines(facts, generate=False)]
    [(7, False), (9, True)]
    """
    for t_ns, row in _rows(facts, generate=generate):
        yield t_ns, json.dumps(row).encode() + b"\n"


def whole_line(facts: Facts, *, generate: bool) -> dict[str, Any]:
    """The same as one object; see `answer_lines`.

    Examples
    --------
    >>> from midstream.stream import Event
    >>> events = [Event("text", n, n, "Hi", stream_id="0") for n in range(2)]
    >>> whole_line(Facts(events), generate=True)["response"]
    'HiHi'
    """
    whole: dict[str, Any] = {"model": facts.model, "created_at": _MADE, "done": True}
    place = whole if generate else whole.setdefault("message", {"role": "assistant"})
    text = "response" if generate else "content"
    place[text] = ""
    for _, row in _rows(facts, generate=generate):
        said = row if generate else row.get("message", {})
        place[text] += said.get(text, "")
        if "thinking" in said:
            place["thinking"] = place.get("thinking", "") + said["thinking"]
        if "tool_calls" in said:
            place.setdefault("tool_calls", []).extend(said["tool_calls"])
        if row.get("done"):
            whole |= {name: row[name] for name in row if name not in ("message", "response")}
    return whole


def _rows(facts: Facts, *, generate: bool) -> Iterator[tuple[int, dict[str, Any]]]:
    text = "response" if generate else "content"
    counts: dict[str, int] = {}
    for at, event in enumerate(facts.events):
        kind = event.kind
        row: dict[str, Any] = {"model": facts.model, "created_at": _MADE}
        said: dict[str, Any] = {text: ""}
        if kind == "usage":
            tokens = event.data["tokens"]
            counts["prompt_eval_count"] = tokens["input_tokens"]
            counts["eval_count"] = tokens["output_tokens"]
            continue
        if kind == "error":
            yield event.t_ns, {"error": event.text}
            return
        if kind == "text":
            said[text] = event.text
        elif kind == "reasoning":
            said["thinking"] = event.text
        elif kind == "tool_call" and not generate:
            if facts.last[kind, event.stream_id] != at:
                continue  # calls come whole
            call = facts.calls[event.stream_id]
            function = {"name": call.name, "arguments": read_arguments(call.arguments)}
            said["tool_calls"] = [{"function": function}]
        elif kind != "end":
            continue
        row |= said if generate else {"message": {"role": "assistant", **said}}
        row["done"] = kind == "end"
        if kind == "end":
            row["done_reason"] = "length" if event.text == "length" else "stop"
            row |= counts
        yield event.t_ns, row
