"""Cells as the paper label-free-resnet-2020 finds them (image pre-processing, Figure 2c to f), as reading 22 has it."""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage

from ctc_mm.imaging.cell_levels import CAP_PERCENTILE, to_grey

OPENING_PX = 5
# Distances to the background whose maxima mark cells: no nearer to each other than this, and at least so deep.
PEAK_WINDOW_PX = 7
LEAST_DEPTH_PX = 2.0


def segment_paper(image: np.ndarray) -> np.ndarray:
    """Find cells: brightness cap, Sobel magnitude, Otsu, filled holes, opening, watershed of the distance transform.

    The paper prints no values; these are ours. Otsu finds a threshold in noise too, so a blank field comes out full of
    specks, and the halo of a cell is part of it: this is kept to repeat the paper.

    Args:
        image: (H, W) or (H, W, 3), checked.

    Returns:
        int32 (H, W): 0 background, cells 1..N.
    """
    mask = _edge_mask(to_grey(image))
    filled = ndimage.binary_fill_holes(mask)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (OPENING_PX, OPENING_PX))
    opened = cv2.morphologyEx(filled.astype(np.uint8), cv2.MORPH_OPEN, disc)
    depth = cv2.distanceTransform(opened, cv2.DIST_L2, 5)
    peaks = (depth == ndimage.maximum_filter(depth, PEAK_WINDOW_PX)) & (depth >= LEAST_DEPTH_PX)
    markers, count = ndimage.label(peaks, np.ones((3, 3)))
    if count == 0:
        return np.zeros(mask.shape, np.int32)
    # 16 bits: whole depths would flood neighbouring slopes at once.
    slopes = (65535 - np.minimum(depth * 64, 65535)).astype(np.uint16)
    basins = ndimage.watershed_ift(slopes, np.where(opened == 0, -1, markers))
    return np.where(basins > 0, basins, 0).astype(np.int32)


def _edge_mask(grey: np.ndarray) -> np.ndarray:
    grey = grey.astype(np.float32)
    grey = np.minimum(grey, np.float32(np.percentile(grey, CAP_PERCENTILE, method="lower")))
    magnitude = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    top = float(magnitude.max())
    if top <= 0:
        return np.zeros(grey.shape, bool)
    # 16-bit steps for Otsu: the shape of the histogram matters, not the camera's depth.
    steps = np.rint(magnitude * (65535 / top)).astype(np.uint16)
    threshold, _ = cv2.threshold(steps, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return steps > threshold
