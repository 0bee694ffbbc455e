"""A conversation's messages: how they are read, and what is counted and measured of them."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midstream.apps.answers import Cycle, Duplicate, NearRepeat, Phrase, Summary
from midstream.apps.sequences import discover, words_of
from midstream.compare import cdist, levenshtein, pdist
from midstream.errors import ArgumentTypeError, ArgumentValueError
from midstream.stream import Event
from midstream.stream.formats import history

__all__ = ["Message", "read_message"]

UNSPECIFIED = "unspecified"
#: A distance up to which two messages say nearly the same.
NEAR = 0.2
_MOST_NEAR = 100
_MOST_NEAR_WORDS = 2_000
_MOST_NEAR_WORDS_IN_ALL = 100_000
#: Longer messages are not held against others as they come.
_MOST_RECENT_WORDS = 5_000
_MOST_RECENT_WORDS_IN_ALL = 20_000
_MOST_NAME_CHARS = 256
_MOST_DUPLICATES = 100
_MOST_PHRASES = 50
_MIN_PHRASE = 3
_SHOWN = 200
_MOST_ROLE_CHARS = 64


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation.

    Attributes
    ----------
    number : int
        From 0.
    role : str
    text : str
        What it says; a tool's result, where it is one.
    tools : tuple of str
        Names of the tools that it calls.
    digest : bytes
        Of all that it says, whoever says it.
    results : int
        Results of tool calls in it.
    events : tuple of Event
        Its calls and results for a `ToolLoopDetector`, a user's text among them; dropped from
        messages that are kept.
    """

    number: int
    role: str
    text: str
    digest: bytes
    tools: tuple[str, ...] = ()
    results: int = 0
    events: tuple[Event, ...] = ()

    @property
    def chars(self) -> int:
        """What it holds."""
        return len(self.text) + sum(map(len, self.tools))

    def kept(self) -> Message:
        """The same without what only detectors need."""
        return replace(self, events=()) if self.events else self


def _digest(parts: Iterable[str]) -> bytes:
    held = hashlib.blake2b(digest_size=16)
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        held.update(len(encoded).to_bytes(8, "little"))
        held.update(encoded)
    return held.digest()


def read_message(message: Any, number: int, most_chars: int) -> Message:
    """Read a text, or a message as chat completions, Anthropic and others write it.

    Parameters
    ----------
    message : str or mapping
        A mapping has ``role`` and ``content``, ``tool_calls``, content blocks and so on.
    number : int
        Its number.
    most_chars : int
        Characters that it may have: text, arguments and results together.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        Neither a text nor a mapping with one; too long; nested too deeply.
    """
    if isinstance(message, str):
        _check_chars(len(message), most_chars)
        return Message(number, UNSPECIFIED, message, _digest([message]))
    if not isinstance(message, Mapping):
        raise ArgumentTypeError(
            f"message must be a text or a mapping with role and content, got "
            f"{type(message).__name__}"
        )
    role = message.get("role", UNSPECIFIED)
    if not isinstance(role, str) or len(role) > _MOST_ROLE_CHARS:
        raise ArgumentTypeError(
            f"message's role must be a text of at most {_MOST_ROLE_CHARS} characters, got "
            f"{type(role).__name__}"
        )
    content = message.get("content")
    if not (content is None or isinstance(content, (str, list))):
        raise ArgumentTypeError(
            f"message's content must be a text or a list of parts, got {type(content).__name__}"
        )
    if content is None and not (message.get("tool_calls") or message.get("function_call")):
        raise ArgumentValueError("message has neither content nor tool_calls")
    try:
        events = history({"messages": [dict(message)]}, _api(content))
    except RecursionError:
        raise ArgumentValueError("message is nested too deeply") from None
    texts = [event.text for event in events if event.kind in ("text", "tool_result")]
    if not events and content is not None:
        texts = [_plain_text(content)]  # of a role that is no part of the model's own stream
    calls = [event for event in events if event.kind == "tool_call"]
    text = "\n".join(texts)
    _check_chars(len(text) + sum(len(call.text) for call in calls), most_chars)
    for event in events:
        for what, name in (("a tool's name", event.name), ("a call's id", event.call_id)):
            if name is not None and len(name) > _MOST_NAME_CHARS:
                raise ArgumentValueError(
                    f"message: {what} must have at most {_MOST_NAME_CHARS} characters, "
                    f"got {len(name):,}"
                )
    kept = tuple(
        # Its place in the conversation, so that no two messages' calls are taken for one.
        event._replace(seq=number, data=None, stream_id=f"h{number}{event.stream_id[2:]}")
        for event in events
        if event.kind != "text" or event.name == "user"
    )
    tools = tuple(call.name or "" for call in calls)
    said = [text, *(part for call in calls for part in (call.name or "", call.text))]
    results = sum(event.kind == "tool_result" for event in events)
    return Message(number, role, text, _digest(said), tools, results, kept)


