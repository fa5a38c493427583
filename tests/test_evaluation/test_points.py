import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctc_mm.evaluation.functional.points import match_points, score_points

NONE = np.zeros((0, 2))


@pytest.mark.parametrize(
    ("predicted", "truth", "counts", "f1"),
    [
        pytest.param(NONE, NONE, (0, 0, 0), 1.0, id="nothing, and nothing found"),
        pytest.param(NONE, [[1, 2]], (0, 0, 1), 0.0, id="nothing found"),
        pytest.param([[1, 2]], NONE, (0, 1, 0), 0.0, id="all false"),
        pytest.param([[1, 2]], [[1, 2]], (1, 0, 0), 1.0, id="the same place"),
        pytest.param([[0, 3]], [[0, 0]], (1, 0, 0), 1.0, id="on the radius"),
        pytest.param([[0, 3.001]], [[0, 0]], (0, 1, 1), 0.0, id="beyond the radius"),
        pytest.param([[0, 0], [0, 1]], [[0, 0]], (1, 1, 0), 2 / 3, id="two for one"),
        pytest.param([[0, 0]], [[0, 0], [0, 1]], (1, 0, 1), 2 / 3, id="one for two"),
        # The nearest first would give (0, 0) to (0, 1) and leave the other two without a partner.
        pytest.param([[0, 1], [0, 3.5]], [[0, 0], [0, 1.4]], (2, 0, 0), 1.0, id="as many pairs as possible"),
        # Assignment before masking would give up a pair for a smaller sum of distances.
        pytest.param([[0, 0], [0, 2.9]], [[0, 2.9], [0, 100]], (1, 1, 1), 0.5, id="far pairs ruled out first"),
    ],
)
def test_counts(predicted, truth, counts, f1):
    score = score_points([match_points(predicted, truth, 3)])
    assert (score.tp, score.fp, score.fn) == counts
    assert score.f1 == pytest.approx(f1)


def test_of_equally_many_pairs_the_closest_are_taken():
    matches = match_points([[0, 0], [0, 2]], [[0, 2.1], [0, 0.2]], 3)
    np.testing.assert_array_equal(matches.truth_index, [1, 0])
    np.testing.assert_allclose(matches.distance_px, [0.2, 0.1])


def test_empty_sets_have_defined_ratios():
    nothing = score_points([])
    assert (nothing.precision, nothing.recall, nothing.f1, nothing.n_images) == (1, 1, 1, 0)
    assert math.isnan(nothing.count_mae)
    assert math.isnan(nothing.localisation_px)
    missed = score_points([match_points(NONE, [[0, 0]], 3)])
    assert (missed.precision, missed.recall, missed.f1, missed.count_mae) == (1, 0, 0, 1)


def test_counts_are_summed_and_count_errors_averaged_over_images():
    images = [
        match_points([[0, 0], [9, 9], [20, 20]], [[0, 1]], 3),
        match_points(NONE, NONE, 3),
        match_points([[5, 5]], [[5, 5], [8, 50], [1, 70], [2, 90]], 3),
    ]
    score = score_points(iter(images))
    assert score.to_dict() == {
        "tp": 2,
        "fp": 2,
        "fn": 3,
        "precision": 0.5,
        "recall": 0.4,
        "f1": pytest.approx(4 / 9),
        "count_mae": pytest.approx(5 / 3),
        "localisation_px": 0.5,
        "n_images": 3,
    }


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param((np.zeros((2, 3)), NONE, 3), r"predicted_yx.*\(2, 3\)", id="three columns"),
        pytest.param((NONE, [1.0, 2.0], 3), r"truth_yx.*\(2,\)", id="one point without brackets"),
        pytest.param(([[0, np.nan]], NONE, 3), "predicted_yx.*finite", id="NaN"),
        pytest.param((NONE, NONE, 0), "radius_px.*0", id="no radius"),
        pytest.param((NONE, NONE, float("inf")), "radius_px.*inf", id="infinite radius"),
    ],
)
def test_bad_arguments_are_named(arguments, told):
    with pytest.raises(ValueError, match=told):
        match_points(*arguments)


def best_by_trying(predicted, truth, radius_px):
    """Most pairs, then least sum of distances, by trying every assignment."""
    best = (0, 0.0)
    small, large = (predicted, truth) if len(predicted) <= len(truth) else (truth, predicted)
    for chosen in itertools.permutations(range(len(large)), len(small)):
        apart = np.hypot(*(small - large[list(chosen)]).T)
        near = apart[apart <= radius_px]
        best = max(best, (len(near), -float(near.sum())))
    return best


POINTS = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=5)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(POINTS, POINTS)
def test_matching_is_the_best_there_is(predicted, truth):
    # Half a pixel apart at least in one direction, so that no pair lies on the radius by rounding.
    predicted, truth = np.array(predicted, float).reshape(-1, 2), np.array(truth, float).reshape(-1, 2) + 0.3
    matches = match_points(predicted, truth, 2.5)
    pairs, distance = best_by_trying(predicted, truth, 2.5)
    assert matches.is_tp.sum() == pairs
    assert np.nansum(matches.distance_px) == pytest.approx(-distance, abs=1e-9)
    taken = matches.truth_index[matches.is_tp]
    assert len(set(taken.tolist())) == len(taken)


def test_many_points_are_matched_at_once():
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 3000, (10000, 2))
    predicted = (truth + rng.normal(0, 0.4, truth.shape))[rng.permutation(len(truth))]
    score = score_points([match_points(predicted, truth, 3)])
    assert score.tp >= 9990
    assert score.localisation_px == pytest.approx(0.5, abs=0.02)
