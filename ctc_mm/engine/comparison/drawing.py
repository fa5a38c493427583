"""The picture of a comparison: a panel a figure, a bar a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ctc_mm.evaluation.binary_figures import GREY, MODEL_COLOURS
from ctc_mm.evaluation.output import new_figure, png_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = {"mAP50": "mAP50", "mAP": "mAP (COCO)", "f1@frozen": "F1, all classes"}
BAR_HEIGHT_IN, PANEL_WIDTH_IN, FRAME_IN = 0.32, 3.2, 1.2


def draw_comparison(rows: Sequence[Mapping[str, Any]], baseline: str, grouped: bool) -> bytes:
    """Draw accuracy and speed of every model as PNG.

    Args:
        rows: ``models`` of ``comparison.json``; the first is on top.
        baseline: its name is marked.
        grouped: intervals are over patients or slides instead of images.
    """
    has_speed = any((row["speed"] or {}).get("fps_batch_1") is not None for row in rows)
    figure = new_figure(PANEL_WIDTH_IN * (len(PANELS) + has_speed) + 1.5, FRAME_IN + BAR_HEIGHT_IN * max(len(rows), 2))
    panels = np.atleast_1d(figure.subplots(1, len(PANELS) + has_speed, sharey=True))
    for axes, (key, title) in zip(panels, PANELS.items(), strict=False):
        for place, row in enumerate(rows):
            _bar(axes, place, row["figures"].get(key), row["name"] == baseline)
        axes.set_title(title, fontsize="medium")
        axes.set_xlim(0.0, 1.0)
    if has_speed:
        fps = [(row["speed"] or {}).get("fps_batch_1") or 0.0 for row in rows]
        panels[-1].barh(range(len(rows)), fps, color=[_colour(row["name"] == baseline) for row in rows], alpha=0.7)
        for place, value in enumerate(fps):
            panels[-1].text(0.02 * max(fps), place, f"{value:.1f}" if value else "-", va="center", fontsize="small")
        panels[-1].set_title("images per second, batch 1", fontsize="medium")
    panels[0].set_yticks(range(len(rows)), [row["name"] for row in rows])
    panels[0].invert_yaxis()
    for axes in panels:
        axes.grid(axis="x", alpha=0.3)
        axes.set_axisbelow(True)
    drawn = "patients or slides" if grouped else "test images"
    figure.supxlabel(f"bars: mean over seeds; dots: seeds; lines: 95 % interval over {drawn}", fontsize="small")
    return png_bytes(figure)


def _colour(is_baseline: bool) -> str:
    return GREY if is_baseline else MODEL_COLOURS[0]


def _bar(axes: Axes, place: int, one: Mapping[str, Any] | None, is_baseline: bool) -> None:
    if one is None or one["mean"] is None:
        return
    axes.barh(place, one["mean"], color=_colour(is_baseline), alpha=0.7)
    axes.text(0.02, place, f"{one['mean']:.3f}", va="center", fontsize="small")  # close bars are told by their numbers
    if one["interval"] is not None:
        axes.plot(one["interval"], [place, place], color="black", linewidth=1.2)
    values = [value for value in one["values"] if value is not None]
    axes.plot(values, [place] * len(values), ".", color="black", markersize=4)
