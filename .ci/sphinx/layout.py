"""Lay out what Sphinx reads: the guides, and a page of reference for each public package.

    python layout.py FOLDER

A page of reference has what the package says of itself, a table of its names, then each of them:
what ``__all__`` holds is what is documented.
"""

from __future__ import annotations

import importlib
import inspect
import shutil
import sys
from pathlib import Path
from types import ModuleType

import midstream
from midstream.apps.guides import all_guides

#: In the order in which somebody meets them.
PACKAGES = (
    "midstream.stream",
    "midstream.stream.proxy",
    "midstream.stream.formats",
    "midstream.stream.realtime",
    "midstream.stream.media",
    "midstream.stream.simulating",
    "midstream.stream.telemetry",
    "midstream.apps.agent",
    "midstream.compare",
    "midstream.scheduler",
    "midstream.attractor",
    "midstream.attractor.systems",
    "midstream.logic",
    "midstream.meta",
    "midstream.quic",
    "midstream.quic.http3",
    "midstream.quic.webtransport",
    "midstream.quic.page",
    "midstream.plot",
    "midstream.errors",
)

FRONT = """\
# midstream {version}

midstream watches streams from language models and agents while they are in flight: it finds loops,
keeps rules, stops what must be stopped, and says what happened.

```{{toctree}}
:caption: Guides
:maxdepth: 1

{guides}
```

```{{toctree}}
:caption: Reference
:maxdepth: 1

{packages}
```
"""


def directive(thing: object) -> str:
    """What autodoc documents this by."""
    if inspect.isclass(thing):
        return "autoexception" if issubclass(thing, BaseException) else "autoclass"
    if callable(thing) and hasattr(thing, "__name__"):
        return "autofunction"
    return "autodata"


def options(thing: object) -> list[str]:
    """Options of its directive: all that ours give it is shown, what Python gives is not."""
    if not inspect.isclass(thing):
        return []
    foreign = {
        base.__name__ for base in thing.__mro__ if not base.__module__.startswith("midstream")
    }
    return [
        "   :members:",
        f"   :inherited-members: {', '.join(sorted(foreign))}",
        "   :show-inheritance:",
    ]


def page(package: ModuleType, documented: dict[int, str]) -> str:
    """The page of a package, as reStructuredText; notes the place of what it documents, by `id`."""
    name = package.__name__
    things = {public: getattr(package, public) for public in package.__all__}
    # Modules have pages of their own.
    names = [public for public, thing in things.items() if not inspect.ismodule(thing)]
    lines = [name, "=" * len(name), "", f".. automodule:: {name}", "   :no-members:", ""]
    lines += [f".. currentmodule:: {name}", "", ".. autosummary::", ""]
    lines += [f"   {public}" for public in names]
    for public in names:
        elsewhere = documented.setdefault(id(things[public]), f"{name}.{public}")
        if elsewhere != f"{name}.{public}":
            lines += ["", f"``{public}`` is `{elsewhere}`."]
            continue
        lines += ["", f".. {directive(things[public])}:: {public}", *options(things[public])]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the sources into the folder that the command line names."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    guides = all_guides()
    for guide in guides:
        shutil.copy(guide.path, folder / guide.path.name)
    for picture in sorted(guides[0].path.parent.glob("*.svg")):
        shutil.copy(picture, folder / picture.name)
    documented: dict[int, str] = {}
    for name in PACKAGES:
        text = page(importlib.import_module(name), documented)
        (folder / f"{name}.rst").write_text(text, "utf-8")
    front = FRONT.format(
        version=midstream.__version__,
        guides="\n".join(guide.topic for guide in guides),
        packages="\n".join(PACKAGES),
    )
    (folder / "index.md").write_text(front, "utf-8")


main()
