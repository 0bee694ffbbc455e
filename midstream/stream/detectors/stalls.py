"""Silences that the rhythm of a stream does not explain."""

from __future__ import annotations

from collections.abc import Sequence

from midstream._core.clock import NS_PER_S, ns_from_s, s_from_ns
from midstream._core.validate import check_choice, check_real
from midstream.scheduler import Histogram
from midstream.stream.detectors.protocol import ACTIONS
from midstream.stream.events import Event, Finding, Severity

__all__ = ["StallDetector"]


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
        self.action: Severity = check_choice("action", action, ACTIONS)
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


_RHYTHM_GAPS = 16
_MAX_S = 1e9
