"""What no outline of a single cell explains: clumps of cells (edges, fill, opening: reading 22)."""

from __future__ import annotations

import math

import cv2
import numpy as np

from ctc_mm.imaging.cell_centres import Edges

# Edges this many times as strong as those of noise are of something.
CLEAR_EDGE = 4.0
# The edges' blur, which is taken off around the foreground.
_BLUR_PX = 2
# In parts of the smallest cell's diameter: the foreground holds discs of this diameter, specks do not ...
_FOREGROUND_DISC = 1.2
# ... what is left beside the cells that were found, and this far around them, holds discs of that, halos do not ...
_HALO, _REST_DISC = 0.15, 0.6
# ... and has at least this part of the smallest cell's area.
_LEAST_AREA = 0.5


def find_clumps(edges: Edges, found: np.ndarray, least_px: float, most_px: float) -> np.ndarray:
    """Find what is left of the foreground once the cells that were found, and their halos, are taken away.

    Args:
        edges: edges of the image.
        found: bool (H, W), where cells were found.
        least_px: smallest diameter of a cell.
        most_px: largest.

    Returns:
        int32 (H, W): 0 background, clumps 1..N.
    """
    solid = _fill_gaps(edges.significance > CLEAR_EDGE, most_px).astype(np.uint8)
    solid = cv2.erode(solid, _disc(_BLUR_PX), borderType=cv2.BORDER_REPLICATE)
    solid = _open(solid, _FOREGROUND_DISC * least_px)
    halos = cv2.dilate(found.astype(np.uint8), _disc(round(_HALO * least_px)))
    _, rest, stats, _ = cv2.connectedComponentsWithStats(_open(solid & (1 - halos), _REST_DISC * least_px))
    large = stats[:, cv2.CC_STAT_AREA] >= _LEAST_AREA * math.pi / 4 * least_px**2
    large[0] = False
    return (np.cumsum(large) * large).astype(np.int32)[rest]


def _open(mask: np.ndarray, diameter_px: float) -> np.ndarray:
    return cv2.morphologyEx(mask, cv2.MORPH_OPEN, _disc(round(diameter_px / 2)), borderType=cv2.BORDER_REPLICATE)


def _fill_gaps(mask: np.ndarray, most_px: float) -> np.ndarray:
    """Fill the gaps in a mask that are no larger than a cell, whose inside may be without edges."""
    _, gaps, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    sizes_wh = stats[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]]
    # The image's edge may close a gap, but what reaches from edge to edge is none.
    small = ((sizes_wh <= most_px) & (sizes_wh < mask.shape[::-1])).all(axis=1)
    return mask | small[gaps]


def _disc(radius_px: int) -> np.ndarray:
    y, x = np.mgrid[-radius_px : radius_px + 1, -radius_px : radius_px + 1]
    return (x**2 + y**2 <= (radius_px + 0.5) ** 2).astype(np.uint8)
