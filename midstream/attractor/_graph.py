"""Straight-line programs over real numbers: build, differentiate, order.

A right-hand side becomes a graph of hash-consed operations. From it come the program of one
Runge-Kutta step or one iteration, the same with tangents carried along, or the right-hand side
alone. Each is the same list of operations whether the interpreter runs it
(``csrc/ms_program.c``) or the compiler saw it when the package was built (``_native.py``), so both
give the same bits.

Only the standard library is imported here: ``setup.py`` uses this module before anything is built.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

__all__ = [
    "ARITY",
    "Graph",
    "Node",
    "Program",
    "carries_volume",
    "copy",
    "divergence",
    "jacobian_program",
    "map_program",
    "rhs_program",
    "rk4_program",
]

#: Operation -> number of operands. The order is the interpreter's numbering (ms_program.h).
ARITY = {
    "add": 2,
    "sub": 2,
    "mul": 2,
    "div": 2,
    "neg": 1,
    "muladd": 3,  # a * b + c, rounded twice
    "mulsub": 3,  # a * b - c
    "nmuladd": 3,  # c - a * b
    "diffmuladd": 4,  # (a - b) * c + d
    "rk4": 4,  # what the first three stages give the fourth to add to
    "copy": 1,
    "sqrt": 1,
    "abs": 1,
    "sign": 1,
    "floor": 1,
    "min": 2,
    "max": 2,
    "lt": 2,
    "le": 2,
    "eq": 2,
    "select": 3,  # a != 0 ? b : c
    "mod": 2,
    "sin": 1,
    "cos": 1,
    "tan": 1,
    "asin": 1,
    "acos": 1,
    "atan": 1,
    "atan2": 2,
    "sinh": 1,
    "cosh": 1,
    "tanh": 1,
    "exp": 1,
    "log": 1,
    "pow": 2,
}

Node = int

#: Latency in cycles, roughly; only the order of sums depends on it.
_LATENCY = {"add": 3, "sub": 3, "mul": 3, "neg": 1, "div": 13, "sqrt": 20, "rk4": 12}


def _mod(a: float, m: float) -> float:
    if m == 0 or not math.isfinite(a) or not math.isfinite(m):
        return math.nan
    rest = a - math.floor(a / m) * m
    return 0.0 if rest >= m > 0 or rest <= m < 0 else rest


def _power(a: float, b: float) -> float:
    try:
        return math.pow(a, b)
    except OverflowError:
        return math.inf
    except ValueError:
        return math.inf if a == 0 else math.nan


def _guard(function: Callable[[float], float]) -> Callable[[float], float]:
    def guarded(a: float) -> float:
        try:
            return function(a)
        except (ValueError, OverflowError):
            return math.nan if not (a > 0 and function in (math.exp, math.cosh)) else math.inf

    return guarded


def _divide(a: float, b: float) -> float:
    if b == 0:
        if a == 0 or math.isnan(a):
            return math.nan
        return math.copysign(math.inf, a) * math.copysign(1.0, b)
    return a / b


#: What each operation does to Python floats: as the C code, bit for bit.
_EVALUATE: dict[str, Callable[..., float]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": _divide,
    "neg": lambda a: -a,
    "sqrt": _guard(math.sqrt),
    "abs": abs,
    "sign": lambda a: float((a > 0) - (a < 0)),
    "floor": lambda a: float(math.floor(a)) if math.isfinite(a) else a,
    "min": lambda a, b: min(b, a),
    "max": lambda a, b: max(b, a),
    "lt": lambda a, b: float(a < b),
    "le": lambda a, b: float(a <= b),
    "eq": lambda a, b: float(a == b),
    "select": lambda c, a, b: a if c != 0 else b,
    "mod": _mod,
    "sin": _guard(math.sin),
    "cos": _guard(math.cos),
    "tan": _guard(math.tan),
    "asin": _guard(math.asin),
    "acos": _guard(math.acos),
    "atan": math.atan,
    "atan2": math.atan2,
    "sinh": _guard(math.sinh),
    "cosh": _guard(math.cosh),
    "tanh": math.tanh,
    "exp": _guard(math.exp),
    "log": lambda a: math.log(a) if a > 0 else (-math.inf if a == 0 else math.nan),
    "pow": _power,
}


class Graph:
    """Operations, each stored once.

    Leaves are ``const`` (a number), ``param`` (a name, among them ``dt``), ``var`` (an index of the
    state), ``tangent`` (an index) and ``time``.
    """

    def __init__(self) -> None:
        self.ops: list[str] = []
        self.args: list[tuple[Node, ...]] = []
        self.values: list[float | str | int | None] = []
        self.invariant: list[bool] = []
        self.depth: list[int] = []
        self._known: dict[tuple[object, ...], Node] = {}

    def _intern(
        self, op: str, args: tuple[Node, ...], value: float | str | int | None = None
    ) -> Node:
        # repr, as 0.0 == -0.0, and 1 == 1.0 would share one entry.
        key = (op, args, repr(value))
        node = self._known.get(key)
        if node is None:
            node = self._known[key] = len(self.ops)
            self.ops.append(op)
            self.args.append(args)
            self.values.append(value)
            fixed = op in ("const", "param") or (
                bool(args) and all(self.invariant[arg] for arg in args)
            )
            self.invariant.append(fixed)
            deepest = max((self.depth[arg] for arg in args), default=0)
            self.depth.append(0 if fixed else deepest + (_LATENCY.get(op, 40) if args else 0))
        return node

    def const(self, value: float) -> Node:
        return self._intern("const", (), float(value))

    def param(self, name: str) -> Node:
        return self._intern("param", (), name)

    def var(self, index: int) -> Node:
        return self._intern("var", (), index)

    def tangent(self, index: int) -> Node:
        return self._intern("tangent", (), index)

    def time(self) -> Node:
        return self._intern("time", ())

    def is_const(self, node: Node, value: float | None = None) -> bool:
        return self.ops[node] == "const" and (value is None or self.values[node] == value)

    def apply(self, op: str, *args: Node) -> Node:
        """The node of an operation, simplified where that changes no finite result."""
        if all(self.ops[arg] == "const" for arg in args):
            return self.const(_EVALUATE[op](*(self.values[arg] for arg in args)))
        if op == "add":
            a, b = sorted(args)  # x + y and y + x are the same number
            if self.is_const(a, 0.0):
                return b
            if self.is_const(b, 0.0):
                return a
            if self.ops[b] == "neg":
                return self.apply("sub", a, self.args[b][0])
            if self.ops[a] == "neg":
                return self.apply("sub", b, self.args[a][0])
            return self._intern(op, (a, b))
        if op == "sub":
            a, b = args
            if self.is_const(b, 0.0):
                return a
            if self.is_const(a, 0.0):
                return self.apply("neg", b)
            if self.ops[b] == "neg":
                return self.apply("add", a, self.args[b][0])
        elif op == "mul":
            a, b = sorted(args)
            for one, other in ((a, b), (b, a)):
                if self.is_const(one, 1.0):
                    return other
                if self.is_const(one, -1.0):
                    return self.apply("neg", other)
                if self.is_const(one, 0.0):
                    return one
                if self.ops[one] == "neg":
                    return self.apply("neg", self.apply("mul", self.args[one][0], other))
            return self._intern(op, (a, b))
        elif op == "div":
            a, b = args
            if self.is_const(b, 1.0) or (self.is_const(a, 0.0) and not self.is_const(b)):
                return a
            if self.ops[a] == "neg":
                return self.apply("neg", self.apply("div", self.args[a][0], b))
        elif op == "neg" and self.ops[args[0]] == "neg":
            return self.args[args[0]][0]
        elif op == "pow":
            return self._power(*args)
        return self._intern(op, args)

    def _power(self, base: Node, exponent: Node) -> Node:
        if self.ops[exponent] == "const":
            value = self.values[exponent]
            assert isinstance(value, float)
            if value == 0:
                return self.const(1.0)
            if value == int(value) and 0 < abs(value) <= 16:
                # By repeated squaring: exact enough and hundreds of times faster than pow().
                power, square, left = None, base, int(abs(value))
                while left:
                    if left & 1:
                        power = square if power is None else self.apply("mul", power, square)
                    left >>= 1
                    if left:
                        square = self.apply("mul", square, square)
                assert power is not None
                return power if value > 0 else self.apply("div", self.const(1.0), power)
            if value == 0.5:
                return self.apply("sqrt", base)
        return self._intern("pow", (base, exponent))

    def substitute(
        self, roots: Iterable[Node], replace: Mapping[Node, Node], memory: dict[Node, Node]
    ) -> list[Node]:
        """Roots with leaves exchanged; `memory` keeps what was rebuilt."""
        memory.update(replace)
        roots = list(roots)
        for node in self.order(roots):
            if node not in memory:
                args = self.args[node]
                memory[node] = (
                    self.apply(self.ops[node], *(memory[arg] for arg in args)) if args else node
                )
        return [memory[root] for root in roots]

    def order(self, roots: Iterable[Node]) -> list[Node]:
        """Nodes that `roots` need, each after its operands; no recursion, graphs can be deep."""
        done: set[Node] = set()
        listed: list[Node] = []
        for root in roots:
            stack: list[tuple[Node, bool]] = [(root, False)]
            while stack:
                node, ready = stack.pop()
                if node in done:
                    continue
                if ready:
                    done.add(node)
                    listed.append(node)
                else:
                    stack.append((node, True))
                    stack.extend((arg, False) for arg in reversed(self.args[node]))
        return listed

    def derivatives(self, roots: Sequence[Node], seeds: Mapping[Node, Node]) -> list[Node]:
        """Forward mode: the tangent of each root, given the tangents of leaves."""
        zero = self.const(0.0)
        tangent: dict[Node, Node] = dict(seeds)
        for node in self.order(roots):
            if node not in tangent:
                args = self.args[node]
                moves = [tangent[arg] for arg in args]
                if all(self.is_const(move, 0.0) for move in moves):
                    tangent[node] = zero
                else:
                    tangent[node] = self._differentiate(node, args, moves)
        return [tangent[root] for root in roots]

    def _differentiate(self, node: Node, args: tuple[Node, ...], d: list[Node]) -> Node:
        op, apply, const = self.ops[node], self.apply, self.const
        a, da = args[0], d[0]
        if op in ("add", "sub"):
            return apply(op, *d)
        if op == "neg":
            return apply("neg", da)
        if op == "mul":
            return apply("add", apply("mul", da, args[1]), apply("mul", a, d[1]))
        if op == "div":
            return apply("div", apply("sub", da, apply("mul", node, d[1])), args[1])
        if op == "rk4":
            return self.rk4(*d)
        if op == "sqrt":
            return apply("mul", da, apply("div", const(0.5), node))
        if op == "abs":
            return apply("mul", da, apply("sign", a))
        if op in ("min", "max"):
            b = args[1]
            first = apply("le", a, b) if op == "min" else apply("le", b, a)
            return apply("select", first, da, d[1])
        if op == "select":
            return apply("select", a, d[1], d[2])
        if op == "mod":
            turns = apply("floor", apply("div", a, args[1]))
            return apply("sub", da, apply("mul", turns, d[1]))
        if op in ("floor", "sign", "lt", "le", "eq"):
            return const(0.0)
        if op == "atan2":
            b = args[1]
            square = apply("add", apply("mul", a, a), apply("mul", b, b))
            turn = apply("sub", apply("mul", b, da), apply("mul", a, d[1]))
            return apply("div", turn, square)
        if op == "pow":
            b = args[1]
            slope = apply("mul", b, apply("pow", a, apply("sub", b, const(1.0))))
            total = apply("mul", slope, da)
            if not self.is_const(d[1], 0.0):
                growth = apply("mul", apply("mul", node, apply("log", a)), d[1])
                # Of a negative base it is NaN, and counts only where the exponent moves.
                total = apply("add", total, apply("select", d[1], growth, const(0.0)))
            return total
        slope = {
            "sin": lambda: apply("cos", a),
            "cos": lambda: apply("neg", apply("sin", a)),
            "tan": lambda: apply("add", const(1.0), apply("mul", node, node)),
            "asin": lambda: self._over_root(a),
            "acos": lambda: apply("neg", self._over_root(a)),
            "atan": lambda: apply("div", const(1.0), apply("add", const(1.0), apply("mul", a, a))),
            "sinh": lambda: apply("cosh", a),
            "cosh": lambda: apply("sinh", a),
            "tanh": lambda: apply("sub", const(1.0), apply("mul", node, node)),
            "exp": lambda: node,
            "log": lambda: apply("div", const(1.0), a),
        }[op]()
        return apply("mul", slope, da)

    def _over_root(self, a: Node) -> Node:
        root = self.apply("sqrt", self.apply("sub", self.const(1.0), self.apply("mul", a, a)))
        return self.apply("div", self.const(1.0), root)

    def rk4(self, x: Node, xa: Node, xb: Node, xc: Node) -> Node:
        if x == xa == xb == xc:
            return x  # a component that does not move
        return self._intern("rk4", (x, xa, xb, xc))

    def evaluate(self, nodes: Iterable[Node], params: Mapping[str, float]) -> dict[Node, float]:
        """Values of invariant nodes."""
        values: dict[Node, float] = {}
        for node in self.order(nodes):
            op, value = self.ops[node], self.values[node]
            if op == "const":
                assert isinstance(value, float)
                values[node] = value
            elif op == "param":
                assert isinstance(value, str)
                values[node] = float(params[value])
            else:
                values[node] = _EVALUATE[op](*(values[arg] for arg in self.args[node]))
        return values

    def add_scaled(self, base: Node, factor: Node, slope: Node, shared: set[Node]) -> Node:
        """``base + factor * slope`` with the factor moved to where it costs least.

        A Runge-Kutta step is a chain: its time is the latency from one state to the next. In
        ``x + h * (s * (y - x))`` three multiplications and additions follow each other; in
        ``x + (h s) * (y - x)`` the product ``h s`` is known before the run begins. For Lorenz this
        shortens a stage from 15 cycles to 9. The deepest term is added last, so that the others
        wait for it and not it for them.
        """
        terms = self._terms(factor, slope, shared, True)
        terms.sort(key=lambda term: self.depth[term[1]])
        terms = [term for term in terms if not self.is_const(term[1], 0.0)]
        if not terms:
            return base
        *first, last = terms
        if first:
            # Small numbers among themselves first: two roundings of the state, however many terms.
            sign, total = first[0]
            for other, term in first[1:]:
                total = self.apply("add" if other == sign else "sub", total, term)
            base = self.apply("add" if sign > 0 else "sub", base, total)
        return self.apply("add" if last[0] > 0 else "sub", base, last[1])

    def _terms(
        self, factor: Node, node: Node, shared: set[Node], top: bool
    ) -> list[tuple[int, Node]]:
        op = self.ops[node]
        if not self.invariant[node] and (top or node not in shared):
            if op in ("add", "sub"):
                left, right = self.args[node]
                signs = -1 if op == "sub" else 1
                return self._terms(factor, left, shared, False) + [
                    (signs * sign, term) for sign, term in self._terms(factor, right, shared, False)
                ]
            if op == "neg":
                inner = self._terms(factor, self.args[node][0], shared, False)
                return [(-sign, term) for sign, term in inner]
        product = self._times(factor, node)
        if self.ops[product] == "neg":
            return [(-1, self.args[product][0])]
        return [(1, product)]

    def _times(self, factor: Node, node: Node) -> Node:
        op = self.ops[node]
        if op == "mul" and not self.invariant[node]:
            a, b = self.args[node]
            if self.invariant[b]:
                a, b = b, a
            if self.invariant[a]:
                return self._times(self.apply("mul", factor, a), b)
            if self.depth[a] > self.depth[b]:
                a, b = b, a
            return self.apply("mul", self._times(factor, a), b)
        if op == "div" and not self.invariant[node]:
            a, b = self.args[node]
            if self.invariant[b]:
                return self._times(self.apply("div", factor, b), a)
            return self.apply("div", self._times(factor, a), b)
        return self.apply("mul", factor, node)


def copy(graph: Graph, roots: Sequence[Node]) -> tuple[Graph, list[Node]]:
    """The roots in a graph of their own.

    A graph grows as programs are made from it, and the order of their instructions follows the
    nodes' numbers: programs start from a copy, so that they depend on the equations alone.
    """
    new = Graph()
    memory: dict[Node, Node] = {}
    for node in graph.order(roots):
        op, value = graph.ops[node], graph.values[node]
        if graph.args[node]:
            memory[node] = new.apply(op, *(memory[arg] for arg in graph.args[node]))
        else:
            memory[node] = new._intern(op, (), value)
    return new, [memory[root] for root in roots]


class Step(NamedTuple):
    """One instruction: registers by number, results in the order of the list."""

    op: str
    args: tuple[int, ...]
    out: int
    uniform: bool


@dataclass(frozen=True)
class Program:
    """Instructions over registers.

    Registers ``0 .. inputs-1`` hold the state (then the tangents), the next one the time, the next
    ``len(invariants)`` numbers that no step changes; the rest are temporary. At the end
    ``outputs[i]`` names the register of the new component i.
    """

    steps: tuple[Step, ...]
    inputs: int
    invariants: tuple[Node, ...]
    registers: int
    outputs: tuple[int, ...]
    uses_time: bool
    graph: Graph

    def constants(self, params: Mapping[str, float]) -> list[float]:
        """Values of the invariant registers."""
        values = self.graph.evaluate(self.invariants, params)
        return [values[node] for node in self.invariants]

    @property
    def fingerprint(self) -> str:
        """Names the program by what it does, so that compiled code can be found for it."""
        text = repr((self.inputs, self.outputs, self.registers, self.steps))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _fuse(
    graph: Graph, order: list[Node], roots: Sequence[Node]
) -> dict[Node, tuple[str, tuple[Node, ...]] | None]:
    """Which additions take the product or difference before them along; None: taken along."""
    uses: dict[Node, int] = dict.fromkeys(order, 0)
    for node in order:
        for arg in graph.args[node]:
            uses[arg] += 1
    for root in roots:
        uses[root] += 1
    fused: dict[Node, tuple[str, tuple[Node, ...]] | None] = {}
    swallowed: set[Node] = set()

    def product(node: Node) -> bool:
        return (
            graph.ops[node] == "mul"
            and uses[node] == 1
            and not graph.invariant[node]
            and node not in swallowed
        )

    for node in order:
        op = graph.ops[node]
        if op not in ("add", "sub") or graph.invariant[node]:
            continue
        a, b = graph.args[node]
        if product(b):
            kind = "muladd" if op == "add" else "nmuladd"
            chosen, other = b, a
        elif product(a):
            kind = "muladd" if op == "add" else "mulsub"
            chosen, other = a, b
        else:
            continue
        left, right = graph.args[chosen]
        swallowed.add(chosen)
        if kind == "muladd":
            for one, two in ((left, right), (right, left)):
                plain = graph.ops[one] == "sub" and one not in fused
                if plain and uses[one] == 1 and not graph.invariant[one]:
                    swallowed.add(one)
                    fused[node] = ("diffmuladd", (*graph.args[one], two, other))
                    break
            else:
                fused[node] = (kind, (left, right, other))
        else:
            fused[node] = (kind, (left, right, other))
    for node in swallowed:
        fused[node] = None
    return fused


def _assemble(
    graph: Graph, roots: Sequence[Node], dim: int, *, tangents: bool = False, extra: int = 0
) -> Program:
    inputs = (2 * dim if tangents else dim) + extra
    order = graph.order(roots)
    live = [node for node in order if not graph.invariant[node] and graph.args[node]]
    fused = _fuse(graph, order, roots)
    steps: list[tuple[str, tuple[Node, ...], Node]] = []
    for node in live:
        how = fused.get(node, (graph.ops[node], graph.args[node]))
        if how is not None:
            steps.append((*how, node))

    needed = {arg for _, args, _ in steps for arg in args} | set(roots)
    invariants = tuple(node for node in order if graph.invariant[node] and node in needed)
    place: dict[Node, int] = {node: inputs + 1 + i for i, node in enumerate(invariants)}
    uses_time = False
    for node in order:
        op, value = graph.ops[node], graph.values[node]
        if op == "var":
            place[node] = int(value or 0)
        elif op == "tangent":
            place[node] = dim + int(value or 0)
        elif op == "time":
            place[node] = inputs
            uses_time = uses_time or node in needed
    fixed = inputs + 1 + len(invariants)

    # Without a tangent leaf below it, a value is the same in every column of one trajectory.
    moving: set[Node] = set()
    for node in order:
        if graph.ops[node] == "tangent" or any(arg in moving for arg in graph.args[node]):
            moving.add(node)

    last: dict[Node, int] = {}
    for index, (_, args, _) in enumerate(steps):
        for arg in args:
            last[arg] = index
    for root in roots:
        last[root] = len(steps)
    # A result may take the place of the component that it succeeds, once nothing reads that.
    successor: dict[Node, int] = {}
    for index, root in enumerate(roots):
        if root in successor or not graph.args[root] or graph.invariant[root]:
            successor.pop(root, None)
        else:
            successor[root] = index
    read = dict.fromkeys(range(inputs), -1)
    for node, register in place.items():
        if register < inputs and node in last:
            read[register] = last[node]
    free: list[int] = []
    count = fixed
    listed: list[Step] = []
    for index, (op, args, node) in enumerate(steps):
        registers = tuple(place[arg] for arg in args)
        over = [arg for arg in dict.fromkeys(args) if last[arg] == index]
        free.extend(place[arg] for arg in over if place[arg] >= fixed)
        if node not in last:
            raise AssertionError("a value that nothing uses")
        home = successor.get(node, -1)
        if home >= 0 and read[home] <= index:
            out = home
        elif free:
            out = free.pop()
        else:
            out, count = count, count + 1
        place[node] = out
        listed.append(Step(op, registers, out, node not in moving))
    return Program(
        steps=tuple(listed),
        inputs=inputs,
        invariants=invariants,
        registers=count,
        outputs=tuple(place[root] for root in roots),
        uses_time=uses_time,
        graph=graph,
    )


#: Larger systems carry no volume along: its derivatives would cost more than the tangents.
_MAX_VOLUME_DIM = 64


def _tangents(graph: Graph, roots: Sequence[Node]) -> list[Node]:
    seeds = {graph.var(i): graph.tangent(i) for i in range(len(roots))}
    return graph.derivatives(roots, seeds)


def _partial(graph: Graph, roots: Sequence[Node], index: int, dim: int) -> list[Node]:
    seeds = {graph.var(i): graph.const(float(i == index)) for i in range(dim)}
    return graph.derivatives(roots, seeds)


def divergence(graph: Graph, rhs: Sequence[Node]) -> Node:
    """The trace of the Jacobian."""
    dim = len(rhs)
    total = graph.const(0.0)
    for index, root in enumerate(rhs):
        total = graph.apply("add", total, _partial(graph, [root], index, dim)[0])
    return total


def _log_determinant(graph: Graph, rhs: Sequence[Node]) -> Node:
    dim = len(rhs)
    columns = [_partial(graph, rhs, index, dim) for index in range(dim)]

    def minor(rows: list[int], column: int) -> Node:
        if len(rows) == 1:
            return columns[column][rows[0]]
        total = graph.const(0.0)
        for place, row in enumerate(rows):
            rest = minor([other for other in rows if other != row], column + 1)
            term = graph.apply("mul", columns[column][row], rest)
            total = graph.apply("sub" if place % 2 else "add", total, term)
        return total

    return graph.apply("log", graph.apply("abs", minor(list(range(dim)), 0)))


def carries_volume(dim: int, kind: str) -> bool:
    """Whether a program with tangents has the logarithm of the volume as its last component."""
    return dim <= (_MAX_VOLUME_DIM if kind == "flow" else 3)


def rhs_program(graph: Graph, rhs: Sequence[Node]) -> Program:
    """The right-hand side itself."""
    graph, rhs = copy(graph, rhs)
    return _assemble(graph, list(rhs), len(rhs))


def jacobian_program(graph: Graph, rhs: Sequence[Node]) -> Program:
    """The right-hand side and one product of its Jacobian with a tangent."""
    graph, rhs = copy(graph, rhs)
    return _assemble(graph, [*rhs, *_tangents(graph, rhs)], len(rhs), tangents=True)


def map_program(graph: Graph, rhs: Sequence[Node], *, tangents: bool = False) -> Program:
    """One iteration. With tangents, and where dim <= 3, the volume's logarithm comes last."""
    graph, rhs = copy(graph, rhs)
    roots, dim = list(rhs), len(rhs)
    if not tangents:
        return _assemble(graph, roots, dim)
    roots += _tangents(graph, rhs)
    extra = carries_volume(dim, "map")
    if extra:
        volume = graph.var(2 * dim)
        roots.append(graph.apply("add", volume, _log_determinant(graph, rhs)))
    return _assemble(graph, roots, dim, tangents=True, extra=int(extra))


