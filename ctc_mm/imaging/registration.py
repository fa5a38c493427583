"""How far two images of one field lie apart, by phase correlation (label-free-resnet-2020: labels from fluorescence).

Phase correlation (Kuglin and Hines 1975) compares where things are, not how bright they are. Bright-field and
fluorescence show a cell differently all the same, so give it what both agree on: where cells are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft

# Smoothing of the correlation; finer detail than this is noise where one image is a mask.
SMOOTHING_PX = 2.0
# Standard deviations by which a peak stands out from all other shifts, at least: chance reaches about 5.
LEAST_RESPONSE = 7.0
# Height of a peak over that of the next one, at least: fields of like cells fit at several shifts.
LEAST_LEAD = 1.15
# Shifts so near to a peak belong to it.
_PEAK_RADIUS_PX = 8
_TAPER = 0.1


@dataclass(frozen=True)
class Shift:
    """A measured shift.

    Attributes:
        shift_yx: what the moving image is shifted by against the fixed one, in pixels, to a fraction of one: what lies
            at y, x in the fixed image lies at y + shift, x + shift in the moving one.
        response: height of the correlation's peak in standard deviations of the correlation.
        lead: height of the peak over that of the next one.
    """

    shift_yx: tuple[float, float]
    response: float
    lead: float

    @property
    def is_certain(self) -> bool:
        """Whether the peak stands out from chance and from other peaks."""
        return self.response >= LEAST_RESPONSE and self.lead >= LEAST_LEAD

    @property
    def distance_px(self) -> float:
        """Length of the shift in pixels."""
        return float(np.hypot(*self.shift_yx))


def estimate_shift(fixed: np.ndarray, moving: np.ndarray, most_px: float | None = None) -> Shift:
    """Measure the shift between two images of one field.

    Args:
        fixed: (H, W), any integer, float or bool type; a mask of cells, say.
        moving: (H, W), the same size.
        most_px: largest shift along each axis that is looked for; None: a quarter of the shorter side.

    Returns:
        The shift; without structure in one of the images it is 0 with response 0.

    Raises:
        ValueError: images of different size (both named), no (H, W) image with pixels, NaN pixels.
    """
    fixed, moving = (_prepare(image, name) for image, name in ((fixed, "fixed"), (moving, "moving")))
    if fixed.shape != moving.shape:
        raise ValueError(
            f"images of one field must have one size. Received: fixed {_size(fixed)}, moving {_size(moving)}"
        )
    most = min(fixed.shape) / 4 if most_px is None else most_px
    cross = np.conj(fft.rfft2(fixed)) * fft.rfft2(moving)
    strength = np.abs(cross)
    if strength.max() <= 1e-9 * fixed.size:
        return Shift((0.0, 0.0), 0.0, 1.0)
    cross /= np.maximum(strength, 1e-6 * strength.max())
    frequency = np.hypot(fft.fftfreq(fixed.shape[0])[:, None], fft.rfftfreq(fixed.shape[1])[None, :])
    cross *= np.exp(-2 * (np.pi * SMOOTHING_PX * frequency) ** 2)
    correlation = fft.fftshift(fft.irfft2(cross, s=fixed.shape))
    return _read_peak(correlation, most)


def shift_labels(labels: np.ndarray, shift_yx: tuple[float, float]) -> np.ndarray:
    """Move a label image by a shift, rounded to whole pixels; what leaves the image is cut, what enters is 0.

    Args:
        labels: (H, W) of any dtype.
        shift_yx: along y and x.

    Returns:
        A new array of the same shape and dtype.
    """
    moved = np.zeros_like(labels)
    targets, sources = [], []
    for shift, length in zip(shift_yx, labels.shape, strict=True):
        step = int(np.clip(np.rint(shift), -length, length))
        targets.append(slice(max(step, 0), length + min(step, 0)))
        sources.append(slice(max(-step, 0), length - max(step, 0)))
    moved[tuple(targets)] = labels[tuple(sources)]
    return moved


def _prepare(image: np.ndarray, name: str) -> np.ndarray:
    """Mean 0, faded towards the edges: the transform sees the image as endlessly repeated."""
    image = np.asarray(image)
    if image.ndim != 2 or image.size == 0:
        raise ValueError(f"`{name}` must be an (H, W) image with pixels. Received shape: {image.shape}")
    image = image.astype(np.float64)
    if not np.isfinite(image).all():
        raise ValueError(f"`{name}` holds {int((~np.isfinite(image)).sum())} NaN or infinite pixels; mend them first")
    image = image - image.mean()
    for axis, length in enumerate(image.shape):
        width = max(1, int(_TAPER * length))
        ramp = np.minimum(np.arange(length) + 0.5, length - np.arange(length) - 0.5) / width
        fade = np.sin(np.pi / 2 * np.minimum(ramp, 1)) ** 2
        image = image * (fade[:, None] if axis == 0 else fade[None, :])
    return image


def _read_peak(correlation: np.ndarray, most_px: float) -> Shift:
    middle = [length // 2 for length in correlation.shape]
    reach = [min(int(most_px), half, length - half - 1) for half, length in zip(middle, correlation.shape, strict=True)]
    window = tuple(slice(half - r, half + r + 1) for half, r in zip(middle, reach, strict=True))
    near = correlation[window]
    y, x = np.unravel_index(int(near.argmax()), near.shape)
    spread = float(correlation.std())
    rest = near.copy()
    rest[tuple(slice(max(0, at - _PEAK_RADIUS_PX), at + _PEAK_RADIUS_PX + 1) for at in (y, x))] = 0
    peak, second = float(near[y, x]), float(rest.max())
    if spread == 0:
        return Shift((0.0, 0.0), 0.0, 1.0)
    fine = _summit(near[:, x], y), _summit(near[y], x)
    shift_yx = tuple(float(place - r) for place, r in zip(fine, reach, strict=True))
    lead = peak / second if second > 0 else float("inf")
    return Shift(shift_yx, (peak - float(correlation.mean())) / spread, lead)


def _summit(values: np.ndarray, place: int) -> float:
    """Place of the summit of the parabola through a peak and its neighbours."""
    if place in (0, len(values) - 1):
        return float(place)
    left, top, right = (float(values[place + step]) for step in (-1, 0, 1))
    bend = left - 2 * top + right
    return place + (0.5 * (left - right) / bend if bend < 0 else 0.0)


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]} x {image.shape[0]} px"
