"""Every number of a bright-field image that its cells are found by, taken once per field from squares of its pixels.

A square's numbers depend on its own pixels alone, so they come out the same however the field is read; and, where the
field is whole squares, however it is turned or mirrored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from scipy import ndimage

# Tiles of a field begin and end at multiples of this.
BLOCK_PX = 256
# Squares that tell the noise are so wide in the shrunk field, but no wider than a block.
SQUARE_PX = 64
# Reading 22: the brightness counts as capped here, instead of by hand.
CAP_PERCENTILE = 99.5
# Grey values are worked on in this many steps from 0 to the cap, so that no bit depth finds other cells than another.
GREY_STEPS = 4096
# Cells of this diameter and more are looked at smaller, by powers of 2: their outline needs no more detail.
SMALLEST_WORKING_PX = 8
LARGEST_SHRINK = 64
# Edges weaker than white noise of this part of the cap would make are none: 8-bit digits alone make as much.
NOISE_FLOOR = 0.002
# Standard deviation of each gradient component over that of white noise, at the smoothing of 1 px.
GRADIENT_PER_NOISE = 0.13
# Quiet pixels tell the noise: cells may cover most of a square.
QUIET_PART = 0.05
_QUIET_TO_SIGMA = 1 / math.sqrt(-2 * math.log(1 - QUIET_PART))
# A square that is noisier than this many times the field's quieter ones is full of cells.
CROWDED_FACTOR = 1.5
# A square alone tells its noise to a tenth only, and light falls off slowly: means are taken over so much of the field.
STEADY_PX = 640
# The noise of a square is rounded to such parts of a step; noise is at least a step.
NOISE_PARTS = 32


@dataclass(frozen=True)
class CellSize:
    """Diameters that count as a cell, and at which scale they are looked for.

    Attributes:
        least_px: smallest diameter in pixels of the image.
        most_px: largest.

    Raises:
        ValueError: diameters that are not two rising numbers, or a smallest cell below 4 px.
    """

    least_px: float
    most_px: float

    def __post_init__(self) -> None:
        if not (4 <= self.least_px < self.most_px < math.inf):
            raise ValueError(
                "the smallest cell must be at least 4 px across and the largest larger than that. "
                f"Received: {self.least_px:g} to {self.most_px:g} px"
            )

    @property
    def shrink(self) -> int:
        """Power of 2 by which the image is looked at smaller."""
        steps = int(math.log2(max(1.0, self.least_px / SMALLEST_WORKING_PX)))
        return min(2**steps, LARGEST_SHRINK)

    @property
    def square_px(self) -> int:
        """Side of the squares that tell the noise, in pixels of the image."""
        return min(SQUARE_PX * self.shrink, BLOCK_PX)

    @property
    def smoothing_px(self) -> float:
        """Standard deviation of the smoothing before edges are taken, in pixels of the shrunk image."""
        return max(1.0, self.least_px / self.shrink / 10)


@dataclass(frozen=True)
class CellLevels:
    """Levels of one field.

    Attributes:
        size_wh: the field's width and height in pixels.
        shrink: power of 2 by which the field was looked at smaller.
        white: grey value that counts as white: the cap on brightness.
        square_px: side of the squares that tell the noise.
        noise: strength of the edges that noise makes around the centre of each square, in steps of ``white / 4096`` per
            pixel of the shrunk field; by row of squares, left to right.
    """

    size_wh: tuple[int, int]
    shrink: int
    square_px: int
    white: float
    noise: tuple[tuple[float, ...], ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> CellLevels:
        """Take back what ``to_dict`` gave."""
        noise = tuple(tuple(row) for row in values["noise"])
        return cls(tuple(values["size_wh"]), values["shrink"], values["square_px"], values["white"], noise)


class CellLevelsPass:
    """First pass over a field: takes its tiles in any order, then gives the field's levels.

    Args:
        size_wh: the field's width and height in pixels.
        dtype: the pixels' type: 8- or 16-bit unsigned integers or floats.
        size: diameters of the cells that are looked for.
    """

    def __init__(self, size_wh: tuple[int, int], dtype: np.dtype | type, size: CellSize) -> None:
        self.size_wh = (int(size_wh[0]), int(size_wh[1]))
        if min(self.size_wh) < 1:
            raise ValueError(f"`size_wh` must be at least 1 x 1. Received: {size_wh}")
        self.dtype = np.dtype(dtype)
        self.size = size
        self._blocks: dict[tuple[int, int], np.ndarray] = {}

    def add(self, tile: np.ndarray, origin_xy: tuple[int, int]) -> None:
        """Take one tile, (H, W) or (H, W, 3), placed on multiples of 256 px but for the field's right and bottom edges.

        Raises:
            ValueError: a tile of another type, misplaced, or with blocks already taken; NaN pixels.
        """
        check_image(tile)
        height, width = tile.shape[:2]
        ends = (origin_xy[0] + width, origin_xy[1] + height)
        aligned = all(value % BLOCK_PX == 0 for value in origin_xy) and all(
            end == edge or (end < edge and end % BLOCK_PX == 0) for end, edge in zip(ends, self.size_wh, strict=True)
        )
        if tile.dtype != self.dtype or not aligned or min(origin_xy) < 0:
            raise ValueError(
                f"tiles of this field must be {self.dtype} and lie on a grid of {BLOCK_PX} px within {self.size_wh}. "
                f"Received: {tile.dtype}, {width} x {height} px at {origin_xy}"
            )
        for key, block in _blocks(tile, origin_xy):
            if key in self._blocks:
                raise ValueError(f"the block at x {key[1] * BLOCK_PX}, y {key[0] * BLOCK_PX} was given twice")
            self._blocks[key] = _measure_block(block, self.size)

    def result(self) -> CellLevels:
        """Levels of the field.

        Raises:
            ValueError: a part of the field was not given.
        """
        columns, rows = (-(-length // BLOCK_PX) for length in self.size_wh)
        if len(self._blocks) != rows * columns:
            raise ValueError(f"{rows * columns - len(self._blocks)} of {rows * columns} blocks were never given")
        squares = np.concatenate(
            [np.concatenate([self._blocks[row, column] for column in range(columns)], axis=1) for row in range(rows)]
        )
        white, noise = float(squares[..., 0].max()), squares[..., 1]
        known = (self.size_wh, self.size.shrink, self.size.square_px)
        if white <= 0:
            return CellLevels(*known, 0.0, tuple((0.0,) * noise.shape[1] for _ in noise))
        quiet = np.sort(noise.ravel())[noise.size // 4]
        steps = np.minimum(noise, CROWDED_FACTOR * quiet) * (GREY_STEPS / white)
        floor = NOISE_FLOOR * GREY_STEPS * GRADIENT_PER_NOISE / self.size.smoothing_px**2
        # In whole parts, summed exactly: no last bit of another pixel type or of a mirrored image reaches the cells.
        parts = np.rint(steps * NOISE_PARTS).astype(np.int64)
        width = STEADY_PX // self.size.square_px // 2 * 2 + 1
        sums = ndimage.convolve(parts, np.ones((width, width), np.int64), mode="nearest")
        steps = np.round(np.maximum(sums / (NOISE_PARTS * width**2), floor), 3)
        return CellLevels(*known, white, tuple(tuple(float(value) for value in row) for row in steps))


def check_image(image: np.ndarray) -> None:
    """Refuse what is no grey or RGB image of finite pixels.

    Raises:
        ValueError: another shape, no pixel, NaN or infinite pixels.
        TypeError: pixels other than 8- or 16-bit unsigned integers or floats.
    """
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise ValueError(f"the bright-field image must be (H, W) or (H, W, 3). Received shape: {image.shape}")
    if image.size == 0:
        raise ValueError(f"the bright-field image has no pixels. Received shape: {image.shape}")
    if image.dtype not in (np.uint8, np.uint16) and image.dtype.kind != "f":
        raise TypeError(f"the bright-field image must hold uint8, uint16 or float pixels. Received: {image.dtype}")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        wrong = int((~np.isfinite(image)).sum())
        raise ValueError(f"the bright-field image holds {wrong} NaN or infinite pixels; mend or mask them first")


def to_grey(image: np.ndarray) -> np.ndarray:
    """Give the grey values of an image: as they are, or the mean of red, green and blue as float64.

    Args:
        image: (H, W) or (H, W, 3).

    Returns:
        (H, W) in the image's dtype, or float64 for colour.
    """
    return image if image.ndim == 2 else image.sum(axis=2, dtype=np.float64) / 3


def working_image(image: np.ndarray, levels: CellLevels) -> np.ndarray:
    """Give the image in whole steps from 0 to ``GREY_STEPS`` at the cap, and as much smaller as ``levels`` says.

    Returns:
        float32 (ceil(H / shrink), ceil(W / shrink)); not capped, since an outline needs both of its sides.
    """
    steps = np.rint(to_grey(image) / np.float64(levels.white) * GREY_STEPS).astype(np.float32)
    return shrink_by(steps, levels.shrink)


def shrink_by(image: np.ndarray, factor: int) -> np.ndarray:
    """Mean of each square of ``factor`` pixels, float32; squares cut by the edge are filled with the edge's pixels."""
    if factor == 1:
        return image.astype(np.float32, copy=False)
    pad = [(0, -length % factor) for length in image.shape]
    padded = np.pad(image, pad, mode="edge") if any(after for _, after in pad) else image
    height, width = padded.shape
    squares = padded.reshape(height // factor, factor, width // factor, factor)
    return squares.mean(axis=(1, 3), dtype=np.float64).astype(np.float32)


def edge_gradients(image: np.ndarray, smoothing_px: float) -> tuple[np.ndarray, np.ndarray]:
    """Gradient along x and along y of a smoothed image (Sobel), float32, grey values per pixel."""
    # In float64: float32's last bits are not the same in a mirrored image, and are much of a faint gradient.
    smooth = cv2.GaussianBlur(image.astype(np.float64), (0, 0), smoothing_px, borderType=cv2.BORDER_REFLECT_101)
    return tuple(
        cv2.Sobel(smooth, cv2.CV_64F, dx, dy, scale=1 / 8, borderType=cv2.BORDER_REFLECT_101).astype(np.float32)
        for dx, dy in ((1, 0), (0, 1))
    )


def noise_map(levels: CellLevels, shape_hw: tuple[int, int], origin_xy: tuple[int, int]) -> np.ndarray:
    """Noise of the edges at each pixel of a shrunk tile, float32: linear between the squares' centres.

    Args:
        levels: levels of the field.
        shape_hw: height and width of the shrunk tile.
        origin_xy: the tile's corner in pixels of the field, multiples of the shrink.
    """
    grid = np.array(levels.noise, np.float32)
    square = levels.square_px // levels.shrink
    for axis, (length, start) in enumerate(zip(shape_hw, reversed(origin_xy), strict=True)):
        places = (np.arange(length) + start // levels.shrink + 0.5) / square - 0.5
        places = np.clip(places, 0, grid.shape[axis] - 1)
        low = np.floor(places).astype(np.int64)
        high = np.minimum(low + 1, grid.shape[axis] - 1)
        part = (places - low).astype(np.float32)
        part = part[:, None] if axis == 0 else part[None, :]
        grid = grid.take(low, axis) * (1 - part) + grid.take(high, axis) * part
    return grid


def _blocks(tile: np.ndarray, origin_xy: tuple[int, int]) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
    x0, y0 = origin_xy
    for y in range(0, tile.shape[0], BLOCK_PX):
        for x in range(0, tile.shape[1], BLOCK_PX):
            yield ((y0 + y) // BLOCK_PX, (x0 + x) // BLOCK_PX), tile[y : y + BLOCK_PX, x : x + BLOCK_PX]


def _measure_block(block: np.ndarray, size: CellSize) -> np.ndarray:
    """Cap on brightness and noise of the edges of each square, in grey values; float64 (rows, columns, 2)."""
    grey, side = to_grey(block), size.square_px
    return np.array(
        [
            [_measure_square(grey[y : y + side, x : x + side], size) for x in range(0, grey.shape[1], side)]
            for y in range(0, grey.shape[0], side)
        ]
    )


def _measure_square(grey: np.ndarray, size: CellSize) -> tuple[float, float]:
    values = grey.ravel()
    place = min(values.size - 1, int(values.size * CAP_PERCENTILE / 100))
    cap = float(np.partition(values, place)[place])
    strength = np.hypot(*edge_gradients(shrink_by(grey, size.shrink), size.smoothing_px)).ravel()
    place = int(strength.size * QUIET_PART)
    return cap, float(np.partition(strength, place)[place]) * _QUIET_TO_SIGMA
