"""From bright-field fields to a set of single cells, with COCO and Labelme files of the same cells (reading 22, 23)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ctc_mm.errors import AnnotationError, ImageReadError
from ctc_mm.formats.assemble import Acquisition, Field, SetOptions, assemble, groups_of
from ctc_mm.formats.cell_set import UNLABELLED, CellRow, CellSetWriter
from ctc_mm.formats.coco import write_coco
from ctc_mm.formats.files import write_json
from ctc_mm.formats.images import facts_of
from ctc_mm.formats.keep_table import KeepTable
from ctc_mm.formats.labelme_writer import labelme_of
from ctc_mm.formats.marker_labels import MarkerLabels, MarkerOptions, MarkerResult
from ctc_mm.formats.paths import IMAGE_SUFFIXES, files_under
from ctc_mm.formats.report import ConversionReport, Progress, gather, no_progress
from ctc_mm.imaging.cell_crops import CROP_PX, CellCrop, crop_cell, crop_size_px, normalize_crop
from ctc_mm.imaging.cells import (
    DIAMETER_UM,
    USUAL_UM_PER_PX,
    CellMeasurement,
    cell_size,
    measure_cell_levels,
    measure_cells,
    segment_cells,
)
from ctc_mm.imaging.mask_outlines import outline_polygons
from ctc_mm.imaging.one_field import BRIGHT_FIELD, open_bright_field
from ctc_mm.structures import CellBox, LabelledSet

COCO_FILE, FIELDS_FILE, LABELME_FOLDER = "cells.json", "fields.json", "labelme"
# The class of what was found, in label files of a set without markers.
CELL = "cell"
SEVERAL_MARKERS = "several_markers"

LARGER_THAN_CROP = "cell larger than its crop"
PADDED = "crop that leaves the image (its edge is repeated)"
NO_SCALE = f"image without scale, taken as of {USUAL_UM_PER_PX} um per pixel (give --um-per-px)"


@dataclass(frozen=True)
class BrightfieldOptions:
    """How fields are read and cut.

    Attributes:
        um_per_px: size of a pixel; None: from each file, and where that does not say, taken as of a x20 objective
            where cells are looked for.
        diameter_um: smallest and largest diameter of a cell.
        method: of ``segment_cells``.
        crop_px: side of a crop; crop_um: the same in micrometres, which wins.
        normalize: normalise background and brightness of each crop (reading 23).
        group_pattern: regular expression whose first pair of brackets finds the patient in a file name.
        white_level: pixel value that is white, for the label files.
        markers: fluorescence images that tell the classes.
        keep_table: table of cell_id and keep, the operator's choice.
        overwrite: replace an older, different set in the folder.
        channel: place or name of the bright field in files of several channels.

    Raises:
        ValueError: a crop below 1 px; diameters that do not rise.
    """

    um_per_px: float | None = None
    diameter_um: tuple[float, float] = DIAMETER_UM
    method: str = "robust"
    crop_px: int = CROP_PX
    crop_um: float | None = None
    normalize: bool = True
    group_pattern: str | None = None
    white_level: float | None = None
    markers: MarkerOptions | None = None
    keep_table: Path | None = None
    overwrite: bool = False
    channel: int | str | None = None

    def __post_init__(self) -> None:
        if self.crop_px < 1:
            raise ValueError(f"a crop has at least 1 px. Received: {self.crop_px}")
        cell_size(self.um_per_px, self.diameter_um)
        if self.crop_um is not None and self.um_per_px is not None:
            crop_size_px(self.crop_um, self.um_per_px)

    def side_px(self, um_per_px: float | None) -> int:
        """Side of a crop in pixels of an image.

        Raises:
            ValueError: it is given in micrometres and the image's scale is not known, or it is below 1 px.
        """
        return self.crop_px if self.crop_um is None else crop_size_px(self.crop_um, um_per_px)

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes of the label files."""
        return (CELL,) if self.markers is None else self.markers.classes


