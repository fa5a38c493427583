"""Which boxes of trained models are cells that the labels miss; pure arithmetic on boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ctc_mm.counting.engines.base import WindowDetections
from ctc_mm.evaluation.functional.boxes import pairwise_covered, pairwise_iou

# Boxes of two models are of one cell from this overlap on.
SAME_CELL_IOU = 0.5


@dataclass(frozen=True)
class Find:
    """A cell that models see and nobody labelled.

    Attributes:
        file_name: of the image, as the label file has it.
        box_xyxy: half-open pixels of the image, of the surest model.
        class_name: that the models agree on.
        score: of the surest model, 0 to 1.
        models: how many found it.
        judges: how many looked at the image.
    """

    file_name: str
    box_xyxy: tuple[float, float, float, float]
    class_name: str
    score: float
    models: int
    judges: int


def agreed_boxes(found: Sequence[WindowDetections], least_models: int) -> tuple[WindowDetections, np.ndarray]:
    """Boxes that several models give to one class at one place (IoU of at least 0.5), each told once.

    Args:
        found: of each model on one image.
        least_models: so many of them must have found it.

    Returns:
        The surest model's boxes, best first, and how many models found each, int64 (M,).
    """
    boxes = np.concatenate([np.empty((0, 4)), *(one.boxes_xyxy for one in found)])
    scores = np.concatenate([np.empty(0), *(one.scores for one in found)])
    labels = np.concatenate([np.empty(0, np.int64), *(one.labels for one in found)])
    model = np.repeat(np.arange(len(found)), [len(one.scores) for one in found])
    same = (pairwise_iou(boxes, boxes) >= SAME_CELL_IOU) & (labels[:, None] == labels[None])
    free, kept, models = np.ones(len(boxes), bool), [], []
    for index in np.argsort(-scores, kind="stable"):
        if free[index]:
            members = same[index] & free
            members[index] = True
            free &= ~members
            count = len(np.unique(model[members]))
            if count >= least_models:
                kept.append(index)
                models.append(count)
    chosen = np.array(kept, np.int64)
    return WindowDetections(boxes[chosen], scores[chosen], labels[chosen]), np.array(models, np.int64)


def is_unlabelled(
    boxes_xyxy: np.ndarray, labelled_xyxy: np.ndarray, ignored_xyxy: np.ndarray, free_iou: float
) -> np.ndarray:
    """Say which boxes lie where no label of any class does.

    Args:
        boxes_xyxy: (N, 4) of models.
        labelled_xyxy: (M, 4) labels of all classes.
        ignored_xyxy: (K, 4) ignore regions.
        free_iou: a box that reaches this overlap with a label is a find of that cell, badly placed.

    Returns:
        (N,) bool. A box that lies to a half or more inside a label or an ignore region is no find either: it is a part
        of that cell, or known to be undecided.
    """
    near = (pairwise_iou(boxes_xyxy, labelled_xyxy) >= free_iou).any(axis=1)
    regions = np.concatenate([labelled_xyxy, ignored_xyxy])
    return ~near & ~(pairwise_covered(boxes_xyxy, regions) >= 0.5).any(axis=1)
