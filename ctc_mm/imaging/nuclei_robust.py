"""Nuclei of a DAPI field: a local threshold, each component cut at half its own height, split and merged by shape.

All filters run on whole numbers that their types hold exactly, so that a pixel's result depends on the pixels within
the filters' reach and on the field's levels, and not on where a tile begins.
"""

from __future__ import annotations

import cv2
import numpy as np

from ctc_mm.imaging.nuclei_basins import find_basins, measure_basins
from ctc_mm.imaging.nuclei_merge import merge_basins
from ctc_mm.imaging.nucleus_levels import CELL_PX, NucleusLevels

# Grey values are mapped to 0..2^15: sums over the kernel stay under 2^24, which float32 holds exactly; and a power of
# two leaves no value half-way between two steps, so that an 8-bit image and its 16-bit copy give the same steps.
STEPS = 2**15
# Binomial, standard deviation 1 px.
_KERNEL = np.array([1, 4, 6, 4, 1], np.float32)
_KERNEL_PART = 1 / float(_KERNEL.sum()) ** 2
# A pixel of a nucleus is brighter than the mean of this window, about as wide as the largest nuclei.
WINDOW_PX = 61
# A blurred edge lies at half height; people draw it a little lower.
OUTLINE_PART = 0.42
# Objects under 6 px across are debris.
MIN_AREA_PX = 28
# Tiles overlap by at least this much; then every nucleus up to 60 px across is whole in the tile that owns it.
NUCLEUS_HALO_PX = 128
_RELIEF_STEPS = 8
_RELIEF_TOP = 2.0**16 - 2


def segment_robust(image: np.ndarray, levels: NucleusLevels, origin_xy: tuple[int, int] = (0, 0)) -> np.ndarray:
    """Find the nuclei of a field or of a tile of it, int32 labels (H, W)."""
    scale = STEPS / (levels.high - levels.low) if levels.high > levels.low else 0.0
    # One pixel of frame, so that every pixel inside has eight neighbours in the flat image.
    heights = _frame(height_above_background(image, levels, origin_xy, scale))
    mask = _nucleus_mask(heights, round(levels.threshold * scale))
    pixels = np.flatnonzero(mask.view(bool))
    region = _split(heights, mask, pixels)
    keep = is_above_own_height(region, heights.ravel()[pixels])
    return _number_by_first_pixel(region[keep], pixels[keep], heights.shape)[1:-1, 1:-1].copy()


def height_above_background(
    image: np.ndarray, levels: NucleusLevels, origin_xy: tuple[int, int], scale: float
) -> np.ndarray:
    """Smoothed image less background, 0 at the least, in steps of the field's range, uint16 (H, W)."""
    smooth = cv2.sepFilter2D(
        _to_steps(image, levels.low, scale), cv2.CV_32F, _KERNEL, _KERNEL, borderType=cv2.BORDER_REFLECT_101
    )
    background = _background(levels, image.shape, origin_xy, scale)
    return cv2.addWeighted(smooth, _KERNEL_PART, background, -1, 0, dtype=cv2.CV_16U)


def _to_steps(image: np.ndarray, low: float, scale: float) -> np.ndarray:
    """Whole numbers from 0 (darkest pixel of the field) to 2^15, float32."""
    if image.dtype.kind == "f":
        return np.rint((image.astype(np.float64) - low) * scale).astype(np.float32)
    values = np.arange(int(image.max()) + 1, dtype=np.float64)
    table = np.rint(np.maximum(values - low, 0) * scale).astype(np.float32)
    return table[image]


def _background(levels: NucleusLevels, shape: tuple[int, int], origin_xy: tuple[int, int], scale: float) -> np.ndarray:
    """Background in steps, float32 (H, W): linear between the centres of the cells, level beyond the outermost."""
    grid = (np.array(levels.background) - levels.low) * scale
    top, bottom, part = _neighbours(origin_xy[1], shape[0], grid.shape[0])
    rows = (grid[top] * (1 - part[:, None]) + grid[bottom] * part[:, None]).astype(np.float32)
    left, right, part = _neighbours(origin_xy[0], shape[1], grid.shape[1])
    part = part.astype(np.float32)
    background = np.empty(shape, np.float32)
    starts = np.flatnonzero(np.diff(left, prepend=-1))
    for start, end in zip(starts, [*starts[1:], shape[1]], strict=True):
        first, second = rows[:, left[start], None], rows[:, right[start], None]
        np.multiply(second - first, part[start:end], out=background[:, start:end])
        background[:, start:end] += first
    return background


