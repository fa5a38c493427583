"""Which slide a corrected file is of: found among the slides of a count, or among images by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ctc_mm.counting.exchange.corrected import CorrectedFile
from ctc_mm.counting.records import UNIDENTIFIED
from ctc_mm.errors import AnnotationError
from ctc_mm.formats.fields import JsonField, load_json_object
from ctc_mm.formats.paths import require_folder
from ctc_mm.imaging.field_list import FIELD_SUFFIXES, FieldSource, list_fields

CARD_FILE, GEOJSON_FILE, COCO_FILE = "count.json", "cells.geojson", "cells.coco.json"
SUFFIXES = (*FIELD_SUFFIXES, ".ome", ".zarr", ".svs", ".ndpi", ".geojson", ".json")
SHOWN = 5


@dataclass(frozen=True)
class CountedSlide:
    """A slide that corrected cells can lie on.

    Attributes:
        name: of the slide.
        source: where its pixels lie.
        group: what a split must not tear apart: patient or slide.
        um_per_px: side of a pixel in micrometres, where known.
        channel: that the model saw, where known.
        classes: that were counted, without ``unidentified``; empty where nothing was.
        folder: of its results; None where it was not counted.
    """

    name: str
    source: FieldSource
    group: str
    um_per_px: float | None = None
    channel: str | None = None
    classes: tuple[str, ...] = ()
    folder: Path | None = None

    def counted_file(self, corrected: Path) -> Path | None:
        """File of the cells as they were counted; not the corrected one itself. None where there is none."""
        names = (GEOJSON_FILE, COCO_FILE) if self.folder is not None else ()
        files = [self.folder / name for name in names if (self.folder / name).is_file()]
        return next((file for file in files if file.resolve() != corrected.resolve()), None)


def slides_of_counts(folders: Sequence[Path], images: Path | None = None) -> list[CountedSlide]:
    """Slides of runs of ``tools/count.py``, from their count cards.

    Args:
        folders: output folders of runs, or of single slides.
        images: folder to look in for slides that have moved since; None: where they were counted.

    Raises:
        AnnotationError: no count card, one that cannot be read, a slide that is not found, two slides of one name.
    """
    cards: list[Path] = []
    for folder in folders:
        require_folder(folder)
        found = sorted(folder.rglob(CARD_FILE))
        if not found:
            raise AnnotationError(f"{folder}: holds no {CARD_FILE}; give the folder that tools/count.py wrote to")
        cards += found
    slides = [_slide_of_card(card, images) for card in cards]
    names = [slide.name for slide in slides]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise AnnotationError(f"several counts are of slide {twice[0]}; give one of them")
    return slides


def slides_of_folder(images: Path, um_per_px: float | None = None) -> list[CountedSlide]:
    """Slides that were not counted: each image of a folder, by its name.

    Raises:
        AnnotationError: ``images`` is no folder.
        ImageReadError: it holds no image.
    """
    return [CountedSlide(source.name, source, source.name, um_per_px) for source in list_fields(images)]


def find_slide(corrected: CorrectedFile, slides: Sequence[CountedSlide]) -> CountedSlide:
    """The slide that a corrected file is of: by what the file says, by its own name, or that of its folder.

    Raises:
        AnnotationError: none fits, or several.
    """
    said = [corrected.slide] if corrected.slide is not None else [corrected.path.name, corrected.path.parent.name]
    for name in said:
        keys = _keys(name)
        fitting = [slide for slide in slides if slide.name == name] or [
            slide for slide in slides if keys & (_keys(slide.name) | _keys(slide.source.relative_path))
        ]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            listed = ", ".join(slide.name for slide in fitting[:SHOWN])
            raise AnnotationError(f"{corrected.path}: several slides fit {name!r} ({listed}); rename the file")
    listed = ", ".join(slide.name for slide in slides[:SHOWN])
    raise AnnotationError(
        f"{corrected.path}: is of none of the slides ({listed}{', ...' if len(slides) > SHOWN else ''}); name the file "
        "like its slide"
    )


def _keys(name: str) -> set[str]:
    """A file name without folders, with and without the suffixes of files: ``a.ome.tif.geojson`` is of slide ``a``."""
    path = PurePosixPath(PurePosixPath(name.replace("\\", "/")).name)
    keys = {path.name}
    while path.suffix.lower() in SUFFIXES:
        path = path.with_suffix("")
        keys.add(path.name)
    return keys


def _slide_of_card(path: Path, images: Path | None) -> CountedSlide:
    root = load_json_object(path)
    slide, counts = root.get("slide"), root.get("counts").mapping()
    name = slide.get("name").string()
    paths = {
        channel: _existing(Path(str(file)), images, path) for channel, file in slide.get("files").mapping().items()
    }
    if not paths:
        raise slide.get("files").error("names no file; count the slide again")
    channels = slide.get("channel_map").mapping() if slide.has("channel_map") else None
    first = next(iter(paths.values()))
    model: dict[str, Any] = root.get("model").mapping() if root.has("model") else {}
    return CountedSlide(
        name=name,
        source=FieldSource(name, first.name, paths, channels),
        group=_text(slide, "patient") or name,
        um_per_px=float(slide.get("um_per_px").number(positive=True)) if slide.has("um_per_px") else None,
        channel=model.get("channel"),
        classes=tuple(one for one in counts if one != UNIDENTIFIED),
        folder=path.parent,
    )


def _text(field: JsonField, key: str) -> str:
    return str(field.get(key).value) if field.has(key) else ""


def _existing(file: Path, images: Path | None, card: Path) -> Path:
    moved = None if images is None else images / file.name
    for path in (moved, file):
        if path is not None and path.exists():
            return path
    where = f"neither at {file} nor in {images}" if images is not None else f"not at {file}"
    raise AnnotationError(f"{card}: its slide is {where}; give the folder that it lies in now (--images)")
