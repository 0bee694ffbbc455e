"""A ledger's inputs taken again: where a loop comes back from, and what `replay` compares."""

from __future__ import annotations

from collections.abc import Sequence

from midstream._core.errors import LedgerError
from midstream.meta._canonical import encoded
from midstream.meta._machine import Commit, Machine
from midstream.meta.ledger import OWN_KINDS, Ledger, Record

__all__ = ["CHECKPOINT", "OPEN", "PATTERNS", "Follower", "commit"]

#: Kinds that a loop writes beside inputs.
OPEN, CHECKPOINT, PATTERNS = "open", "checkpoint", "patterns"


class Follower:
    """Takes a ledger's records again, and compares what comes of them.

    Parameters
    ----------
    machine : Machine
    ledger : Ledger
        The one that the records are of; or, with `writes`, one that gets all of them anew.
    """

    def __init__(self, machine: Machine, ledger: Ledger, *, writes: bool = False) -> None:
        self._machine = machine
        self._ledger = ledger
        self._writes = writes
        #: Versions that must come next.
        self._due: list[Commit] = []
        self._cause: int | None = 0
        self._time_ns: int | None = None
        #: Inputs since the last checkpoint.
        self.inputs = 0

    def take(self, record: Record) -> None:
        """Take the next record."""
        if record.kind in OWN_KINDS:
            self._take_version(record)
            return
        if self._due:
            raise LedgerError(
                f"record {record.index}: a version is missing before it", record=record.index
            )
        if record.kind == OPEN:
            start = self._machine
            self._due = [Commit(None, start.settings, start.learner_state(), "")]
            self._cause, self._time_ns = record.index, record.time_ns
        elif record.kind == CHECKPOINT:
            self.inputs = 0
            if record.blob != self._machine.snapshot():
                raise LedgerError(
                    f"record {record.index}: the state is another than its inputs make",
                    record=record.index,
                )
        elif self._machine.knows(record.kind):
            self._take_input(record)
        if self._writes:
            self._ledger.append(record.kind, record.body, blob=record.blob, time_ns=record.time_ns)

    def end(self) -> None:
        """There are no more: write what a crash has left out."""
        commit(self._ledger, self._due, self._cause, self._time_ns)
        self._due = []

    def _take_input(self, record: Record) -> None:
        given = record.body["given"]
        state = self._ledger.state(given["version"]) if record.kind == "revert" else b""
        decided = self._machine.take(record.kind, given, state)
        if encoded("decided", decided) != encoded("decided", record.body["decided"]):
            raise LedgerError(
                f"record {record.index}: {record.kind!r} decides otherwise than it was recorded",
                record=record.index,
            )
        self._due = list(self._machine.commits)
        self._cause, self._time_ns = record.index, record.time_ns
        self.inputs += 1

    def _take_version(self, record: Record) -> None:
        if "restores" in record.body and record.body["cause"] is None:
            # From outside the loop, as by `midstream loop --rollback`: an input of its own. What a
            # crash had left undone before is not made good any more.
            self._machine.uncommit(len(self._due))
            body = record.body
            given = {
                "version": body["restores"],
                "settings": body["settings"],
                "reason": body["reason"],
                "time_ns": record.time_ns or 0,
            }
            self._machine.take("revert", given, record.blob)
            self._due = list(self._machine.commits)
            self._cause, self._time_ns = None, record.time_ns
            self.inputs += 1
        if not self._due:
            raise LedgerError(
                f"record {record.index}: nothing led to this version", record=record.index
            )
        due = self._due.pop(0)
        body = record.body
        if (
            body.get("restores") != due.restores
            or body["settings"] != due.settings.to_dict()
            or record.blob != due.state
        ):
            raise LedgerError(
                f"record {record.index}: the version is another than its cause makes",
                record=record.index,
            )
        if self._writes:
            commit(self._ledger, [due], self._cause, self._time_ns)


def commit(
    ledger: Ledger, commits: Sequence[Commit], cause: int | None, time_ns: int | None
) -> None:
    for settings, state, restores, reason in (
        (one.settings, one.state, one.restores, one.reason) for one in commits
    ):
        if restores is None:
            ledger.commit(settings, state, cause=cause, time_ns=time_ns)
        else:
            ledger.rollback(restores, reason, cause=cause, time_ns=time_ns)
