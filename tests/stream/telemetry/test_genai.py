"""Spans and metrics, as OpenTelemetry's own SDK collects them."""

from __future__ import annotations

import asyncio

import pytest
from stream.chat import chunk, sse, within
from stream.proxy.wires import PATHS, Upstream, post, proxied, raw, split

from midstream.errors import ArgumentTypeError, ArgumentValueError, RefusedError
from midstream.stream import Event, Policy, from_iterable, from_sse, watch
from midstream.stream.telemetry import Telemetry

pytest.importorskip("opentelemetry.sdk", reason="OpenTelemetry's SDK is not installed")
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

SECRET = "sk-proj-" + "A1b2C3d4E5" * 8


class Collected:
    """A telemetry, and what came of it."""

    def __init__(self):
        self._spans = InMemorySpanExporter()
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self._reader = InMemoryMetricReader()
        self.tracers = tracers
        self.telemetry = Telemetry(tracers, MeterProvider([self._reader]))

    @property
    def spans(self):
        """Spans that ended."""
        return self._spans.get_finished_spans()

    def metrics(self):
        """Data points by the metric's name."""
        data = self._reader.get_metrics_data()
        return {
            metric.name: list(metric.data.data_points)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    async def follow(self, guard, **given):
        """Read a watch to its end."""
        guard.attach(self.telemetry.start(**{"provider": "openai", **given}))
        return [event async for event in guard]


@pytest.fixture
def collected():
    return Collected()


def answer():
    """A chat completion with a count at its end."""
    pieces = [
        chunk(text, id="chatcmpl-7", model="gpt-x-2026") for text in ("Once ", "upon ", "a time")
    ]
    end = {
        "id": "chatcmpl-7",
        "model": "gpt-x-2026",
        "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
    }
    usage = {
        "choices": [],
        "usage": {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17},
    }
    return sse(*pieces, end, usage)


async def test_a_span_says_what_the_answer_said(collected):
    body = answer()
    events = await collected.follow(
        watch(from_sse([body[:90], body[90:]])), model="gpt-x", server="https://api.example/v1"
    )
    assert "".join(event.text for event in events if event.kind == "text") == "Once upon a time"
    (span,) = collected.spans
    assert (span.name, span.kind) == ("chat gpt-x", SpanKind.CLIENT)
    assert span.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-x",
        "gen_ai.response.model": "gpt-x-2026",
        "gen_ai.response.id": "chatcmpl-7",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 5,
        "server.address": "api.example",
        "server.port": 443,
        "midstream.outcome": "ended",
        "midstream.findings": 0,
    }
    assert span.status.status_code is StatusCode.UNSET


async def test_the_model_may_be_known_only_when_the_answer_begins(collected):
    guard = watch(from_sse([answer()]))
    asked = []
    await collected.follow(guard, model=lambda: asked.append(1) or "gpt-x")
    (span,) = collected.spans
    assert (span.name, asked) == ("chat gpt-x", [1])
    assert span.attributes["gen_ai.request.model"] == "gpt-x"
    (duration,) = collected.metrics()["gen_ai.client.operation.duration"]
    assert duration.attributes["gen_ai.request.model"] == "gpt-x"


async def test_a_model_that_never_answered_makes_no_series(collected):
    await collected.follow(watch([]), model=lambda: "made-up-by-a-client")
    await collected.follow(watch([]), model=lambda: None)
    named, unnamed = collected.spans
    assert named.name == "chat made-up-by-a-client"
    assert named.attributes["gen_ai.request.model"] == "made-up-by-a-client"
    assert unnamed.name == "chat"
    (duration,) = collected.metrics()["gen_ai.client.operation.duration"]
    assert "gen_ai.request.model" not in duration.attributes


async def test_metrics_have_the_conventions_names_units_and_buckets(collected):
    await collected.follow(watch(from_sse([answer()])), model="gpt-x")
    points = collected.metrics()
    tokens = {
        point.attributes["gen_ai.token.type"]: point.sum
        for point in points["gen_ai.client.token.usage"]
    }
    assert tokens == {"input": 12, "output": 5}
    (duration,) = points["gen_ai.client.operation.duration"]
    assert duration.count == 1
    assert duration.explicit_bounds[:3] == (0.01, 0.02, 0.04)
    assert duration.explicit_bounds[-1] == 81.92
    assert points["gen_ai.client.token.usage"][0].explicit_bounds[:3] == (1.0, 4.0, 16.0)
    (first,) = points["gen_ai.client.operation.time_to_first_chunk"]
    assert first.count == 1
    assert "error.type" not in duration.attributes


async def test_gaps_are_counted_once_a_chunk(collected):
    times = (5, 5, 9, 30, 30)
    events = [Event("text", n, t_ns * 1_000_000, "a") for n, t_ns in enumerate(times)]
    operation = collected.telemetry.start(provider="openai")
    for event in events:
        operation.event(event)
    operation.close()
    (gaps,) = collected.metrics()["gen_ai.client.operation.time_per_output_chunk"]
    assert (gaps.count, gaps.sum) == (2, pytest.approx(0.025))


