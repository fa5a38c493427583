"""Cells as a person left them: GeoJSON (QuPath's own export) and COCO JSON, read back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ctc_mm.counting.exchange.geojson import CLASS_KEY, SLIDE_KEY
from ctc_mm.errors import AnnotationError
from ctc_mm.formats.coco import read_coco
from ctc_mm.formats.fields import JsonField, load_json
from ctc_mm.formats.labels import normalise_label
from ctc_mm.formats.report import ConversionReport
from ctc_mm.structures import BoxXYXY, PolygonXY

NO_AREA = "object without an area (point or line)"
NO_CELL = "object that is no cell (a TMA core, a region of the whole slide)"
TWICE = "object that is there twice"
# Geometries of GeoJSON that have no area.
NO_GEOMETRY = "none"
FLAT = ("Point", "MultiPoint", "LineString", "MultiLineString", NO_GEOMETRY)
# Objects of QuPath that hold others.
CONTAINERS = ("tma_core", "tmaCore", "root", "tile")
DERIVED = ": "


@dataclass(frozen=True)
class CorrectedCell:
    """One object of a corrected file.

    Attributes:
        box_xyxy: bounds of its outline, px of the slide.
        label: class as written; "" where it has none.
        polygons_xy: outer outlines; none where only the box is known.
        identity: its id, where the file keeps one.
        predicted: class it was counted as; None for one that a person drew, or where the file does not say.
        is_ignore: neither cell nor background (COCO's ``iscrowd``).
        place: file and index, for reports and errors.
    """

    box_xyxy: BoxXYXY
    label: str
    polygons_xy: tuple[PolygonXY, ...]
    identity: str | None
    predicted: str | None
    is_ignore: bool
    place: str


@dataclass(frozen=True)
class CorrectedFile:
    """What a corrected file says of one slide.

    Attributes:
        path: of the file.
        slide: name of the slide it was counted as, or the image's file name; None where the file does not say.
        size_wh: of the image, where the file says it (COCO).
        cells: in the order of the file.
    """

    path: Path
    slide: str | None
    size_wh: tuple[int, int] | None
    cells: tuple[CorrectedCell, ...]


def read_corrected(path: str | Path, report: ConversionReport | None = None) -> list[CorrectedFile]:
    """Read a corrected file, GeoJSON or COCO by what is in it.

    Args:
        path: the file.
        report: counts the objects that are left out because they are no cells.

    Returns:
        One for a GeoJSON file, one an image for a COCO file.

    Raises:
        AnnotationError: the file is missing, truncated, neither of the two, holds a wrong value, or one outline in two
            classes.
    """
    path, report = Path(path), report or ConversionReport()
    root = load_json(path)
    is_coco = isinstance(root.value, dict) and "annotations" in root.value
    read = _read_coco(path) if is_coco else [_read_geojson(path, root, report)]
    return [replace(one, cells=_once(one.cells, report)) for one in read]


def _once(cells: Sequence[CorrectedCell], report: ConversionReport) -> tuple[CorrectedCell, ...]:
    """Each outline once: copies (an export put together from two, a cell pasted twice) would be two cells to train on.

    Raises:
        AnnotationError: one outline in two classes.
    """
    seen: dict[tuple, CorrectedCell] = {}
    for cell in cells:
        first = seen.setdefault((cell.box_xyxy, cell.polygons_xy, cell.is_ignore), cell)
        if normalise_label(first.label) != normalise_label(cell.label):
            raise AnnotationError(
                f"{cell.place}: is {cell.label or 'no class'!r}, and the same outline is {first.label or 'no class'!r} "
                f"at {first.place}; delete one of them"
            )
        if first is not cell:
            report.skip(TWICE, cell.place)
    return tuple(seen.values())


def _read_coco(path: Path) -> list[CorrectedFile]:
    labelled = read_coco(path)
    slide = labelled.info.get("slide") if len(labelled.images) == 1 else None
    return [
        CorrectedFile(
            path,
            slide if isinstance(slide, str) else image.file_name,
            image.size_wh,
            tuple(
                CorrectedCell(
                    cell.box_xyxy, cell.label or "", cell.polygons_xy, None, None, cell.is_ignore,
                    f"{path}: {image.file_name}, cell {number}",
                )
                for number, cell in enumerate(image.cells, start=1)
            ),
        )
        for image in labelled.images
    ]  # fmt: skip


def _read_geojson(path: Path, root: JsonField, report: ConversionReport) -> CorrectedFile:
    if isinstance(root.value, list):  # QuPath without "export as FeatureCollection"
        features = root.objects()
    elif root.get("type").value == "FeatureCollection":
        features = root.get("features").objects()
    elif root.get("type").value == "Feature":
        features = [root]
    else:
        raise root.error("is neither GeoJSON (FeatureCollection) nor COCO JSON (images, annotations)")
    found = [_read_feature(feature, report) for feature in _with_children(features)]
    slides = sorted({slide for slide, _ in found if slide is not None})
    if len(slides) > 1:
        raise AnnotationError(
            f"{path}: holds cells of several slides ({', '.join(slides)}); export each slide by itself"
        )
    cells = tuple(cell for _, cell in found if cell is not None)
    return CorrectedFile(path, slides[0] if slides else None, None, cells)


def _with_children(features: Iterable[JsonField]) -> Iterator[JsonField]:
    """Every object, those inside others too: QuPath can nest the cells of a region in it."""
    for feature in features:
        yield feature
        properties = feature.get("properties") if feature.has("properties") else None
        if properties is not None and properties.has("childObjects"):
            yield from _with_children(properties.get("childObjects").objects())


def _read_feature(feature: JsonField, report: ConversionReport) -> tuple[str | None, CorrectedCell | None]:
    """Name of the slide that the object was counted on, and the cell; None where it is no cell."""
    properties = feature.get("properties") if feature.has("properties") else JsonField({}, feature.file, feature.keys)
    metadata = properties.get("metadata").mapping() if properties.has("metadata") else {}
    slide = metadata.get(SLIDE_KEY)
    geometry = feature.get("geometry")
    kind = NO_GEOMETRY if geometry.value is None else geometry.get("type").string()
    object_type = next((properties.get(key).value for key in ("objectType", "object_type") if properties.has(key)), "")
    if kind in FLAT or object_type in CONTAINERS:
        report.skip(NO_AREA if kind in FLAT else NO_CELL, feature.place)
        return slide, None
    polygons = tuple(_ring(ring) for ring in _outer_rings(geometry, kind))
    points = np.array([point for polygon in polygons for point in polygon], np.float64)
    x0, y0, x1, y1 = (*points.min(axis=0).tolist(), *points.max(axis=0).tolist())
    if x0 == x1 or y0 == y1:
        report.skip(NO_AREA, feature.place)
        return slide, None
    return slide, CorrectedCell(
        (x0, y0, x1, y1), _label(properties), () if _is_box(polygons) else polygons,
        str(feature.get("id").value) if feature.has("id") else None, metadata.get(CLASS_KEY), False, feature.place,
    )  # fmt: skip


def _outer_rings(geometry: JsonField, kind: str) -> list[JsonField]:
    """Outer outline of each piece; holes are left out, a cell's box does not know them."""
    if kind == "Polygon":
        return geometry.get("coordinates").items()[:1] or [geometry.get("coordinates")]
    if kind == "MultiPolygon":
        pieces = [piece.items()[0] for piece in geometry.get("coordinates").items() if piece.items()]
        return pieces or [geometry.get("coordinates")]
    raise geometry.error(f"geometry {kind!r} is not read; a cell is a Polygon or a MultiPolygon")


def _ring(ring: JsonField) -> PolygonXY:
    values = ring.value
    if isinstance(values, list) and all(map(_is_point, values)):
        points = [(float(point[0]), float(point[1])) for point in values]
    else:  # ten times as slow, and says which number is wrong
        points = [tuple(point.numbers()[:2]) for point in ring.items()]
    if len(points) > 1 and points[0] == points[-1]:
        points = points[:-1]
    if len(points) < 3 or any(len(point) != 2 for point in points):
        raise ring.error(f"must be an outline of at least 3 points [x, y]. Received: {len(points)} points")
    return tuple(points)


def _is_point(value: Any) -> bool:
    return type(value) is list and len(value) >= 2 and all(type(v) in (int, float) and math.isfinite(v) for v in value)


def _is_box(polygons: tuple[PolygonXY, ...]) -> bool:
    """Whether the outline is the box itself, so that it adds nothing."""
    if len(polygons) != 1 or len(polygons[0]) != 4:
        return False
    xs, ys = ({point[axis] for point in polygons[0]} for axis in (0, 1))
    return len(xs) == len(ys) == 2 and len(set(polygons[0])) == 4


def _label(properties: JsonField) -> str:
    """Class as QuPath shows it; a derived one as ``Tumor: Positive``, "" for an object without one."""
    if not properties.has("classification"):
        return ""
    classification = properties.get("classification")
    if isinstance(classification.value, str):
        return classification.value.strip()
    if classification.has("names"):
        return DERIVED.join(name.string() for name in classification.get("names").items())
    return classification.get("name").string().strip() if classification.has("name") else ""


def clip_to_slide(cell: CorrectedCell, size_wh: tuple[int, int]) -> CorrectedCell | None:
    """The part of a cell that lies on the slide; None where nothing does."""
    ends = np.array([*size_wh, *size_wh], np.float64)
    box = np.clip(np.array(cell.box_xyxy, np.float64), 0, ends)
    if box[0] >= box[2] or box[1] >= box[3]:
        return None
    polygons = tuple(
        tuple((min(max(x, 0.0), float(size_wh[0])), min(max(y, 0.0), float(size_wh[1]))) for x, y in polygon)
        for polygon in cell.polygons_xy
    )
    return CorrectedCell(
        tuple(box.tolist()), cell.label, polygons, cell.identity, cell.predicted, cell.is_ignore, cell.place
    )


def is_cut(cell: CorrectedCell, size_wh: tuple[int, int], tolerance_px: float = 0.01) -> bool:
    """Whether a cell leaves the slide by more than rounding."""
    x0, y0, x1, y1 = cell.box_xyxy
    return max(-x0, -y0, x1 - size_wh[0], y1 - size_wh[1], -math.inf) > tolerance_px
