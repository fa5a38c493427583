"""Cells as the outlines that explain the edges of a bright-field image best, none over another.

Clear outlines come first. Then doubtful ones may take what is left, and at last clumps without any outline of a single
cell (``cells_rest.py``): a person is to see them, and ``measure_cells`` tells what speaks against them.
"""

from __future__ import annotations

import math

import numpy as np

from ctc_mm.imaging.cell_centres import FULL_EDGE, Edges, circle_radii, find_centres
from ctc_mm.imaging.cell_levels import CellLevels, CellSize, edge_gradients, noise_map, working_image
from ctc_mm.imaging.cell_outlines import ANGLES, Outlines, trace_outlines
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
# How far around an outline is that outline, for those of its neighbours.
RIM_PX = 1.5
# What a drawn outline takes of the pixels that it runs through.
_HALF_PX = 0.5


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
        window, depth = _depth(outlines, index, labels.shape, levels.shrink)
        mask = depth >= 0
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
    # Rounded: sums of other bits in other tiles must not change the order. Place decides last: it turns with the image.
    areas = np.round(outlines.areas_px, 3)
    rank = np.round(gain.sum(axis=1) / counted + LARGER_BONUS * np.log(np.maximum(areas, 1)), 5)
    order = np.lexsort((outlines.centres_yx[:, 1], outlines.centres_yx[:, 0], -areas, -rank))
    return order[chosen[order]]


def _choose_compatible(outlines: Outlines, shape_hw: tuple[int, int]) -> list[int]:
    """Take outlines in order, leaving out those that lie on better ones or are the gap between them."""
    taken = np.zeros(shape_hw, bool)
    rims = np.zeros(shape_hw, np.int8)
    faint = outlines.mean_edges < LEAST_MEAN_EDGE
    chosen = []
    for index in range(len(outlines.polarity)):
        window, depth = _depth(outlines, index, shape_hw)
        mask = depth >= 0
        if not mask.any() or taken[window][mask].mean() > MOST_OVERLAP:
            continue
        if faint[index] and _part_taken(outlines, index, taken) > MOST_NEAR:
            continue
        polarity = int(outlines.polarity[index])
        x, y = np.rint(outlines.points_xy(index)[outlines.inside[index]]).astype(np.int64).T
        if (rims[y, x] == -polarity).mean() > MOST_SHARED:
            continue
        taken[window] |= mask
        rims[window][np.abs(depth - _HALF_PX) <= RIM_PX] = polarity
        chosen.append(index)
    return chosen


def _part_taken(outlines: Outlines, index: int, taken: np.ndarray) -> float:
    """Part of a widened outline that lies on what is taken."""
    centre_xy = outlines.centres_yx[index, ::-1]
    x, y = np.rint(centre_xy + ALONE_WIDER * (outlines.points_xy(index) - centre_xy)).astype(np.int64).T
    inside = (x >= 0) & (x < taken.shape[1]) & (y >= 0) & (y < taken.shape[0])
    return float(taken[y[inside], x[inside]].sum()) / len(x)


def _depth(
    outlines: Outlines, index: int, shape_hw: tuple[int, int], scale: int = 1
) -> tuple[tuple[slice, slice], np.ndarray]:
    """How far inside an outline pixels lie along the ray from its centre, the pixels it runs through with it.

    Reckoned, not drawn: a drawn polygon of a mirrored image has other pixels.

    Args:
        outlines: outlines.
        index: which of them.
        shape_hw: height and width of the image.
        scale: pixels of that image per pixel of the one that was traced.

    Returns:
        The window of the image around the outline, and the depths in it, float64.
    """
    radii = outlines.radii_px[index] * scale
    places = []
    for centre, length in zip((outlines.centres_yx[index] + 0.5) * scale - 0.5, shape_hw, strict=True):
        reach = radii.max() + 2
        start, stop = (
            int(np.clip(edge, 0, length)) for edge in (np.floor(centre - reach), np.ceil(centre + reach) + 1)
        )
        places.append((slice(start, stop), np.arange(start, stop) - centre))
    (rows, y), (columns, x) = places
    turn = np.arctan2(y[:, None], x[None, :]) * (ANGLES / (2 * np.pi)) % ANGLES
    radius = np.interp(turn, np.arange(ANGLES + 1), np.append(radii, radii[0]))
    return (rows, columns), radius + _HALF_PX - np.hypot(y[:, None], x[None, :])
