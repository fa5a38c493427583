"""The part under a picture that says what it shows: title, scale bar, one entry a kind of line, captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from ctc_mm.imaging.display import RGB
from ctc_mm.imaging.overlay import LineStyle
from ctc_mm.imaging.scale_bar import ScaleBar, draw_scale_bar, scale_bar_size_wh
from ctc_mm.imaging.text import Text, draw_texts, line_height, text_width, wrap

LEAST_WIDTH_PX = 640
# Letters grow with wider pictures, which are looked at from further away.
_USUAL_WIDTH_PX = 1100
_MOST_GROWTH = 3
_PAPER_RGB = (255, 255, 255)
_INK_RGB = (0, 0, 0)
_CAPTION_RGB = (70, 70, 70)
# In a picture of the usual width:
_PADDING_PX = 12
_TITLE_PX, _ENTRY_PX, _CAPTION_PX = 18, 15, 13
_SAMPLE_WH = (44, 26)
_GAP_PX = 8
_ENTRY_GAP_PX = 26


@dataclass(frozen=True)
class LegendEntry:
    """One line of a legend.

    Attributes:
        words: what the sample stands for, with its number.
        style: of the lines it stands for.
        kind: an outline, a ring around a spot, or an area of one colour.
        tag: the letter that stands beside each such object in the picture; "": none.
    """

    words: str
    style: LineStyle
    kind: Literal["outline", "ring", "area"] = "outline"
    tag: str = ""


def add_legend(
    picture: np.ndarray,
    title: str,
    entries: Sequence[LegendEntry],
    captions: Sequence[str] = (),
    scale_bar: ScaleBar | None = None,
    ground_rgb: RGB = (25, 25, 25),
) -> np.ndarray:
    """Put a legend under a picture; a picture narrower than the legend stands in the middle.

    Args:
        picture: uint8 (H, W, 3) RGB.
        title: first line.
        entries: samples with words, laid out in rows.
        captions: sentences in small letters.
        scale_bar: drawn under the lower right corner of the picture, where it hides nothing.
        ground_rgb: behind the samples, like the ground of the picture.

    Returns:
        uint8 (H', W', 3) RGB.
    """
    width = max(picture.shape[1], LEAST_WIDTH_PX)
    rows = _Rows(width, ground_rgb)
    rows.add_title(title, scale_bar)
    rows.add_entries(entries)
    for caption in captions:
        rows.add_lines(caption, _CAPTION_PX, _CAPTION_RGB)
    left = (width - picture.shape[1]) // 2
    sides = ((0, 0), (left, width - picture.shape[1] - left), (0, 0))
    upper = np.pad(picture, sides, constant_values=_PAPER_RGB[0])
    return np.concatenate([upper, rows.draw()])


class _Rows:
    """What stands under the picture, laid out from top to bottom before its height is known."""

    def __init__(self, width: int, ground_rgb: RGB) -> None:
        self._width = width
        self._ground_rgb = ground_rgb
        self._growth = min(max(width / _USUAL_WIDTH_PX, 1), _MOST_GROWTH)
        self._padding = self._px(_PADDING_PX)
        self._sample_wh = self._px(_SAMPLE_WH[0]), self._px(_SAMPLE_WH[1])
        self._y = self._padding
        self._texts: list[Text] = []
        self._samples: list[tuple[int, int, LegendEntry]] = []
        self._bar: tuple[int, int, ScaleBar] | None = None

    def _px(self, usual_px: int) -> int:
        return round(usual_px * self._growth)

    def add_title(self, title: str, scale_bar: ScaleBar | None) -> None:
        bar_w, bar_h = (0, 0) if scale_bar is None else scale_bar_size_wh(scale_bar, self._px(_ENTRY_PX))
        if scale_bar is not None:
            self._bar = (self._width - self._padding - bar_w, self._y, scale_bar)
        top = self._y
        self.add_lines(title, _TITLE_PX, _INK_RGB, bar_w + self._px(_ENTRY_GAP_PX))
        self._y = max(self._y, top + bar_h)

    def add_lines(self, words: str, usual_px: int, colour_rgb: RGB, less_px: int = 0) -> None:
        size_px = self._px(usual_px)
        for line in wrap(words, size_px, self._width - 2 * self._padding - less_px):
            self._texts.append(Text(line, (self._padding, self._y), size_px, colour_rgb))
            self._y += line_height(size_px)

    def add_entries(self, entries: Sequence[LegendEntry]) -> None:
        if not entries:
            return
        (sample_w, sample_h), gap, size_px = self._sample_wh, self._px(_GAP_PX), self._px(_ENTRY_PX)
        x = self._padding
        self._y += gap
        for entry in entries:
            entry_w = sample_w + gap + text_width(entry.words, size_px)
            if x > self._padding and x + entry_w > self._width - self._padding:
                x, self._y = self._padding, self._y + sample_h + gap
            self._samples.append((x, self._y, entry))
            middle = (x + sample_w + gap, self._y + sample_h / 2)
            self._texts.append(Text(entry.words, middle, size_px, _INK_RGB, anchor="left-middle"))
            x += entry_w + self._px(_ENTRY_GAP_PX)
        self._y += sample_h + gap

    def draw(self) -> np.ndarray:
        panel = np.full((self._y + self._padding, self._width, 3), _PAPER_RGB, np.uint8)
        width, height = self._sample_wh
        texts = list(self._texts)
        for x, y, entry in self._samples:
            sample = panel[y : y + height, x : x + width]
            sample[...] = self._ground_rgb
            _draw_sample(sample, entry)
            middle = (x + width / 2, y + height / 2)
            colour = entry.style.colour_rgb
            texts.append(Text(entry.tag, middle, self._px(_ENTRY_PX), colour, anchor="middle-middle"))
        draw_texts(panel, texts)
        if self._bar is not None:
            x, y, bar = self._bar
            draw_scale_bar(panel, bar, (x, y), self._px(_ENTRY_PX))
        return panel


def _draw_sample(sample: np.ndarray, entry: LegendEntry) -> None:
    """Draw in place, in the middle of a piece of the legend."""
    style = entry.style
    height, width = sample.shape[:2]
    inset = height // 6
    if entry.kind == "area":
        sample[inset:-inset, inset:-inset] = style.colour_rgb
    elif entry.kind == "ring":
        middle = (width // 2, height // 2)
        cv2.circle(sample, middle, height // 4, style.colour_rgb, style.width_px, cv2.LINE_AA)
    else:
        for edge in (inset, height - inset - style.width_px):
            line = sample[edge : edge + style.width_px, inset:-inset]
            drawn, gap = (part * style.width_px for part in style.dash_px or (1, 0))
            line[:, np.arange(line.shape[1]) % (drawn + gap) < drawn] = style.colour_rgb
