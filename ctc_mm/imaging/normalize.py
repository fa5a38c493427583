"""Grey values: gamma, histogram stretch and the common 0-255 scale, for 8-bit, 16-bit and float images.

Nothing here changes its input, and nothing casts to 8 bits: each function states the type it returns.
"""

from __future__ import annotations

import numpy as np

# Bit depths of scientific cameras (10, 12, 14, 16) as the brightest value they can hold.
CAMERA_WHITE_LEVELS = (1023, 4095, 16383, 65535)


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
    _check_pixels(image)
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
    _check_pixels(image)
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
    _check_pixels(image)
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
    _check_pixels(image)
    white = _white_level(image, white_level)
    scaled = image.astype(np.float32)
    if white != 255:
        scaled *= np.float32(255 / white)
    return scaled if image.dtype == np.uint8 and white == 255 else np.clip(scaled, 0, 255, out=scaled)


def _check_pixels(image: np.ndarray) -> None:
    if image.dtype.kind not in "uif":
        raise TypeError(f"image must hold integers or floats, received dtype {image.dtype}")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise ValueError(
            f"image holds {int((~np.isfinite(image)).sum())} NaN or infinite pixels; mend or mask them first"
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
