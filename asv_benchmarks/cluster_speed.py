"""What a Dask cluster costs and gives: ``python cluster_speed.py [CASE ...] [--workers N]``.

Cases, two minutes in all on an idle machine:

blocks     a matrix by Dask's threads over one plain call, by series in a block: what Dask costs
scaling    the same work on 1, 2, ... worker processes of this machine, over one plain call
tasks      seconds that the scheduler, the client and a worker spend on a task that does nothing
waiting    more workers than processors, whose tasks sleep in place of computing: is time what the
           model below says?
kill       a worker killed in the middle: what it costs, and whether the answer is the same
paper      the model, with what ``tasks`` measured, for clusters that are not here

The model, for ``N`` tasks of ``w`` seconds on ``W`` workers of one thread::

    T(W) = t0 + N g + max(N s, ceil(N / W) (w + o)) + b / B

``g`` and ``s`` are seconds a task of the client, which describes, and of the scheduler: each does
one thing at a time. ``o`` is a worker's, between two tasks. ``b`` is the bytes that come to a
worker from others, at ``B`` a second; ``t0`` is what a call takes that has one task. Shares of
``T(1)``, so the speed-up, need no quiet machine; seconds do.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from midstream.compare import cdist

CASES = ("blocks", "scaling", "tasks", "waiting", "kill", "paper")
#: Series and their samples: a matrix of some seconds.
SERIES, SAMPLES = 512, 256
#: What the model is asked for: series, samples, workers of one thread.
ASKED = ((10_000, 256), (100_000, 256), (100_000, 2048))
CLUSTERS = (8, 32, 128, 512)
#: Bytes a second between machines, of a 10 Gbit/s network.
BANDWIDTH = 1.25e9


class Costs(NamedTuple):
    """Seconds: of a call, and of a task at the client, the scheduler and a worker."""

    call_s: float
    client_s: float
    scheduler_s: float
    worker_s: float


#: Used by ``waiting`` and ``paper`` where ``tasks`` is not run: of the machine of the guide.
KNOWN = Costs(0.05, 2e-4, 8e-4, 2e-3)


def model_s(costs: Costs, tasks: int, work_s: float, workers: int, moved: float = 0.0) -> float:
    """The formula above."""
    busiest = math.ceil(tasks / workers) * (work_s + costs.worker_s)
    serial = costs.call_s + tasks * costs.client_s
    return serial + max(tasks * costs.scheduler_s, busiest) + moved / BANDWIDTH


def walks(count: int, samples: int) -> np.ndarray:
    return np.random.default_rng(80).normal(size=(count, samples)).cumsum(axis=1)


def seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def in_turns(functions: dict[Any, Callable[[], Any]], repeats: int) -> dict[Any, float]:
    """Medians in seconds, each taken in turns, after one turn that does not count."""
    taken: dict[Any, list[float]] = {name: [] for name in functions}
    for turn in range(repeats + 1):
        for name, function in functions.items():
            spent = seconds(function)
            if turn:
                taken[name].append(spent)
    return {name: median(values) for name, values in taken.items()}


def chunked(x: np.ndarray, rows: int) -> Any:
    import dask.array

    return dask.array.from_array(x, chunks=(rows, x.shape[1]))


@contextmanager
def cluster(workers: int) -> Any:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs="CRITICAL",
        ) as local,
        Client(local) as client,
    ):
        print(f"{workers} workers; dashboard: {client.dashboard_link}", file=sys.stderr)
        yield client


def table(head: list[str], rows: list[list[str]]) -> None:
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print(flush=True)


def blocks(_: argparse.Namespace, repeats: int = 3) -> None:
    x = walks(SERIES, SAMPLES)
    whole = cdist(x, x)
    threads = os.cpu_count() or 1
    rows = [4, 8, 16, 32, 64, 128]
    import dask

    with dask.config.set(scheduler="threads", num_workers=threads):
        made = {size: cdist(chunked(x, size), chunked(x, size)) for size in rows}
        assert (made[64].compute() == whole).all()
        taken = in_turns(
            {
                None: lambda: cdist(x, x, n_jobs=threads),
                **{size: made[size].compute for size in rows},
            },
            repeats,
        )
    print(f"A matrix of {SERIES} x {SERIES} series of {SAMPLES} samples, {threads} threads:\n")
    table(
        ["series a block", "tasks", "ms a task", "Dask's threads over one plain call"],
        [
            [
                str(size),
                str((SERIES // size) ** 2),
                f"{taken[size] * threads / (SERIES // size) ** 2 * 1e3:.2f}",
                f"{taken[size] / taken[None]:.2f}",
            ]
            for size in rows
        ],
    )


def scaling(options: argparse.Namespace, repeats: int = 3) -> None:
    x = walks(SERIES, SAMPLES)
    described = cdist(chunked(x, 64), chunked(x, 64))
    plain = in_turns({None: lambda: cdist(x, x)}, repeats)[None]
    counts = [count for count in (1, 2, 4, 8, 16, 32, 64) if count <= options.workers]
    taken = {}
    for count in counts:
        with cluster(count) as client:
            taken[count] = in_turns({0: lambda: client.compute(described).result()}, repeats)[0]  # noqa: B023
    print(f"A matrix of {SERIES} x {SERIES} series of {SAMPLES} samples, 64 x 64 a task:\n")
    table(
        ["workers", "faster than one plain call", "than one worker"],
        [
            [str(count), f"{plain / taken[count]:.2f} x", f"{taken[1] / taken[count]:.2f} x"]
            for count in counts
        ],
    )


def tasks(options: argparse.Namespace) -> None:
    """Fill ``options.costs``."""
    from distributed import wait

    one = walks(1, 4)

    def described(count: int) -> Any:
        side = math.isqrt(count)
        x = chunked(np.repeat(one, side, axis=0), 1)
        return cdist(x, x)

    def run(client: Any, count: int) -> tuple[float, float]:
        """Seconds until the graph is sent, and until all is done."""
        work = described(count)
        start = time.perf_counter()
        held = client.persist(work)
        sent = time.perf_counter() - start
        wait(held)
        return sent, time.perf_counter() - start

    few, many = 100, 4900
    with cluster(1) as client:
        run(client, few)
        calls = [run(client, 1)[1] for _ in range(5)]
        small, large = run(client, few), run(client, many)
    client_s = (large[0] - small[0]) / (many - few)
    alone = (large[1] - large[0] - small[1] + small[0]) / (many - few)
    with cluster(max(2, options.workers)) as client:
        run(client, few)
        small, large = run(client, few), run(client, many)
    shared = (large[1] - large[0] - small[1] + small[0]) / (many - few)
    # With workers enough, what is left is the scheduler; with one, both take turns.
    options.costs = Costs(median(calls), client_s, shared, max(alone - shared, 0.0))
    print("Seconds of a task that does nothing:\n")
    names = ("a call", "client, a task", "scheduler, a task", "worker, a task")
    table(
        ["what", "milliseconds"],
        [[name, f"{cost * 1e3:.2f}"] for name, cost in zip(names, options.costs, strict=True)],
    )


def waiting(options: argparse.Namespace) -> None:
    from distributed import wait

    costs: Costs = options.costs
    rows = []
    for workers in (1, 2, 4, 8, 16):
        count, work_s = 16 * 12, 0.1
        with cluster(workers) as client:
            import dask.array

            ones = dask.array.ones(count, chunks=1)
            slow = ones.map_blocks(lambda block: (time.sleep(0.1), block)[1], meta=np.empty(0))
            wait(client.persist(ones[:workers]))
            measured = seconds(lambda: wait(client.persist(slow)))  # noqa: B023
        said = model_s(costs, count, work_s, workers)
        best = count * work_s / workers
        rows.append([str(workers), f"{measured / best:.2f}", f"{said / best:.2f}"])
    print("192 tasks that sleep 0.1 s, over the time of perfect workers:\n")
    table(["workers", "measured", "by the model"], rows)


def kill(options: argparse.Namespace) -> None:
    from distributed import wait

    x = walks(SERIES, SAMPLES)
    expected = cdist(x, x)
    workers = max(2, options.workers)
    with cluster(workers) as client:
        described = cdist(chunked(x, 32), chunked(x, 32))
        client.compute(described).result()
        whole = seconds(lambda: client.compute(described).result())

        def count(dask_scheduler: Any) -> int:
            return sum(task.state == "memory" for task in dask_scheduler.tasks.values())

        start = time.perf_counter()
        future = client.compute(described)
        while client.run_on_scheduler(count) < 64:
            time.sleep(0.005)
        in_middle = not future.done()
        process = next(iter(client.run(os.getpid).values()))
        os.kill(process, signal.SIGKILL)
        result = future.result()
        spent = time.perf_counter() - start
        wait(future)
    print(
        f"One of {workers} workers killed {'in the middle' if in_middle else 'TOO LATE'}: "
        f"{spent / whole:.2f} times the time, "
        f"{'the same bits' if (result == expected).all() else 'ANOTHER RESULT'}\n"
    )


def paper(options: argparse.Namespace) -> None:
    costs: Costs = options.costs
    x = walks(128, 256)
    pair_s = min(seconds(lambda: cdist(x, x)) for _ in range(5)) / 128**2
    rows = []
    for series, samples in ASKED:
        of_pair = pair_s * (samples / 256) ** 2
        for workers in CLUSTERS:
            # Tasks of a second, but some for each worker.
            side = math.isqrt(int(1 / of_pair))
            side = max(1, min(side, int(series / math.sqrt(8 * workers))))
            count = math.ceil(series / side) ** 2
            moved = 2 * series * samples * 8 / math.sqrt(workers)
            took = model_s(costs, count, of_pair * side**2, workers, moved)
            alone = of_pair * series**2
            rows.append(
                [
                    f"{series:,} x {samples}",
                    str(workers),
                    str(side),
                    f"{count:,}",
                    f"{alone / took:.0f} x",
                    f"{alone / took / workers:.0%}",
                    "the scheduler"
                    if count * costs.scheduler_s > math.ceil(count / workers) * of_pair * side**2
                    else "workers",
                ]
            )
    told = f"{pair_s * 1e6:.1f} us a pair of 256 samples"
    print(f"By the model, with {told}; nothing of this was run:\n")
    table(
        ["series", "workers", "series a block", "tasks", "faster", "efficiency", "limited by"], rows
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="most workers")
    parser.add_argument("--costs", type=json.loads, help="JSON of the four costs, in seconds")
    options = parser.parse_args()
    unknown = set(options.cases) - set(CASES)
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    options.costs = Costs(*options.costs) if options.costs else KNOWN
    for case in CASES:
        if not options.cases or case in options.cases:
            globals()[case](options)


if __name__ == "__main__":
    main()
