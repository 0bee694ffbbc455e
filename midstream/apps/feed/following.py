"""A source watched to its end, into a feed."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from midstream._core.errors import MidstreamError
from midstream.stream import Detector, Event, Finding, Report, Source, watch

if TYPE_CHECKING:
    from midstream.apps.feed.feeds import Feed
    from midstream.apps.feed.streams import FeedStream
    from midstream.stream import Watch
    from midstream.stream.policies import PoliciesLike

__all__ = ["Verdicts", "follow"]


class Verdicts:
    """How policies stand, from what a guard says of them.

    Parameters
    ----------
    names : iterable of str
        Of all policies.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(names)
        self._violated: set[str] = set()
        self._over = False

    def __bool__(self) -> bool:
        return bool(self._names)

    def found(self, finding: Finding) -> None:
        """Take note of a finding, if it is a policy's."""
        rule = finding.evidence.get("rule")
        if finding.kind == "policy" and isinstance(rule, str):
            self._violated.add(rule)

    def tell(self, stream: FeedStream, owed: Iterable[str], *, over: bool = False) -> None:
        """Tell a stream; `owed` are the rules that would be broken if it ended now.

        Once `over`, what holds is satisfied, and stays so.
        """
        self._over = self._over or over
        owing = set(owed)
        for name in self._names:
            if name in self._violated:
                stream.verdict(name, "violated")
            elif name in owing:
                stream.verdict(name, "owed")
            else:
                stream.verdict(name, "satisfied" if self._over else "holds")


async def follow(
    feed: Feed,
    source: Source | AsyncIterable[Any] | Iterable[Any],
    name: str,
    *,
    detectors: Iterable[Detector] | None,
    policies: PoliciesLike,
    labels: Mapping[str, str] | None,
) -> Report:
    """`Feed.follow`."""
    guard: Watch
    stream: FeedStream

    def owed() -> Iterable[str]:
        return (obligation.rule for obligation in guard.open_obligations)

    def found(finding: Finding) -> None:
        stream.finding(finding)
        verdicts.found(finding)

    chosen: PoliciesLike = ()
    names: list[str] = []
    if policies != ():
        from midstream.stream.policies import as_policies

        chosen = as_policies(policies)
        names = [policy.name for policy in chosen]
    verdicts = Verdicts(names)
    guard = watch(source, detectors=detectors, policies=chosen, on_finding=found)
    poll = None if not names else lambda: verdicts.tell(stream, owed())
    stream = feed.open(name, labels=labels, poll=poll)
    if names:
        verdicts.tell(stream, ())
    error: str | None = None
    failed = True
    take = stream.event
    try:
        async with guard:
            event: Event
            async for event in guard:
                take(event)
        failed = False
    except MidstreamError as problem:
        error = str(problem)
    finally:
        report = guard.report()
        if names:
            outcome_known = report.outcome in ("ended", "stopped")
            verdicts.tell(stream, owed(), over=outcome_known)
        if failed and report.outcome in ("ended", "running"):
            stream.close("failed", error)
        else:
            stream.close(report.outcome, report.error if error is None else error)
    return report
