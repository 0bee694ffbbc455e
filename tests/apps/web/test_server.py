"""The dashboard's server: its answers, its headers, the feed over both transports."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

pytest.importorskip("starlette", reason="the web dashboard needs the extra 'ui'")

from midstream.apps.feed import Feed, apply
from midstream.apps.web import Dashboard, application, http
from midstream.errors import ArgumentTypeError, ArgumentValueError
from midstream.quic import Config, Identity, webtransport
from midstream.stream import Event, shipped_recordings

TOKEN = "correct horse battery staple"


@pytest.fixture
async def feed() -> AsyncIterator[Feed]:
    feed = Feed(frames_per_s=200)
    yield feed
    feed.close()


def client(page: Dashboard, **options: Any) -> httpx2.AsyncClient:
    host, port = page.address
    return httpx2.AsyncClient(base_url=f"http://{host}:{port}", **options)


async def sse(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Ids and frames of an answer."""
    last = ""
    async for line in lines:
        if line.startswith("id: "):
            last = line[4:]
        elif line.startswith("data: {"):
            yield last, json.loads(line[6:])


async def test_the_page_and_its_headers(feed: Feed) -> None:
    async with Dashboard(feed) as page, client(page) as http:
        for path, kind in (
            ("/", "text/html"),
            ("/assets/main.js", "text/javascript"),
            ("/assets/dashboard.css", "text/css"),
            ("/assets/icon.svg", "image/svg+xml"),
        ):
            answer = await http.get(path)
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith(kind)
        headers = (await http.get("/")).headers
        policy = headers["content-security-policy"]
        for part in (
            "default-src 'none'",
            "script-src 'self';",
            "style-src 'self';",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ):
            assert part in policy
        assert "unsafe" not in policy
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        tag = headers["etag"]
        again = await http.get("/", headers={"if-none-match": tag})
        assert again.status_code == 304
        assert (await http.get("/assets/none.js")).status_code == 404
        assert (await http.get("/assets/..%2f__init__.py")).status_code == 404
        assert (await http.post("/")).status_code == 405
        # The page holds no script and no style of its own, and asks nobody else for anything.
        text = (await http.get("/")).text
        assert "style=" not in text
        assert "://" not in text.replace("http://www.w3.org", "")
        for script in text.split("<script")[1:]:
            assert script.split(">", 1)[1].startswith("</script>")


async def test_foreign_hosts_and_pages_are_refused(feed: Feed) -> None:
    async with Dashboard(feed, transport=False) as page, client(page) as http:
        host = f"127.0.0.1:{page.address[1]}"
        for headers, status in (
            ({"host": "evil.example"}, 421),
            ({"host": f"evil.example:{page.address[1]}"}, 421),
            ({"origin": "http://evil.example"}, 403),
            ({"origin": "null"}, 403),
            ({"origin": f"https://{host}"}, 403),
            ({"origin": "http://127.0.0.1:1"}, 403),
            ({"sec-fetch-site": "cross-site"}, 403),
            ({"sec-fetch-site": "same-site"}, 403),
            ({"origin": f"http://{host}", "sec-fetch-site": "same-origin"}, 200),
            ({"host": f"localhost:{page.address[1]}"}, 200),
        ):
            answer = await http.get("/api/session", headers=headers)
            assert answer.status_code == status, headers
            assert answer.headers["x-frame-options"] == "DENY"
        # A link from elsewhere may lead to the page.
        link = await http.get("/", headers={"sec-fetch-site": "cross-site"})
        assert link.status_code == 200


async def test_the_token(feed: Feed, tmp_path: Path) -> None:
    async with (
        Dashboard(feed, token=TOKEN, recordings=tmp_path) as page,
        client(page) as http,
    ):
        assert page.url.endswith("/#token=correct%20horse%20battery%20staple")
        assert (await http.get("/")).status_code == 200
        closed = ("/api/session", "/api/feed", "/api/recordings", "/api/recordings/a.jsonl")
        for path in closed:
            assert (await http.get(path)).status_code == 401
        for wrong in ({"token": "guess"}, {"token": 1}, {}, [], "guess"):
            status = (await http.post("/api/login", json=wrong)).status_code
            assert status == (401 if wrong == {"token": "guess"} else 400)
        form = await http.post("/api/login", data={"token": TOKEN})
        assert form.status_code == 415
        long = await http.post("/api/login", json={"token": "x" * 10_000})
        assert long.status_code == 413
        answer = await http.post("/api/login", json={"token": TOKEN})
        assert answer.status_code == 200
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith(f"midstream_dash_{page.address[1]}=")
        assert TOKEN not in cookie
        for part in ("HttpOnly", "SameSite=strict", "Path=/"):
            assert part in cookie
        session = (await http.get("/api/session")).json()
        assert session["guarded"] is True
        assert (await http.get("/api/recordings")).status_code == 200
        assert (await http.post("/api/logout")).status_code == 200
        http.cookies.clear()
        assert (await http.get("/api/session")).status_code == 401
        bearer = {"authorization": f"Bearer {TOKEN}"}
        assert (await http.get("/api/session", headers=bearer)).status_code == 200
        for _ in range(12):
            last = await http.post("/api/login", json={"token": "guess"})
        assert last.status_code == 429


