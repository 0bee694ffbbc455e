"""The built-in systems: one constructor each, with its parameters as keyword arguments.

``help(systems.lorenz)`` shows a system's equations, parameters and paper; `names` lists all of
them, `get` makes one from its name. What a constructor returns is an ordinary
`midstream.attractor.System` that carries a start near its attractor (`x0`) and a step (`dt`).

Examples
--------
>>> from midstream.attractor import systems
>>> butterfly = systems.lorenz(rho=30.0)
>>> butterfly.params["rho"], butterfly.dim
(30.0, 3)
>>> "henon" in systems.names(kind="map")
True
"""

from __future__ import annotations

import inspect
import math
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from midstream._core.errors import ArgumentValueError
from midstream._core.validate import check_choice, check_int, check_real, check_text
from midstream.attractor._catalogue import (
    CATALOGUE,
    Entry,
    lorenz96_equations,
    mackey_glass_equations,
)

if TYPE_CHECKING:
    from midstream.attractor.system import System

__all__ = sorted({"get", "names", "regime", *CATALOGUE})

#: Regime of the catalogue -> what documentation says of the default parameters.
_REGIMES = {
    "fixed_point": "a fixed point",
    "limit_cycle": "a limit cycle, or closed orbits",
    "torus": "quasi-periodic",
    "strange": "a strange attractor",
    "hyperchaotic": "a strange attractor with two or more positive exponents",
    "sea": "chaos in a conservative system, beside regular orbits",
    "unbounded": "growth without bound",
}


def names(*, kind: str | None = None, regime: str | None = None) -> list[str]:
    """Return the names of the built-in systems, sorted.

    Parameters
    ----------
    kind : {"flow", "map"}, optional
        Only these.
    regime : str, optional
        Only those that do this with their default parameters, from their default start:
        ``fixed_point limit_cycle torus strange hyperchaotic``, ``sea`` (chaos of a conservative
        system) or ``unbounded``.

    Returns
    -------
    list of str
        Each a function of this module and an argument of `get`.

    Raises
    ------
    ArgumentValueError
        Unknown kind or regime.
    """
    if kind is not None:
        check_choice("kind", kind, ("flow", "map"))
    if regime is not None:
        check_choice("regime", regime, _REGIMES)
    return sorted(
        name
        for name, entry in CATALOGUE.items()
        if kind in (None, entry.kind) and regime in (None, entry.regime)
    )


def get(name: str, **params: float) -> System:
    """Make a built-in system from its name: ``get("lorenz", rho=30.0)``.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        No such system, or a parameter that is no number.
    TypeError
        A parameter that the system does not have.
    """
    return _constructor(name)(**params)


def regime(name: str) -> str:
    """Return what a built-in system does with its default parameters; see `names`.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        No such system.
    """
    _constructor(name)
    return CATALOGUE[name].regime


