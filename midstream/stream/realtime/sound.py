"""Audio of a session: what is sent, how loud what comes is, and how much of it was played."""

from __future__ import annotations

import base64
import binascii
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from midstream._core.clock import NS_PER_S
from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream.stream.formats.base import keep

if TYPE_CHECKING:
    import numpy.typing as npt

    from midstream.stream.events import Event
    from midstream.stream.media.audio import AudioMeter

__all__ = ["PCM16_24KHZ", "Level", "Playback", "SoundFormat", "audio_of", "formats_of", "pcm16"]

#: Bytes of one sample, and the usual samples a second, of each encoding.
_ENCODINGS = {"pcm16": (2, 24_000), "g711_ulaw": (1, 8_000), "g711_alaw": (1, 8_000)}
_NAMES = {
    "audio/pcm": "pcm16",
    "audio/pcmu": "g711_ulaw",
    "audio/pcma": "g711_alaw",
    **{name: name for name in _ENCODINGS},
}
_RATES = range(8_000, 384_001)
#: Items whose playback is known.
_MOST_ITEMS = 256


class SoundFormat:
    """Encoding and rate of one direction; one channel.

    Parameters
    ----------
    encoding : {"pcm16", "g711_ulaw", "g711_alaw"}
    rate_hz : int, optional
        Samples a second; default what is usual.

    Examples
    --------
    >>> SoundFormat("pcm16").ms_of(48_000)
    1000.0
    """

    __slots__ = ("bytes_per_sample", "encoding", "rate_hz")

    def __init__(self, encoding: str, rate_hz: int | None = None) -> None:
        self.encoding = encoding
        self.bytes_per_sample, usual_hz = _ENCODINGS[encoding]
        self.rate_hz = usual_hz if rate_hz is None else rate_hz

    def ms_of(self, n_bytes: int) -> float:
        """Milliseconds that so many bytes last."""
        return n_bytes / self.bytes_per_sample * 1000 / self.rate_hz

    def samples(self, data: bytes) -> npt.NDArray[np.float32]:
        """Samples in [-1, 1] of whole samples' bytes."""
        if self.encoding == "pcm16":
            return np.frombuffer(data, dtype="<i2").astype(np.float32) / np.float32(32768)
        table = _ulaw() if self.encoding == "g711_ulaw" else _alaw()
        return table[np.frombuffer(data, dtype=np.uint8)]

    def __repr__(self) -> str:
        return f"{self.encoding} at {self.rate_hz:,} Hz"


PCM16_24KHZ = SoundFormat("pcm16")


@cache
def _ulaw() -> npt.NDArray[np.float32]:
    """Samples by code, ITU-T G.711."""
    code = ~np.arange(256, dtype=np.uint8)
    size = ((((code & 15).astype(np.int32) << 3) + 132) << ((code >> 4) & 7).astype(np.int32)) - 132
    return (np.where(code & 128, -size, size) / 32768).astype(np.float32)


@cache
def _alaw() -> npt.NDArray[np.float32]:
    """Samples by code, ITU-T G.711."""
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent = ((code >> 4) & 7).astype(np.int32)
    low = ((code & 15).astype(np.int32) << 4) + 8
    size = np.where(exponent > 0, (low + 256) << np.maximum(exponent - 1, 0), low)
    return (np.where(code & 128, size, -size) / 32768).astype(np.float32)


def formats_of(
    session: dict[str, Any], heard: SoundFormat, spoken: SoundFormat
) -> tuple[SoundFormat, SoundFormat]:
    """Formats of the user's and the model's audio in a session's settings.

    Parameters
    ----------
    session : dict
        Settings in the names of either version.
    heard, spoken : SoundFormat
        What they are where the settings do not say.

    Examples
    --------
    >>> formats_of({"input_audio_format": "g711_ulaw"}, PCM16_24KHZ, PCM16_24KHZ)
    (g711_ulaw at 8,000 Hz, pcm16 at 24,000 Hz)
    """
    audio = session.get("audio")
    audio = audio if isinstance(audio, dict) else {}
    found = []
    for side, old in (("input", heard), ("output", spoken)):
        settings = audio.get(side)
        told = settings.get("format") if isinstance(settings, dict) else None
        told = session.get(f"{side}_audio_format") if told is None else told
        rate = None
        if isinstance(told, dict):
            rate = told.get("rate")
            told = told.get("type")
        encoding = _NAMES.get(told) if isinstance(told, str) else None
        if encoding is None:
            found.append(old)
        else:
            known = rate if type(rate) is int and rate in _RATES else None
            found.append(SoundFormat(encoding, known))
    return found[0], found[1]


def pcm16(data: bytes | bytearray | memoryview | npt.NDArray[Any]) -> bytes:
    """Bytes of PCM16, little-endian, one channel, of what a caller has.

    Parameters
    ----------
    data : bytes-like, or (n,) or (n, 1) ndarray of int16 or float
        Bytes are taken as they are. Floats are samples in [-1, 1]; what is beyond is clipped.

    Raises
    ------
    ArgumentTypeError
        Another type, or an array of another.
    ArgumentValueError
        An odd number of bytes, more than one channel, or NaN.

    Examples
    --------
    >>> pcm16(np.array([0.0, 1.0])), pcm16(np.array([1, -1], dtype=">i2"))
    (b'\\x00\\x00\\xff\\x7f', b'\\x01\\x00\\xff\\xff')
    """
    if isinstance(data, (bytes, bytearray, memoryview)):
        raw = bytes(data)
        if len(raw) % 2:
            raise ArgumentValueError(f"data must be whole 16-bit samples, got {len(raw)} bytes")
        return raw
    if not isinstance(data, np.ndarray):
        raise ArgumentTypeError(f"data must be bytes or a numpy array, got {type(data).__name__}")
    x = data
    if x.ndim == 2 and x.shape[1] == 1:
        x = x[:, 0]
    if x.ndim != 1:
        raise ArgumentValueError(f"data must be of one channel, (n,) or (n, 1), got {data.shape}")
    if x.dtype.kind == "f":
        if np.isnan(x).any():
            raise ArgumentValueError("data must be finite, got NaN in it")
        x = np.clip(np.rint(x * 32767.0), -32768, 32767)
    elif x.dtype.kind != "i" or x.dtype.itemsize != 2:
        raise ArgumentTypeError(f"data must be int16 or float, got {x.dtype}")
    return x.astype("<i2").tobytes()


