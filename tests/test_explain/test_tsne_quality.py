"""Figures of a map against scikit-learn and by hand."""

import math

import numpy as np
import pytest
from sklearn import manifold, metrics

from ctc_mm.explain import tsne_affinities
from ctc_mm.explain.tsne_quality import (
    agreement,
    neighbour_count,
    neighbour_preservation,
    silhouette_by_class,
    silhouettes,
    trustworthiness,
)

RANDOM = np.random.default_rng(0)
FEATURES, MAP = RANDOM.normal(size=(60, 7)), RANDOM.normal(size=(60, 2))
LABELS = RANDOM.integers(0, 3, 60)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_samples_have_no_neighbours_to_compare(count):
    points = np.zeros((count, 2))
    assert neighbour_count(count) is None
    assert math.isnan(neighbour_preservation(points, points))
    assert math.isnan(trustworthiness(points, points))


@pytest.mark.parametrize(("count", "k"), [(3, 1), (4, 1), (5, 2), (20, 9), (21, 10), (1000, 10)])
def test_neighbours_are_fewer_than_half(count, k):
    assert neighbour_count(count) == k


def test_a_perfect_map_is_perfect_and_a_random_one_is_random():
    assert neighbour_preservation(FEATURES, FEATURES) == 1
    assert trustworthiness(FEATURES, FEATURES) == 1
    assert neighbour_preservation(FEATURES, MAP) == pytest.approx(10 / 59, abs=0.06)
    assert trustworthiness(FEATURES, MAP) == pytest.approx(0.5, abs=0.1)


def test_neighbours_kept_by_hand():
    before = np.array([[0.0], [1.0], [3.0], [6.0], [10.0]])
    after = np.array([[0.0], [6.0], [3.0], [1.0], [10.0]])
    # Two nearest before: 0: 1 2, 1: 0 2, 2: 1 0 (both 3 or less; 3 is as far as 0), 3: 2 4, 4: 3 2.
    # Two nearest after: 0: 3 2, 1: 2 4, 2: 3 0 (as far as 1), 3: 0 2, 4: 1 2.
    assert neighbour_preservation(before, after, k=2) == pytest.approx((1 + 1 + 1 + 1 + 1) / 10)


@pytest.mark.parametrize("k", [1, 5, 12])
def test_trustworthiness_is_that_of_scikit_learn(k, monkeypatch):
    expected = manifold.trustworthiness(FEATURES, MAP, n_neighbors=k)
    assert trustworthiness(FEATURES, MAP, k) == pytest.approx(expected)
    monkeypatch.setattr(tsne_affinities, "BLOCK_VALUES", 200)  # several blocks of rows
    assert trustworthiness(FEATURES, MAP, k) == pytest.approx(expected)


def test_silhouettes_are_those_of_scikit_learn(monkeypatch):
    expected = metrics.silhouette_samples(FEATURES, LABELS)
    np.testing.assert_allclose(silhouettes(FEATURES, LABELS), expected, atol=1e-9)
    monkeypatch.setattr(tsne_affinities, "BLOCK_VALUES", 200)
    np.testing.assert_allclose(silhouettes(FEATURES, LABELS), expected, atol=1e-9)


def test_one_class_has_no_silhouette():
    assert np.isnan(silhouettes(FEATURES, np.zeros(60))).all()
    assert silhouettes(np.empty((0, 2)), []).shape == (0,)
    found = silhouette_by_class(FEATURES, np.ones(60), ("CTC", "WBC"))
    assert list(found) == ["WBC", "all"]
    assert math.isnan(found["all"])


def test_a_class_of_one_sample_counts_as_0():
    labels = np.zeros(60)
    labels[7] = 1
    assert silhouettes(FEATURES, labels)[7] == 0
    assert silhouettes(np.zeros((4, 2)), [0, 0, 1, 1]).tolist() == [0, 0, 0, 0]  # all in one place


def test_silhouette_by_class_is_the_mean_of_each():
    values = metrics.silhouette_samples(FEATURES, LABELS)
    found = silhouette_by_class(FEATURES, LABELS, ("a", "b", "c", "none"))
    assert list(found) == ["a", "b", "c", "all"]
    assert found["b"] == pytest.approx(values[LABELS == 1].mean())
    assert found["all"] == pytest.approx(values.mean())


def test_agreement_counts_the_nearest_of_the_same_class():
    places = np.array([[0.0, 0], [1, 0], [2, 0], [10, 0], [11, 0]])
    found = agreement(places, [0, 0, 1, 1, 1], np.array([[0.5, 0], [10.5, 0]]), [0, 1], k=3)
    np.testing.assert_allclose(found, [2 / 3, 1])
    assert agreement(places, [0, 0, 1, 1, 1], np.array([[0.0, 0]]), [1], k=15).tolist() == [0.6]
    assert agreement(places, [0, 0, 1, 1, 1], np.empty((0, 2)), [], k=3).shape == (0,)
