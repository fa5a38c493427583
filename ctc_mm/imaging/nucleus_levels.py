"""Every number of a DAPI field that its nuclei are found by, taken once per field, from blocks of 256 x 256 px.

A block's numbers depend on its own pixels alone, so they come out the same however the field is read; what follows
(``nuclei_robust.py``) takes nothing from the pixels around a tile but what lies in the halo.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

BLOCK_PX = 256
# The background is known once per cell of this side: wider than a nucleus (60 px), so that each cell sees some of it.
CELL_PX = 64
# Pixels are looked at as means of 4 x 4: a quarter of white noise is left, and gaps between nuclei are still seen.
MEAN_PX = 4
# How many quantiles of a block stand for its distribution of heights.
QUANTILES = 256
# The smallest of the 256 means of a cell of pure noise lies this many of its standard deviations below the background.
DARKEST_OF_CELL = 2.8
# Noise from the 30th percentile of the steps between neighbouring means (of normal noise 0.3853 sqrt 2
# standard deviations): nuclei and their texture make the larger steps.
STEP_PERCENT, SIGMA_PER_STEP = 30, 1 / 0.3853
# White noise after the smoothing of nuclei_robust.py over that of the means of 4 x 4: 0.273 to 0.25.
SMOOTHED_NOISE = 1.09
# A nucleus' rim stands out of the noise by at least this many standard deviations of the smoothed image ...
NOISE_SIGMAS = 6.0
# ... and reaches at least this part of the height that parts nuclei from background (Otsu on square roots of heights).
OTSU_PART = 0.7


@dataclass(frozen=True)
class NucleusLevels:
    """Levels of one field, in its own grey values.

    Attributes:
        size_wh: the field's width and height in pixels.
        low: darkest and ``high``: brightest pixel.
        background: background at the centre of each cell of 64 x 64 px, by row of cells, left to right.
        noise: standard deviation of the noise, in means of 4 x 4 pixels.
        threshold: height above the background that a pixel of a nucleus has at least.
    """

    size_wh: tuple[int, int]
    low: float
    high: float
    background: tuple[tuple[float, ...], ...]
    noise: float
    threshold: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> NucleusLevels:
        """Take back what ``to_dict`` gave, also after a way through JSON."""
        grid = tuple(tuple(float(value) for value in row) for row in values["background"])
        width, height = values["size_wh"]
        return cls(**{**values, "size_wh": (int(width), int(height)), "background": grid})


@dataclass(frozen=True)
class _Block:
    """What is kept of a block: extremes, darkest mean of each cell, noise, pixels, quantiles of heights."""

    low: float
    high: float
    darkest: np.ndarray
    noise: float
    area_px: int
    heights: np.ndarray


class NucleusLevelsPass:
    """First pass over a field: takes its tiles in any order, then gives the field's levels.

    Args:
        size_wh: the field's width and height in pixels.
        dtype: the pixels' type: uint8, uint16 or a float.

    Raises:
        ValueError: a size under 1 px.
    """

    def __init__(self, size_wh: tuple[int, int], dtype: np.dtype | type) -> None:
        self.size_wh = (int(size_wh[0]), int(size_wh[1]))
        if min(self.size_wh) < 1:
            raise ValueError(f"`size_wh` must be at least 1 x 1. Received: {size_wh}")
        self.dtype = np.dtype(dtype)
        self._blocks: dict[tuple[int, int], _Block] = {}

    def add(self, tile: np.ndarray, origin_xy: tuple[int, int]) -> None:
        """Take one tile, whose corner and size are multiples of 256 px but for the field's right and bottom edges.

        Raises:
            ValueError: a tile of another type or misplaced, a block given twice, NaN pixels.
            TypeError: pixels of a type that no image has.
        """
        check_pixels(tile)
        self._check_place(tile, origin_xy)
        # Blocks begin at multiples of the means' and cells' sides, so these come out the same from a whole tile.
        tile = np.ascontiguousarray(tile)
        means = _means(tile)
        darkest = _per_cell_minimum(means)
        for y in range(0, tile.shape[0], BLOCK_PX):
            for x in range(0, tile.shape[1], BLOCK_PX):
                row, column = (origin_xy[1] + y) // BLOCK_PX, (origin_xy[0] + x) // BLOCK_PX
                if (row, column) in self._blocks:
                    raise ValueError(f"the block at x {column * BLOCK_PX}, y {row * BLOCK_PX} was given twice")
                parts = (
                    _block(pixels, y, x, side) for pixels, side in ((tile, 1), (means, MEAN_PX), (darkest, CELL_PX))
                )
                self._blocks[row, column] = _measure_block(*parts)

    def result(self) -> NucleusLevels:
        """Levels of the field.

        Raises:
            ValueError: a part of the field was not given.
        """
        columns, rows = (-(-length // BLOCK_PX) for length in self.size_wh)
        if len(self._blocks) != rows * columns:
            raise ValueError(f"{rows * columns - len(self._blocks)} of {rows * columns} blocks were never given")
        blocks = [[self._blocks[row, column] for column in range(columns)] for row in range(rows)]
        every = [block for row in blocks for block in row]
        areas = np.array([block.area_px for block in every], dtype=np.float64)
        noise = _weighted_median(np.array([block.noise for block in every]), areas)
        darkest = np.concatenate([np.concatenate([block.darkest for block in row], axis=1) for row in blocks])
        background = _smooth(_open(darkest)) + DARKEST_OF_CELL * noise
        heights = np.stack([block.heights for block in every])
        parting = _otsu(np.sqrt(heights), np.repeat(areas, QUANTILES)) ** 2
        return NucleusLevels(
            size_wh=self.size_wh,
            low=min(block.low for block in every),
            high=max(block.high for block in every),
            background=tuple(tuple(float(value) for value in row) for row in background),
            noise=float(noise),
            threshold=float(max(NOISE_SIGMAS * SMOOTHED_NOISE * noise, OTSU_PART * parting)),
        )

    def _check_place(self, tile: np.ndarray, origin_xy: tuple[int, int]) -> None:
        ends = (origin_xy[0] + tile.shape[1], origin_xy[1] + tile.shape[0])
        aligned = all(start % BLOCK_PX == 0 and start >= 0 for start in origin_xy) and all(
            end == edge or (end < edge and end % BLOCK_PX == 0) for end, edge in zip(ends, self.size_wh, strict=True)
        )
        if tile.dtype != self.dtype or not aligned:
            raise ValueError(
                f"tiles of this field must be {self.dtype}, start at multiples of {BLOCK_PX} px and end there or at "
                f"the field's edge (width, height {self.size_wh}). Received: {tile.dtype}, {tile.shape[1]} x "
                f"{tile.shape[0]} px at x, y {tuple(origin_xy)}"
            )


def measure_nucleus_levels(image: np.ndarray) -> NucleusLevels:
    """Levels of a field that is in memory.

    Args:
        image: DAPI channel (H, W), uint8, uint16 or float.

    Raises:
        ValueError: not (H, W), no pixel, NaN pixels.
        TypeError: pixels of another type.
    """
    check_pixels(image)
    levels = NucleusLevelsPass((image.shape[1], image.shape[0]), image.dtype)
    levels.add(image, (0, 0))
    return levels.result()


def check_pixels(image: np.ndarray) -> None:
    """Refuse what is no grey image of finite pixels.

    Raises:
        ValueError: not (H, W), no pixel, NaN or infinite pixels.
        TypeError: pixels other than uint8, uint16 or float.
    """
    if image.ndim != 2:
        raise ValueError(f"the DAPI image must be (H, W), one channel. Received shape: {image.shape}")
    if image.size == 0:
        raise ValueError(f"the DAPI image has no pixels. Received shape: {image.shape}")
    if image.dtype not in (np.uint8, np.uint16) and image.dtype.kind != "f":
        raise TypeError(f"the DAPI image must hold uint8, uint16 or float pixels. Received: {image.dtype}")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        wrong = int((~np.isfinite(image)).sum())
        raise ValueError(f"the DAPI image holds {wrong} NaN or infinite pixels; mend or mask them first")


def _block(values: np.ndarray, y: int, x: int, side_px: int) -> np.ndarray:
    """What belongs to the block at a pixel, of values each of which stands for a square of ``side_px``."""
    length = BLOCK_PX // side_px
    return values[y // side_px : y // side_px + length, x // side_px : x // side_px + length]


def _measure_block(block: np.ndarray, means: np.ndarray, darkest: np.ndarray) -> _Block:
    low, high, *_ = cv2.minMaxLoc(block)
    heights = np.maximum(means - _spread(_open(darkest), means.shape), 0)
    heights = np.sort(heights, axis=None)
    places = (np.arange(QUANTILES) + 0.5) / QUANTILES * heights.size
    return _Block(low, high, darkest, _noise(means), block.size, heights[places.astype(np.int64)])


def _means(tile: np.ndarray) -> np.ndarray:
    """Means of 4 x 4 pixels, float32; a rest at the right or bottom edge is filled up by its last column or row."""
    bottom, right = -tile.shape[0] % MEAN_PX, -tile.shape[1] % MEAN_PX
    values = tile.astype(np.float32)
    if bottom or right:
        values = cv2.copyMakeBorder(values, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    return cv2.resize(values, (values.shape[1] // MEAN_PX, values.shape[0] // MEAN_PX), interpolation=cv2.INTER_AREA)


def _per_cell_minimum(means: np.ndarray) -> np.ndarray:
    step = CELL_PX // MEAN_PX
    rows = np.minimum.reduceat(means, np.arange(0, means.shape[0], step), axis=0)
    return np.minimum.reduceat(rows, np.arange(0, means.shape[1], step), axis=1)


def _spread(cells: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    step = CELL_PX // MEAN_PX
    size_wh = (cells.shape[1] * step, cells.shape[0] * step)
    return cv2.resize(cells, size_wh, interpolation=cv2.INTER_NEAREST)[: shape[0], : shape[1]]


def _open(cells: np.ndarray) -> np.ndarray:
    """Grey opening by 3 x 3 cells: a cell covered by nuclei takes its neighbours' background."""
    return cv2.morphologyEx(cells, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))


