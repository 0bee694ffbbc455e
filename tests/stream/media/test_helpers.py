"""Transcription and detection: the interfaces, and the implementations that work offline."""

from __future__ import annotations

import shutil
import subprocess
import threading

import numpy as np
import pytest
from stream.media.making import RATE, av, collect, encode, of_kind, pictures
from stream.media.serving import manifest

from midstream.errors import ArgumentTypeError, ArgumentValueError
from midstream.stream import from_hls, watch
from midstream.stream.media import CascadeDetector, DetectedObject, SphinxTranscriber, Word

DIGITS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def need_speech():
    pytest.importorskip(
        "pocketsphinx", reason="transcription needs PocketSphinx: pip install 'midstream[speech]'"
    )
    if shutil.which("espeak-ng") is None:
        pytest.skip("speech is made with espeak-ng: apt-get install espeak-ng")


def need_faces():
    """A picture with one face, which comes with matplotlib: rows, columns, colours."""
    cv2 = pytest.importorskip(
        "cv2", reason="detection needs OpenCV: pip install 'midstream[vision]'"
    )
    if not hasattr(cv2, "CascadeClassifier"):
        pytest.skip("cascades are in OpenCV 4: pip install 'midstream[vision]'")
    cbook = pytest.importorskip(
        "matplotlib.cbook", reason="the picture of a face comes with matplotlib: pip install it"
    )
    with cbook.get_sample_data("grace_hopper.jpg") as file, av.open(file) as picture:
        return next(picture.decode(video=0)).to_ndarray(format="rgb24")


def spoken(text, tmp_path, *, rate=130):
    """Speech as float samples at 48 kHz, (n, 1)."""
    path = tmp_path / "speech.wav"
    subprocess.run(["espeak-ng", "-v", "en-us", "-s", str(rate), "-w", str(path), text], check=True)
    resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
    with av.open(str(path)) as source:
        pieces = [
            made.to_ndarray().ravel()
            for frame in source.decode(audio=0)
            for made in resampler.resample(frame)
        ]
    return np.concatenate(pieces)[:, None]


def silence(seconds):
    return np.zeros((round(seconds * RATE), 1), np.float32)


def presentation(tmp_path, media):
    (tmp_path / "a.ts").write_bytes(media)
    (tmp_path / "x.m3u8").write_bytes(manifest("#EXTINF:9.0,", "a.ts"))
    return tmp_path / "x.m3u8"


async def test_words_and_their_times(tmp_path):
    """Two sentences of digits, at known times."""
    need_speech()
    first, second = (spoken(text, tmp_path) for text in ("one two three", "four five six"))
    samples = np.concatenate([silence(1.0), first, silence(2.0), second, silence(1.0)])
    second_s = 3.0 + len(first) / RATE
    path = presentation(tmp_path, encode(None, samples))
    events = await collect(from_hls(path, transcriber=SphinxTranscriber(words=DIGITS)))
    texts = of_kind(events, "text")
    assert {event.stream_id for event in texts} == {"speech"}
    words = [word for event in texts for word in event.data["words"]]
    said = [word["text"] for word in words]
    assert "".join(event.text for event in texts) == "".join(f"{word} " for word in said)
    assert said[:3] == ["one", "two", "three"]
    assert said[3:6] == ["four", "five", "six"]
    assert words[0]["start_s"] == pytest.approx(1.0, abs=0.25)
    # Behind its last word it pauses.
    assert words[2]["start_s"] < words[2]["end_s"] < 1.1 + len(first) / RATE
    assert words[3]["start_s"] == pytest.approx(second_s, abs=0.25)
    starts = [word["start_s"] for word in words]
    assert starts == sorted(starts)
    assert of_kind(events, "audio")[-1].data["speech_dropped_s"] == 0.0


async def test_speech_that_loops_is_found_by_the_watch(tmp_path):
    need_speech()
    phrase = np.concatenate([spoken("one two three four", tmp_path), silence(0.6)])
    samples = np.concatenate([silence(0.5), *[phrase] * 12])
    path = presentation(tmp_path, encode(None, samples))
    guard = watch(from_hls(path, transcriber=SphinxTranscriber(words=DIGITS[:4])))
    async for _ in guard:
        pass
    assert "loop" in {finding.kind.removeprefix("near_") for finding in guard.findings}


def test_silence_and_noise_say_nothing():
    pytest.importorskip("pocketsphinx")
    transcriber = SphinxTranscriber(words=DIGITS)
    rng = np.random.default_rng(1)
    hiss = rng.normal(0, 30, 3 * 16_000).astype(np.int16)
    words = transcriber.take(np.zeros(3 * 16_000, np.int16), 0.0)
    words += transcriber.take(hiss, 3.0)
    assert words + transcriber.finish() == []


def test_arguments_of_transcription():
    pytest.importorskip("pocketsphinx")
    with pytest.raises(ArgumentTypeError, match="words must be a sequence of str, got str"):
        SphinxTranscriber(words="one")
    for wrong in ("qqzzx", "one; grammar", "<sil>", ""):
        with pytest.raises(ArgumentValueError, match="not in the dictionary"):
            SphinxTranscriber(words=["one", wrong])
    with pytest.raises(ArgumentValueError, match="words must be 1 to"):
        SphinxTranscriber(words=[])
    with pytest.raises(ArgumentValueError, match="max_utterance_s"):
        SphinxTranscriber(max_utterance_s=0)


