"""`ParamSpace`: the knobs that may be turned, how far, how fast and how often.

It is the only surface that a strange loop may change. A `Change` names knobs of a space and new
values within bounds and steps that were fixed when the space was made; there is nothing else that
it could name. Bounds, steps and cool-downs enter the space's digest: a wider space is another one.
"""

from __future__ import annotations

import hashlib
import html
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ConfigurationError,
    MidstreamError,
    RefusedError,
)
from midstream._core.toml import read_toml, toml_value
from midstream._core.validate import (
    check_int,
    check_mapping,
    check_real,
    check_text,
    did_you_mean,
)
from midstream.meta._canonical import encoded
from midstream.meta._frozen import Frozen, content_of, frozen
from midstream.meta.params import FORMAT, Param, Value

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Change", "ParamSpace", "Settings"]


class Settings(Frozen, Mapping[str, Value]):
    """A value for every knob of a space.

    Made by `ParamSpace.settings`, `ParamSpace.defaults` and `replace`; a mapping from names, in the
    space's order, to values.

    Attributes
    ----------
    space : ParamSpace
    digest : str
        SHA-256 in hexadecimal of the space's digest and the values.

    Notes
    -----
    Immutable and hashable; equal where space and values are equal. Threads may share it.

    Examples
    --------
    >>> from midstream.meta import Param, ParamSpace
    >>> space = ParamSpace([Param.integer("window", 1, 100, default=20)])
    >>> settings = space.settings({"window": 30})
    >>> settings["window"], dict(settings)
    (30, {'window': 30})
    >>> settings.replace(window=20) == space.defaults
    True
    """

    __slots__ = ()

    def __new__(cls, space: ParamSpace, values: Mapping[str, Value]) -> Self:
        if type(space) is not ParamSpace:
            raise ArgumentTypeError(f"space must be a ParamSpace, got {type(space).__name__}")
        check_mapping("values", values)
        for name in values:
            space._known(name)
        content = {
            name: param.check(values[name]) if name in values else param.default
            for name, param in space.items()
        }
        raw = encoded("settings", {"space": space.digest, "values": content})
        digest = hashlib.sha256(raw).hexdigest()
        return frozen(cls, (space, MappingProxyType(content), digest))

    def __init_subclass__(cls) -> None:
        raise TypeError("Settings cannot be subclassed")

    @property
    def space(self) -> ParamSpace:
        """What they are settings of."""
        space: ParamSpace = content_of(self)[0]
        return space

    @property
    def digest(self) -> str:
        """SHA-256 in hexadecimal of the space's digest and the values."""
        return str(content_of(self)[2])

    def __getitem__(self, name: str) -> Any:
        try:
            return content_of(self)[1][name]
        except (KeyError, TypeError):
            raise KeyError(f"{name!r}{did_you_mean(name, tuple(self))}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(content_of(self)[1])

    def __len__(self) -> int:
        return len(content_of(self)[1])

    def replace(self, values: Mapping[str, Value] | None = None, /, **more: Value) -> Settings:
        """Other values for some knobs, however far away: the limits of steps are for changes.

        Raises
        ------
        ArgumentValueError, ArgumentTypeError
            An unknown knob, a value out of bounds or of another type.
        """
        given = {} if values is None else check_mapping("values", values)
        return Settings(self.space, {**self, **given, **more})

    def to_dict(self) -> dict[str, Value]:
        """A dict of the values."""
        return dict(content_of(self)[1])

    def __reduce__(self) -> tuple[Any, ...]:
        return Settings, (self.space, self.to_dict())

    def __eq__(self, other: object) -> bool:
        if type(other) is not Settings:
            return NotImplemented
        return self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self.items())})"

    def _repr_html_(self) -> str:
        return self.space._table_html(self)


