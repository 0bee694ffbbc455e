"""Threads: kernels run beside Python without the GIL, and what threads share stays whole.

Without the GIL (a free-threaded build), the same tests run truly side by side.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from midstream._core.errors import MidstreamError

N_THREADS = 4

HAS_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()


# ---- kernels without the GIL ----


def _walk(n: int, seed: int = 0) -> np.ndarray:
    return np.cumsum(np.random.default_rng(seed).standard_normal(n))


def _text(n: int, seed: int) -> str:
    letters = np.random.default_rng(seed).integers(97, 123, n, dtype=np.uint8)
    return letters.tobytes().decode("ascii")


def _dtw_matrix() -> Callable[[], object]:
    from midstream.compare import cdist

    series = [_walk(400, seed) for seed in range(24)]
    return lambda: cdist(series, series, "dtw")


def _dtw_path() -> Callable[[], object]:
    from midstream.compare import dtw_path

    x, y = _walk(7000, 1), _walk(7000, 2)
    return lambda: dtw_path(x, y)


def _soft_dtw() -> Callable[[], object]:
    from midstream.compare import soft_dtw_gradient

    x, y = _walk(2500, 1), _walk(2500, 2)
    return lambda: soft_dtw_gradient(x, y)


def _levenshtein() -> Callable[[], object]:
    from midstream.compare import levenshtein

    a, b = _text(60_000, 1), _text(60_000, 2)
    return lambda: levenshtein(a, b)


def _common_subsequence() -> Callable[[], object]:
    from midstream.compare import lcs_sequence

    a, b = _text(20_000, 1), _text(20_000, 2)
    return lambda: lcs_sequence(a, b)


def _edit_matrix() -> Callable[[], object]:
    from midstream.compare import pdist

    texts = [_text(400, seed) for seed in range(300)]
    return lambda: pdist(texts, "levenshtein")


def _search() -> Callable[[], object]:
    from midstream.compare import search

    series = _walk(200_000)
    return lambda: search(_walk(200, 1), series, window=10)


def _profile() -> Callable[[], object]:
    from midstream.compare import matrix_profile

    series = _walk(6000)
    return lambda: matrix_profile(series, 50)


def _repeats() -> Callable[[], object]:
    from midstream.compare import repeats

    text = _text(300_000, 1)
    return lambda: repeats(text, min_length=6)


def _runs() -> Callable[[], object]:
    from midstream.compare import RunDetector

    symbols = np.random.default_rng(0).integers(0, 3, 30_000)
    return lambda: RunDetector().feed(symbols)


def _spring() -> Callable[[], object]:
    from midstream.compare import Spring

    stream = _walk(20_000)
    return lambda: Spring(_walk(500, 1), 1e-9).feed(stream)


def _integrate() -> Callable[[], object]:
    from midstream.attractor import integrate, systems

    return lambda: integrate(systems.lorenz(), (1.0, 1.0, 1.0), dt=0.01, steps=500_000, every=1000)


def _ensemble() -> Callable[[], object]:
    from midstream.attractor import ensemble, systems

    starts = np.random.default_rng(0).standard_normal((512, 3))
    return lambda: ensemble(systems.lorenz(), starts, dt=0.01, steps=30_000, every=30_000)


def _spectrum() -> Callable[[], object]:
    from midstream.attractor import lyapunov_spectrum, systems

    return lambda: lyapunov_spectrum(systems.lorenz(), (1.0, 1.0, 1.0), dt=0.01, steps=40_000)


def _lyapunov() -> Callable[[], object]:
    from midstream.attractor import lyapunov

    x = _walk(4000)
    return lambda: lyapunov(x, emb_dim=4, delay=3, theiler=10)


def _recurrence() -> Callable[[], object]:
    from midstream.attractor import rqa

    x = _walk(5000)
    return lambda: rqa(x, emb_dim=2, delay=1, threshold=1.0)


def _correlation_dimension() -> Callable[[], object]:
    from midstream.attractor import correlation_sum

    x = _walk(6000)
    return lambda: correlation_sum(x, [0.1, 1.0, 10.0], emb_dim=3, delay=2)


def _sample_entropy() -> Callable[[], object]:
    from midstream.attractor import sample_entropy

    x = _walk(12_000)
    return lambda: sample_entropy(x)


def _permutation_entropy() -> Callable[[], object]:
    from midstream.attractor import permutation_entropy

    x = _walk(2_000_000)
    return lambda: permutation_entropy(x, order=7)


def _compile() -> Callable[[], object]:
    from midstream.logic import compile, parse

    formula = parse(" & ".join(f"G(a{k} -> F b{k})" for k in range(11)))
    return lambda: compile(formula)


def _satisfiable() -> Callable[[], object]:
    from midstream.logic import parse, satisfiable

    # Five pigeons, four holes, and time to fly.
    placed = " & ".join(
        "(" + " | ".join(f"F (p{i} & h{j})" for j in range(4)) + ")" for i in range(5)
    )
    holes = " & ".join(f"G !(h{a} & h{b})" for a in range(4) for b in range(a))
    alone = " & ".join(f"G (p{a} -> G !p{b})" for a in range(5) for b in range(5) if a != b)
    formula = parse(f"{placed} & {holes} & {alone}")
    return lambda: satisfiable(formula)


def _monitor() -> Callable[[], object]:
    from midstream.logic import Monitor

    masks = np.random.default_rng(0).integers(0, 4, 20_000_000).astype(np.uint8)
    monitor = Monitor("G(a -> F b)", alphabet=("a", "b"))
    return lambda: monitor.feed(masks)


def _columns() -> Callable[[], object]:
    from midstream.logic import evaluate

    trace = np.random.default_rng(0).random((12_000_000, 2)) < 0.5
    return lambda: evaluate("G(a -> F[0:50] b)", {"a": trace[:, 0], "b": trace[:, 1]})


def _robustness() -> Callable[[], object]:
    from midstream.logic import robustness

    signals = {"x": _walk(1_000_000)}
    return lambda: robustness("G F[0:100] x > 0.5", signals)


def _learn() -> Callable[[], object]:
    from midstream.logic import learn

    rng = np.random.default_rng(0)
    letters = [[{"a"} if bit else set() for bit in row] for row in rng.random((40, 12)) < 0.5]
    return lambda: learn(letters[:20], letters[20:], 11)


def _ctl() -> Callable[[], object]:
    from midstream.logic import Kripke, check_ctl

    n = 200_000
    kripke = Kripke([[(k + 1) % n, k * 7919 % n] for k in range(n)], {"p": range(0, n, 7)})
    return lambda: check_ctl(kripke, "AG EF p")


def _synthesize() -> Callable[[], object]:
    from midstream.logic import synthesize

    asked = " & ".join(f"G(r{k} -> F g{k})" for k in range(7))
    apart = " & ".join(f"G !(g{k} & g{k + 1})" for k in range(6))
    inputs, outputs = ([f"{name}{k}" for k in range(7)] for name in "rg")
    return lambda: synthesize(f"{asked} & {apart}", inputs, outputs)


def _grammar() -> Callable[[], object]:
    from midstream.meta import Grammar

    symbols = np.random.default_rng(0).integers(0, 20, 200_000)
    return lambda: Grammar().feed(symbols)


def _drift() -> Callable[[], object]:
    from midstream.meta import PageHinkley

    samples = np.random.default_rng(0).standard_normal(2_000_000)
    return lambda: PageHinkley(threshold=1e9).update_many(samples)


def _confidence() -> Callable[[], object]:
    from midstream.meta import ConfidenceSequence

    samples = np.random.default_rng(0).random(20_000)
    return lambda: ConfidenceSequence().update_many(samples)


def _replay() -> Callable[[], object]:
    from midstream.meta import Replay

    replay = Replay(1 << 16, seed=1)
    for k in range(1 << 16):
        replay.add(k, 1.0 + k % 7)
    return lambda: replay.sample(200_000)


def _sleep() -> Callable[[], object]:
    from midstream.scheduler import sleep_ns

    return lambda: sleep_ns(20_000_000)


KERNELS = (
    _dtw_matrix, _dtw_path, _soft_dtw, _levenshtein, _common_subsequence, _edit_matrix, _search,
    _profile, _repeats, _runs, _spring, _integrate, _ensemble, _spectrum, _lyapunov, _recurrence,
    _correlation_dimension, _sample_entropy, _permutation_entropy, _compile, _satisfiable,
    _monitor, _columns, _robustness, _learn, _ctl, _synthesize, _grammar, _drift, _confidence,
    _replay, _sleep,
)  # fmt: skip


@contextmanager
def _no_forced_switches() -> Iterator[None]:
    """No thread loses the GIL: whoever runs has it from one that let go."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000.0)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.parametrize("make", KERNELS, ids=lambda make: make.__name__.lstrip("_"))
