"""`from_websocket`: one answer of a Realtime endpoint as a source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_mapping, check_real, check_text
from midstream.stream.decode import PlainDecoder
from midstream.stream.events import Event
from midstream.stream.formats.base import part_text
from midstream.stream.realtime.client import RealtimeClient
from midstream.stream.realtime.limits import RealtimeLimits
from midstream.stream.sources import Source

__all__ = ["from_websocket"]


def from_websocket(
    url: str | None = None,
    *,
    prompt: str | None = None,
    messages: Sequence[Mapping[str, Any]] | None = None,
    model: str | None = None,
    session: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    api_key: str | None = None,
    connect_timeout_s: float = 10.0,
    idle_timeout_s: float = 60.0,
) -> Source:
    """Ask a Realtime endpoint for one response and stream it.

    Parameters
    ----------
    url : str, optional
        As `RealtimeClient.connect` takes it.
    prompt : str, optional
        What the user says.
    messages : sequence of mappings, optional
        The conversation, in place of a prompt: each with ``role`` and ``content``.
    model : str, optional
        Model name.
    session : mapping, optional
        Settings of the session; the modalities among them, say ``["text"]``.
    headers : mapping of str to str, optional
        Further headers.
    api_key : str, optional
        As `RealtimeClient.connect` takes it.
    connect_timeout_s : float, default 10.0
        Limit for connecting, in seconds.
    idle_timeout_s : float, default 60.0
        Longest silence, in seconds.

    Returns
    -------
    Source
        The events of the session up to the end of the response. It connects when the first event
        is asked for. Closing the source closes the connection, and with it the response.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used; neither or both of prompt and messages are given; there is no
        key.
    ModuleNotFoundError
        websockets is not installed.
    EndpointError
        From the iterator: no connection, a refusal, or a connection that broke.
    IdleTimeoutError
        From the iterator: silence for longer than `idle_timeout_s`.

    Notes
    -----
    A source cannot answer calls of tools, nor does it connect anew: `RealtimeClient` does.

    Examples
    --------
    >>> source = from_websocket("wss://api.openai.com", model="gpt-realtime", prompt="Hello",
    ...                         api_key="sk-...", session={"output_modalities": ["text"]})
    """
    if (prompt is None) == (messages is None):
        raise ArgumentValueError("one of prompt and messages must be given, and not both")
    items = [_item(n, one) for n, one in enumerate(_checked(prompt, messages))]
    limits = RealtimeLimits(
        open_timeout_s=check_real("connect_timeout_s", connect_timeout_s, low=0.001),
        idle_timeout_s=check_real("idle_timeout_s", idle_timeout_s, low=0.001),
        max_tries=0,
    )
    client = RealtimeClient.connect(
        url,
        model=model,
        api_key=api_key,
        headers=headers,
        session=session,
        make_detectors=tuple,  # whoever reads the source watches it
        limits=limits,
    )
    return Source(_Answer(client, items), PlainDecoder())


def _checked(
    prompt: str | None, messages: Sequence[Mapping[str, Any]] | None
) -> Sequence[Mapping[str, Any]]:
    if prompt is not None:
        return [{"role": "user", "content": check_text("prompt", prompt)}]
    if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Sequence):
        kind = type(messages).__name__
        raise ArgumentTypeError(f"messages must be a sequence of mappings, got {kind}")
    return messages


def _item(number: int, message: Mapping[str, Any]) -> dict[str, Any]:
    check_mapping(f"messages[{number}]", message)
    role = message.get("role")
    if role not in ("user", "assistant", "system", "developer"):
        raise ArgumentValueError(
            f"messages[{number}]: role must be 'user', 'assistant' or 'system', got {role!r}"
        )
    kind = "output_text" if role == "assistant" else "input_text"
    role = "system" if role == "developer" else role
    content = [{"type": kind, "text": part_text(message.get("content"))}]
    return {"type": "message", "role": role, "content": content}


class _Answer:
    """Events of a session up to the end of its first response."""

    def __init__(self, client: RealtimeClient, items: list[dict[str, Any]]) -> None:
        self._client = client
        self._items = items
        self._begun = False
        self._ended_ns: int | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        client = self._client
        if not self._begun:
            self._begun = True
            await client.open()
            for item in self._items:
                await client.create_item(item)
            await client.create_response()
        if self._ended_ns is not None:  # what came with the end comes, too
            waiting = client._session.events
            if not waiting or waiting[0].t_ns != self._ended_ns:
                raise StopAsyncIteration
        event = await anext(client)
        if event.kind == "end":
            self._ended_ns = event.t_ns
        return event

    async def aclose(self) -> None:
        await self._client.aclose()
