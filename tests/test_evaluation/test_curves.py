import math

import numpy as np
import pytest
from pycocotools_reference import run_pycocotools
from random_sets import random_set, record
from sklearn.metrics import auc

from ctc_mm.evaluation.functional import (
    Counts,
    average_precision,
    best_f1,
    coco_average_precision,
    counts_at,
    match_class,
    mean_defined,
    pr_curve,
)

A, B, C = [0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]
STRAY = [70, 70, 80, 80]


def matched(*images):
    return match_class(images, 0, 0.5)


NOTHING = matched(record())
MISSED = matched(record(truth=[A, B]))
CLAIMED = matched(record([STRAY, A], [0.9, 0.4]))
# Hit, wrong, hit, wrong of three truths.
MIXED = matched(record([A, STRAY, B, STRAY], [0.9, 0.8, 0.7, 0.6], truth=[A, B, C]))


@pytest.mark.parametrize(
    ("matches", "counts", "rates"),
    [
        (NOTHING, (0, 0, 0), (1, 1, 1)),
        (MISSED, (0, 0, 2), (0, 0, 0)),
        (CLAIMED, (0, 1, 0), (0, 0, 0)),
        (MIXED, (2, 2, 1), (1 / 2, 2 / 3, 4 / 7)),
    ],
    ids=["nothing there nothing claimed", "empty prediction", "empty truth", "mixed"],
)
def test_counts_and_ratios_at_a_threshold(matches, counts, rates):
    found = counts_at(matches, 0.5)
    assert (found.tp, found.fp, found.fn) == counts
    assert (found.precision, found.recall, found.f1) == pytest.approx(rates)
    assert all(isinstance(found.to_json()[key], int) for key in ("TP", "FP", "FN"))


def test_the_threshold_itself_counts():
    score = float(np.float32(0.7))
    assert counts_at(MIXED, score).tp == 2
    assert counts_at(MIXED, np.nextafter(score, 1)).tp == 1


def test_counts_add_up_and_refuse_negatives():
    assert Counts(1, 2, 3) + Counts(10, 20, 30) == Counts(11, 22, 33)
    with pytest.raises(ValueError, match="cannot be negative"):
        Counts(1, -1, 0)


def test_average_precision_without_truth_is_undefined_and_without_prediction_zero():
    assert math.isnan(average_precision(pr_curve(NOTHING)))
    assert math.isnan(average_precision(pr_curve(CLAIMED)))
    assert math.isnan(coco_average_precision(CLAIMED))
    assert average_precision(pr_curve(MISSED)) == 0.0
    assert coco_average_precision(MISSED) == 0.0


def test_average_precision_by_hand():
    # Recall 1/3 at precision 1, then 2/3 at precision 2/3 (the envelope skips 1/2); the third is never found.
    assert average_precision(pr_curve(MIXED)) == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 3)
    # 101 points: recalls 0.00..0.33 (34 of them) at 1, 0.34..0.66 (33) at 2/3.
    assert coco_average_precision(MIXED) == pytest.approx((34 + 33 * 2 / 3) / 101)


def test_curve_by_hand():
    curve = pr_curve(MIXED)
    assert (curve.tp.tolist(), curve.fp.tolist()) == ([1, 1, 2, 2], [0, 1, 1, 2])
    assert curve.precision == pytest.approx([1, 1 / 2, 2 / 3, 1 / 2])
    assert curve.recall == pytest.approx([1 / 3, 1 / 3, 2 / 3, 2 / 3])
    assert curve.f1 == pytest.approx([1 / 2, 2 / 5, 2 / 3, 4 / 7])
    assert curve.counts(2) == Counts(2, 1, 1)


