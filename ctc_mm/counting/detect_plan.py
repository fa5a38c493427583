"""How a slide is shown to a detector: channels, pixel size, windows, the largest allowed cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from ctc_mm.counting.detect_settings import DetectSettings
from ctc_mm.counting.engines.base import ModelInfo
from ctc_mm.counting.records import SlideSpec
from ctc_mm.counting.slides import check_pixel_size, um_per_px_source
from ctc_mm.counting.windows import TileGrid, WindowGrid, check_overlap
from ctc_mm.datasets.cell_channels import is_bright_field
from ctc_mm.errors import SlideError
from ctc_mm.imaging.field import Field
from ctc_mm.imaging.tiff_field import RGB_NAMES

# About twice the diameter of a CTC (10 to 20 um: ssd-attention-fusion-2022, section 1).
MAX_CELL_UM = 30.0
# How much more windows overlap than the largest allowed cell, where nothing else is asked: even, and for boxes that
# windows place a little differently.
SPARE_PX = 4


@dataclass(frozen=True)
class SlideFit:
    """How a slide is shown to the model; its *field* is the slide at the pixel size that the model sees.

    Attributes:
        channels: that the model sees, in its order.
        scale: pixels of the field per pixel of the slide; 1 where it is not resampled.
        target_um_per_px: of the field where it is resampled; else None.
        um_per_px: of the slide; None where it is not known.
        um_per_px_source: where that comes from.
        field_wh: width and height of the field.
        window_wh: of a window, in pixels of the field.
        overlap_px: of windows.
        max_cell_px: longer side of the largest allowed box, in pixels of the field.
        notes: what a user should know.
    """

    channels: tuple[str, ...]
    scale: float
    target_um_per_px: float | None
    um_per_px: float | None
    um_per_px_source: str
    field_wh: tuple[int, int]
    window_wh: tuple[int, int]
    overlap_px: int
    max_cell_px: float
    notes: tuple[str, ...] = ()

    @property
    def grid(self) -> WindowGrid:
        """The windows."""
        return WindowGrid(self.field_wh, self.window_wh, self.overlap_px)

    def tiles(self, tile_px: int) -> TileGrid:
        """Tiles whose side holds about so many pixels of the slide."""
        return TileGrid(self.grid, max(1, round(tile_px * self.scale)))

    def for_field(self, field_wh: tuple[int, int], notes: Sequence[str]) -> SlideFit:
        """The same for the field as it was opened."""
        return replace(self, field_wh=field_wh, notes=(*notes, *self.notes))

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> SlideFit:
        """Read what ``to_json`` wrote."""
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in content.items()})


def fit_slide(spec: SlideSpec, field: Field, info: ModelInfo, settings: DetectSettings) -> SlideFit:
    """Fit a slide to a model.

    Args:
        spec: the slide.
        field: it, opened at its own pixel size.
        info: of the model.
        settings: of the route.

    Raises:
        SlideError: the channel that the model was trained on is missing; the pixel sizes differ; the largest allowed
            cell is in um and no pixel size is known, or does not fit the overlap of windows.
    """
    channels, notes = choose_channels(spec, field, info.channel)
    scale = check_pixel_size(spec, field, info.um_per_px, settings.resample)
    target = info.um_per_px if scale != 1.0 else None
    seen_um = target if target is not None else field.um_per_px
    try:
        max_cell_px, overlap_px = choose_overlap(settings, seen_um, info.window_wh)
        check_overlap(overlap_px, max_cell_px)
        fit = SlideFit(
            channels, scale, target, field.um_per_px, um_per_px_source(spec, field), field.size_wh, info.window_wh,
            overlap_px, max_cell_px, notes,
        )  # fmt: skip
        fit.grid.n_windows  # noqa: B018  # refuses an overlap that leaves no stride
    except ValueError as error:
        raise SlideError(f"slide {spec.name}: {error}") from error
    return fit


def choose_overlap(settings: DetectSettings, um_per_px: float | None, window_wh: tuple[int, int]) -> tuple[float, int]:
    """The largest allowed cell and the overlap of windows, in pixels of the field.

    Raises:
        ValueError: a limit in um without a pixel size.
    """
    half = min(window_wh) // 2 - SPARE_PX
    if settings.max_cell_px is not None:
        max_cell_px = float(settings.max_cell_px)
    elif settings.max_cell_um is not None:
        if um_per_px is None:
            raise ValueError(
                f"the largest allowed cell is given in um ({settings.max_cell_um:g}), and the pixel size is unknown; "
                "give --um-per-px, or the limit in pixels (--settings max_cell_px=N)"
            )
        max_cell_px = settings.max_cell_um / um_per_px
    else:
        max_cell_px = max(1.0, min(half, MAX_CELL_UM / um_per_px if um_per_px else half))
    if settings.overlap_px is not None:
        return max_cell_px, settings.overlap_px
    return max_cell_px, 2 * math.ceil((max_cell_px + SPARE_PX) / 2)


def choose_channels(spec: SlideSpec, field: Field, wanted: str | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The channels that the model is to see, and what a user should know of the choice.

    The channel of the model's name; a colour image for a model of bright field (or of an unknown channel); the only
    channel of a slide that does not name it.

    Raises:
        SlideError: none of the slide's channels is the model's.
    """
    alike = [name for name in field.channels if wanted is not None and _same_channel(name, wanted)]
    if alike:
        return (alike[0],), ()
    shows_light = wanted is None or is_bright_field(wanted)
    if shows_light and field.channels[: len(RGB_NAMES)] == RGB_NAMES:
        return RGB_NAMES, ()
    if len(field.channels) == 1:
        only = field.channels[0]
        return (only,), () if wanted is None else (f"its only channel, {only!r}, was taken for {wanted!r}",)
    raise SlideError(
        f"slide {spec.name}: no channel {wanted or 'of one name'} among {', '.join(field.channels)}; name the one that "
        f"the model is to see, such as --channels {wanted or 'brightfield'}=0"
    )


def _same_channel(one: str, other: str) -> bool:
    alike = one.casefold() == other.casefold()
    return alike or (is_bright_field(one) and is_bright_field(other))