def test_kernels_run_beside_python(make: Callable[[], Callable[[], object]]) -> None:
    kernel = make()
    kernel()  # whatever is done once is done
    turns = 0
    progress: list[int] = []
    errors: list[BaseException] = []
    started = threading.Event()

    def work() -> None:
        started.set()
        try:
            # A machine that has no processor for this thread says nothing about the kernel.
            for _ in range(20):
                before = turns
                kernel()
                progress.append(turns - before)
                if progress[-1] > 0:
                    break
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    worker = threading.Thread(target=work)
    with _no_forced_switches():
        worker.start()
        started.wait()
        while worker.is_alive():
            turns += 1
            time.sleep(0)  # the worker's turn, should it wait for one
        worker.join()
    assert not errors
    assert progress[-1] > 0


# ---- what threads share ----


def _together(*works: Callable[[], None], repeats: int = N_THREADS) -> None:
    """Run each in as many threads, switching as often as can be; raise what one of them raised."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(len(works) * repeats)

    def run(work: Callable[[], None]) -> None:
        barrier.wait()
        try:
            work()
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=run, args=(work,)) for work in works * repeats]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    if errors:
        raise errors[0]


class _Count:
    """How many calls went through; those that were refused had found another thread in there."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.done = 0

    def call(self, function: Callable[..., object], *arguments: Any) -> None:
        try:
            function(*arguments)
        except MidstreamError as error:
            assert "thread" in str(error) or "in use" in str(error)
            return
        with self._lock:
            self.done += 1


