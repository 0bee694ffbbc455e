"""A server of one RTMP stream: enough of the protocol to be pulled from, on loopback."""

from __future__ import annotations

import asyncio
import re
import socket
import struct

_CHUNK = 4096


def number(value):
    return b"\x00" + struct.pack(">d", value)


def text(value):
    return b"\x02" + struct.pack(">H", len(value)) + value.encode()


def fields(**values):
    body = b"".join(
        struct.pack(">H", len(name)) + name.encode() + text(value) for name, value in values.items()
    )
    return b"\x03" + body + b"\x00\x00\x09"


def message(kind, body, *, time_ms=0, stream=0, channel=3):
    """One message in chunks of 4096 bytes."""
    head = struct.pack(">B", channel) + time_ms.to_bytes(3, "big") + len(body).to_bytes(3, "big")
    head += struct.pack(">B", kind) + struct.pack("<I", stream)
    pieces = [body[at : at + _CHUNK] for at in range(0, len(body), _CHUNK)] or [b""]
    return head + struct.pack(">B", 0xC0 | channel).join(pieces)


def tags(flv):
    """Tags of a file: kind, time in milliseconds, body."""
    at = 13
    while at + 11 <= len(flv):
        kind = flv[at] & 0x1F
        size = int.from_bytes(flv[at + 1 : at + 4], "big")
        time_ms = int.from_bytes(flv[at + 4 : at + 7], "big") | flv[at + 7] << 24
        yield kind, time_ms, flv[at + 11 : at + 11 + size]
        at += 11 + size + 4


class RtmpServer:
    """``async with RtmpServer(flv) as server``: plays `flv`, up to `cut` tags, and closes.

    Attributes
    ----------
    url : str
    said : bytes
        What the client sent.
    """

    def __init__(self, flv, *, cut=None, reset=False, tls=None):
        self._tags = list(tags(flv))[:cut]
        self._reset = reset
        self._tls = tls
        self.said = b""

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        port = self._server.sockets[0].getsockname()[1]
        scheme = "rtmps" if self._tls else "rtmp"
        self.url = f"{scheme}://127.0.0.1:{port}/live/a"
        return self

    async def __aexit__(self, *what):
        self._server.close()

    async def _until(self, reader, pattern):
        while (found := re.search(pattern, self.said, re.DOTALL)) is None:
            data = await reader.read(4096)
            if not data:
                raise ConnectionError
            self.said += data
        return found

    async def _serve(self, reader, writer):
        try:
            await self._play(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def _play(self, reader, writer):
        hello = await reader.readexactly(1537)
        writer.write(b"\x03" + bytes(1536) + hello[1:])
        await reader.readexactly(1536)
        await self._until(reader, b"connect\\x00.{8}")
        writer.write(message(5, struct.pack(">I", 2_500_000), channel=2))
        writer.write(message(6, struct.pack(">IB", 2_500_000, 2), channel=2))
        writer.write(message(1, struct.pack(">I", _CHUNK), channel=2))
        status = fields(level="status", code="NetConnection.Connect.Success", description="ok")
        writer.write(message(20, text("_result") + number(1) + fields(fmsVer="x") + status))
        made = await self._until(reader, b"createStream\\x00(.{8})")
        reply = text("_result") + b"\x00" + made[1] + b"\x05" + number(1)
        writer.write(message(20, reply))
        await self._until(reader, b"\\x02\\x00\\x04play\\x00")
        status = fields(level="status", code="NetStream.Play.Start", description="ok")
        started = text("onStatus") + number(0) + b"\x05" + status
        writer.write(message(20, started, stream=1, channel=5))
        for kind, time_ms, body in self._tags:
            channel = {8: 4, 9: 6}.get(kind, 7)
            writer.write(message(kind, body, time_ms=time_ms, stream=1, channel=channel))
            await writer.drain()
        if self._reset:
            # What was sent is read first; then the connection is reset, not closed.
            await asyncio.sleep(0.5)
            linger = struct.pack("ii", 1, 0)
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
