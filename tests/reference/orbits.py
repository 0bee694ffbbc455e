"""Trajectories the slow, obvious way: equations as text, evaluated by Python, RK4 in numpy."""

from __future__ import annotations

import re

import numpy as np

FUNCTIONS = {
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "abs": np.abs,
    "tanh": np.tanh,
    "min": np.minimum,
    "max": np.maximum,
    "mod": np.mod,
    "where": np.where,
    "pi": np.pi,
    "e": np.e,
}


def right_hand_side(equations, variables):
    """``f(x (m, d), t, params of scalars or (m,)) -> (m, d)`` of definitions and components."""
    lines = []
    for text in equations:
        name, _, rest = text.partition("=")
        defined = re.fullmatch(r"\s*\w+\s*", name) and rest and not rest.startswith("=")
        target, expression = (name.strip(), rest) if defined else (None, text)
        code = compile(expression.strip().replace("^", "**"), "<equation>", "eval")
        lines.append((target, code))

    def f(x, t, params):
        names = {**FUNCTIONS, **params, "t": t}
        names.update({variable: x[:, k] for k, variable in enumerate(variables)})
        columns = []
        for target, code in lines:
            value = eval(code, {"__builtins__": {}}, names)
            if target is None:
                columns.append(np.broadcast_to(value, len(x)))
            else:
                names[target] = value
        return np.stack(columns, axis=1)

    return f


def rk4(f, x0, params, *, dt, steps, every=1, t0=0.0):
    """Every `every`-th state of a flow, starts (m, d): (m, steps // every + 1, d)."""
    x, t = np.array(x0, dtype=float), t0
    out = [x]
    for step in range(1, steps + 1):
        k1 = f(x, t, params)
        k2 = f(x + 0.5 * dt * k1, t + 0.5 * dt, params)
        k3 = f(x + 0.5 * dt * k2, t + 0.5 * dt, params)
        k4 = f(x + dt * k3, t + dt, params)
        x = x + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        t = t0 + step * dt
        if step % every == 0:
            out.append(x)
    return np.stack(out, axis=1)


def iterate(f, x0, params, *, steps, t0=0):
    """Every state of a map, starts (m, d): (m, steps + 1, d)."""
    x = np.array(x0, dtype=float)
    out = [x]
    for step in range(steps):
        x = f(x, t0 + step, params)
        out.append(x)
    return np.stack(out, axis=1)
