"""Print a table of other libraries' times beside ours: ``python peers.py [PART_OF_A_NAME]``."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterator

import benchmarks
from benchmarks._timing import Comparison, Peer
from rich.console import Console
from rich.table import Table


def peers(part: str) -> Iterator[tuple[str, type[Peer]]]:
    for module in pkgutil.iter_modules(benchmarks.__path__):
        if module.name.startswith("peers_"):
            loaded = importlib.import_module(f"benchmarks.{module.name}")
            for name, member in inspect.getmembers(loaded, inspect.isclass):
                full = f"{module.name.removeprefix('peers_')}.{name}"
                private = name.startswith("_") or inspect.isabstract(member)
                if issubclass(member, Peer) and not private and part in full:
                    yield full, member


def measure(benchmark: type[Peer]) -> Comparison | str:
    instance = benchmark()
    try:
        instance.setup()
    except NotImplementedError as skipped:
        return str(skipped)
    try:
        return instance.measure()
    finally:
        instance.teardown()


def seconds(value: float) -> str:
    for size, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


def main() -> None:
    table = Table("benchmark", "peer", title="peer's time over ours: above 1, ours is faster")
    for heading in ("ours", "peer's", "ratio", "quartiles"):
        table.add_column(heading, justify="right")
    part = sys.argv[1] if len(sys.argv) > 1 else ""
    chosen = list(peers(part))
    if not chosen:
        known = sorted({name.partition(".")[0] for name, _ in peers("")})
        print(f"no comparison has {part!r} in its name: {', '.join(known)}", file=sys.stderr)
        raise SystemExit(2)
    for name, benchmark in chosen:
        result = measure(benchmark)
        if isinstance(result, str):
            table.add_row(name, benchmark.library, result)
            continue
        table.add_row(
            name,
            benchmark.library,
            seconds(result.ours_s),
            seconds(result.peer_s),
            f"{result.ratio:.2f}x",
            f"{result.low:.2f} to {result.high:.2f}",
        )
    # A pipe has no width of its own, and 80 columns would cut the names.
    Console(width=None if sys.stdout.isatty() else 110).print(table)


if __name__ == "__main__":
    main()
