"""The single-cell sets that the classification benchmark measures on: real BCCD crops, and phantoms with fixed seeds.

Every set goes through the project's converters, as a user's would. Sizes and imbalances follow the papers; what is not
in the papers (how the phantoms' classes differ) is chosen in classification_phantoms.py before anything is compared.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from common import ROOT
from sklearn.metrics import roc_auc_score

from ctc_mm.cli import progress
from ctc_mm.formats.cell_set import read_cell_image
from ctc_mm.formats.cell_table import CELLS_FILE, CellRow, format_cells_csv, read_cells_csv
from ctc_mm.formats.coco import read_coco, write_coco
from ctc_mm.formats.files import atomic_write_text, write_json
from ctc_mm.imaging.io import read_image, write_png

SUMMARY_FILE = "drawn.json"
# Fields whose parts agree by this much show the same place of the slide: none of BCCD's pairs lies from 0.936 to 0.95.
OVERLAP_CORRELATION = 0.94
FIXED_CROP_PX = 160


def convert(name: str, *arguments: str | Path) -> str:
    """Run one of the project's converters; its report.

    Raises:
        RuntimeError: it failed; the message holds what it said.
    """
    command = [sys.executable, str(ROOT / "data_converters" / f"{name}.py"), *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return done.stdout


def draw_bccd(data: Path, out: Path) -> dict[str, Any]:
    """Cut BCCD's cells three ways: a fixed window, in proportion to the box, and the latter in grey.

    Fields that show the same place of the slide become one group, so that no cell is in training and test.
    """
    annotations, images = data / "bccd" / "Annotations", data / "bccd" / "JPEGImages"
    convert("voc_to_coco", annotations, "--images", images, "--out", out / "fields.json")
    names = sorted(path.name for path in images.glob("*.jpg"))
    pairs = overlapping([cv2.cvtColor(read_image(images / name), cv2.COLOR_RGB2GRAY) for name in names])
    group_of = join_groups([Path(name).stem for name in names], pairs)
    fields = read_coco(out / "fields.json")
    grouped = [replace(image, group=group_of[Path(image.file_name).stem]) for image in fields.images]
    write_coco(out / "grouped.json", replace(fields, images=tuple(grouped)))
    grey = [replace(image, file_name=Path(image.file_name).with_suffix(".png").as_posix()) for image in grouped]
    for name in names:
        pixels = cv2.cvtColor(read_image(images / name), cv2.COLOR_RGB2GRAY)
        write_png((out / "grey_fields" / name).with_suffix(".png"), pixels)
    write_coco(out / "grey.json", replace(fields, images=tuple(grey)))
    ways = {
        "fixed": ("grouped.json", images, ["--size", str(FIXED_CROP_PX)]),
        "boxes": ("grouped.json", images, []),
        "grey": ("grey.json", out / "grey_fields", ["--normalize"]),
    }
    told = {}
    for way, (boxes, folder, options) in ways.items():
        convert("coco_to_cells", out / boxes, "--images", folder, "--out", out / way, *options)
        told[way] = describe(out / way, target="WBC")
    stems = {Path(name).stem: index for index, name in enumerate(names)}
    splits = {stem: split for split in ("train", "val", "test") for stem in _listed(data, split) if stem in stems}
    across = [pair for pair in pairs if splits[Path(names[pair[0]]).stem] != splits[Path(names[pair[1]]).stem]]
    return {
        "sets": told,
        "overlapping_pairs": [[Path(names[a]).stem, Path(names[b]).stem, value] for a, b, value in pairs],
        "pairs_across_official_splits": len(across),
    }


def _listed(data: Path, split: str) -> list[str]:
    return (data / "bccd" / "ImageSets" / "Main" / f"{split}.txt").read_text().split()


def overlapping(fields: Sequence[np.ndarray], threshold: float = OVERLAP_CORRELATION) -> list[tuple[int, int, float]]:
    """Pairs of grey fields of one size that show the same place: some ninth of one is found in the other.

    Args:
        fields: (H, W) uint8, all of one shape.
        threshold: least normalised correlation, at an eighth of the resolution.

    Returns:
        (smaller index, larger index, correlation), by index.
    """
    small = [
        cv2.resize(field, (field.shape[1] // 8, field.shape[0] // 8), interpolation=cv2.INTER_AREA).astype(np.float32)
        for field in fields
    ]
    best: dict[tuple[int, int], float] = {}
    for index, field in enumerate(progress(small, "overlapping fields")):
        for part in _ninths(field):
            for other, whole in enumerate(small):
                if other != index:
                    value = float(cv2.matchTemplate(whole, part, cv2.TM_CCOEFF_NORMED).max())
                    pair = (min(index, other), max(index, other))
                    best[pair] = max(best.get(pair, -1.0), value)
    return [(*pair, round(value, 4)) for pair, value in sorted(best.items()) if value >= threshold]


def _ninths(field: np.ndarray) -> Iterable[np.ndarray]:
    """Nine parts, each of two fifths of the sides; those without contrast fit anywhere and are left out."""
    height, width = field.shape[0] * 2 // 5, field.shape[1] * 2 // 5
    for y in np.linspace(0, field.shape[0] - height, 3).astype(int):
        for x in np.linspace(0, field.shape[1] - width, 3).astype(int):
            part = field[y : y + height, x : x + width]
            if part.std() >= 6:
                yield part


def join_groups(names: Sequence[str], pairs: Iterable[tuple[int, int, float]]) -> dict[str, str]:
    """Name -> group: the first name among those that pairs connect."""
    group = list(range(len(names)))
    for first, second, _ in pairs:
        keep, drop = sorted((group[first], group[second]))
        group = [keep if one == drop else one for one in group]
    return {name: names[one] for name, one in zip(names, group, strict=True)}


def keep_only(cells_dir: Path, counts: Mapping[str, int], seed: int, **where: str) -> None:
    """Mark all but ``counts`` cells of each class with ``keep`` = false, drawn by ``seed``; the images stay.

    Args:
        cells_dir: folder of the set.
        counts: class -> cells to keep.
        seed: of the draw.
        **where: columns and their value, such as ``group="P1"``: other cells are left as they are.

    Raises:
        ValueError: a class has fewer usable cells than asked for.
    """
    rows = read_cells_csv(cells_dir)
    rng = np.random.default_rng(seed)
    there = [row for row in rows if all(getattr(row, name) == value for name, value in where.items())]
    kept: set[str] = set()
    for label, wanted in counts.items():
        usable = sorted({row.cell_id for row in there if row.keep and row.label == label})
        if len(usable) < wanted:
            raise ValueError(f"{cells_dir}: has {len(usable)} usable cells of class {label}, {wanted} were asked for")
        kept.update(rng.choice(usable, wanted, replace=False).tolist())
    drop = {row.cell_id for row in there} - kept
    write_rows(cells_dir, [replace(row, keep=row.keep and row.cell_id not in drop) for row in rows])


def set_splits(cells_dir: Path, split_of_group: Mapping[str, str]) -> None:
    """Write the split of each cell's group into the table."""
    rows = read_cells_csv(cells_dir)
    write_rows(cells_dir, [replace(row, split=split_of_group[row.group]) for row in rows])


