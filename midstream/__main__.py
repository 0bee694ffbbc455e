"""``python -m midstream``: the command line."""

from __future__ import annotations

from midstream.apps.cli import main

if __name__ == "__main__":
    main()
