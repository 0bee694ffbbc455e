"""The web dashboard: a page over a `Feed`, on this machine or, with a token, for others.

`Dashboard` serves it; needs the extra ``ui``. `Access` says who may read.

Notes
-----
**What is served.** The page and its parts (nothing of them is anybody's secret), and behind the
token: ``GET /api/session``, ``GET /api/feed`` (server-sent events, resumed by ``Last-Event-ID``),
``GET /api/recordings``, ``GET /api/recordings/NAME`` (JSON lines: a description, then frames of the
feed's format, made from the recording), ``POST /api/login``, ``POST /api/logout``. Beside it,
WebTransport for browsers on this machine: one stream of JSON lines, each a frame.

**Text of a stream is never markup.** The page puts it into text nodes and nothing else, and asks
the browser to hold it to that: without a policy for trusted types, `innerHTML` and its like throw.
Invisible controls, of terminals or of writing direction, are shown as signs.

**Who may read.** Without a token, only programs and pages of this machine: the server listens on
loopback, and refuses names in ``Host`` that are none of its own, so that no foreign page can reach
it by a name that leads here. With a token, whoever has it: it is compared in constant time, is
never part of a URL that is sent, and is exchanged for a cookie that scripts cannot read and other
sites' pages cannot send.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midstream._core.lazy import lazy_exports

if TYPE_CHECKING:
    from midstream.apps.web.access import Access
    from midstream.apps.web.dashboard import Dashboard

__all__ = ["Access", "Dashboard"]

__getattr__, __dir__ = lazy_exports(__name__, {"Access": "access", "Dashboard": "dashboard"})