def _constructor(name: str) -> Callable[..., System]:
    if check_text("name", name) not in CATALOGUE:
        import difflib

        close = difflib.get_close_matches(name, CATALOGUE, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ArgumentValueError(f"no built-in system is named {name!r}{hint}")
    constructor: Callable[..., System] = globals()[name]
    return constructor


def _system(entry: Entry, params: dict[str, float], **changes: Any) -> System:
    from midstream.attractor.system import System

    settings: dict[str, Any] = {
        "rhs": entry.equations,
        "variables": entry.variables,
        "x0": entry.x0,
        "time_step": entry.time_step,
        **changes,
    }
    return System(
        list(settings.pop("rhs")),
        len(settings["variables"]),
        params={name: check_real(name, value) for name, value in params.items()},
        kind=entry.kind,
        name=entry.name,
        dt=entry.dt,
        **settings,
    )


def _indexed(count: int) -> tuple[str, ...]:
    return tuple(f"x{index}" for index in range(count))


def _number(value: float) -> str:
    """Shortest text of a default: thirds and sevenths as such."""
    for denominator in (3, 7):
        numerator = round(value * denominator)
        if numerator % denominator and value == numerator / denominator:
            return f"{numerator}/{denominator}"
    return repr(value)


def _described(entry: Entry) -> str:
    """Equations of an entry as they are written on paper."""
    count = len(entry.variables)
    lines = list(entry.equations[:-count])
    shown = min(count, 4)
    for variable, text in zip(entry.variables[:shown], entry.equations[-count:], strict=False):
        lines.append(f"{variable}' = {text}" if entry.kind == "flow" else f"{variable} -> {text}")
    if shown < count:
        lines.append("...")
    return "\n".join(lines)


def _document(entry: Entry, extra: str = "") -> str:
    """The docstring of a constructor."""
    noun = "A flow" if entry.kind == "flow" else "A map"
    count = len(entry.variables)
    shown = ", ".join(entry.variables[:4]) + (", ..." if count > 4 else "")
    parts = [entry.doc, ""]
    listed = [
        f"{name} : float\n    Default {_number(value)}." for name, value in entry.params.items()
    ]
    if extra:
        listed.append(extra)
    if listed:
        parts += ["Parameters", "----------", *listed, ""]
    parts += [
        "Returns",
        "-------",
        "midstream.attractor.System",
        f"    {noun} of dimension {count}, state ({shown}).",
        "",
        "Raises",
        "------",
        "ArgumentTypeError, ArgumentValueError",
        "    A parameter is no finite number.",
        "",
        "Notes",
        "-----",
        "::",
        "",
        textwrap.indent(_described(entry), "    "),
        "",
        f"With the default parameters: {_REGIMES[entry.regime]}.",
        "",
        "References",
        "----------",
        *textwrap.wrap(entry.source, 90),
    ]
    return "\n".join(parts) + "\n"


def _make(entry: Entry) -> Callable[..., System]:
    def constructor(*values: float, **params: float) -> System:
        bound = signature.bind(*values, **params)
        return _system(entry, {**entry.params, **bound.arguments})

    signature = inspect.Signature(
        [
            inspect.Parameter(
                name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=value, annotation=float
            )
            for name, value in entry.params.items()
        ],
        return_annotation="System",
    )
    constructor.__signature__ = signature  # type: ignore[attr-defined]
    constructor.__name__ = constructor.__qualname__ = entry.name
    constructor.__doc__ = _document(entry)
    return constructor


def lorenz96(F: float = 8.0, N: int = 40) -> System:  # noqa: N803  (the paper's names)
    sites = check_int("N", N, low=4)
    start = (check_real("F", F) + 0.01,) + (float(F),) * (sites - 1)
    return _system(
        CATALOGUE["lorenz96"],
        {"F": F},
        rhs=lorenz96_equations(sites),
        variables=_indexed(sites),
        x0=start,
    )


lorenz96.__doc__ = _document(
    CATALOGUE["lorenz96"], "N : int\n    Number of sites, at least 4. Default 40."
)


def mackey_glass(
    beta: float = 0.2,
    gamma: float = 0.1,
    n: float = 10.0,
    tau: float = 17.0,
    steps: int | None = None,
) -> System:
    tau = check_real("tau", tau)
    if tau <= 0:
        raise ArgumentValueError(f"tau must be positive, got {tau!r}")
    steps = max(4, math.ceil(tau)) if steps is None else check_int("steps", steps, low=1)
    variables = _indexed(2 * steps + 1)
    return _system(
        CATALOGUE["mackey_glass"],
        {"beta": beta, "gamma": gamma, "n": n},
        rhs=mackey_glass_equations(steps, tau / steps),
        variables=variables,
        x0=(0.5,) * len(variables),
        time_step=tau / steps,
    )


mackey_glass.__doc__ = _document(
    CATALOGUE["mackey_glass"],
    "tau : float\n"
    "    The delay. Default 17.\n"
    "steps : int, optional\n"
    "    Steps of RK4 in one delay. Default: of length about 1. The state is the present and\n"
    "    the history in half steps, ``2*steps + 1`` numbers; one iteration is one step, which is\n"
    "    the map's `time_step`, so exponents are per unit of time. Of fourth order: from a\n"
    "    constant history, x at time 102 is right to 1e-6 with steps of 1, to 1e-7 with 1/2.",
)

for _entry in CATALOGUE.values():
    if _entry.name not in globals():
        globals()[_entry.name] = _make(_entry)
del _entry
