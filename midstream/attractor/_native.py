"""C for the steps of the catalogue's systems: run by ``setup.py`` while it builds.

Nothing at run time depends on it: a program that has no compiled twin is interpreted, with the
same bits.
"""

from __future__ import annotations

from collections.abc import Iterator

from midstream.attractor._catalogue import CATALOGUE
from midstream.attractor._expression import parse_equations
from midstream.attractor._graph import Program, carries_volume, map_program, rk4_program

__all__ = ["source"]

#: Larger systems gain little over the interpreter and take long to compile.
_MAX_DIM = 6
_MAX_STEPS = 700


def _operand(program: Program, register: int, names: dict[int, str]) -> str:
    if register in names:
        return names[register]
    if register < program.inputs:
        return f"s[{register}]"
    if register == program.inputs:
        return "t"
    return f"c[{register - program.inputs - 1}]"


def _plain(program: Program, name: str, what: str) -> Iterator[str]:
    yield f"/* {what} */"
    yield f"MS_STEP({name}) {{"
    names: dict[int, str] = {}
    for index, step in enumerate(program.steps):
        args = ", ".join(_operand(program, arg, names) for arg in step.args)
        yield f"    const V v{index} = v_{step.op}({args});"
        names[step.out] = f"v{index}"
    outputs = [_operand(program, register, names) for register in program.outputs]
    yield from _results(outputs, "V", [f"s[{i}]" for i in range(program.inputs)])
    yield "    (void)t, (void)c;"
    yield "}"


def _results(outputs: list[str], kind: str, places: list[str]) -> Iterator[str]:
    """Assign all at once: a new component may be an old one."""
    for index, output in enumerate(outputs):
        yield f"    const {kind} n{places[index][0]}{index} = {output};"
    for index, place in enumerate(places):
        yield f"    {place} = n{places[index][0]}{index};"


def _tangent(program: Program, dim: int, name: str, what: str) -> Iterator[str]:
    yield f"/* {what}, with tangents */"
    yield f"MS_TANGENT_STEP({name}) {{"
    names: dict[int, str] = {}
    uniform: dict[int, bool] = {}
    for register in range(program.inputs):
        moving = dim <= register < 2 * dim
        place = register - dim if register >= dim else register
        names[register] = f"v[{place}]" if moving else f"x[{place}]"
        uniform[register] = not moving
    for index, step in enumerate(program.steps):
        args = []
        for arg in step.args:
            text = _operand(program, arg, names)
            shared = uniform.get(arg, True)
            args.append(f"MS_SPLAT({text})" if shared and not step.uniform else text)
        call = f"MS_SCALAR({step.op})" if step.uniform else f"v_{step.op}"
        kind, letter = ("double", "u") if step.uniform else ("V", "w")
        yield f"    const {kind} {letter}{index} = {call}({', '.join(args)});"
        names[step.out] = f"{letter}{index}"
        uniform[step.out] = step.uniform
    outputs = []
    for index, register in enumerate(program.outputs):
        text = _operand(program, register, names)
        moving = dim <= index < 2 * dim
        outputs.append(f"MS_SPLAT({text})" if moving and uniform.get(register, True) else text)
    rest = [*outputs[:dim], *outputs[2 * dim :]]
    yield from _results(rest, "double", [f"x[{i}]" for i in range(len(rest))])
    yield from _results(outputs[dim : 2 * dim], "V", [f"v[{i}]" for i in range(dim)])
    yield "    (void)t, (void)c;"
    yield "}"


def source() -> str:
    """Text of ``ms_native_systems.h``."""
    lines = ["/* Written by setup.py from midstream/attractor/_catalogue.py. */"]
    table: list[str] = []
    seen: set[str] = set()
    for entry in CATALOGUE.values():
        if len(entry.variables) > _MAX_DIM:
            continue
        is_map = entry.kind == "map"
        build = map_program if is_map else rk4_program
        for tangents in (False, True):
            equations = parse_equations(
                entry.equations, variables=entry.variables, params=entry.params
            )
            program = build(equations.graph, equations.rhs, tangents=tangents)
            name = "p" + program.fingerprint
            if name in seen or len(program.steps) > _MAX_STEPS:
                continue
            seen.add(name)
            dim = len(equations.rhs)
            if tangents:
                extra = int(carries_volume(dim, entry.kind))
                lines += _tangent(program, dim, name, entry.name)
                lines.append(f"MS_TANGENT_LOOPS({name}, {dim}, {extra}, {int(is_map)})")
                table.append(f"T({name})")
            else:
                lines += _plain(program, name, entry.name)
                count = len(program.invariants)
                lines.append(f"MS_LOOPS({name}, {dim}, {count}, {int(is_map)})")
                table.append(f"P({name})")
    lines.append("#define MS_NATIVE_PROGRAMS(P, T) \\\n    " + " \\\n    ".join(table))
    return "\n".join(lines) + "\n"