def audio_of(event: Event) -> bytes:
    """Audio that an event of a Realtime session carries.

    Parameters
    ----------
    event : Event
        Any; those of kind ``audio`` that carry a payload with audio have some.

    Returns
    -------
    bytes
        In the session's output format, PCM16 unless told otherwise; empty where there is none, or
        where it is not base64.

    Examples
    --------
    >>> from midstream.stream import Event
    >>> payload = {"type": "response.output_audio.delta", "delta": "AAD/fw=="}
    >>> audio_of(Event("audio", 0, 0, data=payload))
    b'\\x00\\x00\\xff\\x7f'
    """
    payload = event.data
    if event.kind != "audio" or not isinstance(payload, dict):
        return b""
    kind, delta = payload.get("type"), payload.get("delta")
    if not (isinstance(kind, str) and kind.endswith("audio.delta") and isinstance(delta, str)):
        return b""
    try:
        return base64.b64decode(delta, validate=True)
    except (ValueError, binascii.Error):
        return b""


class Level:
    """How loud the model's audio is, item by item."""

    __slots__ = ("_left", "_meter", "_of")

    def __init__(self) -> None:
        self._meter: AudioMeter | None = None
        self._of: Any = None
        self._left = b""

    def take(self, data: bytes, sound: SoundFormat, item: Any) -> dict[str, Any]:
        """Measure the next bytes of an item.

        Returns
        -------
        dict
            As events of `midstream.stream.media` have them: ``level_dbfs``, ``peak_dbfs``,
            ``silent_s``, ``clipped``, ``pts_s`` (behind it, from the item's beginning),
            ``rate_hz``.
        """
        meter = self._meter
        if meter is None or self._of != item or meter.rate_hz != sound.rate_hz:
            from midstream.stream.media.audio import AudioMeter

            meter = self._meter = AudioMeter(sound.rate_hz)
            self._of = item
            self._left = b""
        if sound.bytes_per_sample == 2 and (self._left or len(data) % 2):
            data = self._left + data  # a sample may be cut in two
            whole = len(data) & ~1
            data, self._left = data[:whole], data[whole:]
        meter.take(sound.samples(data), meter.end_s or 0.0)
        figures = meter.read()
        told = {name: figures[name] for name in ("level_dbfs", "peak_dbfs", "silent_s", "clipped")}
        told["pts_s"] = round(meter.end_s or 0.0, 4)
        told["rate_hz"] = sound.rate_hz
        return told


class _Track:
    """Audio of one item."""

    __slots__ = ("content_index", "ends_ns", "handed_ms", "received_ms", "told_ms")

    def __init__(self, content_index: int) -> None:
        self.content_index = content_index
        self.received_ms = 0.0
        self.handed_ms = 0.0
        self.ends_ns = 0  # when all that was handed out has been played
        self.told_ms: float | None = None


class Playback:
    """How much of each item's audio came, and was played.

    Unless the player tells (`tell`), audio is taken to be played from when it is handed out, one
    chunk behind the other.

    Examples
    --------
    >>> playback = Playback()
    >>> playback.received("item_1", 0, 2000.0)
    >>> playback.handed("item_1", 2000.0, 0)
    >>> playback.played_ms("item_1", 500_000_000)
    500
    """

    __slots__ = ("_tracks",)

    def __init__(self) -> None:
        self._tracks: dict[str, _Track] = {}

    def received(self, item_id: str, content_index: int, ms: float) -> None:
        """Take note that so much came."""
        track = self._tracks.get(item_id)
        if track is None:
            if len(self._tracks) >= _MOST_ITEMS:
                del self._tracks[next(iter(self._tracks))]
            track = _Track(content_index)
            keep(self._tracks, item_id, track)
        track.received_ms += ms

    def handed(self, item_id: str, ms: float, now_ns: int) -> None:
        """Take note that so much was handed out now."""
        track = self._tracks.get(item_id)
        if track is not None:
            track.handed_ms += ms
            track.ends_ns = max(track.ends_ns, now_ns) + round(ms * (NS_PER_S / 1000))

    def tell(self, item_id: str, ms: float) -> None:
        """Take note of what the player says."""
        track = self._tracks.get(item_id)
        if track is not None:
            track.told_ms = ms

    def received_ms(self, item_id: str) -> int | None:
        """Milliseconds that came; None for an item without audio."""
        track = self._tracks.get(item_id)
        return None if track is None else int(track.received_ms)

    def played_ms(self, item_id: str, now_ns: int) -> int | None:
        """Whole milliseconds that were played by now; None for an item without audio."""
        track = self._tracks.get(item_id)
        if track is None:
            return None
        played = track.told_ms
        if played is None:
            played = track.handed_ms - max(0.0, (track.ends_ns - now_ns) * (1000 / NS_PER_S))
        return max(0, int(min(played, track.received_ms)))

    def content_index(self, item_id: str) -> int:
        """Which part of an item's content its audio is."""
        track = self._tracks.get(item_id)
        return 0 if track is None else track.content_index
