"""What a stream that waits holds: its guard, and its rewriter where a proxy serves it.

    python asv_benchmarks/stream_memory.py

A fresh process makes 500 streams with all default detectors and ten ready policies (compiled
once, as a proxy has them), takes each as far as the row says, and then measures what its memory has
grown by: resident pages (of which fragments are a part), and what Python's allocators hold, which
C's and numpy's do not tell of. The process has taken some streams to the same point before, so that
what all streams share is not counted.
"""

from __future__ import annotations

import ctypes
import gc
import json
import resource
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

# The folder of this file is where `benchmarks` is, also with python's -P.
sys.path.insert(0, str(Path(__file__).parent))
from benchmarks._keeping import keep

STREAMS = 500
WARM_UP = 20
TOKENS = 400
TARGET_KIB = 64
KINDS = ("detectors", "policies", "both", "chat", "anthropic", "responses", "ollama")
STATES = ("new", "1 token", f"{TOKENS} tokens", "a call")


def resident_bytes() -> int:
    """Bytes of resident pages, without those that C's allocator holds for later."""
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def payloads(api: str, state: str) -> list[tuple[str, dict[str, Any]]]:
    """Names and payloads of events up to that state, in the protocol's own form."""
    from benchmarks.detectors import text_events

    n_tokens = {"new": 0, "1 token": 1}.get(state, TOKENS)
    words = [event.text for event in text_events(n_tokens)]
    pieces = ['{"pa', 'th": "', "notes", '.txt", "limit"', ": 200}"] if state == "a call" else []
    made: list[tuple[str, dict[str, Any]]] = []
    if state == "new":
        return made
    if api == "chat":
        made += [("", {"choices": [{"index": 0, "delta": {"content": word}}]}) for word in words]
        for k, piece in enumerate(pieces):
            call: dict[str, Any] = {"index": 0, "function": {"arguments": piece}}
            if k == 0:
                call |= {"id": "call_1", "type": "function"}
                call["function"]["name"] = "read_file"
            made.append(("", {"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}))
    elif api == "ollama":
        for word in words:
            made.append(("", {"model": "m", "message": {"role": "assistant", "content": word}}))
        if pieces:
            call = {"function": {"name": "read_file", "arguments": json.loads("".join(pieces))}}
            message = {"role": "assistant", "content": "", "tool_calls": [call]}
            made.append(("", {"model": "m", "message": message}))
    elif api == "anthropic":
        start = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": []}
        usage = {"input_tokens": 1, "output_tokens": 1}
        made.append(("message_start", {"message": {**start, "usage": usage}}))
        text = {"type": "text", "text": ""}
        made.append(("content_block_start", {"index": 0, "content_block": text}))
        for word in words:
            delta = {"type": "text_delta", "text": word}
            made.append(("content_block_delta", {"index": 0, "delta": delta}))
        if pieces:
            made.append(("content_block_stop", {"index": 0}))
            tool = {"type": "tool_use", "id": "call_1", "name": "read_file", "input": {}}
            made.append(("content_block_start", {"index": 1, "content_block": tool}))
            for piece in pieces:
                delta = {"type": "input_json_delta", "partial_json": piece}
                made.append(("content_block_delta", {"index": 1, "delta": delta}))
            made.append(("content_block_stop", {"index": 1}))
    else:
        here = {"item_id": "i", "output_index": 0, "content_index": 0}
        for word in words:
            made.append(("response.output_text.delta", {**here, "delta": word}))
        if pieces:
            item = {"type": "function_call", "id": "f", "call_id": "call_1", "name": "read_file"}
            added = {"output_index": 1, "item": {**item, "arguments": ""}}
            made.append(("response.output_item.added", added))
            what = "response.function_call_arguments"
            for piece in pieces:
                delta = {"item_id": "f", "output_index": 1, "delta": piece}
                made.append((f"{what}.delta", delta))
            done = {"item_id": "f", "output_index": 1, "arguments": "".join(pieces)}
            made.append((f"{what}.done", done))
    return [(name, {"type": name, **payload} if name else payload) for name, payload in made]


def lines(api: str, state: str) -> list[bytes]:
    made = []
    for name, payload in payloads(api, state):
        text = json.dumps(payload)
        if api == "ollama":
            made.append(f"{text}\n".encode())
        else:
            made.append(f"{f'event: {name}' + chr(10) if name else ''}data: {text}\n\n".encode())
    return made


def measure(kind: str, state: str, how: str) -> float:
    """KiB that each stream adds."""
    from guard_cost import answer, ten_policies

    from midstream.stream import Guard, PolicySet, default_detectors
    from midstream.stream.proxy.bodies import make_rewriter

    policies = PolicySet(() if kind == "detectors" else ten_policies())
    events = answer(TOKENS)
    events = events[: {"new": 0, "1 token": 1, "a call": len(events) - 1}.get(state, TOKENS)]
    wire = [] if kind in KINDS[:3] else lines(kind, state)

    def make() -> object:
        guard = Guard(() if kind == "policies" else default_detectors(), policies)
        if kind in KINDS[:3]:
            for event in events:
                guard.take(event, 5_000_000)
            return guard
        rewriter = make_rewriter(kind, guard, framing="lines" if kind == "ollama" else "sse")
        passed = [rewriter.feed(bytes(bytearray(line))) for line in wire]
        if guard.denied or guard.stopped or (wire and not any(passed)):
            raise RuntimeError(f"{kind}: the answer is cut")
        if state == "a call" and not any(
            kind == "tool_call" for kind in guard.metrics.events_by_kind
        ):
            raise RuntimeError(f"{kind}: no call was seen")
        return rewriter

    warm = [make() for _ in range(WARM_UP)]
    gc.collect()
    if how == "python":
        tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0] if how == "python" else resident_bytes()
    streams = [make() for _ in range(STREAMS)]
    gc.collect()
    after = tracemalloc.get_traced_memory()[0] if how == "python" else resident_bytes()
    if len(streams) + len(warm) != STREAMS + WARM_UP:
        raise AssertionError
    if how == "python" and len(sys.argv) > 4:
        for line in tracemalloc.take_snapshot().statistics("lineno")[:40]:
            sys.stderr.write(
                f"{line.size / STREAMS:9.0f} B {line.count / STREAMS:6.1f}  {line.traceback}\n"
            )
    return (after - before) / STREAMS / 1024


def main() -> None:
    if len(sys.argv) > 3:
        sys.stdout.write(f"{measure(*sys.argv[1:4])}\n")
        return
    sys.stdout.write(f"KiB a stream, resident (of which Python's); at most {TARGET_KIB} wanted\n")
    sys.stdout.write(f"{'':12}" + "".join(f"{state:>18}" for state in STATES) + "\n")
    for kind in KINDS:
        row = f"{kind:12}"
        for state in STATES:
            found = [
                float(
                    subprocess.run(
                        [sys.executable, "-P", __file__, kind, state, how],
                        check=True,
                        capture_output=True,
                        text=True,
                    ).stdout
                )
                for how in ("resident", "python")
            ]
            keep(f"{kind}.{state}", found[0], "KiB")
            row += f"{found[0]:9.1f} ({found[1]:5.1f})"
            row += " " if found[0] < TARGET_KIB else "!"
        sys.stdout.write(f"{row}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
