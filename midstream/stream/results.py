"""What a tool's result says: JSON or text, and whether the tool failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from midstream.stream.wire import parse_json

__all__ = ["has_failed", "parse_result"]

#: Longer results are taken for text.
_MOST_CHARS = 1 << 20


def parse_result(text: str) -> Any:
    """Parse a result that is a JSON object or array.

    Returns
    -------
    dict, list or None
        None where it is anything else, or longer than a million characters.

    Examples
    --------
    >>> parse_result('{"rows": [1, 2]}'), parse_result("18 degrees")
    ({'rows': [1, 2]}, None)
    """
    if text[:1] not in ("{", "[") or len(text) > _MOST_CHARS:
        return None
    try:
        return parse_json(text)
    except (ValueError, RecursionError):
        return None


def has_failed(data: Any, text: str, result: Any) -> bool:
    """Whether a result tells of a failure.

    Parameters
    ----------
    data : Any
        The event's payload: what its sender marks in it decides.
    text : str
        The result.
    result : Any
        As `parse_result` gives it.

    Examples
    --------
    >>> has_failed({"is_error": True}, "gone", None), has_failed(None, "Error: gone", None)
    (True, True)
    >>> has_failed(None, '{"error": ""}', {"error": ""})
    False
    """
    if isinstance(data, Mapping):
        for name in ("is_error", "isError", "failed"):
            if isinstance(data.get(name), bool):
                return bool(data[name])
    if isinstance(result, dict):
        return bool(result.get("error")) or result.get("is_error") is True
    return text[:5].lower() == "error"