def convert_brightfield(
    in_dir: Path, out_dir: Path, options: BrightfieldOptions, progress: Progress = no_progress
) -> tuple[LabelledSet, ConversionReport]:
    """Find the cells of every image in a folder and write them.

    ``out_dir`` gets ``cells.csv`` and its images, ``cells.json`` (COCO), ``labelme/`` (one file an image) and
    ``fields.json`` (levels, shifts and thresholds of each field). A cell with a reason against it, or that the operator
    did not choose, is kept with ``keep`` false; in the label files it is an ignore region, as is a cell whose class the
    markers leave open.

    Raises:
        AnnotationError: no image; a marker image of another size; a table of another segmentation; an older, different
            set or corrected Labelme files in ``out_dir`` without ``overwrite``. Nothing is written then.
        ImageReadError: an image that cannot be read.
    """
    in_dir, out_dir = Path(in_dir), Path(out_dir)
    paths = files_under(in_dir, IMAGE_SUFFIXES)
    if out_dir.resolve().is_relative_to(in_dir.resolve()):
        raise AnnotationError(f"{out_dir}: lies in {in_dir}, where a second run would read it; choose another folder")
    if not paths:
        raise AnnotationError(f"{in_dir}: no image in this folder; check the path")
    report = ConversionReport()
    names = [path.relative_to(in_dir).as_posix() for path in paths]
    with CellSetWriter(out_dir, overwrite=options.overwrite) as writer:
        cutter = _FieldCutter(in_dir, names, options, writer, report)
        fields = gather(names, cutter.cut, progress, "finding cells")
        cutter.keep.note_unused(report)
        set_options = SetOptions(options.um_per_px, BRIGHT_FIELD, options.white_level, options.group_pattern)
        labelled = assemble("brightfield_to_cells", options.classes, fields, set_options)
        label_files = _labelme_files(labelled, in_dir, out_dir)
        if not options.overwrite:
            _refuse_corrected(label_files)
    for path, content in label_files.items():
        write_json(path, content)
    write_coco(out_dir / COCO_FILE, labelled)
    write_json(out_dir / FIELDS_FILE, {"options": _recorded(options), "fields": cutter.records})
    report.count(labelled)
    return labelled, report


@dataclass(frozen=True, eq=False)
class _Picture:
    """One image, (H, W) or (H, W, 3), with its scale where known and the side of its crops."""

    name: str
    image: np.ndarray
    um_per_px: float | None
    side_px: int


@dataclass
class _FieldCutter:
    in_dir: Path
    names: list[str]
    options: BrightfieldOptions
    writer: CellSetWriter
    report: ConversionReport
    records: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        markers = self.options.markers
        self.markers = MarkerLabels(markers, self.names, self.report) if markers is not None else None
        self.keep = KeepTable.read(self.options.keep_table)
        self.groups = groups_of(self.names, self.options.group_pattern)
        # Two images that differ in the suffix alone are two fields.
        stems = [Path(name).with_suffix("").as_posix() for name in self.names]
        self.ids = {
            name: stem if stems.count(stem) == 1 else name for name, stem in zip(self.names, stems, strict=True)
        }

    def cut(self, name: str) -> Field:
        """Find and write the cells of one field."""
        path = self.in_dir / name
        picture = self._read(name, path)
        options, um_per_px = self.options, picture.um_per_px
        try:
            levels = measure_cell_levels(picture.image, um_per_px, options.diameter_um)
            labels = segment_cells(
                picture.image,
                options.method,
                um_per_px=um_per_px,
                diameter_um=options.diameter_um,
                levels=levels if options.method == "robust" else None,
            )
            sizes = options.diameter_um if um_per_px is not None else None
            cells = measure_cells(labels, picture.image, um_per_px, sizes)
        except (ValueError, TypeError) as error:
            raise ImageReadError(f"{path}: {error}") from error
        marked = self.markers.label(name, labels, self.report) if self.markers is not None else MarkerResult()
        boxes = [self._write(picture, labels, cell, marked) for cell in cells]
        self.records[name] = {
            "cells": len(cells),
            "um_per_px": um_per_px,
            "levels": levels.to_dict(),
            "markers": marked.record,
        }
        return Field(name, path, path, facts_of(picture.image), tuple(boxes), Acquisition(um_per_px=um_per_px))

    def _read(self, name: str, path: Path) -> _Picture:
        channels = None if self.options.channel is None else {BRIGHT_FIELD: self.options.channel}
        with open_bright_field(path, channels, self.options.um_per_px) as opened:
            planes = opened.read()
            for note in (*opened.notes, *([NO_SCALE] if opened.um_per_px is None else [])):
                self.report.note(note, name)
            try:
                side_px = self.options.side_px(opened.um_per_px)
            except ValueError as error:
                raise ImageReadError(f"{path}: {error}") from error
            image = planes[0] if len(planes) == 1 else np.ascontiguousarray(np.moveaxis(planes, 0, -1))
            return _Picture(name, image, opened.um_per_px, side_px)

    def _write(self, picture: _Picture, labels: np.ndarray, cell: CellMeasurement, marked: MarkerResult) -> CellBox:
        """Write one cell's crop and row; give its box for the label files."""
        name = picture.name
        cell_id = f"{self.ids[name]}/{cell.label:04d}"
        crop = crop_cell(picture.image, cell.centroid_yx, picture.side_px)
        self._note(cell_id, cell, crop)
        reasons = (*cell.reasons, *([SEVERAL_MARKERS] if cell.label in marked.ambiguous else []))
        for reason in reasons:
            self.report.note(f"cell flagged {reason} (keep is false)", cell_id)
        keep = self.keep.choose(cell_id, cell.box_xyxy, not reasons)
        label = marked.classes.get(cell.label)
        row = CellRow(
            cell_id=cell_id,
            channel=BRIGHT_FIELD,
            label=label or UNLABELLED,
            group=self.groups[name],
            source=name,
            box_xyxy=cell.box_xyxy,
            um_per_px=picture.um_per_px,
            keep=keep,
            extra=_columns(cell, crop, reasons, self.options.normalize) | marked.extra.get(cell.label, {}),
        )
        self.writer.add(row, normalize_crop(crop, labels) if self.options.normalize else crop.pixels)
        label = label or (CELL if self.options.markers is None else None)
        x0, y0, x1, y1 = cell.box_xyxy
        polygons = outline_polygons(labels[y0:y1, x0:x1] == cell.label, (x0, y0))
        outlines = tuple(tuple((x, y) for x, y in polygon) for polygon in polygons)
        return CellBox(cell.box_xyxy, label, outlines, is_ignore=not keep or label is None)

    def _note(self, cell_id: str, cell: CellMeasurement, crop: CellCrop) -> None:
        x0, y0, x1, y1 = cell.box_xyxy
        if max(x1 - x0, y1 - y0) > len(crop.pixels):
            self.report.note(LARGER_THAN_CROP, cell_id)
        if crop.padded_px:
            self.report.note(PADDED, cell_id)