class Change(Frozen):
    """A proposal: from these settings to those, each knob by a step that it may take.

    Made by `ParamSpace.change` and `ParamSpace.neighbours`.

    Parameters
    ----------
    before, after : Settings
        Of one space, and different.
    reason : str
        Why, for people.

    Attributes
    ----------
    before, after : Settings
    moves : tuple of (str, old value, new value)
        What differs, in the space's order.
    reason : str
    digest : str
        SHA-256 in hexadecimal of both settings' digests; the reason does not enter.

    Raises
    ------
    ArgumentValueError
        Of two spaces, or nothing changes.
    RefusedError
        A step is too large; `reason` of the error is ``"max_step"``.

    Examples
    --------
    >>> from midstream.meta import Param, ParamSpace
    >>> space = ParamSpace([Param.integer("window", 1, 100, default=20, max_step=5)])
    >>> space.change(space.defaults, "too slow", window=16)
    Change(window: 20 -> 16, reason='too slow')
    >>> space.change(space.defaults, window=40)
    Traceback (most recent call last):
        ...
    midstream._core.errors.RefusedError: window may change by at most 5 at once within [1, 100], \
got 20 -> 40, which is 20
    """

    __slots__ = ()

    def __new__(cls, before: Settings, after: Settings, reason: str = "") -> Self:
        for name, settings in (("before", before), ("after", after)):
            if type(settings) is not Settings:
                raise ArgumentTypeError(f"{name} must be Settings, got {type(settings).__name__}")
        check_text("reason", reason)
        space = before.space
        if after.space != space:
            raise ArgumentValueError(
                f"after must be settings of the space of before ({space.digest[:16]}), got ones of "
                f"{after.space.digest[:16]}"
            )
        moves = tuple(
            (name, before[name], after[name]) for name in space if before[name] != after[name]
        )
        if not moves:
            raise ArgumentValueError(f"after must differ from before, got the same {dict(after)!r}")
        for name, old, new in moves:
            space[name].check_step(old, new)
        return frozen(cls, (before, after, moves, reason))

    def __init_subclass__(cls) -> None:
        raise TypeError("Change cannot be subclassed")

    @property
    def before(self) -> Settings:
        """What it starts from."""
        before: Settings = content_of(self)[0]
        return before

    @property
    def after(self) -> Settings:
        """What it proposes."""
        after: Settings = content_of(self)[1]
        return after

    @property
    def moves(self) -> tuple[tuple[str, Any, Any], ...]:
        """Name, old and new value of every knob that moves."""
        moves: tuple[tuple[str, Any, Any], ...] = content_of(self)[2]
        return moves

    @property
    def reason(self) -> str:
        """Why, for people."""
        return str(content_of(self)[3])

    @property
    def space(self) -> ParamSpace:
        """What both settings are of."""
        return self.before.space

    @property
    def digest(self) -> str:
        """SHA-256 in hexadecimal of both settings' digests."""
        both = {"before": self.before.digest, "after": self.after.digest}
        return hashlib.sha256(encoded("change", both)).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it: ``moves`` of ``[name, old, new]``, ``before`` and ``after`` by digest."""
        return {
            "after": self.after.digest,
            "before": self.before.digest,
            "moves": [list(move) for move in self.moves],
            "reason": self.reason,
            "space": self.space.digest,
        }

    def __reduce__(self) -> tuple[Any, ...]:
        return Change, (self.before, self.after, self.reason)

    def __eq__(self, other: object) -> bool:
        if type(other) is not Change:
            return NotImplemented
        return (self.digest, self.reason) == (other.digest, other.reason)

    def __hash__(self) -> int:
        return hash((self.digest, self.reason))

    def __repr__(self) -> str:
        moves = ", ".join(f"{name}: {old!r} -> {new!r}" for name, old, new in self.moves)
        reason = f", reason={self.reason!r}" if self.reason else ""
        return f"Change({moves}{reason})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{html.escape(name)}</th><td>{html.escape(repr(old))}</td>"
            f"<td>{html.escape(repr(new))}</td></tr>"
            for name, old, new in self.moves
        )
        head = "<tr><th>parameter</th><th>from</th><th>to</th></tr>"
        return f"<p>{html.escape(self.reason)}</p><table>{head}{rows}</table>"


class ParamSpace(Frozen, Mapping[str, Param]):
    """The knobs that may change, and nothing else; a mapping from names to `Param`.

    Parameters
    ----------
    params : iterable of Param
        With different names; their order is kept, and counts.

    Attributes
    ----------
    defaults : Settings
    digest : str
        SHA-256 in hexadecimal of all knobs: of their bounds, steps and cool-downs too.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        No knobs; one that is none; a name twice, or one that rules would read as another knob's
        old value or step (``old_x`` and ``step_x`` beside ``x``).

    See Also
    --------
    Ledger : keeps every version of the settings.
    Shield : rules over changes.

    Notes
    -----
    A space cannot be changed once it is made: its content stands in a slot without a name, which
    ``object.__setattr__`` does not find either. Whoever keeps its `digest` can tell that it is
    still the same. Threads may share it.

    A change costs some tens of microseconds with twenty knobs.

    Examples
    --------
    >>> from midstream.meta import Param, ParamSpace
    >>> space = ParamSpace([
    ...     Param.integer("repeats", 3, 30, default=8, max_step=2),
    ...     Param.real("threshold", 0.01, 1.0, default=0.1, scale="log", max_step=2.0),
    ...     Param.choice("severity", ["info", "warning", "error"], default="warning"),
    ...     Param.flag("trim", default=False, cooldown_s=60.0),
    ... ])
    >>> change = space.change(space.defaults, "loops come earlier", repeats=6, threshold=0.05)
    >>> change.moves
    (('repeats', 8, 6), ('threshold', 0.1, 0.05))
    >>> change.after["repeats"], len(space.neighbours(space.defaults))
    (6, 7)
    >>> space.settings({"treshold": 0.5})
    Traceback (most recent call last):
        ...
    midstream._core.errors.ArgumentValueError: unknown parameter 'treshold'; did you mean \
