"""The smallest formula that separates good traces from bad ones."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from midstream._core.deprecation import renamed_arguments
from midstream._core.errors import ArgumentTypeError, ArgumentValueError, UndecidedError
from midstream._core.memory import available_bytes, human_bytes
from midstream._core.validate import check_choice, check_int
from midstream.logic import _learn
from midstream.logic._checks import as_timeout
from midstream.logic._columns import pack_rows
from midstream.logic._letters import Trace, as_columns
from midstream.logic.columns import Columns
from midstream.logic.formula import Formula, Op, Predicate, atom, false, make, true

__all__ = ["LEARNING_OPERATORS", "Learned", "learn", "learn_all"]

_CODES = {
    "!": Op.NOT,
    "X[!]": Op.STRONG_NEXT,
    "N": Op.NEXT,
    "F": Op.EVENTUALLY,
    "G": Op.ALWAYS,
    "&": Op.AND,
    "|": Op.OR,
    "->": Op.IMPLIES,
    "U": Op.UNTIL,
    "xor": Op.XOR,
    "<->": Op.IFF,
    "W": Op.WEAK_UNTIL,
    "R": Op.RELEASE,
    "M": Op.STRONG_RELEASE,
    "Y": Op.YESTERDAY,
    "Z": Op.WEAK_YESTERDAY,
    "O": Op.ONCE,
    "H": Op.HISTORICALLY,
    "S": Op.SINCE,
    "T": Op.TRIGGER,
    "true": Op.TRUE,
    "false": Op.FALSE,
}

#: What formulas are made of unless the caller chooses; `learn` also knows
#: ``xor <-> W R M Y Z O H S T true false``.
LEARNING_OPERATORS = ("!", "X[!]", "N", "F", "G", "&", "|", "->", "U")

_UNARY = frozenset(
    {
        Op.NOT,
        Op.NEXT,
        Op.STRONG_NEXT,
        Op.EVENTUALLY,
        Op.ALWAYS,
        Op.YESTERDAY,
        Op.WEAK_YESTERDAY,
        Op.ONCE,
        Op.HISTORICALLY,
    }
)
#: Share of the free memory that a search takes where no limit is given.
_SHARE = 0.5


@dataclass(frozen=True)
class Learned:
    """What an exhaustive search found.

    Attributes
    ----------
    formulas : tuple of Formula
        All of the smallest size, in the order of the search; empty if there is none.
    size : int
        Their size; the largest size that was searched if there is none.
    n_solutions : int
        Solutions of that size, of which `formulas` are the first.
    n_examined : int
        Formulas that were decided, those included that a necessary condition on an operand ruled
        out in bulk.
    n_distinct : int
        Formulas below that size that the sample tells apart.
    seconds : float
        Duration of the search.
    """

    formulas: tuple[Formula, ...]
    size: int
    n_solutions: int
    n_examined: int
    n_distinct: int
    seconds: float

    @property
    def formulas_per_s(self) -> float:
        """Formulas decided in a second."""
        return self.n_examined / self.seconds if self.seconds else 0.0

    def __repr__(self) -> str:
        if not self.formulas:
            return f"<Learned: no formula up to size {self.size}; {self.n_examined} examined>"
        more = f" and {self.n_solutions - 1} more" if self.n_solutions > 1 else ""
        return (
            f"<Learned: {self.formulas[0]}{more} of size {self.size}; {self.n_examined} examined>"
        )


def learn(
    positive: Iterable[Trace | Columns],
    negative: Iterable[Trace | Columns],
    max_size: int,
    *,
    atoms: Sequence[str | Formula] | None = None,
    operators: Sequence[str] = LEARNING_OPERATORS,
    max_errors: int = 0,
    timeout_s: float | None = None,
    memory_bytes: int | None = None,
) -> Formula | None:
    """Find the smallest formula that holds on all positive traces and on no negative one.

    Parameters
    ----------
    positive, negative : iterables of traces
        Each in any form that `evaluate` takes, and not empty; one of the two may be empty.
    max_size : int
        Most nodes of the formula's tree, atoms included: ``a U b`` has 3, ``G(a -> F b)`` has 5.
    atoms : sequence of str or Formula, optional
        What formulas are made of: names, and predicates as formulas. Without it: all names that
        occur in the traces, sorted. Needed where letters are bit masks (bit i is ``atoms[i]``) or
        signals.
    operators : sequence of str
        Some of ``! X[!] N F G & | -> U xor <-> W R M Y Z O H S T true false``;
        `LEARNING_OPERATORS` by default.
    max_errors : int
        Traces that may be on the wrong side, for noisy samples.
    timeout_s : float, optional
        Seconds after which to give up.
    memory_bytes : int, optional
        Memory that the search may take; half of what is free by default.

    Returns
    -------
    Formula or None
        None: no formula of at most `max_size` nodes separates them; all were examined.

    Raises
    ------
    ArgumentValueError, ArgumentTypeError
        An empty trace, no trace at all, an unknown operator, or a trace that is both positive and
        negative while no error is allowed.
    UndecidedError
        Time or memory ran out first; the message says up to which size there is none.

    See Also
    --------
    learn_all : all smallest formulas, and figures of the search.

    Notes
    -----
    Exact: the answer is smallest. Of several, the first by this order is returned: its operator in
    the order of `operators` (constants, then atoms, for a single node), then the size of the left
    operand, then left and right operand by the same order. Of subformulas that agree at every
    position of every trace only the first is used.

    Cost: the number of formulas that the sample tells apart grows by a factor of 5 to 10 with each
    size; some 10 to 100 million formulas a second are decided. Sizes to about 10 take seconds. Each
    kept formula takes a word for 64 positions and 21 bytes. Threads may search at the same time;
    Ctrl-C stops one.

    Source: rows of truth values, unique by hash: Valizadeh, Fijalkow and Berger, "LTL learning on
    GPUs" (2024).

    Examples
    --------
    >>> from midstream.logic import learn
    >>> good = ["open write close", "open close log", "log"]
    >>> bad = ["write open close", "open close write", "write", "log write"]
    >>> def traces(texts):
    ...     return [[{name} for name in text.split()] for text in texts]
    >>> learn(traces(good), traces(bad), 6)
    Formula('G (write -> X[!] close)')
    """
    return _first(
        _learn_all(
            positive, negative, max_size, atoms, operators, max_errors, timeout_s, memory_bytes, 1
        )
    )


def _first(found: Learned) -> Formula | None:
    return found.formulas[0] if found.formulas else None


@renamed_arguments("0.2", limit="max_formulas")
def learn_all(
    positive: Iterable[Trace | Columns],
    negative: Iterable[Trace | Columns],
    max_size: int,
    *,
    atoms: Sequence[str | Formula] | None = None,
    operators: Sequence[str] = LEARNING_OPERATORS,
    max_errors: int = 0,
    timeout_s: float | None = None,
    memory_bytes: int | None = None,
    max_formulas: int = 1000,
) -> Learned:
    """Find all of the smallest formulas that separate two sets of traces.

    Parameters
    ----------
    positive, negative, max_size, atoms, operators, max_errors, timeout_s, memory_bytes
        As for `learn`.
    max_formulas : int, default 1000
        Most formulas that are returned; all are counted.

    Returns
    -------
    Learned

    Raises
    ------
    ArgumentValueError, ArgumentTypeError, UndecidedError
        As `learn`.

    Notes
    -----
    All combinations of an operator with operands that the sample tells apart: where two
    subformulas agree at every position of every trace, only the first of them is used, and of
    ``a & b`` and ``b & a`` only one.

    Examples
    --------
    >>> from midstream.logic import learn_all
    >>> found = learn_all([[{"a"}, {"b"}]], [[{"b"}, {"a"}]], 3)
    >>> found.formulas, found.size, found.n_solutions
    ((Formula('a'),), 1, 1)
    """
    most = check_int("max_formulas", max_formulas, low=1, high=10_000_000)
    return _learn_all(
        positive, negative, max_size, atoms, operators, max_errors, timeout_s, memory_bytes, most
    )


def _learn_all(
    positive: Iterable[Trace | Columns],
    negative: Iterable[Trace | Columns],
    max_size: int,
    atoms: Sequence[str | Formula] | None,
    operators: Sequence[str],
    max_errors: int,
    timeout_s: float | None,
    memory_bytes: int | None,
    limit: int,
) -> Learned:
    start = time.perf_counter()
    max_size = check_int("max_size", max_size, low=1, high=1000)
    max_errors = check_int("max_errors", max_errors, low=0, high=2**31 - 1)
    limit_s = as_timeout(timeout_s)
    seconds = -1.0 if limit_s is None else limit_s
    if memory_bytes is None:
        free = available_bytes()
        memory_bytes = 1 << 30 if free is None else int(_SHARE * free)
    memory_bytes = check_int("memory_bytes", memory_bytes, low=1, high=2**62)
    codes = _checked_operators(operators)
    goods, bads = _listed("positive", positive), _listed("negative", negative)
    if not goods and not bads:
        raise ArgumentValueError("positive and negative must not both be empty")
    leaves = _checked_atoms(atoms, goods, bads)
    if not leaves:
        if not {Op.TRUE, Op.FALSE} & set(codes):
            raise ArgumentValueError(
                "atoms must not be empty: no atom occurs in the traces, and operators have no "
                "constant"
            )
        leaves = [atom("a")]  # of no use, but rows have a width
    marks, rows = _sample(goods, bads, leaves, merge=max_errors == 0)
    search = _learn.Search(
        marks,
        rows,
        np.array(codes, dtype=np.int32),
        max_errors,
        limit,
        memory_bytes,
        seconds,
    )
    status = search.run(max_size)
    if status in (_learn.TIMEOUT, _learn.MEMORY_LIMIT):
        why = (
            f"timeout_s={timeout_s!r}"
            if status == _learn.TIMEOUT
            else f"{human_bytes(memory_bytes)} of memory"
        )
        raise UndecidedError(
            f"no formula found within {why}: none of fewer than {search.size} nodes separates the "
            f"traces, {search.examined} were examined"
        )
    if status == _learn.STOPPED:
        raise KeyboardInterrupt
    return Learned(
        formulas=_built(search, leaves) if status == _learn.FOUND else (),
        size=search.size,
        n_solutions=search.n_solutions,
        n_examined=search.examined,
        n_distinct=search.n_rows,
        seconds=time.perf_counter() - start,
    )


def _checked_operators(operators: Sequence[str]) -> list[Op]:
    if isinstance(operators, str) or not isinstance(operators, Iterable):
        raise ArgumentTypeError(f"operators must be a sequence of str, not {operators!r:.40}")
    names = list(operators)
    for name in names:
        check_choice("operators", name, tuple(_CODES))
    if not names:
        raise ArgumentValueError("operators must not be empty")
    return [_CODES[name] for name in dict.fromkeys(names)]


def _listed(name: str, traces: Iterable[Trace | Columns]) -> list[Any]:
    if isinstance(traces, (str, bytes, Mapping, Columns)) or not isinstance(traces, Iterable):
        raise ArgumentTypeError(
            f"{name} must be an iterable of traces, not {type(traces).__name__}"
        )
    listed: list[Any] = []
    for trace in traces:
        known = isinstance(trace, (Columns, Mapping, np.ndarray, list, tuple))
        if not known and isinstance(trace, Iterable) and not isinstance(trace, (str, bytes, Set)):
            trace = list(trace)
        listed.append(trace)
    return listed


def _checked_atoms(
    atoms: Sequence[str | Formula] | None, goods: list[Any], bads: list[Any]
) -> list[Formula]:
    if atoms is None:
        return [atom(name) for name in _names(goods, bads)]
    if isinstance(atoms, (str, Formula)) or not isinstance(atoms, Iterable):
        raise ArgumentTypeError(f"atoms must be a sequence of str or Formula, not {atoms!r:.40}")
    leaves: dict[Formula, None] = {}
    for index, entry in enumerate(atoms):
        leaf = entry if isinstance(entry, Formula) else atom(entry)
        if leaf.op not in (Op.ATOM, Op.PREDICATE):
            raise ArgumentValueError(f"atoms[{index}] must be an atom or a predicate, not {leaf}")
        leaves[leaf] = None
    return list(leaves)


def _names(goods: list[Any], bads: list[Any]) -> list[str]:
    names: set[str] = set()
    for trace in (*goods, *bads):
        if isinstance(trace, (Columns, Mapping)):
            names.update(trace)
        elif isinstance(trace, (list, tuple)) and not any(isinstance(x, int) for x in trace):
            for letter in trace:
                if isinstance(letter, (Set, Mapping, list, tuple)):
                    names.update(name for name in letter if isinstance(name, str))
        else:
            raise ArgumentValueError("atoms must be given where letters are bit masks")
    return sorted(names)


def _sample(
    goods: list[Any], bads: list[Any], leaves: list[Formula], *, merge: bool
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """The traces one after the other, backwards, a gap behind each; as packed rows."""
    names = tuple(leaf.atom or str(leaf.predicate) for leaf in leaves)
    predicates = tuple(leaf.predicate for leaf in leaves)
    seen: dict[tuple[int, bytes], tuple[str, int]] = {}
    pieces: list[npt.NDArray[np.bool_]] = []
    for side, traces in (("positive", goods), ("negative", bads)):
        for index, trace in enumerate(traces):
            columns = _columns(f"{side}[{index}]", trace, names, predicates)
            if merge:
                key = (columns.shape[1], columns.tobytes())
                where = seen.setdefault(key, (side, index))
                if where[0] != side:
                    raise ArgumentValueError(
                        f"{where[0]}[{where[1]}] and {side}[{index}] are the same trace over "
                        f"{', '.join(names)}: no formula separates them (max_errors allows some)"
                    )
                if where != (side, index):
                    continue
            n = columns.shape[1]
            piece = np.zeros((5 + len(names), n + 1), dtype=np.bool_)
            piece[0, :n] = True
            piece[1, n] = True
            piece[2, 0] = True
            piece[3, n - 1] = True
            piece[4, n - 1] = side == "positive"
            piece[5:, :n] = columns[:, ::-1]
            pieces.append(piece)
    packed = pack_rows(np.ascontiguousarray(np.concatenate(pieces, axis=1)).view(np.uint8))
    return packed[:5], packed[5:]


def _columns(
    where: str, trace: Any, names: tuple[str, ...], predicates: tuple[Predicate | None, ...]
) -> npt.NDArray[np.bool_]:
    if isinstance(trace, Columns):
        empty = np.zeros(trace.n, dtype=np.bool_)
        present = set(trace)
        return np.stack([trace[name] if name in present else empty for name in names])
    try:
        columns = as_columns(trace, names, predicates)
    except ArgumentTypeError as error:
        raise ArgumentTypeError(f"{where}: {error}") from None
    except ArgumentValueError as error:
        raise ArgumentValueError(f"{where}: {error}") from None
    if columns.shape[1] == 0:
        raise ArgumentValueError(f"{where} must have at least one position")
    return columns


def _built(search: _learn.Search, leaves: list[Formula]) -> tuple[Formula, ...]:
    rows, n_solutions = search.solutions()
    built: dict[int, Formula] = {}
    for index, code, left, right in rows:
        op = Op(code)
        if op == Op.ATOM:
            built[index] = leaves[left]
        elif op in (Op.TRUE, Op.FALSE):
            built[index] = true if op == Op.TRUE else false
        elif op in _UNARY:
            built[index] = make(op, (built[left],))
        else:
            built[index] = make(op, (built[left], built[right]))
    return tuple(built[index] for index, *_ in rows[len(rows) - n_solutions :])