def _api(content: Any) -> str:
    if isinstance(content, list):
        for part in content:
            kind = part.get("type") if isinstance(part, dict) else None
            if isinstance(kind, str) and kind.endswith(("tool_result", "tool_use")):
                return "anthropic"
    return "chat"


def _plain_text(content: Any) -> str:
    if isinstance(content, str):
        return content
    pieces = [
        part if isinstance(part, str) else part.get("text")
        for part in content
        if isinstance(part, (str, dict))
    ]
    return "".join([piece for piece in pieces if isinstance(piece, str)])


def _check_chars(chars: int, most: int) -> None:
    if chars > most:
        raise ArgumentValueError(f"message must have at most {most:,} characters, got {chars:,}")


def summary(values: Sequence[float]) -> Summary | None:
    """Five numbers of some; None of none."""
    if not values:
        return None
    held = np.asarray(values, np.float64)
    # Of scaled numbers: the mean of the largest floats is one of them.
    scale = float(np.abs(held).max()) or 1.0
    return Summary(
        len(values),
        float(held.min()),
        float(np.median(held / scale) * scale),
        float((held / scale).mean() * scale),
        float(held.max()),
    )


def distance(first: Sequence[str], second: Sequence[str]) -> float | None:
    """Word edits over the words of the longer; None where neither has words."""
    longer = max(len(first), len(second))
    return levenshtein(first, second) / longer if longer else None


