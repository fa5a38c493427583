"""Testing a trained detector or classifier, its weights or its exported file: thresholds, figures, speed."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import Runner

from ctc_mm.engine.checkpoint import load_checkpoint_safely
from ctc_mm.engine.compatibility import CLASSIFIER, check_checkpoint, check_images, kind_of_config, trained_on
from ctc_mm.engine.setup import datasets_of
from ctc_mm.engine.tracking import without_trackers
from ctc_mm.evaluation.classifier_speed import measure_classifier_speed, write_classifier_speed
from ctc_mm.evaluation.operating_point import (
    apply_operating_point,
    frozen_operating_point,
    is_ctc_metric,
    published_operating_point,
)
from ctc_mm.evaluation.speed import measure_speed, write_speed
from ctc_mm.models.loading import load_all_weights

EXPORTED_SUFFIXES = (".onnx", ".xml")
_NUMBERS = itertools.count(1)


class Trained(Protocol):
    """What a test needs of a trained model.

    Attributes:
        path: of its file.
        load_from: what MMEngine's runner loads by itself; None: nothing.
        trained_on: what it remembers of its training set.
        operating_point: what validation chose; None where it chose nothing.
    """

    path: str | Path
    load_from: str | None
    trained_on: Mapping[str, Any]
    operating_point: Mapping[str, Any] | None

    def fill(self, runner: Runner) -> None:
        """Put it into a runner."""


class Weights:
    """A checkpoint, see ``Trained``.

    Args:
        path: of the file.
        config: of the model.
        trust: load by pickle.

    Raises:
        CheckpointError: it cannot be read, or is of another model or other classes.
    """

    def __init__(self, path: str | Path, config: Config, trust: bool = False) -> None:
        self.path, self.load_from = path, str(path)
        self._checkpoint = load_checkpoint_safely(path, trust)
        check_checkpoint(self._checkpoint, config, path)
        self.trained_on, self.operating_point = trained_on(self._checkpoint), frozen_operating_point(self._checkpoint)

    def fill(self, runner: Runner) -> None:
        """See ``Trained``; MMEngine's loading alone would test what it left random."""
        load_all_weights(runner.model, self._checkpoint, self.path)


def open_trained(path: str | Path, config: Config, trust: bool = False) -> Trained:
    """Weights (``.pth``), or a file that tools/export.py made (``.onnx``, ``.xml``)."""
    if Path(path).suffix.lower() not in EXPORTED_SUFFIXES:
        return Weights(path, config, trust)
    from ctc_mm.engine.exported_testing import ExportedFile

    return ExportedFile(path, config)


def evaluate(
    config: Config,
    checkpoint_path: str | Path,
    out_dir: str | Path,
    trust: bool = False,
    speed_images: int = 8,
    other_images: bool = False,
) -> dict[str, float]:
    """Test ``checkpoint_path`` on the config's test set; a detector or a classifier, as the config's scope says.

    The operating point (score thresholds; a classifier's temperature and size baseline too) comes with the weights;
    where it does not, it is chosen on the validation set first. It is applied to the test set unchanged (paper 2.6.4;
    reading 9). The white level of training holds for the test set as well.

    Args:
        config: the model's config.
        checkpoint_path: its weights, or the file that tools/export.py made of them.
        out_dir: gets what the metric writes (``metrics.json``, ``pr_curve.png`` or ``roc.png``, ...), the log and
            ``speed.json``; of a classifier ``val/`` too, where the operating point had to be chosen.
        trust: load the file by pickle, which may run code in it.
        speed_images: test images on which speed is measured; 0 leaves it out.
        other_images: test although channel or pixel size are not those of training, with a warning.

    Returns:
        The metric's values by name.

    Raises:
        OSError: ``out_dir`` cannot be made.
        ConfigError: the config is neither of a detector nor of a classifier.
        CheckpointError: the weights cannot be read, do not fit the model, or were trained for other classes or images.
    """
    kind = kind_of_config(config)
    trained = open_trained(checkpoint_path, config, trust)
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)  # before the work, not after it
    config = _config_for_test(config, trained, out_dir)
    point = trained.operating_point
    if point is None:
        point = choose_on_validation(config, trained, out_dir / "val" if kind == CLASSIFIER else None)
    config.test_evaluator = _evaluators(config.test_evaluator)
    for evaluator in filter(is_ctc_metric, config.test_evaluator):
        evaluator.update(out_dir=str(out_dir), operating_point=None)
        if kind != CLASSIFIER:
            rules = config.model.test_cfg
            evaluator.max_per_img = rules.get("rcnn", rules).get("max_per_img")
    if point is not None:
        apply_operating_point(config.test_evaluator, point)
    runner = Runner.from_cfg(config)
    trained.fill(runner)
    dataset = runner.test_loop.dataloader.dataset
    remembered = dict(trained.trained_on)
    # A distilled model looks at fewer channels than it was trained on.
    remembered["channel"] = getattr(runner.model, "input_channel", remembered.get("channel"))
    check_images(remembered, dataset.metainfo, checkpoint_path, other_images)
    metrics = runner.test()
    if speed_images:
        _measure_speed(runner, kind, speed_images, out_dir / "speed.json")
    return metrics


