"""`Library`: a folder of recordings with an index to search, in SQLite."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from midstream._core.errors import ArgumentValueError, RecordingError
from midstream._core.validate import check_choice, check_int, check_path, check_real, check_text
from midstream.stream.events import SEVERITIES, Finding, Severity
from midstream.stream.recording.folders import RecordingsFolder, check_name
from midstream.stream.recording.lines import shown
from midstream.stream.recording.summing import Summary, sum_up, utc_text

__all__ = ["Entry", "Hit", "Library", "Reindexed"]

_INDEX = "index.sqlite3"
#: Of the tables below; an index of another version is made anew.
_SCHEMA = 1
_WAIT_S = 30.0
_MOST_MESSAGE_CHARS = 200
#: What a damaged file makes sqlite3 raise; it writes of damaged names in messages of its own.
_ERRORS = (sqlite3.Error, UnicodeDecodeError)
#: Codes of what has nothing to do with what is in the file: permissions, locks, memory, the disk.
_OUTSIDE = frozenset(
    {
        *(sqlite3.SQLITE_PERM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM),
        *(sqlite3.SQLITE_READONLY, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_IOERR),
        *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_AUTH),
    }
)
#: Unpacked bytes of one recording that are read for the index.
_MAX_BYTES = 1 << 30
_MOST_HIT_FINDINGS = 20
_WORDS = re.compile(r'"([^"]*)"?|(\S+)')
_TABLES = """
CREATE TABLE recordings (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    changed_ns INTEGER NOT NULL,
    created TEXT NOT NULL,
    source TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    outcome TEXT,
    error TEXT,
    complete INTEGER NOT NULL,
    events INTEGER NOT NULL,
    lost INTEGER NOT NULL,
    chars INTEGER NOT NULL,
    duration_s REAL NOT NULL,
    input_tokens INTEGER,
    output_tokens INTEGER,
    findings INTEGER NOT NULL,
    worst INTEGER NOT NULL,
    problem TEXT
);
CREATE INDEX recordings_created ON recordings (created DESC, id DESC);
CREATE INDEX recordings_model ON recordings (model);
CREATE INDEX recordings_provider ON recordings (provider);
CREATE INDEX recordings_worst ON recordings (worst);
CREATE TABLE findings (
    recording INTEGER NOT NULL REFERENCES recordings (id) ON DELETE CASCADE,
    place INTEGER NOT NULL,
    kind TEXT NOT NULL,
    severity INTEGER NOT NULL,
    finding TEXT NOT NULL,
    PRIMARY KEY (recording, place)
) WITHOUT ROWID;
CREATE INDEX findings_kind ON findings (kind, severity);
CREATE TABLE tools (
    recording INTEGER NOT NULL REFERENCES recordings (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    calls INTEGER NOT NULL,
    PRIMARY KEY (recording, name)
) WITHOUT ROWID;
CREATE INDEX tools_name ON tools (name);
CREATE VIRTUAL TABLE texts USING fts5 (
    text, reasoning, calls, findings, tokenize = 'unicode61 remove_diacritics 2'
);
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the index says of a recording.

    Parameters
    ----------
    name : str
        Of its file in the folder.
    size_bytes : int
        Of the file.
    created : str
        When it began, as ISO 8601 in UTC; where it does not say, when its file was last written.
    source, provider, model : str
        Where the stream came from; the host there, else the API its payloads are of; the model.
        Empty where nothing tells.
    outcome, error : str or None
        How the stream ended.
    complete : bool
        Whether it is whole, and as it was written.
    events, lost, chars : int
        Events; those that could not be written; characters of text.
    duration_s : float
        From the request to the last event.
    input_tokens, output_tokens : int or None
        As the provider counts.
    findings : int
        How many were made.
    worst : str or None
        The hardest severity among them.
    tools : Mapping of str to int
        How often each tool was called.
    problem : str or None
        What is wrong with the file.
    """

    name: str
    size_bytes: int
    created: str
    source: str
    provider: str
    model: str
    outcome: str | None
    error: str | None
    complete: bool
    events: int
    lost: int
    chars: int
    duration_s: float
    input_tokens: int | None
    output_tokens: int | None
    findings: int
    worst: Severity | None
    tools: Mapping[str, int] = field(default_factory=dict)
    problem: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-ready dict of all fields."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Hit:
    """A recording that a search found.

    Parameters
    ----------
    entry : Entry
    findings : tuple of Finding
        Those that were asked for, the first 20; all kinds where none was asked for.
    snippet : str
        The place of the text that was asked for, the words between ``[`` and ``]``; empty without.
    """

    entry: Entry
    findings: tuple[Finding, ...] = ()
    snippet: str = ""


@dataclass(frozen=True, slots=True)
class Reindexed:
    """What `Library.reindex` did, by names of recordings.

    Parameters
    ----------
    added, updated, removed : tuple of str
        New in the index, read again, gone from it.
    failed : tuple of str
        Files that could not be opened.
    """

    added: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


class Library:
    """A folder of recordings, and what is in them, to be searched.

    Parameters
    ----------
    path : str or path
        The folder; it is made where it is missing. The index is ``index.sqlite3`` in it.
    max_files, max_bytes : int, optional
        As for `RecordingsFolder`.

    Attributes
    ----------
    folder : RecordingsFolder
        Where the recordings are. What is put there by other means is found by `reindex`.

    Raises
    ------
    RecordingError
        From every method: the folder, a recording or the index cannot be used.

    Notes
    -----
    The files are what counts: the index can be thrown away, and `reindex` makes it again. Any
    number of processes and threads may use a library at once; a write waits for another one for
    up to 30 seconds. Adding takes 10 microseconds an event; a search among 10,000 recordings some
    milliseconds.

    Examples
    --------
    >>> import tempfile
    >>> from midstream.stream import shipped_recordings
    >>> with Library(tempfile.mkdtemp()) as library:
    ...     for path in shipped_recordings().values():
    ...         _ = library.add(path)
    ...     [hit.entry.name for hit in library.search("grandma smiled")]
    ['loop-02.jsonl']
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_files: int | None = None,
        max_bytes: int | None = None,
    ) -> None:
        self.folder = RecordingsFolder(path, max_files=max_files, max_bytes=max_bytes)
        self._lock = threading.RLock()
        self._closed = False
        self._path = self.folder.path / _INDEX
        self._db = self._open()

    # Recordings in and out

    def add(
        self, path: str | os.PathLike[str], name: str | None = None, *, replace: bool = False
    ) -> Entry:
        """Copy a recording into the folder, and index it.

        Parameters
        ----------
        path : str or path
            The recording.
        name : str, optional
            What it is called here; default its file's name.
        replace : bool, default False
            Whether it may take the place of another of that name.

        Returns
        -------
        Entry
            Also of one that cannot be read to its end: `Entry.problem` says why.

        Raises
        ------
        RecordingError
            It cannot be read at all, or is none; nothing was added.
        """
        path = check_path("path", path)
        summary = sum_up(Path(path), max_bytes=_MAX_BYTES)
        if summary.problem is not None and not summary.known:
            raise RecordingError(summary.problem)
        name = self.folder.put(path, name, replace=replace)
        return self.index(name)

    def index(self, name: str) -> Entry:
        """Read a recording in the folder, new or changed, and index it.

        Parameters
        ----------
        name : str

        Returns
        -------
        Entry
        """
        self._keep(name, *self._look(name))
        entry = self.get(name)
        if entry is None:
            raise RecordingError("removed meanwhile", place=str(self.folder.locate(name)))
        return entry

    def _look(self, name: str) -> tuple[os.stat_result, Summary]:
        """Read a recording; RecordingError where its file cannot be opened."""
        found = self.folder.stat(name)
        path = self.folder.locate(name)
        return found, sum_up(path, lambda part: self.folder.open(part.name), max_bytes=_MAX_BYTES)

    def _keep(self, name: str, found: os.stat_result, summary: Summary) -> None:
        """Put a recording into the index."""
        with self._writing() as db:
            _forget(db, name)
            _insert(db, name, found, summary)

    def remove(self, name: str) -> None:
        """Remove a recording, its file too."""
        self.folder.remove(name)
        with self._writing() as db:
            _forget(db, name)

    def reindex(
        self, *, force: bool = False, progress: Callable[[int, int], object] | None = None
    ) -> Reindexed:
        """Bring the index up to date with the folder.

        Parameters
        ----------
        force : bool, default False
            Read every recording again, not only those whose file has changed.
        progress : callable, optional
            Told after each recording how many were looked at, of how many.

        Returns
        -------
        Reindexed
        """
        with self._reading() as db:
            rows = db.execute("SELECT name, size, changed_ns FROM recordings").fetchall()
        known = {name: (size, changed_ns) for name, size, changed_ns in rows}
        added: list[str] = []
        updated: list[str] = []
        failed: list[str] = []
        there = self.folder.scan()
        gone = set(known) - set(there)
        for count, name in enumerate(sorted(there)):
            if progress is not None:
                progress(count, len(there))
            found = there[name]
            if force or known.get(name) != (found.st_size, found.st_mtime_ns):
                try:
                    looked = self._look(name)
                except RecordingError:
                    if name in self.folder.scan():
                        failed.append(name)
                    elif name in known:
                        gone.add(name)
                else:
                    self._keep(name, *looked)
                    (updated if name in known else added).append(name)
        removed = sorted(gone)
        with self._writing() as db:
            for name in removed:
                _forget(db, name)
        return Reindexed(tuple(added), tuple(updated), tuple(removed), tuple(failed))

    def vacuum(self) -> None:
        """Make the index as small as it can be; other processes wait meanwhile."""
        with self._reading() as db:
            db.execute("INSERT INTO texts (texts) VALUES ('optimize')")
            db.execute("PRAGMA wal_checkpoint (TRUNCATE)")
            db.execute("VACUUM")

    # Asking

    def __len__(self) -> int:
        with self._reading() as db:
            count: int = db.execute("SELECT count(*) FROM recordings").fetchone()[0]
            return count

    def get(self, name: str) -> Entry | None:
        """What the index says of a recording; None where it knows none of that name."""
        check_name(name)
        with self._reading() as db:
            row = db.execute("SELECT * FROM recordings WHERE name = ?", (name,)).fetchone()
            with _trusting():
                return None if row is None else _entry(db, row)

    def entries(self, *, limit: int | None = None, offset: int = 0) -> Sequence[Entry]:
        """All recordings, the newest first.

        Parameters
        ----------
        limit, offset : int, optional
            At most so many, after so many.
        """
        return [hit.entry for hit in self.search(limit=limit, offset=offset, findings=False)]

    def search(
        self,
        text: str | None = None,
        *,
        kind: str | None = None,
        severity: Severity | None = None,
        tool: str | None = None,
        model: str | None = None,
        provider: str | None = None,
        outcome: str | None = None,
        complete: bool | None = None,
        after: str | datetime | None = None,
        before: str | datetime | None = None,
        min_duration_s: float | None = None,
        order: Literal["newest", "best"] = "newest",
        limit: int | None = 50,
        offset: int = 0,
        findings: bool = True,
    ) -> list[Hit]:
        """Recordings of which everything holds that is asked for.

        Parameters
        ----------
        text : str, optional
            Words that all occur in the model's text, its reasoning, its tool calls and their
            results, or the messages of findings; words between quotation marks in that order, and
            a word that ends in ``*`` as the beginning of one. Neither case nor accents count.
        kind : str, optional
            A finding of this kind was made.
        severity : str, optional
            A finding of at least this severity was made; with `kind`, the same one.
        tool : str, optional
            This tool was called.
        model, provider, outcome : str, optional
            As `Entry` has them.
        complete : bool, optional
            Whether it is whole.
        after, before : str or datetime, optional
            It began at this time or later; before this time. ISO 8601; without a zone, UTC.
        min_duration_s : float, optional
            It lasted as long.
        order : {"newest", "best"}
            The newest first, or where the words weigh most.
        limit, offset : int, optional
            At most so many, after so many; None for all.
        findings : bool, default True
            Whether to read the findings of each.

        Returns
        -------
        list of Hit

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            An argument is none of what is described.
        """
        check_choice("order", order, ("newest", "best"))
        rows = _Query()
        words = None if text is None else _words(check_text("text", text))
        if words is not None:
            rows.where("recordings.id IN (SELECT rowid FROM texts WHERE texts MATCH ?)", words)
        rank = 0
        if severity is not None:
            rank = SEVERITIES.index(check_choice("severity", severity, SEVERITIES)) + 1
        if kind is not None:
            rows.where(
                "recordings.id IN"
                " (SELECT recording FROM findings WHERE kind = ? AND findings.severity >= ?)",
                check_text("kind", kind),
                rank,
            )
        elif severity is not None:
            rows.where("recordings.worst >= ?", rank)
        if tool is not None:
            rows.where(
                "recordings.id IN (SELECT recording FROM tools WHERE name = ?)",
                check_text("tool", tool),
            )
        for column, value in (("model", model), ("provider", provider), ("outcome", outcome)):
            if value is not None:
                rows.where(f"recordings.{column} = ?", check_text(column, value))
        if complete is not None:
            rows.where("recordings.complete = ?", int(complete))
        for name, moment, sign in (("after", after, ">="), ("before", before, "<")):
            if moment is not None:
                rows.where(f"recordings.created {sign} ?", _moment(name, moment))
        if min_duration_s is not None:
            low = check_real("min_duration_s", min_duration_s, low=0.0)
            rows.where("recordings.duration_s >= ?", low)
        most = -1 if limit is None else check_int("limit", limit, low=0)
        skip = check_int("offset", offset, low=0)
        with self._reading() as db:
            db.execute("BEGIN")  # one state of the index for all that is read
            try:
                found = rows.run(db, words if order == "best" else None, most, skip)
                with _trusting():
                    return [_hit(db, row, words, kind, rank, findings) for row in found]
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")

    def close(self) -> None:
        """Close the index. Safe to repeat."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # The index

    def _open(self) -> sqlite3.Connection:
        for ending in ("", "-wal", "-shm", "-journal"):
            path = Path(f"{self._path}{ending}")
            if path.is_symlink():
                raise RecordingError("a symbolic link is no index", place=str(path))
        try:
            db = sqlite3.connect(
                self._path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False
            )
        except _ERRORS as error:
            raise self._failure(error) from error
        try:
            db.execute("PRAGMA trusted_schema = OFF")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA foreign_keys = ON")
            if db.execute("PRAGMA user_version").fetchone()[0] != _SCHEMA:
                self._make(db)
        except _ERRORS as error:
            db.close()
            raise self._failure(error) from error
        except BaseException:
            db.close()
            raise
        return db

    def _make(self, db: sqlite3.Connection) -> None:
        db.execute("BEGIN IMMEDIATE")
        try:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, _SCHEMA):
                raise RecordingError(
                    f"made by another version of midstream ({shown(version)}); remove the file,"
                    " and reindex the library",
                    place=str(self._path),
                )
            if version == 0:  # else another process was faster
                for statement in _TABLES.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {_SCHEMA}")
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._closed:
                raise RecordingError("the library is closed", place=str(self.folder.path))
            try:
                yield self._db
            except _ERRORS as error:
                raise self._failure(error) from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def _failure(self, error: Exception) -> RecordingError:
        code = getattr(error, "sqlite_errorcode", None)
        if isinstance(error, sqlite3.Error):
            message = " ".join(str(error).split())[:_MOST_MESSAGE_CHARS]
        else:
            message = "the index is damaged"
        if code is None or code & 0xFF not in _OUTSIDE:
            message += "; remove the file, and reindex the library"
        return RecordingError(message, place=str(self._path))


@contextmanager
def _trusting() -> Iterator[None]:
    """Take what a row of the index cannot be for damage of its file."""
    try:
        yield
    except (ValueError, TypeError, LookupError) as error:
        raise sqlite3.DatabaseError(f"a row of the index cannot be: {error}") from error


class _Query:
    """A search as it is put together."""

    def __init__(self) -> None:
        self._conditions: list[str] = []
        self._values: list[Any] = []

    def where(self, condition: str, *values: Any) -> None:
        """Ask for this too."""
        self._conditions.append(condition)
        self._values += values

    def run(
        self, db: sqlite3.Connection, best: str | None, limit: int, offset: int
    ) -> list[tuple[Any, ...]]:
        """Rows of recordings, in order."""
        where = " AND ".join(self._conditions) or "1"
        order = "recordings.created DESC, recordings.id DESC"
        source = "recordings"
        values = list(self._values)
        if best is not None:
            source = (
                "(SELECT rowid AS found, bm25(texts) AS weight FROM texts WHERE texts MATCH ?)"
                " JOIN recordings ON recordings.id = found"
            )
            values.insert(0, best)
            order = f"weight, {order}"
        return db.execute(
            f"SELECT recordings.* FROM {source} WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?",
            (*values, limit, offset),
        ).fetchall()


def _words(text: str) -> str | None:
    """A query of FTS5 for words as a person writes them; None for none at all.

    Examples
    --------
    >>> _words('so "once upon" gran* "')
    '"so" "once upon" "gran"*'
    """
    out = []
    for phrase, word in _WORDS.findall(text):
        # A token of NUL would end the query; what has no letter or digit is no word.
        plain = (phrase or word).replace("\0", " ").replace('"', " ").strip()
        star = not phrase and plain.endswith("*")
        if any(char.isalnum() for char in plain):
            out.append(f'"{plain.rstrip("*") if star else plain}"{"*" if star else ""}')
    return " ".join(out) or None


def _moment(name: str, value: str | datetime) -> str:
    found = utc_text(value)
    if found is None:
        raise ArgumentValueError(f"{name} must be a time in ISO 8601, got {value!r}")
    return found


def _forget(db: sqlite3.Connection, name: str) -> None:
    row = db.execute("SELECT id FROM recordings WHERE name = ?", (name,)).fetchone()
    if row is not None:
        db.execute("DELETE FROM texts WHERE rowid = ?", row)
        db.execute("DELETE FROM recordings WHERE id = ?", row)


def _insert(db: sqlite3.Connection, name: str, found: os.stat_result, summary: Summary) -> None:
    changed = datetime.fromtimestamp(found.st_mtime, UTC)
    worst = 0 if summary.worst is None else SEVERITIES.index(summary.worst) + 1
    row = (
        *(name, found.st_size, found.st_mtime_ns, summary.created or utc_text(changed)),
        *(_safe(summary.source), _safe(summary.provider), _safe(summary.model)),
        *(_safe(summary.outcome), _safe(summary.error), int(summary.complete)),
        *(summary.events, summary.lost, summary.chars, summary.duration_s),
        *(summary.tokens.get("input_tokens"), summary.tokens.get("output_tokens")),
        *(summary.n_findings, worst, _safe(summary.problem)),
    )
    marks = ", ".join("?" * len(row))
    number = db.execute(f"INSERT INTO recordings VALUES (NULL, {marks})", row).lastrowid
    db.executemany(
        "INSERT INTO findings VALUES (?, ?, ?, ?, ?)",
        [
            (
                *(number, place, _safe(finding.kind)),
                *(SEVERITIES.index(finding.severity) + 1, json.dumps(finding.to_dict())),
            )
            for place, finding in enumerate(summary.findings)
        ],
    )
    tools: dict[str, int] = {}
    for tool, calls in summary.tools.items():
        tools[_safe(tool)] = tools.get(_safe(tool), 0) + calls
    db.executemany(
        "INSERT INTO tools VALUES (?, ?, ?)", [(number, *item) for item in tools.items()]
    )
    told = "\n".join(finding.message for finding in summary.findings)
    texts = [_safe(summary.texts.get(part, "")) for part in ("text", "reasoning", "calls")]
    db.execute(
        "INSERT INTO texts (rowid, text, reasoning, calls, findings) VALUES (?, ?, ?, ?, ?)",
        (number, *texts, _safe(told)),
    )


def _safe(text: Any) -> Any:
    """Text without halves of characters, which SQLite does not take."""
    if isinstance(text, str) and not text.isascii():
        return text.encode("utf-8", "replace").decode("utf-8")
    return text


def _entry(db: sqlite3.Connection, row: tuple[Any, ...]) -> Entry:
    tools = db.execute("SELECT name, calls FROM tools WHERE recording = ? ORDER BY name", row[:1])
    (_, name, size, _, created, source, provider, model, outcome, error, complete, *rest) = row
    (events, lost, chars, duration_s, read, written, findings, worst, problem) = rest
    return Entry(
        *(name, size, created, source, provider, model, outcome, error, bool(complete)),
        *(events, lost, chars, duration_s, read, written, findings),
        SEVERITIES[worst - 1] if worst else None,
        dict(tools.fetchall()),
        problem,
    )


def _hit(
    db: sqlite3.Connection,
    row: tuple[Any, ...],
    words: str | None,
    kind: str | None,
    rank: int,
    findings: bool,
) -> Hit:
    snippet = ""
    if words is not None:
        snippet = db.execute(
            "SELECT snippet(texts, -1, '[', ']', '…', 16) FROM texts"
            " WHERE texts MATCH ? AND rowid = ?",
            (words, row[0]),
        ).fetchone()[0]
    made = []
    if findings and row[-3]:
        made = db.execute(
            "SELECT finding FROM findings WHERE recording = ? AND severity >= ?"
            " AND kind = coalesce(?, kind) ORDER BY place LIMIT ?",
            (row[0], rank, kind, _MOST_HIT_FINDINGS),
        ).fetchall()
    return Hit(
        _entry(db, row),
        tuple(Finding(**json.loads(text)) for (text,) in made),
        " ".join(snippet.split()),
    )
