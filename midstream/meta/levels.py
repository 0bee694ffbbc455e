"""Patterns, and patterns of patterns: what recurs in phrases, turns and sessions."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.snapshots import joined, parted, sealed, unsealed
from midstream._core.validate import check_int, check_real
from midstream._core.words import counted
from midstream.meta import _patterns as columns
from midstream.meta._canonical import encoded
from midstream.meta._grammar import name_of
from midstream.meta.grammar import Grammar
from midstream.meta.knowledge import (
    MetaKnowledge,
    anytime_lower_bounds,
    lower_bounds,
    places,
    unit_name,
)
from midstream.meta.symbols import Symbols

__all__ = ["Levels"]

_MAGIC = b"ms.levels1"
#: From here on codes are borders between units. No two borders within a grammar's memory are alike,
#: so no digram with one of them repeats and no rule spans it; they come round again after 2^24 - 1
#: units, and a memory holds at most 2^23 symbols.
_BORDER = 0xFF000000
_BORDERS = (1 << 24) - 1
_MOST_SYMBOLS = 1 << 23
_NO_PATTERN = (1 << 32) - 1
#: Units that a newborn pattern counts as having been watched for already, when it competes for its
#: place with patterns that proved themselves.
_PRIOR_UNITS = 64
#: Symbols up to which a level's rules are looked through at the close of every unit.
_SOON = 1024
#: Terminal symbols of an expansion that are shown.
_SHOWN = 4096
_CODES = NDArray[np.uint32]


class _Lexicon:
    """What names mean, as long as anybody needs it: counted references."""

    def __init__(self) -> None:
        self.entries: dict[bytes, list[Any]] = {}

    def hold(self, name: bytes, items: tuple[int | bytes, ...] | None = None) -> None:
        """One more user of a name; `items` where it may be new."""
        entry = self.entries.get(name)
        if entry is None:
            assert items is not None
            for item in items:
                if isinstance(item, bytes):
                    self.hold(item)
            self.entries[name] = entry = [0, items]
        entry[0] += 1

    def drop(self, name: bytes) -> None:
        """One user less."""
        entry = self.entries[name]
        entry[0] -= 1
        if entry[0] == 0:
            del self.entries[name]
            for item in entry[1]:
                if isinstance(item, bytes):
                    self.drop(item)

    def length(self, items: Iterable[int | bytes], known: dict[bytes, int]) -> int:
        """Terminal symbols that items expand to."""
        total = 0
        for item in items:
            if isinstance(item, int):
                total += 1
                continue
            if item not in known:
                known[item] = self.length(self.entries[item][1], known)
            total += known[item]
        return total

    def terminals(self, items: Iterable[int | bytes]) -> Iterator[int]:
        """Those terminal symbols, in order."""
        for item in items:
            if isinstance(item, int):
                yield item
            else:
                yield from self.terminals(self.entries[item][1])


class _Names(Symbols):
    """A level's table: symbols of users and names of lower levels' patterns."""

    def __init__(self, max_size: int, lexicon: _Lexicon) -> None:
        super().__init__(max_size, stable=False)
        self.lexicon = lexicon
        #: Forgotten, but their names are held still.
        self.gone: list[tuple[Any, int]] = []

    def _add(self, item: Any) -> int:
        if isinstance(item, bytes):
            self.lexicon.hold(item)
        return super()._add(item)

    def _forget(self, item: Any, code: int) -> None:
        super()._forget(item, code)
        self.gone.append((item, code))


@dataclass(frozen=True)
class _Pattern:
    """A pattern that is looked for."""

    rule: bytes
    name: bytes
    codes: _CODES
    items: tuple[int | bytes, ...]


@dataclass
class _Level:
    """Everything of one level."""

    number: int
    max_symbols: int
    horizon: int
    grammar: Any
    names: _Names | None
    matcher: columns.Matcher
    patterns: list[_Pattern] = field(default_factory=list)
    slots: dict[bytes, int] = field(default_factory=dict)
    by_name: dict[bytes, int] = field(default_factory=dict)
    #: Codes of patterns above level 1, and those of them that mean nothing any more.
    used: set[int] = field(default_factory=set)
    stale: set[int] = field(default_factory=set)
    #: Newest symbols of closed units with borders, the first `filled`.
    newest: _CODES = field(default_factory=lambda: np.empty(0, np.uint32))
    filled: int = 0
    #: The open unit.
    open: array[int] = field(default_factory=lambda: array("I"))
    n_units: int = 0
    position: int = 0
    #: Patterns that were ever born or merged in.
    n_born: int = 0
    #: The grammar's count of symbols when its rules were last looked through.
    looked: int = 0
    #: First unit of the sessions from `first_session` on, the present one last.
    sessions: array[int] = field(default_factory=lambda: array("q", [0]))
    first_session: int = 0

    @classmethod
    def new(cls, number: int, max_symbols: int, horizon: int, lexicon: _Lexicon) -> _Level:
        return cls(
            number,
            max_symbols,
            horizon,
            Grammar(max_symbols=max_symbols),
            None if number == 1 else _Names(max_symbols + 1, lexicon),
            columns.Matcher(horizon),
        )

    def unit(self) -> _CODES:
        """The symbols of the open unit; while they are referred to, it cannot grow."""
        return np.frombuffer(self.open, np.uint32)

    def knows(self, codes: _CODES) -> bool:
        """Whether all codes mean something now."""
        known = None if self.names is None else self.names._items
        return known is None or all(code in known for code in codes.tolist())

    @property
    def n_sessions(self) -> int:
        """Sessions that were closed."""
        return self.first_session + len(self.sessions) - 1

    def whole_sessions(
        self, state: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """By pattern: closed sessions since birth that hold it, and all of them."""
        n = self.n_sessions
        held = state[:, columns.SESSIONS] - (state[:, columns.LAST_SESSION] == n)
        watched = np.maximum(n - state[:, columns.BORN_SESSION], 0)
        return held, watched + state[:, columns.ELSEWHERE_SESSIONS]

    def session_of(self, unit: int) -> int:
        return self.first_session + max(0, bisect_right(self.sessions, unit) - 1)

    def end_session(self) -> None:
        self.sessions.append(self.n_units)
        # A session in memory has a unit there and a unit has a border.
        surplus = len(self.sessions) - self.max_symbols - 1
        if surplus > self.max_symbols:
            del self.sessions[:surplus]
            self.first_session += surplus

    def remember(self, unit: _CODES) -> None:
        """Add a closed unit and its border to the newest symbols."""
        stop = self.filled + unit.size
        if stop >= self.newest.size:
            kept = self.retained()
            # As much free as is kept: copying costs O(1) a symbol.
            self.newest = np.empty(max(1024, 2 * (kept.size + unit.size + 1)), np.uint32)
            self.newest[: kept.size] = kept
            self.filled = kept.size
            stop = self.filled + unit.size
        self.newest[self.filled : stop] = unit
        self.newest[stop] = _BORDER
        self.filled = stop + 1

    def retained(self) -> _CODES:
        """The newest symbols of closed units, with their borders."""
        return self.newest[max(0, self.filled - self.max_symbols) : self.filled]

    def is_time_to_look(self) -> bool:
        """Whether the grammar's rules are to be looked through.

        It costs some 30 ns for a symbol in memory, 300 ns for a rule and 500 ns for a pattern: four
        times that, for each symbol that came. No later than when half a memory came.
        """
        if self.position < _SOON:
            return True
        memory = min(self.filled, self.max_symbols)
        weight = memory + 10 * self.grammar.n_rules + 16 * len(self.patterns)
        came = self.grammar.n_pushed - self.looked
        return bool(4 * came >= min(weight, 2 * self.max_symbols))

    def scores(self) -> NDArray[np.float64]:
        """How useful each pattern is: symbols saved per unit, roughly."""
        state = self.matcher.state
        lengths = np.array([pattern.codes.size for pattern in self.patterns], np.float64)
        watched = self.n_units - state[:, columns.BORN] + state[:, columns.ELSEWHERE]
        saved: NDArray[np.float64] = state[:, columns.COUNT] * (lengths - 1)
        return saved / (watched + _PRIOR_UNITS)

    def arrange(self, patterns: list[_Pattern], state: NDArray[np.int64]) -> None:
        """Look for these, of which this was seen."""
        offsets = np.zeros(len(patterns) + 1, np.int64)
        np.cumsum([pattern.codes.size for pattern in patterns], out=offsets[1:])
        symbols = np.concatenate(
            [np.empty(0, np.uint32), *(pattern.codes for pattern in patterns)], dtype=np.uint32
        )
        self.matcher.build(symbols, offsets, np.ascontiguousarray(state, np.int64))
        self.patterns = patterns
        self.slots = {pattern.rule: slot for slot, pattern in enumerate(patterns)}
        self.by_name = {pattern.name: slot for slot, pattern in enumerate(patterns)}
        if self.names is not None:
            self.used = set(symbols.tolist())
            self.stale = {code for code in self.used if code not in self.names._items}

    def newborn(self) -> NDArray[np.int64]:
        """The row of a pattern that nothing was seen of."""
        row = np.zeros(self.matcher.row, np.int64)
        row[columns.BORN] = self.n_units
        row[columns.LAST_END] = self.position
        row[columns.LAST_UNIT] = -1
        row[columns.LAST_SESSION] = -1
        # The session that is open is partly over.
        row[columns.BORN_SESSION] = self.n_sessions + 1
        return row

    def look_back(self, first: int) -> None:
        """Count what occurred in memory of the patterns from slot `first` on, just born."""
        sequence = self.retained()
        counts, firsts, lasts = self.matcher.tally(sequence)
        borders = np.cumsum(sequence >= _BORDER)
        n_borders = int(borders[-1]) if sequence.size else 0
        n_symbols = sequence.size - n_borders
        state = self.matcher.state
        for slot in range(first, len(self.patterns)):
            row = state[slot]
            row[columns.COUNT] += counts[slot]
            stops = [int(firsts[slot]), int(lasts[slot])][: min(2, int(counts[slot]))]
            for place, stop in enumerate(stops):
                before = int(borders[stop - 1])
                unit = self.n_units - (n_borders - before)
                start = stop - self.patterns[slot].codes.size - before
                seen = (self.session_of(unit), unit, self.position - n_symbols + start)
                at = columns.RECENT + 3 * place
                row[at : at + 3] = seen
                if place == 0:
                    row[columns.FIRST : columns.FIRST + 3] = seen
            row[columns.PLACES] = len(stops)


class Levels:
    """Levels of patterns: phrases of symbols, turns of phrases, sessions of turns.

    Level 1 learns which sequences of symbols repeat, by a `Grammar`. When a unit is closed there (a
    phrase), it is read in the patterns known so far: from the left, always the longest that begins
    here, or the symbol itself where none does. The names of these patterns are the symbols of level
    2, whose units are turns; their patterns are the symbols of level 3, whose units are sessions.

    Parameters
    ----------
    n : int, default 3
        Levels, 1 to 8.
    horizon : int, default 5
        Units of a level within which a pattern is to come again, 1 to 256.
    max_symbols : int or sequence of int, default 2**20
        Symbols in the memory of each level's grammar, 64 to 2**23, borders counted. An int is that
        of level 1; each further level has an eighth of the one below, at least 1024 (or as many as
        level 1, where that has fewer).
    max_patterns : int, default 4096
        Patterns followed at a level; the least useful give way.
    max_length : int, default 64
        Longest pattern followed, in symbols of its level, at least 2; what is longer is a pattern
        of patterns.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError

    See Also
    --------
    Symbols : makes symbols of tool calls and other things.
    Grammar : one level.

    Notes
    -----
    **Units and borders.** Between two units of a level stands a border, a symbol like no other in
    memory, so no pattern spans it. Units without symbols are none. A unit that has as many symbols
    as its level's memory is closed by itself.

    **An occurrence** of a pattern is a place in a closed unit where its symbols stand in a row,
    whatever rules the grammar sees there. Occurrences are counted from the left, without overlap.
    Patterns of patterns are found where the unit *reads* so.

    **Recurrence.** Take a unit in which the pattern occurs. It is a hit if one of the next
    `horizon` units of the level has it too, and counts as a trial as soon as these units are
    closed; until then it is censored, hit or not, for hits are known sooner than misses. Units run
    on through sessions. Only units closed after the pattern's birth count: it was born because it
    repeated, and that repetition proves nothing. Each trial is decided by the gap to the next unit
    that has the pattern, and no two trials by the same gap. So if the gaps are independent and
    alike, hits are binomial and the bound of Clopper and Pearson [1]_,
    ``betaincinv(hits, trials - hits + 1, 1 - confidence)``, holds; if they are not alike, it
    bounds the smallest chance that a trial has, given what was before. That the number of trials
    depends on the gaps, and that the question may be asked again and again, is paid for by
    ``anytime=True``: a bound that holds at all times together [2]_.

    **Memory.** Each level has its grammar, the newest `max_symbols` symbols of its closed units,
    above level 1 a table of as many names, and some ``12 * max_length + 8 * (40 + horizon)`` bytes
    and a Python object for each pattern. Patterns are born when a unit closes and the grammar's
    rules are looked through: at every close while the level has seen less than 1024 symbols, then
    whenever it has got about a quarter of what is in memory, at most half of what there is room
    for. A pattern above level 1 is forgotten when one of its symbols was not seen for a whole
    memory.

    **Names** of patterns are hashes of content: those of level 1 of the symbols, the others of the
    names and symbols they are made of. So what several processes learned can be merged, if symbols
    mean the same there (`Symbols` sees to it).

    Cost: 0.1 to 0.7 microseconds a symbol of level 1, the more of it is new, the grammar's 0.1
    among them; some 10 microseconds a unit; 2 microseconds for each name that goes up. Not
    thread-safe.

    References
    ----------
    .. [1] C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial limits illustrated in
       the case of the binomial", Biometrika 26 (1934).
    .. [2] H. Robbins, "Statistical methods related to the law of the iterated logarithm", Ann.
       Math. Statist. 41 (1970): the mixture martingale, here with the Beta(1/2, 1/2) distribution.

    Examples
    --------
    >>> from midstream.meta import Levels, Symbols
    >>> symbols, levels = Symbols(), Levels(2)
    >>> for _ in range(40):
    ...     levels.observe(symbols.encode(["open", "read", "edit", "test"]))
    ...     levels.close(2)
    >>> best = levels.knowledge(1)[0]
    >>> best.labels(symbols)
    ('open', 'read', 'edit', 'test')
    >>> best.recurrence, best.recurrence_lower > 0.9
    (1.0, True)
    """

    def __init__(
        self,
        n: int = 3,
        *,
        horizon: int = 5,
        max_symbols: int | Sequence[int] = 1 << 20,
        max_patterns: int = 4096,
        max_length: int = 64,
    ) -> None:
        self._n = check_int("n", n, low=1, high=8)
        self._horizon = check_int("horizon", horizon, low=1, high=256)
        self._max_patterns = check_int("max_patterns", max_patterns, low=1, high=1 << 20)
        self._max_length = check_int("max_length", max_length, low=2, high=4096)
        self._max_symbols = self._sizes(max_symbols)
        self._clear()

    def _sizes(self, max_symbols: int | Sequence[int]) -> tuple[int, ...]:
        if isinstance(max_symbols, (list, tuple)):
            if len(max_symbols) != self._n:
                raise ArgumentValueError(
                    f"max_symbols must have {self._n} numbers, one a level, got {max_symbols!r}"
                )
            listed = max_symbols
        else:
            low = check_int("max_symbols", max_symbols, low=64, high=_MOST_SYMBOLS)  # type: ignore[arg-type]
            listed = [max(min(low, 1024), low >> 3 * level) for level in range(self._n)]
        return tuple(check_int("max_symbols", size, low=64, high=_MOST_SYMBOLS) for size in listed)

    def _clear(self) -> None:
        self._lexicon = _Lexicon()
        self._levels = [
            _Level.new(number + 1, size, self._horizon, self._lexicon)
            for number, size in enumerate(self._max_symbols)
        ]

    @property
    def n(self) -> int:
        """Levels."""
        return self._n

    @property
    def horizon(self) -> int:
        """Units within which a pattern is to come again."""
        return self._horizon

    @property
    def max_symbols(self) -> tuple[int, ...]:
        """Symbols in memory, by level."""
        return self._max_symbols

    @property
    def max_patterns(self) -> int:
        """Patterns followed at a level at most."""
        return self._max_patterns

    @property
    def max_length(self) -> int:
        """Longest pattern followed, in symbols of its level."""
        return self._max_length

    @property
    def n_sessions(self) -> int:
        """Sessions that were closed: calls of `close` of the highest level that ended something."""
        return self._levels[0].n_sessions

    @property
    def memory_bytes(self) -> int:
        """Bytes held, estimated."""
        total = 300 * len(self._lexicon.entries)
        for level in self._levels:
            total += level.grammar.memory_bytes + level.matcher.memory_bytes
            total += sum(600 + pattern.codes.nbytes for pattern in level.patterns)
            total += 4 * len(level.open) + level.newest.nbytes + 8 * len(level.sessions)
            total += 300 * len(level.names or ())
        return total

    def _at(self, level: int) -> _Level:
        return self._levels[check_int("level", level, low=1, high=self._n) - 1]

    def grammar(self, level: int = 1) -> Grammar:
        """The grammar of a level; not to be fed. Codes of levels above 1 are the level's own."""
        return self._at(level).grammar  # type: ignore[no-any-return]

    def n_units(self, level: int = 1) -> int:
        """Units of a level that were closed."""
        return self._at(level).n_units

    def n_patterns(self, level: int = 1) -> int:
        """Patterns of a level that are followed now."""
        return len(self._at(level).patterns)

    def observe(self, symbols: Iterable[int] | NDArray[Any], level: int = 1) -> None:
        """Take symbols into the open unit of a level.

        Parameters
        ----------
        symbols : (n,) integers
            0 to 0xFEFFFFFF; `Symbols` makes such codes. uint32 arrays are fastest.
        level : int, default 1
            Above 1: symbols that belong between the names that come from below.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            No integers; out of range; no such level. Nothing was taken.
        """
        here = self._at(level)
        codes = as_codes(symbols)
        if here.names is None:
            self._feed(here, codes)
        else:
            self._feed_items(here, codes.tolist())

    def _feed_items(self, level: _Level, items: list[int | bytes]) -> None:
        """Take symbols and names into a level's open unit."""
        assert level.names is not None
        while items:
            # No more than the unit has room for: its items are then the latest that the table got,
            # and the table, which is larger than a unit, has not forgotten any.
            room = level.max_symbols - len(level.open)
            codes = level.names.encode(items[:room])
            if level.names.gone:
                self._let_go(level)
            self._feed(level, codes)
            items = items[room:]

    def _let_go(self, level: _Level) -> None:
        """Let go of the names that the table forgot.

        Their codes do not come back, so patterns made of them wait for the next look to go.
        """
        assert level.names is not None
        for item, code in level.names.gone:
            if code in level.used:
                level.stale.add(code)
            if isinstance(item, bytes):
                self._lexicon.drop(item)
        level.names.gone.clear()

    def _feed(self, level: _Level, codes: _CODES) -> None:
        while codes.size:
            part = codes[: level.max_symbols - len(level.open)]
            before = level.grammar.n_pushed
            try:
                level.grammar._feed(part)
            finally:
                # As many as it took, should it have been interrupted.
                level.open.frombytes(part[: level.grammar.n_pushed - before].tobytes())
            if len(level.open) == level.max_symbols:
                self._close(level)
            codes = codes[part.size :]

    def close(self, level: int = 1) -> None:
        """End the open unit of a level and of all below it.

        Parameters
        ----------
        level : int, default 1
            1 ends a phrase, 2 a turn, 3 a session.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            No such level.
        """
        level = check_int("level", level, low=1, high=self._n)
        for number in range(level):
            self._close(self._levels[number])
        if level == self._n and any(each.n_units > each.sessions[-1] for each in self._levels):
            for each in self._levels:
                each.end_session()

    def _close(self, level: _Level) -> None:
        unit = level.unit()
        if not unit.size:
            return
        level.matcher.scan(unit, self.n_sessions, level.n_units, level.position)
        level.open = array("I")
        level.remember(unit)
        level.grammar.push(_BORDER + level.n_units % _BORDERS)
        level.position += unit.size
        level.n_units += 1
        if level.is_time_to_look():
            self._look(level)
        if level.number < self._n:
            self._feed_items(self._levels[level.number], self._read(level, unit))

    def _read(self, level: _Level, unit: _CODES) -> list[int | bytes]:
        """How codes read: names of patterns, else items of the level."""
        slots, starts = level.matcher.read(unit)
        rest: list[Any] = unit[starts].tolist()
        if level.names is not None:
            known = level.names._items
            rest = [known[code] for code in rest]
        patterns = level.patterns
        return [
            item if slot == _NO_PATTERN else patterns[slot].name
            for slot, item in zip(slots.tolist(), rest, strict=True)
        ]

    def _look(self, level: _Level) -> None:
        """Take up the grammar's new rules as patterns."""
        level.looked = level.grammar.n_pushed
        flat = level.grammar._flat()
        lengths = flat.contents[1:, 4]
        names = flat.names()
        # Two rules can say the same by different parts.
        rules: dict[bytes, int] = {}
        for number in (np.flatnonzero(lengths <= self._max_length) + 1).tolist():
            name = names[16 * number : 16 * number + 16]
            if name not in level.slots:
                rules.setdefault(name, number)
        if not rules:
            return
        found = list(rules.items())
        n_old = len(level.patterns)
        stays = np.ones(n_old + len(found), bool)
        if level.stale:
            stays[:n_old] = [
                level.stale.isdisjoint(pattern.codes.tolist()) for pattern in level.patterns
            ]
        if stays.sum() > self._max_patterns:
            numbers = [number for _, number in found]
            saved = flat.occurrences[numbers] * (flat.contents[numbers, 4] - 1.0)
            scores = np.concatenate([level.scores(), saved / _PRIOR_UNITS])
            scores[~stays] = -1.0
            # Ties go to the old, then to the rule that is first by name: no order of dictionaries.
            ties = [b""] * n_old + [name for name, _ in found]
            order = sorted(range(stays.size), key=lambda k: (-scores[k], k >= n_old, ties[k]))
            stays[order[self._max_patterns :]] = False
            if not stays[n_old:].any():
                return
        new = []
        for (rule, number), stay in zip(found, stays[n_old:].tolist(), strict=True):
            codes = flat.expand(number) if stay else None
            # A rule can outlive, unused for long, the name of one of its symbols.
            if codes is not None and level.knows(codes):
                items = self._items(level, codes)
                name = rule if level.names is None else _name(level.number, items)
                if name not in level.by_name:
                    new.append(_Pattern(rule, name, codes, items))
        if not new:
            return
        new.sort(key=lambda pattern: pattern.name)
        self._keep(
            level, stays[:n_old].tolist(), new, np.repeat(level.newborn()[None], len(new), 0)
        )
        level.n_born += len(new)
        level.look_back(len(level.patterns) - len(new))

    def _items(self, level: _Level, codes: _CODES) -> tuple[int | bytes, ...]:
        return tuple(codes.tolist() if level.names is None else level.names.decode(codes))

    def _keep(
        self, level: _Level, stays: list[bool], new: list[_Pattern], rows: NDArray[np.int64]
    ) -> None:
        """Keep some of the patterns and add others."""
        old = level.patterns
        state = level.matcher.state[np.array(stays, bool)]
        for pattern in new:
            self._lexicon.hold(pattern.name, pattern.items)
        kept = [pattern for pattern, stay in zip(old, stays, strict=True) if stay]
        level.arrange(kept + new, np.concatenate([state, rows]))
        for pattern, stay in zip(old, stays, strict=True):
            if not stay:
                self._lexicon.drop(pattern.name)

    def read(self, symbols: Iterable[int] | NDArray[Any], level: int = 1) -> list[int | str]:
        """How a sequence of user symbols reads in the patterns of level 1, or of several levels.

        Parameters
        ----------
        symbols : (n,) integers
        level : int, default 1
            Up to which level patterns are looked for.

        Returns
        -------
        list of int or str
            Symbols, and names of patterns. Nothing is learned.
        """
        codes = as_codes(symbols)
        items: list[Any] = codes.tolist()
        for here in self._levels[: check_int("level", level, low=1, high=self._n)]:
            if here.names is not None:
                # What the level never met is in none of its patterns: any code that is none does.
                found = [here.names.find(item) for item in items]
                codes = np.array(
                    [_NO_PATTERN if code is None else code for code in found], np.uint32
                )
            slots, starts = here.matcher.read(codes)
            items = [
                items[start] if slot == _NO_PATTERN else here.patterns[slot].name
                for slot, start in zip(slots.tolist(), starts.tolist(), strict=True)
            ]
        return [_shown(item) for item in items]

    def familiarity(
        self, symbols: Iterable[int] | NDArray[Any], *, confidence: float = 0.95
    ) -> float:
        """How much of a sequence is routine.

        Parameters
        ----------
        symbols : (n,) integers
        confidence : float, default 0.95
            Of each pattern's bound, which holds however often one asks.

        Returns
        -------
        float
            The share of the symbols that are within patterns of level 1, each pattern counting as
            much as the lower bound on the share of sessions that hold it: 0 for what is new, or was
            only repeated within one session, near 1 for what almost all sessions have. 0 without
            symbols.

        Notes
        -----
        Some ten microseconds. Changes nothing.

        Examples
        --------
        >>> from midstream.meta.levels import Levels
        >>> levels = Levels(2)
        >>> for session in range(200):
        ...     levels.observe([1, 2, 3] if session < 199 else [7, 8] * 50)
        ...     levels.close(2)
        >>> round(levels.familiarity([1, 2, 3, 9]), 2), levels.familiarity([7, 8, 7, 8])
        (0.72, 0.0)
        """
        confidence = check_real("confidence", confidence, low=0.0, high=1.0)
        if not 0.0 < confidence < 1.0:
            raise ArgumentValueError(f"confidence must be between 0 and 1, got {confidence}")
        codes = as_codes(symbols)
        here = self._levels[0]
        slots, starts = here.matcher.read(codes)
        lengths = np.diff(np.append(starts, codes.size))[slots != _NO_PATTERN]
        slots = slots[slots != _NO_PATTERN]
        if not slots.size:
            return 0.0
        held, watched = here.whole_sessions(here.matcher.state[slots])
        return float(lengths @ anytime_lower_bounds(held, watched, 1.0 - confidence) / codes.size)

    def expand(self, name: str) -> tuple[int, ...]:
        """The symbols that the user fed, of which a pattern is made.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            No name; of no pattern that is known now.
        """
        try:
            items = self._lexicon.entries[bytes.fromhex(name)][1]
        except TypeError:
            raise ArgumentTypeError(f"name must be str, got {type(name).__name__}") from None
        except (KeyError, ValueError):
            raise ArgumentValueError(f"name must be of a known pattern, got {name!r}") from None
        return tuple(self._lexicon.terminals(items))

    def knowledge(
        self,
        level: int = 1,
        *,
        min_support: int = 2,
        confidence: float = 0.95,
        simultaneous: bool = False,
        anytime: bool = False,
    ) -> list[MetaKnowledge]:
        """The patterns of a level.

        Parameters
        ----------
        level : int, default 1
        min_support : int, default 2
            Patterns with fewer occurrences are left out.
        confidence : float, default 0.95
            Of each lower bound; or of all together, see `simultaneous`.
        simultaneous : bool, default False
            The bounds of one kind hold all at once with `confidence`. They are Bonferroni's over
            all patterns ever born at the level, since those reported were chosen among them.
        anytime : bool, default False
            The bounds hold at all times at once, however often and for whatever reason one asks.

        Returns
        -------
        list of MetaKnowledge
            By `gain_bits`, the largest first.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError

        Notes
        -----
        Cost: reads the level's memory once, some 0.1 seconds at 2**20 symbols. Changes nothing that
        later results depend on.
        """
        here = self._at(level)
        min_support = check_int("min_support", min_support, low=1)
        confidence = check_real("confidence", confidence, low=0.0, high=1.0)
        if not 0.0 < confidence < 1.0:
            raise ArgumentValueError(f"confidence must be between 0 and 1, got {confidence}")
        alpha = 1.0 - confidence
        if simultaneous:
            alpha /= max(1, here.n_born)
        here.matcher.settle(here.n_units - 1)
        state = here.matcher.state
        sequence = here.retained()
        retained, _, _ = here.matcher.tally(sequence)
        bits = math.log2(np.unique(sequence[sequence < _BORDER]).size + 1)
        watched = here.n_units - state[:, columns.BORN] + state[:, columns.ELSEWHERE]
        hits, trials, units = (
            state[:, column] for column in (columns.HITS, columns.TRIALS, columns.UNITS)
        )
        bound = anytime_lower_bounds if anytime else lower_bounds
        recurrence = bound(hits, trials, alpha)
        prevalence = bound(units, watched, alpha)
        sessions, sessions_watched = here.whole_sessions(state)
        by_session = bound(sessions, sessions_watched, alpha)
        lengths: dict[bytes, int] = {}
        result = []
        for slot in np.flatnonzero(state[:, columns.COUNT] >= min_support).tolist():
            pattern = here.patterns[slot]
            row = state[slot]
            n = pattern.codes.size
            terminals = self._lexicon.terminals(pattern.items)
            result.append(
                MetaKnowledge(
                    level=here.number,
                    name=pattern.name.hex(),
                    pattern=tuple(_shown(item) for item in pattern.items),
                    expansion=tuple(islice(terminals, _SHOWN)),
                    length=self._lexicon.length(pattern.items, lengths),
                    support=int(row[columns.COUNT]),
                    retained=int(retained[slot]),
                    units=int(row[columns.UNITS]),
                    watched=int(watched[slot]),
                    sessions=int(sessions[slot]),
                    sessions_watched=int(sessions_watched[slot]),
                    seen=places(row),
                    trials=int(row[columns.TRIALS]),
                    hits=int(row[columns.HITS]),
                    recurrence_lower=float(recurrence[slot]),
                    prevalence_lower=float(prevalence[slot]),
                    sessions_lower=float(by_session[slot]),
                    horizon=self._horizon,
                    confidence=confidence,
                    gain_bits=(int(retained[slot]) * (n - 1) - (n + 1)) * bits,
                    age=here.n_units - int(row[columns.BORN]),
                )
            )
        result.sort(key=lambda known: (-known.gain_bits, known.name))
        return result

    def merge(self, other: Levels) -> None:
        """Add what another process learned.

        Counts of occurrences, trials and watched units of patterns with one name add up; patterns
        that are not known here are taken up while there is room for them or they are more useful
        than others. The other's memory, open unit and open trials stay its own.

        Parameters
        ----------
        other : Levels
            With as many levels and the same `horizon` and `max_length`; its symbols must mean the
            same (`Symbols.merge` checks that).

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            No `Levels`, these themselves, or not of the same settings; nothing was changed.

        Notes
        -----
        What is merged must have been learned apart: where `other` is a copy, or is merged a second
        time, its trials count twice, and the bounds are too high.
        """
        if not isinstance(other, Levels):
            raise ArgumentTypeError(f"other must be Levels, got {type(other).__name__}")
        for name in ("n", "horizon", "max_length"):
            if getattr(self, name) != getattr(other, name):
                raise ArgumentValueError(
                    f"other must have {name}={getattr(self, name)}, got {getattr(other, name)}"
                )
        if other is self:
            # Trials that count twice would make bounds that are too high.
            raise ArgumentValueError("other must be another process's Levels, got these themselves")
        for here, there in zip(self._levels, other._levels, strict=True):
            there.matcher.settle(there.n_units - 1)
            self._merge(here, there, other._lexicon)

    def _merge(self, here: _Level, there: _Level, lexicon: _Lexicon) -> None:
        added = (columns.COUNT, columns.UNITS, columns.TRIALS, columns.HITS)
        new, rows = [], []
        state = here.matcher.state
        imported: list[bytes] = []
        room = 0
        if here.names is not None:
            # The open unit's items must stay: they become the latest, and the rest is room.
            room = here.names.max_size - len(set(here.open))
            here.names.encode(here.names.decode(here.open))
        sessions, sessions_watched = there.whole_sessions(there.matcher.state)
        for k, (pattern, theirs) in enumerate(
            zip(there.patterns, there.matcher.state, strict=True)
        ):
            slot = here.by_name.get(pattern.name)
            if slot is None and here.names is not None:
                room -= sum(item not in here.names for item in set(pattern.items))
                if room < 0:
                    continue
            row = here.newborn() if slot is None else state[slot]
            for column in added:
                row[column] += theirs[column]
            watched = there.n_units - theirs[columns.BORN] + theirs[columns.ELSEWHERE]
            row[columns.ELSEWHERE] += watched
            row[columns.SESSIONS] += sessions[k]
            row[columns.ELSEWHERE_SESSIONS] += sessions_watched[k]
            if slot is None:
                codes = pattern.codes
                if here.names is not None:
                    for item in pattern.items:
                        if isinstance(item, bytes):
                            self._import(item, lexicon)
                            imported.append(item)
                    codes = here.names.encode(pattern.items)
                new.append(_Pattern(name_of(codes), pattern.name, codes, pattern.items))
                rows.append(row)
        n_old = len(here.patterns)
        here.n_born += len(new)
        self._keep(
            here,
            [True] * n_old,
            new,
            np.array(rows, np.int64).reshape(len(rows), here.matcher.row),
        )
        for name in imported:
            self._lexicon.drop(name)
        if here.names is not None and here.names.gone:
            self._let_go(here)
        if len(here.patterns) > self._max_patterns:
            scores = here.scores()
            names = [pattern.name for pattern in here.patterns]
            order = sorted(range(len(names)), key=lambda k: (-scores[k], names[k]))
            keep = set(order[: self._max_patterns])
            self._keep(here, [k in keep for k in range(len(names))], [], here.matcher.state[:0])

    def _import(self, name: bytes, lexicon: _Lexicon) -> None:
        """Hold a name that another lexicon explains."""
        items = lexicon.entries[name][1]
        fresh = name not in self._lexicon.entries
        if fresh:
            for item in items:
                if isinstance(item, bytes):
                    self._import(item, lexicon)
        self._lexicon.hold(name, items)
        if fresh:
            for item in items:
                if isinstance(item, bytes):
                    self._lexicon.drop(item)

    def reset(self) -> None:
        """Forget everything."""
        self._clear()

    def copy(self) -> Levels:
        """The same state, with a life of its own."""
        twin = Levels(
            self._n,
            horizon=self._horizon,
            max_symbols=self._max_symbols,
            max_patterns=self._max_patterns,
            max_length=self._max_length,
        )
        twin.restore(self.snapshot())
        return twin

    __copy__ = copy

    def __deepcopy__(self, memo: Any) -> Levels:
        return self.copy()

    def __reduce__(self) -> tuple[Any, ...]:
        return _revived, (self._settings(), self.snapshot())

    def _settings(self) -> dict[str, Any]:
        return {
            "n": self._n,
            "horizon": self._horizon,
            "max_symbols": list(self._max_symbols),
            "max_patterns": self._max_patterns,
            "max_length": self._max_length,
        }

    @property
    def digest(self) -> str:
        """SHA-256 of `snapshot`, in hexadecimal."""
        return hashlib.sha256(self.snapshot()).hexdigest()

    def snapshot(self) -> bytes:
        """The whole state as bytes: equal states give equal bytes."""
        blocks = [encoded("settings", self._settings())]
        lexicon = {name.hex(): _outward(entry[1]) for name, entry in self._lexicon.entries.items()}
        blocks.append(encoded("lexicon", lexicon))
        for level in self._levels:
            level.matcher.settle(level.n_units - 1)
            head = {
                "looked": level.looked,
                "n_born": level.n_born,
                "n_units": level.n_units,
                "position": level.position,
                "sessions": list(level.sessions),
                "first_session": level.first_session,
                "rules": [pattern.rule.hex() for pattern in level.patterns],
                "names": [pattern.name.hex() for pattern in level.patterns],
                "lengths": [pattern.codes.size for pattern in level.patterns],
            }
            codes = [pattern.codes for pattern in level.patterns]
            blocks += [
                encoded("head", head),
                np.concatenate([np.empty(0, "<u4"), *codes]).astype("<u4").tobytes(),
                level.matcher.state.astype("<i8").tobytes(),
                level.retained().astype("<u4").tobytes(),
                level.unit().astype("<u4").tobytes(),
                level.grammar.snapshot(),
                b"" if level.names is None else level.names.snapshot(),
            ]
        return sealed(_MAGIC + joined(blocks))

    def restore(self, snapshot: bytes) -> None:
        """Go back to the state of a snapshot.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            No snapshot of `Levels`, a damaged one, or one of other settings; nothing is changed.
        """
        body = unsealed(snapshot, _MAGIC, "Levels")[len(_MAGIC) :]
        try:
            blocks = parted(body)
            if not blocks:
                raise _forged()
            settings = json.loads(blocks[0])
            if settings != self._settings():
                raise ArgumentValueError(
                    f"snapshot must be of the same settings, {self._settings()}, got {settings}"
                )
            if len(blocks) != 2 + 7 * self._n:
                raise _forged()
            known = {
                bytes.fromhex(name): _inward(items) for name, items in json.loads(blocks[1]).items()
            }
            levels = [
                self._restored(number, blocks[2 + 7 * number : 9 + 7 * number], known)
                for number in range(self._n)
            ]
            lexicon = _relearned(known, levels)
        except ArgumentValueError:
            raise
        # Whatever a forger wrote: keys that miss, values of other types, numbers too large.
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            raise _forged() from None
        self._lexicon, self._levels = lexicon, levels

    def _restored(
        self, number: int, blocks: list[bytes], known: dict[bytes, tuple[int | bytes, ...]]
    ) -> _Level:
        level = _Level.new(number + 1, self._max_symbols[number], self._horizon, _Lexicon())
        head = json.loads(blocks[0])
        for name in ("looked", "n_born", "n_units", "position", "first_session"):
            setattr(level, name, check_int("snapshot", head[name], low=0, high=1 << 62))
        level.sessions = array("q", head["sessions"])
        rules = [bytes.fromhex(rule) for rule in head["rules"]]
        names = [bytes.fromhex(name) for name in head["names"]]
        lengths = [check_int("snapshot", size, low=2, high=4096) for size in head["lengths"]]
        codes = np.frombuffer(blocks[1], "<u4").astype(np.uint32)
        state = np.frombuffer(blocks[2], "<i8").astype(np.int64).reshape(-1, level.matcher.row)
        unit = np.frombuffer(blocks[4], "<u4").astype(np.uint32)
        level.newest = np.frombuffer(blocks[3], "<u4").astype(np.uint32)
        level.filled = level.newest.size
        level.grammar.restore(blocks[5])
        if level.names is not None:
            level.names.restore(blocks[6])
        ordered = list(level.sessions)
        right = (
            len(rules) == len(names) == len(lengths) == len(state)
            and len(set(rules)) == len(set(names)) == len(names) <= self._max_patterns
            and all(len(name) == 16 for name in names)
            and sum(lengths) == codes.size
            and unit.size < level.max_symbols
            and not (unit.size and int(unit.max()) >= _BORDER)
            and 0 < len(ordered) <= 2 * level.max_symbols + 2
            and ordered == sorted(ordered)
            and (level.names is not None or not blocks[6])
            and all(map(_is_item, () if level.names is None else level.names._codes))
            and level.filled <= level.max_symbols
            and int(np.sum(level.newest >= _BORDER)) <= level.n_units
            and _possible(state, level)
        )
        if not right:
            raise _forged()
        if level.names is not None:
            level.names.decode(unit)
        offsets = np.cumsum([0, *lengths])
        parts = [codes[start:stop] for start, stop in pairwise(offsets)]
        patterns = [
            _Pattern(rule, name, part, known[name])
            for rule, name, part in zip(rules, names, parts, strict=True)
        ]
        for pattern in patterns:
            if not _fits(pattern, level):
                raise _forged()
        level.arrange(patterns, state)
        level.open.frombytes(unit.tobytes())
        return level

    def __repr__(self) -> str:
        told = ", ".join(
            f"{counted(level.n_units, unit_name(level.number))}, "
            f"{counted(len(level.patterns), 'pattern')}"
            for level in self._levels
        )
        return f"Levels({self._n}: {told})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{level.number}</td><td>{unit_name(level.number)}</td>"
            f"<td>{level.n_units}</td><td>{level.position}</td><td>{len(level.patterns)}</td></tr>"
            for level in self._levels
        )
        return (
            "<table><tr><th>level</th><th>unit</th><th>closed</th><th>symbols</th>"
            f"<th>patterns</th></tr>{rows}</table>"
        )


