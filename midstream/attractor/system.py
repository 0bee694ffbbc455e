"""Dynamical systems: what moves, by which law."""

from __future__ import annotations

import ctypes
import html
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_choice, check_int, check_real
from midstream.attractor._checks import Floats, as_array
from midstream.attractor._expression import Equations, default_variables, parse_equations
from midstream.attractor._flow import Flow, Functions
from midstream.attractor._graph import (
    ARITY,
    Program,
    jacobian_program,
    map_program,
    rhs_program,
    rk4_program,
)

__all__ = ["System"]

_OPS = tuple(ARITY)
#: Arguments of the C functions that are taken: t, x, dx, params.
_C_ARGUMENTS = 4

#: ctypes keeps the class of its functions to itself.
_CFunction: Any = ctypes.CFUNCTYPE(None).__mro__[1]

Kind = Literal["flow", "map"]


@lru_cache(maxsize=256)
def _parsed(
    entries: tuple[str, ...],
    dim: int | None,
    variables: tuple[str, ...] | None,
    names: tuple[str, ...],
) -> Equations:
    return parse_equations(entries, dim=dim, variables=variables, params=dict.fromkeys(names, 0.0))


@lru_cache(maxsize=256)
def _program(equations: Equations, what: str, tangents: bool) -> Program:
    if what == "rhs":
        build = jacobian_program if tangents else rhs_program
        return build(equations.graph, equations.rhs)
    build_step = map_program if what == "map" else rk4_program
    return build_step(equations.graph, equations.rhs, tangents=tangents)


def _address(name: str, value: Any) -> int | None:
    """Address of a C function in one of the wrappers that Python has for them, or None."""
    if hasattr(value, "address") and hasattr(value, "ctypes"):  # numba.cfunc
        value = value.ctypes
    if isinstance(value, _CFunction):
        arguments = value.argtypes
        if arguments is not None and len(arguments) != _C_ARGUMENTS:
            raise ArgumentTypeError(
                f"{name} must be void (double t, const double *x, double *dx, "
                f"const double *params), got a function of {len(arguments)} arguments"
            )
        if value.restype is not None:
            raise ArgumentTypeError(f"{name} must return void, got {value.restype.__name__}")
        return ctypes.cast(value, ctypes.c_void_p).value
    if type(value).__name__ == "LowLevelCallable" and isinstance(value, tuple):
        signature = value.signature  # type: ignore[attr-defined]
        got = signature.decode() if isinstance(signature, bytes) else str(signature)
        words = got.replace("const", "").replace(" ", "")
        if words != "void(double,double*,double*,double*)":
            raise ArgumentTypeError(
                f"{name} must be void (double, double *, double *, double *), got {got!r}"
            )
        # The capsule may keep its name elsewhere than the signature that scipy shows.
        name_of = ctypes.pythonapi.PyCapsule_GetName
        name_of.restype, name_of.argtypes = ctypes.c_void_p, [ctypes.py_object]
        pointer = ctypes.pythonapi.PyCapsule_GetPointer
        pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_void_p]
        capsule = tuple.__getitem__(value, 0)  # scipy forbids plain indexing
        return int(pointer(capsule, name_of(capsule)))
    return None


def _count_arguments(name: str, function: Any) -> int:
    """How many of (x, t, params) a callable takes."""
    try:
        given = [
            parameter
            for parameter in inspect.signature(function).parameters.values()
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
            and parameter.default is parameter.empty
        ]
        count = len(given)
    except (TypeError, ValueError):  # a builtin without a signature
        count = 2
    if not 1 <= count <= 3:
        raise ArgumentTypeError(f"{name} must take (x), (x, t) or (x, t, params), takes {count}")
    return count


def _wrap(
    name: str, function: Any, params: Mapping[str, float], shape: tuple[int, ...]
) -> Callable[[Floats, float], Floats]:
    """A callable of one to three arguments as ``f(x, t)`` that returns checked, flat values."""
    count = _count_arguments(name, function)
    extra = dict(params)

    def call(x: Floats, t: float) -> Floats:
        result = function(*(x, t, extra)[:count])
        array = np.asarray(result)
        if array.dtype.kind not in "fiub":
            raise ArgumentTypeError(f"{name} must return real numbers, returned {result!r}")
        if array.shape != shape:
            raise ArgumentValueError(
                f"{name} must return shape {shape}, returned shape {array.shape}"
            )
        return np.array(array, dtype=np.float64).reshape(-1)

    return call


