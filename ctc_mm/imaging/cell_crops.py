"""Square crops of single cells, all of one size (label-free-resnet-2020: 30 x 30 px; reading 23)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ctc_mm.imaging.normalize import normalize_background_brightness

CROP_PX = 30
# The halo of a cell is no background.
_HALO_PX = 3


@dataclass(frozen=True, eq=False)
class CellCrop:
    """A crop and where it comes from.

    Attributes:
        pixels: (size, size) or (size, size, C).
        window_xyxy: half-open pixels of the image that it shows; it may leave the image.
        padded_px: how many rows and columns, together, lie outside the image and repeat its edge.
    """

    pixels: np.ndarray
    window_xyxy: tuple[int, int, int, int]
    padded_px: int


def crop_size_px(size_um: float, um_per_px: float | None) -> int:
    """Side of a crop in pixels for one in micrometres.

    Raises:
        ValueError: a size or scale that is not positive, or the scale is not known.
    """
    if um_per_px is None:
        raise ValueError("a crop size in micrometres needs the size of a pixel (um_per_px)")
    if not (math.isfinite(size_um) and size_um > 0 and math.isfinite(um_per_px) and um_per_px > 0):
        raise ValueError(f"crop size and pixel size must be above 0. Received: {size_um!r} um, {um_per_px!r} um per px")
    return max(1, round(size_um / um_per_px))


def crop_cell(image: np.ndarray, centre_yx: tuple[float, float], size_px: int = CROP_PX) -> CellCrop:
    """Cut a square around a cell's centre; beyond the image its edge is repeated, so that the cell stays in the middle.

    Args:
        image: (H, W) or (H, W, C), any dtype.
        centre_yx: the middle of the first pixel is 0, 0.
        size_px: side of the crop.

    Returns:
        The crop, in the image's dtype; a new array.

    Raises:
        ValueError: a size below 1, a centre outside the image, an image without pixels.
    """
    height, width = image.shape[:2]
    if size_px < 1 or image.size == 0:
        raise ValueError(f"a crop has at least 1 px, and its image pixels. Received: {size_px} of {image.shape}")
    if not (-0.5 <= centre_yx[0] <= height - 0.5 and -0.5 <= centre_yx[1] <= width - 0.5):
        raise ValueError(f"`centre_yx` must lie in the image of {width} x {height} px. Received: {centre_yx}")
    y0, x0 = (math.floor(centre + 1 - size_px / 2) for centre in centre_yx)
    window_xyxy = (x0, y0, x0 + size_px, y0 + size_px)
    outside = max(0, -y0) + max(0, -x0) + max(0, y0 + size_px - height) + max(0, x0 + size_px - width)
    return CellCrop(cut_window(image, window_xyxy), window_xyxy, outside)


def cut_window(image: np.ndarray, window_xyxy: tuple[int, int, int, int]) -> np.ndarray:
    """Copy a window of an image; beyond the image its edge is repeated.

    Args:
        image: (H, W) or (H, W, C) with pixels, any dtype.
        window_xyxy: half-open pixels.
    """
    x0, y0, x1, y1 = window_xyxy
    rows = np.clip(np.arange(y0, y1), 0, image.shape[0] - 1)
    columns = np.clip(np.arange(x0, x1), 0, image.shape[1] - 1)
    return image[rows][:, columns]


def normalize_crop(crop: CellCrop, labels: np.ndarray | None) -> np.ndarray:
    """Normalise background and brightness of a bright-field crop, and keep its bit depth.

    Args:
        crop: of a field.
        labels: (H, W) label image of the whole field; what no cell covers is background. None: the crop's border is.

    Returns:
        The crop's shape; uint8 and uint16 span their whole range (the background lies at half of it), float32 spans 0
        to 1.
    """
    mask = None
    if labels is not None:
        near = cut_window(labels, crop.window_xyxy) > 0
        mask = ndimage.binary_dilation(near, iterations=_HALO_PX) if near.any() else None
    flat = normalize_background_brightness(crop.pixels, cell_mask=mask)
    if crop.pixels.dtype.kind == "f":
        return flat
    return np.rint(flat * np.iinfo(crop.pixels.dtype).max).astype(crop.pixels.dtype)
