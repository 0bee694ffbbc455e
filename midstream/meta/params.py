"""`Param`: one knob that may be turned, how far, how fast and how often."""

from __future__ import annotations

import difflib
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from midstream._core.errors import ArgumentTypeError, ArgumentValueError, RefusedError
from midstream._core.validate import (
    check_choice,
    check_int,
    check_mapping,
    check_real,
    check_text,
    did_you_mean,
)
from midstream.meta._canonical import encoded
from midstream.meta._frozen import Frozen, content_of, frozen

__all__ = ["Param"]

#: What a knob may be set to.
Value = bool | int | float | str
Kind = Literal["integer", "real", "choice", "flag"]
Scale = Literal["linear", "log"]

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


class Param(Frozen):
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
        default = frozen(cls, fields).check(default, f"default of {name}")
        return frozen(cls, (*fields[:5], default, *fields[6:]))

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
        return str(content_of(self)[0])

    @property
    def kind(self) -> Kind:
        """One of ``"integer"``, ``"real"``, ``"choice"``, ``"flag"``."""
        kind: Kind = content_of(self)[1]
        return kind

    @property
    def low(self) -> Any:
        """Least value of a number, None of the other kinds."""
        return content_of(self)[2]

    @property
    def high(self) -> Any:
        """Largest value of a number, None of the other kinds."""
        return content_of(self)[3]

    @property
    def choices(self) -> tuple[str | int | float, ...]:
        """Values of a choice in their order, empty for the other kinds."""
        choices: tuple[str | int | float, ...] = content_of(self)[4]
        return choices

    @property
    def default(self) -> Any:
        """Where it stands at first."""
        return content_of(self)[5]

    @property
    def scale(self) -> Scale | None:
        """What steps of numbers measure, None of the other kinds."""
        scale: Scale | None = content_of(self)[6]
        return scale

    @property
    def max_step(self) -> Any:
        """Largest step of one change on the scale, None of a flag."""
        return content_of(self)[7]

    @property
    def cooldown_s(self) -> float:
        """Least time between two changes, in seconds."""
        return float(content_of(self)[8])

    @property
    def unit(self) -> str:
        """Unit of the values, for people."""
        return str(content_of(self)[9])

    @property
    def meaning(self) -> str:
        """One line for people."""
        return str(content_of(self)[10])

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
        own, kind, low, high, choices, *_, unit, _ = content_of(self)
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
        pairs = dict(zip(self._FIELDS, content_of(self), strict=True))
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
        return hash(content_of(self)[:-1])

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
