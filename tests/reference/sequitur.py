"""Grammars of repetition by the definitions: slow, recursive, and with a look at everything.

`Naive` keeps right sides in lists, finds digrams by reading the whole grammar, and mends one
violation after the other until there is none. Which it mends first differs from what anybody else
does, so grammars may differ; the two invariants, and what a grammar expands to, may not.
"""

from __future__ import annotations

from itertools import pairwise

__all__ = ["Naive", "expansion", "repeated", "violations"]

# A grammar here: name -> right side, a list of symbols (int) and names (str); "top" is the start.


def expansion(grammar, name="top"):
    """The terminals that a name stands for."""
    out = []
    for part in grammar[name]:
        out += expansion(grammar, part) if isinstance(part, str) else [part]
    return out


def places(grammar):
    """Every digram with the places (name, index) where it stands."""
    found = {}
    for name, right in grammar.items():
        for index, digram in enumerate(pairwise(right)):
            found.setdefault(digram, []).append((name, index))
    return found


def repeated(grammar):
    """Two places of a digram that do not overlap, or None."""
    for digram, at in places(grammar).items():
        for k, (name, index) in enumerate(at):
            for other, later in at[k + 1 :]:
                if other != name or later - index > 1 or digram[0] != digram[1]:
                    return (name, index), (other, later)
    return None


def uses(grammar):
    """Name -> how often it stands on right sides."""
    count = dict.fromkeys(grammar, 0)
    for right in grammar.values():
        for part in right:
            if isinstance(part, str):
                count[part] += 1
    return count


def violations(grammar):
    """What is wrong with a grammar, as texts."""
    wrong = []
    if repeated(grammar) is not None:
        wrong.append(f"digram uniqueness: {repeated(grammar)}")
    for name, count in uses(grammar).items():
        if name != "top" and count < 2:
            wrong.append(f"rule utility: {name} is used {count} times")
        if name != "top" and len(grammar[name]) < 2:
            wrong.append(f"{name} has {len(grammar[name])} symbols")
    return wrong


class Naive:
    """An inducer that obeys the invariants by searching for what breaks them."""

    def __init__(self, max_symbols=10**9):
        self.grammar = {"top": []}
        self.max_symbols = max_symbols
        self.start = 0
        self.named = 0

    @property
    def size(self):
        return sum(map(len, self.grammar.values()))

    def push(self, symbol):
        self.grammar["top"].append(symbol)
        self.mend()
        while self.size > self.max_symbols:
            first = self.grammar["top"].pop(0)
            self.start += len(expansion(self.grammar, first)) if isinstance(first, str) else 1
            self.mend()

    def mend(self):
        while True:
            once = [k for k, n in uses(self.grammar).items() if k != "top" and n < 2]
            if once:
                self.substitute([once[0]], self.grammar.pop(once[0]))
                continue
            pair = repeated(self.grammar)
            if pair is None:
                return
            self.shorten(*pair)

    def shorten(self, one, other):
        """Make the digram at two places one rule."""
        name, index = one
        digram = self.grammar[name][index : index + 2]
        whole = [k for k in self.grammar if k != "top" and self.grammar[k] == digram]
        if len(whole) > 1:
            del self.grammar[whole[1]]
            self.substitute([whole[1]], [whole[0]])
            return
        if whole:
            rule = whole[0]
            kept = self.grammar.pop(rule)
        else:
            self.named += 1
            rule, kept = f"rule{self.named}", digram
        self.substitute(digram, [rule])
        self.grammar[rule] = kept

    def substitute(self, old, new):
        """Write `new` for every `old`, from left to right."""
        for name, right in self.grammar.items():
            out, index = [], 0
            while index < len(right):
                if right[index : index + len(old)] == old:
                    out += new
                    index += len(old)
                else:
                    out.append(right[index])
                    index += 1
            self.grammar[name] = out
