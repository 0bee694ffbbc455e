"""`Agent`: all that is kept of one client, and what can be asked of it."""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from midstream._core.validate import check_int, check_real
from midstream.apps import conversation as talk
from midstream.apps.answers import (
    Analysis,
    Behavior,
    Comparison,
    LearnedPattern,
    LevelKnowledge,
    MetaLearning,
    PatternMatches,
    Processed,
    Status,
)
from midstream.apps.conversation import Message, read_message
from midstream.apps.sequences import (
    Elements,
    as_elements,
    compare_sequences,
    find_pattern,
    words_of,
)
from midstream.attractor import classify, lyapunov
from midstream.compare import Comparator, RunDetector
from midstream.errors import ArgumentTypeError, ArgumentValueError
from midstream.meta import Drift, Levels, MetaKnowledge, Symbols
from midstream.stream import Event, Finding, LoopDetector, ToolLoopDetector

__all__ = ["Agent"]

#: Messages that a new one is held against.
_LOOKED_BACK = 64
_MOST_FINDINGS = 100
_MOST_NAMES = 256
_MOST_CYCLE = 64
_ENOUGH = 100
_SHOWN = 200
_BEST = 10
_WORD_CHARS = 64
_CHAOTIC = ("strange", "hyperchaotic")
_STABLE = ("fixed_point", "limit_cycle", "torus")


