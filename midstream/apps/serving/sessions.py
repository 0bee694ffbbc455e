"""Clients and their state: an `Agent` each."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable

from midstream.apps.agent import Agent
from midstream.apps.serving.limits import ServingLimits
from midstream.apps.serving.refusals import Refusal

__all__ = ["Allowance", "Session", "Sessions"]

_KEY_BYTES = 16
_MOST_ADDRESSES = 4096


class Allowance:
    """Requests that may still be made, which come back with time.

    Parameters
    ----------
    per_s : float
        How fast; a second's worth, at least one, may be saved up.
    """

    __slots__ = ("_at_s", "_left", "_per_s")

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._left = max(1.0, per_s)
        self._at_s = time.monotonic()

    def spend(self) -> None:
        """Take one.

        Raises
        ------
        Refusal
            There is none left.
        """
        now = time.monotonic()
        left = min(max(1.0, self._per_s), self._left + (now - self._at_s) * self._per_s)
        self._at_s = now
        if left < 1:
            self._left = left
            raise Refusal(
                "rate",
                f"more than {self._per_s:g} requests a second",
                retry_after_s=(1 - left) / self._per_s,
            )
        self._left = left - 1


class Session:
    """One client.

    Attributes
    ----------
    key : str
        Known to the client alone; with it, it comes back. Empty for one that is not kept.
    name : str
        What others know it by.
    lock : asyncio.Lock
        Its requests are answered one after another.
    running : bool
        Whether an analysis goes on that nobody waits for any more.
    refused : int
        Requests refused in a row.
    counted_chars : int
        What `Sessions` counts as kept for it.
    """

    __slots__ = (
        "_agent",
        "_allowance",
        "_make",
        "connections",
        "counted_chars",
        "key",
        "lock",
        "name",
        "refused",
        "running",
        "used_s",
    )

    def __init__(
        self, key: str, name: str, make: Callable[[], Agent], allowance: Allowance
    ) -> None:
        self.key = key
        self.name = name
        self.lock = asyncio.Lock()
        self.running = False
        self.refused = 0
        self.connections = 0
        self.counted_chars = 0
        self.used_s = time.monotonic()
        self._make = make
        self._agent: Agent | None = None
        self._allowance = allowance

    @property
    def kept_chars(self) -> int:
        """Characters that its agent keeps."""
        return 0 if self._agent is None else self._agent.kept_chars

    @property
    def agent(self) -> Agent:
        """Made when it is first needed: who only listens has none."""
        if self._agent is None:
            self._agent = self._make()
        return self._agent

    def spend(self) -> None:
        """Take one request from its allowance.

        Raises
        ------
        Refusal
            There is none left.
        """
        self.used_s = time.monotonic()
        self._allowance.spend()


class Sessions:
    """All clients whose state is kept.

    Parameters
    ----------
    limits : ServingLimits
    make : callable
        Makes an `Agent`.
    """

    def __init__(self, limits: ServingLimits, make: Callable[[], Agent]) -> None:
        self._most = limits.max_sessions
        self._idle_s = limits.session_idle_s
        self._most_chars = limits.max_kept_chars
        self._per_s = limits.requests_per_s
        self._per_address_s = limits.requests_per_address_s
        self._make = make
        self._sessions: dict[str, Session] = {}
        #: Those that are not connected, the one longest idle first.
        self._idle: OrderedDict[str, Session] = OrderedDict()
        #: Characters that are kept for all, as of when each was last counted.
        self.kept_chars = 0
        self._addresses: OrderedDict[str, Allowance] = OrderedDict()
        self._made = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def find(self, key: str) -> Session:
        """The session with a key.

        Raises
        ------
        Refusal
            There is none, or none any more.
        """
        self._forget(0)
        session = self._sessions.get(key)
        if session is None:
            raise Refusal("not_found", "no such session: it ended, or never was")
        session.used_s = time.monotonic()
        if key in self._idle:
            self._idle.move_to_end(key)
        return session

    def open(self) -> Session:
        """A new one.

        Raises
        ------
        Refusal
            There are too many.
        """
        self._forget(1)
        if len(self._sessions) >= self._most:
            raise Refusal("full", "too many clients", retry_after_s=5.0)
        self._made += 1
        key = secrets.token_urlsafe(_KEY_BYTES)
        session = Session(key, f"c{self._made}", self._make, Allowance(self._per_s))
        self._sessions[key] = self._idle[key] = session
        return session

    def of_address(self, address: str) -> Allowance:
        """What an address may ask without a session."""
        allowance = self._addresses.get(address)
        if allowance is None:
            allowance = self._addresses[address] = Allowance(self._per_address_s)
            if len(self._addresses) > _MOST_ADDRESSES:
                self._addresses.popitem(last=False)
        else:
            self._addresses.move_to_end(address)
        return allowance

    def passing(self, address: str) -> Session:
        """One for a single request, which is not kept."""
        return Session("", "", self._make, self.of_address(address))

    def check_room(self, session: Session) -> None:
        """Make room for a message: those longest idle go.

        Raises
        ------
        Refusal
            There is none.
        """
        while self.kept_chars >= self._most_chars:
            oldest = next((each for each in self._idle.values() if each is not session), None)
            if oldest is None:
                raise Refusal("full", "too much is kept for all clients", retry_after_s=5.0)
            self._drop(oldest)

    def count(self, session: Session) -> None:
        """Count what is kept for a session that was asked something."""
        if session.key in self._sessions:
            self.kept_chars += session.kept_chars - session.counted_chars
            session.counted_chars = session.kept_chars

    def _drop(self, session: Session) -> None:
        del self._idle[session.key], self._sessions[session.key]
        self.kept_chars -= session.counted_chars
        session.counted_chars = 0

    def connect(self, session: Session) -> None:
        """Keep it as long as it is connected."""
        session.connections += 1
        self._idle.pop(session.key, None)
        # It may have been forgotten between the request and here.
        self._sessions[session.key] = session
        self.count(session)

    def disconnect(self, session: Session) -> None:
        """Keep it a while longer."""
        session.connections -= 1
        if not session.connections:
            session.used_s = time.monotonic()
            self._idle[session.key] = session

    def _forget(self, room: int) -> None:
        """Those that are over, and the ones longest idle where room is needed."""
        over_s = time.monotonic() - self._idle_s
        while self._idle:
            oldest = next(iter(self._idle.values()))
            if oldest.used_s > over_s and len(self._sessions) + room <= self._most:
                return
            self._drop(oldest)
