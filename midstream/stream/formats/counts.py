"""Token counts of all providers under common names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["token_counts"]

#: What providers call the tokens they read, without those from a cache where these are told apart.
_INPUT = (
    *("input_tokens", "prompt_tokens", "inputTokens", "promptTokenCount", "total_input_tokens"),
    *("prompt_eval_count", "tokens_evaluated"),
)
_OUTPUT = (
    *("output_tokens", "completion_tokens", "outputTokens", "candidatesTokenCount"),
    *("total_output_tokens", "eval_count", "tokens_predicted"),
)
_TOTAL = ("total_tokens", "totalTokens", "totalTokenCount")
#: Read in addition to the input above.
_MORE_INPUT = (
    *("cache_read_input_tokens", "cache_creation_input_tokens"),  # Anthropic
    *("cacheReadInputTokens", "cacheWriteInputTokens"),  # Bedrock
    *("toolUsePromptTokenCount", "total_tool_use_tokens"),  # Google
)
#: Written in addition to the output above.
_MORE_OUTPUT = ("thoughtsTokenCount", "total_thought_tokens")  # Google
_CACHED = (
    *("cached_tokens", "cache_read_input_tokens", "cacheReadInputTokens"),
    *("cachedContentTokenCount", "total_cached_tokens", "prompt_cache_hit_tokens"),
)
_REASONING = ("reasoning_tokens", "thoughtsTokenCount", "total_thought_tokens", "thinking_tokens")


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
    3 microseconds. What is no count (negative, no number, no whole number) is not known.

    Examples
    --------
    >>> token_counts({"prompt_tokens": 12, "completion_tokens": 3})
    {'input_tokens': 12, 'output_tokens': 3, 'total_tokens': 15}
    >>> token_counts({"input_tokens": 2, "cache_read_input_tokens": 40, "output_tokens": 5})
    {'input_tokens': 42, 'output_tokens': 5, 'total_tokens': 47, 'cached_tokens': 40}
    """
    inner = usage.get("tokens")
    if isinstance(inner, Mapping):  # Cohere keeps what was billed apart
        usage = {**usage, **inner}
    counts: dict[str, int] = {}
    read = _first(usage, _INPUT)
    if read is not None:
        counts["input_tokens"] = read + _sum(usage, _MORE_INPUT)
    written = _first(usage, _OUTPUT)
    more = _sum(usage, _MORE_OUTPUT)
    if written is not None or more:
        counts["output_tokens"] = (written or 0) + more
    total = _first(usage, _TOTAL)
    if total is None and len(counts) == 2:
        total = sum(counts.values())
    if total is not None:
        counts["total_tokens"] = total
    details = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
    cached = _first(usage, _CACHED, details)
    if cached:
        counts["cached_tokens"] = cached
    details = ("completion_tokens_details", "output_tokens_details", "output_token_details")
    reasoning = _first(usage, _REASONING, details)
    if reasoning:
        counts["reasoning_tokens"] = reasoning
    return counts


def _first(
    usage: Mapping[str, Any], names: tuple[str, ...], details: tuple[str, ...] = ()
) -> int | None:
    for name in names:
        count = _count(usage.get(name))
        if count is not None:
            return count
    for detail in details:
        inner = usage.get(detail)
        if isinstance(inner, Mapping):
            return _first(inner, names)
    return None


def _sum(usage: Mapping[str, Any], names: tuple[str, ...]) -> int:
    return sum([_count(usage[name]) or 0 for name in names if name in usage])


def _count(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1 << 63:
        return None
    return int(value) if value == int(value) else None
