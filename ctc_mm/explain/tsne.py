"""t-SNE of feature vectors: a map of samples, its Kullback-Leibler divergence, and new samples placed into it.

Pure arrays. Sources: van der Maaten and Hinton 2008; ssd-attention-fusion-2022, 2.6.3 and Figure 8 (KL divergence as
the quality of the map); label-free-resnet-2020 (scikit-learn, perplexity 50, learning rate 100; readings 13 and 25).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ctc_mm.explain import tsne_opentsne, tsne_sklearn
from ctc_mm.explain.tsne_affinities import joint_probabilities, kl_divergence, nearest_neighbours

METHODS = ("opentsne", "sklearn")
STARTS = ("pca", "random")
FEWEST_SAMPLES = 4
# Up to so many samples every pair counts, in P and in the forces; above, 3 x perplexity neighbours and a tree or grid.
EXACT_UP_TO = 500
# Phases as in van der Maaten 2014: P exaggerated 12 times over the first 250 iterations.
EARLY_ITERATIONS, EARLY_EXAGGERATION = 250, 12.0
# How far samples are from the centre at the start.
START_SPREAD = 1e-4


class NothingToMapError(ValueError):
    """Samples that have no map: too few of them, or all the same."""


@dataclass(frozen=True)
class TSNEOptions:
    """How a map is made.

    Attributes:
        method: ``opentsne`` or ``sklearn``.
        perplexity: about how many neighbours each sample keeps (the label-free paper's 50). More than a third of the
            other samples is reduced to that, and :attr:`TSNEMap.notes` says so.
        learning_rate: a number as scikit-learn counts it (the label-free paper's is 100), or ``auto``: by the number
            of samples, each implementation's own rule.
        iterations: both phases together; the first 250 are the early exaggeration.
        start: ``pca`` (first two components, keeps the global arrangement) or ``random``.
        pca_components: what features are reduced to before distances are taken; never stretches any direction.
        seed: the same seed and features give the same map.
        jobs: threads; the map does not depend on them.

    Raises:
        ValueError: a value out of range.
    """

    method: str = "opentsne"
    perplexity: float = 50.0
    learning_rate: float | str = "auto"
    iterations: int = 750
    start: str = "pca"
    pca_components: int = 50
    seed: int = 0
    jobs: int = 1

    def __post_init__(self) -> None:
        for name, value, choices in (("method", self.method, METHODS), ("start", self.start, STARTS)):
            if value not in choices:
                raise ValueError(f"`{name}` must be one of {', '.join(choices)}; received {value!r}")
        if not _is_number(self.perplexity) or not 1 <= self.perplexity < np.inf:
            raise ValueError(f"`perplexity` must be a number of at least 1; received {self.perplexity!r}")
        auto = isinstance(self.learning_rate, str) and self.learning_rate == "auto"
        if not auto and (not _is_number(self.learning_rate) or not 0 < self.learning_rate < np.inf):
            raise ValueError(f"`learning_rate` must be above 0, or 'auto'; received {self.learning_rate!r}")
        least = {"iterations": EARLY_ITERATIONS, "pca_components": 2, "seed": 0, "jobs": 1}
        for name, minimum in least.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
                raise ValueError(f"`{name}` must be a whole number of at least {minimum}; received {value!r}")


@dataclass(frozen=True)
class Projection:
    """From features to the few numbers whose distances count: ``(features - mean) / scale @ components.T``.

    Attributes:
        mean: float64 (F,).
        scale: root mean square of the centred features, one number for all: distances keep their proportions.
        components: float64 (D, F), orthonormal rows, the direction of most variance first.
        explained: share of the variance that is kept.
    """

    mean: np.ndarray
    scale: float
    components: np.ndarray
    explained: float

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """float32 (N, D) of (N, F) features; rounded, so that the threads of a linear algebra library do not show.

        Raises:
            ValueError: features of another length, or not finite.
        """
        features = check_features(features)
        if features.shape[1] != len(self.mean):
            raise ValueError(
                f"`features` have {features.shape[1]} values each, the map was made with {len(self.mean)}; take the "
                "same layer of the same model"
            )
        return (((features - self.mean) / self.scale) @ self.components.T).astype(np.float32)


@dataclass(frozen=True)
class TSNEMap:
    """A finished map.

    Attributes:
        coordinates: float64 (N, 2), no unit; the middle of their range is (0, 0).
        kl_divergence: of the map from the features, nats; comparable between methods
            (:func:`ctc_mm.explain.tsne_affinities.kl_divergence`).
        perplexity: that was used.
        features: float32 (N, D), reduced: what distances were taken of.
        projection: how they were reduced.
        options: as asked for.
        notes: what the reader of the map should know, such as a reduced perplexity.
    """

    coordinates: np.ndarray
    kl_divergence: float
    perplexity: float
    features: np.ndarray
    projection: Projection
    options: TSNEOptions
    notes: tuple[str, ...] = field(default=())


def embed_tsne(features: np.ndarray, options: TSNEOptions | None = None) -> TSNEMap:
    """Map feature vectors to two dimensions so that near ones stay near.

    Args:
        features: (N, F), integers or floats; wide ones are reduced by PCA.
        options: see :class:`TSNEOptions`.

    Returns:
        The map: the same features, options and seed give the same coordinates, with any number of threads.

    Raises:
        NothingToMapError: fewer than 4 samples, or all of them equal.
        ValueError: not (N, F), NaN or infinite values.
    """
    options = options or TSNEOptions()
    features = check_features(features)
    reason = reason_not_to_map(features)
    if reason:
        raise NothingToMapError(f"t-SNE: {reason}")
    projection = fit_projection(features, options.pca_components, options.seed)
    reduced = projection(features)
    perplexity, notes = fitting_perplexity(options.perplexity, len(reduced))
    notes += _note_copies(reduced)
    exact = len(reduced) <= EXACT_UP_TO
    neighbours = len(reduced) - 1 if exact else min(len(reduced) - 1, int(3 * perplexity))
    joint = joint_probabilities(*nearest_neighbours(reduced, neighbours), perplexity)
    start = start_coordinates(reduced, options)
    common = dict(
        learning_rate=options.learning_rate,
        iterations=options.iterations,
        early_exaggeration=EARLY_EXAGGERATION,
        exact=exact,
        jobs=options.jobs,
    )
    if options.method == "opentsne":
        coordinates = tsne_opentsne.fit(joint, start, early_iterations=EARLY_ITERATIONS, **common)
    else:
        coordinates = tsne_sklearn.fit(reduced, start, perplexity=perplexity, seed=options.seed, **common)
    if not np.isfinite(coordinates).all():
        raise ValueError(f"t-SNE: the map diverged; lower `learning_rate`. Received: {options.learning_rate!r}")
    # openTSNE centres a map this way before it places samples; centred now, old and new ones share an origin.
    coordinates = coordinates - (coordinates.max(axis=0) + coordinates.min(axis=0)) / 2
    divergence = kl_divergence(joint, coordinates)
    return TSNEMap(coordinates, divergence, perplexity, reduced, projection, options, notes)


def place_samples(tsne_map: TSNEMap, features: np.ndarray) -> np.ndarray:
    """Where new samples lie in a finished map, by openTSNE's transform; the map and other new samples do not move.

    Args:
        tsne_map: made by any method.
        features: (M, F) of the same layer; M may be 0.

    Returns:
        float64 (M, 2).

    Raises:
        ValueError: features of another length, NaN or infinite values.
    """
    features = np.asarray(features)
    if features.ndim == 2 and len(features) == 0:
        return np.empty((0, 2))
    reduced = tsne_map.projection(features)
    options = tsne_map.options
    return tsne_opentsne.place(tsne_map.features, tsne_map.coordinates, reduced, seed=options.seed, jobs=options.jobs)


def check_features(features: np.ndarray) -> np.ndarray:
    """Features as float64 (N, F).

    Raises:
        ValueError: not numbers, not (N, F) with F of at least 1, NaN or infinite values.
    """
    features = np.asarray(features)
    if features.ndim != 2 or features.shape[1] == 0 or features.dtype.kind not in "biuf":
        raise ValueError(
            f"`features` must be numbers of shape (samples, values); received shape {features.shape}, {features.dtype}"
        )
    bad = ~np.isfinite(features)
    if bad.any():
        rows = np.flatnonzero(bad.any(axis=1))
        raise ValueError(
            f"`features` must be finite; received NaN or infinity in {len(rows)} of {len(features)} samples, first in "
            f"sample {rows[0]}: did the model diverge?"
        )
    return features.astype(np.float64)


def reason_not_to_map(features: np.ndarray) -> str | None:
    """Why these features have no map, None where they have one."""
    if len(features) < FEWEST_SAMPLES:
        return f"needs at least {FEWEST_SAMPLES} samples; received {len(features)}"
    if (features == features[0]).all():
        return (
            f"all {len(features)} samples have the same {features.shape[1]} features, so there is nothing to map: is "
            "the layer dead, or are the images blank?"
        )
    return None


def fitting_perplexity(perplexity: float, count: int) -> tuple[float, tuple[str, ...]]:
    """The perplexity that ``count`` samples allow, a third of the other samples at most, and a note where it is less.

    A Gaussian of that perplexity reaches over three times as many neighbours (van der Maaten 2014).
    """
    most = max(1.0, (count - 1) / 3)
    if perplexity <= most:
        return float(perplexity), ()
    note = f"perplexity {perplexity:g} is too large for {count} samples: reduced to {most:g} (a third of the others)"
    return most, (note,)


def fit_projection(features: np.ndarray, components: int, seed: int) -> Projection:
    """Principal components of features, without whitening.

    Args:
        features: float64 (N, F), not all rows equal.
        components: how many are kept at most.
        seed: of the randomised search that is used where both N and F are large.
    """
    from sklearn.decomposition import PCA

    mean = features.mean(axis=0)
    centred = features - mean
    largest = np.abs(centred).max()
    # The largest first: squares of very large or very small values leave the range of floats.
    scale = float(largest * np.sqrt(np.square(centred / largest).mean()))
    pca = PCA(n_components=min(components, *features.shape), random_state=seed).fit(centred / scale)
    explained = float(np.clip(pca.explained_variance_ratio_.sum(), 0, 1))
    return Projection(mean + pca.mean_ * scale, scale, pca.components_, explained)


def start_coordinates(reduced: np.ndarray, options: TSNEOptions) -> np.ndarray:
    """float64 (N, 2): the first two components, scaled to a small spread and parted by a hair, or a small random cloud.

    The hair parts samples that are equal: else none could ever leave the other.
    """
    random = np.random.default_rng(options.seed)
    noise = random.normal(0, START_SPREAD, (len(reduced), 2))
    if options.start == "random":
        return noise
    start = noise / 100
    first = reduced[:, :2].astype(np.float64)
    start[:, : first.shape[1]] += first / first[:, 0].std() * START_SPREAD
    return start


def _note_copies(reduced: np.ndarray) -> tuple[str, ...]:
    repeated = len(reduced) - len(np.unique(reduced, axis=0))
    return (f"{repeated} of {len(reduced)} samples have the features of another one",) if repeated else ()


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