def _revived(settings: dict[str, Any], snapshot: bytes) -> Levels:
    levels = Levels(**settings)
    levels.restore(snapshot)
    return levels


def as_codes(symbols: Iterable[int] | NDArray[Any]) -> _CODES:
    """Symbols of a user as codes, checked; perhaps a view of them."""
    codes: _CODES
    # What comes symbol by symbol: bool is an int, but no symbol.
    if type(symbols) in (list, tuple) and set(map(type, symbols)) <= {int}:
        try:
            codes = np.frombuffer(array("I", symbols), np.uint32)
        except OverflowError:
            raise _no_code(min(symbols), max(symbols)) from None
        high = max(symbols, default=0)
    elif isinstance(symbols, np.ndarray):
        if symbols.dtype.kind not in "iu":
            raise ArgumentTypeError(f"symbols must be integers, got an array of {symbols.dtype}")
        if symbols.ndim != 1:
            raise ArgumentValueError(f"symbols must have one axis, got shape {symbols.shape}")
        if symbols.size and symbols.dtype != np.uint32:
            low, high = int(symbols.min()), int(symbols.max())
            if low < 0:
                raise _no_code(low, high)
        else:
            high = int(symbols.max(initial=0))
        codes = np.ascontiguousarray(symbols, np.uint32)
    else:
        try:
            listed = list(symbols)
        except TypeError:
            raise ArgumentTypeError(f"symbols must be iterable, got {symbols!r}") from None
        return as_codes([check_int("symbols", symbol) for symbol in listed])
    if high >= _BORDER:
        raise _no_code(0, high)
    return codes


