"""Maps of several layers of one set of samples, with figures of how far each can be believed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ctc_mm.evaluation.output import json_number
from ctc_mm.explain.features_table import FeatureTable
from ctc_mm.explain.tsne import (
    NothingToMapError,
    TSNEMap,
    TSNEOptions,
    check_features,
    embed_tsne,
    place_samples,
    reason_not_to_map,
)
from ctc_mm.explain.tsne_quality import (
    agreement,
    neighbour_count,
    neighbour_preservation,
    silhouette_by_class,
    silhouettes,
    trustworthiness,
)

AGREEMENT_NEIGHBOURS = 15
# More groups than this are single images rather than patients.
MOST_GROUPS = 200


@dataclass(frozen=True)
class LayerMap:
    """The map of one layer.

    Attributes:
        name: of the layer.
        tsne: the map.
        quality: figures by name (:func:`map_quality`); empty where the map was read from a file.
    """

    name: str
    tsne: TSNEMap
    quality: Mapping[str, Any]


@dataclass(frozen=True)
class PlacedLayer:
    """New samples in the map of one layer.

    Attributes:
        name: of the layer.
        coordinates: float64 (M, 2).
        quality: ``agreement`` by class and ``all``: the mean share of the nearest samples of the map, ``neighbours`` of
            them, that have the new sample's class.
    """

    name: str
    coordinates: np.ndarray
    quality: Mapping[str, Any]


def map_layers(
    table: FeatureTable, options: TSNEOptions, track: Callable[[Iterable[Any]], Iterable[Any]] = iter
) -> tuple[tuple[LayerMap, ...], tuple[str, ...]]:
    """Make the map of every layer of a table.

    Args:
        table: the samples.
        options: of t-SNE.
        track: wraps the loop over layers, for a progress bar.

    Returns:
        The maps; and what the reader should know: layers without a map (a dead one, say) with the reason, notes of
        each map.

    Raises:
        NothingToMapError: no layer has a map; the message says why for each.
        ValueError: a layer with NaN.
    """
    maps: list[LayerMap] = []
    notes: list[str] = list(table.notes)
    reasons = []
    for name, features in track(list(table.features.items())):
        try:
            reason = reason_not_to_map(check_features(features))
        except ValueError as error:
            raise ValueError(f"layer {name}: {error}") from error
        if reason:
            reasons.append(f"layer {name}: {reason}")
            continue
        tsne = embed_tsne(features, options)
        groups = [point.group for point in table.points]
        maps.append(LayerMap(name, tsne, map_quality(tsne, table.labels, table.categories, groups)))
        notes += [f"layer {name}: {note}" for note in tsne.notes]
    if not maps:
        raise NothingToMapError(f"t-SNE has nothing to draw: {'; '.join(reasons)}")
    return tuple(maps), (*notes, *(f"no map of {reason}" for reason in reasons))


def map_quality(
    tsne: TSNEMap, labels: np.ndarray, categories: tuple[str, ...], groups: Sequence[str] = ()
) -> dict[str, Any]:
    """Figures of a map for JSON; None stands for what is not defined (silhouette of one class).

    ``kl_divergence`` (nats), ``perplexity``, ``neighbour_preservation`` and ``trustworthiness`` over ``neighbours``
    nearest neighbours, ``silhouette_map`` and ``silhouette_features`` by class and for all, ``silhouette_groups`` in
    the features, ``variance_kept`` by PCA. Features are those whose distances t-SNE took.

    Args:
        tsne: the map.
        labels: int (N,).
        categories: names of the labels.
        groups: patient or raw image of each sample, "" where it is not known. Where groups are further apart than
            classes, the layer holds how an image was taken rather than what it shows.
    """
    count = len(tsne.coordinates)
    return {
        "samples": count,
        "kl_divergence": tsne.kl_divergence,
        "perplexity": tsne.perplexity,
        "variance_kept": tsne.projection.explained,
        "neighbours": neighbour_count(count),
        "neighbour_preservation": json_number(neighbour_preservation(tsne.features, tsne.coordinates)),
        "trustworthiness": json_number(trustworthiness(tsne.features, tsne.coordinates)),
        "silhouette_map": _by_class(silhouette_by_class(tsne.coordinates, labels, categories)),
        "silhouette_features": _by_class(silhouette_by_class(tsne.features, labels, categories)),
        "silhouette_groups": _silhouette_of_groups(tsne.features, groups),
    }


def place_layers(
    maps: Mapping[str, TSNEMap], map_labels: np.ndarray, table: FeatureTable
) -> tuple[tuple[PlacedLayer, ...], tuple[str, ...]]:
    """Place new samples into the saved map of every layer.

    Args:
        maps: by layer.
        map_labels: int (N,), class of the maps' samples.
        table: the new samples, with the features of all these layers.

    Returns:
        One entry a layer, and the table's notes.

    Raises:
        ValueError: features that do not fit a map, or are not finite; no new sample.
    """
    if not len(table):
        raise ValueError("t-SNE: no new sample to place; the data set (or the detector's boxes) is empty")
    # A rare class cannot have more neighbours than samples.
    neighbours = min(AGREEMENT_NEIGHBOURS, int(np.unique(map_labels, return_counts=True)[1].min()))
    placed = []
    for name, tsne in maps.items():
        try:
            coordinates = place_samples(tsne, table.features[name])
        except ValueError as error:
            raise ValueError(f"layer {name}: {error}") from error
        shares = agreement(tsne.coordinates, map_labels, coordinates, table.labels, neighbours)
        by_class = {
            category: float(shares[table.labels == number].mean())
            for number, category in enumerate(table.categories)
            if (table.labels == number).any()
        }
        quality = {
            "samples": len(table),
            "neighbours": neighbours,
            "agreement": {**by_class, "all": float(shares.mean())},
        }
        placed.append(PlacedLayer(name, coordinates, quality))
    return tuple(placed), table.notes


def _silhouette_of_groups(features: np.ndarray, groups: Sequence[str]) -> float | None:
    """Mean silhouette of groups; None unless all samples have one, and there are 2 to ``MOST_GROUPS``."""
    numbers = np.unique(np.asarray(groups, dtype=np.str_), return_inverse=True)[1]
    if len(numbers) != len(features) or "" in groups or not 2 <= len(set(numbers.tolist())) <= MOST_GROUPS:
        return None
    return float(silhouettes(features, numbers).mean())


def _by_class(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: json_number(value) for name, value in values.items()}
