"""Images with spots of known place, for the tests of spots."""

from __future__ import annotations

import numpy as np

FWHM_PER_SIGMA = 2.3548


def draw_spots(size_wh, spots_yx, peaks, sigma_px, background=100.0, noise=0.0, seed=0):
    """Gaussians on a flat background with Gaussian noise, float64 (H, W)."""
    image = np.full(size_wh[::-1], background, np.float64)
    rows, columns = np.arange(size_wh[1])[:, None], np.arange(size_wh[0])
    for (y, x), peak in zip(spots_yx, np.broadcast_to(peaks, len(spots_yx)), strict=True):
        image += (
            peak * np.exp(-((rows - y) ** 2) / (2 * sigma_px**2)) * np.exp(-((columns - x) ** 2) / (2 * sigma_px**2))
        )
    return image + np.random.default_rng(seed).normal(0, noise, image.shape) if noise else image


def scattered(size_wh, count, apart_px, seed=0, margin_px=8.0):
    """Places at least ``apart_px`` from each other, float64 (count, 2): y, x."""
    rng = np.random.default_rng(seed)
    places: list[np.ndarray] = []
    for _ in range(10000):
        place = rng.uniform(margin_px, np.array(size_wh[::-1]) - margin_px)
        if all(np.hypot(*(place - other)) >= apart_px for other in places):
            places.append(place)
        if len(places) == count:
            return np.array(places)
    raise ValueError(f"no room for {count} places {apart_px} px apart in {size_wh}")


def apart(found_yx, truth_yx):
    """Distance of each true place to the nearest found one, float64 (truth,)."""
    if not len(found_yx):
        return np.full(len(truth_yx), np.inf)
    return np.sqrt(((np.asarray(truth_yx)[:, None] - np.asarray(found_yx)[None]) ** 2).sum(-1)).min(1)
