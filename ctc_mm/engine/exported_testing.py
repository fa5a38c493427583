"""Exported files tested as their weights are: on the config's images, by its metric."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.structures import InstanceData

from ctc_mm.counting.engines.base import DETECTOR, EngineSettings, WindowDetections
from ctc_mm.counting.engines.exported import ExportedClassifier, ExportedDetector
from ctc_mm.counting.engines.preparation import Geometry
from ctc_mm.engine.compatibility import check_classes, kind_of_config
from ctc_mm.errors import CheckpointError

Engine = ExportedDetector | ExportedClassifier


class ExportedFile:
    """A file of tools/export.py, see ``testing.Trained``.

    Args:
        path: of the file.
        config: of the model it was made of; its data are what it is tested on.
        engine: that runs it; None: by its ending.

    Raises:
        CheckpointError: it cannot be read, or is of another kind of model or other classes than the config.
        InstallationError: the engine's package is not installed.
    """

    def __init__(self, path: str | Path, config: Config, engine: str | None = None) -> None:
        self.path, self.load_from = path, None
        kind = kind_of_config(config)
        loader = config.get("test_dataloader") or {}
        settings = EngineSettings(model=str(path), engine=engine, batch_size=int(loader.get("batch_size", 1)))
        self._engine: Engine = (ExportedDetector if kind == DETECTOR else ExportedClassifier).load(settings)
        info = self._engine.info
        self.trained_on, self.operating_point = info.trained_on, info.operating_point
        check_classes({"meta": {"dataset_meta": {"classes": info.classes}}}, config, path)

    def fill(self, runner: Runner) -> None:
        """Take the place of the model that the runner built."""
        runner.model = (_Detector if isinstance(self._engine, ExportedDetector) else _Classifier)(self._engine)


class _Exported(BaseModel):
    """An engine as a model of MMEngine, which a runner can test."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine
        # Who measures speed asks a model's parameters where it runs.
        self.where = torch.nn.Parameter(torch.zeros(1, device="cpu"), requires_grad=False)

    def forward(self, inputs: Sequence[torch.Tensor], data_samples: list, mode: str = "predict") -> list:
        """Predict for images as the test pipeline packs them.

        Raises:
            CheckpointError: they are of another size than the file takes.
        """
        wanted = self.engine.info.input_chw
        other = {tuple(image.shape) for image in inputs} - {tuple(wanted)}
        if other:
            raise CheckpointError(
                f"{self.engine.info.name}: the exported file takes images of {wanted} (C, H, W), and the config's test "
                f"images are {sorted(other)}; test it with the config it was made with"
            )
        return self._predict(np.stack([image.numpy() for image in inputs]), data_samples)

    def _predict(self, batch: np.ndarray, data_samples: list) -> list:
        raise NotImplementedError


class _Detector(_Exported):
    def _predict(self, batch: np.ndarray, data_samples: list) -> list:
        found = self.engine.find(batch, [_geometry(sample, batch.shape[1:]) for sample in data_samples])
        for sample, boxes in zip(data_samples, found, strict=True):
            sample.pred_instances = _instances(boxes)
        return data_samples


class _Classifier(_Exported):
    def _predict(self, batch: np.ndarray, data_samples: list) -> list:
        for sample, scores in zip(data_samples, self.engine(batch), strict=True):
            sample.set_pred_score(torch.from_numpy(scores)).set_pred_label(int(scores.argmax()))
        return data_samples


def _geometry(sample: Any, input_chw: tuple[int, ...]) -> Geometry:
    known = sample.metainfo
    width, height = (float(scale) for scale in known["scale_factor"][:2])
    return Geometry(tuple(input_chw), tuple(known["ori_shape"][1::-1]), tuple(known["img_shape"][:2]), (width, height))


def _instances(found: WindowDetections) -> InstanceData:
    boxes, scores, labels = (torch.from_numpy(part) for part in found)
    return InstanceData(bboxes=boxes, scores=scores, labels=labels)