def _shared_objects() -> dict[str, tuple[Callable[[Any, int], object], Callable[[Any], int], Any]]:
    """Name -> what a thread does with it, how much it says was done, and itself."""
    from midstream.attractor import Online
    from midstream.compare import RunDetector, Spring
    from midstream.logic import Monitor, RuleBook, SignalMonitor
    from midstream.meta import Adwin, Bandit, ConfidenceSequence, Cusum, EProcess, Grammar, Replay
    from midstream.scheduler import Histogram

    return {
        "histogram": (lambda h, k: h.record(k), lambda h: h.count, Histogram()),
        "runs": (lambda d, k: d.update(f"w{k % 5}"), lambda d: d.count, RunDetector(64)),
        "spring": (lambda s, k: s.update(k % 9), lambda s: s.count, Spring([1, 2, 3], 1.0)),
        "grammar": (lambda g, k: g.push(k % 3), lambda g: g.n_pushed, Grammar()),
        "cusum": (lambda d, k: d.update(k % 7), lambda d: d.n, Cusum(1e9)),
        "adwin": (lambda d, k: d.update(k % 2), lambda d: d.n, Adwin()),
        "eprocess": (lambda e, k: e.update(k % 3 - 1.0), lambda e: e.n, EProcess()),
        "confidence": (lambda c, k: c.update(k % 2), lambda c: c.n, ConfidenceSequence()),
        "bandit": (
            lambda b, k: b.decide([1.0, k % 5]), lambda b: b.n_decisions,
            Bandit(("stay", "go"), 2, max_pending=8),
        ),
        "replay": (lambda r, k: r.add(object(), k % 5 + 1.0), lambda r: r.n_added, Replay(100)),
        "monitor": (
            lambda m, k: m.step({"a": k % 2 == 0, "b": k % 3 == 0}), lambda m: m.position,
            Monitor("G(a -> F b)"),
        ),
        "signals": (lambda m, k: m.step([k % 5]), lambda m: m.n_seen, SignalMonitor("O x > 9")),
        "rules": (lambda b, k: b.step({"a"} if k % 2 else {"b"}), lambda b: b.n_steps,
                  RuleBook({"one": "G(a -> F b)"})),
        "online": (lambda o, k: o.update((k % 11, k % 3)), lambda o: o.n_seen, Online(2, 64)),
    }  # fmt: skip


@pytest.mark.parametrize("name", list(_shared_objects()))
def test_an_object_that_threads_share_stays_whole(name: str) -> None:
    act, told, shared = _shared_objects()[name]
    count = _Count()

    def work() -> None:
        for k in range(1500):
            count.call(act, shared, k)
            told(shared)
            repr(shared)

    _together(work)
    assert told(shared) == count.done > 0


def test_a_histogram_is_merged_while_others_use_both() -> None:
    """Who waits for the second one's lock must not be without the first one's."""
    from midstream.scheduler import Histogram

    into, read = Histogram(), Histogram()
    read.record_many(np.arange(1, 101))

    def record() -> None:
        for k in range(3000):
            into.record(k << 10)

    def merge() -> None:
        for _ in range(1000):
            into.merge(read)

    def look() -> None:
        for _ in range(1000):
            assert read.quantile(1.0) == 100

    _together(record, merge, look, look, repeats=1)
    assert into.count == 3000 + 1000 * 100


