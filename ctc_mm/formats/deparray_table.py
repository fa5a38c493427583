"""The table of cells that goes with exported single-cell images: one row a cell, columns found by name or told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ctc_mm.errors import AnnotationError
from ctc_mm.formats.labels import normalise_label
from ctc_mm.formats.spreadsheet import Table, read_table
from ctc_mm.structures import BoxXYXY

BOX_FIELDS = ("x0", "y0", "x1", "y1")
FIELDS = ("cell", "sample", "patient", "label", "keep", *BOX_FIELDS)
# Headers that are understood without being told, normalised as labels are.
HEADERS: Mapping[str, tuple[str, ...]] = {
    "cell": ("cell", "cell id", "cellid", "cell no", "cell number", "cell nr", "id"),
    "sample": ("sample", "sample id", "sampleid", "sample name"),
    "patient": ("patient", "patient id", "patientid", "donor"),
    "label": ("label", "class", "classification", "cell type", "celltype", "cell class", "type"),
    "keep": ("keep",),
    "x0": ("x0", "xmin", "left"),
    "y0": ("y0", "ymin", "top"),
    "x1": ("x1", "xmax", "right"),
    "y1": ("y1", "ymax", "bottom"),
}
_KEEP = ("true", "1", "1.0", "yes", "y", "x", "keep", "good")
_REFUSE = ("", "false", "0", "0.0", "no", "n", "discard", "bad")


@dataclass(frozen=True)
class CellEntry:
    """One row of the table.

    Attributes:
        place: file and line, for messages.
        cell: name or number of the cell, as written.
        sample: sample, as written; empty where the table has no such column.
        patient: patient, as written; empty where unknown.
        label: class as the lab wrote it; empty where there is none yet.
        keep: the operator's choice; True where the table has no such column.
        box_xyxy: half-open pixels of the full image; None where the table gives no coordinates.
        extra: values of the further columns asked for, as written; empty ones left out.
    """

    place: str
    cell: str
    sample: str = ""
    patient: str = ""
    label: str = ""
    keep: bool = True
    box_xyxy: BoxXYXY | None = None
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> tuple:
        """What two rows of one cell must agree on."""
        return self.patient, normalise_label(self.label), self.keep, self.box_xyxy, tuple(self.extra.items())


@dataclass(frozen=True)
class CellEntries:
    """All rows of a table, and what the user should know of how it was read."""

    entries: tuple[CellEntry, ...]
    remarks: tuple[str, ...] = ()
    unused_columns: tuple[str, ...] = ()


def parse_columns(text: str) -> dict[str, str]:
    """Read ``field=column,...`` such as ``cell=Cell #,label=Verdict``; fields are those of :data:`FIELDS`.

    Raises:
        ValueError: an entry that is not ``field=column``, an unknown field, a field named twice.
    """
    mapping: dict[str, str] = {}
    for entry in text.split(","):
        name, separator, column = (part.strip() for part in entry.partition("="))
        if not (separator and column) or name not in FIELDS:
            raise ValueError(f"takes FIELD=COLUMN with the fields {', '.join(FIELDS)}. Received: {entry!r}")
        if name in mapping:
            raise ValueError(f"names the field {name!r} twice. Received: {text!r}")
        mapping[name] = column
    return mapping


def read_cell_entries(
    path: str | Path,
    columns: Mapping[str, str] | None = None,
    extra: Sequence[str] = (),
    sheet: str | None = None,
) -> CellEntries:
    """Read a table of cells.

    Args:
        path: CSV, TSV or XLSX.
        columns: field -> column, for columns that :data:`HEADERS` does not know; compared without regard to case,
            spaces, ``_`` and ``-``.
        extra: further columns to carry over. Others are left, since tables may hold what identifies a patient.
        sheet: sheet of a workbook.

    Raises:
        AnnotationError: the table cannot be read; a column that was asked for is missing, or is there twice; a row
            without a cell, with some coordinates only, or with a value that cannot be read. It names file and line.
    """
    told = dict(columns or {})

    def is_header(values: list[str]) -> bool:
        return bool(_columns_of(values, "cell", told))

    needed = f"the column of cells ({told['cell']!r})" if "cell" in told else "a column of cells ('cell', 'id', ...)"
    table = read_table(path, is_header, f"{needed}; say which one it is with --columns cell=NAME", sheet)
    found = {name: index for name in FIELDS if (index := _column(table, name, told)) is not None}
    boxes = [name for name in BOX_FIELDS if name in found]
    if boxes and len(boxes) < len(BOX_FIELDS):
        raise AnnotationError(
            f"{table.file}: has the coordinates {', '.join(boxes)} alone; name all of {', '.join(BOX_FIELDS)} with "
            "--columns, or rename these"
        )
    extras = {name: _extra_column(table, name) for name in extra}
    entries = tuple(_entry(table, number, values, found, extras) for number, values in table.lines)
    used = {*found.values(), *extras.values()}
    unused = tuple(name for index, name in enumerate(table.header) if index not in used and name)
    return CellEntries(entries, table.remarks, unused)


def _columns_of(header: Sequence[str], name: str, told: Mapping[str, str]) -> list[int]:
    wanted = {normalise_label(told[name])} if name in told else set(HEADERS[name])
    return [index for index, column in enumerate(header) if normalise_label(column) in wanted]


def _column(table: Table, name: str, told: Mapping[str, str]) -> int | None:
    indices = _columns_of(table.header, name, told)
    if len(indices) > 1:
        names = ", ".join(repr(table.header[index]) for index in indices)
        raise AnnotationError(
            f"{table.file}: the columns {names} all may be the {name}; name one with --columns {name}=NAME, or rename "
            "the others"
        )
    if not indices and name in told:
        raise AnnotationError(
            f"{table.file}: has no column {told[name]!r} for the {name}; it has {', '.join(filter(None, table.header))}"
        )
    return indices[0] if indices else None


def _extra_column(table: Table, name: str) -> int:
    indices = [i for i, column in enumerate(table.header) if normalise_label(column) == normalise_label(name)]
    if len(indices) != 1:
        state = "twice" if indices else "not"
        raise AnnotationError(
            f"{table.file}: has the further column {name!r} {state}; it has {', '.join(filter(None, table.header))}"
        )
    return indices[0]


def _entry(
    table: Table, number: int, values: list[str], found: Mapping[str, int], extras: Mapping[str, int]
) -> CellEntry:
    def text(name: str) -> str:
        return values[found[name]] if name in found else ""

    place = f"{table.file}, line {number}"
    if not text("cell"):
        raise AnnotationError(
            f"{place}: column {table.header[found['cell']]!r} is empty; write the cell's name there, or remove the line"
        )
    return CellEntry(
        place=place,
        cell=text("cell"),
        sample=text("sample"),
        patient=text("patient"),
        label=text("label"),
        keep=_keep(place, table.header[found["keep"]], text("keep")) if "keep" in found else True,
        box_xyxy=_box(table, place, values, found),
        extra={name: values[index] for name, index in extras.items() if values[index]},
    )


def _keep(place: str, column: str, text: str) -> bool:
    """What an operator marks: a cell left blank was not chosen."""
    word = text.casefold()
    if word not in (*_KEEP, *_REFUSE):
        raise AnnotationError(
            f"{place}: column {column!r} must be one of {', '.join(_KEEP)} or {', '.join(_REFUSE[1:])} or blank. "
            f"Received: {text!r}"
        )
    return word in _KEEP


def _box(table: Table, place: str, values: list[str], found: Mapping[str, int]) -> BoxXYXY | None:
    if "x0" not in found or not any(values[found[name]] for name in BOX_FIELDS):
        return None
    box = []
    for name in BOX_FIELDS:
        text = values[found[name]]
        try:
            box.append(table.number(text))
        except ValueError as error:
            column = table.header[found[name]]
            raise AnnotationError(f"{place}: column {column!r} must be a number (px). Received: {text!r}") from error
    # not <= : NaN compares false
    if not (box[0] < box[2] and box[1] < box[3] and all(abs(value) < float("inf") for value in box)):
        raise AnnotationError(f"{place}: the box needs finite x0 < x1 and y0 < y1, px. Received: {box}")
    return tuple(box)
