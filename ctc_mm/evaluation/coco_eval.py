"""COCO's own average precision: the one place where ctc_mm calls faster-coco-eval (drop-in for pycocotools)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ctc_mm.evaluation.functional import ImageRecord, mean_defined

# Squares of 32 and 96 pixels, COCO's limits, in pixels of the original image.
AREA_NAMES = ("all", "small", "medium", "large")


@dataclass(frozen=True)
class CocoScores:
    """COCO's summary, each in [0, 1] or NaN where there is no such truth (COCO prints -1).

    Args:
        ap: over IoU 0.50:0.05:0.95; ap50, ap75: at one IoU.
        ap_small, ap_medium, ap_large: over IoU, by the area of the true box (32^2 and 96^2 px of the original image).
        per_class: ``ap`` of each class; per_class_ap50: ``ap50`` of each.
        max_detections: predictions per image and class that were let in: 100 as in COCO, or more if an image has more.
    """

    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    per_class: dict[str, float]
    per_class_ap50: dict[str, float]
    max_detections: int


def _xywh(boxes_xyxy: np.ndarray) -> np.ndarray:
    boxes = boxes_xyxy.astype(np.float64)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def coco_truth(images: Sequence[ImageRecord], classes: Sequence[str]) -> dict:
    """Truth as a COCO data set in memory: image ids 1..N, category ids 1..K in the order of the classes."""
    annotations: list[dict] = []
    for image_id, image in enumerate(images, 1):
        for boxes, labels, crowd in (
            (image.truth_xyxy, image.truth_labels, 0),
            (image.ignore_xyxy, image.ignore_labels, 1),
        ):
            for box, label in zip(_xywh(boxes).tolist(), labels.tolist(), strict=True):
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image_id,
                        "category_id": label + 1,
                        "bbox": box,
                        "area": box[2] * box[3],
                        "iscrowd": crowd,
                    }
                )
    return {
        "info": {},
        "images": [{"id": image_id} for image_id in range(1, len(images) + 1)],
        "categories": [{"id": label, "name": name} for label, name in enumerate(classes, 1)],
        "annotations": annotations,
    }


def coco_predictions(images: Sequence[ImageRecord]) -> list[dict]:
    """Predictions as COCO results, ids as in ``coco_truth``."""
    return [
        {"image_id": image_id, "category_id": label + 1, "bbox": box, "score": score}
        for image_id, image in enumerate(images, 1)
        for box, label, score in zip(
            _xywh(image.boxes_xyxy).tolist(), image.labels.tolist(), image.scores.tolist(), strict=True
        )
    ]


def evaluate_coco(images: Sequence[ImageRecord], classes: Sequence[str]) -> CocoScores:
    """Compute COCO's average precision.

    COCO looks at the 100 best predictions of an image and class. A dense field of cells can hold more, so the limit
    rises to the largest number met; with at most 100 the result equals pycocotools' default.

    Args:
        images: predictions and truth, original pixels.
        classes: names by label.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    limit = max([100, *(int(np.bincount(image.labels).max()) for image in images if image.labels.size)])
    truth = COCO(coco_truth(images, classes))
    evaluation = COCOeval_faster(truth, truth.loadRes(coco_predictions(images)), iouType="bbox")
    evaluation.params.maxDets = [1, 10, limit]
    evaluation.evaluate()
    evaluation.accumulate()
    # (IoU, recall, class, area, detections), -1 where there is no truth.
    precision = np.asarray(evaluation.eval["precision"])[..., -1]
    iou_thrs = evaluation.params.iouThrs

    def mean(part: np.ndarray) -> float:
        return mean_defined(np.where(part > -1, part, np.nan).ravel().tolist())

    at = {thr: int(np.flatnonzero(np.isclose(iou_thrs, thr))[0]) for thr in (0.5, 0.75)}
    areas = {name: mean(precision[..., index]) for index, name in enumerate(AREA_NAMES)}
    return CocoScores(
        ap=areas["all"],
        ap50=mean(precision[at[0.5], ..., 0]),
        ap75=mean(precision[at[0.75], ..., 0]),
        ap_small=areas["small"],
        ap_medium=areas["medium"],
        ap_large=areas["large"],
        per_class={name: mean(precision[:, :, label, 0]) for label, name in enumerate(classes)},
        per_class_ap50={name: mean(precision[at[0.5], :, label, 0]) for label, name in enumerate(classes)},
        max_detections=limit,
    )
