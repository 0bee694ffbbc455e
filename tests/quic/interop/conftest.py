"""Fixtures of the interoperation tests: certificates, content, and our server."""

from __future__ import annotations

import asyncio
import contextlib
import random
from types import SimpleNamespace

import pytest

from midstream.quic.certificates import Identity
from midstream.quic.config import Config
from midstream.quic.http3 import Response, serve

#: Bytes of the transfers.
MEGABYTE = 1_000_000


@pytest.fixture(scope="session")
def content():
    """A megabyte that no mistake in order or position leaves as it is."""
    return random.Random(1).randbytes(MEGABYTE)


@pytest.fixture(scope="session")
def credentials(tmp_path_factory):
    """A development identity, and its certificate and key in files."""
    identity = Identity.development()
    certificate, key = identity.save(tmp_path_factory.mktemp("credentials"))
    return SimpleNamespace(identity=identity, certificate=certificate, key=key)


@pytest.fixture
def our_server(content, credentials):
    """Our HTTP/3 server, with what it saw: /data is a megabyte, /slow takes a second over it."""

    @contextlib.asynccontextmanager
    async def run(**config):
        seen = SimpleNamespace(requests=[], bodies=[], connections=[])

        async def slowly():
            for start in range(0, MEGABYTE, MEGABYTE // 50):
                yield content[start : start + MEGABYTE // 50]
                await asyncio.sleep(0.02)

        async def app(request):
            seen.requests.append(request)
            if request.method == "POST":
                seen.bodies.append(await request.read())
                return Response(200, body=b"%d" % len(seen.bodies[-1]))
            if request.path == "/slow":
                return Response(200, body=slowly())
            if request.path == "/data":
                return Response(200, body=content)
            return Response(200, body=request.path.encode())

        settings = Config(alpn=("h3",), identity=credentials.identity, **config)
        async with serve(
            app,
            "127.0.0.1",
            0,
            config=settings,
            on_session=lambda session: seen.connections.append(session.connection),
        ) as server:
            seen.server = server
            seen.port = server.address[1]
            yield seen

    return run
