"""Every number of a DAPI field that its nuclei are found by, taken once per field, from blocks of 256 x 256 px.

A block's numbers depend on its own pixels alone, so they come out the same however the field is read; what follows
(``nuclei.py``) takes nothing from the pixels around a tile but what lies in the halo.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

BLOCK_PX = 256
# Every second row and column of a block is looked at: its percentiles do not need all pixels.
SAMPLE_STEP = 2
# Standard deviation of a normal distribution over its median absolute deviation.
SIGMA_PER_MAD = 1.4826


@dataclass(frozen=True)
class NucleusLevels:
    """Levels of one field in its own grey values.

    Attributes:
        size_wh: the field's width and height in pixels.
        low: darkest and high: brightest pixel.
        background: grey value of the background at the centre of each block, by row of blocks, left to right.
        noise: standard deviation of the background's noise from pixel to pixel.
        threshold: height above the background at which a pixel belongs to a nucleus.
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
    def from_dict(cls, values: dict[str, Any]) -> NucleusLevels:
        """Take back what ``to_dict`` gave."""
        return cls(
            **{
                **values,
                "size_wh": tuple(values["size_wh"]),
                "background": tuple(tuple(row) for row in values["background"]),
            }
        )


class NucleusLevelsPass:
    """First pass over a field: takes its tiles in any order, then gives the field's levels.

    Args:
        size_wh: the field's width and height in pixels.
        dtype: the pixels' type: 8- or 16-bit integers or floats.
    """

    def __init__(self, size_wh: tuple[int, int], dtype: np.dtype | type) -> None:
        self.size_wh = (int(size_wh[0]), int(size_wh[1]))
        if min(self.size_wh) < 1:
            raise ValueError(f"`size_wh` must be at least 1 x 1. Received: {size_wh}")
        self.dtype = np.dtype(dtype)
        self._blocks: dict[tuple[int, int], tuple[float, float, float, float, float]] = {}

    def add(self, tile: np.ndarray, origin_xy: tuple[int, int]) -> None:
        """Take one tile, whose corner and size are multiples of 256 px but for the field's right and bottom edges.

        Raises:
            ValueError: a tile of another type, misplaced, or with blocks already taken; NaN pixels.
        """
        check_pixels(tile)
        x0, y0 = origin_xy
        height, width = tile.shape
        ends = (x0 + width, y0 + height)
        aligned = all(v % BLOCK_PX == 0 for v in origin_xy) and all(
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
            self._blocks[key] = _measure_block(block)

    def result(self) -> NucleusLevels:
        """Levels of the field.

        Raises:
            ValueError: a part of the field was not given.
        """
        columns, rows = (-(-length // BLOCK_PX) for length in self.size_wh)
        if len(self._blocks) != rows * columns:
            raise ValueError(f"{rows * columns - len(self._blocks)} of {rows * columns} blocks were never given")
        blocks = np.array([[self._blocks[row, column] for column in range(columns)] for row in range(rows)])
        low, high = float(blocks[..., 0].min()), float(blocks[..., 1].max())
        background = np.minimum(blocks[..., 2], np.median(blocks[..., 2]))
        noise = float(np.median(blocks[..., 3]))
        signal = float((blocks[..., 4] - background).max())
        return NucleusLevels(
            self.size_wh,
            low,
            high,
            tuple(tuple(float(value) for value in row) for row in background),
            noise,
            max(6 * noise, 0.25 * signal, (high - low) * 1e-6),
        )


def measure_nucleus_levels(image: np.ndarray) -> NucleusLevels:
    """Levels of a field that is in memory.

    Args:
        image: DAPI channel (H, W), 8- or 16-bit integers or floats.

    Raises:
        ValueError: not (H, W), no pixel, or NaN pixels.
        TypeError: another pixel type.
    """
    check_pixels(image)
    levels = NucleusLevelsPass((image.shape[1], image.shape[0]), image.dtype)
    levels.add(image, (0, 0))
    return levels.result()


def check_pixels(image: np.ndarray) -> None:
    """Refuse what is no grey image of finite pixels.

    Raises:
        ValueError: not (H, W), no pixel, NaN or infinite pixels.
        TypeError: pixels other than 8- or 16-bit unsigned integers or floats.
    """
    if image.ndim != 2:
        raise ValueError(f"the DAPI image must be (H, W): one channel. Received shape: {image.shape}")
    if image.size == 0:
        raise ValueError(f"the DAPI image has no pixels. Received shape: {image.shape}")
    if image.dtype not in (np.uint8, np.uint16) and image.dtype.kind != "f":
        raise TypeError(f"the DAPI image must hold uint8, uint16 or float pixels. Received: {image.dtype}")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        wrong = int((~np.isfinite(image)).sum())
        raise ValueError(f"the DAPI image holds {wrong} NaN or infinite pixels; mend or mask them first")


def _blocks(tile: np.ndarray, origin_xy: tuple[int, int]) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
    x0, y0 = origin_xy
    for y in range(0, tile.shape[0], BLOCK_PX):
        for x in range(0, tile.shape[1], BLOCK_PX):
            yield ((y0 + y) // BLOCK_PX, (x0 + x) // BLOCK_PX), tile[y : y + BLOCK_PX, x : x + BLOCK_PX]


def _measure_block(block: np.ndarray) -> tuple[float, float, float, float, float]:
    """Darkest, brightest, background, noise, bright level of a block."""
    sample = block[::SAMPLE_STEP, ::SAMPLE_STEP].astype(np.float64)
    background, bright = np.percentile(sample, [25, 99])
    steps = np.abs(np.diff(sample, axis=1)) if sample.shape[1] > 1 else np.zeros(1)
    noise = SIGMA_PER_MAD * float(np.median(steps)) / np.sqrt(2)
    return float(block.min()), float(block.max()), float(background), noise, float(bright)
