"""Counters of a proxy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from midstream.stream.telemetry.prometheus import Buckets, Family, exposition

__all__ = ["ProxyMetrics"]

#: Seconds: doubling, as OpenTelemetry's conventions for generative AI have them.
SLOW_S = tuple(0.01 * 2**n for n in range(14))
#: The same for what takes microseconds.
FAST_S = tuple(1e-6 * 2**n for n in range(18))
#: What alerts ask for: 0 until it happens, since of a counter that first appears as 1 Prometheus
#: sees no increase.
_REFUSED = ("memory", "pool", "streams", "upstream")
_FAILURES = ("internal", "recording")
_RELOADS = ("broken", "read")
#: Values of labels that a peer can choose: more are counted as ``other``.
_MOST_LABELS = 500


class ProxyMetrics:
    """What a proxy counts.

    Attributes
    ----------
    streams_active : int
        Requests in flight.
    requests, refused, chunks, verdicts, stops, denied, failures, tokens, reloads : Counter
        By labels, as `families` names them.
    first_chunk, between_chunks, detectors : Buckets
        Seconds to the first chunk of an answer, from chunk to chunk, and that the rules took for
        one.

    Notes
    -----
    Nothing of a request is in it but which API it was for: no keys, no texts, no ids.

    Examples
    --------
    >>> metrics = ProxyMetrics()
    >>> metrics.stops["loop",] += 1
    >>> [line for line in metrics.text().splitlines() if "stops_total{" in line]
    ['midstream_stops_total{reason="loop"} 1']
    """

    def __init__(self) -> None:
        self.streams_active = 0
        self.requests: Counter[tuple[str, ...]] = Counter()
        self.refused: Counter[tuple[str, ...]] = Counter()
        self.chunks: Counter[tuple[str, ...]] = Counter()
        self.verdicts: Counter[tuple[str, ...]] = Counter()
        self.stops: Counter[tuple[str, ...]] = Counter()
        self.denied: Counter[tuple[str, ...]] = Counter()
        self.failures: Counter[tuple[str, ...]] = Counter()
        self.tokens: Counter[tuple[str, ...]] = Counter()
        self.reloads: Counter[tuple[str, ...]] = Counter()
        self.first_chunk = Buckets(SLOW_S)
        self.between_chunks = Buckets(SLOW_S)
        self.detectors = Buckets(FAST_S)

    def verdict(self, rule: str, severity: str) -> None:
        """Count a finding."""
        key = (rule, severity)
        if key not in self.verdicts and len(self.verdicts) >= _MOST_LABELS:
            key = ("other", severity)
        self.verdicts[key] += 1

    def families(self, chunks: Iterable[tuple[tuple[str, ...], int]] = ()) -> Iterator[Family]:
        """List the metrics as they are now.

        Parameters
        ----------
        chunks : iterable of (labels, int), optional
            Further chunks, of streams that are not over.
        """
        all_chunks = Counter(self.chunks)
        for labels, count in chunks:
            all_chunks[labels] += count
        yield Family(
            "streams_active", "gauge", "Requests in flight.", (), {(): self.streams_active}
        )
        for name, help_text, labels, counter in (
            (
                "requests_total",
                "Requests, by what was answered.",
                ("provider", "status"),
                self.requests,
            ),
            (
                "refused_total",
                "Requests that were not passed on.",
                ("reason",),
                _from_zero(_REFUSED, self.refused),
            ),
            ("chunks_total", "Events of answers.", ("provider", "channel"), all_chunks),
            ("verdicts_total", "Findings.", ("policy", "verdict"), self.verdicts),
            ("stops_total", "Streams that were ended by a rule.", ("reason",), self.stops),
            ("denied_total", "Tool calls that were replaced.", ("policy",), self.denied),
            (
                "failures_total",
                "Streams that ended otherwise than they should.",
                ("reason",),
                _from_zero(_FAILURES, self.failures),
            ),
            (
                "estimated_tokens_total",
                "Tokens of streams that were ended before their count came,"
                " estimated from their characters.",
                ("provider",),
                self.tokens,
            ),
            (
                "rules_reloads_total",
                "Times that the file of rules was read anew.",
                ("outcome",),
                _from_zero(_RELOADS, self.reloads),
            ),
        ):
            yield Family(name, "counter", help_text, labels, counter)
        for name, help_text, labelled, buckets in (
            (
                "time_to_first_chunk_seconds",
                "From the request to the answer's first chunk.",
                {},
                self.first_chunk,
            ),
            ("inter_chunk_seconds", "From chunk to chunk.", {}, self.between_chunks),
            (
                "detector_seconds",
                "What the rules took for a chunk.",
                {"detector": "all"},
                self.detectors,
            ),
        ):
            values = tuple(labelled.values())
            yield Family(name, "histogram", help_text, tuple(labelled), {values: buckets})

    def text(self, chunks: Iterable[tuple[tuple[str, ...], int]] = ()) -> str:
        """Write everything in the text format of Prometheus, version 0.0.4.

        Parameters
        ----------
        chunks : iterable of (labels, int), optional
            Further chunks, of streams that are not over.
        """
        return exposition(self.families(chunks))


def _from_zero(
    values: Iterable[str], counter: Counter[tuple[str, ...]]
) -> dict[tuple[str, ...], int]:
    """What has been counted, and 0 for those that have not."""
    return {**{(value,): 0 for value in values}, **counter}
