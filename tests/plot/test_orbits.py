"""Pictures of dynamics: what is on the canvas, not how it looks."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from midstream import MidstreamError
from midstream.attractor import (
    bifurcation,
    ftle_field,
    integrate,
    lyapunov_spectrum,
    systems,
)
from midstream.plot import bifurcation_diagram, ftle_map, phase_portrait, spectrum_convergence


@pytest.fixture
def pyplot():
    """matplotlib without a screen; nothing stays open."""
    pytest.importorskip("matplotlib").use("Agg")
    module = importlib.import_module("matplotlib.pyplot")
    yield module
    module.close("all")


def test_a_portrait_is_the_trajectory(pyplot: Any) -> None:
    path = integrate(systems.lorenz(), steps=500, transient=100)
    ax = phase_portrait(systems.lorenz(), steps=500, transient=100)
    (line,) = ax.lines
    assert np.array_equal(np.transpose(line.get_data_3d()), path)
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_zlabel()) == ("x", "y", "z")
    assert ax.get_title(loc="left") == "lorenz"
    flat = phase_portrait(systems.lorenz(), components="zx", steps=500, transient=100)
    assert np.array_equal(np.transpose(flat.lines[0].get_data()), path[:, [2, 0]])
    assert (flat.get_xlabel(), flat.get_ylabel()) == ("z", "x")
    flat.figure.canvas.draw()
    ax.figure.canvas.draw()


def test_maps_are_dots_and_points_are_lines(pyplot: Any) -> None:
    dots = phase_portrait(systems.henon(), steps=100).lines[0]
    assert (dots.get_linestyle(), dots.get_marker()) == ("None", ".")
    points = np.random.default_rng(1).normal(size=(30, 4))
    _, ax = pyplot.subplots()
    assert phase_portrait(points, ax=ax, color="#123456", linewidth=2) is ax
    (line,) = ax.lines
    assert np.array_equal(np.transpose(line.get_data()), points[:, :2])
    assert (line.get_color(), line.get_linewidth(), line.get_marker()) == ("#123456", 2, "None")
    assert ax.get_ylabel() == "component 1"


def test_convergence_ends_at_the_exponents(pyplot: Any) -> None:
    spectrum = lyapunov_spectrum(systems.lorenz(), steps=50_000, transient=1000)
    ax = spectrum_convergence(spectrum)
    lines = ax.lines[:3]
    assert [line.get_ydata()[-1] for line in lines] == pytest.approx(spectrum.history[-1])
    assert np.array_equal(lines[0].get_xdata(), spectrum.times)
    assert len(ax.collections) == 3
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels[0].startswith(f"{spectrum.exponents[0]:.4g} ±")
    assert ax.get_xscale() == "log"
    ax.figure.canvas.draw()


def test_a_long_spectrum_shows_its_head(pyplot: Any) -> None:
    spectrum = lyapunov_spectrum(systems.lorenz96(N=12), steps=2000, transient=100)
    ax = spectrum_convergence(spectrum)
    assert len(ax.collections) == 8


def test_a_diagram_is_the_bifurcation(pyplot: Any) -> None:
    grid = np.linspace(2.9, 3.9, 40)
    found = bifurcation(systems.logistic(), "r", grid, steps=30)
    ax = bifurcation_diagram(systems.logistic(), "r", grid, steps=30)
    (line,) = ax.lines
    assert np.array_equal(line.get_xdata(), found.values)
    assert np.array_equal(line.get_ydata(), found.points)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("r", "x")
    ax.figure.canvas.draw()


def test_a_field_is_drawn_where_it_lies(pyplot: Any) -> None:
    x, y = np.linspace(0, 2, 21), np.linspace(0, 1, 11)
    field = ftle_field(systems.double_gyre(), x, y, dt=0.1, steps=30)
    ax = ftle_map(field)
    (mesh,) = ax.collections
    assert np.array_equal(np.asarray(mesh.get_array()), field.values)
    assert ax.get_xlim() == pytest.approx((-0.05, 2.05))
    assert ax.get_title(loc="left") == "forward, time 3"
    assert len(ax.figure.axes) == 2
    back = ftle_field(systems.double_gyre(), x, y, dt=0.1, steps=30, backward=True)
    _, lone = pyplot.subplots()
    assert ftle_map(back, ax=lone, colorbar=False) is lone
    assert lone.get_title(loc="left") == "backward, time 3"
    assert len(lone.figure.axes) == 1
    lone.figure.canvas.draw()


def test_what_left_the_numbers_is_blank(pyplot: Any) -> None:
    from midstream.attractor import System

    system = System(["x*x", "-y"], dt=0.01)
    ax = ftle_map(ftle_field(system, [-1.0, 5.0], [0.0, 1.0], steps=100))
    assert np.ma.getmaskarray(ax.collections[0].get_array()).tolist() == [[False, True]] * 2
    gone = ftle_map(ftle_field(system, [5.0, 6.0], [0.0, 1.0], steps=100))
    assert np.ma.getmaskarray(gone.collections[0].get_array()).all()
    gone.figure.canvas.draw()


def test_follows_the_style(pyplot: Any) -> None:
    for style, ink in (("default", "black"), ("dark_background", "white")):
        with pyplot.style.context(style):
            ax = bifurcation_diagram(systems.henon(), "a", [1.0, 1.2], steps=5)
            assert ax.lines[0].get_color() == ink


def test_bad_arguments(pyplot: Any) -> None:
    _, flat = pyplot.subplots()
    points = np.zeros((5, 3))
    field = ftle_field(systems.double_gyre(), np.zeros((3, 2)), dt=0.1, steps=3)
    for call, message in (
        (lambda: phase_portrait(np.zeros(5)), "source must have at least two components"),
        (lambda: phase_portrait(points, components=[0]), "components must be two or three"),
        (lambda: phase_portrait(points, components=[0, 3]), r"components\[1\] must be at most 2"),
        (
            lambda: phase_portrait(systems.lorenz(), components="xq"),
            r"components\[1\] must be one of x, y, z, got 'q'",
        ),
        (lambda: phase_portrait(points, components=[0, 1, 2], ax=flat), "ax must be three-dim"),
        (lambda: spectrum_convergence(points), "spectrum must be a Spectrum, got ndarray"),
        (lambda: ftle_map(points), "field must be an FTLEField, got ndarray"),
        (lambda: ftle_map(field), "on a grid, not at points"),
        (lambda: bifurcation_diagram(systems.henon(), "c", [1.0]), "has no parameter 'c'"),
    ):
        with pytest.raises(MidstreamError, match=message):
            call()
