"""The two halves of a QUIC stream, one byte at a time: slow, and plain enough to be believed."""

from __future__ import annotations

from enum import Enum


class State(Enum):
    UNSENT = "unsent"
    FLYING = "flying"
    LOST = "lost"
    ACKED = "acked"


class NaiveSender:
    """Every byte written, and what became of it."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.states: list[State] = []
        self.fin = False
        self.fin_state = State.UNSENT

    def write(self, data: bytes) -> None:
        self.data += data
        self.states += [State.UNSENT] * len(data)

    @property
    def base(self) -> int:
        for offset, state in enumerate(self.states):
            if state is not State.ACKED:
                return offset
        return len(self.states)

    @property
    def next(self) -> int:
        return sum(state is not State.UNSENT for state in self.states)

    @property
    def all_acked(self) -> bool:
        return self.fin_state is State.ACKED and self.base == len(self.data)

    @property
    def has_pending(self) -> bool:
        return (
            State.LOST in self.states
            or State.UNSENT in self.states
            or (self.fin and self.fin_state in (State.UNSENT, State.LOST))
        )

    def frame(self, max_bytes: int, max_offset: int) -> tuple[int, bytes, bool] | None:
        if State.LOST in self.states:
            start = self.states.index(State.LOST)
            wanted, last = State.LOST, len(self.data)
            if max_bytes == 0:
                return None
        else:
            start, wanted, last = self.next, State.UNSENT, max_offset
        stop = start
        while (
            stop < min(len(self.data), last)
            and stop - start < max_bytes
            and self.states[stop] is wanted
        ):
            self.states[stop] = State.FLYING
            stop += 1
        fin = self.fin and self.fin_state is not State.ACKED and stop == len(self.data)
        if start == stop and not (fin and self.fin_state in (State.UNSENT, State.LOST)):
            return None
        if fin:
            self.fin_state = State.FLYING
        return start, bytes(self.data[start:stop]), fin

    def acked(self, offset: int, length: int, fin: bool) -> None:
        self.states[offset : offset + length] = [State.ACKED] * length
        if fin:
            self.fin_state = State.ACKED

    def lost(self, offset: int, length: int, fin: bool) -> None:
        for at in range(offset, offset + length):
            if self.states[at] is State.FLYING:
                self.states[at] = State.LOST
        if fin and self.fin_state is State.FLYING:
            self.fin_state = State.LOST


class NaiveReceiver:
    """A slot for each byte."""

    def __init__(self) -> None:
        self.slots: dict[int, int] = {}
        self.consumed = 0
        self.highest = 0
        self.final_size: int | None = None

    def insert(self, offset: int, data: bytes, fin: bool) -> bool:
        """Whether the frame keeps the rules of RFC 9000, section 4.5."""
        stop = offset + len(data)
        if self.final_size is not None and (
            stop > self.final_size or (fin and stop != self.final_size)
        ):
            return False
        if fin:
            if stop < self.highest:
                return False
            self.final_size = stop
        self.highest = max(self.highest, stop)
        for at, byte in enumerate(data, offset):
            self.slots[at] = byte
        return True

    @property
    def contiguous(self) -> int:
        at = self.consumed
        while at in self.slots:
            at += 1
        return at

    def take(self, limit: int) -> bytes:
        stop = self.contiguous
        if limit >= 0:
            stop = min(stop, self.consumed + limit)
        taken = bytes(self.slots[at] for at in range(self.consumed, stop))
        self.consumed = stop
        return taken
