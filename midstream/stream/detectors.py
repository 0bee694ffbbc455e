"""Detectors: they see every event of a stream and say what they find, as early as it is known."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import Any, Protocol

from midstream._core.clock import NS_PER_S, ns_from_s, s_from_ns
from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_choice, check_int, check_real
from midstream.scheduler import Histogram
from midstream.stream._loops import LoopScanner
from midstream.stream.events import KINDS, TEXT_KINDS, Event, Finding, Kind, Severity

__all__ = ["Detector", "LoopDetector", "StallDetector"]

#: What a `LoopScanner` says: kind, level, start, end, period, copies, period_chars, unit, n_tokens.
RawFinding = tuple[str, int, int, int, int, float, int, str, int]


class Detector(Protocol):
    """What `watch` asks of a detector. Any object with these two methods will do."""

    def observe(self, event: Event, gap_ns: int) -> Sequence[Finding]:
        """Take the next event, `gap_ns` nanoseconds after the one before; what it decides."""

    def finish(self) -> Sequence[Finding]:
        """Take note that the stream is over; what that decides."""


class LoopDetector:
    """Find exact and near repetition in every text of a stream.

    Each text (answer, reasoning, one tool call's arguments, ...) is scanned on its own. A run is
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
        for code and markup, 10 times without two different letters in the unit, since empty cells,
        zeros and rulers are normal.
    near_score, near_stop_score : float, default 45 and 200, at most 150 and 210
        Weight of words that recur over words that are new (a new word counts against eight) that
        makes a near finding, and a certain one; 4 and 3 times as much in code and figures.
    near_stop_copies : float, default 8
        Copies that a near run needs besides to be certain.
    counting_stop_copies : float, default 200
        The same where every copy brings a number of its own, as in enumerations, tables and logs
        that somebody may want. From `near_stop_copies` on, such a run is a ``"warn"`` at most.
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
    150 to 215 KiB for a text longer than 4,096 tokens, less for shorter ones. Not thread-safe: one
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
        self.action: Severity = check_choice("action", action, _ACTIONS)
        if not isinstance(kinds, Collection) or isinstance(kinds, str):
            raise ArgumentTypeError(f"kinds must be a collection of str, got {kinds!r}")
        for kind in kinds:
            check_choice("kinds", kind, KINDS)
        self._kinds = frozenset(kinds)
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
        self._forgotten: OrderedDict[tuple[Kind, str], tuple[int, int]] = OrderedDict()
        self._forgotten_tokens = 0
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
        kind, self._seq, self._t_ns, text, _, _, stream_id, _ = event
        if not text or kind not in self._kinds:
            return ()
        scanner = self._scanner
        if scanner is None or stream_id != self._key[1] or kind != self._key[0]:
            scanner = self._switch(kind, stream_id)
        raw = scanner.feed(text)
        if scanner.grew:
            self._trim(scanner)
        return self._findings(raw, self._key) if raw else ()

    def finish(self) -> Sequence[Finding]:
        """Judge the last token of every text, which only the end makes whole."""
        return [
            finding
            for key, scanner in self._scanners.items()
            for finding in self._findings(scanner.finish(), key)
        ]

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
        grown.grew = False
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


class StallDetector:
    """Find silences that the stream's own rhythm does not explain.

    Once 16 gaps are known, a silence longer than `factor` times their 99th percentile, and longer
    than `min_s`, is a stall; before that, one longer than `first_s` is.

    Parameters
    ----------
    action : {"warn", "stop", "note"}, default "warn"
        Severity of the finding.
    min_s : float, default 2.0
        Seconds below which no silence is a stall.
    factor : float, default 10.0
        How many times its 99th percentile a gap may last.
    first_s : float, default 30.0
        Seconds that the first chunks may take: models think before they speak.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument is of the wrong type or out of range.

    Notes
    -----
    In a live stream `watch` reports the stall while it lasts, and does not count the time that the
    caller kept the event before; in a recording it is reported at the event that ended it, with
    the same time, and how long the caller took is not known. The stream's characters have no part
    in it: `start` and `end` are 0. Not thread-safe.

    Examples
    --------
    >>> detector = StallDetector()
    >>> for seq in range(40):
    ...     assert not detector.observe(Event("text", seq, seq * 20_000_000, "word "), 20_000_000)
    >>> late = Event("text", 40, 8_000_000_000, "word ")
    >>> detector.observe(late, 7_220_000_000)[0].message
    'no chunk for 2.0 s; 99 % of the 39 gaps so far were below 0.02 s'
    """

    def __init__(
        self,
        action: Severity = "warn",
        *,
        min_s: float = 2.0,
        factor: float = 10.0,
        first_s: float = 30.0,
    ) -> None:
        self.action: Severity = check_choice("action", action, _ACTIONS)
        self._min_ns = ns_from_s(check_real("min_s", min_s, low=0.001, high=_MAX_S))
        self._factor = check_real("factor", factor, low=1)
        self._first_ns = ns_from_s(check_real("first_s", first_s, low=0.001, high=_MAX_S))
        self._gaps = Histogram(lowest=1000, significant_digits=2)
        self._p99_ns = 0
        self._started = False
        self._reported = False
        self._seq = 0
        self._t_ns = 0
        #: Nanoseconds after the newest event at which silence becomes a stall.
        self.limit_ns = self._first_ns

    def observe(self, event: Event, gap_ns: int) -> Sequence[Finding]:
        """Take the next event and the silence before it, in nanoseconds.

        Returns
        -------
        sequence of Finding
            A stall that this event ended, unless `expire` told it already.
        """
        found: Sequence[Finding] = ()
        if gap_ns > self.limit_ns and not self._reported:
            found = [self._stall()]
        self._reported = False
        self._seq, self._t_ns = event.seq, event.t_ns
        if not self._started:
            self._started = True  # the wait for the first event is no gap between two
        elif gap_ns > 0:
            self._gaps.record(gap_ns)
            if self._gaps.count % _RHYTHM_GAPS == 0:
                self._p99_ns = self._gaps.quantile(0.99)
                self.limit_ns = max(self._min_ns, int(self._factor * self._p99_ns))
        return found

    def expire(self) -> Finding | None:
        """Take note that nothing came for `limit_ns` after the newest event.

        Returns
        -------
        Finding or None
            None if this silence was told already.
        """
        if self._reported:
            return None
        self._reported = True
        return self._stall()

    def finish(self) -> Sequence[Finding]:
        """Nothing: the end of a stream is no stall."""
        return ()

    @property
    def used(self) -> bool:
        """Whether it has seen a stream already: a detector belongs to one."""
        return self._started

    @property
    def memory_bytes(self) -> int:
        """Bytes that the histogram of gaps holds."""
        return self._gaps.memory_bytes

    def _stall(self) -> Finding:
        limit_s = s_from_ns(self.limit_ns)
        known = self._gaps.count
        if self._p99_ns:
            p99_s = self._p99_ns / NS_PER_S
            reason = f"99 % of the {known} gaps so far were below {p99_s:.2g} s"
        else:
            reason = "the stream has not found its rhythm yet" if self._started else "none came yet"
        return Finding(
            "stall",
            self.action,
            self._seq,
            self._t_ns + self.limit_ns,
            0,
            0,
            f"no chunk for {limit_s:.1f} s; {reason}",
            {"limit_s": limit_s, "p99_s": s_from_ns(self._p99_ns), "gaps": known},
        )


_NEVER = 1e6
#: Severities that a text or a silence can have: only tool calls are blocked.
_ACTIONS: tuple[Severity, ...] = ("note", "warn", "stop")
_MAX_FORGOTTEN = 256
#: Levels of `LoopScanner`.
_COUNTING, _CERTAIN = 2, 3
_RHYTHM_GAPS = 16
_MAX_S = 1e9
_NAMES: dict[str, str] = {
    "text": "the answer",
    "reasoning": "the reasoning",
    "tool_call": "the tool call",
    "audio": "the transcript",
}
