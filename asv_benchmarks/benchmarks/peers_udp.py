"""Datagrams through the kernel in batches beside one system call each, as asyncio makes them.

Both sides send over loopback, read what arrived as bytes objects, and compare equal."""

from __future__ import annotations

import socket

from midstream.quic import _udp, _udp_plain

from ._timing import Peer

#: What a QUIC packet has on most paths.
DATAGRAM_BYTES = 1200


def bound():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    _udp_plain.prepare(sock)
    return sock


class _Through(Peer):
    library = "socket.sendto, recvfrom"
    datagrams = 64

    def setup(self):
        if not _udp.AVAILABLE:
            raise NotImplementedError("batched datagrams are Linux's")
        self.sockets = [bound() for _ in range(4)]
        self.to, self.plain_to = self.sockets[1].getsockname(), self.sockets[3].getsockname()
        self.sender, self.receiver = map(_udp.Socket, self.sockets[:2])
        self.parts = [bytes([i]) * DATAGRAM_BYTES for i in range(self.datagrams)]
        self.group = memoryview(b"".join(self.parts))
        self.segments = [(part, DATAGRAM_BYTES, self.to) for part in self.parts]
        assert self.ours() == self.peer() == self.parts

    def teardown(self):
        for sock in self.sockets:
            sock.close()

    def ours(self):
        self.sender.send([(self.group, DATAGRAM_BYTES, self.to)])
        ((datagrams, _, _),) = self.receiver.receive()
        return datagrams

    def peer(self):
        # A transport gets its packets as bytes objects already, and so do we above.
        sender, receiver = self.sockets[2:]
        for part in self.parts:
            sender.sendto(part, self.plain_to)
        out = []
        while True:
            try:
                datagram, _ = receiver.recvfrom(65_536)
            except BlockingIOError:
                return out
            out.append(datagram)


class BurstOf64(_Through):
    """A full GSO message, as bulk transfer sends it."""


class BurstOf10(_Through):
    """What QUIC's first congestion window allows."""

    datagrams = 10


class Single(_Through):
    """One datagram there: nothing to join, and the batch machinery in the way."""

    datagrams = 1


class Separate64(_Through):
    """64 senders' single datagrams, which the kernel does not join: recvmmsg alone."""

    def ours(self):
        self.sender.send(self.segments)
        return [datagram for datagrams, _, _ in self.receiver.receive() for datagram in datagrams]