class Recent:
    """The newest messages' words, to hold a new one against.

    Parameters
    ----------
    most : int
        Messages.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: deque[tuple[int, NDArray[np.int32]]] = deque()
        self._n_words = 0
        self._vocabulary: dict[str, int] = {}

    def add(self, number: int, words: list[str]) -> tuple[int | None, float | None, float | None]:
        """Take a message; say which earlier one is nearest and how far, and how far the last is."""
        nearest: int | None = None
        nearest_distance: float | None = None
        previous: float | None = None
        if len(words) > _MOST_RECENT_WORDS:
            return nearest, nearest_distance, previous
        codes = self._encode(words)
        held = self._held
        adjacent = bool(held) and held[-1][0] == number - 1
        if words and held:
            lengths = np.array([others.size for _, others in held])
            edits = cdist([codes], [others for _, others in held], "levenshtein")[0]
            apart = edits / np.maximum(lengths, len(words))
            if adjacent:
                previous = float(apart[-1])
            apart[lengths == 0] = np.inf
            # Of equally near ones the newest.
            best = apart.size - 1 - int(apart[::-1].argmin())
            if np.isfinite(apart[best]):
                nearest, nearest_distance = held[best][0], float(apart[best])
        elif adjacent and held[-1][1].size:
            previous = 1.0
        held.append((number, codes))
        self._n_words += codes.size
        while len(held) > self._most or self._n_words > _MOST_RECENT_WORDS_IN_ALL:
            self._n_words -= held.popleft()[1].size
        return nearest, nearest_distance, previous

    def _encode(self, words: list[str]) -> NDArray[np.int32]:
        known = self._vocabulary
        if len(known) > 2 * _MOST_RECENT_WORDS_IN_ALL:
            # Only what the messages hold is needed.
            names = list(known)
            known = self._vocabulary = {}
            for place, (number, codes) in enumerate(self._held):
                again = [known.setdefault(names[code], len(known)) for code in codes.tolist()]
                self._held[place] = number, np.array(again, np.int32)
        return np.array([known.setdefault(word, len(known)) for word in words], np.int32)


def cycle_of(run: Any, first: int) -> Cycle | None:
    """What a `RunDetector` says of messages; it counts them from its own beginning."""
    return None if run is None else Cycle(run.period, run.copies, first + run.start)


def distances(words: Sequence[Sequence[str]]) -> tuple[float | None, ...]:
    """From each message to the one after it."""
    return tuple(distance(one, other) for one, other in pairwise(words))


def duplicates(messages: Sequence[Message]) -> tuple[tuple[Duplicate, ...], int]:
    """Groups of messages with one text, and how many are not the first of theirs."""
    groups: dict[str, list[int]] = {}
    for message in messages:
        if message.text.strip():
            groups.setdefault(message.text, []).append(message.number)
    several = [(text, numbers) for text, numbers in groups.items() if len(numbers) > 1]
    several.sort(key=lambda group: -len(group[1]))
    shown = tuple(
        Duplicate(text[:_SHOWN], tuple(numbers)) for text, numbers in several[:_MOST_DUPLICATES]
    )
    return shown, sum(len(numbers) - 1 for _, numbers in several)


def near_repeats(
    messages: Sequence[Message], words: Sequence[Sequence[str]]
) -> tuple[tuple[NearRepeat, ...], int, int]:
    """Pairs that say nearly the same, how many there are, and how many messages were compared."""
    places: list[int] = []
    total = 0
    for place in range(len(messages) - 1, -1, -1):
        n = len(words[place])
        if not 0 < n <= _MOST_NEAR_WORDS:
            continue
        total += n
        if total > _MOST_NEAR_WORDS_IN_ALL:
            break
        places.append(place)
    places.reverse()
    if len(places) < 2:
        return (), 0, len(places)
    edits = pdist([words[place] for place in places], "levenshtein")
    lengths = np.array([len(words[place]) for place in places])
    one, other = np.triu_indices(len(places), 1)
    relative = edits / np.maximum(lengths[one], lengths[other])
    near = np.flatnonzero(relative <= NEAR)
    near = (
        near[
            [
                messages[places[i]].text != messages[places[j]].text
                for i, j in zip(one[near].tolist(), other[near].tolist(), strict=True)
            ]
        ]
        if near.size
        else near
    )
    closest = near[np.argsort(relative[near], kind="stable")[:_MOST_NEAR]]
    shown = tuple(
        NearRepeat(messages[places[i]].number, messages[places[j]].number, float(d))
        for i, j, d in zip(
            one[closest].tolist(), other[closest].tolist(), relative[closest], strict=True
        )
    )
    return shown, int(near.size), len(places)


def phrases(messages: Sequence[Message], words: Sequence[Sequence[str]]) -> tuple[Phrase, ...]:
    """What is said again, within messages and across them."""
    if not words:
        return ()
    flat: list[str] = []
    starts: list[int] = []
    for each in words:
        starts.append(len(flat))
        flat += each
    _, chosen = discover(flat, starts, _MIN_PHRASE, 2, _MOST_PHRASES)
    shown = []
    for length, places in chosen:
        # Of empty messages, which begin where the next one does, the last: the one with the words.
        at = np.searchsorted(starts, places, side="right") - 1
        numbers = dict.fromkeys(messages[place].number for place in at.tolist())
        text = " ".join(flat[places[0] : places[0] + length])[:_SHOWN]
        shown.append(Phrase(text, length, len(places), tuple(numbers)))
    return tuple(shown)


def roles(messages: Sequence[Message]) -> dict[str, int]:
    """Messages by role."""
    return dict(Counter(message.role for message in messages))


def split_words(messages: Sequence[Message]) -> list[list[str]]:
    """The words of each message."""
    return [words_of(message.text) for message in messages]
