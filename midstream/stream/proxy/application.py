"""`Proxy`: an ASGI application between clients of a language model and its server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING

from midstream._core.errors import ArgumentValueError
from midstream.stream.probes import answer_probe
from midstream.stream.proxy.counting import ProxyMetrics
from midstream.stream.proxy.desk import Desk
from midstream.stream.proxy.doors import Door
from midstream.stream.proxy.exchanges import Guarding, RefusalError
from midstream.stream.proxy.flights import Flight
from midstream.stream.proxy.headers import Receive, Scope, Send
from midstream.stream.proxy.limits import ProxyLimits
from midstream.stream.proxy.linking import Linking
from midstream.stream.proxy.passing import Passing
from midstream.stream.proxy.reaching import Reach
from midstream.stream.proxy.routes import route_of
from midstream.stream.telemetry.prometheus import (
    CONTENT_TYPE,
    Family,
    exposition,
    server_families,
)

if TYPE_CHECKING:
    import httpx2

    from midstream.stream.detectors import Detector
    from midstream.stream.events import Finding
    from midstream.stream.guard import Guard, StreamObserver
    from midstream.stream.policies import PoliciesLike
    from midstream.stream.proxy.rewriting import Ending

__all__ = ["Proxy"]

_OWN = "/-/"
#: Of health and readiness.
_PROBES = ("/-/health", "/-/ready")


class Proxy:
    """An ASGI application that passes requests on to one server and guards its answers.

    Clients of OpenAI (chat completions and Responses), Anthropic, Ollama and llama.cpp use it by
    changing their base URL. Bytes pass at once and unchanged until a rule acts: a stop closes the
    upstream and ends the client's stream in its own protocol's way, a denied tool call is replaced
    by text that says which rule, why, and what would be right. Every other path passes unread;
    where a model may answer there (Bedrock, Google, Cohere, Assistants, batches, what is not
    known), this is logged, and refused with 403 where a rule may deny or stop.

    Parameters
    ----------
    upstream : str
        URL of the server, ``https://api.openai.com`` for example. Nothing else can be reached.
    policies : PolicySet, PolicyFile, Policy, path, name, or iterable of them, optional
        Rules, as for `Guard`. A `PolicyFile` is read again when it changes.
    make_detectors : callable, optional
        Makes the detectors of one stream, as ``lambda: [LoopDetector()]``; default: those of
        `Guard`.
    ending : {"filtered", "normal", "error"}, default "filtered"
        How a stream that was stopped ends for the client: as one that a content filter cut, as one
        that came to its end, or with an error.
    limits : ProxyLimits, optional
    recordings : path, optional
        Folder for a recording of every guarded stream, under an id made here, which the client
        gets as the header ``x-midstream-id``; those of a Realtime session's responses have a
        number behind it. The folder is made if it is not there, and holds what `limits` say: the
        oldest recordings go first. Of requests that are refused, or answered with an error,
        nothing is kept.
    redact : bool, default True
        Replace secrets in recordings, as `Redactor` knows them.
    hosts : collection of str, optional
        Values of the ``Host`` header that are served, without port; others get 421, and what pages
        of others ask for (``Origin``) 403. None serves all. A server on one's own machine without
        it can be reached by any web page.
    on_finding : callable, optional
        Called with the request's id and each finding, the moment it is made.
    observe : callable, optional
        Called with the request's id, its API and its guard when a guarded stream begins: makes who
        is told of its events, for `Guard.attach`. What that raises ends the stream.
    allow_unread : bool, default False
        Let answers of a model that cannot be read pass although a rule may deny or stop.
    hold_text : int, default 0
        Characters of a text that may be held back as long as they may be part of what the pattern
        of a rule forbids that denies or stops: then a client sees none of it, and not all but its
        last chunk. What may be forbidden for longer passes. 0 holds none back.
    transport : httpx2.AsyncBaseTransport, optional
        What does the sending, with its certificates or proxies; closed with the application.

    Attributes
    ----------
    metrics : ProxyMetrics
        What is served at ``/-/metrics``.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used.

    Notes
    -----
    Rules span a conversation although the proxy keeps nothing: the messages of a request are
    recalled before its answer is looked at. What the provider keeps by itself
    (``previous_response_id``) is not seen. Keys are passed on; they are neither kept nor written.

    A session of the Realtime API (a WebSocket whose path ends in ``/realtime``) passes message by
    message. Each of its responses is a stream of its own: a stop ends it with ``response.done`` and
    cancels it at the server, a denied call becomes a message, and the server gets the denial as its
    output; the session goes on. WebSockets do not go through a `transport` of one's own, and are
    refused where there is one; so are those of other paths, and of web pages under a name that is
    not in `hosts`.

    ``/-/health`` says that it runs, ``/-/ready`` whether requests may be sent to it (see
    `midstream.stream.probes`), under any name; ``/-/metrics`` says what it counted.

    Adds 0.5 to 1.1 ms to the first byte and 0.1 to 0.2 ms a chunk, by the machine; the run is in
    ``asv_benchmarks``. One event loop, one application.

    Examples
    --------
    >>> proxy = Proxy("http://127.0.0.1:8080")
    >>> proxy.upstream
    'http://127.0.0.1:8080'
    """

    def __init__(
        self,
        upstream: str,
        *,
        policies: PoliciesLike = (),
        make_detectors: Callable[[], Iterable[Detector]] | None = None,
        ending: Ending = "filtered",
        limits: ProxyLimits | None = None,
        recordings: str | os.PathLike[str] | None = None,
        redact: bool = True,
        hosts: Collection[str] | None = None,
        on_finding: Callable[[str, Finding], object] | None = None,
        observe: Callable[[str, str, Guard], StreamObserver] | None = None,
        allow_unread: bool = False,
        hold_text: int = 0,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._limits = ProxyLimits() if limits is None else limits
        guarding = Guarding(
            policies=policies,
            make_detectors=make_detectors,
            ending=ending,
            limits=self._limits,
            allow_unread=allow_unread,
            hold_text=hold_text,
        )
        self._desk = Desk(
            guarding, recordings=recordings, redact=redact, on_finding=on_finding, observe=observe
        )
        self._reach = Reach(upstream, self._limits, transport)
        self._door = Door(hosts, self._limits, self._desk.metrics)
        self._passing = Passing(self._reach, self._desk, self._limits)
        self._linking = Linking(self._door, self._reach, self._desk, self._limits)

    @property
    def metrics(self) -> ProxyMetrics:
        """What is served at ``/-/metrics``."""
        return self._desk.metrics

    @property
    def upstream(self) -> str:
        """URL of the server."""
        return self._reach.upstream.url + self._reach.upstream.path

    @property
    def limits(self) -> ProxyLimits:
        """What it takes at most."""
        return self._limits

    @property
    def policies(self) -> PoliciesLike:
        """The rules of streams that begin from now on; may be set."""
        return self._desk.guarding.policies

    @policies.setter
    def policies(self, policies: PoliciesLike) -> None:
        old = self._desk.guarding
        self._desk.guarding = Guarding(
            policies=policies,
            make_detectors=old.make_detectors,
            ending=old.ending,
            limits=old.limits,
            allow_unread=old.allow_unread,
            hold_text=old.hold_text,
        )

    @property
    def ready(self) -> bool:
        """Whether ``/-/ready`` says so."""
        return self._door.ready

    def retire(self) -> None:
        """Say at ``/-/ready`` that no further requests should come; those that come are taken."""
        self._door.leaving = True

    def drain(self) -> None:
        """Take no further requests: they get 503; those in flight go on."""
        self._door.draining = True
        self._linking.drain()

    def cut(self, message: str = "the proxy ends") -> None:
        """End all streams in flight now, with an error in their own protocol's form."""
        self._passing.cut(message)
        self._linking.cut(message)

    async def aclose(self) -> None:
        """Close what connects to the upstream."""
        self._door.draining = True
        await self._passing.aclose()
        await self._reach.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        kind = scope["type"]
        if kind == "http":
            await self._http(scope, receive, send)
        elif kind == "lifespan":
            await self._lifespan(receive, send)
        elif kind == "websocket":
            await self._linking.take(scope, receive, send)
        else:
            raise ArgumentValueError(f"scope type {kind!r} is not known")

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._reach.connect()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request: one for the proxy itself, or one to pass on."""
        path: str = scope["path"]
        method: str = scope["method"]
        route = route_of(method, path)
        task = asyncio.current_task()
        assert task is not None
        flight = Flight(task, send, route)
        try:
            if path in _PROBES:
                await self._probe(scope, path, method, send)
                return
            self._door.check_host(scope)
            self._door.check_origin(scope)
            if path.startswith(_OWN):
                await self._own(path, method, send)
                return
            self._door.check(scope, method)
            target = self._reach.target(scope)
            if route.unread:
                self._desk.guarding.check_unread(route.unread)
        except RefusalError as error:
            await self._passing.refuse(flight, error)
            return
        await self._passing.take(scope, receive, flight, target)

    async def _probe(self, scope: Scope, path: str, method: str, send: Send) -> None:
        """Answer whoever looks after the proxy; a page under another's name gets one word."""
        told = None
        if self._door.knows_host(scope):
            told = {
                "streams": self.metrics.streams_active,
                "policies": self._desk.guarding.n_policies,
            }
        await answer_probe(method, path, send, ready=self.ready, told=told, paths=_PROBES)

    def _families(self) -> Iterator[Family]:
        """What the proxy is now, beside what it has counted."""
        yield from server_families(ready=self.ready)
        for name, text, value in (
            ("streams_max", "Requests in flight, beyond which more are refused.", "max_streams"),
            ("connections_max", "Connections, beyond which more are refused.", "max_connections"),
            (
                "bodies_max_bytes",
                "Bytes of requests that have not been answered yet, beyond which more are refused.",
                "max_bodies_bytes",
            ),
        ):
            yield Family(name, "gauge", text, (), {(): getattr(self._limits, value)})
        held = "Bytes of requests that have not been answered yet."
        yield Family("bodies_bytes", "gauge", held, (), {(): self._passing.bodies.held})
        rules = self._desk.guarding.n_policies
        yield Family("policies", "gauge", "Rules of streams that begin now.", (), {(): rules})

    async def _own(self, path: str, method: str, send: Send) -> None:
        """Answer for the proxy itself."""
        kind = b"application/json"
        status = 200
        if method not in ("GET", "HEAD"):
            status, body = 405, b'{"error": "method"}'
        elif path == "/-/metrics":
            kind = CONTENT_TYPE.encode("ascii")
            running = (
                ((api, kind_of), count)
                for api, guard in chain(self._passing.guards(), self._linking.guards())
                for kind_of, count in guard.metrics.events_by_kind.items()
            )
            families = chain(self._families(), self.metrics.families(running))
            body = exposition(families).encode("utf-8")
        else:
            status, body = 404, b'{"error": "not found"}'
        headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
        headers.append((b"cache-control", b"no-store"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})
