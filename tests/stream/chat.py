"""Helpers: chat-completion chunks, bodies, and what they should come to."""

from __future__ import annotations

import asyncio
import json


def chunk(content=None, *, index=0, finish=None, **delta):
    """One chat.completion.chunk as a dict."""
    if content is not None:
        delta["content"] = content
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "choices": [{"index": index, "delta": delta, "finish_reason": finish}],
    }


def sse(*payloads, done=True, end="\n"):
    """A text/event-stream body of payloads (dicts, or text as it is)."""
    texts = [item if isinstance(item, str) else json.dumps(item) for item in payloads]
    if done:
        texts.append("[DONE]")
    return "".join(f"data: {text}{end}{end}" for text in texts).encode()


def story(count=5):
    """A well-ended body of `count` text chunks."""
    return sse(*[chunk(f"tok{i} ") for i in range(count)], chunk(finish="stop"))


async def collect(source):
    """All events, and the error that ended them (None where none did)."""
    events = []
    try:
        async for event in source:
            events.append(event)  # noqa: PERF401 - what came before an error is kept
    except Exception as error:  # noqa: BLE001 - the test looks at it
        return events, error
    return events, None


def joined(events, kind="text"):
    """The texts of one kind, joined."""
    return "".join(event.text for event in events if event.kind == kind)


def summary(events):
    """Text, reasoning, tool calls and finish reason, as the fixtures' expected.json has them."""
    calls = {}
    finish = None
    for event in events:
        if event.kind == "tool_call":
            call = calls.setdefault(event.stream_id, {"name": None, "arguments": ""})
            call["name"] = event.name or call["name"]
            call["arguments"] += event.text
        elif event.kind == "end" and event.stream_id in ("", "0"):
            finish = event.text
    first = [event for event in events if event.stream_id in ("", "0")]
    return {
        "text": joined(first),
        "reasoning": joined(first, "reasoning"),
        "tool_calls": list(calls.values()),
        "finish_reason": finish,
    }


def cut(body, sizes):
    """`body` in pieces of these sizes, over and over."""
    pieces, start, turn = [], 0, 0
    while start < len(body):
        size = max(1, sizes[turn % len(sizes)])
        pieces.append(body[start : start + size])
        start += size
        turn += 1
    return pieces


def within(seconds=60):
    """Guard a test that must not hang."""
    return asyncio.timeout(seconds)
