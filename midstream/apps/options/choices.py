"""Words that an option may have, bounds of numbers, and the headings of help."""

from __future__ import annotations

from enum import StrEnum

__all__ = [
    "ASK",
    "DETECT",
    "MAX_SPEED",
    "MIN_SPEED",
    "OUTPUT",
    "SERVE",
    "TRUST",
    "Action",
    "AxisChoice",
    "DemoChoice",
    "Dialect",
    "Ending",
    "InputFormat",
    "Missing",
    "Semantics",
]

#: Bounds of speeds: above 0 and short of eternity.
MIN_SPEED, MAX_SPEED = 0.001, 1e6


class Action(StrEnum):
    """What a finding leads to."""

    STOP = "stop"
    WARN = "warn"
    NOTE = "note"
    OFF = "off"


class Ending(StrEnum):
    """How a stream that a rule stopped ends for its client."""

    FILTERED = "filtered"
    NORMAL = "normal"
    ERROR = "error"


class AxisChoice(StrEnum):
    """What a picture's horizontal axis counts."""

    RECORD = "record"
    TIME = "time"


class DemoChoice(StrEnum):
    """What a demonstration shows."""

    TEXT = "text"
    AUDIO = "audio"
    VIDEO = "video"
    REALTIME = "realtime"
    QUIC = "quic"


class Dialect(StrEnum):
    """Whose grammar a formula is written in."""

    SPOT = "spot"
    BLACK = "black"
    LTLF2DFA = "ltlf2dfa"
    RTAMT = "rtamt"


class Semantics(StrEnum):
    """What a verdict in the middle of a trace is about."""

    LTLF = "ltlf"
    LTL3 = "ltl3"
    RV_LTL = "rv-ltl"


class Missing(StrEnum):
    """What an atom is of which an event says nothing."""

    FALSE = "false"
    ERROR = "error"


class InputFormat(StrEnum):
    """What a pipe or a file speaks."""

    SSE = "sse"
    RECORDING = "recording"
    NDJSON = "ndjson"
    TEXT = "text"


#: Headings of help.
DETECT = "Detectors"
ASK = "Asking an endpoint (SOURCE is a URL)"
TRUST = "Trusting a server (SOURCE is a quic:// URL)"
SERVE = "Serving"
OUTPUT = "Output"
