"""A trained model with what it takes to feed it images from outside and to name its classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmcv.transforms import Compose
from mmdet.models import BaseDetector
from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn

import ctc_mm.datasets.transforms
import ctc_mm.models  # noqa: F401  # both for what they register
from ctc_mm.errors import ConfigError
from ctc_mm.evaluation.functional.thresholds import FPR, SENSITIVITY, YOUDEN
from ctc_mm.evaluation.operating_point import frozen_operating_point
from ctc_mm.explain.detection_cam import DEFAULT_SCORE_THR
from ctc_mm.models.loading import load_all_weights

# Rules by which validation chooses a classifier's threshold; the first one is taken where none is named.
THRESHOLD_RULES = (YOUDEN, SENSITIVITY, FPR)


@dataclass(frozen=True)
class TrainedModel:
    """A detector or a classifier with its test pipeline.

    ``image_info`` is what the model remembers of its images and the loading transform needs (white level, channel);
    ``white_level`` the former for a data set, a number or one for each channel; ``test_dataset`` is the config of the
    set that it is tested on.
    """

    model: nn.Module
    pipeline: Callable[[dict], dict]
    class_names: tuple[str, ...]
    operating_point: Mapping[str, Any] | None
    image_info: Mapping[str, Any]
    white_level: float | Mapping[str, float] | None
    test_dataset: Mapping[str, Any]

    @property
    def is_detector(self) -> bool:
        """Whether it finds boxes; else it names the class of an image."""
        return isinstance(self.model, BaseDetector)

    def label_of(self, class_name: str) -> int:
        """The label of a class.

        Raises:
            ConfigError: the model knows no such class.
        """
        if class_name not in self.class_names:
            raise ConfigError(f"no class {class_name!r}; the model knows {', '.join(self.class_names)}")
        return self.class_names.index(class_name)


def class_thresholds(class_names: Sequence[str], operating_point: Mapping[str, Any] | None) -> tuple[float, ...]:
    """Of a detector: each class's score threshold; 0.5 (reading 9) for classes without one."""
    thresholds = (operating_point or {}).get("thresholds", {})
    found = (thresholds.get(name) for name in class_names)
    return tuple(DEFAULT_SCORE_THR if threshold is None else float(threshold) for threshold in found)


def target_threshold(operating_point: Mapping[str, Any] | None, rule: str = THRESHOLD_RULES[0]) -> float | None:
    """Of a classifier: the score from which a cell is called the target; None where validation chose none by ``rule``.

    Raises:
        ConfigError: there is no such rule.
    """
    if rule not in THRESHOLD_RULES:
        raise ConfigError(f"no rule {rule!r} for the threshold; there are {', '.join(THRESHOLD_RULES)}")
    threshold = (operating_point or {}).get("thresholds", {}).get(rule)
    return None if threshold is None else float(threshold)


def build_trained_model(
    cfg: Config, checkpoint: Mapping[str, Any], source: str | Path, device: str = "cpu"
) -> TrainedModel:
    """Build the model of a config, fill it from a checkpoint, and prepare the config's test pipeline.

    Args:
        cfg: the training config.
        checkpoint: a loaded checkpoint of MMEngine.
        source: the checkpoint's path, for messages.
        device: where the model goes.

    Raises:
        CheckpointError: the weights do not fit the config's model.
        ConfigError: the config has no test pipeline, or the device is not there.
    """
    init_default_scope(cfg.get("default_scope", "mmdet"))
    model = MODELS.build(cfg.model)
    load_all_weights(model, checkpoint, source)
    try:
        model.to(device)
    except (RuntimeError, AssertionError) as error:  # torch raises either, by the build
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device {device!r} cannot be used here ({reason}); give cpu, or cuda on a GPU") from error
    dataset_meta = (checkpoint.get("meta") or {}).get("dataset_meta") or {}
    pipeline, test_dataset = build_pipeline(cfg), cfg.test_dataloader.dataset
    return TrainedModel(
        model=model.eval(),
        pipeline=pipeline,
        class_names=tuple(dataset_meta.get("classes") or _classes_of(test_dataset, model)),
        operating_point=frozen_operating_point(checkpoint),
        image_info=_image_info(dataset_meta, test_dataset),
        white_level=dataset_meta.get("white_level"),
        test_dataset=test_dataset,
    )


def build_pipeline(cfg: Config) -> Compose:
    """The config's test pipeline, built; see :func:`pipeline_steps`."""
    return Compose(pipeline_steps(cfg))


def pipeline_steps(cfg: Config) -> list[Mapping[str, Any]]:
    """Steps of the config's test pipeline without the loading of annotations, which an image from outside has not.

    Raises:
        ConfigError: there is none.
    """
    if cfg.get("test_dataloader") is None:
        raise ConfigError(f"{cfg.filename or 'the config'}: no `test_dataloader`, so how to read an image is unknown")
    loads_truth = ("LoadAnnotations", "LabelCEP8")
    return [step for step in get_test_pipeline_cfg(cfg) if not str(step["type"]).endswith(loads_truth)]


def _classes_of(test_dataset: Mapping[str, Any], model: nn.Module) -> Sequence[str]:
    """Class names of the config's test set; numbers where it names none."""
    head = getattr(model, "bbox_head", None) or getattr(model, "head", None)
    count = getattr(head, "num_classes", None) or 0
    return (test_dataset.get("metainfo") or {}).get("classes") or [f"class {label}" for label in range(count)]


def _image_info(dataset_meta: Mapping[str, Any], test_dataset: Mapping[str, Any]) -> dict[str, Any]:
    """What ``LoadMicroscopyImage`` (``white_level``) and ``LoadCellImage`` (the rest) take from the data set."""
    channels = test_dataset.get("channels") or dataset_meta.get("channel")
    if isinstance(channels, list | tuple):
        stacked = test_dataset.get("combine") == "stack"
        channels = "+".join(channels) if stacked or len(channels) == 1 else None
    level = dataset_meta.get("white_level")
    if isinstance(level, Mapping):
        level = level.get(channels)
    info = {} if level is None else {"white_level": level, "white_levels": [level]}
    return info if channels is None else info | {"channel": channels}
