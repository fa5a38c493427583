"""What a field's spots are judged by: size, noise and threshold, measured once over the whole field, block by block."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np

from ctc_mm.imaging.spot_filters import (
    FWHM_PER_SIGMA,
    MAX_DIAMETER_PX,
    MIN_DIAMETER_PX,
    WIDE_PER_NARROW,
    SpotFilter,
    as_float32,
    as_plane,
    blurred,
    spot_filter,
)

# Statistics are taken on blocks of this side, aligned at the field's origin; a block's depend on its pixels alone.
BLOCK_PX = 256
# Noise is measured on cells of this side, from every second pixel of each row and column (neighbours say the same).
CELL_PX = 32
# Expected share of false spots among those found (Benjamini and Hochberg 1995); on a field of pure noise this is the
# chance that anything is found at all.
FALSE_SHARE = 0.01
# Without a given diameter, the finest of three sizes; each next is WIDE_PER_NARROW larger.
_FINEST_DIAMETER_PX = 2.83
_SIZES = 3
# Maxima under this signal-to-noise are never spots, and not kept.
_LOWEST_SNR = 3.5
# Blobs wider than this are no spots: where no diameter is given, and over the diameter that is.
_WIDEST_PX, _WIDEST_PER_DIAMETER = 9.5, 2.5
# Fewest cells of like background that may speak about their noise.
_FEWEST_CELLS = 4
_BACKGROUND_BINS = 8
# Growth of the variance from the darkest to the brightest cells, over its mean, from which it is no chance.
_CLEAR_GROWTH = 0.5


@dataclass(frozen=True)
class SpotLevels:
    """The numbers of one field that decide what is a spot: made once a field, recorded, passed to each tile.

    Attributes:
        size_wh: width and height of the field in pixels.
        diameter_px: full width at half maximum of the spots looked for.
        widest_px: full width at half maximum from which a blob is too large for a spot.
        noise_floor: variance of a pixel's noise on a dark background, as the filter feels it, squared grey values.
        noise_gain: growth of that variance with the background, grey values (shot noise); at least 0.
        min_snr: a spot's response over its noise reaches this.
    """

    size_wh: tuple[int, int]
    diameter_px: float
    widest_px: float
    noise_floor: float
    noise_gain: float
    min_snr: float

    @property
    def sigma_px(self) -> float:
        """Standard deviation in pixels of the spots looked for."""
        return self.diameter_px / FWHM_PER_SIGMA

    def noise_at(self, background: np.ndarray) -> np.ndarray:
        """Standard deviation of a pixel's noise over a background, grey values, float64."""
        return _noise(self.noise_floor, self.noise_gain, background)

    def to_dict(self) -> dict[str, Any]:
        """The levels as plain JSON values."""
        return asdict(self) | {"size_wh": list(self.size_wh)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SpotLevels:
        """The levels that ``to_dict`` gave."""
        return cls(**{**values, "size_wh": tuple(values["size_wh"])})


class SpotLevelsPass:
    """Measures ``SpotLevels`` tile by tile; the result depends neither on the tiles nor on their order.

    Args:
        size_wh: width and height of the field in pixels.
        dtype: pixel type of the field.
        diameter_px: full width at half maximum of the spots; None chooses among 2.8, 4.2 and 6.1 px the one that finds
            most.

    Raises:
        ValueError: a size below 1 x 1, a diameter outside [1.5, 8.5] px.
        TypeError: pixels that are neither integers nor floats.
    """

    def __init__(self, size_wh: tuple[int, int], dtype: np.dtype, diameter_px: float | None = None) -> None:
        if min(size_wh) < 1:
            raise ValueError(f"`size_wh` must be at least 1 x 1. Received: {size_wh}")
        if np.dtype(dtype).kind not in "uif":
            raise TypeError(f"`dtype` must be an integer or float type. Received: {np.dtype(dtype)}")
        if diameter_px is not None and not MIN_DIAMETER_PX <= diameter_px <= MAX_DIAMETER_PX:
            raise ValueError(
                f"`diameter_px` must lie in [{MIN_DIAMETER_PX:g}, {MAX_DIAMETER_PX:g}] px; reduce or enlarge the image "
                f"for other spots. Received: {diameter_px!r}"
            )
        self.size_wh = (int(size_wh[0]), int(size_wh[1]))
        self.diameter_px = diameter_px
        self._ladder = _ladder(diameter_px)
        self._blocks: dict[tuple[int, int], _Block] = {}

    def add(self, tile: np.ndarray, origin_xy: tuple[int, int] = (0, 0)) -> None:
        """Take in one tile; its origin and size are multiples of 256 px, except at the field's far edges.

        Raises:
            ValueError: a tile that is misaligned, leaves the field, was added before, or has NaN pixels.
        """
        plane = as_plane(tile)
        x0, y0 = (int(value) for value in origin_xy)
        ends = (x0 + plane.shape[1], y0 + plane.shape[0])
        for start, end, side in zip((x0, y0), ends, self.size_wh, strict=True):
            if start < 0 or start % BLOCK_PX or end > side or (end % BLOCK_PX and end != side):
                raise ValueError(
                    f"tiles must start and end on multiples of {BLOCK_PX} px, or at the end of the field of "
                    f"{self.size_wh} px. Received: {plane.shape[1]} x {plane.shape[0]} px at {tuple(origin_xy)}"
                )
        for y in range(y0, ends[1], BLOCK_PX):
            for x in range(x0, ends[0], BLOCK_PX):
                if (y, x) in self._blocks:
                    raise ValueError(f"the block at x {x}, y {y} was added before; add each tile once")
                block = plane[y - y0 : y - y0 + BLOCK_PX, x - x0 : x - x0 + BLOCK_PX]
                self._blocks[y, x] = _measure_block(as_float32(block), self._ladder)

    def result(self) -> SpotLevels:
        """The levels of the whole field.

        Raises:
            ValueError: parts of the field were not added.
        """
        expected = math.prod(-(-side // BLOCK_PX) for side in self.size_wh)
        if len(self._blocks) != expected:
            raise ValueError(f"{expected - len(self._blocks)} of the field's {expected} blocks were not added")
        blocks = [self._blocks[key] for key in sorted(self._blocks)]
        white = _white_variance(blocks)
        sizes = [self._judge(size, blocks, white) for size in range(len(self._ladder))]
        return max(sizes, key=lambda size: size[0])[1]  # of equal sizes the finest

    def _judge(self, size: int, blocks: list[_Block], white: float) -> tuple[int, SpotLevels]:
        """How many spots one of the sizes finds, and its levels."""
        kernel = self._ladder[size]
        background, variance, peaks = (
            np.concatenate([getattr(block, name)[size] for block in blocks])
            for name in ("background", "variance", "peaks")
        )
        floor, gain = _fit_noise(background, np.maximum(variance, white))
        snr = peaks[:, 0] / (_noise(floor, gain, peaks[:, 1]) * kernel.norm)
        found, min_snr = _threshold(snr, math.prod(self.size_wh) * kernel.peak_density)
        given = self.diameter_px
        diameter = float(given or _FINEST_DIAMETER_PX * WIDE_PER_NARROW**size)
        widest = _WIDEST_PER_DIAMETER * given if given else _WIDEST_PX
        return found, SpotLevels(self.size_wh, diameter, widest, floor, gain, min_snr)


def measure_spot_levels(image: np.ndarray, diameter_px: float | None = None) -> SpotLevels:
    """Measure the levels of a whole field held in memory.

    Args:
        image: (H, W) grey values, integer or float.
        diameter_px: full width at half maximum of the spots; None chooses among 2.8, 4.2 and 6.1 px.

    Raises:
        ValueError: not (H, W), no pixel, NaN pixels, a diameter outside [1.5, 8.5] px.
        TypeError: neither integers nor floats.
    """
    plane = as_plane(image)
    levels = SpotLevelsPass((plane.shape[1], plane.shape[0]), plane.dtype, diameter_px)
    levels.add(plane)
    return levels.result()


class _Block(NamedTuple):
    """Statistics of one block; lists have one entry a spot size."""

    background: list[np.ndarray]  # grey value of each cell, float64
    variance: list[np.ndarray]  # of a pixel's noise as the filter feels it, each cell, float64
    peaks: list[np.ndarray]  # response and background of each maximum that may be a spot, float64 (N, 2)
    deviation: np.ndarray  # of a pixel's noise as neighbouring pixels show it, each cell, float64
    step: float  # smallest difference between neighbouring pixels; inf where all are equal


def _ladder(diameter_px: float | None) -> list[SpotFilter]:
    if diameter_px is not None:
        return [spot_filter(diameter_px / FWHM_PER_SIGMA)]
    sigmas_px = [_FINEST_DIAMETER_PX / FWHM_PER_SIGMA * WIDE_PER_NARROW**size for size in range(_SIZES)]
    return [spot_filter(sigma_px) for sigma_px in sigmas_px]


def _measure_block(block: np.ndarray, ladder: list[SpotFilter]) -> _Block:
    # Each filter's wide Gaussian is the next one's narrow one.
    means = blurred(block, [kernel.narrow_px for kernel in ladder] + [ladder[-1].wide_px])
    background, variance, peaks = [], [], []
    for narrow, wide, kernel in zip(means[:-1], means[1:], ladder, strict=True):
        response = np.subtract(narrow, wide, out=narrow)
        deviation = 1.4826 / kernel.norm * _middle(np.abs(_cells(response))).astype(np.float64)
        ys, xs = local_maxima(response, np.float32(_LOWEST_SNR * kernel.norm * _middle(deviation)))
        background.append(_cells(wide).mean(axis=1, dtype=np.float64))
        variance.append(deviation**2)
        peaks.append(np.stack([response[ys, xs], wide[ys, xs]], axis=1).astype(np.float64))
    fine = np.abs(_cells(cv2.filter2D(block, cv2.CV_32F, _CHECKER, borderType=cv2.BORDER_REFLECT)))
    # A Gaussian's mean deviation is sqrt(2 / pi) of its standard deviation.
    white = fine.mean(axis=1, dtype=np.float64) * math.sqrt(math.pi / 2)
    steps = np.abs(np.diff(block[::2], axis=1))
    return _Block(background, variance, peaks, white, float(np.min(steps[steps > 0], initial=np.inf)))


# Blind to anything smooth (Immerkaer 1996, CVIU 64:300); white noise keeps its deviation.
_CHECKER = np.outer((1, -2, 1), (1, -2, 1)).astype(np.float32) / 6


def local_maxima(response: np.ndarray, limit: np.float32) -> tuple[np.ndarray, np.ndarray]:
    """Pixels from ``limit`` upwards, above 0, that no neighbour exceeds; of equal neighbours the first.

    Args:
        response: float32 (H, W).
        limit: lowest value of a maximum.

    Returns:
        Rows and columns in row-major order, int (N,) each.
    """
    framed = cv2.copyMakeBorder(response, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=-math.inf)
    stride, values = framed.shape[1], framed.ravel()
    places = np.flatnonzero(values >= max(limit, np.finfo(np.float32).tiny))
    for step in (1, stride - 1, stride, stride + 1):
        here = values[places]
        # Of equal neighbours the earlier one wins.
        places = places[(here > values[places - step]) & (here >= values[places + step])]
    return places // stride - 1, places % stride - 1


def _cells(values: np.ndarray) -> np.ndarray:
    """Every second pixel of each row and column by cell, (cells, pixels); a rest narrower than a cell is left out."""
    height, width = values.shape
    side_y, side_x = min(CELL_PX, height), min(CELL_PX, width)
    rows, columns = height // side_y, width // side_x
    part = values[: rows * side_y, : columns * side_x].reshape(rows, side_y, columns, side_x)[:, ::2, :, ::2]
    return part.transpose(0, 2, 1, 3).reshape(rows * columns, -1)


def _middle(values: np.ndarray) -> np.ndarray:
    """Upper median along the last axis; much faster than NumPy's on short rows."""
    return np.sort(values, axis=-1)[..., values.shape[-1] // 2]


def _white_variance(blocks: list[_Block]) -> float:
    """Variance of a pixel's noise if it were white, at least that of rounding to the field's grey steps."""
    deviation = float(_middle(np.concatenate([block.deviation for block in blocks])))
    step = min(block.step for block in blocks)
    return max(deviation**2, step**2 / 12 if math.isfinite(step) else 0.0)


def _noise(floor: float, gain: float, background: np.ndarray) -> np.ndarray:
    # Rounding in float32 is noise, too: it keeps an image without any other from being all spots.
    rounding = 1e-6 * np.abs(background) + 1e-30
    return np.sqrt(floor + gain * np.maximum(background, 0)) + rounding


def _fit_noise(background: np.ndarray, variance: np.ndarray) -> tuple[float, float]:
    """Floor and gain of ``variance = floor + gain * background`` through the medians of cells of like background."""
    middle = float(_middle(variance))
    low, high = float(background.min()), float(background.max())
    if not high > low:
        return middle, 0.0
    places = np.minimum((background - low) * (_BACKGROUND_BINS / (high - low)), _BACKGROUND_BINS - 1).astype(int)
    bins = [np.flatnonzero(places == place) for place in range(_BACKGROUND_BINS)]
    bins = [cells for cells in bins if len(cells) >= _FEWEST_CELLS]
    at = np.array([background[cells].mean() for cells in bins])
    value = np.array([_middle(variance[cells]) for cells in bins])
    weight = np.array([min(len(cells), 4 * _FEWEST_CELLS) for cells in bins], np.float64)
    if len(bins) < 2:
        return middle, 0.0
    mean_at, mean_value = (weight @ at) / weight.sum(), (weight @ value) / weight.sum()
    gain = float((weight * (at - mean_at)) @ value / ((weight * (at - mean_at)) @ at))
    floor = float(mean_value - gain * mean_at)
    if gain * (at[-1] - at[0]) < _CLEAR_GROWTH * mean_value:
        return middle, 0.0
    return (floor, gain) if floor > 0 else (0.0, float(mean_value / max(mean_at, 1e-30)))


def _threshold(snr: np.ndarray, density: float) -> tuple[int, float]:
    """How many maxima pass, and the level they pass, where ``FALSE_SHARE`` of them may be noise."""
    ordered = np.sort(snr)[::-1]
    expected = density * ordered * np.exp(-(ordered**2) / 2)
    passing = np.flatnonzero(expected <= FALSE_SHARE * np.arange(1, len(ordered) + 1))
    found = int(passing[-1]) + 1 if len(passing) else 0
    return found, _level(max(found, 1) * FALSE_SHARE / density)


def _level(chance: float) -> float:
    """The ``t`` with ``t * exp(-t**2 / 2) == chance``; at least ``_LOWEST_SNR``."""
    level = _LOWEST_SNR
    for _ in range(20):
        level = math.sqrt(max(2 * math.log(level / chance), _LOWEST_SNR**2))
    return level
