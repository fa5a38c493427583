"""Pictures of a cross-validation: ROC of folds, their mean and the pool; precision-recall; learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ctc_mm.engine.cross_validation.statistics import MeanROC
from ctc_mm.engine.curves.learning_curves import Curve, MeanCurve
from ctc_mm.evaluation.binary_figures import GREY, MODEL_COLOURS, NamedCurve
from ctc_mm.evaluation.functional import PRCurve, average_precision
from ctc_mm.evaluation.output import new_figure, png_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BAND = 0.2
MOST_COLUMNS = 3
MOST_MARKED = 30  # epochs with a dot each


def draw_folds_roc(
    folds: Sequence[NamedCurve], mean: MeanROC | None, mean_label: str, others: Sequence[NamedCurve], title: str
) -> bytes:
    """Draw the ROC of each fold (thin), their mean with a band of one SD, and further curves, as PNG.

    Args:
        folds: each fold's curve; those without both classes are left out.
        mean: vertical mean; None where no fold has a curve.
        mean_label: of the mean, for the legend.
        others: the pool, and the size-only baseline.
        title: above all.
    """
    figure = new_figure(6, 6.4)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":", label="chance: AUC 0.500")
    for curve in folds:
        if not np.isnan(curve.auc):
            axes.plot([0.0, *curve.curve.fpr], [0.0, *curve.curve.sensitivity], color=GREY, linewidth=0.7, alpha=0.6)
    if mean is not None:
        colour = MODEL_COLOURS[0]
        axes.plot(mean.fpr, mean.mean, color=colour, linewidth=2, label=mean_label)
        _band(axes, mean.fpr, mean.mean, mean.sd, colour, limits=(0.0, 1.0))
    for curve, colour, dash in zip(others, (MODEL_COLOURS[1], GREY), ("-", "--"), strict=False):
        if not np.isnan(curve.auc):
            line = [0.0, *curve.curve.fpr], [0.0, *curve.curve.sensitivity]
            label = f"{curve.name}: AUC {curve.auc:.3f}"
            axes.plot(*line, color=colour, linewidth=1.6, linestyle=dash, label=label)
    _unit_square(axes, "false-positive rate (1 - specificity)", "sensitivity", title)
    return png_bytes(figure)


def draw_folds_pr(folds: Mapping[str, Sequence[PRCurve]], pooled: Mapping[str, PRCurve], title: str) -> bytes:
    """Draw a detector's precision-recall curves as PNG: each fold thin, the pool thick, a colour a class."""
    figure = new_figure(6, 6.4)
    axes = figure.add_subplot()
    for index, (name, curve) in enumerate(pooled.items()):
        colour = MODEL_COLOURS[index % len(MODEL_COLOURS)]
        for one in folds[name]:
            if one.n_truth:
                axes.plot(*_pr_line(one), color=colour, linewidth=0.6, alpha=0.5)
        if curve.n_truth:
            label = f"{name}, all folds: AP50 {average_precision(curve):.3f} (n={curve.n_truth})"
            axes.plot(*_pr_line(curve), color=colour, linewidth=2, label=label)
    _unit_square(axes, "recall", "precision", title)
    return png_bytes(figure)


def _pr_line(curve: PRCurve) -> tuple[list[float], list[float]]:
    return [0.0, *curve.recall], [*curve.precision[:1], *curve.precision] or [0.0]


def draw_learning(folds: Sequence[Mapping[str, Curve]], means: Mapping[str, MeanCurve], names: Sequence[str]) -> bytes:
    """Draw learning curves as PNG: each fold thin, the mean thick, a band of one SD.

    Args:
        folds: of each fold, see ``read_curves``.
        means: see ``mean_curves``.
        names: which of them, side by side.
    """
    names = list(names)[:MOST_COLUMNS]
    label = "mean of folds" if len(folds) > 1 else "its only fold"
    figure = new_figure(4.2 * len(names), 3.6)
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        for fold in folds if len(folds) > 1 else ():
            if name in fold:
                axes.plot(list(fold[name]), list(fold[name].values()), color=GREY, linewidth=0.7, alpha=0.6)
        curve, colour = means[name], MODEL_COLOURS[0]
        epochs, mean = np.array(curve.epochs), np.array(curve.mean)
        marker = "." if len(epochs) < MOST_MARKED else ""
        axes.plot(epochs, mean, color=colour, linewidth=2, marker=marker, label=label)
        _band(axes, epochs, mean, np.array(curve.sd), colour)
        where = "training" if name == "loss" else "validation"
        axes.set(xlabel="epoch", ylabel=name.removeprefix("ctc/"))
        axes.set_title(f"{name.removeprefix('ctc/')} ({where})", fontsize="medium")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    return png_bytes(figure)


def _band(
    axes: Axes,
    x: np.ndarray,
    mean: np.ndarray,
    sd: np.ndarray,
    colour: str,
    limits: tuple[float, float] = (-np.inf, np.inf),
) -> None:
    """One standard deviation to either side, where there is one, as far as the value can go."""
    if np.isfinite(sd).any():
        low, high = np.clip(mean - sd, *limits), np.clip(mean + sd, *limits)
        axes.fill_between(x, low, high, where=np.isfinite(sd), color=colour, alpha=BAND, linewidth=0,
                          label="± 1 SD over folds")  # fmt: skip


def _unit_square(axes: Axes, x_label: str, y_label: str, title: str) -> None:
    axes.set(xlabel=x_label, ylabel=y_label, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set_title(title, fontsize="medium")
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), fontsize="small", frameon=False)
