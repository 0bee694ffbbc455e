"""`Monitor`: what is known of a formula after every event, at the price of a table look-up."""

from __future__ import annotations

import html
import math
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import starmap
from typing import Any, Literal, Self, overload

import numpy as np
import numpy.typing as npt

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.snapshots import sealed, unsealed
from midstream._core.validate import check_choice, check_int
from midstream._core.words import counted
from midstream.logic._checks import as_formula
from midstream.logic._flat import flatten
from midstream.logic._infinite import product
from midstream.logic._letters import Letter, Trace, as_masks
from midstream.logic._monitor import MISSING, Core, Tables
from midstream.logic._ops import Op
from midstream.logic._signal import PastProgram
from midstream.logic.automaton import Automaton, compile
from midstream.logic.formula import (
    Formula,
    Predicate,
    and_,
    atom,
    eventually,
    false,
    make,
    weak_next,
)
from midstream.logic.infinite import Machine, as_alphabet, ltl3_machine, monitorability
from midstream.logic.verdict import Verdict

__all__ = ["Monitor"]

SEMANTICS = ("ltlf", "ltl3", "rv-ltl")

MAGIC = b"midstream.Monitor"
VERSION = 1
#: Magic, version, CRC-32 of the machines, position, decided, last time, numbers of states, of
#: triggers and of bytes of the windows; then the states, the triggers' states and counts, the
#: windows, and a CRC-32 of everything before it.
HEADER = struct.Struct("<17sHIQqdIIQ")


