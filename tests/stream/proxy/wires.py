"""Helpers: recorded provider streams as bodies of HTTP answers, and a server that replays them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from contextlib import asynccontextmanager

from midstream.stream.policies import Policy
from midstream.stream.proxy import Proxy, ProxyServer

APIS = {
    "chat.completions": "chat",
    "completions": "chat",
    "responses": "responses",
    "messages": "anthropic",
}
PATHS = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "anthropic": "/v1/messages",
    "ollama": "/api/chat",
    "llama": "/completion",
}
PARALLEL = "openai/otel-open_ai_function_calls_tools_streaming_parallel-1.sse"


@functools.cache
def index(root):
    return json.loads((root / "index.json").read_text())


def rows(root, *apis):
    """Index rows of files that one HTTP answer could hold."""
    return [
        row
        for row in index(root)
        if APIS.get(row["api"]) in apis
        and row["responses"] == 1
        and not row["malformed_events"]
        and not row["last_event_unterminated"]
    ]


def body(root, row):
    """A file as the body of a text/event-stream answer."""
    raw = (root / row["file"]).read_bytes()
    if row["file"].endswith(".sse"):
        return raw
    api = APIS[row["api"]]
    out = []
    for line in raw.decode().splitlines():
        kind = json.loads(line).get("type", "")
        name = f"event: {kind}\n" if kind and api != "chat" else ""
        out.append(f"{name}data: {line}\n\n")
    if api == "chat":
        out.append("data: [DONE]\n\n")
    return "".join(out).encode()


def wire(root, file):
    """API and body of one file."""
    (row,) = [row for row in index(root) if row["file"] == file]
    return APIS[row["api"]], body(root, row)


def no_tool(name="*", **more):
    """A policy that denies calls of a tool."""
    atoms = {"call": {"tool": name, **more}}
    return Policy(f"no {name}", "G !call", atoms, repair="ask the user first")


class Upstream:
    """A server on 127.0.0.1 that answers every request with the same body, cut as wanted.

    Attributes
    ----------
    requests : list of (head, body)
        As they came.
    gone : asyncio.Event
        Set when a connection was closed before its answer was whole.
    """

    def __init__(
        self,
        answer,
        *,
        size=256,
        status="200 OK",
        kind="text/event-stream",
        headers=(),
        reset_after=None,
        hang_after=None,
        pause_s=0.0,
    ):
        self.answer = answer
        self.size = size
        self.status = status
        self.kind = kind
        self.headers = headers
        self.reset_after = reset_after
        self.hang_after = hang_after
        self.pause_s = pause_s
        self.requests = []
        self.gone = asyncio.Event()
        self.connections = 0

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self._tasks = set()
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = 0
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        length = int(line.partition(b":")[2])
                self.requests.append((head, await reader.readexactly(length)))
                if not await self._reply(reader, writer):
                    return
        except asyncio.IncompleteReadError:
            return
        except ConnectionError:
            self.gone.set()
        except asyncio.CancelledError:
            return
        finally:
            writer.close()
            self._tasks.discard(asyncio.current_task())

    async def _reply(self, reader, writer):
        head = [f"HTTP/1.1 {self.status}", f"Content-Type: {self.kind}", *self.headers]
        writer.write("\r\n".join([*head, "Transfer-Encoding: chunked", "", ""]).encode())
        sent = 0
        leaving = asyncio.create_task(reader.read(1))
        try:
            while sent < len(self.answer):
                for limit, act in ((self.reset_after, "reset"), (self.hang_after, "hang")):
                    if limit is not None and sent >= limit:
                        if act == "reset":
                            writer.transport.abort()
                            return False
                        await leaving
                        self.gone.set()
                        return False
                piece = self.answer[sent : sent + self.size]
                sent += len(piece)
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
                if self.pause_s:
                    await asyncio.sleep(self.pause_s)
                if leaving.done():
                    self.gone.set()
                    return False
            writer.write(b"0\r\n\r\n")
            await writer.drain()
        finally:
            if not leaving.done():
                leaving.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await leaving
        return True


@asynccontextmanager
async def proxied(upstream, **settings):
    """Run a proxy before a server; gives the proxy with its `url`."""
    drain_s = settings.pop("drain_s", 1.0)
    linger_s = settings.pop("linger_s", 0.0)
    wrap = settings.pop("wrap", None)
    proxy = Proxy(upstream if isinstance(upstream, str) else upstream.url, **settings)
    server = ProxyServer(proxy, drain_s=drain_s, linger_s=linger_s, wrap=wrap)
    serving = asyncio.create_task(server.serve())
    waiting = asyncio.create_task(server.started.wait())
    await asyncio.wait((serving, waiting), return_when=asyncio.FIRST_COMPLETED)
    proxy.url = "http://{}:{}".format(*server.address)
    proxy.server = server
    try:
        yield proxy
    finally:
        waiting.cancel()
        server.stop()
        if linger_s:
            server.cut()
        await serving


async def raw(url, request):
    """Send bytes to a server, return all it sends until it closes."""
    host, _, port = url.partition("://")[2].partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request)
        await writer.drain()
        return await reader.read()
    finally:
        writer.close()


def post(path, content=b"{}", *headers):
    """Bytes of a request."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", *headers]
    lines += [f"Content-Length: {len(content)}", "", ""]
    return "\r\n".join(lines).encode() + content


def split(answer):
    """Status, headers and body of an answer, chunks joined."""
    head, _, rest = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    if headers.get("transfer-encoding") == "chunked":
        out = b""
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            length = int(size, 16)
            if not length:
                break
            out += rest[:length]
            rest = rest[length + 2 :]
        rest = out
    return int(first.split(" ")[1]), headers, rest
