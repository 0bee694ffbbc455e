"""Loops in text: every text of a stream is scanned for exact and near repetition."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import Any

from midstream._core.errors import ArgumentValueError
from midstream._core.validate import check_choice, check_int, check_real
from midstream._core.words import counted
from midstream.stream._loops import LoopScanner
from midstream.stream.detectors.protocol import ACTIONS
from midstream.stream.detectors.texts import check_kinds
from midstream.stream.events import TEXT_KINDS, Event, Finding, Kind, Severity

__all__ = ["LoopDetector"]

#: What a `LoopScanner` says: kind, level, start, end, period, copies, period_chars, unit, n_tokens.
RawFinding = tuple[str, int, int, int, int, float, int, str, int]


class LoopDetector:
    """Find exact and near repetition in every text of a stream.

    Each text (answer, reasoning, one tool call's arguments, ...) is scanned on its own: calls that
    repeat each other are for `ToolLoopDetector` to find. A run is
    reported when it is found, and once more when it is certain enough to stop for; only the latter
    where both happen with the same token.

    Parameters
    ----------
    action : {"stop", "warn", "note"}, default "stop"
        Severity of a certain run. What is only found gets a milder one: exact runs ``"warn"`` under
        ``"stop"`` and ``"note"`` under ``"warn"``, near runs ``"note"``. Under ``"note"``,
        certainty is not reported.
    near : bool, default True
        Look for near-repetition too: counters, small edits, items that drift.
    kinds : collection of str, default `TEXT_KINDS`
        Kinds of event whose text is scanned.
    max_period : int, default 4096
        Longest exact period, in tokens, up to 2**20.
    min_copies : int, default 3
        Copies that make a finding.
    min_chars : int, default 36
        Characters that make an exact finding; 3 times as many for figures, 6 times for white
        space, punctuation and a single character over and over.
    stop_chars : int, default 200
        Characters repeated beyond the first copy that make an exact run certain; 5 times as many
        for code and markup, 10 times without a word in the unit, since empty cells, zeros and
        rulers are normal, and 50 times for rows of figures, or of null, true and the like, as a
        matrix has them.
    near_score, near_stop_score : float, default 45 and 200, at most 150 and 210
        Weight of words that recur over words that are new (a new word counts against eight) that
        makes a near finding, and a certain one; 4 and 3 times as much in code and figures.
    near_stop_copies : float, default 8
        Copies that a near run needs besides to be certain.
    counting_stop_copies : float, default 200
        The same where every copy brings a number of its own, as in enumerations, tables and logs
        that somebody may want. From `near_stop_copies` on, such a run is a ``"warn"`` at most.
        Where there are no words, 10 times that, and in 50 times `stop_chars`: somebody may want to
        see 2,000 numbers, and a matrix is no loop.
    memory_limit_bytes : int, default 256 KiB
        Above this, the largest of several texts is scanned for shorter periods only (`shrunk`
        counts how often), and when none can shrink further, the one longest without news is
        forgotten (`evicted`), but for how far it had come.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument is of the wrong type or out of range.

    Notes
    -----
    Findings depend on the text alone: the same text in any chunking gives the same ones at the
    same characters. After a stop, the rest of that text is not looked at.

    On 263 labelled samples of GPT-3, every exact and every near loop not marked as doubtful is
    found, and none of the 229 samples labelled as free of loops is even noted (``asv_benchmarks``
    has the run). 0.1 microseconds a token in large pieces, 0.5 where every token is an event;
    100 to 165 KiB for a text longer than 4,096 tokens, 20 for 400. Not thread-safe: one
    detector, one stream.

    Examples
    --------
    >>> detector = LoopDetector()
    >>> event = Event("text", 0, 0, "I will try that again. " * 20)
    >>> [(f.severity, f.start, round(f.copies, 1)) for f in detector.observe(event, 0)]
    [('warn', 1, 3.0), ('stop', 1, 9.7)]
    """

    def __init__(
        self,
        action: Severity = "stop",
        *,
        near: bool = True,
        kinds: Collection[Kind] = TEXT_KINDS,
        max_period: int = 4096,
        min_copies: int = 3,
        min_chars: int = 36,
        stop_chars: int = 200,
        near_score: float = 45.0,
        near_stop_score: float = 200.0,
        near_stop_copies: float = 8.0,
        counting_stop_copies: float = 200.0,
        memory_limit_bytes: int = 256 * 1024,
    ) -> None:
        self.action: Severity = check_choice("action", action, ACTIONS)
        self._kinds = check_kinds(kinds)
        near_score = check_real("near_score", near_score, low=1, high=150)
        near_stop_score = check_real("near_stop_score", near_stop_score, low=1, high=210)
        if near_stop_score < near_score:
            raise ArgumentValueError(
                f"near_stop_score must be at least near_score={near_score!r}, "
                f"got {near_stop_score!r}"
            )
        self._settings: dict[str, Any] = {
            "max_period": check_int("max_period", max_period, low=1, high=1 << 20),
            "min_copies": check_int("min_copies", min_copies, low=2, high=1 << 16),
            "min_chars": check_int("min_chars", min_chars, low=1, high=1 << 30),
            "stop_chars": check_int("stop_chars", stop_chars, low=1, high=1 << 30),
            "near_score": near_score if near else _NEVER,
            "near_stop_score": near_stop_score,
            "near_stop_copies": check_real("near_stop_copies", near_stop_copies, low=2),
            "counting_stop_copies": check_real("counting_stop_copies", counting_stop_copies, low=2),
            "halt_on_stop": action == "stop",
        }
        if action == "note":  # nothing becomes certain, or certain but for its numbers
            self._settings |= {"stop_chars": 1 << 60, "near_stop_score": _NEVER}
        self._memory_limit = check_int("memory_limit_bytes", memory_limit_bytes, low=1)
        self._scanners: dict[tuple[Kind, str], LoopScanner] = {}
        self._key: tuple[Kind, str] = ("text", "")
        self._scanner: LoopScanner | None = None
        self._held_bytes = 0  # by the scanners, as far as they have said
        self._forgotten: OrderedDict[tuple[Kind, str], tuple[int, int]] = OrderedDict()
        self._forgotten_tokens = 0
        self._calls: dict[str, str] = {}
        self._seq = 0
        self._t_ns = 0
        #: Times that a text was forgotten, or its longest period halved, for the memory limit.
        self.evicted = 0
        self.shrunk = 0

    @property
    def used(self) -> bool:
        """Whether it has seen a stream already: a detector belongs to one."""
        return bool(self._scanners) or self._forgotten_tokens > 0

    @property
    def n_tokens(self) -> int:
        """Tokens seen over all texts, as midstream cuts them (about 4 characters each)."""
        return self._forgotten_tokens + sum(s.n_tokens for s in self._scanners.values())

    @property
    def memory_bytes(self) -> int:
        """Bytes that the scanners of all texts hold."""
        return sum(scanner.memory_bytes for scanner in self._scanners.values())

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a report should say about how it worked."""
        remarks = []
        if self.shrunk:
            times = counted(self.shrunk, "time")
            remarks.append(f"memory limit: longest period of a text halved {times}")
        if self.evicted:
            remarks.append(f"memory limit: a text's past forgotten {counted(self.evicted, 'time')}")
        return tuple(remarks)

    def observe(self, event: Event, gap_ns: int = 0) -> Sequence[Finding]:
        """Take the next event.

        Parameters
        ----------
        event : Event
        gap_ns : int
            Not used; detectors of timing use it.

        Returns
        -------
        sequence of Finding
        """
        kind, self._seq, self._t_ns, text, _, _, stream_id, call_id = event
        if not text or kind not in self._kinds:
            return ()
        found: list[Finding] = []
        if call_id is not None and kind == "tool_call" and self._calls.get(stream_id) != call_id:
            found = self._begin_call(stream_id, call_id)
        scanner = self._scanner
        if scanner is None or stream_id != self._key[1] or kind != self._key[0]:
            scanner = self._switch(kind, stream_id)
        raw = scanner.feed(text)
        if scanner.grew:
            self._trim(scanner)
        if raw:
            found += self._findings(raw, self._key)
        return found

    def finish(self) -> Sequence[Finding]:
        """Judge the last token of every text, which only the end makes whole."""
        return [
            finding
            for key, scanner in self._scanners.items()
            for finding in self._findings(scanner.finish(), key)
        ]

    def _begin_call(self, stream_id: str, call_id: str) -> list[Finding]:
        """A call has begun: one that had its stream id before is another text, and over."""
        others = self._calls.pop(stream_id, None) is not None
        self._calls[stream_id] = call_id
        if len(self._calls) > _MAX_FORGOTTEN:
            del self._calls[next(iter(self._calls))]
        if not others:
            return []
        key: tuple[Kind, str] = ("tool_call", stream_id)
        self._forgotten.pop(key, None)  # its tokens stay counted
        scanner = self._scanners.pop(key, None)
        if scanner is None:
            return []
        self._forgotten_tokens += scanner.n_tokens
        self._held_bytes -= scanner.memory_bytes
        if self._key == key:
            self._scanner = None
        return self._findings(scanner.finish(), key)

    def _switch(self, kind: Kind, stream_id: str) -> LoopScanner:
        key = (kind, stream_id)
        # Taken out and put back: the dict's order is the order of last use.
        scanner = self._scanners.pop(key, None)
        if scanner is None:
            n_chars, n_tokens = self._forgotten.pop(key, (0, 0))
            self._forgotten_tokens -= n_tokens
            scanner = LoopScanner(**self._settings, n_chars=n_chars, n_tokens=n_tokens)
        self._scanners[key] = scanner
        self._key, self._scanner = key, scanner
        return scanner

    def _trim(self, grown: LoopScanner) -> None:
        """Stay below the memory limit, at the cost of long periods first."""
        # Counted along, since a run of a thousand calls has a thousand scanners.
        self._held_bytes += grown.grew
        grown.grew = 0
        if self._held_bytes <= self._memory_limit:
            return
        while len(self._scanners) > 1 and self.memory_bytes > self._memory_limit:
            if max(self._scanners.values(), key=lambda s: s.memory_bytes).shrink():
                self.shrunk += 1
                continue
            key = next(iter(self._scanners))
            scanner = self._scanners.pop(key)
            self._forgotten_tokens += scanner.n_tokens
            # Should it go on, its positions do too. Which texts are over, nobody tells.
            self._forgotten[key] = scanner.n_chars, scanner.n_tokens
            if len(self._forgotten) > _MAX_FORGOTTEN:
                self._forgotten.popitem(last=False)
            self.evicted += 1
        self._held_bytes = self.memory_bytes

    def _findings(self, raw: Sequence[RawFinding], key: tuple[Kind, str]) -> list[Finding]:
        found = []
        for kind, level, start, end, period, copies, period_chars, unit, n_tokens in raw:
            severity = self._severity(kind, level)
            exactly = "repeats" if kind == "loop" else "nearly repeats"
            message = (
                f"{_NAMES.get(key[0], key[0])} {exactly} every {period_chars} characters: "
                f"{copies:.1f} copies since character {start}"
            )
            evidence = {
                "period": period,
                "copies": copies,
                "period_chars": period_chars,
                "unit": unit,
                "channel": key[0],
                "stream_id": key[1],
                "tokens": n_tokens,
                "wasted_tokens": round((copies - 1) * period),
            }
            found.append(
                Finding(kind, severity, self._seq, self._t_ns, start, end, message, evidence)
            )
        return found

    def _severity(self, kind: str, level: int) -> Severity:
        if level == _CERTAIN:
            return self.action
        if level == _COUNTING or (kind == "loop" and self.action == "stop"):
            return "warn"
        return "note"


_NEVER = 1e6
_MAX_FORGOTTEN = 256
#: Levels of `LoopScanner`.
_COUNTING, _CERTAIN = 2, 3
_NAMES: dict[str, str] = {
    "text": "the answer",
    "reasoning": "the reasoning",
    "tool_call": "the tool call",
    "audio": "the transcript",
}
