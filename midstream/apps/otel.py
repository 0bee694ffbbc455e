"""``--otel``: spans and metrics of a program, exported as OpenTelemetry's variables say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from midstream import __version__
from midstream.stream.telemetry import Telemetry

__all__ = ["exporting"]


@contextmanager
def exporting(service: str) -> Iterator[Telemetry]:
    """A telemetry whose spans and metrics are sent over OTLP/HTTP, and flushed at the end.

    Parameters
    ----------
    service : str
        ``service.name``, where ``OTEL_SERVICE_NAME`` does not say otherwise.

    Yields
    ------
    Telemetry

    Raises
    ------
    ImportError
        The extra ``otel`` is not installed.

    Notes
    -----
    ``OTEL_EXPORTER_OTLP_ENDPOINT`` and its like are read by OpenTelemetry's own exporters; by
    default they send to port 4318 of this machine. What cannot be sent is dropped, and logged by
    them.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ImportError(f'{error}; --otel comes with `pip install "midstream[otel]"`') from error

    # What the environment says counts more than what is given here.
    resource = Resource.create({"service.version": __version__})
    if str(resource.attributes.get("service.name", "")).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": service}))
    tracers = TracerProvider(resource=resource)
    tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    meters = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())], resource=resource)
    try:
        yield Telemetry(tracers, meters)
    finally:
        tracers.shutdown()
        meters.shutdown()
