"""``midstream doctor``: what this machine offers, and whether the installation is sound.

Nothing compiled is imported before it is looked at, so that this runs where nothing else does.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import midstream
from midstream._core.errors import ConfigurationError
from midstream._core.words import counted
from midstream.apps.live import LiveText
from midstream.apps.output import Output

__all__ = ["Check", "checks", "examine"]

#: Shipped recordings and whether they hold a loop.
_EXPECTED = {"healthy-03": False, "loop-02": True, "loop-04": True}
#: Extras that are no feature of the program.
_DEVELOPMENT = frozenset({"test"})
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_EXTRA = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")
_CLOCK_READINGS = 1000


class Check(NamedTuple):
    """One thing that was looked at.

    Parameters
    ----------
    topic, name : str
        What.
    ok : bool or None
        None where there is nothing to be right or wrong.
    detail : str
        What was seen.
    """

    topic: str
    name: str
    ok: bool | None
    detail: str


def examine(*, json_lines: bool = False, color: bool = True) -> int:
    """Look at everything and tell.

    Parameters
    ----------
    json_lines : bool, default False
        One JSON object a line: ``{"type": "check", ...}`` each, then ``{"type": "doctor",
        "sound": ..., "broken": [...]}``.
    color : bool, default True
        Colours, where there is a terminal.

    Returns
    -------
    int
        Exit status: 0 if the installation is sound, else 1.
    """
    stdout = Output(sys.stdout, "standard output")
    done = list(checks())
    broken = [f"{check.topic}: {check.name}" for check in done if check.ok is False]
    if json_lines:
        rows: list[dict[str, Any]] = [{"type": "check", **check._asdict()} for check in done]
        rows.append({"type": "doctor", "sound": not broken, "broken": broken})
        stdout.write("".join(json.dumps(row) + "\n" for row in rows))
    else:
        _tell(LiveText(stdout, color=color), done, broken)
    return 1 if broken else 0


def checks() -> Iterator[Check]:
    """Look at one thing after the other.

    Yields
    ------
    Check
    """
    for topic, look in _TOPICS.items():
        yield from look(topic)


def _tell(live: LiveText, done: list[Check], broken: list[str]) -> None:
    good, bad, neither = "✓✗·" if live.output.encodes("✓✗·") else "+x-"
    marks = {True: (good, "green"), False: (bad, "bold red"), None: (neither, "dim")}
    topic = ""
    for check in done:
        if check.topic != topic:
            topic = check.topic
            live.line(topic, "bold")
        mark, style = marks[check.ok]
        live.barred_line(f"{check.name}: {check.detail}", bar=f"  {mark} ", bar_style=style)
    live.line()
    if broken:
        live.line(f"Broken: {', '.join(broken)}", "bold red")
    else:
        live.line("The installation is sound.", "bold green")


def _versions(topic: str) -> Iterator[Check]:
    try:
        packaged = importlib.metadata.version("midstream")
    except importlib.metadata.PackageNotFoundError:
        packaged = None
    yield Check(
        topic,
        "midstream",
        packaged == midstream.__version__,
        f"{midstream.__version__} in {Path(midstream.__file__).parent}"
        + ("" if packaged == midstream.__version__ else f", but its metadata say {packaged}"),
    )
    yield Check(
        topic,
        "Python",
        sys.version_info >= (3, 11),
        f"{platform.python_implementation()} {platform.python_version()} at {sys.executable}",
    )
    yield Check(topic, "platform", None, f"{platform.platform()}, {os.cpu_count()} processors")


def _compiled(topic: str) -> Iterator[Check]:
    """Every compiled module, told by its stub, and what they use of the processor."""
    root = Path(midstream.__file__).parent
    for stub in sorted(root.rglob("*.pyi")):
        if stub.with_suffix(".py").is_file():
            continue  # of a module whose names are made when it loads
        name = ".".join(("midstream", *stub.relative_to(root).with_suffix("").parts))
        try:
            file = str(importlib.import_module(name).__file__)
        except ConfigurationError:  # no fault of the module; what is wrong is told below
            yield Check(topic, name, None, "does not load with this environment")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is wrong
            yield Check(topic, name, False, f"does not load: {type(error).__name__}: {error}")
        else:
            compiled = file.endswith(tuple(EXTENSION_SUFFIXES))
            yield Check(topic, name, compiled, "loads" if compiled else f"is not compiled: {file}")
    try:
        from midstream._core._cpu import available_levels, detected_level, simd_level
    except ConfigurationError as error:
        yield Check(topic, "SIMD level", False, str(error))
        return
    except ImportError:
        return  # told above
    chosen = "" if simd_level() == detected_level() else f" (the processor has {detected_level()})"
    yield Check(
        topic,
        "SIMD level",
        None,
        f"{simd_level()}{chosen}; compiled in and usable: {', '.join(available_levels())}",
    )


def _clock(topic: str) -> Iterator[Check]:
    info = time.get_clock_info("monotonic")
    readings = sorted({time.monotonic_ns() for _ in range(_CLOCK_READINGS)})
    steps = [later - sooner for sooner, later in pairwise(readings)]
    step = f"; smallest step seen {min(steps):,} ns" if steps else ""
    yield Check(
        topic,
        "monotonic",
        info.monotonic,
        f"{info.implementation}, resolution {info.resolution * 1e9:,.0f} ns{step}",
    )


def _real_time(topic: str) -> Iterator[Check]:
    """What the system grants to those who must not be late; to be refused is no fault."""
    try:
        from midstream.scheduler.realtime import capabilities

        grants = tuple(capabilities())
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is wrong
        yield Check(topic, "capabilities", False, f"{type(error).__name__}: {error}")
        return
    for grant in grants:
        detail = grant.detail if grant.granted else f"not granted, {grant.detail}"
        yield Check(topic, grant.name, True if grant.granted else None, detail)


def _quic(topic: str) -> Iterator[Check]:
    """What the transport stands on, and what speeds it up here; to do without that is no fault."""
    try:
        from midstream.quic import capabilities

        found = capabilities()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is wrong
        yield Check(topic, "aioquic", False, f"{type(error).__name__}: {error}")
        return
    yield Check(topic, "aioquic", True, f"{found.aioquic}, has all that is relied on")
    for name, granted, words in (
        ("batched calls", found.batched, "recvmmsg and sendmmsg"),
        ("UDP_SEGMENT", found.segmentation, "many datagrams leave in one call (GSO)"),
        ("UDP_GRO", found.coalescing, "many datagrams arrive in one call (GRO)"),
    ):
        yield Check(topic, name, True if granted else None, words if granted else "not granted")
    if found.uvloop:
        yield Check(topic, "uvloop", True, importlib.metadata.version("uvloop"))
    else:
        hint = "" if sys.platform == "win32" else ": asyncio's own event loop is used"
        yield Check(topic, "uvloop", None, f"not installed{hint}")


def _recordings(topic: str) -> Iterator[Check]:
    """Watch what is shipped: source, detectors and kernels all have to do their part."""
    try:
        from midstream.stream import shipped_recordings

        shipped = shipped_recordings()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is wrong
        yield Check(topic, "shipped", False, f"{type(error).__name__}: {error}")
        return
    for name, loops in _EXPECTED.items():
        if name not in shipped:
            yield Check(topic, name, False, "missing")
            continue
        try:
            ok, detail = _watched(shipped[name], loops)
        except Exception as error:  # noqa: BLE001 - as above
            ok, detail = False, f"{type(error).__name__}: {error}"
        yield Check(topic, name, ok, detail)


def _watched(path: Path, loops: bool) -> tuple[bool, str]:
    import asyncio

    from midstream.stream import replay, watch

    async def run() -> Any:
        async with watch(replay(path)) as guard:
            async for _ in guard:
                pass
        return guard

    guard = asyncio.run(run())
    stopped = guard.stopped
    if stopped is None:
        seen = f"{counted(len(guard.findings), 'finding')}, ended by itself"
        return not loops and not guard.findings, seen
    return loops, f"{stopped.kind} found, stopped at character {stopped.end}"


def _extras(topic: str) -> Iterator[Check]:
    """What can be installed besides; not having it is no fault."""
    try:
        requirements = importlib.metadata.requires("midstream") or []
    except importlib.metadata.PackageNotFoundError:
        return
    found: dict[str, list[tuple[str, str | None]]] = {}
    for requirement in requirements:
        extra, name = _EXTRA.search(requirement), _NAME.match(requirement)
        if extra is None or name is None or extra[1] in _DEVELOPMENT:
            continue
        try:
            version = importlib.metadata.version(name[0])
        except importlib.metadata.PackageNotFoundError:
            version = None
        found.setdefault(extra[1], []).append((name[0], version))
    for extra_name, packages in found.items():
        there = [f"{name} {version}" for name, version in packages if version is not None]
        missing = [name for name, version in packages if version is None]
        detail = ", ".join(there + [f"{name} is not installed" for name in missing])
        hint = f" (pip install 'midstream[{extra_name}]')" if missing else ""
        yield Check(topic, extra_name, None if missing else True, detail + hint)


def _surroundings(topic: str) -> Iterator[Check]:
    stdout = Output(sys.stdout, "standard output")
    if stdout.tty:
        from rich.console import Console

        console = Console()
        size = shutil.get_terminal_size()
        colors = console.color_system or "no colours"
        detail = f"{size.columns} by {size.lines}, {colors}, {sys.stdout.encoding}"
    else:
        detail = "standard output is none"
    yield Check(topic, "terminal", None, detail)
    no_color = "set: no colours" if os.environ.get("NO_COLOR") else "not set"
    yield Check(topic, "NO_COLOR", None, no_color)
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OLLAMA_API_KEY"):
        yield Check(topic, name, None, "set" if os.environ.get(name) else "not set")


_TOPICS: dict[str, Callable[[str], Iterator[Check]]] = {
    "Versions": _versions,
    "Compiled modules": _compiled,
    "Clock": _clock,
    "Real time": _real_time,
    "QUIC": _quic,
    "Shipped recordings": _recordings,
    "Optional extras": _extras,
    "Surroundings": _surroundings,
}
