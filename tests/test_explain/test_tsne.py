"""t-SNE on arrays: planted clusters, seeds, both implementations, new samples, bad input."""

import numpy as np
import pytest
from openTSNE.affinity import PerplexityBasedNN
from scipy.stats import entropy

from ctc_mm.explain import tsne_opentsne
from ctc_mm.explain.tsne import (
    NothingToMapError,
    TSNEOptions,
    embed_tsne,
    fit_projection,
    fitting_perplexity,
    place_samples,
    start_coordinates,
)
from ctc_mm.explain.tsne_affinities import (
    conditional_probabilities,
    joint_probabilities,
    kl_divergence,
    nearest_neighbours,
)
from ctc_mm.explain.tsne_quality import agreement, silhouettes


def clusters(count, length=12, classes=3, seed=0):
    """Well separated Gaussian clouds: features float32 (count, length), labels (count,)."""
    random = np.random.default_rng(seed)
    centres = random.normal(0, 6, (classes, length))
    labels = np.arange(count) % classes
    return (centres[labels] + random.normal(0, 1, (count, length))).astype(np.float32), labels


@pytest.fixture(scope="module")
def planted():
    features, labels = clusters(150)
    return features, labels, embed_tsne(features, TSNEOptions(perplexity=15))


# Bad input


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_samples_are_refused(count):
    with pytest.raises(NothingToMapError, match=f"needs at least 4 samples; received {count}"):
        embed_tsne(np.random.default_rng(0).normal(size=(count, 5)))


def test_equal_samples_are_refused():
    with pytest.raises(NothingToMapError, match="all 20 samples have the same 7 features"):
        embed_tsne(np.full((20, 7), 0.1, np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused_by_sample(value):
    features = np.zeros((9, 3))
    features[[4, 6], 1] = value
    with pytest.raises(ValueError, match="NaN or infinity in 2 of 9 samples, first in sample 4"):
        embed_tsne(features)


@pytest.mark.parametrize("features", [np.zeros(9), np.zeros((9, 2, 2)), np.zeros((9, 0)), np.full((9, 2), "a")])
def test_other_shapes_and_types_are_refused(features):
    with pytest.raises(ValueError, match=r"must be numbers of shape \(samples, values\); received shape"):
        embed_tsne(features)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (dict(method="umap"), "`method` must be one of opentsne, sklearn; received 'umap'"),
        (dict(start="spectral"), "`start` must be one of pca, random"),
        (dict(perplexity=0.5), "`perplexity` must be a number of at least 1; received 0.5"),
        (dict(perplexity=float("nan")), "`perplexity`"),
        (dict(learning_rate=0), "`learning_rate` must be above 0, or 'auto'"),
        (dict(learning_rate="fast"), "`learning_rate`"),
        (dict(iterations=249), "`iterations` must be a whole number of at least 250"),
        (dict(seed=-1), "`seed`"),
        (dict(jobs=0), "`jobs`"),
        (dict(pca_components=1), "`pca_components`"),
        (dict(seed=True), "`seed`"),
    ],
)
def test_options_out_of_range_are_named(option, message):
    with pytest.raises(ValueError, match=message):
        TSNEOptions(**option)


# Maps


def test_planted_clusters_are_found(planted):
    _, labels, tsne = planted
    assert tsne.coordinates.shape == (150, 2)
    assert tsne.coordinates.dtype == np.float64
    assert silhouettes(tsne.coordinates, labels).min() > 0.5
    assert tsne.perplexity == 15
    assert tsne.notes == ()
    np.testing.assert_allclose(tsne.coordinates.max(axis=0), -tsne.coordinates.min(axis=0))


@pytest.mark.parametrize("method", ["opentsne", "sklearn"])
@pytest.mark.parametrize("count", [60, 510], ids=["exact", "approximate"])
def test_same_seed_same_map_with_one_thread_and_two(method, count):
    features, _ = clusters(count)
    maps = [
        embed_tsne(features, TSNEOptions(method=method, perplexity=10, iterations=260, seed=3, jobs=jobs))
        for jobs in (1, 2)
    ]
    assert np.array_equal(maps[0].coordinates, maps[1].coordinates)


