"""From all priors of a detector to its boxes: one place for every exported model, in MMDetection's own functions."""

from __future__ import annotations

import numpy as np
import torch
from mmcv.ops import batched_nms
from mmdet.models.utils import filter_scores_and_topk

from ctc_mm.counting.engines.base import WindowDetections
from ctc_mm.counting.engines.model_file import BoxRules
from ctc_mm.counting.engines.preparation import Geometry


def selected_boxes(
    scores: np.ndarray, labels: np.ndarray, boxes_xyxy: np.ndarray, geometry: Geometry, least: float = 0.0
) -> WindowDetections:
    """Boxes of one window that a graph has selected itself, see ``engine.export_nms.BoxSelection``.

    Args:
        scores: float32 (M,), best first; 0 where a row holds no box.
        labels: int64 (M,).
        boxes_xyxy: float32 (M, 4), pixels of the network's input.
        geometry: how the window lies in the input.
        least: boxes of lower scores are left out.
    """
    found = (scores > 0) & (scores >= least)
    scales = np.array([1 / scale for scale in geometry.scale_wh] * 2, np.float32)
    return WindowDetections(boxes_xyxy[found] * scales, scores[found], labels[found].astype(np.int64))


def select_boxes(
    scores: np.ndarray,
    boxes_xyxy: np.ndarray,
    rules: BoxRules,
    geometry: Geometry,
    factors: np.ndarray | None = None,
) -> WindowDetections:
    """Boxes of one window, as ``BaseDenseHead.predict_by_feat`` selects them.

    Args:
        scores: float32 (P, classes) of all priors, levels one after the other; the background left out.
        boxes_xyxy: float32 (P, 4), decoded, pixels of the network's input.
        rules: the model's ``test_cfg``.
        geometry: how the window lies in the input.
        factors: float32 (P,), what the scores are multiplied by once they are above the threshold (centerness); None:
            nothing.
    """
    places = torch.arange(len(scores)).split(rules.level_sizes)
    levels = torch.from_numpy(scores).split(rules.level_sizes)
    candidates = [
        filter_scores_and_topk(level, rules.score_thr, rules.nms_pre, dict(priors=priors))
        for level, priors in zip(levels, places, strict=True)
    ]
    best, labels = (torch.cat([level[part] for level in candidates]) for part in (0, 1))
    priors = torch.cat([level[3]["priors"] for level in candidates])
    boxes = torch.from_numpy(boxes_xyxy)[priors]
    if factors is not None:
        best = best * torch.from_numpy(factors)[priors]
    if rules.clip:
        height, width = geometry.image_hw
        boxes = boxes.clamp(min=0).minimum(boxes.new_tensor((width, height, width, height)))
    boxes = boxes * boxes.new_tensor([1 / scale for scale in geometry.scale_wh]).repeat(2)
    if rules.min_bbox_size >= 0:
        keep = ((boxes[:, 2:] - boxes[:, :2]) > rules.min_bbox_size).all(dim=1)
        boxes, best, labels = boxes[keep], best[keep], labels[keep]
    if len(boxes):
        kept, order = batched_nms(boxes, best, labels, dict(rules.nms))
        boxes, best, labels = boxes[order], kept[:, -1], labels[order]
    most = slice(rules.max_per_img if rules.max_per_img > 0 else None)
    return WindowDetections(boxes[most].numpy(), best[most].numpy(), labels[most].numpy().astype(np.int64))
