"""What a Dask cluster costs and gives: ``python cluster_speed.py [CASE ...] [--workers N]``.

Cases, two minutes in all on an idle machine:

blocks     a matrix by Dask's threads beside one plain call, by series in a block
scaling    the same work on 1, 2, ... worker processes of this machine, beside one plain call
tasks      what client, scheduler and worker spend on a task that does next to nothing
waiting    more workers than processors, whose tasks sleep in place of computing: does the model
           below say what happens?
kill       a worker killed in the middle: what it costs, and whether the answer is the same
paper      the model, with what ``tasks`` measured, for clusters that are not here

The model, for ``N`` tasks of ``w`` seconds on ``W`` workers of one thread::

    T(W) = t0 + N g + max(N s, ceil(N / W) (w + o)) + b / B

``g`` and ``s`` are seconds a task of the client, which describes, and of the scheduler: each does
one thing at a time. ``o`` is a worker's, beside the task. ``b`` is the bytes that come to a worker
from others, at ``B`` a second; ``t0`` is what a call takes that has one task.

Columns of processor time (``cpu``) hold on a busy machine too; those of time want an idle one.
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
#: Series and their samples: a matrix of a second or two, and for whole clusters of some.
SERIES, SAMPLES = 512, 256
MANY = 1024
#: What the model is asked for: series, samples, workers of one thread.
ASKED = ((10_000, 256), (100_000, 256), (100_000, 2048))
CLUSTERS = (8, 32, 128, 512)
#: A scheduler keeps some kilobytes of each task.
MOST_TASKS = 50_000
#: Bytes a second between machines, of a 10 Gbit/s network.
BANDWIDTH = 1.25e9


class Costs(NamedTuple):
    """Seconds: of a call, and of a task at the client, the scheduler and a worker."""

    call_s: float
    client_s: float
    scheduler_s: float
    worker_s: float


#: Used by ``waiting`` and ``paper`` where ``tasks`` is not run: of the machine of the guide.
#: The client's part is that of a busy machine: on a quiet one it is too little to tell.
KNOWN = Costs(0.017, 4e-5, 3e-4, 6e-4)


def model_s(costs: Costs, tasks: int, work_s: float, workers: int, moved: float = 0.0) -> float:
    """The formula above."""
    busiest = math.ceil(tasks / workers) * (work_s + costs.worker_s)
    serial = costs.call_s + tasks * costs.client_s
    return serial + max(tasks * costs.scheduler_s, busiest) + moved / BANDWIDTH


def walks(count: int, samples: int) -> np.ndarray:
    return np.random.default_rng(80).normal(size=(count, samples)).cumsum(axis=1)


def seconds(function: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> float:
    start = clock()
    function()
    return clock() - start


class Took(NamedTuple):
    """Seconds that passed, and of processors, of this process and of workers."""

    wall_s: float
    cpu_s: float


def took(function: Callable[[], Any], client: Any = None) -> Took:
    def spent() -> float:
        if client is None:
            return time.process_time()
        return sum(client.run(time.process_time).values())

    before, start = spent(), time.perf_counter()
    function()
    return Took(time.perf_counter() - start, spent() - before)


def in_turns(
    functions: dict[Any, Callable[[], Any]], repeats: int, client: Any = None
) -> dict[Any, Took]:
    """Medians, each taken in turns, after one turn that does not count."""
    found: dict[Any, list[Took]] = {name: [] for name in functions}
    for turn in range(repeats + 1):
        for name, function in functions.items():
            one = took(function, client)
            if turn:
                found[name].append(one)
    return {
        name: Took(*(median(values) for values in zip(*all_took, strict=True)))
        for name, all_took in found.items()
    }


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


def blocks(options: argparse.Namespace) -> None:
    import dask

    x = walks(SERIES, SAMPLES)
    whole = cdist(x, x)
    threads = options.workers
    sizes = [8, 16, 32, 64, 128]
    with dask.config.set(scheduler="threads", num_workers=threads):
        made = {size: cdist(chunked(x, size), chunked(x, size)) for size in sizes}
        assert (made[64].compute() == whole).all()
        plain: dict[Any, Callable[[], Any]] = {None: lambda: cdist(x, x, n_jobs=threads)}
        found = in_turns(plain | {size: made[size].compute for size in sizes}, options.repeats)
    print(f"A matrix of {SERIES} x {SERIES} series of {SAMPLES} samples, {threads} threads:\n")
    rows = []
    for size in sizes:
        tasks = (SERIES // size) ** 2
        rows.append(
            [
                str(size),
                f"{tasks:,}",
                f"{found[None].cpu_s / tasks * 1e3:.1f}",
                f"{found[size].cpu_s / found[None].cpu_s:.2f}",
                f"{found[size].wall_s / found[None].wall_s:.2f}",
            ]
        )
    head = [
        "series a block",
        "tasks",
        "ms of work a task",
        "cpu over one plain call",
        "time over it",
    ]
    table(head, rows)


def scaling(options: argparse.Namespace) -> None:
    x = walks(MANY, SAMPLES)
    described = cdist(chunked(x, 128), chunked(x, 128))
    plain = in_turns({None: lambda: cdist(x, x)}, options.repeats)[None]
    counts = [count for count in (1, 2, 4, 8, 16, 32, 64) if count <= options.workers]
    found = {}
    for count in counts:
        with cluster(count) as client:
            work = {0: lambda client=client: client.compute(described).result()}
            found[count] = in_turns(work, options.repeats, client)[0]
    print(f"{MANY} x {MANY} series, 128 x 128 a task, on processes of this machine:\n")
    rows = [
        [
            str(count),
            f"{found[count].cpu_s / plain.cpu_s:.2f}",
            f"{plain.wall_s / found[count].wall_s:.2f} x",
            f"{found[1].wall_s / found[count].wall_s:.2f} x",
        ]
        for count in counts
    ]
    head = ["workers", "their cpu over one plain call", "faster than that", "than one worker"]
    table(head, rows)


def tasks(options: argparse.Namespace) -> None:
    """Fill ``options.costs``, in processor time: what each of the three cannot share."""
    from distributed import wait

    one = walks(1, 4)
    few, many = 100, 2500

    def run(client: Any, count: int) -> tuple[float, float, float, float]:
        """Seconds of the call; of the client's thread, the scheduler's, and of workers."""
        side = math.isqrt(count)
        clocks = [
            time.thread_time,
            lambda: client.run_on_scheduler(time.thread_time),
            lambda: sum(client.run(time.process_time).values()),
        ]
        before = [clock() for clock in clocks]
        start = time.perf_counter()
        x = chunked(np.repeat(one, side, axis=0), 1)
        held = client.persist(cdist(x, x))
        wait(held)
        spent = time.perf_counter() - start
        mine, its, theirs = (
            clock() - earlier for clock, earlier in zip(clocks, before, strict=True)
        )
        return spent, mine, its, theirs

    with cluster(2) as client:
        run(client, few)
        calls = [run(client, 1)[0] for _ in range(5)]
        small, large = run(client, few), run(client, many)
    each = [(big - little) / (many - few) for little, big in zip(small[1:], large[1:], strict=True)]
    # What two pairs of 4 samples take is lost in what a worker does around them.
    options.costs = Costs(min(calls), *each)
    print("A task that does next to nothing, in processor time; and a call of one task:\n")
    names = ("client, g", "scheduler, s", "worker, o", "a call, t0")
    costs = (*options.costs[1:], options.costs[0])
    rows = [[name, f"{cost * 1e3:.2f}"] for name, cost in zip(names, costs, strict=True)]
    table(["who", "milliseconds"], rows)


def waiting(options: argparse.Namespace) -> None:
    import dask.array
    from distributed import wait

    costs: Costs = options.costs
    rows = []
    count, work_s = 192, 0.1

    def sleep(block: Any) -> Any:
        time.sleep(work_s)
        return block

    ones = dask.array.ones(count, chunks=1)
    # Each worker is a process that imports what it needs, on the processors that there are.
    for workers in (1, 2, 4, 8, 4 * options.workers):
        if workers in (int(row[0]) for row in rows):
            continue
        with cluster(workers) as client:
            wait(client.persist(ones + 1))
            start = time.perf_counter()
            wait(client.persist(ones.map_blocks(sleep, meta=np.empty(0))))
            measured = time.perf_counter() - start
        said = model_s(costs, count, work_s, workers)
        best = count * work_s / workers
        rows.append([str(workers), f"{measured / best:.2f}", f"{said / best:.2f}"])
    print("192 tasks that sleep 0.1 s, over the time of perfect workers:\n")
    table(["workers", "measured", "by the model"], rows)


def kill(options: argparse.Namespace) -> None:
    x = walks(MANY, SAMPLES)
    expected = cdist(x, x)
    workers = max(2, options.workers)
    described = cdist(chunked(x, 64), chunked(x, 64))
    tasks = (MANY // 64) ** 2

    def held(dask_scheduler: Any) -> int:
        return sum(task.state == "memory" for task in dask_scheduler.tasks.values())

    with cluster(workers) as client:
        client.compute(described).result()
        whole = seconds(lambda: client.compute(described).result())
        start = time.perf_counter()
        future = client.compute(described)
        while client.run_on_scheduler(held) < tasks // 2:
            time.sleep(0.005)
        in_middle = not future.done()
        os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
        result = future.result()
        spent = time.perf_counter() - start
    when = "half-way" if in_middle else "TOO LATE"
    same = "the same bits" if (result == expected).all() else "ANOTHER RESULT"
    print(f"One of {workers} workers killed {when}: {spent / whole:.2f} times the time, {same}\n")


def paper(options: argparse.Namespace) -> None:
    costs: Costs = options.costs
    pair_s = options.pair_us * 1e-6
    if not pair_s:
        x = walks(128, 256)
        pair_s = min(seconds(lambda: cdist(x, x), time.process_time) for _ in range(5)) / 128**2
    told = f"{pair_s * 1e6:.1f} us a pair of 256 samples"
    print(f"By the model, with {told}; nothing of this was run:\n")
    head = ["series", "workers", "series a block", "tasks", "takes", "faster", "efficiency"]
    table([*head, "limited by"], on_paper(costs, pair_s))


def on_paper(costs: Costs, pair_s: float) -> list[list[str]]:
    rows = []
    for series, samples in ASKED:
        of_pair = pair_s * (samples / 256) ** 2
        for workers in CLUSTERS:
            # Tasks of a second, but some for each worker, and not more than a scheduler holds.
            side = math.isqrt(int(1 / of_pair))
            side = min(side, int(series / math.sqrt(8 * workers)))
            side = max(side, math.ceil(series / math.sqrt(MOST_TASKS)))
            count = math.ceil(series / side) ** 2
            # At worst all series come to every worker.
            moved = series * samples * 8
            took = model_s(costs, count, of_pair * side**2, workers, moved)
            alone = of_pair * series**2
            rows.append(
                [
                    f"{series:,} x {samples}",
                    str(workers),
                    str(side),
                    f"{count:,}",
                    human(took),
                    f"{alone / took:.0f} x",
                    f"{alone / took / workers:.0%}",
                    "the scheduler"
                    if count * costs.scheduler_s > math.ceil(count / workers) * of_pair * side**2
                    else "workers",
                ]
            )
    return rows


def human(spent_s: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if spent_s >= 2 * size:
            return f"{spent_s / size:.0f} {unit}"
    return f"{spent_s:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="most workers")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--pair-us", type=float, default=0.0, help="for paper; else measured")
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
