"""Monitors of past metric temporal logic beside reelay and rtamt."""

from __future__ import annotations

import math

from midstream.logic import SignalMonitor, parse, robustness

from ._timing import Peer, compare
from .signals import noise

SAMPLES = 2000


class _Reelay(Peer):
    """The same samples, one call each, to monitors that have seen enough to fill the window."""

    library = "reelay.discrete_timed_monitor.update"
    output = "boolean"
    formula: str
    pattern: str

    def setup(self):
        try:
            import reelay
        except ImportError:
            raise NotImplementedError("reelay is not installed") from None
        self.monitor = SignalMonitor(parse(self.formula), output=self.output)
        self.reelay = reelay.discrete_timed_monitor(
            pattern=self.pattern, semantics=self.output, condense=False
        )
        values = noise(SAMPLES).tolist()
        self.samples = values
        # Its own form of a sample, made beforehand.
        self.mappings = [{"x": value} for value in values]
        for sample, mapping in zip(self.samples, self.mappings, strict=True):
            got = self.monitor.step(sample)
            assert math.isclose(got, self.reelay.update(mapping)["value"], abs_tol=1e-12)

    def ours(self):
        step = self.monitor.step
        for sample in self.samples:
            step(sample)

    def peer(self):
        update = self.reelay.update
        for mapping in self.mappings:
            update(mapping)


class OnceShort(_Reelay):
    """Window of 5, Boolean."""

    formula, pattern = "O[0:5] (x > 0.5)", "once[0:5]{x > 0.5}"


class OnceLong(_Reelay):
    """Window of 1000, Boolean."""

    formula, pattern = "O[0:1000] (x > 0.5)", "once[0:1000]{x > 0.5}"


class OnceShortRobust(OnceShort):
    """Window of 5, robustness."""

    output = "robustness"


class OnceLongRobust(OnceLong):
    """Window of 1000, robustness."""

    output = "robustness"


class SinceShort(_Reelay):
    """Since with a delay, window to 5, Boolean."""

    formula = "(x > 0.2) S[2:5] (x > 0.7)"
    pattern = "{x > 0.2} since[2:5] {x > 0.7}"


class SinceLong(_Reelay):
    """Since with a delay, window to 1000, Boolean."""

    formula = "(x > 0.2) S[2:1000] (x > 0.7)"
    pattern = "{x > 0.2} since[2:1000] {x > 0.7}"


class SinceShortRobust(SinceShort):
    """Since with a delay, window to 5, robustness."""

    output = "robustness"


class SinceLongRobust(SinceLong):
    """Since with a delay, window to 1000, robustness."""

    output = "robustness"


class SameMapping(OnceLongRobust):
    """Window of 1000, robustness; both get a mapping of names to values."""

    def ours(self):
        step = self.monitor.step
        for mapping in self.mappings:
            step(mapping)


class LongWindow(_Reelay):
    """Ours with a window of 1000 beside ours with a window of 5: as fast, at 1."""

    library = "this library, window 5"
    formula, pattern = "O[0:1000] (x > 0.5)", "once[0:1000]{x > 0.5}"
    output = "robustness"

    def setup(self):
        super().setup()
        self.short = SignalMonitor(parse("O[0:5] (x > 0.5)"), output=self.output)

    def peer(self):
        step = self.short.step
        for sample in self.samples:
            step(sample)


class _Rtamt(Peer):
    library = "rtamt"
    repeats = 3
    text: str

    def specification(self):
        try:
            import rtamt
        except ImportError:
            raise NotImplementedError("rtamt is not installed") from None
        found = rtamt.StlDiscreteTimeSpecification()
        found.declare_var("x", "float")
        found.spec = self.text
        found.parse()
        return found


class RtamtStep(_Rtamt):
    """Historically over 100 samples, robustness, one call a sample."""

    text = "historically[0:100](x > 0.5)"
    library = "rtamt.update"

    def setup(self):
        self.specification_ = self.specification()
        self.monitor = SignalMonitor(parse("H[0:100] (x > 0.5)"), output="robustness")
        self.samples = noise(SAMPLES).tolist()
        self.count = 0
        self.peer()
        for sample in self.samples:
            last = self.monitor.step(sample)
        assert last == self.last

    def ours(self):
        step = self.monitor.step
        for sample in self.samples:
            step(sample)

    def peer(self):
        update = self.specification_.update
        for sample in self.samples:
            self.last = update(self.count, [("x", sample)])
            self.count += 1


class RtamtOffline(_Rtamt):
    """Nested future windows over a whole trace."""

    text = "always[0:100](eventually[0:10](x > 0.5))"
    library = "rtamt.evaluate"

    def setup(self):
        self.formula = parse("G[0:100] F[0:10] (x > 0.5)")
        self.x = noise(SAMPLES)
        self.specification_ = self.specification()
        self.data = {"time": list(range(SAMPLES)), "x": self.x.tolist()}
        assert [value for _, value in self.peer()] == self.ours().tolist()

    def ours(self):
        return robustness(self.formula, {"x": self.x})

    def peer(self):
        return self.specification_.evaluate(self.data)


class RtamtUntil(RtamtOffline):
    """Timed until over a whole trace, window of 50."""

    text = "(x > 0.1) until[0:50] (x > 0.9)"

    def setup(self):
        self.formula = parse("(x > 0.1) U[0:50] (x > 0.9)")
        self.x = noise(SAMPLES)
        self.specification_ = self.specification()
        self.data = {"time": list(range(SAMPLES)), "x": self.x.tolist()}
        assert [value for _, value in self.peer()] == self.ours().tolist()

    def measure(self):
        return compare(self.ours, self.peer, repeats=3, sample_s=0.001)
