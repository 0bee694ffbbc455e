"""Synthesis over finite traces: controllers from formulas, and why there is none."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from midstream._core.errors import ArgumentValueError, MidstreamError, StateLimitError
from midstream._core.validate import check_choice, check_int
from midstream.logic import _strategy
from midstream.logic._checks import as_formula, as_timeout
from midstream.logic._letters import as_mask
from midstream.logic._strategy import ENVIRONMENT, MAX_ROWS, SYSTEM, Deadline, Machine, Solved
from midstream.logic.formula import Formula, Op, false, make, true

if TYPE_CHECKING:
    from midstream.logic._letters import Letter
    from midstream.logic.automaton import Automaton

__all__ = [
    "Controller",
    "Counterstrategy",
    "counterstrategy",
    "realizable",
    "synthesize",
    "unrealizable_core",
]

_ORDERS = ("mealy", "moore")
_HOLDS_OF_NONE = (Op.ALWAYS, Op.RELEASE, Op.HISTORICALLY, Op.TRIGGER)
#: What holds at the only position iff its last operand does.
_LAST_OPERAND = frozenset(
    {
        Op.EVENTUALLY,
        Op.ALWAYS,
        Op.UNTIL,
        Op.RELEASE,
        Op.ONCE,
        Op.HISTORICALLY,
        Op.SINCE,
        Op.TRIGGER,
    }
)
#: Plays of a controller that are evaluated by the formula's definition, beside the full check.
_PLAYS = 64
#: Fewer, where plays are longer than this.
_LONG_PLAY = 256
#: Up to so many plays are all evaluated.
_ALL_PLAYS = 256
#: With more inputs, those before all outputs mostly make the automaton too large.
_MANY_INPUTS = 16
#: Conjuncts of at most this size are tried alone first.
_SMALL_PART = 200


class _Player:
    """What `Controller` and `Counterstrategy` share: a machine and where it stands."""

    def __init__(self, formula: Formula, order: str, machine: Machine) -> None:
        self._machine = machine
        self._state = 0
        self.formula = formula
        self.order = order
        self._predicates = _strategy.predicates_of(formula, machine.other)

    @property
    def n_states(self) -> int:
        """Number of states of the machine, the end of the play not counted."""
        return len(self._machine.states)

    @property
    def state(self) -> int:
        """The current state, 0 at the start; -1 where the play is over."""
        return self._state

    def reset(self) -> None:
        """Begin a new play."""
        self._state = 0

    def table(
        self, *, max_rows: int = MAX_ROWS
    ) -> list[tuple[int, dict[str, bool], frozenset[str], int | None]]:
        """Write the machine out.

        Parameters
        ----------
        max_rows : int
            Longer tables are refused before any of them is made. There is a row for every path in
            the machine's diagram, which can be exponentially many in the other player's atoms.

        Returns
        -------
        list of (state, condition, action, next state)
            `condition` has the values of those of the other player's atoms that matter; `action`
            the own atoms that are true; the next state is None where the play ends.

        Raises
        ------
        StateLimitError
            More than `max_rows` rows.
        """
        max_rows = check_int("max_rows", max_rows, low=1)
        return _strategy.rows_of(self._machine, max_rows)

    def _alive(self) -> int:
        if self._state < 0:
            raise ArgumentValueError("the play is over: reset() begins a new one")
        return self._state

    def _move(self, seen: Letter) -> frozenset[str]:
        """Answer the other player's atoms, and go on."""
        state = self._alive()
        leaf = self._machine.leaf(state, as_mask(seen, self._machine.other, self._predicates))
        action = self._machine.states[state][0] | leaf.action
        self._state = leaf.following
        return _strategy.own_names(self._machine, action)

    def _opening(self) -> frozenset[str]:
        """The own atoms, where they come first."""
        return _strategy.own_names(self._machine, self._machine.states[self._alive()][0])

    def __getstate__(self) -> dict[str, Any]:
        data = dict(self.__dict__)
        machine = self._machine
        data["_machine"] = (*machine[:5], tuple(tuple(leaf) for leaf in machine.leaves))
        return data

    def __setstate__(self, data: dict[str, Any]) -> None:
        self.__dict__.update(data)
        self._machine = _strategy.as_machine(data["_machine"])


