"""Which stream and which datagram belongs to which WebTransport session of an HTTP/3 connection."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

from midstream.quic import _wt_wire as wire
from midstream.quic._h3_errors import ConnectionFault, Http3ErrorCode
from midstream.quic._h3_frames import DATA, encode_frame, parse_varint
from midstream.quic._wt_wire import Draft, Limits

if TYPE_CHECKING:
    from midstream.quic.http3 import Session as Http3Session
    from midstream.quic.streams import Stream

__all__ = ["Hub", "Member", "capsule_frame", "hub_of"]

#: Streams that may wait for their session, of all sessions of a connection. Chromium opens none
#: before the session is there; a client that saves the round trip opens a few.
_EARLY_STREAMS = 64
#: Sessions that are over and known to be: streams of theirs that come late are refused as such.
_GONE = 256


class Member(Protocol):
    """A session, as its connection sees it."""

    session_id: int

    def take_stream(self, stream: Stream) -> None:
        """Take a stream of the peer's, its header read."""


class Hub:
    """Sessions of one HTTP/3 connection.

    Parameters
    ----------
    http3 : http3.Session
        The connection, before it has started.
    drafts : tuple of Draft
        What is offered.
    max_sessions : int
        How many sessions may be open at once.
    limits : Limits
        What the peer may open in each.
    """

    def __init__(
        self, http3: Http3Session, drafts: tuple[Draft, ...], max_sessions: int, limits: Limits
    ) -> None:
        self.http3 = http3
        self.max_sessions = max_sessions
        self.limits = limits
        self.settings = wire.settings_for(drafts, max_sessions, limits)
        self.members: dict[int, Member] = {}
        self.rejected_streams = 0
        self._early: dict[int, list[Stream]] = {}
        self._early_count = 0
        self._gone: deque[int] = deque(maxlen=_GONE)
        http3.extra_settings |= self.settings
        http3.register_stream_type(wire.STREAM_UNI, self._take)
        http3.register_frame_type(wire.STREAM_BIDI, self._take)
        _HUBS[http3] = self

    async def draft(self) -> Draft | None:
        """Wait for the peer's settings; return the draft to speak, None where there is none."""
        theirs = await self.http3.settings_received()
        return wire.negotiate(self.settings, theirs)

    def has_flow_control(self, draft: Draft) -> bool:
        """Whether the sessions have limits of their own."""
        return wire.has_flow_control(draft, self.settings, self.http3.peer_settings)

    def room(self, draft: Draft) -> int:
        """Sessions that may be open at once: one from draft 13 on without flow control (5.1)."""
        if draft >= Draft.DRAFT_13 and not self.has_flow_control(draft):
            return 1
        return self.max_sessions

    async def _take(self, stream: Stream) -> None:
        session_id = await _session_id(stream)
        if session_id is None:
            refuse(stream, wire.BUFFERED_STREAM_REJECTED)
            return
        if session_id % 4:
            raise ConnectionFault(
                Http3ErrorCode.H3_ID_ERROR, f"session {session_id} is no client's request"
            )
        member = self.members.get(session_id)
        if member is not None:
            member.take_stream(stream)
        elif session_id in self._gone:
            refuse(stream, wire.SESSION_GONE)
        elif self._early_count < _EARLY_STREAMS:
            self._early_count += 1
            self._early.setdefault(session_id, []).append(stream)
        else:
            self.rejected_streams += 1
            refuse(stream, wire.BUFFERED_STREAM_REJECTED)

    def attach(self, member: Member) -> None:
        """Give a session its streams, those first that came before it."""
        self.members[member.session_id] = member
        for stream in self._early_of(member.session_id):
            member.take_stream(stream)

    def detach(self, session_id: int) -> None:
        """Forget a session; its streams are refused from now on."""
        self.members.pop(session_id, None)
        self._gone.append(session_id)
        for stream in self._early_of(session_id):
            refuse(stream, wire.SESSION_GONE)

    def _early_of(self, session_id: int) -> list[Stream]:
        early = self._early.pop(session_id, [])
        self._early_count -= len(early)
        return early


#: The hub of each HTTP/3 session that has one.
_HUBS: WeakKeyDictionary[Http3Session, Hub] = WeakKeyDictionary()


def hub_of(http3: Http3Session) -> Hub | None:
    """Return the hub of an HTTP/3 session."""
    return _HUBS.get(http3)


def refuse(stream: Stream, code: int) -> None:
    """End what is open of a stream."""
    if stream.connection.closed:
        return
    stream.abort(code)


def capsule_frame(kind: int, payload: bytes) -> bytes:
    """Write a capsule in a DATA frame of its own."""
    return encode_frame(DATA, encode_frame(kind, payload))


async def _session_id(stream: Stream) -> int | None:
    """Read the header's second integer; None where the stream ends within, or is reset."""
    data = await stream.read(1)
    if data:
        rest = (1 << (data[0] >> 6)) - 1
        while rest and (more := await stream.read(rest)):
            data += more
            rest -= len(more)
    parsed = parse_varint(data, 0)
    return None if parsed is None else parsed[0]
