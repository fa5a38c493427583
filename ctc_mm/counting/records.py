"""What travels through a count: the slide as the user describes it, the cells found on it, and what was left out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from ctc_mm.imaging.field_list import FieldSource
from ctc_mm.structures import BoxXYXY

PATIENT, BLANK, SPIKE_IN = "patient", "blank", "spike_in"
ROLES = (PATIENT, BLANK, SPIKE_IN)
# The class of cells that are shown and not counted: the route could not or would not say what they are.
UNIDENTIFIED = "unidentified"
# The kind of a drop that is no loss: nobody took a picture there.
GAP = "gap"


@dataclass(frozen=True)
class SlideSpec:
    """A slide to count, as the user describes it; it can be sent to another process.

    Attributes:
        name: of the slide; names its results, so it is unique in a run and fits a file name.
        source: where its channels lie.
        patient: whose blood it is; "" where that is not known.
        role: ``patient``, ``blank`` (a sample known to hold no CTC) or ``spike_in`` (known cells were added).
        volume_ml: volume of the sample on the slide, in mL; None where it is not known.
        dilution: mL of sample that one mL of blood became; ``blood_ml`` is what the count is of.
        um_per_px: side of a pixel in micrometres, in the place of what the file says; None: the file's.
        spiked: number of cells added, for ``spike_in``.

    Raises:
        ValueError: a value out of its range, or ``spiked`` and ``role`` do not go together.
    """

    name: str
    source: FieldSource
    patient: str = ""
    role: str = PATIENT
    volume_ml: float | None = None
    dilution: float = 1.0
    um_per_px: float | None = None
    spiked: float | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("`name` of a slide must not be empty")
        if self.role not in ROLES:
            raise ValueError(f"`role` of slide {self.name} must be one of {', '.join(ROLES)}. Received: {self.role!r}")
        for key in ("volume_ml", "dilution", "um_per_px"):
            value = getattr(self, key)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"`{key}` of slide {self.name} must be a number above 0. Received: {value!r}")
        if (self.spiked is not None) != (self.role == SPIKE_IN):
            raise ValueError(
                f"slide {self.name}: `spiked` (number of cells added) belongs to role {SPIKE_IN!r}, and to it alone. "
                f"Received: role {self.role!r}, spiked {self.spiked!r}"
            )
        if self.spiked is not None and not (math.isfinite(self.spiked) and self.spiked >= 0):
            raise ValueError(f"`spiked` of slide {self.name} must be 0 or more. Received: {self.spiked!r}")

    @property
    def blood_ml(self) -> float | None:
        """Volume of undiluted blood that the slide stands for, in mL."""
        return None if self.volume_ml is None else self.volume_ml / self.dilution


@dataclass(frozen=True, slots=True)
class CountedCell:
    """One object on a slide, counted or shown.

    Attributes:
        box_xyxy: half-open pixels of the slide at level 0; inside the slide, with an area.
        class_name: one of the route's classes, or ``unidentified``.
        score: that it is what ``class_name`` says (detect) or a CTC (classify), 0 to 1; None where a rule decides.
        diameter_um: of the circle of its area, or of its box; None without a pixel size.
        flags: what a reader of the count should know of it (``border``, ``clump``, ``seam``, ...), sorted.
        columns: values of the route, the same keys in every cell of a slide.
        outlines_xy: closed outlines in pixels of the slide; empty where only the box is known.
    """

    box_xyxy: BoxXYXY
    class_name: str
    score: float | None = None
    diameter_um: float | None = None
    flags: tuple[str, ...] = ()
    columns: Mapping[str, Any] = field(default_factory=dict)
    outlines_xy: tuple[tuple[tuple[float, float], ...], ...] = ()

    @property
    def centre_xy(self) -> tuple[float, float]:
        """Middle of the box in pixels of the slide."""
        x0, y0, x1, y1 = self.box_xyxy
        return (x0 + x1) / 2, (y0 + y1) / 2


def in_order(cells: list[CountedCell]) -> tuple[CountedCell, ...]:
    """Cells in the one order in which they are written: by box (top, left, bottom, right), class, score."""
    return tuple(
        sorted(
            cells,
            key=lambda cell: (
                *(cell.box_xyxy[place] for place in (1, 0, 3, 2)),
                cell.class_name,
                -(cell.score if cell.score is not None else 0.0),
            ),
        )
    )


@dataclass(frozen=True)
class Drop:
    """A part of a slide that was not looked at, or objects that were left out: what, why, how much.

    Attributes:
        kind: ``block`` or ``window`` (a part of the slide), ``gap`` (between the fields of a mosaic, where there are no
            pixels), or ``cell``.
        reason: in words a user understands; the message of the error where there was one.
        count: how many.
        area_px: pixels of the slide that are lost by it (of a ``gap``: that nobody imaged, which is no loss).
        regions_xyxy: where, at most a hundred of them.
    """

    kind: str
    reason: str
    count: int
    area_px: int = 0
    regions_xyxy: tuple[tuple[int, int, int, int], ...] = ()


@dataclass(frozen=True)
class AnalysedArea:
    """How much of a slide was looked at, in pixels of level 0; the four parts add up to its width times its height.

    Attributes:
        analysed_px: looked at by the route.
        background_px: taken for empty by the cheap test: analysed, and nothing there.
        dropped_px: could not be read.
        gap_px: between the fields of a mosaic, where nobody took a picture: no part of what was imaged, and no loss.
    """

    analysed_px: int
    background_px: int = 0
    dropped_px: int = 0
    gap_px: int = 0

    @property
    def total_px(self) -> int:
        """Pixels of the slide that were imaged: all but the gaps."""
        return self.analysed_px + self.background_px + self.dropped_px

    @property
    def share(self) -> float:
        """Share of what was imaged that the count stands for: all but what could not be read."""
        return (self.analysed_px + self.background_px) / self.total_px


@dataclass(frozen=True, eq=False)
class Overview:
    """A small picture of a slide.

    Attributes:
        rgb: uint8 (h, w, 3).
        scale: pixels of the overview per pixel of the slide.
    """

    rgb: np.ndarray
    scale: float


@dataclass(frozen=True)
class SlideCount:
    """The result of a route on one slide: everything that its files are written from.

    Attributes:
        spec: the slide as the user described it.
        size_wh: width and height of the slide at level 0.
        um_per_px: the pixel size that was used; None where none is known and none is needed.
        um_per_px_source: ``given``, ``file``, ``nuclei`` (measured from them), ``assumed`` or ``unknown``.
        channels: of the slide, by name.
        route: ``detect``, ``classify`` or ``imfish``.
        definition: in words, what was counted as a CTC.
        target: the class that is counted.
        classes: every class a cell can have here, the target first, ``unidentified`` last.
        cells: all of them, in the fixed order of ``in_order``.
        thresholds: every number a verdict rests on, of the model and of the slide, as JSON values.
        settings: of the route, as JSON values.
        model: name, hashes, engine, um_per_px, channel ... of the model, as JSON values; None for a rule alone.
        area: how much was looked at.
        drops: what was lost, with reasons.
        removals: objects removed while merging, by reason (``seam_duplicate``, ``too_large`` ...).
        overview: a small picture.
        notes: what a reader should know.
    """

    spec: SlideSpec
    size_wh: tuple[int, int]
    um_per_px: float | None
    um_per_px_source: str
    channels: tuple[str, ...]
    route: str
    definition: str
    target: str
    classes: tuple[str, ...]
    cells: tuple[CountedCell, ...]
    thresholds: Mapping[str, Any]
    settings: Mapping[str, Any]
    model: Mapping[str, Any] | None
    area: AnalysedArea
    drops: tuple[Drop, ...] = ()
    removals: Mapping[str, int] = field(default_factory=dict)
    overview: Overview | None = None
    notes: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Cells by class, in the order of ``classes``, those without a cell too."""
        found = dict.fromkeys(self.classes, 0)
        for cell in self.cells:
            found[cell.class_name] += 1
        return found

    @property
    def is_complete(self) -> bool:
        """Whether everything that was imaged was looked at."""
        return self.area.dropped_px == 0


def as_json(record: Any) -> dict[str, Any]:
    """Fields of a flat record as JSON values."""
    return {one.name: _plain(getattr(record, one.name)) for one in fields(record)}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    return value.item() if isinstance(value, np.generic) else value