class Controller(_Player):
    """A system's strategy that satisfies a formula whatever the environment does.

    Made by `synthesize`. In each step the environment chooses the inputs and the controller the
    outputs: inputs first where `order` is ``"mealy"``, outputs first where it is ``"moore"``. Once
    the trace satisfies the formula, the controller stops, and `stop` is true.

    One play at a time: not to be shared between threads (`copy.copy` is cheap). Pickles.

    Attributes
    ----------
    formula : Formula
    input_atoms, output_atoms : tuple of str
    order : str
    bound : int
        No play is longer than this many steps.

    Examples
    --------
    >>> from midstream.logic import synthesize
    >>> controller = synthesize("G(request -> grant) & F grant", ["request"], ["grant"])
    >>> sorted(controller.step({"request"})), controller.stop
    (['grant'], True)
    """

    def __init__(self, formula: Formula, order: str, machine: Machine, bound: int) -> None:
        super().__init__(formula, order, machine)
        self.input_atoms = machine.other
        self.output_atoms = machine.own
        self.bound = bound

    @property
    def stop(self) -> bool:
        """Whether the play is over and the formula satisfied."""
        return self._state < 0

    def step(self, inputs: Letter = ()) -> frozenset[str]:
        """Play one step.

        Parameters
        ----------
        inputs : set of str, mapping of str to bool or number, or bit mask over `input_atoms`

        Returns
        -------
        frozenset of str
            The outputs that are true in this step; a Moore controller chooses them without looking
            at `inputs`.

        Raises
        ------
        ArgumentValueError
            The play is over, or a mask is too large.
        """
        return self._move(inputs)

    def outputs(self) -> frozenset[str]:
        """The outputs of the step to come, of a Moore controller.

        Raises
        ------
        ArgumentValueError
            The play is over; or this is a Mealy controller, which needs the inputs first.
        """
        if self.order != "moore":
            raise ArgumentValueError(
                f"order is {self.order!r}: outputs depend on the inputs, call step(inputs)"
            )
        return self._opening()

    def observe(self, inputs: Letter) -> None:
        """Take the inputs that came with `outputs`, and go on: of a Moore controller.

        Raises
        ------
        ArgumentValueError
            The play is over, a mask is too large, or this is a Mealy controller.
        """
        self.outputs()
        self._move(inputs)

    def simulate(self, inputs: Iterable[Letter]) -> list[frozenset[str]]:
        """Play from the start against given inputs, leaving the current play alone.

        Parameters
        ----------
        inputs : iterable of letters over `input_atoms`

        Returns
        -------
        list of frozenset of str
            The trace, inputs and outputs, until the controller stops or the inputs run out.

        Examples
        --------
        >>> from midstream.logic import synthesize
        >>> controller = synthesize("X[!] (b <-> Y a)", ["a"], ["b"])
        >>> [sorted(letter) for letter in controller.simulate([{"a"}, {}, {"a"}])]
        [['a'], ['b']]
        """
        machine = self._machine
        state = 0
        trace: list[frozenset[str]] = []
        for letter in inputs:
            if state < 0:
                break
            seen = as_mask(letter, machine.other, self._predicates)
            leaf = machine.leaf(state, seen)
            action = machine.states[state][0] | leaf.action
            true_inputs = (name for bit, name in enumerate(machine.other) if seen >> bit & 1)
            trace.append(_strategy.own_names(machine, action) | frozenset(true_inputs))
            state = leaf.following
        return trace

    def to_dot(self, *, max_rows: int = MAX_ROWS) -> str:
        """Graphviz' text: edges are labelled inputs / outputs, Moore states with their outputs.

        Parameters
        ----------
        max_rows : int
            Limit of the edges, as for `table`.

        Returns
        -------
        str

        Raises
        ------
        StateLimitError
            More than `max_rows` edges.
        """
        max_rows = check_int("max_rows", max_rows, low=1)
        return _strategy.dot_text(self._machine, "controller", "stop", max_rows)

    def __repr__(self) -> str:
        return (
            f"<Controller: {self.order}, {self.n_states} states, {len(self.input_atoms)} inputs, "
            f"{len(self.output_atoms)} outputs, stops within {self.bound} steps>"
        )


