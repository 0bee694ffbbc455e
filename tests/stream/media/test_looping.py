"""Loops of pictures, through real encoders: found at the right frame, and only where they are."""

from __future__ import annotations

import numpy as np
import pytest
from stream.media.making import FPS, encode, noisy, pictures
from stream.media.test_video import decoded, named, run


@pytest.mark.parametrize(("period", "copies"), [(10, 5), (30, 4), (47, 4)])
@pytest.mark.parametrize("crf", [20, 32])
def test_a_segment_that_is_shown_again_and_again(period, copies, crf):
    media = encode(pictures(("moving", 20), ("loop", period, copies), ("cut", 40)), crf=crf)
    changes, _ = run(decoded(media))
    ((_, frame),) = named(changes, "loop")
    # The third copy is whole with the first of these; a coarse encoder blurs the first frames.
    late = 1 if crf < 30 else 6
    assert 20 + 3 * period - 1 <= frame <= 20 + 3 * period - 1 + late


def test_period_and_copies_are_told():
    media = encode(pictures(("moving", 15), ("loop", 24, 5)), crf=26)
    _, figures = run(decoded(media))
    assert figures["loop_period_frames"] == 24
    assert figures["loop_copies"] == pytest.approx(5.0, abs=0.2)


def test_loops_through_noise_that_differs_in_each_copy():
    frames = noisy(pictures(("moving", 20), ("loop", 25, 5), ("cut", 20)), sigma=3.0)
    changes, _ = run(decoded(encode(frames, crf=30, gop=40)))
    assert [name for name, _ in named(changes, "loop")] == ["loop"]


def test_a_loop_with_a_standstill_in_it():
    def frames():
        segment = list(pictures(("moving", 12), ("frozen", 15), ("moving", 8)))
        for _ in range(4):
            yield from segment

    _, figures = run(decoded(encode(frames(), crf=24)))
    assert figures["loop_period_frames"] == 35


@pytest.mark.parametrize(
    "parts",
    [
        [("moving", 300)],
        [("frozen", 200)],
        [("black", 200)],
        [("moving", 40), ("black", 60), ("moving", 40), ("frozen", 90)],
        [("loop", 40, 2), ("cut", 40)],
    ],
    ids=["motion", "standstill", "black", "mixed", "twice"],
)
def test_what_is_no_loop(parts):
    changes, figures = run(decoded(encode(pictures(*parts), crf=28)))
    assert not named(changes, "loop")
    assert figures["loop_period_frames"] is None


def test_a_loop_ends():
    media = encode(pictures(("loop", 20, 4), ("cut", 60)), crf=24)
    _, figures = run(decoded(media))
    assert figures["loop_period_frames"] is None


def test_noise_alone_is_no_loop():
    rng = np.random.default_rng(5)
    changes, _ = run([rng.random((36, 64)) for _ in range(20 * FPS)])
    assert not named(changes, "loop")
