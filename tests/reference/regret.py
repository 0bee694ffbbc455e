"""What a strange loop costs on a sequence of streams, beside the best fixed settings.

Every stream has a loss under every settings, by `StreamLoss` over its whole record with its known
worth. Of these losses

- *oracle* takes in each phase the settings that are best in it, in hindsight;
- *fixed* takes the one settings that are best over the whole sequence, in hindsight;
- *trained* takes those that were best on a training part, drawn the same way;
- the *loop* begins with the trained ones and pays what the streams cost with the settings that it
  has at that time. It never sees a whole record of a stream that it stopped: only what had come,
  and, for a share of these stops, whether they were wrong. Where it audits a stream, it pays for
  all of it.

Regret is the sum of losses less the oracle's.
"""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import numpy as np

from midstream.stream.adapting import StreamLoss, StreamRecord

GRID_LOOPS = [
    {
        "stop_chars": chars,
        "near_stop_score": score,
        "near_stop_copies": copies,
        "counting_stop_copies": counting,
    }
    for chars in (60, 120, 200, 400, 800, 1600, 3200)
    for score, copies, counting in (
        (80.0, 4.0, 8.0),
        (120.0, 6.0, 30.0),
        (200.0, 8.0, 200.0),
        (210.0, 20.0, 400.0),
    )
] + [{"on_loop": "warn"}]
GRID_STALLS: list[dict[str, Any]] = [
    {"on_stall": "stop", "stall_min_s": least, "stall_factor": factor, "stall_first_s": first}
    for least in (2.0, 5.0, 15.0, 45.0)
    for factor in (5.0, 10.0, 40.0)
    for first in (5.0, 30.0)
] + [{}]


def grid(params, loops=GRID_LOOPS, stalls=GRID_STALLS):
    """725 settings, the opponents; those that differ in one detector's knobs share its run."""
    return [params.settings({**loop, **stall}) for loop in loops for stall in stalls]


def losses(loss: StreamLoss, streams, settings) -> np.ndarray:
    """(streams, settings): what each stream costs under each settings."""
    rows: dict[str, list[float]] = {}
    for stream in streams:
        if stream.digest not in rows:
            rows[stream.digest] = [loss(one, stream) for one in settings]
    return np.array([rows[stream.digest] for stream in streams])


class Whole(StreamLoss):
    """The same where every stream is recorded to its end, whether it was stopped or not."""

    __slots__ = ()

    def known(self, settings, ran) -> bool:
        return True


class Seen(NamedTuple):
    """What the loop gets to see of a stream that it stopped."""

    record: StreamRecord
    wrong: bool


class Stops:
    """Records as they are when settings stopped them; kept, since streams are drawn repeatedly."""

    def __init__(self, loss: StreamLoss) -> None:
        self.loss = loss
        self.kept: dict[tuple[str, int, int], Seen] = {}

    def seen(self, settings, stream: StreamRecord) -> Seen | None:
        """None where these settings let it run on."""
        stop = self.loss.stop(settings, stream)
        if stop is None:
            return None
        key = stream.digest, stop.n_events, stop.t_ns
        if key not in self.kept:
            record = StreamRecord(stream.events[: stop.n_events], stop.t_ns, cut=True)
            self.kept[key] = Seen(record, record.chars < stream.useful_chars)
        return self.kept[key]


class Run(NamedTuple):
    """How a loop did."""

    paid: np.ndarray
    versions: np.ndarray
    audits: int
    summary: Any


def run(loop, streams, *, told: float = 1.0, seed: int = 0) -> Run:
    """Let a loop watch the streams one after the other.

    Parameters
    ----------
    loop : StrangeLoop
        Its evaluator is the judge; one that is `Whole` is given the whole record after a stop too,
        which is what one could learn from at best.
    streams : sequence of StreamRecord
        With their worth known.
    told : float
        Share of the stops of which the loop is told whether they were wrong.
    """
    loss, rng = loop.evaluator, random.Random(seed)
    whole, stops = isinstance(loss, Whole), Stops(loss)
    paid, versions, audits = [], [], 0
    for number, stream in enumerate(streams):
        session = loop.begin(time_ns=number * 10**9)
        ran = session.settings
        versions.append(session.version)
        seen = None if session.audit else stops.seen(ran, stream)
        paid.append(loss(ran, stream) if not session.audit else loss.ran_on(stream))
        audits += session.audit
        record, signals = stream, {"doubt": 0.0}
        if seen is not None and not whole:
            known = rng.random() < told
            record = seen.record.told(stop_was_wrong=seen.wrong) if known else seen.record
            signals = {"doubt": float(seen.wrong)} if known else {}
        own = loss(ran, record)
        shadows = []
        for other in session.shadows:
            cost = loss(other, record) if session.audit or loss.known(other, ran) else None
            shadows.append(cost if isinstance(cost, float) else None)
        session.finish(
            own if isinstance(own, float) else None,
            shadows,
            signals=signals,
            recording=record if isinstance(own, float) else None,
            time_ns=number * 10**9,
        )
        if loop.due:
            loop.maintain()
    return Run(np.array(paid), np.array(versions), audits, loop.summary())


class Score(NamedTuple):
    """Mean losses a stream, and the loop's regret as a share of that of its opponents."""

    streams: int
    oracle: float
    fixed: float
    trained: float
    loop: float
    versus_fixed: float
    versus_trained: float
    above_fixed: float
    above_trained: float


def score(table: np.ndarray, numbers, start: int, paid: np.ndarray) -> Score:
    """Compare what was paid with the losses of all settings; `start` is the trained one.

    The table should have the settings that the loop came to, beside those of the grid: they are
    open to its opponents too.
    """
    numbers = np.asarray(numbers)
    oracle = sum(table[numbers == phase].sum(0).min() for phase in np.unique(numbers))
    fixed, trained, loop = table.sum(0).min(), table[:, start].sum(), paid.sum()
    count = len(table)
    return Score(
        count,
        oracle / count,
        fixed / count,
        trained / count,
        loop / count,
        (loop - oracle) / (fixed - oracle) if fixed > oracle else float("nan"),
        (loop - oracle) / (trained - oracle) if trained > oracle else float("nan"),
        loop / fixed - 1,
        loop / trained - 1,
    )