class Counterstrategy(_Player):
    """An environment's strategy that keeps a formula from ever being satisfied.

    Made by `counterstrategy`. With it, no trace of any length satisfies the formula, whatever the
    system does. In order ``"mealy"`` it moves first: `inputs`, then `observe`; in order ``"moore"``
    it answers: ``step(outputs)``.

    Attributes
    ----------
    formula : Formula
    input_atoms, output_atoms : tuple of str
    order : str
    """

    def __init__(self, formula: Formula, order: str, machine: Machine) -> None:
        super().__init__(formula, order, machine)
        self.input_atoms = machine.own
        self.output_atoms = machine.other

    def step(self, outputs: Letter = ()) -> frozenset[str]:
        """Play one step: the inputs that are true in it.

        Parameters
        ----------
        outputs : set of str, mapping of str to bool, or bit mask over `output_atoms`

        Raises
        ------
        ArgumentValueError
            A mask is too large.
        """
        return self._move(outputs)

    def inputs(self) -> frozenset[str]:
        """The inputs of the step to come, in order ``"mealy"``.

        Raises
        ------
        ArgumentValueError
            The order is ``"moore"``: the inputs depend on the outputs.
        """
        if self.order != "mealy":
            raise ArgumentValueError(
                f"order is {self.order!r}: inputs depend on the outputs, call step(outputs)"
            )
        return self._opening()

    def observe(self, outputs: Letter) -> None:
        """Take the outputs that came with `inputs`, and go on: in order ``"mealy"``.

        Raises
        ------
        ArgumentValueError
            A mask is too large, or the order is ``"moore"``.
        """
        self.inputs()
        self._move(outputs)

    def to_dot(self, *, max_rows: int = MAX_ROWS) -> str:
        """Graphviz' text.

        Parameters
        ----------
        max_rows : int
            Limit of the edges, as for `table`.

        Returns
        -------
        str

        Raises
        ------
        StateLimitError
            More than `max_rows` edges.
        """
        max_rows = check_int("max_rows", max_rows, low=1)
        return _strategy.dot_text(self._machine, "counterstrategy", "end", max_rows)

    def __repr__(self) -> str:
        return (
            f"<Counterstrategy: {self.order}, {self.n_states} states, "
            f"{len(self.input_atoms)} inputs, {len(self.output_atoms)} outputs>"
        )


