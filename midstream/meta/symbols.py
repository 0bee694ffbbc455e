"""Things as 32-bit symbols and back: tool calls, names, rules, whatever can be hashed."""

from __future__ import annotations

import hashlib
import json
import math
import numbers
import struct
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midstream._core.errors import ArgumentTypeError, ArgumentValueError, StateLimitError
from midstream._core.snapshots import sealed, unsealed
from midstream._core.validate import check_int

__all__ = ["Symbols", "canonical"]

_MAGIC = b"ms.symbols1"
#: Codes from here on are no symbols: borders between units, see `midstream.meta.Levels`.
_RESERVED = 0xFF000000
#: Codes made of an item's content are below, codes given in turn above.
_IN_TURN = 1 << 31
#: Codes of content given in a table's life, as multiples of its size: each needs memory for good.
_EVER = 4


def canonical(arguments: Any) -> str:
    """One text for all ways to write the same arguments of a tool call.

    Parameters
    ----------
    arguments : str, bytes, mapping, sequence, number, bool or None
        JSON text as a model wrote it, or what it stands for. Text that is no JSON stands for
        itself: models write that too.

    Returns
    -------
    str
        JSON without white space, keys sorted by code point, whole numbers without a fraction, no
        escapes but those that JSON demands. Of repeated keys the last counts.

    Raises
    ------
    ArgumentTypeError
        Holds something that JSON cannot say, such as a set.
    ArgumentValueError
        A number in it is NaN or infinite; keys of a mapping are no text; nested too deeply.

    Notes
    -----
    In the spirit of RFC 8785, except that numbers keep all their digits: two calls that differ in
    the last digit of a long identifier are two calls.

    Examples
    --------
    >>> from midstream.meta import canonical
    >>> canonical('{"to": "SEA", "from": "JFK", "bags": 1.0}')
    '{"bags":1,"from":"JFK","to":"SEA"}'
    >>> canonical({"from": "JFK", "to": "SEA", "bags": 1})
    '{"bags":1,"from":"JFK","to":"SEA"}'
    >>> canonical("not json")
    '"not json"'
    """
    if isinstance(arguments, (bytes, bytearray, memoryview)):
        arguments = bytes(arguments).decode("utf-8", "replace")
    if isinstance(arguments, str):
        try:
            value = json.loads(arguments, parse_constant=_no_constant)
            return json.dumps(_plain(value), **_JSON)
        except (ValueError, RecursionError, OverflowError):
            # No JSON, or JSON that nobody can hold: numbers of 5,000 digits, a thousand brackets.
            return json.dumps(arguments, ensure_ascii=False)
    try:
        return json.dumps(_plain(arguments), **_JSON)
    except RecursionError:
        raise ArgumentValueError("arguments are nested too deeply to be written as JSON") from None


