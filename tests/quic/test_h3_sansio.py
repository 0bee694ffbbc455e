"""Frames, settings, capsules, fields and QPACK of HTTP/3, without a connection."""

from __future__ import annotations

import itertools

import pylsqpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream.quic import _h3_frames as frames
from midstream.quic._h3_errors import ConnectionFault, Http3Error, Http3ErrorCode, StreamFault
from midstream.quic._h3_fields import (
    BodyLength,
    Headers,
    check_request,
    check_response,
    check_sent,
    check_trailers,
)
from midstream.quic._h3_qpack import TABLE_CAPACITY, FieldDecoder, FieldEncoder

GET = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", b"localhost"),
    (b":path", b"/"),
]


@pytest.mark.parametrize(
    ("value", "encoded"),
    [  # RFC 9000, appendix A.1
        (151288809941952652, "c2197c5eff14e88c"),
        (494878333, "9d7f3e7d"),
        (15293, "7bbd"),
        (37, "25"),
    ],
)
def test_integers_of_the_rfc(value: int, encoded: str) -> None:
    assert frames.encode_varint(value).hex() == encoded
    assert frames.parse_varint(bytes.fromhex(encoded), 0) == (value, len(encoded) // 2)


@given(st.integers(0, (1 << 62) - 1))
def test_integers_come_back(value: int) -> None:
    data = frames.encode_varint(value)
    assert frames.parse_varint(b"\xff" + data, 1) == (value, 1 + len(data))
    assert frames.parse_varint(data[:-1], 0) is None


def test_an_integer_has_62_bits() -> None:
    with pytest.raises(ValueError, match="2\\*\\*62"):
        frames.encode_varint(1 << 62)


def read_all(data: bytes, cuts: list[int], limit: int = 1000) -> list[tuple[int, bytes]]:
    reader = frames.FrameReader(limit)
    found: list[tuple[int, bytes]] = []
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in itertools.pairwise(edges):
        reader.feed(data[start:end])
        while (frame := reader.next_frame()) is not None:
            if frame[0] == frames.DATA and found and found[-1][0] == frames.DATA:
                found[-1] = (frames.DATA, found[-1][1] + frame[1])
            else:
                found.append(frame)
    assert reader.is_between_frames
    return found


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0, 1, 4, 7, 0x21, 0x4242]), st.binary(max_size=300)), max_size=8
    ),
    st.lists(st.integers(0, 4000), max_size=12),
)
def test_frames_do_not_depend_on_how_bytes_are_cut(
    sent: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    data = b"".join(frames.encode_frame(kind, payload) for kind, payload in sent)
    assert read_all(data, cuts) == read_all(data, [])
    known = [payload for kind, payload in sent if kind in (1, 4, 7)]
    assert [payload for kind, payload in read_all(data, cuts) if kind] == known


def test_a_large_unknown_frame_is_not_kept() -> None:
    reader = frames.FrameReader(1000)
    reader.feed(frames.frame_header(0x21, 1 << 40))
    for _ in range(50):
        reader.feed(bytes(10_000))
        assert reader.next_frame() is None
    assert not reader.is_between_frames
    assert len(reader._buffer) <= 10_000


@pytest.mark.parametrize("kind", [2, 6, 8, 9])
def test_frames_of_http2_end_the_connection(kind: int) -> None:
    reader = frames.FrameReader(1000)
    reader.feed(frames.encode_frame(kind, b""))
    with pytest.raises(ConnectionFault) as caught:
        reader.next_frame()
    assert caught.value.code == Http3ErrorCode.H3_FRAME_UNEXPECTED


def test_limits_hold_before_the_payload_comes() -> None:
    reader = frames.FrameReader(1000)
    reader.feed(frames.frame_header(frames.HEADERS, 1001))
    with pytest.raises(StreamFault, match="1001"):
        reader.next_frame()
    reader = frames.FrameReader(1000)
    reader.feed(frames.frame_header(frames.SETTINGS, 1 << 20))
    with pytest.raises(ConnectionFault) as caught:
        reader.next_frame()
    assert caught.value.code == Http3ErrorCode.H3_EXCESSIVE_LOAD


def test_settings_come_back() -> None:
    wanted = {1: 4096, 6: 65536, 0x33: 1, 0x2C7CF000: 1, 0x21: (1 << 62) - 1}
    reader = frames.FrameReader(1000)
    reader.feed(frames.encode_settings(wanted))
    frame = reader.next_frame()
    assert frame is not None
    assert frames.parse_settings(frame[1]) == wanted


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ("0200", "H3_SETTINGS_ERROR"),
        ("0000", "H3_SETTINGS_ERROR"),
        ("0300", "H3_SETTINGS_ERROR"),
        ("0400", "H3_SETTINGS_ERROR"),
        ("0500", "H3_SETTINGS_ERROR"),
        ("01000100", "H3_SETTINGS_ERROR"),
        ("0802", "H3_SETTINGS_ERROR"),
        ("3302", "H3_SETTINGS_ERROR"),
        ("06", "H3_FRAME_ERROR"),
        ("0640", "H3_FRAME_ERROR"),
    ],
)
def test_settings_that_none_may_send(payload: str, code: str) -> None:
    with pytest.raises(ConnectionFault) as caught:
        frames.parse_settings(bytes.fromhex(payload))
    assert caught.value.code == Http3ErrorCode[code]


