"""Pascal VOC XML: a reader that trusts nothing in the file, and the conversion of a folder.

VOC pixels are counted from 1 and both ends belong to the box: ``x = xmin - 1``, ``width = xmax - xmin + 1``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from ctc_mm.errors import AnnotationError
from ctc_mm.formats.assemble import (
    EMPTY_BOX,
    NOT_LABELLED,
    Field,
    Mark,
    SetOptions,
    assemble,
    cells_of,
    require_same_size,
)
from ctc_mm.formats.images import ImageFacts, image_facts
from ctc_mm.formats.labels import LabelRules
from ctc_mm.formats.paths import IMAGE_SUFFIXES, files_under, require_folder, resolve_inside
from ctc_mm.formats.report import ConversionReport, Progress, gather, no_progress
from ctc_mm.structures import BoxXYXY, LabelledSet

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

DIFFICULT = "`difficult` object written as ignore region"
BY_XML_NAME = "image found by the XML file's name, not by its <filename>"


@dataclass(frozen=True)
class VocObject:
    """One ``<object>``: its label, its box as written (1-based, both ends inside), and whether it is difficult."""

    place: str
    label: str
    box_inclusive: BoxXYXY
    difficult: bool

    @property
    def box_xyxy(self) -> BoxXYXY:
        """The half-open box in pixels counted from 0."""
        xmin, ymin, xmax, ymax = self.box_inclusive
        return xmin - 1, ymin - 1, xmax, ymax


@dataclass(frozen=True)
class VocFile:
    """One VOC file: the image it names, the size it was written for (where it says so), and its objects."""

    path: Path
    file_name: str | None
    size_wh: tuple[int, int] | None
    objects: tuple[VocObject, ...]


def read_voc(path: str | Path) -> VocFile:
    """Read one VOC XML file.

    Raises:
        AnnotationError: the file is missing, truncated, no VOC file, has entities, or an object whose box is not four
            finite numbers in order.
    """
    path = Path(path)
    try:
        # defusedxml refuses entities ("billion laughs") and files fetched from outside.
        root = fromstring(path.read_bytes())
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except DefusedXmlException as error:
        raise AnnotationError(
            f"{path}: holds XML entities or outside references, which are refused ({error}); "
            "label files have no use for them: save it again without"
        ) from error
    except (ParseError, ValueError, LookupError) as error:
        raise AnnotationError(f"{path}: not complete XML ({error}); restore it or save it again") from error
    if root.tag != "annotation":
        raise AnnotationError(f"{path}: no VOC file: its root is <{root.tag}>, not <annotation>")
    objects = tuple(_read_object(node, f"{path}: object[{index}]") for index, node in enumerate(root.findall("object")))
    return VocFile(path, _text(root, "filename"), _read_size(root, str(path)), objects)


def read_split(path: str | Path) -> list[str]:
    """Read the names of a split file (``ImageSets/Main/train.txt``), without suffix, in their order.

    Lines of the per-class kind (``name -1``, ``name 0``, ``name 1``) give their name.

    Raises:
        AnnotationError: the file cannot be read, is empty, or names an image twice.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path}: the split cannot be read as UTF-8 text ({error})") from error
    names: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        words = line.split()
        name = " ".join(words[:-1] if len(words) > 1 and words[-1] in ("-1", "0", "1") else words)
        if name in names:
            raise AnnotationError(f"{path}: line {number}: {name!r} is there twice (line {names[name]}); keep one")
        if name:
            names[name] = number
    if not names:
        raise AnnotationError(f"{path}: the split names no image")
    return list(names)


def convert_voc(
    xml_dir: Path,
    images_root: Path,
    rules: LabelRules,
    options: SetOptions,
    split: Path | None = None,
    progress: Progress = no_progress,
) -> tuple[LabelledSet, ConversionReport]:
    """Convert a folder of VOC files, or the part of it that a split names.

    The classes and the white level come from the whole folder, so that all splits of a set agree.

    Args:
        xml_dir: folder of XML files, searched with its subfolders.
        images_root: folder that file names in the result are relative to.
        rules: how labels become classes.
        options: scale, channel, white level, grouping.
        split: file with the names to convert; None: all.
        progress: wraps the files that are gone through.

    Raises:
        AnnotationError: what ``read_voc`` refuses, an image that is missing or of another size, named by two files or
            outside of ``images_root``, an unknown label, a name in the split without XML file.
        ImageReadError: an image that cannot be decoded.
    """
    report = ConversionReport()
    paths = files_under(xml_dir, (".xml",))
    if not paths:
        raise AnnotationError(f"{xml_dir}: no XML file in this folder; give the folder of the VOC annotations")
    require_folder(images_root)
    folders = (xml_dir, images_root)
    files = gather(paths, read_voc, progress, "reading labels")
    wanted = files if split is None else _of_split(files, xml_dir, split)
    lenient = replace(rules, skip_unknown=True)
    seen = {lenient.class_of(item.label, item.place) for file in files for item in file.objects} - {None}
    classes = rules.class_order(seen)
    fields = gather(wanted, lambda file: _read_field(file, folders, rules, report), progress, "checking images")
    if split is None:
        present = {path.resolve() for path in files_under(images_root, IMAGE_SUFFIXES)}
        for path in sorted(present - {field.path for field in fields}):
            report.skip(NOT_LABELLED, str(path))
    others = _other_facts(files, wanted, folders, fields)
    labelled = assemble("voc_to_coco", classes, fields, options, others)
    report.count(labelled)
    return labelled, report


