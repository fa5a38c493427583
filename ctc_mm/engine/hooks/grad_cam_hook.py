"""Grad-CAM of fixed images while a detector trains and after it is tested."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import is_main_process
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner, TestLoop, ValLoop

from ctc_mm.errors import ConfigError
from ctc_mm.evaluation.operating_point import published_operating_point
from ctc_mm.explain.detection_cam import explain_detection
from ctc_mm.explain.files import ExplanationFiles, output_stems, save_explanation
from ctc_mm.explain.run import class_thresholds
from ctc_mm.registry import HOOKS


@HOOKS.register_module()
class GradCAMHook(Hook):
    """Draw Grad-CAM of the same few images after validations and after the test (paper 2.6.3, 3.4; reading 12).

    Writes ``<stem>.png`` (overlay with boxes, scores and the ground truth), ``<stem>_levels.png`` (every level and
    their weighted sum) and ``<stem>.npz`` (raw maps) to ``<out_dir>/epoch_<n>/`` and ``<out_dir>/test/``. Runs on the
    main process only; the model, wrapped or not, is left as it was. Works for any single-stage detector with a dense
    head: see :func:`ctc_mm.explain.detection_cam.explain_detection`.

    Example::

        custom_hooks = [dict(type='ctc_mm.GradCAMHook', num_images=8, interval=10)]

    Args:
        num_images: how many images, spread evenly over the set; all of them where it holds fewer.
        interval: epochs between two exports; an epoch without validation has none. The test is always exported.
        out_dir: where to; default ``<work_dir>/<timestamp>/grad_cam``.
        score_thr: boxes with a lower score are not kept; default: the thresholds that ``CTCDetMetric`` has chosen or
            applied in the evaluation just done, 0.5 for classes without one.
        target: ``'all'`` kept boxes, ``'top1'`` or the index of one box.
        class_name: explain boxes of this class only.
        levels: explain these levels of the pyramid only, 0 is the finest.
        layers: names of modules to explain in place of the last maps before the class logits.
        against_background: explain class logit minus background logit where the head has a softmax.

    Raises:
        ValueError: ``num_images`` or ``interval`` is not a positive number.
    """

    # Before EMAHook (NORMAL) puts the training weights back: the map must show the weights that were validated.
    priority = "ABOVE_NORMAL"

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
    ) -> None:
        for name, value in (("num_images", num_images), ("interval", interval)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"GradCAMHook: `{name}` must be a whole number of at least 1; received {value!r}")
        self.num_images = num_images
        self.interval = interval
        self.out_dir = out_dir
        self.score_thr = score_thr
        self.class_name = class_name
        self.options: dict[str, Any] = dict(
            target=target, levels=levels, layers=layers, against_background=against_background
        )

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Export after the validation of every ``interval``-th epoch."""
        if runner.epoch % self.interval == 0:
            self._export(runner, runner.val_loop, f"epoch_{runner.epoch}")

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Export after the test."""
        self._export(runner, runner.test_loop, "test")

    def _export(self, runner: Runner, loop: ValLoop | TestLoop, folder: str) -> None:
        if not is_main_process():
            return
        dataset = loop.dataloader.dataset
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        names = tuple(dataset.metainfo["classes"])
        options = dict(self.options, score_thr=self._score_thr(names, loop.evaluator), label=self._label(names))
        out_dir = Path(self.out_dir or Path(runner.log_dir) / "grad_cam") / folder
        indices = spread_indices(len(dataset), self.num_images)
        items = [dataset[index] for index in indices]
        images = [Path(item["data_samples"].img_path) for item in items]
        written = []
        for index, item, image, stem in zip(indices, items, images, output_stems(images), strict=True):
            result = explain_detection(model, item, **options)
            truth = truth_boxes(dataset.get_data_info(index))
            written.append(save_explanation(result, image, out_dir, stem, names, truth))
        self._report(runner, written, out_dir)

    def _report(self, runner: Runner, written: list[ExplanationFiles], out_dir: Path) -> None:
        without = [str(files.image) for files in written if not files.explained]
        listed = f": {', '.join(without)}" if without else ""
        runner.logger.info(
            f"Grad-CAM of {len(written)} images in {out_dir}; {len(without)} without an explained box{listed}"
        )

    def _score_thr(self, names: tuple[str, ...], evaluator: Evaluator) -> float | tuple[float, ...]:
        if self.score_thr is not None:
            return self.score_thr
        applied = [metric.frozen.to_dict() for metric in evaluator.metrics if getattr(metric, "frozen", None)]
        return class_thresholds(names, applied[0] if applied else published_operating_point())

    def _label(self, names: tuple[str, ...]) -> int | None:
        if self.class_name is None:
            return None
        if self.class_name not in names:
            raise ConfigError(
                f"GradCAMHook: no class {self.class_name!r} in the data set; `class_name` is one of {', '.join(names)}"
            )
        return names.index(self.class_name)


def spread_indices(length: int, count: int) -> list[int]:
    """``count`` different indices spread evenly over a set, always the same ones; all where it is smaller."""
    return [index * length // count for index in range(count)] if count < length else list(range(length))


def truth_boxes(data_info: dict[str, Any]) -> np.ndarray:
    """float32 (M, 4) xyxy px of the original image, ignore regions left out.

    Taken from the annotations themselves, since a pipeline may have moved its copy along with the image.
    """
    boxes = [one["bbox"] for one in data_info.get("instances", []) if not one.get("ignore_flag", 0)]
    return np.array(boxes, dtype=np.float32).reshape(-1, 4)
