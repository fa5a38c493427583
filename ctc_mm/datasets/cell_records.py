"""The images of single cells in a folder: by its ``cells.csv``, or by folders alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ctc_mm.errors import AnnotationError
from ctc_mm.formats.cell_table import CELLS_FILE, NO_SPLIT, UNLABELLED, ExtraValue, scan_cells_csv
from ctc_mm.formats.paths import IMAGE_SUFFIXES, files_under
from ctc_mm.structures import BoxXYXY

# Without a table nothing names the channel of a folder's images.
UNNAMED_CHANNEL = "image"
MOST_LISTED = 20
# Fixed columns that may name groups; further columns may too.
GROUP_COLUMNS = ("cell_id", "group", "source", "split", "fold")


@dataclass(frozen=True, kw_only=True)
class CellRecord:
    """One image of one cell, as a data set sees it; the attributes are those of ``formats.CellRow``.

    Attributes:
        path: the image file.
        group: patient, slide or raw image; None where it is not known (folders without a table).
        box_xyxy: half-open px of the full image; None where it is not known.
    """

    path: Path
    label: str
    cell_id: str
    channel: str
    source: str
    group: str | None = None
    box_xyxy: BoxXYXY | None = None
    um_per_px: float | None = None
    split: str = NO_SPLIT
    fold: int | None = None
    keep: bool = True
    extra: Mapping[str, ExtraValue] = field(default_factory=dict)

    @property
    def planes(self) -> tuple[str, ...]:
        """Names of the channels in the file, in their order."""
        return tuple(self.channel.split("+"))

    def value_of(self, key: str) -> str | None:
        """Value of a column that may name groups, fixed or further (patient, slide); None where the cell has none."""
        if key in self.extra:
            return str(self.extra[key])
        if key not in GROUP_COLUMNS:
            return None
        value = getattr(self, key)
        return None if value is None else str(value)


def read_cell_records(root: Path, ann_file: str, known_labels: Sequence[str]) -> list[CellRecord]:
    """Read ``cells.csv``, or the folders below ``root`` where there is none.

    Folders are ``<split>/<class>/<file>``, or ``<class>/<file>`` without a split; the path relative to ``root`` is the
    cell's name, ``group`` and ``box_xyxy`` are not known, and the channel is called ``image``.

    Args:
        root: folder of the set.
        ann_file: the table's name below ``root``; ``''`` for folders alone.
        known_labels: labels that may name a folder; one that is none of them is told in the error.

    Raises:
        AnnotationError: neither table nor images; lines of the table that cannot be used, the first of them listed
            with their number; images outside of a class's folder.
    """
    table = root / ann_file if ann_file else None
    if table is not None and table.is_file():
        return _records_of_table(table)
    if not root.is_dir():
        raise AnnotationError(
            f"{table or root}: no such {'table' if table else 'folder'}. Make the set with data_converters/"
            "*_to_cells.py, or set data_root on the command line (--cfg-options data_root=FOLDER)."
        )
    if table is not None and ann_file != CELLS_FILE:
        raise AnnotationError(f"{table}: no such table of cells; check ann_file, or set ann_file='' to read folders.")
    return _records_of_folders(root, known_labels)


def _records_of_table(table: Path) -> list[CellRecord]:
    rows, problems = scan_cells_csv(table, check_images=False)
    refuse(f"{table}: lines that cannot be used", problems)
    if not rows:
        raise AnnotationError(f"{table}: lists no cell; convert the set again, the report says what was left out.")
    names = (
        "label", "cell_id", "channel", "source", "group", "box_xyxy", "um_per_px", "split", "fold", "keep", "extra",
    )  # fmt: skip
    return [CellRecord(path=table.parent / row.path, **{name: getattr(row, name) for name in names}) for row in rows]


def _records_of_folders(root: Path, known_labels: Sequence[str]) -> list[CellRecord]:
    files = files_under(root, IMAGE_SUFFIXES)
    if not files:
        raise AnnotationError(f"{root}: holds neither {CELLS_FILE} nor images in folders <split>/<class>/.")
    records, problems = [], []
    for path in files:
        parts = path.relative_to(root).parts
        name = "/".join(parts)
        if len(parts) > 2 and parts[0] not in known_labels:
            split, label = parts[0], parts[1]
        elif len(parts) > 1:
            split, label = NO_SPLIT, parts[0]
        else:
            problems.append(f"{name}: lies in no folder of a class")
            continue
        if label not in known_labels and label != UNLABELLED:
            problems.append(f"{name}: its folder {label!r} is no class")
            continue
        records.append(
            CellRecord(path=path, label=label, cell_id=name, channel=UNNAMED_CHANNEL, source=name, split=split)
        )
    cure = (
        f"without a {CELLS_FILE} images lie in <split>/<class>/ or <class>/, the class being one of "
        f"{list(known_labels)}; rename the folders, or name them in metainfo.classes or label_map"
    )
    refuse(f"{root}: images that belong to no class ({cure})", problems)
    return records


def refuse(what: str, problems: Sequence[str], error: type[Exception] = AnnotationError) -> None:
    """Raise ``error`` if there are problems, the first :data:`MOST_LISTED` of them listed with their number."""
    if problems:
        more = len(problems) - MOST_LISTED
        listed = "\n".join(f"  {problem}" for problem in problems[:MOST_LISTED])
        listed += f"\n  ... and {more} more" if more > 0 else ""
        raise error(f"{what}: {len(problems)}\n{listed}")
