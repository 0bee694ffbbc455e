"""The README's tables of figures: which rows they have, and which figure stands where.

A cell is text with ``[[KEY]]`` where a figure goes, ``[[KEY|/1000]]`` where a thousandth of it goes
and ``[[KEY|*2]]`` where twice as much does. Keys are as in ``results.json``:

- ``peers_elastic.Dtw100Aeon:ours`` (or ``:peer``, ``:ratio``, ``:library``), from a comparison;
- ``monitors.Step.time_step_1000(mask)``, from a benchmark of asv;
- ``proxy_speed.first.midstream.adds``, from a program of this folder.

A ``*`` in the key stands for anything, ``{a,b}`` for one of these. Of several comparisons that one
is shown in which the peer comes closest; of several other figures the least and the greatest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

Row = tuple[str, ...]


class Table(NamedTuple):
    """A table of the README; its name stands in the README's marks."""

    name: str
    columns: Row
    rows: Sequence[Row]
    #: Programs of this folder that have figures for it, with their arguments.
    programs: Sequence[tuple[str, ...]] = ()
    #: Packages whose versions belong beside the figures.
    packages: Sequence[str] = ()
    #: Whether other work on the machine changes its figures.
    timed: bool = True


def versus(work: str, *names: str, each: int = 1, peer: str = "", after: str = "") -> Row:
    """A row with our time, the peer and the ratio of comparisons, of which a call does `each`."""
    part = f"|/{each}" if each != 1 else ""
    ours = " / ".join(f"[[peers_{name}:ours{part}]]" for name in names)
    ratio = " / ".join(f"[[peers_{name}:ratio]]" for name in names)
    return work, ours + after, peer or f"[[peers_{names[0]}:library]]", ratio


def alone(work: str, ours: str) -> Row:
    """A row without a peer."""
    return work, ours, "", ""


