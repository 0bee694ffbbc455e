"""The exception tree: each error is ours, and the built-in class that callers expect."""

from __future__ import annotations

import pickle
import queue

import pytest

import midstream
from midstream._core import errors

BUILT_IN = {
    "StreamStoppedError": ConnectionError,
    "StreamResetError": ConnectionError,
    "QuicTimeoutError": TimeoutError,
    "QuicError": ConnectionError,
    "HandshakeError": ConnectionError,
    "DatagramTooLargeError": ValueError,
    "ConnectionClosedError": ConnectionError,
    "CertificateError": ConnectionError,
    "AdmissionError": queue.Full,
    "ArgumentTypeError": TypeError,
    "ArgumentValueError": ValueError,
    "ConfigurationError": ValueError,
    "EndpointError": ConnectionError,
    "ExpressionError": ValueError,
    "FormulaSyntaxError": ValueError,
    "IdleTimeoutError": TimeoutError,
    "IntegrationError": ArithmeticError,
    "LedgerError": ValueError,
    "LedgerInUseError": RuntimeError,
    "MalformedStreamError": ValueError,
    "MemoryLimitError": MemoryError,
    "MidstreamError": Exception,
    "QueueEmptyError": queue.Empty,
    "QueueFullError": queue.Full,
    # New in Python 3.13.
    "QueueShutDownError": getattr(queue, "ShutDown", Exception),
    "RecordingError": ValueError,
    "RefusedError": RuntimeError,
    "SourceError": Exception,
    "StateLimitError": RuntimeError,
    "UndecidedError": TimeoutError,
}


def test_no_error_goes_unlisted() -> None:
    defined = {
        name
        for name, member in vars(errors).items()
        if isinstance(member, type) and issubclass(member, BaseException)
    }
    assert defined == set(errors.__all__) == set(BUILT_IN)


@pytest.mark.parametrize("name", errors.__all__)
def test_either_except_catches(name: str) -> None:
    error = getattr(errors, name)
    assert issubclass(error, midstream.MidstreamError)
    assert issubclass(error, BUILT_IN[name])


@pytest.mark.parametrize("name", errors.__all__)
def test_message_survives_pickling(name: str) -> None:
    error = getattr(errors, name)("n must be at least 1, got 0")
    assert str(pickle.loads(pickle.dumps(error))) == "n must be at least 1, got 0"


@pytest.mark.parametrize("name", errors.__all__)
def test_made_as_tblib_makes_them(name: str) -> None:
    cls = getattr(errors, name)
    assert isinstance(cls.__new__(cls, "n must be at least 1, got 0"), errors.MidstreamError)


def test_facts_survive_pickling() -> None:
    written = errors.ExpressionError("unknown name 'q'", text="x + q", position=4)
    read = pickle.loads(pickle.dumps(written))
    assert str(read) == str(written) == "unknown name 'q'\n    x + q\n        ^"
    assert (read.text, read.position) == ("x + q", 4)
    blown = errors.IntegrationError("not finite", step=3, state=(1.0, 2.0), trajectory=7)
    read = pickle.loads(pickle.dumps(blown))
    assert (read.step, read.state, read.trajectory) == (3, (1.0, 2.0), 7)


def test_long_expressions_are_shown_in_part() -> None:
    error = errors.FormulaSyntaxError("unknown operator", text="G a\n& ?b", position=6)
    assert (error.line, error.column, error.position) == (2, 3, 6)
    assert str(error) == "line 2, column 3: unknown operator\n    & ?b\n      ^"
    error = errors.ExpressionError("no", text="a" * 5000 + "?" + "b" * 5000, position=5000)
    first, line, caret = str(error).splitlines()
    assert first == "no" and len(line) < 100 and line[caret.index("^")] == "?"


def test_source_errors_say_where() -> None:
    error = errors.MalformedStreamError("not JSON", place="event 17")
    assert str(error) == "event 17: not JSON"
    assert error.place == "event 17"
    assert errors.SourceError("broke off").place is None


def test_endpoint_errors_carry_the_status() -> None:
    error = errors.EndpointError("refused", place="POST /chat", status=429)
    assert (str(error), error.status) == ("POST /chat: refused", 429)
    assert errors.EndpointError("refused").status is None
