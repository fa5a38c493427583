"""Maps as a picture: one panel a layer, as Figure 8 of ssd-attention-fusion-2022."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ctc_mm.evaluation.output import new_figure, png_bytes
from ctc_mm.explain.features_table import FeatureTable
from ctc_mm.explain.map_view import Background, Panel, colours_of, drawing_order

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANEL_INCHES, LEGEND_INCHES = 4.4, 0.7
# Area of a marker in square points: small where there are many.
LARGEST_MARKER, SMALLEST_MARKER = 36.0, 5.0
RING_COLOUR = "#000000"


def map_png(panels: Sequence[Panel], table: FeatureTable, title: str) -> bytes:
    """Draw maps side by side.

    Categories by colour, copies hollow, misjudged samples ringed in black. Axes have no ticks: only who is near whom
    means something. Samples of a saved map are pale dots behind the new ones.

    Args:
        panels: one a layer, all of the table's samples.
        table: the samples.
        title: over all.

    Returns:
        PNG; the same maps give the same bytes.
    """
    columns = math.ceil(math.sqrt(len(panels)))
    rows = math.ceil(len(panels) / columns)
    figure = new_figure(max(columns * PANEL_INCHES, 6.0), rows * PANEL_INCHES + LEGEND_INCHES + 0.4)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for number, axis in enumerate(axes):
        if number < len(panels):
            _draw_panel(axis, panels[number], table, string.ascii_uppercase[number % 26] if len(panels) > 1 else "")
        else:
            axis.set_axis_off()
    figure.suptitle(plain(title), fontsize=12)
    entries = _legend(table, panels[0].background)
    figure.legend(handles=entries, loc="outside lower center", ncols=min(len(entries), 4), frameon=False, fontsize=9)
    return png_bytes(figure)


def plain(text: str) -> str:
    """Text as matplotlib shows it unchanged: a dollar sign would start a formula."""
    return text.replace("$", r"\$")


def _draw_panel(axis: Axes, panel: Panel, table: FeatureTable, letter: str) -> None:
    colours = np.array(colours_of(table.categories))
    size = float(np.clip(12_000 / max(len(table), 1), SMALLEST_MARKER, LARGEST_MARKER))
    if panel.background is not None:
        points, labels = panel.background.coordinates, panel.background.labels
        axis.scatter(*points.T, s=SMALLEST_MARKER, c=colours[labels], alpha=0.18, linewidths=0, rasterized=True)
    order = drawing_order(table)
    for hollow in (False, True):
        chosen = order[table.is_copy[order] == hollow]
        colour = colours[table.labels[chosen]]
        style: dict[str, Any] = (
            dict(facecolors="none", edgecolors=colour, linewidths=0.7)
            if hollow
            else dict(c=colour, alpha=0.85, linewidths=0)
        )
        axis.scatter(*panel.coordinates[chosen].T, s=size, **style)
    wrong = np.array([point.misjudged for point in table.points], dtype=bool)
    axis.scatter(*panel.coordinates[wrong].T, s=size * 2.2, facecolors="none", edgecolors=RING_COLOUR, linewidths=0.6)
    axis.set_aspect("equal", adjustable="datalim")
    axis.set_xticks([])
    axis.set_yticks([])
    kind = "map's KL divergence" if panel.background is not None else "KL divergence"
    axis.set_title(plain(f"{letter}  {panel.name}, {kind} {panel.kl_divergence:.3f}".strip()), fontsize=10)


def _legend(table: FeatureTable, background: Background | None) -> list[Any]:
    from matplotlib.lines import Line2D

    def entry(words: str, **style: Any) -> Line2D:
        return Line2D([], [], linestyle="none", marker="o", label=plain(words), **style)

    colours = colours_of(table.categories)
    entries = [
        entry(f"{name} ({count})", color=colour)
        for (name, count), colour in zip(table.counts().items(), colours, strict=True)
    ]
    copies = int(table.is_copy.sum())
    wrong = sum(point.misjudged for point in table.points)
    hollow = dict(markerfacecolor="none")
    if copies:
        entries.append(entry(f"augmented copy ({copies})", markeredgecolor="#444444", **hollow))
    if wrong:
        entries.append(entry(f"misjudged ({wrong})", markeredgecolor=RING_COLOUR, markersize=9, **hollow))
    if background is not None:
        entries.append(entry(f"saved map ({len(background.labels)})", color="#999999", markersize=3, alpha=0.5))
    return entries
