"""Surrogate series: what the data would look like if they were noise of some kind."""

from __future__ import annotations

import html
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_choice, check_int
from midstream.attractor._checks import Floats, as_series
from midstream.attractor._neighbours import Tree
from midstream.attractor.embedding import (
    averaged_false_neighbours,
    choose_delay,
    correlations,
    delay_vectors,
    neighbours,
    window_of,
)

__all__ = ["SurrogateTest", "surrogate_test", "surrogates"]

METHODS = ("iaaft", "phase", "shuffle", "pseudoperiodic")
#: Rounds after which IAAFT gives up hope that ranks stop changing.
ROUNDS = 200
#: Candidates for the next state of a pseudo-periodic surrogate.
CANDIDATES = 24

Method = Literal["iaaft", "phase", "shuffle", "pseudoperiodic"]


def surrogates(
    x: ArrayLike,
    method: Method = "iaaft",
    n: int = 19,
    *,
    seed: int = 0,
    emb_dim: int | None = None,
    delay: int | None = None,
    radius: float | None = None,
) -> Floats:
    """Make surrogates of a series: random series that share some of its properties.

    Parameters
    ----------
    x : (m,) array_like of real numbers
    method : {"iaaft", "phase", "shuffle", "pseudoperiodic"}, default "iaaft"
        What they share, and so which null hypothesis they stand for:

        - ``"shuffle"``: the values (independent noise);
        - ``"phase"``: the power spectrum (linear Gaussian noise);
        - ``"iaaft"``: the values exactly and the spectrum as closely as they allow (linear
          Gaussian noise seen through a monotonic function);
        - ``"pseudoperiodic"``: the shape of the cycles, not what is finer (a noisy cycle).
    n : int, default 19
        How many; 19 are the fewest for a one-sided test at 5 %.
    seed : int, default 0
        The same seed makes the same surrogates.
    emb_dim, delay : int, optional
        Of ``"pseudoperiodic"``: by `cao_dimension` and `mutual_information_delay` if not given.
    radius : float, optional
        Of ``"pseudoperiodic"``: scale of the noise, in units of `x`. Default: half the mean
        distance of the next neighbours.

    Returns
    -------
    ndarray of float64, shape (n, m)

    Raises
    ------
    ArgumentValueError
        Fewer than 4 samples (16 for ``"pseudoperiodic"``); not one-dimensional; not finite;
        arguments out of range.
    ArgumentTypeError
        Not real numbers.

    Notes
    -----
    Surrogates by Fourier transform are periodic, and where the ends of the data do not meet their
    spectrum is that of a jump: cut the data so that they meet (Schreiber and Schmitz, section 4.5).
    IAAFT ends with the values, so its amplitude distribution is exact. Cost: shuffle O(n m), phase
    O(n m log m), IAAFT some 20 to 100 times that; pseudo-periodic O(m log m) and O(m) Python steps
    for all n together. Thread-safe.

    References
    ----------
    T. Schreiber and A. Schmitz, "Surrogate time series", Physica D 142, 346, 2000.
    M. Small, D. Yu and R. G. Harrison, "Surrogate test for pseudoperiodic time series data",
    Physical Review Letters 87, 188101, 2001.

    Examples
    --------
    >>> import numpy as np
    >>> from midstream.attractor import surrogates
    >>> x = np.cumsum(np.random.default_rng(1).normal(size=100))
    >>> y = surrogates(x, n=3, seed=7)
    >>> y.shape, bool((np.sort(y[0]) == np.sort(x)).all())
    ((3, 100), True)
    """
    check_choice("method", method, METHODS)
    series = as_series("x", x, min_length=16 if method == "pseudoperiodic" else 4)
    count = check_int("n", n, low=1)
    rng = np.random.default_rng(check_int("seed", seed, low=0))
    if method == "pseudoperiodic":
        return _pseudoperiodic(series, count, rng, emb_dim, delay, radius)
    for name, value in (("emb_dim", emb_dim), ("delay", delay), ("radius", radius)):
        if value is not None:
            raise ArgumentValueError(f"{name} belongs to method='pseudoperiodic', got {value!r}")
    if method == "shuffle":
        return rng.permuted(np.tile(series, (count, 1)), axis=1)
    if method == "phase":
        return _phase(series, count, rng)
    return np.stack([_iaaft(series, rng) for _ in range(count)])


def _phase(series: Floats, count: int, rng: np.random.Generator) -> Floats:
    """Fourier amplitudes of the series with random phases."""
    length = len(series)
    # The mean apart, so that rounding does not move it.
    mean = series.mean()
    amplitude = np.abs(np.fft.rfft(series - mean))
    turns = np.exp(2j * np.pi * rng.random((count, len(amplitude))))
    turns[:, 0] = 1
    if length % 2 == 0:  # the highest frequency is real
        turns[:, -1] = np.sign(turns[:, -1].real)
    made = np.fft.irfft(amplitude * turns, length, axis=1)
    return np.asarray(made + mean, dtype=np.float64)


def _iaaft(series: Floats, rng: np.random.Generator) -> Floats:
    """One surrogate: spectrum and values in turns until the order of the values stays."""
    length = len(series)
    values = np.sort(series)
    amplitude = np.abs(np.fft.rfft(series))
    made = rng.permutation(series)
    before: NDArray[np.int64] | None = None
    for _ in range(ROUNDS):
        spectrum = np.fft.rfft(made)
        size = np.abs(spectrum)
        size[size == 0] = 1
        order = np.argsort(np.fft.irfft(spectrum * (amplitude / size), length), kind="stable")
        made = np.empty(length)
        made[order] = values
        if before is not None and np.array_equal(order, before):
            break
        before = order
    return made


