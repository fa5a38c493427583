"""Greedy matching of predictions to truth, by score, image by image and class by class (COCO's rules).

A prediction is a hit if its IoU with a truth not yet taken reaches the threshold; a second hit on the same truth is a
false positive (ssd-attention-fusion-2022, section 2.6.4, in our reading 9).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ctc_mm.evaluation.functional.boxes import pairwise_covered, pairwise_iou
from ctc_mm.evaluation.functional.records import ClassMatches, ImageMatches, ImageRecord


def match_image(
    boxes_xyxy: np.ndarray, scores: np.ndarray, truth_xyxy: np.ndarray, ignore_xyxy: np.ndarray, iou_thr: float
) -> ImageMatches:
    """Match one class in one image.

    Predictions take their turn by descending score (equal scores: in the order given), and each takes the free truth
    it overlaps most (equal overlaps: the later truth). What matched no truth and has at least ``iou_thr`` of its own
    area in an ignore region is ignored; a region can swallow any number of predictions. Both rules are pycocotools'.

    Args:
        boxes_xyxy: predictions, (D, 4) half-open pixels.
        scores: (D,).
        truth_xyxy: true boxes, (T, 4).
        ignore_xyxy: ignore regions, (I, 4).
        iou_thr: in (0, 1].

    Returns:
        The outcome of each prediction, in the order given.

    Raises:
        ValueError: ``iou_thr`` outside (0, 1].
    """
    if not 0 < iou_thr <= 1:
        raise ValueError(f"`iou_thr` must lie in (0, 1]. Received: {iou_thr}")
    threshold = min(iou_thr, 1 - 1e-10)
    iou = pairwise_iou(boxes_xyxy, truth_xyxy)
    truth_index = np.full(len(boxes_xyxy), -1, np.int64)
    by_score = np.argsort(-scores, kind="stable")
    # Only predictions that reach some truth need their turn; the rest cannot take one away.
    for index in by_score[(iou >= threshold).any(axis=1)[by_score]]:
        best = iou.shape[1] - 1 - int(np.argmax(iou[index, ::-1]))
        if iou[index, best] >= threshold:
            truth_index[index] = best
            iou[:, best] = -1.0
    covered = (pairwise_covered(boxes_xyxy, ignore_xyxy) >= threshold).any(axis=1)
    return ImageMatches(truth_index, covered & (truth_index < 0))


def match_class(images: Sequence[ImageRecord], label: int, iou_thr: float) -> ClassMatches:
    """Match one class over a set of images.

    Args:
        images: predictions and truth of each image.
        label: the class.
        iou_thr: in (0, 1].
    """
    scores: list[np.ndarray] = [np.empty(0)]
    hits: list[np.ndarray] = [np.empty(0, bool)]
    owners: list[np.ndarray] = [np.empty(0, np.int64)]
    n_truth = n_ignored = n_regions = 0
    for position, image in enumerate(images):
        mine = image.labels == label
        truth, regions = image.truth_xyxy[image.truth_labels == label], image.ignore_xyxy[image.ignore_labels == label]
        n_truth, n_regions = n_truth + len(truth), n_regions + len(regions)
        matches = match_image(image.boxes_xyxy[mine], image.scores[mine], truth, regions, iou_thr)
        kept = ~matches.is_ignored
        n_ignored += int(matches.is_ignored.sum())
        scores.append(image.scores[mine][kept].astype(np.float64))
        hits.append(matches.is_tp[kept])
        owners.append(np.full(int(kept.sum()), position, np.int64))
    all_scores = np.concatenate(scores)
    order = np.argsort(-all_scores, kind="stable")
    return ClassMatches(
        scores=all_scores[order],
        is_tp=np.concatenate(hits)[order],
        image_index=np.concatenate(owners)[order],
        n_truth=n_truth,
        n_ignored=n_ignored,
        n_ignore_regions=n_regions,
    )