async def test_events_are_resumed_where_they_were(feed: Feed) -> None:
    async with Dashboard(feed, transport=False) as page, client(page) as http:
        stream = feed.open("one")
        state: dict[str, Any] = {}
        async with asyncio.timeout(20), http.stream("GET", "/api/feed") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert "content-length" not in answer.headers
            async for at, fields in sse(answer.aiter_lines()):
                last = at
                apply(state, fields)
                if not state["streams"]:
                    continue
                if len(state["streams"]["s1"]["texts"]) == 0:
                    stream.event(Event("text", 0, 0, "before the break"))
                else:
                    break
        assert last == f"{feed.key}-{state['id']}"
        for number in range(5):
            stream.event(Event("text", number, 0, f", {number}"))
            feed.flush()
        async with (
            asyncio.timeout(20),
            http.stream("GET", "/api/feed", headers={"last-event-id": last}) as answer,
        ):
            async for _, fields in sse(answer.aiter_lines()):
                assert fields["type"] == "frame"
                apply(state, fields)
                if state["id"] == feed.id:
                    break
        assert state == feed.snapshot().fields
        for other in ("nonsense", f"{feed.key}-999", "0123-1", f"{feed.key}-{'9' * 400}"):
            async with http.stream("GET", "/api/feed", headers={"last-event-id": other}) as answer:
                _, fields = await anext(sse(answer.aiter_lines()))
                assert fields["type"] == "snapshot"
        async with asyncio.timeout(20):
            while feed.readers:
                await asyncio.sleep(0.01)


async def test_the_end_of_the_feed_and_of_the_server(feed: Feed) -> None:
    async with Dashboard(feed, transport=False) as page, client(page) as http:
        async with asyncio.timeout(20), http.stream("GET", "/api/feed") as answer:
            lines = answer.aiter_lines()
            await anext(sse(lines))
            feed.close()
            rest = [line async for line in lines]
        assert "event: end" in rest
    other = Feed()
    page = Dashboard(other, transport=False)
    async with asyncio.timeout(20), client_of_running(page) as (http, stop):
        async with http.stream("GET", "/api/feed") as answer:
            lines = answer.aiter_lines()
            await anext(sse(lines))
            stop.set()
            rest = [line async for line in lines]
        # The feed goes on: whoever reads it is to come back.
        assert "event: end" not in rest
    assert other.readers == 0


class client_of_running:  # noqa: N801 - reads as a block
    """A client of a page that ends when the event is set."""

    def __init__(self, page: Dashboard) -> None:
        self._page = page
        self._stop = asyncio.Event()

    async def __aenter__(self) -> tuple[httpx2.AsyncClient, asyncio.Event]:
        started = asyncio.Event()

        async def run() -> None:
            async with self._page:
                started.set()
                await self._stop.wait()

        self._task = asyncio.create_task(run())
        await started.wait()
        self._http = client(self._page)
        return self._http, self._stop

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await self._task
        await self._http.aclose()


async def test_the_feed_over_webtransport(feed: Feed) -> None:
    stream = feed.open("one")
    async with Dashboard(feed) as page, client(page) as http:
        told = (await http.get("/api/session")).json()["transport"]
        policy = (await http.get("/")).headers["content-security-policy"]
        assert told["origin"] in policy
        trust = Config(pins=["cert-sha256:" + told["sha256"][0]])
        url = f"{told['url']}?ticket={told['ticket']}"
        async with asyncio.timeout(20), webtransport.connect(url, config=trust) as session:
            lines = await session.accept_uni()
            state: dict[str, Any] = {}
            rest = b""
            stream.event(Event("text", 0, 0, "Grüße"))
            while not state or state["streams"]["s1"]["texts"] == {}:
                *whole, rest = (rest + await lines.read(1 << 16)).split(b"\n")
                for line in whole:
                    apply(state, json.loads(line))
            assert state["streams"]["s1"]["texts"]["text/"]["text"] == "Grüße"
        # A ticket opens once.
        async with asyncio.timeout(20), webtransport.connect(url, config=trust) as session:
            end = await session.wait_closed()
            assert (end.code, end.reason) == (401, "no ticket")
        async with asyncio.timeout(20):
            while feed.readers:
                await asyncio.sleep(0.01)


