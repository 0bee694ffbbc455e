"""What media sources look for, and how much they take from a peer."""

from __future__ import annotations

from dataclasses import dataclass

from midstream._core.errors import ArgumentTypeError
from midstream._core.validate import check_int, check_positive_fields, check_real

__all__ = ["MediaAnalysis", "MediaLimits", "check_settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaAnalysis:
    """Thresholds of what is measured in frames.

    Parameters
    ----------
    events_per_s : float, default 10.0
        Events of a track for each second of media, at most 100. Frames in between are summed up in
        the next event.
    silence_dbfs : float, default -50.0
        Level below which 10 milliseconds of audio are silent, in dB of full scale.
    silence_s : float, default 0.5
        Shortest silence that is listed as a change.
    black_level : float, default 0.1
        Luma below which a spot is black, in [0, 1] from black to white.
    black_share : float, default 0.98
        Share of spots that make a black frame.
    frozen_level : float, default 0.03
        Largest change of luma of any spot, in [0, 1], that may come from an encoder's noise: a
        picture whose spots all stay within it, and within a fifth of it on average, is the same
        picture.
    frozen_s : float, default 0.5
        Shortest standstill that is listed as a change.
    scene_level : float, default 0.12
        Mean change of luma from one frame to the next, in [0, 1], that makes a new scene.
    gap_factor : float, default 2.5
        Usual distances between frames that make a gap.
    loop_copies : int, default 3
        How often a segment must be shown in a row to be a loop.
    max_loop_frames : int, default 900
        Longest segment looked for, in frames.
    min_loop_frames : int, default 6
        Shortest one: below, it is a flicker.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        A value is of the wrong type or out of range.

    Notes
    -----
    A spot is one of 64 x 36 parts of the picture, and its luma the mean over that part: noise of
    single pixels cancels out. Colour is not looked at.

    Examples
    --------
    >>> MediaAnalysis(silence_dbfs=-60).silence_dbfs
    -60.0
    """

    events_per_s: float = 10.0
    silence_dbfs: float = -50.0
    silence_s: float = 0.5
    black_level: float = 0.1
    black_share: float = 0.98
    frozen_level: float = 0.03
    frozen_s: float = 0.5
    scene_level: float = 0.12
    gap_factor: float = 2.5
    loop_copies: int = 3
    max_loop_frames: int = 900
    min_loop_frames: int = 6

    def __post_init__(self) -> None:
        for name, low, high in _REALS:
            object.__setattr__(
                self, name, check_real(name, getattr(self, name), low=low, high=high)
            )
        check_int("loop_copies", self.loop_copies, low=2, high=1000)
        check_int("max_loop_frames", self.max_loop_frames, low=2, high=1 << 14)
        check_int("min_loop_frames", self.min_loop_frames, low=2, high=self.max_loop_frames)


_REALS: tuple[tuple[str, float, float], ...] = (
    ("events_per_s", 0.1, 100.0),
    ("silence_dbfs", -120.0, 0.0),
    ("silence_s", 0.02, 3600.0),
    ("black_level", 0.0, 1.0),
    ("black_share", 0.01, 1.0),
    ("frozen_level", 0.0, 1.0),
    ("frozen_s", 0.0, 3600.0),
    ("scene_level", 0.0, 1.0),
    ("gap_factor", 1.1, 1000.0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaLimits:
    """How much a media source takes from a peer before it says no.

    Parameters
    ----------
    max_pixels : int, default 8_912_896
        Largest picture, width times height: 4096 x 2176 by default. Larger ones are refused before
        they are decoded.
    max_tracks : int, default 8
        Audio and video tracks that are looked at.
    max_pending_events : int, default 256
        Events that may wait for the reader. Files wait for it then; in a live stream the next
        event covers a longer time.
    max_lag_s : float, default 2.0
        How far decoding may fall behind a live stream before video frames are dropped, and counted.
    max_errors : int, default 100
        Damaged packets in a row that end the stream; fewer are counted.
    idle_timeout_s : float, default 20.0
        Longest silence of the peer, in seconds.
    connect_timeout_s : float, default 10.0
        Limit for connecting, in seconds.
    max_playlist_bytes, max_playlist_segments : int, default 2 MiB, 20_000
        Largest HLS manifest, and most segments in it.
    max_segment_bytes : int, default 64 MiB
        Largest HLS segment.
    max_buffer_bytes : int, default 96 MiB
        Encoded media that may wait to be decoded.
    max_message_chars : int, default 65536
        Longest message of a data channel; longer ones are cut, and the event says so.
    max_messages_per_s : float, default 1000.0
        Messages of all data channels; those above are dropped, and counted.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        A value is of the wrong type or out of range.

    Examples
    --------
    >>> MediaLimits(max_pixels=1280 * 720).max_pixels
    921600
    """

    max_pixels: int = 4096 * 2176
    max_tracks: int = 8
    max_pending_events: int = 256
    max_lag_s: float = 2.0
    max_errors: int = 100
    idle_timeout_s: float = 20.0
    connect_timeout_s: float = 10.0
    max_playlist_bytes: int = 2 << 20
    max_playlist_segments: int = 20_000
    max_segment_bytes: int = 64 << 20
    max_buffer_bytes: int = 96 << 20
    max_message_chars: int = 1 << 16
    max_messages_per_s: float = 1000.0

    def __post_init__(self) -> None:
        check_positive_fields(self, high=1e9)


def check_settings(
    analysis: MediaAnalysis | None, limits: MediaLimits | None
) -> tuple[MediaAnalysis, MediaLimits]:
    """Return both, with defaults.

    Raises
    ------
    ArgumentTypeError
        One is of another type.
    """
    analysis = MediaAnalysis() if analysis is None else analysis
    limits = MediaLimits() if limits is None else limits
    if not isinstance(analysis, MediaAnalysis):
        raise ArgumentTypeError(f"analysis must be MediaAnalysis, got {type(analysis).__name__}")
    if not isinstance(limits, MediaLimits):
        raise ArgumentTypeError(f"limits must be MediaLimits, got {type(limits).__name__}")
    return analysis, limits