def test_a_frame_of_one_integer_has_nothing_else() -> None:
    assert frames.parse_single_varint(b"\x40\x04", "GOAWAY") == 4
    for payload in (b"", b"\x40", b"\x04\x00"):
        with pytest.raises(ConnectionFault, match="GOAWAY") as caught:
            frames.parse_single_varint(payload, "GOAWAY")
        assert caught.value.code == Http3ErrorCode.H3_FRAME_ERROR


@given(
    st.lists(st.tuples(st.sampled_from([0, 0x2843, 77]), st.binary(max_size=90)), max_size=6),
    st.integers(1, 50),
)
def test_capsules_do_not_depend_on_how_bytes_are_cut(
    sent: list[tuple[int, bytes]], step: int
) -> None:
    data = b"".join(frames.encode_frame(kind, value) for kind, value in sent)
    for known in (None, frozenset((0, 0x2843))):
        reader = frames.CapsuleReader(known=known)
        found = [
            capsule
            for start in range(0, len(data), step)
            for capsule in reader.feed(data[start : start + step])
        ]
        assert found == [pair for pair in sent if known is None or pair[0] in known]
        assert reader.is_between_capsules


def test_a_capsule_has_a_limit() -> None:
    reader = frames.CapsuleReader(limit=10)
    with pytest.raises(StreamFault) as caught:
        reader.feed(frames.frame_header(0, 11))
    assert caught.value.code == Http3ErrorCode.H3_EXCESSIVE_LOAD


def test_a_request() -> None:
    head = check_request(
        [
            *GET,
            (b"cookie", b"a=1"),
            (b"te", b"trailers"),
            (b"cookie", b"b=2"),
            (b"content-length", b"3"),
        ],
        extended_connect=False,
    )
    assert (head.method, head.scheme, head.authority, head.path) == (
        "GET",
        "https",
        "localhost",
        "/",
    )
    assert head.protocol is None
    assert head.content_length == 3
    assert head.headers["Cookie"] == "a=1; b=2"


def without(name: bytes) -> list[tuple[bytes, bytes]]:
    return [field for field in GET if field[0] != name]


CONNECT = [(b":method", b"CONNECT"), (b":authority", b"example.org:443")]
EXTENDED = [(b":method", b"CONNECT"), (b":protocol", b"webtransport"), *GET[1:]]


