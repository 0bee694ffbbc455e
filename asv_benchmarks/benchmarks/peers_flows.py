"""Trajectories of Lorenz' system beside loops compiled by numba, and beside scipy."""

from __future__ import annotations

import numpy as np

from midstream.attractor import ensemble, integrate, lyapunov_spectrum, solve, systems

from ._timing import SIZE, Comparison, Peer
from .flows import DT, interpreted, starts

STEPS = max(SIZE, 1000)
PARAMS = (10.0, 28.0, 8 / 3)


def _numba():
    try:
        import numba
    except ImportError:
        raise NotImplementedError("numba is not installed") from None
    return numba


def scalar_loop(numba):
    """The fastest loop that we can write: no array but the result, nothing left to inline."""

    @numba.njit
    def run(out, h, s, r, b):
        x, y, z = out[0]
        half, sixth = h / 2, h / 6
        for i in range(1, len(out)):
            a1, b1, c1 = s * (y - x), x * (r - z) - y, x * y - b * z
            p, q, w = x + half * a1, y + half * b1, z + half * c1
            a2, b2, c2 = s * (q - p), p * (r - w) - q, p * q - b * w
            p, q, w = x + half * a2, y + half * b2, z + half * c2
            a3, b3, c3 = s * (q - p), p * (r - w) - q, p * q - b * w
            p, q, w = x + h * a3, y + h * b3, z + h * c3
            a4, b4, c4 = s * (q - p), p * (r - w) - q, p * q - b * w
            x += sixth * (a1 + 2 * a2 + 2 * a3 + a4)
            y += sixth * (b1 + 2 * b2 + 2 * b3 + b4)
            z += sixth * (c1 + 2 * c2 + 2 * c3 + c4)
            out[i, 0], out[i, 1], out[i, 2] = x, y, z

    return run


def array_loop(numba):
    """A loop as people write it: a right-hand side that fills an array, stages in arrays."""

    @numba.njit
    def rhs(x, dx, s, r, b):
        dx[0] = s * (x[1] - x[0])
        dx[1] = x[0] * (r - x[2]) - x[1]
        dx[2] = x[0] * x[1] - b * x[2]

    @numba.njit
    def run(out, h, s, r, b):
        k1, k2, k3, k4, at = np.empty(3), np.empty(3), np.empty(3), np.empty(3), np.empty(3)
        x = out[0].copy()
        for i in range(1, len(out)):
            rhs(x, k1, s, r, b)
            for j in range(3):
                at[j] = x[j] + h / 2 * k1[j]
            rhs(at, k2, s, r, b)
            for j in range(3):
                at[j] = x[j] + h / 2 * k2[j]
            rhs(at, k3, s, r, b)
            for j in range(3):
                at[j] = x[j] + h * k3[j]
            rhs(at, k4, s, r, b)
            for j in range(3):
                x[j] += h / 6 * (k1[j] + 2 * k2[j] + 2 * k3[j] + k4[j])
                out[i, j] = x[j]

    return run


class _Path(Peer):
    make = staticmethod(array_loop)

    def setup(self):
        self.run = self.make(_numba())
        self.out, self.theirs = np.empty((STEPS + 1, 3)), np.empty((STEPS + 1, 3))
        self.theirs[0] = 1.0
        self.lorenz = systems.lorenz()
        self.ours(), self.peer()
        np.testing.assert_allclose(self.out[:500], self.theirs[:500], rtol=1e-9)

    def ours(self):
        integrate(self.lorenz, [1, 1, 1], dt=DT, steps=STEPS, out=self.out)

    def peer(self):
        self.run(self.theirs, DT, *PARAMS)


class Path(_Path):
    """One trajectory, every state kept, in memory that was used before."""

    library = "numba, arrays"


class PathOfScalars(_Path):
    library = "numba, scalars"
    make = staticmethod(scalar_loop)


class PathScipy(Peer):
    """The adaptive pair at the same tolerances: both make about the same steps."""

    library = "scipy.solve_ivp"

    def setup(self):
        try:
            from scipy.integrate import solve_ivp
        except ImportError:
            raise NotImplementedError("scipy is not installed") from None
        self.solve_ivp = solve_ivp
        self.lorenz = systems.lorenz()
        found = self.ours(), self.peer()
        self.steps = len(found[0].t), len(found[1].t)
        np.testing.assert_allclose(found[0].x[-1], found[1].y[:, -1], rtol=1e-3)
        assert 0.9 < self.steps[0] / self.steps[1] < 1.1

    def ours(self):
        return solve(self.lorenz, [1, 1, 1], t_span=(0, 10), rtol=1e-8, atol=1e-10)

    def peer(self):
        s, r, b = PARAMS

        def rhs(t, u):
            x, y, z = u
            return [s * (y - x), x * (r - z) - y, x * y - b * z]

        return self.solve_ivp(rhs, (0, 10), [1, 1, 1], rtol=1e-8, atol=1e-10)


