"""`TextJudgement`: what the model writes, and patterns that are looked for in it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from midstream.stream.patterns import Scanner
from midstream.stream.policies.compiling import PolicySet
from midstream.stream.policies.pending import PendingCall
from midstream.stream.policies.verdicts import Judgement

__all__ = ["TextJudgement", "belongs"]

#: Texts that are scanned at one time.
_MOST_TEXTS = 1024


class TextJudgement(Judgement):
    """Texts over a `Judgement`: where they begin, how long they are, what is found in them."""

    __slots__ = (
        "_begun",
        "_key",
        "_patterns",
        "_scanner",
        "_scanners",
    )

    def __init__(self, policies: PolicySet) -> None:
        super().__init__(policies)
        self._patterns = policies.patterns
        self._scanners: dict[tuple[str, str], Scanner] = {}
        self._key: tuple[str, str] = ("", "")
        self._scanner: Scanner | None = None
        #: The model has begun to write in the text of `_key`, see `_speaking`.
        self._begun = False

    def _left(self) -> None:
        self._key, self._scanner, self._begun = ("", ""), None, False

    def _write(self, kind: str, stream_id: str, text: str, place: int) -> None:
        """Take a piece of what the model writes, before which so many characters came of it."""
        key = (kind, stream_id)
        if key != self._key:
            self._scanner = self._switch(key)
            self._begun = key in self._speaking
        if not self._begun:
            n_blank = len(text) - len(text.lstrip())
            if n_blank:
                self._meter(text[:n_blank], self._scanner, kind, stream_id, None, place)
                text = text[n_blank:]
                place += n_blank
                if not text:
                    return
            self._begun = True
            if len(self._speaking) >= _MOST_TEXTS:
                self._speaking.clear()  # those that go on have begun anew
            self._speaking.add(key)
            begun = "reasoning" if kind == "reasoning" else "text"
            self._happen(self._step(begun, stream_id, channel=kind))
        # As `_meter`, for the many pieces that lead to nothing.
        chars = self._chars + len(text)
        if chars >= self._next_chars or self._recalling:
            self._meter(text, self._scanner, kind, stream_id, None, place)
            return
        self._chars = chars
        scanner = self._scanner
        if scanner is not None:
            matches = scanner.feed(text)
            if matches:
                self._matched(matches, kind, stream_id, None, chars - scanner.n_chars)

    def _meter(
        self,
        text: str,
        scanner: Scanner | None,
        channel: str,
        stream_id: str,
        call: PendingCall | None,
        place: int,
    ) -> None:
        """Count characters and look for patterns, with a step wherever a limit is reached."""
        while text and self.stop is None:
            part = text
            chars = self._chars + len(text)
            if self._recalling:
                chars = self._chars
            elif chars >= self._next_chars:
                part = text[: math.ceil(self._next_chars) - self._chars]
                chars = self._chars + len(part)
            text = text[len(part) :]
            place += len(part)
            self._chars = chars
            if scanner is not None and not (call is not None and call.denied):
                matches = scanner.feed(part)
                if matches:
                    self._matched(matches, channel, stream_id, call, chars - scanner.n_chars)
            if chars >= self._next_chars:
                self._set_meter()
                self._happen_to_all(self._step("usage", stream_id), place - 1, place, channel)

    def _matched(
        self,
        matches: Iterable[Any],
        channel: str,
        stream_id: str,
        call: PendingCall | None,
        origin: int | None = None,
        **more: Any,
    ) -> None:
        """Tell of patterns that were found in a text which began when `origin` were written."""
        for regex, start, end in matches:
            if call is not None:
                if call.denied:
                    return
                call.matched.add(regex)
                more = {"name": call.progress.name, "call_id": call.progress.call_id}
            step = self._step(
                "match",
                stream_id,
                pattern=regex,
                channel=channel,
                start=start,
                end=end,
                **more,
            )
            if origin is not None and not self._recalling:
                step["chars"] = origin + end
                step["tokens"] = self._tokens(origin + end)
            self._happen(step, start, end, call)

    def _switch(self, key: tuple[str, str]) -> Scanner | None:
        """The scanner of a text, where anything is looked for in it."""
        self._key = key
        patterns = self._patterns.get(key[0])
        if patterns is None:
            return None
        scanner = self._scanners.pop(key, None)
        if scanner is None:
            scanner = patterns.scanner()
            if len(self._scanners) >= _MOST_TEXTS:
                del self._scanners[next(iter(self._scanners))]
        self._scanners[key] = scanner
        return scanner

    def _end_texts(self, choice: str) -> None:
        """Take note that the texts of a choice are over, or all of them."""
        here = self._choice
        for key in [key for key in self._scanners if belongs(key[1], choice)]:
            if self._traces is not None:
                self._enter(key[1])
            scanner = self._scanners.pop(key)
            origin = self._chars - scanner.n_chars
            matches = scanner.finish()
            if matches:
                call = self._calls.get(key[1]) if key[0] == "tool_call" else None
                self._matched(matches, *key, call, origin)
        self._enter(here)
        self._left()

    def _quiet(self) -> None:
        """Something else happened than that the model wrote: what it writes next begins anew."""
        self._speaking.clear()
        self._begun = False


def belongs(stream_id: str, choice: str) -> bool:
    """Whether a text or a call is one of a choice; of "" all are."""
    return not choice or stream_id == choice or stream_id.startswith(f"{choice}/")
