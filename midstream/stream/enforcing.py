"""`Enforcer`: policies over one stream; makes steps of events and asks the books about them."""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from midstream._core.clock import NS_PER_S, s_from_ns
from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream.logic import Finding as Verdict
from midstream.logic import Obligation, Outlook, RuleBook
from midstream.stream.calls import CallAssembler, CallProgress, canonical_arguments
from midstream.stream.events import Denial, Event, Finding, Severity
from midstream.stream.patterns import Scanner
from midstream.stream.policies import Policy, PolicySet, decided_by
from midstream.stream.results import has_failed, parse_result

__all__ = ["Enforcer"]

#: Names of text events that are messages of somebody else than the model.
_ROLES = frozenset({"user", "system", "developer"})
_CHANNELS = frozenset({"text", "reasoning", "audio"})
#: Steps that are what the event holds: where they are forbidden, it is not passed on.
_CONTENT = frozenset({"match", "text", "reasoning", "tool_result"})
#: Characters that make a token, where the provider has told no count.
CHARS_PER_TOKEN = 4
#: Calls whose arguments are kept for their results, and texts that are scanned at one time.
_MOST_CALLS = 1024
_MOST_TEXTS = 1024
#: Tests of nothing, for a string of which no rule asks how it begins; longer ones are judged when
#: they are whole.
_UNASKED: tuple[tuple[str, Any], ...] = (("", None),)
_MOST_BEGUN_CHARS = 4096
_NEVER_NS = 1 << 62
#: What matters within strings of JSON.
_MARK = re.compile(r'["\\]')


class _Call:
    """A tool call between its first piece and its verdict."""

    __slots__ = (
        "begun",
        "begun_path",
        "begun_tests",
        "chars",
        "committed",
        "decided",
        "denied",
        "doubted",
        "doubted_name",
        "escaped",
        "escapes",
        "held",
        "in_string",
        "judged",
        "known",
        "matched",
        "named",
        "open",
        "partial",
        "progress",
        "told",
        "waits",
        "watched",
    )

    def __init__(self, progress: CallProgress) -> None:
        self.progress = progress
        #: Arguments that are fixed: all their paths, and nested as conditions look for them.
        self.known: set[tuple[str, ...]] = set()
        self.partial: dict[str, Any] = {}
        self.chars = 0
        self.held = False
        self.denied = False
        #: The rules that forbid have taken it; it has its verdict from all.
        self.committed = self.judged = False
        #: It is whole, and a call that began before it is not.
        self.waits = False
        #: Its name was there when it was looked at.
        self.named = False
        #: A rule that forbids, and one that does not, still depend on arguments to come.
        self.open = self.watched = True
        #: Rules that were reported as broken before the call was whole.
        self.told: set[str] = set()
        #: Patterns that were found in it.
        self.matched: set[str] = set()
        self.in_string = self.escaped = self.escapes = False
        #: Of the string that is being written: its path, what there is of it, tests that this can
        #: decide and what it has decided. Without tests nobody asks for it.
        self.begun_path: tuple[str, ...] = ()
        self.begun = ""
        self.begun_tests: tuple[tuple[str, Any], ...] = ()
        self.decided: tuple[bool | None, ...] = ()
        #: After its verdict something came that may change what its reader makes of it.
        self.doubted = False
        self.doubted_name: tuple[str | None, bool] = (None, False)

    def unknown(self, path: tuple[str, ...]) -> bool | str:
        """Whether a field of the call may still come, or what there is of a text."""
        if not path:
            return True
        if path[0] == "name":
            return self.progress.name is None or self.progress.renamed
        if path[0] == "malformed":
            return self.progress.malformed is None and not self.progress.complete
        if path[0] == "call":
            return not self.progress.complete
        if path[0] != "arguments":
            return False
        if self.progress.malformed is not None and (self.progress.duplicates or self.doubted):
            return True  # which of the values was meant, nobody can tell
        known = self.known
        if any(path[1 : k + 1] in known for k in range(1, len(path))):
            return False
        asked = self.begun_tests and self.begun_tests is not _UNASKED
        return self.begun if asked and path[1:] == self.begun_path else True

    def unknown_by_name(self, path: tuple[str, ...]) -> bool | str:
        """The same for a call whose name comes late: a key that is there may come again."""
        return path[:1] == ("arguments",) or self.unknown(path)

    def fix(self, dotted: str, value: Any) -> tuple[str, ...] | None:
        """Take note of a value that cannot change; its path, or None where none leads there."""
        if "\\" in dotted:
            return None  # a key with a dot in it: no condition can name it
        path = tuple(dotted.split("."))
        self.known.add(path)
        place = self.partial
        for part in path[:-1]:
            inner = place.get(part)
            if not isinstance(inner, dict):
                inner = place[part] = {}
            place = inner
        place[path[-1]] = value
        return path

    def parts(self, text: str) -> Iterator[str]:
        """Pieces behind which something can be fixed, the same for any cut of the text.

        Strings up to their end, and outside of them single characters: each can complete a value,
        or be the one with which the arguments are no JSON any more.
        """
        if self.progress.free_text:
            yield text
            return
        start, n = 0, len(text)
        while start < n:
            if not self.in_string:
                self.in_string = text[start] == '"'
                start += 1
                yield text[start - 1]
                continue
            at = start
            if self.escaped:
                self.escaped = False
                at += 1
            while True:
                mark = _MARK.search(text, at)
                if mark is None:
                    at = n
                    break
                at = mark.end()
                if mark[0] == '"':
                    self.in_string = False
                    break
                self.escapes = True
                at += 1
                if at > n:
                    self.escaped = True
                    at = n
                    break
            yield text[start:at]
            start = at


