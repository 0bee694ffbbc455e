"""The README's tables of what is found, of streams, and of QUIC; see ``rows.py``."""

from __future__ import annotations

from collections.abc import Sequence

from row import Row, Table


def _found(rule: str) -> str:
    return " | ".join(
        f"[[loop_quality.{rule}.{group}.flagged]] / [[loop_quality.{rule}.{group}.samples]]"
        for group in ("exact loops", "near loops", "repeats", "none")
    )


def _loop_row(name: str, rule: str) -> Row:
    return (name, *_found(rule).split(" | "))


LOOPS = Table(
    "loops",
    ("rule", "exact loops", "near loops", "escaped repeats", "healthy text flagged"),
    (
        _loop_row("midstream, found", "midstream, found"),
        _loop_row("midstream, stopped", "midstream, stopped"),
        _loop_row("drift detector of ai2070-l0", "ai2070-l0, drift"),
        _loop_row("shape of gemini-cli's rule", "gemini-cli's shape"),
        _loop_row("shape of vLLM's rule", "vLLM's shape"),
    ),
    programs=(("loop_quality.py",),),
    packages=("ai2070-l0",),
    timed=False,
)


def _tool_row(name: str, rule: str) -> Row:
    at = f"tool_loop_quality.{rule}"
    return (
        name,
        f"[[{at}.repeated.flagged]] / [[{at}.repeated.runs]]",
        f"[[{at}.others.flagged]] / [[{at}.others.runs]]",
        f"[[{at}.loops.flagged]] / [[{at}.loops.runs]]",
        f"[[{at}.progress.flagged]] / [[{at}.progress.runs]]",
    )


TOOL_LOOPS = Table(
    "tool-loops",
    ("rule", "recorded runs that repeat", "other recorded runs", "made loops", "made progress"),
    (
        _tool_row("midstream, warned or stopped", "midstream, warned or stopped"),
        _tool_row("midstream, stopped", "midstream, stopped"),
        _tool_row("opencode: 3 alike", "opencode: 3 alike"),
        _tool_row("gemini-cli: 5 alike", "gemini-cli: 5 alike"),
    ),
    programs=(("tool_loop_quality.py",),),
    timed=False,
)


STREAM = Table(
    "stream",
    ("work", "cost"),
    (
        (
            "`watch` with the default detectors, one event a token",
            "[[watch.WatchTokens.track_us_per_token(default detectors)]] a token",
        ),
        (
            "`Guard` with all default detectors, an event, median / p99",
            "[[guard_cost.default detectors.median.*]] / [[guard_cost.default detectors.p99.*]]",
        ),
        (
            "the same with the ten ready rules",
            "[[guard_cost.detectors and ten policies.median.*]] / "
            "[[guard_cost.detectors and ten policies.p99.*]]",
        ),
        (
            "a piece of a tool call's arguments, assembled",
            "[[calls.CallFragments.track_ns_per_fragment(*)]]",
        ),
        (
            "20 patterns looked for / 29 kinds of secret replaced",
            "[[patterns.PatternTokens.track_ns_per_token(20, early)]] / "
            "[[redaction.RedactTokens.track_ns_per_token(all kinds)]] a token",
        ),
        (
            "an event of a provider's payload, beyond its JSON",
            "[[formats.Mapping.time_parsed(*, known API)|/1000]]",
        ),
        (
            "an event recorded / with redaction",
            "[[recordings.Record.track_us_per_event(plain)]] / "
            "[[recordings.Record.track_us_per_event(redacted)]]",
        ),
        (
            "what `midstream proxy` adds, with the default detectors: first byte / a chunk / an "
            "idle stream",
            "[[proxy_speed.first.midstream.adds]] / [[proxy_speed.chunk.midstream.adds]] / "
            "[[proxy_speed.idle.midstream.after 100 chunks]] more",
        ),
        (
            "the same proxy, 500 streams at once through one process",
            "[[proxy_speed.many.midstream.whole]] whole, [[proxy_speed.many.midstream.lost]] "
            "chunks lost",
        ),
        (
            "a dashboard at 1000 events a second, one program reads it / fifty",
            "[[dashboard_cost.sse, * streams.core]] / "
            "[[dashboard_cost.sse, 10 streams, 50 readers.core]] of a core",
        ),
        (
            "the same in a terminal, 1 to 1000 streams",
            "[[terminal_cost.terminal, * streams.core]] of a core",
        ),
        ("its page: first paint on loopback", "[[dashboard_cost.first paint.median]]"),
        (
            "`midstream serve`, 500 WebSockets and 500 event streams: a delivery / its p99 delay",
            "[[server_load.midstream.delivery]] / [[server_load.midstream.p99]] (bare "
            "`websockets` and sse-starlette: [[server_load.bare.delivery]] / "
            "[[server_load.bare.p99]])",
        ),
        (
            "`midstream mcp`, calls of a tool a second, one by one (the SDK's own, an echo)",
            "[[mcp_speed.2026-07-28.get_status.one by one]] "
            "([[mcp_speed.2026-07-28.bare echo.one by one]])",
        ),
        (
            "a text delta of `RealtimeClient`, watched / read by the official SDK",
            "[[peers_realtime.Text:ours|/500]] / [[peers_realtime.Text:peer|/500]]",
        ),
        (
            "a payload of server-sent events to events / by the official SDKs",
            "[[peers_formats.*:ours|/500]] / [[peers_formats.*:peer|/500]]",
        ),
        (
            "`from_hls`, 720p at 30 frames a second, decoded and measured",
            "[[media.MediaCost.track_share(video 720p30, from_hls)]] of a core (decoded alone: "
            "[[media.MediaCost.track_share(video 720p30, decode alone)]])",
        ),
        (
            "loop detection alone, exact and near, one event a token",
            "[[watch.Detectors.time_loop_detector|/100000]] a token",
        ),
        (
            "`RunDetector.feed`, text-like symbols, all periods to 4096",
            "[[run_detector.Feed.time_feed(like words)|/100000]] a symbol",
        ),
        (
            "detectors of a stream, after ten million tokens",
            "[[watch.Held.track_bytes_after_ten_million]]",
        ),
        ("`import midstream`", "[[watch.Import.track_import(midstream)]]"),
    ),
    programs=(
        ("guard_cost.py",),
        ("proxy_speed.py", "first", "chunk", "many", "idle"),
        ("dashboard_cost.py", "sse", "readers", "paint"),
        ("terminal_cost.py",),
        ("server_load.py",),
        ("mcp_speed.py",),
    ),
    packages=("openai", "anthropic", "websockets", "sse-starlette", "mcp", "av"),
)


