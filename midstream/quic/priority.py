"""The priority scheme of RFC 9218: urgency and incremental delivery."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Priority"]


@dataclass(frozen=True, order=True)
class Priority:
    """How urgent a stream is, and whether its parts are useful as they come (RFC 9218, section 4)."""

    urgency: int = 3
    incremental: bool = False