class _Problem:
    """Checked arguments of a synthesis problem."""

    def __init__(
        self,
        formula: Formula | str,
        inputs: Iterable[str],
        outputs: Iterable[str],
        order: str,
        max_states: int,
        timeout_s: float | None,
    ) -> None:
        self.formula = as_formula(formula)
        self.sides = _strategy.check_sides(self.formula, ("inputs", "outputs"), (inputs, outputs))
        self.order: str = check_choice("order", order, _ORDERS)
        self.max_states = check_int("max_states", max_states, low=1)
        timeout_s = as_timeout(timeout_s)
        self.deadline = Deadline(timeout_s)

    def compile(self, formula: Formula, alphabet: Iterable[str]) -> Automaton:
        return self.deadline.compile(formula, alphabet, self.max_states)

    def solve(self, formula: Formula) -> Solved:
        """Whether the system can force a trace that satisfies the formula, and how."""
        inputs, outputs = self.sides
        # Atoms that the formula lacks would only be variables that no node tests.
        used = set(formula.atoms)
        first, second = (inputs, outputs) if self.order == "mealy" else (outputs, inputs)
        alphabet = [name for name in (*first, *second) if name in used]
        automaton = self.compile(formula, alphabet)
        game = _strategy.game_of(automaton, outputs)
        target = np.ascontiguousarray(automaton.accepting, dtype=np.uint8)
        return Solved(automaton, *game.attract(SYSTEM, target))

    def decide(self) -> tuple[Solved, Formula] | None:
        """Solve the game, the easiest questions first; None where the system loses.

        The second value is the formula that was solved: `formula`, or what is left of it on traces
        of one letter.
        """
        # Whoever can win in one step does so: no need of the automaton of the rest.
        letter = _on_one_letter(self.formula)
        solved = self.attempt(letter)
        if solved is not None and solved.realizable:
            return solved, letter
        # A conjunction is lost with any of its conjuncts, and long ones mostly are.
        if self.formula.op == Op.AND:
            for part in sorted(self.formula.args, key=lambda part: part.size):
                solved = self.attempt(part) if part.size <= _SMALL_PART else None
                if solved is not None and not solved.realizable:
                    return None
        solved = self.solve(self.formula)
        return (solved, self.formula) if solved.realizable else None

    def attempt(self, formula: Formula) -> Solved | None:
        """Solve a game that might settle another one; None where it is too large."""
        try:
            return self.solve(formula)
        except StateLimitError:
            return None

    def wins(self) -> bool:
        """Whether the system wins, in the order of the formula's atoms, without its strategy.

        Slower than `solve` where both can do it; but an automaton with one side's atoms all first,
        which a strategy needs, can be exponentially larger.
        """
        outputs = self.sides[1]
        automaton = self.compile(self.formula, self.formula.atoms)
        game = _strategy.game_of(automaton, outputs)
        won = np.ascontiguousarray(automaton.accepting, dtype=np.uint8)
        while True:
            forced, _ = game.forces(won, self.order == "moore")
            more = won | forced
            if more[0] or np.array_equal(more, won):
                return bool(more[0])
            won = more
            _ = self.deadline.left

    def machine(self, solved: Solved, player: int) -> Machine:
        used = set(solved.automaton.alphabet)
        inputs, outputs = (tuple(name for name in side if name in used) for side in self.sides)
        machine = _strategy.extract(solved, player, (inputs, outputs), self.deadline)
        return self.widen(machine, player)

    def widen(self, machine: Machine, player: int) -> Machine:
        """Tell the machine of atoms that the formula lacks: it reads none, its own are false."""
        own, other = self.sides[player], self.sides[1 - player]
        own_place = {name: index for index, name in enumerate(own)}
        other_place = {name: index for index, name in enumerate(other)}
        bits = [own_place[name] for name in machine.own]
        places = [other_place[name] for name in machine.other]

        def moved(mask: int) -> int:
            return sum(1 << bit for index, bit in enumerate(bits) if mask >> index & 1)

        return machine._replace(
            own=own,
            other=other,
            states=tuple((moved(mask), reference) for mask, reference in machine.states),
            nodes=tuple((places[variable], low, high) for variable, low, high in machine.nodes),
            leaves=tuple(leaf._replace(action=moved(leaf.action)) for leaf in machine.leaves),
        )

    def check(self, machine: Machine, player: int, formula: Formula) -> int:
        """Check a machine on an automaton of another order of variables than the game's."""
        alphabet = (*machine.other, *reversed(machine.own))
        automaton = self.compile(formula, alphabet)
        return _strategy.check_product(machine, automaton, player, self.deadline)


def realizable(
    formula: Formula | str,
    inputs: Iterable[str],
    outputs: Iterable[str],
    *,
    order: str = "mealy",
    max_states: int = 100_000,
    timeout_s: float | None = None,
) -> bool:
    """Whether a controller for a formula exists.

    Parameters
    ----------
    formula, inputs, outputs, order, max_states, timeout_s
        As of `synthesize`.

    Returns
    -------
    bool

    Raises
    ------
    ArgumentValueError, StateLimitError, UndecidedError
        As `synthesize`.

    Examples
    --------
    >>> from midstream.logic import realizable
    >>> realizable("F grant & G(grant <-> X[!] request)", ["request"], ["grant"])
    False
    """
    problem = _Problem(formula, inputs, outputs, order, max_states, timeout_s)
    ways = [lambda: problem.decide() is not None, problem.wins]
    if len(set(problem.sides[0]) & set(problem.formula.atoms)) > _MANY_INPUTS:
        ways.reverse()
    try:
        return ways[0]()
    except StateLimitError:
        return ways[1]()


