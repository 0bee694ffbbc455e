"""Check an installed midstream: ``python smoke_test.py [SOURCE_TREE]``, from anywhere else.

With the source tree, also check that nothing of it was left out of the wheel.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import subprocess
import sys
import sysconfig
from collections.abc import AsyncIterator
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import version
from pathlib import Path

import midstream
from midstream import quic
from midstream.attractor import (
    System,
    classify,
    ensemble,
    integrate,
    lyapunov,
    lyapunov_spectrum,
    rqa,
    systems,
)
from midstream.compare import RunDetector, cdist, dtw, dtw_path, lcs, levenshtein, repeats, search
from midstream.logic import (
    Kripke,
    Monitor,
    RuleBook,
    SignalMonitor,
    check_ctl,
    compile,
    learn,
    ltl3_machine,
    parse,
    satisfiable,
    synthesize,
)
from midstream.meta import (
    Adwin,
    Bandit,
    ConfidenceSequence,
    Gate,
    Grammar,
    Levels,
    Param,
    ParamSpace,
    Replay,
    Shield,
    StrangeLoop,
)
from midstream.quic.page import live_page
from midstream.scheduler import Histogram, RingQueue, Scheduler, sleep_ns
from midstream.stream import (
    PolicySet,
    ready_policies,
    ready_rules,
    replay,
    shipped_recordings,
    watch,
)

PACKAGE = Path(midstream.__file__).resolve().parent


def module_name(path: Path, package: Path) -> str:
    parts = path.relative_to(package.parent).parts
    return ".".join([*parts[:-1], parts[-1].split(".")[0]])


def check(truth: object, what: str) -> None:
    """Unlike assert, works under ``python -O`` too."""
    if not truth:
        sys.exit(f"smoke test: {what}")


def check_compiled_modules() -> set[str]:
    """Each loads as what it is, has a stub, and no Python file takes its place."""
    files = [path for path in PACKAGE.rglob("*") if path.name.endswith(tuple(EXTENSION_SUFFIXES))]
    names = {module_name(path, PACKAGE) for path in files}
    for path in files:
        name = module_name(path, PACKAGE)
        loaded = Path(str(importlib.import_module(name).__file__)).resolve()
        check(loaded == path, f"{name} was loaded from {loaded}, not {path}")
        stem = path.parent / path.name.split(".")[0]
        check(stem.with_suffix(".pyi").is_file(), f"{name} has no stub")
        check(not stem.with_suffix(".py").exists(), f"{name} is shadowed by a .py")
    check(names, "no compiled module")
    return names


def check_free_threading() -> None:
    """Where there is no GIL, no module of ours turns it on; what dependencies do is theirs."""
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        return
    files = [path for path in PACKAGE.rglob("*") if path.name.endswith(tuple(EXTENSION_SUFFIXES))]
    names = ",".join(module_name(path, PACKAGE) for path in files)
    done = subprocess.run(
        [sys.executable, "-I", "-W", "always", "-c", f"import {names}"],
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "PYTHON_GIL"},
        check=False,
    )
    check(done.returncode == 0, f"modules do not load together: {done.stderr[-500:]}")
    check("load module 'midstream." not in done.stderr, f"the GIL is on: {done.stderr[-500:]}")


def data_files(package: Path) -> set[Path]:
    """What is read at run time and is no code: recordings, ready rules and guides."""
    return {
        path.relative_to(package)
        for folder, suffix in (("recordings", ".jsonl"), ("rules", ".toml"), ("docs", ".md"))
        for path in package.rglob(f"{folder}/*{suffix}")
    }


def check_against_source(tree: Path, compiled: set[str]) -> None:
    source = tree.resolve() / "midstream"
    check(source.is_dir(), f"{tree} is not midstream's source tree")
    check(not PACKAGE.is_relative_to(tree.resolve()), f"imported the source: {PACKAGE}")
    expected = {module_name(path, source) for path in source.rglob("*.pyx")}
    check(compiled == expected, f"compiled modules differ: {sorted(compiled ^ expected)}")
    for pattern in ("*.py", "*.pyi", "*.pxd", "py.typed"):
        for path in source.rglob(pattern):
            relative = path.relative_to(source)
            check((PACKAGE / relative).is_file(), f"left out of the wheel: {relative}")
    missing = data_files(source) - data_files(PACKAGE)
    check(not missing, f"data left out of the wheel: {sorted(missing)}")


def check_kernels() -> None:
    detector = RunDetector(max_period=16, min_copies=3)
    found = [detector.update(symbol) for symbol in [7, 8, 9] + [1, 2, 3, 4] * 12]
    check(any(run is not None for run in found), "no loop found in a loop")
    check(dtw([0.0, 0.0, 1.0, 2.0], [0.0, 1.0, 2.0, 2.0]) == 0, "warping costs something")
    check(len(dtw_path([0.0, 0.0, 1.0, 2.0], [0.0, 1.0, 2.0, 2.0]).path) == 5, "no path")
    check(levenshtein("kitten", "sitting") == 3 and lcs("kitten", "sitting") == 4, "edits")
    steps = [float(step * step % 31) for step in range(400)]
    check(search(steps[100:140], steps)[0].distance == 0, "a series does not hold its part")
    series = [steps[k : k + 20 + k] for k in range(40)]
    pairs = [[dtw(x, y) for y in series] for x in series]
    check(cdist(series, series, n_jobs=2).tolist() == pairs, "a matrix differs from its pairs")
    check(repeats("abcabc")[0].count == 2, "no repeat in a repeat")
    histogram = Histogram()
    histogram.record_many(range(1, 1001))
    check(histogram.quantile(0.99) == 990, f"p99 of 1..1000 is {histogram.quantile(0.99)}")
    with Scheduler("edf", workers=1) as scheduler:
        scheduler.schedule_many("ba", deadline_ns=[2, 1])
        scheduler.schedule(lambda: check(sleep_ns(1_000) >= 0, "woken early"))
    check(scheduler.next_many(3) == ["a", "b"], "deadlines out of order")
    check(scheduler.stats().completed == 3 and not scheduler.failures, "a task was lost")
    queue = RingQueue(2)
    check(queue.put_many("abc", block=False) == 2 and queue.get() == "a", "a ring lost its order")


def check_dynamics() -> None:
    lorenz = systems.lorenz()
    check(lorenz.native, "no compiled system")
    path = integrate(lorenz, [1, 1, 1], dt=0.01, steps=8000, transient=1000)
    own = System(
        "a*(y - x); x*(r - z) - y; x*y - b*z + 1e-300*x", params={"a": 10, "r": 28, "b": 8 / 3}
    )
    check(not own.native, "text of one's own was compiled")
    ends = ensemble(own, [[1, 1, 1]] * 9, dt=0.01, steps=100)
    check(
        abs(ends - integrate(lorenz, [1, 1, 1], dt=0.01, steps=100)[-1]).max() < 1e-9,
        "text differs",
    )
    spectrum = lyapunov_spectrum(lorenz, dt=0.01, steps=50_000, transient=1000)
    check(abs(spectrum.exponents[0] - 0.906) < 0.05, f"exponents of Lorenz: {spectrum}")
    found = lyapunov(path[::5, 0], dt=0.05)
    check(found.verdict == "chaotic", f"Lorenz from data: {found}")
    check(classify(systems.van_der_pol()).kind == "limit_cycle", "a cycle is none")
    check(rqa(path[::20], recurrence_rate=0.05).det > 0.5, "no lines in a recurrence plot")


def check_rules() -> None:
    rule = parse("G(request -> F answer)")
    trace = [{"request"}, set(), {"answer"}]
    check(rule.holds(trace) and not rule.holds(trace[:2]), "a trace is misjudged")
    check(compile(rule).n_states == 3 and compile(rule).accepts(trace), "an automaton differs")
    monitor = Monitor("!deploy W review")
    check(str(monitor.step({"deploy"})) == "false", "a monitor lets a breach pass")
    check(ltl3_machine("G a").n_states == 2, "a three-valued machine differs")
    recent = SignalMonitor("O[0:2] (x > 1)")
    check([recent.step(x) for x in (2.0, 0.0, 0.0, 0.0)] == [True, True, True, False], "windows")
    check(not RuleBook(["G !delete"]).what_if({"delete"}), "a rule allows what it forbids")
    check(satisfiable("F a & G !b") and not satisfiable("F a & G !a"), "satisfiability")
    check(synthesize("grant <-> request", ["request"], ["grant"]) is not None, "no controller")
    check(
        check_ctl(Kripke({"s": ["s", "t"], "t": ["t"]}, {"p": ["t"]}), "EF p") == {"s", "t"}, "CTL"
    )
    check(str(learn([[{"a"}]], [[set()]], 3)) == "a", "nothing learned")
    given = {"tokens": 100, "calls": 10, "seconds": 60}
    ready = ready_policies(ready_rules(), **given)
    check(len(PolicySet(ready)) >= len(ready_rules()) >= 10, "ready rules are missing")


def check_learning() -> None:
    grammar = Grammar()
    grammar.feed(b"abcabcabc" * 50)
    check(bytes(grammar.expand().tolist()) == b"abcabcabc" * 50, "a grammar loses symbols")
    grammar.check()
    levels = Levels(2)
    for _ in range(20):
        levels.observe([1, 2, 3])
        levels.close(2)
    check(levels.knowledge(1)[0].support == 20, "patterns are miscounted")
    check(len(Adwin().update_many([0.1] * 500 + [0.9] * 500)) == 1, "a shift is not found")
    bandit = Bandit(("continue", "abort"), n_features=2)
    ticket = bandit.decide([1.0, 0.5], allowed=("abort",)).ticket
    bandit.feedback(ticket, 1.0)
    check(bandit.best([1.0, 0.5]) == "abort", "a reward teaches nothing")
    replay = Replay(8)
    replay.update([replay.add("x", 1.0)], [3.0])
    check(replay.sample(2).items == ["x", "x"], "a memory forgets")
    means = ConfidenceSequence()
    means.update_many([0.5] * 100)
    check(means.lower < 0.5 < means.upper, "bounds exclude the mean")
    knobs = ParamSpace([Param.integer("copies", 2, 12, default=2, max_step=4)])
    shield = Shield(["copies <= 8", "abort -> looping"], params=knobs)
    check("abort" not in shield.tracker().allowed(), "a shield lets a breach pass")
    loop = StrangeLoop(knobs, shield=shield, gate=Gate(replay=0, canary=0))
    loop.apply(knobs.change(loop.settings, copies=5))
    while loop.version == 0:
        session = loop.begin()
        session.finish(0.5, [0.1 for _ in session.shadows])
    loop.rollback(0)
    check(loop.replay().to_bytes() == loop.ledger.to_bytes(), "a replay differs")


async def check_quic() -> None:
    """A stream there and back over QUIC, and a page with all that belongs to it."""
    identity = quic.Identity.development()

    async def echo(connection: quic.Connection) -> None:
        async for stream in connection.streams():
            stream.write(await stream.read_to_end(1 << 20))
            stream.finish()

    async with quic.serve(echo, "127.0.0.1", 0, config=quic.Config(identity=identity)) as server:
        config = quic.Config(pins=[identity.certificate_pin])
        async with quic.connect(*server.address, config=config) as connection:
            stream = await connection.open_bi()
            stream.write(bytes(100_000))
            stream.finish()
            check(len(await stream.read_to_end(1 << 20)) == 100_000, "an echo over QUIC differs")

    async def no_events() -> AsyncIterator[object]:
        yield {"text": "one"}

    async with live_page(no_events()) as page:
        check(page.url.startswith("http://"), "the live page has no address")


async def severities(name: str) -> list[str]:
    watched = watch(replay(shipped_recordings()[name]))
    async for _ in watched:
        pass
    return [finding.severity for finding in watched.findings]


def check_recordings() -> int:
    """Recordings of loops are stopped, healthy ones run through."""
    names = sorted(shipped_recordings())
    check(names, "no recordings")
    for name in names:
        found = asyncio.run(severities(name))
        check(("stop" in found) == name.startswith("loop"), f"{name}: {found}")
    return len(names)


def main() -> None:
    check(version("midstream") == midstream.__version__, "version differs from the metadata")
    compiled = check_compiled_modules()
    if len(sys.argv) > 1:
        check_against_source(Path(sys.argv[1]), compiled)
    check_free_threading()
    check_kernels()
    check_dynamics()
    check_rules()
    check_learning()
    asyncio.run(check_quic())
    shipped = check_recordings()
    print(f"midstream {midstream.__version__} in {PACKAGE}")
    print(f"{len(compiled)} compiled modules, {shipped} recordings: all well")


main()
