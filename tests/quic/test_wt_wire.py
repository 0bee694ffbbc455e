"""Settings, capsules and codes of WebTransport, without a connection."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midstream.quic import _h3_frames as frames
from midstream.quic import _wt_wire as wire
from midstream.quic._h3_errors import Http3ErrorCode, StreamFault
from midstream.quic._wt_wire import Draft, Limits

ALL = wire.settings_for(Draft, 16, Limits(1 << 20, 100, 50))
#: What Chromium 156 sent, reserved settings left out.
CHROMIUM = {0x1: 65536, 0x6: 16384, 0x7: 100, 0x33: 1, 0xFFD277: 1, 0x2B603742: 1}


def test_settings_have_the_code_points_of_the_drafts() -> None:
    assert ALL == {
        0x2B603742: 1,
        0xC671706A: 16,
        0x14E9CD29: 1,
        0x2C7CF000: 1,
        0x2B61: 1 << 20,
        0x2B64: 50,
        0x2B65: 100,
    }
    assert wire.settings_for([Draft.DRAFT_02], 16, Limits()) == {0x2B603742: 1}


def test_the_newest_common_draft_is_chosen() -> None:
    assert wire.negotiate(ALL, ALL) is Draft.DRAFT_15
    assert wire.negotiate(ALL, CHROMIUM) is Draft.DRAFT_02
    assert wire.negotiate(ALL, CHROMIUM | {0xC671706A: 16}) is Draft.DRAFT_07
    assert wire.negotiate(ALL, {0x14E9CD29: 1}) is Draft.DRAFT_13
    assert wire.negotiate(ALL, {0x2C7CF000: 0, 0x33: 1}) is None
    assert wire.negotiate({0x2B603742: 1}, {0x2C7CF000: 1}) is None


def test_sessions_have_limits_where_both_gave_some() -> None:
    assert wire.has_flow_control(Draft.DRAFT_15, ALL, ALL)
    assert not wire.has_flow_control(Draft.DRAFT_15, ALL, {0x2C7CF000: 1})
    assert not wire.has_flow_control(Draft.DRAFT_02, ALL, ALL)
    assert Limits.of({0x2B65: 1 << 61}).streams_bidi == 1 << 60


def test_tokens() -> None:
    assert wire.token(Draft.DRAFT_02) == wire.token(Draft.DRAFT_13) == "webtransport"
    assert wire.token(Draft.DRAFT_15) == "webtransport-h3"


@pytest.mark.parametrize(
    ("code", "http"),
    [
        (0, 0x52E4A40FA8DB),
        (0xFFFFFFFF, 0x52E5AC983162),
        (29, 0x52E4A40FA8F8),
        (30, 0x52E4A40FA8FA),
        (77, 91141958510890),  # by Chromium 156
    ],
)
def test_codes_of_the_draft(code: int, http: int) -> None:
    assert wire.http_code(code) == http
    assert wire.application_code(http) == code


@given(st.integers(0, wire.CODE_MAX))
def test_codes_come_back(code: int) -> None:
    http = wire.http_code(code)
    assert (http - 0x21) % 0x1F != 0
    assert wire.application_code(http) == code


def test_other_codes_are_no_application_s() -> None:
    for code in (0, wire.SESSION_GONE, 0x52E4A40FA8F9, 0x52E4A40FA8DA, 0x52E5AC983163):
        assert wire.application_code(code) is None


def test_headers_of_streams() -> None:
    assert wire.stream_header(True, 0).hex() == "405400"
    assert wire.stream_header(False, 64).hex() == "40414040"


@given(st.integers(0, wire.CODE_MAX), st.text())
def test_closes_come_back(code: int, reason: str) -> None:
    payload = wire.close_capsule(code, reason.encode(errors="ignore").decode())
    got = wire.parse_close(payload)
    assert got[0] == code
    assert reason.encode(errors="ignore").decode().startswith(got[1])


def test_a_long_reason_is_cut_between_characters() -> None:
    payload = wire.close_capsule(1, "é" + "x" * 1021 + "é")
    assert len(payload) == 4 + 1023
    assert wire.parse_close(payload)[1].endswith("x")


def test_the_close_of_chromium() -> None:
    reader = frames.CapsuleReader(wire.CAPSULE_LIMIT, wire.KNOWN)
    [(kind, payload)] = reader.feed(b"hC\x07\x00\x00\x00*bye")
    assert kind == wire.CLOSE_SESSION
    assert wire.parse_close(payload) == (42, "bye")


@pytest.mark.parametrize("payload", [b"", b"\0\0\0", bytes(1029), b"\0\0\0\0\xff"])
def test_malformed_closes(payload: bytes) -> None:
    with pytest.raises(StreamFault) as caught:
        wire.parse_close(payload)
    assert caught.value.code == Http3ErrorCode.H3_MESSAGE_ERROR


def test_flow_control_capsules() -> None:
    kind, payload = wire.flow_capsule(wire.MAX_STREAMS_UNI, 1000)
    assert wire.parse_flow(kind, payload) == 1000
    assert wire.parse_flow(*wire.flow_capsule(wire.MAX_DATA, 1 << 61)) == 1 << 61
    for kind, payload, code in (
        (0x190B4D3E, b"\0", wire.FLOW_CONTROL_ERROR),
        (wire.MAX_STREAMS_BIDI, frames.encode_varint((1 << 60) + 1), wire.FLOW_CONTROL_ERROR),
        (wire.MAX_DATA, b"", Http3ErrorCode.H3_MESSAGE_ERROR),
        (wire.MAX_DATA, b"\0\0", Http3ErrorCode.H3_MESSAGE_ERROR),
    ):
        with pytest.raises(StreamFault) as caught:
            wire.parse_flow(kind, payload)
        assert caught.value.code == code


@pytest.mark.parametrize(
    ("field", "names"),
    [
        ('"a"', ("a",)),
        ('"moq-00", "moq-01";q=1 ,"a \\"b\\\\"', ("moq-00", "moq-01", 'a "b\\')),
        ("", ()),
        ("a", ()),
        ('"a",', ()),
        ('"a" "b"', ()),
        ('"a", 1', ()),
        ('"ä"', ()),
    ],
)
def test_lists_of_protocols(field: str, names: tuple[str, ...]) -> None:
    assert wire.parse_protocols(field) == names
    if names:
        assert wire.parse_protocols(wire.protocol_fields(names)) == names


def test_one_protocol() -> None:
    assert wire.parse_protocol('"a"') == "a"
    assert wire.parse_protocol('"a", "b"') is None


@given(st.text(max_size=80))
def test_any_field_is_read_without_an_error(field: str) -> None:
    wire.parse_protocols(field)
