"""What Prometheus reads, read by its own client."""

from __future__ import annotations

import pytest

from midstream.errors import ArgumentTypeError
from midstream.stream.proxy import ProxyMetrics
from midstream.stream.telemetry import CONTENT_TYPE, Buckets, Collector, Family, exposition

client = pytest.importorskip(
    "prometheus_client", reason="the extra prometheus is not installed: its client reads nothing"
)
parser = pytest.importorskip("prometheus_client.parser")


def read(text):
    """Samples by name and labels, as the client's parser has them."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


def filled():
    """A proxy's metrics after some streams."""
    metrics = ProxyMetrics()
    metrics.streams_active = 3
    metrics.requests["openai", "200"] += 7
    metrics.verdict('rule "with" \\ and \n', "stop")
    metrics.stops["loop",] += 2
    for value_s in (0.004, 0.02, 3.0, 1e9):
        metrics.first_chunk.add(value_s)
    metrics.detectors.add(2e-6)
    return metrics


def test_text_is_read_back():
    samples = read(filled().text([(("openai", "text"), 5)]))
    assert samples["midstream_streams_active", ()] == 3
    assert samples["midstream_requests_total", (("provider", "openai"), ("status", "200"))] == 7
    assert samples["midstream_chunks_total", (("channel", "text"), ("provider", "openai"))] == 5
    labels = (("policy", 'rule "with" \\ and \n'), ("verdict", "stop"))
    assert samples["midstream_verdicts_total", labels] == 1
    name = "midstream_time_to_first_chunk_seconds"
    assert samples[f"{name}_bucket", (("le", "0.01"),)] == 1
    assert samples[f"{name}_bucket", (("le", "0.02"),)] == 2
    assert samples[f"{name}_bucket", (("le", "+Inf"),)] == samples[f"{name}_count", ()] == 4
    assert samples[f"{name}_sum", ()] == pytest.approx(1e9 + 3.024)


def test_a_registry_shows_the_same():
    metrics = filled()
    registry = client.CollectorRegistry()
    registry.register(Collector(metrics))
    assert read(client.generate_latest(registry).decode()) == read(metrics.text())


def test_fractions_and_several_labelled_histograms():
    one, two = Buckets((1.0,)), Buckets((1.0,))
    one.add(0.5)
    two.add(2.0)
    samples = read(
        exposition(
            [
                Family("load_ratio", "gauge", "A line\nand a \\.", (), {(): 0.25}),
                Family("x_seconds", "histogram", "X.", ("k",), {("a",): one, ("b",): two}),
            ]
        )
    )
    assert samples["midstream_load_ratio", ()] == 0.25
    assert samples["midstream_x_seconds_bucket", (("k", "a"), ("le", "1"))] == 1
    assert samples["midstream_x_seconds_bucket", (("k", "b"), ("le", "1"))] == 0
    assert "version=0.0.4" in CONTENT_TYPE


def test_what_lists_nothing_is_refused():
    with pytest.raises(ArgumentTypeError, match="families, got int"):
        Collector(3)
