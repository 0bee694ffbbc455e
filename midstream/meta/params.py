"""`ParamSpace`: the knobs that may be turned, how far, how fast and how often.

It is the only surface that a strange loop may change. A `Change` names knobs of a space and new
values within bounds and steps that were fixed when the space was made; there is nothing else that
it could name. Bounds, steps and cool-downs enter the space's digest: a wider space is another one.
"""

from __future__ import annotations

import difflib
import hashlib
import html
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeVar

from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ConfigurationError,
    MidstreamError,
    RefusedError,
)
from midstream._core.toml import read_toml, toml_value
from midstream._core.validate import (
    check_choice,
    check_int,
    check_mapping,
    check_real,
    check_text,
    did_you_mean,
)
from midstream.meta._canonical import encoded

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Change", "Param", "ParamSpace", "Settings"]

#: What a knob may be set to.
Value = bool | int | float | str
Kind = Literal["integer", "real", "choice", "flag"]
Scale = Literal["linear", "log"]
Frozen_ = TypeVar("Frozen_", bound="_Frozen")

KINDS = ("integer", "real", "choice", "flag")
SCALES = ("linear", "log")
FORMAT = "midstream.params.1"
#: Integers up to here are exact as floats, which distances are computed in.
LARGEST = 2**53
#: Rounding allowed in steps: old * factor / old is seldom factor.
SLACK = 1e-9
#: Words of a program, with dots between: what rules can name.
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*\Z")
#: Arguments of `ParamSpace.change`.
RESERVED = frozenset({"reason"})
#: As NumPy 1 and 2 call it; it need not be imported to know.
NUMPY_BOOLS = (("numpy", "bool_"), ("numpy", "bool"))


class _Frozen:
    """Holds a tuple that is given when it is made and cannot be exchanged later.

    The slot has no name: neither assignment nor ``object.__setattr__`` reaches it.
    """

    __slots__ = ("_content",)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: {name!r} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: {name!r} cannot be deleted")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self


class _Maker(Protocol):
    def __call__(self, cls: type[Frozen_], content: Any, /) -> Frozen_: ...


def _slot() -> tuple[Callable[[_Frozen], Any], _Maker]:
    slot: Any = _Frozen.__dict__["_content"]
    type.__delattr__(_Frozen, "_content")

    def content(holder: _Frozen) -> Any:
        return slot.__get__(holder)

    def new(cls: type[Frozen_], content: Any, /) -> Frozen_:
        made = object.__new__(cls)
        slot.__set__(made, content)
        return made

    return content, new


_content, _new = _slot()


