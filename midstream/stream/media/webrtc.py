"""WebRTC: be a peer that listens, and say what it hears and sees."""

from __future__ import annotations

import asyncio
import base64
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any

from midstream._core.clock import NS_PER_S, monotonic_ns, s_from_ns
from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    EndpointError,
    IdleTimeoutError,
    MalformedStreamError,
    RefusedError,
)
from midstream._core.validate import check_text
from midstream.stream.closing import AsyncClosing
from midstream.stream.media.beside import Beside
from midstream.stream.media.channel import Channel, Draft
from midstream.stream.media.decoding import Pacer
from midstream.stream.media.extra import library
from midstream.stream.media.interfaces import ObjectDetector, Transcriber, check_helpers
from midstream.stream.media.settings import MediaAnalysis, MediaLimits, check_settings
from midstream.stream.media.streams import MediaStream, media_source
from midstream.stream.media.timeline import RunClock
from midstream.stream.media.tracks import AudioTrack, Tracks, VideoTrack
from midstream.stream.sources import Source

__all__ = ["WebRtcSession", "from_webrtc"]

#: Longest description, and most media sections and channels in a session.
_MAX_SDP_CHARS = 1 << 17
_MAX_SECTIONS = 32
_MAX_CHANNELS = 16
_MAX_LABEL_CHARS = 64
#: Frames that may wait for analysis.
_AUDIO_FRAMES = 256
_VIDEO_FRAMES = 8


def from_webrtc(
    offer: str | Mapping[str, str] | WebRtcSession,
    *,
    reply: Callable[[dict[str, str]], object | Awaitable[object]] | None = None,
    analysis: MediaAnalysis | None = None,
    limits: MediaLimits | None = None,
    transcriber: Transcriber | None = None,
    object_detector: ObjectDetector | None = None,
    objects_per_s: float = 1.0,
    ice_servers: Iterable[str] = (),
) -> Source:
    """Receive a WebRTC peer's audio, video and data channels, and say what is in them.

    Parameters
    ----------
    offer : str, mapping or WebRtcSession
        The peer's offer: its SDP, or ``{"type": "offer", "sdp": ...}``. Or a session, whose
        arguments are given to it.
    reply : callable, optional
        Gets the answer, ``{"type": "answer", "sdp": ...}``, once, to send it to the peer; may be
        async. Needed with an offer.
    analysis : MediaAnalysis, optional
        Thresholds.
    limits : MediaLimits, optional
        How much is taken from the peer.
    transcriber : Transcriber, optional
        Turns speech into events of kind ``text``.
    object_detector : ObjectDetector, optional
        Looks at pictures; what it saw is in the ``video`` events.
    objects_per_s : float, default 1.0
        Pictures for it, for each second of media.
    ice_servers : iterable of str, default ()
        URLs of STUN and TURN servers; by default none is asked.

    Returns
    -------
    Source
        Events of the kinds ``audio`` and ``video``, as `midstream.stream.media` describes them;
        ``text`` for each message of a data channel, with the channel as `stream_id`
        (``"channel/chat"``) and, where it is bytes, an empty text and ``data`` with ``base64``;
        one ``end`` when the peer closes. The offer is answered when the first event is asked for.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used.
    ModuleNotFoundError
        The extra ``media`` is not installed.
    MalformedStreamError
        From the iterator: a description that cannot be read, or pictures above the limit.
    EndpointError, IdleTimeoutError
        From the iterator: no connection within `MediaLimits.connect_timeout_s`, a broken one, or
        nothing received for `MediaLimits.idle_timeout_s`.

    Notes
    -----
    aiortc is the peer: it decodes in threads of its own. What is not analysed in time is dropped,
    8 pictures or 5 seconds of sound behind, and counted.

    Examples
    --------
    >>> source = from_webrtc("v=0...", reply=print)
    """
    if isinstance(offer, WebRtcSession):
        if reply is not None:
            raise ArgumentValueError("reply is for an offer, got a WebRtcSession")
        return offer.source
    description = _check_description("offer", offer, "offer")
    if not callable(reply):
        raise ArgumentTypeError(f"reply must be callable, got {type(reply).__name__}")
    session = WebRtcSession(
        analysis=analysis,
        limits=limits,
        transcriber=transcriber,
        object_detector=object_detector,
        objects_per_s=objects_per_s,
        ice_servers=ice_servers,
    )
    session._greet(description, reply)
    return session.source


