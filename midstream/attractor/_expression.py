"""Text to operations: the right-hand sides that people write.

Only the standard library is imported here: ``setup.py`` compiles the catalogue through it.
"""

from __future__ import annotations

import ast
import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from midstream._core.errors import ArgumentTypeError, ArgumentValueError, ExpressionError
from midstream.attractor._graph import Graph, Node

__all__ = ["CONSTANTS", "FUNCTIONS", "Equations", "parse_equations"]

CONSTANTS = {"pi": math.pi, "e": math.e}

#: Name -> number of arguments.
FUNCTIONS = {
    **dict.fromkeys(
        [
            "sin",
            "cos",
            "tan",
            "asin",
            "acos",
            "atan",
            "sinh",
            "cosh",
            "tanh",
            "exp",
            "log",
            "sqrt",
            "abs",
            "sign",
            "floor",
        ],
        1,
    ),
    **dict.fromkeys(["atan2", "min", "max", "mod", "pow"], 2),
    "where": 3,
}

_BINARY = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div", ast.Mod: "mod"}
_DEFINITION = re.compile(r"\s*([^\W\d]\w*)\s*=(?!=)")
_DERIVATIVE = re.compile(r"\s*(?:([^\W\d]\w*)\s*'|d\s*([^\W\d]\w*)\s*/\s*dt)\s*=(?!=)")
#: Deeper nesting than this is a mistake, or an attack; Python's own parser stops at about 200.
_MAX_DEPTH = 150


@dataclass(frozen=True)
class Equations:
    """What was parsed."""

    graph: Graph
    rhs: tuple[Node, ...]
    variables: tuple[str, ...]


@dataclass
class _Source:
    """One entry: what was written, and where the expression starts in it."""

    text: str
    start: int


