"""Loading of single cells: any depth, one channel or several, onto one scale."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from ctc_mm.datasets.cell_channels import is_bright_field
from ctc_mm.datasets.transforms.load_microscopy_image import require_not_washed_out
from ctc_mm.datasets.white_levels import white_level_of
from ctc_mm.errors import ImageReadError
from ctc_mm.formats.cell_set import read_cell_image
from ctc_mm.imaging.normalize import normalize_background_brightness, scale_to_255, stretch_histogram
from ctc_mm.registry import TRANSFORMS

NORMALIZATIONS = (None, "background", "stretch")


@TRANSFORMS.register_module()
class LoadCellImage(BaseTransform):
    """Load the image of a cell, or several channels as planes of one, as float32 in 0-255.

    Colours are in the order red, green, blue (a data preprocessor needs no ``to_rgb``), planes in the order of
    ``channel``. An image of one channel is grey or in colour; where several files are stacked, a colour one counts by
    its grey value.

    Required Keys:

    - img_path (str), or img (np.ndarray: (H, W) or (H, W, C) RGB or planes; uint8, uint16 or float)
    - img_paths (list of str), img_planes (list of int | None) (optional): file of each plane, and its place there
    - channel (str) (optional): names of the planes, joined by ``+``
    - white_levels (list of float), white_level (float) (optional): of each file, or all; the data set finds them once

    Modified Keys:

    - img (np.float32, (H, W, C), 0-255)

    Added Keys:

    - img_shape, ori_shape (tuple: H, W)

    Args:
        to_channels: 3 replicates a grey image, as networks with ImageNet weights need it; 1 makes a colour image grey;
            None keeps what there is.
        white_level: pixel value that becomes 255; ``'auto'``: the set's (``white_levels``), else a guess for each
            image. 8-bit images have 255.
        normalize: brightness of each crop by itself (reading 23): ``'background'`` brings background and strongest
            difference to a common level (``imaging.normalize.normalize_background_brightness``), ``'stretch'`` takes
            darkest to 0 and brightest to 255; channels each by itself, colours together. None: not at all.

    Raises:
        ValueError: an argument out of its range.
        ImageReadError: (on use) a file that cannot be read or does not fit; it names file, channel and shape.
    """

    def __init__(
        self,
        to_channels: int | None = 3,
        white_level: float | Literal["auto"] = "auto",
        normalize: Literal["background", "stretch"] | None = None,
    ) -> None:
        is_number = isinstance(white_level, int | float) and not isinstance(white_level, bool)
        if not (white_level == "auto" or (is_number and np.isfinite(white_level) and white_level > 0)):
            raise ValueError(f"white_level must be 'auto' or a number above 0, received {white_level!r}")
        if to_channels not in (1, 3, None):
            raise ValueError(f"to_channels must be 1, 3 or None, received {to_channels!r}")
        if normalize not in NORMALIZATIONS:
            raise ValueError(f"normalize must be one of {NORMALIZATIONS}, received {normalize!r}")
        self.to_channels, self.white_level, self.normalize = to_channels, white_level, normalize

    def transform(self, results: dict) -> dict:
        """Load the image of ``results`` and describe it there."""
        if results.get("img") is not None:
            name, parts = "results['img']", [(np.asarray(results["img"]), _set_levels(results, 1)[0])]
        else:
            name, parts = self._read(results)
        channels = str(results.get("channel") or "image").split("+")
        try:
            planes = [self._scale(pixels, level) for pixels, level in parts]
            image = self._fit_channels(self._normalize(_stack(planes), channels))
        except (ValueError, TypeError) as error:
            raise ImageReadError(f"{name} (channel {'+'.join(channels)}): {error}") from error
        results["img"] = np.ascontiguousarray(image)
        results["img_shape"] = results["ori_shape"] = image.shape[:2]
        return results

    def _read(self, results: dict) -> tuple[str, list[tuple[np.ndarray, float | None]]]:
        """Pixels of each plane (or of the one whole file), with the white level of its file."""
        paths = results.get("img_paths") or [results.get("img_path")]
        if paths[0] is None:
            raise ValueError("LoadCellImage needs results['img_path'] or results['img'], both are missing")
        places = results.get("img_planes") or [None] * len(paths)
        files = {path: read_cell_image(Path(path)) for path in dict.fromkeys(paths)}
        parts = []
        for path, place, level in zip(paths, places, _set_levels(results, len(paths)), strict=True):
            pixels = files[path]
            if place is not None:
                if pixels.ndim != 3 or place >= pixels.shape[2]:
                    raise ImageReadError(
                        f"{path}: has no plane {place} (shape {pixels.shape}), though its channel is "
                        f"{results.get('channel')!r}; convert the set again"
                    )
                pixels = pixels[..., place]
            parts.append((pixels, level))
        return ", ".join(files), parts

    def _scale(self, pixels: np.ndarray, set_level: float | None) -> np.ndarray:
        if pixels.ndim not in (2, 3) or pixels.size == 0:
            raise ValueError(f"image must be (H, W) or (H, W, C) with pixels, received shape {pixels.shape}")
        level = white_level_of(pixels, set_level) if self.white_level == "auto" else float(self.white_level)
        require_not_washed_out(pixels, level)
        return scale_to_255(pixels, level)

    def _normalize(self, image: np.ndarray, channels: list[str]) -> np.ndarray:
        if self.normalize is None:
            return image
        if len(channels) == 1:  # grey or colours, which share one scale
            return self._normalize_channel(image, channels[0])
        if len(channels) != image.shape[2]:
            raise ValueError(f"holds {image.shape[2]} planes (shape {image.shape}), but names {len(channels)} channels")
        planes = [self._normalize_channel(image[..., place], name) for place, name in enumerate(channels)]
        return np.stack(planes, axis=-1)

    def _normalize_channel(self, plane: np.ndarray, channel: str) -> np.ndarray:
        if self.normalize == "stretch":
            return stretch_histogram(plane)
        kind = "bright_field" if is_bright_field(channel) else "fluorescence"
        return normalize_background_brightness(plane, kind) * np.float32(255)

    def _fit_channels(self, image: np.ndarray) -> np.ndarray:
        found = image.shape[2]
        if self.to_channels in (None, found):
            return image
        if found == 1:
            return np.repeat(image, self.to_channels, axis=2)
        if (found, self.to_channels) == (3, 1):
            return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
        raise ValueError(
            f"has {found} planes (shape {image.shape}), the network takes {self.to_channels}; set to_channels=None and "
            f"the network's in_channels={found}, or choose other `channels`"
        )

    def __repr__(self) -> str:
        return (
            f"{self.__class__.__name__}(to_channels={self.to_channels}, white_level={self.white_level!r}, "
            f"normalize={self.normalize!r})"
        )


def _set_levels(results: dict, count: int) -> list[float | None]:
    """White level of the set for each file; None where it is not known."""
    return results.get("white_levels") or [results.get("white_level")] * count


def _stack(planes: list[np.ndarray]) -> np.ndarray:
    """(H, W, C) float32; of several files a colour one counts by its grey value."""
    if len(planes) == 1:
        return np.atleast_3d(planes[0])
    grey = [cv2.cvtColor(plane, cv2.COLOR_RGB2GRAY) if plane.ndim == 3 else plane for plane in planes]
    shapes = sorted({plane.shape for plane in grey})
    if len(shapes) > 1:
        raise ValueError(f"channels differ in size (H, W): {shapes}; export them alike, or use combine='samples'")
    return np.stack(grey, axis=-1)
