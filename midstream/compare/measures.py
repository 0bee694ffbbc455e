"""Elastic measures with checked parameters: what single calls, paths and matrices share."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_choice, check_int, check_real
from midstream.compare._elastic import Plan

__all__ = ["PLANS", "check_cutoff", "is_symbolic", "metric_name", "plan"]

COSTS = ("squared", "absolute", "equal")
BANDS = ("sakoe", "widened", "slanted")
NAN_POLICIES = ("raise", "propagate", "omit")
#: No matrix has more columns than 2**31.
LONGEST = 2**31


def metric_name(metric: Any) -> Any:
    """Accept ``midstream.compare.dtw`` for ``"dtw"``."""
    module = getattr(metric, "__module__", None) or ""  # None: methods of built-in types
    if callable(metric) and module.startswith("midstream.compare"):
        return metric.__name__
    return metric


def check_cutoff(cutoff: float | None) -> float:
    """The cutoff as a float, inf for None; 0 is a cutoff like any other."""
    return math.inf if cutoff is None else check_real("cutoff", cutoff, finite=False)


def _window(window: int | None, band: str) -> int:
    check_choice("band", band, BANDS)
    return -1 if window is None else min(check_int("window", window, low=0), LONGEST)


# Plans never change once made, so that calls with the same parameters can share one.
@functools.lru_cache(maxsize=256)
def _cached(measure: str, window: int, band: str, nan_policy: str, p0: float, p1: float) -> Plan:
    return Plan(measure, window, band, nan_policy, p0, p1)


def _shared(
    measure: str, window: int, band: str, nan_policy: str, p0: float = 0.0, p1: float = 0.0
) -> Plan:
    check_choice("nan_policy", nan_policy, NAN_POLICIES)  # what is not hashable has no place there
    return _cached(measure, window, band, nan_policy, p0, p1)


def plan_dtw(
    *,
    window: int | None = None,
    cost: str = "squared",
    band: str = "sakoe",
    nan_policy: str = "raise",
) -> Plan:
    check_choice("cost", cost, COSTS)
    return _shared(f"dtw_{cost}", _window(window, band), band, nan_policy)


def plan_euclidean(*, nan_policy: str = "raise") -> Plan:
    return _shared("euclidean", -1, "sakoe", nan_policy)


#: Weights of longer series are not kept: beside the comparison they cost nothing.
KEPT_WEIGHTS = 4096


def _logistic_weights(g: float, length: int) -> NDArray[np.float64]:
    return _kept_weights(g, length) if length <= KEPT_WEIGHTS else _new_weights(g, length)


def _new_weights(g: float, length: int) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):  # an infinite exponential is a weight of zero
        weights: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-g * (np.arange(length) - length / 2)))
    weights.flags.writeable = False
    return weights


_kept_weights = functools.lru_cache(maxsize=64)(_new_weights)


def plan_wdtw(
    *,
    window: int | None = None,
    g: float = 0.05,
    band: str = "sakoe",
    nan_policy: str = "raise",
) -> Plan:
    weights = functools.partial(_logistic_weights, check_real("g", g, low=0))
    return Plan("wdtw", _window(window, band), band, nan_policy, weights=weights)


def derivative(name: str, x: NDArray[Any]) -> NDArray[Any]:
    """Keogh and Pazzani's estimate of the slope, for all samples but the first and the last."""
    if len(x) < 3:
        raise ArgumentValueError(f"{name} must have at least 3 samples for a slope, got {len(x)}")
    with np.errstate(over="ignore", invalid="ignore"):
        slopes = _slopes(x)
        beyond = ~np.isfinite(slopes)
        if beyond.any():
            # Differences overflowed: of scaled samples, and never more than the largest number.
            most = np.finfo(x.dtype).max / 8
            slopes[beyond] = np.clip(_slopes(x / 8)[beyond], -most, most) * 8
    return slopes


def _slopes(x: NDArray[Any]) -> NDArray[Any]:
    before, here, after = x[:-2], x[1:-1], x[2:]
    slopes: NDArray[Any] = ((here - before) + (after - before) / 2) / 2
    return slopes


def plan_ddtw(*, window: int | None = None, band: str = "sakoe", nan_policy: str = "raise") -> Plan:
    return Plan("dtw_squared", _window(window, band), band, nan_policy, prepare=derivative)