def choose_on_validation(config: Config, trained: Trained, out_dir: Path | None = None) -> dict[str, Any] | None:
    """Validate a trained model and return the operating point; None if there is nothing to choose.

    Args:
        config: the model's config.
        trained: the model.
        out_dir: gets what the metric writes of the validation set; None writes nothing.

    Raises:
        CheckpointError: the weights do not fit the model.
    """
    if config.get("val_dataloader") is None:
        print_log("no operating point stored for these weights, and no validation set for it.", logger="current")
        return None
    print_log("no operating point stored for these weights: choosing it on the validation set.", logger="current")
    config = copy.deepcopy(config)
    # It saves the best weights after a validation, and is only set up for that by a training.
    config.setdefault("default_hooks", {})["checkpoint"] = None
    config.val_evaluator = _evaluators(config.val_evaluator)
    if out_dir is not None:
        for evaluator in filter(is_ctc_metric, config.val_evaluator):
            evaluator.out_dir = str(out_dir)
        config.work_dir = str(out_dir)
    _name_visualizer(config)
    runner = Runner.from_cfg(config)
    trained.fill(runner)
    runner.val()
    point = published_operating_point()
    if point is None:
        print_log("the validation set offers no operating point; test has none.", logger="current")
    return point


def _config_for_test(config: Config, trained: Trained, out_dir: Path) -> Config:
    """A copy that loads the weights, logs to ``out_dir``, and reads images as training did."""
    config = copy.deepcopy(config)
    config.work_dir = str(out_dir)  # the log too
    config.load_from, config.resume = trained.load_from, False
    without_trackers(config)
    _name_visualizer(config)
    level = trained.trained_on.get("white_level")
    if level is not None and kind_of_config(config) == CLASSIFIER:
        for dataset in datasets_of(config, ("val", "test")):
            if str(dataset.get("type")).endswith("SingleCellDataset"):
                dataset.setdefault("white_level", level)
    return config


def _name_visualizer(config: Config) -> None:
    """Let a test log into its own folder: of one name, MMEngine keeps a process' first visualizer and its folder."""
    shown = config.get("visualizer") or dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")])
    config.visualizer = dict(shown, name=f"test {next(_NUMBERS)}")


def _evaluators(evaluator: Any) -> list:
    return list(evaluator) if isinstance(evaluator, list | tuple) else [evaluator]


def _measure_speed(runner: Runner, kind: str, n_images: int, path: Path) -> None:
    dataset = runner.test_dataloader.dataset
    if kind == CLASSIFIER:
        write_classifier_speed(path, measure_classifier_speed(runner.model, dataset, n_images))
        return
    images = [dataset.get_data_info(i) for i in range(min(n_images, len(dataset)))]
    pipeline = runner.cfg.test_dataloader.dataset.pipeline
    write_speed(path, measure_speed(runner.model, pipeline, images, warmup=2, repeats=2))
