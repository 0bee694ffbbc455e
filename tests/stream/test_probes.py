"""Health and readiness, as every server answers them."""

from __future__ import annotations

import json

import pytest

from midstream.stream.probes import answer_probe


async def asked(method, path, **options):
    """Status, headers and body, or None where it is no probe."""
    sent = []

    async def send(message):
        sent.append(message)

    if not await answer_probe(method, path, send, **options):
        assert not sent
        return None
    head, body = sent
    headers = dict(head["headers"])
    return head["status"], headers, body["body"]


@pytest.mark.parametrize(
    ("path", "ready", "status", "says"),
    [
        ("/healthz", True, 200, "ok"),
        ("/healthz", False, 200, "draining"),
        ("/readyz", True, 200, "ok"),
        ("/readyz", False, 503, "draining"),
    ],
)
async def test_a_server_that_ends_is_healthy_and_not_ready(path, ready, status, says):
    got, headers, body = await asked("GET", path, ready=ready)
    assert (got, json.loads(body)) == (status, {"status": says})
    assert headers[b"content-length"] == b"%d" % len(body)
    assert headers[b"cache-control"] == b"no-store"
    assert (b"retry-after" in headers) == (status == 503)
    head = await asked("HEAD", path, ready=ready)
    assert head == (status, headers, b"")


async def test_other_paths_and_methods():
    assert await asked("GET", "/healthz/", ready=True) is None
    assert await asked("GET", "/-/health", ready=True) is None
    status, headers, _ = await asked("POST", "/healthz", ready=True)
    assert (status, headers[b"allow"]) == (405, b"GET, HEAD")


async def test_paths_and_fields_of_ones_own():
    paths = ("/-/health", "/-/ready")
    _, _, body = await asked("GET", "/-/ready", ready=True, told={"streams": 3}, paths=paths)
    assert json.loads(body) == {"status": "ok", "streams": 3}
    assert await asked("GET", "/readyz", ready=True, paths=paths) is None
