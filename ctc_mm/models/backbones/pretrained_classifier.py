"""Initialise a cell classifier, or a part of it, from a whole classifier: ImageNet's, or one trained on other cells."""

from __future__ import annotations

from mmengine.logging import print_log
from mmengine.model import update_init_info
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

from ctc_mm.errors import CheckpointError
from ctc_mm.models.backbones.classifier_keys import backbone_weights, hidden_layer_weights, whole_classifier_weights
from ctc_mm.registry import WEIGHT_INITIALIZERS


@WEIGHT_INITIALIZERS.register_module()
class PretrainedClassifier:
    """Fill MMPretrain's VGG, AlexNet, ResNet, DenseNet or EfficientNet with torchvision's or MMPretrain's weights.

    MMEngine's ``Pretrained`` takes names as they are and leaves silently random what it does not find; this one renames
    them and fills every weight of the module or fails. Transfer learning of imfish-cnn-2022 and label-free-resnet-2020;
    the last layer, which stands for the file's classes, is replaced. Where it stands decides what it fills::

        backbone=dict(type='ResNet', depth=50, init_cfg=dict(
            type='ctc_mm.PretrainedClassifier', checkpoint='torchvision://resnet50')),
        # Behind PoolFlatten the hidden fully connected layers of VGG and AlexNet fit too:
        head=dict(type='StackedLinearClsHead', ..., init_cfg=dict(type='ctc_mm.PretrainedClassifier', ...))

    As ``init_cfg`` of a whole ``ImageClassifier`` it takes a checkpoint of the same network, last layer included.

    Args:
        checkpoint: a file, URL or ``torchvision://NAME``.
        prefix: what stands before the backbone's names in the file, as ``backbone.``; None finds it.
        map_location: as in ``torch.load``.
    """

    def __init__(self, checkpoint: str, prefix: str | None = None, map_location: str = "cpu") -> None:
        self.checkpoint = checkpoint
        self.prefix = prefix
        self.map_location = map_location

    def state_dict_for(self, module: nn.Module) -> dict[str, Tensor]:
        """The tensors that go into ``module``, by the names of its parameters and buffers.

        Raises:
            CheckpointError: the file cannot be read, or holds another network.
        """
        source = CheckpointLoader.load_checkpoint(self.checkpoint, self.map_location)
        source = source.get("state_dict", source)
        shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
        try:
            if hasattr(module, "backbone"):
                return whole_classifier_weights(source, shapes)
            if hasattr(module, "num_classes") and hasattr(module, "mid_channels"):
                return hidden_layer_weights(source, shapes)
            return backbone_weights(source, shapes, self.prefix)
        except CheckpointError as error:
            raise CheckpointError(f"{self.checkpoint}: for {type(module).__name__}: {error}") from error

    def __call__(self, module: nn.Module) -> None:
        """Copy the weights into ``module`` in place and log what stays random."""
        weights = self.state_dict_for(module)
        module.load_state_dict(weights, strict=False)
        # What runs after an initialiser other than MMEngine's own would undo it: ResNet zeroes the last norm of each
        # block, and children are initialised after their parent.
        if hasattr(module, "zero_init_residual"):
            module.zero_init_residual = False
        filled = {id(tensor) for name, tensor in module.state_dict(keep_vars=True).items() if name in weights}
        for part in module.children():
            if all(id(parameter) in filled for parameter in part.parameters()):
                part.is_init = True
        rest = [name for name, _ in module.named_parameters() if name not in weights]
        left_out = f"; randomly initialised: {', '.join(rest)}" if rest else ""
        print_log(f"load {type(module).__name__} from: {self.checkpoint}{left_out}", logger="current")
        if hasattr(module, "_params_init_info"):
            update_init_info(module, init_info=f"{type(self).__name__}: load from {self.checkpoint}")
