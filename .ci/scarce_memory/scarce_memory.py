"""A plugin for pytest: in each test one allocation of the compiled modules fails.

``--scarce-round 0`` counts each test's allocations, into the folder ``--scarce-counts``; the rounds
after it fail the first, the second, the third of each test, then others, in the thread that runs
the test: other threads may die of it without a word. A test then has to pass, or to end with
MemoryError; anything else is a finding, and so is a crash.
"""

from __future__ import annotations

import ctypes
import json
import random
from pathlib import Path

import pytest

#: Rounds that take the first allocations in turn: these are the ones that set objects up.
IN_TURN = 3

_library = ctypes.CDLL(None)
_library.scarce_begin.argtypes = [ctypes.c_long]
_library.scarce_end.restype = ctypes.c_long


def pytest_addoption(parser):
    parser.addoption("--scarce-round", type=int, default=0)
    parser.addoption("--scarce-counts", type=Path, required=True)


def pytest_configure(config):
    config.pluginmanager.register(Scarce(config), "scarce")


def of_memory(error: BaseException | None, looked_at: set[int] | None = None) -> bool:
    """Whether an exception is, comes from, or holds a MemoryError."""
    looked_at = set() if looked_at is None else looked_at
    if error is None or id(error) in looked_at:
        return False
    looked_at.add(id(error))
    inner = [error.__cause__, error.__context__, *getattr(error, "exceptions", ())]
    return isinstance(error, MemoryError) or any(of_memory(one, looked_at) for one in inner)


class Scarce:
    """What counts and fails."""

    def __init__(self, config):
        self.round = config.getoption("--scarce-round")
        folder = config.getoption("--scarce-counts")
        folder.mkdir(exist_ok=True)
        worker = getattr(config, "workerinput", {}).get("workerid", "main")
        self.file = folder / f"{worker}.json"
        self.counts: dict[str, int] = {}
        if self.round:
            for file in folder.glob("*.json"):
                self.counts.update(json.loads(file.read_text("utf-8")))

    def nth(self, name: str) -> int:
        """Which allocation of a test fails in this round; 0 for none."""
        many = self.counts.get(name, 0)
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
        _library.scarce_begin(self.nth(name) if self.round else 0)
        try:
            return (yield)
        except BaseException as error:
            if self.round and of_memory(error):
                return True
            raise
        finally:
            seen = _library.scarce_end()
            if not self.round:
                self.counts[name] = seen

    def pytest_sessionfinish(self):
        if not self.round:
            self.file.write_text(json.dumps(self.counts), encoding="utf-8")
