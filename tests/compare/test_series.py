"""How series arrive: every layout that memory has gives the same values."""

from __future__ import annotations

import numpy as np
import pytest

from midstream.compare import dtw, search, soft_dtw_gradient
from midstream.compare._series import series_array


def layouts(values: np.ndarray):
    yield "as it is", values
    yield "strided", np.repeat(values, 2, axis=0)[::2]
    yield "backwards", values[::-1].copy()[::-1]
    yield "columns first", np.asfortranarray(values)
    yield "big-endian", values.astype(values.dtype.newbyteorder(">"))
    read_only = values.copy()
    read_only.flags.writeable = False
    yield "read-only", read_only
    for offset in range(1, 8):
        raw = np.frombuffer(b"x" * offset + values.tobytes(), np.uint8)[offset:]
        yield f"{offset} bytes off", raw.view(values.dtype).reshape(values.shape)


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "i8", "i2", "u1", "?"])
@pytest.mark.parametrize("shape", [(1,), (3,), (64,), (65,), (200,), (5, 3), (70, 2)])
def test_every_layout(dtype: str, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).normal(size=shape).astype("i4").astype(dtype)
    expected = values.astype("f4" if dtype in ("f4", "f2") else "f8")
    for layout, given in layouts(values):
        got = series_array("x", given)
        assert got.dtype == expected.dtype, layout
        assert np.array_equal(got, expected), layout
        assert got.flags.c_contiguous, layout
        assert got.flags.aligned, layout


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_bad_sample_is_told(dtype: str, bad: float) -> None:
    for at in [0, 1, 31, 32, 63, 64, 65, 127, 128, 199]:
        values = np.full(200, 1e30, dtype)
        values[at:] = bad
        values[at + 1 :: 2] = 0
        with pytest.raises(ValueError, match=rf"x must be finite, got {bad} at x\[{at}\]"):
            series_array("x", values)


@pytest.mark.parametrize("dtype", ["f8", "f4", "i4", "?"])
def test_what_is_masked_is_missing(dtype: str) -> None:
    values = np.ma.masked_array(np.array([1, 0, 1], dtype), mask=[False, True, False])
    with pytest.raises(ValueError, match=r"x must be finite, got nan at x\[1\]"):
        dtw(values, [1.0])
    kept = series_array("x", values, "omit")
    assert kept.tolist() == [1, 1]
    assert kept.dtype == ("f4" if dtype == "f4" else "f8")
    assert dtw(values, [1.0], nan_policy="omit") == 0
    assert dtw(np.ma.masked_array([1.0, 2.0]), [1.0, 2.0]) == 0
    assert values.mask.tolist() == [False, True, False]


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_bad_value_is_named_wherever_it_is(dtype: str, bad: float) -> None:
    """Values are looked at 64 at a time, and the rest one by one."""
    values = np.linspace(-1e30, 1e30, 200).astype(dtype)
    assert np.array_equal(series_array("x", values), values)
    for place in (0, 1, 62, 63, 64, 100, 127, 128, 191, 192, 198, 199):
        for last in (place, 199):
            some = values.copy()
            some[[place, last]] = bad
            with pytest.raises(ValueError, match=rf"x must be finite, got {bad} at x\[{place}\]$"):
                series_array("x", some)


def test_a_policy_is_offered_where_there_is_one() -> None:
    with pytest.raises(ValueError, match="nan_policy"):
        dtw([np.nan], [1.0])
    for refuse in (search, soft_dtw_gradient):
        with pytest.raises(ValueError, match=r"must be finite, got nan at .*\[1\]$"):
            refuse([1.0, np.nan], [1.0, 2.0])


@pytest.mark.parametrize("value", [None, 3.0, "abc", {1: 2}, {1, 2}, iter([1.0])])
def test_what_is_no_sequence_is_named_by_its_type(value) -> None:
    message = f"x must be a sequence of real numbers, got {type(value).__name__}"
    with pytest.raises(TypeError, match=message):
        dtw(value, [1.0])


def test_series_without_samples_or_dimensions() -> None:
    with pytest.raises(ValueError, match=r"x has no dimensions: shape \(3, 0\)"):
        dtw(np.empty((3, 0)), np.empty((3, 0)))
    with pytest.raises(ValueError, match="x holds nothing but nan: no sample is left"):
        dtw([np.nan, np.nan], [1.0], nan_policy="omit")
    with pytest.raises(ValueError, match="y holds nothing but nan"):
        dtw([[1.0, 2.0]], [[np.nan, 1.0], [1.0, np.nan]], nan_policy="omit")
    assert np.isnan(dtw([1.0, np.nan], [1.0], nan_policy="propagate"))
    assert np.isnan(dtw([1.0], [np.nan], nan_policy="propagate", window=1))


def test_buffers_that_are_not_contiguous() -> None:
    values = np.arange(12.0)
    for given in (memoryview(values)[::2], memoryview(values)[::-2]):
        assert series_array("x", given).tolist() == list(given)
