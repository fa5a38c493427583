"""The numbers of finished runs as tables of Markdown: what tools/cross_validate.py has pooled, put side by side."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from classification_plan import DEPARRAY_ARMS, DEPARRAY_SEEDS, IMFISH_FOLDED, IMFISH_HELD_OUT, RECORD, label_free_runs
from common import markdown_table
from scipy import stats
from sklearn.metrics import roc_auc_score

from ctc_mm.evaluation.predictions import PREDICTIONS_FILE, Predictions, pool_predictions, read_predictions
from ctc_mm.formats.cell_table import read_cells_csv

NOT_RUN = "not run"


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences with Student's interval.

    Attributes:
        mean: of value - baseline.
        low, high: interval of the mean; NaN for fewer than two pairs.
        pairs: how many.
    """

    mean: float
    low: float
    high: float
    pairs: int

    def __str__(self) -> str:
        return f"{self.mean:+.3f} ({self.low:+.3f} to {self.high:+.3f}; {self.pairs} pairs)"


def paired_difference(values: Sequence[float], baseline: Sequence[float], confidence: float = 0.95) -> Difference:
    """Mean of ``values[i] - baseline[i]``, with the interval of a t distribution.

    Raises:
        ValueError: sequences that differ in length, or are empty.
    """
    if len(values) != len(baseline) or not values:
        raise ValueError(f"pairs need two sequences of one length. Received: {len(values)} and {len(baseline)}")
    differences = np.subtract(values, baseline)
    mean = float(differences.mean())
    if len(differences) < 2:
        return Difference(mean, float("nan"), float("nan"), 1)
    error = float(differences.std(ddof=1) / np.sqrt(len(differences)))
    half = float(stats.t.ppf((1 + confidence) / 2, len(differences) - 1)) * error
    return Difference(mean, mean - half, mean + half, len(differences))


def summary_of(runs: Path, name: str) -> dict[str, Any] | None:
    """Summary of a finished run; None where it was not run to its end."""
    if not (runs / name / RECORD).is_file():
        return None
    return json.loads((runs / name / "summary.json").read_text())


def predictions_of(runs: Path, name: str, folds: str = "fold_*") -> Predictions:
    """Every tested cell of a run, once."""
    paths = sorted((runs / name).glob(f"{folds}/test/{PREDICTIONS_FILE}"))
    return pool_predictions([read_predictions(path) for path in paths])


def rate(told: Mapping[str, Any]) -> str:
    """A rate in percent with its exact interval."""
    low, high = told["interval"]
    return f"{100 * told['value']:.1f} ({100 * low:.1f}-{100 * high:.1f})"


def figure(told: Mapping[str, Any]) -> str:
    """A figure with its interval."""
    low, high = told["interval"]
    return f"{told['value']:.3f} ({low:.3f}-{high:.3f})"


def spread(told: Mapping[str, Any]) -> str:
    """Mean and SD of folds; ``-`` for one fold."""
    return "-" if told["sd"] is None else f"{told['mean']:.3f} ± {told['sd']:.3f}"


def counts(point: Mapping[str, Any]) -> str:
    """Confusion matrix in cells."""
    return " / ".join(str(point[name]) for name in ("TP", "FN", "FP", "TN"))


def minutes(runs: Path, name: str) -> str:
    """Processor time of a run; ``-`` where it was interrupted, so that only a part of it is known."""
    told = json.loads((runs / name / RECORD).read_text())
    return "-" if told.get("is_rest") else f"{told['processor_s'] / 60:.1f}"