def _pseudoperiodic(
    series: Floats,
    count: int,
    rng: np.random.Generator,
    emb_dim: int | None,
    delay: int | None,
    radius: float | None,
) -> Floats:
    """Walks along the data that jump to a near state at every step."""
    length = len(series)
    most = max((length - 2) // 4, 1)
    if delay is None:
        step = min(choose_delay(series).delay, most)
    else:
        step = check_int("delay", delay, low=1, high=most)
    if emb_dim is None:
        window = window_of(correlations(series, max(length // 10, 1)), step, length)
        largest = max(min(8, (length - window - 2) // (2 * step)), 2)
        m = averaged_false_neighbours(series, step, largest, window, 0.9, 1000).dimension
    else:
        m = check_int("emb_dim", emb_dim, low=1)
    states = length - (m - 1) * step
    if states < 8:
        raise ArgumentValueError(
            f"x must have at least {(m - 1) * step + 8} samples for emb_dim={m} and "
            f"delay={step}, got {length}"
        )
    vectors = delay_vectors(series, m, step)
    # The last state has no successor, so none may be sent there. Its own successor is a candidate.
    k = min(CANDIDATES, states - 2)
    everyone = np.arange(states - 1, dtype=np.int64)
    index, square = neighbours(Tree(vectors), everyone, k, 0, states - 1)
    index = np.concatenate([everyone[:, None], index], axis=1)
    distance = np.sqrt(np.concatenate([np.zeros((len(everyone), 1)), square], axis=1))
    if radius is None:
        scale = 0.5 * float(np.mean(distance[:, 1:][np.isfinite(distance[:, 1:])]))
    elif isinstance(radius, (int, float)) and radius > 0 and math.isfinite(radius):
        scale = float(radius)
    else:
        raise ArgumentValueError(f"radius must be a positive number, got {radius!r}")
    weight = np.exp(-distance / scale) if scale > 0 else (distance == 0).astype(np.float64)
    weight[index < 0] = 0
    total = np.cumsum(weight, axis=1)
    total /= total[:, -1:]
    here = rng.integers(0, states - 1, size=count)
    draws = rng.random((length, count))
    made = np.empty((count, length))
    made[:, 0] = series[here]
    for t in range(1, length):
        chosen = index[here, (draws[t][:, None] > total[here]).sum(axis=1)]
        following = chosen + 1
        made[:, t] = series[following]
        # Only the last state has no way on.
        here = np.where(following < states - 1, following, chosen)
    return made


@dataclass(frozen=True)
class SurrogateTest:
    """Whether a statistic of the data is what surrogates have too; ``float()`` gives p.

    Attributes
    ----------
    p_value : float
        Share of the ranks at least as extreme as the data's, the data among them: never below
        ``1 / (n + 1)``.
    statistic : float
        Of the data.
    surrogates : ndarray, shape (n,)
        Of the surrogates.
    method : str
    side : str
        ``"less"``, ``"greater"`` or ``"two-sided"``: where the data lie if they are no noise.
    """

    p_value: float
    statistic: float
    surrogates: NDArray[np.float64] = field(repr=False)
    method: str
    side: str

    def __float__(self) -> float:
        return self.p_value

    def _repr_html_(self) -> str:
        text = f"p = {self.p_value:.3g} against {len(self.surrogates)} {self.method} surrogates"
        return f"<b>{html.escape(text)}</b>"


def surrogate_test(
    x: ArrayLike,
    statistic: Callable[[Floats], float],
    *,
    method: Method = "iaaft",
    n: int = 39,
    side: Literal["less", "greater", "two-sided"] = "two-sided",
    seed: int = 0,
    **options: Any,
) -> SurrogateTest:
    """Test a series against its surrogates by the rank of a statistic.

    Parameters
    ----------
    x : (m,) array_like of real numbers
    statistic : callable
        Of a series, a float; not NaN.
    method : str, default "iaaft"
        Of `surrogates`, as are further `options`.
    n : int, default 39
        Surrogates: 19 for a one-sided, 39 for a two-sided test at 5 %.
    side : {"two-sided", "less", "greater"}
        Which values of the statistic speak against noise.
    seed : int, default 0

    Returns
    -------
    SurrogateTest

    Raises
    ------
    ArgumentTypeError
        `statistic` cannot be called.
    ArgumentValueError
        `statistic` returned NaN; or as `surrogates`.

    Notes
    -----
    Ties count against the data. Cost: n + 1 statistics and the surrogates.

    Examples
    --------
    Noise is reversible in time, a sawtooth is not:

    >>> import numpy as np
    >>> from midstream.attractor import surrogate_test
    >>> saw = np.arange(400) % 8 + np.random.default_rng(0).normal(size=400) / 8
    >>> test = surrogate_test(saw, lambda y: float(np.mean(np.diff(y) ** 3)), n=39)
    >>> test.p_value
    0.05
    """
    if not callable(statistic):
        raise ArgumentTypeError(f"statistic must be callable, got {statistic!r}")
    check_choice("side", side, ("less", "greater", "two-sided"))
    series = as_series("x", x)
    made = surrogates(series, method, n, seed=seed, **options)
    observed = float(statistic(series))
    others = np.array([float(statistic(row)) for row in made])
    if math.isnan(observed) or np.isnan(others).any():
        raise ArgumentValueError("statistic must not return NaN")
    total = len(others) + 1
    less = (1 + int((others <= observed).sum())) / total
    greater = (1 + int((others >= observed).sum())) / total
    p = {"less": less, "greater": greater, "two-sided": min(1.0, 2 * min(less, greater))}[side]
    return SurrogateTest(p, observed, others, method, side)
