"""One request and its answer, without a socket: what is read of both, and who rewrites the answer.

The proxy and the transports do the same here, and only differ in where the bytes come from.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from midstream._core.clock import monotonic_ns
from midstream._core.errors import ArgumentTypeError, MidstreamError
from midstream._core.validate import check_callback, check_choice, check_int
from midstream.stream import inflating
from midstream.stream.events import Event, Finding
from midstream.stream.proxy.bodies import Framing, Rewriter, make_core, rewriter_of
from midstream.stream.proxy.limits import ProxyLimits, check_limits
from midstream.stream.proxy.rewriting import ENDINGS, Core, Ending
from midstream.stream.proxy.routes import Route
from midstream.stream.wire import parse_json

if TYPE_CHECKING:
    from midstream.stream.detectors import Detector
    from midstream.stream.guard import Guard
    from midstream.stream.policies import PoliciesLike
    from midstream.stream.recording import Recorder

__all__ = [
    "Exchange",
    "Guarding",
    "Inflater",
    "RefusalError",
    "check_encoding",
    "framing_of",
    "in_turns",
    "type_of",
]


logger = logging.getLogger(__name__)

#: What is logged to pass unread, once each.
_MOST_TOLD = 100
_MOST_MODEL_CHARS = 200
#: For how long a request is read at a time, while other streams wait.
_TURN_NS = 2_000_000
#: Types of answers that are looked at as events; in those but the first, what comes will tell.
_EVENTS = frozenset(
    {"text/event-stream", "", "text/plain", "application/octet-stream", "binary/octet-stream"}
)


class RefusalError(MidstreamError):
    """A request or an answer that is not passed on.

    Attributes
    ----------
    status : int
        HTTP status of the refusal.
    reason : str
        A word for counters.
    """

    def __init__(self, status: int, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class Guarding:
    """What every stream is looked at with.

    Parameters
    ----------
    policies : PolicySet, PolicyFile, Policy, path, name, or iterable of them
        Rules, as for `Guard`; each stream follows them from its conversation's beginning.
    make_detectors : callable, optional
        Makes the detectors of one stream; default: those of `Guard`.
    ending : {"filtered", "normal", "error"}, default "filtered"
        How a stream that was stopped ends for the client; see `make_rewriter`.
    limits : ProxyLimits
    on_finding : callable, optional
        Called with each finding the moment it is made.
    allow_unread : bool, default False
        Whether answers of a model that cannot be read pass although a rule may deny or stop.
    hold_text : int, default 0
        Characters of a text that may be held back as long as they may be part of what a rule's
        pattern forbids; 0 holds none back.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        One of them cannot be used.
    """

    policies: PoliciesLike = ()
    make_detectors: Callable[[], Iterable[Detector]] | None = None
    ending: Ending = "filtered"
    limits: ProxyLimits = field(default_factory=ProxyLimits)
    on_finding: Callable[[Finding], object] | None = None
    allow_unread: bool = False
    hold_text: int = 0
    _held: list[Any] = field(default_factory=list, init=False, repr=False, compare=False)
    _told: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_choice("ending", self.ending, ENDINGS)
        check_limits(self.limits)
        check_int("hold_text", self.hold_text, low=0)
        make = self.make_detectors
        if make is not None and not callable(make):
            raise ArgumentTypeError(
                f"make_detectors must be callable, got {type(make).__name__}: a detector sees one "
                "stream, so write lambda: [...]"
            )
        if self.on_finding is not None:
            check_callback("on_finding", self.on_finding)
        if self.policies != ():
            from midstream.stream.policies import for_many_streams

            object.__setattr__(self, "policies", for_many_streams(self.policies))
        self.guard()  # so that what cannot be used is told now, and not by the first stream

    @property
    def n_policies(self) -> int:
        """How many rules there are."""
        if self.policies == ():
            return 0
        from midstream.stream.policies import as_policies

        return len(as_policies(self.policies))

    @property
    def forbids(self) -> bool:
        """Whether a rule may deny a call or stop a stream."""
        if self.policies == ():
            return False
        from midstream.stream.policies import as_policies

        return any(policy.action not in ("warn", "note") for policy in as_policies(self.policies))

    def prepare(self, core: Core) -> None:
        """Let a stream hold text back, where `hold_text` says so and a rule forbids any."""
        if not self.hold_text or self.policies == ():
            return
        from midstream.stream.policies import PolicySet, as_policies

        policies = as_policies(self.policies)
        if not self._held or self._held[0] is not policies:  # read again, or the first time
            forbidding = PolicySet(
                policy for policy in policies if policy.action not in ("warn", "note")
            )
            self._held[:] = (policies, forbidding.patterns)
        if self._held[1]:
            core.hold(self._held[1], self.hold_text)

    def check_unread(self, what: str, status: int = 403) -> None:
        """Let an answer pass unread, and say so; but not where a rule counts on its being read.

        Parameters
        ----------
        what : str
            What it is of, for people.
        status : int, default 403
            Of the refusal.

        Raises
        ------
        RefusalError
            A rule may deny or stop, and `allow_unread` does not say otherwise.
        """
        if not self.allow_unread and self.forbids:
            message = f"what a model says in an answer of {what} cannot be read, and rules judge it"
            raise RefusalError(status, f"{message}: it passes with allow_unread", reason="unread")
        if what not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(what)
            logger.warning("answers of %s pass unread: no rule and no detector sees them", what)

    def guard(
        self,
        *,
        recorder: Recorder | None = None,
        on_finding: Callable[[Finding], object] | None = None,
    ) -> Guard:
        """Make the guard of one stream."""
        from midstream.stream.guard import Guard

        told = self.on_finding
        if on_finding is not None:
            mine, theirs = on_finding, told

            def told(finding: Finding) -> None:
                mine(finding)
                if theirs is not None:
                    theirs(finding)

        return Guard(
            None if self.make_detectors is None else self.make_detectors(),
            self.policies,
            recorder=recorder,
            on_finding=told,
        )


class Exchange:
    """A guarded request and its answer.

    Parameters
    ----------
    route : Route
        Of the request.
    guarding : Guarding
        What to look at it with.
    guard : Guard
        Of this stream.

    Raises
    ------
    RefusalError
        The request cannot be read: its body is encoded in a way that is not known.
    """

    def __init__(self, route: Route, guarding: Guarding, guard: Guard) -> None:
        limits = guarding.limits
        self.route = route
        self.guard = guard
        self._guarding = guarding
        # Made before the answer is there, when there is time.
        self._core = make_core(
            route.api,
            guard,
            ending=guarding.ending,
            max_held_bytes=limits.max_held_bytes,
        )
        guarding.prepare(self._core)

    def request(self, body: bytes, encoding: str = "") -> None:
        """Read a request's body: what was said before belongs to the conversation.

        Parameters
        ----------
        body : bytes
        encoding : str
            Value of ``Content-Encoding``.

        Raises
        ------
        RefusalError
            An encoding that is not known, or too much once it is decoded.
        """
        for _ in self.requesting(body, encoding):
            pass

    def requesting(self, body: bytes, encoding: str = "") -> Iterator[None]:
        """`request` message by message: yields after each, and is to be run to its end."""
        from midstream.stream.formats.requests import telling

        if check_encoding(encoding):
            inflater = Inflater(self._guarding.limits.max_body_bytes)
            body = inflater.feed(body)
        try:
            asked = parse_json(body.decode(json.detect_encoding(body)))
        except (ValueError, RecursionError):
            return  # the upstream will say what it thinks of it
        if not isinstance(asked, dict):
            return
        model = asked.get("model")
        if isinstance(model, str) and model:
            self.guard.model = model[:_MOST_MODEL_CHARS]
        n = asked.get("n", 1) if self.route.api == "chat" else None
        choices = n if type(n) is int and n > 0 else None
        events: list[Event] = []
        yield from telling(asked, self.route.api, events)
        del asked  # of the request, the events keep what is needed
        yield from self.guard.recalling(events, choices=choices)

    def answer(self, framing: Framing) -> Rewriter:
        """Make what the answer goes through."""
        limits = self._guarding.limits
        return rewriter_of(
            self.route.api,
            self._core,
            framing,
            max_event_bytes=limits.max_event_bytes,
            max_answer_bytes=limits.max_answer_bytes,
        )


async def in_turns(steps: Iterator[None], turns: asyncio.Lock) -> None:
    """Run steps to their end, a few milliseconds at a time, with other tasks in between.

    Parameters
    ----------
    steps : iterator
    turns : asyncio.Lock
        Of all that have such steps: one of them at a time takes its turn, in order.
    """
    if _take_turn(steps):
        return
    while True:
        async with turns:
            await asyncio.sleep(0)  # in here, so that there is one turn in each round of the loop
            if _take_turn(steps):
                return


def _take_turn(steps: Iterator[None]) -> bool:
    """Go on for one turn; whether that was the end."""
    until_ns = monotonic_ns() + _TURN_NS
    return all(monotonic_ns() < until_ns for _ in steps)


def check_encoding(encoding: str) -> bool:
    """Find out whether a request's body has to be decoded.

    Raises
    ------
    RefusalError
        It cannot be.

    Examples
    --------
    >>> check_encoding("gzip"), check_encoding("")
    (True, False)
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return False
    if encoding not in Inflater.KNOWN:
        raise RefusalError(415, f"Content-Encoding {encoding!r} cannot be read", reason="encoding")
    return True


