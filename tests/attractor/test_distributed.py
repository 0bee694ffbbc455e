"""ensemble over Dask's collections, and systems on their way to other processes."""

from __future__ import annotations

import copy
import ctypes
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from midstream import MidstreamError
from midstream.attractor import System, ensemble, integrate, systems
from midstream.errors import ArgumentTypeError, IntegrationError

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
db = pytest.importorskip("dask.bag")
assert_eq = pytest.importorskip("dask.array.utils").assert_eq

STARTS = np.random.default_rng(50).normal(size=(150, 3)) * 5 + [0, 0, 25]
LORENZ = systems.lorenz()


@pytest.fixture(autouse=True)
def _nothing_is_computed_unasked() -> Iterator[None]:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("computed")

    with dask.config.set(scheduler=refuse):
        yield


def computed(value: Any) -> Any:
    return value.compute(scheduler="sync")


def same(described: Any, expected: np.ndarray) -> None:
    assert described._meta.dtype == expected.dtype
    with dask.config.set(scheduler="sync"):
        assert_eq(described, expected, check_shape=not np.isnan(described.shape).any())
        assert computed(described).tolist() == expected.tolist()


@pytest.mark.parametrize("every", [None, 1, 7])
@pytest.mark.parametrize("chunks", [150, 64, 65, (1, 149), (70, 2), (100, 0, 50)])
def test_chunks_are_kept_and_change_no_bit(every: int | None, chunks: Any) -> None:
    split = chunks if isinstance(chunks, tuple) and chunks[-1] == 2 else (chunks, 3)
    starts = da.from_array(STARTS, chunks=split)
    options = {"dt": 0.01, "steps": 20, "transient": 3, "every": every, "t0": 1.5, "n_jobs": 2}
    described = ensemble(LORENZ, starts, **options)
    assert described.chunks[0] == starts.chunks[0]
    same(described, ensemble(LORENZ, STARTS, **options))


def test_starts_of_every_kind() -> None:
    expected = ensemble(LORENZ, STARTS, dt=0.01, steps=20)
    for starts in (
        db.from_sequence(list(STARTS), npartitions=4),
        db.from_sequence(STARTS.tolist(), npartitions=4).map(tuple),
        dask.delayed(STARTS),
        [dask.delayed(one) for one in STARTS],
        [dask.delayed(STARTS[0]), *STARTS[1:]],
    ):
        same(ensemble(LORENZ, starts, dt=0.01, steps=20), expected)
    none = db.from_sequence([1], npartitions=1).filter(lambda one: one > 1)
    same(ensemble(LORENZ, none, steps=5, every=5), np.empty((0, 2, 3)))


def test_starts_that_others_read_too_stay_as_they_are() -> None:
    starts = da.from_array(STARTS.copy(), chunks=(64, 3)).map_blocks(np.array)
    both = da.concatenate([starts, ensemble(LORENZ, starts, steps=5)])
    assert (computed(both)[:150] == STARTS).all()


def test_maps_and_python_callables() -> None:
    henon = systems.henon()
    starts = np.random.default_rng(51).uniform(-0.1, 0.1, size=(20, 2))
    same(
        ensemble(henon, da.from_array(starts, chunks=(7, 2)), steps=9, every=3),
        ensemble(henon, starts, steps=9, every=3),
    )
    spiral = System(lambda x, t: [x[1] - 0.1 * x[0], -x[0]], 2)
    same(
        ensemble(spiral, da.from_array(starts, chunks=(7, 2)), dt=0.1, steps=4),
        ensemble(spiral, starts, dt=0.1, steps=4),
    )


