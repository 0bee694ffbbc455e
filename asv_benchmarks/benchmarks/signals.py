"""`midstream.logic`: robustness and truth of signals, offline and sample by sample."""

from __future__ import annotations

import numpy as np

from midstream.logic import SignalMonitor, parse, robustness, smooth_robustness, tune

from ._timing import SIZE

WINDOWS = (5, 1000, 100_000)


def noise(n: int) -> np.ndarray:
    return np.random.default_rng(11).random(n)


class Step:
    """One sample a call: the same for every window."""

    params = (
        WINDOWS,
        ("boolean", "robustness"),
        ("O[0:{}] (x > 0.5)", "(x > 0.2) S[2:{}] (x > 0.7)"),
    )
    param_names = ("window", "output", "formula")

    def setup(self, window, output, formula):
        self.monitor = SignalMonitor(parse(formula.format(window)), output=output)
        self.samples = noise(SIZE).tolist()
        self.monitor.feed({"x": noise(2 * window)})

    def time_step(self, window, output, formula):
        step = self.monitor.step
        for sample in self.samples:
            step(sample)


class Feed:
    params = (WINDOWS, ("boolean", "robustness"))
    param_names = ("window", "output")

    def setup(self, window, output):
        self.monitor = SignalMonitor(parse(f"O[0:{window}] (x > 0.5)"), output=output)
        self.x = noise(SIZE)

    def time_feed(self, window, output):
        self.monitor.feed({"x": self.x})


class Delayed:
    """Future operators, each value as soon as its window is over: the same for every window."""

    params = (
        WINDOWS,
        ("G[0:100] F[0:{}] (x > 0.5)", "(x > 0.2) U[2:{}] (x > 0.7)", "F[0:{}] (x > 0.5)"),
    )
    param_names = ("window", "formula")

    def setup(self, window, formula):
        self.monitor = SignalMonitor(parse(formula.format(window)), output="robustness", at="each")
        self.samples = noise(SIZE).tolist()

    def time_step(self, window, formula):
        step = self.monitor.step
        for sample in self.samples:
            step(sample)


class Interval:
    """Interval of robustness at the start: goes over what is open."""

    params = ((5, 50, 500),)
    param_names = ("window",)

    def setup(self, window):
        formula = parse(f"G F[0:{window}] (x > 0.5)")
        self.monitor = SignalMonitor(formula, output="interval")
        self.samples = noise(SIZE // 10).tolist()

    def time_step(self, window):
        step = self.monitor.step
        for sample in self.samples:
            step(sample)


class Deadline:
    """Time-bounded response with timestamps, one event a call."""

    params = (WINDOWS,)
    param_names = ("deadline",)

    def setup(self, deadline):
        self.formula = parse(f"G (a -> F[0:{deadline}] b)")
        letters = noise(SIZE)
        self.events = [1 if x < 0.2 else 2 if x < 0.4 else 0 for x in letters]
        self.times = (np.arange(SIZE) * 0.1).tolist()

    def time_step(self, deadline):
        step = SignalMonitor(self.formula).step
        for event, time in zip(self.events, self.times, strict=True):
            step(event, time)


class Pending:
    """Booleans while so many positions wait for an answer: the same for any number."""

    params = (
        (100, 10_000),
        (
            "G (a -> F[0:1000000] b)",
            "G (a -> (c U[5:1000000] b))",
            "G (a -> F[0:1000000] (b & F[0:1000000] c))",
            "F[0:1000000] (c & G[0:1000000] a)",
        ),
    )
    param_names = ("pending", "formula")
    # A new monitor for each sample of the timer: every step leaves one more position pending.
    number = 1
    warmup_time = 0.0

    def setup(self, pending, formula):
        self.monitor = SignalMonitor(parse(formula))
        self.letter = {"a", "c"}
        for _ in range(pending):
            self.monitor.step(self.letter)

    def time_step(self, pending, formula):
        step = self.monitor.step
        for _ in range(SIZE // 100):
            step(self.letter)


class Offline:
    params = (
        WINDOWS,
        ("G[0:100] F[0:{}] (x > 0.5)", "(x > 0.2) U[2:{}] (x > 0.7)", "O[0:{}] (x > 0.5)"),
        (False, True),
    )
    param_names = ("window", "formula", "times")

    def setup(self, window, formula, times):
        self.formula = parse(formula.format(window))
        self.x = noise(SIZE)
        self.times = np.cumsum(noise(SIZE) + 0.5) if times else None

    def time_robustness(self, window, formula, times):
        robustness(self.formula, {"x": self.x}, self.times)


class Gradient:
    def setup(self):
        self.formula = parse("G ((x > 0.9) -> F[0:20] (x < 0.1))")
        self.x = noise(10_000)
        rng = np.random.default_rng(2)
        self.good = [{"x": rng.random(200)} for _ in range(10)]
        self.bad = [{"x": rng.random(200) + (rng.random(200) < 0.01)} for _ in range(10)]

    def time_smooth_robustness(self):
        smooth_robustness(self.formula, {"x": self.x})

    def time_tune(self):
        tune(parse("G (x < 0.5)"), self.good, self.bad, starts=2)
