"""Every number of a field that the verdicts on its nuclei rest on: measured once, recorded, passed to each tile."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ctc_mm.imaging.nuclei import NucleusLevels
from ctc_mm.imaging.spots import SpotLevels
from ctc_mm.imfish.cd45 import CD45Levels
from ctc_mm.imfish.settings import ImFISHSettings


@dataclass(frozen=True)
class ImFISHThresholds:
    """The numbers of one field.

    The levels come from a first pass over the field's pixels; ``cep8_threshold``, ``cd45_threshold`` and ``min_dapi``
    from all its nuclei, before the first verdict.

    Attributes:
        settings: what the user chose.
        um_per_px: size of a pixel that turned the settings' micrometres into pixels.
        um_per_px_source: ``image`` (given with it), ``nuclei`` (from the field's median nucleus) or ``assumed``.
        nuclei: levels of the DAPI channel; None where the method takes the whole channel at once.
        spots: levels of the CEP8 channel.
        cd45: levels of the CD45 channel; None without one.
        cep8_threshold: height above its nucleus from which a spot is a signal, in grey values.
        cep8_source: ``given``, ``valley`` (between signals and grain), ``brightest`` or ``nucleus``.
        cd45_threshold: ring above background from which a cell is CD45+, in grey values; None without the channel.
        cd45_source: ``given``, ``valley`` (between two kinds of cells) or ``background``; None without the channel.
        min_dapi: nuclei below it are debris, in grey values above their surroundings.
    """

    settings: ImFISHSettings
    um_per_px: float
    um_per_px_source: str
    nuclei: NucleusLevels | None
    spots: SpotLevels
    cd45: CD45Levels | None
    cep8_threshold: float | None = None
    cep8_source: str | None = None
    cd45_threshold: float | None = None
    cd45_source: str | None = None
    min_dapi: float | None = None

    def px(self, um: float, least: int = 0) -> int:
        """Whole pixels nearest to a length in micrometres, at least ``least``."""
        return max(math.floor(um / self.um_per_px + 0.5), least)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plain = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value.to_dict() if hasattr(value, "to_dict") else value for name, value in plain.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ImFISHThresholds:
        """Take back what ``to_dict`` gave."""
        readers = {
            "settings": ImFISHSettings,
            "nuclei": NucleusLevels,
            "spots": SpotLevels,
            "cd45": CD45Levels,
        }
        return cls(
            **{
                name: readers[name].from_dict(value) if name in readers and value is not None else value
                for name, value in values.items()
            }
        )
