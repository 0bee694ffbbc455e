"""HTTP/3 against peers that share no code with us: curl (nghttp3, ngtcp2) and Caddy (quic-go)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from midstream._core.errors import QuicError
from midstream.quic import http3
from midstream.quic.certificates import Identity
from midstream.quic.config import Config
from midstream.quic.priority import Priority

#: Nothing here takes longer than seconds; this only keeps a hang from lasting.
GUARD_S = 30.0
#: No mistake in order or position leaves it as it is.
MEGABYTE = b"".join(number.to_bytes(4, "big") for number in range(250_000))


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> tuple[Identity, Path, Path]:
    identity = Identity.development()
    certificate, key = identity.save(tmp_path_factory.mktemp("http3"))
    return identity, Path(certificate), Path(key)


# ---------------------------------------------------------------- curl


def curl() -> Any:
    try:
        import curl_cffi
    except ImportError:
        pytest.skip("curl_cffi is not installed (PyPI: curl_cffi)")
    return curl_cffi


async def app(request: http3.Request) -> http3.Response | None:
    if request.path == "/megabyte":
        return http3.Response(200, None, MEGABYTE)
    if request.path == "/events":

        async def events() -> AsyncIterator[bytes]:
            for number in range(5):
                yield b"data: %d\n\n" % number
                await asyncio.sleep(0)

        return http3.Response(200, {"content-type": "text/event-stream"}, events())
    if request.path == "/fail":
        request.abort()
        return None
    told = {
        "method": request.method,
        "path": request.path,
        "authority": request.authority,
        "agent": request.headers.get("user-agent"),
        "body": len(await request.read()),
    }
    return http3.Response(200, {"content-type": "application/json"}, json.dumps(told).encode())


@contextlib.asynccontextmanager
async def our_server(identity: Identity) -> AsyncIterator[str]:
    async with asyncio.timeout(GUARD_S):
        config = Config(identity=identity)
        async with http3.serve(app, "127.0.0.1", 0, config=config) as server:
            host, port = server.address
            yield f"https://{host}:{port}"


async def test_curl_is_served(credentials: tuple[Identity, Path, Path]) -> None:
    module = curl()
    identity, certificate, _ = credentials
    async with (
        our_server(identity) as base,
        module.AsyncSession(http_version="v3only", verify=str(certificate)) as session,
    ):
        response = await session.get(base + "/a?b=c", headers={"user-agent": "curl"})
        assert response.status_code == 200
        assert response.http_version == 30
        told = response.json()
        assert base.endswith(told.pop("authority"))
        assert told == {"method": "GET", "path": "/a?b=c", "agent": "curl", "body": 0}
        response = await session.post(base + "/post", data=MEGABYTE)
        assert (response.json()["method"], response.json()["body"]) == ("POST", len(MEGABYTE))
        assert (await session.get(base + "/megabyte")).content == MEGABYTE
        events = await session.get(base + "/events")
        assert events.content == b"".join(b"data: %d\n\n" % number for number in range(5))
        head = await session.head(base + "/megabyte")
        assert (head.headers["content-length"], head.content) == (str(len(MEGABYTE)), b"")


async def test_curl_sends_many_requests_at_once(credentials: tuple[Identity, Path, Path]) -> None:
    module = curl()
    identity, certificate, _ = credentials
    async with (
        our_server(identity) as base,
        module.AsyncSession(
            http_version="v3only", verify=str(certificate), max_clients=20
        ) as session,
    ):
        found = await asyncio.gather(*(session.get(f"{base}/{number}") for number in range(60)))
        assert [response.json()["path"] for response in found] == [
            f"/{number}" for number in range(60)
        ]


async def test_curl_is_told_of_a_request_that_is_given_up(
    credentials: tuple[Identity, Path, Path],
) -> None:
    module = curl()
    identity, certificate, _ = credentials
    async with (
        our_server(identity) as base,
        module.AsyncSession(http_version="v3only", verify=str(certificate)) as session,
    ):
        with pytest.raises(module.exceptions.RequestException):
            await session.get(base + "/fail")
        assert (await session.get(base + "/after")).status_code == 200


# ---------------------------------------------------------------- Caddy

CADDYFILE = """
{{
    admin off
    auto_https off
    default_sni localhost
    storage file_system {{
        root {folder}/storage
    }}
    log {{
        output file {folder}/log
    }}
    servers {{
        protocols h1 h2 h3
    }}
}}
https://localhost:{port}, https://127.0.0.1:{port} {{
    tls {certificate} {key}
    root * {folder}/site
    handle /echo {{
        respond "{{http.request.method}} {{http.request.body}}" 200
    }}
    handle {{
        file_server
    }}
}}
"""


@contextlib.asynccontextmanager
async def caddy(credentials: tuple[Identity, Path, Path], folder: Path) -> AsyncIterator[str]:
    program = shutil.which("caddy")
    if program is None:
        pytest.skip("caddy is not installed (Debian: caddy)")
    _, certificate, key = credentials
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    site = folder / "site"
    site.mkdir()
    (site / "megabyte").write_bytes(MEGABYTE)
    (site / "small.txt").write_text("small", encoding="ascii")
    (folder / "Caddyfile").write_text(
        CADDYFILE.format(folder=folder, port=port, certificate=certificate, key=key),
        encoding="ascii",
    )
    process = await asyncio.create_subprocess_exec(
        program,
        "run",
        "--config",
        str(folder / "Caddyfile"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder)},
    )
    try:
        async with asyncio.timeout(GUARD_S):
            while True:  # it listens on the same port of TCP, and on that of UDP before
                assert process.returncode is None, (folder / "log").read_text()
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.05)
                    continue
                writer.close()
                await writer.wait_closed()
                break
            yield f"https://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def test_caddy_serves_us(credentials: tuple[Identity, Path, Path], tmp_path: Path) -> None:
    identity = credentials[0]
    async with (
        caddy(credentials, tmp_path) as url,
        http3.connect(url, config=Config(ca=identity.pem)) as client,
    ):
        settings = await client.settings_received()
        response = await client.request("GET", "/small.txt", priority=Priority(1))
        assert (response.status, await response.read()) == (200, b"small")
        assert response.headers["server"] == "Caddy"
        large = await client.request("GET", "/megabyte")
        assert await large.read() == MEGABYTE
        assert (await client.request("GET", "/none")).status == 404
        head = await client.request("HEAD", "/megabyte")
        assert head.headers["content-length"] == str(len(MEGABYTE))
        assert await head.read() == b""

        async def parts() -> AsyncIterator[bytes]:
            for number in range(5):
                yield b"%d" % number

        echoed = await client.request("POST", "/echo", body=parts())
        assert await echoed.read() == b"POST 01234"

        async def one(number: int) -> bytes:
            async with await client.request("GET", f"/small.txt?{number}") as answer:
                return await answer.read()

        found = await asyncio.gather(*(one(number) for number in range(300)))
        assert found == [b"small"] * 300
        # A range, given up in the middle, and the connection goes on.
        part = await client.request("GET", "/megabyte", headers={"range": "bytes=4-11"})
        assert (part.status, await part.read()) == (206, MEGABYTE[4:12])
        async with await client.request("GET", "/megabyte") as given_up:
            assert await anext(aiter(given_up))
        assert (await client.request("GET", "/small.txt")).status == 200
        if not settings.get(0x8):
            with pytest.raises(http3.Http3Error, match="extended CONNECT"):
                await client.connect_tunnel("/", protocol="websocket")


async def test_caddy_is_refused_by_a_client_that_does_not_trust_it(
    credentials: tuple[Identity, Path, Path], tmp_path: Path
) -> None:
    async with caddy(credentials, tmp_path) as url:
        with pytest.raises(QuicError, match="certificate"):
            async with http3.connect(url):
                pass
