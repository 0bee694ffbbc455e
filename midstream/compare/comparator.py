"""Comparisons with a cache that is keyed by what the sequences hold."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from numbers import Number
from types import MappingProxyType
from typing import Any, Final, NamedTuple, cast

import numpy as np

from midstream._core.errors import ArgumentTypeError
from midstream._core.validate import check_choice, check_int
from midstream.compare.results import CacheInfo

__all__ = ["Comparator"]


class _Measure(NamedTuple):
    """How the arguments of a measure are understood, and whether their order matters."""

    symbolic: bool
    symmetric: Callable[[Mapping[str, Any]], bool]


def _always(params: Mapping[str, Any]) -> bool:
    return True


def _equal_weights(params: Mapping[str, Any]) -> bool:
    """Insertion and deletion cost the same: then the way back costs what the way there does."""
    weights = params.get("weights", (1, 1, 1))
    return isinstance(weights, tuple) and len(weights) == 3 and weights[0] == weights[1]


def _is_equal_cost(params: Mapping[str, Any]) -> bool:
    """Symbols are welcome to dtw if it costs 0 or 1 to match them."""
    cost = params.get("cost")
    return isinstance(cost, str) and cost == "equal"


_NUMERIC: Final = _Measure(False, _always)

#: Public functions of midstream.compare that take two sequences and return a number.
_MEASURES: Final[Mapping[str, _Measure]] = MappingProxyType(
    {
        "euclidean": _NUMERIC,
        "dtw": _NUMERIC,
        "wdtw": _NUMERIC,
        "ddtw": _NUMERIC,
        "adtw": _NUMERIC,
        "soft_dtw": _NUMERIC,
        "lcss": _NUMERIC,
        "erp": _NUMERIC,
        "edr": _NUMERIC,
        "msm": _NUMERIC,
        "twe": _NUMERIC,
        "frechet": _NUMERIC,
        "levenshtein": _Measure(True, _equal_weights),
        "lcs": _Measure(True, _always),
    }
)

#: Bytes up to which an array is its own key; a longer one is known by its digest.
_SHORT = 64
#: The same for symbols, whose hashes Python takes faster than a digest; they stay in memory.
_SHORT_SYMBOLS = 1024
_MISSING: Final = object()


class _Unkeyed(Exception):  # noqa: N818  # control flow, caught in this file
    """An argument whose content cannot be made a key; the measure itself is to judge it."""


class _Key:
    """A key whose hash is taken once, and outside the lock."""

    __slots__ = ("parts", "value")

    def __init__(self, parts: tuple[Any, ...]) -> None:
        self.parts = parts
        self.value = hash(parts)

    def __hash__(self) -> int:
        return self.value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.parts == other.parts


def _digest(content: Any) -> bytes:
    # 32 bytes: two sequences with one digest are not found by trying, not on purpose either.
    return hashlib.blake2b(content, digest_size=32).digest()


def _array_snapshot(copied: np.ndarray[Any, Any]) -> tuple[Any, tuple[Hashable, ...]]:
    content = copied.tobytes() if copied.nbytes <= _SHORT else _digest(copied)
    return copied, ("array", copied.dtype.str, copied.shape, content)


def _numeric_snapshot(value: Any) -> tuple[Any, tuple[Hashable, ...]]:
    """A copy of a numeric series that nobody else can change, and its key."""
    if type(value) is np.ndarray:
        if value.dtype.kind not in "biuf":
            raise _Unkeyed
        return _array_snapshot(value.copy())
    if isinstance(value, np.ma.MaskedArray):
        raise _Unkeyed
    try:
        copied = np.array(value, order="C")
    except (TypeError, ValueError):
        raise _Unkeyed from None
    if copied.dtype.kind not in "biuf":
        raise _Unkeyed
    return _array_snapshot(copied)


def _symbolic_snapshot(value: Any) -> tuple[Any, tuple[Hashable, ...]]:
    """The same of a sequence of symbols. Equal symbols make equal keys, for they compare alike."""
    kind = type(value)
    if kind is np.ndarray and value.dtype.kind in "biuf":
        return _array_snapshot(value.copy())
    if kind is array and value.typecode not in "uw":
        return _array_snapshot(np.array(value))
    symbols: Any
    if kind is str:
        symbols = value
    elif kind in (bytes, bytearray):
        symbols = bytes(value)
    elif kind in (list, tuple):
        symbols = tuple(value)
    else:
        raise _Unkeyed
    if len(symbols) > _SHORT_SYMBOLS:
        # The digest alone has to stay in memory. Other symbols than these must, to be compared.
        if kind is str:
            return symbols, ("str digest", _digest(symbols.encode("utf-32-le", "surrogatepass")))
        if type(symbols) is bytes:
            return symbols, ("bytes digest", _digest(symbols))
        if set(map(type, symbols)) == {int}:
            with contextlib.suppress(OverflowError):
                return symbols, ("int digest", _digest(array("q", symbols)))
    # The type, too: what compares bytes with str warns under `python -b`.
    return symbols, (type(symbols).__name__, symbols)


def _param_key(value: Any, nested: bool = False) -> Hashable:
    """Key of a parameter. Types count here: where 1 is right, True can be an error."""
    if isinstance(value, np.ndarray):
        return _numeric_snapshot(value)[1]
    if isinstance(value, (list, tuple)) and not nested:
        return (type(value), tuple(_param_key(item, True) for item in value))
    if value is None or isinstance(value, (Number, str, np.generic)):
        return (type(value), cast(Hashable, value))
    raise _Unkeyed


class Comparator:
    """Comparisons that remember their results.

    Every measure of `midstream.compare` that takes two sequences and returns a number is a method
    with the same arguments: `euclidean`, `dtw`, `wdtw`, `ddtw`, `adtw`, `soft_dtw`, `lcss`, `erp`,
    `edr`, `msm`, `twe`, `frechet`, `levenshtein`, `lcs`; `compare` takes the measure by name.

    Parameters
    ----------
    maxsize : int or None, default 1024
        Results kept; those not asked for longest go first. 0 keeps none, None has no limit.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        `maxsize` is neither None nor an integer of at least 0.

    Notes
    -----
    A result is found again by what the sequences hold: their dtype, shape and values, for symbols
    their equality, together with the measure and its parameters. So a list that was changed is
    another one, a copy is the same, and ``compare(y, x)`` finds what ``compare(x, y)`` computed
    where the measure is symmetric. Errors are not kept; neither are comparisons of what cannot be
    told apart by content, such as subclasses of arrays and sequences with a type of their own.

    A call that finds its result costs 5 to 10 microseconds, and a copy and a hash of both
    sequences: 1 to 2 ns a byte of an array. So it pays for elastic measures from some hundred
    samples on; `euclidean` of any length, and `levenshtein` of short text, are faster computed. A
    result takes some 500 bytes, and keeps symbols alive: all but str, bytes and int in sequences of
    more than 1024, which are known by a BLAKE2b digest of 32 bytes, as arrays are.

    Thread-safe. Results are computed without the lock: two threads that miss at the same time both
    compute, and get the same.

    Examples
    --------
    >>> from midstream.compare import Comparator
    >>> comparator = Comparator()
    >>> comparator.maxsize
    1024
    >>> comparator.cache_info()
    CacheInfo(hits=0, misses=0, maxsize=1024, currsize=0)
    """

    def __init__(self, maxsize: int | None = 1024) -> None:
        self._maxsize = None if maxsize is None else check_int("maxsize", maxsize, low=0)
        # Reentrant, as looking up symbols runs their own __eq__, which may do anything.
        self._lock = threading.RLock()
        self._results: OrderedDict[_Key, Any] = OrderedDict()
        self._hits = 0
        self._misses = 0

    @property
    def maxsize(self) -> int | None:
        """Results kept at most (int); None for no limit."""
        return self._maxsize

    def compare(self, x: Any, y: Any, metric: str = "dtw", **params: Any) -> Any:
        """Compare two sequences by a measure given by name.

        Parameters
        ----------
        x, y : sequences
            As the measure takes them.
        metric : str, default "dtw"
            Name of the measure.
        **params
            Its keywords.

        Returns
        -------
        float or int
            What the measure returns.

        Raises
        ------
        ArgumentValueError
            No such measure.
        Exception
            Whatever the measure raises, each time.
        """
        if not isinstance(metric, str):
            raise ArgumentTypeError(f"metric must be str, got {metric!r}")
        measure = _MEASURES[check_choice("metric", metric, _MEASURES)]
        key = None
        if self._maxsize != 0:
            try:
                symbolic = measure.symbolic or _is_equal_cost(params)
                snapshot = _symbolic_snapshot if symbolic else _numeric_snapshot
                (x_copy, x_key), (y_copy, y_key) = snapshot(x), snapshot(y)
                key = self._key(metric, measure.symmetric(params), x_key, y_key, params)
            except _Unkeyed:
                pass
        if key is None:
            return self._compute(metric, x, y, params)
        found = self._look_up(key)
        if found is not _MISSING:
            return found
        # The copies: should somebody change x now, the result still belongs to the key.
        result = self._compute(metric, x_copy, y_copy, params)
        # Numbers only, for nobody can change them.
        if isinstance(result, (int, float)):
            self._keep(key, result)
        return result

    @staticmethod
    def _key(
        metric: str,
        symmetric: bool,
        x_key: tuple[Hashable, ...],
        y_key: tuple[Hashable, ...],
        params: Mapping[str, Any],
    ) -> _Key:
        settings = tuple((name, _param_key(params[name])) for name in sorted(params))
        try:
            first, second = _Key(x_key), _Key(y_key)
            # Any order serves. Where hashes are equal both orders are kept, which is no error.
            if symmetric and second.value < first.value:
                first, second = second, first
            return _Key((metric, first, second, settings))
        except TypeError:  # a symbol that is not hashable
            raise _Unkeyed from None

    def _compute(self, metric: str, x: Any, y: Any, params: Mapping[str, Any]) -> Any:
        with self._lock:
            self._misses += 1
        function = getattr(importlib.import_module("midstream.compare"), metric)
        return function(x, y, **params)

    def _look_up(self, key: _Key) -> Any:
        with self._lock:
            found = self._results.get(key, _MISSING)
            if found is not _MISSING:
                self._hits += 1
                self._touch(key)
            return found

    def _touch(self, key: _Key) -> None:
        """Make it the newest."""
        # A symbol's __eq__ can have cleared the cache meanwhile.
        with contextlib.suppress(KeyError):
            self._results.move_to_end(key)

    def _keep(self, key: _Key, result: Any) -> None:
        with self._lock:
            self._results[key] = result
            self._touch(key)
            while self._maxsize is not None and len(self._results) > self._maxsize:
                self._results.popitem(last=False)

    def cache_info(self) -> CacheInfo:
        """Tell what the cache has done since it was made or cleared.

        Returns
        -------
        CacheInfo
        """
        with self._lock:
            return CacheInfo(self._hits, self._misses, self._maxsize, len(self._results))

    def cache_clear(self) -> None:
        """Forget all results, and set the counts to 0."""
        with self._lock:
            self._results.clear()
            self._hits = self._misses = 0

    def __repr__(self) -> str:
        return f"Comparator(maxsize={self._maxsize})"

    def __reduce__(self) -> tuple[type[Comparator], tuple[int | None]]:
        """Pickled and copied without its results."""
        return type(self), (self._maxsize,)

    def euclidean(self, x: Any, y: Any, **params: Any) -> float:
        """`midstream.compare.euclidean`, remembered."""
        return cast(float, self.compare(x, y, "euclidean", **params))

    def dtw(self, x: Any, y: Any, **params: Any) -> float:
        """`midstream.compare.dtw`, remembered."""
        return cast(float, self.compare(x, y, "dtw", **params))

    def wdtw(self, x: Any, y: Any, **params: Any) -> float:
        """`midstream.compare.wdtw`, remembered."""
        return cast(float, self.compare(x, y, "wdtw", **params))

    def ddtw(self, x: Any, y: Any, **params: Any) -> float:
        """`midstream.compare.ddtw`, remembered."""
        return cast(float, self.compare(x, y, "ddtw", **params))

    def adtw(self, x: Any, y: Any, **params: Any) -> float:
        """`midstream.compare.adtw`, remembered."""
        return cast(float, self.compare(x, y, "adtw", **params))

    def soft_dtw(self, x: Any, y: Any, **params: Any) -> float:
        """`midstream.compare.soft_dtw`, remembered."""
        return cast(float, self.compare(x, y, "soft_dtw", **params))

    def lcss(self, x: Any, y: Any, **params: Any) -> float:
        """`midstream.compare.lcss`, remembered."""
        return cast(float, self.compare(x, y, "lcss", **params))

    def erp(self, x: Any, y: Any, **params: Any) -> float:
        """`midstream.compare.erp`, remembered."""
        return cast(float, self.compare(x, y, "erp", **params))

    def edr(self, x: Any, y: Any, **params: Any) -> float:
        """`midstream.compare.edr`, remembered."""
        return cast(float, self.compare(x, y, "edr", **params))

    def msm(self, x: Any, y: Any, **params: Any) -> float:
        """`midstream.compare.msm`, remembered."""
        return cast(float, self.compare(x, y, "msm", **params))

    def twe(self, x: Any, y: Any, **params: Any) -> float:
        """`midstream.compare.twe`, remembered."""
        return cast(float, self.compare(x, y, "twe", **params))

    def frechet(self, x: Any, y: Any, **params: Any) -> float:
        """`midstream.compare.frechet`, remembered."""
        return cast(float, self.compare(x, y, "frechet", **params))

    def levenshtein(self, a: Any, b: Any, **params: Any) -> int:
        """`midstream.compare.levenshtein`, remembered."""
        return cast(int, self.compare(a, b, "levenshtein", **params))

    def lcs(self, a: Any, b: Any, **params: Any) -> int:
        """`midstream.compare.lcs`, remembered."""
        return cast(int, self.compare(a, b, "lcs", **params))
