"""Grad-CAM of fixed images while a detector or a classifier trains, and after it is tested."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.models import BaseDetector
from mmengine.runner import Runner, TestLoop, ValLoop
from torch import nn

from ctc_mm.engine.hooks.export_hook import ExportHook, operating_point_of
from ctc_mm.errors import ConfigError
from ctc_mm.explain.classifier_files import save_overview
from ctc_mm.explain.classifier_run import explain_items, items_of_dataset
from ctc_mm.explain.detection_cam import explain_detection
from ctc_mm.explain.files import ExplanationFiles, output_stems, save_explanation
from ctc_mm.explain.trained import class_thresholds, target_threshold
from ctc_mm.registry import HOOKS


@HOOKS.register_module()
class GradCAMHook(ExportHook):
    """Draw Grad-CAM of the same few images after validations and after the test (paper 2.6.3, 3.4; reading 12).

    Writes to ``<out_dir>/epoch_<n>/`` and ``<out_dir>/test/``, on the main process only; the model, wrapped or not, is
    left as it was.

    - Any single-stage detector with a dense head (:func:`ctc_mm.explain.detection_cam.explain_detection`):
      ``<stem>.png`` (overlay with boxes, scores and the ground truth), ``<stem>_levels.png`` (every level and their
      weighted sum) and ``<stem>.npz`` (raw maps).
    - Any image classifier (:func:`ctc_mm.explain.classifier_cam.explain_classification`): ``cells/<stem>.png`` (cell
      and overlay), ``cells/<stem>.npz``, ``contact_sheet.png`` and ``explain.json``.

    Example::

        custom_hooks = [dict(type='ctc_mm.GradCAMHook', num_images=8, interval=10)]

    Args:
        num_images: how many images, spread evenly over the set; all of them where it holds fewer.
        interval: epochs between two exports; an epoch without validation has none. The test is always exported.
        out_dir: where to; default ``<work_dir>/<timestamp>/grad_cam``.
        score_thr: boxes with a lower score are not kept; cells from this score on are called the target. Default: the
            thresholds that the metric has chosen or applied in the evaluation just done (for cells by Youden's rule);
            where there is none, 0.5 for boxes, and the highest score for cells.
        class_name: explain boxes of this class only, or this class of every cell.
        layers: names of modules to explain in place of the last maps before the class logits; of a classifier one.
        target: (detectors) ``'all'`` kept boxes, ``'top1'`` or the index of one box.
        levels: (detectors) explain these levels of the pyramid only, 0 is the finest.
        against_background: (detectors) explain class minus background logit where the head has a softmax.
        against_others: (classifiers) explain the log-odds of the class in place of its logit.

    Raises:
        ValueError: ``num_images`` or ``interval`` is not a positive number.
    """

    default_folder = "grad_cam"

    def __init__(
        self,
        num_images: int = 8,
        interval: int = 10,
        out_dir: str | None = None,
        score_thr: float | None = None,
        target: str | int = "all",
        class_name: str | None = None,
        levels: Sequence[int] | None = None,
        layers: Sequence[str] | None = None,
        against_background: bool = False,
        against_others: bool = False,
    ) -> None:
        super().__init__(interval, out_dir)
        self.num_images = self.check_count("num_images", num_images)
        self.score_thr = score_thr
        self.class_name = class_name
        self.layers = layers
        self.box_options: dict[str, Any] = dict(
            target=target, levels=levels, layers=layers, against_background=against_background
        )
        self.against_others = against_others

    def export(self, runner: Runner, model: nn.Module, loop: ValLoop | TestLoop, out_dir: Path) -> None:
        """Explain the chosen images."""
        explain = self._explain_fields if isinstance(model, BaseDetector) else self._explain_cells
        runner.logger.info(f"Grad-CAM of {explain(model, loop, out_dir)}")

    def _explain_fields(self, model: nn.Module, loop: ValLoop | TestLoop, out_dir: Path) -> str:
        dataset = loop.dataloader.dataset
        names = tuple(dataset.metainfo["classes"])
        thresholds = class_thresholds(names, operating_point_of(loop)) if self.score_thr is None else self.score_thr
        options = dict(self.box_options, score_thr=thresholds, label=self._label(names))
        indices = spread_indices(len(dataset), self.num_images)
        items = [dataset[index] for index in indices]
        images = [Path(item["data_samples"].img_path) for item in items]
        written = []
        for index, item, image, stem in zip(indices, items, images, output_stems(images), strict=True):
            result = explain_detection(model, item, **options)
            truth = truth_boxes(dataset.get_data_info(index))
            written.append(save_explanation(result, image, out_dir, stem, names, truth))
        return _report(written, out_dir)

    def _explain_cells(self, model: nn.Module, loop: ValLoop | TestLoop, out_dir: Path) -> str:
        if self.layers is not None and len(self.layers) != 1:
            raise ConfigError(f"GradCAMHook: `layers` takes one module of a classifier; received {self.layers!r}")
        dataset = loop.dataloader.dataset
        names = tuple(dataset.metainfo.get("classes") or ())
        threshold = target_threshold(operating_point_of(loop)) if self.score_thr is None else self.score_thr
        options = {
            "label": self._label(names),
            "layer": self.layers[0] if self.layers else None,
            "against_others": self.against_others,
            "score_thr": threshold,
        }
        items = items_of_dataset(dataset, spread_indices(len(dataset), self.num_images))
        written = explain_items(model, items, out_dir, names, options)
        settings = {"score_thr": threshold, "class": self.class_name, "against_others": self.against_others}
        return save_overview(written, out_dir, names, settings).summary()

    def _label(self, names: tuple[str, ...]) -> int | None:
        if self.class_name is None:
            return None
        if self.class_name not in names:
            raise ConfigError(
                f"GradCAMHook: no class {self.class_name!r} in the data set; `class_name` is one of {', '.join(names)}"
            )
        return names.index(self.class_name)


def _report(written: list[ExplanationFiles], out_dir: Path) -> str:
    without = [str(files.image) for files in written if not files.explained]
    listed = f": {', '.join(without)}" if without else ""
    return f"{len(written)} images in {out_dir}; {len(without)} without an explained box{listed}"


def spread_indices(length: int, count: int) -> list[int]:
    """``count`` different indices spread evenly over a set, always the same ones; all where it is smaller."""
    return [index * length // count for index in range(count)] if count < length else list(range(length))


def truth_boxes(data_info: dict[str, Any]) -> np.ndarray:
    """float32 (M, 4) xyxy px of the original image, ignore regions left out.

    Taken from the annotations themselves, since a pipeline may have moved its copy along with the image.
    """
    boxes = [one["bbox"] for one in data_info.get("instances", []) if not one.get("ignore_flag", 0)]
    return np.array(boxes, dtype=np.float32).reshape(-1, 4)
