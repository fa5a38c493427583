"""Testing a trained detector: threshold from validation, figures from test, speed beside them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import Runner

from ctc_mm.engine.checkpoint import load_checkpoint_safely
from ctc_mm.errors import CheckpointError
from ctc_mm.evaluation.operating_point import (
    apply_operating_point,
    frozen_operating_point,
    is_ctc_metric,
    published_operating_point,
)
from ctc_mm.evaluation.speed import measure_speed, write_speed
from ctc_mm.models.loading import load_all_weights


def evaluate_detector(
    config: Config, checkpoint_path: str | Path, out_dir: str | Path, trust: bool = False, speed_images: int = 8
) -> dict[str, float]:
    """Test ``checkpoint_path`` on the config's test set.

    The score threshold of best F1 comes with the weights; where it does not, it is chosen on the validation set first.
    It is applied to the test set unchanged (paper 2.6.4; reading 9).

    Args:
        config: the model's config.
        checkpoint_path: its weights.
        out_dir: gets ``metrics.json``, ``pr_curve.png``, ``pr_<class>.csv`` and ``speed.json``.
        trust: load the file by pickle, which may run code in it.
        speed_images: test images on which speed is measured, at batch 1; 0 leaves it out.

    Returns:
        The metric's values by name.

    Raises:
        OSError: ``out_dir`` cannot be made.
        CheckpointError: the weights cannot be read, do not fit the model, or were trained for other classes.
    """
    checkpoint = load_checkpoint_safely(checkpoint_path, trust)
    check_classes(checkpoint, config, checkpoint_path)
    Path(out_dir).mkdir(parents=True, exist_ok=True)  # before the work, not after it
    config = copy.deepcopy(config)
    config.work_dir = str(out_dir)  # the log too
    config.load_from, config.resume = str(checkpoint_path), False
    point = frozen_operating_point(checkpoint) or choose_on_validation(config, checkpoint)

    evaluators = config.test_evaluator if isinstance(config.test_evaluator, list) else [config.test_evaluator]
    for evaluator in evaluators:
        if is_ctc_metric(evaluator):
            evaluator.update(
                out_dir=str(out_dir), operating_point=None, max_per_img=config.model.test_cfg.get("max_per_img")
            )
    if point is not None:
        apply_operating_point(evaluators, point)
    runner = Runner.from_cfg(config)
    load_all_weights(runner.model, checkpoint, checkpoint_path)  # the runner alone would test what it left random
    metrics = runner.test()
    if speed_images:
        dataset = runner.test_dataloader.dataset
        images = [dataset.get_data_info(i) for i in range(min(speed_images, len(dataset)))]
        report = measure_speed(runner.model, config.test_dataloader.dataset.pipeline, images, warmup=2, repeats=2)
        write_speed(Path(out_dir) / "speed.json", report)
    return metrics


def choose_on_validation(config: Config, checkpoint: Mapping[str, Any]) -> dict[str, Any] | None:
    """Validate the weights of ``config.load_from`` and return the threshold of best F1 there; None if there is none.

    Args:
        config: the model's config.
        checkpoint: what ``config.load_from`` holds.

    Raises:
        CheckpointError: the weights do not fit the model.
    """
    print_log("no score threshold stored for these weights: choosing it on the validation set.", logger="current")
    config = copy.deepcopy(config)
    # It saves the best weights after a validation, and is only set up for that by a training.
    config.setdefault("default_hooks", {})["checkpoint"] = None
    runner = Runner.from_cfg(config)
    load_all_weights(runner.model, checkpoint, config.load_from)
    runner.val()
    point = published_operating_point()
    if point is None:
        print_log("the validation set offers no threshold (no cell was found); test has none.", logger="current")
    return point


def check_classes(checkpoint: Mapping[str, Any], config: Config, path: str | Path) -> None:
    """Refuse weights that were trained for other classes than the config names.

    Raises:
        CheckpointError: the classes differ.
    """
    trained = ((checkpoint.get("meta") or {}).get("dataset_meta") or {}).get("classes")
    wanted = config.test_dataloader.dataset.get("metainfo", {}).get("classes")
    if trained and wanted and list(trained) != list(wanted):
        raise CheckpointError(
            f"{path}: trained for the classes {list(trained)}, but the config's test set has {list(wanted)}; "
            "give the config that it was trained with."
        )
