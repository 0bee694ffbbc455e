"""CTL model checking beside pyModelChecking, on a structure that both have built."""

from __future__ import annotations

from midstream.logic.branching import Kripke, check_ctl, parse_ctl

from ._timing import Peer
from .branching import FORMULAS, graph

STATES = 5000


class _PyModelChecking(Peer):
    library = "pyModelChecking.CTL.modelcheck"
    #: The formula in our syntax and in the peer's.
    name: str
    theirs: str

    def setup(self):
        try:
            from pyModelChecking import Kripke as PeerKripke
            from pyModelChecking.CTL import Parser, modelcheck
        except ImportError:
            raise NotImplementedError("pyModelChecking is not installed") from None
        edges, labels = graph(STATES)
        self.kripke = Kripke.from_edges(STATES, edges, labels)
        self.formula = parse_ctl(FORMULAS[self.name])
        names = {state: set() for state in range(STATES)}
        for atom, states in labels.items():
            for state in states:
                names[state].add(atom)
        self.peer_kripke = PeerKripke(S=range(STATES), R=list(map(tuple, edges.tolist())), L=names)
        self.peer_formula = Parser()(self.theirs)
        self.modelcheck = modelcheck
        assert self.ours() == self.peer()

    def ours(self):
        return check_ctl(self.kripke, self.formula)

    def peer(self):
        return self.modelcheck(self.peer_kripke, self.peer_formula)


class Reset(_PyModelChecking):
    """``AG EF q``, 5000 states, three successors each."""

    name, theirs = "reset", "A G (E F q)"


class Until(_PyModelChecking):
    """``A[p U q]``, likewise."""

    name, theirs = "until", "A(p U q)"


class Response(_PyModelChecking):
    """``AG (p -> AF q)``, likewise."""

    name, theirs = "response", "A G (p --> A F q)"