def _quic(work: str, case: str, figure: str, *, others: Sequence[str] = ("aioquic",)) -> Row:
    cells = [
        f"[[quic_speed.{case}.{name}.{figure}]]" if name in ("midstream", *others) else ""
        for name in ("midstream", "aioquic", "qh3")
    ]
    return (work, *cells)


def _quic_two(work: str, case: str, first: str, second: str, between: str = " / ") -> Row:
    cells = [
        f"[[quic_speed.{case}.{name}.{first}]]{between}[[quic_speed.{case}.{name}.{second}]]"
        for name in ("midstream", "aioquic")
    ]
    return (work, *cells, "")


BOTH = ("aioquic", "qh3")
QUIC = Table(
    "quic",
    ("work", "ours", "aioquic", "qh3"),
    (
        _quic("one stream", "bulk", "MB/s", others=BOTH),
        _quic("the same beside 1000 idle streams", "idle", "MB/s"),
        _quic("echo of 100 bytes, median", "echo", "us", others=BOTH),
        _quic("1000 streams of 1 KB, there and back", "many", "ms"),
        _quic("handshake and one request", "handshake", "ms", others=BOTH),
        (
            "the same as 0-RTT saves: loopback / a round trip of 10 ms",
            "[[quic_speed.early.midstream.saves %]] / "
            "[[quic_speed.early.midstream.saves % at 10 ms]]",
            "",
            "",
        ),
        _quic_two(
            "echo on an urgent stream under bulk, p99 / without bulk",
            "urgent",
            "p99 ms",
            "idle p99 ms",
        ),
        _quic_two(
            "echo beside a flood of junk and resets, median / without",
            "flood",
            "p50 us",
            "idle p50 us",
        ),
        (
            "10,000 streams opened and answered, 128 allowed at once by aioquic unless changed",
            "[[quic_speed.ten_thousand.midstream.s]], "
            "[[quic_speed.ten_thousand.midstream.client MB]] + "
            "[[quic_speed.ten_thousand.midstream.server MB]]",
            "[[quic_speed.ten_thousand.aioquic.s]], "
            "[[quic_speed.ten_thousand.aioquic.client MB]] + "
            "[[quic_speed.ten_thousand.aioquic.server MB]]",
            "",
        ),
        (
            "sent to a reader that stalls in between; memory of sender / reader grows by",
            "[[quic_speed.stalled.midstream.MB sent]]; "
            "[[quic_speed.stalled.midstream.sender grew MB]] / "
            "[[quic_speed.stalled.midstream.reader grew MB]]",
            "[[quic_speed.stalled.aioquic.MB sent]]; "
            "[[quic_speed.stalled.aioquic.sender grew MB]] / "
            "[[quic_speed.stalled.aioquic.reader grew MB]]",
            "",
        ),
        (
            "UDP batches of 64, a datagram",
            "[[peers_udp.BurstOf64:ratio]] times `sendto` and `recvfrom`",
            "",
            "",
        ),
        (
            "HTTP/3 request, one at a time / 64 at a time",
            "[[quic_speed.http3.midstream.ms]] / [[quic_speed.http3.midstream.requests/s]] "
            "a second",
            "",
            "",
        ),
    ),
    programs=(("quic_speed.py",),),
    packages=("aioquic", "qh3"),
)