def synthesize(
    formula: Formula | str,
    inputs: Iterable[str],
    outputs: Iterable[str],
    order: str = "mealy",
    *,
    max_states: int = 100_000,
    timeout_s: float | None = None,
) -> Controller | None:
    """Find a controller that makes a formula true whatever the environment does.

    In every step the environment chooses the inputs and the system the outputs. The system may stop
    after any step, at least one, must stop eventually, and wins if the trace so far satisfies the
    formula.

    Parameters
    ----------
    formula : Formula or str
        Over finite traces; past operators and windows of steps are fine.
    inputs, outputs : collection of str
        The atoms of the environment and of the system; without overlap, and the formula's atoms all
        among them. Predicates of signals, such as ``"x > 0.5"``, can be inputs.
    order : {"mealy", "moore"}
        Who moves first in a step: the environment, so that outputs may depend on the step's inputs;
        or the system.
    max_states : int
        Limit of the automaton's size.
    timeout_s : float, optional
        Limit of the time, for everything together.

    Returns
    -------
    Controller or None
        None where there is none; `counterstrategy` shows why. The controller was checked: each of
        its plays was followed on an automaton that was compiled with another order of the atoms,
        and plays (all, if no more than 256, else a sample) were evaluated by `Formula.holds`.

    Raises
    ------
    ArgumentValueError, ArgumentTypeError
        An atom on both sides or on neither, or named twice.
    StateLimitError
        The automaton outgrew `max_states`.
    UndecidedError
        The time was up.
    FormulaSyntaxError
        Text that is no formula.

    Notes
    -----
    The game is solved on the diagrams of the minimal automaton, in time linear in their size, which
    is at worst doubly exponential in the formula's. Where the system can win in one step, what the
    formula says of traces of one letter is solved and checked instead, whatever the size of the
    rest. Thread-safe.

    Comparisons of one signal are independent inputs: a controller holds for all numbers, but where
    there is none, the environment may have needed ``x > 5`` without ``x > 3``.

    Source: De Giacomo and Vardi, "Synthesis for LTL and LDL on finite traces", IJCAI 2015.

    Examples
    --------
    A system that sees the request first can answer it at once; one that moves first cannot.

    >>> from midstream.logic import synthesize
    >>> rule = "F request -> F(request & grant & !error)"
    >>> synthesize(rule, ["request", "error"], ["grant"]) is None
    True
    >>> controller = synthesize("grant <-> request", ["request"], ["grant"])
    >>> controller.step({"request"}), controller.stop
    (frozenset({'grant'}), True)
    >>> synthesize("grant <-> request", ["request"], ["grant"], order="moore") is None
    True
    """
    problem = _Problem(formula, inputs, outputs, order, max_states, timeout_s)
    decided = problem.decide()
    if decided is None:
        return None
    solved, used = decided
    machine = problem.machine(solved, SYSTEM)
    controller = Controller(
        problem.formula, problem.order, machine, problem.check(machine, SYSTEM, used)
    )
    for inputs_played in _plays(controller):
        trace = controller.simulate(inputs_played)
        if not problem.formula.holds(trace):
            raise MidstreamError("internal error: a play of the controller breaks the formula")
        _ = problem.deadline.left
    return controller


