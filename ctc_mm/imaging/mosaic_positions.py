"""Where the fields of a mosaic lie: ``positions.csv``, in pixels or micrometres."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from ctc_mm.errors import AnnotationError, ImageReadError
from ctc_mm.formats.report import SHOWN_PROBLEMS
from ctc_mm.formats.spreadsheet import Table, read_table
from ctc_mm.imaging.slide_folders import POSITIONS_FILE

FILE, CHANNEL, UM_PER_PX = "file", "channel", "um_per_px"
IN_PX, IN_UM = ("x_px", "y_px"), ("x_um", "y_um")


@dataclass(frozen=True)
class Position:
    """One line of the table.

    Attributes:
        place: table and line, for messages.
        path: file of the field.
        channel: which channel it holds, where each channel is a file of its own; else "".
        xy: of its upper left corner, in pixels or micrometres, x right and y down.
    """

    place: str
    path: Path
    channel: str
    xy: tuple[float, float]


@dataclass(frozen=True)
class Positions:
    """The whole table.

    Attributes:
        fields: in the order of the lines.
        in_um: whether positions are in micrometres, in the place of pixels.
        um_per_px: side of a pixel in micrometres, where the table gives it.
        unused_columns: columns that are not read.
    """

    fields: tuple[Position, ...]
    in_um: bool
    um_per_px: float | None
    unused_columns: tuple[str, ...]


def read_positions(folder: Path) -> Positions:
    """Read the ``positions.csv`` of a mosaic.

    Columns: ``file`` (relative to the folder), ``x_px`` and ``y_px``, or ``x_um`` and ``y_um``; where they are wanted,
    ``channel`` and ``um_per_px`` (the same in all lines). Fractions of a pixel are allowed.

    Raises:
        ImageReadError: no such table, or lines that cannot be used: all in one message, with line, value and cure.
    """
    needed = f"the columns {FILE},{','.join(IN_PX)} or {FILE},{','.join(IN_UM)}"
    try:
        table = read_table(folder / POSITIONS_FILE, lambda values: FILE in _columns(values), needed)
    except AnnotationError as error:
        raise ImageReadError(str(error)) from error
    columns = _columns(table.header)
    twice = next((column for column in columns if column and columns.count(column) > 1), None)
    units = [pair for pair in (IN_PX, IN_UM) if set(pair) <= set(columns)]
    if twice or len(units) != 1:
        found = f"column {twice!r} twice" if twice else f"the columns {', '.join(table.header)}"
        raise ImageReadError(f"{table.file}: has {found}; give {needed}, each once")
    if not table.lines:
        raise ImageReadError(f"{table.file}: places no field; add a line for each")
    known = {FILE, CHANNEL, UM_PER_PX, *units[0]}
    unused = tuple(text for text, column in zip(table.header, columns, strict=True) if column not in known)
    reader = _LineReader(table, folder, units[0])
    fields = [reader.position(number, dict(zip(columns, values, strict=True))) for number, values in table.lines]
    reader.raise_problems()
    return Positions(tuple(one for one in fields if one), units[0] == IN_UM, reader.um_per_px, unused)


def _columns(values: list[str]) -> list[str]:
    return [value.strip().casefold() for value in values]


class _LineReader:
    """Reads the lines of the table, and keeps what is wrong with them.

    Attributes:
        um_per_px: what the lines say, or None.
    """

    def __init__(self, table: Table, folder: Path, columns_xy: tuple[str, str]) -> None:
        self._table, self._folder, self._columns_xy = table, folder, columns_xy
        self._seen: dict[Path, str] = {}
        self._problems: list[str] = []
        self.um_per_px: float | None = None

    def position(self, number: int, values: Mapping[str, str]) -> Position | None:
        """One line; None where it cannot be used."""
        place = f"{self._table.file}, line {number}"
        path = self._path(place, values[FILE])
        xy = [self._number(place, column, values[column]) for column in self._columns_xy]
        self._scale(place, values.get(UM_PER_PX, ""))
        channel = values.get(CHANNEL, "")
        if CHANNEL in values and not channel:
            self._problems.append(f"{place}: no channel; fill in column {CHANNEL!r}, or remove it")
        if path is None or None in xy:
            return None
        return Position(place, path, channel, (xy[0], xy[1]))

    def raise_problems(self) -> None:
        """Raise what was wrong with the lines."""
        if self._problems:
            shown, more = self._problems[:SHOWN_PROBLEMS], len(self._problems) - SHOWN_PROBLEMS
            raise ImageReadError("\n".join([*shown, *([f"and {more} more"] if more > 0 else [])]))

    def _path(self, place: str, text: str) -> Path | None:
        posix = text.replace("\\", "/")
        inner = PurePosixPath(posix)
        path = self._folder / posix
        if not text or inner.is_absolute() or PureWindowsPath(text).drive or ".." in inner.parts:
            self._problems.append(
                f"{place}: column {FILE!r} must name a file of the folder, relative to it. Received: {text!r}"
            )
        elif not path.is_file():
            self._problems.append(f"{place}: {path} is not there; put the field back, or remove the line")
        elif path in self._seen:
            self._problems.append(f"{place}: {text} is placed before, in {self._seen[path]}; keep one of the lines")
        else:
            self._seen[path] = place
            return path
        return None

    def _number(self, place: str, column: str, text: str) -> float | None:
        try:
            number = self._table.number(text)
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            return number
        self._problems.append(f"{place}: column {column!r} must be a number. Received: {text!r}")
        return None

    def _scale(self, place: str, text: str) -> None:
        if not text:
            return
        number = self._number(place, UM_PER_PX, text)
        if number is not None and (number <= 0 or self.um_per_px not in (None, number)):
            rule = "above 0 and the same in all lines"
            self._problems.append(f"{place}: column {UM_PER_PX!r} must be {rule}. Received: {text!r}")
        elif number is not None:
            self.um_per_px = number
