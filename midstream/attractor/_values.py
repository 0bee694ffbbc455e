"""Numbers that know their unit and how they came about."""

from __future__ import annotations

import html
from typing import Any

__all__ = ["Measured"]


class Measured(float):
    """A float that says what else is known of it; base of what single measures return.

    Attributes
    ----------
    value : float
        The number itself, as a plain float.
    unit : str
        Its unit; empty for pure numbers.
    reason : str
        ``"ok"``, or a short code that says why the value is special or missing.
    """

    unit: str
    reason: str

    def __new__(cls, value: float, **facts: Any) -> Measured:
        self = super().__new__(cls, value)
        self.__dict__.update({"unit": "", "reason": "ok", **facts})
        return self

    @property
    def value(self) -> float:
        return float(self)

    def __getnewargs_ex__(self) -> tuple[tuple[float], dict[str, Any]]:
        return (float(self),), self.__dict__

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __repr__(self) -> str:
        facts = "".join(f", {name}={value!r}" for name, value in self.__dict__.items())
        return f"{type(self).__name__}({float(self)!r}{facts})"

    def __str__(self) -> str:
        reason = "" if self.reason == "ok" else f" ({self.reason})"
        unit = f" {self.unit}" if self.unit else ""
        return f"{float(self):.6g}{unit}{reason}"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{html.escape(name)}</th><td>{html.escape(str(value))}</td></tr>"
            for name, value in self.__dict__.items()
        )
        return f"<b>{html.escape(str(self))}</b><table>{rows}</table>"