class StepScipy(PathScipy):
    """A step of fixed length beside a step of RK45: what a trajectory costs in each."""

    library = "scipy.solve_ivp, a step"

    def measure(self) -> Comparison:
        from ._timing import compare

        out = np.empty((10_001, 3))
        found = compare(
            lambda: integrate(self.lorenz, [1, 1, 1], dt=DT, steps=10_000, out=out), self.peer
        )
        factor = 10_000 / (self.steps[1] - 1)
        return Comparison(
            found.ours_s / 10_000,
            found.peer_s / (self.steps[1] - 1),
            found.ratio * factor,
            found.low * factor,
            found.high * factor,
        )


class Ensemble(Peer):
    """10,000 starts beside the loop over arrays, 1 thread each."""

    library = "numba, arrays"
    make = staticmethod(array_loop)
    count = max(SIZE // 10, 128)
    steps = 1000

    def setup(self):
        numba = _numba()
        run = self.make(numba)

        @numba.njit
        def everything(x0, ends, h, s, r, b, steps):
            out = np.empty((steps + 1, 3))
            for i in range(len(x0)):
                out[0] = x0[i]
                run(out, h, s, r, b)
                ends[i] = out[steps]

        self.everything = everything
        self.system = self.which()
        self.starts = starts(self.count)
        self.ends = np.empty_like(self.starts)
        self.peer()
        np.testing.assert_allclose(self.ours(), self.ends, rtol=1e-6)

    @staticmethod
    def which():
        return systems.lorenz()

    def ours(self):
        return ensemble(self.system, self.starts, dt=DT, steps=self.steps)

    def peer(self):
        self.everything(self.starts, self.ends, DT, *PARAMS, self.steps)


class EnsembleOfScalars(Ensemble):
    library = "numba, scalars"
    make = staticmethod(scalar_loop)


class EnsembleText(Ensemble):
    """The same from text that nothing compiled is found for: the interpreter."""

    which = staticmethod(interpreted)


class TextAndBuiltIn(Peer):
    """How much the interpreter loses to the compiled system: a third is the target."""

    library = "midstream, interpreted"

    def setup(self):
        self.lorenz, self.text = systems.lorenz(), interpreted()
        self.starts = starts(max(SIZE // 10, 128))

    def ours(self):
        return ensemble(self.lorenz, self.starts, dt=DT, steps=1000)

    def peer(self):
        return ensemble(self.text, self.starts, dt=DT, steps=1000)


class SpectrumNumba(Peer):
    """Exponents of a million steps beside a loop with Gram-Schmidt every tenth step."""

    library = "numba"

    def setup(self):
        numba = _numba()

        @numba.njit
        def rhs(u, du, s, r, b):
            x, y, z = u[0], u[1], u[2]
            du[0], du[1], du[2] = s * (y - x), x * (r - z) - y, x * y - b * z
            for j in range(3):
                p, q, w = u[3 + j], u[6 + j], u[9 + j]
                du[3 + j] = s * (q - p)
                du[6 + j] = (r - z) * p - q - x * w
                du[9 + j] = y * p + x * q - b * w

        @numba.njit
        def run(steps, h, s, r, b):
            u = np.zeros(12)
            u[:3] = 1.0
            u[3] = u[7] = u[11] = 1.0
            k1, k2, k3, k4 = np.empty(12), np.empty(12), np.empty(12), np.empty(12)
            logs = np.zeros(3)
            for i in range(steps):
                rhs(u, k1, s, r, b)
                rhs(u + h / 2 * k1, k2, s, r, b)
                rhs(u + h / 2 * k2, k3, s, r, b)
                rhs(u + h * k3, k4, s, r, b)
                u += h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
                if i % 10 == 9:
                    for j in range(3):
                        norm = np.sqrt(u[3 + j] ** 2 + u[6 + j] ** 2 + u[9 + j] ** 2)
                        logs[j] += np.log(norm)
                        for row in range(3):
                            u[3 + 3 * row + j] /= norm
                        for later in range(j + 1, 3):
                            dot = 0.0
                            for row in range(3):
                                dot += u[3 + 3 * row + j] * u[3 + 3 * row + later]
                            for row in range(3):
                                u[3 + 3 * row + later] -= dot * u[3 + 3 * row + j]
            return logs / (steps * h)

        self.run = run
        self.lorenz = systems.lorenz()
        np.testing.assert_allclose(self.ours().exponents, self.peer(), atol=0.05)

    def ours(self):
        return lyapunov_spectrum(self.lorenz, [1, 1, 1], dt=DT, steps=10 * STEPS)

    def peer(self):
        return self.run(10 * STEPS, DT, *PARAMS)
