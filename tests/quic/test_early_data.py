"""Trust, resumption and early data from `connect` to `serve`, over real sockets on loopback."""

from __future__ import annotations

import asyncio
import socket

import pytest

from midstream.errors import CertificateError
from midstream.quic._qlog import read_qlog
from midstream.quic.certificates import Authority
from midstream.quic.config import Config
from midstream.quic.connection import connect
from midstream.quic.serving import serve
from midstream.quic.tickets import TicketStore

AUTHORITY = Authority.development()
SERVER = AUTHORITY.issue(["localhost", "127.0.0.1"], usage="server")
CLIENT = AUTHORITY.issue(common_name="sensor 7", usage="client")


async def shout(connection):
    """Answers in capitals, and with an exclamation mark what came early."""
    async for stream in connection.streams():
        data = await stream.read_to_end(1000)
        stream.write(data.upper() + (b"!" if stream.early else b"."))
        stream.finish()


def a_server(handler=shout, port=0, **given):
    given = {"identity": SERVER, "early_data": True} | given
    return serve(handler, "127.0.0.1", port, config=Config(**given))


def a_client(**given):
    return Config(**({"ca": AUTHORITY.pem, "early_data": True, "tickets": TicketStore()} | given))


async def ask(address, config, data=b"hello"):
    """The answer, whether early data were accepted, whether the session was resumed."""
    async with asyncio.timeout(20):
        connection = await connect(*address[:2], config=config)
        async with connection:
            stream = await connection.open_bi()
            stream.write(data)
            stream.finish()
            answer = await stream.read_to_end(1000)
            accepted = await connection.handshake_complete()
            # The server's tickets come after the handshake; a ping is answered after them.
            await connection.ping()
            return answer, accepted, connection.resumed


async def test_a_second_request_leaves_with_the_first_packet():
    async with a_server() as server:
        config = a_client()
        assert await ask(server.address, config) == (b"HELLO.", False, False)
        for _ in range(3):
            assert await ask(server.address, config) == (b"HELLO!", True, True)


async def test_tickets_on_disk_are_for_the_next_process_too(tmp_path):
    async with a_server() as server:
        assert await ask(server.address, a_client(tickets=tmp_path)) == (b"HELLO.", False, False)
        other = a_client(tickets=TicketStore(tmp_path))
        assert await ask(server.address, other) == (b"HELLO!", True, True)


async def test_without_early_data_a_session_is_resumed_after_the_handshake():
    async with a_server() as server:
        config = a_client(early_data=False)
        assert await ask(server.address, config) == (b"HELLO.", False, False)
        assert await ask(server.address, config) == (b"HELLO.", False, True)


async def test_a_server_that_takes_no_early_data():
    async with a_server(early_data=False) as server:
        config = a_client()
        assert await ask(server.address, config) == (b"HELLO.", False, False)
        assert await ask(server.address, config) == (b"HELLO.", False, True)


async def test_a_server_that_has_forgotten_everything_gets_the_request_after_the_handshake():
    config = a_client()
    async with a_server() as server:
        port = server.address[1]
        await ask(server.address, config)
        tickets = len(config.tickets)
    async with a_server(port=port) as server:
        assert await ask(server.address, config) == (b"HELLO.", False, False)
    assert len(config.tickets) == tickets - 1 + tickets


async def test_tickets_of_one_trust_are_not_used_under_another():
    async with a_server() as server:
        tickets = TicketStore()
        careless = a_client(ca=None, insecure_skip_verify=True, tickets=tickets)
        await ask(server.address, careless)
        assert await ask(server.address, a_client(tickets=tickets)) == (b"HELLO.", False, False)
        assert await ask(server.address, careless) == (b"HELLO!", True, True)


class Tap(asyncio.DatagramProtocol):
    """A relay on loopback that keeps what the client sent."""

    def __init__(self, server):
        self.server = server
        self.client = None
        self.kept = []

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        if address[:2] == self.server:
            self.transport.sendto(data, self.client)
        else:
            self.client = address
            self.kept.append(data)
            self.transport.sendto(data, self.server)


