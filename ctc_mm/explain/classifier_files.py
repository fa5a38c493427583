"""Grad-CAM results of single cells on disk: a picture and the raw map of each, sheets of all, and a list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ctc_mm.explain.classifier_cam import TARGET, ClassificationCAM
from ctc_mm.explain.classifier_draw import (
    SHEET_COLUMNS,
    SHEET_ROWS,
    SheetTile,
    describe_cell,
    draw_cell,
    draw_sheet,
    name_of,
)
from ctc_mm.formats.files import atomic_path, write_json
from ctc_mm.imaging.io import read_image, write_png

CELLS_FOLDER = "cells"
SHEET_STEM = "contact_sheet"


@dataclass(frozen=True)
class CellExplanation:
    """What was written of one cell, with what was found; ``origin`` is what names the cell in its table."""

    image: Path
    overlay: Path
    maps: Path
    title: str
    scores: tuple[float, ...]
    predicted: int
    explained: int
    truth: int | None
    layer: str
    origin: Mapping[str, str]

    @property
    def wrong(self) -> bool:
        """Whether the truth is known, and another."""
        return self.truth not in (None, self.predicted)

    def to_dict(self, out_dir: Path, class_names: Sequence[str]) -> dict[str, Any]:
        """Plain values for JSON; the written files relative to where it will lie."""
        files = {key: getattr(self, key).relative_to(out_dir).as_posix() for key in ("overlay", "maps")}
        return {
            "image": str(self.image),
            **self.origin,
            **files,
            "score": self.scores[TARGET],
            "scores": list(self.scores),
            "predicted": name_of(self.predicted, class_names),
            "explained": name_of(self.explained, class_names),
            "truth": None if self.truth is None else name_of(self.truth, class_names),
            "wrong": self.wrong,
            "layer": self.layer,
        }


@dataclass(frozen=True)
class CellExplanations:
    """All that was written by one run."""

    out_dir: Path
    cells: tuple[CellExplanation, ...]
    sheets: tuple[Path, ...]

    @property
    def wrong(self) -> int:
        """Number of cells whose truth is known, and another."""
        return sum(cell.wrong for cell in self.cells)

    def summary(self) -> str:
        """One line for the user."""
        judged = sum(cell.truth is not None for cell in self.cells)
        return f"{len(self.cells)} cells explained, {self.wrong} of {judged} with a known class wrong: {self.out_dir}"


def save_cell(
    result: ClassificationCAM,
    image_path: str | Path,
    out_dir: str | Path,
    stem: str,
    class_names: Sequence[str],
    truth: int | None = None,
    origin: Mapping[str, str] | None = None,
) -> CellExplanation:
    """Write ``cells/<stem>.png`` (cell and overlay) and ``cells/<stem>.npz`` (maps and scores).

    The NPZ holds the fields of :class:`ctc_mm.explain.classifier_cam.ClassificationCAM` under their names, but for the
    image. The same result gives the same bytes.
    """
    folder = Path(out_dir) / CELLS_FOLDER
    cell = CellExplanation(
        image=Path(image_path),
        overlay=folder / f"{stem}.png",
        maps=folder / f"{stem}.npz",
        title=describe_cell(result, class_names, truth),
        scores=tuple(float(score) for score in result.scores),
        predicted=result.predicted,
        explained=result.explained,
        truth=truth,
        layer=result.layer,
        origin=dict(origin or {}),
    )
    write_png(cell.overlay, draw_cell(result, class_names, truth))
    with atomic_path(cell.maps) as temporary:
        np.savez_compressed(temporary, **{name: value for name, value in vars(result).items() if name != "image"})
    return cell


def save_overview(
    cells: Sequence[CellExplanation],
    out_dir: str | Path,
    class_names: Sequence[str],
    settings: Mapping[str, Any],
) -> CellExplanations:
    """Write the contact sheets, cells sorted by the score of the target, and the list ``explain.json``.

    Args:
        cells: what :func:`save_cell` wrote.
        out_dir: the same folder.
        class_names: name of each label; the first is the target.
        settings: how the cells were explained, for the list.
    """
    out_dir = Path(out_dir)
    ranked = sorted(cells, key=lambda cell: (-cell.scores[TARGET], cell.overlay.name))
    per_page = SHEET_COLUMNS * SHEET_ROWS
    pages = [ranked[first : first + per_page] for first in range(0, len(ranked), per_page)]
    wrong = sum(cell.wrong for cell in cells)
    sheets = []
    for number, page in enumerate(pages, 1):
        path = out_dir / (f"{SHEET_STEM}.png" if number == 1 else f"{SHEET_STEM}_{number}.png")
        title = (
            f"{len(cells)} cells by score of {name_of(TARGET, class_names)}, highest first; {wrong} wrong (red); "
            f"page {number} of {len(pages)}"
        )
        # Read back: thousands of pictures would not fit in memory.
        tiles = [SheetTile(read_image(one.overlay), one.title, one.overlay.stem, one.wrong) for one in page]
        write_png(path, draw_sheet(tiles, title))
        sheets.append(path)
    written = CellExplanations(out_dir, tuple(cells), tuple(sheets))
    content = {
        "classes": list(class_names),
        **settings,
        "wrong": wrong,
        "contact_sheets": [path.name for path in sheets],
        "cells": [cell.to_dict(out_dir, class_names) for cell in cells],
    }
    write_json(out_dir / "explain.json", content)
    return written
