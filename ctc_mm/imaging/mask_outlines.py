"""Outlines of masks along the edges of their pixels."""

from __future__ import annotations

import cv2
import numpy as np


def outline_polygons(
    mask: np.ndarray, offset_xy: tuple[int, int] = (0, 0), tolerance_px: float = 0.0
) -> list[list[list[float]]]:
    """Outlines of a mask along the outer edges of its pixels, so that a polygon's bounds are the mask's tight box.

    Args:
        mask: (H, W) bool.
        offset_xy: place of the mask's first pixel.
        tolerance_px: corners are left out as long as the outline moves no further; 0 keeps all.

    Returns:
        One list of [x, y] a connected piece.
    """
    # Contours run through the middles of pixels. At twice the size, and one pixel thicker to the right and below, the
    # middles of the outer pixels are the edges of the mask's own: pixel x spans 2x to 2x + 2.
    doubled = np.zeros((2 * mask.shape[0] + 1, 2 * mask.shape[1] + 1), np.uint8)
    for dy in range(3):
        for dx in range(3):
            rows = slice(dy, dy + 2 * mask.shape[0] - 1, 2)
            columns = slice(dx, dx + 2 * mask.shape[1] - 1, 2)
            doubled[rows, columns] |= mask.astype(np.uint8)
    contours, _ = cv2.findContours(doubled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if tolerance_px > 0:
        simpler = [cv2.approxPolyDP(contour, 2 * tolerance_px, closed=True) for contour in contours]
        # What is left of a sliver need not be a polygon.
        contours = [one if len(one) > 2 else contour for one, contour in zip(simpler, contours, strict=True)]
    return [(contour[:, 0] / 2 + np.asarray(offset_xy)).tolist() for contour in contours]
