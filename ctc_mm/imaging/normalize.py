"""Grey values of 8-bit, 16-bit and float images: gamma, histogram stretch, the common 0-255 scale, background.

Nothing here changes its input, and nothing casts to 8 bits: each function states the type it returns.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from ctc_mm.imaging.background import (
    BLOCK_PX,
    Objects,
    check_pixels,
    estimate_background,
    fit_surface,
    surface_terms,
)

# Bit depths of scientific cameras (10, 12, 14, 16) as the brightest value they can hold.
CAMERA_WHITE_LEVELS = (1023, 4095, 16383, 65535)
# Illumination below this part of its median is taken as that much when it is divided by.
DARKEST_ILLUMINATION = 0.02


def gamma_transform(image: np.ndarray, gamma: float, white_level: float | None = None) -> np.ndarray:
    """Raise grey values to a power on [0, 1]: O = I ** gamma; gamma over 1 darkens.

    Paper ssd-attention-fusion-2022, section 2.5, equation 1. It names no value; reading 10 takes 1.5, before cropping.

    Args:
        image: (H, W) or (H, W, C); uint8, uint16 or float. It may be empty.
        gamma: the power, above 0.
        white_level: the pixel value that counts as 1; brighter pixels become white. By default the largest value of an
            integer type (12-bit data in a uint16 image needs 4095 here), and 1.0 for float images.

    Returns:
        An array of the same shape and dtype on the same scale (0 to ``white_level``); integers are rounded.

    Raises:
        ValueError: gamma or white_level is not a positive number; pixels are NaN, infinite or below 0; float pixels
            exceed 1 and no ``white_level`` is given.
        TypeError: the image is neither integer nor float.
    """
    if not (np.isfinite(gamma) and gamma > 0):
        raise ValueError(f"gamma must be a number above 0, received {gamma!r}")
    check_pixels(image)
    if image.size and image.min() < 0:
        raise ValueError(f"gamma needs pixels of at least 0, the darkest is {image.min()!r}; add an offset first")
    white = _white_level(image, white_level)
    if image.dtype in (np.uint8, np.uint16):
        levels = np.minimum(np.arange(np.iinfo(image.dtype).max + 1) / white, 1.0)
        table = np.minimum(np.rint(levels**gamma * white), np.iinfo(image.dtype).max).astype(image.dtype)
        return table[image]
    # float32 is exact enough for float32 images, and twice as fast.
    working = image.astype(np.float32 if image.dtype in (np.float16, np.float32) else np.float64)
    scaled = np.clip(working / white, 0, 1) ** gamma * white
    return (np.rint(scaled) if image.dtype.kind in "ui" else scaled).astype(image.dtype)


def stretch_histogram(image: np.ndarray, out_range: tuple[float, float] = (0, 255)) -> np.ndarray:
    """Spread grey values over a range: O = (I - I_min) / (I_max - I_min), scaled to ``out_range``.

    Paper ssd-attention-fusion-2022, section 2.5, equation 2. Minimum and maximum are taken over the whole array and all
    its channels, so hues stay; give it a field or slide, not a tile of one.

    Args:
        image: (H, W) or (H, W, C); any integer or float type. It may be empty.
        out_range: lower and upper bound of the result, lower first.

    Returns:
        float32 of the same shape, not rounded, so 16-bit images keep their levels; a constant image becomes the lower
        bound.

    Raises:
        ValueError: pixels are NaN or infinite, or ``out_range`` is not two finite numbers in rising order.
        TypeError: the image is neither integer nor float.
    """
    low, high = _check_range(out_range)
    check_pixels(image)
    if image.size == 0:
        return np.zeros(image.shape, np.float32)
    darkest, brightest = float(image.min()), float(image.max())
    if darkest == brightest:
        return np.full(image.shape, low, np.float32)
    # float64 keeps 32-bit integers apart; the result needs no more than float32.
    stretched = (image.astype(np.float64) - darkest) * ((high - low) / (brightest - darkest)) + low
    return np.clip(stretched, low, high).astype(np.float32)


def guess_white_level(image: np.ndarray) -> float:
    """The pixel value that stands for white, guessed from type and content.

    Args:
        image: uint8, uint16 or float array of any shape, finite.

    Returns:
        255 for uint8; for uint16 the smallest of 1023, 4095, 16383 and 65535 that holds the brightest pixel; 1.0 for a
        float image within [0, 1]. A dark field of a 12-bit camera can look like 10 bits: give the level where known.

    Raises:
        ValueError: pixels are NaN or infinite, or a float image exceeds 1, so that its scale cannot be guessed.
        TypeError: another pixel type.
    """
    check_pixels(image)
    brightest = float(image.max()) if image.size else 0.0
    if image.dtype == np.uint8:
        return 255.0
    if image.dtype == np.uint16:
        return float(next(level for level in CAMERA_WHITE_LEVELS if brightest <= level))
    if image.dtype.kind == "f":
        if brightest > 1:
            raise ValueError(f"float pixels reach {brightest:g}; give white_level, the value that stands for white")
        return 1.0
    raise TypeError(f"white level cannot be guessed for {image.dtype} pixels; use uint8, uint16 or float, or give it")


def scale_to_255(image: np.ndarray, white_level: float) -> np.ndarray:
    """Put grey values on the scale of 8-bit images without losing depth: 0 stays 0, ``white_level`` becomes 255.

    Args:
        image: integer or float array of any shape.
        white_level: the pixel value that becomes 255; brighter pixels become 255 too, negative ones 0.

    Returns:
        float32 of the same shape in [0, 255], not rounded; always a new array.

    Raises:
        ValueError: pixels are NaN or infinite, or ``white_level`` is not a positive number a pixel can reach.
        TypeError: the image is neither integer nor float.
    """
    check_pixels(image)
    white = _white_level(image, white_level)
    scaled = image.astype(np.float32)
    if white != 255:
        scaled *= np.float32(255 / white)
    return scaled if image.dtype == np.uint8 and white == 255 else np.clip(scaled, 0, 255, out=scaled)


def flatten_field(
    image: np.ndarray,
    mode: Literal["subtract", "divide"] = "subtract",
    block_px: int = BLOCK_PX,
    objects: Objects | None = None,
) -> np.ndarray:
    """Take uneven background or illumination out of a field, by its large-scale background.

    The background is estimated from the whole array (``estimate_background``): give it a field, not a tile of one.

    Args:
        image: (H, W) or (H, W, C), each channel by itself; uint8, uint16 or float. It may be empty.
        mode: ``"subtract"`` for fluorescence, where stray light adds to the signal: the background becomes 0, and noise
            goes below it. ``"divide"`` for bright-field, where illumination multiplies: the background becomes its own
            median, so that grey values stay on their scale.
        block_px: side of the blocks the background is looked for in; larger than a cell is best.
        objects: whether cells are ``"bright"``, ``"dark"`` or ``"both"`` against the background; None: bright where
            subtracted, both where divided.

    Returns:
        float32 of the same shape, not clipped; an image without light is returned as it is.

    Raises:
        ValueError: another shape or mode; pixels are NaN or infinite.
        TypeError: the image is neither integer nor float.
    """
    check_pixels(image)
    if mode not in ("subtract", "divide"):
        raise ValueError(f"mode must be 'subtract' or 'divide', received {mode!r}")
    if image.ndim not in (2, 3):
        raise ValueError(f"image must be (H, W) or (H, W, C), received shape {image.shape}")
    if image.size == 0:
        return np.zeros(image.shape, np.float32)
    if image.ndim == 3:
        channels = [flatten_field(image[..., place], mode, block_px, objects) for place in range(image.shape[2])]
        return np.stack(channels, axis=-1)
    objects = objects or ("bright" if mode == "subtract" else "both")
    background = estimate_background(image, block_px, objects)
    if mode == "subtract":
        return np.subtract(image, background, out=background, dtype=np.float32, casting="same_kind")
    level = float(np.median(background[:: max(1, block_px // 4), :: max(1, block_px // 4)]))
    if level <= 0:
        return image.astype(np.float32)
    # Where hardly any light fell, division would only blow up noise.
    np.maximum(background, level * DARKEST_ILLUMINATION, out=background)
    np.divide(np.float32(level), background, out=background)
    return np.multiply(image, background, out=background, dtype=np.float32, casting="same_kind")


def normalize_background_brightness(
    crop: np.ndarray,
    kind: Literal["bright_field", "fluorescence"] = "bright_field",
    *,
    cell_mask: np.ndarray | None = None,
    border_px: int = 2,
    percentile: float = 99.5,
    noise_floor: float = 6.0,
) -> np.ndarray:
    """Bring the background and the brightness of a single-cell crop to a common level.

    Paper label-free-resnet-2020, image processing: crops near the wall of a well lie on a low and cloudy background, so
    all crops are normalised; it gives no formula. Ours (reading 23): a plane through the background is subtracted, and
    the difference divided by its largest size (a percentile, and no less than what noise reaches). Gain, offset and bit
    depth of the camera drop out.

    Args:
        crop: (H, W) or (H, W, C), uint8, uint16 or float; it may be empty (no pixels) or hold no cell.
        kind: ``"bright_field"``: the background becomes 0.5, darker and brighter parts go to 0 and 1;
            ``"fluorescence"``: the background becomes 0, the brightest parts 1.
        cell_mask: bool (H, W), True on the cells, where known: the rest is background. None, or nothing left: the
            border is.
        border_px: width of the border that counts as background.
        percentile: of the differences, taken as the largest (single hot pixels do not set the scale).
        noise_floor: standard deviations of the background that the scale has at least, so that the noise of a crop
            without a cell is not blown up.

    Returns:
        float32 of the same shape in [0, 1]; 0.5 (bright-field) or 0 (fluorescence) everywhere for a constant crop. The
        channels of a colour crop share one scale.

    Raises:
        ValueError: another shape, kind or mask; a parameter out of its range; pixels are NaN or infinite.
        TypeError: the crop is neither integer nor float.
    """
    check_pixels(crop)
    _check_crop_options(crop, kind, cell_mask, border_px, percentile, noise_floor)
    if crop.size == 0:
        return np.zeros(crop.shape, np.float32)
    is_background = _background_pixels(crop.shape[:2], cell_mask, border_px)
    difference = crop.astype(np.float64).reshape(*crop.shape[:2], -1)
    difference -= _background_planes(difference, is_background)
    noise = 1.4826 * float(np.median(np.abs(difference[is_background])))
    scale = max(float(np.percentile(np.abs(difference), percentile)), noise_floor * noise)
    # What is left of a constant crop is the rounding of the fit.
    if scale <= 1e-9 * float(np.abs(crop).max()):
        difference[:] = 0
    else:
        difference /= scale
    if kind == "bright_field":
        difference = 0.5 + difference / 2
    return np.clip(difference, 0, 1).astype(np.float32).reshape(crop.shape)


def _background_pixels(shape_hw: tuple[int, int], cell_mask: np.ndarray | None, border_px: int) -> np.ndarray:
    if cell_mask is not None and not cell_mask.all():
        return ~cell_mask
    border = np.ones(shape_hw, bool)
    border[border_px:-border_px, border_px:-border_px] = False
    return border


def _background_planes(crop: np.ndarray, is_background: np.ndarray) -> np.ndarray:
    """Plane through the background of each channel, float64 (H, W, C), by least absolute deviations."""
    axes = [np.linspace(-1, 1, length) for length in crop.shape[:2]]
    y, x = np.meshgrid(*axes, indexing="ij")
    terms = surface_terms(y, x, 1)
    fits = [fit_surface(y[is_background], x[is_background], crop[is_background, c], 1) for c in range(crop.shape[2])]
    return np.stack([terms @ fit for fit in fits], axis=-1)


def _check_crop_options(
    crop: np.ndarray, kind: str, cell_mask: np.ndarray | None, border_px: int, percentile: float, noise_floor: float
) -> None:
    if crop.ndim not in (2, 3):
        raise ValueError(f"crop must be (H, W) or (H, W, C), received shape {crop.shape}")
    if kind not in ("bright_field", "fluorescence"):
        raise ValueError(f"kind must be 'bright_field' or 'fluorescence', received {kind!r}")
    if cell_mask is not None and (cell_mask.shape != crop.shape[:2] or cell_mask.dtype != bool):
        raise ValueError(
            f"cell_mask must be bool of shape {crop.shape[:2]}, received {cell_mask.dtype} of {cell_mask.shape}"
        )
    if border_px < 1 or not 0 < percentile <= 100 or not noise_floor >= 0:
        raise ValueError(
            "border_px must be at least 1, percentile above 0 and at most 100, noise_floor at least 0; received "
            f"{border_px!r}, {percentile!r}, {noise_floor!r}"
        )


def _white_level(image: np.ndarray, white_level: float | None) -> float:
    top = float(np.iinfo(image.dtype).max) if image.dtype.kind in "ui" else np.inf
    if white_level is not None:
        if not (np.isfinite(white_level) and 0 < white_level <= top):
            raise ValueError(
                f"white_level must be above 0 and at most {top:g} ({image.dtype}), received {white_level!r}"
            )
        return float(white_level)
    if image.dtype.kind in "ui":
        return top
    if image.size and image.max() > 1:
        raise ValueError(
            f"float pixels reach {float(image.max()):g}; give white_level, the value that stands for white"
        )
    return 1.0


def _check_range(out_range: tuple[float, float]) -> tuple[float, float]:
    bounds = tuple(float(bound) for bound in out_range)
    if len(bounds) != 2 or not np.isfinite(bounds).all() or bounds[0] >= bounds[1]:
        raise ValueError(f"out_range must be two finite numbers, lower first, received {out_range!r}")
    return bounds
