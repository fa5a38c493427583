"""Images made visible on an 8-bit screen: for the eye only, nothing is measured on what these functions return."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ctc_mm.imaging.field import Field

RGB = tuple[int, int, int]

# Percentiles (dark, bright) that become black and white: dust and hot pixels do not decide.
GREY_PERCENTILES = (0.5, 99.8)
# Of a fluorescence channel most pixels are background, which has to stay dark, and small signals have to stay bright.
FLUORESCENCE_PERCENTILES = (40.0, 99.95)
# So many pixels, evenly spread, are enough for percentiles.
_SAMPLED_PX = 2**18
# Pixels read at once.
_STRIP_PX = 2**24


@dataclass(frozen=True)
class DisplayRange:
    """Grey values shown as black (``low`` and below) and as white (``high`` and above)."""

    low: float
    high: float

    def __str__(self) -> str:
        """Give the range as in a caption: ``96 to 2310``."""
        return f"{self.low:.4g} to {self.high:.4g}"


def measure_display_range(image: np.ndarray, percentiles: tuple[float, float] = GREY_PERCENTILES) -> DisplayRange:
    """Grey values at two percentiles of an image, (H, W) or (H, W, 3); one range for all colours, so that hues stay."""
    step = _sampling_step(image.shape[0] * image.shape[1])
    low, high = np.percentile(image[::step, ::step], percentiles)
    return DisplayRange(float(low), float(high))


def _sampling_step(pixels: int) -> int:
    return max(1, int((pixels / _SAMPLED_PX) ** 0.5))


def measure_field_range(
    field: Field, channel: str, percentiles: tuple[float, float] = GREY_PERCENTILES
) -> DisplayRange:
    """Grey values at two percentiles of a whole channel, read in strips: an image and a part of it look alike."""
    width, height = field.size_wh
    step = _sampling_step(width * height)
    rows = max(_STRIP_PX // width // step, 1) * step
    strips = [
        field.read([channel], (0, top, width, min(top + rows, height)))[0, ::step, ::step].ravel()
        for top in range(0, height, rows)
    ]
    low, high = np.percentile(np.concatenate(strips), percentiles)
    return DisplayRange(float(low), float(high))


def stretch_for_display(image: np.ndarray, shown: DisplayRange) -> np.ndarray:
    """Grey values between the ends of a range as 0 to 255.

    Args:
        image: (H, W) or (H, W, 3), uint8, uint16 or float, finite.
        shown: what becomes black and white; where both are one value, that value and all below become black.

    Returns:
        uint8 of the same shape.
    """
    width = max(shown.high - shown.low, np.finfo(np.float32).tiny)
    scaled = (image.astype(np.float32) - np.float32(shown.low)) * np.float32(255 / max(width, 1e-30))
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)


def composite(planes: Sequence[np.ndarray], colours: Sequence[RGB]) -> np.ndarray:
    """Add up channels, each in its colour, as a fluorescence microscope's software shows them.

    Args:
        planes: uint8 (H, W) each, all of one size.
        colours: RGB, 0 to 255, one a plane.

    Returns:
        uint8 (H, W, 3) RGB; sums over 255 become 255.
    """
    total = np.zeros((*planes[0].shape, 3), np.uint8)
    for plane, colour in zip(planes, colours, strict=True):
        table = (np.arange(256)[:, None] * np.array(colour) + 127) // 255
        total = cv2.add(total, cv2.LUT(as_rgb(plane), table.astype(np.uint8)[None]))
    return total


def as_rgb(image: np.ndarray) -> np.ndarray:
    """uint8 (H, W) or (H, W, 3) as a new uint8 (H, W, 3)."""
    return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if image.ndim == 2 else image.copy()