class _Reader:
    def __init__(self, graph: Graph, names: dict[str, Node], source: _Source) -> None:
        self.graph = graph
        self.names = names
        self.source = source
        body = source.text[source.start :]
        # Python's ^ is exclusive or, and binds less tightly than +: here it is a power.
        self.columns: list[int] = []
        pieces: list[str] = []
        lead = len(body) - len(body.lstrip())
        for index, character in enumerate(body):
            if index < lead:
                continue
            piece = "**" if character == "^" else character
            pieces.append(piece)
            self.columns.extend([index] * len(piece.encode()))
        self.code = "".join(pieces)

    def fail(self, message: str, column: int) -> ExpressionError:
        inside = (
            self.columns[column]
            if 0 <= column < len(self.columns)
            else (self.columns[-1] + 1 if self.columns else 0)
        )
        return ExpressionError(message, text=self.source.text, position=self.source.start + inside)

    def read(self) -> Node:
        if not self.code.strip():
            raise self.fail("an expression is empty", 0)
        if any(ord(character) < 32 for character in self.code):
            raise self.fail("an expression holds a control character", 0)
        try:
            tree = ast.parse(self.code, mode="eval")
        except SyntaxError as error:
            # Python tells no place, or 0, where text ends too early.
            characters = error.offset - 1 if error.offset else len(self.code)
            column = len(self.code[:characters].encode())
            raise self.fail(f"syntax error in an expression: {error.msg}", column) from None
        except (RecursionError, MemoryError, ValueError) as error:
            raise self.fail(f"an expression cannot be read: {error}", 0) from None
        return self.node(tree.body, 0)

    def node(self, tree: ast.expr, depth: int) -> Node:
        if depth > _MAX_DEPTH:
            raise self.fail(f"an expression nests deeper than {_MAX_DEPTH}", tree.col_offset)
        graph = self.graph
        if isinstance(tree, ast.Constant):
            if type(tree.value) in (int, float):
                return graph.const(self.number(tree))
        elif isinstance(tree, ast.Name):
            return self.name(tree)
        elif isinstance(tree, ast.UnaryOp):
            if isinstance(tree.op, ast.USub):
                return graph.apply("neg", self.node(tree.operand, depth + 1))
            if isinstance(tree.op, ast.UAdd):
                return self.node(tree.operand, depth + 1)
        elif isinstance(tree, ast.BinOp):
            left = self.node(tree.left, depth + 1)
            right = self.node(tree.right, depth + 1)
            if isinstance(tree.op, ast.Pow):
                return graph.apply("pow", left, right)
            if type(tree.op) in _BINARY:
                return graph.apply(_BINARY[type(tree.op)], left, right)
        elif isinstance(tree, ast.Compare):
            return self.comparison(tree, depth)
        elif isinstance(tree, ast.Call):
            return self.call(tree, depth)
        raise self.fail(
            "an expression may hold numbers, names, + - * / ** % ^, comparisons and functions, "
            f"not {type(tree).__name__}",
            tree.col_offset,
        )

    def number(self, tree: ast.Constant) -> float:
        try:
            value = float(tree.value)  # type: ignore[arg-type]
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):
            raise self.fail("a number is too large", tree.col_offset)
        return value

    def name(self, tree: ast.Name) -> Node:
        if tree.id in self.names:
            return self.names[tree.id]
        if tree.id in FUNCTIONS:
            raise self.fail(f"{tree.id} is a function and needs arguments", tree.col_offset)
        raise self.fail(
            f"unknown name {tree.id!r}{self.hint(tree.id, self.names)}", tree.col_offset
        )

    @staticmethod
    def hint(name: str, known: Iterable[str]) -> str:
        names = sorted(known)
        close = difflib.get_close_matches(name, names, n=1)
        if close:
            return f"; did you mean {close[0]!r}?"
        return f"; known are {', '.join(names[:30])}{', ...' if len(names) > 30 else ''}"

    def comparison(self, tree: ast.Compare, depth: int) -> Node:
        operands = [self.node(part, depth + 1) for part in (tree.left, *tree.comparators)]
        both: Node | None = None
        for op, left, right in zip(tree.ops, operands, operands[1:], strict=False):
            if isinstance(op, (ast.Lt, ast.Gt)):
                a, b = (left, right) if isinstance(op, ast.Lt) else (right, left)
                one = self.graph.apply("lt", a, b)
            elif isinstance(op, (ast.LtE, ast.GtE)):
                a, b = (left, right) if isinstance(op, ast.LtE) else (right, left)
                one = self.graph.apply("le", a, b)
            elif isinstance(op, (ast.Eq, ast.NotEq)):
                one = self.graph.apply("eq", left, right)
                if isinstance(op, ast.NotEq):
                    one = self.graph.apply("sub", self.graph.const(1.0), one)
            else:
                raise self.fail("comparisons are < <= > >= == !=", tree.col_offset)
            both = one if both is None else self.graph.apply("mul", both, one)
        assert both is not None
        return both

    def call(self, tree: ast.Call, depth: int) -> Node:
        if not isinstance(tree.func, ast.Name):
            raise self.fail("only functions by name can be called", tree.col_offset)
        name = tree.func.id
        if name not in FUNCTIONS:
            what = (
                f"{name!r} is no function" if name in self.names else f"unknown function {name!r}"
            )
            raise self.fail(what + self.hint(name, FUNCTIONS), tree.col_offset)
        if tree.keywords or any(isinstance(arg, ast.Starred) for arg in tree.args):
            raise self.fail(f"{name} takes plain arguments", tree.col_offset)
        if len(tree.args) != FUNCTIONS[name]:
            raise self.fail(
                f"{name} takes {FUNCTIONS[name]} argument{'s' * (FUNCTIONS[name] > 1)}, "
                f"got {len(tree.args)}",
                tree.col_offset,
            )
        args = [self.node(arg, depth + 1) for arg in tree.args]
        return self.graph.apply("select" if name == "where" else name, *args)


