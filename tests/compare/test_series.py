"""How series arrive: every layout that memory has gives the same values."""

from __future__ import annotations

import numpy as np
import pytest

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
