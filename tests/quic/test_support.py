"""What the machine grants: asked of a real socket, and of the aioquic that is installed."""

from __future__ import annotations

import socket
import sys

import pytest

from midstream.quic import _hooks, capabilities


def test_linux_grants_batches() -> None:
    found = capabilities()
    assert found.aioquic.startswith("1.7.")
    if sys.platform == "linux":
        assert found.batched
    assert found.batched or not (found.segmentation or found.coalescing)


def test_a_renamed_hook_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = _hooks.METHODS["aioquic.quic.connection.QuicConnection"]
    monkeypatch.setitem(connection, "_write_everything", ("self",))
    monkeypatch.setitem(connection, "get_timer", ("self", "now"))
    with pytest.raises(ImportError, match=r"aioquic 1\.7\.\d+ differs inside") as caught:
        capabilities()
    assert "_write_everything is gone" in str(caught.value)
    assert "get_timer takes ('self',), not ('self', 'now')" in str(caught.value)


def test_a_socket_is_closed_after_it_was_asked() -> None:
    before = socket.socket()
    number = before.fileno()
    before.close()
    capabilities()
    after = socket.socket()
    try:
        assert after.fileno() == number
    finally:
        after.close()
