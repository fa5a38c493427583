import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools_reference import counts_of, run_pycocotools
from random_sets import random_set, record

from ctc_mm.evaluation.functional import match_class, match_image, pairwise_covered, pairwise_iou

TRUTH = [[0, 0, 10, 10], [20, 0, 30, 10]]


def outcome(boxes, scores, truth=(), ignore=(), iou_thr=0.5):
    image = record(boxes, scores, truth=truth, ignore=ignore)
    found = match_image(image.boxes_xyxy, image.scores, image.truth_xyxy, image.ignore_xyxy, iou_thr)
    return found.truth_index.tolist(), found.is_ignored.tolist()


def test_empty_truth_and_empty_prediction():
    assert outcome([], []) == ([], [])
    assert outcome([], [], TRUTH) == ([], [])
    assert outcome([[0, 0, 5, 5]], [0.9]) == ([-1], [False])


def test_a_second_hit_on_the_same_truth_is_a_false_positive_whatever_the_order():
    boxes = [[0, 0, 10, 8], [0, 0, 10, 10]]
    assert outcome(boxes, [0.9, 0.8], TRUTH)[0] == [0, -1]
    assert outcome(boxes, [0.8, 0.9], TRUTH)[0] == [-1, 0]


def test_a_prediction_whose_best_truth_is_taken_falls_back_on_the_next_it_reaches():
    truth = [[0, 0, 10, 10], [0, 0, 10, 7]]
    boxes = [[0, 0, 10, 10], [0, 0, 10, 9]]
    assert outcome(boxes, [0.9, 0.8], truth)[0] == [0, 1]


def test_iou_at_the_threshold_counts_and_below_does_not():
    assert outcome([[0, 0, 5, 10]], [0.9], TRUTH)[0] == [0]
    assert outcome([[0, 0, 4.9, 10]], [0.9], TRUTH)[0] == [-1]
    assert outcome([[0, 0, 10, 10]], [0.9], TRUTH, iou_thr=1.0)[0] == [0]


def test_an_ignore_region_swallows_any_number_but_never_a_hit():
    boxes = [[0, 0, 10, 10], [0, 0, 10, 10], [40, 40, 50, 50], [40, 40, 49, 50], [60, 0, 70, 10]]
    found = outcome(boxes, [0.9, 0.8, 0.7, 0.6, 0.5], TRUTH, ignore=[[0, 0, 15, 15], [35, 35, 55, 55]])
    assert found == ([0, -1, -1, -1, -1], [False, True, True, True, False])


def test_half_of_the_own_area_inside_the_region_decides():
    region = [[0, 0, 10, 100]]
    assert outcome([[5, 0, 15, 10]], [0.9], ignore=region)[1] == [True]
    assert outcome([[5.1, 0, 15.1, 10]], [0.9], ignore=region)[1] == [False]


@pytest.mark.parametrize("iou_thr", [0, -0.1, 1.01])
def test_threshold_out_of_range_is_named(iou_thr):
    with pytest.raises(ValueError, match=r"`iou_thr` must lie in \(0, 1\]. Received"):
        outcome([], [], iou_thr=iou_thr)


def test_overlaps_equal_pycocotools():
    image = next(image for image in random_set(0) if len(image.truth_xyxy) and len(image.ignore_xyxy))
    a, b = image.boxes_xyxy, np.concatenate([image.truth_xyxy, image.ignore_xyxy])
    assert min(len(a), len(b)) > 1

    def xywh(boxes):
        boxes = boxes.astype(np.float64)
        return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)

    np.testing.assert_allclose(pairwise_iou(a, b), coco_mask.iou(xywh(a), xywh(b), [0] * len(b)), atol=1e-12)
    np.testing.assert_allclose(pairwise_covered(a, b), coco_mask.iou(xywh(a), xywh(b), [1] * len(b)), atol=1e-12)


def test_boxes_without_area_overlap_nothing():
    flat = np.array([[3, 3, 3, 9], [5, 5, 5, 5]], np.float32)
    whole = np.array([[0, 0, 10, 10]], np.float32)
    assert pairwise_iou(flat, whole).tolist() == [[0.0], [0.0]]
    assert pairwise_covered(flat, whole).tolist() == [[0.0], [0.0]]


@pytest.mark.parametrize("ties", [False, True])
def test_200_random_sets_match_as_pycocotools_does(ties):
    seen = np.zeros(3, int)
    for seed in range(200):
        images = random_set(seed, ties=ties)
        reference = run_pycocotools(images, ["CTC", "WBC"])
        for iou_index, iou_thr in ((0, 0.5), (5, 0.75)):
            for label in range(2):
                matches = match_class(images, label, iou_thr)
                ignored = 0
                for position in range(len(images)):
                    mine = matches.image_index == position
                    hits, wrong, left_out = counts_of(reference, position + 1, label + 1, iou_index)
                    assert matches.scores[mine & matches.is_tp].tolist() == hits
                    assert matches.scores[mine & ~matches.is_tp].tolist() == wrong
                    ignored += len(left_out)
                    seen += (len(hits), len(wrong), len(left_out))
                assert matches.n_ignored == ignored
    assert (seen > 200).all(), seen  # the sets did exercise all three outcomes


def test_match_class_sorts_over_images_and_counts_the_rest():
    first = record([[0, 0, 10, 10], [50, 50, 60, 60]], [0.5, 0.9], labels=[0, 1], truth=TRUTH)
    second = record([[0, 0, 10, 10], [70, 70, 75, 75]], [0.7, 0.5], truth=[[0, 0, 10, 10]], ignore=[[65, 65, 80, 80]])
    matches = match_class([first, second], 0, 0.5)
    np.testing.assert_allclose(matches.scores, [0.7, 0.5], atol=1e-7)
    assert matches.image_index.tolist() == [1, 0]
    assert matches.is_tp.tolist() == [True, True]
    assert (matches.n_truth, matches.n_ignored, matches.n_ignore_regions) == (3, 1, 1)
