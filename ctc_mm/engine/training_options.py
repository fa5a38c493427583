"""What the command line can add to any training: memory layout, repeatability, averaged weights, mixed precision."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config

from ctc_mm.engine.amp import use_amp
from ctc_mm.engine.checkpoint import load_checkpoint_safely
from ctc_mm.engine.pretrained import train_from_scratch
from ctc_mm.errors import CheckpointError

CHANNELS_LAST_HOOK = "ctc_mm.ChannelsLastHook"
EPOCH_SEED_HOOK = "ctc_mm.EpochSeedHook"
EMA_HOOK = "ctc_mm.EpochEMAHook"
# cuBLAS sums in one order only with a workspace of its own, and reads this before its first product.
CUBLAS_VARIABLE, CUBLAS_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG", ":4096:8"


def apply_training_options(
    config: Config,
    *,
    from_scratch: bool = False,
    amp: bool = False,
    channels_last: bool = False,
    deterministic: bool = False,
    ema: bool = False,
) -> Config:
    """Apply the options that ``tools/train.py`` and ``tools/compare.py`` share, each only where it is set.

    Args:
        config: a whole config; changed in place unless ``from_scratch``, which copies it.
        from_scratch: see :func:`ctc_mm.engine.pretrained.train_from_scratch`.
        amp: see :func:`ctc_mm.engine.amp.use_amp`.
        channels_last: see :func:`use_channels_last`.
        deterministic: see :func:`use_deterministic`.
        ema: see :func:`use_ema`.

    Returns:
        The config to train.

    Raises:
        ConfigError: an option that does not go with the config.
    """
    if amp:
        use_amp(config)
    if channels_last:
        use_channels_last(config)
    if deterministic:
        use_deterministic(config)
    if ema:
        use_ema(config)
    return train_from_scratch(config) if from_scratch else config


def use_channels_last(config: Config) -> None:
    """Let ``config`` keep its convolutions' weights in ``torch.channels_last``, in training and in tests.

    Args:
        config: changed in place; one that has the hook stays as it is.
    """
    if not _has_hook(config, CHANNELS_LAST_HOOK):
        # First, so that whatever copies the model copies the layout.
        config.custom_hooks = [dict(type=CHANNELS_LAST_HOOK), *(config.get("custom_hooks") or [])]


def use_deterministic(config: Config) -> None:
    """Let ``config`` train to the same weights each time, on a GPU too.

    Torch's deterministic algorithms (an operation that has none raises an error which names it), cuDNN without its
    search for the fastest algorithm, cuBLAS with one workspace, and ``EpochSeedHook``, so that a resumed training ends
    as an unbroken one. Not covered: another seed, another number of processes, threads or loader workers, another
    machine, other versions of torch or its libraries.

    Args:
        config: changed in place. ``randomness.seed`` stays, 0 where there is none: a seed drawn anew repeats nothing.
    """
    randomness = dict(config.get("randomness") or {})
    seed = randomness.get("seed")
    config.randomness = dict(randomness, seed=0 if seed is None else seed, deterministic=True)
    config.env_cfg = dict(config.get("env_cfg") or {}, cudnn_benchmark=False)
    os.environ.setdefault(CUBLAS_VARIABLE, CUBLAS_WORKSPACE)
    if not _has_hook(config, EPOCH_SEED_HOOK):
        config.custom_hooks = [*(config.get("custom_hooks") or []), dict(type=EPOCH_SEED_HOOK)]


def use_ema(config: Config, epochs: float = 1.0) -> None:
    """Let ``config`` validate, choose and save a running average of its weights.

    Args:
        config: changed in place; one that has an ``EMAHook`` of any kind (YOLOX, RTMDet) stays as it is.
        epochs: time constant, see :class:`ctc_mm.engine.hooks.epoch_ema_hook.EpochEMAHook`.
    """
    if not has_ema(config):
        # Last: hooks of the same priority that look at a validation see the averaged weights still.
        config.custom_hooks = [*(config.get("custom_hooks") or []), dict(type=EMA_HOOK, epochs=epochs)]


def has_ema(config: Config) -> bool:
    """Whether a config averages its weights."""
    return any(name.endswith("EMAHook") for name in _hook_names(config))


def require_ema_as_before(config: Config, checkpoint_path: str | Path, trust: bool = False) -> None:
    """Refuse to go on without the average from a checkpoint that has one: it would train the averaged weights.

    The other way round is allowed: MMEngine then begins the average here, with a warning.

    Args:
        config: of the training that goes on.
        checkpoint_path: from which it does.
        trust: as in :func:`ctc_mm.engine.checkpoint.load_checkpoint_safely`.

    Raises:
        CheckpointError: the checkpoint holds averaged weights, and the config averages none.
    """
    if not has_ema(config) and "ema_state_dict" in load_checkpoint_safely(checkpoint_path, trust):
        raise CheckpointError(
            f"{checkpoint_path}: was saved by a training that averages its weights, and this one would not: give the "
            "options of the first run again (--ema, or the EMAHook in the config)."
        )


def _has_hook(config: Config, name: str) -> bool:
    return name.rpartition(".")[2] in (one.rpartition(".")[2] for one in _hook_names(config))


def _hook_names(config: Config) -> list[str]:
    kinds = [one.get("type") if isinstance(one, Mapping) else type(one) for one in config.get("custom_hooks") or []]
    return [kind if isinstance(kind, str) else kind.__name__ for kind in kinds]
