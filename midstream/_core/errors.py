"""The exception tree.

Each error is both a `MidstreamError` and the built-in class that callers expect, so either
``except`` works. Messages name the argument or the place, and the value that was found there.
"""

from __future__ import annotations

import queue
import sys

__all__ = [
    "AdmissionError",
    "ArgumentTypeError",
    "ArgumentValueError",
    "CertificateError",
    "ConfigurationError",
    "ConnectionClosedError",
    "DatagramTooLargeError",
    "EndpointError",
    "ExpressionError",
    "FormulaSyntaxError",
    "HandshakeError",
    "IdleTimeoutError",
    "IntegrationError",
    "LedgerError",
    "LedgerInUseError",
    "MalformedStreamError",
    "MemoryLimitError",
    "MidstreamError",
    "QueueEmptyError",
    "QueueFullError",
    "QueueShutDownError",
    "QuicError",
    "QuicTimeoutError",
    "RecordingError",
    "RefusedError",
    "SourceError",
    "StateLimitError",
    "StreamResetError",
    "StreamStoppedError",
    "UndecidedError",
]


class MidstreamError(Exception):
    """Base of everything that midstream raises on purpose."""


class ArgumentValueError(MidstreamError, ValueError):
    """An argument has the right type and a value that cannot be used."""


class ArgumentTypeError(MidstreamError, TypeError):
    """An argument has a type that cannot be used."""


class ExpressionError(ArgumentValueError):
    """Text that is no expression: the message shows it with a caret under the place.

    Attributes
    ----------
    text : str
        The expression.
    position : int
        Index of the character where it goes wrong.
    """

    def __init__(self, message: str, *, text: str = "", position: int = 0) -> None:
        # A terminal's width around the place: equations can be long.
        start = max(0, position - 40)
        part = text[start : start + 80]
        before, after = "..." * (start > 0), "..." * (start + 80 < len(text))
        # Tabs stay tabs, so that the caret stands below its character however wide they are.
        skipped = "".join("\t" if mark == "\t" else " " for mark in text[start:position])
        caret = " " * len(before) + skipped + " " * (position - start - len(skipped)) + "^"
        shown = f"\n    {before}{part}{after}\n    {caret}" if text else ""
        super().__init__(message + shown)
        self.text = text
        self.position = position


class FormulaSyntaxError(ExpressionError):
    """Text that is no formula.

    Attributes
    ----------
    line, column : int
        Where it goes wrong, both counted from 1; `position` counts characters from 0.
    """

    def __init__(self, message: str, *, text: str = "", position: int = 0) -> None:
        self.line = text.count("\n", 0, position) + 1
        start = text.rfind("\n", 0, position) + 1
        self.column = position - start + 1
        end = text.find("\n", position)
        super().__init__(
            f"line {self.line}, column {self.column}: {message}" if text else message,
            text=text[start : end if end >= 0 else len(text)],
            position=position - start,
        )
        self.text = text
        self.position = position


class IntegrationError(MidstreamError, ArithmeticError):
    """A trajectory left the numbers: a component became infinite or NaN.

    Attributes
    ----------
    step : int
        The first step whose result is not finite, counted from the start, 1 for the first.
    state : tuple of float
        The last finite state, before that step.
    trajectory : int or None
        Which start of an ensemble.
    """

    def __init__(
        self,
        message: str,
        *,
        step: int = 0,
        state: tuple[float, ...] = (),
        trajectory: int | None = None,
    ) -> None:
        super().__init__(message)
        self.step = step
        self.state = state
        self.trajectory = trajectory


class StateLimitError(MidstreamError, RuntimeError):
    """An automaton, a game or a search outgrew the limit that was set for it.

    Attributes
    ----------
    limit : int or None
        The limit, in states or nodes as the message says.
    """

    def __init__(self, message: str, *, limit: int | None = None) -> None:
        super().__init__(message)
        self.limit = limit


class UndecidedError(MidstreamError, TimeoutError):
    """A question could not be answered within the time or memory allowed: the answer is unknown."""


class ConfigurationError(MidstreamError, ValueError):
    """An environment variable or a configuration file asks for something impossible."""


# In this order: MemoryError has a `__new__` of its own, which Python refuses where another base
# comes first; tblib, with which Dask carries errors to where they are seen, asks for it.
class MemoryLimitError(MemoryError, MidstreamError):
    """The work would need more memory than the machine has; refused before any was taken."""


