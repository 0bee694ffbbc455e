"""qh3, in Rust: its client with our server, our client with its server."""

from __future__ import annotations

import asyncio

import pytest
from quic.interop.peers import free_port

from midstream.quic.certificates import Authority
from midstream.quic.config import Config
from midstream.quic.connection import connect
from midstream.quic.serving import serve


@pytest.fixture(scope="module")
def qh3():
    try:
        import qh3.asyncio.client
        import qh3.asyncio.server
        import qh3.quic.configuration
    except ImportError:
        pytest.skip("qh3 is not installed (PyPI: qh3)")
    return qh3


async def echo(connection):
    async for stream in connection.streams():
        stream.write(await stream.read_to_end(2_000_000))
        stream.finish()


async def test_its_client_with_our_server(qh3, content, tmp_path):
    # It takes no certificate that signed itself.
    authority = Authority.development()
    trusted = tmp_path / "authority.pem"
    trusted.write_bytes(authority.pem)
    identity = authority.issue(["localhost"], usage="server")
    settings = qh3.quic.configuration.QuicConfiguration(
        is_client=True, alpn_protocols=["echo"], cafile=str(trusted)
    )
    config = Config(alpn=("echo",), identity=identity)
    async with serve(echo, "127.0.0.1", 0, config=config) as server:
        client = qh3.asyncio.client.connect("localhost", server.address[1], configuration=settings)
        async with asyncio.timeout(20), client as connection:
            reader, writer = await connection.create_stream()
            writer.write(content)
            writer.write_eof()
            assert await reader.read() == content


async def test_our_client_with_its_server(qh3, credentials, content):
    settings = qh3.quic.configuration.QuicConfiguration(is_client=False, alpn_protocols=["echo"])
    settings.load_cert_chain(str(credentials.certificate), str(credentials.key))
    tasks = set()

    def handle(reader, writer):
        async def answer():
            writer.write(await reader.read())
            writer.write_eof()

        tasks.add(asyncio.ensure_future(answer()))

    port = free_port()
    server = await qh3.asyncio.server.serve(
        "127.0.0.1", port, configuration=settings, stream_handler=handle
    )
    try:
        config = Config(alpn=("echo",), ca=credentials.certificate, server_name="localhost")
        async with asyncio.timeout(20), connect("127.0.0.1", port, config=config) as connection:
            stream = await connection.open_bi()
            stream.write(content)
            stream.finish()
            assert await stream.read_to_end(2_000_000) == content
    finally:
        server.close()
        for task in tasks:
            task.cancel()
