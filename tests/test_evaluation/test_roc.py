import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from ctc_mm.evaluation.functional.binary import binary_counts
from ctc_mm.evaluation.functional.roc import binary_average_precision, roc_auc, roc_curve


def test_no_cell_makes_an_empty_curve():
    curve = roc_curve(np.empty(0), np.empty(0))
    assert (curve.score.size, curve.n_target, curve.n_rest) == (0, 0, 0)
    assert math.isnan(roc_auc(np.empty(0), np.empty(0)))
    assert math.isnan(binary_average_precision(np.empty(0), np.empty(0)))


def test_single_cell():
    curve = roc_curve([1], [0.7])
    assert (curve.score.tolist(), curve.tp.tolist(), curve.fp.tolist()) == ([0.7], [1], [0])
    assert math.isnan(curve.fpr[0])
    assert math.isnan(roc_auc([1], [0.7]))
    assert binary_average_precision([1], [0.7]) == 1.0


def test_curve_by_hand_with_ties():
    curve = roc_curve([1, 0, 1, 0, 1], [0.9, 0.5, 0.5, 0.1, 0.1])
    assert curve.score.tolist() == [0.9, 0.5, 0.1]
    assert curve.tp.tolist() == [1, 2, 3]
    assert curve.fp.tolist() == [0, 1, 2]
    assert curve.sensitivity.tolist() == pytest.approx([1 / 3, 2 / 3, 1])
    assert curve.fpr.tolist() == [0, 0.5, 1]
    assert curve.precision.tolist() == pytest.approx([1, 2 / 3, 3 / 5])
    # 4.0 of 6 pairs: a tie counts half.
    assert roc_auc([1, 0, 1, 0, 1], [0.9, 0.5, 0.5, 0.1, 0.1]) == pytest.approx((2 + 1.5 + 0.5) / 6)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0])), min_size=1, max_size=30)
)
def test_every_point_is_what_a_threshold_there_counts(cells):
    gt, score = np.array([cell[0] for cell in cells]), np.array([cell[1] for cell in cells])
    curve = roc_curve(gt, score)
    for point, threshold in enumerate(curve.score):
        assert curve.counts(point) == binary_counts(gt, score, threshold)
    order = np.random.default_rng(0).permutation(len(gt))
    again = roc_curve(gt[order], score[order])
    assert (again.tp.tolist(), again.fp.tolist()) == (curve.tp.tolist(), curve.fp.tolist())
    if 0 < gt.sum() < gt.size:
        fpr, tpr, _ = sk.roc_curve(gt, score, drop_intermediate=False)
        np.testing.assert_allclose(curve.fpr, fpr[1:])
        np.testing.assert_allclose(curve.sensitivity, tpr[1:])


def test_areas_of_one_class_are_undefined_not_an_error():
    assert math.isnan(roc_auc([0, 0], [0.1, 0.2]))
    assert math.isnan(roc_auc([1, 1], [0.1, 0.2]))
    assert math.isnan(binary_average_precision([0, 0], [0.1, 0.2]))
