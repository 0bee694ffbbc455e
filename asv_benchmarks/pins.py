"""Print the pinned requirements of the benchmarks, one a line, for ``pip install -r``.

``asv.conf.json`` is where they are pinned; with an argument only those whose names begin with it.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

CONFIGURATION = Path(__file__).resolve().parent / "asv.conf.json"


def configuration() -> dict:
    """What ``asv.conf.json`` says, without its comments: those stand on lines of their own."""
    text = CONFIGURATION.read_text(encoding="utf-8")
    return json.loads(re.sub(r"(?m)^\s*//.*$", "", text))


def pins() -> dict[str, str]:
    """Name and version of all packages that asv installs beside midstream."""
    return {name: version for name, (version,) in configuration()["matrix"]["req"].items()}


if __name__ == "__main__":
    for name, version in pins().items():
        if name.startswith(sys.argv[1] if len(sys.argv) > 1 else ""):
            print(f"{name}=={version}")
