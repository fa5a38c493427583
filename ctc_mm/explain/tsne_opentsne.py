"""openTSNE as ctc_mm uses it: fitting a map, and placing new samples into one."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

# van der Maaten's gradient (2008, Eq. 5) has a factor 4, which scikit-learn keeps and openTSNE leaves out.
GRADIENT_FACTOR = 4
# From so many samples on the forces are interpolated on a grid (FIt-SNE), before that taken from a tree (Barnes-Hut).
INTERPOLATE_FROM = 10_000
# A new sample is drawn to its neighbours in the map alone: openTSNE's own defaults.
PLACING_PERPLEXITY, PLACING_START_NEIGHBOURS = 5, 25


def fit(
    joint: csr_matrix,
    start: np.ndarray,
    *,
    learning_rate: float | str,
    iterations: int,
    early_iterations: int,
    early_exaggeration: float,
    exact: bool,
    jobs: int,
) -> np.ndarray:
    """Move the samples of a map until it fits P.

    Args:
        joint: (N, N), what :func:`ctc_mm.explain.tsne_affinities.joint_probabilities` gives.
        start: float64 (N, 2), where they begin.
        learning_rate: as scikit-learn and the paper of 2008 count it; ``"auto"``: N over the exaggeration.
        iterations: of both phases together.
        early_iterations: of the first phase, in which P is exaggerated.
        early_exaggeration: by how much.
        exact: compute every pair's force.
        jobs: threads; the result does not depend on them.

    Returns:
        float64 (N, 2).
    """
    from openTSNE import TSNEEmbedding
    from openTSNE.affinity import PrecomputedAffinities

    interpolate = len(start) >= INTERPOLATE_FROM and not exact
    embedding = TSNEEmbedding(
        start.copy(),
        PrecomputedAffinities(joint.copy(), normalize=False),
        negative_gradient_method="fft" if interpolate else "bh",
        theta=0.0 if exact else 0.5,
        learning_rate=learning_rate if learning_rate == "auto" else GRADIENT_FACTOR * float(learning_rate),
        momentum=0.8,
        max_step_norm=5,
        n_jobs=jobs,
    )
    embedding.optimize(early_iterations, exaggeration=early_exaggeration, inplace=True)
    embedding.optimize(iterations - early_iterations, inplace=True)
    return np.array(embedding, dtype=np.float64)


def place(
    features: np.ndarray, coordinates: np.ndarray, new_features: np.ndarray, *, seed: int, jobs: int
) -> np.ndarray:
    """Where new samples belong in a finished map, each by itself; the map stays as it is.

    Args:
        features: float (N, D) of the map's samples.
        coordinates: float (N, 2) of them, centred as :func:`ctc_mm.explain.tsne.embed_tsne` does.
        new_features: float (M, D).
        seed: for openTSNE's interface; exact neighbours draw nothing.
        jobs: threads.

    Returns:
        float64 (M, 2).
    """
    from openTSNE import TSNEEmbedding
    from openTSNE.affinity import PerplexityBasedNN

    count = len(features)
    perplexity = min(PLACING_PERPLEXITY, (count - 1) / 3)
    affinities = PerplexityBasedNN(
        np.asarray(features, np.float64), perplexity=perplexity, method="exact", n_jobs=jobs, random_state=seed
    )
    embedding = TSNEEmbedding(
        np.array(coordinates, dtype=np.float64),
        affinities,
        negative_gradient_method="fft" if count >= INTERPOLATE_FROM else "bh",
        n_jobs=jobs,
        random_state=seed,
    )
    neighbours = min(PLACING_START_NEIGHBOURS, count)
    placed = embedding.transform(np.asarray(new_features, np.float64), perplexity=perplexity, k=neighbours)
    return np.array(placed, dtype=np.float64)
