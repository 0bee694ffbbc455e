"""`Ledger`: appending under each policy of syncing, opening and verifying many records."""

from __future__ import annotations

import tempfile
from pathlib import Path

from midstream.meta import Ledger

from ._timing import SIZE

BODY = {
    "action": "continue",
    "allowed": ["continue", "nudge", "abort"],
    "features": [0.1, 0.25, 0.5],
    "propensity": 0.25,
    "session": 17,
}


def filled(path: Path, n: int, *, key: bytes | None = None) -> None:
    """A ledger of decisions, with a version every thousand records."""
    with Ledger(path, key=key, sync="never") as ledger:
        for ticket in range(n):
            if ticket % 1000 == 0:
                ledger.commit({"window": ticket}, b"%d" % ticket * 100)
            else:
                ledger.append("decision", {**BODY, "ticket": ticket}, time_ns=ticket)


class _InFolder:
    def setup(self, *_):
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "bench.ledger"

    def teardown(self, *_):
        self.folder.cleanup()


class Append(_InFolder):
    """100 records a call."""

    params = (("memory", "never", "versions", "always"), (0, 10_000))
    param_names = ("sync", "blob")

    def setup(self, sync, blob):
        super().setup()
        self.ledger = Ledger() if sync == "memory" else Ledger(self.path, sync=sync)
        self.blob = bytearray(blob)

    def teardown(self, sync, blob):
        self.ledger.close()
        super().teardown()

    def time_append_100(self, sync, blob):
        for n in range(100):
            if blob:
                # Another one each time: the same would be stored once.
                self.blob[:8] = (len(self.ledger)).to_bytes(8, "little")
            self.ledger.append("decision", BODY, blob=self.blob, time_ns=n)


class Many(_InFolder):
    """As many records as the benchmarks use."""

    params = (False, True)
    param_names = ("keyed",)
    timeout = 120

    def setup(self, keyed):
        super().setup()
        self.key = b"sixteen bytes, 1" if keyed else None
        filled(self.path, SIZE, key=self.key)
        self.ledger = Ledger(self.path, key=self.key, readonly=True)
        assert len(self.ledger) == SIZE

    def teardown(self, keyed):
        self.ledger.close()
        super().teardown()

    def time_open(self, keyed):
        Ledger(self.path, key=self.key, readonly=True).close()

    def time_verify(self, keyed):
        self.ledger.verify()

    def time_records(self, keyed):
        for _ in self.ledger.records():
            pass

    def time_current(self, keyed):
        assert self.ledger.current is not None

    def peakmem_open(self, keyed):
        Ledger(self.path, key=self.key, readonly=True).close()
