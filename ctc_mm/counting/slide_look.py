"""One look over a slide for a detector: its white level, its noise, where something is to be seen, an overview."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np

from ctc_mm.counting.foreground import ContrastMap, ContrastPass
from ctc_mm.counting.overview import OverviewPass
from ctc_mm.counting.prefetch import prefetch
from ctc_mm.counting.records import Overview
from ctc_mm.errors import SlideError
from ctc_mm.imaging.field import Field, RegionXYXY
from ctc_mm.imaging.normalize import guess_white_level

# Sides of what is read at once: whole blocks of the damage record, of the overview and of the contrast map.
READ_PX = 2048
# 8-bit values stored in 16 bits.
STEP_OF_8_BITS = 257
MOST_ABOVE_WHITE = 0.5
GIVEN, OF_MODEL, OF_SLIDE = "given", "model", "slide"


@dataclass(frozen=True, eq=False)
class SlideLook:
    """What one look over a slide gave.

    Attributes:
        white_level: grey value that becomes 255 for the model.
        white_level_source: ``given``, ``model`` or ``slide`` (by pixel type and content).
        contrast: where something stands out of noise.
        overview: a small picture.
    """

    white_level: float
    white_level_source: str
    contrast: ContrastMap
    overview: Overview


def look_over(
    field: Field,
    channels: Sequence[str],
    model_level: float | None = None,
    given_level: float | None = None,
    threads: int = 1,
) -> SlideLook:
    """Read a slide once, in parts.

    Args:
        field: the slide as the model is to see it.
        channels: those that the model sees.
        model_level: white level in the model's training.
        given_level: white level that the user states.
        threads: parts read at once; changes no result.

    Raises:
        SlideError: no white level is known, or most of the slide is brighter than it.
    """
    look = _Look(field, channels)
    for _ in prefetch(look.add, _parts(field.size_wh), threads):
        pass
    level, source = look.white_level(model_level, given_level)
    return SlideLook(level, source, look.contrast.finish(level), look.overview.bright_field())


def _parts(size_wh: tuple[int, int]) -> list[RegionXYXY]:
    width, height = size_wh
    return [
        (x, y, min(x + READ_PX, width), min(y + READ_PX, height))
        for y in range(0, height, READ_PX)
        for x in range(0, width, READ_PX)
    ]


class _Look:
    """What is gathered while parts are read, in threads."""

    def __init__(self, field: Field, channels: Sequence[str]) -> None:
        self.field, self.channels = field, tuple(channels)
        self.contrast = ContrastPass(field.size_wh, len(self.channels))
        self.overview = OverviewPass(field.size_wh, self.channels)
        # Of 16 bits: tells depth, 8-bit values in disguise, and how much lies above white.
        self._histogram = np.zeros(1 << 16, np.int64) if field.dtype == np.uint16 else None
        self._lock = Lock()

    def add(self, region: RegionXYXY) -> None:
        """Read a part and take note of it."""
        block = self.field.read(self.channels, region)
        self.contrast.add(block, region)
        for name, plane in zip(self.channels, block, strict=True):
            self.overview.add(name, plane, region[:2])
        if self._histogram is None:
            return
        counts = np.bincount(block.ravel(), minlength=1 << 16)
        with self._lock:
            self._histogram += counts

    def white_level(self, model_level: float | None, given_level: float | None) -> tuple[float, str]:
        """Choose the white level, and say where it comes from."""
        brightest = max(self.overview.brightest.values())
        if given_level is not None:
            level, source = float(given_level), GIVEN
        else:
            level, source = self._by_model_or_slide(model_level, brightest)
        self._refuse_washed_out(level, source)
        return level, source

    def _by_model_or_slide(self, model_level: float | None, brightest: float) -> tuple[float, str]:
        dtype = self.field.dtype
        is_8_bit_model = model_level is not None and model_level <= 255
        of_8_bits = (float(model_level), OF_MODEL) if is_8_bit_model else (255.0, OF_SLIDE)
        if dtype == np.uint8:
            return of_8_bits
        if dtype == np.uint16:
            used = np.flatnonzero(self._histogram)
            if not (used % STEP_OF_8_BITS).any():
                return of_8_bits[0] * STEP_OF_8_BITS, of_8_bits[1]
            if model_level is not None and model_level > 255:
                return float(model_level), OF_MODEL
            return guess_white_level(used.astype(np.uint16)), OF_SLIDE
        if brightest <= 1:
            return 1.0, OF_SLIDE
        if model_level is not None and brightest <= model_level:
            return float(model_level), OF_MODEL
        raise SlideError(
            f"slide {self.field.name}: float pixels reach {brightest:g}, and which value stands for white is not "
            "known; give it (--settings white_level=N)"
        )

    def _refuse_washed_out(self, level: float, source: str) -> None:
        if self._histogram is None:
            return
        share = self._histogram[int(np.floor(level)) + 1 :].sum() / self._histogram.sum()
        if share > MOST_ABOVE_WHITE:
            raise SlideError(
                f"slide {self.field.name}: {share:.0%} of its pixels are above the white level {level:g} ({source}), "
                f"up to {int(np.flatnonzero(self._histogram).max())}: to the model it would be all white; give the "
                "slide's own (--settings white_level=N)"
            )
