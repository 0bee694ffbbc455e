"""Rules over events: a formula, what its atoms mean, and what to do when it is broken."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, NamedTuple

from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ConfigurationError,
    MidstreamError,
)
from midstream._core.regex import Pattern
from midstream._core.toml import read_toml, toml_value
from midstream._core.validate import (
    check_choice,
    check_int,
    check_mapping,
    check_real,
    check_text,
    did_you_mean,
)
from midstream.logic._rulebook import OPERATORS
from midstream.logic.formula import Formula
from midstream.logic.parser import parse

__all__ = ["Condition", "Rule", "read_rules", "write_rules"]

#: What a broken rule asks for, from the mildest to the strongest.
ACTIONS = ("note", "warn", "block", "stop")

#: What becomes of a rule after an event that broke it; the codes of csrc/ms_rulebook.h.
AFTER_VIOLATION = ("stay", "reset", "skip")

#: What an atom means: tests on the fields of an event, or a function of the event.
Condition = Mapping[str, Any] | Callable[[Any], bool]

MAX_NESTING = 20
MAX_COUNT = 1_000_000
_WORDS = ("any", "all", "not", "count")
_EQUAL, _IN, _EXISTS = OPERATORS.index("=="), OPERATORS.index("in"), OPERATORS.index("exists")


class Fields(NamedTuple):
    """All of these tests: (path, code of the operator, operand, its types)."""

    tests: tuple[tuple[tuple[str, ...], int, Any, Any], ...]


class Compound(NamedTuple):
    """``not``, ``any`` or ``all`` of conditions."""

    word: str
    args: tuple[Any, ...]


class Counted(NamedTuple):
    """At least so many of the last events, or within so many seconds."""

    of: Any
    at_least: int
    steps: int | None
    seconds: float | None


class Call(NamedTuple):
    """A function of the event."""

    function: Callable[[Any], bool]


def check_condition(name: str, condition: Any, depth: int = 0) -> Any:
    """The condition as a hashable tree; errors name the place.

    Parameters
    ----------
    name : str
        Where it stands.
    condition : mapping or callable

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        It is none.
    """
    if depth > MAX_NESTING:
        raise ArgumentValueError(f"{name} has more than {MAX_NESTING} nested conditions")
    if not isinstance(condition, Mapping):
        if callable(condition):
            check_hashable(name, condition)
            return Call(condition)
        raise ArgumentTypeError(
            f"{name} must be a mapping of fields to values, or a function of the event, got "
            f"{condition!r:.60} ({type(condition).__name__})"
        )
    if not condition:
        raise ArgumentValueError(f"{name} must not be empty: name a field, as in {{kind = 'text'}}")
    tests: list[tuple[tuple[str, ...], int, Any, Any]] = []
    parts: list[Any] = []
    for key, value in condition.items():
        check_text(f"{name}: a field", key)
        if key == "not":
            parts.append(Compound("not", (check_condition(f"{name}.not", value, depth + 1),)))
        elif key in ("any", "all"):
            if not isinstance(value, (list, tuple)) or not value:
                raise ArgumentTypeError(
                    f"{name}.{key} must be a list of conditions, got {value!r:.60}"
                )
            parts.append(
                Compound(
                    key,
                    tuple(
                        check_condition(f"{name}.{key}[{k}]", one, depth + 1)
                        for k, one in enumerate(value)
                    ),
                )
            )
        elif key == "count":
            parts.append(_check_count(f"{name}.count", value, depth))
        else:
            tests += _check_tests(name, key, value)
    if tests:
        parts.insert(0, Fields(tuple(tests)))
    return parts[0] if len(parts) == 1 else Compound("all", tuple(parts))


def check_hashable(name: str, function: Any) -> None:
    """Functions are told apart as keys of a dict are."""
    try:
        hash(function)
    except TypeError as error:
        raise ArgumentTypeError(f"{name} must be hashable: {error}") from error


def _check_count(name: str, value: Any, depth: int) -> Any:
    check_mapping(name, value)
    for key in value:
        check_choice(f"{name}: a key", key, ("of", "at_least", "at_most", "within", "seconds"))
    if "of" not in value or ("at_least" in value) == ("at_most" in value):
        raise ArgumentValueError(
            f"{name} needs 'of', and one of 'at_least' and 'at_most', got {sorted(value)}"
        )
    if "within" in value and "seconds" in value:
        raise ArgumentValueError(f"{name} takes 'within' (events) or 'seconds', not both")
    of = check_condition(f"{name}.of", value["of"], depth + 1)
    steps = seconds = None
    if "within" in value:
        steps = check_int(f"{name}.within", value["within"], low=1, high=2**53)
    if "seconds" in value:
        seconds = check_real(f"{name}.seconds", value["seconds"], low=0)
    if "at_least" in value:
        least = check_int(f"{name}.at_least", value["at_least"], low=1, high=MAX_COUNT)
        return Counted(of, least, steps, seconds)
    most = check_int(f"{name}.at_most", value["at_most"], low=0, high=MAX_COUNT - 1)
    return Compound("not", (Counted(of, most + 1, steps, seconds),))


def check_field(name: str, text: str) -> tuple[str, ...]:
    """A dotted path as its parts; a leading ``$.`` lets a field have any name."""
    check_text(name, text)
    path = tuple((text[2:] if text.startswith("$.") else text).split("."))
    if not all(path):
        raise ArgumentValueError(f"{name} must be names with dots between them, got {text!r}")
    return path


def _check_tests(name: str, key: str, value: Any) -> list[tuple[tuple[str, ...], int, Any, Any]]:
    path = check_field(f"{name}: a field", key)
    place = f"{name}.{key}"
    if not isinstance(value, Mapping):
        operand = _check_scalar(place, value)
        return [(path, _EQUAL, operand, type(operand))]
    if not value:
        raise ArgumentValueError(f"{place} must name an operator: {' '.join(OPERATORS)}")
    tests = []
    for word, operand in value.items():
        if word not in OPERATORS:
            near = difflib.get_close_matches(str(word), OPERATORS, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f" ({' '.join(OPERATORS)})"
            raise ArgumentValueError(
                f"{place}: {word!r} is no operator{hint} A field within a field is written "
                f"'{key}.{word}'"
            )
        code = OPERATORS.index(word)
        here = f"{place}.{word}"
        kinds: Any
        if word in ("in", "not_in"):
            if not isinstance(operand, (list, tuple, set, frozenset)) or not operand:
                raise ArgumentTypeError(f"{here} must be a list of values, got {operand!r:.60}")
            operand = tuple(_check_scalar(here, one) for one in operand)
            kinds = tuple(map(type, operand))
        else:
            operand = _check_operand(here, word, operand)
            kinds = type(operand)
        tests.append((path, code, operand, kinds))
    return tests


def _check_operand(here: str, word: str, operand: Any) -> Any:
    if word == "matches":
        return Pattern(check_text(here, operand))
    if word in ("starts_with", "ends_with"):
        return check_text(here, operand)
    if word == "exists":
        if not isinstance(operand, bool):
            raise ArgumentTypeError(f"{here} must be True or False, got {operand!r:.60}")
        return operand
    operand = _check_scalar(here, operand)
    if word in (">", ">=", "<", "<=") and (operand is None or isinstance(operand, bool)):
        raise ArgumentTypeError(f"{here} must be a number or a str, got {operand!r}")
    return operand


def _check_scalar(name: str, value: Any) -> Any:
    # Of a subclass, such as an enumeration, the built-in value.
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        if math.isnan(value):
            raise ArgumentValueError(f"{name} must not be NaN: nothing equals it")
        return float.__float__(value)
    raise ArgumentTypeError(
        f"{name} must be a str, a number, True, False or None, got {value!r:.60} "
        f"({type(value).__name__})"
    )


def _frozen(value: Any) -> Any:
    """A copy that later changes of the argument do not reach."""
    if isinstance(value, Mapping):
        return MappingProxyType({key: _frozen(one) for key, one in value.items()})
    if isinstance(value, (list, tuple, set, frozenset)):
        return tuple(_frozen(one) for one in value)
    return value


def _thawed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _thawed(one) for key, one in value.items()}
    if isinstance(value, tuple):
        return [_thawed(one) for one in value]
    return value


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """A formula over events, and what to do when an event breaks it.

    Parameters
    ----------
    name : str
        What findings and reports call it.
    formula : str or Formula
        Over atoms: text is read by `parse`. A comparison such as ``arguments.amount > 100``
        (quote a signal with dots: ``"arguments.amount" > 100``) tests that field of the event.
    atoms : mapping of str to condition, optional
        What atoms of the formula mean. An atom without a condition is true by its name: where it
        is in the set of atoms that is the event, or True in the mapping that is the event.
    key : str or callable, optional
        One small state for each value of this field (``"arguments.order_id"``), or for each value
        that ``key(event)`` returns: a str or an int. Events without the field (or None returned)
        do not concern the rule.
    action : {"block", "warn", "note", "stop"}
        What a broken rule asks for. ``"block"`` and ``"stop"`` forbid the event.
    message, repair : str
        What is wrong, and what would be right; both appear in findings.
    when : condition, optional
        The rule sees only events that satisfy it, as if there were no others.
    after_violation : {"stay", "reset", "skip"}
        ``"stay"``: broken once, it stays so, and forbids nothing more. ``"reset"``: it begins anew
        with the next event, as if there had been none before. ``"skip"``: it goes on as if the
        event that broke it had not been; for rules that single events break, since what is overdue
        breaks its rule with every event. Conditions that count, and windows that count steps,
        count all events in any case.
    clock : {"steps", "time"}
        What windows such as ``O[0:5]`` count: events, or the unit of the events' times. Over
        time, windows are ``[0:b]`` or ``[a:]``, on past operators, or on the future in the shapes
        ``G(p -> F[0:b] q)`` (a deadline) and ``G(p -> G[0:b] q)`` (a pause), p and q without
        future.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError, FormulaSyntaxError
        An argument is wrong; the message names rule, field and value.

    Notes
    -----
    A condition is a mapping of fields to values, all of which must fit::

        {"kind": "tool_call", "name": {"in": ["rm", "mv"]}, "arguments.n": {">": 3, "<=": 9}}

    A field is a path with dots through mappings, lists (by index), named tuples and dataclasses.
    A value stands for equality (True is not 1). Operators: ``== != > >= < <= in not_in contains
    starts_with ends_with matches exists``. A field that is missing fits no test but
    ``{"exists": False}``. ``matches`` takes time linear in the text, without
    backtracking. A value of the wrong type, such as text where ``>`` wants a number, or NaN, is an
    error, not a silent False: a guard must not be passed by a type.

    Further keys combine conditions: ``{"not": c}``, ``{"any": [c, d]}``, ``{"all": [c, d]}``, and
    ``{"count": {"of": c, "at_least": 3, "within": 10}}``: c fits at least 3 of the last 10 events,
    this one included; ``"seconds": 60`` in place of ``"within"`` counts time, neither counts all
    events, and ``"at_most"`` is the opposite. With a key or `when`, events are the rule's own. A
    field named like one of these words is written ``"$.not"``.

    Immutable; rules compare by identity.

    Examples
    --------
    >>> from midstream.logic import Rule
    >>> Rule(
    ...     "confirm payments",
    ...     "G(pay -> F confirm)",
    ...     atoms={
    ...         "pay": {"kind": "tool_call", "name": "pay"},
    ...         "confirm": {"kind": "tool_call", "name": "confirm"},
    ...     },
    ...     key="arguments.order_id",
    ... )
    Rule('confirm payments', 'G (pay -> F confirm)')
    """

    name: str
    formula: Formula
    atoms: Mapping[str, Condition] = field(default_factory=dict, kw_only=True)
    key: str | Callable[[Any], Any] | None = field(default=None, kw_only=True)
    action: str = field(default="block", kw_only=True)
    message: str = field(default="", kw_only=True)
    repair: str = field(default="", kw_only=True)
    when: Condition | None = field(default=None, kw_only=True)
    after_violation: str = field(default="stay", kw_only=True)
    clock: str = field(default="steps", kw_only=True)

    def __init__(
        self,
        name: str,
        formula: str | Formula,
        *,
        atoms: Mapping[str, Condition] | None = None,
        key: str | Callable[[Any], Any] | None = None,
        action: str = "block",
        message: str = "",
        repair: str = "",
        when: Condition | None = None,
        after_violation: str = "stay",
        clock: str = "steps",
    ) -> None:
        put = object.__setattr__
        if not check_text("name", name):
            raise ArgumentValueError("name must not be empty")
        put(self, "name", name)
        if isinstance(formula, str):
            formula = parse(formula)
        elif not isinstance(formula, Formula):
            raise ArgumentTypeError(
                f"formula must be a Formula or str, got {formula!r:.60} ({type(formula).__name__})"
            )
        put(self, "formula", formula)
        atoms = {} if atoms is None else check_mapping("atoms", atoms)
        known = formula.atoms
        for atom, condition in atoms.items():
            if atom not in known:
                near = difflib.get_close_matches(str(atom), known, 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ArgumentValueError(
                    f"atoms of rule {name!r}: {atom!r} is not in its formula{hint}"
                )
            check_condition(f"atoms.{atom} of rule {name!r}", condition)
        put(self, "atoms", _frozen(atoms))
        if callable(key):
            check_hashable(f"key of rule {name!r}", key)
        elif key is not None:
            check_field(f"key of rule {name!r}", key)
        put(self, "key", key)
        put(self, "action", check_choice(f"action of rule {name!r}", action, ACTIONS))
        put(self, "message", check_text(f"message of rule {name!r}", message))
        put(self, "repair", check_text(f"repair of rule {name!r}", repair))
        if when is not None:
            tree = check_condition(f"when of rule {name!r}", when)
            if has_count(tree):
                raise ArgumentValueError(
                    f"when of rule {name!r} must not count: events that it hides are not counted"
                )
        put(self, "when", _frozen(when))
        put(
            self,
            "after_violation",
            check_choice(f"after_violation of rule {name!r}", after_violation, AFTER_VIOLATION),
        )
        put(self, "clock", check_choice(f"clock of rule {name!r}", clock, ("steps", "time")))

    def __repr__(self) -> str:
        if self.formula.size > 1000:
            return f"Rule({self.name!r}, {self.formula!r})"
        return f"Rule({self.name!r}, {str(self.formula)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (tuple(_thawed(getattr(self, one.name)) for one in fields(self)),)


def _rebuild(values: tuple[Any, ...]) -> Rule:
    """Undo `Rule.__reduce__`."""
    name, formula, *rest = values
    return Rule(name, formula, **dict(zip(_OPTIONS, rest, strict=True)))


_OPTIONS = tuple(one.name for one in fields(Rule))[2:]


def has_count(tree: Any) -> bool:
    """Whether a checked condition counts events."""
    return isinstance(tree, Counted) or (
        isinstance(tree, Compound) and any(has_count(arg) for arg in tree.args)
    )


def check_rules(rules: Any) -> tuple[Rule, ...]:
    """Rules as a tuple: a mapping gives names to formulas, a formula is named by its text."""
    if isinstance(rules, (str, Rule, Formula)):
        raise ArgumentTypeError(f"rules must be an iterable of Rule, got a {type(rules).__name__}")
    if isinstance(rules, Mapping):
        return tuple(Rule(name, formula) for name, formula in rules.items())
    if not isinstance(rules, Iterable):
        raise ArgumentTypeError(f"rules must be an iterable of Rule, got {rules!r:.60}")
    found = []
    for k, rule in enumerate(rules):
        if isinstance(rule, (str, Formula)):
            rule = Rule(str(rule), rule)
        if not isinstance(rule, Rule):
            raise ArgumentTypeError(
                f"rules[{k}] must be a Rule, a formula or its text, got {rule!r:.60} "
                f"({type(rule).__name__})"
            )
        found.append(rule)
    return tuple(found)


#: Options of a book that a file may set: their types.
BOOK_OPTIONS: dict[str, tuple[type, ...]] = {
    "letters": (str,),
    "missing": (str,),
    "alphabet": (list,),
    "max_keys": (int,),
    "evict": (str,),
    "time_field": (str,),
    "audit": (int,),
    "max_states": (int,),
    "timeout_s": (float, int),
}


def read_rules(source: str | os.PathLike[str]) -> tuple[tuple[Rule, ...], dict[str, Any]]:
    """Read rules from TOML.

    Parameters
    ----------
    source : str or path
        A path, or the text itself: a str with a newline or an equals sign is text.

    Returns
    -------
    rules : tuple of Rule
    options : dict
        Of the ``[book]`` table: arguments of `RuleBook`.

    Raises
    ------
    ConfigurationError
        Not TOML, or a field is unknown or wrong: the message names file, rule, field and value.
    OSError
        The file cannot be read.

    Notes
    -----
    The format: each rule is a table ``[[rule]]`` with the arguments of `Rule`. Conditions that
    several rules share stand in ``[atoms]``; a rule takes from there what its formula mentions
    and its own ``atoms`` do not define. ``[book]`` has arguments of `RuleBook`: letters, missing,
    alphabet, max_keys, evict, time_field, audit, max_states, timeout_s.

    Examples
    --------
    >>> from midstream.logic import read_rules
    >>> rules, options = read_rules('''
    ... [atoms]
    ... delete = { kind = "tool_call", name = "delete_file" }
    ... backup = { kind = "tool_call", name = "backup" }
    ...
    ... [[rule]]
    ... name = "backup first"
    ... formula = "!delete W backup"
    ... repair = "call backup, then delete_file"
    ... ''')
    >>> rules
    (Rule('backup first', '!delete W backup'),)
    """
    place, data = read_toml(source)
    for key, value in data.items():
        if key not in ("book", "atoms", "rule"):
            raise ConfigurationError(
                f"{place}: unknown table {key!r}{did_you_mean(key, ('book', 'atoms', 'rule'))}"
            )
        wanted: type = list if key == "rule" else dict
        if not isinstance(value, wanted):
            shape = "[[rule]]" if key == "rule" else f"[{key}]"
            raise ConfigurationError(f"{place}: {key} must be written {shape}, got {value!r:.60}")
    options = data.get("book", {})
    for key, value in options.items():
        if key not in BOOK_OPTIONS:
            raise ConfigurationError(
                f"{place}: [book]: unknown field {key!r} = {value!r:.60}"
                f"{did_you_mean(key, tuple(BOOK_OPTIONS))}"
            )
        if not isinstance(value, BOOK_OPTIONS[key]) or isinstance(value, bool):
            raise ConfigurationError(
                f"{place}: [book]: {key} must be {BOOK_OPTIONS[key][0].__name__}, got {value!r:.60}"
            )
    shared = data.get("atoms", {})
    for atom, condition in shared.items():
        try:
            check_condition(f"[atoms] {atom}", condition)
        except MidstreamError as error:
            raise ConfigurationError(f"{place}: {error}") from error
    rules = []
    for k, table in enumerate(data.get("rule", [])):
        if not isinstance(table, dict):
            raise ConfigurationError(f"{place}: rule {k + 1} must be a table, got {table!r:.60}")
        where = f"{place}: rule {k + 1} {table.get('name', '(without a name)')!r:.80}"
        rules.append(_read_rule(where, table, shared))
    if not rules:
        raise ConfigurationError(f"{place}: no [[rule]] in it")
    return tuple(rules), dict(options)


def _read_rule(where: str, table: dict[str, Any], shared: dict[str, Any]) -> Rule:
    known = ("name", "formula", *_OPTIONS)
    for key, value in table.items():
        if key not in known:
            raise ConfigurationError(
                f"{where}: unknown field {key!r} = {value!r:.60}{did_you_mean(key, known)}"
            )
    for key in ("name", "formula"):
        if key not in table:
            raise ConfigurationError(f"{where}: field {key!r} is missing")
        if not isinstance(table[key], str):
            raise ConfigurationError(f"{where}: {key} must be text, got {table[key]!r:.60}")
    try:
        formula = parse(table["formula"])
    except MidstreamError as error:
        raise ConfigurationError(f"{where}: formula: {error}") from error
    options = {key: value for key, value in table.items() if key in _OPTIONS}
    own = options.get("atoms", {})
    if not isinstance(own, dict):
        raise ConfigurationError(f"{where}: atoms must be a table, got {own!r:.60}")
    atoms = {atom: shared[atom] for atom in formula.atoms if atom in shared and atom not in own}
    options["atoms"] = {**atoms, **own}
    try:
        return Rule(table["name"], formula, **options)
    except MidstreamError as error:
        raise ConfigurationError(f"{where}: {error}") from error


def write_rules(rules: Iterable[Rule], options: Mapping[str, Any] | None = None) -> str:
    """Rules as TOML that `read_rules` reads back.

    Parameters
    ----------
    rules : iterable of Rule
    options : mapping, optional
        The ``[book]`` table.

    Returns
    -------
    str

    Raises
    ------
    ArgumentValueError
        A rule has a condition or a key that is a Python function, or compares with None: TOML has
        neither.
    """
    lines = []
    if options:
        lines.append("[book]")
        lines += [f"{key} = {toml_value(key, value)}" for key, value in options.items()]
        lines.append("")
    for rule in check_rules(rules):
        lines.append("[[rule]]")
        for one in fields(Rule):
            value = getattr(rule, one.name)
            if one.name == "formula":
                value = str(value)
            default = None if one.name in ("name", "formula") else one.default
            if value is None or value == default or (one.name == "atoms" and not value):
                continue
            lines.append(f"{one.name} = {toml_value(f'{one.name} of rule {rule.name!r}', value)}")
        lines.append("")
    return "\n".join(lines)
