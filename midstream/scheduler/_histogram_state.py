"""Reading a histogram back from its dict, with nothing taken on trust."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from midstream._core.errors import ArgumentValueError
from midstream._core.validate import check_int, check_real

if TYPE_CHECKING:
    from midstream.scheduler._histogram import Histogram

__all__ = ["load_histogram"]

H = TypeVar("H", bound="Histogram")


def load_histogram(cls: type[H], data: Mapping[str, Any]) -> H:
    """What `Histogram.from_dict` promises."""
    try:
        return _load(cls, data)
    except KeyError as missing:
        raise ArgumentValueError(f"data must have a key {missing}") from None


def _load(cls: type[H], data: Mapping[str, Any]) -> H:
    made = cls(data["lowest"], data["highest"], data["significant_digits"])
    for lowest, count in data["buckets"]:
        made.record(check_int("data['buckets'] value", lowest, low=0, high=made.highest), count)
    count, total, smallest, largest, overflow = (
        check_int(f"data[{key!r}]", data[key], low=0)
        for key in ("count", "total", "min", "max", "overflow")
    )
    mean, m2 = (
        check_real(f"data[{key!r}]", data[key], low=0) for key in ("overflow_mean", "overflow_m2")
    )
    # Check against the buckets alone: the overflow's own place is only known from `max`.
    fits = made.count + overflow == count and _extremes_fit(made, smallest, largest, overflow)
    if not (fits and smallest * count <= total <= largest * count):
        raise ArgumentValueError(
            "data must have count, total, min, max and overflow that fit its buckets, got "
            f"{count}, {total}, {smallest}, {largest}, {overflow}"
        )
    if count:
        made.record(largest, overflow)
        made._restore(smallest, largest, total, mean, m2)
    return made


def _extremes_fit(made: Histogram, smallest: int, largest: int, overflow: int) -> bool:
    """Whether these can be the exact extremes of what the buckets hold roughly."""
    if (largest > made.highest) != (overflow > 0):
        return False
    if not made.count:
        return smallest > made.highest if overflow else smallest == largest == 0
    if _bucket(made, smallest) != made.min:
        return False
    return overflow > 0 or _bucket(made, largest) == made.max


def _bucket(like: Histogram, value: int) -> int:
    """Lowest value of the bucket that `value` has in a histogram like this one."""
    probe = type(like)(like.lowest, like.highest, like.significant_digits)
    probe.record(value)
    buckets: list[list[int]] = probe.to_dict()["buckets"]
    return buckets[0][0] if buckets else value
