"""`Choices`: a rule book for each of several answers that a response gives side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

from midstream.logic import RuleBook
from midstream.stream.events import Event
from midstream.stream.formats import choice_of, detect
from midstream.stream.policies.compiling import PolicySet
from midstream.stream.policies.pending import PendingCall

__all__ = ["Choices"]

#: Choices that have a book of their own; those beyond share the newest one's.
_MOST_CHOICES = 128
#: Steps of all choices that one which begins late is told of: the newest.
_MOST_COMMON = 8

#: What belongs to one choice, while another one is looked at.
_Trace: TypeAlias = tuple[
    RuleBook | None,
    RuleBook | None,
    dict[str, PendingCall],
    set[tuple[str, str]],
    int,
    int,
    bool,
]


class Choices:
    """What is known of each choice; that of the newest event is in the attributes.

    Choices are alternatives: of each, the client sees what was before the response, and that
    choice. So one does not satisfy or break a rule for another. What is of no choice, such as the
    usage of the whole response and the clock, happens to all of them.

    Only payloads tell that stream ids are of choices: those of chat completions, Google and
    llama.cpp. The one choice of most responses costs a comparison an event, and, where something
    was recalled, a copy of the books.
    """

    __slots__ = (
        "_calls",
        "_choice",
        "_common",
        "_guards",
        "_has_choices",
        "_n_denied",
        "_origin",
        "_place",
        "_recalling",
        "_set",
        "_some_wait",
        "_speaking",
        "_told",
        "_traces",
        "_waiting",
        "_watchers",
    )

    def __init__(self, policies: PolicySet) -> None:
        self._set = policies
        self._recalling = False
        #: Stream id of the newest event, and the choice it is of; "" before there is any.
        self._place: str | None = None
        self._choice = ""
        #: Whether stream ids are of choices; None as long as no payload has told.
        self._has_choices: bool | None = None
        #: The books after what was recalled; what has happened to all choices since.
        self._origin: tuple[RuleBook | None, RuleBook | None] | None = None
        self._common: list[dict[str, Any]] | None = None
        #: All choices, where there are several; of the present one as it was when it was entered.
        self._traces: dict[str, _Trace] | None = None
        #: Rules that have been reported for what happens to all choices now, and the kind of step.
        self._told: set[tuple[str, str]] | None = None

        self._guards, self._watchers = policies.books()
        self._calls: dict[str, PendingCall] = {}
        #: Texts in which the model has begun to write since something else happened.
        self._speaking: set[tuple[str, str]] = set()
        #: Calls of this response that wait for their results, and denied ones.
        self._waiting = 0
        self._n_denied = 0
        self._some_wait = False

    def _left(self) -> None:
        """The choice that was looked at is another one now."""
        raise NotImplementedError

    def _retell(self, step: dict[str, Any]) -> None:
        """Tell the books of a step that has had its verdict."""
        raise NotImplementedError

    def _move(self, event: Event) -> None:
        """See to the choice of an event whose stream id differs from the one before."""
        self._place = event.stream_id
        if self._has_choices is None and event.data is not None:
            mapper = detect(event.data)
            if mapper is not None:
                self._has_choices = choice_of("0", mapper.api) != ""
                if not self._has_choices:
                    self._origin = self._common = None
        if self._has_choices:
            self._enter(event.stream_id)

    def _enter(self, stream_id: str) -> None:
        """Look at the choice that a stream id is of; where it is of none, at the one before."""
        if stream_id == self._choice:
            return
        if self._traces is not None and stream_id in self._traces:
            self._turn(stream_id)  # a text has the id of its choice
            return
        # That of a later response on the same connection goes on where this one ended.
        choice = choice_of(stream_id, "chat").rpartition(".")[2]
        if choice in ("", self._choice):
            return
        if not self._choice:
            self._choice = choice  # what has been so far is all of the first one
            return
        self._turn(choice)

    def _turn(self, choice: str) -> None:
        traces = self._traces
        if traces is None:
            traces = self._traces = {}
        traces[self._choice] = (
            self._guards,
            self._watchers,
            self._calls,
            self._speaking,
            self._waiting,
            self._n_denied,
            self._some_wait,
        )
        trace = traces.get(choice)
        if trace is None and len(traces) >= _MOST_CHOICES:
            choice, trace = next(reversed(traces.items()))
        self._choice = choice
        self._left()
        if trace is None:
            traces[choice] = self._fork()
            return
        (
            self._guards,
            self._watchers,
            self._calls,
            self._speaking,
            self._waiting,
            self._n_denied,
            self._some_wait,
        ) = trace

    def _fork(self) -> _Trace:
        """Begin another choice: before it is what was recalled, and what happened to all."""
        if self._origin is None:
            self._guards, self._watchers = self._set.books()
        else:
            self._guards, self._watchers = (
                None if book is None else book.copy() for book in self._origin
            )
        self._calls, self._speaking = {}, set()
        self._waiting = self._n_denied = 0
        self._some_wait = False
        for step in self._common or ():
            self._retell(step)
        return (self._guards, self._watchers, self._calls, self._speaking, 0, 0, False)

    def _keep_origin(self) -> None:
        """Keep the books as they are before the response."""
        self._origin = (
            None if self._guards is None else self._guards.copy(),
            None if self._watchers is None else self._watchers.copy(),
        )

    def _keep_common(self, step: dict[str, Any]) -> None:
        """Keep a step for choices that have not begun."""
        if self._recalling or self._has_choices is False:
            return
        if self._common is None:
            self._common = []
        elif len(self._common) >= _MOST_COMMON:
            del self._common[0]
        self._common.append(step)

    def _each(self, stream_id: str = "") -> Iterator[None]:
        """Look at one choice after the other, and then at this one again.

        Of what has a stream id it is this one alone, since that has been entered.
        """
        if stream_id or self._traces is None:
            yield
            return
        here = self._choice
        self._told = set()
        try:
            for choice in list(self._traces):
                if choice != self._choice:
                    self._turn(choice)
                yield
        finally:
            self._told = None
            if self._choice != here:
                self._turn(here)

    def _is_news(self, rule: str, kind: str) -> bool:
        """Whether no other choice had this rule broken by what happens to all of them now."""
        if self._told is None:
            return True
        news = (rule, kind) not in self._told
        self._told.add((rule, kind))
        return news

    def _pairs(self) -> list[tuple[RuleBook | None, RuleBook | None]]:
        """The books of each choice."""
        others = [
            trace[:2] for choice, trace in (self._traces or {}).items() if choice != self._choice
        ]
        return [(self._guards, self._watchers), *others]

    def _books(self) -> Iterator[RuleBook]:
        """The books of all choices."""
        for pair in self._pairs():
            for book in pair:
                if book is not None:
                    yield book

    def _may_judge(self) -> list[RuleBook]:
        """Books of the rules that forbid: each may judge the next call, if nobody knows whose."""
        found = [guards for guards, _ in self._pairs() if guards is not None]
        if found and self._has_choices:  # one that has not begun
            fresh = (self._set.books() if self._origin is None else self._origin)[0]
            if fresh is not None:
                found.append(fresh)
        return found
