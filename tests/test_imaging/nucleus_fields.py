"""Synthetic DAPI fields for the tests: blurred ellipses on uneven background, with noise and exact truth."""

import cv2
import numpy as np


def draw_field(size_wh=(512, 512), n=60, seed=0, radius=(6, 20), gap=4, background=(300, 900), noise=20.0, dim=0.25):
    """A uint16 field of separate nuclei and its labels: uneven background, a factor of 4 between dim and bright."""
    rng = np.random.default_rng(seed)
    width, height = size_wh
    truth = np.zeros((height, width), np.int32)
    taken = np.zeros((height, width), np.uint8)
    signal = np.zeros((height, width), np.float32)
    number = 0
    for _ in range(n * 50):
        if number == n:
            break
        axes = rng.integers(radius[0], radius[1] + 1, 2)
        place = (int(rng.integers(0, width)), int(rng.integers(0, height)))
        one = np.zeros((height, width), np.uint8)
        cv2.ellipse(one, place, tuple(int(a) for a in axes), float(rng.uniform(0, 180)), 0, 360, 1, -1)
        if one.sum() < 60 or (taken & cv2.dilate(one, np.ones((2 * gap + 1, 2 * gap + 1), np.uint8))).any():
            continue
        number += 1
        taken |= one
        truth[one > 0] = number
        signal += one * np.float32(4000 * rng.uniform(dim, 1))
    ramp = np.linspace(*background, width)[None] + np.linspace(0, 200, height)[:, None]
    image = cv2.GaussianBlur(signal, (0, 0), 1.2) + ramp + rng.normal(0, noise, (height, width))
    return np.clip(np.rint(image), 0, 65535).astype(np.uint16), truth


def same_partition(labels, other):
    """Whether two label images hold the same objects, whatever their numbers."""
    if not np.array_equal(labels > 0, other > 0):
        return False
    pairs = np.unique(np.stack([labels.ravel(), other.ravel()]), axis=1)
    return len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]
