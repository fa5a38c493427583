"""How a cell is lit, drawn anew."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from ctc_mm.datasets.transforms.cell_transform import (
    CellTransform,
    Range,
    channel_views,
    check_choice,
    check_largest,
    check_probability,
    check_range,
    draw_log_uniform,
)
from ctc_mm.imaging.augment import WHITE, smooth_field
from ctc_mm.imaging.normalize import gamma_transform
from ctc_mm.registry import TRANSFORMS

KINDS = ("multiply", "add")
# A vignette at most as high as the slope, its centre at most this far out (the image reaches from -1 to 1).
_LARGEST_BEND, _FARTHEST_CENTRE = 1.0, 0.5


@TRANSFORMS.register_module()
class CellIllumination(CellTransform):
    """Light the image of a cell unevenly, more or less strongly, and on another curve, each by chance.

    Paper deparray-augmentation-2025 (illumination; it names no values), reading 21: a cell near the wall of a well lies
    in a slope of light, lamps age, cameras are set differently.

    Required Keys:

    - img (np.uint8 or np.float32, 0-255, (H, W) or (H, W, C))

    Modified Keys:

    - img (np.float32, same shape, 0-255)

    Args:
        uneven: largest difference between the brightest and the darkest place of the light, as a fraction of the mean
            (``'multiply'``) or of white (``'add'``); the direction is random. Here and below, 0 or None switches a part
            off, and so does a chance of 0.
        uneven_kind: ``'multiply'`` as a lamp does, ``'add'`` as stray light does.
        uneven_prob: chance of uneven light.
        gain_range: factors of brightness, smallest and largest.
        gain_prob: chance of another gain.
        gamma_range: powers on [0, 1], smallest and largest; over 1 darkens.
        gamma_prob: chance of another gamma.
        per_channel: draw for each channel by itself; else hues, and copies of a grey channel, stay.
        prob: chance that an image is changed at all.

    Raises:
        ValueError: a parameter outside its range; or (on use) pixels outside 0-255.
    """

    def __init__(
        self,
        uneven: float | None = 0.3,
        uneven_kind: Literal["multiply", "add"] = "multiply",
        uneven_prob: float | None = 0.5,
        gain_range: Range | None = (0.8, 1.25),
        gain_prob: float | None = 0.5,
        gamma_range: Range | None = (0.7, 1.4),
        gamma_prob: float | None = 0.5,
        per_channel: bool = False,
        prob: float | None = 1.0,
    ) -> None:
        super().__init__(prob)
        self.uneven_kind = check_choice("CellIllumination: uneven_kind", uneven_kind, KINDS)
        self.uneven = check_largest("CellIllumination: uneven", uneven, below=2 if uneven_kind == "multiply" else 1)
        self.uneven_prob = check_probability("CellIllumination: uneven_prob", uneven_prob)
        self.gain_range = check_range("CellIllumination: gain_range", gain_range, above_zero=True)
        self.gain_prob = check_probability("CellIllumination: gain_prob", gain_prob)
        self.gamma_range = check_range("CellIllumination: gamma_range", gamma_range, above_zero=True)
        self.gamma_prob = check_probability("CellIllumination: gamma_prob", gamma_prob)
        self.per_channel = bool(per_channel)

    def change(self, image: np.ndarray, rng: np.random.Generator, results: dict) -> np.ndarray:
        """Light the image anew."""
        lit = image.copy()
        for _, view in channel_views(lit, self.per_channel):
            view[...] = self._light(view, rng)
        return lit

    def _light(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() < self.uneven_prob:
            field = self._draw_field(image.shape[:2], rng).reshape(*image.shape[:2], *(1,) * (image.ndim - 2))
            image = image * (1 + field) if self.uneven_kind == "multiply" else image + np.float32(WHITE) * field
        if rng.random() < self.gain_prob and self.gain_range:
            image = image * np.float32(draw_log_uniform(self.gain_range, rng))
        if rng.random() < self.gamma_prob and self.gamma_range:
            gamma = draw_log_uniform(self.gamma_range, rng)
            image = gamma_transform(np.clip(image, 0, WHITE), gamma, white_level=WHITE)
        return image

    def _draw_field(self, shape_hw: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        strength = rng.uniform(0, self.uneven)
        direction_rad, bend = rng.uniform(0, 2 * math.pi), rng.uniform(-_LARGEST_BEND, _LARGEST_BEND)
        centre_y, centre_x = rng.uniform(-_FARTHEST_CENTRE, _FARTHEST_CENTRE, 2)
        return np.float32(strength) * smooth_field(shape_hw, direction_rad, bend, (centre_y, centre_x))
