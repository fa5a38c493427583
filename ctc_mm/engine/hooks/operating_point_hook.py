"""Keep the operating point chosen on validation with the weights it was chosen for."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ctc_mm.evaluation.operating_point import META_KEY, publish_operating_point, published_operating_point, stamped
from ctc_mm.registry import HOOKS


@HOOKS.register_module()
class OperatingPointHook(Hook):
    """Write what validation chose into ``checkpoint['meta']['ctc_operating_point']``.

    ``CTCDetMetric`` publishes the score thresholds of best F1 while validating, ``CTCBinaryMetric`` a classifier's
    thresholds, temperature and size baseline. A checkpoint takes it only if its weights are those validated:
    one training iteration later the point is dropped. So the best checkpoint, saved right after its validation, has
    one, and so has the epoch's checkpoint that MMEngine then saves again; a checkpoint saved at the end of an epoch
    whose validation comes later (and is not the best) has none, and ``tools/test.py`` chooses it on the validation
    set. Nothing depends on counters, so it is right for epochs, iterations and a resumed run alike.

    Example::

        custom_hooks = [dict(type='ctc_mm.OperatingPointHook')]
    """

    # Before CheckpointHook (VERY_LOW), which saves the best checkpoint in the same after_val_epoch.
    priority = "NORMAL"

    def __init__(self) -> None:
        self._point: dict[str, Any] | None = None

    def before_val_epoch(self, runner: Runner) -> None:
        """Forget an older point, also one that a test in this process has published."""
        self._point = None
        publish_operating_point(None)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Take the point that belongs to the present weights."""
        published = published_operating_point()
        self._point = None if published is None else stamped(published, runner.epoch, runner.iter)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Drop the point: the weights are about to change."""
        self._point = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Store the point, if there is one for these weights."""
        # The dict of meta is shared between the two savings after one validation, hence also the removal.
        checkpoint["meta"].pop(META_KEY, None)
        if self._point is not None:
            checkpoint["meta"][META_KEY] = dict(self._point)