class WebRtcSession(AsyncClosing):
    """One WebRTC connection that receives; `source` has what came.

    Parameters
    ----------
    analysis, limits, transcriber, object_detector, objects_per_s, ice_servers
        As for `from_webrtc`.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used.
    ModuleNotFoundError
        The extra ``media`` is not installed.

    Notes
    -----
    Either `answer` the peer's offer, or make an `offer` and `accept` the answer: once. All in one
    event loop. Closing the source closes the session, and the other way round.

    Examples
    --------
    >>> session = WebRtcSession()
    >>> session.source
    <midstream.stream.sources.Source object at ...>
    """

    def __init__(
        self,
        *,
        analysis: MediaAnalysis | None = None,
        limits: MediaLimits | None = None,
        transcriber: Transcriber | None = None,
        object_detector: ObjectDetector | None = None,
        objects_per_s: float = 1.0,
        ice_servers: Iterable[str] = (),
    ) -> None:
        library("av", "from_webrtc")
        library("aiortc", "from_webrtc")
        analysis, limits = check_settings(analysis, limits)
        check_helpers(transcriber, object_detector)
        if isinstance(ice_servers, str):
            raise ArgumentTypeError("ice_servers must be an iterable of str, got str")
        servers = [check_text("ice_servers", url) for url in ice_servers]
        channel = Channel(limits.max_pending_events)
        tracks = Tracks(
            channel,
            analysis,
            limits,
            live=True,
            place="WebRTC",
            transcriber=transcriber,
            object_detector=object_detector,
            objects_per_s=objects_per_s,
            arrivals=True,
        )
        self._stream = _WebRtcStream(channel, tracks, servers)
        self._source = media_source(self._stream, monotonic_ns(), live=True)

    @property
    def source(self) -> Source:
        """The source of events."""
        return self._source

    async def answer(self, offer: str | Mapping[str, str]) -> dict[str, str]:
        """Answer an offer.

        Parameters
        ----------
        offer : str or mapping
            Its SDP, or ``{"type": "offer", "sdp": ...}``.

        Returns
        -------
        dict
            ``{"type": "answer", "sdp": ...}``, with all candidates.

        Raises
        ------
        MalformedStreamError
            It cannot be read.
        RefusedError
            The session has begun.
        """
        return await self._stream.answer(_check_description("offer", offer, "offer"))

    async def offer(
        self, *, audio: bool = True, video: bool = True, channel: str | None = "events"
    ) -> dict[str, str]:
        """Make an offer to receive.

        Parameters
        ----------
        audio, video : bool, default True
            What to ask for.
        channel : str or None, default "events"
            Label of a data channel to open.

        Returns
        -------
        dict
            ``{"type": "offer", "sdp": ...}``, with all candidates.

        Raises
        ------
        ArgumentValueError
            Nothing is asked for.
        RefusedError
            The session has begun.
        """
        if not (audio or video or channel):
            raise ArgumentValueError("one of audio, video and channel must be asked for")
        return await self._stream.offer(audio, video, channel)

    async def accept(self, answer: str | Mapping[str, str]) -> None:
        """Take the answer to `offer`.

        Raises
        ------
        MalformedStreamError
            It cannot be read.
        RefusedError
            There is no open offer.
        """
        await self._stream.accept(_check_description("answer", answer, "answer"))

    async def aclose(self) -> None:
        """Close the connection now. Safe to repeat."""
        await self._source.aclose()
        await self._stream.aclose()

    def _greet(
        self, offer: str, reply: Callable[[dict[str, str]], object | Awaitable[object]]
    ) -> None:
        """Answer once the first event is asked for."""
        self._stream.greeting = (offer, reply)


