"""Connections and servers: handshakes and their failures, limits, draining, early data, paths."""

from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aioquic.quic.connection import QuicConnection

from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    CertificateError,
    ConnectionClosedError,
    DatagramTooLargeError,
    HandshakeError,
    QuicError,
    QuicTimeoutError,
)
from midstream.quic import http3, webtransport
from midstream.quic._qlog import read_qlog
from midstream.quic.certificates import Identity
from midstream.quic.config import Config
from midstream.quic.connection import Connection, connect
from midstream.quic.runner import run
from midstream.quic.serving import serve
from midstream.quic.statistics import ConnectionStats
from midstream.quic.streams import Stream
from midstream.quic.tickets import TicketStore
from tests.quic._loopback import client_config, echo, pair, server_config


async def ask(connection: Connection, data: bytes = b"hello") -> bytes:
    stream = await connection.open_bi()
    stream.write(data)
    stream.finish()
    return await stream.read()


async def test_both_ends_know_each_other() -> None:
    async with pair(server={"alpn": ("b", "a")}, client={"alpn": ("a",)}) as (connection, server):
        assert await ask(connection) == b"hello"
        (there,) = server.connections
        assert (connection.alpn, there.alpn) == ("a", "a")
        assert connection.remote_address == server.address == there.local_address
        assert there.remote_address == connection.local_address
        assert len(connection.peer_certificates) == 1
        assert there.peer_certificates == ()
        assert not connection.early
        assert not connection.early_data
        assert not connection.closed
        assert repr(connection).startswith("<Connection client, open, peer 127.0.0.1:")
        stats = server.stats()
        assert (stats.connections, stats.accepted, stats.handshakes) == (1, 1, 0)


async def test_connect_is_awaitable_and_a_context() -> None:
    async with serve(echo, "127.0.0.1", 0, config=server_config()) as server:
        async with connect(*server.address, config=client_config()) as connection:
            assert await ask(connection) == b"hello"
        assert connection.closed
        other = await connect(*server.address, config=client_config())
        other.close(3, "done")
        other.close(4)
        await other.wait_closed()
        with pytest.raises(ConnectionClosedError, match="this end closed") as caught:
            await other.open_bi()
        assert (caught.value.code, caught.value.by_peer) == (3, False)


async def test_leaving_the_context_delivers_what_was_written() -> None:
    received = asyncio.get_running_loop().create_future()

    async def handler(connection: Connection) -> None:
        received.set_result(await (await connection.accept_uni()).read())

    async with serve(handler, "127.0.0.1", 0, config=server_config()) as server:
        async with connect(*server.address, config=client_config()) as connection:
            stream = await connection.open_uni()
            stream.write(b"x" * 2_000_000)
            stream.finish()
        assert len(await received) == 2_000_000


async def test_an_unknown_certificate_is_refused_with_the_reason() -> None:
    async with serve(echo, "127.0.0.1", 0, config=server_config()) as server:
        with pytest.raises(CertificateError) as caught:
            await connect(*server.address, config=Config())
        assert not caught.value.by_peer
        assert "untrusted" in caught.value.reason or "issuer" in caught.value.reason
        other = Identity.development().certificate_pin
        with pytest.raises(CertificateError, match="pin"):
            await connect(*server.address, config=Config(pins=[other]))


async def test_no_common_protocol() -> None:
    async with serve(echo, "127.0.0.1", 0, config=server_config(alpn=("a",))) as server:
        with pytest.raises(HandshakeError):
            await connect(*server.address, config=client_config(alpn=("b",)))


async def test_nothing_listens() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    # The system says so where it can; where not, the time-out does.
    with pytest.raises(HandshakeError):
        await connect("127.0.0.1", port, config=client_config(handshake_timeout_s=0.3))


async def test_a_silent_peer_is_given_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        with pytest.raises(HandshakeError, match=r"no answer within 0\.05 s"):
            await connect(*silent.getsockname(), config=client_config(handshake_timeout_s=0.05))


async def test_the_next_address_of_a_name_is_tried() -> None:
    server = await serve(echo, "127.0.0.1", 0, config=server_config())
    # Where ::1 comes first, nothing listens there.
    async with (
        server,
        connect("localhost", server.address[1], config=client_config()) as connection,
    ):
        assert await ask(connection) == b"hello"