def test_a_trajectory_that_blows_up_has_its_number_in_the_whole() -> None:
    starts = STARTS.copy()
    starts[131] *= 1e300
    described = ensemble(LORENZ, da.from_array(starts, chunks=(40, 3)), dt=0.01, steps=10)
    with pytest.raises(IntegrationError, match="of trajectory 131") as caught:
        computed(described)
    assert caught.value.trajectory == 131
    bag = db.from_sequence(list(starts), npartitions=3)
    with pytest.raises(IntegrationError) as caught:
        computed(ensemble(LORENZ, bag, dt=0.01, steps=10))
    assert caught.value.__notes__ == ["Numbers of X0 here count from the start of block 2 of X0."]
    hidden = ensemble(
        LORENZ, da.from_array(starts, chunks=(40, 3)), dt=0.01, steps=10, blowup="nan"
    )
    assert np.flatnonzero(np.isnan(computed(hidden)).all(axis=1)).tolist() == [131]


def test_what_is_wrong_is_said_at_once() -> None:
    starts = da.from_array(STARTS, chunks=(40, 3))
    for given, options, message in (
        (starts, {"steps": 0}, "steps must be at least 1"),
        (starts, {"steps": 5, "every": 0}, "every must be at least 1"),
        (starts, {"steps": 5, "dt": -1}, "dt must be positive"),
        (starts, {"steps": 5, "blowup": "stop"}, "blowup must be one of"),
        (starts, {"steps": 5, "n_jobs": 0}, "n_jobs must not be 0"),
        (starts, {"steps": 5, "progress": print}, "progress must be None with Dask"),
        (starts[:, :2], {"steps": 5}, r"X0 must have 3 columns, got shape \(150, 2\)"),
        (starts[:, 0], {"steps": 5}, r"X0 must have 3 columns, got shape \(150,\)"),
        (starts.astype(complex), {"steps": 5}, "X0 must hold real numbers, got dtype complex128"),
    ):
        with pytest.raises(MidstreamError, match=message):
            ensemble(LORENZ, given, **options)
    bad = STARTS.copy()
    bad[90, 1] = np.nan
    with pytest.raises(MidstreamError, match=r"X0 must be finite.*in row 90"):
        computed(ensemble(LORENZ, da.from_array(bad, chunks=(40, 3)), steps=5))


def fall(x: Any) -> Any:
    """A law that pickle finds by its name."""
    return [x[1], -1.0]


@pytest.mark.parametrize(
    "system",
    [
        LORENZ,
        systems.henon(a=1.3),
        System("x' = y; y' = -k*x", params={"k": 2.0}, variables=("x", "y"), x0=[1, 0], dt=0.1),
        System.trace(lambda x, t, p: [x[1], -p["k"] * x[0]], 2, params={"k": 3.0}, x0=[1, 0]),
    ],
)
def test_a_system_comes_out_of_pickle_as_it_went_in(system: System) -> None:
    twin = pickle.loads(pickle.dumps(system))
    assert repr(twin) == repr(system)
    assert twin.native == system.native
    assert dask.base.tokenize(twin) == dask.base.tokenize(system)
    step = {} if system.kind == "map" or system.dt else {"dt": 0.1}
    expected = integrate(system, steps=50, **step)
    assert integrate(twin, steps=50, **step).tolist() == expected.tolist()


def test_a_system_of_a_callable_goes_as_far_as_the_callable() -> None:
    cloudpickle = pytest.importorskip("cloudpickle")
    shift = 0.25
    system = System(lambda x, t: [x[1], -shift], 2)
    twin = pickle.loads(cloudpickle.dumps(system))
    assert twin.rhs([0, 3]).tolist() == [3, -0.25]
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(system)


def test_an_address_is_sent_nowhere() -> None:
    double = ctypes.POINTER(ctypes.c_double)
    kind = ctypes.CFUNCTYPE(None, ctypes.c_double, double, double, double)

    @kind
    def law(t: float, x: Any, dx: Any, params: Any) -> None:
        dx[0] = -x[0]

    system = System(law, 1)
    with pytest.raises(ArgumentTypeError, match="a C function is an address in this process"):
        pickle.dumps(system)
    assert copy.copy(system) is system
    assert copy.deepcopy(system) is system
    # Threads of this process may have it.
    described = ensemble(system, da.from_array(np.ones((4, 1)), chunks=(2, 1)), dt=0.1, steps=3)
    expected = ensemble(system, np.ones((4, 1)), dt=0.1, steps=3)
    assert computed(described).tolist() == expected.tolist()
