"""Who may read: hosts, origins, a token, sessions; and the headers of every answer."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any

from midstream._core.clock import monotonic_ns, ns_from_s
from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_text
from midstream.stream.hosts import host_name
from midstream.stream.probes import answer_probe

__all__ = ["Access", "Guarded", "check_names", "is_loopback"]

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_LEAST_TOKEN = 16
_MOST_SESSIONS = 256
_SESSION_S = 7 * 24 * 3600
#: Wrong tokens of one peer in so many seconds, after which none of its is looked at.
_WRONG, _WRONG_S = 10, 60
_MOST_PEERS = 1024
#: Tickets that were given out and not used.
_MOST_TICKETS = 64
_TICKET_S = 30
_ATTEMPTS_MESSAGE = "too many wrong tokens: wait a minute"


def is_loopback(host: str) -> bool:
    """Whether this address is one's own machine's.

    Examples
    --------
    >>> is_loopback("localhost"), is_loopback("127.0.0.2"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_names(name: str, values: Collection[str]) -> Collection[str]:
    """Return a collection of str if it is one.

    Raises
    ------
    ArgumentTypeError
        It is none.
    """
    if (
        isinstance(values, str)
        or not isinstance(values, Collection)
        or not all(isinstance(value, str) for value in values)
    ):
        raise ArgumentTypeError(f"{name} must be a collection of str, got {values!r}")
    return values


class Access:
    """Says of requests whether they are answered, and keeps who has shown the token.

    Parameters
    ----------
    host : str
        Where the server listens.
    token : str, optional
        What readers must show, at least 16 characters. Without, `host` must be loopback.
    hosts : collection of str, optional
        Further names under which it may be asked.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used, or there is no token where others can reach the server.

    Notes
    -----
    A name in ``Host`` may be the server's own or one of `hosts`; where it listens on every address,
    also any address: what a foreign page could be made to ask for by is a name. ``Origin``, where
    there is one, must be the page's own; so must ``Sec-Fetch-Site``. After ten wrong tokens of one
    peer in a minute, none of its is looked at until that is over.

    Examples
    --------
    >>> access = Access("127.0.0.1")
    >>> access.knows_host("localhost:8000"), access.knows_host("evil.example:8000")
    (True, False)
    >>> Access("0.0.0.0")
    Traceback (most recent call last):
    ...
    midstream._core.errors.ArgumentValueError: token must be given where others can reach the \
server, at '0.0.0.0'
    """

    def __init__(
        self, host: str = "127.0.0.1", *, token: str | None = None, hosts: Collection[str] = ()
    ) -> None:
        check_text("host", host)
        if token is not None:
            check_text("token", token)
            if len(token) < _LEAST_TOKEN:
                raise ArgumentValueError(
                    f"token must have at least {_LEAST_TOKEN} characters, got {len(token)}"
                )
        elif not is_loopback(host):
            raise ArgumentValueError(
                f"token must be given where others can reach the server, at {host!r}"
            )
        check_names("hosts", hosts)
        self.token = token
        self._named = frozenset(name.lower() for name in hosts)
        self._hosts = _LOOPBACK | {host.lower()} | self._named
        self._any_address = not is_loopback(host)
        self._sessions: OrderedDict[str, int] = OrderedDict()
        self._tickets: OrderedDict[str, int] = OrderedDict()
        self._wrong: OrderedDict[str, deque[int]] = OrderedDict()  # by who has shown it

    def knows_host(self, host: str) -> bool:
        """Whether this value of ``Host`` is one of ours."""
        name = host_name(host)
        if name in self._hosts:
            return True
        if not self._any_address or name is None:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def knows_origin(self, origin: str, scheme: str, host: str) -> bool:
        """Whether a page of this origin is ours, for a request with this value of ``Host``.

        A name that was given may stand before us with a certificate that we know nothing of.
        """
        schemes = {scheme} | ({"https"} if host_name(host) in self._named else set())
        return any(origin.lower() == f"{one}://{host.lower()}" for one in schemes)

    def login(self, token: str, peer: str = "") -> str | None:
        """Exchange the token for a session; None where it is another.

        Parameters
        ----------
        token : str
        peer : str
            Whose it is: the address.

        Raises
        ------
        PermissionError
            Too many of this peer's were wrong.
        """
        if not self._may_try(peer):
            raise PermissionError(_ATTEMPTS_MESSAGE)
        if not self._is_token(token, peer):
            return None
        session = secrets.token_urlsafe(32)
        self._sessions[session] = monotonic_ns()
        if len(self._sessions) > _MOST_SESSIONS:
            self._sessions.popitem(last=False)
        return session

    def logout(self, session: str) -> None:
        """End a session."""
        self._sessions.pop(session, None)

    def allows(self, session: str | None, bearer: str | None = None, peer: str = "") -> bool:
        """Whether a reader with this cookie, or this token in ``Authorization``, may read."""
        if self.token is None:
            return True
        if session is not None:
            begun_ns = self._sessions.get(session)
            if begun_ns is not None and monotonic_ns() - begun_ns < ns_from_s(_SESSION_S):
                return True
        return bearer is not None and self._may_try(peer) and self._is_token(bearer, peer)

    def _may_try(self, peer: str) -> bool:
        wrong = self._wrong.get(peer)
        if wrong is None or len(wrong) < _WRONG:
            return True
        return monotonic_ns() - wrong[0] >= ns_from_s(_WRONG_S)

    def _is_token(self, given: str, peer: str) -> bool:
        right = self.token
        if right is not None and hmac.compare_digest(_bytes(given), _bytes(right)):
            return True
        self._wrong.setdefault(peer, deque(maxlen=_WRONG)).append(monotonic_ns())
        self._wrong.move_to_end(peer)
        if len(self._wrong) > _MOST_PEERS:
            self._wrong.popitem(last=False)
        return False

    def ticket(self) -> str:
        """Make what opens one session over WebTransport, which sends no cookies; for 30 seconds."""
        ticket = secrets.token_urlsafe(32)
        self._tickets[ticket] = monotonic_ns()
        if len(self._tickets) > _MOST_TICKETS:
            self._tickets.popitem(last=False)
        return ticket

    def take_ticket(self, ticket: str) -> bool:
        """Use a ticket up; whether it was one."""
        # Looked up by hash: of 256 random bits, what time tells is nothing.
        made_ns = self._tickets.pop(ticket, None)
        return made_ns is not None and monotonic_ns() - made_ns < ns_from_s(_TICKET_S)


class Guarded:
    """An ASGI application behind `Access`: refuses foreign hosts and pages, adds headers.

    ``/healthz`` and ``/readyz`` are answered to everyone.

    Parameters
    ----------
    app : ASGI application
    access : Access
    policy : callable
        Gives the Content-Security-Policy, with what is known then.
    """

    def __init__(self, app: Any, access: Access, policy: Callable[[], str]) -> None:
        self._app = app
        self._access = access
        self._policy = policy
        #: Whether readers may come, as ``/readyz`` says it; may be set.
        self.ready = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        if await answer_probe(scope["method"], scope["path"], send, ready=self.ready):
            return

        async def sending(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *self._headers()]}
            await send(message)

        status, why = self._judge(scope)
        if status is None:
            await self._app(scope, receive, sending)
            return
        body = why.encode("ascii")
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
        ]
        await sending({"type": "http.response.start", "status": status, "headers": headers})
        await sending({"type": "http.response.body", "body": body})

    def _judge(self, scope: Scope) -> tuple[int | None, str]:
        """Status and reason of a refusal."""
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        host = hosts[0].decode("latin-1") if len(hosts) == 1 else ""
        if not self._access.knows_host(host):
            return 421, "this host name is not served here"
        fields = {
            name: value.decode("latin-1")
            for name, value in scope["headers"]
            if name in (b"origin", b"sec-fetch-site")
        }
        origin = fields.get(b"origin")
        if origin is not None and not self._access.knows_origin(origin, scope["scheme"], host):
            return 403, "another page's request"
        site = fields.get(b"sec-fetch-site", "none")
        # From elsewhere one may follow a link to the page, and nothing more.
        is_visit = scope["path"] == "/" and scope["method"] in ("GET", "HEAD")
        if site not in ("same-origin", "none") and not is_visit:
            return 403, "another page's request"
        return None, ""

    def _headers(self) -> Iterable[tuple[bytes, bytes]]:
        return (
            (b"content-security-policy", self._policy().encode("ascii")),
            (b"x-frame-options", b"DENY"),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cross-origin-opener-policy", b"same-origin"),
            (b"cross-origin-resource-policy", b"same-origin"),
            (b"cross-origin-embedder-policy", b"require-corp"),
            (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=()"),
        )


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")
