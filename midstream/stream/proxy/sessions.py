"""`RealtimeSession`: messages of a Realtime session, guarded, without a socket."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from midstream.stream.formats import RealtimeMapper, history
from midstream.stream.formats.base import keep
from midstream.stream.formats.typed import call_name, call_value, output_of, runs_here
from midstream.stream.proxy.frames import compact
from midstream.stream.proxy.realtime import RealtimeCore
from midstream.stream.proxy.rewriting import Ending, Item, reason_of
from midstream.stream.realtime.payloads import OWN, Dialect, content_text, response_id_of
from midstream.stream.wire import parse_json

if TYPE_CHECKING:
    from midstream.stream.guard import Guard

__all__ = ["RealtimeSession"]

Message = str | bytes

#: Responses of one session that may come at once.
_MOST_OPEN = 64
#: Items that rules know of a session, and characters of them; the oldest are forgotten first.
_MOST_ITEMS = 4096
_MOST_CHARS = 1 << 22
#: Messages that hold nothing a model says, and pass as they come.
_PLAIN = (
    *("session.created", "session.updated", "session.closed", "session.input_"),
    *("transcription_session.", "rate_limits.", "error", "mcp_list_tools."),
    *("input_audio_buffer.", "output_audio_buffer.", "conversation."),
)
_FILING = tuple(f"conversation.item.{kind}" for kind in ("added", "created", "done", "retrieved"))


class _Open:
    """One response that comes."""

    __slots__ = ("begun_ns", "core", "last_ns")

    def __init__(self, core: RealtimeCore, now_ns: int) -> None:
        self.core = core
        self.begun_ns = self.last_ns = now_ns


class RealtimeSession:
    """What a client and a server of the Realtime API say to each other, as far as rules let it.

    Parameters
    ----------
    guard : callable
        Makes the guard of one response, of which it gets the number, from 1; 0 is for what belongs
        to none.
    ending : {"filtered", "normal", "error"}
        How a response that was stopped ends.
    max_held_bytes : int
        Most that may wait for a verdict in one response; beyond it the response fails.
    prepare : callable, optional
        Called with each core that is made, before it sees anything.
    on_over : callable, optional
        Called with the core of each response that is over.
    beta : bool, default False
        Names are those of the beta until the server says otherwise.

    Attributes
    ----------
    to_client, to_server : list of str or bytes
        Messages that are to be sent now; whoever sends them clears the list.
    problem : str or None
        Why the connection is to be closed: a rule stopped what belongs to no response. Nothing that
        the server says passes from then on.

    Notes
    -----
    Messages pass as they came until a rule acts. Each response has a guard of its own, which knows
    the items of the conversation before it. A denied call becomes a message; the server gets the
    denial as the call's output once the response is over, so that the model knows. A stop cancels
    the response at the server and ends it for the client; the session goes on. Not thread-safe.

    Examples
    --------
    >>> from midstream.stream import Guard
    >>> session = RealtimeSession(lambda number: Guard(), ending="filtered", max_held_bytes=1000)
    >>> session.from_server('{"type": "session.created"}', 0)
    >>> session.to_client
    ['{"type": "session.created"}']
    """

    def __init__(
        self,
        guard: Callable[[int], Guard],
        *,
        ending: Ending,
        max_held_bytes: int,
        prepare: Callable[[RealtimeCore], object] | None = None,
        on_over: Callable[[RealtimeCore], object] | None = None,
        beta: bool = False,
    ) -> None:
        self.to_client: list[Message] = []
        self.to_server: list[Message] = []
        self.problem: str | None = None
        self._guard = guard
        self._ending = ending
        self._max_held_bytes = max_held_bytes
        self._prepare = prepare
        self._on_over = on_over
        self._dialect = Dialect(beta=beta)
        self._open: dict[str, _Open] = {}
        self._loose: RealtimeCore | None = None  # of what belongs to no response
        self._n_begun = 0
        self._ended: dict[str, None] = {}  # responses that were ended here
        #: What the client knows of items that the server knows otherwise; None: nothing.
        self._replaced: dict[str, dict[str, Any] | None] = {}
        self._closed: dict[str, None] = {}  # of these, items that were ended here
        self._owners: dict[str, tuple[RealtimeCore, int]] = {}  # of items, while they come
        self._passed: dict[str, tuple[str | None, Any]] = {}  # calls that the client has
        self._given: dict[str, tuple[str | None, Any]] = {}  # calls that the client made up
        self._items: dict[str, dict[str, Any]] = {}  # the conversation, as far as rules read it
        self._n_chars = 0

    @property
    def busy(self) -> bool:
        """Whether a response is coming."""
        return bool(self._open)

    def guards(self) -> Iterator[Guard]:
        """Yield the guards of the responses that are coming."""
        for one in self._open.values():
            yield one.core.guard

    def from_client(self, message: Message) -> None:
        """Take a message of the client; it goes to the server as it is."""
        self.to_server.append(message)
        mark = b"function_call" if isinstance(message, bytes) else "function_call"
        if mark not in message:  # type: ignore[operator] # both are of one type
            return
        payload = _parsed(message)
        item = payload.get("item") if isinstance(payload, dict) else None
        if isinstance(item, dict) and _is_call(item) and isinstance(item.get("call_id"), str):
            keep(self._given, item["call_id"], (call_name(item), call_value(item)))

    def from_server(self, message: Message, now_ns: int) -> None:
        """Take a message of the server.

        Parameters
        ----------
        message : str or bytes
        now_ns : int
            The time, of a monotonic clock.
        """
        if self.problem is not None:
            return
        payload = _parsed(message)
        if not isinstance(payload, dict):
            self._odd(message, "a payload is no JSON object")
            return
        kind = payload.get("type")
        kind = kind if isinstance(kind, str) else ""
        if kind == "response.created":
            self._begin(message, payload, now_ns)
        elif kind.startswith(_FILING) and isinstance(payload.get("item"), dict):
            self._file(message, payload, payload["item"])
        elif kind.startswith(_PLAIN):
            self._plain(message, payload, kind)
        else:
            self._of_response(message, payload, kind, now_ns)

    def expire(self, now_ns: int) -> None:
        """Take note of the time: rules may say that a response is silent for too long."""
        for response_id, one in list(self._open.items()):
            items = one.core.expire(now_ns - one.last_ns)
            if items:
                self._send(items)
                self._settle(response_id, one)

    def fail(self, message: str) -> None:
        """End all responses that are coming with an error."""
        for response_id, one in list(self._open.items()):
            one.core.guard.take(one.core.mapper.failure(message, one.last_ns - one.begun_ns))
            self._send(one.core.fail(message))
            self._settle(response_id, one)

    def close(self, outcome: str = "closed") -> None:
        """Take note that nothing follows."""
        for response_id, one in list(self._open.items()):
            one.core.settle(outcome)
            self._over(response_id, one)
        if self._loose is not None:
            self._loose.settle(outcome)
            self._loose = None

    # Responses

    def _core(self, number: int) -> RealtimeCore:
        guard = self._guard(number)
        guard.recall(history({"input": list(self._items.values())}, "responses"))
        core = RealtimeCore(
            guard, RealtimeMapper(), ending=self._ending, max_held_bytes=self._max_held_bytes
        )
        core.dialect = self._dialect
        if self._prepare is not None:
            self._prepare(core)
        return core

    def _of_session(self) -> RealtimeCore:
        if self._loose is None:
            self._loose = self._core(0)
        return self._loose

    def _begin(self, message: Message, payload: dict[str, Any], now_ns: int) -> None:
        response_id = response_id_of(payload)
        if response_id is None:
            self._odd(message, "a response has no id")
            return
        if response_id in self._open or response_id in self._ended:
            self._odd(message, "two responses have one id")
            return
        if len(self._open) >= _MOST_OPEN:
            keep(self._ended, response_id, None)
            self._cancel(response_id)
            self._tell("more responses at once than are guarded")
            return
        one = self._opened(response_id, now_ns)
        self._judge(response_id, one, message, payload, now_ns)

    def _opened(self, response_id: str, now_ns: int) -> _Open:
        self._n_begun += 1
        one = self._open[response_id] = _Open(self._core(self._n_begun), now_ns)
        return one

    def _of_response(
        self, message: Message, payload: dict[str, Any], kind: str, now_ns: int
    ) -> None:
        response_id = response_id_of(payload)
        if response_id is None and kind.startswith("response.") and len(self._open) == 1:
            (response_id,) = self._open
        if response_id is None:
            self._of_none(message, payload, now_ns)
            return
        if response_id in self._ended:
            return
        one = self._open.get(response_id)
        if one is None:
            if len(self._open) >= _MOST_OPEN:
                self._tell("more responses at once than are guarded")
                return
            one = self._opened(response_id, now_ns)
        if kind == "response.text.delta" or kind.startswith("response.audio"):
            self._dialect.beta = True
        item = payload.get("item")
        if kind == "response.output_item.added" and isinstance(item, dict):
            item_id, index = item.get("id"), payload.get("output_index")
            if isinstance(item_id, str) and isinstance(index, int):
                keep(self._owners, item_id, (one.core, index))
        self._judge(response_id, one, message, payload, now_ns)

    def _judge(
        self,
        response_id: str,
        one: _Open,
        message: Message,
        payload: dict[str, Any],
        now_ns: int,
    ) -> None:
        one.last_ns = now_ns
        core = one.core
        self._send(self._judged(core, message, payload, now_ns - one.begun_ns))
        if core.over:
            self._settle(response_id, one)
        elif payload.get("type") == "response.done":
            self._send(core.settle("ended"))
            self._finished(response_id, one, payload)

    def _judged(
        self, core: RealtimeCore, message: Message, payload: dict[str, Any], t_ns: int
    ) -> Iterable[Item]:
        muddle = core.muddle(_text(message))
        if muddle is not None:
            return core.refuse(muddle)
        events = core.mapper.events(payload, t_ns)
        item = Item(message, payload, "", len(message))
        acts = core.look(payload, events)
        return (item,) if acts is None else core.act(payload, events, item, acts)

    def _finished(self, response_id: str, one: _Open, payload: dict[str, Any]) -> None:
        """A response has come to its end."""
        core = one.core
        response = payload.get("response")
        output = response.get("output") if isinstance(response, dict) else None
        said = core.said or [item for item in output or () if isinstance(item, dict)]
        replaced = core.replaced()
        for item in said:
            item = replaced.get(str(item.get("id")), item)
            if _is_call(item) and isinstance(item.get("id"), str):
                keep(self._passed, item["id"], (call_name(item), call_value(item)))
            self._remember(item)
        for denial in core.denied:
            if denial.call_id is not None:
                output = {"type": "function_call_output", "call_id": denial.call_id}
                output |= {"id": self._dialect.own_id("item"), "output": denial.text}
                told = self._dialect.payload("conversation.item.create", item=output)
                self.to_server.append(compact(told))
        self._over(response_id, one)

    def _settle(self, response_id: str, one: _Open) -> None:
        """End a response that was ended here: the server need not go on with it."""
        core = one.core
        keep(self._ended, response_id, None)
        self._cancel(response_id)
        done = {item["id"]: item for item in core.said if isinstance(item.get("id"), str)}
        for item_id, (owner, _) in self._owners.items():
            if owner is core:
                keep(self._replaced, item_id, done.get(item_id))
                keep(self._closed, item_id, None)
        for item in core.said:
            self._remember(item)
        core.settle("stopped" if core.stopped is not None else "failed")
        self._over(response_id, one)

    def _over(self, response_id: str, one: _Open) -> None:
        core = one.core
        self._open.pop(response_id, None)
        for item_id, message in core.replaced().items():
            keep(self._replaced, item_id, message)
        for item_id in [key for key, (owner, _) in self._owners.items() if owner is core]:
            del self._owners[item_id]
        if self._on_over is not None:
            self._on_over(core)

    def _cancel(self, response_id: str) -> None:
        cancel = self._dialect.payload("response.cancel", response_id=response_id)
        self.to_server.append(compact(cancel))

    # What belongs to no response

    def _of_none(self, message: Message, payload: dict[str, Any], now_ns: int) -> None:
        core = self._of_session()
        self._send(self._judged(core, message, payload, now_ns))
        if core.over:
            stopped = core.stopped
            self.problem = core.doubt if stopped is None else reason_of(stopped)
            self.problem = self.problem or "the session cannot be judged any more"
            core.settle("stopped")
            if self._on_over is not None:
                self._on_over(core)

    def _plain(self, message: Message, payload: dict[str, Any], kind: str) -> None:
        if kind == "error":
            error = payload.get("error")
            about = error.get("event_id") if isinstance(error, dict) else None
            if isinstance(about, str) and OWN in about:  # what the client has not asked for
                return
        elif kind == "conversation.item.input_audio_transcription.completed":
            item = self._items.get(str(payload.get("item_id")))
            if item is not None and isinstance(payload.get("transcript"), str):
                self._remember({**item, "content": payload["transcript"]})
        self.to_client.append(message)

    def _file(self, message: Message, payload: dict[str, Any], item: dict[str, Any]) -> None:
        """What the conversation says of an item."""
        if payload["type"] == "conversation.item.created":
            self._dialect.beta = True
        item_id = item.get("id")
        item_id = item_id if isinstance(item_id, str) else ""
        owner = self._owners.get(item_id)
        if item_id in self._replaced and owner is None:
            known = self._replaced[item_id]
            retrieved = payload["type"] == "conversation.item.retrieved"
            if known is not None and (retrieved or item_id not in self._closed):
                self.to_client.append(compact({**payload, "item": known}))
            return
        if owner is not None:
            core, index = owner
            muddle = core.muddle(_text(message))
            if muddle is not None:
                self._send(core.refuse(muddle))
            else:
                self._send(core.file(payload, index, len(message), message))
            response_id = core.response_id
            if core.over and response_id in self._open:
                self._settle(response_id, self._open[response_id])
            return
        if _is_call(item) and not self._is_known(item_id, item):
            self._odd(message, "a call stands where none should")
            return
        if self._of_session().muddle(_text(message)) is not None:
            self._odd(message, "a key is there twice")
            return
        if OWN not in item_id:
            self._remember(item)
        self.to_client.append(message)

    def _is_known(self, item_id: str, item: dict[str, Any]) -> bool:
        """Whether the client has a call, or made it up."""
        name, value = call_name(item), call_value(item)
        known = (self._passed.get(item_id), self._given.get(str(item.get("call_id"))))
        return any(one is not None and one[0] == name and value in ("", one[1]) for one in known)

    def _odd(self, message: Message, why: str) -> None:
        """What clients may read otherwise: it passes where no rule judges calls."""
        if self._of_session().guard.concerns((None,)):
            self._tell(f"the upstream's messages can be read in more than one way: {why}")
        else:
            self.to_client.append(message)

    def _tell(self, message: str) -> None:
        self.to_client.append(compact(self._dialect.error(message, "midstream_error")))

    def _send(self, items: Iterable[Item]) -> None:
        for item in items:
            raw = item.original
            self.to_client.append(compact(item.payload) if raw is None else raw)

    def _remember(self, item: dict[str, Any]) -> None:
        """Keep what rules read of an item."""
        item_id = str(item.get("id") or self._dialect.own_id("item"))
        kept = {name: item[name] for name in _KEPT if name in item}
        content = item.get("content")
        if content is not None:
            kept["content"] = content if isinstance(content, str) else content_text(content)
        if call_name(item) is None and output_of(item) is None and "content" not in kept:
            return
        before = self._items.pop(item_id, None)
        self._n_chars -= 0 if before is None else len(compact(before))
        self._items[item_id] = kept
        self._n_chars += len(compact(kept))
        while self._n_chars > _MOST_CHARS or len(self._items) > _MOST_ITEMS:
            oldest = next(iter(self._items))
            self._n_chars -= len(compact(self._items.pop(oldest)))


#: Fields of items that rules read.
_KEPT = ("type", "role", "call_id", "name", "arguments", "output", "status", "server_label")


def _parsed(message: Message) -> Any:
    try:
        return parse_json(_text(message))
    except (ValueError, RecursionError):
        return None


def _text(message: Message) -> str:
    if isinstance(message, str):
        return message
    encoding = json.detect_encoding(message)  # as readers such as Python's json do
    return message.decode("utf-8-sig" if encoding == "utf-8" else encoding, "replace")


def _is_call(item: dict[str, Any]) -> bool:
    return call_name(item) is not None and runs_here(item)
