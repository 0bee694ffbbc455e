"""Events over QUIC: the format, reading, publishing, and who learns of an end."""

from __future__ import annotations

import asyncio

import pytest

from midstream.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    EndpointError,
    MalformedStreamError,
    QuicError,
    SourceError,
    StreamStoppedError,
)
from midstream.quic.certificates import Identity
from midstream.quic.config import Config
from midstream.quic.connection import connect
from midstream.quic.serving import serve
from midstream.stream import (
    Event,
    QuicCode,
    QuicPublisher,
    QuicSink,
    from_quic,
    load,
    replay,
    shipped_recordings,
    to_quic,
    watch,
)
from midstream.stream.quic import QuicAddress, quic_address, read_request, request_line

LOOP = shipped_recordings()["loop-04"]
EVENTS = [Event("text", n, n * 1000, f"word {n} ") for n in range(50)]


@pytest.fixture(scope="module")
def identity():
    return Identity.development()


class Pieces:
    """A stream whose bytes are at hand; None waits for ever."""

    def __init__(self, *pieces):
        self.pieces = list(pieces)
        self.codes = []
        self.written = b""
        self.finished = False

    async def read(self, n=-1):
        if not self.pieces:
            return b""
        piece = self.pieces.pop(0)
        if piece is None:
            await asyncio.get_running_loop().create_future()
        return piece

    def stop(self, code):
        self.codes.append(("stop", code))

    def reset(self, code):
        self.codes.append(("reset", code))

    def write(self, data):
        self.written += data

    async def drain(self):
        await asyncio.sleep(0)

    def finish(self):
        self.finished = True


class TestAddress:
    @pytest.mark.parametrize(
        ("url", "address"),
        [
            ("quic://localhost", ("localhost", 4433, "")),
            ("quic://localhost:1/a/b", ("localhost", 1, "a/b")),
            ("quic://[::1]:44/caf%C3%A9", ("::1", 44, "café")),
        ],
    )
    def test_parts(self, url, address):
        assert quic_address(url) == QuicAddress(*address)

    @pytest.mark.parametrize(
        "url",
        [
            "http://a",
            "quic://",
            "quic://a:0",
            "quic://a:x",
            "quic://a:70000",
            "quic://me@a",
            "quic://a/b?c",
            "quic://a/b#c",
            "quic://a/%ff",
            "quic://a/b c",
        ],
    )
    def test_what_is_none(self, url):
        with pytest.raises(ArgumentValueError):
            quic_address(url)

    def test_a_password_is_not_shown(self):
        with pytest.raises(ArgumentValueError) as caught:
            quic_address("quic://me:secret@host")
        assert "secret" not in str(caught.value)

    def test_no_text(self):
        with pytest.raises(ArgumentTypeError):
            quic_address(b"quic://a")


class TestRequest:
    @pytest.mark.parametrize("name", ["", "stories", "café \n"])
    async def test_there_and_back(self, name):
        line = request_line(name)
        assert line.count(b"\n") == 1
        assert await read_request(Pieces(line)) == name
        assert await read_request(Pieces(line[:5], line[5:-1])) == name

    @pytest.mark.parametrize(
        "line",
        [
            b"",
            b"hello\n",
            b"\xff\n",
            b"[]\n",
            b"{}\n",
            b'{"midstream":2}\n',
            b'{"midstream":1,"watch":5}\n',
            b"[" * 10_000 + b"\n",
            b"x" * 20_000,
        ],
    )
    async def test_what_is_none(self, line):
        with pytest.raises(MalformedStreamError, match="the request"):
            await read_request(Pieces(line))


