"""Many small pictures as few large ones, which a page can hold."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

# A sheet is decoded whole when one of its pictures is shown: small enough to be fast, large enough to be few.
SHEET_PX = 1_400_000
# What a page's pictures may take, as text; with cells and overview it stays under 40 MB.
MOST_CHARS = 32_000_000
QUALITIES = (85, 75, 60, 45, 30)


@dataclass(frozen=True)
class Sheets:
    """Strips on sheets, row by row.

    Attributes:
        uris: the sheets, as ``data:`` addresses.
        columns: strips a row.
        rows: rows a full sheet.
        strip_wh: size of a strip in pixels.
    """

    uris: tuple[str, ...]
    columns: int
    rows: int
    strip_wh: tuple[int, int]

    def to_dict(self) -> dict[str, object]:
        """What the page's script needs to find a strip; the sheets themselves are beside it."""
        return {"columns": self.columns, "rows": self.rows, "w": self.strip_wh[0], "h": self.strip_wh[1]}


def pack_sheets(strips: np.ndarray, most_chars: int = MOST_CHARS) -> Sheets:
    """Put strips on sheets, as JPEG in the best quality that fits.

    Args:
        strips: uint8 (N, h, w, 3) RGB, sides multiples of 8 so that none shines into its neighbour.
        most_chars: of all sheets together; the last quality is taken where even that does not fit.
    """
    count, height, width = strips.shape[:3]
    if not count:
        return Sheets((), 1, 1, (width, height))
    columns = max(1, min(count, round(SHEET_PX**0.5) // width))
    rows = max(1, SHEET_PX // (columns * width * height))
    for quality in QUALITIES:
        uris = [
            _sheet(strips[first : first + columns * rows], columns, quality)
            for first in range(0, count, columns * rows)
        ]
        if sum(map(len, uris)) <= most_chars:
            break
    return Sheets(tuple(uris), columns, rows, (width, height))


def _sheet(strips: np.ndarray, columns: int, quality: int) -> str:
    count, height, width = strips.shape[:3]
    rows = -(-count // columns)
    canvas = np.zeros((rows * height, columns * width, 3), np.uint8)
    for place, strip in enumerate(strips):
        top, left = place // columns * height, place % columns * width
        canvas[top : top + height, left : left + width] = strip
    return jpeg_uri(canvas, quality)


def jpeg_uri(image_rgb: np.ndarray, quality: int = QUALITIES[0]) -> str:
    """A picture as a ``data:`` address.

    Args:
        image_rgb: uint8 (h, w, 3).
        quality: of JPEG; colours keep the full resolution, for spots are small.
    """
    options: Sequence[int] = (
        cv2.IMWRITE_JPEG_QUALITY, quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    )  # fmt: skip
    encoded = cv2.imencode(".jpg", cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR), options)[1]
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")
