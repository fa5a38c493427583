"""Text on pictures: an outline font instead of OpenCV's strokes, the same pixels on every machine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ctc_mm.imaging.display import RGB


@dataclass(frozen=True)
class Text:
    """One line of text.

    Attributes:
        words: what it says.
        xy: where it is tied to the picture, in pixels.
        size_px: height of the font.
        colour_rgb: of the letters.
        halo_rgb: of a thin line around them, which keeps them readable on any ground; None: no line.
        anchor: which point of the text lies at ``xy``: left or middle, and top (of the tallest letter) or middle.
    """

    words: str
    xy: tuple[float, float]
    size_px: int
    colour_rgb: RGB
    halo_rgb: RGB | None = None
    anchor: Literal["left-top", "left-middle", "middle-middle", "middle-top"] = "left-top"


_PILLOW_ANCHORS = {"left-top": "la", "left-middle": "lm", "middle-middle": "mm", "middle-top": "ma"}


@lru_cache
def font(size_px: int) -> ImageFont.FreeTypeFont:
    """Give DejaVu Sans, which comes with Matplotlib and has the letters of most languages, in a size."""
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    # The basic layout is part of Pillow; another one depends on what the machine has installed.
    return ImageFont.truetype(str(path), size_px, layout_engine=ImageFont.Layout.BASIC)


def text_width(words: str, size_px: int) -> int:
    """Width of a line of text in pixels."""
    return int(np.ceil(font(size_px).getlength(words)))


def line_height(size_px: int) -> int:
    """Distance between lines of text in pixels."""
    ascent, descent = font(size_px).getmetrics()
    return ascent + descent


def draw_texts(canvas: np.ndarray, texts: Iterable[Text]) -> None:
    """Write on a picture, in place; later texts lie above earlier ones, and what leaves the picture is cut.

    Args:
        canvas: uint8 (H, W, 3) RGB.
        texts: lines of text.
    """
    texts = list(texts)
    if not texts:
        return
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    for text in texts:
        halo = {} if text.halo_rgb is None else {"stroke_width": 1, "stroke_fill": text.halo_rgb}
        draw.text(
            text.xy,
            text.words,
            font=font(text.size_px),
            fill=text.colour_rgb,
            anchor=_PILLOW_ANCHORS[text.anchor],
            **halo,
        )
    canvas[...] = np.asarray(picture)


def wrap(words: str, size_px: int, width_px: int) -> list[str]:
    """Break text into lines of at most a width, between words; a word wider than that is broken where it must be."""
    lines: list[str] = []
    for word in words.split():
        if lines and text_width(f"{lines[-1]} {word}", size_px) <= width_px:
            lines[-1] = f"{lines[-1]} {word}"
            continue
        while len(word) > 1 and text_width(word, size_px) > width_px:
            fits = next((n for n in range(len(word) - 1, 1, -1) if text_width(word[:n], size_px) <= width_px), 1)
            lines.append(word[:fits])
            word = word[fits:]
        lines.append(word)
    return lines