def overlap(box, other):
    """Area that two boxes share over the area that either covers."""
    left, top = max(box[0], other[0]), max(box[1], other[1])
    right = min(box[0] + box[2], other[0] + other[2])
    bottom = min(box[1] + box[3], other[1] + other[3])
    shared = max(0, right - left) * max(0, bottom - top)
    return shared / (box[2] * box[3] + other[2] * other[3] - shared)


#: Where the face is in the picture, by eye: from the brows' ends to below the chin.
FACE = (160, 100, 215, 235)


@pytest.mark.parametrize("place", [(0, 0), (300, 40), (620, 110)])
def test_a_face_is_found_where_it_is(place):
    portrait = need_faces()
    picture = np.full((720, 1280, 3), 90, np.uint8)
    x, y = place
    picture[y : y + 600, x : x + 512] = portrait
    found = CascadeDetector(min_size=100).detect(picture)
    assert len(found) == 1
    truth = (FACE[0] + x, FACE[1] + y, FACE[2], FACE[3])
    assert overlap(found[0].box, truth) > 0.6
    assert found[0].label == "face"


def test_no_face_where_none_is():
    need_faces()
    rng = np.random.default_rng(2)
    detector = CascadeDetector(min_size=100)
    assert detector.detect(np.full((720, 1280, 3), 90, np.uint8)) == []
    assert detector.detect(rng.integers(0, 255, (360, 640, 3), dtype=np.uint8)) == []


async def test_faces_in_a_stream(tmp_path):
    """Two seconds of a face, two of none."""
    portrait = need_faces()
    grey = portrait.mean(axis=2).astype(np.uint8)[::2, ::2]
    face = np.full((360, 640), 90, np.uint8)
    face[30:330, 200:456] = grey
    empty = np.full((360, 640), 90, np.uint8)
    path = presentation(tmp_path, encode([face] * 50 + [empty] * 50))
    source = from_hls(path, object_detector=CascadeDetector(min_size=60), objects_per_s=5.0)
    last = {}
    async for event in source:
        if event.kind == "video" and event.data["objects_at_s"] is not None:
            last[event.data["objects_at_s"]] = event.data["objects"]
    assert len(last) >= 5
    for at_s, objects in last.items():
        assert [thing["label"] for thing in objects] == (["face"] if at_s < 2.0 else []), at_s
    first = last[min(last)]
    assert overlap(first[0]["box"], (200 + 80, 30 + 50, 108, 118)) > 0.6


def test_arguments_of_detection():
    need_faces()
    with pytest.raises(ArgumentValueError, match=r"label must be one of face, .* got 'dog'"):
        CascadeDetector("dog")
    with pytest.raises(ArgumentValueError, match=r"picture must be .* got \(5, 5\) of float64"):
        CascadeDetector().detect(np.zeros((5, 5)))
    with pytest.raises(ArgumentValueError, match="scale"):
        CascadeDetector(scale=1.0)


class Counting:
    """A transcriber and a detector of your own: what they are called with, and in which thread."""

    sample_rate_hz = 8000

    def __init__(self):
        self.samples = 0
        self.begins = []
        self.pictures = []
        self.threads = set()

    def take(self, samples, pts_s):
        assert samples.dtype == np.int16
        assert samples.ndim == 1
        self.samples += len(samples)
        self.begins.append(pts_s)
        self.threads.add(threading.current_thread().name)
        return [Word("tick", pts_s, pts_s + 0.1, 0.5)] if len(self.begins) % 10 == 0 else []

    def finish(self):
        return [Word("end", 2.0, 2.1)]

    def detect(self, picture):
        self.pictures.append(picture.shape)
        self.threads.add(threading.current_thread().name)
        return [DetectedObject("thing", (1, 2, 3, 4))]


async def test_your_own(tmp_path):
    mine = Counting()
    samples = np.tile(np.sin(np.arange(RATE) / 10)[:, None], (2, 1)).astype(np.float32)
    path = presentation(tmp_path, encode(pictures(("moving", 50)), samples))
    events = await collect(from_hls(path, transcriber=mine, object_detector=mine, objects_per_s=2))
    assert mine.samples == pytest.approx(2 * 8000, abs=700)
    assert mine.begins[0] == pytest.approx(0.0, abs=0.05)
    assert np.diff(mine.begins) == pytest.approx(0.1, abs=0.05)
    assert mine.pictures == [(180, 320, 3)] * 4
    assert mine.threads == {"midstream-speech", "midstream-objects"}
    words = [word for event in of_kind(events, "text") for word in event.data["words"]]
    assert words[-1] == {"text": "end", "start_s": 2.0, "end_s": 2.1, "confidence": None}
    assert events[-1].kind == "end"
    objects = of_kind(events, "video")[-1].data["objects"]
    assert objects == [{"label": "thing", "box": [1, 2, 3, 4], "score": None}]


@pytest.mark.parametrize("method", ["take", "finish", "detect"])
async def test_one_that_fails_is_told_as_it_failed(tmp_path, method):
    class Failing(Counting):
        pass

    def fail(self, *arguments):
        raise LookupError("the model is gone")

    setattr(Failing, method, fail)
    samples = np.zeros((RATE, 1), np.float32)
    path = presentation(tmp_path, encode(pictures(("moving", 25)), samples))
    mine = Failing()
    with pytest.raises(LookupError, match="the model is gone"):
        await collect(from_hls(path, transcriber=mine, object_detector=mine))
