"""Requests as clients send them, answers as they get them."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from midstream.apps.agent import Agent
from midstream.apps.answers import Answer
from midstream.apps.serving.refusals import Refusal

__all__ = ["KINDS", "Kind", "Request", "encode", "now_ms", "read_request", "request_of"]

_MOST_ID_CHARS = 200
#: Requests up to so many characters or elements are answered at once, without a thread.
_LIGHT = 1000


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def encode(value: Any) -> bytes:
    """JSON in UTF-8, on one line. Lone surrogates are escaped; nothing is that is not finite.

    Examples
    --------
    >>> encode({"a": "\\u00e9"}).decode(), encode("\\ud800")
    ('{"a":"é"}', b'"\\\\ud800"')
    """
    try:
        return _readable(value).encode()
    except UnicodeEncodeError:
        return _escaped(value).encode()


# Made once: `json.dumps` with options makes an encoder a call.
_readable = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), check_circular=False
).encode
_escaped = json.JSONEncoder(allow_nan=False, separators=(",", ":"), check_circular=False).encode


def _no_constant(name: str) -> Any:
    raise Refusal("bad_json", f"{name} is no JSON: numbers must be finite")


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise Refusal("bad_json", "a number is too large")
    return number


_decode = json.JSONDecoder(parse_constant=_no_constant, parse_float=_number).decode


class Request(NamedTuple):
    """What a client wants.

    Attributes
    ----------
    kind : str
        As it says it; may be none that there is.
    id : str, int or None
        Comes back with the answer.
    fields : mapping
        Its arguments.
    """

    kind: str
    id: str | int | None
    fields: Mapping[str, Any]


def parse(text: str | bytes) -> dict[str, Any]:
    """Parse one JSON object.

    Raises
    ------
    Refusal
        It is not one.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        value = _decode(text)
    except UnicodeDecodeError:
        raise Refusal("bad_json", "the request is not UTF-8") from None
    except RecursionError:
        raise Refusal("bad_json", "the request is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise Refusal("bad_json", f"{error.msg} at character {error.pos}") from None
    except ValueError:  # more digits than Python converts
        raise Refusal("bad_json", "an integer is too large") from None
    if not isinstance(value, dict):
        raise Refusal("bad_request", f"a request is a JSON object, got {_called(value)}")
    return value


def read_request(text: str) -> Request:
    """Read a request from a WebSocket.

    Raises
    ------
    Refusal
        It cannot be understood; without an id then.
    """
    return request_of(parse(text))


def request_of(value: dict[str, Any]) -> Request:
    """What a JSON object asks for; its arguments may lie in ``"payload"``.

    Raises
    ------
    Refusal
        Its kind or id cannot be used.
    """
    kind = value.get("kind", value.get("type"))
    if not isinstance(kind, str):
        raise Refusal("bad_request", f"kind must be a text, got {_called(kind)}")
    ident = value.get("id")
    if isinstance(ident, bool) or not (ident is None or isinstance(ident, (str, int))):
        raise Refusal("bad_request", f"id must be a text or an integer, got {_called(ident)}")
    if isinstance(ident, str) and len(ident) > _MOST_ID_CHARS:
        raise Refusal("bad_request", f"id must have at most {_MOST_ID_CHARS} characters")
    if isinstance(ident, int) and ident.bit_length() > 64:
        raise Refusal("bad_request", "id must be within 64 bits")
    payload = value.get("payload", value)
    if not isinstance(payload, dict):
        raise Refusal("bad_request", f"payload must be an object, got {_called(payload)}")
    return Request(kind, ident, payload)


def _called(value: Any) -> str:
    """A JSON value's type by its name there."""
    names = {dict: "an object", list: "an array", str: "a text", bool: "a boolean"}
    if value is None:
        return "null"
    return names.get(type(value), "a number")


class Kind(NamedTuple):
    """A kind of request.

    Attributes
    ----------
    type : str
        Of its answer.
    ask : callable
        Asks the agent.
    is_light : callable
        Whether that takes less than a millisecond.
    """

    type: str
    ask: Callable[[Agent, Mapping[str, Any]], Answer]
    is_light: Callable[[Mapping[str, Any]], bool]


def _argument(fields: Mapping[str, Any], *names: str) -> Any:
    """A field by the first of its names; Refusal without it."""
    for name in names:
        if name in fields:
            return fields[name]
    raise Refusal("bad_request", f"{names[0]} is missing")


def _optional(fields: Mapping[str, Any], *names: str) -> Any:
    for name in names:
        if name in fields:
            return fields[name]
    return None


def _process(agent: Agent, fields: Mapping[str, Any]) -> Answer:
    return agent.process(_argument(fields, "message"))


def _analyze(agent: Agent, fields: Mapping[str, Any]) -> Answer:
    return agent.analyze(_optional(fields, "messages"))


def _compare(agent: Agent, fields: Mapping[str, Any]) -> Answer:
    params = fields.get("params", {})
    if not isinstance(params, dict):
        raise Refusal("bad_request", f"params must be an object, got {_called(params)}")
    if not params.keys().isdisjoint(("metric", "unit", "first", "second", "self")):
        raise Refusal("bad_request", "params are of the measure: metric and unit stand beside them")
    return agent.compare(
        _argument(fields, "first", "sequence1"),
        _argument(fields, "second", "sequence2"),
        metric=_given(fields, "dtw", "metric", "algorithm"),
        unit=_given(fields, "words", "unit"),
        **params,
    )


def _detect_pattern(agent: Agent, fields: Mapping[str, Any]) -> Answer:
    return agent.detect_pattern(
        fields.get("pattern"),
        fields.get("sequence"),
        unit=fields.get("unit"),
        min_length=_given(fields, 2, "min_length"),
        min_count=_given(fields, 2, "min_count"),
    )


def _behavior(agent: Agent, fields: Mapping[str, Any]) -> Answer:
    return agent.behavior(_optional(fields, "series", "rewards"))


def _meta_learn(agent: Agent, fields: Mapping[str, Any]) -> Answer:
    return agent.meta_learn(fields.get("content"), fields.get("reward"))


def _status(agent: Agent, fields: Mapping[str, Any]) -> Answer:
    return agent.status()


def _given(fields: Mapping[str, Any], default: Any, *names: str) -> Any:
    """A field that may be missing or null."""
    value = _optional(fields, *names)
    return default if value is None else value


def _is_short_text(fields: Mapping[str, Any]) -> bool:
    message = fields.get("message")
    if isinstance(message, dict):
        message = message.get("content")
    return isinstance(message, str) and len(message) <= _LIGHT


def _are_short(fields: Mapping[str, Any]) -> bool:
    if _optional(fields, "sequence", "first", "sequence1") is None:
        return False  # the conversation is meant
    sizes = [len(value) for value in fields.values() if isinstance(value, (str, list))]
    return sum(sizes) <= _LIGHT // 2


def _never(fields: Mapping[str, Any]) -> bool:
    return False


def _always(fields: Mapping[str, Any]) -> bool:
    return True


#: The original's six kinds, and learning.
KINDS: Final[Mapping[str, Kind]] = {
    "process": Kind("result", _process, _is_short_text),
    "analyze": Kind("analysis", _analyze, _never),
    "compare": Kind("comparison", _compare, _are_short),
    "detect_pattern": Kind("pattern", _detect_pattern, _are_short),
    "behavior": Kind("behavior_analysis", _behavior, _never),
    "meta_learn": Kind("learned", _meta_learn, _never),
    "status": Kind("status", _status, _always),
}
