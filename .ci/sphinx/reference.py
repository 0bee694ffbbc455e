from __future__ import annotations
import importlib, sys
from pathlib import Path

PACKAGES = [
    "stream",
    "stream.proxy",
    "stream.formats",
    "stream.media",
    "stream.realtime",
    "stream.simulating",
    "stream.telemetry",
    "compare",
    "scheduler",
    "attractor",
    "attractor.systems",
    "logic",
    "meta",
    "quic",
    "quic.http3",
    "quic.webtransport",
    "quic.page",
    "plot",
    "errors",
]


def main():
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for name in PACKAGES:
        full = f"midstream.{name}"
        m = importlib.import_module(full)
        (out / f"{full}.rst").write_text(
            f"{full}\n{'=' * len(full)}\n\n.. automodule:: {full}\n   :no-members:\n\n.. currentmodule:: {full}\n\n.. autosummary::\n   :toctree: names\n\n"
            + "".join(f"   {n}\n" for n in m.__all__)
        )
    (out / "index.rst").write_text(
        "Reference\n=========\n\n.. toctree::\n   :maxdepth: 1\n\n"
        + "".join(f"   midstream.{n}\n" for n in PACKAGES)
    )


main()