class _WebRtcStream(MediaStream):
    """The connection, and what came over it."""

    def __init__(self, channel: Channel, tracks: Tracks, ice_servers: list[str]) -> None:
        super().__init__(channel, tracks, Pacer(None))
        self.greeting: tuple[str, Callable[[dict[str, str]], object]] | None = None
        self._ice_servers = ice_servers
        self._connection: Any = None
        self._state = "new"
        self._offered = False
        self._began_ns: int | None = None
        self._heard_ns = monotonic_ns()
        self._besides: list[Beside] = []
        self._running = 0  # tracks that are being received
        self._channels = 0
        self._messages_dropped = 0
        self._allowance = tracks.limits.max_messages_per_s
        self._allowance_ns = monotonic_ns()
        self._over: asyncio.Event | None = None

    async def open(self) -> None:
        """Answer, where that was left for now."""
        if self.greeting is not None:
            offer, reply = self.greeting
            told = reply(await self.answer(offer))
            if inspect.isawaitable(told):
                await told

    async def shut(self) -> None:
        """Close the connection."""
        for beside in self._besides:
            beside.shut_down()
        if self._connection is not None:
            await self._connection.close()

    async def answer(self, offer: str) -> dict[str, str]:
        """Take an offer, and make the answer."""
        connection = self._connect()
        await self._describe(connection, "offer", offer)
        try:
            await connection.setLocalDescription(await connection.createAnswer())
        except Exception as error:
            raise _malformed("offer", error) from error
        return _description(connection)

    async def offer(self, audio: bool, video: bool, channel: str | None) -> dict[str, str]:
        """Make an offer."""
        connection = self._connect()
        for kind, wanted in (("audio", audio), ("video", video)):
            if wanted:
                connection.addTransceiver(kind, direction="recvonly")
        if channel is not None:
            self._take_channel(connection.createDataChannel(channel))
        await connection.setLocalDescription(await connection.createOffer())
        self._offered = True
        return _description(connection)

    async def accept(self, answer: str) -> None:
        """Take the answer to the offer."""
        if not self._offered:
            raise RefusedError("there is no open offer", reason="no offer")
        self._offered = False
        await self._describe(self._connection, "answer", answer)

    def _connect(self) -> Any:
        """Make the connection, once."""
        if self._connection is not None or self._closed:
            raise RefusedError("the session has begun, or is closed", reason="begun")
        aiortc = library("aiortc", "from_webrtc")
        servers = [aiortc.RTCIceServer(urls=url) for url in self._ice_servers]
        configuration = aiortc.RTCConfiguration(iceServers=servers)
        connection = self._connection = aiortc.RTCPeerConnection(configuration=configuration)
        connection.on("track", self._take_track)
        connection.on("datachannel", self._take_channel)
        connection.on("connectionstatechange", self._changed)
        self._over = asyncio.Event()
        self.start_task(self._supervise)
        return connection

    async def _describe(self, connection: Any, kind: str, sdp: str) -> None:
        aiortc = library("aiortc", "from_webrtc")
        if not sdp.lstrip().startswith("v=0") or "\nm=" not in sdp:
            raise MalformedStreamError(
                f"the {kind} cannot be used: it describes no media", place="WebRTC"
            )
        try:
            await connection.setRemoteDescription(aiortc.RTCSessionDescription(sdp=sdp, type=kind))
        except Exception as error:
            # What a parser of another project raises on garbage may be anything.
            raise _malformed(kind, error) from error

    def _changed(self) -> None:
        self._state = self._connection.connectionState
        if self._state in ("closed", "failed") and self._over is not None:
            self._over.set()

    async def _supervise(self) -> None:
        """Wait for the end, and say how it came."""
        limits = self.tracks.limits
        assert self._over is not None
        began_ns = monotonic_ns()
        while not self._over.is_set():
            try:
                async with asyncio.timeout(min(0.25, limits.idle_timeout_s / 4)):
                    await self._over.wait()
            except TimeoutError:
                now_ns = monotonic_ns()
                if self._state != "connected":
                    # An offer may lie with the user for as long as it takes.
                    if self._offered:
                        began_ns = now_ns
                    elif s_from_ns(now_ns - began_ns) > limits.connect_timeout_s:
                        raise EndpointError(
                            f"no connection within {limits.connect_timeout_s:g} s",
                            place="WebRTC",
                        ) from None
                    self._heard_ns = now_ns
                elif s_from_ns(now_ns - self._heard_ns) > limits.idle_timeout_s:
                    raise IdleTimeoutError(
                        f"nothing arrived for {limits.idle_timeout_s:g} s", place="WebRTC"
                    ) from None
        await asyncio.to_thread(self._finish)
        if self._state == "failed":
            raise EndpointError("the connection failed", place="WebRTC")
        self.conclude()

    def _finish(self) -> None:
        """Work off what waits."""
        for beside in self._besides:
            beside.finish()
        self.tracks.finish()
        if self._messages_dropped:
            self.tell(
                f"{self._messages_dropped} messages of data channels were dropped",
                dropped_messages=self._messages_dropped,
            )

    def _take_track(self, remote: Any) -> None:
        """Begin to receive a track."""
        number = len(self._besides)
        track = (
            self.tracks.audio((0, number))
            if remote.kind == "audio"
            else self.tracks.video((0, number))
        )
        if track is None:
            self.tell("there are too many tracks: one is not received", kind=remote.kind)
            return
        received = _Received(track, remote, self)
        beside = Beside(
            received.work,
            max_items=_AUDIO_FRAMES if remote.kind == "audio" else _VIDEO_FRAMES,
            wait=False,
            name=f"midstream-webrtc-{number}",
            on_failure=lambda error: self.channel.put(error, wait=False),
        )
        self._besides.append(beside)
        self._running += 1
        self.start_task(partial(received.receive, beside))

    def ended(self) -> None:
        """Take note that a track is over."""
        self._running -= 1
        if self._running == 0 and not self._channels and self._over is not None:
            self._over.set()

    def heard(self) -> int:
        """Take note that something came; the time."""
        self._heard_ns = monotonic_ns()
        if self._began_ns is None:
            self._began_ns = self._heard_ns
        return self._heard_ns

    @property
    def began_ns(self) -> int:
        """When the first thing came."""
        return self._began_ns or monotonic_ns()

    def _take_channel(self, channel: Any) -> None:
        """Listen to a data channel."""
        if self._channels >= _MAX_CHANNELS:
            self.tell("there are too many data channels: one is not read")
            return
        self._channels += 1
        label = "".join(c for c in str(channel.label)[:_MAX_LABEL_CHARS] if c.isprintable())
        stream_id = f"channel/{label}"

        def take(message: str | bytes) -> None:
            self._take_message(stream_id, message)

        channel.on("message", take)

    def _take_message(self, stream_id: str, message: str | bytes) -> None:
        now_ns = self.heard()
        rate = self.tracks.limits.max_messages_per_s
        passed = (now_ns - self._allowance_ns) / NS_PER_S * rate
        self._allowance = min(rate, self._allowance + passed)
        self._allowance_ns = now_ns
        if self._allowance < 1.0 or not self.channel.has_room:
            self._messages_dropped += 1
            return
        self._allowance -= 1.0
        limit = self.tracks.limits.max_message_chars
        cut: dict[str, Any] = {"cut_from": len(message)} if len(message) > limit else {}
        text, data = "", cut
        if isinstance(message, str):
            text = message[:limit]
        else:
            encoded = base64.b64encode(message[:limit]).decode("ascii")
            data = {"bytes": len(message), "base64": encoded, **cut}
        self.channel.put(Draft("text", now_ns, text, data or None, stream_id), wait=False)


