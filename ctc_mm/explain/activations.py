"""The feature maps that Grad-CAM of a detector explains, taken in one forward pass without a trace left behind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def class_features(model: nn.Module, inputs: Tensor) -> tuple[list[Tensor], Sequence]:
    """The last feature maps before the class logits, one a level, and the head's outputs.

    Grad-CAM belongs on the last convolutional features (Selvaraju 2017, section 3): the further a map is from the
    logits, the less the mean of its gradient (Eq. 4) says. In SSD one convolution leads from the neck's outputs to the
    logits, so these are explained, as in the paper; RetinaNet, FCOS and RTMDet end in a tower of their own, SSDLite in
    a depthwise convolution. Where no single convolution gives the logits of a level (TOOD), the neck's outputs serve.

    Args:
        model: a single-stage detector in eval mode; autograd is on.
        inputs: (1, 3, H, W), preprocessed.

    Returns:
        One (1, C, h, w) map a level, finest first; and ``model.bbox_head(features)``, whose graph reaches the maps.
    """
    with torch.no_grad():
        features = model.extract_feat(inputs)
    # Leaves of their own: nothing below the head is differentiated, whatever its parameters require.
    leaves = [feature.detach().requires_grad_() for feature in features]
    with _recorded_convolutions(model.bbox_head) as convolutions:
        outs = model.bbox_head(tuple(leaf.clone() for leaf in leaves))
    last = [source for level in outs[0] for source, output in convolutions if output is level]
    return (last if len(last) == len(outs[0]) else leaves), outs


def layer_outputs(model: nn.Module, inputs: Tensor, names: Sequence[str]) -> tuple[list[Tensor], Sequence]:
    """The outputs of named modules, and the head's outputs.

    Args:
        model: a single-stage detector in eval mode; autograd is on.
        inputs: (1, 3, H, W), preprocessed.
        names: as in ``model.named_modules()``. A module that is used for every level gives one map each time.

    Returns:
        (1, C, h, w) maps in the order of ``names``; and the head's outputs, whose graph reaches them.

    Raises:
        ValueError: there is no such module, or it gives no map.
    """
    modules = dict(model.named_modules())
    unknown = [name for name in names if name not in modules]
    if unknown:
        raise ValueError(f"`layers`: the model has no module {unknown[0]!r}; see the names of model.named_modules()")
    captured: dict[str, list[Tensor]] = {name: [] for name in names}
    with ExitStack() as hooks:
        for name, maps in captured.items():
            hook = modules[name].register_forward_hook(
                lambda _module, _inputs, output, maps=maps: maps.extend(as_maps(output))
            )
            hooks.callback(hook.remove)
        # The image needs the gradient: in a frozen model nothing else does.
        outs = model.bbox_head(model.extract_feat(inputs.detach().requires_grad_()))
    unusable = [name for name, maps in captured.items() if not maps]
    if unusable:
        raise ValueError(f"`layers`: module {unusable[0]!r} gives no (1, C, H, W) map in a forward pass")
    return [activation for maps in captured.values() for activation in maps], outs


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put a model into eval mode, and every module back into its own mode afterwards, frozen parts included."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        # Not model.train(): it would wake parts that are kept in eval mode, such as a frozen backbone's BatchNorm.
        for module, training in modes.items():
            module.training = training


def preprocess(model: nn.Module, data: Mapping[str, Any]) -> tuple[Tensor, Any]:
    """One item of a test pipeline as the model takes it: ``inputs`` (1, C, H, W), and its data sample."""
    batch = {"inputs": [data["inputs"]], "data_samples": [data["data_samples"]]}
    batch = model.data_preprocessor(batch, training=False)
    return batch["inputs"], batch["data_samples"][0]


@contextmanager
def _recorded_convolutions(module: nn.Module) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Input and output of every convolution that runs inside the block."""
    record: list[tuple[Tensor, Tensor]] = []
    with ExitStack() as hooks:
        for part in module.modules():
            if isinstance(part, nn.Conv2d):
                hook = part.register_forward_hook(lambda _module, inputs, output: record.append((inputs[0], output)))
                hooks.callback(hook.remove)
        yield record


def as_maps(output: Any) -> list[Tensor]:
    """The (N, C, H, W) tensors among what a module returned."""
    outputs = output if isinstance(output, Sequence) else [output]
    return [item for item in outputs if isinstance(item, Tensor) and item.ndim == 4]
