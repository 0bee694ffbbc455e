"""Transcription that works offline: PocketSphinx, with the English model in its wheel."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_real
from midstream.stream.media.extra import library
from midstream.stream.media.interfaces import Word

__all__ = ["SphinxTranscriber"]

#: Frames a second of PocketSphinx's times.
_FRAMES_PER_S = 100
#: Samples may be missing up to this many seconds before times are counted anew.
_GAP_S = 0.2
_WORD = re.compile(r"[a-z][a-z'.-]*")
#: What stands in a result and is no word: silence, noise, begin and end.
_NO_WORD = ("<", "[", "+")
_MAX_WORDS = 10_000


class SphinxTranscriber:
    """English speech to words, offline, with PocketSphinx.

    Parameters
    ----------
    words : sequence of str, optional
        The only words that can be said, in any order: commands, digits, names of a topic. By
        default any English is expected.
    max_utterance_s : float, default 10.0
        Seconds after which words are told though nobody paused.

    Attributes
    ----------
    sample_rate_hz : int
        16,000.

    Raises
    ------
    ModuleNotFoundError
        PocketSphinx is not installed: ``pip install "midstream[speech]"``.
    ArgumentTypeError, ArgumentValueError
        An argument cannot be used; a word is not in the dictionary.

    Notes
    -----
    Words are told when their utterance is over: after a pause of 0.3 s or so. Of free English
    expect some words to be wrong, of synthetic voices many; with `words` few are. How sure it is
    of a word is not told. One transcriber
    belongs to one stream. Half a second to load; a tenth to a fifth of a core. Not thread-safe.

    Examples
    --------
    >>> transcriber = SphinxTranscriber(words=["one", "two"])  # doctest: +SKIP
    >>> SphinxTranscriber.sample_rate_hz
    16000
    """

    sample_rate_hz = 16_000

    def __init__(
        self, *, words: Sequence[str] | None = None, max_utterance_s: float = 10.0
    ) -> None:
        sphinx = library("pocketsphinx", "SphinxTranscriber", '"midstream[speech]"')
        self._max_s = check_real("max_utterance_s", max_utterance_s, low=1.0, high=60.0)
        options: dict[str, Any] = {"samprate": self.sample_rate_hz, "loglevel": "FATAL"}
        if words is not None:
            options["lm"] = None
        self._decoder = sphinx.Decoder(**options)
        if words is not None:
            self._expect(words)
        self._endpointer = sphinx.Endpointer(sample_rate=self.sample_rate_hz)
        self._frame = self._endpointer.frame_bytes // 2
        self._left = np.zeros(0, dtype=np.int16)
        self._base_s: float | None = None
        self._count = 0  # samples since then that the endpointer has seen
        self._spoken = 0  # samples in the open utterance
        self._open = False
        self._open_s = 0.0

    def take(self, samples: npt.NDArray[np.int16], pts_s: float) -> list[Word]:
        """Take the next samples.

        Parameters
        ----------
        samples : (n,) array of int16
        pts_s : float
            Time of the first, in seconds.

        Returns
        -------
        list of Word
            Of utterances that ended.
        """
        words: list[Word] = []
        now_s = self._now_s + len(self._left) / self.sample_rate_hz
        if self._base_s is None or abs(pts_s - now_s) > _GAP_S:
            words += self.finish()
            self._base_s, self._count = pts_s, 0
        data = np.concatenate((self._left, np.ascontiguousarray(samples, dtype=np.int16)))
        whole = len(data) // self._frame * self._frame
        for begin in range(0, whole, self._frame):
            words += self._take_frame(data[begin : begin + self._frame].tobytes())
        self._left = data[whole:]
        return words

    def finish(self) -> list[Word]:
        """Words of the utterance that is open."""
        self._left = self._left[:0]
        return self._close() if self._open else []

    @property
    def _now_s(self) -> float:
        return (self._base_s or 0.0) + self._count / self.sample_rate_hz

    def _take_frame(self, frame: bytes) -> list[Word]:
        was_in_speech = self._endpointer.in_speech
        speech = self._endpointer.process(frame)
        self._count += self._frame
        if speech is None:
            # Closed by length, and then by the pause itself.
            return self._close() if self._open and not self._endpointer.in_speech else []
        if not self._open:
            self._open, self._spoken = True, 0
            # What it hands out first began a window ago.
            if was_in_speech:
                self._open_s = self._now_s - self._frame / self.sample_rate_hz
            else:
                self._open_s = (self._base_s or 0.0) + self._endpointer.speech_start
            self._decoder.start_utt()
        self._decoder.process_raw(speech)
        self._spoken += len(speech) // 2
        if not self._endpointer.in_speech or self._spoken > self._max_s * self.sample_rate_hz:
            return self._close()
        return []

    def _close(self) -> list[Word]:
        """End the utterance; its words."""
        self._open = False
        self._decoder.end_utt()
        words = []
        for part in self._decoder.seg() or ():
            if part.word.startswith(_NO_WORD):
                continue
            words.append(
                Word(
                    part.word.partition("(")[0],
                    round(self._open_s + part.start_frame / _FRAMES_PER_S, 2),
                    round(self._open_s + (part.end_frame + 1) / _FRAMES_PER_S, 2),
                )
            )
        return words

    def _expect(self, words: Sequence[str]) -> None:
        """Take these words, in any order, and no others."""
        if isinstance(words, str):
            raise ArgumentTypeError("words must be a sequence of str, got str")
        known = [str(word).lower() for word in words]
        if not known or len(known) > _MAX_WORDS:
            raise ArgumentValueError(f"words must be 1 to {_MAX_WORDS}, got {len(known)}")
        for word in known:
            # Nothing that the grammar would understand otherwise.
            if not _WORD.fullmatch(word) or self._decoder.lookup_word(word) is None:
                raise ArgumentValueError(f"words has {word!r}, which is not in the dictionary")
        choice = " | ".join(known)
        grammar = f"#JSGF V1.0; grammar words; public <said> = ({choice})+;"
        self._decoder.add_jsgf_string("words", grammar)
        self._decoder.activate_search("words")