def bccd_table(runs: Path, sets: Path) -> str:
    """WBC against the rest, and among these against the platelets alone, which are stained as WBC are."""
    header = (
        "crops", "AUC, pooled", "AUC, mean of folds", "F1 at 0.5", "sensitivity, %", "specificity, %",
        "TP / FN / FP / TN", "AUC, WBC against platelets", "AUC, size alone", "F1, size alone", "min",
    )  # fmt: skip
    rows = []
    for way in ("fixed", "boxes", "grey"):
        told = summary_of(runs, f"bccd_{way}")
        if told is None:
            rows.append((way, *[NOT_RUN] * (len(header) - 1)))
            continue
        pool, auc = told["pooled"][0], told["values"]["AUC"]
        at, size = pool["operating_points"]["0.5"], pool["size_baseline"]
        rows.append(
            (
                way, figure(pool["AUC"]), f"{auc['mean']:.4f} ± {auc['sd']:.4f}", figure(at["F1"]),
                rate(at["sensitivity"]), rate(at["specificity"]), counts(at),
                f"{auc_against(predictions_of(runs, f'bccd_{way}'), sets / 'bccd' / way, 'WBC', 'Platelets'):.4f}",
                figure(size["AUC"]), f"{size['F1']:.3f}", minutes(runs, f"bccd_{way}"),
            )
        )  # fmt: skip
    return markdown_table(header, rows)


def auc_against(found: Predictions, cells_dir: Path, target: str, other: str) -> float:
    """AUC among the cells of two of the table's labels alone."""
    label_of = {row.cell_id: row.label for row in read_cells_csv(cells_dir, check_images=False)}
    labels = np.array([label_of[name] for name in found.cell_id])
    among = np.isin(labels, (target, other))
    return float(roc_auc_score(labels[among] == target, found.score[among]))


def imfish_pools(runs: Path, net: str) -> dict[str, dict[str, Any]]:
    """Figures of a network in ``5 folds``, where it has them, and on patients ``kept aside``; none where not run."""
    told = summary_of(runs, f"imfish_{net}")
    if told is None:
        return {}
    if net in IMFISH_FOLDED:
        return {"5 folds": told["pooled"][0], "kept aside": told["final"][0]}
    return {"kept aside": told["pooled"][0]}


def imfish_table(runs: Path) -> str:
    """The paper's table: each network in cross-validation and on the patients kept aside."""
    header = (
        "network", "tested on", "AUC", "AUC, mean of folds", "sensitivity, %", "specificity, %", "TP / FN / FP / TN",
        "at Youden's threshold: sensitivity / specificity, %", "min",
    )  # fmt: skip
    rows = []
    for net in (*IMFISH_FOLDED, *IMFISH_HELD_OUT):
        pools = imfish_pools(runs, net)
        if not pools:
            rows.append((net, NOT_RUN, *[""] * (len(header) - 2)))
            continue
        told, time = summary_of(runs, f"imfish_{net}"), minutes(runs, f"imfish_{net}")
        for place, pool in pools.items():
            at, chosen = pool["operating_points"]["0.5"], pool["operating_points"]["youden"]
            folds, needed = ("", time) if place == "kept aside" else (spread(told["values"]["AUC"]), "")
            both = " / ".join(f"{100 * chosen[one]['value']:.1f}" for one in ("sensitivity", "specificity"))
            rates = [rate(at[one]) for one in ("sensitivity", "specificity")]
            rows.append((net, place, figure(pool["AUC"]), folds, *rates, counts(at), both, needed))
    return markdown_table(header, rows)


def imfish_false_positives(runs: Path, sets: Path, folds: str = "fold_*") -> str:
    """How many false positives at 0.5 have three signals and more, which only CD45 tells from CTCs."""
    rows_of = {row.cell_id: row for row in read_cells_csv(sets / "imfish" / "cells", check_images=False)}
    rows = []
    for net in (*IMFISH_FOLDED, *IMFISH_HELD_OUT):
        if summary_of(runs, f"imfish_{net}") is None:
            continue
        found = predictions_of(runs, f"imfish_{net}", folds)
        signals = np.array([int(rows_of[name].extra["cep8_count"]) for name in found.cell_id])
        called, many, is_ctc = found.score >= 0.5, signals >= 3, found.gt.astype(bool)
        few = ~is_ctc & ~many
        among = Counter(np.where(many, "3 and more", "up to 2")[called & ~is_ctc].tolist())
        auc = roc_auc_score(many, found.score)
        specificity = 100 * (~called[few]).mean()
        rows.append((net, among["3 and more"], among["up to 2"], f"{specificity:.1f}", f"{auc:.3f}"))
    header = (
        "network", "false positives with 3 signals and more", "with up to 2", "specificity among up to 2, %",
        "AUC for 3 signals and more, whatever CD45 says",
    )  # fmt: skip
    return markdown_table(header, rows)


