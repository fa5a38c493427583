"""AlexNet's convolutions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmpretrain.models import AlexNet as MMPretrainAlexNet

from ctc_mm.registry import MODELS


@MODELS.register_module()
class AlexNet(MMPretrainAlexNet):
    """MMPretrain's AlexNet without its fully connected layers, and with the ``init_cfg`` that it does not take.

    Args:
        init_cfg: as in MMEngine.
    """

    def __init__(self, init_cfg: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None) -> None:
        super().__init__()
        self.init_cfg = init_cfg
