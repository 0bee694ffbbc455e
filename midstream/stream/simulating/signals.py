"""Sound and pictures from a seed, to be measured as real ones are."""

from __future__ import annotations

from random import Random

import numpy as np
import numpy.typing as npt

__all__ = ["RATE_HZ", "Pictures", "Voice"]

RATE_HZ = 16_000
_ROWS, _COLUMNS = 36, 64

Floats = npt.NDArray[np.float64]


def _noise(random: Random) -> np.random.RandomState:
    # The generator whose numbers numpy promises never to change.
    return np.random.RandomState(int(random.random() * 2**32))


class Voice:
    """Something like speech: syllables of voiced sound, with pauses, and a quiet room behind."""

    def __init__(self, random: Random) -> None:
        self._noise = _noise(random)
        self._at = 0
        self._pitch_hz = 110.0 + 80.0 * random.random()

    def block(self, samples: int, *, speaks: bool) -> Floats:
        """Make the next samples, in [-1, 1]."""
        time_s = (self._at + np.arange(samples)) / RATE_HZ
        self._at += samples
        room = self._noise.standard_normal(samples) * 1e-4  # -80 dB of full scale
        if not speaks:
            return room
        turns = 2 * np.pi * self._pitch_hz * time_s + 2.0 * np.sin(2 * np.pi * 0.7 * time_s)
        voice = sum(np.sin(n * turns) / n for n in range(1, 6))
        # Five syllables a second, and a breath now and then.
        loud = np.clip(np.sin(2 * np.pi * 2.5 * time_s), 0.05, None) ** 2
        breath = np.clip(np.sin(2 * np.pi * 0.31 * time_s) * 4 + 3, 0.1, 1.0)
        result: Floats = 0.25 * voice * loud * breath + room
        return result


class Pictures:
    """Clouds that drift before a gradient, with the noise of a sensor."""

    def __init__(self, random: Random) -> None:
        self._noise = _noise(random)
        self._phases = self._noise.uniform(0, 2 * np.pi, 4)
        self._last: Floats = np.zeros((_ROWS, _COLUMNS))

    def moving(self, time_s: float) -> Floats:
        """Make the picture of a moment: (36, 64), in [0, 1]."""
        y, x = np.mgrid[0:_ROWS, 0:_COLUMNS] / _ROWS
        luma = 0.3 + 0.2 * y
        for number, phase in enumerate(self._phases, 1):
            drift = 0.8 * number * time_s
            luma += 0.08 * np.sin(3 * number * x + drift + phase) * np.cos(2 * number * y - drift)
        self._last = np.clip(luma, 0.0, 1.0)
        return self._with_noise(self._last)

    def frozen(self) -> Floats:
        """Make the last moving picture again."""
        return self._with_noise(self._last)

    def black(self) -> Floats:
        """Make a picture of a camera whose lid is on."""
        return self._with_noise(np.full((_ROWS, _COLUMNS), 0.02))

    def _with_noise(self, luma: Floats) -> Floats:
        return np.clip(luma + self._noise.standard_normal(luma.shape) * 0.003, 0.0, 1.0)
