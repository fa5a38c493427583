"""What raised the score of a cell, as a map on the slide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

# Between one image and a batch of them, and outlines and the masks they are of.
SCORE_TOLERANCE = 0.02


@dataclass(frozen=True, eq=False)
class CellCAM:
    """What raised the score of one cell.

    Attributes:
        cam: float32 (h, w), 0 to 1; 1 is the strongest place of what the network saw.
        region_xyxy: what the map covers, in pixels of the slide.
    """

    cam: np.ndarray
    region_xyxy: tuple[float, float, float, float]


def heat_pictures(grounds: np.ndarray, windows_xyxy: np.ndarray, cams: Sequence[CellCAM]) -> np.ndarray:
    """Lay maps over thumbnails.

    Args:
        grounds: uint8 (N, S, S, 3) RGB.
        windows_xyxy: (N, 4) px of the slide that each shows.
        cams: one each.

    Returns:
        uint8 (N, S, S, 3) RGB; red is the strongest place of all that the network saw, so a cell that did not matter
        stays grey.
    """
    from ctc_mm.explain.draw import blend_heat  # brings torch along

    pictures = np.empty_like(grounds)
    for place, one in enumerate(cams):
        fitted = _shown_part(one, windows_xyxy[place], grounds.shape[1])
        pictures[place] = blend_heat(grounds[place], fitted, top=float(one.cam.max()))
    return pictures


def _shown_part(one: CellCAM, window_xyxy: Sequence[float], side: int) -> np.ndarray:
    """The part of a map that a thumbnail shows, float32 (side, side); 0 beyond it."""
    height, width = one.cam.shape
    left, top, right, bottom = one.region_xyxy
    per_px = (window_xyxy[2] - window_xyxy[0]) / side
    scale_x, scale_y = width / (right - left), height / (bottom - top)
    # Middles of pixels onto middles of pixels.
    to_map = np.array(
        [
            [per_px * scale_x, 0, (window_xyxy[0] - left + per_px / 2) * scale_x - 0.5],
            [0, per_px * scale_y, (window_xyxy[1] - top + per_px / 2) * scale_y - 0.5],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(np.asarray(one.cam, np.float32), to_map, (side, side), flags=flags)


def share_of_top(cam: np.ndarray) -> np.ndarray:
    """A map as a share of its strongest place, float32; one that is 0 everywhere stays so."""
    top = float(cam.max()) if cam.size else 0.0
    return (cam / top if top > 0 else cam).astype(np.float32)


def same_score(one: float, other: float) -> bool:
    """Whether the network said the same again; arithmetic may differ a little with the size of a batch."""
    return abs(one - other) <= SCORE_TOLERANCE
