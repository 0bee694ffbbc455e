"""Pictures of recurrences and of delays: what is on the canvas, not how it looks."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from midstream import MidstreamError
from midstream.attractor import mutual_information_delay, recurrence
from midstream.plot import delay_choice, recurrence_plot

SINE = np.sin(np.arange(400) / 7)


@pytest.fixture
def pyplot():
    """matplotlib without a screen; nothing stays open."""
    pytest.importorskip("matplotlib").use("Agg")
    module = importlib.import_module("matplotlib.pyplot")
    yield module
    module.close("all")


def shades(ax: Any) -> np.ndarray:
    (image,) = ax.images
    return np.asarray(image.get_array())


def test_every_cell_of_a_short_plot(pyplot: Any) -> None:
    plot = recurrence(SINE, emb_dim=2, delay=11, threshold=0.2)
    ax = recurrence_plot(plot)
    cells = shades(ax)
    assert cells.shape == (389, 389, 4)
    assert np.array_equal(cells[..., 3] > 0, plot.matrix())
    assert set(np.unique(cells[..., 3])) == {0.0, 1.0}
    # Time runs upwards, and each sample is in the middle of its cell.
    assert ax.images[0].origin == "lower"
    assert ax.get_xlim() == ax.get_ylim() == (-0.5, 388.5)
    assert ax.get_xlabel() == "time (samples)"
    assert ax.get_title(loc="left") == "threshold 0.2, embedding 2 x 11"
    same = recurrence_plot(SINE, emb_dim=2, delay=11, threshold=0.2)
    assert np.array_equal(shades(same), cells)
    ax.figure.canvas.draw()


def test_squares_of_a_long_plot(pyplot: Any) -> None:
    plot = recurrence(SINE, threshold=0.1)
    _, ax = pyplot.subplots()
    assert recurrence_plot(plot, ax=ax, pixels=50, dt=0.5, color="#ff000080") is ax
    cells = shades(ax)
    assert cells.shape == (50, 50, 4)
    assert (cells[..., :3] == [1, 0, 0]).all()
    share = plot.image(50)
    assert cells[..., 3] == pytest.approx(np.sqrt(share / share.max()) * 0x80 / 0xFF)
    assert ax.get_xlim() == (-0.25, 199.75)
    assert ax.get_xlabel() == "time"


def test_nothing_recurs(pyplot: Any) -> None:
    x = np.full(9, np.nan)
    x[4] = 1.0
    ax = recurrence_plot(x, threshold=0.0, nan_policy="omit")
    assert shades(ax)[..., 3].sum() == 1
    ax.figure.canvas.draw()


def test_follows_the_style(pyplot: Any) -> None:
    for style, ink in (("default", 0.0), ("dark_background", 1.0)):
        with pyplot.style.context(style):
            assert (shades(recurrence_plot(SINE, threshold=0.1))[..., :3] == ink).all()
            delay_choice(SINE).figure.canvas.draw()


def test_the_delay_is_marked_on_its_curves(pyplot: Any) -> None:
    choice = mutual_information_delay(SINE)
    ax = delay_choice(choice)
    information, chosen = ax.lines
    assert np.array_equal(np.stack(information.get_data()), choice.curve)
    assert list(chosen.get_xdata()) == [choice.delay] * 2
    (other,) = [each for each in ax.figure.axes if each is not ax]
    assert np.array_equal(other.lines[0].get_ydata(), choice.autocorrelation)
    told = [text.get_text() for text in ax.get_legend().get_texts()]
    assert told == ["mutual information", "autocorrelation", f"delay {choice.delay}"]
    assert ax.get_title(loc="left") == f"delay {choice.delay}: {choice.reason}"
    assert ax.get_xlabel() == "delay (samples)"
    _, mine = pyplot.subplots()
    assert delay_choice(SINE, ax=mine, max_delay=5) is mine
    assert mine.lines[0].get_xdata().tolist() == [0, 1, 2, 3, 4, 5]
    ax.figure.canvas.draw()


@pytest.mark.parametrize(
    ("function", "source", "arguments", "message"),
    [
        (recurrence_plot, SINE, {"pixels": 0}, "pixels must be at least 1"),
        (recurrence_plot, SINE, {"dt": 0}, "dt must be positive"),
        (recurrence_plot, SINE, {"threshold": -1}, "threshold"),
        (recurrence_plot, [], {}, "x must have"),
        (recurrence_plot, recurrence(SINE), {"threshold": 1}, "has its threshold already"),
        (delay_choice, np.ones(100), {}, "no curve to draw: constant"),
        (delay_choice, SINE[:10], {}, "no curve to draw: too_short"),
        (delay_choice, SINE, {"max_delay": 0}, "max_delay"),
        (delay_choice, mutual_information_delay(SINE), {"max_delay": 5}, "without max_delay"),
    ],
    ids=range(9),
)
def test_bad_arguments(function, source, arguments, message) -> None:
    with pytest.raises(MidstreamError, match=message):
        function(source, **arguments)
