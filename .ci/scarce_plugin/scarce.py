"""A plugin for pytest: in each test one allocation of the compiled modules fails, or Ctrl-C comes.

``--scarce-round 0`` counts each test's allocations, and how often its kernels ask whether to go on,
into the folder ``--scarce-counts``. The rounds after it take the first, the second, the third of
each test, then others, in the thread that runs the test: other threads may die of it without a
word. With ``--scarce-what memory`` that allocation fails, and the test has to pass, or to end with
MemoryError; with ``--scarce-what interrupts`` SIGINT arrives at that question, and the test has to
pass, or to end with KeyboardInterrupt. Anything else is a finding, and so is a crash.
"""

from __future__ import annotations

import ctypes
import json
import random
from pathlib import Path

import pytest

#: Rounds that take the first in turn: of allocations, these are the ones that set objects up.
IN_TURN = 3
KINDS = {"memory": MemoryError, "interrupts": KeyboardInterrupt}

_library = ctypes.CDLL(None)
_library.scarce_begin.argtypes = [ctypes.c_long, ctypes.c_long]
_library.scarce_end.restype = None


def pytest_addoption(parser):
    parser.addoption("--scarce-round", type=int, default=0)
    parser.addoption("--scarce-what", choices=list(KINDS), default="memory")
    parser.addoption("--scarce-counts", type=Path, required=True)


def pytest_configure(config):
    config.pluginmanager.register(Scarce(config), "scarcity")


def is_due_to(
    kind: type[BaseException], error: BaseException | None, looked_at: set[int] | None = None
) -> bool:
    """Whether an exception is, comes from, or holds one of a kind."""
    looked_at = set() if looked_at is None else looked_at
    if error is None or id(error) in looked_at:
        return False
    looked_at.add(id(error))
    inner = [error.__cause__, error.__context__, *getattr(error, "exceptions", ())]
    return isinstance(error, kind) or any(is_due_to(kind, one, looked_at) for one in inner)


class Scarce:
    """What counts, fails and interrupts."""

    def __init__(self, config):
        self.round = config.getoption("--scarce-round")
        self.what = config.getoption("--scarce-what")
        folder = config.getoption("--scarce-counts")
        folder.mkdir(exist_ok=True)
        worker = getattr(config, "workerinput", {}).get("workerid", "main")
        self.file = folder / f"{worker}.json"
        self.counts: dict[str, dict[str, int]] = {}
        if self.round:
            for file in folder.glob("*.json"):
                self.counts.update(json.loads(file.read_text("utf-8")))

    def nth(self, name: str) -> int:
        """Which one of a test it is in this round; 0 for none."""
        many = self.counts.get(name, {}).get(self.what, 0)
        if self.round <= min(many, IN_TURN):
            return self.round
        if many <= IN_TURN:
            return 0
        return random.Random(f"{self.round} {name}").randint(IN_TURN + 1, many)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, config, items):
        if self.round:
            left = [item for item in items if not self.nth(item.nodeid)]
            config.hook.pytest_deselected(items=left)
            items[:] = [item for item in items if self.nth(item.nodeid)]

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem):
        name = pyfuncitem.nodeid
        nth = self.nth(name) if self.round else 0
        _library.scarce_begin(*((nth, 0) if self.what == "memory" else (0, nth)))
        try:
            return (yield)
        except BaseException as error:
            if self.round and is_due_to(KINDS[self.what], error):
                return True
            raise
        finally:
            seen = (ctypes.c_long * 2)()
            _library.scarce_end(seen)
            if not self.round:
                self.counts[name] = dict(zip(KINDS, seen, strict=True))

    def pytest_sessionfinish(self):
        if not self.round:
            self.file.write_text(json.dumps(self.counts), encoding="utf-8")
