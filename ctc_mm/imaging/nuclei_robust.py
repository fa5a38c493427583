"""Nuclei of a DAPI field: a local threshold, each component cut at half its own height, split and merged by shape.

All filters run on whole numbers that their types hold exactly, so that a pixel's result depends on the pixels within
the filters' reach and on the field's levels, and not on where a tile begins (at a multiple of 64 px).
"""

from __future__ import annotations

import cv2
import numpy as np

from ctc_mm.imaging.nuclei_basins import Basins, find_basins, measure_basins, runs_of, steepest_ascent
from ctc_mm.imaging.nuclei_merge import merge_basins
from ctc_mm.imaging.nucleus_levels import CELL_PX, NucleusLevels

# Grey values are mapped to 0..2^15: sums over the kernel stay under 2^24, which float32 holds exactly; and a power of
# two leaves no value half-way between two steps, so that an 8-bit image and its 16-bit copy give the same steps.
STEPS = 2**15
# Binomial, standard deviation 1 px; its sums are exact in whole 256ths.
_KERNEL = np.array([1, 4, 6, 4, 1], np.float32) / 16
# A pixel of a nucleus is brighter than the mean of this window, about as wide as the largest nuclei, by this part of
# the field's threshold: else half of all pixels would be, where the background is a little off.
WINDOW_PX, MEAN_MARGIN = 61, 0.3
# It is also not much darker than the brightest pixel close by, which parts nuclei from the halo of brighter ones.
NEAR_PX, NEAR_PART = 9, 0.4
# A blurred edge lies at half the height of a nucleus; people draw it a little lower.
OUTLINE_PART = 0.42
# What nowhere falls to this part of its own height has no edge: it is a part of something larger, or out of focus.
EDGE_PART = 0.8
# Objects under 6 px across are debris.
MIN_AREA_PX = 28
# Whether a pixel is foreground depends on pixels up to 32 px away; 8 more for the relief between neighbours.
SUPPORT_PX = 40
# Tiles overlap by at least this much; then a group of touching nuclei that reaches up to 88 px out of a tile is whole.
NUCLEUS_HALO_PX = 128
# Relief per pixel of distance and step of height; distances over 45 px (a nucleus of 90 px) count as 45.
_RELIEF_SCALE = np.float32(2.0**-5)
_RELIEF_DISTANCE_PX = 45


def segment_robust(
    image: np.ndarray, levels: NucleusLevels, origin_xy: tuple[int, int] = (0, 0)
) -> tuple[np.ndarray, np.ndarray]:
    """Find the nuclei of a field or of a tile of it.

    Returns:
        Labels, int32 (H, W), 1..N in the order of their first pixel; and for 0..N whether the object is settled,
        bool (N + 1,): it would come out the same from any larger tile.
    """
    heights, mask = _foreground(image, levels, origin_xy)
    pixels = np.flatnonzero(mask.view(bool))
    region, crowded, ascent = _components(heights, mask, pixels, origin_xy)
    unsettled = _unsettled(region, pixels, image.shape, levels.size_wh, origin_xy)
    inside = pixels[crowded]
    if inside.size:
        basin = find_basins(*ascent, inside)
        owner = merge_basins(measure_basins(basin, inside, heights))[basin]
        region[crowded] = owner + region.max()
    _cut_outlines(region, heights.ravel()[pixels])
    labels = _number_by_first_pixel(region, pixels, heights.shape)
    settled = np.ones(int(labels.max()) + 1, bool)
    settled[labels.ravel()[pixels[unsettled]]] = False
    settled[0] = True
    return labels, settled


def find_crowded_basins(image: np.ndarray, levels: NucleusLevels) -> tuple[np.ndarray, np.ndarray, Basins]:
    """What ``segment_robust`` puts together again in a field: the basins of the components with several peaks.

    Returns:
        Places of the pixels in the flat image, int64 (M,); their basins, int64 (M,), 1..N; the basins' sums.
    """
    heights, mask = _foreground(image, levels, (0, 0))
    pixels = np.flatnonzero(mask.view(bool))
    _, crowded, ascent = _components(heights, mask, pixels, (0, 0))
    inside = pixels[crowded]
    basin = find_basins(*ascent, inside)
    return inside, basin, measure_basins(basin, inside, heights)


