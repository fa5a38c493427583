"""Filters of bounded support that make spots stand out; position-independent, so tiles agree with the whole."""

from __future__ import annotations

import math

import cv2
import numpy as np

_FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))
MIN_DIAMETER_PX, MAX_DIAMETER_PX = 1.5, 12.0


def fwhm_to_sigma(diameter_px: float) -> float:
    """Standard deviation in pixels of a Gaussian with that full width at half maximum."""
    return diameter_px / _FWHM_PER_SIGMA


def check_diameter(diameter_px: float) -> float:
    """The diameter as a float.

    Raises:
        ValueError: outside what the halo of a tile allows.
    """
    if not MIN_DIAMETER_PX <= diameter_px <= MAX_DIAMETER_PX:
        raise ValueError(
            f"`diameter_px` must lie in [{MIN_DIAMETER_PX:g}, {MAX_DIAMETER_PX:g}] px; for larger spots reduce the "
            f"image first. Received: {diameter_px!r}"
        )
    return float(diameter_px)


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


def spot_response(image: np.ndarray, sigma_px: float) -> np.ndarray:
    """Laplacian of Gaussian, sign turned so that bright spots are maxima; float32 (H, W), unit noise gain."""
    gauss, curve = _gauss(sigma_px), _second_derivative(sigma_px)
    border = cv2.BORDER_REFLECT
    along_x = cv2.sepFilter2D(image, cv2.CV_32F, curve, gauss, borderType=border)
    along_y = cv2.sepFilter2D(image, cv2.CV_32F, gauss, curve, borderType=border)
    kernel = np.outer(gauss, curve) + np.outer(curve, gauss)
    return (along_x + along_y) * np.float32(-1 / math.sqrt(float((kernel.astype(np.float64) ** 2).sum())))


def background_of(image: np.ndarray, sigma_px: float) -> np.ndarray:
    """Grey value of a spot's surroundings: a wide Gaussian mean; float32 (H, W)."""
    wide = _gauss(2 * sigma_px)
    return cv2.sepFilter2D(image, cv2.CV_32F, wide, wide, borderType=cv2.BORDER_REFLECT)


def filter_radius(sigma_px: float) -> int:
    """How many pixels the widest filter looks to each side."""
    return math.ceil(4 * 2 * sigma_px)


def _axis(sigma_px: float) -> np.ndarray:
    radius = math.ceil(4 * sigma_px)
    return np.arange(-radius, radius + 1, dtype=np.float64)


def _gauss(sigma_px: float) -> np.ndarray:
    values = np.exp(-(_axis(sigma_px) ** 2) / (2 * sigma_px**2))
    return (values / values.sum()).astype(np.float32)


def _second_derivative(sigma_px: float) -> np.ndarray:
    axis = _axis(sigma_px)
    values = np.exp(-(axis**2) / (2 * sigma_px**2)) * (axis**2 / sigma_px**2 - 1)
    return (values - values.mean()).astype(np.float32)
