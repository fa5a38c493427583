"""Cells as the outlines that explain the edges of a bright-field image best, none over another.

Clear outlines come first. Then doubtful ones may take what is left, and at last clumps without any outline of a single
cell (``cells_rest.py``): a person is to see them, and ``measure_cells`` tells what speaks against them.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from ctc_mm.imaging.cell_centres import FULL_EDGE, Edges, circle_radii, find_centres
from ctc_mm.imaging.cell_levels import CellLevels, CellSize, edge_gradients, noise_map, working_image
from ctc_mm.imaging.cell_outlines import Outlines, trace_outlines
from ctc_mm.imaging.cells_rest import find_clumps

# Mean change of light along an outline, over that of an edge of full strength, that makes it a cell's.
LEAST_MEAN_EDGE = 0.65
# Part of an outline that lies inside the image, at least; and of a doubtful one.
LEAST_INSIDE = 0.6
DOUBTFUL_INSIDE = 0.4
# A ring inside an outline that changes the light more than this many times as much: the outline is a speck's halo.
INNER_FACTOR = 1.3
# Doubtful outlines are larger than the smallest cell by this factor, and either this strong, whatever they hold ...
DOUBTFUL_SIZE = 1.2
STRONG_MEAN_EDGE = 0.9
# ... or this faint, where at most this part of the outline, widened so much, lies on other cells: not in their halos.
FAINT_MEAN_EDGE = 0.55
ALONE_WIDER, MOST_NEAR = 1.5, 0.2
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
    clear, doubtful = _judge(outlines, least_px)
    outlines = outlines.take(np.concatenate([_rank(outlines, clear), _rank(outlines, doubtful)]))
    chosen = _choose_compatible(outlines, working.shape)
    for number, index in enumerate(chosen, start=1):
        points_xy = (outlines.points_xy(index) + 0.5) * levels.shrink - 0.5
        window, mask = _fill(points_xy, labels.shape)
        labels[window][mask & (labels[window] == 0)] = number
    found = labels[:: levels.shrink, :: levels.shrink] > 0
    clumps = find_clumps(edges, found, least_px, most_px)
    clumps = clumps.repeat(levels.shrink, axis=0).repeat(levels.shrink, axis=1)[: labels.shape[0], : labels.shape[1]]
    return np.where((clumps > 0) & (labels == 0), clumps + len(chosen), labels)


def halo_px(size: CellSize) -> int:
    """How far from a cell's centre pixels may lie that decide about it, a multiple of 64.

    Votes and outline reach 2.4 radii (twice traced); what it overlaps, and what those overlap, is counted in. A longer
    chain of overlapping outlines can reach further, but each link weakens what comes through.
    """
    return 64 * math.ceil(3 * size.most_px / 64)


def _judge(outlines: Outlines, least_px: float) -> tuple[np.ndarray, np.ndarray]:
    """Which outlines are clearly a cell's, and which others may be; bool (N,) each."""
    inside = outlines.inside.mean(axis=1)
    counted = np.maximum(outlines.inside.sum(axis=1), 1)
    mean_edges, areas = outlines.mean_edges, outlines.areas_px
    hollow = outlines.inner_change <= INNER_FACTOR * outlines.change.sum(axis=1) / counted
    smallest = np.pi / 4 * least_px**2
    clear = (mean_edges >= LEAST_MEAN_EDGE) & (inside >= LEAST_INSIDE) & hollow & (areas >= smallest)
    strong = (mean_edges >= STRONG_MEAN_EDGE) & (inside >= np.where(hollow, DOUBTFUL_INSIDE, LEAST_INSIDE))
    faint = (mean_edges >= FAINT_MEAN_EDGE) & (inside >= LEAST_INSIDE) & hollow
    return clear, ~clear & (strong | faint) & (areas >= DOUBTFUL_SIZE**2 * smallest)


def _rank(outlines: Outlines, chosen: np.ndarray) -> np.ndarray:
    """Indices of the chosen outlines, best first."""
    counted = np.maximum(outlines.inside.sum(axis=1), 1)
    gain = np.sign(outlines.change) * np.log1p(np.abs(outlines.change) / FULL_EDGE) / math.log1p(4)
    # Rounded: sums of other bits in other tiles must not change the order.
    rank = np.round(gain.sum(axis=1) / counted + LARGER_BONUS * np.log(np.maximum(outlines.areas_px, 1)), 5)
    order = np.lexsort((outlines.centres_yx[:, 1], outlines.centres_yx[:, 0], -rank))
    return order[chosen[order]]


def _choose_compatible(outlines: Outlines, shape_hw: tuple[int, int]) -> list[int]:
    """Take outlines in order, leaving out those that lie on better ones or are the gap between them."""
    taken = np.zeros(shape_hw, bool)
    rims = np.zeros(shape_hw, np.int8)
    faint = outlines.mean_edges < LEAST_MEAN_EDGE
    chosen = []
    for index in range(len(outlines.polarity)):
        points_xy = outlines.points_xy(index)
        window, mask = _fill(points_xy, shape_hw)
        if not mask.any() or taken[window][mask].mean() > MOST_OVERLAP:
            continue
        if faint[index] and _part_taken(outlines, index, taken) > MOST_NEAR:
            continue
        polarity = int(outlines.polarity[index])
        x, y = np.rint(points_xy[outlines.inside[index]]).astype(np.int64).T
        if (rims[y, x] == -polarity).mean() > MOST_SHARED:
            continue
        taken[window] |= mask
        cv2.polylines(rims, [_fixed_point(points_xy)], isClosed=True, color=polarity, thickness=3, shift=_SHIFT)
        chosen.append(index)
    return chosen


def _part_taken(outlines: Outlines, index: int, taken: np.ndarray) -> float:
    """Part of a widened outline that lies on what is taken."""
    centre_xy = outlines.centres_yx[index, ::-1]
    x, y = np.rint(centre_xy + ALONE_WIDER * (outlines.points_xy(index) - centre_xy)).astype(np.int64).T
    inside = (x >= 0) & (x < taken.shape[1]) & (y >= 0) & (y < taken.shape[0])
    return float(taken[y[inside], x[inside]].sum()) / len(x)


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
