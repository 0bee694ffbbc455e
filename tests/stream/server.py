"""A real HTTP/1.1 server on 127.0.0.1 whose answers a test writes byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import json

SSE = "Content-Type: text/event-stream"


class Exchange:
    """One request as the server sees it, and the hands to answer it."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer
        self.path = ""
        self.headers = {}
        self.body = b""

    async def request(self):
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        self.path = first.split(" ")[1]
        self.headers = {
            name.lower(): value.strip() for name, _, value in (row.partition(":") for row in lines)
        }
        self.body = await self.reader.readexactly(int(self.headers.get("content-length", 0)))

    @property
    def json(self):
        return json.loads(self.body)

    async def head(self, status="200 OK", *headers):
        lines = [f"HTTP/1.1 {status}", *headers, "Connection: close", "", ""]
        await self.send("\r\n".join(lines).encode())

    async def chunked(self, *headers):
        await self.head("200 OK", *(headers or (SSE,)), "Transfer-Encoding: chunked")

    async def chunk(self, body):
        await self.send(b"%x\r\n%b\r\n" % (len(body), body))

    async def send(self, body):
        self.writer.write(body)
        await self.writer.drain()

    async def gone(self):
        """Wait until the client has closed its side."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65536):
                pass


class Server:
    """``async with Server(answer) as server``: `answer` gets an `Exchange` for each request.

    Attributes
    ----------
    url : str
        Of the server, with its port.
    gone : asyncio.Event
        Set when a client's connection was seen to close.
    exchanges : list of Exchange
        Requests so far.
    """

    def __init__(self, answer, *, tls=None):
        self._answer = answer
        self._tls = tls
        self.exchanges = []
        self.gone = asyncio.Event()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        host, port = self._server.sockets[0].getsockname()
        self.url = f"{'https' if self._tls else 'http'}://{host}:{port}"
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
        exchange = Exchange(reader, writer)
        try:
            await exchange.request()
            self.exchanges.append(exchange)
            await self._answer(exchange)
            writer.close()
            await exchange.gone()
            self.gone.set()
        except (ConnectionError, asyncio.IncompleteReadError):
            self.gone.set()
        except asyncio.CancelledError:
            return  # the test is over
        finally:
            writer.close()
            self._tasks.discard(asyncio.current_task())