class Agent:
    """What one client sent, and what it asks of it: messages, sequences, patterns, behaviour.

    Parameters
    ----------
    max_messages : int, default 1000
        Messages that are kept; the oldest is given up for one more. As many rewards.
    max_message_chars : int, default 200,000
        Characters of one message.
    max_chars : int, default 2,000,000
        Characters of all messages that are kept; the oldest are given up for more.
    max_elements : int, default 10,000
        Elements of a sequence, a pattern or a series that is given.
    max_comparisons : int, default 256
        Comparisons that are remembered.
    max_symbols : int, default 8192
        Words that `meta_learn` has in memory.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        A limit is no integer, or too small.

    Notes
    -----
    Every number in an answer is counted or measured, and its documentation says of what; where
    there is too little to go by, it is None, with a reason. There are no scores.

    A message of 20 words takes some 80 microseconds, one of 500 words 500. `analyze` takes some 40
    ms for 1000 messages of 20 words and 0.2 s for 2,000,000 characters, `compare` up to 20 ms and
    `behavior` up to 0.6 s for `max_elements`: servers call them off the event loop. Memory stays
    below some 3 times `max_chars` and 8 MB, whatever is sent.

    Thread-safe: what changes the state takes a lock, and what takes long works on a copy.

    Examples
    --------
    >>> agent = Agent()
    >>> for text in ["Where is my order?", "Let me look.", "Where is my order?"]:
    ...     processed = agent.process(text)
    >>> processed.number, processed.same_as, agent.analyze().duplicate_messages
    (2, 0, 1)
    >>> agent.compare("kitten", "sitting", metric="levenshtein", unit="characters").value
    3
    >>> agent.detect_pattern(["a", "b"], ["a", "b", "c", "a", "b"]).positions
    (0, 3)
    >>> agent.behavior([1.0, 2.0, 1.0]).reasons
    ('at least 100 samples are needed, got 3',)
    """

    def __init__(
        self,
        *,
        max_messages: int = 1000,
        max_message_chars: int = 200_000,
        max_chars: int = 2_000_000,
        max_elements: int = 10_000,
        max_comparisons: int = 256,
        max_symbols: int = 8192,
    ) -> None:
        self._limits = {
            "max_messages": check_int("max_messages", max_messages, low=1),
            "max_message_chars": check_int("max_message_chars", max_message_chars, low=1),
            "max_chars": check_int("max_chars", max_chars, low=1),
            "max_elements": check_int("max_elements", max_elements, low=1, high=1 << 20),
            "max_comparisons": check_int("max_comparisons", max_comparisons, low=0),
            "max_symbols": check_int("max_symbols", max_symbols, low=64, high=1 << 20),
        }
        self._comparator = Comparator(max_comparisons)
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        limits = self._limits
        self._messages: deque[Message] = deque()
        self._recent = talk.Recent(_LOOKED_BACK)
        self._by_text: dict[bytes, int] = {}
        self._count = 0
        self._chars = 0
        self._calls = 0
        self._runs = RunDetector(_MOST_CYCLE, 3)
        self._tools = ToolLoopDetector("warn")
        self._findings: deque[Finding] = deque(maxlen=_MOST_FINDINGS)
        self._by_kind: Counter[str] = Counter()
        self._rewards: deque[float] = deque(maxlen=limits["max_messages"])
        self._drift = Drift(scale="learned")
        # Made when first needed: not every client learns.
        self._levels: Levels | None = None
        self._symbols: Symbols | None = None

    # Messages.

    def process(self, message: str | Mapping[str, Any]) -> Processed:
        """Take a message into the conversation.

        Parameters
        ----------
        message : str or mapping
            A text; or a message as chat completions, Anthropic and others write it, with
            ``role``, ``content``, ``tool_calls`` and so on.

        Returns
        -------
        Processed
            What is known of it at once.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            Neither, or beyond a limit; nothing was taken then.
        """
        with self._lock:
            read = read_message(message, self._count, self._limits["max_message_chars"])
            return self._take(read)

    def _take(self, message: Message) -> Processed:
        words = words_of(message.text)
        digest = message.digest
        # Tool calls without a word are for the detector of tool loops.
        same = self._by_text.get(digest) if message.text.strip() else None
        nearest, nearest_distance, previous = self._recent.add(message.number, words)
        self._count += 1
        self._chars += message.chars
        self._calls += len(message.tools)
        self._messages.append(message.kept())
        self._by_text[digest] = message.number
        self._forget()
        found = self._look(message)
        self._runs.update(digest)
        return Processed(
            message.number,
            message.role,
            len(message.text),
            len(words),
            len(message.tools),
            message.results,
            same,
            nearest,
            nearest_distance,
            previous,
            talk.cycle_of(self._runs.run, 0),
            tuple(found),
            self._count - len(self._messages),
        )

    def _look(self, message: Message) -> list[Finding]:
        """Loops within its text, and of calls across messages."""
        found: list[Finding] = []
        if message.text:
            detector = LoopDetector("warn")
            found += detector.observe(Event("text", message.number, 0, message.text), 0)
            found += detector.finish()
        for event in message.events:
            if event.kind == "text":
                self._tools.recall([event])  # who asks again is to be answered again
            else:
                found += self._tools.observe(event)
        if message.events:
            found += self._tools.finish()  # what is not JSON is complete, too
        self._findings += found
        self._by_kind.update(finding.kind for finding in found)
        return found

    def _forget(self) -> None:
        limits = self._limits
        while len(self._messages) > limits["max_messages"] or (
            self._chars > limits["max_chars"] and len(self._messages) > 1
        ):
            oldest = self._messages.popleft()
            self._chars -= oldest.chars
            if self._by_text.get(oldest.digest) == oldest.number:
                del self._by_text[oldest.digest]

    def analyze(self, messages: Iterable[str | Mapping[str, Any]] | None = None) -> Analysis:
        """Say what a conversation holds.

        Parameters
        ----------
        messages : iterable of str or mapping, optional
            Another conversation, which is not kept; by default the messages that were processed.

        Returns
        -------
        Analysis
            Of no messages, one of zeros.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            Messages are no iterable of texts and mappings, or beyond a limit.
        """
        if messages is not None:
            return self._other(messages).analyze()
        with self._lock:
            kept = list(self._messages)
            findings = tuple(self._findings)
            n_findings = sum(self._by_kind.values())
            cycle = talk.cycle_of(self._runs.run, 0)
        words = talk.split_words(kept)
        turn_words = tuple(map(len, words))
        apart = talk.distances(words)
        duplicates, n_duplicates = talk.duplicates(kept)
        near, n_near, compared = talk.near_repeats(kept, words)
        tools = Counter(name for message in kept for name in message.tools)
        return Analysis(
            messages=len(kept),
            first=kept[0].number if kept else 0,
            roles=talk.roles(kept),
            tools=dict(tools.most_common(_MOST_NAMES)),
            chars=sum(len(message.text) for message in kept),
            words=sum(turn_words),
            distinct_words=len({word for each in words for word in each}),
            turn_words=turn_words,
            turn_length=talk.summary(turn_words),
            turn_distances=apart,
            turn_distance=talk.summary([d for d in apart if d is not None]),
            duplicates=duplicates,
            duplicate_messages=n_duplicates,
            near_repeats=near,
            near_pairs=n_near,
            near_compared=compared,
            phrases=talk.phrases(kept, words),
            cycle=cycle,
            findings=findings,
            n_findings=n_findings,
        )

    def _other(self, messages: Iterable[str | Mapping[str, Any]]) -> Agent:
        """An agent of the same limits that has processed these."""
        if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Iterable):
            raise ArgumentTypeError(
                f"messages must be a list of texts or mappings, got {type(messages).__name__}"
            )
        most = self._limits["max_messages"]
        other = Agent(**self._limits)
        for number, message in enumerate(messages):
            if number >= most:
                raise ArgumentValueError(f"messages must be at most {most:,}")
            try:
                other.process(message)
            except (ArgumentTypeError, ArgumentValueError) as error:
                raise type(error)(f"messages[{number}]: {error}") from None
        return other

    # Sequences.

    def compare(
        self,
        first: Any,
        second: Any,
        *,
        metric: str = "dtw",
        unit: str = "words",
        **params: Any,
    ) -> Comparison:
        """Compare two sequences.

        Parameters
        ----------
        first, second : str, sequence or array
            Texts, lists of numbers, of points (equally long lists of numbers) or of texts.
        metric : str, default "dtw"
            ``"dtw"``, ``"lcs"``, ``"levenshtein"`` (also ``"edit"``), ``"correlation"`` (Pearson's)
            or another measure of `midstream.compare`. Texts are compared by the first three, `dtw`
            with a cost of 1 for symbols that differ.
        unit : {"words", "characters"}
            Of texts.
        **params
            Of the measure, as ``window=10``.

        Returns
        -------
        Comparison

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            No such measure, none for such sequences, or sequences beyond a limit.

        Notes
        -----
        Results are remembered by content (`midstream.compare.Comparator`): sequences that merely
        are equally long share nothing.
        """
        _check_unit(unit)
        if not isinstance(metric, str):
            raise ArgumentTypeError(f"metric must be str, got {type(metric).__name__}")
        most = self._limits["max_elements"]
        one = as_elements("first", first, most, unit=unit)
        other = as_elements("second", second, most, unit=unit)
        settings = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in params.items()
        }
        return compare_sequences(self._comparator, one, other, metric, settings)

    def detect_pattern(
        self,
        pattern: Any = None,
        sequence: Any = None,
        *,
        unit: str | None = None,
        min_length: int = 2,
        min_count: int = 2,
    ) -> PatternMatches:
        """Search for a pattern, or discover the patterns that there are.

        Parameters
        ----------
        pattern : str or sequence, optional
            What to search for, exactly; None discovers what repeats.
        sequence : str, sequence or array, optional
            Where; by default the words of the conversation, of which no match spans two messages.
        unit : {"words", "characters"}, optional
            Of texts; characters by default, and words of the conversation.
        min_length, min_count : int, default 2
            Elements, and occurrences, of what is discovered.

        Returns
        -------
        PatternMatches

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            What cannot be compared, or is beyond a limit.
        """
        min_length = check_int("min_length", min_length, low=1)
        min_count = check_int("min_count", min_count, low=2)
        most = self._limits["max_elements"]
        borders = numbers = None
        if sequence is None:
            with self._lock:
                kept = list(self._messages)
            flat: list[Any] = []
            borders, numbers = [], []
            for message in kept:
                borders.append(len(flat))
                numbers.append(message.number)
                flat += words_of(message.text)
            elements = Elements("words", flat, flat)
            unit = "words"
        else:
            unit = "characters" if unit is None else unit
            _check_unit(unit)
            # Repeats are found in linear time; what is compared pair by pair is not.
            elements = as_elements("sequence", sequence, 10 * most, unit=unit)
        wanted = None if pattern is None else as_elements("pattern", pattern, most, unit=unit)
        return find_pattern(
            elements,
            wanted,
            min_length=min_length,
            min_count=min_count,
            borders=borders or None,
            messages=numbers,
        )

    # Behaviour and learning.

    def behavior(self, series: Sequence[Any] | None = None) -> Behavior:
        """Say what kind of dynamics a series shows.

        Parameters
        ----------
        series : (n,) or (n, d) sequence of numbers, optional
            In the order of time; by default the rewards given to `meta_learn`, and without any the
            words of each message.

        Returns
        -------
        Behavior
            ``"insufficient"`` with less than 100 samples.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            No finite numbers, or too many.
        """
        source = "series"
        if series is None:
            with self._lock:
                rewards = list(self._rewards)
                kept = list(self._messages)
            source = "rewards" if rewards else "turn_words"
            series = rewards or [float(len(words_of(message.text))) for message in kept]
        held = as_elements("series", series, self._limits["max_elements"])
        if held.length and held.unit not in ("numbers", "points"):
            raise ArgumentTypeError(f"series must hold numbers, got {held.unit}")
        return _behavior(np.asarray(held.values, np.float64), source)

    def meta_learn(
        self, content: str | Mapping[str, Any] | None = None, reward: float | None = None
    ) -> MetaLearning:
        """Learn from a message and how it was received; say what was learned so far.

        Parameters
        ----------
        content : str or mapping, optional
            A message. It is learned from, and not taken into the conversation.
        reward : float, optional
            What it was worth.

        Returns
        -------
        MetaLearning

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            Neither a message nor a finite number, or beyond a limit; nothing was learned then.
        """
        message = None
        if content is not None:
            message = read_message(content, 0, self._limits["max_message_chars"])
        if reward is not None:
            reward = check_real("reward", reward, low=-1e300, high=1e300)
        with self._lock:
            if message is not None:
                self._learn(message.text)
            if reward is not None:
                self._rewards.append(reward)
                self._drift.update(reward)
            return MetaLearning(
                self._knowledge(), talk.summary(list(self._rewards)), self._drift.n_detections
            )

    def _learn(self, text: str) -> None:
        if self._levels is None or self._symbols is None:
            most = self._limits["max_symbols"]
            self._levels = Levels(2, max_symbols=most, max_patterns=512)
            self._symbols = Symbols(4 * most, stable=False)
        for sentence in _sentences(text):
            self._levels.observe(self._symbols.encode(sentence))
            self._levels.close(1)
        self._levels.close(2)

    def _knowledge(self) -> tuple[LevelKnowledge, ...]:
        levels = self._levels
        if levels is None:
            return tuple(LevelKnowledge(number, 0, 0, ()) for number in (1, 2))
        return tuple(
            LevelKnowledge(
                number,
                levels.n_units(number),
                levels.n_patterns(number),
                # Whoever asks after each message needs bounds that hold at all times.
                tuple(map(self._learned, levels.knowledge(number, anytime=True)[:_BEST])),
            )
            for number in (1, 2)
        )

    def _learned(self, known: MetaKnowledge) -> LearnedPattern:
        assert self._symbols is not None
        try:
            text = " ".join(map(str, known.labels(self._symbols)))[:_SHOWN]
        except ArgumentValueError:  # a word that was not seen for long
            text = ""
        return LearnedPattern(
            text, known.length, known.support, known.recurrence, known.recurrence_lower
        )

    # The agent itself.

    def status(self) -> Status:
        """Say how the agent stands.

        Returns
        -------
        Status
        """
        with self._lock:
            rewards = talk.summary(list(self._rewards))
            levels = self._levels
            return Status(
                messages=self._count,
                kept=len(self._messages),
                kept_chars=self._chars,
                forgotten=self._count - len(self._messages),
                roles=talk.roles(list(self._messages)),
                calls=self._calls,
                findings=dict(self._by_kind),
                rewards=len(self._rewards),
                mean_reward=None if rewards is None else rewards.mean,
                comparisons={
                    name: -1 if value is None else value
                    for name, value in self._comparator.cache_info()._asdict().items()
                },
                patterns=(0, 0)
                if levels is None
                else tuple(levels.n_patterns(number) for number in (1, 2)),
                limits=dict(self._limits),
            )

    def reset(self) -> None:
        """Forget everything; the next message is number 0."""
        with self._lock:
            self._begin()
        self._comparator.cache_clear()

    @property
    def kept_chars(self) -> int:
        """Characters that are kept: of messages, and of learned words, as if all were long."""
        symbols = self._symbols
        return self._chars + (0 if symbols is None else _WORD_CHARS * len(symbols))

    def __repr__(self) -> str:
        return f"<Agent of {self._count:,} messages, {len(self._messages):,} kept>"


