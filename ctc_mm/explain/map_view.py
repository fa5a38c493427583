"""What every drawing of maps needs: panels with coordinates, the samples, and colours that all eyes tell apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ctc_mm.explain.features_table import FeatureTable
from ctc_mm.explain.tsne import TSNEMap
from ctc_mm.explain.tsne_maps import LayerMap, PlacedLayer

# Of Okabe and Ito, in an order in which neighbours differ for every kind of colour vision; the target comes first.
PALETTE = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5b5b5b")
LAST_COLOUR = "#5b5b5b"


@dataclass(frozen=True)
class Background:
    """Samples of a saved map, beside which new ones are drawn.

    Attributes:
        coordinates: float64 (M, 2).
        labels: int64 (M,).
    """

    coordinates: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Panel:
    """One map to draw.

    Attributes:
        name: of the layer.
        coordinates: float64 (N, 2), of the table's samples.
        kl_divergence: of the map, nats.
        background: the map's own samples where the table's were placed into it.
    """

    name: str
    coordinates: np.ndarray
    kl_divergence: float
    background: Background | None = None


def colours_of(categories: Sequence[str]) -> tuple[str, ...]:
    """A colour for each category, as ``#rrggbb``; from the seventh on they are grey."""
    return tuple(PALETTE[number] if number < len(PALETTE) else LAST_COLOUR for number in range(len(categories)))


def panels_of_maps(layers: Sequence[LayerMap]) -> tuple[Panel, ...]:
    """Panels of fresh maps."""
    return tuple(Panel(layer.name, layer.tsne.coordinates, layer.tsne.kl_divergence) for layer in layers)


def panels_of_placed(
    placed: Sequence[PlacedLayer], maps: Mapping[str, TSNEMap], map_labels: np.ndarray
) -> tuple[Panel, ...]:
    """Panels of new samples before the saved maps that they were placed into."""
    return tuple(
        Panel(
            layer.name,
            layer.coordinates,
            maps[layer.name].kl_divergence,
            Background(maps[layer.name].coordinates, map_labels),
        )
        for layer in placed
    )


def drawing_order(table: FeatureTable) -> np.ndarray:
    """int64 (N,): common categories first, so that the rare ones lie on top."""
    counts = np.bincount(table.labels, minlength=len(table.categories))
    return np.argsort(-counts[table.labels], kind="stable")
