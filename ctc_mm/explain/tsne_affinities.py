"""The two sides that t-SNE brings together: how near samples are to each other, and how well a map says so.

One definition for every implementation: exact neighbours, one matrix P, one Kullback-Leibler divergence (van der Maaten
and Hinton 2008; van der Maaten 2014 for P over 3 x perplexity neighbours). What two implementations report can so be
compared, and the number of threads changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_matrix

# Distances that are held at once.
BLOCK_VALUES = 2**22
# A perplexity is met to this many parts; the bisection halves its interval each time.
ENTROPY_TOLERANCE, MOST_BISECTIONS = 1e-7, 80


def distance_blocks(points: np.ndarray, others: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Squared Euclidean distances a block of rows at a time.

    Args:
        points: float64 (N, D).
        others: float64 (M, D).

    Yields:
        The number of the block's first row, and float64 (rows, M); the largest block holds ``BLOCK_VALUES``.
    """
    norms = np.einsum("ij,ij->i", others, others)
    rows = max(1, BLOCK_VALUES // max(len(others), 1))
    for start in range(0, len(points), rows):
        block = points[start : start + rows]
        squares = np.einsum("ij,ij->i", block, block)[:, None] + norms - 2.0 * (block @ others.T)
        yield start, np.maximum(squares, 0.0)


def nearest_neighbours(points: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest other samples of each sample, exactly, and how far they are.

    Args:
        points: (N, D).
        k: 1 to N - 1.

    Returns:
        int64 (N, k) and float64 (N, k), nearest first; equal distances by index.

    Raises:
        ValueError: ``k`` is not 1 to N - 1.
    """
    if not 1 <= k < len(points):
        raise ValueError(f"`k` must be 1 to {len(points) - 1} among {len(points)} samples; received {k}")
    points = points.astype(np.float64)
    indices = np.empty((len(points), k), np.int64)
    distances = np.empty((len(points), k))
    for start, squares in distance_blocks(points, points):
        rows = np.arange(len(squares))
        squares[rows, start + rows] = np.inf
        nearest = np.sort(np.argpartition(squares, k - 1, axis=1)[:, :k], axis=1)
        # Once more without the cancellation of |a|^2 + |b|^2 - 2ab: equal samples are at distance 0.
        for row, chosen in zip(rows, nearest, strict=True):
            exact = np.sqrt(np.square(points[chosen] - points[start + row]).sum(axis=1))
            order = np.argsort(exact, kind="stable")
            indices[start + row], distances[start + row] = chosen[order], exact[order]
    return indices, distances


def joint_probabilities(indices: np.ndarray, distances: np.ndarray, perplexity: float) -> csr_matrix:
    """P: how probable it is that two samples pick each other as neighbours.

    Each sample's Gaussian is as wide as the perplexity asks (2 to the power of its entropy); then p_ij is the mean of
    both directions over all samples, so that P sums to 1.

    Args:
        indices: int (N, k) neighbours.
        distances: (N, k) of them.
        perplexity: above 0 and below k.

    Returns:
        float64 (N, N), symmetric, empty diagonal.
    """
    count, k = indices.shape
    conditional = conditional_probabilities(distances, perplexity)
    matrix = csr_matrix((conditional.ravel(), indices.ravel(), np.arange(0, count * k + 1, k)), shape=(count, count))
    joint = (matrix + matrix.T).tocsr()
    joint.sort_indices()
    return joint / joint.sum()


def conditional_probabilities(distances: np.ndarray, perplexity: float) -> np.ndarray:
    """Rows of Gaussian weights of the wanted perplexity, found by bisection on the Gaussian's precision.

    Where the perplexity cannot be met, since more neighbours than that are at one distance, they share the weight.

    Args:
        distances: float64 (N, k), ascending.
        perplexity: above 0 and below k.

    Returns:
        float64 (N, k), each row sums to 1.
    """
    # Relative to the nearest, and to the row's own spread: neither offset nor scale can overflow the exponential.
    squares = np.square(distances) - np.square(distances[:, :1])
    spread = squares.mean(axis=1, keepdims=True)
    squares = np.divide(squares, spread, out=np.zeros_like(squares), where=spread > 0)
    wanted = np.log(perplexity)
    precision = np.ones((len(distances), 1))
    low, high = np.zeros_like(precision), np.full_like(precision, np.inf)
    for _ in range(MOST_BISECTIONS):
        weights = np.exp(-precision * squares)
        total = weights.sum(axis=1, keepdims=True)
        entropy = np.log(total) + precision * (weights * squares).sum(axis=1, keepdims=True) / total
        too_wide = entropy > wanted
        low, high = np.where(too_wide, precision, low), np.where(too_wide, high, precision)
        if np.abs(entropy - wanted).max() < ENTROPY_TOLERANCE:
            break
        grown = np.minimum(precision * 2, 1e12)
        precision = np.where(np.isinf(high), grown, (low + np.where(np.isinf(high), 0, high)) / 2)
    return weights / total


def kl_divergence(joint: csr_matrix, coordinates: np.ndarray) -> float:
    """Kullback-Leibler divergence of a map from P, in nats, without any approximation of the map's own Q.

    Args:
        joint: (N, N) from :func:`joint_probabilities`.
        coordinates: (N, 2) of the map.
    """
    points = np.asarray(coordinates, dtype=np.float64)
    normaliser = sum(float((1.0 / (1.0 + squares)).sum()) for _, squares in distance_blocks(points, points))
    normaliser -= len(points)  # a sample's similarity to itself
    pairs = joint.tocoo()
    kept = pairs.data > 0
    first, second, p = pairs.row[kept], pairs.col[kept], pairs.data[kept]
    squares = np.square(points[first] - points[second]).sum(axis=1)
    return float((p * (np.log(p) + np.log1p(squares) + np.log(normaliser))).sum())
