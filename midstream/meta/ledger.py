"""`Ledger`: what was proposed, decided, tried and put into force, in a file that only grows."""

from __future__ import annotations

import hashlib
import html
import json
import os
import threading
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Self

from midstream._core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    LedgerError,
    LedgerInUseError,
)
from midstream._core.validate import (
    check_choice,
    check_int,
    check_mapping,
    check_path,
    check_text,
)
from midstream._core.words import counted
from midstream.meta._canonical import decoded, encoded
from midstream.meta._journal import HASH, LARGEST, Disk, File, Frame, Journal, Memory, Store, wrong
from midstream.meta.spaces import ParamSpace, Settings

__all__ = ["Ledger", "Record", "Version"]

Sync = Literal["always", "versions", "never"]

SYNCS = ("always", "versions", "never")
#: Kinds that `Ledger.commit` and `Ledger.rollback` write, and nobody else.
OWN_KINDS = ("version", "rollback")
#: Records that an iteration reads at once, and bytes of their blobs.
BATCH, HELD = 256, 1 << 20


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a ledger.

    Attributes
    ----------
    index : int
        Counted from 0.
    kind : str
    body : dict
    blob : bytes
    time_ns : int or None
        As given by who appended it.
    hash, previous : bytes
        SHA-256 (keyed: HMAC) of the chain with this record and without.
    """

    index: int
    kind: str
    body: dict[str, Any]
    blob: bytes
    time_ns: int | None
    hash: bytes
    previous: bytes


@dataclass(frozen=True, slots=True)
class Version:
    """Settings and a learner's state that were put into force together.

    Attributes
    ----------
    number : int
        Counted from 0.
    settings : mapping of str to value
        Cannot be changed.
    state_digest : str
        SHA-256 of the state in hexadecimal; `Ledger.state` returns the state.
    parent : int or None
        Number of the version that was in force before.
    record : int
        Index of the record.
    time_ns : int or None
    cause : int or None
        Index of the record that led to it.
    restores : int or None
        Number of the version that a rollback brought back.
    reason : str
        Of the rollback.
    settings_digest, space : str or None
        Digests of `Settings` and their `ParamSpace`; None where another mapping was committed.
    """

    number: int
    settings: Mapping[str, Any]
    state_digest: str
    parent: int | None
    record: int
    time_ns: int | None = None
    cause: int | None = None
    restores: int | None = None
    reason: str = ""
    settings_digest: str | None = None
    space: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", MappingProxyType(dict(self.settings)))

    def __hash__(self) -> int:
        return hash((self.number, self.record, self.state_digest, self.settings_digest))

    def __reduce__(self) -> tuple[Any, ...]:
        return Version, (
            self.number,
            dict(self.settings),
            self.state_digest,
            self.parent,
            self.record,
            self.time_ns,
            self.cause,
            self.restores,
            self.reason,
            self.settings_digest,
            self.space,
        )

    def settings_in(self, space: ParamSpace) -> Settings:
        """The settings as ones of the space that they were committed from.

        Raises
        ------
        LedgerError
            They are of another space, or another digest was recorded than they have.
        """
        if not isinstance(space, ParamSpace):
            raise ArgumentTypeError(f"space must be a ParamSpace, got {type(space).__name__}")
        if self.space != space.digest:
            raise LedgerError(
                f"record {self.record}: version {self.number} has settings of the space "
                f"{str(self.space)[:16]}, got the space {space.digest[:16]}",
                record=self.record,
            )
        settings = space.settings(self.settings)
        if settings.digest != self.settings_digest:
            raise LedgerError(
                f"record {self.record}: settings of version {self.number} have the digest "
                f"{settings.digest[:16]}, recorded is {str(self.settings_digest)[:16]}",
                record=self.record,
            )
        return settings


class Ledger:
    """Append-only records, each sealed with all that came before, and versions to go back to.

    Parameters
    ----------
    path : str or path, optional
        The file, which is made where there is none. Without, the ledger is kept in memory, as the
        same bytes.
    key : bytes, optional
        16 or more. Whoever lacks it can neither forge nor change a record unnoticed. The same key
        opens the ledger again.
    head : bytes or str, optional
        A `head` that was noted earlier, in hexadecimal if str: the ledger must still contain it.
        Records that were cut off at the end show in no other way.
    sync : {"always", "versions", "never"}
        What is on the disk, whatever happens to the machine, when a method returns: every record,
        everything up to the last version, or nothing in particular. When only the process dies,
        nothing that was returned is lost either way.
    readonly : bool
        Read what there is, also while another process writes.

    Attributes
    ----------
    head : bytes
        Hash of the last record (of the file's header before the first).
    versions : list of Version
    current : Version or None
        The version in force: the last one.
    recovered_bytes : int
        What opening cut off: a record that was being written when its writer died.
    nbytes : int
        Bytes of the file.
    path : str or None
    readonly, keyed, closed : bool
    sync_policy : str

    Raises
    ------
    LedgerError
        The file is no ledger; was damaged or altered, at the record that the error names; the key
        is wrong or missing; `head` is not in it.
    LedgerInUseError
        Another writer, here or in another process, has it open.
    OSError
        The file cannot be opened, read or written.

    See Also
    --------
    ParamSpace : what versions hold settings of.

    Notes
    -----
    *Crashes.* A record is one write behind the last one. A process that dies at any byte leaves a
    ledger that opens: what is incomplete at the end is cut off, and everything before it is there.
    So does a machine, as long as the disk keeps what it was made to sync; sectors at the end that
    were never written may read as zeros. Where a file system writes the sectors of what was not
    synced in another order (all of ``sync="never"``), opening may find a record damaged instead;
    `salvage` reads those before it. A new version is one record, a rollback as well: there is
    always one version in force.

    *Errors.* If the disk is full or fails, the half-written record is cut off, the error raised,
    and the ledger is as before and may be used. What was appended since the last sync may be lost
    where syncing itself fails.

    *Tampering.* Every change, removal or move of records breaks the chain at the record where it
    begins. Who can write the file can also write a new chain, or cut off its end: against the first
    use `key`, against the second keep `head` elsewhere. A ledger proves what was recorded, not that
    it was true.

    *Cost.* An append takes some tens of microseconds, without syncing; opening reads and checks
    everything, some microseconds a record, and keeps 8 bytes a record and 100 a blob.

    *Threads and processes.* Threads take turns. After a fork only the parent can write.

    Times come from the caller, so that the same calls give the same bytes.

    Examples
    --------
    >>> from midstream.meta.ledger import Ledger
    >>> ledger = Ledger()
    >>> proposal = ledger.append("proposal", {"window": 30}, time_ns=0)
    >>> ledger.commit({"window": 20}, b"state", cause=proposal.index).number
    0
    >>> ledger.commit({"window": 30}, b"other", cause=proposal.index).number
    1
    >>> version = ledger.rollback(0, "slower than before")
    >>> version.number, version.settings["window"], ledger.state(version.number)
    (2, 20, b'state')
    >>> [record.kind for record in ledger.records()]
    ['proposal', 'version', 'version', 'rollback']
    >>> ledger.verify()
    4
    """

    _disk: ClassVar[Disk] = Disk()

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        key: bytes | None = None,
        head: bytes | str | None = None,
        sync: Sync = "always",
        readonly: bool = False,
    ) -> None:
        if path is None and readonly:
            raise ArgumentValueError("readonly must be False without a path, got True")
        place = None if path is None else check_path("path", path)
        key, pinned = _check_key(key), _check_head(head)
        check_choice("sync", sync, SYNCS)
        store: Store = Memory()
        if place is not None:
            store = File(place, self._disk, readonly=bool(readonly))
        self._open(store, place, key, pinned, sync, bool(readonly))

    @classmethod
    def from_bytes(
        cls, data: bytes, *, key: bytes | None = None, head: bytes | str | None = None
    ) -> Self:
        """A ledger in memory with the bytes of another, as `to_bytes` or its file has them.

        Raises
        ------
        LedgerError
            As opening a file. An incomplete record at the end is cut off.
        """
        store = Memory(_check_blob("data", data))
        made = cls.__new__(cls)
        made._open(store, None, _check_key(key), _check_head(head), "never", False)
        return made

    @classmethod
    def salvage(cls, path: str | os.PathLike[str], *, key: bytes | None = None) -> Self:
        """What is right in a damaged file, up to the first record that is not: in memory.

        The file is read only: it is evidence. To go on, write `to_bytes` to another one.

        Parameters
        ----------
        path : str or path
        key : bytes, optional

        Returns
        -------
        Ledger
            Its `recovered_bytes` are those that were left behind.

        Raises
        ------
        LedgerError
            The file is no ledger, or the key is wrong.
        OSError
            It cannot be read.

        Examples
        --------
        >>> import pathlib, tempfile
        >>> from midstream.meta.ledger import Ledger
        >>> ledger = Ledger()
        >>> _ = [ledger.append("k", {"n": n}) for n in range(3)]
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = pathlib.Path(folder.name, "damaged.ledger")
        >>> _ = path.write_bytes(ledger.to_bytes().replace(b'{"n":1}', b'{"n":7}'))
        >>> Ledger(path)
        Traceback (most recent call last):
            ...
        midstream._core.errors.LedgerError: record 1 is damaged or was altered: its hash is wrong
        >>> [record.body for record in Ledger.salvage(path)]
        [{'n': 0}]
        >>> folder.cleanup()
        """
        place, key = check_path("path", path), _check_key(key)
        file = File(place, cls._disk, readonly=True)
        try:
            data = file.read(0, file.size())
        finally:
            file.close()
        journal = Journal(Memory(data), key, place)
        end = journal.sound(len(data), partial(_check_all, journal))
        made = cls.from_bytes(data[:end], key=key)
        made._recovered = len(data) - end
        return made

    def _open(
        self,
        store: Store,
        path: str | None,
        key: bytes | None,
        pinned: bytes | None,
        sync: str,
        readonly: bool,
    ) -> None:
        self._path = path
        self._key = key
        self._sync = sync
        self._readonly = readonly
        self._recovered = 0
        self._closed = False
        self._lock = threading.RLock()
        self._busy = False
        self._pid = os.getpid()
        self._journal = Journal(store, key, path or "data")
        try:
            self._load(pinned)
        except BaseException:
            store.close()
            raise
        _OPEN.add(self)

    def _load(self, pinned: bytes | None) -> None:
        """Read what is new; as a writer cut off what is incomplete, and begin a new file."""
        journal = self._journal
        store = journal.store
        check = partial(_check_version, journal)
        failed: object = None
        while True:
            stamp, size = store.stamp(), store.size()
            try:
                end = journal.scan(size, pinned, check)
                break
            except LedgerError:
                # A writer may have cut off its last record and written another meanwhile: damage
                # is still there the next time.
                if not self._readonly or stamp == failed:
                    raise
                failed = stamp
        if self._readonly:
            return
        if end < size:
            store.truncate(end)
            store.sync()
            self._recovered = size - end
        if end == 0:
            journal.begin()

    # Reading

    @property
    def path(self) -> str | None:
        """Where the file is, None of a ledger in memory."""
        return self._path

    @property
    def head(self) -> bytes:
        """Hash of the last record (of the file's header before the first)."""
        return self._journal.head

    @property
    def nbytes(self) -> int:
        """Bytes of the file."""
        return self._journal.end

    @property
    def keyed(self) -> bool:
        """Whether hashes are made with a key."""
        return self._key is not None

    @property
    def readonly(self) -> bool:
        """Whether it was opened to be read."""
        return self._readonly

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    @property
    def sync_policy(self) -> str:
        """When records are made to reach the disk."""
        return self._sync

    @property
    def recovered_bytes(self) -> int:
        """What opening cut off: a record that was being written when its writer died."""
        return self._recovered

    @property
    def versions(self) -> list[Version]:
        """All versions, in the order of their numbers; each is read from the file."""
        return [self._version(number) for number in range(len(self._journal.versions))]

    @property
    def current(self) -> Version | None:
        """The version in force: the last one. It is read from the file."""
        with self._lock:
            journal = self._checked()
            n = len(journal.versions)
            return self._version(n - 1) if n else None

    def __len__(self) -> int:
        """Number of records."""
        return len(self._journal.offsets)

    def __getitem__(self, index: int) -> Record:
        """The record of an index; negative ones count from the end.

        Raises
        ------
        IndexError
        LedgerError
            It is not what it was when the ledger was opened.
        """
        number = check_int("index", index)
        with self._lock:
            journal = self._checked()
            n = len(journal.offsets)
            number += n * (number < 0)
            if not 0 <= number < n:
                raise IndexError(f"index must be within [-{n}, {n}), got {index!r}")
            return _as_record(journal, journal.one(number))

    def __iter__(self) -> Iterator[Record]:
        return self.records()

    def records(self, kind: str | None = None, *, start: int = 0) -> Iterator[Record]:
        """Records in their order, read as they are asked for.

        Parameters
        ----------
        kind : str, optional
            Only these.
        start : int
            Index of the first.

        Yields
        ------
        Record
            Those that there were at the call; each is checked against its hash.

        Raises
        ------
        LedgerError
            The file was changed since it was opened.
        """
        start = check_int("start", start, low=0)
        wanted = None if kind is None else _check_kind(kind)
        return self._records(start, len(self), wanted)

    def state(self, number: int) -> bytes:
        """The learner's state of a version.

        Raises
        ------
        ArgumentValueError
            There is no such version.
        LedgerError
            It is not the state that the version's digest is of.
        """
        with self._lock:
            journal = self._checked()
            version = self._version(number)
            state = _blob_of(journal, journal.one(version.record))
        if hashlib.sha256(state).hexdigest() != version.state_digest:
            raise wrong(
                version.record, f"holds another state than the digest of version {number} is of"
            )
        return state

    def verify(self, head: bytes | str | None = None) -> int:
        """Read everything again and check it.

        Parameters
        ----------
        head : bytes or str, optional
            A `head` that was noted earlier and must be there.

        Returns
        -------
        int
            Number of records, all found right: hashes, order, form of the bodies, blobs that are
            referred to, versions and their states.

        Raises
        ------
        LedgerError
            `record` is the index of the first that is wrong.
        """
        pinned = _check_head(head)
        with self._lock:
            journal = self._checked()
            again = Journal(journal.store, self._key, self._path or "data")
            again.scan(journal.end, pinned, partial(_check_all, again))
            n, was = len(again.offsets), len(journal.offsets)
            if n < was or again.head != journal.head:
                at = min(n, was)
                raise wrong(at, f"is where the file was changed since it was opened, with {was}")
        return n

    def refresh(self) -> int:
        """Take in what a writer has appended since.

        Returns
        -------
        int
            How many records.

        Raises
        ------
        LedgerError
            What is new is damaged, or something that was there is gone: a record that a writer's
            failing disk took back may have been seen. Nothing is taken in then.
        """
        with self._lock:
            journal = self._checked()
            before = len(journal.offsets)
            if self._readonly:
                self._load(None)
            return len(journal.offsets) - before

    def to_bytes(self) -> bytes:
        """All records as the file has them."""
        with self._lock:
            journal = self._checked()
            return journal.store.read(0, journal.end)

    def to_jsonl(self, path: str | os.PathLike[str]) -> int:
        """Write the records as JSON, one a line; of blobs the length and the SHA-256.

        Returns
        -------
        int
            Number of lines.
        """
        place = check_path("path", path)
        target = Path(place)
        if self._path is not None and target.exists() and target.samefile(self._path):
            raise ArgumentValueError(f"path must not be the ledger itself, got {place!r}")
        n = 0
        with target.open("w", encoding="ascii", newline="\n") as lines:
            for record in self.records():
                blob: Any = None
                if record.blob:
                    digest = hashlib.sha256(record.blob).hexdigest()
                    blob = {"bytes": len(record.blob), "sha256": digest}
                told = {
                    "blob": blob,
                    "body": record.body,
                    "hash": record.hash.hex(),
                    "index": record.index,
                    "kind": record.kind,
                    "previous": record.previous.hex(),
                    "time_ns": record.time_ns,
                }
                lines.write(json.dumps(told, sort_keys=True, separators=(",", ":")) + "\n")
                n += 1
        return n

    def describe(self) -> str:
        """What is in it, for people: reads everything."""
        kinds = Counter(record.kind for record in self.records())
        lines = [
            f"ledger   {self._path or 'in memory'}{', keyed' * self.keyed}",
            f"records  {len(self)}, {self.nbytes} bytes",
            f"head     {self.head.hex()}",
            *(f"  {n:>8}  {kind}" for kind, n in sorted(kinds.items())),
        ]
        lines += ["  ".join(row).rstrip() for row in _columns(_version_rows(self.versions))]
        return "\n".join(lines)

    def __repr__(self) -> str:
        where = "in memory" if self._path is None else f"at {self._path!r}"
        closed = ", closed" * self.closed
        return (
            f"<Ledger {where} of {counted(len(self), 'record')}, "
            f"{counted(len(self._journal.versions), 'version')}, "
            f"head {self.head.hex()[:16]}{closed}>"
        )

    def _repr_html_(self) -> str:
        n = len(self._journal.versions)
        rows = _version_rows([self._version(number) for number in range(max(0, n - 20), n)])
        marks = ["th"] + ["td"] * (len(rows) - 1)
        table = "".join(
            f"<tr>{''.join(f'<{mark}>{html.escape(cell)}</{mark}>' for cell in row)}</tr>"
            for mark, row in zip(marks, rows, strict=True)
        )
        return f"<p>{html.escape(repr(self)[1:-1])}</p><table>{table}</table>"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a Ledger cannot be pickled or copied: it holds a lock; use to_bytes()")

    # Writing

    def append(
        self,
        kind: str,
        body: Mapping[str, Any],
        *,
        blob: bytes = b"",
        time_ns: int | None = None,
    ) -> Record:
        """Write a record; it is the last one, and sealed, when this returns.

        Parameters
        ----------
        kind : str
            What it is: at most 255 bytes, and neither ``"version"`` nor ``"rollback"``.
        body : mapping
            What JSON has: text keys, finite numbers. Tuples read back as lists.
        blob : bytes
            Anything larger, at most 4 GiB. One that an earlier record has is not stored again.
        time_ns : int, optional
            When, on the caller's clock.

        Returns
        -------
        Record

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            Nothing was written.
        OSError
            The disk is full or fails; nothing was written.
        LedgerError
            Closed or read-only.
        LedgerInUseError
            In a process that was forked off, or within another append of this thread.
        """
        if check_text("kind", kind) in OWN_KINDS:
            raise ArgumentValueError(
                f"kind must not be one that commit and rollback write, got {kind!r}"
            )
        return self._append(kind, dict(check_mapping("body", body)), blob, time_ns)

    def commit(
        self,
        settings: Settings | Mapping[str, Any],
        state: bytes,
        *,
        cause: int | None = None,
        time_ns: int | None = None,
    ) -> Version:
        """Put settings and a learner's state into force, as one record.

        Parameters
        ----------
        settings : Settings or mapping
        state : bytes
            As the learner's `snapshot` gives it.
        cause : int, optional
            Index of the record that led to it.
        time_ns : int, optional

        Returns
        -------
        Version

        Raises
        ------
        OSError, LedgerError, LedgerInUseError, ArgumentTypeError, ArgumentValueError
            As `append`; the version in force stays.
        """
        check_mapping("settings", settings)
        body: dict[str, Any] = {
            "settings": dict(settings),
            "settings_digest": settings.digest if isinstance(settings, Settings) else None,
            "space": settings.space.digest if isinstance(settings, Settings) else None,
        }
        return self._put("version", body, state, cause, time_ns)

    def rollback(
        self,
        number: int,
        reason: str = "",
        *,
        cause: int | None = None,
        time_ns: int | None = None,
    ) -> Version:
        """Put an earlier version's settings and state into force again, as one record.

        Parameters
        ----------
        number : int
            The earlier version.
        reason : str
            For people.
        cause : int, optional
            Index of the record that led to it.
        time_ns : int, optional

        Returns
        -------
        Version
            A new one, whose settings and state are exactly those.

        Raises
        ------
        ArgumentValueError
            There is no such version.
        LedgerError
            Its state is not what its digest is of.
        OSError, LedgerInUseError, ArgumentTypeError
            As `append`; the version in force stays.
        """
        check_text("reason", reason)
        old = self._version(number)
        body: dict[str, Any] = {
            "reason": reason,
            "restores": old.number,
            "settings": dict(old.settings),
            "settings_digest": old.settings_digest,
            "space": old.space,
        }
        return self._put("rollback", body, self.state(old.number), cause, time_ns)

    def sync(self) -> None:
        """Have everything on the disk when this returns."""
        with self._lock:
            self._checked(write=True).store.sync()

    def close(self) -> None:
        """Let go of the file and the lock; a second time does nothing.

        Raises
        ------
        LedgerInUseError
            Called from within a write, as a signal's handler could.
        """
        with self._lock:
            if self._closed:
                return
            if self._busy:
                raise LedgerInUseError(
                    "the ledger is being written by this very thread: closed from within"
                )
            self._closed = True
            self._journal.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What they are made of

    def _checked(self, *, write: bool = False) -> Journal:
        """What is read or written, under the lock; reading may be nested.

        The lock is taken by a plain ``with`` each time, and `_busy` set and cleared in plain sight:
        between those the interpreter does not look for signals, in context managers it does.
        """
        if self._busy:
            raise LedgerInUseError(
                "the ledger is being written by this very thread: called from within"
            )
        if self._path is not None and self._pid != os.getpid():
            raise LedgerInUseError(
                f"the ledger belongs to process {self._pid}: open it anew in {os.getpid()}"
            )
        if self._closed:
            raise LedgerError("the ledger is closed")
        if write and self._readonly:
            raise LedgerError("the ledger was opened with readonly=True: it cannot be written")
        return self._journal

    def _append(
        self,
        kind: str,
        body: dict[str, Any],
        blob: bytes,
        time_ns: int | None,
        *,
        version: bool = False,
    ) -> Record:
        name = _check_kind(kind)
        blob = _check_blob("blob", blob)
        text = encoded("body", body)
        if len(text) > LARGEST:
            raise ArgumentValueError(f"body must be at most {LARGEST} bytes, got {len(text)}")
        if time_ns is not None:
            time_ns = check_int("time_ns", time_ns, low=-(2**63), high=2**63 - 1)
        sync = self._sync == "always" or (version and self._sync == "versions")
        with self._lock:
            journal = self._checked(write=True)
            try:
                self._busy = True
                index, seal, previous = journal.append(
                    name, text, blob, time_ns, version=version, sync=sync
                )
            finally:
                self._busy = False
        return Record(index, kind, json.loads(text), blob, time_ns, seal, previous)

    def _put(
        self, kind: str, body: dict[str, Any], state: bytes, cause: int | None, time_ns: int | None
    ) -> Version:
        state = _check_blob("state", state)
        with self._lock:
            journal = self._checked()
            n_records, n = len(journal.offsets), len(journal.versions)
            if cause is not None:
                cause = check_int("cause", cause, low=0)
                if cause >= n_records:
                    raise ArgumentValueError(
                        f"cause must be the index of a record, got {cause!r} of {n_records}"
                    )
            body |= {
                "cause": cause,
                "number": n,
                "parent": n - 1 if n else None,
                "state": hashlib.sha256(state).hexdigest(),
            }
            record = self._append(kind, body, state, time_ns, version=True)
        return _as_version(record.index, record.kind, record.body, record.time_ns)

    def _version(self, number: int) -> Version:
        with self._lock:
            journal = self._checked()
            n = len(journal.versions)
            number = check_int("number", number)
            if not 0 <= number < n:
                raise ArgumentValueError(
                    f"number must be that of one of {n} versions, counted from 0, got {number!r}"
                )
            return _version_of(journal.one(journal.versions[number]))

    def _records(self, start: int, stop: int, kind: bytes | None) -> Iterator[Record]:
        while start < stop:
            # Some at a time, so that the caller may append meanwhile.
            batch: list[Record] = []
            with self._lock:
                journal = self._checked()
                held = 0
                for frame in journal.some(start, min(stop, start + BATCH)):
                    start = frame.index + 1
                    if kind is None or frame.kind == kind:
                        batch.append(_as_record(journal, frame))
                        held += len(batch[-1].blob)
                        if held > HELD:
                            break
            yield from batch


#: Ledgers of this process, to be let go of in processes that are forked off.
_OPEN: weakref.WeakSet[Ledger] = weakref.WeakSet()


def _let_go() -> None:
    """In a child: its copy of an open file would hold the lock when the parent has gone."""
    for ledger in list(_OPEN):
        # The lock may be held by a thread that the child does not have.
        ledger._lock = threading.RLock()
        ledger._busy = False
        if ledger._path is not None:
            ledger.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


def _check_key(key: bytes | None) -> bytes | None:
    if key is None:
        return None
    if not isinstance(key, bytes):
        raise ArgumentTypeError(f"key must be bytes, got {type(key).__name__}")
    if len(key) < 16:
        raise ArgumentValueError(f"key must be 16 bytes or more, got {len(key)}")
    return key


def _check_head(head: bytes | str | None) -> bytes | None:
    if head is None:
        return None
    if isinstance(head, str):
        try:
            head = bytes.fromhex(head)
        except ValueError:
            raise ArgumentValueError(f"head must be hexadecimal, got {head!r:.80}") from None
    if not isinstance(head, bytes):
        raise ArgumentTypeError(f"head must be bytes or str, got {type(head).__name__}")
    if len(head) != HASH:
        raise ArgumentValueError(f"head must be {HASH} bytes, got {len(head)}")
    return head


def _check_kind(kind: str) -> bytes:
    try:
        name = check_text("kind", kind).encode()
    except UnicodeEncodeError:
        raise ArgumentValueError(f"kind must be valid Unicode, got {kind!r:.80}") from None
    if not 1 <= len(name) <= 255:
        raise ArgumentValueError(f"kind must be 1 to 255 bytes, got {len(name)}: {kind!r:.80}")
    return name


def _check_blob(name: str, blob: bytes) -> bytes:
    try:
        content = blob if type(blob) is bytes else bytes(memoryview(blob))
    except TypeError:
        raise ArgumentTypeError(f"{name} must be bytes, got {type(blob).__name__}") from None
    if len(content) > LARGEST:
        raise ArgumentValueError(f"{name} must be at most {LARGEST} bytes, got {len(content)}")
    return content


def _kind_of(frame: Frame) -> str:
    try:
        return frame.kind.decode()
    except UnicodeDecodeError:
        raise wrong(frame.index, f"has a kind that is no text: {frame.kind!r:.80}") from None


def _body_of(frame: Frame, *, strict: bool = False) -> dict[str, Any]:
    """Strictly, only what `Ledger.append` would have written."""
    try:
        body = decoded(frame.body) if strict else json.loads(frame.body)
    except (ValueError, RecursionError) as error:
        raise wrong(frame.index, f"has a body that is no JSON of ours: {error}") from None
    if not isinstance(body, dict):
        raise wrong(frame.index, f"has a body that is no mapping: {type(body).__name__}")
    return body


def _blob_of(journal: Journal, frame: Frame) -> bytes:
    holder = frame.holder
    if holder is None:
        return frame.payload
    if holder < frame.index:
        other = journal.one(holder)
        if other.holder is None and other.digest == frame.digest:
            return other.payload
    raise wrong(frame.index, f"refers to a blob that record {holder} does not have")


def _as_record(journal: Journal, frame: Frame) -> Record:
    return Record(
        frame.index,
        _kind_of(frame),
        _body_of(frame),
        _blob_of(journal, frame),
        frame.time_ns,
        frame.hash,
        frame.previous,
    )


def _version_of(frame: Frame) -> Version:
    return _as_version(frame.index, _kind_of(frame), _body_of(frame, strict=True), frame.time_ns)


def _check_version(journal: Journal, frame: Frame) -> None:
    """What a version says must fit what is before it."""
    if not frame.is_version:
        return
    index, n = frame.index, len(journal.versions)
    version = _version_of(frame)
    if (version.number, version.parent) != (n, n - 1 if n else None):
        raise wrong(index, f"should be version {n}, but is version {version.number}")
    if version.cause is not None and version.cause >= index:
        raise wrong(index, f"has record {version.cause} for a cause, which comes later")
    if bytes.fromhex(version.state_digest) != (frame.digest or hashlib.sha256().digest()):
        raise wrong(index, f"holds another state than the digest of version {n} is of")
    if version.settings_digest is not None:
        content = {"space": version.space, "values": dict(version.settings)}
        if hashlib.sha256(encoded("settings", content)).hexdigest() != version.settings_digest:
            raise wrong(index, f"holds other settings than the digest of version {n} is of")
    if version.restores is not None:
        if version.restores >= n:
            raise wrong(index, f"restores version {version.restores}, which comes later")
        old = _version_of(journal.one(journal.versions[version.restores]))
        if (old.settings, old.state_digest) != (version.settings, version.state_digest):
            raise wrong(index, f"restores version {version.restores}, but with other content")


def _check_all(journal: Journal, frame: Frame) -> None:
    _check_version(journal, frame)
    kind = _kind_of(frame)
    _body_of(frame, strict=True)
    if not kind or (kind in OWN_KINDS) != frame.is_version:
        raise wrong(frame.index, f"has a kind that it cannot have: {kind!r}")


#: Fields of a version's body -> types.
_VERSION_FIELDS: dict[str, tuple[type, ...]] = {
    "cause": (int, type(None)),
    "number": (int,),
    "parent": (int, type(None)),
    "settings": (dict,),
    "settings_digest": (str, type(None)),
    "space": (str, type(None)),
    "state": (str,),
}
_ROLLBACK_FIELDS: dict[str, tuple[type, ...]] = {
    **_VERSION_FIELDS,
    "reason": (str,),
    "restores": (int,),
}


def _as_version(index: int, kind: str, body: dict[str, Any], time_ns: int | None) -> Version:
    fields = {"version": _VERSION_FIELDS, "rollback": _ROLLBACK_FIELDS}.get(kind)
    if fields is None or body.keys() != fields.keys():
        raise wrong(index, f"is no version: its kind is {kind!r:.80}, its fields {sorted(body)}")
    for name, types in fields.items():
        value = body[name]
        if (
            not isinstance(value, types)
            or isinstance(value, bool)
            or (type(value) is int and value < 0)
        ):
            raise wrong(index, f"is no version: {name} is {value!r:.80}")
    state = body["state"]
    if len(state) != 64 or set(state) - set("0123456789abcdef"):
        raise wrong(index, f"is no version: state is {state!r:.80}")
    return Version(
        number=body["number"],
        settings=body["settings"],
        state_digest=state,
        parent=body["parent"],
        record=index,
        time_ns=time_ns,
        cause=body["cause"],
        restores=body.get("restores"),
        reason=body.get("reason", ""),
        settings_digest=body["settings_digest"],
        space=body["space"],
    )


def _version_rows(versions: list[Version]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("version", "record", "cause", "restores", "settings", "state")]
    for one in versions:
        settings = ", ".join(f"{name}={value!r}" for name, value in one.settings.items())
        cause, restores = (
            "" if number is None else str(number) for number in (one.cause, one.restores)
        )
        state = one.state_digest[:16]
        rows.append((str(one.number), str(one.record), cause, restores, settings, state))
    return rows


def _columns(rows: list[tuple[str, ...]]) -> list[list[str]]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
