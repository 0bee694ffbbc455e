"""Sections, closed orbits, covariant vectors, fields and orbit diagrams of built-in systems."""

from __future__ import annotations

import numpy as np

from midstream.attractor import (
    bifurcation,
    covariant_vectors,
    ftle_field,
    periodic_orbit,
    poincare_section,
    systems,
)


class Section:
    """One in 75 steps crosses the plane."""

    def setup(self):
        self.system = systems.lorenz()
        section = poincare_section(self.system, (2, 27.0), direction=0, steps=100_000)
        assert len(section) > 1000
        assert np.abs(section.points[:, 2] - 27).max() < 1e-12

    def time_100_000_steps(self):
        poincare_section(self.system, (2, 27.0), direction=0, steps=100_000)


class Orbit:
    def setup(self):
        self.cycle = systems.van_der_pol()
        self.unstable = systems.lorenz()
        assert abs(periodic_orbit(self.cycle, [2.0, 0.0]).period - 6.6632868593) < 1e-9

    def time_stable_cycle(self):
        periodic_orbit(self.cycle, [2.0, 0.0])

    def time_unstable_orbit(self):
        periodic_orbit(self.unstable, [-13.7636, -19.5788, 27.0], 1.56)


class Covariant:
    def setup(self):
        self.system = systems.lorenz()

    def time_10_000_steps(self):
        covariant_vectors(self.system, steps=10_000)


class Field:
    """2000 starts, 150 steps: one system of trigonometric functions, one of products."""

    params = ("double_gyre", "lorenz")
    param_names = ("system",)

    def setup(self, system):
        self.system = systems.get(system)
        self.starts = np.random.default_rng(3).uniform(0, 1, (2000, self.system.dim))
        assert np.isfinite(ftle_field(self.system, self.starts[:10], steps=10).values).all()

    def time_forward(self, system):
        ftle_field(self.system, self.starts, steps=150)


class Diagram:
    def setup(self):
        self.logistic, self.r = systems.logistic(), np.linspace(2.8, 4.0, 1200)
        self.rossler, self.c = systems.rossler(), np.linspace(2.0, 6.0, 100)

    def time_map_1200_parameters(self):
        bifurcation(self.logistic, "r", self.r)

    def time_flow_100_parameters(self):
        bifurcation(self.rossler, "c", self.c, dt=0.02)
