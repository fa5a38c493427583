"""Mixed precision: float16 with loss scaling on a GPU, bfloat16 on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.config import Config
from mmengine.device import is_cuda_available
from mmengine.optim import OptimWrapper
from torch import nn

from ctc_mm.errors import ConfigError
from ctc_mm.registry import OPTIM_WRAPPERS

PLAIN_WRAPPERS = ("OptimWrapper", "AmpOptimWrapper", "CPUAmpOptimWrapper")


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """Mixed precision on a CPU: convolutions and matrix products in bfloat16.

    MMEngine's ``AmpOptimWrapper`` refuses to work without a GPU. bfloat16 has float32's range, so that the loss needs
    no scaling; weights, optimizer and checkpoints stay float32.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward pass of a training step in bfloat16 where that is safe."""
        with super().optim_context(model), torch.autocast("cpu", dtype=torch.bfloat16):
            yield


def use_amp(config: Config) -> None:
    """Let ``config`` train in mixed precision, in the way that this machine can.

    Raises:
        ConfigError: its optimizer wrapper is of a kind of its own, which cannot be exchanged.
    """
    wrapper = config.optim_wrapper
    kind = str(getattr(wrapper.get("type"), "__name__", wrapper.get("type", "OptimWrapper"))).rpartition(".")[2]
    if kind not in PLAIN_WRAPPERS:
        raise ConfigError(
            f"--amp takes the place of OptimWrapper; the config's optim_wrapper is {kind!r}: leave one out"
        )
    wrapper.pop("loss_scale", None)
    if is_cuda_available():
        wrapper.type, wrapper.loss_scale = "AmpOptimWrapper", "dynamic"
    else:
        wrapper.pop("dtype", None)
        wrapper.type = "ctc_mm.CPUAmpOptimWrapper"
