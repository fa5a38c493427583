"""The table of detections: a row a cell, as CSV or Parquet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ctc_mm.counting.exchange.identity import numbered_cells
from ctc_mm.counting.records import SlideCount
from ctc_mm.errors import InstallationError
from ctc_mm.evaluation.output import csv_text
from ctc_mm.formats.files import atomic_path, atomic_write_text

COLUMNS = ("detection_id", "slide", "patient", "x0", "y0", "x1", "y1", "class", "score", "diameter_um", "flags")
TEXT_COLUMNS = ("slide", "patient", "class", "flags")
FLAG_SEPARATOR = ";"
CSV, PARQUET = ".csv", ".parquet"


def write_detections(path: str | Path, count: SlideCount) -> Path:
    """Write every cell of a slide, those that are not counted too, in the fixed order.

    Columns are those of ``COLUMNS`` (boxes in pixels of the slide, flags joined by ``;``), then the route's. What is
    unknown is an empty cell in CSV and null in Parquet; floats read back bit for bit.

    Args:
        path: ends in ``.csv`` or ``.parquet``.
        count: the result.

    Returns:
        The path.

    Raises:
        ValueError: another suffix, cells with different route columns, or one that bears the name of a common column.
        InstallationError: Parquet without pyarrow.
        OSError: the file cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (CSV, PARQUET):
        raise ValueError(f"{path}: a table of detections is a {CSV} or {PARQUET} file. Received: {path.suffix!r}")
    header, rows = detection_rows(count)
    if suffix == CSV:
        atomic_write_text(path, csv_text(header, [["" if value is None else value for value in row] for row in rows]))
    else:
        _write_parquet(path, header, rows)
    return path


def detection_rows(count: SlideCount) -> tuple[list[str], list[list[Any]]]:
    """Give the table as header and rows; None where a value is unknown.

    Raises:
        ValueError: as ``write_detections``.
    """
    keys = list(count.cells[0].columns) if count.cells else []
    if taken := sorted(set(keys) & set(COLUMNS)):
        raise ValueError(f"slide {count.spec.name}: the route's columns {taken} bear names of common columns")
    rows = []
    for number, _, cell in numbered_cells(count):
        if list(cell.columns) != keys:
            raise ValueError(
                f"slide {count.spec.name}: cell {number} has the route columns {list(cell.columns)}, the first {keys}"
            )
        common = [number, count.spec.name, count.spec.patient, *map(float, cell.box_xyxy), cell.class_name, cell.score]
        own = [_plain(cell.columns[key]) for key in keys]
        rows.append([*common, cell.diameter_um, FLAG_SEPARATOR.join(cell.flags), *own])
    return [*COLUMNS, *keys], rows


def _plain(value: Any) -> Any:
    """A value as a table holds it: NumPy's as Python's, a list joined like flags, NaN (undefined) as unknown."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float) and math.isnan(value):
        return None
    return FLAG_SEPARATOR.join(map(str, value)) if isinstance(value, list | tuple) else value


def _write_parquet(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InstallationError(f"{path}: Parquet needs pyarrow: pip install pyarrow; or write a .csv table") from error
    columns = {name: [row[place] for row in rows] for place, name in enumerate(header)}
    arrays = {name: pyarrow.array(_same_kind(values), _arrow_type(name, values)) for name, values in columns.items()}
    with atomic_path(path) as temporary:
        pyarrow.parquet.write_table(pyarrow.table(arrays), temporary)


def _same_kind(values: Sequence[Any]) -> Sequence[Any]:
    """Values of several kinds in one column become text; whole numbers among floats become floats."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) < 2:
        return values
    to_kind = float if kinds == {int, float} else str
    return [None if value is None else to_kind(value) for value in values]


def _arrow_type(name: str, values: Sequence[Any]) -> Any:
    """A type that does not depend on whether there are rows, for the common columns; None: by the values."""
    import pyarrow

    if name == "detection_id":
        return pyarrow.int64()
    if name in TEXT_COLUMNS:
        return pyarrow.string()
    if name in COLUMNS or all(value is None for value in values):
        return pyarrow.float64()
    return None
