"""Images of a config's sets as its model sees them in a test: to quantise with, and to check an exported file on."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS

from ctc_mm.engine.setup import datasets_of
from ctc_mm.errors import ConfigError
from ctc_mm.explain.trained import pipeline_steps


def images_of_split(
    config: Config, split: str, count: int, input_chw: Sequence[int], white_level: float | None = None
) -> np.ndarray:
    """Images of a set of the config as the model sees them in a test: without augmentation.

    Args:
        config: its ``<split>_dataloader`` is read, with the test pipeline.
        split: ``train``, ``val`` or ``test``.
        count: at most so many, evenly spaced over the set, or over all sets where it is made of several.
        input_chw: of a prepared image.
        white_level: of training, for cells whose set does not say it.

    Returns:
        float32 (N, C, H, W), 0 to 255.

    Raises:
        ConfigError: there is no such set, it has no images, or they are of another size.
    """
    leaves = [one for one in datasets_of(config, (split,)) if not (one.get("dataset") or one.get("datasets"))]
    sets = [_build_for_test(one, config, white_level) for one in leaves]
    if not sets:
        raise ConfigError(f"{config.filename}: images of its {split} set are asked for, and the config names none")
    found = [(dataset, index) for dataset in sets for index in range(len(dataset))]
    if not found:
        named = ", ".join(repr(dataset.ann_file) for dataset in sets)
        raise ConfigError(f"{config.filename}: its {split} set {named} has no images")
    places = np.unique(np.linspace(0, len(found) - 1, min(count, len(found))).round().astype(int))
    images = [np.asarray(dataset[index]["inputs"], np.float32) for dataset, index in (found[place] for place in places)]
    other = {image.shape for image in images} - {tuple(input_chw)}
    if other:
        raise ConfigError(
            f"{config.filename}: images of its {split} set become {sorted(other)} (C, H, W), and the file takes "
            f"{tuple(input_chw)}; let the test pipeline resize to one size"
        )
    return np.stack(images)


def _build_for_test(settings: ConfigDict, config: Config, white_level: float | None) -> Any:
    """Build a data set with the pipeline of the test."""
    settings = copy.deepcopy(settings)
    settings.pipeline = list(pipeline_steps(config))
    settings.serialize_data = False  # MMEngine cannot serialise an empty set, which the caller tells
    if str(settings.type).endswith("SingleCellDataset") and white_level is not None:
        settings.setdefault("white_level", white_level)
    return DATASETS.build(settings)
