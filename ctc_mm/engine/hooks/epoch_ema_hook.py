"""A running average of the weights, over a time told in epochs."""

from __future__ import annotations

from mmengine.dist import all_reduce_params, is_distributed
from mmengine.hooks import EMAHook
from mmengine.runner import Runner

from ctc_mm.errors import ConfigError
from ctc_mm.registry import HOOKS

# At step t the average covers about the last t / GAMMA steps, until that is as long as asked for: a training's first
# weights are soon forgotten.
GAMMA = 4


@HOOKS.register_module()
class EpochEMAHook(EMAHook):
    """Validate, choose and save an exponential moving average of the weights, over the last epochs or so.

    MMEngine's momentum is one of iterations: its default, 0.0002, averages over 5,000, more than a short training has.
    Here the time constant is ``epochs`` of the training's own length, whatever the batch size and the number of images:
    ``average += (weights - average) / n`` at each step with ``n = epochs * iterations per epoch``. BatchNorm's
    statistics are averaged as well, and over the processes of a distributed training at the end of each epoch, as
    ``SyncBuffersHook`` does with the model's own. (Polyak and Juditsky 1992; momentum by MMEngine's
    ``MomentumAnnealingEMA``.)

    Checkpoints hold the average as ``state_dict``, which is what tests, exports and counts then use, and the weights
    being trained as ``ema_state_dict``, from which a resumed training goes on::

        custom_hooks = [dict(type='ctc_mm.EpochEMAHook', epochs=1.0)]

    ``tools/train.py --ema`` adds it to a config.

    Args:
        epochs: time constant of the average, more than 0.

    Raises:
        ConfigError: ``epochs`` is out of range.
    """

    def __init__(self, epochs: float = 1.0) -> None:
        if isinstance(epochs, bool) or not isinstance(epochs, int | float) or not epochs > 0:
            raise ConfigError(f"EpochEMAHook: `epochs` must be a number above 0. Received: {epochs!r}")
        super().__init__("MomentumAnnealingEMA", gamma=GAMMA, update_buffers=True)
        self.epochs = epochs

    def before_train(self, runner: Runner) -> None:
        """Turn epochs into iterations, now that the number of images is known."""
        super().before_train(runner)
        self.ema_model.momentum = 1 / max(self.epochs * len(runner.train_dataloader), 1)

    def after_train_epoch(self, runner: Runner) -> None:
        """Average the statistics over processes: each has seen other images."""
        if is_distributed():
            all_reduce_params(self.ema_model.module.buffers(), op="mean")
