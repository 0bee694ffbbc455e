"""What a watch has to say when all is over, or at any time before."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from midstream.stream.events import SEVERITIES, Finding

__all__ = ["Report"]

#: What findings carry that count what a text repeats.
_OF_A_TEXT = frozenset({"channel", "stream_id", "wasted_tokens"})


@dataclass(frozen=True, slots=True)
class Report:
    """Outcome of a watch.

    Parameters
    ----------
    outcome : str
        ``"running"``, ``"ended"`` (the source came to its end), ``"stopped"`` (a finding closed
        it), ``"failed"`` (the source broke), ``"closed"`` (the watch was closed from outside).
    findings : tuple of Finding
        All of them, in order.
    stopped : Finding or None
        The one that closed the source.
    error : str or None
        Why the source failed.
    errors : tuple of str
        Messages of ``error`` events that the stream carried.
    tokens : int or None
        Tokens up to now as midstream cuts them; None without a detector that counts.
    metrics : dict
        As `Metrics.to_dict` gives them: counts, seconds, and the provider's own usage.
    remarks : tuple of str
        What was given up to stay within memory.
    """

    outcome: str
    findings: tuple[Finding, ...]
    stopped: Finding | None
    error: str | None
    errors: tuple[str, ...]
    tokens: int | None
    metrics: dict[str, Any]
    remarks: tuple[str, ...] = ()

    @property
    def wasted_tokens(self) -> int:
        """Tokens that only repeated: all copies but the first of what was found."""
        total = 0
        spans = sorted(
            (
                f.evidence["channel"],
                f.evidence["stream_id"],
                f.start,
                f.end,
                f.evidence["wasted_tokens"],
            )
            for f in self.findings
            if f.evidence.keys() >= _OF_A_TEXT
        )
        text, reach, counted = None, 0, 0
        for channel, stream_id, start, end, wasted in spans:
            if text != (channel, stream_id) or start >= reach:  # what overlaps counts once
                text, reach, counted = (channel, stream_id), 0, 0
            total += max(0, wasted - counted)
            reach, counted = max(reach, end), max(counted, wasted)
        return total

    @property
    def worst(self) -> str | None:
        """Hardest severity among the findings; None without any."""
        found = {finding.severity for finding in self.findings}
        return next((severity for severity in reversed(SEVERITIES) if severity in found), None)

    def rows(self) -> Sequence[tuple[str, str]]:
        """Label and value of every line that a person wants to read."""
        metrics = self.metrics
        gaps = metrics["time_per_chunk_s"]
        rows = [("outcome", self.outcome if self.error is None else f"failed: {self.error}")]
        if self.stopped is not None:
            rows.append(("stopped by", self.stopped.message))
        rows.append(("findings", str(len(self.findings))))
        if self.tokens is not None:
            rows.append(("tokens spent", f"{self.tokens:,}"))
        if self.wasted_tokens:
            rows.append(("of these repeated", f"{self.wasted_tokens:,}"))
        usage = metrics["usage"]
        if usage:
            counts = {name: count for name, count in usage.items() if isinstance(count, int)}
            if counts:
                told = ", ".join(f"{name} {count:,}" for name, count in counts.items())
                rows.append(("provider's count", told))
        rows += [
            ("characters", f"{metrics['chars']:,}"),
            ("chunks", f"{metrics['chunks']:,}"),
            ("duration", duration(metrics["duration_s"])),
            ("time to first chunk", duration(metrics["time_to_first_chunk_s"])),
        ]
        if gaps["max"] is not None:
            times = [f"{name} {duration(gaps[name])}" for name in ("p50", "p99", "max")]
            rows.append(("time per chunk", ", ".join(times)))
        rows += [("stream error", message) for message in self.errors]
        rows += [("remark", remark) for remark in self.remarks]
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-ready dict."""
        return {
            "outcome": self.outcome,
            "error": self.error,
            "errors": list(self.errors),
            "stopped": None if self.stopped is None else self.stopped.to_dict(),
            "findings": [finding.to_dict() for finding in self.findings],
            "tokens": self.tokens,
            "wasted_tokens": self.wasted_tokens,
            "metrics": self.metrics,
            "remarks": list(self.remarks),
        }

    def __str__(self) -> str:
        rows = self.rows()
        width = max(len(label) for label, _ in rows)
        return "\n".join(f"{label:<{width}}  {value}" for label, value in rows)

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><th style='text-align:left'>{html.escape(label)}</th>"
            f"<td style='text-align:left'>{html.escape(value)}</td></tr>"
            for label, value in self.rows()
        )
        findings = "".join(
            f"<li><b>{html.escape(f.severity)}</b> {html.escape(f.message)}</li>"
            for f in self.findings
        )
        return f"<table>{cells}</table><ul>{findings}</ul>"


def duration(seconds: float | None) -> str:
    """Seconds for a person: ``950 µs``, ``12.3 ms``, ``4.56 s``; a dash for None."""
    if seconds is None:
        return "-"
    for factor, unit in ((1e6, "µs"), (1e3, "ms")):
        if seconds * factor < 1000:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.2f} s"
