"""What steps can be: kinds, fields, and what their values are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from midstream.stream.events import SEVERITIES

__all__ = [
    "CHANNELS",
    "CHOICES",
    "FIELDS_OF",
    "METERS",
    "STEP_FIELDS",
    "STEP_KINDS",
    "TYPES",
    "WRITTEN",
    "names_server",
    "plain_name",
    "plain_words",
]

#: What can happen, as the ``kind`` of a step says.
STEP_KINDS = (
    "text",
    "reasoning",
    "tool_call",
    "tool_result",
    "user",
    "match",
    "usage",
    "clock",
    "finding",
    "error",
    "end",
)
#: Where text patterns are looked for.
CHANNELS = ("text", "reasoning", "tool_call", "tool_result", "audio", "user")
#: Of these, what the model writes: the default of ``in``.
WRITTEN = ("text", "reasoning", "tool_call", "audio")
#: Fields that steps can have.
STEP_FIELDS = (
    "kind",
    "name",
    "plain_name",
    "arguments",
    "call",
    "call_id",
    "stream_id",
    "text",
    "channel",
    "pattern",
    "start",
    "end",
    "result",
    "failed",
    "malformed",
    "provider_run",
    "severity",
    "usage",
    "chars",
    "tokens",
    "t",
)

#: Those that steps of every kind have, and for each kind those that only some have.
_COMMON_FIELDS = ("kind", "stream_id", "t", "chars", "tokens", "usage")
_OWN_FIELDS = {
    "text": ("channel",),
    "reasoning": ("channel",),
    "tool_call": (
        *("name", "plain_name", "call_id", "arguments", "call"),
        *("malformed", "provider_run"),
    ),
    "tool_result": (
        *("name", "plain_name", "call_id", "arguments", "call"),
        *("text", "result", "failed"),
    ),
    "user": ("text",),
    "match": ("pattern", "channel", "start", "end", "name", "plain_name", "call_id"),
    "usage": (),
    "clock": (),
    "finding": ("name", "severity"),
    "error": ("text",),
    "end": ("text",),
}
#: For each kind of step, the fields that it can have.
FIELDS_OF = {kind: frozenset((*_COMMON_FIELDS, *own)) for kind, own in _OWN_FIELDS.items()}

#: Fields that change by themselves, so that a step must be made where a test of them turns over.
METERS = ("chars", "tokens", "t")
#: Field -> what its values are, for a person and as types; of the others nothing is known.
TYPES: Mapping[str, tuple[str, tuple[type, ...]]] = {
    **dict.fromkeys((*METERS, "start", "end"), ("a number", (int, float))),
    **dict.fromkeys(("failed", "malformed", "provider_run"), ("true or false", (bool,))),
    **dict.fromkeys(
        (
            *("kind", "name", "plain_name", "call", "call_id", "stream_id"),
            *("text", "channel", "pattern", "severity"),
        ),
        ("text", (str,)),
    ),
}
#: Field -> what its values are, and which there are.
CHOICES: Mapping[str, tuple[str, Sequence[str]]] = {
    "kind": ("a kind of step", STEP_KINDS),
    "channel": ("a channel", CHANNELS),
    "severity": ("a severity", SEVERITIES),
}

_WORD_BEGINS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_BETWEEN_WORDS = re.compile(r"[ _-]+")
_SERVER_ENDS = re.compile(r"__|[./:]")


@lru_cache(maxsize=4096)
def plain_name(name: str) -> str:
    """A tool's name without its server's, in small letters, its words joined by ``_``.

    Examples
    --------
    >>> [plain_name(name) for name in ("mcp__fs__delete_file", "DeleteFile", "fs.delete-file")]
    ['delete_file', 'delete_file', 'delete_file']
    """
    own = next((part for part in reversed(_SERVER_ENDS.split(name)) if part.strip("_ -")), name)
    return plain_words(own).strip("_")


def plain_words(name: str) -> str:
    """A name in small letters, its words joined by ``_``; stars stay."""
    return _BETWEEN_WORDS.sub("_", _WORD_BEGINS.sub("_", name)).lower()


def names_server(name: str) -> bool:
    """Whether a tool's name has that of its server in front."""
    return _SERVER_ENDS.search(name) is not None