def _nothing_unknown(path: tuple[str, ...]) -> bool:
    return False


class Enforcer:
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

    def __init__(self, policies: PolicySet, *, hold_calls: bool = False) -> None:
        self.findings: list[Finding] = []
        self.released: list[str] = []
        self.denied: list[Denial] = []
        self.stop: Finding | None = None
        self._set = policies
        self._guards, self._watchers = policies.books()
        self._hold_calls = hold_calls
        self._patterns = policies.patterns
        self._scanners: OrderedDict[tuple[str, str], Scanner] = OrderedDict()
        self._key: tuple[str, str] = ("", "")
        self._scanner: Scanner | None = None
        #: Texts in which the model has begun to write since something else happened.
        self._speaking: set[tuple[str, str]] = set()
        self._begun = False
        self._assembler = CallAssembler()
        self._calls: dict[str, _Call] = {}
        self._made: OrderedDict[str, tuple[str | None, Any, str | None]] = OrderedDict()
        #: Calls of this response that wait for their results, and denied ones.
        self._waiting = 0
        self._n_denied = 0
        self._some_wait = False
        #: What detectors found that denies a call.
        self._blocks: dict[str, Finding] = {}
        self._recalling = False
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
        self.due_ns = _NEVER_NS
        self._set_due()

    # What comes in

    def take(self, event: Event, found: Sequence[Finding] = ()) -> int:
        """Look at the next event, and at what detectors found in it.

        Returns
        -------
        int
            0 to pass it on, 1 to hold it, 2 to drop it.
        """
        kind, seq, t_ns, text, name, _, stream_id, _ = event
        if self.findings or self.denied or self.released:
            self._clear()
        self._seq = seq
        if t_ns > self._now_ns and not self._recalling:
            if t_ns >= self.due_ns:
                self._pass_time(t_ns)
            self._now_ns = t_ns
        if found:
            self._take_findings(found)
        if kind in _CHANNELS:
            if text:
                if name is None:
                    self._write(kind, stream_id, text)
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

    def recall(self, events: Iterable[Event]) -> None:
        """Take what happened before this response, without acting on it."""
        self._recalling = True
        try:
            for event in events:
                self.take(event)
                if event.kind in _CHANNELS:
                    self._end_texts("")
            self._close_calls(self._assembler.close())
        finally:
            self._recalling = False
            self._clear()
            self._calls.clear()
            self._speaking.clear()
            self._begun = False
            self._waiting = 0
            self._set_due()

    def finish(self, found: Sequence[Finding] = (), *, judge: bool) -> None:
        """Take note that the stream is over; `judge`: what is still owed is broken now."""
        self._clear()
        self._take_findings(found)
        self._end_texts("")
        self.stop = None  # it is over: the calls are judged all the same
        for progress in self._assembler.close():
            self._close_calls((progress,))
            self.stop = None
        if judge and not self._waiting and not self._n_denied:
            for book in (self._guards, self._watchers):
                if book is not None:
                    for verdict in book.finish().findings:
                        self._report(verdict, "note" if verdict.action == "note" else "warn")

    # What a call could be

    @property
    def judges_calls(self) -> bool:
        """Whether a call may be denied, or end the stream."""
        return self._hold_calls or self._guards is not None

    def concerns(self, names: Iterable[str | None], *, arguments: bool) -> bool:
        """Whether rules that forbid judge these names otherwise, or look at arguments."""
        seen = set()
        for name in names:
            outlook = self._outlook_by_name(name)
            if outlook is None:
                continue
            may, must = outlook
            if arguments and (may or must or name is None):
                return bool(may or must) or self._hold_calls
            seen.add(outlook)
            if name is None and may:
                return True
        return len(seen) > 1 or (self._hold_calls and arguments)

    def worse(self, name: str | None, other: str | None) -> bool:
        """Whether a call by the other name may break what it does not break by the first."""
        one, two = self._outlook_by_name(name), self._outlook_by_name(other)
        if one is None or two is None:
            return False
        return not (two[0] <= one[0] | one[1] and two[1] <= one[1])

    def _outlook_by_name(self, name: str | None) -> tuple[frozenset[str], frozenset[str]] | None:
        """Rules that a call may break, and that it breaks, of which only the name is known."""
        guards = self._guards
        if guards is None:
            return None
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
        return [
            one
            for book in (self._guards, self._watchers)
            if book is not None
            for one in book.open_obligations()
        ]

    @property
    def remarks(self) -> list[str]:
        """What was given up to stay within memory."""
        evicted = sum(
            book.metrics["evicted"] for book in (self._guards, self._watchers) if book is not None
        )
        return [f"memory limit: the state of {evicted:,} keys forgotten"] if evicted else []

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
            for book in (self._guards, self._watchers):
                deadline = None if book is None else book.next_deadline
                if deadline is not None:
                    ends.append(_ns_at(math.nextafter(deadline, math.inf)))
        due_ns = min(ends, default=_NEVER_NS)
        # A deadline that is past, and whose rule is as it was, is not told again and again.
        self.due_ns = due_ns if due_ns > self._now_ns else _NEVER_NS

    def _pass_time(self, now_ns: int) -> None:
        while self.due_ns <= now_ns:
            self._now_ns = self.due_ns
            self._happen(self._step("clock", ""))
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
        return step

    def _happen(
        self, step: dict[str, Any], start: int = 0, end: int = 0, call: _Call | None = None
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
                        self._report(verdict, "stop", step, start, end)
                return
        if self._watchers is not None:
            for verdict in self._admit(self._watchers, step):
                self._report(verdict, None, step, start, end)
        if self._set.has_deadlines:
            self._set_due()

    def _admit(self, book: RuleBook, step: dict[str, Any]) -> tuple[Verdict, ...]:
        """Tell a book of a step unless it is forbidden; what that breaks."""
        try:
            outcome = book.admit(step)
        except (ArgumentTypeError, ArgumentValueError):
            seen = book.outlook(step, _nothing_unknown)
            if not seen.problems:
                raise
            self._tell_problems(seen, step)
            outcome = book.admit(_without(step, (path for path, _ in seen.problems)))
        return outcome.broken if outcome.findings else ()

    def _tell_problems(self, seen: Outlook, step: Mapping[str, Any]) -> None:
        """Say which rules a step is left out of, since a value in it has the wrong type."""
        if self._recalling:
            return
        for name in seen.open:
            self._add(
                Finding(
                    "policy",
                    "warn",
                    self._seq,
                    self._now_ns,
                    0,
                    0,
                    f"{name}: this {step['kind']} cannot be judged: {_untold(seen.problems)}",
                    self._evidence(self._set.by_name[name], step),
                )
            )

    # Text

    def _write(self, kind: str, stream_id: str, text: str) -> None:
        key = (kind, stream_id)
        if key != self._key:
            self._scanner = self._switch(key)
            self._begun = key in self._speaking
        if not self._begun:
            n_blank = len(text) - len(text.lstrip())
            if n_blank:
                self._meter(text[:n_blank], self._scanner, kind, stream_id, None)
                text = text[n_blank:]
                if not text:
                    return
            self._begun = True
            if len(self._speaking) >= _MOST_TEXTS:
                self._speaking.clear()  # those that go on have begun anew
            self._speaking.add(key)
            begun = "reasoning" if kind == "reasoning" else "text"
            self._happen(self._step(begun, stream_id, channel=kind))
        # As `_meter`, for the many pieces that lead to nothing.
        chars = self._chars + len(text)
        if chars >= self._next_chars or self._recalling:
            self._meter(text, self._scanner, kind, stream_id, None)
            return
        self._chars = chars
        scanner = self._scanner
        if scanner is not None:
            matches = scanner.feed(text)
            if matches:
                self._matched(matches, kind, stream_id, None, chars - scanner.n_chars)

    def _meter(
        self,
        text: str,
        scanner: Scanner | None,
        channel: str,
        stream_id: str,
        call: _Call | None,
    ) -> None:
        """Count characters and look for patterns, with a step wherever a limit is reached."""
        while text and self.stop is None:
            part = text
            chars = self._chars + len(text)
            if self._recalling:
                chars = self._chars
            elif chars >= self._next_chars:
                part = text[: math.ceil(self._next_chars) - self._chars]
                chars = self._chars + len(part)
            text = text[len(part) :]
            self._chars = chars
            if scanner is not None and not (call is not None and call.denied):
                matches = scanner.feed(part)
                if matches:
                    self._matched(matches, channel, stream_id, call, chars - scanner.n_chars)
            if chars >= self._next_chars:
                self._set_meter()
                self._happen(self._step("usage", stream_id))

    def _matched(
        self,
        matches: Iterable[Any],
        channel: str,
        stream_id: str,
        call: _Call | None,
        origin: int | None = None,
        **more: Any,
    ) -> None:
        """Tell of patterns that were found in a text which began when `origin` were written."""
        for regex, start, end in matches:
            if call is not None:
                if call.denied:
                    return
                call.matched.add(regex)
                more = {"name": call.progress.name, "call_id": call.progress.call_id}
            step = self._step(
                "match",
                stream_id,
                pattern=regex,
                channel=channel,
                start=start,
                end=end,
                **more,
            )
            if origin is not None and not self._recalling:
                step["chars"] = origin + end
                step["tokens"] = self._tokens(origin + end)
            self._happen(step, start, end, call)

    def _switch(self, key: tuple[str, str]) -> Scanner | None:
        """The scanner of a text, where anything is looked for in it."""
        self._key = key
        patterns = self._patterns.get(key[0])
        if patterns is None:
            return None
        scanner = self._scanners.pop(key, None)
        if scanner is None:
            scanner = patterns.scanner()
            if len(self._scanners) >= _MOST_TEXTS:
                self._scanners.popitem(last=False)
        self._scanners[key] = scanner
        return scanner

    def _end_texts(self, choice: str) -> None:
        """Take note that the texts of a choice are over, or all of them."""
        for key in [key for key in self._scanners if _belongs(key[1], choice)]:
            scanner = self._scanners.pop(key)
            origin = self._chars - scanner.n_chars
            matches = scanner.finish()
            if matches:
                call = self._calls.get(key[1]) if key[0] == "tool_call" else None
                self._matched(matches, *key, call, origin)
        self._key, self._scanner, self._begun = ("", ""), None, False

    def _quiet(self) -> None:
        """Something else happened than that the model wrote: what it writes next begins anew."""
        self._speaking.clear()
        self._begun = False

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
            self._happen(self._step("usage", stream_id))
        elif kind == "error":
            self._happen(self._step("error", stream_id, text=event.text))
        elif kind == "end":
            self._end_texts(stream_id)
            self._end_calls(stream_id)
            self._quiet()
            self._happen(self._step("end", stream_id, text=event.text))

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
        self._quiet()
        call_id, text = event.call_id, event.text
        name, arguments, call = event.name, None, None
        made = self._made.pop(_answer_to(event.stream_id, call_id), None)
        if made is not None:
            arguments, call = made[1:]
            name = made[0] if name is None else name
        if self._waiting and not event.stream_id.endswith("!"):
            self._waiting -= 1
        step = self._step("tool_result", event.stream_id, name=name, call_id=call_id, text=text)
        if arguments is not None:
            step["arguments"] = arguments
        if call is not None:
            step["call"] = call
        result = parse_result(text) if self._set.reads_results or text[:1] == "{" else None
        if result is not None:
            step["result"] = result
        step["failed"] = has_failed(event.data, text, result)
        self._happen(step)
        patterns = self._patterns.get("tool_result")
        if patterns is not None:
            found = patterns.find(text)
            self._matched(found, "tool_result", event.stream_id, None, name=name, call_id=call_id)

    def _take_findings(self, found: Sequence[Finding]) -> None:
        for finding in found:
            stream_id = str(finding.evidence.get("stream_id", ""))
            if finding.severity == "block":
                self._blocks[stream_id] = finding
            self._happen(
                self._step("finding", stream_id, name=finding.kind, severity=finding.severity)
            )

    def _undeniable(self) -> None:
        """What a detector would have denied has passed already: stop instead."""
        for finding in self._blocks.values():
            if self.stop is None and not self._recalling:
                self.stop = finding
        self._blocks.clear()

    # Calls

    def _take_call(self, event: Event) -> int:
        stream_id, call_id = event.stream_id, event.call_id
        call = self._calls.get(stream_id)
        if call is not None and call_id is not None:
            known = call.progress.call_id
            if known is not None and known != call_id:
                call = None  # another call in the place of one that is over
        if call is None:
            progress = self._assembler.take(event._replace(text="") if event.text else event)
            self._close_calls(self._assembler.ended)
            if progress is None:  # no tool call
                return 0
            call = self._calls[stream_id] = _Call(progress)
            self._quiet()
            if len(self._calls) > _MOST_CALLS:
                self._forget()
            self._size_up(call)
        elif event.name is not None and not call.named and not call.denied:
            self._assembler.take(event._replace(text=""))
            if call.judged:  # without a name, since it was over
                call.named = True
                self._doubt(call)
            else:
                self._size_up(call)
                if not call.denied:
                    self._settle(call)
        elif event.name is not None and event.name != call.progress.name and not call.denied:
            self._assembler.take(event._replace(text=""))
            self._doubt(call)
        if not (call.held or call.watched or call.denied) and (
            call.committed and "tool_call" not in self._patterns
        ):
            # No rule looks at what is still to come: it is only put together.
            self._assembler.take(event)
            call.chars += len(event.text)
            self._meter(event.text, None, "tool_call", stream_id, call)
            if call.progress.complete or call.progress.malformed is not None:
                self._settle(call)
            return 0
        for part in call.parts(event.text):
            if self.stop is not None:
                break
            if call.denied:
                self._meter(part, None, "tool_call", stream_id, call)
                continue
            if call.begun_tests and call.begun_tests is not _UNASKED and self._splits(call, part):
                in_string = call.in_string
                for place, char in enumerate(part, 1):
                    call.in_string = in_string or place < len(part)
                    if call.denied or self.stop is not None:
                        self._meter(char, None, "tool_call", stream_id, call)
                    else:
                        self._take_part(call, event._replace(text=char))
                continue
            self._take_part(
                call,
                event
                if len(part) == len(event.text)
                else Event(
                    "tool_call", event.seq, event.t_ns, part, None, None, stream_id, call_id
                ),
            )
        if self._some_wait:
            self._settle_waiting()
        return 2 if call.denied else int(call.held)

    def _take_part(self, call: _Call, event: Event) -> None:
        """Take a part of a call's arguments, and see what it has decided."""
        self._assembler.take(event)
        call.chars += len(event.text)
        self._scan(call, event.text)
        if call.denied or self.stop is not None:
            return
        if self._assembler.changed:
            self._look(call)
        if self._set.begun_tests and not call.denied and (call.open or call.watched):
            self._follow(call)

    def _follow(self, call: _Call) -> None:
        """See what the string that is being written has decided so far."""
        if not call.in_string:
            call.begun_tests = ()
            return
        if call.begun_tests is _UNASKED:
            return
        opened = call.progress.open_string
        if opened is None:
            return
        dotted, text = opened
        if not call.begun_tests:
            path = tuple(dotted.split("."))
            tests = () if "\\" in dotted else self._set.begun_tests.get(path, ())
            if not tests or self._recalling:
                call.begun_tests = _UNASKED
                return
            call.begun_path, call.begun_tests, call.decided = path, tests, ()
        if len(text) > _MOST_BEGUN_CHARS:
            call.begun_tests = _UNASKED
            return
        call.begun = text
        decided = decided_by(call.begun_tests, text)
        if decided != call.decided:
            call.decided = decided
            self._consider(call)

    def _splits(self, call: _Call, part: str) -> bool:
        """Whether a part of a string decides something before its end."""
        if call.escapes:
            return True
        text = call.begun + (part if call.in_string else part[:-1])
        return decided_by(call.begun_tests, text[:_MOST_BEGUN_CHARS]) != call.decided

    def _doubt(self, call: _Call) -> None:
        """Judge a call again whose name changes, or that goes on behind the end of its arguments.

        Some readers join names, others take the first or the last; and so it is with arguments.
        """
        if call.held and not call.judged:
            self._settle(call)
            return
        if self._guards is None or self._recalling or call.denied or self.stop is not None:
            return
        if call.doubted and call.doubted_name == (call.progress.name, call.progress.renamed):
            return
        call.doubted = True
        call.doubted_name = (call.progress.name, call.progress.renamed)
        progress = call.progress
        arguments = progress.value if progress.complete else {}
        seen = self._guards.outlook(self._call_step(call, arguments), call.unknown)
        if seen.allowed is False:
            for verdict in seen.broken:
                self._report_call(call, verdict, "stop")
        elif seen.allowed is None:
            why = f"the call cannot be judged: {call.progress.malformed}"
            self._report_unjudged(call, seen.open[0], why, "stop")

    def _settle_waiting(self) -> None:
        """Take the verdicts of calls that are whole, and before which all have theirs now."""
        self._some_wait = False
        for call in list(self._calls.values()):
            if call.waits and not call.denied:
                self._settle(call)

    def _scan(self, call: _Call, text: str) -> None:
        key = ("tool_call", call.progress.stream_id)
        if key != self._key:
            self._scanner = self._switch(key)
        self._meter(text, self._scanner, *key, call)

    def _forget(self) -> None:
        """Drop calls that are over."""
        for key in [key for key, call in self._calls.items() if call.progress.ended]:
            del self._calls[key]

    def _call_step(self, call: _Call, arguments: Any) -> dict[str, Any]:
        progress = call.progress
        return self._step(
            "tool_call",
            progress.stream_id,
            name=progress.name,
            call_id=progress.call_id,
            arguments=arguments,
            malformed=progress.malformed is not None,
            provider_run=progress.provider_run,
        )

    def _size_up(self, call: _Call) -> None:
        """Decide what can be decided by a call's name, and whether it must be held."""
        progress = call.progress
        call.named = progress.name is not None
        call.watched = self._watchers is not None
        if self._recalling:
            return
        settled = True
        allowed: bool | None = True
        if self._guards is not None:
            unknown = call.unknown_by_name if call.chars else call.unknown
            seen = self._guards.outlook(self._call_step(call, call.partial), unknown)
            if seen.allowed is False:
                self._deny(call, seen.broken)
                return
            allowed, settled = seen.allowed, seen.settled
            call.open = bool(seen.open)
        hold = (
            self._hold_calls
            or allowed is None
            or self._may_match(call)
            # What is done between now and the end of this call may change the verdict.
            or (not settled and any(self._before(call)))
        )
        if hold:
            call.held = True
        elif call.held:
            call.held = False
            self.released.append(progress.stream_id)
        if self._guards is None:
            call.committed = True
        elif settled and not hold and call.named:
            # Its arguments make no difference to any rule that forbids.
            self._guards.step(self._call_step(call, call.partial))
            call.committed = True
        self._watch(call)

    def _may_match(self, call: _Call) -> bool:
        """Whether a text pattern in its arguments could forbid a call."""
        guards = self._guards
        if guards is None or self._set.any_call_pattern:
            return guards is not None
        return any(
            guards.outlook(
                self._step(
                    "match",
                    call.progress.stream_id,
                    pattern=regex,
                    channel="tool_call",
                    name=call.progress.name,
                    call_id=call.progress.call_id,
                ),
                lambda path: path in (("start",), ("end",)),
            ).allowed
            is not True
            for regex in self._set.call_patterns
        )

    def _before(self, call: _Call) -> Iterator[_Call]:
        """Calls that began before this one, and of which the rules have not been told yet."""
        for one in self._calls.values():
            if one is call:
                return
            if not (one.committed or one.denied or one.judged):
                yield one

    def _watch(self, call: _Call) -> None:
        """Report what a call breaks of the rules that forbid nothing, before it is whole."""
        if self._watchers is None or not call.watched or self._recalling:
            return
        seen = self._watchers.outlook(self._call_step(call, call.partial), call.unknown)
        call.watched = bool(seen.open)
        for verdict in seen.broken:
            if verdict.rule not in call.told:
                call.told.add(verdict.rule)
                self._report_call(call, verdict, None)

    def _look(self, call: _Call) -> None:
        """See what the last piece of a call has fixed."""
        progress = call.progress
        for dotted in progress.new:
            value = progress.fixed[dotted]
            path = call.fix(dotted, value)
            if call.escapes and isinstance(value, str):
                self._scan_meaning(call, value)
            if call.denied:
                return
            if path is not None and not self._recalling and self._decides(path):
                self._consider(call)
                if call.denied:
                    return
        if progress.complete or progress.malformed is not None:
            self._settle(call)

    def _consider(self, call: _Call) -> None:
        """Ask the rules about a call of which more is known now."""
        if call.open and self._guards is not None and not call.committed:
            seen = self._guards.outlook(self._call_step(call, call.partial), call.unknown)
            if seen.allowed is False:
                self._deny(call, seen.broken)
                return
            call.open = bool(seen.open)
        self._watch(call)

    def _decides(self, path: tuple[str, ...]) -> bool:
        """Whether a rule looks at this argument, or at something in it."""
        return any(wanted[: len(path)] == path for wanted in self._set.argument_paths)

    def _scan_meaning(self, call: _Call, value: str) -> None:
        """Look for patterns in a string as it is meant, where it was written with escapes."""
        patterns = self._patterns.get("tool_call")
        if patterns is None:
            return
        found = [
            (regex, call.chars, call.chars)
            for regex, _, _ in patterns.find(value)
            if regex not in call.matched
        ]
        self._matched(found, "tool_call", call.progress.stream_id, call)

    def _end_calls(self, choice: str) -> None:
        """Take note that the calls of a choice are over, or all of them."""
        if not choice:
            self._close_calls(self._assembler.close())
            self._calls = {key: call for key, call in self._calls.items() if call.denied}
            return
        for progress in self._assembler.open_calls:
            if _belongs(progress.stream_id, choice):
                self._close_calls(self._assembler.close(progress.stream_id))

    def _close_calls(self, ended: Sequence[CallProgress]) -> None:
        for progress in list(ended):
            call = self._calls.get(progress.stream_id)
            if call is not None and call.progress is progress:
                key = ("tool_call", progress.stream_id)
                scanner = self._scanners.pop(key, None)
                if scanner is not None:
                    if key == self._key:
                        self._key, self._scanner = ("", ""), None
                    origin = self._chars - scanner.n_chars
                    self._matched(scanner.finish(), *key, call, origin)
                if not call.denied:
                    self._settle(call)

    def _settle(self, call: _Call) -> None:
        """The call is whole, or can never be read: take the verdict, and let it go."""
        progress = call.progress
        stream_id = progress.stream_id
        if call.judged and progress.malformed is not None:
            self._doubt(call)
            return
        if (
            self.stop is not None
            or call.judged
            or not (progress.complete or progress.malformed is not None)
        ):
            return
        if progress.name is None and not progress.ended:
            return  # all may still turn on it
        if call.held and self._guards is not None and not progress.ended:
            call.waits = any(self._before(call))
            if call.waits:
                self._some_wait = True
                return
        if not (progress.complete or progress.ended) and self._kept_back(call):
            return
        call.judged = True
        # What is no object has no arguments that a rule could look at, and yet somebody may read
        # some in it: JSON that was encoded twice, for example.
        whole = progress.complete and (progress.free_text or isinstance(progress.value, dict))
        arguments: Any = progress.value if progress.complete else call.partial
        unknown = _nothing_unknown if whole else call.unknown
        step = self._call_step(call, arguments)
        if self._set.reads_calls and progress.complete:
            step["call"] = _identity(progress.name, arguments)
        blocked = self._blocks.pop(stream_id, None)
        if blocked is not None and not self._recalling:
            self._deny_for(call, blocked)
            return
        if self._guards is not None and not call.committed:
            broken, reason = self._judge(call, step, unknown)
            if broken or reason is not None:
                if self._recalling:
                    return
                if call.held:
                    self._deny(call, broken, reason=reason)
                    return
                # It began when nothing could forbid it, and is with its reader already.
                for verdict in broken:
                    self._report_call(call, verdict, "stop")
            call.committed = True
        if self._watchers is not None:
            for verdict in self._admit(self._watchers, step):
                if verdict.rule not in call.told:
                    self._report_call(call, verdict, None)
        key = _answer_to(stream_id, progress.call_id)
        self._made[key] = progress.name, arguments, step.get("call")
        if len(self._made) > _MOST_CALLS:
            self._made.popitem(last=False)
        if not progress.provider_run:
            self._waiting += 1
        if call.held:
            call.held = False
            self.released.append(stream_id)
        self._quiet()
        if self._set.has_deadlines:
            self._set_due()

    def _kept_back(self, call: _Call) -> bool:
        """Whether to wait for the end of a call that is no JSON any more, or has just been denied.

        What still comes of it is looked through for patterns, but can fix nothing.
        """
        if self._guards is None or not call.held or self._recalling:
            return False
        broken, reason = self._judge(call, self._call_step(call, call.partial), call.unknown, False)
        if broken or reason is not None:
            self._deny(call, broken, reason=reason)
        return True

    def _judge(
        self, call: _Call, step: dict[str, Any], unknown: Any, admit: bool = True
    ) -> tuple[tuple[Verdict, ...], str | None]:
        """Tell the rules that forbid of a call; what it breaks, or why it cannot be judged."""
        book = self._guards
        assert book is not None
        if unknown is _nothing_unknown:
            try:
                outcome = book.admit(step)
            except (ArgumentTypeError, ArgumentValueError):
                pass
            else:
                return outcome.broken if not outcome.committed else (), None
        seen = book.outlook(step, unknown)
        if seen.allowed is False:
            return tuple(v for v in seen.broken if v.action in ("block", "stop")), None
        if seen.allowed is None:
            why = _untold(seen.problems) if seen.problems else call.progress.malformed
            if why is None:
                why = "its arguments are no object"
            return (), f"{seen.open[0]}\0the call cannot be judged: {why}"
        if not admit:
            return (), None
        # Also without what has only begun, such as an array where a key should be.
        paths = (path for path, _ in book.outlook(step, _nothing_unknown).problems)
        outcome = book.admit(_without(step, paths))
        return outcome.broken if not outcome.committed else (), None

    # What comes out

    def _deny(
        self,
        call: _Call,
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

    def _deny_for(self, call: _Call, finding: Finding) -> None:
        """Deny a call for what a detector found."""
        text = f"This call was denied: {finding.message}"
        self._drop(call, finding, text if text[-1] in ".!?" else f"{text}.")
        if call.progress.provider_run:
            self.stop = self.stop or finding

    def _drop(self, call: _Call, finding: Finding, text: str) -> None:
        progress = call.progress
        call.denied = True
        call.held = False
        self._n_denied += 1
        self.denied.append(
            Denial(progress.stream_id, progress.call_id, progress.name, finding, text)
        )

    def _report_call(
        self,
        call: _Call,
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
        self, call: _Call, name: str, why: str, severity: Severity | None
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
    ) -> Finding:
        """Make the finding of a broken rule; by default as severe as its action."""
        policy = self._set.by_name[verdict.rule]
        if policy.message:
            what = policy.message
        elif verdict.at_end:
            what = f"what it is owed has not come: {verdict.formula}"
        else:
            what = f"{_shown(step)} breaks {verdict.formula}"
        finding = Finding(
            "policy",
            _severity(policy) if severity is None else severity,
            self._seq,
            self._now_ns,
            start,
            end,
            f"{policy.name}: {what}",
            self._evidence(policy, step, verdict),
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


def _belongs(stream_id: str, choice: str) -> bool:
    """Whether a text or a call is one of a choice; of "" all are."""
    return not choice or stream_id == choice or stream_id.startswith(f"{choice}/")


def _ns_at(seconds: float) -> int:
    """The first nanosecond at which a time in seconds is reached."""
    ns = max(0, math.floor(seconds * NS_PER_S) - 1)
    while s_from_ns(ns) < seconds:
        ns += 1
    return ns


def _without(step: dict[str, Any], paths: Iterable[str]) -> dict[str, Any]:
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


def _untold(problems: Sequence[tuple[str, str]]) -> str:
    """Why a field cannot be tested, without the value that it has: it may be secret."""
    return problems[0][1].partition(", got ")[0]


def _answer_to(stream_id: str, call_id: str | None) -> str:
    """What a call and its result have in common."""
    return f"\0{stream_id}" if call_id is None else call_id


def _identity(name: str | None, arguments: Any) -> str:
    """The same for the same call, however its arguments are written; it does not tell them."""
    text = canonical_arguments(arguments).encode("utf-8", "surrogatepass")
    return f"{name} {blake2b(text, digest_size=16).hexdigest()}"
