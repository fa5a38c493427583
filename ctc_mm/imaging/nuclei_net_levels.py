"""Where the grey scale of the nucleus network begins and ends in a field, taken once per field from blocks of pixels.

The network sees grey values as heights above the background, in units of the field's contrast. Both are order
statistics of 256 x 256 px blocks, so they do not depend on how the field is read, and an 8-bit image, its 16-bit
version and its float version give the network the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

# Every second row and column of a block is looked at: its order statistics do not need all pixels.
SAMPLE_STEP = 2
# Ranks of a block's background and of its nuclei (0.5 % of a block is one nucleus of 20 px).
DARK_RANK, BRIGHT_RANK = 0.10, 0.995
# Blocks that hold nuclei rise at least half as high as the third highest block: two may hold bright specks.
SPECK_BLOCKS, LEAST_PART_OF_TOP = 2, 0.5
# The contrast is at least this many standard deviations of the noise, so that a field without nuclei is not stretched
# until its noise looks like some.
LEAST_CONTRAST_SIGMA = 16
# Noise is taken from this rank of the differences between neighbours: in an empty 8-bit field most are 0.
DIFFERENCE_RANK = 0.75
# A normal distribution's standard deviation over the absolute difference of two of its values at that rank.
SIGMA_PER_DIFFERENCE = 0.6147


@dataclass(frozen=True)
class NetLevels:
    """The network's grey scale in one field, in the field's own grey values.

    Attributes:
        size_wh: the field's width and height in pixels.
        background: grey value that becomes 0.
        contrast: height above the background that becomes 1; 0 where the field is constant.
    """

    size_wh: tuple[int, int]
    background: float
    contrast: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> NetLevels:
        """Take back what ``to_dict`` gave."""
        return cls(tuple(values["size_wh"]), values["background"], values["contrast"])


@dataclass(frozen=True)
class NetBlock:
    """What one block says: its dark and bright level, and the noise from pixel to pixel."""

    dark: float
    bright: float
    noise: float


def measure_net_block(block: np.ndarray) -> NetBlock:
    """Measure one block of a field, (h, w) of at most 256 x 256 px; the numbers depend on its pixels alone."""
    sample = block[::SAMPLE_STEP, ::SAMPLE_STEP]
    dark, bright = _at_ranks(sample, (DARK_RANK, BRIGHT_RANK))
    left, right = sample[:, :-1], sample[:, 1:]
    differences = np.maximum(left, right) - np.minimum(left, right)  # integers without a sign cannot go below 0
    noise = SIGMA_PER_DIFFERENCE * _at_ranks(differences, (DIFFERENCE_RANK,))[0] if differences.size else 0.0
    return NetBlock(dark, bright, noise)


def combine_net_blocks(blocks: Sequence[NetBlock], size_wh: tuple[int, int]) -> NetLevels:
    """Levels of a field from all of its blocks, in any order.

    The contrast is the median height above the background of the blocks that hold nuclei, so that neither the empty
    parts of a field nor a few bright specks decide it.

    Raises:
        ValueError: no block.
    """
    if not blocks:
        raise ValueError("the levels of a field need at least one block. Received: none")
    background = float(np.median([block.dark for block in blocks]))
    heights = np.sort([block.bright - background for block in blocks])[::-1]
    top = heights[min(SPECK_BLOCKS, (len(heights) - 1) // 2)]
    with_nuclei = heights[heights >= LEAST_PART_OF_TOP * top]
    noise = float(np.median([block.noise for block in blocks]))
    return NetLevels(size_wh, background, max(float(np.median(with_nuclei)), LEAST_CONTRAST_SIGMA * noise, 0.0))


def measure_net_levels(image: np.ndarray, block_px: int = 256) -> NetLevels:
    """Levels of a field that is in memory, (H, W)."""
    height, width = image.shape
    corners = [(y, x) for y in range(0, height, block_px) for x in range(0, width, block_px)]
    blocks = [measure_net_block(image[y : y + block_px, x : x + block_px]) for y, x in corners]
    return combine_net_blocks(blocks, (width, height))


def _at_ranks(values: np.ndarray, ranks: Sequence[float]) -> list[float]:
    """Order statistics, never means of two: those would round differently in another pixel type."""
    places = [round(rank * (values.size - 1)) for rank in ranks]
    partitioned = np.partition(values, places, axis=None)
    return [float(partitioned[place]) for place in places]
