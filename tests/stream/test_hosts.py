"""What a Host header names."""

from __future__ import annotations

import pytest

from midstream.apps.serving.access import Access
from midstream.apps.serving.refusals import Refusal
from midstream.apps.web.access import Access as PageAccess
from midstream.stream.hosts import host_name


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("localhost", "localhost"),
        ("LOCALHOST:8790", "localhost"),
        (" 127.0.0.1:1 ", "127.0.0.1"),
        ("[::1]", "::1"),
        ("[::1]:", "::1"),
        ("[::FFFF:7f00:1]:80", "::ffff:7f00:1"),
        ("bücher.example", "bücher.example"),
    ],
)
def test_names(value, name):
    assert host_name(value) == name


@pytest.mark.parametrize(
    "value",
    ["", ":80", "[::1", "[::1]x", "[::1]:@evil.example", "localhost:@evil.example", "a:b", "a:1:2",
     "evil.example@localhost", "localhost/", "localhost#", "localhost?", "localhost\\", "a b",
     "localhost\0", "[localhost]", "localhost:808080"],
)  # fmt: skip
def test_none(value):
    assert host_name(value) is None
    assert not PageAccess("127.0.0.1").knows_host(value)
    access = Access(hosts=["localhost", "127.0.0.1"])
    with pytest.raises(Refusal):
        access.check([(b"host", value.encode("latin-1"))], b"")


def test_of_two_names_neither_counts():
    access = Access(hosts=["example.org"])
    access.check([(b"host", b"example.org:1")], b"")
    with pytest.raises(Refusal, match="more than one"):
        access.check([(b"host", b"evil.example"), (b"host", b"localhost")], b"")


def test_addresses_with_brackets_and_without():
    for hosts in (["2001:db8::1"], ["[2001:db8::1]"]):
        Access(hosts=hosts).check([(b"host", b"[2001:db8::1]:80")], b"")
