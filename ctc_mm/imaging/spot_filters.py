"""Filters of bounded support that make spots stand out; independent of position, so tiles agree with the whole field.

A spot of standard deviation ``sigma`` is looked for with the difference of two Gaussians (Marr and Hildreth 1980, Proc
R Soc Lond B 207:187), which is blind to a flat or evenly sloping background.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import cv2
import numpy as np

FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))
# Median absolute deviation of a Gaussian.
MEDIAN_DEVIATION = 0.6745
# Limits of `diameter_px`: below, a spot is a pixel; above, it does not fit into a tile's halo.
MIN_DIAMETER_PX, MAX_DIAMETER_PX = 1.5, 8.5
# Narrow Gaussian over the spot's sigma, and wide over narrow: near the best signal-to-noise for a spot in white noise,
# and little disturbed by neighbours and by slow background.
_NARROW_PER_SPOT, WIDE_PER_NARROW = 1.25, 1.47
_RADIUS_PER_SIGMA = 3.5
# Radii of the ring around a spot that shows how restless its surroundings are, over the spot's sigma.
_RING = (4.0, 10.0)
# Roundness of a maximum: spots that just begin to part keep 0.4 and more, the rim of a nucleus has 0 to 0.3.
_ROUNDNESS = 0.3
# The sharpest spot that is no hot pixel: sigma (cameras are matched to coarser ones), or over that looked for.
_SHARPEST_PX, _SHARPEST_PER_SPOT = 0.7, 0.8


@dataclass(frozen=True)
class SpotFilter:
    """Difference of two Gaussians for spots of one size.

    Attributes:
        narrow_px: standard deviation of the inner Gaussian.
        wide_px: standard deviation of the outer Gaussian.
        norm: root of the kernel's sum of squares: the response's noise where a pixel's noise is 1.
        peak_weight: the kernel's central weight.
        skewness: of the response, where that of independent pixels is 1.
        peak_density: a field of noise has ``peak_density * t * exp(-t**2 / 2)`` maxima per pixel above a high level
            ``t`` (Rice's formula in two dimensions; Adler, The Geometry of Random Fields, 1981, section 6.7).
    """

    narrow_px: float
    wide_px: float
    norm: float
    peak_weight: float
    skewness: float
    peak_density: float

    @property
    def hot_share(self) -> float:
        """Share of a response from which one pixel alone has made it: between that and the sharpest spot's share."""
        sigma_px = min(_SHARPEST_PX, _SHARPEST_PER_SPOT * self.narrow_px / _NARROW_PER_SPOT)
        beside, across = math.exp(-0.5 / sigma_px**2), math.exp(-1 / sigma_px**2)
        share = (1 - (beside + across) / 2) * self.peak_weight / float(self.gain(sigma_px))
        return (1 + share) / 2

    @property
    def radius_px(self) -> int:
        """How many pixels the filter looks to each side."""
        return _radius(self.wide_px)

    def gain(self, sigma_px: np.ndarray | float) -> np.ndarray:
        """Response at the centre of a Gaussian spot of amplitude 1, for each standard deviation."""
        square = np.asarray(sigma_px, np.float64) ** 2
        return square / (square + self.narrow_px**2) - square / (square + self.wide_px**2)

    def apply(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Filter an image.

        Args:
            image: float32 (H, W).

        Returns:
            Response (bright spots are maxima; white noise gets the deviation ``norm``), and the mean of the
            surroundings, float32 (H, W) each.
        """
        narrow, wide = blur(image, self.narrow_px), blur(image, self.wide_px)
        return np.subtract(narrow, wide, out=narrow), wide

    def background_at(self, response: np.ndarray, mean: np.ndarray, ys: np.ndarray, xs: np.ndarray) -> np.ndarray:
        """Grey value around a spot: the local mean without the light of a spot of the size looked for, float64 (N,)."""
        sigma_px = self.narrow_px / _NARROW_PER_SPOT
        of_spot = sigma_px**2 / (sigma_px**2 + self.wide_px**2) / float(self.gain(sigma_px))
        return mean[ys, xs].astype(np.float64) - of_spot * response[ys, xs]

    def edge_noise(self, to_edge_y: np.ndarray, to_edge_x: np.ndarray) -> np.ndarray:
        """Growth of the noise near the image's edge, where mirrored pixels count twice.

        Args:
            to_edge_y: pixels between a row and the nearer edge, 0 for the first and last row; int (N,).
            to_edge_x: the same for columns.

        Returns:
            Deviation of the response over that far from the edge, float64 (N,).
        """
        table = _edge_products(self.narrow_px, self.wide_px)
        rows = table[:, np.minimum(to_edge_y, table.shape[1] - 1)]
        columns = table[:, np.minimum(to_edge_x, table.shape[1] - 1)]
        power = rows[0] * columns[0] - 2 * rows[1] * columns[1] + rows[2] * columns[2]
        return np.sqrt(power) / self.norm


def blur(image: np.ndarray, sigma_px: float, out: np.ndarray | None = None) -> np.ndarray:
    """Gaussian mean of bounded support of a float32 image mirrored at its edge, float32 (H, W), in ``out`` if given."""
    kernel = _gauss(sigma_px)
    return cv2.sepFilter2D(image, cv2.CV_32F, kernel, kernel, dst=out, borderType=cv2.BORDER_REFLECT)


def spot_filter(sigma_px: float) -> SpotFilter:
    """The filter for spots of this standard deviation."""
    return filter_between(_NARROW_PER_SPOT * sigma_px, _NARROW_PER_SPOT * WIDE_PER_NARROW * sigma_px)


@functools.lru_cache(maxsize=64)
def filter_between(narrow_px: float, wide_px: float) -> SpotFilter:
    """The filter of two given Gaussians."""
    wide = _gauss(wide_px).astype(np.float64)
    narrow = np.pad(_gauss(narrow_px).astype(np.float64), _radius(wide_px) - _radius(narrow_px))
    kernel = np.outer(narrow, narrow) - np.outer(wide, wide)
    power = float((kernel**2).sum())
    slope = float((np.diff(kernel, axis=0) ** 2).sum())
    norm = math.sqrt(power)
    skewness = float((kernel**3).sum()) / norm**3
    density = slope / power * (2 * math.pi) ** -1.5
    return SpotFilter(narrow_px, wide_px, norm, float(kernel.max()), skewness, density)


def local_maxima(response: np.ndarray, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """Pixels from ``limit`` upwards, above 0, that no neighbour exceeds; of equal neighbours the first.

    Args:
        response: float32 (H, W).
        limit: lowest value of a maximum.

    Returns:
        Rows and columns in row-major order, int (N,) each.
    """
    framed = cv2.copyMakeBorder(response, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=-math.inf)
    stride, values = framed.shape[1], framed.ravel()
    places = np.flatnonzero(values >= np.float32(max(limit, np.finfo(np.float32).tiny)))
    for step in (1, stride - 1, stride, stride + 1):
        here = values[places]
        # Of equal neighbours the earlier one wins.
        places = places[(here > values[places - step]) & (here >= values[places + step])]
    return places // stride - 1, places % stride - 1


def unrest_around(response: np.ndarray, ys: np.ndarray, xs: np.ndarray, kernel: SpotFilter) -> np.ndarray:
    """Deviation of the response in a ring around each place, as a radar judges clutter; float64 (N,).

    It is taken from the median, which does not mind a neighbouring spot in the ring (ordered statistic; Rohling 1983,
    IEEE Trans Aerosp Electron Syst 19:608).
    """
    step = max(round(kernel.narrow_px), 1)
    inner, outer = (radius * kernel.narrow_px / _NARROW_PER_SPOT for radius in _RING)
    axis = np.arange(-int(outer // step), int(outer // step) + 1) * step
    square = axis[:, None] ** 2 + axis**2
    rows, columns = (axis[places] for places in np.nonzero((square >= inner**2) & (square <= outer**2)))
    rows = np.minimum(np.maximum(ys[:, None] + rows, 0), response.shape[0] - 1)
    columns = np.minimum(np.maximum(xs[:, None] + columns, 0), response.shape[1] - 1)
    ring = np.abs(response[rows, columns])
    middle = ring.shape[1] // 2
    return np.partition(ring, middle, axis=1)[:, middle].astype(np.float64) / MEDIAN_DEVIATION


# In a patch of 5 x 5: the middle 3 x 3, and the 8 neighbours of each of those.
_PATCH_5 = np.arange(25).reshape(5, 5)
_MIDDLE_9 = _PATCH_5[1:4, 1:4].ravel()
_NEIGHBOURS_8 = np.array([np.delete(_PATCH_5[y - 1 : y + 2, x - 1 : x + 2], 4) for y in (1, 2, 3) for x in (1, 2, 3)])


def is_hot_pixel(
    image: np.ndarray, response: np.ndarray, ys: np.ndarray, xs: np.ndarray, kernel: SpotFilter
) -> np.ndarray:
    """Whether most of a maximum's response comes from one pixel, as no lens can make it; bool (N,).

    Args:
        image: float32 (H, W).
        response: of the filter, float32 (H, W).
        ys: rows of the maxima, int (N,).
        xs: columns.
        kernel: the filter.
    """
    patch = _patches(image, ys, xs, 2, 1)
    brightest = np.argmax(patch[:, _MIDDLE_9], axis=1)
    rows = np.arange(len(ys))
    around = patch[rows[:, None], _NEIGHBOURS_8[brightest]].mean(axis=1, dtype=np.float64)
    excess = (patch[rows, _MIDDLE_9[brightest]] - around) * kernel.peak_weight
    # On the image's edge a pixel counts twice.
    for places, step, length in ((ys, brightest // 3, image.shape[0]), (xs, brightest % 3, image.shape[1])):
        hot = places + step - 1
        excess *= np.where((hot <= 0) | (hot >= length - 1), 2, 1)
    return excess > kernel.hot_share * response[ys, xs]


def is_round(response: np.ndarray, ys: np.ndarray, xs: np.ndarray, kernel: SpotFilter) -> np.ndarray:
    """Whether the response falls off to all sides of a maximum, unlike along an edge; bool (N,).

    Judged by the least over the greatest curvature (eigenvalues of the Hessian).
    """
    patch = _patches(response, ys, xs, 1, max(round(kernel.narrow_px), 1)).astype(np.float64)
    along_y, along_x = (2 * patch[:, 4] - patch[:, before] - patch[:, after] for before, after in ((1, 7), (3, 5)))
    across = (patch[:, 0] + patch[:, 8] - patch[:, 2] - patch[:, 6]) / 4
    mean, spread = (along_y + along_x) / 2, np.hypot((along_y - along_x) / 2, across)
    return mean - spread >= _ROUNDNESS * (mean + spread)


def _patches(image: np.ndarray, ys: np.ndarray, xs: np.ndarray, reach: int, step: int) -> np.ndarray:
    """Every ``step``-th pixel, ``reach`` of them to each side of each place, row by row, (N, (2 * reach + 1) ** 2)."""
    axis = np.arange(-reach, reach + 1) * step
    rows = np.minimum(np.maximum(ys[:, None] + axis, 0), image.shape[0] - 1)
    columns = np.minimum(np.maximum(xs[:, None] + axis, 0), image.shape[1] - 1)
    return image[rows[:, :, None], columns[:, None, :]].reshape(len(ys), len(axis) ** 2)


def as_plane(image: np.ndarray) -> np.ndarray:
    """The image as given, checked.

    Raises:
        ValueError: not (H, W), no pixel, NaN or infinite pixels.
        TypeError: neither integers nor floats.
    """
    image = np.asarray(image)
    if image.ndim != 2 or image.size == 0:
        raise ValueError(f"`image` must have shape (H, W) with at least one pixel. Received: {image.shape}")
    if image.dtype.kind not in "uif":
        raise TypeError(f"`image` must hold integers or floats. Received: {image.dtype}")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise ValueError(f"`image` holds {int((~np.isfinite(image)).sum())} NaN or infinite pixels; mend or mask them")
    return image


def as_float32(plane: np.ndarray) -> np.ndarray:
    """Grey values as contiguous float32, which holds every 8- and 16-bit value exactly."""
    return np.ascontiguousarray(plane, np.float32)


@functools.lru_cache(maxsize=64)
def _gauss(sigma_px: float) -> np.ndarray:
    axis = np.arange(-_radius(sigma_px), _radius(sigma_px) + 1, dtype=np.float64)
    values = np.exp(-(axis**2) / (2 * sigma_px**2))
    return (values / values.sum()).astype(np.float32)


def _radius(sigma_px: float) -> int:
    return math.ceil(_RADIUS_PER_SIGMA * sigma_px)


@functools.lru_cache(maxsize=64)
def _edge_products(narrow_px: float, wide_px: float) -> np.ndarray:
    """Scalar products narrow-narrow, narrow-wide, wide-wide of kernels folded at an edge, by the distance to it."""
    radius = _radius(wide_px)
    wide = _gauss(wide_px).astype(np.float64)
    narrow = np.pad(_gauss(narrow_px).astype(np.float64), radius - _radius(narrow_px))
    products = []
    for distance in range(radius + 1):
        inner, outer = (_fold(kernel, radius - distance) for kernel in (narrow, wide))
        products.append((inner @ inner, inner @ outer, outer @ outer))
    return np.array(products).T


def _fold(kernel: np.ndarray, beyond: int) -> np.ndarray:
    """The kernel with its first ``beyond`` weights mirrored onto the pixels inside the image."""
    folded = kernel[beyond:].copy()
    folded[:beyond] += kernel[:beyond][::-1]
    return folded
