"""One row of ``cells.csv``, and the table of them: one row an image of a single cell in one channel (design.md, 5)."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np

from ctc_mm.errors import AnnotationError
from ctc_mm.formats.spreadsheet import Table, read_table
from ctc_mm.structures import BoxXYXY

CELLS_FILE = "cells.csv"
COLUMNS = (
    "path", "label", "cell_id", "channel", "group", "source", "x0", "y0", "x1", "y1", "um_per_px", "split", "fold",
    "keep",
)  # fmt: skip
UNLABELLED = "unlabelled"
NO_SPLIT = "all"
# What the channels of one cell share: twins are one cell, of one patient, in one fold.
SHARED_BY_TWINS = ("label", "group", "split", "fold")

T = TypeVar("T")
ExtraValue = str | int | float | bool

_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_FORBIDDEN_IN_FOLDER = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')
# Names that Windows keeps for devices.
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class CellRow:
    """One image of one cell.

    Attributes:
        cell_id: name of the cell, unique in the set; the channels of one cell share it.
        channel: what the image shows: ``brightfield``, ``dapi``, or ``dapi+cep8+cd45`` for several in one file.
        label: class; a folder of this name holds the image. ``unlabelled`` where there is none yet.
        group: patient or raw image; a split never tears a group apart.
        source: file that the cell was cut from or copied from, relative to the input folder.
        box_xyxy: half-open box in pixels of the full image, or of the crop itself where only the crop is known; rounded
            to float32.
        um_per_px: micrometres per pixel of the image, where known.
        split: ``train``, ``val``, ``test``; ``all`` where there is none yet.
        fold: fold of a cross-validation, 0 or more.
        keep: False for an image that is listed but not to be used (out of focus, refused by the operator).
        extra: further columns, such as measurements.
        path: POSIX path relative to the folder of ``cells.csv``; chosen by the writer.

    Raises:
        ValueError: an empty or unprintable text, a label or split that is no portable folder name, a box without area,
            a number that is not finite or out of range, an extra column that bears the name of a fixed one.
        TypeError: an extra value that is no text or number, a ``keep`` that is no bool.
    """

    cell_id: str
    channel: str
    label: str = UNLABELLED
    group: str
    source: str
    box_xyxy: BoxXYXY
    um_per_px: float | None = None
    split: str = NO_SPLIT
    fold: int | None = None
    keep: bool = True
    extra: Mapping[str, ExtraValue] = field(default_factory=dict, hash=False)
    path: str = ""

    def __post_init__(self) -> None:
        for name in ("cell_id", "channel", "label", "group", "source", "split"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value or value != value.strip() or _CONTROL.search(value):
                raise ValueError(f"`{name}` must be text without spaces around it. Received: {value!r}")
        for name in ("label", "split"):
            check_folder_name(name, getattr(self, name))
        box_xyxy = tuple(float(np.float32(value)) for value in self.box_xyxy)
        if len(box_xyxy) != 4 or not all(map(math.isfinite, box_xyxy)):
            raise ValueError(f"`box_xyxy` must be four finite numbers. Received: {self.box_xyxy}")
        if box_xyxy[2] <= box_xyxy[0] or box_xyxy[3] <= box_xyxy[1]:
            raise ValueError(f"`box_xyxy` must have a positive area (x0 < x1, y0 < y1). Received: {self.box_xyxy}")
        object.__setattr__(self, "box_xyxy", box_xyxy)
        if self.um_per_px is not None and not (math.isfinite(self.um_per_px) and self.um_per_px > 0):
            raise ValueError(f"`um_per_px` must be a positive number. Received: {self.um_per_px}")
        if self.fold is not None and (isinstance(self.fold, bool) or self.fold != int(self.fold) or self.fold < 0):
            raise ValueError(f"`fold` must be a whole number of at least 0. Received: {self.fold!r}")
        if not isinstance(self.keep, bool | np.bool_):
            raise TypeError(f"`keep` must be True or False. Received: {self.keep!r}")
        for name, value in self.extra.items():
            _check_extra(name, value)
        object.__setattr__(self, "extra", dict(self.extra))

    @property
    def key(self) -> tuple[str, str]:
        """What may occur once in a set: cell and channel."""
        return self.cell_id, self.channel


def check_folder_name(name: str, value: str) -> None:
    """Refuse a label or split that cannot be a folder on every common system.

    Raises:
        ValueError: it names ``name`` and ``value``.
    """
    is_bad = _FORBIDDEN_IN_FOLDER.search(value) or value.startswith(".") or value.endswith((".", " "))
    if is_bad or _DEVICES.fullmatch(value) or len(value.encode()) > 100:
        raise ValueError(
            f"`{name}` becomes a folder: letters, digits, spaces, '_' and '-', at most 100 bytes. Received: {value!r}; "
            "map it to another name"
        )


def check_against(row: CellRow, same_key: CellRow | None, twin: CellRow | None) -> None:
    """Check one row against an earlier one of the same key, and an earlier one of the same cell, where there are any.

    Raises:
        ValueError: the key occurs twice, or the channels of one cell differ in label, group, split or fold.
    """
    if same_key is not None:
        raise ValueError(
            f"cell {row.cell_id!r} has channel {row.channel!r} twice (from {same_key.source} and {row.source}); "
            "give cells distinct names, for example with the patient or image in front"
        )
    for name in SHARED_BY_TWINS:
        if twin is not None and getattr(twin, name) != getattr(row, name):
            raise ValueError(
                f"cell {row.cell_id!r} has {name} {getattr(twin, name)!r} in channel {twin.channel!r} and "
                f"{getattr(row, name)!r} in channel {row.channel!r}; the channels of one cell share it"
            )


def count_cells(rows: Iterable[CellRow]) -> dict[str, int]:
    """Count cells (not images) by label: CTC first, then by name."""
    labels = {row.cell_id: row.label for row in rows}
    names = sorted(set(labels.values()), key=lambda name: (name != "CTC", name))
    return {name: sum(label == name for label in labels.values()) for name in names}


def format_cells_csv(rows: Sequence[CellRow]) -> str:
    """Give ``cells.csv`` as text: rows by cell and channel, extra columns by name after the fixed ones."""
    extras = sorted({name for row in rows for name in row.extra})
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*COLUMNS, *extras])
    for row in sorted(rows, key=lambda row: row.key):
        values = [row.path, row.label, row.cell_id, row.channel, row.group, row.source]
        values += [_number(np.float32(value)) for value in row.box_xyxy]
        values += [_text(row.um_per_px), row.split, _text(row.fold), _text(bool(row.keep))]
        writer.writerow(values + [_text(row.extra.get(name)) for name in extras])
    return buffer.getvalue()


def read_cells_csv(path: str | Path, check_images: bool = True) -> list[CellRow]:
    """Read and check a table of cells.

    The label in the table counts, not the folder: labels, folds and ``keep`` may be edited in the table. A table that
    went through a spreadsheet (byte order mark, semicolons, decimal commas, TRUE and FALSE) is read
    too.

    Args:
        path: the file, or the folder that holds ``cells.csv``.
        check_images: whether each image has to be there.

    Returns:
        The rows in the order of the file; values of ``extra`` are text, as they stand there.

    Raises:
        AnnotationError: no such file, a missing or doubled column, a wrong value, a path that leaves the
            folder, a missing image, one cell and channel twice, channels of one cell that differ in label, group,
            split or fold. It names file and line.
    """
    rows, problems = scan_cells_csv(path, check_images)
    if problems:
        raise AnnotationError(problems[0])
    return rows


def scan_cells_csv(path: str | Path, check_images: bool = True) -> tuple[list[CellRow], list[str]]:
    """Read a table of cells as :func:`read_cells_csv`, going on after a wrong line.

    Returns:
        The rows that can be used, and what is wrong with each of the others, naming file and line; a doubled cell or
        path stands in the rows once, a row without its image all the same.

    Raises:
        AnnotationError: no such file, no table of cells, a doubled column.
    """
    path = Path(path)
    path = path / CELLS_FILE if path.is_dir() else path
    needed = f"all of the columns {','.join(COLUMNS)}; is it a cells.csv?"
    table = read_table(path, lambda values: set(COLUMNS) <= set(values), needed)
    twice = sorted({name for name in table.header if table.header.count(name) > 1})
    if twice:
        raise AnnotationError(f"{path}: has the column {twice[0]!r} twice; remove one")
    rows: list[CellRow] = []
    problems: list[str] = []
    seen: dict[tuple[str, str], CellRow] = {}
    twins: dict[str, CellRow] = {}
    paths: dict[str, int] = {}
    for number, values in table.lines:
        place = f"{path}, line {number}"
        try:
            row = _parse_row(table, dict(zip(table.header, values, strict=True)))
            check_against(row, seen.get(row.key), twins.setdefault(row.cell_id, row))
        except ValueError as error:
            problems.append(f"{place}: {error}")
            continue
        if paths.setdefault(row.path, number) != number:
            problems.append(f"{place}: `path` {row.path!r} stands in line {paths[row.path]} too; keep one")
            continue
        if check_images and not (path.parent / row.path).is_file():
            problems.append(
                f"{place}: `path` names no file below {path.parent}. Received: {row.path!r}; restore the image or "
                "remove the line"
            )
        seen[row.key] = row
        rows.append(row)
    return rows, problems


def _parse_row(table: Table, values: dict[str, str]) -> CellRow:
    relative = PurePosixPath(values["path"])
    if not values["path"] or relative.is_absolute() or ".." in relative.parts or "\\" in values["path"]:
        raise ValueError(f"`path` must be a relative POSIX path without '..'. Received: {values['path']!r}")
    return CellRow(
        **{name: values[name] for name in ("path", "label", "cell_id", "channel", "group", "source", "split")},
        box_xyxy=tuple(_parse("number", table.number, name, values) for name in ("x0", "y0", "x1", "y1")),
        um_per_px=_parse("number", table.number, "um_per_px", values) if values["um_per_px"] else None,
        fold=_parse("whole number", int, "fold", values) if values["fold"] else None,
        keep=parse_bool("keep", values["keep"]),
        extra={name: value for name, value in values.items() if name not in COLUMNS and value},
    )


def parse_bool(name: str, text: str) -> bool:
    """Read true/false, 1/0 or yes/no in any case.

    Raises:
        ValueError: none of them; it names ``name`` and the text.
    """
    word = text.strip().casefold()
    if word not in (*_TRUE, *_FALSE):
        raise ValueError(f"`{name}` must be true or false. Received: {text!r}")
    return word in _TRUE


def _parse(kind: str, read: Callable[[str], T], name: str, values: Mapping[str, str]) -> T:
    try:
        return read(values[name])
    except ValueError as error:
        raise ValueError(f"`{name}` must be a {kind}. Received: {values[name]!r}") from error


def _check_extra(name: str, value: ExtraValue) -> None:
    if not isinstance(name, str) or not name.strip() or _CONTROL.search(name) or name in COLUMNS:
        raise ValueError(f"`extra` takes names other than the fixed columns. Received: {name!r}")
    if not isinstance(value, str | int | float | np.number | np.bool_):
        raise TypeError(f"`extra` takes text and numbers. Received: {name}={value!r}")
    if isinstance(value, str) and _CONTROL.search(value):
        raise ValueError(f"`extra` takes text on one line. Received: {name}={value!r}")
    if not isinstance(value, str) and not math.isfinite(value):
        raise ValueError(f"`extra` takes finite numbers; leave out what is unknown. Received: {name}={value!r}")


def _text(value: ExtraValue | None) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    return str(int(value)) if isinstance(value, int | np.integer) else _number(value)


def _number(value: float | np.floating) -> str:
    """The shortest digits that give the value back, whole numbers without a point."""
    return np.format_float_positional(value, trim="-")