class _Received:
    """One track of the peer: frames to the analysis, timed by their arrival."""

    def __init__(self, track: AudioTrack | VideoTrack, remote: Any, stream: _WebRtcStream) -> None:
        self._track = track
        self._remote = remote
        self._stream = stream
        self._clock: RunClock | None = None

    async def receive(self, beside: Beside) -> None:
        """Hand frames to `beside` until the track ends."""
        ended = library("aiortc.mediastreams", "from_webrtc").MediaStreamError
        try:
            while True:
                frame = await self._remote.recv()
                beside.put((frame, self._stream.heard()))
                self._track.dropped = beside.dropped
        except ended:
            self._stream.ended()

    def work(self, item: tuple[Any, int] | None) -> None:
        """Analyse a frame, in a thread."""
        if item is None:
            return
        frame, arrived_ns = item
        time_s = frame.time
        if self._clock is None:
            came_s = s_from_ns(arrived_ns - self._stream.began_ns)
            self._clock = RunClock(came_s - (time_s or 0.0))
        length_s = None
        if isinstance(self._track, AudioTrack):
            length_s = frame.samples / frame.sample_rate
        self._track.take(frame, self._clock.place(0, time_s, length_s), arrived_ns)


def _check_description(name: str, value: Any, kind: str) -> str:
    if isinstance(value, Mapping):
        if value.get("type", kind) != kind:
            raise ArgumentValueError(f"{name} must be of type {kind!r}, got {value.get('type')!r}")
        value = value.get("sdp")
    if not isinstance(value, str):
        raise ArgumentTypeError(
            f"{name} must be str or a mapping with it, got {type(value).__name__}"
        )
    if len(value) > _MAX_SDP_CHARS or value.count("\nm=") > _MAX_SECTIONS:
        raise ArgumentValueError(
            f"{name} is above the limit of {_MAX_SDP_CHARS} characters or {_MAX_SECTIONS} sections"
        )
    return value


def _description(connection: Any) -> dict[str, str]:
    local = connection.localDescription
    return {"type": str(local.type), "sdp": str(local.sdp)}


def _malformed(kind: str, error: Exception) -> MalformedStreamError:
    cause = " ".join(str(error).split())[:120] or type(error).__name__
    shown = "".join(char if char.isprintable() else "\ufffd" for char in cause)
    return MalformedStreamError(f"the {kind} cannot be used: {shown}", place="WebRTC")
