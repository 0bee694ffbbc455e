"""What payloads may hold beyond what JSON and Unicode allow, and how it is put right."""

from __future__ import annotations

import json
import math
from typing import Any

__all__ = ["finite", "is_high_half", "join_halves", "parse_json"]


def parse_json(text: str) -> Any:
    """Parse JSON text; NaN and infinities become None.

    Python servers write ``NaN`` and ``Infinity``, which JSON does not have, and any server may
    write a number beyond a float's range. None keeps everything made of a payload, as recordings
    and reports, JSON again.

    Parameters
    ----------
    text : str
        One JSON value.

    Returns
    -------
    object

    Raises
    ------
    ValueError
        Not JSON, or an integer of more digits than Python converts.
    RecursionError
        Nested too deeply.

    Notes
    -----
    The standard library's parser: a faster one, where installed, differs in what it takes (lone
    surrogates, long integers), and a replay would differ with it.

    Examples
    --------
    >>> parse_json('{"a": NaN, "b": -1e999, "c": 1.5}')
    {'a': None, 'b': None, 'c': 1.5}
    """
    return _decode(text)


def _finite_float(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


# One decoder for all payloads: `json.loads` with options makes one a call.
_decode = json.JSONDecoder(parse_float=_finite_float, parse_constant=lambda name: None).decode


def finite(value: Any) -> Any:
    """Return the value itself, or where it holds NaN or infinities a copy with None for them.

    For values that `parse_json` has not seen, such as an SDK's.

    Examples
    --------
    >>> finite({"a": [1.5, float("inf")]})
    {'a': [1.5, None]}
    """
    kind = type(value)
    if kind is float:
        return value if math.isfinite(value) else None
    if kind is dict:
        items = {key: finite(item) for key, item in value.items()}
        same = all(items[key] is item for key, item in value.items())
        return value if same else items
    if kind is list:
        pieces = [finite(item) for item in value]
        same = all(piece is item for piece, item in zip(pieces, value, strict=True))
        return value if same else pieces
    return value


def is_high_half(char: str) -> bool:
    """Whether a character is the first half of a UTF-16 pair."""
    return "\ud800" <= char <= "\udbff"


def join_halves(high: str, text: str) -> str:
    """Put a held first half before a text: one character where the text begins with a second half.

    Examples
    --------
    >>> join_halves("\\ud83d", "\\ude42!") == "\\U0001f642!"
    True
    """
    if "\udc00" <= text[:1] <= "\udfff":
        pair = ((ord(high) - 0xD800) << 10) + (ord(text[0]) - 0xDC00) + 0x10000
        return chr(pair) + text[1:]
    return high + text
