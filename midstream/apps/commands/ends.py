"""How commands that follow streams end, as their help says it."""

from __future__ import annotations

__all__ = ["EPILOG"]

EPILOG = """\
[bold]Exit status:[/] 0 nothing found; 1 a finding of severity warn or stop; 2 wrong usage; \
3 the source failed, a recording has no end, or the stream carried an error (unless a finding had \
stopped it: 1); \
128 + n ended by signal n.

[bold]Output:[/] with a terminal, everything on standard output. In a pipe, the text of the answer \
goes to standard output untouched (of several choices, the first), findings and report to standard \
error."""