class LedgerError(MidstreamError, ValueError):
    """A ledger is damaged, was altered, or belongs to something else.

    Attributes
    ----------
    record : int or None
        Index of the first record that is wrong.
    """

    def __init__(self, message: str, *, record: int | None = None) -> None:
        super().__init__(message)
        self.record = record


class LedgerInUseError(MidstreamError, RuntimeError):
    """Another writer has the ledger open; one at a time may."""


class RefusedError(MidstreamError, RuntimeError):
    """A change or an action that the safety rules, the surface or the evidence do not carry.

    Attributes
    ----------
    reason : str
        What refused it: the rule, the limit or the evidence.
    """

    def __init__(self, message: str, *, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class QueueEmptyError(MidstreamError, queue.Empty):
    """There was nothing to get, not within the time allowed."""


class QueueFullError(MidstreamError, queue.Full):
    """There was no room to put, not within the time allowed."""


class AdmissionError(QueueFullError):
    """Admission control cannot promise what a task asks for."""


if sys.version_info >= (3, 13):

    class QueueShutDownError(MidstreamError, queue.ShutDown):
        """The queue takes nothing any more, or has nothing to give and never will."""

else:

    class QueueShutDownError(MidstreamError):
        """The queue takes nothing any more, or has nothing to give and never will."""


class SourceError(MidstreamError):
    """A stream could not be read to its end. What had arrived was delivered first.

    Parameters
    ----------
    message : str
        Place and cause.
    place : str, optional
        Where: a URL, ``file:line``, ``event 17``.
    """

    def __init__(self, message: str, *, place: str | None = None) -> None:
        super().__init__(message if place is None else f"{place}: {message}")
        self.place = place


class EndpointError(SourceError, ConnectionError):
    """An endpoint refused, failed or broke off.

    Attributes
    ----------
    status : int or None
        HTTP status, where there was one.
    """

    def __init__(
        self, message: str, *, place: str | None = None, status: int | None = None
    ) -> None:
        super().__init__(message, place=place)
        self.status = status


class IdleTimeoutError(SourceError, TimeoutError):
    """Nothing arrived for longer than the limit."""


class MalformedStreamError(SourceError, ValueError):
    """Bytes that are no stream of the promised format: over-long line, not UTF-8, not JSON."""


class RecordingError(SourceError, ValueError):
    """A recording cannot be read: missing, truncated, or not in a known format."""


class QuicError(MidstreamError, ConnectionError):
    """Something went wrong on a QUIC connection or one of its streams."""


class QuicTimeoutError(QuicError, TimeoutError):
    """A peer was silent for too long, or an operation did not end in the time it was given."""


class ConnectionClosedError(QuicError):
    """The connection is closed, and by whom, with which code and reason.

    Attributes
    ----------
    code : int
        Error code of the CONNECTION_CLOSE frame (RFC 9000, section 20); 0 for a close without one.
    reason : str
        The reason phrase that came with it.
    is_application : bool
        Whether the code is the application's and not QUIC's own.
    by_peer : bool
        Whether the peer closed it.
    """

    def __init__(
        self,
        message: str,
        *,
        code: int = 0,
        reason: str = "",
        is_application: bool = False,
        by_peer: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.is_application = is_application
        self.by_peer = by_peer


class HandshakeError(ConnectionClosedError):
    """The connection was never made: refused, no common protocol or version, no answer."""


class CertificateError(HandshakeError):
    """A certificate was refused; `reason` says why."""


class StreamResetError(QuicError):
    """The peer reset the stream: what it sent ends here.

    Attributes
    ----------
    code : int
        The application's error code.
    stream_id : int
        Which stream.
    """

    def __init__(self, message: str, *, code: int = 0, stream_id: int = -1) -> None:
        super().__init__(message)
        self.code = code
        self.stream_id = stream_id


class StreamStoppedError(QuicError):
    """The peer asked to send no more on this stream (STOP_SENDING).

    Attributes
    ----------
    code : int
        The application's error code.
    stream_id : int
        Which stream.
    """

    def __init__(self, message: str, *, code: int = 0, stream_id: int = -1) -> None:
        super().__init__(message)
        self.code = code
        self.stream_id = stream_id


class DatagramTooLargeError(QuicError, ValueError):
    """A datagram does not fit into one packet of this connection, or the peer takes none."""
