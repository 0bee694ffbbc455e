"""`Passing`: requests over HTTP, from a client to the upstream, and their answers back."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

from midstream._core.clock import NS_PER_S, monotonic_ns, ns_from_s, s_from_ns
from midstream.stream.proxy.desk import new_id
from midstream.stream.proxy.exchanges import (
    Exchange,
    Inflater,
    RefusalError,
    check_encoding,
    framing_of,
    in_turns,
    type_of,
)
from midstream.stream.proxy.flights import (
    Bodies,
    Flight,
    GoneError,
    Leave,
    Share,
    read_body,
    upload,
)
from midstream.stream.proxy.headers import Receive, Scope, length_and_encoding, passed_on
from midstream.stream.proxy.routes import error_body

if TYPE_CHECKING:
    import httpx2

    from midstream.stream.guard import Guard
    from midstream.stream.proxy.bodies import Framing
    from midstream.stream.proxy.desk import Desk
    from midstream.stream.proxy.limits import ProxyLimits
    from midstream.stream.proxy.reaching import Reach

__all__ = ["Passing"]

#: What could not be judged is told by the proxy.
logger = logging.getLogger("midstream.stream.proxy.application")


class Passing:
    """What passes requests on, and their answers back as far as the rules let them.

    Parameters
    ----------
    reach : Reach
    desk : Desk
    limits : ProxyLimits
    """

    def __init__(self, reach: Reach, desk: Desk, limits: ProxyLimits) -> None:
        self._reach = reach
        self._desk = desk
        self._limits = limits
        self._metrics = desk.metrics
        self.bodies = Bodies(limits.max_bodies_bytes)
        self._flights: set[Flight] = set()
        self._watchdog: asyncio.Task[None] | None = None
        self._turns = asyncio.Lock()  # for long requests to be read in

    def guards(self) -> Iterator[tuple[str, Guard]]:
        """Yield the guards of streams that are not over, with their APIs."""
        for flight in self._flights:
            if flight.exchange is not None:
                yield flight.route.api, flight.exchange.guard

    def cut(self, message: str) -> None:
        """End all streams now, with an error in their own protocol's form."""
        for flight in list(self._flights):
            flight.leave(Leave("cut", message))

    async def aclose(self) -> None:
        """Look after streams no longer."""
        watchdog, self._watchdog = self._watchdog, None
        if watchdog is not None:
            watchdog.cancel()
            await asyncio.gather(watchdog, return_exceptions=True)

    async def take(self, scope: Scope, receive: Receive, flight: Flight, target: bytes) -> None:
        """Serve a request that may come in."""
        self._metrics.streams_active += 1
        self._flights.add(flight)
        if self._watchdog is None:
            self._watchdog = asyncio.get_running_loop().create_task(self._watch())
        task = flight.task
        try:
            await self._pass(scope, receive, flight, target)
        except RefusalError as error:
            await self.refuse(flight, error)
        except GoneError:
            self._desk.failed("client_gone")
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
            self._desk.failed("internal")
            flight.over = True
            await self._left(flight, Leave("internal", "the proxy failed"))
        finally:
            flight.over = True
            self._metrics.streams_active -= 1
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

    async def refuse(self, flight: Flight, error: RefusalError) -> None:
        """Answer with an error, in the form of the API that was asked."""
        if flight.started:
            return
        self._metrics.refused[error.reason,] += 1
        self._metrics.requests[flight.route.api, str(error.status)] += 1
        body = error_body(flight.route.api, error.status, str(error))
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
        ]
        if error.status in (429, 503):
            headers.append((b"retry-after", b"1"))
        if error.status in (408, 413) or error.reason == "memory":
            headers.append((b"connection", b"close"))  # what is still to come is not read
        await flight.start(error.status, headers)
        await flight.end(body)

    async def _pass(self, scope: Scope, receive: Receive, flight: Flight, target: bytes) -> None:
        """Pass a request on, and its answer back."""
        # Nothing of the request is kept beyond this: conversations are long, and answers take time.
        with self.bodies.share() as share:
            response = flight.response = await self._ask(scope, receive, flight, target, share)
        self._reach.reached()
        status = response.status_code
        if not 200 <= status <= 599:
            raise RefusalError(502, f"the upstream answers with {status}", reason="upstream")
        exchange = flight.exchange
        framing = None
        if exchange is not None:
            kind = response.headers.get("content-type", "")
            framing = framing_of(status, kind)
            if framing is None and status < 300 and response.headers.get("content-length") != "0":
                self._desk.guarding.check_unread(type_of(kind), 502)
        self._metrics.requests[flight.route.api, str(status)] += 1
        if exchange is None or framing is None:
            await self._relay_unread(flight, response)
        else:
            await self._relay(flight, response, exchange, framing)

    async def _ask(
        self, scope: Scope, receive: Receive, flight: Flight, target: bytes, share: Share
    ) -> httpx2.Response:
        """Send a request to the upstream and wait for the head of its answer."""
        import httpx2

        limits = self._limits
        route = flight.route
        headers = scope["headers"]
        length, encoding = length_and_encoding(headers)
        most = limits.max_upload_bytes
        if route.guarded:  # one that is more than all may have together will never pass
            most = min(limits.max_body_bytes, limits.max_bodies_bytes)
        if length is not None and length > most:
            raise RefusalError(413, f"a body of more than {most} bytes", reason="body")
        if route.guarded:
            check_encoding(encoding)
        body = b""
        content: bytes | AsyncIterator[bytes]
        if route.guarded or length == 0 or (length is None and scope["method"] == "GET"):
            flight.wait("request")
            content = body = await read_body(receive, most, share)
            flight.follow(receive)
        else:
            content = upload(receive, most, flight)
        reach = self._reach
        transport = reach.connect()
        request = httpx2.Request(
            scope["method"],
            reach.url if reach.direct else reach.url.copy_with(raw_path=target),
            headers=reach.headers(headers, guarded=route.guarded, whole=isinstance(content, bytes)),
            content=content,
            # As it came: no URL is put together that could read otherwise.
            extensions={"timeout": reach.timeout, "target": target},
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
            self._reach.unreachable("it does not answer")
            raise RefusalError(504, "the upstream does not answer", reason="upstream") from None
        except httpx2.TransportError as error:
            self._reach.unreachable(str(error) or type(error).__name__)
            raise RefusalError(502, "the upstream cannot be reached", reason="upstream") from None

    async def _begin(self, flight: Flight, content: bytes, encoding: str) -> None:
        """Make what a guarded answer is looked at with."""
        flight.id = new_id()
        flight.recorder = self._desk.recorder(flight.id, flight.route)
        guard = self._desk.guard(flight.id, flight.route, flight.recorder)
        exchange = Exchange(flight.route, self._desk.guarding, guard)
        # A long conversation takes seconds, and there are other streams.
        await in_turns(exchange.requesting(content, encoding), self._turns)
        flight.exchange = exchange

    async def _relay_unread(self, flight: Flight, response: httpx2.Response) -> None:
        """Pass an answer back as it is."""
        import httpx2

        flight.wait("body")
        await flight.start(response.status_code, passed_on(response.headers.raw))
        try:
            async for chunk in response.stream:  # type: ignore[union-attr] # of an async transport
                await flight.send(chunk)
        except httpx2.TransportError:
            # Without its end, so that the client sees that there is none.
            self._desk.failed("upstream_reset")
            return
        await flight.end()

    async def _relay(
        self,
        flight: Flight,
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
        kept = passed_on(headers.raw, b"content-length", b"content-encoding")
        kept.append((b"x-midstream-id", flight.id.encode("ascii")))
        whole = framing == "json"
        if not whole:
            if not any(name.lower() == b"x-accel-buffering" for name, _ in kept):
                kept.append((b"x-accel-buffering", b"no"))
            await flight.start(response.status_code, kept)
        flight.wait("body")
        metrics = self._metrics
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
                last_ns = flight.since_ns = fed_ns = now_ns
                # What is packed may be a thousand times as long: it is never whole in memory.
                for piece in (chunk,) if inflater is None else inflater.pieces(chunk):
                    out = rewriter.feed(piece, now_ns - begun_ns)
                    metrics.detectors.add((monotonic_ns() - fed_ns) / NS_PER_S)
                    if rewriter.over:
                        break
                    if out:
                        await flight.send(out)
                        out = b""
                    if inflater is not None:
                        fed_ns = monotonic_ns()
                if rewriter.over:
                    break
            if not rewriter.over:
                out = rewriter.finish(monotonic_ns() - begun_ns)
        except httpx2.TransportError as error:
            self._desk.failed("upstream_reset")
            cause = " ".join(str(error).split()) or type(error).__name__
            out = rewriter.fail(f"the upstream broke off: {cause}", monotonic_ns() - begun_ns)
        except RefusalError as error:  # what cannot be decoded
            self._desk.failed("encoding")
            out = rewriter.fail(str(error), monotonic_ns() - begun_ns)
        if whole:
            status = response.status_code
            if rewriter.over and rewriter.stopped is None:
                status = 502
            kept.append((b"content-length", b"%d" % len(out)))
            await flight.start(status, kept)
        flight.finishing = True
        await flight.end(out)

    async def _left(self, flight: Flight, leave: Leave) -> None:
        """End a stream that something else than its upstream ended."""
        if leave.reason == "gone":
            self._desk.failed("client_gone")
            return
        if leave.reason not in ("internal", "stopped"):
            self._desk.failed(leave.reason)
        if leave.reason == "client_stalled":
            return
        rewriter = flight.rewriter
        if leave.reason == "internal" and rewriter is not None:
            leave.last = rewriter.abort(leave.message)
        if not flight.started:
            status = {"request": 408, "cut": 503, "internal": 500}.get(leave.reason, 504)
            await self.refuse(flight, RefusalError(status, leave.message, reason=leave.reason))
        elif rewriter is not None:
            out = leave.last or rewriter.fail(leave.message, monotonic_ns() - flight.begun_ns)
            await flight.end(out)

    def _account(self, flight: Flight) -> None:
        """Put what a stream came to into the counters."""
        if flight.recorder is not None:
            self._desk.close_recorder(flight.recorder)
        exchange = flight.exchange
        if exchange is None:
            return
        rewriter = flight.rewriter
        denied, stopped = ([], None) if rewriter is None else (rewriter.denied, rewriter.stopped)
        self._desk.tally(flight.route.api, exchange.guard, denied, stopped)

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
                    flight.leave(Leave(phase, f"{message} for {s_from_ns(limit_ns):g} s"))
                elif now_ns - flight.begun_ns > most_ns:
                    flight.leave(Leave("duration", "the stream has taken too long"))
                elif phase == "body" and flight.rewriter is not None and not flight.over:
                    out = flight.rewriter.expire(waited_ns)
                    if out:
                        flight.leave(Leave("stopped", "", out))


async def _called_off(sending: asyncio.Task[httpx2.Response]) -> None:
    """Close an answer that nobody wants any more, or see to it that it does not come."""
    sending.cancel()
    await asyncio.wait((sending,))
    if not sending.cancelled() and sending.exception() is None:
        await sending.result().aclose()
