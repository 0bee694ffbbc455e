"""Counters, gauges and histograms, in the text that Prometheus reads and for its own client."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from midstream._core.errors import ArgumentTypeError

if TYPE_CHECKING:
    from prometheus_client.core import Metric

__all__ = [
    "CONTENT_TYPE",
    "Buckets",
    "Collector",
    "Family",
    "HasFamilies",
    "exposition",
    "server_families",
]

#: What an endpoint says that it answers with.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "midstream_"


class Buckets:
    """A histogram with fixed bounds, in seconds.

    Parameters
    ----------
    bounds : tuple of float
        Upper bounds, ascending; a last bucket without bound is added.

    Attributes
    ----------
    counts : list of int
        Values in each bucket.
    sum_s : float
        Their sum.

    Notes
    -----
    0.2 microseconds a value. Not thread-safe.

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


@dataclass(frozen=True, slots=True)
class Family:
    """One metric with all its labels.

    Parameters
    ----------
    name : str
        Without the prefix ``midstream_``; in seconds, bytes, or ending in ``_total``.
    kind : {"counter", "gauge", "histogram"}
    help : str
        One sentence.
    labels : tuple of str
        Names of labels.
    samples : mapping of tuple of str to number or Buckets
        Values by labels' values.

    Examples
    --------
    >>> stops = Family("stops_total", "counter", "Streams ended.", ("reason",), {("loop",): 2})
    >>> print(exposition([stops]), end="")
    # HELP midstream_stops_total Streams ended.
    # TYPE midstream_stops_total counter
    midstream_stops_total{reason="loop"} 2
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...]
    samples: Mapping[tuple[str, ...], float | Buckets]


class HasFamilies(Protocol):
    """What can be shown: it lists its metrics."""

    def families(self) -> Iterable[Family]:
        """List the metrics as they are now."""
        ...


def exposition(families: Iterable[Family]) -> str:
    """Write metrics in the text format of Prometheus, version 0.0.4.

    Parameters
    ----------
    families : iterable of Family

    Returns
    -------
    str
        Ends with a line feed. To be sent as `CONTENT_TYPE`.

    Notes
    -----
    About 2 microseconds a line.
    """
    lines: list[str] = []
    for family in families:
        name = _PREFIX + family.name
        lines.append(f"# HELP {name} {_help(family.help)}")
        lines.append(f"# TYPE {name} {family.kind}")
        for values, sample in sorted(family.samples.items(), key=lambda item: item[0]):
            labels = _labels(family.labels, values)
            if isinstance(sample, Buckets):
                lines += _histogram(name, labels, sample)
            else:
                lines.append(f"{name}{_braced(labels)} {_number(sample)}")
    return "".join(line + "\n" for line in lines)


def server_families(*, ready: bool) -> Iterator[Family]:
    """List what every server says of itself: its version, and whether work may be sent to it.

    Parameters
    ----------
    ready : bool

    Yields
    ------
    Family

    Examples
    --------
    >>> [family.name for family in server_families(ready=True)]
    ['build_info', 'ready']
    """
    from midstream import __version__

    yield Family(
        "build_info", "gauge", "Which version runs; always 1.", ("version",), {(__version__,): 1}
    )
    yield Family("ready", "gauge", "Whether work may be sent here.", (), {(): int(ready)})


def _histogram(name: str, labels: str, buckets: Buckets) -> Iterator[str]:
    prefix = labels + "," if labels else ""
    total = 0
    for bound, count in zip((*buckets.bounds, None), buckets.counts, strict=True):
        total += count
        shown = "+Inf" if bound is None else f"{bound:.6g}"
        yield f'{name}_bucket{{{prefix}le="{shown}"}} {total}'
    yield f"{name}_sum{_braced(labels)} {buckets.sum_s!r}"
    yield f"{name}_count{_braced(labels)} {total}"


def _labels(names: Sequence[str], values: Sequence[str]) -> str:
    return ",".join(
        f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)
    )


def _braced(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else repr(float(value))


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


class Collector:
    """Shows metrics in a registry of ``prometheus_client``, beside those of the program.

    Parameters
    ----------
    metrics : HasFamilies
        A proxy's, a server's, or your own.

    Raises
    ------
    ArgumentTypeError
        `metrics` lists no families.
    ImportError
        The extra ``prometheus`` is not installed.

    Examples
    --------
    >>> from prometheus_client import CollectorRegistry, generate_latest
    >>> from midstream.stream.proxy import ProxyMetrics
    >>> registry = CollectorRegistry()
    >>> registry.register(Collector(ProxyMetrics()))
    >>> b"midstream_streams_active 0.0" in generate_latest(registry)
    True
    """

    def __init__(self, metrics: HasFamilies) -> None:
        if not callable(getattr(metrics, "families", None)):
            raise ArgumentTypeError(f"metrics must list its families, got {type(metrics).__name__}")
        try:
            import prometheus_client  # noqa: F401
        except ImportError as error:
            raise ImportError(
                f'{error}; its client comes with `pip install "midstream[prometheus]"`'
            ) from error
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """Yield what the registry asks for."""
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        for family in self._metrics.families():
            name, labels = _PREFIX + family.name, list(family.labels)
            shown: CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
            if family.kind == "histogram":
                shown = HistogramMetricFamily(name, family.help, labels=labels)
                for values, sample in family.samples.items():
                    if isinstance(sample, Buckets):
                        shown.add_metric(list(values), _cumulative(sample), sample.sum_s)
            else:
                make = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
                shown = make(name, family.help, labels=labels)
                for values, sample in family.samples.items():
                    if not isinstance(sample, Buckets):
                        shown.add_metric(list(values), sample)
            yield shown


def _cumulative(buckets: Buckets) -> list[tuple[str, float]]:
    total, rows = 0, []
    for bound, count in zip((*buckets.bounds, None), buckets.counts, strict=True):
        total += count
        rows.append(("+Inf" if bound is None else f"{bound:.6g}", float(total)))
    return rows
