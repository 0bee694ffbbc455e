"""Comparing sequences and finding patterns in them, with arguments as clients send them."""

from __future__ import annotations

import heapq
import inspect
import math
import re
from collections.abc import Hashable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

import midstream.compare as measures
from midstream._core.validate import did_you_mean
from midstream.apps.answers import Comparison, PatternMatches, RepeatedPattern
from midstream.compare import Comparator, repeats
from midstream.errors import ArgumentTypeError, ArgumentValueError, MidstreamError

__all__ = ["METRICS", "as_elements", "compare_sequences", "find_pattern", "words_of"]

#: Measures of two sequences by their names in `midstream.compare`, `correlation`, and the names
#: that other programs give to some of them.
METRICS: Final[Mapping[str, str]] = MappingProxyType(
    {
        **{
            name: name
            for name in (
                "dtw",
                "lcs",
                "levenshtein",
                "correlation",
                "euclidean",
                "wdtw",
                "ddtw",
                "adtw",
                "soft_dtw",
                "lcss",
                "erp",
                "edr",
                "msm",
                "twe",
                "frechet",
            )
        },
        "edit": "levenshtein",
        "edit_distance": "levenshtein",
        "pearson": "correlation",
    }
)

#: Scripts that are written without spaces: each letter is a word.
_SPACELESS = r"\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
#: What ends a word: spaces, controls, punctuation. All else is a letter, marks of vowels too.
_BREAKS = (
    r"\s\x00-\x1f!-/:-@\[-\^`{-\xa9\xab-\xb1\xb4\xb6-\xb8\xbb\xbf\u060c\u061b\u061f\u0964\u0965"
    r"\u2000-\u206f\u3000-\u303f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
)
#: Longer ones are cut, so that a text's words take no more memory than a few times the text.
_WORD = re.compile(rf"[{_SPACELESS}]|[^{_BREAKS}{_SPACELESS}]{{1,64}}")
#: What is shown of a discovery.
_MOST_REPEATS = 50
_MOST_SHOWN = 64
_MOST_PLACES = 100
_MOST_POSITIONS = 10_000


def words_of(text: str) -> list[str]:
    """Words of a text in lower case, without punctuation; letters of scripts without spaces.

    Words of more than 64 letters are cut.

    Examples
    --------
    >>> words_of("Don't panic: 42!")
    ['don', 't', 'panic', '42']
    >>> words_of("हिन्दी, 你好")
    ['हिन्दी', '你', '好']
    """
    return _WORD.findall(text.lower())


Codes = NDArray[np.int64]


class Elements(NamedTuple):
    """A checked sequence: numbers or points as an array, else a list of symbols."""

    unit: str
    values: NDArray[np.float64] | list[Hashable]
    symbols: list[Hashable]

    @property
    def length(self) -> int:
        return len(self.values)


