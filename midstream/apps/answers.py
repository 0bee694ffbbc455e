"""What an `Agent` answers: frozen, and plain JSON by `to_dict`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from midstream.stream import Finding

__all__ = [
    "Analysis",
    "Answer",
    "Behavior",
    "Comparison",
    "Cycle",
    "Duplicate",
    "LearnedPattern",
    "LevelKnowledge",
    "MetaLearning",
    "NearRepeat",
    "PatternMatches",
    "Phrase",
    "Processed",
    "RepeatedPattern",
    "Status",
    "Summary",
]


class Answer:
    """Base of all answers."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-ready dict: tuples are lists, and what is not finite is None.

        Returns
        -------
        dict
        """
        plain: dict[str, Any] = _plain(self)
        return plain


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, frozenset)):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):  # a number of numpy's
        return _plain(value.item())
    return str(value)


@dataclass(frozen=True, slots=True)
class Summary(Answer):
    """Numbers in five numbers.

    Attributes
    ----------
    count : int
    min, median, mean, max : float
    """

    count: int
    min: float
    median: float
    mean: float
    max: float


@dataclass(frozen=True, slots=True)
class Cycle(Answer):
    """The conversation's newest messages go round in a circle.

    Attributes
    ----------
    period : int
        Messages from one round to the next: 1 for the same message over and over.
    copies : float
        Rounds so far, fractions counted.
    start : int
        Number of the first message of the first round.
    """

    period: int
    copies: float
    start: int


@dataclass(frozen=True, slots=True)
class Processed(Answer):
    """What is known of a message as it comes.

    Attributes
    ----------
    number : int
        Of the message, counted from 0 since the agent began.
    role : str
        As the message says it; ``"unspecified"`` where it says none.
    chars, words : int
        Of its text.
    calls, results : int
        Tool calls, and results of such, in it.
    same_as : int or None
        The newest earlier message with the same text, of those that are kept.
    nearest : int or None
        The closest of the 64 messages before it, or of as many as have 20,000 words together, by
        `nearest_distance`; None where none has words, and for a message of more than 5,000.
    nearest_distance : float or None
        Word edits that make one text of the other, over the words of the longer: 0 is equal (but
        for case and punctuation), 1 has nothing in common.
    previous_distance : float or None
        The same to the message right before.
    cycle : Cycle or None
        Where the conversation goes round since at least three rounds.
    findings : tuple of Finding
        Loops in its text, and loops of tool calls across the conversation.
    forgotten : int
        Messages given up so far to keep within the limits.
    """

    number: int
    role: str
    chars: int
    words: int
    calls: int
    results: int
    same_as: int | None
    nearest: int | None
    nearest_distance: float | None
    previous_distance: float | None
    cycle: Cycle | None
    findings: tuple[Finding, ...]
    forgotten: int


@dataclass(frozen=True, slots=True)
class Duplicate(Answer):
    """Messages with the same text.

    Attributes
    ----------
    text : str
        The first 200 characters.
    messages : tuple of int
        Their numbers.
    """

    text: str
    messages: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NearRepeat(Answer):
    """Two messages that say nearly the same.

    Attributes
    ----------
    first, second : int
        Their numbers.
    distance : float
        Word edits over the words of the longer one.
    """

    first: int
    second: int
    distance: float


@dataclass(frozen=True, slots=True)
class Phrase(Answer):
    """Words that come again.

    Attributes
    ----------
    text : str
        The words, lower case; the first 200 characters.
    words : int
        How many.
    count : int
        Occurrences that do not overlap.
    messages : tuple of int
        Messages in which they are.
    """

    text: str
    words: int
    count: int
    messages: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Analysis(Answer):
    """What a conversation holds. Every number is counted or measured; none is a score.

    Attributes
    ----------
    messages : int
        Messages looked at.
    first : int
        Number of the oldest; the others follow.
    roles : mapping of str to int
        Messages by role.
    tools : mapping of str to int
        Tool calls by tool.
    chars, words, distinct_words : int
        Of all texts; words are distinct but for case.
    turn_words : tuple of int
        Words of each message, in order.
    turn_length : Summary or None
        Of these; None without messages.
    turn_distances : tuple of float or None
        From each message to the one after it: word edits over the words of the longer; None where
        neither has words.
    turn_distance : Summary or None
        Of those that are known.
    duplicates : tuple of Duplicate
        Groups of messages with the same text, the largest first, 100 at most.
    duplicate_messages : int
        Messages whose text an earlier one has.
    near_repeats : tuple of NearRepeat
        Pairs with a distance of at most 0.2, equal ones left out, the closest first, 100 at most.
    near_pairs : int
        How many there are.
    near_compared : int
        Messages that were compared with each other for this: the newest with 100,000 words in
        all, none longer than 2,000.
    phrases : tuple of Phrase
        Repeats of at least 3 words, those that take most words first, 50 at most; one that lies
        mostly within another of these is left out.
    cycle : Cycle or None
        Where the conversation's end goes round.
    findings : tuple of Finding
        Loops within texts and loops of tool calls, the newest 100.
    n_findings : int
        All that there were.
    """

    messages: int
    first: int
    roles: Mapping[str, int]
    tools: Mapping[str, int]
    chars: int
    words: int
    distinct_words: int
    turn_words: tuple[int, ...]
    turn_length: Summary | None
    turn_distances: tuple[float | None, ...]
    turn_distance: Summary | None
    duplicates: tuple[Duplicate, ...]
    duplicate_messages: int
    near_repeats: tuple[NearRepeat, ...]
    near_pairs: int
    near_compared: int
    phrases: tuple[Phrase, ...]
    cycle: Cycle | None
    findings: tuple[Finding, ...]
    n_findings: int


@dataclass(frozen=True, slots=True)
class Comparison(Answer):
    """Two sequences by one measure.

    Attributes
    ----------
    metric : str
        The measure, by its name in `midstream.compare`.
    value : float, int or None
        What it says; None where it is not defined, which `reason` explains.
    sense : str
        ``"distance"`` (0 for equal), ``"common"`` (of `lcs`: symbols in common) or
        ``"correlation"`` (-1 to 1).
    relative : float or None
        For `levenshtein` and `lcs`: the share, of the longer sequence, that differs.
    unit : str
        What was compared: ``"numbers"``, ``"points"``, ``"symbols"``, ``"words"`` or
        ``"characters"``.
    lengths : tuple of two int
        In that unit.
    reason : str or None
        Why there is no value.
    """

    metric: str
    value: float | None
    sense: str
    relative: float | None
    unit: str
    lengths: tuple[int, int]
    reason: str | None


@dataclass(frozen=True, slots=True)
class RepeatedPattern(Answer):
    """A stretch of a sequence that comes again.

    Attributes
    ----------
    pattern : tuple
        Its elements, the first 64.
    length : int
        How many there are.
    count : int
        Occurrences that do not overlap.
    positions : tuple of int
        Where these begin, the first 100.
    """

    pattern: tuple[Any, ...]
    length: int
    count: int
    positions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PatternMatches(Answer):
    """Where a pattern occurs, or what patterns there are.

    Attributes
    ----------
    mode : str
        ``"exact"``: `pattern` was searched for; ``"discovery"``: repeats were looked for.
    unit : str
        What the sequence is made of: ``"elements"``, ``"characters"`` or, of the conversation,
        ``"words"``.
    length : int
        Of the sequence.
    count : int
        Occurrences, overlapping ones counted; of a discovery, the repeats that there are.
    positions : tuple of int
        Where they begin, the first 10,000; empty for a discovery.
    messages : tuple of int or None
        In which message each of them is, where the conversation was searched; its position is then
        counted in words of that message.
    repeats : tuple of RepeatedPattern
        Of a discovery: those that take most of the sequence first, 50 at most.
    """

    mode: str
    unit: str
    length: int
    count: int
    positions: tuple[int, ...]
    messages: tuple[int, ...] | None
    repeats: tuple[RepeatedPattern, ...]


@dataclass(frozen=True, slots=True)
class Behavior(Answer):
    """What kind of dynamics a series shows.

    Attributes
    ----------
    kind : str
        As `midstream.attractor.classify` has it: ``"fixed_point"``, ``"limit_cycle"``,
        ``"torus"``, ``"strange"``, ``"hyperchaotic"``, ``"noise"``, ``"unknown"``; or
        ``"insufficient"``, which `reasons` explains.
    sufficient : bool
        Whether there was enough to judge.
    is_chaotic, is_stable : bool or None
        Strange or hyperchaotic; a fixed point, cycle or torus. None where neither is known.
    confidence : float or None
        Of `kind`: the share of such answers that are right.
    lyapunov : float or None
        Largest exponent in nats per sample, as `midstream.attractor.lyapunov` estimates it; None
        where the data do not allow one.
    lyapunov_ci : tuple of two float, or None
        Its 95 % interval.
    verdict : str
        Of the exponent: ``"chaotic"``, ``"regular"``, ``"noise"``, ``"insufficient"``.
    period : float or None
        Of a cycle, in samples.
    dimension : float or None
    samples : int
    source : str
        What was looked at: ``"series"`` (given), ``"rewards"`` or ``"turn_words"`` (the words of
        each message).
    mean, std : float or None
        Of the series.
    reasons : tuple of str
        How it was decided.
    """

    kind: str
    sufficient: bool
    is_chaotic: bool | None
    is_stable: bool | None
    confidence: float | None
    lyapunov: float | None
    lyapunov_ci: tuple[float, float] | None
    verdict: str
    period: float | None
    dimension: float | None
    samples: int
    source: str
    mean: float | None
    std: float | None
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LearnedPattern(Answer):
    """A pattern of a level, and how surely it comes back.

    Attributes
    ----------
    text : str
        Its words, the first 200 characters.
    words : int
    support : int
        Occurrences.
    recurrence : float or None
        Share of the trials after which it came again within five units; None without trials.
    recurrence_lower : float
        Lower confidence bound (95 %) of its probability.
    """

    text: str
    words: int
    support: int
    recurrence: float | None
    recurrence_lower: float


@dataclass(frozen=True, slots=True)
class LevelKnowledge(Answer):
    """What was learned at one level.

    Attributes
    ----------
    level : int
        1: words within sentences; 2: patterns of these within messages.
    units : int
        Sentences, or messages, learned from.
    n_patterns : int
    patterns : tuple of LearnedPattern
        The ten best.
    """

    level: int
    units: int
    n_patterns: int
    patterns: tuple[LearnedPattern, ...]


@dataclass(frozen=True, slots=True)
class MetaLearning(Answer):
    """What was learned from messages and rewards.

    Attributes
    ----------
    levels : tuple of LevelKnowledge
    rewards : Summary or None
        Of the rewards kept; None without any.
    reward_drifts : int
        How often the rewards were found to have changed (`midstream.meta.Drift`).
    """

    levels: tuple[LevelKnowledge, ...]
    rewards: Summary | None
    reward_drifts: int


@dataclass(frozen=True, slots=True)
class Status(Answer):
    """How an agent stands.

    Attributes
    ----------
    messages : int
        Processed since it began.
    kept, kept_chars : int
        Messages that are kept, and characters of their texts.
    forgotten : int
        Messages given up to keep within the limits.
    roles : mapping of str to int
        Of the messages kept.
    calls : int
        Tool calls seen.
    findings : mapping of str to int
        By kind, since it began.
    rewards : int
        Kept.
    mean_reward : float or None
    comparisons : mapping of str to int
        Cache of `Agent.compare`: ``hits``, ``misses``, ``maxsize``, ``currsize``.
    patterns : tuple of int
        Learned, by level.
    limits : mapping of str to int
        As the agent was made with.
    """

    messages: int
    kept: int
    kept_chars: int
    forgotten: int
    roles: Mapping[str, int]
    calls: int
    findings: Mapping[str, int]
    rewards: int
    mean_reward: float | None
    comparisons: Mapping[str, int]
    patterns: tuple[int, ...]
    limits: Mapping[str, int]
