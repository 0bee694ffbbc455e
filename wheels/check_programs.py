"""Run every command and demonstration of an installed midstream: ``python check_programs.py``.

From anywhere but the source tree, with the extras installed whose commands are to run.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from midstream.apps.cli import app

GUARD_S = 120
PROGRAM = [sys.executable, "-P", "-m", "midstream"]
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if name not in ("PYTHONPATH", "NO_COLOR", "OPENAI_API_KEY", "ANTHROPIC_API_KEY")
}


def commands() -> set[str]:
    """All commands, groups' as ``group command``."""
    names = set()

    def collect(typer_app: object, before: str) -> None:
        for command in typer_app.registered_commands:
            names.add(before + (command.name or command.callback.__name__.replace("_", "-")))
        for group in typer_app.registered_groups:
            collect(group.typer_instance, before + (f"{group.name} " if group.name else ""))

    collect(app, "")
    return names


def run(*arguments: str | Path, status: int = 0, stdin: str = "") -> str:
    """Run to the end; its standard output."""
    done = subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=ENVIRONMENT,
        timeout=GUARD_S,
        check=False,
    )
    if done.returncode != status or "Traceback" in done.stderr:
        shown = " ".join(map(str, arguments))
        raise SystemExit(
            f"midstream {shown}: status {done.returncode}, not {status}\n{done.stdout[-2000:]}\n"
            f"{done.stderr[-2000:]}"
        )
    return done.stdout


def serves(*arguments: str | Path) -> None:
    """Start, wait for the first row that it tells, end it by SIGTERM."""
    process = subprocess.Popen(
        [*PROGRAM, *map(str, arguments), "--json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=ENVIRONMENT,
    )
    assert process.stdout is not None
    try:
        ready, _, _ = select.select([process.stdout], [], [], GUARD_S)
        said = os.read(process.stdout.fileno(), 65536) if ready else b""
        try:
            json.loads(said.splitlines()[0])
        except (ValueError, IndexError):
            time.sleep(1)
            rest = os.read(process.stdout.fileno(), 65536)
            raise SystemExit(f"midstream {arguments[0]} told {(said + rest)!r}") from None
        process.send_signal(signal.SIGTERM)
        status = process.wait(GUARD_S)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    if status != 128 + signal.SIGTERM:
        raise SystemExit(f"midstream {arguments[0]} ended with {status} after SIGTERM")


def speaks_mcp() -> None:
    """Greet the MCP server, and ask for its tools."""
    greeting = {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "check", "version": "1"},
    }
    lines = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": greeting},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
    ]
    process = subprocess.Popen(
        [*PROGRAM, "mcp"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=ENVIRONMENT,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write("".join(json.dumps(line) + "\n" for line in lines))
        process.stdin.flush()
        answers = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.stdin.close()
        process.wait(GUARD_S)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    names = {tool["name"] for tool in answers[1]["result"]["tools"]}
    if not {"analyze_conversation", "verify_trace"} <= names:
        raise SystemExit(f"midstream mcp offers {sorted(names)}")


def checks(folder: Path) -> dict[str, Callable[[], object]]:
    """How each command is tried."""
    loop = folder / "loop.jsonl"
    rule = folder / "rule.toml"
    trace = folder / "trace"
    kept = folder / "kept"
    ledger = folder / "ledger"
    trace.write_text("request\nanswer\n")
    talk = "Where is it?\nLet me look.\n"

    def ready_rule() -> None:
        rule.write_text(run("rules", "show", "confirm-before-destroy"))

    def learned() -> None:
        from midstream.stream import watch_loop

        with watch_loop(ledger=ledger):
            pass
        run("loop", ledger)

    return {
        "demo": lambda: [
            run("demo", what, "--speed", "50")
            for what in ("text", "audio", "video", "realtime", "quic")
        ],
        "watch": lambda: run("watch", "sim:loop?tokens=900", status=1),
        "record": lambda: run("record", "sim:agent", loop),
        "replay": lambda: run("replay", loop, "--speed", "1000"),
        "publish": lambda: serves("publish", loop, "--development", "--port", "0"),
        "serve": lambda: serves("serve", "--ws-port", "0", "--sse-port", "0"),
        "proxy": lambda: serves("proxy", "--upstream", "http://127.0.0.1:9", "--port", "0"),
        "simulate": lambda: serves("simulate", "--port", "0"),
        "dash": lambda: serves("dash", "sim:story", "--web", "--port", "0"),
        "check": lambda: run("check", "G(request -> F answer)", trace),
        "loop": learned,
        "doctor": lambda: run("doctor"),
        "docs": lambda: [run("docs", row.split()[0]) for row in run("docs").splitlines()],
        "mcp": speaks_mcp,
        "process": lambda: run("process", stdin=talk),
        "analyze": lambda: run("analyze", stdin=talk),
        "compare": lambda: run("compare", "[1, 2, 3]", "[1, 2, 5]"),
        "interactive": lambda: run("interactive", stdin=talk + "/status\n/quit\n"),
        "bench": lambda: run("bench", "--seconds", "0.01"),
        "rules list": lambda: run("rules", "list"),
        "rules show": ready_rule,
        "rules lint": lambda: run("rules", "lint", rule),
        "recordings import": lambda: [
            kept.mkdir(),
            run("recordings", "import", loop, "--folder", kept),
        ],
        "recordings list": lambda: run("recordings", "list", "--folder", kept),
        "recordings search": lambda: run("recordings", "search", "the", "--folder", kept),
        "recordings show": lambda: run("recordings", "show", loop.name, "--folder", kept),
        "recordings export": lambda: run(
            "recordings", "export", loop.name, "--api", "chat", "--folder", kept
        ),
        "recordings verify": lambda: run("recordings", "verify", "--folder", kept),
        "recordings index": lambda: run("recordings", "index", "--folder", kept),
        "recordings remove": lambda: run(
            "recordings", "remove", loop.name, "--yes", "--folder", kept
        ),
    }


def main() -> None:
    """Try them all."""
    with tempfile.TemporaryDirectory() as folder:
        tried = checks(Path(folder))
        known = commands()
        if known != set(tried):
            raise SystemExit(f"commands that are tried, or are there, alone: {known ^ set(tried)}")
        for name, check in tried.items():
            run(*name.split(), "--help")
            check()
            print(f"ok: midstream {name}")


if __name__ == "__main__":
    main()
