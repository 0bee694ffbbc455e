"""Spans and metrics of streams, under OpenTelemetry's names for generative AI."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from midstream._core.clock import monotonic_ns, s_from_ns
from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_text
from midstream.stream.events import Event, Finding
from midstream.stream.formats.counts import token_counts

if TYPE_CHECKING:
    from types import TracebackType

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider

    from midstream.stream.report import Report
    from midstream.stream.watching import Watch

__all__ = ["Operation", "Telemetry"]

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
    ...     async for event in telemetry.follow(guard, provider="openai", model="gpt-x"):
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
        model: str | None = None,
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
        model : str, optional
            The model asked for.
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
        if model is not None:
            labels["gen_ai.request.model"] = _named("model", model)
        if server is not None:
            labels.update(_address(server))
        from opentelemetry.trace import SpanKind

        span = self._tracer.start_span(
            f"{operation} {model}" if model else operation,
            kind=SpanKind.CLIENT,
            attributes={**(attributes or {}), **labels},
        )
        return Operation(self, span, labels)

    async def follow(
        self,
        watch: Watch,
        *,
        provider: str,
        operation: str = "chat",
        model: str | None = None,
        server: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Hand on the events of a watch, with a span around them.

        Parameters
        ----------
        watch : Watch
            One whose iteration has not begun.
        provider, operation, model, server, attributes
            As for `start`.

        Yields
        ------
        Event

        Notes
        -----
        Leaving the iteration early ends the span, and closes the watch once the generator is
        closed. 1 microsecond an event and 4 a chunk, most of it in the SDK's histogram. Of one
        stream, the first 1,000 findings are counted, as `Watch.findings` has them.
        """
        with self.start(
            provider=provider,
            operation=operation,
            model=model,
            server=server,
            attributes=attributes,
        ) as span:
            seen = 0
            failure: Exception | None = None
            try:
                async with aclosing(watch):
                    async for event in watch:
                        span.event(event)
                        if len(watch.findings) > seen:
                            for finding in watch.findings[seen:]:
                                span.finding(finding)
                            seen = len(watch.findings)
                        yield event
            except Exception as error:
                failure = error
                raise
            finally:
                for finding in watch.findings[seen:]:
                    span.finding(finding)
                span.end(watch.report(), error=failure)


@dataclass
class _Known:
    """What an answer said of itself."""

    model: str | None = None
    id: str | None = None


class Operation:
    """The span of one stream, and its part in the metrics. Made by `Telemetry.start`.

    Notes
    -----
    A context manager: what leaves it by an exception is ended as failed. Ending twice does nothing.
    """

    def __init__(self, telemetry: Telemetry, span: Span, labels: dict[str, Any]) -> None:
        self._telemetry = telemetry
        self._span = span
        self._labels = labels
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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None or kind is GeneratorExit:
            self._end("closed", "")
        else:
            self._end("failed", kind.__qualname__)

    def event(self, event: Event) -> None:
        """Take note of one event.

        Parameters
        ----------
        event : Event
            With its arrival time, counted from the request.
        """
        t_ns = event.t_ns
        if self._first_ns is None:
            self._first_ns = t_ns
            self._telemetry._first.record(s_from_ns(t_ns), self._labels)
        elif t_ns != self._last_ns:  # events of one arrival are one chunk
            self._telemetry._gaps.record(s_from_ns(max(0, t_ns - self._last_ns)), self._labels)
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

    def end(self, report: Report, *, error: BaseException | None = None) -> None:
        """End the span as the report says.

        Parameters
        ----------
        report : Report
            Of the watch, when it is over.
        error : BaseException, optional
            What broke the stream; its class is the ``error.type``.

        Raises
        ------
        ArgumentValueError
            The report is of a watch that still runs.
        """
        outcome = report.outcome
        if outcome == "running":
            raise ArgumentValueError("report is of a watch that still runs: outcome is 'running'")
        if outcome == "stopped":  # midstream did what it is for: no error
            self._telemetry._stops.add(1, self._labels)
        name = "" if error is None else type(error).__qualname__
        if not name and outcome == "failed":
            name = "stream_failed"
        self._end(outcome, name or self._error)

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
        if self._over:
            return
        self._over = True
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
