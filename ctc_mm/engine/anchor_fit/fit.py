"""Fit the anchors of a config, or free shapes, to the boxes of a data set, and say how well both meet them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from ctc_mm.datasets.anchors import (
    AnchorCoverage,
    AnchorLevel,
    best_grid_iou,
    class_weights,
    fit_shapes,
    mean_best,
    measure_coverage,
    shape_iou,
)
from ctc_mm.engine.anchor_fit.boxes import RESIZED, NetworkBoxes, boxes_of_coco, boxes_of_config
from ctc_mm.engine.anchor_fit.generators import (
    Numbers,
    find_generator,
    grids_of,
    lay_out,
    numbers_of,
    starts_from_shapes,
)
from ctc_mm.errors import AnnotationError

# A search tries each number times and over these, the larger steps first.
STEPS = (1.4, 1.15, 1.05)
MOST_SEARCHED = 2000  # boxes; the figures are of all
OWN, FITTED = "config", "fitted"


@dataclass(frozen=True)
class AnchorFit:
    """Anchors before and after.

    Attributes:
        boxes: they were fitted to.
        shapes_wh: float (K, 2), k-means shapes in px, smallest first.
        shape_mean_iou: of boxes and these shapes, each box weighing as in the fit.
        key: dotted name of the generator in the config; '' without a config.
        settings: the generator's keys as fitted.
        levels: by ``config`` and ``fitted``, the anchors.
        coverage: by split and then by ``config`` and ``fitted``, all classes together and each.
        iou_threshold: of the recall.
    """

    boxes: NetworkBoxes
    shapes_wh: np.ndarray
    shape_mean_iou: float
    key: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    levels: dict[str, list[AnchorLevel]] = field(default_factory=dict)
    coverage: dict[str, dict[str, list[AnchorCoverage]]] = field(default_factory=dict)
    iou_threshold: float = 0.5


def fit_file(
    path: str | Path, shapes: int = 9, size_wh: tuple[int, int] | None = None, seed: int = 0, by_class: bool = True
) -> AnchorFit:
    """K-means shapes for a COCO file.

    Args:
        path: of the file.
        shapes: their number.
        size_wh: px to which a network would resize every image; None: sizes stay.
        seed: of k-means.
        by_class: every class weighs the same, else every box.

    Raises:
        AnnotationError: the file cannot be read, or has no box, or fewer different boxes than shapes.
    """
    boxes = boxes_of_coco(path, size_wh)
    weights = class_weights(boxes.labels) if by_class else np.ones(len(boxes.labels))
    try:
        fitted = fit_shapes(boxes.sizes_wh, shapes, seed, weights)
    except ValueError as error:
        raise AnnotationError(f"{path}: {error}") from error
    return AnchorFit(boxes, fitted, mean_best(shape_iou(boxes.sizes_wh, fitted), weights))


def fit_config(
    config: Config,
    view: str = RESIZED,
    epochs: int = 1,
    seed: int = 0,
    by_class: bool = True,
    iou_threshold: float = 0.5,
) -> AnchorFit:
    """Fit the anchors of a config to its training set; the validation set is measured, never fitted to.

    YOLO's anchors are k-means shapes, the largest on the coarsest level (Redmon and Farhadi 2017). Those of SSD and of
    MMDetection's plain generator come from few numbers a level; these are searched, each in turn, for the best mean
    over boxes of the best IoU where the anchors really lie, from the config's own numbers and from k-means.

    Args:
        config: a detector's.
        view: ``resized`` or ``augmented``, see :func:`ctc_mm.engine.anchor_fit.boxes.boxes_of_config`.
        epochs: of the augmented view.
        seed: of k-means, of augmentation, and of the boxes that are searched on where there are many.
        by_class: every class weighs the same, else every box.
        iou_threshold: of the recall.

    Raises:
        ConfigError: the model has no anchors, or of a kind that cannot be fitted.
    """
    key, generator_cfg = find_generator(config)
    numbers = numbers_of(generator_cfg)
    boxes = boxes_of_config(config, "train", view, epochs, seed)
    grids_wh = grids_of(config, boxes.size_wh)
    weights = class_weights(boxes.labels) if by_class else np.ones(len(boxes.labels))
    own = lay_out(generator_cfg, grids_wh)
    # For a search k-means is one of two beginnings, so fewer different boxes than shapes are no mistake there.
    different = len(np.unique(boxes.sizes_wh, axis=0))
    count = sum(len(level.first_xyxy) for level in own) if numbers is None else min(len(own) + 1, different)
    shapes_wh = fit_shapes(boxes.sizes_wh, count, seed, weights)
    if numbers is None:
        settings = dict(base_sizes=_by_level(shapes_wh, own))
    else:
        settings = _search(numbers, generator_cfg, grids_wh, shapes_wh, boxes, weights, seed)
    levels = {OWN: own, FITTED: lay_out({**generator_cfg, **settings}, grids_wh)}
    splits = {"train": boxes}
    if config.get("val_dataloader"):
        splits["val"] = boxes_of_config(config, "val", RESIZED)
    coverage = {
        split: {
            name: measure_coverage(one.boxes_xyxy, one.labels, one.classes, laid, iou_threshold)
            for name, laid in levels.items()
        }
        for split, one in splits.items()
    }
    shape_mean_iou = mean_best(shape_iou(boxes.sizes_wh, shapes_wh), weights)
    return AnchorFit(boxes, shapes_wh, shape_mean_iou, key, settings, levels, coverage, iou_threshold)


def _by_level(shapes_wh: np.ndarray, levels: Sequence[AnchorLevel]) -> list[list[tuple[int, int]]]:
    """Shapes in whole px, the largest for the coarsest level, as many on each as the config has."""
    rounded = [(max(round(width), 1), max(round(height), 1)) for width, height in shapes_wh.tolist()]
    given: dict[int, list[tuple[int, int]]] = {}
    for place in sorted(range(len(levels)), key=lambda place: levels[place].stride_xy):
        count = len(levels[place].first_xyxy)
        given[place], rounded = rounded[:count], rounded[count:]
    return [given[place] for place in range(len(levels))]


def _search(
    numbers: Numbers,
    generator_cfg: Mapping[str, Any],
    grids_wh: Sequence[tuple[int, int]],
    shapes_wh: np.ndarray,
    boxes: NetworkBoxes,
    weights: np.ndarray,
    seed: int,
) -> dict[str, Any]:
    chosen = np.arange(len(weights))
    if len(chosen) > MOST_SEARCHED:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, MOST_SEARCHED, replace=False))
    searched_xyxy, searched_weights = boxes.boxes_xyxy[chosen], weights[chosen]

    def score(values: Sequence[float]) -> float:
        levels = lay_out({**generator_cfg, **numbers.keys(values)}, grids_wh)
        return float(np.average(best_grid_iou(searched_xyxy, levels), weights=searched_weights))

    starts = [numbers.own]
    if len(shapes_wh) == len(grids_wh) + 1:
        starts.append(starts_from_shapes(numbers, generator_cfg, shapes_wh))
    ends = [climb(start, score, numbers.lowest, numbers.highest) for start in starts]
    return numbers.keys(max(ends, key=lambda end: end[1])[0])


def climb(
    start: Sequence[float],
    score: Callable[[Sequence[float]], float],
    lowest: Sequence[float],
    highest: Sequence[float],
    steps: Sequence[float] = STEPS,
) -> tuple[list[float], float]:
    """Raise a score by changing one number at a time, by a factor; a number that does not matter stays.

    Args:
        start: the numbers, above 0.
        score: to be raised.
        lowest: of each number.
        highest: of each number.
        steps: factors, tried in this order, each until it helps no more.

    Returns:
        The numbers found, and their score, which is never less than that of ``start``.
    """
    best, best_score = list(start), score(start)
    for step in steps:
        better = True
        while better:
            better = False
            for place in range(len(best)):
                for factor in (step, 1 / step):
                    value = min(max(best[place] * factor, lowest[place]), highest[place])
                    tried = [*best[:place], value, *best[place + 1 :]]
                    if value != best[place] and (tried_score := score(tried)) > best_score + 1e-6:
                        best, best_score, better = tried, tried_score, True
    return best, best_score
