"""Overlap of boxes, vectorised. Boxes are half-open xyxy in pixels; arithmetic is float64."""

from __future__ import annotations

import numpy as np


def pairwise_intersection(boxes_xyxy: np.ndarray, others_xyxy: np.ndarray) -> np.ndarray:
    """Area shared by every pair, float64 (N, M), in square pixels."""
    a, b = boxes_xyxy.astype(np.float64)[:, None], others_xyxy.astype(np.float64)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    return np.prod(np.clip(sides, 0, None), axis=-1)


def areas(boxes_xyxy: np.ndarray) -> np.ndarray:
    """Area of every box, float64 (N,), in square pixels."""
    boxes = boxes_xyxy.astype(np.float64)
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def pairwise_iou(boxes_xyxy: np.ndarray, others_xyxy: np.ndarray) -> np.ndarray:
    """Intersection over union of every pair, float64 (N, M); 0 where nothing is shared (empty boxes too)."""
    shared = pairwise_intersection(boxes_xyxy, others_xyxy)
    union = areas(boxes_xyxy)[:, None] + areas(others_xyxy)[None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)


def pairwise_covered(boxes_xyxy: np.ndarray, regions_xyxy: np.ndarray) -> np.ndarray:
    """Share of each box that lies inside each region, float64 (N, M): the overlap COCO uses for ``iscrowd``."""
    shared = pairwise_intersection(boxes_xyxy, regions_xyxy)
    own = np.broadcast_to(areas(boxes_xyxy)[:, None], shared.shape)
    return np.divide(shared, own, out=np.zeros_like(shared), where=shared > 0)
