"""Undo what HTTP calls a content encoding, in pieces of bounded size, and one layer of it."""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar

from midstream._core.errors import MalformedStreamError, MidstreamError

if TYPE_CHECKING:
    import httpx2

__all__ = ["PIECE_BYTES", "Inflater", "body_of"]

#: Most bytes that come out at once.
PIECE_BYTES = 1 << 16


class Inflater:
    """Undo gzip and deflate as bytes come, up to a size.

    Parameters
    ----------
    max_bytes : int, optional
        Most that may come out in all.
    place : str, optional
        Where the bytes are from, for messages.

    Attributes
    ----------
    KNOWN : frozenset of str
        Values of ``Content-Encoding`` that can be undone, in lower case.

    Notes
    -----
    A thousand bytes may come of one, so whoever counts what comes out takes `pieces`, and counts
    after each. Not thread-safe.

    Examples
    --------
    >>> Inflater().feed(zlib.compress(b"Once upon"))
    b'Once upon'
    """

    KNOWN: ClassVar[frozenset[str]] = frozenset({"gzip", "x-gzip", "deflate"})

    def __init__(self, max_bytes: int | None = None, *, place: str = "") -> None:
        self._max_bytes = max_bytes
        self._place = place
        self._size = 0
        self._inner: Any = None

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What these bytes decode to, 64 KiB at a time at most.

        Raises
        ------
        MalformedStreamError
            They are not what they are said to be, or too much comes out.
        """
        if self._inner is None and data:
            # The first byte tells: no block of deflate begins as gzip does. What some servers call
            # deflate has no head at all.
            known = data[0] == 0x1F or (data[0] & 15 == 8 and data[0] >> 4 <= 7)
            self._inner = zlib.decompressobj(47 if known else -15)
        piece = b""
        while data or len(piece) == PIECE_BYTES:
            try:
                piece = self._inner.decompress(data, PIECE_BYTES)
            except zlib.error as error:
                raise self._problem(f"not what its encoding says: {error}", large=False) from None
            data = self._inner.unconsumed_tail
            self._size += len(piece)
            if self._max_bytes is not None and self._size > self._max_bytes:
                raise self._problem(f"more than {self._max_bytes} bytes once decoded", large=True)
            if piece:
                yield piece
            if self._inner.eof:
                return

    def feed(self, data: bytes) -> bytes:
        """What these bytes decode to, at once; as `pieces` otherwise."""
        return b"".join(self.pieces(data))

    def _problem(self, message: str, *, large: bool) -> MidstreamError:
        """The error for it; `large` where too much comes out."""
        return MalformedStreamError(message, place=self._place)


async def body_of(response: httpx2.Response, place: str) -> AsyncGenerator[bytes]:
    """Yield the body of a response in pieces of bounded size, decoded.

    Parameters
    ----------
    response : httpx2.Response
        Of which nothing was read yet.
    place : str
        Where it is from, for messages.

    Raises
    ------
    MalformedStreamError
        It has an encoding that is not gzip or deflate, or more than one; or it is not so encoded.
        A client library would undo several, each of which makes a thousand bytes of one.
    httpx2.HTTPError
        The connection broke.
    """
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if response.is_stream_consumed:  # made in this process, by a transport of the caller's
        yield await response.aread()
        return
    if encoding not in ("", "identity") and encoding not in Inflater.KNOWN:
        raise MalformedStreamError(
            f"the answer's encoding {encoding[:40]!r} cannot be read", place=place
        )
    inflater = Inflater(place=place) if encoding in Inflater.KNOWN else None
    async with aclosing(response.aiter_raw()) as chunks:
        async for chunk in chunks:
            if inflater is None:
                yield chunk
                continue
            for piece in inflater.pieces(chunk):
                yield piece
