"""`Frozen`: what holds something that cannot be exchanged later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, Self, TypeVar

Frozen_ = TypeVar("Frozen_", bound="Frozen")


class Frozen:
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


def _slot() -> tuple[Callable[[Frozen], Any], _Maker]:
    slot: Any = Frozen.__dict__["_content"]
    type.__delattr__(Frozen, "_content")

    def content(holder: Frozen) -> Any:
        return slot.__get__(holder)

    def frozen(cls: type[Frozen_], content: Any, /) -> Frozen_:
        made = object.__new__(cls)
        slot.__set__(made, content)
        return made

    return content, frozen


content_of, frozen = _slot()
