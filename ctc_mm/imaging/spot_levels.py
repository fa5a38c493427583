"""What a field's spots are judged by: size, noise and threshold, measured once over the whole field, block by block."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ctc_mm.imaging.spot_filters import (
    FWHM_PER_SIGMA,
    MAX_DIAMETER_PX,
    MEDIAN_DEVIATION,
    MIN_DIAMETER_PX,
    WIDE_PER_NARROW,
    SpotFilter,
    as_float32,
    as_plane,
    blur,
    is_hot_pixel,
    is_round,
    local_maxima,
    spot_filter,
)
from ctc_mm.imaging.spot_noise import NoiseCells, cells_of, fit_pixel_noise, measure_cells, middle

# Statistics are taken on blocks of this side, aligned at the field's origin; a block's depend on its pixels alone.
BLOCK_PX = 256
# Chance that a field of pure noise shows a spot of one size ...
FALSE_FIELD = 0.001
# ... and, in fields that show some, the expected share of false ones (Benjamini and Hochberg 1995, J R Stat Soc B
# 57:289): where spots are many, dimmer ones are believed.
FALSE_SHARE = 0.01
# Without a given diameter, the finest of three sizes; each next is WIDE_PER_NARROW larger.
_FINEST_DIAMETER_PX, _SIZES = 2.83, 3
# A size is chosen for the spots it finds, and, by this weight of the logarithm, for how clear it makes them.
_CLARITY = 0.125
# Blobs wider than this are no spots: where no diameter is given, and over the diameter that is.
_WIDEST_PX, _WIDEST_PER_DIAMETER = 9.5, 2.5
# Maxima under this signal-to-noise are never spots, and not kept.
_LOWEST_SNR = 4.0
# The response's noise is measured on cells of this side.
_CELL_PX = 16
# Below it, the skewness makes no difference.
_NO_SKEWNESS = 1e-3


@dataclass(frozen=True)
class SpotLevels:
    """The numbers of one field that decide what is a spot: made once a field, recorded, passed to each tile.

    Attributes:
        size_wh: width and height of the field in pixels.
        diameter_px: full width at half maximum of the spots looked for.
        widest_px: full width at half maximum from which a blob is too large for a spot.
        dark_level: grey value of the darkest background.
        noise_variance: variance of a pixel's noise there, as the filter feels it, squared grey values.
        noise_gain: growth of that variance with the background, grey values (shot noise); at least 0.
        min_snr: a spot's response over its noise reaches this.
    """

    size_wh: tuple[int, int]
    diameter_px: float
    widest_px: float
    dark_level: float
    noise_variance: float
    noise_gain: float
    min_snr: float

    @property
    def sigma_px(self) -> float:
        """Standard deviation in pixels of the spots looked for."""
        return self.diameter_px / FWHM_PER_SIGMA

    def noise_at(self, background: np.ndarray) -> np.ndarray:
        """Standard deviation of a pixel's noise over a background, grey values, float64."""
        background = background.astype(np.float64)
        variance = self.noise_variance + self.noise_gain * np.maximum(background - self.dark_level, 0)
        # Rounding in float32 is noise, too: it keeps an image without any other from being all spots.
        return np.sqrt(variance) + 1e-6 * np.abs(background) + 1e-30

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
        self._diameters_px = [_FINEST_DIAMETER_PX * WIDE_PER_NARROW**size for size in range(_SIZES)]
        if diameter_px is not None:
            self._diameters_px = [float(diameter_px)]
        self._filters = [spot_filter(diameter / FWHM_PER_SIGMA) for diameter in self._diameters_px]
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
                self._blocks[y, x] = _measure_block(as_float32(block), self._filters)

    def result(self) -> SpotLevels:
        """The levels of the whole field.

        Raises:
            ValueError: parts of the field were not added.
        """
        expected = math.prod(-(-side // BLOCK_PX) for side in self.size_wh)
        if len(self._blocks) != expected:
            raise ValueError(f"{expected - len(self._blocks)} of the field's {expected} blocks were not added")
        blocks = [self._blocks[key] for key in sorted(self._blocks)]
        noise = fit_pixel_noise([block.noise for block in blocks])
        best: tuple[float, SpotLevels] | None = None
        for size, (diameter_px, kernel) in enumerate(zip(self._diameters_px, self._filters, strict=True)):
            widest_px = _WIDEST_PX if self.diameter_px is None else _WIDEST_PER_DIAMETER * diameter_px
            levels = SpotLevels(
                self.size_wh, diameter_px, widest_px, noise.dark_level, noise.variance, noise.gain, _LOWEST_SNR
            )
            levels = _fit_colour(levels, [block.by_size[size] for block in blocks])
            peaks = np.concatenate([block.by_size[size].peaks for block in blocks])
            snr = peaks[:, 0] / (levels.noise_at(peaks[:, 1]) * kernel.norm)
            density = math.prod(self.size_wh) * kernel.peak_density
            skewness = noise.skewness * kernel.skewness
            found, level = _threshold(_as_gaussian(snr, skewness), density)
            worth = found + _CLARITY * float(np.log(np.sort(snr)[len(snr) - found :]).sum())
            if best is None or worth > best[0]:
                best = worth, replace(levels, min_snr=_from_gaussian(level, skewness))
        return best[1]


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


class _SizeStatistics(NamedTuple):
    """What one block shows of spots of one size, float64."""

    background: np.ndarray  # grey value of each cell
    variance: np.ndarray  # of a pixel's noise as the filter feels it, each cell
    peaks: np.ndarray  # (N, 2): response and background of each maximum that may be a spot


class _Block(NamedTuple):
    noise: NoiseCells
    by_size: list[_SizeStatistics]


def _measure_block(block: np.ndarray, filters: list[SpotFilter]) -> _Block:
    by_size = []
    narrow, free = blur(block, filters[0].narrow_px), np.empty_like(block)
    for kernel in filters:
        wide = blur(block, kernel.wide_px, free)
        response = np.subtract(narrow, wide, out=narrow)
        deviation = middle(np.abs(cells_of(response, _CELL_PX))).astype(np.float64) / MEDIAN_DEVIATION
        ys, xs = local_maxima(response, _LOWEST_SNR * float(middle(deviation)))
        # A slope that ends at the block's edge looks like a ridge to the filter, which mirrors it.
        keep = _to_edge(ys, xs, block.shape) >= 1.5 * kernel.narrow_px
        ys, xs = ys[keep], xs[keep]
        keep = ~is_hot_pixel(block, response, ys, xs, kernel) & is_round(response, ys, xs, kernel)
        ys, xs = ys[keep], xs[keep]
        peaks = np.stack([response[ys, xs], kernel.background_at(response, wide, ys, xs)], axis=1).astype(np.float64)
        background = middle(cells_of(wide, _CELL_PX)).astype(np.float64)
        by_size.append(_SizeStatistics(background, (deviation / kernel.norm) ** 2, peaks))
        narrow, free = wide, narrow  # a filter's wide Gaussian is the next one's narrow one
    return _Block(measure_cells(block), by_size)


def _to_edge(ys: np.ndarray, xs: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Pixels between each place and the nearest edge, int (N,)."""
    return np.minimum(np.minimum(ys, shape[0] - 1 - ys), np.minimum(xs, shape[1] - 1 - xs))


def _fit_colour(levels: SpotLevels, blocks: list[_SizeStatistics]) -> SpotLevels:
    """Raise the noise by what the filter feels beyond white noise: texture, blur, compression."""
    background = np.concatenate([block.background for block in blocks])
    variance = np.concatenate([block.variance for block in blocks])
    colour = max(float(middle(variance / levels.noise_at(background) ** 2)), 1.0)
    return replace(levels, noise_variance=colour * levels.noise_variance, noise_gain=colour * levels.noise_gain)


def _threshold(peaks: np.ndarray, density: float) -> tuple[int, float]:
    """How many maxima are spots, and the level that all of them reach.

    Args:
        peaks: signal-to-noise of the field's maxima, where noise is Gaussian.
        density: ``peak_density`` times the field's pixels.
    """
    peaks = np.sort(peaks)[::-1]
    expected = density * peaks * np.exp(-(peaks**2) / 2)
    passing = np.flatnonzero(expected <= FALSE_SHARE * np.arange(1, len(peaks) + 1))
    if not len(passing) or expected[0] > FALSE_FIELD:
        return 0, _level(FALSE_FIELD / density)
    found = int(passing[-1]) + 1
    return found, _level(found * FALSE_SHARE / density)


def _level(chance: float) -> float:
    """The ``t`` with ``t * exp(-t**2 / 2) == chance``; at least ``_LOWEST_SNR``."""
    level = _LOWEST_SNR
    for _ in range(10):
        level = math.sqrt(max(2 * math.log(level / chance), _LOWEST_SNR**2))
    return level


def _as_gaussian(snr: np.ndarray, skewness: float) -> np.ndarray:
    """Level that Gaussian noise exceeds as seldom as noise of this skewness exceeds ``snr`` (Poisson's deviance)."""
    if skewness < _NO_SKEWNESS:
        return snr
    grown = 1 + skewness * np.maximum(snr, 0)
    return np.sqrt(2 * np.maximum(grown * np.log(grown) - (grown - 1), 0)) / skewness


def _from_gaussian(level: float, skewness: float) -> float:
    """The ``snr`` whose ``_as_gaussian`` is ``level`` (Newton's method; the function is convex)."""
    if skewness < _NO_SKEWNESS:
        return level
    snr = level * (1 + skewness * level)
    for _ in range(10):
        grown = 1 + skewness * snr
        excess = (grown * math.log(grown) - (grown - 1)) / skewness**2 - level**2 / 2
        snr -= excess * skewness / math.log(grown)
    return snr
