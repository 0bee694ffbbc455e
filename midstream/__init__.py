"""midstream analyses streams from language models and agents while they are in flight.

Packages load when first used (PEP 562), so ``import midstream`` costs milliseconds:

`midstream.stream`
    events, sources, detectors, policies, a proxy: `watch`, `Policy`, `Recorder`, `replay`
`midstream.compare`
    distances between sequences, search in long series, repeats: `dtw`, `levenshtein`, `RunDetector`
`midstream.scheduler`
    tasks by priority or deadline, lock-free queues, exact time: `Scheduler`, `RingQueue`
`midstream.attractor`
    integrate, measure and recognise dynamics: `lyapunov`, `classify`, `Online`
`midstream.logic`
    temporal logic: `parse`, `compile`, `Monitor`, `RuleBook`, `satisfiable`, `synthesize`
`midstream.meta`
    what streams teach: `Grammar`, `Drift`, `Bandit`, `StrangeLoop` with shield, gate and ledger
`midstream.quic`
    many streams on one connection: QUIC, HTTP/3, WebTransport: `connect`, `serve`, `Config`
`midstream.plot`
    pictures: `gantt`
`midstream.errors`
    the exceptions: `MidstreamError`, `SourceError`, `EndpointError`, `RecordingError` and more
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from midstream import attractor, compare, errors, logic, meta, plot, quic, scheduler, stream
    from midstream._core.errors import MidstreamError

__version__ = "0.2.0"

__all__ = [
    "MidstreamError",
    "__version__",
    "attractor",
    "compare",
    "errors",
    "logic",
    "meta",
    "plot",
    "quic",
    "scheduler",
    "stream",
]

_PACKAGES = frozenset(
    {"attractor", "compare", "errors", "logic", "meta", "plot", "quic", "scheduler", "stream"}
)


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f"midstream.{name}")
    if name == "MidstreamError":
        from midstream._core.errors import MidstreamError

        return MidstreamError
    raise AttributeError(f"module 'midstream' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
