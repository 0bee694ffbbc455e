"""The kernel that makes pictures small, against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from stream.media.making import av

from midstream.stream.media._spots import WIDEST, spots_mean
from midstream.stream.media.tracks import Miniature


@pytest.mark.parametrize(
    ("width", "height", "stride"),
    [
        (64, 36, 64), (320, 180, 320), (1280, 720, 1280), (101, 57, 128), (65, 37, 70),
        (640, 9300, 640),
    ],
)  # fmt: skip
def test_means_of_parts(width, height, stride):
    rng = np.random.default_rng(width)
    plane = rng.integers(0, 256, (height, stride), dtype=np.uint8)
    means = spots_mean(plane.reshape(-1), stride, width, height, 64, 36)
    rows = [r * height // 36 for r in range(37)]
    columns = [c * width // 64 for c in range(65)]
    wanted = [
        [
            plane[rows[r] : rows[r + 1], columns[c] : columns[c + 1]].mean(dtype=np.float64)
            for c in range(64)
        ]
        for r in range(36)
    ]
    np.testing.assert_allclose(means, wanted, rtol=1e-6)


def test_the_brightest_and_largest():
    plane = np.full(WIDEST * 600, 255, np.uint8)
    means = spots_mean(plane, WIDEST, WIDEST, 600, 1, 1)
    assert means[0, 0] == 255.0


@pytest.mark.parametrize(
    ("length", "stride", "width", "height", "columns", "rows"),
    [
        (100, 10, 10, 11, 2, 2), (100, 10, 11, 9, 2, 2), (99, 10, 10, 10, 2, 2), (0, 1, 1, 1, 1, 1),
        (100, 10, 10, 10, 11, 2), (100, 10, 10, 10, 2, 11), (100, 10, 10, 10, 0, 2),
        (100, 0, 10, 10, 2, 2), (100, -10, 10, 10, 2, 2), (1000, 1000, 1000, 1, 300, 1),
        (100, 2**62, 10, 10, 2, 2),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(length, stride, width, height, columns, rows):
    with pytest.raises(ValueError, match=r"no such parts|too short|too many"):
        spots_mean(np.zeros(length, np.uint8), stride, width, height, columns, rows)


def test_both_ways_to_luma_agree():
    """The kernel on 8-bit luma, ffmpeg's scaler on the rest."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(16, 236, (36, 64), dtype=np.uint8)
    planes = np.full((1080, 1280), 128, np.uint8)
    planes[:720] = np.kron(coarse, np.ones((20, 20), np.uint8))
    frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    small = Miniature()
    ours = small.luma(frame)
    np.testing.assert_allclose(ours, (coarse.astype(float) - 16) / 219, atol=1e-6)
    np.testing.assert_allclose(small.luma(frame.reformat(format="yuv420p10le")), ours, atol=0.01)
    np.testing.assert_allclose(small.luma(frame.reformat(format="yuvj420p")), ours, atol=0.01)
    np.testing.assert_allclose(small.luma(frame.reformat(format="bgr24")), ours, atol=0.02)
