"""Spectral lines of a trajectory, and whether they foretell the rest of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from midstream.attractor._checks import Floats

__all__ = ["Lines", "common_base", "find_lines", "independent_frequencies"]

#: Share of the trajectory that lines are fitted to; the rest is foretold.
FITTED = 0.6
#: Samples that frequencies are fitted to.
SAMPLES = 1000
#: Harmonics that are looked for where sampling folds them back.
MULTIPLES = 24
#: After so many lines, so much of the variance may be left, or the fit is given up.
HOPELESS = {4: 0.6, 8: 0.4, 16: 0.15}


@dataclass(frozen=True)
class Lines:
    """A sum of sines fitted to the first part of a trajectory.

    Attributes
    ----------
    frequencies : ndarray, shape (k,)
        Cycles per sample, strongest first.
    power : ndarray, shape (k,)
        Variance that each line has, over all components.
    inside, outside : float
        Mean squared error over the variance: of the fit, and of what the lines say about the part
        of the trajectory that they were not fitted to.
    errors : ndarray, shape (k,)
        Bound for the error of each frequency: what the unexplained rest can pull it by.
    """

    frequencies: Floats
    power: Floats
    inside: float
    outside: float
    errors: Floats


def _basis(times: Floats, frequencies: Floats) -> Floats:
    phase = 2 * np.pi * np.outer(times, frequencies)
    return np.hstack([np.ones((len(times), 1)), np.cos(phase), np.sin(phase)])


def _peak(residual: Floats, taken: list[float]) -> float:
    """Frequency of the strongest line in a residual, by a Hann window and a parabola of logs."""
    n = len(residual)
    window = np.hanning(n)[:, None]
    length = 1 << (int(n).bit_length() + 1)
    spectrum = np.fft.rfft(residual * window, length, axis=0)
    power = (np.abs(spectrum) ** 2).sum(axis=1)
    # Nearer to a line that was taken than the window can tell apart there is nothing new.
    for frequency in taken:
        place = frequency * length
        near = 0.75 * length / n
        power[max(0, int(place - near)) : int(place + near) + 2] = 0.0
    power[0] = 0.0
    k = int(np.argmax(power))
    if not 0 < k < len(power) - 1 or power[k] <= 0:
        return k / length
    left, middle, right = np.log(np.maximum(power[k - 1 : k + 2], power[k] * 1e-12))
    bend = left - 2 * middle + right
    shift = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return float((k + np.clip(shift, -0.5, 0.5)) / length)


def find_lines(
    points: Floats,
    *,
    most: int = 24,
    enough: float = 1e-6,
    hopeless: dict[int, float] = HOPELESS,
) -> Lines | None:
    """Fit lines to a trajectory one by one, strongest first, and sharpen their frequencies.

    Parameters
    ----------
    points : ndarray, shape (n, d)
    most : int
        Lines at most.
    enough : float
        Stop where so little of the variance is left.
    hopeless : dict of int to float
        Give up where, after so many lines, more than this is left.

    Returns
    -------
    Lines or None
        None where the trajectory is constant.

    Notes
    -----
    Frequencies are shared by all components; amplitudes and phases are fitted jointly after every
    line, and frequencies by Gauss-Newton steps, so that close lines do not spoil each other (as in
    Laskar's frequency analysis, Physica D 67, 257 (1993)). O(most n (log n + most d)).
    """
    n = len(points)
    cut = int(FITTED * n)
    scale = points.std(axis=0)
    centred = points[:, scale > 1e-12 * scale.max()] if scale.max() > 0 else points[:, :0]
    if centred.shape[1] == 0 or cut < 32:
        return None
    centred = centred - centred[:cut].mean(axis=0)
    total = float((centred[:cut] ** 2).sum())
    times: Floats = np.arange(n, dtype=np.float64) - 0.5 * (cut - 1)
    frequencies: list[float] = []
    # Frequencies are sharpened on some samples of the whole stretch: as long, and much faster.
    some = _some(cut)
    residual = centred[:cut]
    for _ in range(most):
        frequency = _peak(residual, frequencies)
        if not 0 < frequency < 0.5:
            break
        omega = np.array([*frequencies, frequency])
        omega = _sharpen(times[some], centred[some], omega)
        frequencies = omega.tolist()
        residual, _ = _remove(times[:cut], centred[:cut], omega)
        inside = float((residual**2).sum()) / total
        if inside < enough or inside > hopeless.get(len(frequencies), 1.0):
            break
    omega = np.array(frequencies)
    if len(omega) == 0:
        return None
    for _ in range(3):
        omega = _sharpen(times[some], centred[some], omega)
    residual, amplitudes = _remove(times[:cut], centred[:cut], omega)
    inside = float((residual**2).sum()) / total
    foretold = _basis(times[cut:], omega) @ amplitudes
    rest = centred[cut:]
    variance = max(float(((rest - rest.mean(axis=0)) ** 2).sum()), 1e-300)
    outside = float(((rest - foretold) ** 2).sum()) / variance
    k = len(omega)
    power = 0.5 * (amplitudes[1 : k + 1] ** 2 + amplitudes[k + 1 :] ** 2).sum(axis=1)
    order = np.argsort(-power)
    left = inside * total / cut
    errors = (0.3 * np.sqrt(left / np.maximum(power, 1e-300)) + 1e-3) / cut
    return Lines(omega[order], power[order], inside, min(outside, 1e6), errors[order])


def _fit(basis: Floats, data: Floats) -> Floats:
    """Least squares by normal equations, with just enough of a ridge for lines that nearly meet."""
    gram = basis.T @ basis
    gram[np.diag_indices_from(gram)] += 1e-13 * len(basis)
    solution: Floats = np.linalg.solve(gram, basis.T @ data).astype(np.float64, copy=False)
    return solution


def _some(n: int) -> NDArray[np.intp]:
    """Up to SAMPLES of n places, irregular, so that no frequency is folded."""
    if n <= SAMPLES:
        return np.arange(n)
    return np.sort(np.random.default_rng(0).permutation(n)[:SAMPLES])


def _remove(times: Floats, data: Floats, omega: Floats) -> tuple[Floats, Floats]:
    """What lines of given frequencies leave, and their amplitudes."""
    basis = _basis(times, omega)
    amplitudes = _fit(basis, data)
    return data - basis @ amplitudes, amplitudes


def _sharpen(times: Floats, data: Floats, omega: Floats) -> Floats:
    """One Gauss-Newton step of all frequencies."""
    k = len(omega)
    basis = _basis(times, omega)
    amplitudes = _fit(basis, data)
    residual = data - basis @ amplitudes
    # d/d omega of a cos + b sin is 2 pi t (b cos - a sin).
    cosine, sine = basis[:, 1 : k + 1], basis[:, k + 1 :]
    normal, right = np.zeros((k, k)), np.zeros(k)
    for c in range(data.shape[1]):
        slope = (2 * np.pi * times)[:, None] * (
            cosine * amplitudes[k + 1 :, c] - sine * amplitudes[1 : k + 1, c]
        )
        normal += slope.T @ slope
        right += slope.T @ residual[:, c]
    normal[np.diag_indices(k)] *= 1 + 1e-9
    normal[np.diag_indices(k)] += 1e-300
    most = 0.25 / (times[-1] - times[0] + 1)
    move = np.clip(np.linalg.solve(normal, right), -most, most)
    sharper: Floats = np.clip(omega + move, 1e-9, 0.5)
    return sharper


def common_base(lines: Lines, *, share: float = 1e-3) -> float | None:
    """The frequency that all strong lines are multiples of, cycles per sample; None if none is.

    Lines with less than `share` of the power are left aside, and the base is sought among the
    strongest line's fractions down to a twentieth.
    """
    strong = lines.power >= share * lines.power.sum()
    frequencies, errors = lines.frequencies[strong], lines.errors[strong]
    for divisor in range(1, 21):
        base = frequencies[0] / divisor
        doubt = errors[0] / divisor
        if base < 8 * errors.max():
            return None
        # Sampling folds harmonics above a half back.
        multiples = np.arange(1, max(MULTIPLES, int(0.5 / base)) + 1)
        folded = np.abs(multiples * base - np.rint(multiples * base))
        misses = np.abs(folded[:, None] - frequencies)
        best = misses.argmin(axis=0)
        if np.all(misses.min(axis=0) <= errors + multiples[best] * doubt):
            plain = multiples[best] * base < 0.5
            weights, turns = 1 / errors[plain] ** 2, multiples[best][plain]
            return float((weights * frequencies[plain] * turns).sum() / (weights * turns**2).sum())
    return None


def independent_frequencies(lines: Lines, *, share: float = 1e-3, order: int = 8) -> int:
    """How many frequencies generate all strong lines with whole coefficients: 1, 2, or 3 for more.

    Coefficients are at most `order` in magnitude.
    """
    if common_base(lines, share=share) is not None:
        return 1
    strong = lines.power >= share * lines.power.sum()
    frequencies, errors = lines.frequencies[strong], lines.errors[strong]
    whole = np.arange(-order, order + 1)
    for k in range(1, len(frequencies)):
        grid = np.abs(whole[:, None] * frequencies[0] + whole * frequencies[k]).ravel()
        # Sampling folds frequencies above a half back.
        grid = np.abs(grid - np.rint(grid))
        allowed = errors + order * (errors[0] + errors[k])
        misses = np.abs(grid[:, None] - frequencies).min(axis=0)
        if np.all(misses <= allowed):
            return 2
    return 3