def _smooth(cells: np.ndarray) -> np.ndarray:
    return cv2.sepFilter2D(cells, cv2.CV_64F, *[np.array([0.25, 0.5, 0.25])] * 2, borderType=cv2.BORDER_REPLICATE)


def _noise(means: np.ndarray) -> float:
    steps = np.concatenate([(means[1:] - means[:-1]).ravel(), (means[:, 1:] - means[:, :-1]).ravel()])
    if not steps.size:
        return 0.0
    np.abs(steps, out=steps)
    place = steps.size * STEP_PERCENT // 100
    steps.partition(place)
    return SIGMA_PER_STEP / math.sqrt(2) * float(steps[place])


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values, kind="stable")
    passed = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(passed, passed[-1] / 2)]])


def _otsu(values: np.ndarray, weights: np.ndarray) -> float:
    """Otsu's threshold of weighted values, taken half-way between the means of the two classes.

    Where few values lie between the classes, that hardly depends on where exactly they are cut. Of equal values, it is
    that value.
    """
    order = np.argsort(values, axis=None, kind="stable")
    values, weights = values.ravel()[order], weights[order]
    if values[0] == values[-1]:
        return float(values[0])
    below, mass = np.cumsum(weights), np.cumsum(weights * values)
    above, rest = below[-1] - below[:-1], mass[-1] - mass[:-1]
    below, mass = below[:-1], mass[:-1]
    best = int(np.argmax(below * above * (mass / below - rest / above) ** 2))
    return float(mass[best] / below[best] + rest[best] / above[best]) / 2
