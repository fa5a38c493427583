"""Small pictures of the cells of a slide, cut while the slide streams by."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from ctc_mm.counting.report.look import ChannelLook
from ctc_mm.errors import ImageReadError
from ctc_mm.imaging.field import Field, RegionXYXY

# A cell fills less than two thirds of its picture, so that its surroundings are seen.
ROOM = 1.6
LEAST_WINDOW_PX = 16
# Sides are multiples of JPEG's blocks, so that no picture shines into its neighbour.
BLOCK_PX = 8
TILE_PX = 1024
# Shown where the slide ends.
GROUND = 232


@dataclass(frozen=True, eq=False)
class Thumbnails:
    """Pictures of cells.

    Attributes:
        strips: uint8 (N, S, P * S, 3) RGB, the panels of a cell side by side.
        windows_xyxy: int (N, 4) px of the slide that each shows; it may leave the slide.
        problems: place of a cell to the reason why it could not be read; its picture is plain.
    """

    strips: np.ndarray
    windows_xyxy: np.ndarray
    problems: dict[int, str]

    @property
    def side_px(self) -> int:
        """Side of a picture."""
        return self.strips.shape[1]


def choose_window_px(boxes_xyxy: np.ndarray) -> int:
    """Side of the square in px of the slide that is shown of a cell: one for nearly all, so that sizes compare."""
    if not len(boxes_xyxy):
        return LEAST_WINDOW_PX
    longest = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).max(axis=1)
    return max(LEAST_WINDOW_PX, math.ceil(ROOM * float(np.percentile(longest, 90)) / 2) * 2)


def windows_around(boxes_xyxy: np.ndarray, window_px: int) -> np.ndarray:
    """Squares around cells, int64 (N, 4): of one size, larger for a cell that would fill it.

    Args:
        boxes_xyxy: float (N, 4) px.
        window_px: side of the common square.
    """
    boxes = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)
    longest = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
    sides = np.maximum(window_px, np.ceil(longest * 1.2).astype(np.int64))
    corners = np.floor((boxes[:, :2] + boxes[:, 2:] - sides[:, None]) / 2).astype(np.int64)
    return np.concatenate([corners, corners + sides[:, None]], axis=1)


def choose_side_px(window_px: int, most_px: int) -> int:
    """Side of a picture: the window's own pixels where they fit into ``most_px``."""
    return max(BLOCK_PX * 2, min(window_px, most_px) // BLOCK_PX * BLOCK_PX)


def cut_thumbnails(
    field: Field,
    boxes_xyxy: np.ndarray,
    look: ChannelLook,
    *,
    most_side_px: int = 96,
    tile_px: int = TILE_PX,
    track: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> Thumbnails:
    """Cut pictures of cells; the slide is read tile by tile, each once, and only where there are cells.

    Args:
        field: the slide.
        boxes_xyxy: float (N, 4) px inside it.
        look: how to show it.
        most_side_px: largest side of a picture.
        tile_px: side of a tile, which bounds the memory; the pictures do not depend on it.
        track: wraps the loop over tiles, for a progress bar.

    Returns:
        One strip a cell, in the order of the boxes.
    """
    window_px = choose_window_px(boxes_xyxy)
    side = choose_side_px(window_px, most_side_px)
    windows = windows_around(boxes_xyxy, window_px)
    strips = np.full((len(windows), side, side * len(look.panels), 3), GROUND, np.uint8)
    problems: dict[int, str] = {}
    for places in track(_by_tile(windows, tile_px)):
        region = _clipped(_union(windows[places]), field.size_wh)
        try:
            block = field.read(look.channels, region)
        except ImageReadError:
            block = None  # one damaged cell is not to cost its neighbours their pictures
        for place in places:
            window = tuple(windows[place].tolist())
            try:
                strips[place] = _strip(*_pixels(field, look, block, region, window), window, look, side)
            except ImageReadError as error:
                problems[place] = str(error)
    return Thumbnails(strips, windows, problems)


def _by_tile(windows: np.ndarray, tile_px: int) -> list[list[int]]:
    """Places of cells grouped by the tile of their window's middle, tiles row by row."""
    tiles: dict[tuple[int, int], list[int]] = {}
    for place, (x0, y0, x1, y1) in enumerate(windows.tolist()):
        tiles.setdefault(((y0 + y1) // 2 // tile_px, (x0 + x1) // 2 // tile_px), []).append(place)
    return [tiles[tile] for tile in sorted(tiles)]


def _union(windows: np.ndarray) -> tuple[int, int, int, int]:
    (x0, y0), (x1, y1) = windows[:, :2].min(axis=0).tolist(), windows[:, 2:].max(axis=0).tolist()
    return x0, y0, x1, y1


def _clipped(region: RegionXYXY, size_wh: tuple[int, int]) -> RegionXYXY:
    x0, y0, x1, y1 = region
    return max(0, x0), max(0, y0), min(size_wh[0], x1), min(size_wh[1], y1)


def _pixels(
    field: Field, look: ChannelLook, block: np.ndarray | None, region: RegionXYXY, window: RegionXYXY
) -> tuple[np.ndarray, RegionXYXY]:
    """The tile's pixels, or those of the window alone where the tile could not be read, and where they lie."""
    if block is not None:
        return block, region
    alone = _clipped(window, field.size_wh)
    return field.read(look.channels, alone), alone


def _strip(block: np.ndarray, region: RegionXYXY, window: RegionXYXY, look: ChannelLook, side: int) -> np.ndarray:
    x0, y0, x1, y1 = inside = _clipped(window, (region[2], region[3]))
    part = block[:, y0 - region[1] : y1 - region[1], x0 - region[0] : x1 - region[0]]
    panels = []
    for picture in look.draw(part):
        canvas = np.full((window[3] - window[1], window[2] - window[0], 3), GROUND, np.uint8)
        left, top = inside[0] - window[0], inside[1] - window[1]
        canvas[top : top + y1 - y0, left : left + x1 - x0] = picture
        panels.append(canvas if side == len(canvas) else cv2.resize(canvas, (side, side), interpolation=cv2.INTER_AREA))
    return np.concatenate(panels, axis=1)
