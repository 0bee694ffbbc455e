"""The README's tables of figures: which rows they have, and which figure stands where.

A cell is text with ``[[KEY]]`` where a figure goes, ``[[KEY|/1000]]`` where a thousandth of it goes
and ``[[KEY|*2]]`` where twice as much does. Keys are as in ``results.json``:

- ``peers_elastic.Dtw100Aeon:ours`` (or ``:peer``, ``:ratio``, ``:library``), from a comparison;
- ``monitors.Step.time_step_1000(mask)``, from a benchmark of asv;
- ``proxy_speed.first.midstream.adds``, from a program of this folder.

A ``*`` in the key stands for anything, ``{a,b}`` for one of these. Of several comparisons that one
is shown in which the peer comes closest; of several other figures the least and the greatest.
"""

from __future__ import annotations

from row import Table
from rows_kernels import ATTRACTOR, COMPARE, LOGIC, META, SCHEDULER
from rows_streams import LOOPS, QUIC, STREAM, TOOL_LOOPS

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        LOOPS,
        TOOL_LOOPS,
        STREAM,
        COMPARE,
        SCHEDULER,
        ATTRACTOR,
        LOGIC,
        META,
        QUIC,
    )
}
