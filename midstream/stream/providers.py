"""Sources over the streams of providers' SDKs, and over what their SDKs read."""

from __future__ import annotations

from typing import Any

from midstream.stream.decode import ObjectDecoder, plain
from midstream.stream.formats.anthropic import DERIVED, AnthropicMapper
from midstream.stream.formats.detecting import AutoMapper
from midstream.stream.formats.ollama import OllamaMapper
from midstream.stream.formats.protocol import Mapper
from midstream.stream.formats.realtime import RealtimeMapper
from midstream.stream.formats.responses import ResponsesMapper
from midstream.stream.sources import Source, check_readable

__all__ = ["from_anthropic", "from_ollama", "from_openai", "from_realtime", "from_responses"]

_OPENAI = ("assistants", "chat", "realtime", "responses")
#: What a chat stream object of the SDK says beside the chunks that came over the wire.
_CHAT_DERIVED = ("content.", "refusal.", "tool_calls.", "logprobs.")


def from_openai(stream: Any, *, started_ns: int | None = None) -> Source:
    """Make a source of a stream of chat-completion (or legacy completion) chunks.

    Parameters
    ----------
    stream : openai.AsyncStream, openai.Stream, or any iterable or async iterable
        Of the SDK's chunk objects, of dicts, or of JSON text; mixtures are fine, and so is what
        ``client.chat.completions.stream`` gives. A plain iterable (the SDK's blocking client)
        makes the event loop wait where it waits. Streams of Responses, of a Realtime session or
        of an assistant's run are told by what comes.
    started_ns : int, optional
        When the request was sent, by `time.monotonic_ns`; default now.

    Returns
    -------
    Source
        Exceptions of the SDK come through as they are. A stream that ends without a finish reason
        and without ``[DONE]`` ends with an ``error`` event that says so.

    Raises
    ------
    ArgumentTypeError
        `stream` cannot be iterated, or has to be awaited or entered first. From the iterator: an
        item that is no chunk.

    See Also
    --------
    midstream.stream.formats.ChatMapper : which events a chunk gives.

    Examples
    --------
    >>> import asyncio
    >>> chunks = [{"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]}]
    >>> async def kinds():
    ...     return [event.kind async for event in from_openai(chunks)]
    >>> asyncio.run(kinds())
    ['text', 'end']
    """
    return _source(stream, AutoMapper(_OPENAI), "a chat-completion chunk", started_ns)


def from_responses(stream: Any, *, started_ns: int | None = None) -> Source:
    """Make a source of a stream of OpenAI's Responses API.

    Parameters
    ----------
    stream : openai.AsyncStream, openai.Stream, or any iterable or async iterable
        Of the SDK's event objects, of dicts, or of JSON text, and what
        ``client.responses.stream`` gives; as `from_openai` takes them.
    started_ns : int, optional
        When the request was sent, by `time.monotonic_ns`; default now.

    Returns
    -------
    Source
        Exceptions of the SDK come through as they are. A stream that ends before its response
        does ends with an ``error`` event that says so.

    Raises
    ------
    ArgumentTypeError
        As `from_openai`.

    See Also
    --------
    midstream.stream.formats.ResponsesMapper : which events there are.

    Examples
    --------
    >>> import asyncio
    >>> stream = [
    ...     {"type": "response.output_text.delta", "output_index": 0, "delta": "Hi"},
    ...     {"type": "response.completed", "response": {"status": "completed"}},
    ... ]
    >>> async def kinds():
    ...     return [event.kind async for event in from_responses(stream)]
    >>> asyncio.run(kinds())
    ['text', 'end']
    """
    return _source(stream, ResponsesMapper(), "an event of a response", started_ns)