class Monitor(Core):
    """What is known of a formula after every event of one trace.

    Parameters
    ----------
    formula : Formula, str, Automaton or Machine
        What to watch, at the first position of the trace. Future and past operators, windows of
        steps, comparisons of signals.
    alphabet : sequence of str, optional
        Atoms in the order of the bits of masks, at least those of the formula. Given, a set with
        another atom is an error; by default it holds the formula's, and a set may have others.
    semantics : {"ltlf", "ltl3", "rv-ltl"}
        Which continuations count. ``"ltlf"``: finite ones; ``TRUE`` and ``FALSE`` are final, and
        the presumable verdicts say what the trace is worth if it ends now. ``"ltl3"``: infinite
        ones; ``INCONCLUSIVE`` where they differ. ``"rv-ltl"``: as ``"ltl3"``, but in place of
        ``INCONCLUSIVE`` the presumable verdict of the trace as a finite one.
    missing : {"false", "error", "unknown"}
        What an atom counts as that a mapping lacks or maps to None. Unknown, every state that is
        possible is kept.
    letters : {"all", "at_most_one", "exactly_one"} or Formula
        Which letters occur; another one is an error. Verdicts are final earlier the fewer there
        are.
    clock : {"steps", "time"}
        What windows measure: steps, or time, which each event then tells. Over time only past
        operators may have windows.
    triggers : bool
        Count in `triggers` how often premises came true.
    max_states : int
        Limit of the automaton.
    timeout_s : float, optional
        Limit of the time to make it, in seconds.

    Attributes
    ----------
    formula : Formula or None
        None where an automaton was given.
    semantics : str
    verdict : Verdict
        On the events so far; before the first one, of the empty trace.
    position : int
        Events read so far.
    decided_at : int or None
        Index of the event that made the verdict final, -1 where it was so from the start.
    state, states
        Index of the machine's state (None where several are possible), and all possible ones.

    Raises
    ------
    StateLimitError, UndecidedError
        The automaton is too large, or takes too long.
    ArgumentValueError, ArgumentTypeError
        An argument cannot be used.

    See Also
    --------
    SignalMonitor : future windows in time, robustness, and a value for every position.
    Automaton : what the monitor walks.

    Notes
    -----
    The verdict is about the *first* position. To have a past formula checked at every event, watch
    ``G (past)``; to see its value at every event, use `SignalMonitor`.

    With unknown inputs the verdict is that of all possible states where they agree, and otherwise
    ``INCONCLUSIVE``, which says nothing of the order: two states may be ``TRUE`` and
    ``PRESUMABLY_TRUE``.

    Comparisons of one signal are independent atoms, which may make verdicts final later than
    numbers would, never wrong, unless ``letters=consistent_letters(formula)`` is given.

    Short windows are states of the automaton. Past ones in time, and long ones, are kept beside it:
    constant time a step whatever their length, and the automaton reads their truth as it reads
    atoms. Verdicts are the same but for one thing: what windows hold is no reason for a final
    verdict before it makes a difference. `shortest_good` and `shortest_bad` are not known then, and
    neither unknown inputs nor restricted letters are taken.

    A step costs some tens of nanoseconds from Python with a mask, and a look-up for each atom of
    the alphabet more with a set. `feed` costs well under a nanosecond an event over up to 12 atoms
    and nine states, one and a half while the table fits the innermost cache (usual up to ten
    atoms); atoms that the formula does not read do not count. Beyond 12, a few nanoseconds for each
    atom that matters.

    One monitor is for one trace, and for one thread or task at a time: `copy` gives each its own,
    which shares the automaton.

    Examples
    --------
    >>> from midstream.logic import Monitor
    >>> monitor = Monitor("G(call -> F result)")
    >>> [monitor.step(letter).name for letter in ({"call"}, set(), {"result"})]
    ['PRESUMABLY_FALSE', 'PRESUMABLY_FALSE', 'PRESUMABLY_TRUE']
    >>> never = Monitor("G !delete")
    >>> never.step({"delete"}).name, never.decided_at
    ('FALSE', 0)

    Two failures within ten seconds end it:

    >>> guard = Monitor("G(failure -> !O[0.001:10] failure)", clock="time")
    >>> [guard.step({"failure"}, time).name for time in (1.0, 30.5, 38.0)]
    ['PRESUMABLY_TRUE', 'PRESUMABLY_TRUE', 'FALSE']
    """

    __slots__ = (
        "__weakref__",
        "_beside",
        "_max_states",
        "_missing",
        "_predicates",
        "_premises",
        "_strict",
        "_windows",
        "clock",
        "formula",
        "letters",
        "semantics",
    )

    formula: Formula | None
    semantics: str
    letters: str | Formula
    _missing: str
    _predicates: tuple[Predicate | None, ...]
    _strict: bool
    _premises: tuple[Formula, ...]
    _beside: tuple[Tables, ...]
    _windows: tuple[Formula, ...]
    clock: str
    _max_states: int

    def __new__(
        cls,
        formula: Formula | str | Automaton | Machine,
        *,
        alphabet: Sequence[str] | None = None,
        semantics: str = "ltlf",
        missing: str = "false",
        letters: str | Formula = "all",
        clock: str = "steps",
        triggers: bool = False,
        max_states: int = 100_000,
        timeout_s: float | None = None,
    ) -> Self:
        check_choice("semantics", semantics, SEMANTICS)
        check_choice("missing", missing, MISSING)
        max_states = check_int("max_states", max_states, low=1, high=1 << 24)
        predicates: tuple[Predicate | None, ...]
        premises: list[Formula] = []
        beside: tuple[Tables, ...] = ()
        source: Formula | None = None
        windows: tuple[Formula, ...] = ()
        check_choice("clock", clock, ("steps", "time"))
        if isinstance(formula, (Automaton, Machine)):
            given = "ltl3" if isinstance(formula, Machine) else "ltlf"
            if semantics != given:
                raise ArgumentValueError(
                    f"semantics must be {given!r} for a {type(formula).__name__}, got {semantics!r}"
                )
            if alphabet is not None or letters != "all" or clock != "steps" or triggers:
                raise ArgumentValueError(
                    "alphabet, letters, clock and triggers must be left out where formula is a "
                    f"{type(formula).__name__}, which has its own"
                )
            arrays = (formula.nodes, formula.roots, formula.colours)
            names = formula.alphabet
            if isinstance(formula, Automaton):
                predicates, letters = formula.predicates, formula.letters
            else:
                predicates = (None,) * len(names)
        else:
            source = as_formula(formula)
            names = as_alphabet(source, alphabet)
            predicates = flatten(source, alphabet=names).predicates
            windows = _windows_beside(source, clock)
            if windows and (missing == "unknown" or letters != "all"):
                raise ArgumentValueError(
                    "missing must not be 'unknown', and letters must be 'all', where windows are "
                    f"kept beside the automaton: {windows[0]!r:.80}"
                )
            stand_ins = _stand_ins(windows, names)
            inner = (*names, *(f.atoms[0] for f in stand_ins.values()))
            if triggers:
                premises = _premises(source)
            arrays, *others = (
                _arrays(_replaced(f, stand_ins), inner, kind, letters, max_states, timeout_s)
                for f, kind in ((source, semantics), *((_now(p), "ltlf") for p in premises))
            )
            beside = tuple(Tables(*other, len(inner)) for other in others)
        return cls._made(
            (
                Tables(*arrays, len(names) + len(windows)),
                names,
                predicates,
                missing,
                alphabet is not None,
                beside,
                windows,
                clock,
            ),
            (source, semantics, letters, tuple(premises), max_states),
        )

    @classmethod
    def _made(cls, machine: tuple[Any, ...], about: tuple[Any, ...]) -> Self:
        """A monitor at the start, of parts that were checked."""
        tables, names, predicates, missing, strict, beside, windows, clock = machine
        past = PastProgram(flatten(*windows, alphabet=names)) if windows else None
        self = super().__new__(
            cls,
            tables,
            names,
            predicates,
            MISSING.index(missing),
            strict,
            beside,
            past,
            clock == "time",
        )
        (
            self._predicates,
            self._missing,
            self._strict,
            self._beside,
            self._windows,
            self.clock,
        ) = machine[2:]
        self.formula, self.semantics, self.letters, self._premises, self._max_states = about
        return self

    def _parts(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """What `_made` takes."""
        return (
            (
                self._tables,
                self.alphabet,
                self._predicates,
                self._missing,
                self._strict,
                self._beside,
                self._windows,
                self.clock,
            ),
            (self.formula, self.semantics, self.letters, self._premises, self._max_states),
        )

    @overload
    def feed(
        self,
        letters: Trace,
        times: npt.ArrayLike | None = None,
        *,
        verdicts: Literal[True] = True,
    ) -> npt.NDArray[np.uint8]: ...
    @overload
    def feed(
        self, letters: Trace, times: npt.ArrayLike | None = None, *, verdicts: Literal[False]
    ) -> Verdict: ...
    def feed(
        self,
        letters: Trace,
        times: npt.ArrayLike | None = None,
        *,
        verdicts: bool = True,
    ) -> npt.NDArray[np.uint8] | Verdict:
        """Read many events.

        Parameters
        ----------
        letters : (n,) array of int, mapping of str to (n,) array, or iterable of letters
            Masks whose bit i is ``alphabet[i]``, read without copying where they are contiguous;
            (n, words) uint64 over more than 64 atoms. Columns by atom and signal. Or letters as
            for `step`.
        times : (n,) array_like of float, optional
            When they were, where `clock` is ``"time"``.
        verdicts : bool
            Whether to return all verdicts or the last one.

        Returns
        -------
        (n,) uint8 ndarray or Verdict
            Codes of `Verdict` after each event; or the verdict after the last one.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            A letter is none, as for `step`; the message has its index. Nothing was changed then.

        Notes
        -----
        All letters are checked, but once the verdict is final, none is looked at. Releases the GIL
        for arrays. Windows beside the automaton see every event, some tens of nanoseconds each.

        Examples
        --------
        >>> import numpy as np
        >>> from midstream.logic import Monitor, Verdict
        >>> monitor = Monitor("!b U a")
        >>> [Verdict(code).name for code in monitor.feed(np.array([0, 0, 2], dtype=np.uint8))]
        ['PRESUMABLY_FALSE', 'PRESUMABLY_FALSE', 'TRUE']
        """
        moments = None if times is None else self._as_times(times)
        if isinstance(letters, np.ndarray):
            masks = self._as_masks(letters)
        elif isinstance(letters, Mapping) and self._missing != "unknown":
            masks = as_masks(letters, self.alphabet, self._predicates, missing=self._missing)
        elif isinstance(letters, Mapping):
            names, columns = list(letters), [np.asarray(c).tolist() for c in letters.values()]
            rows = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
            return self._feed_letters(rows, verdicts, moments)
        elif isinstance(letters, Iterable) and not isinstance(letters, (str, bytes)):
            return self._feed_letters(letters, verdicts, moments)
        else:
            raise ArgumentTypeError(
                "letters must be an array of masks, a mapping of columns or a sequence of letters, "
                f"not {type(letters).__name__}"
            )
        if self.clock == "time" and moments is None:
            raise ArgumentValueError("times must be given where clock is 'time'")
        if moments is not None and len(moments) != len(masks):
            raise ArgumentValueError(
                f"times must be {len(masks)}, one for each letter, not {len(moments)}"
            )
        codes = self._feed(masks, verdicts, moments)
        return self.verdict if codes is None else codes

    def _as_times(self, times: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Times as an array; that they increase is checked where they are read."""
        if self.clock != "time":
            raise ArgumentValueError("times must be left out where clock is 'steps'")
        array = np.asarray(times)
        if array.ndim != 1 or array.dtype.kind not in "iuf":
            raise ArgumentTypeError(
                f"times must be a (n,) array of numbers, not {array.ndim}-d {array.dtype}"
            )
        return array.astype(np.float64)

    def _as_masks(self, masks: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """An array as the kernel reads it; its values are checked there."""
        wide = len(self.alphabet) > 64
        if masks.dtype.kind not in "iu" or masks.ndim != 1 + wide:
            shape = "(n, words)" if wide else "(n,)"
            raise ArgumentTypeError(
                f"letters must be a {shape} array of unsigned integers, not {masks.ndim}-d "
                f"{masks.dtype}"
            )
        words = -(-len(self.alphabet) // 64)
        if wide and (masks.dtype.itemsize != 8 or masks.shape[1] != words):
            raise ArgumentTypeError(
                f"letters must be a (n, {words}) array of uint64 over {len(self.alphabet)} atoms, "
                f"not {masks.shape} {masks.dtype}"
            )
        if masks.dtype.kind == "i":
            # The highest bit of a negative one is beyond the alphabet, but for the largest one.
            if masks.size and len(self.alphabet) >= 8 * masks.dtype.itemsize and masks.min() < 0:
                raise ArgumentValueError(f"letters must not be negative, got {masks.min()}")
            masks = masks.view(f"{masks.dtype.byteorder}u{masks.dtype.itemsize}")
        if not masks.dtype.isnative:
            masks = masks.astype(masks.dtype.newbyteorder("="))
        return np.ascontiguousarray(masks)

    def _feed_letters(
        self, letters: Iterable[Letter], verdicts: bool, moments: npt.NDArray[np.float64] | None
    ) -> npt.NDArray[np.uint8] | Verdict:
        before = self._state()
        codes: list[Verdict] = []
        if moments is not None:
            letters = list(letters)
            if len(letters) != len(moments):
                raise ArgumentValueError(
                    f"times must be {len(letters)}, one for each letter, not {len(moments)}"
                )
        try:
            if moments is None:
                codes.extend(map(self.step, letters))
            else:
                codes.extend(starmap(self.step, zip(letters, moments.tolist(), strict=True)))
        except (ArgumentValueError, ArgumentTypeError) as error:
            self._set_state(*before)
            raise type(error)(f"letters[{len(codes)}]: {error}") from None
        except BaseException:
            self._set_state(*before)
            raise
        return np.array(codes, dtype=np.uint8) if verdicts else self.verdict

    # ---- snapshots ----

    def copy(self) -> Self:
        """Another monitor at the same position, which shares the automaton.

        Examples
        --------
        >>> from midstream.logic import Monitor
        >>> monitor = Monitor("a U b")
        >>> other = monitor.copy()
        >>> other.step({"b"}).name, monitor.verdict.name
        ('TRUE', 'PRESUMABLY_FALSE')
        """
        other = type(self)._made(*self._parts())
        other._set_state(*self._state())
        return other

    def __copy__(self) -> Self:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> Self:
        return self.copy()

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (type(self), *self._parts(), self._state())

    def _digest(self) -> int:
        """CRC-32 of all that a snapshot must not be mixed up with."""
        told = (self.semantics, self.alphabet, self.clock, list(map(str, self._windows)))
        crc = zlib.crc32(repr(told).encode())
        for tables in (self._tables, *self._beside):
            for array in (tables.nodes, tables.roots, tables.colours):
                crc = zlib.crc32(array.tobytes(), crc)
        return crc

    def snapshot(self) -> bytes:
        """The position as bytes, for `restore` on a monitor of the same formula and options.

        Returns
        -------
        bytes
            Versioned, with a checksum; some dozens of bytes, whatever the length of the trace, and
            what windows beside the automaton hold.

        Examples
        --------
        >>> from midstream.logic import Monitor
        >>> monitor = Monitor("F a")
        >>> _ = monitor.step({"a"})
        >>> other = Monitor("F a")
        >>> other.restore(monitor.snapshot())
        >>> other.verdict.name, other.decided_at
        ('TRUE', 0)
        """
        position, decided, states, trigger_states, counts, last_time, windows = self._state()
        head = HEADER.pack(
            MAGIC,
            VERSION,
            self._digest(),
            position,
            decided,
            last_time,
            len(states),
            len(counts),
            len(windows),
        )
        body = head + struct.pack(
            f"<{len(states)}i{len(counts)}i{len(counts)}Q{len(windows)}s",
            *states,
            *trigger_states,
            *counts,
            windows,
        )
        return sealed(body)

    def restore(self, snapshot: bytes) -> None:
        """Go to where `snapshot` was taken.

        Parameters
        ----------
        snapshot : bytes-like

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            No snapshot, a damaged one, one of a later version, or of another formula, alphabet or
            semantics. Nothing was changed then.
        """
        data = unsealed(snapshot, MAGIC, "Monitor", least=HEADER.size)
        fields = HEADER.unpack_from(data)
        version, digest, position, decided, last_time, n_states, n_triggers, n_bytes = fields[1:]
        if version != VERSION:
            raise ArgumentValueError(f"snapshot must be of version {VERSION}, got {version}")
        layout = f"<{n_states}i{n_triggers}i{n_triggers}Q{n_bytes}s"
        if len(data) != HEADER.size + 4 * n_states + 12 * n_triggers + n_bytes:
            raise ArgumentValueError("snapshot must be whole, got a damaged one")
        if digest != self._digest():
            raise ArgumentValueError(
                "snapshot must be of a monitor with the same formula, alphabet and semantics"
            )
        *values, windows = struct.unpack_from(layout, data, HEADER.size)
        states, values = tuple(values[:n_states]), values[n_states:]
        if n_states > 1 and self._missing != "unknown":
            raise ArgumentValueError(
                "snapshot must be of one state where missing is not 'unknown', "
                f"got one of {n_states}"
            )
        self._set_state(
            position,
            decided,
            states,
            tuple(values[:n_triggers]),
            tuple(values[n_triggers:]),
            last_time,
            windows,
        )

    # ---- what it means ----

    @property
    def monitorability(self) -> str:
        """How much a monitor over infinite words can say: see `midstream.logic.monitorability`.

        Computed anew whenever asked for; some milliseconds for common formulas.
        """
        if self.formula is None:
            raise ArgumentValueError("monitorability is of formulas, and this has none")
        if self.clock == "time" and self.formula.has_interval:
            raise ArgumentValueError("monitorability is not known of windows in time")
        return monitorability(
            self.formula,
            alphabet=self.alphabet,
            letters=self.letters,
            max_states=self._max_states,
        )

    @property
    def triggers(self) -> dict[str, int]:
        """Events at which each premise held, by its text: a of ``G(a -> b)``.

        Premises of implications that stand for themselves below ``G`` and ``&``, and look at no
        future. Empty where `triggers` was false.
        """
        return dict(zip(map(str, self._premises), self._trigger_counts, strict=True))

    @property
    def vacuous(self) -> bool:
        """Whether nothing speaks against the formula, but no premise ever came true.

        Raises
        ------
        ArgumentValueError
            `triggers` was false, or the formula has no premises.

        Examples
        --------
        >>> from midstream.logic import Monitor
        >>> monitor = Monitor("G(order -> F paid)", triggers=True)
        >>> monitor.step({"paid"}).name, monitor.vacuous, monitor.triggers
        ('PRESUMABLY_TRUE', True, {'order': 0})
        """
        if not self._premises:
            raise ArgumentValueError(
                "vacuous asks for triggers=True and a formula such as G(a -> b), "
                f"got {self.formula}"
            )
        false = self.verdict in (Verdict.FALSE, Verdict.PRESUMABLY_FALSE)
        return not false and not any(self._trigger_counts)

    def shortest_good(self, *, final: bool = False) -> list[frozenset[str]] | None:
        """A shortest continuation that makes the verdict good.

        Parameters
        ----------
        final : bool
            Whether only ``TRUE`` is good, or ``PRESUMABLY_TRUE`` too: the trace may end there.

        Returns
        -------
        list of frozenset of str, or None
            The true atoms of each letter; empty where the verdict is good already; None where it
            can never be. With several possible states: good for all of them.

        Raises
        ------
        ArgumentValueError
            Windows stand beside the automaton.

        Examples
        --------
        >>> from midstream.logic import Monitor
        >>> monitor = Monitor("G(call -> X result)")
        >>> _ = monitor.step({"call"})
        >>> monitor.shortest_good(), monitor.shortest_bad(final=True)
        ([], [frozenset()])
        """
        return self._shortest((Verdict.TRUE,) if final else (Verdict.TRUE, Verdict.PRESUMABLY_TRUE))

    def shortest_bad(self, *, final: bool = False) -> list[frozenset[str]] | None:
        """A shortest continuation that makes the verdict bad.

        Parameters
        ----------
        final : bool
            Whether only ``FALSE`` is bad, or ``PRESUMABLY_FALSE`` too.

        Returns
        -------
        list of frozenset of str, or None
            As `shortest_good`.

        Raises
        ------
        ArgumentValueError
            As `shortest_good`.
        """
        return self._shortest(
            (Verdict.FALSE,) if final else (Verdict.FALSE, Verdict.PRESUMABLY_FALSE)
        )

    def _shortest(self, verdicts: tuple[Verdict, ...]) -> list[frozenset[str]] | None:
        """Breadth-first over the sets of states that are possible; one state is the usual set."""
        if self._windows:
            raise ArgumentValueError(
                "shortest continuations are not known where windows stand beside the automaton: "
                f"{self._windows[0]!r:.80}"
            )
        tables = self._tables
        colours = tables.colours.tolist()
        wanted = {int(v) for v in verdicts}
        start = self.states
        came_from: dict[tuple[int, ...], tuple[tuple[int, ...], int] | None] = {start: None}
        queue = [start]
        for states in queue:
            if all(colours[s] in wanted for s in states):
                letters: list[frozenset[str]] = []
                step = came_from[states]
                while step is not None:
                    before, mask = step
                    letters.append(
                        frozenset(a for i, a in enumerate(self.alphabet) if mask >> i & 1)
                    )
                    step = came_from[before]
                return letters[::-1]
            for target, mask in _moves(tables, states):
                if target not in came_from:
                    came_from[target] = states, mask
                    queue.append(target)
        return None

    def explain(self) -> str:
        """The verdict and its reasons, as text.

        Examples
        --------
        >>> from midstream.logic import Monitor
        >>> monitor = Monitor("G(call -> F result)", triggers=True)
        >>> _ = monitor.feed([{"call"}, set()])
        >>> print(monitor.explain())
        presumably false after 2 events: G (call -> F result)
        some continuation can still change it
        satisfied soonest by: {result}
        violated for good: never
        premise came true: call, 1 time
        """
        return "\n".join(self._sentences())

    def _sentences(self) -> list[str]:
        verdict, decided = self.verdict, self.decided_at
        events = f"{self.position} event{'s' * (self.position != 1)}"
        subject = "an automaton" if self.formula is None else f"{self._shown()}"
        lines = [f"{verdict} after {events}: {subject}"]
        if decided is not None:
            lines.append(
                "final from the start: no event can change it"
                if decided < 0
                else f"final since event {decided}: no later one can change it"
            )
        else:
            if len(self.states) > 1:
                lines.append(
                    f"inputs were unknown: {len(self.states)} states of the automaton are possible"
                )
            lines.append("some continuation can still change it")
            if not self._windows:
                lines.append(f"satisfied soonest by: {_word(self.shortest_good())}")
                lines.append(f"violated for good: {_word(self.shortest_bad(final=True))}")
        for premise, count in self.triggers.items():
            lines.append(f"premise came true: {premise}, {count} time{'s' * (count != 1)}")
        return lines

    def _shown(self) -> str:
        assert self.formula is not None
        return str(self.formula) if self.formula.size <= 1000 else repr(self.formula)

    def __repr__(self) -> str:
        subject = "an automaton" if self.formula is None else self._shown()
        return f"<Monitor of {subject}: {self.verdict} after {counted(self.position, 'event')}>"

    def _repr_html_(self) -> str:
        first, *rest = map(html.escape, self._sentences())
        return f"<b>{first}</b><ul>{''.join(f'<li>{line}</li>' for line in rest)}</ul>"


_Arrays = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.uint8]]

#: Verdict over infinite words, then over the prefix as a finite one -> that of RV-LTL (Bauer,
#: Leucker and Schallhart, "Comparing LTL semantics for runtime verification", 2010).
_RV_LTL = np.full((5, 5), int(Verdict.PRESUMABLY_FALSE), dtype=np.uint8)
_RV_LTL[:, int(Verdict.PRESUMABLY_TRUE) :] = int(Verdict.PRESUMABLY_TRUE)
_RV_LTL[int(Verdict.FALSE)] = int(Verdict.FALSE)
_RV_LTL[int(Verdict.TRUE)] = int(Verdict.TRUE)


def _arrays(
    formula: Formula,
    alphabet: tuple[str, ...],
    semantics: str,
    letters: str | Formula,
    max_states: int,
    timeout_s: float | None,
) -> _Arrays:
    """The machine whose colours are the verdicts."""
    infinite = finite = None
    if semantics != "ltlf":
        machine = ltl3_machine(
            formula,
            alphabet=alphabet,
            letters=letters,
            max_states=max_states,
            timeout_s=timeout_s,
        )
        infinite = machine.nodes, machine.roots, machine.colours
    if semantics != "ltl3":
        automaton = compile(
            formula,
            alphabet=alphabet,
            letters=letters,
            max_states=max_states,
            timeout_s=timeout_s,
        )
        finite = automaton.nodes, automaton.roots, automaton.colours
    if infinite is None:
        assert finite is not None
        return finite
    return infinite if finite is None else product(infinite, finite, _RV_LTL, max_states)


#: States that windows may cost before they are kept beside the automaton.
_WINDOW_STATES = 4096


def _windows_beside(formula: Formula, clock: str) -> tuple[Formula, ...]:
    """The largest past subformulas with windows, where these are in time or many states."""
    found: dict[Formula, None] = {}
    seen = {formula}
    stack = [formula]
    states = 1.0
    while stack:
        node = stack.pop()
        if node.has_interval and not node.has_future:
            found[node] = None
            for inner in node.nodes():
                if inner.interval is not None:
                    low, high = inner.interval
                    # With a delay, all that may happen in it is to be remembered.
                    span = low if math.isinf(high) else high
                    states *= 2.0 ** min(span, 64) if low else span + 2
            continue
        if node.interval is not None and clock == "time":
            raise ArgumentValueError(
                "clock must be 'steps' where a future operator has a window, as in "
                f"{node!r:.80}; SignalMonitor(formula) takes future windows in time"
            )
        for arg in node.args:
            if arg not in seen:
                seen.add(arg)
                stack.append(arg)
    return tuple(found) if clock == "time" or states > _WINDOW_STATES else ()


def _stand_ins(windows: tuple[Formula, ...], alphabet: tuple[str, ...]) -> dict[Formula, Formula]:
    """An atom for each window, which no atom of the alphabet is called like."""
    longest = max(map(len, alphabet), default=0)
    return {window: atom("w" * (longest + 1) + str(k)) for k, window in enumerate(windows)}


def _replaced(formula: Formula, stand_ins: dict[Formula, Formula]) -> Formula:
    """The formula with atoms in the place of its windows."""
    if not stand_ins:
        return formula
    done: dict[Formula, Formula] = dict(stand_ins)
    for node in formula.nodes():
        if node not in done:
            args = tuple(done[arg] for arg in node.args)
            done[node] = make(node.op, args, node.interval) if args else node
    return done[formula]


def _premises(formula: Formula) -> list[Formula]:
    """Left sides of implications that hold for themselves at all positions, without a future."""
    found: dict[Formula, None] = {}
    stack = [(formula, False)]
    while stack:
        node, always = stack.pop()
        if node.op == Op.AND:
            stack.extend((arg, always) for arg in reversed(node.args))
        elif node.op == Op.ALWAYS and node.interval is None:
            stack.append((node.args[0], True))
        elif node.op == Op.IMPLIES and always and not node.args[0].has_future:
            found[node.args[0]] = None
    return list(found)


def _now(premise: Formula) -> Formula:
    """A formula of traces at whose last position the premise holds."""
    return eventually(and_(premise, weak_next(false)))


def _moves(tables: Tables, states: tuple[int, ...]) -> Iterable[tuple[tuple[int, ...], int]]:
    """Sets of states that one letter leads to, with such a letter: the fewest true atoms first."""
    nodes, n_states = tables.nodes, len(tables.roots)
    colours = tables.colours
    final = (int(Verdict.FALSE), int(Verdict.TRUE))
    start = tuple(~s if colours[s] in final else int(tables.roots[s]) for s in states)
    seen = {start}
    stack = [(start, 0)]
    found: dict[tuple[int, ...], int] = {}
    while stack:
        references, mask = stack.pop()
        inner = [r for r in references if r >= 0]
        if not inner:
            if all(~r < n_states for r in references):
                target = tuple(sorted({~r for r in references}))
                if target not in found or mask.bit_count() < found[target].bit_count():
                    found[target] = mask
            continue
        variable = min(int(nodes[r, 0]) for r in inner)
        for side in (2, 1):
            child = tuple(
                int(nodes[r, side]) if r >= 0 and nodes[r, 0] == variable else r for r in references
            )
            if child not in seen:
                seen.add(child)
                stack.append((child, mask | (side - 1) << variable))
    return list(found.items())


def _word(letters: list[frozenset[str]] | None) -> str:
    if letters is None:
        return "never"
    if not letters:
        return "already"
    shown = " ".join("{" + ", ".join(sorted(letter)) + "}" for letter in letters[:10])
    return shown + (f" ... ({len(letters)} events)" if len(letters) > 10 else "")


def _unpickled(
    cls: type[Monitor], machine: tuple[Any, ...], about: tuple[Any, ...], state: tuple[Any, ...]
) -> Monitor:
    monitor = cls._made(machine, about)
    monitor._set_state(*state)
    return monitor
