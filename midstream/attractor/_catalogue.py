"""The built-in systems as text: equations, parameters, a start on or near the attractor, a source.

Nothing but the standard library is imported: the build reads this file too, and makes the native
right-hand sides from the same text that the public constructors compile.

An entry's equations may begin with definitions (``"r2 = x*x + y*y"``), in the order in which they
are needed; after them comes one expression for each variable. Equations are written out the way the
source has them, with the names of `midstream.attractor.System`: ``t`` is the time of a flow,
``mod(a, m)`` lies in [0, m).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["CATALOGUE", "Entry", "lorenz96_equations", "mackey_glass_equations"]


@dataclass(frozen=True)
class Entry:
    """One system of the catalogue.

    Attributes
    ----------
    name : str
        Of the constructor in `midstream.attractor.systems`.
    kind : {"flow", "map"}
        Differential equation or iteration.
    variables : tuple of str
        Names of the state's components, in their order.
    equations : tuple of str
        Definitions, then one expression for each variable.
    params : dict of str to float
        Default parameters, in the order of the constructor's arguments.
    x0 : tuple of float
        A start on or near the attractor that the default parameters have.
    dt : float or None
        A step for RK4 at which exponents are right to four digits; None for a map.
    regime : str
        What the default parameters give from `x0`: ``fixed_point limit_cycle torus strange
        hyperchaotic``, ``sea`` for chaos of a conservative system, ``unbounded`` for linear growth.
    source : str
        The paper.
    doc : str
        One sentence.
    time_step : float
        Time that one iteration of a map stands for; exponents are per unit of this time.
    period : str
        Expression in the parameters: the period with which time enters; empty if it does not.
    """

    name: str
    kind: str
    variables: tuple[str, ...]
    equations: tuple[str, ...]
    params: Mapping[str, float]
    x0: tuple[float, ...]
    dt: float | None
    regime: str
    source: str
    doc: str
    time_step: float = 1.0
    period: str = field(default="")


CATALOGUE: dict[str, Entry] = {}


def _add(
    name: str,
    variables: str,
    equations: tuple[str, ...],
    params: Mapping[str, float],
    x0: tuple[float, ...],
    dt: float | None,
    regime: str,
    doc: str,
    source: str,
    *,
    time_step: float = 1.0,
    period: str = "",
) -> None:
    CATALOGUE[name] = Entry(
        name=name,
        kind="map" if dt is None else "flow",
        variables=tuple(variables.split()),
        equations=equations,
        params=params,
        x0=x0,
        dt=dt,
        regime=regime,
        source=source,
        doc=doc,
        time_step=time_step,
        period=period,
    )


def lorenz96_equations(n: int) -> tuple[str, ...]:
    """Equations of the Lorenz-96 ring of `n` >= 4 sites; forcing is the parameter ``F``."""
    return tuple(f"(x{(i + 1) % n} - x{(i - 2) % n})*x{(i - 1) % n} - x{i} + F" for i in range(n))


def mackey_glass_equations(steps: int, time_step: float) -> tuple[str, ...]:
    """Equations of the Mackey-Glass delay equation as a map over its history.

    The delay is ``steps*time_step``. ``x0`` is the present, ``x{i}`` the value ``i`` half steps
    ago, ``x{2*steps}`` the oldest. One iteration is one step of RK4; the value in its middle comes
    from RK4's cubic, and is what a later step finds in the middle of its delayed interval. No
    interval straddles a multiple of the delay, where a derivative jumps, so the map is of fourth
    order in `time_step` from any history that is smooth.
    """
    last = 2 * steps
    feedback = "beta*{0}/(1 + {0}**n)"
    h = repr(float(time_step))
    return (
        f"d0 = {feedback.format(f'x{last}')}",
        f"d1 = {feedback.format(f'x{last - 1}')}",
        f"d2 = {feedback.format(f'x{last - 2}')}",
        "k1 = d0 - gamma*x0",
        f"k2 = d1 - gamma*(x0 + {h}/2*k1)",
        f"k3 = d1 - gamma*(x0 + {h}/2*k2)",
        f"k4 = d2 - gamma*(x0 + {h}*k3)",
        f"x0 + {h}/6*(k1 + 2*k2 + 2*k3 + k4)",
        f"x0 + {h}/24*(5*k1 + 4*k2 + 4*k3 - k4)",
        *(f"x{i}" for i in range(last - 1)),
    )


_SPROTT = "J. C. Sprott, Phys. Rev. E 50 (1994) R647, table I"
_SPROTT_BOOK = "J. C. Sprott, Chaos and Time-Series Analysis, Oxford 2003, appendix A"
_XYZ = "x y z"

# ---------------------------------------------------------------------------------- flows

_add(
    "lorenz",
    _XYZ,
    ("sigma*(y - x)", "x*(rho - z) - y", "x*y - beta*z"),
    {"sigma": 10.0, "rho": 28.0, "beta": 8 / 3},
    (-8.028, -15.574, 9.691),
    0.005,
    "strange",
    "Convection rolls: the butterfly.",
    "E. N. Lorenz, J. Atmos. Sci. 20 (1963) 130",
)
_add(
    "rossler",
    _XYZ,
    ("-y - z", "x + a*y", "b + z*(x - c)"),
    {"a": 0.2, "b": 0.2, "c": 5.7},
    (0.404, 4.862, 0.051),
    0.01,
    "strange",
    "One lobe, one fold.",
    "O. E. Rossler, Phys. Lett. A 57 (1976) 397",
)
_add(
    "hyper_rossler",
    "x y z w",
    ("-y - z", "x + a*y + w", "b + x*z", "c*w - d*z"),
    {"a": 0.25, "b": 3.0, "c": 0.05, "d": 0.5},
    (-20.0, 0.0, 0.0, 15.0),
    0.002,
    "hyperchaotic",
    "The first system with two positive exponents.",
    "O. E. Rossler, Phys. Lett. A 71 (1979) 155",
)
_add(
    "chen",
    _XYZ,
    ("a*(y - x)", "(c - a)*x - x*z + c*y", "x*y - b*z"),
    {"a": 35.0, "b": 3.0, "c": 28.0},
    (-7.086, -3.62, 26.339),
    0.001,
    "strange",
    "The dual of Lorenz's equations.",
    "G. Chen, T. Ueta, Int. J. Bifurcation Chaos 9 (1999) 1465",
)
_add(
    "lu",
    _XYZ,
    ("a*(y - x)", "c*y - x*z", "x*y - b*z"),
    {"a": 36.0, "b": 3.0, "c": 20.0},
    (6.234, 8.371, 10.309),
    0.001,
    "strange",
    "Between Lorenz's and Chen's equations.",
    "J. Lu, G. Chen, Int. J. Bifurcation Chaos 12 (2002) 659",
)
_add(
    "liu",
    _XYZ,
    ("a*(y - x)", "b*x - x*z", "h*x*x - c*z"),
    {"a": 10.0, "b": 40.0, "c": 2.5, "h": 4.0},
    (1.874, 1.954, 32.75),
    0.002,
    "strange",
    "A butterfly with one square.",
    "C. Liu, T. Liu, L. Liu, K. Liu, Chaos Solitons Fractals 22 (2004) 1031",
)
_add(
    "hyper_lorenz",
    "x y z w",
    ("a*(y - x) + w", "c*x - y - x*z", "x*y - b*z", "r*w - y*z"),
    {"a": 10.0, "b": 8 / 3, "c": 28.0, "r": -1.0},
    (13.908, 17.228, 29.947, -17.309),
    0.002,
    "hyperchaotic",
    "Lorenz's equations with a feedback that gives a second positive exponent.",
    "X. Wang, M. Wang, Physica A 387 (2008) 3751",
)
_add(
    "hyper_chen",
    "x y z w",
    ("a*(y - x) + w", "d*x - x*z + c*y", "x*y - b*z", "y*z + r*w"),
    {"a": 35.0, "b": 3.0, "c": 12.0, "d": 7.0, "r": 0.5},
    (6.183, 7.852, 14.561, -15.237),
    0.001,
    "hyperchaotic",
    "Chen's equations with a feedback that gives a second positive exponent.",
    "Y. Li, W. K. S. Tang, G. Chen, Int. J. Bifurcation Chaos 15 (2005) 3367",
)
_add(
    "lorenz_stenflo",
    "x y z w",
    ("a*(y - x) + d*w", "x*(c - z) - y", "x*y - b*z", "-x - a*w"),
    {"a": 2.0, "b": 0.7, "c": 26.0, "d": 1.5},
    (-6.116, 4.654, 35.287, 2.422),
    0.005,
    "strange",
    "Acoustic gravity waves: Lorenz's equations with rotation.",
    "L. Stenflo, Phys. Scr. 53 (1996) 83",
)
_add(
    "thomas",
    _XYZ,
    ("sin(y) - b*x", "sin(z) - b*y", "sin(x) - b*z"),
    {"b": 0.18},
    (0.1, 0.0, 0.0),
    0.05,
    "strange",
    "Cyclically symmetric labyrinth.",
    "R. Thomas, Int. J. Bifurcation Chaos 9 (1999) 1889",
)
_add(
    "halvorsen",
    _XYZ,
    ("-a*x - b*y - b*z - y*y", "-a*y - b*z - b*x - z*z", "-a*z - b*x - b*y - x*x"),
    {"a": 1.27, "b": 4.0},
    (-5.0, 0.0, 0.0),
    0.003,
    "strange",
    "Cyclically symmetric with quadratic terms.",
    _SPROTT_BOOK,
)
_add(
    "chua",
    _XYZ,
    (
        "g = m1*x + (m0 - m1)*(abs(x + 1) - abs(x - 1))/2",
        "alpha*(y - x - g)",
        "x - y + z",
        "-beta*y",
    ),
    {"alpha": 9.0, "beta": 100 / 7, "m0": -8 / 7, "m1": -5 / 7},
    (0.325, 0.019, -0.222),
    0.005,
    "strange",
    "Circuit with a piecewise linear diode: the double scroll.",
    "T. Matsumoto, IEEE Trans. Circuits Syst. 31 (1984) 1055",
)
_add(
    "duffing",
    "x y",
    ("y", "f*cos(omega*t) - d*y - beta*x - x**3"),
    {"d": 0.2, "beta": -1.0, "f": 0.3, "omega": 1.0},
    (0.1, 0.25),
    0.01,
    "strange",
    "Driven particle in two wells.",
    "J. Guckenheimer, P. Holmes, Nonlinear Oscillations, Springer 1983, sec. 2.2",
    period="2*pi/omega",
)
_add(
    "ueda",
    "x y",
    ("y", "B*sin(omega*t) - k*y - x**3"),
    {"k": 0.05, "B": 7.5, "omega": 1.0},
    (2.5, 0.0),
    0.005,
    "strange",
    "Driven hard spring: the Japanese attractor.",
    "Y. Ueda, J. Stat. Phys. 20 (1979) 181",
    period="2*pi/omega",
)
_add(
    "van_der_pol",
    "x y",
    ("y", "mu*(1 - x*x)*y - x"),
    {"mu": 1.0},
    (2.0, 0.0),
    0.01,
    "limit_cycle",
    "Relaxation oscillator.",
    "B. van der Pol, Phil. Mag. 2 (1926) 978",
)
_add(
    "forced_van_der_pol",
    "x y",
    ("y", "d*(1 - x*x)*y - x + a*cos(omega*t)"),
    {"d": 5.0, "a": 5.0, "omega": 2.466},
    (1.0, -1.0),
    0.002,
    "strange",
    "Driven relaxation oscillator.",
    "U. Parlitz, W. Lauterborn, Phys. Rev. A 36 (1987) 1428",
    period="2*pi/omega",
)
_add(
    "forced_pendulum",
    "theta w",
    ("w", "a*cos(omega*t) - b*w - sin(theta)"),
    {"b": 0.5, "a": 1.15, "omega": 2 / 3},
    (0.0, 1.0),
    0.02,
    "strange",
    "Damped driven pendulum.",
    "G. L. Baker, J. P. Gollub, Chaotic Dynamics, Cambridge 1990, ch. 3",
    period="2*pi/omega",
)
_add(
    "pendulum",
    "theta w",
    ("w", "-b*w - sin(theta)"),
    {"b": 0.0},
    (1.0, 0.0),
    0.02,
    "limit_cycle",
    "Plane pendulum; without damping every orbit closes.",
    "textbook",
)
_add(
    "double_pendulum",
    "theta1 theta2 p1 p2",
    (
        "c = cos(theta1 - theta2)",
        "s = sin(theta1 - theta2)",
        "q = m1 + m2*s*s",
        "u = p1*p2*s/(l1*l2*q)",
        "v = (m2*l2**2*p1**2 + (m1 + m2)*l1**2*p2**2 - 2*m2*l1*l2*p1*p2*c)*s*c/(l1*l2*q)**2",
        "(l2*p1 - l1*p2*c)/(l1**2*l2*q)",
        "((m1 + m2)*l1*p2 - m2*l2*p1*c)/(m2*l1*l2**2*q)",
        "v - u - (m1 + m2)*g*l1*sin(theta1)",
        "u - v - m2*g*l2*sin(theta2)",
    ),
    {"m1": 1.0, "m2": 1.0, "l1": 1.0, "l2": 1.0, "g": 9.81},
    (2.0, 2.5, 0.0, 0.0),
    0.005,
    "sea",
    "Two point masses on rods, in angles and canonical momenta, so that exponents pair.",
    "T. Shinbrot, C. Grebogi, J. Wisdom, J. A. Yorke, Am. J. Phys. 60 (1992) 491",
)
_add(
    "henon_heiles",
    "x y px py",
    ("px", "py", "-x - 2*x*y", "y*y - x*x - y"),
    {},
    (0.0, -0.25, 0.42081, 0.0),
    0.02,
    "sea",
    "A star in a galaxy: H = (px^2 + py^2)/2 + (x^2 + y^2)/2 + x^2 y - y^3/3; here H = 0.125.",
    "M. Henon, C. Heiles, Astron. J. 69 (1964) 73",
)
_add(
    "simplest_jerk",
    _XYZ,
    ("y", "z", "y*y - A*z - x"),
    {"A": 2.017},
    (-0.9, 0.0, 0.5),
    0.02,
    "strange",
    "The simplest quadratic flow that is chaotic; its basin is small.",
    "J. C. Sprott, Phys. Lett. A 228 (1997) 271",
)
_add(
    "genesio_tesi",
    _XYZ,
    ("y", "z", "x*x - c*x - b*y - a*z"),
    {"a": 0.44, "b": 1.1, "c": 1.0},
    (0.43, 0.489, -0.34),
    0.02,
    "strange",
    "Jerk equation with one square.",
    "R. Genesio, A. Tesi, Automatica 28 (1992) 531",
)
_add(
    "arneodo",
    _XYZ,
    ("y", "z", "-a*x - b*y - c*z + d*x**3"),
    {"a": -5.5, "b": 3.5, "c": 1.0, "d": -1.0},
    (-0.346, 0.715, -0.762),
    0.01,
    "strange",
    "Jerk equation with a cube: spirals about two foci.",
    "A. Arneodo, P. Coullet, C. Tresser, Commun. Math. Phys. 79 (1981) 573",
)
_add(
    "coullet",
    _XYZ,
    ("y", "z", "a*x + b*y + c*z + d*x**3"),
    {"a": 0.8, "b": -1.1, "c": -0.45, "d": -1.0},
    (0.512, 0.409, -0.009),
    0.02,
    "strange",
    "Jerk equation with a cube, of the other sign pattern.",
    "P. Coullet, C. Tresser, A. Arneodo, Phys. Lett. A 72 (1979) 268",
)
_add(
    "moore_spiegel",
    _XYZ,
    ("y", "z", "-z - (T - R + R*x*x)*y - T*x"),
    {"T": 6.0, "R": 20.0},
    (-0.576, 1.918, -2.813),
    0.005,
    "strange",
    "Thermally excited nonlinear oscillator.",
    "D. W. Moore, E. A. Spiegel, Astrophys. J. 143 (1966) 871",
)
_add(
    "rabinovich_fabrikant",
    _XYZ,
    (
        "y*(z - 1 + x*x) + gamma*x",
        "x*(3*z + 1 - x*x) + gamma*y",
        "-2*z*(alpha + x*y)",
    ),
    {"gamma": 0.87, "alpha": 1.1},
    (-1.0, 0.0, 0.5),
    0.005,
    "strange",
    "Modulation instability of waves.",
    "M. I. Rabinovich, A. L. Fabrikant, Sov. Phys. JETP 50 (1979) 311",
)
_add(
    "rikitake",
    _XYZ,
    ("z*y - mu*x", "x*(z - a) - mu*y", "1 - x*y"),
    {"mu": 2.0, "a": 5.0},
    (0.312, 0.147, 6.608),
    0.01,
    "strange",
    "Two coupled dynamos: reversals of the Earth's field.",
    "T. Rikitake, Proc. Camb. Phil. Soc. 54 (1958) 89",
)
_add(
    "aizawa",
    _XYZ,
    (
        "(z - b)*x - d*y",
        "d*x + (z - b)*y",
        "c + a*z - z**3/3 - (x*x + y*y)*(1 + h*z) + f*z*x**3",
    ),
    {"a": 0.95, "b": 0.7, "c": 0.6, "d": 3.5, "h": 0.25, "f": 0.1},
    (-0.14, 0.006, 1.096),
    0.01,
    "strange",
    "A sphere with a tube through it.",
    "W. F. Langford, Int. Ser. Numer. Math. 70 (1984) 279; Y. Aizawa, T. Uezu, 1982",
)
_add(
    "lorenz84",
    _XYZ,
    ("-y*y - z*z - a*x + a*F", "x*y - b*x*z - y + G", "b*x*y + x*z - z"),
    {"a": 0.25, "b": 4.0, "F": 8.0, "G": 1.0},
    (1.122, -0.789, -0.163),
    0.01,
    "strange",
    "The westerlies and two waves: the smallest model of the atmosphere's circulation.",
    "E. N. Lorenz, Tellus A 36 (1984) 98",
)
_add(
    "shimizu_morioka",
    _XYZ,
    ("y", "x - a*y - x*z", "x*x - b*z"),
    {"a": 0.81, "b": 0.375},
    (0.812, -0.066, 1.278),
    0.02,
    "strange",
    "Lorenz's equations at large Rayleigh number, in a simpler form.",
    "T. Shimizu, N. Morioka, Phys. Lett. A 76 (1980) 201",
)
_add(
    "rucklidge",
    _XYZ,
    ("a*y - kappa*x - y*z", "x", "y*y - z"),
    {"kappa": 2.0, "a": 6.7},
    (0.085, 2.646, 6.704),
    0.01,
    "strange",
    "Double convection in a magnetic field.",
    "A. M. Rucklidge, J. Fluid Mech. 237 (1992) 209",
)
_add(
    "newton_leipnik",
    _XYZ,
    ("y - a*x + 10*y*z", "5*x*z - x - 0.4*y", "b*z - 5*x*y"),
    {"a": 0.4, "b": 0.175},
    (0.349, 0.0, -0.16),
    0.01,
    "strange",
    "Rigid body with linear feedback: two attractors.",
    "R. B. Leipnik, T. A. Newton, Phys. Lett. A 86 (1981) 63",
)
_add(
    "burke_shaw",
    _XYZ,
    ("-s*(x + y)", "-y - s*x*z", "s*x*y + v"),
    {"s": 10.0, "v": 4.272},
    (-0.647, 0.962, 0.88),
    0.002,
    "strange",
    "Like Lorenz's, with more twist.",
    "R. Shaw, Z. Naturforsch. 36a (1981) 80",
)
_add(
    "dadras",
    _XYZ,
    ("y - p*x + q*y*z", "r*y - x*z + z", "s*x*y - h*z"),
    {"p": 3.0, "q": 2.7, "r": 1.7, "s": 2.0, "h": 9.0},
    (5.015, 5.92, 3.264),
    0.003,
    "strange",
    "Two to four wings.",
    "S. Dadras, H. R. Momeni, Phys. Lett. A 373 (2009) 3637",
)
_add(
    "four_wing",
    _XYZ,
    ("a*x + y*z", "b*x + c*y - x*z", "-z - x*y"),
    {"a": 0.2, "b": 0.01, "c": -0.4},
    (0.458, 0.3, -0.156),
    0.02,
    "strange",
    "Four wings.",
    "Z. Wang, Y. Sun, B. J. van Wyk, G. Qi, M. A. van Wyk, Braz. J. Phys. 39 (2009) 547",
)
_add(
    "finance",
    _XYZ,
    ("z + (y - a)*x", "1 - b*y - x*x", "-x - c*z"),
    {"a": 0.9, "b": 0.2, "c": 1.2},
    (-0.66, 1.301, 0.742),
    0.01,
    "strange",
    "Interest, investment, prices.",
    "J. Ma, Y. Chen, Appl. Math. Mech. 22 (2001) 1240",
)
_add(
    "colpitts",
    _XYZ,
    ("g/(Q*(1 - k))*(z + 1 - exp(-y))", "g/(Q*k)*z", "-Q*k*(1 - k)/g*(x + y) - z/Q"),
    {"g": 10**0.625, "Q": 10**0.15, "k": 0.5},
    (4.918, 8.631, -0.729),
    0.005,
    "strange",
    "Transistor oscillator.",
    "G. M. Maggio, O. De Feo, M. P. Kennedy, IEEE Trans. Circuits Syst. I 46 (1999) 1118",
)
_add(
    "hindmarsh_rose",
    _XYZ,
    (
        "y - a*x**3 + b*x*x - z + I",
        "c - d*x*x - y",
        "r*(s*(x - xr) - z)",
    ),
    {"a": 1.0, "b": 3.0, "c": 1.0, "d": 5.0, "r": 0.006, "s": 4.0, "xr": -1.6, "I": 3.25},
    (-0.5, 0.0, 3.2),
    0.02,
    "strange",
    "Bursting neuron.",
    "J. L. Hindmarsh, R. M. Rose, Proc. R. Soc. B 221 (1984) 87",
)
_add(
    "fitzhugh_nagumo",
    "v w",
    ("v - v**3/3 - w + I", "eps*(v + a - b*w)"),
    {"a": 0.7, "b": 0.8, "eps": 0.08, "I": 0.5},
    (-1.0, 1.0),
    0.05,
    "limit_cycle",
    "Spiking neuron in two variables.",
    "R. FitzHugh, Biophys. J. 1 (1961) 445",
)
_add(
    "brusselator",
    "x y",
    ("a + x*x*y - (b + 1)*x", "b*x - x*x*y"),
    {"a": 1.0, "b": 3.0},
    (1.0, 2.0),
    0.01,
    "limit_cycle",
    "Autocatalytic reaction.",
    "I. Prigogine, R. Lefever, J. Chem. Phys. 48 (1968) 1695",
)
_add(
    "selkov",
    "x y",
    ("a*y - x + x*x*y", "b - a*y - x*x*y"),
    {"a": 0.06, "b": 0.6},
    (0.6, 1.4),
    0.02,
    "limit_cycle",
    "Glycolysis.",
    "E. E. Sel'kov, Eur. J. Biochem. 4 (1968) 79",
)
_add(
    "lotka_volterra",
    "x y",
    ("a*x - b*x*y", "d*x*y - c*y"),
    {"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0},
    (1.0, 0.5),
    0.02,
    "limit_cycle",
    "Predators and prey; every orbit closes.",
    "A. J. Lotka, J. Am. Chem. Soc. 42 (1920) 1595; V. Volterra, Nature 118 (1926) 558",
)
_add(
    "hastings_powell",
    _XYZ,
    (
        "x*(1 - x) - a1*x/(1 + b1*x)*y",
        "a1*x/(1 + b1*x)*y - a2*y/(1 + b2*y)*z - d1*y",
        "a2*y/(1 + b2*y)*z - d2*z",
    ),
    {"a1": 5.0, "b1": 3.0, "a2": 0.1, "b2": 2.0, "d1": 0.4, "d2": 0.01},
    (0.75, 0.15, 9.8),
    0.2,
    "strange",
    "Food chain of three species: the teacup.",
    "A. Hastings, T. Powell, Ecology 72 (1991) 896",
)
_add(
    "stuart_landau",
    "x y",
    ("r2 = x*x + y*y", "mu*x - omega*y - x*r2", "omega*x + mu*y - y*r2"),
    {"mu": 1.0, "omega": 1.0},
    (0.1, 0.0),
    0.01,
    "limit_cycle",
    "Normal form of the Hopf bifurcation: exponents 0, -2 mu; period 2 pi/omega.",
    "L. D. Landau, Dokl. Akad. Nauk SSSR 44 (1944) 339; J. T. Stuart, J. Fluid Mech. 9 (1960) 353",
)
_add(
    "torus_rotation",
    "theta1 theta2",
    ("w1", "w2"),
    {"w1": 1.0, "w2": math.sqrt(2.0)},
    (0.0, 0.0),
    0.01,
    "torus",
    "Two phases that turn at incommensurate rates; exponents 0, 0.",
    "closed form",
)
_add(
    "linear_flow_1d",
    "x",
    ("a*x",),
    {"a": -0.9},
    (1.0,),
    0.01,
    "fixed_point",
    "Exponential decay; exponent a.",
    "closed form",
)
_add(
    "linear_flow_2d",
    "x y",
    ("a*x", "b*y"),
    {"a": 0.1, "b": -0.4},
    (1.0, 1.0),
    0.01,
    "unbounded",
    "A saddle; exponents a, b.",
    "closed form",
)
_add(
    "abc_flow",
    _XYZ,
    ("A*sin(z) + C*cos(y)", "B*sin(x) + A*cos(z)", "C*sin(y) + B*cos(x)"),
    {"A": math.sqrt(3.0), "B": math.sqrt(2.0), "C": 1.0},
    (0.0, 0.0, 0.0),
    0.02,
    "sea",
    "Arnold, Beltrami, Childress: steady flow of an ideal fluid with chaotic stream lines.",
    "T. Dombre, U. Frisch, J. M. Greene, M. Henon, A. Mehr, A. M. Soward, J. Fluid Mech. 167 "
    "(1986) 353",
)
_add(
    "double_gyre",
    "x y",
    (
        "a = eps*sin(omega*t)",
        "f = a*x*x + (1 - 2*a)*x",
        "df = 2*a*x + 1 - 2*a",
        "-pi*A*sin(pi*f)*cos(pi*y)",
        "pi*A*cos(pi*f)*sin(pi*y)*df",
    ),
    {"A": 0.1, "eps": 0.25, "omega": 2 * math.pi / 10},
    (0.6, 0.3),
    0.05,
    "sea",
    "Two counter-rotating cells whose border swings, on [0, 2] x [0, 1]: the test of FTLE fields.",
    "S. C. Shadden, F. Lekien, J. E. Marsden, Physica D 212 (2005) 271",
    period="2*pi/omega",
)
_add(
    "nose_hoover",
    _XYZ,
    ("y", "-x - y*z", "y*y - a"),
    {"a": 1.0},
    (0.0, 5.0, 0.0),
    0.01,
    "sea",
    "Oscillator with a thermostat; conservative, chaos beside tori.",
    "W. G. Hoover, Phys. Rev. A 31 (1985) 1695",
)


def _sprott(letter: str, x: str, y: str, z: str, x0: tuple[float, float, float]) -> None:
    _add(
        f"sprott_{letter.lower()}",
        _XYZ,
        (x, y, z),
        {},
        x0,
        0.01,
        "sea" if letter == "A" else "strange",
        f"Case {letter} of Sprott's nineteen simple chaotic flows.",
        _SPROTT,
    )


_sprott("A", "y", "y*z - x", "1 - y*y", (0.0, 5.0, 0.0))
_sprott("B", "y*z", "x - y", "1 - x*y", (-1.407, -0.477, -0.711))
_sprott("C", "y*z", "x - y", "1 - x*x", (1.154, 0.673, 1.427))
_sprott("D", "-y", "x + z", "x*z + 3*y*y", (-1.029, 0.742, 1.327))
_sprott("E", "y*z", "x*x - y", "1 - 4*x", (-0.054, 0.05, 2.679))
_sprott("F", "y + z", "0.5*y - x", "x*x - z", (-2.579, -3.056, 2.834))
_sprott("G", "0.4*x + z", "x*z - y", "y - x", (-1.259, -2.377, 1.663))
_sprott("H", "z*z - y", "x + 0.5*y", "x - z", (-0.569, 4.069, 0.725))
_sprott("I", "-0.2*y", "x + z", "x + y*y - z", (-0.485, -0.289, -0.292))
_sprott("J", "2*z", "z - 2*y", "y - x + y*y", (-3.904, 0.18, 3.365))
_sprott("K", "x*y - z", "x - y", "x + 0.3*z", (1.225, 0.911, 1.295))
_sprott("L", "y + 3.9*z", "0.9*x*x - y", "1 - x", (2.649, 20.279, -3.377))
_sprott("M", "-z", "-x*x - y", "1.7 + 1.7*x + y", (0.288, -0.702, -1.186))
_sprott("N", "-2*y", "x + z*z", "1 + y - 2*z", (-24.45, -2.856, 1.926))
_sprott("O", "y", "x - z", "x + x*z + 2.7*y", (-0.29, 0.309, -0.583))
_sprott("P", "2.7*y + z", "y*y - x", "x + y", (-0.22, 0.249, -0.227))
_sprott("Q", "-z", "x - y", "3.1*x + y*y + 0.5*z", (-2.351, -2.51, -5.124))
_sprott("R", "0.9 - y", "0.4 + z", "x*y - z", (-0.723, -1.053, 0.409))
_sprott("S", "-x - 4*y", "x + z*z", "1 + x", (-1.14, 1.306, 1.533))

_add(
    "lorenz96",
    " ".join(f"x{i}" for i in range(40)),
    lorenz96_equations(40),
    {"F": 8.0},
    (8.01,) + (8.0,) * 39,
    0.01,
    "hyperchaotic",
    "A ring of sites that carry weather around; any number of sites from 4.",
    "E. N. Lorenz, Proc. Seminar on Predictability, ECMWF 1996; E. N. Lorenz, K. A. Emanuel, "
    "J. Atmos. Sci. 55 (1998) 399",
)
_add(
    "mackey_glass",
    " ".join(f"x{i}" for i in range(2 * 17 + 1)),
    mackey_glass_equations(17, 1.0),
    {"beta": 0.2, "gamma": 0.1, "n": 10.0},
    (0.5,) * (2 * 17 + 1),
    None,
    "strange",
    "Production of blood cells with a delay, as a map over its history.",
    "M. C. Mackey, L. Glass, Science 197 (1977) 287; exponents: J. D. Farmer, Physica D 4 (1982) "
    "366",
    time_step=1.0,
)

# ----------------------------------------------------------------------------------- maps

#: Doubling shifts one binary digit out of a number that has 53: after about 55 steps nothing is
#: left. This much less than 2 and rounding brings new digits; the exponent is ln 2 - 5e-11.
_SHORT_OF_TWO = 1e-10

_add(
    "logistic",
    "x",
    ("r*x*(1 - x)",),
    {"r": 4.0},
    (0.2,),
    None,
    "strange",
    "Population with limited food; exponent ln 2 at r = 4.",
    "R. M. May, Nature 261 (1976) 459",
)
_add(
    "tent",
    "x",
    ("mu*min(x, 1 - x)",),
    {"mu": 1.9},
    (0.2,),
    None,
    "strange",
    "Exponent ln mu. At mu = 2 binary arithmetic falls on 0 after about 55 steps.",
    "textbook",
)
_add(
    "beta",
    "x",
    ("mod(beta*x, 1)",),
    {"beta": (1 + math.sqrt(5.0)) / 2},
    (0.2,),
    None,
    "strange",
    "Expansion to a base that is no integer; exponent ln beta.",
    "A. Renyi, Acta Math. Acad. Sci. Hung. 8 (1957) 477",
)
_add(
    "doubling",
    "x",
    ("mod((2 - short)*x, 1)",),
    {"short": _SHORT_OF_TWO},
    (0.1234567,),
    None,
    "strange",
    "x -> 2 x mod 1, short of 2 by `short`, since binary numbers run out of digits.",
    "A. Renyi, Acta Math. Acad. Sci. Hung. 8 (1957) 477",
)
_add(
    "gauss_map",
    "x",
    ("exp(-alpha*x*x) + beta",),
    {"alpha": 6.2, "beta": -0.5},
    (0.1,),
    None,
    "strange",
    "The mouse map.",
    "R. C. Hilborn, Chaos and Nonlinear Dynamics, Oxford 2000",
)
_add(
    "continued_fraction",
    "x",
    ("mod(1/x, 1)",),
    {},
    (0.1234567,),
    None,
    "strange",
    "Gauss's map of continued fractions; exponent pi^2/(6 ln 2).",
    "C. F. Gauss 1812; A. Ya. Khinchin, Continued Fractions, Chicago 1964",
)
_add(
    "sine_map",
    "x",
    ("r*sin(pi*x)",),
    {"r": 1.0},
    (0.1,),
    None,
    "strange",
    "Like the logistic map, with a sine.",
    _SPROTT_BOOK,
)
_add(
    "cubic_map",
    "x",
    ("a*x*(1 - x*x)",),
    {"a": 3.0},
    (0.1,),
    None,
    "strange",
    "Odd map, a Chebyshev polynomial at a = 3; exponent ln 3 there.",
    _SPROTT_BOOK,
)
_add(
    "ricker",
    "x",
    ("r*x*exp(-x)",),
    {"r": 20.0},
    (0.1,),
    None,
    "strange",
    "Fish stock.",
    "W. E. Ricker, J. Fish. Res. Board Can. 11 (1954) 559",
)
_add(
    "cusp",
    "x",
    ("1 - a*sqrt(abs(x))",),
    {"a": 2.0},
    (0.5,),
    None,
    "strange",
    "The return map of Lorenz's attractor, caricatured; exponent 1/2 at a = 2.",
    "P. C. Hemmer, J. Phys. A 17 (1984) L247",
)
_add(
    "circle_rotation",
    "x",
    ("mod(x + omega, 1)",),
    {"omega": (math.sqrt(5.0) - 1) / 2},
    (0.0,),
    None,
    "torus",
    "Rotation by the golden mean; exponent 0.",
    "closed form",
)
_add(
    "circle_map",
    "x",
    ("mod(x + omega - k/(2*pi)*sin(2*pi*x), 1)",),
    {"omega": (math.sqrt(5.0) - 1) / 2, "k": 0.8},
    (0.1,),
    None,
    "torus",
    "Phase of an oscillator that is kicked: locked, quasi-periodic or, for k > 1, chaotic.",
    "V. I. Arnold, Transl. Am. Math. Soc. 46 (1965) 213",
)
_add(
    "linear_map_1d",
    "x",
    ("a*x",),
    {"a": 0.9},
    (1.0,),
    None,
    "fixed_point",
    "Geometric decay; exponent ln a.",
    "closed form",
)
_add(
    "linear_map_2d",
    "x y",
    ("a*x", "b*y"),
    {"a": 1.1, "b": 0.8},
    (1.0, 1.0),
    None,
    "unbounded",
    "A saddle; exponents ln a, ln b.",
    "closed form",
)
_add(
    "arnold_cat",
    "x y",
    ("mod(2*x + y, 1)", "mod(x + y, 1)"),
    {},
    (0.1, 0.2),
    None,
    "sea",
    "Linear and hyperbolic on the torus; exponents +-ln((3 + sqrt 5)/2).",
    "V. I. Arnold, A. Avez, Ergodic Problems of Classical Mechanics, Benjamin 1968",
)
_add(
    "sinai_map",
    "x y",
    ("mod(x + y + delta*cos(2*pi*y), 1)", "mod(x + 2*y, 1)"),
    {"delta": 0.1},
    (0.5, 0.3),
    None,
    "strange",
    "The cat map, bent.",
    "Ya. G. Sinai, Russ. Math. Surv. 27 (1972) 21",
)
_add(
    "kaplan_yorke_map",
    "x y",
    ("mod((2 - short)*x, 1)", "alpha*y + cos(4*pi*x)"),
    {"alpha": 0.2, "short": _SHORT_OF_TWO},
    (0.1234567, 0.4),
    None,
    "strange",
    "Doubling that drives a contraction; exponents ln 2, ln alpha. `short`: see `doubling`.",
    "J. L. Kaplan, J. A. Yorke, Lect. Notes Math. 730 (1979) 204",
)
_add(
    "henon",
    "x y",
    ("1 - a*x*x + y", "b*x"),
    {"a": 1.4, "b": 0.3},
    (0.0, 0.0),
    None,
    "strange",
    "The quadratic map of the plane.",
    "M. Henon, Commun. Math. Phys. 50 (1976) 69",
)
_add(
    "henon_3d",
    _XYZ,
    ("a - y*y - b*z", "x", "y"),
    {"a": 1.76, "b": 0.1},
    (0.0, 0.0, 0.0),
    None,
    "hyperchaotic",
    "Generalised Henon map.",
    "G. Baier, M. Klein, Phys. Lett. A 151 (1990) 281",
)
_add(
    "lozi",
    "x y",
    ("1 - a*abs(x) + y", "b*x"),
    {"a": 1.7, "b": 0.5},
    (-0.1, 0.1),
    None,
    "strange",
    "Henon's map with a corner.",
    "R. Lozi, J. Phys. Colloques 39 (1978) C5-9",
)
_add(
    "ikeda_map",
    "x y",
    ("w = c - d/(1 + x*x + y*y)", "1 + u*(x*cos(w) - y*sin(w))", "u*(x*sin(w) + y*cos(w))"),
    {"u": 0.9, "c": 0.4, "d": 6.0},
    (0.1, 0.1),
    None,
    "strange",
    "Light in a ring cavity.",
    "S. M. Hammel, C. K. R. T. Jones, J. V. Moloney, J. Opt. Soc. Am. B 2 (1985) 552",
)
_add(
    "standard_map",
    "theta p",
    ("q = p + k*sin(theta)", "mod(theta + q, 2*pi)", "mod(q, 2*pi)"),
    {"k": 1.0},
    (0.001, 0.008),
    None,
    "sea",
    "Kicked rotor.",
    "B. V. Chirikov, Phys. Rep. 52 (1979) 263",
)
_add(
    "folded_towel",
    _XYZ,
    (
        "3.8*x*(1 - x) - 0.05*(y + 0.35)*(1 - 2*z)",
        "0.1*((y + 0.35)*(1 - 2*z) - 1)*(1 - 1.9*x)",
        "3.78*z*(1 - z) + 0.2*y",
    ),
    {},
    (0.085, -0.121, 0.075),
    None,
    "hyperchaotic",
    "Folds in two directions.",
    "O. E. Rossler, Phys. Lett. A 71 (1979) 155",
)
_add(
    "tinkerbell",
    "x y",
    ("x*x - y*y + a*x + b*y", "2*x*y + c*x + d*y"),
    {"a": 0.9, "b": -0.6013, "c": 2.0, "d": 0.5},
    (-0.72, -0.64),
    None,
    "strange",
    "Named for the path it draws.",
    "H. E. Nusse, J. A. Yorke, Dynamics: Numerical Explorations, Springer 1998",
)
_add(
    "gingerbreadman",
    "x y",
    ("1 - y + abs(x)", "x"),
    {},
    (0.5, 3.7),
    None,
    "sea",
    "Piecewise linear, area preserving.",
    "R. L. Devaney, Physica D 10 (1984) 387",
)
_add(
    "duffing_map",
    "x y",
    ("y", "a*y - b*x - y**3"),
    {"a": 2.77, "b": 0.2},
    (1.6, 0.0),
    None,
    "strange",
    "Holmes' cubic map.",
    "P. Holmes, Phil. Trans. R. Soc. A 292 (1979) 419",
)
_add(
    "delayed_logistic",
    "x y",
    ("a*x*(1 - y)", "x"),
    {"a": 2.27},
    (0.9, 0.9),
    None,
    "strange",
    "Population that feels last year's number.",
    "D. G. Aronson, M. A. Chory, G. R. Hall, R. P. McGehee, Commun. Math. Phys. 83 (1982) 303",
)
_add(
    "coupled_logistic",
    "x y",
    ("f = r*x*(1 - x)", "g = r*y*(1 - y)", "(1 - eps)*f + eps*g", "(1 - eps)*g + eps*f"),
    {"r": 4.0, "eps": 0.1},
    (0.2, 0.7),
    None,
    "hyperchaotic",
    "Two populations that exchange members.",
    "K. Kaneko, Prog. Theor. Phys. 69 (1983) 1427",
)
_add(
    "bogdanov",
    "x y",
    ("u = (1 + eps)*y + k*x*(x - 1) + mu*x*y", "x + u", "u"),
    {"eps": 0.0, "k": 1.2, "mu": 0.0},
    (0.3, 0.0),
    None,
    "torus",
    "Discretised Bogdanov-Takens bifurcation; area preserving at these parameters.",
    "D. K. Arrowsmith, J. H. E. Cartwright, A. N. Lansbury, C. M. Place, Int. J. Bifurcation "
    "Chaos 3 (1993) 803",
)
_add(
    "burgers_map",
    "x y",
    ("a*x - y*y", "b*y + x*y"),
    {"a": 0.75, "b": 1.75},
    (-0.1, 0.1),
    None,
    "strange",
    "Two modes of Burgers' equation, discretised.",
    "R. R. Whitehead, N. MacDonald, Physica D 13 (1984) 401",
)
_add(
    "dissipative_standard_map",
    "theta p",
    ("q = b*p + k*sin(theta)", "mod(theta + q, 2*pi)", "q"),
    {"b": 0.1, "k": 8.8},
    (0.1, 0.1),
    None,
    "strange",
    "Kicked rotor with friction.",
    "G. M. Zaslavsky, Phys. Lett. A 69 (1978) 145",
)
