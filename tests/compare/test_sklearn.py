"""The measures in scikit-learn's hands: as a callable metric, and as a precomputed matrix."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from midstream.compare import cdist, dtw, pdist, soft_dtw

neighbors = pytest.importorskip("sklearn.neighbors")
cluster = pytest.importorskip("sklearn.cluster")
model_selection = pytest.importorskip("sklearn.model_selection")


def bumps(rng: np.random.Generator, count: int, length: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """One bump or two, anywhere: classes that differ in shape and not in place."""
    kinds = np.arange(count) % 2
    t = np.arange(length)
    series = 0.05 * rng.standard_normal((count, length))
    for row, kind in zip(series, kinds, strict=True):
        start = rng.uniform(5, 12)
        for centre in [start + 8] if kind == 0 else [start, start + 16]:
            row += np.exp(-0.5 * ((t - centre) / 2.0) ** 2)
    return series, kinds


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return *bumps(rng, 40), *bumps(rng, 30)


def test_callable_metric(data) -> None:
    train, train_kinds, test, test_kinds = data
    classifier = neighbors.KNeighborsClassifier(1, metric=dtw).fit(train, train_kinds)
    assert classifier.score(test, test_kinds) == 1.0
    # Its own distances are ours, and so are its parameters.
    distances, indices = classifier.kneighbors(test)
    ours = cdist(test, train, "dtw")
    assert distances[:, 0].tolist() == ours.min(axis=1).tolist()
    assert indices[:, 0].tolist() == ours.argmin(axis=1).tolist()
    banded = neighbors.KNeighborsClassifier(1, metric=dtw, metric_params={"window": 9})
    distances, _ = banded.fit(train, train_kinds).kneighbors(test)
    assert distances[:, 0].tolist() == cdist(test, train, "dtw", window=9).min(axis=1).tolist()


def test_callable_metric_that_may_be_negative(data) -> None:
    train, train_kinds, test, test_kinds = data
    # No tree: soft-DTW is not a metric.
    classifier = neighbors.KNeighborsClassifier(
        1, metric=partial(soft_dtw, gamma=0.1), algorithm="brute"
    )
    assert classifier.fit(train, train_kinds).score(test, test_kinds) == 1.0


@pytest.mark.parametrize(("metric", "params"), [("dtw", {}), ("dtw", {"window": 9}), ("msm", {})])
def test_precomputed_matrix(data, metric: str, params: dict[str, int]) -> None:
    train, train_kinds, test, test_kinds = data
    classifier = neighbors.KNeighborsClassifier(3, metric="precomputed")
    classifier.fit(cdist(train, train, metric, **params), train_kinds)
    assert classifier.score(cdist(test, train, metric, **params), test_kinds) == 1.0


def test_ragged_series_by_a_precomputed_matrix(data) -> None:
    train, train_kinds, test, test_kinds = data
    ragged = [row[: 34 + i % 7] for i, row in enumerate(test)]
    classifier = neighbors.KNeighborsClassifier(1, metric="precomputed")
    classifier.fit(cdist(train, train, "dtw"), train_kinds)
    assert classifier.score(cdist(ragged, train, "dtw"), test_kinds) == 1.0


def test_clusters_of_a_condensed_matrix(data) -> None:
    distance = pytest.importorskip("scipy.spatial.distance")
    train, train_kinds, _, _ = data
    model = cluster.AgglomerativeClustering(2, metric="precomputed", linkage="average")
    labels = model.fit_predict(distance.squareform(pdist(train, "dtw")))
    assert len({(label, kind) for label, kind in zip(labels, train_kinds, strict=True)}) == 2


def test_cross_validation_slices_the_matrix(data) -> None:
    train, train_kinds, _, _ = data
    classifier = neighbors.KNeighborsClassifier(1, metric="precomputed")
    scores = model_selection.cross_val_score(
        classifier, cdist(train, train, "dtw"), train_kinds, cv=4
    )
    assert scores.tolist() == [1.0] * 4
