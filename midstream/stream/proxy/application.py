"""`Proxy`: an ASGI application between clients of a language model and its server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from midstream._core.clock import NS_PER_S, monotonic_ns, ns_from_s, s_from_ns
from midstream._core.errors import ArgumentTypeError, ArgumentValueError, RecordingError
from midstream._core.validate import check_callback, check_path
from midstream.stream.proxy.counting import ProxyMetrics
from midstream.stream.proxy.exchanges import (
    Exchange,
    Guarding,
    Inflater,
    RefusalError,
    check_encoding,
    framing_of,
    in_turns,
    type_of,
)
from midstream.stream.proxy.limits import ProxyLimits
from midstream.stream.proxy.rewriting import rule_of
from midstream.stream.proxy.routes import (
    Route,
    Upstream,
    error_body,
    route_of,
    socket_route_of,
)

if TYPE_CHECKING:
    import httpx2
    from typing_extensions import TypeIs

    from midstream.stream.detectors import Detector
    from midstream.stream.events import Finding
    from midstream.stream.guard import Denial, Guard, StreamObserver
    from midstream.stream.policies import PoliciesLike
    from midstream.stream.proxy.bodies import Framing, Rewriter
    from midstream.stream.proxy.connecting import DirectTransport
    from midstream.stream.proxy.rewriting import Core, Ending
    from midstream.stream.proxy.sockets import Link
    from midstream.stream.recording import Recorder, RecordingsFolder

__all__ = ["Proxy"]

logger = logging.getLogger(__name__)

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

#: Headers that belong to one connection, and not to what travels over it.
_HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_OWN = "/-/"


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
        Values of the ``Host`` header that are served, without port; others get 421. None serves
        all. A server on one's own machine without it can be reached by any web page.
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

    ``/-/health`` says whether it serves, ``/-/metrics`` what it counted.

    Adds about half a millisecond to the first byte and 100 microseconds a chunk; ``asv_benchmarks``
    has the run. One event loop, one application.

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
        self._upstream = Upstream(upstream)
        self._limits = ProxyLimits() if limits is None else limits
        self._guarding = Guarding(
            policies=policies,
            make_detectors=make_detectors,
            ending=ending,
            limits=self._limits,
            allow_unread=allow_unread,
            hold_text=hold_text,
        )
        if isinstance(hosts, str) or (hosts is not None and not isinstance(hosts, Collection)):
            raise ArgumentTypeError(f"hosts must be a collection of str, got {hosts!r}")
        self._hosts = None if hosts is None else frozenset(host.lower() for host in hosts)
        if on_finding is not None:
            check_callback("on_finding", on_finding)
        if observe is not None:
            check_callback("observe", observe)
        self._observe = observe
        self._on_finding = on_finding
        self._redact = bool(redact)
        self._folder: RecordingsFolder | None = None
        if recordings is not None:
            self._folder = _folder(check_path("recordings", recordings), self._limits)
        if transport is not None:
            import httpx2

            if not isinstance(transport, httpx2.AsyncBaseTransport):
                raise ArgumentTypeError(
                    "transport must be an httpx2.AsyncBaseTransport, "
                    f"got {type(transport).__name__}"
                )
        self._transport = transport
        self._direct = transport is None or _is_direct(transport)  # knows the extension ``target``
        self._url: httpx2.URL | None = None
        self._timeout: dict[str, float | None] = {}
        self._flights: set[_Flight] = set()
        self._links: set[Link] = set()
        self._watchdog: asyncio.Task[None] | None = None
        self._draining = False
        self._turns = asyncio.Lock()  # for long requests to be read in
        #: Why the upstream could not be reached, the last time that it was tried.
        self._missed = ""
        #: Why a recording is not whole, the last time that one was not.
        self._lost = ""
        self.metrics = ProxyMetrics()

    @property
    def upstream(self) -> str:
        """URL of the server."""
        return self._upstream.url + self._upstream.path

    @property
    def limits(self) -> ProxyLimits:
        """What it takes at most."""
        return self._limits

    @property
    def policies(self) -> PoliciesLike:
        """The rules of streams that begin from now on; may be set."""
        return self._guarding.policies

    @policies.setter
    def policies(self, policies: PoliciesLike) -> None:
        old = self._guarding
        self._guarding = Guarding(
            policies=policies,
            make_detectors=old.make_detectors,
            ending=old.ending,
            limits=old.limits,
            allow_unread=old.allow_unread,
            hold_text=old.hold_text,
        )

    def drain(self) -> None:
        """Take no further requests: they get 503; those in flight go on."""
        self._draining = True
        for link in list(self._links):
            link.drain()

    def cut(self, message: str = "the proxy ends") -> None:
        """End all streams in flight now, with an error in their own protocol's form."""
        for flight in list(self._flights):
            flight.leave(_Leave("cut", message))
        for link in list(self._links):
            link.cut(message)

    async def aclose(self) -> None:
        """Close what connects to the upstream."""
        self._draining = True
        watchdog, self._watchdog = self._watchdog, None
        if watchdog is not None:
            watchdog.cancel()
            await asyncio.gather(watchdog, return_exceptions=True)
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        kind = scope["type"]
        if kind == "http":
            await self._http(scope, receive, send)
        elif kind == "lifespan":
            await self._lifespan(receive, send)
        elif kind == "websocket":
            await self._websocket(scope, receive, send)
        else:
            raise ArgumentValueError(f"scope type {kind!r} is not known")

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._connect()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def _connect(self) -> httpx2.AsyncBaseTransport:
        """Make what does the sending; once, since certificates take long to load."""
        import httpx2

        if self._url is None:
            self._url = httpx2.URL(self._upstream.url)
            limits = self._limits
            self._timeout = {
                "connect": limits.connect_timeout_s,
                "pool": limits.connect_timeout_s,
                # The watchdog looks after these two: a timer for each read costs more than it.
                "read": None,
                "write": None,
            }
        if self._transport is None:
            from midstream.stream.proxy.connecting import DirectTransport

            self._transport = DirectTransport()
        return self._transport

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a WebSocket: sessions of the Realtime API."""
        from midstream.stream.proxy.sockets import Link, StatusError

        await receive()
        link = Link(receive, send, self._limits, self.metrics)
        counted = False
        try:
            route = socket_route_of(scope["path"])
            self._check_host(scope)
            self._check_origin(scope)
            self._check(scope, "GET")
            if route is None:
                message = "WebSockets are served under paths that end in /realtime"
                raise RefusalError(404, message, reason="websocket")
            if not self._direct:
                message = "WebSockets do not go through a transport of one's own"
                raise RefusalError(501, message, reason="websocket")
            target = self._target(scope)
            counted = True
            self.metrics.streams_active += 1
            self._links.add(link)
            await self._link(scope, link, route, target)
        except RefusalError as error:
            self.metrics.refused[error.reason,] += 1
            self.metrics.requests["realtime", str(error.status)] += 1
            if error.reason == "upstream":
                self._unreachable(str(error))
            body = error_body("realtime", error.status, str(error))
            headers = [(b"content-type", b"application/json")]
            await _refuse_socket(scope, send, error.status, headers, body)
        except StatusError as error:  # what it says is for the client
            self.metrics.requests["realtime", str(error.status)] += 1
            gone = _HOP_BY_HOP | _named(error.headers) | {b"content-length"}
            kept = [(name, value) for name, value in error.headers if name not in gone]
            await _refuse_socket(scope, send, error.status, kept, error.body)
        except OSError:  # the client went while something was sent to it
            self._failed("client_gone")
        except Exception as error:  # noqa: BLE001 - whatever is not judged does not pass
            logger.error(
                "a session could not be judged: %s\n%s",
                type(error).__name__,
                "".join(traceback.format_tb(error.__traceback__)),
            )
            self._failed("internal")
            if link.accepted:
                await link.close(1011, "the proxy failed")
            else:
                await _refuse_socket(scope, send, 500, [], b"")
        finally:
            link.abort()
            if counted:
                self.metrics.streams_active -= 1
                self._links.discard(link)

    async def _link(self, scope: Scope, link: Link, route: Route, target: bytes) -> None:
        """Connect a client's WebSocket with the upstream's, and pass messages."""
        from midstream.stream.proxy.sessions import RealtimeSession

        asked = [
            (name, value)
            for name, value in self._request_headers(scope["headers"], b"", guarded=False)
            if name != b"host" and not name.startswith(b"sec-websocket-")
        ]
        secure = self._upstream.scheme == "https"
        transport = self._connect()
        context = transport.tls() if secure and _is_direct(transport) else None
        uri = f"{'wss' if secure else 'ws'}://{self._upstream.authority}{target.decode('ascii')}"
        begun_ns = monotonic_ns()
        told = await link.open(uri, asked, scope["subprotocols"], context)
        self._missed = ""
        #: Why a recording is not whole, the last time that one was not.
        self._lost = ""
        self.metrics.first_chunk.add((monotonic_ns() - begun_ns) / NS_PER_S)
        self.metrics.requests[route.api, "101"] += 1
        session_id = _new_id()
        gone = _HOP_BY_HOP | _named(told)
        kept = [(name, value) for name, value in told if name not in gone]
        await link.accept([*kept, (b"x-midstream-id", session_id.encode("ascii"))])
        recorders: dict[Guard, Recorder] = {}

        def guard(number: int) -> Guard:
            request_id = f"{session_id}-{number}"
            recorder = None if number == 0 else self._recorder(request_id, route)
            made = self._guard(request_id, route, recorder)
            if recorder is not None:
                recorders[made] = recorder
            return made

        def over(core: Core) -> None:
            recorder = recorders.pop(core.guard, None)
            if recorder is not None:
                self._close_recorder(recorder)
            self._tally(route.api, core.guard, core.denied, core.stopped)

        beta = any(b"realtime=v1" in value for name, value in asked if name == b"openai-beta")
        session = RealtimeSession(
            guard,
            ending=self._guarding.ending,
            max_held_bytes=self._limits.max_held_bytes,
            prepare=lambda core: self._guarding.prepare(core),  # as rules are then
            on_over=over,
            beta=beta or "openai-beta.realtime-v1" in scope["subprotocols"],
        )
        try:
            await link.relay(session)
        finally:
            for recorder in recorders.values():
                self._close_recorder(recorder)

    def _check_origin(self, scope: Scope) -> None:
        """Refuse web pages of others: browsers let any page connect anywhere."""
        if self._hosts is None:
            return
        for name, value in scope["headers"]:
            if name == b"origin":
                try:
                    host = urlsplit(value.decode("latin-1")).hostname or ""
                except ValueError:
                    host = ""
                shown = f"[{host}]" if ":" in host else host
                if shown.lower() not in self._hosts:
                    raise RefusalError(403, "this web page is not served here", reason="origin")

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        method: str = scope["method"]
        route = route_of(method, path)
        task = asyncio.current_task()
        assert task is not None
        flight = _Flight(task, send, route)
        try:
            self._check_host(scope)
            if path.startswith(_OWN):
                await self._own(path, method, send)
                return
            self._check(scope, method)
            target = self._target(scope)
            if route.unread:
                self._guarding.check_unread(route.unread)
        except RefusalError as error:
            await self._refuse(flight, error)
            return
        self.metrics.streams_active += 1
        self._flights.add(flight)
        if self._watchdog is None:
            self._watchdog = asyncio.get_running_loop().create_task(self._watch())
        try:
            await self._pass(scope, receive, flight, target)
        except RefusalError as error:
            await self._refuse(flight, error)
        except _GoneError:
            self._failed("client_gone")
        except asyncio.CancelledError:
            leave = flight.left
            if leave is None or task.cancelling() > 1:
                raise
            task.uncancel()
            flight.over = True  # nothing calls it off any more
            await self._left(flight, leave)
        except Exception as error:  # noqa: BLE001 - whatever is not judged does not pass
            # A detector, a policy or a callback failed. Its message may hold what it looked at.
            logger.error(
                "%s: a stream could not be judged: %s\n%s",
                flight.id or "a request",
                type(error).__name__,
                "".join(traceback.format_tb(error.__traceback__)),
            )
            self._failed("internal")
            flight.over = True
            await self._left(flight, _Leave("internal", "the proxy failed"))
        finally:
            flight.over = True
            self.metrics.streams_active -= 1
            self._flights.discard(flight)
            try:
                await flight.close()
            except asyncio.CancelledError:
                if flight.left is None:
                    raise
                task.uncancel()  # called off too late, when it was over by itself
                await flight.close()
            self._account(flight)
            flight.drop()

    def _check_host(self, scope: Scope) -> None:
        if self._hosts is None:
            return
        for name, value in scope["headers"]:
            if name == b"host":
                host = value.decode("latin-1").strip().lower()
                host = host.partition("]")[0] + "]" if host[:1] == "[" else host.partition(":")[0]
                if host in self._hosts:
                    return
        raise RefusalError(421, "this host name is not served here", reason="host")

    def _check(self, scope: Scope, method: str) -> None:
        limits = self._limits
        if self._draining:
            raise RefusalError(503, "the proxy is ending", reason="draining")
        if method not in _METHODS:
            raise RefusalError(405, f"method {method} is not passed on", reason="method")
        headers = scope["headers"]
        size = len(scope.get("raw_path") or b"") + len(scope.get("query_string") or b"")
        size += sum(len(name) + len(value) for name, value in headers)
        if len(headers) > limits.max_headers or size > limits.max_header_bytes:
            raise RefusalError(431, "the request's headers are too large", reason="headers")
        if self.metrics.streams_active >= limits.max_streams:
            raise RefusalError(429, "too many requests at once", reason="streams")

    def _target(self, scope: Scope) -> bytes:
        raw_path = scope.get("raw_path") or scope["path"].encode("utf-8")
        root = scope.get("root_path", "").encode("ascii", "replace")
        if root and raw_path.startswith(root):
            raw_path = raw_path[len(root) :]
        try:
            return self._upstream.target(raw_path, scope.get("query_string") or b"")
        except ArgumentValueError as error:
            raise RefusalError(400, str(error), reason="path") from None

    async def _pass(self, scope: Scope, receive: Receive, flight: _Flight, target: bytes) -> None:
        """Pass a request on, and its answer back."""
        response = flight.response = await self._ask(scope, receive, flight, target)
        self._missed = ""
        status = response.status_code
        if not 200 <= status <= 599:
            raise RefusalError(502, f"the upstream answers with {status}", reason="upstream")
        exchange = flight.exchange
        framing = None
        if exchange is not None:
            kind = response.headers.get("content-type", "")
            framing = framing_of(status, kind)
            if framing is None and status < 300 and response.headers.get("content-length") != "0":
                self._guarding.check_unread(type_of(kind), 502)
        self.metrics.requests[flight.route.api, str(status)] += 1
        if exchange is None or framing is None:
            await self._relay_unread(flight, response)
        else:
            await self._relay(flight, response, exchange, framing)

    async def _ask(
        self, scope: Scope, receive: Receive, flight: _Flight, target: bytes
    ) -> httpx2.Response:
        """Send a request to the upstream and wait for the head of its answer.

        Nothing of the request is kept beyond this: conversations are long, and answers take time.
        """
        import httpx2

        limits = self._limits
        route = flight.route
        headers = scope["headers"]
        length, encoding = _of_body(headers)
        most = limits.max_body_bytes if route.guarded else limits.max_upload_bytes
        if length is not None and length > most:
            raise RefusalError(413, f"a body of more than {most} bytes", reason="body")
        if route.guarded:
            check_encoding(encoding)
        body = b""
        content: bytes | AsyncIterator[bytes]
        if route.guarded or length == 0 or (length is None and scope["method"] == "GET"):
            flight.wait("request")
            content = body = await _read_body(receive, most)
            flight.follow(receive)
        else:
            content = _upload(receive, most, flight)
        transport = self._connect()
        assert self._url is not None
        request = httpx2.Request(
            scope["method"],
            self._url if self._direct else self._url.copy_with(raw_path=target),
            headers=self._request_headers(headers, content, guarded=route.guarded),
            content=content,
            # As it came: no URL is put together that could read otherwise.
            extensions={"timeout": self._timeout, "target": target},
        )
        flight.wait("header")
        try:
            if route.guarded:
                # The rules are got ready while the upstream begins to work.
                sending = asyncio.get_running_loop().create_task(
                    transport.handle_async_request(request)
                )
                try:
                    await asyncio.sleep(0)
                    await self._begin(flight, body, encoding)
                    return await sending
                except BaseException:
                    await _called_off(sending)
                    raise
            return await transport.handle_async_request(request)
        except httpx2.PoolTimeout:
            raise RefusalError(503, "too many connections to the upstream", reason="pool") from None
        except httpx2.ConnectTimeout:
            self._unreachable("it does not answer")
            raise RefusalError(504, "the upstream does not answer", reason="upstream") from None
        except httpx2.TransportError as error:
            self._unreachable(str(error) or type(error).__name__)
            raise RefusalError(502, "the upstream cannot be reached", reason="upstream") from None

    async def _begin(self, flight: _Flight, content: bytes, encoding: str) -> None:
        """Make what a guarded answer is looked at with."""
        flight.id = _new_id()
        flight.recorder = self._recorder(flight.id, flight.route)
        guard = self._guard(flight.id, flight.route, flight.recorder)
        exchange = Exchange(flight.route, self._guarding, guard)
        # A long conversation takes seconds, and there are other streams.
        await in_turns(exchange.requesting(content, encoding), self._turns)
        flight.exchange = exchange

    def _guard(self, request_id: str, route: Route, recorder: Recorder | None) -> Guard:
        def found(finding: Finding) -> None:
            self.metrics.verdict(rule_of(finding), finding.severity)
            if self._on_finding is not None:
                self._on_finding(request_id, finding)

        guard = self._guarding.guard(recorder=recorder, on_finding=found)
        if self._observe is not None:
            guard.attach(self._observe(request_id, route.api, guard))
        return guard

    def _recorder(self, request_id: str, route: Route) -> Recorder | None:
        if self._folder is None:
            return None
        from midstream.stream.redaction import Redactor

        try:
            return self._folder.recorder(
                f"{request_id}.jsonl",
                source=f"proxy: {route.api}",
                redactor=Redactor if self._redact else None,
            )
        except RecordingError as error:  # the stream matters more
            self._unrecorded(error)
            return None

    def _close_recorder(self, recorder: Recorder) -> None:
        """End a recording; what nothing was written to goes."""
        recorder.close()
        if recorder.lost:
            self._unrecorded(recorder.failure)
        elif not recorder.next_seq and self._folder is not None:  # an error's, or nobody's
            with contextlib.suppress(RecordingError):
                self._folder.remove(recorder.path.name)

    def _failed(self, reason: str) -> None:
        self.metrics.failures[reason,] += 1

    def _unrecorded(self, error: RecordingError | None) -> None:
        """Count a recording that is not whole, and log why, once until the reason changes."""
        self._failed("recording")
        why = "an unknown cause" if error is None else str(error)
        if error is not None and error.place:  # the file, which is another each time
            why = why.removeprefix(f"{error.place}: ")
        if why != self._lost:
            self._lost = why
            logger.warning("recordings are not whole: %s", why)

    def _unreachable(self, why: str) -> None:
        """Log why the upstream cannot be reached, once until it can or the reason changes."""
        if why != self._missed:
            self._missed = why
            logger.warning("%s cannot be reached: %s", self._upstream.url, " ".join(why.split()))

    def _request_headers(
        self, headers: Headers, content: bytes | AsyncIterator[bytes], *, guarded: bool
    ) -> Headers:
        gone = _HOP_BY_HOP | _named(headers) | {b"host", b"expect"}
        if isinstance(content, bytes):
            gone |= {b"content-length"}
        if guarded:
            gone |= {b"accept-encoding"}
        out = [(b"host", self._upstream.authority.encode("ascii"))]
        out += [(name, value) for name, value in headers if name.lower() not in gone]
        if guarded:
            out.append((b"accept-encoding", b"identity"))  # compressors hold bytes back
        return out

    async def _relay_unread(self, flight: _Flight, response: httpx2.Response) -> None:
        """Pass an answer back as it is."""
        import httpx2

        flight.wait("body")
        headers = response.headers.raw
        gone = _HOP_BY_HOP | _named(headers)
        kept = [(name, value) for name, value in headers if name.lower() not in gone]
        await flight.start(response.status_code, kept)
        try:
            async for chunk in response.stream:  # type: ignore[union-attr] # of an async transport
                await flight.send(chunk)
        except httpx2.TransportError:
            # Without its end, so that the client sees that there is none.
            self._failed("upstream_reset")
            return
        await flight.end()

    async def _relay(
        self,
        flight: _Flight,
        response: httpx2.Response,
        exchange: Exchange,
        framing: Framing,
    ) -> None:
        """Pass a guarded answer back, as far as the rules let it."""
        import httpx2

        headers = response.headers
        encoding = headers.get("content-encoding", "identity").strip().lower()
        inflater = None
        if encoding != "identity":
            if encoding not in Inflater.KNOWN:
                raise RefusalError(
                    502, f"the answer's encoding {encoding!r} cannot be read", reason="encoding"
                )
            inflater = Inflater()
        rewriter = flight.rewriter = exchange.answer(framing)
        gone = _HOP_BY_HOP | _named(headers.raw) | {b"content-length", b"content-encoding"}
        kept = [(name, value) for name, value in headers.raw if name.lower() not in gone]
        kept.append((b"x-midstream-id", flight.id.encode("ascii")))
        whole = framing == "json"
        if not whole:
            if not any(name.lower() == b"x-accel-buffering" for name, _ in kept):
                kept.append((b"x-accel-buffering", b"no"))
            await flight.start(response.status_code, kept)
        flight.wait("body")
        metrics = self.metrics
        begun_ns = flight.begun_ns
        last_ns = 0
        out = b""
        try:
            async for chunk in response.stream:  # type: ignore[union-attr] # of an async transport
                now_ns = monotonic_ns()
                if last_ns:
                    metrics.between_chunks.add((now_ns - last_ns) / NS_PER_S)
                else:
                    metrics.first_chunk.add((now_ns - begun_ns) / NS_PER_S)
                last_ns = flight.since_ns = now_ns
                if inflater is not None:
                    chunk = inflater.feed(chunk)
                out = rewriter.feed(chunk, now_ns - begun_ns)
                metrics.detectors.add((monotonic_ns() - now_ns) / NS_PER_S)
                if rewriter.over:
                    break
                if out:
                    await flight.send(out)
                    out = b""
            if not rewriter.over:
                out = rewriter.finish(monotonic_ns() - begun_ns)
        except httpx2.TransportError as error:
            self._failed("upstream_reset")
            cause = " ".join(str(error).split()) or type(error).__name__
            out = rewriter.fail(f"the upstream broke off: {cause}", monotonic_ns() - begun_ns)
        except RefusalError as error:  # what cannot be decoded
            self._failed("encoding")
            out = rewriter.fail(str(error), monotonic_ns() - begun_ns)
        if whole:
            status = response.status_code
            if rewriter.over and rewriter.stopped is None:
                status = 502
            kept.append((b"content-length", b"%d" % len(out)))
            await flight.start(status, kept)
        flight.finishing = True
        await flight.end(out)

    async def _left(self, flight: _Flight, leave: _Leave) -> None:
        """End a stream that something else than its upstream ended."""
        if leave.reason == "gone":
            self._failed("client_gone")
            return
        if leave.reason not in ("internal", "stopped"):
            self._failed(leave.reason)
        if leave.reason == "client_stalled":
            return
        rewriter = flight.rewriter
        if leave.reason == "internal" and rewriter is not None:
            leave.last = rewriter.abort(leave.message)
        if not flight.started:
            status = {"request": 408, "cut": 503, "internal": 500}.get(leave.reason, 504)
            await self._refuse(flight, RefusalError(status, leave.message, reason=leave.reason))
        elif rewriter is not None:
            out = leave.last or rewriter.fail(leave.message, monotonic_ns() - flight.begun_ns)
            await flight.end(out)

    async def _refuse(self, flight: _Flight, error: RefusalError) -> None:
        if flight.started:
            return
        self.metrics.refused[error.reason,] += 1
        self.metrics.requests[flight.route.api, str(error.status)] += 1
        body = error_body(flight.route.api, error.status, str(error))
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
        ]
        if error.status in (429, 503):
            headers.append((b"retry-after", b"1"))
        if error.status in (408, 413):
            headers.append((b"connection", b"close"))  # what is still to come is not read
        await flight.start(error.status, headers)
        await flight.end(body)

    def _account(self, flight: _Flight) -> None:
        """Put what a stream came to into the counters."""
        if flight.recorder is not None:
            self._close_recorder(flight.recorder)
        exchange = flight.exchange
        if exchange is None:
            return
        rewriter = flight.rewriter
        denied, stopped = ([], None) if rewriter is None else (rewriter.denied, rewriter.stopped)
        self._tally(flight.route.api, exchange.guard, denied, stopped)

    def _tally(
        self, api: str, guard: Guard, denied: Iterable[Denial], stopped: Finding | None
    ) -> None:
        metrics = self.metrics
        for kind, count in guard.metrics.events_by_kind.items():
            metrics.chunks[api, kind] += count
        for denial in denied:
            metrics.denied[rule_of(denial.finding),] += 1
        if stopped is not None:
            metrics.stops[rule_of(stopped),] += 1
            if guard.metrics.usage is None:
                metrics.tokens[api,] += guard.metrics.chars // 4

    async def _own(self, path: str, method: str, send: Send) -> None:
        """Answer for the proxy itself."""
        kind = b"application/json"
        status = 200
        if method not in ("GET", "HEAD"):
            status, body = 405, b'{"error": "method"}'
        elif path == "/-/health":
            status = 503 if self._draining else 200
            told = {
                "status": "draining" if self._draining else "ok",
                "streams": self.metrics.streams_active,
                "policies": self._guarding.n_policies,
            }
            body = json.dumps(told).encode("ascii")
        elif path == "/-/metrics":
            kind = b"text/plain; version=0.0.4; charset=utf-8"
            running = (
                ((api, kind_of), count)
                for api, guard in self._running()
                for kind_of, count in guard.metrics.events_by_kind.items()
            )
            body = self.metrics.text(running).encode("utf-8")
        else:
            status, body = 404, b'{"error": "not found"}'
        headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
        headers.append((b"cache-control", b"no-store"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})

    def _running(self) -> Iterator[tuple[str, Guard]]:
        """Yield the guards of all streams that are not over."""
        for flight in self._flights:
            if flight.exchange is not None:
                yield flight.route.api, flight.exchange.guard
        for link in self._links:
            if link.session is not None:
                for guard in link.session.guards():
                    yield "realtime", guard

    async def _watch(self) -> None:
        """Look after all streams: who is silent for too long, and whom the rules find silent."""
        limits = self._limits
        allowed = {
            "request": (ns_from_s(limits.request_timeout_s), "the request did not come whole"),
            "header": (ns_from_s(limits.header_timeout_s), "the upstream did not answer"),
            "body": (ns_from_s(limits.idle_timeout_s), "the upstream fell silent"),
            "client_stalled": (ns_from_s(limits.client_timeout_s), "the client takes nothing"),
        }
        most_ns = ns_from_s(limits.max_stream_s)
        tick_ns = min([ns // 4 for ns, _ in allowed.values()] + [most_ns // 4, NS_PER_S])
        while True:
            await asyncio.sleep(s_from_ns(tick_ns))
            now_ns = monotonic_ns()
            for flight in list(self._flights):
                phase = "client_stalled" if flight.sending else flight.phase
                waited_ns = now_ns - flight.since_ns
                limit_ns, message = allowed[phase]
                if waited_ns > limit_ns:
                    flight.leave(_Leave(phase, f"{message} for {s_from_ns(limit_ns):g} s"))
                elif now_ns - flight.begun_ns > most_ns:
                    flight.leave(_Leave("duration", "the stream has taken too long"))
                elif phase == "body" and flight.rewriter is not None and not flight.over:
                    out = flight.rewriter.expire(waited_ns)
                    if out:
                        flight.leave(_Leave("stopped", "", out))


class _GoneError(Exception):
    """The client has left before its request was whole."""


class _Leave:
    """Why a stream is called off, what to tell its client, or the bytes to end it with."""

    __slots__ = ("last", "message", "reason")

    def __init__(self, reason: str, message: str = "", last: bytes = b"") -> None:
        self.reason = reason
        self.message = message
        self.last = last


class _Flight:
    """One request on its way."""

    __slots__ = (
        "_follower",
        "_send",
        "begun_ns",
        "exchange",
        "finishing",
        "id",
        "left",
        "over",
        "phase",
        "recorder",
        "response",
        "rewriter",
        "route",
        "sending",
        "since_ns",
        "started",
        "task",
    )

    def __init__(self, task: asyncio.Task[Any], send: Send, route: Route) -> None:
        self.task = task
        self.route = route
        self.id = ""
        self.begun_ns = self.since_ns = monotonic_ns()
        self.phase = "request"
        self.sending = False
        self.started = False
        self.finishing = False
        self.over = False
        self.left: _Leave | None = None
        self.exchange: Exchange | None = None
        self.rewriter: Rewriter | None = None
        self.recorder: Recorder | None = None
        self.response: httpx2.Response | None = None
        self._send = send
        self._follower: asyncio.Task[None] | None = None

    def wait(self, phase: str) -> None:
        """Begin to wait for something."""
        self.phase = phase
        self.since_ns = monotonic_ns()

    def leave(self, leave: _Leave) -> None:
        """Call it off, from outside."""
        if self.left is None and not self.over:
            if leave.reason == "gone" and self.finishing:
                return
            self.left = leave
            self.task.cancel()

    def follow(self, receive: Receive) -> None:
        """Look out for the client's leaving, now that its request is whole."""
        self._follower = asyncio.get_running_loop().create_task(self._until_gone(receive))

    async def _until_gone(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.leave(_Leave("gone"))

    async def start(self, status: int, headers: Headers) -> None:
        """Send the answer's head."""
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def send(self, body: bytes) -> None:
        """Send a piece of the answer."""
        self.since_ns = monotonic_ns()
        self.sending = True
        await self._send({"type": "http.response.body", "body": body, "more_body": True})
        self.sending = False

    async def end(self, body: bytes = b"") -> None:
        """Send the last piece of the answer."""
        self.finishing = True
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def close(self) -> None:
        """Let go of the upstream, the recording and the client."""
        follower = self._follower
        if follower is not None:
            follower.cancel()
        if self.rewriter is not None:
            self.rewriter.close()
        if self.recorder is not None:
            self.recorder.close()
        if self.response is not None:
            with contextlib.suppress(Exception):  # it is gone, whatever it thinks of it
                await self.response.aclose()

    def drop(self) -> None:
        """Forget what refers back to it, so that all of it goes now and not with a collection."""
        self.exchange = self.rewriter = self.recorder = self.response = self._follower = None


def _is_direct(transport: httpx2.AsyncBaseTransport) -> TypeIs[DirectTransport]:
    from midstream.stream.proxy.connecting import DirectTransport

    return isinstance(transport, DirectTransport)


def _new_id() -> str:
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(8)}"