def plan_adtw(
    *,
    window: int | None = None,
    penalty: float = 1.0,
    band: str = "sakoe",
    nan_policy: str = "raise",
) -> Plan:
    p0 = check_real("penalty", penalty, low=0)
    return _shared("adtw", _window(window, band), band, nan_policy, p0)


def plan_frechet(
    *, window: int | None = None, band: str = "sakoe", nan_policy: str = "raise"
) -> Plan:
    return _shared("frechet", _window(window, band), band, nan_policy)


def plan_erp(
    *,
    window: int | None = None,
    g: float | NDArray[np.float64] = 0.0,
    band: str = "sakoe",
    nan_policy: str = "raise",
) -> Plan:
    try:
        given = np.atleast_1d(np.asarray(g))
    except ValueError as error:  # nested, and no array
        raise ArgumentValueError(
            f"g must be one value, or one for each dimension: {error}"
        ) from None
    if given.ndim != 1 or len(given) == 0:
        raise ArgumentValueError(f"g must be one value, or one for each dimension, got {g!r}")
    gap = np.array([check_real("g", value) for value in given.tolist()])
    return Plan("erp", _window(window, band), band, nan_policy, gap=gap)


def _quarter_spread(x: NDArray[Any]) -> float:
    # Scaled by a power of two, lest squares leave the range of the floats.
    scale = math.frexp(float(np.abs(x).max()))[1]
    return math.ldexp(float(np.std(np.ldexp(x, -scale))), scale) / 4


def plan_edr(
    *,
    window: int | None = None,
    epsilon: float | None = None,
    band: str = "sakoe",
    nan_policy: str = "raise",
) -> Plan:
    radius = _window(window, band)
    if epsilon is None:
        return Plan("edr", radius, band, nan_policy, spread=_quarter_spread)
    return _shared("edr", radius, band, nan_policy, check_real("epsilon", epsilon, low=0))


def plan_lcss(
    *,
    window: int | None = None,
    epsilon: float = 1.0,
    band: str = "sakoe",
    nan_policy: str = "raise",
) -> Plan:
    radius = _window(window, band)
    if band == "slanted":
        # Such a band can have gaps, which matches must not cross and sequences without a match may.
        raise ArgumentValueError("band must be 'sakoe' or 'widened' for lcss, got 'slanted'")
    return _shared("lcss", radius, band, nan_policy, check_real("epsilon", epsilon, low=0))


def plan_msm(
    *,
    window: int | None = None,
    c: float = 1.0,
    band: str = "sakoe",
    nan_policy: str = "raise",
) -> Plan:
    return _shared("msm", _window(window, band), band, nan_policy, check_real("c", c, low=0))


def plan_twe(
    *,
    window: int | None = None,
    nu: float = 0.001,
    lmbda: float = 1.0,
    band: str = "sakoe",
    nan_policy: str = "raise",
) -> Plan:
    p0 = check_real("nu", nu, low=0)
    p1 = check_real("lmbda", lmbda, low=0)
    return _shared("twe", _window(window, band), band, nan_policy, p0, p1)


#: Public name of a measure -> what makes its plan from keyword arguments.
PLANS: Mapping[str, Callable[..., Plan]] = {
    "adtw": plan_adtw,
    "ddtw": plan_ddtw,
    "dtw": plan_dtw,
    "edr": plan_edr,
    "erp": plan_erp,
    "euclidean": plan_euclidean,
    "frechet": plan_frechet,
    "lcss": plan_lcss,
    "msm": plan_msm,
    "twe": plan_twe,
    "wdtw": plan_wdtw,
}


def plan(metric: str, params: Mapping[str, Any]) -> Plan:
    """The plan of a measure by name.

    Raises
    ------
    ArgumentTypeError
        A parameter that the measure does not have.
    """
    make = PLANS[metric]
    known = make.__kwdefaults__ or {}
    for name in params:
        if name not in known:
            raise ArgumentTypeError(
                f"{metric} has no parameter {name!r}: it takes {', '.join(sorted(known))}"
            )
    return make(**params)


def is_symbolic(metric: str, params: Mapping[str, Any]) -> bool:
    """Whether series are sequences of symbols that are only compared for equality."""
    cost = params.get("cost")
    return metric == "dtw" and isinstance(cost, str) and cost == "equal"
