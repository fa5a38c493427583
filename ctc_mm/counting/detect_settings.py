"""Settings of the route that finds cells with a detector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ctc_mm.counting.engines.base import EngineSettings
from ctc_mm.counting.setting_checks import is_number, is_size, own_settings
from ctc_mm.errors import ConfigError


@dataclass(frozen=True)
class DetectSettings:
    """What a slide is shown to the detector as, and which of its findings count; the model is in ``EngineSettings``.

    Attributes:
        max_cell_um: longer side of the largest allowed cell in micrometres; None: 30, about twice a CTC, at most half
            of a window.
        max_cell_px: the same in pixels of the model, for slides without a pixel size.
        overlap_px: overlap of windows in pixels of the model; None: a little more than the largest allowed cell.
        doubt: targets from this share of their threshold on are shown as ``unidentified``; 1: none.
        skip_background: leave out windows that show nothing but noise.
        resample: show slides of another pixel size at the model's.
        white_level: grey value of the slides that counts as white; None: by pixel type, model and content.
        tile_px: side of a tile in pixels, about; changes no result.
        threads: windows prepared at once; changes no result.
        batch_size: windows that the model sees at once.

    Raises:
        ConfigError: a number out of its range.
    """

    max_cell_um: float | None = None
    max_cell_px: float | None = None
    overlap_px: int | None = None
    doubt: float = 0.8
    skip_background: bool = True
    resample: bool = False
    white_level: float | None = None
    tile_px: int = 2048
    threads: int = 2
    batch_size: int = 8

    def __post_init__(self) -> None:
        for name in ("overlap_px", "tile_px", "threads", "batch_size"):
            value = getattr(self, name)
            if value is not None and not is_size(value):
                raise ConfigError(f"`{name}` must be a whole number above 0. Received: {value!r}")
        for name in ("max_cell_um", "max_cell_px", "white_level", "doubt"):
            value = getattr(self, name)
            if value is not None and not (is_number(value) and value > 0):
                raise ConfigError(f"`{name}` must be a number above 0. Received: {value!r}")
        if self.doubt > 1:
            raise ConfigError(f"`doubt` must be at most 1 (no doubtful cells). Received: {self.doubt!r}")
        if self.max_cell_um is not None and self.max_cell_px is not None:
            raise ConfigError(
                "give one of `max_cell_um` and `max_cell_px`. Received both: "
                f"{self.max_cell_um!r} and {self.max_cell_px!r}"
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DetectSettings:
        """Read the settings of a ``RouteSpec``, where the engine's stand beside these; None: not given.

        Raises:
            ConfigError: an unknown setting, or one out of its range.
        """
        return cls(**own_settings("detect", cls, values, EngineSettings))

    def identity(self) -> dict[str, Any]:
        """What decides the result."""
        without = ("tile_px", "threads", "batch_size")
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name not in without}


def engine_settings(values: Mapping[str, Any]) -> EngineSettings:
    """The engine's part of the settings; its own ``threads`` are the library's affair, ours prepare windows."""
    ours = DetectSettings.from_dict(values)
    return EngineSettings.of({**values, "threads": None, "batch_size": ours.batch_size, "doubt": ours.doubt})
