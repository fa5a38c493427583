"""Which cells a fluorescent marker stains: its brightness inside each outline against the background around."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ctc_mm.imaging.background import estimate_background

# Standard deviations of the background's noise above which a cell's mean is no chance.
LEAST_SIGMAS = 6.0
# Two cells neighbouring in brightness, one this many times brighter, part stained from unstained ones.
LEAST_GAP = 3.0
_SIGMA_PER_MAD = 1.4826


def flatten_marker(marker: np.ndarray) -> tuple[np.ndarray, float]:
    """Subtract the background of a fluorescence image.

    Args:
        marker: (H, W) or (H, W, 3) (its brightest colour counts); integer or float.

    Returns:
        float32 (H, W), background 0; and the standard deviation of the background's noise, in the image's grey values.

    Raises:
        ValueError: another shape, no pixel, NaN pixels.
    """
    if marker.ndim not in (2, 3) or marker.size == 0:
        raise ValueError(f"a marker image must be (H, W) or (H, W, C) with pixels. Received shape: {marker.shape}")
    if marker.dtype.kind == "f" and not np.isfinite(marker).all():
        raise ValueError(f"the marker image holds {int((~np.isfinite(marker)).sum())} NaN or infinite pixels")
    if marker.ndim == 3:
        # A stain shows in one colour; which one, depends on the camera's software.
        sums = marker.reshape(-1, marker.shape[2]).astype(np.float64).std(axis=0)
        marker = marker[..., int(sums.argmax())]
    flat = marker.astype(np.float32) - estimate_background(marker, objects="bright")
    below = flat[flat <= 0]
    noise = _SIGMA_PER_MAD * float(np.median(np.abs(below))) if below.size else 0.0
    # Digits alone scatter by 0.3 of a step in integer images.
    return flat, max(noise, 0.3 if marker.dtype.kind in "ui" else 1e-6 * float(np.abs(marker).max(initial=0)))


def marker_intensities(flat: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Mean of a flattened marker image inside each cell.

    Args:
        flat: float32 (H, W) of ``flatten_marker``.
        labels: integer (H, W), cells as they lie in the marker image.
        count: largest label.

    Returns:
        float64 (count,); NaN for a cell that does not lie in the marker image.
    """
    pixels = np.bincount(labels.ravel(), minlength=count + 1)[1 : count + 1]
    total = np.bincount(labels.ravel(), flat.ravel().astype(np.float64), minlength=count + 1)[1 : count + 1]
    return np.where(pixels > 0, total / np.maximum(pixels, 1), np.nan)


def marker_threshold(intensities: np.ndarray, noise: float) -> float:
    """Choose the brightness from which a cell counts as stained.

    Where the cells' brightness has a gap of ``LEAST_GAP`` times, the threshold lies in the middle of the widest one, on
    a logarithmic scale; else what stands out from the background counts, so that a field of stained cells alone, or of
    none, keeps its meaning.

    Args:
        intensities: float (N,), of all cells of a field; NaN is passed over.
        noise: standard deviation of the background.

    Returns:
        The threshold, at least ``LEAST_SIGMAS * noise``.
    """
    least = LEAST_SIGMAS * noise
    values = np.sort(np.maximum(intensities[np.isfinite(intensities)], least))
    if least <= 0 or len(values) < 2:
        return least
    gaps = values[1:] / values[:-1]
    widest = int(gaps.argmax())
    return float(np.sqrt(values[widest] * values[widest + 1])) if gaps[widest] >= LEAST_GAP else least


def count_unmatched(flat: np.ndarray, labels: np.ndarray, threshold: float, least_area_px: float) -> int:
    """Count stained objects of at least ``least_area_px`` pixels that overlap no cell."""
    objects, count = ndimage.label(flat > threshold)
    if count == 0:
        return 0
    areas = np.bincount(objects.ravel(), minlength=count + 1)
    touched = np.zeros(count + 1, bool)
    touched[np.unique(objects[labels > 0])] = True
    return int((~touched[1:] & (areas[1:] >= least_area_px)).sum())
