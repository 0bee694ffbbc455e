"""`Tracker` beside monitors of the rules, each of which is asked about each action."""

from __future__ import annotations

from midstream.logic import Verdict

from ._timing import Peer
from .shields import CONTEXT, Decisions


class _Rules(Peer):
    """A thousand decisions among eight actions, and what went on told."""

    library = "a monitor for each action"
    repeats = 5
    rules = 0

    def setup(self):
        self.decisions = Decisions()
        self.decisions.setup(self.rules)
        self.letters = [{*CONTEXT, action} for action in self.decisions.shield.actions]
        allowed = [
            action
            for action, letter in zip(self.decisions.shield.actions, self.letters, strict=True)
            if self.passes(letter)
        ]
        assert sorted(self.decisions.tracker.allowed(CONTEXT)) == sorted(allowed)

    def passes(self, letter):
        return all(
            monitor.copy().step(letter) is not Verdict.FALSE for monitor in self.decisions.monitors
        )

    def ours(self):
        self.decisions.time_allowed_and_commit(self.rules)

    def peer(self):
        done = {*CONTEXT, "continue"}
        for _ in range(1000):
            for letter in self.letters:
                self.passes(letter)
            for monitor in self.decisions.monitors:
                monitor.step(done)


class OneRule(_Rules):
    rules = 1


class EightRules(_Rules):
    rules = 8