class TestWire:
    async def test_events_come_back_equal(self):
        stream = Pieces(None)
        assert await to_quic(EVENTS, stream, source="a test") == 50
        assert stream.finished
        wire = stream.written
        for cut in (1, 7, len(wire)):
            pieces = [wire[at : at + cut] for at in range(0, len(wire), cut)]
            assert [event async for event in from_quic(Pieces(*pieces))] == EVENTS

    async def test_a_source_that_fails_is_told_after_its_events(self):
        async def broken():
            yield EVENTS[0]
            raise SourceError("the disk\nis gone")

        stream = Pieces(None)
        with pytest.raises(SourceError):
            await to_quic(broken(), stream)
        assert stream.finished
        got = []
        with pytest.raises(EndpointError, match="the disk is gone"):
            async for event in from_quic(Pieces(stream.written)):
                got.append(event)  # noqa: PERF401 - what came before the error counts
        assert got == EVENTS[:1]

    async def test_plain_text_and_server_sent_events_are_known(self):
        assert [e.text async for e in from_quic(Pieces(b"Once upon"))] == ["Once upon"]
        body = b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\ndata: [DONE]\n\n'
        assert [e.text async for e in from_quic(Pieces(body))] == ["Hi"]

    async def test_a_line_that_is_no_event(self):
        stream = Pieces(b'{"midstream":1}\n{"kind":"nonsense"}\n')
        with pytest.raises(MalformedStreamError, match="line 2"):
            [event async for event in from_quic(stream)]

    async def test_closing_stops_and_resets(self):
        stream = Pieces(b"text", None)
        async with from_quic(stream) as source:
            await anext(source)
        assert stream.codes == [("stop", 0), ("reset", 0)]

    async def test_a_sink_is_over_once(self):
        stream = Pieces()
        async with QuicSink(stream) as sink:
            await sink.send(EVENTS[0])
        with pytest.raises(QuicError):
            await sink.send(EVENTS[1])
        with pytest.raises(ZeroDivisionError):
            async with QuicSink(stream):
                _ = 1 / 0
        assert stream.codes == [("reset", QuicCode.FAILED)]

    def test_arguments(self):
        for bad in (5, None, object()):
            with pytest.raises(ArgumentTypeError):
                from_quic(bad)
        with pytest.raises(ArgumentValueError, match="name"):
            from_quic("quic://a/b", "c")
        with pytest.raises(ArgumentValueError, match="config"):
            from_quic(Pieces(), config=Config())
        with pytest.raises(ArgumentTypeError):
            QuicSink(5)


class TestServed:
    def served(self, identity, open_source, **options):
        publisher = QuicPublisher(open_source, **options)
        return serve(publisher, "127.0.0.1", 0, config=Config(identity=identity))

    def feed(self, server, identity, name=""):
        host, port = server.address
        trust = Config(pins=(identity.certificate_pin,))
        return from_quic(f"quic://{host}:{port}/{name}", config=trust)

    async def test_a_recording_comes_whole(self, identity):
        ended = asyncio.Queue()
        async with self.served(identity, lambda n: replay(LOOP), on_end=ended.put_nowait) as server:
            assert [event async for event in self.feed(server, identity)] == load(LOOP)
            one = await ended.get()
        assert (one.events, one.outcome) == (len(load(LOOP)), "ended")

    async def test_a_watch_that_stops_stops_a_sender_that_is_silent(self, identity):
        closed = asyncio.Event()
        ended = asyncio.Queue()

        async def looping(name):
            try:
                for number in range(40):
                    yield Event("text", number, number, "I will try that again. ")
                await asyncio.get_running_loop().create_future()
            finally:
                closed.set()

        async with self.served(identity, looping, on_end=ended.put_nowait) as server:
            guard = watch(self.feed(server, identity))
            async with guard:
                async for _ in guard:
                    pass
            assert guard.stopped.kind == "loop"
            await closed.wait()
            assert (await ended.get()).outcome == "stopped"

    async def test_an_unknown_name_is_refused_with_the_reason(self, identity):
        async with self.served(identity, lambda name: None) as server:
            with pytest.raises(EndpointError, match="no feed of this name"):
                [event async for event in self.feed(server, identity, "nobody")]

    async def test_two_readers_on_one_connection_and_no_third(self, identity):
        async def slow(name):
            yield Event("text", 0, 0, name)
            await asyncio.get_running_loop().create_future()

        async with self.served(identity, slow, max_readers=2) as server:
            trust = Config(pins=(identity.certificate_pin,))
            async with connect(*server.address, config=trust) as connection:
                first, second = from_quic(connection, "a"), from_quic(connection, "b")
                assert [(await anext(s)).text for s in (first, second)] == ["a", "b"]
                with pytest.raises(EndpointError, match="as many readers"):
                    await anext(from_quic(connection, "c"))
                await first.aclose()
                await second.aclose()

    async def test_no_server_is_told(self, identity):
        source = from_quic(
            "quic://127.0.0.1:1/", config=Config(handshake_timeout_s=0.3, ca=identity.pem)
        )
        with pytest.raises(SourceError):
            await anext(source)

    async def test_to_quic_tells_that_the_reader_left(self, identity):
        left = asyncio.Queue()

        async def handler(connection):
            stream = await connection.accept_bi()
            try:
                await to_quic((EVENTS[0] for _ in range(10**9)), stream)
            except StreamStoppedError as error:
                left.put_nowait(error.code)

        trust = Config(pins=(identity.certificate_pin,))
        here = serve(handler, "127.0.0.1", 0, config=Config(identity=identity))
        async with here as server, connect(*server.address, config=trust) as connection:
            async with from_quic(connection) as source:
                await anext(source)
            assert await left.get() == QuicCode.CLOSED