def _read_field(file: VocFile, folders: tuple[Path, Path], rules: LabelRules, report: ConversionReport) -> Field:
    image, file_name = _find_image(file, folders)
    if file.file_name is None or Path(file.file_name).name != image.name:
        report.note(BY_XML_NAME, str(file.path))
    facts = image_facts(image)
    if file.size_wh is not None:
        require_same_size(f"{file.path}: size", file.size_wh, facts, image)
    marks = []
    for item in file.objects:
        name = rules.class_of(item.label, item.place)
        xmin, ymin, xmax, ymax = item.box_inclusive
        if name is None:
            report.skip(f"unknown label {item.label!r}", item.place)
        elif xmin == xmax or ymin == ymax:
            # One pixel wide by the letter of the format; in practice a slip of the mouse.
            report.skip(EMPTY_BOX, f"{item.place}: {name}")
        else:
            if item.difficult:
                report.note(DIFFICULT, item.place)
            marks.append(Mark(item.place, name, item.box_xyxy, is_ignore=item.difficult))
    return Field(file_name, image, file.path, facts, cells_of(marks, facts.size_wh, report))


def _find_image(file: VocFile, folders: tuple[Path, Path]) -> tuple[Path, str]:
    """Find the image a file names, or else the only one that bears the XML file's name.

    Of a set in subfolders the images are looked for in the same subfolder first.
    """
    xml_dir, images_root = folders
    beside = images_root / file.path.parent.relative_to(xml_dir)
    if file.file_name is not None:
        for start in dict.fromkeys((beside, images_root)):
            try:
                image, relative = resolve_inside(images_root, start, file.file_name)
            except AnnotationError as error:
                raise AnnotationError(f"{file.path}: filename: {error}") from error
            if image.is_file():
                return image, relative
    twins = [beside / (file.path.stem + suffix) for suffix in IMAGE_SUFFIXES]
    twins = [twin for twin in twins if twin.is_file()]
    if len(twins) == 1:
        return resolve_inside(images_root, beside, twins[0].name)
    raise AnnotationError(
        f"{file.path}: filename: no image {file.file_name!r} in {beside}, and {len(twins)} images there are named "
        f"{file.path.stem}; put the image there or correct <filename>"
    )


def _of_split(files: list[VocFile], xml_dir: Path, split: Path) -> list[VocFile]:
    by_name = {file.path.relative_to(xml_dir).with_suffix("").as_posix(): file for file in files}
    names = read_split(split)
    missing = [name for name in names if name not in by_name]
    if missing:
        raise AnnotationError(
            f"{split}: {len(missing)} of {len(names)} names have no XML file in {xml_dir}: {', '.join(missing[:10])}; "
            "correct the split or add the files"
        )
    return [by_name[name] for name in names]


def _other_facts(
    files: list[VocFile], wanted: list[VocFile], folders: tuple[Path, Path], fields: Iterable[Field]
) -> list[ImageFacts]:
    """Facts of the images outside the split, needed only where the split has images deeper than 8 bits."""
    if all(field.facts.is_8_bit for field in fields):
        return []
    chosen = {file.path for file in wanted}
    images = [_find_image(file, folders)[0] for file in files if file.path not in chosen]
    return [image_facts(image) for image in images]


def _read_object(node: Element, place: str) -> VocObject:
    label = _text(node, "name")
    if label is None:
        raise AnnotationError(f"{place}: lacks <name>; give the object a label")
    box = tuple(_number(node, f"bndbox/{name}", place) for name in ("xmin", "ymin", "xmax", "ymax"))
    if box[0] > box[2] or box[1] > box[3]:
        raise AnnotationError(f"{place}: bndbox must have xmin <= xmax and ymin <= ymax. Received: {box}")
    difficult = _text(node, "difficult") or "0"
    if difficult not in ("0", "1"):
        raise AnnotationError(f"{place}: difficult must be 0 or 1. Received: {difficult!r}")
    return VocObject(place, label, box, difficult == "1")


def _read_size(root: Element, place: str) -> tuple[int, int] | None:
    if root.find("size") is None:
        return None
    width, height = (_number(root, f"size/{name}", place) for name in ("width", "height"))
    if width != int(width) or height != int(height):
        raise AnnotationError(f"{place}: size must be whole pixels. Received: {width} x {height}")
    return int(width), int(height)


def _number(node: Element, name: str, place: str) -> float:
    text = _text(node, name)
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise AnnotationError(f"{place}: {name.replace('/', '.')} must be a finite number. Received: {text!r}")
    return value


def _text(node: Element, name: str) -> str | None:
    return (node.findtext(name) or "").strip() or None
