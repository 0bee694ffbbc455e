"""Wire formats of providers: payloads in, events out, no input or output.

Common
    `Mapper`, what all of them can do
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midstream._core.lazy import lazy_exports

if TYPE_CHECKING:
    from midstream.stream.formats.protocol import Mapper

__all__ = ["Mapper"]

__getattr__, __dir__ = lazy_exports(__name__, {"Mapper": "protocol"})
