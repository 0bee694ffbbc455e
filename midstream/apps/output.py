"""Standard output and standard error: whole texts at once, and nothing that hijacks a terminal."""

from __future__ import annotations

import os
import re
import select
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from midstream.errors import MidstreamError

__all__ = [
    "Interrupted",
    "Output",
    "OutputClosed",
    "OutputFailed",
    "escape",
    "one_line",
    "tell_error",
    "telling_warnings",
    "wants_color",
]

#: What moves the cursor or colours, and what turns the direction of writing.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_LINE_END = re.compile(r"\r(?=\n)")


def escape(text: str) -> str:
    r"""Make control characters visible, newline and tab apart: ``\x1b`` for ESC.

    Terminals obey them; text that somebody else wrote must not give orders. Those that turn the
    direction of writing, which make text look like other text, are among them. The CR of a CR LF
    is dropped.

    Examples
    --------
    >>> escape("plain\ttext\r\n"), escape("\x1b[2J"), escape("\u202e")
    ('plain\ttext\n', '\\x1b[2J', '\\u202e')
    """
    if _CONTROL.search(text) is None:
        return text
    return _CONTROL.sub(_visible, _LINE_END.sub("", text))


def _visible(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def one_line(text: str) -> str:
    r"""`escape` that shows newline and tab as ``\n`` and ``\t`` too.

    Examples
    --------
    >>> one_line("a\nb")
    'a\\nb'
    """
    return escape(text).replace("\n", "\\n").replace("\t", "\\t")


class OutputClosed(Exception):  # noqa: N818 - no error: whoever read has read enough
    """Nobody reads standard output any more, as after ``| head``."""


class OutputFailed(MidstreamError):  # noqa: N818
    """Standard output cannot be written."""


class Interrupted(BaseException):
    """A signal came while, or before, a write waited for somebody to read.

    Parameters
    ----------
    number : int
        Of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Output:
    """One of the standard streams.

    Parameters
    ----------
    stream : text file or None
        ``sys.stdout`` or ``sys.stderr``, which are None where the descriptor was closed at the
        start; then nothing is written.
    name : str
        What messages call it.

    Attributes
    ----------
    tty : bool
        Whether a terminal is at the other end.
    blocked : bool
        Whether a write is under way: it may last as long as nobody reads.
    signalled : int
        Number of the signal after which no further write may begin; 0 for none.
    """

    def __init__(self, stream: TextIO | None, name: str) -> None:
        self.stream = stream
        self.tty = stream is not None and stream.isatty()
        self.blocked = False
        self.signalled = 0
        self._name = name
        # A pipe gets what the stream said, in the encoding in which it came.
        self._encoding = (stream.encoding if stream is not None and self.tty else None) or "utf-8"
        buffer = getattr(stream, "buffer", None)
        # Nothing may stay in a buffer: after a failure, Python's exit would try to write it again.
        self._raw = getattr(buffer, "raw", buffer)

    def encodes(self, text: str) -> bool:
        """Whether the output has all of these characters."""
        try:
            text.encode(self._encoding)
        except UnicodeEncodeError:
            return False
        return True

    def shares_file(self, other: Output) -> bool:
        """Whether both end in the same place, as after ``2>&1``."""
        if self.stream is None or other.stream is None:
            return False
        try:
            return os.path.sameopenfile(self.stream.fileno(), other.stream.fileno())
        except OSError:  # no descriptor behind it
            return False

    def write(self, text: str) -> None:
        """Write a text, at once and whole.

        Raises
        ------
        OutputClosed
            Nobody reads any more.
        OutputFailed
            Another reason, such as a full disk.
        Interrupted
            A signal forbids it.
        """
        if self._raw is None:
            return
        rest = memoryview(text.encode(self._encoding, "backslashreplace"))
        # In this order, a signal at any moment either finds `blocked` or is found here.
        self.blocked = True
        try:
            if self.signalled:
                raise Interrupted(self.signalled)
            while rest:
                written = self._raw.write(rest)
                if written is None:  # another program has made the descriptor non-blocking
                    select.select([], [self._raw], [])
                else:
                    rest = rest[written:]
        except BrokenPipeError:
            raise OutputClosed from None
        except OSError as error:
            raise OutputFailed(f"{self._name}: {error.strerror or error}") from None
        finally:
            self.blocked = False


@contextmanager
def telling_warnings() -> Iterator[None]:
    """Write what is warned of meanwhile to standard error, as ``warning: cause``, at the end."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        try:
            yield
        finally:
            for warning in caught:
                _tell(f"warning: {one_line(str(warning.message))}\n")


def wants_color(no_color: bool) -> bool:
    """Whether there may be colours: neither the option nor the environment forbids them.

    Any value of NO_COLOR but the empty one counts: https://no-color.org
    """
    return not no_color and not os.environ.get("NO_COLOR")


def tell_error(error: BaseException | str) -> None:
    """Write ``error: place: cause`` to standard error."""
    _tell(f"error: {one_line(str(error))}\n")


def _tell(line: str) -> None:
    stderr = Output(sys.stderr, "standard error")
    try:
        stderr.write(line)
    except (OutputClosed, OutputFailed):
        return  # nobody is left to tell; the exit status says it
