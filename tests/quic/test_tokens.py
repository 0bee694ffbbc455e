"""Address-validation tokens: what each is bound to, and for how long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midstream.errors import ArgumentTypeError, ArgumentValueError
from midstream.quic._tokens import (
    LIFETIME_S,
    RETRY_LIFETIME_S,
    InvalidRetryTokenError,
    Tokens,
    Validated,
    reset_token,
)

KEY = bytes(range(32))
HOME = ("192.0.2.1", 4433)
ORIGINAL, RETRY = b"original", b"retrycid"


@pytest.fixture
def tokens():
    return Tokens(KEY)


def test_a_retry_token_gives_back_how_the_connection_began(tokens):
    token = tokens.retry(HOME, ORIGINAL, RETRY, now_s=100.0)
    assert tokens.check(token, HOME, RETRY, now_s=100.0 + RETRY_LIFETIME_S) == Validated(
        ORIGINAL, RETRY
    )
    # Another server of the fleet, whose clock is a second behind.
    assert Tokens(KEY).check(token, HOME, RETRY, now_s=99.0) == Validated(ORIGINAL, RETRY)


@pytest.mark.parametrize(
    ("address", "cid", "now_s"),
    [
        (("192.0.2.2", 4433), RETRY, 100.0),
        (("192.0.2.1", 4434), RETRY, 100.0),
        (HOME, ORIGINAL, 100.0),
        (HOME, RETRY + b"x", 100.0),
        (HOME, RETRY, 100.1 + RETRY_LIFETIME_S),
        (HOME, RETRY, 90.0),
    ],
    ids=["other host", "other port", "other id", "longer id", "too late", "from the future"],
)
def test_a_retry_token_is_bound_to_address_id_and_time(tokens, address, cid, now_s):
    token = tokens.retry(HOME, ORIGINAL, RETRY, now_s=100.0)
    with pytest.raises(InvalidRetryTokenError):
        tokens.check(token, address, cid, now_s=now_s)


def test_a_new_token_is_bound_to_the_host_and_taken_once(tokens):
    token = tokens.new(HOME, now_s=0.0)
    assert tokens.check(token, ("192.0.2.9", 4433), b"whatever", now_s=1.0) is None
    assert tokens.check(token, ("192.0.2.1", 9), b"whatever", now_s=LIFETIME_S) == Validated()
    assert tokens.check(token, ("192.0.2.1", 9), b"whatever", now_s=LIFETIME_S) is None
    late = tokens.new(HOME, now_s=0.0)
    assert tokens.check(late, HOME, b"whatever", now_s=LIFETIME_S + 1) is None


def test_no_token_is_ever_taken_twice_though_memory_is_bounded():
    tokens = Tokens(KEY, max_used=100)
    issued = [tokens.new(HOME, now_s=float(second)) for second in range(1000)]
    taken = [token for token in issued if tokens.check(token, HOME, b"", now_s=1000.0)]
    assert taken == issued  # in the order of issue, none suffers
    assert len(tokens._used) <= 100
    assert not any(tokens.check(token, HOME, b"", now_s=1000.0) for token in issued)


def test_tokens_of_other_keys_and_kinds_prove_nothing(tokens):
    other = Tokens()
    assert tokens.check(other.new(HOME, now_s=0.0), HOME, RETRY, now_s=0.0) is None
    with pytest.raises(InvalidRetryTokenError):
        tokens.check(other.retry(HOME, ORIGINAL, RETRY, now_s=0.0), HOME, RETRY, now_s=0.0)
    # A token of one kind that claims to be of the other one.
    new = tokens.new(HOME, now_s=0.0)
    with pytest.raises(InvalidRetryTokenError):
        tokens.check(b"R" + new[1:], HOME, RETRY, now_s=0.0)
    retry = tokens.retry(HOME, ORIGINAL, RETRY, now_s=0.0)
    assert tokens.check(b"N" + retry[1:], HOME, RETRY, now_s=0.0) is None


@given(st.binary(min_size=1, max_size=80))
def test_rubbish_proves_nothing(token):
    tokens = Tokens(KEY)
    try:
        assert tokens.check(token, HOME, RETRY) is None
    except InvalidRetryTokenError:
        assert token[:1] == b"R"


@given(st.data())
def test_a_changed_bit_makes_a_token_worthless(data):
    tokens = Tokens(KEY)
    token = bytearray(tokens.retry(HOME, ORIGINAL, RETRY, now_s=0.0))
    bit = data.draw(st.integers(8, 8 * len(token) - 1))
    token[bit // 8] ^= 1 << bit % 8
    with pytest.raises(InvalidRetryTokenError):
        tokens.check(bytes(token), HOME, RETRY, now_s=0.0)


def test_tokens_hide_what_they_hold(tokens):
    assert ORIGINAL not in tokens.retry(HOME, ORIGINAL, RETRY)
    assert tokens.new(HOME) != tokens.new(HOME)


def test_reset_tokens_need_the_key():
    assert reset_token(KEY, b"12345678") == reset_token(KEY, b"12345678")
    assert len(reset_token(KEY, b"12345678")) == 16
    assert reset_token(KEY, b"12345678") != reset_token(KEY, b"12345679")
    assert reset_token(KEY, b"12345678") != reset_token(KEY[::-1], b"12345678")


def test_keys_are_checked():
    with pytest.raises(ArgumentValueError, match="key must have at least 32 bytes, got 31"):
        Tokens(bytes(31))
    with pytest.raises(ArgumentTypeError, match="key must be bytes, got str"):
        Tokens("secret")
