"""`RealtimeClient`: a session of OpenAI's Realtime API over a WebSocket."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    RefusedError,
)
from midstream._core.validate import (
    check_callback,
    check_int,
    check_mapping,
    check_real,
    check_text,
)
from midstream.stream.closing import AsyncClosing
from midstream.stream.detectors import Detector, default_detectors
from midstream.stream.events import Event, Finding
from midstream.stream.guard import Guard
from midstream.stream.realtime.connecting import Endpoint, require_websockets
from midstream.stream.realtime.conversation import Conversation
from midstream.stream.realtime.counting import RateLimit
from midstream.stream.realtime.limits import RealtimeLimits
from midstream.stream.realtime.link import Link
from midstream.stream.realtime.session import ClientSession
from midstream.stream.realtime.sound import SoundFormat, pcm16
from midstream.stream.realtime.tools import Tool, check_tools
from midstream.stream.report import Report

if TYPE_CHECKING:
    import numpy.typing as npt

    from midstream.stream.policies import PoliciesLike
    from midstream.stream.recording import Recorder

__all__ = ["RealtimeClient"]

#: Codes of a close after which a new connection would fare no better (RFC 6455, section 7.4).
_FINAL_CODES = frozenset({1002, 1003, 1007, 1008, 1009, 1010})
#: Statuses of a handshake after which another would be refused as well.
_FINAL_STATUSES = frozenset({400, 401, 403, 404, 405, 410, 422})
#: A connection that lasted so long was a good one.
_GOOD_S = 60.0
_TICK_S = 0.1
_IDLE_TICK_S = 1.0
#: Bytes of audio in one message.
_PIECE_BYTES = 1 << 17
_MOST_REASON_BYTES = 123


class RealtimeClient(AsyncClosing):
    """A session of OpenAI's Realtime API: an async iterator of events. Made by `connect`.

    Attributes
    ----------
    limits : RealtimeLimits

    Notes
    -----
    Iterate all the time: messages are read, calls answered and connections renewed only as far as
    there is room for their events (`RealtimeLimits.max_events`). One task at a time may iterate;
    any task may send. Everything runs in the event loop that opened it.

    Every response has a guard of its own, which knows the conversation before it. Where a rule or a
    detector stops it, the server is told to cancel it and, where its audio was played in part, to
    forget the rest; the reader gets an ``end`` with the text ``"stopped"`` and the finding as
    `Event.data`, and the session goes on. Events of the response that are on their way are dropped.

    Calls of given `tools` are run with the arguments that the guard has read, as soon as these are
    whole and no rule holds them. Their results, what they raised, or why a rule denied them become
    ``function_call_output`` items, and the model is asked to go on once all calls of a response are
    answered. Other calls are the caller's to answer (`send_tool_output`, `create_response`).

    After a lost connection, but never after a wanted close, a new one is made; settings and
    conversation are sent again: items with their ids, in order, audio as its transcript. A response
    that was coming is not asked for again: an ``error`` says so, with a `data` of type
    ``midstream.response.interrupted``, and an ``end`` with the text ``"interrupted"``. What was
    asked for and had not begun is asked for again. Then comes an empty ``text`` whose `data` has
    the type ``midstream.reconnected``, with ``tries``, ``items``, and ``input_audio_ms``, the
    user's audio that was not committed and is lost.

    What the user said comes as empty ``text`` events with the payloads of its transcription, and
    stands in `conversation`. A session that only transcribes or translates is read, not guarded.

    The times of events count from the connection, and their stream ids are those of
    `midstream.stream.formats.RealtimeMapper`. ``audio`` events with audio (`audio_of`) have beside
    the payload's fields ``level_dbfs``, ``peak_dbfs``, ``silent_s``, ``clipped``, ``pts_s`` and
    ``rate_hz`` in their `data`, as events of `midstream.stream.media` do.

    About 10 microseconds a message, and 40 more for one with a tenth of a second of audio.
    """

    def __init__(self, link: Link) -> None:
        self.limits = link.limits
        self._link = link
        self._session = link.session

    @classmethod
    def connect(
        cls,
        url: str | None = None,
        *,
        model: str | None = None,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        session: Mapping[str, Any] | None = None,
        call_id: str | None = None,
        make_detectors: Callable[[], Iterable[Detector]] | None = None,
        policies: PoliciesLike = (),
        tools: Mapping[str, Tool] | None = None,
        recorder: Recorder | None = None,
        on_finding: Callable[[Finding], object] | None = None,
        limits: RealtimeLimits | None = None,
        beta: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> Self:
        """Make a client, which connects when ``async with`` is entered.

        Parameters
        ----------
        url : str, optional
            ``wss://``, ``ws://``, or the same as ``https://``, ``http://``; a server or a base
            (``.../v1``) is completed to ``.../realtime``. A query is kept. Default OpenAI's.
        model : str, optional
            Goes into the query.
        api_key : str, optional
            Sent as bearer token; default the environment's ``OPENAI_API_KEY``; ``""`` for none.
            It appears in no message, no log and no recording.
        headers : mapping of str to str, optional
            Further headers; an ``Authorization`` or ``api-key`` of yours replaces the key.
        session : mapping, optional
            Settings of the session, as ``session.update`` takes them: instructions, voice,
            definitions of tools, audio formats, turn detection.
        call_id : str, optional
            Of a call over WebRTC or SIP, to join it beside its audio.
        make_detectors : callable, optional
            Makes the detectors of each response; default `default_detectors`.
        policies : Policy, PolicySet, PolicyFile, path, name, or iterable of them
            Rules that each response must keep, given the conversation before it.
        tools : mapping of str to async callable, optional
            Run for calls of that name, with the arguments by name.
        recorder : Recorder, optional
            Gets all events of the session, also those that are denied, and all findings. It is not
            closed.
        on_finding : callable, optional
            Called with each finding the moment it is made. What it raises ends the session.
        limits : RealtimeLimits, optional
        beta : bool, default False
            Ask for the beta, with its names.
        tls : ssl.SSLContext, optional
            How the server's certificate is verified.

        Returns
        -------
        RealtimeClient

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            An argument cannot be used; no key is given for a server that is not on this machine.
        ModuleNotFoundError
            websockets is not installed.

        Examples
        --------
        >>> async def main():
        ...     async with RealtimeClient.connect(
        ...         model="gpt-realtime", session={"instructions": "Be brief."}
        ...     ) as client:
        ...         await client.send_text("Hello")
        ...         await client.create_response()
        ...         async for event in client:
        ...             print(event.text, end="")
        ...             if event.kind == "end":
        ...                 break
        >>> asyncio.run(main())  # doctest: +SKIP
        Hello! How can I help?
        """
        if session is not None:
            _check_settings(session)
        make = default_detectors if make_detectors is None else make_detectors
        check_callback("make_detectors", make)
        if limits is not None and not isinstance(limits, RealtimeLimits):
            raise ArgumentTypeError(f"limits must be RealtimeLimits, got {type(limits).__name__}")
        if tls is not None and not isinstance(tls, ssl.SSLContext):
            raise ArgumentTypeError(f"tls must be an SSLContext, got {type(tls).__name__}")
        if on_finding is not None:
            check_callback("on_finding", on_finding)
        rules = _loaded(policies)
        Guard(make(), rules, recorder)  # says now what is wrong with them
        endpoint = Endpoint(url, model, api_key, headers, call_id=call_id, beta=beta)
        require_websockets()
        kept = RealtimeLimits() if limits is None else limits
        runs = check_tools(tools)
        watched = ClientSession(
            lambda found: Guard(make(), rules, None, found),
            kept,
            tools=runs,
            recorder=recorder,
            on_finding=on_finding,
            apart=call_id is not None,
            beta=beta,
        )
        return cls(Link(endpoint, watched, kept, settings=session, tools=runs, tls=tls))

    def __repr__(self) -> str:
        return f"<RealtimeClient {self._link.endpoint.place} {self._link.outcome}>"

    # What is known

    @property
    def conversation(self) -> Conversation:
        """The items of the conversation so far."""
        return self._session.conversation

    @property
    def findings(self) -> list[Finding]:
        """In order, the first 1,000 and all stops."""
        return self._session.books.findings

    @property
    def rate_limits(self) -> dict[str, RateLimit]:
        """Limits by name (``"requests"``, ``"tokens"``), as the server told them last."""
        return dict(self._session.rate_limits)

    @property
    def session_id(self) -> str | None:
        """The server's id of the session, of the newest connection."""
        return self._session.session_id

    @property
    def response_id(self) -> str | None:
        """Id of the response that is coming; None without one."""
        return self._session.response_id

    @property
    def close_code(self) -> int | None:
        """With which code the last connection was closed; None while it is open."""
        return self._link.close_code

    @property
    def close_reason(self) -> str:
        """And with which words."""
        return self._link.close_reason

    @property
    def input_format(self) -> SoundFormat:
        """Encoding and rate of the audio that `append_audio` takes."""
        return self._session.heard

    @property
    def output_format(self) -> SoundFormat:
        """Encoding and rate of the audio that `audio_of` gives."""
        return self._session.spoken

    def report(self) -> Report:
        """What is known now: of all responses together.

        Returns
        -------
        Report
            Its `Report.stopped` is the first finding that stopped a response; its `metrics` have
            ``responses``, ``stopped_responses``, ``denied_calls``, ``tool_runs`` and ``reconnects``
            besides, and as ``usage`` the sum over all responses.
        """
        report = self._session.report(self._link.outcome, self._link.error)
        report.metrics["reconnects"] = self._link.n_reconnects
        return report

    # Reading

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        return await self._link.next_event()

    # Sending

    async def send_text(self, text: str, *, role: str = "user") -> str:
        """Say something: an item of the conversation.

        Parameters
        ----------
        text : str
        role : {"user", "system", "assistant"}

        Returns
        -------
        str
            The item's id.

        Raises
        ------
        RefusedError
            The client is closed, or was never connected; so do all methods that send. While the
            connection is renewed they wait.
        """
        check_text("text", text)
        if role not in ("user", "system", "assistant"):
            raise ArgumentValueError(f"role must be 'user', 'system' or 'assistant', got {role!r}")
        kind = "input_text"
        if role == "assistant":
            kind = "text" if self._session.dialect.beta else "output_text"
        content = [{"type": kind, "text": text}]
        return await self.create_item({"type": "message", "role": role, "content": content})

    async def create_item(
        self, item: Mapping[str, Any], *, previous_item_id: str | None = None
    ) -> str:
        """Put any item into the conversation; return its id, made up where it has none."""
        given = dict(check_mapping("item", item))
        await self._link.wait()
        item_id = self._session.create_item(given, previous_item_id)
        await self._link.send()
        return item_id

    async def delete_item(self, item_id: str) -> None:
        """Take an item out of the conversation."""
        await self._say("conversation.item.delete", item_id=check_text("item_id", item_id))

    async def send_tool_output(self, call_id: str, output: str) -> None:
        """Answer a call of a tool that is not one of the given `tools`."""
        check_text("call_id", call_id)
        check_text("output", output)
        await self._link.wait()
        self._session.output(call_id, output)
        await self._link.send()

    async def append_audio(
        self, data: bytes | npt.NDArray[Any], *, rate_hz: int | None = None
    ) -> None:
        """Add to the user's audio that is not committed yet.

        Parameters
        ----------
        data : bytes, or (n,) ndarray of int16 or float
            One channel. Bytes are samples in the session's `input_format`: PCM16, little-endian,
            at 24 kHz unless told otherwise. Arrays go only with PCM16; floats are in [-1, 1].
        rate_hz : int, optional
            What the rate is; for a check against the session's.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            Other audio than the session takes: nothing is resampled or mixed here.
        """
        sound = self._session.heard
        if rate_hz is not None and check_int("rate_hz", rate_hz, low=1) != sound.rate_hz:
            raise ArgumentValueError(
                f"rate_hz must be the session's {sound.rate_hz}, got {rate_hz}: midstream does not "
                "resample; do so before, or set the session's audio format"
            )
        if sound.encoding == "pcm16":
            raw = pcm16(data)
        elif isinstance(data, (bytes, bytearray, memoryview)):
            raw = bytes(data)
        else:
            raise ArgumentTypeError(
                f"data must be bytes of {sound.encoding}, the session's format, got "
                f"{type(data).__name__}"
            )
        for begin in range(0, len(raw), _PIECE_BYTES):
            piece = raw[begin : begin + _PIECE_BYTES]
            await self._link.wait()
            self._session.uncommitted_bytes += len(piece)
            audio = base64.b64encode(piece).decode("ascii")
            await self._say("input_audio_buffer.append", audio=audio)

    async def commit_audio(self) -> None:
        """Make an item of the user's audio so far; turn detection does so by itself."""
        await self._say("input_audio_buffer.commit")

    async def clear_audio(self) -> None:
        """Drop the user's audio that is not committed."""
        await self._say("input_audio_buffer.clear")

    async def create_response(self, response: Mapping[str, Any] | None = None) -> None:
        """Ask the model for a response; turn detection does so by itself.

        Parameters
        ----------
        response : mapping, optional
            Settings for this one, as ``response.create`` takes them.
        """
        if response is not None:
            check_mapping("response", response)
        await self._link.wait()
        self._session.create_response(response)
        await self._link.send()

    async def cancel(self, response_id: str | None = None) -> bool:
        """Cancel a response; by default the one that is coming.

        Returns
        -------
        bool
            Whether there was one. Its ``end`` follows, with the text ``"cancelled"``.
        """
        chosen = self._session.response_id if response_id is None else response_id
        if chosen is None:
            return False
        await self._link.wait()
        self._session.to_server.append(self._session.cancelling(chosen))
        await self._link.send()
        return True

    def note_played(self, item_id: str, played_ms: float) -> None:
        """Tell how much of an item's audio was played, in milliseconds.

        Without it audio is taken to be played from when it is handed out.
        """
        check_text("item_id", item_id)
        self._session.playback.tell(item_id, check_real("played_ms", played_ms, low=0.0))

    async def truncate(self, item_id: str, audio_end_ms: int | None = None) -> int:
        """Let the server forget what was not played of an item's audio.

        Parameters
        ----------
        item_id : str
        audio_end_ms : int, optional
            Where to cut; by default what was played by now, as `note_played` told it, or as it was
            handed out.

        Returns
        -------
        int
            Where it was cut, in milliseconds. The transcript in `conversation` is cut at a word,
            about as far.

        Raises
        ------
        ArgumentValueError
            `item_id` is no item with audio, or has less.
        """
        check_text("item_id", item_id)
        playback = self._session.playback
        received_ms = playback.received_ms(item_id)
        if received_ms is None:
            raise ArgumentValueError(f"item_id must be of an item with audio, got {item_id!r}")
        if audio_end_ms is None:
            end_ms = playback.played_ms(item_id, self._link.now_ns()) or 0
        else:
            end_ms = check_int("audio_end_ms", audio_end_ms, low=0, high=received_ms)
        await self._link.wait()
        self._session.truncate(item_id, end_ms)
        await self._link.send()
        return end_ms

    async def clear_output_audio(self) -> None:
        """Stop the audio that goes out over WebRTC or SIP.

        Raises
        ------
        RefusedError
            The audio comes over this connection: stop playing it, and `truncate`.
        """
        if not self._session.apart:
            raise RefusedError(
                "output_audio_buffer.clear is for WebRTC and SIP", reason="websocket"
            )
        await self._say("output_audio_buffer.clear")

    async def update_session(self, session: Mapping[str, Any]) -> None:
        """Change settings of the session; a further connection gets them, too."""
        _check_settings(session)
        await self._link.wait()
        self._session.update(session)
        await self._link.send()

    async def send(self, payload: Mapping[str, Any]) -> None:
        """Send any payload, as it is; nothing of it is kept for a further connection."""
        given = dict(check_mapping("payload", payload))
        check_text("payload's type", given.get("type", 0))
        await self._link.wait()
        self._session.to_server.append(given)
        await self._link.send()

    async def _say(self, kind: str, **fields: Any) -> None:
        await self._link.wait()
        self._session.to_server.append(self._session.dialect.payload(kind, **fields))
        await self._link.send()

    # Opening and closing

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def open(self) -> None:
        """Connect.

        Raises
        ------
        EndpointError
            No connection; refused, with the status and what the server says; or the session was
            refused, as for a model that the server does not know.
        RefusedError
            It was opened before.
        """
        await self._link.open()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection; the iteration ends after what has arrived. Safe to repeat.

        Parameters
        ----------
        code : int, default 1000
            1000, 1001, or one of the application's, 3000 to 4999.
        reason : str
            At most 123 bytes.

        Notes
        -----
        Tools that run are cancelled. A close is never followed by a new connection.
        """
        check_int("code", code, low=1000, high=4999)
        if 1001 < code < 3000:
            raise ArgumentValueError(f"code must be 1000, 1001 or from 3000 to 4999, got {code}")
        if len(check_text("reason", reason).encode()) > _MOST_REASON_BYTES:
            raise ArgumentValueError(f"reason must be at most {_MOST_REASON_BYTES} bytes")
        await self._link.close(code, reason)

    async def aclose(self) -> None:
        """Close with code 1000. Safe to repeat."""
        await self.close()


def _loaded(policies: PoliciesLike) -> PoliciesLike:
    """Policies, read once for all responses; a file that is followed stays one."""
    if policies == ():
        return policies
    from midstream.stream.policies import PolicyFile, as_policies

    return policies if isinstance(policies, PolicyFile) else as_policies(policies)


def _check_settings(session: Mapping[str, Any]) -> None:
    """Refuse what could not be sent, now or over a further connection."""
    check_mapping("session", session)
    try:
        json.dumps(dict(session), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ArgumentTypeError(f"session is not JSON: {error}") from None
