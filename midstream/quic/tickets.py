"""What a client remembers of servers: session tickets and address tokens, in memory or on disk."""

from __future__ import annotations

import base64
import contextlib
import datetime
import hashlib
import json
import os
import sys
import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from midstream._core.errors import ArgumentTypeError
from midstream._core.validate import check_int, check_path, check_text

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

if TYPE_CHECKING:
    from aioquic.tls import SessionTicket

__all__ = ["TicketStore"]

FORMAT: Final = 1
SUFFIX: Final = ".tickets"
# A server sends a few tickets per connection and may send thousands: the newest count.
MAX_PER_SERVER: Final = 8
MAX_TOKENS: Final = 4
# The lengths in TLS and QUIC allow 64 KiB and more; real ones have 50 to 300 bytes.
MAX_TICKET: Final = 16 << 10
MAX_TOKEN: Final = 1024
MAX_RECORD: Final = 64 << 10
MAX_FILE: Final = 1 << 20
# RFC 9000, section 8.1.3 leaves the life of a token to the server; a day is what servers grant.
TOKEN_LIFETIME_S: Final = 24 * 3600

Record = dict[str, Any]


@final
class TicketStore:
    """Session tickets and address tokens of servers that were met before.

    A ticket saves the certificates and the signatures of a handshake, and lets a request leave in
    the first packet (0-RTT) where both ends have ``Config(early_data=True)``. Each ticket and each
    token is handed out once, so that nobody can tell from it that two connections are of one
    client (RFC 8446, appendix C.4). The newest is handed out first.

    Parameters
    ----------
    path : path, optional
        A folder, made if it does not exist, only for its owner (0700, files 0600); a leading ``~``
        is the user's own. Several processes may share it. By default everything is kept in memory.
    max_servers : int, default 1000
        How many servers are remembered; who was not met for longest is forgotten.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        Arguments that cannot be.
    OSError
        The folder cannot be made or written.

    Notes
    -----
    Safe between threads and processes. Taking a ticket from disk reads and rewrites a file of a
    few kilobytes: about 0.1 ms. A file that cannot be understood is removed with a
    ``RuntimeWarning``; the next connection does a whole handshake. Tickets are secrets: who has
    one can resume the session, though not read what was sent in it before.

    Source: RFC 8446, sections 2.2, 2.3 and 4.6.1; RFC 9000, section 8.1.3.

    Examples
    --------
    >>> from midstream.quic import Config, TicketStore
    >>> store = TicketStore()
    >>> config = Config(tickets=store, early_data=True)
    >>> len(store)
    0
    """

    def __init__(
        self, path: str | os.PathLike[str] | None = None, *, max_servers: int = 1000
    ) -> None:
        self._max_servers = check_int("max_servers", max_servers, low=1)
        self._lock = threading.Lock()
        self._memory: OrderedDict[str, list[Record]] = OrderedDict()
        self._path: Path | None = None
        if path is not None:
            folder = Path(check_path("path", path)).expanduser()
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._path = folder
            with self._locked():
                pass  # a folder that cannot be written is told now

    @property
    def path(self) -> Path | None:
        """The folder, or None where everything is in memory."""
        return self._path

    def put(self, server: str, ticket: SessionTicket) -> None:
        """Keep a ticket.

        Parameters
        ----------
        server : str
            Whose it is. Connections make this of the server's name, address and of the terms on
            which it was trusted.
        ticket : aioquic.tls.SessionTicket
            Longer ones than 16 KiB are not kept.
        """
        check_text("server", server)
        record = _pack(ticket)
        if len(ticket.ticket) <= MAX_TICKET and _size(record) <= MAX_RECORD:
            self._add(server, record)

    def take(self, server: str) -> SessionTicket | None:
        """Take the newest ticket of a server out of the store; None if there is none."""
        record = self._remove(check_text("server", server), "ticket")
        return None if record is None else _unpack(record)

    def put_token(self, server: str, token: bytes) -> None:
        """Keep a token of a NEW_TOKEN frame: it proves this client's address next time.

        Parameters
        ----------
        server : str
            Whose it is.
        token : bytes
            Longer ones than 1 KiB are not kept: they would fill the first packet.
        """
        check_text("server", server)
        if not isinstance(token, bytes):
            raise ArgumentTypeError(f"token must be bytes, got {type(token).__name__}")
        if 0 < len(token) <= MAX_TOKEN:
            until = time.time() + TOKEN_LIFETIME_S
            self._add(server, {"kind": "token", "until": until, "token": _encode(token)})

    def take_token(self, server: str) -> bytes | None:
        """Take the newest token of a server out of the store; None if there is none."""
        record = self._remove(check_text("server", server), "token")
        return None if record is None else _decode(record["token"])

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._memory.clear()
            if self._path is not None:
                with self._locked():
                    for file in self._files():
                        file.unlink(missing_ok=True)

    def __len__(self) -> int:
        """How many tickets can still be used."""
        with self._lock:
            if self._path is None:
                listed = list(self._memory.values())
            else:
                with self._locked():
                    listed = [self._read(file) for file in self._files()]
        return sum(record["kind"] == "ticket" for records in listed for record in _fresh(records))

    def __repr__(self) -> str:
        # Tickets are secrets: where they are is all that is told.
        return "TicketStore()" if self._path is None else f"TicketStore({str(self._path)!r})"

    def _has_ticket(self, server: str) -> bool:
        with self._lock:
            if self._path is None:
                listed = self._memory.get(server, [])
            else:
                with self._locked():
                    listed = self._read(self._file(server), server)
        return any(record["kind"] == "ticket" for record in _fresh(listed))

    def _add(self, server: str, record: Record) -> None:
        with self._lock:
            if self._path is None:
                records = self._memory.pop(server, [])
                self._memory[server] = _bound([*records, record])
                while len(self._memory) > self._max_servers:
                    self._memory.popitem(last=False)
                return
            with self._locked():
                file = self._file(server)
                is_new = not file.exists()
                self._write(file, server, _bound([*self._read(file, server), record]))
                if is_new:
                    self._forget_oldest()

    def _remove(self, server: str, kind: str) -> Record | None:
        with self._lock:
            if self._path is None:
                records = self._memory.get(server, [])
                found, rest = _split(records, kind)
                if rest:
                    self._memory[server] = rest
                else:
                    self._memory.pop(server, None)
                return found
            file = self._file(server)
            if not file.exists():
                return None
            with self._locked():
                found, rest = _split(self._read(file, server), kind)
                # Before it is handed out: if this process ends now, the ticket is lost and not
                # used twice.
                if rest:
                    self._write(file, server, rest)
                else:
                    file.unlink(missing_ok=True)
                return found

    def _file(self, server: str) -> Path:
        assert self._path is not None
        # A name of a server is the peer's or the user's: it is no name of a file.
        return self._path / (hashlib.sha256(server.encode()).hexdigest()[:40] + SUFFIX)

    def _files(self) -> list[Path]:
        assert self._path is not None
        return sorted(self._path.glob(f"*{SUFFIX}"))

    def _forget_oldest(self) -> None:
        files = self._files()
        if len(files) > self._max_servers:
            files.sort(key=lambda file: file.stat().st_mtime_ns)
            for file in files[: len(files) - self._max_servers]:
                file.unlink(missing_ok=True)

    def _read(self, file: Path, server: str | None = None) -> list[Record]:
        try:
            with file.open("rb") as opened:
                data = opened.read(MAX_FILE + 1)
        except FileNotFoundError:
            return []
        try:
            if len(data) > MAX_FILE:
                raise ValueError(f"longer than {MAX_FILE} bytes")
            return _parse(data, server)
        except (ValueError, KeyError, TypeError, ArithmeticError, OSError, RecursionError) as error:
            warnings.warn(
                f"the ticket file {file} cannot be understood and is removed: {error}",
                RuntimeWarning,
                stacklevel=4,
            )
            file.unlink(missing_ok=True)
            return []

    def _write(self, file: Path, server: str, records: list[Record]) -> None:
        data = json.dumps({"format": FORMAT, "server": server, "records": records})
        temporary = file.with_name(f".{file.name}.{os.getpid()}.{threading.get_ident()}")
        # Not synchronised: what a crash of the machine takes are tickets, and a ticket that comes
        # back by it is refused by the server, which takes it once.
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="ascii") as opened:
                opened.write(data)
            temporary.replace(file)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes out; they hold the lock for a fraction of a millisecond."""
        assert self._path is not None
        handle = os.open(self._path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if sys.platform == "win32":
                msvcrt.locking(handle, msvcrt.LK_LOCK, 1)
            else:
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _decode(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _size(record: Record) -> int:
    return len(json.dumps(record))


def _pack(ticket: SessionTicket) -> Record:
    return {
        "kind": "ticket",
        "until": ticket.not_valid_after.timestamp(),
        "since": ticket.not_valid_before.timestamp(),
        "age_add": ticket.age_add,
        "suite": int(ticket.cipher_suite),
        "secret": _encode(ticket.resumption_secret),
        "server_name": ticket.server_name,
        "ticket": _encode(ticket.ticket),
        "early": ticket.max_early_data_size,
        "extensions": [[kind, _encode(data)] for kind, data in ticket.other_extensions],
        "alpn": getattr(ticket, "alpn", None),
        "certificates": [_encode(der) for der in getattr(ticket, "peer_certificates", ())],
    }


def _unpack(record: Record) -> SessionTicket:
    from aioquic.tls import CipherSuite

    from midstream.quic._tls import Ticket

    return Ticket(
        age_add=record["age_add"],
        cipher_suite=CipherSuite(record["suite"]),
        not_valid_after=datetime.datetime.fromtimestamp(record["until"], datetime.UTC),
        not_valid_before=datetime.datetime.fromtimestamp(record["since"], datetime.UTC),
        resumption_secret=_decode(record["secret"]),
        server_name=record["server_name"],
        ticket=_decode(record["ticket"]),
        max_early_data_size=record["early"],
        other_extensions=[(kind, _decode(data)) for kind, data in record["extensions"]],
        alpn=record["alpn"],
        peer_certificates=tuple(_decode(der) for der in record["certificates"]),
    )


def _parse(data: bytes, server: str | None) -> list[Record]:
    content = json.loads(data)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError("no ticket file of this version")
    if server is not None and content["server"] != server:
        raise ValueError(f"it belongs to {content['server']!r}")
    records = content["records"]
    if not isinstance(records, list):
        raise TypeError("no list of records")
    for record in records:
        _check(record)
    return records


def _check(record: Record) -> None:
    """Raise if a record is not one that `_pack` or `put_token` may have made."""
    kind, until = record["kind"], record["until"]
    if not isinstance(until, int | float) or not 0 <= until < 2**40:
        raise ValueError(f"a record is valid until {until!r}")
    if kind == "token":
        _decode(record["token"])
    elif kind == "ticket":
        ticket = _unpack(record)
        if not isinstance(ticket.age_add, int) or not 0 <= ticket.age_add < 2**32:
            raise ValueError("a ticket's age cannot be")
        if len(ticket.resumption_secret) not in (32, 48):
            raise ValueError("a ticket's secret has a wrong length")
        if ticket.max_early_data_size not in (None, 0xFFFFFFFF):
            raise ValueError("a ticket's early data cannot be")
        if not isinstance(ticket.server_name, str | None):
            raise ValueError("a ticket's server cannot be")
        if not all(isinstance(extension, int) for extension, _ in ticket.other_extensions):
            raise ValueError("a ticket's extension cannot be")
    else:
        raise ValueError(f"a record of kind {kind!r}")


def _fresh(records: list[Record]) -> list[Record]:
    now = time.time()
    return [record for record in records if record["until"] > now]


def _bound(records: list[Record]) -> list[Record]:
    fresh = _fresh(records)
    tickets = [record for record in fresh if record["kind"] == "ticket"][-MAX_PER_SERVER:]
    tokens = [record for record in fresh if record["kind"] == "token"][-MAX_TOKENS:]
    return tickets + tokens


def _split(records: list[Record], kind: str) -> tuple[Record | None, list[Record]]:
    """The newest of a kind, and what is left."""
    rest = _fresh(records)
    for index in range(len(rest) - 1, -1, -1):
        if rest[index]["kind"] == kind:
            return rest.pop(index), rest
    return None, rest
