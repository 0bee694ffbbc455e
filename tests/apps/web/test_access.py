"""Who may read: hosts, tokens, sessions, tickets."""

from __future__ import annotations

import pytest

from midstream.apps.web import Access, access
from midstream.errors import ArgumentTypeError, ArgumentValueError

TOKEN = "correct horse battery staple"


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("localhost:8000", True),
        ("LOCALHOST", True),
        ("127.0.0.1:1", True),
        ("[::1]:8000", True),
        ("evil.example", False),
        ("localhost.evil.example:8000", False),
        ("127.0.0.1.evil.example", False),
        ("192.168.0.1:8000", False),
        ("", False),
        ("[::1", False),
        ("[::1]evil.example", False),
        ("localhost@evil.example", False),
    ],
)
def test_hosts_of_a_server_on_loopback(host: str, known: bool) -> None:
    assert Access("127.0.0.1").knows_host(host) is known


def test_hosts_of_a_server_for_others() -> None:
    everywhere = Access("0.0.0.0", token=TOKEN, hosts=["dash.example"])
    assert everywhere.knows_host("192.168.0.1:8000")
    assert everywhere.knows_host("[fe80::1]:8000")
    assert everywhere.knows_host("Dash.Example:8000")
    assert not everywhere.knows_host("rebound.evil.example:8000")


def test_origins() -> None:
    access = Access("0.0.0.0", token=TOKEN, hosts=["dash.example"])
    for origin, host, known in (
        ("http://localhost:8000", "localhost:8000", True),
        ("HTTP://LOCALHOST:8000", "localhost:8000", True),
        ("https://localhost:8000", "localhost:8000", False),
        ("http://localhost:9000", "localhost:8000", False),
        ("null", "localhost:8000", False),
        ("https://dash.example", "dash.example", True),
        ("http://dash.example", "dash.example", True),
        ("https://dash.example.evil.example", "dash.example", False),
    ):
        assert access.knows_origin(origin, "http", host) is known, (origin, host)


def test_a_token_is_needed_where_others_can_reach_it() -> None:
    for host in ("0.0.0.0", "::", "192.168.0.1", "dash.example"):
        with pytest.raises(ArgumentValueError, match="token must be given"):
            Access(host)
    for host in ("localhost", "127.0.0.1", "127.8.8.8", "::1"):
        assert Access(host).allows(None)
    with pytest.raises(ArgumentValueError, match="at least 16"):
        Access("0.0.0.0", token="short")
    with pytest.raises(ArgumentTypeError, match="hosts"):
        Access(hosts="localhost")


def test_a_session_for_the_token() -> None:
    guard = Access("0.0.0.0", token=TOKEN)
    assert not guard.allows(None)
    assert not guard.allows("made up")
    assert guard.login("wrong" * 5) is None
    session = guard.login(TOKEN)
    assert session is not None
    assert session != TOKEN
    assert guard.allows(session)
    guard.logout(session)
    assert not guard.allows(session)
    assert guard.allows(None, TOKEN)
    assert not guard.allows(None, TOKEN + "x")


def test_sessions_end_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    guard = Access("0.0.0.0", token=TOKEN)
    session = guard.login(TOKEN)
    ticket = guard.ticket()
    later_ns = access.monotonic_ns() + 8 * 24 * 3600 * 10**9
    monkeypatch.setattr(access, "monotonic_ns", lambda: later_ns)
    assert not guard.allows(session)
    assert not guard.take_ticket(ticket)


def test_sessions_and_tickets_are_bounded() -> None:
    guard = Access("0.0.0.0", token=TOKEN)
    sessions = [guard.login(TOKEN) for _ in range(300)]
    assert sum(guard.allows(session) for session in sessions) == 256
    tickets = [guard.ticket() for _ in range(100)]
    assert sum(guard.take_ticket(ticket) for ticket in tickets) == 64
    ticket = guard.ticket()
    assert guard.take_ticket(ticket)
    assert not guard.take_ticket(ticket)
    assert not guard.take_ticket("")


def test_guessing_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    guard = Access("0.0.0.0", token=TOKEN)
    for number in range(10):
        assert guard.login(f"guess number {number}") is None
    for token in ("another guess", TOKEN):
        with pytest.raises(PermissionError, match="wait a minute"):
            guard.login(token)
    assert not guard.allows(None, TOKEN)
    assert guard.allows(None, TOKEN, "another peer")
    later_ns = access.monotonic_ns() + 61 * 10**9
    monkeypatch.setattr(access, "monotonic_ns", lambda: later_ns)
    assert guard.login(TOKEN) is not None


def test_who_guesses_is_forgotten_in_time() -> None:
    guard = Access("0.0.0.0", token=TOKEN)
    for number in range(3000):
        assert not guard.allows(None, "guess", f"peer {number}")
    assert len(guard._wrong) == 1024
