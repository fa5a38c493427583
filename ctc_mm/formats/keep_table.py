"""The operator's choice of good cells: a table of cell_id and keep, such as an edited ``cells.csv``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ctc_mm.errors import AnnotationError
from ctc_mm.formats.cell_table import parse_bool
from ctc_mm.formats.report import ConversionReport
from ctc_mm.formats.spreadsheet import read_table
from ctc_mm.structures import BoxXYXY

BOX_COLUMNS = ("x0", "y0", "x1", "y1")
# Boxes of one cell in a table and in the image agree to this, in pixels: another segmentation numbers other cells.
BOX_TOLERANCE_PX = 2.0

NOT_FOUND = "cell of the keep table that was not found"


@dataclass
class KeepTable:
    """The choice, by cell.

    Attributes:
        path: the table; None where there is none.
        chosen: cell_id -> keep.
        boxes_xyxy: cell_id -> box, where the table tells it.
    """

    path: Path | None = None
    chosen: dict[str, bool] = field(default_factory=dict)
    boxes_xyxy: dict[str, BoxXYXY] = field(default_factory=dict)
    _used: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, path: Path | None) -> KeepTable:
        """Read a CSV, TSV or XLSX table with the columns ``cell_id`` and ``keep``; boxes are checked where it has any.

        Raises:
            AnnotationError: no such table, a value of ``keep`` that is neither true nor false, a cell named twice with
                different choices, or a box that is no number. It names file and line.
        """
        table = cls(path)
        if path is None:
            return table
        read = read_table(path, lambda values: {"cell_id", "keep"} <= set(values), "the columns cell_id,keep")
        for number, values in read.lines:
            row = dict(zip(read.header, values, strict=False))
            try:
                table._add(row)
            except ValueError as error:
                raise AnnotationError(f"{path}, line {number}: {error}") from error
        return table

    def _add(self, row: dict[str, str]) -> None:
        cell_id, keep = row["cell_id"].strip(), parse_bool("keep", row["keep"])
        if not cell_id:
            raise ValueError("`cell_id` is empty")
        if self.chosen.setdefault(cell_id, keep) != keep:
            raise ValueError(f"`keep` of cell {cell_id!r} is both true and false; keep one")
        if all(row.get(name, "").strip() for name in BOX_COLUMNS):
            self.boxes_xyxy[cell_id] = tuple(float(row[name]) for name in BOX_COLUMNS)

    def choose(self, cell_id: str, box_xyxy: BoxXYXY, default: bool) -> bool:
        """Say whether a cell is kept: as the table says, else ``default``.

        Raises:
            AnnotationError: the table's box of this cell lies elsewhere.
        """
        if cell_id not in self.chosen:
            return default
        self._used.add(cell_id)
        told = self.boxes_xyxy.get(cell_id)
        if told is not None and max(abs(a - b) for a, b in zip(told, box_xyxy, strict=True)) > BOX_TOLERANCE_PX:
            raise AnnotationError(
                f"{self.path}: cell {cell_id!r} lies at {told} there, and at {tuple(box_xyxy)} here; the table is of "
                "another segmentation: use the options of that run"
            )
        return self.chosen[cell_id]

    def note_unused(self, report: ConversionReport) -> None:
        """Count the table's cells that were not found."""
        for cell_id in sorted(set(self.chosen) - self._used):
            report.note(NOT_FOUND, cell_id)
