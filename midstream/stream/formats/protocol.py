"""What all mappers have in common: one payload of a provider in, events out."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from midstream.stream.events import Event

__all__ = ["Mapper"]


class Mapper(Protocol):
    """Turns the payloads of one provider's stream into events; does no input or output.

    One mapper reads one connection, and tells several answers on it apart: it keeps what payloads
    leave to those after them (the name of a tool whose arguments still come, half a character,
    which texts are not at their end).

    Notes
    -----
    Whatever the payload, nothing is raised and nothing is dropped: a payload gives at least one
    event, the first of which carries it as `Event.data`. What a mapper does not know is a ``text``
    event with empty text. About 1 to 2 microseconds a payload beside the JSON parser's time.
    """

    #: Short name of the API, as in `MAPPERS`.
    api: ClassVar[str]
    #: Sequence number of the next event. May be set, to go on where another mapper left off.
    seq: int
    #: Payloads seen, malformed ones included. May be set likewise.
    count: int

    @property
    def done(self) -> bool:
        """Whether the stream said that it is over, so that nothing more need be read."""

    @property
    def known(self) -> bool:
        """Whether anything was seen that it knows, or said to be malformed."""

    def decode(
        self,
        text: str,
        t_ns: int,
        *,
        offset: int | None = None,
        problem: str | None = None,
        event: str = "",
    ) -> list[Event]:
        """Events of one payload as it came over the wire.

        Parameters
        ----------
        text : str
            JSON, or the provider's end marker; blank text is a heartbeat and gives nothing.
        t_ns : int
            Arrival time, nanoseconds since the request.
        offset : int, optional
            Byte at which it began, for error events.
        problem : str, optional
            What was already found wrong with its bytes.
        event : str, optional
            The server-sent event's name.

        Returns
        -------
        list of Event
            A payload that is not JSON gives an ``error`` event naming the payload's number, place
            and cause, with the text as `data`; the stream can go on after it. NaN and infinities,
            which are not JSON but occur, are None in the payload.
        """

    def events(self, payload: Any, t_ns: int, *, event: str = "") -> list[Event]:
        """Events of one parsed payload; at least one, whatever it is."""

    def failure(self, message: str, t_ns: int, data: Any = None) -> Event:
        """Make the next event an ``error`` with this message."""

    def finish(self, t_ns: int) -> list[Event]:
        """What was held back of texts, to be asked when nothing follows."""

    def cut(self) -> str | None:
        """Say how the stream broke off, to be asked when it is over; None where it ended well."""

    def unknown(self) -> str | None:
        """Say that nothing was of this API, to be asked when it is over; None otherwise."""
