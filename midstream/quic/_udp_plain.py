"""Datagrams by plain sockets, for platforms without batched calls, and what every socket needs."""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from typing_extensions import Buffer

__all__ = ["BUFFER_BYTES", "Address", "Socket", "prepare"]

#: What `socket.recvfrom` gives: ``(host, port)``, and flow and scope for IPv6.
Address = tuple[str, int] | tuple[str, int, int, int]

#: Room in the kernel for datagrams on their way in and out: what arrives in 30 ms at 1 Gbit/s.
BUFFER_BYTES = 4 << 20

#: The largest datagram that UDP can carry.
MOST_BYTES = 65_535

# Options that Python's socket module does not name, each from its system's headers. None of them is
# vital: an old kernel without one still talks QUIC, with smaller buffers or fragments.
if sys.platform == "linux":
    _SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
    # IP_MTU_DISCOVER = IP_PMTUDISC_PROBE: the DF bit, and no cached path MTU in the way of probes.
    _DONT_FRAGMENT = {
        socket.AF_INET: [(socket.IPPROTO_IP, 10, 3)],
        # An IPv6 socket sends IPv4 too, to mapped addresses.
        socket.AF_INET6: [(socket.IPPROTO_IPV6, 23, 3), (socket.IPPROTO_IP, 10, 3)],
    }
elif sys.platform == "darwin":
    _DONT_FRAGMENT = {
        socket.AF_INET: [(socket.IPPROTO_IP, 28, 1)],
        socket.AF_INET6: [(socket.IPPROTO_IPV6, 62, 1)],
    }
elif sys.platform == "win32":
    _DONT_FRAGMENT = {
        socket.AF_INET: [(socket.IPPROTO_IP, 14, 1)],
        socket.AF_INET6: [(socket.IPPROTO_IPV6, 14, 1)],
    }
else:
    _DONT_FRAGMENT = {}


def prepare(sock: socket.socket) -> bool:
    """Give a UDP socket large buffers and the DF bit.

    Returns
    -------
    bool
        Whether datagrams carry the DF bit, so that probing the path MTU means something
        (RFC 9000, section 14.3).
    """
    for option, force in ((socket.SO_SNDBUF, "SND"), (socket.SO_RCVBUF, "RCV")):
        if sys.platform == "linux" and _set(
            sock,
            socket.SOL_SOCKET,
            _SO_SNDBUFFORCE if force == "SND" else _SO_RCVBUFFORCE,
            BUFFER_BYTES,
        ):
            continue  # with CAP_NET_ADMIN, past net.core.[rw]mem_max
        _set(sock, socket.SOL_SOCKET, option, BUFFER_BYTES)
    options = _DONT_FRAGMENT.get(sock.family, [])
    return [_set(sock, *option) for option in options][:1] == [True]


def _set(sock: socket.socket, level: int, option: int, value: int) -> bool:
    try:
        sock.setsockopt(level, option, value)
    except OSError:
        return False
    return True


def datagrams_of(buffer: Buffer, segment_size: int) -> Iterator[memoryview]:
    """Part a group into its datagrams."""
    view = memoryview(buffer)
    size = segment_size or len(view)
    for start in range(0, len(view), size or 1):
        yield view[start : start + size]


class Socket:
    """What `midstream.quic._udp.Socket` does, one system call a datagram.

    Parameters
    ----------
    sock : socket.socket
        Bound or connected; it becomes non-blocking.
    connected : bool
        Whether it is connected: then addresses of what is sent are ignored.
    ecn : bool
        Not to be had here.
    """

    __slots__ = (
        "_buffer",
        "_refused",
        "blocked",
        "connected",
        "ecn",
        "error",
        "gro",
        "gso",
        "offset",
        "sock",
    )

    def __init__(self, sock: socket.socket, connected: bool = False, ecn: bool = False) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.connected = connected
        self.ecn = self.gro = self.gso = self.blocked = False
        self.offset = 0
        self.error = 0
        self._refused = 0
        self._buffer = memoryview(bytearray(MOST_BYTES))

    def receive(self, limit: int = 256) -> list[tuple[list[bytes], Any, int]]:
        """Take up to `limit` datagrams that wait: ``[(datagrams, address, 0), ...]``."""
        groups: dict[Any, list[bytes]] = {}
        failures = 0
        buffer = self._buffer
        for _ in range(limit):
            try:
                size, address = self.sock.recvfrom_into(buffer)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                # What ICMP reported, once each; a closed descriptor says so again and again.
                failures += 1
                if failures > 8 or error.errno in (errno.EBADF, errno.ENOTSOCK):
                    raise
                self.error = error.errno or 0
                continue
            if size:
                groups.setdefault(address, []).append(bytes(buffer[:size]))
        return [(datagrams, address, 0) for address, datagrams in groups.items()]

    def send(self, segments: Sequence[tuple[Buffer, int, Any]]) -> int:
        """Send groups of datagrams: how many left whole; see `blocked` and `offset`."""
        self.blocked = False
        self.offset = 0
        for done, (buffer, segment_size, address) in enumerate(segments):
            offset = 0
            for datagram in datagrams_of(buffer, segment_size):
                if not self._send_one(datagram, address):
                    self.blocked = True
                    self.offset = offset
                    return done
                offset += len(datagram)
        return len(segments)

    def _send_one(self, datagram: memoryview, address: Any) -> bool:
        for attempt in range(2):
            try:
                if self.connected:
                    self.sock.send(datagram)
                else:
                    self.sock.sendto(datagram, address)
            except (BlockingIOError, InterruptedError):
                return False
            except OSError as error:
                if error.errno in (errno.EBADF, errno.ENOTSOCK, errno.EDESTADDRREQ):
                    raise
                if error.errno == errno.EMSGSIZE:
                    self._refused = min(self._refused or MOST_BYTES, len(datagram))
                elif attempt == 0:
                    # It may be about an earlier datagram, told by ICMP.
                    continue
                self.error = error.errno or 0
            return True
        return True

    def take_error(self) -> tuple[int, int]:
        """errno of the last loss, and the smallest datagram that was too large; 0 for none."""
        error = (self.error, self._refused)
        self.error = self._refused = 0
        return error

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()
