"""Streams that no model wrote: the same for the same seed, with the timing and faults of real ones.

Streams
    `simulate` gives a source, `simulated_events` the events alone; `SCENARIOS`, `FAULTS`, `Timing`
A server
    `SimulatedEndpoint`, an ASGI application that answers as OpenAI, Anthropic and Responses do
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midstream._core.lazy import lazy_exports

if TYPE_CHECKING:
    from midstream.stream.simulating.endpoint import SimulatedEndpoint
    from midstream.stream.simulating.streams import FAULTS, SCENARIOS, simulate, simulated_events
    from midstream.stream.simulating.timing import Timing

__all__ = [
    "FAULTS",
    "SCENARIOS",
    "SimulatedEndpoint",
    "Timing",
    "simulate",
    "simulated_events",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "FAULTS": "streams",
        "SCENARIOS": "streams",
        "SimulatedEndpoint": "endpoint",
        "Timing": "timing",
        "simulate": "streams",
        "simulated_events": "streams",
    },
)
