"""Formulas over whole finite traces, 64 positions a word."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.memory import check_memory
from midstream._core.validate import check_choice, check_int, check_mapping
from midstream.logic._checks import as_formula
from midstream.logic._columns import Program, pack_masks, pack_rows, unpack_rows
from midstream.logic._flat import flatten
from midstream.logic._letters import Trace, as_columns, as_masks
from midstream.logic.formula import Formula, Predicate

__all__ = [
    "Columns",
    "evaluate",
    "evaluate_many",
    "evaluate_packed",
    "holds",
    "pack",
    "unpack",
]


class Columns:
    """A finite trace as packed columns: one bit a position for each atom.

    Parameters
    ----------
    columns : mapping of str to (n,) array_like of bool
        Name of an atom, or text of a predicate such as ``"x > 0.5"`` -> where it holds.

    Attributes
    ----------
    n : int
        Positions.
    atoms : tuple of str
    words : (n_atoms, ceil(n / 64)) uint64 ndarray
        Position i is bit i % 64 of word i // 64; not writable, bits behind the last position are 0.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        No mapping, no position, or columns that are not of bool or not of one length.

    See Also
    --------
    pack : the same from letters or from signals.

    Notes
    -----
    Eight times smaller than bool columns, and evaluated without any conversion. Immutable: threads
    may share it.

    Examples
    --------
    >>> from midstream.logic import Columns, parse
    >>> trace = Columns({"ask": [True, False, False, True], "answer": [False, True, False, False]})
    >>> trace.n, trace.atoms, trace["ask"].tolist()
    (4, ('ask', 'answer'), [True, False, False, True])
    >>> parse("ask -> F answer").evaluate(trace).tolist()
    [True, True, True, False]
    """

    __slots__ = ("_index", "atoms", "n", "words")

    n: int
    atoms: tuple[str, ...]
    words: npt.NDArray[np.uint64]

    def __init__(self, columns: Mapping[str, npt.ArrayLike]) -> None:
        check_mapping("columns", columns)
        names = tuple(columns)
        for name in names:
            if not isinstance(name, str):
                raise ArgumentTypeError(
                    f"columns must have str as keys, not {type(name).__name__} ({name!r:.40})"
                )
        rows = as_columns(columns, names)
        if rows.shape[1] == 0:
            raise ArgumentValueError("columns must have at least one position")
        self._set(names, rows.shape[1], pack_rows(rows.view(np.uint8)))

    def _set(self, atoms: tuple[str, ...], n: int, words: npt.NDArray[np.uint64]) -> None:
        words.flags.writeable = False
        self.atoms = atoms
        self.n = n
        self.words = words
        self._index = {name: index for index, name in enumerate(atoms)}

    @classmethod
    def from_words(cls, atoms: Sequence[str], words: npt.NDArray[np.uint64], n: int) -> Columns:
        """Take packed words as they are.

        Parameters
        ----------
        atoms : sequence of str
        words : (n_atoms, ceil(n / 64)) uint64 ndarray
            Copied, and bits behind the last position cleared.
        n : int
            Positions, at least 1.

        Returns
        -------
        Columns

        Examples
        --------
        >>> import numpy as np
        >>> from midstream.logic import Columns
        >>> Columns.from_words(["a"], np.array([[0b101]], dtype=np.uint64), 3)["a"].tolist()
        [True, False, True]
        """
        names = tuple(atoms)
        n = check_int("n", n, low=1)
        if len(set(names)) != len(names):
            raise ArgumentValueError(f"atoms must name each atom once, got {names!r:.80}")
        if not isinstance(words, np.ndarray) or words.dtype != np.uint64:
            raise ArgumentTypeError("words must be an array of uint64")
        if words.shape != (len(names), (n + 63) // 64):
            raise ArgumentValueError(
                f"words must be {(len(names), (n + 63) // 64)} for {len(names)} atoms and "
                f"n={n}, not {words.shape}"
            )
        made = object.__new__(cls)
        made._set(names, n, _cleared(np.array(words, order="C"), n))
        return made

    def __len__(self) -> int:
        return self.n

    def __contains__(self, name: object) -> bool:
        return name in self._index

    def __iter__(self) -> Iterator[str]:
        return iter(self.atoms)

    def __getitem__(self, name: str) -> npt.NDArray[np.bool_]:
        """The column of an atom, unpacked."""
        if name not in self._index:
            raise ArgumentValueError(f"columns have {', '.join(self.atoms)}, not {name!r}")
        index = self._index[name]
        column: npt.NDArray[np.bool_] = unpack_rows(self.words[index : index + 1], self.n)[0]
        return column

    def __repr__(self) -> str:
        return f"Columns(n={self.n}, atoms={self.atoms!r:.60})"

    def _rows(self, atoms: tuple[str, ...], missing: str) -> npt.NDArray[np.int32]:
        """The row of each atom, -1 where there is none."""
        index = [self._index.get(name, -1) for name in atoms]
        if missing == "error" and -1 in index:
            raise ArgumentValueError(f"trace must have a column for {atoms[index.index(-1)]!r}")
        return np.array(index, dtype=np.int32)


def _cleared(words: npt.NDArray[np.uint64], n: int) -> npt.NDArray[np.uint64]:
    if n % 64 and words.size:
        words[:, -1] &= np.uint64((1 << n % 64) - 1)
    return words


class _Prepared(NamedTuple):
    program: Program
    atoms: tuple[str, ...]
    predicates: tuple[Predicate | None, ...]
    positions: dict[str, int]


#: Programs live as long as their formulas; equal formulas are one object.
_programs: weakref.WeakKeyDictionary[Formula, _Prepared] = weakref.WeakKeyDictionary()


def _lowered(*formulas: Formula) -> _Prepared:
    flat = flatten(*formulas)
    program = Program(
        flat.ops, flat.left, flat.right, flat.low, flat.high, flat.roots, len(flat.atoms)
    )
    positions = {name: index for index, name in enumerate(flat.atoms)}
    return _Prepared(program, flat.atoms, flat.predicates, positions)


def _prepared(formula: Formula | str) -> _Prepared:
    if not isinstance(formula, Formula):
        formula = as_formula(formula)
    found = _programs.get(formula)
    if found is None:
        found = _programs[formula] = _lowered(formula)
    return found


def _too_short() -> ArgumentValueError:
    return ArgumentValueError("trace must have at least one position: the empty trace has no truth")


def _finished(result: npt.NDArray[Any] | None) -> npt.NDArray[Any]:
    if result is None:
        # A Poll that no other thread can reach stops only by a signal, and that was raised.
        raise KeyboardInterrupt
    return result


def _run(prepared: _Prepared, trace: Trace | Columns, missing: str) -> npt.NDArray[np.bool_]:
    """Bool (formulas, n)."""
    program = prepared.program
    if type(trace) is list or type(trace) is tuple:
        check_choice("missing", missing, ("false", "error"))
        if not trace:
            raise _too_short()
        _check_memory(program, len(trace), len(trace) // 8 * len(prepared.atoms))
        quick = program.run_letters(trace, prepared.positions)
        if quick is not None:
            return quick
    elif isinstance(trace, Columns):
        check_choice("missing", missing, ("false", "error"))
        index = trace._rows(prepared.atoms, missing)
        _check_memory(program, trace.n)
        return _finished(program.run_packed(trace.words, index, trace.n, False))
    elif isinstance(trace, Mapping):
        rows = _bool_rows(trace, prepared, missing)
        n = rows[0].size if rows else max((np.size(column) for column in trace.values()), default=0)
        if n == 0:
            raise _too_short()
        _check_memory(program, n)
        return _finished(program.run_rows(rows, n, False))
    masks = as_masks(trace, prepared.atoms, prepared.predicates, missing=missing)
    if masks.shape[0] == 0:
        raise _too_short()
    _check_memory(program, masks.shape[0])
    return _finished(program.run_masks(masks[:, None] if masks.ndim == 1 else masks, False))


def _check_memory(program: Program, n: int, columns: int = 0) -> None:
    check_memory(f"evaluation over {n} positions", int(program.bytes_needed(n)) + n + columns)


def _bool_rows(
    trace: Mapping[str, Any], prepared: _Prepared, missing: str
) -> list[npt.NDArray[np.uint8]]:
    """The bool column of each atom; those that are bool arrays already are not copied."""
    columns = [trace.get(name) for name in prepared.atoms]
    if columns and all(
        type(column) is np.ndarray
        and column.dtype == np.bool_
        and column.flags.c_contiguous
        and column.ndim == 1
        for column in columns
    ):
        sizes = {np.shape(column) for column in trace.values()}
        if len(sizes) == 1:
            check_choice("missing", missing, ("false", "error"))
            return [column.view(np.uint8) for column in columns]  # type: ignore[union-attr]
    rows = as_columns(trace, prepared.atoms, prepared.predicates, missing=missing)
    return list(rows.view(np.uint8))


def evaluate(
    formula: Formula | str,
    trace: Trace | Columns,
    times: npt.ArrayLike | None = None,
    *,
    missing: str = "false",
) -> npt.NDArray[np.bool_]:
    """Whether each suffix of a finite trace satisfies a formula.

    Parameters
    ----------
    formula : Formula or str
        Any operator: future, past, windows.
    trace : sequence of letters, (n,) array of bit masks, mapping of str to (n,) array, or Columns
        Not empty. Letters as for `Formula.holds`; a mapping holds bool columns of atoms and numeric
        columns of the signals of predicates.
    times : (n,) array_like of float, optional
        Strictly increasing, finite timestamps: windows are then distances in time. Without them,
        windows count positions.
    missing : {"false", "error"}
        What an atom counts as that a mapping does not have.

    Returns
    -------
    (n,) bool ndarray

    Raises
    ------
    ArgumentValueError, ArgumentTypeError
        The trace is empty or is none; times do not increase or are not as many.
    MemoryLimitError
        The columns that are alive at once do not fit; only formulas with very many windows or
        alternations of past and future get there.

    Notes
    -----
    Every operator takes one or a few word operations for 64 positions, whatever the length of its
    window; until and since are one addition with carry. Past operators are evaluated forwards,
    future ones backwards: one pass over the trace for each alternation. A list of sets of names,
    packed columns and contiguous bool columns are the fast forms. The program of a formula is kept
    as long as the formula. Thread-safe; long runs release the GIL and answer Ctrl-C.

    Source: operators over packed columns and until as an addition as in Valizadeh, Fijalkow and
    Berger, "LTL learning on GPUs" (2024), and in bit-vector string matching (Myers 1999).

    Examples
    --------
    >>> from midstream.logic import evaluate, parse
    >>> evaluate(parse("a U b"), [{"a"}, {"a"}, {"b"}, {"a"}]).tolist()
    [True, True, True, False]
    >>> evaluate(parse("O[1:2] b"), [{"b"}, set(), set(), set()]).tolist()
    [False, True, True, False]
    >>> import numpy as np
    >>> evaluate(parse("F[0:2] x > 1"), {"x": np.array([0.0, 0, 3])}, times=[0, 1, 5]).tolist()
    [False, False, True]
    """
    prepared = _prepared(formula)
    if times is not None:
        return _evaluate_timed(as_formula(formula), trace, times, missing)
    result: npt.NDArray[np.bool_] = _run(prepared, trace, missing)[0]
    return result


def holds(formula: Formula | str, trace: Trace | Columns, *, missing: str = "false") -> bool:
    """Whether a finite trace satisfies a formula at its first position.

    Parameters
    ----------
    formula, trace, missing
        As for `evaluate`.

    Returns
    -------
    bool

    Raises
    ------
    ArgumentValueError, ArgumentTypeError, MemoryLimitError
        As `evaluate`.

    Examples
    --------
    >>> from midstream.logic import holds, parse
    >>> holds(parse("G(ask -> F answer)"), [{"ask"}, set(), {"answer"}])
    True
    """
    return bool(_run(_prepared(formula), trace, missing)[0, 0])


def evaluate_many(
    formulas: Iterable[Formula | str], trace: Trace | Columns, *, missing: str = "false"
) -> npt.NDArray[np.bool_]:
    """Several formulas over one trace, in one go: what they share is evaluated once.

    Parameters
    ----------
    formulas : iterable of Formula
        At least one.
    trace, missing
        As for `evaluate`.

    Returns
    -------
    (n_formulas, n) bool ndarray

    Raises
    ------
    ArgumentValueError, ArgumentTypeError, MemoryLimitError
        As `evaluate`; no formula.

    Examples
    --------
    >>> from midstream.logic import evaluate_many, parse
    >>> evaluate_many([parse("F a"), parse("G a")], [{"a"}, set(), {"a"}]).tolist()
    [[True, True, True], [False, False, True]]
    """
    return _run(_lowered(*_formulas(formulas)), trace, missing)


def _formulas(formulas: Iterable[Formula | str]) -> list[Formula]:
    if isinstance(formulas, (Formula, str)) or not isinstance(formulas, Iterable):
        raise ArgumentTypeError(
            f"formulas must be several formulas, not one {type(formulas).__name__}"
        )
    listed = [as_formula(formula, f"formulas[{index}]") for index, formula in enumerate(formulas)]
    if not listed:
        raise ArgumentValueError("formulas must not be empty")
    return listed


def evaluate_packed(
    formula: Formula, columns: Columns, *, missing: str = "false"
) -> npt.NDArray[np.uint64]:
    """Evaluate packed columns to a packed column: no conversion on either side.

    Parameters
    ----------
    formula : Formula or str
    columns : Columns
    missing : {"false", "error"}
        What an atom counts as that `columns` does not have.

    Returns
    -------
    (ceil(n / 64),) uint64 ndarray
        Position i is bit i % 64 of word i // 64; bits behind the last position are 0. `unpack`
        makes bools of it.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError, MemoryLimitError
        As `evaluate`.

    Examples
    --------
    >>> from midstream.logic import evaluate_packed, pack, parse
    >>> trace = pack([{"a"}, {"b"}, {"a"}], ["a", "b"])
    >>> [bin(word) for word in evaluate_packed(parse("a & F b"), trace).tolist()]
    ['0b1']
    """
    prepared = _prepared(formula)
    if not isinstance(columns, Columns):
        raise ArgumentTypeError(f"columns must be Columns, not {type(columns).__name__}")
    check_choice("missing", missing, ("false", "error"))
    index = columns._rows(prepared.atoms, missing)
    _check_memory(prepared.program, columns.n)
    result: npt.NDArray[np.uint64] = _finished(
        prepared.program.run_packed(columns.words, index, columns.n, True)
    )[0]
    return result


def pack(trace: Trace, alphabet: Sequence[str] | Formula, *, missing: str = "false") -> Columns:
    """A trace as packed columns, to evaluate many formulas over it.

    Parameters
    ----------
    trace : sequence of letters, (n,) array of bit masks, or mapping of str to (n,) array
        As for `evaluate`.
    alphabet : sequence of str, or Formula
        The atoms; of a formula, its atoms and its predicates, which are compared with the signals
        of the trace.
    missing : {"false", "error"}
        What an atom counts as that a mapping does not have.

    Returns
    -------
    Columns

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        As `evaluate`.

    Examples
    --------
    >>> from midstream.logic import pack, parse
    >>> pack({"x": [0.1, 0.9], "stop": [False, True]}, parse("x > 0.5 R stop"))
    Columns(n=2, atoms=('x > 0.5', 'stop'))
    """
    predicates: tuple[Predicate | None, ...] = ()
    if isinstance(alphabet, Formula):
        flat = flatten(alphabet)
        names, predicates = flat.atoms, flat.predicates
    else:
        if isinstance(alphabet, str) or not isinstance(alphabet, Sequence):
            raise ArgumentTypeError(
                f"alphabet must be a sequence of str or a Formula, not {type(alphabet).__name__}"
            )
        names = tuple(alphabet)
        if len(set(names)) != len(names):
            raise ArgumentValueError(f"alphabet must name each atom once, got {names!r:.80}")
    made = object.__new__(Columns)
    if isinstance(trace, Mapping):
        rows = as_columns(trace, names, predicates, missing=missing)
        n = rows.shape[1]
        if n == 0:
            raise _too_short()
        made._set(names, n, pack_rows(rows.view(np.uint8)))
    else:
        masks = as_masks(trace, names, predicates, missing=missing)
        n = masks.shape[0]
        if n == 0:
            raise _too_short()
        made._set(names, n, pack_masks(masks[:, None] if masks.ndim == 1 else masks, len(names)))
    return made


def unpack(words: npt.NDArray[np.uint64], n: int) -> npt.NDArray[np.bool_]:
    """A packed column as bools.

    Parameters
    ----------
    words : (ceil(n / 64),) or (k, ceil(n / 64)) uint64 ndarray
    n : int
        Positions, at least 1.

    Returns
    -------
    (n,) or (k, n) bool ndarray

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        Not uint64, or not as many words as `n` positions take.

    Examples
    --------
    >>> import numpy as np
    >>> from midstream.logic import unpack
    >>> unpack(np.array([0b0110], dtype=np.uint64), 4).tolist()
    [False, True, True, False]
    """
    n = check_int("n", n, low=1)
    if not isinstance(words, np.ndarray) or words.dtype != np.uint64:
        raise ArgumentTypeError("words must be an array of uint64")
    if words.ndim not in (1, 2) or words.shape[-1] != (n + 63) // 64:
        raise ArgumentValueError(f"words must have {(n + 63) // 64} words for n={n}")
    rows = unpack_rows(np.ascontiguousarray(np.atleast_2d(words)), n)
    return rows if words.ndim == 2 else rows[0]


def _evaluate_timed(
    formula: Formula, trace: Trace | Columns, times: npt.ArrayLike, missing: str
) -> npt.NDArray[np.bool_]:
    """Windows as distances in time are the signal engine's; all else is evaluated as ever."""
    from midstream.logic.signals import as_times, evaluate_timed

    prepared = _prepared(formula)
    if not isinstance(trace, (Columns, Mapping, np.ndarray)):
        trace = list(trace)  # it is read twice
    # Also where there is no window: checks the trace, and tells its length.
    result: npt.NDArray[np.bool_] = _run(prepared, trace, missing)[0]
    as_times(times, result.size)
    if not formula.has_interval:
        return result
    if isinstance(trace, Columns):
        rows = np.zeros((len(prepared.atoms), trace.n), dtype=np.bool_)
        for row, name in zip(rows, prepared.atoms, strict=True):
            if name in trace:
                row[:] = trace[name]
    else:
        rows = as_columns(trace, prepared.atoms, prepared.predicates, missing=missing)
        if not prepared.atoms:
            rows = np.zeros((0, result.size), dtype=np.bool_)
    return evaluate_timed(formula, rows, times)
