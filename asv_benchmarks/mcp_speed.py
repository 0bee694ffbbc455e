"""Calls of tools a second over standard input and output: midstream's beside a bare server's echo.

Run with ``python mcp_speed.py [--calls 300] [--rounds 5]``. It needs the extra ``mcp``. Each
contender is a process of its own, asked by the official client in this one; what is counted is
answers a second, one call after another and with 16 of them under way. The rounds take turns, and
the middle one is told. Beside it: the time from the start of the process to its first answer.

- ``bare echo`` is the official SDK's `MCPServer` with one tool that returns its argument, over its
  own `run("stdio")`.
- ``get_status``, ``compare_sequences`` (two short texts) and ``analyze_conversation`` (three
  messages) are midstream's, whose answers are larger and checked against a schema.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import time
from typing import Any

from benchmarks._keeping import keep

TEXTS = ["Where is my order?", "Let me look.", "Where is my order?"]
ASKED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bare echo": ("bare", "echo", {"text": "hello"}),
    "get_status": ("midstream", "get_status", {}),
    "compare_sequences": (
        "midstream",
        "compare_sequences",
        {"sequence1": "the cat sat down", "sequence2": "the dog sat", "algorithm": "edit"},
    ),
    "analyze_conversation": ("midstream", "analyze_conversation", {"messages": TEXTS}),
}
AT_ONCE = 16


def serve_bare() -> None:
    from mcp.server import MCPServer

    server = MCPServer("bare", log_level="ERROR")

    @server.tool()
    def echo(text: str) -> str:
        """Say it again."""
        return text

    server.run("stdio")


def client_of(contender: str, mode: str) -> Any:
    from mcp import Client, StdioServerParameters

    args = [__file__, "--bare"] if contender == "bare" else ["-P", "-m", "midstream", "mcp"]
    parameters = StdioServerParameters(command=sys.executable, args=args, env=dict(os.environ))
    return Client(parameters, mode=mode, cache=None)


async def rate(client: Any, tool: str, arguments: dict[str, Any], n: int, at_once: int) -> float:
    """Answers a second."""
    left = n

    async def ask() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            result = await client.call_tool(tool, arguments)
            assert not result.is_error

    begun_s = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(at_once)))
    return n / (time.perf_counter() - begun_s)


async def measure(calls: int, rounds: int, mode: str) -> None:
    rates: dict[tuple[str, int], list[float]] = {}
    starts: dict[str, list[float]] = {"bare": [], "midstream": []}
    for _ in range(rounds):
        for contender, first_s in starts.items():
            begun_s = time.perf_counter()
            async with client_of(contender, mode) as client:
                await client.list_tools()
                first_s.append(time.perf_counter() - begun_s)
                for name, (whose, tool, arguments) in ASKED.items():
                    if whose != contender:
                        continue
                    await rate(client, tool, arguments, 20, 1)
                    for at_once in (1, AT_ONCE):
                        told = await rate(client, tool, arguments, calls, at_once)
                        rates.setdefault((name, at_once), []).append(told)
    print(f"\nprotocol {mode}")
    print(f"{'':24}{'one by one':>14}{f'{AT_ONCE} at once':>14}   answers/s")
    for name in ASKED:
        one, many = (statistics.median(rates[name, at_once]) for at_once in (1, AT_ONCE))
        print(f"{name:24}{one:14.0f}{many:14.0f}")
        keep(f"{mode}.{name}.one by one", one, "/s")
        keep(f"{mode}.{name}.at once", many, "/s")
    for contender, first_s in starts.items():
        keep(f"{mode}.{contender}.start", statistics.median(first_s), "s")
        print(f"{contender}: {statistics.median(first_s):.2f} s from the start to the first answer")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.bare:
        serve_bare()
        return
    for mode in ("legacy", "2026-07-28"):
        asyncio.run(measure(given.calls, given.rounds, mode))


if __name__ == "__main__":
    main()
