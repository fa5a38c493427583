"""Small pictures of cells for a gallery: any depth, any number of channels; for the eye only."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np

from ctc_mm.errors import ImageReadError
from ctc_mm.formats.cell_set import read_cell_image
from ctc_mm.imaging.display import as_rgb, measure_display_range, stretch_for_display

PATH_SEPARATOR = ";"
_PLANE = re.compile(r"(?P<file>.*)#plane(?P<plane>\d+)")
_GROUND = 235


def path_text(paths: list[str], planes: list[int | None]) -> str:
    """Name the files and planes of a sample in one text: ``a.tif#plane0;b.png``."""
    parts = [str(path) if plane is None else f"{path}#plane{plane}" for path, plane in zip(paths, planes, strict=True)]
    return PATH_SEPARATOR.join(dict.fromkeys(parts))


def cell_thumbnail(path: str, channel: str = "", size_px: int = 96) -> np.ndarray:
    """Draw a cell, its channels side by side, each stretched to its own range of grey values.

    Args:
        path: as ``path_text`` gives it.
        channel: names of the planes joined by ``+``; tells three channels in one file from red, green and blue.
        size_px: side of the square that each channel is fitted into, the aspect ratio kept.

    Returns:
        uint8 (size_px, channels * size_px, 3) RGB.

    Raises:
        ImageReadError: a file that is missing or damaged, or lacks the plane.
    """
    pictures = [picture for part in path.split(PATH_SEPARATOR) for picture in _planes(part, channel)]
    return np.concatenate([_fit(picture, size_px) for picture in pictures], axis=1)


def _planes(part: str, channel: str) -> list[np.ndarray]:
    """Grey planes, or one colour picture."""
    found = _PLANE.fullmatch(part)
    image = read_cell_image(Path(found["file"] if found else part))
    if found is not None:
        plane = int(found["plane"])
        if image.ndim != 3 or plane >= image.shape[2]:
            raise ImageReadError(f"{found['file']}: has no plane {plane} (shape {image.shape}); convert the set again")
        return [image[..., plane]]
    if image.ndim == 2 or (image.shape[2] == 3 and "+" not in channel):
        return [image]
    return [image[..., plane] for plane in range(image.shape[2])]


def _fit(picture: np.ndarray, size_px: int) -> np.ndarray:
    """Stretch, enlarge or reduce, and centre on a light ground."""
    shown = as_rgb(stretch_for_display(picture, measure_display_range(picture)))
    height, width = shown.shape[:2]
    scale = size_px / max(height, width)
    target_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    shown = cv2.resize(shown, target_wh, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)
    canvas = np.full((size_px, size_px, 3), _GROUND, np.uint8)
    left, top = (size_px - target_wh[0]) // 2, (size_px - target_wh[1]) // 2
    canvas[top : top + target_wh[1], left : left + target_wh[0]] = shown
    return canvas
