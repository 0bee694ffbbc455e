"""Settings from a file and from the environment."""

from __future__ import annotations

import pytest

from midstream.apps.configuring import (
    Given,
    Setting,
    arguments,
    from_environment,
    from_file,
    merged,
)
from midstream.errors import ArgumentValueError

PORT = Setting("port", "--port")
OTEL = Setting("otel", "--otel", is_flag=True)
NEAR = Setting("near", "--near", "--no-near", is_flag=True)
RULES = Setting("rules", "--rules", is_many=True)
LIMIT = Setting("limit", "--limit", is_many=True)
SOURCE = Setting("source", is_many=True)
ALL = [PORT, OTEL, NEAR, RULES, LIMIT, SOURCE]
SECTIONS = ("proxy", "serve")


def read(tmp_path, text, section="proxy"):
    path = tmp_path / "settings.toml"
    path.write_text(text)
    return from_file(path, section, SECTIONS, ALL)


def test_a_file(tmp_path):
    text = """
        [serve]
        whatever = 1
        [proxy]
        port = 8790
        otel = true
        near = false
        rules = ["a.toml", "b"]
        source = "-"
        [proxy.limit]
        max_streams = 5
        idle_timeout_s = 2.5
    """
    found = read(tmp_path, text)
    assert found["port"].texts == ("8790",)
    assert found["port"].origin.endswith("settings.toml")
    assert (found["otel"].flag, found["near"].flag) == (True, False)
    assert found["rules"].texts == ("a.toml", "b")
    assert found["limit"].texts == ("max_streams=5", "idle_timeout_s=2.5")
    before, after = arguments(ALL, found, ())
    assert before == [
        "--port=8790",
        "--otel",
        "--no-near",
        "--rules=a.toml",
        "--rules=b",
        "--limit=max_streams=5",
        "--limit=idle_timeout_s=2.5",
    ]
    assert after == ["-"]
    assert read(tmp_path, "") == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[proxy]\nprot = 1", "prot in [proxy] is no setting; did you mean 'port'?"),
        ("[prox]\nport = 1", "[prox] is no command with settings; did you mean 'proxy'?"),
        ("proxy = 3", "proxy must be a table, [proxy]"),
        ("port = 3", "[port] is no command with settings"),
        ("[proxy]\nport = [1, 2]", "port in [proxy] must be one value, got [1, 2]"),
        ("[proxy]\nport = true", "must be a text or a number, got True"),
        ("[proxy]\nport = 2026-01-01", "must be a text or a number, got datetime.date"),
        ("[proxy]\notel = 1", "otel in [proxy] must be true or false, got 1"),
        ("[proxy]\nrules = [[1]]", "must be a text or a number, got [1]"),
        ("[proxy.limit]\nmax_streams = [1]", "limit in [proxy].max_streams must be a text"),
        ("[proxy.rules]\na = 1", "rules in [proxy] must be a text or a number"),
        ("[proxy\nport = 1", "line 1"),
        ("x = '\udcff'", "utf-8"),
        ("x = " + "9" * 5000, "4300 digits"),
        ("x = " + "[" * 100_000, "recursion"),
        (f"# {'x' * (1 << 20)}", "more than 1,048,576 bytes"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, text, says):
    path = tmp_path / "settings.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ArgumentValueError) as raised:
        from_file(path, "proxy", SECTIONS, ALL)
    assert str(raised.value).startswith(f"{path}: ")
    assert says in str(raised.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ArgumentValueError, match=r"none\.toml: No such file"):
        from_file(tmp_path / "none.toml", "proxy", SECTIONS, ALL)


