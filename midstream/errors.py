"""The exceptions that midstream raises; all are `MidstreamError`.

`ArgumentTypeError`, `ArgumentValueError`, `ConfigurationError`
    what the caller gave cannot be used; also TypeError, ValueError, ValueError
`ExpressionError`
    text that is no expression, with a caret under the place; also ValueError
`FormulaSyntaxError`
    text that is no formula, with line, column and caret; an `ExpressionError`
`StateLimitError`, `UndecidedError`
    an automaton outgrew its limit; a question has no answer in the time allowed; also RuntimeError
    and TimeoutError
`IntegrationError`
    a trajectory blew up: the step and the state before it; also ArithmeticError
`MemoryLimitError`
    the work needs more memory than the machine has; also MemoryError
`LedgerError`, `LedgerInUseError`
    a ledger is damaged or altered, at which record; another writer has it; also ValueError and
    RuntimeError
`RefusedError`
    a change or an action that safety rules or evidence do not carry; also RuntimeError
`AdmissionError`
    a scheduler cannot promise a deadline; also QueueFullError
`QueueEmptyError`, `QueueFullError`, `QueueShutDownError`
    a queue has nothing to give, no room, or was shut down; also queue.Empty, queue.Full and, from
    Python 3.13, queue.ShutDown
`QuicError`
    a QUIC connection or stream; also ConnectionError. By cause `ConnectionClosedError` (code,
    reason, by whom), `HandshakeError` and `CertificateError` (it was never made),
    `QuicTimeoutError` (also TimeoutError), `StreamResetError` and `StreamStoppedError` (with their
    codes), `DatagramTooLargeError` (also ValueError)
`SourceError`
    a stream could not be read to its end; by cause `EndpointError` (also ConnectionError),
    `IdleTimeoutError` (also TimeoutError), `MalformedStreamError` and `RecordingError` (also
    ValueError)

Examples
--------
>>> import midstream
>>> issubclass(midstream.errors.EndpointError, (midstream.MidstreamError, ConnectionError))
True
"""

from __future__ import annotations

from midstream._core.errors import (
    AdmissionError,
    ArgumentTypeError,
    ArgumentValueError,
    CertificateError,
    ConfigurationError,
    ConnectionClosedError,
    DatagramTooLargeError,
    EndpointError,
    ExpressionError,
    FormulaSyntaxError,
    HandshakeError,
    IdleTimeoutError,
    IntegrationError,
    LedgerError,
    LedgerInUseError,
    MalformedStreamError,
    MemoryLimitError,
    MidstreamError,
    QueueEmptyError,
    QueueFullError,
    QueueShutDownError,
    QuicError,
    QuicTimeoutError,
    RecordingError,
    RefusedError,
    SourceError,
    StateLimitError,
    StreamResetError,
    StreamStoppedError,
    UndecidedError,
)

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
