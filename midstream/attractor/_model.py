"""Equations learned from points that are full states of a flow, and their Lyapunov spectrum."""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np

from midstream._core.errors import IntegrationError
from midstream.attractor._checks import Floats
from midstream.attractor._judge import Judgement, monomials
from midstream.attractor.integration import integrate
from midstream.attractor.system import System

__all__ = ["judge_by_model", "learn_flow"]

#: Mean squared error over that of standing still, on points not learned from: beyond it the
#: equations are not polynomials of the components, or the points are noisy.
GOOD = 1e-5
#: Terms at most, and degree.
TERMS, DEGREE = 300, 4
#: Steps from one point to the next.
STEPS = 5
#: Shares of the largest coefficient of a term's kind below which it is left out.
SMALL = 1e-4
#: Newton-Cotes weights over five points.
BOOLE = np.array([7, 32, 12, 32, 7]) * 2 / 45
SIMPSON = np.array([1, 4, 2, 4, 1]) / 3

Terms = list[tuple[int, ...]]


def learn_flow(points: Floats) -> tuple[System, Floats] | None:
    """A polynomial vector field that points in time order follow; its unit of time is a sample.

    Parameters
    ----------
    points : ndarray, shape (n, d)
        Full states, a small part of a turn apart.

    Returns
    -------
    (System, ndarray) or None
        The flow in standardised components, and the last point in them; None where no polynomial
        of degree 4 or less explains the points.

    Notes
    -----
    In integral form: over five points the difference of the states is the integral of the field,
    for which Boole's rule is put; so no derivative is taken of data. Where Simpson's rule gives
    another value the points are too far apart, and count less. O(n terms^2).
    """
    n, dim = points.shape
    scale = points.std(axis=0)
    if dim < 2 or n < 500 or scale.min() <= 1e-9 * scale.max():
        return None
    states = (points - points.mean(axis=0)) / scale
    change = states[4:] - states[:-4]
    half = len(change) // 2
    for degree in range(1, DEGREE + 1):
        terms: Terms = [
            term for d in range(degree + 1) for term in combinations_with_replacement(range(dim), d)
        ]
        if len(terms) > min(n // 10, TERMS):
            return None
        features = monomials(states, terms)
        sizes = np.sqrt((features**2).mean(axis=0))
        features = features / sizes
        whole = np.zeros((n - 4, len(terms)))
        doubt = np.zeros((n - 4, len(terms)))
        for k in range(5):
            whole += BOOLE[k] * features[k : n - 4 + k]
            doubt += (BOOLE[k] - SIMPSON[k]) * features[k : n - 4 + k]
        unsure = np.sqrt((doubt**2).mean(axis=1))
        weight = 1.0 / (unsure + np.quantile(unsure, 0.1) + 1e-300)
        left, right = whole * weight[:, None], change * weight[:, None]
        solution = _least_squares(left[:half], right[:half])
        wrong = left[half:] @ solution - right[half:]
        if float((wrong**2).sum()) < GOOD * float((right[half:] ** 2).sum()):
            solution = _sparse(left, right)
            return _system(terms, solution / sizes[:, None]), states[-1]
    return None


def _least_squares(features: Floats, values: Floats) -> Floats:
    gram = features.T @ features
    gram[np.diag_indices_from(gram)] *= 1 + 1e-12
    solution: Floats = np.linalg.solve(gram, features.T @ values).astype(np.float64, copy=False)
    return solution


def _sparse(features: Floats, values: Floats) -> Floats:
    """Without the terms that hardly count: they make equations slow, and orbits run away."""
    solution = _least_squares(features, values)
    for c in range(values.shape[1]):
        kept = np.abs(solution[:, c]) > SMALL * np.abs(solution[:, c]).max()
        solution[:, c] = 0.0
        solution[kept, c] = _least_squares(features[:, kept], values[:, c : c + 1])[:, 0]
    return solution


def _system(terms: Terms, coefficients: Floats) -> System:
    dim = coefficients.shape[1]
    names = [f"x{k}" for k in range(dim)]
    products = ["*".join(names[k] for k in term) or "1" for term in terms]
    rows = [
        " + ".join(
            f"({value!r})*{product}"
            for value, product in zip(coefficients[:, c].tolist(), products, strict=True)
            if value != 0.0
        )
        or "0"
        for c in range(dim)
    ]
    return System(rows, variables=names)


def judge_by_model(points: Floats, found: Judgement) -> Judgement:
    """Tell hyperchaos from chaos by the exponents of learned equations, where there are any."""
    from midstream.attractor._orbit import judge_chaos, measure

    learned = learn_flow(points)
    if learned is None:
        return found
    system, state = learned
    dt, steps = 1.0 / STEPS, 20_000
    try:
        orbit = integrate(system, state, dt=dt, steps=2000 * STEPS, every=STEPS)
        if not np.all(np.abs(np.log(orbit.std(axis=0))) < 1.5):
            return found
        signs = measure(system, state, dt, steps, min(system.dim, 12), 0.0, 0)
        judged = judge_chaos(system, signs)
    except IntegrationError:
        return found
    # Of three components the second exponent is 0; of more it has to be measured.
    while judged.confidence < 0.9 and system.dim > 3 and steps < 300_000 * 4 // system.dim:
        steps *= 4
        try:
            signs = measure(system, state, dt, steps, min(system.dim, 12), 0.0, 0)
        except IntegrationError:
            break  # what was learned is not quite the flow: in the long run it leaves
        judged = judge_chaos(system, signs)
    if signs.signs[0] != 1:
        return found
    found.kind = judged.kind
    found.confidence = min(found.confidence, max(judged.confidence, 0.6))
    found.exponents, found.errors = signs.exponents * STEPS, signs.errors * STEPS
    found.lyapunov = float(found.exponents[0])
    found.dimension = judged.dimension
    found.reasons.append(f"of equations learned from the points: {signs.say()}")
    found.reasons.extend(judged.reasons[1:])
    return found
