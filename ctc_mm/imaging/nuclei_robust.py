"""Nuclei by a local threshold, watershed within the components that hold more than one."""

from __future__ import annotations

import cv2
import numpy as np

from ctc_mm.imaging.nucleus_levels import BLOCK_PX, NucleusLevels

# Tiles overlap by at least this much; then every nucleus up to 60 px across is whole in the tile that owns it.
NUCLEUS_HALO_PX = 128
MIN_AREA_PX = 20


def segment_robust(image: np.ndarray, levels: NucleusLevels, origin_xy: tuple[int, int] = (0, 0)) -> np.ndarray:
    """Find the nuclei of a field or of a tile of it, int32 labels (H, W)."""
    above = image.astype(np.float32) - background_of(levels, image.shape, origin_xy)
    smooth = cv2.GaussianBlur(above, (5, 5), 1.0, borderType=cv2.BORDER_REFLECT_101)
    mask = (smooth > levels.threshold).astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4, ltype=cv2.CV_32S)
    kept = stats[:, cv2.CC_STAT_AREA] >= MIN_AREA_PX
    kept[0] = False
    numbers = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    return numbers[labels]


def background_of(levels: NucleusLevels, shape: tuple[int, int], origin_xy: tuple[int, int]) -> np.ndarray:
    """Background of a tile, float32 (H, W): bilinear between the centres of the blocks."""
    grid = np.array(levels.background)
    rows = _interpolation(grid.shape[0], shape[0], origin_xy[1])
    columns = _interpolation(grid.shape[1], shape[1], origin_xy[0])
    return (rows @ grid @ columns.T).astype(np.float32)


def _interpolation(n_blocks: int, length: int, start: int) -> np.ndarray:
    place = np.clip((np.arange(start, start + length) + 0.5) / BLOCK_PX - 0.5, 0, n_blocks - 1)
    left = np.minimum(place.astype(np.int64), max(n_blocks - 2, 0))
    weights = np.zeros((length, n_blocks))
    weights[np.arange(length), left] = 1 - (place - left)
    if n_blocks > 1:
        weights[np.arange(length), left + 1] = place - left
    return weights
