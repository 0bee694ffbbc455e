"""`guard_stream`: the proxy's work around a stream that an SDK returned."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from midstream._core.clock import monotonic_ns
from midstream._core.errors import ArgumentTypeError, MalformedStreamError, MemoryLimitError
from midstream._core.validate import check_choice, check_mapping
from midstream.stream.guard import Guard
from midstream.stream.proxy.bodies import make_core
from midstream.stream.proxy.frames import compact
from midstream.stream.proxy.limits import ProxyLimits, check_limits
from midstream.stream.proxy.rewriting import Core, Item
from midstream.stream.sources import check_readable

if TYPE_CHECKING:
    from midstream.stream.detectors import Detector
    from midstream.stream.events import Finding
    from midstream.stream.guard import Denial
    from midstream.stream.policies import PoliciesLike

__all__ = ["AsyncGuardedStream", "GuardedStream", "guard_stream"]

#: APIs whose SDKs' streams can be guarded.
_APIS = ("chat", "responses", "anthropic")


def guard_stream(
    stream: Any,
    *,
    policies: PoliciesLike = (),
    detectors: Iterable[Detector] | None = None,
    ending: Literal["filtered", "normal"] = "filtered",
    request: Mapping[str, Any] | None = None,
    api: str | None = None,
    limits: ProxyLimits | None = None,
    on_finding: Callable[[Finding], object] | None = None,
) -> Any:
    """Guard a stream that an official SDK returned.

    Parameters
    ----------
    stream : iterable or async iterable
        What ``client.chat.completions.create(stream=True)``, ``client.responses.create(...)`` or
        ``client.messages.create(...)`` returned, or any iterable of the same payloads as dicts.
        The helpers that put messages together (``.stream(...)``) read the bytes themselves: for
        these there is `GuardTransport`.
    policies, detectors, on_finding
        As for `Guard`.
    ending : {"filtered", "normal"}, default "filtered"
        How a stream that was stopped ends: as one that a content filter cut, or as one that came
        to its end.
    request : mapping, optional
        The request's parameters: rules then know what was said before.
    api : {"chat", "responses", "anthropic"}, optional
        What the payloads are of; by default found out with the first.
    limits : ProxyLimits, optional
        Of these, how much may be held of what waits for a verdict.

    Returns
    -------
    GuardedStream or AsyncGuardedStream
        The same objects in the same order until a rule acts; what is made in their place is of the
        same SDK's types.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used.

    Examples
    --------
    >>> chunk = {"choices": [{"index": 0, "delta": {"content": "Try again. "}}]}
    >>> guarded = guard_stream([chunk] * 100)
    >>> len(list(guarded)), guarded.stopped.kind
    (21, 'loop')
    """
    check_readable("stream", stream, "a stream of an SDK")
    if isinstance(stream, (str, bytes, Mapping)):  # iterable, but its parts are no payloads
        raise ArgumentTypeError(
            f"stream must be a stream of an SDK, got {type(stream).__name__}: "
            "was it asked for with stream=True?"
        )
    for name in ("get_final_message", "get_final_response", "get_final_completion"):
        if hasattr(stream, name):
            raise ArgumentTypeError(
                f"stream is a {type(stream).__name__}, which puts the message together by itself:"
                " use GuardTransport, or the SDK's create(stream=True)"
            )
    check_choice("ending", ending, ("filtered", "normal"))
    if api is not None:
        check_choice("api", api, _APIS)
    guarded = _Guarded(
        Guard(detectors, policies, on_finding=on_finding),
        api,
        ending,
        check_limits(limits).max_held_bytes,
        None if request is None else check_mapping("request", request),
    )
    if hasattr(stream, "__aiter__"):
        return AsyncGuardedStream(stream, guarded)
    return GuardedStream(stream, guarded)


class _Guarded:
    """What a guarded stream does, synchronous or not."""

    def __init__(
        self,
        guard: Guard,
        api: str | None,
        ending: Literal["filtered", "normal"],
        max_held_bytes: int,
        request: Mapping[str, Any] | None,
    ) -> None:
        self.guard = guard
        self.core: Core | None = None
        self.ready: deque[Any] = deque()
        self._api = api
        self._ending = ending
        self._max_held_bytes = max_held_bytes
        self._request = request
        self._begun_ns = monotonic_ns()
        self._maker: Callable[[Any, Item], Any] = _as_dict
        self._like: Any = None

    @property
    def over(self) -> bool:
        """Whether nothing more is to be read."""
        return self.core is not None and self.core.over

    def take(self, item: Any) -> None:
        """Look at the stream's next object."""
        if isinstance(item, dict):
            payload = item
        else:
            dump = getattr(item, "model_dump", None)
            if dump is None:
                raise ArgumentTypeError(
                    f"stream must hold an SDK's objects or dicts, got {type(item).__name__}"
                )
            # Only what was sent, and no complaint where it differs from the SDK's types.
            payload = dump(mode="json", exclude_unset=True, warnings=False)
        core = self.core
        if core is None:
            core = self._begin(payload, item)
        events = core.mapper.events(payload, monotonic_ns() - self._begun_ns)
        acts = core.look(payload, events)
        if acts is None:
            self.ready.append(item)
            return
        kept = Item(item, payload, "", len(compact(payload)))
        self._give(core.act(payload, events, kept, acts))

    def finish(self) -> None:
        """Take note that the stream came to its end."""
        core = self.core
        if core is None:
            self.guard.finish("ended")
            return
        if not core.over:
            events = core.mapper.finish(monotonic_ns() - self._begun_ns)
            acts = core.look(None, events) if events else None
            if acts is not None:
                self._give(core.act(None, events, Item(None, "[DONE]"), acts))
        self._give(core.settle("ended"))

    def leave(self, outcome: str) -> None:
        """Take note that nobody reads on, or that the stream broke."""
        if self.core is not None:
            self.core.settle(outcome if self.core.stopped is None else "stopped")
        else:
            self.guard.finish(outcome)

    def _begin(self, payload: dict[str, Any], item: Any) -> Core:
        from midstream.stream.formats import detect, history

        api = self._api
        if api is None:
            found = detect(payload, "")
            api = "chat" if found is None else found.api
            if api not in _APIS:
                raise ArgumentTypeError(f"stream is of API {api!r}, not of {', '.join(_APIS)}")
        if self._request is not None:
            self.guard.recall(history(self._request, api))
        if not isinstance(item, dict):
            self._like = type(item)
            self._maker = _as_chunk if api == "chat" else _as_event
        self.core = make_core(
            api,
            self.guard,
            ending=self._ending,
            max_held_bytes=self._max_held_bytes,
        )
        return self.core

    def _give(self, items: Iterable[Item]) -> None:
        for item in items:
            if item.original is not None:
                self.ready.append(item.original)
            elif isinstance(item.payload, dict):
                if item.payload.get("error") or item.payload.get("type") == "error":
                    if self.core is not None and (doubt := self.core.doubt) is not None:
                        raise MalformedStreamError(doubt)
                    raise MemoryLimitError(
                        "a tool call is too long to wait for its verdict: "
                        f"{self._max_held_bytes} bytes"
                    )
                self.ready.append(self._maker(self._like, item))