def deparray_values(runs: Path, arm: str, name: str, point: str = "0.5") -> dict[int, float]:
    """Seed -> AUC, or a figure at an operating point, on the test patients of that seed's set."""
    values = {}
    for seed in DEPARRAY_SEEDS:
        told = summary_of(runs, f"deparray_{arm}_{seed}")
        if told is not None:
            pool = told["pooled"][0]
            at = pool if name == "AUC" else pool["operating_points"][point]
            values[seed] = at[name]["value"]
    return values


def deparray_table(runs: Path) -> str:
    """One row a seed, then the paired differences to bright field alone."""
    figures = (("AUC", "0.5"), ("F1", "0.5"), ("F1_macro", "0.5"), ("F1", "youden"))
    blocks = []
    for name, point in figures:
        arms = {arm: deparray_values(runs, arm, name, point) for arm in DEPARRAY_ARMS}
        base = arms["brightfield"]
        rows = [
            (seed, *(f"{values[seed]:.3f}" if seed in values else "-" for values in arms.values()))
            for seed in DEPARRAY_SEEDS
        ]
        rows.append(("mean", *(f"{np.mean(list(values.values())):.3f}" if values else "-" for values in arms.values())))
        shared = {arm: sorted(set(base) & set(values)) for arm, values in arms.items() if arm != "brightfield"}
        differences = [
            str(paired_difference([arms[arm][s] for s in seeds], [base[s] for s in seeds])) if seeds else "-"
            for arm, seeds in shared.items()
        ]
        rows.append(("difference to bright field alone", "", *differences))
        title = name if name == "AUC" else f"{name} at {point}"
        blocks.append(f"{title}\n\n{markdown_table(('seed', *arms), rows)}")
    return "\n\n".join(blocks)


def label_free_table(runs: Path) -> str:
    """Frozen features and training from scratch, by cell and by patient; those that were run.

    F1 and AUC stand without intervals: two patients are too few to draw patients from.
    """
    header = (
        "run", "accuracy, %", "F1", "AUC", "AUC, mean of folds", "sensitivity, %", "specificity, %",
        "TP / FN / FP / TN", "min",
    )  # fmt: skip
    rows = []
    for name in (run.name for run in label_free_runs()):
        told = summary_of(runs, name)
        if told is None:
            continue
        pool = told["pooled"][0]
        at = pool["operating_points"]["0.5"]
        rates = [rate(at[one]) for one in ("sensitivity", "specificity")]
        values = [f"{one['value']:.3f}" for one in (at["F1"], pool["AUC"])]
        shown = [rate(at["accuracy"]), *values, spread(told["values"]["AUC"]), *rates]
        title = name.removeprefix("label_free_").replace("_", " ")
        rows.append((title, *shown, counts(at), minutes(runs, name)))
    return markdown_table(header, rows)


def every_table(runs: Path, sets: Path) -> list[str]:
    """All tables, those of runs that were not made saying so."""
    return [
        f"## BCCD\n\n{bccd_table(runs, sets)}",
        f"## imFISH\n\n{imfish_table(runs)}\n\n{imfish_false_positives(runs, sets)}",
        f"## DEPArray\n\n{deparray_table(runs)}",
        f"## label-free\n\n{label_free_table(runs)}",
    ]