def test_random_start_depends_on_the_seed():
    features, _ = clusters(40)
    first, again, other = (
        embed_tsne(features, TSNEOptions(start="random", perplexity=8, seed=seed)).coordinates for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


def test_map_of_grown_and_shifted_features_is_the_same():
    """An 8-bit set of images and its x257 twin of 16 bits have one map."""
    features = np.random.default_rng(0).integers(0, 256, (40, 20))
    options = TSNEOptions(perplexity=8, iterations=300)
    first = embed_tsne(features.astype(np.uint8), options)
    second = embed_tsne((features * 257).astype(np.uint16), options)
    np.testing.assert_allclose(first.features, second.features, atol=1e-6)
    assert second.kl_divergence == pytest.approx(first.kl_divergence, abs=0.02)


@pytest.mark.parametrize("count", [200, 520], ids=["exact", "approximate"])
def test_implementations_reach_the_same_divergence(count):
    features, labels = clusters(count)
    maps = [embed_tsne(features, TSNEOptions(method=method, perplexity=20)) for method in ("opentsne", "sklearn")]
    assert maps[0].kl_divergence == pytest.approx(maps[1].kl_divergence, rel=0.05)
    assert all(silhouettes(one.coordinates, labels).mean() > 0.6 for one in maps)


@pytest.mark.parametrize(("factor", "ratio"), [(4, 2.5), (1, 0.625)])
def test_learning_rate_means_the_same_to_both(monkeypatch, factor, ratio):
    """openTSNE leaves the factor 4 out of the gradient. Its momentum of 0.8 goes 2.5 times as far as 0.5."""
    features, _ = clusters(60)
    start = start_coordinates(embed_tsne(features, TSNEOptions(iterations=250)).features, TSNEOptions())
    monkeypatch.setattr(tsne_opentsne, "GRADIENT_FACTOR", factor)
    monkeypatch.setattr("ctc_mm.explain.tsne.start_coordinates", lambda *_: start)
    moved = []
    for method in ("opentsne", "sklearn"):
        options = TSNEOptions(method=method, perplexity=10, learning_rate=1e-5, iterations=250)
        steps = embed_tsne(features, options).coordinates - start
        moved.append(np.linalg.norm(steps - steps.mean(axis=0)))
    assert moved[0] / moved[1] == pytest.approx(ratio, rel=0.1)


def test_too_large_perplexity_is_reduced_and_said():
    features, _ = clusters(31)
    tsne = embed_tsne(features, TSNEOptions(perplexity=50))
    assert tsne.perplexity == 10
    assert tsne.notes == ("perplexity 50 is too large for 31 samples: reduced to 10 (a third of the others)",)
    assert fitting_perplexity(10, 31) == (10.0, ())
    assert fitting_perplexity(50, 4)[0] == 1


@pytest.mark.parametrize("method", ["opentsne", "sklearn"])
@pytest.mark.parametrize("features", [np.arange(4.0)[:, None], np.eye(4), np.repeat([[0.0], [1.0]], 3, axis=0)])
def test_few_and_equal_samples_have_a_map(method, features):
    tsne = embed_tsne(features, TSNEOptions(method=method))
    assert np.isfinite(tsne.coordinates).all()
    assert np.isfinite(tsne.kl_divergence)


def test_copies_are_told_and_lie_together():
    features, labels = clusters(60)
    tsne = embed_tsne(np.concatenate([features, features[:30]]), TSNEOptions(perplexity=10))
    assert "30 of 90 samples have the features of another one" in tsne.notes
    apart = np.linalg.norm(tsne.coordinates[:30] - tsne.coordinates[60:], axis=1)
    assert np.median(apart) < 0.05 * np.ptp(tsne.coordinates, axis=0).max()
    assert np.isfinite(tsne.coordinates).all()
    assert silhouettes(tsne.coordinates[:60], labels).mean() > 0.5


def test_wide_features_are_reduced_and_the_loss_is_told():
    features = np.random.default_rng(0).normal(size=(80, 300))
    tsne = embed_tsne(features, TSNEOptions(pca_components=20, perplexity=10, iterations=250))
    assert tsne.features.shape == (80, 20)
    assert 0.2 < tsne.projection.explained < 0.9


def test_narrow_features_keep_their_distances():
    features, _ = clusters(50, length=6)
    projection = fit_projection(features.astype(np.float64), 50, 0)
    assert projection.explained == pytest.approx(1)
    reduced = projection(features) * projection.scale
    _, before = nearest_neighbours(features, 5)
    _, after = nearest_neighbours(reduced, 5)
    np.testing.assert_allclose(after, before, rtol=1e-4)


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_very_small_and_large_features_have_a_map(factor):
    features, labels = clusters(30)
    tsne = embed_tsne(features.astype(np.float64) * factor, TSNEOptions(perplexity=8))
    assert silhouettes(tsne.coordinates, labels).mean() > 0.5


def test_start_parts_equal_samples():
    start = start_coordinates(np.array([[1.0], [1.0], [3.0]], np.float32), TSNEOptions())
    assert start.shape == (3, 2)
    assert len(np.unique(start, axis=0)) == 3
    assert np.abs(start).max() < 1e-3


# New samples


def test_new_samples_land_in_their_cluster(planted):
    _, labels, tsne = planted
    fresh, fresh_labels = clusters(30, seed=0)  # the same centres: drawn first
    placed = place_samples(tsne, fresh + np.float32(0.01))
    assert placed.shape == (30, 2)
    assert (agreement(tsne.coordinates, labels, placed, fresh_labels, k=10) == 1).all()


def test_place_does_not_depend_on_other_new_samples_nor_move_the_map(planted):
    features, _, tsne = planted
    before = tsne.coordinates.copy()
    together = place_samples(tsne, features[:5] + 0.3)
    alone = np.concatenate([place_samples(tsne, features[i : i + 1] + 0.3) for i in range(5)])
    np.testing.assert_allclose(together, alone, atol=1e-9)
    assert np.array_equal(tsne.coordinates, before)
    assert np.array_equal(together, place_samples(tsne, features[:5] + 0.3))


def test_old_samples_are_placed_where_they_are(planted):
    features, _, tsne = planted
    moved = np.linalg.norm(place_samples(tsne, features) - tsne.coordinates, axis=1)
    assert np.median(moved) < 0.05 * np.ptp(tsne.coordinates, axis=0).max()


def test_samples_are_placed_into_a_map_of_the_other_method_and_of_four():
    features, labels = clusters(40)
    tsne = embed_tsne(features, TSNEOptions(method="sklearn", perplexity=8))
    assert (agreement(tsne.coordinates, labels, place_samples(tsne, features), labels, k=5) > 0.5).all()
    smallest = embed_tsne(features[:4])
    assert np.isfinite(place_samples(smallest, features)).all()


def test_no_new_sample_is_no_error_and_wrong_ones_are(planted):
    tsne = planted[2]
    assert place_samples(tsne, np.empty((0, 12))).shape == (0, 2)
    with pytest.raises(ValueError, match="have 5 values each, the map was made with 12"):
        place_samples(tsne, np.zeros((3, 5)))
    with pytest.raises(ValueError, match="NaN or infinity in 1 of 3"):
        place_samples(tsne, np.vstack([np.zeros((2, 12)), np.full((1, 12), np.nan)]))


# Neighbours and probabilities


def test_neighbours_are_exact_and_equal_distances_go_by_index():
    points = np.array([[0.0], [1.0], [-1.0], [5.0], [0.0]])
    indices, distances = nearest_neighbours(points, 3)
    assert indices[0].tolist() == [4, 1, 2]
    assert distances[0].tolist() == [0, 1, 1]
    random = np.random.default_rng(0).normal(size=(70, 9)) + 1e6  # far from the origin
    all_distances = np.linalg.norm(random[:, None] - random[None], axis=2)
    np.fill_diagonal(all_distances, np.inf)
    assert np.array_equal(nearest_neighbours(random, 5)[0], np.argsort(all_distances, axis=1)[:, :5])


@pytest.mark.parametrize("k", [0, 5])
def test_impossible_numbers_of_neighbours_are_refused(k):
    with pytest.raises(ValueError, match="`k` must be 1 to 4 among 5 samples"):
        nearest_neighbours(np.zeros((5, 2)), k)


@pytest.mark.parametrize("factor", [1e-9, 1.0, 1e9])
def test_gaussians_have_the_wanted_perplexity(factor):
    features, _ = clusters(100)
    _, distances = nearest_neighbours(features, 60)
    rows = conditional_probabilities(distances * factor, 17.0)
    np.testing.assert_allclose(rows.sum(axis=1), 1)
    np.testing.assert_allclose(np.exp(entropy(rows, axis=1)), 17.0, rtol=1e-5)
    assert (np.diff(rows, axis=1) <= 1e-15).all()


def test_perplexity_that_cannot_be_met_is_shared_out():
    rows = conditional_probabilities(np.array([[0.0, 0.0, 0.0, 2.0], [3.0, 3.0, 3.0, 3.0]]), 2.0)
    np.testing.assert_allclose(rows, [[1 / 3, 1 / 3, 1 / 3, 0], [0.25] * 4], atol=1e-6)


def test_probabilities_are_those_of_open_tsne():
    features, _ = clusters(200)
    ours = joint_probabilities(*nearest_neighbours(features, 60), 20.0)
    theirs = PerplexityBasedNN(features.astype(np.float64), perplexity=20, method="exact").P
    assert ours.sum() == pytest.approx(1)
    assert abs(ours - ours.T).max() == 0
    np.testing.assert_allclose(ours.toarray(), theirs.toarray(), atol=1e-8)


def test_divergence_is_the_textbook_sum():
    random = np.random.default_rng(0)
    features, coordinates = random.normal(size=(30, 5)), random.normal(size=(30, 2))
    joint = joint_probabilities(*nearest_neighbours(features, 29), 8.0)
    p = joint.toarray()
    q = 1 / (1 + np.square(coordinates[:, None] - coordinates[None]).sum(axis=2))
    np.fill_diagonal(q, 0)
    q /= q.sum()
    off = ~np.eye(30, dtype=bool)
    assert kl_divergence(joint, coordinates) == pytest.approx((p[off] * np.log(p[off] / q[off])).sum())
