"""Server-sent events: the standard, the cuts, the limits, the damage."""

from __future__ import annotations

import sys
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream.chat import cut

from midstream._core.errors import ArgumentTypeError, ArgumentValueError, MalformedStreamError
from midstream.stream.sse import SSEParser


def parse(pieces, **options):
    parser = SSEParser(**options)
    events = []
    for piece in pieces:
        events += parser.feed(piece)
    return events + parser.finish()


def data(events):
    return [event.data for event in events]


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_each_line_end(end):
    body = end.join([b"data: a", b"data: b", b"", b"data: c", b"", b""])
    assert data(parse([body])) == ["a\nb", "c"]
    assert data(parse(cut(body, [1]))) == ["a\nb", "c"]


def test_an_event_comes_with_the_byte_that_completes_its_blank_line():
    parser = SSEParser()
    assert parser.feed(b"data: a\r") == []
    assert data(parser.feed(b"\r")) == ["a"]  # a lone CR: no next byte is waited for
    assert parser.feed(b"\n") == []  # it was a CRLF after all: no second blank line
    assert parser.feed(b"data: b\r\n") == []
    assert data(parser.feed(b"\r")) == ["b"]
    assert parser.feed(b"\ndata: c\n") == []
    assert data(parser.feed(b"\n")) == ["c"]


def test_crlf_between_reads_is_one_line_end():
    assert data(parse([b"data: a\r", b"\ndata: b\r", b"\n\r", b"\n"])) == ["a\nb"]


def test_fields():
    body = (
        b": hello\nevent: delta\nid: 7\nretry: 1500\ndata:no space\ndata:  two spaces\n"
        b"unknown: x\ndata\n\n"
        b"data: next\n\n"
        b"id: bad\0id\nretry: 1x\nevent\ndata: third\n\n"
        b"id\ndata: fourth\n\n"
    )
    parser = SSEParser()
    first, second, third, fourth = parser.feed(body)
    assert first == ("no space\n two spaces\n", "delta", "7", 1500, 1, 8, True, None)
    assert (second.event, second.id, second.retry_ms, second.number) == ("", "7", None, 2)
    assert (third.event, third.id, third.retry_ms) == ("", "7", None)
    assert fourth.id == ""
    assert parser.comments == 1
    assert parser.retry_ms == 1500
    assert body[first.offset :].startswith(b"event: delta")
    assert body[second.offset :].startswith(b"data: next")


def test_events_without_data_are_not_handed_out_and_do_not_leak():
    body = b"event: ping\n\n: keep-alive\n\nretry: 5\n\ndata: x\n\n"
    (event,) = parse([body])
    assert (event.data, event.event, event.number) == ("x", "", 1)


def test_byte_order_mark_only_at_the_start():
    body = b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n"
    assert data(parse([body])) == ["a"]
    assert data(parse(cut(body, [1]))) == ["a"]


def test_last_event_without_its_blank_line():
    for body in (b"data: a\n\ndata: b", b"data: a\n\ndata: b\n", b"data: a\n\ndata: b\r"):
        first, last = parse([body])
        assert first.terminated
        assert (last.data, last.terminated, last.number) == ("b", False, 2)
    assert parse([b"data: a\n\ndata:"])[1:] == []


def test_a_parser_is_new_when_a_body_is_over():
    parser = SSEParser()
    parser.feed(b"id: 1\ndata: a")
    parser.finish()
    (event,) = parser.feed(b"\xef\xbb\xbfdata: b\n\n")
    assert event == ("b", "", "", None, 1, 0, True, None)


def test_invalid_utf8_is_told_and_kept():
    body = b"data: ok\n\ndata: caf\xe9 au lait\n\ndata: after\n\n"
    for sizes in ([len(body)], [1], [3, 5]):
        ok, bad, after = parse(cut(body, sizes))
        assert ok.problem is None
        assert bad.data == "caf\ufffd au lait"
        assert bad.problem.startswith("invalid UTF-8 at byte 3 of its data")
        assert (bad.number, bad.offset) == (2, 10)
        assert (after.data, after.problem) == ("after", None)


def test_a_code_point_cut_by_chunks_is_whole():
    text = "naïve 🙂 日本"
    body = f"data: {text}\n\n".encode()
    assert data(parse(cut(body, [1]))) == [text]


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_limit_on_a_line_counts_its_bytes_without_the_line_end(size):
    body = b"data: 1234\n\n"  # a line of 10 bytes
    assert data(parse(cut(body, [size]), max_bytes=10)) == ["1234"]
    with pytest.raises(MalformedStreamError, match="event 1: a line beginning at byte 0"):
        parse(cut(body, [size]), max_bytes=9)


