"""What may differ between two images of one cell: how it lies, how it is lit, and how the camera sees it.

Label-preserving changes for training (papers deparray-augmentation-2025 and label-free-resnet-2020; readings 21, 24).
All functions take float32 images in 0-255, (H, W) or (H, W, C) with any number of channels, and give float32 of the
same shape, not clipped. Pixel (x, y) = (0, 0) has its centre at the origin.
"""

from __future__ import annotations

import math
from typing import Literal

import cv2
import numpy as np

WHITE = 255.0
INTERPOLATIONS = {"cubic": cv2.INTER_CUBIC, "linear": cv2.INTER_LINEAR, "nearest": cv2.INTER_NEAREST}
# OpenCV warps no more channels at once.
_MOST_CHANNELS = 4
# A disc's edge is drawn this much finer, so that its radius may be a fraction of a pixel.
_FINER = 8

Interpolation = Literal["cubic", "linear", "nearest"]


def geometry_matrix(
    shape_hw: tuple[int, int],
    *,
    mirror: bool = False,
    flip: bool = False,
    shear_xy_deg: tuple[float, float] = (0.0, 0.0),
    rotate_deg: float = 0.0,
    scale: float = 1.0,
    shift_xy_px: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """Where pixels go when an image is mirrored, flipped, sheared, rotated and scaled about its centre, then shifted.

    Args:
        shape_hw: height and width, px.
        mirror: left to right.
        flip: top to bottom.
        shear_xy_deg: angle by which columns lean along x, and rows along y; under 90.
        rotate_deg: counter-clockwise as seen on the screen (y points down).
        scale: over 1 enlarges.
        shift_xy_px: to the right and down.

    Returns:
        Homography float64 (3, 3) from old to new pixel centres (x, y, 1).
    """
    centre_xy = (np.array(shape_hw[::-1], np.float64) - 1) / 2
    shear_x, shear_y = (math.tan(math.radians(angle)) for angle in shear_xy_deg)
    sine, cosine = math.sin(math.radians(rotate_deg)), math.cos(math.radians(rotate_deg))
    turn = scale * np.array([[cosine, sine], [-sine, cosine]])
    linear = turn @ np.array([[1, shear_x], [shear_y, 1]]) @ np.diag([-1.0 if mirror else 1.0, -1.0 if flip else 1.0])
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = centre_xy - linear @ centre_xy + shift_xy_px
    return matrix


def elastic_displacement(
    shape_hw: tuple[int, int], largest_px: float, smoothness_px: float, rng: np.random.Generator
) -> np.ndarray:
    """Smooth random displacement of each pixel (Simard 2003, elastic distortions).

    Args:
        shape_hw: height and width, px.
        largest_px: length of the longest displacement.
        smoothness_px: standard deviation of the Gaussian that smooths the field.
        rng: source of randomness.

    Returns:
        float32 (H, W, 2), x and y in px.
    """
    noise = rng.standard_normal((*shape_hw, 2)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), smoothness_px, borderType=cv2.BORDER_REFLECT).reshape(noise.shape)
    longest = float(np.hypot(smooth[..., 0], smooth[..., 1]).max())
    return smooth * np.float32(largest_px / longest) if longest > 0 else smooth


def warp_image(
    image: np.ndarray,
    matrix: np.ndarray,
    displacement_xy_px: np.ndarray | None = None,
    interpolation: Interpolation = "cubic",
) -> np.ndarray:
    """Move an image; what comes in from outside is the image reflected at its border, so no corner turns black.

    Args:
        image: (H, W) or (H, W, C); every channel moves alike.
        matrix: (3, 3) from old to new pixels, see :func:`geometry_matrix`. Mere flips are exact.
        displacement_xy_px: (H, W, 2), added to the place where each new pixel is looked up.
        interpolation: ``"cubic"`` keeps texture best, ``"linear"`` never overshoots, ``"nearest"`` invents no value.

    Returns:
        float32 of the same shape.
    """
    _check_image(image)
    if displacement_xy_px is None and (flipped := _exact_flip(image, matrix)) is not None:
        return flipped
    height, width = image.shape[:2]
    (a, b, c), (d, e, f) = np.linalg.inv(matrix)[:2]
    x, y = np.arange(width, dtype=np.float64)[None, :], np.arange(height, dtype=np.float64)[:, None]
    places = [a * x + b * y + c, d * x + e * y + f]
    if displacement_xy_px is not None:
        places = [place + displacement_xy_px[..., axis] for axis, place in enumerate(places)]
    map_x, map_y = (place.astype(np.float32) for place in places)
    planes = np.ascontiguousarray(image, np.float32).reshape(height, width, -1)
    moved = [
        cv2.remap(
            planes[..., first : first + _MOST_CHANNELS],
            map_x,
            map_y,
            INTERPOLATIONS[interpolation],
            borderMode=cv2.BORDER_REFLECT_101,
        ).reshape(height, width, -1)
        for first in range(0, planes.shape[2], _MOST_CHANNELS)
    ]
    return np.concatenate(moved, axis=2).reshape(image.shape)