def from_realtime(stream: Any, *, started_ns: int | None = None) -> Source:
    """Make a source of the server's events of an OpenAI Realtime session.

    Parameters
    ----------
    stream : async iterable or iterable
        A WebSocket (of the ``websockets`` package, say) or anything else that gives the events as
        JSON text; or the SDK's connection, or dicts.
    started_ns : int, optional
        When the session began, by `time.monotonic_ns`; default now.

    Returns
    -------
    Source
        Endless as the session is: it ends when the connection does. Closing the source closes the
        connection.

    Raises
    ------
    ArgumentTypeError
        As `from_openai`.

    See Also
    --------
    midstream.stream.formats.RealtimeMapper : which events there are.

    Examples
    --------
    >>> import asyncio
    >>> stream = [
    ...     '{"type": "response.output_text.delta", "response_id": "r", "delta": "Hi"}',
    ...     '{"type": "response.done", "response": {"id": "r", "status": "completed"}}',
    ... ]
    >>> async def kinds():
    ...     return [event.kind async for event in from_realtime(stream)]
    >>> asyncio.run(kinds())
    ['text', 'end']
    """
    return _source(stream, RealtimeMapper(), "an event of a Realtime session", started_ns)


def from_anthropic(stream: Any, *, started_ns: int | None = None) -> Source:
    """Make a source of a stream of Anthropic's Messages API.

    Parameters
    ----------
    stream : anthropic.AsyncStream, anthropic.AsyncMessageStream, or any iterable
        What ``client.messages.create(stream=True)`` gives, or what entering
        ``client.messages.stream()`` gives (what the SDK adds to the events is left out); of a
        blocking client as well; or events as dicts or JSON text.
    started_ns : int, optional
        When the request was sent, by `time.monotonic_ns`; default now.

    Returns
    -------
    Source
        Exceptions of the SDK come through as they are. A stream that ends before its message does
        ends with an ``error`` event that says so.

    Raises
    ------
    ArgumentTypeError
        As `from_openai`.

    See Also
    --------
    midstream.stream.formats.AnthropicMapper : which events there are.

    Examples
    --------
    >>> import asyncio
    >>> stream = [
    ...     {"type": "content_block_delta", "index": 0,
    ...      "delta": {"type": "text_delta", "text": "Hi"}},
    ...     {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
    ... ]
    >>> async def kinds():
    ...     return [event.kind async for event in from_anthropic(stream)]
    >>> asyncio.run(kinds())
    ['text', 'end']
    """
    return _source(stream, AnthropicMapper(), "an event of a message", started_ns)


def from_ollama(stream: Any, *, started_ns: int | None = None) -> Source:
    """Make a source of a stream of Ollama's own API.

    Parameters
    ----------
    stream : iterable or async iterable
        What the ``ollama`` client's ``chat`` or ``generate`` gives with ``stream=True``; or lines
        as dicts or JSON text.
    started_ns : int, optional
        When the request was sent, by `time.monotonic_ns`; default now.

    Returns
    -------
    Source
        Exceptions of the client come through as they are. A stream that ends without its last
        line ends with an ``error`` event that says so.

    Raises
    ------
    ArgumentTypeError
        As `from_openai`.

    See Also
    --------
    midstream.stream.formats.OllamaMapper : which events there are.

    Examples
    --------
    >>> import asyncio
    >>> stream = [
    ...     {"message": {"content": "Hi"}, "done": False},
    ...     {"message": {"content": ""}, "done": True, "done_reason": "stop"},
    ... ]
    >>> async def kinds():
    ...     return [event.kind async for event in from_ollama(stream)]
    >>> asyncio.run(kinds())
    ['text', 'end']
    """
    return _source(stream, OllamaMapper(), "a line of Ollama", started_ns)


def _source(stream: Any, mapper: Mapper, what: str, started_ns: int | None) -> Source:
    if isinstance(stream, (str, bytes, dict)):
        stream = [stream]
    upstream = check_readable("stream", stream, "a stream of events")
    decoder = ObjectDecoder(mapper, what=what, unwrap=_unwrap)
    return Source(upstream, decoder, started_ns=started_ns)


def _unwrap(item: Any) -> Any:
    """Find in an object of an SDK what came over the wire; None where nothing did.

    The SDKs' stream helpers repeat what came, joined to what came before it: left as it is, a
    long stream would cost the square of its length.
    """
    kind = getattr(item, "type", None)
    if not isinstance(kind, str) or not hasattr(item, "model_dump"):
        return item
    if kind == "content_block_stop":
        return plain(item, ("content_block",))
    if kind == "message_stop":
        return plain(item, ("message",))
    if kind == "chunk" and hasattr(item, "chunk"):
        return item.chunk
    if kind in DERIVED or kind.startswith(_CHAT_DERIVED):
        return None
    return plain(item, ("snapshot",)) if hasattr(item, "snapshot") else item
