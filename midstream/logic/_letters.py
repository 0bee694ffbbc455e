"""Letters and traces, in the forms that people have them, as bit masks or columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_choice
from midstream.logic.formula import Predicate

__all__ = ["Letter", "Trace", "as_columns", "as_mask", "as_masks"]

#: The atoms that are true; atom -> bool and signal -> number; or a bit mask.
Letter: TypeAlias = "Set[str] | Sequence[str] | Mapping[str, Any] | int"
#: One letter a position, an array of bit masks, or columns by atom and signal.
Trace: TypeAlias = "Iterable[Letter] | npt.NDArray[np.unsignedinteger] | Mapping[str, Any]"

_MISSING = ("false", "error")


def as_mask(
    letter: Letter,
    alphabet: Sequence[str],
    predicates: Sequence[Predicate | None] = (),
    *,
    missing: str = "false",
    position: int | None = None,
) -> int:
    """A letter as an integer whose bit i is ``alphabet[i]``.

    Parameters
    ----------
    letter : set or sequence of str, mapping of str to bool or number, or int
    alphabet : sequence of str
    predicates : sequence of Predicate or None, optional
        By the index of `alphabet`: evaluated where `letter` is a mapping that has the signal.
    missing : {"false", "error"}
        What an atom counts as that a mapping lacks. A set lacks what is false.
    position : int, optional
        Where in a trace, for messages.

    Returns
    -------
    int

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        No letter; an atom that is not in `alphabet` (in a set or a mask: a mapping may have more);
        a value that is no bool, or a signal that is NaN.
    """
    where = "letter" if position is None else f"trace[{position}]"
    if isinstance(letter, (bool, np.bool_, str, bytes, float)):
        raise ArgumentTypeError(
            f"{where} must be a set of atoms, a mapping or a bit mask, not "
            f"{type(letter).__name__} ({letter!r:.40})"
        )
    if isinstance(letter, (int, np.integer)):
        mask = int(letter)
        if not 0 <= mask < 1 << len(alphabet):
            raise ArgumentValueError(
                f"{where} must be a mask of the {len(alphabet)} atoms of the alphabet, "
                f"not {mask!r:.40}"
            )
        return mask
    if isinstance(letter, Mapping):
        return _mask_of_mapping(letter, alphabet, predicates, missing, where)
    if not isinstance(letter, Iterable):
        raise ArgumentTypeError(
            f"{where} must be a set of atoms, a mapping or a bit mask, not {type(letter).__name__}"
        )
    mask = 0
    for name in letter:
        # Alphabets are short, and a foreign atom wants the loop anyway.
        try:
            mask |= 1 << alphabet.index(name)
        except ValueError:
            if not isinstance(name, str):
                raise ArgumentTypeError(
                    f"{where} must hold names of atoms, not {type(name).__name__} ({name!r:.40})"
                ) from None
    return mask


def _as_number(sample: Any, where: str) -> float:
    """A sample of a signal; text is none, though ``float`` would read it."""
    if isinstance(sample, (str, bytes)):
        raise ArgumentTypeError(f"{where} must be a number, not {sample!r:.40}")
    try:
        number = float(sample)
    except OverflowError:
        raise ArgumentValueError(f"{where} is too large for a real number") from None
    except (TypeError, ValueError):
        raise ArgumentTypeError(f"{where} must be a number, not {sample!r:.40}") from None
    if number != number:
        raise ArgumentValueError(f"{where} must not be NaN")
    return number


def _mask_of_mapping(
    letter: Mapping[str, Any],
    alphabet: Sequence[str],
    predicates: Sequence[Predicate | None],
    missing: str,
    where: str,
) -> int:
    mask = 0
    for index, name in enumerate(alphabet):
        comparison = predicates[index] if index < len(predicates) else None
        value = letter.get(name)
        if value is None and comparison is not None:
            sample = letter.get(comparison.signal)
            if sample is not None:
                number = _as_number(sample, f"{where}[{comparison.signal!r}]")
                value = comparison.holds(number)
        if value is None:
            if missing == "error":
                raise ArgumentValueError(f"{where} must say whether {name!r} holds")
            continue
        if not isinstance(value, (bool, np.bool_)) and not (
            isinstance(value, (int, np.integer)) and value in (0, 1)
        ):
            raise ArgumentTypeError(
                f"{where}[{name!r}] must be a bool, not {type(value).__name__} ({value!r:.40})"
            )
        if value:
            mask |= 1 << index
    return mask


def as_masks(
    trace: Trace,
    alphabet: Sequence[str],
    predicates: Sequence[Predicate | None] = (),
    *,
    missing: str = "false",
) -> npt.NDArray[np.uint64]:
    """A trace as bit masks.

    Parameters
    ----------
    trace : sequence of letters, (n,) array of unsigned masks, or mapping of str to (n,) array
    alphabet, predicates, missing
        As for `as_mask`.

    Returns
    -------
    (n,) or (n, words) uint64 ndarray
        Bit i of a row is ``alphabet[i]``; one word up to 64 atoms.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        As `as_mask`; columns of different lengths.
    """
    words = max(1, -(-len(alphabet) // 64))
    if isinstance(trace, np.ndarray) and words == 1:
        return _checked_masks(trace, len(alphabet))
    if isinstance(trace, Mapping):
        columns = as_columns(trace, alphabet, predicates, missing=missing)
        padded = np.zeros((columns.shape[1], 64 * words), dtype=np.bool_)
        padded[:, : len(alphabet)] = columns.T
        packed = np.packbits(padded, axis=1, bitorder="little").view("<u8").astype(np.uint64)
        return packed[:, 0] if words == 1 else packed
    masks = _masks(trace, alphabet, predicates, missing)
    if words == 1:
        return np.array(masks, dtype=np.uint64)
    raw = b"".join(mask.to_bytes(8 * words, "little") for mask in masks)
    return np.frombuffer(raw, dtype="<u8").astype(np.uint64).reshape(len(masks), words)


def _masks(
    trace: Any, alphabet: Sequence[str], predicates: Sequence[Predicate | None], missing: str
) -> list[int]:
    check_choice("missing", missing, _MISSING)
    if isinstance(trace, (str, bytes)) or not isinstance(trace, Iterable):
        raise ArgumentTypeError(
            f"trace must be a sequence of letters, an array of masks or a mapping of columns, "
            f"not {type(trace).__name__}"
        )
    bits = {name: 1 << index for index, name in enumerate(alphabet)}
    every = set(bits)
    masks = []
    for position, letter in enumerate(trace):
        kind = type(letter)
        if kind is set or kind is frozenset or kind is list or kind is tuple:
            mask = 0
            if len(letter) > len(every) and (kind is set or kind is frozenset):
                letter = letter & every
            for name in letter:
                bit = bits.get(name) if isinstance(name, str) else None
                if bit is not None:
                    mask |= bit
                elif not isinstance(name, str):
                    raise ArgumentTypeError(
                        f"trace[{position}] must hold names of atoms, not "
                        f"{type(name).__name__} ({name!r:.40})"
                    )
            masks.append(mask)
        else:
            masks.append(as_mask(letter, alphabet, predicates, missing=missing, position=position))
    return masks


def _checked_masks(trace: npt.NDArray[Any], n_atoms: int) -> npt.NDArray[np.uint64]:
    if trace.ndim != 1 or trace.dtype.kind not in "ui":
        raise ArgumentTypeError(
            f"trace must be a (n,) array of unsigned integers, not {trace.ndim}-d {trace.dtype}"
        )
    if trace.size:
        if trace.dtype.kind == "i" and trace.min() < 0:
            raise ArgumentValueError(f"trace must not hold negative masks, got {trace.min()}")
        if n_atoms < 64 and int(trace.max()) >> n_atoms:
            raise ArgumentValueError(
                f"trace must hold masks of {n_atoms} atoms, got {int(trace.max())}"
            )
    return np.ascontiguousarray(trace, dtype=np.uint64)


def as_columns(
    trace: Trace,
    alphabet: Sequence[str],
    predicates: Sequence[Predicate | None] = (),
    *,
    missing: str = "false",
) -> npt.NDArray[np.bool_]:
    """A trace as one bool row for each atom.

    Parameters
    ----------
    trace, alphabet, predicates, missing
        As for `as_masks`.

    Returns
    -------
    (len(alphabet), n) bool ndarray

    Raises
    ------
    ArgumentTypeError, ArgumentValueError
        As `as_masks`.
    """
    check_choice("missing", missing, _MISSING)
    if isinstance(trace, Mapping):
        return _columns_of_mapping(trace, alphabet, predicates, missing)
    if isinstance(trace, np.ndarray) and len(alphabet) <= 64:
        masks = _checked_masks(trace, len(alphabet))
        rows = np.empty((len(alphabet), masks.size), dtype=np.bool_)
        for index in range(len(alphabet)):
            rows[index] = (masks >> np.uint64(index)) & np.uint64(1)
        return rows
    if not isinstance(trace, (str, bytes)) and isinstance(trace, Iterable):
        trace = list(trace)
        found = _columns_of_mappings(trace, alphabet, predicates, missing)
        if found is not None:
            return found
    listed = _masks(trace, alphabet, predicates, missing)
    n_bytes = max(1, -(-len(alphabet) // 8))
    raw = np.frombuffer(
        b"".join(mask.to_bytes(n_bytes, "little") for mask in listed), dtype=np.uint8
    ).reshape(len(listed), n_bytes)
    bits = np.unpackbits(raw, axis=1, bitorder="little", count=len(alphabet))
    return np.ascontiguousarray(bits.T).view(np.bool_)


def _columns_of_mappings(
    trace: Sequence[Any],
    alphabet: Sequence[str],
    predicates: Sequence[Predicate | None],
    missing: str,
) -> npt.NDArray[np.bool_] | None:
    """Columns of letters that are all plain mappings; None where a letter wants a closer look."""
    if set(map(type, trace)) != {dict}:
        return None
    found = np.empty((len(alphabet), len(trace)), dtype=np.bool_)
    samples: dict[str, npt.NDArray[np.float64]] = {}
    for index, name in enumerate(alphabet):
        values = [letter.get(name) for letter in trace]
        kinds = set(map(type, values))
        if not kinds <= {bool, type(None)}:
            return None
        known = bool not in kinds
        comparison = predicates[index] if index < len(predicates) else None
        if comparison is None or not known:
            if type(None) in kinds and (missing == "error" or comparison is not None):
                return None
            found[index] = values
            continue
        signal = comparison.signal
        if signal not in samples:
            numbers = [letter.get(signal) for letter in trace]
            if not set(map(type, numbers)) <= {float, int}:
                return None
            try:
                samples[signal] = np.array(numbers, dtype=np.float64)
            except OverflowError:
                return None
            if np.isnan(samples[signal]).any():
                return None
        found[index] = _compare(comparison, samples[signal])
    return found


def _columns_of_mapping(
    trace: Mapping[str, Any],
    alphabet: Sequence[str],
    predicates: Sequence[Predicate | None],
    missing: str,
) -> npt.NDArray[np.bool_]:
    length: int | None = None
    for name, column in trace.items():
        shape = np.shape(column)
        if len(shape) != 1:
            raise ArgumentValueError(f"trace[{name!r}] must be one-dimensional, not {shape}")
        if length is None:
            length = shape[0]
        elif shape[0] != length:
            raise ArgumentValueError(
                f"trace[{name!r}] must have {length} positions like the others, not {shape[0]}"
            )
    rows = np.zeros((len(alphabet), length or 0), dtype=np.bool_)
    for index, name in enumerate(alphabet):
        comparison = predicates[index] if index < len(predicates) else None
        if name in trace:
            column = np.asarray(trace[name])
            if column.dtype.kind != "b" and not np.isin(column, (0, 1)).all():
                raise ArgumentTypeError(
                    f"trace[{name!r}] must be an array of bool, not {column.dtype}"
                )
            rows[index] = column
        elif comparison is not None and comparison.signal in trace:
            rows[index] = _compare(comparison, trace[comparison.signal])
        elif missing == "error":
            raise ArgumentValueError(f"trace must have a column for {name!r}")
    return rows


def _compare(comparison: Predicate, column: Any) -> npt.NDArray[np.bool_]:
    where = f"trace[{comparison.signal!r}]"
    samples = np.asarray(column)
    if samples.dtype.kind not in "biuf":
        samples = np.array([_as_number(item, f"{where}[{i}]") for i, item in enumerate(column)])
    samples = samples.astype(np.float64)
    if np.isnan(samples).any():
        raise ArgumentValueError(
            f"{where} must not have NaN, got one at {int(np.isnan(samples).argmax())}"
        )
    compare = {
        ">": np.greater,
        ">=": np.greater_equal,
        "<": np.less,
        "<=": np.less_equal,
        "==": np.equal,
        "!=": np.not_equal,
    }[comparison.comparison]
    result: npt.NDArray[np.bool_] = compare(samples, comparison.threshold)
    return result
