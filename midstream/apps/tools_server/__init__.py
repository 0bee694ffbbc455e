r"""A server of the Model Context Protocol: what midstream can do, as tools for assistants.

`ToolServer`
    the tools, resources and prompts, over one conversation for each client
`serve_stdio`
    serves one client over standard input and output
`HttpToolServer`
    serves many over streamable HTTP
`ToolLimits`
    what they take at most

Notes
-----
Needs the extra ``mcp``. Both eras of the protocol are spoken: the one with a handshake, up to
2025-11-25, and 2026-07-28.

**Tools.** ``analyze_conversation``, ``compare_sequences``, ``detect_patterns``,
``analyze_behavior``, ``meta_learn`` and ``get_status`` ask an `midstream.apps.agent.Agent`;
``stream_websocket`` and ``stream_sse`` start and stop the servers of `midstream.apps.serving` on
this machine, so that other programs can send messages and follow them; ``verify_trace`` checks a
trace against a formula of `midstream.logic`; ``check_policy`` looks for what is wrong with rules,
and runs them over a conversation or a recording; ``search_recordings`` searches a
`midstream.stream.Library`. Their results are typed; what cannot be done is an error of the tool
that names the argument and its value.

**State.** Each client has a conversation of its own, its *session*. Over standard input and output
that is the one client's; over HTTP with a handshake it belongs to ``Mcp-Session-Id``; without one,
a tool that keeps something opens a new session. Every such result says ``session``: given as an
argument, it comes back to that one, and ``"new"`` opens another.

**Resources.** ``midstream://recordings{?offset,limit}``,
``midstream://recordings/{name}{?offset,limit}``, ``midstream://rules`` and
``midstream://rules/{name}``. Recordings come in pages, secrets in them replaced. Who subscribes is
told of changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midstream._core.lazy import lazy_exports

if TYPE_CHECKING:
    from midstream.apps.tools_server.http import HttpToolServer
    from midstream.apps.tools_server.limits import ToolLimits
    from midstream.apps.tools_server.server import ToolServer
    from midstream.apps.tools_server.stdio import serve_stdio

__all__ = ["HttpToolServer", "ToolLimits", "ToolServer", "serve_stdio"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "HttpToolServer": "http",
        "ToolLimits": "limits",
        "ToolServer": "server",
        "serve_stdio": "stdio",
    },
)