def as_elements(name: str, sequence: Any, most: int, *, unit: str = "words") -> Elements:
    """Check a sequence of numbers, points, or symbols, or a text.

    Parameters
    ----------
    name : str
        What messages call it.
    sequence : str, sequence or array
        A text is taken as its words or characters; finite numbers as a series; lists of equally
        many numbers as points; anything else hashable as symbols.
    most : int
        Elements that it may have.
    unit : {"words", "characters"}
        Of a text.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        Neither a text nor a sequence; too long; elements that cannot be compared; NaN or infinity.
    """
    if isinstance(sequence, str):
        # A word has a character at least: longer texts need not be looked at.
        if unit == "characters":
            _check_length(name, len(sequence), most)
            letters: list[Hashable] = list(sequence)
            return Elements(unit, letters, letters)
        if len(sequence) > 100 * most:
            _check_length(name, len(sequence) // 100, most)
        words: list[Hashable] = [*words_of(sequence)]
        _check_length(name, len(words), most)
        return Elements(unit, words, words)
    if isinstance(sequence, np.ndarray):
        _check_length(name, len(sequence) if sequence.ndim else 0, most)
        sequence = sequence.tolist()
    if not isinstance(sequence, (list, tuple)):
        raise ArgumentTypeError(
            f"{name} must be a text, or a list of numbers or texts, got {type(sequence).__name__}"
        )
    _check_length(name, len(sequence), most)
    symbols: list[Hashable] = []
    numeric = points = bool(sequence)
    for index, item in enumerate(sequence):
        kind = type(item)
        if kind is list or kind is tuple:
            numeric = False
            points = points and all(type(x) in (int, float) for x in item)
            item = _tuple(name, index, item)
        elif kind is float and not math.isfinite(item):
            raise ArgumentValueError(f"{name}[{index}] must be finite, got {item!r}")
        else:
            points = False
            numeric = numeric and kind in (int, float)
            if not (item is None or kind in (str, int, float, bool, bytes)):
                try:
                    hash(item)
                except TypeError:
                    raise ArgumentTypeError(
                        f"{name}[{index}] must be a number or a text, got {kind.__name__}"
                    ) from None
        symbols.append(item)
    try:
        if numeric:
            return Elements("numbers", np.array(symbols, np.float64), symbols)
        if points and len({len(item) for item in symbols}) == 1 and symbols[0]:  # type: ignore[arg-type]
            _check_length(name, sum(map(len, symbols)), 2 * most)  # type: ignore[arg-type]
            return Elements("points", np.array(symbols, np.float64), symbols)
    except OverflowError:
        raise ArgumentValueError(f"{name} holds an integer too large for a number") from None
    return Elements("symbols", symbols, symbols)


def _tuple(name: str, index: int, item: Sequence[Any]) -> tuple[Any, ...]:
    for value in item:
        if isinstance(value, float) and not math.isfinite(value):
            raise ArgumentValueError(f"{name}[{index}] must hold finite numbers, got {value!r}")
        if isinstance(value, (list, dict, set, tuple)):
            raise ArgumentTypeError(
                f"{name}[{index}] must hold numbers or texts, got {type(value).__name__}"
            )
    return tuple(item)


def _check_length(name: str, length: int, most: int) -> None:
    if length > most:
        raise ArgumentValueError(f"{name} must have at most {most:,} elements, got {length:,}")


def compare_sequences(
    comparator: Comparator,
    first: Elements,
    second: Elements,
    metric: str,
    params: Mapping[str, Any],
) -> Comparison:
    """Compare two sequences by a measure of `METRICS`; see `Agent.compare`."""
    name = METRICS.get(metric)
    if name is None:
        raise ArgumentValueError(f"metric must be one of {', '.join(METRICS)}, got {metric!r}")
    _check_settings(name, params)
    lengths = (first.length, second.length)
    unit = first.unit if first.unit == second.unit else "symbols"
    sense = {"lcs": "common", "correlation": "correlation"}.get(name, "distance")
    value: Any = None
    reason: str | None = None
    relative: float | None = None
    if name in ("levenshtein", "lcs"):
        value = _measured(comparator, *_numbered(first, second), name, params)
        if "weights" not in params and "cutoff" not in params and max(lengths):
            common = value if name == "lcs" else max(lengths) - value
            relative = 1 - common / max(lengths)
    elif 0 in lengths:
        reason = f"{name} is not defined for an empty sequence"
    elif unit in ("numbers", "points"):
        if name == "correlation":
            value, reason = _correlation(first, second)
        else:
            value = _measured(comparator, first.values, second.values, name, params)
    elif name == "dtw" and params.get("cost", "equal") == "equal":
        params = {**params, "cost": "equal"}
        value = _measured(comparator, *_numbered(first, second), name, params)
    else:
        raise ArgumentTypeError(
            f"{name} compares numbers; for texts there are dtw, levenshtein and lcs"
        )
    if isinstance(value, float) and not math.isfinite(value):
        value, reason = None, f"{name} has no finite value for these parameters"
    return Comparison(name, value, sense, relative, unit, lengths, reason)


def _numbered(first: Elements, second: Elements) -> tuple[Codes, Codes]:
    """Symbols as numbers, by where each stands first: which of them are equal, and nothing more.

    That is all that these measures depend on. What is remembered of a comparison then holds no
    text, and has 64 bytes a sequence.
    """
    known: dict[Hashable, int] = {}
    one, other = (
        np.array([known.setdefault(symbol, len(known)) for symbol in each.symbols], np.int64)
        for each in (first, second)
    )
    return one, other


def _check_settings(name: str, params: Mapping[str, Any]) -> None:
    """Only what the measure takes may be set."""
    known = _settings_of(name)
    for setting in params:
        if setting not in known:
            hint = did_you_mean(setting, known) if known else " (it takes none)"
            raise ArgumentValueError(f"{name} has no setting {setting!r:.80}{hint}")


@cache
def _settings_of(name: str) -> tuple[str, ...]:
    if name == "correlation":
        return ()
    taken = inspect.signature(getattr(measures, name)).parameters.values()
    return tuple(each.name for each in taken if each.kind is each.KEYWORD_ONLY)


def _measured(comparator: Comparator, x: Any, y: Any, name: str, params: Mapping[str, Any]) -> Any:
    try:
        return comparator.compare(x, y, name, **params)
    except MidstreamError:
        raise
    except TypeError as error:  # a setting of a type that cannot be remembered
        raise ArgumentTypeError(f"{name}: {error}") from None


def _correlation(first: Elements, second: Elements) -> tuple[float | None, str | None]:
    """Pearson's; and why there is none."""
    if first.unit == "points":
        raise ArgumentTypeError("correlation compares numbers, got points")
    x, y = np.asarray(first.values), np.asarray(second.values)
    if len(x) != len(y):
        return None, f"correlation needs equally many numbers, got {len(x)} and {len(y)}"
    if len(x) < 2:
        return None, "correlation needs at least two numbers"
    if (x == x[0]).all() or (y == y[0]).all():
        return None, "correlation is not defined for a constant sequence"
    # Of scaled numbers, whose squares neither overflow nor vanish.
    x, y = x / np.abs(x).max(), y / np.abs(y).max()
    x, y = x - x.mean(), y - y.mean()
    scale = math.sqrt(float(x @ x) * float(y @ y))
    if scale == 0:
        return None, "correlation is not defined: the differences are below rounding"
    return max(-1.0, min(1.0, float(x @ y) / scale)), None


def find_pattern(
    elements: Elements,
    pattern: Elements | None,
    *,
    min_length: int,
    min_count: int,
    borders: Sequence[int] | None = None,
    messages: Sequence[int] | None = None,
) -> PatternMatches:
    """Search for a pattern exactly, or discover what repeats; see `Agent.detect_pattern`.

    Parameters
    ----------
    elements, pattern : Elements
    min_length, min_count : int
        Of a discovery.
    borders : sequence of int, optional
        Where each of several texts begins: nothing spans two of them.
    messages : sequence of int, optional
        Their numbers.
    """
    symbols = elements.symbols
    unit = "elements" if elements.unit in ("numbers", "points", "symbols") else elements.unit
    starts = [0] if borders is None else list(borders)
    if pattern is not None:
        places = _exact(symbols, pattern.symbols, starts)
        shown = places[:_MOST_POSITIONS]
        numbers: tuple[int, ...] | None = None
        if messages is not None:
            texts = np.searchsorted(starts, shown, side="right") - 1
            numbers = tuple(messages[text] for text in texts.tolist())
            shown = [
                place - starts[text] for place, text in zip(shown, texts.tolist(), strict=True)
            ]
        return PatternMatches("exact", unit, len(symbols), len(places), tuple(shown), numbers, ())
    found, chosen = discover(symbols, starts, min_length, min_count, _MOST_REPEATS)
    shown_repeats = tuple(
        RepeatedPattern(
            tuple(symbols[places[0] : places[0] + min(length, _MOST_SHOWN)]),
            length,
            len(places),
            tuple(places[:_MOST_PLACES]),
        )
        for length, places in chosen
    )
    return PatternMatches("discovery", unit, len(symbols), found, (), None, shown_repeats)


def _exact(symbols: list[Hashable], pattern: list[Hashable], starts: list[int]) -> list[int]:
    """Where the pattern begins, overlapping, within one text each: Knuth, Morris and Pratt."""
    m = len(pattern)
    if not 0 < m <= len(symbols):
        return []
    border = [0] * m
    k = 0
    for i in range(1, m):
        while k and pattern[i] != pattern[k]:
            k = border[k - 1]
        if pattern[i] == pattern[k]:
            k += 1
        border[i] = k
    places = []
    for start, end in zip(starts, [*starts[1:], len(symbols)], strict=True):
        k = 0
        for i in range(start, end):
            symbol = symbols[i]
            while k and symbol != pattern[k]:
                k = border[k - 1]
            if symbol == pattern[k]:
                k += 1
                if k == m:
                    places.append(i + 1 - m)
                    k = border[k - 1]
    return places


def discover(
    symbols: Sequence[Hashable], starts: Sequence[int], min_length: int, min_count: int, most: int
) -> tuple[int, list[tuple[int, list[int]]]]:
    """How many maximal repeats there are, and those that take most of the sequence.

    Returns
    -------
    int
    list of (length, positions)
        Positions of occurrences that do not overlap; repeats that lie mostly within better ones
        are left out.
    """
    bordered: list[Hashable] = []
    ends = [*starts[1:], len(symbols)]
    shifts = []
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        shifts.append(len(bordered) - start)
        bordered += symbols[start:end]
        bordered.append(_Border(number))
    found = repeats(bordered, min_length=min_length, min_count=min_count)
    best = heapq.nlargest(4 * most, found, key=lambda repeat: (repeat.count - 1) * repeat.length)
    covered = bytearray(len(bordered))
    offsets = np.array(starts) + np.array(shifts)
    chosen: list[tuple[int, list[int]]] = []
    for repeat in best:
        length = repeat.length
        places: list[int] = []
        behind = -1
        for place in repeat.positions.tolist():
            if place >= behind:
                places.append(place)
                behind = place + length
        new = sum(not covered[place] or not covered[place + length - 1] for place in places)
        if len(places) < min_count or 2 * new < len(places):
            continue
        for place in places:
            covered[place : place + length] = b"\1" * length
        text = np.searchsorted(offsets, places, side="right") - 1
        real = [place - shifts[at] for place, at in zip(places, text.tolist(), strict=True)]
        chosen.append((length, real))
        if len(chosen) == most:
            break
    return len(found), chosen


class _Border:
    """A symbol like no other."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number
