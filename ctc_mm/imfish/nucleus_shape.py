"""One nucleus in its window: the ring of cytoplasm around it, its outline, how sharp its rim is."""

from __future__ import annotations

import functools
import math

import cv2
import numpy as np

# Kernel of the smoothing before the rim's gradient is taken: exact in float32 for integer pixels.
_BINOMIAL = np.array([1, 4, 6, 4, 1], np.float32) / 16
# Variance of that smoothing in pixels, which is taken off the blur measured.
_BINOMIAL_VARIANCE = 1.0
_RIM_PX = 2


def median(values: np.ndarray) -> float:
    """Median of a flat array of at least one value; ``numpy.median`` takes five times as long on a few hundred."""
    middle = len(values) // 2
    if len(values) % 2:
        return float(np.partition(values, middle)[middle])
    low, high = np.partition(values, (middle - 1, middle))[middle - 1 : middle + 1].tolist()
    return (low + high) / 2


def smoothed(image: np.ndarray) -> np.ndarray:
    """Binomial mean over 5 x 5 pixels, float32 (H, W)."""
    return cv2.sepFilter2D(image, cv2.CV_32F, _BINOMIAL, _BINOMIAL, borderType=cv2.BORDER_REFLECT_101)


def cytoplasm_ring(mask: np.ndarray, others: np.ndarray, gap_px: int, width_px: int) -> np.ndarray:
    """Find the pixels around a nucleus to which no other nucleus is as near.

    Where neighbours leave nothing free, it is all of the ring that is no nucleus.

    Args:
        mask: (H, W) bool, the nucleus.
        others: (H, W) bool, all other nuclei.
        gap_px: distance between nucleus and ring.
        width_px: width of the ring.

    Returns:
        (H, W) bool.
    """
    wide = _dilated(mask, gap_px + width_px) & ~_dilated(mask, gap_px)
    if not others.any():
        return wide
    wide &= ~others
    free = wide & ~_dilated(others, gap_px + width_px)
    return free if free.any() else wide


def solidity(mask: np.ndarray) -> float:
    """Area of a nucleus (H, W) bool over that of its convex hull, both in pixels; 1 where it is convex."""
    contours, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    hull = cv2.convexHull(np.concatenate(contours))
    sides = np.abs(np.diff(hull[:, 0], axis=0, append=hull[:1, 0]))
    on_outline = int(np.gcd(sides[:, 0], sides[:, 1]).sum())
    # Pick's theorem: pixels whose middle lies in the hull, which runs through the middles of pixels.
    pixels = cv2.contourArea(hull) + on_outline / 2 + 1
    return min(float(np.count_nonzero(mask) / pixels), 1.0)


def edge_blur_px(smooth: np.ndarray, mask: np.ndarray, others: np.ndarray, contrast: float) -> float | None:
    """Blur of the rim, from the steepest quarter of it: a step blurred by sigma rises by its height / 2.5066 sigma.

    Args:
        smooth: DAPI after ``smoothed``, float32 (H, W).
        mask: (H, W) bool, the nucleus.
        others: (H, W) bool, all other nuclei; the rim beside them is left out.
        contrast: height of the nucleus above its surroundings.

    Returns:
        Standard deviation of a Gaussian in pixels; None where there is no rim or no contrast.
    """
    if contrast <= 0:
        return None
    rim = _dilated(mask, _RIM_PX) & ~_eroded(mask, _RIM_PX)
    if others.any():
        rim &= ~_dilated(others, _RIM_PX)
    slope_x = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)[rim]
    slope_y = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)[rim]
    if not slope_x.size:
        return None
    slopes = np.hypot(slope_x, slope_y)
    place = 3 * len(slopes) // 4
    steepest = float(np.partition(slopes, place)[place])
    if steepest <= 0:
        return None
    sigma = contrast / (math.sqrt(2 * math.pi) * steepest)
    return math.sqrt(max(sigma**2 - _BINOMIAL_VARIANCE, 0.0))


def _dilated(mask: np.ndarray, reach_px: int) -> np.ndarray:
    return cv2.dilate(mask.view(np.uint8), _disc(reach_px)).view(bool) if reach_px else mask


def _eroded(mask: np.ndarray, reach_px: int) -> np.ndarray:
    return cv2.erode(mask.view(np.uint8), _disc(reach_px)).view(bool)


@functools.lru_cache(maxsize=64)
def _disc(reach_px: int) -> np.ndarray:
    """All pixels within ``reach_px``; OpenCV's ellipse is another one when turned."""
    y, x = np.ogrid[-reach_px : reach_px + 1, -reach_px : reach_px + 1]
    return (y * y + x * x <= reach_px * reach_px).astype(np.uint8)
