"""GeoJSON as QuPath opens and writes it: one feature a cell, coordinates in pixels of level 0.

Facts of the format (QuPath 0.3 to 0.7): ``id`` is kept where it is a UUID; ``properties`` hold ``objectType``,
``classification`` (``name`` or, for derived classes, ``names``, and ``color``), ``measurements`` (numbers) and
``metadata`` (texts). What QuPath exports has coordinates rounded to 1/100 px, and may be a bare list of features.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ctc_mm.counting.exchange.identity import numbered_cells
from ctc_mm.counting.palette import class_colours
from ctc_mm.counting.records import CountedCell, SlideCount
from ctc_mm.formats.files import atomic_write_text

DECIMALS = 3
# Keys of `metadata`, by which a corrected cell is told from one that a person added.
SLIDE_KEY, ID_KEY, CLASS_KEY, FLAGS_KEY = "ctc_mm_slide", "ctc_mm_id", "ctc_mm_class", "ctc_mm_flags"

ObjectType = Literal["annotation", "detection"]


def write_geojson(path: str | Path, count: SlideCount, object_type: ObjectType = "annotation") -> Path:
    """Write the cells of a slide for QuPath: outlines where they are known, else boxes, coloured by class.

    Args:
        path: the file; QuPath opens it by drag and drop onto the slide.
        count: the result.
        object_type: ``annotation`` can be moved and redrawn in QuPath; ``detection`` is faster for tens of thousands of
            cells, and can only be classified anew or deleted.

    Returns:
        The path.

    Raises:
        ValueError: an unknown object type, a number that is not finite.
        OSError: the file cannot be written.
    """
    if object_type not in ("annotation", "detection"):
        raise ValueError(f"`object_type` must be 'annotation' or 'detection'. Received: {object_type!r}")
    colours = class_colours(count.classes, count.target)
    lines = []
    for number, identity, cell in numbered_cells(count):
        properties = {
            "objectType": object_type,
            "name": f"{cell.class_name} {number}",
            "classification": {"name": cell.class_name, "color": list(colours[cell.class_name])},
            "isLocked": False,
            **_values(number, cell, count.spec.name),
        }
        feature = {"type": "Feature", "id": identity, "geometry": _geometry(cell), "properties": properties}
        lines.append(json.dumps(feature, ensure_ascii=False, allow_nan=False, separators=(",", ":")))
    # One cell a line: small, and two versions can be compared line by line.
    atomic_write_text(path, '{"type":"FeatureCollection","features":[\n' + ",\n".join(lines) + "\n]}\n")
    return Path(path)


def _values(number: int, cell: CountedCell, slide: str) -> dict[str, Any]:
    measurements: dict[str, float] = {"detection_id": number}
    metadata = {SLIDE_KEY: slide, ID_KEY: str(number), CLASS_KEY: cell.class_name}
    if cell.flags:
        metadata[FLAGS_KEY] = ";".join(cell.flags)
    for key, value in _columns(cell).items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            measurements |= {key: value} if math.isfinite(value) else {}
        elif value is not None:
            metadata[key] = str(value)
    return {"measurements": measurements, "metadata": metadata}


def _columns(cell: CountedCell) -> Mapping[str, Any]:
    own = {key: value.item() if hasattr(value, "item") else value for key, value in cell.columns.items()}
    return {"score": cell.score, "diameter_um": cell.diameter_um, **own}


def _geometry(cell: CountedCell) -> dict[str, Any]:
    rings = [_ring(outline) for outline in cell.outlines_xy if len(outline) >= 3]
    if len(rings) > 1:
        return {"type": "MultiPolygon", "coordinates": [[ring] for ring in rings]}
    x0, y0, x1, y1 = cell.box_xyxy
    return {"type": "Polygon", "coordinates": rings or [_ring([(x0, y0), (x0, y1), (x1, y1), (x1, y0)])]}


def _ring(points_xy: Sequence[Sequence[float]]) -> list[list[float]]:
    """A closed ring; whole numbers without a decimal point, as QuPath writes them."""
    ring = [[_rounded(x), _rounded(y)] for x, y in points_xy]
    return ring if ring[0] == ring[-1] else [*ring, ring[0]]


def _rounded(value: float) -> float | int:
    number = round(float(value), DECIMALS)
    return int(number) if number.is_integer() else number
