"""A client that may do anything: aioquic for the handshake and the keys, then frames as bytes.

`Victim` is one server connection of ours without sockets, and `RawPeer` the client beside it. The
peer seals what it is told to, in packet numbers of its choice, and keeps what the victim answered
as parsed frames.
"""

from __future__ import annotations

import ssl
from functools import cache
from itertools import pairwise
from typing import Any

from aioquic.buffer import Buffer, encode_uint_var
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import pull_quic_header
from aioquic.tls import Epoch

from midstream.quic._protocol import Protocol
from midstream.quic.certificates import Identity
from midstream.quic.config import Config

CLIENT = ("192.0.2.1", 4433)
SERVER = ("192.0.2.2", 443)
START = 1000.0

#: Fields of the frames that are not STREAM, ACK, CRYPTO or end with bytes: how many varints.
VARINTS = {0x04: 3, 0x05: 2, 0x10: 1, 0x11: 2, 0x12: 1, 0x13: 1, 0x14: 1, 0x15: 2, 0x16: 1, 0x17: 1}


@cache
def identity() -> Identity:
    return Identity.development()


def frame(kind: int, *fields: int | bytes) -> bytes:
    """A frame of varints, and of bytes as they are."""
    out = encode_uint_var(kind)
    for field in fields:
        out += field if isinstance(field, bytes) else encode_uint_var(field)
    return out


def stream(stream_id: int, offset: int, data: bytes, fin: bool = False) -> bytes:
    return frame(0x0E | fin, stream_id, offset, len(data), data)


def parse(plain: bytes) -> list[tuple[int, list[Any]]]:
    """The frames of a packet that the victim sent: type and fields."""
    buffer = Buffer(data=plain)
    out: list[tuple[int, list[Any]]] = []
    while not buffer.eof():
        kind = buffer.pull_uint_var()
        pull = buffer.pull_uint_var
        fields: list[Any] = []
        if kind in (0x00, 0x01, 0x1E):
            pass
        elif kind in VARINTS:
            fields = [pull() for _ in range(VARINTS[kind])]
        elif kind in (0x02, 0x03):
            largest, _, count, first = pull(), pull(), pull(), pull()
            fields = [(largest - first, largest)]
            for _ in range(count):
                high = fields[-1][0] - pull() - 2
                fields.append((high - pull(), high))
        elif 0x08 <= kind <= 0x0F:
            stream_id = pull()
            offset = pull() if kind & 4 else 0
            length = pull() if kind & 2 else len(plain) - buffer.tell()
            fields = [stream_id, offset, buffer.pull_bytes(length), kind & 1]
            kind = 0x08
        elif kind == 0x06:
            fields = [pull(), buffer.pull_bytes(pull())]
        elif kind == 0x07:
            fields = [buffer.pull_bytes(pull())]
        elif kind == 0x18:
            fields = [pull(), pull(), buffer.pull_bytes(buffer.pull_uint8()), buffer.pull_bytes(16)]
        elif kind == 0x19:
            fields = [pull()]
        elif kind in (0x1A, 0x1B):
            fields = [buffer.pull_bytes(8)]
        elif kind in (0x1C, 0x1D):
            fields = [pull()]
            if kind == 0x1C:
                pull()
            fields.append(buffer.pull_bytes(pull()).decode(errors="replace"))
        elif kind == 0x31:
            fields = [buffer.pull_bytes(pull())]
        else:
            raise AssertionError(f"the victim sent a frame of type {kind:#x}")
        if kind:
            out.append((kind, fields))
    return out


