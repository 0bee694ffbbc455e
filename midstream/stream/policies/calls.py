"""`CallJudgement`: tool calls, judged while they are written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream.logic import Finding as Verdict
from midstream.stream.calls import CallAssembler, CallProgress, canonical_arguments
from midstream.stream.events import Event, Finding
from midstream.stream.policies.compiling import PolicySet
from midstream.stream.policies.conditions import decided_by
from midstream.stream.policies.pending import UNASKED, PendingCall
from midstream.stream.policies.texts import TextJudgement, belongs
from midstream.stream.policies.verdicts import nothing_unknown, untold, without

__all__ = ["CallJudgement", "answer_to"]

#: Calls of which pieces may still come, and those whose results may, with the characters of their
#: arguments in all.
_MOST_CALLS = 256
_MOST_MADE = 1024
_MOST_MADE_CHARS = 1 << 22
#: Strings that are longer are judged when they are whole.
_MOST_BEGUN_CHARS = 4096


class CallJudgement(TextJudgement):
    """Calls over a `TextJudgement`: which are held, released or denied, and when."""

    __slots__ = (
        "_assembler",
        "_blocks",
        "_hold_calls",
        "_made",
        "_made_chars",
    )

    def __init__(self, policies: PolicySet, hold_calls: bool) -> None:
        super().__init__(policies)
        self._hold_calls = hold_calls
        self._assembler = CallAssembler()
        #: Calls whose results may come: name, arguments, identity, characters kept.
        self._made: dict[str, tuple[str | None, Any, str | None, int]] = {}
        self._made_chars = 0
        #: What detectors found that denies a call.
        self._blocks: dict[str, Finding] = {}

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
            call = self._calls[stream_id] = PendingCall(progress, self._set.key_fields)
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
            self._meter(event.text, None, "tool_call", stream_id, call, call.chars)
            call.chars += len(event.text)
            if call.progress.complete or call.progress.malformed is not None:
                self._settle(call)
            return 0
        for part in call.parts(event.text):
            if self.stop is not None:
                break
            if call.denied:
                self._meter(part, None, "tool_call", stream_id, call, call.chars)
                call.chars += len(part)
                continue
            if call.begun_tests and call.begun_tests is not UNASKED and self._splits(call, part):
                in_string = call.in_string
                for place, char in enumerate(part, 1):
                    call.in_string = in_string or place < len(part)
                    if call.denied or self.stop is not None:
                        self._meter(char, None, "tool_call", stream_id, call, call.chars)
                        call.chars += 1
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

    def _take_part(self, call: PendingCall, event: Event) -> None:
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

    def _follow(self, call: PendingCall) -> None:
        """See what the string that is being written has decided so far."""
        if not call.in_string:
            call.begun_tests = ()
            return
        if call.begun_tests is UNASKED:
            return
        opened = call.progress.open_string
        if opened is None:
            return
        dotted, text = opened
        if not call.begun_tests:
            path = tuple(dotted.split("."))
            tests = () if "\\" in dotted else self._set.begun_tests.get(path, ())
            if not tests or self._recalling:
                call.begun_tests = UNASKED
                return
            call.begun_path, call.begun_tests, call.decided = path, tests, ()
        if len(text) > _MOST_BEGUN_CHARS:
            call.begun_tests = UNASKED
            return
        call.begun = text
        decided = decided_by(call.begun_tests, text)
        if decided != call.decided:
            call.decided = decided
            self._consider(call)

    def _splits(self, call: PendingCall, part: str) -> bool:
        """Whether a part of a string decides something before its end."""
        if call.escapes:
            return True
        text = call.begun + (part if call.in_string else part[:-1])
        return decided_by(call.begun_tests, text[:_MOST_BEGUN_CHARS]) != call.decided

    def _doubt(self, call: PendingCall) -> None:
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

    def _scan(self, call: PendingCall, text: str) -> None:
        key = ("tool_call", call.progress.stream_id)
        if key != self._key:
            self._scanner = self._switch(key)
        self._meter(text, self._scanner, *key, call, call.chars - len(text))

    def _forget(self) -> None:
        """Drop calls that are over."""
        for key in [key for key, call in self._calls.items() if call.progress.ended]:
            del self._calls[key]

    def _call_step(self, call: PendingCall, arguments: Any) -> dict[str, Any]:
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

    def _size_up(self, call: PendingCall) -> None:
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

    def _may_match(self, call: PendingCall) -> bool:
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

    def _before(self, call: PendingCall) -> Iterator[PendingCall]:
        """Calls that began before this one, and of which the rules have not been told yet."""
        for one in self._calls.values():
            if one is call:
                return
            if not (one.committed or one.denied or one.judged):
                yield one

    def _watch(self, call: PendingCall) -> None:
        """Report what a call breaks of the rules that forbid nothing, before it is whole."""
        if self._watchers is None or not call.watched or self._recalling:
            return
        seen = self._watchers.outlook(self._call_step(call, call.partial), call.unknown)
        call.watched = bool(seen.open)
        for verdict in seen.broken:
            if verdict.rule not in call.told:
                call.told.add(verdict.rule)
                self._report_call(call, verdict, None)

    def _look(self, call: PendingCall) -> None:
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

    def _consider(self, call: PendingCall) -> None:
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

    def _scan_meaning(self, call: PendingCall, value: str) -> None:
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
            self._close_calls(self._assembler.finish())
            for _ in self._each():
                self._calls = {key: call for key, call in self._calls.items() if call.denied}
            return
        for progress in self._assembler.open_calls:
            if belongs(progress.stream_id, choice):
                self._close_calls(self._assembler.finish(progress.stream_id))
        self._calls = {
            key: call
            for key, call in self._calls.items()
            if call.denied or not belongs(key, choice)
        }

    def _close_calls(self, ended: Sequence[CallProgress]) -> None:
        here = self._choice
        for progress in list(ended):
            if self._traces is not None:
                self._enter(progress.stream_id)
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
        self._enter(here)

    def _settle(self, call: PendingCall) -> None:
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
        unknown = nothing_unknown if whole else call.unknown
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
        self._keep_made(call, arguments, step.get("call"))
        if call.named and progress.complete:
            call.shed()
        if not progress.provider_run:
            self._waiting += 1
        if call.held:
            call.held = False
            self.released.append(stream_id)
        self._quiet()
        if self._set.has_deadlines:
            self._set_due()

    def _keep_made(self, call: PendingCall, arguments: Any, identity: str | None) -> None:
        """Keep what the step of a call's result will tell of the call, as far as a rule asks."""
        key = answer_to(call.progress.stream_id, call.progress.call_id)
        n_chars = call.chars
        if not self._set.reads_arguments:
            arguments, n_chars = None, 0
        self._take_made(key)
        self._made[key] = call.progress.name, arguments, identity, n_chars
        self._made_chars += n_chars
        while len(self._made) > _MOST_MADE or self._made_chars > _MOST_MADE_CHARS:
            self._take_made(next(iter(self._made)))

    def _take_made(self, key: str) -> tuple[str | None, Any, str | None]:
        """Name, arguments and identity of the call that a result is of, as far as known."""
        made = self._made.pop(key, None)
        if made is None:
            return None, None, None
        self._made_chars -= made[3]
        return made[:3]

    def _kept_back(self, call: PendingCall) -> bool:
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
        self, call: PendingCall, step: dict[str, Any], unknown: Any, admit: bool = True
    ) -> tuple[tuple[Verdict, ...], str | None]:
        """Tell the rules that forbid of a call; what it breaks, or why it cannot be judged."""
        book = self._guards
        assert book is not None
        if unknown is nothing_unknown:
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
            why = untold(seen.problems) if seen.problems else call.progress.malformed
            if why is None:
                why = "its arguments are no object"
            return (), f"{seen.open[0]}\0the call cannot be judged: {why}"
        if not admit:
            return (), None
        # Also without what has only begun, such as an array where a key should be.
        paths = (path for path, _ in book.outlook(step, nothing_unknown).problems)
        outcome = book.admit(without(step, paths))
        return outcome.broken if not outcome.committed else (), None


def answer_to(stream_id: str, call_id: str | None) -> str:
    """What a call and its result have in common."""
    return f"\0{stream_id}" if call_id is None else call_id


def _identity(name: str | None, arguments: Any) -> str:
    """The same for the same call, however its arguments are written; it does not tell them."""
    text = canonical_arguments(arguments).encode("utf-8", "surrogatepass")
    return f"{name} {blake2b(text, digest_size=16).hexdigest()}"