def type_of(content_type: str) -> str:
    """Name an answer's type for people.

    Examples
    --------
    >>> type_of("text/html; charset=utf-8")
    "the type 'text/html'"
    """
    kind = content_type.partition(";")[0].strip().lower()
    return f"the type {kind[:80]!r}"


def framing_of(status: int, content_type: str) -> Framing | None:
    """Say how an answer comes; None where it holds nothing of a model.

    Examples
    --------
    >>> framing_of(200, "text/event-stream; charset=utf-8")
    'sse'
    >>> framing_of(200, "")  # not told, and SDKs do not ask: it is found out
    'sse'
    >>> framing_of(429, "application/json") is None
    True
    """
    if not 200 <= status < 300:
        return None
    kind = content_type.partition(";")[0].strip().lower()
    if kind in _EVENTS:
        return "sse"
    if kind in ("application/x-ndjson", "application/ndjson", "application/jsonl"):
        return "lines"
    if kind == "application/json" or kind.endswith("+json"):
        return "json"
    return None


class Inflater(inflating.Inflater):
    """Undo gzip and deflate as bytes come; what cannot be undone is refused.

    Parameters
    ----------
    max_bytes : int, optional
        Most that may come out in all.

    Notes
    -----
    Where `midstream.stream.inflating.Inflater` raises MalformedStreamError, this one raises
    `RefusalError`: 413 for too much, 400 for what is not so encoded.
    """

    def _problem(self, message: str, *, large: bool) -> RefusalError:
        if large:
            return RefusalError(413, message, reason="body")
        return RefusalError(400, message, reason="encoding")
