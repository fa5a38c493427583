"""Watershed by steepest ascent on chosen pixels alone, and sums over the basins and over the borders between them.

``cv2.watershed`` floods whole images at about 10 MP/s; here every pixel points to its highest neighbour and the
pointers are followed to the peaks, all pixels at once (hill climbing; Rambabu and Chakrabarti, 2007).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

_EARLIER = ((-1, -1), (-1, 0), (-1, 1), (0, -1))
_LATER = ((0, 1), (1, -1), (1, 0), (1, 1))


@dataclass(frozen=True, eq=False)
class Basins:
    """Sums over basins 1..N (place 0 is empty), and over the borders between neighbours.

    Attributes:
        area: pixels, float64 (N + 1,).
        moments: sums of x, y, xx, yy, xy, float64 (N + 1, 5).
        height_sum: sum of the heights, float64 (N + 1,).
        height_max: maximum of the heights, float64 (N + 1,).
        pairs: neighbours, lower number first, int64 (P, 2).
        borders: of each pair the number of pixel edges, the sum and the maximum of the lower heights along them,
            float64 (P, 3).
    """

    area: np.ndarray
    moments: np.ndarray
    height_sum: np.ndarray
    height_max: np.ndarray
    pairs: np.ndarray
    borders: np.ndarray


def find_basins(relief: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Give each pixel the number of the peak that steepest ascent among its 8 neighbours leads to.

    Of equal pixels the earlier one, row by row, counts as higher, so a plateau has a peak too.

    Args:
        relief: uint16 (H, W), positive at the pixels, 0 at all neighbours that are none of them.
        pixels: places in the flat image, rising, int64 (M,); whole connected components.

    Returns:
        int32 (M,): 1..N in the order of the peaks' places.
    """
    # A frame of 0, so that every pixel has eight neighbours in the flat image.
    flat = cv2.copyMakeBorder(relief, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0).ravel()
    width = relief.shape[1]
    framed = pixels + 2 * (pixels // width) + (width + 3)
    target, best = framed.copy(), flat[framed]
    for offsets, is_higher in ((_EARLIER, np.greater_equal), (_LATER, np.greater)):
        for dy, dx in offsets:
            neighbours = framed + (dy * (width + 2) + dx)
            values = flat[neighbours]
            higher = is_higher(values, best)
            np.copyto(target, neighbours, where=higher)
            np.copyto(best, values, where=higher)
    own = np.arange(len(pixels), dtype=np.int32)
    place = np.zeros(flat.size, np.int32)
    place[framed] = own
    pointer = place[target]
    while True:
        further = pointer[pointer]
        if np.array_equal(further, pointer):
            break
        pointer = further
    return np.cumsum(pointer == own, dtype=np.int32)[pointer]


def measure_basins(basin: np.ndarray, pixels: np.ndarray, heights: np.ndarray) -> Basins:
    """Sum up basins and their borders.

    Args:
        basin: number of each pixel's basin, int32 (M,), 1..N.
        pixels: places in the flat image, rising, int64 (M,).
        heights: uint16 (H, W).
    """
    size = int(basin.max(initial=0)) + 1
    value = heights.ravel()[pixels].astype(np.float64)
    y = pixels // heights.shape[1]
    x = pixels - y * heights.shape[1]
    # All sums are of integers under 2^53, so they are exact in any order of the pixels.
    moments = np.stack([np.bincount(basin, term, size) for term in (x, y, x * x, y * y, x * y)], axis=1)
    height_max = np.zeros(size)
    np.maximum.at(height_max, basin, value)
    area = np.bincount(basin, minlength=size).astype(np.float64)
    pairs, borders = _measure_borders(basin, pixels, heights, size)
    return Basins(area, moments, np.bincount(basin, value, size), height_max, pairs, borders)


def _measure_borders(
    basin: np.ndarray, pixels: np.ndarray, heights: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    flat_heights = heights.ravel()
    height, width = heights.shape
    # A column and a row more, so that every pixel has a neighbour to the right and below.
    number = np.zeros((height + 1, width + 1), np.int32)
    framed = pixels + pixels // width
    flat_number = number.ravel()
    flat_number[framed] = basin
    keys, lower = [], []
    for step in (1, width):
        other = flat_number[framed + (1 if step == 1 else width + 1)]
        border = (other != basin) & (other > 0)
        first, second, here = basin[border].astype(np.int64), other[border].astype(np.int64), pixels[border]
        keys.append(np.minimum(first, second) * size + np.maximum(first, second))
        lower.append(np.minimum(flat_heights[here], flat_heights[here + step]))
    found, index, edges = np.unique(np.concatenate(keys), return_inverse=True, return_counts=True)
    value = np.concatenate(lower).astype(np.float64)
    highest = np.zeros(len(found))
    np.maximum.at(highest, index, value)
    pairs = np.stack([found // size, found % size], axis=1)
    return pairs, np.stack([edges.astype(np.float64), np.bincount(index, value, len(found)), highest], axis=1)
