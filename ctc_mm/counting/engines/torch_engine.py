"""Models run by PyTorch, through their own ``predict``: any detector of MMDetection, any classifier of MMPretrain."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from mmdet.structures import DetDataSample
from torch import nn

from ctc_mm.counting.engines.base import (
    CLASSIFIER,
    DETECTOR,
    TORCH,
    Described,
    EngineSettings,
    WindowDetections,
    full_batch,
)
from ctc_mm.counting.engines.facts import model_facts
from ctc_mm.counting.engines.failures import failures_named
from ctc_mm.counting.engines.preparation import Geometry, Preparation, array_steps
from ctc_mm.engine.checkpoint import load_checkpoint_safely, use_safe_checkpoints
from ctc_mm.engine.compatibility import check_checkpoint, kind_of_config, trained_on
from ctc_mm.engine.setup import load_config, register_all_modules
from ctc_mm.errors import ConfigError, EngineError
from ctc_mm.explain.trained import build_trained_model, pipeline_steps


class TorchModel:
    """A loaded model with its facts and the steps that prepare its images.

    Attributes:
        trained: model, class names and what else the explaining parts use.
        info: the facts.
        steps: of the test pipeline, on arrays.
        config: it was built from.
    """

    def __init__(self, settings: EngineSettings, kind: str | None = None) -> None:
        use_safe_checkpoints(settings.trust_checkpoint)
        self.config = load_config(settings.config, settings.cfg_options)
        found = kind_of_config(self.config)
        if kind not in (None, found):
            raise ConfigError(
                f"{settings.config}: builds a {found}, where a {kind} is needed (route detect takes detectors, "
                "classify takes classifiers)"
            )
        register_all_modules(self.config.default_scope)
        checkpoint = load_checkpoint_safely(settings.checkpoint, settings.trust_checkpoint)
        check_checkpoint(checkpoint, self.config, settings.checkpoint)
        try:
            self.trained = build_trained_model(self.config, checkpoint, settings.checkpoint, settings.device)
        except torch.OutOfMemoryError as error:
            raise EngineError(f"{settings.checkpoint}: no memory for the model on {settings.device}") from error
        self.steps = array_steps(pipeline_steps(self.config), found)
        self.info = model_facts(settings, self.config, self.trained, self.steps, trained_on(checkpoint))
        if torch.device(settings.device).type == "cpu":  # a light and a large SSD took 0.7 to 0.9 of the time so
            self.trained.model.to(memory_format=torch.channels_last)
        _leave_out_below(self.info.least_score(settings.doubt), self.trained.model)


class _TorchEngine(Described):
    """What both kinds of model share."""

    kind: str
    engine = TORCH

    def __init__(self, loaded: TorchModel, batch_size: int, device: str = "cpu") -> None:
        self.trained, self.batch_size, self.device = loaded.trained, batch_size, torch.device(device)
        self.info, self.prepare = loaded.info, Preparation(loaded.steps, loaded.info)

    @classmethod
    def load(cls, settings: EngineSettings) -> Self:
        """Load config and checkpoint; see ``build_detector_engine``."""
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        return cls(TorchModel(settings, cls.kind), settings.batch_size, settings.device)

    def _predict(self, batch: np.ndarray, samples: list | None) -> list:
        """The model's own prediction for a full batch."""
        full = full_batch(batch, self.batch_size, self.info.input_chw)
        with failures_named(self.info.name, len(full), str(self.device)), torch.inference_mode():
            data: dict[str, Any] = {"inputs": torch.from_numpy(full).to(self.device)}
            if samples is not None:
                data["data_samples"] = samples
            return self.trained.model.test_step(data)[: len(batch)]


class TorchDetector(_TorchEngine):
    """A detector of MMDetection; see ``DetectorEngine``."""

    kind = DETECTOR

    def __init__(self, loaded: TorchModel, batch_size: int, device: str = "cpu") -> None:
        super().__init__(loaded, batch_size, device)
        self.geometry: Geometry = self.prepare.geometry(self.info.window_wh)

    def __call__(self, batch: np.ndarray) -> list[WindowDetections]:
        """See ``DetectorEngine``."""
        found = self._predict(batch, [_sample(self.geometry) for _ in range(self.batch_size)])
        return [_as_arrays(sample.pred_instances) for sample in found]


class TorchClassifier(_TorchEngine):
    """A classifier of MMPretrain; see ``ClassifierEngine``."""

    kind = CLASSIFIER

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """See ``ClassifierEngine``."""
        found = self._predict(batch, None)
        return np.stack([sample.pred_score.float().cpu().numpy() for sample in found])


def _leave_out_below(score: float, model: nn.Module) -> None:
    """Raise the score from which heads select boxes, of one stage and of two."""
    for module in model.modules():
        config = getattr(module, "test_cfg", None)
        if isinstance(config, dict) and "score_thr" in config:
            config["score_thr"] = max(config["score_thr"], score)


def _sample(geometry: Geometry) -> DetDataSample:
    """What ``predict`` needs to bring boxes back to the window."""
    sample = DetDataSample()
    sample.set_metainfo(
        dict(ori_shape=geometry.window_wh[::-1], img_shape=geometry.image_hw, scale_factor=geometry.scale_wh)
    )
    return sample


def _as_arrays(instances: Any) -> WindowDetections:
    boxes = instances.bboxes
    boxes = getattr(boxes, "tensor", boxes)  # mmdet's box types wrap a tensor
    return WindowDetections(
        boxes.float().cpu().numpy().reshape(-1, 4),
        instances.scores.float().cpu().numpy(),
        instances.labels.cpu().numpy().astype(np.int64),
    )
