"""WebTransport over HTTP/3: what a browser's ``new WebTransport(url)`` talks to, and a client.

A session has streams in both directions, datagrams and an end with a code and a reason. The drafts
that browsers speak (02; 07 behind a flag) and the newest (13 to 15) are offered on one port, the
newest that both sides know is spoken. Pages, other requests and several sessions share it.

Examples
--------
>>> import asyncio
>>> from midstream.quic import Config, Identity, webtransport
>>> async def echo(session):
...     async for stream in session.streams():
...         stream.write(await stream.read_to_end(1000))
...         stream.finish()
>>> async def main():
...     identity = Identity.development()
...     config = Config(identity=identity)
...     async with webtransport.serve(echo, "127.0.0.1", 0, path="/echo", config=config) as server:
...         url = f"https://127.0.0.1:{server.address[1]}/echo"
...         trust = Config(pins=[identity.certificate_pin])
...         async with webtransport.connect(url, config=trust) as session:
...             async with await session.open_bi() as stream:
...                 stream.write(b"hello")
...             return await stream.read()
>>> asyncio.run(main())
b'hello'
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Awaitable, Callable, Generator, Sequence
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from midstream._core.errors import ArgumentTypeError, ArgumentValueError, QuicError
from midstream._core.validate import check_int, check_text
from midstream.quic import _wt_wire as wire
from midstream.quic import http3
from midstream.quic._h3_asgi import check_app
from midstream.quic._h3_errors import Http3Error, Http3ErrorCode
from midstream.quic._h3_fields import HeadersLike, check_sent
from midstream.quic._h3_frames import VARINT_MAX
from midstream.quic._waiters import Pending
from midstream.quic._wt_hub import Hub, hub_of
from midstream.quic._wt_session import (
    CloseInfo,
    Session,
    SessionDatagrams,
    SessionStats,
    SessionStream,
)
from midstream.quic._wt_wire import Draft, Limits
from midstream.quic.config import Config
from midstream.quic.connection import connect as connect_quic

__all__ = [
    "CloseInfo",
    "Server",
    "Session",
    "SessionDatagrams",
    "SessionStats",
    "SessionStream",
    "connect",
    "serve",
]

Handler = Callable[[Session], Awaitable[object]]

#: Sessions at once on one connection: Chromium 156 offers 16 itself.
_SESSIONS = 16
_DRAFTS = tuple(Draft)
#: Code of a session whose handler failed; why stays here.
_HANDLER_FAILED = 1
_LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))


def _limits(config: Config) -> Limits:
    # A share of the connection's streams for each session, so that one cannot use up all of them.
    # Data are bounded by the connection's window, which grows only as they are read.
    return Limits(
        VARINT_MAX, max(1, config.max_streams_bidi // 2), max(1, config.max_streams_uni // 2)
    )


class Server:
    """A running WebTransport server, with HTTP/3 beside it; made by `serve`.

    Attributes
    ----------
    address : tuple of str and int
        Where it listens.
    sessions : tuple of Session
        Sessions that are open.
    http3 : http3.Http3Server
        The HTTP/3 server below.
    """

    def __init__(
        self,
        handler: Handler,
        host: str,
        port: int,
        config: Config,
        path: str | None,
        origins: tuple[str, ...] | None,
        app: http3.App | None,
        protocols: tuple[str, ...],
        max_sessions: int,
        drafts: tuple[Draft, ...],
        key: bytes | None = None,
    ) -> None:
        self._handler = handler
        self._path = path
        self._origins = origins
        self._app = app
        self._protocols = protocols
        self._max_sessions = max_sessions
        self._drafts = drafts
        self._limits = _limits(config)
        self._sessions: set[Session] = set()
        self.http3 = http3.serve(
            self._answer, host, port, config=config, on_session=self._on_session, key=key
        )

    def __repr__(self) -> str:
        return f"<Server of {len(self._sessions)} sessions, {self.http3.server!r}>"

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens: host and port."""
        return self.http3.address

    @property
    def sessions(self) -> tuple[Session, ...]:
        """Sessions that are open."""
        return tuple(self._sessions)

    async def __aenter__(self) -> Self:
        """Listen."""
        await self.http3.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close all sessions and the server."""
        await self._end_sessions(0)
        await self.http3.__aexit__(kind, error, trace)

    async def drain(self, timeout_s: float | None = 10.0) -> None:
        """Take no new sessions, ask the open ones to end, then close.

        Parameters
        ----------
        timeout_s : float or None, default 10.0
            Longest wait, seconds; sessions that are left are closed with code 0.
        """
        await self._end_sessions(timeout_s)
        await self.http3.drain(timeout_s)

    async def _end_sessions(self, timeout_s: float | None) -> None:
        sessions = list(self._sessions)
        ends = (session.drain(timeout_s) for session in sessions)
        for result in await asyncio.gather(*ends, return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(result, QuicError):
                raise result
        if sessions:
            # A connection that closes at once would hide the close of its sessions.
            await asyncio.gather(*(session._farewell() for session in sessions))

    def _on_session(self, session: http3.Session) -> None:
        Hub(session, self._drafts, self._max_sessions, self._limits)

    async def _answer(self, request: http3.Request) -> http3.Response | None:
        tokens = {wire.token(draft) for draft in self._drafts}
        if request.method != "CONNECT" or request.protocol not in tokens:
            if self._app is None:
                return http3.Response(501 if request.method == "CONNECT" else 404)
            return await self._app(request)
        hub = hub_of(request.session)
        assert hub is not None
        session = await self._establish(hub, request)
        if isinstance(session, int):
            hub.detach(request.stream_id)
            if session == Http3ErrorCode.H3_REQUEST_REJECTED:
                request.abort(session)
                return None
            return http3.Response(session)
        await self._run(session)
        return None

    async def _establish(self, hub: Hub, request: http3.Request) -> Session | int:
        """Accept a session; or return the status, or the code, that refuses it."""
        draft = await hub.draft()
        if draft is None or request.protocol != wire.token(draft):
            return 400
        if self._path is not None and request.path.partition("?")[0] != self._path:
            return 404
        origin = request.headers.get("origin")
        if origin is not None and not self._allows(origin, request.authority):
            return 403
        if len(hub.members) >= hub.room(draft):
            return Http3ErrorCode.H3_REQUEST_REJECTED
        protocol = None
        offered = wire.parse_protocols(request.headers.get("wt-available-protocols") or "")
        if self._protocols and offered:
            protocol = next((name for name in self._protocols if name in offered), None)
            if protocol is None:
                return 400
        headers: list[tuple[str | bytes, str | bytes]] = []
        if draft == Draft.DRAFT_02:
            headers.append(wire.DRAFT_02_RESPONSE)
        if protocol is not None:
            headers.append(("wt-protocol", wire.protocol_fields([protocol])))
        request.watch()
        tunnel = await request.accept(200, headers)
        return Session(
            hub,
            tunnel,
            draft,
            path=request.path,
            authority=request.authority,
            origin=origin,
            protocol=protocol,
        )

    def _allows(self, origin: str, authority: str) -> bool:
        if self._origins is None:
            try:
                theirs = urlsplit(origin).hostname
                ours = urlsplit(f"//{authority}").hostname
            except ValueError:
                return False
            return theirs is not None and (
                theirs == ours or (theirs in _LOOPBACK and ours in _LOOPBACK)
            )
        return "*" in self._origins or origin in self._origins

    async def _run(self, session: Session) -> None:
        self._sessions.add(session)
        try:
            await self._handler(session)
            await session._flushed()
        except QuicError as error:
            # The peer left: the usual end of a session, and of its handler.
            if not session.closed:
                session._hub.http3.report(f"the handler of {session!r} failed", error)
                session.close(_HANDLER_FAILED, "the handler failed")
        except Exception as error:  # noqa: BLE001 - one session's fault ends that session alone
            session._hub.http3.report(f"the handler of {session!r} failed", error)
            session.close(_HANDLER_FAILED, "the handler failed")
        finally:
            self._sessions.discard(session)
            session.close()
        await session._farewell()


def serve(
    handler: Handler,
    host: str = "127.0.0.1",
    port: int = 443,
    *,
    path: str | None = "/",
    config: Config,
    app: http3.App | None = None,
    origins: Sequence[str] | None = None,
    protocols: Sequence[str] = (),
    max_sessions: int = _SESSIONS,
    drafts: Sequence[int] = _DRAFTS,
    key: bytes | None = None,
) -> Server:
    """Serve WebTransport, and other HTTP/3 requests on the same port.

    Parameters
    ----------
    handler : async callable
        Takes each `Session`, in a task of its own; the session is closed with code 0 when it
        returns, and with code 1 when it raises.
    host : str, default "127.0.0.1"
        Address to listen on.
    port : int, default 443
        UDP port; 0 takes a free one.
    path : str or None, default "/"
        Path at which sessions are accepted, others get 404; None for every path.
    config : Config
        Settings, with a `Config.identity`. `Identity.development` makes one that browsers take
        by ``serverCertificateHashes``.
    app : async callable, optional
        Answers all other requests, as of `http3.serve`. Default: they get 404.
    origins : sequence of str, optional
        Origins of pages that may connect, such as ``"https://example.org"``; ``"*"`` is every
        one. Default: those with the host that they ask for, whatever the port; on the machine
        itself all its names are one. Programs, which send no origin, may always.
    protocols : sequence of str, optional
        Application protocols, the preferred one first. A client that offers others only gets 400.
    max_sessions : int, default 16
        Sessions at once on one connection; more are rejected. Without flow control of both sides
        it is one from draft 13 on, as the draft has it.
    drafts : sequence of int, default 2, 7, 13 and 15
        Versions of the protocol to offer.
    key : bytes, optional
        For tokens and resets that survive a restart, as of `midstream.quic.serve`.

    Returns
    -------
    Server
        Runs within ``async with``.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used.
    OSError
        When entered: the address cannot be listened on.

    Notes
    -----
    Up to 64 streams that come before their session wait for it; more are refused. Not thread-safe.
    Source: draft-ietf-webtrans-http3.

    Examples
    --------
    >>> import asyncio
    >>> from midstream.quic import Config, Identity, webtransport
    >>> identity = Identity.development()
    >>> async def farewell(session):
    ...     session.close(7, "enough for today")
    >>> async def main():
    ...     config = Config(identity=identity)
    ...     async with webtransport.serve(farewell, "127.0.0.1", 0, config=config) as server:
    ...         url = f"https://127.0.0.1:{server.address[1]}/"
    ...         trust = Config(pins=[identity.certificate_pin])
    ...         async with webtransport.connect(url, config=trust) as session:
    ...             end = await session.wait_closed()
    ...             return end.code, end.reason
    >>> asyncio.run(main())
    (7, 'enough for today')
    """
    if not callable(handler):
        raise ArgumentTypeError(f"handler must be callable, got {handler!r}")
    if path is not None and not check_text("path", path).startswith("/"):
        raise ArgumentValueError(f"path must begin with '/', got {path!r}")
    if app is not None:
        check_app(app)
    if not isinstance(config, Config):
        raise ArgumentTypeError(f"config must be a Config, got {config!r}")
    return Server(
        handler,
        host,
        port,
        _with_datagrams(config),
        path,
        None if origins is None else _names("origins", origins),
        app,
        _names("protocols", protocols),
        check_int("max_sessions", max_sessions, low=1, high=1 << 16),
        _check_drafts(drafts),
        key,
    )


class _Connecting(Pending):
    """A session that is being opened: ``async with`` it, or ``await`` it."""

    def __init__(
        self,
        host: str,
        port: int,
        path: str,
        config: Config,
        share: Session | None,
        headers: list[tuple[str | bytes, str | bytes]],
        protocols: tuple[str, ...],
        drafts: tuple[Draft, ...],
    ) -> None:
        self._host = host
        self._port = port
        name = f"[{host}]" if ":" in host else host
        self._authority = name if port == 443 else f"{name}:{port}"
        self._path = path
        self._config = config
        self._share = share
        self._headers = headers
        self._protocols = protocols
        self._drafts = drafts
        self._session: Session | None = None

    async def _connect(self) -> Session:
        if self._share is not None:
            return await self._open(self._share._hub)
        connection = await connect_quic(self._host, self._port, config=self._config)
        hubs: list[Hub] = []

        def prepare(session: http3.Session) -> None:
            hubs.append(Hub(session, self._drafts, _SESSIONS, _limits(self._config)))

        try:
            await http3.mount(connection, authority=self._authority, on_session=prepare)
            session = await self._open(hubs[0])
        except BaseException:
            connection.close(Http3ErrorCode.H3_NO_ERROR, "")
            raise
        return session

    async def _open(self, hub: Hub) -> Session:
        draft = await hub.draft()
        if draft is None:
            raise Http3Error(
                "the server does not offer WebTransport, or only drafts that are not spoken here",
                code=Http3ErrorCode.H3_CONNECT_ERROR,
            )
        if len(hub.members) >= hub.room(draft):
            raise Http3Error(
                f"the connection has {len(hub.members)} sessions, and the server takes no more",
                code=Http3ErrorCode.H3_REQUEST_REJECTED,
            )
        headers = list(self._headers)
        if draft == Draft.DRAFT_02:
            headers.append(wire.DRAFT_02_REQUEST)
        if self._protocols:
            headers.append(("wt-available-protocols", wire.protocol_fields(self._protocols)))
        tunnel = await hub.http3.connect_tunnel(
            self._path,
            protocol=wire.token(draft),
            headers=headers,
            authority=self._authority,
        )
        chosen = wire.parse_protocol(tunnel.headers.get("wt-protocol") or "")
        return Session(
            hub,
            tunnel,
            draft,
            path=self._path,
            authority=self._authority,
            origin=None,
            protocol=chosen if chosen in self._protocols else None,
        )

    def __await__(self) -> Generator[object, None, Session]:
        return self._connect().__await__()

    async def __aenter__(self) -> Session:
        self._session = await self._connect()
        return self._session

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        session = self._session
        assert session is not None
        await session.__aexit__(kind, error, trace)
        if self._share is None:
            session._hub.http3.close()
            await session._hub.http3.wait_closed()


def connect(
    url: str,
    *,
    config: Config | None = None,
    headers: HeadersLike | None = None,
    protocols: Sequence[str] = (),
    share: Session | None = None,
    drafts: Sequence[int] = _DRAFTS,
) -> _Connecting:
    """Open a session with a WebTransport server.

    Parameters
    ----------
    url : str
        ``https://host:port/path?query``.
    config : Config, optional
        Settings; `Config.pins` with `Identity.certificate_pin` for a self-made certificate.
    headers : mapping or pairs, optional
        Further fields of the request, such as ``origin``.
    protocols : sequence of str, optional
        Application protocols to offer, the preferred one first; `Session.protocol` is the choice.
    share : Session, optional
        Open it on the connection of this one, which has to be with the same server; `config`
        counts for nothing then.
    drafts : sequence of int, default 2, 7, 13 and 15
        Versions of the protocol to offer.

    Returns
    -------
    awaitable and asynchronous context manager
        Either gives a `Session`. Leaving the context closes it, and its connection unless that
        is shared.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used.
    HandshakeError, CertificateError, QuicTimeoutError
        When entered or awaited: no connection.
    Http3Error
        When entered or awaited: no WebTransport, or the server refused the session.

    Notes
    -----
    A session costs a round trip beside the handshake, or one alone with `share`. Not thread-safe.

    Examples
    --------
    >>> import asyncio
    >>> from midstream.quic import Config, Identity, webtransport
    >>> identity = Identity.development()
    >>> async def say(session):
    ...     session.datagrams.send(b"tick")
    ...     await session.wait_closed()
    >>> async def main():
    ...     config = Config(identity=identity)
    ...     async with webtransport.serve(say, "127.0.0.1", 0, config=config) as server:
    ...         url = f"https://127.0.0.1:{server.address[1]}/"
    ...         trust = Config(pins=[identity.certificate_pin])
    ...         async with webtransport.connect(url, config=trust) as session:
    ...             return await session.datagrams.receive()
    >>> asyncio.run(main())
    b'tick'
    """
    try:
        parts = urlsplit(check_text("url", url))
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ArgumentValueError(f"url has no valid host and port, got {url!r}") from None
    if parts.scheme != "https" or not host or "@" in parts.netloc or parts.fragment:
        raise ArgumentValueError(
            f"url must be https:// with a host, no user and no fragment, got {url!r}"
        )
    made = Config() if config is None else config
    if not isinstance(made, Config):
        raise ArgumentTypeError(f"config must be a Config, got {made!r}")
    if share is not None and not isinstance(share, Session):
        raise ArgumentTypeError(f"share must be a Session, got {share!r}")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    fields: list[tuple[str | bytes, str | bytes]] = [*check_sent("headers", headers)]
    return _Connecting(
        host,
        port or 443,
        path,
        _with_datagrams(made),
        share,
        fields,
        _names("protocols", protocols),
        _check_drafts(drafts),
    )


def _with_datagrams(config: Config) -> Config:
    if not config.datagrams:
        raise ArgumentValueError("config.datagrams must be true for WebTransport, got False")
    return config if "h3" in config.alpn else dataclasses.replace(config, alpn=("h3",))


def _names(name: str, values: Sequence[str]) -> tuple[str, ...]:
    if isinstance(values, str):
        raise ArgumentTypeError(f"{name} must be a sequence of str, got {values!r}")
    names = tuple(values)
    for value in names:
        if not check_text(name, value) or not value.isascii() or not value.isprintable():
            raise ArgumentValueError(f"{name} must be printable ASCII, got {value!r}")
    return names


def _check_drafts(drafts: Sequence[int]) -> tuple[Draft, ...]:
    found: list[Draft] = []
    for draft in drafts:
        with contextlib.suppress(ValueError):
            found.append(Draft(draft))
            continue
        raise ArgumentValueError(f"drafts must be among 2, 7, 13 and 15, got {draft!r}")
    if not found:
        raise ArgumentValueError("drafts must name at least one, got none")
    return tuple(found)
