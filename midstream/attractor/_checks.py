"""What series, point sets and their parameters have to be, said once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from midstream._core.errors import ArgumentTypeError, ArgumentValueError
from midstream._core.validate import check_choice, check_int

__all__ = [
    "Floats",
    "as_array",
    "as_points",
    "as_segments",
    "as_series",
    "check_embedding",
    "samples_with_gaps",
]

Floats = NDArray[np.float64]


def as_array(name: str, value: ArrayLike, *, ndim: tuple[int, ...]) -> Floats:
    """Return `value` as C-contiguous float64 of one of `ndim` dimensions; NaN is let through.

    Raises
    ------
    ArgumentTypeError
        Complex, text, object, or ragged.
    ArgumentValueError
        Wrong number of dimensions.
    """
    try:
        array = np.asarray(value)
    except ValueError:
        raise ArgumentTypeError(
            f"{name} must be an array of real numbers, got a ragged one"
        ) from None
    if array.dtype.kind not in "fiub":
        raise ArgumentTypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
    if array.ndim not in ndim:
        wanted = " or ".join(f"{n}-dimensional" for n in ndim)
        raise ArgumentValueError(f"{name} must be {wanted}, got shape {array.shape}")
    return np.ascontiguousarray(array, dtype=np.float64)


def _refuse_gaps(name: str, array: Floats) -> None:
    if not np.isfinite(array).all():
        bad = int(np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1))[0])
        raise ArgumentValueError(
            f"{name} must be finite, got {array[bad]!r} at index {bad}; "
            "nan_policy='omit' leaves gaps out where a function offers it"
        )


def as_series(name: str, value: ArrayLike, *, min_length: int = 1) -> Floats:
    """Return `value` as a finite, contiguous float64 series of shape (n,), n >= `min_length`."""
    array = as_array(name, value, ndim=(1,))
    if len(array) < min_length:
        raise ArgumentValueError(
            f"{name} must have at least {min_length} samples, got {len(array)}"
        )
    _refuse_gaps(name, array)
    return array


def as_points(name: str, value: ArrayLike, *, min_length: int = 1) -> Floats:
    """Return `value` as finite, contiguous float64 points of shape (n, d); (n,) becomes (n, 1)."""
    array = as_array(name, value, ndim=(1, 2))
    if array.ndim == 1:
        array = array[:, None]
    if len(array) < min_length or array.shape[1] == 0:
        raise ArgumentValueError(
            f"{name} must have at least {min_length} points of at least one component, "
            f"got shape {array.shape}"
        )
    _refuse_gaps(name, array)
    return array


def as_segments(
    name: str, value: ArrayLike, *, nan_policy: Any = "raise"
) -> list[tuple[int, Floats]]:
    """Split a series into its finite stretches: ``[(first index, samples), ...]``.

    With ``nan_policy="raise"`` a gap is an error, so there is one stretch. With ``"omit"`` every
    run of finite samples is one; no delay vector may span two of them.
    """
    check_choice("nan_policy", nan_policy, ("raise", "omit"))
    array = as_array(name, value, ndim=(1,))
    if len(array) == 0:
        raise ArgumentValueError(f"{name} must not be empty")
    if nan_policy == "raise":
        _refuse_gaps(name, array)
        return [(0, array)]
    finite = np.isfinite(array)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], finite, [False])).astype(np.int8)))
    return [
        (int(start), array[start:stop]) for start, stop in zip(edges[::2], edges[1::2], strict=True)
    ]


def check_embedding(emb_dim: Any, delay: Any) -> tuple[int, int]:
    """Return both as integers of at least one."""
    return check_int("emb_dim", emb_dim, low=1), check_int("delay", delay, low=1)


def samples_with_gaps(
    name: str,
    value: ArrayLike,
    emb_dim: int,
    delay: int,
    theiler: int,
    nan_policy: Any,
    omitted: str,
) -> tuple[Floats, NDArray[np.bool_]]:
    """Samples of shape (n, d), and which of their delay vectors have no gap, at least one.

    `omitted` ends the sentence "nan_policy='omit' ...".
    """
    check_choice("nan_policy", nan_policy, ("raise", "omit"))
    samples = as_array(name, value, ndim=(1, 2))
    if samples.ndim == 1:
        samples = samples[:, None]
    least = (emb_dim - 1) * delay + theiler + 2
    if len(samples) < least or samples.shape[1] == 0:
        raise ArgumentValueError(
            f"{name} must have at least {least} samples of at least one component, "
            f"got shape {samples.shape}"
        )
    finite = np.asarray(np.isfinite(samples).all(axis=1))
    if nan_policy == "raise" and not finite.all():
        bad = int(np.flatnonzero(~finite)[0])
        raise ArgumentValueError(
            f"{name} must be finite, got {samples[bad].tolist()} at index {bad}; "
            f"nan_policy='omit' {omitted}"
        )
    n = len(samples) - (emb_dim - 1) * delay
    present = finite[:n].copy()
    for k in range(1, emb_dim):
        present &= finite[k * delay : k * delay + n]
    if not present.any():
        raise ArgumentValueError(f"{name} must have {least - theiler - 1} finite samples in a row")
    return samples, present
