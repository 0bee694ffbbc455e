"""WebRTC: two peers of aiortc on loopback, in either role; and descriptions that are none."""

from __future__ import annotations

import asyncio
import base64
import fractions
import random

import numpy as np
import pytest
from stream.media.making import RATE, av, collect, of_kind, pattern, video_frame

from midstream.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    EndpointError,
    IdleTimeoutError,
    MalformedStreamError,
    MidstreamError,
    RefusedError,
)
from midstream.stream import from_webrtc, watch
from midstream.stream.media import MediaDetector, MediaLimits, WebRtcSession, media_spans

aiortc = pytest.importorskip("aiortc", reason="WebRTC needs aiortc: pip install 'midstream[media]'")


@pytest.fixture(autouse=True)
async def hang_guard():
    async with asyncio.timeout(30):
        yield


class Picture(aiortc.MediaStreamTrack):
    """Frames of a function of their number, 30 a second; `stretch` makes its clock run fast."""

    kind = "video"

    def __init__(self, luma_of, *, stretch=1.0):
        super().__init__()
        self._luma_of = luma_of
        self._stretch = stretch
        self._n = 0
        self._began = None

    async def recv(self):
        loop = asyncio.get_running_loop()
        self._began = self._began or loop.time()
        await asyncio.sleep(self._began + self._n / 30 - loop.time())
        frame = video_frame(self._luma_of(self._n), round(self._n * 3000 * self._stretch), 90_000)
        self._n += 1
        return frame


class Tone(aiortc.MediaStreamTrack):
    """20 ms of a tone at a time; silent from one second on to another."""

    kind = "audio"

    def __init__(self, silent=(99, 99)):
        super().__init__()
        self._silent = silent
        self._n = 0
        self._began = None

    async def recv(self):
        loop = asyncio.get_running_loop()
        self._began = self._began or loop.time()
        await asyncio.sleep(self._began + self._n / RATE - loop.time())
        time_s = (np.arange(960) + self._n) / RATE
        loud = not self._silent[0] <= time_s[0] < self._silent[1]
        samples = (8000 * loud * np.sin(2 * np.pi * 440 * time_s)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self._n, fractions.Fraction(1, RATE)
        self._n += 960
        return frame


def peer():
    return aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))


async def offer_of(connection):
    await connection.setLocalDescription(await connection.createOffer())
    return {"type": "offer", "sdp": connection.localDescription.sdp}


def answering(connection):
    async def reply(answer):
        assert answer["type"] == "answer"
        await connection.setRemoteDescription(aiortc.RTCSessionDescription(**answer))

    return reply


async def test_an_offer_is_answered_and_its_tracks_are_read():
    """Frozen from 1 s on, silent from 1 s to 2.2 s; closed by the peer after 3 s."""
    connection = peer()
    connection.addTrack(Picture(lambda n: pattern(min(n, 30), size=(320, 240))))
    connection.addTrack(Tone(silent=(1.0, 2.2)))
    source = from_webrtc(await offer_of(connection), reply=answering(connection))
    guard = watch(source, detectors=[MediaDetector(frozen_s=1.0, silent_s=1.0)])
    loop = asyncio.get_running_loop()
    loop.call_later(3.0, lambda: loop.create_task(connection.close()))
    events = await collect(guard)
    assert events[-1].kind == "end"
    assert {"frozen", "silence"} <= {finding.kind for finding in guard.findings}
    spans = {}
    for span in media_spans(events, min_s=0.8):
        spans.setdefault(span.kind, span)
    assert spans["frozen"].start_s == pytest.approx(1.0, abs=0.3)
    assert spans["silence"].duration_s == pytest.approx(1.2, abs=0.15)
    assert events[-1].data["frames"] > 60
    video = of_kind(events, "video")
    assert video[-1].data["size"] == [320, 240]
    assert video[-1].data["fps"] == pytest.approx(30, abs=1.5)
    assert abs(video[-1].data["av_offset_s"]) < 0.2


async def test_an_offer_of_ours():
    session = WebRtcSession()
    connection = peer()
    connection.addTrack(Picture(lambda n: np.full((240, 320), 16, np.uint8)))
    offer = await session.offer(audio=False, channel=None)
    await connection.setRemoteDescription(aiortc.RTCSessionDescription(**offer))
    await connection.setLocalDescription(await connection.createAnswer())
    await session.accept(connection.localDescription.sdp)
    async with session:
        event = await anext(session.source)
        assert (event.kind, event.stream_id, event.data["black"]) == ("video", "video/0", True)
    with pytest.raises(StopAsyncIteration):
        await anext(session.source)
    await connection.close()


async def test_data_channels():
    connection = peer()
    chat = connection.createDataChannel("chat")
    other = connection.createDataChannel("x" * 100 + "\x1b[31m")

    @chat.on("open")
    def begin():
        chat.send("hello ")
        chat.send("é" * 30)
        chat.send(b"\x00\xff")

    @other.on("open")
    def begin_too():
        other.send("world")

    source = from_webrtc(
        await offer_of(connection),
        reply=answering(connection),
        limits=MediaLimits(max_message_chars=20),
    )
    events = [await anext(source) for _ in range(4)]
    by_channel = {}
    for event in events:
        assert event.kind == "text"
        by_channel.setdefault(event.stream_id, []).append(event)
    first, second, third = by_channel["channel/chat"]
    assert (first.text, first.data) == ("hello ", None)
    assert (second.text, second.data) == ("é" * 20, {"cut_from": 30})
    assert third.data == {"bytes": 2, "base64": base64.b64encode(b"\x00\xff").decode()}
    assert [event.text for event in by_channel["channel/" + "x" * 64]] == ["world"]
    await source.aclose()
    await connection.close()


