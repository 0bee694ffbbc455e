"""Shields by their definition: all words of contexts and actions, and the game on their tree.

A letter is a context (any set of its atoms) and one action. A rule says what holds at every
position. The environment loses a word where it cannot force a violation within the words' length.
"""

from __future__ import annotations

import numpy as np
from reference.exhaustive import AllTraces

from midstream.logic import Op

PAST_UNARY = (Op.NOT, Op.YESTERDAY, Op.WEAK_YESTERDAY, Op.ONCE, Op.HISTORICALLY)
PAST_BINARY = (Op.AND, Op.OR, Op.XOR, Op.IFF, Op.IMPLIES, Op.SINCE, Op.TRIGGER)
#: With these, and negation and past operators over what has no future, every formula is a safety
#: property, and a word violates it so far iff it does as a finite trace (A. P. Sistla, "Safety,
#: liveness and fairness in temporal logic", Formal Aspects of Computing 6, 1994).
SAFE_UNARY = (Op.NOT, Op.NEXT, Op.ALWAYS, Op.YESTERDAY, Op.ONCE)
SAFE_BINARY = (Op.AND, Op.OR, Op.WEAK_UNTIL, Op.RELEASE)


def is_safe(formula):
    """Whether a formula over these operators is one of those."""
    closed = (Op.NOT, *range(Op.YESTERDAY, Op.TRIGGER + 1))
    return not any(
        node.op in closed and any(arg.has_future for arg in node.args) for node in formula.nodes()
    )


class Words(AllTraces):
    """Every word up to a length, in the order of numbers whose first digit is the first letter.

    Digit ``c * len(actions) + k`` is the context of mask c with action k.
    """

    def __init__(self, longest, actions=("a", "b"), context=("e",)):
        super().__init__(1, (*context, *actions))
        self.longest = longest
        self.actions = actions
        self.context = context
        self.shape = (1 << len(context), len(actions))
        self.letters = self.shape[0] * self.shape[1]
        digits = np.arange(self.letters)
        masks = digits // len(actions) | 1 << (len(context) + digits % len(actions))
        self.masks = {
            n: masks[np.array(np.unravel_index(np.arange(self.letters**n), (self.letters,) * n)).T]
            for n in range(1, longest + 1)
        }

    def contexts(self):
        return [
            {name for bit, name in enumerate(self.context) if mask >> bit & 1}
            for mask in range(self.shape[0])
        ]

    def violated(self, rules):
        """By length: (words,) bool, whether a rule is false at some position.

        A rule with future operators is judged at the first position.
        """
        truth = [(rule.has_future, self.truth(rule)) for rule in rules]
        found = {0: np.zeros(1, dtype=bool)}
        for n in self.masks:
            found[n] = ~np.logical_and.reduce(
                [rows[n][:, 0] if first else rows[n].all(axis=1) for first, rows in truth]
            )
        return found

    def lost(self, rules):
        """By length: whether the environment can force a violation, up to the longest words."""
        violated = self.violated(rules)
        lost = {self.longest: violated[self.longest]}
        for n in range(self.longest - 1, -1, -1):
            after = lost[n + 1].reshape(-1, *self.shape)
            lost[n] = violated[n] | after.all(axis=2).any(axis=1)
        return lost

    def masks_fallback(self, rules, fallback, depth):
        """Whether moves that do not lose lead, within a depth, to where the fallback does."""
        lost = self.lost(rules)
        place = self.actions.index(fallback)
        reached = ~lost[0]
        if not reached.any():
            return True
        for n in range(depth):
            after = lost[n + 1].reshape(-1, *self.shape)
            if after[reached][:, :, place].any():
                return True
            reached = (reached[:, None] & ~lost[n + 1].reshape(len(reached), -1)).ravel()
        return False


class Played:
    """All plays of a shield, each state of a stream asked once."""

    def __init__(self, words, shield):
        self.words = words
        first = shield.tracker()
        self.trackers = [first]
        self.known = {self.key(first): 0}
        #: By state: (contexts, actions) next state, -1 where it is masked.
        self.following = []
        for tracker in self.trackers:
            self.following.append(np.array([self.row(tracker, c) for c in words.contexts()]))
        self.table = np.stack(self.following)
        self.broken = np.array([tracker.violations for tracker in self.trackers])

    @staticmethod
    def key(tracker):
        return tracker._state()[1]

    def row(self, tracker, context):
        allowed = tracker.allowed(context)
        row = []
        for action in self.words.actions:
            if action not in allowed:
                row.append(-1)
                continue
            after = tracker.copy()
            after.commit(context, action)
            key = self.key(after)
            if key not in self.known:
                self.known[key] = len(self.trackers)
                self.trackers.append(after)
            row.append(self.known[key])
        return row

    def states(self):
        """By length: (words,) state, -1 where some action was masked."""
        states = {0: np.zeros(1, dtype=int)}
        for n in range(self.words.longest):
            after = np.where((states[n] >= 0)[:, None, None], self.table[states[n]], -1)
            states[n + 1] = after.ravel()
        return states


def check(words, rules, shield, fallback, depth):
    """Sound on all words, exact on those up to a depth; returns the words checked."""
    played = Played(words, shield)
    place = words.actions.index(fallback)
    assert (played.table[:, :, place] >= 0).all(), "the fallback was masked"
    assert not played.broken.any(), "a violation was counted"
    states = played.states()
    violated, lost = words.violated(rules), words.lost(rules)
    for n in range(1, words.longest + 1):
        wrong = (states[n] >= 0) & violated[n]
        assert not wrong.any(), f"a violation: {words.masks[n][np.argmax(wrong)]}"
    for n in range(depth):
        before = states[n] >= 0
        allowed = states[n + 1].reshape(-1, *words.shape) >= 0
        safe = ~lost[n + 1].reshape(-1, *words.shape)
        differs = (allowed != safe)[before]
        assert not differs.any(), "masked though safe, or allowed though lost"
    return sum(len(rows) for rows in words.masks.values())
