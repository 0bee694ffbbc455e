"""Commands that a file and the environment configure."""

from __future__ import annotations

import json
import signal
import sys
import tomllib

import pytest
from apps.program import finished, read_until, run, started

from midstream.apps.cli import app
from midstream.apps.configuring import CONFIGURED

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")


def shown(*args, env=None):
    """The settings that are in force, and the lines that say so."""
    done = run(*args, "--show-config", env={"COLUMNS": "300", **(env or {})})
    assert (done.status, done.err) == (0, "")
    return tomllib.loads(done.out), dict(
        line.split(" = ", 1) for line in done.out.splitlines() if " = " in line
    )


def refused(*args, env=None):
    done = run(*args, env={"COLUMNS": "400", **(env or {})})
    assert (done.status, done.out) == (2, "")
    return " ".join(done.err.replace("│", " ").split())


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "midstream.toml"
    path.write_text(
        """
        [proxy]
        upstream = "http://127.0.0.1:9"
        port = 8001
        host = "127.0.0.2"
        rules = ["no-secret"]
        otel = false
        [proxy.limit]
        max_streams = 5
        max_headers = 50
        [serve]
        source = ["sim:story", "sim:loop"]
        """
    )
    return path


def test_the_command_line_before_the_environment_before_the_file(file):
    env = {
        "MIDSTREAM_CONFIG": str(file),
        "MIDSTREAM_PROXY_HOST": "127.0.0.3",
        "MIDSTREAM_PROXY_LIMIT_MAX_STREAMS": "6",
        "MIDSTREAM_PROXY_OTEL": "true",
    }
    settings, lines = shown("proxy", env=env)
    proxy = settings["proxy"]
    assert (proxy["port"], proxy["host"], proxy["otel"]) == (8001, "127.0.0.3", True)
    assert (proxy["limit"]["max_streams"], proxy["limit"]["max_headers"]) == (6, 50)
    assert lines["max_streams"].endswith("# MIDSTREAM_PROXY_LIMIT_MAX_STREAMS")
    assert lines["max_headers"].endswith(f"# {file}")
    assert lines["max_connections"] == "4096  # default"
    assert lines["port"].endswith(f"# {file}")
    assert lines["host"].endswith("# MIDSTREAM_PROXY_HOST")
    assert lines["ending"].endswith("# default")
    more = ("--port", 8002, "--rules", "call-limit", "--limit", "max_streams=7", "--on-loop=note")
    settings, lines = shown("proxy", *more, env=env)
    proxy = settings["proxy"]
    assert (proxy["port"], proxy["rules"], proxy["on_loop"]) == (8002, ["call-limit"], "note")
    assert (proxy["limit"]["max_streams"], proxy["limit"]["max_headers"]) == (7, 50)
    assert lines["port"].endswith("# command line")
    assert lines["max_streams"].endswith("# command line")


def test_what_is_shown_is_a_file_that_says_the_same(tmp_path, file):
    done = run("proxy", "--config", file, "--show-config")
    copy = tmp_path / "copy.toml"
    copy.write_text(done.out)
    assert shown("proxy", "--config", copy)[0] == tomllib.loads(done.out)


def test_arguments(file):
    assert shown("serve", "--config", file)[0]["serve"]["source"] == ["sim:story", "sim:loop"]
    assert shown("serve", "-", "--config", file)[0]["serve"]["source"] == ["-"]
    env = {"MIDSTREAM_PUBLISH_SOURCE": "-", "MIDSTREAM_DASH_SOURCE": '["a", "b"]'}
    assert shown("publish", env=env)[0]["publish"]["source"] == "-"
    assert shown("dash", env=env)[0]["dash"]["source"] == ["a", "b"]
    assert shown("simulate", "loop")[0]["simulate"]["scenario"] == "loop"


@pytest.mark.parametrize("command", CONFIGURED)
def test_every_command_that_serves_has_settings(command):
    need = {"proxy": ("--upstream", "http://x"), "publish": ("-",)}.get(command, ())
    settings, _ = shown(command, *need)
    assert settings[command]["drain" if command != "dash" else "port"] >= 0
    word = refused(command, *need, env={f"MIDSTREAM_{command.upper()}_NONE": "1"})
    assert f"MIDSTREAM_{command.upper()}_NONE is no setting" in word


def test_keys_are_not_shown():
    done = run("serve", "--header", "Authorization: Bearer secret", "--show-config")
    assert 'header = ["Authorization: ..."]' in done.out
    assert "secret" not in done.out


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"MIDSTREAM_PROXY_PORT": "x"}, "(from MIDSTREAM_PROXY_PORT)"),
        ({"MIDSTREAM_PROXY_PORT": "99999"}, "(from MIDSTREAM_PROXY_PORT)"),
        ({"MIDSTREAM_PROXY_ENDING": "sad"}, "(from MIDSTREAM_PROXY_ENDING)"),
        ({"MIDSTREAM_PROXY_LIMIT_NONE": "1"}, "--limit: 'none=1' is not NAME=VALUE"),
        ({"MIDSTREAM_CONFIG": "/none.toml"}, "/none.toml: No such file"),
    ],
)
def test_values_that_cannot_be_used_say_where_they_are_from(env, says):
    assert says in refused("proxy", "--upstream", "http://x", env=env)


@pytest.mark.parametrize(
    ("command", "limit", "says"),
    [
        ("proxy", "none=1", "'none=1' is not NAME=VALUE"),
        ("proxy", "max_streams", "max_streams must be a number, got ''"),
        ("proxy", "max_streams=1e3", "max_streams must be a number, got '1e3'"),
        ("proxy", "max_streams=0", "max_streams must be at least 1, got 0"),
        ("proxy", "idle_timeout_s=nan", "idle_timeout_s must be finite, got nan"),
        ("serve", "threads=0", "threads must be at least 1, got 0"),
        ("mcp", "none=1", "'none=1' is not NAME=VALUE"),
        ("simulate", "none=1", "'none=1' is not NAME=VALUE"),
    ],
)
def test_limits_that_cannot_be_used_are_not_shown_as_if_they_could(command, limit, says):
    need = ("--upstream", "http://x") if command == "proxy" else ()
    assert says in refused(command, *need, "--limit", limit, "--show-config")


def test_what_is_missing_is_missed():
    assert "Missing option '--upstream'" in refused("proxy")


def test_help_is_given_whatever_the_file_holds(tmp_path):
    (tmp_path / "broken.toml").write_text("[")
    done = run("proxy", "--config", tmp_path / "broken.toml", "--help")
    assert done.status == 0
    assert "--show-config" in done.out


@posix
def test_it_serves_as_the_environment_says():
    env = {
        "MIDSTREAM_SIMULATE_PORT": "0",
        "MIDSTREAM_SIMULATE_JSON": "true",
        "MIDSTREAM_SIMULATE_SCENARIO": "loop",
    }
    with started("simulate", env=env) as process:
        assert json.loads(read_until(process.stdout, b"\n"))["type"] == "serving"
        process.send_signal(signal.SIGTERM)
        assert finished(process).status == 128 + signal.SIGTERM


def test_no_command_beside_these_is_configured():
    import typer

    from midstream.apps.commands.configured import Configured

    commands = typer.main.get_command(app).commands
    assert {n for n, c in commands.items() if isinstance(c, Configured)} == set(CONFIGURED)
