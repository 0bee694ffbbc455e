"""Log records as JSON lines."""

from __future__ import annotations

import json
import logging
import math

import pytest

from midstream.errors import ArgumentTypeError, ArgumentValueError
from midstream.stream.telemetry import JsonLogFormatter

SECRET = "sk-proj-" + "A1b2C3d4E5" * 8


def written(formatter=None, *, error=None, message="plain", extra=None, args=()):
    """What a record becomes."""
    info = None if error is None else (type(error), error, error.__traceback__)
    record = logging.getLogger("midstream.test").makeRecord(
        "midstream.test", logging.WARNING, "f.py", 1, message, args, info, extra=extra
    )
    line = (formatter or JsonLogFormatter()).format(record)
    assert "\n" not in line
    return line, json.loads(line)


def test_what_every_line_has():
    _, row = written(message="stream %s ended", args=("s1",), extra={"stream": "s1", "chunks": 3})
    assert row.pop("timestamp").endswith("Z")
    assert row == {
        "level": "warning",
        "logger": "midstream.test",
        "message": "stream s1 ended",
        "stream": "s1",
        "chunks": 3,
    }


def test_no_secret_is_in_a_line_wherever_it_stands():
    class Shown:
        def __repr__(self):
            return SECRET

    try:
        raise ValueError(SECRET)
    except ValueError as error:
        line, row = written(
            error=error,
            message="key %s",
            args=(SECRET,),
            extra={"a": SECRET, "b": {SECRET: [SECRET, (SECRET,)]}, "c": Shown(), SECRET: 1},
        )
    assert SECRET not in line
    assert row["error.type"] == "ValueError"
    assert "test_logs.py" in row["stack"]


def test_other_kinds_of_secrets_or_none():
    text = "mail ann@example.org"
    assert written(message=text)[1]["message"] == text
    assert "ann@" not in written(JsonLogFormatter(redact=("email",)), message=text)[0]
    assert SECRET in written(JsonLogFormatter(redact=()), message=SECRET)[0]


def test_what_json_does_not_have():
    nested = [[[[[["deep"]]]]]]
    _, row = written(extra={"n": math.nan, "i": math.inf, "o": {1, 2}, "nested": nested, "x": 0.5})
    assert (row["n"], row["i"], row["o"], row["x"]) == ("nan", "inf", "{1, 2}", 0.5)
    assert "deep" in json.dumps(row["nested"])


def test_long_texts_are_cut_and_hostile_ones_are_escaped():
    line, row = written(message="\x1b[31m\u2028\ud800" + "x" * 1_000_000)
    assert len(line) < 70_000
    assert line.isascii()
    assert row["message"].startswith("\x1b[31m")


def test_extras_never_replace_what_every_line_has():
    _, row = written(extra={"level": "forged", "logger": "forged"})
    assert (row["level"], row["logger"]) == ("warning", "midstream.test")


def test_the_current_span_is_named():
    pytest.importorskip("opentelemetry.sdk", reason="OpenTelemetry's SDK is not installed")
    from opentelemetry.sdk.trace import TracerProvider

    with TracerProvider().get_tracer("t").start_as_current_span("s") as span:
        _, row = written()
    context = span.get_span_context()
    assert int(row["trace_id"], 16) == context.trace_id
    assert int(row["span_id"], 16) == context.span_id


@pytest.mark.parametrize(
    ("kinds", "error"), [(("nothing",), ArgumentValueError), (3, ArgumentTypeError)]
)
def test_kinds_that_are_not_known(kinds, error):
    with pytest.raises(error):
        JsonLogFormatter(redact=kinds)