async def test_a_cancelled_connect_leaves_nothing() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connect(*silent.getsockname(), config=client_config()), 0.02)


@pytest.mark.parametrize("unidirectional", [False, True])
async def test_open_waits_at_the_peers_limit(unidirectional: bool) -> None:
    limits = {"max_streams_bidi": 2, "max_streams_uni": 2}
    async with pair(server=limits) as (connection, _):
        opener = connection.open_uni if unidirectional else connection.open_bi
        streams = [await opener() for _ in range(2)]
        third = asyncio.ensure_future(opener())
        cancelled = asyncio.ensure_future(opener())
        fourth = asyncio.ensure_future(opener())
        await asyncio.sleep(0.01)
        assert not third.done()
        cancelled.cancel()
        for stream in streams:
            stream.write(b"x")
            stream.finish()
        for stream in (await third, await fourth):
            stream.write(b"x")
            stream.finish()
            if not unidirectional:
                assert await stream.read() == b"x"


async def test_many_more_streams_than_the_limit() -> None:
    async with pair(server={"max_streams_bidi": 50}) as (connection, _):
        answers = await asyncio.gather(*(ask(connection, b"%d" % i) for i in range(500)))
        assert answers == [b"%d" % i for i in range(500)]


async def test_each_stream_goes_to_one_accepter() -> None:
    got: list[int] = []

    async def handler(connection: Connection) -> None:
        async def accept() -> None:
            while True:
                stream = await connection.accept_bi()
                got.append(stream.stream_id)
                stream.write(await stream.read())
                stream.finish()

        await asyncio.gather(*(accept() for _ in range(5)))

    async with pair(handler) as (connection, _):
        await asyncio.gather(*(ask(connection) for _ in range(40)))
        assert sorted(got) == [4 * i for i in range(40)]


