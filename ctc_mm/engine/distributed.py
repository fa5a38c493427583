"""Several processes that train one model, on a machine without a GPU too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.config import Config
from torch import distributed

from ctc_mm.errors import ConfigError

PYTORCH_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@contextmanager
def launched(config: Config, launcher: str) -> Iterator[None]:
    """Set ``config`` up for ``launcher`` and leave the group of processes at the end.

    MMEngine's own launcher asks each process for its GPU; on CPUs the processes are joined here, by gloo. The
    statistics of BatchNorm are averaged over the processes before each validation: each process sees other images, and
    a checkpoint holds the first one's, which would not be the weights that were validated.

    Args:
        config: changed in place: ``launcher``, ``custom_hooks``, and on CPUs ``model_wrapper_cfg``.
        launcher: ``none``, ``pytorch`` (torchrun), ``slurm`` or ``mpi``.

    Raises:
        ConfigError: the processes were not started by torchrun, or another launcher without a GPU.
    """
    config.launcher = launcher
    if launcher != "none":
        _check(launcher)
        hooks = list(config.get("custom_hooks") or [])
        if not any(hook.get("type") == "SyncBuffersHook" for hook in hooks):
            config.custom_hooks = [*hooks, dict(type="SyncBuffersHook")]
        if not torch.cuda.is_available():
            _join_on_cpu(config)
    try:
        yield
    finally:
        if launcher != "none" and distributed.is_initialized():
            distributed.destroy_process_group()


def _check(launcher: str) -> None:
    missing = [name for name in PYTORCH_VARIABLES if name not in os.environ]
    if launcher == "pytorch" and missing:
        raise ConfigError(
            f"--launcher pytorch takes processes started by torchrun; {', '.join(missing)} not set: "
            "torchrun --nproc-per-node 2 tools/train.py CONFIG --launcher pytorch"
        )
    if launcher != "pytorch" and not torch.cuda.is_available():
        raise ConfigError(f"--launcher {launcher} needs GPUs, and this machine has none; on CPUs: --launcher pytorch")


def _join_on_cpu(config: Config) -> None:
    if not distributed.is_initialized():
        distributed.init_process_group("gloo")
    wrapper = dict(type="MMDistributedDataParallel", broadcast_buffers=False)
    config.model_wrapper_cfg = wrapper | dict(config.get("model_wrapper_cfg") or {}) | dict(device_ids=None)
