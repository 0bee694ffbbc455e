"""Loops of tool calls: the same thing done again, and nothing new learned by it."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Collection, Generator, Iterable, Sequence
from fnmatch import fnmatchcase
from hashlib import blake2b
from typing import Any, Literal, NamedTuple

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_choice, check_int
from midstream._core.words import counted
from midstream.compare import RunDetector
from midstream.stream.calls import canonical_arguments
from midstream.stream.detectors._closing import Arguments
from midstream.stream.events import SEVERITIES, Event, Finding, Severity

__all__ = ["POLLING", "ToolLoopDetector"]

#: Names of tools that are called to wait: `fnmatch` patterns over the lower-case name.
POLLING = ("*poll*", "*status*", "*wait*", "sleep*")


class ToolLoopDetector:
    """Find tool calls that repeat without progress, in a response and across a conversation.

    Calls are compared by tool and canonical arguments: order of keys, forms of numbers and white
    space do not count. A repeated call is a loop where its results stay the same and nothing new
    was learned in between, wherever in the conversation that is; so is a cycle of calls (A-B-A-B).
    Calls that differ only in numbers, identifiers, case or spaces nearly repeat, and so do those
    whose arguments only grow, where all their results are the same. Results are compared but for
    times, durations and identifiers of requests in them, JSON whatever the order of its keys.

    Parameters
    ----------
    action : {"stop", "block", "warn", "note"}, default "stop"
        Severity of a certain loop. What is only found is a ``"warn"`` under the first two, else a
        ``"note"``.
    found_copies : int, default 2
        Copies that make a finding: of a call that failed, or found nothing, with nothing new in
        between, and of a cycle, a ``"warn"``; else a ``"note"``.
    stop_copies : int, default 3
        Copies that are certain where nothing new came in between.
    scattered_copies : int, default 6
        Copies that are a ``"warn"`` where something new did: tests are run again after each change.
    done_stop_copies : int, default 10
        What takes the place of `stop_copies` where the result only says that something was done
        (``"ok"``, ``"saved"``, nothing at all): a page is scrolled, a key is pressed again.
    near : bool, default True
        Look for near-repetition too.
    near_copies : int, default 3
        Near copies that are found; one more is a ``"warn"``.
    near_stop_copies : int, default 10
        Near copies that are certain: the days of a week may well be looked up in vain. Where the
        result only says that something was done, as in a batch, they never are, and are a
        ``"note"`` from 8 on.
    max_cycle : int, default 16
        Longest cycle, in calls.
    polling : collection of str, default `POLLING`
        Patterns (as of `fnmatch`, over lower-case names) of tools that may be called as often as
        they like.
    max_calls : int, default 256
        Different calls that are remembered, the newest.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument is of the wrong type or out of range.

    Notes
    -----
    A finding is made with the character that completes a call's arguments, before the call is run:
    the third call is found by what came of the first two. ``start`` and ``end`` are characters of
    these arguments, the same however they were cut into events.

    What counts as new: the first result of a call that is not empty (thoughts are no news, whatever
    the tool for them returns), and a result that is not that of the time before. A call whose
    result has changed more than once needs a copy more for each further change to be certain.
    Calls that the model makes at once, before it has any result, are no repetition of each other
    unless they are equal and of one choice.

    Within a response the calls alone count. Where it was answered, and the answers are not seen,
    nothing is certain: another roll of the dice is the same call again.

    `recall` takes what happened before the response: it is remembered, not reported. A loop that
    goes on is reported with its second and third copy, and whenever its copies have doubled; the
    first that follows `recall` always.

    0.06 microseconds for an event of text, below 1 for a piece of arguments, 30 to 40 for a call
    that is complete and 20 to 30 for the comparison of its result; about 0.3 KiB for each
    remembered call. Not thread-safe: one detector, one stream.

    Examples
    --------
    >>> from midstream.stream import Event, ToolLoopDetector
    >>> detector = ToolLoopDetector()
    >>> for turn in range(3):
    ...     arguments = '{"q": "tea", "n": 5}' if turn != 1 else '{"n": 5.0, "q": "tea"}'
    ...     call = Event("tool_call", 2 * turn, 0, arguments, "find", None, "0/0", f"call_{turn}")
    ...     result = Event("tool_result", 2 * turn + 1, 0, "none", "find", None, "", f"call_{turn}")
    ...     for finding in (*detector.observe(call), *detector.observe(result)):
    ...         print(finding.severity, finding.message)
    warn find is called again with the same arguments: 2 times
    stop find is called again with the same arguments: 3 times, the same result each time
    """

    def __init__(
        self,
        action: Severity = "stop",
        *,
        found_copies: int = 2,
        stop_copies: int = 3,
        scattered_copies: int = 6,
        done_stop_copies: int = 10,
        near: bool = True,
        near_copies: int = 3,
        near_stop_copies: int = 10,
        max_cycle: int = 16,
        polling: Collection[str] = POLLING,
        max_calls: int = 256,
    ) -> None:
        self.action: Severity = check_choice("action", action, SEVERITIES)
        self._found = check_int("found_copies", found_copies, low=2, high=1 << 16)
        self._certain = check_int("stop_copies", stop_copies, low=2, high=1 << 16)
        self._scattered = check_int("scattered_copies", scattered_copies, low=2, high=1 << 16)
        self._done = check_int("done_stop_copies", done_stop_copies, low=2, high=1 << 16)
        self._near_found = check_int("near_copies", near_copies, low=2, high=1 << 16)
        self._near_certain = check_int("near_stop_copies", near_stop_copies, low=2, high=1 << 16)
        for name, least, at_least in (
            ("stop_copies", "found_copies", self._found),
            ("scattered_copies", "found_copies", self._found),
            ("done_stop_copies", "stop_copies", self._certain),
            ("near_stop_copies", "near_copies", self._near_found),
        ):
            value = {
                "stop_copies": self._certain,
                "scattered_copies": self._scattered,
                "done_stop_copies": self._done,
                "near_stop_copies": self._near_certain,
            }[name]
            if value < at_least:
                raise ArgumentValueError(f"{name} must be at least {least}={at_least}, got {value}")
        if type(near) is not bool:
            raise ArgumentTypeError(f"near must be a bool, got {near!r}")
        self._near = near
        self._max_cycle = check_int("max_cycle", max_cycle, low=2, high=1 << 12)
        if isinstance(polling, str) or not isinstance(polling, Collection):
            raise ArgumentTypeError(f"polling must be a collection of str, got {polling!r}")
        for pattern in polling:
            if not isinstance(pattern, str):
                raise ArgumentTypeError(f"polling must hold str, got {pattern!r}")
        self._polling = tuple(polling)
        self._max_calls = check_int("max_calls", max_calls, low=16, high=1 << 20)
        # Calls and results known, newest last.
        self._exact: OrderedDict[bytes, _Known] = OrderedDict()
        self._nearly: OrderedDict[bytes, _Known] = OrderedDict()
        self._pending: OrderedDict[int, _Made] = OrderedDict()
        self._cycles = RunDetector(self._max_cycle, self._found)
        self._near_cycles = RunDetector(self._max_cycle, self._found)
        self._texts: OrderedDict[bytes, str] = OrderedDict()
        self._void: dict[str, bool] = {}
        #: Of each tool the newest call: its canonical arguments, and their near key.
        self._newest_of: dict[str, tuple[str, bytes]] = {}
        self._polls: dict[str, bool] = {}
        # The stretch of calls without a result between them: what the model asks for at once.
        self._turn = 0
        self._answered = False
        self._in_turn: list[_Known] = []
        self._choice: str | None = None
        #: How often something new was learned.
        self._progress = 0
        self._telling = 0
        self._silent = False
        self._open: OrderedDict[str, Arguments] = OrderedDict()
        self._newest: Arguments | None = None
        self._result: _Result | None = None
        #: Calls that were seen complete.
        self.n_calls = 0
        #: Calls that were forgotten to stay within `max_calls`.
        self.evicted = 0

    @property
    def used(self) -> bool:
        """Whether it has seen a call already: a detector belongs to one stream."""
        return self.n_calls > 0 or bool(self._open) or self._result is not None

    @property
    def memory_bytes(self) -> int:
        """Bytes held, roughly: what is remembered of calls, and arguments not yet complete."""
        held = len(self._exact) + len(self._nearly) + len(self._pending)
        detectors = self._cycles.memory_bytes + self._near_cycles.memory_bytes
        texts = sum(map(len, self._texts.values()))
        return held * _KNOWN_BYTES + detectors + texts + sum(a.chars for a in self._open.values())

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a report should say about how it worked."""
        if not self.evicted:
            return ()
        return (f"memory limit: {counted(self.evicted, 'tool call')} forgotten",)

    def recall(self, events: Iterable[Event]) -> None:
        """Take what happened before: remembered, nothing reported.

        Parameters
        ----------
        events : iterable of Event
            Calls and results of earlier responses, in order. A ``text`` with the name ``"user"`` is
            something new; others are passed over.
        """
        for _ in self.recalling(events):
            pass

    def recalling(self, events: Iterable[Event]) -> Generator[None, None, None]:
        """The same event by event: it yields after each, and is to be run to its end."""
        self._silent = True
        try:
            for event in events:
                if event.kind == "text" and event.name == "user":
                    self._settle()
                    self._answered = True
                    self._end_turn()
                    self._progress += 1  # who asks again is to be answered again
                self.observe(event)
                yield
            self.finish()
        finally:
            self._silent = False
        self._answered = True
        self._telling += 1

    def observe(self, event: Event, gap_ns: int = 0) -> Sequence[Finding]:
        """Take the next event.

        Parameters
        ----------
        event : Event
        gap_ns : int
            Not used; detectors of timing use it.

        Returns
        -------
        sequence of Finding
        """
        kind = event.kind
        if kind == "tool_call":
            return self._piece(event)
        if kind == "tool_result":
            return self._take_result(event)
        if kind == "end":
            found = self._close(event.stream_id, event)
            self._settle()
            self._answered = True
            return found
        return ()

    def finish(self) -> Sequence[Finding]:
        """Judge calls that only the end of the stream makes whole."""
        found = self._close("", None)
        self._settle()
        return found

    # Pieces to calls and results.

    def _piece(self, event: Event) -> Sequence[Finding]:
        newest = self._newest
        # The next piece of the same call, as most are.
        if (
            newest is not None
            and newest.stream_id == event.stream_id
            and newest.call_id == event.call_id is not None
            and not newest.complete
        ):
            return self._complete(newest, event) if newest.take(event) else ()
        found: list[Finding] = []
        if self._result is not None:
            self._settle()
        stream_id = event.stream_id
        arguments = self._open.get(stream_id)
        if arguments is not None and arguments.is_other(event):
            found += self._complete(arguments, event)
            arguments = None
        if arguments is None:
            found += self._close_neighbours(stream_id, event)
            arguments = self._open[stream_id] = Arguments(stream_id)
            if len(self._open) > _MAX_OPEN:
                _, oldest = self._open.popitem(last=False)
                found += self._complete(oldest, event)
        self._newest = arguments
        if arguments.take(event):
            found += self._complete(arguments, event)
        return found

    def _take_result(self, event: Event) -> Sequence[Finding]:
        # Calls that are answered are complete, whatever their arguments look like.
        found: list[Finding] = []
        for name, arguments in list(self._open.items()):
            if arguments.is_within_json and event.call_id not in (None, arguments.call_id):
                continue
            found += self._complete(arguments, event)
            del self._open[name]
        result = self._result
        if result is not None and not result.goes_on(event):
            self._settle()
            result = None
        if result is None:
            self._result = _Result(event)
        else:
            result.add(event.text)
        return found

    def _close_neighbours(self, stream_id: str, event: Event) -> list[Finding]:
        """A call begins: one before it in the same choice is over, if it is not in mid-JSON."""
        found: list[Finding] = []
        choice = stream_id.rpartition("/")[0]
        for name, arguments in list(self._open.items()):
            if name.rpartition("/")[0] == choice and not arguments.is_within_json:
                if not arguments.complete:
                    found += self._complete(arguments, event)
                del self._open[name]
        return found

    def _close(self, stream_id: str, event: Event | None) -> list[Finding]:
        """All calls of a choice are over; "": all calls."""
        found: list[Finding] = []
        for name, arguments in list(self._open.items()):
            if not stream_id or name == stream_id or name.rpartition("/")[0] == stream_id:
                if not arguments.complete:
                    found += self._complete(arguments, event)
                del self._open[name]
        return found

    def _complete(self, arguments: Arguments, event: Event | None) -> list[Finding]:
        if arguments.complete:
            return []
        arguments.complete = True
        seq, t_ns = (arguments.seq, arguments.t_ns) if event is None else (event.seq, event.t_ns)
        text = arguments.text
        canonical = text if arguments.cut else canonical_arguments(text)
        choice, slash, _ = arguments.stream_id.rpartition("/")
        # Messages of a conversation are one behind the other, whatever they are called.
        beside = slash != "" and not choice.startswith("h") and self._is_beside(choice)
        verdict = self._call(arguments.name or "", canonical, arguments.call_id, beside)
        if verdict is None or self._silent:
            return []
        return [self._finding(verdict, arguments, canonical, seq, t_ns)]

    # Calls and results to verdicts.

    def _is_beside(self, choice: str) -> bool:
        """Whether a choice is another answer to the question that the turn's first one answers."""
        if self._answered:
            self._end_turn()
        if self._choice is None:
            self._choice = choice
        return choice != self._choice

    def _call(
        self, name: str, canonical: str, call_id: str | None, beside: bool
    ) -> _Verdict | None:
        self.n_calls += 1
        if self._answered:
            self._end_turn()
        if self._is_polling(name):
            self._wait_for(_Made(name, call_id, self._turn, None, None, False))
            return None
        key, near_key = _keys(name, canonical)
        if self._near:
            near_key = self._grown_from(name, canonical, near_key)
        exact, new = self._known(self._exact, key)
        nearly, near_new = self._known(self._nearly, near_key)
        if beside and exact.turn == self._turn:
            self._wait_for(_Made(name, call_id, self._turn, exact, nearly, False))
            return None  # only one of the answers will be acted upon
        again = self._repeat(exact, new)
        near_again = False
        if nearly.turn != self._turn or near_new:
            near_again = self._repeat(nearly, near_new)
            nearly.turn = self._turn
            if self._near and not beside:
                self._near_cycles.update(near_key)
        # Words to itself between calls do not break a cycle.
        if not (beside or (new and self._void.get(name, False))):
            self._cycles.update(key)
        exact.turn = self._turn
        self._in_turn += (exact, nearly)
        self._wait_for(_Made(name, call_id, self._turn, exact, nearly, near_new))
        return self._judge(exact, nearly, again, near_again)

    def _grown_from(self, name: str, canonical: str, near_key: bytes) -> bytes:
        """The near key of a call's arguments: that of the call before, where they only grew."""
        before = self._newest_of.get(name)
        if (
            before is not None
            and near_key not in self._nearly
            and before[1] in self._nearly
            and _has_grown(before[0], canonical)
        ):
            near_key = before[1]
        if len(canonical) <= _MAX_MASKED_CHARS:
            self._newest_of[name] = canonical, near_key
            if len(self._newest_of) > _MAX_NAMES:
                del self._newest_of[next(iter(self._newest_of))]
        return near_key

    def _judge(
        self, exact: _Known, nearly: _Known, again: bool, near_again: bool
    ) -> _Verdict | None:
        best: _Verdict | None = None
        if again:
            best = self._judge_call(exact, nearly.sort)
        run = self._cycles.run
        if run is not None and run.period > 1:
            cycle = self._judge_cycle(exact, nearly.sort, run.period, run.copies)
            best = _worse(best, cycle)
        if self._near and not again:
            if near_again:
                best = _worse(best, self._judge_near(nearly))
            run = self._near_cycles.run
            if run is not None and run.period > 1:
                cycle = self._judge_near_cycle(nearly, run.period, run.copies)
                best = _worse(best, cycle)
        if best is None or not best.known.tell(best.level, best.copies, self._telling):
            return None
        return best

    def _judge_call(self, exact: _Known, sort: Sort) -> _Verdict | None:
        if exact.copies < self._found:
            return None
        if exact.changes and exact.copies < self._certain:
            return None  # this call has brought something new before
        level: Level = _HINT
        # A call that worked may well be made once more; one that failed will fail again.
        many = self._found if sort == "failed" else self._certain
        if exact.direct >= many or exact.copies >= self._scattered:
            level = _FOUND
        needed = self._needed(sort)
        if sort != "failed" and exact.changes > 1:
            # What has changed more than once may well change again: a price, a die.
            needed = min(needed + exact.changes - 1, max(needed, self._done))
        if exact.direct >= needed and not exact.unseen:
            level = _CERTAIN
        return _Verdict("tool_loop", level, exact.copies, 1, exact)

    def _judge_cycle(
        self, exact: _Known, sort: Sort, period: int, copies: float
    ) -> _Verdict | None:
        if copies < self._found:
            return None
        certain = copies >= self._needed(sort) and not exact.unseen
        level: Level = _CERTAIN if certain else _FOUND
        return _Verdict("tool_loop", level, int(copies), period, exact)

    def _judge_near_cycle(self, nearly: _Known, period: int, copies: float) -> _Verdict | None:
        if copies < self._near_found or nearly.sort == "done":
            return None
        certain = copies >= self._near_certain and not nearly.unseen
        level: Level = _CERTAIN if certain else _FOUND
        return _Verdict("near_tool_loop", level, int(copies), period, nearly)

    def _needed(self, sort: Sort) -> int:
        """Copies that are certain."""
        return self._done if sort == "done" else self._certain

    def _judge_near(self, nearly: _Known) -> _Verdict | None:
        copies = nearly.direct
        if nearly.sort == "done":
            if copies < _BATCH:
                return None
            return _Verdict("near_tool_loop", _HINT, copies, 1, nearly)
        if copies < self._near_found:
            return None
        level = _HINT if copies == self._near_found else _FOUND
        if copies >= self._near_certain and not nearly.unseen:
            level = _CERTAIN
        return _Verdict("near_tool_loop", level, copies, 1, nearly)

    def _repeat(self, known: _Known, new: bool) -> bool:
        """Count a call; whether it was made before."""
        if new:
            return False
        apart = known.turn != self._turn and self._progress != known.progress
        known.direct = 1 if apart else known.direct + 1
        known.copies += 1
        return True

    def _end_turn(self) -> None:
        self._answered = False
        for made in self._pending.values():
            if made.turn != self._turn or made.exact is None or made.nearly is None:
                continue
            # Nobody saw what came of it: a call never made before may have brought anything.
            self._progress += made.first
            made.exact.unseen += 1
            made.nearly.unseen += 1
        for known in self._in_turn:
            known.progress = self._progress
        self._in_turn.clear()
        self._choice = None
        self._turn += 1

    def _wait_for(self, made: _Made) -> None:
        self._pending[self.n_calls] = made
        if len(self._pending) > _MAX_PENDING:
            self._pending.popitem(last=False)

    def _settle(self) -> None:
        """The newest result is whole: compare it."""
        result = self._result
        if result is None:
            return
        self._result = None
        self._answered = True
        made = self._made_for(result)
        if made is None:
            return
        text = "".join(result.texts)
        empty = not text or text.isspace() or _THINKS.search(made.name) is not None
        self._void[made.name] = self._void.get(made.name, True) and empty
        if len(self._void) > _MAX_NAMES:
            del self._void[next(iter(self._void))]
        exact, nearly = made.exact, made.nearly
        if exact is None or nearly is None:
            return
        if made.turn != self._turn:  # it comes late
            exact.unseen = max(0, exact.unseen - 1)
            nearly.unseen = max(0, nearly.unseen - 1)
        digest = self._remembered(text)
        unlike = nearly.result is not None and not self._alike(digest, nearly.result)
        if exact.result is not None:
            fresh = changed = not self._alike(digest, exact.result)
        else:
            changed = False
            fresh = unlike if nearly.result is not None else not empty
        if changed:
            exact.restart()
            self._cycles.reset()
        if unlike:
            nearly.restart()
            self._near_cycles.reset()
        exact.result = nearly.result = digest
        exact.answers += 1
        nearly.answers += 1
        nearly.sort = _sort_of(text)
        self._progress += fresh

    def _remembered(self, result: str) -> bytes:
        """Digest of a result; the newest are kept as they are."""
        digest = blake2b(result.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if len(result) <= _MAX_KEPT_CHARS:
            self._texts[digest] = result
            self._texts.move_to_end(digest)
            if len(self._texts) > _MAX_KEPT:
                self._texts.popitem(last=False)
        return digest

    def _alike(self, one: bytes, other: bytes) -> bool:
        """Whether two results are the same, but for what changes by itself."""
        if one == other:
            return True
        a, b = self._texts.get(one), self._texts.get(other)
        if a is None or b is None or abs(len(a) - len(b)) > _MAX_UNLIKE_CHARS:
            return False
        return _differ_in_volatile(a.split(), b.split()) or _differ_in_order(a, b)

    def _made_for(self, result: _Result) -> _Made | None:
        """The call that a result belongs to: by its id, else the oldest of that tool."""
        pending = self._pending
        for index, made in pending.items():
            if result.call_id is not None and made.call_id is not None:
                if made.call_id == result.call_id:
                    return pending.pop(index)
            elif result.name is None or result.name == made.name:
                return pending.pop(index)
        return None

    def _known(self, table: OrderedDict[bytes, _Known], key: bytes) -> tuple[_Known, bool]:
        known = table.get(key)
        if known is not None:
            table.move_to_end(key)
            return known, False
        known = table[key] = _Known()
        if len(table) > self._max_calls:
            table.popitem(last=False)
            self.evicted += 1
        return known, True

    def _is_polling(self, name: str) -> bool:
        polls = self._polls.get(name)
        if polls is None:
            folded = name.lower()
            polls = any(fnmatchcase(folded, pattern) for pattern in self._polling)
            if len(self._polls) < _MAX_NAMES:
                self._polls[name] = polls
        return polls

    def _finding(
        self, verdict: _Verdict, arguments: Arguments, canonical: str, seq: int, t_ns: int
    ) -> Finding:
        kind, level, copies, period, known = verdict
        name = arguments.name or "a tool"
        if period > 1:
            what = f"the last {period} tool calls, {name} among them,"
            how = "are made over and over" if kind == "tool_loop" else "are nearly repeated"
        else:
            what = name
            how = "is called again with the same arguments"
            if kind == "near_tool_loop":
                how = "is called again with nearly the same arguments"
        message = f"{what} {how}: {copies} times"
        if known.answers > 1:
            message += ", the same result each time"
        shown = canonical if len(canonical) <= _SHOWN else canonical[:_SHOWN] + "\u2026"
        evidence: dict[str, Any] = {
            "copies": copies,
            "period_calls": period,
            "name": arguments.name,
            "unit": f"{arguments.name or ''}({shown})",
            "channel": "tool_call",
            "stream_id": arguments.stream_id,
            "call_id": arguments.call_id,
            "calls": self.n_calls,
            "wasted_calls": (copies - 1) * period,
        }
        severity: Severity = self.action
        if level != _CERTAIN:
            mild = level == _HINT or self.action not in ("stop", "block")
            severity = "note" if mild else "warn"
        return Finding(kind, severity, seq, t_ns, 0, arguments.end, message, evidence)


Level = Literal[1, 2, 3]
LoopKind = Literal["tool_loop", "near_tool_loop"]
Sort = Literal["said", "done", "failed"]


class _Known:
    """What is known of one call, or of all that nearly equal it."""

    __slots__ = (
        "answers",
        "changes",
        "copies",
        "direct",
        "progress",
        "result",
        "sort",
        "telling",
        "told_copies",
        "told_level",
        "turn",
        "unseen",
    )

    def __init__(self) -> None:
        #: Copies since its result last changed; and of these since anything new was learned.
        self.copies = 1
        self.direct = 1
        self.result: bytes | None = None
        #: Results since it last changed, this one included; calls of earlier turns of which none
        #: was seen; and how often it changed.
        self.answers = 0
        self.unseen = 0
        self.changes = 0
        self.sort: Sort = "said"
        #: The newest turn in which it was made, and the progress when that turn was answered.
        self.turn = -1
        self.progress = -1
        self.telling = -1
        self.told_level = 0
        self.told_copies = 0

    def restart(self) -> None:
        """Its result has changed: what was counted before is no repetition."""
        self.copies = self.direct = 1
        self.answers = self.unseen = 0
        self.changes += 1
        self.told_level = self.told_copies = 0

    def tell(self, level: int, copies: int, telling: int) -> bool:
        """Whether this is worth saying after what was said already."""
        new = telling != self.telling
        if not (new or level > self.told_level or copies >= 2 * self.told_copies):
            return False
        self.telling, self.told_level, self.told_copies = telling, level, copies
        return True


class _Made(NamedTuple):
    """A call that waits for its result; without records where nobody compares it."""

    name: str
    call_id: str | None
    turn: int
    exact: _Known | None
    nearly: _Known | None
    first: bool


class _Result:
    """A result of which more may come."""

    __slots__ = ("_chars", "call_id", "name", "stream_id", "texts")

    def __init__(self, event: Event) -> None:
        self.call_id = event.call_id
        self.name = event.name
        self.stream_id = event.stream_id
        self.texts = [event.text]
        self._chars = len(event.text)  # counted along: it may come in a million pieces

    def add(self, text: str) -> None:
        if self._chars < _MAX_RESULT_CHARS:
            self.texts.append(text)
            self._chars += len(text)

    def goes_on(self, event: Event) -> bool:
        return (
            self.call_id is not None
            and event.call_id == self.call_id
            and event.stream_id == self.stream_id
        )


class _Verdict(NamedTuple):
    kind: LoopKind
    level: Level
    copies: int
    period: int
    known: _Known


def _worse(one: _Verdict | None, other: _Verdict | None) -> _Verdict | None:
    if one is None or (other is not None and other.level > one.level):
        return other
    return one


def _keys(name: str, canonical: str) -> tuple[bytes, bytes]:
    """Digests of a call, and of all that nearly equal it."""
    head = name.encode("utf-8", "surrogatepass") + b"\0"
    exact = blake2b(head + canonical.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    if len(canonical) > _MAX_MASKED_CHARS:
        return exact, exact
    masked = canonical.lower()
    if _MAY_IDENTIFY.search(masked) is not None:
        masked = _IDENTIFIER.sub("#", masked)
    masked = " ".join(_NUMBER.sub("#", masked).split())
    nearly = blake2b(head + masked.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return exact, nearly


def _has_grown(old: str, new: str) -> bool:
    """Whether `new` is `old` with something put in at one place."""
    more = len(new) - len(old)
    if more <= 0 or len(old) < _LEAST_GROWN_CHARS:
        return False
    # The longest common beginning, by halves: slices compare as fast as memory.
    low, high = 0, len(old)
    while low < high:
        middle = (low + high + 1) // 2
        if old.startswith(new[low:middle], low):
            low = middle
        else:
            high = middle - 1
    return new.endswith(old[low:])


def _differ_in_volatile(one: list[str], other: list[str]) -> bool:
    """Whether the words of two results differ only in what changes by itself."""
    if len(one) != len(other):
        return False
    places = [k for k, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
    if len(places) > _MAX_VOLATILE:
        return False
    for place in places:
        # With its neighbours: "20 ms", or a date and its time of day.
        a, b = (" ".join(words[max(0, place - 1) : place + 2]) for words in (one, other))
        if _VOLATILE.sub("#", a) != _VOLATILE.sub("#", b):
            return False
        # Time that is left tells how far something is; time that was taken tells nothing.
        if _LEFT.search(" ".join(one[max(0, place - 3) : place + 4])) is not None:
            return False
        # A bare hash is that of what was found: of an image, a file, a page.
        hashes = _HASH.findall(a)
        if hashes != _HASH.findall(b) and len(hashes) > len(_NAMED_HASH.findall(a)):
            return False
    return True


def _differ_in_order(one: str, other: str) -> bool:
    """Whether two results are JSON with the same keys and values in another order."""
    if one[:1] not in ("{", "[") or one[0] != other[0]:
        return False
    a, b = (sorted(text.translate(_NO_SIGNS).split()) for text in (one, other))
    return a == b and canonical_arguments(one) == canonical_arguments(other)


def _sort_of(result: str) -> Sort:
    """Whether a result tells of failure, or only that something was done, as those of a batch."""
    if result.isspace() or not result:
        return "done"  # who says nothing has nothing to complain of
    begun = result[:_MAX_DONE_CHARS].lower()
    if _FAILED.search(begun) is not None or result.strip() in _NOTHING:
        return "failed"
    if len(result) > _MAX_DONE_CHARS:
        return "said"
    return "done" if _DONE.search(begun) is not None else "said"


_HINT: Level = 1
_FOUND: Level = 2
_CERTAIN: Level = 3
#: Near copies of a call whose result says that something was done that are worth a word.
_BATCH = 8
_MAX_OPEN = 64
_MAX_PENDING = 256
_MAX_NAMES = 256
#: Longer arguments are compared as they are: files are written, not counted up.
_MAX_MASKED_CHARS = 2048
#: Results of which more than a digest is kept, and by how much they may differ in length.
_MAX_KEPT = 16
_MAX_KEPT_CHARS = 4096
_MAX_UNLIKE_CHARS = 64
_MAX_VOLATILE = 32
_MAX_RESULT_CHARS = 1 << 20
_MAX_DONE_CHARS = 200
#: Arguments that are shorter say too little to have grown.
_LEAST_GROWN_CHARS = 8
_SHOWN = 160
_KNOWN_BYTES = 300
_IDENTIFIER = re.compile(
    r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
    r"|\b(?=[0-9a-f]*[0-9])(?:[0-9a-f]{12,}|(?=[0-9]*[a-f])[0-9a-f]{7,})\b"
    r"|\b[a-z]{2,8}_(?=[a-z]*[0-9])(?=[0-9]*[a-z])[0-9a-z]{12,}\b"
)
#: What every identifier has; most arguments hold none, and this is found out faster.
_MAY_IDENTIFY = re.compile(r"[0-9a-f]{7}|_[0-9a-z]{12}")
_NUMBER = re.compile(r"[+-]?\d+(?:[.,:]\d+)*")
_VOLATILE = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?"
    r"|\b(?:\d\d:\d\d:\d\d(?:[.,]\d+)?"
    r"|1\d{9}(?:\d{3}|\.\d+)?"
    r"|\d+(?:\.\d+)? ?(?:s|ms|us|µs|ns|sec|secs|seconds?|milliseconds?)"
    r"|[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
    r"|(?=[0-9a-fA-F]*[0-9])[0-9a-fA-F]{16,}"
    r"|(?:req|request|trace|span|session)[_-](?=[0-9A-Za-z]*[0-9])[0-9A-Za-z]{8,}"
    r"|(?:took|(?:elapsed|duration|latency|time)_?[mM](?:illi)?s)[a-z_]*\"?[:=] ?[\d.]+"
    r"|(?:pid|process)[ :=]{1,2}\d+)\b"
)
_HASH = re.compile(r"\b(?=[0-9a-fA-F]*[0-9])[0-9a-fA-F]{16,}\b")
_NAMED_HASH = re.compile(
    r"(?i)(?:id|trace|span|session|correlation|nonce|token|ray|request)[\"']?[\s:=#(]{1,3}[\"']?"
    + _HASH.pattern
)
_NO_SIGNS = str.maketrans("{}[],", "     ")
_LEFT = re.compile(r"(?i)\b(?:left|remain\w*|eta|to go)\b")
_THINKS = re.compile(r"(?i)think|thought")
_NOTHING = frozenset({"[]", "{}", "null", "()"})
# Of small letters, and looked for at the beginnings of words alone: ten times as fast.
_FAILED = re.compile(
    r"\b(?:err(?:or)?s?\b|fail|not\b|no\b|none\b|could\b|cannot\b|can't\b|invalid"
    r"|denied|exception|time[d ]*out|unable|missing|unknown)"
)
_DONE = re.compile(
    r"\b(?:ok(?:ay)?\b|done\b|succe|(?:sav|creat|updat|delet|remov|complet|clos|mov|renam"
    r"|us|schedul|queu|stor|execut)ed\b|(?:add|insert|post|appli|copi|wr[io]t(?:e|ten)|book"
    r"|cancel+)(?:ed)?\b|sent\b|set\b|true\b)"
)
