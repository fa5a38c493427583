"""Samples of a map: what is known of each, its features by layer, its thumbnail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ctc_mm.structures import BoxXYXY

THUMBNAIL_PX = 48
# This much of all thumbnails' pixels may become white: fluorescence is dark on its own scale.
WHITE_PERCENTILE = 99.8


@dataclass(frozen=True, kw_only=True)
class MapPoint:
    """One sample of a map: a cell in one channel, or a detected box.

    Attributes:
        cell_id: the cell; of a box, image and number.
        category: index into :attr:`FeatureTable.categories`: the true class, or what a box turned out to be.
        predicted: class that the model gives; None where it gives none.
        score: of class 0 (the target) for a cell, of the box's own class for a box.
        misjudged: whether the model is wrong about it (at its frozen threshold, else 0.5; a false positive for a box).
        channel: what the image shows, "" where it is not known.
        group: patient or raw image, "" where it is not known.
        source: file that the cell was cut from, "" where it is not known.
        path: image file.
        box_xyxy: half-open px of the full image (``source``, or ``path`` for a detected box).
        copy_index: 0 for an original, 1, 2, ... for copies that augmentation made of it.
    """

    cell_id: str
    category: int
    predicted: str | None = None
    score: float | None = None
    misjudged: bool = False
    channel: str = ""
    group: str = ""
    source: str = ""
    path: str = ""
    box_xyxy: BoxXYXY | None = None
    copy_index: int = 0


@dataclass(frozen=True)
class FeatureTable:
    """The samples of a map in their order.

    Attributes:
        points: N samples.
        categories: names that ``MapPoint.category`` counts; the target first.
        features: float32 (N, F) by layer, in the order asked for.
        thumbnails: uint8 (N, ``THUMBNAIL_PX``, ``THUMBNAIL_PX``, 3) RGB.
        notes: what the reader should know, such as samples that were not drawn.
    """

    points: tuple[MapPoint, ...]
    categories: tuple[str, ...]
    features: Mapping[str, np.ndarray]
    thumbnails: np.ndarray
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.points)

    @property
    def labels(self) -> np.ndarray:
        """int64 (N,): category of each sample."""
        return np.array([point.category for point in self.points], dtype=np.int64)

    @property
    def is_copy(self) -> np.ndarray:
        """Whether each sample is a copy, bool (N,)."""
        return np.array([point.copy_index > 0 for point in self.points], dtype=bool)

    def counts(self) -> dict[str, int]:
        """Samples by category, all categories named."""
        found = Counter(point.category for point in self.points)
        return {name: found[number] for number, name in enumerate(self.categories)}

    def chosen(self, indices: Sequence[int]) -> FeatureTable:
        """The table of some of the samples, in the order given."""
        indices = np.asarray(indices, dtype=np.int64)
        return replace(
            self,
            points=tuple(self.points[index] for index in indices),
            features={name: values[indices] for name, values in self.features.items()},
            thumbnails=self.thumbnails[indices],
        )


def stratified_choice(labels: Sequence[int], most: int | None, seed: int) -> np.ndarray:
    """Which samples are kept where there are too many: of each class its share, and at least one.

    Args:
        labels: class of each of N samples.
        most: how many to keep; None: all. A class is never lost, so it has to be at least the number of classes.
        seed: the same seed keeps the same samples.

    Returns:
        int64, ascending.

    Raises:
        ValueError: ``most`` is below the number of classes present.
    """
    labels = np.asarray(labels, dtype=np.int64)
    if most is None or len(labels) <= most:
        return np.arange(len(labels))
    classes, counts = np.unique(labels, return_counts=True)
    if isinstance(most, bool) or most < len(classes):
        raise ValueError(f"`max_samples` must be at least {len(classes)}, one for each class; received {most}")
    # One each, and the rest by the largest remainders (equal ones: the smaller class number).
    ideal = (counts - 1) * ((most - len(classes)) / max(len(labels) - len(classes), 1))
    wanted = 1 + np.floor(ideal).astype(np.int64)
    order = np.argsort(-(ideal - np.floor(ideal)), kind="stable")
    wanted[order[: most - wanted.sum()]] += 1
    random = np.random.default_rng(seed)
    kept = [
        random.choice(np.flatnonzero(labels == one), count, replace=False)
        for one, count in zip(classes, wanted, strict=True)
    ]
    return np.sort(np.concatenate(kept))


def note_choice(labels: Sequence[int], kept: np.ndarray, seed: int) -> tuple[str, ...]:
    """What to tell of :func:`stratified_choice`, nothing where all are kept."""
    if len(kept) == len(labels):
        return ()
    return (f"{len(kept)} of {len(labels)} samples drawn by chance, each class by its share (seed {seed})",)


def finish_thumbnails(thumbnails: np.ndarray) -> np.ndarray:
    """Thumbnails as uint8, all brightened by one factor where all of them are dark.

    Args:
        thumbnails: float32 (N, S, S, 3), 0-255.
    """
    if not len(thumbnails):
        return np.empty((0, THUMBNAIL_PX, THUMBNAIL_PX, 3), np.uint8)
    white = float(np.percentile(thumbnails[:: max(1, len(thumbnails) // 2000)], WHITE_PERCENTILE))
    gain = 255 / white if 0 < white < 255 else 1.0
    return np.rint(np.clip(thumbnails * np.float32(gain), 0, 255)).astype(np.uint8)


def text_of(info: Mapping[str, Any], key: str) -> str:
    """A value of a sample's description as text, "" where there is none."""
    value = info.get(key)
    return "" if value is None else str(value)