_JSON: dict[str, Any] = {
    "ensure_ascii": False,
    "sort_keys": True,
    "separators": (",", ":"),
    "allow_nan": False,
}


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _plain(value: Any) -> Any:
    """A value of JSON, whole floats as integers."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        number = float(value)
        if not math.isfinite(number):
            raise ArgumentValueError(f"arguments must be finite numbers, got {number!r}")
        return int(number) if number.is_integer() else number
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ArgumentValueError(f"arguments must have keys that are text, got {key!r}")
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    raise ArgumentTypeError(f"arguments must be what JSON can say, got a {type(value).__name__}")


class Symbols:
    """A bounded table between things and 32-bit codes, both ways.

    Parameters
    ----------
    max_size : int, default 2**20
        Items that it holds, 1 to 2**26; the least recently used is forgotten for a new one.
    stable : bool, default True
        True: a code is made of the item's content (31 bits of a keyed BLAKE2s), so it is the same
        in every process, whatever came before; items are None, bool, numbers, str, bytes, and
        tuples and frozensets of these. False: codes are given in turn, 0, 1, 2, ...; items are any
        hashables.
    key : bytes, default b""
        Key of the hash, at most 32 bytes. With a secret one, codes tell nothing of the items.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError

    Notes
    -----
    **Why stable is the default.** What is learned over symbols is meant to be kept, compared and
    merged: a rule's name is made of codes, and codes given in turn mean something else in each
    process. The price is a hash when an item is new (some microseconds), and collisions: two of n
    items share 31 bits with a probability of about n²/2**32, 2e-4 at a thousand items. A collision
    is detected, never silent: the item that came later gets a code given in turn, which holds in
    this process only (`is_stable` tells, `n_collisions` counts).

    **A code means one item, for ever.** A forgotten code is not given to another item; to decode it
    is an error. A stable item that comes back after it was forgotten gets its old code again,
    recognised by 64 more bits of its hash. Each code of content that was ever given keeps some 100
    bytes for this; when ``4 * max_size`` were, new items get codes in turn, of which there are
    2**31 - 2**24 (without `stable`, 2**32 - 2**24), and when those are gone, new items are refused.
    Codes from 0xFF000000 on are never given: `Levels` needs them for borders.

    Items are equal as Python finds them equal: 1, 1.0 and True are one item, and decode to the one
    that came first.

    Cost: 0.2 microseconds an item that is known. Memory: some 300 bytes an item, and the item. Not
    thread-safe.

    Examples
    --------
    >>> from midstream.meta import Symbols, canonical
    >>> symbols = Symbols()
    >>> calls = [("search", canonical('{"q": "cats"}')), ("open", canonical('{"n": 1.0}'))]
    >>> codes = symbols.encode(calls)
    >>> symbols.decode(codes)
    [('search', '{"q":"cats"}'), ('open', '{"n":1}')]
    >>> Symbols().code(("open", canonical({"n": 1}))) == int(codes[1])
    True
    """

    def __init__(self, max_size: int = 1 << 20, *, stable: bool = True, key: bytes = b"") -> None:
        self._max_size = check_int("max_size", max_size, low=1, high=1 << 26)
        if not isinstance(stable, bool):
            raise ArgumentTypeError(f"stable must be True or False, got {stable!r}")
        if not isinstance(key, bytes):
            raise ArgumentTypeError(f"key must be bytes, got {type(key).__name__}")
        if len(key) > 32:
            raise ArgumentValueError(f"key must have at most 32 bytes, got {len(key)}")
        self._stable = stable
        self._key = key
        self._clear()

    def _clear(self) -> None:
        #: Least recently used first.
        self._codes: OrderedDict[Hashable, int] = OrderedDict()
        self._items: dict[int, Hashable] = {}
        #: Codes of content that were ever given, and 64 bits by which to know their item.
        self._given: dict[int, int] = {}
        self._next = _IN_TURN if self._stable else 0
        self._n_forgotten = 0
        self._n_collisions = 0

    @property
    def max_size(self) -> int:
        """Items that the table holds at most."""
        return self._max_size

    @property
    def stable(self) -> bool:
        """Whether codes are made of content."""
        return self._stable

    @property
    def n_forgotten(self) -> int:
        """Items forgotten so far, an item that came back and went again twice."""
        return self._n_forgotten

    @property
    def n_collisions(self) -> int:
        """Items that got a code in turn because another had theirs."""
        return self._n_collisions

    def __len__(self) -> int:
        return len(self._codes)

    def __contains__(self, item: Hashable) -> bool:
        return item in self._codes

    def __repr__(self) -> str:
        return f"Symbols({len(self)} of {self._max_size}, stable={self._stable})"

    def is_stable(self, code: int) -> bool:
        """Whether a code is made of content, so that other processes mean the same by it."""
        return self._stable and check_int("code", code, low=0, high=(1 << 32) - 1) < _IN_TURN

    def encode(self, items: Iterable[Hashable]) -> NDArray[np.uint32]:
        """Codes of items, new ones taken up.

        Parameters
        ----------
        items : (n,) iterable of hashable
            A str is its characters.

        Returns
        -------
        (n,) uint32 array

        Raises
        ------
        ArgumentTypeError
            Not iterable, or an item is not hashable or, in a stable table, of a type without
            content. Those before it were taken up.
        StateLimitError
            All codes are used up.
        """
        try:
            listed = list(items)
        except TypeError:
            raise ArgumentTypeError(f"items must be iterable, got {items!r}") from None
        known, touch, add = self._codes.get, self._codes.move_to_end, self._add
        codes = np.empty(len(listed), np.uint32)
        for index, item in enumerate(listed):
            try:
                code = known(item)
            except TypeError:
                raise ArgumentTypeError(f"items must be hashable, got {item!r}") from None
            if code is None:
                code = add(item)
            else:
                touch(item)
            codes[index] = code
        return codes

    def code(self, item: Hashable) -> int:
        """The code of an item, taken up if it is new: ``encode([item])[0]``."""
        return int(self.encode([item])[0])

    def find(self, item: Hashable) -> int | None:
        """The code of an item if the table has it now, else None; changes nothing."""
        try:
            return self._codes.get(item)
        except TypeError:
            raise ArgumentTypeError(f"item must be hashable, got {item!r}") from None

    def decode(self, codes: Iterable[int] | NDArray[Any]) -> list[Any]:
        """What codes stand for.

        Parameters
        ----------
        codes : (n,) iterable of int

        Returns
        -------
        list

        Raises
        ------
        ArgumentValueError
            A code was forgotten, or never given.
        """
        listed = codes.tolist() if isinstance(codes, np.ndarray) else codes
        try:
            return [self._items[code] for code in listed]
        except KeyError as missing:
            code = missing.args[0]
            was = self._was_given(code)
            raise ArgumentValueError(
                f"codes must be known, got {code!r}, "
                + ("which was forgotten" if was else "which was never given")
            ) from None
        except TypeError:
            raise ArgumentTypeError(f"codes must be integers, got {codes!r}") from None

    def merge(self, other: Symbols) -> None:
        """Take up what another table holds, as if it had been used here, after what is here.

        Parameters
        ----------
        other : Symbols
            Stable, of the same key; so must this be.

        Raises
        ------
        ArgumentTypeError
            No table.
        ArgumentValueError
            Not both stable of one key; or a code means another item there: then what was learned
            over the two must not be mixed, and nothing is taken up.
        """
        if not isinstance(other, Symbols):
            raise ArgumentTypeError(f"other must be Symbols, got {type(other).__name__}")
        if not (self._stable and other._stable and self._key == other._key):
            raise ArgumentValueError("other must be stable with the same key, and so must this")
        for item, code in other._codes.items():
            here = self._codes.get(item)
            mine = self._content(item)
            if code >= _IN_TURN or (here is not None and here != code):
                raise ArgumentValueError(f"other must mean the same by its codes, not by {code}")
            if self._given.get(code, mine[1]) != mine[1]:
                raise ArgumentValueError(f"other must mean the same by its codes, not by {code}")
        self.encode(list(other._codes))

    def _was_given(self, code: Any) -> bool:
        if not isinstance(code, int):
            return False
        first = _IN_TURN if self._stable else 0
        return code in self._given or first <= code < self._next

    def _content(self, item: Hashable) -> tuple[int, int]:
        """An item's own code, and 64 more bits of its hash."""
        digest = hashlib.blake2s(
            _written(item, equal=True), digest_size=12, key=self._key, person=b"ms.symb1"
        ).digest()
        code, more = struct.unpack("<IQ", digest)
        return code % _IN_TURN, more

    def _add(self, item: Hashable) -> int:
        if item != item:
            raise ArgumentValueError(f"items must equal themselves, got {item!r}")
        code = -1
        if self._stable:
            code, more = self._content(item)
            before = self._given.get(code)
            if before is None and len(self._given) < _EVER * self._max_size:
                self._given[code] = more
            elif before != more:
                self._n_collisions += before is not None
                code = -1
        if code < 0:
            if self._next >= _RESERVED:
                raise StateLimitError("all codes are used up", limit=_RESERVED)
            code = self._next
            self._next += 1
        if len(self._codes) >= self._max_size:
            self._forget(*self._codes.popitem(last=False))
        self._codes[item] = code
        self._items[code] = item
        return code

    def _forget(self, item: Hashable, code: int) -> None:
        del self._items[code]
        self._n_forgotten += 1

    @property
    def digest(self) -> str:
        """SHA-256 of `snapshot`, in hexadecimal."""
        return hashlib.sha256(self.snapshot()).hexdigest()

    def snapshot(self) -> bytes:
        """The whole state as bytes: equal states give equal bytes.

        Raises
        ------
        ArgumentTypeError
            An item is of a type without content: see `stable`.
        """
        parts = [
            _MAGIC,
            struct.pack("<Q?B", self._max_size, self._stable, len(self._key)),
            self._key,
            struct.pack(
                "<5Q",
                self._next,
                self._n_forgotten,
                self._n_collisions,
                len(self._codes),
                len(self._given),
            ),
        ]
        for item, code in self._codes.items():
            body = _written(item, equal=False)
            parts += [struct.pack("<IQ", code, len(body)), body]
        parts += [struct.pack("<IQ", code, more) for code, more in sorted(self._given.items())]
        return sealed(b"".join(parts))

    def restore(self, snapshot: bytes) -> None:
        """Go back to the state of a snapshot.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            No snapshot of a table, a damaged one, or one of a table with other settings; nothing is
            changed.
        """
        body = unsealed(snapshot, _MAGIC, "Symbols")
        reader = _Reader(body, len(_MAGIC))
        max_size, stable, n_key = reader.take("<Q?B")
        key = reader.bytes(n_key)
        if (max_size, stable, key) != (self._max_size, self._stable, self._key):
            raise ArgumentValueError(
                f"snapshot must be of the same settings, got max_size={max_size}, stable={stable}"
                + ("" if key == self._key else " and another key")
            )
        after, n_forgotten, n_collisions, n_items, n_given = reader.take("<5Q")
        codes: OrderedDict[Hashable, int] = OrderedDict()
        items: dict[int, Hashable] = {}
        for _ in range(n_items):
            code, size = reader.take("<IQ")
            item = _read(_Reader(reader.bytes(size), 0), whole=True)
            codes[item] = code
            items[code] = item
        given = dict(reader.take("<IQ") for _ in range(n_given))
        first = _IN_TURN if stable else 0
        right = (
            reader.done
            and len(codes) == len(items) == n_items <= max_size
            and len(given) == n_given <= _EVER * max_size
            and first <= after <= _RESERVED
            and all(code in given or first <= code < after for code in items)
            and all(code < _IN_TURN for code in given)
            and (stable or not given)
        )
        if right and stable:
            right = all(
                self._content(item) == (code, given[code])
                for item, code in codes.items()
                if code < _IN_TURN
            )
        if not right:
            raise ArgumentValueError("snapshot must be one that Symbols made, got a forged one")
        self._codes, self._items, self._given = codes, items, given
        self._next, self._n_forgotten, self._n_collisions = after, n_forgotten, n_collisions

    def copy(self) -> Symbols:
        """A table in the same state, with a life of its own."""
        twin = type(self)(self._max_size, stable=self._stable, key=self._key)
        twin._codes = self._codes.copy()
        twin._items = self._items.copy()
        twin._given = self._given.copy()
        twin._next = self._next
        twin._n_forgotten = self._n_forgotten
        twin._n_collisions = self._n_collisions
        return twin

    __copy__ = copy

    def __deepcopy__(self, memo: Any) -> Symbols:
        return self.copy()