def _no_code(low: int, high: int) -> ArgumentValueError:
    worst = low if low < 0 else high
    return ArgumentValueError(f"symbols must be 0 to {_BORDER - 1:#x}, got {worst}")


def _name(level: int, items: Iterable[int | bytes]) -> bytes:
    """A pattern's name above level 1: a hash of what it is made of, at any time in any process."""
    parts = [
        item if isinstance(item, bytes) else struct.pack("<I", item).ljust(16, b"\0")
        for item in items
    ]
    return hashlib.blake2s(
        b"".join(parts), digest_size=16, person=b"ms.lvl" + struct.pack("<H", level)
    ).digest()


def _shown(item: int | bytes) -> int | str:
    return item.hex() if isinstance(item, bytes) else item


def _possible(state: NDArray[np.int64], level: _Level) -> bool:
    """Whether rows can have come about, as far as anything depends on it."""
    size = level.horizon + 1
    ring = state[:, columns.RECENT + 3 * columns.SEEN :]
    latest = [columns.LAST_UNIT, columns.LAST_SESSION]
    held, watched = level.whole_sessions(state)
    return bool(
        (state[:, latest] >= -1).all()
        and (np.delete(state, latest, axis=1) >= 0).all()
        and (state < 1 << 62).all()
        and (state[:, columns.OPEN] <= size).all()
        and (state[:, columns.HEAD] < size).all()
        and (ring < level.n_units + 1).all()
        and (state[:, columns.BORN] <= level.n_units).all()
        and (state[:, columns.LAST_END] <= level.position).all()
        and (state[:, columns.HITS] <= state[:, columns.TRIALS]).all()
        and (held >= 0).all()
        and (held <= watched).all()
        and (state[:, columns.TRIALS] <= state[:, columns.UNITS]).all()
        and (
            state[:, columns.UNITS]
            <= level.n_units - state[:, columns.BORN] + state[:, columns.ELSEWHERE]
        ).all()
    )


