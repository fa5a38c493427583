"""The small picture of a slide, gathered while its tiles are read once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock

import cv2
import numpy as np

from ctc_mm.counting.records import Overview
from ctc_mm.imaging.display import (
    FLUORESCENCE_PERCENTILES,
    GREY_PERCENTILES,
    RGB,
    composite,
    measure_display_range,
    stretch_for_display,
)
from ctc_mm.imaging.tiff_field import RGB_NAMES

# Longest side of an overview.
OVERVIEW_PX = 2048
# Grey values of 255 by which the colours of a grey picture differ after JPEG.
MOST_TINT = 12
# Tiles begin at multiples of this, so a pixel of the overview never comes from two of them.
BLOCK_PX = 256


def colour_notes(channels: Sequence[str], trained_on: str | None, overview: Overview | None) -> tuple[str, ...]:
    """What to say where a model of one channel is shown a slide in colour; of three equal planes nothing."""
    if trained_on is None or tuple(channels) != RGB_NAMES or overview is None:
        return ()
    if np.ptp(overview.rgb, axis=-1).max() <= MOST_TINT:
        return ()
    return (
        f"the slide is in colour, the model was trained on {trained_on!r}: colours that it never saw may make it miss "
        "cells or see false ones; compare some with your own eyes, or train it on slides like this one",
    )


class OverviewPass:
    """Shrinks the channels of a slide by a power of two while they are read; may be used by several threads.

    Args:
        size_wh: width and height of the slide in pixels.
        channels: their names.

    Attributes:
        shrink: pixels of the slide per pixel of the overview.
        brightest: largest value of each channel.
    """

    def __init__(self, size_wh: tuple[int, int], channels: Sequence[str]) -> None:
        self.shrink = 1
        while max(size_wh) > OVERVIEW_PX * self.shrink and self.shrink < BLOCK_PX:
            self.shrink *= 2
        shape = tuple(-(-side // self.shrink) for side in size_wh[::-1])
        self._means = {name: np.zeros(shape, np.float32) for name in channels}
        self.brightest = dict.fromkeys(channels, 0.0)
        self._lock = Lock()

    def add(self, channel: str, pixels: np.ndarray, origin_xy: tuple[int, int]) -> None:
        """Take a tile of a channel, (h, w); its corner lies at multiples of 256 px."""
        step = self.shrink
        missing = tuple((0, -side % step) for side in pixels.shape)
        # Beyond the slide's edge its last pixels are repeated, so that the mean is that of what is there.
        whole = np.pad(pixels, missing, mode="edge") if any(more for _, more in missing) else pixels
        small_wh = (whole.shape[1] // step, whole.shape[0] // step)
        small = cv2.resize(whole, small_wh, interpolation=cv2.INTER_AREA)
        left, top = (start // step for start in origin_xy)
        self._means[channel][top : top + small_wh[1], left : left + small_wh[0]] = small
        brightest = float(pixels.max())
        with self._lock:
            self.brightest[channel] = max(self.brightest[channel], brightest)

    def fluorescence(self, colours: Mapping[str, RGB]) -> Overview:
        """Channels in their colours, the background dark."""
        planes = [
            stretch_for_display(self._means[name], measure_display_range(self._means[name], FLUORESCENCE_PERCENTILES))
            for name in colours
        ]
        return Overview(composite(planes, list(colours.values())), 1 / self.shrink)

    def bright_field(self) -> Overview:
        """One channel as grey, or three as red, green and blue."""
        planes = list(self._means.values())
        image = np.stack(planes if len(planes) == 3 else planes[:1] * 3, axis=-1)
        return Overview(stretch_for_display(image, measure_display_range(image, GREY_PERCENTILES)), 1 / self.shrink)
