"""An ASGI application that answers like a provider of language models, from the simulator."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

from midstream._core.clock import monotonic_ns, s_from_ns
from midstream._core.errors import ArgumentValueError, EndpointError
from midstream._core.validate import check_choice, check_int, check_real
from midstream.stream.events import Event
from midstream.stream.recording.exporting import timed_sse
from midstream.stream.recording.payloads import Facts
from midstream.stream.simulating.lines import answer_lines, whole_line
from midstream.stream.simulating.streams import SCENARIOS, simulated_events
from midstream.stream.simulating.timing import Timing
from midstream.stream.simulating.whole import whole_answer

__all__ = ["SimulatedEndpoint"]

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]

_PATHS = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "responses",
    "/v1/messages": "anthropic",
    "/api/chat": "ollama",
    "/api/generate": "ollama",
}
_PREFIX = "sim-"
_MOST_BODY_BYTES = 16 * 2**20
#: What only media sources have, and no provider's answer.
_SERVED = tuple(name for name in SCENARIOS if name not in ("audio", "video"))
_MOST_TOKENS = 100_000


class _RefusalError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class SimulatedEndpoint:
    """Answers OpenAI's, Anthropic's and Ollama's requests, each with a simulated stream.

    Chat completions, Responses, Anthropic's messages, and Ollama's ``/api/chat`` and
    ``/api/generate``.

    The model asked for chooses the scenario: ``sim-loop`` or ``loop`` the one of that name, every
    other name the default. Each request has the next seed.

    Parameters
    ----------
    scenario : str, default "story"
        For models that name none: one of `SCENARIOS` but ``"audio"`` and ``"video"``.
    seed : int, default 0
        Of the first request.
    tokens : int, default 400
        As for `simulate`, at most 100,000; a smaller ``max_tokens`` (or ``max_output_tokens``,
        ``max_completion_tokens``, ``num_predict``) of a request counts instead.
    speed : float, default 1.0
        Times the simulated pace.
    timing, faults
        As for `simulate`. A ``"reset"`` breaks the connection.

    Attributes
    ----------
    answered : int
        Requests that were answered to their end.
    broken_off : int
        Those whose client went before: a guard that stopped one, for example.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used.

    Notes
    -----
    Without ``stream: true`` (of Ollama's, with ``false``), the whole answer comes as one object,
    when its last piece would have come; after ``"cut"`` and ``"reset"``, half of it. An answer with
    tool calls ends for them, one that a request's limit cut for its length. Keys are not looked at.
    ``GET /v1/models`` and ``/api/tags`` list the scenarios. One event loop.

    Examples
    --------
    >>> SimulatedEndpoint("loop", tokens=1000).scenario
    'loop'
    """

    def __init__(
        self,
        scenario: str = "story",
        *,
        seed: int = 0,
        tokens: int = 400,
        speed: float = 1.0,
        timing: Timing | None = None,
        faults: Iterable[str] = (),
    ) -> None:
        self.scenario = check_choice("scenario", scenario, _SERVED)
        self._seed = check_int("seed", seed)
        self._tokens = check_int("tokens", tokens, low=1, high=_MOST_TOKENS)
        self._speed = check_real("speed", speed, low=1e-6, high=1e6)
        self._timing = timing
        self._faults = (faults,) if isinstance(faults, str) else tuple(faults)
        simulated_events(scenario, timing=timing, faults=self._faults)  # what is wrong, now
        self.answered = 0
        self.broken_off = 0

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            raise ArgumentValueError(f"scope type {scope['type']!r} is not served")
        api = _PATHS.get(scope["path"])
        try:
            if api is None:
                await self._other(scope, send)
                return
            if scope["method"] != "POST":
                raise _RefusalError(405, f"{scope['method']} is not served here")
            request = _request(await _body(receive))
            events, limited = self._events(request)
        except _RefusalError as refusal:
            if scope["path"].startswith("/api/"):
                await _json(send, refusal.status, {"error": str(refusal)})
                return
            error = {"type": "invalid_request_error", "message": str(refusal)}
            await _json(send, refusal.status, {"type": "error", "error": error})
            return
        await self._answer(api, scope["path"], request, events, limited, receive, send)

    async def _other(self, scope: dict[str, Any], send: Send) -> None:
        if scope["method"] == "GET" and scope["path"] == "/api/tags":
            await _json(send, 200, {"models": [{"model": _PREFIX + name} for name in _SERVED]})
            return
        if scope["path"] != "/v1/models" or scope["method"] != "GET":
            raise _RefusalError(404, f"{scope['path']} is not served here")
        models = [{"id": _PREFIX + name, "object": "model"} for name in _SERVED]
        await _json(send, 200, {"object": "list", "data": models})

    def _events(self, request: dict[str, Any]) -> tuple[Iterator[Event], bool]:
        """The answer, and whether the request's limit cuts it."""
        model = request.get("model")
        name = model.removeprefix(_PREFIX) if isinstance(model, str) else ""
        most = [
            request.get(key) for key in ("max_tokens", "max_completion_tokens", "max_output_tokens")
        ]
        options = request.get("options")
        if isinstance(options, dict):
            most.append(options.get("num_predict"))
        wanted = [count for count in most if isinstance(count, int) and count > 0]
        seed, self._seed = self._seed, self._seed + 1
        tokens = min([self._tokens, *wanted])
        events = simulated_events(
            name if name in _SERVED else self.scenario,
            seed=seed,
            tokens=tokens,
            timing=self._timing,
            faults=self._faults,
        )
        return events, tokens < self._tokens

    async def _answer(
        self,
        api: str,
        path: str,
        request: dict[str, Any],
        events: Iterator[Event],
        limited: bool,
        receive: Receive,
        send: Send,
    ) -> None:
        # In a thread: long answers would hold all others up.
        made, reset = await asyncio.to_thread(_made, events, limited)
        if api != "chat":  # which have one answer
            made = [
                event for event in made if event.stream_id in ("0", "") or "/" in event.stream_id
            ]
        model = request.get("model")
        if not isinstance(model, str):
            model = _PREFIX + self.scenario
        facts = Facts(made, None)
        facts.model = model
        generate = path == "/api/generate"
        if not request.get("stream", api == "ollama"):
            if api == "ollama":
                answer = whole_line(facts, generate=generate)
            else:
                answer = whole_answer(made, api, model)
            await self._answer_whole(api, answer, made, reset, send)
            return
        pieces = timed_sse(facts, api, True)
        kind = b"text/event-stream"
        if api == "ollama":
            pieces, kind = answer_lines(facts, generate=generate), b"application/x-ndjson"
        gone = asyncio.ensure_future(_until_gone(receive))
        began_ns = monotonic_ns()
        head = [(b"content-type", kind), (b"cache-control", b"no-store")]
        try:
            await send({"type": "http.response.start", "status": 200, "headers": head})
            for t_ns, piece in pieces:
                wait_s = s_from_ns(round(t_ns / self._speed) - (monotonic_ns() - began_ns))
                if wait_s > 0:
                    await asyncio.wait((gone,), timeout=wait_s)
                if gone.done():
                    self.broken_off += 1
                    return
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            if reset:
                return  # the server closes what is not whole
            await send({"type": "http.response.body", "body": b""})
            self.answered += 1
        finally:
            gone.cancel()

    async def _answer_whole(
        self,
        api: str,
        answer: dict[str, Any],
        made: list[Event],
        broken: bool,
        send: Send,
    ) -> None:
        """Answer with one object, when the last piece of it would have come."""
        await asyncio.sleep(s_from_ns(made[-1].t_ns if made else 0) / self._speed)
        failed = next((event.text for event in made if event.kind == "error"), None)
        if failed is not None:
            error = {"type": "server_error", "message": failed}
            ours = {"error": failed} if api == "ollama" else {"type": "error", "error": error}
            await _json(send, 503, ours)
            return
        if broken or not any(event.kind == "end" for event in made):
            await _json(send, 200, answer, half=True)
            return
        await _json(send, 200, answer)
        self.answered += 1


def _made(events: Iterator[Event], limited: bool) -> tuple[list[Event], bool]:
    """All events, and whether something broke them off."""
    made: list[Event] = []
    called = False
    try:
        for event in events:
            called = called or event.kind == "tool_call"
            if event.kind == "end" and event.text == "stop" and (called or limited):
                event = event._replace(text="tool_calls" if called else "length")
            made.append(event)
    except EndpointError:
        return made, True
    return made, False


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _RefusalError(400, "the request broke off")
        body += message.get("body", b"")
        if len(body) > _MOST_BODY_BYTES:
            raise _RefusalError(413, f"a body of more than {_MOST_BODY_BYTES} bytes")
        if not message.get("more_body"):
            return bytes(body)


def _request(body: bytes) -> dict[str, Any]:
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        raise _RefusalError(400, "the body is not JSON") from None
    if not isinstance(request, dict):
        raise _RefusalError(400, "the body is no JSON object")
    return request


async def _json(send: Send, status: int, answer: dict[str, Any], *, half: bool = False) -> None:
    body = json.dumps(answer).encode()
    head = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": head})
    if half:  # the server closes what is not whole
        await send(
            {"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True}
        )
        return
    await send({"type": "http.response.body", "body": body})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return
