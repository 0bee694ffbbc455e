"""Connecting to a Realtime endpoint: its URL, what proves who asks, and what a refusal says."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from midstream._core.errors import ArgumentTypeError, ArgumentValueError, EndpointError
from midstream._core.validate import check_mapping, check_text
from midstream.stream.realtime.limits import RealtimeLimits

if TYPE_CHECKING:
    import ssl

    from websockets.asyncio.client import ClientConnection

__all__ = ["OPENAI_URL", "Endpoint", "open_socket", "require_websockets"]

OPENAI_URL = "wss://api.openai.com/v1/realtime"
_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
#: What names of headers are made of (RFC 9110, section 5.6.2).
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CREDENTIALS = ("authorization", "api-key", "x-api-key")
_EXCERPT_CHARS = 200
#: Messages that the library reads ahead.
_AHEAD = 16


class _Silent(logging.Logger):
    """What the library tells of a connection, headers with keys among it, goes nowhere."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - the library's name
        """Whether anybody wants it: no."""
        return False


_LOGGER = _Silent("midstream.stream.realtime")


class Endpoint:
    """Where a session is, and what proves who asks; shown without secrets.

    Parameters
    ----------
    url : str or None
        ``wss://``, ``ws://``, or the same as ``https://``, ``http://``. A server or a base
        (``.../v1``) is completed. Default `OPENAI_URL`.
    model, call_id : str or None
        Go into the query.
    api_key : str or None
        Default the environment's ``OPENAI_API_KEY``.
    headers : mapping or None
        Further ones; with an ``Authorization`` or ``api-key`` of its own, no key is sent.
    beta : bool
        Ask for the beta.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used, or there is no key for an endpoint that is not local.

    Examples
    --------
    >>> Endpoint("http://127.0.0.1:8080/v1", "gpt-realtime", "sk-secret-secret", None)
    Endpoint('ws://127.0.0.1:8080/v1/realtime')
    """

    __slots__ = ("headers", "place", "secrets", "url")

    def __init__(
        self,
        url: str | None,
        model: str | None = None,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        call_id: str | None = None,
        beta: bool = False,
    ) -> None:
        self.url, self.place, local, query = _target(url, model, call_id)
        self.headers, self.secrets = _headers(headers, api_key, beta=beta)
        self.secrets += [value for _, value in query if len(value) >= 8 and value != model]
        named = {name.lower() for name in self.headers}
        if not local and not named & set(_CREDENTIALS):
            known = {name for name, _ in query}
            if not known & {"api-key", "api_key", "key", "token"}:
                raise ArgumentValueError(
                    "api_key is None, and OPENAI_API_KEY is not set; give a key, or headers with "
                    "an Authorization"
                )

    def __repr__(self) -> str:
        return f"Endpoint({self.place!r})"

    def clean(self, text: object) -> str:
        """Fold a text into one printable line without secrets."""
        line = " ".join(str(text).split())
        for secret in self.secrets:
            line = line.replace(secret, "[hidden]")
        return "".join(char if char.isprintable() else "\ufffd" for char in line)

    def failure(self, message: object, status: int | None = None) -> EndpointError:
        """Make an error with this place; its message holds no secret."""
        line = self.clean(message)
        if len(line) > 4 * _EXCERPT_CHARS:
            line = line[: 4 * _EXCERPT_CHARS - 1] + "…"
        return EndpointError(line, place=self.place, status=status)


def _target(
    url: str | None, model: str | None, call_id: str | None
) -> tuple[str, str, bool, list[tuple[str, str]]]:
    """The URL to connect to, how to show it, whether it is local, and the caller's query."""
    given = OPENAI_URL if url is None else check_text("url", url).strip()
    try:
        parts = urlsplit(given)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ArgumentValueError("url is malformed") from None
    scheme = _SCHEMES.get(parts.scheme.lower())
    if scheme is None or not host:
        known = "wss://, ws://, https:// or http://"
        raise ArgumentValueError(f"url must begin with {known}, got {parts.scheme!r}")
    if parts.username is not None or parts.password is not None:
        raise ArgumentValueError("url must not hold a user or password; use api_key or headers")
    path = parts.path.rstrip("/")
    if not path.endswith(("/realtime", "/translations")):
        path = f"{path}/realtime" if path else "/v1/realtime"
    query = parse_qsl(parts.query, keep_blank_values=True)
    kept = list(query)
    for name, value in (("model", model), ("call_id", call_id)):
        if value is not None:
            if not check_text(name, value):
                raise ArgumentValueError(f"{name} must not be empty")
            kept = [(key, old) for key, old in kept if key != name]
            kept.append((name, value))
    whole = urlunsplit((scheme, parts.netloc, path, urlencode(kept), ""))
    local = host in ("localhost", "::1") or host.startswith("127.")
    return whole, urlunsplit((scheme, parts.netloc, path, "", "")), local, query


