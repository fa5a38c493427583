"""Diameters of cells, for the baseline that judges by size alone (reading 26)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

from ctc_mm.datasets.cell_channels import CellSample
from ctc_mm.datasets.cell_records import CellRecord

SizeSource = Literal["auto", "image"]
Size = tuple[float | None, float | None]
UNKNOWN: Size = (None, None)


def cell_sizes(
    samples: Sequence[CellSample], every: Sequence[CellRecord], size_from: SizeSource = "auto"
) -> tuple[list[Size], str | None]:
    """Give each sample the diameter of its cell.

    A set has one source, the first that knows the most of the cells, so that diameters can be compared: the columns
    ``diameter_um``, ``diameter_px``, ``area_um2``, ``area_px`` (of a disc of that area), then the box where it is the
    cell's own, which the column ``crop_px`` of the converters says (of an ellipse that fills it). All channels of a
    cell have the size that one of them knows.

    Args:
        samples: samples of a data set.
        every: all images of the table: the source is that of the table, the same for all its parts.
        size_from: ``"auto"``, or ``"image"``: measured in the images.

    Returns:
        Diameter in um and in px for each sample, None where it is not known; and the source's name, None without one.
    """
    found = {name: _by_cell(every, read) for name, read in SOURCES.items()}
    best = max(found, key=lambda name: len(found[name]))
    if not found[best]:
        return [UNKNOWN] * len(samples), None
    return [found[best].get(sample.record.cell_id, UNKNOWN) for sample in samples], best


def _by_cell(records: Sequence[CellRecord], read: Callable[[CellRecord], Size | None]) -> dict[str, Size]:
    sizes: dict[str, Size] = {}
    for record in records:
        size = read(record)
        if size is not None:
            sizes.setdefault(record.cell_id, size)
    return sizes


def _column(name: str, to_diameter: Callable[[float], float], is_um: bool) -> Callable[[CellRecord], Size | None]:
    def read(record: CellRecord) -> Size | None:
        try:
            value = float(record.extra[name])
        except (KeyError, ValueError):
            return None
        if not (math.isfinite(value) and value > 0):
            return None
        return _both(to_diameter(value), is_um, record.um_per_px)

    return read


def _of_box(record: CellRecord) -> Size | None:
    if "crop_px" not in record.extra or record.box_xyxy is None:
        return None
    x0, y0, x1, y1 = record.box_xyxy
    return _both(math.sqrt((x1 - x0) * (y1 - y0)), False, record.um_per_px)


def _both(diameter: float, is_um: bool, um_per_px: float | None) -> Size:
    if um_per_px is None:
        return (diameter, None) if is_um else (None, diameter)
    return (diameter, diameter / um_per_px) if is_um else (diameter * um_per_px, diameter)


def _disc(area: float) -> float:
    return 2 * math.sqrt(area / math.pi)


SOURCES: dict[str, Callable[[CellRecord], Size | None]] = {
    "diameter_um": _column("diameter_um", float, True),
    "diameter_px": _column("diameter_px", float, False),
    "area_um2": _column("area_um2", _disc, True),
    "area_px": _column("area_px", _disc, False),
    "box": _of_box,
}
