"""How lens and camera see a cell, drawn anew."""

from __future__ import annotations

from typing import Literal

import numpy as np

from ctc_mm.datasets.transforms.cell_transform import (
    CellTransform,
    Range,
    check_choice,
    check_probability,
    check_range,
    draw_log_uniform,
)
from ctc_mm.imaging.augment import add_photon_noise, add_read_noise, defocus_image
from ctc_mm.registry import TRANSFORMS

KINDS = ("gaussian", "disc")


@TRANSFORMS.register_module()
class CellNoise(CellTransform):
    """Put the image of a cell out of focus, then add shot noise and read noise, each by chance.

    Paper deparray-augmentation-2025 (noise; it names no values), reading 21. In the order of a microscope: the lens
    blurs, light comes in photons, the camera's electronics add their own.

    Required Keys:

    - img (np.uint8 or np.float32, 0-255, (H, W) or (H, W, C))

    Modified Keys:

    - img (np.float32, same shape, 0-255; clipping narrows the noise of pixels near black and white)

    Args:
        defocus_px: smallest and largest blur: standard deviation of the Gaussian, radius of the disc. None here and
            below switches a part off, and so does a chance of 0.
        defocus_kind: ``'gaussian'`` or ``'disc'``.
        defocus_prob: chance of defocus.
        photons_at_white: smallest and largest number of photons that make a pixel white (255); the fewer, the noisier:
            the variance of grey value g is g * 255 / photons.
        photon_prob: chance of shot noise.
        read_noise_sd: smallest and largest standard deviation of the read noise, grey values of 255.
        read_prob: chance of read noise.
        per_channel: each channel has noise and blur of its own, as channels exposed one after another have; else equal
            channels, such as copies of a grey one, stay equal.
        prob: chance that an image is changed at all.

    Raises:
        ValueError: a parameter outside its range; or (on use) pixels outside 0-255.
    """

    def __init__(
        self,
        defocus_px: Range | None = (0.0, 1.0),
        defocus_kind: Literal["gaussian", "disc"] = "gaussian",
        defocus_prob: float | None = 0.3,
        photons_at_white: Range | None = (1000.0, 10000.0),
        photon_prob: float | None = 0.5,
        read_noise_sd: Range | None = (0.0, 4.0),
        read_prob: float | None = 0.5,
        per_channel: bool = False,
        prob: float | None = 1.0,
    ) -> None:
        super().__init__(prob)
        self.defocus_px = check_range("CellNoise: defocus_px", defocus_px)
        self.defocus_kind = check_choice("CellNoise: defocus_kind", defocus_kind, KINDS)
        self.defocus_prob = check_probability("CellNoise: defocus_prob", defocus_prob)
        self.photons_at_white = check_range("CellNoise: photons_at_white", photons_at_white, above_zero=True)
        self.photon_prob = check_probability("CellNoise: photon_prob", photon_prob)
        self.read_noise_sd = check_range("CellNoise: read_noise_sd", read_noise_sd)
        self.read_prob = check_probability("CellNoise: read_prob", read_prob)
        self.per_channel = bool(per_channel)

    def change(self, image: np.ndarray, rng: np.random.Generator, results: dict) -> np.ndarray:
        """Expose the image anew."""
        planes = image[..., None] if image.ndim == 2 else image
        seed = int(rng.integers(2**32))
        exposed = [
            # The same seed draws the same noise for equal channels.
            self._expose(planes[..., index], np.random.default_rng([seed, index if self.per_channel else 0]))
            for index in range(planes.shape[2])
        ]
        return np.stack(exposed, axis=2).reshape(image.shape)

    def _expose(self, plane: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One channel (H, W). All amounts are drawn before the noise, whose number of draws depends on the pixels."""
        chances = rng.random(3)
        blur_px = rng.uniform(*self.defocus_px) if self.defocus_px and chances[0] < self.defocus_prob else 0.0
        photons = sd = None
        if self.photons_at_white and chances[1] < self.photon_prob:
            photons = draw_log_uniform(self.photons_at_white, rng)
        if self.read_noise_sd and chances[2] < self.read_prob:
            sd = rng.uniform(*self.read_noise_sd)
        if blur_px:
            plane = defocus_image(plane, blur_px, self.defocus_kind)
        if photons:
            plane = add_photon_noise(plane, photons, rng)
        if sd:
            plane = add_read_noise(plane, sd, rng)
        return plane