def _folder(path: str | os.PathLike[str], limits: ProxyLimits) -> RecordingsFolder:
    from midstream.stream.recording import RecordingsFolder

    try:
        return RecordingsFolder(
            path, max_files=limits.max_recordings, max_bytes=limits.max_recordings_bytes
        )
    except RecordingError as error:
        raise ArgumentValueError(
            f"recordings: {os.fspath(path)!r} cannot be made: {error}"
        ) from error


async def _refuse_socket(
    scope: Scope, send: Send, status: int, headers: Headers, body: bytes
) -> None:
    """Answer a WebSocket's handshake otherwise."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": 1008, "reason": f"status {status}"})
        return
    head = {"type": "websocket.http.response.start", "status": status, "headers": headers}
    await send(head)
    await send({"type": "websocket.http.response.body", "body": body, "more_body": False})


async def _called_off(sending: asyncio.Task[httpx2.Response]) -> None:
    """Close an answer that nobody wants any more, or see to it that it does not come."""
    sending.cancel()
    await asyncio.wait((sending,))
    if not sending.cancelled() and sending.exception() is None:
        await sending.result().aclose()


def _named(headers: Headers) -> frozenset[bytes]:
    """Headers that the ``Connection`` header says are of this connection only."""
    out = [
        token.strip().lower()
        for name, value in headers
        if name.lower() == b"connection"
        for token in value.split(b",")
    ]
    return frozenset(out)


def _of_body(headers: Headers) -> tuple[int | None, str]:
    """Length of a request's body, if told, and its encoding."""
    length: int | None = None
    encoding = ""
    for name, value in headers:
        if name == b"content-length" and value.isdigit():
            length = int(value)
        elif name == b"content-encoding":
            encoding = value.decode("latin-1")
    return length, encoding


async def _read_body(receive: Receive, most: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _GoneError
        piece = message.get("body", b"")
        size += len(piece)
        if size > most:
            raise RefusalError(413, f"a body of more than {most} bytes", reason="body")
        pieces.append(piece)
        if not message.get("more_body"):
            return b"".join(pieces)


async def _upload(receive: Receive, most: int, flight: _Flight) -> AsyncIterator[bytes]:
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _GoneError
        piece = message.get("body", b"")
        size += len(piece)
        if size > most:
            raise RefusalError(413, f"a body of more than {most} bytes", reason="body")
        flight.since_ns = monotonic_ns()
        if piece:
            yield piece
        if not message.get("more_body"):
            flight.follow(receive)
            return
