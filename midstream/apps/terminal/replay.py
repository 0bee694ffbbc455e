"""A recording as frames of the feed's format, and the state at any place of it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from midstream._core.errors import RecordingError
from midstream.apps.feed import apply
from midstream.apps.feed.states import Fields, copy_state

__all__ = ["SPEEDS", "Replay"]


#: How fast a recording can be played.
SPEEDS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
#: Frames from one kept state to the next.
_KEY_EVERY = 128


class Replay:
    """A recording that can be looked at anywhere.

    Parameters
    ----------
    lines : sequence of dict
        What `midstream.apps.feed.replays.frames_of` yields.

    Attributes
    ----------
    told : dict
        What the recording is: its first line.
    state : dict
        That of a feed, as it is at `position`. Not to be changed.
    position : int
        Frames gone through, from 0 to ``len(replay)``.
    time_s : float
        Of the recording.
    playing : bool
    speed : float

    Raises
    ------
    RecordingError
        The lines are no recording.

    Notes
    -----
    To go on costs some ten microseconds a frame; to go anywhere at most 128 of them, for which
    a state is kept each 128 frames, some hundred KiB for a recording of a thousand.

    Examples
    --------
    >>> from midstream.apps.feed.replays import frames_of
    >>> from midstream.stream import shipped_recordings
    >>> from midstream.stream.recording import read_recording
    >>> recording = read_recording(shipped_recordings()["loop-02"])
    >>> replay = Replay(list(frames_of(recording, "loop-02")))
    >>> replay.finding(1), replay.stream["findings"][0]["kind"]
    (True, 'loop')
    >>> replay.seek(0)
    >>> replay.stream is None
    True
    """

    def __init__(self, lines: Sequence[Fields]) -> None:
        if len(lines) < 2 or lines[0].get("type") != "recording":
            raise RecordingError("no frames came")
        self.told = lines[0]
        self._frames = lines[1:]
        self._times = [frame["t_s"] for frame in self._frames]
        places = [frame["at"] for frame in self._frames]
        #: Of each finding, the frame that it is in.
        self.places = [bisect_left(places, mark["at"]) for mark in self.told["marks"]]
        self.position = 0
        self.time_s = 0.0
        self.playing = False
        self.speed = 1.0
        self.state: Fields = copy_state(self._frames[0])
        self._kept = {0: copy_state(self.state)}

    def __len__(self) -> int:
        return len(self._frames) - 1

    @property
    def duration_s(self) -> float:
        """Of the recording."""
        return float(self.told["duration_s"])

    @property
    def stream(self) -> Fields | None:
        """The recorded stream; None before its first event."""
        return next(iter(self.state["streams"].values()), None)

    @property
    def at(self) -> int:
        """Events gone through."""
        return int(self._frames[self.position]["at"])

    @property
    def ended(self) -> bool:
        """Whether nothing comes any more."""
        return self.position >= len(self)

    def seek(self, position: int) -> None:
        """Go to where so many frames are applied."""
        to = max(0, min(len(self), position))
        at = self.position
        key = to - to % _KEY_EVERY
        while key not in self._kept:
            key -= _KEY_EVERY
        if to < at or key > at:
            at, self.state = key, copy_state(self._kept[key])
        while at < to:
            at += 1
            apply(self.state, self._frames[at])
            if at % _KEY_EVERY == 0 and at not in self._kept:
                self._kept[at] = copy_state(self.state)
        self.position = to
        self.time_s = self._times[to] if to else 0.0

    def seek_time(self, t_s: float) -> None:
        """Go to a time of the recording."""
        t_s = max(0.0, min(self.duration_s, t_s))
        # The first frame is the snapshot, before everything.
        self.seek(bisect_right(self._times, t_s, lo=1) - 1)
        self.time_s = t_s

    def step(self, by: int) -> None:
        """Go so many frames on, or back."""
        self.seek(self.position + by)

    def finding(self, by: int) -> bool:
        """Go to where the next finding is, or the one before; whether there is one."""
        if by > 0:
            there = [place for place in self.places if place > self.position][:1]
        else:
            there = [place for place in self.places if place < self.position][-1:]
        if there:
            self.seek(there[0])
        return bool(there)

    def go(self, number: int) -> None:
        """Go to the finding of that number, if it is not there yet."""
        if 0 <= number < len(self.places) and self.places[number] > self.position:
            self.seek(self.places[number])

    def play(self) -> None:
        """Go on by itself; from the start, where it is at the end."""
        if self.ended:
            self.seek(0)
        self.playing = True

    def faster(self, by: int) -> None:
        """Take another of `SPEEDS`."""
        at = bisect_left(SPEEDS, self.speed) + by
        self.speed = SPEEDS[max(0, min(len(SPEEDS) - 1, at))]

    def let_pass(self, elapsed_s: float) -> None:
        """Go on by so many seconds of the clock on the wall, at its speed."""
        t_s = self.time_s + elapsed_s * self.speed
        self.seek_time(t_s)
        if t_s >= self.duration_s:
            self.seek(len(self))
            self.playing = False
