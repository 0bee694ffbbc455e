"""HTTP: stream an answer from any OpenAI-compatible, Anthropic or Ollama endpoint."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import SplitResult, urlsplit, urlunsplit

from midstream._core.clock import monotonic_ns
from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    EndpointError,
    IdleTimeoutError,
    MalformedStreamError,
    MidstreamError,
)
from midstream._core.validate import check_int, check_mapping, check_real, check_text
from midstream.stream.decode import Decoder, NDJSONDecoder, SSEDecoder
from midstream.stream.events import Event
from midstream.stream.formats.detecting import AutoMapper, mapper_of
from midstream.stream.inflating import body_of
from midstream.stream.sources import Source
from midstream.stream.sse import DEFAULT_MAX_BYTES
from midstream.stream.wire import parse_json

if TYPE_CHECKING:
    import ssl

    import httpx2

__all__ = ["endpoint_url", "from_http"]

#: The endpoints of each API that take a request, the usual one first.
_PATHS = {
    "chat": ("/chat/completions", "/completions"),
    "responses": ("/responses",),
    "anthropic": ("/messages",),
    "ollama": ("/api/chat", "/api/generate"),
    "llama": ("/completion",),
}
#: APIs whose paths stand below a version.
_VERSIONED = ("chat", "responses", "anthropic")
#: What names of headers are made of (RFC 9110, section 5.6.2).
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: What holds the key of an API, unless told otherwise.
_KEYS = {"anthropic": "ANTHROPIC_API_KEY", "ollama": "OLLAMA_API_KEY"}
_ANTHROPIC_VERSION = "2023-06-01"
#: Anthropic wants a limit on what it writes: that of a request which names none.
_MAX_TOKENS = 4096
_EXCERPT_CHARS = 200
_EXCERPT_BYTES = 4096
_EXCERPT_S = 5.0
_SSE_TYPES = ("", "text/event-stream", "text/plain", "application/octet-stream")
_LINE_TYPES = ("application/x-ndjson", "application/ndjson", "application/jsonl")


def from_http(
    url: str,
    *,
    api: str | None = None,
    messages: Sequence[Mapping[str, Any]] | None = None,
    prompt: str | None = None,
    model: str | None = None,
    body: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    api_key: str | None = None,
    include_usage: bool = True,
    connect_timeout_s: float = 10.0,
    idle_timeout_s: float = 60.0,
    max_line_bytes: int = DEFAULT_MAX_BYTES,
    client: httpx2.AsyncClient | None = None,
) -> Source:
    """Ask an OpenAI-compatible, Anthropic or Ollama endpoint for an answer and stream it.

    Parameters
    ----------
    url : str
        A server (``http://127.0.0.1:8080``), an API base (``.../v1``), or the whole path
        (``.../chat/completions``, ``.../completions``, ``.../responses``, Anthropic's
        ``.../messages``, Ollama's ``.../api/chat`` and ``.../api/generate``, llama.cpp's
        ``.../completion``). A query is kept.
    api : str, optional
        ``"chat"``, ``"responses"``, ``"anthropic"``, ``"ollama"`` or ``"llama"``; by default the
        path tells, and where it is a server's or a base, it is ``"chat"``, or ``"anthropic"``
        where the host is Anthropic's.
    messages : sequence of mappings, optional
        The conversation.
    prompt : str, optional
        One user message; the prompt itself where the endpoint takes one.
    model : str, optional
        Model name.
    body : mapping, optional
        Further fields of the request, or the whole of it; wins over the arguments above. ``stream``
        is always true. To Anthropic, ``max_tokens`` is 4096 unless it is here.
    headers : mapping of str to str, optional
        Further headers; an ``Authorization``, ``api-key`` or ``x-api-key`` of yours replaces the
        key below.
    api_key : str, optional
        Sent as bearer token, to Anthropic as ``x-api-key``; default the environment's
        ``OPENAI_API_KEY``, ``ANTHROPIC_API_KEY`` or ``OLLAMA_API_KEY``, as the API is; none where
        that is unset; ``""`` sends none. It never appears in a message.
    include_usage : bool, default True
        Ask for token counts in the last chunk (``stream_options``) of a completion; some servers
        refuse the field. Other APIs give them unasked.
    connect_timeout_s : float, default 10.0
        Limit for connecting, in seconds.
    idle_timeout_s : float, default 60.0
        Longest silence, in seconds, before the first byte too. Comments that a server sends to
        keep the connection count as life.
    max_line_bytes : int, default 8 MiB
        Longest line, and most data in one event.
    client : httpx2.AsyncClient, optional
        Client to use, for its connections, certificates or proxy; it stays open. By default each
        source makes its own.

    Returns
    -------
    Source
        The request is sent when the first event is asked for. Closing the source closes the
        connection at once, which is how servers learn that they may stop generating.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used; neither messages, prompt nor body is given.
    EndpointError
        From the iterator: no connection, another status than 200, another content type, a broken
        connection, a stream that ends before its end.
    IdleTimeoutError
        From the iterator: silence for longer than `idle_timeout_s`.
    MalformedStreamError
        From the iterator: a line or event above `max_line_bytes`.

    Examples
    --------
    >>> source = from_http("http://127.0.0.1:8080", prompt="Tell me a story", model="stories260k")
    """
    api, target = _endpoint(url, api)
    limits = {
        "connect_timeout_s": check_real("connect_timeout_s", connect_timeout_s, low=1e-3),
        "idle_timeout_s": check_real("idle_timeout_s", idle_timeout_s, low=1e-3),
    }
    check_int("max_line_bytes", max_line_bytes, low=1)
    _check_client(client)
    request = _request_body(api, target, messages, prompt, model, body, include_usage)
    sent, secrets = _request_headers(api, headers, api_key)
    exchange = _Exchange(target, request, sent, secrets, client, max_line_bytes, **limits)
    created_ns = monotonic_ns()
    return Source(exchange, _Late(exchange, created_ns), started_ns=created_ns)


def _check_client(client: Any) -> None:
    if client is None:
        return
    import httpx2

    if not isinstance(client, httpx2.AsyncClient):
        raise ArgumentTypeError(
            f"client must be an httpx2.AsyncClient, got {type(client).__name__}"
        )


def endpoint_url(url: str, api: str | None = None) -> str:
    """Complete the URL of a server or an API base to that of an endpoint.

    Parameters
    ----------
    url : str
        As `from_http` takes it.
    api : str, optional
        As `from_http` takes it.

    Returns
    -------
    str

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        Not text; not an http or https URL with a host; an `api` that is not known, or that the
        path is not of.

    Examples
    --------
    >>> endpoint_url("http://127.0.0.1:8080")
    'http://127.0.0.1:8080/v1/chat/completions'
    >>> endpoint_url("https://example.org/api/v1/completions")
    'https://example.org/api/v1/completions'
    >>> endpoint_url("http://127.0.0.1:11434", "ollama")
    'http://127.0.0.1:11434/api/chat'
    """
    return _endpoint(url, api)[1]


def _endpoint(url: str, api: str | None) -> tuple[str, str]:
    """Name of the API, and the whole URL."""
    if api is not None:
        mapper = mapper_of(check_text("api", api))
        if mapper is None or mapper.api not in _PATHS:
            raise ArgumentValueError(f"api must be one of {', '.join(_PATHS)}, got {api!r}")
        api = mapper.api
    if not isinstance(url, str):
        raise ArgumentTypeError(f"url must be str, got {url!r} ({type(url).__name__})")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # not shown: what stands where the port should may be a password
        raise ArgumentValueError("url has no valid host and port") from None
    if not usable or any(char.isspace() or not char.isprintable() for char in url):
        shown = _shown(parts)
        raise ArgumentValueError(f"url must be http:// or https:// with a host, got {shown!r}")
    path = parts.path.rstrip("/")
    told = next((name for name, ends in _PATHS.items() if path.endswith(ends)), None)
    if told is not None and api not in (None, told):
        raise ArgumentValueError(f"api is {api!r}, but {path!r} is a path of {told!r}")
    if told is None:
        if api is None:
            api = "anthropic" if parts.hostname == "api.anthropic.com" else "chat"
        told, end = api, _PATHS[api][0]
        if api in _VERSIONED and (not path or (api == "anthropic" and not path.endswith("/v1"))):
            path += "/v1"
        path = path.removesuffix("/api") + end if api == "ollama" else path + end
    return told, urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


def _shown(parts: SplitResult) -> str:
    """Show a URL without what may be secret: user, password, query."""
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def _request_body(
    api: str,
    target: str,
    messages: Sequence[Mapping[str, Any]] | None,
    prompt: str | None,
    model: str | None,
    body: Mapping[str, Any] | None,
    include_usage: bool,
) -> bytes:
    if messages is None and prompt is None and body is None:
        raise ArgumentValueError("one of messages, prompt and body must be given")
    if messages is not None and prompt is not None:
        raise ArgumentValueError("messages and prompt must not both be given")
    if prompt is not None:
        check_text("prompt", prompt)
    if body is not None:
        check_mapping("body", body)
    fields: dict[str, Any] = {}
    if model is not None:
        fields["model"] = check_text("model", model)
    if messages is not None:
        if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Iterable):
            kind = type(messages).__name__
            raise ArgumentTypeError(f"messages must be a sequence of mappings, got {kind}")
        fields["input" if api == "responses" else "messages"] = [
            dict(check_mapping(f"messages[{number}]", message))
            for number, message in enumerate(messages)
        ]
    elif prompt is not None:
        if api == "responses":
            fields["input"] = prompt
        elif urlsplit(target).path.endswith(("/chat/completions", "/messages", "/api/chat")):
            fields["messages"] = [{"role": "user", "content": prompt}]
        else:
            fields["prompt"] = prompt
    if api == "anthropic":
        fields["max_tokens"] = _MAX_TOKENS
    if include_usage and api in ("chat", "llama"):
        fields["stream_options"] = {"include_usage": True}
    fields.update(body or {})
    fields["stream"] = True
    try:
        return json.dumps(fields).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise ArgumentTypeError(f"the request is not JSON: {error}") from None


def _request_headers(
    api: str, headers: Mapping[str, str] | None, api_key: str | None
) -> tuple[dict[str, str], list[str]]:
    """Headers to send, and the values in them that no message may show."""
    sent = {
        "Accept": "text/event-stream",
        "Accept-Encoding": "identity",  # compressors hold bytes back
        "Content-Type": "application/json",
        "User-Agent": "midstream",
    }
    if api == "anthropic":
        sent["anthropic-version"] = _ANTHROPIC_VERSION
    elif api == "ollama":
        sent["Accept"] = "application/x-ndjson"
    given = {} if headers is None else dict(check_mapping("headers", headers))
    secrets: list[str] = []
    for name, value in given.items():
        if not isinstance(name, str) or not isinstance(value, str):
            kinds = f"{type(name).__name__} to {type(value).__name__}"
            raise ArgumentTypeError(f"headers must map str to str, got {kinds}")
        if not _TOKEN.fullmatch(name):
            # Not shown either: a value may have been taken for the name.
            raise ArgumentValueError(
                "headers: a name is empty, or has a character that no name of a header has"
            )
        _check_header(f"headers[{name!r}]", value)
        sent = {key: old for key, old in sent.items() if key.lower() != name.lower()}
        secrets += [value, value.rpartition(" ")[2]]
    own = any(name.lower() in ("authorization", "api-key", "x-api-key") for name in given)
    key = api_key
    if key is None:
        key = os.environ.get(_KEYS.get(api, "OPENAI_API_KEY"), "")
    key = check_text("api_key", key).strip()  # keys come from files, with a line end
    if key and not own:
        _check_header("api_key", key)
        if api == "anthropic":
            sent["x-api-key"] = key
        else:
            sent["Authorization"] = f"Bearer {key}"
        secrets.append(key)
    return {**sent, **given}, [secret for secret in secrets if len(secret) >= 8]


def _check_header(name: str, value: str) -> None:
    if not value.isascii() or not value.isprintable():
        # The value itself may be a secret, so it is not shown, here or by the HTTP library.
        raise ArgumentValueError(f"{name} has a character that a header cannot carry")


class _Exchange:
    """One request and the bytes of its response."""

    def __init__(
        self,
        url: str,
        body: bytes,
        headers: dict[str, str],
        secrets: list[str],
        client: httpx2.AsyncClient | None,
        max_bytes: int,
        *,
        connect_timeout_s: float,
        idle_timeout_s: float,
    ) -> None:
        self.place = _shown(urlsplit(url))
        self.decoder: Decoder | None = None  # known when the response's content type is
        self.sent_ns = 0
        self._url = url
        self._body = body
        self._headers = headers
        self._secrets = secrets
        self._client = client
        self._own_client = client is None
        self._max_bytes = max_bytes
        self._connect_timeout_s = connect_timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._response: httpx2.Response | None = None
        self._chunks: AsyncGenerator[bytes] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        import httpx2

        try:
            if self._chunks is None:
                self._chunks = await self._open()
            return await anext(self._chunks)
        except httpx2.ConnectTimeout:
            raise EndpointError(
                f"no connection within {self._connect_timeout_s:g} s", place=self.place
            ) from None
        except httpx2.TimeoutException:
            raise IdleTimeoutError(
                f"nothing arrived for {self._idle_timeout_s:g} s{self._after()}", place=self.place
            ) from None
        except httpx2.ConnectError as error:
            cause = self._clean(_reason(error))
            raise EndpointError(f"no connection: {cause}", place=self.place) from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            cause = self._clean(_reason(error)) or type(error).__name__
            raise EndpointError(
                f"connection broken{self._after()}: {cause}", place=self.place
            ) from error

    async def aclose(self) -> None:
        chunks, self._chunks = self._chunks, None
        response, self._response = self._response, None
        client, self._client = self._client, None
        try:
            if response is not None:
                await response.aclose()
            if chunks is not None:
                await chunks.aclose()
        finally:
            if client is not None and self._own_client:
                await client.aclose()

    async def _open(self) -> AsyncGenerator[bytes]:
        import httpx2

        if self._client is None:
            # Certificates take tens of milliseconds to load, and the first token waits for them:
            # once for all sources, and not at all for plain HTTP, which no redirect leaves.
            tls = self._url.startswith("https:")
            self._client = httpx2.AsyncClient(verify=_tls() if tls else False)
        timeout = httpx2.Timeout(self._idle_timeout_s, connect=self._connect_timeout_s)
        request = self._client.build_request(
            "POST", self._url, content=self._body, headers=self._headers, timeout=timeout
        )
        self.sent_ns = monotonic_ns()
        response = await self._client.send(request, stream=True, follow_redirects=False)
        self._response = response
        if response.status_code != 200:
            await self._refused(response)
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind in _SSE_TYPES:
            self.decoder = SSEDecoder(max_bytes=self._max_bytes, place=self.place)
        elif kind in _LINE_TYPES:
            self.decoder = NDJSONDecoder(max_bytes=self._max_bytes, place=self.place)
        elif kind == "application/json":
            self.decoder = _JSONBody(self.place, self._max_bytes)
        else:
            excerpt = await self._excerpt(response)
            raise EndpointError(
                f"answered with {kind!r} instead of an event stream{excerpt}",
                place=self.place,
                status=response.status_code,
            )
        return body_of(response, self.place)

    async def _refused(self, response: httpx2.Response) -> None:
        """Raise for a status that is not 200, with what the server said about it."""
        text = f"{response.status_code} {response.reason_phrase}".rstrip()
        retry_after = response.headers.get("retry-after")
        if retry_after is not None:
            unit = " s" if retry_after.strip().isdigit() else ""
            text += f", retry after {retry_after.strip()[:40]}{unit}"
        location = response.headers.get("location")
        if location is not None:
            text += f", redirects to {_location(location)}"
        text += await self._excerpt(response)
        raise EndpointError(text, place=self.place, status=response.status_code)

    async def _excerpt(self, response: httpx2.Response) -> str:
        """Return the beginning of a body as ``": one line"``, or nothing where there is none."""
        import httpx2

        raw = b""
        # Of the whole: a server that sends a byte now and then is never idle.
        limit_s = min(self._idle_timeout_s, _EXCERPT_S)
        try:
            async with asyncio.timeout(limit_s):
                async for chunk in body_of(response, self.place):
                    raw += chunk
                    if len(raw) >= _EXCERPT_BYTES:
                        break
        except (TimeoutError, httpx2.TimeoutException):
            raw += f" [body not complete within {limit_s:g} s]".encode()
        except httpx2.HTTPError as error:
            # The status is the news; that its explanation broke off is told beside it.
            raw += f" [body broken off: {type(error).__name__}]".encode()
        except MalformedStreamError:  # packed in a way that is not undone
            raw += b" [body cannot be decoded]"
        text = raw[:_EXCERPT_BYTES].decode("utf-8", "replace")
        try:
            fields = json.loads(text)
            message = fields["error"]
            text = message if isinstance(message, str) else str(message["message"])
        except (ValueError, TypeError, LookupError, RecursionError):
            pass  # not the usual shape: shown as it is
        line = self._clean(text)
        if len(line) > _EXCERPT_CHARS:
            line = line[: _EXCERPT_CHARS - 1] + "…"
        return f": {line}" if line else ""

    def _clean(self, text: object) -> str:
        """Fold into one printable line without secrets."""
        line = " ".join(str(text).split())
        for secret in self._secrets:
            line = line.replace(secret, "[hidden]")
        return "".join(char if char.isprintable() else "\ufffd" for char in line)

    def _after(self) -> str:
        if self._response is None:
            return " before the response"
        decoder = self.decoder
        count = decoder.mapper.count if isinstance(decoder, (SSEDecoder, NDJSONDecoder)) else 0
        return f" after event {count}" if count else " before the first event"


def _reason(error: BaseException) -> str:
    """Say why a connection failed or broke.

    Libraries fold it into "all attempts failed", or into an error that says nothing.
    """
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, ConnectionError) and inner.errno is not None:
            return os.strerror(inner.errno)
        if isinstance(inner, BaseExceptionGroup):
            inner = inner.exceptions[0]
        else:
            inner = inner.__cause__ or inner.__context__
    return str(error)


@cache
def _tls() -> ssl.SSLContext:
    import httpx2

    return httpx2.create_ssl_context()


def _location(location: str) -> str:
    try:
        return _shown(urlsplit(location))
    except ValueError:
        return "a malformed URL"


class _Late:
    """The decoder that a response turns out to need, with times from when the request was sent."""

    def __init__(self, exchange: _Exchange, created_ns: int) -> None:
        self._exchange = exchange
        self._created_ns = created_ns

    @property
    def error(self) -> MidstreamError | None:
        decoder = self._exchange.decoder
        return None if decoder is None else decoder.error

    @property
    def done(self) -> bool:
        decoder = self._exchange.decoder
        return decoder is not None and decoder.done

    def feed(self, item: bytes, t_ns: int) -> list[Event]:
        decoder = self._exchange.decoder
        return [] if decoder is None else decoder.feed(item, self._since_sent(t_ns))

    def finish(self, t_ns: int, *, broken: bool = False) -> list[Event]:
        decoder = self._exchange.decoder
        return [] if decoder is None else decoder.finish(self._since_sent(t_ns), broken=broken)

    def _since_sent(self, t_ns: int) -> int:
        return t_ns + self._created_ns - self._exchange.sent_ns


class _JSONBody:
    """A body that is one JSON object: a server that does not stream, or an error of it.

    One object a line, as some servers label with this type, is understood as well.
    """

    done = False

    def __init__(self, place: str, max_bytes: int) -> None:
        self.error: MidstreamError | None = None
        self._place = place
        self._max_bytes = max_bytes
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, item: bytes, t_ns: int) -> list[Event]:
        self._pieces.append(item)
        self._size += len(item)
        if self._size > self._max_bytes:
            self._pieces = []
            self.error = MalformedStreamError(
                f"JSON body is longer than {self._max_bytes} bytes", place=self._place
            )
        return []

    def finish(self, t_ns: int, *, broken: bool = False) -> list[Event]:
        body = b"".join(self._pieces)
        mapper = AutoMapper()
        try:
            out = mapper.events(parse_json(body.decode("utf-8-sig")), t_ns)
            return out + mapper.finish(t_ns)
        except (ValueError, RecursionError):
            lines = NDJSONDecoder(max_bytes=self._max_bytes, place=self._place)
        out = lines.feed(body, t_ns)
        if lines.error is None:
            out += lines.finish(t_ns, broken=broken)
        self.error = lines.error
        return out