def _foreground(image: np.ndarray, levels: NucleusLevels, origin_xy: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Heights above background in steps, uint16 (H, W), and the foreground, uint8 (H, W), 0 or 1."""
    scale = STEPS / (levels.high - levels.low) if levels.high > levels.low else 0.0
    heights = height_above_background(image, levels, origin_xy, scale)
    threshold = min(levels.threshold * scale, float(STEPS))
    least = cv2.blur(heights, (WINDOW_PX, WINDOW_PX), borderType=cv2.BORDER_REFLECT_101)
    least += np.uint16(threshold * MEAN_MARGIN)
    near = cv2.dilate(heights, np.ones((NEAR_PX, NEAR_PX), np.uint8))
    # Heights are whole numbers, so that a fraction of the limit may be dropped.
    np.multiply(near, np.float32(NEAR_PART), out=near, casting="unsafe")
    np.maximum(least, near, out=least)
    return heights, ((heights > least) & (heights > np.uint16(threshold))).view(np.uint8)


def height_above_background(
    image: np.ndarray, levels: NucleusLevels, origin_xy: tuple[int, int], scale: float
) -> np.ndarray:
    """Smoothed image less background, 0 at the least, in steps of the field's range, uint16 (H, W)."""
    steps = _to_steps(image, levels.low, scale)
    heights = cv2.sepFilter2D(steps, cv2.CV_32F, _KERNEL, _KERNEL, borderType=cv2.BORDER_REFLECT_101)
    _subtract_background(heights, levels, origin_xy, scale)
    cv2.threshold(heights, 0, 0, cv2.THRESH_TOZERO, dst=heights)
    return np.rint(heights, out=heights).astype(np.uint16)


def _to_steps(image: np.ndarray, low: float, scale: float) -> np.ndarray:
    """Whole numbers from 0 (darkest pixel of the field) to 2^15, float32."""
    if image.dtype.kind == "f":
        return np.rint((image.astype(np.float64) - low) * scale).astype(np.float32)
    values = np.arange(int(image.max()) + 1, dtype=np.float64)
    table = np.zeros(np.iinfo(image.dtype).max + 1, np.float32)
    table[: len(values)] = np.rint(np.maximum(values - low, 0) * scale)
    return cv2.LUT(image, table)


def _subtract_background(values: np.ndarray, levels: NucleusLevels, origin_xy: tuple[int, int], scale: float) -> None:
    """Take off the background, linear between the centres of the cells and level beyond the outermost."""
    grid = (np.array(levels.background) - levels.low) * scale
    top, bottom, part = _neighbours(origin_xy[1], values.shape[0], grid.shape[0])
    rows = (grid[top] * (1 - part[:, None]) + grid[bottom] * part[:, None]).astype(np.float32)
    left, right, part = _neighbours(origin_xy[0], values.shape[1], grid.shape[1])
    part = part.astype(np.float32)
    starts, lengths = runs_of(left)
    first, second = rows[:, left[starts]], rows[:, right[starts]]
    background = np.repeat(second - first, lengths, axis=1)
    background *= part
    background += np.repeat(first, lengths, axis=1)
    values -= background


def _neighbours(start: int, length: int, cells: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For pixels from ``start``: the cells whose centres lie before and behind, and how far along the way between."""
    place = np.clip((np.arange(start, start + length) + 0.5) / CELL_PX - 0.5, 0, cells - 1)
    before = np.minimum(place.astype(np.int64), max(cells - 2, 0))
    return before, np.minimum(before + 1, cells - 1), place - before


def _components(
    heights: np.ndarray, mask: np.ndarray, pixels: np.ndarray, origin_xy: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Each foreground pixel's component, int64 (M,); which lie in one of several peaks, int64 (K,); relief's ranks."""
    count, labels = cv2.connectedComponents(mask, connectivity=8, ltype=cv2.CV_32S)
    flat = labels.ravel()
    rank, highest = steepest_ascent(_relief(heights, mask), origin_xy)
    # Of the type that NumPy counts and looks up by, so that it need not be cast each time.
    region = flat[pixels].astype(np.int64)
    is_peak = rank.ravel()[pixels] == highest.ravel()[pixels]
    n_peaks = np.bincount(region[is_peak], minlength=count)
    return region, np.flatnonzero((n_peaks > 1)[region]), (rank, highest)


def _relief(heights: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """What the watershed runs on, uint16, 0 outside: distance to the background times height, smoothed."""
    relief = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
    cv2.threshold(relief, _RELIEF_DISTANCE_PX, 0, cv2.THRESH_TRUNC, dst=relief)
    relief *= _RELIEF_SCALE
    relief *= heights
    smooth = relief.astype(np.uint16)
    for _ in range(3):
        cv2.blur(smooth, (3, 3), dst=smooth, borderType=cv2.BORDER_REFLECT_101)
    smooth += 1
    return cv2.copyTo(smooth, mask)


def _unsettled(
    region: np.ndarray, pixels: np.ndarray, shape: tuple[int, int], size_wh: tuple[int, int], origin_xy: tuple[int, int]
) -> np.ndarray:
    """Whether each pixel's component comes too near an edge of the tile that is no edge of the field, bool (M,)."""
    near = np.zeros(shape, bool)
    for axis in (0, 1):
        start, length, side = origin_xy[1 - axis], shape[axis], size_wh[1 - axis]
        rows = near if axis == 0 else near.T
        if start > 0:
            rows[:SUPPORT_PX] = True
        if start + length < side:
            rows[max(length - SUPPORT_PX, 0) :] = True
    if not near.any():
        return np.zeros(len(pixels), bool)
    return (np.bincount(region, near.ravel()[pixels]) > 0)[region]


def _cut_outlines(region: np.ndarray, height: np.ndarray) -> None:
    """Cut each region at a part of its own height, and drop those without an edge; in place, 0 for none.

    A region's height is the mean of its heights weighted by themselves: that of its bright inside, whatever the rim.

    Args:
        region: number of each pixel's region, from 1, int64 (M,).
        height: of each pixel, uint16 (M,).
    """
    starts, lengths = runs_of(region)
    run, value = region[starts], height.astype(np.float64)
    total = np.bincount(run, np.add.reduceat(value, starts))
    own = np.bincount(run, np.add.reduceat(value * value, starts)) / np.maximum(total, 1)
    own = np.maximum(own, 1).astype(np.float32)
    least = np.full(len(own), np.iinfo(np.uint16).max, np.uint16)
    np.minimum.at(least, run, np.minimum.reduceat(height, starts))
    own[least / own >= EDGE_PART] = np.inf  # all of it is cut
    region *= height / np.repeat(own[run], lengths) > OUTLINE_PART


def _number_by_first_pixel(region: np.ndarray, pixels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Label image of the regions of enough pixels, int32 (H, W), 1..N in the order of their first pixel."""
    starts, lengths = runs_of(region)
    run = region[starts]
    kept = np.bincount(run, lengths, minlength=1) >= MIN_AREA_PX
    kept[0] = False
    first = np.zeros(len(kept), np.int64)
    first[run[::-1]] = starts[::-1]
    order = np.flatnonzero(kept)
    order = order[np.argsort(first[order])]
    numbers = np.zeros(len(kept), np.int32)
    numbers[order] = np.arange(1, len(order) + 1)
    labels = np.zeros(shape, np.int32)
    labels.ravel()[pixels] = np.repeat(numbers[run], lengths)
    return labels
