"""What the README's tables are made of; see ``rows.py``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

Row = tuple[str, ...]


class Table(NamedTuple):
    """A table of the README; its name stands in the README's marks."""

    name: str
    columns: Row
    rows: Sequence[Row]
    #: Programs of this folder that have figures for it, with their arguments.
    programs: Sequence[tuple[str, ...]] = ()
    #: Packages whose versions belong beside the figures.
    packages: Sequence[str] = ()
    #: Whether other work on the machine changes its figures.
    timed: bool = True


def versus(work: str, *names: str, each: int = 1, peer: str = "", after: str = "") -> Row:
    """A row with our time, the peer and the ratio of comparisons, of which a call does `each`."""
    part = f"|/{each}" if each != 1 else ""
    ours = " / ".join(f"[[peers_{name}:ours{part}]]" for name in names)
    ratio = " / ".join(f"[[peers_{name}:ratio]]" for name in names)
    return work, ours + after, peer or f"[[peers_{names[0]}:library]]", ratio


def alone(work: str, ours: str) -> Row:
    """A row without a peer."""
    return work, ours, "", ""


PEER_COLUMNS = ("work", "ours", "peer", "ratio")
