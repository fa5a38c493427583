"""What the fit of anchors tells: a table, settings to copy, a leaf, a picture."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ctc_mm.datasets.anchors import AnchorLevel, best_grid_iou
from ctc_mm.engine.anchor_fit.boxes import NetworkBoxes
from ctc_mm.engine.anchor_fit.fit import FITTED, OWN, AnchorFit
from ctc_mm.evaluation.binary_figures import GREY, MODEL_COLOURS
from ctc_mm.evaluation.output import new_figure, png_bytes
from ctc_mm.formats.files import atomic_write_text

MOST_DRAWN = 3000
COLOURS = {OWN: GREY, FITTED: MODEL_COLOURS[1]}
LINES = {OWN: "--", FITTED: "-"}


def report_lines(fit: AnchorFit) -> Iterator[str]:
    """The fit in words and numbers."""
    boxes = fit.boxes
    width, height = boxes.size_wh
    left_out = f" ({boxes.left_out} ignore regions or boxes under a pixel left out)" if boxes.left_out else ""
    yield f"{len(boxes.labels)} boxes of {boxes.images} images at {width} x {height} px{left_out}"
    shapes = ", ".join(f"{w:.0f} x {h:.0f}" for w, h in fit.shapes_wh)
    yield f"k-means on 1 - IoU, {len(fit.shapes_wh)} shapes: {shapes} px; mean best IoU {fit.shape_mean_iou:.3f}"
    for split, by_name in fit.coverage.items():
        yield ""
        yield f"{split}: share of boxes with an anchor of IoU >= {fit.iou_threshold:g}, and mean best IoU"
        yield f"{'':10s} {'class':14s} {'boxes':>6s} {'by shape':>15s} {'on the grid':>15s}"
        for name, rows in by_name.items():
            for row in rows:
                shape = _shown(row.shape_recall, row.shape_mean_iou)
                grid = _shown(row.grid_recall, row.grid_mean_iou)
                yield f"{name:10s} {row.name:14s} {row.boxes:6d} {shape:>15s} {grid:>15s}"
    if fit.settings:
        options = " ".join(f'{fit.key}.{name}="{value}"' for name, value in fit.settings.items())
        yield ""
        yield f"--cfg-options {options}"


def _shown(recall: float, mean_iou: float) -> str:
    return f"{'-':>6s} {'-':>8s}" if np.isnan(recall) else f"{recall:6.1%} {mean_iou:8.3f}"


def write_leaf(path: str | Path, base: str | Path, fit: AnchorFit) -> None:
    """Write a config that is ``base`` with the fitted anchors.

    Args:
        path: of the new config.
        base: the config whose anchors were fitted.
        fit: of its anchors.
    """
    path = Path(path)
    relative = Path(os.path.relpath(Path(base).resolve(), path.resolve().parent)).as_posix()
    node: Any = _keywords(fit.settings)
    for name in reversed(fit.key.split(".")[1:]):
        node = f"dict({name}={node})"
    lines = [f'"""{Path(base).stem} with anchors fitted to its training set."""', "", f"_base_ = {relative!r}", ""]
    atomic_write_text(path, "\n".join([*lines, f"model = {node}", ""]))


def _keywords(settings: dict[str, Any]) -> str:
    inner = ",".join(f"\n    {name}={value!r}" for name, value in settings.items())
    return f"dict({inner})"


def draw_fit(fit: AnchorFit) -> bytes:
    """Draw boxes and anchors by width and height, and the recall by IoU, as PNG."""
    columns = 2 if fit.levels else 1
    figure = new_figure(5.6 * columns, 5)
    axes = np.atleast_1d(figure.subplots(1, columns))
    _draw_sizes(axes[0], fit)
    if fit.levels:
        _draw_recall(axes[1], fit.boxes, fit.levels)
    return png_bytes(figure)


def _draw_sizes(axes: Any, fit: AnchorFit) -> None:
    boxes = fit.boxes
    chosen = np.random.default_rng(0).permutation(len(boxes.labels))[:MOST_DRAWN]  # the picture's, not the fit's
    for index, name in enumerate(boxes.classes):
        sizes = boxes.sizes_wh[chosen][boxes.labels[chosen] == index]
        axes.scatter(*sizes.T, s=5, alpha=0.35, linewidths=0, color=f"C{index}", label=name)
    if fit.levels:
        for name, marker in ((OWN, "s"), (FITTED, "X")):
            sizes = np.vstack([level.sizes_wh for level in fit.levels[name]])
            axes.scatter(*sizes.T, s=34, marker=marker, color=COLOURS[name], edgecolors="white", linewidths=0.6,
                         label=f"anchors, {name}")  # fmt: skip
    else:
        axes.scatter(*fit.shapes_wh.T, s=34, marker="X", color=COLOURS[FITTED], edgecolors="white", linewidths=0.6,
                     label="k-means")  # fmt: skip
    low, high = boxes.sizes_wh.min(), boxes.sizes_wh.max()
    axes.set(xscale="log", yscale="log", xlabel="width (px of the network's input)", ylabel="height (px)",
             xlim=(low / 1.3, high * 1.3), ylim=(low / 1.3, high * 1.3))  # fmt: skip
    axes.set_title("boxes and anchors", fontsize="medium")
    axes.grid(alpha=0.3, which="both", linewidth=0.4)
    axes.legend(fontsize="small")


def _draw_recall(axes: Any, boxes: NetworkBoxes, levels: dict[str, list[AnchorLevel]]) -> None:
    thresholds = np.linspace(0, 1, 101)
    for name, laid in levels.items():
        best = best_grid_iou(boxes.boxes_xyxy, laid)
        for index, label in enumerate(boxes.classes):
            of_class = np.sort(best[boxes.labels == index])
            if len(of_class):
                share = 1 - np.searchsorted(of_class, thresholds) / len(of_class)
                axes.plot(thresholds, share, LINES[name], color=f"C{index}", linewidth=1.6, label=f"{label}, {name}")
    axes.set(xlabel="IoU with the best anchor on its grid", ylabel="share of boxes", xlim=(0, 1), ylim=(0, 1.02))
    axes.set_title("recall of the anchors", fontsize="medium")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
