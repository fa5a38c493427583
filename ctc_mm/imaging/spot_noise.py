"""How noisy a field's pixels are, dark and bright, from small cells of it most of which hold no spot."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

# Side of a cell in pixels.
_CELL_PX = 16
# A pixel less the mean of its neighbourhood is blind to an even slope; what that makes of white noise's moments.
_SURROUND = np.full((3, 3), -1 / 9, np.float32)
_SURROUND[1, 1] += 1
_SURROUND_2, _SURROUND_3 = (float((_SURROUND.astype(np.float64) ** power).sum()) for power in (2, 3))
_BINS, _FEWEST_CELLS = 8, 4
# Growth of the variance from the darkest to the brightest cells, over its mean, from which it is no chance.
_CLEAR_GROWTH = 0.5


@dataclass(frozen=True)
class PixelNoise:
    """Noise of a field's pixels if it were white.

    Attributes:
        dark_level: grey value of the darkest background.
        variance: there, squared grey values.
        gain: growth of the variance with the background, grey values (shot noise); at least 0.
        skewness: of the noise; at least 0.
    """

    dark_level: float
    variance: float
    gain: float
    skewness: float


class NoiseCells(NamedTuple):
    """Statistics of the cells of one block, float64 (cells,), and its grey step."""

    background: np.ndarray
    square: np.ndarray  # mean square of what a pixel differs from its neighbours
    cube: np.ndarray  # mean third power
    calm: np.ndarray  # squared median amount, which a spot in the cell hardly changes
    step: float  # smallest difference between neighbouring pixels; inf where all are equal


def measure_cells(block: np.ndarray) -> NoiseCells:
    """Take a float32 (H, W) block's statistics."""
    fine = cells_of(cv2.filter2D(block, cv2.CV_32F, _SURROUND, borderType=cv2.BORDER_REFLECT), _CELL_PX)
    square = fine * fine
    # A median, as the light of a spot would make its cell look bright.
    background = middle(cells_of(block, _CELL_PX)).astype(np.float64)
    means = [powers.mean(axis=1, dtype=np.float64) for powers in (square, square * fine)]
    steps = np.abs(np.diff(block[::2], axis=1))
    calm = middle(np.abs(fine)).astype(np.float64) ** 2
    return NoiseCells(background, *means, calm, float(np.min(steps[steps > 0], initial=np.inf)))


def fit_pixel_noise(blocks: list[NoiseCells]) -> PixelNoise:
    """The noise of a field from all its blocks, at least that of rounding to the field's grey steps."""
    background, square, cube, calm = (np.concatenate(column) for column in list(zip(*blocks, strict=True))[:4])
    step = min(block.step for block in blocks)
    rounding = step**2 / 12 if math.isfinite(step) else 0.0
    middle_square, middle_calm = float(middle(square)), float(middle(calm))
    # How noise grows with the background is judged by the calm; where photons are few, only the square is its size.
    calm *= middle_square / (middle_calm * _SURROUND_2) if middle_calm > 0 else 0.0
    dark_level, variance, gain = _fit_line(background, calm if middle_calm > 0 else square / _SURROUND_2)
    skewness = float(middle(cube)) / _SURROUND_3 / (middle_square / _SURROUND_2) ** 1.5 if middle_square > 0 else 0.0
    return PixelNoise(dark_level, max(variance, rounding), gain, max(skewness, 0.0))


def cells_of(values: np.ndarray, side_px: int) -> np.ndarray:
    """Pixels by cell, (cells, pixels): of any four rows or columns the outer two, as neighbours say nearly the same.

    What is left over beside the last whole cell is left out; an image smaller than a cell is one cell, whole.
    """
    height, width = values.shape
    if min(height, width) < side_px:
        return values.reshape(1, -1)
    rows, columns, fours = height // side_px, width // side_px, side_px // 4
    part = values[: rows * side_px, : columns * side_px].reshape(rows, fours, 4, columns, fours, 4)
    # The same pixels of a mirrored image.
    return part[:, :, ::3, :, :, ::3].transpose(0, 3, 1, 2, 4, 5).reshape(rows * columns, -1)


def middle(values: np.ndarray) -> np.ndarray:
    """Upper median along the last axis (on short rows much faster than NumPy's)."""
    return np.sort(values, axis=-1)[..., values.shape[-1] // 2]


def _fit_line(background: np.ndarray, variance: np.ndarray) -> tuple[float, float, float]:
    """Dark level, variance there, and gain, through the medians of cells of like background."""
    low, high = float(background.min()), float(background.max())
    flat = low, float(middle(variance)), 0.0
    if not high > low:
        return flat
    places = np.minimum((background - low) * (_BINS / (high - low)), _BINS - 1).astype(int)
    bins = [np.flatnonzero(places == place) for place in range(_BINS)]
    bins = [cells for cells in bins if len(cells) >= _FEWEST_CELLS]
    if len(bins) < 2:
        return flat
    at = np.array([background[cells].mean() for cells in bins])
    value = np.array([middle(variance[cells]) for cells in bins])
    if not value.all():
        return flat
    # A variance is known to a share of itself, and from some cells on not better with more of them.
    weight = np.array([min(len(cells), 4 * _FEWEST_CELLS) for cells in bins]) / value**2
    mean_at, mean_value = (weight @ at) / weight.sum(), (weight @ value) / weight.sum()
    gain = float((weight * (at - mean_at)) @ value / ((weight * (at - mean_at)) @ at))
    if gain * (at[-1] - at[0]) < _CLEAR_GROWTH * mean_value:
        return flat
    return float(at[0]), max(float(mean_value - gain * (mean_at - at[0])), 0.5 * float(value[0])), gain
