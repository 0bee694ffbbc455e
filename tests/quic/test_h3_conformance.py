"""What HTTP/3 peers must do with a peer that breaks the rules, after the list of h3spec.

Each case speaks raw bytes over a real connection on loopback and looks at how it ends: the whole
connection with a code, or one stream with a code while the connection goes on.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pylsqpack
import pytest

from midstream._core.errors import ConnectionClosedError, StreamResetError
from midstream.quic import http3
from midstream.quic._h3_errors import Http3ErrorCode
from midstream.quic._h3_frames import (
    encode_frame,
    encode_settings,
    encode_varint,
    frame_header,
)
from midstream.quic.certificates import Identity
from midstream.quic.config import Config
from midstream.quic.connection import Connection, connect
from midstream.quic.serving import serve
from midstream.quic.streams import Stream

IDENTITY = Identity.development()
RAW = Config(ca=IDENTITY.pem, alpn=("h3",))
TIMEOUT_S = 10.0

GET = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", b"localhost"),
    (b":path", b"/"),
]
POST = [(b":method", b"POST"), *GET[1:]]


def headers_frame(fields: list[tuple[bytes, bytes]]) -> bytes:
    """HEADERS that use no dynamic table."""
    return encode_frame(0x1, pylsqpack.Encoder().encode(0, fields)[1])


def data_frame(data: bytes) -> bytes:
    return encode_frame(0x0, data)


async def app(request: http3.Request) -> http3.Response:
    body = await request.read()
    return http3.Response(200, {"x-length": str(len(body))}, b"fine")


async def uni(connection: Connection, kind: int, data: bytes = b"") -> Stream:
    stream = await connection.open_uni()
    stream.write(encode_varint(kind) + data)
    return stream


async def control(connection: Connection, data: bytes = b"") -> Stream:
    return await uni(connection, 0x0, encode_settings({}) + data)


@asynccontextmanager
async def raw_client() -> AsyncIterator[Connection]:
    """A connection to an HTTP/3 server on which nothing has been said."""
    async with asyncio.timeout(TIMEOUT_S):
        config = Config(identity=IDENTITY)
        async with (
            http3.serve(app, "127.0.0.1", 0, config=config) as server,
            connect(*server.address, config=RAW) as connection,
        ):
            yield connection


async def closing_code(connection: Connection) -> str:
    """Name of the code with which the peer closes."""
    await connection.wait_closed()
    with pytest.raises(ConnectionClosedError) as caught:
        await connection.accept_bi()
    assert caught.value.by_peer
    assert caught.value.is_application
    return Http3ErrorCode(caught.value.code).name


async def still_works(connection: Connection) -> None:
    """Another request on the connection is answered."""
    stream = await connection.open_bi()
    stream.write(headers_frame(GET))
    stream.finish()
    assert (await stream.read_to_end(1000)).endswith(b"fine")


# ---------------------------------------------------------------- request streams of a server


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (data_frame(b"x") + headers_frame(GET), "H3_FRAME_UNEXPECTED"),
        (data_frame(b""), "H3_FRAME_UNEXPECTED"),
        (encode_frame(0x3, b"\x00"), "H3_FRAME_UNEXPECTED"),  # CANCEL_PUSH
        (headers_frame(GET) + encode_frame(0x3, b"\x00"), "H3_FRAME_UNEXPECTED"),
        (encode_settings({}), "H3_FRAME_UNEXPECTED"),
        (headers_frame(GET) + encode_settings({}), "H3_FRAME_UNEXPECTED"),
        (encode_frame(0x5, b"\x00\x00\x00"), "H3_FRAME_UNEXPECTED"),  # PUSH_PROMISE
        (encode_frame(0x7, b"\x00"), "H3_FRAME_UNEXPECTED"),  # GOAWAY
        (encode_frame(0xD, b"\x00"), "H3_FRAME_UNEXPECTED"),  # MAX_PUSH_ID
        (encode_frame(0xF0700, b"\x00u=1"), "H3_FRAME_UNEXPECTED"),  # PRIORITY_UPDATE
        (encode_frame(0xF0701, b"\x00u=1"), "H3_FRAME_UNEXPECTED"),
        (encode_frame(0x2, b""), "H3_FRAME_UNEXPECTED"),  # those of HTTP/2
        (encode_frame(0x6, bytes(8)), "H3_FRAME_UNEXPECTED"),
        (encode_frame(0x8, bytes(4)), "H3_FRAME_UNEXPECTED"),
        (headers_frame(GET) + encode_frame(0x9, b""), "H3_FRAME_UNEXPECTED"),
        (
            headers_frame(POST) + headers_frame([(b"a", b"b")]) + data_frame(b"x"),
            "H3_FRAME_UNEXPECTED",
        ),
        (
            headers_frame(POST) + headers_frame([(b"a", b"b")]) + headers_frame([(b"a", b"b")]),
            "H3_FRAME_UNEXPECTED",
        ),
        (headers_frame(POST) + data_frame(b"") * 2000, "H3_EXCESSIVE_LOAD"),
        (headers_frame(POST) + encode_frame(0x21, b"x") * 2000, "H3_EXCESSIVE_LOAD"),
        (headers_frame(GET)[:-1], "H3_FRAME_ERROR"),
        (headers_frame(POST) + frame_header(0x0, 10) + b"123", "H3_FRAME_ERROR"),
        (headers_frame(GET) + b"\x40", "H3_FRAME_ERROR"),
        (headers_frame(GET) + frame_header(0x21, 10) + b"123", "H3_FRAME_ERROR"),
        (encode_frame(0x1, b""), "QPACK_DECOMPRESSION_FAILED"),
        (encode_frame(0x1, bytes.fromhex("0000ff24")), "QPACK_DECOMPRESSION_FAILED"),
        (encode_frame(0x1, bytes.fromhex("000080")), "QPACK_DECOMPRESSION_FAILED"),
        (encode_frame(0x1, bytes.fromhex("00002501")), "QPACK_DECOMPRESSION_FAILED"),
        # A required insert count beyond what a table of 4096 bytes can say (RFC 9204, 4.5.1.1).
        (encode_frame(0x1, bytes.fromhex("ff820100d1")), "QPACK_DECOMPRESSION_FAILED"),
    ],
)
async def test_requests_that_end_the_connection(sent: bytes, code: str) -> None:
    async with raw_client() as connection:
        await control(connection)
        stream = await connection.open_bi()
        stream.write(sent)
        stream.finish()
        assert await closing_code(connection) == code


def without(name: bytes) -> list[tuple[bytes, bytes]]:
    return [field for field in GET if field[0] != name]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (headers_frame(without(b":method")), "H3_MESSAGE_ERROR"),
        (headers_frame(without(b":scheme")), "H3_MESSAGE_ERROR"),
        (headers_frame(without(b":path")), "H3_MESSAGE_ERROR"),
        (headers_frame(without(b":authority")), "H3_MESSAGE_ERROR"),
        (headers_frame([*GET, (b":path", b"/")]), "H3_MESSAGE_ERROR"),
        (headers_frame([*GET, (b":status", b"200")]), "H3_MESSAGE_ERROR"),
        (headers_frame([*GET, (b":protocol", b"x")]), "H3_MESSAGE_ERROR"),
        (headers_frame([(b"accept", b"*/*"), *GET]), "H3_MESSAGE_ERROR"),
        (headers_frame([*without(b":path"), (b":path", b"")]), "H3_MESSAGE_ERROR"),
        (headers_frame([*GET, (b"Accept", b"*/*")]), "H3_MESSAGE_ERROR"),
        (headers_frame([*GET, (b"connection", b"close")]), "H3_MESSAGE_ERROR"),
        (headers_frame([*GET, (b"te", b"gzip")]), "H3_MESSAGE_ERROR"),
        (headers_frame([*GET, (b"host", b"elsewhere")]), "H3_MESSAGE_ERROR"),
        (headers_frame([*GET, (b"x", b"a\r\nb: c")]), "H3_MESSAGE_ERROR"),
        (headers_frame([*GET, (b"content-length", b"x")]), "H3_MESSAGE_ERROR"),
        (
            headers_frame([*POST, (b"content-length", b"3")]) + data_frame(b"1234"),
            "H3_MESSAGE_ERROR",
        ),
        (headers_frame([*POST, (b"content-length", b"3")]) + data_frame(b"12"), "H3_MESSAGE_ERROR"),
        (headers_frame([*POST, (b"content-length", b"3")]), "H3_MESSAGE_ERROR"),
        (
            headers_frame([*POST, (b"content-length", b"3")])
            + data_frame(b"12")
            + headers_frame([(b"a", b"b")]),
            "H3_MESSAGE_ERROR",
        ),
        (
            headers_frame(POST) + data_frame(b"1") + headers_frame([(b":status", b"200")]),
            "H3_MESSAGE_ERROR",
        ),
        (headers_frame(POST) + headers_frame([(b"A", b"b")]), "H3_MESSAGE_ERROR"),
        (b"", "H3_REQUEST_INCOMPLETE"),
        (encode_frame(0x21, b"unknown"), "H3_REQUEST_INCOMPLETE"),
    ],
)
async def test_requests_that_end_their_stream(sent: bytes, code: str) -> None:
    async with raw_client() as connection:
        await control(connection)
        stream = await connection.open_bi()
        stream.write(sent)
        stream.finish()
        with pytest.raises(StreamResetError) as caught:
            await stream.read_to_end(1000)
        assert Http3ErrorCode(caught.value.code).name == code
        await still_works(connection)


@pytest.mark.parametrize(
    "sent",
    [
        encode_frame(0x21, b"x" * 100) + headers_frame(GET),
        headers_frame(GET) + encode_frame(0x1F * 9 + 0x21, b"") + encode_frame(0x40, b"x"),
        headers_frame(POST) + data_frame(b"") + data_frame(b"1") + headers_frame([(b"a", b"b")]),
        headers_frame([*POST, (b"content-length", b"3")]) + data_frame(b"12") + data_frame(b"3"),
    ],
)
async def test_requests_that_are_odd_and_right(sent: bytes) -> None:
    async with raw_client() as connection:
        await control(connection, encode_frame(0x21, b"x"))
        stream = await connection.open_bi()
        for byte in sent[:40]:
            stream.write(bytes((byte,)))
            await stream.wait_acked()  # each in a packet of its own
        stream.write(sent[40:])
        stream.finish()
        assert (await stream.read_to_end(1000)).endswith(b"fine")


@pytest.mark.parametrize(
    "more",
    [
        [(b"a", b"y" * 40_000), (b"b", b"y" * 40_000)],  # above it before it is decoded
        [(b"a", b"0" * 35_000), (b"b", b"0" * 35_000)],  # above it when it is decoded
        [(b"accept", b"*/*")] * 2100,  # a byte each, and 32 by the rule
    ],
)
async def test_fields_above_the_limit_are_answered(more: list[tuple[bytes, bytes]]) -> None:
    async with raw_client() as connection:
        await control(connection)
        stream = await connection.open_bi()
        stream.write(headers_frame([*GET, *more]))
        answer = await stream.read_to_end(1000)
        fields = pylsqpack.Decoder(0, 0).feed_header(0, answer[2:])[1]
        assert fields == [(b":status", b"431")]
        await still_works(connection)


# ---------------------------------------------------------------- control streams of a server


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (data_frame(b""), "H3_MISSING_SETTINGS"),
        (encode_frame(0x7, b"\x00"), "H3_MISSING_SETTINGS"),
        (encode_frame(0xD, b"\x00"), "H3_MISSING_SETTINGS"),
        (encode_frame(0x21, b"") + encode_settings({}), "H3_MISSING_SETTINGS"),
        (encode_frame(0x21, b"x"), "H3_MISSING_SETTINGS"),
        (encode_settings({}) * 2, "H3_FRAME_UNEXPECTED"),
        (encode_settings({}) + data_frame(b""), "H3_FRAME_UNEXPECTED"),
        (encode_settings({}) + headers_frame(GET), "H3_FRAME_UNEXPECTED"),
        (encode_settings({}) + encode_frame(0x1, b""), "H3_FRAME_UNEXPECTED"),
        (encode_settings({}) + encode_frame(0x5, b"\x00"), "H3_FRAME_UNEXPECTED"),
        (encode_settings({}) + encode_frame(0x2, b""), "H3_FRAME_UNEXPECTED"),
        (encode_settings({}) + encode_frame(0x6, b""), "H3_FRAME_UNEXPECTED"),
        (encode_settings({}) + encode_frame(0x8, b""), "H3_FRAME_UNEXPECTED"),
        (encode_settings({}) + encode_frame(0x9, b""), "H3_FRAME_UNEXPECTED"),
        (encode_settings({0x0: 0}), "H3_SETTINGS_ERROR"),
        (encode_settings({0x2: 0}), "H3_SETTINGS_ERROR"),
        (encode_settings({0x3: 0}), "H3_SETTINGS_ERROR"),
        (encode_settings({0x4: 0}), "H3_SETTINGS_ERROR"),
        (encode_settings({0x5: 0}), "H3_SETTINGS_ERROR"),
        (encode_settings({0x8: 2}), "H3_SETTINGS_ERROR"),
        (encode_settings({0x33: 2}), "H3_SETTINGS_ERROR"),
        (encode_frame(0x4, bytes.fromhex("01000100")), "H3_SETTINGS_ERROR"),
        (encode_frame(0x4, b"\x01"), "H3_FRAME_ERROR"),
        (encode_settings({}) + encode_frame(0x7, b""), "H3_FRAME_ERROR"),
        (encode_settings({}) + encode_frame(0x7, b"\x00\x00"), "H3_FRAME_ERROR"),
        (encode_settings({}) + encode_frame(0xD, b"\x40"), "H3_FRAME_ERROR"),
        (encode_settings({}) + encode_frame(0xD, b"\x00\x00"), "H3_FRAME_ERROR"),
        (encode_settings({}) + encode_frame(0x3, b""), "H3_FRAME_ERROR"),
        (encode_settings({}) + encode_frame(0xF0700, b""), "H3_FRAME_ERROR"),
        (encode_settings({}) + encode_frame(0x3, b"\x01"), "H3_ID_ERROR"),
        (
            encode_settings({}) + encode_frame(0xD, b"\x05") + encode_frame(0xD, b"\x04"),
            "H3_ID_ERROR",
        ),
        (
            encode_settings({}) + encode_frame(0x7, b"\x04") + encode_frame(0x7, b"\x05"),
            "H3_ID_ERROR",
        ),
        (encode_settings({}) + encode_frame(0xF0700, b"\x03u=1"), "H3_ID_ERROR"),
        (encode_settings({}) + encode_frame(0xF0701, b"\x00u=1"), "H3_ID_ERROR"),
        (encode_settings({}) + frame_header(0x7, 1 << 30), "H3_EXCESSIVE_LOAD"),
    ],
)
async def test_control_streams_that_end_the_connection(sent: bytes, code: str) -> None:
    async with raw_client() as connection:
        await uni(connection, 0x0, sent)
        assert await closing_code(connection) == code


async def test_datagrams_need_quic_datagrams() -> None:
    async with asyncio.timeout(TIMEOUT_S):
        server_config = Config(identity=IDENTITY)
        client_config = Config(ca=IDENTITY.pem, alpn=("h3",), datagrams=False)
        async with (
            http3.serve(app, "127.0.0.1", 0, config=server_config) as server,
            connect(*server.address, config=client_config) as connection,
        ):
            await uni(connection, 0x0, encode_settings({0x33: 1}))
            assert await closing_code(connection) == "H3_SETTINGS_ERROR"


@pytest.mark.parametrize("kind", [0x0, 0x2, 0x3])
@pytest.mark.parametrize("ending", ["finish", "reset"])
async def test_critical_streams_must_not_end(kind: int, ending: str) -> None:
    async with raw_client() as connection:
        stream = await uni(connection, kind, encode_settings({}) if kind == 0 else b"")
        await stream.wait_acked()
        if ending == "finish":
            stream.finish()
        else:
            stream.reset(Http3ErrorCode.H3_NO_ERROR)
        assert await closing_code(connection) == "H3_CLOSED_CRITICAL_STREAM"


@pytest.mark.parametrize("kind", [0x0, 0x2, 0x3])
async def test_critical_streams_exist_once(kind: int) -> None:
    async with raw_client() as connection:
        data = encode_settings({}) if kind == 0 else b""
        await uni(connection, kind, data)
        await uni(connection, kind, data)
        assert await closing_code(connection) == "H3_STREAM_CREATION_ERROR"


async def test_clients_open_no_push_streams() -> None:
    async with raw_client() as connection:
        await uni(connection, 0x1, b"\x00")
        assert await closing_code(connection) == "H3_STREAM_CREATION_ERROR"


async def test_streams_of_unknown_type_are_stopped() -> None:
    async with raw_client() as connection:
        await control(connection)
        stream = await uni(connection, 0x21, b"x")
        while stream.stopped_code is None:
            await asyncio.sleep(0.005)
        assert stream.stopped_code == Http3ErrorCode.H3_STREAM_CREATION_ERROR
        for ending in (b"", b"\x40"):  # closed before their type was complete
            stream = await connection.open_uni()
            stream.write(ending)
            stream.finish()
        await still_works(connection)


@pytest.mark.parametrize(
    ("kind", "sent", "code"),
    [
        (0x2, "3fe2ff3f", "QPACK_ENCODER_STREAM_ERROR"),  # a capacity above what is offered
        (0x2, "ff2400", "QPACK_ENCODER_STREAM_ERROR"),  # static index 99
        (0x2, "8000", "QPACK_ENCODER_STREAM_ERROR"),  # a dynamic name that is not there
        (0x2, "05", "QPACK_ENCODER_STREAM_ERROR"),  # a duplicate of what is not there
        (0x3, "00", "QPACK_DECODER_STREAM_ERROR"),  # an increment of nothing
        (0x3, "01", "QPACK_DECODER_STREAM_ERROR"),  # an increment beyond what was inserted
        (0x3, "80", "QPACK_DECODER_STREAM_ERROR"),  # an acknowledgement of what was never sent
    ],
)
async def test_qpack_streams_that_end_the_connection(kind: int, sent: str, code: str) -> None:
    async with raw_client() as connection:
        await uni(connection, 0x0, encode_settings({0x1: 4096, 0x7: 16}))
        await still_works(connection)
        await uni(connection, kind, bytes.fromhex(sent))
        assert await closing_code(connection) == code


async def blocked(connection: Connection, number: int) -> tuple[list[Stream], bytes]:
    """Requests that wait for insertions, and those insertions."""
    encoder = pylsqpack.Encoder()
    instructions = encoder.apply_settings(4096, 100)
    streams = []
    for index in range(number):
        stream = await connection.open_bi()
        fields = [*GET, (b"x-number", b"%d" % (index % 3))]
        inserted, _ = encoder.encode(stream.stream_id, fields)
        more, section = encoder.encode(stream.stream_id, fields)
        instructions += inserted + more
        stream.write(encode_frame(0x1, section))
        stream.finish()
        streams.append(stream)
    return streams, instructions


async def test_requests_wait_for_the_dynamic_table() -> None:
    async with raw_client() as connection:
        await control(connection)
        streams, instructions = await blocked(connection, 16)
        await asyncio.gather(*(stream.wait_acked() for stream in streams))
        await uni(connection, 0x2, instructions)
        for stream in streams:
            assert (await stream.read_to_end(1000)).endswith(b"fine")


async def test_a_reset_frees_the_place_of_a_request_that_waits() -> None:
    async with raw_client() as connection:
        await control(connection)
        instructions = b""
        for _ in range(3):
            encoder = pylsqpack.Encoder()
            instructions = encoder.apply_settings(4096, 100)
            streams = []
            for index in range(15):
                stream = await connection.open_bi()
                fields = [*GET, (b"x-number", b"%d" % (index % 3))]
                inserted, _ = encoder.encode(stream.stream_id, fields)
                more, section = encoder.encode(stream.stream_id, fields)
                instructions += inserted + more
                stream.write(encode_frame(0x1, section))
                streams.append(stream)
            await asyncio.gather(*(stream.wait_acked() for stream in streams))
            for stream in streams:
                stream.abort(Http3ErrorCode.H3_REQUEST_CANCELLED)
            await still_works(connection)
            while any(not stream.all_acked for stream in streams):
                await asyncio.sleep(0.005)
        await still_works(connection)


async def test_a_connection_that_ends_while_requests_wait_leaves_no_error_behind() -> None:
    told: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context["message"]))
    try:
        async with raw_client() as connection:
            opened = await control(connection)
            encoder = pylsqpack.Encoder()
            encoder.apply_settings(4096, 100)
            streams = [await connection.open_bi() for _ in range(4)]
            for stream in streams:
                encoder.encode(stream.stream_id, [(b"x-a", b"b")])
                _, section = encoder.encode(stream.stream_id, [*GET, (b"x-a", b"b")])
                stream.write(encode_frame(0x1, section))  # and it goes on
            await asyncio.sleep(0.05)
            opened.write(encode_frame(0xF0701, b"\x00u=1"))
            assert await closing_code(connection) == "H3_ID_ERROR"
        for _ in range(3):
            await asyncio.sleep(0.01)
            gc.collect()
        assert told == []
    finally:
        loop.set_exception_handler(None)


async def test_only_so_many_requests_wait() -> None:
    async with raw_client() as connection:
        await control(connection)
        await blocked(connection, 17)
        assert await closing_code(connection) == "QPACK_DECOMPRESSION_FAILED"


@pytest.mark.parametrize("datagram", [b"", b"\x40", encode_varint(1 << 60) + b"x"])
async def test_datagrams_without_an_identifier(datagram: bytes) -> None:
    async with raw_client() as connection:
        await control(connection)
        connection.datagrams.send(datagram)
        assert await closing_code(connection) == "H3_DATAGRAM_ERROR"


async def test_fields_that_never_end_keep_little() -> None:
    async with raw_client() as connection:
        await control(connection)
        streams = []
        for _ in range(100):
            stream = await connection.open_bi()
            stream.write(frame_header(0x1, 65_000) + bytes(60_000))
            streams.append(stream)
            await stream.drain()
        # 69 of them are kept; the others are answered.
        await asyncio.gather(*(stream.wait_acked() for stream in streams[:60]))
        while sum(stream.buffered > 0 for stream in streams) < 30:
            await asyncio.sleep(0.005)
        for stream in streams:
            stream.abort(Http3ErrorCode.H3_REQUEST_CANCELLED)
        await still_works(connection)


async def test_requests_that_are_opened_and_reset_for_ever() -> None:
    running = most = 0

    async def waiting(request: http3.Request) -> http3.Response:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            await asyncio.Event().wait()
        finally:
            running -= 1
        return http3.Response()

    async with asyncio.timeout(TIMEOUT_S):
        config = Config(identity=IDENTITY, max_streams_bidi=50)
        async with (
            http3.serve(waiting, "127.0.0.1", 0, config=config) as server,
            connect(*server.address, config=RAW) as connection,
        ):
            await control(connection)
            for _ in range(20):
                streams = [await connection.open_bi() for _ in range(25)]
                for stream in streams:
                    stream.write(headers_frame(GET))
                await connection.ping()  # handlers have begun
                for stream in streams:
                    stream.abort(Http3ErrorCode.H3_REQUEST_CANCELLED)
            while running:
                await asyncio.sleep(0.01)
            assert 0 < most <= 51


# ---------------------------------------------------------------- clients


@asynccontextmanager
async def client_of(
    answer: bytes,
    *,
    control_data: bytes = b"",
    bidirectional: bytes | None = None,
    push: bool = False,
) -> AsyncIterator[tuple[http3.Session, asyncio.Future[Connection]]]:
    """A client of a server that answers each request with the same bytes."""
    seen: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()

    async def handler(connection: Connection) -> None:
        seen.set_result(connection)
        await control(connection, control_data)
        if bidirectional is not None:
            stream = await connection.open_bi()
            stream.write(bidirectional)
        if push:
            await uni(connection, 0x1, b"\x00")
        while True:
            stream = await connection.accept_bi()
            stream.write(answer)
            stream.finish()

    async with asyncio.timeout(TIMEOUT_S):
        config = Config(identity=IDENTITY, alpn=("h3",))
        async with serve(handler, "127.0.0.1", 0, config=config) as server:
            host, port = server.address
            trust = Config(ca=IDENTITY.pem)
            async with http3.connect(f"https://{host}:{port}", config=trust) as client:
                yield client, seen


STATUS = headers_frame([(b":status", b"200")])


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"bidirectional": b"x"}, "H3_STREAM_CREATION_ERROR"),
        ({"push": True}, "H3_ID_ERROR"),
        ({"control_data": encode_frame(0xD, b"\x00")}, "H3_FRAME_UNEXPECTED"),
        ({"control_data": encode_frame(0xF0700, b"\x00u=1")}, "H3_FRAME_UNEXPECTED"),
        ({"control_data": encode_frame(0x3, b"\x00")}, "H3_ID_ERROR"),
        ({"control_data": encode_frame(0x7, b"\x01")}, "H3_ID_ERROR"),
        (
            {"control_data": encode_frame(0x7, b"\x04") + encode_frame(0x7, b"\x08")},
            "H3_ID_ERROR",
        ),
    ],
)
async def test_servers_that_end_the_connection(arguments: dict[str, bytes], code: str) -> None:
    async with client_of(STATUS, **arguments) as (client, seen):  # type: ignore[arg-type]
        assert await closing_code(await seen) == code
        with pytest.raises(http3.Http3Error) as caught:
            await client.request("GET", "/")
        assert caught.value.code_name == code


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (data_frame(b"x"), "H3_FRAME_UNEXPECTED"),
        (encode_frame(0x5, b"\x00\x00\x00") + STATUS, "H3_ID_ERROR"),
        (STATUS + encode_frame(0x7, b"\x00"), "H3_FRAME_UNEXPECTED"),
        (STATUS + frame_header(0x0, 10) + b"1", "H3_FRAME_ERROR"),
        (encode_frame(0x1, bytes.fromhex("0000ff24")), "QPACK_DECOMPRESSION_FAILED"),
    ],
)
async def test_responses_that_end_the_connection(answer: bytes, code: str) -> None:
    async with client_of(answer) as (client, seen):
        with pytest.raises(http3.Http3Error) as caught:
            await (await client.request("GET", "/")).read()
        assert caught.value.code_name == code
        assert await closing_code(await seen) == code


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"", "H3_MESSAGE_ERROR"),
        (headers_frame([(b"a", b"b")]), "H3_MESSAGE_ERROR"),
        (headers_frame([(b":status", b"101")]), "H3_MESSAGE_ERROR"),
        (headers_frame([(b":status", b"1")]), "H3_MESSAGE_ERROR"),
        (headers_frame([(b":status", b"100")]), "H3_MESSAGE_ERROR"),
        (headers_frame([(b":status", b"103")]) * 40 + STATUS, "H3_EXCESSIVE_LOAD"),
        (
            headers_frame([(b":status", b"200"), (b"content-length", b"2")]) + data_frame(b"1"),
            "H3_MESSAGE_ERROR",
        ),
        (
            headers_frame([(b":status", b"200"), (b"content-length", b"2")]) + data_frame(b"123"),
            "H3_MESSAGE_ERROR",
        ),
        (headers_frame([(b":status", b"204")]) + data_frame(b"1"), "H3_MESSAGE_ERROR"),
        (STATUS + headers_frame([(b":status", b"200")]), "H3_MESSAGE_ERROR"),
        (headers_frame([(b":status", b"200"), *[(b"a", b"x" * 40_000)] * 2]), "H3_EXCESSIVE_LOAD"),
    ],
)
async def test_responses_that_end_their_stream(answer: bytes, code: str) -> None:
    async with client_of(answer) as (client, _):
        for _ in range(2):  # and the connection goes on
            with pytest.raises(http3.Http3Error) as caught:
                await (await client.request("GET", "/")).read()
            assert caught.value.code_name == code
            assert caught.value.stream_id is not None
        assert not client.closed


async def test_responses_that_are_odd_and_right() -> None:
    hints = headers_frame([(b":status", b"103"), (b"link", b"</a.css>")])
    answer = hints + encode_frame(0x21, b"x") + STATUS + data_frame(b"1") + data_frame(b"2")
    async with client_of(answer + headers_frame([(b"sum", b"3")])) as (client, _):
        response = await client.request("GET", "/")
        assert [(status, dict(found)) for status, found in response.interim] == [
            (103, {"link": "</a.css>"})
        ]
        assert await response.read() == b"12"
        assert response.trailers["sum"] == "3"
    head = headers_frame([(b":status", b"200"), (b"content-length", b"2000")])
    async with client_of(head) as (client, _):
        assert await (await client.request("HEAD", "/")).read() == b""


# ---------------------------------------------------------------- GOAWAY


async def test_a_server_rejects_what_comes_after_its_goaway() -> None:
    go = asyncio.Event()

    async def slow(request: http3.Request) -> http3.Response:
        await go.wait()
        return http3.Response(200, None, b"fine")

    async with asyncio.timeout(TIMEOUT_S):
        config = Config(identity=IDENTITY)
        async with (
            http3.serve(slow, "127.0.0.1", 0, config=config) as server,
            connect(*server.address, config=RAW) as connection,
        ):
            await control(connection)
            first = await connection.open_bi()
            first.write(headers_frame(GET))
            first.finish()
            await first.wait_acked()
            draining = asyncio.ensure_future(server.drain(TIMEOUT_S))
            theirs = await connection.accept_uni()
            last = b"\x07\x01" + encode_varint(first.stream_id + 4)
            seen = b""
            while not seen.endswith(last):
                seen += await theirs.read(100)
            assert b"\x07\x08" + encode_varint((1 << 62) - 4) + last in seen
            late = await connection.open_bi()
            late.write(headers_frame(GET))
            late.finish()
            with pytest.raises(StreamResetError) as caught:
                await late.read_to_end(100)
            assert caught.value.code == Http3ErrorCode.H3_REQUEST_REJECTED
            go.set()
            assert (await first.read_to_end(100)).endswith(b"fine")
            await draining
            assert await closing_code(connection) == "H3_NO_ERROR"


async def test_a_client_gives_up_what_a_goaway_leaves_out() -> None:
    async def handler(connection: Connection) -> None:
        stream = await control(connection)
        served = await connection.accept_bi()
        await connection.accept_bi()
        stream.write(encode_frame(0x7, encode_varint(served.stream_id + 4)))
        await connection.ping()
        served.write(STATUS)
        served.finish()
        await connection.wait_closed()

    async with asyncio.timeout(TIMEOUT_S):
        config = Config(identity=IDENTITY, alpn=("h3",))
        async with serve(handler, "127.0.0.1", 0, config=config) as server:
            url = "https://{}:{}".format(*server.address)
            async with http3.connect(url, config=Config(ca=IDENTITY.pem)) as client:
                first = asyncio.ensure_future(client.request("GET", "/"))
                await asyncio.sleep(0)
                with pytest.raises(http3.Http3Error) as caught:
                    await client.request("GET", "/")
                assert caught.value.retriable
                assert (await first).status == 200
                with pytest.raises(http3.Http3Error, match="going away"):
                    await client.request("GET", "/")
