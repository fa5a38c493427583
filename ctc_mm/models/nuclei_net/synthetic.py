"""Synthetic fields of nuclei: sizes, crowding, blur, noise and backgrounds that the real fields lack."""

from __future__ import annotations

import cv2
import numpy as np

from ctc_mm.models.nuclei_net.fields import TrainingField, make_field

FIELD_PX = 320
# One field in so many holds no nucleus at all: noise and background, stretched as an empty field is.
EMPTY_EVERY = 8


def synthetic_fields(number: int, seed: int) -> list[TrainingField]:
    """Draw ``number`` fields; the same seed gives the same fields."""
    return [_synthetic_field(index, np.random.default_rng((seed, index))) for index in range(number)]


def _synthetic_field(index: int, rng: np.random.Generator) -> TrainingField:
    labels = np.zeros((FIELD_PX, FIELD_PX), np.uint16)
    heights = np.zeros((FIELD_PX, FIELD_PX), np.float32)
    if index % EMPTY_EVERY:
        _draw_nuclei(labels, heights, rng)
    heights = cv2.GaussianBlur(heights, (0, 0), rng.uniform(0.5, 2.5))
    heights += _smooth_noise(rng, 80) * rng.uniform(0, 0.08)
    heights += rng.normal(size=heights.shape).astype(np.float32) * np.exp(rng.uniform(np.log(0.004), np.log(0.06)))
    return make_field(f"synthetic_{index:03d}", "synthetic", heights, labels)


def _draw_nuclei(labels: np.ndarray, heights: np.ndarray, rng: np.random.Generator) -> None:
    diameter = np.exp(rng.uniform(np.log(8), np.log(50)))
    size_spread = rng.uniform(0.05, 0.3)
    number = int(rng.uniform(0.05, 0.5) * FIELD_PX**2 / (np.pi / 4 * diameter**2)) + 1
    crowding = rng.uniform(0, 0.7)  # share of nuclei set down beside another
    brightness_spread = rng.uniform(0.1, 0.6)
    grain = _smooth_noise(rng, max(diameter / 6, 1.5)) * rng.uniform(0, 0.25)
    centres: list[tuple[np.ndarray, float]] = []
    for label in range(1, number + 1):
        radius = diameter / 2 * np.exp(rng.normal(0, size_spread))
        centre = rng.uniform(0, FIELD_PX, 2)
        if centres and rng.random() < crowding:
            neighbour, other_radius = centres[rng.integers(len(centres))]
            angle = rng.uniform(0, 2 * np.pi)
            centre = neighbour + (radius + other_radius) * rng.uniform(0.85, 1.1) * np.array(
                [np.cos(angle), np.sin(angle)]
            )
        mask = np.zeros(labels.shape, np.uint8)
        cv2.fillPoly(mask, [_outline_xy(centre, radius, rng)], 1)
        inside = (mask > 0) & (labels == 0)
        if inside.sum() < 0.7 * max(mask.sum(), 1):  # it would hide behind others
            continue
        centres.append((centre, radius))
        labels[inside] = label
        heights[inside] = (0.7 + grain[inside]) * np.exp(rng.normal(0, brightness_spread))


def _outline_xy(centre: np.ndarray, radius: float, rng: np.random.Generator) -> np.ndarray:
    """An ellipse with a few waves around it, int32 (N, 2)."""
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    stretch = np.exp(rng.uniform(-0.3, 0.3))
    waves = sum(
        rng.normal(0, 0.06 / order) * np.cos(order * angles + rng.uniform(0, 2 * np.pi)) for order in range(2, 6)
    )
    points = radius * (1 + waves)[:, None] * np.stack([np.cos(angles) * stretch, np.sin(angles) / stretch], axis=1)
    turn = rng.uniform(0, np.pi)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return np.rint(points @ rotation.T + centre).astype(np.int32)


def _smooth_noise(rng: np.random.Generator, scale_px: float) -> np.ndarray:
    """Noise of about unit deviation whose structures are as large as ``scale_px``, float32."""
    coarse = max(int(FIELD_PX / scale_px), 2)
    noise = rng.normal(size=(coarse, coarse)).astype(np.float32)
    return cv2.resize(noise, (FIELD_PX, FIELD_PX), interpolation=cv2.INTER_CUBIC)