def _split(entries: str | Sequence[str]) -> list[str]:
    if isinstance(entries, str):
        parts = re.split(r"[;\n]", entries)
        return [part for part in parts if part.strip()]
    listed = list(entries)
    for entry in listed:
        if not isinstance(entry, str):
            raise ArgumentTypeError(
                f"rhs must be text or a sequence of text, got an entry {entry!r}"
            )
    return listed


def default_variables(dim: int) -> tuple[str, ...]:
    """Names of the components where none are given: x y z w, or x0 x1 ... above four."""
    return tuple("xyzw"[:dim]) if dim <= 4 else tuple(f"x{i}" for i in range(dim))


def parse_equations(
    entries: str | Sequence[str],
    *,
    dim: int | None = None,
    variables: Sequence[str] | None = None,
    params: Mapping[str, float] | None = None,
) -> Equations:
    """Parse a right-hand side.

    Each entry is one component in order, ``x' = ...`` or ``dx/dt = ...`` for a named one, or a
    definition ``name = ...`` that later entries may use.

    Raises
    ------
    ExpressionError
        Not an expression, or an unknown name; with the place.
    ArgumentValueError
        The number of components is not `dim`; a name means two things.
    """
    params = params or {}
    named: list[str] = []
    components: list[tuple[str | None, _Source]] = []
    definitions: list[tuple[str, _Source]] = []
    for entry in _split(entries):
        if derivative := _DERIVATIVE.match(entry):
            name = derivative[1] or derivative[2]
            if name in named:
                raise ExpressionError(
                    f"a second equation for {name!r}", text=entry, position=derivative.start()
                )
            named.append(name)
            components.append((name, _Source(entry, derivative.end())))
        elif definition := _DEFINITION.match(entry):
            definitions.append((definition[1], _Source(entry, definition.end())))
        else:
            components.append((None, _Source(entry, 0)))
    if named and len(named) != len(components):
        raise ArgumentValueError(
            "rhs must name the variable of every equation (x' = ...) or of none"
        )
    if dim is None:
        dim = len(components)
    if dim != len(components) or dim == 0:
        wanted = f"{dim} component{'s' * (dim != 1)}" if dim else "components"
        raise ArgumentValueError(f"rhs must have {wanted}, got {len(components)}")
    if variables is None:
        variables = named or default_variables(dim)
    graph = Graph()
    meaning = _names(graph, variables, params, dim)
    if named:
        if sorted(named) != sorted(variables):
            raise ArgumentValueError(
                f"rhs has equations for {', '.join(named)}, variables are {', '.join(variables)}"
            )
        components.sort(key=lambda part: list(variables).index(part[0] or ""))

    for name, source in definitions:
        if name in meaning and name not in CONSTANTS:
            raise ExpressionError(f"{name!r} is defined already", text=source.text, position=0)
        if name in FUNCTIONS:
            raise ExpressionError(f"{name!r} is a function", text=source.text, position=0)
        meaning[name] = _Reader(graph, meaning, source).read()
    rhs = tuple(_Reader(graph, meaning, source).read() for _, source in components)
    return Equations(graph, rhs, tuple(variables))


def _names(
    graph: Graph, variables: Sequence[str], params: Mapping[str, float], dim: int
) -> dict[str, Node]:
    if isinstance(variables, str) or len(variables) != dim:
        raise ArgumentValueError(f"variables must be {dim} names, got {variables!r}")
    names = {name: graph.const(value) for name, value in CONSTANTS.items()}
    seen: set[str] = set()
    for what, given in (("variables", variables), ("params", params)):
        for index, name in enumerate(given):
            if not isinstance(name, str) or not name.isidentifier():
                raise ArgumentValueError(f"{what} must be names, got {name!r}")
            if name in FUNCTIONS or name in seen or name in ("t", "dt"):
                raise ArgumentValueError(f"{what} must be new names, got {name!r}, which is taken")
            seen.add(name)
            names[name] = graph.var(index) if what == "variables" else graph.param(name)
    names["t"] = graph.time()
    return names
