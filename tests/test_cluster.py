"""A cluster of processes: the same bits, also when a worker dies in the middle, and a dashboard.

`midstream/docs/clusters.md` is the guide to what is tested here.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from midstream.attractor import ensemble, systems
from midstream.compare import cdist, pdist, search
from midstream.errors import ArgumentValueError, IntegrationError
from midstream.logic import Rule, RuleBook

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")
da = pytest.importorskip("dask.array")
db = pytest.importorskip("dask.bag")

# Those of Dask and its servers are not ours.
pytestmark = pytest.mark.filterwarnings("default")

WORKERS = 3
PARTS = 12
#: Name of what the last block of input waits for.
GATE = "a worker was killed"

RNG = np.random.default_rng(70)
SERIES = RNG.normal(size=(60, 40)).cumsum(axis=1)
STARTS = RNG.normal(size=(600, 3)) * 5 + [0, 0, 25]
LONG = RNG.normal(size=12_000).cumsum()
QUERY = LONG[7000:7100] + RNG.normal(size=100) * 0.1
EVENTS = ({"ask"}, {"answer"}, {"read"}, {"write"}, set())
TRACES = [[EVENTS[i] for i in RNG.integers(0, 5, size=20)] for _ in range(240)]
BOOK = RuleBook([Rule("answer", "G(ask -> F answer)"), Rule("read", "!write W read")])
LORENZ = systems.lorenz()


def arriving(block: Any, last: bool) -> Any:
    """A block of input; the last one comes when a worker has been killed."""
    if last:
        assert distributed.Event(GATE).wait(timeout=100)
    return block


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    cluster = distributed.LocalCluster(
        n_workers=WORKERS,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        silence_logs="CRITICAL",
    )
    with distributed.Client(cluster) as client:
        yield client
    # On a busy machine goodbyes take longer than distributed waits; processes end all the same.
    with contextlib.suppress(TimeoutError):
        cluster.close(timeout=60)


def described() -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """What is asked of the cluster, and what must come."""
    cloudpickle = pytest.importorskip("cloudpickle")
    # Workers cannot import the tests: a copy has no name there and goes as it is.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    piece = dask.delayed(cloudpickle.loads(cloudpickle.dumps(arriving)))

    def in_parts(whole: Any) -> list[Any]:
        size = len(whole) // PARTS
        return [piece(whole[i * size : (i + 1) * size], i == PARTS - 1) for i in range(PARTS)]

    def array(whole: np.ndarray) -> Any:
        shape = (len(whole) // PARTS, *whole.shape[1:])
        return da.concatenate([da.from_delayed(one, shape, float) for one in in_parts(whole)])

    x, starts, long = array(SERIES), array(STARTS), array(LONG)
    traces = db.from_delayed(in_parts(TRACES))
    return {
        "cdist": (lambda: cdist(x, x, window=5), lambda: cdist(SERIES, SERIES, window=5)),
        "pdist": (lambda: pdist(x), lambda: pdist(SERIES)),
        "ensemble": (
            lambda: ensemble(LORENZ, starts, dt=0.01, steps=200, every=50),
            lambda: ensemble(LORENZ, STARTS, dt=0.01, steps=200, every=50),
        ),
        "check": (lambda: BOOK.check(traces), lambda: BOOK.check(TRACES)),
        "search": (
            lambda: search(QUERY, long, window=5, k=3),
            lambda: search(QUERY, LONG, window=5, k=3),
        ),
    }


def in_memory(client: Any) -> tuple[int, int]:
    """Tasks whose results some worker holds, and all."""

    def count(dask_scheduler: Any) -> tuple[int, int]:
        states = [task.state for task in dask_scheduler.tasks.values()]
        return states.count("memory"), len(states)

    return tuple(client.run_on_scheduler(count))


def kill_one(client: Any) -> str:
    """Kill the process of the worker that holds most, as the kernel does when memory is short."""
    held = {address: len(keys) for address, keys in client.has_what().items()}
    busiest = max(held, key=held.__getitem__)
    (process,) = client.run(os.getpid, workers=[busiest]).values()
    os.kill(process, signal.SIGKILL)
    return busiest


def addresses(client: Any) -> set[str]:
    return set(client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.workers)))


def await_two(client: Any) -> None:
    """Wait for those that nannies start for killed ones; on a busy machine some come late or never.

    Not by ``wait_for_workers``: it upsets the cluster's own book-keeping when a worker leaves
    meanwhile (distributed 2026.8).
    """
    deadline = time.monotonic() + 25
    while len(addresses(client)) < 2:
        if time.monotonic() > deadline:
            client.cluster.scale(len(client.cluster.worker_spec) + 2)
            deadline = math.inf
        time.sleep(0.05)


def plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize("name", ["cdist", "pdist", "ensemble", "check", "search"])
def test_a_worker_killed_in_the_middle_changes_no_bit(client: Any, name: str) -> None:
    describe, at_once = described()[name]
    await_two(client)
    gate = distributed.Event(GATE, client=client)
    gate.clear()
    future = client.compute(describe())
    while in_memory(client)[0] < WORKERS:
        time.sleep(0.01)
    killed = kill_one(client)
    assert not future.done()
    gate.set()
    assert plain(future.result(timeout=50)) == plain(at_once())
    assert killed not in addresses(client)


def test_the_dashboard_is_shown_and_names_the_work(client: Any) -> None:
    pytest.importorskip("bokeh")
    assert client.dashboard_link.startswith("http://127.0.0.1:")
    assert client.dashboard_link in client.cluster._repr_html_()
    with urllib.request.urlopen(client.dashboard_link, timeout=30) as answer:
        assert answer.status == 200
        assert b"bokeh" in answer.read().lower()
    x = da.from_array(SERIES, chunks=(20, 40))
    starts = da.from_array(STARTS, chunks=(200, 3))
    held = client.persist([cdist(x, x, "msm"), ensemble(LORENZ, starts, steps=2)])
    distributed.wait(held)

    def groups(dask_scheduler: Any) -> list[str]:
        return list(dask_scheduler.task_prefixes)

    assert {"cdist-msm", "ensemble"} <= set(client.run_on_scheduler(groups))


def test_what_a_worker_raises_arrives_whole(client: Any) -> None:
    starts = STARTS.copy()
    starts[451] *= 1e300
    described = ensemble(LORENZ, da.from_array(starts, chunks=(200, 3)), dt=0.01, steps=5)
    with pytest.raises(IntegrationError, match="of trajectory 451") as blown:
        client.compute(described).result(timeout=50)
    assert (blown.value.trajectory, blown.value.step) == (451, 1)
    series = SERIES.copy()
    series[33, 7] = np.inf
    with pytest.raises(ArgumentValueError, match=r"[XY]\[13\] must be finite") as bad:
        client.compute(pdist(da.from_array(series, chunks=(20, 40)))).result(timeout=50)
    assert "X[20]" in bad.value.__notes__[0]


def test_what_all_blocks_need_can_be_sent_ahead(client: Any) -> None:
    everywhere = dask.delayed(client.scatter(list(SERIES[:10]), broadcast=True))
    x = da.from_array(SERIES, chunks=(20, 40))
    assert client.compute(cdist(x, everywhere)).result(timeout=50).tolist() == (
        cdist(SERIES, SERIES[:10]).tolist()
    )


def test_a_result_that_fits_nowhere_at_once_is_reduced_where_it_is(client: Any) -> None:
    x = da.from_array(SERIES, chunks=(20, 40))
    nearest = cdist(x, x).map_blocks(
        lambda block: np.sort(block, axis=1)[:, :2], chunks=((20,) * 3, (2,) * 3)
    )
    nearest = nearest.rechunk({1: -1}).map_blocks(
        lambda rows: np.sort(rows, axis=1)[:, 1], drop_axis=1, dtype=float
    )
    expected = np.sort(cdist(SERIES, SERIES), axis=1)[:, 1]
    assert client.compute(nearest).result(timeout=50).tolist() == expected.tolist()
