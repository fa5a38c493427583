"""The column ``split`` of ``cells.csv`` filled in: whole groups to training, validation and test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ctc_mm.datasets.leaks import LeakReport, find_split_leaks
from ctc_mm.datasets.split_files import Split, write_split_file
from ctc_mm.datasets.splits import holdout, part_counts
from ctc_mm.errors import AnnotationError, ConfigError
from ctc_mm.formats.cell_table import (
    CELLS_FILE,
    NO_SPLIT,
    UNLABELLED,
    CellRow,
    format_cells_csv,
    read_cells_csv,
)
from ctc_mm.formats.files import atomic_write_text
from ctc_mm.formats.report import Progress, no_progress

SPLIT_FILE = "split.json"


@dataclass(frozen=True)
class TableSplit:
    """What :func:`split_table` did.

    Attributes:
        split: the split; also in ``split.json`` beside the table.
        counts: one row a part, see ``splits.part_counts``.
        left_out: rows without a part, by reason; their split is ``all``.
        leaks: what the leak check found.
    """

    split: Split
    counts: list[dict[str, Any]]
    left_out: Mapping[str, int]
    leaks: LeakReport


def split_table(
    root: str | Path,
    *,
    test_fraction: float = 0.2,
    val_fraction: float = 0.2,
    group_key: str | None = "group",
    seed: int = 0,
    allow_leaks: bool = False,
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> TableSplit:
    """Divide the cells of a table once, and write the parts into its column ``split``.

    Only that column changes; images stay where they are. Cells that are not to be used (``keep`` false, ``unlabelled``)
    get the split ``all``.

    Args:
        root: folder of ``cells.csv``.
        test_fraction: part that is tested.
        val_fraction: part of the rest for thresholds and the choice of weights.
        group_key: column whose values are never torn apart; None: cell by cell, as in the papers, with a warning.
        seed: of the division.
        allow_leaks: warn where the leak check would fail.
        overwrite: replace a split that the table has already.
        progress: wraps the images that are compared.

    Raises:
        AnnotationError: the table cannot be used, or is split already.
        ConfigError: it cannot be divided; the message says why.
        LeakError: the same picture in two parts; nothing is written then.
    """
    table = Path(root) / CELLS_FILE
    rows = read_cells_csv(table)
    found = sorted({row.split for row in rows} - {NO_SPLIT})
    if found and not overwrite:
        raise AnnotationError(f"{table}: is split already ({', '.join(found)}); replace that with --overwrite")
    usable = {row.cell_id: row for row in rows if row.keep and row.label != UNLABELLED}
    if not usable:
        raise AnnotationError(f"{table}: holds no cell with a label that is to be kept; label the cells first")
    ids = sorted(usable)
    groups = None if group_key is None else [_value_of(usable[name], group_key, table) for name in ids]
    split = holdout(
        ids,
        [usable[name].label for name in ids],
        groups,
        test_fraction=test_fraction,
        val_fraction=val_fraction,
        seed=seed,
        group_key=group_key or "",
    )
    paths: dict[str, list[Path]] = {}
    for row in rows:
        if row.keep and row.cell_id in usable:
            paths.setdefault(row.cell_id, []).append(table.parent / row.path)
    # By the key that was asked for; ungrouped, by `group`, to say what that tears apart.
    checked = {name: usable[name].group for name in ids} if groups is None else dict(zip(ids, groups, strict=True))
    leaks = find_split_leaks(split, checked, paths, progress)
    leaks.require_clean(warn_only=allow_leaks or group_key is None)
    part_of = {name: part for part in ("train", "val", "test") for name in split.folds[0].part(part)}
    changed = [replace(row, split=part_of.get(row.cell_id, NO_SPLIT)) for row in rows]
    write_split_file(table.parent / SPLIT_FILE, split)
    atomic_write_text(table, format_cells_csv(changed))
    counts = part_counts(split, {name: usable[name].label for name in ids})
    return TableSplit(split, counts, _left_out(rows), leaks)


def _value_of(row: CellRow, key: str, table: Path) -> str:
    value = row.extra.get(key, getattr(row, key, None) if key in ("group", "source") else None)
    if value in (None, ""):
        columns = sorted({"group", "source", *row.extra})
        raise ConfigError(
            f"{table}: cell {row.cell_id!r} has no {key!r} to group by. It has: {', '.join(columns)}; give one of them "
            "with --group-key, or --ungrouped"
        )
    return str(value)


def _left_out(rows: Sequence[CellRow]) -> Counter[str]:
    return Counter(
        "keep = 0" if not row.keep else UNLABELLED for row in rows if not row.keep or row.label == UNLABELLED
    )
