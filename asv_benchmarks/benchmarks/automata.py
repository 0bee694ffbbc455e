"""`midstream.logic.compile`: formulas to minimal automata."""

from __future__ import annotations

from midstream.logic import compile as compile_formula
from midstream.logic import parse

#: Dwyer, Avrunin and Corbett's patterns in their five scopes (ICSE 1999): p, s the events, q and r
#: the ends of the scope.
DWYER = {
    "absence": "G !p",
    "absence before": "F r -> (!p U r)",
    "absence after": "G(q -> G !p)",
    "absence between": "G((q & !r & F r) -> (!p U r))",
    "absence until": "G((q & !r) -> (!p W r))",
    "existence": "F p",
    "existence before": "!r W (p & !r)",
    "existence after": "G !q | F(q & F p)",
    "existence between": "G((q & !r) -> (!r W (p & !r)))",
    "existence until": "G((q & !r) -> (!r U (p & !r)))",
    "bounded existence": "!p W (p W (!p W (p W G !p)))",
    "universality": "G p",
    "universality before": "F r -> (p U r)",
    "universality after": "G(q -> G p)",
    "universality between": "G((q & !r & F r) -> (p U r))",
    "universality until": "G((q & !r) -> (p W r))",
    "precedence": "!p W s",
    "precedence before": "F r -> (!p U (s | r))",
    "precedence after": "G !q | F(q & (!p W s))",
    "precedence between": "G((q & !r & F r) -> (!p U (s | r)))",
    "precedence until": "G((q & !r) -> (!p W (s | r)))",
    "response": "G(p -> F s)",
    "response before": "F r -> ((p -> (!r U (s & !r))) U r)",
    "response after": "G(q -> G(p -> F s))",
    "response between": "G((q & !r & F r) -> ((p -> (!r U (s & !r))) U r))",
    "response until": "G((q & !r) -> ((p -> (!r U (s & !r))) W r))",
    "precedence chain": "F p -> (!p U (s & !p & X[!](!p U t)))",
    "response chain": "G(s & X[!] F t -> X[!] F(t & F p))",
}
#: Templates of DECLARE (Pesic and van der Aalst, 2006) on finite traces.
DECLARE = {
    "init": "a",
    "end": "F(a & X false)",
    "existence": "F a",
    "existence 2": "F(a & X[!] F a)",
    "absence": "!F a",
    "absence 3": "!F(a & X[!] F(a & X[!] F a))",
    "exactly 1": "F a & !F(a & X[!] F a)",
    "choice": "F a | F b",
    "exclusive choice": "(F a | F b) & !(F a & F b)",
    "responded existence": "F a -> F b",
    "coexistence": "F a <-> F b",
    "response": "G(a -> F b)",
    "precedence": "!b W a",
    "succession": "G(a -> F b) & (!b W a)",
    "alternate response": "G(a -> X[!](!a U b))",
    "alternate precedence": "(!b W a) & G(b -> X(!b W a))",
    "alternate succession": "G(a -> X[!](!a U b)) & (!b W a) & G(b -> X(!b W a))",
    "chain response": "G(a -> X[!] b)",
    "chain precedence": "G(X[!] b -> a) & !b",
    "chain succession": "G(a <-> X[!] b) & !b",
    "not coexistence": "!(F a & F b)",
    "not succession": "G(a -> !F b)",
    "not chain succession": "G(a -> X !b)",
}
PATTERNS = {**DWYER, **DECLARE}


def responses(count):
    """Conjunction of that many ``G(r -> F a)``."""
    return " & ".join(f"G(r{k} -> F a{k})" for k in range(count))


class Patterns:
    """All of them, one after the other: parsed before."""

    params = ("dwyer", "declare")
    param_names = ("patterns",)

    def setup(self, patterns):
        texts = DWYER if patterns == "dwyer" else DECLARE
        self.formulas = [parse(text) for text in texts.values()]
        for formula in self.formulas:
            assert compile_formula(formula).n_states <= 16

    def time_compile(self, patterns):
        for formula in self.formulas:
            compile_formula(formula)


class Responses:
    """The conjunction of 4 and 8 responses: 17 and 257 states; of 12: 4097."""

    params = (4, 8, 12)
    param_names = ("count",)

    def setup(self, count):
        self.formula = parse(responses(count))
        assert compile_formula(self.formula).n_states == 2**count + 1

    def time_compile(self, count):
        compile_formula(self.formula)


class Families:
    """Where progression alone has many states that mean the same, and windows."""

    params = (
        " U (".join(f"p{k}" for k in range(16)) + ")" * 15,
        " & ".join(f"G F p{k}" for k in range(12)),
        " & ".join(f"G(p{k} -> X[!](!p{k} U q{k}))" for k in range(8)),
        "G(a -> F[0:1000] b)",
        "G(a -> O[0:200] b)",
        "G(a -> (O b & (!c S d)))",
        "G(a -> O(b & F c))",
        "F(a" + " & X[!](true" * 9 + ")" * 9 + " & b)",
    )
    param_names = ("formula",)

    def setup(self, text):
        self.formula = parse(text)

    def time_compile(self, text):
        compile_formula(self.formula)


class Products:
    """Automata of rules, made into one of their conjunction."""

    def setup(self):
        self.automata = [compile_formula(parse(f"G(r{k} -> F a{k})")) for k in range(8)]

    def time_and(self):
        whole = self.automata[0]
        for automaton in self.automata[1:]:
            whole = whole & automaton
        assert whole.n_states == 257
