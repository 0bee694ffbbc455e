"""Plain Python functions to operations: called once, with symbols in the place of numbers."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream.attractor._expression import Equations
from midstream.attractor._graph import Graph, Node

__all__ = ["Symbol", "trace"]

_METHODS = {
    "sin": "sin",
    "cos": "cos",
    "tan": "tan",
    "arcsin": "asin",
    "arccos": "acos",
    "arctan": "atan",
    "sinh": "sinh",
    "cosh": "cosh",
    "tanh": "tanh",
    "exp": "exp",
    "log": "log",
    "sqrt": "sqrt",
    "fabs": "abs",
    "floor": "floor",
}


class Symbol:
    """A number that is not known yet. numpy's functions find their methods on it by name."""

    #: numpy scalars and arrays leave operations with a symbol to the symbol.
    __array_priority__ = 1000.0

    def __init__(self, graph: Graph, node: Node) -> None:
        self._graph = graph
        self.node = node

    def _other(self, value: Any) -> Node | None:
        if isinstance(value, Symbol):
            if value._graph is not self._graph:
                raise ArgumentValueError("rhs mixes symbols of two systems")
            return value.node
        if isinstance(value, (int, float, np.integer, np.floating)):
            return self._graph.const(float(value))
        return None

    def _binary(self, op: str, other: Any, *, swap: bool = False) -> Any:
        if isinstance(other, np.ndarray):
            function = {"add": operator.add, "sub": operator.sub, "mul": operator.mul}.get(op)
            function = function or {"div": operator.truediv}.get(op, operator.pow)
            flat = [function(x, self) if swap else function(self, x) for x in other.ravel()]
            return np.array(flat, dtype=object).reshape(other.shape)
        node = self._other(other)
        if node is None:
            return NotImplemented
        args = (node, self.node) if swap else (self.node, node)
        return Symbol(self._graph, self._graph.apply(op, *args))

    def __add__(self, other: Any) -> Any:
        return self._binary("add", other)

    def __radd__(self, other: Any) -> Any:
        return self._binary("add", other, swap=True)

    def __sub__(self, other: Any) -> Any:
        return self._binary("sub", other)

    def __rsub__(self, other: Any) -> Any:
        return self._binary("sub", other, swap=True)

    def __mul__(self, other: Any) -> Any:
        return self._binary("mul", other)

    def __rmul__(self, other: Any) -> Any:
        return self._binary("mul", other, swap=True)

    def __truediv__(self, other: Any) -> Any:
        return self._binary("div", other)

    def __rtruediv__(self, other: Any) -> Any:
        return self._binary("div", other, swap=True)

    def __pow__(self, other: Any) -> Any:
        return self._binary("pow", other)

    def __rpow__(self, other: Any) -> Any:
        return self._binary("pow", other, swap=True)

    def __mod__(self, other: Any) -> Any:
        return self._binary("mod", other)

    def __rmod__(self, other: Any) -> Any:
        return self._binary("mod", other, swap=True)

    def __neg__(self) -> Symbol:
        return Symbol(self._graph, self._graph.apply("neg", self.node))

    def __pos__(self) -> Symbol:
        return self

    def __abs__(self) -> Symbol:
        return Symbol(self._graph, self._graph.apply("abs", self.node))

    def _decide(self, *_: Any) -> NoReturn:
        raise ArgumentTypeError(
            "rhs cannot be traced: it looks at the value of the state (a branch, a comparison as "
            "in np.maximum, an array of numbers that it fills, or a function of the math module). "
            "Return a list, call numpy's functions of one number, or write the equations as text, "
            "which has where(condition, a, b), min and max"
        )

    __bool__ = __float__ = __int__ = __index__ = __lt__ = __le__ = __gt__ = __ge__ = _decide

    def __getattr__(self, name: str) -> Callable[[], Symbol]:
        if name in _METHODS:
            op = _METHODS[name]
            return lambda: Symbol(self._graph, self._graph.apply(op, self.node))
        raise AttributeError(f"a traced number has no {name!r}")


def trace(
    function: Callable[..., Any],
    arguments: int,
    variables: Sequence[str],
    params: Mapping[str, float],
) -> Equations:
    """Operations of a function of (x), (x, t) or (x, t, params)."""
    graph = Graph()
    x = np.array([Symbol(graph, graph.var(i)) for i in range(len(variables))], dtype=object)
    t = Symbol(graph, graph.time())
    named = {name: Symbol(graph, graph.param(name)) for name in params}
    try:
        returned = function(*(x, t, named)[:arguments])
    except TypeError as error:
        if isinstance(error, ArgumentTypeError):
            raise
        raise ArgumentTypeError(
            f"rhs cannot be traced: it does to the state what only numbers allow ({error})"
        ) from error
    result = np.asarray(returned, dtype=object)
    if result.shape != (len(variables),):
        raise ArgumentValueError(
            f"rhs must return shape ({len(variables)},), returned shape {result.shape}"
        )
    nodes = [t._other(value) for value in result]
    for value, node in zip(result, nodes, strict=True):
        if node is None:
            raise ArgumentTypeError(f"rhs must return numbers, returned {value!r}")
    return Equations(graph, tuple(node for node in nodes if node is not None), tuple(variables))