def _columns(cell: CellMeasurement, crop: CellCrop, reasons: tuple[str, ...], normalized: bool) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "centroid_x": round(cell.centroid_yx[1], 2),
        "centroid_y": round(cell.centroid_yx[0], 2),
        "area_px": cell.area_px,
        "diameter_px": round(cell.diameter_px, 2),
        "circularity": round(cell.circularity, 3),
        "solidity": round(cell.solidity, 3),
        "sharpness": round(cell.sharpness, 3),
        "contact": round(cell.contact, 3),
        "border": cell.touches_border,
        "crop_x0": crop.window_xyxy[0],
        "crop_y0": crop.window_xyxy[1],
        "crop_px": len(crop.pixels),
        "crop_normalized": "cells" if normalized else "no",
        "reasons": " ".join(reasons),
    }
    if cell.diameter_um is not None:
        columns["diameter_um"] = round(cell.diameter_um, 2)
    return columns


def _labelme_files(labelled: LabelledSet, in_dir: Path, out_dir: Path) -> dict[Path, dict[str, Any]]:
    """Labelme files by path; each names its image as seen from itself."""
    files: dict[Path, dict[str, Any]] = {}
    stems = [Path(image.file_name).with_suffix("").as_posix() for image in labelled.images]
    for image, stem in zip(labelled.images, stems, strict=True):
        name = stem if stems.count(stem) == 1 else image.file_name
        path = out_dir / LABELME_FOLDER / f"{name}.json"
        seen = os.path.relpath((in_dir / image.file_name).resolve(), path.parent.resolve())
        files[path] = labelme_of(image, Path(seen).as_posix())
    return files


def _refuse_corrected(files: Mapping[Path, dict[str, Any]]) -> None:
    """A person's corrections are not written over."""
    for path, content in files.items():
        if not path.is_file():
            continue
        try:
            same = json.loads(path.read_text(encoding="utf-8")) == json.loads(json.dumps(content))
        except ValueError:
            same = False
        if not same:
            raise AnnotationError(
                f"{path}: differs from what would be written (corrected by hand, or of another run); choose another "
                "folder, or replace it (--overwrite)"
            )


def _recorded(options: BrightfieldOptions) -> dict[str, Any]:
    """What decides the result, as JSON knows it: no folders of this machine."""
    return {name: _plain(value) for name, value in asdict(options).items() if name != "overwrite"}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value.name if isinstance(value, Path) else value
