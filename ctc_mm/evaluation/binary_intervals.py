"""Intervals of a classifier's figures: exact ones of rates, by bootstrap of AUC and F1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ctc_mm.evaluation.binary_evaluation import BinaryOptions, BinaryResult
from ctc_mm.evaluation.functional.binary import BinaryCounts
from ctc_mm.evaluation.functional.bootstrap import (
    BootstrapInterval,
    Statistic,
    bootstrap_figures,
    weighted_auc,
    weighted_f1,
)
from ctc_mm.evaluation.functional.intervals import clopper_pearson
from ctc_mm.evaluation.functional.size_baseline import cell_sizes
from ctc_mm.evaluation.output import json_number
from ctc_mm.evaluation.predictions import Predictions

BY_GROUP, BY_CELL = "group", "cell"


@dataclass(frozen=True, eq=False)
class ResampledUnits:
    """What the bootstrap draws.

    Args:
        names: text (N,), the unit of each sample.
        unit: ``group`` or ``cell`` (the channels of a cell stay together).
        note: what a reader has to know, or ''.
    """

    names: np.ndarray
    unit: str
    note: str = ""


def resampled_units(predictions: Predictions) -> ResampledUnits:
    """Choose groups (patients, slides, images) where there are at least two, else cells."""
    known = predictions.group != ""
    cells = np.char.add("cell:", predictions.cell_id)
    if not known.any():
        return ResampledUnits(cells, BY_CELL, "no groups are known: resampled by cell, as if all came from one patient")
    if known.all() and np.unique(predictions.group).size == 1:
        return ResampledUnits(
            cells, BY_CELL, "all cells come from one group: resampled by cell, which says nothing of other patients"
        )
    note = "" if known.all() else f"{int((~known).sum())} samples without a group: each cell of them is its own"
    return ResampledUnits(np.where(known, np.char.add("group:", predictions.group), cells), BY_GROUP, note)


def rate_json(k: int, n: int, confidence: float) -> dict[str, Any]:
    """``k`` of ``n`` as counts, rate and exact interval; null where ``n`` is 0."""
    low, high = clopper_pearson(k, n, confidence)
    return {
        "value": json_number(k / n if n else float("nan")), "k": k, "n": n,
        "interval": _interval_json(low, high), "interval_method": "Clopper-Pearson",
    }  # fmt: skip


def rates_json(counts: BinaryCounts, confidence: float) -> dict[str, Any]:
    """The four rates that are proportions of cells."""
    return {
        "sensitivity": rate_json(counts.tp, counts.n_target, confidence),
        "specificity": rate_json(counts.tn, counts.n_rest, confidence),
        "precision": rate_json(counts.tp, counts.tp + counts.fp, confidence),
        "accuracy": rate_json(counts.tp + counts.tn, counts.n, confidence),
    }


def false_targets_per_ml(counts: BinaryCounts, wbc_per_ml: float, confidence: float) -> dict[str, Any]:
    """Expected false CTC per mL of blood: false-positive rate and its exact interval, times the leukocytes per mL."""
    rate = rate_json(counts.fp, counts.n_rest, confidence)
    interval = rate["interval"]
    return {
        "value": None if rate["value"] is None else rate["value"] * wbc_per_ml,
        "interval": None if interval is None else [end * wbc_per_ml for end in interval],
        "wbc_per_ml": wbc_per_ml,
        "false_positive_rate": rate,
    }


def _interval_json(low: float, high: float) -> list[float] | None:
    return None if np.isnan(low) or np.isnan(high) else [float(low), float(high)]


def bootstrap_json(found: BootstrapInterval, unit: str) -> dict[str, Any]:
    """An estimate and its bootstrap interval as plain numbers."""
    return {
        "value": json_number(found.estimate),
        "interval": _interval_json(found.low, found.high),
        "interval_method": f"bootstrap by {unit}, {found.method}",
        "units": found.n_groups,
        "resamples": found.n_resamples,
        "unusable_resamples": found.n_unusable,
        "note": found.note,
    }


def bootstrap_result(result: BinaryResult, options: BinaryOptions) -> dict[str, dict[str, Any]]:
    """Bootstrap intervals of all figures of a result, on the same resamples.

    Returns:
        By name: ``AUC``; ``F1@<point>`` and ``F1_macro@<point>``; where sizes are known ``size_AUC``, ``size_F1``,
        ``AUC_where_size_is_known`` and ``AUC_gained_over_size``.
    """
    predictions, units = result.predictions, resampled_units(result.predictions)
    statistics = {"AUC": weighted_auc(predictions.gt, predictions.score)}
    for name, one in result.at.items():
        if one.threshold is not None:
            called = predictions.score >= one.threshold
            statistics[f"F1@{name}"] = weighted_f1(predictions.gt, called)
            statistics[f"F1_macro@{name}"] = weighted_f1(predictions.gt, called, macro=True)
    if result.size.n:
        statistics |= _size_statistics(result)
    found = bootstrap_figures(statistics, units.names, options.n_resamples, options.seed, options.confidence)
    return {name: bootstrap_json(one, units.unit) for name, one in found.items()}


def _size_statistics(result: BinaryResult) -> dict[str, Statistic]:
    """Size alone, and what the classifier adds to it, on the cells of known size."""
    baseline, predictions = result.size, result.predictions
    sizes = cell_sizes(predictions.diameter_um, predictions.diameter_px, baseline.unit)
    kept = sizes.is_known
    gt, diameter = predictions.gt[kept], sizes.diameter[kept]
    by_size, by_score = weighted_auc(gt, diameter), weighted_auc(gt, predictions.score[kept])
    statistics = {
        "size_AUC": lambda times: by_size(times[kept]),
        "AUC_where_size_is_known": lambda times: by_score(times[kept]),
        "AUC_gained_over_size": lambda times: by_score(times[kept]) - by_size(times[kept]),
    }
    if baseline.threshold is not None:
        by_f1 = weighted_f1(gt, diameter >= baseline.threshold)
        statistics["size_F1"] = lambda times: by_f1(times[kept])
    return statistics
