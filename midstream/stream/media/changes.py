"""What changed in a track since its last event, with the time of each change."""

from __future__ import annotations

from typing import Any

__all__ = ["CHANGES", "Changes"]

#: All names: audio first, then video.
CHANGES = (
    *("silence", "sound", "audio_gap"),
    *("black", "picture", "frozen", "moving", "scene", "gap", "loop"),
)
_MAX_CHANGES = 32


class Changes:
    """A bounded list of ``[name, seconds]``.

    Examples
    --------
    >>> changes = Changes()
    >>> changes.add("black", 1.5)
    >>> changes.read(), changes.read()
    ({'changes': [['black', 1.5]]}, {'changes': []})
    """

    __slots__ = ("_items", "_omitted")

    def __init__(self) -> None:
        self._items: list[list[Any]] = []
        self._omitted = 0

    def add(self, name: str, pts_s: float) -> None:
        """Add one of `CHANGES`."""
        if len(self._items) < _MAX_CHANGES:
            self._items.append([name, round(pts_s, 3)])
        else:
            self._omitted += 1

    def read(self) -> dict[str, Any]:
        """Return ``changes``, and ``changes_omitted`` where not all are kept; begin anew."""
        items, omitted = self._items, self._omitted
        self._items, self._omitted = [], 0
        return {"changes": items, **({"changes_omitted": omitted} if omitted else {})}
