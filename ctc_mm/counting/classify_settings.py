"""Settings of the route that cuts cells and classifies them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ctc_mm.counting.engines.base import EngineSettings
from ctc_mm.counting.setting_checks import is_number, is_size, own_settings
from ctc_mm.errors import ConfigError
from ctc_mm.imaging.cells import DIAMETER_UM

# How the crops of a training set were normalised: against what no cell covers, against their own border, not at all.
BY_CELLS, BY_BORDER, NOT = "cells", "border", "no"
NORMALIZATIONS = (BY_CELLS, BY_BORDER, NOT)


@dataclass(frozen=True)
class ClassifySettings:
    """How cells are found, cut and called; the model is in ``EngineSettings``.

    Attributes:
        rule: by which validation chose the threshold: ``youden``, ``wanted_sensitivity`` or ``wanted_fpr``.
        doubt: cells from this share of the threshold on are shown as ``unidentified``; 1: none.
        min_cell_um: smallest diameter of a cell.
        max_cell_um: largest.
        crop_px: side of the crops that the model was trained on; None: as it remembers.
        crop_um: the same in micrometres.
        crop_margin: instead, for models trained on boxes: this part of the longer side around them.
        crop_normalize: how crops were normalised in training: ``cells``, ``border`` or ``no``; None: as it remembers.
        resample: show slides of another pixel size at the model's.
        skip_background: leave out windows that show nothing but noise.
        white_level: grey value of the slides that counts as white; None: by pixel type, model and content.
        tile_px: side of a tile in pixels, about; changes no result.
        threads: windows in which cells are looked for at once; changes no result.

    Raises:
        ConfigError: a number out of its range, an unknown normalisation, several sizes of the crop.
    """

    rule: str = "youden"
    doubt: float = 1.0
    min_cell_um: float = DIAMETER_UM[0]
    max_cell_um: float = DIAMETER_UM[1]
    crop_px: int | None = None
    crop_um: float | None = None
    crop_margin: float | None = None
    crop_normalize: str | None = None
    resample: bool = False
    skip_background: bool = True
    white_level: float | None = None
    tile_px: int = 2048
    threads: int = 2

    def __post_init__(self) -> None:
        for name in ("crop_px", "tile_px", "threads"):
            value = getattr(self, name)
            if value is not None and not is_size(value):
                raise ConfigError(f"`{name}` must be a whole number above 0. Received: {value!r}")
        for name in ("doubt", "min_cell_um", "max_cell_um", "crop_um", "white_level"):
            value = getattr(self, name)
            if value is not None and not (is_number(value) and value > 0):
                raise ConfigError(f"`{name}` must be a number above 0. Received: {value!r}")
        if self.doubt > 1:
            raise ConfigError(f"`doubt` must be at most 1 (no doubtful cells). Received: {self.doubt!r}")
        if self.min_cell_um >= self.max_cell_um:
            raise ConfigError(
                f"`min_cell_um` must be below `max_cell_um`. Received: {self.min_cell_um}, {self.max_cell_um}"
            )
        if self.crop_margin is not None and not (is_number(self.crop_margin) and self.crop_margin >= 0):
            raise ConfigError(f"`crop_margin` must be at least 0. Received: {self.crop_margin!r}")
        sizes = {name: getattr(self, name) for name in ("crop_px", "crop_um", "crop_margin")}
        if sum(value is not None for value in sizes.values()) > 1:
            raise ConfigError(f"give one of {', '.join(sizes)}. Received: {sizes}")
        if self.crop_normalize not in (None, *NORMALIZATIONS):
            raise ConfigError(
                f"`crop_normalize` must be one of {', '.join(NORMALIZATIONS)}. Received: {self.crop_normalize!r}"
            )

    @property
    def diameter_um(self) -> tuple[float, float]:
        """Smallest and largest diameter of a cell."""
        return self.min_cell_um, self.max_cell_um

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ClassifySettings:
        """Read the settings of a ``RouteSpec``, where the engine's stand beside these; None: not given.

        Raises:
            ConfigError: an unknown setting, or one out of its range.
        """
        return cls(**own_settings("classify", cls, values, EngineSettings))

    def identity(self) -> dict[str, Any]:
        """What decides the result."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name not in ("tile_px", "threads")}
