"""OpenAI Realtime: the events of a session in, events out."""

from __future__ import annotations

from typing import Any, ClassVar

from midstream.stream.events import Event
from midstream.stream.formats.base import error_text, keep, part_text, text_or_none
from midstream.stream.formats.responses import Answer, Handler, ResponsesMapper
from midstream.stream.formats.typed import TypedCall

__all__ = ["RealtimeMapper"]


class RealtimeMapper(ResponsesMapper):
    """Turn the server's events of a Realtime session into events.

    Names of the general interface and of the beta (``response.text.delta``) are both understood.
    Output items are told apart as in `ResponsesMapper`; responses of a session, which may overlap,
    by their id: the stream ids of the second begin with ``"r1."``.

    - deltas of text are ``text`` events, of the transcript ``audio`` events; audio itself is an
      ``audio`` event with empty text;
    - what a session that translates says is ``audio`` likewise, with the stream id ``""``;
    - calls are ``tool_call`` events, an output that the client sends for one a ``tool_result``;
    - ``response.done`` gives the ``end`` event, whose text is the status, and the usage;
    - what the user said is no text of the model: transcripts of it pass with empty text;
    - an error does not end a session, and so does not excuse a response that is broken off.

    Notes
    -----
    About 1 microsecond for a payload with one delta.

    Examples
    --------
    >>> mapper = RealtimeMapper()
    >>> payload = {"type": "response.output_audio_transcript.delta", "response_id": "resp_1",
    ...            "output_index": 0, "content_index": 0, "delta": "Hello"}
    >>> [(event.kind, event.text, event.stream_id) for event in mapper.events(payload, 0)]
    [('audio', 'Hello', '0')]
    """

    __slots__ = ("_by_id", "_called", "_outputs")

    api: ClassVar[str] = "realtime"
    title: ClassVar[str] = "a Realtime session"
    ending: ClassVar[str] = "no response.done"

    def __init__(self) -> None:
        super().__init__()
        self._by_id: dict[str, Answer] = {}
        self._called: dict[str, TypedCall] = {}  # by the call's id
        self._outputs: dict[str, None] = {}  # ids of the items of outputs already told

    def prefix_of(self, response_id: str) -> str:
        """With what the stream ids of a response begin, as far as it has begun."""
        answer = self._by_id.get(response_id)
        return "" if answer is None else answer.prefix

    def begin_again(self) -> None:
        """Take note of a new connection: ids of responses from before mean nothing any more."""
        for answer in self._by_id.values():
            answer.ended = True
        self._by_id.clear()

    def _map(self, out: list[Event], payload: dict[str, Any], t_ns: int, event: str) -> None:
        super()._map(out, payload, t_ns, event)
        kind = payload.get("type")
        if isinstance(kind, str) and kind.startswith(_PREFIXES):
            self.known = True

    def _unended(self) -> bool:
        return super()._unended() or any(not one.ended for one in self._by_id.values())

    def _of(self, payload: dict[str, Any]) -> Answer:
        response_id = payload.get("response_id")
        if not isinstance(response_id, str):
            response = payload.get("response")
            response_id = response.get("id") if isinstance(response, dict) else None
            if not isinstance(response_id, str):
                self._answer.started = True
                return self._answer
        answer = self._by_id.get(response_id)
        if answer is None:
            answer = self._answer
            if answer.started:
                answer = Answer(f"r{self._begun}.")
                self._begun += 1
            answer.started = True
            self._answer = answer
            keep(self._by_id, response_id, answer)
        return answer

    def _begin(self, out: list[Event], payload: dict[str, Any], t_ns: int) -> None:
        self._of(payload)

    def _add_item(
        self,
        out: list[Event],
        answer: Answer,
        index: int,
        item: dict[str, Any],
        t_ns: int,
        payload: dict[str, Any],
    ) -> TypedCall:
        call = super()._add_item(out, answer, index, item, t_ns, payload)
        if call.name is not None and call.call_id is not None:
            keep(self._called, call.call_id, call)
        return call

    def _conversation_item(self, out: list[Event], payload: dict[str, Any], t_ns: int) -> None:
        item = payload.get("item")
        if not isinstance(item, dict) or item.get("type") != "function_call_output":
            return
        item_id = text_or_none(item.get("id"))
        if item_id is not None:
            if item_id in self._outputs:  # told when it was added
                return
            keep(self._outputs, item_id, None)
        call_id = text_or_none(item.get("call_id"))
        call = None if call_id is None else self._called.get(call_id)
        name, stream_id = (None, "") if call is None else (call.name, call.stream_id)
        text = part_text(item.get("output"))
        self._add(out, "tool_result", t_ns, payload, text, name, stream_id, call_id)

    def _translated(self, out: list[Event], payload: dict[str, Any], t_ns: int) -> None:
        """What a session that translates says, for as long as it lasts."""
        is_audio = payload["type"] == "session.output_audio.delta"
        text = None if is_audio else text_or_none(payload.get("delta"))
        self._add(out, "audio", t_ns, payload, text or "")

    def _failure(self, out: list[Event], payload: dict[str, Any], t_ns: int) -> None:
        error = payload.get("error")
        self._add(out, "error", t_ns, payload, error_text(error if error else payload))


_PREFIXES = (
    *("session.", "conversation.", "input_audio_buffer.", "output_audio_buffer."),
    *("transcription_session.", "rate_limits.", "mcp_list_tools."),
)
_MORE: dict[str, Handler] = {
    "error": RealtimeMapper._failure,
    "response.created": RealtimeMapper._begin,
    "response.done": RealtimeMapper._ended,
    "response.text.delta": RealtimeMapper._text_delta,
    "response.text.done": RealtimeMapper._text_done,
    "response.output_audio.delta": RealtimeMapper._audio_delta,
    "response.output_audio_transcript.delta": RealtimeMapper._transcript_delta,
    "response.output_audio_transcript.done": RealtimeMapper._transcript_done,
    "response.audio_transcript.delta": RealtimeMapper._transcript_delta,
    "response.audio_transcript.done": RealtimeMapper._transcript_done,
    "session.output_audio.delta": RealtimeMapper._translated,
    "session.output_transcript.delta": RealtimeMapper._translated,
    "conversation.item.added": RealtimeMapper._conversation_item,
    "conversation.item.created": RealtimeMapper._conversation_item,
    "conversation.item.done": RealtimeMapper._conversation_item,
}
RealtimeMapper.handlers = {**ResponsesMapper.handlers, **_MORE}