PEER_COLUMNS = ("work", "ours", "peer", "ratio")


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
        _loop_row("ai2070-l0, drift", "ai2070-l0, drift"),
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
            "`midstream proxy` with all of these: first byte / a chunk / an idle stream",
            "[[proxy_speed.first.midstream.adds]] / [[proxy_speed.chunk.midstream.adds]] / "
            "[[proxy_speed.idle.midstream.after 100 chunks]] more",
        ),
        (
            "the same, 500 streams at once through one process",
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
            "`midstream mcp`, calls of a tool one by one (the SDK's own server, an echo)",
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

_ROWS_500 = ("wdtw ddtw adtw erp", "edr lcss msm twe")


_PEERS = "{Aeon,Dtaidistance,Tslearn}"


def _family(names: str) -> Row:
    each = [f"elastic.{name.capitalize()}500" for name in names.split()]
    title = " ".join(f"`{name}`" for name in names.split())
    return versus(f"{title}, n = 500", *each)


COMPARE = Table(
    "compare",
    ("work", "ours", "best peer", "ratio"),
    (
        versus(
            "`dtw`, n = 100 / 1000 / 4000",
            f"elastic.Dtw100{_PEERS}",
            f"elastic.Dtw1000{_PEERS}",
            f"elastic.Dtw4000{_PEERS}",
        ),
        versus("`dtw`, n = 1000, window of 10 %", f"elastic.DtwBand1000{_PEERS}"),
        versus("`pdist` dtw, 200 series of 256", f"elastic.PdistDtw{_PEERS}"),
        alone("the same, a cell", "[[elastic.Matrix.track_ns_per_cell(dtw, float64, 1)]]"),
        alone(
            "the same, two threads",
            "[[elastic.Threads.track_speedup_of_two_threads(dtw)]] times one",
        ),
        *map(_family, _ROWS_500),
        versus("`soft_dtw_gradient`, n = 500", "elastic.SoftDtwGradient500"),
        versus(
            "`levenshtein`, 1000 integers below a million, arrays / lists",
            "edit.LevenshteinArrays1000Large",
            "edit.LevenshteinLists1000Large",
        ),
        versus(
            "the same, integers below 26",
            "edit.LevenshteinArrays1000",
            "edit.LevenshteinLists1000",
        ),
        versus(
            "`lcs`, 1000 integers below a million, arrays / lists",
            "edit.LcsArrays1000Large",
            "edit.LcsLists1000Large",
        ),
        versus("the same, integers below 26", "edit.LcsArrays1000", "edit.LcsLists1000"),
        versus(
            "`levenshtein` / `lcs`, 10,000 integers below a million, lists",
            "edit.LevenshteinLists10000Large",
            "edit.LcsLists10000Large",
        ),
        versus("the same, integers below 26", "edit.LevenshteinLists10000", "edit.LcsLists10000"),
        versus(
            "`levenshtein`, str of 100 / 1000",
            "edit.LevenshteinText100",
            "edit.LevenshteinText1000",
        ),
        versus(
            "`cdist` levenshtein, 300 x 300 x 100 integers",
            "edit.Matrix{Arrays,Lists,ListsLarge}",
        ),
        versus("`search`, z-normalised Euclidean, 1e6 samples, query 128", "search.Euclidean"),
        alone(
            "`search`, DTW, window of 5 %, the same",
            "[[peers_search.Warped.track_samples_per_second(*)]] samples a second",
        ),
        versus("`matrix_profile`, 20,000 samples, m = 100", "search.SelfJoin"),
        alone(
            "`repeats`, 1e6 tokens",
            "[[repeats.Million.time_repeats]], [[repeats.Million.track_growth]] bytes a token",
        ),
    ),
    packages=("aeon", "dtaidistance", "tslearn", "rapidfuzz", "stumpy"),
)

SCHEDULER = Table(
    "scheduler",
    PEER_COLUMNS,
    (
        versus(
            "`schedule` + `next`, 1000 pending, fixed priority",
            "scheduler.FixedAndHeapq",
            each=1000,
        ),
        versus("the same", "scheduler.FixedAndPriorityQueue", each=1000),
        versus('the same, `"edf"` with deadlines', "scheduler.DeadlinesAndHeapq", each=1000),
        versus("the same, new deadlines anywhere in the queue", "scheduler.HoldModel", each=1000),
        versus(
            "`schedule_many` + `next_many`, 1000 at a time",
            "scheduler.Batch",
            each=1000,
            after=" a task",
        ),
        versus("`RingQueue`, put + get", "ring.PutGetSimpleQueue", each=20_000),
        versus(
            "hand-off between two threads",
            "ring.PingPongSimpleQueue",
            each=2000,
            after=" there and back",
        ),
        alone("ring in C, push + pop, one thread", "[[ring_in_c.one thread, capacity 1024.ring]]"),
        (
            "ring in C, 2 producers and 2 consumers, capacity 64 / 1024 / 65536",
            "[[ring_in_c.2 and 2, capacity 64.ring]] / [[ring_in_c.2 and 2, capacity 1024.ring]] "
            "/ [[ring_in_c.2 and 2, capacity 65536.ring]]",
            "mutex and condition",
            "[[ring_in_c.2 and 2, capacity 64.ratio]] / [[ring_in_c.2 and 2, capacity 1024.ratio]] "
            "/ [[ring_in_c.2 and 2, capacity 65536.ratio]]",
        ),
        versus("`Histogram.record`", "histogram.Record", each=10_000),
        versus("`sleep_until_ns`, lateness p99, a wake-up each ms", "sleep.Wake"),
    ),
    programs=(("ring_in_c.py",),),
    packages=("hdrhistogram",),
)

ATTRACTOR = Table(
    "attractor",
    PEER_COLUMNS,
    (
        versus(
            "RK4 on Lorenz, one trajectory kept, a step",
            "flows.Path",
            each=100_000,
            peer="numba, loop over arrays",
        ),
        versus("the same", "flows.PathOfScalars", each=100_000, peer="numba, loop over scalars"),
        versus("the same", "flows.StepScipy", peer="scipy `solve_ivp`, a step"),
        versus(
            "10,000 starts of Lorenz, a step and trajectory, one thread",
            "flows.Ensemble",
            each=10_000_000,
            peer="numba, loop over arrays",
        ),
        versus(
            "the same",
            "flows.EnsembleOfScalars",
            each=10_000_000,
            peer="numba, loop over scalars",
        ),
        alone(
            "the same from text that nothing compiled is found for",
            "[[peers_flows.EnsembleText:ours|/10000000]]",
        ),
        versus("Lorenz spectrum, 1e6 steps", "flows.SpectrumNumba"),
        versus(
            "`lyapunov` of a series, N = 5000, with interval and verdict",
            "lyapunov.Neurokit",
            peer="neurokit2, the number alone",
        ),
        versus("the same", "lyapunov.Nolds", peer="nolds, the number alone"),
        versus("`correlation_dimension`, N = 2000, m = 5", "dimension.Dimension", peer="neurokit2"),
        versus("the same", "dimension.DimensionBesideNolds", peer="nolds"),
        versus("`sample_entropy`, N = 5000", "entropies.Sample", peer="antropy"),
        versus("`permutation_entropy`, N = 1e5, order 5", "entropies.Permutation", peer="antropy"),
        alone(
            "`rqa`, N = 1e5, 3 dimensions",
            "[[recurrence.Quantification.time_rqa(max, 3)]], "
            "[[recurrence.Quantification.track_python_memory(max, 3)]] bytes a sample",
        ),
        alone(
            "`Online.update`, 3 components, window 1024",
            "[[online.Update.time_update_1000(3, 1024, tuple)|/1000]]",
        ),
    ),
    packages=("numba", "scipy", "neurokit2", "nolds", "antropy"),
)

_FEED = "monitors.Feed.time_feed({}, uint32)|/100000"
_EVALUATE = "columns.Evaluate.track_{}(mixed)"
_PENDING = "signals.Pending.time_step({}, G (a -> F[0:1000000] b))|/1000"

LOGIC = Table(
    "logic",
    PEER_COLUMNS,
    (
        versus(
            "`compile`, the 28 patterns of Dwyer / 23 of DECLARE, all",
            "automata.Dwyer",
            "automata.Declare",
            peer="Spot `from_ltlf`, translate",
        ),
        versus(
            "the conjunction of four `G(r -> F a)`",
            "automata.FourResponses",
            peer="Spot `from_ltlf`, translate",
        ),
        alone(
            "of eight / of twelve",
            "[[automata.Responses.time_compile(8)]] / [[automata.Responses.time_compile(12)]]",
        ),
        alone(
            "`Monitor.step`, mask / set / mapping",
            " / ".join(
                f"[[monitors.Step.time_step_1000({kind})|/1000]]"
                for kind in ("mask", "set", "mapping")
            ),
        ),
        alone(
            "`Monitor.feed`, 1 / 4 / 6 / 10 responses (2 to 20 atoms)",
            " / ".join(
                f"[[{_FEED.format(count)}]]"
                for count in ("1 response", "4 responses", "6 responses", "10 responses")
            )
            + " an event",
        ),
        versus(
            "past window of 5 / 1000 steps, one step, Boolean",
            "signals.OnceShort",
            "signals.OnceLong",
            each=1000,
            peer="reelay",
        ),
        versus(
            "the same, robustness",
            "signals.OnceShortRobust",
            "signals.OnceLongRobust",
            each=1000,
            peer="reelay",
        ),
        alone(
            "`SignalMonitor.step`, `G(a -> F[0:b] c)`, 100 / 10,000 obligations open",
            f"[[{_PENDING.format(100)}]] / [[{_PENDING.format(10000)}]]",
        ),
        (
            "`evaluate`, 20 operators, 1e7 events: packed / bool / masks",
            " / ".join(
                f"[[{_EVALUATE.format(kind)}]]" for kind in ("packed", "bool_columns", "masks")
            )
            + " events a second",
            "numpy, packed",
            "[[peers_columns.NumpyPacked:ratio]]",
        ),
        (
            "`RuleBook` of 100 rules, one event, p99: set / fields",
            "[[rulebook.Step.track_p99(set)]] / [[rulebook.Step.track_p99(fields)]]",
            "agentltl, p50",
            "[[peers_rulebook.Enforcer:ratio]]",
        ),
        versus(
            "`synthesize`, an arbiter, realizable / not",
            "games.Arbiter",
            "games.BusyArbiter",
            peer="Spot",
        ),
        versus("`check_ctl`, 5000 states, `AG EF q`", "branching.Reset", peer="pyModelChecking"),
        versus(
            "`satisfiable`, four responses, finite / infinite words",
            "decision.FiniteResponses",
            "decision.InfiniteResponses",
            peer="Spot",
        ),
        versus(
            "the same, a counter of 7 bits / `stable` over infinite words",
            "decision.FiniteCounter",
            "decision.InfiniteStable",
            peer="Spot",
        ),
        (
            "`learn`, every formula up to size 9",
            "[[learning.Exhaustive.track_formulas]] formulas a second",
            "numpy",
            "[[peers_learning.Enumeration:ratio]]",
        ),
    ),
    packages=("spottl", "reelay", "rtamt", "pyModelChecking", "agentltl"),
)

META = Table(
    "meta",
    PEER_COLUMNS,
    (
        versus(
            "`Grammar.feed`, 100,000 words by Zipf's law / four letters / phrases in phrases / "
            "loops",
            "grammar.Tokens",
            "grammar.FourLetters",
            "grammar.Phrases",
            "grammar.Loops",
            each=100_000,
            after=" a symbol",
        ),
        alone(
            "the same into a full window of 2^20 symbols, mixed",
            "[[grammar.Full.time_feed_100_000|/100000]] a symbol",
        ),
        alone(
            "`Levels`, one level, phrases of 20",
            "[[levels.Observe.time_observe(*, 1, 20)|/100000]] a symbol",
        ),
        versus(
            "`Adwin.update`, default / a check at every sample",
            "drift.Adwin32",
            "drift.Adwin1",
            each=1000,
            peer="river",
        ),
        versus("`PageHinkley.update`", "drift.Page", each=1000, peer="river"),
        versus(
            "`Bandit`, decide and learn: LinUCB / Thompson",
            "bandit.LinUcbMabwiser",
            "bandit.ThompsonMabwiser",
            peer="mabwiser",
        ),
        versus("the same, LinUCB", "bandit.LinUcbRiver", peer="river"),
        (
            "`Replay`, add, sample 32, update, 100,000 items",
            "[[replaying.Cycle.time_add_sample_update(100000)]]",
            "numpy",
            "[[peers_replaying.Numpy:ratio]]",
        ),
        versus(
            "`Tracker`, allowed and commit, 1 / 8 rules",
            "shields.OneRule",
            "shields.EightRules",
            each=1000,
            peer="a monitor for each action",
        ),
        alone(
            "`Trial`, one stream / many at once",
            "[[gates.Report.time_assign_and_finish(shadow)]] / "
            "[[gates.Many.time_shadowed_many|/10000]]",
        ),
        alone(
            "`Ledger.append`, not synced; open 100,000 records",
            "[[ledger.Append.time_append_100(never, 0)|/100]]; [[ledger.Many.time_open(False)]]",
        ),
        alone(
            "`StrangeLoop`: begin and finish / decide",
            "[[strange_loop.Sessions.track_begin_and_finish]] / "
            "[[strange_loop.Sessions.track_decide]]",
        ),
    ),
    packages=("scikit-sequitur", "river", "mabwiser"),
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

TABLES = {
    table.name: table
    for table in (
        LOOPS,
        TOOL_LOOPS,
        STREAM,
        COMPARE,
        SCHEDULER,
        ATTRACTOR,
        LOGIC,
        META,
        QUIC,
    )
}
