"""Note how far a training has come, so that an interrupted one goes on without missing a validation."""

from __future__ import annotations

from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ctc_mm.formats.files import atomic_write_text
from ctc_mm.registry import HOOKS

NOTE_FILE = "finished_epoch"


@HOOKS.register_module()
class FinishedEpochHook(Hook):
    """Write the number of finished epochs to ``<work_dir>/finished_epoch``.

    An epoch is finished once its validation is done and its best weights are saved. MMEngine saves an epoch's
    checkpoint before its validation: a training that is killed in between goes on from it with the next epoch, and the
    epoch that was not validated is never chosen as the best. Who resumes from the checkpoint that is noted here repeats
    that epoch instead; ``tools/cross_validate.py`` does, and keeps two checkpoints for it.

    Example::

        custom_hooks = [dict(type='ctc_mm.FinishedEpochHook')]
    """

    def before_train_epoch(self, runner: Runner) -> None:
        """Note the epochs before this one."""
        self._note(runner)

    def after_train(self, runner: Runner) -> None:
        """Note the last one."""
        self._note(runner)

    @staticmethod
    def _note(runner: Runner) -> None:
        if runner.epoch and is_main_process():
            atomic_write_text(Path(runner.work_dir) / NOTE_FILE, f"{runner.epoch}\n")