def _written(item: Any, *, equal: bool) -> bytes:
    """An item as bytes: a letter, a length where it varies, the content.

    With `equal`, whatever Python finds equal is written alike.
    """
    if item is None:
        return b"n"
    if isinstance(item, (bool, np.bool_)):
        return _written(int(item), equal=True) if equal else (b"T" if item else b"F")
    if isinstance(item, numbers.Integral):
        number = int(item)
        size = number.bit_length() // 8 + 1
        return b"i" + struct.pack("<Q", size) + number.to_bytes(size, "little", signed=True)
    if isinstance(item, (float, np.floating)):
        real = float(item)
        if equal and real.is_integer():
            return _written(int(real), equal=True)
        return b"f" + struct.pack("<d", real)
    if isinstance(item, str):
        text = item.encode("utf-8", "surrogatepass")
        return b"s" + struct.pack("<Q", len(text)) + text
    if isinstance(item, bytes):
        return b"b" + struct.pack("<Q", len(item)) + item
    if isinstance(item, (tuple, frozenset)):
        try:
            parts = [_written(entry, equal=equal) for entry in item]
        except RecursionError:
            raise ArgumentValueError("items must not be nested that deeply") from None
        if isinstance(item, frozenset):
            parts.sort()
        letter = b"t" if isinstance(item, tuple) else b"z"
        return letter + struct.pack("<Q", len(parts)) + b"".join(parts)
    raise ArgumentTypeError(
        "items must be None, bool, numbers, str, bytes, or tuples and frozensets of these, got "
        f"{item!r} ({type(item).__name__}); without stable, they need only be hashable"
    )


