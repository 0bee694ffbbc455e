"""RFC 9002's appendices A and B, one packet number space, by dictionaries and in their order.

Slow and plain: what `midstream.quic._recovery` computes in C is compared with it. The differences
from the RFC's text are those that it leaves open: the window grows only for packets of a flight
that used it (7.8), and not in the ACK that finds a loss.
"""

from __future__ import annotations

from dataclasses import dataclass

GRANULARITY = 1_000_000
NEVER = None


@dataclass
class Packet:
    number: int
    sent: int
    size: int
    eliciting: bool
    in_flight: bool


class Textbook:
    """NewReno over dictionaries."""

    def __init__(
        self, datagram: int = 1200, initial_rtt: int = 100_000_000, delay: int = 25_000_000
    ):
        self.datagram = datagram
        self.max_ack_delay = delay
        self.latest = 0
        self.smoothed = initial_rtt
        self.variance = initial_rtt // 2
        self.minimum = 0
        self.first_sample: int | None = None
        self.sent: dict[int, Packet] = {}
        self.fate: dict[int, str] = {}
        self.lost_packets: dict[int, Packet] = {}
        self.next = 0
        self.largest_acked = -1
        self.last_eliciting = 0
        self.loss_time: int | None = None
        self.pto_count = 0
        self.window: float = min(10 * datagram, max(2 * datagram, 14720))
        self.ssthresh = float("inf")
        self.in_flight = 0
        self.recovery_start = -(1 << 62)
        self.full_until = 0
        self.persistent_after = -1
        self.persistent = 0
        self.events = 0

    def send(self, now: int, size: int, eliciting: bool, in_flight: bool) -> int:
        number = self.next
        self.next += 1
        self.sent[number] = Packet(number, now, size, eliciting, in_flight)
        if in_flight:
            if eliciting:
                self.last_eliciting = now
            self.in_flight += size
            slow = self.window < self.ssthresh
            if self.in_flight + 3 * self.datagram >= self.window or (
                slow and self.in_flight > self.window / 2
            ):
                self.full_until = number + 1
        return number

    def pto(self) -> int:
        return self.smoothed + max(4 * self.variance, GRANULARITY) + self.max_ack_delay

    def timer(self) -> int | None:
        if self.loss_time is not None:
            return self.loss_time
        if not any(p.eliciting and p.in_flight for p in self.sent.values()):
            return None
        return self.last_eliciting + self.pto() * 2**self.pto_count

    def acknowledge(self, numbers: set[int], ack_delay: int, now: int) -> set[int]:
        """Take an ACK for `numbers`; what is new in it."""
        self.largest_acked = max(self.largest_acked, *numbers)
        new = [self.sent.pop(n) for n in sorted(numbers) if n in self.sent]
        if not new:
            return set()
        for packet in new:
            self.fate[packet.number] = "acked"
        if new[-1].number == max(numbers) and any(p.eliciting for p in new):
            self._update_rtt(now - new[-1].sent, ack_delay, now)
        start, events = self.recovery_start, self.events
        for packet in new:
            if packet.in_flight:
                self.in_flight -= packet.size
        self._lose(now)
        if self.events == events:
            grown = sum(
                p.size for p in new if p.in_flight and p.sent > start and p.number < self.full_until
            )
            if self.window < self.ssthresh:
                self.window += grown
            elif grown:
                self.window += self.datagram * grown / self.window
        self.pto_count = 0
        return {p.number for p in new}

    def _update_rtt(self, latest: int, ack_delay: int, now: int) -> None:
        latest = max(latest, 1)
        self.latest = latest
        if self.first_sample is None:
            self.minimum = self.smoothed = latest
            self.variance = latest // 2
            self.first_sample = now
            return
        self.minimum = min(self.minimum, latest)
        ack_delay = min(ack_delay, self.max_ack_delay)
        adjusted = latest
        if latest >= self.minimum + ack_delay:
            adjusted = latest - ack_delay
        self.variance = (3 * self.variance + abs(self.smoothed - adjusted)) // 4
        self.smoothed = (7 * self.smoothed + adjusted) // 8

    def _lose(self, now: int) -> list[Packet]:
        self.loss_time = None
        delay = max(max(self.latest, self.smoothed) * 9 // 8, GRANULARITY)
        lost = []
        for packet in list(self.sent.values()):
            if packet.number > self.largest_acked:
                continue
            if not packet.in_flight:
                if self.loss_time is None:  # an ACK alone: it is only forgotten, in order
                    del self.sent[packet.number]
                continue
            if packet.sent <= now - delay or self.largest_acked >= packet.number + 3:
                del self.sent[packet.number]
                self.fate[packet.number] = "lost"
                self.lost_packets[packet.number] = packet
                self.in_flight -= packet.size
                lost.append(packet)
            elif self.loss_time is None or packet.sent + delay < self.loss_time:
                self.loss_time = packet.sent + delay
        if lost:
            newest = max(p.sent for p in lost)
            if newest > self.recovery_start:
                self.recovery_start = now
                self.events += 1
                self.ssthresh = self.window = max(self.window / 2, 2 * self.datagram)
            if self._is_persistent():
                self.persistent += 1
                self.persistent_after = max(p.number for p in lost)
                self.window = 2 * self.datagram
                self.recovery_start = -(1 << 62)
        return lost

    def _is_persistent(self) -> bool:
        """7.6.2, by its words: two lost packets, nothing between them acknowledged."""
        candidates = [
            p
            for n, p in sorted(self.lost_packets.items())
            if n > self.persistent_after
            and p.eliciting
            and self.first_sample is not None
            and p.sent > self.first_sample
        ]
        return any(
            b.sent - a.sent > 3 * self.pto()
            and not any(self.fate.get(n) == "acked" for n in range(a.number, b.number))
            for i, a in enumerate(candidates)
            for b in candidates[i + 1 :]
        )

    def on_timer(self, now: int) -> str | None:
        due = self.timer()
        if due is None or due > now:
            return None
        if self.loss_time is not None:
            self._lose(now)
            return "loss"
        self.pto_count += 1
        return "probe"
