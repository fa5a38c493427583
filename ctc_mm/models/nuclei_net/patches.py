"""Patches that the nucleus network is trained on, cut from fields and varied: size, direction, light, noise, blur."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ctc_mm.imaging.nuclei_net import network_input
from ctc_mm.models.nuclei_net.fields import TrainingField

# Median diameters of nuclei that training covers, in pixels.
DIAMETERS_PX = (8.0, 50.0)
MOST_ZOOM = 3.0


def draw_batch(
    groups: Sequence[Sequence[TrainingField]],
    shares: Sequence[float],
    size: int,
    patch_px: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw patches.

    Args:
        groups: fields by source.
        shares: how likely a patch comes from each group; they sum to 1.
        size: number of patches.
        patch_px: their side in pixels.
        rng: the same state gives the same patches.

    Returns:
        Input of the network, float32 (size, 2, P, P), and its targets (nucleus, depth), float32 of the same shape.
    """
    inputs, targets = [], []
    for _ in range(size):
        group = groups[rng.choice(len(groups), p=shares)]
        heights, labels, depth = warp_patch(group[rng.integers(len(group))], patch_px, rng)
        inputs.append(network_input(vary_light(heights, labels, rng)))
        targets.append(np.stack([labels > 0, depth]).astype(np.float32))
    return np.stack(inputs), np.stack(targets)


def warp_patch(
    field: TrainingField, patch_px: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut a patch of random place, direction and zoom; beyond its border a field is mirrored, as it is in use.

    Returns:
        heights and depth, float32 (P, P); labels, uint16 (P, P).
    """
    zoom = np.exp(rng.uniform(np.log(0.8), np.log(1.25)))
    if rng.random() < 0.5:
        zoom = np.exp(rng.uniform(*np.log(DIAMETERS_PX))) / field.diameter_px
    zoom = np.clip(zoom, 1 / MOST_ZOOM, MOST_ZOOM)
    stretch = np.exp(rng.uniform(-0.1, 0.1))
    angle = rng.uniform(0, 2 * np.pi) if rng.random() < 0.5 else rng.integers(4) * np.pi / 2
    flip = rng.choice([-1, 1])
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    to_field = rotation @ np.diag([flip * stretch / zoom, 1 / (stretch * zoom)])
    centre = _centre_xy(field, rng)
    offset = centre - to_field @ np.full(2, (patch_px - 1) / 2)
    matrix = np.concatenate([to_field, offset[:, None]], axis=1)

    def warp(array: np.ndarray, interpolation: int) -> np.ndarray:
        flags = interpolation | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(array, matrix, (patch_px, patch_px), flags=flags, borderMode=cv2.BORDER_REFLECT_101)

    heights = field.heights
    if zoom < 0.8:
        heights = cv2.GaussianBlur(heights, (0, 0), 0.45 / zoom)
    return warp(heights, cv2.INTER_LINEAR), warp(field.labels, cv2.INTER_NEAREST), warp(field.depth, cv2.INTER_LINEAR)


def _centre_xy(field: TrainingField, rng: np.random.Generator) -> np.ndarray:
    """Usually a place in a nucleus, so that sparse fields do not give empty patches only."""
    height, width = field.labels.shape
    if rng.random() < 0.7:
        for _ in range(20):
            y, x = rng.integers(height), rng.integers(width)
            if field.labels[y, x]:
                return np.array([x, y], float)
    return np.array([rng.uniform(0, width), rng.uniform(0, height)])


def vary_light(heights: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Vary brightness, from field to field and nucleus to nucleus, background, sharpness, noise and grey levels."""
    shape = heights.shape
    if rng.random() < 0.3:  # dim nuclei beside bright ones
        gains = np.exp(rng.normal(0, 0.7, int(labels.max()) + 1)).astype(np.float32)
        gains[0] = 1
        heights = heights * cv2.GaussianBlur(np.minimum(gains, 3)[labels], (0, 0), 1.0)
    if rng.random() < 0.4:
        heights = np.sign(heights) * np.abs(heights) ** rng.uniform(0.6, 1.6)
    if rng.random() < 0.3:
        heights = cv2.GaussianBlur(heights, (0, 0), rng.uniform(0.4, 1.6))
    heights = heights * np.exp(rng.normal(0, 0.4))  # the contrast of a field is an estimate
    heights = heights + rng.normal(0, 0.02)
    if rng.random() < 0.3:
        slope = rng.normal(0, rng.uniform(0.02, 0.25), (3, 3)).astype(np.float32)
        heights = heights + cv2.resize(slope, shape[::-1], interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.5:
        deviation = np.exp(rng.uniform(np.log(0.003), np.log(0.08)))
        noise = rng.normal(size=shape) * deviation
        if rng.random() < 0.5:  # photon noise grows with the light
            noise = noise * np.sqrt(np.maximum(heights, 0) + 0.1)
        if rng.random() < 0.3:
            noise = cv2.GaussianBlur(noise, (0, 0), 0.7) * 2
        heights = heights + noise
    if rng.random() < 0.3:
        levels = np.exp(rng.uniform(np.log(15), np.log(200)))
        heights = np.rint(heights * levels) / levels
    if rng.random() < 0.1:
        heights = np.minimum(heights, rng.uniform(0.5, 1.0))
    return heights
