"""Dask's collections told apart, and what is said of them before anything is computed."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys

import numpy as np
import pytest

from midstream._core.chunks import (
    check_chunks,
    counting_from,
    dask_kind,
    offsets_of,
    pieces,
    refuse,
)
from midstream._core.errors import ArgumentTypeError, ArgumentValueError

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
db = pytest.importorskip("dask.bag")


def test_kinds() -> None:
    assert dask_kind("X", da.ones(3)) == "array"
    assert dask_kind("X", db.from_sequence([1])) == "bag"
    assert dask_kind("X", dask.delayed(1)) == "delayed"
    assert dask_kind("X", db.from_sequence([1]).sum()) == "delayed"
    assert dask_kind("X", [1, dask.delayed(1)]) == "list"
    assert dask_kind("X", (dask.delayed(1).real,)) == "list"


@pytest.mark.parametrize("value", [[], [1, 2], (), np.ones(3), "text", None, 3, {"a": 1}, iter([])])
def test_what_is_here_is_of_no_kind(value: object) -> None:
    assert dask_kind("X", value) is None


def test_a_collection_that_numpy_would_compute_unasked_is_refused() -> None:
    class Frame:
        def __dask_graph__(self) -> dict[str, int]:
            return {"a": 1}

        def __array__(self) -> np.ndarray:
            raise AssertionError("computed")

    with pytest.raises(ArgumentTypeError, match=r"X must be a Dask array.* got Frame.*to_dask_arr"):
        dask_kind("X", Frame())


def test_a_labelled_array_that_holds_no_graph_is_here() -> None:
    class Labelled:
        def __dask_graph__(self) -> None:
            return None

    assert dask_kind("X", Labelled()) is None


def test_dask_is_not_imported() -> None:
    script = (
        "import sys; from midstream.compare import cdist, search; from midstream.logic import "
        "RuleBook; from midstream.attractor import ensemble, systems; cdist([[1]], [[2]]); "
        "search([1, 2], [1, 2, 3]); ensemble(systems.lorenz(), [[1, 1, 1]], steps=1); "
        "RuleBook(['G a']).check([[{'a'}]]); print('dask' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "False"


def test_offsets_end_where_sizes_are_unknown() -> None:
    assert offsets_of((3, 4, 5)) == [0, 3, 7]
    assert offsets_of((3, math.nan, 5)) == [0, 3, None]
    assert offsets_of(()) == []


def test_items_are_never_split() -> None:
    array = da.ones((6, 8, 2), chunks=(2, 3, 1))
    taken = pieces("array", array, "x")
    assert taken.sizes == (2, 2, 2)
    assert taken.sources[0].chunks == ((2, 2, 2), (8,), (2,))
    assert pieces("array", da.ones((6, 8), chunks=(2, 8)), "x").sources[0].chunks[0] == (2, 2, 2)


def test_many_delayed_items_share_tasks() -> None:
    taken = pieces("list", [dask.delayed(i) for i in range(150)], "x")
    assert taken.sizes == (64, 64, 22)


def test_refusals_name_the_argument() -> None:
    refuse("out", None, "no")
    with pytest.raises(ArgumentValueError, match="out must be None with Dask's collections: why"):
        refuse("out", 1, "why")
    unknown = da.ones(5, chunks=2)
    unknown = unknown[unknown > 0]
    with pytest.raises(ArgumentValueError, match=r"y must have chunks of known sizes, why; got 3"):
        check_chunks("y", unknown, "why")
    check_chunks("y", unknown.compute_chunk_sizes(), "why")


def test_an_error_says_what_its_numbers_count_from() -> None:
    with pytest.raises(ValueError) as first, counting_from(X=(0, 0), Y=(0, 0)):
        raise ValueError("X[3]")
    assert not hasattr(first.value, "__notes__")
    with pytest.raises(ValueError) as second, counting_from(X=(2, 20), Y=(1, None)):
        raise ValueError("X[3]")
    said = ["Numbers of X and Y here count from X[20], the start of block 1 of Y."]
    assert second.value.__notes__ == said
    assert pickle.loads(pickle.dumps(second.value)).__notes__ == said
