"""What makes two trainings the same: the values of their configs, without places and without what only records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from ctc_mm.engine.cross_validation.units import type_name
from ctc_mm.engine.runs.run_config import config_identity

# Everything else in a config is a name that its file used, or says where to log.
TRAINING_KEYS = (
    "model", "train_dataloader", "train_cfg", "val_dataloader", "val_evaluator", "val_cfg", "optim_wrapper",
    "param_scheduler", "auto_scale_lr", "default_hooks", "custom_hooks", "randomness", "env_cfg", "default_scope",
    "load_from", "model_wrapper_cfg", "compile",
)  # fmt: skip
TEST_KEYS = ("test_dataloader", "test_evaluator", "test_cfg")
# Hooks that neither train nor choose.
RECORDING_HOOKS = ("FinishedEpochHook", "ProgressHook", "TrainingCostHook", "ValidationLossHook")
RECORDING_DEFAULTS = ("timer", "logger", "visualization")
# Where files lie; what is in them has digests of its own (``data.py``).
DATA_PLACES = ("ann_file", "data_prefix")


def training_identity(config: Config) -> dict[str, str]:
    """Every value that decides what a training gives, by its dotted name.

    Args:
        config: of one training, its seed included.
    """
    taken = {name: config[name] for name in TRAINING_KEYS if config.get(name) is not None}
    taken["default_hooks"] = {
        name: hook for name, hook in (taken.get("default_hooks") or {}).items() if name not in RECORDING_DEFAULTS
    }
    # Hooks of other names: their order in the list is of no account.
    hooks = [hook for hook in taken.pop("custom_hooks", []) if type_name(hook) not in RECORDING_HOOKS]
    taken["custom_hooks"] = sorted(hooks, key=repr)
    return _without_places(config_identity(Config(taken)))


def testing_identity(config: Config) -> dict[str, str]:
    """Every value that decides what a test of given weights gives, beside the model."""
    taken = {name: config[name] for name in TEST_KEYS if config.get(name) is not None}
    return _without_places(config_identity(Config(taken)))


def _without_places(values: Mapping[str, str]) -> dict[str, Any]:
    return {
        name: value
        for name, value in values.items()
        if not any(part in DATA_PLACES or part == "out_file" for part in name.split("."))
    }


def differences(former: Mapping[str, str], now: Mapping[str, str], most: int = 5) -> str:
    """What is not as it was, in words; '' if all is."""
    changed = sorted(name for name in {*former, *now} if former.get(name) != now.get(name))
    told = [f"{name} was {former.get(name, 'absent')}, is {now.get(name, 'absent')}" for name in changed[:most]]
    return ", ".join(told) + (f" and {len(changed) - most} more" if len(changed) > most else "")
