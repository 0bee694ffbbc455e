"""`Ledger` beside SQLite: one record, one transaction. SQLite seals nothing, and can do more."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import tempfile
from pathlib import Path

from midstream.meta import Ledger

from ._timing import SIZE, Peer
from .ledger import BODY, filled


class _Beside(Peer):
    library = "sqlite3"

    def setup(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name)
        self.prepare()

    def prepare(self):
        """Make the data."""

    def teardown(self):
        self.ledger.close()
        self.table.close()
        self.folder.cleanup()

    def connect(self, mode):
        self.table = sqlite3.connect(self.path / "a.sqlite", isolation_level=None)
        self.table.execute("PRAGMA journal_mode = WAL")
        self.table.execute(f"PRAGMA synchronous = {mode}")
        self.table.execute("CREATE TABLE record (id INTEGER PRIMARY KEY, kind, body, time_ns)")


class AppendUnsynced(_Beside):
    """A hundred records that the death of the process does not lose."""

    sync, mode = "never", "OFF"
    n = 100

    def prepare(self):
        self.ledger = Ledger(self.path / "a.ledger", sync=self.sync)
        self.connect(self.mode)

    def ours(self):
        for n in range(self.n):
            self.ledger.append("decision", BODY, time_ns=n)

    def peer(self):
        insert = "INSERT INTO record (kind, body, time_ns) VALUES (?, ?, ?)"
        for n in range(self.n):
            self.table.execute(insert, ("decision", json.dumps(BODY, sort_keys=True), n))


class AppendSynced(AppendUnsynced):
    """Ten records that the death of the machine does not lose."""

    sync, mode = "always", "FULL"
    n = 10


class Open(_Beside):
    """Open as many records as the benchmarks use, and check the chain of all of them.

    For SQLite a chain is kept in a column, and checked by whoever reads.
    """

    repeats = 5

    def prepare(self):
        filled(self.path / "a.ledger", SIZE)
        self.ledger = Ledger(self.path / "a.ledger", readonly=True)
        self.connect("OFF")
        self.table.execute("ALTER TABLE record ADD COLUMN hash")
        rows, previous = [], b""
        for record in self.ledger:
            body = json.dumps(record.body, sort_keys=True)
            previous = seal(previous, record.kind, body, record.time_ns)
            rows.append((record.kind, body, record.time_ns, previous))
        self.table.execute("BEGIN")
        insert = "INSERT INTO record (kind, body, time_ns, hash) VALUES (?, ?, ?, ?)"
        self.table.executemany(insert, rows)
        self.table.execute("COMMIT")
        assert self.ours() == self.peer() == SIZE

    def ours(self):
        with Ledger(self.path / "a.ledger", readonly=True) as ledger:
            return len(ledger)

    def peer(self):
        n, previous = 0, b""
        for kind, body, time_ns, stored in self.table.execute(
            "SELECT kind, body, time_ns, hash FROM record ORDER BY id"
        ):
            previous = seal(previous, kind, body, time_ns)
            assert previous == stored
            n += 1
        return n


def seal(previous, kind, body, time_ns):
    return hashlib.sha256(
        b"%b%b%b%d" % (previous, kind.encode(), body.encode(), time_ns or 0)
    ).digest()
