"""Drawings of nuclei, blurred discs on a dark background, for the tests of the nucleus network."""

import cv2
import numpy as np


def draw_discs(shape, discs, background=100.0, noise=2.0, seed=0):
    """float32 image of discs (x, y, radius, height) and its int32 label image, numbered as the discs are given."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    image = np.full(shape, background, np.float32)
    labels = np.zeros(shape, np.int32)
    for number, (x, y, radius, height) in enumerate(discs, start=1):
        inside = (columns - x) ** 2 + (rows - y) ** 2 <= radius**2
        image[inside] = background + height
        labels[inside] = number
    blurred = cv2.GaussianBlur(image, (0, 0), 1.0)
    return blurred + np.random.default_rng(seed).normal(size=shape).astype(np.float32) * noise, labels


def grid_of_discs(shape, spacing, radius, height=400.0):
    """Discs on a square grid that stay clear of the border."""
    return [
        (x, y, radius, height)
        for y in range(spacing // 2, shape[0] - radius, spacing)
        for x in range(spacing // 2, shape[1] - radius, spacing)
    ]
