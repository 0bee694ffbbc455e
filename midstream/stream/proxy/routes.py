"""Which API a path is of, where a request may go, and how an API says no."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from midstream._core.errors import ArgumentTypeError, ArgumentValueError

__all__ = ["Route", "Upstream", "error_body", "route_of", "socket_route_of"]


@dataclass(frozen=True, slots=True)
class Route:
    """What is known of a request by its path.

    Parameters
    ----------
    api : str
        ``"chat"``, ``"responses"``, ``"anthropic"``, ``"ollama"``, ``"llama"`` or ``"realtime"``.
    guarded : bool
        Whether its answer may hold what a model says, and is read; else everything passes unread.
    unread : str
        What its answer may be that a model says although it is not read, as ``"Bedrock"``; empty
        where it holds nothing of a model, or is read.
    """

    api: str
    guarded: bool
    unread: str = ""


_ROUTES: tuple[tuple[str, str, re.Pattern[str]], ...] = tuple(
    (api, methods, re.compile(pattern))
    for api, methods, pattern in (
        ("chat", "POST", r"/chat/completions$"),
        ("chat", "GET POST", r"/chat/completions/[^/]+$"),
        ("chat", "POST", r"/completions$"),
        ("responses", "POST", r"/responses$"),
        ("responses", "GET POST", r"/responses/[^/]+(/cancel)?$"),
        ("anthropic", "POST", r"(?<!/threads)(?<!/threads/runs)/messages$"),
        ("anthropic", "POST", r":(streamrawpredict|rawpredict)$"),
        ("ollama", "POST", r"/api/(chat|generate)$"),
        ("llama", "POST", r"/completion$"),
    )
)
#: What a model says, in forms that are not read here.
_UNREAD: tuple[tuple[str, str, re.Pattern[str]], ...] = tuple(
    (label, methods, re.compile(pattern))
    for label, methods, pattern in (
        ("Google", "POST", r":(stream)?generate(content|message|text|answer)$"),
        ("Google", "GET POST", r"/interactions(/|$)"),
        ("Google", "POST", r":(predict|serverstreamingpredict|rawpredict|streampredict)$"),
        ("Bedrock", "POST", r"/model/[^/]+/(invoke|invoke-with-response-stream|converse.*)$"),
        ("Cohere", "POST", r"/v[12]/(chat|generate|summarize)$"),
        ("Assistants", "GET POST", r"/threads/runs$|/threads/[^/]+/(runs|messages)(/|$)"),
        ("a batch", "POST", r"/batches$"),
        ("a batch", "GET", r"/batches/[^/]+/results$"),
        ("Realtime over WebRTC", "POST", r"/realtime(/calls)?$"),
    )
)
#: Requests that a model answers with nothing that is said or called.
_SILENT = re.compile(
    r"/(?:embeddings?|embed|moderations?|count_tokens|input_tokens|tokenize|detokenize"
    r"|apply-template|re-?rank(?:ing)?|classify|score)$"
    r"|:(?:counttokens|embedcontent|batchembedcontents)$"
    r"|/(?:images|audio|files|uploads|vector_stores|fine_tuning|containers|conversations|assistants"
    r"|organization|skills|videos|webhooks|lora-adapters|slots|props)(?:/|$)"
    # Below others of its paths some servers have models answer: .../models/NAME/predictions.
    r"|/models(?:/(?:load|unload))?$"
    r"|/threads(?:/[^/]+)?$"
    r"|/batches/[^/]+/cancel$"
    r"|/realtime/(?:client_secrets|sessions|transcription_sessions)$"
    r"|^/api/(?:show|pull|push|create|copy|delete|blobs|version|tags|ps)(?:/|$)"
)
_REALTIME = re.compile(r"/realtime(/translations)?$")
_THREADS = re.compile(r"/threads/[^/]+/")


def route_of(method: str, path: str) -> Route:
    """Find out what a request asks for.

    Parameters
    ----------
    method : str
    path : str
        Decoded; anything may stand before what names the API, as ``/v1`` or a deployment.

    Returns
    -------
    Route

    Examples
    --------
    >>> route_of("POST", "/v1/chat/completions")
    Route(api='chat', guarded=True, unread='')
    >>> route_of("GET", "/v1/models")
    Route(api='chat', guarded=False, unread='')
    >>> route_of("POST", "/model/m/converse-stream")
    Route(api='chat', guarded=False, unread='Bedrock')
    """
    plain = path.rstrip("/").lower()
    if not _THREADS.search(plain):
        for api, methods, pattern in _ROUTES:
            if method in methods.split() and pattern.search(plain):
                return Route(api, True)
    unread = _unread(method, plain)
    if "/messages" in plain and not _THREADS.search(plain):
        return Route("anthropic", False, unread)
    if plain.startswith("/api/"):
        return Route("ollama", False, unread)
    return Route("chat", False, unread)


def _unread(method: str, path: str) -> str:
    """What a model may say in an answer that is not read; empty where it says nothing."""
    for label, methods, pattern in _UNREAD:
        if method in methods.split() and pattern.search(path):
            return label
    if method in ("POST", "PUT", "PATCH") and not _SILENT.search(path):
        return "an unknown path"
    return ""


def socket_route_of(path: str) -> Route | None:
    """Find out what a WebSocket is of; None where it is not known.

    Examples
    --------
    >>> socket_route_of("/v1/realtime"), socket_route_of("/v1/responses")
    (Route(api='realtime', guarded=True, unread=''), None)
    """
    plain = path.rstrip("/").lower()
    return Route("realtime", True) if _REALTIME.search(plain) else None


class Upstream:
    """The one server that requests can go to.

    Parameters
    ----------
    url : str
        ``http://`` or ``https://`` with a host; its path stands before every request's. Where the
        path's end is the request's beginning (``.../v1`` and ``/v1/...``), it stands there once.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        Not text; no such URL; with a user, a query or a fragment.

    Examples
    --------
    >>> Upstream("https://example.org/v1").target(b"/v1/chat/completions", b"a=1")
    b'/v1/chat/completions?a=1'
    """

    __slots__ = ("_base", "_last", "host", "port", "scheme", "url")

    def __init__(self, url: str) -> None:
        if not isinstance(url, str):
            raise ArgumentTypeError(f"upstream must be str, got {type(url).__name__}")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:  # not shown: what stands where the port should may be a password
            raise ArgumentValueError("upstream has no valid host and port") from None
        if "@" in parts.netloc or ("://" not in url and "@" in url):
            raise ArgumentValueError("upstream must not hold a user or password")
        plain = not any(char.isspace() or not char.isprintable() for char in url)
        if parts.scheme not in ("http", "https") or not host or port == 0 or not plain:
            shown = f"{parts.scheme}://{host or ''}{parts.path}"
            if "://" not in url:  # as it was given, "localhost:8080": the scheme was forgotten
                shown = url.partition("?")[0].partition("#")[0]
            raise ArgumentValueError(
                f"upstream must be http:// or https:// with a host, got {shown!r}"
            )
        if parts.query or parts.fragment:
            raise ArgumentValueError("upstream must have no query and no fragment")
        base = parts.path.rstrip("/").encode("utf-8")
        if base and _tricks(base) is not None:
            raise ArgumentValueError(f"upstream has a path that cannot be used: {parts.path!r}")
        self.scheme = parts.scheme
        self.host = host
        self.port = port
        self._base = base
        self._last = base[base.rfind(b"/") :] if base else b""
        name = f"[{host}]" if ":" in host else host
        #: Scheme, host and port, as the ``Host`` header has it after the scheme.
        self.url = f"{parts.scheme}://{name}" + (f":{port}" if port is not None else "")

    @property
    def authority(self) -> str:
        """Value of the ``Host`` header."""
        return self.url.partition("://")[2]

    @property
    def path(self) -> str:
        """What stands before the path of every request."""
        return self._base.decode("ascii")

    def target(self, raw_path: bytes, query: bytes) -> bytes:
        """Path and query of the request to the upstream.

        Parameters
        ----------
        raw_path, query : bytes
            As the client sent them.

        Raises
        ------
        ArgumentValueError
            The path does not begin with one slash, or holds what servers read in different ways:
            empty or dot segments, encoded ones too, backslashes, control characters.
        """
        problem = _tricks(raw_path)
        if problem is None and any(byte <= 32 or byte >= 127 or byte == 35 for byte in query):
            problem = "a character in the query that must be encoded"
        if problem is not None:
            raise ArgumentValueError(f"path has {problem}")
        base = self._base
        if self._last and (raw_path + b"/").startswith(self._last + b"/"):
            base = base[: -len(self._last)]
        return base + raw_path + (b"?" + query if query else b"")


def _tricks(path: bytes) -> str | None:
    """What a path has that servers read in different ways; None where nothing."""
    if not path.startswith(b"/"):
        return "no slash at its beginning"
    if any(byte <= 32 or byte >= 127 for byte in path):
        return "a character that must be encoded"
    if any(byte in b"\\#?" for byte in path):
        return "a backslash, hash or question mark"
    lower = path.lower()
    if re.search(rb"%(?![0-9a-f]{2})", lower):
        return "a per cent sign that encodes nothing"
    if re.search(rb"%25(2e|2f|5c|25)", lower):
        return "a slash, backslash or dot that is encoded twice"
    # Encoded slashes are looked at as slashes: names of models have them, and some servers too.
    plain = unquote_to_bytes(path)
    if any(byte < 32 or byte == 127 or byte == 92 for byte in plain):
        return "an encoded backslash or control character"
    segments = plain.split(b"/")[1:]
    if any(segment in (b".", b"..") for segment in segments):
        return "a dot segment"
    if any(not segment for segment in segments[:-1]):
        return "an empty segment"
    return None


_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "request_too_large",
    415: "invalid_request_error",
    421: "invalid_request_error",
    429: "rate_limit_error",
    431: "request_too_large",
    503: "overloaded_error",
    504: "timeout_error",
}


def error_body(api: str, status: int, message: str) -> bytes:
    """Make the body of a refusal, in the API's own shape.

    Examples
    --------
    >>> error_body("ollama", 429, "too many streams")
    b'{"error": "too many streams"}'
    """
    error: Any
    if api == "ollama":
        error = {"error": message}
    elif api == "anthropic":
        kind = _ANTHROPIC_TYPES.get(status, "api_error")
        error = {"type": "error", "error": {"type": kind, "message": message}}
    else:
        kind = "rate_limit_error" if status == 429 else "invalid_request_error"
        if status >= 500:
            kind = "server_error"
        error = {"error": {"message": message, "type": kind, "param": None, "code": None}}
    return json.dumps(error).encode("ascii")
