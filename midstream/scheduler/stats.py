"""`Stats`: what `Scheduler.stats` returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from midstream.scheduler._histogram_text import format_ns

if TYPE_CHECKING:
    from midstream.scheduler._histogram import Histogram

__all__ = ["Stats"]


@dataclass(frozen=True, slots=True)
class Stats(Mapping[str, Any]):
    """Counters of a scheduler, all of one moment; also a mapping: ``dict(stats)``.

    ``submitted == completed + cancelled + dropped + pending`` holds always. Each release of a
    periodic task counts as submitted when the task begins to wait for it.

    Attributes
    ----------
    submitted : int
        Tasks that were taken.
    completed : int
        Handed out, or run to the end, or ended by an exception.
    late_start, late_finish : int
        Handed out or begun, and ended, after their deadline.
    cancelled : int
        Taken back by `Scheduler.cancel` or `Scheduler.clear`.
    rejected : int
        Never taken: full, or refused by admission control. Not among the submitted.
    dropped : int
        Thrown out for another task, by ``overload``.
    pending : int
        Ready, running, or waiting for their time.
    running, waiting : int
        Of the pending.
    missed : int
        Releases of periodic tasks that never came to be, because their time passed while the one
        before was pending. Not among the submitted.
    failed : int
        Of the completed: ended by an exception.
    unrecorded : int
        Latencies that no memory could be had for; 0 on a sound machine.
    latency : Histogram
        Nanoseconds from submission, or from the time asked for, until handed out or begun. A copy.
    """

    submitted: int
    completed: int
    late_start: int
    late_finish: int
    cancelled: int
    rejected: int
    dropped: int
    pending: int
    running: int
    waiting: int
    missed: int
    failed: int
    unrecorded: int
    latency: Histogram

    def __getitem__(self, name: str) -> Any:
        if name not in self.__dataclass_fields__:
            raise KeyError(name)
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return (field.name for field in fields(self))

    def __len__(self) -> int:
        return len(self.__dataclass_fields__)

    def __repr__(self) -> str:
        counts = " ".join(
            f"{name}={self[name]}" for name in self if name != "latency" and self[name]
        )
        latency = self.latency
        times = "".join(
            f" {name}={format_ns(ns)}"
            for name, ns in (("p50", latency.quantile(0.5)), ("p99", latency.quantile(0.99)))
        )
        return f"<Stats {counts or 'nothing submitted'}{times if latency.count else ''}>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{name.replace('_', ' ')}</th><td>{self[name]:,}</td></tr>"
            for name in self
            if name != "latency"
        )
        return f"<table>{rows}</table>latency{self.latency._repr_html_()}"
