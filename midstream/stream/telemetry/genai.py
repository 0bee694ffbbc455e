"""Spans and metrics of streams, under OpenTelemetry's names for generative AI."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from midstream._core.clock import monotonic_ns, s_from_ns
from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_text
from midstream.stream.events import Event, Finding
from midstream.stream.formats.counts import token_counts

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider

__all__ = ["Operation", "Telemetry"]

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]

#: Buckets that the conventions recommend: times double, tokens go by powers of four.
_SECONDS = tuple(0.01 * 2**n for n in range(14))
_TOKENS = tuple(float(4**n) for n in range(14))
#: Findings of one stream that become events of its span; all are counted.
_MOST_SPAN_EVENTS = 100
#: Finish reasons, names of models and ids come from a peer.
_MOST_CHARS = 200
_MOST_REASONS = 16


class Telemetry:
    """Makes a span and metrics of every stream that is told to it.

    Parameters
    ----------
    tracer_provider : opentelemetry.trace.TracerProvider, optional
        Default: the global one.
    meter_provider : opentelemetry.metrics.MeterProvider, optional
        Default: the global one.

    Raises
    ------
    ImportError
        The extra ``otel`` is not installed.

    Notes
    -----
    **Spans** are named ``{operation} {model}`` and of kind *client*. They carry
    ``gen_ai.operation.name``, ``gen_ai.provider.name``, ``gen_ai.request.model``,
    ``gen_ai.response.model``, ``gen_ai.response.id``, ``gen_ai.response.finish_reasons``,
    ``gen_ai.usage.input_tokens`` and ``output_tokens``, ``server.address``, ``server.port``,
    ``error.type``, and of midstream's own ``midstream.outcome`` and ``midstream.findings``. Each
    finding is an event ``midstream.finding`` with its kind, severity, rule and place. No text of a
    stream is in them, nor a message, which may quote one.

    **Metrics** are ``gen_ai.client.operation.duration``,
    ``gen_ai.client.operation.time_to_first_chunk``,
    ``gen_ai.client.operation.time_per_output_chunk`` (seconds) and
    ``gen_ai.client.token.usage`` (tokens as the provider counted them, by ``gen_ai.token.type``;
    never an estimate), and ``midstream.findings``, ``midstream.stops``,
    ``midstream.denied_calls``.

    The conventions have the status *Development* [1]_.

    Thread-safe, as its providers are; an `Operation` belongs to one stream.

    References
    ----------
    .. [1] OpenTelemetry, "Semantic conventions for generative AI systems".

    Examples
    --------
    >>> import asyncio
    >>> from midstream.stream import from_iterable, watch
    >>> telemetry = Telemetry()
    >>> async def main():
    ...     guard = watch(from_iterable(["Once ", "upon"]))
    ...     guard.attach(telemetry.start(provider="openai", model="gpt-x"))
    ...     async for event in guard:
    ...         print(event.text, end="")
    >>> asyncio.run(main())
    Once upon
    """

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        from midstream import __version__

        try:
            from opentelemetry import metrics, trace
        except ImportError as error:
            raise ImportError(
                f'{error}; OpenTelemetry comes with `pip install "midstream[otel]"`'
            ) from error

        self._tracer = trace.get_tracer("midstream", __version__, tracer_provider)
        meter = metrics.get_meter("midstream", __version__, meter_provider)

        def seconds(name: str, description: str) -> Any:
            return meter.create_histogram(
                f"gen_ai.client.operation.{name}",
                unit="s",
                description=description,
                explicit_bucket_boundaries_advisory=_SECONDS,
            )

        self._duration = seconds("duration", "From the request to the end of the answer.")
        self._first = seconds("time_to_first_chunk", "From the request to the first chunk.")
        self._gaps = seconds("time_per_output_chunk", "From chunk to chunk.")
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Tokens read and written, as the provider counted them.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        self._findings = meter.create_counter(
            "midstream.findings", unit="{finding}", description="Findings in streams."
        )
        self._stops = meter.create_counter(
            "midstream.stops", unit="{stream}", description="Streams that a finding ended."
        )
        self._denied = meter.create_counter(
            "midstream.denied_calls", unit="{call}", description="Tool calls that were denied."
        )

    def start(
        self,
        *,
        provider: str,
        operation: str = "chat",
        model: str | Callable[[], str | None] | None = None,
        server: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> Operation:
        """Begin the span of a stream, in the current context.

        Parameters
        ----------
        provider : str
            ``gen_ai.provider.name``: ``openai``, ``anthropic``, ``ollama``, ...
        operation : str, default "chat"
            ``gen_ai.operation.name``: ``chat``, ``text_completion``, ``generate_content``, ...
        model : str or callable, optional
            The model asked for. A callable is asked for it when the answer begins: a request may
            be read after the span has begun.
        server : str, optional
            URL of the server; only host and port are taken from it.
        attributes : mapping, optional
            Further attributes of the span (not of the metrics).

        Returns
        -------
        Operation

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            An argument cannot be used.
        """
        labels: dict[str, Any] = {
            "gen_ai.operation.name": _named("operation", operation),
            "gen_ai.provider.name": _named("provider", provider),
        }
        later = model if callable(model) else None
        if model is not None and not callable(model):
            labels["gen_ai.request.model"] = _named("model", model)
        if server is not None:
            labels.update(_address(server))
        from opentelemetry.trace import SpanKind

        span = self._tracer.start_span(
            operation if later is not None or not model else f"{operation} {model}",
            kind=SpanKind.CLIENT,
            attributes={**(attributes or {}), **labels},
        )
        return Operation(self, span, labels, later)

    def asgi(self, application: Application) -> Application:
        """Let spans of an ASGI application belong to those of its clients.

        Parameters
        ----------
        application : ASGI application
            A `midstream.stream.proxy.Proxy`, for example.

        Returns
        -------
        ASGI application
            The same, in the context that the header ``traceparent`` of a request names.

        Notes
        -----
        Some 5 microseconds a request. The header still reaches the upstream as it came.
        """
        from opentelemetry import context, propagate

        async def within(scope: dict[str, Any], receive: Any, send: Any) -> None:
            names = (b"traceparent", b"tracestate", b"baggage")
            carrier = {
                name.decode("latin-1"): value.decode("latin-1")
                for name, value in scope.get("headers", ())
                if name in names
            }
            if not carrier:
                await application(scope, receive, send)
                return
            token = context.attach(propagate.extract(carrier))
            try:
                await application(scope, receive, send)
            finally:
                context.detach(token)

        return within


@dataclass
class _Known:
    """What an answer said of itself."""

    model: str | None = None
    id: str | None = None


class Operation:
    """The span of one stream, and its part in the metrics. Made by `Telemetry.start`.

    A `StreamObserver`: `Watch.attach`, `Guard.attach` or the ``observe`` of a proxy ties it to one.

    Notes
    -----
    1 microsecond an event and 4 a chunk, most of it in the SDK's histogram. Closing twice does
    nothing. Not thread-safe.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        span: Span,
        labels: dict[str, Any],
        model: Callable[[], str | None] | None = None,
    ) -> None:
        self._telemetry = telemetry
        self._span = span
        self._labels = labels
        self._ask_model = model
        self._began_ns = monotonic_ns()
        self._known = _Known()
        self._reasons: list[str] = []
        self._usage: dict[str, Any] = {}
        self._first_ns: int | None = None
        self._last_ns = 0
        self._events_left = _MOST_SPAN_EVENTS
        self._count = 0
        self._error = ""
        self._over = False

    @property
    def span(self) -> Span:
        """OpenTelemetry's own."""
        return self._span

    def event(self, event: Event, gap_ns: int | None = None) -> None:
        """Take note of one event.

        Parameters
        ----------
        event : Event
            With its arrival time, counted from the request.
        gap_ns : int, optional
            Nanoseconds from the event before, without those that its reader took; by default the
            difference of their times.
        """
        t_ns = event.t_ns
        if self._first_ns is None:
            self._first_ns = t_ns
            self._labels.update(self._named_by_request())
            self._telemetry._first.record(s_from_ns(t_ns), self._labels)
        elif t_ns != self._last_ns:  # events of one arrival are one chunk
            gap_ns = t_ns - self._last_ns if gap_ns is None else gap_ns
            self._telemetry._gaps.record(s_from_ns(max(0, gap_ns)), self._labels)
        self._last_ns = t_ns
        kind = event.kind
        data = event.data
        if isinstance(data, Mapping) and (self._known.model is None or self._known.id is None):
            self._learn(data)
        if kind == "usage" and isinstance(data, Mapping):
            self._take_usage(data)
        elif kind == "end":
            if event.text and len(self._reasons) < _MOST_REASONS:
                self._reasons.append(event.text[:_MOST_CHARS])
        elif kind == "error" and not self._error:
            self._error = "stream_error"

    def finding(self, finding: Finding) -> None:
        """Count a finding, and make it an event of the span."""
        self._count += 1
        rule = finding.evidence.get("rule")
        own: dict[str, Any] = {
            "midstream.finding.kind": finding.kind,
            "midstream.finding.severity": finding.severity,
        }
        if isinstance(rule, str):
            own["midstream.rule"] = rule[:_MOST_CHARS]
        labels = {**self._labels, **own}
        self._telemetry._findings.add(1, labels)
        if finding.severity == "block":
            self._telemetry._denied.add(1, labels)
        if self._events_left:
            self._events_left -= 1
            own["midstream.finding.start"] = finding.start
            own["midstream.finding.end"] = finding.end
            own["midstream.finding.seq"] = finding.seq
            self._span.add_event("midstream.finding", own)

    def close(self, outcome: str = "ended", error: Exception | None = None) -> None:
        """End the span.

        Parameters
        ----------
        outcome : str, default "ended"
            As `Report.outcome` has it. That midstream stopped the stream is no error.
        error : Exception, optional
            What broke the stream; its class is the ``error.type``, its message is left out.
        """
        if self._over:
            return
        self._over = True
        # Without an answer in the span alone: any name can be asked for, and each is a series.
        self._named_by_request()
        if outcome == "stopped":
            self._telemetry._stops.add(1, self._labels)
        name = "" if error is None else type(error).__qualname__
        if not name and outcome == "failed":
            name = "stream_failed"
        self._end(outcome, name or self._error)

    def _named_by_request(self) -> dict[str, str]:
        """Name the span by the model asked for, if that is known only now; a label of it."""
        ask, self._ask_model = self._ask_model, None
        model = None if ask is None else ask()
        if not model:
            return {}
        model = model[:_MOST_CHARS]
        self._span.update_name(f"{self._labels['gen_ai.operation.name']} {model}")
        self._span.set_attribute("gen_ai.request.model", model)
        return {"gen_ai.request.model": model}

    def _learn(self, data: Mapping[str, Any]) -> None:
        """Which model answers, under which id: at the top, or in what a provider wraps it in."""
        known = self._known
        for inner in (data, data.get("response"), data.get("message")):
            if not isinstance(inner, Mapping):
                continue
            model = inner.get("model", inner.get("modelVersion"))
            if known.model is None and isinstance(model, str) and model:
                known.model = model[:_MOST_CHARS]
                answer = inner.get("id", inner.get("responseId"))
                if known.id is None and isinstance(answer, str) and answer:
                    known.id = answer[:_MOST_CHARS]

    def _take_usage(self, data: Mapping[str, Any]) -> None:
        usage = data.get("usage", data)
        if isinstance(usage, Mapping):
            self._usage.update(usage)

    def _end(self, outcome: str, error: str) -> None:
        span, labels = self._span, dict(self._labels)
        counts = token_counts(self._usage)
        if self._known.model is not None:
            labels["gen_ai.response.model"] = self._known.model
        for token_type in ("input", "output"):
            tokens = counts.get(f"{token_type}_tokens")
            if tokens is not None:
                span.set_attribute(f"gen_ai.usage.{token_type}_tokens", tokens)
                self._telemetry._tokens.record(tokens, {**labels, "gen_ai.token.type": token_type})
        if error:
            labels["error.type"] = error
            from opentelemetry.trace import StatusCode

            span.set_status(StatusCode.ERROR)
        self._telemetry._duration.record(s_from_ns(monotonic_ns() - self._began_ns), labels)
        span.set_attributes(
            {name: value for name, value in labels.items() if name not in self._labels}
        )
        if self._known.id is not None:
            span.set_attribute("gen_ai.response.id", self._known.id)
        if self._reasons:
            span.set_attribute("gen_ai.response.finish_reasons", self._reasons)
        span.set_attribute("midstream.outcome", outcome)
        span.set_attribute("midstream.findings", self._count)
        span.end()


def _named(name: str, value: str) -> str:
    if not check_text(name, value):
        raise ArgumentValueError(f"{name} must not be empty")
    return value[:_MOST_CHARS]


def _address(server: str) -> dict[str, Any]:
    if not isinstance(server, str):
        raise ArgumentTypeError(f"server must be a URL, got {server!r}")
    try:
        url = urlsplit(server)
        port = url.port
    except ValueError:
        raise ArgumentValueError(f"server must be a URL, got {server!r}") from None
    if not url.hostname:
        raise ArgumentValueError(f"server must be a URL with a host, got {server!r}")
    port = port or {"http": 80, "https": 443, "ws": 80, "wss": 443}.get(url.scheme)
    return {"server.address": url.hostname} | ({} if port is None else {"server.port": port})
