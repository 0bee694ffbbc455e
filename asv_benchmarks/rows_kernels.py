"""The README's tables of the kernels; see ``rows.py``."""

from __future__ import annotations

from row import PEER_COLUMNS, Row, Table, alone, versus

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
            each=2_000,
            peer="reelay",
        ),
        versus(
            "the same, robustness",
            "signals.OnceShortRobust",
            "signals.OnceLongRobust",
            each=2_000,
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
            each=10_000,
            peer="river",
        ),
        versus("`PageHinkley.update`", "drift.Page", each=10_000, peer="river"),
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