class _Reader:
    """Bytes read from the left; more than there are is a forged snapshot."""

    def __init__(self, body: bytes, start: int) -> None:
        self.body = body
        self.at = start

    @property
    def done(self) -> bool:
        return self.at == len(self.body)

    def bytes(self, size: int) -> bytes:
        if size > len(self.body) - self.at:
            raise ArgumentValueError("snapshot must be one that Symbols made, got a forged one")
        self.at += size
        return self.body[self.at - size : self.at]

    def take(self, layout: str) -> tuple[Any, ...]:
        return struct.unpack(layout, self.bytes(struct.calcsize(layout)))


def _read(reader: _Reader, *, whole: bool = False, depth: int = 0) -> Hashable:
    """What `_written` wrote."""
    letter = reader.bytes(1)
    item: Hashable
    if letter == b"n":
        item = None
    elif letter in b"TF":
        item = letter == b"T"
    elif letter == b"f":
        (item,) = reader.take("<d")
    elif letter in b"isbtz" and depth < 200:
        (size,) = reader.take("<Q")
        if letter == b"i":
            item = int.from_bytes(reader.bytes(size), "little", signed=True)
        elif letter == b"s":
            try:
                item = reader.bytes(size).decode("utf-8", "surrogatepass")
            except UnicodeDecodeError:
                raise ArgumentValueError("snapshot must hold text that is UTF-8") from None
        elif letter == b"b":
            item = reader.bytes(size)
        else:
            if size > len(reader.body):
                raise ArgumentValueError("snapshot must be one that Symbols made, got a forged one")
            parts = [_read(reader, depth=depth + 1) for _ in range(size)]
            item = tuple(parts) if letter == b"t" else frozenset(parts)
    else:
        raise ArgumentValueError("snapshot must be one that Symbols made, got a forged one")
    if whole and not reader.done:
        raise ArgumentValueError("snapshot must be one that Symbols made, got a forged one")
    return item
