"""Programs: the instructions that text becomes, and the C that is made of them."""

from __future__ import annotations

import numpy as np
import pytest

from midstream.attractor import System, systems
from midstream.attractor._catalogue import CATALOGUE
from midstream.attractor._expression import parse_equations
from midstream.attractor._graph import (
    ARITY,
    Graph,
    carries_volume,
    map_program,
    rhs_program,
    rk4_program,
)
from midstream.attractor._native import source


def lorenz(order: str = "sigma rho beta") -> tuple[Graph, tuple[int, ...]]:
    params = dict.fromkeys(order.split(), 1.0)
    texts = ["sigma*(y - x)", "x*(rho - z) - y", "x*y - beta*z"]
    equations = parse_equations(texts, params=params)
    return equations.graph, equations.rhs


def test_a_program_depends_on_the_equations_alone() -> None:
    first = rk4_program(*lorenz())
    graph, rhs = lorenz("beta sigma rho")
    rk4_program(graph, rhs, tangents=True)
    rhs_program(graph, rhs)
    assert rk4_program(graph, rhs).fingerprint == first.fingerprint
    assert rk4_program(graph, rhs, tangents=True).fingerprint != first.fingerprint


def test_parameters_are_folded_before_the_run() -> None:
    program = rk4_program(*lorenz())
    # h, h/2 and h/6 with each of three parameters, and rho: nothing of it is left in the steps.
    assert len(program.invariants) == 10
    assert len(program.steps) <= 28
    values = program.constants({"sigma": 10, "rho": 28, "beta": 8 / 3, "dt": 0.01})
    assert 28.0 in values and 0.05 in values  # h/2 * sigma


def test_registers_are_used_again() -> None:
    program = rk4_program(*lorenz())
    assert program.registers < program.inputs + 1 + len(program.invariants) + len(program.steps) / 2
    written = [step.out for step in program.steps]
    assert set(program.outputs) <= set(written)


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_every_system_of_the_catalogue_was_compiled(name: str) -> None:
    entry = CATALOGUE[name]
    if len(entry.variables) > 6:
        pytest.skip("larger systems are interpreted")
    assert systems.get(name).native


def test_the_source_is_the_same_each_time() -> None:
    assert source() == source()


def test_unused_inputs_and_repeated_outputs() -> None:
    graph = Graph()
    x, y = graph.var(0), graph.var(1)
    swapped = map_program(graph, [y, x])
    assert swapped.outputs == (1, 0) and not swapped.steps
    twice = map_program(graph, [graph.apply("mul", x, x), graph.apply("mul", x, x)])
    assert len(twice.steps) == 1
    system = System(["y", "x"], kind="map")
    np.testing.assert_array_equal(system.rhs([1, 2]), [2, 1])


def test_volume_is_carried_where_it_is_cheap() -> None:
    assert carries_volume(64, "flow") and not carries_volume(65, "flow")
    assert carries_volume(3, "map") and not carries_volume(4, "map")


def test_simplifications() -> None:
    graph = Graph()
    x, zero, one = graph.var(0), graph.const(0.0), graph.const(1.0)
    assert graph.apply("add", x, zero) == x == graph.apply("mul", one, x)
    assert graph.apply("mul", x, zero) == zero
    assert graph.apply("sub", zero, x) == graph.apply("neg", x)
    assert graph.apply("neg", graph.apply("neg", x)) == x
    assert graph.values[graph.apply("div", one, zero)] == np.inf
    # 1/3 in base 2 is the same number however it is reached, and -0.0 is not 0.0.
    assert graph.const(-0.0) != graph.const(0.0)


def test_the_interpreter_knows_every_operation() -> None:
    # Flow refuses to be made where the numbering differs.
    assert len(ARITY) == 35
    assert System("x").rhs([1.0])[0] == 1.0
