"""Which API a payload is of, and the mapper that finds out by itself."""

from __future__ import annotations

from typing import Any

from midstream._core.errors import ArgumentValueError
from midstream._core.validate import check_text
from midstream.stream.events import Event
from midstream.stream.formats.anthropic import AnthropicMapper
from midstream.stream.formats.assistants import AssistantsMapper
from midstream.stream.formats.base import PayloadMapper
from midstream.stream.formats.bedrock import BedrockMapper
from midstream.stream.formats.chat import ChatMapper
from midstream.stream.formats.cohere import CohereMapper
from midstream.stream.formats.google import GoogleMapper
from midstream.stream.formats.interactions import InteractionsMapper
from midstream.stream.formats.llama import LlamaMapper
from midstream.stream.formats.ollama import OllamaMapper
from midstream.stream.formats.protocol import Mapper
from midstream.stream.formats.realtime import RealtimeMapper
from midstream.stream.formats.responses import ResponsesMapper

__all__ = ["MAPPERS", "AutoMapper", "detect", "mapper_of", "new_mapper"]

_ALL: tuple[type[PayloadMapper], ...] = (
    *(AnthropicMapper, AssistantsMapper, BedrockMapper, ChatMapper, CohereMapper, GoogleMapper),
    *(InteractionsMapper, LlamaMapper, OllamaMapper, RealtimeMapper, ResponsesMapper),
)
#: Mappers by the short name of their API.
MAPPERS: dict[str, type[PayloadMapper]] = {mapper.api: mapper for mapper in _ALL}
#: Other names by which APIs go.
_NAMES = {
    "chat.completions": "chat",
    "completions": "chat",
    "messages": "anthropic",
    "converse-stream": "bedrock",
    "generateContent": "google",
    "chat.v2": "cohere",
}
_ANTHROPIC = ("message_start", "message_delta", "message_stop", "content_block_")
_COHERE = ("message-", "content-", "tool-call-", "tool-plan-", "citation-")
_REALTIME = (
    *("session.", "conversation.item.", "conversation.created", "input_audio_buffer."),
    *("output_audio_buffer.", "rate_limits."),
    *("response.done", "response.text.", "response.output_audio", "response.audio_transcript."),
    "transcription_session.",
)
_BEDROCK = frozenset(
    {
        *("messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop"),
        "messageStop",
    }
)
_COMPLETIONS = ("chat.completion", "text_completion")


def mapper_of(api: str) -> type[PayloadMapper] | None:
    """Mapper of an API by its name; None where there is none.

    Examples
    --------
    >>> mapper_of("anthropic") is mapper_of("messages")
    True
    """
    return MAPPERS.get(_NAMES.get(api, api))


def detect(payload: Any, event_name: str = "") -> type[PayloadMapper] | None:
    """Tell which API a payload is of.

    Parameters
    ----------
    payload : object
        As parsed.
    event_name : str, optional
        Name of the server-sent event.

    Returns
    -------
    type or None
        The mapper's class. None where the payload could be of several (an error, a heartbeat) or
        is of none that is known.

    Notes
    -----
    About 1 microsecond; it looks at a few keys.

    Examples
    --------
    >>> detect({"choices": []}).api, detect({"type": "content_block_stop", "index": 0}).api
    ('chat', 'anthropic')
    >>> detect({"error": "overloaded"}) is None
    True
    """
    if not isinstance(payload, dict):
        return None
    if isinstance(payload.get("choices"), list):
        return ChatMapper
    kind = payload.get("type")
    if isinstance(kind, str):
        found = _of_type(kind, payload)
        if found is not None:
            return found
    kind = payload.get("object")
    if isinstance(kind, str):
        if kind.startswith(_COMPLETIONS):
            return ChatMapper
        if kind.startswith("thread."):
            return AssistantsMapper
        if kind == "response" and isinstance(payload.get("output"), list):
            return ResponsesMapper
    return _of_keys(payload, event_name)


