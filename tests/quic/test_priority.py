"""RFC 9218 priorities: both directions of the header, and what is passed over."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream.quic.priority import Priority


@pytest.mark.parametrize(
    ("header", "urgency", "incremental"),
    [
        ("", 3, False),
        ("  ", 3, False),
        ("u=0", 0, False),
        ("i", 3, True),
        ("u=5, i", 5, True),
        ("u=5,i=?1", 5, True),
        ("i=?0,\tu=7", 7, False),
        (b"u=2, i", 2, True),
        # Out of range or of another type: passed over (section 4).
        ("u=8, i", 3, True),
        ("u=-1", 3, False),
        ("u=1.0", 3, False),
        ("u=?1", 3, False),
        ("u", 3, False),
        ('u="1"', 3, False),
        ("i=1", 3, False),
        ("i=tok", 3, False),
        # Unknown members, every kind of item, parameters.
        ('a=1;b=2, c="x\\"y";d, e=:YQ==:, f=(1 "2" tok);g=?0, *h=t/x, u=1;q=3, i', 1, True),
        ("f=(), u=1", 1, False),
        # The last one counts (RFC 8941, section 4.2.2).
        ("u=1, u=4", 4, False),
        ("u=1, u=9", 3, False),
    ],
)
def test_parse(header: str | bytes, urgency: int, incremental: bool) -> None:
    assert Priority.parse(header) == Priority(urgency, incremental)


@pytest.mark.parametrize(
    "header",
    ["u=", "u=1,", ",", "U=1", "u=1 i", "u=1;", "a=(1", "a=(1,2)", 'a="x', "u=1.2345", "=1"],
)
def test_parse_names_the_place(header: str) -> None:
    with pytest.raises(ArgumentValueError, match=r"header: expected .* at character \d+ of"):
        Priority.parse(header)


def test_parse_refuses_other_types_and_other_bytes() -> None:
    with pytest.raises(ArgumentTypeError, match="header must be str or bytes, got 3"):
        Priority.parse(3)  # type: ignore[arg-type]
    with pytest.raises(ArgumentValueError, match="header must be ASCII"):
        Priority.parse(b"u=\xff")


@given(st.integers(0, 7), st.booleans())
def test_header_and_parse_are_inverse(urgency: int, incremental: bool) -> None:
    priority = Priority(urgency, incremental)
    assert Priority.parse(priority.header()) == priority


@given(st.text(alphabet='uia=0123456789?;,()": \t*.-', max_size=40))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        priority = Priority.parse(text)
    except ArgumentValueError:
        return
    assert 0 <= priority.urgency <= 7


def test_order_is_the_order_of_sending() -> None:
    assert sorted([Priority(3), Priority(0), Priority(7)])[0] == Priority(0)


@pytest.mark.parametrize("urgency", [-1, 8])
def test_urgency_range(urgency: int) -> None:
    with pytest.raises(ArgumentValueError, match=f"urgency must be at .*, got {urgency}"):
        Priority(urgency)


def test_types() -> None:
    with pytest.raises(ArgumentTypeError, match="urgency"):
        Priority("1")  # type: ignore[arg-type]
    with pytest.raises(ArgumentTypeError, match="incremental must be a bool, got 1"):
        Priority(3, 1)  # type: ignore[arg-type]
