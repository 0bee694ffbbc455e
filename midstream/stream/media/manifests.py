"""HLS manifests: what to read, in which order, and with which keys."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from midstream._core.errors import MalformedStreamError
from midstream.stream.media.extra import library
from midstream.stream.media.fetching import ByteRange, Resolve
from midstream.stream.media.settings import MediaLimits

__all__ = ["Key", "MasterPlaylist", "MediaPlaylist", "Rendition", "Segment", "parse_manifest"]


@dataclass(frozen=True, slots=True)
class Rendition:
    """One of the versions that a master playlist offers.

    Parameters
    ----------
    url : str
    bandwidth_bps : int
        Peak, as the playlist says.
    height : int or None
        Of the picture, in pixels.
    audio_url : str or None
        Of the playlist that has its sound, where that is apart.
    codecs : str
    """

    url: str
    bandwidth_bps: int
    height: int | None = None
    audio_url: str | None = None
    codecs: str = ""


@dataclass(frozen=True, slots=True)
class MasterPlaylist:
    """All versions of a presentation, in the order of the file."""

    renditions: tuple[Rendition, ...]

    def choose(self, *, max_bandwidth_bps: int | None, max_height: int | None) -> Rendition:
        """Return the best version within both limits; the smallest if none is."""
        ordered = sorted(self.renditions, key=lambda rendition: rendition.bandwidth_bps)
        fitting = [
            rendition
            for rendition in ordered
            if (max_bandwidth_bps is None or rendition.bandwidth_bps <= max_bandwidth_bps)
            and (max_height is None or rendition.height is None or rendition.height <= max_height)
        ]
        return fitting[-1] if fitting else ordered[0]


@dataclass(frozen=True, slots=True)
class Key:
    """How segments are encrypted: AES-128 in CBC mode.

    Parameters
    ----------
    url : str
        Where the 16 bytes of the key are.
    iv : bytes or None
        None: the number of the segment.
    """

    url: str
    iv: bytes | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a presentation.

    Parameters
    ----------
    number : int
        Its media sequence number.
    stretch : int
        Discontinuities before it.
    url : str
    duration_s : float
    part : ByteRange or None
        What of the file it is.
    key : Key or None
    init_url : str or None
        What has to stand before it: the header of fragmented MP4.
    init_part : ByteRange or None
    program_time_s : float or None
        Wall clock of its beginning, in seconds since the epoch.
    gap : bool
        Whether the server says itself that it is missing.
    """

    number: int
    stretch: int
    url: str
    duration_s: float
    part: ByteRange | None = None
    key: Key | None = None
    init_url: str | None = None
    init_part: ByteRange | None = None
    program_time_s: float | None = None
    gap: bool = False


@dataclass(frozen=True, slots=True)
class MediaPlaylist:
    """Segments of one version.

    Parameters
    ----------
    segments : tuple of Segment
        Whole ones: parts of one that is still being made are left out.
    target_s : float
        Longest duration of a segment.
    ended : bool
        Whether nothing will be added.
    number : int
        Media sequence number of the first.
    """

    segments: tuple[Segment, ...]
    target_s: float
    ended: bool
    number: int = 0


def parse_manifest(
    text: str, url: str, resolve: Resolve, limits: MediaLimits, place: str
) -> MasterPlaylist | MediaPlaylist:
    """Read a manifest.

    Parameters
    ----------
    text : str
    url : str
        Where it came from.
    resolve : callable
        Makes an address of a URL and a reference, and refuses what must not be read.
    limits, place

    Raises
    ------
    MalformedStreamError
        It is no manifest, has nothing in it or too much, or asks for what cannot be read.

    Notes
    -----
    m3u8 reads the lines; what they mean for reading is worked out here.
    """
    if not text.lstrip("\ufeff").startswith("#EXTM3U"):
        raise MalformedStreamError("this is no HLS manifest", place=place)
    if text.count("#EXTINF") > limits.max_playlist_segments:
        raise MalformedStreamError(
            f"more than {limits.max_playlist_segments} segments", place=place
        )
    m3u8 = library("m3u8", "from_hls")
    try:
        raw = m3u8.loads(text.lstrip("\ufeff"))
        if raw.is_variant:
            return _master(raw, url, resolve, place)
        return _media(raw, url, resolve, place)
    except MalformedStreamError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        cause = " ".join(str(error).split())[:120] or type(error).__name__
        raise MalformedStreamError(f"the manifest is malformed: {cause}", place=place) from error


