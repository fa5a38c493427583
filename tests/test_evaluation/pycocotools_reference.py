"""The reference: pycocotools on the same images."""

import contextlib
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ctc_mm.evaluation.coco_eval import coco_predictions, coco_truth


def run_pycocotools(images, classes, max_detections=100):
    """Evaluate with pycocotools; returns the COCOeval after ``accumulate``."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = coco_truth(images, classes)
        truth.createIndex()
        predictions = coco_predictions(images)
        if predictions:
            found = truth.loadRes(predictions)
        else:  # pycocotools fails on an empty list
            found = COCO()
            found.dataset = {**truth.dataset, "annotations": []}
            found.createIndex()
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.params.maxDets = [1, 10, max_detections]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def defined_mean(values):
    values = values[values > -1]
    return float(values.mean()) if values.size else float("nan")


def counts_of(evaluation, image_id, category_id, iou_index):
    """(TP, FP, ignored) scores of one image and class, all areas, as pycocotools matched them."""
    found = [
        image
        for image in evaluation.evalImgs
        if image is not None
        and image["image_id"] == image_id
        and image["category_id"] == category_id
        and image["aRng"] == [0, 1e10]
    ]
    if not found:
        return [], [], []
    scores, matched = np.array(found[0]["dtScores"]), found[0]["dtMatches"][iou_index] > 0
    ignored = found[0]["dtIgnore"][iou_index].astype(bool)
    return scores[matched & ~ignored].tolist(), scores[~matched & ~ignored].tolist(), scores[ignored].tolist()