class System:
    """A flow ``dx/dt = f(x, t)`` or a map ``x -> f(x)``.

    Parameters
    ----------
    rhs : str, sequence of str, callable, scipy.LowLevelCallable, numba cfunc or ctypes function
        Text: one expression for each component, ``x' = ...`` for a named one, or a definition
        ``name = ...`` that later entries use; one string is split at ``;`` and at line ends. It
        may use the variables, the parameters, ``t`` (time, or the number of the iteration),
        ``pi``, ``e``, ``+ - * / ** ^ %``, comparisons (1 or 0), ``where(condition, a, b)`` and
        ``sin cos tan asin acos atan atan2 sinh cosh tanh exp log sqrt abs sign floor min max mod
        pow``. Such text runs at the speed of C, and its Jacobian is exact.
        A Python callable takes ``(x)``, ``(x, t)`` or ``(x, t, params)``, with x an ndarray and
        params a dict, and returns `dim` numbers. A C function is
        ``void f(double t, const double *x, double *dx, const double *params)``.
    dim : int, optional
        Number of components; text tells it.
    jacobian : callable or C function, optional
        As `rhs`, with (dim, dim) numbers, row i the gradient of component i. Text needs none;
        functions without one are differentiated by central differences.
    params : mapping of str to float, optional
        Parameters by name.
    kind : {"flow", "map"}
    variables : sequence of str, optional
        Names of the components; x y z w, or x0 x1 ... above four.
    name : str, optional
        For people.
    x0 : array_like, shape (dim,), optional
        A start, for functions that are given none.
    dt : float, optional
        A step that suits the flow, for functions that are given none.
    time_step : float
        Time that one iteration of a map stands for; exponents are per unit of time.

    Raises
    ------
    ExpressionError
        Text that is no expression, or an unknown name: with a caret under the place.
    ArgumentTypeError, ArgumentValueError
        What cannot be used, named.

    Notes
    -----
    Immutable. A system of text may be used by any number of threads at once, one of functions by
    as many as the functions allow. Parsing costs about a millisecond and is remembered.

    Examples
    --------
    >>> from midstream.attractor import System, integrate
    >>> lorenz = System(
    ...     ["sigma*(y - x)", "x*(rho - z) - y", "x*y - beta*z"],
    ...     params={"sigma": 10, "rho": 28, "beta": 8/3},
    ... )
    >>> integrate(lorenz, [1, 1, 1], dt=0.01, steps=1000).shape
    (1001, 3)
    >>> System("x' = y; y' = mu*(1 - x^2)*y - x", params={"mu": 1}).jacobian([2, 0])
    array([[ 0.,  1.],
           [-1., -3.]])
    """

    def __init__(
        self,
        rhs: Any,
        dim: int | None = None,
        *,
        jacobian: Any = None,
        params: Mapping[str, float] | None = None,
        kind: Kind = "flow",
        variables: Sequence[str] | None = None,
        name: str | None = None,
        x0: ArrayLike | None = None,
        dt: float | None = None,
        time_step: float = 1.0,
    ) -> None:
        self._kind: Kind = check_choice("kind", kind, ("flow", "map"))
        if params is None:
            params = {}
        if not isinstance(params, Mapping):
            raise ArgumentTypeError(f"params must be a mapping of names to numbers, got {params!r}")
        self._params = {key: check_real(f"params[{key!r}]", value) for key, value in params.items()}
        if dim is not None:
            dim = check_int("dim", dim, low=1)
        self._given = rhs
        self._given_jacobian = jacobian
        self._equations: Equations | None = None
        if isinstance(rhs, Equations):
            self._equations = rhs
            self._dim, self._variables = len(rhs.rhs), rhs.variables
        text = isinstance(rhs, str) or (
            isinstance(rhs, (list, tuple)) and type(rhs).__name__ != "LowLevelCallable"
        )
        if text:
            if jacobian is not None:
                raise ArgumentValueError(
                    "jacobian must be None for text, whose derivatives are exact"
                )
            entries = (rhs,) if isinstance(rhs, str) else tuple(rhs)
            if isinstance(rhs, str):
                entries = tuple(
                    part for part in rhs.replace(";", "\n").splitlines() if part.strip()
                )
            for entry in entries:
                if not isinstance(entry, str):
                    raise ArgumentTypeError(f"rhs must be text, got an entry {entry!r}")
            names = None if variables is None else tuple(variables)
            self._equations = _parsed(entries, dim, names, tuple(self._params))
            self._dim = len(self._equations.rhs)
            self._variables = self._equations.variables
        elif self._equations is None:
            if dim is None:
                raise ArgumentValueError("dim must be given where rhs is a function")
            self._dim = dim
            self._variables = tuple(variables) if variables else default_variables(dim)
            if len(self._variables) != dim:
                raise ArgumentValueError(f"variables must be {dim} names, got {variables!r}")
            address = _address("rhs", rhs)
            if address is None and not callable(rhs):
                raise ArgumentTypeError(
                    f"rhs must be text, a callable or a C function, got {rhs!r}"
                )
            self._rhs: Any = _wrap("rhs", rhs, self._params, (dim,)) if address is None else address
            self._jac: Any = None
            if jacobian is not None:
                address = _address("jacobian", jacobian)
                if address is None and not callable(jacobian):
                    raise ArgumentTypeError(
                        f"jacobian must be a callable or a C function, got {jacobian!r}"
                    )
                self._jac = (
                    _wrap("jacobian", jacobian, self._params, (dim, dim))
                    if address is None
                    else address
                )
        self._name = name or self._kind
        self._x0 = None if x0 is None else self.check_state("x0", x0)
        self._dt = None if dt is None else _positive("dt", dt)
        self._time_step = _positive("time_step", time_step)
        if self._kind == "flow" and self._time_step != 1.0:
            raise ArgumentValueError(f"time_step must be 1 for a flow, got {time_step!r}")

    @classmethod
    def trace(
        cls,
        function: Callable[..., Any],
        dim: int,
        *,
        params: Mapping[str, float] | None = None,
        **options: Any,
    ) -> System:
        """Make a system at the speed of text from a Python function, by calling it once.

        The function is called with symbols; what it does to them becomes the equations.

        Parameters
        ----------
        function : callable
            Of (x), (x, t) or (x, t, params), returning `dim` numbers. Arithmetic, indexing, loops
            of fixed length and numpy's functions of one number; no branch on the state.
        dim : int
        params : mapping of str to float, optional
            Given to the function as a dict.
        **options
            `kind`, `variables`, `name`, `x0`, `dt`, `time_step`.

        Raises
        ------
        ArgumentTypeError
            The function looks at the value of the state, or returns no numbers.

        Examples
        --------
        >>> def rossler(x, t, p):
        ...     return [-x[1] - x[2], x[0] + p["a"]*x[1], p["b"] + x[2]*(x[0] - p["c"])]
        >>> System.trace(rossler, 3, params={"a": 0.2, "b": 0.2, "c": 5.7}).native
        True
        """
        from midstream.attractor._tracing import trace

        dim = check_int("dim", dim, low=1)
        if not callable(function):
            raise ArgumentTypeError(f"function must be callable, got {function!r}")
        variables = options.pop("variables", None) or default_variables(dim)
        if len(variables) != dim:
            raise ArgumentValueError(f"variables must be {dim} names, got {variables!r}")
        count = _count_arguments("function", function)
        equations = trace(function, count, variables, params or {})
        options.setdefault("name", getattr(function, "__name__", "traced"))
        return cls(equations, params=params, **options)

    # --- what it is -------------------------------------------------------------------------

    @property
    def dim(self) -> int:
        """Number of components."""
        return self._dim

    @property
    def kind(self) -> Kind:
        """``"flow"`` or ``"map"``."""
        return self._kind

    @property
    def params(self) -> dict[str, float]:
        """Parameters by name; a copy."""
        return dict(self._params)

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the components."""
        return self._variables

    @property
    def name(self) -> str:
        """For people."""
        return self._name

    @property
    def x0(self) -> Floats | None:
        """The start that functions take which are given none; a copy."""
        return None if self._x0 is None else self._x0.copy()

    @property
    def dt(self) -> float | None:
        """The step that functions take which are given none."""
        return self._dt

    @property
    def time_step(self) -> float:
        """Time that one iteration of a map stands for; 1 for a flow."""
        return self._time_step

    @property
    def autonomous(self) -> bool:
        """Whether the law is known not to depend on the time; False for functions."""
        if self._equations is None:
            return False
        return not _program(self._equations, "rhs", False).uses_time

    @property
    def exact_jacobian(self) -> bool:
        """Whether derivatives are exact: of text, or given; else they are differences."""
        return self._equations is not None or self._jac is not None

    @property
    def native(self) -> bool:
        """Whether its steps were compiled with the package; else text is interpreted."""
        return self.stepper(dt=self._dt or 1.0).is_native

    def rhs(self, x: ArrayLike, t: float = 0.0) -> Floats:
        """Right-hand side at a point.

        Parameters
        ----------
        x : array_like, shape (dim,)
        t : float

        Returns
        -------
        ndarray, shape (dim,)
            The derivative of a flow, the image under a map.
        """
        state = self.check_state("x", x)
        t = check_real("t", t)
        if self._equations is None:
            return self._evaluate(state, t)
        column = state[:, None].copy()
        self._once(False).once(column, t)
        return column[:, 0]

    def _evaluate(self, state: Floats, t: float) -> Floats:
        """One iteration of a map is one call, and so is one step of such a flow."""
        flow = Flow(None, [], self.functions(), self._dim, False, True, t, 0.0, False, False, _OPS)
        column = state[:, None].copy()
        flow.once(column, t)
        return column[:, 0]

    def _once(self, tangents: bool) -> Flow:
        assert self._equations is not None
        program = _program(self._equations, "rhs", tangents)
        constants = program.constants(self._params)
        return Flow(
            program, constants, None, self._dim, tangents, True, 0.0, 0.0, False, False, _OPS
        )

    def jacobian(self, x: ArrayLike, t: float = 0.0) -> Floats:
        """Derivative of the right-hand side: row i is the gradient of component i.

        Parameters
        ----------
        x : array_like, shape (dim,)
        t : float

        Returns
        -------
        ndarray, shape (dim, dim)
            Exact for text; what was given, or central differences, for functions.
        """
        state = self.check_state("x", x)
        t = check_real("t", t)
        dim = self._dim
        if self._equations is None:
            flow = Flow(None, [], self.functions(), dim, True, True, t, 0.0, True, False, _OPS)
        else:
            flow = self._once(True)
        result = np.empty((dim, dim))
        for column in range(dim):
            both = np.zeros((flow.inputs, 1))
            both[:dim, 0] = state
            both[dim + column, 0] = 1.0
            flow.once(both, t)
            result[:, column] = both[dim : 2 * dim, 0]
        return result

    # --- variations -------------------------------------------------------------------------

    def _arguments(self) -> dict[str, Any]:
        return {
            "dim": self._dim,
            "jacobian": self._given_jacobian,
            "params": self._params,
            "kind": self._kind,
            "variables": self._variables,
            "name": self._name,
            "x0": self._x0,
            "dt": self._dt,
            "time_step": self._time_step,
        }

    def _changed(self, **changes: Any) -> System:
        rhs = changes.pop("rhs", self._given)
        return System(rhs, **(self._arguments() | changes))

    def __copy__(self) -> System:
        return self  # immutable

    def __deepcopy__(self, memo: Any) -> System:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle: a system is made again of what it was made of."""
        if self._equations is None and any(isinstance(one, int) for one in (self._rhs, self._jac)):
            raise ArgumentTypeError(
                f"{self._name}: a C function is an address in this process and cannot be sent to "
                "another one; text, System.trace and Python callables can"
            )
        return _rebuild, (self._given, self._arguments())

    def with_params(self, **changes: float) -> System:
        """The same system with some parameters changed.

        Raises
        ------
        ArgumentValueError
            A name that it does not have.
        """
        for name in changes:
            if name not in self._params:
                known = ", ".join(self._params) or "none"
                raise ArgumentValueError(f"{self._name} has no parameter {name!r}; it has {known}")
        return self._changed(params=self._params | changes)

    # --- for the functions of this package --------------------------------------------------

    def check_state(self, name: str, value: ArrayLike) -> Floats:
        """Return a state as float64 of shape (dim,), finite.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            It is none.
        """
        state = as_array(name, value, ndim=(0, 1) if self._dim == 1 else (1,)).reshape(-1)
        if state.shape != (self._dim,):
            raise ArgumentValueError(f"{name} must have {self._dim} components, got {len(state)}")
        if not np.isfinite(state).all():
            raise ArgumentValueError(f"{name} must be finite, got {state!r}")
        return state

    def start(self, x0: ArrayLike | None) -> Floats:
        """`x0`, or the system's own start."""
        if x0 is not None:
            return self.check_state("x0", x0)
        if self._x0 is None:
            raise ArgumentValueError(f"x0 must be given: {self._name} has no start of its own")
        return self._x0.copy()

    def step_length(self, dt: float | None) -> float:
        """`dt`, or the system's own; 1 for a map."""
        if self._kind == "map":
            if dt is not None and dt != 1:
                raise ArgumentValueError(f"dt must not be given for a map, got {dt!r}")
            return 1.0
        if dt is not None:
            return _positive("dt", dt)
        if self._dt is None:
            raise ArgumentValueError(f"dt must be given: {self._name} has no step of its own")
        return self._dt

    def functions(self) -> Functions:
        """The caller's functions, fresh for one call."""
        return Functions(self._rhs, self._jac, self._dim, list(self._params.values()))

    def stepper(
        self,
        *,
        dt: float = 1.0,
        t0: float = 0.0,
        tangents: bool = False,
        columns: bool = True,
        native: bool = True,
    ) -> Flow:
        """Steps of length `dt`, or iterations, ready to run; for one thread at a time."""
        dim, is_map = self._dim, self._kind == "map"
        # Without tangents lanes are trajectories of their own: nothing is the same in all of them.
        columns = columns and tangents
        if self._equations is None:
            own = self.functions()
            return Flow(None, [], own, dim, tangents, is_map, t0, dt, columns, False, _OPS)
        program = _program(self._equations, "map" if is_map else "rk4", tangents)
        constants = program.constants(self._params | {"dt": dt})
        return Flow(program, constants, None, dim, tangents, is_map, t0, dt, columns, native, _OPS)

    def slopes(self) -> Flow:
        """The right-hand side for `midstream.attractor._flow.Adaptive`."""
        if self._equations is None:
            return Flow(
                None, [], self.functions(), self._dim, False, False, 0.0, 0.0, False, False, _OPS
            )
        return self._once(False)

    @property
    def is_text(self) -> bool:
        """Whether the law is text, so that threads can share it."""
        return self._equations is not None

    # --- for people -------------------------------------------------------------------------

    def _lines(self) -> list[str]:
        if not isinstance(self._given, (str, list, tuple)) or self._equations is None:
            return []
        entries = [self._given] if isinstance(self._given, str) else list(self._given)
        lines: list[str] = []
        component = 0
        for entry in entries:
            for part in entry.replace(";", "\n").splitlines():
                if "=" in part.replace("==", "").replace("<=", "").replace(">=", ""):
                    lines.append(part.strip())
                elif part.strip():
                    mark = "'" if self._kind == "flow" else " ->"
                    lines.append(
                        f"{self._variables[component]}{mark} = {part.strip()}".replace("-> =", "->")
                    )
                    component += 1
        return lines

    def __repr__(self) -> str:
        params = ", ".join(f"{name}={value:.6g}" for name, value in self._params.items())
        return f"<{self._kind} {self._name}, dim {self._dim}{': ' if params else ''}{params}>"

    def _repr_html_(self) -> str:
        lines = self._lines()
        if len(lines) > 12:
            lines = [*lines[:10], f"... ({len(lines)} in all)"]
        body = "<br>".join(html.escape(line) for line in lines)
        return f"<b>{html.escape(repr(self)[1:-1])}</b><br><code>{body}</code>"


def _rebuild(rhs: Any, arguments: dict[str, Any]) -> System:
    """Undo `System.__reduce__`."""
    return System(rhs, **arguments)


def _positive(name: str, value: Any) -> float:
    number = check_real(name, value)
    if not number > 0 or not math.isfinite(number):
        raise ArgumentValueError(f"{name} must be positive, got {value!r}")
    return number