async def test_a_failing_handler_is_logged_and_closes(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(connection: Connection) -> None:
        raise KeyError("the secret")

    with caplog.at_level(logging.ERROR, "midstream.quic"):
        async with pair(handler) as (connection, server):
            with pytest.raises(ConnectionClosedError) as caught:
                await connection.accept_bi()
            assert (caught.value.code, caught.value.by_peer) == (1, True)
            assert "secret" not in caught.value.reason
            assert server.stats().handlers_failed == 1
    assert "the secret" in caplog.text


@pytest.mark.parametrize("times", [1, 2])
async def test_a_failure_at_sending_ends_that_connection_at_once(
    times: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with pair(echo) as (connection, server):
        assert await ask(connection) == b"hello"
        protocol = connection._protocol
        send, left = type(protocol).segments_to_send, times

        def failing(self: Any, now: float) -> Any:
            nonlocal left
            if self is protocol and left:
                left -= 1
                raise MemoryError
            return send(self, now)

        monkeypatch.setattr(type(protocol), "segments_to_send", failing)
        with pytest.raises(ConnectionClosedError) as caught:
            await ask(connection)
        assert (caught.value.code, caught.value.by_peer) == (1, False)
        assert connection.closed
        await connection.wait_closed()
        # At the second failure nothing can be said to the peer: it finds out for itself.
        while times == 1 and server.connections:
            await asyncio.sleep(0.001)
    assert caplog.text.count("the connection failed at sending") == times


async def test_a_peer_that_leaves_is_no_failure_of_the_handler(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(connection: Connection) -> None:
        await connection.accept_bi()

    async with pair(handler) as (connection, server):
        connection.close(0)
        while server._tasks:
            await asyncio.sleep(0.001)
        assert server.stats().handlers_failed == 0
    assert not caplog.records


async def test_a_returning_handler_closes_after_delivery() -> None:
    async def handler(connection: Connection) -> None:
        stream = await connection.open_uni()
        stream.write(b"x" * 1_000_000)
        stream.finish()

    async with pair(handler) as (connection, _):
        streams = [stream async for stream in connection.streams()]
        assert len(await streams[0].read()) == 1_000_000


async def test_a_draining_server_lets_streams_finish() -> None:
    release = asyncio.Event()
    told = asyncio.Event()

    async def handler(connection: Connection) -> None:
        stream = await connection.accept_bi()
        await connection.wait_draining()
        told.set()
        await release.wait()
        stream.write(await stream.read())
        stream.finish()
        await connection.wait_closed()

    async with pair(handler) as (connection, server):
        stream = await connection.open_bi()
        stream.write(b"hello")
        stream.finish()
        while not server.connections:
            await asyncio.sleep(0.001)
        draining = asyncio.ensure_future(server.drain(5))
        await told.wait()
        with pytest.raises(HandshakeError):
            await connect(*server.address, config=client_config(handshake_timeout_s=0.5))
        release.set()
        assert await stream.read() == b"hello"
        await draining
        await connection.wait_closed()


async def test_a_drain_that_takes_too_long_closes_all_the_same() -> None:
    async with pair() as (connection, server):
        stream = await connection.open_bi()
        stream.write(b"x")
        while not server.connections:
            await asyncio.sleep(0.001)
        await connection.ping()
        with pytest.raises(QuicTimeoutError, match="1 connections had open streams"):
            await server.drain(0.01)
        await connection.wait_closed()
    quiet = {"stream_window": 10, "max_stream_window": 10}

    async def idle(connection: Connection) -> None:
        await connection.wait_closed()

    async with pair(idle, server=quiet) as (connection, _):
        stream = await connection.open_bi()
        stream.write(b"x" * 100)
        with pytest.raises(QuicTimeoutError, match="1 stream was not acknowledged"):
            await connection.drain(0.05)
        assert connection.closed


async def test_idle_time_out_and_keep_alive() -> None:
    times = {"idle_timeout_s": 0.15}
    async with (
        pair(client=times) as (connection, _),
        pair(client={"idle_timeout_s": 0.15, "keep_alive_s": 0.03}) as (kept, _),
    ):
        with pytest.raises(QuicTimeoutError, match="nothing arrived within the idle time-out"):
            await connection.accept_bi()
        await asyncio.sleep(0.1)
        assert await ask(kept) == b"hello"


async def test_early_data_is_seen_answered_and_taken_once(tmp_path: Path) -> None:
    early: list[bool] = []

    async def handler(connection: Connection) -> None:
        async for stream in connection.streams():
            data = await stream.read()
            early.append(bool(stream.early))
            stream.write(data)
            stream.finish()

    config = client_config(early_data=True, tickets=tmp_path / "tickets")
    async with serve(handler, "127.0.0.1", 0, config=server_config(early_data=True)) as server:
        for turn in range(3):
            async with connect(*server.address, config=config) as connection:
                assert connection.early == (turn > 0)
                assert await ask(connection) == b"hello"
                assert await connection.handshake_complete() == (turn > 0)
                assert connection.resumed == connection.early_data == (turn > 0)
                assert connection.peer_certificates
                await connection.ping()
        assert early == [False, True, True]


async def test_refused_early_data_is_sent_again() -> None:
    store = TicketStore()
    config = client_config(early_data=True, tickets=store)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for turn in range(2):
        # Another server at the same address, which does not know the ticket.
        async with (
            serve(echo, "127.0.0.1", port, config=server_config(early_data=True)),
            connect("127.0.0.1", port, config=config) as connection,
        ):
            assert connection.early == (turn > 0)
            assert await ask(connection, b"x" * 5000) == b"x" * 5000
            assert not await connection.handshake_complete()
            await connection.ping()


async def test_migration_keeps_streams() -> None:
    async with pair() as (connection, server):
        stream = await connection.open_bi()
        stream.write(b"before ")
        await connection.ping()
        before = connection.local_address
        assert await connection.migrate() > 0
        assert connection.local_address != before
        stream.write(b"after")
        stream.finish()
        assert await stream.read() == b"before after"
        assert server.connections[0].remote_address == connection.local_address
        with pytest.raises(ArgumentValueError, match="only a client"):
            await server.connections[0].migrate()


async def test_migration_right_after_the_handshake_uses_a_fresh_identifier() -> None:
    async with pair() as (connection, _):
        before = connection._protocol._peer_cid.cid
        await connection.migrate()
        assert connection._protocol._peer_cid.cid != before
        assert await ask(connection) == b"hello"


async def test_a_server_that_forbids_migration_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    serialise = QuicConnection._serialize_transport_parameters

    def forbid(self: QuicConnection) -> bytes:
        if self._is_client:
            return serialise(self)
        # disable_active_migration (RFC 9000, section 18.2): no value.
        return serialise(self) + b"\x0c\x00"

    monkeypatch.setattr(QuicConnection, "_serialize_transport_parameters", forbid)
    async with pair() as (connection, _):
        before = connection.local_address
        with pytest.raises(QuicError, match="forbids it"):
            await connection.migrate()
        assert connection.local_address == before
        assert await ask(connection) == b"hello"


async def test_without_a_spare_identifier_there_is_no_migration() -> None:
    async with pair() as (connection, _):
        assert await ask(connection) == b"hello"
        connection._protocol._peer_cid_available.clear()
        before = connection.local_address
        with pytest.raises(QuicError, match="no connection identifier"):
            await connection.migrate()
        assert connection.local_address == before
        assert await ask(connection) == b"hello"


async def test_a_stream_for_an_accepter_that_is_cancelled_is_for_who_iterates() -> None:
    async with pair(lambda connection: asyncio.sleep(60)) as (connection, listening):
        await connection.ping()
        server = listening.connections[0]
        streams = server.streams()
        iterate = asyncio.ensure_future(anext(streams))
        accept = asyncio.ensure_future(server.accept_bi())
        on_opened = server._on_opened

        def cancel_too(opened: list[Stream]) -> bool:
            woken = on_opened(opened)
            accept.cancel()
            return woken

        server._on_opened = cancel_too  # type: ignore[method-assign]
        stream = await connection.open_bi()
        stream.write(b"x")
        got = await asyncio.wait_for(iterate, 5)
        assert got.stream_id == stream.stream_id
        assert accept.cancelled()


async def test_keys_can_be_updated() -> None:
    async with pair() as (connection, _):
        for _ in range(3):
            assert await ask(connection) == b"hello"
            connection.update_keys()
            assert await connection.ping() > 0


async def test_datagrams_both_ways_and_their_bounds() -> None:
    async def handler(connection: Connection) -> None:
        async for data in connection.datagrams:
            connection.datagrams.send(data + b"!")

    async with pair(handler, client={"datagram_queue": 3}) as (connection, _):
        datagrams = connection.datagrams
        datagrams.send(b"one")
        assert await datagrams.receive() == b"one!"
        assert datagrams.max_size >= 1100
        with pytest.raises(DatagramTooLargeError, match="data has 70000 bytes"):
            datagrams.send(b"x" * 70000)
        with pytest.raises(ArgumentTypeError, match="data must be bytes, got str"):
            datagrams.send("x")  # type: ignore[arg-type]
        for i in range(5):
            datagrams.send(b"%d" % i)
            await connection.ping()
        while datagrams.dropped < 2:
            await connection.ping()
        assert len(datagrams) == 3
        assert [await datagrams.receive() for _ in range(3)] == [b"2!", b"3!", b"4!"]
        assert connection.stats().datagrams_dropped == 2
        for i in range(5):
            datagrams.send(b"%d" % i)
        assert [await datagrams.receive() for _ in range(3)] == [b"2!", b"3!", b"4!"]
        assert (datagrams.dropped, connection.stats().datagrams_dropped) == (2, 4)


async def test_a_peer_without_datagrams() -> None:
    async with pair(server={"datagrams": False}) as (connection, _):
        assert connection.datagrams.max_size == 0
        with pytest.raises(DatagramTooLargeError, match="takes no datagrams"):
            connection.datagrams.send(b"x")


async def test_statistics() -> None:
    async with pair() as (connection, _):
        await ask(connection, b"x" * 100_000)
        stats = connection.stats()
        assert stats.bytes_sent > 100_000
        assert stats.rtt_s > 0
        assert "round trip" in str(stats)
        assert stats._repr_html_().startswith("<table>")
    assert ConnectionStats().loss == 0


async def test_key_log_and_qlog_are_written(tmp_path: Path) -> None:
    logs = {"keylog": tmp_path / "keys", "qlog": tmp_path / "qlog"}
    async with pair(client=logs) as (connection, _):
        assert await ask(connection) == b"hello"
    assert "CLIENT_TRAFFIC_SECRET_0" in (tmp_path / "keys").read_text()
    assert len(list((tmp_path / "qlog").glob("*.sqlog"))) == 1


async def test_a_qlog_has_all_packets_with_their_frames(tmp_path: Path) -> None:
    size = 100_000
    async with pair(server={"qlog": tmp_path}, client={"qlog": tmp_path}) as (connection, _):
        assert await ask(connection, bytes(size)) == bytes(size)
        await connection.ping()
    logs = {path.name.rpartition("_")[2]: read_qlog(path)[1:] for path in tmp_path.iterdir()}
    assert set(logs) == {"client.sqlog", "server.sqlog"}
    for here, there in (("client.sqlog", "server.sqlog"), ("server.sqlog", "client.sqlog")):
        sent = packets(logs[here], "packet_sent")
        received = packets(logs[there], "packet_received")
        # All that was received was sent, and all frames of data but those of a close are the same.
        assert set(received) <= set(sent)
        for number, (length, frames) in received.items():
            assert length == sent[number][0]
            assert stream_frames(frames) == stream_frames(sent[number][1])
            assert frames, number
        assert {"stream", "ack"} <= {
            frame["frame_type"] for _, frames in sent.values() for frame in frames
        }
        data = [frame for _, frames in received.values() for frame in stream_frames(frames)]
        assert sum(frame["length"] for frame in data) >= size
        assert any(frame["fin"] for frame in data)


def packets(events: list[Any], name: str) -> dict[int, tuple[int, list[Any]]]:
    """Number -> length and frames of the 1-RTT packets of a qlog."""
    return {
        event["data"]["header"]["packet_number"]: (
            event["data"]["raw"]["length"],
            event["data"]["frames"],
        )
        for event in events
        if event["name"] == f"transport:{name}" and event["data"]["header"]["packet_type"] == "1RTT"
    }


def stream_frames(frames: list[Any]) -> list[Any]:
    return [frame for frame in frames if frame["frame_type"] == "stream"]


async def test_retry_and_client_certificates() -> None:
    client = Identity.development(names=("client",))
    names: list[int] = []

    async def handler(connection: Connection) -> None:
        names.append(len(connection.peer_certificates))
        await echo(connection)

    settings = {
        "retry": "always",
        "client_certificates": "required",
        "pins": [client.certificate_pin],
    }
    async with pair(handler, server=settings, client={"identity": client}) as (connection, server):
        assert await ask(connection) == b"hello"
        assert names == [1]
        with pytest.raises(CertificateError):
            await connect(*server.address, config=client_config())


async def test_a_farewell_keeps_to_the_limit_of_an_address_that_is_not_validated() -> None:
    sent: list[int] = []
    async with pair() as (connection, listening):
        assert await ask(connection) == b"hello"
        server = listening.connections[0]
        server.close(1, "x" * 100)
        server._endpoint.send = lambda segments: sent.extend(  # type: ignore[method-assign]
            len(data) for data, _, _ in segments
        )
        path = server._protocol._network_paths[0]
        path.is_validated, path.bytes_received, path.bytes_sent = False, 100, 300
        for _ in range(64):
            server.datagrams_received([bytes(21)], server._address or ("", 0), 0.0)
        assert sent
        assert sum(sent) <= 3 * 21 * 64
        assert path.bytes_sent <= 3 * path.bytes_received
        del server._endpoint.send


async def test_a_full_server_refuses() -> None:
    async with pair(server={"max_connections": 1}) as (connection, server):
        assert await ask(connection) == b"hello"
        with pytest.raises(HandshakeError):
            await connect(*server.address, config=client_config(handshake_timeout_s=0.5))
        assert server.stats().refused >= 1
        assert await ask(connection) == b"hello"


async def test_arguments_are_checked() -> None:
    for call, words in (
        (lambda: connect("h", 0), "port must be at least 1, got 0"),
        (lambda: serve(echo, "h", 70000, config=server_config()), "port must be at most"),
        (lambda: serve(echo, "h", 0, config=Config()), "config.identity must be given"),
    ):
        with pytest.raises(ArgumentValueError, match=words):
            call()
    for call, words in (
        (lambda: connect(b"h", 1), "host must be str"),  # type: ignore[arg-type]
        (lambda: connect("h", 1, config=3), "config must be a Config"),  # type: ignore[arg-type]
        (lambda: serve(3, "h", 0, config=server_config()), "handler must be callable"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ArgumentTypeError, match=words):
            call()
    with pytest.raises(QuicError, match="not started"):
        _ = serve(echo, "h", 0, config=server_config()).address


def test_run_uses_what_is_installed() -> None:
    async def main() -> bytes:
        async with pair() as (connection, _):
            return await ask(connection)

    assert run(main()) == b"hello"


async def test_a_key_survives_a_restart() -> None:
    key = bytes(range(32))
    store = TicketStore()
    first = await serve(echo, "127.0.0.1", 0, config=server_config(), key=key)
    port = first.address[1]
    connection = await connect("127.0.0.1", port, config=client_config(tickets=store))
    await connection.ping()
    # Gone without a word, as after SIGKILL.
    first._endpoint.close()
    async with serve(echo, "127.0.0.1", port, config=server_config(), key=key) as second:
        with pytest.raises(ConnectionClosedError, match="reset"):
            await asyncio.wait_for(connection.ping(), 10)
        taken = []
        check = second._endpoint.tokens.check
        second._endpoint.tokens.check = lambda *a, **k: taken.append(check(*a, **k)) or taken[-1]
        async with connect("127.0.0.1", port, config=client_config(tickets=store)):
            assert taken[0] is not None
    first.close()
    await first.wait_closed()


@pytest.mark.parametrize("made", [serve, http3.serve, webtransport.serve])
def test_a_key_must_be_long_and_bytes(made: Any) -> None:
    with pytest.raises(ArgumentValueError, match="key must have at least 32 bytes, got 3"):
        made(echo, "127.0.0.1", 0, config=server_config(), key=b"key")
    with pytest.raises(ArgumentTypeError, match="key must be bytes, got str"):
        made(echo, "127.0.0.1", 0, config=server_config(), key="key")


@pytest.mark.parametrize("made", [serve, http3.serve, webtransport.serve])
def test_a_server_without_an_identity_is_refused_where_it_is_made(made: Any) -> None:
    with pytest.raises(ArgumentValueError, match=r"config.identity must be given to serve"):
        made(echo, "127.0.0.1", 0, config=Config())
    with pytest.raises(ArgumentValueError, match="port must be at most 65535, got 65536"):
        made(echo, "127.0.0.1", 65536, config=server_config())


async def test_arguments_that_no_connection_can_have() -> None:
    with pytest.raises(ArgumentValueError, match="host must not be empty, got ''"):
        connect("", 1)
    with pytest.raises(ArgumentValueError, match=r"local_address must be numeric.* got 'eth0'"):
        connect("127.0.0.1", 1, local_address="eth0")
    for wrong in (3, ("127.0.0.1", "1"), ("127.0.0.1",), (1, 2)):
        with pytest.raises(ArgumentTypeError, match="local_address must be an address"):
            connect("127.0.0.1", 1, local_address=wrong)  # type: ignore[arg-type]
    with pytest.raises(ArgumentValueError, match="local_address's port must be at most 65535"):
        connect("127.0.0.1", 1, local_address=("127.0.0.1", 65536))
    with pytest.raises(socket.gaierror, match=r"'nowhere.invalid' cannot be resolved"):
        await connect("nowhere.invalid", 1)
    async with pair() as (connection, _):
        with pytest.raises(ArgumentValueError, match="local_address must be numeric"):
            await connection.migrate("eth0")
        assert await ask(connection) == b"hello"


def test_a_refused_handshake_is_raised_and_not_printed() -> None:
    program = """
import asyncio
from midstream._core.errors import CertificateError
from midstream.quic import Config, Identity, connect, serve

async def main():
    async with serve(print, "127.0.0.1", 0, config=Config(identity=Identity.development())) as s:
        try:
            await connect(*s.address)
        except CertificateError:
            pass

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-P", "-c", program], capture_output=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
