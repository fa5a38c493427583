"""CD45: background and noise of the empty slide, taken once per field, and the threshold of the ring's intensity.

Blocks are aligned with the field, and a block's numbers come from its own pixels alone: however the field is read, the
numbers are the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from ctc_mm.imfish.valley import deepest_valley

BLOCK_PX = 256
SIGMA_PER_MAD = 1.4826
# Quarter of the pixels of a normal distribution lie below mean - 0.6745 standard deviations.
QUARTILE_SIGMAS = 0.6745

# A cell is as bright as the slide's background and half of it, or it has no CD45 (where no valley says better) ...
BACKGROUND_CONTRAST = 0.5
# ... and it stands out of the noise of a pixel by so many standard deviations.
NOISE_SIGMAS = 4.0
# A ring is the median of a hundred pixels and more: its noise is an eighth of a pixel's. A valley lies above this one.
VALLEY_NOISE_SIGMAS = 1.0
# Cells with CD45 are so many times as bright as those without: a gap among a few cells of one kind is no valley.
HILL_RATIO = 4.0


@dataclass(frozen=True)
class CD45Levels:
    """Background and noise of a field's CD45 channel.

    Attributes:
        size_wh: width and height of the field in pixels.
        background: grey value of the empty slide at the middle of each block, by row of blocks, left to right.
        noise: standard deviation of a pixel's noise there.
    """

    size_wh: tuple[int, int]
    background: tuple[tuple[float, ...], ...]
    noise: float

    @property
    def typical_background(self) -> float:
        """Median of the blocks' background."""
        return float(np.median(np.array(self.background)))

    def background_at(self, y: float, x: float) -> float:
        """Background at a place of the field: bilinear between the middles of the blocks."""
        grid = np.array(self.background)
        (top, low_y, part_y), (left, low_x, part_x) = (
            _between(value, count) for value, count in zip((y, x), grid.shape, strict=True)
        )
        above = grid[top, left] * (1 - part_x) + grid[top, low_x] * part_x
        below = grid[low_y, left] * (1 - part_x) + grid[low_y, low_x] * part_x
        return float(above * (1 - part_y) + below * part_y)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        rows = [list(row) for row in self.background]
        return {"size_wh": list(self.size_wh), "background": rows, "noise": self.noise}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CD45Levels:
        """Take back what ``to_dict`` gave."""
        return cls(tuple(values["size_wh"]), tuple(map(tuple, values["background"])), values["noise"])


class CD45LevelsPass:
    """First pass over the CD45 channel; takes tiles that lie on the grid of blocks, in any order.

    Args:
        size_wh: width and height of the field in pixels.
    """

    def __init__(self, size_wh: tuple[int, int]) -> None:
        self.size_wh = (int(size_wh[0]), int(size_wh[1]))
        self._blocks = np.full((*(-(-side // BLOCK_PX) for side in self.size_wh[::-1]), 2), np.nan)

    def add(self, tile: np.ndarray, origin_xy: tuple[int, int]) -> None:
        """Take one tile; corner and size are multiples of 256 px but for the field's right and bottom edges."""
        for y in range(0, tile.shape[0], BLOCK_PX):
            for x in range(0, tile.shape[1], BLOCK_PX):
                place = ((origin_xy[1] + y) // BLOCK_PX, (origin_xy[0] + x) // BLOCK_PX)
                self._blocks[place] = _measure_block(tile[y : y + BLOCK_PX, x : x + BLOCK_PX])

    def result(self) -> CD45Levels:
        """Levels of the field.

        Raises:
            ValueError: a part of the field was not given.
        """
        missing = int(np.isnan(self._blocks[..., 0]).sum())
        if missing:
            raise ValueError(f"{missing} of {self._blocks[..., 0].size} blocks were never given")
        # A block full of cells has no background of its own: its neighbours speak for it.
        background = cv2.medianBlur(np.pad(self._blocks[..., 0], 1, mode="edge").astype(np.float32), 3)[1:-1, 1:-1]
        rows = tuple(tuple(float(value) for value in row) for row in background)
        return CD45Levels(self.size_wh, rows, float(np.median(self._blocks[..., 1])))


def cd45_threshold(intensities: np.ndarray, levels: CD45Levels) -> tuple[float, str]:
    """Ring intensity above background from which a cell counts as CD45+, once for a field.

    Where the cells of the field form two hills on a logarithmic scale, the valley between them. Elsewhere (cells of
    one kind only, or too few) half the background's own level, and at least ``NOISE_SIGMAS`` of a pixel's noise.

    Args:
        intensities: (N,) ring minus background of the field's whole nuclei, in grey values.
        levels: of the field.

    Returns:
        The threshold in grey values, and where it comes from: ``valley`` or ``background``.
    """
    floor = max(VALLEY_NOISE_SIGMAS * levels.noise, 1e-6)
    usual = max(BACKGROUND_CONTRAST * levels.typical_background, NOISE_SIGMAS * levels.noise, 1e-6)
    # Below the noise all are alike.
    logs = np.log(np.maximum(np.asarray(intensities, np.float64), floor))
    valley = deepest_valley(logs)
    if valley is None or np.median(logs[logs > valley]) - np.median(logs[logs <= valley]) < math.log(HILL_RATIO):
        return usual, "background"
    return math.exp(valley), "valley"


def _measure_block(block: np.ndarray) -> tuple[float, float]:
    """Background and noise of a block, from every second pixel."""
    sample = block[::2, ::2].astype(np.float64)
    steps = np.abs(np.diff(block[::2].astype(np.float64), axis=1))
    noise = SIGMA_PER_MAD * float(np.median(steps)) / math.sqrt(2) if steps.size else 0.0
    return float(np.percentile(sample, 25)) + QUARTILE_SIGMAS * noise, noise


def _between(value: float, count: int) -> tuple[int, int, float]:
    """Blocks on either side of a place along one axis, and how far it lies towards the second."""
    place = min(max((value + 0.5) / BLOCK_PX - 0.5, 0.0), count - 1.0)
    first = int(place)
    return first, min(first + 1, count - 1), place - first
