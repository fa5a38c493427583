"""What a network sees of a slide: windows on a grid from the slide's origin, their cores, and tiles that group them.

A network's scores depend on the whole window (CBAM pools over it), so windows are the same however a slide is cut into
tiles for reading. Every point of the slide lies in the core of exactly one window, which owns the cells centred there.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ctc_mm.imaging.field import RegionXYXY

# Windows that overlap more than this are computed more than a dozen times over.
LARGEST_OVERLAP_SHARE = 0.75


@dataclass(frozen=True)
class WindowGrid:
    """Windows over a slide, numbered row by row.

    Window (column i, row j) begins at ``(i, j) * stride`` with ``stride = window - overlap``; the last ones of a row or
    column may reach beyond the slide. Its core leaves half of the overlap to each neighbour; at the slide's edges it
    reaches the edge, so that cores tile the slide.

    Attributes:
        size_wh: width and height of the slide in pixels.
        window_wh: width and height of a window in pixels of the slide.
        overlap_px: how far neighbours overlap; larger than any cell, so that the owner of a cell sees all of it.

    Raises:
        ValueError: a side under 1, an overlap below 0 or above three quarters of the window.
    """

    size_wh: tuple[int, int]
    window_wh: tuple[int, int]
    overlap_px: int

    def __post_init__(self) -> None:
        for name in ("size_wh", "window_wh"):
            sides = getattr(self, name)
            if len(sides) != 2 or min(sides) < 1 or any(int(side) != side for side in sides):
                raise ValueError(f"`{name}` must be two whole numbers of pixels above 0. Received: {sides}")
        if not 0 <= self.overlap_px <= LARGEST_OVERLAP_SHARE * min(self.window_wh):
            raise ValueError(
                f"`overlap_px` must be from 0 to {LARGEST_OVERLAP_SHARE:g} of the window of {self.window_wh[0]} x "
                f"{self.window_wh[1]} px. Received: {self.overlap_px}; allow smaller cells only (--max-cell-um), or "
                "use a model trained on larger images"
            )

    @property
    def stride_wh(self) -> tuple[int, int]:
        """Distance between neighbours in pixels."""
        return self.window_wh[0] - self.overlap_px, self.window_wh[1] - self.overlap_px

    @property
    def n_wh(self) -> tuple[int, int]:
        """Columns and rows of windows."""
        columns, rows = (
            1 + max(0, -(-(size - window) // stride))
            for size, window, stride in zip(self.size_wh, self.window_wh, self.stride_wh, strict=True)
        )
        return columns, rows

    @property
    def n_windows(self) -> int:
        """Number of windows."""
        columns, rows = self.n_wh
        return columns * rows

    def windows_xyxy(self) -> np.ndarray:
        """Half-open pixels of every window, int64 (N, 4); the last ones may reach beyond the slide."""
        starts = self._places() * np.array(self.stride_wh)
        return np.concatenate([starts, starts + np.array(self.window_wh)], axis=1)

    def cores_xyxy(self) -> np.ndarray:
        """Half-open pixels of the slide that each window owns, int64 (N, 4); together they are the slide."""
        places, stride, lead = self._places(), np.array(self.stride_wh), self.overlap_px // 2
        low, high = places * stride + lead, (places + 1) * stride + lead
        low = np.where(places == 0, 0, low)
        high = np.where(places == np.array(self.n_wh) - 1, np.array(self.size_wh), high)
        return np.concatenate([low, high], axis=1)

    def owners_of(self, centres_xy: np.ndarray) -> np.ndarray:
        """Number of the window in whose core each point lies, int64 (N,); points beyond the slide go to the nearest."""
        centres = np.asarray(centres_xy, np.float64).reshape(-1, 2)
        places = np.floor((centres - self.overlap_px // 2) / np.array(self.stride_wh)).astype(np.int64)
        places = np.clip(places, 0, np.array(self.n_wh) - 1)
        return places[:, 1] * self.n_wh[0] + places[:, 0]

    def outside_core_px(self, centres_xy: np.ndarray, windows: np.ndarray) -> np.ndarray:
        """How far each point lies outside the core of its window, along the axis where it is most; 0 inside."""
        centres = np.asarray(centres_xy, np.float64).reshape(-1, 2)
        cores = self.cores_xyxy()[np.asarray(windows, np.int64)]
        return np.maximum(np.maximum(cores[:, :2] - centres, centres - cores[:, 2:]).max(axis=1, initial=0), 0)

    def _places(self) -> np.ndarray:
        """Column and row of every window, int64 (N, 2)."""
        columns, rows = self.n_wh
        y, x = np.divmod(np.arange(columns * rows), columns)
        return np.stack([x, y], axis=1)


def check_overlap(overlap_px: float, max_cell_px: float) -> None:
    """Refuse an overlap in which a cell could be cut by every window that shows it.

    Raises:
        ValueError: the overlap does not exceed the largest allowed cell.
    """
    if not overlap_px > max_cell_px > 0:
        raise ValueError(
            f"the overlap of windows must exceed the largest allowed cell: overlap_px is {overlap_px:g}, the largest "
            f"cell {max_cell_px:g} px; give a larger --overlap-px or a smaller --max-cell-um"
        )


@dataclass(frozen=True)
class TileGrid:
    """Tiles: whole windows grouped for reading, numbered row by row.

    Attributes:
        windows: the windows.
        tile_px: about how many pixels of the slide a tile's side holds; a tile holds one window at least.

    Raises:
        ValueError: ``tile_px`` under 1.
    """

    windows: WindowGrid
    tile_px: int

    def __post_init__(self) -> None:
        if self.tile_px < 1:
            raise ValueError(f"`tile_px` must be at least 1. Received: {self.tile_px}")

    @property
    def windows_per_tile_wh(self) -> tuple[int, int]:
        """Columns and rows of windows in a tile; fewer in the last ones."""
        width, height = (
            min(max(1, self.tile_px // stride), count)
            for stride, count in zip(self.windows.stride_wh, self.windows.n_wh, strict=True)
        )
        return width, height

    @property
    def n_wh(self) -> tuple[int, int]:
        """Columns and rows of tiles."""
        columns, rows = (
            -(-count // per) for count, per in zip(self.windows.n_wh, self.windows_per_tile_wh, strict=True)
        )
        return columns, rows

    @property
    def n_tiles(self) -> int:
        """Number of tiles."""
        columns, rows = self.n_wh
        return columns * rows

    def windows_of(self, tile: int) -> np.ndarray:
        """Numbers of a tile's windows, rising, int64.

        Raises:
            ValueError: there is no such tile.
        """
        if not 0 <= tile < self.n_tiles:
            raise ValueError(f"`tile` must be from 0 to {self.n_tiles - 1}. Received: {tile}")
        row, column = divmod(tile, self.n_wh[0])
        (per_x, per_y), (columns, rows) = self.windows_per_tile_wh, self.windows.n_wh
        xs = np.arange(column * per_x, min((column + 1) * per_x, columns))
        ys = np.arange(row * per_y, min((row + 1) * per_y, rows))
        return (ys[:, None] * columns + xs[None, :]).ravel()


def touching(windows_xyxy: np.ndarray, regions_xyxy: Iterable[RegionXYXY]) -> np.ndarray:
    """Which windows (N, 4) show a pixel of any of the regions, bool (N,)."""
    touched = np.zeros(len(windows_xyxy), bool)
    starts, ends = windows_xyxy[:, :2], windows_xyxy[:, 2:]
    for x0, y0, x1, y1 in regions_xyxy:
        touched |= (starts < (x1, y1)).all(axis=1) & (ends > (x0, y0)).all(axis=1)
    return touched


def pack_windows(chosen: np.ndarray) -> str:
    """Marks of all windows, bool (N,), as text: what each unit of a large slide carries stays small."""
    return base64.b64encode(np.packbits(chosen)).decode("ascii")


def unpack_windows(packed: str, n_windows: int) -> np.ndarray:
    """Take back what ``pack_windows`` gave, bool (N,)."""
    return np.unpackbits(np.frombuffer(base64.b64decode(packed), np.uint8), count=n_windows).astype(bool)


def region_of(windows_xyxy: np.ndarray, size_wh: tuple[int, int]) -> RegionXYXY:
    """The part of the slide that some windows (N, 4) show together, half-open pixels."""
    x0, y0 = windows_xyxy[:, :2].min(axis=0)
    x1, y1 = np.minimum(windows_xyxy[:, 2:].max(axis=0), np.array(size_wh))
    return int(x0), int(y0), int(x1), int(y1)


def cut_window(block: np.ndarray, block_xyxy: RegionXYXY, window_xyxy: Iterable[int]) -> np.ndarray:
    """Cut a window out of a block of a slide; what lies beyond the slide is mirrored from the window's own pixels.

    Args:
        block: (h, w) or (h, w, C), any dtype: the pixels of ``block_xyxy``.
        block_xyxy: where it lies; it holds all of the window that lies on the slide.
        window_xyxy: the window, whole pixels, which may reach beyond the slide on the right and below.

    Returns:
        (H, W) or (H, W, C), dtype of the block; a view where nothing is mirrored.
    """
    x0, y0, x1, y1 = (int(value) for value in window_xyxy)
    left, top = block_xyxy[:2]
    inside = block[y0 - top : y1 - top, x0 - left : x1 - left]
    beyond = [(0, (y1 - y0) - inside.shape[0]), (0, (x1 - x0) - inside.shape[1])] + [(0, 0)] * (block.ndim - 2)
    return np.pad(inside, beyond, mode="symmetric") if any(after for _, after in beyond) else inside
