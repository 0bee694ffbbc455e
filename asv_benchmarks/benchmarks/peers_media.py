"""Media beside ffmpeg's own detectors, through PyAV's filter graph: both decode the same file.

Ours also finds loops, cuts, rhythm, levels and clipping in the same pass, and makes the events.
"""

from __future__ import annotations

from midstream.stream.media import media_spans

from ._timing import Peer
from .media import (
    AUDIO_S,
    DETECTORS,
    VIDEO_S,
    Presentation,
    audio_bytes,
    ours,
    skip_without_ffmpeg,
    theirs,
    video_bytes,
)


class _Media(Peer):
    kind = ""
    filters: tuple[tuple[str, str], ...] = ()

    def setup(self):
        skip_without_ffmpeg()
        data = video_bytes() if self.kind == "video" else audio_bytes()
        self.presentation = Presentation(data, VIDEO_S if self.kind == "video" else AUDIO_S)
        self.agree()

    def teardown(self):
        self.presentation.remove()

    def agree(self):
        """Both find the same, to two frames or 30 ms."""

    def ours(self):
        return ours(self.presentation.path)

    def peer(self):
        return theirs(self.presentation.segment, self.kind, *self.filters)


def _close(ours, theirs, tolerance):
    assert len(ours) == len(theirs)
    offsets = [their - our for our, their in zip(ours, theirs, strict=True)]
    # Theirs begin where the container does.
    assert max(offsets) - min(offsets) <= tolerance, offsets


class VideoDetectors(_Media):
    library = "ffmpeg blackdetect, freezedetect"
    kind = "video"
    filters = DETECTORS["video"]
    repeats = 5

    def agree(self):
        spans = media_spans(self.ours(), min_s=0.3)
        said = self.peer()
        black = [span for span in spans if span.kind == "black"]
        still = [span for span in spans if span.kind == "frozen"][:1]
        starts = [*(span.start_s for span in still), *(span.start_s for span in black)]
        _close(starts, [said["freezedetect.freeze_start"][0], *said["black_start"]], 2.1 / 30)


class AudioSilence(_Media):
    library = "ffmpeg silencedetect"
    kind = "audio"
    filters = DETECTORS["audio"]
    repeats = 5

    def agree(self):
        spans = [span for span in media_spans(self.ours()) if span.kind == "silence"]
        said = self.peer()
        _close([span.start_s for span in spans], said["silence_start"], 0.03)


class AudioSilenceAndLevels(AudioSilence):
    """With levels, as ours gives them."""

    library = "ffmpeg silencedetect, astats"
    filters = (*DETECTORS["audio"], ("astats", "metadata=1:reset=20"))
