"""Where round cells may be: edges vote for the centres of the circles they could belong to.

Each edge votes, along its gradient, for the centre of a circle of each radius, with the inside darker and with the
inside brighter (the circular Hough transform with gradients of Kimme, Ballard and Sklansky, 1975). Touching cells keep
centres of their own, whatever their contrast.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

# Edges this many times as strong as those of noise vote; so strong or stronger ones vote fully.
FAINTEST_EDGE = 3.0
FULL_EDGE = 8.0
# Neighbouring radii differ by this factor: well inside the blur of the votes.
RADIUS_STEP = 1.2
# Votes are kept as whole numbers, and so added exactly.
FULL_VOTE = 16
# Votes are collected on a grid this much coarser than the edges.
VOTE_GRID = 2
# Blur of the votes over the radius: outlines are no exact circles.
VOTE_BLUR = 0.2
# A centre has at least this part of its circle's votes.
LEAST_SUPPORT = 0.2


@dataclass(frozen=True)
class Edges:
    """Edges of a (shrunk) image.

    Attributes:
        along_x: gradient along x, float32 (H, W).
        along_y: gradient along y.
        noise: strength of the edges that noise makes, float32 (H, W), above 0.
    """

    along_x: np.ndarray
    along_y: np.ndarray
    noise: np.ndarray

    @property
    def significance(self) -> np.ndarray:
        """Strength of each edge over that of noise, float32 (H, W)."""
        return np.hypot(self.along_x, self.along_y) / self.noise


def circle_radii(least_px: float, most_px: float) -> np.ndarray:
    """Radii to look for between two diameters, float64, each larger than the last by about ``RADIUS_STEP``."""
    count = max(2, math.ceil(math.log(most_px / least_px) / math.log(RADIUS_STEP)) + 1)
    return least_px / 2 * (most_px / least_px) ** (np.arange(count) / (count - 1))


def find_centres(edges: Edges, radii_px: np.ndarray) -> np.ndarray:
    """Find the centres of circles that edges agree on.

    Args:
        edges: edges of the image.
        radii_px: radii of the circles, rising.

    Returns:
        float64 (N, 5): support (part of the circle that voted), y, x, radius, polarity (1: the inside is darker, -1: it
        is brighter); best support first, then in order of place.
    """
    votes = _collect_votes(edges, radii_px)
    found = []
    for polarity, stack in votes.items():
        for index, radius in enumerate(radii_px):
            around = np.max(stack[max(0, index - 1) : index + 2], axis=0)
            reach = max(1, round(0.35 * radius / VOTE_GRID))
            highest = cv2.dilate(around, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
            y, x = np.nonzero((stack[index] >= highest) & (stack[index] >= LEAST_SUPPORT))
            full = np.full(len(y), radius), np.full(len(y), polarity)
            middle = (VOTE_GRID - 1) / 2
            found.append(np.stack([stack[index][y, x], y * VOTE_GRID + middle, x * VOTE_GRID + middle, *full], axis=1))
    centres = np.concatenate(found).astype(np.float64)
    return centres[np.lexsort((centres[:, 4], centres[:, 3], centres[:, 2], centres[:, 1], -centres[:, 0]))]


def _collect_votes(edges: Edges, radii_px: np.ndarray) -> dict[int, list[np.ndarray]]:
    """For each polarity and radius the blurred votes over the circle's length, float32 on the coarse grid."""
    significance = edges.significance
    y, x = np.nonzero(significance > FAINTEST_EDGE)
    strength = significance[y, x]
    vote = np.rint(np.minimum(strength / FULL_EDGE, 1) * FULL_VOTE)
    scale = strength * edges.noise[y, x]
    step_x, step_y = edges.along_x[y, x] / scale, edges.along_y[y, x] / scale
    shape = [-(-length // VOTE_GRID) for length in significance.shape]
    votes: dict[int, list[np.ndarray]] = {1: [], -1: []}
    for polarity, stack in votes.items():
        for radius in radii_px:
            # Outwards of a dark inside it gets brighter, so the centre lies down the gradient.
            # The way is rounded, not the place: halves go the same way in a mirrored image.
            to_x = (x - np.rint(polarity * radius * step_x).astype(np.int64)) // VOTE_GRID
            to_y = (y - np.rint(polarity * radius * step_y).astype(np.int64)) // VOTE_GRID
            inside = (to_x >= 0) & (to_x < shape[1]) & (to_y >= 0) & (to_y < shape[0])
            place = to_y[inside] * shape[1] + to_x[inside]
            counted = np.bincount(place, vote[inside], shape[0] * shape[1]).reshape(shape).astype(np.float32)
            blur = max(1.0, VOTE_BLUR * radius) / VOTE_GRID
            blurred = cv2.GaussianBlur(counted, (0, 0), blur, borderType=cv2.BORDER_CONSTANT)
            # The peak of the blurred votes of a whole circle is about 1. Rounded: equal peaks stay equal.
            stack.append(np.round(blurred * np.float32(blur**2 / (radius * FULL_VOTE)), 4))
    return votes
