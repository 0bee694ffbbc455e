"""``midstream proxy --otel``: what a collector on this machine gets."""

from __future__ import annotations

import contextlib
import gzip
import json
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2
import pytest
from apps.program import finished, read_until, started

trace_service = pytest.importorskip(
    "opentelemetry.proto.collector.trace.v1.trace_service_pb2",
    reason="OpenTelemetry's exporter is not installed: the extra otel",
)
metrics_service = pytest.importorskip(
    "opentelemetry.proto.collector.metrics.v1.metrics_service_pb2"
)

ANSWER = (
    b'data: {"id": "c-1", "model": "m-1", '
    b'"choices": [{"index": 0, "delta": {"content": "Hi"}}]}\n\n'
    b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\n'
    b'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}\n\n'
    b"data: [DONE]\n\n"
)


class Handler(BaseHTTPRequestHandler):
    """Answers requests for a model, and takes what is exported."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        if self.path.startswith("/v1/chat"):
            kind, answer = "text/event-stream", ANSWER
        else:
            kind, answer = "application/x-protobuf", b""
            self.server.taken.append((self.path, body))
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        """Say nothing."""


@contextlib.contextmanager
def collector():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.taken = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server, "http://127.0.0.1:{1}".format(*server.server_address)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def plain(attributes):
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


def test_spans_and_metrics_are_exported_when_it_ends():
    with collector() as (server, url):
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_SERVICE_NAME": "guard-7"}
        with started(
            "proxy", "--upstream", url, "--port", "0", "--otel", "--json", env=env
        ) as process:
            row = json.loads(read_until(process.stdout, b"\n").splitlines()[0])
            done = httpx2.post(
                row["url"] + "/v1/chat/completions",
                json={"model": "m", "stream": True, "messages": []},
                headers={"authorization": "Bearer sk-secret", "traceparent": TRACE},
            )
            assert done.content == ANSWER
            process.send_signal(signal.SIGTERM)
            assert finished(process).status == 128 + signal.SIGTERM
    spans, metrics = [], {}
    for path, body in server.taken:
        assert b"sk-secret" not in body
        if path.endswith("/traces"):
            sent = trace_service.ExportTraceServiceRequest.FromString(body)
            for resource in sent.resource_spans:
                assert plain(resource.resource.attributes)["service.name"] == "guard-7"
                spans += [span for scope in resource.scope_spans for span in scope.spans]
        else:
            sent = metrics_service.ExportMetricsServiceRequest.FromString(body)
            for resource in sent.resource_metrics:
                for scope in resource.scope_metrics:
                    metrics.update({metric.name: metric for metric in scope.metrics})
    (span,) = spans
    attributes = plain(span.attributes)
    assert (span.name, span.trace_id.hex()) == ("chat m", "ab" * 16)
    assert attributes["gen_ai.request.model"] == "m"
    assert attributes["gen_ai.response.model"] == "m-1"
    assert attributes["gen_ai.usage.output_tokens"] == 1
    assert attributes["midstream.request.id"]
    tokens = metrics["gen_ai.client.token.usage"].histogram.data_points
    assert sorted(point.sum for point in tokens) == [1, 3]
    assert {plain(point.attributes)["gen_ai.request.model"] for point in tokens} == {"m"}


TRACE = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"
