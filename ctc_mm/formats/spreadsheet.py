"""Tables as labs keep them: CSV, TSV and XLSX, with a title above the header, blank lines, any usual encoding."""

from __future__ import annotations

import codecs
import csv
import datetime
import io
import re
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctc_mm.errors import AnnotationError

TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
WORKBOOK_SUFFIXES = (".xlsx", ".xlsm")
DELIMITERS = (",", ";", "\t", "|")
# A title, the date of the export and the like may stand above the header.
MOST_LINES_ABOVE_HEADER = 50

_LINE_BREAK = re.compile(r"\s*[\r\n\v\f]+\s*")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_EXCEL_TEXT = re.compile(r'="([^"]*)"')

Line = tuple[int, list[str]]


@dataclass(frozen=True)
class Table:
    """A table as text.

    Attributes:
        file: path of the file, with the sheet, for messages.
        header: names of the columns, without spaces around them.
        lines: number in the file (line or row, from 1) and as many values as the header has, without spaces around.
        has_decimal_commas: numbers may be written 12,5, since something else parts the columns.
        remarks: what the user should know of how the file was read.
    """

    file: str
    header: list[str]
    lines: list[Line]
    has_decimal_commas: bool = False
    remarks: tuple[str, ...] = ()

    def number(self, text: str) -> float:
        """Read a number as the table writes it: 12.5, or 12,5 where it has decimal commas.

        Raises:
            ValueError: it is none.
        """
        is_european = self.has_decimal_commas and _DECIMAL_COMMA.fullmatch(text)
        return float(text.replace(",", ".") if is_european else text)


def read_table(
    path: str | Path, is_header: Callable[[list[str]], bool], needed: str, sheet: str | None = None
) -> Table:
    """Read a table; which delimiter, sheet and line hold the header is found by the header itself.

    Text is UTF-8 (with or without byte order mark), UTF-16 with one, or else Windows-1252. A line break inside a value
    becomes a space, and ``="012"``, as Excel keeps zeros in a CSV file, becomes 012. Whole numbers of a workbook lose
    their ``.0``, as Excel shows them; dates become ISO text, formulas their values; what is merged over several rows
    stands in each of them.

    Args:
        path: ``.csv``, ``.tsv``, ``.txt``, ``.xlsx`` or ``.xlsm``.
        is_header: told the stripped values of a line, says whether it is the header.
        needed: what a header holds, for the error when there is none.
        sheet: sheet of a workbook (default: the first with such a header).

    Raises:
        AnnotationError: a missing, empty or damaged file, another kind of file, no such sheet, no header, a line with
            more values than the header, formulas that were never calculated. It names file and line.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (*TEXT_SUFFIXES, *WORKBOOK_SUFFIXES):
        raise AnnotationError(f"{path}: is no table that can be read; save it as .csv (UTF-8), .tsv or .xlsx")
    if not path.is_file():
        raise AnnotationError(f"{path}: no such table; check the path")
    if suffix in TEXT_SUFFIXES and sheet is not None:
        raise AnnotationError(f"{path}: has no sheets, it is text. Received: sheet {sheet!r}")
    return (
        _read_text(path, is_header, needed) if suffix in TEXT_SUFFIXES else _read_book(path, is_header, needed, sheet)
    )


def _read_text(path: Path, is_header: Callable[[list[str]], bool], needed: str) -> Table:
    text, remarks = _decode(path)
    readings: dict[str, list[Line]] = {}
    faults: list[AnnotationError] = []
    for delimiter in DELIMITERS:
        try:
            readings[delimiter] = _split_lines(path, text, delimiter)
        except AnnotationError as error:  # quotes that make no sense with this delimiter, but may with another
            faults.append(error)
    starts = {delimiter: _find_header(lines, is_header) for delimiter, lines in readings.items()}
    found = [delimiter for delimiter, start in starts.items() if start is not None]
    if not found:
        if faults:
            raise faults[0]
        raise _no_header(str(path), max(readings.values(), key=_most_columns), needed)
    best = max(found, key=lambda delimiter: len(readings[delimiter][starts[delimiter]][1]))
    return _table(str(path), readings[best], starts[best], best != ",", remarks)


def _decode(path: Path) -> tuple[str, tuple[str, ...]]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if not is_utf16 and b"\0" in data:
        raise AnnotationError(f"{path}: is no text, or UTF-16 without a byte order mark; save the table as CSV UTF-8")
    try:
        return data.decode("utf-16" if is_utf16 else "utf-8-sig"), ()
    except UnicodeDecodeError as error:
        if is_utf16:
            raise AnnotationError(f"{path}: damaged UTF-16 text; save the table as CSV UTF-8") from error
        # Latin-1 has a meaning for every byte; Windows-1252, its superset in print, lacks five.
        remark = "table is not UTF-8, read as Windows-1252; check names with accents"
        return data.decode("cp1252", errors="replace"), (remark,)


def _split_lines(path: Path, text: str, delimiter: str) -> list[Line]:
    """Lines that are not blank, each with its first line's number."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    lines, start = [], 1
    try:
        for values in reader:
            if any(value.strip() for value in values):
                lines.append((start, [_EXCEL_TEXT.sub(r"\1", _one_line(value)) for value in values]))
            start = reader.line_num + 1
    except csv.Error as error:
        raise AnnotationError(f"{path}, line {start}: no table ({error}); mend the quotes of this line") from error
    return lines


