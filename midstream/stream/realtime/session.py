"""`ClientSession`: the client's side of a Realtime session, guarded, without a socket."""

from __future__ import annotations

import base64
import binascii
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from midstream.stream.events import Event, Finding
from midstream.stream.formats import RealtimeMapper, history
from midstream.stream.formats.base import compact, keep
from midstream.stream.formats.typed import call_name, runs_here
from midstream.stream.guard import Guard
from midstream.stream.realtime.books import Books
from midstream.stream.realtime.conversation import Conversation
from midstream.stream.realtime.counting import RateLimit, merge, rate_limits_of
from midstream.stream.realtime.limits import RealtimeLimits
from midstream.stream.realtime.payloads import Dialect, response_id_of
from midstream.stream.realtime.sound import PCM16_24KHZ, Level, Playback, formats_of
from midstream.stream.realtime.turns import Call, Turn
from midstream.stream.report import Report
from midstream.stream.wire import parse_json

if TYPE_CHECKING:
    from midstream.stream.recording import Recorder

__all__ = ["ClientSession"]

#: Responses that may come at once.
_MOST_OPEN = 64
_MOST_ASKED = 256
#: Calls that wait until others have run.
_MOST_WAITING = 1024
#: Longer ids are none.
_MOST_ID_CHARS = 512


