"""Labelme JSON out: what ``labelme.py`` reads, and Labelme opens, so that a person can correct what was found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ctc_mm.structures import IGNORE_LABEL, CellBox, LabelledImage

LABELME_VERSION = "5.5.0"


def labelme_shape(
    label: str, points_xy: Iterable[Sequence[float]], shape_type: str, group_id: int | None = None
) -> dict[str, Any]:
    """One shape.

    Args:
        label: class name, or ``__ignore__``.
        points_xy: pixels of the upright image.
        shape_type: ``rectangle`` (two corners) or ``polygon``.
        group_id: shapes of one group are one object.
    """
    return {
        "label": label,
        "points": [[float(x), float(y)] for x, y in points_xy],
        "group_id": group_id,
        "description": "",
        "shape_type": shape_type,
        "flags": {},
        "mask": None,
    }


def labelme_content(
    shapes: list[dict[str, Any]], image_path: str, size_wh: tuple[int, int], known: Mapping[str, Any]
) -> dict[str, Any]:
    """Content of a Labelme file; the image is named, not embedded.

    Args:
        shapes: of ``labelme_shape``.
        image_path: POSIX path of the image, relative to the Labelme file.
        size_wh: of the image.
        known: keys of our own (``um_per_px``, ``channel``, ``white_level``, ``group``), which Labelme keeps.
    """
    return {
        "version": LABELME_VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": image_path,
        "imageData": None,
        "imageHeight": size_wh[1],
        "imageWidth": size_wh[0],
        **known,
    }


def labelme_of(image: LabelledImage, image_path: str) -> dict[str, Any]:
    """Content of a Labelme file for one labelled image: outlines where they are known, else boxes.

    Labelme knows no ignore region of one class: all become ``__ignore__``.
    """
    shapes = [shape for index, cell in enumerate(image.cells) for shape in _shapes(cell, index)]
    known = {name: getattr(image, name) for name in ("um_per_px", "channel", "white_level", "group")}
    return labelme_content(
        shapes, image_path, image.size_wh, {name: value for name, value in known.items() if value is not None}
    )


def _shapes(cell: CellBox, index: int) -> list[dict[str, Any]]:
    label = IGNORE_LABEL if cell.is_ignore or cell.label is None else cell.label
    x0, y0, x1, y1 = cell.box_xyxy
    # Shapes that are to be ignored are never joined, so one in several pieces is written as its box.
    if not cell.polygons_xy or (cell.is_ignore and len(cell.polygons_xy) > 1):
        return [labelme_shape(label, ((x0, y0), (x1, y1)), "rectangle")]
    group_id = index if len(cell.polygons_xy) > 1 else None
    return [labelme_shape(label, polygon, "polygon", group_id) for polygon in cell.polygons_xy]