class Param(_Frozen):
    """One knob: its kind, its bounds, and how it may be turned.

    Usually made by `integer`, `real`, `choice` or `flag`.

    Parameters
    ----------
    name : str
        Letters, digits and underscores, parts joined by dots: what rules and messages call it.
    kind : {"integer", "real", "choice", "flag"}
    low, high : int or float
        Bounds of numbers, both allowed values; within ``2**53`` for integers.
    choices : sequence of str, int or float
        Values of a choice, in their order.
    default : bool, int, float or str
        Within the bounds.
    scale : {"linear", "log"}
        What steps of numbers measure. On a log scale `low` is above 0.
    max_step : int or float, optional
        Largest step of one change. Linear: that many units. Log: a factor above 1, up or down
        (a whole number's lets `low` become ``low + 1``).
        Choice: that many places. By default a tenth of the range (of its logarithm), one place for
        a choice. A flag has none.
    cooldown_s : float
        Least time between two changes of this knob, in seconds.
    unit : str
    meaning : str
        One line for people. It is the only thing that does not enter the digest.

    Attributes
    ----------
    name, kind, low, high, choices, default, scale, max_step, cooldown_s, unit, meaning
        As given, or what was made of it; None (``()`` for `choices`) where the kind has none.

    Raises
    ------
    ArgumentValueError, ArgumentTypeError
        The message names knob, argument and value.

    Notes
    -----
    Immutable: threads may share it.

    Examples
    --------
    >>> from midstream.meta.params import Param
    >>> repeats = Param.integer("repeats", 3, 30, default=8, max_step=2, unit="repeats")
    >>> repeats.check(9)
    9
    >>> repeats.check(31)
    Traceback (most recent call last):
        ...
    midstream._core.errors.ArgumentValueError: repeats must be within [3, 30] repeats, got 31
    """

    __slots__ = ()

    _FIELDS = (
        "name",
        "kind",
        "low",
        "high",
        "choices",
        "default",
        "scale",
        "max_step",
        "cooldown_s",
        "unit",
        "meaning",
    )

    def __new__(
        cls,
        name: str,
        kind: Kind,
        *,
        default: Value,
        low: float | None = None,
        high: float | None = None,
        choices: Sequence[str | int | float] = (),
        scale: Scale = "linear",
        max_step: float | None = None,
        cooldown_s: float = 0.0,
        unit: str = "",
        meaning: str = "",
    ) -> Self:
        check_text("name", name)
        if not NAME.match(name) or name in RESERVED:
            raise ArgumentValueError(
                f"name must be letters, digits and underscores, parts joined by dots, and none of "
                f"{', '.join(sorted(RESERVED))}, got {name!r:.80}"
            )
        check_choice(f"kind of {name}", kind, KINDS)
        check_choice(f"scale of {name}", scale, SCALES)
        check_text(f"unit of {name}", unit)
        check_text(f"meaning of {name}", meaning)
        cooldown_s = check_real(f"cooldown_s of {name}", cooldown_s, low=0.0)
        numeric = kind in ("integer", "real")
        if numeric:
            low, high = _bounds(name, kind, low, high, scale)
            given: dict[str, object] = {"choices": choices}
        else:
            given = {"low": low, "high": high}
            if kind == "flag":
                given |= {"choices": choices, "max_step": max_step}
        for word, value in given.items():
            if value is not None and not (isinstance(value, (tuple, list)) and not value):
                one = "an integer" if kind == "integer" else f"a {kind}"
                raise ArgumentValueError(f"{word} of {name}: {one} has none, got {value!r:.80}")
        if not numeric and scale != "linear":
            raise ArgumentValueError(f"scale of {name}: a {kind} has none, got {scale!r}")
        values = _choices(name, choices) if kind == "choice" else ()
        step = _step(name, kind, low, high, scale, len(values), max_step)
        fields = (
            name,
            kind,
            low,
            high,
            values,
            default,
            scale if numeric else None,
            step,
            cooldown_s,
            unit,
            meaning,
        )
        # The default is checked as any value, by the knob as it will be.
        default = _new(cls, fields).check(default, f"default of {name}")
        return _new(cls, (*fields[:5], default, *fields[6:]))

    def __init_subclass__(cls) -> None:
        raise TypeError("Param cannot be subclassed")

    @classmethod
    def integer(
        cls,
        name: str,
        low: int,
        high: int,
        *,
        default: int,
        scale: Scale = "linear",
        max_step: float | None = None,
        cooldown_s: float = 0.0,
        unit: str = "",
        meaning: str = "",
    ) -> Self:
        """A whole number within ``[low, high]``; arguments as of the class.

        Examples
        --------
        >>> from midstream.meta.params import Param
        >>> Param.integer("window", 16, 4096, default=256, scale="log", max_step=2.0)
        Param.integer('window', 16, 4096, default=256, scale='log', max_step=2.0)
        """
        return cls(
            name,
            "integer",
            low=low,
            high=high,
            default=default,
            scale=scale,
            max_step=max_step,
            cooldown_s=cooldown_s,
            unit=unit,
            meaning=meaning,
        )

    @classmethod
    def real(
        cls,
        name: str,
        low: float,
        high: float,
        *,
        default: float,
        scale: Scale = "linear",
        max_step: float | None = None,
        cooldown_s: float = 0.0,
        unit: str = "",
        meaning: str = "",
    ) -> Self:
        """A real number within ``[low, high]``; arguments as of the class."""
        return cls(
            name,
            "real",
            low=low,
            high=high,
            default=default,
            scale=scale,
            max_step=max_step,
            cooldown_s=cooldown_s,
            unit=unit,
            meaning=meaning,
        )

    @classmethod
    def choice(
        cls,
        name: str,
        choices: Sequence[str | int | float],
        *,
        default: str | int | float,
        max_step: int | None = None,
        cooldown_s: float = 0.0,
        unit: str = "",
        meaning: str = "",
    ) -> Self:
        """One of several values in an order, such as severities; arguments as of the class."""
        return cls(
            name,
            "choice",
            choices=choices,
            default=default,
            max_step=max_step,
            cooldown_s=cooldown_s,
            unit=unit,
            meaning=meaning,
        )

    @classmethod
    def flag(
        cls, name: str, *, default: bool, cooldown_s: float = 0.0, unit: str = "", meaning: str = ""
    ) -> Self:
        """True or False; arguments as of the class."""
        return cls(name, "flag", default=default, cooldown_s=cooldown_s, unit=unit, meaning=meaning)

    @property
    def name(self) -> str:
        """What rules and messages call it."""
        return str(_content(self)[0])

    @property
    def kind(self) -> Kind:
        """One of ``"integer"``, ``"real"``, ``"choice"``, ``"flag"``."""
        kind: Kind = _content(self)[1]
        return kind

    @property
    def low(self) -> Any:
        """Least value of a number, None of the other kinds."""
        return _content(self)[2]

    @property
    def high(self) -> Any:
        """Largest value of a number, None of the other kinds."""
        return _content(self)[3]

    @property
    def choices(self) -> tuple[str | int | float, ...]:
        """Values of a choice in their order, empty for the other kinds."""
        choices: tuple[str | int | float, ...] = _content(self)[4]
        return choices

    @property
    def default(self) -> Any:
        """Where it stands at first."""
        return _content(self)[5]

    @property
    def scale(self) -> Scale | None:
        """What steps of numbers measure, None of the other kinds."""
        scale: Scale | None = _content(self)[6]
        return scale

    @property
    def max_step(self) -> Any:
        """Largest step of one change on the scale, None of a flag."""
        return _content(self)[7]

    @property
    def cooldown_s(self) -> float:
        """Least time between two changes, in seconds."""
        return float(_content(self)[8])

    @property
    def unit(self) -> str:
        """Unit of the values, for people."""
        return str(_content(self)[9])

    @property
    def meaning(self) -> str:
        """One line for people."""
        return str(_content(self)[10])

    @property
    def digest(self) -> str:
        """SHA-256 in hexadecimal of everything but `meaning`."""
        fields = self.to_dict()
        del fields["meaning"]
        return hashlib.sha256(encoded(self.name, {"format": FORMAT, "param": fields})).hexdigest()

    def check(self, value: Any, name: str | None = None) -> Any:
        """The value as this knob has it, if it may have it at all.

        Parameters
        ----------
        value : bool, int, float or str
        name : str, optional
            What to call it in messages, by default the knob's name.

        Returns
        -------
        bool, int, float or str
            Coerced: an integer given for a real number comes back as float.

        Raises
        ------
        ArgumentTypeError
            Of another type; a bool is no number.
        ArgumentValueError
            NaN, infinite, out of bounds, none of the choices.
        """
        own, kind, low, high, choices, *_, unit, _ = _content(self)
        name = own if name is None else name
        if kind == "flag":
            # NumPy's counts as one; 1 and 0 do not.
            kinds = (type(value).__module__, type(value).__name__)
            if isinstance(value, bool) or kinds in NUMPY_BOOLS:
                return bool(value)
            raise ArgumentTypeError(
                f"{name} must be True or False, got {value!r:.80} ({type(value).__name__})"
            )
        if kind == "choice":
            for choice in choices:
                if type(value) is type(choice) and value == choice:
                    return choice
            listed = ", ".join(map(repr, choices))
            near = (
                difflib.get_close_matches(value, [c for c in choices if type(c) is str], 1)
                if isinstance(value, str)
                else []
            )
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ArgumentValueError(f"{name} must be one of {listed}, got {value!r:.80}{hint}")
        number: Any
        number = check_int(name, value) if kind == "integer" else check_real(name, value) + 0.0
        if not low <= number <= high:
            raise ArgumentValueError(
                f"{name} must be within [{low!r}, {high!r}]{' ' * bool(unit)}{unit}, got {number!r}"
            )
        return number

    def position(self, value: Any) -> float:
        """Where a value stands on the scale.

        Returns
        -------
        float
            Linear: the value itself. Log: its natural logarithm. Choice: its place. Flag: 0 or 1.
        """
        value = self.check(value)
        kind, scale = self.kind, self.scale
        if kind == "choice":
            return float(self.choices.index(value))
        return math.log(value) if scale == "log" else float(value)

    @property
    def extent(self) -> float:
        """Length of the whole scale, from the first value to the last."""
        kind = self.kind
        if kind in ("integer", "real"):
            return self.position(self.high) - self.position(self.low)
        return float(len(self.choices) - 1) if kind == "choice" else 1.0

    @property
    def reach(self) -> float:
        """Length on the scale of the largest step of one change."""
        kind = self.kind
        if kind == "flag":
            return 1.0
        return math.log(self.max_step) if self.scale == "log" else float(self.max_step)

    def moved(self, value: Any, part: float = 1.0) -> Any:
        """The value a step away.

        Parameters
        ----------
        value : bool, int, float or str
        part : float
            Of the largest step, within [-1, 1]; below 0 is down.

        Returns
        -------
        bool, int, float or str
            Cut off at the bounds; real numbers are rounded to 12 digits where steps are not finer.
            Whole numbers and choices move by one at least.
        """
        value = self.check(value)
        part = check_real("part", part, low=-1.0, high=1.0)
        kind, low, high = self.kind, self.low, self.high
        if part == 0.0:
            return value
        if kind == "flag":
            return part > 0
        length = part * self.reach
        if kind == "choice":
            place = self.choices.index(value) + _whole(length)
            return self.choices[min(max(place, 0), len(self.choices) - 1)]
        if self.scale == "log":
            to = math.exp(min(max(math.log(value) + length, math.log(low)), math.log(high)))
            if kind == "integer":
                # Towards the old value: rounding must not make the step larger.
                if part > 0:
                    whole = max(math.floor(to * (1.0 + SLACK)), value + 1)
                else:
                    whole = min(math.ceil(to * (1.0 - SLACK)), value - 1)
                return min(max(whole, low), high)
        elif kind == "integer":
            return min(max(value + _whole(length), low), high)
        else:
            to = value + length
        short = min(max(float(f"{to:.12g}"), low), high)
        if abs(short - to) <= 1e-6 * abs(to - value) and self._within(value, short):
            return short
        return min(max(to, low), high)

    def _within(self, old: Any, new: Any) -> bool:
        """Whether one change may go there, but for rounding."""
        first, last = self.position(old), self.position(new)
        slack = self.reach * SLACK + 4.0 * max(math.ulp(first), math.ulp(last))
        return abs(last - first) <= self.reach + slack

    def check_step(self, old: Any, new: Any) -> None:
        """Raise unless one change may go from `old` to `new`.

        Raises
        ------
        RefusedError
            The step is too large; `reason` is ``"max_step"``.
        """
        old, new = self.check(old), self.check(new)
        if self._within(old, new):
            return
        length = abs(self.position(new) - self.position(old))
        kind, step = self.kind, self.max_step
        if self.scale == "log":
            allowed, done = f"a factor of {step!r}", f"{math.exp(length):.6g}"
        elif kind == "choice":
            allowed, done = f"{step} places", f"{length:g}"
        else:
            allowed, done = f"{step!r}{' ' * bool(self.unit)}{self.unit}", f"{length:.6g}"
        bounds = "" if kind == "choice" else f" within [{self.low!r}, {self.high!r}]"
        raise RefusedError(
            f"{self.name} may change by at most {allowed} at once{bounds}, "
            f"got {old!r} -> {new!r}, which is {done}",
            reason="max_step",
        )

    def to_dict(self) -> dict[str, Any]:
        """All attributes as a dict that JSON and `Param` take."""
        pairs = dict(zip(self._FIELDS, _content(self), strict=True))
        pairs["choices"] = list(pairs["choices"])
        return pairs

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """The knob that `to_dict` described.

        Raises
        ------
        ArgumentValueError, ArgumentTypeError
            It describes none: a field is missing, unknown or wrong.
        """
        check_mapping("fields", fields)
        given = {key: value for key, value in fields.items() if value is not None}
        where = f"of {given['name']!r:.80}" if "name" in given else "of a parameter"
        for key, value in given.items():
            if key not in cls._FIELDS:
                raise ArgumentValueError(
                    f"unknown field {key!r} = {value!r:.80} {where}{did_you_mean(key, cls._FIELDS)}"
                )
        for key in ("name", "kind", "default"):
            if key not in given:
                raise ArgumentValueError(f"field {key!r} {where} is missing")
        return cls(given.pop("name"), given.pop("kind"), **given)

    def __reduce__(self) -> tuple[Any, ...]:
        return Param.from_dict, (self.to_dict(),)

    def __eq__(self, other: object) -> bool:
        if type(other) is not Param:
            return NotImplemented
        return self.digest == other.digest

    def __hash__(self) -> int:
        return hash(_content(self)[:-1])

    def __repr__(self) -> str:
        given = self.to_dict()
        kind, name = given.pop("kind"), given.pop("name")
        values = [repr(name)]
        if kind == "choice":
            values.append(repr(given["choices"]))
        elif kind != "flag":
            values += [repr(given["low"]), repr(given["high"])]
        values.append(f"default={given['default']!r}")
        if given["scale"] == "log":
            values.append("scale='log'")
        if given["max_step"] is not None:
            values.append(f"max_step={given['max_step']!r}")
        values += [
            f"{key}={given[key]!r}" for key in ("cooldown_s", "unit", "meaning") if given[key]
        ]
        return f"Param.{kind}({', '.join(values)})"


