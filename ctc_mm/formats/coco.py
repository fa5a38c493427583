"""COCO JSON: the one writer of the project, and a reader that trusts nothing in the file.

Keys beyond COCO's: per image ``group`` (raw image, slide or patient), ``um_per_px``, ``channel``, ``white_level`` (the
pixel value that counts as white) and, for crops, ``x0``, ``y0`` (place in the raw image). Coordinates are written to a
thousandth of a pixel.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ctc_mm.errors import AnnotationError
from ctc_mm.formats.fields import JsonField, load_json_object
from ctc_mm.formats.files import write_json
from ctc_mm.structures import CellBox, LabelledImage, LabelledSet, PolygonXY

DECIMALS = 3
# Boxes written by other tools may leave the image by their own rounding; more than this is an error.
EDGE_TOLERANCE_PX = 0.01


def write_coco(path: str | Path, labelled: LabelledSet) -> None:
    """Write a labelled set as COCO JSON; the same set gives the same bytes.

    Categories are 1..K in class order, images 1..N in the order of their file names, annotations 1..M in the order of
    the images. Images without cells are kept. An ignore region of every class becomes one ``iscrowd`` annotation per
    category, because COCO evaluates one category at a time.

    Raises:
        OSError: the file cannot be written.
    """
    category_ids = {name: index for index, name in enumerate(labelled.classes, start=1)}
    annotations: list[dict[str, Any]] = []
    for image_id, image in enumerate(labelled.images, start=1):
        for cell in image.cells:
            for name in labelled.classes if cell.label is None else (cell.label,):
                annotation = {"id": len(annotations) + 1, "image_id": image_id, "category_id": category_ids[name]}
                annotations.append(annotation | _shape_entry(cell))
    content = {
        "info": dict(labelled.info),
        "categories": [{"id": index, "name": name} for name, index in category_ids.items()],
        "images": [_image_entry(index, image) for index, image in enumerate(labelled.images, start=1)],
        "annotations": annotations,
    }
    write_json(path, content)


def read_coco(path: str | Path) -> LabelledSet:
    """Read COCO JSON with boxes; the classes are the categories in the order of their ids.

    Args:
        path: file of ``write_coco`` or of another tool, boxes as ``x, y, width, height`` in pixels.

    Returns:
        The set; an ``iscrowd`` annotation is an ignore region of its category.

    Raises:
        AnnotationError: the file is missing, truncated or not COCO; an id or a name used twice; an annotation of an
            unknown image or category; a box that is not finite, has no area or leaves its image.
    """
    path = Path(path)
    root = load_json_object(path)
    classes = _read_categories(root)
    images: dict[int, JsonField] = {}
    for entry in root.get("images").objects():
        image_id = entry.get("id").integer()
        if image_id in images:
            raise entry.error(f"image id {image_id} is used twice; give each image an id of its own")
        images[image_id] = entry
    cells: dict[int, list[CellBox]] = {image_id: [] for image_id in images}
    seen: set[int] = set()
    for entry in root.get("annotations").objects():
        annotation_id = entry.get("id").integer()
        image_id = entry.get("image_id").integer()
        if annotation_id in seen:
            raise entry.error(f"annotation id {annotation_id} is used twice; give each annotation an id of its own")
        if image_id not in images:
            raise entry.error(f"image_id {image_id} names no image of the file; remove the annotation or add the image")
        seen.add(annotation_id)
        cells[image_id].append(_read_cell(entry, classes, _read_size(images[image_id])))
    try:
        labelled = tuple(_read_image(entry, tuple(cells[image_id])) for image_id, entry in images.items())
        return LabelledSet(tuple(classes.values()), labelled, root.get("info").mapping() if root.has("info") else {})
    except ValueError as error:
        raise error if isinstance(error, AnnotationError) else AnnotationError(f"{path}: {error}") from error


def _shape_entry(cell: CellBox) -> dict[str, Any]:
    x0, y0, x1, y1 = (_rounded(value) for value in cell.box_xyxy)
    width, height = _rounded(x1 - x0), _rounded(y1 - y0)
    outlines = [[_rounded(value) for point in polygon for value in point] for polygon in cell.polygons_xy]
    return {
        "bbox": [x0, y0, width, height],
        # The box's area, also where there is an outline: COCO's size ranges compare it with the area of detected boxes.
        "area": _rounded(width * height),
        "iscrowd": int(cell.is_ignore),
        # For crowds COCO wants run lengths here; the box is what says what to ignore.
        "segmentation": [] if cell.is_ignore else outlines,
    }


def _image_entry(image_id: int, image: LabelledImage) -> dict[str, Any]:
    width, height = image.size_wh
    entry: dict[str, Any] = {
        "id": image_id,
        "file_name": image.file_name,
        "width": width,
        "height": height,
        "group": image.group,
    }
    for name in ("um_per_px", "channel", "white_level"):
        if getattr(image, name) is not None:
            entry[name] = getattr(image, name)
    if image.origin_xy is not None:
        entry["x0"], entry["y0"] = image.origin_xy
    return entry


def _rounded(value: float) -> int | float:
    number = round(float(value), DECIMALS)
    return int(number) if number.is_integer() else number


def _read_categories(root: JsonField) -> dict[int, str]:
    names: dict[int, str] = {}
    for entry in root.get("categories").objects():
        category_id, name = entry.get("id").integer(), entry.get("name").string()
        if category_id in names or name in names.values():
            raise entry.error(f"category {category_id} {name!r} is there twice; keep one")
        names[category_id] = name
    if not names:
        raise root.get("categories").error("must list at least one category")
    return dict(sorted(names.items()))


def _read_size(entry: JsonField) -> tuple[int, int]:
    return entry.get("width").integer(minimum=1), entry.get("height").integer(minimum=1)


def _read_image(entry: JsonField, cells: tuple[CellBox, ...]) -> LabelledImage:
    has_origin = entry.has("x0") or entry.has("y0")
    try:
        return LabelledImage(
            file_name=entry.get("file_name").string(),
            size_wh=_read_size(entry),
            cells=cells,
            group=entry.get("group").name() if entry.has("group") else "",
            um_per_px=entry.get("um_per_px").number() if entry.has("um_per_px") else None,
            channel=entry.get("channel").string() if entry.has("channel") else None,
            white_level=entry.get("white_level").number() if entry.has("white_level") else None,
            origin_xy=(entry.get("x0").integer(), entry.get("y0").integer()) if has_origin else None,
        )
    except ValueError as error:
        raise error if isinstance(error, AnnotationError) else entry.error(str(error)) from error


def _read_cell(entry: JsonField, classes: dict[int, str], size_wh: tuple[int, int]) -> CellBox:
    category_id = entry.get("category_id").integer()
    if category_id not in classes:
        raise entry.error(f"category_id {category_id} is none of the categories {sorted(classes)}")
    x, y, width, height = entry.get("bbox").numbers(4)
    box_xyxy = np.array([x, y, x + width, y + height])
    inside = np.clip(box_xyxy, 0, (*size_wh, *size_wh))
    if np.abs(inside - box_xyxy).max() > EDGE_TOLERANCE_PX:
        raise entry.error(f"bbox {[x, y, width, height]} leaves the image of {size_wh[0]} x {size_wh[1]} px; clip it")
    crowd = entry.get("iscrowd").integer() if entry.has("iscrowd") else 0
    try:
        return CellBox(tuple(inside.tolist()), classes[category_id], _read_polygons(entry), bool(crowd))
    except ValueError as error:
        raise error if isinstance(error, AnnotationError) else entry.error(str(error)) from error


def _read_polygons(entry: JsonField) -> tuple[PolygonXY, ...]:
    # Run-length masks (a dictionary) are passed over: the box holds all that detection needs.
    if not entry.has("segmentation") or isinstance(entry.get("segmentation").value, dict):
        return ()
    polygons = []
    for outline in entry.get("segmentation").items():
        values = outline.numbers()
        if len(values) < 6 or len(values) % 2:
            raise outline.error(f"must be x, y pairs of at least 3 points. Received {len(values)} numbers")
        polygons.append(tuple(zip(values[::2], values[1::2], strict=True)))
    return tuple(polygons)
