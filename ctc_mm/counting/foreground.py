"""Which parts of a slide hold something: a cheap test that takes for empty only what does not stand out of noise.

Means of blocks are compared with their surroundings, at two sizes, and with what the camera's noise alone would give.
Noise is taken from neighbouring pixels in the quietest tenth of the slide: where it is underestimated (compression
smooths it, parts of the slide are blank), more is kept, never less.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ctc_mm.imaging.field import RegionXYXY

# Contrast is kept for squares of this side; the slide is read in multiples of it.
SQUARE_PX = 32
# Sides of the blocks whose means are compared; a cell spans several of the small ones, a dim smear some of the large.
BLOCK_SIDES_PX = (4, 16)
# A block is compared with the mean of the blocks around it, itself included: a square of so many.
AROUND = 5
NOISE_ROW_STEP = 8
QUIET_PERCENT = 10.0
# Standard deviations of noise: of 25 million blocks of a large slide, noise alone lifts less than one so far.
LEAST_CONTRAST = 6.0
# Grey values of 255 below which no model sees noise; keeps numbers apart from rounding where a slide has none.
LEAST_NOISE_255 = 0.1
_MAD_OF_DIFFERENCES = 0.6745 * np.sqrt(2)


@dataclass(frozen=True, eq=False)
class ContrastMap:
    """How far places of a slide stand out of noise.

    Attributes:
        noise: standard deviation of a pixel's noise, a grey value for each channel.
        contrast: float32 (rows, columns), for each square of 32 px the largest contrast in it, in standard deviations
            of noise.
    """

    noise: tuple[float, ...]
    contrast: np.ndarray

    def holds_something(self, windows_xyxy: np.ndarray) -> np.ndarray:
        """Whether each window (N, 4) shows a square that stands out; bool (N,)."""
        stands_out = self.contrast > LEAST_CONTRAST
        return np.array(
            [
                stands_out[y0 // SQUARE_PX : -(-y1 // SQUARE_PX), x0 // SQUARE_PX : -(-x1 // SQUARE_PX)].any()
                for x0, y0, x1, y1 in np.asarray(windows_xyxy, np.int64)
            ],
            bool,
        )


class ContrastPass:
    """Gathers contrast and noise while a slide is read once; may be used by several threads.

    Args:
        size_wh: width and height of the slide in pixels.
        n_channels: that are read.
    """

    def __init__(self, size_wh: tuple[int, int], n_channels: int) -> None:
        shape = (n_channels, *(-(-side // SQUARE_PX) for side in size_wh[::-1]))
        self._contrast = np.zeros((len(BLOCK_SIDES_PX), *shape), np.float32)
        self._noise = np.zeros(shape, np.float32)

    def add(self, block: np.ndarray, region_xyxy: RegionXYXY) -> None:
        """Take a part of the slide.

        Args:
            block: (C, h, w), uint8, uint16 or float32.
            region_xyxy: where it lies; it begins at multiples of 32 px, and ends there or at the slide's edge.
        """
        left, top = region_xyxy[0] // SQUARE_PX, region_xyxy[1] // SQUARE_PX
        for channel, plane in enumerate(block):
            missing = tuple((0, -side % SQUARE_PX) for side in plane.shape)
            whole = np.pad(plane, missing, mode="symmetric") if any(more for _, more in missing) else plane
            whole = whole.astype(np.float32)
            rows, columns = (side // SQUARE_PX for side in whole.shape)
            place = (channel, slice(top, top + rows), slice(left, left + columns))
            self._noise[place] = _noise_of_squares(whole)
            for size, contrast in enumerate(_contrast_of_squares(whole)):
                self._contrast[size][place] = contrast

    def finish(self, white_level: float) -> ContrastMap:
        """The map, once the whole slide was seen.

        Args:
            white_level: grey value that counts as white.
        """
        noise = np.percentile(self._noise.reshape(len(self._noise), -1), QUIET_PERCENT, axis=1)
        floor = LEAST_NOISE_255 * white_level / 255
        # Noise of the difference between a block's mean and that of the blocks around it.
        apart = np.sqrt(1 - 1 / AROUND**2) / np.array(BLOCK_SIDES_PX, np.float64)
        spread = np.maximum(noise, floor)[None, :, None, None] * apart[:, None, None, None]
        contrast = (self._contrast / spread).max(axis=(0, 1)).astype(np.float32)
        return ContrastMap(tuple(float(value) for value in noise), contrast)


def _noise_of_squares(plane: np.ndarray) -> np.ndarray:
    """Robust noise of a pixel in each square, from differences of neighbours in some rows."""
    rows = plane[::NOISE_ROW_STEP]
    differences = np.zeros_like(rows)
    np.abs(rows[:, 1:] - rows[:, :-1], out=differences[:, 1:])
    differences[:, 0] = differences[:, 1]
    per_square = SQUARE_PX // NOISE_ROW_STEP
    squares = differences.reshape(-1, per_square, rows.shape[1] // SQUARE_PX, SQUARE_PX).transpose(0, 2, 1, 3)
    return np.median(squares.reshape(*squares.shape[:2], -1), axis=2) / np.float32(_MAD_OF_DIFFERENCES)


def _contrast_of_squares(plane: np.ndarray) -> list[np.ndarray]:
    """For each size of blocks: the largest difference of a block from its surroundings, in each square."""
    found, means, side_px = [], plane, 1
    for block_px in BLOCK_SIDES_PX:
        step = block_px // side_px
        means = cv2.resize(means, (means.shape[1] // step, means.shape[0] // step), interpolation=cv2.INTER_AREA)
        side_px = block_px
        # Beyond its edges the block goes on as it ends, so that uneven light makes no contrast there.
        reach = AROUND // 2
        around = cv2.blur(np.pad(means, reach, mode="reflect", reflect_type="odd"), (AROUND, AROUND))
        per_square = SQUARE_PX // block_px
        apart = np.abs(means - around[reach:-reach, reach:-reach])
        squares = apart.reshape(apart.shape[0] // per_square, per_square, apart.shape[1] // per_square, per_square)
        found.append(squares.max(axis=(1, 3)))
    return found
