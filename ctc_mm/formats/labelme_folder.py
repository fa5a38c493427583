"""A folder of Labelme files as a labelled set: which image each belongs to, and which shapes are one cell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ctc_mm.errors import AnnotationError
from ctc_mm.formats.assemble import NOT_LABELLED, Field, Mark, SetOptions, assemble, cells_of, require_same_size
from ctc_mm.formats.files import atomic_write_bytes
from ctc_mm.formats.images import image_facts
from ctc_mm.formats.labelme import (
    POINT_COUNTS,
    WITHOUT_AREA,
    LabelmeFile,
    LabelmeShape,
    read_embedded_image,
    read_labelme,
)
from ctc_mm.formats.labels import LabelRules
from ctc_mm.formats.paths import IMAGE_SUFFIXES, files_under, require_folder, resolve_inside
from ctc_mm.formats.report import ConversionReport, Progress, gather, no_progress
from ctc_mm.structures import IGNORE_LABEL, LabelledSet

EMBEDDED_FOLDER = "embedded"


@dataclass(frozen=True)
class LabelmeFolder:
    """Where a conversion reads, and what it does about images that are missing or not labelled.

    Attributes:
        in_dir: folder of Labelme files, searched with its subfolders.
        images_root: no image outside of it is read; file names in the result are relative to it.
        out: file to be written, passed over when it lies in ``in_dir``.
        extract_embedded: write the 8-bit copy that a label file embeds to ``images_root/embedded`` where the original
            image is missing.
        unlabelled_as_empty: images without label file are fields without cells (else: left out, counted).
    """

    in_dir: Path
    images_root: Path
    out: Path | None = None
    extract_embedded: bool = False
    unlabelled_as_empty: bool = False


def convert_labelme(
    folder: LabelmeFolder, rules: LabelRules, options: SetOptions, progress: Progress = no_progress
) -> tuple[LabelledSet, ConversionReport]:
    """Convert a folder of Labelme files.

    Raises:
        AnnotationError: what ``read_labelme`` refuses; an image that is missing, outside of the root, of another size
            or named by two files; an unknown label or kind of shape; a group of shapes with two labels; no file at all.
        ImageReadError: an image that cannot be decoded.
    """
    report = ConversionReport()
    require_folder(folder.images_root)
    out = folder.out.resolve() if folder.out is not None else None
    paths = [path for path in files_under(folder.in_dir, (".json",)) if path.resolve() != out]
    if not paths and not folder.unlabelled_as_empty:
        raise AnnotationError(f"{folder.in_dir}: no Labelme JSON file in this folder; label the images first")
    files = gather(paths, read_labelme, progress, "reading labels")
    lenient = replace(rules, skip_unknown=True)
    seen = {lenient.class_of(shape.label, shape.place) for file in files for shape in file.shapes} - {None}
    fields = gather(files, lambda file: _read_field(file, folder, rules, report), progress, "checking images")
    fields += _unlabelled(folder, fields, report, progress)
    if not fields:
        raise AnnotationError(f"{folder.in_dir}: neither a Labelme JSON file nor an image in this folder")
    labelled = assemble("labelme_to_coco", rules.class_order(seen), fields, options)
    report.count(labelled)
    return labelled, report


def marks_of(shapes: Iterable[LabelmeShape], rules: LabelRules, report: ConversionReport) -> list[Mark]:
    """Turn shapes into objects: kinds without area and unknown labels out (counted), shapes of one group joined.

    ``__ignore__`` shapes are never joined: a box around all of them would hide the cells between.

    Raises:
        AnnotationError: an unknown label or kind of shape without ``skip_unknown``, or a group with two labels.
    """
    objects: list[tuple[str, list[LabelmeShape]]] = []
    groups: dict[int | str, tuple[str, list[LabelmeShape]]] = {}
    for shape in shapes:
        name = _name_of(shape, rules, report)
        if name is None:
            continue
        if shape.group_id is None or name == IGNORE_LABEL:
            objects.append((name, [shape]))
        elif shape.group_id not in groups:
            groups[shape.group_id] = (name, [shape])
            objects.append(groups[shape.group_id])
        else:
            group_name, parts = groups[shape.group_id]
            if group_name != name:
                raise AnnotationError(
                    f"{shape.place}: group_id {shape.group_id!r} holds {name!r} here and {group_name!r} at "
                    f"{parts[0].place}; shapes of one group are one object: give them one label, or another group"
                )
            parts.append(shape)
    return [_joined(name, parts, report) for name, parts in objects]


def _name_of(shape: LabelmeShape, rules: LabelRules, report: ConversionReport) -> str | None:
    if shape.shape_type in WITHOUT_AREA:
        report.skip(f"shape of type {shape.shape_type}", shape.place)
        return None
    if shape.shape_type not in POINT_COUNTS:
        if not rules.skip_unknown:
            raise AnnotationError(
                f"{shape.place}: unknown shape_type {shape.shape_type!r}; draw a rectangle, polygon or circle, or "
                "leave such shapes out with --skip-unknown"
            )
        report.skip(f"unknown shape type {shape.shape_type!r}", shape.place)
        return None
    name = rules.class_of(shape.label, shape.place)
    if name is None:
        report.skip(f"unknown label {shape.label!r}", shape.place)
    return name


def _joined(name: str, parts: Sequence[LabelmeShape], report: ConversionReport) -> Mark:
    x0s, y0s, x1s, y1s = zip(*(part.box_xyxy for part in parts), strict=True)
    polygons = tuple(part.polygon_xy for part in parts if part.polygon_xy is not None)
    for part in parts[1:]:
        report.note("shape joined to another one by group_id", part.place)
    # An outline of some parts only would be a wrong outline of the whole.
    outline = polygons if len(polygons) == len(parts) else ()
    return Mark(parts[0].place, name, (min(x0s), min(y0s), max(x1s), max(y1s)), outline)


def _read_field(file: LabelmeFile, folder: LabelmeFolder, rules: LabelRules, report: ConversionReport) -> Field:
    image, file_name = _find_image(file, folder, report)
    facts = image_facts(image)
    if file.size_wh is not None:
        require_same_size(f"{file.path}: imageWidth, imageHeight", file.size_wh, facts, image)
    for flag in file.flags:
        report.note(f"image flag {flag!r} is set (flags are not used)", str(file.path))
    cells = cells_of(marks_of(file.shapes, rules, report), facts.size_wh, report)
    return Field(file_name, image, file.path, facts, cells, file.known)


def _find_image(file: LabelmeFile, folder: LabelmeFolder, report: ConversionReport) -> tuple[Path, str]:
    """Find the image seen from the label file, as Labelme does, or else (moved label files) from the root."""
    refusals = []
    for start in (file.path.parent, folder.images_root):
        try:
            image, file_name = resolve_inside(folder.images_root, start, file.image_path)
        except AnnotationError as error:
            refusals.append(error)
            continue
        if image.is_file():
            return image, file_name
    if len(refusals) == 2 or (refusals and (file.path.parent / file.image_path.replace("\\", "/")).exists()):
        raise AnnotationError(f"{file.path}: imagePath: {refusals[0]}")
    if file.has_embedded and folder.extract_embedded:
        return _extract(file, folder, report)
    cure = "put the image there or correct imagePath"
    if file.has_embedded:
        cure += ", or write out the 8-bit copy inside the label file with --extract-embedded"
    raise AnnotationError(
        f"{file.path}: imagePath: no image {file.image_path!r}, seen from this file or from {folder.images_root}; "
        f"{cure}"
    )


def _extract(file: LabelmeFile, folder: LabelmeFolder, report: ConversionReport) -> tuple[Path, str]:
    data, suffix = read_embedded_image(file.path)
    relative = Path(EMBEDDED_FOLDER) / file.path.relative_to(folder.in_dir).with_suffix(suffix)
    atomic_write_bytes(folder.images_root / relative, data)
    report.note("original image missing, 8-bit copy in the label file written out", str(file.path))
    return resolve_inside(folder.images_root, folder.images_root, relative.as_posix())


def _unlabelled(
    folder: LabelmeFolder, fields: Sequence[Field], report: ConversionReport, progress: Progress
) -> list[Field]:
    """Look for images that no label file names, in the folder of the label files and beside the labelled images."""
    known = {field.path for field in fields}
    root = folder.images_root.resolve()
    found = {path.resolve() for path in files_under(folder.in_dir, IMAGE_SUFFIXES)}
    for parent in {field.path.parent for field in fields}:
        found |= {path.resolve() for path in parent.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES}
    images = sorted(path for path in found - known if path.is_relative_to(root))
    if folder.unlabelled_as_empty:
        names = {path: path.relative_to(root).as_posix() for path in images}
        return gather(
            images,
            lambda path: Field(names[path], path, path, image_facts(path), ()),
            progress,
            "checking blank images",
        )
    for path in images:
        report.skip(NOT_LABELLED, str(path))
    return []
