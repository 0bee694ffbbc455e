"""What detectors that follow several texts of a stream, each on its own, have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import ClassVar, Generic, Protocol, TypeVar

from midstream._core.errors import ArgumentTypeError
from midstream._core.validate import check_choice, check_int
from midstream._core.words import counted
from midstream.stream.events import KINDS, Finding, Kind

__all__ = ["FollowedText", "TextFollower", "check_kinds"]


class FollowedText(Protocol):
    """State of one text that is followed."""

    def skip(self, n_chars: int) -> None:
        """Pass over characters that are not seen."""


T = TypeVar("T", bound=FollowedText)


def check_kinds(kinds: Collection[Kind]) -> frozenset[Kind]:
    """Return kinds of events as a set.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        `kinds` is no collection of str, or one of them is no kind.

    Examples
    --------
    >>> check_kinds(["text"])
    frozenset({'text'})
    """
    if not isinstance(kinds, Collection) or isinstance(kinds, str):
        raise ArgumentTypeError(f"kinds must be a collection of str, got {kinds!r}")
    for kind in kinds:
        check_choice("kinds", kind, KINDS)
    return frozenset(kinds)


class TextFollower(ABC, Generic[T]):
    """Base of a detector with a state for each text, of which it keeps so many.

    Parameters
    ----------
    kinds : collection of str
        Kinds of event whose text is looked at.
    max_texts : int
        Texts that are followed at once; the one longest without news is forgotten.

    Attributes
    ----------
    evicted : int
        Texts that were forgotten.
    """

    #: How remarks call the detector.
    label: ClassVar[str]

    def __init__(self, kinds: Collection[Kind], max_texts: int) -> None:
        self._kinds = check_kinds(kinds)
        self._max_texts = check_int("max_texts", max_texts, low=1, high=1 << 16)
        self._texts: OrderedDict[tuple[Kind, str], T] = OrderedDict()
        self.evicted = 0

    @abstractmethod
    def _new_text(self) -> T:
        """Make the state of a text that begins."""

    @property
    def used(self) -> bool:
        """Whether it has seen a stream already: a detector belongs to one."""
        return bool(self._texts)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a report should say about how it worked."""
        return (f"{self.label}: {counted(self.evicted, 'text')} forgotten",) if self.evicted else ()

    def skip(self, kind: Kind, stream_id: str, n_chars: int) -> None:
        """Pass over characters of a text that it does not get to see.

        Parameters
        ----------
        kind, stream_id : str
            Which text.
        n_chars : int
            How many.

        Notes
        -----
        Positions go on as if it had seen them. Windows begin anew behind them.
        """
        if kind in self._kinds and n_chars > 0:
            self._text_of((kind, stream_id)).skip(n_chars)

    def finish(self) -> Sequence[Finding]:
        """Nothing: what is left is too short to be judged."""
        return ()

    def _text_of(self, key: tuple[Kind, str]) -> T:
        text = self._texts.get(key)
        if text is None:
            text = self._texts[key] = self._new_text()
            if len(self._texts) > self._max_texts:
                self._texts.popitem(last=False)
                self.evicted += 1
        elif len(self._texts) > 1:
            self._texts.move_to_end(key)
        return text