def test_equal_scores_make_one_point_so_the_order_of_images_does_not_matter():
    right, wrong = record([A], [0.5], truth=[A]), record([STRAY], [0.5])
    for images in ((right, wrong), (wrong, right)):
        curve = pr_curve(matched(*images))
        assert (curve.score.tolist(), curve.tp.tolist(), curve.fp.tolist()) == ([0.5], [1], [1])
        assert average_precision(curve) == 0.5
    for seed in range(30):
        images = random_set(seed, ties=True)
        forth, back = (pr_curve(match_class(order, 0, 0.5)) for order in (images, images[::-1]))
        np.testing.assert_array_equal(forth.tp, back.tp)
        np.testing.assert_equal(average_precision(forth), average_precision(back))


def test_best_f1_by_hand():
    assert best_f1(pr_curve(NOTHING)) is None
    assert best_f1(pr_curve(MISSED)) is None
    assert best_f1(pr_curve(CLAIMED)) is None
    found = best_f1(pr_curve(MIXED))
    assert found.score_thr == float(np.float32(0.7))
    assert found.counts == Counts(2, 1, 1)
    assert counts_at(MIXED, found.score_thr) == found.counts


def test_best_f1_takes_the_highest_of_equal_thresholds():
    # F1 2/3 at 0.9 (1 hit, 1 missed) and at 0.5 (2 hits, 2 wrong): the first claims less.
    matches = matched(record([A, STRAY, STRAY, B], [0.9, 0.8, 0.7, 0.5], truth=[A, B]))
    curve = pr_curve(matches)
    assert curve.f1[0] == curve.f1[3] == pytest.approx(2 / 3)
    assert best_f1(curve).score_thr == float(np.float32(0.9))


def test_best_f1_beats_every_threshold():
    for seed in range(50):
        matches = match_class(random_set(seed), 0, 0.5)
        found = best_f1(pr_curve(matches))
        every = [counts_at(matches, thr).f1 for thr in np.linspace(0, 1, 201)]
        if found is not None:
            assert found.counts.f1 >= max(every)
            assert counts_at(matches, found.score_thr) == found.counts


@pytest.mark.parametrize("ties", [False, True])
def test_200_random_sets_equal_pycocotools_at_101_points(ties):
    compared = 0
    for seed in range(200):
        images = random_set(seed, ties=ties)
        precision = run_pycocotools(images, ["CTC", "WBC"]).eval["precision"]
        for iou_index, iou_thr in ((0, 0.5), (5, 0.75)):
            for label in range(2):
                mine = coco_average_precision(match_class(images, label, iou_thr))
                reference = precision[iou_index, :, label, 0, -1]
                if (reference == -1).all():
                    assert math.isnan(mine)
                else:
                    compared += 1
                    assert mine == pytest.approx(reference.mean(), abs=1e-12)
    assert compared > 500


def envelope_area_by_integration(scores, is_tp, n_truth):
    """Area under the monotone curve by brute force: for each hit, the best precision at its recall or beyond."""
    points = []
    for thr in sorted(set(scores), reverse=True):
        kept = [hit for score, hit in zip(scores, is_tp, strict=True) if score >= thr]
        points.append((sum(kept) / n_truth, sum(kept) / len(kept)))
    recalls = [0.0, *sorted({recall for recall, _ in points})]
    steps_x, steps_y = [], []
    for low, high in zip(recalls, recalls[1:], strict=False):
        best = max(precision for recall, precision in points if recall >= high)
        steps_x += [low, high]
        steps_y += [best, best]
    return auc(steps_x, steps_y) if len(steps_x) > 1 else 0.0


def test_200_random_sets_equal_an_independent_integration_at_all_points():
    compared = 0
    for seed in range(200):
        for label in range(2):
            matches = match_class(random_set(seed, ties=seed % 2 == 0), label, 0.5)
            if matches.n_truth:
                compared += 1
                reference = envelope_area_by_integration(
                    matches.scores.tolist(), matches.is_tp.tolist(), matches.n_truth
                )
                assert average_precision(pr_curve(matches)) == pytest.approx(reference, abs=1e-12)
    assert compared > 250


def test_mean_leaves_out_what_is_undefined():
    assert mean_defined([0.5, float("nan"), 1.0]) == 0.75
    assert math.isnan(mean_defined([float("nan")]))
    assert math.isnan(mean_defined([]))
