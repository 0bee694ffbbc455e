"""The dashboard in a terminal: a feed, and recordings, for people at a keyboard.

Display
    `TerminalDisplay`, which ``midstream dash`` runs over a `Feed`; `TerminalApp`, what it shows
Where it comes from
    `FeedLink`, a feed of this process; `AttachLink`, that of a dashboard that runs elsewhere
Recordings
    `Replay`, the state of a recording at any place of it

Notes
-----
It shows what the page of `midstream.apps.web` shows, with the same keys.

**Text of streams is never interpreted.** All that a stream said, and every name that somebody else
chose, is drawn as cells with a style (`midstream.apps.terminal.cells`): it is read neither as
markup nor as escape sequences. Control characters and those that are invisible or turn the
direction of writing are shown as ``\\x1b``. What terminals disagree about in width is drawn in a
way that all agree about: joined emoji one by one, flags as their two letters.

**Cost.** What is drawn are lines, and only those that differ from what stands there are drawn
again, at most ten times a second (``asv_benchmarks/terminal_cost.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midstream._core.lazy import lazy_exports

if TYPE_CHECKING:
    from midstream.apps.terminal.app import TerminalApp
    from midstream.apps.terminal.display import TerminalDisplay
    from midstream.apps.terminal.links import AttachLink, FeedLink
    from midstream.apps.terminal.replay import Replay

__all__ = ["AttachLink", "FeedLink", "Replay", "TerminalApp", "TerminalDisplay"]

try:
    import textual as _textual
except ModuleNotFoundError as missing:
    if missing.name != "textual":
        raise
    raise ModuleNotFoundError(
        'the dashboard in a terminal needs textual: pip install "midstream[ui]"',
        name=missing.name,
    ) from missing
del _textual

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "AttachLink": "links",
        "FeedLink": "links",
        "Replay": "replay",
        "TerminalApp": "app",
        "TerminalDisplay": "display",
    },
)