class Settings(_Frozen, Mapping[str, Value]):
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
    >>> from midstream.meta.params import Param, ParamSpace
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
        return _new(cls, (space, MappingProxyType(content), digest))

    def __init_subclass__(cls) -> None:
        raise TypeError("Settings cannot be subclassed")

    @property
    def space(self) -> ParamSpace:
        """What they are settings of."""
        space: ParamSpace = _content(self)[0]
        return space

    @property
    def digest(self) -> str:
        """SHA-256 in hexadecimal of the space's digest and the values."""
        return str(_content(self)[2])

    def __getitem__(self, name: str) -> Any:
        try:
            return _content(self)[1][name]
        except (KeyError, TypeError):
            raise KeyError(f"{name!r}{did_you_mean(name, tuple(self))}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(_content(self)[1])

    def __len__(self) -> int:
        return len(_content(self)[1])

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
        return dict(_content(self)[1])

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


class Change(_Frozen):
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
    >>> from midstream.meta.params import Param, ParamSpace
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
        return _new(cls, (before, after, moves, reason))

    def __init_subclass__(cls) -> None:
        raise TypeError("Change cannot be subclassed")

    @property
    def before(self) -> Settings:
        """What it starts from."""
        before: Settings = _content(self)[0]
        return before

    @property
    def after(self) -> Settings:
        """What it proposes."""
        after: Settings = _content(self)[1]
        return after

    @property
    def moves(self) -> tuple[tuple[str, Any, Any], ...]:
        """Name, old and new value of every knob that moves."""
        moves: tuple[tuple[str, Any, Any], ...] = _content(self)[2]
        return moves

    @property
    def reason(self) -> str:
        """Why, for people."""
        return str(_content(self)[3])

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


class ParamSpace(_Frozen, Mapping[str, Param]):
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
    >>> from midstream.meta.params import Param, ParamSpace
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
        return _new(cls, (MappingProxyType(table), _digest_of(table.values())))

    def __init_subclass__(cls) -> None:
        raise TypeError("ParamSpace cannot be subclassed")

    @property
    def digest(self) -> str:
        """SHA-256 in hexadecimal of all knobs."""
        return str(_content(self)[1])

    @property
    def defaults(self) -> Settings:
        """Every knob where it stands at first."""
        return Settings(self, {})

    def __getitem__(self, name: str) -> Param:
        table: Mapping[str, Param] = _content(self)[0]
        if type(name) is str and name in table:
            return table[name]
        raise KeyError(f"{name!r:.80}{did_you_mean(name, tuple(table))}")

    def __iter__(self) -> Iterator[str]:
        return iter(_content(self)[0])

    def __len__(self) -> int:
        return len(_content(self)[0])

    def __contains__(self, name: object) -> bool:
        return type(name) is str and name in _content(self)[0]

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
        >>> from midstream.meta.params import ParamSpace
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


def _bounds(
    name: str, kind: Kind, low: float | None, high: float | None, scale: Scale
) -> tuple[float, float]:
    for word, value in (("low", low), ("high", high)):
        if value is None:
            raise ArgumentTypeError(f"{word} of {name} must be a number, got None")
    first: float
    last: float
    if kind == "integer":
        first = check_int(f"low of {name}", low, low=-LARGEST, high=LARGEST)  # type: ignore[arg-type]
        last = check_int(f"high of {name}", high, low=-LARGEST, high=LARGEST)  # type: ignore[arg-type]
    else:
        first = check_real(f"low of {name}", low) + 0.0  # type: ignore[arg-type]
        last = check_real(f"high of {name}", high) + 0.0  # type: ignore[arg-type]
    if not first < last or math.isinf(last - first):
        raise ArgumentValueError(
            f"high of {name} must be above low by a finite number, got [{first!r}, {last!r}]"
        )
    if scale == "log" and first <= 0:
        raise ArgumentValueError(f"low of {name} must be above 0 on a log scale, got {first!r}")
    return first, last


def _choices(name: str, choices: Sequence[str | int | float]) -> tuple[str | int | float, ...]:
    if isinstance(choices, (str, bytes)) or not isinstance(choices, Sequence):
        raise ArgumentTypeError(
            f"choices of {name} must be a sequence of values, got {choices!r:.80}"
        )
    for value in choices:
        if type(value) not in (str, int, float):
            raise ArgumentTypeError(
                f"choices of {name} must be str, int or float, got {value!r:.80} "
                f"({type(value).__name__})"
            )
        if type(value) is float:
            check_real(f"choices of {name}", value)
    if len(choices) < 2 or len(set(choices)) < len(choices):
        raise ArgumentValueError(
            f"choices of {name} must be two or more different values, got {list(choices)!r:.80}"
        )
    return tuple(choices)


def _step(
    name: str,
    kind: Kind,
    low: float | None,
    high: float | None,
    scale: Scale,
    n_choices: int,
    max_step: float | None,
) -> float | None:
    word = f"max_step of {name}"
    if kind == "flag":
        return None
    if kind == "choice":
        return 1 if max_step is None else check_int(word, max_step, low=1, high=n_choices - 1)  # type: ignore[arg-type]
    assert low is not None and high is not None
    if scale == "log":
        if max_step is None:
            factor = math.exp((math.log(high) - math.log(low)) / 10)
            # A whole number moves by one at least.
            return max(factor, 1 + 1 / low) if kind == "integer" else factor
        factor = check_real(word, max_step)
        if factor <= 1.0:
            raise ArgumentValueError(f"{word} must be a factor above 1, got {factor!r}")
        if kind == "integer" and factor * low * (1.0 + SLACK) < low + 1:
            raise ArgumentValueError(
                f"{word} must let {low!r} become {low + 1!r}: at least {1 + 1 / low:.12g}, "
                f"got {factor!r}"
            )
        return factor
    if kind == "integer":
        if max_step is None:
            return max(1, int(high - low) // 10)
        return check_int(word, max_step, low=1)  # type: ignore[arg-type]
    if max_step is None:
        return (high - low) / 10
    length = check_real(word, max_step)
    if length <= 0.0:
        raise ArgumentValueError(f"{word} must be above 0, got {length!r}")
    return length


def _whole(length: float) -> int:
    """Rounded towards zero, but one at least."""
    whole = int(length * (1.0 + SLACK))
    return whole or (1 if length > 0 else -1)


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
