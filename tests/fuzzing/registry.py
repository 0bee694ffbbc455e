"""Entry points for bytes of strangers: what each may raise, and how its input is cut."""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

from midstream.errors import MidstreamError

__all__ = ["TARGETS", "WrongError", "cut", "in_file", "pieces", "target"]

#: Name -> function of bytes, which raises only what is a finding.
TARGETS: dict[str, Callable[[bytes], None]] = {}


class WrongError(AssertionError):
    """A result that must not be."""


def target(*allowed: type[BaseException]):
    """Make an entry point of a function; MidstreamError and `allowed` are its callers' news."""

    def enter(function):
        @functools.wraps(function)
        def run(data: bytes) -> None:
            with warnings.catch_warnings(), contextlib.suppress(MidstreamError, *allowed):
                warnings.simplefilter("ignore")
                function(data)

        TARGETS[function.__name__] = run
        return run

    return enter


def cut(data: bytes, *sizes: int) -> tuple[bytes, ...]:
    """The first bytes, as many as `sizes` say each, and the rest; blanks where there are none."""
    out = []
    for size in sizes:
        head, data = data[:size], data[size:]
        out.append(head.ljust(size, b"\0"))
    return (*out, data)


def pieces(data, size: int):
    """`data` in pieces of `size`, 1 to 64."""
    size = size % 64 + 1
    return [data[at : at + size] for at in range(0, len(data), size)]


@functools.cache
def _folder() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="midstream-fuzzing-")


def in_file(data: bytes, name: str) -> Path:
    """A file with these bytes; the next call with the name has another."""
    path = Path(_folder().name, f"{os.getpid()}-{name}")
    path.write_bytes(data)
    return path
