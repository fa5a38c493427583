import math

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctc_mm.evaluation.functional.instances import match_instances, summarise_instances
from ctc_mm.evaluation.functional.records import Counts

EMPTY = np.zeros((4, 12), np.int32)


def strip(*runs):
    """A label image of one row repeated 4 times: (label, start, end) in columns."""
    image = np.zeros((4, 12), np.int32)
    for label, start, end in runs:
        image[:, start:end] = label
    return image


@pytest.mark.parametrize(
    ("labels", "truth", "expected"),
    [
        (EMPTY, EMPTY, (0, 0, 0)),
        (EMPTY, strip((1, 0, 4)), (0, 0, 1)),
        (strip((1, 0, 4)), EMPTY, (0, 1, 0)),
        (strip((1, 0, 4)), strip((7, 0, 4)), (1, 0, 0)),
        (strip((1, 0, 4)), strip((1, 0, 8)), (1, 0, 0)),  # IoU exactly 0.5 is a match
        (strip((1, 0, 3)), strip((1, 0, 8)), (0, 1, 1)),
        (strip((1, 0, 4), (2, 4, 8)), strip((1, 0, 8)), (1, 1, 0)),  # both halves reach 0.5; one to one
        (strip((9, 0, 8)), strip((1, 0, 4), (2, 4, 8)), (1, 0, 1)),
        (strip((1, 0, 4), (5, 6, 12)), strip((2, 0, 4), (3, 6, 12)), (2, 0, 0)),
    ],
    ids=["empty", "missed", "invented", "same", "at threshold", "under", "split", "merged", "two"],
)
def test_counts(labels, truth, expected):
    matches = match_instances(labels, truth)
    assert matches.counts == Counts(*expected)
    assert matches.n_predicted == expected[0] + expected[1]
    assert matches.n_truth == expected[0] + expected[2]


def test_labels_of_matches():
    matches = match_instances(strip((4, 0, 4), (2, 6, 9), (8, 10, 12)), strip((5, 0, 4), (3, 6, 9)))
    assert matches.pairs.tolist() == [[2, 3], [4, 5]]
    assert matches.false_positives.tolist() == [8]
    assert matches.missed.tolist() == []


def test_small_truth_is_neither_hit_nor_miss():
    truth = strip((1, 0, 2), (2, 4, 10))  # 8 and 24 px
    for labels, expected, ignored in (
        (EMPTY, (0, 0, 1), []),
        (strip((6, 0, 2)), (0, 0, 1), [6]),
        (strip((6, 0, 2), (7, 4, 10)), (1, 0, 0), [6]),
        (strip((6, 0, 1), (7, 11, 12)), (0, 1, 1), [6]),
    ):
        matches = match_instances(labels, truth, 0.5, ignore_truth_under_px=24)
        assert matches.counts == Counts(*expected)
        assert matches.ignored.tolist() == ignored
    assert match_instances(EMPTY, truth, 0.5, 8).counts == Counts(0, 0, 2)  # under, not up to


def test_truth_that_counts_comes_before_ignored_truth():
    # The prediction overlaps both by IoU 1/3; it may not be swallowed by the ignored one.
    labels, truth = strip((1, 0, 8)), strip((1, 0, 4), (2, 4, 12))
    matches = match_instances(labels, truth, 0.3, ignore_truth_under_px=20)
    assert matches.pairs.tolist() == [[1, 2]]
    assert matches.ignored.size == 0


def test_most_matches_are_taken_under_one_half():
    # Greedy by IoU would give 1 -> 1 (0.5) and leave 2 without a partner.
    labels = strip((1, 0, 6), (2, 6, 8))
    truth = strip((1, 2, 8), (2, 0, 2))
    matches = match_instances(labels, truth, 0.3)
    assert matches.pairs.tolist() == [[1, 2], [2, 1]]


def test_summary():
    images = [
        match_instances(strip((1, 0, 4)), strip((1, 0, 4), (2, 6, 9))),
        match_instances(strip((1, 0, 4), (2, 6, 8), (3, 9, 11)), strip((1, 0, 4))),
        match_instances(EMPTY, EMPTY),
        match_instances(strip((1, 0, 1)), EMPTY),
    ]
    summary = summarise_instances(images)
    assert summary.counts == Counts(2, 3, 1)
    assert summary.f1_mean == pytest.approx((2 / 3 + 2 / 4 + 1 + 0) / 4)
    assert summary.count_error == pytest.approx((1 + 2 + 0 + 1) / 3)
    assert summary.count_error_mean == pytest.approx((1 / 2 + 2 / 1) / 2)


def test_summary_of_nothing():
    summary = summarise_instances([])
    assert summary.counts == Counts(0, 0, 0)
    assert math.isnan(summary.f1_mean)
    assert math.isnan(summary.count_error)
    assert math.isnan(summary.count_error_mean)


@pytest.mark.parametrize(
    ("labels", "truth", "options", "error", "message"),
    [
        (EMPTY.astype(float), EMPTY, {}, TypeError, "`labels` must hold integers.*float64"),
        (EMPTY, EMPTY[:2], {}, ValueError, r"one shape.*\(4, 12\) and \(2, 12\)"),
        (EMPTY, EMPTY[0], {}, ValueError, "`truth` must be"),
        (EMPTY - 1, EMPTY, {}, ValueError, "not be negative.*-1"),
        (EMPTY, EMPTY, {"iou_thr": 0}, ValueError, "`iou_thr`.*0"),
        (EMPTY, EMPTY, {"iou_thr": 1.1}, ValueError, "`iou_thr`.*1.1"),
    ],
)
def test_bad_input(labels, truth, options, error, message):
    with pytest.raises(error, match=message):
        match_instances(labels, truth, **options)


label_images = hnp.arrays(np.int32, (7, 9), elements=st.integers(0, 4))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(label_images, label_images, st.sampled_from([0.1, 0.3, 0.5, 0.7, 1.0]), st.sampled_from([0, 6, 100]))
def test_every_object_has_one_fate(labels, truth, iou_thr, ignore):
    matches = match_instances(labels, truth, iou_thr, ignore)
    fates = np.concatenate([matches.pairs[:, 0], matches.false_positives, matches.ignored])
    assert sorted(fates) == sorted(set(labels.ravel()) - {0})
    ids, areas = np.unique(truth[truth > 0], return_counts=True)
    assert sorted([*matches.pairs[:, 1], *matches.missed]) == sorted(ids[areas >= ignore])
    for predicted, true in matches.pairs:
        both, either = (labels == predicted) & (truth == true), (labels == predicted) | (truth == true)
        assert both.sum() / either.sum() >= iou_thr


@settings(max_examples=40, deadline=None, derandomize=True)
@given(label_images)
def test_an_image_matches_itself(labels):
    counts = match_instances(labels, labels, 1.0).counts
    assert counts == Counts(len(set(labels.ravel()) - {0}), 0, 0)
