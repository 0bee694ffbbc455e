"""Health, readiness and counters of programs that speak no HTTP."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys

import httpx2
import pytest

pytest.importorskip("uvicorn", reason="the server needs the extra 'serve'")

from midstream.apps.health import HealthServer
from midstream.errors import ArgumentTypeError, ArgumentValueError
from midstream.stream.telemetry import Family


async def test_what_it_answers():
    state = {"ready": False}
    families = [Family("things_total", "counter", "Things.", (), {(): 3})]
    async with (
        HealthServer(
            "127.0.0.1", 0, ready=lambda: state["ready"], families=lambda: families
        ) as health,
        httpx2.AsyncClient(base_url=health.url) as http,
    ):
        assert (await http.get("/healthz")).json() == {"status": "draining"}
        assert (await http.get("/readyz")).status_code == 503
        state["ready"] = True
        assert (await http.get("/readyz")).status_code == 200
        metrics = await http.get("/metrics")
        assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert "midstream_things_total 3" in metrics.text
        assert "midstream_ready 1" in metrics.text
        assert (await http.head("/metrics")).content == b""
        assert (await http.post("/metrics")).status_code == 404
        assert (await http.get("/")).status_code == 404
        address = health.address
    with pytest.raises(ConnectionError):
        await asyncio.open_connection(*address)


async def test_a_port_that_is_taken():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            async with HealthServer("127.0.0.1", port, ready=lambda: True):
                pass


def test_arguments():
    with pytest.raises(ArgumentValueError, match="port must be at most 65535, got 65536"):
        HealthServer("127.0.0.1", 65536, ready=lambda: True)
    with pytest.raises(ArgumentTypeError, match="ready must be callable"):
        HealthServer("127.0.0.1", 0, ready=True)


def test_the_extra_that_is_missing_is_named():
    script = (
        "import sys; sys.modules['httptools'] = None\n"
        "from midstream.apps.health import HealthServer\n"
        "HealthServer('127.0.0.1', 0, ready=bool)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, check=False, timeout=60
    )
    assert b'httptools is not installed: pip install "midstream[serve]"' in done.stderr
