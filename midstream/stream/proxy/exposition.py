"""Counters of a proxy, as Prometheus reads them."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator

__all__ = ["Buckets", "ProxyMetrics"]

#: Seconds: doubling, as OpenTelemetry's conventions for generative AI have them.
SLOW_S = tuple(0.01 * 2**n for n in range(14))
#: The same for what takes microseconds.
FAST_S = tuple(1e-6 * 2**n for n in range(18))
#: Values of labels that a peer can choose: more are counted as ``other``.
_MOST_LABELS = 500


class Buckets:
    """A histogram with fixed bounds, in seconds.

    Examples
    --------
    >>> buckets = Buckets((1.0, 2.0))
    >>> buckets.add(1.5)
    >>> buckets.counts, buckets.sum_s
    ([0, 1, 0], 1.5)
    """

    __slots__ = ("bounds", "counts", "sum_s")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum_s = 0.0

    def add(self, value_s: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value_s)] += 1
        self.sum_s += value_s


class ProxyMetrics:
    """What a proxy counts.

    Attributes
    ----------
    streams_active : int
        Requests in flight.
    requests, refused, chunks, verdicts, stops, denied, failures, tokens : Counter
        By labels, as `text` names them.
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

    def text(self, chunks: Iterable[tuple[tuple[str, ...], int]] = ()) -> str:
        """Write everything in the text format of Prometheus, version 0.0.4.

        Parameters
        ----------
        chunks : iterable of (labels, int), optional
            Further chunks, of streams that are not over.
        """
        all_chunks = Counter(self.chunks)
        for labels, count in chunks:
            all_chunks[labels] += count
        lines = _gauge("streams_active", "Requests in flight.", self.streams_active)
        for name, help_text, labels, counter in (
            (
                "requests_total",
                "Requests, by what was answered.",
                ("provider", "status"),
                self.requests,
            ),
            ("refused_total", "Requests that were not passed on.", ("reason",), self.refused),
            ("chunks_total", "Events of answers.", ("provider", "channel"), all_chunks),
            ("verdicts_total", "Findings.", ("policy", "verdict"), self.verdicts),
            ("stops_total", "Streams that were ended by a rule.", ("reason",), self.stops),
            ("denied_total", "Tool calls that were replaced.", ("policy",), self.denied),
            (
                "failures_total",
                "Streams that ended otherwise than they should.",
                ("reason",),
                self.failures,
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
                self.reloads,
            ),
        ):
            lines += _counter(name, help_text, labels, counter)
        for name, help_text, labelled, buckets in (
            (
                "time_to_first_chunk_seconds",
                "From the request to the answer's first chunk.",
                "",
                self.first_chunk,
            ),
            ("inter_chunk_seconds", "From chunk to chunk.", "", self.between_chunks),
            (
                "detector_seconds",
                "What the rules took for a chunk.",
                'detector="all"',
                self.detectors,
            ),
        ):
            lines += _histogram(name, help_text, labelled, buckets)
        return "\n".join(lines) + "\n"


def _gauge(name: str, help_text: str, value: int) -> list[str]:
    name = f"midstream_{name}"
    return [f"# HELP {name} {help_text}", f"# TYPE {name} gauge", f"{name} {value}"]


def _counter(
    name: str, help_text: str, labels: tuple[str, ...], counter: Counter[tuple[str, ...]]
) -> Iterator[str]:
    name = f"midstream_{name}"
    yield f"# HELP {name} {help_text}"
    yield f"# TYPE {name} counter"
    for values, count in sorted(counter.items()):
        shown = ",".join(
            f'{label}="{_escaped(value)}"' for label, value in zip(labels, values, strict=True)
        )
        yield f"{name}{{{shown}}} {count}"


def _histogram(name: str, help_text: str, labelled: str, buckets: Buckets) -> Iterator[str]:
    name = f"midstream_{name}"
    yield f"# HELP {name} {help_text}"
    yield f"# TYPE {name} histogram"
    prefix = labelled + "," if labelled else ""
    total = 0
    for bound, count in zip((*buckets.bounds, None), buckets.counts, strict=True):
        total += count
        shown = "+Inf" if bound is None else f"{bound:.6g}"
        yield f'{name}_bucket{{{prefix}le="{shown}"}} {total}'
    braces = f"{{{labelled}}}" if labelled else ""
    yield f"{name}_sum{braces} {buckets.sum_s:.9g}"
    yield f"{name}_count{braces} {total}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
