"""Settings: what is taken, in which form, and what is refused with which words."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream.quic.config import Config


def test_defaults_verify() -> None:
    config = Config()
    assert not config.insecure_skip_verify
    assert config.alpn == ("midstream",)
    assert config.versions == ("v1", "v2")


def test_iterables_become_tuples_and_paths_str() -> None:
    pin = "cert-sha256:" + "ab" * 32
    config = Config(alpn=["a", "b"], pins=iter([pin]), keylog=Path("k"), tickets=Path("t"))
    assert (config.alpn, config.pins) == (("a", "b"), (pin,))
    assert (config.keylog, config.tickets) == ("k", "t")


@pytest.mark.parametrize("field", ["ca", "keylog", "qlog", "tickets"])
def test_a_path_may_begin_with_the_users_folder(
    field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert getattr(Config(**{field: Path("~/x")}), field) == str(tmp_path / "x")
    assert getattr(Config(**{field: "x~"}), field) == "x~"


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("alpn", (), "alpn must name at least one, got ()"),
        ("alpn", ("x" * 256,), "alpn must be names of 1 to 255 bytes"),
        ("alpn", ("",), "alpn must be names of 1 to 255 bytes, got ''"),
        ("pins", ("abc",), "pins: 'abc' is neither"),
        ("server_name", "", "server_name must not be empty"),
        ("client_certificates", "maybe", "client_certificates must be one of"),
        ("max_streams_bidi", -1, "max_streams_bidi must be at least 0, got -1"),
        ("max_streams_uni", 1 << 61, "max_streams_uni must be at most"),
        ("send_buffer", 0, "send_buffer must be at least 1, got 0"),
        ("stream_window", 1 << 30, "stream_window must be at most max_stream_window, got"),
        ("connection_window", 1 << 30, "connection_window must be at most max_connection_window"),
        ("keep_alive_s", 60.0, "keep_alive_s must be at most idle_timeout_s, got 60.0 and 30.0"),
        ("idle_timeout_s", 0, "idle_timeout_s must be at least 0.001, got 0"),
        ("idle_timeout_s", float("nan"), "idle_timeout_s must be finite"),
        ("max_datagram_size", 1199, "max_datagram_size must be at least 1200, got 1199"),
        ("congestion_control", "", "congestion_control must not be empty"),
        ("retry", "often", "retry must be one of"),
        ("versions", ("v3",), "versions: unknown 'v3'"),
        ("cipher_suites", ("TLS_AES_128_GCM_SHA",), "did you mean 'TLS_AES_128_GCM_SHA256'"),
    ],
)
def test_refused_value_is_named(field: str, value: object, words: str) -> None:
    with pytest.raises(ArgumentValueError) as caught:
        Config(**{field: value})
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("alpn", "h3"),
        ("alpn", (b"h3",)),
        ("pins", "abc"),
        ("early_data", 1),
        ("max_connections", 1.5),
        ("idle_timeout_s", "30"),
        ("server_name", b"x"),
        ("ca", 3),
        ("ca", "-----BEGIN CERTIFICATE-----"),
        ("qlog", 3),
        ("tickets", 3),
        ("identity", "cert.pem"),
    ],
)
def test_refused_type_is_named(field: str, value: object) -> None:
    with pytest.raises(ArgumentTypeError, match=field):
        Config(**{field: value})


def test_replace_checks_and_leaves_the_first() -> None:
    first = Config(idle_timeout_s=20)
    second = first.replace(idle_timeout_s=40, alpn=["b"])
    assert (first.idle_timeout_s, second.idle_timeout_s, second.alpn) == (20.0, 40.0, ("b",))
    with pytest.raises(ArgumentValueError, match="no field 'idle_timeout' in Config; did you mean"):
        first.replace(idle_timeout=3)
    with pytest.raises(ArgumentValueError, match="idle_timeout_s"):
        first.replace(idle_timeout_s=-3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.idle_timeout_s = 3  # type: ignore[misc]