def write_rows(cells_dir: Path, rows: Sequence[CellRow]) -> None:
    """Replace the table; images stay where they are."""
    atomic_write_text(cells_dir / CELLS_FILE, format_cells_csv(rows))


def describe(cells_dir: Path, target: str = "CTC") -> dict[str, Any]:
    """Count a set's usable cells by class, group and split, and say how well size alone tells them apart.

    Images that are the same byte by byte, read as pixels, are counted: they would leak between folds.
    """
    rows = [row for row in read_cells_csv(cells_dir) if row.keep]
    cells = {row.cell_id: row for row in rows}
    diameters = [equivalent_diameter(row) for row in cells.values()]
    is_target = [row.label == target for row in cells.values()]
    digests = Counter((row.channel, _digest(cells_dir / row.path)) for row in rows)
    return {
        "cells": dict(sorted(Counter(row.label for row in cells.values()).items())),
        "images": dict(sorted(Counter(row.channel for row in rows).items())),
        "groups": len({row.group for row in rows}),
        "splits": dict(sorted(Counter(row.split for row in cells.values()).items())),
        "equal_images": sum(count - 1 for count in digests.values()),
        "size_auc": round(float(roc_auc_score(is_target, diameters)), 4) if 0 < sum(is_target) < len(cells) else None,
    }


def equivalent_diameter(row: CellRow) -> float:
    """Square root of the box' area, px."""
    x0, y0, x1, y1 = row.box_xyxy
    return float(np.sqrt((x1 - x0) * (y1 - y0)))


def _digest(path: Path) -> str:
    pixels = read_cell_image(path)
    return sha256(f"{pixels.shape}{pixels.dtype}".encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()


def once(folder: Path, parameters: Mapping[str, Any], draw: Any) -> dict[str, Any]:
    """Draw a set unless it is there with the same parameters; what is known of it.

    Raises:
        ValueError: the folder holds a set of other parameters, or one that was not finished.
    """
    summary = folder / SUMMARY_FILE
    if summary.is_file():
        told = json.loads(summary.read_text())
        if told["parameters"] != dict(parameters):
            raise ValueError(f"{folder}: holds a set of {told['parameters']}, not of {dict(parameters)}; remove it")
        return told
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder}: holds a set that was not finished; remove it")
    folder.mkdir(parents=True, exist_ok=True)
    told = {"parameters": dict(parameters), **draw()}
    write_json(summary, told)
    return told
