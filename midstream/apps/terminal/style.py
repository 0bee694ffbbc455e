"""Where the parts of the dashboard stand."""

from __future__ import annotations

__all__ = ["CSS"]

CSS = """
Screen { background: $background; layout: vertical; }
Lines { width: 1fr; height: 1fr; background: $background; }
Heading { height: 1; width: 1fr; background: $panel; padding: 0 1; }
#totals { height: 1; }
#main { height: 1fr; }
#left { width: 32; }
#left Rows { padding: 0 0 0 1; background: $surface; }
#centre { width: 1fr; }
#about { height: 2; }
#text { padding: 0 0 0 1; }
#side { width: 40; }
#side Sheet { padding: 0 0 0 1; background: $surface; }
#bottom { height: 10; }
#bottom Rows { padding: 0 0 0 1; }
#told { width: 1fr; border-left: vkey $panel; }
#found { width: 1fr; }
#search { display: none; height: 1; width: 1fr; }
#search.-open { display: block; }
#scrubber { display: none; height: 2; padding: 0; }

Vertical:focus-within > Heading { background: $primary 30%; }
Lines:focus { background-tint: $primary 4%; }

.-replay #scrubber { display: block; }

.-short #bottom { height: 6; }
.-narrow #left { width: 26; }
.-narrow #side { display: none; }
.-narrow.-figures #side { display: block; width: 1fr; }
.-narrow.-figures #centre { display: none; }
.-narrow #told { display: none; }
.-narrow.-messages #told { display: block; border-left: none; }
.-narrow.-messages #found { display: none; }

App:ansi Vertical:focus-within > Heading { background: ansi_default; }
"""
