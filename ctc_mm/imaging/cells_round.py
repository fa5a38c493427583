"""Cells as the outlines that explain the edges of a bright-field image best, none over another."""

from __future__ import annotations

import math

import cv2
import numpy as np

from ctc_mm.imaging.cell_centres import FULL_EDGE, Edges, circle_radii, find_centres
from ctc_mm.imaging.cell_levels import CellLevels, CellSize, edge_gradients, noise_map, working_image
from ctc_mm.imaging.cell_outlines import Outlines, trace_outlines

# Mean change of light along an outline, over that of an edge of full strength, that makes it a cell's.
LEAST_MEAN_EDGE = 0.65
# Part of an outline that lies inside the image, at least.
LEAST_INSIDE = 0.6
# A ring inside an outline that changes the light more than this many times as much: the outline is a speck's halo.
INNER_FACTOR = 1.3
# Part of a cell that may lie on cells of stronger outline.
MOST_OVERLAP = 0.2
# Part of an outline that may be the other side of its neighbours' outlines: more, and it is the gap between them.
MOST_SHARED = 0.35
# How much a larger outline is preferred to a smaller one, per factor e of area.
LARGER_BONUS = 0.1
# Bits after the point of OpenCV's polygons.
_SHIFT = 4


def segment_round(
    image: np.ndarray, size: CellSize, levels: CellLevels, origin_xy: tuple[int, int] = (0, 0)
) -> np.ndarray:
    """Find round cells.

    Args:
        image: (H, W) or (H, W, 3), checked.
        size: diameters of a cell.
        levels: levels of the field the image is of.
        origin_xy: where the image's first pixel lies in the field.

    Returns:
        int32 (H, W): 0 background, cells 1..N, strongest outline first.
    """
    labels = np.zeros(image.shape[:2], np.int32)
    if levels.white <= 0:
        return labels
    working = working_image(image, levels)
    edges = Edges(*edge_gradients(working, size.smoothing_px), noise_map(levels, working.shape, origin_xy))
    least_px, most_px = size.least_px / levels.shrink, size.most_px / levels.shrink
    outlines = trace_outlines(edges, find_centres(edges, circle_radii(least_px, most_px)))
    outlines = outlines.take(_rank_plausible(outlines, least_px))
    chosen = _choose_compatible(outlines, working.shape)
    for number, index in enumerate(chosen, start=1):
        points_xy = (outlines.points_xy(index) + 0.5) * levels.shrink - 0.5
        window, mask = _fill(points_xy, labels.shape)
        labels[window][mask & (labels[window] == 0)] = number
    return labels


def halo_px(size: CellSize) -> int:
    """How far from a cell's centre pixels may lie that decide about it, a multiple of 64.

    Votes and outline reach 2.4 radii (twice traced); what it overlaps, and what those overlap, is counted in. A longer
    chain of overlapping outlines can reach further, but each link weakens what comes through.
    """
    return 64 * math.ceil(3 * size.most_px / 64)


def _rank_plausible(outlines: Outlines, least_px: float) -> np.ndarray:
    """Indices of the outlines that may be cells, best first."""
    counted = np.maximum(outlines.inside.sum(axis=1), 1)
    change = outlines.change
    areas = outlines.areas_px
    plausible = (
        (outlines.mean_edges >= LEAST_MEAN_EDGE)
        & (counted >= LEAST_INSIDE * change.shape[1])
        & (outlines.inner_change <= INNER_FACTOR * change.sum(axis=1) / counted)
        & (areas >= np.pi / 4 * least_px**2)
    )
    strength = (np.sign(change) * np.log1p(np.abs(change) / FULL_EDGE)).sum(axis=1) / counted / math.log1p(4)
    # Rounded: sums of other bits in other tiles must not change the order.
    rank = np.round(strength + LARGER_BONUS * np.log(np.maximum(areas, 1)), 5)
    order = np.lexsort((outlines.centres_yx[:, 1], outlines.centres_yx[:, 0], -rank))
    return order[plausible[order]]


def _choose_compatible(outlines: Outlines, shape_hw: tuple[int, int]) -> list[int]:
    """Take outlines in order, leaving out those that lie on better ones or are the gap between them."""
    taken = np.zeros(shape_hw, bool)
    rims = np.zeros(shape_hw, np.int8)
    chosen = []
    for index in range(len(outlines.polarity)):
        points_xy = outlines.points_xy(index)
        window, mask = _fill(points_xy, shape_hw)
        if not mask.any() or taken[window][mask].mean() > MOST_OVERLAP:
            continue
        polarity = int(outlines.polarity[index])
        x, y = np.rint(points_xy[outlines.inside[index]]).astype(np.int64).T
        if (rims[y, x] == -polarity).mean() > MOST_SHARED:
            continue
        taken[window] |= mask
        cv2.polylines(rims, [_fixed_point(points_xy)], isClosed=True, color=polarity, thickness=3, shift=_SHIFT)
        chosen.append(index)
    return chosen


def _fill(points_xy: np.ndarray, shape_hw: tuple[int, int]) -> tuple[tuple[slice, slice], np.ndarray]:
    """The window of the image around an outline, and the mask of its inside in that window."""
    height, width = shape_hw
    x0, y0 = np.floor(points_xy.min(axis=0)).astype(np.int64) - 1
    x1, y1 = np.ceil(points_xy.max(axis=0)).astype(np.int64) + 2
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    cv2.fillPoly(mask, [_fixed_point(points_xy - (x0, y0))], 1, shift=_SHIFT)
    left, top = max(x0, 0), max(y0, 0)
    right, bottom = max(min(x1, width), left), max(min(y1, height), top)
    inside = mask[top - y0 : bottom - y0, left - x0 : right - x0].astype(bool)
    return (slice(top, bottom), slice(left, right)), inside


def _fixed_point(points_xy: np.ndarray) -> np.ndarray:
    return np.rint(points_xy * 2**_SHIFT).astype(np.int32)
