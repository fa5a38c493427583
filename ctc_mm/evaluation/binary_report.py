"""Files of a classifier's evaluation; same result, same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ctc_mm.evaluation.binary_evaluation import FIXED, BinaryOptions, BinaryResult, OperatingResult, flat_values
from ctc_mm.evaluation.binary_figures import (
    NamedCurve,
    draw_confusion,
    draw_pr,
    draw_reliability,
    draw_roc,
    named_curve,
)
from ctc_mm.evaluation.binary_intervals import bootstrap_result, false_targets_per_ml, rates_json, resampled_units
from ctc_mm.evaluation.binary_tables import confusion_csv, pr_csv, reliability_csv, roc_csv
from ctc_mm.evaluation.classification_point import ClassificationPoint
from ctc_mm.evaluation.functional.binary import BinaryCounts
from ctc_mm.evaluation.functional.calibration import ReliabilityBins, reliability_bins
from ctc_mm.evaluation.functional.size_baseline import cell_sizes
from ctc_mm.evaluation.functional.thresholds import FPR, SENSITIVITY, YOUDEN
from ctc_mm.evaluation.gallery import draw_misjudged, find_misjudged, misjudged_html, unreadable
from ctc_mm.evaluation.output import json_number
from ctc_mm.evaluation.predictions import PREDICTIONS_FILE, Predictions, write_predictions
from ctc_mm.formats.files import atomic_write_bytes, atomic_write_text, write_json

METRICS_FILE = "metrics.json"
CHOSEN_HERE = "chosen on these cells: flattering, for choosing only"
CHOSEN_BEFORE = "chosen before, applied unchanged"
NO_POINT = (
    "none: thresholds, temperature and size threshold come from validation, and no operating point came with the "
    "weights; rates are given at 0.5 only"
)


@dataclass(frozen=True)
class ReportContext:
    """What the report says beside the figures.

    Args:
        classes: of the data set; target: the one that is looked for.
        chosen_here: whether the operating point was chosen on these very cells.
        n_repeats: samples that came twice and were dropped.
        options: of the evaluation.
    """

    classes: Sequence[str]
    target: str
    chosen_here: bool
    n_repeats: int
    options: BinaryOptions

    @property
    def rest(self) -> str:
        """Name of what is not the target."""
        others = [name for name in self.classes if name != self.target]
        return others[0] if len(others) == 1 else "rest"


def rules(wishes: BinaryOptions | ClassificationPoint) -> dict[str, str]:
    """Each operating point in words."""
    return {
        FIXED: "fixed",
        YOUDEN: "highest sensitivity + specificity - 1",
        SENSITIVITY: f"highest threshold with sensitivity >= {wishes.wanted_sensitivity:g}",
        FPR: f"lowest threshold with false-positive rate <= {wishes.wanted_fpr:g}",
    }


def metrics_json(result: BinaryResult, context: ReportContext) -> dict[str, Any]:
    """Assemble the content of ``metrics.json``: counts (plain ints) beside every rate, null where undefined."""
    options, predictions, point = context.options, result.predictions, result.point
    intervals, units = bootstrap_result(result, options), resampled_units(predictions)
    wishes = options if point is None else point
    source = NO_POINT if point is None else CHOSEN_HERE if context.chosen_here else CHOSEN_BEFORE
    return {
        "classes": list(context.classes),
        "target": context.target,
        "samples": len(predictions),
        "cells": int(np.unique(predictions.cell_id).size),
        "samples_by_label": {name: int((predictions.label == name).sum()) for name in context.classes},
        "groups": int(np.unique(predictions.group[predictions.group != ""]).size),
        "repeated_samples_dropped": context.n_repeats,
        "exact_intervals_note": _note_on_exact_intervals(predictions),
        "confidence": options.confidence,
        "bootstrap": {"unit": units.unit, "note": units.note, "seed": options.seed},
        "AUC": {**intervals["AUC"], "value": json_number(result.auc)},
        "AP": json_number(result.ap),
        "operating_points": {
            name: {
                "rule": rules(wishes)[name],
                "source": "fixed" if name == FIXED else source,
                "threshold": one.threshold,
                **_point_json(one, name, predictions, options, intervals),
            }
            for name, one in result.at.items()
        },
        "calibration": _calibration_json(result, options),
        "size_baseline": _size_json(result, options, intervals),
        "operating_point": None if point is None else point.to_dict(),
        "operating_point_source": source,
        "values": {name: json_number(value) for name, value in flat_values(result).items()},
    }


def _note_on_exact_intervals(predictions: Predictions) -> str:
    known = predictions.cell_id[predictions.cell_id != ""]
    if np.unique(known).size == known.size:
        return ""
    return "several images of a cell count as independent: exact intervals are too narrow; test one channel alone"


def _point_json(
    one: OperatingResult, name: str, predictions: Predictions, options: BinaryOptions, intervals: Mapping[str, Any]
) -> dict[str, Any]:
    if one.counts is None:
        return {"reason": one.reason}
    counts = one.counts
    return {
        **counts_json(counts),
        **rates_json(counts, options.confidence),
        "F1": intervals[f"F1@{name}"],
        "F1_macro": intervals[f"F1_macro@{name}"],
        "balanced_accuracy": json_number(counts.balanced_accuracy),
        "false_targets_per_ml": false_targets_per_ml(counts, options.wbc_per_ml, options.confidence),
        "called_target_by_label": called_by_label(predictions, one.threshold),
    }


def counts_json(counts: BinaryCounts) -> dict[str, int]:
    """Confusion matrix as plain numbers."""
    return {"TP": counts.tp, "FP": counts.fp, "FN": counts.fn, "TN": counts.tn}


def called_by_label(predictions: Predictions, threshold: float) -> dict[str, dict[str, int]]:
    """Of each true class: samples, and how many of them are called target."""
    called = predictions.score >= threshold
    return {
        name: {
            "samples": int((predictions.label == name).sum()),
            "called": int(called[predictions.label == name].sum()),
        }
        for name in np.unique(predictions.label).tolist()
    }


def _calibration_json(result: BinaryResult, options: BinaryOptions) -> dict[str, Any]:
    point = result.point
    return {
        "method": f"expected calibration error of the target's probability, {options.n_bins} equally wide bins",
        "before": {"ECE": json_number(result.ece), "log_loss": json_number(result.log_loss)},
        "temperature": None if point is None else point.temperature,
        "temperature_note": NO_POINT if point is None else point.temperature_reason,
        "after": {"ECE": json_number(result.ece_calibrated), "log_loss": json_number(result.log_loss_calibrated)},
        "balanced_log_loss": json_number(result.balanced_log_loss),
    }


def _size_json(result: BinaryResult, options: BinaryOptions, intervals: Mapping[str, Any]) -> dict[str, Any]:
    size = result.size
    content: dict[str, Any] = {
        "rule": "larger = target; threshold of the best Youden index on validation",
        "cells_of_known_size": size.n,
        "cells_of_unknown_size": size.n_unknown,
        "unit": size.unit,
        "threshold": size.threshold,
        "reason": size.reason,
    }
    if size.counts is not None:
        content |= {**counts_json(size.counts), **rates_json(size.counts, options.confidence)}
        content["F1"] = intervals["size_F1"]
    if size.n:
        content["AUC"] = {**intervals["size_AUC"], "value": json_number(size.auc)}
        content["classifier_AUC_on_these_cells"] = intervals["AUC_where_size_is_known"]
        content["AUC_gained_over_size"] = intervals["AUC_gained_over_size"]
    return content


def point_names(wishes: BinaryOptions | ClassificationPoint) -> dict[str, str]:
    """Each operating point as pictures name it."""
    return {
        FIXED: "fixed",
        YOUDEN: "best Youden",
        SENSITIVITY: f"wanted sensitivity {wishes.wanted_sensitivity:g}",
        FPR: f"wanted false-positive rate {wishes.wanted_fpr:g}",
    }


def score_curves(result: BinaryResult, content: Mapping[str, Any], names: Mapping[str, str]) -> list[NamedCurve]:
    """The classifier's curve and that of size alone, with their operating points.

    Args:
        result: what was measured.
        content: of ``metrics.json``, which has the intervals.
        names: of the operating points.
    """
    predictions = result.predictions
    marks = {names[rule]: one.threshold for rule, one in result.at.items() if one.threshold is not None}
    interval = content["AUC"]["interval"]
    curves = [named_curve("classifier", predictions.gt, predictions.score, marks, auc_interval=interval)]
    return [*curves, _size_curve(result, content)]


def _size_curve(result: BinaryResult, content: Mapping[str, Any]) -> NamedCurve:
    predictions, size = result.predictions, result.size
    if not size.n:
        return named_curve(f"size alone ({size.reason})", np.empty(0), np.empty(0), kind="baseline")
    sizes = cell_sizes(predictions.diameter_um, predictions.diameter_px, size.unit)
    kept = sizes.is_known
    unit = "µm" if size.unit == "um" else size.unit
    marks = {} if size.threshold is None else {f"diameter, {unit}": size.threshold}
    name = "size alone" if kept.all() else f"size alone ({size.n} of {kept.size} samples)"
    interval = content["size_baseline"]["AUC"]["interval"]
    return named_curve(name, predictions.gt[kept], sizes.diameter[kept], marks, "baseline", interval)


def gallery_point(result: BinaryResult) -> str:
    """Best Youden where it was chosen: at 0.5 a network trained on unequal classes may call none or all."""
    return YOUDEN if YOUDEN in result.at and result.at[YOUDEN].threshold is not None else FIXED


def write_binary_report(
    out_dir: str | Path, result: BinaryResult, context: ReportContext
) -> tuple[list[Path], list[str]]:
    """Write ``metrics.json``, ``predictions.csv``, curves, confusion, reliability and the gallery of misjudged cells.

    Args:
        out_dir: made if it does not exist.
        result: what was measured.
        context: what else is said.

    Returns:
        The files written, and the images of the gallery that could not be read, each with its reason.
    """
    out_dir, names = Path(out_dir), point_names(result.point or context.options)
    content, shown = metrics_json(result, context), gallery_point(result)
    threshold, predictions = result.at[shown].threshold, result.predictions
    groups = find_misjudged(predictions, context.target, context.rest, context.options.gallery, threshold)
    problems = unreadable(groups)
    content["gallery"] = {"operating_point": shown, "unreadable_images": problems}
    cells = f"{int(predictions.gt.sum())} {context.target}, {int((1 - predictions.gt).sum())} {context.rest}"
    heading = f"Cells misjudged, {names[shown]} (called {context.target} from a score of {threshold:.3g}; {cells})"
    title = cells if not context.chosen_here else f"{cells}; thresholds chosen on these cells"
    files = _figures(result, context, content, title) | {
        "misjudged.html": misjudged_html(predictions, groups, heading),
        "misjudged.png": draw_misjudged(predictions, groups, heading),
    }
    write_json(out_dir / METRICS_FILE, content)
    write_predictions(out_dir / PREDICTIONS_FILE, predictions)
    for name, data in files.items():
        if isinstance(data, bytes):
            atomic_write_bytes(out_dir / name, data)
        else:
            atomic_write_text(out_dir / name, data)
    return [out_dir / name for name in (METRICS_FILE, PREDICTIONS_FILE, *files)], problems


def _figures(
    result: BinaryResult, context: ReportContext, content: Mapping[str, Any], title: str
) -> dict[str, str | bytes]:
    """Content of each picture and its table, by file name."""
    options, names = context.options, point_names(result.point or context.options)
    curves, bins = score_curves(result, content, names), _reliability(result, options)
    tables = {rule: (one.threshold, one.counts) for rule, one in result.at.items() if one.counts is not None}
    named = {names[rule]: table for rule, table in tables.items()}
    return {
        "roc.csv": roc_csv(curves),
        "roc.png": draw_roc(curves, title),
        "pr.csv": pr_csv(curves),
        "pr.png": draw_pr(curves, title),
        "confusion.csv": confusion_csv(tables),
        "confusion.png": draw_confusion(named, context.target, context.rest, title),
        "reliability.csv": reliability_csv(bins, options.confidence),
        "reliability.png": draw_reliability(bins, title, options.confidence, context.target),
    }


def _reliability(result: BinaryResult, options: BinaryOptions) -> dict[str, tuple[ReliabilityBins, float]]:
    predictions = result.predictions
    bins = {"scores": (reliability_bins(predictions.gt, predictions.score, options.n_bins), result.ece)}
    if result.point is not None:
        name = f"calibrated (temperature {result.point.temperature:.3g})"
        calibrated = reliability_bins(predictions.gt, predictions.calibrated, options.n_bins)
        bins[name] = (calibrated, result.ece_calibrated)
    return bins