async def test_what_was_recorded_of_early_data_does_nothing_twice():
    heard = []

    async def count(connection):
        async for stream in connection.streams():
            heard.append(await stream.read_to_end(1000))
            stream.finish()

    async with a_server(count) as server:
        address = server.address[:2]
        loop = asyncio.get_running_loop()
        transport, tap = await loop.create_datagram_endpoint(
            lambda: Tap(address), local_addr=("127.0.0.1", 0)
        )
        try:
            here = transport.get_extra_info("sockname")
            config = a_client()
            await ask(here, config, b"first")
            tap.kept.clear()
            _, accepted, _ = await ask(here, config, b"pay 100")
            assert accepted
            assert heard == [b"first", b"pay 100"]
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as thief:
                for data in tap.kept:
                    thief.sendto(data, address)
            # A whole exchange behind it shows that the server has read the replay.
            await ask(address, a_client(), b"last")
            assert heard == [b"first", b"pay 100", b"last"]
        finally:
            transport.close()


# -- trust ------------------------------------------------------------------------------------


async def test_a_certificate_that_is_refused_is_refused_with_the_reason():
    async with a_server() as server:
        for config, words in (
            (a_client(server_name="a.example"), "not for a.example"),
            (a_client(ca=Authority.development("stranger").pem), "issuer is unknown"),
            (a_client(pins=(CLIENT.spki_pin,)), "matches no pin"),
            (a_client(ca=None), "issuer is unknown"),
        ):
            with pytest.raises(CertificateError, match=words) as raised:
                await ask(server.address, config)
            assert words in raised.value.reason
            assert raised.value.by_peer is False


async def test_a_client_without_its_certificate_learns_it_from_connect():
    async with a_server(client_certificates="required", ca=AUTHORITY.pem) as server:
        with pytest.raises(CertificateError, match="client certificate is required") as raised:
            await connect(*server.address[:2], config=a_client(identity=None))
        assert raised.value.by_peer is True
        stranger = Authority.development("stranger").issue(usage="client")
        with pytest.raises(CertificateError, match="issuer is unknown: CN=stranger"):
            await connect(*server.address[:2], config=a_client(identity=stranger))


async def test_a_server_knows_its_clients_also_in_resumed_sessions():
    shown = []

    async def look(connection):
        shown.append(connection.peer_certificates)
        await shout(connection)

    async with a_server(look, client_certificates="required", ca=AUTHORITY.pem) as server:
        config = a_client(identity=CLIENT)
        assert await ask(server.address, config) == (b"HELLO.", False, False)
        assert await ask(server.address, config) == (b"HELLO!", True, True)
    assert shown == [(CLIENT.certificate,)] * 2


# -- logs -------------------------------------------------------------------------------------


async def test_key_log_and_qlog_of_a_configuration(tmp_path):
    logged = {"keylog": tmp_path / "keys.txt", "qlog": tmp_path / "qlog"}
    async with a_server(**logged) as server:
        config = a_client(**logged)
        for _ in range(2):
            await ask(server.address, config)
    labels = [line.split()[0] for line in (tmp_path / "keys.txt").read_text().splitlines()]
    assert labels.count("CLIENT_EARLY_TRAFFIC_SECRET") == 2
    assert labels.count("CLIENT_TRAFFIC_SECRET_0") == 4
    files = sorted((tmp_path / "qlog").iterdir())
    assert len(files) == 4
    for file in files:
        head, *events = read_qlog(file)
        assert head["qlog_format"] == "JSON-SEQ"
        assert events


@pytest.mark.parametrize("on_disk", [False, True])
async def test_no_client_that_leaves_at_once_runs_out_of_tickets(tmp_path, on_disk):
    """Its new tickets come a round trip after the answer to its early data."""
    config = a_client(tickets=tmp_path if on_disk else TicketStore())
    began_early = []
    async with a_server() as server, asyncio.timeout(20):
        for _ in range(6):
            async with connect(*server.address, config=config) as connection:
                began_early.append(connection.early)
                stream = await connection.open_bi()
                stream.write(b"hello")
                stream.finish()
                await stream.read_to_end(1000)
    assert began_early == [False, True, True, True, True, True]


async def test_statistics_have_the_handshake_and_the_early_data_too():
    config = a_client()
    async with a_server() as server, asyncio.timeout(20):
        await ask(server.address, config)
        async with connect(*server.address, config=config) as connection:
            stream = await connection.open_bi()
            stream.write(bytes(900))
            stream.finish()
            await stream.read_to_end(1000)
            assert connection.early_data
            stats = connection.stats()
            (served,) = [c.stats() for c in server.connections]
    # The first flight is filled up to 1200 bytes, and so is the server's.
    assert stats.packets_sent >= 2
    assert stats.bytes_sent >= 1200
    assert stats.packets_received >= 3
    assert stats.bytes_received >= 1200
    assert served.bytes_received >= stats.bytes_sent - 200
