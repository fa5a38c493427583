"""The large-scale background of a field: what would be there without the cells.

Each block of a coarse grid gives the most common grey value of its samples (the middle of their shortest quarter). From
the blocks at the level of the background a quadratic surface is grown to all that continue it; those that cells cover
stand out and are left out. What the blocks add to the surface is smoothed over them. (The grid of modes follows the sky
background of Bertin and Arnouts 1996, section 4; the surface is what large cells need in addition.)
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

Objects = Literal["bright", "dark", "both"]

BLOCK_PX = 64
# Samples along each side of a block: 256 a block tell its mode to a tenth of the noise.
_SAMPLES = 16
# The part of a block's samples whose shortest interval marks the mode: cells may cover three times as much.
_MODE_PART = 0.25
# Half of the shortest quarter of normal noise is 0.32 sigma.
_QUARTER_TO_SIGMA = 3.14
_SHIFTS = 5
_SHIFT_WINDOW = 3.0
# Which quantile of the blocks is at the level of the background: cells only raise a block, or lower it, or either.
_QUANTILE = {"bright": 0.1, "dark": 0.9, "both": 0.5}
_FIT_ROUNDS = 20
# Differences below this part of the brightest sample are rounding.
_ROUNDING = 1e-6
# With fewer blocks along a side a surface bends to cells instead of leaving them out.
_BLOCKS_FOR_DEGREE = {2: 6, 1: 3, 0: 0}
# The second pass sees blocks without their slope, which would widen the mode.
_PASSES = 2
# Cells that cover a block change it by more than this many standard deviations of its pixels' noise.
_COVERED_SIGMAS = 2.0
_SMOOTHING_BLOCKS = 1.0
_GROWTH_ROUNDS = 8
# The surface is drawn on a grid this much finer, so that its slope goes on up to the field's edges.
_FINER = 4


def estimate_background(image: np.ndarray, block_px: int = BLOCK_PX, objects: Objects = "bright") -> np.ndarray:
    """Estimate the large-scale background of a field; give it the whole field, not a tile of one.

    Args:
        image: (H, W) uint8, uint16 or float, finite.
        block_px: side of the grid's blocks; larger than a cell is best.
        objects: whether cells are brighter than the background (fluorescence), darker, or both (bright-field).

    Returns:
        float32 (H, W), in the image's grey values; smooth, the grey value itself for a constant image.

    Raises:
        ValueError: no (H, W) image with pixels, ``block_px`` under 1, an unknown kind of objects; pixels are NaN or
            infinite.
        TypeError: the image is neither integer nor float.
    """
    check_pixels(image)
    if image.ndim != 2 or image.size == 0:
        raise ValueError(f"the background is that of an (H, W) image with pixels, received shape {image.shape}")
    if block_px < 1:
        raise ValueError(f"block_px must be at least 1, received {block_px!r}")
    if objects not in _QUANTILE:
        raise ValueError(f"objects must be one of {', '.join(_QUANTILE)}, received {objects!r}")
    counts = [max(1, round(length / block_px)) for length in image.shape]
    samples, scale = _sample(image, counts)
    background = np.zeros_like(samples)
    for _ in range(_PASSES):
        grid, noise = _grid_of_modes(samples - background, counts, objects)
        # `resize` puts the centre of a coarse pixel where the centre of its block lies.
        background += _resize(_smooth_grid(grid, noise, objects), samples.shape)
    return _resize(background * np.float32(scale), image.shape)


def check_pixels(image: np.ndarray) -> None:
    """Refuse what cannot be reckoned with.

    Raises:
        ValueError: pixels are NaN or infinite.
        TypeError: the image is neither integer nor float.
    """
    if image.dtype.kind not in "uif":
        raise TypeError(f"image must hold integers or floats, received dtype {image.dtype}")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise ValueError(
            f"image holds {int((~np.isfinite(image)).sum())} NaN or infinite pixels; mend or mask them first"
        )


def fit_surface(y: np.ndarray, x: np.ndarray, values: np.ndarray, degree: int) -> np.ndarray:
    """Fit a polynomial surface by least absolute deviations: points that are something else hardly move it.

    Args:
        y: rows, float (N,).
        x: columns, float (N,).
        values: float (N,), N at least 1.
        degree: of the polynomial; lowered where the points do not carry it.

    Returns:
        float64 coefficients for ``surface_terms(y, x, degree)``; those of terms the points do not carry are 0.
    """
    carried = min(degree, len(np.unique(y)) - 1, len(np.unique(x)) - 1)
    terms = surface_terms(y, x, degree)
    usable = [column for column, power in enumerate(_powers(degree)) if sum(power) <= carried]
    terms = terms[:, usable]
    residual = values - np.median(values)
    # Below this a residual is rounding; it also keeps the weights finite.
    smallest = float(np.abs(residual).max()) * _ROUNDING or 1.0
    coefficients = np.zeros(len(usable))
    for _ in range(_FIT_ROUNDS):
        weights = 1 / np.maximum(np.abs(residual), smallest)
        weighted = terms * weights[:, None]
        coefficients = np.linalg.lstsq(weighted.T @ terms, weighted.T @ values, rcond=None)[0]
        residual = values - terms @ coefficients
    found = np.zeros(len(_powers(degree)))
    found[usable] = coefficients
    return found


def surface_terms(y: np.ndarray, x: np.ndarray, degree: int) -> np.ndarray:
    """Give the terms of a polynomial in two variables, float64 (N, terms), lowest powers first."""
    return np.stack([y**down * x**across for down, across in _powers(degree)], axis=-1)


def _powers(degree: int) -> list[tuple[int, int]]:
    return [(total - across, across) for total in range(degree + 1) for across in range(total + 1)]


def _sample(image: np.ndarray, counts: list[int]) -> tuple[np.ndarray, float]:
    """Evenly spaced pixels, ``_SAMPLES`` along each side of a block, float32 up to 1; and what they were divided by.

    The quotients are the same for an 8-bit image and its 16-bit version, and so is all that follows.
    """
    places = [
        ((np.arange(count * _SAMPLES) + 0.5) * (length / (count * _SAMPLES))).astype(np.int64)
        for count, length in zip(counts, image.shape, strict=True)
    ]
    samples = image[np.ix_(*places)].astype(np.float64)
    scale = float(np.abs(samples).max()) or 1.0
    return (samples / scale).astype(np.float32), scale


def _resize(grid: np.ndarray, shape_hw: tuple[int, ...]) -> np.ndarray:
    return cv2.resize(grid, shape_hw[::-1], interpolation=cv2.INTER_LINEAR)


def _grid_of_modes(samples: np.ndarray, counts: list[int], objects: Objects) -> tuple[np.ndarray, np.ndarray]:
    """Most common grey value of each block, and the noise around it (one sigma); float64 (rows, columns)."""
    samples = samples.reshape(counts[0], _SAMPLES, counts[1], _SAMPLES).swapaxes(1, 2)
    samples = np.sort(samples.reshape(*counts, -1), axis=-1)
    total = samples.shape[-1]
    part = int(total * _MODE_PART)
    lengths = samples[..., part:] - samples[..., :-part]
    # Saturated cells have the shortest interval of all, so it is looked for on the background's side.
    first, last = {"bright": (0, total // 2), "dark": (total // 2 - part, None), "both": (0, None)}[objects]
    lengths = lengths[..., first:last]
    # The first of equals, rounding aside, so that all depths of an image agree.
    start = first + np.argmax(lengths <= lengths.min(axis=-1, keepdims=True) + _ROUNDING, axis=-1)
    ends = [np.take_along_axis(samples, (start + shift)[..., None], -1) for shift in (0, part)]
    middle, half = (ends[0] + ends[1]) / 2, (ends[1] - ends[0]) / 2
    for _ in range(_SHIFTS):  # mean shift: up to the mode, from wherever the shortest interval was by chance
        near = np.abs(samples - middle) <= _SHIFT_WINDOW * half + _ROUNDING
        middle = (samples * near).sum(axis=-1, keepdims=True) / near.sum(axis=-1, keepdims=True)
    return middle[..., 0].astype(np.float64), half[..., 0] * _QUARTER_TO_SIGMA


def _smooth_grid(grid: np.ndarray, noise: np.ndarray, objects: Objects) -> np.ndarray:
    """Surface through the blocks that show background, and what they add to it, on a finer grid; float32."""
    y, x = (axis.ravel() for axis in _coordinates(*grid.shape))
    degree = next(degree for degree, blocks in _BLOCKS_FOR_DEGREE.items() if min(grid.shape) >= blocks)
    values, terms = grid.ravel(), surface_terms(y, x, degree)
    off = np.abs(values - np.quantile(values, _QUANTILE[objects]))
    tolerance = max(_COVERED_SIGMAS * float(np.median(noise)), _ROUNDING)
    shown = np.zeros(values.shape, bool)
    for _ in range(_GROWTH_ROUNDS):  # from the blocks of one level to those that continue their surface
        before, shown = shown, off <= max(tolerance, float(off.min()))
        if (shown == before).all():
            break
        coefficients = fit_surface(y[shown], x[shown], values[shown], degree)
        residual = values - terms @ coefficients
        added = _smooth_over(residual.reshape(grid.shape), shown.reshape(grid.shape))
        off = np.abs(residual - added.ravel())
    finer = (grid.shape[0] * _FINER, grid.shape[1] * _FINER)
    y, x = (axis.ravel() for axis in _coordinates(*finer))
    surface = (surface_terms(y, x, degree) @ coefficients).reshape(finer)
    return (surface + cv2.resize(added, finer[::-1], interpolation=cv2.INTER_CUBIC)).astype(np.float32)


def _coordinates(rows: int, columns: int) -> list[np.ndarray]:
    """Centres of a grid's blocks, the field reaching from -1 to 1; y and x, float64 (rows, columns)."""
    return np.meshgrid(*((2 * np.arange(count) + 1 - count) / count for count in (rows, columns)), indexing="ij")


def _smooth_over(residual: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Weighted mean of the neighbouring blocks that count, float64."""
    kernel = {"ksize": (0, 0), "sigmaX": _SMOOTHING_BLOCKS, "borderType": cv2.BORDER_REFLECT}
    weight = cv2.GaussianBlur(counts.astype(np.float64), **kernel)
    return cv2.GaussianBlur(residual * counts, **kernel) / np.maximum(weight, 1e-3)
