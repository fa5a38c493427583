"""The summary of a run: every fold's figures, their mean and SD, what is pooled, learning curves, the report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import ctc_mm
from ctc_mm.engine.cross_validation.cell_summary import HEADLINE, summarise_cells
from ctc_mm.engine.cross_validation.drawing import draw_learning
from ctc_mm.engine.cross_validation.image_summary import headline, summarise_images
from ctc_mm.engine.cross_validation.options import TRANSFER
from ctc_mm.engine.cross_validation.plan import PlannedFold
from ctc_mm.engine.cross_validation.protocols import Study
from ctc_mm.engine.cross_validation.report import write_report
from ctc_mm.engine.cross_validation.results import FoldResult, read_fold
from ctc_mm.engine.cross_validation.section import Picture, Section, Table, shown, shown_spread
from ctc_mm.engine.cross_validation.units import PARTS
from ctc_mm.engine.curves.learning_curves import curves_csv, drawn_names, mean_curves
from ctc_mm.engine.runs.run_folder import RunFolder
from ctc_mm.engine.runs.single_run import RunOutcome
from ctc_mm.evaluation.binary_evaluation import BinaryOptions
from ctc_mm.evaluation.functional.spread import mean_sd, number
from ctc_mm.formats.files import atomic_write_bytes, atomic_write_text, write_json

SUMMARY_FILE = "summary.json"
FOLDS_NOTE = (
    "SD with n - 1. Training sets of folds overlap, so the SD says how much folds differ; it is no standard error of "
    "the mean. '-': undefined in that fold (a class is absent, or nothing was called), left out of mean and SD."
)


@dataclass(frozen=True)
class RunFacts:
    """What a run was, and how its folds ended.

    Attributes:
        name: of the config.
        study: data and division.
        folders: where the folds lie, by name.
        warnings: told at the start.
        outcomes: in the order of the folds.
        binary: options of a classifier's evaluation.
    """

    name: str
    study: Study
    folders: Mapping[str, RunFolder]
    warnings: Sequence[str]
    outcomes: Sequence[RunOutcome]
    binary: BinaryOptions

    @property
    def failed(self) -> list[str]:
        """Folds without a result."""
        return [one.name for one in self.outcomes if one.problem or one.stopped]


def summarise(out_dir: Path, facts: RunFacts) -> dict[str, Any]:
    """Write the summary of all finished folds; the same folds give the same bytes, times apart.

    Args:
        out_dir: of the run; gets ``summary.json``, ``folds.csv``, ``results.csv``, curves and pictures, ``times.csv``,
            ``report.html`` and ``report.md``.
        facts: of the run.

    Returns:
        Content of ``summary.json``.
    """
    finished = [fold for fold in facts.study.division.folds if fold.name not in facts.failed]
    results = [_in_groups(read_fold(fold, facts.folders[fold.name]), facts) for fold in finished]
    content = _head(facts)
    sections = [_warnings(facts)]
    if results:
        is_cells = results[0].predictions is not None
        body = summarise_cells(results, facts.binary) if is_cells else summarise_images(results)
        names = list(HEADLINE) if is_cells else headline(results[0].metrics)
        folds = [one for one in results if not one.is_final] or results
        content |= {"values": _spreads(folds), **body.content}
        sections += [body, _fold_table(results, names), _learning(folds)]
    sections += [_division_table(facts)]
    content["folds"] = [_fold_json(fold, facts, results) for fold in facts.study.division.folds]
    write_json(out_dir / SUMMARY_FILE, content)
    for section in sections:
        for name, text in section.files.items():
            atomic_write_text(out_dir / name, text)
        for picture in section.pictures:
            atomic_write_bytes(out_dir / picture.file, picture.png)
        for table in filter(lambda table: table.file, section.tables):
            atomic_write_text(out_dir / table.file, table.csv())
    times = _times_table(results)
    atomic_write_text(out_dir / times.file, times.csv())
    write_report(out_dir, _title(facts), _lead(facts, len(results)), [*sections, Section(tables=[times])])
    return content


def _in_groups(result: FoldResult, facts: RunFacts) -> FoldResult:
    """The predictions with the groups that the run went by, which the bootstrap then draws."""
    if result.predictions is None:
        return result
    key, source = facts.study.options.group_key, facts.study.other or facts.study.source
    group_of = {unit.id: unit.columns.get(key, "") for unit in source.units}
    groups = np.array([group_of[name] for name in result.predictions.cell_id], dtype=np.str_)
    return replace(result, predictions=replace(result.predictions, group=groups))


def _head(facts: RunFacts) -> dict[str, Any]:
    return {
        "config": facts.name,
        "ctc_mm": ctc_mm.__version__,
        "unit": facts.study.source.kind,
        "options": facts.study.options.identity,
        "warnings": list(facts.warnings),
        "folds_without_result": facts.failed,
    }


def _title(facts: RunFacts) -> str:
    return f"Cross-validation of {facts.name} ({facts.study.options.protocol})"


def _lead(facts: RunFacts, n_results: int) -> list[str]:
    """What the reader has to know first."""
    options = facts.study.options
    grouped = "divided one by one (paper mode)" if options.ungrouped else f"grouped by `{options.group_key}`"
    lines = [f"{n_results} of {len(facts.study.division.folds)} folds finished; {facts.study.source.kind} {grouped}."]
    if options.protocol == TRANSFER:
        lines.append("Trained on one set, tested on another: what is tested was seen neither in training nor before.")
    if facts.failed:
        lines.append(f"Without a result, and missing from every figure here: {', '.join(facts.failed)}.")
    return lines


def _warnings(facts: RunFacts) -> Section:
    rows = tuple((str(number_), text) for number_, text in enumerate(facts.warnings, 1))
    return Section(tables=[Table("Warnings", ("", "what to keep in mind"), rows)] if rows else [])


def _spreads(folds: Sequence[FoldResult]) -> dict[str, Any]:
    """Mean and SD of every figure that some fold has."""
    names = list(dict.fromkeys(name for one in folds for name in one.values))
    return {name: mean_sd([one.values.get(name, math.nan) for one in folds]).to_json() for name in names}


def _fold_json(fold: PlannedFold, facts: RunFacts, results: Sequence[FoldResult]) -> dict[str, Any]:
    found = next((one for one in results if one.fold.name == fold.name), None)
    values = None if found is None else {name: number(value) for name, value in found.values.items()}
    return {
        "name": fold.name, "title": fold.title, "repeat": fold.repeat, "seed": fold.seed,
        "counts": _counts(fold, facts), "values": values,
    }  # fmt: skip


def _counts(fold: PlannedFold, facts: RunFacts) -> dict[str, dict[str, int]]:
    """What each part holds."""
    sources = {"test": facts.study.other or facts.study.source}
    return {part: sources.get(part, facts.study.source).counts(fold.ids.part(part)) for part in PARTS}


def _fold_table(results: Sequence[FoldResult], names: Sequence[str]) -> Section:
    names = [name for name in names if any(name in one.values for one in results)]
    rows = [(one.fold.title, *(shown(one.values.get(name)) for name in names)) for one in results]
    folds = [one for one in results if not one.is_final]
    if len(folds) > 1:
        spreads = [mean_sd([one.values.get(name) for one in folds]) for name in names]
        rows.append(("mean ± SD of folds", *map(shown_spread, spreads)))
    return Section(tables=[Table("Folds", ("", *names), tuple(rows), FOLDS_NOTE, "folds.csv")])


def _learning(folds: Sequence[FoldResult]) -> Section:
    curves = {one.fold.name: one.curves for one in folds}
    means = mean_curves(list(curves.values()))
    names = drawn_names(means)
    files = {"learning_curves.csv": curves_csv(curves, means)} if means else {}
    pictures = []
    if names:
        caption = (
            "Learning curves: thin lines are folds, the band is one SD. Training loss: running mean as logged at the "
            "end of each epoch; validation: the part kept aside in each fold."
        )
        pictures = [Picture("learning_curves.png", draw_learning(list(curves.values()), means, names), caption)]
    return Section(pictures=pictures, files=files)


def _division_table(facts: RunFacts) -> Section:
    """Who is where: counts of every part of every fold."""
    rows = []
    for fold in facts.study.division.folds:
        for part, counts in _counts(fold, facts).items():
            rows.append((fold.title, part, *map(str, counts.values()), str(fold.seed)))
    header = ("", "part", *facts.study.source.counts(()), "seed")
    note = "Validation parts choose thresholds, temperature and best weights; test parts are only tested."
    return Section(tables=[Table("Division", header, tuple(rows), note, "division.csv")])


def _times_table(results: Sequence[FoldResult]) -> Table:
    rows = [
        (
            one.fold.title,
            shown(one.times["train_seconds"], 1) + (" (after a resume)" if one.times["resumed"] else ""),
            shown(one.times["test_seconds"], 1),
        )
        for one in results
    ]
    return Table("Time", ("", "training, s", "test, s"), tuple(rows), file="times.csv")
