"""Frames: every byte kept, the same ones however a body is cut, and what the parser says."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from midstream.stream.proxy.frames import LineSplitter, SSESplitter, compact, sse_bytes
from midstream.stream.sse import SSEParser

PIECES = [b"data: a", b"data:", b"\n", b"\r", b"\r\n", b":c", b"event: x", b"d", b"id: 3"]
bodies = st.lists(st.sampled_from([*PIECES, b"\xef\xbb\xbf", "€".encode()]), max_size=40)
cuts = st.lists(st.integers(0, 200))


def fed(splitter, body, places):
    places = sorted({place for place in places if 0 < place < len(body)})
    out = []
    for start, end in zip([0, *places], [*places, len(body)], strict=True):
        out += splitter.feed(body[start:end])
    return out + splitter.finish()


@settings(deadline=None)
@given(bodies.map(b"".join), cuts)
def test_frames_do_not_depend_on_cuts(body, places):
    whole = fed(SSESplitter(10**6), body, ())
    assert b"".join(frame.raw for frame in whole) == body
    assert fed(SSESplitter(10**6), body, places) == whole


@settings(deadline=None)
@given(bodies.map(b"".join))
@example(b"data: a\nd")  # cut off in the name of its second field
@example(b"data: a\nx")
def test_frames_say_what_the_parser_says(body):
    parser = SSEParser()
    wanted = [(event.data, event.event) for event in parser.feed(body) + parser.finish()]
    mine = [
        (frame.data, frame.event)
        for frame in fed(SSESplitter(10**6), body, ())
        if frame.data is not None
    ]
    if len(mine) > len(wanted):  # a bare "data:" that no blank line ends says nothing
        assert not mine.pop()[0].strip()
    assert mine == wanted


@settings(deadline=None)
@given(st.binary(max_size=60), cuts)
def test_lines_keep_every_byte(body, places):
    whole = fed(LineSplitter(10**6), body, ())
    assert b"".join(frame.raw for frame in whole) == body
    assert fed(LineSplitter(10**6), body, places) == whole


def test_comments_are_handed_on_at_once():
    splitter = SSESplitter(100)
    assert [frame.raw for frame in splitter.feed(b": still here\n")] == [b": still here\n"]
    assert splitter.feed(b"data: a\n") == []
    assert splitter.waiting == 8


def test_a_frame_that_is_too_long_is_the_last():
    for splitter in (SSESplitter(10), LineSplitter(10)):
        assert splitter.feed(b"d" * 11) == []
        assert splitter.too_long
        assert splitter.feed(b"data: a\n\n") == []
        assert splitter.finish() == []


def test_invalid_text_is_told():
    (frame,) = SSESplitter(100).feed(b"data: \xff\n\n")
    assert frame.data == "\ufffd"
    assert "invalid UTF-8 at byte 0" in frame.problem
    (frame,) = LineSplitter(100).feed(b"\xff\n")
    assert "invalid UTF-8" in frame.problem


def test_halves_of_characters_stay_escaped():
    assert compact({"a": "\ud83d"}) == '{"a":"\\ud83d"}'
    assert sse_bytes("x", "[DONE]") == b"event: x\ndata: [DONE]\n\n"
