"""`Grammar`: the hierarchy of what repeats in a stream of symbols, learned while it flows."""

from __future__ import annotations

import hashlib
import html
import math
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self, SupportsIndex

import numpy as np
import numpy.typing as npt

from midstream._core.deprecation import renamed_arguments
from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.snapshots import sealed, unsealed
from midstream._core.validate import check_int
from midstream._core.words import counted
from midstream.meta._grammar import MOST, Core, Flat, name_of

__all__ = ["Grammar", "Part", "Rule", "content_name"]

Ints = Sequence[SupportsIndex] | npt.NDArray[Any] | bytes | bytearray | memoryview

MAGIC = b"ms.grammar1"
#: max_symbols, max_rules, pushed, start, born, longest cascade, rules, size; then lengths of right
#: sides (uint32, the top level's first), when the rules were born (uint64), the symbols
#: (uint32) and which of them are rules (a bit each, the lowest first).
HEADER = struct.Struct("<8Q")
LARGEST = 0xFFFFFFFF
NAME_BYTES = 16


#: Parts of a right side that a rule shows of itself.
_SHOWN = 12


class Part(NamedTuple):
    """A piece of a sequence as a grammar reads it.

    Attributes
    ----------
    symbol : int or bytes
        A symbol, or the name of a rule.
    length : int
        Ints that it stands for.
    """

    symbol: int | bytes
    length: int


class Rule(NamedTuple):
    """A rule of a grammar.

    Attributes
    ----------
    name : bytes
        16 bytes that name the expansion: equal for equal expansions, in every grammar and process.
    right : tuple of int and bytes
        The right side: symbols, and names of rules.
    length : int
        Ints of the expansion.
    uses : int
        Places on right sides where it stands, at least 2.
    occurrences : int
        Places in the retained sequence that are read as this rule.
    gain_bits : float
        What the rule saves, in bits: see `Grammar`.
    born : int
        Ints that had been pushed when it was made.
    """

    name: bytes
    right: tuple[int | bytes, ...]
    length: int
    uses: int
    occurrences: int
    gain_bits: float
    born: int

    def __repr__(self) -> str:
        right = " ".join(
            p.hex()[:8] if isinstance(p, bytes) else str(p) for p in self.right[:_SHOWN]
        )
        more = " ..." if len(self.right) > _SHOWN else ""
        return (
            f"<Rule {self.name.hex()[:8]} -> {right}{more}: {counted(self.length, 'symbol')}, "
            f"{self.uses} uses, {self.occurrences} occurrences, saves {self.gain_bits:.0f} bits>"
        )


