"""What converters need to know of an image file: that it can be read, its size, and how bright it gets."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ctc_mm.errors import ImageReadError
from ctc_mm.imaging.io import read_image

WHITE_LEVEL_8_BIT = 255
# The full scales of 8-, 10-, 12-, 14- and 16-bit cameras, whose pixels are all stored as 16 bits.
WHITE_LEVELS = (255, 1023, 4095, 16383, 65535)


@dataclass(frozen=True)
class ImageFacts:
    """Size in pixels (width, height), pixel type, and largest pixel value of one decoded image file."""

    size_wh: tuple[int, int]
    dtype: str
    maximum: float

    @property
    def is_8_bit(self) -> bool:
        """Whether the full scale is 255 by the pixel type."""
        return self.dtype == "uint8"


def image_facts(path: Path) -> ImageFacts:
    """Decode ``path`` once, so that a truncated image is found when labels are converted and not in training.

    Raises:
        ImageReadError: the file is missing, truncated, no image, or holds pixels that are not finite.
    """
    facts = facts_of(read_image(path))
    if not math.isfinite(facts.maximum):
        raise ImageReadError(f"{path}: holds pixels that are not finite (NaN or infinity); export it again")
    return facts


def facts_of(image: np.ndarray) -> ImageFacts:
    """Take the facts of an image in memory, (H, W) or (H, W, 3)."""
    height, width = image.shape[:2]
    return ImageFacts((width, height), image.dtype.name, float(image.max()))


def common_white_level(facts: Iterable[ImageFacts]) -> int | None:
    """Find the smallest camera full scale that holds every pixel of all images deeper than 8 bits.

    One level for a whole set keeps brightness comparable between its images. Float images with values up to 1 have
    white level 1.

    Returns:
        1, 255, 1023, 4095, 16383 or 65535; None where all images are 8-bit.

    Raises:
        ValueError: a pixel value above 65535, or one that is not finite.
    """
    deep = [fact for fact in facts if not fact.is_8_bit]
    if not deep:
        return None
    maximum = max(fact.maximum for fact in deep)
    levels = (1, *WHITE_LEVELS) if all(fact.dtype == "float32" for fact in deep) else WHITE_LEVELS
    for level in levels:
        if maximum <= level:
            return level
    raise ValueError(f"pixel values must be finite and at most {WHITE_LEVELS[-1]}. Received: {maximum}")