async def test_a_channel_that_floods_is_bounded_and_what_is_dropped_is_told():
    connection = peer()
    chat = connection.createDataChannel("chat")

    @chat.on("open")
    def begin():
        for n in range(500):
            chat.send(f"{n} ")
        asyncio.get_running_loop().call_later(
            1.0, lambda: asyncio.get_running_loop().create_task(connection.close())
        )

    source = from_webrtc(
        await offer_of(connection),
        reply=answering(connection),
        limits=MediaLimits(max_messages_per_s=50.0),
    )
    events = await collect(source)
    texts = [event.text for event in of_kind(events, "text")]
    (told,) = of_kind(events, "error")
    assert 50 <= len(texts) <= 150
    assert len(texts) + told.data["dropped_messages"] == 500


async def test_a_clock_that_runs_fast_is_drift():
    connection = peer()
    connection.addTrack(Picture(lambda n: pattern(n, size=(160, 120)), stretch=1.15))
    connection.addTrack(Tone())
    source = from_webrtc(await offer_of(connection), reply=answering(connection))
    guard = watch(source, detectors=[MediaDetector(drift_s=0.15)])
    async for _ in guard:
        if any(finding.kind == "av_drift" for finding in guard.findings):
            break
    await guard.aclose()
    await connection.close()
    (found,) = [finding for finding in guard.findings if finding.kind == "av_drift"]
    assert found.evidence["drift_s"] > 0.1


async def test_pictures_above_the_limit():
    connection = peer()
    connection.addTrack(Picture(lambda n: np.full((480, 640), 60, np.uint8)))
    source = from_webrtc(
        await offer_of(connection),
        reply=answering(connection),
        limits=MediaLimits(max_pixels=320 * 240),
    )
    with pytest.raises(MalformedStreamError, match="640 x 480"):
        await collect(source)
    await connection.close()


@pytest.mark.parametrize(
    "sdp",
    ["", "v=0", "hello", "\x00" * 100, "v=0\r\nm=", "v=0\r\nm=audio x y z\r\n", "{}",
     "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n"],
)  # fmt: skip
async def test_descriptions_that_are_none(sdp):
    source = from_webrtc(sdp, reply=lambda answer: None)
    with pytest.raises(MalformedStreamError, match="the offer cannot be used"):
        await anext(source)


async def test_offers_that_are_changed_at_random():
    connection = peer()
    connection.addTrack(Tone())
    connection.createDataChannel("x")
    sdp = (await offer_of(connection))["sdp"]
    rng = random.Random(5)
    for _ in range(25):
        text = list(sdp)
        for _ in range(rng.choice((1, 5, 40))):
            text[rng.randrange(len(text))] = chr(rng.randrange(32, 127))
        async with WebRtcSession(limits=MediaLimits(connect_timeout_s=0.1)) as session:
            try:
                await session.answer("".join(text))
            except MidstreamError:
                continue
    await connection.close()


async def test_nobody_connects():
    connection = peer()
    connection.addTrack(Tone())
    offer = await offer_of(connection)
    source = from_webrtc(
        offer, reply=lambda answer: None, limits=MediaLimits(connect_timeout_s=0.3)
    )
    with pytest.raises(EndpointError, match=r"no connection within 0\.3 s"):
        await anext(source)
    await connection.close()


async def test_a_peer_that_falls_silent():
    connection = peer()
    chat = connection.createDataChannel("chat")
    chat.on("open", lambda: chat.send("one"))
    source = from_webrtc(
        await offer_of(connection),
        reply=answering(connection),
        limits=MediaLimits(idle_timeout_s=0.5),
    )
    assert (await anext(source)).text == "one"
    with pytest.raises(IdleTimeoutError, match=r"nothing arrived for 0\.5 s"):
        await anext(source)
    await connection.close()


async def test_order_of_calls():
    session = WebRtcSession()
    with pytest.raises(RefusedError, match="no open offer"):
        await session.accept("v=0")
    await session.offer(video=False)
    with pytest.raises(RefusedError, match="has begun"):
        await session.answer("v=0")
    with pytest.raises(MalformedStreamError, match="the answer cannot be used"):
        await session.accept("garbage")
    await session.aclose()
    with pytest.raises(RefusedError):
        await WebRtcSession.offer(session)


def test_arguments():
    async def main():
        with pytest.raises(ArgumentTypeError, match="reply must be callable, got NoneType"):
            from_webrtc("v=0")
        with pytest.raises(ArgumentTypeError, match="offer must be str or a mapping"):
            from_webrtc(3, reply=print)
        with pytest.raises(ArgumentValueError, match="offer must be of type 'offer'"):
            from_webrtc({"type": "answer", "sdp": "v=0"}, reply=print)
        with pytest.raises(ArgumentValueError, match="above the limit"):
            from_webrtc("v=0\n" + "m=audio\n" * 100, reply=print)
        with pytest.raises(ArgumentTypeError, match="ice_servers must be an iterable of str"):
            WebRtcSession(ice_servers="stun:localhost")
        with pytest.raises(ArgumentValueError, match="one of audio, video and channel"):
            await WebRtcSession().offer(audio=False, video=False, channel=None)
        session = WebRtcSession()
        assert from_webrtc(session) is session.source
        with pytest.raises(ArgumentValueError, match="reply is for an offer"):
            from_webrtc(session, reply=print)

    asyncio.run(main())
