"""Our server with ngtcp2's client, and our client with ngtcp2's server: GnuTLS and nghttp3."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from quic.interop.peers import free_port, program, run_program, started

from midstream.errors import CertificateError, HandshakeError
from midstream.quic.config import Config
from midstream.quic.connection import connect as quic_connect
from midstream.quic.http3 import connect
from midstream.quic.tickets import TicketStore

CIPHER = "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+"
GNUTLS_CIPHERS = {
    "TLS_AES_128_GCM_SHA256": "AES-128-GCM",
    "TLS_AES_256_GCM_SHA384": "AES-256-GCM",
    "TLS_CHACHA20_POLY1305_SHA256": "CHACHA20-POLY1305",
}


class TestOurServerWithGtlsclient:
    """What gtlsclient downloads is compared; what it says is looked at where that shows more."""

    @pytest.fixture
    def get(self, tmp_path):
        client = program("gtlsclient", "ngtcp2-client")

        async def get(port, *options, paths=("/data",)):
            urls = [f"https://localhost:{port}{path}" for path in paths]
            return await run_program(
                client,
                "--exit-on-all-streams-close",
                "--no-quic-dump",
                "--no-http-dump",
                f"--download={tmp_path}",
                *options,
                "127.0.0.1",
                port,
                *urls,
            )

        return get

    async def test_a_megabyte_comes_whole(self, our_server, get, content, tmp_path):
        async with our_server() as seen:
            done = await get(seen.port)
        assert done.status == 0, done.tail
        assert (tmp_path / "data").read_bytes() == content
        assert [request.path for request in seen.requests] == ["/data"]

    async def test_fifty_streams_at_once(self, our_server, get, tmp_path):
        paths = [f"/stream-{number}" for number in range(50)]
        async with our_server() as seen:
            done = await get(seen.port, "-q", paths=paths)
        assert done.status == 0, done.tail
        assert len(seen.connections) == 1
        for path in paths:
            assert (tmp_path / path[1:]).read_bytes() == path.encode()

    async def test_an_upload_comes_whole(self, our_server, get, content, tmp_path):
        upload = tmp_path / "upload"
        upload.write_bytes(content)
        async with our_server() as seen:
            done = await get(seen.port, "-q", "-m", "POST", "-d", upload, paths=["/answer"])
        assert done.status == 0, done.tail
        assert seen.bodies == [content]
        assert (tmp_path / "answer").read_bytes() == b"1000000"

    @pytest.mark.parametrize("cipher", GNUTLS_CIPHERS.values())
    async def test_every_cipher(self, our_server, get, content, tmp_path, cipher):
        async with our_server() as seen:
            done = await get(seen.port, "-q", f"--ciphers={CIPHER}{cipher}")
        assert done.status == 0, done.tail
        assert (tmp_path / "data").read_bytes() == content

    async def test_a_client_must_show_its_address(self, our_server, get, content, tmp_path):
        async with our_server(retry="always") as seen:
            done = await get(seen.port)
        assert done.status == 0, done.tail
        assert "type=Retry" in done
        assert "retry_source_connection_id" in done
        assert (tmp_path / "data").read_bytes() == content

    async def test_resumption_and_early_data(self, our_server, get, content, tmp_path):
        kept = (
            f"--session-file={tmp_path / 'session'}",
            f"--tp-file={tmp_path / 'parameters'}",
        )
        async with our_server(early_data=True) as seen:
            first = await get(seen.port, *kept)
            again = await get(seen.port, *kept)
            without = await get(seen.port, "--disable-early-data", *kept)
        for done in (first, again, without):
            assert done.status == 0, done.tail
        assert [connection.resumed for connection in seen.connections] == [False, True, True]
        # The last one had a right to early data, and sent none.
        assert [connection.early_data for connection in seen.connections][:2] == [False, True]
        assert [request.early_data for request in seen.requests] == [False, True, False]
        assert "type=0RTT" in again
        assert (tmp_path / "data").read_bytes() == content

    async def test_early_data_that_is_refused_comes_after_the_handshake(
        self, our_server, get, content, tmp_path
    ):
        kept = (
            f"--session-file={tmp_path / 'session'}",
            f"--tp-file={tmp_path / 'parameters'}",
        )
        async with our_server(early_data=True) as seen:
            assert (await get(seen.port, *kept)).status == 0
        async with our_server(early_data=True) as other:  # which knows no such ticket
            done = await get(other.port, *kept)
        assert done.status == 0, done.tail
        assert "type=0RTT" in done
        assert [connection.early_data for connection in other.connections] == [False]
        assert (tmp_path / "data").read_bytes() == content

    async def test_the_client_updates_its_keys(self, our_server, get, content, tmp_path):
        async with our_server() as seen:
            done = await get(seen.port, "--key-update=100ms", paths=["/slow"])
        assert done.status == 0, done.tail
        assert "confirming key update" in done.said.lower() or "k=1" in done.said
        assert (tmp_path / "slow").read_bytes() == content

    # A client that does not know of its new address has to send something for the server to see it.
    @pytest.mark.parametrize(
        ("path", "how"),
        [("/slow", ()), ("/data", ("--nat-rebinding", "--delay-stream=400ms"))],
        ids=["migration", "rebinding"],
    )
    async def test_the_client_changes_its_address(
        self, our_server, get, content, tmp_path, path, how
    ):
        addresses = set()

        async def look(seen):
            while True:
                addresses.update(c.remote_address for c in seen.connections)
                await asyncio.sleep(0.01)

        async with our_server() as seen:
            looking = asyncio.ensure_future(look(seen))
            done = await get(seen.port, "-q", "--change-local-addr=200ms", *how, paths=[path])
            addresses.update(r.session.connection.remote_address for r in seen.requests)
            looking.cancel()
        assert done.status == 0, done.tail
        assert (tmp_path / path[1:]).read_bytes() == content
        assert len(seen.connections) == 1
        assert len(addresses) == 2

    async def test_packets_are_lost_both_ways(self, our_server, get, content, tmp_path):
        async with our_server() as seen:
            done = await get(seen.port, "-q", "--tx-loss=0.05", "--rx-loss=0.05")
        assert done.status == 0, done.tail
        assert (tmp_path / "data").read_bytes() == content

    async def test_a_version_that_nobody_speaks_is_negotiated(
        self, our_server, get, content, tmp_path
    ):
        async with our_server() as seen:
            done = await get(seen.port, "-v", "0x1a2a3a4a", "--preferred-versions=v1")
        assert done.status == 0, done.tail
        assert "type=VN" in done
        assert (tmp_path / "data").read_bytes() == content


class TestOurClientWithGtlsserver:
    """A server that serves a folder, and says what it sees."""

    @pytest.fixture
    def ngtcp2(self, tmp_path, credentials, content):
        server = program("gtlsserver", "ngtcp2-server")
        folder = tmp_path / "htdocs"
        folder.mkdir()
        (folder / "data").write_bytes(content)
        log = tmp_path / "log"

        @contextlib.asynccontextmanager
        async def run(*options):
            port = free_port()
            command = (server, "--no-quic-dump", "--no-http-dump", "-d", folder, *options)
            files = (credentials.key, credentials.certificate)
            async with started(*command, "127.0.0.1", port, *files, log=log, port=port) as running:
                running.url = f"https://localhost:{port}"
                yield running

        return run

    @pytest.fixture
    def config(self, credentials):
        return Config(alpn=("h3",), ca=credentials.certificate)

    async def fetch(self, client, path="/data"):
        response = await client.request("GET", path)
        assert response.status == 200
        return await response.read(limit=2_000_000)

    async def test_a_megabyte_comes_whole(self, ngtcp2, config, content):
        async with ngtcp2() as server, connect(server.url, config=config) as client:
            assert await self.fetch(client) == content

    async def test_twenty_streams_at_once(self, ngtcp2, config, content):
        async with ngtcp2() as server, connect(server.url, config=config) as client:
            got = await asyncio.gather(*(self.fetch(client) for _ in range(20)))
        assert set(got) == {content}

    async def test_an_upload_is_taken(self, ngtcp2, config, content):
        async with ngtcp2() as server, connect(server.url, config=config) as client:
            response = await client.request("POST", "/data", body=content)
            assert response.status == 200

    @pytest.mark.parametrize("suite", GNUTLS_CIPHERS)
    async def test_every_cipher(self, ngtcp2, config, content, suite):
        cipher = f"--ciphers={CIPHER}{GNUTLS_CIPHERS[suite]}"
        config = config.replace(cipher_suites=(suite,))
        async with ngtcp2(cipher) as server, connect(server.url, config=config) as client:
            assert await self.fetch(client) == content

    async def test_the_server_asks_for_the_address(self, ngtcp2, config, content):
        async with ngtcp2("-V") as server, connect(server.url, config=config) as client:
            assert await self.fetch(client) == content
            assert "Sending Retry packet" in server.said
            assert "Token was successfully validated" in server.said

    async def test_resumption_and_early_data(self, ngtcp2, config, content, tmp_path):
        config = config.replace(tickets=TicketStore(tmp_path / "tickets"), early_data=True)
        async with ngtcp2() as server:
            async with connect(server.url, config=config) as client:
                assert await self.fetch(client) == content
                assert not client.connection.resumed
            async with connect(server.url, config=config) as client:
                assert await self.fetch(client) == content
                assert client.connection.resumed
                assert client.connection.early_data
            await server.until_said("type=0RTT")

    async def test_our_client_updates_its_keys(self, ngtcp2, config, content):
        async with ngtcp2() as server, connect(server.url, config=config) as client:
            assert await self.fetch(client) == content
            client.connection.update_keys()
            assert await self.fetch(client) == content
            assert await self.fetch(client, "/1000") != b""

    async def test_our_client_migrates(self, ngtcp2, config, content):
        async with ngtcp2() as server, connect(server.url, config=config) as client:
            assert await self.fetch(client) == content
            before = client.connection.local_address
            await client.connection.migrate()
            assert client.connection.local_address != before
            assert await self.fetch(client) == content
            await server.until_said("PATH_RESPONSE")

    async def test_packets_are_lost_both_ways(self, ngtcp2, config, content):
        loss = ("-t", "0.05", "-r", "0.05")
        async with ngtcp2(*loss) as server, connect(server.url, config=config) as client:
            assert await self.fetch(client) == content

    async def test_a_client_certificate_is_shown(self, ngtcp2, config, content, credentials):
        config = config.replace(identity=credentials.identity)
        asked = ngtcp2("--verify-client")
        async with asked as server, connect(server.url, config=config) as client:
            assert await self.fetch(client) == content

    async def test_another_authority_is_not_trusted(self, ngtcp2):
        async with ngtcp2() as server:
            with pytest.raises(CertificateError, match="self"):
                async with connect(server.url, config=Config(alpn=("h3",))):
                    pass

    async def test_no_common_protocol_is_told(self, ngtcp2, credentials):
        async with ngtcp2() as server:
            port = int(server.url.rpartition(":")[2])
            config = Config(alpn=("nothing/1",), ca=credentials.certificate)
            with pytest.raises(HandshakeError):
                async with quic_connect("localhost", port, config=config):
                    pass
