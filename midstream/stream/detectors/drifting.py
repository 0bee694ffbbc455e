"""Drift of a text away from what texts of its kind look like."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_choice, check_int, check_real
from midstream.compare import Spring
from midstream.stream._segments import FEATURES, Segmenter
from midstream.stream.detectors.protocol import ACTIONS
from midstream.stream.detectors.texts import TextFollower, check_kinds
from midstream.stream.events import Event, Finding, Kind, Severity

__all__ = ["DriftDetector", "DriftTemplate"]

Floats = npt.NDArray[np.float64]
#: What is looked at unless told otherwise.
_TEXT: tuple[Kind, ...] = ("text",)


@dataclass(frozen=True, eq=False)
class DriftTemplate:
    """What texts of one kind look like, segment by segment: made by `learn`.

    Parameters
    ----------
    references : (n, d) float64 ndarray
        Features of the references' segments in units of their spread, one reference behind the
        other, a row of 1e3 between two.
    mean, scale : (d,) float64 ndarray
        Of each feature over all references.
    vocabulary : bytes
        Words that occur, as 65,536 bits by their hash.
    threshold : float
        Distance beyond which a window is like none of the references.
    size, window, patience : int
        As of `learn`.
    rate : bool
        Whether the pace of the stream counts.

    Notes
    -----
    Features of a segment: share of words that are new (`novelty`), of words that differ
    (`variety`), of words that no reference has (`unfamiliarity`); letters a word; words a sentence
    (logarithm); shares of punctuation, of brackets and the like, of numbers, of line ends and of
    capitals; with `rate`, the logarithm of tokens a second. Immutable: threads may share it.
    """

    references: Floats = field(repr=False)
    mean: Floats = field(repr=False)
    scale: Floats = field(repr=False)
    vocabulary: bytes = field(repr=False)
    threshold: float
    size: int
    window: int
    patience: int
    rate: bool = False

    @classmethod
    def learn(
        cls,
        streams: Iterable[str | Iterable[Event]],
        *,
        size: int = 32,
        window: int = 4,
        patience: int = 3,
        tolerance: float = 0.1,
        margin: float = 1.25,
        kinds: Collection[Kind] = _TEXT,
        rate: bool = False,
    ) -> Self:
        """Learn from texts, or recorded streams, that are as they should be.

        Parameters
        ----------
        streams : iterable of str or of iterables of Event
            At least two, together at least ``2 * window`` segments; ten or more are better.
        size : int, default 32
            Tokens of a segment.
        window : int, default 4
            Segments that are compared at a time.
        patience : int, default 3
            Windows in a row that must be beyond the threshold.
        tolerance : float, default 0.1
            Share of the references that may themselves be beyond it, each compared with the others:
            those that are odd.
        margin : float, default 1.25
            Factor by which the threshold is above what that gives.
        kinds : collection of str, default ("text",)
            Kinds of event whose text counts, where streams are of events.
        rate : bool, default False
            Count the pace too. Times depend on how the stream was cut, and so do findings then.

        Returns
        -------
        DriftTemplate

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            Too little text, texts without times for `rate`, or an argument out of range.

        Notes
        -----
        A window's distance is that of dynamic time warping to the most similar stretch of any
        reference, per segment and feature. 30 microseconds for a thousand segments of references.

        Examples
        --------
        >>> from midstream.stream import DriftTemplate
        >>> recipes = [
        ...     f"Take {n} cups of flour. Add {n + 1} eggs and stir. Bake for {n}0 minutes. " * 20
        ...     for n in range(2, 8)
        ... ]
        >>> template = DriftTemplate.learn(recipes)
        >>> template.mean.shape
        (10,)
        """
        size = check_int("size", size, low=4, high=1 << 16)
        window = check_int("window", window, low=1, high=1 << 10)
        patience = check_int("patience", patience, low=1, high=1 << 10)
        tolerance = check_real("tolerance", tolerance, low=0, high=0.5)
        margin = check_real("margin", margin, low=0.1, high=100)
        texts = _texts_of(streams, check_kinds(kinds), rate)
        if len(texts) < 2:
            raise ArgumentValueError(f"streams must be at least two with text, got {len(texts)}")
        words = [_words_of(text, size) for text in texts]
        tables = []
        for index, text in enumerate(texts):
            # Words of its own make no reference familiar.
            others = _joined(words[:index] + words[index + 1 :])
            reader = _Reader(size, others, rate)
            rows = [row for piece, t_ns in text for _, _, row in reader.feed(piece, t_ns)]
            if rows:
                tables.append(np.array(rows))
        every = np.concatenate(tables) if tables else np.empty((0, len(FEATURES)))
        if len(every) < 2 * window or len(tables) < 2:
            raise ArgumentValueError(
                f"streams must have {2 * window} segments of {size} tokens, got {len(every)}"
            )
        mean = every.mean(axis=0)
        scale = np.maximum(every.std(axis=0), 0.01 + 0.05 * np.abs(mean))
        scaled = [_scaled(table, mean, scale) for table in tables]
        peaks = []
        for index, table in enumerate(scaled):
            rest = _stacked(scaled[:index] + scaled[index + 1 :])
            scores = [
                _distance(table[k : k + window], rest) for k in range(len(table) - window + 1)
            ]
            lasting = [min(scores[k : k + patience]) for k in range(len(scores) - patience + 1)]
            if lasting or scores:
                peaks.append(max(lasting) if lasting else min(scores))
        if not peaks:
            raise ArgumentValueError(
                f"streams must be longer than window={window} segments of {size} tokens each"
            )
        threshold = float(np.quantile(peaks, 1 - tolerance)) * margin
        return cls(
            _stacked(scaled),
            mean,
            scale,
            _joined(words),
            max(threshold, 0.05),
            size,
            window,
            patience,
            rate,
        )

    def distance(self, rows: Floats) -> float:
        """Distance of a window to the stretch of a reference that is most like it.

        Parameters
        ----------
        rows : (n, d) ndarray
            Features of segments, as they are measured.

        Returns
        -------
        float
            Root mean square, in units of the features' spread.
        """
        return _distance(_scaled(rows, self.mean, self.scale), self.references)

    def to_bytes(self) -> bytes:
        """All of it, for a file: JSON."""
        body = {
            "format": _FORMAT,
            "references": self.references.tolist(),
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
            "vocabulary": base64.b64encode(self.vocabulary).decode("ascii"),
            "threshold": self.threshold,
            "size": self.size,
            "window": self.window,
            "patience": self.patience,
            "rate": self.rate,
        }
        return json.dumps(body, separators=(",", ":")).encode("ascii")

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """What `to_bytes` gave.

        Raises
        ------
        ArgumentValueError
            `data` is nothing of the kind.
        """
        try:
            body = json.loads(data)
            if body.pop("format") != _FORMAT:
                raise ValueError("another format")
            vocabulary = base64.b64decode(body.pop("vocabulary"), validate=True)
            references, mean, scale = (
                np.array(body.pop(name), dtype=np.float64)
                for name in ("references", "mean", "scale")
            )
            template = cls(references, mean, scale, vocabulary, **body)
            d = len(FEATURES) + bool(template.rate)
            shapes = template.references.shape[1:], template.mean.shape, template.scale.shape
            if shapes != ((d,), (d,), (d,)) or not math.isfinite(template.threshold):
                raise ValueError("its parts do not fit")
            Segmenter(size=check_int("size", template.size, low=1), familiar=vocabulary)
            check_int("window", template.window, low=1)
            check_int("patience", template.patience, low=1)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ArgumentValueError(f"data is no template of drift: {error}") from None
        return template


class DriftDetector(TextFollower["_Text"]):
    """Find where a text stops looking like those of a template.

    Parameters
    ----------
    template : DriftTemplate, or iterable of str or of iterables of Event
        What it should look like; anything else is learned from by `DriftTemplate.learn`.
    action : {"warn", "stop", "note"}, default "warn"
        Severity of a finding.
    threshold : float, optional
        Distance beyond which a window drifts; by default the template's.
    kinds : collection of str, default ("text",)
        Kinds of event whose text is looked at, each text on its own.
    max_texts : int, default 16
        Texts that are followed at once; the one longest without news is forgotten.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument is of the wrong type or out of range.

    Notes
    -----
    Told once `patience` windows in a row are beyond the template's threshold, and again only after
    as many were not. Findings depend on the text alone, as long as the template counts no pace.

    0.1 microseconds a token, and 30 to 60 where a segment ends: it is `costly`, so that `watch`
    lets a scheduler do it. Not thread-safe: one detector, one stream.

    Examples
    --------
    >>> from midstream.stream import DriftDetector, Event
    >>> recipes = [
    ...     f"Take {n} cups of flour. Add {n + 1} eggs and stir. Bake for {n}0 minutes. " * 20
    ...     for n in range(2, 8)
    ... ]
    >>> detector = DriftDetector(recipes)
    >>> text = recipes[0] + "THE MARKET (NASDAQ: XYZ) FELL {3.1} % -- [SELL] -- " * 20
    >>> [(f.kind, f.severity, f.start) for f in detector.observe(Event("text", 0, 0, text))]
    [('drift', 'warn', 1204)]
    """

    #: Whether `watch` should let a scheduler run it beside the stream.
    costly = True
    label = "drift"

    def __init__(
        self,
        template: DriftTemplate | Iterable[str | Iterable[Event]],
        action: Severity = "warn",
        *,
        threshold: float | None = None,
        kinds: Collection[Kind] = _TEXT,
        max_texts: int = 16,
    ) -> None:
        self.action: Severity = check_choice("action", action, ACTIONS)
        super().__init__(kinds, max_texts)
        if not isinstance(template, DriftTemplate):
            if isinstance(template, str) or not isinstance(template, Iterable):
                raise ArgumentTypeError(
                    "template must be a DriftTemplate, or texts or streams to learn one from, got "
                    f"{type(template).__name__}"
                )
            template = DriftTemplate.learn(template, kinds=kinds)
        self.template = template
        if threshold is not None:
            threshold = check_real("threshold", threshold, low=0)
        self.threshold = template.threshold if threshold is None else threshold
        #: Segments that were compared.
        self.n_segments = 0

    @property
    def memory_bytes(self) -> int:
        """Bytes held for its texts; the template is not counted."""
        return sum(text.reader.memory_bytes for text in self._texts.values())

    def observe(self, event: Event, gap_ns: int = 0) -> Sequence[Finding]:
        """Take the next event.

        Parameters
        ----------
        event : Event
        gap_ns : int
            Not used.

        Returns
        -------
        sequence of Finding
        """
        if not event.text or event.kind not in self._kinds:
            return ()
        key = event.kind, event.stream_id
        text = self._text_of(key)
        found = []
        for start, end, row in text.reader.feed(event.text, event.t_ns):
            finding = self._judge(text, key, start, end, row, event)
            if finding is not None:
                found.append(finding)
        return found

    def _new_text(self) -> _Text:
        template = self.template
        return _Text(_Reader(template.size, template.vocabulary, template.rate))

    def _judge(
        self,
        text: _Text,
        key: tuple[Kind, str],
        start: int,
        end: int,
        row: Sequence[float],
        event: Event,
    ) -> Finding | None:
        template = self.template
        self.n_segments += 1
        text.n_tokens += template.size
        text.rows.append((start, row))
        if len(text.rows) < template.window:
            return None
        if len(text.rows) > template.window:
            del text.rows[0]
        rows = np.array([row for _, row in text.rows])
        distance = template.distance(rows)
        beyond = distance > self.threshold
        if beyond == text.told:
            text.streak = 0
            return None
        if text.streak == 0 and beyond:
            text.since = start
        text.streak += 1
        if text.streak < template.patience:
            return None
        text.streak = 0
        text.told = beyond
        if not beyond:
            return None
        return self._finding(text, key, end, rows, distance, event)

    def _finding(
        self,
        text: _Text,
        key: tuple[Kind, str],
        end: int,
        rows: Floats,
        distance: float,
        event: Event,
    ) -> Finding:
        template = self.template
        names = (*FEATURES, "rate")
        away = _scaled(rows, template.mean, template.scale).mean(axis=0)
        order = np.argsort(-np.abs(away), kind="stable")[:3]
        odd = {names[i]: round(float(away[i]), 2) for i in order}
        said = ", ".join(f"{name} {value:+.1f}" for name, value in odd.items())
        kind, stream_id = key
        return Finding(
            "drift",
            self.action,
            event.seq,
            event.t_ns,
            text.since,
            end,
            f"the {kind} is unlike its template since character {text.since}: distance "
            f"{distance:.2f}, usual are up to {self.threshold:.2f} ({said})",
            {
                "distance": distance,
                "threshold": self.threshold,
                "features": odd,
                "channel": kind,
                "stream_id": stream_id,
                "tokens": text.n_tokens,
            },
        )


class _Text:
    """One text: its newest segments, and how long they have been on the other side."""

    __slots__ = ("n_tokens", "reader", "rows", "since", "streak", "told")

    def __init__(self, reader: _Reader) -> None:
        self.reader = reader
        self.n_tokens = 0
        self.rows: list[tuple[int, Sequence[float]]] = []
        self.streak = 0
        self.since = 0
        self.told = False

    def skip(self, n_chars: int) -> None:
        self.reader.skip(n_chars)
        self.rows.clear()
        self.streak = 0


class _Reader:
    """Segments of a text with their features, the pace among them where it counts."""

    __slots__ = ("_last_ns", "_rate", "_segments", "_size")

    def __init__(self, size: int, vocabulary: bytes, rate: bool) -> None:
        self._segments = Segmenter(size=size, familiar=vocabulary)
        self._size = size
        self._rate = rate
        self._last_ns = -1

    @property
    def memory_bytes(self) -> int:
        return self._segments.memory_bytes

    def skip(self, n_chars: int) -> None:
        self._segments.skip(n_chars)
        self._last_ns = -1

    def feed(self, text: str, t_ns: int) -> list[tuple[int, int, Sequence[float]]]:
        """Start, end and features of each segment that is whole."""
        if self._last_ns < 0:
            self._last_ns = t_ns
        segments = self._segments.feed(text)
        if not segments:
            return []
        if not self._rate:
            return [(start, end, row) for start, end, _, row in segments]
        seconds = max(t_ns - self._last_ns, 1_000_000) / 1e9 / len(segments)
        self._last_ns = t_ns
        rate = math.log2(self._size / seconds)
        return [(start, end, (*row, rate)) for start, end, _, row in segments]


def _scaled(rows: Floats, mean: Floats, scale: Floats) -> Floats:
    scaled: Floats = np.clip((rows - mean) / scale, -_FAR, _FAR)
    return scaled


def _stacked(tables: Sequence[Floats]) -> Floats:
    """Tables one behind the other, with a row between that no path crosses for less than it all."""
    between = np.full((1, tables[0].shape[1]), _BETWEEN)
    return np.concatenate([part for table in tables for part in (table, between)])


def _distance(rows: Floats, references: Floats) -> float:
    spring = Spring(rows, math.inf)
    spring.feed(references)
    spring.finish()
    best = spring.best
    return math.inf if best is None else best.distance / math.sqrt(rows.size)


def _words_of(text: list[tuple[str, int]], size: int) -> bytes:
    segments = Segmenter(size=size, collect=True)
    for piece, _ in text:
        segments.feed(piece)
    segments.finish()
    return segments.vocabulary or b""


def _joined(vocabularies: Sequence[bytes]) -> bytes:
    bits = np.zeros(len(vocabularies[0]), dtype=np.uint8)
    for vocabulary in vocabularies:
        bits |= np.frombuffer(vocabulary, dtype=np.uint8)
    return bits.tobytes()


def _texts_of(streams: Any, kinds: frozenset[Kind], rate: bool) -> list[list[tuple[str, int]]]:
    """Every text of the streams, as pieces with their times."""
    if isinstance(streams, str) or not isinstance(streams, Iterable):
        raise ArgumentTypeError(
            f"streams must be an iterable of texts or streams, got {type(streams).__name__}"
        )
    texts: list[list[tuple[str, int]]] = []
    for index, stream in enumerate(streams):
        if isinstance(stream, str):
            if rate:
                raise ArgumentValueError(f"streams[{index}] has no times for rate: it is a text")
            texts.append([(stream, 0)])
            continue
        if not isinstance(stream, Iterable):
            raise ArgumentTypeError(
                f"streams[{index}] must be str or events, got {type(stream).__name__}"
            )
        found: dict[tuple[Kind, str], list[tuple[str, int]]] = {}
        for event in stream:
            if not isinstance(event, Event):
                raise ArgumentTypeError(
                    f"streams[{index}] must hold events, got {type(event).__name__}"
                )
            if event.text and event.kind in kinds:
                found.setdefault((event.kind, event.stream_id), []).append((event.text, event.t_ns))
        texts += found.values()
    return texts


_FORMAT = "midstream.drift_template.1"
#: Farther than this is all the same: an odd segment is not to hide the others.
_FAR = 6.0
_BETWEEN = 1e3
