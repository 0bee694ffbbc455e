"""The priority scheme of RFC 9218: urgency and incremental delivery."""

from __future__ import annotations

import re
from dataclasses import dataclass

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_int

__all__ = ["Priority"]

# The grammar of RFC 8941, section 3: a dictionary of items with parameters. Inner lists are taken
# as a whole, since no member that RFC 9218 defines is one.
_KEY = re.compile(r"[a-z*][a-z0-9_.*-]*")
_ITEM = re.compile(
    r"""
      (?P<decimal>-?[0-9]{1,12}\.[0-9]{1,3})(?![0-9.])
    | (?P<integer>-?[0-9]{1,15})(?![0-9.])
    | (?P<boolean>\?[01])
    | (?P<string>"(?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*")
    | (?P<token>[A-Za-z*][A-Za-z0-9!\#$%&'*+.^_`|~:/-]*)
    | (?P<binary>:[A-Za-z0-9+/=]*:)
    """,
    re.VERBOSE,
)
_SPACE = " \t"


@dataclass(frozen=True, order=True)
class Priority:
    """How urgent a stream is, and whether its parts are useful as they come (RFC 9218, section 4).

    Objects order by what is sent first.

    Parameters
    ----------
    urgency : int
        0 to 7; a smaller number is sent first. 3 is what nothing special has.
    incremental : bool
        Streams of one urgency: those that are not incremental are sent one after the other, in
        the order in which they were opened; incremental ones share, packet by packet.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        No integer from 0 to 7, or no bool.

    Examples
    --------
    >>> from midstream.quic import Priority
    >>> Priority(urgency=1, incremental=True).header()
    'u=1, i'
    >>> Priority.parse("u=5, i, later=(1 2);x")
    Priority(urgency=5, incremental=True)
    """

    urgency: int = 3
    incremental: bool = False

    def __post_init__(self) -> None:
        """Check both fields."""
        object.__setattr__(self, "urgency", check_int("urgency", self.urgency, low=0, high=7))
        if not isinstance(self.incremental, bool):
            raise ArgumentTypeError(f"incremental must be a bool, got {self.incremental!r}")

    @classmethod
    def parse(cls, header: str | bytes) -> Priority:
        """The priority that a ``priority`` header, or a PRIORITY_UPDATE frame, asks for.

        Members that are unknown, out of range or of another type are passed over, as RFC 9218,
        section 4, asks; of a member that comes twice the last one counts.

        Parameters
        ----------
        header : str or bytes
            The field's value: a dictionary of structured fields (RFC 8941, section 3.2).

        Returns
        -------
        Priority

        Raises
        ------
        ArgumentTypeError
            Neither str nor bytes.
        ArgumentValueError
            Not such a dictionary. A server takes the default priority then.

        Notes
        -----
        Takes time in proportion to the header's length.

        Examples
        --------
        >>> from midstream.quic import Priority
        >>> Priority.parse("") == Priority()
        True
        >>> Priority.parse("u=9, i=?0").urgency
        3
        >>> Priority.parse("u=")
        Traceback (most recent call last):
        midstream._core.errors.ArgumentValueError: header: expected a value at character 2 of 'u='
        """
        if isinstance(header, bytes):
            try:
                header = header.decode("ascii")
            except UnicodeDecodeError:
                raise ArgumentValueError(f"header must be ASCII, got {header!r}") from None
        if not isinstance(header, str):
            raise ArgumentTypeError(f"header must be str or bytes, got {header!r}")
        members = _dictionary(header)
        urgency, incremental = members.get("u"), members.get("i")
        # bool is an int for Python, and another type for structured fields.
        in_range = isinstance(urgency, int) and not isinstance(urgency, bool) and 0 <= urgency <= 7
        return cls(
            urgency if in_range and isinstance(urgency, int) else 3,
            incremental if isinstance(incremental, bool) else False,
        )

    def header(self) -> str:
        """The value of a ``priority`` header; empty for the default, which needs none.

        Returns
        -------
        str

        Examples
        --------
        >>> from midstream.quic import Priority
        >>> Priority(0).header(), Priority(3).header(), Priority(3, True).header()
        ('u=0', '', 'i')
        """
        parts = [f"u={self.urgency}"] if self.urgency != 3 else []
        if self.incremental:
            parts.append("i")
        return ", ".join(parts)


def _dictionary(text: str) -> dict[str, int | bool | str]:
    """Members of a structured dictionary (RFC 8941, section 4.2.2); an inner list is its text."""
    members: dict[str, int | bool | str] = {}
    end = len(text.rstrip(" "))
    at = len(text) - len(text.lstrip(" "))
    while at < end:
        key = _KEY.match(text, at, end)
        if key is None:
            raise _expected("a key", text, at)
        at = key.end()
        value: int | bool | str = True
        if at < end and text[at] == "=":
            value, at = _value(text, at + 1, end)
        members[key.group()] = value
        at = _skip(text, _parameters(text, at, end), end)
        if at >= end:
            break
        if text[at] != ",":
            raise _expected("a comma", text, at)
        at = _skip(text, at + 1, end)
        if at >= end:
            raise _expected("a member after the comma", text, at)
    return members


def _value(text: str, at: int, end: int) -> tuple[int | bool | str, int]:
    if at < end and text[at] == "(":
        start, at = at, at + 1
        while True:
            at = _skip(text, at, end, " ")
            if at < end and text[at] == ")":
                return text[start : at + 1], at + 1
            _, at = _bare(text, at, end)
            at = _parameters(text, at, end)
            if at >= end or text[at] not in " )":
                raise _expected("a space or ')'", text, at)
    return _bare(text, at, end)


def _bare(text: str, at: int, end: int) -> tuple[int | bool | str, int]:
    item = _ITEM.match(text, at, end)
    if item is None:
        raise _expected("a value", text, at)
    word = item.group()
    if item.lastgroup == "integer":
        return int(word), item.end()
    if item.lastgroup == "boolean":
        return word == "?1", item.end()
    return word, item.end()


def _parameters(text: str, at: int, end: int) -> int:
    """Where the parameters of an item end; RFC 9218 gives none a meaning."""
    while at < end and text[at] == ";":
        at = _skip(text, at + 1, end, " ")
        key = _KEY.match(text, at, end)
        if key is None:
            raise _expected("a parameter", text, at)
        at = key.end()
        if at < end and text[at] == "=":
            _, at = _bare(text, at + 1, end)
    return at


def _skip(text: str, at: int, end: int, marks: str = _SPACE) -> int:
    while at < end and text[at] in marks:
        at += 1
    return at


def _expected(what: str, text: str, at: int) -> ArgumentValueError:
    # Headers come from peers: as much of one as a message needs.
    shown = text if len(text) <= 80 else text[:77] + "..."
    return ArgumentValueError(f"header: expected {what} at character {at} of {shown!r}")