async def test_findings_are_events_of_the_span_without_any_text(collected):
    secret = f"My key is {SECRET}. I will try that again. "
    await collected.follow(watch(from_iterable([secret] * 60)))
    (span,) = collected.spans
    assert span.attributes["midstream.outcome"] == "stopped"
    assert span.status.status_code is StatusCode.UNSET
    last = span.events[-1]
    assert last.name == "midstream.finding"
    assert last.attributes["midstream.finding.severity"] == "stop"
    assert last.attributes["midstream.finding.kind"] == "loop"
    assert SECRET not in span.to_json()
    points = collected.metrics()
    assert sum(point.value for point in points["midstream.stops"]) == 1
    total = sum(point.value for point in points["midstream.findings"])
    assert total == len(span.events) == span.attributes["midstream.findings"]


async def test_denied_calls_are_counted_by_rule(collected):
    call = Event("tool_call", 0, 0, '{"table": "t"}', "drop_table", None, "0/0", "call_1")
    rule = Policy("no drops", "G !drop", {"drop": {"tool": "drop_*"}})
    await collected.follow(watch([call], policies=rule))
    (point,) = collected.metrics()["midstream.denied_calls"]
    assert (point.value, point.attributes["midstream.rule"]) == (1, "no drops")


async def test_a_source_that_breaks(collected):
    async def broken():
        yield "some text"
        raise ConnectionResetError("the peer said: " + SECRET)

    with pytest.raises(ConnectionResetError):
        await collected.follow(watch(broken()))
    (span,) = collected.spans
    assert span.attributes["error.type"] == "ConnectionResetError"
    assert span.status.status_code is StatusCode.ERROR
    assert SECRET not in span.to_json()
    (duration,) = collected.metrics()["gen_ai.client.operation.duration"]
    assert duration.attributes["error.type"] == "ConnectionResetError"


async def test_an_error_that_the_stream_tells(collected):
    body = sse(chunk("Once "), {"error": {"message": "overloaded", "type": "server_error"}})
    await collected.follow(watch(from_sse([body])))
    assert collected.spans[0].attributes["error.type"] == "stream_error"


async def test_closing_early_ends_the_span(collected):
    guard = watch(from_iterable(["a", "b", "c"]))
    guard.attach(collected.telemetry.start(provider="openai"))
    assert (await anext(guard)).text == "a"
    await guard.aclose()
    (span,) = collected.spans
    assert span.attributes["midstream.outcome"] == guard.report().outcome == "closed"


async def test_a_cancelled_task_ends_the_span(collected):
    async def silent():
        yield "a"
        await asyncio.sleep(3600)

    task = asyncio.create_task(collected.follow(watch(silent())))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (span,) = collected.spans
    assert span.attributes["midstream.outcome"] == "closed"


async def test_a_span_has_its_parent(collected):
    tracer = collected.tracers.get_tracer("program")
    with tracer.start_as_current_span("request") as parent:
        await collected.follow(watch(["a"]))
    inner = next(span for span in collected.spans if span.name == "chat")
    assert inner.parent.span_id == parent.get_span_context().span_id


async def test_a_span_ends_once(collected):
    guard = watch(["a"])
    operation = collected.telemetry.start(provider="openai", operation="text_completion")
    guard.attach(operation)
    with pytest.raises(RefusedError, match="attached already"):
        guard.attach(operation)
    async for _ in guard:
        pass
    operation.close("failed")
    assert len(collected.spans) == 1
    assert collected.spans[0].attributes["midstream.outcome"] == "ended"
    with pytest.raises(RefusedError, match="over"):
        guard.attach(collected.telemetry.start(provider="openai"))


async def test_streams_of_a_proxy_belong_to_their_clients_spans(collected):
    async with (
        within(),
        Upstream(answer()) as upstream,
        proxied(
            upstream,
            observe=lambda request_id, api, guard: collected.telemetry.start(provider=api),
            wrap=collected.telemetry.asgi,
        ) as proxy,
    ):
        trace = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"
        request = post(PATHS["chat"]).replace(b"\r\n", f"\r\ntraceparent: {trace}\r\n".encode(), 1)
        assert split(await raw(proxy.url, request))[2] == answer()
        await raw(proxy.url, post(PATHS["chat"]))
    mine, other = collected.spans
    assert f"{mine.get_span_context().trace_id:x}" == "ab" * 16
    assert f"{mine.parent.span_id:x}" == "cd" * 8
    assert other.parent is None
    assert mine.attributes["gen_ai.usage.output_tokens"] == 5
    assert mine.attributes["midstream.outcome"] == "ended"


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"provider": ""}, ArgumentValueError, "provider must not be empty"),
        ({"provider": 3}, ArgumentTypeError, "provider must be str"),
        ({"server": "no host"}, ArgumentValueError, "server must be a URL with a host"),
        ({"server": "http://h:x"}, ArgumentValueError, "server must be a URL, got"),
        ({"server": 1}, ArgumentTypeError, "server must be a URL, got 1"),
    ],
)
def test_arguments(collected, given, error, says):
    with pytest.raises(error, match=says):
        collected.telemetry.start(**{"provider": "openai", **given})
