"""The network side of RTMP: bytes between a peer and ffmpeg, under our limits.

ffmpeg speaks the protocol, but it cannot be called off while it waits, verifies no certificates
and accepts any key. So it only ever talks to this relay on loopback.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import re
import socket
import ssl
import struct

from midstream._core.errors import (
    EndpointError,
    IdleTimeoutError,
    MalformedStreamError,
    SourceError,
)
from midstream.stream.media.settings import MediaLimits

__all__ = ["Relay", "connect_local", "connect_peer", "free_port", "reason"]

_READ_BYTES = 64 * 1024
#: Bytes within which a publisher must say what it publishes.
_OPENING_BYTES = 64 * 1024
_VERSION = 0x03
#: The command ``publish`` in AMF 0: its name, a number, null, a text of a length.
_PUBLISH = re.compile(rb"\x02\x00\x07publish\x00.{8}\x05\x02(..)", re.DOTALL)
_LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])


def reason(error: OSError) -> str:
    """Say what the system says; asyncio folds the address into it."""
    if isinstance(error, ssl.SSLError):
        said = getattr(error, "verify_message", None) or error.reason or str(error)
        return " ".join(str(said).split())
    return os.strerror(error.errno) if error.errno else str(error)


class Relay:
    """Passes bytes on in both directions until one side ends, is silent, or breaks a rule.

    Parameters
    ----------
    limits : MediaLimits
    place : str
        Of the peer, for messages.
    key : str, optional
        What a publisher must name; None for anything, and where we are the client.
    publisher : bool
        Whether the peer publishes to us.
    """

    def __init__(
        self, limits: MediaLimits, place: str, *, key: str | None = None, publisher: bool = False
    ) -> None:
        self._limits = limits
        self._place = place
        self._key = None if key is None else key.encode()
        self._opening: bytes | None = b"" if publisher else None
        self._greeted = not publisher
        self._passed = 0
        #: Why it ended, unless one side closed in order.
        self.failure: SourceError | None = None
        #: Whether the peer closed in order.
        self.ended = False
        self._writers: list[asyncio.StreamWriter] = []

    async def run(
        self,
        peer: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        local: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """Pass bytes between the peer and ffmpeg; ends when both are closed."""
        self._writers = [peer[1], local[1]]
        towards = asyncio.ensure_future(self._pass_in(peer[0], local[1]))
        back = asyncio.ensure_future(self._pass_out(local[0], peer[1]))
        try:
            await asyncio.wait({towards, back}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (towards, back):
                task.cancel()
            await asyncio.wait({towards, back})
            self.close()

    def close(self) -> None:
        """Close both sides now."""
        for writer in self._writers:
            writer.close()

    async def _pass_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """From the peer to ffmpeg, watched."""
        limit_s = self._limits.idle_timeout_s
        try:
            while True:
                async with asyncio.timeout(limit_s):
                    data = await reader.read(_READ_BYTES)
                if not data:
                    self.ended = True
                    return
                if self._opening is not None:
                    self._look(data)
                self._passed += len(data)
                writer.write(data)
                await writer.drain()
        except TimeoutError:
            self.failure = IdleTimeoutError(f"nothing arrived for {limit_s:g} s", place=self._place)
        except SourceError as error:
            self.failure = error
        except OSError as error:
            self.failure = EndpointError(
                f"the connection broke: {reason(error)}", place=self._place
            )

    async def _pass_out(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """From ffmpeg to the peer."""
        try:
            while data := await reader.read(_READ_BYTES):
                writer.write(data)
                await writer.drain()
        except OSError:
            return  # the other direction says what happened

    def _look(self, data: bytes) -> None:
        """Look at the first bytes of a publisher.

        Raises
        ------
        MalformedStreamError, EndpointError
            It does not speak RTMP, does not publish, or has another key.
        """
        if not self._greeted:
            self._greeted = True
            if data[0] != _VERSION:
                raise MalformedStreamError("the peer does not speak RTMP", place=self._place)
        opening = (self._opening or b"") + data
        found = _PUBLISH.search(opening)
        if found is not None:
            length = int(struct.unpack(">H", found[1])[0])
            key = opening[found.end() : found.end() + length]
            if len(key) == length:
                self._opening = None
                if self._key is not None and not hmac.compare_digest(key, self._key):
                    raise EndpointError("the peer publishes with another key", place=self._place)
                return
        if len(opening) > _OPENING_BYTES:
            raise MalformedStreamError(
                f"the peer published nothing within {_OPENING_BYTES} bytes", place=self._place
            )
        self._opening = opening


async def connect_peer(
    host: str, port: int, limits: MediaLimits, place: str, *, tls: bool
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a server.

    Raises
    ------
    EndpointError
        It cannot be reached, or has no valid certificate.
    """
    context = ssl.create_default_context() if tls else None
    try:
        async with asyncio.timeout(limits.connect_timeout_s):
            return await asyncio.open_connection(host, port, ssl=context)
    except TimeoutError:
        raise EndpointError(
            f"no connection within {limits.connect_timeout_s:g} s", place=place
        ) from None
    except OSError as error:
        raise EndpointError(f"no connection: {reason(error)}", place=place) from error


async def connect_local(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to ffmpeg's listener, which takes a moment to be there.

    Raises
    ------
    OSError
        It is not there within two seconds.
    """
    for _ in range(100):
        try:
            return await asyncio.open_connection(_LOOPBACK, port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.02)
    return await asyncio.open_connection(_LOOPBACK, port)
