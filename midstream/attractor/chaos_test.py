"""The 0-1 test: chaotic or regular, without an embedding."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from midstream._core._poll import Poll
from midstream._core.blocks import in_blocks, worker_count
from midstream._core.validate import check_int, check_real
from midstream.attractor._checks import Floats, as_series
from midstream.attractor.estimate import Estimate

__all__ = ["zero_one_test"]

#: Samples below which the growth of a displacement over a tenth of them says nothing.
LEAST = 100
#: Range of the series over its mean step above which it is oversampled (Toker et al. 2020).
SMOOTH = 10.0
#: Limits of K for a verdict.
REGULAR, CHAOTIC = 0.25, 0.75
#: Frequencies of a block of work.
BLOCK = 8


def zero_one_test(
    x: ArrayLike,
    *,
    n_c: int = 100,
    seed: int = 0,
    every: int | None = None,
    damping: float = 0.5,
    n_jobs: int | None = 1,
) -> Estimate:
    """Tell chaotic from regular motion by whether a walk that the series drives diffuses.

    For each of `n_c` random frequencies c, the samples drive ``p += x cos(j c)``,
    ``q += x sin(j c)``. Regular motion keeps the walk bounded, chaos makes it diffuse, so that its
    mean-square displacement M grows in proportion to the lag. K is the correlation of M with the
    lag, 0 or 1; the median over the frequencies is not misled by those in resonance.

    Parameters
    ----------
    x : (n,) array_like of real numbers
        At least 100 samples, after subsampling too; 1000 and more make it reliable.
    n_c : int, default 100
        Frequencies, drawn from (pi / 5, 4 pi / 5).
    seed : int, default 0
        Of the frequencies.
    every : int, optional
        Take one sample in so many. The test fails on smooth series: a flow sampled finely looks
        regular. Default: 1, doubled as long as the range of what is taken is more than ten times
        its mean step [3]_ and 200 samples are left.
    damping : float, default 0.5
        How much growth is needed to count: M is joined by ``damping * variance * sin(sqrt(2) lag)``
        [2]_. 0 is the most sensitive, to slight noise on regular motion too; 2 and more may miss
        weak chaos.
    n_jobs : int, default 1
        Threads; -1: one for every processor, -2: for all but one; None: 1.

    Returns
    -------
    Estimate
        `value` is the median K; `ci` the 95 % interval of that median over frequencies; `curve`
        the frequencies and their K; `verdict` ``"chaotic"``, ``"regular"`` or ``"insufficient"``;
        ``details["spread"]`` the interquartile range of K, ``details["every"]`` the subsampling;
        `n_effective` the samples used. NaN with reason ``"constant"`` or ``"too_short"`` where
        nothing can be said.

    Raises
    ------
    ArgumentValueError
        Empty, NaN or infinite, or a parameter out of range.
    ArgumentTypeError
        Not real numbers.

    Notes
    -----
    The test knows two answers, and noise is not regular: white noise gets K near 1. Whether there
    is noise is for `surrogate_test`, `lyapunov` or `classify` to say. Where the frequencies
    disagree (a spread above 0.5), or K is between 0.25 and 0.75, the verdict is
    ``"insufficient"``: weak chaos, intermittency and short series do that, and so does an
    oscillation whose phase chaos hardly disturbs, as Rössler's. A random walk is so smooth that it
    counts as regular.

    The mean of the series is taken off first, which does what the term V_osc of [1]_ does. The
    displacement is computed by Fourier transform. Cost: O(n_c n log n), some 30 ms for 5000
    samples; memory O(n). The same bits for any number of threads. Thread-safe.

    References
    ----------
    .. [1] G. A. Gottwald, I. Melbourne, "On the implementation of the 0-1 test for chaos", SIAM J.
       Appl. Dyn. Syst. 8, 129 (2009), section 3.
    .. [2] J. H. P. Dawes, M. C. Freeland, "The 0-1 test for chaos and strange nonchaotic
       attractors" (2008), eq. 3.3.
    .. [3] D. Toker, F. T. Sommer, M. D'Esposito, "A simple method for detecting chaos in nature",
       Commun. Biol. 3, 11 (2020).

    Examples
    --------
    >>> from midstream.attractor import zero_one_test
    >>> def logistic(r, n=1000):
    ...     x = [0.2]
    ...     while len(x) < n:
    ...         x.append(r * x[-1] * (1 - x[-1]))
    ...     return x
    >>> result = zero_one_test(logistic(4.0))
    >>> result.verdict, round(float(result), 1)
    ('chaotic', 1.0)
    >>> zero_one_test(logistic(3.55)).verdict
    'regular'
    """
    series = as_series("x", x)
    count = check_int("n_c", n_c, low=2, high=10**6)
    seed = check_int("seed", seed, low=0)
    damping = check_real("damping", damping, low=0)
    threads = worker_count(n_jobs)
    step = _subsampling(series) if every is None else check_int("every", every, low=1)
    series = series[::step]
    details: dict[str, Any] = {"every": step, "damping": damping, "seed": seed}
    scale = float(series.max() - series.min())
    if len(series) < LEAST or not scale > 0:
        reason = "constant" if not scale > 0 else "too_short"
        told = (
            "all samples are equal"
            if not scale > 0
            else f"{len(series)} samples, and at least {LEAST} are needed"
        )
        return _nothing(reason, told, len(series), details)
    frequencies = np.random.default_rng(seed).uniform(math.pi / 5, 4 * math.pi / 5, count)
    centred = (series - series.min()) / scale
    centred -= centred.mean()
    k = np.empty(count)

    def work(first: int, poll: Poll) -> int:
        for index in range(first, min(first + BLOCK, count)):
            k[index] = _growth(centred, frequencies[index], damping)
        return first

    for _ in in_blocks(work, range(0, count, BLOCK), threads):
        pass
    return _judge(k, frequencies, len(series), details)


def _subsampling(series: Floats) -> int:
    """Doubled until the series is no longer smooth."""
    step = 1
    while len(series) // (2 * step) >= 2 * LEAST:
        taken = series[::step]
        steps = np.abs(np.diff(taken)).mean()
        if not steps > 0 or (taken.max() - taken.min()) / steps <= SMOOTH:
            break
        step *= 2
    return step


def _growth(x: Floats, c: float, damping: float) -> float:
    """K of one frequency; `x` has mean 0."""
    n = len(x)
    most = n // 10
    walk = np.cumsum(x * np.exp(1j * c * np.arange(1, n + 1)))
    # Sums over the first n - most starts at every lag: of squares by running sums, of products by
    # Fourier transform. Around its middle the walk is small, and little is lost by cancellation.
    walk -= walk.mean()
    starts = n - most
    squares = np.concatenate(([0.0], np.cumsum(walk.real**2 + walk.imag**2)))
    lags = np.arange(1, most + 1)
    length = _fast_length(n + most)
    head = np.fft.fft(walk[:starts], length)
    products = np.fft.ifft(np.fft.fft(walk, length) * head.conj())[lags].real
    displaced = squares[starts] + (squares[lags + starts] - squares[lags]) - 2 * products
    m = displaced / starts + damping * float(x.var()) * np.sin(math.sqrt(2) * lags)
    return _correlation(lags.astype(np.float64), m)


def _fast_length(n: int) -> int:
    """Some length from n on whose transform is fast."""
    power = 1 << max(n - 1, 1).bit_length()
    return min(size for size in (power * 5 // 8, power * 3 // 4, power) if size >= n)


def _correlation(a: Floats, b: Floats) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / size if size > 0 else 0.0


def _median_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """95 % interval of a median, from order statistics and the normal limit of the binomial."""
    ordered = np.sort(values)
    n = len(ordered)
    half = 0.98 * math.sqrt(n)
    low, high = math.floor(n / 2 - half), math.ceil(n / 2 + half)
    return float(ordered[max(low, 0)]), float(ordered[min(high, n - 1)])


def _judge(k: Floats, frequencies: Floats, n: int, details: dict[str, Any]) -> Estimate:
    value = float(np.median(k))
    low, high = (float(q) for q in np.quantile(k, (0.25, 0.75)))
    spread = high - low
    details |= {"spread": spread}
    order = np.argsort(frequencies)
    told = [
        f"median K = {value:.3f} over {len(k)} frequencies, half of them {low:.2f} to {high:.2f}"
    ]
    if details["every"] > 1:
        told.append(f"one sample in {details['every']} was used: the series is smooth")
    if spread > 0.5 or REGULAR <= value <= CHAOTIC:
        verdict, reason = "insufficient", "undecided"
        told.append("the frequencies do not agree on an answer; a longer series may help")
    elif value > CHAOTIC:
        verdict, reason = "chaotic", "ok"
        told.append("the driven walk diffuses: chaos, or noise; this test cannot tell which")
    else:
        verdict, reason = "regular", "ok"
        told.append("the driven walk stays bounded")
    return Estimate(
        value=value,
        ci=_median_interval(k),
        verdict=verdict,
        curve=np.stack([frequencies[order], k[order]]),
        fit=None,
        reason=reason,
        reasons=tuple(told),
        n_effective=n,
        details=details,
    )


def _nothing(reason: str, told: str, n: int, details: dict[str, Any]) -> Estimate:
    return Estimate(
        value=math.nan,
        ci=(math.nan, math.nan),
        verdict="insufficient",
        curve=np.empty((2, 0)),
        fit=None,
        reason=reason,
        reasons=(told,),
        n_effective=n,
        details=details,
    )
