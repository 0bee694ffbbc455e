"""`Judgement`: steps, the books that judge them, and what comes of what they say."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from midstream._core.clock import NS_PER_S, s_from_ns
from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream.logic import Finding as Verdict
from midstream.logic import Outlook, RuleBook
from midstream.stream.events import Denial, Finding, Severity
from midstream.stream.policies.choices import Choices
from midstream.stream.policies.compiling import PolicySet
from midstream.stream.policies.defining import Policy
from midstream.stream.policies.pending import PendingCall
from midstream.stream.policies.steps import plain_name

__all__ = ["NEVER_NS", "Judgement", "nothing_unknown", "untold", "without"]

#: Characters that make a token, where the provider has told no count.
CHARS_PER_TOKEN = 4
#: Steps that are what the event holds: where they are forbidden, it is not passed on.
_CONTENT = frozenset({"match", "text", "reasoning", "tool_result"})
#: Later than any deadline.
NEVER_NS = 1 << 62


def nothing_unknown(path: tuple[str, ...]) -> bool:
    return False


class Judgement(Choices):
    """The rules over one stream, its clock and its meters; the lowest part of an `Enforcer`."""

    __slots__ = (
        "_base_chars",
        "_base_tokens",
        "_chars",
        "_forbidden",
        "_next_chars",
        "_now_ns",
        "_seq",
        "_usage",
        "denied",
        "due_ns",
        "findings",
        "released",
        "stop",
    )

    def __init__(self, policies: PolicySet) -> None:
        super().__init__(policies)
        self.findings: list[Finding] = []
        self.released: list[str] = []
        self.denied: list[Denial] = []
        self.stop: Finding | None = None
        #: The event holds text that is forbidden.
        self._forbidden = False
        self._seq = 0
        self._now_ns = 0
        self._chars = 0
        self._usage: dict[str, Any] = {}
        self._base_tokens = 0
        self._base_chars = 0
        self._next_chars: float = 0.0
        self._set_meter()
        self.due_ns = NEVER_NS
        self._set_due()

    def _clear(self) -> None:
        self._forbidden = False
        self.findings, self.released, self.denied = [], [], []

    # Meters and clocks

    def _tokens(self, chars: int) -> int:
        return self._base_tokens + (chars - self._base_chars) // CHARS_PER_TOKEN

    def _set_meter(self) -> None:
        """Find the character at which the next limit is reached."""
        limits = self._set.limits
        ends = [limit for limit in limits["chars"] if limit > self._chars][:1]
        tokens = self._tokens(self._chars)
        ends += [
            self._base_chars + CHARS_PER_TOKEN * (limit - self._base_tokens)
            for limit in limits["tokens"]
            if limit > tokens
        ][:1]
        self._next_chars = min(ends, default=math.inf)

    def _set_due(self) -> None:
        """Find the moment at which the next deadline has passed, or limit on time is reached."""
        now = s_from_ns(self._now_ns)
        ends = [_ns_at(limit) for limit in self._set.limits["t"] if limit > now][:1]
        if self._set.has_deadlines:
            for book in self._books():
                deadline = book.next_deadline
                if deadline is not None:
                    ends.append(_ns_at(math.nextafter(deadline, math.inf)))
        due_ns = min(ends, default=NEVER_NS)
        # A deadline that is past, and whose rule is as it was, is not told again and again.
        self.due_ns = due_ns if due_ns > self._now_ns else NEVER_NS

    def _pass_time(self, now_ns: int) -> None:
        while self.due_ns <= now_ns:
            self._now_ns = self.due_ns
            self._happen_to_all(self._step("clock", ""))
            self._set_due()

    # Steps

    def _step(self, kind: str, stream_id: str, **fields: Any) -> dict[str, Any]:
        """A step; what is None is not known, and not in it."""
        step = {
            "kind": kind,
            "stream_id": stream_id,
            "t": s_from_ns(self._now_ns),
            "chars": self._chars,
            "tokens": self._tokens(self._chars),
            "usage": self._usage,
        }
        step.update({name: value for name, value in fields.items() if value is not None})
        policies = self._set
        if policies.reads_plain_names and kind != "finding" and (name := step.get("name")):
            step["plain_name"] = plain_name(name)
        if policies.key_fields:
            self._add_keys(step)
        return step

    def _add_keys(self, step: dict[str, Any]) -> None:
        """Give a step the fields that stand for the first of several."""
        for field, paths in self._set.key_fields.items():
            first: str | None = None
            place: Any = None
            for path in paths:
                if path[0] != first:
                    first = path[0]
                    place = step.get(first)
                if place is None:
                    continue
                value = place
                for part in path[1:]:
                    value = value.get(part) if isinstance(value, dict) else None
                if value is not None:
                    step[field] = value
                    break

    def _happen(
        self,
        step: dict[str, Any],
        start: int = 0,
        end: int = 0,
        call: PendingCall | None = None,
        channel: str | None = None,
    ) -> None:
        """Tell the books of something that is no call, and act on what it breaks."""
        if self.stop is not None:
            return  # what comes behind a stop in the same event would not have come
        if self._guards is not None:
            broken = self._admit(self._guards, step)
            if broken:
                if call is not None and call.held and not call.progress.provider_run:
                    self._deny(call, broken, start=start, end=end, channel=step.get("channel"))
                else:
                    # What was written before is with its reader; this piece need not be.
                    self._forbidden = step["kind"] in _CONTENT
                    for verdict in broken:
                        self._report(verdict, "stop", step, start, end, channel)
                return
        if self._watchers is not None:
            for verdict in self._admit(self._watchers, step):
                if self._is_news(verdict.rule, step["kind"]):
                    self._report(verdict, None, step, start, end, channel)
        if self._set.has_deadlines:
            self._set_due()

    def _happen_to_all(
        self, step: dict[str, Any], start: int = 0, end: int = 0, channel: str | None = None
    ) -> None:
        """Tell the books of all choices; a rule that several break is reported once."""
        self._keep_common(step)
        for _ in self._each():
            self._happen(step, start, end, channel=channel)

    def _happen_where(self, step: dict[str, Any]) -> None:
        """Tell the books of what a choice does, or all of what is of none."""
        if step["stream_id"]:
            self._happen(step)
        else:
            self._happen_to_all(step)

    def _retell(self, step: dict[str, Any]) -> None:
        self._recalling = True  # it has been reported
        try:
            for book in (self._guards, self._watchers):
                if book is not None:
                    self._admit(book, step)
        finally:
            self._recalling = False

    def _admit(self, book: RuleBook, step: dict[str, Any]) -> tuple[Verdict, ...]:
        """Tell a book of a step unless it is forbidden; what that breaks."""
        try:
            outcome = book.admit(step)
        except (ArgumentTypeError, ArgumentValueError):
            seen = book.outlook(step, nothing_unknown)
            if not seen.problems:
                raise
            self._tell_problems(seen, step)
            outcome = book.admit(without(step, (path for path, _ in seen.problems)))
        return outcome.broken if outcome.findings else ()

    def _tell_problems(self, seen: Outlook, step: Mapping[str, Any]) -> None:
        """Say which rules a step is left out of, since a value in it has the wrong type."""
        if self._recalling:
            return
        for name in seen.open:
            if not self._is_news(name, step["kind"]):
                continue
            self._add(
                Finding(
                    "policy",
                    "warn",
                    self._seq,
                    self._now_ns,
                    0,
                    0,
                    f"{name}: this {step['kind']} cannot be judged: {untold(seen.problems)}",
                    self._evidence(self._set.by_name[name], step),
                )
            )

    # What comes out

    def _deny(
        self,
        call: PendingCall,
        broken: Sequence[Verdict],
        *,
        reason: str | None = None,
        start: int = 0,
        end: int | None = None,
        channel: str | None = None,
    ) -> None:
        """Deny a call: drop what was held of it."""
        severity: Severity | None = "stop" if call.progress.provider_run else None
        made = [
            self._report_call(call, verdict, severity, start, end, channel)
            for verdict in broken
            if self._set.by_name[verdict.rule].forbids
        ]
        if reason is not None:
            name, _, why = reason.partition("\0")
            made.append(self._report_unjudged(call, name, why, severity))
        policy = self._set.by_name[made[0].evidence["rule"]]
        why = made[0].message.removeprefix(f"{policy.name}: ")
        text = f"This call was denied by the rule {policy.name!r}: {why}"
        if text[-1] not in ".!?":
            text += "."
        if policy.repair:
            text += f" Instead: {policy.repair}"
        self._drop(call, made[0], text)

    def _deny_for(self, call: PendingCall, finding: Finding) -> None:
        """Deny a call for what a detector found."""
        text = f"This call was denied: {finding.message}"
        self._drop(call, finding, text if text[-1] in ".!?" else f"{text}.")
        if call.progress.provider_run:
            self.stop = self.stop or finding

    def _drop(self, call: PendingCall, finding: Finding, text: str) -> None:
        progress = call.progress
        call.denied = True
        call.held = False
        call.shed()
        self._n_denied += 1
        self.denied.append(
            Denial(progress.stream_id, progress.call_id, progress.name, finding, text)
        )

    def _report_call(
        self,
        call: PendingCall,
        verdict: Verdict,
        severity: Severity | None,
        start: int = 0,
        end: int | None = None,
        channel: str | None = None,
    ) -> Finding:
        progress = call.progress
        step = {
            "kind": "tool_call",
            "stream_id": progress.stream_id,
            "call_id": progress.call_id,
            "name": progress.name,
            "channel": "tool_call" if channel is None else channel,
        }
        return self._report(verdict, severity, step, start, call.chars if end is None else end)

    def _report_unjudged(
        self, call: PendingCall, name: str, why: str, severity: Severity | None
    ) -> Finding:
        policy = self._set.by_name[name]
        progress = call.progress
        step = {
            "stream_id": progress.stream_id,
            "call_id": progress.call_id,
            "name": progress.name,
            "channel": "tool_call",
        }
        finding = Finding(
            "policy",
            _severity(policy) if severity is None else severity,
            self._seq,
            self._now_ns,
            0,
            call.chars,
            f"{name}: {why}",
            self._evidence(policy, step),
        )
        self._add(finding)
        return finding

    def _report(
        self,
        verdict: Verdict,
        severity: Severity | None,
        step: Mapping[str, Any] | None = None,
        start: int = 0,
        end: int = 0,
        channel: str | None = None,
    ) -> Finding:
        """Make the finding of a broken rule; by default as severe as its action."""
        policy = self._set.by_name[verdict.rule]
        if policy.message:
            what = policy.message
        elif verdict.at_end:
            what = f"what it is owed has not come: {verdict.formula}"
        else:
            what = f"{_shown(step)} breaks {verdict.formula}"
        evidence = self._evidence(policy, step, verdict)
        if channel is not None:
            evidence["channel"] = channel
        finding = Finding(
            "policy",
            _severity(policy) if severity is None else severity,
            self._seq,
            self._now_ns,
            start,
            end,
            f"{policy.name}: {what}",
            evidence,
        )
        if not self._recalling:
            self._add(finding)
            if callable(policy.action):
                policy.action(finding)
        return finding

    def _evidence(
        self, policy: Policy, step: Mapping[str, Any] | None, verdict: Verdict | None = None
    ) -> dict[str, Any]:
        evidence: dict[str, Any] = {
            "rule": policy.name,
            "action": policy.action if isinstance(policy.action, str) else "callback",
            "formula": str(policy.formula),
        }
        if policy.repair:
            evidence["repair"] = policy.repair
        if verdict is not None:
            evidence["atoms"] = list(verdict.atoms)
            evidence["key"] = verdict.key
            evidence["step"] = verdict.step
            evidence["since"] = verdict.since
            evidence["at_end"] = verdict.at_end
        if step is not None:
            for name in ("stream_id", "channel", "call_id", "pattern"):
                if step.get(name) is not None:
                    evidence[name] = step[name]
            if step.get("name") is not None:
                evidence["tool"] = step["name"]
        return evidence

    def _add(self, finding: Finding) -> None:
        self.findings.append(finding)
        if finding.severity == "stop" and self.stop is None:
            self.stop = finding


def _severity(policy: Policy) -> Severity:
    action: Any = policy.action
    severity: Severity = "warn" if callable(action) else action
    return severity


def _shown(step: Mapping[str, Any] | None) -> str:
    """What happened, in words, without its content."""
    if step is None:
        return "this"
    kind, name = step["kind"], step.get("name")
    if kind == "tool_call":
        return f"the call of {name}"
    if kind == "tool_result":
        return f"the result of {name}"
    if kind == "match":
        return f"what is written in {step['channel']}"
    if kind == "finding":
        return f"the {name} that was found"
    return f"this {kind}"


def _ns_at(seconds: float) -> int:
    """The first nanosecond at which a time in seconds is reached."""
    ns = max(0, math.floor(seconds * NS_PER_S) - 1)
    while s_from_ns(ns) < seconds:
        ns += 1
    return ns


def without(step: dict[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """A copy of a step without some fields."""
    step = dict(step)
    for dotted in paths:
        path = dotted.split(".")
        place = step
        for part in path[:-1]:
            inner = place.get(part)
            if isinstance(inner, list):
                inner = {str(k): one for k, one in enumerate(inner)}
            if not isinstance(inner, dict):
                break
            place[part] = inner = dict(inner)
            place = inner
        else:
            place.pop(path[-1], None)
    return step


def untold(problems: Sequence[tuple[str, str]]) -> str:
    """Why a field cannot be tested, without the value that it has: it may be secret."""
    return problems[0][1].partition(", got ")[0]