'threshold'?
    """

    __slots__ = ()

    def __new__(cls, params: Iterable[Param]) -> Self:
        try:
            given = tuple(params.values() if isinstance(params, Mapping) else params)
        except TypeError:
            raise ArgumentTypeError(
                f"params must be an iterable of Param, got {type(params).__name__}"
            ) from None
        table: dict[str, Param] = {}
        for param in given:
            if type(param) is not Param:
                raise ArgumentTypeError(
                    f"params must hold Param, got {param!r:.80} ({type(param).__name__})"
                )
            if param.name in table:
                raise ArgumentValueError(
                    f"params must have different names, got {param.name!r} twice"
                )
            table[param.name] = param
        if not table:
            raise ArgumentValueError("params must not be empty, got no Param")
        for name in table:
            for prefix in ("old_", "step_"):
                if prefix + name in table:
                    raise ArgumentValueError(
                        f"params must not have {prefix + name!r} beside {name!r}: "
                        f"rules call so what {name} was or how far it goes"
                    )
        return frozen(cls, (MappingProxyType(table), _digest_of(table.values())))

    def __init_subclass__(cls) -> None:
        raise TypeError("ParamSpace cannot be subclassed")

    @property
    def digest(self) -> str:
        """SHA-256 in hexadecimal of all knobs."""
        return str(content_of(self)[1])

    @property
    def defaults(self) -> Settings:
        """Every knob where it stands at first."""
        return Settings(self, {})

    def __getitem__(self, name: str) -> Param:
        table: Mapping[str, Param] = content_of(self)[0]
        if type(name) is str and name in table:
            return table[name]
        raise KeyError(f"{name!r:.80}{did_you_mean(name, tuple(table))}")

    def __iter__(self) -> Iterator[str]:
        return iter(content_of(self)[0])

    def __len__(self) -> int:
        return len(content_of(self)[0])

    def __contains__(self, name: object) -> bool:
        return type(name) is str and name in content_of(self)[0]

    def settings(self, values: Mapping[str, Value] | None = None, /, **more: Value) -> Settings:
        """Settings with these values, and the defaults of what is not named.

        Raises
        ------
        ArgumentValueError
            An unknown knob, NaN, a value out of bounds.
        ArgumentTypeError
            A value of another type.
        """
        if values is not None:
            check_mapping("values", values)
        return Settings(self, {**(values or {}), **more})

    def change(self, base: Settings, /, reason: str = "", **values: Value) -> Change:
        """The proposal to set some knobs anew.

        Parameters
        ----------
        base : Settings
            Of this space: what is changed.
        reason : str
            Why, for people.
        **values
            New values by name.

        Returns
        -------
        Change

        Raises
        ------
        ArgumentValueError, ArgumentTypeError
            As `settings`; nothing changes; `base` is of another space.
        RefusedError
            A step is too large.
        """
        self._check_own("base", base)
        return Change(base, base.replace(values), reason)

    def check(
        self,
        change: Change,
        base: Settings,
        time_ns: int | None = None,
        *,
        changed_ns: Mapping[str, int] | None = None,
    ) -> Change:
        """Raise unless this change may take effect now.

        Parameters
        ----------
        change : Change
        base : Settings
            What is in force.
        time_ns : int, optional
            Now, in nanoseconds on the clock of `changed_ns`. Without, cool-downs are not judged.
        changed_ns : mapping of str to int, optional
            When knobs were last changed; one that is missing never was.

        Returns
        -------
        Change
            The same.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            An argument is of another type, or has a knob that is unknown.
        RefusedError
            `reason` says what refuses it: ``"space"`` (it is of another one), ``"base"`` (it does
            not start from `base`), ``"max_step"``, ``"cooldown_s"``.
        """
        if type(change) is not Change:
            raise ArgumentTypeError(f"change must be a Change, got {type(change).__name__}")
        if type(base) is not Settings:
            raise ArgumentTypeError(f"base must be Settings, got {type(base).__name__}")
        for name, settings in (("change", change.before), ("base", base)):
            if settings.space != self:
                raise RefusedError(
                    f"{name} must be of the space {self.digest[:16]}, got one of the space "
                    f"{settings.space.digest[:16]}: bounds or steps differ",
                    reason="space",
                )
        if change.before != base:
            differs = ", ".join(
                f"{name} is {base[name]!r}, not {change.before[name]!r}"
                for name in self
                if base[name] != change.before[name]
            )
            raise RefusedError(f"change must start from what is in force: {differs}", reason="base")
        # Debuggers and the garbage collector's module reach what no name does.
        if _digest_of(self.values()) != self.digest:
            raise RefusedError("the space was changed after it was made", reason="space")
        for settings in (base, change.after):
            if Settings(self, dict(settings)).digest != settings.digest:
                raise RefusedError(
                    f"settings were changed after they were made: {settings!r}", reason="base"
                )
        moves = tuple((name, base[name], new) for name, new in change.after.items())
        if tuple(move for move in moves if move[1] != move[2]) != change.moves:
            raise RefusedError(f"moves must be what differs, got {change.moves!r}", reason="base")
        for name, old, new in change.moves:
            self[name].check_step(old, new)
        if time_ns is not None:
            cooling = self.cooling(time_ns, changed_ns or {})
            for name, old, new in change.moves:
                if name in cooling:
                    raise RefusedError(
                        f"{name} may change once in {self[name].cooldown_s!r} s, got "
                        f"{old!r} -> {new!r} with {cooling[name]:.6g} s still to wait",
                        reason="cooldown_s",
                    )
        return change

    def cooling(self, time_ns: int, changed_ns: Mapping[str, int]) -> dict[str, float]:
        """Knobs that may not change yet.

        Parameters
        ----------
        time_ns : int
            Now.
        changed_ns : mapping of str to int
            When knobs were last changed, on the same clock. A time still to come counts as now.

        Returns
        -------
        dict of str to float
            Seconds still to wait.
        """
        time_ns = check_int("time_ns", time_ns)
        waiting = {}
        for name, then in check_mapping("changed_ns", changed_ns).items():
            cooldown_ns = math.ceil(self._known(name).cooldown_s * 1e9)
            elapsed = max(0, time_ns - check_int(f"changed_ns[{name!r}]", then))
            if elapsed < cooldown_ns:
                waiting[name] = (cooldown_ns - elapsed) / 1e9
        return waiting

    def neighbours(
        self,
        settings: Settings,
        *,
        part: float = 1.0,
        names: Iterable[str] | None = None,
        reason: str = "",
    ) -> list[Change]:
        """All changes of one knob by one step, down and up.

        Parameters
        ----------
        settings : Settings
            Of this space.
        part : float
            Of the largest step, within (0, 1].
        names : iterable of str, optional
            Only these knobs.
        reason : str
            Of the changes.

        Returns
        -------
        list of Change
            In the space's order, down before up; fewer at the bounds. Every one passes `check`.
        """
        self._check_own("settings", settings)
        part = check_real("part", part, high=1.0)
        if part <= 0.0:
            raise ArgumentValueError(f"part must be above 0, got {part!r}")
        wanted = set(self) if names is None else {self._known(name).name for name in names}
        found = []
        for name, param in self.items():
            if name not in wanted:
                continue
            for sign in (-1.0, 1.0):
                value = param.moved(settings[name], sign * part)
                if value != settings[name]:
                    found.append(Change(settings, settings.replace({name: value}), reason))
        return found

    def sample(self, rng: np.random.Generator) -> Settings:
        """Settings drawn uniformly on the knobs' scales.

        Parameters
        ----------
        rng : numpy.random.Generator
            Each knob takes one number from it, in the space's order.
        """
        if not hasattr(rng, "random"):
            raise ArgumentTypeError(
                f"rng must be a numpy.random.Generator, got {type(rng).__name__}"
            )
        return Settings(self, {name: _drawn(p, float(rng.random())) for name, p in self.items()})

    def distance(self, one: Settings, other: Settings) -> float:
        """How far two settings are from each other.

        Returns
        -------
        float
            The sum over the knobs of the part of their scale that lies between: 0 for equal ones,
            the number of knobs for opposite corners.
        """
        self._check_own("one", one)
        self._check_own("other", other)
        return math.fsum(
            abs(param.position(one[name]) - param.position(other[name])) / param.extent
            for name, param in self.items()
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON and `from_dict` have it."""
        return {"format": FORMAT, "params": [param.to_dict() for param in self.values()]}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """The space that `to_dict` described.

        Raises
        ------
        ArgumentValueError, ArgumentTypeError
            It describes none.
        """
        check_mapping("fields", fields)
        if fields.get("format") != FORMAT:
            raise ArgumentValueError(
                f"format of fields must be {FORMAT!r}, got {fields.get('format')!r:.80}"
            )
        params = fields.get("params")
        if not isinstance(params, (list, tuple)):
            raise ArgumentTypeError(f"params must be a list, got {type(params).__name__}")
        return cls([Param.from_dict(one) for one in params])

    @classmethod
    def from_toml(cls, source: str | os.PathLike[str]) -> Self:
        """The space in a TOML file or text: one table ``[[param]]`` for each knob.

        Parameters
        ----------
        source : str or path
            What has a line break or an equals sign is text.

        Raises
        ------
        ConfigurationError
            The message names file, parameter, field and value.
        OSError
            The file cannot be read.

        Examples
        --------
        >>> from midstream.meta.spaces import ParamSpace
        >>> space = ParamSpace.from_toml('''
        ... [[param]]
        ... name = "window"
        ... kind = "integer"
        ... low = 1
        ... high = 100
        ... default = 20
        ... ''')
        >>> space["window"].max_step
        9
        """
        place, data = read_toml(source)
        for key in data:
            if key != "param":
                raise ConfigurationError(
                    f"{place}: unknown table {key!r}{did_you_mean(key, ('param',))}"
                )
        tables = data.get("param", [])
        if not isinstance(tables, list) or not tables:
            raise ConfigurationError(f"{place}: no [[param]] in it")
        params = []
        for number, table in enumerate(tables, 1):
            try:
                params.append(Param.from_dict(table))
            except MidstreamError as error:
                raise ConfigurationError(f"{place}: param {number}: {error}") from error
        try:
            return cls(params)
        except MidstreamError as error:
            raise ConfigurationError(f"{place}: {error}") from error

    def to_toml(self) -> str:
        """The space as TOML that `from_toml` reads back."""
        lines = []
        for param in self.values():
            lines.append("[[param]]")
            lines += [
                f"{key} = {toml_value(f'{key} of {param.name}', value)}"
                for key, value in param.to_dict().items()
                if value not in (None, "", [])
            ]
            lines.append("")
        return "\n".join(lines)

    def describe(self, settings: Settings | None = None) -> str:
        """A table for people, with the values of `settings` where they are given."""
        rows = self._rows(settings)
        widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )

    def _rows(self, settings: Settings | None) -> list[tuple[str, ...]]:
        if settings is not None:
            self._check_own("settings", settings)
        head = ("parameter", "value" if settings else "default", "allowed", "step", "cool-down")
        rows: list[tuple[str, ...]] = [(*head, "unit", "meaning")]
        for name, param in self.items():
            if param.kind == "choice":
                allowed, step = " < ".join(map(str, param.choices)), str(param.max_step)
            elif param.kind == "flag":
                allowed, step = "False, True", ""
            else:
                allowed = f"{param.low!r} to {param.high!r}"
                step = f"x {param.max_step!r}" if param.scale == "log" else repr(param.max_step)
            wait = f"{param.cooldown_s:g} s" if param.cooldown_s else ""
            value = settings[name] if settings else param.default
            rows.append((name, str(value), allowed, step, wait, param.unit, param.meaning))
        return rows

    def _table_html(self, settings: Settings | None) -> str:
        head, *rows = self._rows(settings)
        lines = ["".join(f"<th>{html.escape(cell)}</th>" for cell in head)]
        lines += ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
        return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"

    def _known(self, name: str) -> Param:
        """As an index, for names that callers gave as arguments."""
        if name not in self:
            raise ArgumentValueError(
                f"unknown parameter {name!r:.80}{did_you_mean(name, tuple(self))}"
            )
        return self[name]

    def _check_own(self, name: str, settings: Settings) -> None:
        if type(settings) is not Settings:
            raise ArgumentTypeError(f"{name} must be Settings, got {type(settings).__name__}")
        if settings.space is not self and settings.space != self:
            raise ArgumentValueError(
                f"{name} must be settings of this space ({self.digest[:16]}), got ones of another "
                f"({settings.space.digest[:16]})"
            )

    def __reduce__(self) -> tuple[Any, ...]:
        return ParamSpace, (tuple(self.values()),)

    def __eq__(self, other: object) -> bool:
        if type(other) is not ParamSpace:
            return NotImplemented
        return self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"ParamSpace([{', '.join(map(repr, self.values()))}])"

    def _repr_html_(self) -> str:
        return self._table_html(None)


def _digest_of(params: Iterable[Param]) -> str:
    raw = encoded("space", {"format": FORMAT, "params": [param.digest for param in params]})
    return hashlib.sha256(raw).hexdigest()


def _drawn(param: Param, share: float) -> Value:
    """The value at a share within [0, 1) of the scale, each whole number equally long."""
    kind, low, high = param.kind, param.low, param.high
    if kind == "flag":
        return share >= 0.5
    if kind == "choice":
        return param.choices[int(share * len(param.choices))]
    end = high + 1 if kind == "integer" else high
    if param.scale == "log":
        to = math.exp(math.log(low) + share * (math.log(end) - math.log(low)))
    else:
        to = low + share * (end - low)
    value: Value = min(max(math.floor(to) if kind == "integer" else to, low), high)
    return value
