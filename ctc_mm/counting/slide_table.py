"""The table of slides that a lab keeps: which file, whose blood, how much of it, what was added."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctc_mm.counting.records import ROLES, SPIKE_IN
from ctc_mm.errors import SlideError
from ctc_mm.formats.spreadsheet import WORKBOOK_SUFFIXES, Table, read_table
from ctc_mm.imaging.channels import parse_channel_map

TABLE_SUFFIXES = (".csv", ".tsv", *WORKBOOK_SUFFIXES)
SLIDE, NAME, CHANNELS = "slide", "name", "channels"
ABOVE_ZERO = ("volume_ml", "dilution", "um_per_px")
COLUMNS = (SLIDE, NAME, "patient", "role", *ABOVE_ZERO, "spiked", CHANNELS)

GIVEN_TWICE = "{place}: the slide is given before, by {twin}; name it once"

_NO_FILE_NAME = re.compile(r'[\x00-\x1f<>:"/\\|?*]')


@dataclass(frozen=True)
class SlideRow:
    """One row of a table of slides.

    Attributes:
        place: table and line, for messages.
        path: the slide.
        name: its name; None: after the file.
        known: what the row says of the slide, as fields of ``SlideSpec``.
        channels: channel map; None: the row does not say.
    """

    place: str
    path: Path
    name: str | None
    known: Mapping[str, Any]
    channels: Mapping[str, int | str] | None


def read_slide_table(path: str | Path, spiked: float | None = None) -> tuple[list[SlideRow], list[str]]:
    """Read a table of slides (CSV with ``,`` or ``;``, TSV, XLSX; see ``ctc_mm.formats.spreadsheet``).

    Columns, of which only ``slide`` has to be there; upper and lower case, spaces and ``_`` alike:
    ``slide`` (path relative to the table, or absolute), ``name``, ``patient``, ``role`` (patient, blank, spike_in),
    ``volume_ml``, ``dilution``, ``um_per_px``, ``spiked`` (cells added), ``channels`` (``dapi=0,cep8=1``). Empty values
    are not known.

    Args:
        path: the table.
        spiked: number of cells added to spike-ins of which the table does not say it.

    Returns:
        The rows that can be used, and the problems of the others, each with line, column, value and cure.

    Raises:
        AnnotationError: the file is no table with a column ``slide``.
        SlideError: it has no row, a column that is not known, or one twice.
    """
    path = Path(path)
    table = read_table(path, lambda values: SLIDE in map(_column_name, values), "a column 'slide'")
    columns = [_column_name(text) for text in table.header]
    _check_columns(table, columns)
    if not table.lines:
        raise SlideError(f"{table.file}: names no slide; add a line for each")
    rows, problems = [], []
    first: dict[tuple[Path, str], str] = {}
    for number, values in table.lines:
        place, texts = f"{table.file}, line {number}", dict(zip(columns, values, strict=True))
        parser = _RowParser(table, place, texts, spiked)
        row = parser.row(path.parent)
        problems += parser.problems
        twin = place if row is None else first.setdefault((row.path, texts.get(CHANNELS, "")), place)
        if twin != place:
            problems.append(GIVEN_TWICE.format(place=place, twin=twin))
        elif not parser.problems:
            rows.append(row)
    return rows, problems


def _column_name(text: str) -> str:
    return re.sub(r"[\s_-]+", "_", text.strip()).casefold()


def _check_columns(table: Table, columns: list[str]) -> None:
    unknown = [text for text, column in zip(table.header, columns, strict=True) if column not in COLUMNS]
    if unknown:
        near = difflib.get_close_matches(_column_name(unknown[0]), COLUMNS, n=1)
        meant = f" (is {unknown[0]!r} meant as {near[0]!r}?)" if near else ""
        raise SlideError(
            f"{table.file}: unknown columns {', '.join(map(repr, unknown))}{meant}; remove or rename them, the table "
            f"may have {', '.join(COLUMNS)}"
        )
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise SlideError(f"{table.file}: column {twice[0]!r} is there twice; keep one")


class _RowParser:
    """Reads the values of a row, and keeps what is wrong with them.

    Args:
        table: where the row is from.
        place: table and line.
        values: column to text.
        spiked: cells added to spike-ins whose row does not say it.

    Attributes:
        problems: messages.
    """

    def __init__(self, table: Table, place: str, values: Mapping[str, str], spiked: float | None) -> None:
        self._table, self._place, self._values, self._spiked = table, place, values, spiked
        self.problems: list[str] = []

    def row(self, folder: Path) -> SlideRow | None:
        """The row, or None where it names no slide; only to be used where there are no problems."""
        known = {
            "patient": self._values.get("patient") or None,
            "role": self._role(),
            **{column: self._number(column, above_zero=True) for column in ABOVE_ZERO},
            "spiked": self._number("spiked", above_zero=False),
        }
        path = self._path(folder)
        name, channels = self._name(), self._channels()
        if path is None:
            return None
        return SlideRow(self._place, path, name, {key: one for key, one in known.items() if one is not None}, channels)

    def _problem(self, column: str, rule: str) -> None:
        self.problems.append(f"{self._place}: column {column!r} {rule}. Received: {self._values.get(column, '')!r}")

    def _path(self, folder: Path) -> Path | None:
        text = self._values[SLIDE]
        if not text:
            self._problem(SLIDE, "must name a file or folder")
            return None
        path = folder / text
        if not path.exists() and "\\" in text:
            path = folder / text.replace("\\", "/")  # a table written on Windows
        if not path.exists():
            self._problem(
                SLIDE,
                f"names a file or folder that is not there ({path}); mend the path, which is relative to the table",
            )
        return path

    def _name(self) -> str | None:
        name = self._values.get(NAME, "")
        if name and (_NO_FILE_NAME.search(name) or name[0] == "." or name[-1] == "."):
            self._problem(
                NAME, 'names a folder of results, and must hold none of <>:"/\\|?* nor begin or end with a dot'
            )
        return name or None

    def _role(self) -> str | None:
        role = self._values.get("role", "")
        meant = _column_name(role)
        if role and meant not in ROLES:
            self._problem("role", f"must be one of {', '.join(ROLES)}")
        if meant == SPIKE_IN and self._spiked is None and not self._values.get("spiked"):
            self.problems.append(
                f"{self._place}: role {SPIKE_IN} needs the number of added cells in column `spiked` (or --spiked N)"
            )
        return meant or None

    def _number(self, column: str, above_zero: bool) -> float | None:
        text = self._values.get(column, "")
        if not text:
            return None
        try:
            number = self._table.number(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or number < 0 or (above_zero and number == 0):
            self._problem(column, f"must be a number {'above 0' if above_zero else 'of 0 or more'}, without a unit")
            return None
        return number

    def _channels(self) -> dict[str, int | str] | None:
        text = self._values.get(CHANNELS, "")
        if not text:
            return None
        try:
            return parse_channel_map(text)
        except (ValueError, TypeError) as error:
            self._problem(CHANNELS, f"cannot be read ({error})")
            return None
