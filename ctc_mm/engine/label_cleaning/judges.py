"""The models that look labels over: given weights, or those of the folds that never saw an image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate

from ctc_mm.counting.engines.base import WindowDetections
from ctc_mm.engine.checkpoint import load_checkpoint_safely
from ctc_mm.engine.compatibility import check_checkpoint
from ctc_mm.engine.cross_validation.units import leaf_datasets
from ctc_mm.engine.runs.run_folder import RunFolder
from ctc_mm.engine.setup import load_config
from ctc_mm.errors import ConfigError
from ctc_mm.explain.trained import TrainedModel, build_trained_model
from ctc_mm.formats.fields import load_json_object

FOLD_PATTERN = "fold_*"


@dataclass(frozen=True)
class Judge:
    """One model.

    Attributes:
        name: of its weights, for messages.
        config: that builds it.
        checkpoint: its weights.
        unseen: the images that it may judge, since it never saw them; None: all.
        learned_from: the images that it was trained on and chosen by, as far as that is known.
    """

    name: str
    config: Config
    checkpoint: Path
    unseen: frozenset[Path] | None = None
    learned_from: frozenset[Path] = frozenset()

    def judges(self, image_path: Path) -> bool:
        """Whether it has a say on an image."""
        return self.unseen is None or image_path in self.unseen

    def load(self, device: str, trust: bool) -> TrainedModel:
        """Build the model.

        Raises:
            CheckpointError: weights that cannot be read or do not fit.
            ConfigError: the config builds no detector, or the device is not there.
        """
        checkpoint = load_checkpoint_safely(self.checkpoint, trust)
        check_checkpoint(checkpoint, self.config, self.checkpoint)
        trained = build_trained_model(self.config, checkpoint, self.checkpoint, device)
        if not trained.is_detector:
            raise ConfigError(f"{self.checkpoint}: weights of a classifier; boxes are judged by a detector")
        return trained


def given_judges(config: Config, checkpoints: Sequence[str | Path]) -> list[Judge]:
    """Weights of one config, such as several seeds; each judges every image."""
    return [Judge(str(path), config, Path(path)) for path in checkpoints]


def fold_judges(folder: str | Path) -> list[Judge]:
    """The models of a cross-validation; each judges the images of its test part, which it never saw.

    Args:
        folder: that tools/cross_validate.py wrote to.

    Raises:
        ConfigError: it holds no fold, or one that is not trained.
    """
    folds = [RunFolder(path) for path in sorted(Path(folder).glob(FOLD_PATTERN)) if path.is_dir()]
    if not folds:
        raise ConfigError(f"{folder}: holds no {FOLD_PATTERN}; give the folder that tools/cross_validate.py wrote to")
    judges = []
    for fold in folds:
        trained = fold.trained()
        if trained is None:
            raise ConfigError(f"{fold.path}: is not trained; run tools/cross_validate.py again, it goes on from there")
        config = load_config(fold.config)
        unseen, *others = (frozenset(images_of(config, part)) for part in ("test", "train", "val"))
        judges.append(
            Judge(str(fold.path), config, fold.path / trained["checkpoint"], unseen, frozenset().union(*others))
        )
    return judges


def label_file(config: Config, part: str) -> tuple[Path, Path]:
    """COCO file of a part of the config, and the folder that its names are relative to.

    Raises:
        ConfigError: the part joins several data sets, or has none.
    """
    leaves = leaf_datasets(config, part)
    if len(leaves) != 1 or not leaves[0].get("ann_file"):
        raise ConfigError(f"{part}_dataloader: needs one data set with an `ann_file`; put the labels into one file")
    root, prefix = Path(leaves[0].get("data_root") or ""), leaves[0].get("data_prefix") or {}
    return (root / leaves[0].ann_file).expanduser().resolve(), (root / (prefix.get("img") or "")).expanduser().resolve()


def images_of(config: Config, part: str) -> Iterator[Path]:
    """Files of the images of a part, resolved."""
    path, images_dir = label_file(config, part)
    for image in load_json_object(path).get("images").objects():
        yield (images_dir / image.get("file_name").string()).resolve()


def detect(trained: TrainedModel, image: Mapping[str, Any], path: Path, least_score: float) -> WindowDetections:
    """Boxes of one image from a score on, after the model's own NMS.

    Args:
        trained: the model.
        image: its COCO record; ``white_level`` is used where it is there.
        path: of the file.
        least_score: 0 to 1.

    Raises:
        ImageReadError: the file cannot be read.
    """
    known = {key: image[key] for key in ("white_level", "channel") if image.get(key) is not None}
    data = trained.pipeline({**trained.image_info, **known, "img_path": str(path), "img_id": 0})
    with torch.inference_mode():
        instances = trained.model.test_step(pseudo_collate([data]))[0].pred_instances.cpu()
    boxes = getattr(instances.bboxes, "tensor", instances.bboxes).float().numpy().reshape(-1, 4)
    scores, labels = instances.scores.float().numpy(), instances.labels.numpy().astype(np.int64)
    kept = scores >= least_score
    return WindowDetections(boxes[kept], scores[kept], labels[kept])
