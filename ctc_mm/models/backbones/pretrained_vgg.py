"""Initialise SSD's VGG16 from a VGG16 classifier: ImageNet's, or one trained on one's own single cells."""

from __future__ import annotations

from mmengine.logging import print_log
from mmengine.model import update_init_info
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

from ctc_mm.errors import CheckpointError
from ctc_mm.models.backbones.vgg_keys import vgg16_to_ssd_vgg
from ctc_mm.registry import WEIGHT_INITIALIZERS


@WEIGHT_INITIALIZERS.register_module()
class PretrainedVGG:
    """Fill ``mmdet.SSDVGG(depth=16)`` with a VGG16 of torchvision, Caffe, MMPretrain or MMDetection.

    MMEngine's ``Pretrained`` takes keys as they are and leaves silently random what it does not find; this one renames
    them (see :func:`vgg16_to_ssd_vgg`) and fills all 13 convolutions or fails. The paper's conclusion proposes the cell
    classifier as the detector's backbone (ssd-attention-fusion-2022, section 4)::

        backbone=dict(type='mmdet.SSDVGG', depth=16, init_cfg=dict(
            type='ctc_mm.PretrainedVGG', checkpoint='work_dirs/vgg16_cells/best.pth'))

    Args:
        checkpoint: a file, URL or ``torchvision://vgg16``.
        prefix: what stands before ``features.`` in the file, as ``backbone.``; None finds it.
        map_location: as in ``torch.load``.
    """

    def __init__(self, checkpoint: str, prefix: str | None = None, map_location: str = "cpu") -> None:
        self.checkpoint = checkpoint
        self.prefix = prefix
        self.map_location = map_location

    def state_dict_for(self, module: nn.Module) -> dict[str, Tensor]:
        """The tensors that go into ``module``, by the names of its parameters.

        Raises:
            CheckpointError: the file cannot be read or holds no VGG16, or ``module`` is no ``SSDVGG`` of depth 16.
        """
        source = CheckpointLoader.load_checkpoint(self.checkpoint, self.map_location)
        try:
            weights = vgg16_to_ssd_vgg(source.get("state_dict", source), self.prefix)
        except CheckpointError as error:
            raise CheckpointError(f"{self.checkpoint}: {error}") from error
        shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
        misfits = [name for name, tensor in weights.items() if shapes.get(name) != tuple(tensor.shape)]
        if misfits:
            raise CheckpointError(
                f"{type(module).__name__}: PretrainedVGG fills `mmdet.SSDVGG` with depth=16; the module has no "
                f"{', '.join(f'{name} of shape {tuple(weights[name].shape)}' for name in misfits[:3])}"
            )
        return weights

    def __call__(self, module: nn.Module) -> None:
        """Copy the weights into ``module`` in place and log what stays random."""
        weights = self.state_dict_for(module)
        module.load_state_dict(weights, strict=False)
        rest = [name for name in module.state_dict() if name not in weights]
        left_out = f"; randomly initialised: {', '.join(rest)}" if rest else ""
        print_log(f"load VGG16 from: {self.checkpoint}{left_out}", logger="current")
        if hasattr(module, "_params_init_info"):
            update_init_info(module, init_info=f"{type(self).__name__}: load from {self.checkpoint}")
