"""The boxes of a data set in pixels of the network's input."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.registry import DATASETS, TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.config import Config
from mmengine.dataset import Compose

from ctc_mm.cli import progress
from ctc_mm.engine.hooks.epoch_seed_hook import seed_everything
from ctc_mm.errors import AnnotationError, ConfigError
from ctc_mm.formats.coco import read_coco

RESIZED, AUGMENTED = "resized", "augmented"
VIEWS = (RESIZED, AUGMENTED)
# Steps of a pipeline that neither move nor scale a box.
_NO_GEOMETRY = ("Load", "Pack", "Inst")
LEAST_SIDE_PX = 1.0


@dataclass(frozen=True)
class NetworkBoxes:
    """Boxes that anchors have to meet.

    Attributes:
        boxes_xyxy: float64 (N, 4), px of the network's input.
        labels: int64 (N, ), index of the class.
        classes: names.
        size_wh: the network's input in px, the largest of all images.
        images: they come from, an image seen twice counting twice.
        left_out: ignore regions, and boxes with a side under a pixel.
    """

    boxes_xyxy: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    size_wh: tuple[int, int]
    images: int
    left_out: int

    @property
    def sizes_wh(self) -> np.ndarray:
        """Float64 (N, 2), width and height in px."""
        return self.boxes_xyxy[:, 2:] - self.boxes_xyxy[:, :2]


def boxes_of_coco(path: str | Path, size_wh: tuple[int, int] | None = None) -> NetworkBoxes:
    """Read the boxes of a COCO file.

    Args:
        path: of the file.
        size_wh: px to which a network would resize every image; None: sizes stay.

    Raises:
        AnnotationError: the file cannot be read, or has no box.
    """
    labelled = read_coco(path)
    boxes, labels, left_out = [], [], 0
    for image in labelled.images:
        scale = (1.0, 1.0) if size_wh is None else np.divide(size_wh, image.size_wh)
        for cell in image.cells:
            if cell.is_ignore:
                left_out += 1
                continue
            boxes.append(np.asarray(cell.box_xyxy, float) * [*scale, *scale])
            labels.append(labelled.classes.index(cell.label))
    largest = size_wh or tuple(max(image.size_wh[axis] for image in labelled.images) for axis in (0, 1))
    return _checked(boxes, labels, labelled.classes, largest, len(labelled.images), left_out, str(path))


def boxes_of_config(
    config: Config, split: str = "train", view: str = RESIZED, epochs: int = 1, seed: int = 0
) -> NetworkBoxes:
    """The boxes of a config's data set.

    Args:
        config: a detector's.
        split: ``train`` or ``val``.
        view: ``resized``: as the test pipeline resizes them, without reading images; ``augmented``: as the split's own
            pipeline gives them out, crops and all.
        epochs: how often the augmented set is gone through.
        seed: of the augmentation.

    Raises:
        AnnotationError: the set has no box.
        ConfigError: another split or view, or the config has no such data set.
    """
    if view not in VIEWS or split not in ("train", "val"):
        raise ConfigError(f"anchors are fitted on train or val, {' or '.join(VIEWS)}. Received: {split!r}, {view!r}")
    loader = config.get(f"{split}_dataloader")
    if not loader:
        raise ConfigError(f"the config has no {split}_dataloader, whose boxes were asked for")
    dataset_cfg = copy.deepcopy(loader.dataset)
    if view == RESIZED:
        found = [_resized(DATASETS.build(one), config) for one in _annotated(dataset_cfg)]
        samples, classes = (sample for one, _ in found for sample in one), found[0][1]
    else:
        dataset = DATASETS.build(dataset_cfg)
        samples, classes = _augmented(dataset, epochs, seed), tuple(dataset.metainfo["classes"])
    boxes, labels, shapes, images, left_out = [], [], [(0, 0)], 0, 0
    for own_boxes, own_labels, ignored, shape_hw in samples:
        boxes.append(own_boxes)
        labels.append(own_labels)
        shapes.append(shape_hw)
        images, left_out = images + 1, left_out + ignored
    height, width = np.max(shapes, axis=0)
    joined = np.vstack([np.zeros((0, 4)), *boxes]), np.concatenate([np.zeros(0, int), *labels])
    return _checked(*joined, classes, (int(width), int(height)), images, left_out, _source(dataset_cfg, split))


def _source(dataset_cfg: Any, split: str) -> str:
    files = [Path(one.get("data_root") or "", one.get("ann_file") or "") for one in _annotated(dataset_cfg)]
    return f"the config's {split} set ({', '.join(map(str, files))})"


def _annotated(dataset_cfg: Any) -> Iterator[Any]:
    """Configs of the sets that read a file, without wrappers (repeated, joined or mixed sets) and without pipeline."""
    inner = [dataset_cfg.get("dataset"), *(dataset_cfg.get("datasets") or ())]
    if not any(inner):
        yield {**dataset_cfg, "pipeline": []}
    for one in filter(None, inner):
        yield from _annotated(one)


def _resized(dataset: Any, config: Config) -> tuple[Iterator[tuple], tuple[str, ...]]:
    steps = [step for step in config.test_dataloader.dataset.pipeline if not _is_still(step)]
    geometry = Compose([TRANSFORMS.build(copy.deepcopy(step)) for step in steps])
    return (_resize(dataset.get_data_info(index), geometry) for index in range(len(dataset))), tuple(
        dataset.metainfo["classes"]
    )


def _is_still(step: Any) -> bool:
    return str(step["type"]).rpartition(".")[2].startswith(_NO_GEOMETRY)


def _resize(info: dict, geometry: Compose) -> tuple[np.ndarray, np.ndarray, int, tuple[int, int]]:
    """Let the pipeline's own steps move the boxes of an empty image of the size of this one."""
    kept = [one for one in info["instances"] if not one["ignore_flag"]]
    shape_hw = (info["height"], info["width"])
    results = dict(
        img=np.zeros((*shape_hw, 3), np.uint8),
        img_shape=shape_hw,
        ori_shape=shape_hw,
        gt_bboxes=HorizontalBoxes(np.array([one["bbox"] for one in kept], np.float32).reshape(-1, 4)),
        gt_bboxes_labels=np.array([one["bbox_label"] for one in kept], np.int64),
        gt_ignore_flags=np.zeros(len(kept), bool),
    )
    results = geometry(results)
    boxes = results["gt_bboxes"].numpy().astype(float)
    ignored = len(info["instances"]) - len(kept)
    return boxes, results["gt_bboxes_labels"], ignored, tuple(results["img_shape"][:2])


def _augmented(dataset: Any, epochs: int, seed: int) -> Iterator[tuple]:
    for epoch in range(epochs):
        seed_everything(seed, epoch)
        for index in progress(range(len(dataset)), "boxes of augmented images", len(dataset)):
            sample = dataset[index]["data_samples"]
            truth, ignored = sample.gt_instances, len(sample.get("ignored_instances", ()))
            boxes = getattr(truth.bboxes, "tensor", truth.bboxes).numpy().astype(float)
            yield boxes, truth.labels.numpy(), ignored, tuple(sample.img_shape[:2])


def _checked(
    boxes: Any, labels: Any, classes: tuple, size_wh: tuple, images: int, left_out: int, source: str
) -> NetworkBoxes:
    boxes, labels = np.asarray(boxes, float).reshape(-1, 4), np.asarray(labels, np.int64)
    kept = (boxes[:, 2:] - boxes[:, :2] >= LEAST_SIDE_PX).all(axis=1)
    if not kept.any():
        raise AnnotationError(f"{source}: no box of a pixel or more, so no anchor can be fitted. Check the labels.")
    left_out += int((~kept).sum())
    return NetworkBoxes(boxes[kept], labels[kept], tuple(classes), tuple(size_wh), images, left_out)
