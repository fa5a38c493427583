"""Filters of bounded support that make spots stand out; independent of position, so tiles agree with the whole field.

A spot of standard deviation ``sigma`` is looked for with the difference of two Gaussians (Marr and Hildreth 1980, Proc
R Soc Lond B 207:187), which is blind to a flat or evenly sloping background.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))
# Limits of `diameter_px`: below, a spot is a pixel; above, it does not fit into a tile's halo.
MIN_DIAMETER_PX, MAX_DIAMETER_PX = 1.5, 8.5
# Narrow Gaussian over the spot's sigma, and wide over narrow: near the best signal-to-noise for a spot in white noise,
# and little disturbed by neighbours and by slow background.
_NARROW_PER_SPOT, WIDE_PER_NARROW = 1.25, 1.47
_RADIUS_PER_SIGMA = 3.5


@dataclass(frozen=True)
class SpotFilter:
    """Difference of two Gaussians for spots of one size.

    Attributes:
        narrow_px: standard deviation of the inner Gaussian.
        wide_px: standard deviation of the outer Gaussian.
        norm: root of the kernel's sum of squares: the response's noise where a pixel's noise is 1.
        peak_weight: the kernel's central weight.
        peak_density: a field of noise has ``peak_density * t * exp(-t**2 / 2)`` maxima per pixel above a high level
            ``t`` (Rice's formula in two dimensions; Adler, The Geometry of Random Fields, 1981, section 6.7).
    """

    narrow_px: float
    wide_px: float
    norm: float
    peak_weight: float
    peak_density: float

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
        narrow, wide = blurred(image, (self.narrow_px, self.wide_px))
        return np.subtract(narrow, wide, out=narrow), wide

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


def blurred(image: np.ndarray, sigmas_px: Sequence[float]) -> np.ndarray:
    """Gaussian means of bounded support of a float32 (H, W) image, mirrored at its edge; float32 (sigmas, H, W)."""
    means = np.empty((len(sigmas_px), *image.shape), np.float32)
    for mean, sigma_px in zip(means, sigmas_px, strict=True):
        kernel = _gauss(sigma_px)
        cv2.sepFilter2D(image, cv2.CV_32F, kernel, kernel, dst=mean, borderType=cv2.BORDER_REFLECT)
    return means


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
    return SpotFilter(narrow_px, wide_px, norm, float(kernel.max()), slope / power * (2 * math.pi) ** -1.5)


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
