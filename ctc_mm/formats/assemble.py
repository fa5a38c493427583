"""From the marks of any label format to a labelled set: clipping, counting, grouping, white level."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from ctc_mm import __version__
from ctc_mm.errors import AnnotationError
from ctc_mm.formats.images import WHITE_LEVEL_8_BIT, ImageFacts, common_white_level
from ctc_mm.formats.report import ConversionReport
from ctc_mm.structures import IGNORE_LABEL, BoxXYXY, CellBox, LabelledImage, LabelledSet, PolygonXY

EMPTY_BOX = "box without area"
OUTSIDE_BOX = "box outside the image"
CLIPPED_BOX = "box clipped at the image's edge"
# Files keep a thousandth of a pixel: what is thinner than this has no area that could be written.
THINNEST_PX = 0.01
SAME_BOX = "same label and box as an earlier object"
NOT_LABELLED = "image without label file (never labelled)"


@dataclass(frozen=True)
class Mark:
    """One object as a reader found it, before it is checked against the image.

    Attributes:
        place: file and index.
        name: class name or ``__ignore__``.
        box_xyxy: half-open pixels; it may lack area or leave the image.
        polygons_xy: outlines in pixels.
        is_ignore: ignore region of class ``name``.
    """

    place: str
    name: str
    box_xyxy: BoxXYXY
    polygons_xy: tuple[PolygonXY, ...] = ()
    is_ignore: bool = False


@dataclass(frozen=True)
class Acquisition:
    """How one image was taken, as far as its label file says: None where it does not.

    Attributes:
        um_per_px: micrometres per pixel.
        channel: name of the channel.
        white_level: pixel value that counts as white.
        group: slide or patient.
    """

    um_per_px: float | None = None
    channel: str | None = None
    white_level: float | None = None
    group: str | None = None


@dataclass(frozen=True)
class Field:
    """An image file that was read, and the cells in it.

    Attributes:
        file_name: POSIX path relative to the images' root.
        path: the image file.
        source: the label file; where there is none, the image file.
        facts: what its pixels say.
        cells: cells and ignore regions inside the image.
        known: what the label file itself says of scale, channel, white level and group.
    """

    file_name: str
    path: Path
    source: Path
    facts: ImageFacts
    cells: tuple[CellBox, ...]
    known: Acquisition = Acquisition()


@dataclass(frozen=True)
class SetOptions:
    """What a user says about a whole set; it wins over what a label file says.

    Attributes:
        um_per_px: micrometres per pixel.
        channel: name of the channel.
        white_level: pixel value that counts as white in images deeper than 8 bits; None: found from the pixels.
        group_pattern: regular expression searched in each file name; its first group is the image's group.
    """

    um_per_px: float | None = None
    channel: str | None = None
    white_level: float | None = None
    group_pattern: str | None = None


def cells_of(marks: Iterable[Mark], size_wh: tuple[int, int], report: ConversionReport) -> tuple[CellBox, ...]:
    """Clip marks to an image of ``size_wh``; drop and count those without area or outside of it.

    Two marks with the same label and box are both kept, since only a person can say which one is a slip, and noted.
    """
    cells: list[CellBox] = []
    seen: set[tuple[str, BoxXYXY]] = set()
    for mark in marks:
        box_xyxy = clip_box(mark.box_xyxy, size_wh)
        if _is_thin(mark.box_xyxy):
            report.skip(EMPTY_BOX, f"{mark.place}: {mark.name}")
        elif box_xyxy is None or _is_thin(box_xyxy):
            report.skip(OUTSIDE_BOX, f"{mark.place}: {mark.name}")
        else:
            if (mark.name, box_xyxy) in seen:
                report.note(SAME_BOX, mark.place)
            seen.add((mark.name, box_xyxy))
            polygons = mark.polygons_xy
            if box_xyxy != mark.box_xyxy:
                report.note(CLIPPED_BOX, mark.place)
                polygons = tuple(clamp_polygon(polygon, size_wh) for polygon in polygons)
            everywhere = mark.name == IGNORE_LABEL
            cells.append(CellBox(box_xyxy, None if everywhere else mark.name, polygons, everywhere or mark.is_ignore))
    return tuple(cells)


def clip_box(box_xyxy: BoxXYXY, size_wh: tuple[int, int]) -> BoxXYXY | None:
    """Clip a half-open box to the image; None where nothing of it is inside."""
    width, height = size_wh
    x0, x1 = (min(max(float(value), 0.0), float(width)) for value in (box_xyxy[0], box_xyxy[2]))
    y0, y1 = (min(max(float(value), 0.0), float(height)) for value in (box_xyxy[1], box_xyxy[3]))
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def _is_thin(box_xyxy: BoxXYXY) -> bool:
    x0, y0, x1, y1 = box_xyxy
    return min(x1 - x0, y1 - y0) < THINNEST_PX


def clamp_polygon(polygon_xy: PolygonXY, size_wh: tuple[int, int]) -> PolygonXY:
    """Move the points of an outline that lie outside the image to its edge."""
    return tuple(map(tuple, np.clip(np.array(polygon_xy, dtype=np.float64), 0, size_wh).tolist()))


def require_same_size(place: str, written_wh: tuple[int, int], facts: ImageFacts, image: Path) -> None:
    """Refuse labels that were drawn on an image of another size.

    Raises:
        AnnotationError: the size in the label file is not the image's.
    """
    if written_wh == facts.size_wh:
        return
    hint = ""
    if written_wh[::-1] == facts.size_wh:
        hint = " (width and height are exchanged: was the image turned?)"
    raise AnnotationError(
        f"{place}: was written for an image of {written_wh[0]} x {written_wh[1]} px, but {image} has "
        f"{facts.size_wh[0]} x {facts.size_wh[1]} px{hint}; "
        "restore the image that was labelled, or label this one again"
    )


def assemble(
    converter: str,
    classes: tuple[str, ...],
    fields: Sequence[Field],
    options: SetOptions,
    other_facts: Iterable[ImageFacts] = (),
) -> LabelledSet:
    """Build the labelled set of a converter.

    Args:
        converter: its name, kept in the set's ``info``.
        classes: classes in order.
        fields: images with their cells.
        options: scale, channel, white level, grouping.
        other_facts: images of the same set that are not written now (other splits): they share the white level.

    Raises:
        AnnotationError: an image named by two label files, a group pattern that does not match, or a white level below
            a pixel.
    """
    _require_distinct(fields)
    white_levels = _white_levels(fields, options, other_facts)
    groups = _groups(fields, options.group_pattern)
    images = tuple(
        LabelledImage(
            file_name=field.file_name,
            size_wh=field.facts.size_wh,
            cells=field.cells,
            group=groups[field.file_name],
            um_per_px=options.um_per_px or field.known.um_per_px,
            channel=options.channel or field.known.channel,
            white_level=white_levels[field.file_name],
        )
        for field in fields
    )
    return LabelledSet(classes, images, {"converter": converter, "ctc_mm": __version__})


def _require_distinct(fields: Sequence[Field]) -> None:
    sources: dict[str, Path] = {}
    for field in fields:
        if field.file_name in sources:
            raise AnnotationError(
                f"{field.source}: names the image {field.file_name}, as {sources[field.file_name]} does; "
                "keep one of the two label files"
            )
        sources[field.file_name] = field.source


def _white_levels(fields: Sequence[Field], options: SetOptions, other_facts: Iterable[ImageFacts]) -> dict[str, float]:
    """White level of each image: 255 for 8 bits, else what the user says, else the label file, else the whole set."""
    stated = {field.file_name: options.white_level or field.known.white_level for field in fields}
    try:
        unstated = [field.facts for field in fields if stated[field.file_name] is None]
        common = common_white_level([*unstated, *other_facts])
    except ValueError as error:
        raise AnnotationError(f"{error}; say what is white with --white-level") from error
    levels = {}
    for field in fields:
        level = WHITE_LEVEL_8_BIT if field.facts.is_8_bit else stated[field.file_name] or common
        if field.facts.maximum > level:
            raise AnnotationError(
                f"{field.path}: has a pixel of {field.facts.maximum:g}, above the white level {level:g}; "
                "give a higher --white-level"
            )
        levels[field.file_name] = level
    return levels


def groups_of(file_names: Iterable[str], pattern: str | None = None) -> dict[str, str]:
    """Name the group of each image: by ``pattern``, else its stem, or its path where stems repeat.

    Raises:
        AnnotationError: a name that the pattern does not match.
    """
    if pattern is not None:
        return {name: group_by(pattern, name) for name in file_names}
    paths = {name: PurePosixPath(name) for name in file_names}
    stems = Counter(path.stem for path in paths.values())
    return {
        name: path.stem if stems[path.stem] == 1 else path.with_suffix("").as_posix() for name, path in paths.items()
    }


def _groups(fields: Sequence[Field], pattern: str | None) -> dict[str, str]:
    """Group of each image: by ``pattern``, else the label file, else its name."""
    groups = groups_of((field.file_name for field in fields), pattern)
    if pattern is None:
        groups |= {field.file_name: field.known.group for field in fields if field.known.group}
    return groups


def group_by(pattern: str, file_name: str) -> str:
    """Find the name of slide or patient in a file name: the first pair of brackets of ``pattern``.

    Raises:
        AnnotationError: the pattern does not fit.
    """
    match = re.search(pattern, file_name)
    if match is None or not match.groups() or not match.group(1):
        raise AnnotationError(
            f"{file_name}: --group-pattern {pattern!r} finds no group in this name; put brackets around "
            "the part that names slide or patient, for example '(P[0-9]+)_'"
        )
    return match.group(1)
