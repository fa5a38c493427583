"""Tables of a classifier's result as CSV: curves, confusion matrices, reliability."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ctc_mm.evaluation.binary_figures import NamedCurve
from ctc_mm.evaluation.functional.binary import BinaryCounts, rates_of
from ctc_mm.evaluation.functional.calibration import ReliabilityBins
from ctc_mm.evaluation.functional.intervals import clopper_pearson
from ctc_mm.evaluation.output import csv_text


def roc_csv(curves: Sequence[NamedCurve]) -> str:
    """All points of the ROC curves: ``curve,threshold,fpr,sensitivity,tp,fp,fn,tn``, highest threshold first."""
    rows = []
    for one in curves:
        for point, score in enumerate(one.curve.score.tolist()):
            counts = one.curve.counts(point)
            rows.append((one.name, score, counts.false_positive_rate, counts.sensitivity, *_four(counts)))
    return csv_text(("curve", "threshold", "fpr", "sensitivity", "tp", "fp", "fn", "tn"), rows)


def pr_csv(curves: Sequence[NamedCurve]) -> str:
    """All points of the precision-recall curves: ``curve,threshold,precision,sensitivity,f1,tp,fp,fn,tn``."""
    rows = []
    for one in curves:
        for point, score in enumerate(one.curve.score.tolist()):
            counts = one.curve.counts(point)
            rows.append((one.name, score, counts.precision, counts.sensitivity, counts.f1, *_four(counts)))
    return csv_text(("curve", "threshold", "precision", "sensitivity", "f1", "tp", "fp", "fn", "tn"), rows)


def confusion_csv(tables: Mapping[str, tuple[float | None, BinaryCounts]]) -> str:
    """One row an operating point: ``point,threshold,tp,fp,fn,tn`` and the rates."""
    rows = [
        (name, math.nan if threshold is None else threshold, *_four(counts), *rates_of(counts).values())
        for name, (threshold, counts) in tables.items()
    ]
    return csv_text(("point", "threshold", "tp", "fp", "fn", "tn", *rates_of(BinaryCounts(0, 0, 0, 0))), rows)


def reliability_csv(bins: Mapping[str, tuple[ReliabilityBins, float]], confidence: float = 0.95) -> str:
    """One row a bin: ``scores,from,to,cells,target,mean_probability,observed,low,high`` (exact interval)."""
    rows = []
    for name, (table, _) in bins.items():
        for index, count in enumerate(table.count.tolist()):
            n_target = int(table.n_target[index])
            rows.append((
                name, float(table.edges[index]), float(table.edges[index + 1]), count, n_target,
                float(table.mean_probability[index]), float(table.observed[index]),
                *clopper_pearson(n_target, count, confidence),
            ))  # fmt: skip
    return csv_text(("scores", "from", "to", "cells", "target", "mean_probability", "observed", "low", "high"), rows)


def _four(counts: BinaryCounts) -> tuple[int, int, int, int]:
    return counts.tp, counts.fp, counts.fn, counts.tn
