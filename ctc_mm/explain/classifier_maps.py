"""One forward pass of a classifier with the feature maps that Grad-CAM explains, without a trace left behind."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.modules import pooling

from ctc_mm.errors import ConfigError
from ctc_mm.explain.activations import as_maps

POOLING = (
    pooling._MaxPoolNd,
    pooling._AvgPoolNd,
    pooling._LPPoolNd,
    pooling._AdaptiveMaxPoolNd,
    pooling._AdaptiveAvgPoolNd,
)


@dataclass(frozen=True)
class ClassifierPass:
    """What one image gave on its way through a classifier, with the autograd graph.

    Attributes:
        activation: (1, C, h, w), the maps to explain.
        layer: name of the module that gave them, as in ``model.named_modules()``.
        logits: (K,), class scores before softmax.
        scores: (K,), as the model reports them; detached.
    """

    activation: Tensor
    layer: str
    logits: Tensor
    scores: Tensor


def run_classifier(model: nn.Module, inputs: Tensor, sample: Any, layer: str | None = None) -> ClassifierPass:
    """Predict as in a test, and keep the maps of a layer and the logits.

    By default the maps are the last ones before pooling (Selvaraju 2017, section 3), whatever the network and wherever
    its fully connected layers lie: the last (1, C, h, w) output of a module that no pooling gave. Small images end in
    maps of 1x1 px, which say nothing about places: the last ones of more than one place are taken then.

    Args:
        model: an ``ImageClassifier`` of MMPretrain, or one that predicts as it does, in eval mode; autograd is on.
        inputs: (1, C, H, W), preprocessed.
        sample: its data sample; gets the prediction.
        layer: module to explain. One that runs several times counts with its last run.

    Raises:
        ValueError: there is no such layer, or it gives no map; the message lists those that do.
        ConfigError: the model gives no maps, or no scores with logits behind them.
    """
    record: list[tuple[str, Any]] = []
    pooled: list[Tensor] = []
    with ExitStack() as hooks:
        for name, module in model.named_modules():
            hook = module.register_forward_hook(_recorder(name, record, pooled, layer))
            hooks.callback(hook.remove)
        # The image needs the gradient: in a frozen model nothing else does.
        predicted = model(inputs.detach().requires_grad_(), [sample], mode="predict")
    scores = getattr(predicted[0], "pred_score", None)
    if scores is None:
        raise ConfigError(f"{type(model).__name__} predicts no `pred_score`; Grad-CAM explains image classifiers")
    name, activation = _named_maps(record, layer) if layer else _last_maps(model, record, pooled)
    if not activation.requires_grad:
        raise ConfigError(f"layer {name!r} runs without gradients (torch.no_grad), so its maps cannot be explained")
    return ClassifierPass(activation, name, _logits(model, record, scores), scores.detach())


def _recorder(name: str, record: list[tuple[str, Any]], pooled: list[Tensor], layer: str | None) -> Any:
    def hook(module: nn.Module, _inputs: Any, output: Any) -> Any:
        record.append((name, output))
        if isinstance(module, POOLING):
            pooled.extend(as_maps(output))
        # A ReLU that works in place must not change the maps of the layer before it that someone asked for.
        return _copied(output) if name and name == layer else None

    return hook


def _copied(output: Any) -> Any:
    if isinstance(output, Tensor):
        return output.clone()
    return type(output)(_copied(one) for one in output) if isinstance(output, list | tuple) else output


def _named_maps(record: Sequence[tuple[str, Any]], layer: str) -> tuple[str, Tensor]:
    found = [maps[-1] for name, output in record if name == layer and (maps := as_maps(output))]
    if not found:
        usable = dict.fromkeys(name for name, output in record if name and as_maps(output))
        raise ValueError(f"`layer`: no module {layer!r} gives (1, C, H, W) maps; those that do: {', '.join(usable)}")
    return layer, found[-1]


def _last_maps(model: nn.Module, record: Sequence[tuple[str, Any]], pooled: Sequence[Tensor]) -> tuple[str, Tensor]:
    # By identity: a Sequential that ends in a pooling returns the pooled tensor itself.
    unusable = {id(tensor) for tensor in pooled}
    last: Tensor | None = None
    for _, output in record:
        if isinstance(output, Tensor) and output.ndim == 3 and output.shape[1] > 1:
            last = None  # tokens: what came before is not the last that the network knows of places
        for one in as_maps(output):
            if id(one) not in unusable and one.shape[-2] * one.shape[-1] > 1:
                last = one
    if last is None:
        raise ConfigError(
            f"{type(model).__name__}: no module gives convolutional maps of more than one place after its last tokens "
            "or at all, so there is nothing that Grad-CAM could explain; give larger images, or another network"
        )
    # The outermost of the modules that give this very tensor has the name that people know: layer4, not layer4.1.relu.
    names = [name for name, output in record if output is last]
    return (names[-1] if names else ""), last


def _logits(model: nn.Module, record: Sequence[tuple[str, Any]], scores: Tensor) -> Tensor:
    for _, output in reversed(record):
        if isinstance(output, Tensor) and tuple(output.shape) == (1, *scores.shape) and output.requires_grad:
            return output[0]
    raise ConfigError(
        f"{type(model).__name__}: no module gives logits (1, {len(scores)}) for its scores, so there is nothing to "
        "differentiate; Grad-CAM explains classifiers whose head maps features to one logit a class"
    )
