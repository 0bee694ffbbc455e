"""Stores of tickets: each handed out once, bounded, kept on disk, whole after damage."""

from __future__ import annotations

import datetime
import json
import os
import stat
import subprocess
import sys
import threading
import warnings

import pytest
from aioquic.tls import CipherSuite, SessionTicket
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from midstream.errors import ArgumentTypeError, ArgumentValueError
from midstream.quic._server_tickets import ServerTickets
from midstream.quic._tls import Ticket
from midstream.quic.tickets import MAX_PER_SERVER, MAX_TOKENS, TicketStore


def a_ticket(number=0, *, seconds=3600, kind=Ticket, **given):
    now = datetime.datetime.now(datetime.UTC)
    fields = {
        "age_add": 2**32 - 1 - number,
        "cipher_suite": CipherSuite.AES_128_GCM_SHA256,
        "not_valid_after": now + datetime.timedelta(seconds=seconds),
        "not_valid_before": now - datetime.timedelta(seconds=5),
        "resumption_secret": bytes([number % 256]) * 32,
        "server_name": "localhost",
        "ticket": number.to_bytes(8, "big") * 8,
        "max_early_data_size": 0xFFFFFFFF,
        "other_extensions": [(0x39, b"\x01\x02")],
    }
    if kind is Ticket:
        fields |= {"alpn": "h3", "peer_certificates": (b"der", b"more")}
    return kind(**(fields | given))


@pytest.fixture(params=["memory", "disk"])
def make(request, tmp_path):
    if request.param == "memory":
        return TicketStore
    return lambda **given: TicketStore(tmp_path / "tickets", **given)


def test_what_is_put_is_taken_once(make):
    store = make()
    ticket = a_ticket()
    store.put("a", ticket)
    assert len(store) == 1
    assert store.take("b") is None
    assert store.take("a") == ticket
    assert store.take("a") is None
    assert len(store) == 0


def test_a_plain_ticket_of_aioquic_is_kept_too(make):
    store = make()
    store.put("a", a_ticket(kind=SessionTicket, max_early_data_size=None, server_name=None))
    taken = store.take("a")
    assert taken.max_early_data_size is None
    assert taken.alpn is None
    assert taken.peer_certificates == ()


def test_the_newest_is_taken_first_and_the_oldest_is_dropped(make):
    store = make()
    for number in range(20):
        store.put("a", a_ticket(number))
    assert len(store) == MAX_PER_SERVER
    taken = [store.take("a").age_add for _ in range(MAX_PER_SERVER)]
    assert taken == [2**32 - 1 - number for number in range(19, 19 - MAX_PER_SERVER, -1)]
    assert store.take("a") is None


def test_expired_tickets_are_not_handed_out(make):
    store = make()
    store.put("a", a_ticket(1))
    store.put("a", a_ticket(2, seconds=-1))
    assert len(store) == 1
    assert store.take("a").age_add == 2**32 - 2
    assert store.take("a") is None


def test_servers_are_bounded(make):
    store = make(max_servers=3)
    for name in "abcde":
        store.put(name, a_ticket())
    assert [store.take(name) is not None for name in "abcde"] == [False, False, True, True, True]


def test_tokens_are_taken_once_too(make):
    store = make()
    for number in range(6):
        store.put_token("a", bytes([number]))
    store.put("a", a_ticket())
    assert [store.take_token("a") for _ in range(MAX_TOKENS)] == [b"\5", b"\4", b"\3", b"\2"]
    assert store.take_token("a") is None
    assert store.take("a") is not None


def test_what_is_too_long_is_not_kept(make):
    store = make()
    store.put("a", a_ticket(ticket=bytes(20_000)))
    store.put("a", a_ticket(peer_certificates=(bytes(60_000),)))
    store.put_token("a", bytes(2000))
    store.put_token("a", b"")
    assert len(store) == 0
    assert store.take_token("a") is None


def test_clear_forgets_everything(make):
    store = make()
    store.put("a", a_ticket())
    store.put_token("b", b"x")
    store.clear()
    assert len(store) == 0
    assert store.take_token("b") is None


def test_arguments_are_checked(make):
    store = make()
    with pytest.raises(ArgumentTypeError, match="server must be str"):
        store.put(b"a", a_ticket())
    with pytest.raises(ArgumentTypeError, match="token must be bytes"):
        store.put_token("a", "x")
    with pytest.raises(ArgumentValueError, match="max_servers must be at least 1"):
        make(max_servers=0)


def test_secrets_are_not_shown(make):
    store = make()
    store.put("a", a_ticket(7))
    assert "0707" not in repr(store)
    assert repr(ServerTickets()) == "ServerTickets(0 of 10000)"


# -- on disk ----------------------------------------------------------------------------------


