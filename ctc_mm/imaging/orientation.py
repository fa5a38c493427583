"""Which way up the pixels of a file are stored: EXIF and TIFF tag 274."""

from __future__ import annotations

import numpy as np
import tifffile

ORIENTATION_TAG = 274


def tiff_orientation(page: tifffile.TiffPage) -> int:
    """Orientation tag of a TIFF's page, 1 where there is none."""
    tag = page.tags.get(ORIENTATION_TAG)
    return int(tag.value) if tag is not None else 1


def keeps_axes(orientation: int) -> bool:
    """Say whether an orientation leaves width and height in their places."""
    return orientation not in (5, 6, 7, 8)  # unknown values count as 1


def flips(orientation: int) -> tuple[bool, bool]:
    """Say whether the rows, and the columns, of the upright image are stored the other way round."""
    return orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)


def orient(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turn the stored pixels upright (EXIF tag 274): 5 to 8 exchange the axes, then rows or columns are flipped."""
    if not keeps_axes(orientation):
        image = image.swapaxes(0, 1)
    rows, columns = flips(orientation)
    return image[:: -1 if rows else 1, :: -1 if columns else 1]