class Link:
    """A victim and its hostile client, past the handshake."""

    def __init__(self, *, drive: bool = True, **settings: Any) -> None:
        self.now = START
        self.config = Config(identity=identity(), alpn=("hostile",), **settings)
        self.client = QuicConnection(
            configuration=QuicConfiguration(
                is_client=True,
                alpn_protocols=["hostile"],
                verify_mode=ssl.CERT_NONE,
                server_name="localhost",
                max_datagram_frame_size=65535,
                max_data=1 << 30,
                max_stream_data=1 << 30,
            )
        )
        self.client.connect(SERVER, now=self.now)
        first = self.client.datagrams_to_send(now=self.now)
        header = pull_quic_header(Buffer(data=first[0][0]), host_cid_length=8)
        self.victim = Protocol(
            self.config,
            is_client=False,
            original_destination_connection_id=header.destination_cid,
        )
        for data, _ in first:
            self.victim.receive_datagrams([data], CLIENT, self.now)
        #: Frames that the victim sent to the raw peer, and packets whose keys are not known.
        self.answers: list[tuple[int, list[Any]]] = []
        #: Numbers of packets that the victim sent to the raw peer.
        self.numbers: list[int] = []
        if drive:
            for _ in range(6):
                self.now += 0.005
                for data, _addr in self.victim.datagrams_to_send(self.now):
                    self.client.receive_datagram(data, SERVER, self.now)
                for data, _addr in self.client.datagrams_to_send(self.now):
                    self.victim.receive_datagrams([data], CLIENT, self.now)
            assert self.client._handshake_complete
        self.number = self.client._packet_number

    # What the peer sends

    def packet(self, plain: bytes, *, number: int | None = None) -> bytes:
        """Seal frames into a packet."""
        if number is None:
            number = self.number
            self.number += 1
        if len(plain) < 4:
            plain += bytes(4 - len(plain))  # a sample for header protection has to exist
        cid = self.client._peer_cid.cid
        crypto = self.client._cryptos[Epoch.ONE_RTT]
        header = bytes([0x40 | crypto.send.key_phase << 2 | 3]) + cid
        header += (number & 0xFFFFFFFF).to_bytes(4, "big")
        return bytes(crypto.encrypt_packet(header, plain, number))

    def send(self, *frames: bytes, number: int | None = None, answer: bool = True) -> None:
        """Let the victim have one packet with these frames."""
        self.send_packets([self.packet(b"".join(frames), number=number)], answer=answer)

    def send_packets(self, packets: list[bytes], *, answer: bool = True) -> None:
        self.victim.receive_datagrams(packets, CLIENT, self.now)
        if answer:
            self.answer()

    # What the victim sends

    def answer(self) -> int:
        """Take what the victim sends now; how many packets."""
        taken = 0
        crypto = self.client._cryptos[Epoch.ONE_RTT]
        for data, _addr in self.victim.datagrams_to_send(self.now):
            taken += 1
            if data[0] & 0x80:
                continue
            cid_length = len(self.client.host_cid)
            _, plain, number = crypto.decrypt_packet(
                data, 1 + cid_length, (self.numbers[-1] if self.numbers else 0) + 1
            )
            self.numbers.append(number)
            self.answers.extend(parse(plain))
        return taken

    def wait(self, seconds: float) -> None:
        """Let time pass, and the victim do what is due."""
        until = self.now + seconds
        while True:
            due = self.victim.get_timer()
            if due is None or due > until:
                break
            self.now = max(self.now, due)
            self.victim.handle_timer(self.now)
            self.answer()
        self.now = until

    def frames(self, kind: int) -> list[list[Any]]:
        """Frames of one type that the victim sent."""
        return [fields for what, fields in self.answers if what == kind]

    @property
    def error(self) -> int | None:
        """The code with which the victim ended the connection, or None: it goes on."""
        closes = self.frames(0x1C)
        return closes[0][0] if closes else None

    def acknowledge(self) -> bytes:
        """An ACK frame for all that came."""
        numbers = sorted(set(self.numbers), reverse=True)
        ranges: list[list[int]] = []
        for number in numbers:
            if ranges and ranges[-1][0] == number + 1:
                ranges[-1][0] = number
            else:
                ranges.append([number, number])
        fields = [ranges[0][1], 0, len(ranges) - 1, ranges[0][1] - ranges[0][0]]
        for above, below in pairwise(ranges):
            fields += [above[0] - below[1] - 2, below[1] - below[0]]
        return frame(0x02, *fields)

    def is_alive(self) -> bool:
        """Whether the victim still answers: a stream that it never saw, echoed by hand."""
        before = len(self.numbers)
        self.send(frame(0x01))
        self.wait(0.1)
        return self.error is None and len(self.numbers) > before
