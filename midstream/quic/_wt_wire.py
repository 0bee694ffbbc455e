"""What WebTransport adds to HTTP/3 on the wire, without input or output: settings, capsules, codes.

Browsers are years behind the drafts, so one server has to speak several of them. Seen on
2026-11-29 with Chromium 156.0.8078 against servers that offered one draft each:

- it sends 0x2b603742 = 1 and 0x33 = 1 and connects where the server offers 0x2b603742, with
  ``:protocol`` ``webtransport`` and the field ``sec-webtransport-http3-draft02: 1``;
- a server that offers only 0x14e9cd29 or only 0x2c7cf000 is refused ("Opening handshake failed");
  one that offers all of them is taken, by draft 02;
- 0xc671706a comes besides with ``--enable-features=EnableWebTransportDraft07`` alone;
- it closes with CLOSE_WEBTRANSPORT_SESSION and FIN, and maps codes of streams as below: its reset
  with 77 arrives as 0x52e4a40fa92a;
- its first frame on the CONNECT stream after HEADERS is one of a reserved type, to be skipped.

Source: draft-ietf-webtrans-http3, versions 02, 07, 13 and 15; RFC 9297 for capsules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from midstream.quic import _h3_frames as frames
from midstream.quic._h3_errors import Http3ErrorCode, StreamFault

__all__ = [
    "Draft",
    "Limits",
    "application_code",
    "close_capsule",
    "flow_capsule",
    "has_flow_control",
    "http_code",
    "negotiate",
    "parse_close",
    "parse_flow",
    "parse_protocol",
    "parse_protocols",
    "protocol_fields",
    "settings_for",
    "stream_header",
    "token",
]


class Draft(IntEnum):
    """Drafts that differ on the wire, by the first version that had the form."""

    DRAFT_02 = 2
    DRAFT_07 = 7
    DRAFT_13 = 13
    DRAFT_15 = 15


# Settings by which each draft is offered: 02 to 06, 07 to 12, 13 and 14, 15 and later.
ENABLE_WEBTRANSPORT = 0x2B603742
MAX_SESSIONS_07 = 0xC671706A
MAX_SESSIONS_13 = 0x14E9CD29
WT_ENABLED = 0x2C7CF000
_OFFERS = {
    Draft.DRAFT_15: WT_ENABLED,
    Draft.DRAFT_13: MAX_SESSIONS_13,
    Draft.DRAFT_07: MAX_SESSIONS_07,
    Draft.DRAFT_02: ENABLE_WEBTRANSPORT,
}
# Limits that every session begins with (draft 15, section 9.2).
INITIAL_MAX_DATA = 0x2B61
INITIAL_MAX_STREAMS_UNI = 0x2B64
INITIAL_MAX_STREAMS_BIDI = 0x2B65

#: First integer of unidirectional and of bidirectional streams (sections 4.2 and 4.3).
STREAM_UNI = 0x54
STREAM_BIDI = 0x41

# Error codes (section 9.5).
BUFFERED_STREAM_REJECTED = 0x3994BD84
SESSION_GONE = 0x170D7B68
FLOW_CONTROL_ERROR = 0x045D4487

# Capsules (section 9.6).
CLOSE_SESSION = 0x2843
DRAIN_SESSION = 0x78AE
MAX_DATA = 0x190B4D3D
MAX_STREAMS_BIDI = 0x190B4D3F
MAX_STREAMS_UNI = 0x190B4D40
DATA_BLOCKED = 0x190B4D41
STREAMS_BLOCKED_BIDI = 0x190B4D43
STREAMS_BLOCKED_UNI = 0x190B4D44
#: Those that WebTransport over HTTP/2 has, and that are errors here (draft 15, section 5.4).
FORBIDDEN = frozenset((0x190B4D3E, 0x190B4D42))
FLOW_CAPSULES = frozenset(
    (
        MAX_DATA,
        MAX_STREAMS_BIDI,
        MAX_STREAMS_UNI,
        DATA_BLOCKED,
        STREAMS_BLOCKED_BIDI,
        STREAMS_BLOCKED_UNI,
    )
)
#: Capsules that are kept; all others are skipped, whatever their length (RFC 9297, section 3.2).
KNOWN = FLOW_CAPSULES | FORBIDDEN | {CLOSE_SESSION, DRAIN_SESSION}
#: Longest reason of a close, bytes (section 6), and longest capsule that carries one.
REASON_LIMIT = 1024
CAPSULE_LIMIT = 4 + REASON_LIMIT

CODE_MAX = (1 << 32) - 1
_FIRST = 0x52E4A40FA8DB
_LAST = 0x52E5AC983162
#: A stream count above this could not be written as a stream identifier.
_STREAMS_MAX = 1 << 60

# Draft 02 marks both messages of its CONNECT with fields of its own.
DRAFT_02_REQUEST = (b"sec-webtransport-http3-draft02", b"1")
DRAFT_02_RESPONSE = (b"sec-webtransport-http3-draft", b"draft02")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a peer may open and send within one session, counted from its beginning."""

    data: int = 0
    streams_bidi: int = 0
    streams_uni: int = 0

    @classmethod
    def of(cls, settings: Mapping[int, int]) -> Limits:
        """Those that settings begin with."""
        return cls(
            settings.get(INITIAL_MAX_DATA, 0),
            min(settings.get(INITIAL_MAX_STREAMS_BIDI, 0), _STREAMS_MAX),
            min(settings.get(INITIAL_MAX_STREAMS_UNI, 0), _STREAMS_MAX),
        )

    def __bool__(self) -> bool:
        """Whether any is given, which is how flow control is offered (draft 15, section 5.1)."""
        return bool(self.data or self.streams_bidi or self.streams_uni)


