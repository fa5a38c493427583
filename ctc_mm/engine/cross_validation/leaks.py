"""The leak check of a run, before anything trains: groups torn apart, and one picture on two sides of a fold."""

from __future__ import annotations

from ctc_mm.datasets.leaks import LeakReport, find_duplicates, find_leaks
from ctc_mm.engine.cross_validation.protocols import Study
from ctc_mm.engine.cross_validation.units import PARTS
from ctc_mm.errors import LeakError
from ctc_mm.formats.report import Progress, no_progress

# Ids of two tables may be alike without meaning the same cell.
ELSEWHERE = "test set: "
GROUP = "group"


def check_leaks(study: Study, progress: Progress = no_progress) -> str:
    """Check every fold: no group, and no picture, may be on two sides of it.

    Args:
        study: data and folds; ``ungrouped`` (paper mode) and ``allow_leaks`` of its options warn where others fail.
        progress: wraps the images.

    Returns:
        What the user has to know; '' where nothing leaks.

    Raises:
        LeakError: something leaks; all of it is listed.
    """
    units = {unit.id: unit for unit in study.source.units if unit.id in study.division.group_of}
    if study.other is not None:
        units |= {ELSEWHERE + unit.id: unit for unit in study.other.units}
    # The groups of the table, also where they were not looked at: that is what paper mode leaks.
    group_of = {name: unit.columns.get(study.options.group_key) or None for name, unit in units.items()}
    duplicates, unchecked = find_duplicates({name: unit.paths for name, unit in units.items()}, progress)
    reports = []
    for fold in study.division.folds:
        parts = {part: fold.ids.part(part) for part in PARTS}
        if study.other is not None:
            parts["test"] = tuple(ELSEWHERE + name for name in parts["test"])
        reports.append(find_leaks(parts, group_of, duplicates, fold.name.removeprefix("fold_")))
    torn = _torn_beside_the_key(study)
    report = LeakReport(
        tuple(leak for one in reports for leak in one.groups),
        tuple(leak for one in reports for leak in one.duplicates),
        tuple(unchecked),
    )
    if report.is_clean:
        return ". ".join(filter(None, (torn, str(report) if report.unchecked else "")))
    if study.options.ungrouped or study.options.allow_leaks:
        return ". ".join(filter(None, (torn, f"leaks, which flatter every figure here: {report}")))
    raise LeakError(f"{report}\nNothing was trained. Go on all the same with --allow-leaks; the report will say so.")


def _torn_beside_the_key(study: Study) -> str:
    """What dividing by another column than `group` does to the groups; '' where they stay whole."""
    if study.options.ungrouped or study.options.group_key == GROUP or study.other is not None:
        return ""
    group_of = {unit.id: unit.columns.get(GROUP) or None for unit in study.source.units}
    folds = [{part: fold.ids.part(part) for part in PARTS} for fold in study.division.folds]
    torn = sorted({leak.group for parts in folds for leak in find_leaks(parts, group_of).groups})
    if not torn:
        return ""
    return (
        f"divided by `{study.options.group_key}`, {len(torn)} of the column `{GROUP}` stand on two sides all the same "
        f"({', '.join(torn[:3])}{', ...' if len(torn) > 3 else ''}); with --group-key {GROUP} they stay whole"
    )
