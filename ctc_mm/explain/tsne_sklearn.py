"""scikit-learn's t-SNE as ctc_mm uses it."""

from __future__ import annotations

import numpy as np

# scikit-learn's own, which cannot be set.
EARLY_ITERATIONS = 250


def fit(
    features: np.ndarray,
    start: np.ndarray,
    *,
    perplexity: float,
    learning_rate: float | str,
    iterations: int,
    early_exaggeration: float,
    exact: bool,
    seed: int,
    jobs: int,
) -> np.ndarray:
    """Fit a map; scikit-learn computes P by itself.

    Args:
        features: float (N, D).
        start: float64 (N, 2), where the samples begin.
        perplexity: below N.
        learning_rate: as scikit-learn counts it; ``"auto"``: N / early exaggeration / 4, at least 50.
        iterations: 250 with exaggeration and the rest without; it may stop earlier when nothing improves.
        early_exaggeration: of the first 250.
        exact: every pair instead of Barnes-Hut.
        seed: for scikit-learn's interface; with ``start`` given nothing is drawn.
        jobs: threads of the search for neighbours.

    Returns:
        float64 (N, 2).
    """
    from sklearn.manifold import TSNE

    model = TSNE(
        perplexity=perplexity,
        learning_rate=learning_rate,
        max_iter=iterations,
        early_exaggeration=early_exaggeration,
        init=start.astype(np.float32),
        method="exact" if exact else "barnes_hut",
        random_state=seed,
        n_jobs=jobs,
    )
    return model.fit_transform(np.asarray(features, np.float64)).astype(np.float64)