class ClientSession:
    """What a client makes of a server's payloads, and what it says in return.

    Parameters
    ----------
    guard : callable
        Makes the guard of one response of the callback that it is given for findings.
    limits : RealtimeLimits
    tools : collection of str
        Names of tools whose calls are answered here.
    recorder : Recorder, optional
        Gets all events and findings.
    on_finding : callable, optional
        Gets each finding.
    apart : bool, default False
        Audio goes another way than the payloads: WebRTC or SIP.
    beta : bool, default False
        Names are those of the beta until the server says otherwise.

    Attributes
    ----------
    events : deque of Event
        For the reader.
    to_server : deque of dict
        To be sent.
    calls : deque of Call
        To be run; `answer` takes what came of each.

    Examples
    --------
    >>> session = ClientSession(lambda found: Guard(on_finding=found), RealtimeLimits())
    >>> session.take({"type": "response.created", "response": {"id": "resp_1"}}, 0)
    >>> delta = {"type": "response.output_text.delta", "response_id": "resp_1", "delta": "Hello"}
    >>> session.take(delta, 1_000_000)
    >>> [(event.kind, event.text) for event in session.events]
    [('text', ''), ('text', 'Hello')]
    """

    def __init__(
        self,
        guard: Callable[[Callable[[Finding], object]], Guard],
        limits: RealtimeLimits,
        *,
        tools: Collection[str] = (),
        recorder: Recorder | None = None,
        on_finding: Callable[[Finding], object] | None = None,
        apart: bool = False,
        beta: bool = False,
    ) -> None:
        self.events: deque[Event] = deque()
        self.to_server: deque[dict[str, Any]] = deque()
        self.calls: deque[Call] = deque()
        self.conversation = Conversation(max_items=limits.max_items, max_chars=limits.max_chars)
        self.dialect = Dialect(beta=beta, by="client")
        self.playback = Playback()
        self.heard = self.spoken = PCM16_24KHZ
        self.rate_limits: dict[str, RateLimit] = {}
        self.session_id: str | None = None
        self.books = Books(recorder, on_finding)
        self.uncommitted_bytes = 0  # of the user's audio
        self.settings: dict[str, Any] = {}  # of the session, as they were asked for
        self._guard = guard
        self._limits = limits
        self._tools = frozenset(tools)
        self.apart = apart
        self._mapper = RealtimeMapper()
        self._level = Level()
        self._turns: dict[str, Turn] = {}  # that are not over, or have calls without an answer
        self._ended: dict[str, None] = {}
        self._asked: dict[str, dict[str, Any]] = {}  # responses asked for and not begun, by event
        self._cancelling: dict[str, None] = {}  # responses ended here whose end has not come
        self._deferred: list[dict[str, Any]] = []  # what is to be asked for behind that
        self._made: dict[str, str] = {}  # items asked for and not there, by event
        self._wants_response = False
        self._rounds = 0

    # From the server

    @property
    def busy(self) -> bool:
        """Whether a response is coming, or asked for."""
        open_ones = any(not turn.over for turn in self._turns.values())
        return bool(self._asked or self._cancelling) or open_ones

    @property
    def response_id(self) -> str | None:
        """Id of the response that is coming, the newest where there are several."""
        open_ids = [key for key, turn in self._turns.items() if not turn.over]
        return open_ids[-1] if open_ids else None

    def take(self, payload: dict[str, Any], now_ns: int) -> None:
        """Take a payload of the server.

        Parameters
        ----------
        payload : dict
        now_ns : int
            Nanoseconds since the session began.

        Raises
        ------
        Exception
            What a detector, the recorder or `on_finding` raised.
        """
        kind = payload.get("type")
        kind = kind if isinstance(kind, str) else ""
        response_id = response_id_of(payload)
        if response_id is not None or kind.startswith("response."):
            self._of_response(payload, kind, response_id, now_ns)
            return
        if kind.startswith("session."):
            payload = self._session(payload)
        elif kind.startswith("conversation.item."):
            if kind == "conversation.item.created":
                self.dialect.beta = True
            self._filed(payload)
        elif kind == "rate_limits.updated":
            self.rate_limits = rate_limits_of(payload)
        elif kind == "input_audio_buffer.committed":
            self.uncommitted_bytes = 0
            self._rounds = 0
            self.conversation.take(payload)
        elif kind == "input_audio_buffer.cleared":
            self.uncommitted_bytes = 0
        elif kind == "error":
            error = payload.get("error")
            self.refused(error if isinstance(error, dict) else {})
        for event in self._mapper.events(payload, now_ns):
            self.books.take(event)
            self.events.append(event)

    def failure(self, message: str, now_ns: int, data: Any = None) -> None:
        """Tell the reader of something that went wrong here."""
        event = self._mapper.failure(message, now_ns, data)
        self.books.take(event)
        self.events.append(event)

    def held(self, ns: int) -> None:
        """Take note that nothing was read for so long, for want of room."""
        for turn in self._turns.values():
            turn.last_ns += ns

    def expire(self, now_ns: int) -> None:
        """Take note of the time: rules and detectors may say that a response is silent too long."""
        for turn in list(self._turns.values()):
            if turn.over or turn.stopped is not None or not turn.waits:
                continue
            step = turn.guard.expire(now_ns - turn.last_ns)
            if step.findings or step.released or step.denied:
                out: list[Event] = []
                turn.arrange(step, out)
                self.events.extend(out)
                if step.stop is not None:
                    self._stop(turn, step.stop, now_ns)
                else:
                    self._run_ready(turn)

    def _of_response(
        self, payload: dict[str, Any], kind: str, response_id: str | None, now_ns: int
    ) -> None:
        if response_id is None or len(response_id) > _MOST_ID_CHARS:
            response_id = self.response_id or ""
        if response_id in self._ended:
            if kind == "response.done":
                self._late_end(payload, now_ns)
            return
        turn = self._turns.get(response_id)
        if turn is None:
            if sum(not one.over for one in self._turns.values()) >= _MOST_OPEN:
                keep(self._ended, response_id, None)
                self.to_server.append(self.cancelling(response_id))
                self.failure("more responses at once than are guarded", now_ns)
                return
            turn = self._begin(response_id, now_ns)
        if kind == "response.text.delta" or kind.startswith("response.audio"):
            self.dialect.beta = True
        given = payload.get("item")
        item_id = given.get("id") if isinstance(given, dict) else payload.get("item_id")
        if isinstance(item_id, str):
            turn.item_ids[item_id] = None
        if kind.endswith("audio.delta"):
            payload = self._measured(payload)
        out: list[Event] = []
        stop: Finding | None = None
        dropped = False
        for event in self._mapper.events(payload, now_ns):
            self.books.take(event)
            step = turn.take(event, out)
            dropped = dropped or (step.dropped and not step.denied)
            if step.stop is not None:
                stop = step.stop
                self._mapper.seq = event.seq + 1  # what else the payload gives has not been
                break
        if turn.prefix is None:
            turn.prefix = self._mapper.prefix_of(response_id)
        self.events.extend(out)
        if stop is not None:
            if not dropped:
                self.conversation.take(payload)
            self._stop(turn, stop, now_ns)
            return
        self.conversation.take(payload)
        if turn.calls or len(turn.item_ids) > 1:
            excess = turn.excess(self._limits.max_call_chars)
            if excess is not None:
                self.failure(f"the response has {excess} and is ended", now_ns)
                self._break_off(turn, now_ns, "failed")
                return
        if kind == "response.output_item.done":
            item = payload.get("item")
            if isinstance(item, dict) and call_name(item) is not None and runs_here(item):
                turn.whole(payload.get("output_index"), item.get("call_id"))
        if turn.calls:
            self._run_ready(turn)
        if kind == "response.done":
            self._done(turn, payload, now_ns)

    def _begin(self, response_id: str, now_ns: int) -> Turn:
        turn: Turn

        def found(finding: Finding) -> None:
            self.books.found(turn.shifted(finding))

        turn = Turn(response_id, self._guard(found), now_ns)
        before = self.conversation.before()
        if before:
            turn.guard.recall(history({"input": before}, "responses"), choices=1)
        self._turns[response_id] = turn
        self.books.n_responses += 1
        if self._asked:
            del self._asked[next(iter(self._asked))]
        return turn

    def _measured(self, payload: dict[str, Any]) -> dict[str, Any]:
        """A payload of audio with how loud it is."""
        delta = payload.get("delta")
        if not isinstance(delta, str):
            return payload
        try:
            data = base64.b64decode(delta, validate=True)
        except (ValueError, binascii.Error):
            return {**payload, "damaged": True}
        item_id, index = payload.get("item_id"), payload.get("content_index")
        index = index if type(index) is int else 0
        if isinstance(item_id, str):
            self.playback.received(item_id, index, self.spoken.ms_of(len(data)))
        return {**payload, **self._level.take(data, self.spoken, (item_id, index))}

    # A response ends

    def _stop(self, turn: Turn, finding: Finding, now_ns: int) -> None:
        turn.stopped = turn.shifted(finding)
        self.books.stop(turn.stopped)
        self._break_off(turn, now_ns, "stopped")

    def _break_off(self, turn: Turn, now_ns: int, outcome: str) -> None:
        """End a response here, and have the server end it."""
        self.books.finish(turn.guard, outcome)
        turn.over = True
        turn.status = outcome
        keep(self._ended, turn.response_id, None)
        keep(self._cancelling, turn.response_id, None)
        self.to_server.append(self.cancelling(turn.response_id))
        if self.apart:
            self.to_server.append(self.dialect.payload("output_audio_buffer.clear"))
        for item_id in turn.item_ids:
            heard_ms = self.playback.played_ms(item_id, now_ns)
            if heard_ms and not self.apart:
                self.truncate(item_id, heard_ms)
            self.conversation.close(item_id)
        self._end_event(turn, outcome, now_ns, turn.stopped)
        self._settle(turn)

    def _end_event(self, turn: Turn, text: str, now_ns: int, data: Any) -> None:
        seq, prefix = self._mapper.seq, self._mapper.prefix_of(turn.response_id)
        self._mapper.seq += 1
        told = parse_json(compact(data.to_dict())) if isinstance(data, Finding) else data
        event = Event("end", seq, now_ns, text, None, told, prefix)
        self.books.take(event)
        self.events.append(event)

    def truncate(self, item_id: str, audio_end_ms: int) -> None:
        """Cut an item's audio, and its transcript about as far."""
        received_ms = self.playback.received_ms(item_id)
        if received_ms and audio_end_ms < received_ms:
            self.conversation.cut(item_id, audio_end_ms / received_ms)
        self.to_server.append(
            self.dialect.payload(
                "conversation.item.truncate",
                item_id=item_id,
                content_index=self.playback.content_index(item_id),
                audio_end_ms=audio_end_ms,
            )
        )

    def _late_end(self, payload: dict[str, Any], now_ns: int) -> None:
        """The server's end of a response that was ended here: what it cost."""
        seq = self._mapper.seq
        for event in self._mapper.events(payload, now_ns):
            if event.kind == "usage":
                event = event._replace(seq=seq)
                seq += 1
                self.books.take(event)
                self.events.append(event)
        self._mapper.seq = seq
        self._cancelling.pop(response_id_of(payload) or "", None)
        if not self._cancelling:
            self.to_server.extend(self._deferred)
            self._deferred.clear()
        self._create_if_wanted()

    def _done(self, turn: Turn, payload: dict[str, Any], now_ns: int) -> None:
        response = payload.get("response")
        status = response.get("status") if isinstance(response, dict) else None
        turn.status = status if isinstance(status, str) else "completed"
        output = response.get("output") if isinstance(response, dict) else None
        for index, item in enumerate(output if isinstance(output, list) else ()):
            # Where its own message did not come.
            if not isinstance(item, dict) or call_name(item) is None or not runs_here(item):
                continue
            if item.get("status") in (None, "completed"):
                turn.whole(index, item.get("call_id"))
        out: list[Event] = []
        turn.arrange(self.books.finish(turn.guard, "ended"), out)
        self.events.extend(out)
        turn.over = True
        keep(self._ended, turn.response_id, None)
        self._run_ready(turn)
        self._settle(turn)

    # Calls

    def _run_ready(self, turn: Turn) -> None:
        """Begin the calls of a response that may be run."""
        for call in turn.ready():
            call.settled = True
            if call.name not in self._tools or call.call_id is None:
                turn.foreign = True
                turn.open_calls.discard(call)
            elif len(self.calls) >= _MOST_WAITING:
                self.answer(call, "Not run: too many calls wait already.")
            else:
                self.calls.append(call)

    def answer(self, call: Call, text: str) -> None:
        """Give a call its output."""
        turn = call.turn
        turn.open_calls.discard(call)
        self.output(call.call_id or "", text)
        if turn.over:
            self._settle(turn)

    def output(self, call_id: str, text: str) -> None:
        """Make the output of a call an item of the conversation."""
        self.create_item({"type": "function_call_output", "call_id": call_id, "output": text})

    def _settle(self, turn: Turn) -> None:
        """Answer what is not run of a response that is over; go on where all is answered."""
        for call in list(turn.open_calls):
            if call.settled:
                continue  # it runs
            call.settled = True
            turn.open_calls.discard(call)
            if call.denial is not None:
                text = call.denial.text
            elif turn.stopped is not None:
                text = f"Not run: the response was stopped. {turn.stopped.message}"
            else:
                text = "Not run: the response ended before the call was whole."
            self.output(call.call_id or "", text)
        if turn.open_calls or not turn.over:
            return
        self._turns.pop(turn.response_id, None)
        if turn.had_calls and not turn.foreign and turn.status == "completed":
            self._wants_response = True
        self._create_if_wanted()

    def _create_if_wanted(self) -> None:
        """Ask for the response to outputs, once nothing else is coming."""
        if not self._wants_response or self.busy:
            return
        self._wants_response = False
        if self._rounds >= self._limits.max_tool_rounds:
            self._rounds = 0
            message = f"{self._limits.max_tool_rounds} responses in a row to tools' outputs"
            self.failure(f"{message}: not asked for a further one", self.books.last_ns)
            return
        self._rounds += 1
        self._ask({})

    # To the server

    def create_response(self, response: Mapping[str, Any] | None = None) -> None:
        """Ask for a response."""
        self._rounds = 0
        self._wants_response = False
        self._ask({} if response is None else {"response": dict(response)})

    def _ask(self, fields: dict[str, Any]) -> None:
        payload = self.dialect.payload("response.create", **fields)
        if len(self._asked) >= _MOST_ASKED:
            del self._asked[next(iter(self._asked))]
        self._asked[payload["event_id"]] = payload
        (self._deferred if self._cancelling else self.to_server).append(payload)

    def cancelling(self, response_id: str | None) -> dict[str, Any]:
        """Payload that cancels a response."""
        named = {} if response_id is None else {"response_id": response_id}
        return self.dialect.payload("response.cancel", **named)

    def create_item(self, item: dict[str, Any], previous_item_id: str | None = None) -> str:
        """Make an item of the conversation; return its id."""
        given = item.get("id")
        item_id = given if isinstance(given, str) and given else self.dialect.own_id("item")
        item = {**item, "id": item_id}
        self.conversation.add(item, previous_item_id)
        fields = {} if previous_item_id is None else {"previous_item_id": previous_item_id}
        payload = self.dialect.payload("conversation.item.create", item=item, **fields)
        keep(self._made, payload["event_id"], item_id)
        self.to_server.append(payload)
        return item_id

    def update(self, settings: Mapping[str, Any]) -> None:
        """Change the session's settings; kept, for a further connection."""
        merge(self.settings, settings)
        self.heard, self.spoken = formats_of(self.settings, self.heard, self.spoken)
        self.to_server.append(self.updating(settings))

    def updating(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Payload that changes settings."""
        told = dict(settings)
        if not self.dialect.beta:
            told = {"type": "realtime", **told}
        return self.dialect.payload("session.update", session=told)

    # The connection

    def lost(self, cause: str, now_ns: int) -> dict[str, Any]:
        """Take note that the connection is gone, with all that the server knew.

        Returns
        -------
        dict
            What it broke: the ids of responses, and the milliseconds of the user's audio that were
            not committed.
        """
        broken: list[dict[str, Any]] = []
        for turn in list(self._turns.values()):
            if turn.over:
                continue  # its calls are still answered
            self.books.finish(turn.guard, "closed")
            turn.over = True
            turn.status = "interrupted"
            for item_id in turn.item_ids:
                self.conversation.close(item_id)
            texts = [
                self.conversation[item_id].text
                for item_id in turn.item_ids
                if item_id in self.conversation and self.conversation[item_id].type == "message"
            ]
            told: dict[str, Any] = {"type": "midstream.response.interrupted"}
            told |= {"response_id": turn.response_id}
            told |= {"item_ids": list(turn.item_ids), "text": "".join(texts)}
            broken.append(told)
            self.failure(f"the response broke off: {cause}", now_ns, told)
            self._end_event(turn, "interrupted", now_ns, None)
            for call in list(turn.open_calls):
                if not call.settled:
                    turn.open_calls.discard(call)
                    self.conversation.discard_call(call.call_id)
            if not turn.open_calls:
                self._turns.pop(turn.response_id, None)
        lost_ms = self.heard.ms_of(self.uncommitted_bytes)
        self.uncommitted_bytes = 0
        self.to_server.clear()
        self._ended.clear()
        self._cancelling.clear()
        self._deferred.clear()
        self._mapper.begin_again()
        return {
            "responses": [told["response_id"] for told in broken],
            "input_audio_ms": round(lost_ms, 1),
        }

    def restoring(self) -> list[dict[str, Any]]:
        """Payloads that make settings and conversation again on a new connection, in order."""
        self.to_server.clear()  # all that still means something is told below
        out: list[dict[str, Any]] = []
        if self.settings:
            out.append(self.updating(self.settings))
        self._made.clear()
        for item in self.conversation.again(beta=self.dialect.beta):
            payload = self.dialect.payload("conversation.item.create", item=item)
            keep(self._made, payload["event_id"], item["id"])
            out.append(payload)
        # What was asked for and had not begun.
        out += self._asked.values()
        return out

    def restored(self, told: dict[str, Any], now_ns: int) -> None:
        """Tell the reader of a new connection."""
        payload = {"type": "midstream.reconnected", **told}
        for event in self._mapper.events(payload, now_ns):
            self.books.take(event)
            self.events.append(event)
        self._create_if_wanted()

    def close(self, outcome: str, error: Exception | None, now_ns: int) -> None:
        """Take note that nothing follows."""
        for turn in list(self._turns.values()):
            if not turn.over:
                out: list[Event] = []
                turn.arrange(self.books.finish(turn.guard, "closed"), out)
                self.events.extend(out)
                turn.over = True
        self._turns.clear()
        for event in self._mapper.finish(now_ns):
            self.books.take(event)
            self.events.append(event)
        self.books.settle(outcome, error)

    def report(self, outcome: str, error: Exception | None) -> Report:
        """What is known now."""
        guards = [turn.guard for turn in self._turns.values() if not turn.over]
        return self.books.report(outcome, error, guards, self.conversation.forgotten)

    # Payloads of no response

    def _session(self, payload: dict[str, Any]) -> dict[str, Any]:
        session = payload.get("session")
        if not isinstance(session, dict):
            return payload
        if isinstance(session.get("id"), str):
            self.session_id = session["id"]
        self.heard, self.spoken = formats_of(session, self.heard, self.spoken)
        if "client_secret" in session:  # a key, which is not to be shown or recorded
            return {**payload, "session": {**session, "client_secret": None}}
        return payload

    def _filed(self, payload: dict[str, Any]) -> None:
        item = payload.get("item")
        item_id = item.get("id") if isinstance(item, dict) else payload.get("item_id")
        if payload.get("type") == "conversation.item.deleted":
            self.conversation.take(payload)
            return
        # What a stopped response goes on with is not of the reader's conversation.
        known = isinstance(item_id, str) and item_id in self.conversation
        if known or not isinstance(item, dict) or item.get("role") != "assistant" or self.busy:
            self.conversation.take(payload)

    def refused(self, about: dict[str, Any]) -> None:
        """Take note that what was asked for has not been: the event of this `event_id`."""
        event_id = about.get("event_id")
        if not isinstance(event_id, str):
            return
        self._asked.pop(event_id, None)
        item_id = self._made.pop(event_id, None)
        if item_id is not None:
            self.conversation.discard(item_id)
        self._create_if_wanted()