async def test_webtransport_has_the_pages_port_if_it_is_free(feed: Feed) -> None:
    async with Dashboard(feed) as page, client(page) as http:
        port = page.address[1]
        told = (await http.get("/api/session")).json()["transport"]
        assert told["origin"] == f"https://127.0.0.1:{port}"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", port))
        async with Dashboard(feed, port=port) as page, client(page) as http:
            told = (await http.get("/api/session")).json()["transport"]
            assert told["origin"] != f"https://127.0.0.1:{port}"


async def test_pages_of_elsewhere_get_no_webtransport(feed: Feed) -> None:
    async with Dashboard(feed) as page, client(page) as http:
        told = (await http.get("/api/session")).json()["transport"]
        trust = Config(pins=["cert-sha256:" + told["sha256"][0]])
        url = f"{told['url']}?ticket={told['ticket']}"
        with pytest.raises(Exception, match="403"):
            async with asyncio.timeout(20):
                async with webtransport.connect(
                    url, config=trust, headers={"origin": "http://evil.example"}
                ):
                    pass


async def test_health_and_readiness_are_told_to_everyone(feed: Feed) -> None:
    async with Dashboard(feed, token=TOKEN) as page, client(page) as http:
        for path in ("/healthz", "/readyz"):
            told = await http.get(path, headers={"host": "10.1.2.3", "origin": "http://evil"})
            assert (told.status_code, told.json()) == (200, {"status": "ok"})
        assert (await http.get("/metrics")).status_code == 401
        counted = await http.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
        assert "midstream_ready 1\n" in counted.text


async def test_recordings(feed: Feed, tmp_path: Path) -> None:
    for name, path in shipped_recordings().items():
        shutil.copy(path, tmp_path / f"{name}.jsonl")
    with gzip.open(tmp_path / "packed.jsonl.gz", "wb") as file:
        file.write(shipped_recordings()["loop-02"].read_bytes())
    with gzip.open(tmp_path / "bomb.jsonl.gz", "wb") as file:
        for _ in range(70):
            file.write(b" " * (1 << 20))
    (tmp_path / "broken.jsonl").write_text('{"midstream": 2, "created": "now"}\n{"seq"', "utf-8")
    (tmp_path / "secret.txt").write_text("secret", "utf-8")
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "secret.txt")
    async with (
        Dashboard(feed, recordings=tmp_path, transport=False) as page,
        client(page, timeout=60) as http,
    ):
        listed = (await http.get("/api/recordings")).json()["recordings"]
        assert {row["name"] for row in listed} == {
            "bomb.jsonl.gz",
            "broken.jsonl",
            "healthy-03.jsonl",
            "loop-02.jsonl",
            "loop-04.jsonl",
            "packed.jsonl.gz",
        }
        plain = await http.get("/api/recordings/loop-02.jsonl")
        told, *frames = [json.loads(line) for line in plain.text.splitlines()]
        assert told["type"] == "recording"
        assert (told["events"], told["each"]) == (601, 1)
        assert [mark["severity"] for mark in told["marks"]] == ["warn", "stop"]
        state: dict[str, Any] = {}
        for frame in frames:
            apply(state, frame)
        stream = state["streams"]["s1"]
        assert stream["counts"]["events"] == 601
        assert len(stream["findings"]) == 2
        assert stream["texts"]["text/0"]["text"].startswith(" Once upon a time")
        assert frames[-1]["at"] == 601
        assert state["t_s"] == told["duration_s"]
        packed = await http.get("/api/recordings/packed.jsonl.gz")
        assert json.loads(packed.text.splitlines()[0])["events"] == 601
        broken = await http.get("/api/recordings/broken.jsonl")
        assert broken.status_code == 200
        assert "cut off" in json.loads(broken.text.splitlines()[0])["problems"][0]
        bomb = await http.get("/api/recordings/bomb.jsonl.gz")
        assert bomb.status_code == 422
        assert "larger than 67,108,864 bytes" in bomb.json()["error"]
        for name in ("..%2fsecret.jsonl", "secret.txt", "none.jsonl", "link.jsonl", "CON.jsonl"):
            answer = await http.get(f"/api/recordings/{name}")
            assert answer.status_code in (404, 422), name
            assert "secret" not in answer.text.replace(name, "").replace(str(tmp_path), "")


