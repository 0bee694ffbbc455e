"""Logs of histograms in HdrHistogram's log format: one line an interval.

HistogramLogAnalyzer, HdrHistogramVisualizer and the ports of HdrHistogram read them.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from types import TracebackType
from typing import Self, SupportsIndex, TextIO

from midstream._core.errors import ArgumentTypeError, ArgumentValueError, RecordingError
from midstream._core.validate import check_int, check_text
from midstream.scheduler._histogram import Histogram

__all__ = ["HistogramLogWriter", "LoggedInterval", "read_log"]

_NS_PER_S = 1_000_000_000
#: A log whose first time is so much before its start counts from the start: the Java original's
#: criterion.
_YEAR_NS = 365 * 24 * 3600 * _NS_PER_S
_LEGEND = '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"'
_TIME_COMMENT = re.compile(r"#\[(StartTime|BaseTime): *([^ \]]+)")
#: What would end a tag.
_TAG_END = re.compile(r"[,\s]")


@dataclass(frozen=True, slots=True)
class LoggedInterval:
    """One line of a log.

    Parameters
    ----------
    start_ns, end_ns : int
        Nanoseconds since the epoch, `time.time_ns`, where the log says when it started; else of the
        log's own clock.
    tag : str or None
        Which of several series it is of.
    histogram : Histogram
        What was recorded in that time, with the losses that `Histogram.encode` tells of.
    """

    start_ns: int
    end_ns: int
    tag: str | None
    histogram: Histogram


class HistogramLogWriter:
    """Write a log, one interval after the other.

    Parameters
    ----------
    file : TextIO, str or path
        An open text file, which stays open, or the name of one to make.
    start_ns : int, optional
        Instant of `time.monotonic_ns` at which the log starts; now by default.
    start_time_ns : int, optional
        The same instant since the epoch, as `time.time_ns` tells it.
    comment : str, optional
        First line; by convention the name of the program.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        An argument is of the wrong type, or a time is negative.
    OSError
        The file cannot be made.

    Notes
    -----
    Version 1.3 of the format. Times are written in seconds, with as many digits as nanoseconds
    need, and Interval_Max in milliseconds, exact, as other writers do.

    Not safe from several threads at once.

    References
    ----------
    .. [1] G. Tene, ``HistogramLogWriter``, https://github.com/HdrHistogram/HdrHistogram

    Examples
    --------
    >>> import io
    >>> from midstream.scheduler import Histogram, HistogramLogWriter, read_log
    >>> log = io.StringIO()
    >>> writer = HistogramLogWriter(log, start_ns=0, start_time_ns=1_700_000_000_000_000_000)
    >>> gaps = Histogram()
    >>> gaps.record(12_000_000)
    >>> writer.write(gaps, 0, 1_500_000_000, tag="gaps")
    >>> log.getvalue().splitlines()[1]
    '#[StartTime: 1700000000.000 (seconds since epoch), 2023-11-14T22:13:20Z]'
    >>> log.seek(0)
    0
    >>> [(interval.tag, interval.histogram.count) for interval in read_log(log)]
    [('gaps', 1)]
    """

    def __init__(
        self,
        file: TextIO | str | os.PathLike[str],
        *,
        start_ns: SupportsIndex | None = None,
        start_time_ns: SupportsIndex | None = None,
        comment: str | None = None,
    ) -> None:
        monotonic, epoch = time.monotonic_ns(), time.time_ns()
        if start_ns is not None:
            shift = check_int("start_ns", start_ns, low=0) - monotonic
            monotonic, epoch = monotonic + shift, max(epoch + shift, 0)
        if start_time_ns is not None:
            epoch = check_int("start_time_ns", start_time_ns, low=0)
        self._start_ns = monotonic
        head = []
        if comment is not None:
            if len(check_text("comment", comment).splitlines()) != 1 or comment.startswith("["):
                raise ArgumentValueError(f"comment must be one line of text, got {comment!r}")
            head.append(f"#{comment}")
        head.append("#[Histogram log format version 1.3]")
        date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch // _NS_PER_S))
        head.append(f"#[StartTime: {_decimal(epoch, 9)} (seconds since epoch), {date}]")
        head.append(f"#[BaseTime: {_decimal(epoch, 9)} (seconds since epoch)]")
        head.append(_LEGEND)
        self._owned = isinstance(file, (str, os.PathLike))
        self._file: TextIO
        if isinstance(file, (str, os.PathLike)):
            self._file = Path(file).open("w", encoding="utf-8", newline="\n")  # noqa: SIM115 - kept
        else:
            self._file = file
        self._file.write("".join(f"{line}\n" for line in head))

    def write(
        self,
        histogram: Histogram,
        start_ns: SupportsIndex,
        end_ns: SupportsIndex,
        *,
        tag: str | None = None,
        clamp_overflow: bool = False,
    ) -> None:
        """Write one interval.

        Parameters
        ----------
        histogram : Histogram
            What was recorded in the interval; unchanged.
        start_ns, end_ns : int
            Instants of `time.monotonic_ns`, not before the log's start and in this order.
        tag : str, optional
            Which of several series it is of: no comma, no white space.
        clamp_overflow : bool, default False
            As for `Histogram.encode`.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            An argument cannot be written; nothing was.
        OSError
            The file cannot be written.
        """
        if not isinstance(histogram, Histogram):
            raise ArgumentTypeError(f"histogram must be a Histogram, got {histogram!r}")
        start = check_int("start_ns", start_ns, low=self._start_ns)
        end = check_int("end_ns", end_ns, low=start)
        if tag is not None and (not check_text("tag", tag) or _TAG_END.search(tag)):
            raise ArgumentValueError(f"tag must have no comma and no white space, got {tag!r}")
        payload = histogram.encode(clamp_overflow=clamp_overflow).decode("ascii")
        fields = [_decimal(start - self._start_ns, 9), _decimal(end - start, 9)]
        fields += [_decimal(histogram.max, 6), payload]
        self._file.write(f"{'' if tag is None else f'Tag={tag},'}{','.join(fields)}\n")

    def close(self) -> None:
        """Close the file, if it was opened by name."""
        if self._owned:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_log(file: TextIO | str | os.PathLike[str]) -> Iterator[LoggedInterval]:
    """Read a log of any port of HdrHistogram.

    Parameters
    ----------
    file : TextIO, str or path
        An open text file, which stays open, or the name of one.

    Yields
    ------
    LoggedInterval
        In the order of the file.

    Raises
    ------
    RecordingError
        A line is neither comment nor legend nor interval, or holds no histogram that
        `Histogram.decode` can read. The message names the line; those before it were delivered.
    OSError
        The file cannot be read.

    Notes
    -----
    Times are absolute as the Java original makes them so: BaseTime is added to each; without one,
    StartTime, where the first interval starts more than a year before it. Interval_Max is not used:
    its unit depends on the writer.
    """
    if isinstance(file, (str, os.PathLike)):
        with Path(file).open(encoding="utf-8", errors="replace") as opened:
            yield from _intervals(opened, os.fspath(file))
    else:
        yield from _intervals(file, str(getattr(file, "name", "log")))


def _intervals(lines: TextIO, name: str) -> Iterator[LoggedInterval]:
    noted: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        try:
            comment = _TIME_COMMENT.match(text)
            if comment:
                noted[comment[1]] = _nanoseconds(comment[1], comment[2])
            elif text and not text.startswith(("#", '"StartTimestamp"')):
                yield _interval(text, noted)
        except ArgumentValueError as error:
            raise RecordingError(str(error), place=f"{name}:{number}") from None


def _interval(text: str, noted: dict[str, int]) -> LoggedInterval:
    tag: str | None = None
    rest = text
    if text.startswith("Tag="):
        tag, _, rest = text.removeprefix("Tag=").partition(",")
    fields = rest.split(",")
    if len(fields) != 4:
        raise ArgumentValueError(f"an interval must have 4 fields, got {len(fields)}")
    start, length = (
        _nanoseconds(name, field)
        for name, field in zip(("StartTimestamp", "Interval_Length"), fields, strict=False)
    )
    if length < 0:
        raise ArgumentValueError(f"Interval_Length must not be negative, got {fields[1]}")
    if "BaseTime" not in noted:
        log_start = noted.get("StartTime", start)
        noted["BaseTime"] = log_start if start < log_start - _YEAR_NS else 0
    start += noted["BaseTime"]
    return LoggedInterval(start, start + length, tag, Histogram.decode(fields[3]))


def _nanoseconds(name: str, text: str) -> int:
    """Decimal seconds, which a float would round."""
    try:
        seconds = Decimal(text)
        # No time is as long, or as short: an integer of a million digits would take for ever.
        if not seconds.is_finite() or (seconds and not -30 < seconds.adjusted() < 12):
            raise InvalidOperation
    except InvalidOperation:
        raise ArgumentValueError(f"{name} must be a number of seconds, got {text!r}") from None
    return round(seconds * _NS_PER_S) if seconds else 0


def _decimal(number: int, places: int) -> str:
    """`number` / 10**`places`, with 3 decimals, or as many more as it needs."""
    whole, rest = divmod(number, 10**places)
    decimals = f"{rest:0{places}}".rstrip("0")
    return f"{whole}.{decimals:0<3}"
