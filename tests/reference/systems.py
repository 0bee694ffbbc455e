"""The catalogue's equations as plain Python, on numbers of any type; RK4 as in a textbook.

Slow and obvious: the oracle of what is compiled.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from midstream.attractor._catalogue import Entry

NAMES: dict[str, Any] = {
    function.__name__: function
    for function in (np.sin, np.cos, np.tan, np.exp, np.log, np.sqrt, np.floor)
}
NAMES |= {"abs": abs, "min": min, "max": max, "pi": math.pi, "e": math.e}
NAMES["mod"] = lambda a, m: a - m * np.floor(a / m)


def function(entry: Entry, params: Mapping[str, float] | None = None) -> Callable[..., Any]:
    """``f(x, t=0)`` of an entry: a list as long as the state."""
    count = len(entry.variables)
    definitions = [re.split(r"\s*=\s*", text, maxsplit=1) for text in entry.equations[:-count]]
    compiled = [(name, compile(text, entry.name, "eval")) for name, text in definitions]
    components = [compile(text, entry.name, "eval") for text in entry.equations[-count:]]
    fixed = {**NAMES, **entry.params, **(params or {})}

    def f(x: Any, t: Any = 0.0) -> list[Any]:
        names = {**fixed, **dict(zip(entry.variables, x, strict=True)), "t": t}
        for name, code in compiled:
            names[name] = eval(code, {}, names)
        return [eval(code, {}, names) for code in components]

    return f


def jacobian(f: Callable[..., Any], x: Any, t: float = 0.0) -> np.ndarray:
    """Derivatives by differences of sixth order, in the widest floating-point numbers here."""
    x = np.asarray(x, dtype=np.longdouble)
    columns = []
    for index in range(len(x)):
        h = np.longdouble(2.0**-9) * max(abs(x[index]), 1)
        total = np.zeros(len(x), dtype=np.longdouble)
        for multiple, weight in ((1, 45), (2, -9), (3, 1)):
            up, down = x.copy(), x.copy()
            up[index] += multiple * h
            down[index] -= multiple * h
            total += weight * (np.asarray(f(up, t)) - np.asarray(f(down, t)))
        columns.append(total / (60 * h))
    return np.asarray(columns, dtype=np.float64).T


def rk4(f: Callable[..., Any], x: Any, dt: float, steps: int, t: float = 0.0) -> np.ndarray:
    """The last state."""
    x = np.asarray(x, dtype=np.float64)
    for index in range(steps):
        now = t + index * dt
        k1 = np.asarray(f(x, now))
        k2 = np.asarray(f(x + dt / 2 * k1, now + dt / 2))
        k3 = np.asarray(f(x + dt / 2 * k2, now + dt / 2))
        k4 = np.asarray(f(x + dt * k3, now + dt))
        x = x + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return x


def iterate(f: Callable[..., Any], x: Any, steps: int) -> np.ndarray:
    for index in range(steps):
        x = f(x, index)
    return np.asarray(x, dtype=np.float64)
