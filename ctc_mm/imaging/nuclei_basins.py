"""Watershed by steepest ascent on chosen pixels alone, and sums over the basins and over the borders between them.

``cv2.watershed`` floods whole images at about 10 MP/s; here every pixel points to its highest neighbour and the
pointers are followed to the peaks, all pixels at once (hill climbing; Rambabu and Chakrabarti, 2007).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np

# Rows and columns are numbered 0, 1, 2, 0, ...; of the nine pixels around a place no two have the same pair of numbers.
# A pixel's phase is 5 times its row's number and its column's, so that the difference of two phases (-12 to 12) tells
# both differences, also by its last digit to base 32.
_ROW_PHASE, _BASE = 5, 32


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


def steepest_ascent(relief: np.ndarray, origin_xy: tuple[int, int] = (0, 0)) -> tuple[np.ndarray, np.ndarray]:
    """Rank every pixel by its relief, and find the highest rank around it.

    A rank's last digit (to base 32) tells where its pixel lies among its neighbours, so that the maximum of the ranks
    in a 3 x 3 window also tells which pixel has it; and no two neighbours have the same rank, so a plateau has one
    peak.

    Args:
        relief: uint16 (H, W), positive inside the foreground, 0 outside.
        origin_xy: where the top left pixel lies in the field.

    Returns:
        Two float32 (H, W) of whole numbers: each pixel's rank, and the highest in its window; equal at a peak.
    """
    phase_y, phase_x = ((np.arange(n) + start) % 3 for n, start in zip(relief.shape, origin_xy[::-1], strict=True))
    rank = relief * np.float32(_BASE)
    for start in range(min(3, len(rank))):
        rank[start::3] += (_ROW_PHASE * phase_y[start] + phase_x).astype(np.float32)
    return rank, cv2.dilate(rank, np.ones((3, 3), np.uint8))


def find_basins(rank: np.ndarray, highest: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Give each pixel the number of the peak that steepest ascent among its 8 neighbours leads to.

    Args:
        rank: each pixel's, of ``steepest_ascent``, float32 (H, W).
        highest: the highest rank around it, likewise.
        pixels: places in the flat image, rising, int64 (M,); whole connected components.

    Returns:
        int64 (M,): 1..N in the order of the peaks' places.
    """
    ascent = highest.ravel()[pixels] - rank.ravel()[pixels]
    target = pixels + _steps(rank.shape[1])[ascent.astype(np.int64) % _BASE]
    place = np.empty(rank.size, np.int64)
    numbers = np.arange(len(pixels))
    place[pixels] = numbers
    pointer = place[target]
    while True:
        further = pointer[pointer]
        if np.array_equal(further, pointer):
            break
        pointer = further
    return np.cumsum(pointer == numbers)[pointer]


def _steps(width: int) -> np.ndarray:
    """Way in the flat image from a pixel to its neighbour, by the difference of their phases, int64 (32,)."""
    steps = np.zeros(_BASE, np.int64)
    for rows, columns in product(range(-2, 3), repeat=2):  # differences of two numbers out of 0, 1, 2
        steps[_ROW_PHASE * rows + columns] = ((rows + 1) % 3 - 1) * width + (columns + 1) % 3 - 1
    return steps


def runs_of(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the runs of equal numbers begin, and how long they are, int64 (R,) each."""
    new = np.ones(len(numbers), bool)
    np.not_equal(numbers[1:], numbers[:-1], out=new[1:])
    return _runs(new)


def _runs(new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Starts and lengths of the runs, given where a new one begins, bool (M,)."""
    starts = np.flatnonzero(new)
    lengths = np.empty_like(starts)
    np.subtract(starts[1:], starts[:-1], out=lengths[:-1])
    lengths[-1:] = len(new) - starts[-1:]
    return starts, lengths


def measure_basins(basin: np.ndarray, pixels: np.ndarray, heights: np.ndarray) -> Basins:
    """Sum up basins and their borders, over runs of pixels of one basin in one row.

    Args:
        basin: number of each pixel's basin, int64 (M,), 1..N.
        pixels: places in the flat image, rising, int64 (M,).
        heights: uint16 (H, W).
    """
    size = int(basin.max(initial=0)) + 1
    value = heights.ravel()[pixels].astype(np.int64)
    new = np.ones(len(pixels) + 1, bool)
    new[1:-1] = (basin[1:] != basin[:-1]) | (pixels[1:] - pixels[:-1] != 1)
    new[np.searchsorted(pixels, np.arange(0, heights.size, heights.shape[1]))] = True  # the first ones of the rows
    starts, length = _runs(new[:-1])
    run = basin[starts]
    y = pixels[starts] // heights.shape[1]
    x = pixels[starts] - y * heights.shape[1]
    # Sums of 0, 1, ... and of their squares; all sums are of whole numbers under 2^53, so they are exact in any order.
    steps, squares = length * (length - 1) // 2, length * (length - 1) * (2 * length - 1) // 6
    x_sum = length * x + steps
    terms = (x_sum, length * y, x * (x_sum + steps) + squares, length * y * y, x_sum * y)
    moments = np.stack([np.bincount(run, term, size) for term in terms], axis=1)
    height_max = np.zeros(size)
    np.maximum.at(height_max, run, np.maximum.reduceat(value, starts).astype(np.float64))
    area, height_sum = (np.bincount(run, term, size) for term in (length, np.add.reduceat(value, starts)))
    pairs, borders = _measure_borders(basin, pixels, heights, starts, size)
    return Basins(area, moments, height_sum, height_max, pairs, borders)


def _measure_borders(
    basin: np.ndarray, pixels: np.ndarray, heights: np.ndarray, starts: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of neighbours and sums over their borders; ``starts`` tells which pixels differ from the one before."""
    flat_heights, width = heights.ravel(), heights.shape[1]
    # Borders between a pixel and the one to its right ...
    right = starts[1:]
    right = right[(pixels[right] - pixels[right - 1] == 1) & (pixels[right] % width > 0)]
    # ... and the one below it; a row more, so that every pixel has one.
    number = np.zeros(heights.size + width, np.int32)
    number[pixels] = basin
    other = number[pixels + width]
    upper = np.flatnonzero((other != basin) & (other > 0))
    first = np.concatenate([basin[right - 1], basin[upper]])
    second = np.concatenate([basin[right], other[upper]])
    here = np.concatenate([pixels[right] - 1, pixels[upper]])
    there = np.concatenate([pixels[right], pixels[upper] + width])
    key = np.minimum(first, second) * size + np.maximum(first, second)
    order = np.argsort(key, kind="stable")
    key, value = key[order], np.minimum(flat_heights[here], flat_heights[there])[order].astype(np.float64)
    starts, edges = runs_of(key)
    pairs = np.stack(np.divmod(key[starts], size), axis=1)
    sums, highest = np.add.reduceat(value, starts), np.maximum.reduceat(value, starts)
    return pairs, np.stack([edges, sums, highest], axis=1)
