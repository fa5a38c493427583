import math
from dataclasses import asdict

import numpy as np
import pytest
from pycocotools_reference import defined_mean, run_pycocotools
from random_sets import random_set, record

from ctc_mm.evaluation.coco_eval import evaluate_coco

CLASSES = ["CTC", "WBC"]


def test_no_truth_is_undefined_everywhere():
    for images in ([record()], [record([[0, 0, 9, 9]], [0.9])]):
        found = evaluate_coco(images, CLASSES)
        assert all(math.isnan(value) for value in (found.ap, found.ap50, found.ap75, found.ap_small))
        assert all(math.isnan(value) for value in found.per_class.values())


def test_truth_without_predictions_is_zero():
    found = evaluate_coco([record(truth=[[0, 0, 9, 9]])], CLASSES)
    assert (found.ap, found.ap50, found.ap_small, found.per_class["CTC"]) == (0, 0, 0, 0)
    assert math.isnan(found.ap_large)
    assert math.isnan(found.per_class["WBC"])


@pytest.mark.parametrize("ties", [False, True])
def test_100_random_sets_equal_pycocotools(ties):
    defined = 0
    for seed in range(100):
        images = random_set(seed, ties=ties)
        precision = run_pycocotools(images, CLASSES).eval["precision"][..., -1]
        found = asdict(evaluate_coco(images, CLASSES))
        expected = {
            "ap": precision[..., 0],
            "ap50": precision[0, ..., 0],
            "ap75": precision[5, ..., 0],
            "ap_small": precision[..., 1],
            "ap_medium": precision[..., 2],
            "ap_large": precision[..., 3],
        }
        for key, values in expected.items():
            np.testing.assert_allclose(found[key], defined_mean(values), atol=1e-9, err_msg=f"{seed} {key}")
            defined += not math.isnan(found[key])
        for label, name in enumerate(CLASSES):
            np.testing.assert_allclose(found["per_class"][name], defined_mean(precision[:, :, label, 0]), atol=1e-9)
            np.testing.assert_allclose(
                found["per_class_ap50"][name], defined_mean(precision[0, :, label, 0]), atol=1e-9
            )
    assert defined > 400


def test_a_dense_field_is_not_cut_at_100_predictions():
    corner = np.stack(np.meshgrid(np.arange(15) * 20, np.arange(10) * 20), axis=-1).reshape(-1, 2)
    boxes = np.concatenate([corner, corner + 10], axis=1)
    found = evaluate_coco([record(boxes, np.linspace(0.9, 0.1, 150), truth=boxes)], CLASSES)
    assert found.max_detections == 150
    assert found.ap == pytest.approx(1.0)
