"""Maps on disk: picture, table, page and figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctc_mm.evaluation.output import csv_text
from ctc_mm.explain.features_table import FeatureTable
from ctc_mm.explain.map_html import map_html
from ctc_mm.explain.map_plot import map_png
from ctc_mm.explain.map_view import Panel
from ctc_mm.formats.files import atomic_write_bytes, atomic_write_text, write_json

POINT_COLUMNS = (
    "cell_id", "channel", "group", "source", "path", "x0", "y0", "x1", "y1", "copy_index", "label", "predicted",
    "score", "misjudged",
)  # fmt: skip


@dataclass(frozen=True)
class MapFiles:
    """Where maps were written, and what to tell of them."""

    folder: Path
    metrics: Mapping[str, Any]

    def lines(self) -> list[str]:
        """For a terminal or a log: counts, one line a layer, notes, the folder."""
        counts = ", ".join(f"{count} {name}" for name, count in self.metrics["samples"].items())
        copies = f", {self.metrics['copies']} of them augmented copies" if self.metrics["copies"] else ""
        layers = [f"{name}: {_in_words(figures)}" for name, figures in self.metrics["layers"].items()]
        return [f"t-SNE of {counts}{copies}", *layers, *self.metrics["notes"], f"results: {self.folder}"]


def write_maps(
    out_dir: str | Path,
    panels: Sequence[Panel],
    table: FeatureTable,
    quality: Mapping[str, Mapping[str, Any]],
    *,
    title: str,
    notes: Sequence[str],
    setting: Mapping[str, Any],
) -> MapFiles:
    """Write ``tsne.png``, ``tsne.html``, ``tsne.csv`` and ``metrics.json``; the same maps give the same bytes.

    Args:
        out_dir: made if it is not there.
        panels: one a layer.
        table: their samples; one row each in the table, with ``<layer>_x``, ``<layer>_y``.
        quality: figures by layer.
        title: over picture and page.
        notes: what the reader should know.
        setting: how the maps were made, for ``metrics.json``.
    """
    out_dir = Path(out_dir)
    metrics = {
        "title": title,
        "samples": table.counts(),
        "copies": int(table.is_copy.sum()),
        "misjudged": sum(point.misjudged for point in table.points),
        "setting": dict(setting),
        "layers": {name: dict(figures) for name, figures in quality.items()},
        "notes": list(notes),
    }
    atomic_write_bytes(out_dir / "tsne.png", map_png(panels, table, title))
    atomic_write_text(out_dir / "tsne.html", map_html(panels, table, title, notes))
    header = [*POINT_COLUMNS, *(f"{panel.name}_{axis}" for panel in panels for axis in "xy")]
    atomic_write_text(out_dir / "tsne.csv", csv_text(header, _rows(panels, table)))
    write_json(out_dir / "metrics.json", metrics)
    return MapFiles(out_dir, metrics)


def _rows(panels: Sequence[Panel], table: FeatureTable) -> Iterator[list[str | int | float]]:
    for number, point in enumerate(table.points):
        box = point.box_xyxy if point.box_xyxy is not None else ("",) * 4
        row = [point.cell_id, point.channel, point.group, point.source, point.path, *box, point.copy_index]
        row += [table.categories[point.category], point.predicted or "", "" if point.score is None else point.score]
        row.append(int(point.misjudged))
        yield row + [float(value) for panel in panels for value in panel.coordinates[number]]


def _in_words(figures: Mapping[str, Any]) -> str:
    if "agreement" in figures:
        return f"{figures['agreement']['all']:.3f} of the neighbours in the map have the new cell's class"
    words = [f"KL divergence {figures['kl_divergence']:.3f}"]
    silhouette = figures["silhouette_features"]["all"]
    for name, value in (
        ("neighbours kept", figures["neighbour_preservation"]),
        ("trustworthiness", figures["trustworthiness"]),
        ("silhouette of the classes in the features", silhouette),
    ):
        words.append(f"{name} {'not defined' if value is None else format(value, '.3f')}")
    if figures["silhouette_groups"] is not None:
        words.append(f"of the groups {figures['silhouette_groups']:.3f}")
    return ", ".join(words)
