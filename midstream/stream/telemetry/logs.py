"""Log records as one JSON object a line, without secrets, tied to the span they belong to."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from midstream._core.validate import check_iterable
from midstream.stream.redaction import CREDENTIALS, redact

__all__ = ["JsonLogFormatter"]

#: What every record has; whatever else is in one was given as ``extra``.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_MOST_CHARS = 10_000
_MOST_EXTRAS = 64
_MOST_DEPTH = 4


class JsonLogFormatter(logging.Formatter):
    """A formatter for `logging` that writes each record as one JSON object on one line.

    Parameters
    ----------
    redact : iterable of str, default CREDENTIALS
        Kinds of secrets that are replaced, as for `midstream.stream.redact`; ``()`` for none.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        A kind is not known.

    Notes
    -----
    Each line has ``timestamp`` (UTC, RFC 3339, microseconds), ``level``, ``logger``, ``message``
    and what was given as ``extra``; where the record has an exception, ``error.type`` and
    ``stack``, the frames without the exception's message, which may quote a stream; within a span
    of OpenTelemetry, ``trace_id`` and ``span_id``. Texts are cut at 10,000 characters. What JSON
    does not have is written as its ``repr``.

    20 microseconds for each text in a record. Thread-safe.

    Examples
    --------
    >>> record = logging.makeLogRecord({"msg": "key %s", "args": ("sk-" + "a1B2" * 12,)})
    >>> json.loads(JsonLogFormatter().format(record))["message"]
    'key [redacted:openai-key]'
    """

    def __init__(self, *, redact: Iterable[str] = CREDENTIALS) -> None:
        super().__init__()
        self._kinds = tuple(check_iterable("redact", redact))
        self._clean("")

    def format(self, record: logging.LogRecord) -> str:
        """Write a record.

        Parameters
        ----------
        record : logging.LogRecord

        Returns
        -------
        str
            Without a line feed.
        """
        moment = datetime.fromtimestamp(record.created, UTC)
        row: dict[str, Any] = {
            "timestamp": moment.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._clean(record.getMessage()),
        }
        extras = (name for name in vars(record) if name not in _OWN)
        for name, _ in zip(extras, range(_MOST_EXTRAS), strict=False):
            row.setdefault(self._clean(name), self._plain(getattr(record, name), _MOST_DEPTH))
        if record.exc_info and record.exc_info[0] is not None:
            kind, _, trace = record.exc_info
            row["error.type"] = kind.__qualname__
            row["stack"] = self._clean("".join(traceback.format_tb(trace)))
        row.update(_span())
        return json.dumps(row, ensure_ascii=True)

    def _clean(self, text: str) -> str:
        if self._kinds:
            text = redact(text, self._kinds)
        return text if len(text) <= _MOST_CHARS else text[:_MOST_CHARS] + "…"

    def _plain(self, value: Any, depth: int) -> Any:
        if value is None or isinstance(value, bool | int):
            return value
        if isinstance(value, float):
            return value if value - value == 0 else repr(value)
        if isinstance(value, str):
            return self._clean(value)
        if depth and isinstance(value, dict):
            return {
                self._clean(str(key)): self._plain(inner, depth - 1)
                for (key, inner), _ in zip(value.items(), range(_MOST_EXTRAS), strict=False)
            }
        if depth and isinstance(value, list | tuple):
            return [self._plain(inner, depth - 1) for inner in value[:_MOST_EXTRAS]]
        return self._clean(repr(value))


def _span() -> dict[str, str]:
    """Ids of the current span, if the program uses OpenTelemetry at all."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return {}
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {
        "trace_id": trace.format_trace_id(context.trace_id),
        "span_id": trace.format_span_id(context.span_id),
    }