def _master(raw: Any, url: str, resolve: Resolve, place: str) -> MasterPlaylist:
    sounds = {}
    for media in raw.media:
        wanted = media.group_id not in sounds or media.default == "YES"
        if media.type == "AUDIO" and media.uri and wanted:
            sounds[media.group_id] = media.uri
    renditions = []
    for playlist in raw.playlists[:1000]:
        info = playlist.stream_info
        if not playlist.uri:
            continue
        audio = sounds.get(info.audio) if info.audio else None
        renditions.append(
            Rendition(
                resolve(url, playlist.uri),
                int(info.bandwidth or 0),
                None if not info.resolution else int(info.resolution[1]),
                None if audio is None else resolve(url, audio),
                info.codecs or "",
            )
        )
    if not renditions:
        raise MalformedStreamError("a master playlist without versions", place=place)
    return MasterPlaylist(tuple(renditions))


def _media(raw: Any, url: str, resolve: Resolve, place: str) -> MediaPlaylist:
    if raw.is_i_frames_only:
        raise MalformedStreamError("a playlist of key frames alone", place=place)
    number = int(raw.media_sequence or 0)
    number += int(getattr(raw.skip, "skipped_segments", 0) or 0)
    first = number
    stretch = int(raw.discontinuity_sequence or 0)
    segments: list[Segment] = []
    ends: dict[str, int] = {}  # where the last part of each file ended
    for item in raw.segments:
        if item.discontinuity:
            stretch += 1
        if not item.uri:  # of a segment that is still being made, only parts are there
            continue
        init = item.init_section
        where = resolve(url, item.uri)
        begins = item.current_program_date_time
        segments.append(
            Segment(
                number,
                stretch,
                where,
                min(3600.0, max(0.0, float(item.duration or 0.0))),
                _part(item.byterange, ends, where),
                _key(item.key, url, resolve, place),
                None if init is None else resolve(url, init.uri),
                None if init is None else _part(init.byterange, {}, init.uri),
                None if begins is None else _epoch_s(begins),
                bool(item.gap_tag),
            )
        )
        number += 1
    target_s = min(60.0, max(0.1, float(raw.target_duration or 1.0)))
    return MediaPlaylist(tuple(segments), target_s, bool(raw.is_endlist), first)


def _epoch_s(time: datetime) -> float:
    """Seconds since the epoch; a time without a zone is UTC, not that of this machine."""
    return (time if time.tzinfo is not None else time.replace(tzinfo=UTC)).timestamp()


def _part(text: str | None, ends: dict[str, int], url: str) -> ByteRange | None:
    """Read ``length[@start]``; without a start it follows the part before, of the same file."""
    if not text:
        return None
    length_text, _, start_text = text.strip('"').partition("@")
    length = int(length_text)
    start = int(start_text) if start_text else ends.get(url, 0)
    if length < 1 or start < 0:
        raise ValueError(f"byte range {text!r}")
    ends[url] = start + length
    return ByteRange(start, length)


def _key(raw: Any, url: str, resolve: Resolve, place: str) -> Key | None:
    if raw is None or raw.method in (None, "", "NONE"):
        return None
    if raw.method != "AES-128" or (raw.keyformat or "identity") != "identity":
        method = f"{raw.method} {raw.keyformat or ''}".strip()
        raise MalformedStreamError(
            f"encrypted with {method[:80]!r}: only AES-128 can be read", place=place
        )
    iv = None
    if raw.iv:
        iv = int(raw.iv, 16).to_bytes(16, "big")
    return Key(resolve(url, raw.uri), iv)
