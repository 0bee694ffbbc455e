"""Token counts of all providers."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midstream.stream.formats import token_counts


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "total_tokens": 15,
                "prompt_tokens_details": {"cached_tokens": 4},
                "completion_tokens_details": {"reasoning_tokens": 3},
            },
            (10, 5, 15, 4, 3),
        ),
        (
            {
                "input_tokens": 10,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": 5,
                "output_tokens_details": {"reasoning_tokens": 2},
            },
            (10, 5, 15, None, 2),
        ),
        (
            {
                "input_tokens": 1,
                "cache_creation_input_tokens": 20,
                "cache_read_input_tokens": 300,
                "output_tokens": 5,
                "output_tokens_details": {"thinking_tokens": 2},
            },
            (321, 5, 326, 300, 2),
        ),
        (
            {"inputTokens": 1, "outputTokens": 2, "cacheWriteInputTokens": 3, "totalTokens": 6},
            (4, 2, 6, None, None),
        ),
        (
            {
                "promptTokenCount": 9,
                "candidatesTokenCount": 10,
                "thoughtsTokenCount": 256,
                "toolUsePromptTokenCount": 1,
                "totalTokenCount": 276,
                "cachedContentTokenCount": 5,
            },
            (10, 266, 276, 5, 256),
        ),
        (
            {"total_input_tokens": 7, "total_output_tokens": 26, "total_thought_tokens": 115},
            (7, 141, 148, None, 115),
        ),
        (
            {"billed_units": {"input_tokens": 1}, "tokens": {"input_tokens": 9.0}},
            (9, None, None, None, None),
        ),
        ({"prompt_eval_count": 3, "eval_count": 4}, (3, 4, 7, None, None)),
        ({"tokens_evaluated": 3, "tokens_predicted": 4}, (3, 4, 7, None, None)),
        ({"thoughtsTokenCount": 4}, (None, 4, None, None, 4)),
        ({"prompt_tokens": 3, "input_tokens": 4}, (3, None, None, None, None)),
        ({"prompt_cache_hit_tokens": 2}, (None, None, None, 2, None)),
        ({}, (None, None, None, None, None)),
        ({"input_tokens": True, "output_tokens": -1}, (None, None, None, None, None)),
        ({"input_tokens": 1.5, "output_tokens": "7"}, (None, None, None, None, None)),
        ({"input_tokens": 1 << 70, "output_tokens": float("nan")}, (None,) * 5),
        ({"tokens": 5, "prompt_tokens_details": 5}, (None,) * 5),
    ],
)
def test_counts(usage, counts):
    names = ("input_tokens", "output_tokens", "total_tokens", "cached_tokens", "reasoning_tokens")
    wanted = {name: count for name, count in zip(names, counts, strict=True) if count is not None}
    assert token_counts(usage) == wanted


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["input_tokens", "tokens", "prompt_tokens_details", "cached_tokens", "x"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
            lambda inner: st.dictionaries(
                st.sampled_from(["cached_tokens", "input_tokens"]), inner
            ),
            max_leaves=4,
        ),
    )
)
def test_nothing_makes_it_raise(usage):
    assert all(type(count) is int and count >= 0 for count in token_counts(usage).values())
