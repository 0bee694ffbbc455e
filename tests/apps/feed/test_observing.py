"""Streams of guards and of the proxy in a feed: from the first event to whatever end."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from stream.chat import chunk, sse, story, within
from stream.proxy.wires import Upstream, no_tool, post, proxied, raw

from midstream.apps.feed import Feed, FeedObserver
from midstream.errors import ArgumentTypeError, RefusedError
from midstream.stream import Event, Guard

CHAT = "/v1/chat/completions"
CALL = {"index": 0, "id": "c", "function": {"name": "rm", "arguments": "{}"}}


def observing(feed: Feed, policies: tuple[str, ...] = ()) -> dict[str, Any]:
    """Arguments of a proxy whose streams are in the feed."""

    def observe(request_id: str, api: str, guard: Guard) -> FeedObserver:
        return FeedObserver(feed, request_id, guard, labels={"api": api}, policies=policies)

    return {"observe": observe}


def streams(feed: Feed) -> list[dict[str, Any]]:
    return list(feed.snapshot().fields["streams"].values())


async def test_an_answer_is_shown_from_first_to_last() -> None:
    feed = Feed()
    async with (
        within(),
        Upstream(story(20)) as upstream,
        proxied(upstream, **observing(feed)) as proxy,
    ):
        answer = await raw(proxy.url, post(CHAT))
    (one,) = streams(feed)
    assert one["outcome"] == "ended"
    assert one["labels"]["api"] == "chat"
    assert one["name"].encode() in answer
    said = "".join(f"tok{number}" for number in range(3))
    assert one["texts"]["text/0"]["text"].replace(" ", "").startswith(said)


async def test_a_stop_and_a_denial_are_shown() -> None:
    feed = Feed()
    loop = sse(*[chunk("again and again ") for _ in range(300)], chunk(finish="stop"))
    async with (
        within(),
        Upstream(loop) as upstream,
        proxied(upstream, **observing(feed)) as proxy,
    ):
        await raw(proxy.url, post(CHAT))
    calls = sse(chunk(tool_calls=[CALL]), chunk(finish="tool_calls"))
    async with (
        within(),
        Upstream(calls) as upstream,
        proxied(upstream, policies=no_tool("rm"), **observing(feed, ("no rm",))) as proxy,
    ):
        await raw(proxy.url, post(CHAT))
    looped, denied = streams(feed)
    assert looped["outcome"] == "stopped"
    assert looped["findings"][-1]["severity"] == "stop"
    assert denied["outcome"] == "ended"
    assert denied["verdicts"]["no rm"]["verdict"] == "violated"
    assert denied["findings"][0]["severity"] == "block"


async def test_the_model_that_was_asked_for_is_shown_where_the_answer_names_none() -> None:
    feed = Feed()
    asked = json.dumps({"model": "gpt-x", "stream": True, "messages": []}).encode()
    async with (
        within(),
        Upstream(story(5)) as upstream,
        proxied(upstream, **observing(feed)) as proxy,
    ):
        await raw(proxy.url, post(CHAT, asked))
    assert streams(feed)[0]["labels"]["model"] == "gpt-x"


def test_what_held_to_the_end_is_satisfied_and_stays_so() -> None:
    feed, guard = Feed(), Guard(())
    guard.attach(FeedObserver(feed, "an answer", guard, policies=["a", "b"]))
    guard.take(Event("text", 0, 0, "Once"))
    guard.finish()
    (one,) = streams(feed)
    assert {verdict["verdict"] for verdict in one["verdicts"].values()} == {"satisfied"}
    assert {verdict["changes"] for verdict in one["verdicts"].values()} == {1}


@pytest.mark.parametrize("how", ["client gone", "upstream reset", "cut"])
async def test_every_end_is_shown(how: str) -> None:
    feed = Feed()
    reset_after = 1030 if how == "upstream reset" else None
    async with (
        within(),
        Upstream(story(5000), size=40, pause_s=0.01, reset_after=reset_after) as upstream,
        proxied(upstream, **observing(feed)) as proxy,
    ):
        host, _, port = proxy.url.partition("://")[2].partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(post(CHAT))
        await reader.readuntil(b"tok1")
        assert [one["outcome"] for one in streams(feed)] == ["running"]
        if how == "client gone":
            writer.transport.abort()
        elif how == "cut":
            proxy.cut()
        while proxy.metrics.streams_active:
            await asyncio.sleep(0.01)
        (one,) = streams(feed)
        writer.transport.abort()
    assert one["outcome"] == ("closed" if how == "client gone" else "failed")


async def test_an_answer_that_is_an_error_is_not_shown() -> None:
    feed = Feed()
    async with (
        within(),
        Upstream(
            json.dumps({"error": "busy"}).encode(),
            status="429 Too Many Requests",
            kind="application/json",
        ) as upstream,
        proxied(upstream, **observing(feed)) as proxy,
    ):
        await raw(proxy.url, post(CHAT))
    assert streams(feed) == []


async def test_a_closed_feed_does_not_disturb_a_stream() -> None:
    feed = Feed()
    guard = Guard(())
    guard.attach(FeedObserver(feed, "late", guard))
    feed.close()
    guard.take(Event("text", 0, 0, "Once"))
    guard.finish()
    assert streams(feed) == []


def test_observers_have_three_methods_and_are_attached_once() -> None:
    guard = Guard(())
    with pytest.raises(ArgumentTypeError, match="event, finding and close, got object"):
        guard.attach(object())  # type: ignore[arg-type]
    observer = FeedObserver(Feed(), "one", guard)
    guard.attach(observer)
    with pytest.raises(RefusedError, match="attached already"):
        guard.attach(observer)


def test_several_observers_are_all_told() -> None:
    feeds = [Feed(), Feed()]
    guard = Guard(())
    for feed in feeds:
        guard.attach(FeedObserver(feed, "one", guard))
    guard.take(Event("text", 0, 0, "Once"))
    guard.finish("failed", error=ValueError("broken"))
    for feed in feeds:
        (one,) = streams(feed)
        assert (one["outcome"], one["error"]) == ("failed", "broken")
