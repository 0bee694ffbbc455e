"""Fields of HTTP/3 messages: what is malformed, and what may be sent (RFC 9114, section 4)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream.quic._h3_errors import Http3ErrorCode, StreamFault

__all__ = [
    "BodyLength",
    "Fields",
    "Headers",
    "HeadersLike",
    "RequestHead",
    "ResponseHead",
    "check_request",
    "check_response",
    "check_sent",
    "check_trailers",
    "field_section_size",
]

Fields: TypeAlias = list[tuple[bytes, bytes]]
HeadersLike: TypeAlias = Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]

#: A lower-case token (RFC 9110, section 5.6.2, and RFC 9114, section 4.2).
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
#: What a value must never hold (RFC 9110, section 5.5), or begin or end with.
_BAD_VALUE = re.compile(rb"[\x00\r\n]|\A[ \t]|[ \t]\Z")
#: Control characters and spaces have no place in a request's target.
_BAD_TARGET = re.compile(rb"[\x00-\x20\x7f]")
_DIGITS = re.compile(rb"[0-9]{1,19}")
_STATUS = re.compile(rb"[1-9][0-9][0-9]")
#: Longest name or value that ls-qpack encodes.
_LONGEST = 65535
_SCHEME = re.compile(rb"[A-Za-z][A-Za-z0-9+.\-]*")

#: Fields that speak of one connection of HTTP/1.1 (RFC 9114, section 4.2).
_CONNECTION_FIELDS = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)
_REQUEST_PSEUDO = frozenset((b":method", b":scheme", b":authority", b":path", b":protocol"))


class Headers(Mapping[str, str]):
    """The header fields of a message, in order; names are lower case and may repeat.

    Parameters
    ----------
    fields : iterable of (bytes, bytes), optional
        Names and values as sent.

    Notes
    -----
    Values are text by Latin-1, which keeps every byte; `raw` has them as bytes.

    Examples
    --------
    >>> headers = Headers([(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")])
    >>> headers["Set-Cookie"], headers.get_all("set-cookie")
    ('a=1, b=2', ['a=1', 'b=2'])
    """

    __slots__ = ("raw",)

    def __init__(self, fields: Iterable[tuple[bytes, bytes]] = ()) -> None:
        #: Names and values as they were sent.
        self.raw: tuple[tuple[bytes, bytes], ...] = tuple(fields)

    def get_all(self, name: str) -> list[str]:
        """Return each value of `name`, in order; an empty list where there is none."""
        key = _latin(name.lower())
        return [value.decode("latin-1") for found, value in self.raw if found == key]

    def __getitem__(self, name: str) -> str:
        values = self.get_all(name) if isinstance(name, str) else []
        if not values:
            raise KeyError(name)
        return ", ".join(values)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name.decode("latin-1") for name, _ in self.raw))

    def __len__(self) -> int:
        return len({name for name, _ in self.raw})

    def __repr__(self) -> str:
        return f"Headers({list(self.raw)!r})"


@dataclass(frozen=True)
class RequestHead:
    """A request's control data and fields, checked."""

    method: str
    scheme: str
    authority: str
    path: str
    protocol: str | None
    headers: Headers
    content_length: int | None


@dataclass(frozen=True)
class ResponseHead:
    """A response's status and fields, checked."""

    status: int
    headers: Headers
    content_length: int | None


class BodyLength:
    """Compares the bytes of a body with its content-length (RFC 9114, section 4.1.2)."""

    __slots__ = ("_expected", "_seen")

    def __init__(self, expected: int | None) -> None:
        self._expected = expected
        self._seen = 0

    def add(self, count: int) -> None:
        """Count bytes of DATA."""
        self._seen += count
        if self._expected is not None and self._seen > self._expected:
            raise _malformed(f"body goes on after the {self._expected} bytes of its content-length")

    def end(self) -> None:
        """Say that the body is complete."""
        if self._expected is not None and self._seen != self._expected:
            raise _malformed(f"body ends at {self._seen} of {self._expected} bytes")


def field_section_size(fields: Fields) -> int:
    """Size that MAX_FIELD_SECTION_SIZE limits: uncompressed, 32 a field (RFC 9114, 4.2.2)."""
    return sum(len(name) + len(value) + 32 for name, value in fields)


def check_request(fields: Fields, *, extended_connect: bool) -> RequestHead:
    """Check the header section of a request.

    Parameters
    ----------
    fields : list of (bytes, bytes)
        As decoded.
    extended_connect : bool
        Whether ``:protocol`` was offered (RFC 9220).

    Raises
    ------
    StreamFault
        H3_MESSAGE_ERROR: the request is malformed.
    """
    pseudo, regular, length = _split(fields, _REQUEST_PSEUDO, is_request=True)
    method = pseudo.get(b":method")
    if method is None or not _TOKEN.fullmatch(method):
        raise _malformed(f":method is {method!r}")
    scheme, path = pseudo.get(b":scheme"), pseudo.get(b":path")
    authority, protocol = pseudo.get(b":authority"), pseudo.get(b":protocol")
    if protocol is not None:
        if method != b"CONNECT" or not extended_connect:
            raise _malformed(":protocol without an extended CONNECT")
        if not _TOKEN.fullmatch(protocol):
            raise _malformed(f":protocol is {protocol!r}")
    if method == b"CONNECT" and protocol is None:
        if scheme is not None or path is not None:
            raise _malformed("CONNECT has :scheme or :path")
        if not authority:
            raise _malformed("CONNECT has no :authority")
    else:
        if scheme is None or not _SCHEME.fullmatch(scheme):
            raise _malformed(f":scheme is {scheme!r}")
        if not path:
            raise _malformed(f":path is {path!r}")
        if scheme.lower() in (b"http", b"https"):
            authority = _check_authority(authority, regular)
            if not path.startswith(b"/") and not (method == b"OPTIONS" and path == b"*"):
                raise _malformed(f":path is {path[:80]!r}")
    if _BAD_TARGET.search((path or b"") + (authority or b"")):
        raise _malformed(":path or :authority holds a space or a control character")
    return RequestHead(
        method.decode("ascii"),
        (scheme or b"").decode("ascii").lower(),
        (authority or b"").decode("latin-1"),
        (path or b"").decode("latin-1"),
        None if protocol is None else protocol.decode("ascii"),
        Headers(_join_cookies(regular)),
        length,
    )


def check_response(fields: Fields) -> ResponseHead:
    """Check the header section of a response, interim or final.

    Raises
    ------
    StreamFault
        H3_MESSAGE_ERROR: the response is malformed.
    """
    pseudo, regular, length = _split(fields, frozenset((b":status",)), is_request=False)
    status = pseudo.get(b":status")
    if status is None or not _STATUS.fullmatch(status):
        raise _malformed(f":status is {status!r}")
    if status == b"101":
        raise _malformed("HTTP/3 has no status 101 (RFC 9114, section 4.5)")
    return ResponseHead(int(status), Headers(regular), length)


def check_trailers(fields: Fields) -> Headers:
    """Check a trailer section: no pseudo-header at all.

    Raises
    ------
    StreamFault
        H3_MESSAGE_ERROR: the trailers are malformed.
    """
    _, regular, _ = _split(fields, frozenset(), is_request=False)
    return Headers(regular)


def check_sent(name: str, headers: HeadersLike | None) -> Fields:
    """Return fields that a caller wants to send, as bytes and in lower case.

    Parameters
    ----------
    name : str
        The argument, for messages.
    headers : mapping or iterable of pairs
        Names and values, text (Latin-1) or bytes.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        Not pairs of text or bytes; a name or value that no message can carry, a pseudo-header, or
        a field that speaks of one connection of HTTP/1.1. Values are not shown: they may be secret.
    """
    if headers is None:
        return []
    if isinstance(headers, Headers):
        pairs: Iterable[tuple[str | bytes, str | bytes]] = headers.raw
    elif isinstance(headers, Mapping):
        pairs = headers.items()
    elif isinstance(headers, (str, bytes)):
        raise ArgumentTypeError(f"{name} must be a mapping or pairs, got {type(headers).__name__}")
    else:
        pairs = headers
    sent: Fields = []
    try:
        for given, value in pairs:
            sent.append(_sent_field(name, given, value))
    except (TypeError, ValueError) as error:
        if isinstance(error, (ArgumentTypeError, ArgumentValueError)):
            raise
        raise ArgumentTypeError(f"{name} must be a mapping or pairs: {error}") from None
    return sent


def _sent_field(name: str, given: str | bytes, value: str | bytes) -> tuple[bytes, bytes]:
    if not isinstance(given, (str, bytes)) or not isinstance(value, (str, bytes)):
        kinds = f"{type(given).__name__} and {type(value).__name__}"
        raise ArgumentTypeError(f"{name} must hold pairs of str or bytes, got {kinds}")
    try:
        key = given.encode("ascii") if isinstance(given, str) else bytes(given)
        content = value.encode("latin-1") if isinstance(value, str) else bytes(value)
    except UnicodeEncodeError:
        raise ArgumentValueError(
            f"{name}[{given!r}] has a character that a field cannot carry; give bytes"
        ) from None
    key = key.lower()
    if not _NAME.fullmatch(key):
        raise ArgumentValueError(f"{name} has the field name {given!r}, which is no token")
    if key in _CONNECTION_FIELDS or (key == b"te" and content.lower() != b"trailers"):
        raise ArgumentValueError(f"{name} has {given!r}, which HTTP/3 does not have")
    if max(len(key), len(content)) > _LONGEST:
        raise ArgumentValueError(
            f"{name}[{given!r:.80}] has {max(len(key), len(content))} bytes, above {_LONGEST}"
        )
    content = content.strip(b" \t")
    if _BAD_VALUE.search(content):
        raise ArgumentValueError(f"{name}[{given!r}] has a line end or NUL in its value")
    return key, content


def _split(
    fields: Fields, allowed: frozenset[bytes], *, is_request: bool
) -> tuple[dict[bytes, bytes], Fields, int | None]:
    pseudo: dict[bytes, bytes] = {}
    regular: Fields = []
    length: int | None = None
    for name, value in fields:
        if _BAD_VALUE.search(value):
            raise _malformed(f"value of {name[:80]!r} has a line end, NUL or space around it")
        if name.startswith(b":"):
            if regular:
                raise _malformed(f"{name[:80]!r} stands after a regular field")
            if name not in allowed:
                raise _malformed(f"{name[:80]!r} does not belong here")
            if name in pseudo:
                raise _malformed(f"{name!r} stands twice")
            pseudo[name] = value
            continue
        if not _NAME.fullmatch(name):
            raise _malformed(f"{name[:80]!r} is no lower-case field name")
        if name in _CONNECTION_FIELDS:
            raise _malformed(f"{name!r} is of one connection of HTTP/1.1")
        # Only a request may carry TE, and only to say that trailers are welcome.
        if name == b"te" and not (is_request and value.lower() == b"trailers"):
            raise _malformed(f"{name!r} is not 'trailers'")
        if name == b"content-length":
            if not _DIGITS.fullmatch(value) or (length is not None and int(value) != length):
                raise _malformed(f"content-length is {value[:80]!r}")
            length = int(value)
        regular.append((name, value))
    return pseudo, regular, length


def _check_authority(authority: bytes | None, regular: Fields) -> bytes:
    hosts = [value for name, value in regular if name == b"host"]
    if len(hosts) > 1 or (hosts and authority is not None and hosts[0] != authority):
        raise _malformed("host repeats or differs from :authority")
    found = authority if authority is not None else (hosts[0] if hosts else None)
    if not found or b"@" in found:
        raise _malformed(f":authority is {found!r}" if not found else ":authority has a user")
    return found


def _join_cookies(fields: Fields) -> Fields:
    """Make one cookie field of several (RFC 9114, section 4.2.1): compression splits them."""
    cookies = [value for name, value in fields if name == b"cookie"]
    if len(cookies) < 2:
        return fields
    joined = [field for field in fields if field[0] != b"cookie"]
    return [*joined, (b"cookie", b"; ".join(cookies))]


def _latin(text: str) -> bytes:
    return text.encode("latin-1", "replace")


def _malformed(message: str) -> StreamFault:
    return StreamFault(Http3ErrorCode.H3_MESSAGE_ERROR, message)
