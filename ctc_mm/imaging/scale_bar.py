"""A scale bar of a round length."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ctc_mm.imaging.display import RGB
from ctc_mm.imaging.text import Text, draw_texts, line_height, text_width

# Of the picture's width, the most that a bar takes.
MOST_SHARE = 0.25


@dataclass(frozen=True)
class ScaleBar:
    """Length of a bar.

    Attributes:
        length: in ``unit``, one of 1, 2, 5, 10, 20, 50, ...
        unit: ``µm``, or ``px`` of the field.
        drawn_px: length in the picture.
    """

    length: float
    unit: str
    drawn_px: int

    @property
    def caption(self) -> str:
        """Length and unit, such as ``20 µm``."""
        return f"{self.length:g} {self.unit}"


def choose_scale_bar(picture_width_px: int, zoom: float, um_per_px: float | None) -> ScaleBar | None:
    """Choose the longest bar of a round length (1, 2 or 5 times a power of ten) that takes a quarter of the width.

    Args:
        picture_width_px: width of the picture.
        zoom: picture pixels per field pixel.
        um_per_px: micrometres per field pixel; None: the bar is in field pixels.

    Returns:
        The bar; None where a quarter of the picture is less than one field pixel and no micrometres are known.
    """
    drawn_per_unit = zoom / um_per_px if um_per_px is not None else zoom
    longest = MOST_SHARE * picture_width_px / drawn_per_unit
    if um_per_px is None and longest < 1:
        return None
    power = 10.0 ** math.floor(math.log10(longest))
    # The tolerance keeps 50 when rounding made it 49.9999.
    length = max(step * power for step in (1, 2, 5) if step * power <= longest * (1 + 1e-9))
    return ScaleBar(length, "px" if um_per_px is None else "µm", max(1, round(length * drawn_per_unit)))


def scale_bar_size_wh(bar: ScaleBar, font_px: int) -> tuple[int, int]:
    """Width and height in pixels of a bar with its caption in a size."""
    return max(bar.drawn_px, text_width(bar.caption, font_px)), 2 * _bar_px(font_px) + line_height(font_px)


def draw_scale_bar(
    canvas: np.ndarray, bar: ScaleBar, corner_xy: tuple[int, int], font_px: int, ink_rgb: RGB = (0, 0, 0)
) -> None:
    """Draw a bar and its caption below it, in place.

    Args:
        canvas: uint8 (H, W, 3) RGB.
        bar: its length.
        corner_xy: top left of the room it takes (``scale_bar_size_wh``).
        font_px: size of the caption.
        ink_rgb: of bar and caption.
    """
    x, y = corner_xy
    width, _ = scale_bar_size_wh(bar, font_px)
    thick = _bar_px(font_px)
    left = x + (width - bar.drawn_px) // 2
    canvas[y : y + thick, left : left + bar.drawn_px] = ink_rgb
    middle = (x + width / 2, y + 2 * thick)
    draw_texts(canvas, [Text(bar.caption, middle, font_px, ink_rgb, anchor="middle-top")])


def _bar_px(font_px: int) -> int:
    return max(2, font_px // 4)