async def test_a_recording_whose_source_is_no_unicode_spoils_no_list(
    feed: Feed, tmp_path: Path
) -> None:
    header = json.dumps({"midstream": 2, "created": "now", "source": "lone \ud800"})
    (tmp_path / "odd.jsonl").write_text(header + "\n", "utf-8")
    async with (
        Dashboard(feed, recordings=tmp_path, transport=False) as page,
        client(page, timeout=60) as http,
    ):
        (row,) = (await http.get("/api/recordings")).json()["recordings"]
        assert (row["name"], row["source"]) == ("odd.jsonl", "lone \ufffd")
        assert (await http.get("/api/recordings/odd.jsonl")).status_code == 200


async def test_without_a_folder_there_are_no_recordings(feed: Feed) -> None:
    async with Dashboard(feed, transport=False) as page, client(page) as http:
        assert (await http.get("/api/session")).json()["recordings"] is False
        assert (await http.get("/api/recordings")).status_code == 404
        assert (await http.get("/api/recordings/a.jsonl")).status_code == 404


async def test_arguments(feed: Feed) -> None:
    with pytest.raises(ArgumentTypeError, match="feed"):
        Dashboard("feed")  # type: ignore[arg-type]
    with pytest.raises(ArgumentValueError, match="token"):
        Dashboard(feed, "0.0.0.0")
    with pytest.raises(ArgumentValueError, match="port"):
        Dashboard(feed, port=-1)
    with pytest.raises(ArgumentValueError, match="host"):
        async with Dashboard(feed, "", token=TOKEN):
            pass
    async with Dashboard(feed, transport=False) as page:
        with pytest.raises(OSError, match="in use"):
            async with Dashboard(feed, port=page.address[1], transport=False):
                pass


async def test_who_reads_nothing_delays_nobody_and_gets_a_snapshot(feed: Feed) -> None:
    stream = feed.open("one")
    async with asyncio.timeout(50), Dashboard(feed, transport=False) as page, client(page) as http:
        reader, writer = await asyncio.open_connection(*page.address, limit=1 << 16)
        writer.write(b"GET /api/feed HTTP/1.1\r\nhost: localhost\r\n\r\n")
        await reader.readuntil(b'"type":"snapshot"')
        async with http.stream("GET", "/api/feed") as answer:
            frames = sse(answer.aiter_lines())
            (_, first), seen = await anext(frames), 0
            before = first["id"]
            for number in range(800):
                stream.event(Event("text", number, number, f"{number:05d} " * 5000))
                feed.flush()
                while before < feed.id:
                    _, fields = await anext(frames)
                    assert fields["id"] == before + 1
                    before, seen = fields["id"], seen + 1
        assert seen >= 800
        # What it has missed it is not given late, but all at once.
        rest = await read_to(reader, f'"id":{feed.id},'.encode())
        ids = [int(line.rpartition(b"-")[2]) for line in rest.split(b"\n") if line[:4] == b"id: "]
        jumps = [(a, b) for a, b in itertools.pairwise(ids) if b != a + 1]
        assert len(jumps) == 1
        assert ids[-1] == feed.id
        writer.close()


async def read_to(reader: asyncio.StreamReader, end: bytes) -> bytes:
    said = b""
    pieces = []
    while end not in said:
        piece = await reader.read(1 << 20)
        assert piece
        pieces.append(piece)
        said = said[-100:] + piece
    return b"".join(pieces)


async def test_who_reads_no_webtransport_delays_nobody(feed: Feed) -> None:
    stream = feed.open("one")
    async with asyncio.timeout(50), Dashboard(feed) as page, client(page) as http:
        told = (await http.get("/api/session")).json()["transport"]
        trust = Config(pins=["cert-sha256:" + told["sha256"][0]])
        url = f"{told['url']}?ticket={told['ticket']}"
        async with webtransport.connect(url, config=trust) as session:
            lines = await session.accept_uni()
            rest = await lines.read(1 << 16)
            with feed.subscribe(after=feed.id) as fast:
                for number in range(700):
                    stream.event(Event("text", number, number, f"{number:05d} " * 5000))
                    feed.flush()
                    while (frame := fast.poll()) is not None:
                        assert frame.missed == 0
                    await asyncio.sleep(0)
            ids = []
            while not ids or ids[-1] != feed.id:
                *whole, rest = (rest + await lines.read(1 << 20)).split(b"\n")
                ids += [json.loads(line)["id"] for line in whole]
            jumps = [(a, b) for a, b in itertools.pairwise(ids) if b != a + 1]
            assert len(jumps) == 1


