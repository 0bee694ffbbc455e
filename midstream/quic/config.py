"""What a connection or a server is made of: limits, trust, identity, time-outs."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import (
    check_choice,
    check_int,
    check_path,
    check_real,
    check_text,
    did_you_mean,
)

if TYPE_CHECKING:
    from midstream.quic.certificates import Identity
    from midstream.quic.tickets import TicketStore

__all__ = ["Config"]

#: Flow-control limits are variable-length integers (RFC 9000, section 16).
_VARINT_MAX = (1 << 62) - 1
#: A stream count above this could not be written as a stream identifier (RFC 9000, section 4.6).
_STREAMS_MAX = 1 << 60
#: Smallest datagram that every path must carry, and the largest payload of UDP over IPv4 that a
#: two-byte length can describe (RFC 9000, sections 14 and 18.2).
_DATAGRAM_LOW, _DATAGRAM_HIGH = 1200, 65527
_VERSIONS = ("v1", "v2")
_CIPHER_SUITES = (
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
)


@dataclass(frozen=True, kw_only=True, repr=False)
class Config:
    """Settings of one end; a client's and a server's differ only in which of them count.

    Every value is checked when the object is made, so that a mistake is told where it was written
    and not when a peer connects. Objects do not change: `replace` gives a changed copy.

    Parameters
    ----------
    alpn : sequence of str
        Application protocols, the preferred one first (RFC 7301). A handshake without a common
        one fails.
    server_name : str, optional
        Name that the server's certificate must carry, where it is not the host that is dialled.
    insecure_skip_verify : bool
        Client: take any certificate. Nothing then tells the server from an attacker.
    ca : str, path or bytes, optional
        Certificates to trust: a PEM file, a directory of them, or PEM bytes. Default: those of
        the system, or of ``certifi``.
    pins : sequence of str
        What the peer's certificate must match, one of them: `Identity.certificate_pin`, which names
        one certificate and is trust enough, or `Identity.spki_pin`, which is checked beside its
        chain and name.
    identity : Identity, optional
        Own certificate and key. A server needs one; a client shows it when asked.
    client_certificates : {"none", "optional", "required"}
        Server: whether clients are asked for a certificate, and refused without one.
    tickets : TicketStore, str or path, optional
        Client: where tickets for resumption, and tokens, are kept; a path is a folder, made if it
        does not exist. Default: in memory, for this process. A server keeps those that it issued
        in memory, for as long as it runs, whatever is given here.
    early_data : bool
        Client: send before the handshake is over where a ticket allows it. What is sent so can be
        replayed by an attacker who recorded it, once per server (RFC 8446, section 8).
        Server: accept it, each ticket at most once.
    max_streams_bidi, max_streams_uni : int
        How many streams the peer may have open at once.
    stream_window, connection_window : int
        Bytes the peer may send before the application takes some, per stream and over all of
        them, at first. Both grow with the measured bandwidth up to the two limits below.
    max_stream_window, max_connection_window : int
        What those windows grow to, bytes. The second bounds what one connection holds unread.
    send_buffer : int
        Bytes of one stream, written and not yet sent, above which `Stream.drain` waits.
    idle_timeout_s : float
        Seconds without a packet from the peer after which the connection is over
        (RFC 9000, section 10.1). The smaller one of both ends' counts.
    keep_alive_s : float, optional
        Send a PING after so many seconds of silence, so that neither the idle time-out nor a
        NAT's ends the connection. Must be below `idle_timeout_s`. Default: no pings.
    handshake_timeout_s : float
        Seconds until an unanswered handshake is given up.
    max_datagram_size : int
        UDP payload to begin with, bytes, 1200 to 65527.
    probe_mtu : bool
        Search for larger datagrams that the path carries (RFC 8899).
    congestion_control : str
        ``"cubic"`` (RFC 9438), ``"reno"``, or a name registered with the transport.
    initial_rtt_s : float
        Round-trip time assumed before the first measurement, seconds.
    datagrams : bool
        Offer unreliable datagrams to the peer (RFC 9221).
    datagram_queue : int
        Datagrams kept until they are read, and as many until they are sent; the oldest is dropped,
        and counted, for a newer one.
    keylog : str or path, optional
        File to which TLS secrets are appended, for ``tshark``. Whoever has it can read the traffic.
    qlog : str or path, optional
        Directory to which one qlog file for each connection is written.
    retry : {"auto", "always", "never"}
        Server: when a client must first show that it receives at its address (RFC 9000,
        section 8.1.2). ``"auto"``: once half of `max_handshakes` are under way.
    max_connections : int
        Server: connections at once; more are refused.
    max_handshakes : int
        Server: handshakes under way at once; more are refused.
    versions : sequence of {"v1", "v2"}
        QUIC versions, the preferred one first (RFC 9000 and RFC 9369).
    cipher_suites : sequence of str
        TLS 1.3 suites, the preferred one first, by their names of RFC 8446. Default: all three.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        A value that cannot be used; the message names field and value.

    Notes
    -----
    In paths a leading ``~`` is the user's own folder. Safe to share between threads and
    connections. Making one takes about 30 microseconds.

    Examples
    --------
    >>> from midstream.quic import Config
    >>> config = Config(alpn=["chat/1"], keep_alive_s=10)
    >>> config.alpn, config.replace(idle_timeout_s=60).idle_timeout_s
    (('chat/1',), 60.0)
    >>> Config(max_streams_bidi=-1)
    Traceback (most recent call last):
    midstream._core.errors.ArgumentValueError: max_streams_bidi must be at least 0, got -1
    """

    alpn: Sequence[str] = ("midstream",)
    server_name: str | None = None
    insecure_skip_verify: bool = False
    ca: str | Path | bytes | None = None
    pins: Sequence[str] = ()
    identity: Identity | None = None
    client_certificates: Literal["none", "optional", "required"] = "none"
    tickets: TicketStore | str | Path | None = None
    early_data: bool = False
    max_streams_bidi: int = 1000
    max_streams_uni: int = 1000
    stream_window: int = 1 << 20
    connection_window: int = 16 << 20
    max_stream_window: int = 16 << 20
    max_connection_window: int = 64 << 20
    send_buffer: int = 256 << 10
    idle_timeout_s: float = 30.0
    keep_alive_s: float | None = None
    handshake_timeout_s: float = 10.0
    max_datagram_size: int = 1200
    probe_mtu: bool = True
    congestion_control: str = "cubic"
    initial_rtt_s: float = 0.1
    datagrams: bool = True
    datagram_queue: int = 1024
    keylog: str | Path | None = None
    qlog: str | Path | None = None
    retry: Literal["auto", "always", "never"] = "auto"
    max_connections: int = 10_000
    max_handshakes: int = 256
    versions: Sequence[str] = _VERSIONS
    cipher_suites: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Check every field, and keep it in the one form that the transport reads."""
        # The dataclass is frozen for its users; this is the one place that writes.
        put = object.__setattr__
        put(self, "alpn", self._texts("alpn", least=1))
        # The length of a protocol's name is one byte (RFC 7301, section 3.1).
        for name in self.alpn:
            if not 1 <= len(name.encode()) <= 255:
                raise ArgumentValueError(f"alpn must be names of 1 to 255 bytes, got {name!r}")
        put(self, "pins", self._texts("pins"))
        if self.pins:
            from midstream.quic._trust import parse_pins

            parse_pins(self.pins)
        put(self, "versions", self._texts("versions", least=1, known=_VERSIONS))
        put(self, "cipher_suites", self._texts("cipher_suites", known=_CIPHER_SUITES))
        if self.server_name is not None and not check_text("server_name", self.server_name):
            raise ArgumentValueError("server_name must not be empty, got ''")
        for name in ("insecure_skip_verify", "early_data", "probe_mtu", "datagrams"):
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise ArgumentTypeError(f"{name} must be a bool, got {value!r}")
        if self.identity is not None:
            from midstream.quic.certificates import Identity

            if not isinstance(self.identity, Identity):
                raise ArgumentTypeError(
                    f"identity must be an Identity, got {self.identity!r}: Identity.load makes one "
                    "of files"
                )
        for name in ("ca", "keylog", "qlog", "tickets"):
            value = getattr(self, name)
            if name == "ca" and isinstance(value, str) and "-----BEGIN" in value:
                raise ArgumentTypeError(
                    "ca must be a path, or PEM as bytes, got PEM as str: .encode() it"
                )
            if name == "ca" and isinstance(value, bytes):
                continue
            if isinstance(value, (str, os.PathLike)):
                path = check_path(name, value)
                # A shell expands "~" for its user; a settings file does not.
                put(self, name, str(Path(path).expanduser()) if path[:1] == "~" else path)
            elif value is not None and name != "tickets":
                check_path(name, value)
        if not (self.tickets is None or isinstance(self.tickets, str)):
            from midstream.quic.tickets import TicketStore

            if not isinstance(self.tickets, TicketStore):
                raise ArgumentTypeError(
                    f"tickets must be a TicketStore or a path, got {self.tickets!r}"
                )
        check_choice(
            "client_certificates", self.client_certificates, ("none", "optional", "required")
        )
        check_choice("retry", self.retry, ("auto", "always", "never"))
        if not check_text("congestion_control", self.congestion_control):
            raise ArgumentValueError("congestion_control must not be empty, got ''")
        for name, low, high in (
            ("max_streams_bidi", 0, _STREAMS_MAX),
            ("max_streams_uni", 0, _STREAMS_MAX),
            ("stream_window", 1, _VARINT_MAX),
            ("connection_window", 1, _VARINT_MAX),
            ("max_stream_window", 1, _VARINT_MAX),
            ("max_connection_window", 1, _VARINT_MAX),
            ("send_buffer", 1, None),
            ("max_datagram_size", _DATAGRAM_LOW, _DATAGRAM_HIGH),
            ("datagram_queue", 1, None),
            ("max_connections", 1, None),
            ("max_handshakes", 1, None),
        ):
            put(self, name, check_int(name, getattr(self, name), low=low, high=high))
        for name in ("idle_timeout_s", "handshake_timeout_s", "initial_rtt_s", "keep_alive_s"):
            value = getattr(self, name)
            if value is None and name == "keep_alive_s":
                continue
            # A millisecond is what the transport parameter can express.
            put(self, name, check_real(name, value, low=0.001))
        for low_name, high_name in (
            ("stream_window", "max_stream_window"),
            ("connection_window", "max_connection_window"),
            ("keep_alive_s", "idle_timeout_s"),
        ):
            low_value, high_value = getattr(self, low_name), getattr(self, high_name)
            if low_value is not None and low_value > high_value:
                raise ArgumentValueError(
                    f"{low_name} must be at most {high_name}, got {low_value!r} and {high_value!r}"
                )

    def __repr__(self) -> str:
        """Only what differs from the defaults."""
        given = (
            f"{field.name}={getattr(self, field.name)!r}"
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        )
        return f"Config({', '.join(given)})"

    def _texts(self, name: str, *, least: int = 0, known: tuple[str, ...] = ()) -> tuple[str, ...]:
        """The field as a tuple of str, each of them `known` where that is given."""
        value = getattr(self, name)
        # A str is an iterable of str, and never meant as one.
        if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
            raise ArgumentTypeError(f"{name} must be an iterable of str, got {value!r}")
        texts = tuple(value)
        for text in texts:
            if not isinstance(text, str):
                raise ArgumentTypeError(f"{name} must be an iterable of str, got {value!r}")
            if known and text not in known:
                raise ArgumentValueError(f"{name}: unknown {text!r}{did_you_mean(text, known)}")
        if len(texts) < least:
            raise ArgumentValueError(f"{name} must name at least one, got {value!r}")
        return texts

    def replace(self, **changes: Any) -> Config:
        """A copy with some fields changed, checked like a new one.

        Parameters
        ----------
        **changes
            Fields by name.

        Returns
        -------
        Config

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            An unknown field, or a value that cannot be used.

        Examples
        --------
        >>> from midstream.quic import Config
        >>> Config().replace(send_buffer=1 << 20).send_buffer
        1048576
        """
        names = [field.name for field in dataclasses.fields(self)]
        for name in changes:
            if name not in names:
                raise ArgumentValueError(f"no field {name!r} in Config{did_you_mean(name, names)}")
        return dataclasses.replace(self, **changes)
