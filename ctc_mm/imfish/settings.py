"""What a user may choose about the imFISH rule; the defaults are physical sizes, not fitted to images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ctc_mm.imaging.nuclei import METHODS

MODES = ("full", "paper")
# Numbers that are found where they are not given.
MAY_BE_NONE = ("cd45_threshold", "cep8_threshold", "spot_diameter_um")
# Size of a pixel taken where neither the image nor its nuclei say: x40 and a common camera.
USUAL_UM_PER_PX = 0.25


@dataclass(frozen=True)
class ImFISHSettings:
    """Choices of the rule (paper imfish-cnn-2022, "Detection Standard of CTCs"; reading 15).

    Sizes are in micrometres; where the size of a pixel is not known it is found from the field's nuclei, and in a field
    with too few of them ``USUAL_UM_PER_PX`` is taken.

    Attributes:
        mode: ``full`` for all criteria; ``paper`` counts the signals of every nucleus and asks nothing else, as the
            paper's labels did.
        method: how nuclei are found (``ctc_mm.imaging.nuclei``).
        min_signals: CEP8 signals that make a CTC.
        cd45_threshold: CD45 of the cytoplasm's ring above background from which a cell is a white blood cell, in grey
            values; None finds it in the field.
        cep8_threshold: height above its nucleus from which a spot is a signal, in grey values; None finds it in the
            field.
        ring_gap_um: distance between nucleus and ring.
        ring_width_um: width of the ring of cytoplasm.
        min_diameter_um: nuclei of a smaller equivalent diameter are debris.
        max_diameter_um: nuclei of a larger one are aggregates.
        min_solidity: nuclei of a lower area over convex hull are several in one.
        convex_solidity: nuclei of a lower one are several too, if
        max_bright_share: more than this share of their pixels is half as bright again as their median.
        min_contact: nuclei whose common border is longer than this part of the smaller diameter touch.
        max_edge_um: nuclei with a rim more blurred are out of focus.
        min_dapi: nuclei whose DAPI is below this part of the median nucleus of the field are debris.
        rim_um: a signal this far outside a nucleus still belongs to it.
        spot_diameter_um: full width at half maximum of a signal, where the size of a pixel is known, brought to what
            ``ctc_mm.imaging.spots`` can look for; None, or a pixel of unknown size, leaves it to that module.

    Raises:
        ValueError: a mode or method that does not exist, a number out of its range.
    """

    mode: str = "full"
    method: str = "robust"
    min_signals: int = 3
    cd45_threshold: float | None = None
    cep8_threshold: float | None = None
    ring_gap_um: float = 0.25
    ring_width_um: float = 1.0
    min_diameter_um: float = 5.0
    max_diameter_um: float = 25.0
    min_solidity: float = 0.93
    convex_solidity: float = 0.97
    max_bright_share: float = 0.02
    min_contact: float = 0.2
    max_edge_um: float = 0.8
    min_dapi: float = 0.2
    rim_um: float = 0.5
    spot_diameter_um: float | None = 0.75

    def __post_init__(self) -> None:
        for name, choices in (("mode", MODES), ("method", METHODS)):
            if getattr(self, name) not in choices:
                raise ValueError(f"`{name}` must be one of {', '.join(choices)}. Received: {getattr(self, name)!r}")
        for name, value in asdict(self).items():
            # Values of a command line or a JSON file: what is no number arrives as text.
            if name in ("mode", "method") or (value is None and name in MAY_BE_NONE):
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"`{name}` must be a number. Received: {value!r}")
        if not self.min_signals >= 1 or self.min_signals % 1:
            raise ValueError(f"`min_signals` must be a whole number of at least 1. Received: {self.min_signals}")
        thresholds = ("cd45_threshold", "cep8_threshold")
        positive = ("ring_width_um", "min_diameter_um", "max_diameter_um", "max_edge_um", "spot_diameter_um")
        for name in (*positive, *thresholds, "ring_gap_um", "rim_um", "min_contact", "min_dapi"):
            value = getattr(self, name)
            if value is None:
                continue
            if not math.isfinite(value) or value < 0 or (value == 0 and name in positive):
                bound = "above 0" if name in positive else "of at least 0"
                raise ValueError(f"`{name}` must be a finite number {bound}. Received: {value}")
        for name in ("min_solidity", "convex_solidity", "max_bright_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"`{name}` must be from 0 to 1. Received: {getattr(self, name)}")
        if self.min_diameter_um >= self.max_diameter_um:
            raise ValueError(
                "`min_diameter_um` must be below `max_diameter_um`. "
                f"Received: {self.min_diameter_um}, {self.max_diameter_um}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ImFISHSettings:
        """Take back what ``to_dict`` gave."""
        return cls(**values)
