"""What `quic_speed.py` runs in separate processes: our asyncio interface, aioquic's and qh3's.

Both ends speak one small protocol: the first byte of a stream says what becomes of the rest.
``S`` is read to its end and answered with one byte; ``E`` is read to its end and sent back; ``P``
is as ``E``, most urgent; ``C`` is sent back as it comes; ``I`` is left alone; ``T`` is read to its
end after a rest of two seconds.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import ssl

CHUNK = 256 << 10
LIMIT = 1 << 30
REST_S = 2.0


class Ours:
    """midstream.quic."""

    has_limit = False

    @staticmethod
    async def serve(certificate, key, options):
        from midstream.quic.certificates import Identity
        from midstream.quic.config import Config
        from midstream.quic.serving import serve

        config = Config(
            identity=Identity.load(certificate, key),
            max_streams_bidi=20_000,
            early_data=True,
            **options,
        )
        server = await serve(Ours._connection, "127.0.0.1", 0, config=config)
        return server, server.address[1]

    @staticmethod
    async def _connection(connection):
        tasks = set()
        async for stream in connection.streams():
            task = asyncio.ensure_future(Ours._stream(stream))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    @staticmethod
    async def _stream(stream):
        from midstream._core.errors import QuicError
        from midstream.quic.priority import Priority

        try:
            kind = await stream.readexactly(1)
            if kind == b"P":
                stream.set_priority(Priority(0))
            if kind == b"C":
                async for piece in stream:
                    stream.write(piece)
            elif kind in b"EP":
                stream.write(await stream.read_to_end(1 << 20))
            elif kind in b"ST":
                if kind == b"T":
                    await asyncio.sleep(REST_S)
                async for _ in stream:
                    pass
                stream.write(b".")
            else:
                return
            stream.finish()
        except QuicError:
            # The client has what it wanted, and left.
            return

    def __init__(self, port, options):
        self._port, self._options = port, options

    async def __aenter__(self):
        from midstream.quic.config import Config
        from midstream.quic.connection import connect

        config = Config(insecure_skip_verify=True, **self._options)
        self._connection = await connect("127.0.0.1", self._port, config=config)
        return self

    async def __aexit__(self, *_):
        self._connection.close(0)

    async def open(self, urgency=3):
        from midstream.quic.priority import Priority

        return Channel(await self._connection.open_bi(Priority(urgency, urgency != 0)))


class Channel:
    """One of our streams, with the names of asyncio's two halves."""

    def __init__(self, stream):
        self.write, self.drain, self.read = stream.write, stream.drain, stream.read
        self.readexactly, self.write_eof = stream.readexactly, stream.finish


class Aioquic:
    """aioquic's `asyncio` package, as it comes."""

    package = "aioquic"
    has_limit = True

    @classmethod
    def module(cls, name):
        return importlib.import_module(f"{cls.package}.{name}")

    @classmethod
    def protocol(cls, options):
        from aioquic.asyncio.protocol import QuicConnectionProtocol
        from aioquic.quic.connection import Limit
        from aioquic.quic.packet import QuicFrameType

        class Raised(QuicConnectionProtocol):
            # The limit of 128 streams cannot be set: raised behind its back, so that the cost of
            # open streams can be measured at all.
            def __init__(self, quic, **more):
                quic._local_max_streams_bidi = Limit(
                    frame_type=QuicFrameType.MAX_STREAMS_BIDI,
                    name="max_streams_bidi",
                    value=options.get("streams", 128),
                )
                super().__init__(quic, **more)

        return Raised

    @classmethod
    async def serve(cls, certificate, key, options):
        configuration = cls.module("quic.configuration").QuicConfiguration(
            is_client=False, alpn_protocols=["midstream"]
        )
        configuration.load_cert_chain(certificate, key)
        server = await cls.module("asyncio").serve(
            "127.0.0.1",
            0,
            configuration=configuration,
            create_protocol=cls.protocol(options),
            stream_handler=cls._handle,
        )
        return server, server._transport.get_extra_info("sockname")[1]

    @staticmethod
    def _handle(reader, writer):
        task = asyncio.ensure_future(Aioquic._stream(reader, writer))
        _KEPT.add(task)
        task.add_done_callback(_KEPT.discard)

    @staticmethod
    async def _stream(reader, writer):
        kind = await reader.read(1)
        if kind == b"C":
            while piece := await reader.read(CHUNK):
                writer.write(piece)
        elif kind in (b"E", b"P"):
            writer.write(await reader.read())
        elif kind in (b"S", b"T"):
            if kind == b"T":
                await asyncio.sleep(REST_S)
            while await reader.read(CHUNK):
                pass
            writer.write(b".")
        else:
            return
        writer.write_eof()

    def __init__(self, port, options):
        self._port = port

    async def __aenter__(self):
        configuration = self.module("quic.configuration").QuicConfiguration(
            is_client=True, alpn_protocols=["midstream"], verify_mode=ssl.CERT_NONE
        )
        self._context = self.module("asyncio").connect(
            "127.0.0.1", self._port, configuration=configuration
        )
        self._protocol = await self._context.__aenter__()
        return self

    async def __aexit__(self, *_):
        self._protocol.close()

    async def open(self, urgency=3):
        reader, writer = await self._protocol.create_stream()
        return Pair(reader, writer)


class Qh3(Aioquic):
    """qh3, whose core is Rust, through the same interface."""

    package = "qh3"

    @classmethod
    def protocol(cls, options):
        return cls.module("asyncio.protocol").QuicConnectionProtocol

    async def open(self, urgency=3):
        pair = await super().open(urgency)
        # Its writers have no protocol behind them, so that `drain` raises: nothing is lost, as its
        # buffers have no bound either.
        pair.drain = _next_turn
        return pair


async def _next_turn():
    await asyncio.sleep(0)


class Pair:
    """asyncio's two halves as one."""

    def __init__(self, reader, writer):
        self.write, self.drain, self.write_eof = writer.write, writer.drain, writer.write_eof
        self.read, self.readexactly = reader.read, reader.readexactly
        # asyncio's writer closes its stream when it is collected.
        self._kept = writer


_KEPT: set[asyncio.Task[None]] = set()
LIBRARIES = {"midstream": Ours, "aioquic": Aioquic}
if importlib.util.find_spec("qh3") is not None:
    LIBRARIES["qh3"] = Qh3
