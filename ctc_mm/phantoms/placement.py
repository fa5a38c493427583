"""Where objects lie in a synthetic field: apart, or touching, never one over the middle of another."""

from __future__ import annotations

import numpy as np

_CANDIDATES = 200


def place_discs(
    radii_px: np.ndarray,
    size_wh: tuple[int, int],
    touching_fraction: float,
    rng: np.random.Generator,
    *,
    gap_px: float = 2.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose centres for discs so that they lie apart, some of them in contact with an earlier one.

    Discs go in one by one in the order given, each at the first of many random candidates that is free. Every centre
    lies inside the field by at least a third of its radius, so more than half of each disc is visible.

    Args:
        radii_px: (N,) radii in pixels.
        size_wh: width and height of the field in pixels.
        touching_fraction: share of the discs that are set against an earlier one.
        rng: source of randomness.
        gap_px: distance kept between discs that do not touch.

    Returns:
        centres_yx: (N, 2) float32; rows of discs that found no room are NaN.
        placed: (N,) bool.
    """
    width, height = size_wh
    centres = np.full((len(radii_px), 2), np.nan)
    placed = np.zeros(len(radii_px), bool)
    for index, radius in enumerate(radii_px):
        touches = rng.uniform() < touching_fraction and placed.any()
        low = np.full(2, radius / 3)
        high = np.array([height, width]) - radius / 3
        if touches:
            partner = rng.choice(np.flatnonzero(placed), _CANDIDATES)
            angle = rng.uniform(0, 2 * np.pi, _CANDIDATES)
            # Cells press against each other: slightly less than the sum of radii.
            reach = (radii_px[partner] + radius) * rng.uniform(0.93, 1.0, _CANDIDATES)
            candidates = centres[partner] + reach[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)
        else:
            candidates = rng.uniform(low, np.maximum(high, low + 1e-3), (_CANDIDATES, 2))
        free = ((candidates >= low) & (candidates <= high)).all(axis=1)
        distance = np.linalg.norm(candidates[:, None] - centres[None, placed], axis=2)
        needed = (radii_px[placed] + radius) * 0.92 if touches else radii_px[placed] + radius + gap_px
        free &= (distance >= needed).all(axis=1)
        if free.any():
            centres[index] = candidates[np.argmax(free)]
            placed[index] = True
    return centres.astype(np.float32), placed
