"""Pictures of a classifier's result, drawn from plain numbers; cross-validation draws its pooled curves with them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from ctc_mm.evaluation.functional.binary import BinaryCounts, binary_counts
from ctc_mm.evaluation.functional.calibration import ReliabilityBins
from ctc_mm.evaluation.functional.intervals import clopper_pearson
from ctc_mm.evaluation.functional.roc import ScoreCurve, binary_average_precision, roc_auc, roc_curve
from ctc_mm.evaluation.output import new_figure, png_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Of Okabe and Ito's colours, which everybody tells apart.
MODEL_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
GREY = "#777777"
MARKERS = ("o", "s", "^", "D", "v", "P")


@dataclass(frozen=True, eq=False)
class NamedCurve:
    """A score on a set of cells, ready to be drawn as ROC or precision-recall curve.

    Args:
        name: for the legend.
        curve: counts at every score.
        auc, ap: NaN where undefined.
        marks: by name, the threshold and the counts there.
        kind: ``model``: a thick line; ``fold``: a thin one, all folds sharing a legend entry; ``baseline``: grey and
            dashed.
        auc_interval: for the legend.
    """

    name: str
    curve: ScoreCurve
    auc: float
    ap: float
    marks: Mapping[str, tuple[float, BinaryCounts]] = field(default_factory=dict)
    kind: Literal["model", "fold", "baseline"] = "model"
    auc_interval: tuple[float, float] | None = None


def named_curve(
    name: str,
    gt: np.ndarray,
    score: np.ndarray,
    marks: Mapping[str, float] | None = None,
    kind: Literal["model", "fold", "baseline"] = "model",
    auc_interval: tuple[float, float] | None = None,
) -> NamedCurve:
    """Measure a score for drawing.

    Args:
        name: for the legend.
        gt: (N,), 1 = target.
        score: (N,), rises with the target.
        marks: by name, a threshold to be marked on the curve.
        kind: see ``NamedCurve``.
        auc_interval: for the legend, where there is one.
    """
    counts = {mark: (threshold, binary_counts(gt, score, threshold)) for mark, threshold in (marks or {}).items()}
    auc, ap = roc_auc(gt, score), binary_average_precision(gt, score)
    return NamedCurve(name, roc_curve(gt, score), auc, ap, counts, kind, auc_interval)


def draw_roc(curves: Sequence[NamedCurve], title: str = "") -> bytes:
    """Draw ROC curves as PNG; the legend gives each area and the counts behind each mark."""
    figure = new_figure(6, 6.2)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":", label="chance: AUC 0.500")
    drawn = False
    for curve, colour in _coloured(curves):
        if math.isnan(curve.auc):
            _list_undefined(axes, curve, colour)
            continue
        drawn = True
        line = [0.0, *curve.curve.fpr], [0.0, *curve.curve.sensitivity]
        label = _fold_label(axes, curves, "AUC") if curve.kind == "fold" else f"{curve.name}: AUC {_auc_text(curve)}"
        axes.plot(*line, **_style(curve, colour, label))
        for index, (name, (threshold, counts)) in enumerate(curve.marks.items()):
            text = _mark_text(name, threshold)
            text += f": {_share(counts.tp, counts.n_target)} found, {_share(counts.fp, counts.n_rest)} false"
            _mark(axes, counts.false_positive_rate, counts.sensitivity, index, colour, curve.kind, text)
    _frame(axes, "false-positive rate (1 - specificity)", "sensitivity", title)
    _say_undefined(axes, drawn, curves, "ROC curve")
    _legend_below(axes)
    return png_bytes(figure)


def draw_pr(curves: Sequence[NamedCurve], title: str = "") -> bytes:
    """Draw precision-recall curves as PNG; the dotted line is what calling every cell target would give."""
    figure = new_figure(6, 6.2)
    axes = figure.add_subplot()
    share = next((_share_of_target(one.curve) for one in curves if one.kind == "model"), 0.0)
    if share:
        axes.axhline(share, color=GREY, linewidth=0.8, linestyle=":", label=f"every cell called: {share:.3f}")
    drawn = False
    for curve, colour in _coloured(curves):
        if math.isnan(curve.ap):
            _list_undefined(axes, curve, colour)
            continue
        drawn = True
        sensitivity, precision = curve.curve.sensitivity, curve.curve.precision
        label = _fold_label(axes, curves, "AP") if curve.kind == "fold" else f"{curve.name}: AP {curve.ap:.3f}"
        # Steps, as average precision counts them: a straight line between points would promise too much.
        axes.step(
            [0.0, *sensitivity], [precision[0], *precision], where="pre",
            **_style(curve, colour, label),
        )  # fmt: skip
        for index, (name, (threshold, counts)) in enumerate(curve.marks.items()):
            if counts.tp + counts.fp == 0:
                continue
            text = _mark_text(name, threshold) + f": {_share(counts.tp, counts.tp + counts.fp)} right, "
            text += f"F1 {counts.f1:.3f}"
            _mark(axes, counts.sensitivity, counts.precision, index, colour, curve.kind, text)
    _frame(axes, "sensitivity (recall)", "precision", title)
    _say_undefined(axes, drawn, curves, "precision-recall curve")
    _legend_below(axes)
    return png_bytes(figure)


def draw_confusion(
    tables: Mapping[str, tuple[float | None, BinaryCounts]], target: str, rest: str, title: str = ""
) -> bytes:
    """Draw confusion matrices side by side as PNG: cells in numbers, and as shares of their true class.

    Args:
        tables: by heading, threshold and counts.
        target: name of the class looked for.
        rest: name of the others.
        title: above all.
    """
    columns = min(len(tables), 2)
    rows = math.ceil(len(tables) / columns)
    figure = new_figure(3.4 * columns, 3.3 * rows + 0.3)
    if title:
        figure.suptitle(title, fontsize="medium")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, (threshold, counts)) in zip(grid, tables.items(), strict=False):
        _draw_matrix(axes, counts, target, rest)
        axes.set_title(name if threshold is None else f"{name} (score >= {threshold:.3g})", fontsize="small")
    for axes in grid[len(tables) :]:
        axes.axis("off")
    return png_bytes(figure)


def _draw_matrix(axes: Axes, counts: BinaryCounts, target: str, rest: str) -> None:
    table = np.array([[counts.tp, counts.fn], [counts.fp, counts.tn]])
    totals = table.sum(axis=1, keepdims=True)
    shares = np.divide(table, totals, out=np.zeros((2, 2)), where=totals > 0)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(table):
        share = f"\n{shares[row, column]:.1%}" if totals[row, 0] else "\n-"
        colour = "white" if shares[row, column] > 0.6 else "black"
        axes.text(column, row, f"{count}{share}", ha="center", va="center", color=colour)
    axes.set_xticks([0, 1], [f"called {target}", f"called {rest}"], fontsize="small")
    names = [f"{target}\n(n={totals[0, 0]})", f"{rest}\n(n={totals[1, 0]})"]
    axes.set_yticks([0, 1], names, fontsize="small", rotation=90, va="center")
    axes.tick_params(length=0)


def draw_reliability(
    bins: Mapping[str, tuple[ReliabilityBins, float]], title: str = "", confidence: float = 0.95, target: str = "CTC"
) -> bytes:
    """Draw predicted probability against the observed share of CTC as PNG, with the number of cells per bin below.

    Args:
        bins: by name, bins and their calibration error.
        title: above all.
        confidence: of the (exact) interval of each observed share.
        target: name of the class looked for.
    """
    figure = new_figure(6, 6.6)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":", label="what is predicted is observed")
    for index, (name, (table, error)) in enumerate(bins.items()):
        colour = MODEL_COLOURS[index]
        filled = np.flatnonzero(table.count)
        ends = np.array([clopper_pearson(int(table.n_target[i]), int(table.count[i]), confidence) for i in filled])
        observed = table.observed[filled]
        label = name if math.isnan(error) else f"{name}: ECE {error:.3f}"
        axes.errorbar(
            table.mean_probability[filled], observed, yerr=np.abs(ends.reshape(-1, 2).T - observed), color=colour,
            marker=MARKERS[index], markersize=5, linewidth=1.4, elinewidth=0.8, capsize=2, label=label,
        )  # fmt: skip
        width = 1 / table.count.size / (len(bins) + 0.5)
        below.bar(table.edges[:-1] + (index + 0.75) * width, table.count, width, color=colour)
    _frame(axes, "", f"observed share of {target}", title)
    below.set(xlabel=f"predicted probability of {target}", ylabel="cells", yscale="symlog", xlim=(-0.02, 1.02))
    below.set_ylim(0, 2 * max(1, *(int(table.count.max()) for table, _ in bins.values())))
    below.grid(alpha=0.3)
    figure.legend(loc="outside lower center", fontsize="small", frameon=False)
    return png_bytes(figure)


def _coloured(curves: Sequence[NamedCurve]) -> list[tuple[NamedCurve, str]]:
    """Each curve with its colour: models get one each, folds and baselines are grey."""
    coloured, used = [], 0
    for curve in curves:
        colour = GREY
        if curve.kind == "model":
            colour, used = MODEL_COLOURS[used % len(MODEL_COLOURS)], used + 1
        coloured.append((curve, colour))
    return coloured


def _style(curve: NamedCurve, colour: str, label: str) -> dict[str, object]:
    if curve.kind == "fold":
        return {"color": colour, "linewidth": 0.7, "alpha": 0.6, "label": label}
    if curve.kind == "baseline":
        return {"color": colour, "linewidth": 1.4, "linestyle": "--", "label": label}
    return {"color": colour, "linewidth": 2, "label": label}


def _list_undefined(axes: Axes, curve: NamedCurve, colour: str) -> None:
    """Name a baseline that cannot be drawn: a missing line must not look like a forgotten one."""
    if curve.kind == "baseline":
        axes.plot([], [], **_style(curve, colour, f"{curve.name}: undefined"))


def _mark(axes: Axes, x: float, y: float, index: int, colour: str, kind: str, text: str) -> None:
    axes.plot(
        [x], [y], marker=MARKERS[index % len(MARKERS)], linestyle="none", markersize=8, markeredgewidth=1.5,
        markeredgecolor=colour, markerfacecolor="white" if kind == "baseline" else colour, alpha=0.85, label=text,
        zorder=3, clip_on=False,
    )  # fmt: skip


def _fold_label(axes: Axes, curves: Sequence[NamedCurve], area: Literal["AUC", "AP"]) -> str:
    """One entry for all folds, with the range of their areas; matplotlib leaves out those that begin with '_'."""
    areas = [getattr(curve, area.lower()) for curve in curves if curve.kind == "fold"]
    areas = [value for value in areas if not math.isnan(value)]
    label = f"{len(areas)} folds: {area} {min(areas):.3f} to {max(areas):.3f}"
    return f"_{label}" if label in axes.get_legend_handles_labels()[1] else label


def _auc_text(curve: NamedCurve) -> str:
    if curve.auc_interval is None:
        return f"{curve.auc:.3f}"
    return f"{curve.auc:.3f} ({curve.auc_interval[0]:.3f} to {curve.auc_interval[1]:.3f})"


def _mark_text(name: str, threshold: float) -> str:
    return f"{name} (>= {threshold:.3g})"


def _share_of_target(curve: ScoreCurve) -> float:
    return curve.n_target / max(curve.n_target + curve.n_rest, 1)


def _share(part: int, whole: int) -> str:
    return f"{part}/{whole}"


def _frame(axes: Axes, x_label: str, y_label: str, title: str) -> None:
    axes.set(xlabel=x_label, ylabel=y_label, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    if title:
        axes.set_title(title, fontsize="medium")
    axes.grid(alpha=0.3)


def _say_undefined(axes: Axes, drawn: bool, curves: Sequence[NamedCurve], what: str) -> None:
    if drawn or not curves:
        return
    one = curves[0].curve
    text = f"no {what}:\n{one.n_target} target cells, {one.n_rest} others"
    box = {"facecolor": "white", "edgecolor": "none"}
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize="large", bbox=box)


def _legend_below(axes: Axes) -> None:
    """Outside of the picture, where it hides no curve."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), fontsize="small", frameon=False)
