"""Train the head on a frozen backbone first, then everything (ssd-attention-fusion-2022, section 3.1; reading 5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import MMDistributedDataParallel, is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn

from ctc_mm.engine.pretrained import matching_names, pretrained_parameter_names
from ctc_mm.errors import CheckpointError, ConfigError
from ctc_mm.registry import HOOKS

CHECKPOINT_KEY = "freeze_backbone"


@HOOKS.register_module()
class FreezeBackboneHook(Hook):
    """Keep the pretrained part of a submodule without gradient, and in eval mode, for the first epochs.

    Only parameters that were really loaded are frozen. What the file did not hold (SSD's fc6 and fc7 where it is a
    VGG16 without its classifier) goes on learning; a random layer in front of a loaded one, or nothing loaded at all,
    is an error. Whether the phase is on follows from the epoch alone, so a resumed run is in the phase it left::

        custom_hooks = [dict(type='ctc_mm.FreezeBackboneHook', epochs=50)]

    Optimizer and schedulers are not touched: a parameter without gradient is skipped by the optimizer, weight decay
    included. Under DDP the model is wrapped anew at each switch, since DDP notes at wrapping which gradients to expect.

    Args:
        epochs: length of the frozen phase, in epochs from the start of training; 0 freezes nothing.
        module: name of the submodule in the model.
    """

    def __init__(self, epochs: int = 50, module: str = "backbone") -> None:
        if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 0:
            raise ConfigError(
                f"FreezeBackboneHook: `epochs` must be a whole number of at least 0. Received: {epochs!r}"
            )
        if not isinstance(module, str) or not module:
            raise ConfigError(f"FreezeBackboneHook: `module` must name a submodule. Received: {module!r}")
        self.epochs = epochs
        self.module = module
        self.is_frozen = False
        self._frozen_names: list[str] = []
        self._loaded_names: set[str] = set()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Note which parameters ``load_from`` or ``resume`` fills, and on resume what the run had frozen."""
        weights = checkpoint.get("state_dict", checkpoint)
        weights = {name.removeprefix("module."): value for name, value in weights.items()}
        self._loaded_names = matching_names(dict(_unwrapped(runner).named_parameters()), weights)
        saved = checkpoint.get(CHECKPOINT_KEY, {})
        if runner._resume and saved.get("module") == self.module:
            self._loaded_names &= set(saved["names"])

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Store the frozen names: from a checkpoint alone, all of its parameters look loaded."""
        if self.is_frozen:
            checkpoint[CHECKPOINT_KEY] = {"module": self.module, "names": list(self._frozen_names)}

    def before_train(self, runner: Runner) -> None:
        """Freeze where the epoch to come is still in the frozen phase.

        Raises:
            CheckpointError: the backbone, or a layer in front of a loaded one, is randomly initialised.
            ConfigError: no such submodule, training by iterations, a wrapper other than DDP, or nothing left to train.
        """
        if runner.epoch >= self.epochs:
            if self.epochs:
                runner.logger.info(f"FreezeBackboneHook: epoch {runner.epoch} is past the frozen phase")
            return
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise ConfigError("FreezeBackboneHook counts epochs: set train_cfg.by_epoch=True (EpochBasedTrainLoop)")
        self._check_wrapper(runner)
        self._freeze(runner)

    def before_train_epoch(self, runner: Runner) -> None:
        """Set free at the end of the frozen phase."""
        if self.is_frozen and runner.epoch >= self.epochs:
            self._unfreeze(runner)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Eval mode has to be set here: the loop calls ``model.train()`` after ``before_train_epoch``."""
        if not self.is_frozen:
            return
        backbone = _unwrapped(runner).get_submodule(self.module)
        backbone.eval()
        for part in backbone.modules():
            if any(parameter.requires_grad for parameter in part.parameters(recurse=False)):
                part.training = True

    def _freeze(self, runner: Runner) -> None:
        model = _unwrapped(runner)
        parameters = dict(model.named_parameters())
        names = [name for name in parameters if name.startswith(f"{self.module}.") and parameters[name].requires_grad]
        if not names:
            raise ConfigError(self._nothing_to_freeze(model))
        loaded = pretrained_parameter_names(model) | self._loaded_names
        self._frozen_names = [name for name in names if name in loaded]
        self._check_not_random(names)
        if len(self._frozen_names) == sum(parameter.requires_grad for parameter in parameters.values()):
            raise ConfigError(f"FreezeBackboneHook: `{self.module}` holds all parameters: nothing is left to train")
        for name in self._frozen_names:
            parameters[name].requires_grad_(False).grad = None
        self.is_frozen = True
        _wrap_anew(runner)
        learning = [name for name in names if name not in loaded]
        runner.logger.info(
            f"FreezeBackboneHook: {len(self._frozen_names)} parameters of `{self.module}` frozen up to epoch "
            f"{self.epochs}" + (f"; not pretrained, so learning from the start: {_few(learning)}" if learning else "")
        )

    def _unfreeze(self, runner: Runner) -> None:
        parameters = dict(_unwrapped(runner).named_parameters())
        for name in self._frozen_names:
            parameters[name].requires_grad_(True)
        self.is_frozen = False
        _wrap_anew(runner)
        runner.logger.info(f"FreezeBackboneHook: `{self.module}` learns from epoch {runner.epoch + 1} on")

    def _nothing_to_freeze(self, model: nn.Module) -> str:
        if self.module in dict(model.named_modules()):
            return f"FreezeBackboneHook: `{self.module}` has no parameter that learns: leave the hook out"
        known = ", ".join(name for name, _ in model.named_children())
        return f"FreezeBackboneHook: the model has no submodule `{self.module}`; it has {known}"

    def _check_not_random(self, names: Sequence[str]) -> None:
        cure = (
            f"give weights by `{self.module}.init_cfg=dict(type='Pretrained', checkpoint=...)` or by `load_from`, or "
            "train without the hook (tools/train.py CONFIG --from-scratch)"
        )
        if not self._frozen_names:
            raise CheckpointError(f"FreezeBackboneHook: `{self.module}` is randomly initialised, freezing it: {cure}")
        last = names.index(self._frozen_names[-1])
        frozen = set(self._frozen_names)
        random_in_front = [name for name in names[:last] if name not in frozen]
        if random_in_front:
            raise CheckpointError(
                f"FreezeBackboneHook: the weights of `{self.module}` do not fit: randomly initialised in front of "
                f"loaded layers: {_few(random_in_front)}: {cure}"
            )

    @staticmethod
    def _check_wrapper(runner: Runner) -> None:
        wrapped = is_model_wrapper(runner.model)
        if wrapped and not (isinstance(runner.model, MMDistributedDataParallel) and isinstance(runner, Runner)):
            raise ConfigError(
                "FreezeBackboneHook wraps the model anew at its switches and can do so for MMDistributedDataParallel "
                f"only; this run uses {type(runner.model).__name__}"
            )


def _unwrapped(runner: Runner) -> nn.Module:
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def _wrap_anew(runner: Runner) -> None:
    """Let DDP notice which parameters want a gradient: it asks once, at wrapping.

    One that it expects in vain stops the run; one that it does not expect is not averaged, and the ranks drift apart in
    silence.
    """
    if is_model_wrapper(runner.model):
        runner.model = runner.wrap_model(runner.cfg.get("model_wrapper_cfg"), runner.model.module)
        runner._maybe_compile("train_step")


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