def test_an_endless_line_fails_early_in_bounded_memory():
    piece = b"x" * 65536
    parser = SSEParser(max_bytes=1 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(MalformedStreamError, match="longer than 1048576 bytes") as caught:
            for _ in range(1600):  # 100 MB
                parser.feed(piece)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert parser.offset <= (1 << 20) + 2 * 65536
    assert peak < 4 << 20
    assert parser.error is caught.value
    with pytest.raises(MalformedStreamError):
        parser.finish()


def test_an_endless_event_fails_too():
    parser = SSEParser(max_bytes=1000)
    with pytest.raises(MalformedStreamError, match="the data beginning at byte"):
        for _ in range(200):
            parser.feed(b"data: 0123456789\n")


#: What an object takes more where there is no GIL.
WITHOUT_GIL = sys.getsizeof(b"") - 33


def held_bytes(parser):
    """Bytes of memory in what a parser keeps of an event that is not complete, with a GIL."""
    kept = [parser._data, parser._blocks, parser._partial]
    objects = [*kept, *(one for part in kept for one in part)]
    return sum(sys.getsizeof(one) - WITHOUT_GIL for one in objects)


@pytest.mark.parametrize("value", [b"", b"x", b"xy", b"x" * 1000])
def test_short_lines_take_no_more_memory_than_long_ones(value):
    limit = 1 << 18
    parser = SSEParser(max_bytes=limit)
    line = b"data:" + value + b"\n"
    lines = limit // (len(value) + 1) - 1  # the most that the limit lets through
    most = 0
    for begin in range(0, lines, 100):
        assert parser.feed(line * min(100, lines - begin)) == []
        most = max(most, held_bytes(parser))
    assert most < 1.2 * limit
    (event,) = parser.feed(b"\n")
    assert event.data == b"\n".join([value] * lines).decode()
    assert held_bytes(parser) < 1000
    with pytest.raises(MalformedStreamError, match="the data beginning at byte"):
        parser.feed(line * (lines + 3))


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 512, 1000])
def test_joined_lines_are_the_same_lines(count):
    lines = [b"%d" % turn if turn % 3 else b"" for turn in range(count)]
    body = b"".join(b"data: " + line + b"\n" for line in lines)
    whole = [b"\n".join(lines).decode()] if lines else []
    assert data(parse(cut(body + b"\n", [4096]))) == whole
    assert data(parse([body])) == (whole if any(lines) else [])
    assert parse([b"data:\n" * count]) == []  # never ended, and says nothing


def test_events_before_an_over_long_line_are_handed_out():
    parser = SSEParser(max_bytes=10)
    assert data(parser.feed(b"data: a\n\ndata: 0123456789\n\ndata: b\n\n")) == ["a"]
    assert isinstance(parser.error, MalformedStreamError)
    with pytest.raises(MalformedStreamError, match="event 2"):
        parser.feed(b"data: c\n\n")


def test_arguments():
    with pytest.raises(ArgumentValueError, match="max_bytes"):
        SSEParser(max_bytes=0)
    with pytest.raises(ArgumentTypeError, match="max_bytes"):
        SSEParser(max_bytes=1.5)
    assert SSEParser().feed(b"") == []


lines = st.sampled_from(
    [
        b"data: plain",
        b"data:",
        b"data",
        "data: 日本 🙂".encode(),
        b"data: bad \xff\xe2\x82",
        b": comment",
        b"event: e",
        b"id: 3",
        b"retry: 20",
        b"\xef\xbb\xbfdata: mark",
        b"nonsense",
        b"",
        b"",
        b"",
    ]
)
bodies = st.lists(
    st.tuples(lines, st.sampled_from([b"\n", b"\r", b"\r\n"])).map(b"".join), max_size=20
).map(b"".join)


@settings(deadline=None)
@given(bodies, st.binary(max_size=3), st.lists(st.integers(1, 9), min_size=1, max_size=8))
def test_how_a_body_is_cut_does_not_matter(body, tail, sizes):
    body += tail
    whole = parse([body])
    assert parse(cut(body, sizes)) == whole
    assert parse(cut(body, [1])) == whole


@settings(deadline=None)
@given(st.binary(max_size=60), st.lists(st.integers(1, 5), min_size=1, max_size=5))
def test_any_bytes_are_taken(body, sizes):
    assert parse(cut(body, sizes)) == parse([body])