def test_another_process_finds_it(tmp_path):
    TicketStore(tmp_path).put("a", a_ticket())
    other = TicketStore(tmp_path)
    assert len(other) == 1
    assert other.take("a") is not None
    assert len(TicketStore(tmp_path)) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="files there have no such modes")
def test_only_the_owner_may_read(tmp_path):
    before = os.umask(0)
    try:
        store = TicketStore(tmp_path / "new")
        store.put("a", a_ticket())
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    for file in (tmp_path / "new").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(list((tmp_path / "new").glob("*.tickets"))) == 1


def the_file(folder):
    (file,) = folder.glob("*.tickets")
    return file


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"format": 2}',
        b'{"format": 1, "server": "b", "records": []}',
        b'{"format": 1, "server": "a", "records": 7}',
        b'{"format": 1, "server": "a", "records": [7]}',
        b'{"format": 1, "server": "a", "records": [{"kind": "x", "until": 1}]}',
        b'{"format": 1, "server": "a", "records": [{"kind": "token", "until": NaN}]}',
        b'{"format": 1, "server": "a", "records": [{"kind": "ticket", "until": 9e9}]}',
        b"[" * 100_000,
        bytes((1 << 20) + 1),
    ],
)
def test_a_damaged_file_is_dropped_with_a_warning(tmp_path, content):
    store = TicketStore(tmp_path)
    store.put("a", a_ticket())
    file = the_file(tmp_path)
    file.write_bytes(content)
    with pytest.warns(RuntimeWarning, match="cannot be understood and is removed"):
        assert store.take("a") is None
    assert not file.exists()
    store.put("a", a_ticket(3))
    assert store.take("a").age_add == 2**32 - 4


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_damage_makes_anything_but_a_ticket_or_none(tmp_path, data):
    store = TicketStore(tmp_path)
    store.clear()
    store.put("a", a_ticket())
    file = the_file(tmp_path)
    content = json.loads(file.read_text())
    record = content["records"][0]
    field = data.draw(st.sampled_from(sorted(record)))
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    record[field] = data.draw(scalars | st.lists(scalars) | st.dictionaries(st.text(), scalars))
    file.write_text(json.dumps(content))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        taken = store.take("a")
    if taken is not None:
        assert isinstance(taken, Ticket)
        assert isinstance(taken.obfuscated_age, int)
        assert taken.is_valid in (True, False)


def test_a_half_written_file_is_none(tmp_path, monkeypatch):
    store = TicketStore(tmp_path)
    store.put("a", a_ticket(1))

    def fail(*_):
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.replace", fail)
        with pytest.raises(OSError, match="no space"):
            store.put("a", a_ticket(2))
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".")] == []
    assert store.take("a").age_add == 2**32 - 2


TAKE_ALL = """
import sys
from midstream.quic import TicketStore

store = TicketStore(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for _ in range(30):
    for server in "abcde":
        ticket = store.take(server)
        if ticket is not None:
            print(server, ticket.age_add)
"""


def test_two_processes_never_take_the_same(tmp_path):
    store = TicketStore(tmp_path)
    for server in "abcde":
        for number in range(MAX_PER_SERVER):
            store.put(server, a_ticket(number))
    processes = [
        subprocess.Popen(
            [sys.executable, "-P", "-c", TAKE_ALL, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 2
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    taken = []
    for process in processes:
        taken += process.communicate(timeout=60)[0].splitlines()
        assert process.returncode == 0
    assert len(taken) == len(set(taken)) == 5 * MAX_PER_SERVER


def test_two_threads_never_take_the_same(make):
    store = make()
    for number in range(MAX_PER_SERVER):
        store.put("a", a_ticket(number))
    taken = []

    def take():
        while (ticket := store.take("a")) is not None:
            taken.append(ticket.age_add)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == MAX_PER_SERVER


# -- the server's -----------------------------------------------------------------------------


def test_a_servers_ticket_is_taken_once():
    store = ServerTickets()
    ticket = a_ticket()
    store.store(ticket)
    assert store.fetch(b"unknown") is None
    assert store.fetch(ticket.ticket) is ticket
    assert store.fetch(ticket.ticket) is None
    assert (store.issued, store.taken, store.unknown) == (1, 1, 2)


def test_a_servers_tickets_are_bounded_and_expire():
    store = ServerTickets(capacity=5)
    for number in range(9):
        store.store(a_ticket(number))
    assert len(store) == 5
    assert store.fetch(a_ticket(3).ticket) is None
    assert store.fetch(a_ticket(4).ticket) is not None
    store.store(a_ticket(20, seconds=-1))
    assert store.fetch(a_ticket(20).ticket) is None
    store = ServerTickets()
    for number in range(5):
        store.store(a_ticket(number, seconds=-1))
    store.store(a_ticket(6))
    store.fetch(b"unknown")
    assert len(store) == 1
