"""Token counts of all providers under common names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["token_counts"]

_CACHED = "cached_tokens"
_REASONING = "reasoning_tokens"
#: What providers call their counts -> the common name, and the name of a count it adds to.
_NAMES: dict[str, tuple[str | None, str | None]] = {
    **dict.fromkeys(
        (
            *("input_tokens", "prompt_tokens", "inputTokens", "promptTokenCount"),
            *("total_input_tokens", "prompt_eval_count", "tokens_evaluated", "prompt_n"),
        ),
        ("input_tokens", None),
    ),
    **dict.fromkeys(
        (
            *("output_tokens", "completion_tokens", "outputTokens", "candidatesTokenCount"),
            *("total_output_tokens", "eval_count", "tokens_predicted", "predicted_n"),
        ),
        ("output_tokens", None),
    ),
    **dict.fromkeys(("total_tokens", "totalTokens", "totalTokenCount"), ("total_tokens", None)),
    # Anthropic, Bedrock and llama.cpp count what comes from a cache apart from the input, and the
    # former what goes there.
    **dict.fromkeys(
        ("cache_read_input_tokens", "cacheReadInputTokens", "cache_n"), (_CACHED, "input_tokens")
    ),
    **dict.fromkeys(
        ("cache_creation_input_tokens", "cacheWriteInputTokens"), (None, "input_tokens")
    ),
    # Google counts thoughts apart from the output, and what tools read apart from the prompt.
    **dict.fromkeys(("toolUsePromptTokenCount", "total_tool_use_tokens"), (None, "input_tokens")),
    **dict.fromkeys(("thoughtsTokenCount", "total_thought_tokens"), (_REASONING, "output_tokens")),
    **dict.fromkeys(
        (
            *("cached_tokens", "cachedContentTokenCount", "total_cached_tokens"),
            "prompt_cache_hit_tokens",
        ),
        (_CACHED, None),
    ),
    **dict.fromkeys(("reasoning_tokens", "thinking_tokens"), (_REASONING, None)),
}
#: Objects inside that tell what part of a count is from a cache, or reasoning.
_DETAILS = frozenset(
    {
        *("prompt_tokens_details", "input_tokens_details", "input_token_details"),
        *("completion_tokens_details", "output_tokens_details", "output_token_details"),
    }
)


def token_counts(usage: Mapping[str, Any]) -> dict[str, int]:
    """Read a provider's usage into common names.

    Parameters
    ----------
    usage : mapping
        Counts as any of the supported providers gives them.

    Returns
    -------
    dict of str to int
        Those that are known of ``input_tokens`` (all that was read, from a cache too),
        ``output_tokens`` (all that was written, reasoning too), ``total_tokens`` (as the provider
        says, else the sum), ``cached_tokens`` (of the input) and ``reasoning_tokens`` (of the
        output).

    Notes
    -----
    2 microseconds. What is no count (negative, no number, no whole number) is not known. Where a
    provider gives a count by two names, the first counts.

    Examples
    --------
    >>> token_counts({"prompt_tokens": 12, "completion_tokens": 3})
    {'input_tokens': 12, 'output_tokens': 3, 'total_tokens': 15}
    >>> token_counts({"input_tokens": 2, "cache_read_input_tokens": 40, "output_tokens": 5})
    {'input_tokens': 42, 'output_tokens': 5, 'total_tokens': 47, 'cached_tokens': 40}
    """
    found: dict[str, int] = {}
    more: dict[str, int] = {}
    inner = usage.get("tokens")
    if isinstance(inner, Mapping):  # Cohere keeps what was billed apart
        _read(inner, found, more)
    _read(usage, found, more)
    read, written = found.get("input_tokens"), found.get("output_tokens")
    if more:
        if read is not None:
            read += more.get("input_tokens", 0)
        if written is not None or "output_tokens" in more:
            written = (written or 0) + more.get("output_tokens", 0)
    counts: dict[str, int] = {}
    if read is not None:
        counts["input_tokens"] = read
    if written is not None:
        counts["output_tokens"] = written
    total = found.get("total_tokens")
    if total is None and read is not None and written is not None:
        total = read + written
    if total is not None:
        counts["total_tokens"] = total
    for name in (_CACHED, _REASONING):
        if found.get(name):
            counts[name] = found[name]
    return counts


def _read(usage: Mapping[str, Any], found: dict[str, int], more: dict[str, int]) -> None:
    for name, value in usage.items():
        names = _NAMES.get(name)
        if names is None:
            if name in _DETAILS and isinstance(value, Mapping):
                _read_details(value, found)
            continue
        if type(value) is not int:
            if type(value) is not float or not value.is_integer():
                continue
            value = int(value)
        if not 0 <= value < 1 << 63:
            continue
        own, whole = names
        if own is not None and own not in found:
            found[own] = value
        if whole is not None:
            more[whole] = more.get(whole, 0) + value


def _read_details(details: Mapping[str, Any], found: dict[str, int]) -> None:
    for name in ("cached_tokens", "reasoning_tokens", "thinking_tokens"):
        value = details.get(name)
        if type(value) is int and 0 <= value < 1 << 63:
            found.setdefault(_CACHED if name == _CACHED else _REASONING, value)
