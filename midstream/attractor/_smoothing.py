"""How much white noise an oversampled series carries, and the linear filter that takes it away."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from midstream.attractor._checks import Floats

__all__ = ["Smoothed", "line_share", "smooth"]

#: Samples of a piece of the averaged periodogram, at most.
PIECE = 512
#: The upper part of the band, where a well-sampled flow has no power of its own.
UPPER = 0.7
#: A floor above this share of the variance is signal: a map, or a flow sampled coarsely.
TOO_MUCH = 0.03
#: Frequencies whose power is below so many floors are mostly noise.
CAUTION = 1.3


class Smoothed(NamedTuple):
    """The filtered series, and noise over signal (standard deviations): before, and left in it."""

    series: Floats
    noise: float
    left: float


def smooth(series: Floats) -> Smoothed:
    """Wiener filter against the white floor of the spectrum, if there is one to speak of.

    A finite linear filter leaves Lyapunov exponents as they are (Broomhead, Huke and Muldoon,
    1992), so nothing is lost by it but noise. Without a floor, as for maps, `noise` is NaN.
    """
    n = len(series)
    piece = min(PIECE, n // 4 // 2 * 2)
    variance = float(series.var())
    if piece < 16 or not variance > 0:
        return Smoothed(series, np.nan, np.nan)
    centred = series - series.mean()
    window = np.hanning(piece)
    pieces = np.lib.stride_tricks.sliding_window_view(centred, piece)[:: piece // 2]
    power = (np.abs(np.fft.rfft(pieces * window, axis=1)) ** 2).mean(axis=0)
    power /= float(window @ window)
    floor = float(np.median(power[int(UPPER * len(power)) :]))
    # The power of all frequencies on average is the variance.
    share = floor / float(power.mean())
    if not share < TOO_MUCH:
        return Smoothed(series, np.nan, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = np.clip(1 - CAUTION * floor / power, 0, 1)
    gain = np.convolve(np.pad(np.nan_to_num(gain), 2, mode="edge"), np.full(5, 0.2), mode="valid")
    impulse = np.roll(np.fft.irfft(gain, piece), piece // 2)
    impulse *= np.hanning(piece + 1)[:piece]
    half = piece // 2
    padded = np.pad(centred, half, mode="reflect")
    length = 1 << (len(padded) + piece).bit_length()
    whole = np.fft.irfft(np.fft.rfft(padded, length) * np.fft.rfft(impulse[::-1], length), length)
    filtered = whole[piece - 1 : piece - 1 + n] + series.mean()
    left = float(np.sqrt(share * (impulse @ impulse)))
    return Smoothed(np.ascontiguousarray(filtered), float(np.sqrt(share)), left)


def line_share(series: Floats, lines: int = 8) -> float:
    """Share of the variance in a few spectral lines, the strongest; slow drifts do not count."""
    n = len(series)
    spectrum = np.abs(np.fft.rfft((series - series.mean()) * np.hanning(n))) ** 2
    total = float(spectrum[1:].sum())
    if not total > 0:
        return 0.0
    rest = spectrum.copy()
    rest[:6] = 0
    found = 0.0
    for _ in range(lines):
        peak = int(rest.argmax())
        near = slice(max(peak - 2, 0), peak + 3)
        found += float(rest[near].sum())
        rest[near] = 0
    return found / total