class _Stream:
    def __init__(self, stream: Any, guarded: _Guarded) -> None:
        self._stream = stream
        self._guarded = guarded
        self._ended = False

    @property
    def findings(self) -> list[Finding]:
        """What was found so far."""
        return self._guarded.guard.findings

    @property
    def stopped(self) -> Finding | None:
        """The finding for which the stream was cut."""
        return self._guarded.guard.stopped

    @property
    def denied(self) -> list[Denial]:
        """Calls that were replaced."""
        core = self._guarded.core
        return [] if core is None else core.denied


class GuardedStream(_Stream):
    """A guarded stream of an SDK's objects; made by `guard_stream`.

    Attributes
    ----------
    findings : list of Finding
    stopped : Finding or None
    denied : list of Denial

    Notes
    -----
    A context manager. What the SDK raises comes through. A stop closes the SDK's stream.
    """

    def __init__(self, stream: Any, guarded: _Guarded) -> None:
        super().__init__(stream, guarded)
        self._iterator = iter(stream)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        guarded = self._guarded
        while not guarded.ready:
            if self._ended:
                raise StopIteration
            try:
                item = next(self._iterator)
            except StopIteration:
                self._ended = True
                guarded.finish()
                continue
            except BaseException:
                self._ended = True
                guarded.leave("failed")
                raise
            try:
                guarded.take(item)
            except BaseException:
                self.close()
                raise
            if guarded.over:
                self.close()
        return guarded.ready.popleft()

    def close(self) -> None:
        """Close the SDK's stream now. Safe to repeat."""
        self._ended = True
        self._guarded.leave("closed")
        close = getattr(self._stream, "close", None)
        if close is not None:
            close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._guarded.ready.clear()
        self.close()


class AsyncGuardedStream(_Stream):
    """A guarded asynchronous stream of an SDK's objects; made by `guard_stream`.

    Attributes
    ----------
    findings : list of Finding
    stopped : Finding or None
    denied : list of Denial

    Notes
    -----
    An async context manager. What the SDK raises comes through. A stop closes the SDK's stream.
    """

    def __init__(self, stream: Any, guarded: _Guarded) -> None:
        super().__init__(stream, guarded)
        self._iterator = aiter(stream)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        guarded = self._guarded
        while not guarded.ready:
            if self._ended:
                raise StopAsyncIteration
            try:
                item = await anext(self._iterator)
            except StopAsyncIteration:
                self._ended = True
                guarded.finish()
                continue
            except BaseException:
                self._ended = True
                guarded.leave("failed")
                raise
            try:
                guarded.take(item)
            except BaseException:
                await self.close()
                raise
            if guarded.over:
                await self.close()
        return guarded.ready.popleft()

    async def close(self) -> None:
        """Close the SDK's stream now. Safe to repeat."""
        self._ended = True
        self._guarded.leave("closed")
        close = getattr(self._stream, "aclose", None) or getattr(self._stream, "close", None)
        if close is not None:
            await close()

    aclose = close

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._guarded.ready.clear()
        await self.close()


def _as_dict(like: Any, item: Item) -> Any:
    return item.payload


def _as_chunk(like: Any, item: Item) -> Any:
    return like.construct(**item.payload)


def _as_event(like: Any, item: Item) -> Any:
    kinds = _kinds(like.__module__.partition(".")[0])
    made = kinds.get(item.payload.get("type"), like)
    return made.construct(**item.payload)


@cache
def _kinds(package: str) -> dict[str, Any]:
    """The SDK's class for each type of event."""
    if package == "anthropic":
        from anthropic.types import RawMessageStreamEvent

        union: Any = RawMessageStreamEvent
    else:
        from openai.types.responses import ResponseStreamEvent

        union = ResponseStreamEvent
    out = {}
    for kind in get_args(get_args(union)[0]):
        for name in get_args(kind.model_fields["type"].annotation):
            out[name] = kind
    return out
