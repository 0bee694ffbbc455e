"""What gates and trials share: levels, losses, states as JSON."""

from __future__ import annotations

import base64
import hashlib
import math
import struct
from typing import Any, Final, SupportsFloat

from midstream._core.errors import ArgumentValueError
from midstream._core.validate import check_choice, check_int, check_real, check_text
from midstream.meta._canonical import finite
from midstream.meta.evidence import Evidence, Loss, Outcome, SegmentEvidence

__all__ = [
    "COUNT_LIMIT",
    "OPEN",
    "STAGES",
    "bounds_of",
    "bytes_of",
    "flag",
    "level_within",
    "outcome_of",
    "outcome_state",
    "segment_name",
    "share_of",
    "stream_number",
    "text_of",
    "uniform",
    "whole",
]

STAGES: Final = ("replay", "shadow", "canary", "promoted", "rejected", "demoted")
OPEN: Final = ("replay", "shadow", "canary")

COUNT_LIMIT: Final = 1 << 62

#: Shares of a level for the first, second, .. use of it: k**-1.6 over their sum, zeta(1.6), rounded
#: up. Costs log(k**1.6) in evidence: less than 6 / (pi k)**2 does from the third trial on.
_ZETA: Final = 2.2857658


def share_of(k: int) -> float:
    return float(k**-1.6) / _ZETA


def bounds_of(name: str, loss: Loss) -> tuple[float, float]:
    """Lower and upper bound of a loss."""
    if type(loss) is float and 0.0 <= loss <= 1.0:
        return loss, loss
    if loss is None:
        return 0.0, 1.0
    if isinstance(loss, (tuple, list)):
        if len(loss) != 2:
            raise ArgumentValueError(f"{name} must be a loss or two bounds of it, got {loss!r:.80}")
        low = check_real(name, loss[0], low=0, high=1)
        high = check_real(name, loss[1], low=0, high=1)
        if low > high:
            raise ArgumentValueError(f"{name} must have its lower bound first, got {loss!r}")
        return low, high
    number = check_real(name, loss, low=0, high=1)
    return number, number


def segment_name(segment: str | None) -> str | None:
    return None if segment is None else check_text("segment", segment)


def level_within(name: str, value: SupportsFloat) -> float:
    number = check_real(name, value)
    if not 0 < number < 1:
        raise ArgumentValueError(f"{name} must be within (0, 1), got {value!r}")
    return number


def uniform(*numbers: int, person: bytes = b"") -> float:
    """A number in [0, 1) that nobody can choose: 53 bits of a hash of the numbers."""
    packed = struct.pack(f"<{len(numbers)}Q", *numbers)
    data = hashlib.blake2b(packed, digest_size=8, person=person).digest()
    return (int.from_bytes(data, "little") >> 11) * 2.0**-53


def text_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def bytes_of(text: Any) -> bytes:
    return base64.b64decode(check_text("snapshot", text), validate=True)


def whole(value: Any, low: int = 0) -> int:
    return check_int("snapshot", value, low=low, high=COUNT_LIMIT)


def stream_number(value: Any) -> int:
    return check_int("stream", value, low=0, high=(1 << 64) - 1)


def flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ArgumentValueError(f"snapshot must hold a flag, got {value!r}")
    return value


def outcome_state(outcome: Outcome) -> list[Any]:
    evidence = outcome.evidence
    shown = None
    if evidence is not None:
        shown = [finite(value) for value in evidence[:-1]]
        shown.append([[finite(value) for value in s] for s in evidence.segments])
    return [*outcome[:4], list(outcome.superseded), shown]


def outcome_of(row: list[Any]) -> Outcome:
    number, before, stage, reason, superseded, shown = row
    evidence = None
    if shown is not None:
        *first, parts = shown
        stage_then, n, *values = first
        difference, lower, upper, level, capital, threshold, p_worse = map(_real, values)
        evidence = Evidence(
            check_choice("stage", stage_then, STAGES),
            whole(n),
            difference,
            lower,
            upper,
            level,
            capital,
            math.inf if math.isnan(threshold) else threshold,
            p_worse,
            tuple(
                SegmentEvidence(check_text("segment", s), whole(k), _real(d), _real(p))
                for s, k, d, p in parts
            ),
        )
    return Outcome(
        whole(number),
        check_choice("stage", before, STAGES),
        check_choice("stage", stage, STAGES),
        check_text("reason", reason),
        tuple(whole(k) for k in superseded),
        evidence,
    )


def _real(value: Any) -> float:
    return math.nan if value is None else check_real("snapshot", value)