def counterstrategy(
    formula: Formula | str,
    inputs: Iterable[str],
    outputs: Iterable[str],
    order: str = "mealy",
    *,
    max_states: int = 100_000,
    timeout_s: float | None = None,
) -> Counterstrategy | None:
    """Show why there is no controller: what the environment does against every one.

    Parameters
    ----------
    formula, inputs, outputs, order, max_states, timeout_s
        As of `synthesize`.

    Returns
    -------
    Counterstrategy or None
        None where the formula is realizable. It was checked on an automaton that was compiled with
        another order of the atoms: no play comes to a trace that satisfies the formula.

    Raises
    ------
    ArgumentValueError, StateLimitError, UndecidedError
        As `synthesize`.

    Examples
    --------
    >>> from midstream.logic import counterstrategy
    >>> spoiler = counterstrategy("grant <-> request", ["request"], ["grant"], order="moore")
    >>> sorted(spoiler.step({"grant"})), sorted(spoiler.step({"grant"}))
    ([], [])
    """
    problem = _Problem(formula, inputs, outputs, order, max_states, timeout_s)
    solved = problem.solve(problem.formula)
    if solved.realizable:
        return None
    machine = problem.machine(solved, ENVIRONMENT)
    problem.check(machine, ENVIRONMENT, problem.formula)
    return Counterstrategy(problem.formula, problem.order, machine)


def unrealizable_core(
    formula: Formula | str,
    inputs: Iterable[str],
    outputs: Iterable[str],
    order: str = "mealy",
    *,
    max_states: int = 100_000,
    timeout_s: float | None = None,
) -> tuple[Formula, ...] | None:
    """Find conjuncts that no controller satisfies together, each of them needed for that.

    Parameters
    ----------
    formula, inputs, outputs, order, max_states, timeout_s
        As of `synthesize`.

    Returns
    -------
    tuple of Formula or None
        Conjuncts of `formula`, or itself where it is no conjunction: unrealizable together, and
        realizable without any one of them. None where `formula` is realizable.

    Raises
    ------
    ArgumentValueError, StateLimitError, UndecidedError
        As `synthesize`.

    Notes
    -----
    A game for each conjunct.

    Examples
    --------
    >>> from midstream.logic import unrealizable_core
    >>> core = unrealizable_core("F done & G(a -> b) & G !b & F c", ["a"], ["b", "c", "done"])
    >>> [str(part) for part in core]
    ['G (a -> b)', 'G !b']
    """
    problem = _Problem(formula, inputs, outputs, order, max_states, timeout_s)
    if problem.solve(problem.formula).realizable:
        return None
    if problem.formula.op != Op.AND:
        return (problem.formula,)
    core = list(problem.formula.args)
    for part in list(core):
        rest = [kept for kept in core if kept is not part]
        if not rest:
            break
        if not problem.solve(make(Op.AND, rest)).realizable:
            core = rest
    return tuple(core)


def _plays(controller: Controller) -> Iterable[Sequence[int]]:
    """Inputs of all plays of a controller where they are few, else of a sample."""
    bits, bound = len(controller.input_atoms), controller.bound
    if bits * bound <= 62 and 1 << (bits * bound) <= _ALL_PLAYS:
        return itertools.product(range(1 << bits), repeat=bound)
    # The same each time: a check must not come and go.
    rng = random.Random(bound)
    plays = max(_PLAYS * _LONG_PLAY // max(bound, _LONG_PLAY), 4)
    return ([rng.getrandbits(bits) for _ in range(bound)] for _ in range(plays))


def _on_one_letter(formula: Formula) -> Formula:
    """What a formula says on traces of one letter: it has no temporal operators."""
    said: dict[Formula, Formula] = {}
    for node in formula.nodes():
        op, args = node.op, [said[arg] for arg in node.args]
        if node.interval is not None and node.interval.low > 0:
            # The window has no position: nothing is found in it, and all of it complies.
            result = true if op in _HOLDS_OF_NONE else false
        elif op in (Op.NEXT, Op.WEAK_YESTERDAY):
            result = true
        elif op in (Op.STRONG_NEXT, Op.YESTERDAY):
            result = false
        elif op == Op.WEAK_UNTIL:
            result = make(Op.OR, args)
        elif op == Op.STRONG_RELEASE:
            result = make(Op.AND, args)
        elif op in _LAST_OPERAND:
            result = args[-1]
        else:
            result = make(op, args) if args else node
        said[node] = result
    return said[formula]