def settings_for(drafts: Iterable[Draft], sessions: int, limits: Limits) -> dict[int, int]:
    """Write the settings that offer `drafts`, and `sessions` at once where a draft counts them.

    Under draft 13 the count is always 1: Safari 26.4 takes a larger one for a promise of flow
    control (https://github.com/aiortc/aioquic/issues/652).
    """
    settings: dict[int, int] = {}
    for draft in drafts:
        if draft == Draft.DRAFT_07:
            settings[MAX_SESSIONS_07] = sessions
        else:
            settings[_OFFERS[draft]] = 1
        if draft == Draft.DRAFT_15:
            settings[INITIAL_MAX_DATA] = limits.data
            settings[INITIAL_MAX_STREAMS_UNI] = limits.streams_uni
            settings[INITIAL_MAX_STREAMS_BIDI] = limits.streams_bidi
    return settings


def negotiate(ours: Mapping[int, int], theirs: Mapping[int, int]) -> Draft | None:
    """Return the newest draft that both offer; None where there is none (draft 15, section 7.1)."""
    for draft, setting in _OFFERS.items():
        if ours.get(setting) and theirs.get(setting):
            return draft
    return None


def has_flow_control(draft: Draft, ours: Mapping[int, int], theirs: Mapping[int, int]) -> bool:
    """Tell whether sessions have limits of their own: where both sides of draft 15 gave some."""
    return draft >= Draft.DRAFT_15 and bool(Limits.of(ours)) and bool(Limits.of(theirs))


def token(draft: Draft) -> str:
    """Return the value of ``:protocol`` that asks for a session."""
    return "webtransport-h3" if draft >= Draft.DRAFT_15 else "webtransport"


def http_code(code: int) -> int:
    """Write an application's code, below 2**32, as one of HTTP/3 (section 4.4).

    Every thirtieth code of HTTP/3's is reserved for nothing (RFC 9114, section 8.1) and skipped.
    """
    return _FIRST + code + code // 0x1E


def application_code(code: int) -> int | None:
    """Read an application's code out of HTTP/3's; None where it is none."""
    if not _FIRST <= code <= _LAST or (code - 0x21) % 0x1F == 0:
        return None
    shifted = code - _FIRST
    return shifted - shifted // 0x1F


