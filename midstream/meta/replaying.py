"""`Replay`: which experience to look at again, the surprising ones more often."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.snapshots import sealed, unsealed
from midstream._core.validate import check_int, check_real
from midstream.meta._replay import MOST_ITEMS, ReplayCore

__all__ = ["Replay", "Sample"]

#: Capacity, alpha, beta, seed; items ever added, largest priority, generator, items.
HEADER = struct.Struct("<QddQQd4QQ")


class Sample(NamedTuple):
    """What `Replay.sample` draws, in order of the sum's parts.

    Attributes
    ----------
    items : list
    indices : (n,) int64 ndarray
        For `Replay.update`.
    weights : (n,) float64 ndarray
        Importance weights, the largest of the sample 1: what a step of learning is multiplied by
        to undo that some items are drawn more often.
    probabilities : (n,) float64 ndarray
        Of each item at each draw, before.
    """

    items: list[Any]
    indices: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]
    probabilities: npt.NDArray[np.float64]


class Replay(ReplayCore):
    """A memory of bounded size whose items are drawn in proportion to their priorities.

    Parameters
    ----------
    capacity : int
        Most items; the oldest one goes where there is no place. At most 2**26.
    alpha : float
        How much priorities count, in [0, 1]: an item is drawn in proportion to priority ** alpha;
        0 draws all alike.
    beta : float
        How much of the bias importance weights undo, in [0, 1].
    seed : int
        Of the generator, 0 to 2**64 - 1. The generator is part of the state.

    Attributes
    ----------
    capacity, alpha, beta, seed
        As given.
    n_added, start : int
        Items ever added; index of the oldest one that is kept.
    indices, priorities, probabilities : (len(replay),) ndarray
        Of the items that are kept, the oldest first.
    max_priority : float
        Largest priority ever given; what an item gets by default.
    total : float
        Sum of priority ** alpha.

    Raises
    ------
    ArgumentValueError, ArgumentTypeError
        An argument cannot be used.
    MemoryError
        There is no memory for `capacity`: 24 to 40 bytes each, without the items.

    Notes
    -----
    `add`, each draw and each `update` of an item cost log2(capacity) steps of some nanoseconds. A
    sum is computed anew from its parts whenever one of them changes, so sums do not drift however
    often priorities change.

    A batch of n is drawn from n equal parts of the sum, one from each: an item with a share of 1/n
    or more is surely in it, and may be so several times. An item of priority 0 is never drawn,
    unless alpha is 0.

    Not for several threads at a time: another thread's call is refused while the lock is released.

    Source: T. Schaul, J. Quan, I. Antonoglou and D. Silver, "Prioritized experience replay", ICLR
    (2016), the proportional variant: equations 1 and 2, appendix B.2.1.

    Examples
    --------
    >>> from midstream.meta.replaying import Replay
    >>> replay = Replay(1000, seed=1)
    >>> for turn in range(100):
    ...     _ = replay.add({"turn": turn}, priority=1.0)
    >>> replay.update([17], [1000.0])
    1
    >>> batch = replay.sample(4)
    >>> {"turn": 17} in batch.items, batch.weights.round(4).tolist()
    (True, [0.1905, 0.1905, 1.0, 1.0])
    """

    __slots__ = ("__weakref__",)

    _magic: ClassVar[bytes] = b"ms.replay1"

    def __new__(
        cls, capacity: int, *, alpha: float = 0.6, beta: float = 0.4, seed: int = 0
    ) -> Self:
        capacity = check_int("capacity", capacity, low=1, high=MOST_ITEMS)
        alpha = check_real("alpha", alpha, low=0.0, high=1.0)
        beta = check_real("beta", beta, low=0.0, high=1.0)
        seed = check_int("seed", seed, low=0, high=(1 << 64) - 1)
        return super().__new__(cls, capacity, alpha, beta, seed)

    def sample(self, n: int, *, beta: float | None = None) -> Sample:
        """Draw items in proportion to priority ** alpha, and change nothing but the generator.

        Parameters
        ----------
        n : int
            Draws. An item may be drawn more than once.
        beta : float, optional
            In place of `Replay.beta`: it is usually raised to 1 while learning.

        Returns
        -------
        Sample

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            An argument cannot be used; no item has a positive priority.

        Notes
        -----
        The weight of an item of probability p is ``(q / p) ** beta``, where q is the smallest
        probability in the sample.

        Examples
        --------
        >>> from midstream.meta.replaying import Replay
        >>> replay = Replay(10)
        >>> _ = replay.add("rare", 1.0), replay.add("usual", 0.0)
        >>> replay.sample(3).items
        ['rare', 'rare', 'rare']
        """
        n = check_int("n", n, low=1, high=1 << 31)
        beta = self.beta if beta is None else check_real("beta", beta, low=0.0, high=1.0)
        return Sample(*self._sample(n, beta))

    def update(self, indices: npt.ArrayLike, priorities: npt.ArrayLike) -> int:
        """Give items new priorities, usually the size of the error that they caused.

        Parameters
        ----------
        indices : (n,) array_like of int
            As `add` or `sample` returned them. Where one stands several times, the last counts.
        priorities : (n,) array_like of float
            Not negative, at most 1e300.

        Returns
        -------
        int
            How many were changed: items that have gone since are left out.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            Not as many priorities as indices; one is not valid. Nothing was changed then.

        Examples
        --------
        >>> from midstream.meta.replaying import Replay
        >>> replay = Replay(2)
        >>> first, second, third = (replay.add(word, 1.0) for word in "abc")
        >>> replay.update([first, third], [5.0, 3.0])
        1
        >>> replay.priorities.tolist()
        [1.0, 3.0]
        """
        chosen = _array("indices", indices, "iu", np.int64)
        given = _array("priorities", priorities, "fiu", np.float64)
        if len(chosen) != len(given):
            raise ArgumentValueError(
                f"priorities must be {len(chosen)}, one for each index, got {len(given)}"
            )
        return self._update(chosen, given)

    @property
    def indices(self) -> npt.NDArray[np.int64]:
        """Indices of the items that are kept, the oldest first."""
        return np.arange(self.start, self.n_added)

    @property
    def priorities(self) -> npt.NDArray[np.float64]:
        """Priorities of the items that are kept, the oldest first."""
        return self._ordered(False)

    @property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """Probability of each item that is kept to be what one draw draws, the oldest first.

        All NaN where no priority is positive.
        """
        weights = self._ordered(True)
        with np.errstate(invalid="ignore"):
            return weights / self.total

    def snapshot(self, *, encode: Callable[[Any], bytes] | None = None) -> bytes:
        """Settings, priorities, generator and items as bytes, the same bytes for the same state.

        Parameters
        ----------
        encode : callable, optional
            Turns an item into bytes. By default items must be bytes or JSON values: str, numbers,
            bool, None, and lists and str-keyed dicts of them.

        Returns
        -------
        bytes

        Raises
        ------
        ArgumentTypeError
            An item is not what `encode` or JSON can tell exactly: tuples, for one.

        Notes
        -----
        On another machine, a power of a priority may differ in its last bit, and with it, rarely,
        a draw.
        """
        added, largest, random = self._state()
        items = [_encoded(item, encode) for item in self]
        head = HEADER.pack(
            self.capacity, self.alpha, self.beta, self.seed, added, largest, *random, len(items)
        )
        sizes = np.array([len(item) for item in items], "<u8").tobytes()
        priorities = self.priorities.astype("<f8").tobytes()
        return sealed(b"".join([self._magic, head, priorities, sizes, *items]))

    def restore(self, snapshot: bytes, *, decode: Callable[[bytes], Any] | None = None) -> None:
        """Go to where `snapshot` was taken.

        Parameters
        ----------
        snapshot : bytes-like
            Of a replay with the same settings.
        decode : callable, optional
            Turns bytes into an item; needed where the snapshot was taken with `encode`.

        Raises
        ------
        ArgumentTypeError, ArgumentValueError
            No snapshot, a damaged one, or one of other settings; `decode` is missing. Nothing was
            changed then.
        """
        least = len(self._magic) + HEADER.size
        body = unsealed(snapshot, self._magic, "Replay", least=least)
        capacity, alpha, beta, seed, added, largest, *rest = HEADER.unpack_from(
            body, len(self._magic)
        )
        mine = (self.capacity, self.alpha, self.beta, self.seed)
        if (capacity, alpha, beta, seed) != mine:
            raise ArgumentValueError(
                f"snapshot must be of a Replay with the same capacity, alpha, beta and seed, "
                f"{mine}, got {(capacity, alpha, beta, seed)}"
            )
        *random, n = rest
        if n > MOST_ITEMS or len(body) < least + 16 * n:
            raise ArgumentValueError("snapshot must be whole, got a damaged one")
        priorities = np.frombuffer(body, "<f8", n, least).astype(np.float64)
        sizes = np.frombuffer(body, "<u8", n, least + 8 * n).tolist()
        at = least + 16 * n
        if len(body) != at + sum(sizes):
            raise ArgumentValueError("snapshot must be whole, got a damaged one")
        items = []
        for size in sizes:
            items.append(_decoded(body[at : at + size], decode))
            at += size
        try:
            self._set_state(added, largest, tuple(random), priorities, items)
        except ValueError as error:
            raise ArgumentValueError(
                f"snapshot must hold a state that a Replay can have, got another one: {error}"
            ) from None

    @property
    def digest(self) -> str:
        """SHA-256 of the snapshot, in hexadecimal; items must be bytes or JSON values."""
        return hashlib.sha256(self.snapshot()).hexdigest()

    def copy(self) -> Self:
        """Another replay in the same state, with the same items."""
        other = type(self)(self.capacity, alpha=self.alpha, beta=self.beta, seed=self.seed)
        other._set_state(*self._state(), self.priorities, list(self))
        return other

    def __copy__(self) -> Self:
        return self.copy()

    def __reduce__(self) -> tuple[Any, ...]:
        settings = (self.capacity, self.alpha, self.beta, self.seed)
        return _rebuilt, (type(self), settings, self._state(), self.priorities, list(self))

    def __repr__(self) -> str:
        return (
            f"<Replay of {len(self)} of {self.capacity} items, alpha={self.alpha}, "
            f"beta={self.beta}, seed={self.seed}>"
        )


def _rebuilt(
    cls: type[Replay],
    settings: tuple[int, float, float, int],
    state: tuple[int, float, tuple[int, ...]],
    priorities: npt.NDArray[np.float64],
    items: list[Any],
) -> Replay:
    capacity, alpha, beta, seed = settings
    other = cls(capacity, alpha=alpha, beta=beta, seed=seed)
    other._set_state(*state, priorities, items)
    return other


def _array(name: str, values: npt.ArrayLike, kinds: str, dtype: Any) -> npt.NDArray[Any]:
    """One-dimensional, contiguous, of the type; never of numbers that change by the cast."""
    try:
        array = np.asarray(values)
    except (TypeError, ValueError):
        raise ArgumentTypeError(f"{name} must be numbers, got {type(values).__name__}") from None
    if array.ndim != 1:
        raise ArgumentValueError(f"{name} must have one axis, got {array.ndim}")
    if len(array) and array.dtype.kind not in kinds:
        raise ArgumentTypeError(f"{name} must be {_WORDS[dtype]}, got an array of {array.dtype}")
    if array.dtype == np.uint64 and dtype is np.int64 and len(array) and array.max() >= 1 << 63:
        raise ArgumentValueError(f"{name} must be below 2**63, got {array.max()}")
    return np.ascontiguousarray(array, dtype)


_WORDS = {np.int64: "integers", np.float64: "real numbers"}


def _encoded(item: Any, encode: Callable[[Any], bytes] | None) -> bytes:
    """An item as bytes, the first of which says how to read the others."""
    if encode is not None:
        data = encode(item)
        if not isinstance(data, bytes):
            raise ArgumentTypeError(f"encode must return bytes, got {type(data).__name__}")
        return b"e" + data
    if type(item) is bytes:
        return b"b" + item
    try:
        text = json.dumps(item, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError):
        text = None
    if text is None or not _same(json.loads(text), item):
        raise ArgumentTypeError(
            f"items must be bytes or JSON values where encode is not given, got {item!r:.80}"
        )
    return b"j" + text.encode()


def _same(a: Any, b: Any) -> bool:
    """Whether two values are the same to JSON, types included."""
    if type(a) is not type(b):
        return False
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    return bool(a == b)


def _decoded(data: bytes, decode: Callable[[bytes], Any] | None) -> Any:
    kind, rest = data[:1], data[1:]
    if kind == b"e":
        if decode is None:
            raise ArgumentValueError("decode must be given for items that encode wrote, got None")
        return decode(rest)
    if kind == b"b":
        return rest
    try:
        if kind != b"j":
            raise ValueError("kind of item")
        return json.loads(rest)
    except (ValueError, RecursionError):
        raise ArgumentValueError(
            f"snapshot must hold items that Replay.snapshot wrote, got {data!r:.40}"
        ) from None
