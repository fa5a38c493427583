"""The cells of a slide as COCO JSON: one image, annotation ids that are the detections' ids."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from ctc_mm.counting.records import SlideCount
from ctc_mm.formats.coco import write_coco
from ctc_mm.structures import CellBox, LabelledImage, LabelledSet


def write_cells_coco(path: str | Path, count: SlideCount) -> Path:
    """Write the cells of a slide as COCO JSON, every class of the route a category, ``unidentified`` too.

    Returns:
        The path.

    Raises:
        OSError: the file cannot be written.
    """
    write_coco(path, cells_as_set(count))
    return Path(path)


def cells_as_set(count: SlideCount) -> LabelledSet:
    """The cells of a slide as a labelled set of one image."""
    cells = tuple(
        CellBox(cell.box_xyxy, cell.class_name, tuple(outline for outline in cell.outlines_xy if len(outline) >= 3))
        for cell in count.cells
    )
    image = LabelledImage(
        file_name=slide_file_name(count),
        size_wh=count.size_wh,
        cells=cells,
        group=count.spec.patient or count.spec.name,
        um_per_px=count.um_per_px,
        channel=(count.model or {}).get("channel"),
    )
    info = {"made_by": "ctc_mm count", "slide": count.spec.name, "route": count.route, "target": count.target}
    return LabelledSet(count.classes, (image,), info)


def slide_file_name(count: SlideCount) -> str:
    """The slide's path relative to the folder it was listed in; its name alone where that would lead outside."""
    path = PurePosixPath(count.spec.source.relative_path)
    return path.name if path.is_absolute() or ".." in path.parts else path.as_posix()
