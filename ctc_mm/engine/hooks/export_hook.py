"""When and where pictures of a model are made: after validations at an interval, and after the test."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner, TestLoop, ValLoop
from torch import nn

from ctc_mm.evaluation.operating_point import published_operating_point


class ExportHook(Hook):
    """Base of hooks that write to ``<out_dir>/epoch_<n>/`` and ``<out_dir>/test/``, on the main process only.

    Args:
        interval: epochs between two exports; an epoch without validation has none. The test is always exported.
        out_dir: where to; default ``<work_dir>/<timestamp>/<default_folder>``.

    Raises:
        ValueError: ``interval`` is no positive whole number.
    """

    # Before EMAHook (NORMAL) puts the training weights back: a picture must show the weights that were validated.
    priority = "ABOVE_NORMAL"
    default_folder: ClassVar[str]

    def __init__(self, interval: int, out_dir: str | None) -> None:
        self.interval = self.check_count("interval", interval)
        self.out_dir = out_dir

    def check_count(self, name: str, value: int) -> int:
        """Refuse what is no whole number of at least 1."""
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(
                f"{type(self).__name__}: `{name}` must be a whole number of at least 1; received {value!r}"
            )
        return value

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Export after the validation of every ``interval``-th epoch."""
        if runner.epoch % self.interval == 0:
            self._export_on_main(runner, runner.val_loop, f"epoch_{runner.epoch}")

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Export after the test."""
        self._export_on_main(runner, runner.test_loop, "test")

    def _export_on_main(self, runner: Runner, loop: ValLoop | TestLoop, folder: str) -> None:
        if not is_main_process():
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        out_dir = Path(self.out_dir or Path(runner.log_dir) / self.default_folder) / folder
        self.export(runner, model, loop, out_dir)

    @abstractmethod
    def export(self, runner: Runner, model: nn.Module, loop: ValLoop | TestLoop, out_dir: Path) -> None:
        """Write what the hook shows of ``model``, over the data of the loop just done, to ``out_dir``."""


def operating_point_of(loop: ValLoop | TestLoop) -> Mapping[str, Any] | None:
    """What the metric has applied in the evaluation just done, or chosen in it."""
    applied = [metric.frozen.to_dict() for metric in loop.evaluator.metrics if getattr(metric, "frozen", None)]
    return applied[0] if applied else published_operating_point()