class Grammar(Core):
    """Online hierarchical induction: Sequitur over the newest symbols of a stream.

    Whatever repeats becomes a rule, and rules are made of rules. After every push no two
    neighbouring symbols stand in a second place of the grammar (digram uniqueness; places that
    overlap, as in ``x x x``, are one place), every rule is used at least twice (rule utility), and
    the grammar expands to exactly the symbols that it retains.

    Parameters
    ----------
    max_symbols : int, default 2**20
        Ints that all right sides together may have, the top level included; this bounds memory.
        Beyond it the first symbol of the top level is forgotten, with all that it stands for. At
        most 2**29.
    max_rules : int, optional
        Rules that there may be. Beyond it the oldest is forgotten likewise. By default
        ``max_symbols // 2``, which no grammar exceeds.

    Attributes
    ----------
    max_symbols, max_rules : int
    n_pushed : int
        Ints pushed so far.
    start : int
        Position of the oldest symbol that is retained, counted from 0: so many were forgotten.
    size : int
        Ints on all right sides.
    n_rules : int
        Rules, the top level not counted.
    n_born : int
        Rules that were ever made.
    longest_cascade : int
        Most rules that one push made, used or took back.
    gain_bits : float
        What the grammar saves: see below.
    memory_bytes : int
        Bytes held, without those of answers.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        A bound is no integer or out of its range.
    MemoryError
        There is no memory, even for an empty grammar.

    See Also
    --------
    content_name : the name that a rule for a sequence has.
    midstream.compare.repeats : all repeats of a sequence that is there already.
    midstream.compare.RunDetector : repetition at the end of a stream, exactly.

    Notes
    -----
    Names. A rule is named by a hash of its expansion ``x[0..n)``: the values of the polynomial
    ``sum (x[i] + 1) b**(n - 1 - i)`` modulo ``2**61 - 1`` for two fixed ``b``, and ``n``, mixed one
    to one into 16 bytes (Karp and Rabin 1987). Names of two parts make that of both, so a new rule
    costs O(1) whatever it stands for. Two different sequences of up to n symbols have one name with
    a probability of about ``(n / 2**61)**2``: a million rules of up to a million symbols hold a
    pair of the same name once in 10**13 grammars. That is chance; the bases are known, so whoever
    wants two sequences of one name can make them. Two rules of a grammar can expand to one
    sequence, and then share their name: their right sides differ.

    Gain. A rule with a right side of r symbols and u uses saves
    ``(u r - u - r) = (u - 1) (r - 1) - 1`` symbols against writing it out wherever it is used, and
    ``Rule.gain_bits`` is that times ``log2(distinct symbols + rules)``: the size that Charikar et
    al. measure grammars by, each symbol as dear as a choice among those in use. `gain_bits` of the
    grammar is ``n log2(distinct symbols) - size log2(distinct symbols + rules)``, each logarithm at
    least 1, n the length of what is retained. It is negative where nothing repeats, and since other
    rules change when one is taken away, no sum of those of the rules.

    Cost. At most 3 steps a symbol in the long run; one push in many works off what others left (see
    `longest_cascade`). Through `feed` 8 to 100 ns a symbol where the grammar fits into the caches;
    some 100 to 500 ns where a million symbols are full and what is forgotten was last read a
    million symbols ago. Two rules that come to have the same right side are united, which takes a
    walk through the grammar, some ns a symbol of it; less than once in 30,000 symbols of any data
    that we tried. Memory grows to 55 to 75 bytes for each of `max_symbols`, and no further.

    Sequitur is greedy: it finds no smallest grammar (which is NP-hard), and forgetting does not
    make it reread what is left. Deterministic: the grammar depends on the symbols alone, not on
    how they are divided among calls.

    One grammar must not be used by several threads at once; one that finds another thread feeding
    it raises `MidstreamError`. `feed` and long answers release the GIL.

    References
    ----------
    C. G. Nevill-Manning and I. H. Witten, "Identifying hierarchical structure in sequences: a
    linear-time algorithm", Journal of Artificial Intelligence Research 7 (1997), 67-82.
    M. Charikar et al., "The smallest grammar problem", IEEE Transactions on Information Theory 51
    (2005), 2554-2576.
    R. M. Karp and M. O. Rabin, "Efficient randomized pattern-matching algorithms", IBM Journal of
    Research and Development 31 (1987), 249-260.

    Examples
    --------
    >>> from midstream.meta import Grammar
    >>> grammar = Grammar()
    >>> grammar.feed(b"pease porridge hot, pease porridge cold")
    >>> [bytes(grammar.expand(rule).tolist()) for rule in grammar.rules(1)]
    [b'pease porridge ']
    >>> bytes(grammar.expand().tolist())
    b'pease porridge hot, pease porridge cold'
    """

    __slots__ = ()

    # Cython's own constructor takes positions; this one says what is wrong.
    def __new__(
        cls, *, max_symbols: SupportsIndex = 1 << 20, max_rules: SupportsIndex | None = None
    ) -> Self:
        symbols = check_int("max_symbols", max_symbols, low=1, high=MOST)
        most = max(1, symbols // 2)
        rules = most if max_rules is None else check_int("max_rules", max_rules, low=1, high=MOST)
        return super().__new__(cls, symbols, rules)

    def __init__(
        self, *, max_symbols: SupportsIndex = 1 << 20, max_rules: SupportsIndex | None = None
    ) -> None:
        pass

    # ---- symbols in ----

    def feed(self, ints: Ints) -> None:
        """Take several symbols, in order.

        Parameters
        ----------
        ints : (n,) array of integers, bytes, or sequence of int
            Each 0 to 2**32 - 1. An array of uint32 is read as it is.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            It is none of these, or a symbol is out of range. Nothing was changed then.
        KeyboardInterrupt, MemoryError
            Stopped, or out of memory. The symbols before were taken: `n_pushed` says how many.

        Notes
        -----
        Releases the GIL, and looks for Ctrl-C every 262,144 symbols.

        Examples
        --------
        >>> import numpy as np
        >>> from midstream.meta import Grammar
        >>> grammar = Grammar()
        >>> grammar.feed(np.arange(1000) % 10)
        >>> grammar.feed([0, 1, 2])
        >>> grammar.n_pushed, grammar.n_rules, grammar.size
        (1003, 7, 26)
        """
        self._feed(_as_symbols("ints", ints))

    # ---- what was learned ----

    def expand(self, rule: Rule | bytes | str | None = None) -> npt.NDArray[np.uint32]:
        """The symbols that a rule, or the whole grammar, stands for.

        Parameters
        ----------
        rule : Rule, bytes or str, optional
            A rule or its name, as for `find`. By default everything that is retained: the symbols
            pushed from position `start` on.

        Returns
        -------
        (length,) ndarray of uint32

        Raises
        ------
        ArgumentValueError
            There is no rule of this name.
        ArgumentTypeError
            `rule` is no rule and no name.
        MemoryLimitError
            The symbols cannot fit into memory.

        Notes
        -----
        O(size + length). Once written out the grammar is kept so until the next push, and further
        questions about it cost less.

        Examples
        --------
        >>> from midstream.meta import Grammar
        >>> grammar = Grammar()
        >>> grammar.feed([1, 2, 3, 1, 2, 3])
        >>> grammar.expand().tolist()
        [1, 2, 3, 1, 2, 3]
        """
        flat = self._flat()
        if rule is None:
            return flat.expand(0)
        return flat.expand(int(self._numbers("rule", rule, flat)[0]))

    @renamed_arguments("0.2", most="max_rules")
    def rules(self, max_rules: SupportsIndex | None = None) -> list[Rule]:
        """The rules.

        Parameters
        ----------
        max_rules : int, optional
            Only so many, those with the largest gain; the longer, then the earlier of equal ones.

        Returns
        -------
        list of Rule
            Where `max_rules` is left out, each rule before those that it uses: those that the top
            level uses come first, from left to right.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            `max_rules` is no integer or negative.

        Notes
        -----
        O(size), and some 4 us a rule returned.

        Examples
        --------
        >>> from midstream.meta import Grammar
        >>> grammar = Grammar()
        >>> grammar.feed(b"abcdbcabcd")
        >>> for rule in grammar.rules():
        ...     print(bytes(grammar.expand(rule).tolist()), rule.uses, rule.occurrences)
        b'abcd' 2 2
        b'bc' 2 3
        """
        flat = self._flat()
        if max_rules is None:
            return self._made(flat, range(1, flat.n_rules + 1))
        return self._made(flat, self._largest(flat, check_int("max_rules", max_rules, low=0)))

    def top(self) -> list[Part]:
        """The top level: how the retained sequence reads in rules.

        Returns
        -------
        list of Part
            ``(symbol or name of a rule, symbols it stands for)``, the oldest first.

        Examples
        --------
        >>> from midstream.meta import Grammar
        >>> grammar = Grammar()
        >>> grammar.feed([1, 2, 7, 1, 2])
        >>> [part.length for part in grammar.top()], grammar.top()[1].symbol
        ([2, 1, 2], 7)
        """
        flat = self._flat()
        end = int(flat.offsets[1])
        return _parts(flat, flat.symbols[:end], flat.kinds[:end])

    def find(self, name: bytes | str) -> Rule | None:
        """The rule of a name.

        Parameters
        ----------
        name : bytes or str
            16 bytes, as `Rule.name` and `content_name` give them, or 32 hexadecimal digits, as
            `MetaKnowledge.name` does.

        Returns
        -------
        Rule or None
            The most used of that name, the first of `rules` among these; None where there is none.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            `name` is neither, or not as long.

        Examples
        --------
        >>> from midstream.meta import Grammar, content_name
        >>> grammar = Grammar()
        >>> grammar.feed([1, 2, 3, 1, 2, 3])
        >>> grammar.find(content_name([1, 2, 3])).right
        (1, 2, 3)
        >>> grammar.find(content_name([3, 1])) is None
        True
        """
        flat = self._flat()
        numbers = _with_name(flat, _check_name("name", name))
        return self._made(flat, numbers[:1].tolist())[0] if len(numbers) else None

    def positions(self, rule: Rule | bytes | str) -> npt.NDArray[np.uint64]:
        """Where a rule occurs in what is retained.

        Parameters
        ----------
        rule : Rule, bytes or str
            A rule or its name, as for `find`; other rules of that name count, too.

        Returns
        -------
        (n,) ndarray of uint64
            Positions of first symbols, counted from the first symbol ever pushed, ascending. Only
            places that are read as this rule: the sequence can stand elsewhere across rules.

        Raises
        ------
        ArgumentValueError
            There is no rule of this name.
        ArgumentTypeError
            `rule` is no rule and no name.

        Notes
        -----
        O(size + the symbols of those rules that hold it).

        Examples
        --------
        >>> from midstream.meta import Grammar, content_name
        >>> grammar = Grammar()
        >>> grammar.feed(b"abcdbcabcd")
        >>> grammar.positions(content_name(b"bc")).tolist()
        [1, 4, 7]
        """
        flat = self._flat()
        numbers = self._numbers("rule", rule, flat)
        wanted = np.zeros(flat.n_rules + 1, np.uint8)
        wanted[numbers] = 1
        found = flat.positions(wanted, int(flat.occurrences[numbers].sum()))
        return found + np.uint64(self.start)

    def parse(self, ints: Ints) -> list[Part]:
        """How another sequence reads in the rules.

        From left to right, at each place the longest rule whose expansion follows, and otherwise
        the symbol alone. Nothing is learned.

        Parameters
        ----------
        ints : (n,) array of integers, bytes, or sequence of int

        Returns
        -------
        list of Part
            ``(symbol or name of a rule, symbols it stands for)``.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            As `feed`.
        KeyboardInterrupt
            Stopped.

        Notes
        -----
        Expansions are compared by their names' hashes, so it is right but for the odds above.
        O(rules log rules), and for each part the rules that begin with its first two symbols.

        Examples
        --------
        >>> from midstream.meta import Grammar
        >>> grammar = Grammar()
        >>> grammar.feed(b"abcdbcabcd")
        >>> [part.length for part in grammar.parse(b"xabcdabcbc")]
        [1, 4, 1, 2, 2]
        """
        flat = self._flat()
        return _parts(flat, *flat.parse(_as_symbols("ints", ints)))

    @property
    def gain_bits(self) -> float:
        """What the grammar saves against writing the retained symbols one by one, in bits."""
        flat = self._flat()
        distinct = _distinct(flat)
        plain = (self.n_pushed - self.start) * _bits(distinct)
        return plain - self.size * _bits(distinct + flat.n_rules)

    def merge(self, *others: Grammar) -> list[Rule]:
        """The rules of several grammars, joined by name.

        Parameters
        ----------
        others : Grammar
            Of other streams or processes, over the same symbols.

        Returns
        -------
        list of Rule
            One for each name, with `uses`, `occurrences` and `gain_bits` summed and the rest as in
            the first grammar that has it; the largest gain first, then by name. A table, no
            grammar: what each saw elsewhere is counted, not read again.

        Raises
        ------
        ArgumentTypeError
            Something else was given.

        Examples
        --------
        >>> from midstream.meta import Grammar
        >>> one, other = Grammar(), Grammar()
        >>> one.feed(b"abcxabc")
        >>> other.feed(b"abcyabczabc")
        >>> [(rule.length, rule.uses) for rule in one.merge(other)]
        [(3, 5)]
        """
        joined: dict[bytes, Rule] = {}
        for position, grammar in enumerate((self, *others)):
            if not isinstance(grammar, Grammar):
                raise ArgumentTypeError(
                    f"others[{position - 1}] must be a Grammar, got {grammar!r:.40}"
                )
            for rule in grammar.rules():
                known = joined.get(rule.name)
                if known is not None:
                    rule = known._replace(
                        uses=known.uses + rule.uses,
                        occurrences=known.occurrences + rule.occurrences,
                        gain_bits=known.gain_bits + rule.gain_bits,
                    )
                joined[rule.name] = rule
        return sorted(joined.values(), key=lambda rule: (-rule.gain_bits, rule.name))

    def check(self) -> None:
        """Look at everything: both invariants, the index, the counts, the names.

        Raises
        ------
        AssertionError
            Something is wrong, which is a defect of this library. The message says what.

        Notes
        -----
        O(size), some milliseconds for a large grammar.

        Examples
        --------
        >>> from midstream.meta import Grammar
        >>> grammar = Grammar()
        >>> grammar.feed(b"abab" * 10)
        >>> grammar.check()
        """
        wrong = self._wrong()
        if wrong is not None:
            raise AssertionError(wrong)

    # ---- pictures ----

    @renamed_arguments("0.2", most="max_rules")
    def to_dot(
        self, max_rules: SupportsIndex = 40, *, label: Callable[[int], str] | None = None
    ) -> str:
        """The hierarchy as a graph in the language of Graphviz.

        Parameters
        ----------
        max_rules : int, default 40
            Rules to draw: those with the largest gain.
        label : callable, optional
            Text of a symbol; by default its number.

        Returns
        -------
        str
            A digraph: an arrow from each rule to each rule on its right side, with how often it
            stands there if not once. Rules that are not drawn appear as dots in right sides.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            `max_rules` is no integer or negative, or `label` cannot be called.

        Examples
        --------
        >>> from midstream.meta import Grammar
        >>> grammar = Grammar()
        >>> grammar.feed(b"abab")
        >>> print(grammar.to_dot(label=chr))
        digraph grammar {
          node [shape=box, fontname=monospace];
          top [label="4 symbols"];
          r1 [label="R1 = a b\\n2 uses, 2 symbols"];
          top -> r1 [label="2"];
        }
        """
        if label is not None and not callable(label):
            raise ArgumentTypeError(f"label must be callable, got {label!r:.40}")
        text = str if label is None else label
        limit = check_int("max_rules", max_rules, low=0)
        flat = self._flat()
        numbers = sorted(self._largest(flat, limit))
        drawn = {number: f"R{place}" for place, number in enumerate(numbers, 1)}
        lines = [
            "digraph grammar {",
            "  node [shape=box, fontname=monospace];",
            f'  top [label="{self.n_pushed - self.start} symbols"];',
        ]
        for number, name in drawn.items():
            right = _right(flat, number)
            shown = [drawn.get(s, "...") if kind else _quoted(text(s)) for s, kind in right[:12]]
            lines.append(
                f'  {name.lower()} [label="{name} = {" ".join(shown)}{" ..." * (len(right) > 12)}'
                f'\\n{flat.uses[number]} uses, {flat.contents[number, 4]} symbols"];'
            )
        for number, name in {0: "top", **drawn}.items():
            counts = Counter(s for s, kind in _right(flat, number) if kind and s in drawn)
            for target, count in counts.items():
                note = f' [label="{count}"]' if count > 1 else ""
                lines.append(f"  {name.lower()} -> {drawn[target].lower()}{note};")
        return "\n".join([*lines, "}"])

    def __repr__(self) -> str:
        return (
            f"<Grammar: {self.n_pushed - self.start} of "
            f"{counted(self.n_pushed, 'symbol')} in {self.size}, "
            f"{counted(self.n_rules, 'rule')}>"
        )

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td><code>{rule.name.hex()[:8]}</code></td><td>{rule.length}</td>"
            f"<td>{rule.uses}</td><td>{rule.occurrences}</td><td>{rule.gain_bits:.0f}</td>"
            f"<td><code>{html.escape(_preview(self.expand(rule)))}</code></td></tr>"
            for rule in self.rules(10)
        )
        return (
            f"<p>{html.escape(repr(self))}</p><table><tr><th>rule</th><th>length</th><th>uses</th>"
            f"<th>occurrences</th><th>gain, bits</th><th>symbols</th></tr>{rows}</table>"
        )

    # ---- state ----

    def snapshot(self) -> bytes:
        """Everything as bytes, for `restore`.

        Returns
        -------
        bytes
            Versioned, with a checksum; about 4 bytes for each of `size` and 12 for each rule. Equal
            grammars give equal bytes.

        Examples
        --------
        >>> from midstream.meta import Grammar
        >>> grammar, other = Grammar(), Grammar()
        >>> grammar.feed(b"abcabc")
        >>> other.restore(grammar.snapshot())
        >>> other.size, other.snapshot() == grammar.snapshot()
        (5, True)
        """
        flat = self._flat()
        counters = (self.n_pushed, self.start, self.n_born, self.longest_cascade)
        head = HEADER.pack(self.max_symbols, self.max_rules, *counters, flat.n_rules, self.size)
        parts = (
            np.diff(flat.offsets).astype("<u4"),
            flat.born[1:].astype("<u8"),
            flat.symbols.astype("<u4"),
            np.packbits(flat.kinds, bitorder="little"),
        )
        return sealed(b"".join([MAGIC, head, *(part.tobytes() for part in parts)]))

    def restore(self, snapshot: bytes) -> None:
        """Become what the grammar was when `snapshot` was taken.

        Parameters
        ----------
        snapshot : bytes-like

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            No snapshot, a damaged or forged one, or one of a grammar with other bounds. Nothing was
            changed then.

        Notes
        -----
        O(size): everything is checked that `check` looks at. Pushing goes on as it would have.
        """
        data = unsealed(snapshot, MAGIC, "Grammar", least=len(MAGIC) + HEADER.size)
        symbols, rules, pushed, start, born, longest, n_rules, size = HEADER.unpack_from(
            data, len(MAGIC)
        )
        if (symbols, rules) != (self.max_symbols, self.max_rules):
            raise ArgumentValueError(
                f"snapshot must be of a grammar with max_symbols={self.max_symbols} and "
                f"max_rules={self.max_rules}, got one with {symbols} and {rules}"
            )
        packed = (size + 7) // 8
        at = len(MAGIC) + HEADER.size
        plausible = (
            len(data) == at + 4 * (n_rules + 1) + 8 * n_rules + 4 * size + packed
            and size <= symbols
            and n_rules <= min(rules, size // 2)
            and start <= pushed
            and n_rules <= born <= 3 * pushed
            and longest <= 3 * pushed
        )
        if not plausible or not self._restored(
            data, at, n_rules, size, (pushed, start, born, longest)
        ):
            raise ArgumentValueError("snapshot must be of a grammar, got one that says none")

    def _restored(
        self, data: bytes, at: int, n_rules: int, size: int, counters: tuple[int, ...]
    ) -> bool:
        """Whether the arrays in `data` say a grammar; then it is ours."""
        lengths = np.frombuffer(data, "<u4", n_rules + 1, at)
        at += 4 * (n_rules + 1)
        born = np.zeros(n_rules + 1, np.uint64)
        born[:n_rules] = np.frombuffer(data, "<u8", n_rules, at)
        at += 8 * n_rules
        symbols = np.zeros(size + 1, np.uint32)
        symbols[:size] = np.frombuffer(data, "<u4", size, at)
        bits = np.unpackbits(np.frombuffer(data, np.uint8, -1, at + 4 * size), bitorder="little")
        offsets = np.zeros(n_rules + 2, np.uint64)
        np.cumsum(lengths, out=offsets[1:])
        if int(offsets[-1]) != size or bits[size:].any() or (born > counters[0]).any():
            return False
        kinds = np.zeros(size + 1, np.uint8)
        kinds[:size] = bits[:size]
        return self._load(symbols, kinds, offsets, born, counters)

    @property
    def digest(self) -> str:
        """SHA-256 of `snapshot`, as 64 hexadecimal digits."""
        return hashlib.sha256(self.snapshot()).hexdigest()

    def copy(self) -> Self:
        """Another grammar that goes on from here by itself.

        Examples
        --------
        >>> from midstream.meta import Grammar
        >>> grammar = Grammar()
        >>> grammar.feed(b"abab")
        >>> other = grammar.copy()
        >>> other.push(7)
        >>> grammar.n_pushed, other.n_pushed
        (4, 5)
        """
        other = type(self)(max_symbols=self.max_symbols, max_rules=self.max_rules)
        other.restore(self.snapshot())
        return other

    def __copy__(self) -> Self:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> Self:
        return self.copy()

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (type(self), self.max_symbols, self.max_rules, self.snapshot())

    # ---- parts of the above ----

    def _saved(self, flat: Flat) -> npt.NDArray[np.float64]:
        """Bits that each rule saves, by number."""
        right = np.diff(flat.offsets).astype(np.float64)
        symbols: npt.NDArray[np.float64] = (flat.uses.astype(np.float64) - 1) * (right - 1) - 1
        return symbols * _bits(_distinct(flat) + flat.n_rules)

    def _largest(self, flat: Flat, most: int) -> list[int]:
        """Numbers of the rules that save most, the longer and then the first of equal ones."""
        saved = self._saved(flat)[1:]
        lengths = flat.contents[1:, 4].astype(np.int64)
        order = np.lexsort((np.arange(len(saved)), -lengths, -saved))[:most]
        return [int(number) for number in order + 1]

    def _made(self, flat: Flat, numbers: Sequence[int]) -> list[Rule]:
        """Rules by number."""
        if not numbers:
            return []
        names = flat.names()
        saved = self._saved(flat).tolist()
        made = []
        for number in numbers:
            right = tuple(
                names[symbol * NAME_BYTES : (symbol + 1) * NAME_BYTES] if kind else symbol
                for symbol, kind in _right(flat, number)
            )
            made.append(
                Rule(
                    names[number * NAME_BYTES : (number + 1) * NAME_BYTES],
                    right,
                    int(flat.contents[number, 4]),
                    int(flat.uses[number]),
                    int(flat.occurrences[number]),
                    saved[number],
                    int(flat.born[number]),
                )
            )
        return made

    def _numbers(self, name: str, rule: Rule | bytes | str, flat: Flat) -> npt.NDArray[np.int64]:
        """Numbers of the rules that have the name of `rule`; there are some."""
        wanted = _check_name(name, rule.name if isinstance(rule, Rule) else rule)
        numbers = _with_name(flat, wanted)
        if len(numbers) == 0:
            raise ArgumentValueError(f"{name} must be a rule of this grammar, got {wanted.hex()}")
        return numbers


def content_name(ints: Ints) -> bytes:
    """The name that a rule has which expands to a sequence.

    Parameters
    ----------
    ints : (n,) array of integers, bytes, or sequence of int
        Each 0 to 2**32 - 1.

    Returns
    -------
    bytes
        16 of them, the same on every machine and in every release: see `Grammar`.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        It is none of these, or a symbol is out of range.

    Notes
    -----
    O(n), about 5 ns a symbol. Thread-safe; releases the GIL.

    Examples
    --------
    >>> from midstream.meta import content_name
    >>> content_name([1, 2, 3]).hex()
    '32c14389afecd962be9254e60068d0a9'
    """
    return name_of(_as_symbols("ints", ints))


def _unpickled(cls: type[Any], max_symbols: int, max_rules: int, snapshot: bytes) -> Any:
    grammar = cls(max_symbols=max_symbols, max_rules=max_rules)
    grammar.restore(snapshot)
    return grammar


def _as_symbols(name: str, ints: Ints) -> npt.NDArray[np.uint32]:
    """The symbols as an array of uint32."""
    if isinstance(ints, (bytes, bytearray)):
        return np.frombuffer(ints, np.uint8).astype(np.uint32)
    if isinstance(ints, str) or not (isinstance(ints, Sequence) or hasattr(ints, "__array__")):
        raise ArgumentTypeError(
            f"{name} must be integers in an array or a sequence, or bytes, "
            f"got {type(ints).__name__} ({ints!r:.40})"
        )
    try:
        given = np.asarray(ints)
    except ValueError as error:
        raise ArgumentTypeError(f"{name} must be a sequence of int: {error}") from None
    if given.ndim != 1:
        raise ArgumentValueError(f"{name} must be one-dimensional, got shape {given.shape}")
    if given.dtype == np.uint32:
        return np.ascontiguousarray(given)
    if given.dtype.kind not in "iu" and given.size:
        _refuse_first(name, ints)
        raise ArgumentTypeError(f"{name} must be integers, got an array of {given.dtype}")
    if given.size and not (given.min() >= 0 and given.max() <= LARGEST):
        bad = int(np.flatnonzero((given < 0) | (given > LARGEST))[0])
        raise ArgumentValueError(f"{name}[{bad}] must be from 0 to {LARGEST}, got {given[bad]}")
    return np.ascontiguousarray(given, np.uint32)


def _refuse_first(name: str, ints: Any) -> None:
    """Say which of the values is no symbol, where they are not one array of numbers."""
    if not isinstance(ints, np.ndarray) or ints.dtype == object:
        for position, value in enumerate(ints):
            check_int(f"{name}[{position}]", value, low=0, high=LARGEST)


def _check_name(name: str, value: object) -> bytes:
    if isinstance(value, str):
        # As `MetaKnowledge.name` has it.
        try:
            value = bytes.fromhex(value)
        except ValueError:
            raise ArgumentValueError(
                f"{name} must be {2 * NAME_BYTES} hexadecimal digits if str, got {value!r:.40}"
            ) from None
    if not isinstance(value, bytes):
        raise ArgumentTypeError(
            f"{name} must be a Rule or its name, got {type(value).__name__} ({value!r:.40})"
        )
    if len(value) != NAME_BYTES:
        raise ArgumentValueError(f"{name} must be {NAME_BYTES} bytes, got {len(value)}")
    return value


def _with_name(flat: Flat, name: bytes) -> npt.NDArray[np.int64]:
    """Numbers of the rules of a name, the most used first, then the lowest."""
    names = np.frombuffer(flat.names(), "<u8").reshape(-1, 2)
    numbers = np.flatnonzero((names == np.frombuffer(name, "<u8")).all(axis=1))
    numbers = numbers[numbers > 0].astype(np.int64)  # the top level is no rule
    return numbers[np.argsort(-flat.uses[numbers].astype(np.int64), kind="stable")]


def _parts(flat: Flat, symbols: npt.NDArray[np.uint32], kinds: npt.NDArray[np.uint8]) -> list[Part]:
    names = flat.names()
    lengths = np.where(kinds, flat.contents[np.where(kinds, symbols, 0), 4], np.uint64(1))
    return [
        Part(names[symbol * NAME_BYTES : (symbol + 1) * NAME_BYTES] if kind else symbol, length)
        for symbol, kind, length in zip(
            symbols.tolist(), kinds.tolist(), lengths.tolist(), strict=True
        )
    ]


def _distinct(flat: Flat) -> int:
    """Different terminals on right sides."""
    return len(np.unique(flat.symbols[flat.kinds == 0]))


def _bits(choices: int) -> float:
    """Bits of a choice, at least 1."""
    return math.log2(max(2, choices))


def _right(flat: Flat, number: int) -> list[tuple[int, int]]:
    """A right side: symbols or numbers of rules, and which they are."""
    part = slice(int(flat.offsets[number]), int(flat.offsets[number + 1]))
    return list(zip(flat.symbols[part].tolist(), flat.kinds[part].tolist(), strict=True))


def _quoted(text: str) -> str:
    """Text within a label of Graphviz."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\\\n")


def _preview(symbols: npt.NDArray[np.uint32]) -> str:
    shown = " ".join(map(str, symbols[:12].tolist()))
    return f"{shown} ..." if len(symbols) > 12 else shown