def _check_unit(unit: Any) -> None:
    if unit not in ("words", "characters"):
        raise ArgumentValueError(f"unit must be 'words' or 'characters', got {unit!r}")


def _sentences(text: str) -> Iterable[list[str]]:
    """Words of each sentence or line."""
    for end in "!?\n":
        text = text.replace(end, ".")
    for sentence in text.split("."):
        words = words_of(sentence)
        if words:
            yield words


def _behavior(values: np.ndarray[Any, Any], source: str) -> Behavior:
    n = len(values)
    mean = std = None
    if n:
        # A power of two near the largest: squares of what is left do not overflow, and dynamics do
        # not depend on the scale.
        exponent = int(np.frexp(np.abs(values).max())[1])
        values = np.ldexp(values, -exponent)
        mean = _number(math.ldexp(float(values.mean()), exponent))
        std = _number(math.ldexp(float(values.std()), exponent))
    if n < _ENOUGH:
        reason = f"at least {_ENOUGH} samples are needed, got {n}"
        return Behavior(
            "insufficient",
            False,
            None,
            None,
            None,
            None,
            None,
            "insufficient",
            None,
            None,
            n,
            source,
            mean,
            std,
            (reason,),
        )
    found = classify(values)
    rate, interval, verdict = _number(found.lyapunov), None, "insufficient"
    reasons = found.reasons
    if values.ndim == 1:
        estimate = lyapunov(values)
        rate, verdict = _number(estimate.value), estimate.verdict
        if rate is not None:
            interval = (float(estimate.ci[0]), float(estimate.ci[1]))
        reasons += estimate.reasons
    return Behavior(
        found.kind,
        True,
        True if found.kind in _CHAOTIC else False if found.kind in _STABLE else None,
        True if found.kind in _STABLE else False if found.kind in _CHAOTIC else None,
        found.confidence,
        rate,
        interval,
        verdict,
        found.period,
        _number(found.dimension),
        n,
        source,
        mean,
        std,
        reasons,
    )


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
