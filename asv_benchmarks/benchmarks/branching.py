"""`midstream.logic`'s CTL model checking."""

from __future__ import annotations

import numpy as np

from midstream.logic.branching import Kripke, check_ctl, ctl_mask, parse_ctl, witness_ctl

from ._timing import SIZE

FORMULAS = {
    "reset": "AG EF q",
    "until": "A[p U q]",
    "response": "AG (p -> AF q)",
    "nested": "E[EX p U EG !q] & AF (q -> A[p W EX q])",
}


def graph(n: int) -> tuple[np.ndarray, dict[str, list[int]]]:
    """Edges of a graph of `n` states, three from each, and labels."""
    rng = np.random.default_rng(7)
    edges = np.stack([np.repeat(np.arange(n), 3), rng.integers(n, size=3 * n)], axis=1)
    labels = {
        "p": np.flatnonzero(rng.random(n) < 0.5).tolist(),
        "q": np.flatnonzero(rng.random(n) < 0.1).tolist(),
    }
    return edges, labels


class Check:
    params = tuple(FORMULAS)
    param_names = ("formula",)

    def setup(self, formula):
        self.kripke = Kripke.from_edges(SIZE, *graph(SIZE))
        self.formula = parse_ctl(FORMULAS[formula])
        assert ctl_mask(self.kripke, self.formula).shape == (SIZE,)

    def time_mask(self, formula):
        ctl_mask(self.kripke, self.formula)

    def time_fair(self, formula):
        ctl_mask(self.kripke, self.formula, fairness=["p"])


class Evidence:
    def setup(self):
        self.kripke = Kripke.from_edges(SIZE, *graph(SIZE))
        assert check_ctl(self.kripke, "EF AG false") == frozenset()

    def time_witness(self):
        witness_ctl(self.kripke, "EF (q & EX p)", 0)


class Build:
    def setup(self):
        self.edges, self.labels = graph(SIZE)
        self.rows = self.edges[:, 1].reshape(-1, 3).tolist()

    def time_from_edges(self):
        Kripke.from_edges(SIZE, self.edges, self.labels)

    def time_from_rows(self):
        Kripke(self.rows, self.labels)