def _neighbours(start: int, length: int, cells: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For pixels from ``start``: the cells whose centres lie before and behind, and how far along the way between."""
    place = np.clip((np.arange(start, start + length) + 0.5) / CELL_PX - 0.5, 0, cells - 1)
    before = np.minimum(place.astype(np.int64), max(cells - 2, 0))
    return before, np.minimum(before + 1, cells - 1), place - before


def _nucleus_mask(heights: np.ndarray, threshold: int) -> np.ndarray:
    """Foreground (uint8): above threshold and local mean, then each component above a part of its own height."""
    sums = cv2.boxFilter(
        heights, cv2.CV_32S, (WINDOW_PX, WINDOW_PX), normalize=False, borderType=cv2.BORDER_REFLECT_101
    )
    above_mean = cv2.compare(cv2.multiply(heights, WINDOW_PX**2, dtype=cv2.CV_32S), sums, cv2.CMP_GT)
    mask = above_mean & (heights > threshold).view(np.uint8)
    clear_frame(mask)
    _, labels = cv2.connectedComponents(mask, connectivity=4, ltype=cv2.CV_32S)
    pixels = np.flatnonzero(mask.view(bool))
    mask.ravel()[pixels] = is_above_own_height(labels.ravel()[pixels], heights.ravel()[pixels])
    return mask


def is_above_own_height(region: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Whether each pixel is higher than a part of its region's height, bool (M,); that is the mean of its upper half.

    Args:
        region: number of each pixel's region, int (M,).
        height: of each pixel, uint16 (M,).
    """
    upper = height >= _means(region, height)[region]
    return height > (OUTLINE_PART * _means(region[upper], height[upper]))[region]


def _means(region: np.ndarray, height: np.ndarray) -> np.ndarray:
    return np.bincount(region, height) / np.maximum(np.bincount(region), 1)


def _split(heights: np.ndarray, mask: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Number of each foreground pixel's nucleus; components with several peaks are split and merged again."""
    count, labels = cv2.connectedComponents(mask, connectivity=8, ltype=cv2.CV_32S)
    region = labels.ravel()[pixels]
    relief = _relief(heights, mask)
    is_peak = relief.ravel()[pixels] == cv2.dilate(relief, np.ones((3, 3), np.uint8)).ravel()[pixels]
    crowded = (np.bincount(region[is_peak], minlength=count) > 1)[region]
    if crowded.any():
        basin = find_basins(relief, pixels[crowded])
        owner = merge_basins(measure_basins(basin, pixels[crowded], heights))
        region[crowded] = count + owner[basin]
    return region


def _relief(heights: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """What the watershed runs on, uint16: distance to the background times the root of the height, smoothed."""
    distance = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
    relief = distance * np.sqrt(heights, dtype=np.float32)
    relief *= _RELIEF_STEPS
    relief = cv2.min(relief, _RELIEF_TOP)
    relief = np.rint(relief)
    relief = cv2.sepFilter2D(relief, cv2.CV_32F, _KERNEL, _KERNEL, borderType=cv2.BORDER_REFLECT_101)
    relief = np.rint(relief * np.float32(_KERNEL_PART))
    relief = cv2.sepFilter2D(relief, cv2.CV_32F, _KERNEL, _KERNEL, borderType=cv2.BORDER_REFLECT_101)
    relief += 1
    return cv2.copyTo(relief, mask)


def _number_by_first_pixel(region: np.ndarray, pixels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Label image of the regions of enough pixels, int32 (H, W), 1..N in the order of their first pixel."""
    kept = np.bincount(region) >= MIN_AREA_PX
    first = np.full(len(kept), pixels.size, np.int64)
    first[region[::-1]] = np.arange(pixels.size)[::-1]
    order = np.flatnonzero(kept)
    order = order[np.argsort(first[order])]
    numbers = np.zeros(len(kept), np.int32)
    numbers[order] = np.arange(1, len(order) + 1)
    labels = np.zeros(shape, np.int32)
    labels.ravel()[pixels] = numbers[region]
    return labels


def _frame(heights: np.ndarray) -> np.ndarray:
    return (
        cv2.copyMakeBorder(heights, 1, 1, 1, 1, cv2.BORDER_REFLECT_101)
        if min(heights.shape) > 1
        else cv2.copyMakeBorder(heights, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    )


def clear_frame(mask: np.ndarray) -> None:
    """Set the outermost pixels to 0."""
    mask[[0, -1]] = 0
    mask[:, [0, -1]] = 0
