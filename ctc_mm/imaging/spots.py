"""Point-like fluorescence signals, as CEP8 probes give (imfish-cnn-2022, section 2.3): where they are, how clear."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ctc_mm.imaging.spot_filters import (
    FWHM_PER_SIGMA,
    SpotFilter,
    as_float32,
    as_plane,
    is_hot_pixel,
    is_round,
    local_maxima,
    spot_filter,
    unrest_around,
)
from ctc_mm.imaging.spot_fit import (
    AMPLITUDE,
    AMPLITUDE_2,
    SIGMA,
    X_2,
    Y_2,
    Discs,
    X,
    Y,
    elongation,
    explained,
    fit_pairs,
    fit_singles,
)
from ctc_mm.imaging.spot_levels import SpotLevels, SpotLevelsPass, measure_spot_levels

__all__ = ["SPOT_HALO_PX", "SpotLevels", "SpotLevelsPass", "find_spots", "measure_spot_levels"]

# Pixels around a tile that its spots depend on, at the largest diameter: the filter (24), its maxima and their
# roundness (6), a neighbour whose light is taken away (26), that one's neighbours (26); and 14 more, as the last pixels
# of a row are computed by other instructions. Regions have to start at multiples of 64 px.
SPOT_HALO_PX = 96
# Centres are multiples of this, so that adding a tile's origin is exact in float32 up to 131,072 px.
_STEP_PX = 1 / 128
# Elongation, in units of noise, from which a spot is tried as two.
_TRY_PAIR = 6.0
# Two are taken for one if they explain so much more than noise would ...
_PAIR_GAIN = 30.0
# ... and lie so many sigmas apart (at 2, Sparrow's limit, the dip between them appears), ...
_PAIR_APART = 1.5
# ... and the weaker has this share of the stronger's light, ...
_PAIR_SHARE = 0.25
# ... and they are not too wide nor too far from the filter's maximum, over the sigma looked for.
_PAIR_WIDEST, _PAIR_FARTHEST = 2.2, 4.0
# Sharper than any lens makes a spot, sigma in pixels.
_SHARP_PX = 0.5
# How much more than the field's noise the surroundings of a spot may show by chance.
_USUAL_UNREST = 1.5
# Share of the filter's response that the Gaussian has to explain.
_EXPLAINED = 0.5
# Farthest that a spot may lie from the filter's maximum, over the sigma looked for.
_FARTHEST = 1.5
# A maximum that is not round comes from touching spots or an edge; spots explain more of the pixels' variance.
_PLAINLY = 0.9
# Amplitude over a pixel's noise from which a fitted width can be relied on.
_CLEAR = 6.0


def find_spots(
    image: np.ndarray,
    *,
    levels: SpotLevels | None = None,
    origin_xy: tuple[int, int] = (0, 0),
    diameter_px: float | None = None,
) -> np.ndarray:
    """Find bright spots in one channel, with sub-pixel centres.

    Args:
        image: (H, W) grey values, integer or float, as the camera gave them.
        levels: levels of the whole field that the image is a tile of; None measures this image.
        origin_xy: where the image's first pixel lies in the field of ``levels``.
        diameter_px: full width at half maximum of the spots, where ``levels`` is not given; None finds it.

    Returns:
        float32 (N, 3): y and x in pixels of ``image`` (whole numbers are pixel centres) and signal-to-noise of the
        filter's response; sorted by y, then x.

    Raises:
        ValueError: not (H, W), no pixel, NaN pixels, an image beyond the field, both ``levels`` and ``diameter_px``.
        TypeError: neither integers nor floats.
    """
    plane = as_plane(image)
    if levels is None:
        levels = measure_spot_levels(plane, diameter_px)
    elif diameter_px is not None:
        raise ValueError("`diameter_px` belongs to measure_spot_levels where `levels` are given")
    _check_inside(plane.shape, levels, origin_xy)
    values, kernel = as_float32(plane), spot_filter(levels.sigma_px)
    seen = _candidates(values, kernel, levels, origin_xy)
    if not len(seen.y):
        return np.zeros((0, 3), np.float32)
    discs = Discs(values, seen.y, seen.x, levels.sigma_px)
    seen = seen._replace(noise=seen.noise / discs.unit)
    single, cleaned = fit_singles(discs, seen.y, seen.x)
    drop, angle = elongation(discs, cleaned, single)
    tried = np.flatnonzero(drop > _TRY_PAIR * seen.noise**2)
    two, gain = fit_pairs(discs, cleaned, single, angle, tried)
    split = _are_two(two, gain, levels)
    split &= seen.is_round[tried] | (explained(discs, cleaned[tried], discs.weights[tried], two) > _PLAINLY)
    keep = _is_one(single, seen, kernel, levels, plane.shape)
    keep &= seen.is_round | (explained(discs, cleaned, discs.weights, single) > _PLAINLY)
    keep[tried[split]] = False
    found = [np.stack([seen.y + single[:, Y], seen.x + single[:, X], seen.snr], axis=1)[keep]]
    at, two = tried[split], two[split]
    for amplitude, y, x in ((AMPLITUDE, Y, X), (AMPLITUDE_2, Y_2, X_2)):
        snr = two[:, amplitude] * kernel.gain(two[:, SIGMA]) / (seen.noise[at] * kernel.norm)
        found.append(np.stack([seen.y[at] + two[:, y], seen.x[at] + two[:, x], snr], axis=1))
    spots = np.concatenate(found)
    spots[:, :2] = np.round(spots[:, :2] / _STEP_PX) * _STEP_PX
    return spots[np.lexsort((spots[:, 1], spots[:, 0]))].astype(np.float32)


class _Candidates(NamedTuple):
    """Maxima of the response that stand out of the noise, (N,) each."""

    y: np.ndarray
    x: np.ndarray
    snr: np.ndarray
    noise: np.ndarray  # of a pixel as the filter feels it
    is_round: np.ndarray


def _candidates(values: np.ndarray, kernel: SpotFilter, levels: SpotLevels, origin_xy: tuple[int, int]) -> _Candidates:
    response, mean = kernel.apply(values)
    ys, xs = local_maxima(response, levels.min_snr * kernel.norm * math.sqrt(levels.noise_variance))
    noise = levels.noise_at(kernel.background_at(response, mean, ys, xs))
    (x0, y0), (width, height) = origin_xy, levels.size_wh
    noise *= kernel.edge_noise(np.minimum(ys + y0, height - 1 - ys - y0), np.minimum(xs + x0, width - 1 - xs - x0))
    unrest = unrest_around(response, ys, xs, kernel) / _USUAL_UNREST
    keep = response[ys, xs] >= levels.min_snr * np.maximum(noise * kernel.norm, unrest)
    keep &= ~is_hot_pixel(values, response, ys, xs, kernel)
    snr = response[ys, xs] / (noise * kernel.norm)
    ys, xs = ys[keep], xs[keep]
    return _Candidates(ys, xs, snr[keep], noise[keep], is_round(response, ys, xs, kernel))


def _are_two(two: np.ndarray, gain: np.ndarray, levels: SpotLevels) -> np.ndarray:
    """Whether two Gaussians are two spots, and not the shape of one or of an edge; bool (M,)."""
    weak, strong = np.sort(two[:, [AMPLITUDE, AMPLITUDE_2]], axis=1).T
    apart = np.hypot(two[:, Y] - two[:, Y_2], two[:, X] - two[:, X_2])
    away = np.maximum(np.hypot(two[:, Y], two[:, X]), np.hypot(two[:, Y_2], two[:, X_2]))
    small = (two[:, SIGMA] <= _PAIR_WIDEST * levels.sigma_px) & (away <= _PAIR_FARTHEST * levels.sigma_px)
    return (gain > _PAIR_GAIN) & (weak > _PAIR_SHARE * strong) & (apart > _PAIR_APART * two[:, SIGMA]) & small


def _is_one(
    single: np.ndarray, seen: _Candidates, kernel: SpotFilter, levels: SpotLevels, shape: tuple[int, int]
) -> np.ndarray:
    """Whether a Gaussian is a spot: where the filter saw it, as bright, neither too wide nor too sharp; bool (N,).

    Edges and slopes draw the Gaussian away to where they are highest; two hot pixels are no Gaussian at all.
    """
    y, x = seen.y + single[:, Y], seen.x + single[:, X]
    inside = (y >= -0.5) & (y <= shape[0] - 0.5) & (x >= -0.5) & (x <= shape[1] - 0.5)
    near = np.hypot(single[:, Y], single[:, X]) <= _FARTHEST * levels.sigma_px
    as_seen = single[:, AMPLITUDE] * kernel.gain(single[:, SIGMA]) >= _EXPLAINED * seen.snr * seen.noise * kernel.norm
    unfit = (single[:, SIGMA] * FWHM_PER_SIGMA > levels.widest_px) | (single[:, SIGMA] < _SHARP_PX)
    clear = single[:, AMPLITUDE] > _CLEAR * seen.noise
    return inside & near & as_seen & ~(unfit & clear)


def _check_inside(shape: tuple[int, int], levels: SpotLevels, origin_xy: tuple[int, int]) -> None:
    (height, width), (x0, y0), (field_width, field_height) = shape, origin_xy, levels.size_wh
    if min(x0, y0) < 0 or x0 + width > field_width or y0 + height > field_height:
        raise ValueError(
            f"an image of {width} x {height} px at `origin_xy` {tuple(origin_xy)} leaves the field of {levels.size_wh} "
            "px that `levels` were measured on"
        )
