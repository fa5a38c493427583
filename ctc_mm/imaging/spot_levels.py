"""What a field's spots are judged by: noise and threshold, measured once over the whole field in aligned blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ctc_mm.imaging.spot_filters import as_plane, background_of, check_diameter, fwhm_to_sigma, spot_response

BLOCK_PX = 256
# Noise is taken from cells of this side; of each cell every second pixel, as neighbours say nearly the same.
CELL_PX = 32
# Spots wanted on a field of pure noise.
FALSE_SPOTS_PER_FIELD = 0.005
DEFAULT_DIAMETER_PX = 4.2


@dataclass(frozen=True)
class SpotLevels:
    """The numbers of one field that decide what is a spot; made once a field, passed to each tile.

    Attributes:
        size_wh: width and height of the field in pixels.
        diameter_px: full width at half maximum of the spots looked for.
        noise_floor_variance: variance of the filter's response on a dark background, grey values squared.
        noise_gain: growth of that variance with the background, grey values (shot noise); at least 0.
        min_snr: a spot's response over its noise must reach this.
    """

    size_wh: tuple[int, int]
    diameter_px: float
    noise_floor_variance: float
    noise_gain: float
    min_snr: float

    def to_dict(self) -> dict[str, Any]:
        """The levels as plain JSON values."""
        return asdict(self) | {"size_wh": list(self.size_wh)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SpotLevels:
        """The levels that ``to_dict`` wrote."""
        return cls(**{**values, "size_wh": tuple(values["size_wh"])})


class SpotLevelsPass:
    """Measures ``SpotLevels`` tile by tile; the result does not depend on the tiles nor on their order.

    Args:
        size_wh: width and height of the field in pixels.
        dtype: pixel type of the field.
        diameter_px: full width at half maximum of the spots looked for; None takes the default.

    Raises:
        ValueError: a size or diameter that is not positive.
    """

    def __init__(self, size_wh: tuple[int, int], dtype: np.dtype, diameter_px: float | None = None) -> None:
        if min(size_wh) < 1:
            raise ValueError(f"`size_wh` must be at least 1 x 1. Received: {size_wh}")
        self.size_wh = (int(size_wh[0]), int(size_wh[1]))
        self.dtype = np.dtype(dtype)
        self.diameter_px = check_diameter(DEFAULT_DIAMETER_PX if diameter_px is None else diameter_px)
        self._cells: dict[tuple[int, int], np.ndarray] = {}

    def add(self, tile: np.ndarray, origin_xy: tuple[int, int] = (0, 0)) -> None:
        """Take in one tile; origin and size are multiples of 256 px, except at the field's far edges.

        Raises:
            ValueError: a tile that is misaligned, leaves the field, was added before, or has NaN pixels.
        """
        plane = as_plane(tile)
        x0, y0 = (int(value) for value in origin_xy)
        ends = (x0 + plane.shape[1], y0 + plane.shape[0])
        for start, end, side in zip((x0, y0), ends, self.size_wh, strict=True):
            if start < 0 or start % BLOCK_PX or end > side or (end % BLOCK_PX and end != side):
                raise ValueError(
                    f"tiles must start and end on multiples of {BLOCK_PX} px of a field of {self.size_wh} px. "
                    f"Received: {plane.shape[1]} x {plane.shape[0]} px at {origin_xy}"
                )
        for y in range(y0, ends[1], BLOCK_PX):
            for x in range(x0, ends[0], BLOCK_PX):
                if (y, x) in self._cells:
                    raise ValueError(f"the block at {(x, y)} was added before; add each tile once")
                block = plane[y - y0 : y - y0 + BLOCK_PX, x - x0 : x - x0 + BLOCK_PX]
                self._cells[y, x] = _measure_block(np.ascontiguousarray(block, np.float32), self.diameter_px)

    def result(self) -> SpotLevels:
        """The levels of the whole field.

        Raises:
            ValueError: parts of the field are missing.
        """
        expected = math.prod(-(-side // BLOCK_PX) for side in self.size_wh)
        if len(self._cells) != expected:
            raise ValueError(f"{expected - len(self._cells)} of {expected} blocks of the field were not added")
        cells = np.concatenate([self._cells[key] for key in sorted(self._cells)])
        floor, gain = _fit_noise(cells[:, 0], cells[:, 1])
        return SpotLevels(self.size_wh, self.diameter_px, floor, gain, _min_snr(self.size_wh, self.diameter_px))


def measure_spot_levels(image: np.ndarray, diameter_px: float | None = None) -> SpotLevels:
    """Measure the levels of a whole field held in memory.

    Args:
        image: (H, W) grey values, integer or float.
        diameter_px: full width at half maximum of the spots looked for; None takes the default.

    Raises:
        ValueError: not (H, W), no pixel, NaN pixels, or a diameter that is not positive.
        TypeError: neither integers nor floats.
    """
    plane = as_plane(image)
    levels = SpotLevelsPass((plane.shape[1], plane.shape[0]), plane.dtype, diameter_px)
    levels.add(plane)
    return levels.result()


def _measure_block(block: np.ndarray, diameter_px: float) -> np.ndarray:
    """Background and noise variance of the response for each cell of one block, float64 (cells, 2)."""
    response = spot_response(block, fwhm_to_sigma(diameter_px))
    background = background_of(block, fwhm_to_sigma(diameter_px))
    height, width = block.shape
    rows = []
    for y in range(0, height, CELL_PX):
        for x in range(0, width, CELL_PX):
            part = (slice(y, y + CELL_PX, 2), slice(x, x + CELL_PX, 2))
            values = response[part].astype(np.float64)
            deviation = 1.4826 * np.median(np.abs(values))
            rows.append((float(np.median(background[part])), deviation**2))
    return np.array(rows)


def _fit_noise(background: np.ndarray, variance: np.ndarray) -> tuple[float, float]:
    """Floor and gain of ``variance = floor + gain * background``, from medians over bins of the background."""
    low, high = float(background.min()), float(background.max())
    places = np.minimum(((background - low) / max(high - low, 1e-12) * 8).astype(int), 7)
    bins = [
        (float(background[places == k].mean()), float(np.median(variance[places == k])), float((places == k).sum()))
        for k in range(8)
        if (places == k).sum() >= 4
    ]
    middle = float(np.median(variance))
    if len(bins) < 2:
        return middle, 0.0
    at, value, count = np.array(bins).T
    weight = np.minimum(count, 16)
    slope_weight = weight * (at - np.average(at, weights=weight))
    gain = max(float((slope_weight * value).sum() / (slope_weight * at).sum()), 0.0)
    floor = float(np.average(value, weights=weight)) - gain * float(np.average(at, weights=weight))
    return (floor, gain) if floor > 0 and gain > 0 else (middle, 0.0)


def _min_snr(size_wh: tuple[int, int], diameter_px: float) -> float:
    """Gaussian level that a field of noise exceeds with ``FALSE_SPOTS_PER_FIELD`` maxima (Rice's formula)."""
    sigma = fwhm_to_sigma(diameter_px)
    density = math.prod(size_wh) / (2 * math.pi) ** 1.5 * 2 / sigma**2
    level = 5.0
    for _ in range(30):
        level = math.sqrt(2 * math.log(max(density * level / FALSE_SPOTS_PER_FIELD, 2.0)))
    return level
