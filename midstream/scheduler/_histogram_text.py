"""Histograms as a person reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from midstream.scheduler._histogram import Histogram

__all__ = ["format_ns", "histogram_html", "histogram_line"]

_UNITS = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us"))


def format_ns(nanoseconds: float) -> str:
    """Nanoseconds with three significant digits and a unit: ``'12.3ms'``.

    Examples
    --------
    >>> [format_ns(ns) for ns in (0, 999, 1_000, 12_345_678, 999_999_999, 95_000_000_000)]
    ['0ns', '999ns', '1.00us', '12.3ms', '1000ms', '95.0s']
    """
    for size, unit in _UNITS:
        if nanoseconds >= size:
            number = nanoseconds / size
            decimals = 2 if number < 9.995 else 1 if number < 99.95 else 0
            return f"{number:.{decimals}f}{unit}"
    return f"{nanoseconds:.0f}ns"


def histogram_line(histogram: Histogram) -> str:
    """The line that ``repr`` shows."""
    overflow = f" overflow={histogram.overflow}" if histogram.overflow else ""
    return (
        f"<{type(histogram).__name__} count={histogram.count}"
        f" p50={format_ns(histogram.quantile(0.5))}"
        f" p99={format_ns(histogram.quantile(0.99))}"
        f" max={format_ns(histogram.max)}{overflow}>"
    )


def histogram_html(histogram: Histogram) -> str:
    """A small table for notebooks."""
    cells = {"count": f"{histogram.count:,}", "mean": format_ns(histogram.mean)}
    cells["min"] = format_ns(histogram.min)
    cells |= {f"p{p:g}": format_ns(histogram.percentile(p)) for p in (50, 90, 99, 99.9)}
    cells["max"] = format_ns(histogram.max)
    if histogram.overflow:
        cells["overflow"] = f"{histogram.overflow:,}"
    head = "".join(f"<th>{name}</th>" for name in cells)
    body = "".join(f"<td>{text}</td>" for text in cells.values())
    return f"<table><thead><tr>{head}</tr></thead><tbody><tr>{body}</tr></tbody></table>"
