"""`midstream.meta`'s shield: a decision under rules, and what it costs to load them."""

from __future__ import annotations

from midstream.logic import Monitor, Verdict, always
from midstream.meta.safety import Shield

RULES = (
    "abort -> !O[1:5] abort",
    "abort -> looping",
    "switch -> !O[1:20] switch",
    "retry -> O[0:3] stalled",
    "escalate -> O abort",
    "trim -> !Y trim",
    "G(lower_temperature -> X !nudge)",
    "nudge -> !(O[1:3] nudge & O[1:3] abort)",
)
CONTEXT = frozenset({"looping"})


class Decisions:
    """A thousand decisions among eight actions, in sequence."""

    params = (1, 4, 8)
    param_names = ("rules",)

    def setup(self, rules):
        self.shield = Shield(RULES[:rules])
        self.tracker = self.shield.tracker()
        self.monitors = [
            Monitor(rule.formula if rule.formula.has_future else always(rule.formula))
            for rule in self.shield.rules
        ]
        assert "continue" in self.tracker.allowed(CONTEXT)

    def time_allowed_and_commit(self, rules):
        tracker = self.tracker
        for _ in range(1000):
            tracker.allowed(CONTEXT)
            tracker.commit(CONTEXT, "continue")

    def time_by_trying_monitors(self, rules):
        """What it would take without tables: each rule asked about each action, one step ahead."""
        letters = [{*CONTEXT, action} for action in self.shield.actions]
        for _ in range(10):
            allowed = [
                all(m.copy().step(letter) is not Verdict.FALSE for m in self.monitors)
                for letter in letters
            ]
            assert allowed[0]


class Loading:
    params = (10, 100, 1000)
    param_names = ("window",)

    def time_load(self, window):
        Shield(f"abort -> !O[1:{window}] abort")
