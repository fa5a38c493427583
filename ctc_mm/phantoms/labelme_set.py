"""A synthetic set on disk as a lab would hand it over: images with Labelme files beside them, split by field.

The images are synthetic; no claim about real CTCs follows from them.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ctc_mm.cli import progress
from ctc_mm.formats.files import atomic_write_text, write_json
from ctc_mm.formats.labelme_writer import labelme_content, labelme_shape
from ctc_mm.imaging.io import write_png
from ctc_mm.imaging.mask_outlines import outline_polygons
from ctc_mm.phantoms.brightfield import BrightfieldField, generate_field
from ctc_mm.phantoms.brightfield_config import CLASS_NAMES, BrightfieldPhantomConfig

SHAPE_TYPES = ("rectangle", "polygon")
ABOUT_FILE = "about.txt"
DEFAULT_FIELDS_PER_SPLIT = {"train": 60, "val": 12, "test": 18}


@dataclass(frozen=True)
class SplitSummary:
    """What was written for one split.

    Attributes:
        folder: where its images and Labelme files lie.
        fields: number of images.
        blank_fields: how many of them hold no cell.
        cells: number of cells of each class.
        unplaced_cells: cells drawn that found no room in their field; they are in neither image nor file.
    """

    folder: Path
    fields: int
    blank_fields: int
    cells: dict[str, int]
    unplaced_cells: int


def write_labelme_set(
    out_dir: str | Path,
    fields_per_split: Mapping[str, int] | None = None,
    config: BrightfieldPhantomConfig | None = None,
    seed: int = 0,
    shape_type: Literal["rectangle", "polygon"] = "rectangle",
    *,
    show_progress: bool = False,
) -> dict[str, SplitSummary]:
    """Write ``out_dir/<split>/<split>_0000.png`` and ``.json``, and ``out_dir/about.txt`` with seed and parameters.

    Each field has a random stream of its own, made of seed, split and number: a longer set starts with the same fields,
    and no split shares a field with another. The same arguments give the same bytes. ``config.blank_fraction`` of each
    split's fields, spread evenly, hold no cell.

    Args:
        out_dir: made if missing; a split's folder may hold no other images or JSON files.
        fields_per_split: number of fields of each split; default 60 train, 12 val, 18 test.
        config: how the fields look.
        seed: at least 0.
        shape_type: ``rectangle`` (the tight box of a cell) or ``polygon`` (its outline along pixel edges).
        show_progress: draw a progress bar on stderr.

    Returns:
        One summary a split, in the order given.

    Raises:
        ValueError: a split's name or number, seed or shape type that cannot be used; a folder that holds other files.
    """
    out_dir = Path(out_dir)
    config = BrightfieldPhantomConfig() if config is None else config
    fields_per_split = dict(DEFAULT_FIELDS_PER_SPLIT if fields_per_split is None else fields_per_split)
    _check_request(fields_per_split, seed, shape_type)
    for split, count in fields_per_split.items():
        _refuse_other_files(out_dir / split, {field_name(split, index) for index in range(count)})
    jobs: Iterable[tuple[str, int]] = [(split, i) for split, count in fields_per_split.items() for i in range(count)]
    tallies = {split: _Tally() for split in fields_per_split}
    for split, index in progress(jobs, "Drawing the phantom", total=len(jobs)) if show_progress else jobs:
        rng = np.random.default_rng([seed, zlib.crc32(split.encode()), index])
        field = generate_field(config, rng, blank=_is_blank(index, config.blank_fraction))
        stem = out_dir / split / field_name(split, index)
        write_png(stem.with_suffix(".png"), field.image)
        write_json(stem.with_suffix(".json"), to_labelme(field, f"{stem.name}.png", shape_type))
        tallies[split].add(field)
    atomic_write_text(out_dir / ABOUT_FILE, _about(config, seed, fields_per_split, shape_type))
    return {split: tally.summary(out_dir / split) for split, tally in tallies.items()}


def to_labelme(field: BrightfieldField, image_path: str, shape_type: str = "rectangle") -> dict[str, Any]:
    """Content of a Labelme file for one field; ``um_per_px`` and ``white_level`` ride along as keys of our own.

    Args:
        field: image and truth.
        image_path: the image's path relative to the Labelme file.
        shape_type: ``rectangle`` or ``polygon``; a cell in several pieces becomes polygons of one ``group_id``.
    """
    shapes = []
    for index, (box_xyxy, label) in enumerate(zip(field.boxes_xyxy.tolist(), field.labels.tolist(), strict=True)):
        x0, y0, x1, y1 = (int(value) for value in box_xyxy)
        if shape_type == "rectangle":
            outlines = [[[x0, y0], [x1, y1]]]
        else:
            outlines = outline_polygons(field.instances[y0:y1, x0:x1] == index + 1, offset_xy=(x0, y0))
        for points in outlines:
            group_id = index if len(outlines) > 1 else None
            shapes.append(labelme_shape(field.class_names[label], points, shape_type, group_id))
    height, width = field.image.shape
    known = {"um_per_px": field.um_per_px, "white_level": field.white_level}
    return labelme_content(shapes, image_path, (width, height), known)


def field_name(split: str, index: int) -> str:
    """File name without suffix; unique over all splits, so they can be put into one folder."""
    return f"{split}_{index:04d}"


class _Tally:
    """Running counts of one split."""

    def __init__(self) -> None:
        self.fields = self.blank_fields = self.unplaced_cells = 0
        self.cells = dict.fromkeys(CLASS_NAMES, 0)

    def add(self, field: BrightfieldField) -> None:
        self.fields += 1
        self.blank_fields += len(field.labels) == 0
        self.unplaced_cells += field.unplaced
        for label in field.labels.tolist():
            self.cells[field.class_names[label]] += 1

    def summary(self, folder: Path) -> SplitSummary:
        return SplitSummary(folder, self.fields, self.blank_fields, dict(self.cells), self.unplaced_cells)


def _check_request(fields_per_split: Mapping[str, int], seed: int, shape_type: str) -> None:
    if shape_type not in SHAPE_TYPES:
        raise ValueError(f"`shape_type` must be one of {SHAPE_TYPES}. Received: {shape_type!r}")
    if seed < 0:
        raise ValueError(f"`seed` must be at least 0. Received: {seed}")
    for split, count in fields_per_split.items():
        if not split.isidentifier():
            raise ValueError(f"a split's name must be letters, digits and underscores. Received: {split!r}")
        if not 0 <= count <= 9999:
            raise ValueError(f"a split takes 0 to 9999 fields. Received: {split}={count}")


def _refuse_other_files(folder: Path, stems: set[str]) -> None:
    """Fields left from an earlier, larger set would be converted with the new one."""
    if folder.is_dir():
        kinds = (".png", ".json")
        others = sorted(p.name for p in folder.iterdir() if p.suffix in kinds and p.stem not in stems)
        if others:
            raise ValueError(
                f"{folder}: holds {len(others)} files that are not of this set ({others[0]}, ...); "
                "remove the folder or choose another"
            )


def _is_blank(index: int, blank_fraction: float) -> bool:
    # The count of blank fields so far, rounded to the nearest: it grows at this index or not.
    return math.floor((index + 1) * blank_fraction + 0.5) > math.floor(index * blank_fraction + 0.5)


def _about(config: BrightfieldPhantomConfig, seed: int, fields_per_split: Mapping[str, int], shape_type: str) -> str:
    return (
        "Synthetic bright-field fields, computed by ctc_mm.phantoms. No claim about real CTCs follows from them.\n"
        f"seed: {seed}\nfields: {dict(fields_per_split)}\nshapes: {shape_type}\nconfig: {config!r}\n"
    )