def rk4_program(graph: Graph, rhs: Sequence[Node], *, tangents: bool = False) -> Program:
    """One step of the classical Runge-Kutta method, of length ``dt`` (a parameter).

    With ``x_a, x_b, x_c`` the states at which slopes two to four are taken, the step is
    ``x + ((x_a - x) + 2 (x_b - x) + (x_c - x)) / 3 + h k_4 / 6``: the usual formula, with the
    slopes expressed by the stages that they made, so that each is multiplied by h only once.

    With tangents each column moves as the derivative of the step does, and the last component is
    the integral of the divergence along the trajectory.
    """
    graph, rhs = copy(graph, rhs)
    dim = len(rhs)
    extra = tangents and carries_volume(dim, "flow")
    rhs = [*rhs, divergence(graph, rhs)] if extra else list(rhs)
    order = graph.order(rhs)
    uses: dict[Node, int] = dict.fromkeys(order, 0)
    for node in order:
        for arg in graph.args[node]:
            uses[arg] += 1
    for root in rhs:
        uses[root] += 1
    shared = {node for node, count in uses.items() if count > 1}

    h = graph.param("dt")
    half = graph.apply("mul", graph.const(0.5), h)
    sixth = graph.apply("div", h, graph.const(6.0))
    x = [graph.var(i) for i in range(dim)]
    if extra:
        x.append(graph.var(2 * dim))
    now = graph.time()

    def slopes(state: list[Node], time: Node) -> tuple[list[Node], set[Node]]:
        replace = dict(zip(x, state, strict=True)) | {now: time}
        memory: dict[Node, Node] = {}
        found = graph.substitute(rhs, replace, memory)
        return found, {memory[node] for node in shared if node in memory}

    def stage(base: list[Node], factor: Node, state: list[Node], time: Node) -> list[Node]:
        k, held = slopes(state, time)
        return [
            graph.add_scaled(start, factor, slope, held)
            for start, slope in zip(base, k, strict=True)
        ]

    middle, end = graph.apply("add", now, half), graph.apply("add", now, h)
    xa = stage(x, half, x, now)
    xb = stage(x, half, xa, middle)
    xc = stage(x, h, xb, middle)
    base = [graph.rk4(*parts) for parts in zip(x, xa, xb, xc, strict=True)]
    roots = stage(base, sixth, xc, end)
    if tangents:
        roots[dim:dim] = _tangents(graph, roots[:dim])
    return _assemble(graph, roots, dim, tangents=tangents, extra=int(extra))
