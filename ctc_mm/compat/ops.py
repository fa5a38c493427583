"""The compiled ops that ctc_mm's configs need, from torchvision and torch, with mmcv's call signatures.

Everything here takes and returns what ``mmcv._ext`` does, so that mmcv's own Python wrappers stay in charge.
"""

from __future__ import annotations

import torch
from torch import Tensor


def nms(bboxes: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0) -> Tensor:
    """Greedy non-maximum suppression.

    Args:
        bboxes: (N, 4) float, x0 y0 x1 y1 in px.
        scores: (N,) float.
        iou_threshold: boxes overlapping a kept one by more than this are removed.
        offset: 0 for half-open boxes, 1 where x1, y1 are the last pixel inside.

    Returns:
        (K,) int64 indices of kept boxes, by falling score.
    """
    from torchvision.ops import nms as tv_nms

    if offset:
        bboxes = torch.cat([bboxes[:, :2], bboxes[:, 2:] + offset], dim=1)
    return tv_nms(bboxes.float(), scores.float(), float(iou_threshold))