def smooth_field(
    shape_hw: tuple[int, int], direction_rad: float, bend: float = 0.0, centre_yx: tuple[float, float] = (0.0, 0.0)
) -> np.ndarray:
    """A slope of light across an image, bent as by a vignette: a cell is small against the field that lights it.

    Args:
        shape_hw: height and width, px.
        direction_rad: towards the light; 0 is right, pi / 2 down.
        bend: height of the vignette against that of the slope; 0 is a plane.
        centre_yx: of the vignette; the image reaches from -1 to 1.

    Returns:
        float32 (H, W) with mean 0 and a range (largest minus smallest) of 1; zeros where the image has one pixel.
    """
    y, x = (((2 * np.arange(side) + 1) / side - 1) for side in shape_hw)
    y, x = y[:, None], x[None, :]
    field = math.cos(direction_rad) * x + math.sin(direction_rad) * y
    field = field - bend * ((y - centre_yx[0]) ** 2 + (x - centre_yx[1]) ** 2)
    span = float(np.ptp(field))
    # A slope along the one side that is a single pixel long leaves rounding only.
    if span < 1e-9:
        return np.zeros(shape_hw, np.float32)
    return ((field - field.mean()) / span).astype(np.float32)


def add_read_noise(image: np.ndarray, sd: float, rng: np.random.Generator) -> np.ndarray:
    """Add Gaussian noise, the same everywhere: what a camera's electronics add.

    Args:
        image: in 0-255.
        sd: standard deviation, grey values.
        rng: source of randomness.
    """
    _check_image(image)
    return image + np.float32(sd) * rng.standard_normal(image.shape, dtype=np.float32)


def add_photon_noise(image: np.ndarray, photons_at_white: float, rng: np.random.Generator) -> np.ndarray:
    """Replace each pixel by a Poisson draw with its own mean: what light adds, since it comes in photons.

    Args:
        image: in 0-255; what rounding has put below 0 counts as 0.
        photons_at_white: photons that make a pixel 255; variance of grey value g is g * 255 / photons_at_white.
        rng: source of randomness.
    """
    _check_image(image)
    photons = rng.poisson(np.maximum(image, 0).astype(np.float64) * (photons_at_white / WHITE))
    return (photons * (WHITE / photons_at_white)).astype(np.float32)


def defocus_image(image: np.ndarray, blur_px: float, kind: Literal["gaussian", "disc"] = "gaussian") -> np.ndarray:
    """Blur an image as a lens out of focus does; the mean stays, up to the border.

    Args:
        image: (H, W) or (H, W, C).
        blur_px: standard deviation of the Gaussian, or radius of the disc; 0 leaves the image as it is.
        kind: ``"gaussian"``: slightly out of focus; ``"disc"``: the geometric image of a point far out of focus.
    """
    _check_image(image)
    image = np.asarray(image, np.float32)
    if blur_px <= 0:
        return image.copy()
    kernel = _gaussian(blur_px) if kind == "gaussian" else _disc(blur_px)
    planes = np.ascontiguousarray(image).reshape(*image.shape[:2], -1)
    blurred = [
        cv2.filter2D(np.ascontiguousarray(planes[..., index]), -1, kernel, borderType=cv2.BORDER_REFLECT_101)
        for index in range(planes.shape[2])
    ]
    return np.stack(blurred, axis=2).reshape(image.shape)


def _gaussian(sd_px: float) -> np.ndarray:
    radius = math.ceil(4 * sd_px)
    line = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sd_px) ** 2)
    kernel = np.outer(line, line)
    return kernel / kernel.sum()


def _disc(radius_px: float) -> np.ndarray:
    reach = math.ceil(radius_px)
    side = 2 * reach + 1
    fine = (np.arange(side * _FINER) + 0.5) / _FINER - side / 2
    inside = np.hypot(fine[:, None], fine[None, :]) <= max(radius_px, 0.5)
    kernel = inside.reshape(side, _FINER, side, _FINER).mean(axis=(1, 3))
    return kernel / kernel.sum()


def _exact_flip(image: np.ndarray, matrix: np.ndarray) -> np.ndarray | None:
    """The image mirrored or flipped without interpolation, or None where ``matrix`` does more."""
    for flip in (False, True):
        for mirror in (False, True):
            if np.array_equal(matrix, geometry_matrix(image.shape[:2], mirror=mirror, flip=flip)):
                turned = image[:: -1 if flip else 1, :: -1 if mirror else 1]
                return np.array(turned, np.float32, order="C")
    return None


def _check_image(image: np.ndarray) -> None:
    if image.ndim not in (2, 3) or image.size == 0:
        raise ValueError(f"image must be (H, W) or (H, W, C) with pixels; received shape {image.shape}")