@pytest.mark.parametrize(
    "fields",
    [
        without(b":method"),
        without(b":scheme"),
        without(b":path"),
        without(b":authority"),
        [*GET, (b":method", b"GET")],
        [*GET, (b":status", b"200")],
        [*GET, (b":unknown", b"1")],
        [*GET[:3], (b"accept", b"*/*"), GET[3]],
        [*without(b":path"), (b":path", b"")],
        [*without(b":path"), (b":path", b"index")],
        [*without(b":path"), (b":path", b"*")],
        [*without(b":path"), (b":path", b"/a b")],
        [*without(b":method"), (b":method", b"G T")],
        [*without(b":scheme"), (b":scheme", b"1s")],
        [*without(b":authority"), (b":authority", b"")],
        [*without(b":authority"), (b":authority", b"me@localhost")],
        [*GET, (b"host", b"elsewhere")],
        [*GET, (b"host", b"localhost"), (b"host", b"localhost")],
        [*GET, (b"Accept", b"*/*")],
        [*GET, (b"", b"x")],
        [*GET, (b"a b", b"x")],
        [*GET, (b"a:b", b"x")],
        [*GET, (b"a", b"x\r\nb: y")],
        [*GET, (b"a", b"x\x00")],
        [*GET, (b"a", b" x")],
        [*GET, (b"a", b"x\t")],
        [*GET, (b"connection", b"close")],
        [*GET, (b"keep-alive", b"1")],
        [*GET, (b"proxy-connection", b"1")],
        [*GET, (b"transfer-encoding", b"chunked")],
        [*GET, (b"upgrade", b"h2")],
        [*GET, (b"te", b"gzip")],
        [*GET, (b"content-length", b"-1")],
        [*GET, (b"content-length", b"1, 1")],
        [*GET, (b"content-length", b"1"), (b"content-length", b"2")],
        [*CONNECT, (b":path", b"/")],
        [*CONNECT, (b":scheme", b"https")],
        CONNECT[:1],
        [*GET, (b":protocol", b"webtransport")],
        [*EXTENDED[:1], (b":protocol", b"a b"), *EXTENDED[2:]],
        EXTENDED[:-1],
    ],
)
def test_malformed_requests(fields: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(StreamFault) as caught:
        check_request(fields, extended_connect=True)
    assert caught.value.code == Http3ErrorCode.H3_MESSAGE_ERROR


def test_connect() -> None:
    head = check_request(CONNECT, extended_connect=False)
    assert (head.method, head.path, head.authority) == ("CONNECT", "", "example.org:443")
    assert check_request(EXTENDED, extended_connect=True).protocol == "webtransport"
    with pytest.raises(StreamFault, match="protocol"):
        check_request(EXTENDED, extended_connect=False)


def test_other_requests_that_are_right() -> None:
    options = [(b":method", b"OPTIONS"), *GET[1:3], (b":path", b"*")]
    assert check_request(options, extended_connect=False).path == "*"
    by_host = [*without(b":authority"), (b"host", b"localhost")]
    assert check_request(by_host, extended_connect=False).authority == "localhost"


def test_responses_and_trailers() -> None:
    head = check_response([(b":status", b"404"), (b"content-length", b"0"), (b"x", b"\xe9")])
    assert (head.status, head.content_length, head.headers["x"]) == (404, 0, "é")
    for wrong in (
        [],
        [(b":status", b"99")],
        [(b":status", b"20x")],
        [(b":status", b"101")],
        [(b":status", b"200"), (b":status", b"200")],
        [(b":status", b"200"), (b":path", b"/")],
        [(b"a", b"b"), (b":status", b"200")],
        [(b":status", b"200"), (b"te", b"trailers")],
    ):
        with pytest.raises(StreamFault):
            check_response(wrong)
    assert check_trailers([(b"checksum", b"1")]).raw == ((b"checksum", b"1"),)
    with pytest.raises(StreamFault):
        check_trailers([(b":status", b"200")])


def test_the_length_of_a_body() -> None:
    body = BodyLength(3)
    body.add(2)
    with pytest.raises(StreamFault, match="2 of 3"):
        body.end()
    body.add(1)
    body.end()
    with pytest.raises(StreamFault, match="goes on"):
        body.add(1)
    free = BodyLength(None)
    free.add(1 << 40)
    free.end()


def test_fields_that_a_caller_sends() -> None:
    sent = check_sent("headers", {"Accept": " */* ", "X-Name": "é"})
    assert sent == [(b"accept", b"*/*"), (b"x-name", b"\xe9")]
    assert check_sent("headers", [(b"A", "b"), ("a", b"\xff")]) == [(b"a", b"b"), (b"a", b"\xff")]
    assert check_sent("headers", Headers(sent)) == sent
    assert check_sent("headers", None) == []
    for wrong in (
        {":path": "/"},
        {"a b": "c"},
        {"": "c"},
        {"a": "b\r\nc: d"},
        {"Connection": "close"},
        {"TE": "gzip"},
        {"a": "\u20ac"},
    ):
        with pytest.raises(ArgumentValueError, match="headers"):
            check_sent("headers", wrong)
    for odd in ("text", 3, {"a": 1}, [("a", "b", "c")], [1]):
        with pytest.raises(ArgumentTypeError, match="headers"):
            check_sent("headers", odd)  # type: ignore[arg-type]


def test_headers_are_a_mapping() -> None:
    headers = Headers([(b"a", b"1"), (b"b", b"2"), (b"a", b"3")])
    assert dict(headers) == {"a": "1, 3", "b": "2"}
    assert len(headers) == 2
    assert headers.get("c") is None
    assert headers.get_all("A") == ["1", "3"]
    assert "\u20ac" not in headers
    assert repr(headers).startswith("Headers([(b'a', b'1')")


def test_qpack_round_trip_with_the_dynamic_table() -> None:
    encoder, decoder = FieldEncoder(), FieldDecoder(65536)
    first = encoder.encode(0, [(b"x-name", b"value")])
    assert first[0] == b""  # no table before the peer's settings
    assert decoder.decode(0, first[1]) == (b"", [(b"x-name", b"value")])
    control = encoder.apply_settings(1 << 30, 1 << 30)
    assert decoder.feed_encoder(control) == []
    waited = 0
    for stream_id in range(4, 400, 4):
        fields = [(b"x-name", b"value"), (b"x-number", str(stream_id % 12).encode())]
        instructions, section = encoder.encode(stream_id, fields)
        decoded = decoder.decode(stream_id, section)
        ready = decoder.feed_encoder(instructions)
        if decoded is None:
            waited += 1
            assert ready == [stream_id]
            decoded = decoder.resume(stream_id)
        assert decoded[1] == fields
        encoder.feed_decoder(decoded[0])
    assert waited > 0


def test_qpack_limits() -> None:
    decoder = FieldDecoder(1000)
    _, section = FieldEncoder().encode(0, [(b"x", b"y" * 967)])
    decoded = decoder.decode(0, section)
    assert decoded is not None
    assert decoder.check_size(decoded[1])
    _, section = FieldEncoder().encode(4, [(b"x", b"y" * 968)])
    decoded = decoder.decode(4, section)
    assert decoded is not None
    with pytest.raises(StreamFault) as caught:
        decoder.check_size(decoded[1])
    assert caught.value.code == Http3ErrorCode.H3_EXCESSIVE_LOAD
    # A byte a field: refused by number, before anything is decoded.
    with pytest.raises(StreamFault, match="more than 31 lines"):
        decoder.decode(8, b"\x00\x00" + b"\xd1" * 32)


@pytest.mark.parametrize(
    "section",
    [
        "",
        "00",
        "0000ff",  # an index that is cut off
        "0000ffffffffffffffffffff01",
        "0000ff24",  # static index 99: one past the table
        "000080",  # a dynamic entry that was never inserted
        "000010",
        "00002501",  # a literal name that is cut off
        "00005102",  # a value that is cut off
        "ff",
    ],
)
def test_sections_that_are_none(section: str) -> None:
    with pytest.raises(ConnectionFault) as caught:
        FieldDecoder(65536).decode(0, bytes.fromhex(section))
    assert caught.value.code == Http3ErrorCode.QPACK_DECOMPRESSION_FAILED


def test_only_so_many_streams_wait() -> None:
    encoder, decoder = pylsqpack.Encoder(), FieldDecoder(65536)
    encoder.apply_settings(TABLE_CAPACITY, 100)
    waiting = []
    with pytest.raises(ConnectionFault) as caught:
        for number in range(100):
            encoder.encode(4 * number, [(b"x", str(number % 3).encode())])
            _, section = encoder.encode(4 * number, [(b"x", str(number % 3).encode())])
            if decoder.decode(4 * number, section) is None:
                waiting.append(4 * number)
    assert caught.value.code == Http3ErrorCode.QPACK_DECOMPRESSION_FAILED
    assert len(waiting) == 16
    assert decoder.cancel(waiting[0]) != b""


@pytest.mark.parametrize(
    "instructions",
    [
        "3fe2ff3f",  # a table above the capacity that was offered
        "ff2400",  # a name by a static index past the table
        "05",  # a duplicate of what is not there
    ],
)
def test_encoder_streams_that_are_none(instructions: str) -> None:
    decoder = FieldDecoder(65536)
    with pytest.raises(ConnectionFault) as caught:
        decoder.feed_encoder(bytes.fromhex(instructions))
    assert caught.value.code == Http3ErrorCode.QPACK_ENCODER_STREAM_ERROR


def test_decoder_streams_that_are_none() -> None:
    for instructions in ("00", "01", "80"):  # increments and acknowledgement of nothing
        encoder = FieldEncoder()
        encoder.apply_settings(4096, 16)
        with pytest.raises(ConnectionFault) as caught:
            encoder.feed_decoder(bytes.fromhex(instructions))
        assert caught.value.code == Http3ErrorCode.QPACK_DECODER_STREAM_ERROR


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_as_a_section(section: bytes) -> None:
    decoder = FieldDecoder(65536)
    try:
        decoded = decoder.decode(0, section)
    except (ConnectionFault, StreamFault):
        return
    if decoded is not None:
        assert all(isinstance(name, bytes) for name, _ in decoded[1])


def test_errors_have_names() -> None:
    error = Http3Error("x", code=0x10B, stream_id=4)
    assert (error.code_name, error.retriable, error.stream_id) == ("H3_REQUEST_REJECTED", True, 4)
    assert Http3Error("x", code=0xABC).code_name == "0xabc"
