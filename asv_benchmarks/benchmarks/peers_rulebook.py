"""Rule books beside agentltl's enforcer and rv-ltl's monitors, one a rule."""

from __future__ import annotations

import logging

from midstream.logic import RuleBook

from ._timing import Peer
from .rulebook import TOOLS, calls

#: Events before the one that is timed: both peers look at all of them again.
BEFORE = 200


def pairs(n: int = 100) -> list[tuple[str, str]]:
    return [(TOOLS[k % 30], TOOLS[(k + 1 + 3 * (k // 30)) % 30]) for k in range(n)]


class Enforcer(Peer):
    """A hundred rules "after a, b before the next a", and one call to judge."""

    library = "agentltl.Enforcer"

    def setup(self):
        try:
            import agentltl as peer
        except ImportError:
            raise NotImplementedError("agentltl is not installed") from None

        logging.getLogger("agentltl").setLevel(logging.CRITICAL)  # it logs every refusal

        def once(name):
            return peer.Once(peer.Now(name))

        constraints = [
            peer.Constraint(f"{a} {b}", peer.Globally(peer.Implies(peer.Now(a), once(b))))
            for a, b in pairs()
        ]
        severity = peer.ConstraintSeverity.PERSISTENT_BLOCK
        self.enforcer = peer.Enforcer(constraints, {one.name: severity for one in constraints})
        self.book = RuleBook({f"{a} {b}": f"G({a} -> O {b})" for a, b in pairs()})
        for name in [*TOOLS, *calls(BEFORE)]:
            allowed = self.enforcer.check(name, {}).allowed
            assert allowed == bool(self.book.what_if({name}))
            # The peer records what it has refused too, or would refuse it for ever.
            self.enforcer.record_completed(name, {})
            self.book.step({name})

    def ours(self):
        return self.book.what_if({"tool3"})

    def peer(self):
        return self.enforcer.check("tool3", {})


class Monitors(Peer):
    """A hundred rules "after a, some time b": an event, and all verdicts."""

    library = "rv_ltl.Monitor"
    repeats = 3

    def setup(self):
        try:
            import rv_ltl as peer
        except ImportError:
            raise NotImplementedError("rv_ltl is not installed") from None
        self.book = RuleBook({f"{a} {b}": f"G({a} -> F {b})" for a, b in pairs()})
        self.monitors = []
        for a, b in pairs():
            formula = peer.Always(
                peer.Implies(peer.Atomic(identifier=a), peer.Eventually(peer.Atomic(identifier=b)))
            )
            self.monitors.append(formula.create_monitor())
        self.event = dict.fromkeys(TOOLS, False)
        for name in calls(20):
            self.book.step({name})
            verdicts = self.peer(name)
            assert [verdict.name for verdict in verdicts] == [
                verdict.name for verdict in self.book.verdicts.values()
            ]

    def ours(self):
        self.book.step({"tool3"})
        return self.book.verdicts

    def peer(self, name="tool3"):
        event = {**self.event, name: True}
        found = []
        for monitor in self.monitors:
            monitor.update(event)
            found.append(monitor.evaluate())
        return found
