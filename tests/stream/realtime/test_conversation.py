"""`Conversation`: the same whatever order the payloads of different items come in."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream.proxy.sessions import Script

from midstream.errors import ArgumentValueError
from midstream.stream.realtime import Conversation


def user(item_id, text, previous=None):
    content = [{"type": "input_audio", "transcript": None}]
    item = {"id": item_id, "type": "message", "role": "user", "content": content}
    place = {"item_id": item_id, "content_index": 0}
    transcribed = "conversation.item.input_audio_transcription"
    return [
        {"type": "input_audio_buffer.committed", "item_id": item_id, "previous_item_id": previous},
        {"type": "conversation.item.added", "item": item, "previous_item_id": previous},
        *[{"type": f"{transcribed}.delta", "delta": char, **place} for char in text],
        {"type": f"{transcribed}.completed", "transcript": text, **place},
    ]


def linked(payloads, previous):
    """Payloads of an item with what it stands behind."""
    return [
        {**payload, "previous_item_id": previous} if "previous_item_id" in payload else payload
        for payload in payloads
    ]


@st.composite
def sessions(draw):
    """Payloads item by item, each behind the one before, and a mixture that keeps their orders."""
    script = Script(beta=draw(st.booleans()))
    texts = st.lists(st.text("ab c", max_size=3), max_size=4)
    threads, previous = [], None
    for n in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["user", "text", "audio", "call"]))
        if kind == "user":
            item_id, payloads = f"user_{n}", user(f"user_{n}", "".join(draw(texts)), previous)
        else:
            pieces = draw(texts)
            where = {"response": f"resp_{draw(st.integers(0, 1))}", "index": n}
            if kind == "call":
                payloads, item = script.call("tool", *pieces, call_id=f"call_{n}", **where)
            else:
                payloads, item = script.message(*pieces, spoken=kind == "audio", **where)
            item_id, payloads = item["id"], linked(payloads, previous)
        threads.append(payloads)
        previous = item_id
    turns = draw(st.permutations([n for n, one in enumerate(threads) for _ in one]))
    rest = [iter(one) for one in threads]
    return threads, [next(rest[n]) for n in turns]


def taken(payloads):
    conversation = Conversation()
    for payload in payloads:
        conversation.take(payload)
    return conversation


@settings(max_examples=200, deadline=None)
@given(sessions())
def test_any_interleaving_gives_the_same_conversation(session):
    threads, mixed = session
    one = taken([payload for thread in threads for payload in thread])
    other = taken(mixed)
    assert other.items == one.items
    assert other.again(beta=False) == one.again(beta=False)
    assert other.before() == one.before()
    assert len(one) == len(threads)


@settings(max_examples=100, deadline=None)
@given(sessions())
def test_what_is_made_again_gives_the_same_conversation(session):
    one = taken(session[1])
    made = one.again(beta=False)
    other = Conversation()
    for item in made:
        other.add(item)
    assert other.again(beta=False) == made


def test_items_stand_where_the_server_put_them():
    conversation = Conversation()
    for item_id, previous in (("a", None), ("c", "b"), ("b", "a"), ("d", "c"), ("x", "a")):
        item = {"id": item_id, "type": "message", "role": "user", "content": item_id}
        conversation.take(
            {"type": "conversation.item.added", "item": item, "previous_item_id": previous}
        )
    assert [item.id for item in conversation] == ["a", "x", "b", "c", "d"]
    conversation.take({"type": "conversation.item.deleted", "item_id": "b"})
    assert [item.id for item in conversation] == ["a", "c", "d", "x"] or [
        item.id for item in conversation
    ] == ["a", "x", "c", "d"]
    with pytest.raises(ArgumentValueError, match="another item"):
        conversation.add({"id": "a", "type": "message"})


def test_a_ring_of_items_loses_none():
    conversation = Conversation()
    for item_id, previous in (("a", "b"), ("b", "a"), ("c", None)):
        item = {"id": item_id, "type": "message", "role": "user", "content": item_id}
        conversation.take(
            {"type": "conversation.item.added", "item": item, "previous_item_id": previous}
        )
    assert sorted(item.id for item in conversation) == ["a", "b", "c"]


def test_what_is_kept_has_limits():
    conversation = Conversation(max_items=10, max_chars=1000)
    for n in range(50):
        item = {"id": f"i{n}", "type": "message", "role": "user", "content": f"{n}"}
        conversation.take({"type": "conversation.item.added", "item": item})
    assert [item.id for item in conversation] == [f"i{n}" for n in range(40, 50)]
    assert conversation.forgotten == 40
    for _ in range(400):
        conversation.take(
            {"type": "response.output_text.delta", "item_id": "i49", "delta": "x" * 10}
        )
    assert len(conversation) == 1
    assert len(conversation["i49"].text) == 4002


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(
                ["type", "item", "item_id", "delta", "content_index", "previous_item_id", "text"]
            ),
            st.sampled_from(
                [
                    *("conversation.item.added", "response.output_text.delta", "a", "b", "", None),
                    *("response.output_text.done", "conversation.item.truncated", 0, -1, 1.5, []),
                    *("conversation.item.deleted", "input_audio_buffer.committed", {"id": "a"}),
                    *({"id": "b", "content": [1, {"text": 2}]}, {"id": "c", "output": [{}]}),
                ]
            ),
        ),
        max_size=12,
    )
)
def test_odd_payloads_break_nothing(payloads):
    conversation = taken(payloads)
    conversation.again(beta=True)
    conversation.before()
    assert len(conversation.items) == len(conversation)
