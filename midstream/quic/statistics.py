"""What a connection has measured, and a server counted, so far."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

__all__ = ["ConnectionStats", "ServerStats"]


@dataclass(frozen=True)
class ConnectionStats:
    """Counters and estimates of one connection at one moment (RFC 9002).

    Shown as a table in notebooks.

    Attributes
    ----------
    rtt_s, rtt_min_s, rtt_var_s, rtt_latest_s : float
        Round-trip time, seconds: smoothed, least, mean deviation, last measured; 0 before the
        first measurement.
    congestion_window, bytes_in_flight : int
        Bytes that may be, and that are, sent and not acknowledged.
    bytes_sent, bytes_received : int
        UDP payload.
    packets_sent, packets_received, packets_lost : int
        QUIC packets; a lost one may have been late only.
    streams_open : int
        Streams that are not over in both directions.
    max_datagram_size : int
        UDP payload that is in use, bytes.
    datagrams_dropped : int
        Datagrams (RFC 9221) that nobody read in time, and those that newer ones overtook before the
        window let them be sent.
    probe_timeouts : int
        Probe time-outs in a row, 0 while the peer answers.

    Examples
    --------
    >>> from midstream.quic import ConnectionStats
    >>> stats = ConnectionStats(rtt_s=0.02, packets_sent=200, packets_lost=1)
    >>> stats.loss
    0.005
    """

    rtt_s: float = 0.0
    rtt_min_s: float = 0.0
    rtt_var_s: float = 0.0
    rtt_latest_s: float = 0.0
    congestion_window: int = 0
    bytes_in_flight: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    packets_sent: int = 0
    packets_received: int = 0
    packets_lost: int = 0
    streams_open: int = 0
    max_datagram_size: int = 0
    datagrams_dropped: int = 0
    probe_timeouts: int = 0

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> ConnectionStats:
        """Of a mapping by these names; others are passed over.

        Parameters
        ----------
        values : mapping

        Returns
        -------
        ConnectionStats
        """
        return cls(**{f.name: values[f.name] for f in fields(cls) if f.name in values})

    @property
    def loss(self) -> float:
        """Part of the packets sent that were lost, 0 to 1."""
        return self.packets_lost / self.packets_sent if self.packets_sent else 0.0

    def _rows(self) -> list[tuple[str, str]]:
        return [
            (
                "round trip",
                f"{self.rtt_s * 1e3:.2f} ms (least {self.rtt_min_s * 1e3:.2f}, "
                f"deviation {self.rtt_var_s * 1e3:.2f})",
            ),
            (
                "congestion window",
                f"{self.congestion_window:,} B, {self.bytes_in_flight:,} B in flight",
            ),
            ("sent", f"{self.bytes_sent:,} B in {self.packets_sent:,} packets"),
            ("received", f"{self.bytes_received:,} B in {self.packets_received:,} packets"),
            ("lost", f"{self.packets_lost:,} packets ({self.loss:.2%})"),
            ("streams open", f"{self.streams_open:,}"),
            ("datagram size", f"{self.max_datagram_size:,} B"),
            ("datagrams dropped", f"{self.datagrams_dropped:,}"),
        ]

    def __str__(self) -> str:
        return "\n".join(f"{name:18} {value}" for name, value in self._rows())

    def _repr_html_(self) -> str:
        """A table, for notebooks."""
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th><td>{html.escape(value)}"
            "</td></tr>"
            for name, value in self._rows()
        )
        return f"<table><caption>QUIC connection</caption>{rows}</table>"


@dataclass(frozen=True)
class ServerStats:
    """Counts of one server at one moment.

    Attributes
    ----------
    connections : int
        Connections that are open.
    handshakes : int
        Handshakes under way.
    accepted : int
        Connections that were made, ever.
    refused : int
        Handshakes that were refused: no room, draining, or a bad token.
    handlers_failed : int
        Handlers that raised.
    """

    connections: int = 0
    handshakes: int = 0
    accepted: int = 0
    refused: int = 0
    handlers_failed: int = 0
