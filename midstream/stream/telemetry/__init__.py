"""What is measured of streams, for those who watch over many of them.

OpenTelemetry
    `Telemetry`, which makes spans and metrics under the names of the conventions for generative
    AI; `Operation`, one stream
Prometheus
    `exposition` writes what `Family` holds, `Buckets` among them; `Collector` shows it in a
    registry of ``prometheus_client``; the proxy and the servers have an endpoint of their own,
    where `server_families` says which version runs, and whether it is ready
Windows
    `MetricWindow` sums up the last seconds: count, sum, average, extremes, percentiles, rate, as a
    `WindowSummary`
Logs
    `JsonLogFormatter` for `logging`
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midstream._core.lazy import lazy_exports

if TYPE_CHECKING:
    from midstream.stream.telemetry.genai import Operation, Telemetry
    from midstream.stream.telemetry.logs import JsonLogFormatter
    from midstream.stream.telemetry.prometheus import (
        CONTENT_TYPE,
        Buckets,
        Collector,
        Family,
        HasFamilies,
        exposition,
        server_families,
    )
    from midstream.stream.telemetry.windows import MetricWindow, WindowSummary

__all__ = [
    "CONTENT_TYPE",
    "Buckets",
    "Collector",
    "Family",
    "HasFamilies",
    "JsonLogFormatter",
    "MetricWindow",
    "Operation",
    "Telemetry",
    "WindowSummary",
    "exposition",
    "server_families",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Buckets": "prometheus",
        "CONTENT_TYPE": "prometheus",
        "Collector": "prometheus",
        "Family": "prometheus",
        "HasFamilies": "prometheus",
        "JsonLogFormatter": "logs",
        "MetricWindow": "windows",
        "Operation": "genai",
        "Telemetry": "genai",
        "WindowSummary": "windows",
        "exposition": "prometheus",
        "server_families": "prometheus",
    },
)
