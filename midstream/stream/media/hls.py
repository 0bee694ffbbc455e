"""HLS: follow a presentation's playlists, and decode its segments."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midstream._core.clock import monotonic_ns
from midstream._core.errors import EndpointError, IdleTimeoutError, MalformedStreamError
from midstream._core.validate import check_int, check_real
from midstream.stream.media.channel import Channel
from midstream.stream.media.decoding import Pacer, Position, Run, decode_run, open_bytes
from midstream.stream.media.extra import library
from midstream.stream.media.fetching import ByteRange, Fetcher, MissingPartError, make_fetcher
from midstream.stream.media.interfaces import ObjectDetector, Transcriber, check_helpers
from midstream.stream.media.manifests import (
    Key,
    MasterPlaylist,
    MediaPlaylist,
    Segment,
    parse_manifest,
)
from midstream.stream.media.pieces import (
    Piece,
    PieceQueue,
    RunFile,
    container_format,
    id3_start_s,
    is_torn,
)
from midstream.stream.media.settings import MediaAnalysis, MediaLimits, check_settings
from midstream.stream.media.streams import MediaStream, media_source
from midstream.stream.media.timeline import Timeline
from midstream.stream.media.tracks import TooLargeError, Tracks
from midstream.stream.sources import Source

if TYPE_CHECKING:
    import httpx2

__all__ = ["from_hls"]

#: Segments before the end of a live playlist at which reading begins, as RFC 8216 asks for.
_EDGE_SEGMENTS = 3
#: Missing segments in a row, and failures to get one thing, that end the stream.
_MAX_MISSING = 5
_MAX_TRIES = 3
_RETRY_S = 0.3
_MAX_KEYS = 64


def from_hls(
    url: str | Path,
    *,
    analysis: MediaAnalysis | None = None,
    limits: MediaLimits | None = None,
    max_bandwidth_bps: int | None = None,
    max_height: int | None = 1080,
    speed: float | None = None,
    transcriber: Transcriber | None = None,
    object_detector: ObjectDetector | None = None,
    objects_per_s: float = 1.0,
    headers: Mapping[str, str] | None = None,
    client: httpx2.AsyncClient | None = None,
) -> Source:
    """Read an HLS presentation, live or on demand, and say what is to be heard and seen in it.

    Parameters
    ----------
    url : str or Path
        Of the manifest: http, https, or a file.
    analysis : MediaAnalysis, optional
        Thresholds.
    limits : MediaLimits, optional
        How much is taken from the server.
    max_bandwidth_bps, max_height : int, optional
        Of the version to read, where the manifest offers several: the best one within both, the
        smallest if none is.
    speed : float, optional
        Media seconds a second; by default what is on demand is read as fast as it can be decoded.
    transcriber : Transcriber, optional
        Turns speech into events of kind ``text``.
    object_detector : ObjectDetector, optional
        Looks at pictures; what it saw is in the ``video`` events.
    objects_per_s : float, default 1.0
        Pictures for it, for each second of media.
    headers : mapping of str to str, optional
        Sent to the manifest's host alone.
    client : httpx2.AsyncClient, optional
        Client to use; it stays open.

    Returns
    -------
    Source
        Events of the kinds ``audio`` and ``video``, as `midstream.stream.media` describes them;
        ``error`` for what was missing (the stream goes on), and one ``end``. Reading begins when
        the first event is asked for.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used.
    ModuleNotFoundError
        The extra ``media`` is not installed.
    EndpointError, IdleTimeoutError
        From the iterator: the server does not have it, or is silent; a live playlist without a new
        segment for `MediaLimits.idle_timeout_s`.
    MalformedStreamError
        From the iterator: a manifest or media that cannot be read, or is above a limit; an address
        in a playlist that is neither http nor https (nor, for files, in the manifest's folder).

    Notes
    -----
    Understood: versions and sound apart from the picture, MPEG-TS, fragmented MP4 and packed audio,
    AES-128, byte ranges, discontinuities, program date and time, gaps. A low-latency playlist is
    read by its whole segments. Subtitles, trick play and DRM are not read.

    A live presentation is read from three segments before its end. Segments that were gone before
    they could be read are told in an ``error`` event. Fetching is done in the event loop, decoding
    in a thread for each version that is read.

    Examples
    --------
    >>> source = from_hls("https://example.org/live/master.m3u8", max_height=360)
    """
    library("av", "from_hls")
    library("m3u8", "from_hls")
    analysis, limits = check_settings(analysis, limits)
    check_helpers(transcriber, object_detector)
    for name, value in (("max_bandwidth_bps", max_bandwidth_bps), ("max_height", max_height)):
        if value is not None:
            check_int(name, value, low=1)
    if speed is not None:
        speed = check_real("speed", speed, low=0.01, high=1000.0)
    fetcher = make_fetcher(url, limits, headers=headers, client=client)
    started_ns = monotonic_ns()
    channel = Channel(limits.max_pending_events)
    tracks = Tracks(
        channel,
        analysis,
        limits,
        live=False,
        place=fetcher.place,
        transcriber=transcriber,
        object_detector=object_detector,
        objects_per_s=objects_per_s,
    )
    stream = _HlsStream(
        fetcher,
        channel,
        tracks,
        Pacer(speed),
        max_bandwidth_bps=max_bandwidth_bps,
        max_height=max_height,
    )
    return media_source(stream, started_ns, live=True)


class _HlsStream(MediaStream):
    """Playlists of one presentation, and a thread for each of them."""

    def __init__(
        self,
        fetcher: Fetcher,
        channel: Channel,
        tracks: Tracks,
        pacer: Pacer,
        *,
        max_bandwidth_bps: int | None,
        max_height: int | None,
    ) -> None:
        super().__init__(channel, tracks, pacer)
        self._fetcher = fetcher
        self._max_bandwidth_bps = max_bandwidth_bps
        self._max_height = max_height
        self._timeline = Timeline()
        self._queues: list[PieceQueue] = []
        self._decoding = 0
        self._lock = threading.Lock()

    async def open(self) -> None:
        """Read the manifest, and start to follow what it leads to."""
        fetcher = self._fetcher
        manifest = await self.playlist(fetcher.url)
        urls = [fetcher.url]
        first: MediaPlaylist | None = None
        if isinstance(manifest, MasterPlaylist):
            chosen = manifest.choose(
                max_bandwidth_bps=self._max_bandwidth_bps, max_height=self._max_height
            )
            urls = [chosen.url]
            if chosen.audio_url is not None and chosen.audio_url != chosen.url:
                urls.append(chosen.audio_url)
        else:
            first = manifest
        self._decoding = len(urls)
        self.tracks.paired = len(urls) == 1
        for number, url in enumerate(urls):
            queue = PieceQueue(self.tracks.limits.max_buffer_bytes // len(urls))
            self._queues.append(queue)
            follower = _Follower(self, url, queue)
            self.start_thread(f"midstream-hls-{number}", _Decoding(self, queue, number).run)
            self.start_task(partial(follower.run, first))

    async def shut(self) -> None:
        """Close connections and queues."""
        for queue in self._queues:
            queue.shut_down()
        await self._fetcher.aclose()

    async def playlist(self, url: str) -> MasterPlaylist | MediaPlaylist:
        """Get and read a manifest, with a second and third try."""
        limits = self.tracks.limits
        fetcher = self._fetcher
        data = await self.get(url, limits.max_playlist_bytes)
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            raise MalformedStreamError("the manifest is not UTF-8", place=fetcher.place) from None
        # Large ones take long: not in the event loop.
        return await asyncio.to_thread(
            parse_manifest, text, fetcher.where(url), fetcher.resolve, limits, fetcher.place
        )

    async def get(self, url: str, max_bytes: int, part: ByteRange | None = None) -> bytes:
        """Get something; what is there and does not come is asked for again."""
        tries = 0
        while True:
            tries += 1
            try:
                return await self._fetcher.get(url, max_bytes=max_bytes, part=part)
            except MissingPartError:
                raise
            except (EndpointError, IdleTimeoutError) as error:
                status = error.status if isinstance(error, EndpointError) else None
                refused = status is not None and status < 500
                if refused or tries >= _MAX_TRIES:
                    raise
            await asyncio.sleep(_RETRY_S * tries)

    @property
    def fetcher(self) -> Fetcher:
        """What gets things."""
        return self._fetcher

    @property
    def timeline(self) -> Timeline:
        """The time axis that all versions share."""
        return self._timeline

    def decoded(self) -> None:
        """Take note that one version is decoded to its end; from its thread."""
        with self._lock:
            self._decoding -= 1
            last = self._decoding == 0
        if not last:
            return
        totals = self.tracks.totals()
        if not (totals["frames"] or totals["samples"] or self.pacer.stop.is_set()):
            raise MalformedStreamError(
                "no audio or video in it that can be decoded", place=self._fetcher.place
            )
        self.conclude()


class _Follower:
    """Gets the segments of one playlist in order, and reads the playlist again while it grows."""

    def __init__(self, stream: _HlsStream, url: str, queue: PieceQueue) -> None:
        self._stream = stream
        self._url = url
        self._queue = queue
        self._limits = stream.tracks.limits
        self._next: int | None = None  # number of the next segment
        self._missing = 0
        self._keys: dict[str, bytes] = {}
        self._inits: dict[tuple[str, ByteRange | None], bytes] = {}

    async def run(self, playlist: MediaPlaylist | None) -> None:
        try:
            await self._follow(playlist)
        except Exception as error:  # noqa: BLE001 - raised behind what had come before it
            self._queue.end(error)
        else:
            self._queue.end()

    async def _follow(self, playlist: MediaPlaylist | None) -> None:
        loop = asyncio.get_running_loop()
        fresh_s = loop.time()
        while True:
            asked_s = loop.time()
            if playlist is None:
                read = await self._stream.playlist(self._url)
                if isinstance(read, MasterPlaylist):
                    raise self._malformed("a master playlist where segments should be")
                playlist = read
            ahead = self._ahead(playlist)
            for segment in ahead:
                await self._fetch(segment)
                self._next = segment.number + 1
            if playlist.ended:
                return
            if ahead:
                fresh_s = loop.time()
            elif loop.time() - fresh_s > self._limits.idle_timeout_s:
                raise IdleTimeoutError(
                    f"no new segment for {self._limits.idle_timeout_s:g} s",
                    place=self._stream.fetcher.place,
                )
            # RFC 8216, 6.3.4: a target duration, half of it where nothing was new.
            wait_s = playlist.target_s * (1.0 if ahead else 0.5)
            await asyncio.sleep(max(0.05, wait_s - (loop.time() - asked_s)))
            playlist = None

    def _ahead(self, playlist: MediaPlaylist) -> tuple[Segment, ...]:
        """Segments not read yet; tells of those that are gone."""
        segments = playlist.segments
        if not segments:
            return ()
        first, last = segments[0].number, segments[-1].number
        if self._next is None:
            return segments if playlist.ended else segments[-_EDGE_SEGMENTS:]
        if last + 1 < self._next - len(segments):
            # The server has begun to count anew.
            self._stream.tell("the playlist was restarted", number=first)
            return segments[-_EDGE_SEGMENTS:]
        if first > self._next:
            gone = first - self._next
            self._stream.tell(
                f"{gone} segments were gone before they could be read", missing_segments=gone
            )
        return tuple(segment for segment in segments if segment.number >= self._next)

    async def _fetch(self, segment: Segment) -> None:
        try:
            if segment.gap:
                raise MissingPartError("the server says that it is missing")
            data = await self._stream.get(segment.url, self._limits.max_segment_bytes, segment.part)
        except MissingPartError as error:
            self._missing += 1
            if self._missing >= _MAX_MISSING:
                raise
            self._stream.tell(
                f"segment {segment.number} is missing: {error}",
                missing_segments=1,
                seconds=segment.duration_s,
            )
            return
        self._missing = 0
        if segment.key is not None:
            key = await self._key(segment.key)
            iv = segment.key.iv or segment.number.to_bytes(16, "big")
            plain = await asyncio.to_thread(_decrypt, data, key, iv)
            if plain is None:
                raise self._malformed(f"segment {segment.number} cannot be decrypted")
            data = plain
        if data.lstrip(b"\xef\xbb\xbf").startswith(b"WEBVTT"):
            return
        init = b""
        if segment.init_url is not None:
            init = await self._init(segment.init_url, segment.init_part)
        kind = container_format(data)
        if kind is None:
            raise self._malformed(
                f"segment {segment.number} is neither MPEG-TS nor MP4 nor packed audio"
            )
        await self._queue.put(
            Piece(
                data,
                kind,
                segment.stretch,
                init,
                id3_start_s(data),
                segment.program_time_s,
                torn=is_torn(data, kind),
            )
        )

    async def _key(self, key: Key) -> bytes:
        known = self._keys.get(key.url)
        if known is None:
            known = await self._stream.get(key.url, 16)
            if len(known) != 16:
                raise self._malformed(f"a key must have 16 bytes, got {len(known)}")
            while len(self._keys) >= _MAX_KEYS:
                del self._keys[next(iter(self._keys))]
            self._keys[key.url] = known
        return known

    async def _init(self, url: str, part: ByteRange | None) -> bytes:
        known = self._inits.get((url, part))
        if known is None:
            known = await self._stream.get(url, 1 << 20, part)
            self._inits = {(url, part): known}
        return known

    def _malformed(self, message: str) -> MalformedStreamError:
        return MalformedStreamError(message, place=self._stream.fetcher.place)


def _decrypt(data: bytes, key: bytes, iv: bytes) -> bytes | None:
    """Decrypt AES-128 in CBC mode, and take the padding off; None where that is wrong."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.padding import PKCS7

    if not data or len(data) % 16:
        return None
    decryptor = Cipher(algorithms.AES128(key), modes.CBC(iv)).decryptor()
    unpadder = PKCS7(128).unpadder()
    try:
        plain = unpadder.update(decryptor.update(data) + decryptor.finalize())
        return plain + unpadder.finalize()
    except ValueError:
        return None


class _Decoding:
    """Decodes the pieces of one playlist, container after container."""

    def __init__(self, stream: _HlsStream, queue: PieceQueue, key: Any) -> None:
        self._stream = stream
        self._queue = queue
        self._key = key

    def run(self) -> None:
        stream = self._stream
        try:
            self._decode()
        finally:
            if not stream.pacer.stop.is_set():
                stream.tracks.finish(self._key)
        stream.decoded()

    def _decode(self) -> None:
        stream = self._stream
        position = Position()
        failures = 0
        failure: MalformedStreamError | None = None
        while not stream.pacer.stop.is_set():
            file = self._queue.next_run()
            if file is None:
                break
            before_s = position.end_s
            try:
                self._decode_one(file, position)
            except TooLargeError:
                raise
            except MalformedStreamError as error:
                # What follows this segment may be whole.
                failures += 1
                failure = error
                if failures >= _MAX_MISSING:
                    raise
                stream.tracks.damaged += 1
                stream.tell(str(error))
            if position.end_s > before_s:
                failures = 0
        if failure is not None and position.end_s == 0.0:
            raise failure  # there was nothing else

    def _decode_one(self, file: RunFile, position: Position) -> None:
        stream = self._stream
        piece = file.first
        run = Run(
            lambda: open_bytes(file, piece.format, stream.tracks.limits),
            key=self._key,
            stretch=piece.stretch,
            start_s=piece.start_s,
            program_time_s=piece.program_time_s,
        )
        decode_run(run, stream.tracks, stream.timeline, stream.pacer, position, drop=False)
