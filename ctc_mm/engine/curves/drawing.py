"""Picture of trainings: losses and validation figures by epoch (ssd-attention-fusion-2022, Figure 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ctc_mm.engine.curves.collect import TrainedRun, by_model
from ctc_mm.engine.curves.learning_curves import LOSS, Curve, MeanCurve, mean_curves
from ctc_mm.engine.hooks.validation_loss_hook import VALIDATION_LOSS
from ctc_mm.evaluation.output import new_figure, png_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BAND = 0.2
MOST_COLUMNS = 3
LETTER_IN, HANDLE_IN = 0.075, 0.6  # of an entry of the legend
MOST_MARKED = 30  # epochs with a dot each
WIDE_LOSSES = 30.0  # losses further apart than this, as those of different models may be, get a logarithmic axis
TITLES = {LOSS: "training loss", VALIDATION_LOSS: "validation loss"}


def draw_curves(runs: Sequence[TrainedRun], names: Sequence[str], average: bool = False) -> bytes:
    """Draw curves of trainings as PNG, a panel each; the two losses share one, the validation's dashed.

    Args:
        runs: the trainings, a colour each.
        names: of the curves.
        average: draw the mean over the trainings of a model, with a band of one SD (n - 1) where there are several.

    Raises:
        ConfigError: trainings to be averaged that are of different configs.
    """
    panels = [[name] for name in names if name != VALIDATION_LOSS or LOSS not in names]
    if LOSS in names and VALIDATION_LOSS in names:
        panels[names.index(LOSS)].append(VALIDATION_LOSS)
    lines = _means(runs) if average else {_label(run, runs): mean_curves([run.curves]) for run in runs}
    columns = min(len(panels), MOST_COLUMNS)
    rows = -(-len(panels) // columns)
    figure = new_figure(4.6 * columns, 3.6 * rows)
    places = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, panel in zip(places, panels, strict=False):
        _draw_panel(axes, panel, lines)
    for axes in places[len(panels) :]:
        axes.set_axis_off()
    named = {label: line for axes in figure.axes for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    if named:  # one for all panels, where it covers no curve
        fitting = int(figure.get_figwidth() / (LETTER_IN * max(map(len, named)) + HANDLE_IN))
        figure.legend(named.values(), named, loc="outside lower center", ncols=max(fitting, 1), fontsize="small")
    return png_bytes(figure)


def _label(run: TrainedRun, runs: Sequence[TrainedRun]) -> str:
    alone = sum(one.model == run.model for one in runs) == 1
    return run.model if alone or not run.run else f"{run.model} {run.run}"


def _means(runs: Sequence[TrainedRun]) -> dict[str, dict[str, MeanCurve]]:
    models = by_model(runs)
    return {
        name if len(members) == 1 else f"{name} (mean of {len(members)})": mean_curves([one.curves for one in members])
        for name, members in models.items()
    }


def _draw_panel(axes: Axes, panel: Sequence[str], lines: Mapping[str, Mapping[str, MeanCurve]]) -> None:
    for number, (label, curves) in enumerate(lines.items()):
        for name in panel:
            if name in curves:
                is_second = name != panel[0]
                _draw_mean(axes, curves[name], f"C{number % 10}", f"{label}, validation" if is_second else label,
                           "--" if is_second else "-")  # fmt: skip
    if panel[0] in TITLES and _spread(axes) > WIDE_LOSSES:
        axes.set_yscale("log")
    title = TITLES.get(panel[0]) or f"{panel[0].removeprefix('ctc/')} (validation)"
    axes.set(xlabel="epoch", ylabel="loss" if panel[0] in TITLES else panel[0].removeprefix("ctc/"))
    axes.set_title("training and validation loss" if len(panel) > 1 else title, fontsize="medium")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)


def _spread(axes: Axes) -> float:
    """Largest over smallest value drawn; 1 where some are not above 0."""
    drawn = np.concatenate([np.empty(0), *(line.get_ydata() for line in axes.get_lines())])
    drawn = drawn[np.isfinite(drawn)]
    return float(drawn.max() / drawn.min()) if drawn.size and drawn.min() > 0 else 1.0


def _draw_mean(axes: Axes, curve: MeanCurve, colour: str, label: str, style: str) -> None:
    epochs, mean, sd = (np.array(values, float) for values in (curve.epochs, curve.mean, curve.sd))
    marker = "." if len(epochs) < MOST_MARKED else ""
    axes.plot(epochs, mean, style, color=colour, linewidth=1.6, marker=marker, label=label)
    if np.isfinite(sd).any():
        axes.fill_between(epochs, mean - sd, mean + sd, where=np.isfinite(sd), color=colour, alpha=BAND, linewidth=0)


def summary_lines(runs: Sequence[TrainedRun], names: Sequence[str]) -> list[str]:
    """A line for each training: epochs, the last loss, and the best of each validation figure with its epoch."""
    lines = []
    for run in runs:
        epochs = max((epoch for curve in run.curves.values() for epoch in curve), default=0)
        parts = [f"{epochs} epochs"]
        parts += [_told(name, run.curves[name]) for name in names if run.curves.get(name)]
        lines.append(f"{' '.join(filter(None, (run.model, run.run)))}: {', '.join(parts)}")
    return lines


def _told(name: str, curve: Curve) -> str:
    if name.endswith("loss"):
        return f"{name.removeprefix('ctc/')} {curve[max(curve)]:.3f}"
    defined = {epoch: value for epoch, value in curve.items() if np.isfinite(value)}
    if not defined:
        return f"{name.removeprefix('ctc/')} undefined"
    best = max(defined, key=lambda epoch: (defined[epoch], -epoch))
    return f"best {name.removeprefix('ctc/')} {defined[best]:.3f} after epoch {best}"
