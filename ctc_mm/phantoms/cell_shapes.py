"""Synthetic cells and debris as stacks of small patches: outline, thickness, nucleus, grain. All objects at once.

A synthetic model: good enough to exercise software, no evidence about real cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ctc_mm.phantoms.optics import frequency_grid

# Waves of an outline around the cell: 2 stretches it, 3 to 6 make it irregular.
_OUTLINE_WAVES = np.arange(2, 7)


@dataclass(frozen=True)
class ObjectTraits:
    """What a population's objects are made of; the same for each of its members.

    Attributes:
        irregularity: standard deviation of the radius around the outline, as a fraction of the radius.
        phase_rad: phase delay through the thickest place (refraction: rim and halo).
        absorbance: natural logarithm of the loss of light there.
        nucleus_fraction: diameter of the nucleus over that of the cell, 0 for none.
        grain_um: size of the grains of the texture.
        grain_contrast: standard deviation of phase and absorbance of the grains, as a fraction of the cell's own.

    Raises:
        ValueError: a value outside its range.
    """

    irregularity: float
    phase_rad: float
    absorbance: float
    nucleus_fraction: float
    grain_um: float
    grain_contrast: float

    def __post_init__(self) -> None:
        for name, low, high in (
            ("irregularity", 0, 0.3),
            ("phase_rad", 0, 4),
            ("absorbance", 0, 4),
            ("nucleus_fraction", 0, 0.95),
            ("grain_um", 0.05, 10),
            ("grain_contrast", 0, 3),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"`{name}` must be from {low} to {high}. Received: {value!r}")


@dataclass(frozen=True)
class ObjectStack:
    """N objects, each in the middle of its own (P, P) patch.

    Attributes:
        depth: (N, P, P) float32, 1 in the middle, 0 on the outline, negative outside.
        phase_rad: (N, P, P) float32.
        absorbance: (N, P, P) float32.
        corners_yx: (N, 2) int64, place of each patch's first pixel in the field.
    """

    depth: np.ndarray
    phase_rad: np.ndarray
    absorbance: np.ndarray
    corners_yx: np.ndarray


def make_objects(
    centres_yx: np.ndarray,
    radii_px: np.ndarray,
    traits: list[ObjectTraits],
    um_per_px: float,
    margin_um: float,
    rng: np.random.Generator,
) -> ObjectStack:
    """Shape N objects.

    Args:
        centres_yx: (N, 2) centres in pixels of the field, not rounded.
        radii_px: (N,) mean radii in pixels.
        traits: N traits.
        um_per_px: size of a pixel.
        margin_um: room for halos around the largest object.
        rng: source of randomness.
    """
    largest = float(radii_px.max(initial=1.0))
    widest = 1 + 3 * max((one.irregularity for one in traits), default=0.0)
    # A whole number of 8 px: Fourier transforms of such sizes are fast.
    side = int(np.ceil((2 * largest * widest + 2 * margin_um / um_per_px + 2) / 8)) * 8
    corners = np.floor(centres_yx - side / 2).astype(np.int64)
    offset = (centres_yx - corners).astype(np.float32)
    pixel_middles = np.arange(side, dtype=np.float32) + 0.5
    dy = pixel_middles[None, :, None] - offset[:, 0, None, None]
    dx = pixel_middles[None, None, :] - offset[:, 1, None, None]

    irregularity = _column(traits, "irregularity")
    relative = np.hypot(dy, dx) / (radii_px[:, None, None] * _outline(dy, dx, irregularity, rng))
    depth = (1 - relative).astype(np.float32)
    thickness = _cap(relative)
    thickness += 0.35 * _nucleus(dy, dx, radii_px, _column(traits, "nucleus_fraction"), rng)
    grain = _grain(depth.shape, _column(traits, "grain_um"), um_per_px, rng) * _column(traits, "grain_contrast")
    # Grains lie inside: they fade out towards the outline, and only the dense ones absorb.
    inside = np.sqrt(np.clip(depth * 3, 0, 1))
    phase = _column(traits, "phase_rad") * (thickness + 0.2 * grain * inside)
    loss = thickness + 2.5 * np.maximum(grain, 0) * inside
    # Grains move the absorbing matter, they add none: cells of one kind are equally dark with any texture.
    loss *= thickness.sum(axis=(1, 2), keepdims=True) / np.maximum(loss.sum(axis=(1, 2), keepdims=True), 1e-6)
    absorbance = _column(traits, "absorbance") * loss
    return ObjectStack(depth, phase.astype(np.float32), absorbance.astype(np.float32), corners)


def _column(traits: list[ObjectTraits], name: str) -> np.ndarray:
    return np.array([getattr(one, name) for one in traits], np.float32)[:, None, None]


def _outline(dy: np.ndarray, dx: np.ndarray, irregularity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Radius in each direction over the mean radius: a few waves around the circle, long ones stronger."""
    count = len(dy)
    angle = np.arctan2(dy, dx)
    weights = 1 / _OUTLINE_WAVES.astype(np.float32)
    weights *= np.sqrt(2 / np.sum(weights**2))
    amplitudes = weights * np.clip(rng.standard_normal((count, len(_OUTLINE_WAVES)), dtype=np.float32), -1.5, 1.5)
    phases = rng.uniform(0, 2 * np.pi, amplitudes.shape).astype(np.float32)
    outline = np.ones_like(angle)
    for index, wave in enumerate(_OUTLINE_WAVES):
        amplitude, phase = amplitudes[:, index, None, None], phases[:, index, None, None]
        outline += irregularity * amplitude * np.cos(wave * angle + phase)
    return np.maximum(outline, 0.5)


def _cap(relative_radius: np.ndarray) -> np.ndarray:
    """Thickness of a cell in suspension, 1 in the middle: a sphere, slightly flattened."""
    return np.maximum(1 - relative_radius**2, 0) ** 0.6


def _nucleus(
    dy: np.ndarray, dx: np.ndarray, radii_px: np.ndarray, fraction: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Thickness that an off-centre, slightly stretched nucleus adds."""
    count = len(dy)
    free = (1 - fraction[:, 0, 0]) * radii_px * np.sqrt(rng.uniform(0, 0.6, count)).astype(np.float32)
    direction, turn = rng.uniform(0, 2 * np.pi, (2, count)).astype(np.float32)
    y = dy - (free * np.sin(direction))[:, None, None]
    x = dx - (free * np.cos(direction))[:, None, None]
    cos, sin = np.cos(turn)[:, None, None], np.sin(turn)[:, None, None]
    stretch = rng.uniform(0.88, 1.0, count).astype(np.float32)[:, None, None]
    radius = np.maximum(fraction, 1e-3) * radii_px[:, None, None]
    relative = np.hypot((cos * x + sin * y) * stretch, (cos * y - sin * x) / stretch) / radius
    return np.where(fraction > 0, _cap(relative), 0)


def _grain(shape: tuple[int, int, int], grain_um: np.ndarray, um_per_px: float, rng: np.random.Generator) -> np.ndarray:
    """Noise with structures of about ``grain_um`` and little that is much larger, standard deviation 1."""
    frequency = frequency_grid(shape[-1], um_per_px)
    relative = frequency * grain_um
    band = np.exp(-((1.5 * relative) ** 2)) * (1 - np.exp(-((4 * relative) ** 2)))
    noise = rng.standard_normal(shape, dtype=np.float32)
    grain = np.fft.irfft2(np.fft.rfft2(noise) * band, s=shape[-2:])
    deviation = grain.std(axis=(1, 2), keepdims=True)
    return (grain / np.maximum(deviation, 1e-6)).astype(np.float32)