def _of_type(kind: str, payload: dict[str, Any]) -> type[PayloadMapper] | None:
    if kind.startswith(_REALTIME):
        return RealtimeMapper
    if kind.startswith("response."):
        return RealtimeMapper if "event_id" in payload else ResponsesMapper
    if kind.startswith(_ANTHROPIC):
        return AnthropicMapper
    if kind.startswith(_COHERE):
        return CohereMapper
    if kind == "message" and payload.get("role") == "assistant" and "content" in payload:
        return AnthropicMapper
    return None


def _of_keys(payload: dict[str, Any], event_name: str) -> type[PayloadMapper] | None:
    if isinstance(payload.get("done"), bool) and ("message" in payload or "response" in payload):
        return OllamaMapper
    if isinstance(payload.get("content"), str) and isinstance(payload.get("stop"), bool):
        return LlamaMapper
    if isinstance(payload.get("candidates"), list) or "promptFeedback" in payload:
        return GoogleMapper
    if not _BEDROCK.isdisjoint(payload):
        return BedrockMapper
    output = payload.get("output")
    if isinstance(output, dict) and "message" in output and "stopReason" in payload:
        return BedrockMapper
    kind = payload.get("event_type")
    if isinstance(kind, str) and kind.startswith(("interaction.", "step.")):
        return InteractionsMapper
    name = payload.get("event")
    if event_name.startswith("thread.") or (isinstance(name, str) and name.startswith("thread.")):
        return AssistantsMapper
    return None


class AutoMapper(PayloadMapper):
    """A mapper that finds out from the payloads which API they are of.

    Until one tells, payloads pass as they do where they are not known; from then on it is the
    mapper of that API that maps.

    Parameters
    ----------
    only : tuple of str, optional
        APIs, by their short names, that it may be; default any.

    Attributes
    ----------
    inner : PayloadMapper or None
        That mapper, once it is known.

    Notes
    -----
    0.2 microseconds a payload on top of that mapper's time.

    Examples
    --------
    >>> mapper = AutoMapper()
    >>> mapper.events({"type": "ping"}, 0)[0].kind, mapper.inner
    ('text', None)
    >>> mapper.events({"choices": [{"delta": {"content": "Hi"}}]}, 0)[0].text, mapper.inner.api
    ('Hi', 'chat')
    """

    __slots__ = ("_only", "inner")

    def __init__(self, only: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.inner: PayloadMapper | None = None
        self._only = only

    def events(self, payload: Any, t_ns: int, *, event: str = "") -> list[Event]:
        """Events of one parsed payload; at least one, whatever it is."""
        inner = self.inner
        if inner is None:
            found = detect(payload, event)
            if found is None or (self._only and found.api not in self._only):
                return super().events(payload, t_ns, event=event)
            inner = self.inner = found()
            inner._failed = self._failed
        inner.seq, inner.count = self.seq, self.count
        out = inner.events(payload, t_ns, event=event)
        self.seq = inner.seq
        self.count = inner.count
        self.known = True
        return out

    def finish(self, t_ns: int) -> list[Event]:
        """What was held back of texts, to be asked when nothing follows."""
        inner = self.inner
        if inner is None:
            return []
        inner.seq = self.seq
        out = inner.finish(t_ns)
        self.seq = inner.seq
        return out

    def cut(self) -> str | None:
        """Say how the stream broke off, to be asked when it is over; None where it ended well."""
        inner = self.inner
        if inner is None or self.done:
            return None
        inner.count = self.count
        return inner.cut()

    def unknown(self) -> str | None:
        """Say that nothing was of a known API, to be asked when it is over; None otherwise."""
        return None if self.known else super().unknown()


def new_mapper(api: str | None) -> Mapper:
    """Make the mapper of an API, or one that finds out.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        `api` is no text; no API goes by that name.

    Examples
    --------
    >>> type(new_mapper("messages")).__name__, type(new_mapper(None)).__name__
    ('AnthropicMapper', 'AutoMapper')
    """
    if api is None:
        return AutoMapper()
    found = mapper_of(check_text("api", api))
    if found is None:
        names = ", ".join(sorted(MAPPERS))
        raise ArgumentValueError(f"api must be one of {names}, got {api!r}")
    return found()