def _headers(
    headers: Mapping[str, str] | None, api_key: str | None, *, beta: bool
) -> tuple[dict[str, str], list[str]]:
    sent: dict[str, str] = {}
    secrets: list[str] = []
    for name, value in ({} if headers is None else check_mapping("headers", headers)).items():
        if not isinstance(name, str) or not isinstance(value, str):
            kinds = f"{type(name).__name__} to {type(value).__name__}"
            raise ArgumentTypeError(f"headers must map str to str, got {kinds}")
        if not _TOKEN.fullmatch(name):
            # Not shown: a value may have been taken for the name.
            raise ArgumentValueError(
                "headers: a name is empty, or has a character that no name of a header has"
            )
        _check_value(f"headers[{name!r}]", value)
        sent[name] = value
        secrets += [value, value.rpartition(" ")[2]]
    own = any(name.lower() in _CREDENTIALS for name in sent)
    key = os.environ.get("OPENAI_API_KEY", "") if api_key is None else api_key
    key = check_text("api_key", key).strip()  # keys come from files, with a line end
    if key and not own:
        _check_value("api_key", key)
        sent["Authorization"] = f"Bearer {key}"
        secrets.append(key)
    if beta and not any(name.lower() == "openai-beta" for name in sent):
        sent["OpenAI-Beta"] = "realtime=v1"
    return sent, [secret for secret in secrets if len(secret) >= 8]


def _check_value(name: str, value: str) -> None:
    if not value.isascii() or not value.isprintable():
        # The value may be a secret, so it is not shown.
        raise ArgumentValueError(f"{name} has a character that a header cannot carry")


def require_websockets() -> None:
    """Raise where the library is missing, with the way out."""
    try:
        import websockets.asyncio.client  # noqa: F401 - asked for whether it is there
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] != "websockets":
            raise
        raise ModuleNotFoundError(
            'RealtimeClient needs websockets: pip install "midstream[realtime]"', name="websockets"
        ) from missing


async def open_socket(
    endpoint: Endpoint, limits: RealtimeLimits, tls: ssl.SSLContext | None = None
) -> ClientConnection:
    """Connect.

    Raises
    ------
    EndpointError
        No connection, or refused: the message has the status and what the server says.
    """
    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI

    class Straight(connect):
        """Does not take a key elsewhere, as a redirection asks for."""

        def process_redirect(self, exc: Exception) -> Exception | str:
            """Leave a redirection the refusal that it is."""
            return exc

    more: dict[str, Any] = {}
    if tls is not None and endpoint.url.startswith("wss:"):
        more["ssl"] = tls
    try:
        return await Straight(
            endpoint.url,
            additional_headers=endpoint.headers,
            user_agent_header="midstream",
            compression=None,
            open_timeout=limits.open_timeout_s,
            close_timeout=limits.close_timeout_s,
            ping_interval=None,  # the client's own does not count time in which it does not read
            max_size=limits.max_message_bytes,
            max_queue=_AHEAD,
            logger=_LOGGER,
            **more,
        )
    except InvalidStatus as error:
        response = error.response
        text = f"{response.status_code} {response.reason_phrase}".rstrip()
        text += _told(response.body)
        raise endpoint.failure(text, response.status_code) from None
    except TimeoutError:
        raise endpoint.failure(f"no connection within {limits.open_timeout_s:g} s") from None
    except InvalidURI:
        raise ArgumentValueError(f"url cannot be connected to: {endpoint.place}") from None
    except (InvalidHandshake, OSError, EOFError) as error:
        raise endpoint.failure(_reason(error)) from None


def _reason(error: Exception) -> str:
    if isinstance(error, ConnectionError) and error.errno is not None:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__


def _told(body: bytes | bytearray | None) -> str:
    """What a refusal's body says, as ``": one line"``."""
    text = bytes((body or b"")[:4096]).decode("utf-8", "replace")
    try:
        error = json.loads(text)["error"]
        text = error if isinstance(error, str) else str(error["message"])
    except (ValueError, TypeError, LookupError, RecursionError):
        pass  # not the usual shape: shown as it is
    line = " ".join(text.split())
    if len(line) > _EXCERPT_CHARS:
        line = line[: _EXCERPT_CHARS - 1] + "…"
    return f": {line}" if line else ""