def stream_header(unidirectional: bool, session_id: int) -> bytes:
    """Return what a stream of a session begins with."""
    kind = STREAM_UNI if unidirectional else STREAM_BIDI
    return frames.encode_varint(kind) + frames.encode_varint(session_id)


def close_capsule(code: int, reason: str) -> bytes:
    """Write the payload of CLOSE_WEBTRANSPORT_SESSION; a long reason is cut at a character."""
    text = reason.encode()[:REASON_LIMIT].decode(errors="ignore").encode()
    return code.to_bytes(4, "big") + text


def parse_close(payload: bytes) -> tuple[int, str]:
    """Read the payload of CLOSE_WEBTRANSPORT_SESSION: code and reason.

    Raises
    ------
    StreamFault
        H3_MESSAGE_ERROR for one that is too short or too long, or whose reason is not UTF-8.
    """
    if not 4 <= len(payload) <= CAPSULE_LIMIT:
        raise StreamFault(
            Http3ErrorCode.H3_MESSAGE_ERROR, f"a close of {len(payload)} bytes is malformed"
        )
    try:
        reason = payload[4:].decode()
    except UnicodeDecodeError:
        raise StreamFault(
            Http3ErrorCode.H3_MESSAGE_ERROR, "the reason of a close is not UTF-8"
        ) from None
    return int.from_bytes(payload[:4], "big"), reason


def flow_capsule(kind: int, limit: int) -> tuple[int, bytes]:
    """Write a capsule that gives or asks for credit: type and payload."""
    return kind, frames.encode_varint(limit)


def parse_flow(kind: int, payload: bytes) -> int:
    """Read the one integer of a flow-control capsule.

    Raises
    ------
    StreamFault
        FLOW_CONTROL_ERROR for a capsule that only HTTP/2 has and for a count of streams above
        2**60; H3_MESSAGE_ERROR where the payload is not one integer.
    """
    if kind in FORBIDDEN:
        raise StreamFault(FLOW_CONTROL_ERROR, f"capsule {kind:#x} has no place in HTTP/3")
    parsed = frames.parse_varint(payload, 0)
    if parsed is None or parsed[1] != len(payload):
        raise StreamFault(
            Http3ErrorCode.H3_MESSAGE_ERROR, f"capsule {kind:#x} does not hold one integer"
        )
    if kind not in (MAX_DATA, DATA_BLOCKED) and parsed[0] > _STREAMS_MAX:
        raise StreamFault(FLOW_CONTROL_ERROR, f"a limit of {parsed[0]} streams is above 2**60")
    return parsed[0]


# Application protocols: a list of strings, and one of them (RFC 9651; draft 15, section 3.3).
_STRING = r'"(?:[ !#-\[\]-~]|\\["\\])*"'
_PARAMETERS = r"(?:;[ ]*[a-z*][a-z0-9_\-.*]*(?:=[^;,\"]*|=" + _STRING + r")?)*"
_ITEM = re.compile(rf"({_STRING}){_PARAMETERS}")
#: Most protocols that are read of one request.
_PROTOCOLS_LIMIT = 64


def protocol_fields(protocols: Iterable[str]) -> str:
    """Write names of protocols as a list of strings."""
    quoted = (name.replace("\\", "\\\\").replace('"', '\\"') for name in protocols)
    return ", ".join(f'"{name}"' for name in quoted)


def parse_protocols(field: str) -> tuple[str, ...]:
    """Read ``WT-Available-Protocols``; empty where it is not a list of strings."""
    names: list[str] = []
    rest = field.strip(" ")
    while rest:
        match = _ITEM.match(rest)
        if match is None or len(names) == _PROTOCOLS_LIMIT:
            return ()
        names.append(re.sub(r"\\(.)", r"\1", match[1][1:-1]))
        rest = rest[match.end() :].lstrip(" \t")
        if rest:
            if rest[0] != "," or not rest[1:].strip(" \t"):
                return ()
            rest = rest[1:].lstrip(" \t")
    return tuple(names)


def parse_protocol(field: str) -> str | None:
    """Read ``WT-Protocol``; None where it is not one string."""
    names = parse_protocols(field)
    return names[0] if len(names) == 1 else None
