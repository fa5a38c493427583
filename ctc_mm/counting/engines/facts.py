"""What a trained model says of itself, gathered from its config and its weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from ctc_mm.counting.engines.base import CLASSIFIER, DETECTOR, EngineSettings, ModelInfo
from ctc_mm.counting.engines.preparation import Preparation, window_of
from ctc_mm.explain.trained import TrainedModel, class_thresholds

PROBE_SIZES_WH = ((40, 40), (56, 48))


def model_facts(
    settings: EngineSettings,
    config: Config,
    trained: TrainedModel,
    steps: Sequence[Mapping[str, Any]],
    trained_on: Mapping[str, Any],
) -> ModelInfo:
    """Gather the facts of a model that PyTorch runs.

    Args:
        settings: what it was loaded from.
        config: of the model.
        trained: the model.
        steps: of its test pipeline, see ``preparation.array_steps``.
        trained_on: what the checkpoint remembers of its training set.

    Raises:
        ConfigError: a detector that does not say how large its windows are.
    """
    remembered, point = as_json(trained_on), as_json(trained.operating_point)
    level = steps[0].get("white_level", "auto")
    level = trained.image_info.get("white_level") if level == "auto" else level
    facts = ModelInfo(
        kind=DETECTOR if trained.is_detector else CLASSIFIER,
        name=Path(settings.config).stem,
        classes=trained.class_names,
        target=(point or {}).get("target") or remembered.get("target") or trained.class_names[0],
        thresholds=_thresholds(trained),
        um_per_px=remembered.get("um_per_px"),
        channel=trained.image_info.get("channel"),
        white_level=None if level is None else float(level),
        temperature=(point or {}).get("temperature"),
        hashes={"config": config_hash(config), "checkpoint": file_hash(settings.checkpoint)},
        trained_on=remembered,
        operating_point=point,
    )
    if facts.kind == DETECTOR:
        window_wh = window_of(steps, facts.trained_on, settings.window_px)
        facts = replace(facts, window_wh=window_wh, max_per_img=_most_boxes(config))
        return replace(facts, input_chw=Preparation(steps, facts).geometry(facts.window_wh).input_chw)
    if settings.window_px or facts.trained_on.get("image_wh"):
        facts = replace(facts, window_wh=window_of([], facts.trained_on, settings.window_px))
    return replace(facts, input_chw=_cell_input(facts, steps, _planes(trained)))


def _most_boxes(config: Config) -> int | None:
    """The limit on boxes an image in ``test_cfg``, of one stage or of the second of two; None: none."""
    rules = config.model.get("test_cfg") or {}
    most = rules.get("rcnn", rules).get("max_per_img", -1)
    return most if most > 0 else None


def _cell_input(facts: ModelInfo, steps: Sequence[Mapping[str, Any]], planes: int) -> tuple[int, int, int] | None:
    """What the test pipeline makes of a cell; None where that depends on the cell's size."""
    prepare = Preparation(steps, facts)
    sizes = PROBE_SIZES_WH if facts.window_wh is None else (facts.window_wh,)
    empty = (np.zeros((height, width, planes)[: 3 if planes > 1 else 2], np.uint8) for width, height in sizes)
    found = {prepare(image).shape for image in empty}
    return found.pop() if len(found) == 1 else None


def _planes(trained: TrainedModel) -> int:
    """Planes of the image that the first convolution takes."""
    return next(one.shape[1] for one in trained.model.parameters() if one.ndim == 4)


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def config_hash(config: Config) -> str:
    """SHA-256 of what a config says, whatever its file's name and layout."""
    content = {key: value for key, value in config.to_dict().items() if key != "work_dir"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=repr).encode()).hexdigest()


def as_json(content: Any) -> Any:
    """Tuples as lists, NumPy numbers as Python's, keys as text."""
    if isinstance(content, Mapping):
        return {str(key): as_json(value) for key, value in content.items()}
    if isinstance(content, list | tuple | set):
        return [as_json(value) for value in (sorted(content) if isinstance(content, set) else content)]
    if isinstance(content, np.ndarray | np.generic):
        return content.tolist()
    return content


def _thresholds(trained: TrainedModel) -> dict[str, float]:
    if trained.is_detector:
        found = class_thresholds(trained.class_names, trained.operating_point)
        return dict(zip(trained.class_names, found, strict=True))
    by_rule = (trained.operating_point or {}).get("thresholds", {})
    return {rule: float(value) for rule, value in by_rule.items() if value is not None}
