"""What ``build.py`` does, wheel by wheel."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from dataclasses import dataclass, field
from pathlib import Path

import check_wheel
import making
import targets
import trying

_BEGUN = time.monotonic()


@dataclass
class Made:
    """One wheel, and how far it came."""

    python: targets.Interpreter
    target: targets.Target | None
    wheel: Path | None = None
    checked: bool = False
    ran: list[str] = field(default_factory=list)
    suite: str = "not run"
    fault: str = ""

    @property
    def name(self) -> str:
        """Version and platform."""
        return f"{self.python.tag} {self.target.name if self.target else 'host'}"

    @property
    def here(self) -> bool:
        """Whether this machine runs it."""
        return self.target is None or self.target.name == self.python.host

    def row(self) -> str:
        """As in the table."""
        wheel = f"`{self.wheel.name}`" if self.wheel else "not built"
        checked = "passed" if self.checked else "failed" if self.wheel else "-"
        ran = ", ".join(self.ran) or "not run"
        row = f"| {self.name} | {wheel} | {checked} | {ran} | {self.suite} |"
        return row + (f" {self.fault.splitlines()[0][:100]} |" if self.fault else " |")


def say(text: str) -> None:
    """A stage, and when it began."""
    print(f"\n==> [{time.monotonic() - _BEGUN:4.0f}s] {text}", flush=True)


def plan(asked: Namespace) -> list[Made]:
    """Which wheels are to be made: interpreters by platforms."""
    unknown = set(asked.target) - {"all", *targets.TARGETS}
    if unknown:
        raise SystemExit(f"--target {unknown.pop()}: one of all, {', '.join(targets.TARGETS)}")
    found = targets.interpreters(asked.python)
    if asked.compiler == "host":
        if asked.target:
            raise SystemExit(f"--compiler host builds for this machine only, not {asked.target}")
        return [Made(python, None) for python in found]
    made = []
    for python in found:
        names = list(targets.TARGETS) if "all" in asked.target else asked.target or [python.host]
        if "" in names:
            raise SystemExit(f"{python.executable} is of {python.platform}: name a --target")
        made += [Made(python, targets.TARGETS[name]) for name in names]
    return made


def _make(made: Made, asked: Namespace, tree: Path, work: Path) -> None:
    """Bring one wheel as far as it comes."""
    say(f"{made.name}: build and repair")
    raw = making.built(made.python, made.target, tree, work)
    made.wheel = making.repaired(raw, made.target, asked.outdir, work)
    say(f"{made.name}: check")
    looked = check_wheel.check(made.wheel, tree)
    check_wheel.show(looked)
    if looked.faults:
        raise making.WheelError(f"{len(looked.faults)} faults in the wheel")
    made.checked = True
    if made.here:
        say(f"{made.name}: smoke test in a clean environment")
        made.ran.append(f"here, at level {trying.smoke(made.wheel, made.python, tree)}")
    name = made.target.name if made.target else made.python.host
    if asked.emulate and name == "glibc-aarch64" and not made.here:
        say(f"{made.name}: emulated")
        made.ran.append(trying.on_aarch64(made.wheel, made.python, tree, work))
    if made.here and asked.emulate and name.endswith("x86_64"):
        say(f"{made.name}: older processors")
        made.ran.append(trying.on_older_processors(made.wheel, made.python, tree))
    if made.here and asked.suite is not None:
        say(f"{made.name}: tests and commands in a clean environment")
        made.suite = "failed"
        trying.suite(made.wheel, made.python, tree, asked.suite)
        made.suite = " ".join(["passed", *asked.suite])


def make(asked: Namespace, *, work: Path) -> int:
    """Make all wheels; the exit status."""
    wheels = plan(asked)
    asked.outdir = asked.outdir.resolve()
    asked.outdir.mkdir(parents=True, exist_ok=True)
    sdist = asked.sdist
    if sdist is None:
        say("source distribution")
        sdist = making.source_distribution(asked.outdir, work)
        print(f"{sdist.name}: {sdist.stat().st_size / 1e6:.1f} MB")
    tree = making.unpacked(sdist, work)
    for made in wheels:
        try:
            _make(made, asked, tree, work)
        except making.WheelError as error:
            made.fault = str(error)
            print(f"FAILED: {made.name}: {error}", file=sys.stderr, flush=True)
    lines = [
        "| for | wheel | checked | run | tests | fault |",
        "|---|---|---|---|---|---|",
        *(made.row() for made in wheels),
    ]
    (asked.outdir / "wheels.md").write_text("\n".join(lines) + "\n")
    say("done")
    print("\n".join(lines))
    return 1 if any(made.fault for made in wheels) else 0