def test_the_environment():
    found = from_environment(
        {
            "MIDSTREAM_PROXY_PORT": "8790",
            "MIDSTREAM_PROXY_OTEL": "Yes",
            "MIDSTREAM_PROXY_NEAR": "0",
            "MIDSTREAM_PROXY_RULES": ' ["a b.toml", "c"]',
            "MIDSTREAM_PROXY_SOURCE": "",
            "MIDSTREAM_PROXY_LIMIT": "max_headers=9",
            "MIDSTREAM_PROXY_LIMIT_MAX_STREAMS": "7",
            "MIDSTREAM_SERVE_WHATEVER": "1",
            "MIDSTREAM_SIMD": "scalar",
            "PORT": "1",
        },
        "proxy",
        ALL,
    )
    assert set(found) == {"port", "otel", "near", "rules", "limit"}
    assert found["port"] == Given(("8790",), None, "MIDSTREAM_PROXY_PORT")
    assert (found["otel"].flag, found["near"].flag) == (True, False)
    assert found["rules"].texts == ("a b.toml", "c")
    assert found["limit"].texts == ("max_headers=9", "max_streams=7")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("PROT", "1", "MIDSTREAM_PROXY_PROT is no setting; did you mean 'MIDSTREAM_PROXY_PORT'?"),
        ("OTEL", "maybe", "MIDSTREAM_PROXY_OTEL must be true or false, got 'maybe'"),
        ("RULES", "[1", "MIDSTREAM_PROXY_RULES must be a value, or a TOML array of them"),
        ("RULES", "[" * 100_000, "MIDSTREAM_PROXY_RULES must be a value, or a TOML array of them"),
        ("RULES", '["a"]\nb = 1', "MIDSTREAM_PROXY_RULES must be a value, or a TOML array"),
        ("RULES", "[true]", "MIDSTREAM_PROXY_RULES must be a text or a number, got True"),
        # What Kubernetes says of a Service of this name.
        ("PORT", "tcp://10.0.0.1:80", "set enableServiceLinks: false"),
        ("SERVICE_HOST", "10.0.0.1", "set enableServiceLinks: false"),
        ("SERVICE_PORT_HTTP", "80", "set enableServiceLinks: false"),
        ("PORT_80_TCP_ADDR", "10.0.0.1", "set enableServiceLinks: false"),
    ],
)
def test_variables_that_cannot_be_used(name, text, says):
    with pytest.raises(ArgumentValueError) as raised:
        from_environment({f"MIDSTREAM_PROXY_{name}": text}, "proxy", ALL)
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MIDSTREAM_PROXI_PORT", "MIDSTREAM_PROXY_PORT"),
        ("MIDSTREAM_PRXY_OTEL", "MIDSTREAM_PROXY_OTEL"),
        ("MIDSTREAM_PROXXY_LIMIT_MAX_STREAMS", "MIDSTREAM_PROXY_LIMIT_MAX_STREAMS"),
    ],
)
def test_a_command_that_is_misspelt(name, meant):
    with pytest.raises(ArgumentValueError) as raised:
        from_environment({name: "1"}, "proxy", ALL)
    assert str(raised.value) == f"{name} names no command; did you mean {meant!r}?"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("MIDSTREAM_SERVE_PORT", "1"),
        ("MIDSTREAM_PUBLISH_PORT", "1"),
        ("MIDSTREAM_PROXI_NOTHING", "1"),
        ("MIDSTREAM_PROXY2_PORT", "tcp://10.0.0.1:80"),
        ("MIDSTREAM_OTHER_PORT", "1"),
        ("MIDSTREAM_SIMD", "scalar"),
        ("PROXI_PORT", "1"),
        ("MIDSTREAM_PROXI_PORT", ""),
    ],
)
def test_variables_that_are_for_others(name, text):
    assert from_environment({name: text}, "proxy", ALL) == {}


def test_what_counts_before_what():
    file = {
        "port": Given(("1",), None, "file"),
        "rules": Given(("a",), None, "file"),
        "limit": Given(("x=1", "y=1"), None, "file"),
    }
    environment = {
        "port": Given(("2",), None, "env"),
        "limit": Given(("x=2",), None, "env"),
    }
    both = merged(file, environment)
    assert both["port"].texts == ("2",)
    assert both["rules"].texts == ("a",)
    assert both["limit"].texts == ("x=1", "y=1", "x=2")
    assert (both["limit"].origin, both["limit"].places) == ("file, env", ("file", "file", "env"))
    # Of what the command line says itself, only limits are added: the last of a name counts.
    before, after = arguments(ALL, both, ("port", "limit"))
    assert before == ["--rules=a", "--limit=x=1", "--limit=y=1", "--limit=x=2"]
    assert after == []