def _is_item(item: Any) -> bool:
    if type(item) is int:
        return 0 <= item < _BORDER
    return type(item) is bytes and len(item) == 16


def _fits(pattern: _Pattern, level: _Level) -> bool:
    """Whether a pattern's names, codes and items are the same, as far as codes mean anything."""
    if len(pattern.items) != pattern.codes.size or pattern.rule != name_of(pattern.codes):
        return False
    codes = pattern.codes.tolist()
    if level.names is None:
        return pattern.items == tuple(codes) and pattern.name == pattern.rule
    known = level.names._items
    return pattern.name == _name(level.number, pattern.items) and all(
        known.get(code, item) == item for code, item in zip(codes, pattern.items, strict=True)
    )


def _relearned(known: dict[bytes, tuple[int | bytes, ...]], levels: list[_Level]) -> _Lexicon:
    """The lexicon that levels need, explained by `known`, which must hold nothing else."""
    lexicon = _Lexicon()

    def hold(name: bytes, depth: int) -> None:
        if depth > len(levels):
            raise _forged()
        if name not in lexicon.entries:
            inner = [item for item in known[name] if isinstance(item, bytes)]
            for item in inner:
                hold(item, depth + 1)
            lexicon.hold(name, known[name])
            for item in inner:
                lexicon.drop(item)
        else:
            lexicon.hold(name)

    for level in levels:
        for item in level.names._codes if level.names is not None else ():
            if isinstance(item, bytes):
                hold(item, 1)
        for pattern in level.patterns:
            if known[pattern.name] != pattern.items:
                raise _forged()
            hold(pattern.name, 1)
    if len(lexicon.entries) != len(known):
        raise _forged()
    for level in levels:
        if level.names is not None:
            level.names.lexicon = lexicon
    return lexicon


def _outward(items: Iterable[int | bytes]) -> list[int | str]:
    return [_shown(item) for item in items]


def _inward(items: Iterable[int | str]) -> tuple[int | bytes, ...]:
    return tuple(
        bytes.fromhex(item)
        if isinstance(item, str)
        else check_int("snapshot", item, low=0, high=_BORDER - 1)
        for item in items
    )


def _forged() -> ArgumentValueError:
    return ArgumentValueError("snapshot must be one that Levels made, got a forged one")
