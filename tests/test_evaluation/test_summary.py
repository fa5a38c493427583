import math

import pytest
from random_sets import random_set, record

from ctc_mm.evaluation.functional import Counts, summarise_detection

A, B, STRAY = [0, 0, 10, 10], [20, 0, 30, 10], [70, 70, 80, 80]
CLASSES = ("CTC", "WBC")


def test_no_image_with_anything():
    found = summarise_detection([record()], CLASSES)
    assert math.isnan(found.mean_ap)
    assert found.pooled == Counts(0, 0, 0)
    assert (found.n_images, found.n_blank_images, found.pooled_blanks.per_image) == (1, 1, 0.0)


def test_no_blank_image_leaves_its_rate_undefined():
    found = summarise_detection([record(truth=[A])], CLASSES)
    assert found.n_blank_images == 0
    assert math.isnan(found.pooled_blanks.per_image)


def test_blank_means_no_cell_of_any_class():
    only_wbc = record([STRAY], [0.9], truth=[B], truth_labels=[1])
    blank = record([STRAY, A, B], [0.9, 0.6, 0.4], labels=[0, 1, 0])
    blank_but_for_ignored = record([A], [0.9], ignore=[A])
    found = summarise_detection([only_wbc, blank, blank_but_for_ignored], CLASSES)
    assert found.n_blank_images == 2
    # At 0.5: one CTC and one WBC claim on `blank`; the claim in the ignore region counts neither way.
    assert found.blanks_at_score["CTC"].per_image == 0.5
    assert found.blanks_at_score["WBC"].per_image == 0.5
    assert found.pooled_blanks.per_image == 1.0
    assert found.per_class["CTC"].at_score == Counts(0, 2, 0)


def test_classes_are_judged_apart_and_pooled():
    image = record([A, B, STRAY], [0.9, 0.8, 0.7], labels=[0, 0, 1], truth=[A, B], truth_labels=[0, 1])
    found = summarise_detection([image], CLASSES)
    assert found.per_class["CTC"].at_score == Counts(1, 1, 0)
    assert found.per_class["WBC"].at_score == Counts(0, 1, 1)
    assert found.pooled == Counts(1, 2, 1)
    assert found.per_class["CTC"].ap == 1.0
    assert found.mean_ap == 0.5


def test_class_without_truth_is_left_out_of_the_mean():
    found = summarise_detection([record([A], [0.9], truth=[A])], CLASSES)
    assert math.isnan(found.per_class["WBC"].ap)
    assert found.mean_ap == 1.0


def test_frozen_thresholds_are_applied_as_they_are():
    image = record([A, STRAY, B], [0.9, 0.6, 0.3], truth=[A, B])
    found = summarise_detection([image, record([STRAY], [0.35])], CLASSES, frozen_thresholds={"CTC": 0.3, "WBC": None})
    assert found.per_class["CTC"].at_frozen == Counts(2, 2, 0)
    assert found.per_class["CTC"].at_score == Counts(1, 1, 1)
    assert found.per_class["WBC"].at_frozen is None
    assert found.blanks_at_frozen["CTC"].per_image == 1.0
    assert "WBC" not in found.blanks_at_frozen


def test_label_without_class_is_named():
    with pytest.raises(ValueError, match=r"image 'x.png': labels must lie in 0..0 .* Received: 1..1"):
        summarise_detection([record([A], [0.9], labels=[1], name="x.png")], ("CTC",))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"boxes": [A], "scores": [float("nan")]}, "`scores` must be finite"),
        ({"boxes": [[0, 0, float("inf"), 3]], "scores": [0.5]}, "training diverged"),
        ({"boxes": [A], "scores": [0.5, 0.6]}, "`scores` must be finite and of shape"),
        ({"truth": [A], "truth_labels": [0, 1]}, r"`truth_xyxy` must be \(N, 4\)"),
    ],
    ids=["score nan", "box infinite", "score too many", "labels too many"],
)
def test_broken_record_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        record(**fields)


def test_counts_do_not_depend_on_the_order_of_images():
    images = random_set(7, ties=True) + random_set(8, ties=True)
    forth, back = summarise_detection(images, CLASSES), summarise_detection(images[::-1], CLASSES)
    assert forth.pooled == back.pooled
    assert forth.mean_ap == back.mean_ap