async def test_heads_are_limited(feed: Feed) -> None:
    async with asyncio.timeout(30), Dashboard(feed, transport=False) as page:
        reader, writer = await asyncio.open_connection(*page.address)
        writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 100_000)
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 400")
        writer.close()


async def test_who_sends_no_http_makes_no_line_of_a_log(
    feed: Feed, caplog: pytest.LogCaptureFixture
) -> None:
    async with asyncio.timeout(30), Dashboard(feed, transport=False) as page:
        reader, writer = await asyncio.open_connection(*page.address)
        writer.write(b"\x16\x03\x01 what is this?\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400")
        writer.close()
    assert [record for record in caplog.records if record.name != "asyncio"] == []


@pytest.mark.parametrize(
    "begun", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\nGET / HT"]
)
async def test_heads_have_to_come_in_time(
    feed: Feed, begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "HEAD_S", 0.2)
    async with asyncio.timeout(30), Dashboard(feed, transport=False) as page:
        reader, writer = await asyncio.open_connection(*page.address)
        writer.write(begun)
        answer = await reader.read()  # until the server closes
        assert answer.startswith(b"HTTP/1.1 200") is (b"\r\n\r\n" in begun)
        writer.close()


async def test_a_token_has_to_come_in_time(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application, "_LOGIN_S", 0.1)
    async with asyncio.timeout(30), Dashboard(feed, token=TOKEN, transport=False) as page:
        reader, writer = await asyncio.open_connection(*page.address)
        writer.write(
            b"POST /api/login HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b"content-length: 100\r\n\r\n{"
        )
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")
        writer.close()


async def test_streams_of_events_outlast_heads(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "HEAD_S", 0.1)
    async with (
        asyncio.timeout(30),
        Dashboard(feed, transport=False) as page,
        client(page) as asking,
        asking.stream("GET", "/api/feed") as answer,
    ):
        frames = sse(answer.aiter_lines())
        await anext(frames)
        await asyncio.sleep(0.4)
        feed.open("late")
        _, fields = await anext(frames)
        assert list(fields["opened"]) == ["s1"]


def test_a_missing_extra_is_named() -> None:
    script = (
        "import sys; sys.modules['starlette'] = None\n"
        "try:\n import midstream.apps.web.dashboard\n"
        "except ModuleNotFoundError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, check=True)
    assert b'pip install "midstream[ui]"' in done.stdout


async def test_totals_as_prometheus_reads_them(feed: Feed) -> None:
    stream = feed.open("one")
    stream.event(Event("text", 0, 0, "Once"))
    stream.close("stopped")
    async with Dashboard(feed, token=TOKEN) as page, client(page) as http:
        assert (await http.get("/metrics")).status_code == 401
        answer = await http.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    assert "midstream_feed_events_total 1" in lines
    assert "midstream_feed_characters_total 4" in lines
    assert 'midstream_feed_streams_ended_total{outcome="stopped"} 1' in lines
    assert "one" not in answer.text.replace("Streams no longer", "")


async def test_the_page_over_https(feed: Feed, tmp_path: Path) -> None:
    chain, key = Identity.development().save(tmp_path)
    trusted = ssl.create_default_context(cafile=str(chain))
    trusted.check_hostname = False
    async with (
        Dashboard(feed, token=TOKEN, tls=(chain, key)) as page,
        httpx2.AsyncClient(base_url=page.url.partition("#")[0], verify=trusted) as http,
    ):
        assert page.url.startswith("https://127.0.0.1:")
        assert (await http.get("/")).status_code == 200
        origin = page.url.partition("/#")[0]
        answer = await http.post("/api/login", json={"token": TOKEN}, headers={"origin": origin})
        assert answer.status_code in (200, 204)
        cookie = answer.headers["set-cookie"].lower()
        assert "secure" in cookie
        assert "httponly" in cookie
        foreign = await http.post(
            "/api/login",
            json={"token": TOKEN},
            headers={"origin": origin.replace("https", "http")},
        )
        assert foreign.status_code == 403
        assert (await http.get("/api/session")).status_code == 200


def test_certificates_that_cannot_be_used() -> None:
    with pytest.raises(ArgumentTypeError, match="tls must be the files"):
        Dashboard(Feed(), tls="chain.pem")  # type: ignore[arg-type]
    with pytest.raises(ArgumentValueError, match="in PEM"):
        Dashboard(Feed(), tls=(__file__, __file__))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Dashboard(Feed(), tls=("/nowhere.pem", "/nowhere.pem"))
