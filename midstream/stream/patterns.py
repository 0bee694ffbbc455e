r"""Many regular expressions over a text that arrives in pieces.

Why not hyperscan, whose streaming mode is made for this: it has no build for Windows; it tells the
ends of all matches, but where they start only for patterns that are small enough (20 for secrets
and commands are refused as too large); ``\b`` knows ASCII alone there, and positions are bytes;
and a call of it from Python for a token of 4 characters takes five times as long as `feed` here,
0.28 against 0.06 microseconds (``peers_patterns`` in ``asv_benchmarks``). `re` cannot be fed: over
the whole text at once, these patterns take it ten times as long, one after the other.
The automaton comes from `midstream._core.regex`, which the rules of `midstream.logic` use as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from midstream._core.errors import ArgumentTypeError, ArgumentValueError, ExpressionError
from midstream._core.regex import CHAR, Pattern
from midstream._core.validate import check_int, check_mapping, check_text
from midstream.stream._patterns import PatternScanner, PatternTable

__all__ = ["Match", "PatternSet", "Scanner"]


class Match(NamedTuple):
    """One place where a pattern was found.

    Parameters
    ----------
    name : str
        Which pattern.
    start, end : int
        Characters (code points) of the text since its beginning, end exclusive.
    """

    name: str
    start: int
    end: int


class PatternSet:
    r"""Several patterns that are looked for together, in any number of texts at once.

    Parameters
    ----------
    patterns : Mapping of str to str
        Name -> regular expression: literals, ``.``, ``[a-z]``, ``[^a-z]``, ``\d \w \s`` and their
        opposites, groups ``( )`` and ``(?: )``, ``|``, ``* + ? {m} {m,} {m,n}`` and the same with
        ``?`` behind for as few as possible, ``^`` and ``$`` (the very ends of the text),
        ``\A \Z \b \B``, ``\xhh \uhhhh \Uhhhhhhhh``, and at the start flags ``(?ims)`` as in `re`.
        No back references and no look-around: what is left takes time linear in the text.
    early : bool, default True
        When to tell a match. True: at the first character at which it is certain that there is
        one, with the end that it has by then. False: at the first character from which on nothing
        that follows can change where it starts and ends.
    max_behind : int, default 256
        How many characters to wait for a longer match when a shorter one is there and nothing has
        been added to it: ``a(.*b)?`` would have to wait for the end of the line.
    memory_limit_bytes : int, default 8 MiB
        For the automaton that all scanners share, up to 2 GiB. Beyond it, states are forgotten and
        found anew.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument is of the wrong type or out of range, or a pattern matches the empty text and
        would be found everywhere.
    ExpressionError
        No such pattern; the message shows the place.

    Notes
    -----
    For each pattern alone the matches are those of ``re.finditer`` over the whole text: from left
    to right, none overlapping the one before, each the one that `re` prefers among those with its
    start. What is told, and behind which character, does not depend on the pieces. With `early`
    there is one match for each of `re`, told as soon as something has matched behind the match
    before; should `re` come to prefer another one, it starts earlier or ends later than what was
    told. Two things differ from `re`: ``$`` is the end alone, not also before a last line feed
    (write ``\n?$``), and inside a repetition, what can be empty does not end it.

    Deterministic states are made as a text asks for them and shared by all scanners, which may
    run in different threads. A character costs one look into a table whatever the number of
    patterns: 0.06 microseconds for a token of 4 characters and 20 patterns (``asv_benchmarks`` has
    the run beside `re` and hyperscan). A character for which a state is still missing costs some
    microseconds a pattern.

    Examples
    --------
    >>> patterns = PatternSet({"key": r"\bsk-\w{4,}", "drop": r"(?i)drop\s+table"})
    >>> scanner = patterns.scanner()
    >>> [scanner.feed(piece) for piece in ("the s", "k-12", "34", "5 Drop", "  ", "Tables")]
    [(), (), [Match(name='key', start=4, end=11)], (), (), [Match(name='drop', start=13, end=24)]]
    >>> whole = PatternSet({"key": r"\bsk-\w{4,}"}, early=False).scanner()
    >>> [whole.feed(piece) for piece in ("the s", "k-12", "34", "5 Drop")]
    [(), (), (), [Match(name='key', start=4, end=12)]]
    """

    def __init__(
        self,
        patterns: Mapping[str, str],
        *,
        early: bool = True,
        max_behind: int = 256,
        memory_limit_bytes: int = 8 << 20,
    ) -> None:
        parts: dict[str, Pattern] = {}
        for name, text in check_mapping("patterns", patterns).items():
            if not isinstance(name, str):
                raise ArgumentTypeError(f"patterns must have names of str, got {name!r}")
            try:
                parts[name] = Pattern(check_text(f"patterns[{name!r}]", text))
            except ExpressionError as error:
                raise ExpressionError(
                    f"patterns[{name!r}]: {error}".partition("\n")[0],
                    text=error.text,
                    position=error.position,
                ) from None
        if len(parts) > _MAX_PATTERNS:
            raise ArgumentValueError(
                f"patterns must be at most {_MAX_PATTERNS}, got {len(parts)} patterns"
            )
        if not isinstance(early, bool):
            raise ArgumentTypeError(f"early must be True or False, got {early!r}")
        if sum(map(_named_chars, parts.values())) > _MAX_NAMED_CHARS:
            raise ArgumentValueError(
                f"patterns must tell at most {_MAX_NAMED_CHARS} characters and ranges apart"
            )
        self._patterns = {name: pattern.text for name, pattern in parts.items()}
        self._early = early
        self._max_behind = check_int("max_behind", max_behind, low=1, high=1 << 20)
        self._limit = check_int("memory_limit_bytes", memory_limit_bytes, low=1 << 16, high=1 << 31)
        self._table = PatternTable(list(parts.items()), Match, memory_limit_bytes=self._limit)
        for name in self._table.empties():
            raise ArgumentValueError(
                f"patterns[{name!r}] must not match the empty text, which is everywhere, "
                f"got {parts[name].text!r:.80}"
            )

    @property
    def patterns(self) -> dict[str, str]:
        """Name -> regular expression."""
        return dict(self._patterns)

    @property
    def early(self) -> bool:
        """Whether matches are told when they are certain to be, not when they are over."""
        return self._early

    @property
    def memory_bytes(self) -> int:
        """Bytes of what all scanners share, about."""
        return self._table.memory_bytes

    def scanner(self) -> Scanner:
        """Scan one more text.

        Returns
        -------
        Scanner
            At the beginning of its text; 5 microseconds.
        """
        return Scanner(self._table, early=self._early, max_behind=self._max_behind)

    def find(self, text: str) -> list[Match]:
        """Look through a whole text.

        Returns
        -------
        list of Match
            In the order in which a scanner tells them.
        """
        scanner = self.scanner()
        return [*scanner.feed(check_text("text", text)), *scanner.finish()]

    def __repr__(self) -> str:
        return f"<PatternSet of {len(self._patterns)} patterns>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._patterns, self._early, self._max_behind, self._limit)


class Scanner(PatternScanner):
    r"""Look for the patterns of a set in one text; `PatternSet.scanner` makes it.

    Attributes
    ----------
    n_chars : int
        Characters so far.
    held : int
        How many of them, at the end, may still be part of a match: what is before them is decided.
    memory_bytes : int
        Bytes of this scanner alone: some hundred, and while a match may still grow, 4 for each
        character of at most `max_behind`.

    Notes
    -----
    Not thread-safe; the scanners of one set are independent of one another. What a second thread
    asks of one while the first is at it raises MidstreamError.

    Methods
    -------
    feed(text)
        Take the next piece, of any length; the matches that its characters made certain, in the
        order of these characters. TypeError if `text` is no str.
    finish()
        Take note that the text is over; the matches that this made certain, by start. The scanner
        is as new then.
    holding()
        Name and start of what may still become a match from furthest back, or None.
    under_way()
        Name and start of each match that is there, but may come to end later or start earlier.
    reset()
        Be as new, whatever came: the next character is the first of a text.

    Examples
    --------
    >>> scanner = PatternSet({"digits": r"\d+"}, early=False).scanner()
    >>> scanner.feed("room 10"), scanner.held, scanner.under_way()
    ((), 2, [('digits', 5)])
    >>> scanner.feed("1 is free"), scanner.held
    ([Match(name='digits', start=5, end=8)], 0)
    """

    __slots__ = ()


_MAX_PATTERNS = 1000
#: Each may make a few classes of characters, of which there are 2**16.
_MAX_NAMED_CHARS = 10_000


def _named_chars(pattern: Pattern) -> int:
    classes = {node[1].key() for node in pattern.nodes if node[0] == CHAR}
    return sum(len(chars) + 2 * len(ranges) for _, chars, ranges, _ in classes)


def _rebuild(
    patterns: Mapping[str, str], early: bool, max_behind: int, memory_limit_bytes: int
) -> PatternSet:
    return PatternSet(
        patterns, early=early, max_behind=max_behind, memory_limit_bytes=memory_limit_bytes
    )
