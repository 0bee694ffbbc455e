"""A server's session tickets: bounded, expiring, and each taken out at its first use.

That a ticket can be used once is what keeps early data from being replayed on this server
(RFC 8446, section 8.1): who sends a recorded ClientHello again finds no ticket, has to do a whole
handshake, and what was recorded after it cannot be decrypted. The store is one process's; several
processes behind one address each have their own, and a ticket of another is unknown here.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, final

from midstream._core.validate import check_int

if TYPE_CHECKING:
    from aioquic.tls import SessionTicket

__all__: list[str] = []

# About 2 KB each, with a client's certificate: some 20 MB at the most.
MAX_TICKETS: Final = 10_000


@final
class ServerTickets:
    """The store of one server, shared by all of its connections; safe between threads.

    Parameters
    ----------
    capacity : int, default 10000
        How many tickets are kept; the oldest give way, and their clients do a whole handshake.
    """

    def __init__(self, capacity: int = MAX_TICKETS) -> None:
        self._capacity = check_int("capacity", capacity, low=1)
        self._lock = threading.Lock()
        # Insertion order is the order of expiry, apart from clients whose certificate ends sooner.
        self._tickets: OrderedDict[bytes, SessionTicket] = OrderedDict()
        self.issued = 0
        self.taken = 0
        self.unknown = 0

    def store(self, ticket: SessionTicket) -> None:
        """Keep a ticket that is being sent to a client; O(1)."""
        with self._lock:
            self._tickets[ticket.ticket] = ticket
            self.issued += 1
            while len(self._tickets) > self._capacity:
                self._tickets.popitem(last=False)

    def fetch(self, label: bytes) -> SessionTicket | None:
        """Take a ticket out, for good; None if it is unknown, used or expired. O(1)."""
        with self._lock:
            ticket = self._tickets.pop(label, None)
            if ticket is None or ticket.not_valid_after.timestamp() <= time.time():
                self.unknown += 1
                self._drop_expired()
                return None
            self.taken += 1
            return ticket

    def _drop_expired(self) -> None:
        now = time.time()
        while self._tickets:
            label, oldest = next(iter(self._tickets.items()))
            if oldest.not_valid_after.timestamp() > now:
                return
            del self._tickets[label]

    def __len__(self) -> int:
        return len(self._tickets)

    def __repr__(self) -> str:
        # Tickets are secrets: only their number is told.
        return f"ServerTickets({len(self._tickets)} of {self._capacity})"
