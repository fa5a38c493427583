"""A progress bar for training, validation and test."""

from __future__ import annotations

import logging
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ctc_mm.registry import HOOKS


@HOOKS.register_module()
class ProgressHook(Hook):
    """Draws a bar on a terminal and keeps the lines of the log for its file; elsewhere the log's lines stay.

    ::

        custom_hooks = [dict(type='ctc_mm.ProgressHook')]

    Args:
        enabled: True draws, False does not, None draws where stderr is a terminal (main process only).
    """

    priority = "LOWEST"

    def __init__(self, enabled: bool | None = None) -> None:
        self.console = Console(stderr=True)
        self.enabled = self.console.is_terminal if enabled is None else enabled
        self.progress: Progress | None = None
        self.tasks: dict[str, Any] = {}

    def before_run(self, runner: Runner) -> None:
        """Start the display; only the main process draws."""
        if not self.enabled or runner.rank != 0 or self.progress is not None:
            return
        for handler in runner.logger.handlers:
            if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
                handler.setLevel(logging.WARNING)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self.progress = Progress(*columns, TimeRemainingColumn(), console=self.console)
        self.progress.start()

    def before_train(self, runner: Runner) -> None:
        """Show all iterations of the training, those done before a resume included."""
        self._show("train", runner.max_iters, runner.iter)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Move on, and show epoch and loss."""
        if self.progress is None:
            return
        loss = f" loss {outputs['loss'].item():.2f}" if outputs and "loss" in outputs else ""
        self._show("train", runner.max_iters, runner.iter + 1, f" epoch {runner.epoch + 1}/{runner.max_epochs}{loss}")

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Move on."""
        self._show("validate", len(runner.val_dataloader), batch_idx + 1)

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Move on."""
        self._show("test", len(runner.test_dataloader), batch_idx + 1)

    def after_run(self, runner: Runner) -> None:
        """End the display."""
        if self.progress is not None:
            self.progress.stop()
            self.progress, self.tasks = None, {}

    def _show(self, name: str, total: int, completed: int, note: str = "") -> None:
        if self.progress is None:
            return
        if name not in self.tasks:
            self.tasks[name] = self.progress.add_task(name, total=total)
        self.progress.update(self.tasks[name], total=total, completed=completed, description=name + note)
