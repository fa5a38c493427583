"""Grad-CAM of the cells of a count: what in a cell raised its score."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ctc_mm.explain.draw import blend_heat


def heat_pictures(grounds: np.ndarray, maps: Sequence[np.ndarray]) -> np.ndarray:
    """Lay maps over thumbnails.

    Args:
        grounds: uint8 (N, S, S, 3) RGB.
        maps: float (h, w) in [0, 1] each, of what the thumbnail shows.

    Returns:
        uint8 (N, S, S, 3) RGB.
    """
    side = grounds.shape[1]
    pictures = np.empty_like(grounds)
    for place, cam in enumerate(maps):
        fitted = cv2.resize(np.asarray(cam, np.float32), (side, side), interpolation=cv2.INTER_LINEAR)
        pictures[place] = blend_heat(grounds[place], fitted)
    return pictures
