"""Early stopping after the frozen phase, exact over a resume (ssd-attention-fusion-2022, section 3.1; reading 5)."""

from __future__ import annotations

from math import inf
from typing import Any

from mmengine.hooks import EarlyStoppingHook
from mmengine.runner import EpochBasedTrainLoop, Runner

from ctc_mm.engine.hooks.freeze_backbone_hook import FreezeBackboneHook
from ctc_mm.errors import ConfigError
from ctc_mm.registry import HOOKS

CHECKPOINT_KEY = "early_stopping"


@HOOKS.register_module()
class DelayedEarlyStoppingHook(EarlyStoppingHook):
    """Stop when a validation metric has not improved for ``patience`` validations, counted from an epoch on.

    While the backbone is frozen the metric levels off by itself; counting starts with the first validation after that::

        custom_hooks = [
            dict(type='ctc_mm.FreezeBackboneHook', epochs=50),
            dict(type='ctc_mm.DelayedEarlyStoppingHook', monitor='ctc/AP50_CTC', patience=10),
        ]

    The scores counted so far travel in the checkpoint. MMEngine saves an epoch's checkpoint before it validates the
    epoch and does not validate it on resume; the hook makes up for that validation, so a resumed run stops when the
    uninterrupted one would.

    Args:
        monitor: key of the metric.
        begin_epoch: validations after at most this many epochs do not count; None takes the length of
            ``FreezeBackboneHook``'s frozen phase (0 without the hook).
        patience: validations without improvement until the stop.
        min_delta: least rise (fall, for ``rule='less'``) that is an improvement, in the metric's unit; 0.001 is a tenth
            of a point of an AP in [0, 1]. MMEngine's default of 0.1 would stop nearly every detector.
        rule: 'greater' or 'less'; None tells it from the metric's name.
        strict: a missing metric is an error instead of a warning.
        check_finite: stop at NaN or infinity.
        stopping_threshold: stop as soon as the metric is beyond it.
    """

    def __init__(
        self,
        monitor: str,
        begin_epoch: int | None = None,
        patience: int = 10,
        min_delta: float = 0.001,
        rule: str | None = None,
        strict: bool = True,
        check_finite: bool = True,
        stopping_threshold: float | None = None,
    ) -> None:
        if rule is None and monitor.rpartition("/")[2].lower().startswith(("ap", "f1", "recall")):
            rule = "greater"  # MMEngine's list knows mAP, but neither AP50 nor F1
        super().__init__(
            monitor,
            rule=rule,
            min_delta=min_delta,
            strict=strict,
            check_finite=check_finite,
            patience=patience,
            stopping_threshold=stopping_threshold,
        )
        _check_at_least("begin_epoch", begin_epoch, 0)
        _check_at_least("patience", patience, 1)
        if min_delta < 0:
            raise ConfigError(f"DelayedEarlyStoppingHook: `min_delta` must be at least 0. Received: {min_delta!r}")
        self.begin_epoch = begin_epoch
        self.scores: list[tuple[int, float]] = []
        self._resumed_epoch: int | None = None
        self._is_training = False

    def before_run(self, runner: Runner) -> None:
        """Nothing: MMEngine's check builds the training set even for a test run; see :meth:`before_train`."""

    def before_train(self, runner: Runner) -> None:
        """Find where counting begins, and catch up with the validation that a resume left out.

        Raises:
            ConfigError: training by iterations, or no validation to watch.
        """
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise ConfigError("DelayedEarlyStoppingHook counts epochs: set train_cfg.by_epoch=True")
        if runner.val_loop is None:
            raise ConfigError("DelayedEarlyStoppingHook watches validations: the config has no val_dataloader")
        if self.begin_epoch is None:
            self.begin_epoch = next((hook.epochs for hook in runner.hooks if isinstance(hook, FreezeBackboneHook)), 0)
        self._is_training = True
        if self._resumed_epoch is not None:
            self._resume(runner, self._resumed_epoch)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Store the scores counted so far."""
        checkpoint[CHECKPOINT_KEY] = {"monitor": self.monitor, "scores": [list(score) for score in self.scores]}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Take the scores back on resume; a run started from ``load_from`` counts from zero."""
        if not runner._resume:
            return
        saved = checkpoint.get(CHECKPOINT_KEY, {})
        if saved.get("monitor") == self.monitor:
            self.scores = [(int(epoch), float(score)) for epoch, score in saved["scores"]]
        self._resumed_epoch = checkpoint["meta"]["epoch"]

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Count one validation, if it comes after the begin, and stop the loop with the reason in the log.

        Raises:
            ConfigError: the metric is missing and ``strict`` is set.
        """
        metrics = metrics or {}
        if not self._is_training:  # asking for `runner.epoch` would build the training set of a run without training
            return
        if runner.epoch <= self.begin_epoch or any(epoch == runner.epoch for epoch, _ in self.scores):
            return
        if self.monitor not in metrics:
            message = f"early stopping: no metric `{self.monitor}`; the validation gave {', '.join(metrics) or 'none'}"
            if self.strict:
                raise ConfigError(message)
            runner.logger.warning(message)
            return
        self._count(runner, runner.epoch, float(metrics[self.monitor]))

    def _count(self, runner: Runner, epoch: int, score: float) -> None:
        self.scores.append((epoch, score))
        stop, reason = self._check_stop_condition(score)
        if stop:
            runner.train_loop.stop_training = True
            runner.logger.info(f"early stopping after epoch {epoch}: {reason}")

    def _resume(self, runner: Runner, epoch: int) -> None:
        counted, self.scores = [score for score in self.scores if score[0] <= epoch], []
        self.wait_count, self.best_score = 0, -inf if self.rule == "greater" else inf
        for counted_epoch, score in counted:
            self._count(runner, counted_epoch, score)
        loop = runner.train_loop
        was_due = epoch >= loop.val_begin and (epoch % loop.val_interval == 0 or epoch == loop.max_epochs)
        if was_due and epoch > self.begin_epoch and epoch not in dict(counted):
            runner.logger.info(f"early stopping: validating epoch {epoch}, saved before its validation")
            runner.val_loop.run()


def _check_at_least(name: str, value: int | None, least: int) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
        raise ConfigError(
            f"DelayedEarlyStoppingHook: `{name}` must be a whole number of at least {least}. Received: {value!r}"
        )
