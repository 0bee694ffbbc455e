"""``async with`` for whatever has an ``aclose``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

__all__ = ["AsyncClosing"]


class AsyncClosing(ABC):
    """Base of what is closed when ``async with`` is left, however it is left."""

    __slots__ = ()

    @abstractmethod
    async def aclose(self) -> None:
        """Close now; safe to repeat."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()
