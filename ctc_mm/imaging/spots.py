"""Point-like fluorescence signals, as CEP8 probes give (imfish-cnn-2022, section 2.3): where they are, how clear."""

from __future__ import annotations

import cv2
import numpy as np

from ctc_mm.imaging.spot_filters import as_plane, background_of, fwhm_to_sigma, spot_response
from ctc_mm.imaging.spot_levels import SpotLevels, SpotLevelsPass, measure_spot_levels

__all__ = ["SPOT_HALO_PX", "SpotLevels", "SpotLevelsPass", "find_spots", "measure_spot_levels"]

# Pixels around a tile that its spots depend on.
SPOT_HALO_PX = 64
# Centres are multiples of this, so that adding a tile's origin is exact in float32.
_STEP_PX = 1 / 128


def find_spots(
    image: np.ndarray,
    *,
    levels: SpotLevels | None = None,
    origin_xy: tuple[int, int] = (0, 0),
    diameter_px: float | None = None,
) -> np.ndarray:
    """Find bright spots, sub-pixel, in one channel.

    Args:
        image: (H, W) grey values, integer or float, as the camera gave them.
        levels: what the whole field was measured to need; None measures this image.
        origin_xy: where the image's first pixel lies in the field of ``levels``.
        diameter_px: full width at half maximum of the spots, only without ``levels``; None finds spots of about 3 to
            8 px.

    Returns:
        float32 (N, 3): y, x (pixels of ``image``, a pixel's centre is its index) and signal-to-noise; by y, then x.

    Raises:
        ValueError: not (H, W), no pixel, NaN pixels, both ``levels`` and ``diameter_px``.
        TypeError: neither integers nor floats.
    """
    plane = as_plane(image)
    if levels is not None and diameter_px is not None:
        raise ValueError("give `diameter_px` to measure_spot_levels, or leave `levels` out")
    if levels is None:
        levels = measure_spot_levels(plane, diameter_px)
    values = plane.astype(np.float32)
    sigma = fwhm_to_sigma(levels.diameter_px)
    response = spot_response(values, sigma)
    peak = response == cv2.dilate(response, np.ones((3, 3), np.uint8))
    limit = levels.min_snr * max(levels.noise_floor_variance, 0.0) ** 0.5
    peak &= (response >= np.float32(limit)) & (response > 0)
    ys, xs = np.nonzero(peak)
    background = background_of(values, sigma)[ys, xs].astype(np.float64)
    noise = np.sqrt(levels.noise_floor_variance + levels.noise_gain * np.maximum(background, 0))
    noise = np.maximum(noise, 1e-6 * np.maximum(np.abs(background), 1e-30))
    snr = response[ys, xs] / noise
    keep = snr >= levels.min_snr
    ys, xs, snr = ys[keep], xs[keep], snr[keep]
    offset_y, offset_x = _sub_pixel(response, ys, xs)
    spots = np.stack([ys + offset_y, xs + offset_x, snr], axis=1)
    spots[:, :2] = np.round(spots[:, :2] / _STEP_PX) * _STEP_PX
    return spots[np.lexsort((spots[:, 1], spots[:, 0]))].astype(np.float32)


def _sub_pixel(response: np.ndarray, ys: np.ndarray, xs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertex of the parabola through a maximum and its two neighbours on each axis, at most half a pixel away."""
    padded = cv2.copyMakeBorder(response, 1, 1, 1, 1, cv2.BORDER_REFLECT).astype(np.float64)
    ys, xs = ys + 1, xs + 1
    offsets = []
    for dy, dx in ((1, 0), (0, 1)):
        before, here, after = padded[ys - dy, xs - dx], padded[ys, xs], padded[ys + dy, xs + dx]
        bend = np.minimum(before - 2 * here + after, -1e-30)
        offsets.append(np.clip(0.5 * (before - after) / bend, -0.5, 0.5))
    return offsets[0], offsets[1]
