"""`midstream.logic`'s synthesis and shields."""

from __future__ import annotations

from midstream.logic.formula import Formula
from midstream.logic.parser import parse
from midstream.logic.shielding import shield
from midstream.logic.synthesis import realizable, synthesize


def arbiter(clients: int) -> tuple[Formula, list[str], list[str]]:
    """Grants one at a time for requests that come in the first step only: formula, both sides.

    Realizable, and takes as many steps as there are clients.
    """
    each = range(clients)
    quiet = " & ".join(f"!r{i}" for i in each)
    served = " & ".join(f"G(r{i} -> F g{i})" for i in each)
    alone = " & ".join(f"!(g{i} & g{j})" for i in each for j in range(i))
    text = f"X G({quiet}) -> ({served} & G({alone or 'true'}))"
    return parse(text), [f"r{i}" for i in each], [f"g{i}" for i in each]


def busy_arbiter(clients: int) -> tuple[Formula, list[str], list[str]]:
    """The same with requests at any time: unrealizable from two clients on."""
    formula, inputs, outputs = arbiter(clients)
    return formula.args[1], inputs, outputs


class Synthesis:
    params = (2, 4, 6)
    param_names = ("clients",)

    def setup(self, clients):
        self.problem = arbiter(clients)
        self.lost = busy_arbiter(clients)
        assert synthesize(*self.problem).bound >= 2
        assert not realizable(*self.lost)

    def time_synthesize(self, clients):
        synthesize(*self.problem)

    def time_realizable(self, clients):
        realizable(*self.problem)

    def time_unrealizable(self, clients):
        realizable(*self.lost)


class Controlled:
    """A play of six steps."""

    def setup(self):
        self.controller = synthesize(*arbiter(6))
        self.letters = [{f"r{i}" for i in range(6)}] + [set()] * (self.controller.bound - 1)
        assert len(self.controller.simulate(self.letters)) == 6

    def time_play(self):
        self.controller.reset()
        for letter in self.letters:
            if self.controller.stop:
                break
            self.controller.step(letter)


class ShieldStep:
    """One step: a look-up for few atoms, a walk of the diagram for many."""

    params = (4, 16, 60)
    param_names = ("atoms",)

    def setup(self, atoms):
        rules = " & ".join(f"G(a{i} -> !x{i})" for i in range(atoms // 2))
        rules += " & G(a0 -> X !x1)"
        self.guard = shield(rules, [f"x{i}" for i in range(atoms // 2)])
        self.mask = (1 << atoms) - 1
        self.letter = {"a0", "x0", "x1"}
        kept = [name.startswith("a") << bit for bit, name in enumerate(self.guard.alphabet)]
        assert self.guard.step(self.mask) == sum(kept)
        assert self.guard.step(self.letter) == {"a0"}

    def time_mask(self, atoms):
        self.guard.step(self.mask)

    def time_set(self, atoms):
        self.guard.step(self.letter)


class ShieldMade:
    def time_shield(self):
        shield("G(alarm -> !pump) & G(pump -> valve) & G(valve -> X !valve)", ["pump", "valve"])
