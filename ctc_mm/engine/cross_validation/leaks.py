"""The leak check of a run, before anything trains: groups torn apart, and one picture on two sides of a fold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ctc_mm.datasets.leaks import LeakReport, find_duplicates, find_leaks
from ctc_mm.engine.cross_validation.options import CrossValidationOptions
from ctc_mm.engine.cross_validation.protocols import Division
from ctc_mm.engine.cross_validation.sources import Source
from ctc_mm.engine.cross_validation.units import PARTS
from ctc_mm.errors import LeakError
from ctc_mm.formats.report import Progress, no_progress

# Ids of two tables may be alike without meaning the same cell.
ELSEWHERE = "test set: "


def check_leaks(
    source: Source,
    other: Source | None,
    division: Division,
    options: CrossValidationOptions,
    progress: Progress = no_progress,
) -> str:
    """Check every fold: no group, and no picture, may be on two sides of it.

    Args:
        source: of what is trained on.
        other: of what is tested, where that is another set.
        division: of the run.
        options: ``ungrouped`` (paper mode) and ``allow_leaks`` warn where the others fail.
        progress: wraps the images.

    Returns:
        What the user has to know; '' where nothing leaks.

    Raises:
        LeakError: something leaks; all of it is listed.
    """
    units = {unit.id: unit for unit in source.units if unit.id in division.group_of}
    paths: dict[str, tuple[Path, ...]] = {name: unit.paths for name, unit in units.items()}
    # The groups of the table, also where they were not looked at: that is what paper mode leaks.
    group_of = {name: unit.columns.get(options.group_key) for name, unit in units.items()}
    if other is not None:
        paths |= {ELSEWHERE + unit.id: unit.paths for unit in other.units}
        group_of |= {ELSEWHERE + unit.id: unit.columns.get(options.group_key) for unit in other.units}
    duplicates, unchecked = find_duplicates(paths, progress)
    reports = []
    for fold in division.folds:
        parts = {part: fold.ids.part(part) for part in PARTS}
        if other is not None:
            parts["test"] = tuple(ELSEWHERE + name for name in parts["test"])
        reports.append(find_leaks(parts, _known(group_of), duplicates, fold.name.removeprefix("fold_")))
    report = LeakReport(
        tuple(leak for one in reports for leak in one.groups),
        tuple(leak for one in reports for leak in one.duplicates),
        tuple(unchecked),
    )
    if report.is_clean:
        return str(report) if report.unchecked else ""
    if options.ungrouped or options.allow_leaks:
        return f"leaks, which flatter every figure here: {report}"
    raise LeakError(f"{report}\nNothing was trained. Go on all the same with --allow-leaks; the report will say so.")


def _known(group_of: Mapping[str, str | None]) -> dict[str, str | None]:
    return {name: group or None for name, group in group_of.items()}
