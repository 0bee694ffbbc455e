"""`Enforcer`: policies over one stream; makes steps of events and asks the books about them."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any

from midstream._core.words import counted
from midstream.logic import Obligation, RuleBook
from midstream.stream.events import Event, Finding
from midstream.stream.policies.calls import CallJudgement, answer_to
from midstream.stream.policies.compiling import PolicySet
from midstream.stream.results import has_failed, parse_result

__all__ = ["Enforcer"]

#: Names of text events that are messages of somebody else than the model.
_ROLES = frozenset({"user", "system", "developer"})
_CHANNELS = frozenset({"text", "reasoning", "audio"})


class Enforcer(CallJudgement):
    """Policies over one stream.

    Parameters
    ----------
    policies : PolicySet
    hold_calls : bool, default False
        Hold every call until it is whole: something else than the policies may deny it.

    Attributes
    ----------
    findings, released, denied : list
        What the last method called led to, as in `Step`.
    stop : Finding or None
        The one for which the stream must be closed.

    Notes
    -----
    Made and driven by `Guard`. A piece of text costs one scan and a few comparisons; what makes a
    step, some microseconds. Not thread-safe.
    """

    __slots__ = ()

    def __init__(self, policies: PolicySet, *, hold_calls: bool = False) -> None:
        super().__init__(policies, hold_calls)

    # What comes in

    def take(self, event: Event, found: Sequence[Finding] = (), place: int = 0) -> int:
        """Look at the next event, and at what detectors found in it.

        Parameters
        ----------
        event : Event
        found : sequence of Finding
        place : int
            Characters of the event's text that came before it.

        Returns
        -------
        int
            0 to pass it on, 1 to hold it, 2 to drop it.
        """
        kind, seq, t_ns, text, name, _, stream_id, _ = event
        if self.findings or self.denied or self.released:
            self._clear()
        self._seq = seq
        if stream_id != self._place and not self._recalling:
            self._move(event)
        if t_ns > self._now_ns and not self._recalling:
            if t_ns >= self.due_ns:
                self._pass_time(t_ns)
            self._now_ns = t_ns
        if found:
            self._take_findings(found)
        if kind in _CHANNELS:
            if text:
                if name is None:
                    self._write(kind, stream_id, text, place)
                elif name in _ROLES:
                    self._take_user(name, text, stream_id)
            return 2 if self._forbidden else 0
        held = 0
        if kind == "tool_call":
            held = self._take_call(event)
        else:
            self._take_other(event)
        if self._blocks:
            self._undeniable()
        return 2 if self._forbidden else held

    def pass_time(self, now_ns: int, found: Sequence[Finding] = ()) -> None:
        """Take note that it is so late, that nothing has come, and what detectors say of that."""
        self._clear()
        if now_ns >= self.due_ns:
            self._pass_time(now_ns)
            self._now_ns = max(self._now_ns, now_ns)
        self._take_findings(found)

    def recalling(
        self, events: Iterable[Event], choices: int | None = None
    ) -> Generator[None, None, None]:
        """Take what happened before this response, without acting on it, event by event.

        Where no more than one choice is asked for, the books are not kept for others.
        """
        keep = choices is None or choices > 1
        self._recalling = True
        try:
            for event in events:
                self.take(event)
                if event.kind in _CHANNELS:
                    self._end_texts("")
                yield
            self._close_calls(self._assembler.finish())
        finally:
            self._recalling = False
            self._clear()
            self._calls.clear()
            self._speaking.clear()
            self._begun = False
            self._waiting = 0
            self._set_due()
            if keep:
                self._keep_origin()
            else:
                self._has_choices = False

    def finish(self, found: Sequence[Finding] = (), *, judge: bool) -> None:
        """Take note that the stream is over; `judge`: what is still owed is broken now."""
        self._clear()
        self._take_findings(found)
        self._end_texts("")
        self.stop = None  # it is over: the calls are judged all the same
        for progress in self._assembler.finish():
            self._close_calls((progress,))
            self.stop = None
        if judge:
            for _ in self._each():
                self._judge_end()

    def _judge_end(self) -> None:
        """Report what is still owed by a choice that waits for nothing."""
        if self._waiting or self._n_denied:
            return
        step = None if self._traces is None else {"stream_id": self._choice}
        for book in (self._guards, self._watchers):
            if book is not None:
                for verdict in book.finish().findings:
                    self._report(verdict, "note" if verdict.action == "note" else "warn", step)

    # What a call could be

    @property
    def judges_calls(self) -> bool:
        """Whether a call may be denied, or end the stream."""
        return self._hold_calls or self._guards is not None

    def concerns(self, names: Iterable[str | None], *, arguments: bool) -> bool:
        """Whether rules that forbid judge these names otherwise, or look at arguments."""
        names = tuple(names)
        guards = self._may_judge()
        if not guards:
            return self._hold_calls and arguments
        return any(self._concerns(book, names, arguments) for book in guards)

    def _concerns(self, guards: RuleBook, names: Iterable[str | None], arguments: bool) -> bool:
        seen = set()
        for name in names:
            may, must = outlook = self._outlook_by_name(guards, name)
            if arguments and (may or must or name is None):
                return bool(may or must) or self._hold_calls
            seen.add(outlook)
            if name is None and may:
                return True
        return len(seen) > 1 or (self._hold_calls and arguments)

    def worse(self, name: str | None, other: str | None) -> bool:
        """Whether a call by the other name may break what it does not break by the first."""
        return any(self._worse(book, name, other) for book in self._may_judge())

    def _worse(self, guards: RuleBook, name: str | None, other: str | None) -> bool:
        one, two = self._outlook_by_name(guards, name), self._outlook_by_name(guards, other)
        return not (two[0] <= one[0] | one[1] and two[1] <= one[1])

    def _outlook_by_name(
        self, guards: RuleBook, name: str | None
    ) -> tuple[frozenset[str], frozenset[str]]:
        """Rules that a call may break, and that it breaks, of which only the name is known."""
        step = self._step("tool_call", "", name=name, arguments={}, provider_run=False)

        def unknown(path: tuple[str, ...]) -> bool:
            return (
                not path
                or path[0] in ("arguments", "malformed", "call", "call_id", "stream_id")
                or (name is None and path[0] == "name")
            )

        seen = guards.outlook(step, unknown)
        may = set(seen.open)
        if self._set.any_call_pattern:
            may.add("")
        for regex in self._set.call_patterns:
            match = self._step("match", "", pattern=regex, channel="tool_call", name=name)
            inner = guards.outlook(
                match, lambda path: unknown(path) or path in (("start",), ("end",))
            )
            may |= {*inner.open, *(verdict.rule for verdict in inner.broken)}
        return frozenset(may), frozenset(verdict.rule for verdict in seen.broken)

    @property
    def open_obligations(self) -> list[Obligation]:
        """What the rules are owed."""
        return [one for book in self._books() for one in book.open_obligations()]

    @property
    def remarks(self) -> list[str]:
        """What was given up to stay within memory."""
        evicted = sum(book.metrics["evicted"] for book in self._books())
        return [f"memory limit: state of {counted(evicted, 'key')} forgotten"] if evicted else []

    # What is no text

    def _take_user(self, role: str, text: str, stream_id: str) -> None:
        if role != "user":
            return
        self._quiet()
        self._happen(self._step("user", stream_id, text=text))
        patterns = self._patterns.get("user")
        if patterns is not None:
            self._matched(patterns.find(text), "user", stream_id, None)

    def _take_other(self, event: Event) -> None:
        kind, stream_id = event.kind, event.stream_id
        if kind == "tool_result":
            self._take_result(event)
        elif kind == "usage":
            self._take_usage(event.data)
            self._happen_to_all(self._step("usage", stream_id))
        elif kind == "error":
            self._happen_where(self._step("error", stream_id, text=event.text))
        elif kind == "end":
            self._end_texts(stream_id)
            self._end_calls(stream_id)
            for _ in self._each(stream_id):
                self._quiet()
            self._happen_where(self._step("end", stream_id, text=event.text))

    def _take_usage(self, data: Any) -> None:
        if not isinstance(data, Mapping):
            return
        usage = data.get("usage", data)
        if not isinstance(usage, Mapping):
            return
        self._usage = dict(usage)
        tokens = data.get("tokens")
        if isinstance(tokens, Mapping):
            self._usage.update(tokens)
        for name, other in (
            ("input_tokens", "prompt_tokens"),
            ("output_tokens", "completion_tokens"),
        ):
            if other in self._usage:
                self._usage.setdefault(name, self._usage[other])
        written = self._usage.get("output_tokens")
        if isinstance(written, int) and not isinstance(written, bool) and written >= 0:
            self._base_tokens, self._base_chars = written, self._chars
            self._set_meter()

    def _take_result(self, event: Event) -> None:
        self._end_calls(event.stream_id if event.stream_id.endswith("!") else "")
        call_id, text = event.call_id, event.text
        name, arguments, call = self._take_made(answer_to(event.stream_id, call_id))
        if event.name is not None:
            name = event.name
        step = self._step("tool_result", event.stream_id, name=name, call_id=call_id, text=text)
        if arguments is not None:
            step["arguments"] = arguments
        if call is not None:
            step["call"] = call
        result = parse_result(text) if self._set.reads_results or text[:1] == "{" else None
        if result is not None:
            step["result"] = result
        self._add_keys(step)
        step["failed"] = has_failed(event.data, text, result)
        patterns = self._patterns.get("tool_result")
        found = () if patterns is None else patterns.find(text)
        if not event.stream_id:
            self._keep_common(step)
        for _ in self._each(event.stream_id):
            self._quiet()
            if self._waiting and not event.stream_id.endswith("!"):
                self._waiting -= 1
            self._happen(step)
            self._matched(found, "tool_result", event.stream_id, None, name=name, call_id=call_id)

    def _take_findings(self, found: Sequence[Finding]) -> None:
        for finding in found:
            stream_id = str(finding.evidence.get("stream_id", ""))
            if finding.severity == "block":
                self._blocks[stream_id] = finding
            here = self._choice
            if self._traces is not None:
                self._enter(stream_id)
            self._happen_where(
                self._step("finding", stream_id, name=finding.kind, severity=finding.severity)
            )
            self._enter(here)

    def _undeniable(self) -> None:
        """What a detector would have denied has passed already: stop instead."""
        for finding in self._blocks.values():
            if self.stop is None and not self._recalling:
                self.stop = finding
        self._blocks.clear()
