"""The list of limits names each limit of each server, with the default that it has."""

from __future__ import annotations

import dataclasses
import re

import pytest

pytest.importorskip("uvicorn", reason="the servers need the extra 'serve'")
pytest.importorskip("mcp", reason="the tools need the extra 'mcp'")
pytest.importorskip("starlette", reason="the dashboard needs the extra 'ui'")

from midstream.apps import health, publish, telling
from midstream.apps.guides import all_guides
from midstream.apps.serving import ServingLimits
from midstream.apps.simulated import SimulationLimits
from midstream.apps.tools_server import ToolLimits
from midstream.apps.web import access, application, dashboard, http
from midstream.quic import Config
from midstream.stream import quic
from midstream.stream.proxy import ProxyLimits
from midstream.stream.simulating import endpoint

(GUIDE,) = [guide for guide in all_guides() if guide.topic == "limits"]
SECTIONS = {
    heading.split("\n", 1)[0]: heading for heading in GUIDE.path.read_text("utf-8").split("\n## ")
}
#: What of a connection's configuration bounds it.
QUIC = {
    "max_streams_bidi",
    "max_streams_uni",
    "stream_window",
    "connection_window",
    "max_stream_window",
    "max_connection_window",
    "send_buffer",
    "idle_timeout_s",
    "handshake_timeout_s",
    "datagram_queue",
    "max_connections",
    "max_handshakes",
}


def shown(name, value):
    """A default as people read it."""
    if name.startswith("requests_per"):
        return f"{value:,g} a second"
    if name.endswith("_s"):
        return f"{value:,g} s"
    if "bytes" in name or "window" in name or name == "send_buffer":
        for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
            if value >= size and value % size == 0:
                return f"{value // size} {unit}"
    return f"{value:,}"


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        ("`midstream proxy`", ProxyLimits),
        ("`midstream serve`", ServingLimits),
        ("`midstream mcp`", ToolLimits),
        ("`midstream simulate`", SimulationLimits),
        ("`midstream publish`, and QUIC", Config),
    ],
)
def test_every_limit_is_there_with_its_default(section, kind):
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|$", SECTIONS[section], re.MULTILINE)
    wanted = {
        field.name: shown(field.name, field.default)
        for field in dataclasses.fields(kind)
        if kind is not Config or field.name in QUIC
    }
    assert {name: default for name, default, _ in rows} == wanted
    assert kind.__name__ in SECTIONS[section]


def test_limits_without_a_name_are_as_they_are_said_to_be():
    dash = SECTIONS["`midstream dash --web`"]
    for text, value in (
        ("readers of the feed | 256 |", application._MOST_READERS),
        ("sessions over WebTransport | 64 |", dashboard._MOST_SESSIONS),
        ("head of a request | 32 KiB, 10 s |", dashboard._MOST_HEAD_BYTES >> 10),
        ("32 KiB, 10 s |", int(http.HEAD_S)),
        ("a token that is shown | 4 KiB, 10 s |", application._MOST_LOGIN_BYTES >> 10),
        ("4 KiB, 10 s |", int(application._LOGIN_S)),
        ("wrong tokens of one address in a minute | 10 |", access._WRONG),
        ("logins that are remembered | 256, for 7 days |", access._MOST_SESSIONS),
        ("256, for 7 days |", access._SESSION_S // 86_400),
        ("a reader that takes nothing | 60 s |", int(application._STALLED_S)),
    ):
        assert text in dash
        assert str(value) in re.findall(r"\d+", text), text
    served = " ".join(SECTIONS["`midstream publish`, and QUIC"].split())
    assert f"last {publish._KEPT_EVENTS:,} events" in served
    assert (
        f"{quic._MAX_REQUEST_BYTES >> 10} KiB and must come within {quic._REQUEST_S:g} s" in served
    )
    limits = health._Limits()
    assert (
        f"at most {limits.max_connections} connections, and {limits.request_timeout_s:g} s"
    ) in served
    simulated = SECTIONS["`midstream simulate`"]
    assert f"at most {endpoint._MOST_BODY_BYTES >> 20} MiB" in simulated
    assert f"{endpoint._MOST_TOKENS:,} tokens" in simulated
    assert f"{telling._MOST_LINES:,} lines" in " ".join(SECTIONS["All of them"].split())
