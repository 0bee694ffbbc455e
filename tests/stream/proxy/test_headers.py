"""What of a message's headers travels on."""

from __future__ import annotations

import pytest

from midstream.stream.proxy.headers import length_and_encoding, passed_on


def test_headers_of_one_connection_stay_behind():
    headers = [
        (b"host", b"a"),
        (b"Connection", b"x-one, Close"),
        (b"X-One", b"1"),
        (b"x-two", b"2"),
        (b"TE", b"trailers"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Upgrade", b"h2c"),
        (b"x-two", b"3"),
    ]
    assert passed_on(headers) == [(b"host", b"a"), (b"x-two", b"2"), (b"x-two", b"3")]
    assert passed_on(headers, b"x-two") == [(b"host", b"a")]
    assert passed_on([]) == []


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ([], (None, "")),
        ([(b"content-length", b"12"), (b"content-encoding", b"gzip")], (12, "gzip")),
        ([(b"content-length", b"-1")], (None, "")),
        ([(b"content-length", b"1e3")], (None, "")),
        ([(b"content-encoding", b"\xff")], (None, "\xff")),
    ],
)
def test_length_and_encoding(headers, told):
    assert length_and_encoding(headers) == told