def _read_book(path: Path, is_header: Callable[[list[str]], bool], needed: str, sheet: str | None) -> Table:
    books = _open_book(path)
    sheets = {sheet.title: _lines_of(sheet) for sheet in books[0].worksheets}
    if sheet is not None and sheet not in sheets:
        raise AnnotationError(f"{path}: has no sheet {sheet!r}; it has {', '.join(sheets)}")
    if not sheets:
        raise AnnotationError(f"{path}: the workbook has no sheet with cells; save the table as .csv")
    wanted = {sheet: sheets[sheet]} if sheet is not None else sheets
    starts = {name: _find_header(lines, is_header) for name, lines in wanted.items()}
    found = [name for name, start in starts.items() if start is not None]
    if not found:
        raise _no_header(str(path), max(wanted.values(), key=_most_columns), needed)
    _refuse_formulas_without_values(path, *(book[found[0]] for book in books))
    others = [name for name, lines in sheets.items() if name != found[0] and lines]
    remarks = (f"sheet {found[0]!r} read, other sheets left: {', '.join(others)}",) if others else ()
    return _table(f"{path} [{found[0]}]", wanted[found[0]], starts[found[0]], False, remarks)


def _open_book(path: Path) -> list[Any]:
    """The workbook with the values of its formulas and, where it has any, with the formulas themselves."""
    import openpyxl
    from openpyxl.utils.exceptions import InvalidFileException

    # What openpyxl and zipfile raise on damaged files, found by cutting them and changing their bytes.
    damages = (
        InvalidFileException, zipfile.BadZipFile, zlib.error, LookupError, ValueError, OSError, EOFError, SyntaxError,
        TypeError, AttributeError, NotImplementedError,
    )  # fmt: skip
    try:
        with zipfile.ZipFile(path) as archive:
            sheets = [archive.read(name) for name in archive.namelist() if name.startswith("xl/worksheets/")]
        has_formulas = any(re.search(rb"<f[ >]", sheet) for sheet in sheets)
        # Not read-only mode: it trusts the size that a file states, which some programs write wrong.
        return [openpyxl.load_workbook(path, data_only=only) for only in ((True, False) if has_formulas else (True,))]
    except damages as error:
        raise AnnotationError(f"{path}: no workbook that can be read ({error}); save it again as .xlsx") from error


def _lines_of(sheet: Any) -> list[Line]:
    rows = [[_cell_text(value) for value in row] for row in sheet.values]
    for merged in sheet.merged_cells.ranges:
        column = merged.min_col - 1
        for row in rows[merged.min_row : merged.max_row]:
            row[column] = rows[merged.min_row - 1][column]
    return [(number, values) for number, values in enumerate(rows, start=1) if any(values)]


def _refuse_formulas_without_values(path: Path, values: Any, formulas: Any | None = None) -> None:
    """A program that does not calculate writes formulas alone; where some have values, the others are blank."""
    if formulas is None:
        return
    cells = [cell for row in formulas.iter_rows() for cell in row if cell.data_type == "f"]
    if cells and all(values[cell.coordinate].value is None for cell in cells):
        raise AnnotationError(
            f"{path} [{values.title}]: cell {cells[0].coordinate} holds the formula {cells[0].value} without its "
            "value; open and save the workbook in a spreadsheet program, or put values in the place of formulas"
        )


def _cell_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        value = value.date()  # Excel keeps days as midnights
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return _one_line(str(value))


def _one_line(text: str) -> str:
    return _LINE_BREAK.sub(" ", text.strip())


def _find_header(lines: Sequence[Line], is_header: Callable[[list[str]], bool]) -> int | None:
    head = enumerate(lines[:MOST_LINES_ABOVE_HEADER])
    return next((index for index, (_, values) in head if is_header(values)), None)


def _most_columns(lines: Sequence[Line]) -> int:
    return max((len(values) for _, values in lines[:MOST_LINES_ABOVE_HEADER]), default=0)


def _no_header(file: str, lines: Sequence[Line], needed: str) -> AnnotationError:
    if not lines:
        return AnnotationError(f"{file}: the table is empty; export it again")
    number, values = max(lines[:MOST_LINES_ABOVE_HEADER], key=lambda line: len(line[1]))
    return AnnotationError(f"{file}: no line names {needed}; line {number} holds: {', '.join(values)[:300]}")


def _table(file: str, lines: list[Line], start: int, has_decimal_commas: bool, remarks: tuple[str, ...]) -> Table:
    header = lines[start][1]
    while header and not header[-1]:  # a trailing delimiter, or formatted cells without content
        header = header[:-1]
    body: list[Line] = []
    for number, values in lines[start + 1 :]:
        if any(values[len(header) :]):
            raise AnnotationError(
                f"{file}, line {number}: has {len(values)} values where the header has {len(header)} columns; is a "
                "value with a delimiter in it not in quotes?"
            )
        body.append((number, [*values, *[""] * len(header)][: len(header)]))
    return Table(file, header, body, has_decimal_commas, remarks)
