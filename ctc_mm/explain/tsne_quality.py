"""How far a map can be believed: neighbours kept, neighbours invented, classes apart. NumPy only."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ctc_mm.explain.tsne_affinities import distance_blocks, nearest_neighbours

DEFAULT_NEIGHBOURS = 10


def neighbour_count(count: int, k: int = DEFAULT_NEIGHBOURS) -> int | None:
    """How many neighbours are compared: ``k``, but fewer than half of ``count`` samples; None where there is none.

    Trustworthiness is only scaled to [0, 1] below half (Venna and Kaski 2001).
    """
    fitting = min(k, (count - 1) // 2)
    return fitting if fitting >= 1 else None


def neighbour_preservation(features: np.ndarray, coordinates: np.ndarray, k: int = DEFAULT_NEIGHBOURS) -> float:
    """Share of each sample's k nearest neighbours that are among its k nearest in the map, mean over samples.

    1 is perfect; a random map has ``k / (N - 1)``.

    Args:
        features: (N, D).
        coordinates: (N, 2).
        k: reduced by :func:`neighbour_count`.

    Returns:
        0 to 1; NaN with fewer than 3 samples.
    """
    k = neighbour_count(len(features), k)
    if k is None:
        return math.nan
    before, _ = nearest_neighbours(features, k)
    after, _ = nearest_neighbours(coordinates, k)
    kept = (before[:, :, None] == after[:, None, :]).any(axis=2)
    return float(kept.mean())


def trustworthiness(features: np.ndarray, coordinates: np.ndarray, k: int = DEFAULT_NEIGHBOURS) -> float:
    """How little a map invents: neighbours in the map that were none count by how far off they were.

    Venna and Kaski 2001: 1 - 2 / (N k (2N - 3k - 1)) * the sum of (rank - k) over such neighbours. 1 is perfect.
    Distances are taken a block of samples at a time: 14,000 samples need no more memory than 1,000.

    Args:
        features: (N, D).
        coordinates: (N, 2).
        k: reduced by :func:`neighbour_count`.

    Returns:
        0 to 1; NaN with fewer than 3 samples.
    """
    count = len(features)
    k = neighbour_count(count, k)
    if k is None:
        return math.nan
    points = features.astype(np.float64)
    near, _ = nearest_neighbours(coordinates, k)
    penalty = 0
    for start, squares in distance_blocks(points, points):
        rows = np.arange(len(squares))
        squares[rows, start + rows] = np.inf
        mine = near[start : start + len(squares)]
        for column in range(k):
            rank = (squares < squares[rows, mine[:, column]][:, None]).sum(axis=1) + 1
            penalty += int(np.maximum(rank - k, 0).sum())
    return 1.0 - 2.0 * penalty / (count * k * (2 * count - 3 * k - 1))


def silhouettes(points: np.ndarray, labels: Sequence[int]) -> np.ndarray:
    """Silhouette of each sample (Rousseeuw 1987): how much nearer its own class is than the nearest other one.

    Args:
        points: (N, D).
        labels: int (N,).

    Returns:
        float64 (N,), -1 to 1; 0 for the only sample of its class; NaN where there are fewer than two classes.
    """
    labels = np.asarray(labels)
    classes, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(classes) < 2:
        return np.full(len(labels), math.nan)
    points = points.astype(np.float64)
    member = np.eye(len(classes))[index]
    result = np.empty(len(labels))
    for start, squares in distance_blocks(points, points):
        rows = np.arange(len(squares))
        squares[rows, start + rows] = 0.0
        sums = np.sqrt(squares) @ member
        own = index[start : start + len(squares)]
        inside = sums[rows, own] / np.maximum(counts[own] - 1, 1)
        means = sums / counts
        means[rows, own] = np.inf
        outside = means.min(axis=1)
        largest = np.maximum(inside, outside)
        value = np.divide(outside - inside, largest, out=np.zeros_like(largest), where=largest > 0)
        result[start : start + len(squares)] = np.where(counts[own] > 1, value, 0.0)
    return result


def silhouette_by_class(points: np.ndarray, labels: Sequence[int], names: Sequence[str]) -> dict[str, float]:
    """Mean silhouette of each class that has samples, and of ``all``; NaN where there are fewer than two classes."""
    labels = np.asarray(labels)
    values = silhouettes(points, labels)
    means = {name: values[labels == number] for number, name in enumerate(names)}
    means["all"] = values
    return {name: float(one.mean()) for name, one in means.items() if len(one)}


def agreement(
    coordinates: np.ndarray, labels: Sequence[int], new: np.ndarray, new_labels: Sequence[int], k: int
) -> np.ndarray:
    """Share of the k nearest samples of a map that have a new sample's class.

    Args:
        coordinates: (N, 2) of the map.
        labels: int (N,).
        new: (M, 2), where new samples were placed.
        new_labels: int (M,).
        k: at most N.

    Returns:
        float64 (M,).
    """
    labels, new_labels = np.asarray(labels), np.asarray(new_labels)
    k = min(k, len(labels))
    result = np.empty(len(new))
    for start, squares in distance_blocks(new.astype(np.float64), coordinates.astype(np.float64)):
        nearest = np.argpartition(squares, k - 1, axis=1)[:, :k]
        mine = new_labels[start : start + len(squares), None]
        result[start : start + len(squares)] = (labels[nearest] == mine).mean(axis=1)
    return result
