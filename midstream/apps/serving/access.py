"""Who may ask: origin, host and token."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Collection
from urllib.parse import parse_qs, urlsplit

from midstream.apps.serving.refusals import Refusal
from midstream.errors import ArgumentTypeError, ArgumentValueError
from midstream.stream.hosts import host_name

__all__ = ["Access", "argument_of", "is_loopback"]

_MIN_TOKEN_CHARS = 8


def argument_of(query: bytes, name: str) -> str:
    """A query's argument; empty where it is not there exactly once."""
    try:
        values = parse_qs(query.decode("latin-1"), max_num_fields=20).get(name, [])
    except ValueError:  # too many
        return ""
    return values[0] if len(values) == 1 else ""


def is_loopback(host: str) -> bool:
    """Whether a name or address is of this machine alone.

    Examples
    --------
    >>> [is_loopback(host) for host in ("localhost", "127.0.0.1", "[::1]", "::", "example.org")]
    [True, True, True, False, False]
    """
    host = host.strip("[]").lower()
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Access:
    """Refuses what comes from elsewhere.

    Parameters
    ----------
    origins : collection of str
        Origins of web pages that may ask, as ``"https://example.org"``, beside those of this
        machine.
    hosts : collection of str, optional
        Names under which the server may be asked, beside those of this machine; None for any.
        Where only this machine can connect, any would let a web page in whose name was made to
        point here.
    token : str, optional
        What every client must show: as ``Authorization: Bearer TOKEN``, or where a browser cannot,
        as ``?token=TOKEN``.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An origin or token cannot be used.
    """

    def __init__(
        self,
        origins: Collection[str] = (),
        hosts: Collection[str] | None = None,
        token: str | None = None,
    ) -> None:
        if isinstance(origins, str) or not all(isinstance(each, str) for each in origins):
            raise ArgumentTypeError(f"origins must be a collection of str, got {origins!r}")
        self._origins = frozenset(_origin(each) for each in origins)
        self._hosts = None if hosts is None else frozenset(host.lower() for host in hosts)
        if token is not None and (not isinstance(token, str) or len(token) < _MIN_TOKEN_CHARS):
            raise ArgumentValueError(f"token must have at least {_MIN_TOKEN_CHARS} characters")
        self._token = None if token is None else _digest(token.encode())

    def check(
        self,
        headers: Collection[tuple[bytes, bytes]],
        query: bytes,
        *,
        preflight: bool = False,
    ) -> str | None:
        """Judge a request.

        Parameters
        ----------
        headers : collection of (name, value)
            Names in lower case.
        query : bytes
            What follows the question mark.
        preflight : bool
            Whether a browser only asks whether it may: it shows no token then.

        Returns
        -------
        str or None
            The origin of the web page that asks.

        Raises
        ------
        Refusal
            ``"forbidden"`` or ``"unauthorized"``.
        """
        origin: str | None = None
        host: str | None = None
        shown: bytes | None = None
        for name, value in headers:
            if name == b"origin":
                if origin is not None:
                    raise Refusal("forbidden", "more than one origin")
                origin = value.decode("latin-1")
            elif name == b"host":
                if host is not None:
                    raise Refusal("forbidden", "more than one host name")
                host = value.decode("latin-1")
            elif name == b"authorization" and value[:7].lower() == b"bearer ":
                shown = value[7:].strip()
        if self._hosts is not None:
            asked = host_name(host or "") or ""
            if not is_loopback(asked) and self._hosts.isdisjoint((asked, f"[{asked}]")):
                raise Refusal("forbidden", "not served under this host name")
        if origin is not None and not self._is_allowed(origin):
            raise Refusal("forbidden", "this origin may not ask")
        if self._token is not None and not preflight:
            if shown is None and b"token=" in query:
                shown = argument_of(query, "token").encode("utf-8", "replace")
            # Of digests, so that neither content nor length shows in the time it takes.
            if shown is None or not hmac.compare_digest(_digest(shown), self._token):
                raise Refusal("unauthorized", "a token is needed")
        return origin

    def _is_allowed(self, origin: str) -> bool:
        try:
            parts = urlsplit(origin)
            if parts.scheme in ("http", "https") and is_loopback(parts.hostname or ""):
                return True
            return _origin(origin) in self._origins
        except ValueError:
            return False


def _origin(text: str) -> str:
    """An origin as browsers write it."""
    parts = urlsplit(text)
    if not parts.scheme or not parts.hostname or parts.path not in ("", "/"):
        raise ArgumentValueError(
            f"origin must look like https://example.org or http://example.org:8080, got {text!r}"
        )
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    port = "" if parts.port in (None, usual) else f":{parts.port}"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{port}"


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
