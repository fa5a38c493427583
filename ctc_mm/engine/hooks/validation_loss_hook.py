"""The loss on the validation set, which MMDetection does not compute (ssd-attention-fusion-2022, Figure 6)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import get_box_tensor
from mmengine.dist import all_reduce, is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ctc_mm.errors import ConfigError
from ctc_mm.registry import HOOKS

VALIDATION_LOSS = "ctc/validation_loss"


@HOOKS.register_module()
class ValidationLossHook(Hook):
    """Log a detector's loss on its validation set after each validation, as ``ctc/validation_loss`` and by part.

    The model is in eval mode, so that BatchNorm uses what it has gathered; averaged weights (EMA) are those measured
    where they are those validated. The set's pipeline resizes images before it reads boxes, since metrics compare in
    the original image: boxes are brought to the network's pixels here. Costs a second forward pass over the set. The
    mean over batches, as logged for training; other batch sizes give slightly other values.

    Example::

        custom_hooks = [dict(type='ctc_mm.ValidationLossHook')]

    ``tools/curves.py`` draws it beside the training loss.

    Raises:
        ConfigError: the model has no ``loss`` of inputs and samples, as detectors have, or the set no boxes.
    """

    # Before EMAHook (NORMAL) puts the training weights back.
    priority = "ABOVE_NORMAL"

    @torch.no_grad()
    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Measure, and write a line of its own to the log of scalars."""
        if not _is_training(runner):
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if not hasattr(model, "loss") or not hasattr(model, "parse_losses"):
            raise ConfigError(f"ValidationLossHook measures detectors; {type(model).__name__} has no loss to measure")
        scaled = _scaled_after_reading(runner.val_dataloader.dataset)
        model.eval()
        sums: dict[str, torch.Tensor] = {}
        for batch in runner.val_dataloader:
            samples = _in_network_pixels(batch["data_samples"]) if scaled else batch["data_samples"]
            data = model.data_preprocessor({**batch, "data_samples": samples}, False)
            _, losses = model.parse_losses(model.loss(data["inputs"], data["data_samples"]))
            losses["batches"] = losses["loss"].new_ones(())
            sums = {name: sums.get(name, 0) + value.detach().double() for name, value in losses.items()}
        names = sorted(sums)
        totals = torch.stack([sums[name] for name in names])
        all_reduce(totals)
        means = dict(zip(names, (totals / totals[names.index("batches")]).tolist(), strict=True))
        if is_main_process():
            parts = {f"{VALIDATION_LOSS}/{name}": means[name] for name in names if name not in ("loss", "batches")}
            found = {VALIDATION_LOSS: means["loss"], **parts}
            runner.visualizer.add_scalars(found, step=runner.epoch)
            runner.logger.info(f"validation loss after epoch {runner.epoch}: {found[VALIDATION_LOSS]:.4f}")


def _is_training(runner: Runner) -> bool:
    """Asking a run without training for its epoch would build the training set."""
    return not isinstance(runner._train_loop, dict) and runner._train_loop is not None


def _scaled_after_reading(dataset: Any) -> bool:
    """Whether a pipeline reads boxes after it has resized their image."""
    steps = [type(step).__name__ for step in dataset.pipeline.transforms]
    resized = [place for place, name in enumerate(steps) if "Resize" in name]
    read = [place for place, name in enumerate(steps) if name.startswith("LoadAnnotations")]
    if not read:
        raise ConfigError("ValidationLossHook needs boxes: the validation pipeline has no LoadAnnotations")
    return bool(resized) and read[-1] > resized[0]


def _in_network_pixels(samples: Sequence[DetDataSample]) -> list[DetDataSample]:
    """Copies whose boxes are scaled as their images were."""
    copies = copy.deepcopy(list(samples))
    for sample in copies:
        for part in filter(None, (sample.gt_instances, sample.get("ignored_instances"))):
            boxes = get_box_tensor(part.bboxes)
            part.bboxes = boxes * boxes.new_tensor(sample.scale_factor).repeat(2)
    return copies
