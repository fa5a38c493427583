"""A number for "does the map look at the cells": how much hotter it is inside the boxes than outside."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def inside_mask(boxes_xyxy: ArrayLike, image_hw: tuple[int, int]) -> np.ndarray:
    """Pixels whose centre lies in at least one half-open box.

    Args:
        boxes_xyxy: (N, 4) px; N may be 0.
        image_hw: height and width, px.

    Returns:
        bool (H, W).
    """
    boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
    centres_y, centres_x = (np.arange(size) + 0.5 for size in image_hw)
    in_x = (boxes[:, 0:1] <= centres_x) & (centres_x < boxes[:, 2:3])
    in_y = (boxes[:, 1:2] <= centres_y) & (centres_y < boxes[:, 3:4])
    mask = np.zeros(image_hw, dtype=bool)
    for row, column in zip(in_y, in_x, strict=True):
        mask |= row[:, None] & column[None, :]
    return mask


def inside_outside_ratio(cam: np.ndarray, boxes_xyxy: ArrayLike) -> float:
    """Mean of a map inside the union of the boxes over its mean outside.

    Args:
        cam: (H, W), not negative.
        boxes_xyxy: (N, 4) px of the image that the map covers.

    Returns:
        The ratio; 0 where the map is zero inside, infinity where it is zero outside only, NaN where no pixel is inside
        or none is outside, since there is nothing to compare.

    Raises:
        ValueError: ``cam`` is not (H, W).
    """
    cam = np.asarray(cam, dtype=np.float64)
    if cam.ndim != 2:
        raise ValueError(f"`cam` must be (H, W); received {cam.shape}")
    mask = inside_mask(boxes_xyxy, cam.shape)
    if not mask.any() or mask.all():
        return float("nan")
    inside, outside = float(cam[mask].mean()), float(cam[~mask].mean())
    if inside == 0:
        return 0.0
    return float("inf") if outside == 0 else inside / outside