def test_an_array_goes_in_whole_or_is_refused() -> None:
    from midstream.compare import RunDetector, Spring

    detector, spring = RunDetector(64), Spring([1.0, 2.0], 0.5)
    symbols, samples = np.arange(20_000) % 7, np.arange(20_000) % 5.0
    counts = _Count(), _Count()
    _together(
        lambda: counts[0].call(detector.feed, symbols),
        lambda: counts[1].call(spring.feed, samples),
    )
    assert detector.count == 20_000 * counts[0].done
    assert spring.count == 20_000 * counts[1].done


def test_monitors_of_one_machine_step_while_its_tables_are_made() -> None:
    from midstream.logic import Monitor

    masks = np.random.default_rng(0).integers(0, 256, 20_000).astype(np.uint8)
    wide = "G(" + " & ".join(f"(p{k} -> F[0:6] p{(k + 1) % 8})" for k in range(8)) + ")"
    alphabet = [f"p{k}" for k in range(8)]
    expected = Monitor(wide, alphabet=alphabet)
    expected.feed(masks)
    for _ in range(5):
        first = Monitor(wide, alphabet=alphabet)
        copies = [first.copy() for _ in range(N_THREADS)]
        free = iter(copies)
        lock = threading.Lock()

        def work(free: Iterator[Monitor] = free, lock: threading.Lock = lock) -> None:
            with lock:
                monitor = next(free)
            for mask in masks[:2000].tolist():
                monitor.step(mask)
            monitor.feed(masks[2000:])

        _together(work)
        assert {(copy.verdict, copy.decided_at, copy.position) for copy in copies} == {
            (expected.verdict, expected.decided_at, expected.position)
        }


def test_scanners_of_one_set_scan_at_the_same_time() -> None:
    from midstream.stream import PatternSet

    # Little memory: the table that they share is cleared again and again.
    patterns = PatternSet({"x": "a(.*b)?", "y": r"\w+\d+"}, memory_limit_bytes=1 << 16)
    pieces = ["".join(chr(97 + (k * j) % 29) + str(j % 10) for j in range(40)) for k in range(300)]

    def scan() -> list[object]:
        scanner = patterns.scanner()
        return [match for piece in pieces for match in scanner.feed(piece)] + list(scanner.finish())

    expected = scan()
    found: list[list[object]] = []
    _together(lambda: found.append(scan()))
    assert found == [expected] * N_THREADS


def test_what_is_read_may_be_changed_meanwhile() -> None:
    from midstream.attractor import Online
    from midstream.compare import dtw, levenshtein
    from midstream.logic import Monitor, RuleBook
    from midstream.meta import Bandit

    stop = threading.Event()
    symbols: list[object] = []
    letter: dict[str, object] = {}
    point = [0.0, 0.0]

    def change() -> None:
        k = 0
        while not stop.is_set():
            k += 1
            # New objects each time: what was taken out is gone for good.
            symbols[:] = [10**18 + j + k for j in range(k % 60)]
            letter.update(a=bool(k & 1), b=bool(k & 2), **{f"x{k % 50}": float(k)})
            letter.pop(f"x{(k + 25) % 50}", None)
            point[:] = [float(k), k + 0.5]

    changer = threading.Thread(target=change)

    def read() -> None:
        online, bandit = Online(2, 64), Bandit(("stay", "go"), 2)
        monitor, book = Monitor("G(a -> F b)"), RuleBook({"one": "G(a -> F b)"})
        for _ in range(400):
            levenshtein(symbols, symbols)
            monitor.step(letter)
            book.step(letter)
            online.update(point)
            bandit.decide(point)
            dtw(point, [0.0])

    changer.start()
    try:
        _together(read)
    finally:
        stop.set()
        changer.join()


def test_every_item_of_a_queue_comes_out_once() -> None:
    from midstream.scheduler import RingQueue, Scheduler

    queue: RingQueue[int] = RingQueue(64)
    scheduler = Scheduler(capacity=1 << 16)
    got: list[int] = []
    tasks: list[Any] = []
    each = 2000

    def put() -> None:
        for k in range(each):
            queue.put(k)
        scheduler.schedule_many([("task", k) for k in range(each)])

    def get() -> None:
        got.extend([queue.get() for _ in range(each)])
        tasks.extend([scheduler.next_wait(30.0) for _ in range(each)])

    _together(put, get)
    expected = sorted(list(range(each)) * N_THREADS)
    assert sorted(got) == expected
    assert sorted(task[1] for task in tasks) == expected
    assert len(scheduler) == len(queue) == 0
