"""`Turn`: one response of a session, and the guard over it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from midstream.stream.events import Denial, Event, Finding
from midstream.stream.guard import NOTHING, Guard, Step

__all__ = ["Call", "Turn"]

#: Calls and items of one response; one with more is ended.
_MOST_CALLS = 1024


class Call:
    """A call of a tool, as the guard has read it.

    Attributes
    ----------
    stream_id, call_id, name
        As its events have them.
    whole : bool
        The server says that nothing follows.
    passed : bool
        No rule holds it back.
    denial : Denial or None
        Why it is not to be run.
    settled : bool
        It was begun, or answered.
    """

    __slots__ = (
        *("call_id", "denial", "name", "passed", "pieces", "settled", "size"),
        *("stream_id", "turn", "whole"),
    )

    def __init__(self, stream_id: str, turn: Turn) -> None:
        self.stream_id = stream_id
        self.turn = turn
        self.call_id: str | None = None
        self.name: str | None = None
        self.pieces: list[str] = []
        self.size = 0
        self.whole = self.settled = False
        self.passed = True
        self.denial: Denial | None = None

    @property
    def arguments(self) -> str:
        """JSON text."""
        return "".join(self.pieces)


class Turn:
    """One response while it comes, and until its calls are answered.

    Parameters
    ----------
    response_id : str
    guard : Guard
    begun_ns : int
        Time of the session at which the response began.

    Attributes
    ----------
    stopped : Finding or None
        Why it was ended here, by the session's time.
    over : bool
        Nothing of it follows.
    status : str
        With which it ended.
    open_calls : set of Call
        Calls that have no answer yet.
    foreign : bool
        It has calls that the caller answers.
    """

    __slots__ = (
        *("begun_ns", "calls", "first_ns", "foreign", "guard", "had_calls", "held", "item_ids"),
        *("last_ns", "n_held", "open_calls", "over", "prefix", "response_id", "status", "stopped"),
        *("usage", "waits"),
    )

    def __init__(self, response_id: str, guard: Guard, begun_ns: int) -> None:
        self.response_id = response_id
        self.guard = guard
        self.begun_ns = self.last_ns = begun_ns
        self.first_ns: int | None = None
        self.prefix: str | None = None  # with which its stream ids begin, once that is known
        self.held: dict[str, list[Event]] = {}
        self.n_held = 0
        self.calls: dict[str, Call] = {}
        self.open_calls: set[Call] = set()
        self.item_ids: dict[str, None] = {}
        self.stopped: Finding | None = None
        self.over = self.foreign = self.had_calls = False
        self.status = ""
        self.waits = guard.minds_silence

    def take(self, event: Event, out: list[Event]) -> Step:
        """Let the guard look at an event; what is to be handed out now goes to `out`."""
        begun_ns = self.begun_ns
        if event.kind == "tool_call":
            self._note(event)
        last_ns, self.last_ns = self.last_ns, event.t_ns
        if self.first_ns is None and event.text:
            self.first_ns = event.t_ns
        seen = event._replace(t_ns=event.t_ns - begun_ns) if begun_ns else event
        step = self.guard.take(seen, event.t_ns - last_ns)
        if step is NOTHING:
            out.append(event)
        else:
            self.arrange(step, out, event)
        return step

    def arrange(self, step: Step, out: list[Event], event: Event | None = None) -> None:
        """Put in order what a step lets pass: held pieces, denials, the event itself."""
        for stream_id in step.released:
            events = self.held.pop(stream_id, ())
            self.n_held -= sum(len(one.text) for one in events)
            out.extend(events)
            if stream_id in self.calls:
                self.calls[stream_id].passed = True
        for denial in step.denied:
            self.n_held -= sum(len(one.text) for one in self.held.pop(denial.stream_id, ()))
            call = self.calls.get(denial.stream_id)
            if call is not None:
                call.denial = denial
            finding = denial.finding
            out.append(
                Event(
                    "error",
                    finding.seq,
                    finding.t_ns + self.begun_ns,
                    denial.text,
                    denial.name,
                    denial,
                    denial.stream_id,
                    denial.call_id,
                )
            )
        if event is not None and not step.dropped:
            if step.hold:
                self.held.setdefault(event.stream_id, []).append(event)
                self.n_held += len(event.text)
                if event.stream_id in self.calls:
                    self.calls[event.stream_id].passed = False
            else:
                out.append(event)

    def _note(self, event: Event) -> None:
        stream_id = event.stream_id
        call = self.calls.get(stream_id)
        if call is None:
            if stream_id.endswith("!"):  # the provider runs it
                return
            call = self.calls[stream_id] = Call(stream_id, self)
        call.name = event.name if call.name is None else call.name
        call.call_id = event.call_id if call.call_id is None else call.call_id
        if event.text and not call.whole:
            call.pieces.append(event.text)
            call.size += len(event.text)

    def whole(self, output_index: Any, call_id: Any) -> None:
        """Take note that a call is whole."""
        call = self.calls.get(f"{self.prefix or ''}{output_index}")
        if call is None:
            named = (one for one in self.calls.values() if one.call_id == call_id)
            call = next(named, None)
        if call is not None and not call.whole:
            call.whole = True
            self.had_calls = True
            self.open_calls.add(call)

    def excess(self, most_chars: int) -> str | None:
        """What of it is beyond a limit, for a message; None where nothing is."""
        if self.n_held > most_chars or any(call.size > most_chars for call in self.calls.values()):
            return f"a call of more than {most_chars:,} characters"
        if len(self.calls) > _MOST_CALLS or len(self.item_ids) > _MOST_CALLS:
            return f"more than {_MOST_CALLS:,} calls or items"
        return None

    def ready(self) -> Iterable[Call]:
        """Calls that can be run now."""
        return [
            call
            for call in self.calls.values()
            if call.whole and call.passed and call.denial is None and not call.settled
        ]

    def shifted(self, finding: Finding) -> Finding:
        """A finding by the session's time."""
        if not self.begun_ns:
            return finding
        return replace(finding, t_ns=finding.t_ns + self.begun_ns)
