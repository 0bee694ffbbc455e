"""What a session's payloads count: rate limits, usage; and settings within settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["RateLimit", "merge", "rate_limits_of", "sum_up"]

_MOST_LIMITS = 64


@dataclass(frozen=True, slots=True)
class RateLimit:
    """One of the limits that a server keeps.

    Parameters
    ----------
    limit, remaining : int or None
        Requests or tokens.
    reset_s : float or None
        Seconds until it is full again.
    """

    limit: int | None
    remaining: int | None
    reset_s: float | None


def rate_limits_of(payload: dict[str, Any]) -> dict[str, RateLimit]:
    """Limits of a ``rate_limits.updated`` by their names, the first 64.

    Examples
    --------
    >>> limits = [{"name": "tokens", "limit": 100, "remaining": 80, "reset_seconds": 1.5}]
    >>> rate_limits_of({"type": "rate_limits.updated", "rate_limits": limits})
    {'tokens': RateLimit(limit=100, remaining=80, reset_s=1.5)}
    """
    found: dict[str, RateLimit] = {}
    limits = payload.get("rate_limits")
    for one in limits[:_MOST_LIMITS] if isinstance(limits, list) else ():
        name = one.get("name") if isinstance(one, dict) else None
        if not isinstance(name, str):
            continue
        counts = [one.get(key) for key in ("limit", "remaining")]
        limit, remaining = (count if type(count) is int else None for count in counts)
        reset = one.get("reset_seconds")
        told = isinstance(reset, (int, float)) and not isinstance(reset, bool)
        found[name] = RateLimit(limit, remaining, float(reset) if told else None)
    return found


def merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Put settings into settings, those within others too.

    Examples
    --------
    >>> settings = {"audio": {"output": {"voice": "marin"}}}
    >>> merge(settings, {"audio": {"output": {"speed": 1.2}}})
    >>> settings
    {'audio': {'output': {'voice': 'marin', 'speed': 1.2}}}
    """
    for name, value in more.items():
        old = into.get(name)
        if isinstance(value, Mapping) and isinstance(old, dict):
            merge(old, value)
        elif isinstance(value, Mapping):
            into[name] = {}
            merge(into[name], value)
        else:
            into[name] = value


def sum_up(into: dict[str, Any], more: Any) -> None:
    """Add a provider's counts to a sum of them.

    Examples
    --------
    >>> total = {"output_tokens": 5, "details": {"text": 1}}
    >>> sum_up(total, {"output_tokens": 2, "details": {"text": 2, "audio": 3}})
    >>> total
    {'output_tokens': 7, 'details': {'text': 3, 'audio': 3}}
    """
    if not isinstance(more, dict):
        return
    for name, value in more.items():
        if isinstance(value, dict):
            inner = into.setdefault(name, {})
            if isinstance(inner, dict):
                sum_up(inner, value)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            old = into.get(name, 0)
            into[name] = old + value if isinstance(old, (int, float)) else value
